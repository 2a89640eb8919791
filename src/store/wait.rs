//! Receiving, on the caller's side: the long poll. A caller sleeps until the writer says that something has arrived in
//! its queue, or its time is over, or the store closes; it asks the writer only when there is something to be had.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::clock::millis;
use super::error::StoreError;
use super::job::Job;
use super::message::{Delivery, Receive};
use super::queue::Queue;
use super::receive::{Found, Taken, Want};
use super::{Store, check_visibility};

/// How long a waiting caller pauses when the writer has too much to do.
const PAUSE: Duration = Duration::from_millis(20);

/// Counts a caller who waits, for as long as it lives.
pub(super) struct Waiting<'a>(&'a Queue);

impl<'a> Waiting<'a> {
    pub fn begin(queue: &'a Queue) -> Waiting<'a> {
        queue.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(queue)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Store {
    /// Receives up to ten messages; waits for the first if asked to. Empty if there was none, or if the store closes.
    /// Deliveries whose caller stops waiting become visible again at once.
    pub async fn receive(
        &self,
        queue: &str,
        request: Receive,
    ) -> Result<Vec<Delivery>, StoreError> {
        let queue = self.queue(queue)?;
        if !(1..=10).contains(&request.max_messages) {
            return Err(StoreError::InvalidParameter(
                "MaxNumberOfMessages is 1 to 10".to_owned(),
            ));
        }
        if let Some(timeout) = request.visibility_timeout {
            check_visibility(timeout)?;
        }
        let closing = self.0.shared.closing.clone();
        let polls_over = self.0.shared.polls_over.clone();
        if closing.is_cancelled() {
            return Err(StoreError::Closed);
        }
        let deadline = Instant::now().checked_add(request.wait);
        let waiting = Waiting::begin(&queue);
        let mut first = true;
        loop {
            let arrival = waiting.0.arrivals.notified();
            tokio::pin!(arrival);
            // From here on no arrival is missed: what came before shows in the counts.
            arrival.as_mut().enable();
            let over = deadline.is_some_and(|at| at <= Instant::now());
            // A queue that looks empty may hold something due this very moment; the first look asks the writer.
            if first || !queue.looks_empty() {
                match self.take(&queue, &request).await {
                    Ok(found) if found.more => {
                        first = true;
                        continue;
                    }
                    Ok(found) if !found.taken.is_empty() => return Ok(self.sealed(found.taken)),
                    Ok(_) => {}
                    Err(StoreError::Overloaded) if !over => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    Err(StoreError::Closed) if closing.is_cancelled() => return Ok(Vec::new()),
                    Err(error) => return Err(queue.named(error)),
                }
            }
            first = false;
            if over {
                return Ok(Vec::new());
            }
            let end = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut arrival => {}
                () = end => return Ok(Vec::new()),
                () = polls_over.cancelled() => return Ok(Vec::new()),
                () = queue.removed.cancelled() => {
                    return Err(StoreError::UnknownQueue(queue.name.to_string()));
                }
            }
        }
    }

    async fn take(&self, queue: &Arc<Queue>, request: &Receive) -> Result<Found, StoreError> {
        let visibility = request
            .visibility_timeout
            .unwrap_or(queue.spec.load().visibility_timeout);
        let want = Want {
            max_messages: request.max_messages,
            visibility: millis(visibility),
            attempt_id: request.attempt_id.clone(),
        };
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Receive {
            queue: queue.id,
            want,
            reply,
        })?;
        let mut claim = Claim {
            store: self,
            answer,
        };
        (&mut claim.answer).await.unwrap_or(Err(StoreError::Closed))
    }

    fn sealed(&self, taken: Vec<Taken>) -> Vec<Delivery> {
        taken
            .into_iter()
            .map(|taken| Delivery {
                receipt_handle: self.0.shared.handles.seal(&taken.grip),
                ..taken.delivery
            })
            .collect()
    }
}

/// A receive that waits for its answer. A caller that goes away while the answer is on its way gives the messages back:
/// the writer sees only those whose caller has gone before it answers.
struct Claim<'s> {
    store: &'s Store,
    answer: oneshot::Receiver<Result<Found, StoreError>>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.answer.close();
        // Empty when the answer was taken, or has not come and never will.
        let Ok(Ok(found)) = self.answer.try_recv() else {
            return;
        };
        for taken in found.taken {
            let (reply, _) = oneshot::channel();
            let back = Job::ChangeVisibility {
                grip: taken.grip,
                visibility: 0,
                reply,
            };
            // If not even this fits, the message comes back with its visibility timeout.
            let _ = self.store.submit(back);
        }
    }
}
