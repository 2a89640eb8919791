//! One target, as all who call it in this process share it: its breaker, its settings, and what is known of records
//! that the store has not heard of yet.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::Dice;
use super::breaker::{Breaker, Caller, Health, NotNow, Pass, Standing};
use super::coalesce::{Carrier, Coalescer, Meters};
use super::outlook::{Outlook, UnderWay};
use super::settings::TargetSettings;
use crate::integration::{Answer, Class, Request, Service, TargetError, TargetName};
use crate::store::Settlement;
use crate::telemetry::forwarding::{
    Attempted, BreakerState, ByTarget, Doubled, Forwarding, SPOOLED_WHY, SpooledWhy,
};
use crate::telemetry::metrics::Name;

/// Records of which a lane remembers how their last attempt ended; see [`Lane::may_be_there`].
const REMEMBERED: usize = 4096;

/// A target.
pub(super) struct Lane {
    pub(super) name: TargetName,
    label: Name,
    metrics: Forwarding,
    settings: Arc<ArcSwap<TargetSettings>>,
    /// Requests' calls that share; `None` for a target that takes one record a call.
    coalescer: Option<Arc<Coalescer>>,
    dice: Dice,
    guarded: Mutex<Guarded>,
    /// The breaker may let somebody through who was refused before.
    changed: Notify,
    employed: AtomicBool,
    /// By id: how deliveries went that the store has not been told of, because it does not work.
    confirmed: Mutex<HashMap<String, Settlement>>,
    tried: Mutex<HashMap<String, bool>>,
    /// By id: records that a request's own call may still bring to the target. However late that call ends, the spool
    /// does not send them meanwhile.
    direct: Mutex<HashSet<String>>,
    /// By id: records that are refused and keep their place.
    stuck: Mutex<HashSet<String>>,
    /// A route to it says `on_poison: stop`.
    stops: AtomicBool,
    outlook: Arc<Outlook>,
    /// The spool's calls that are under way are given up.
    pub(super) cut: CancellationToken,
}

struct Guarded {
    breaker: Breaker,
    last_error: Option<String>,
    /// What was last said aloud of an open breaker: each trouble once.
    announced: Option<(Health, String)>,
    /// A call has ended.
    seen: bool,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // what is guarded is whole after each statement
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    pub(super) fn new(
        name: TargetName,
        label: Name,
        settings: TargetSettings,
        metrics: Forwarding,
        carrier: Arc<dyn Carrier>,
        (tasks, cut): (TaskTracker, CancellationToken),
    ) -> Lane {
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let limits = name.batch_limits();
        let coalescer = (limits.records > 1).then(|| {
            let meters = Meters::new(&metrics, &label);
            let limits = (limits, name.billing());
            Arc::new(Coalescer::new(
                limits,
                settings.clone(),
                carrier,
                tasks,
                meters,
            ))
        });
        let lane = Lane {
            name,
            label,
            metrics,
            settings,
            coalescer,
            dice: Dice::new(),
            guarded: Mutex::new(Guarded {
                breaker: Breaker::new(),
                last_error: None,
                announced: None,
                seen: false,
            }),
            changed: Notify::new(),
            employed: AtomicBool::new(false),
            confirmed: Mutex::default(),
            tried: Mutex::default(),
            direct: Mutex::default(),
            stuck: Mutex::default(),
            stops: AtomicBool::new(false),
            outlook: Arc::default(),
            cut,
        };
        for standing in Standing::ALL {
            let transitions = &lane.metrics.breaker_transitions;
            drop(transitions.get_or_create(&lane.state(standing)));
        }
        lane.show(Standing::Closed);
        lane
    }

    pub(super) fn settings(&self) -> Arc<TargetSettings> {
        self.settings.load_full()
    }

    pub(super) fn configure(&self, settings: TargetSettings) {
        self.settings.store(Arc::new(settings));
    }

    pub(super) fn dice(&self) -> &Dice {
        &self.dice
    }

    /// True for the first who asks: there is one worker.
    pub(super) fn employ(&self) -> bool {
        !self.employed.swap(true, Ordering::Relaxed)
    }

    /// Until this is dropped, nobody else is employed.
    pub(super) fn employed(self: &Arc<Self>) -> Employed {
        Employed(self.clone())
    }

    /// Whether dropping it would forget something.
    pub(super) fn is_needed(&self) -> bool {
        self.employed.load(Ordering::Relaxed)
            || self.standing() != Standing::Closed
            || self
                .coalescer
                .as_ref()
                .is_some_and(|shared| !shared.is_idle())
    }

