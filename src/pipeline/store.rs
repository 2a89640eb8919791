//! Where the payload becomes durable: at the target, or in the spool, as the route's acknowledgement says. A call that
//! stores goes on when its client vanishes: once handed over, a record is the target's.

use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::Gateway;
use super::deadline::Deadline;
use super::once;
use super::rejection::Rejection;
use super::route::Found;
use super::throttle::Held;
use super::unstoppable::Unstoppable;
use crate::forward::{AckMode, AckPlan, Delivered, Durability, Forward, Parcel, Undelivered, Way};
use crate::integration::{Answer, Request, TargetError, Targets};
use crate::listen::Leaving;
use crate::model::call::Call;
use crate::plan::Plan;
use crate::store::{Known, NewKey, Once, Reservation, Store, StoreError};
use crate::telemetry::Exchange;
use crate::telemetry::Telemetry;
use crate::telemetry::exchange::{RouteFacts, TargetFacts};
use crate::telemetry::metrics::{Called, Name};

/// The target's answer, with what was measured of the call.
pub struct Receipt {
    pub answer: Answer,
    pub facts: TargetFacts,
    /// The answer is kept for this idempotency key, all but the response.
    pub kept_for: Option<[u8; 32]>,
}

/// What is to become durable: a call for each of the route's targets, and the idempotency key that the request brought.
pub(super) struct Record<'r> {
    pub requests: Vec<Request>,
    pub key: Option<NewKey>,
    /// Tells when the client will send no more.
    pub leaving: &'r Leaving,
    /// Of the request.
    pub deadline: Deadline,
}

/// What became of a record.
pub(super) enum Stored {
    Receipt(Box<Receipt>),
    /// Another request with the same idempotency key was faster.
    Known(Known),
}

/// A call without a success, with what was measured of it.
struct Failed {
    error: TargetError,
    facts: TargetFacts,
}

/// Makes the calls, within what the request's deadline has left.
pub(super) async fn receipt(
    gateway: &Arc<Gateway>,
    plan: &Arc<Plan>,
    found: &Found<'_>,
    call: &Arc<Call>,
    record: Record<'_>,
    held: Held,
    x: &mut Exchange,
) -> Result<Stored, Rejection> {
    let route = &found.route;
    let stores = route.integration.stores();
    let Record {
        requests,
        key,
        leaving,
        deadline,
    } = record;
    let polled = requests.first().and_then(Request::ended_poll);
    let polled = polled.map(|empty| (empty, leaving.clone()));
    let wait = requests.first().map(Request::wait).unwrap_or_default();
    let deadline = deadline.later(wait).at();
    let making = Making {
        facts: route.facts.clone(),
        stores,
        telemetry: gateway.telemetry.clone(),
    };
    let delivery = Delivery {
        targets: plan.targets.clone(),
        forward: plan.forward.clone(),
        ack: route.ack,
        spools: route.ack.mode != AckMode::Target,
        route: route.facts.label.clone(),
        tenant: tenant_of(call, x),
        stores_mismatched: route
            .idempotency
            .as_ref()
            .is_some_and(|once| once.stores_mismatched),
        telemetry: gateway.telemetry.clone(),
        context: Context {
            facts: route.facts.clone(),
            call: call.clone(),
            principal: x.principal(),
        },
        deadline,
    };
    let store = match &key {
        Some(_) => Some(plan.targets.open_store()?),
        None => None,
    };
    let made = async move {
        let began = Instant::now();
        let (result, kept_for) = match store.zip(key) {
            None => (
                Box::pin(delivery.plain_or_left(requests, polled)).await,
                None,
            ),
            Some((store, key)) => Box::pin(delivery.keyed(requests, &store, key)).await,
        };
        making.measured(result, kept_for, began.elapsed())
    };
    if !stores {
        // A read or a removal is not a promise: it may end with its request.
        return settle(made.await, stores, x);
    }
    let ticket = x.hand_over();
    let storing = async move {
        // Places are taken until the call ends: clients that vanish do not make room for more calls.
        let _held = held;
        let result = made.await;
        ticket.done(match &result {
            Ok(Stored::Receipt(receipt)) => receipt
                .answer
                .failure()
                .map_or_else(|| Ok(receipt.facts.clone()), |failure| Err(failure.into())),
            Ok(Stored::Known(_)) => Err((&TargetError::known_already()).into()),
            Err(failed) => Err((&failed.error).into()),
        });
        result
    };
    match Unstoppable::new(storing, gateway.calls.clone()).await {
        Ok(result) => settle(result, stores, x),
        Err(panic) => Err(Rejection::call_panicked(panic.as_ref())),
    }
}

/// Who shares a target fairly with others: whoever has proven to be who, else the address. Nobody outside can find two
/// of one number, for it is another in each process.
fn tenant_of(call: &Call, x: &Exchange) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    match x.scope() {
        Some(scope) => STATE.hash_one(scope),
        None => STATE.hash_one(call.source_ip()),
    }
}

