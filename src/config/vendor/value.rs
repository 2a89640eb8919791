//! A value of a vendor's document, with its place and its path there: what readers walk through, and what the model is
//! made of. Nothing is judged here.

use std::borrow::Cow;

use crate::config::load::tree::{Kind, Mark, Node};
use crate::model::path::ConfigPath;

/// A value of the document.
#[derive(Clone, Debug)]
pub struct Value {
    pub node: Node,
    /// Its path in the document.
    pub path: ConfigPath,
    /// Where a reader looks for it: the value, or its key where the value begins on another line.
    pub mark: Mark,
}

/// A value under the name that the document gives it.
#[derive(Clone, Debug)]
pub struct Named<T> {
    pub name: String,
    /// Where the name stands.
    pub mark: Mark,
    pub value: T,
}

impl Value {
    /// The root of a document.
    pub fn root(node: Node) -> Value {
        let mark = node.mark.clone();
        Value {
            node,
            path: ConfigPath::root(),
            mark,
        }
    }

    /// A text that the document does not hold, in place of something at `self`: an ARN made from parts, say.
    pub fn replaced(&self, text: impl Into<String>) -> Value {
        let scalar = crate::config::load::tree::Scalar::written(text, true);
        Value {
            node: Node::new(Kind::Scalar(scalar), self.node.mark.clone()),
            path: self.path.clone(),
            mark: self.mark.clone(),
        }
    }

    /// What stands under `key`, if anything but `null` does.
    pub fn get(&self, key: &str) -> Option<Value> {
        let entry = self.node.entry(key)?;
        if matches!(entry.value.kind, Kind::Null) {
            return None;
        }
        Some(Value {
            node: entry.value.clone(),
            path: self.path.key(key),
            mark: entry.mark().clone(),
        })
    }

    /// What stands under `key` in any case of its letters: `Issuer` for `issuer`.
    pub fn get_in_any_case(&self, key: &str) -> Option<Value> {
        self.get(key).or_else(|| {
            let entries = self.entries();
            let found = entries
                .iter()
                .find(|entry| entry.name.eq_ignore_ascii_case(key))?;
            self.get(&found.name)
        })
    }

    /// The entries of a mapping but for those named.
    pub fn others(&self, known: &[&str]) -> Vec<Named<Value>> {
        let mut entries = self.entries();
        entries.retain(|entry| !known.contains(&entry.name.as_str()));
        entries
    }

    /// The items of a list, or the one text that stands in its place.
    pub fn one_or_many(&self) -> Vec<Value> {
        match self.text() {
            Some(_) => vec![self.clone()],
            None => self.items(),
        }
    }

    /// The entries of a mapping, in the order of writing; none of anything else.
    pub fn entries(&self) -> Vec<Named<Value>> {
        let Kind::Mapping(entries) = &self.node.kind else {
            return Vec::new();
        };
        entries
            .iter()
            .map(|entry| Named {
                name: entry.key.text.clone(),
                mark: entry.key.mark.clone(),
                value: Value {
                    node: entry.value.clone(),
                    path: self.path.key(&entry.key.text),
                    mark: entry.mark().clone(),
                },
            })
            .collect()
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> Vec<Value> {
        let Kind::Sequence(items) = &self.node.kind else {
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| Value {
                node: item.clone(),
                path: self.path.index(index),
                mark: item.mark.clone(),
            })
            .collect()
    }

    /// The items of a list, or the parts of one text between commas: lists that the vendor takes in either form.
    pub fn list_or_commas(&self) -> Vec<Value> {
        match self.text() {
            Some(text) => text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| self.replaced(part))
                .collect(),
            None => self.items(),
        }
    }

    /// The text of a leaf; `None` for a mapping, a list or nothing.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match &self.node.kind {
            Kind::Scalar(scalar) => Some(scalar.text()),
            _ => None,
        }
    }

    /// The text of a leaf in lower case, for words that the vendor takes in any case.
    pub fn word(&self) -> String {
        self.text().unwrap_or_default().trim().to_lowercase()
    }

    /// A whole number, written as a number or as text.
    pub fn number(&self) -> Option<u64> {
        self.text()?.trim().parse().ok()
    }

    /// `true` or `false`, written as such or as text, in any case.
    pub fn flag(&self) -> Option<bool> {
        match self.word().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub fn is_mapping(&self) -> bool {
        matches!(self.node.kind, Kind::Mapping(_))
    }

    pub fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::Sequence(_))
    }
}
