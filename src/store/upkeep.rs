//! What the writer does by itself between two groups: messages become visible, expire, are purged in steps; the log is
//! moved into the database; a failed file is opened again; somebody notices when the file is no longer ours.

use std::time::{Duration, Instant};

use rusqlite::ErrorCode;

use super::checkpoint::{Mode, checkpoint};
use super::commit::{Durability, FIRST_PAUSE, LONGEST_PAUSE};
use super::error::{FullReason, OpenError, StoreError};
use super::inquiry::Finding;
use super::open::{self, Session};
use super::queue::locked;
use super::receive::forget_old_attempts;
use super::recover::Recovery;
use super::space::{PAGE, free_pages};
use super::stats::Health;
use super::writer::{LOG_PER_OPERATION, Link, Writer};

/// The beat of everything that is only looked at now and then.
const TICK: Duration = Duration::from_secs(1);
/// How long what is due waits after it could not be done: nothing of it is lost, and the next try may fail like this one.
const REST: Duration = Duration::from_millis(250);
/// Messages moved in one step of background work.
const STEP: usize = 500;
/// Free pages that a store gives back to the file system at a time.
const GIVE_BACK: u64 = 4096;
/// Free pages that it keeps for what comes next, as long as there is room.
const KEEP_PAGES: u64 = 4096;

impl Writer {
    /// How long the writer may wait for a job before it should look around.
    pub fn patience(&mut self) -> Duration {
        if self.backlog || !self.releases.is_empty() || !self.purges.is_empty() {
            return match self.link {
                Link::Up(_) => Duration::ZERO,
                Link::Down { .. } => Duration::from_millis(50),
            };
        }
        let now = Instant::now();
        let mut patience = self.next_tick.saturating_duration_since(now);
        match &self.link {
            Link::Down { retry, .. } => {
                if let Some((at, _)) = retry {
                    patience = patience.min(at.saturating_duration_since(now));
                }
            }
            Link::Up(_) => {
                let due = self.desks.values().map(|desk| desk.next_due).min();
                if let Some(due) = due.filter(|due| *due != i64::MAX) {
                    let wait = due.saturating_sub(self.timeline.now().steady).max(0);
                    let wait = Duration::from_millis(wait as u64);
                    let rest = self.due_from.saturating_duration_since(now);
                    patience = patience.min(wait.max(rest));
                }
                if let Some(wait) = self.until_next_step() {
                    patience = patience.min(wait);
                }
            }
        }
        patience
    }

    /// Does what is due.
    pub fn keep_up(&mut self) {
        let tick = Instant::now() >= self.next_tick;
        if tick {
            self.next_tick = Instant::now() + TICK;
        }
        if let Link::Down { retry, .. } = &self.link {
            if let Some((at, pause)) = *retry
                && Instant::now() >= at
            {
                self.reconnect(pause);
            }
            if matches!(self.link, Link::Down { .. }) {
                self.refuse_purges();
                return;
            }
        }
        if tick {
            self.recover_spools();
            self.releases.append(&mut locked(&self.shared.strays));
        }
        self.move_messages(tick);
        self.remove_some();
        self.move_some();
        self.tend_log();
        if tick {
            self.look_around();
        }
    }

    fn move_messages(&mut self, tick: bool) {
        let steady = self.timeline.now().steady;
        let now = Instant::now();
        let due: Vec<i64> = self
            .desks
            .iter()
            .filter(|(_, desk)| desk.next_due <= steady && self.due_from <= now)
            .map(|(id, _)| *id)
            .collect();
        let sweep = tick || self.backlog;
        if due.is_empty() && self.releases.is_empty() && self.purges.is_empty() && !sweep {
            return;
        }
        let all: Vec<i64> = if sweep {
            self.desks.keys().copied().collect()
        } else {
            Vec::new()
        };
        let releases = std::mem::take(&mut self.releases);
        let mut purge = self.purges.front().map(|job| job.purge);
        let outcome = self.transact(Durability::Later, |group, attempts| {
            for grip in &releases {
                // A queue removed meanwhile takes its messages with it.
                if group.desks.contains_key(&grip.queue) {
                    group.release(grip)?;
                }
            }
            let mut finished = true;
            for queue in due {
                finished &= group.promote(queue, STEP)?;
            }
            for queue in all {
                finished &= group.expire(queue, STEP)?;
            }
            if sweep {
                finished &= group.forget_duplicates(STEP)?;
                finished &= group.forget_keys(STEP)?;
                forget_old_attempts(attempts, group.now.steady);
            }
            let purged = match &mut purge {
                Some(purge) => group.purge(purge, STEP)?,
                None => false,
            };
            Ok((finished, purged))
        });
        self.uncounted += STEP as u64 * LOG_PER_OPERATION;
        match outcome {
            Ok((finished, purged)) => {
                self.backlog = !finished;
                for grip in &releases {
                    if let Some(desk) = self.desks.get_mut(&grip.queue) {
                        desk.handed_out.remove(&grip.seq);
                    }
                }
                if let (Some(job), Some(purge)) = (self.purges.front_mut(), purge) {
                    job.purge = purge;
                }
                if purged {
                    self.end_purge();
                }
            }
            Err(error) => {
                self.backlog = false;
                self.due_from = Instant::now() + REST;
                locked(&self.shared.strays).extend(releases);
                self.fail_purges(&error);
            }
        }
    }

