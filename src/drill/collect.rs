//! What lies in the gateway's store when the gateway has stopped: the embedded queues, emptied in their order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;

use super::place::{Place, Service};
use super::record::{find_id, is_altered};
use super::seen::{Seen, Ticks};
use crate::store::{Delivery, Options, Receive, Store, StoreError};

/// Records looked at at once.
const PAGE: usize = 500;

/// Adds what the store holds to what was seen.
///
/// # Errors
/// Why it cannot be looked into.
pub async fn collect(
    folder: &Path,
    seed: u64,
    ticks: &Ticks,
    seen: &mut Seen,
) -> Result<(), String> {
    if !folder.join("store.db").exists() {
        return Ok(());
    }
    let store = open(folder.to_owned()).await?;
    let looked = look(&store, seed, ticks, seen).await;
    store.close().await;
    looked.map_err(|error| error.to_string())
}

async fn open(folder: PathBuf) -> Result<Store, String> {
    let options = Options {
        min_free: 0,
        ..Options::new(folder)
    };
    tokio::task::spawn_blocking(move || Store::open(options))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}

async fn look(store: &Store, seed: u64, ticks: &Ticks, seen: &mut Seen) -> Result<(), StoreError> {
    for queue in store.stats().queues {
        if let Some((service, target)) = on_its_way(&queue.name) {
            let place = Place::new(service, target);
            peek(store, &queue.name, &place, seed, ticks, seen).await?;
            continue;
        }
        let place = Place::new(Service::Queue, &queue.name);
        let ordered = queue.name.ends_with(".fifo");
        loop {
            let wanted = Receive {
                max_messages: 10,
                visibility_timeout: Some(Duration::from_secs(3600)),
                ..Receive::default()
            };
            let deliveries = store.receive(&queue.name, wanted).await?;
            if deliveries.is_empty() {
                break;
            }
            for delivery in &deliveries {
                note(delivery, &place, ordered, seed, ticks, seen);
            }
            // A group goes on only when what was received of it is deleted.
            let handles = deliveries
                .iter()
                .map(|delivery| store.delete(&queue.name, &delivery.receipt_handle));
            for deleted in join_all(handles).await {
                deleted?;
            }
        }
    }
    Ok(())
}

/// A queue of the gateway's own: what it holds, and for which target.
fn on_its_way(queue: &str) -> Option<(Service, &str)> {
    let (kind, target) = queue.split_once(':')?;
    match kind {
        "spool" => Some((Service::Spool, target)),
        "dead" => Some((Service::DeadLetters, target)),
        _ => None,
    }
}

/// Notes every record of a queue that nobody may receive from.
async fn peek(
    store: &Store,
    queue: &str,
    place: &Place,
    seed: u64,
    ticks: &Ticks,
    seen: &mut Seen,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = store.peek(queue, after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.number);
        for record in &page {
            let context = record.context.as_deref().unwrap_or_default();
            let id = find_id(seed, &record.body).or_else(|| find_id(seed, context.as_bytes()));
            match id {
                Some(id) => seen.note(place, id, None, false, ticks.tick()),
                None => seen.strangers += 1,
            }
        }
    }
}

fn note(
    delivery: &Delivery,
    place: &Place,
    ordered: bool,
    seed: u64,
    ticks: &Ticks,
    seen: &mut Seen,
) {
    let rest = format!("{:?} {:?}", delivery.attributes, delivery.deduplication_id);
    let id = find_id(seed, &delivery.body).or_else(|| find_id(seed, rest.as_bytes()));
    let group = delivery.group_id.as_deref().filter(|_| ordered);
    match id {
        Some(id) => seen.note(place, id, group, is_altered(&delivery.body), ticks.tick()),
        None => seen.strangers += 1,
    }
}
