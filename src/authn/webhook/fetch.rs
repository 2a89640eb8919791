//! What has to be fetched to decide: certificates and keys. Bounded in size, time and number; one fetch at a time for each
//! name; what was found and what was not are both remembered. A failure is never an acceptance.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::verdict::Failure;
use crate::outbound::{Bounds, Client, Named};

const BOUNDS: Bounds = Bounds {
    timeout: Duration::from_secs(5),
    max_body: 64 << 10,
};
/// For how long a failure is remembered, in seconds.
const FAILED_FOR: i64 = 10;
/// How often what is fresh may be fetched again because it lacks something, in seconds.
const AGAIN_AFTER: i64 = 60;
/// Names that are remembered.
const MOST_NAMES: usize = 128;
/// Fetches in a minute of names that have not been fetched well yet, and failed: requests name them.
const UNPROVEN_A_MINUTE: u32 = 10;
/// Fetches in a minute that failed, of names that have been fetched well before: others' inventions do not use them up.
const PROVEN_A_MINUTE: u32 = 60;

/// Who fetches.
#[derive(Clone, Debug)]
pub(super) enum Fetcher {
    Web(Client),
    /// Answers by URL.
    #[cfg(test)]
    Canned(Arc<HashMap<String, String>>),
}

impl Fetcher {
    /// Whether what is fetched comes from elsewhere, and not from a test that vouches for it.
    pub(super) fn is_from_the_web(&self) -> bool {
        match self {
            Fetcher::Web(_) => true,
            #[cfg(test)]
            Fetcher::Canned(_) => false,
        }
    }

    /// Makes one exchange; the error is for the log.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
        named: Named,
    ) -> Result<Response<Bytes>, String> {
        match self {
            Fetcher::Web(client) => Box::pin(client.send(request, named, BOUNDS))
                .await
                .map_err(|error| error.to_string()),
            #[cfg(test)]
            Fetcher::Canned(answers) => match answers.get(&request.uri().to_string()) {
                Some(text) => Ok(Response::new(Bytes::from(text.clone()))),
                None => Err("no such answer".to_owned()),
            },
        }
    }

    /// The body that a URL gives with 200.
    pub(super) async fn get(&self, url: &str, named: Named) -> Result<Bytes, String> {
        let request = Request::get(url)
            .body(Bytes::new())
            .map_err(|error| format!("not a URL: {error}"))?;
        let response = self.send(request, named).await?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(format!("the answer is {}", status.as_u16())),
        }
    }
}

/// What was fetched, and until when it may be used; seconds since 1970.
pub(super) struct Fresh<T> {
    pub(super) value: T,
    /// Until when it is not fetched again.
    pub(super) until: i64,
    /// Until when it is used if it cannot be fetched again.
    pub(super) at_most: i64,
}

/// Things by name, fetched when they are first asked for.
#[derive(Debug)]
pub(super) struct Cache<T>(Mutex<Names<T>>);

#[derive(Debug)]
struct Names<T> {
    slots: HashMap<String, Arc<Slot<T>>>,
    /// The minute in which fetches are counted, and how many there were: of names that were not yet fetched well, and of
    /// those that were. What goes well does not count.
    minute: i64,
    spent: [u32; 2],
}

#[derive(Debug)]
struct Slot<T> {
    state: Mutex<State<T>>,
    /// Held by the one who fetches.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State<T> {
    value: Option<Arc<T>>,
    until: i64,
    at_most: i64,
    attempted: i64,
    failure: Option<Failure>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Cache(Mutex::new(Names {
            slots: HashMap::new(),
            minute: i64::MIN,
            spent: [0; 2],
        }))
    }
}

impl<T> Slot<T> {
    /// What can be said without a fetch. `again`: what is fresh does not do.
    fn known(&self, now: i64, again: bool) -> Option<Result<Arc<T>, Failure>> {
        let state = self.state();
        let lately = |span: i64| now.saturating_sub(state.attempted) < span;
        match (&state.value, &state.failure) {
            (Some(value), None) if now < state.until && (!again || lately(AGAIN_AFTER)) => {
                Some(Ok(value.clone()))
            }
            (Some(value), Some(_)) if now < state.at_most && lately(FAILED_FOR) => {
                Some(Ok(value.clone()))
            }
            (_, Some(failure)) if lately(FAILED_FOR) => Some(Err(failure.clone())),
            _ => None,
        }
    }

    /// Whether it has ever been fetched well.
    fn is_proven(&self) -> bool {
        self.state().value.is_some()
    }

