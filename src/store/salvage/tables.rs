//! The small tables: copied row by row as far as they can be read, and only rows whose columns are of the right kind.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::source::{Source, Walked, columns};

/// How many rows were saved, and whether that is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    pub saved: u64,
    /// Whether some places of the table could not be read; how many rows they held is not known.
    pub gaps: bool,
}

/// Tables with row ids, and their keys.
const BY_ROW_ID: [(&str, &str); 6] = [
    ("deduplication", "n"),
    ("death", "seq"),
    ("move_task", "id"),
    ("damaged", "n"),
    ("deployment", "n"),
    ("stage", "id"),
];
/// Tables without row ids, and their keys.
const BY_KEY: [(&str, &str); 4] = [
    ("tag", "queue, key"),
    ("idempotency", "key"),
    ("usage", "day, key"),
    ("key_state", "key"),
];

/// Copies the small tables; what is in them by table.
pub(super) fn copy_all(
    source: &Source,
    target: &Connection,
) -> rusqlite::Result<Vec<(&'static str, Rows)>> {
    let mut copied = Vec::new();
    for (table, key) in BY_ROW_ID {
        copied.push((table, copy(source, target, table, key, true)?));
    }
    for (table, key) in BY_KEY {
        copied.push((table, copy(source, target, table, key, false)?));
    }
    Ok(copied)
}

fn copy(
    source: &Source,
    target: &Connection,
    table: &str,
    key: &str,
    has_row_ids: bool,
) -> rusqlite::Result<Rows> {
    let shared = shared_columns(source, target, table)?;
    if shared.is_empty() {
        return Ok(Rows {
            saved: 0,
            gaps: false,
        });
    }
    let list = shared.join(", ");
    let marks = vec!["?"; shared.len()].join(", ");
    let insert = format!("INSERT OR IGNORE INTO {table} ({list}) VALUES ({marks})");
    let mut malformed = false;
    let mut keep = |values: Vec<Value>| -> rusqlite::Result<()> {
        if values.len() == shared.len() {
            target
                .prepare_cached(&insert)?
                .execute(params_from_iter(values))?;
        } else {
            malformed = true;
        }
        Ok(())
    };
    let walked = if has_row_ids {
        source.walk(table, key, &list, |_, values| keep(values))?
    } else {
        source.both_ways(table, key, &list, keep)?
    };
    let dropped = drop_malformed(target, table)?;
    let saved = target.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
        row.get::<_, i64>(0)
    })?;
    Ok(Rows {
        saved: saved.max(0) as u64,
        gaps: malformed || dropped > 0 || walked == Walked::WithGaps,
    })
}

/// The columns that both files have: the source may be of an earlier version.
pub(super) fn shared_columns(
    source: &Source,
    target: &Connection,
    table: &str,
) -> rusqlite::Result<Vec<String>> {
    // A table that the damaged schema does not show has no columns.
    let there = source.columns(table).unwrap_or_default();
    let mut shared = columns(target, table)?;
    shared.retain(|column| there.contains(column));
    Ok(shared)
}

/// Removes rows with a number where a text should be, and the like.
fn drop_malformed(target: &Connection, table: &str) -> rusqlite::Result<usize> {
    let conditions: Vec<String> = target
        .prepare(
            "SELECT name, lower(type), \"notnull\" FROM pragma_table_info(?1) WHERE type <> ''",
        )?
        .query_map([table], |row| {
            let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
            let nullable = if row.get(2)? { "" } else { ", 'null'" };
            Ok(format!("typeof({name}) NOT IN ('{kind}'{nullable})"))
        })?
        .collect::<rusqlite::Result<_>>()?;
    target.execute(
        &format!("DELETE FROM {table} WHERE {}", conditions.join(" OR ")),
        [],
    )
}
