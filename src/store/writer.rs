//! The one writer: a thread that takes all that waits, runs it in one transaction, and answers each caller after the
//! commit. It owns the file's lock and everything that changes the file.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::Shared;
use super::checkpoint::{Checkpointer, Mode, checkpoint};
use super::clock::Timeline;
use super::commit::Durability;
use super::error::StoreError;
use super::group::Desks;
use super::handle::Grip;
use super::inquiry::Inquiry;
use super::job::{Job, Reply, Solo, Verdict};
use super::moving::Moving;
use super::open::Files;
use super::receive::Attempts;
use super::recover::Recovery;
use super::settle::Purge;
use super::space::Space;

/// Operations in one group, after which no more are added to it.
const MAX_GROUP: usize = 1024;

/// Bytes that an operation adds to the log at most, besides those of its message: a guess on the safe side, corrected
/// whenever the log is counted.
pub(super) const LOG_PER_OPERATION: u64 = 16 << 10;

/// The connection, or why there is none.
pub(super) enum Link {
    Up(Connection),
    Down {
        reason: String,
        /// When to try again, and the pause that led there; `None`: not before a restart.
        retry: Option<(Instant, Duration)>,
    },
}

/// A purge that somebody waits for.
pub(super) struct PurgeJob {
    pub purge: Purge,
    /// The ledger's count when it began.
    pub before: u64,
    pub reply: Reply<u64>,
}

/// Everything that the thread owns.
pub(super) struct Writer {
    pub jobs: Receiver<Job>,
    pub shared: Arc<Shared>,
    pub files: Files,
    pub link: Link,
    pub checkpointer: Checkpointer,
    pub timeline: Timeline,
    pub space: Space,
    pub desks: Desks,
    pub attempts: Attempts,
    pub next_seq: i64,
    pub commits: i64,
    pub synced_commits: i64,
    /// Whether the connection syncs each commit at present.
    pub syncs: bool,
    pub sidecar: File,
    pub sidecar_failed: bool,
    /// What is still to come back to the spools.
    pub recovery: Option<Recovery>,
    /// Deliveries that nobody waited for any more.
    pub releases: Vec<Grip>,
    pub purges: VecDeque<PurgeJob>,
    /// Removed queues whose messages are going.
    pub removals: VecDeque<i64>,
    /// Tasks that move messages.
    pub moves: Vec<Moving>,
    /// After a step of these failed: the steady time of the next.
    pub steps_from: i64,
    /// After what is due by itself could not be done, on a full disk for one: when it is tried again.
    pub due_from: Instant,
    pub next_tick: Instant,
    /// Background work was cut short, and goes on at once.
    pub backlog: bool,
    /// When a send was last refused for want of room.
    pub full_since: Option<Instant>,
    /// Bytes that may have come to the log since it was last counted.
    pub uncounted: u64,
    /// Which files the names stood for when they were opened.
    pub identity: [Option<(u64, u64)>; 2],
    /// Whether a file that was called corrupt is.
    pub inquiry: Inquiry,
    /// Released last, when the thread ends.
    pub lock: File,
}

