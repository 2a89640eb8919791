//! What callers ask of the writer, and how each gets its answer: once, after the commit.

use tokio::sync::oneshot;

use super::error::{DeclareError, StoreError};
use super::group::{Group, Outcome};
use super::handle::Grip;
use super::message::{Prepared, Sent};
use super::receive::{Attempts, Found, Want};
use super::spec::{Notice, QueueSpec};
use super::writer::Writer;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer does by itself for one caller, who is told also when it cannot.
pub(super) type Order = Box<dyn FnOnce(Result<&mut Writer, StoreError>) + Send>;

/// One caller's wish.
pub(super) enum Job {
    Send {
        queue: i64,
        message: Box<Prepared>,
        reply: Reply<Sent>,
    },
    Receive {
        queue: i64,
        want: Want,
        reply: Reply<Found>,
    },
    Delete {
        grip: Grip,
        reply: Reply<()>,
    },
    ChangeVisibility {
        grip: Grip,
        /// Milliseconds from now.
        visibility: i64,
        reply: Reply<()>,
    },
    Solo(Solo),
}

/// What is not part of a group.
pub(super) enum Solo {
    Purge {
        queue: i64,
        reply: Reply<u64>,
    },
    Declare {
        specs: Vec<QueueSpec>,
        reply: oneshot::Sender<Result<Vec<Notice>, DeclareError>>,
    },
    /// Queues made, changed, removed; tasks that move messages.
    Order(Order),
    /// An operator says that the clock is right.
    ConfirmTime(Reply<()>),
    /// Look at once at what has become due.
    Look(Option<Reply<()>>),
    Close(Reply<()>),
}

/// The result of a job, before its commit.
pub(super) enum Verdict {
    Sent(Result<Sent, StoreError>),
    Found(Found),
    Done(Result<(), StoreError>),
    /// Nothing was done.
    Refused(StoreError),
}

impl Job {
    /// Bytes that wait with the job.
    pub fn footprint(&self) -> u64 {
        match self {
            Job::Send { message, .. } => message.footprint(),
            _ => 0,
        }
    }

    /// Whether the answer promises something that must be synced first. A receive or a change of visibility that is lost
    /// with the machine's power only means an earlier redelivery.
    pub fn is_durable(&self) -> bool {
        matches!(self, Job::Send { .. } | Job::Delete { .. })
    }

    /// The queue it is about.
    fn queue(&self) -> Option<i64> {
        match self {
            Job::Send { queue, .. } | Job::Receive { queue, .. } => Some(*queue),
            Job::Delete { grip, .. } | Job::ChangeVisibility { grip, .. } => Some(grip.queue),
            Job::Solo(_) => None,
        }
    }

    /// Does the job within the open transaction.
    pub fn run(&self, group: &mut Group<'_>, attempts: &mut Attempts) -> rusqlite::Result<Verdict> {
        if let Some(queue) = self.queue()
            && !group.desks.contains_key(&queue)
        {
            // Removed while the job was on its way. Its caller knows the name.
            return Ok(Verdict::Refused(StoreError::UnknownQueue(String::new())));
        }
        let done = |outcome: Outcome<()>| outcome.map(Verdict::Done);
        match self {
            Job::Send { queue, message, .. } => group.send(*queue, message).map(Verdict::Sent),
            Job::Receive { queue, want, .. } => {
                group.receive(*queue, want, attempts).map(Verdict::Found)
            }
            Job::Delete { grip, .. } => done(group.delete(grip)),
            Job::ChangeVisibility {
                grip, visibility, ..
            } => done(group.change_visibility(grip, *visibility)),
            Job::Solo(_) => Ok(Verdict::Done(Ok(()))),
        }
    }

    /// Answers, after the commit. Deliveries that nobody waits for any more come back.
    pub fn answer(self, verdict: Verdict) -> Vec<Grip> {
        match (self, verdict) {
            (Job::Send { reply, .. }, Verdict::Sent(sent)) => {
                // A caller who is gone is no error: what was asked is done.
                let _ = reply.send(sent);
            }
            (Job::Receive { reply, .. }, Verdict::Found(found)) => {
                if let Err(Ok(found)) = reply.send(Ok(found)) {
                    return found.taken.into_iter().map(|taken| taken.grip).collect();
                }
            }
            (
                Job::Delete { reply, .. } | Job::ChangeVisibility { reply, .. },
                Verdict::Done(done),
            ) => {
                let _ = reply.send(done);
            }
            (job, Verdict::Refused(error)) => job.fail(&error),
            (job, _) => job.fail(&StoreError::Unavailable {
                reason: "an answer of the wrong kind".to_owned(),
            }),
        }
        Vec::new()
    }

    /// Answers that it failed. Nobody may be left waiting.
    pub fn fail(self, error: &StoreError) {
        let error = error.clone();
        // As above: who has gone needs no answer.
        match self {
            Job::Send { reply, .. } => drop(reply.send(Err(error))),
            Job::Receive { reply, .. } => drop(reply.send(Err(error))),
            Job::Delete { reply, .. } | Job::ChangeVisibility { reply, .. } => {
                drop(reply.send(Err(error)));
            }
            Job::Solo(solo) => solo.fail(error),
        }
    }
}

impl Solo {
    pub fn fail(self, error: StoreError) {
        match self {
            Solo::Purge { reply, .. } => drop(reply.send(Err(error))),
            Solo::Declare { reply, .. } => drop(reply.send(Err(error.into()))),
            Solo::Order(order) => order(Err(error)),
            Solo::ConfirmTime(reply) | Solo::Close(reply) | Solo::Look(Some(reply)) => {
                drop(reply.send(Err(error)));
            }
            Solo::Look(None) => {}
        }
    }
}
