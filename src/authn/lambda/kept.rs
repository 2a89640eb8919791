//! Remembered answers: one question at a time for each key, its answer for all who wait; refusals are remembered too,
//! failures are not (reference, 5.4). Credentials are not kept, only a digest of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use quick_cache::sync::Cache;
use tokio::time::Instant;

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

type Answer = Result<Arc<Said>, AuthnError>;
type Question = BoxFuture<'static, Answer>;

/// The answers of one authorizer.
#[derive(Debug)]
pub(super) struct Answers {
    ttl: Duration,
    kept: Arc<Cache<Key, (Instant, Arc<Said>)>>,
    asked: Mutex<HashMap<Key, Shared<Question>>>,
}

impl Answers {
    pub fn new(max: usize, ttl: Duration) -> Answers {
        Answers {
            ttl,
            kept: Arc::new(Cache::new(max)),
            asked: Mutex::default(),
        }
    }

    /// The answer for a key: the one that is kept, else the one of the question that is under way, else a new one's.
    pub async fn get(&self, key: Key, ask: impl FnOnce() -> Question) -> Answer {
        if let Some((until, said)) = self.kept.get(&key)
            && Instant::now() < until
        {
            return Ok(said);
        }
        let waiting = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let question = asked
                .entry(key)
                .or_insert_with(|| self.keeping(key, ask()).shared());
            Waiting {
                answers: self,
                key,
                question: question.clone(),
            }
        };
        waiting.question.clone().await
    }

    fn keeping(&self, key: Key, question: Question) -> Question {
        let kept = self.kept.clone();
        let ttl = self.ttl;
        async move {
            let said = question.await?;
            kept.insert(key, (Instant::now() + ttl, said.clone()));
            Ok(said)
        }
        .boxed()
    }

    /// Forgets every answer. How many there were.
    pub fn flush(&self) -> usize {
        let count = self.kept.len();
        self.kept.clear();
        // An answer to a question from before the flush is not kept under this map's eyes: it is asked anew.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clear();
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
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    #[tokio::test(start_paused = true)]
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
        for _ in 0..3 {
            answers.get(key("a"), ask(false)).await.unwrap();
        }
        answers.get(key("b"), ask(true)).await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        answers.get(key("a"), ask(false)).await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        assert_eq!(answers.flush(), 2);
        answers.get(key("a"), ask(true)).await.unwrap();
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
                tokio::spawn(async move { answers.get(key("a"), ask).await })
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
                .get(key("a"), || async { said(true) }.boxed())
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
                    .get(key("a"), || std::future::pending().boxed())
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
