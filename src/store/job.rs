//! What callers ask of the writer, and how each gets its answer: once, after the commit.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::dispatch::{Entry, Lot};
use super::error::{DeclareError, FullReason, StoreError};
use super::group::{Group, Outcome};
use super::handle::Grip;
use super::idempotency::{NewKey, Once, Reservation};
use super::message::{Prepared, Sent};
use super::once::KeyChange;
use super::receive::{Attempts, Found, Want};
use super::spec::{Notice, QueueSpec};
use super::spool::{Settlement, Spooled};
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
    SendOnce {
        queue: i64,
        message: Box<Prepared>,
        key: Box<NewKey>,
        reply: Reply<Once<Sent>>,
    },
    Spool {
        entries: Vec<Entry>,
        key: Option<Box<(NewKey, Bytes)>>,
        reply: Reply<Once<Vec<Spooled>>>,
    },
    Take {
        queue: i64,
        max_records: usize,
        max_bytes: u64,
        reply: Reply<Lot>,
    },
    Settle {
        queue: i64,
        dead_letters: i64,
        settlements: Vec<(i64, Settlement)>,
        reply: Reply<()>,
    },
    Reserve {
        key: Box<NewKey>,
        reply: Reply<Once<Reservation>>,
    },
    ChangeKey {
        change: Box<KeyChange>,
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
    SentOnce(Result<Once<Sent>, StoreError>),
    Spooled(Result<Once<Vec<Spooled>>, StoreError>),
    Parcels(Lot),
    Reserved(Result<Once<Reservation>, StoreError>),
    /// Nothing was done.
    Refused(StoreError),
}

impl Verdict {
    /// How many messages it took beyond the first.
    pub fn further(&self) -> usize {
        match self {
            Verdict::Parcels(lot) => lot.parcels.len().saturating_sub(1),
            _ => 0,
        }
    }

    /// Why there was no room, if that is the verdict.
    pub fn full(&self) -> Option<&FullReason> {
        let error = match self {
            Verdict::Sent(Err(error))
            | Verdict::SentOnce(Err(error))
            | Verdict::Spooled(Err(error))
            | Verdict::Reserved(Err(error)) => error,
            _ => return None,
        };
        match error {
            StoreError::Full(reason) => Some(reason),
            _ => None,
        }
    }
}

impl Job {
    /// Bytes that wait with the job.
    pub fn footprint(&self) -> u64 {
        match self {
            Job::Send { message, .. } | Job::SendOnce { message, .. } => message.row.footprint(),
            Job::Spool { entries, key, .. } => {
                let receipt = key.as_ref().map_or(0, |key| key.1.len() as u64);
                let records = entries.iter().map(|entry| entry.row.footprint());
                records.sum::<u64>() + receipt
            }
            Job::ChangeKey { change, .. } => change.footprint(),
            _ => 0,
        }
    }

    /// How many messages it is about, as far as that is known beforehand; at least one.
    pub fn operations(&self) -> usize {
        match self {
            Job::Spool { entries, .. } => entries.len().max(1),
            Job::Settle { settlements, .. } => settlements.len().max(1),
            _ => 1,
        }
    }

    /// Whether the answer promises something that must be synced first. A receive or a change of visibility that is lost
    /// with the machine's power only means an earlier redelivery; so do a take and a backoff.
    pub fn is_durable(&self) -> bool {
        match self {
            Job::Send { .. }
            | Job::SendOnce { .. }
            | Job::Delete { .. }
            | Job::Spool { .. }
            | Job::Reserve { .. } => true,
            Job::Settle { settlements, .. } => settlements
                .iter()
                .any(|(_, settlement)| !matches!(settlement, Settlement::Later(_))),
            Job::ChangeKey { change, .. } => change.is_durable(),
            Job::Receive { .. }
            | Job::ChangeVisibility { .. }
            | Job::Take { .. }
            | Job::Solo(_) => false,
        }
    }

    /// The queue it is about.
    fn queue(&self) -> Option<i64> {
        match self {
            Job::Send { queue, .. }
            | Job::SendOnce { queue, .. }
            | Job::Receive { queue, .. }
            | Job::Take { queue, .. }
            | Job::Settle { queue, .. } => Some(*queue),
            Job::Delete { grip, .. } | Job::ChangeVisibility { grip, .. } => Some(grip.queue),
            Job::Spool { .. } | Job::Reserve { .. } | Job::ChangeKey { .. } | Job::Solo(_) => None,
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
            Job::SendOnce {
                queue,
                message,
                key,
                ..
            } => group.send_once(*queue, message, key).map(Verdict::SentOnce),
            Job::Spool { entries, key, .. } => {
                group.spool(entries, key.as_deref()).map(Verdict::Spooled)
            }
            Job::Take {
                queue,
                max_records,
                max_bytes,
                ..
            } => group
                .take_parcels(*queue, *max_records, *max_bytes)
                .map(Verdict::Parcels),
            Job::Settle {
                queue,
                dead_letters,
                settlements,
                ..
            } => {
                for (number, settlement) in settlements {
                    group.settle(*queue, *dead_letters, *number, settlement)?;
                }
                Ok(Verdict::Done(Ok(())))
            }
            Job::Reserve { key, .. } => group.reserve(key).map(Verdict::Reserved),
            Job::ChangeKey { change, .. } => {
                group.change_key(change)?;
                Ok(Verdict::Done(Ok(())))
            }
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
                Job::Delete { reply, .. }
                | Job::ChangeVisibility { reply, .. }
                | Job::Settle { reply, .. }
                | Job::ChangeKey { reply, .. },
                Verdict::Done(done),
            ) => {
                let _ = reply.send(done);
            }
            (Job::SendOnce { reply, .. }, Verdict::SentOnce(sent)) => {
                let _ = reply.send(sent);
            }
            (Job::Spool { reply, .. }, Verdict::Spooled(spooled)) => {
                let _ = reply.send(spooled);
            }
            (Job::Take { queue, reply, .. }, Verdict::Parcels(lot)) => {
                if let Err(Ok(lot)) = reply.send(Ok(lot)) {
                    return lot.grips(queue).collect();
                }
            }
            (Job::Reserve { reply, .. }, Verdict::Reserved(reserved)) => {
                let _ = reply.send(reserved);
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
            Job::Delete { reply, .. }
            | Job::ChangeVisibility { reply, .. }
            | Job::Settle { reply, .. }
            | Job::ChangeKey { reply, .. } => {
                drop(reply.send(Err(error)));
            }
            Job::SendOnce { reply, .. } => drop(reply.send(Err(error))),
            Job::Spool { reply, .. } => drop(reply.send(Err(error))),
            Job::Take { reply, .. } => drop(reply.send(Err(error))),
            Job::Reserve { reply, .. } => drop(reply.send(Err(error))),
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
