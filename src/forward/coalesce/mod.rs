//! The coalescer of one target: requests that come at the same time share calls, and each is answered with what became
//! of its own record.
//!
//! **When a call goes.** A batch that is full goes at once, as long as fewer calls are under way than may be ([`Flow`]).
//! One that is not full goes at once while fewer than [`SOFT`] calls are under way, so nobody waits at an idle target;
//! then it waits for a call that ends, whose task takes what there is, or for the linger's end. *Whoever leaves the lock
//! while something is ready and nobody is bound to take it must see to it that somebody is* ([`State::work`]): the first
//! prototype did not, and records waited for seconds.
//!
//! There is no task for a target that is idle, and none for a record: one for each call that is under way, which goes
//! on with the next, and one for the linger while that runs.
//!
//! **What a caller is told.** While its record waits it can be taken back ([`Place::withdraw`]): that it was not sent is
//! certain. Once it is in a call, only the call's end tells. A caller that is dropped takes its record back if it still
//! waits; else its record's fate is told to nobody here, and what it counts for is counted by who owned the call.
//!
//! **Order.** B follows A if A was acknowledged before B's head arrived; all others are concurrent. Entries that wait
//! together are concurrent, so they may share a call, and are put into it in the order of their coming, which a FIFO
//! queue keeps. Entries of one key are never in two calls at once. PutRecords promises no order and may take B and
//! refuse A before it: then A is not acknowledged by this call, and B did not follow it. If A is then spooled and
//! acknowledged, whatever comes after that finds its key in the spool and goes behind it. That an entry has waited since
//! it found its key absent from the spool changes nothing: what has been spooled meanwhile was acknowledged after this
//! entry's head arrived, so neither has to follow the other; and who has to follow this entry comes when it has been
//! acknowledged, that is, when it is at the target or itself in the spool.
//!
//! **What does not share calls.** Receives: what one caller's share of a joint receive is would be ours to choose, and
//! messages for a caller that has gone would be invisible until their timeout for nobody. Records that ask for what a
//! batch call cannot say (`SequenceNumberForOrdering`).

mod flow;
mod list;
mod meters;
mod queue;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use self::meters::Meters;

use self::flow::{Ended, Flow};
use self::meters::{Levels, TurnedAway};
use self::queue::{Amount, Keys, Queue, Ticket};
use super::lane::locked;
use super::settings::TargetSettings;
use crate::integration::{
    Answer, BatchLimits, Billing, Class, Request, Service, TargetError, Targets,
};

/// Calls under way up to which a batch goes although it is not full. Measured: 1, 4 and 16 make no difference in CPU.
const SOFT: usize = 4;
/// How long a batch that is not full waits at most while [`SOFT`] calls and more are under way, unless the
/// configuration says otherwise.
const LINGER: Duration = Duration::from_millis(2);
/// What may wait for one target.
const MOST_WAITING: Amount = Amount {
    entries: 2048,
    bytes: 64 << 20,
};

type Called = Result<Answer, TargetError>;

/// Makes calls. The seam below the coalescer.
pub(super) trait Carrier: Send + Sync {
    /// One call for all of them, and a verdict for each, in their order, by the deadline.
    fn carry(&self, requests: Vec<Request>, deadline: Instant) -> BoxFuture<'_, Vec<Called>>;
}

/// Calls to AWS, until the forwarder is cut off.
pub(super) struct Calls {
    pub(super) targets: Arc<Targets>,
    pub(super) cut: CancellationToken,
}

impl Carrier for Calls {
    fn carry(&self, requests: Vec<Request>, deadline: Instant) -> BoxFuture<'_, Vec<Called>> {
        Box::pin(async move {
            let services: Vec<Service> = requests.iter().map(Request::service).collect();
            let of_all = |error: fn(Service) -> TargetError| {
                let services = services.iter();
                services.map(|service| Err(error(*service))).collect()
            };
            if self.cut.is_cancelled() {
                return of_all(TargetError::target_busy);
            }
            let calling = AssertUnwindSafe(self.targets.call_shared(requests, deadline));
            let calling = Box::pin(calling.catch_unwind());
            tokio::select! {
                // a panic, which has been logged
                answers = calling => answers.unwrap_or_else(|_| of_all(TargetError::panicked)),
                () = self.cut.cancelled() => of_all(TargetError::interrupted),
            }
        })
    }
}

/// A record that wants a call.
pub(super) struct Passenger<'a> {
    pub(super) request: Request,
    /// What keeps it in order.
    pub(super) key: Option<&'a str>,
    /// Whose it is, for fairness.
    pub(super) tenant: u64,
    /// How long it can wait for its call.
    pub(super) patience: Instant,
    /// When its call has to be over.
    pub(super) deadline: Instant,
}

