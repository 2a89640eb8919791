//! How the fake endpoint feels, and what it has seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::calls::Service;
use crate::support::requests::number_of;

/// Shares are of calls, from 0 to 1; `partial_rate` is of the entries of a batch.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Mood {
    delay_ms: u64,
    error_rate: f64,
    throttle_rate: f64,
    lost_reply_rate: f64,
    partial_rate: f64,
}

/// What becomes of a call.
pub enum Fate {
    Answered,
    Throttled,
    Failed,
    /// Stored, and the connection ends without an answer.
    Lost,
}

pub struct State {
    mood: RwLock<Mood>,
    /// Of a generator of numbers that are random enough.
    dice: AtomicU64,
    calls: AtomicU64,
    records: AtomicU64,
    duplicates: AtomicU64,
    unsigned: AtomicU64,
    malformed: AtomicU64,
    refused_entries: AtomicU64,
    by_operation: Mutex<BTreeMap<&'static str, u64>>,
    /// How often each number was stored.
    seen: Mutex<Vec<u8>>,
}

impl State {
    pub fn new() -> State {
        State {
            mood: RwLock::new(Mood::default()),
            dice: AtomicU64::new(1),
            calls: AtomicU64::new(0),
            records: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            unsigned: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            refused_entries: AtomicU64::new(0),
            by_operation: Mutex::new(BTreeMap::new()),
            seen: Mutex::new(Vec::new()),
        }
    }

    pub fn change(&self, body: &[u8]) -> serde_json::Result<()> {
        let mood = serde_json::from_slice(body)?;
        *self.mood.write().unwrap_or_else(PoisonError::into_inner) = mood;
        Ok(())
    }

    fn mood(&self) -> Mood {
        let mood = self.mood.read().unwrap_or_else(PoisonError::into_inner);
        mood.clone()
    }

    pub fn called(&self, service: Service, signed: bool) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if !signed {
            self.unsigned.fetch_add(1, Ordering::Relaxed);
        }
        let mut by_operation = self
            .by_operation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *by_operation.entry(service.operation()).or_default() += 1;
    }

    pub async fn think(&self) {
        let delay = self.mood().delay_ms;
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
    }

    pub fn fate(&self) -> Fate {
        let mood = self.mood();
        let dice = self.throw();
        if dice < mood.throttle_rate {
            Fate::Throttled
        } else if dice < mood.throttle_rate + mood.error_rate {
            Fate::Failed
        } else if dice < mood.throttle_rate + mood.error_rate + mood.lost_reply_rate {
            Fate::Lost
        } else {
            Fate::Answered
        }
    }

    /// Whether an entry of a batch is refused by itself.
    pub fn refuses_entry(&self) -> bool {
        let refused = self.throw() < self.mood().partial_rate;
        if refused {
            self.refused_entries.fetch_add(1, Ordering::Relaxed);
        }
        refused
    }

    /// From 0 to 1 (splitmix64).
    fn throw(&self) -> f64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.dice.fetch_add(step, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// Stores a record. The number of its kind so far.
    pub fn store(&self, body: &[u8]) -> u64 {
        if let Some(number) = number_of(body).and_then(|number| usize::try_from(number).ok()) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.len() <= number {
                seen.resize(number + 1, 0);
            }
            if seen[number] > 0 {
                self.duplicates.fetch_add(1, Ordering::Relaxed);
            }
            seen[number] = seen[number].saturating_add(1);
        }
        self.records.fetch_add(1, Ordering::Relaxed)
    }

    pub fn seen(&self) -> Vec<u8> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    pub fn stats(&self) -> Value {
        let by_operation = self
            .by_operation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        json!({
            "calls": count(&self.calls),
            "records": count(&self.records),
            "duplicates": count(&self.duplicates),
            "unsigned": count(&self.unsigned),
            "malformed": count(&self.malformed),
            "refused_entries": count(&self.refused_entries),
            "operations": by_operation,
        })
    }
}
