//! The CSV that the vendor's import takes: a header row with `Name` and `Key`, and `Description`, `Enabled` and
//! `UsagePlanIds` where wanted; names in any case and order, other columns ignored (reference, 7.1). Fields are quoted as
//! RFC 4180 says. Keys are hashed as they are read; no message shows one.

use std::borrow::Cow;
use std::path::Path;

use zeroize::Zeroize as _;

use super::MAX_PROBLEMS;
use super::list::{FileKey, FileKeys};
use crate::authn::api_key::KeyHash;
use crate::model::path::ConfigPath;
use crate::model::problem::{Place, Problem, Problems};

/// How long keys are that stand here themselves.
const LENGTHS: std::ops::RangeInclusive<usize> = 20..=128;
/// Shorter ones are said to be short.
const SHORT: usize = 30;

/// Where the columns are.
struct Columns {
    name: usize,
    key: usize,
    description: Option<usize>,
    enabled: Option<usize>,
    plans: Option<usize>,
}

/// A field, and where it begins.
struct Field<'t> {
    text: Cow<'t, str>,
    line: usize,
    column: usize,
}

/// Reads the keys; `None` if there is no header row to read them by.
pub(super) fn read(
    path: &Path,
    text: &str,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<FileKeys> {
    let mut said = Said {
        path,
        at,
        problems,
        count: 0,
    };
    let mut records = Records {
        rest: text.trim_start_matches('\u{feff}'),
        line: 1,
        column: 1,
    };
    let mut fields = Vec::new();
    if !records.next(&mut fields, &mut said) {
        said.error(1, 1, "the file is empty")
            .help("the first line names the columns: Name,Key,Description,Enabled,UsagePlanIds");
        return None;
    }
    let columns = columns(&fields, &mut said)?;
    let mut keys = FileKeys::new(path);
    keys.later_wins = true;
    let mut short = 0;
    while records.next(&mut fields, &mut said) {
        if fields.iter().all(|field| field.text.trim().is_empty()) {
            continue;
        }
        if let Some(read) = row(&columns, &fields, &mut said) {
            keys.holds_keys |= read.length.is_some();
            short += usize::from(read.length.is_some_and(|length| length < SHORT));
            let first = &fields[columns.name];
            keys.push(read.key, first.line, first.column);
        }
        for field in &mut fields {
            if let Cow::Owned(text) = &mut field.text {
                text.zeroize();
            }
        }
        if said.count > MAX_PROBLEMS {
            said.error(
                records.line,
                1,
                "and more; the rest of the file was not read",
            );
            break;
        }
    }
    if keys.holds_keys {
        said.problems
            .warning(
                at,
                "this file holds keys themselves: whoever reads it can use them",
            )
            .help("`penstock keys import FILE.csv` writes a file of hashes");
    }
    if short > 0 {
        said.problems
            .warning(
                at,
                format!("{short} of the keys have fewer than {SHORT} characters, which the vendor's import refuses"),
            )
            .help("give those callers keys of `penstock keys new`");
    }
    Some(keys)
}

fn columns(fields: &[Field<'_>], said: &mut Said<'_>) -> Option<Columns> {
    let find = |wanted: &str| {
        let is = |field: &Field<'_>| field.text.trim().eq_ignore_ascii_case(wanted);
        fields.iter().position(is)
    };
    let (name, key) = (find("Name"), find("Key"));
    for (column, found) in [("Name", name), ("Key", key)] {
        if found.is_none() {
            said.error(1, 1, format!("there is no column `{column}`"))
                .help("the first line names the columns, with commas between: Name,Key,Description,Enabled,UsagePlanIds");
        }
    }
    Some(Columns {
        name: name?,
        key: key?,
        description: find("Description"),
        enabled: find("Enabled"),
        plans: find("UsagePlanIds"),
    })
}

/// A key, and the length of its text where that stands in the file.
struct Read<'f> {
    key: FileKey<'f>,
    length: Option<usize>,
}

fn row<'f>(columns: &Columns, fields: &'f [Field<'_>], said: &mut Said<'_>) -> Option<Read<'f>> {
    let first = fields.first()?;
    let text = |at: usize| fields.get(at).map_or("", |field| field.text.trim());
    let place = |at: usize| {
        let field = fields.get(at).unwrap_or(first);
        (field.line, field.column)
    };
    let id = text(columns.name);
    let mut good = true;
    if id.is_empty() {
        let (line, column) = place(columns.name);
        said.error(line, column, "the name is empty");
        good = false;
    }
    let enabled = match columns.enabled.map(|at| (at, text(at))) {
        None | Some((_, "")) => true,
        Some((_, word)) if word.eq_ignore_ascii_case("true") => true,
        Some((_, word)) if word.eq_ignore_ascii_case("false") => false,
        Some((at, _)) => {
            let (line, column) = place(at);
            said.error(line, column, "`Enabled` is neither true nor false");
            good = false;
            false
        }
    };
    let key = text(columns.key);
    let (hash, length) = match key.parse::<KeyHash>() {
        Ok(hash) => (hash, None),
        Err(_) => (KeyHash::of(key.as_bytes()), Some(key.len())),
    };
    let wrong = match length {
        Some(0) => Some("the key is empty".to_owned()),
        Some(length) if !LENGTHS.contains(&length) => Some(format!(
            "the key has {length} characters; allowed: 20 to 128"
        )),
        Some(_) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Some("the key holds a character that cannot stand in a header".to_owned())
        }
        _ => None,
    };
    if let Some(wrong) = wrong {
        let (line, column) = place(columns.key);
        said.error(line, column, wrong);
        good = false;
    }
    let optional = |at: Option<usize>| at.map(text).filter(|text| !text.is_empty());
    good.then(|| Read {
        key: FileKey {
            id,
            hash,
            plan: optional(columns.plans),
            enabled,
            description: optional(columns.description),
        },
        length,
    })
}

