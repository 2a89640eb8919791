//! The keys of one file, kept close together: some eighty bytes each.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::authn::api_key::KeyHash;
use crate::model::problem::Place;

/// A key as a file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKey<'a> {
    pub id: &'a str,
    pub hash: KeyHash,
    /// The usage plan; several, with commas between, where a CSV names several.
    pub plan: Option<&'a str>,
    pub enabled: bool,
    /// For people.
    pub description: Option<&'a str>,
}

/// The keys of one file.
#[derive(Clone, Debug)]
pub struct FileKeys {
    path: PathBuf,
    /// Ids and descriptions, one after the other.
    texts: String,
    plans: Vec<String>,
    plan_numbers: HashMap<String, u32>,
    rows: Vec<Row>,
    /// Whether a later key replaces an earlier one with the same hash, as the vendor's import has it.
    pub later_wins: bool,
    /// Whether keys themselves stand in the file, so that its readers can use them.
    pub holds_keys: bool,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    hash: KeyHash,
    /// Where the id ends in `texts`, and the description behind it. The id begins where the row before ends.
    start: usize,
    id_end: usize,
    end: usize,
    /// From 1; 0: none.
    plan: u32,
    enabled: bool,
    line: u32,
    column: u32,
}

impl FileKeys {
    /// No keys yet.
    pub(super) fn new(path: &Path) -> FileKeys {
        FileKeys {
            path: path.to_owned(),
            texts: String::new(),
            plans: Vec::new(),
            plan_numbers: HashMap::new(),
            rows: Vec::new(),
            later_wins: false,
            holds_keys: false,
        }
    }

    pub(super) fn push(&mut self, key: FileKey<'_>, line: usize, column: usize) {
        let start = self.texts.len();
        self.texts.push_str(key.id);
        let id_end = self.texts.len();
        self.texts.push_str(key.description.unwrap_or_default());
        let plan = key.plan.map_or(0, |plan| self.plan_number(plan));
        self.rows.push(Row {
            hash: key.hash,
            start,
            id_end,
            end: self.texts.len(),
            plan,
            enabled: key.enabled,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        });
    }

    fn plan_number(&mut self, plan: &str) -> u32 {
        if let Some(number) = self.plan_numbers.get(plan) {
            return *number;
        }
        self.plans.push(plan.to_owned());
        let number = u32::try_from(self.plans.len()).unwrap_or(u32::MAX);
        self.plan_numbers.insert(plan.to_owned(), number);
        number
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Every key, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = FileKey<'_>> {
        self.rows.iter().map(|row| {
            let description = &self.texts[row.id_end..row.end];
            FileKey {
                id: &self.texts[row.start..row.id_end],
                hash: row.hash,
                plan: (row.plan as usize)
                    .checked_sub(1)
                    .and_then(|at| self.plans.get(at))
                    .map(String::as_str),
                enabled: row.enabled,
                description: (!description.is_empty()).then_some(description),
            }
        })
    }

    /// Every key but those that a later one replaces: where the file says so, of keys with the same hash the last.
    pub fn last_of_each(&self) -> impl Iterator<Item = FileKey<'_>> {
        let mut last = HashMap::new();
        if self.later_wins {
            for (position, row) in self.rows.iter().enumerate() {
                last.insert(row.hash, position);
            }
        }
        self.iter().enumerate().filter_map(move |(position, key)| {
            let replaced = last.get(&key.hash).is_some_and(|last| *last != position);
            (!replaced).then_some(key)
        })
    }

    /// Where a key stands.
    pub fn place(&self, position: usize) -> Option<Place> {
        let row = self.rows.get(position)?;
        Some(Place {
            file: self.path.clone(),
            line: row.line as usize,
            column: row.column as usize,
        })
    }
}
