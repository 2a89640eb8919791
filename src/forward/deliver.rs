//! A request's way to its target: called, spooled, or called for as long as the budget allows and then spooled.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::breaker::{Caller, Standing};
use super::coalesce::{Passenger, Place};
use super::lane::{Lane, Trip, locked};
use super::settings::{AckMode, OnPoison};
use super::spooling::{Record, ToSpool, order_key, refused};
use super::{AckPlan, Delivered, Forward, Parcel, Ride, Undelivered};
use crate::integration::{Answer, Class, Request, Service, TargetError};
use crate::store::Settlement;

/// A call ends at its deadline by itself; who waits for it gives it this long to say so.
const GRACE: Duration = Duration::from_millis(250);
/// What is left of a request's time when its budget is over, for spooling: a fifth, and a second at most.
const SPOOLING_TIME: Duration = Duration::from_secs(1);
/// How much longer than its delivery a record is held back from the spool's worker.
const SETTLING_TIME: Duration = Duration::from_secs(1);

/// Longer than an ending process lives: the record counts as being delivered until the next start.
const UNTIL_NEXT_START: Duration = Duration::from_secs(60);

type Called = Result<Answer, TargetError>;

/// How a record of `ack: target` comes to its target.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub ack: &'a AckPlan,
    /// `order: route`: the key.
    pub route: &'a str,
    /// Whose it is: what waits for calls to a target is taken from all in turn.
    pub tenant: u64,
}

/// A request's call while it may become a spooled record's.
enum Calling {
    Alone(JoinHandle<Called>),
    Shared(Place),
}

impl Calling {
    /// How it ended. Nothing is lost when the future is dropped.
    async fn ended(&mut self, service: Service) -> (Called, Option<Ride>) {
        match self {
            Calling::Alone(task) => (flat(task.await, service), None),
            Calling::Shared(place) => place.answer().await,
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Calling::Alone(task) => task.is_finished(),
            Calling::Shared(place) => place.is_answered(),
        }
    }

    /// Takes it back. True: the record was not sent, and is not going to be.
    fn withdraw(&mut self) -> bool {
        match self {
            Calling::Alone(_) => false,
            Calling::Shared(place) => place.withdraw(),
        }
    }
}

impl Forward {
    /// Brings a record to where its route wants it; answers by the deadline. The calls run on when the future is
    /// dropped.
    ///
    /// # Errors
    /// The record is nowhere, as far as anybody knows: see [`TargetError::may_be_stored`].
    pub async fn deliver(self: &Arc<Self>, parcel: Parcel) -> Result<Delivered, Undelivered> {
        let Some(service) = parcel.requests.first().map(Request::service) else {
            let error = TargetError::misused(Service::Mock, "there is nothing to deliver");
            return Err(Undelivered::Target(error));
        };
        let patience = parcel.deadline + GRACE;
        if parcel.ack.mode == AckMode::Spool {
            // One wait for the store, which has the record however this ends: a task only if the disk takes its time.
            let mut spooling = Box::pin(self.clone().spool_all(parcel, "mode"));
            return match timeout_at(patience, &mut spooling).await {
                Ok(result) => result,
                Err(_) => {
                    self.tasks.spawn(spooling);
                    Err(Undelivered::Target(TargetError::interrupted(service)))
                }
            };
        }
        let carrying = self.tasks.spawn(self.clone().carry(parcel));
        match timeout_at(patience, carrying).await {
            Ok(Ok(result)) => result,
            // a panic, which has been logged; or the disk takes its time
            Ok(Err(_)) | Err(_) => Err(Undelivered::Target(TargetError::interrupted(service))),
        }
    }

    async fn carry(self: Arc<Self>, mut parcel: Parcel) -> Result<Delivered, Undelivered> {
        match (parcel.ack.mode, parcel.requests.len()) {
            (AckMode::Spool, _) => self.spool_all(parcel, "mode").await,
            (AckMode::TargetOrSpool, 2..) => self.fan_out(parcel).await,
            (mode, _) => {
                let Some(request) = parcel.requests.pop() else {
                    return self.spool_all(parcel, "mode").await; // never: deliver has looked
                };
                if let Some(other) = parcel.requests.first() {
                    let what = "several targets need a spool";
                    let error = TargetError::misused(other.service(), what);
                    return Err(Undelivered::Target(error));
                }
                match mode {
                    AckMode::Target => {
                        let way = Way {
                            ack: &parcel.ack,
                            route: &parcel.route,
                            tenant: parcel.tenant,
                        };
                        let called = self.call_target(request, way, parcel.deadline).await;
                        called.map_err(Undelivered::Target)
                    }
                    _ => Box::pin(self.target_or_spool(request, parcel)).await,
                }
            }
        }
    }