/// What is said about the file.
struct Said<'p> {
    path: &'p Path,
    at: &'p ConfigPath,
    problems: &'p mut Problems,
    count: usize,
}

impl Said<'_> {
    fn error(&mut self, line: usize, column: usize, message: impl Into<String>) -> &mut Problem {
        self.count += 1;
        self.problems.error(self.at, message).at(Place {
            file: self.path.to_owned(),
            line,
            column,
        })
    }
}

/// The records of a text, one after the other.
struct Records<'t> {
    rest: &'t str,
    line: usize,
    column: usize,
}

impl<'t> Records<'t> {
    /// Reads the next record; false at the end of the text.
    fn next(&mut self, fields: &mut Vec<Field<'t>>, said: &mut Said<'_>) -> bool {
        fields.clear();
        if self.rest.is_empty() {
            return false;
        }
        loop {
            let (line, column) = (self.line, self.column);
            let text = match self.rest.strip_prefix('"') {
                Some(_) => self.quoted(said),
                None => {
                    let end = self.end_of_field();
                    let text = self.take(end);
                    Cow::Borrowed(text.strip_suffix('\r').unwrap_or(text))
                }
            };
            fields.push(Field { text, line, column });
            match self.rest.as_bytes().first() {
                Some(b',') => {
                    self.take(1);
                }
                Some(_) => {
                    self.take(1);
                    return true;
                }
                None => return true,
            }
        }
    }

    /// A field in quotes, up to what follows it. Two quotes stand for one.
    fn quoted(&mut self, said: &mut Said<'_>) -> Cow<'t, str> {
        let (line, column) = (self.line, self.column);
        self.take(1);
        let mut text = Cow::Borrowed("");
        loop {
            let Some(end) = self.rest.find('"') else {
                self.take(self.rest.len());
                said.error(line, column, "a quote is opened here and never closed");
                return text;
            };
            let piece = self.take(end);
            self.take(1);
            if text.is_empty() {
                text = Cow::Borrowed(piece);
            } else {
                text.to_mut().push_str(piece);
            }
            if self.rest.starts_with('"') {
                self.take(1);
                text.to_mut().push('"');
                continue;
            }
            let after = self.end_of_field();
            let (line, column) = (self.line, self.column);
            if !self.take(after).trim().is_empty() {
                said.error(
                    line,
                    column,
                    "something stands between a closing quote and the next comma",
                );
            }
            return text;
        }
    }

    /// Where the next comma or the line's end is.
    fn end_of_field(&self) -> usize {
        let bytes = self.rest.as_bytes();
        let mut ends = (0..bytes.len()).filter(|at| matches!(bytes[*at], b',' | b'\n'));
        ends.next().unwrap_or(bytes.len())
    }

    fn take(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        match taken.rfind('\n') {
            Some(last) => {
                self.line += taken.bytes().filter(|byte| *byte == b'\n').count();
                self.column = taken[last + 1..].chars().count() + 1;
            }
            None => self.column += taken.chars().count(),
        }
        taken
    }
}
