//! Which shard a hash belongs to: the shards of streams whose records are aggregated, asked for with ListShards, kept,
//! and asked for again when an answer shows another shard than was expected, or after a time. And what was counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::integration::refusal::{Lost, Service, TargetError};
use crate::integration::{Targets, within};

/// How long a map is used without a question whether it still is right. A map that is out of date loses nothing: each
/// answer says which shard the record came to.
const MAX_AGE: Duration = Duration::from_secs(300);

/// How long after a failure nobody asks again.
const PAUSE: Duration = Duration::from_secs(30);

/// The most time that a batch gives to the question.
const PATIENCE: Duration = Duration::from_secs(2);

/// Streams whose shards are kept: a stream's name can come out of a request.
const KEPT_STREAMS: usize = 64;

/// Pages of ListShards, 1,000 shards each.
const MAX_PAGES: usize = 50;

/// The open shards of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ShardMap(Vec<Shard>);

#[derive(Debug, PartialEq, Eq)]
struct Shard {
    first: u128,
    last: u128,
    id: Arc<str>,
}

impl ShardMap {
    /// From the first hash, the last hash and the name of each open shard.
    pub(super) fn new(shards: impl IntoIterator<Item = (u128, u128, String)>) -> ShardMap {
        let mut shards: Vec<Shard> = shards
            .into_iter()
            .map(|(first, last, id)| Shard {
                first,
                last,
                id: id.into(),
            })
            .collect();
        shards.sort_by_key(|shard| shard.first);
        ShardMap(shards)
    }

    /// The place of the shard that the hash belongs to.
    pub(super) fn place_of(&self, hash: u128) -> Option<usize> {
        let after = self.0.partition_point(|shard| shard.first <= hash);
        let place = after.checked_sub(1)?;
        (hash <= self.0.get(place)?.last).then_some(place)
    }

    /// The name of the shard at a place.
    pub(super) fn name(&self, place: usize) -> Option<Arc<str>> {
        self.0.get(place).map(|shard| shard.id.clone())
    }

    /// Whether the shard of that name has all hashes from the lowest to the highest.
    pub(super) fn holds(&self, id: &str, lowest: u128, highest: u128) -> bool {
        self.0
            .iter()
            .any(|shard| &*shard.id == id && shard.first <= lowest && highest <= shard.last)
    }
}

/// A stream's name, and the region where a call names one.
type Named = (String, Option<String>);

/// The maps of all streams, and what aggregation came to.
#[derive(Debug, Default)]
pub(in crate::integration) struct Aggregation {
    streams: Mutex<HashMap<Named, Arc<Stream>>>,
    pub(super) counts: Counters,
}

/// What aggregation came to, since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) records: AtomicU64,
    pub(super) aggregates: AtomicU64,
    pub(super) units_saved: AtomicU64,
    pub(super) misplaced: AtomicU64,
    pub(super) unmapped: AtomicU64,
}

/// What the aggregation of Kinesis records came to, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AggregationCounts {
    /// Records of callers that went into aggregates.
    pub records: u64,
    /// The aggregates.
    pub aggregates: u64,
    /// PUT payload units (25 KiB) that the records would have been billed for alone and their aggregates were not.
    pub units_saved: u64,
    /// Records whose aggregate came to another shard than expected, and which were sent again alone: consumers that do
    /// not look at the shard see them twice.
    pub misplaced: u64,
    /// Batches that were packed by hash alone, because the stream's shards were not known.
    pub unmapped: u64,
}

impl Counters {
    fn read(&self) -> AggregationCounts {
        AggregationCounts {
            records: self.records.load(Relaxed),
            aggregates: self.aggregates.load(Relaxed),
            units_saved: self.units_saved.load(Relaxed),
            misplaced: self.misplaced.load(Relaxed),
            unmapped: self.unmapped.load(Relaxed),
        }
    }
}

/// A stream's shards as far as they are known. The lock is held while they are asked for, so that one batch asks for all.
#[derive(Debug, Default)]
struct Stream(tokio::sync::Mutex<State>);

#[derive(Debug, Default)]
struct State {
    map: Option<Arc<ShardMap>>,
    /// When the last answer came.
    asked: Option<Instant>,
    /// Nobody asks before this.
    pause: Option<Instant>,
}

