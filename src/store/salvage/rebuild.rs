//! Building the new file: places first (where a message stands), then the messages that go there, then everything that
//! can be counted anew.

use std::fs::File;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _};

use super::pages;
use super::queues::{self, QueueSalvage};
use super::row::{COLUMNS, Row};
use super::source::{Source, Walked};
use super::tables::{self, Rows};
use crate::store::spec::MAX_VISIBILITY;

/// Numbers that are left out where it is not known which were given.
const MARGIN: i64 = 1 << 20;

/// What was done.
pub(super) struct Rebuilt {
    pub queues: Vec<QueueSalvage>,
    pub tables: Vec<(&'static str, Rows)>,
    /// The number of the last commit that the file knew.
    pub commits: Option<i64>,
}

/// Fills `target`, an empty store. `image` is the damaged database, for its pages.
pub(super) fn rebuild(
    source: &Source,
    image: &File,
    target: &Connection,
    synced_commits: i64,
) -> rusqlite::Result<Rebuilt> {
    target.pragma_update(None, "journal_mode", "OFF")?;
    target.pragma_update(None, "synchronous", "OFF")?;
    target.execute_batch(
        "BEGIN;
         CREATE TEMP TABLE place (
             seq INTEGER PRIMARY KEY, queue INTEGER NOT NULL, lane INTEGER NOT NULL, flying INTEGER NOT NULL,
             visible_at INTEGER NOT NULL, delayed INTEGER NOT NULL, arrived_at INTEGER NOT NULL,
             receive_count INTEGER NOT NULL, first_received_at INTEGER, size INTEGER NOT NULL,
             found INTEGER NOT NULL DEFAULT 0
         );",
    )?;
    let commits = copy_state(source, target, synced_commits)?;
    let mut rebuilt = queues::copy(source, target)?;
    let tables = tables::copy_all(source, target)?;
    copy_lanes(source, target)?;
    let places = copy_places(source, target)?;
    copy_messages(source, image, target, places)?;
    // A message without a readable body is lost; a removed queue's is wanted by nobody.
    target.execute_batch(
        "DELETE FROM temp.place WHERE found = 0;
         DELETE FROM temp.place WHERE queue IN (SELECT id FROM queue WHERE role > 2);
         DELETE FROM message WHERE seq NOT IN (SELECT seq FROM temp.place);
         DELETE FROM death WHERE seq NOT IN (SELECT seq FROM message);",
    )?;
    queues::make_missing(target, &mut rebuilt)?;
    put_in_place(target)?;
    let queues = queues::balance(target, &rebuilt)?;
    let surely = if commits == Some(synced_commits) {
        0
    } else {
        MARGIN
    };
    target.execute(
        "UPDATE state SET next_seq = ?1 + max(next_seq, 1 + ifnull((SELECT max(seq) FROM message), 0))",
        [surely],
    )?;
    target.execute_batch("DROP TABLE temp.place; COMMIT;")?;
    Ok(Rebuilt {
        queues,
        tables,
        commits,
    })
}

/// The one row of `state`; what of it cannot be believed is as in a new store. Receipt handles are good only where the
/// key could be read.
fn copy_state(
    source: &Source,
    target: &Connection,
    synced_commits: i64,
) -> rusqlite::Result<Option<i64>> {
    type State = (i64, i64, i64, i64, i64, String, Vec<u8>, i64);
    let read: Option<State> = source
        .connection
        .query_row(
            "SELECT commits, next_seq, wall, steady, boot, boot_id, handle_key, created_at FROM state WHERE id = 1",
            [],
            |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                    row.get(7)?,
                ))
            },
        )
        .ok();
    let sane = read.filter(|(commits, next_seq, wall, steady, _, _, key, _)| {
        *commits >= 0 && *next_seq > 0 && *wall > 0 && *steady > 0 && key.len() == 32
    });
    let commits = sane.as_ref().map(|state| state.0);
    if let Some(state) = sane {
        target.execute(
            "UPDATE state SET commits = ?1, next_seq = ?2, wall = ?3, steady = ?4, boot = ?5, boot_id = ?6,
                 handle_key = ?7, created_at = ?8",
            state,
        )?;
    }
    target.execute(
        "UPDATE state SET commits = max(commits, ?1)",
        [synced_commits],
    )?;
    Ok(commits)
}