    /// The last step is done; it and all before it are synced before anybody hears of it.
    fn end_purge(&mut self) {
        let Some(job) = self.purges.pop_front() else {
            return;
        };
        let synced = self.transact(Durability::Barrier, |_, _| Ok(()));
        let purged = self
            .desks
            .get(&job.purge.queue)
            .map_or(0, |desk| desk.counters.ledger.purged - job.before);
        // Who asked may be gone; the queue is purged all the same.
        let _ = job.reply.send(synced.map(|()| purged));
    }

    fn refuse_purges(&mut self) {
        if let Link::Down { reason, .. } = &self.link {
            let error = StoreError::Unavailable {
                reason: reason.clone(),
            };
            self.fail_purges(&error);
        }
    }

    fn fail_purges(&mut self, error: &StoreError) {
        for job in self.purges.drain(..) {
            if let Some(desk) = self.desks.get_mut(&job.purge.queue) {
                desk.purging_below = i64::MIN;
            }
            let _ = job.reply.send(Err(error.clone()));
        }
    }

    /// Keeps the log short: the thread beside does the bulk, and the rest is done here, where nobody writes meanwhile.
    fn tend_log(&mut self) {
        let usual = self.space.log_limit();
        let outpaced = self.space.log_bytes + self.uncounted >= usual + usual / 2;
        let finished = if outpaced {
            self.checkpointer.wait()
        } else {
            self.checkpointer.poll()
        };
        let Link::Up(connection) = &self.link else {
            return;
        };
        let log = match finished {
            Some((result, took)) => {
                let seconds = &self.shared.meters.checkpoint_seconds;
                seconds.observe(took.as_secs_f64());
                result.and_then(|_| checkpoint(connection, Mode::Passive))
            }
            None if outpaced => checkpoint(connection, Mode::Passive),
            None if self.uncounted >= usual / 8 => checkpoint(connection, Mode::Count),
            None => return,
        };
        self.uncounted = 0;
        match log {
            Ok(log) => {
                // A log that is all in the database begins anew with the next commit.
                self.space.log_bytes = if log.is_done() { 0 } else { log.pages * PAGE };
                if self.space.log_bytes >= usual / 2 {
                    self.checkpointer.ask();
                }
            }
            // Commits may still find room in the log; the next tick tries again.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                self.space.give_back();
            }
            Err(error) => {
                // As after a failed commit: what is in the log stays there.
                self.failed(&error);
            }
        }
    }

    fn look_around(&mut self) {
        let identity = self.files.identity();
        for (known, seen) in self.identity.iter_mut().zip(identity) {
            match (&known, seen) {
                (Some(known), seen) if Some(*known) != seen => {
                    let reason =
                        "the database file or its log was removed or replaced while in use";
                    tracing::error!(directory = %self.files.directory.display(), "The store's files were removed or replaced while in use; nothing is accepted until a restart");
                    return self.disconnect(reason, None);
                }
                (None, Some(_)) => *known = seen,
                _ => {}
            }
        }
        self.space.keep_reserve();
        let Link::Up(connection) = &self.link else {
            return;
        };
        let used = self.space.used_bytes(connection);
        let room = self.space.room(connection);
        let (used, room) = match (used, room) {
            (Ok(used), Ok(room)) => (used, room),
            (Err(error), _) | (_, Err(error)) => {
                self.failed(&error);
                return;
            }
        };
        {
            let mut vitals = locked(&self.shared.vitals);
            vitals.used_bytes = used;
            vitals.file_bytes = self.space.file_bytes();
        }
        let just_refused = self.full_since.is_some_and(|at| at.elapsed() < 2 * TICK);
        match room.is_full() {
            Some(reason) => self.set_health(Health::Full(reason)),
            None if just_refused => {}
            None => self.set_health(Health::Healthy),
        }
        self.give_back(if self.space.is_short() { 0 } else { KEEP_PAGES });
    }

    /// A send was refused for want of room.
    pub fn full(&mut self, reason: FullReason) {
        self.full_since = Some(Instant::now());
        self.set_health(Health::Full(reason));
    }

    /// Lets the file shrink, a little each second, when most of it is empty; and moves the log when nothing happens.
    fn give_back(&mut self, keep: u64) {
        let Link::Up(connection) = &self.link else {
            return;
        };
        let shrunk = free_pages(connection).and_then(|free| {
            if free <= keep {
                return Ok(());
            }
            let pages = (free - keep).min(GIVE_BACK);
            self.uncounted += pages * PAGE;
            // Each step frees one page: it has to be stepped to its end.
            let mut statement =
                connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut steps = statement.query([])?;
            while steps.next()?.is_some() {}
            Ok(())
        });
        if let Err(error) = shrunk {
            self.failed(&error);
            return;
        }
        if self.space.log_bytes > 0 || self.uncounted > 0 {
            self.checkpointer.ask();
        }
    }

    /// Opens the file again after an error.
    fn reconnect(&mut self, pause: Duration) {
        let longer = (2 * pause).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        match self.inquiry.settle(&self.files.database) {
            Ok(()) => {}
            Err(None) => return self.wait_for(pause),
            Err(Some(Finding::Corrupt(report))) => {
                tracing::error!(%report, "The store's file is corrupt; nothing is accepted until it has been looked at");
                return self.disconnect(&format!("the file is corrupt: {report}"), None);
            }
            Err(Some(finding)) => {
                tracing::debug!(?finding, "The store's file still cannot be read");
                return self.wait_for(longer);
            }
        }
        let session = open::reopen(&self.files, self.space.sizes()).and_then(|session| {
            // The log may hold pages that never reached the disk although they can be read: after a failed sync the
            // system forgets that they are dirty. Nothing may be appended to such a log; it has to begin anew.
            match checkpoint(&session.connection, Mode::Truncate) {
                Ok(log) if log.is_done() => Ok(session),
                Ok(_) => Err("somebody reads the database file".to_owned()),
                Err(error) => Err(error.to_string()),
            }
            .map_err(|reason| OpenError::Io {
                path: self.files.directory.clone(),
                reason,
            })
        });
        match session {
            Ok(session) => {
                self.adopt(session);
                self.recover_spools();
                self.set_health(Health::Healthy);
            }
            Err(error @ OpenError::Corrupt { .. }) if self.inquiry.doubt() => {
                tracing::error!(%error, "The store cannot be opened again; nothing is accepted until it has been checked");
                self.disconnect(&error.to_string(), Some(longer));
            }
            Err(error @ (OpenError::Corrupt { .. } | OpenError::NewerVersion { .. })) => {
                tracing::error!(%error, "The store cannot be opened again; nothing is accepted until it has been looked at");
                self.disconnect(&error.to_string(), None);
            }
            Err(error) => {
                tracing::debug!(%error, "The store is still not available");
                self.disconnect(&error.to_string(), Some(longer));
            }
        }
    }

    /// Tries again after this pause, for the reason that is known.
    fn wait_for(&mut self, pause: Duration) {
        if let Link::Down { retry, .. } = &mut self.link {
            *retry = Some((Instant::now() + pause, pause));
        }
    }

    /// Goes on with a freshly opened file: what it says counts.
    pub fn adopt(&mut self, session: Session) {
        self.take_over(session.queues);
        self.removals = session.removals.into();
        self.moves = session.moves;
        let lost = self.synced_commits - session.state.commits;
        if lost > 0 {
            tracing::error!(
                commits = session.state.commits,
                synced = self.synced_commits,
                "Commits that had been synced are missing: the disk lost the end of the log"
            );
            locked(&self.shared.vitals).lost_commits = lost.unsigned_abs();
        }
        self.next_seq = session.state.next_seq.max(self.next_seq);
        self.commits = session.state.commits.max(self.synced_commits);
        self.recovery.get_or_insert(Recovery::Reconnected);
        self.syncs = true;
        self.identity = self.files.identity();
        self.link = Link::Up(session.connection);
        self.shared.readers.resume();
    }
}
