//! Idempotency keys: in flight (fenced), or done with the first answer. A key is a digest of its scope and the caller's
//! text; what it means is the business of whoever asks.

use std::time::Duration;

use bytes::Bytes;

use super::Store;
use super::clock::millis;
use super::error::StoreError;
use super::job::Job;
use super::message::{self, NewMessage, Sent};
use super::once::{self, KeyChange};
use super::queue::locked;

/// A key with what a request brings along with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// SHA-256 over scope and key.
    pub key: [u8; 32],
    /// SHA-256 over what must be the same in a repeated request.
    pub fingerprint: [u8; 32],
    /// How long the answer is kept.
    pub ttl: Duration,
    /// How long a request may stay in flight before a repeated one takes over.
    pub fence: Duration,
    /// The request's id.
    pub request_id: String,
}

/// A key that this request has reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub key: [u8; 32],
    /// Tells this reservation from a later one of the same key.
    pub token: i64,
    /// Another request had the key reserved and nobody heard how it ended: what it was to store may be stored.
    pub took_over: bool,
}

/// The first request's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The first request's id.
    pub request_id: String,
    /// What the target said.
    pub receipt: Bytes,
    /// The response as it went out; none if the process ended before it did.
    pub response: Option<Bytes>,
}

/// What a key is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Done: the answer.
    Done(Kept),
    /// Another request with this key and this fingerprint is under way, for at most this long.
    InFlight(Duration),
    /// The key belongs to a request with another fingerprint.
    Mismatch,
}

/// The result of something that happens once for each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once<T> {
    /// It has happened now.
    New(T),
    /// It had happened before, or is about to.
    Known(Known),
}

impl Store {
    /// What is known of a key; `None`: nothing, or nothing that still counts. Reads only.
    pub async fn known(&self, key: &NewKey) -> Result<Option<Known>, StoreError> {
        let key = key.clone();
        let shared = self.0.shared.clone();
        self.read(move |connection| {
            let expiry = !locked(&shared.vitals).expiry_suspended;
            once::known(connection, &key, shared.steady.now(), expiry)
        })
        .await
    }

    /// Reserves a key; durable when answered. What the same request has reserved already is reserved anew.
    pub async fn reserve(&self, key: NewKey) -> Result<Once<Reservation>, StoreError> {
        let key = Box::new(key);
        self.ask(|reply| Job::Reserve { key, reply }).await
    }

    /// Keeps what the target said; durable when answered. Does nothing if the reservation has been taken over, or is
    /// done already.
    pub async fn complete(
        &self,
        reservation: Reservation,
        ttl: Duration,
        receipt: Bytes,
        response: Option<Bytes>,
    ) -> Result<(), StoreError> {
        self.change(KeyChange::Complete {
            reservation,
            ttl: millis(ttl),
            receipt,
            response,
        })
        .await
    }

    /// Adds the response to an answer that is kept already; not synced.
    pub async fn keep_response(&self, key: [u8; 32], response: Bytes) -> Result<(), StoreError> {
        self.change(KeyChange::Respond { key, response }).await
    }

    /// Frees a reserved key: nothing was stored; durable when answered. Does nothing if the reservation has been taken
    /// over, or is done already.
    pub async fn release(&self, reservation: Reservation) -> Result<(), StoreError> {
        self.change(KeyChange::Release(reservation)).await
    }

    /// As [`Store::send`], once for each key: reservation, message and receipt (`Sent` as JSON) are one transaction.
    pub async fn send_once(
        &self,
        queue: &str,
        message: NewMessage,
        key: NewKey,
    ) -> Result<Once<Sent>, StoreError> {
        let queue = self.queue(queue)?;
        let message = Box::new(message::prepare(message, &queue.spec.load())?);
        self.ask_about(&queue, |reply| Job::SendOnce {
            queue: queue.id,
            message,
            key: Box::new(key),
            reply,
        })
        .await
    }

    async fn change(&self, change: KeyChange) -> Result<(), StoreError> {
        let change = Box::new(change);
        self.ask(|reply| Job::ChangeKey { change, reply }).await
    }
}
