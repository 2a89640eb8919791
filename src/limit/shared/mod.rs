//! Buckets that several instances share, kept by Redis: one round trip for all of a phase's buckets, atomic (a script),
//! by the time of Redis, so that the clocks of instances do not matter.
//!
//! The data plane waits for Redis no longer than the timeout that is written, and not at all while it is known to be
//! gone: there is a connection only while Redis answers. A connection that breaks is let go at once, one on which
//! [`GIVE_UP_AFTER`] calls in a row have failed as well; a task of its own connects again, and hands the connection out
//! when Redis has taken a token on it.

mod address;
mod connect;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::gcra::{BucketSpec, Empty, Level};
use crate::telemetry::throttling::SharedMeters;

pub use address::Address;

/// Failed calls in a row after which Redis counts as gone.
const GIVE_UP_AFTER: u32 = 3;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take.lua")));

/// The Redis servers in use, one connection each.
#[derive(Debug)]
pub struct SharedStores {
    stores: Mutex<Vec<(Address, std::sync::Weak<SharedStore>)>>,
    connecting: OnceLock<()>,
    meters: SharedMeters,
}

/// A Redis server.
#[derive(Debug)]
pub struct SharedStore {
    link: Arc<Link>,
    task: OnceLock<AbortOnDropHandle<()>>,
}

/// What the data plane and the connecting task share.
struct Link {
    address: Address,
    connection: ArcSwapOption<MultiplexedConnection>,
    failures: AtomicU32,
    /// Told when the connection was let go.
    lost: Notify,
    meters: SharedMeters,
}

/// A bucket of one caller, or of all.
#[derive(Clone, Debug)]
pub struct SharedKey {
    pub name: String,
    pub spec: BucketSpec,
    /// It only counts what it would refuse.
    pub dry_run: bool,
}

/// Nobody knows what is in the buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    #[error("Redis cannot be reached")]
    Disconnected,
    #[error("Redis did not answer in time")]
    Timeout,
    #[error("Redis refused the call")]
    Refused,
}

impl SharedStores {
    /// None yet. Nothing is connected before [`SharedStores::connect`].
    pub fn new(meters: SharedMeters) -> SharedStores {
        SharedStores {
            stores: Mutex::default(),
            connecting: OnceLock::new(),
            meters,
        }
    }

    /// From now on servers are connected to. Needs a Tokio runtime.
    pub fn connect(&self) {
        let _ = self.connecting.set(());
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        for store in stores.iter().filter_map(|(_, store)| store.upgrade()) {
            store.connect();
        }
    }

    /// The server at an address; the same one for all who ask.
    pub fn at(&self, address: &Address) -> Arc<SharedStore> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|(_, store)| store.strong_count() > 0);
        let known = stores.iter().find(|(known, _)| known == address);
        if let Some(store) = known.and_then(|(_, store)| store.upgrade()) {
            return store;
        }
        let store = Arc::new(SharedStore {
            link: Arc::new(Link {
                address: address.clone(),
                connection: ArcSwapOption::empty(),
                failures: AtomicU32::new(0),
                lost: Notify::new(),
                meters: self.meters.clone(),
            }),
            task: OnceLock::new(),
        });
        stores.push((address.clone(), Arc::downgrade(&store)));
        if self.connecting.get().is_some() {
            store.connect();
        }
        store
    }
}

impl SharedStore {
    fn connect(&self) {
        self.task.get_or_init(|| {
            let task = connect::keep_connected(self.link.clone());
            AbortOnDropHandle::new(tokio::spawn(task))
        });
    }

    /// Takes a token from each bucket, or from none where one that does not only count is empty. In the order given.
    pub async fn take(
        &self,
        keys: &[SharedKey],
        within: Duration,
    ) -> Result<Vec<Result<Level, Empty>>, Gone> {
        let Some(connection) = self.link.connection.load_full() else {
            self.link.meters.skipped.inc();
            return Err(Gone::Disconnected);
        };
        let mut call = TAKE.prepare_invoke();
        for key in keys {
            call.key(&key.name)
                .arg(key.spec.rate)
                .arg(key.spec.burst.get())
                .arg(u8::from(key.dry_run));
        }
        let mut on = MultiplexedConnection::clone(&connection);
        let answered = Box::pin(call.invoke_async::<Vec<i64>>(&mut on));
        match tokio::time::timeout(within, answered).await {
            Ok(Ok(numbers)) if numbers.len() == keys.len() * 4 => {
                self.link.failures.store(0, Ordering::Relaxed);
                self.link.meters.ok.inc();
                let levels = keys.iter().zip(numbers.chunks_exact(4));
                Ok(levels.map(|(key, answer)| read(key, answer)).collect())
            }
            Ok(Ok(_)) => Err(self.link.failed(&connection, Gone::Refused, None)),
            Ok(Err(error)) => Err(self.link.failed(&connection, Gone::Refused, Some(&error))),
            Err(_) => Err(self.link.failed(&connection, Gone::Timeout, None)),
        }
    }
}

impl Link {
    /// Notes a failed call, and lets the connection go that it failed on where there is no more hope for it.
    fn failed(
        &self,
        on: &Arc<MultiplexedConnection>,
        why: Gone,
        error: Option<&RedisError>,
    ) -> Gone {
        match why {
            Gone::Timeout => self.meters.timeout.inc(),
            Gone::Refused | Gone::Disconnected => self.meters.failed.inc(),
        };
        let broken =
            error.is_some_and(|error| error.is_io_error() || error.is_connection_dropped());
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if broken || failures >= GIVE_UP_AFTER {
            let current = self.connection.compare_and_swap(on, None);
            // Of many that fail together one finds its connection still in use.
            if current
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, on))
            {
                let reason = error.map_or_else(|| why.to_string(), address::described);
                tracing::warn!(
                    server = %self.address, reason,
                    "The Redis of shared throttles is gone"
                );
                self.lost.notify_one();
            }
        }
        if broken { Gone::Disconnected } else { why }
    }
}

/// What Redis says of a bucket.
fn read(key: &SharedKey, answer: &[i64]) -> Result<Level, Empty> {
    let micros = |at: usize| {
        let micros = answer.get(at).copied().unwrap_or(0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    if answer.first() == Some(&1) {
        let remaining = answer.get(1).copied().unwrap_or(0);
        Ok(Level {
            spec: key.spec,
            remaining: u32::try_from(remaining).unwrap_or(0),
            reset: micros(3),
        })
    } else {
        Err(Empty {
            wait: Some(micros(2)),
            spec: key.spec,
        })
    }
}

impl SharedKey {
    /// The name under which Redis keeps a caller's bucket: the same in every instance. `of`: what tells the throttle
    /// from others. The caller is hashed, for keys may be long, and secret.
    pub fn name(of: &str, caller: Option<&[u8]>) -> String {
        use std::fmt::Write as _;
        let mut name = format!("penstock:throttle:{of}");
        if let Some(caller) = caller {
            name.push(':');
            for byte in &digest(&SHA256, caller).as_ref()[..16] {
                // Writing to a String cannot fail.
                let _ = write!(name, "{byte:02x}");
            }
        }
        name
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .field("connected", &self.connection.load().is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