    /// `ack: target`: one call, whatever the breaker says, which hears how it went. It runs in the task of whoever asks
    /// for it, who sees to it that it is not dropped. A record whose key still has records in the spool (another route's,
    /// or an earlier configuration's) is refused until they are forwarded: it cannot wait behind them, and must not
    /// overtake them.
    ///
    /// # Errors
    /// Those of [`Targets::call`](crate::integration::Targets::call), and [`TargetError::out_of_turn`].
    pub async fn call_target(
        &self,
        request: Request,
        way: Way<'_>,
        deadline: Instant,
    ) -> Result<Delivered, TargetError> {
        let Some(target) = request.called_target().filter(|_| !request.is_embedded()) else {
            let called = self.call(request, deadline, None).await;
            return called.map(Delivered::to_target);
        };
        let key = order_key(&request, way.ack, way.route);
        // where the store cannot say, this route, which does not need it, goes on
        if let Some(key) = &key
            && let Ok(Some(true)) = timeout_at(deadline, self.spool_says(&target, key)).await
        {
            return Err(TargetError::out_of_turn(request.service()));
        }
        let lane = self.lane_if_room(target);
        let begin = |lane: &Arc<Lane>| lane.begin(Caller::Regardless).ok();
        let trip = lane.as_ref().and_then(begin);
        let Some(shared) = lane.as_ref().and_then(|lane| lane.sharing(&request)) else {
            let called = self.call(request, deadline, trip).await;
            return called.map(Delivered::to_target);
        };
        let passenger = Passenger {
            request,
            key: key.as_deref(),
            tenant: way.tenant,
            patience: deadline,
            deadline,
        };
        let (called, ride) = shared.call(passenger).await;
        if let Some(trip) = trip {
            trip.end(std::iter::once(&called));
        }
        called.map(|answer| Delivered {
            ride,
            ..Delivered::to_target(answer)
        })
    }

    /// One call; the breaker hears how it went.
    async fn call(&self, request: Request, deadline: Instant, trip: Option<Trip>) -> Called {
        let service = request.service();
        let calling = Box::pin(self.targets.call(request, deadline));
        let result = tokio::select! {
            result = calling => result,
            () = self.cut.cancelled() => Err(TargetError::interrupted(service)),
        };
        if let Some(trip) = trip {
            trip.end(std::iter::once(&result));
        }
        result
    }