    /// Where the request's call can be shared, if it can.
    pub(super) fn sharing(&self, request: &Request) -> Option<&Arc<Coalescer>> {
        let coalescer = self.coalescer.as_ref();
        coalescer.filter(|coalescer| coalescer.is_on() && request.can_be_shared())
    }

    pub(super) fn standing(&self) -> Standing {
        locked(&self.guarded).breaker.standing()
    }

    /// Why the breaker is open.
    pub(super) fn last_error(&self) -> Option<String> {
        locked(&self.guarded).last_error.clone()
    }

    /// A call has ended, in this process.
    pub(super) fn is_seen(&self) -> bool {
        locked(&self.guarded).seen
    }

    /// How long nobody will be let through.
    pub(super) fn closed_for(&self) -> Option<Duration> {
        locked(&self.guarded).breaker.closed_for(Instant::now())
    }

    /// Ends the breaker's pause, and has the worker look at the spool. What an open breaker is; see [`Lane::epoch`].
    pub(super) fn hurry(&self) -> Option<u64> {
        let mut guarded = locked(&self.guarded);
        guarded.breaker.hurry(Instant::now());
        let open = guarded.breaker.standing() == Standing::Open;
        let epoch = guarded.breaker.epoch();
        drop(guarded);
        self.changed.notify_waiters();
        self.outlook.stirs();
        open.then_some(epoch)
    }

    /// Differs from what it was if the breaker has changed its state.
    pub(super) fn epoch(&self) -> u64 {
        locked(&self.guarded).breaker.epoch()
    }

    /// What is known of whether the spool can give anything out.
    pub(super) fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    /// Notes that the worker is about to look at the spool, until what this gives is dropped.
    pub(super) fn under_way(&self) -> UnderWay {
        UnderWay::begin(&self.outlook, Instant::now())
    }

    /// Whether the spool, which holds something, may give anything out until then, or is being emptied now. Certain
    /// only once its worker has looked since `from`.
    pub(super) fn may_give(&self, from: Instant, until: Instant) -> bool {
        !locked(&self.direct).is_empty() || self.outlook.may_give(from, until)
    }

    /// Whether it is a record that is refused and keeps its place.
    pub(super) fn keeps(&self, id: &str) -> bool {
        locked(&self.stuck).contains(id)
    }

    /// Asks the breaker.
    pub(super) fn begin(self: &Arc<Self>, caller: Caller) -> Result<Trip, NotNow> {
        let settings = self.settings.load();
        let mut guarded = locked(&self.guarded);
        let pass = guarded.breaker.begin(caller, Instant::now(), &settings)?;
        Ok(Trip {
            lane: self.clone(),
            pass: Some(pass),
        })
    }

