//! Getting records to their targets: the acknowledgement modes on a request's way (`deliver.rs`), and the spool's way in
//! the background (`worker.rs`). Backoff, breaker, rate and batches of each target live here; what a refusal means is
//! decided in `integration`, what is durable in `store`.
//!
//! Every call runs in a task that the forwarder owns: whoever asked for it may go away. The tasks end with
//! [`Forward::drain`].

mod backoff;
mod breaker;
mod coalesce;
mod deliver;
mod drain;
mod lane;
mod outlook;
mod pace;
mod settings;
mod spooling;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::coalesce::Ride;
pub use self::deliver::Way;
pub use self::settings::{AckMode, OnPoison, Order, Settings, TargetSettings};

use self::coalesce::Calls;
use self::lane::{Lane, locked};
use crate::integration::{Answer, Request, TargetError, TargetName, Targets};
use crate::store::{Known, NewKey, Store, spool_queue};
use crate::telemetry::Metrics;
use crate::telemetry::forwarding::{Doubled, Forwarding};
use crate::telemetry::metrics::Name;

/// The label of metrics for targets that no route names by itself: requests could name any number of them.
const DYNAMIC: &str = "dynamic";
/// Targets that are kept in memory without a need; more are forgotten when they are well.
const KEPT_TARGETS: usize = 1000;
/// How often the spools are looked through for a target that nobody works for: after a start, or a redrive.
const ROLL_CALL: Duration = Duration::from_secs(1);

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckPlan {
    pub mode: AckMode,
    /// `target-or-spool`: how long the target may take before the record is spooled.
    pub budget: Duration,
    /// Messages of a FIFO queue's group keep their order whatever this says.
    pub order: Order,
    pub on_poison: OnPoison,
}

/// A record on its way.
pub struct Parcel {
    /// One call, or several (fan-out), in the order in which the route names them.
    pub requests: Vec<Request>,
    pub ack: AckPlan,
    /// Whose it is: what waits for calls to a target is taken from all in turn.
    pub tenant: u64,
    /// `order: route`: the key.
    pub route: Arc<str>,
    /// What is known of the request, as JSON: goes with a spooled record.
    pub context: Arc<dyn Fn() -> String + Send + Sync>,
    /// Spooled records bring the key's reservation and answer into the same transaction.
    pub idempotency: Option<NewKey>,
    /// The route's timeout.
    pub deadline: Instant,
}

/// Where a record is when its request is answered.
#[derive(Debug)]
pub struct Delivered {
    pub answer: Answer,
    pub durability: Durability,
    /// Why it is not with the target; for the log.
    pub spooled: Option<SpooledFor>,
    /// The call that it shared with others.
    pub ride: Option<Ride>,
}

/// Why a record was spooled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpooledFor {
    /// As `penstock_spooled_records_total` has it: `mode`, `breaker`, `order`, `busy`, `budget`, `failed`, `setup`.
    pub why: &'static str,
    /// How the target's own call went wrong, where one was made and has ended.
    pub error: Option<TargetError>,
}

impl Delivered {
    /// The target has it.
    pub fn to_target(answer: Answer) -> Delivered {
        Delivered {
            answer,
            durability: Durability::Target,
            spooled: None,
            ride: None,
        }
    }

    fn to_spool(answer: Answer, why: &'static str, error: Option<TargetError>) -> Delivered {
        Delivered {
            answer,
            durability: Durability::Spooled,
            spooled: Some(SpooledFor { why, error }),
            ride: None,
        }
    }
}

/// Who has the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Target,
    Spooled,
}

impl Durability {
    /// `target` or `spooled`.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Target => "target",
            Durability::Spooled => "spooled",
        }
    }
}

/// Why a record is nowhere.
#[derive(Debug)]
pub enum Undelivered {
    Target(TargetError),
    /// An idempotency key turned out to be taken when the record was about to be spooled.
    Known(Known),
}

impl From<TargetError> for Undelivered {
    fn from(error: TargetError) -> Undelivered {
        Undelivered::Target(error)
    }
}

impl fmt::Display for AckPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mode.name())?;
        if self.mode == AckMode::TargetOrSpool {
            write!(f, ", {} ms for the target", self.budget.as_millis())?;
        }
        match self.order {
            Order::None => Ok(()),
            Order::Key => f.write_str(", in order for each key"),
            Order::Route => f.write_str(", in order for the route"),
        }
    }
}

