//! The queues of a damaged store: their rows as far as they make sense, their names from the index where the rows are
//! gone, and, once the messages are in place, counts and ledgers that balance.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::source::{Source, Walked};
use super::tables::shared_columns;
use crate::store::spool::{dead_letter_queue, spool_queue};
use crate::store::stats::Role;

/// What became of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSalvage {
    pub name: String,
    /// Messages that are in the new file.
    pub saved: u64,
    /// Messages that the queue held by its ledger and that could not be read.
    pub lost: u64,
    /// Messages beyond the ledger's count: their place was lost, so they may have been deleted before.
    pub found: u64,
    /// The row was lost: settings are SQS's defaults and the ledger begins anew, so `lost` is not known.
    pub rebuilt: bool,
}

const LEDGER: [&str; 9] = [
    "accepted",
    "imported",
    "deleted",
    "forwarded",
    "dead_lettered",
    "expired",
    "purged",
    "damaged",
    "duplicates",
];
/// More than any queue will ever count; above it, or below zero, a count has been damaged.
const BELIEVABLE: i64 = 1 << 53;

/// Copies the rows; then makes those whose names are still in the index. Ids of the latter.
pub(super) fn copy(source: &Source, target: &Connection) -> rusqlite::Result<Vec<i64>> {
    let shared = shared_columns(source, target, "queue")?;
    let list = shared.join(", ");
    let marks = vec!["?"; shared.len()].join(", ");
    let insert = format!("INSERT OR IGNORE INTO queue ({list}) VALUES ({marks})");
    let defaults = defaults(target)?;
    let walked = source.walk("queue", "id", &list, |_, mut values| {
        let name = match shared
            .iter()
            .zip(&values)
            .find(|(column, _)| *column == "name")
        {
            Some((_, Value::Text(name))) => name.clone(),
            _ => return Ok(()),
        };
        for (column, value) in shared.iter().zip(values.iter_mut()) {
            if let Some((_, kind, default)) = defaults.iter().find(|(known, ..)| known == column)
                && !fits(value, kind, *default == Value::Null)
            {
                *value = match column.as_str() {
                    "fifo" => Value::Integer(name.ends_with(".fifo").into()),
                    "role" => Value::Integer(role_of(&name).number()),
                    _ => default.clone(),
                };
            }
        }
        target
            .prepare_cached(&insert)?
            .execute(params_from_iter(values))
            .map(drop)
    })?;
    target.execute(
        "UPDATE queue SET redrive_to = NULL, max_receive_count = NULL
         WHERE redrive_to IS NULL OR max_receive_count IS NULL OR max_receive_count NOT BETWEEN 1 AND 1000",
        [],
    )?;
    target.execute(
        "UPDATE queue SET extra = NULL WHERE extra IS NOT NULL AND NOT json_valid(extra)",
        [],
    )?;
    let mut rebuilt = Vec::new();
    if walked == Walked::WithGaps {
        // The index over the names has its own pages.
        let named = source.both_ways(
            "queue INDEXED BY sqlite_autoindex_queue_1",
            "name",
            "id, name",
            |values| {
                if let [Value::Integer(id), Value::Text(name)] = &values[..]
                    && is_plausible(name)
                    && make(target, Some(*id), name)?
                {
                    rebuilt.push(*id);
                }
                Ok(())
            },
        )?;
        if named == Walked::WithGaps {
            tracing::warn!("Names of queues are lost");
        }
    }
    Ok(rebuilt)
}

/// Column, kind and what stands in for it.
fn defaults(target: &Connection) -> rusqlite::Result<Vec<(String, String, Value)>> {
    let wall: i64 = target.query_row("SELECT wall FROM state", [], |row| row.get(0))?;
    target
        .prepare("SELECT name, lower(type), \"notnull\" FROM pragma_table_info('queue') WHERE name NOT IN ('id', 'name')")?
        .query_map([], |row| {
            let (name, kind, required): (String, String, bool) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let default = match name.as_str() {
                _ if !required => Value::Null,
                "visibility_ms" => Value::Integer(30_000),
                "max_message_size" => Value::Integer(1 << 20),
                "created_at" => Value::Integer(wall),
                _ => Value::Integer(0),
            };
            Ok((name, kind, default))
        })?
        .collect()
}

fn fits(value: &Value, kind: &str, nullable: bool) -> bool {
    match value {
        Value::Null => nullable,
        Value::Integer(_) => kind == "integer",
        Value::Text(_) => kind == "text",
        _ => false,
    }
}

fn role_of(name: &str) -> Role {
    if name.starts_with(&spool_queue("")) {
        Role::Spool
    } else if name.starts_with(&dead_letter_queue("")) {
        Role::DeadLetters
    } else {
        Role::Queue
    }
}

