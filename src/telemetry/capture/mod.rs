//! Recording requests, to be replayed through another configuration: what passed the door, without its credentials.
//!
//! A request that ends is handed to every recording that wants it, as what it was and without a copy; its line is formed
//! elsewhere. No request waits: what a recording has no room for is dropped and counted. While nobody records, a request
//! pays one look at a flag.

mod file;
mod line;
mod members;
mod strike;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::exchange::RouteFacts;
use crate::model::call::Call;
use crate::model::carried::Carried;
use crate::model::identity::Identity;
use crate::model::value::Share;

pub use file::{Settings, Standing};
pub use line::{FORMAT, end};
pub use strike::{STRUCK, Strikes, sounds_secret};

/// Requests that may wait for a recording.
const WAITING: usize = 4096;
/// Bytes of theirs that may: bodies, and heads as they are estimated.
const WAITING_BYTES: usize = 16 << 20;
/// What a request weighs beside its body and its target.
const HEAD_BYTES: usize = 2 << 10;

/// Which requests are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Route keys; empty for all, and for requests that have no route.
    pub routes: Vec<String>,
    /// Which part of them, at random.
    pub sample: Share,
    /// The longest body that is recorded, in bytes.
    pub max_body: usize,
}

/// A request that has ended, as it is recorded.
#[derive(Debug)]
pub struct Taken {
    pub call: Arc<Call>,
    /// The bytes as received, of a request that passed authentication.
    pub body: Option<Bytes>,
    pub identity: Identity,
    pub api: Arc<str>,
    pub stage: Arc<str>,
    pub deployment: Option<Arc<str>>,
    pub route: Option<Arc<RouteFacts>>,
    pub status: Option<u16>,
    /// The reason code of a refusal.
    pub code: Option<&'static str>,
}

impl Taken {
    fn weight(&self) -> usize {
        let body = self.body.as_ref().map_or(0, Bytes::len);
        body + self.call.uri.path().len() + HEAD_BYTES
    }
}

/// Why a request that was to be recorded is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Lost {
    /// `no_room`: the recording could not keep up; `not_written`: its file could not be written.
    pub reason: &'static str,
}

/// What is counted. Cloning shares the values.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    pub recorded: Counter,
    pub lost: Family<Lost, Counter>,
}

impl Meters {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "capture_requests",
            "Requests that were recorded for a replay",
            self.recorded.clone(),
        );
        registry.register(
            "capture_lost",
            "Requests that were to be recorded and are not, by reason",
            self.lost.clone(),
        );
        for reason in ["no_room", "not_written"] {
            drop(self.lost.get_or_create(&Lost { reason }));
        }
    }

    fn lose(&self, reason: &'static str, requests: u64) {
        self.lost.get_or_create(&Lost { reason }).inc_by(requests);
    }
}

/// All recordings of a process.
#[derive(Debug)]
pub struct Captures {
    taps: Arc<Taps>,
    strikes: Arc<ArcSwap<Strikes>>,
    standing: Mutex<Option<Arc<Standing>>>,
}

/// Where requests go.
#[derive(Debug, Default)]
struct Taps {
    on: AtomicBool,
    list: ArcSwap<Vec<Tap>>,
    changing: Mutex<()>,
    meters: Meters,
}

/// The end of a recording that requests are given to.
#[derive(Clone, Debug)]
struct Tap {
    sender: mpsc::Sender<Arc<Taken>>,
    tally: Arc<Tally>,
}

/// What both ends of a recording know.
#[derive(Debug)]
struct Tally {
    selection: Selection,
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// A recording that is under way: the requests that it was given and nobody has taken yet. Dropping it ends it.
#[derive(Debug)]
pub struct Recording {
    requests: mpsc::Receiver<Arc<Taken>>,
    strikes: Arc<ArcSwap<Strikes>>,
    handle: Handle,
}

/// What a recording is ended by.
#[derive(Clone, Debug)]
struct Handle {
    tally: Arc<Tally>,
    taps: Arc<Taps>,
}

impl Captures {
    /// Nobody records.
    pub fn new(meters: Meters) -> Captures {
        Captures {
            taps: Arc::new(Taps {
                meters,
                ..Taps::default()
            }),
            strikes: Arc::default(),
            standing: Mutex::new(None),
        }
    }

    /// Whether anybody records.
    pub fn is_on(&self) -> bool {
        self.taps.on.load(Ordering::Relaxed)
    }

    /// Recordings that are under way.
    pub fn count(&self) -> usize {
        self.taps.list.load().len()
    }

    /// From now on these places are struck out, too. To be told before requests can bring them.
    pub fn strike(&self, places: &[Carried]) {
        if self.strikes.load().hold(places) {
            return;
        }
        self.strikes.rcu(|known| {
            let mut strikes = Strikes::clone(known);
            strikes.add(places.iter().cloned());
            strikes
        });
    }

