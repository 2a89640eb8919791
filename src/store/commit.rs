//! One transaction: begun, filled, committed, and only then published. A failed one leaves no trace: it is rolled back
//! if it still is open, the counts go back to what was committed, and whoever waited is told.

use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::clock::{LastSeen, Now};
use super::error::StoreError;
use super::group::{Desks, Group};
use super::queue::locked;
use super::receive::Attempts;
use super::stats::Health;
use super::writer::{Link, Writer};

/// The first pause before a failed file is opened again; it doubles up to [`LONGEST_PAUSE`].
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whether the commit must reach the disk before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    Durable,
    /// Synced with the next durable one.
    Later,
    /// Durable even if nothing changed: earlier ones are synced with it.
    Barrier,
}

impl Writer {
    /// Runs one transaction. On an error nothing of it has happened, as far as the store can tell.
    pub fn transact<T>(
        &mut self,
        sync: Durability,
        work: impl FnOnce(&mut Group<'_>, &mut Attempts) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let now = self.timeline.now();
        let last_seen = self.timeline.last_seen(now);
        let connection = match &self.link {
            Link::Up(connection) => connection,
            Link::Down { reason, .. } => {
                return Err(StoreError::Unavailable {
                    reason: reason.clone(),
                });
            }
        };
        let durable = sync != Durability::Later;
        let attempt = || -> rusqlite::Result<(T, Option<i64>)> {
            if self.syncs != durable {
                // Not allowed within a transaction.
                let level = if durable { "FULL" } else { "NORMAL" };
                connection.pragma_update(None, "synchronous", level)?;
                self.syncs = durable;
            }
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let before = connection.total_changes();
            let room = self.space.room(connection)?;
            let mut group = Group {
                connection,
                desks: &mut self.desks,
                now,
                next_seq: self.next_seq,
                room,
            };
            let answer = work(&mut group, &mut self.attempts)?;
            let next_seq = group.next_seq;
            let changed = sync == Durability::Barrier
                || connection.total_changes() != before
                || self.desks.values().any(|desk| desk.dirty);
            if changed {
                save(
                    connection,
                    &self.desks,
                    self.commits + 1,
                    next_seq,
                    &last_seen,
                )?;
            }
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok((answer, changed.then_some(next_seq)))
        };
        match attempt() {
            Ok((answer, changed)) => {
                if let Some(next_seq) = changed {
                    self.next_seq = next_seq;
                    self.commits += 1;
                    self.shared.meters.commits.inc();
                    if durable {
                        self.note_synced();
                    }
                }
                for desk in self.desks.values_mut() {
                    desk.publish();
                }
                self.now_seen(now);
                Ok(answer)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Tells the sidecar which commit is safely on disk. It is not synced itself: it may lag, never lead.
    fn note_synced(&mut self) {
        self.synced_commits = self.commits;
        let text = format!("{:020}\n", self.commits);
        if let Err(error) = self.sidecar.write_all_at(text.as_bytes(), 0)
            && !std::mem::replace(&mut self.sidecar_failed, true)
        {
            tracing::warn!(%error, "The commit sidecar cannot be written; a shortened log would go unnoticed");
        }
    }

    /// What the clocks and counts are, for others to read.
    pub fn now_seen(&mut self, now: Now) {
        let mut vitals = locked(&self.shared.vitals);
        vitals.commits = self.commits;
        vitals.expiry_suspended = !now.expiry;
        vitals.wall = now.wall;
        vitals.steady = now.steady;
    }

    /// Ends a failed transaction and decides how to go on.
    pub fn failed(&mut self, error: &rusqlite::Error) -> StoreError {
        self.shared.meters.failed_groups.inc();
        locked(&self.shared.vitals).failed_groups += 1;
        let reason = error.to_string();
        let code = error.sqlite_error_code();
        let mut usable = false;
        let mut full = None;
        if let Link::Up(connection) = &self.link {
            // SQLITE_FULL has rolled back by itself; most others have not.
            usable = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
            if usable && code == Some(ErrorCode::DiskFull) {
                full = Some(self.space.refused(connection));
            }
        }
        for desk in self.desks.values_mut() {
            desk.restore();
        }
        if let Some(full) = full {
            self.set_health(Health::Full(full.clone()));
            return StoreError::Full(full);
        }
        match code {
            // Another process holds the write lock, such as a shell that somebody left open.
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) if usable => {
                tracing::warn!(error = %reason, "The database file is locked by another process");
            }
            // A disk that cannot be read is called the same; nothing is written before that is known.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) if self.inquiry.doubt() => {
                tracing::error!(error = %reason, "The store's file cannot be read, or is corrupt; nothing is accepted until it has been checked");
                self.disconnect(&reason, Some(FIRST_PAUSE));
            }
            // What cannot be read as what was written, too: writing on could make it worse.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => {
                tracing::error!(error = %reason, "The store's file is corrupt; nothing is accepted until it has been looked at");
                self.disconnect(&reason, None);
            }
            Some(_) => {
                tracing::error!(error = %reason, "The store's disk fails; it will be tried again");
                self.disconnect(&reason, Some(FIRST_PAUSE));
            }
        }
        StoreError::Unavailable { reason }
    }

    /// Lets go of the file: for good, or to open it again after a pause.
    pub fn disconnect(&mut self, reason: &str, pause: Option<Duration>) {
        self.checkpointer.let_go();
        self.shared.readers.suspend(StoreError::Unavailable {
            reason: reason.to_owned(),
        });
        self.link = Link::Down {
            reason: reason.to_owned(),
            retry: pause.map(|pause| (Instant::now() + pause, pause)),
        };
        self.set_health(Health::Failed(reason.to_owned()));
    }

    pub fn set_health(&self, health: Health) {
        let mut current = locked(&self.shared.health);
        if *current == health {
            return;
        }
        match &health {
            Health::Healthy => tracing::info!("The store works again"),
            Health::Full(reason) => {
                tracing::error!(%reason, "The store is full; sends are refused")
            }
            // The cause has been logged where it was found.
            Health::Failed(_) => {}
        }
        *current = health;
    }
}

/// Stores the ledgers and the state, within the transaction that they belong to.
fn save(
    connection: &Connection,
    desks: &Desks,
    commits: i64,
    next_seq: i64,
    last: &LastSeen,
) -> rusqlite::Result<()> {
    for (id, desk) in desks.iter().filter(|(_, desk)| desk.dirty) {
        let counters = &desk.counters;
        let ledger = &counters.ledger;
        let n = |count: u64| count as i64;
        connection
            .prepare_cached(
                "UPDATE queue SET accepted = ?2, imported = ?3, deleted = ?4, forwarded = ?5, dead_lettered = ?6,
                     expired = ?7, purged = ?8, damaged = ?9, duplicates = ?10, visible = ?11, delayed = ?12,
                     in_flight = ?13, bytes = ?14
                 WHERE id = ?1",
            )?
            .execute((
                id,
                n(ledger.accepted),
                n(ledger.imported),
                n(ledger.deleted),
                n(ledger.forwarded),
                n(ledger.dead_lettered),
                n(ledger.expired),
                n(ledger.purged),
                n(ledger.damaged),
                n(ledger.duplicates),
                n(counters.visible),
                n(counters.delayed),
                n(counters.in_flight),
                n(counters.bytes),
            ))?;
    }
    connection
        .prepare_cached(
            "UPDATE state SET commits = ?1, next_seq = ?2, wall = ?3, steady = ?4, boot = ?5, boot_id = ?6 WHERE id = 1",
        )?
        .execute((
            commits,
            next_seq,
            last.wall,
            last.steady,
            last.boot,
            &last.boot_id,
        ))?;
    Ok(())
}
