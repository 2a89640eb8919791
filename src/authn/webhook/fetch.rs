//! What has to be fetched to decide: certificates and keys. Bounded in size, time and number; one fetch at a time for each
//! name; what was found and what was not are both remembered. A failure is never an acceptance.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
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
/// New names in a minute: requests name them, and each costs a fetch.
const NEW_NAMES_A_MINUTE: u32 = 10;

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
    /// The minute in which new names are counted, and how many there were.
    minute: i64,
    new: u32,
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
            new: 0,
        }))
    }
}

impl<T> Slot<T> {
    /// What can be said without a fetch. `again`: what is fresh does not do.
    fn known(&self, now: i64, again: bool) -> Option<Result<Arc<T>, Failure>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn note(&self, now: i64, fetched: Result<Fresh<T>, Failure>) -> Result<Arc<T>, Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
        slot.note(now, fetch.await)
    }

    fn slot(&self, name: &str, now: i64) -> Result<Arc<Slot<T>>, Failure> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = names.slots.get(name) {
            return Ok(slot.clone());
        }
        let minute = now.div_euclid(60);
        if names.minute != minute {
            names.minute = minute;
            names.new = 0;
        }
        if names.new >= NEW_NAMES_A_MINUTE {
            return Err(Failure::unavailable(
                "too many different certificates or keys are named at once",
            ));
        }
        names.new += 1;
        if names.slots.len() >= MOST_NAMES {
            names.slots.retain(|_, slot| {
                let state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.value.is_some() && now < state.until
            });
            if names.slots.len() >= MOST_NAMES {
                names.slots.clear();
            }
        }
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
    async fn what_lacks_something_is_fetched_again_once_a_minute_and_new_names_are_bounded() {
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
        assert_eq!(refused, 10);
    }
}
