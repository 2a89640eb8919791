//! The pages of a database file, read without SQLite: messages are found in the leaves of any tree, also of one whose
//! inner pages are gone. Their checksums tell them from whatever else looks like a row.
//!
//! Layout: SQLite's "Database File Format", sections 1.6 (b-tree pages), 1.6.2 (cells and overflow) and 2.1 (records).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rusqlite::types::Value;

use super::row::Row;

const PAGE: usize = 4096;
/// A table's leaf.
const LEAF: u8 = 0x0d;
/// Bytes of a row that are taken for possible.
const LARGEST_ROW: u64 = 1 << 30;

/// Goes through every page and hands over each message whose checksum is right; also messages that were deleted, where
/// their page has not been used again.
pub(super) fn messages(
    file: &File,
    mut each: impl FnMut(Row) -> rusqlite::Result<()>,
) -> io::Result<rusqlite::Result<()>> {
    let pages = file.metadata()?.len() / PAGE as u64;
    let mut page = [0; PAGE];
    for number in 1..=pages {
        if file
            .read_exact_at(&mut page, (number - 1) * PAGE as u64)
            .is_err()
        {
            continue;
        }
        for cell in cells(&page, number) {
            let found = payload(file, &page, cell, pages)
                .and_then(|(seq, record)| Row::from_columns(seq, columns(&record)?))
                .filter(Row::is_sound);
            if let Some(row) = found
                && let Err(error) = each(row)
            {
                return Ok(Err(error));
            }
        }
    }
    Ok(Ok(()))
}

/// Where the cells of a leaf begin; nothing for other pages.
fn cells(page: &[u8; PAGE], number: u64) -> Vec<usize> {
    // The first page begins with the file's header.
    let from = if number == 1 { 100 } else { 0 };
    if page[from] != LEAF {
        return Vec::new();
    }
    let count = usize::from(u16::from_be_bytes([page[from + 3], page[from + 4]]));
    page[from + 8..]
        .chunks_exact(2)
        .take(count)
        .map(|pointer| usize::from(u16::from_be_bytes([pointer[0], pointer[1]])))
        .filter(|at| (from + 8..PAGE).contains(at))
        .collect()
}

/// A variable-length integer and how many bytes it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some(((value << 8) | u64::from(*byte), 9));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// The row id and the whole record of a cell, its overflow pages followed.
fn payload(file: &File, page: &[u8; PAGE], at: usize, pages: u64) -> Option<(i64, Vec<u8>)> {
    let (length, taken) = varint(&page[at..])?;
    let (rowid, taken_too) = varint(page.get(at + taken..)?)?;
    if length == 0 || length > LARGEST_ROW || length > pages * PAGE as u64 {
        return None;
    }
    let length = length as usize;
    let begin = at + taken + taken_too;
    let most = PAGE - 35;
    let least = (PAGE - 12) * 32 / 255 - 23;
    let local = if length <= most {
        length
    } else {
        let fitted = least + (length - least) % (PAGE - 4);
        if fitted <= most { fitted } else { least }
    };
    let mut record = Vec::with_capacity(length);
    record.extend_from_slice(page.get(begin..begin + local)?);
    if local < length {
        let pointer = page.get(begin + local..begin + local + 4)?;
        let mut next = u32::from_be_bytes(pointer.try_into().ok()?);
        let mut overflow = [0; PAGE];
        while record.len() < length {
            if next == 0 || u64::from(next) > pages {
                return None;
            }
            file.read_exact_at(&mut overflow, (u64::from(next) - 1) * PAGE as u64)
                .ok()?;
            let wanted = (length - record.len()).min(PAGE - 4);
            record.extend_from_slice(&overflow[4..4 + wanted]);
            next = u32::from_be_bytes(overflow[..4].try_into().ok()?);
        }
    }
    Some((rowid as i64, record))
}

/// The values of a record.
fn columns(record: &[u8]) -> Option<Vec<Value>> {
    let (head, mut at) = varint(record)?;
    let head = usize::try_from(head).ok()?;
    let mut body = record.get(head..)?;
    let mut values = Vec::new();
    while at < head {
        let (kind, taken) = varint(record.get(at..head)?)?;
        at += taken;
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            12.. => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let (bytes, rest) = body.split_at_checked(size)?;
        body = rest;
        values.push(match kind {
            0 => Value::Null,
            1..=6 => Value::Integer(integer(bytes)),
            // No column of ours holds one.
            7 => return None,
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            even if even.is_multiple_of(2) => Value::Blob(bytes.to_owned()),
            _ => Value::Text(String::from_utf8(bytes.to_owned()).ok()?),
        });
    }
    Some(values)
}

/// Big-endian, with its sign.
fn integer(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let begin = if negative { -1i64 } else { 0 };
    bytes
        .iter()
        .fold(begin, |value, byte| (value << 8) | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_length_keep_their_sign() {
        assert_eq!(varint(&[0x7f]), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0x80, 0x80]), None);
        assert_eq!(integer(&[0xff, 0xfe]), -2);
        assert_eq!(integer(&[0, 0x80]), 128);
    }

    #[test]
    fn every_message_of_a_sound_file_is_found_with_its_overflow_pages() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let database = rusqlite::Connection::open(&path).unwrap();
        database
            .execute_batch(
                "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;
                 CREATE TABLE message (seq INTEGER PRIMARY KEY, queue, id, sent_at, group_id, deduplication_id,
                     attributes, system_attributes, checksum, body);",
            )
            .unwrap();
        let sizes = [0, 1, 100, 3_900, 4_061, 4_100, 8_200, 300_000];
        for (seq, size) in (-2i64..).zip(sizes) {
            let row = Row::signed(seq, 1, vec![7; size]);
            row.insert(&database).unwrap();
        }
        drop(database);
        let mut found = Vec::new();
        let file = File::open(&path).unwrap();
        messages(&file, |row| {
            found.push((row.seq, row.body.len()));
            Ok(())
        })
        .unwrap()
        .unwrap();
        found.sort_unstable();
        let expected: Vec<(i64, usize)> = (-2i64..).zip(sizes).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn random_pages_hold_no_messages_and_break_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let mut noise = vec![0u8; 64 * PAGE];
        let mut state = 1u64;
        for byte in &mut noise {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        for page in noise.chunks_exact_mut(PAGE) {
            page[0] = LEAF;
        }
        std::fs::write(&path, &noise).unwrap();
        let file = File::open(&path).unwrap();
        messages(&file, |row| panic!("{row:?}")).unwrap().unwrap();
    }
}
