//! Remembered answers: one question at a time for each key, its answer for all who wait; refusals are remembered too,
//! failures are not (reference, 5.4). Credentials are not kept, only a digest of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use quick_cache::sync::Cache;

use super::super::AuthnError;
use super::answer::Said;

/// SHA-256 of the values of the identity sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Each value counts with its length, so that no two lists run together.
    pub fn of(values: &[String]) -> Key {
        let mut text = digest::Context::new(&digest::SHA256);
        for value in values {
            text.update(&(value.len() as u64).to_be_bytes());
            text.update(value.as_bytes());
        }
        let mut key = [0; 32];
        key.copy_from_slice(text.finish().as_ref());
        Key(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

type Answer = Result<Arc<Said>, AuthnError>;
type Question = BoxFuture<'static, Answer>;

/// The answers of one authorizer.
#[derive(Debug)]
pub(super) struct Answers {
    ttl: Duration,
    kept: Arc<Cache<Key, (Instant, Arc<Said>)>>,
    /// How often everything was forgotten: an answer to a question from before is not kept.
    flushes: Arc<AtomicU64>,
    asked: Mutex<HashMap<Key, Shared<Question>>>,
}

impl Answers {
    pub fn new(max: usize, ttl: Duration) -> Answers {
        Answers {
            ttl,
            kept: Arc::new(Cache::new(max)),
            flushes: Arc::default(),
            asked: Mutex::default(),
        }
    }

    /// The answer for a key: the one that is kept, else the one of the question that is under way, else a new one's. `now`:
    /// from when on a new one counts.
    pub async fn get(&self, key: Key, now: Instant, ask: impl FnOnce() -> Question) -> Answer {
        if let Some((until, said)) = self.kept.get(&key)
            && now < until
        {
            return Ok(said);
        }
        let waiting = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let question = asked
                .entry(key)
                .or_insert_with(|| self.keeping(key, now, ask()).shared());
            Waiting {
                answers: self,
                key,
                question: question.clone(),
            }
        };
        waiting.question.clone().await
    }

    fn keeping(&self, key: Key, now: Instant, question: Question) -> Question {
        let kept = self.kept.clone();
        let flushes = self.flushes.clone();
        let before = flushes.load(Ordering::SeqCst);
        let until = now + self.ttl;
        async move {
            let said = question.await?;
            if flushes.load(Ordering::SeqCst) == before {
                kept.insert(key, (until, said.clone()));
            }
            Ok(said)
        }
        .boxed()
    }

    /// Forgets every answer. How many there were.
    pub fn flush(&self) -> usize {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let count = self.kept.len();
        self.kept.clear();
        count
    }
}

/// One who waits for an answer. The last one to go takes the question along, answered or not.
struct Waiting<'a> {
    answers: &'a Answers,
    key: Key,
    question: Shared<Question>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut asked = self
            .answers
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(question) = asked.get(&self.key) else {
            return;
        };
        // Two hold it when nobody else waits: the map, and this one.
        let is_last = question.strong_count().is_none_or(|count| count <= 2);
        if question.ptr_eq(&self.question) && (is_last || question.peek().is_some()) {
            asked.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use indexmap::IndexMap;
    use tokio::sync::Notify;

    use super::super::super::Kind;
    use super::super::answer::Decision;
    use super::*;

    fn said(all: bool) -> Answer {
        Ok(Arc::new(Said {
            decision: Decision::All(all),
            principal: None,
            values: IndexMap::new(),
            usage_identifier: None,
        }))
    }

    fn key(text: &str) -> Key {
        Key::of(&[text.to_owned()])
    }

    #[test]
    fn values_do_not_run_together() {
        let of =
            |values: &[&str]| Key::of(&values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_its_time_and_a_refusal_too() {
        let answers = Answers::new(10, Duration::from_secs(60));
        let calls = Arc::new(AtomicUsize::new(0));
        let ask = |all: bool| {
            let calls = calls.clone();
            move || {
                async move {
                    calls.fetch_add(1, Ordering::SeqCst);
                    said(all)
                }
                .boxed()
            }
        };
        let now = Instant::now();
        for _ in 0..3 {
            answers.get(key("a"), now, ask(false)).await.unwrap();
        }
        answers.get(key("b"), now, ask(true)).await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        let later = now + Duration::from_secs(60);
        answers.get(key("a"), later, ask(false)).await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        assert_eq!(answers.flush(), 2);
        answers.get(key("a"), later, ask(true)).await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn a_failure_reaches_all_who_wait_and_is_not_kept() {
        let answers = Arc::new(Answers::new(10, Duration::from_secs(60)));
        let calls = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Notify::new());
        let ask = || {
            let (calls, gate) = (calls.clone(), gate.clone());
            move || {
                async move {
                    calls.fetch_add(1, Ordering::SeqCst);
                    gate.notified().await;
                    Err(AuthnError::new(Kind::AuthorizerFailed, "", "down"))
                }
                .boxed()
            }
        };
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let (answers, ask) = (answers.clone(), ask());
                tokio::spawn(async move { answers.get(key("a"), Instant::now(), ask).await })
            })
            .collect();
        while answers
            .asked
            .lock()
            .unwrap()
            .get(&key("a"))
            .is_none_or(|question| question.strong_count() != Some(11))
        {
            tokio::task::yield_now().await;
        }
        gate.notify_one();
        for one in waiting {
            assert_eq!(one.await.unwrap().unwrap_err().cause, "down");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert!(answers.asked.lock().unwrap().is_empty());
        assert!(
            answers
                .get(key("a"), Instant::now(), || async { said(true) }.boxed())
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_question_that_nobody_waits_for_is_forgotten() {
        let answers = Arc::new(Answers::new(10, Duration::from_secs(60)));
        let gone = {
            let answers = answers.clone();
            tokio::spawn(async move {
                answers
                    .get(key("a"), Instant::now(), || std::future::pending().boxed())
                    .await
            })
        };
        while answers.asked.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        gone.abort();
        assert!(gone.await.is_err());
        assert!(answers.asked.lock().unwrap().is_empty());
    }
}
