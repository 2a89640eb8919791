//! The queues of an open store as an operator sees and changes them: lists, pages of messages, receive, redrive, purge.
//! The admin listener answers with these types as JSON; `penstock queue` reads them back, or makes them itself from a
//! stopped gateway's files, so that both say the same.

mod refused;
mod view;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::{MoveError, MoveState, MoveTask, NewMove, Receive, Store};

pub use refused::Refused;
pub use view::{
    DeathView, Encoding, Kind, LedgerView, Listing, MessageView, QueueView, health_words, moment,
};

/// Messages of a page, unless the caller says otherwise.
pub const DEFAULT_PAGE: usize = 10;
/// The most messages of a page.
pub const MAX_PAGE: usize = 1_000;
/// The most messages that one receive may ask for (SQS).
pub const MAX_RECEIVE: usize = 10;

/// Messages in the order in which they were sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    pub queue: String,
    pub messages: Vec<MessageView>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<i64>,
}

/// What to receive.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Take {
    /// 1 to 10; default 1.
    pub max_messages: Option<usize>,
    /// Instead of the queue's own, up to 43,200.
    pub visibility_timeout_seconds: Option<u64>,
}

/// Messages that are now invisible to others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    pub queue: String,
    pub messages: Vec<MessageView>,
}

/// Which message to delete.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delete {
    pub receipt_handle: String,
}

/// Which dead letters go where.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Redrive {
    /// Default: each to where it came from.
    pub to: Option<String>,
    /// Messages a second.
    pub rate: Option<u32>,
    /// Numbers of messages; default: all that are there now.
    pub only: Option<Vec<i64>>,
}

/// A task that moves messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveView {
    pub handle: String,
    pub source: String,
    pub destination: Option<String>,
    pub rate: Option<u32>,
    /// `running`, `completed`, `cancelling`, `cancelled` or `failed`.
    pub state: String,
    pub moved: u64,
    pub to_move: u64,
    pub failure: Option<String>,
    pub started_at: String,
}

/// The last tasks of a source, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moves {
    pub moves: Vec<MoveView>,
}

/// A task has begun, or has been told to end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begun {
    pub handle: String,
}

/// How many messages a purge has deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Purged {
    pub queue: String,
    pub purged: u64,
}

/// The queues of an open store.
#[derive(Clone, Debug)]
pub struct Queues(Store);

impl Queues {
    pub fn new(store: Store) -> Queues {
        Queues(store)
    }

    /// Every queue, spool and dead-letter queue, by name.
    pub fn list(&self) -> Listing {
        view::listing(&self.0)
    }

    /// A page of messages; it touches none of them. It holds fewer than `limit` where their bodies are large.
    pub async fn messages(
        &self,
        queue: &str,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page, Refused> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Refused::asked_wrongly(format!(
                "limit is 1 to {MAX_PAGE}, not {limit}"
            )));
        }
        let found = self.0.peek(queue, after, limit).await?;
        let last = found.last().map(|message| message.number);
        // A short page is no end: large bodies end it, and damaged messages are left out.
        let next = match last {
            Some(_) if found.len() < limit => {
                let behind = self.0.peek(queue, last, 1).await?;
                last.filter(|_| !behind.is_empty())
            }
            last => last,
        };
        Ok(Page {
            queue: queue.to_owned(),
            messages: found
                .iter()
                .map(|message| MessageView::peeked(queue, message))
                .collect(),
            next,
        })
    }

    /// Receives as a consumer does; spools have the gateway as their only one.
    pub async fn receive(&self, queue: &str, take: &Take) -> Result<Taken, Refused> {
        if matches!(Kind::of(queue), Kind::Spool | Kind::DeadLetters) {
            return Err(Refused::asked_wrongly(format!(
                "{queue} has no consumer but the gateway itself; look at its records with `queue peek`, copy them \
                 with `queue export`, send dead letters back with `queue redrive`"
            )));
        }
        let max_messages = take.max_messages.unwrap_or(1);
        if !(1..=MAX_RECEIVE).contains(&max_messages) {
            return Err(Refused::asked_wrongly(format!(
                "maxMessages is 1 to {MAX_RECEIVE}, not {max_messages}"
            )));
        }
        let request = Receive {
            max_messages,
            visibility_timeout: take.visibility_timeout_seconds.map(Duration::from_secs),
            ..Receive::default()
        };
        let deliveries = self.0.receive(queue, request).await?;
        Ok(Taken {
            queue: queue.to_owned(),
            messages: deliveries.iter().map(MessageView::delivered).collect(),
        })
    }

    /// Deletes a message that was received.
    pub async fn delete(&self, queue: &str, delete: &Delete) -> Result<(), Refused> {
        Ok(self.0.delete(queue, &delete.receipt_handle).await?)
    }

    /// Begins to send dead letters back, or elsewhere.
    pub async fn redrive(&self, queue: &str, redrive: Redrive) -> Result<Begun, Refused> {
        // A queue that is not there is told apart from one that holds no dead letters.
        self.0.peek(queue, None, 1).await?;
        let task = NewMove {
            source: queue.to_owned(),
            destination: redrive.to,
            max_per_second: redrive.rate,
            only: redrive.only,
        };
        let handle = self.0.start_move(task).await?;
        Ok(Begun { handle })
    }

    /// Ends the task that runs; its handle. What has been moved stays moved.
    pub async fn cancel(&self, queue: &str) -> Result<Begun, Refused> {
        let tasks = self.0.moves(queue).await?;
        let running = |task: &MoveTask| task.state == MoveState::Running;
        let Some(task) = tasks.into_iter().find(running) else {
            return Err(MoveError::NoSuchTask.into());
        };
        self.0.cancel_move(&task.handle).await?;
        Ok(Begun {
            handle: task.handle,
        })
    }

    /// The tasks of a source, newest first.
    pub async fn moves(&self, queue: &str) -> Result<Moves, Refused> {
        let tasks = self.0.moves(queue).await?;
        Ok(Moves {
            moves: tasks.into_iter().map(MoveView::of).collect(),
        })
    }

    /// Deletes what is in the queue now.
    pub async fn purge(&self, queue: &str) -> Result<Purged, Refused> {
        let purged = self.0.purge(queue).await?;
        Ok(Purged {
            queue: queue.to_owned(),
            purged,
        })
    }
}

impl MoveView {
    fn of(task: MoveTask) -> MoveView {
        let state = match task.state {
            MoveState::Running => "running",
            MoveState::Completed => "completed",
            MoveState::Cancelling => "cancelling",
            MoveState::Cancelled => "cancelled",
            MoveState::Failed => "failed",
        };
        MoveView {
            handle: task.handle,
            source: task.source,
            destination: task.destination,
            rate: task.max_per_second,
            state: state.to_owned(),
            moved: task.moved,
            to_move: task.to_move,
            failure: task.failure,
            started_at: view::moment(task.started_at),
        }
    }

    /// Whether the task has come to its end.
    pub fn is_over(&self) -> bool {
        !matches!(self.state.as_str(), "running" | "cancelling")
    }
}

#[cfg(test)]
mod tests;
