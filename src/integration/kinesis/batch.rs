//! PutRecords: several callers' records in one call, and what became of each. The answer has them in the order of the
//! call. Where routes say so, records of one shard go together in one record of the stream (`aggregate.rs`).

use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;

use super::aggregate::{Entry, pack, payload_units, plain};
use super::{Put, PutRecord, Request, wire};
use crate::aws::Operation;
use crate::integration::batch::{Batched, Entries};
use crate::integration::refusal::{Service, TargetError};
use crate::integration::{Called, Targets, called};

impl Batched for PutRecord {
    /// PutRecords has no `SequenceNumberForOrdering`.
    fn can_share(request: &Request) -> bool {
        request.sequence_number_for_ordering.is_none()
    }

    fn same_target(a: &Request, b: &Request) -> bool {
        a.stream_name == b.stream_name && a.region == b.region
    }

    async fn call_batch(
        requests: &[&Request],
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Entries<Put>, TargetError> {
        let Some(first) = requests.first() else {
            return Ok(Vec::new());
        };
        if requests.iter().filter(|one| one.aggregates()).count() < 2 {
            let entries = requests.iter().enumerate();
            let entries: Vec<Entry<'_>> = entries.map(|(place, one)| plain(place, one)).collect();
            return put_records(first, &entries, targets, deadline).await;
        }
        aggregated(first, requests, targets, deadline).await
    }
}

/// Sends a batch in as few records of the stream as may be. What an aggregate came to, all of its records did.
async fn aggregated(
    first: &Request,
    requests: &[&Request],
    targets: &Targets,
    deadline: Instant,
) -> Result<Entries<Put>, TargetError> {
    let (stream, region) = (first.stream_name.as_str(), first.region.as_deref());
    let map = targets.shard_map(stream, region, None, deadline).await;
    let counts = &targets.kinesis.counts;
    if map.is_none() {
        counts.unmapped.fetch_add(1, Relaxed);
    }
    let began = Instant::now();
    let entries = pack(requests, map.as_deref());
    let verdicts = put_records(first, &entries, targets, deadline).await?;
    let missing = || Err(TargetError::no_receipt(Service::Kinesis, "a verdict on it"));
    let mut all: Entries<Put> = requests.iter().map(|_| missing()).collect();
    let mut misplaced = Vec::new();
    for (entry, verdict) in entries.iter().zip(verdicts) {
        let many = entry.members.len() > 1;
        if many && let Ok(called) = &verdict {
            count(targets, entry, requests);
            if let Some(expected) = &entry.shard
                && called.answer.shard_id != **expected
            {
                misplaced.push((entry, called.answer.shard_id.clone()));
            }
        }
        for (sub, place) in entry.members.iter().enumerate() {
            let verdict = match &verdict {
                Ok(called) => Ok(Called {
                    answer: match many {
                        true => called.answer.member(sub),
                        false => called.answer.clone(),
                    },
                    request_id: called.request_id.clone(),
                }),
                Err(error) => Err(error.clone()),
            };
            if let Some(slot) = all.get_mut(*place) {
                *slot = verdict;
            }
        }
    }
    if misplaced.is_empty() {
        return Ok(all);
    }
    // The stream has been resharded. Consumers throw an aggregate away that has a record of another shard.
    let map = targets
        .shard_map(stream, region, Some(began), deadline)
        .await;
    let astray = misplaced.iter().filter(|(entry, shard)| {
        let held = entry.hashes.as_ref().zip(map.as_deref());
        !held.is_some_and(|(hashes, map)| map.holds(shard, *hashes.start(), *hashes.end()))
    });
    let mut places: Vec<usize> = astray
        .flat_map(|(entry, _)| &entry.members)
        .copied()
        .collect();
    if places.is_empty() {
        return Ok(all);
    }
    places.sort_unstable(); // as the callers' records came
    tracing::warn!(
        stream,
        records = places.len(),
        "Aggregated records came to another shard than expected, as after a reshard; they are sent again one by one"
    );
    counts.misplaced.fetch_add(places.len() as u64, Relaxed);
    let again = places
        .iter()
        .filter_map(|place| Some((*place, *requests.get(*place)?)));
    let again: Vec<Entry<'_>> = again.map(|(place, one)| plain(place, one)).collect();
    match put_records(first, &again, targets, deadline).await {
        Ok(verdicts) => {
            for (place, verdict) in places.iter().zip(verdicts) {
                all[*place] = verdict;
            }
        }
        Err(error) => places
            .iter()
            .for_each(|place| all[*place] = Err(error.clone())),
    }
    Ok(all)
}

fn count(targets: &Targets, entry: &Entry<'_>, requests: &[&Request]) {
    let counts = &targets.kinesis.counts;
    let members = entry
        .members
        .iter()
        .filter_map(|place| requests.get(*place));
    let alone: u64 = members.map(|one| payload_units(one.size())).sum();
    let saved = alone.saturating_sub(payload_units(entry.size()));
    counts.aggregates.fetch_add(1, Relaxed);
    counts
        .records
        .fetch_add(entry.members.len() as u64, Relaxed);
    counts.units_saved.fetch_add(saved, Relaxed);
}

/// One PutRecords: a verdict for each entry, in their order. `first` names stream and region.
async fn put_records(
    first: &Request,
    entries: &[Entry<'_>],
    targets: &Targets,
    deadline: Instant,
) -> Result<Entries<Put>, TargetError> {
    let records: Vec<_> = entries.iter().map(Entry::record).collect();
    let called: Called<wire::Verdicts> = called(
        targets,
        Operation::PutRecords,
        Service::Kinesis,
        first.region.as_deref(),
        wire::batch(&first.stream_name, &records),
        deadline,
    )
    .await?;
    Ok(verdicts(entries.len(), called))
}

/// What became of each of so many records.
fn verdicts(records: usize, called: Called<wire::Verdicts>) -> Entries<Put> {
    let service = Service::Kinesis;
    let Called { answer, request_id } = called;
    let verdicts = answer.records.unwrap_or_default();
    if verdicts.len() != records {
        // nobody knows which of them is missing
        let missing = || Err(TargetError::no_receipt(service, "a verdict on each record"));
        return (0..records).map(|_| missing()).collect();
    }
    let encryption_type = answer.encryption_type;
    let verdicts = verdicts.into_iter().map(|verdict| {
        if let Some(code) = verdict.error_code.filter(|code| !code.is_empty()) {
            let message = verdict.error_message.unwrap_or_default();
            return Err(TargetError::of_entry(service, 200, code, message));
        }
        Ok(Called {
            answer: Put::confirmed(
                verdict.sequence_number,
                verdict.shard_id,
                encryption_type.clone(),
            )?,
            request_id: request_id.clone(),
        })
    });
    verdicts.collect()
}

#[cfg(test)]
mod tests;