impl Targets {
    /// What the aggregation of Kinesis records came to, since the start.
    pub fn aggregation(&self) -> AggregationCounts {
        self.kinesis.counts.read()
    }

    /// The shards of a stream, no older than `since` if one is given; `None` where they cannot be known: then records go
    /// together by their hash alone.
    pub(super) async fn shard_map(
        &self,
        stream: &str,
        region: Option<&str>,
        since: Option<Instant>,
        deadline: Instant,
    ) -> Option<Arc<ShardMap>> {
        let kept = self.kinesis.stream(stream, region)?;
        let patience = deadline.min(Instant::now() + PATIENCE);
        let mut state = tokio::time::timeout_at(patience, kept.0.lock())
            .await
            .ok()?;
        let now = Instant::now();
        let fresh = state.asked.is_some_and(|asked| {
            now.saturating_duration_since(asked) < MAX_AGE
                && since.is_none_or(|since| asked >= since)
        });
        let paused = state.pause.is_some_and(|until| now < until);
        if !fresh && !paused {
            match Box::pin(list(self, stream, region, patience)).await {
                Ok(map) => {
                    if state.pause.take().is_some() {
                        tracing::info!(stream, "The shards of the stream are known again");
                    }
                    state.map = Some(Arc::new(map));
                    state.asked = Some(Instant::now());
                }
                Err(error) => {
                    if state.pause.is_none() {
                        tracing::warn!(stream, error = %error, "The shards of the stream cannot be listed: records are aggregated by what was known last, else by their hashes alone");
                    }
                    state.pause = Some(Instant::now() + PAUSE);
                }
            }
        }
        // one that is known to be wrong is worse than none
        let usable = since.is_none_or(|since| state.asked.is_some_and(|asked| asked >= since));
        state.map.clone().filter(|_| usable)
    }
}

impl Aggregation {
    fn stream(&self, name: &str, region: Option<&str>) -> Option<Arc<Stream>> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), region.map(str::to_owned));
        if streams.len() >= KEPT_STREAMS && !streams.contains_key(&key) {
            return None;
        }
        Some(streams.entry(key).or_default().clone())
    }
}

async fn list(
    targets: &Targets,
    stream: &str,
    region: Option<&str>,
    deadline: Instant,
) -> Result<ShardMap, TargetError> {
    let (service, lost) = (Service::Kinesis, Lost::Harmless);
    let client = targets.aws.kinesis(region, deadline).await;
    let client = client.map_err(|error| TargetError::from_call(service, lost, error))?;
    let mut shards = Vec::new();
    let mut next: Option<String> = None;
    for _ in 0..MAX_PAGES {
        // the next page's token names the stream
        let call = match next.take() {
            Some(token) => client.list_shards().next_token(token),
            None => client.list_shards().stream_name(stream),
        };
        let output = within(Box::pin(call.send()), service, lost, deadline).await?;
        for shard in output.shards.unwrap_or_default() {
            let closed = shard
                .sequence_number_range
                .is_some_and(|range| range.ending_sequence_number.is_some());
            let range = shard.hash_key_range.filter(|_| !closed);
            if let Some(range) = range
                && let (Ok(first), Ok(last)) = (
                    range.starting_hash_key.parse(),
                    range.ending_hash_key.parse(),
                )
            {
                shards.push((first, last, shard.shard_id));
            }
        }
        next = output.next_token;
        if next.is_none() {
            return Ok(ShardMap::new(shards));
        }
    }
    Err(TargetError::incomplete(service, "an end of its shards"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_belongs_to_the_shard_whose_range_has_it() {
        let map = ShardMap::new([
            (100, 199, "b".to_owned()),
            (0, 99, "a".to_owned()),
            (300, u128::MAX, "c".to_owned()),
        ]);
        let name = |hash| map.place_of(hash).and_then(|place| map.name(place));
        for (hash, expected) in [
            (0, Some("a")),
            (99, Some("a")),
            (100, Some("b")),
            (199, Some("b")),
            (200, None),
            (300, Some("c")),
            (u128::MAX, Some("c")),
        ] {
            assert_eq!(name(hash).as_deref(), expected, "{hash}");
        }
        assert_eq!(ShardMap::default().place_of(1), None);
        assert!(map.holds("b", 100, 199) && !map.holds("b", 99, 150) && !map.holds("a", 100, 100));
    }
}