fn copy_lanes(source: &Source, target: &Connection) -> rusqlite::Result<()> {
    let mut insert = target.prepare(
        "INSERT OR IGNORE INTO lane (id, queue, group_id, not_before) VALUES (?1, ?2, ?3, ?4)",
    )?;
    // What is missing is made with the first message of the group.
    source.walk("lane", "id", "queue, group_id, not_before", |id, values| {
        if let [
            Value::Integer(queue),
            Value::Text(group),
            Value::Integer(not_before),
        ] = &values[..]
        {
            insert.execute((id, queue, group, not_before))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Where each message stands, from `ready` and `flight`.
fn copy_places(source: &Source, target: &Connection) -> rusqlite::Result<Walked> {
    let mut insert = target.prepare(
        "INSERT OR IGNORE INTO temp.place (flying, queue, seq, lane, visible_at, delayed, arrived_at, receive_count,
             first_received_at, size) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let mut malformed = false;
    let mut keep = |flying: bool, values: Vec<Value>| -> rusqlite::Result<()> {
        let numbers = values.iter().enumerate().all(|(at, value)| {
            matches!(value, Value::Integer(_)) || (at == 7 && *value == Value::Null)
        });
        match <[Value; 9]>::try_from(values) {
            Ok(
                [
                    queue,
                    seq,
                    lane,
                    visible_at,
                    delayed,
                    arrived_at,
                    count,
                    first,
                    size,
                ],
            ) if numbers => {
                insert.execute((
                    flying, queue, seq, lane, visible_at, delayed, arrived_at, count, first, size,
                ))?;
            }
            _ => malformed = true,
        }
        Ok(())
    };
    let ready = source.both_ways(
        "ready",
        "queue, lane, seq",
        "queue, seq, lane, 0, 0, arrived_at, receive_count, first_received_at, size",
        |values| keep(false, values),
    )?;
    let flight = source.both_ways(
        "flight",
        "queue, seq",
        "queue, seq, lane, visible_at, delayed, arrived_at, receive_count, first_received_at, size",
        |values| keep(true, values),
    )?;
    // Where the clock's line was lost, nothing may stay invisible for longer than it ever could have been.
    target.execute(
        "UPDATE temp.place SET visible_at = 0 WHERE visible_at > (SELECT steady FROM state) + ?1 AND delayed = 0
             AND queue NOT IN (SELECT id FROM queue WHERE role = 1)",
        [MAX_VISIBILITY.as_millis() as i64],
    )?;
    let walked = ready.and(flight);
    Ok(if malformed { Walked::WithGaps } else { walked })
}

/// The messages: from their table, and where that has gaps, from the leaves of trees that lead there no more.
fn copy_messages(
    source: &Source,
    image: &File,
    target: &Connection,
    places: Walked,
) -> rusqlite::Result<()> {
    let mut malformed = false;
    let mut walked = source.walk("message", "seq", COLUMNS, |seq, values| {
        let row = <[Value; 9]>::try_from(values)
            .ok()
            .and_then(|values| Row::from_rest(seq, values));
        match row {
            Some(row) if row.is_sound() => {
                row.insert(target)?;
                settle(target, &row)
            }
            Some(row) => row.insert_damaged(target).map(drop),
            None => {
                malformed = true;
                Ok(())
            }
        }
    })?;
    if malformed {
        walked = Walked::WithGaps;
    }
    let homeless: bool = target.query_row(
        "SELECT EXISTS (SELECT 1 FROM temp.place WHERE found = 0)",
        [],
        |row| row.get(0),
    )?;
    if walked == Walked::Whole && !homeless {
        return Ok(());
    }
    // Only where neither table can say that a message had been deleted, one without a place is taken for alive.
    let both_have_gaps = walked == Walked::WithGaps && places == Walked::WithGaps;
    let scanned = pages::messages(image, |row| {
        let place: Option<bool> = target
            .prepare_cached("SELECT found FROM temp.place WHERE seq = ?1")?
            .query_row([row.seq], |found| found.get(0))
            .optional()?;
        let wanted = match place {
            Some(found) => !found,
            None => both_have_gaps,
        };
        if wanted && row.insert(target)? {
            settle(target, &row)?;
        }
        Ok(())
    });
    match scanned {
        Ok(done) => done,
        Err(error) => {
            tracing::warn!(%error, "The damaged file's pages cannot be searched");
            Ok(())
        }
    }
}

/// Notes that a message was found; one whose place was lost gets one at the queue that it was sent to. Gives it the
/// lane of its group.
fn settle(target: &Connection, row: &Row) -> rusqlite::Result<()> {
    target
        .prepare_cached(
            "INSERT INTO temp.place (seq, queue, lane, flying, visible_at, delayed, arrived_at, receive_count, size, found)
             VALUES (?1, ?2, ?4 IS NOT NULL AND ifnull((SELECT fifo OR role = 1 FROM queue WHERE id = ?2), ?6),
                 0, 0, 0, ?3, 0, ?5, 1)
             ON CONFLICT (seq) DO UPDATE SET found = 1",
        )?
        .execute((row.seq, row.queue, row.sent_at, &row.group_id, row.size(), row.deduplication_id.is_some()))?;
    let (queue, lane): (i64, i64) = target
        .prepare_cached("SELECT queue, ifnull(lane, 0) FROM temp.place WHERE seq = ?1")?
        .query_row([row.seq], |place| Ok((place.get(0)?, place.get(1)?)))?;
    if lane == 0 {
        return Ok(());
    }
    let group = row.group_id.as_deref().unwrap_or_default();
    target
        .prepare_cached("INSERT OR IGNORE INTO lane (queue, group_id) VALUES (?1, ?2)")?
        .execute((queue, group))?;
    target
        .prepare_cached(
            "UPDATE temp.place SET lane = (SELECT id FROM lane WHERE queue = ?2 AND group_id = ?3) WHERE seq = ?1",
        )?
        .execute((row.seq, queue, group))?;
    Ok(())
}

/// Writes `ready`, `flight` and `lane`. In a spool, a record that waits for its next attempt holds its lane as one that
/// is being delivered does.
fn put_in_place(target: &Connection) -> rusqlite::Result<()> {
    target.execute_batch(
        "INSERT INTO ready (queue, lane, seq, arrived_at, receive_count, first_received_at, size)
         SELECT queue, lane, seq, arrived_at, receive_count, first_received_at, size
         FROM temp.place WHERE NOT flying ORDER BY queue, lane, seq;
         INSERT INTO flight (queue, seq, lane, visible_at, delayed, arrived_at, receive_count, first_received_at, size)
         SELECT queue, seq, lane, visible_at, delayed, arrived_at, receive_count, first_received_at, size
         FROM temp.place WHERE flying ORDER BY queue, seq;
         UPDATE lane SET head = c.head, in_flight = c.in_flight, delayed = c.delayed
         FROM (SELECT p.lane, min(CASE WHEN NOT p.flying THEN p.seq END) AS head,
                   sum(p.flying AND (NOT p.delayed OR q.role = 1)) AS in_flight,
                   sum(p.flying AND p.delayed AND q.role <> 1) AS delayed
               FROM temp.place p JOIN queue q ON q.id = p.queue WHERE p.lane <> 0 GROUP BY p.lane) AS c
         WHERE c.lane = lane.id;
         DELETE FROM lane WHERE id NOT IN (SELECT lane FROM temp.place);",
    )
}
