//! The spool's way: one task for each target takes what may go, in batches and as many at once as the target's settings
//! say, and settles each batch as a group. The breaker, the rate and the records' own pauses hold it back; nothing else
//! does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Forward;
use super::backoff::backoff;
use super::deliver::leaves_open;
use super::lane::{Lane, Trip, locked};
use super::pace::Pace;
use super::settings::SPOOL_IN_FLIGHT;
use super::spooling::{Record, refused};
use crate::integration::{Answer, Request, Service, TargetError};
use crate::store::{Parcel, Reason, Settlement, Store, StoreError};

/// How long a call of the spool may take; and one of a single record, to find out whether the target works again.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the store is left alone when it does not work.
const STORE_PAUSE: Duration = Duration::from_millis(250);
/// How long an empty spool is left alone when nothing stirs; and one in which something waits for its time.
const IDLE: Duration = Duration::from_secs(5);
const EXPECTANT: Duration = Duration::from_secs(1);
/// How long a record is left alone whose request still calls the target for it, longer than it could.
const OVERDUE: Duration = Duration::from_secs(1);
/// Calls at once, whatever the settings say.
const MOST_IN_FLIGHT: usize = 1024;

impl Forward {
    /// Works for a target's spool until the process ends.
    pub(super) async fn work(self: Arc<Self>, lane: Arc<Lane>) {
        // should it break off, the next roll call finds another
        let _employed = lane.employed();
        let mut worker = Worker {
            forward: &self,
            lane: &lane,
            pace: Pace::new(),
            slots: Arc::new(Semaphore::new(0)),
            made: 0,
            store_was_ill: false,
        };
        tokio::select! {
            () = self.ending.cancelled() => {}
            () = worker.run() => {}
        }
    }
}

struct Worker<'f> {
    forward: &'f Arc<Forward>,
    lane: &'f Arc<Lane>,
    pace: Pace,
    slots: Arc<Semaphore>,
    /// Slots that there are, taken ones included.
    made: usize,
    store_was_ill: bool,
}