    /// Whether the last fetch, made at that time, went well.
    fn fetched_well(&self, now: i64) -> bool {
        let state = self.state();
        state.attempted == now && state.failure.is_none()
    }

    /// What was found before, if it may still be used.
    fn usable(&self, now: i64) -> Option<Arc<T>> {
        let state = self.state();
        state.value.clone().filter(|_| now < state.at_most)
    }

    fn until(&self) -> i64 {
        self.state().until
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, now: i64, fetched: Result<Fresh<T>, Failure>) -> Result<Arc<T>, Failure> {
        let mut state = self.state();
        state.attempted = now;
        match fetched {
            Ok(fresh) => {
                let value = Arc::new(fresh.value);
                state.value = Some(value.clone());
                state.until = fresh.until;
                state.at_most = fresh.at_most;
                state.failure = None;
                Ok(value)
            }
            Err(failure) => {
                state.failure = Some(failure.clone());
                match &state.value {
                    Some(value) if now < state.at_most => Ok(value.clone()),
                    _ => Err(failure),
                }
            }
        }
    }
}

impl<T> Cache<T> {
    /// The thing of that name, fetched if need be. `again`: what is fresh lacks something; it is fetched again, at most
    /// once a minute.
    pub(super) async fn get(
        &self,
        name: &str,
        now: i64,
        again: bool,
        fetch: impl Future<Output = Result<Fresh<T>, Failure>>,
    ) -> Result<Arc<T>, Failure> {
        let slot = self.slot(name, now)?;
        if let Some(known) = slot.known(now, again) {
            return known;
        }
        let _flight = slot.flight.lock().await;
        // Whoever held it may have fetched it meanwhile.
        if let Some(known) = slot.known(now, again) {
            return known;
        }
        let proven = slot.is_proven();
        if !self.names().take(proven, now) {
            return slot.usable(now).ok_or_else(too_many);
        }
        let noted = slot.note(now, fetch.await);
        if slot.fetched_well(now) {
            self.names().give_back(proven, now);
        }
        noted
    }

    fn names(&self) -> MutexGuard<'_, Names<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of that name. A new one is not made for a name that could not be fetched now.
    fn slot(&self, name: &str, now: i64) -> Result<Arc<Slot<T>>, Failure> {
        let mut names = self.names();
        if let Some(slot) = names.slots.get(name) {
            return Ok(slot.clone());
        }
        if names.spent(false, now) >= UNPROVEN_A_MINUTE {
            return Err(too_many());
        }
        names.make_room();
        let slot = Arc::new(Slot {
            state: Mutex::new(State {
                value: None,
                until: 0,
                at_most: 0,
                attempted: i64::MIN,
                failure: None,
            }),
            flight: tokio::sync::Mutex::new(()),
        });
        names.slots.insert(name.to_owned(), slot.clone());
        Ok(slot)
    }
}

/// Whoever names yet another one is charged for it: that is what slows those who make names up.
fn too_many() -> Failure {
    Failure::unavailable("too many certificates or keys are named that could not be fetched")
        .charged()
}

impl<T> Names<T> {
    /// How many fetches of this minute count: of names that have been fetched well before, or of others.
    fn spent(&mut self, proven: bool, now: i64) -> u32 {
        let minute = now.div_euclid(60);
        if self.minute != minute {
            self.minute = minute;
            self.spent = [0; 2];
        }
        self.spent[usize::from(proven)]
    }

    /// Takes one fetch; `false`: there is none left in this minute.
    fn take(&mut self, proven: bool, now: i64) -> bool {
        let most = if proven {
            PROVEN_A_MINUTE
        } else {
            UNPROVEN_A_MINUTE
        };
        let left = self.spent(proven, now) < most;
        self.spent[usize::from(proven)] += u32::from(left);
        left
    }

    /// A fetch that went well does not count. `now`: when it was taken.
    fn give_back(&mut self, proven: bool, now: i64) {
        if self.minute == now.div_euclid(60) {
            let spent = &mut self.spent[usize::from(proven)];
            *spent = spent.saturating_sub(1);
        }
    }

