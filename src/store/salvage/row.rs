//! A row of the table `message`, as it was found.

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::store::message::{content_hash, row_checksum};

/// The columns behind `seq`, in the order in which they are stored.
pub(super) const COLUMNS: &str =
    "queue, id, sent_at, group_id, deduplication_id, attributes, system_attributes, checksum, body";

/// A message, sound or not.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub seq: i64,
    pub queue: i64,
    pub id: Vec<u8>,
    pub sent_at: i64,
    pub group_id: Option<String>,
    pub deduplication_id: Option<String>,
    pub attributes: Option<String>,
    pub system_attributes: Option<String>,
    pub checksum: i64,
    pub body: Vec<u8>,
}

impl Row {
    /// From the ten stored columns, of which the first (`seq`, an alias of the row id) is stored as NULL.
    pub fn from_columns(seq: i64, columns: Vec<Value>) -> Option<Row> {
        let columns: [Value; 10] = columns.try_into().ok()?;
        let [first, rest @ ..] = columns;
        if first != Value::Null {
            return None;
        }
        Row::from_rest(seq, rest)
    }

    /// From [`COLUMNS`].
    pub fn from_rest(seq: i64, columns: [Value; 9]) -> Option<Row> {
        let text = |value| match value {
            Value::Null => Some(None),
            Value::Text(text) => Some(Some(text)),
            _ => None,
        };
        let [
            Value::Integer(queue),
            Value::Blob(id),
            Value::Integer(sent_at),
            group_id,
            deduplication_id,
            attributes,
            system_attributes,
            Value::Integer(checksum),
            Value::Blob(body),
        ] = columns
        else {
            return None;
        };
        Some(Row {
            seq,
            queue,
            id,
            sent_at,
            group_id: text(group_id)?,
            deduplication_id: text(deduplication_id)?,
            attributes: text(attributes)?,
            system_attributes: text(system_attributes)?,
            checksum,
            body,
        })
    }

    /// Whether it is what was written.
    pub fn is_sound(&self) -> bool {
        self.computed() == self.checksum
    }

    fn computed(&self) -> i64 {
        let content = content_hash(
            &self.id,
            self.group_id.as_deref(),
            self.deduplication_id.as_deref(),
            self.attributes.as_deref(),
            self.system_attributes.as_deref(),
            &self.body,
        );
        row_checksum(content, self.seq, self.queue, self.sent_at)
    }

    /// Bytes of body and attributes, about as limits count them.
    pub fn size(&self) -> i64 {
        let attributes = self.attributes.as_ref().map_or(0, String::len);
        i64::try_from(self.body.len() + attributes).unwrap_or(i64::MAX)
    }

    /// Writes it; a message that is there already stays.
    pub fn insert(&self, target: &Connection) -> rusqlite::Result<bool> {
        self.write(
            target,
            "INSERT OR IGNORE INTO message (queue, id, sent_at, group_id, deduplication_id, attributes,
                 system_attributes, checksum, body, seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )
    }

    /// Keeps it for whoever wants to look.
    pub fn insert_damaged(&self, target: &Connection) -> rusqlite::Result<bool> {
        self.write(
            target,
            "INSERT INTO damaged (queue, id, sent_at, group_id, deduplication_id, attributes, system_attributes,
                 checksum, body, seq, found_at, in_queue)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, (SELECT wall FROM state),
                 ifnull((SELECT queue FROM temp.place WHERE seq = ?10), ?1))",
        )
    }

    fn write(&self, target: &Connection, sql: &str) -> rusqlite::Result<bool> {
        let written = target.prepare_cached(sql)?.execute(rusqlite::params![
            self.queue,
            self.id,
            self.sent_at,
            self.group_id,
            self.deduplication_id,
            self.attributes,
            self.system_attributes,
            self.checksum,
            self.body,
            self.seq,
        ])?;
        Ok(written > 0)
    }

    #[cfg(test)]
    pub fn signed(seq: i64, queue: i64, body: Vec<u8>) -> Row {
        let mut row = Row {
            seq,
            queue,
            id: vec![1; 16],
            sent_at: 5,
            group_id: None,
            deduplication_id: Some("d".to_owned()),
            attributes: None,
            system_attributes: None,
            checksum: 0,
            body,
        };
        row.checksum = row.computed();
        row
    }
}