/// A target as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetView {
    pub target: String,
    /// `closed`, `open` or `half-open`.
    pub breaker: &'static str,
    /// Why the breaker is open: the target's last failure.
    pub last_error: Option<String>,
    pub depth: u64,
    pub bytes: u64,
    pub dead_letters: u64,
    /// Records that the target refuses and that keep their place (`on_poison: stop`), as far as they have been tried
    /// since the start.
    pub stuck: u64,
    /// Of the oldest record that waits.
    pub oldest_age: Option<Duration>,
}

/// The one forwarder of the process.
pub struct Forward {
    targets: Arc<Targets>,
    settings: ArcSwap<Settings>,
    metrics: Forwarding,
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
    /// Targets that routes name: metrics tell them apart.
    named: Mutex<HashSet<String>>,
    /// A route whose requests name its target says `on_poison: stop`.
    any_stops: AtomicBool,
    /// By the record's id: who waits to hear that its target has it.
    watchers: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    tasks: TaskTracker,
    started: AtomicBool,
    /// Records have left a spool.
    settled: Notify,
    /// No more records are taken from the spools.
    ending: CancellationToken,
    /// Calls that are under way are given up.
    cut: CancellationToken,
}

impl Forward {
    /// Begins nothing yet.
    pub fn new(targets: Arc<Targets>, settings: Settings, metrics: Metrics) -> Arc<Forward> {
        let restarts = &metrics.forwarding.possible_duplicates;
        drop(restarts.get_or_create(&found_under_way()));
        Arc::new(Forward {
            targets,
            settings: ArcSwap::from_pointee(settings),
            metrics: metrics.forwarding,
            lanes: Mutex::default(),
            named: Mutex::default(),
            any_stops: AtomicBool::new(false),
            watchers: Mutex::default(),
            tasks: TaskTracker::new(),
            started: AtomicBool::new(false),
            settled: Notify::new(),
            ending: CancellationToken::new(),
            cut: CancellationToken::new(),
        })
    }

    /// Takes other settings, for all that happens from now on.
    pub fn configure(&self, settings: Settings) {
        for lane in locked(&self.lanes).values() {
            lane.configure(settings.of(lane.name.plain()).clone());
        }
        self.settings.store(Arc::new(settings));
    }

    /// Says that a route leads to this target, whatever its requests say: it is a label of metrics from now on. If the
    /// route spools, those of its spool begin at zero, so that no increase is missed. With `on_poison: stop` records that
    /// were spooled under it keep their places; under a configuration that does not say so any more they do not.
    pub fn expect(&self, target: TargetName, ack: &AckPlan) {
        locked(&self.named).insert(target.as_str().to_owned());
        let lane = self.lane(target);
        if ack.mode != AckMode::Target {
            lane.begin_at_zero();
        }
        if ack.on_poison == OnPoison::Stop {
            lane.stops();
        }
    }

    /// Says that the requests of a route name its target.
    pub fn expect_any(&self, ack: &AckPlan) {
        if ack.on_poison == OnPoison::Stop {
            self.any_stops.store(true, Ordering::Relaxed);
        }
    }

    /// Begins to empty the spools that the store holds, as soon as it is open. Needs a Tokio runtime; starting twice is
    /// no error.
    pub fn start(self: &Arc<Self>) {
        if !self.started.swap(true, Ordering::Relaxed) {
            let roll_calls = self.clone().call_the_roll();
            self.tasks.spawn(roll_calls);
        }
    }

