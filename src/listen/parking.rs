//! Connections without a request, in the order in which they fell silent: the first of them makes room when a listener
//! is full. Strangers who hold connections open and ask nothing so keep nobody out.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::stats::ListenStats;

/// A listener's silent connections.
#[derive(Clone, Debug)]
pub(super) struct Parking {
    parked: Arc<Mutex<Parked>>,
    stats: Arc<ListenStats>,
}

#[derive(Debug, Default)]
struct Parked {
    next: u64,
    connections: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A connection's place among the silent ones, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    parking: Parking,
    number: u64,
}

/// Tells a connection that has a place to go. Where it has left its place before, nothing is told any more.
#[derive(Debug)]
pub(super) struct Summons(oneshot::Receiver<()>);

impl Parking {
    pub(super) fn new(stats: Arc<ListenStats>) -> Parking {
        Parking {
            parked: Arc::default(),
            stats,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place behind all others.
    pub(super) fn park(&self) -> (Place, Summons) {
        let (call, called) = oneshot::channel();
        let mut parked = self.lock();
        let number = parked.next;
        parked.next += 1;
        parked.connections.insert(number, call);
        self.stats.parked.fetch_add(1, Relaxed);
        let place = Place {
            parking: self.clone(),
            number,
        };
        (place, Summons(called))
    }

    /// Tells the connection that has been silent for longest to go; says whether there was one.
    pub(super) fn make_room(&self) -> bool {
        let mut parked = self.lock();
        while let Some((_, call)) = parked.connections.pop_first() {
            if call.send(()).is_ok() {
                return true;
            }
        }
        false
    }
}

impl Summons {
    /// Waits for the word to go; for ever, if none can come.
    pub(super) async fn heard(&mut self) {
        if (&mut self.0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.parking.stats.parked.fetch_sub(1, Relaxed);
        self.parking.lock().connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_one_that_was_silent_for_longest_goes_first() {
        let parking = Parking::new(Arc::default());
        let (_first, mut to_first) = parking.park();
        let (gone, _) = parking.park();
        let (_last, mut to_last) = parking.park();
        drop(gone);
        assert!(parking.make_room());
        to_first.heard().await;
        assert!(parking.make_room());
        to_last.heard().await;
        assert!(!parking.make_room());
        assert!(parking.lock().connections.is_empty());
    }
}