    /// Asks the breaker for the spool, and waits until it agrees.
    pub(super) async fn begin_when_open(self: &Arc<Self>) -> Trip {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // from here on no change is missed
            changed.as_mut().enable();
            match self.begin(Caller::Spool) {
                Ok(trip) => return trip,
                Err(NotNow { wait: Some(wait) }) => {
                    let _ = tokio::time::timeout(wait, changed).await;
                }
                Err(NotNow { wait: None }) => changed.await,
            }
        }
    }

    fn ended(&self, pass: Pass, health: Health, error: Option<&TargetError>) {
        let settings = self.settings.load();
        let mut guarded = locked(&self.guarded);
        guarded.seen = true;
        if let Some(error) = error.filter(|_| health != Health::Well) {
            guarded.last_error = Some(error.to_string());
        }
        let before = guarded.breaker.standing();
        let now = Instant::now();
        if !guarded
            .breaker
            .end(pass, health, now, &settings, &self.dice)
        {
            drop(guarded);
            self.changed.notify_waiters();
            return;
        }
        let after = guarded.breaker.standing();
        let target = &self.name;
        match (after, error) {
            (Standing::Open, Some(error)) => {
                let said = Some((health, error.code.clone()));
                if guarded.announced != said {
                    guarded.announced = said;
                    if health == Health::Unusable {
                        tracing::error!(%target, %error, "A target cannot be used as it is set up: its records wait");
                    } else {
                        tracing::warn!(%target, %error, "A target does not work: its breaker is open");
                    }
                }
            }
            (Standing::Closed, _) => {
                guarded.announced = None;
                guarded.last_error = None;
                tracing::info!(%target, "A target works again: its breaker is closed");
            }
            _ => {}
        }
        if before != after {
            self.metrics
                .breaker_transitions
                .get_or_create(&self.state(after))
                .inc();
            self.show(after);
        }
        drop(guarded);
        self.changed.notify_waiters();
    }

    fn state(&self, standing: Standing) -> BreakerState {
        BreakerState {
            target: self.label.clone(),
            state: standing.name(),
        }
    }

    fn show(&self, now: Standing) {
        for standing in Standing::ALL {
            let level = self
                .metrics
                .breaker_state
                .get_or_create(&self.state(standing));
            level.set(i64::from(standing == now));
        }
    }

    /// What is counted of its spool is there from now on, at zero where nothing has been counted.
    pub(super) fn begin_at_zero(&self) {
        let (metrics, by_target) = (&self.metrics, self.by_target());
        for why in SPOOLED_WHY {
            let labels = SpooledWhy {
                target: self.label.clone(),
                why,
            };
            drop(metrics.spooled.get_or_create(&labels));
        }
        let counters = [
            &metrics.forwarded,
            &metrics.dead_letters,
            &metrics.order_gaps,
        ];
        for counter in counters {
            drop(counter.get_or_create(&by_target));
        }
        drop(metrics.possible_duplicates.get_or_create(&self.doubled()));
        drop(metrics.stuck.get_or_create(&by_target));
    }

    fn doubled(&self) -> Doubled {
        Doubled {
            target: self.label.clone(),
            cause: "unknown",
        }
    }

    fn by_target(&self) -> ByTarget {
        ByTarget {
            target: self.label.clone(),
        }
    }

    pub(super) fn count_spooled(&self, why: &'static str) {
        let labels = SpooledWhy {
            target: self.label.clone(),
            why,
        };
        self.metrics.spooled.get_or_create(&labels).inc();
    }

    pub(super) fn count_batch(&self, records: usize) {
        let sizes = self.metrics.batch_records.get_or_create(&self.by_target());
        sizes.observe(records as f64);
    }

    pub(super) fn count_attempt(&self, result: &Result<Answer, TargetError>) {
        let labels = Attempted {
            target: self.label.clone(),
            result: result
                .as_ref()
                .map_or_else(|error| error.reason().name(), |_| "ok"),
        };
        self.metrics.attempts.get_or_create(&labels).inc();
    }

    pub(super) fn count_forwarded(&self) {
        let forwarded = self.metrics.forwarded.get_or_create(&self.by_target());
        forwarded.inc();
    }

    pub(super) fn count_dead(&self, ordered: bool) {
        let labels = self.by_target();
        self.metrics.dead_letters.get_or_create(&labels).inc();
        if ordered {
            self.metrics.order_gaps.get_or_create(&labels).inc();
        }
    }

    /// A record whose outcome nobody knows is going to be sent again.
    pub(super) fn count_possible_duplicate(&self) {
        self.metrics
            .possible_duplicates
            .get_or_create(&self.doubled())
            .inc();
    }

    /// Notes that a request's own call is under way for a record that is spooled, until what this gives is dropped.
    pub(super) fn calls_directly(self: &Arc<Self>, id: String) -> Direct {
        locked(&self.direct).insert(id.clone());
        Direct {
            lane: self.clone(),
            id,
        }
    }

    /// Whether a request's own call for the record is under way.
    pub(super) fn is_called_directly(&self, id: &str) -> bool {
        locked(&self.direct).contains(id)
    }

    /// The store could not be told so far.
    pub(super) fn confirm(&self, id: &str, settlement: &Settlement) {
        if !matches!(settlement, Settlement::Later(_)) {
            locked(&self.confirmed).insert(id.to_owned(), settlement.clone());
        }
    }

    pub(super) fn confirmed(&self, id: &str) -> Option<Settlement> {
        locked(&self.confirmed).get(id).cloned()
    }

    /// The store knows now.
    pub(super) fn settled<'i>(&self, ids: impl Iterator<Item = &'i str>) {
        let mut confirmed = locked(&self.confirmed);
        if confirmed.is_empty() {
            return;
        }
        for id in ids {
            confirmed.remove(id);
        }
    }

    /// Notes how an attempt ended that is going to be repeated. Matters where a target refuses what it has already:
    /// that is the success of an earlier attempt only if one may have got through.
    pub(super) fn remember(&self, id: &str, error: &TargetError) {
        if self.name.service() != Service::StepFunctions {
            return;
        }
        let mut tried = locked(&self.tried);
        let earlier = tried.get(id).copied().unwrap_or(false);
        if tried.len() < REMEMBERED || tried.contains_key(id) {
            tried.insert(id.to_owned(), earlier || error.may_be_stored());
        }
    }

    /// Records that are refused may keep their places from now on.
    pub(super) fn stops(&self) {
        self.stops.store(true, Ordering::Relaxed);
    }

    /// Whether records that are refused may keep their places.
    pub(super) fn may_stop(&self) -> bool {
        self.stops.load(Ordering::Relaxed)
    }

    /// Records that are refused and keep their place.
    pub(super) fn stuck(&self) -> u64 {
        locked(&self.stuck).len() as u64
    }

    /// The spool is empty: what was stuck has been purged.
    pub(super) fn holds_nothing(&self) {
        let mut stuck = locked(&self.stuck);
        if !stuck.is_empty() {
            stuck.clear();
            self.show_stuck(&stuck);
        }
    }

    fn show_stuck(&self, stuck: &HashSet<String>) {
        let level = self.metrics.stuck.get_or_create(&self.by_target());
        level.set(i64::try_from(stuck.len()).unwrap_or(i64::MAX));
    }

    /// A record is refused and keeps its place: said aloud once.
    pub(super) fn is_stuck(&self, id: &str, error: &TargetError) {
        let mut stuck = locked(&self.stuck);
        if stuck.len() < REMEMBERED && stuck.insert(id.to_owned()) {
            self.show_stuck(&stuck);
            let target = &self.name;
            tracing::error!(%target, id, %error, "A target refuses a record for what it is: those behind it wait until it is taken or purged");
        }
    }

    pub(super) fn forget(&self, id: &str) {
        let mut stuck = locked(&self.stuck);
        if stuck.remove(id) {
            self.show_stuck(&stuck);
        }
        drop(stuck);
        if self.name.service() == Service::StepFunctions {
            locked(&self.tried).remove(id);
        }
    }

    /// Whether an earlier attempt may have got through; one that this process does not remember may have.
    pub(super) fn may_be_there(&self, id: &str, attempts: u32) -> bool {
        let tried = locked(&self.tried);
        tried.get(id).copied().unwrap_or(attempts > 1)
    }
}