    /// Sees to it that somebody works for every spool that holds something.
    async fn call_the_roll(self: Arc<Self>) {
        let mut doubled = 0;
        loop {
            if let Ok(store) = self.targets.open_store() {
                let found = store.possible_duplicates();
                if found > doubled {
                    self.count_found_under_way(found - doubled);
                }
                doubled = found;
                for target in store.spooled_targets() {
                    if store.spool_depth(&target).depth == 0 {
                        continue;
                    }
                    if let Some(name) = TargetName::read(&target) {
                        self.employ(&self.lane(name));
                    }
                }
            }
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = tokio::time::sleep(ROLL_CALL) => {}
            }
        }
    }

    fn count_found_under_way(&self, records: u64) {
        let counters = &self.metrics.possible_duplicates;
        counters.get_or_create(&found_under_way()).inc_by(records);
    }

    /// A target's lane, made when it is first needed. For targets that have a spool, or are about to get one: what the
    /// store takes bounds them.
    fn lane(&self, name: TargetName) -> Arc<Lane> {
        let mut lanes = locked(&self.lanes);
        match lanes.get(name.as_str()) {
            Some(lane) => lane.clone(),
            None => self.make_lane(&mut lanes, name),
        }
    }

    /// A target's lane for a call that nothing follows; `None` for one of more targets than are kept. Requests may name
    /// any number of them.
    fn lane_if_room(&self, name: TargetName) -> Option<Arc<Lane>> {
        let mut lanes = locked(&self.lanes);
        if let Some(lane) = lanes.get(name.as_str()) {
            return Some(lane.clone());
        }
        if lanes.len() >= KEPT_TARGETS {
            self.clear_out(&mut lanes);
        }
        (lanes.len() < KEPT_TARGETS).then(|| self.make_lane(&mut lanes, name))
    }

    /// Forgets targets of requests that are well.
    fn clear_out(&self, lanes: &mut HashMap<String, Arc<Lane>>) {
        let named = locked(&self.named);
        lanes.retain(|target, lane| lane.is_needed() || named.contains(target));
    }

    fn make_lane(&self, lanes: &mut HashMap<String, Arc<Lane>>, name: TargetName) -> Arc<Lane> {
        if lanes.len() >= KEPT_TARGETS {
            self.clear_out(lanes);
        }
        let label = self.label_of(&name);
        let label_is_dynamic = label == DYNAMIC;
        let settings = self.settings.load().of(name.plain()).clone();
        let text = name.as_str().to_owned();
        let metrics = self.metrics.clone();
        let carrier = Arc::new(Calls {
            targets: self.targets.clone(),
            cut: self.cut.clone(),
        });
        let life = (self.tasks.clone(), self.cut.child_token());
        let lane = Lane::new(name, Name(label.into()), settings, metrics, carrier, life);
        if label_is_dynamic && self.any_stops.load(Ordering::Relaxed) {
            lane.stops();
        }
        let lane = Arc::new(lane);
        lanes.insert(text, lane.clone());
        lane
    }

    /// The target as a label of metrics: as its spool is called, behind `spool:`.
    fn label_of(&self, name: &TargetName) -> String {
        match locked(&self.named).contains(name.as_str()) {
            true => name.as_str().to_owned(),
            false => DYNAMIC.to_owned(),
        }
    }

    /// Has somebody work for a target's spool.
    fn employ(self: &Arc<Self>, lane: &Arc<Lane>) {
        if self.started.load(Ordering::Relaxed) && !self.ending.is_cancelled() && lane.employ() {
            self.tasks.spawn(self.clone().work(lane.clone()));
        }
    }

    /// Every target that has a spool, or whose breaker has seen a call.
    pub fn targets(&self) -> Vec<TargetView> {
        let store = self.targets.open_store().ok();
        if let Some(store) = &store {
            let spooled = store.spooled_targets();
            for name in spooled.iter().filter_map(|target| TargetName::read(target)) {
                self.lane(name);
            }
        }
        let ages = store.as_ref().map(ages).unwrap_or_default();
        let lanes: Vec<Arc<Lane>> = locked(&self.lanes).values().cloned().collect();
        let mut views: Vec<TargetView> = lanes
            .into_iter()
            .filter_map(|lane| {
                let target = lane.name.as_str();
                let age = ages.get(&spool_queue(target));
                if age.is_none() && !lane.is_seen() {
                    return None;
                }
                let depth = store.as_ref().map(|store| store.spool_depth(target));
                let depth = depth.unwrap_or_default();
                Some(TargetView {
                    target: target.to_owned(),
                    breaker: lane.standing().name(),
                    last_error: lane.last_error(),
                    depth: depth.depth,
                    bytes: depth.bytes,
                    dead_letters: depth.dead_letters,
                    stuck: lane.stuck(),
                    oldest_age: age.copied().flatten(),
                })
            })
            .collect();
        views.sort_by(|a, b| a.target.cmp(&b.target));
        views
    }
}

fn found_under_way() -> Doubled {
    Doubled {
        target: Name("".into()),
        cause: "restart",
    }
}

/// The spools by their queue, and the age of each one's oldest record.
fn ages(store: &Store) -> HashMap<String, Option<Duration>> {
    let queues = store.stats().queues.into_iter();
    queues.map(|queue| (queue.name, queue.oldest_age)).collect()
}

/// For [`NewKey`]'s receipt: what `deliver` stores with a spooled record, and an answer that it becomes again.
pub fn answer_of(receipt: &Bytes) -> Option<Answer> {
    Answer::decode(receipt)
}