/// What a spooled record says of its request; put into words when a record is spooled.
#[derive(Clone)]
struct Context {
    facts: Arc<RouteFacts>,
    call: Arc<Call>,
    principal: Option<Arc<str>>,
}

impl Context {
    /// As JSON.
    fn text(&self) -> String {
        let Context {
            facts,
            call,
            principal,
        } = self;
        let received = call
            .arrived_at
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        json!({
            "requestId": call.id.as_str(),
            "api": &*facts.api,
            "stage": &*facts.stage,
            "routeKey": &*facts.key.0,
            "httpMethod": call.method.as_str(),
            "path": call.raw_path(),
            "sourceIp": call.source(),
            "principalId": principal.as_deref(),
            "receivedAt": u64::try_from(received.as_millis()).unwrap_or(u64::MAX),
        })
        .to_string()
    }
}

/// How a route's records are brought to where they become durable.
struct Delivery {
    targets: Arc<Targets>,
    forward: Arc<Forward>,
    ack: AckPlan,
    spools: bool,
    route: Name,
    /// Whose record it is, for fairness between them.
    tenant: u64,
    /// A key that belongs to another payload is left alone, and the payload stored without one.
    stores_mismatched: bool,
    telemetry: Arc<Telemetry>,
    context: Context,
    deadline: Instant,
}

type Made = Result<Delivered, Undelivered>;

impl Delivery {
    /// A long poll ends when its client leaves, and takes no message with it.
    async fn plain_or_left(
        &self,
        requests: Vec<Request>,
        polled: Option<(Answer, Leaving)>,
    ) -> Made {
        let Some((empty, leaving)) = polled else {
            return self.plain(requests).await;
        };
        tokio::select! {
            made = self.plain(requests) => made,
            () = leaving.begun() => Ok(Delivered::to_target(empty)),
        }
    }

    async fn plain(&self, requests: Vec<Request>) -> Made {
        if self.spools {
            return self.deliver(requests, None).await;
        }
        let Some(request) = requests.into_iter().next() else {
            // Mapping gives a call for each target, and every route has one.
            return Err(TargetError::no_store("the route has no target").into());
        };
        let way = Way {
            ack: &self.ack,
            route: &self.route.0,
            tenant: self.tenant,
        };
        Ok(self
            .forward
            .call_target(request, way, self.deadline)
            .await?)
    }

    async fn deliver(&self, requests: Vec<Request>, idempotency: Option<NewKey>) -> Made {
        let context = self.context.clone();
        let parcel = Parcel {
            requests,
            ack: self.ack,
            tenant: self.tenant,
            route: self.route.0.clone(),
            context: Arc::new(move || context.text()),
            idempotency,
            deadline: self.deadline,
        };
        self.forward.deliver(parcel).await
    }

    /// Once for each key; with the key for which the answer is kept.
    async fn keyed(
        &self,
        requests: Vec<Request>,
        store: &Store,
        key: NewKey,
    ) -> (Made, Option<[u8; 32]>) {
        let kept_for = key.key;
        let spare = self.stores_mismatched.then(|| requests.clone());
        match (self.once(requests, store, key).await, spare) {
            // Another payload got hold of the key after this one had looked.
            (Err(Undelivered::Known(Known::Mismatch)), Some(requests)) => {
                once::count(&self.telemetry.metrics, &self.route, "mismatch_stored");
                (self.plain(requests).await, None)
            }
            (made, _) => (made, Some(kept_for)),
        }
    }

    /// Once for each key. Where the record goes into the store, key, record and answer are one transaction there; else
    /// the key is reserved before the call, and the answer kept before it is given.
    async fn once(&self, mut requests: Vec<Request>, store: &Store, key: NewKey) -> Made {
        let refused = |error| Undelivered::Target(TargetError::of_spool(error));
        let slow = |_| Undelivered::Target(TargetError::no_store(once::SLOW));
        if self.ack.mode == AckMode::Spool {
            return self.deliver(requests, Some(key)).await;
        }
        if !self.spools && requests.first().is_some_and(Request::is_embedded) {
            let Some(request) = requests.pop() else {
                return self.plain(requests).await;
            };
            let sent = self.targets.send_once(request, key, self.deadline).await;
            return match sent? {
                Once::New(answer) => Ok(Delivered::to_target(answer)),
                Once::Known(known) => Err(Undelivered::Known(known)),
            };
        }
        let reserving = timeout_at(self.deadline, store.reserve(key.clone())).await;
        let reservation = match reserving.map_err(slow)?.map_err(refused)? {
            Once::New(reservation) => reservation,
            Once::Known(known) => return Err(Undelivered::Known(known)),
        };
        if reservation.took_over {
            once::count(&self.telemetry.metrics, &self.route, "taken_over");
        }
        let ttl = key.ttl;
        let made = if self.spools {
            self.deliver(requests, Some(key)).await
        } else {
            self.plain(requests).await
        };
        match &made {
            Ok(Delivered {
                answer,
                durability: Durability::Target,
                ..
            }) if answer.failure().is_none() => {
                self.keep(store, reservation, ttl, answer).await;
            }
            // The spool's transaction has completed the key.
            Ok(Delivered {
                durability: Durability::Spooled,
                ..
            }) => {}
            Ok(_) | Err(_) => self.free(store, reservation).await,
        }
        made
    }