    /// Forgets what is worth least: names that never were fetched well, and of those that were, the oldest. A slot that
    /// somebody holds stays: its fetch would be lost.
    fn make_room(&mut self) {
        if self.slots.len() < MOST_NAMES {
            return;
        }
        self.slots
            .retain(|_, slot| slot.is_proven() || Arc::strong_count(slot) > 1);
        while self.slots.len() >= MOST_NAMES {
            let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.until());
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                return;
            };
            self.slots.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn fresh(value: u32, now: i64) -> Result<Fresh<u32>, Failure> {
        Ok(Fresh {
            value,
            until: now + 100,
            at_most: now + 1_000,
        })
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cause_one_fetch() {
        let (cache, fetches) = (Cache::default(), AtomicU32::new(0));
        let ask = || async {
            let fetch = async {
                fetches.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                fresh(7, 0)
            };
            cache.get("a", 0, false, fetch).await.map(|value| *value)
        };
        let answers = futures_util::future::join_all((0..20).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| *answer == Ok(7)));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failure_is_remembered_for_a_while_and_what_was_found_outlives_it() {
        let cache: Cache<u32> = Cache::default();
        let failed = || Failure::unavailable("down");
        let at = |now, fetched: Result<Fresh<u32>, Failure>| {
            let cache = &cache;
            async move {
                cache
                    .get("a", now, false, async { fetched })
                    .await
                    .map(|v| *v)
            }
        };
        assert_eq!(at(0, Err(failed())).await, Err(failed()));
        assert_eq!(at(9, fresh(1, 9)).await, Err(failed()), "remembered");
        assert_eq!(at(10, fresh(1, 10)).await, Ok(1));
        assert_eq!(at(109, fresh(2, 109)).await, Ok(1), "still fresh");
        assert_eq!(
            at(110, Err(failed())).await,
            Ok(1),
            "stale is better than nothing"
        );
        assert_eq!(at(2_000, Err(failed())).await, Err(failed()));
    }

    #[tokio::test]
    async fn what_lacks_something_is_fetched_again_once_a_minute() {
        let cache: Cache<u32> = Cache::default();
        let again = |now, value| {
            let cache = &cache;
            async move {
                *cache
                    .get("a", now, true, async { fresh(value, now) })
                    .await
                    .unwrap()
            }
        };
        assert_eq!(
            [again(0, 1).await, again(59, 2).await, again(60, 3).await],
            [1, 1, 3]
        );
        let mut refused = 0;
        for number in 0..20 {
            let name = format!("n{number}");
            let got = cache.get(&name, 61, false, async { fresh(0, 61) }).await;
            refused += u32::from(got.is_err());
        }
        assert_eq!(refused, 0, "what can be fetched is not counted");
    }

    #[tokio::test]
    async fn names_that_are_made_up_do_not_keep_out_those_that_have_been_good() {
        let cache: Cache<u32> = Cache::default();
        let down = || Failure::unavailable("404");
        let ask = async |name: String, now, fetched: Result<Fresh<u32>, Failure>| {
            let found = cache.get(&name, now, false, async { fetched }).await;
            found.map(|value| *value)
        };
        assert_eq!(ask("good".to_owned(), 0, fresh(1, 0)).await, Ok(1));
        // It is no longer fresh, nor of use, when they come.
        let late = 60_000;
        for number in 0..200 {
            let refused = ask(format!("forged-{number}"), late, Err(down())).await;
            let charged = refused.unwrap_err().charged;
            assert_eq!(charged, number >= 10, "who floods is charged: {number}");
        }
        assert_eq!(ask("good".to_owned(), late, fresh(2, late)).await, Ok(2));
        assert!(ask("new".to_owned(), late, fresh(3, late)).await.is_err());
        assert_eq!(
            ask("new".to_owned(), late + 60, fresh(3, late)).await,
            Ok(3)
        );
    }

    #[tokio::test]
    async fn room_is_made_by_forgetting_what_never_was_good() {
        let cache: Cache<u32> = Cache::default();
        let forged = |number: i64| format!("forged-{number}");
        let failed = async || Err(Failure::unavailable("404"));
        assert!(
            cache
                .get("good", 0, false, async { fresh(1, 0) })
                .await
                .is_ok()
        );
        for number in 0..200 {
            let now = number * 60;
            let name = forged(number);
            assert!(cache.get(&name, now, false, failed()).await.is_err());
            assert!(cache.names().slots.len() <= MOST_NAMES);
        }
        assert!(cache.names().slots.contains_key("good"));
        for number in 0..200 {
            let name = format!("good-{number}");
            let found = cache.get(&name, number, false, async { fresh(1, number) });
            assert!(found.await.is_ok());
        }
        let names = cache.names();
        assert_eq!(names.slots.len(), MOST_NAMES);
        assert!(names.slots.contains_key("good-199") && !names.slots.contains_key("good-0"));
    }
}