/// What is known of a call that several have shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ride {
    /// Records in the call.
    pub records: usize,
    /// How long the record waited for it.
    pub waited: Duration,
}

/// An entry that waits.
struct Waiting {
    request: Request,
    deadline: Instant,
    since: Instant,
    reply: oneshot::Sender<(Called, Option<Ride>)>,
}

struct State {
    queue: Queue<Waiting>,
    flow: Flow,
    /// Tasks that are about to take a batch.
    starting: usize,
    /// Calls under way.
    calling: usize,
    /// A task waits for the linger's end.
    lingering: bool,
    shown: Levels,
}

/// Tasks that have to be started when the lock is left.
#[derive(Debug, Default)]
struct Work {
    /// For full batches.
    at_once: usize,
    /// That let those who are about to come in first.
    politely: usize,
    linger: Option<Duration>,
}

/// How much a target takes now.
struct Bounds {
    records: usize,
    bytes: usize,
    cap: Option<usize>,
    linger: Option<Duration>,
}

/// A batch that goes.
struct Batch {
    waiting: Vec<Waiting>,
    keys: Keys,
    deadline: Instant,
    /// As many calls were under way as may be.
    full: bool,
}

/// See the module's text.
pub(super) struct Coalescer {
    limits: BatchLimits,
    billing: Billing,
    settings: Arc<ArcSwap<TargetSettings>>,
    carrier: Arc<dyn Carrier>,
    tasks: TaskTracker,
    meters: Meters,
    state: Mutex<State>,
}

impl Coalescer {
    pub(super) fn new(
        (limits, billing): (BatchLimits, Billing),
        settings: Arc<ArcSwap<TargetSettings>>,
        carrier: Arc<dyn Carrier>,
        tasks: TaskTracker,
        meters: Meters,
    ) -> Coalescer {
        Coalescer {
            limits,
            billing,
            settings,
            carrier,
            tasks,
            meters,
            state: Mutex::new(State {
                queue: Queue::new(),
                flow: Flow::new(),
                starting: 0,
                calling: 0,
                lingering: false,
                shown: Levels::default(),
            }),
        }
    }

    /// Whether records for this target share calls.
    pub(super) fn is_on(&self) -> bool {
        self.limits.records > 1 && self.settings.load().batch > 1
    }

    /// Nothing waits, and no call is under way.
    pub(super) fn is_idle(&self) -> bool {
        let state = locked(&self.state);
        state.queue.waiting().entries == 0 && state.starting + state.calling == 0
    }