    /// Keeps what the target said. The target has the record: if the answer cannot be kept, it is given all the same.
    async fn keep(&self, store: &Store, reserved: Reservation, ttl: Duration, answer: &Answer) {
        let Some(receipt) = answer.encode() else {
            return;
        };
        let keeping = store.complete(reserved, ttl, receipt, None);
        if let Err(error) = self.in_time(keeping).await {
            tracing::warn!(%error, "An answer could not be kept for its idempotency key: a repeated request is refused until the key's fence, and may then be stored twice");
        }
    }

    /// Frees a key: nothing was stored, or nobody knows.
    async fn free(&self, store: &Store, reserved: Reservation) {
        if let Err(error) = self.in_time(store.release(reserved)).await {
            tracing::warn!(%error, "An idempotency key could not be freed: it is in use until its fence");
        }
    }

    /// A disk that hangs holds no answer up. What the writer has been given it does all the same.
    async fn in_time(
        &self,
        telling: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        let patience = self.deadline.max(Instant::now()) + once::LAST_WORD;
        let told = timeout_at(patience, telling).await;
        told.unwrap_or_else(|_| {
            Err(StoreError::Unavailable {
                reason: once::SLOW.to_owned(),
            })
        })
    }
}

fn settle(
    result: Result<Stored, Box<Failed>>,
    stores: bool,
    x: &mut Exchange,
) -> Result<Stored, Rejection> {
    match result {
        Ok(Stored::Receipt(receipt)) => {
            let failure = receipt.answer.failure();
            x.answered(receipt.facts.clone(), stores && failure.is_none());
            // Whatever status the dialect gives it, a failure is written down as one.
            if let Some(failure) = failure {
                x.refuse(failure.into());
            }
            Ok(Stored::Receipt(receipt))
        }
        Ok(known) => Ok(known),
        Err(failed) => {
            let Failed { error, facts } = *failed;
            x.target_failed(facts);
            Err(error.into())
        }
    }
}

struct Making {
    facts: Arc<RouteFacts>,
    stores: bool,
    telemetry: Arc<Telemetry>,
}

impl Making {
    /// Counts the call, and keeps what the log wants of it.
    fn measured(
        self,
        made: Made,
        kept_for: Option<[u8; 32]>,
        latency: Duration,
    ) -> Result<Stored, Box<Failed>> {
        let (outcome, called) = match &made {
            Ok(delivered) if delivered.durability == Durability::Spooled => ("spooled", false),
            Ok(delivered) => match delivered.answer.failure() {
                Some(failure) => (failure.reason().name(), true),
                None => ("ok", true),
            },
            Err(Undelivered::Target(error)) => (error.reason().name(), true),
            Err(Undelivered::Known(_)) => ("known", false),
        };
        if called {
            self.count(outcome, latency);
        }
        match made {
            Ok(Delivered {
                answer,
                durability,
                spooled: waits,
                ride,
            }) => {
                let failed = waits.as_ref().and_then(|waits| waits.error.as_ref());
                let failure = answer.failure();
                let spooled = durability == Durability::Spooled;
                let facts = TargetFacts {
                    status: (!spooled).then(|| answer.service_status()),
                    latency,
                    request_id: answer.service_request_id().map(str::to_owned),
                    error: failure.or(failed).map(TargetError::to_string),
                    why: waits.as_ref().map(|waits| waits.why),
                    message_id: answer.message_id().map(str::to_owned),
                    shared: ride.map(|ride| (ride.records, ride.waited)),
                    durability: Some(if self.stores && failure.is_none() {
                        durability.name()
                    } else {
                        "none"
                    }),
                };
                let kept_for = kept_for.filter(|_| failure.is_none());
                Ok(Stored::Receipt(Box::new(Receipt {
                    answer,
                    facts,
                    kept_for,
                })))
            }
            Err(Undelivered::Known(known)) => Ok(Stored::Known(known)),
            Err(Undelivered::Target(error)) => {
                let facts = TargetFacts {
                    status: error.status,
                    latency,
                    request_id: error.request_id.clone(),
                    error: Some(error.to_string()),
                    message_id: None,
                    durability: Some("none"),
                    why: None,
                    shared: None,
                };
                Err(Box::new(Failed { error, facts }))
            }
        }
    }
    /// Counts a call to the target.
    fn count(&self, result: &'static str, latency: Duration) {
        let meters = &self.facts.meters;
        if result == "ok" {
            meters.target_ok.inc();
        } else {
            let labels = Called {
                integration: self.facts.integration,
                result,
            };
            let calls = &self.telemetry.metrics.target_calls;
            calls.get_or_create(&labels).inc();
        }
        meters.target_seconds.observe(latency);
    }
}
