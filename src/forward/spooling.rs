//! Into the spool, and out of it: records go in together, under ids that their callers are told, and what became of
//! them is told to the store until it listens.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;
use uuid::Uuid;

use super::backoff::backoff;
use super::lane::Lane;
use super::settings::Order;
use super::{AckPlan, Forward, Undelivered};
use crate::integration::{Answer, Request, TargetError, TargetName};
use crate::store::{NewKey, NewRecord, Once, Reason, Settlement};

/// The longest order key that a store takes.
const MAX_KEY: usize = 1024;
/// How long the store is left alone after it has refused to hear how deliveries went: at first, and at most.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// One record for one target's spool.
pub(super) struct ToSpool {
    pub(super) lane: Arc<Lane>,
    pub(super) request: Request,
    pub(super) key: Option<String>,
    /// Somebody is delivering it already.
    pub(super) hold: Option<Duration>,
    /// For the metric.
    pub(super) why: &'static str,
}

/// Records that are spooled.
pub(super) struct Spooled {
    /// What the caller is told: of the first record.
    pub(super) answer: Answer,
    /// Numbers and ids, in the order given.
    pub(super) records: Vec<Record>,
}

/// What a spooled record is known by.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) number: i64,
    pub(super) id: String,
    pub(super) ordered: bool,
    /// Refused, it stays where it is.
    pub(super) keeps_place: bool,
}

/// What keeps a record in order, over all routes to its target: its route, or the key that it brings along.
pub(super) fn order_key(request: &Request, ack: &AckPlan, route: &str) -> Option<String> {
    let key = match ack.order {
        Order::Route => format!("route:{route}"),
        Order::None if !request.is_ordered_by_target() => return None,
        Order::Key | Order::None => format!("key:{}", request.order_key()?),
    };
    if key.len() <= MAX_KEY {
        return Some(key);
    }
    let hash = digest(&SHA256, key.as_bytes());
    let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Some(format!("sha256:{hex}"))
}

/// What becomes of a record that its target refuses for what it is.
pub(super) fn refused(
    lane: &Lane,
    record: &Record,
    attempts: u32,
    error: &TargetError,
) -> Settlement {
    if record.keeps_place && lane.may_stop() {
        lane.is_stuck(&record.id, error);
        let settings = lane.settings();
        let (base, max) = (settings.backoff_base, settings.backoff_max);
        return Settlement::Later(backoff(base, max, attempts, lane.dice()));
    }
    Settlement::Dead(Reason {
        code: error.code.clone(),
        detail: error.message.clone(),
    })
}

impl Forward {
    /// Spools all of the records, or none. `ids`: what they are to be known by, one for each.
    pub(super) async fn spool(
        self: &Arc<Self>,
        copies: Vec<ToSpool>,
        ids: Vec<Uuid>,
        context: String,
        idempotency: Option<NewKey>,
    ) -> Result<Spooled, Undelivered> {
        let unkept = |request: &Request, what: &str| {
            Undelivered::Target(TargetError::misused(request.service(), what))
        };
        let mut answer = None;
        let mut records = Vec::with_capacity(copies.len());
        let mut lanes = Vec::with_capacity(copies.len());
        for (copy, id) in copies.into_iter().zip(ids) {
            let call = copy.request.encode();
            let call = call.map_err(|error| unkept(&copy.request, &error))?;
            if answer.is_none() {
                let told = copy.request.spooled_answer(&id.to_string());
                answer = Some(told.ok_or_else(|| unkept(&copy.request, "it stores no record"))?);
            }
            lanes.push((
                copy.lane.clone(),
                copy.why,
                copy.key.is_some(),
                copy.request.keeps_place(),
            ));
            let record = NewRecord {
                target: copy.lane.name.as_str().to_owned(),
                key: copy.key,
                call,
                context: context.clone(),
                hold: copy.hold,
            };
            records.push((id, record));
        }
        let missing = || Undelivered::Target(TargetError::no_store("there is nothing to spool"));
        let answer = answer.ok_or_else(missing)?;
        let key = match idempotency {
            Some(key) => Some((key, answer.encode().ok_or_else(missing)?)),
            None => None,
        };
        let store = self.targets.open_store().map_err(Undelivered::Target)?;
        let spooled = match store.spool_as(records, key).await {
            Ok(Once::New(spooled)) => spooled,
            Ok(Once::Known(known)) => return Err(Undelivered::Known(known)),
            Err(error) => return Err(Undelivered::Target(TargetError::of_spool(error))),
        };
        let mut records = Vec::with_capacity(spooled.len());
        for ((lane, why, ordered, keeps_place), spooled) in lanes.iter().zip(spooled) {
            lane.count_spooled(why);
            lane.outlook().changes(Instant::now());
            self.employ(lane);
            records.push(Record {
                number: spooled.number,
                id: spooled.id,
                ordered: *ordered,
                keeps_place: *keeps_place,
            });
        }
        Ok(Spooled { answer, records })
    }

    /// Whether a record with this key waits in the target's spool; `None`: the store cannot say. While the spool is empty
    /// this is one look at a number.
    pub(super) async fn spool_says(&self, target: &TargetName, key: &str) -> Option<bool> {
        let target = target.as_str();
        let store = self.targets.open_store().ok()?;
        if store.spool_depth(target).depth == 0 {
            return Some(false);
        }
        store.spool_holds(target, key).await.ok()
    }

    /// Tells the store how deliveries went, until it listens or the process ends. What is confirmed is not sent again
    /// meanwhile.
    pub(super) async fn settle(&self, lane: &Lane, settlements: Vec<(Record, Settlement)>) {
        if settlements.is_empty() {
            return;
        }
        for (record, settlement) in &settlements {
            lane.confirm(&record.id, settlement);
        }
        let list: Vec<(i64, Settlement)> = settlements
            .iter()
            .map(|(record, settlement)| (record.number, settlement.clone()))
            .collect();
        let mut attempts = 0;
        loop {
            let told = match self.targets.open_store() {
                Ok(store) => {
                    let telling = store.settle(lane.name.as_str(), list.clone());
                    telling.await.map_err(TargetError::of_spool)
                }
                Err(error) => Err(error),
            };
            let Err(error) = told else {
                break;
            };
            attempts += 1;
            if attempts == 1 {
                let (target, records) = (&lane.name, list.len());
                tracing::warn!(%target, records, %error, "The store does not take how deliveries went: it is told again until it does");
            }
            let pause = FIRST_RETRY + backoff(FIRST_RETRY, LAST_RETRY, attempts, lane.dice());
            tokio::select! {
                () = self.cut.cancelled() => {
                    let (target, records) = (&lane.name, list.len());
                    tracing::error!(%target, records, "The process ends before the store has taken how deliveries went: what is delivered will be sent again");
                    return;
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        lane.settled(settlements.iter().map(|(record, _)| record.id.as_str()));
        let mut moved = false;
        for (record, settlement) in &settlements {
            match settlement {
                Settlement::Forwarded => lane.count_forwarded(),
                Settlement::Dead(reason) => {
                    let (target, id) = (&lane.name, &record.id);
                    tracing::warn!(%target, id, code = reason.code, "A record is a dead letter: its target refuses it");
                    lane.count_dead(record.ordered);
                }
                Settlement::Later(pause) => {
                    if !lane.keeps(&record.id) {
                        lane.outlook().pauses(*pause, Instant::now());
                        moved = true;
                    }
                    continue;
                }
            }
            moved = true;
            lane.forget(&record.id);
        }
        if moved {
            lane.outlook().changes(Instant::now());
            self.settled.notify_waiters();
        }
    }
}