    async fn target_or_spool(
        self: Arc<Self>,
        request: Request,
        mut parcel: Parcel,
    ) -> Result<Delivered, Undelivered> {
        let service = request.service();
        let Some(target) = request.target() else {
            let error = TargetError::misused(service, "it stores no record");
            return Err(Undelivered::Target(error));
        };
        let lane = self.lane(target);
        let key = order_key(&request, &parcel.ack, &parcel.route);
        let trip = match lane.begin(Caller::Request) {
            Ok(trip) => trip,
            Err(_) => {
                parcel.requests.push(request);
                return self.spool_all(parcel, "breaker").await;
            }
        };
        // where the store cannot say, a record that cannot be spooled in its turn is refused
        if let Some(key) = &key
            && self.spool_says(&lane.name, key).await.unwrap_or(true)
        {
            drop(trip);
            parcel.requests.push(request);
            return self.spool_all(parcel, "order").await;
        }
        let deadline = parcel.deadline;
        let patience = budget_end(Instant::now(), parcel.ack.budget, deadline);
        let call = request.clone();
        let mut calling = match lane.sharing(&request) {
            Some(shared) => {
                let boarded = shared.board(Passenger {
                    request: call,
                    key: key.as_deref(),
                    tenant: parcel.tenant,
                    patience,
                    deadline,
                });
                match boarded {
                    Ok(place) => Calling::Shared(place),
                    Err(_) => {
                        drop(trip);
                        parcel.requests.push(request);
                        return self.spool_all(parcel, "busy").await;
                    }
                }
            }
            None => {
                let forward = self.clone();
                let calling = async move { forward.call(call, deadline, None).await };
                Calling::Alone(self.tasks.spawn(calling))
            }
        };
        let (why, hold, failed) = match timeout_at(patience, calling.ended(service)).await {
            Ok((called, ride)) => match unless_it_can_wait(heard(trip, called), ride) {
                Ok(delivered) => return delivered,
                // too much waits: another tenant's record has taken its place
                Err(error) if error.class == Class::Overloaded => ("busy", None, Some(error)),
                Err(error) if error.class == Class::Setup => ("setup", None, Some(error)),
                Err(error) if leaves_open(&lane, &error) => {
                    ("failed", Some(UNTIL_NEXT_START), Some(error))
                }
                Err(error) => ("failed", None, Some(error)),
            },
            // it still waited for its call: it was not sent, and cannot be any more
            Err(_) if calling.withdraw() => {
                drop(trip);
                parcel.requests.push(request);
                return self.spool_all(parcel, "budget").await;
            }
            Err(_) => {
                // Callers wait for nobody who takes longer than they give: a target that hangs counts as down after a
                // few of them, not after as many timeouts.
                trip.end(std::iter::once(&Err(TargetError::over_budget(service))));
                let left = deadline.saturating_duration_since(Instant::now());
                ("budget", Some(left + SETTLING_TIME), None)
            }
        };
        // of a call that is still under way its end will say so
        let may_be_there = failed.as_ref().is_some_and(TargetError::may_be_stored);
        let copy = ToSpool {
            lane: lane.clone(),
            request: match may_be_there {
                true => placed(request.again(), &parcel.ack, &key),
                false => placed(request, &parcel.ack, &key),
            },
            key,
            hold,
            why,
        };
        let context = (parcel.context)();
        let id = Uuid::new_v4();
        let direct = hold.map(|_| lane.calls_directly(id.to_string()));
        let spooling = self.spool(vec![copy], vec![id], context, parcel.idempotency);
        match (spooling.await, failed) {
            (Ok(spooled), Some(failed)) => {
                if may_be_there && hold.is_none() {
                    lane.count_possible_duplicate();
                }
                Ok(Delivered::to_spool(spooled.answer, why, Some(failed)))
            }
            (Ok(spooled), None) => {
                let settling = self.clone();
                let early = calling.is_over();
                let (tell, told) = oneshot::channel();
                let records = spooled.records;
                self.tasks.spawn(async move {
                    let (result, _) = calling.ended(service).await;
                    let settlements = settlements(&lane, records, &result);
                    let _ = tell.send(result); // whoever asked may have been answered already
                    settling.settle(&lane, settlements).await;
                    drop(direct);
                });
                if early
                    && let Ok(Ok(answer)) = told.await
                    && answer.failure().is_none()
                {
                    return Ok(Delivered::to_target(answer));
                }
                Ok(Delivered::to_spool(spooled.answer, why, None))
            }
            (Err(Undelivered::Known(known)), _) => Err(Undelivered::Known(known)),
            (Err(Undelivered::Target(unspooled)), Some(failed)) => {
                Err(Undelivered::Target(which(failed, unspooled)))
            }
            // neither here nor, so far, there
            (Err(Undelivered::Target(unspooled)), None) => {
                let (called, ride) = calling.ended(service).await;
                match unless_it_can_wait(called, ride) {
                    Ok(delivered) => delivered,
                    Err(failed) => Err(Undelivered::Target(which(failed, unspooled))),
                }
            }
        }
    }

    /// Spools everything, and is done.
    async fn spool_all(
        self: Arc<Self>,
        parcel: Parcel,
        why: &'static str,
    ) -> Result<Delivered, Undelivered> {
        let (copies, ids) = self.copies(&parcel, why)?;
        let context = (parcel.context)();
        let spooling = self.spool(copies, ids, context, parcel.idempotency);
        let spooled = spooling.await?;
        Ok(Delivered::to_spool(spooled.answer, why, None))
    }

    /// Spools everything, and waits within the budget for all targets to have it. What a target has is never sent to it
    /// again, for each has its own record.
    async fn fan_out(self: Arc<Self>, parcel: Parcel) -> Result<Delivered, Undelivered> {
        let patience = budget_end(Instant::now(), parcel.ack.budget, parcel.deadline);
        let (copies, ids) = self.copies(&parcel, "mode")?;
        let hopeful = copies
            .iter()
            .all(|copy| copy.lane.standing() != Standing::Open);
        let context = (parcel.context)();
        let watching = Watching::begin(&self, &ids, hopeful);
        let spooling = self.spool(copies, ids, context, parcel.idempotency);
        let spooled = spooling.await?;
        let answer = timeout_at(patience, watching.all()).await;
        Ok(match answer.ok().flatten() {
            Some(answer) => Delivered::to_target(answer),
            None => Delivered::to_spool(spooled.answer, "mode", None),
        })
    }