impl Worker<'_> {
    async fn run(&mut self) {
        loop {
            let Some(slot) = self.slot().await else {
                return; // never: nobody closes the slots
            };
            let granted = self.granted().await;
            let trip = self.lane.begin_when_open().await;
            let Ok(store) = self.forward.targets.open_store() else {
                drop(trip);
                tokio::time::sleep(STORE_PAUSE).await;
                continue;
            };
            let under_way = self.lane.under_way();
            match self.take(&store, granted, &trip).await {
                Ok(parcels) if parcels.is_empty() => {
                    under_way.found_nothing();
                    drop((trip, slot));
                    self.wait_for_records(&store).await;
                }
                Ok(parcels) => {
                    self.store_was_ill = false;
                    self.pace.spend(parcels.len());
                    let forward = self.forward.clone();
                    let batch = forward.carry_batch(self.lane.clone(), parcels, trip, slot);
                    self.forward.tasks.spawn(async move {
                        batch.await;
                        drop(under_way);
                    });
                }
                Err(error) => {
                    under_way.found_nothing();
                    drop((trip, slot));
                    if !std::mem::replace(&mut self.store_was_ill, true) {
                        let target = &self.lane.name;
                        tracing::warn!(%target, %error, "The store gives out no records to forward");
                    }
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// Leave to make one more call at the same time.
    async fn slot(&mut self) -> Option<OwnedSemaphorePermit> {
        let wanted = self.lane.settings().in_flight;
        let wanted = wanted.unwrap_or(SPOOL_IN_FLIGHT).clamp(1, MOST_IN_FLIGHT);
        if wanted > self.made {
            self.slots.add_permits(wanted - self.made);
            self.made = wanted;
        } else if wanted < self.made {
            // slots that are taken now are missed the next time
            self.made -= self.slots.forget_permits(self.made - wanted);
        }
        self.slots.clone().acquire_owned().await.ok()
    }

    /// How many records may go in the next call, by the limits of calls and by the rate.
    async fn granted(&mut self) -> usize {
        loop {
            let settings = self.lane.settings();
            let limit = self.lane.name.batch_limits().records;
            let most = limit.min(settings.batch).max(1);
            match self.pace.grant(settings.rate, most, Instant::now()) {
                Ok(granted) => return granted,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// What goes next: a batch, or one record where the call is to find out how the target is.
    async fn take(
        &self,
        store: &Store,
        granted: usize,
        trip: &Trip,
    ) -> Result<Vec<Parcel>, StoreError> {
        let (settings, target) = (self.lane.settings(), self.lane.name.as_str());
        let limits = self.lane.name.batch_limits();
        let granted = if trip.is_careful() { 1 } else { granted };
        let waiting = store.spool_depth(target).depth;
        if let Some(linger) = settings.linger.filter(|linger| !linger.is_zero())
            && (1..granted as u64).contains(&waiting)
        {
            tokio::time::sleep(linger).await;
        }
        let bytes = u64::try_from(limits.bytes).unwrap_or(u64::MAX);
        store.take_parcels(target, granted, bytes).await
    }

    async fn wait_for_records(&self, store: &Store) {
        let target = self.lane.name.as_str();
        let patience = match store.spool_depth(target).depth {
            0 => {
                self.lane.holds_nothing();
                IDLE
            }
            _ => EXPECTANT,
        };
        tokio::select! {
            () = store.spool_stirs(target, patience) => {}
            () = self.lane.outlook().stirred() => {}
        }
    }
}

impl Forward {
    /// Sends a batch, and settles it as a group. The slot is free again when the store knows.
    async fn carry_batch(
        self: Arc<Self>,
        lane: Arc<Lane>,
        parcels: Vec<Parcel>,
        trip: Trip,
        slot: OwnedSemaphorePermit,
    ) {
        let _slot = slot;
        let mut settlements = Vec::with_capacity(parcels.len());
        let (mut requests, mut sent) = (Vec::new(), Vec::new());
        for parcel in parcels {
            let record = Record {
                number: parcel.number,
                id: parcel.id,
                ordered: parcel.key.is_some(),
                keeps_place: false,
            };
            if let Some(known) = lane.confirmed(&record.id) {
                settlements.push((record, known));
                continue;
            }
            if lane.is_called_directly(&record.id) {
                settlements.push((record, Settlement::Later(OVERDUE)));
                continue;
            }
            match readable(&lane, &parcel.call) {
                Ok(request) => {
                    let keeps_place = request.keeps_place();
                    let record = Record {
                        keeps_place,
                        ..record
                    };
                    let again =
                        request.is_resend() || lane.may_be_there(&record.id, parcel.attempts);
                    requests.push(if again { request.again() } else { request });
                    sent.push((record, parcel.attempts));
                }
                Err(reason) => {
                    let (target, id, error) = (&lane.name, &record.id, &reason.detail);
                    tracing::error!(%target, id, error, "A spooled record cannot be read");
                    settlements.push((record, Settlement::Dead(reason)));
                }
            }
        }
        if requests.is_empty() {
            drop(trip);
        } else {
            lane.count_batch(requests.len());
            let patience = if trip.is_careful() {
                PROBE_TIMEOUT
            } else {
                CALL_TIMEOUT
            };
            let results = self.call_batch(&lane, requests, patience).await;
            trip.end(results.iter());
            for ((record, attempts), result) in sent.into_iter().zip(results) {
                lane.count_attempt(&result);
                if let Some(settlement) = self.verdict(&lane, &record, attempts, result) {
                    settlements.push((record, settlement));
                }
            }
        }
        self.settle(&lane, settlements).await;
    }

    async fn call_batch(
        &self,
        lane: &Lane,
        requests: Vec<Request>,
        patience: Duration,
    ) -> Vec<Result<Answer, TargetError>> {
        let services: Vec<_> = requests.iter().map(Request::service).collect();
        let of_all = |error: fn(Service) -> TargetError| {
            let services = services.iter();
            services.map(|service| Err(error(*service))).collect()
        };
        let deadline = Instant::now() + patience;
        let calling = AssertUnwindSafe(self.targets.call_batch(requests, deadline));
        let calling = Box::pin(calling.catch_unwind());
        tokio::select! {
            // records that nobody settles would be under way until the next start
            results = calling => results.unwrap_or_else(|_| of_all(TargetError::panicked)),
            () = lane.cut.cancelled() => of_all(TargetError::interrupted),
        }
    }

    /// What becomes of a record after an attempt; `None`: the next start is to decide.
    fn verdict(
        &self,
        lane: &Lane,
        record: &Record,
        attempts: u32,
        result: Result<Answer, TargetError>,
    ) -> Option<Settlement> {
        let watcher = || locked(&self.watchers).remove(&record.id);
        Some(match result {
            Ok(answer) => {
                if let Some(watcher) = watcher() {
                    let _ = watcher.send(answer); // who watched may have been answered already
                }
                Settlement::Forwarded
            }
            Err(error) if error.blames_record() => {
                drop(watcher());
                refused(lane, record, attempts, &error)
            }
            Err(error) if leaves_open(lane, &error) => return None,
            Err(error) => {
                lane.remember(&record.id, &error);
                if error.may_be_stored() {
                    lane.count_possible_duplicate();
                }
                Settlement::Later(pause(lane, attempts, &error))
            }
        })
    }
}

/// How long a record waits after a failure: while its target is ill, as long as the breaker's pause; else by itself.
fn pause(lane: &Lane, attempts: u32, error: &TargetError) -> Duration {
    let settings = lane.settings();
    if error.is_ours() {
        return Duration::ZERO;
    }
    match lane.closed_for() {
        Some(pause) => pause,
        None => backoff(
            settings.backoff_base,
            settings.backoff_max,
            attempts,
            lane.dice(),
        ),
    }
}

/// The call of a record, if it is one for this target.
fn readable(lane: &Lane, call: &[u8]) -> Result<Request, Reason> {
    let unreadable = |detail: String| Reason {
        code: "Undecodable".to_owned(),
        detail,
    };
    let request = Request::decode(call).map_err(unreadable)?;
    match request.target() {
        Some(target) if target == lane.name => Ok(request),
        _ => Err(unreadable("it is for another target".to_owned())),
    }
}
