//! The fake AWS: SQS, Kinesis, EventBridge and Step Functions at one address, over a real socket, with faults that are
//! switched while it runs. What it has taken it remembers; what it answers is what the services answer.
//!
//! A record counts as taken before its answer is written, and a call that was read is carried out even when its caller
//! has gone: so do the services.

mod event_bridge;
mod kinesis;
mod listen;
mod protocol;
mod sqs;
mod step_functions;
mod store;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::protocol::{Call, Operation, Refusal};
use self::store::{Outcome, Stored};
use super::random::Random;
use super::schedule::Fault;
use super::seen::{Seen, Ticks};

/// What is wrong with the target at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    pub fault: Option<Fault>,
    /// `down`: connections are accepted and reset.
    pub reset: bool,
}

/// The fake target. Dropping it closes its address.
pub struct Target {
    address: SocketAddr,
    shared: Arc<Shared>,
    _listening: AbortOnDropHandle<()>,
}

struct Shared {
    seed: u64,
    weather: watch::Sender<Weather>,
    ticks: Arc<Ticks>,
    calls: AtomicU64,
    stored: Mutex<Stored>,
    counts: Mutex<Counts>,
    /// Calls that were read; they end by themselves.
    tasks: TaskTracker,
}

/// What the target did.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// How often each fault was felt by a call or a connection.
    pub fired: BTreeMap<Fault, u64>,
    /// Calls with more entries than one, or of an operation for several.
    pub batches: u64,
    pub calls: u64,
    /// Operations that the fake does not know.
    pub unknown: u64,
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost, on purpose")]
struct Lost;

impl Target {
    /// Binds a loopback address and serves.
    pub async fn start(seed: u64, ticks: Arc<Ticks>) -> io::Result<Target> {
        let shared = Arc::new(Shared {
            seed,
            weather: watch::Sender::default(),
            ticks,
            calls: AtomicU64::new(0),
            stored: Mutex::default(),
            counts: Mutex::default(),
            tasks: TaskTracker::new(),
        });
        let port = listen::Port::reserve()?;
        let address = port.address();
        let first = port.open()?;
        let listening = tokio::spawn(listen::serve(port, first, shared.clone()));
        Ok(Target {
            address,
            shared,
            _listening: AbortOnDropHandle::new(listening),
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this is wrong with it, or nothing.
    pub fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// How often a fault was felt.
    pub fn fired(&self, fault: Fault) -> u64 {
        let counts = locked(&self.shared.counts);
        counts.fired.get(&fault).copied().unwrap_or(0)
    }

    pub fn counts(&self) -> Counts {
        locked(&self.shared.counts).clone()
    }

    /// What it has taken, once every call that it has read is carried out.
    pub async fn settled(&self, at_most: Duration) -> Seen {
        self.set(Weather::default());
        self.shared.tasks.close();
        // What is still on its way after that time was acknowledged by nobody.
        let _ = tokio::time::timeout(at_most, self.shared.tasks.wait()).await;
        locked(&self.shared.stored).seen.clone()
    }
}

impl Shared {
    /// Reads a call, and answers it as the weather is.
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Lost> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        let shared = self.clone();
        let carried_out = self.tasks.spawn(async move {
            match Call::read(&head, body) {
                Some(call) => shared.carry_out(&call).await,
                None => {
                    shared.count(|counts| counts.unknown += 1);
                    Ok(protocol::unknown_operation())
                }
            }
        });
        carried_out.await.map_err(|_| Lost)?
    }

    async fn carry_out(&self, call: &Call) -> Result<Response<Full<Bytes>>, Lost> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut random = Random::of(self.seed, &[1, number]);
        let weather = *self.weather.borrow();
        let batch = call.operation.is_batch();
        self.count(|counts| {
            counts.calls += 1;
            counts.batches += u64::from(batch);
        });
        match weather.fault {
            Some(Fault::Down) => {
                self.fired(Fault::Down);
                Err(Lost)
            }
            Some(Fault::Freeze) => {
                self.fired(Fault::Freeze);
                let mut weather = self.weather.subscribe();
                let thawed = weather.wait_for(|weather| weather.fault != Some(Fault::Freeze));
                // The sender lives as long as what holds it.
                drop(thawed.await);
                if random.percent(50) {
                    self.store(call, None);
                }
                Err(Lost)
            }
            Some(Fault::Slow) => {
                self.fired(Fault::Slow);
                let late = Duration::from_millis(random.between(50, 1600));
                let early = random.percent(50).then(|| self.store(call, None));
                tokio::time::sleep(late).await;
                let outcomes = early.unwrap_or_else(|| self.store(call, None));
                Ok(call.answer(&outcomes))
            }
            Some(Fault::Throttle) if random.percent(50) => {
                self.fired(Fault::Throttle);
                Ok(call.refuse(Refusal::Throttled))
            }
            Some(Fault::LostAnswers) if random.percent(60) => {
                self.store(call, None);
                self.fired(Fault::LostAnswers);
                if random.percent(50) {
                    Err(Lost)
                } else {
                    Ok(call.refuse(Refusal::Internal))
                }
            }
            Some(Fault::Partial) if batch => {
                let outcomes = self.store(call, Some(&mut random));
                if outcomes.contains(&Outcome::Failed) {
                    self.fired(Fault::Partial);
                }
                Ok(call.answer(&outcomes))
            }
            _ => Ok(call.answer(&self.store(call, None))),
        }
    }

    /// Takes the call's records; with `failing`, some fail.
    fn store(&self, call: &Call, mut failing: Option<&mut Random>) -> Vec<Outcome> {
        let arrivals = call.arrivals();
        let mut stored = locked(&self.stored);
        arrivals
            .iter()
            .map(|arrival| {
                if failing.as_mut().is_some_and(|random| random.percent(40)) {
                    return Outcome::Failed;
                }
                stored.take(arrival, self.seed, &self.ticks)
            })
            .collect()
    }

    fn fired(&self, fault: Fault) {
        self.count(|counts| *counts.fired.entry(fault).or_default() += 1);
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut locked(&self.counts));
    }
}

impl Operation {
    fn is_batch(self) -> bool {
        matches!(
            self,
            Operation::SendMessageBatch | Operation::PutRecords | Operation::PutEvents
        )
    }
}

/// A lock that a panic elsewhere does not take away: counts are judged by the ledger, not by it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