/// A name that a queue, a spool or its dead letters can have; those of removed queues are none.
fn is_plausible(name: &str) -> bool {
    role_of(name) != Role::Queue || name.parse::<crate::model::value::QueueName>().is_ok()
}

/// Makes a queue with SQS's defaults; false if it is there.
fn make(target: &Connection, id: Option<i64>, name: &str) -> rusqlite::Result<bool> {
    let role = role_of(name);
    // Four days (SQS), but none for what is on its way to a target.
    let retention = (role == Role::Queue).then_some(4 * 86_400_000i64);
    let made = target.execute(
        "INSERT OR IGNORE INTO queue (id, name, declared, fifo, content_based, lifo, visibility_ms, retention_ms,
             delay_ms, max_message_size, created_at, role)
         VALUES (?1, ?2, 0, ?3, 0, 0, 30000, ?4, 0, 1048576, (SELECT wall FROM state), ?5)",
        (id, name, name.ends_with(".fifo") && role == Role::Queue, retention, role.number()),
    )?;
    Ok(made > 0)
}

/// Makes queues for messages whose queue is not known by name, and completes the pairs of spools and dead letters.
pub(super) fn make_missing(target: &Connection, rebuilt: &mut Vec<i64>) -> rusqlite::Result<()> {
    let unknown: Vec<(i64, bool)> = target
        .prepare(
            "SELECT queue, max(lane) > 0 FROM temp.place WHERE queue NOT IN (SELECT id FROM queue) GROUP BY queue",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, grouped) in unknown {
        let suffix = if grouped { ".fifo" } else { "" };
        if make(target, Some(id), &format!("recovered-{id}{suffix}"))? {
            rebuilt.push(id);
        }
    }
    let names: Vec<String> = target
        .prepare("SELECT name FROM queue WHERE role IN (1, 2)")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in names {
        let other = match name.strip_prefix(&spool_queue("")) {
            Some(of) => dead_letter_queue(of),
            None => spool_queue(name.strip_prefix(&dead_letter_queue("")).unwrap_or(&name)),
        };
        make(target, None, &other)?;
    }
    Ok(())
}

/// Counts what is in place, and lets each ledger say what a recovery did: what it could not read is `damaged`, what it
/// found beyond the count is `imported`.
pub(super) fn balance(target: &Connection, rebuilt: &[i64]) -> rusqlite::Result<Vec<QueueSalvage>> {
    target.execute_batch(
        "UPDATE queue SET visible = 0, delayed = 0, in_flight = 0, bytes = 0;
         UPDATE queue SET visible = c.visible, delayed = c.delayed, in_flight = c.in_flight, bytes = c.bytes
         FROM (SELECT queue, sum(NOT flying) AS visible, sum(flying AND delayed) AS delayed,
                   sum(flying AND NOT delayed) AS in_flight, sum(size) AS bytes
               FROM temp.place GROUP BY queue) AS c WHERE c.queue = queue.id",
    )?;
    let believable = LEDGER.map(|column| format!("{column} BETWEEN 0 AND {BELIEVABLE}"));
    let rows: Vec<(i64, String, bool, i64, i64, i64)> = target
        .prepare(&format!(
            "SELECT id, name, {}, visible + delayed + in_flight,
                 accepted + imported - deleted - forwarded - dead_lettered - expired - purged - damaged, role
             FROM queue ORDER BY name",
            believable.join(" AND ")
        ))?
        .query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                // Sums of unbelievable counts may be no integers any more.
                row.get(4).unwrap_or(-1),
                row.get(5)?,
            ))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut salvaged = Vec::new();
    for (id, name, believable, depth, expected, role) in rows {
        let believed = believable && expected >= 0;
        let (lost, found) = if believed {
            ((expected - depth).max(0), (depth - expected).max(0))
        } else {
            let zeros = LEDGER.map(|column| format!("{column} = 0"));
            target.execute(
                &format!("UPDATE queue SET {} WHERE id = ?1", zeros.join(", ")),
                [id],
            )?;
            (0, depth)
        };
        target.execute(
            "UPDATE queue SET damaged = damaged + ?2, imported = imported + ?3 WHERE id = ?1",
            (id, lost, found),
        )?;
        // Removed queues are no one's any more.
        if Role::from_number(role).is_some() {
            let rebuilt = !believed || rebuilt.contains(&id);
            salvaged.push(QueueSalvage {
                name,
                saved: depth.max(0) as u64,
                lost: lost as u64,
                found: if rebuilt { 0 } else { found as u64 },
                rebuilt,
            });
        }
    }
    Ok(salvaged)
}
