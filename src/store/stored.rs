//! A message as it lies on disk: read, and verified. What is not as it was written is not handed on.

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Row, Statement};
use uuid::Uuid;

use crate::model::message::Attributes;

use super::group::Slot;
use super::message::{content_hash, decode, row_checksum};

/// A row of `message`, if it is what was written.
pub(super) struct Stored {
    pub origin: i64,
    pub id: Uuid,
    pub sent_at: i64,
    /// The checksum of what the caller sent.
    pub content_hash: u64,
    pub group_id: Option<String>,
    pub deduplication_id: Option<String>,
    pub attributes: Attributes,
    pub system_attributes: Attributes,
    pub body: Bytes,
}

/// Its columns, of a table called `m`.
pub(super) const MESSAGE: &str = "m.queue, m.id, m.sent_at, m.group_id, m.deduplication_id, m.attributes, m.system_attributes, m.checksum, m.body";

impl Stored {
    /// Reads and verifies; `None` if the row is missing or not as it was written.
    pub fn read(row: &Row<'_>, from: usize, seq: i64) -> rusqlite::Result<Option<Stored>> {
        let text = |at: usize| -> rusqlite::Result<Option<Option<&str>>> {
            Ok(match row.get_ref(from + at)? {
                ValueRef::Null => Some(None),
                ValueRef::Text(text) => std::str::from_utf8(text).ok().map(Some),
                _ => None,
            })
        };
        let (
            ValueRef::Integer(origin),
            ValueRef::Blob(id),
            ValueRef::Integer(sent_at),
            ValueRef::Integer(checksum),
            ValueRef::Blob(body),
        ) = (
            row.get_ref(from)?,
            row.get_ref(from + 1)?,
            row.get_ref(from + 2)?,
            row.get_ref(from + 7)?,
            row.get_ref(from + 8)?,
        )
        else {
            return Ok(None);
        };
        let (Some(group_id), Some(deduplication_id), Some(attributes), Some(system_attributes)) =
            (text(3)?, text(4)?, text(5)?, text(6)?)
        else {
            return Ok(None);
        };
        let content = content_hash(
            id,
            group_id,
            deduplication_id,
            attributes,
            system_attributes,
            body,
        );
        if row_checksum(content, seq, origin, sent_at) != checksum {
            return Ok(None);
        }
        let (Ok(id), Some(attributes), Some(system_attributes)) = (
            Uuid::from_slice(id),
            decode(attributes),
            decode(system_attributes),
        ) else {
            return Ok(None);
        };
        Ok(Some(Stored {
            origin,
            id,
            sent_at,
            content_hash: content,
            group_id: group_id.map(str::to_owned),
            deduplication_id: deduplication_id.map(str::to_owned),
            attributes,
            system_attributes,
            body: Bytes::copy_from_slice(body),
        }))
    }
}

/// Rows of a slot and a message, side by side.
pub(super) fn collect(
    statement: &mut Statement<'_>,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<(Slot, Option<Stored>)>> {
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let slot = Slot::read(row, 0)?;
        found.push((slot, Stored::read(row, 6, slot.seq)?));
    }
    Ok(found)
}
