//! The keys of an issuer while the gateway runs. One task looks at the issuer: at the start, on schedule, and when a
//! token names a key that is not there. Requests never fetch; they ask, and wait for the look that is under way, so that
//! a thousand tokens of a new key cost one fetch, and a caller who leaves interrupts none.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use super::compact::Compact;
use super::fetch::{self, Failure, Fetched};
use super::issuer::{IssuerSpec, KeyPlace};
use super::key::{Key, KeySet};
use super::refetch::Refetch;
use super::refusal::Refusal;
use crate::outbound::Client;
use crate::telemetry::tokens::KeyMeters;

/// How long a request waits for keys: two fetches at their longest, and a little.
const PATIENCE: Duration = Duration::from_millis(3_500);
/// How many requests may wait for one issuer: a flood of tokens with made-up keys must not take every place in the
/// gateway while the issuer is slow.
const WAITING: usize = 256;
/// How soon a failed look is tried again: doubled each time, up to these while there are no keys, and while there are.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY_WITHOUT_KEYS: Duration = Duration::from_secs(10);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// An issuer's keys.
#[derive(Debug)]
pub(super) struct IssuerKeys {
    shared: Arc<Shared>,
    client: Client,
    /// The task that looks; none for keys that are written down, nor before there is a runtime.
    task: OnceLock<AbortOnDropHandle<()>>,
    waiting: Semaphore,
}

#[derive(Debug)]
struct Shared {
    issuer: Arc<str>,
    place: KeyPlace,
    /// How long keys outlive the last look that succeeded.
    stale: Duration,
    keys: ArcSwapOption<KeySet>,
    state: Mutex<State>,
    /// Counts looks that have ended.
    ended: watch::Sender<u64>,
    asked: Notify,
    meters: KeyMeters,
}

#[derive(Debug)]
struct State {
    /// A look is under way, or asked for and about to begin.
    busy: bool,
    refetch: Refetch,
    /// Why the last look failed; `None`: it did not.
    failure: Option<Failure>,
    failures: u32,
    fetched_at: Option<Instant>,
}

impl IssuerKeys {
    /// The keys of an issuer. Where there is a Tokio runtime, the first look begins at once, in the background.
    pub(super) fn new(
        spec: &IssuerSpec,
        stale: Duration,
        client: &Client,
        meters: KeyMeters,
    ) -> IssuerKeys {
        let written = match &spec.keys {
            KeyPlace::Written(set) => Some(Arc::new(set.clone())),
            KeyPlace::Discovered(_) | KeyPlace::At(_) => None,
        };
        let keys = IssuerKeys {
            shared: Arc::new(Shared {
                issuer: spec.issuer.clone(),
                place: spec.keys.clone(),
                stale,
                keys: ArcSwapOption::new(written),
                state: Mutex::new(State {
                    busy: true,
                    refetch: Refetch::full(Instant::now()),
                    failure: None,
                    failures: 0,
                    fetched_at: None,
                }),
                ended: watch::Sender::new(0),
                asked: Notify::new(),
                meters,
            }),
            client: client.clone(),
            task: OnceLock::new(),
            waiting: Semaphore::new(WAITING),
        };
        keys.start();
        keys
    }

    /// Whether that very key is still in use.
    pub(super) fn holds(&self, key: &Arc<Key>) -> bool {
        self.shared
            .keys
            .load()
            .as_ref()
            .is_some_and(|set| set.holds(key))
    }

    /// The key that a token is to be checked with.
    pub(super) async fn fitting(&self, token: &Compact<'_>) -> Result<Arc<Key>, Refusal> {
        self.start();
        if let Some(set) = self.shared.keys.load_full() {
            if let Some(key) = set.fitting(token) {
                return Ok(key.clone());
            }
            let written = matches!(self.shared.place, KeyPlace::Written(_));
            if written || !set.may_be_outdated_for(token) {
                return Err(Refusal::UnknownKey);
            }
        }
        self.look().await?;
        let set = self.shared.keys.load_full().ok_or_else(|| self.none())?;
        match set.fitting(token) {
            Some(key) => Ok(key.clone()),
            // Whether the key is a new one cannot be known while the issuer is away.
            None if self.shared.locked().failure.is_some() => Err(self.none()),
            None => Err(Refusal::UnknownKey),
        }
    }