impl Writer {
    /// Works until it is told to close, or until nobody is left who could ask.
    pub fn run(mut self) {
        loop {
            let patience = self.patience();
            let first = match self.jobs.recv_timeout(patience) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            };
            if let Some(reply) = first.and_then(|job| self.serve(job)) {
                self.finish();
                // Who asked may have stopped waiting; the store is closed all the same.
                let _ = reply.send(Ok(()));
                return;
            }
            self.keep_up();
        }
    }

    /// Takes what waits, as one group. Returns whom to tell once the store is closed.
    fn serve(&mut self, first: Job) -> Option<Reply<()>> {
        let mut group = Vec::new();
        let (mut bytes, mut operations) = (0, 0);
        let mut next = Some(first);
        let mut solo = None;
        while let Some(job) = next {
            let footprint = job.footprint();
            self.shared
                .waiting_bytes
                .fetch_sub(footprint, Ordering::Relaxed);
            match job {
                Job::Solo(job) => {
                    solo = Some(job);
                    break;
                }
                job => {
                    operations += job.operations();
                    group.push(job);
                }
            }
            bytes += footprint;
            if operations >= MAX_GROUP || bytes >= self.space.group_bytes() {
                break;
            }
            next = self.jobs.try_recv().ok();
        }
        if !group.is_empty() {
            self.commit(group);
        }
        solo.and_then(|job| self.serve_alone(job))
    }

    /// One group, one transaction, an answer for each.
    fn commit(&mut self, group: Vec<Job>) {
        let started = Instant::now();
        let sync = if group.iter().any(Job::is_durable) {
            Durability::Durable
        } else {
            Durability::Later
        };
        let verdicts = self.transact(sync, |open, attempts| {
            group
                .iter()
                .map(|job| job.run(open, attempts))
                .collect::<rusqlite::Result<Vec<Verdict>>>()
        });
        let bytes: u64 = group.iter().map(Job::footprint).sum();
        let mut operations: usize = group.iter().map(Job::operations).sum();
        if let Ok(verdicts) = &verdicts {
            operations += verdicts.iter().map(Verdict::further).sum::<usize>();
        }
        self.uncounted += 2 * bytes + (operations as u64 + 1) * LOG_PER_OPERATION;
        match verdicts {
            Ok(verdicts) => {
                let meters = &self.shared.meters;
                meters.commit_messages.observe(group.len() as f64);
                meters
                    .commit_seconds
                    .observe(started.elapsed().as_secs_f64());
                for (job, verdict) in group.into_iter().zip(verdicts) {
                    if let Some(reason) = verdict.full() {
                        self.full(reason.clone());
                    }
                    self.note_handed_out(&job, &verdict);
                    self.releases.extend(job.answer(verdict));
                }
            }
            Err(error) => {
                for job in group {
                    job.fail(&error);
                }
            }
        }
    }

    /// Remembers which spooled records are being delivered in this process.
    fn note_handed_out(&mut self, job: &Job, verdict: &Verdict) {
        match (job, verdict) {
            (Job::Take { queue, .. }, Verdict::Parcels(lot)) => {
                if let Some(desk) = self.desks.get_mut(queue) {
                    let numbers = lot.parcels.iter().map(|parcel| parcel.number);
                    desk.handed_out.extend(numbers);
                }
            }
            (
                Job::Settle {
                    queue, settlements, ..
                },
                Verdict::Done(Ok(())),
            ) => {
                if let Some(desk) = self.desks.get_mut(queue) {
                    for (number, _) in settlements {
                        desk.handed_out.remove(number);
                    }
                }
            }
            _ => {}
        }
    }

    fn serve_alone(&mut self, job: Solo) -> Option<Reply<()>> {
        match job {
            Solo::Close(reply) => return Some(reply),
            Solo::Declare { specs, reply } => {
                // Who asked may be gone; the queues are declared all the same.
                let _ = reply.send(self.declare(specs));
            }
            Solo::Order(order) => order(Ok(self)),
            Solo::ConfirmTime(reply) => {
                self.timeline.confirm();
                let _ = reply.send(Ok(()));
            }
            Solo::Look(reply) => {
                self.next_tick = Instant::now();
                self.due_from = self.next_tick;
                loop {
                    self.keep_up();
                    if !self.backlog || matches!(self.link, Link::Down { .. }) {
                        break;
                    }
                }
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(()));
                }
            }
            Solo::Purge { queue, reply } => match self.desks.get(&queue) {
                Some(desk) => self.purges.push_back(PurgeJob {
                    purge: Purge {
                        queue,
                        below: self.next_seq,
                        at: (i64::MIN, i64::MIN),
                        ready_done: false,
                    },
                    before: desk.counters.ledger.purged,
                    reply,
                }),
                None => drop(reply.send(Err(StoreError::UnknownQueue(String::new())))),
            },
        }
        None
    }

    /// The end: what still waits is done, the log is emptied, the file closed, the lock released.
    fn finish(&mut self) {
        while let Ok(job) = self.jobs.try_recv() {
            // A second wish to close is granted with the first.
            if let Some(reply) = self.serve(job) {
                let _ = reply.send(Ok(()));
            }
        }
        self.keep_up();
        for purge in self.purges.drain(..) {
            let _ = purge.reply.send(Err(StoreError::Closed));
        }
        self.checkpointer.let_go();
        self.shared.readers.suspend(StoreError::Closed);
        self.close_file();
        if let Err(error) = self.sidecar.sync_all() {
            tracing::warn!(%error, "The commit sidecar could not be synced");
        }
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "The store's lock could not be released before the process ends");
        }
    }

    fn close_file(&mut self) {
        let Link::Up(connection) = &self.link else {
            return;
        };
        let emptied = checkpoint(connection, Mode::Truncate);
        match emptied {
            Ok(log) if log.is_done() => {
                let tidy =
                    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
                if let Err(error) = tidy {
                    tracing::debug!(%error, "The log file stays beside the database");
                }
            }
            Ok(_) => tracing::warn!("Somebody reads the database file; its log stays beside it"),
            Err(error) => {
                tracing::error!(%error, "The log could not be emptied at close; it will be read at the next start")
            }
        }
        let closed = Link::Down {
            reason: "the store is closed".to_owned(),
            retry: None,
        };
        if let Link::Up(connection) = std::mem::replace(&mut self.link, closed)
            && let Err((_, error)) = connection.close()
        {
            tracing::error!(%error, "The database could not be closed");
        }
    }
}
