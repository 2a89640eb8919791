//! What lies in the gateway's store when the gateway has stopped: embedded queues, spools and dead letters, looked at
//! in the order of their messages and left as they are.

use std::path::{Path, PathBuf};

use super::place::{Place, Service};
use super::record::{find_id, is_altered};
use super::seen::{Seen, Ticks};
use crate::store::{Options, Peeked, Role, Store, StoreError};

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
        let place = place(&queue.name, queue.role);
        let mut after = None;
        loop {
            let page = store.peek(&queue.name, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.number);
            for message in &page {
                note(message, &place, seed, ticks, seen);
            }
        }
    }
    Ok(())
}

fn place(queue: &str, role: Role) -> Place {
    let target = queue.split_once(':').map_or(queue, |(_, target)| target);
    match role {
        Role::Queue => Place::new(Service::Queue, queue),
        Role::Spool => Place::new(Service::Spool, target),
        Role::DeadLetters => Place::new(Service::DeadLetters, target),
    }
}

fn note(message: &Peeked, place: &Place, seed: u64, ticks: &Ticks, seen: &mut Seen) {
    let rest = || {
        let (attributes, context) = (&message.attributes, &message.context);
        format!("{attributes:?} {:?} {context:?}", message.deduplication_id)
    };
    let id = find_id(seed, &message.body).or_else(|| find_id(seed, rest().as_bytes()));
    // A standard queue keeps no order, whatever the message says.
    let ordered = place.service == Service::Queue && place.name.ends_with(".fifo");
    let group = message.group_id.as_deref().filter(|_| ordered);
    let altered = place.service == Service::Queue && is_altered(&message.body);
    match id {
        Some(id) => seen.note(place, id, group, altered, ticks.tick()),
        None => seen.strangers += 1,
    }
}
