//! Whoever wants something of the writer: the job is handed over, within what may wait, and the answer awaited.

use std::sync::atomic::Ordering;
use std::sync::mpsc::TrySendError;

use tokio::sync::oneshot;

use super::job::{self, Job, Reply, Solo};
use super::queue::{Queue, locked};
use super::writer::Writer;
use super::{Health, Store, StoreError, WAITING_BYTES};

impl Store {
    /// Hands a job to the writer and waits for its answer.
    pub(super) async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.submit(job(reply))?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// As [`Store::ask`]; the writer, which knows a removed queue no longer, leaves its name to the caller.
    pub(super) async fn ask_about<T>(
        &self,
        queue: &Queue,
        job: impl FnOnce(Reply<T>) -> Job,
    ) -> Result<T, StoreError> {
        self.ask(job).await.map_err(|error| queue.named(error))
    }

    /// Has the writer do something by itself, and waits for the answer.
    pub(super) async fn order<T, E>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let order: job::Order = Box::new(move |writer| {
            let result = writer.map_err(E::from).and_then(work);
            // Who asked may be gone; what was asked is done all the same.
            let _ = reply.send(result);
        });
        self.submit(Job::Solo(Solo::Order(order)))?;
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), StoreError> {
        let shared = &self.0.shared;
        if shared.closing.is_cancelled() {
            return Err(StoreError::Closed);
        }
        let footprint = job.footprint();
        let before = shared.waiting_bytes.fetch_add(footprint, Ordering::Relaxed);
        let refused = |error| {
            shared.waiting_bytes.fetch_sub(footprint, Ordering::Relaxed);
            Err(error)
        };
        if footprint > 0 && before > WAITING_BYTES {
            shared.meters.overloaded.inc();
            return refused(StoreError::Overloaded);
        }
        match self.0.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => {
                shared.meters.overloaded.inc();
                refused(StoreError::Overloaded)
            }
            Some(Err(TrySendError::Disconnected(_))) | None => {
                // Nobody closed it, so the writer has ended by a bug: loud, and never ready again.
                if !shared.closing.is_cancelled() {
                    *locked(&shared.health) =
                        Health::Failed("the store's writer has ended".to_owned());
                }
                refused(StoreError::Closed)
            }
        }
    }
}