/// The worker's post.
pub(super) struct Employed(Arc<Lane>);

impl Drop for Employed {
    fn drop(&mut self) {
        self.0.employed.store(false, Ordering::Relaxed);
    }
}

/// A request's own call for a record that is spooled.
pub(super) struct Direct {
    lane: Arc<Lane>,
    id: String,
}

impl Drop for Direct {
    fn drop(&mut self) {
        locked(&self.lane.direct).remove(&self.id);
    }
}

/// One call that the breaker knows of. Dropped without a word, it was not made.
pub(super) struct Trip {
    lane: Arc<Lane>,
    pass: Option<Pass>,
}

impl Trip {
    /// Whether the call is to find out how the target is: it should risk little.
    pub(super) fn is_careful(&self) -> bool {
        self.pass.as_ref().is_some_and(Pass::is_careful)
    }

    /// Tells the breaker what came of the call: how its records fared.
    pub(super) fn end<'r>(
        mut self,
        results: impl Iterator<Item = &'r Result<Answer, TargetError>>,
    ) {
        let mut verdict: Option<(Health, Option<&TargetError>)> = None;
        for result in results {
            let failure = match result {
                Ok(answer) => answer.failure(),
                Err(error) => Some(error),
            };
            let (health, error) = match failure {
                None => (Health::Well, None),
                Some(error) => match health(error) {
                    Some(health) => (health, Some(error)),
                    None => continue,
                },
            };
            // one record that got through says that the target works; else the gravest failure counts
            let graver = matches!(
                (&verdict, health),
                (None, _) | (_, Health::Well) | (Some((Health::Ill, _)), Health::Unusable)
            );
            if graver {
                verdict = Some((health, error));
            }
        }
        if let Some((health, error)) = verdict
            && let Some(pass) = self.pass.take()
        {
            self.lane.ended(pass, health, error);
        }
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            locked(&self.lane.guarded).breaker.cancel(pass);
            self.lane.changed.notify_waiters();
        }
    }
}

/// What a failure says about its target; `None`: nothing.
fn health(error: &TargetError) -> Option<Health> {
    match error.class {
        Class::Record | Class::Limit | Class::Failed => Some(Health::Well),
        Class::Setup => Some(Health::Unusable),
        _ if error.is_ours() => None,
        _ => Some(Health::Ill),
    }
}