    /// Waits for a look at the issuer: the one that is under way, or a new one if the bucket allows it.
    async fn look(&self) -> Result<(), Refusal> {
        let Some(mut ended) = self.shared.ask(Instant::now()) else {
            return Ok(());
        };
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(Refusal::NoKeys(format!(
                "{WAITING} requests wait for the keys of {} already",
                self.shared.issuer
            )));
        };
        // What it came to is seen in the keys and the state; a look that takes too long is as good as failed.
        let _ = tokio::time::timeout(PATIENCE, ended.changed()).await;
        Ok(())
    }

    fn none(&self) -> Refusal {
        let why = match &self.shared.locked().failure {
            Some(failure) => failure.to_string(),
            None => "they were not fetched in time".to_owned(),
        };
        Refusal::NoKeys(format!(
            "the keys of {} are missing: {why}",
            self.shared.issuer
        ))
    }

    fn start(&self) {
        if matches!(self.shared.place, KeyPlace::Written(_)) {
            return;
        }
        if let (None, Ok(runtime)) = (self.task.get(), Handle::try_current()) {
            self.task.get_or_init(|| {
                let task = keep(self.shared.clone(), self.client.clone());
                AbortOnDropHandle::new(runtime.spawn(task))
            });
        }
    }
}

/// Looks at the issuer for as long as somebody has its keys.
async fn keep(shared: Arc<Shared>, client: Client) {
    loop {
        let before = shared.keys.load_full();
        let fetched = fetch::keys(&client, &shared.issuer, &shared.place, before.as_deref()).await;
        let wait = shared.settle(fetched, Instant::now());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.asked.notified() => {}
        }
        shared.locked().busy = true;
    }
}

impl Shared {
    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a look, unless one is under way. What is returned changes when it has ended; `None`: the bucket is
    /// empty, so there is nothing to wait for.
    fn ask(&self, now: Instant) -> Option<watch::Receiver<u64>> {
        let mut state = self.locked();
        if !state.busy {
            if !state.refetch.take(now) {
                return None;
            }
            state.busy = true;
            self.asked.notify_one();
        }
        // Under the lock: `settle` cannot come between, and its end is one that the receiver has not seen.
        Some(self.ended.subscribe())
    }

    /// Takes in what a look has come to, and says when to look again.
    fn settle(&self, fetched: Result<Fetched, Failure>, now: Instant) -> Duration {
        let mut state = self.locked();
        let wait = match fetched {
            Ok(fetched) => {
                self.taken(&mut state, &fetched);
                state.fetched_at = Some(now);
                self.keys.store(Some(Arc::new(fetched.read.set)));
                fetched.fresh_for
            }
            Err(failure) => self.failed(&mut state, failure, now),
        };
        state.busy = false;
        self.ended.send_modify(|ended| *ended += 1);
        wait
    }

    fn taken(&self, state: &mut State, fetched: &Fetched) {
        if state.failure.take().is_some() {
            tracing::info!(issuer = %self.issuer, "The issuer's keys can be fetched again");
        }
        state.failures = 0;
        if fetched.read.set.is_empty() {
            tracing::warn!(issuer = %self.issuer, "The issuer has no key that tokens could be checked with");
        }
        for why in &fetched.read.unusable {
            tracing::debug!(issuer = %self.issuer, why, "A key of the issuer is left out");
        }
        self.meters.fetched.inc();
        let written_down = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = written_down.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
        self.meters.fetched_at.set(seconds);
    }

    fn failed(&self, state: &mut State, failure: Failure, now: Instant) -> Duration {
        self.meters.failed.inc();
        if state.failure.is_none() {
            tracing::warn!(issuer = %self.issuer, error = %failure, "The issuer's keys cannot be fetched");
        } else {
            tracing::debug!(issuer = %self.issuer, error = %failure, "The issuer's keys still cannot be fetched");
        }
        let too_old = state
            .fetched_at
            .is_some_and(|at| now.saturating_duration_since(at) >= self.stale);
        if too_old {
            tracing::error!(issuer = %self.issuer, error = %failure, "The issuer's keys are too old to be used on");
            self.keys.store(None);
            self.meters.fetched_at.set(0);
            state.fetched_at = None;
        }
        state.failure = Some(failure);
        let wait = FIRST_RETRY.saturating_mul(1 << state.failures.min(10));
        state.failures = state.failures.saturating_add(1);
        match state.fetched_at {
            None => wait.min(LAST_RETRY_WITHOUT_KEYS),
            // Not past the moment when they are too old.
            Some(at) => {
                let left = self.stale.saturating_sub(now.saturating_duration_since(at));
                wait.min(LAST_RETRY).min(left.max(FIRST_RETRY))
            }
        }
    }
}