    /// Begins a recording.
    pub fn record(&self, selection: Selection) -> Recording {
        let (sender, requests) = mpsc::channel(WAITING);
        let tally = Arc::new(Tally {
            selection,
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        });
        let tap = Tap {
            sender,
            tally: tally.clone(),
        };
        self.taps.change(|taps| taps.push(tap));
        Recording {
            requests,
            strikes: self.strikes.clone(),
            handle: Handle {
                tally,
                taps: self.taps.clone(),
            },
        }
    }

    /// Has the standing recording be this one; gives back the one before, whose end may take a moment.
    ///
    /// # Errors
    /// No thread could be started for it.
    pub fn stand(
        self: &Arc<Captures>,
        settings: Option<&Settings>,
    ) -> std::io::Result<Option<Arc<Standing>>> {
        let standing = match settings {
            Some(settings) => Some(Arc::new(Standing::start(self, settings)?)),
            None => None,
        };
        let mut held = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::replace(&mut held, standing))
    }

    /// Gives a request that has ended to whoever wants it.
    pub fn give(&self, route: Option<&RouteFacts>, taken: impl FnOnce() -> Taken) {
        let taps = self.taps.list.load();
        let mut wanting = taps
            .iter()
            .filter(|tap| tap.tally.selection.wants(route))
            .peekable();
        if wanting.peek().is_none() {
            return;
        }
        let taken = Arc::new(taken());
        for tap in wanting {
            tap.give(taken.clone(), &self.taps.meters);
        }
    }
}

impl Selection {
    fn wants(&self, route: Option<&RouteFacts>) -> bool {
        let is_named = || {
            route.is_some_and(|route| {
                let names = |name: &String| **name == *route.key.0 || **name == *route.label.0;
                self.routes.iter().any(names)
            })
        };
        if !self.routes.is_empty() && !is_named() {
            return false;
        }
        self.sample >= Share::ALL || is_drawn(self.sample)
    }
}

impl Taps {
    fn change(&self, change: impl FnOnce(&mut Vec<Tap>)) {
        let _one = self.changing.lock();
        let mut taps = Vec::clone(&self.list.load());
        change(&mut taps);
        self.on.store(!taps.is_empty(), Ordering::Relaxed);
        self.list.store(Arc::new(taps));
    }
}

impl Tap {
    fn give(&self, taken: Arc<Taken>, meters: &Meters) {
        let weight = taken.weight();
        let before = self.tally.waiting.fetch_add(weight, Ordering::Relaxed);
        let has_room = before + weight <= WAITING_BYTES;
        if !has_room || self.sender.try_send(taken).is_err() {
            self.tally.waiting.fetch_sub(weight, Ordering::Relaxed);
            // One that has just ended is owed nothing.
            if !self.sender.is_closed() {
                self.tally.lost.fetch_add(1, Ordering::Relaxed);
                meters.lose("no_room", 1);
            }
        }
    }
}

impl Recording {
    /// Requests that it had no room for so far.
    pub fn lost(&self) -> u64 {
        self.handle.tally.lost.load(Ordering::Relaxed)
    }

    /// The first line, without its end.
    pub fn beginning(&self) -> Vec<u8> {
        line::beginning(&self.handle.tally.selection)
    }

    /// A request's line, without its end.
    pub fn line(&self, taken: &Taken) -> Vec<u8> {
        let max_body = self.handle.tally.selection.max_body;
        line::line(taken, &self.strikes.load(), max_body)
    }

    /// The next request, once there is one; `None` when there will be no more.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<Taken>>> {
        self.requests.poll_recv(cx).map(|taken| self.noted(taken))
    }

    /// As `poll_next`, for a thread.
    fn wait(&mut self) -> Option<Arc<Taken>> {
        let taken = self.requests.blocking_recv();
        self.noted(taken)
    }

    /// One that is there already.
    fn at_once(&mut self) -> Option<Arc<Taken>> {
        let taken = self.requests.try_recv().ok();
        self.noted(taken)
    }

    fn noted(&self, taken: Option<Arc<Taken>>) -> Option<Arc<Taken>> {
        let taken = taken?;
        let waiting = &self.handle.tally.waiting;
        waiting.fetch_sub(taken.weight(), Ordering::Relaxed);
        Some(taken)
    }

    /// Counts requests as recorded.
    pub fn written(&self, requests: u64) {
        self.handle.taps.meters.recorded.inc_by(requests);
    }

    /// Counts requests as lost.
    fn unwritten(&self, requests: u64) {
        self.handle.taps.meters.lose("not_written", requests);
    }
}

impl Handle {
    /// No more requests are given to the recording.
    fn end(&self) {
        let own = &self.tally;
        self.taps
            .change(|taps| taps.retain(|tap| !Arc::ptr_eq(&tap.tally, own)));
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.handle.end();
    }
}

/// Whether chance picks a request.
fn is_drawn(sample: Share) -> bool {
    let (_, random) = uuid::Uuid::new_v4().as_u64_pair();
    // The upper bits of this half are not random (RFC 9562, 5.4).
    let drawn = (random & 0xffff_ffff_ffff) % 1_000_000;
    drawn < u64::from(sample.millionths())
}

#[cfg(test)]
mod tests;