    /// Has it wait for a call to the target.
    ///
    /// # Errors
    /// [`TargetError::target_busy`]: too much waits, or what waits would have it wait for longer than it can.
    pub(super) fn board(self: &Arc<Self>, passenger: Passenger<'_>) -> Result<Place, TargetError> {
        let Passenger {
            request,
            key,
            tenant,
            patience,
            deadline,
        } = passenger;
        let (service, bytes, now) = (request.service(), request.size(), Instant::now());
        let bounds = self.bounds();
        let mut state = locked(&self.state);
        if state.is_late(tenant, patience, now, &bounds) {
            drop(state);
            self.meters.turned_away(TurnedAway::Late);
            return Err(TargetError::target_busy(service));
        }
        let mut displaced = Vec::new();
        while state.is_full(bytes) {
            match state.make_room(tenant) {
                Some(waiting) => displaced.push(waiting),
                None => break,
            }
        }
        if state.is_full(bytes) {
            drop(state);
            self.turn_away(displaced, TurnedAway::Displaced);
            self.meters.turned_away(TurnedAway::Full);
            return Err(TargetError::target_busy(service));
        }
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            request,
            deadline,
            since: now,
            reply,
        };
        let ticket = state.queue.push(tenant, key, bytes, waiting);
        self.leave(state, &bounds);
        self.turn_away(displaced, TurnedAway::Displaced);
        Ok(Place {
            coalescer: self.clone(),
            ticket,
            answer,
            service,
            answered: false,
        })
    }

    /// One call with others, and what became of the record, by the deadline.
    pub(super) async fn call(self: &Arc<Self>, passenger: Passenger<'_>) -> (Called, Option<Ride>) {
        let deadline = passenger.deadline;
        let mut place = match self.board(passenger) {
            Ok(place) => place,
            Err(error) => return (Err(error), None),
        };
        match tokio::time::timeout_at(deadline, place.answer()).await {
            Ok(answer) => answer,
            Err(_) if place.withdraw() => (Err(TargetError::waited_too_long(place.service)), None),
            // the call's own deadline is the latest of its records'
            Err(_) => place.answer.try_recv().unwrap_or_else(|_| {
                let unanswered = TargetError::unanswered(place.service);
                (Err(unanswered), None)
            }),
        }
    }

    fn bounds(&self) -> Bounds {
        let settings = self.settings.load();
        Bounds {
            records: self.limits.records.min(settings.batch).max(1),
            bytes: self.limits.bytes,
            cap: settings.in_flight,
            linger: settings.linger,
        }
    }

    fn turn_away(&self, displaced: Vec<Waiting>, why: TurnedAway) {
        for waiting in displaced {
            self.meters.turned_away(why);
            let error = TargetError::target_busy(waiting.request.service());
            let _ = waiting.reply.send((Err(error), None)); // who waited may be gone
        }
    }

    /// Every way out of the lock: sees to it that whatever is ready has somebody who takes it.
    fn leave(self: &Arc<Self>, mut state: MutexGuard<'_, State>, bounds: &Bounds) {
        let work = state.work(bounds);
        let (waiting, calling) = (state.queue.waiting().entries, state.calling);
        self.meters.show(&mut state.shown, waiting, calling);
        drop(state);
        for _ in 0..work.at_once {
            self.tasks.spawn(self.clone().drive(false));
        }
        for _ in 0..work.politely {
            self.tasks.spawn(self.clone().drive(true));
        }
        if let Some(span) = work.linger {
            self.tasks.spawn(self.clone().wait_and_drive(span));
        }
    }

    /// Makes a call, and goes on with the next as long as something waits. `politely`: those who are about to come are
    /// let in before.
    async fn drive(self: Arc<Self>, politely: bool) {
        if politely {
            tokio::task::yield_now().await;
        }
        let batch = self.next_batch(|state, _| state.starting -= 1);
        self.carry_on(batch).await;
    }

    async fn wait_and_drive(self: Arc<Self>, linger: Duration) {
        tokio::time::sleep(linger).await;
        let batch = self.next_batch(|state, _| state.lingering = false);
        self.carry_on(batch).await;
    }

    /// Changes the state, and takes what may go then.
    fn next_batch(self: &Arc<Self>, change: impl FnOnce(&mut State, &Bounds)) -> Option<Batch> {
        let bounds = self.bounds();
        let mut state = locked(&self.state);
        change(&mut state, &bounds);
        let batch = self.take(&mut state, &bounds);
        self.leave(state, &bounds);
        batch
    }

    async fn carry_on(self: &Arc<Self>, first: Option<Batch>) {
        let mut batch = first;
        while let Some(Batch {
            waiting,
            keys,
            deadline,
            full,
        }) = batch
        {
            let began = Instant::now();
            let records = waiting.len();
            let mut replies = Vec::with_capacity(records);
            let mut requests = Vec::with_capacity(records);
            for Waiting {
                request,
                since,
                reply,
                ..
            } in waiting
            {
                let waited = began.saturating_duration_since(since);
                self.meters.waited(waited);
                replies.push((reply, Ride { records, waited }));
                requests.push(request);
            }
            let service = requests.first().map_or(Service::Mock, Request::service);
            let answers = self.carrier.carry(requests, deadline).await;
            let throttled = answers.iter().filter(|answer| is_throttled(answer)).count();
            // Callers hear before the next batch is taken: what they send next may be in it.
            let mut answers = answers.into_iter();
            for (reply, ride) in replies {
                let missing = || Err(TargetError::interrupted(service));
                let answer = answers.next().unwrap_or_else(missing);
                let _ = reply.send((answer, Some(ride))); // who waited may be gone
            }
            let call = Ended {
                began,
                now: Instant::now(),
                // a hot shard's records are no word about the stream
                throttled: throttled * 2 >= records && throttled > 0,
                full,
            };
            batch = self.next_batch(|state, bounds| {
                state.calling -= 1;
                state.flow.ended(&call, bounds.cap);
                state.queue.release(keys);
            });
        }
    }

    /// The next batch, if a call may be made.
    fn take(&self, state: &mut State, bounds: &Bounds) -> Option<Batch> {
        let ceiling = state.flow.ceiling(bounds.cap);
        if state.queue.ready().entries == 0 || state.starting + state.calling >= ceiling {
            return None;
        }
        let mut units = (0, 0);
        let (waiting, keys) = state.queue.take(bounds.records, bounds.bytes, |sizes| {
            let chosen = best(self.billing, sizes);
            let sizes = &sizes[..chosen];
            units = (self.billing.units(sizes), self.billing.units_alone(sizes));
            chosen
        });
        state.calling += 1;
        self.meters.sends(waiting.len(), units);
        let deadlines = waiting.iter().map(|waiting| waiting.deadline);
        Some(Batch {
            deadline: deadlines.max().unwrap_or_else(Instant::now),
            keys,
            waiting,
            full: state.starting + state.calling >= ceiling,
        })
    }
}