    fn copies(
        &self,
        parcel: &Parcel,
        why: &'static str,
    ) -> Result<(Vec<ToSpool>, Vec<Uuid>), Undelivered> {
        let copies = parcel.requests.iter().map(|request| {
            let target = request.target().ok_or_else(|| {
                let error = TargetError::misused(request.service(), "it stores no record");
                Undelivered::Target(error)
            })?;
            let key = order_key(request, &parcel.ack, &parcel.route);
            Ok(ToSpool {
                lane: self.lane(target),
                request: placed(request.clone(), &parcel.ack, &key),
                key,
                hold: None,
                why,
            })
        });
        let copies = copies.collect::<Result<Vec<ToSpool>, Undelivered>>()?;
        let ids = copies.iter().map(|_| Uuid::new_v4()).collect();
        Ok((copies, ids))
    }
}

/// A call that ran while its record was spooled has ended.
fn settlements(lane: &Lane, records: Vec<Record>, result: &Called) -> Vec<(Record, Settlement)> {
    let failure = match result {
        Ok(answer) => answer.failure(),
        Err(error) => Some(error),
    };
    let settlements = records.into_iter().filter_map(|record| {
        let settlement = match failure {
            None => Settlement::Forwarded,
            Some(error) if error.blames_record() => refused(lane, &record, 1, error),
            Some(error) if leaves_open(lane, error) => return None,
            Some(error) => {
                lane.remember(&record.id, error);
                if error.may_be_stored() {
                    lane.count_possible_duplicate();
                }
                Settlement::Later(Duration::ZERO)
            }
        };
        Some((record, settlement))
    });
    settlements.collect()
}

/// Whether a record is left as being delivered: the process ends, so that nobody would see it counted, and the next start
/// finds and counts it.
pub(super) fn leaves_open(lane: &Lane, error: &TargetError) -> bool {
    lane.cut.is_cancelled() && error.may_be_stored()
}

/// With `on_poison: stop`, a record that has others behind it keeps its place when it is refused.
fn placed(request: Request, ack: &AckPlan, key: &Option<String>) -> Request {
    match (ack.on_poison, key) {
        (OnPoison::Stop, Some(_)) => request.keeping_place(),
        _ => request,
    }
}

/// Somebody waits to hear that targets have their records; dropped, nobody does.
struct Watching<'f> {
    forward: &'f Forward,
    ids: Vec<String>,
    answers: Vec<oneshot::Receiver<Answer>>,
}

impl<'f> Watching<'f> {
    fn begin(forward: &'f Forward, ids: &[Uuid], hopeful: bool) -> Watching<'f> {
        let ids: Vec<String> = match hopeful {
            true => ids.iter().map(Uuid::to_string).collect(),
            false => Vec::new(),
        };
        let mut watchers = locked(&forward.watchers);
        let answers = ids.iter().map(|id| {
            let (tell, told) = oneshot::channel();
            watchers.insert(id.clone(), tell);
            told
        });
        let answers = answers.collect();
        Watching {
            forward,
            ids,
            answers,
        }
    }

    /// The first record's answer, once all have one; `None` if one gets none.
    async fn all(mut self) -> Option<Answer> {
        let mut first = None;
        for answer in &mut self.answers {
            let answer = answer.await.ok()?;
            first.get_or_insert(answer);
        }
        first
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        let mut watchers = locked(&self.forward.watchers);
        for id in &self.ids {
            watchers.remove(id);
        }
    }
}

/// When a target has had its time: the budget's end, or as much before the deadline as spooling may take.
fn budget_end(now: Instant, budget: Duration, deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(now);
    let spooling = (left / 5).min(SPOOLING_TIME);
    now + budget.min(left - spooling)
}

/// The breaker hears how a call went.
fn heard(trip: Trip, called: Called) -> Called {
    trip.end(std::iter::once(&called));
    called
}

fn flat(ended: Result<Called, JoinError>, service: Service) -> Called {
    // a panic, which has been logged: nobody knows how far the call had come
    ended.unwrap_or_else(|_| Err(TargetError::interrupted(service)))
}

/// The request's answer, or the error of a record that is better spooled.
fn unless_it_can_wait(
    called: Called,
    ride: Option<Ride>,
) -> Result<Result<Delivered, Undelivered>, TargetError> {
    let failure = match &called {
        Ok(answer) => answer.failure(),
        Err(error) => Some(error),
    };
    if let Some(error) = failure.filter(|error| !error.blames_record()) {
        return Err(error.clone());
    }
    let delivered = called.map(|answer| Delivered {
        ride,
        ..Delivered::to_target(answer)
    });
    Ok(delivered.map_err(Undelivered::Target))
}

/// Of a target that failed and a store that refused: what the caller is told. That the record may be stored weighs
/// more than why it is not spooled.
fn which(failed: TargetError, unspooled: TargetError) -> TargetError {
    match failed.may_be_stored() {
        true => failed,
        false => unspooled,
    }
}