/// How many of the records, the first ones, are billed least for each: of several such counts the largest.
fn best(billing: Billing, sizes: &[usize]) -> usize {
    let all = sizes.len();
    let Billing::Call(step) = billing else {
        return all;
    };
    let mut bytes = 0;
    let mut found = (1, 1u64);
    for (place, size) in sizes.iter().enumerate() {
        bytes += size;
        let (records, units) = (place as u64 + 1, bytes.div_ceil(step).max(1) as u64);
        // units ÷ records, without the division
        if units * found.0 <= found.1 * records {
            found = (records, units);
        }
    }
    usize::try_from(found.0).unwrap_or(all).min(all)
}

fn is_throttled(called: &Called) -> bool {
    let failure = match called {
        Ok(answer) => answer.failure(),
        Err(error) => Some(error),
    };
    failure.is_some_and(|error| error.class == Class::Throttled)
}

impl State {
    fn is_full(&self, bytes: usize) -> bool {
        let waiting = self.queue.waiting();
        // one record that is larger than all that may wait still gets its turn
        waiting.entries >= MOST_WAITING.entries
            || (waiting.bytes > 0 && waiting.bytes + bytes > MOST_WAITING.bytes)
    }

    /// Whether its call would come too late, behind those that have their turns before.
    fn is_late(&self, tenant: u64, patience: Instant, now: Instant, bounds: &Bounds) -> bool {
        let ceiling = self.flow.ceiling(bounds.cap);
        if self.starting + self.calling < ceiling {
            return false;
        }
        let waiting = self.queue.waiting();
        let own = self.queue.entries_of(tenant);
        let ahead = waiting.entries.min((own + 1) * self.queue.tenants());
        let by_bytes = waiting.bytes * ahead / waiting.entries.max(1) / bounds.bytes.max(1);
        let calls = (ahead / bounds.records).max(by_bytes);
        let wait = self.flow.wait(calls, bounds.cap).filter(|_| calls > 0);
        wait.is_some_and(|wait| now + wait > patience)
    }

    /// The newest entry of the tenant who has the most gives way to one of a tenant who has less than its fair share.
    fn make_room(&mut self, tenant: u64) -> Option<Waiting> {
        let own = self.queue.entries_of(tenant);
        let (waiting, tenants) = (self.queue.waiting().entries, self.queue.tenants());
        if (own + 1) * tenants.max(1) > waiting {
            return None;
        }
        self.queue.displace(own + 1)
    }

    /// Who has to be set to work so that nothing that is ready is left without somebody.
    fn work(&mut self, bounds: &Bounds) -> Work {
        let mut work = Work::default();
        let ready = self.queue.ready();
        // at the ceiling a call that ends sees to it
        while ready.entries > 0 && self.starting + self.calling < self.flow.ceiling(bounds.cap) {
            let full = (ready.entries / bounds.records).max(ready.bytes / bounds.bytes);
            let promised = self.starting * bounds.records >= ready.entries
                && self.starting * bounds.bytes >= ready.bytes;
            if full > self.starting {
                self.starting += 1;
                work.at_once += 1;
            } else if promised {
                break;
            } else if self.starting + self.calling < SOFT {
                self.starting += 1;
                work.politely += 1;
            } else {
                if !std::mem::replace(&mut self.lingering, true) {
                    let own = || self.flow.linger(LINGER);
                    work.linger = Some(bounds.linger.unwrap_or_else(own));
                }
                break;
            }
        }
        work
    }
}

/// An entry's place in the queue, or in a call. Dropped, the entry is taken back if it still waits.
pub(super) struct Place {
    coalescer: Arc<Coalescer>,
    ticket: Ticket,
    answer: oneshot::Receiver<(Called, Option<Ride>)>,
    service: Service,
    answered: bool,
}

impl Place {
    /// What became of the record. Asked once more after that, nobody knows.
    pub(super) async fn answer(&mut self) -> (Called, Option<Ride>) {
        let answer = (&mut self.answer).await;
        self.answered = true;
        // the runtime is at its end
        answer.unwrap_or_else(|_| (Err(TargetError::interrupted(self.service)), None))
    }

    /// Takes the entry back. True: it was not sent, and is not going to be.
    pub(super) fn withdraw(&mut self) -> bool {
        if self.answered {
            return false;
        }
        let mut state = locked(&self.coalescer.state);
        let Some(waiting) = state.queue.withdraw(self.ticket) else {
            return false;
        };
        let bounds = self.coalescer.bounds();
        self.coalescer.leave(state, &bounds);
        drop(waiting);
        self.answered = true;
        self.coalescer.meters.turned_away(TurnedAway::Withdrawn);
        true
    }

    /// Whether the answer is there.
    pub(super) fn is_answered(&self) -> bool {
        !self.answer.is_empty()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.withdraw();
    }
}

#[cfg(test)]
mod tests;
