//! The located tree: a configuration as it was written, every node with its place. What a scalar means is left to
//! the type that is read from it (`de.rs`).

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::model::path::{ConfigPath, Segment};
use crate::model::problem::Place;
use crate::model::text::Piece;

/// A position in a file; line and column count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub file: Arc<Path>,
    pub line: usize,
    pub column: usize,
}

impl Mark {
    /// The position as problems carry it.
    pub fn place(&self) -> Place {
        Place {
            file: self.file.to_path_buf(),
            line: self.line,
            column: self.column,
        }
    }
}

/// One value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub mark: Mark,
    /// Set when the value could not be read and was reported: readers pass over it.
    pub refused: Option<Refusal>,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Nothing, `~` or `null`, without quotes.
    Null,
    Scalar(Scalar),
    Sequence(Vec<Node>),
    /// In the order of writing; keys are unique.
    Mapping(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Key,
    pub value: Node,
}

/// A key of a mapping, as written.
#[derive(Clone, Debug)]
pub struct Key {
    pub text: String,
    pub mark: Mark,
}

/// A leaf, as raw text: the target's type decides what it means. `Debug` shows nothing that came from outside.
#[derive(Clone)]
pub struct Scalar {
    pub pieces: Vec<Piece>,
    /// Written in quotes, as a block scalar or with the tag `!!str`: text, whatever it looks like.
    pub quoted: bool,
    /// Which pieces were substituted.
    pub origins: Vec<Origin>,
    pub reading: Reading,
}

/// Where one piece of a scalar came from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The position among the pieces.
    pub piece: usize,
    /// The `${…}` as it may be shown, without its default.
    pub shown: String,
    /// Whether the piece only stands in for a secret that has not been fetched.
    pub unfetched: bool,
}

/// How a scalar presents itself to a type that takes several forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// A plain scalar that looks like a number or a boolean is one; one that was substituted is text.
    #[default]
    First,
    /// The other way around, because the first was refused.
    Second,
    /// The first again, for its error message, because the second was refused as well.
    Settled,
}

/// Why a node is passed over.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    /// The key that an unknown key was probably meant to be.
    pub meant: Option<String>,
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origins.is_empty() {
            write!(f, "{:?}", self.pieces)
        } else {
            f.write_str(&self.origin())
        }
    }
}

impl Scalar {
    /// A scalar as it stands in a file.
    pub fn written(text: impl Into<String>, quoted: bool) -> Scalar {
        Scalar {
            pieces: vec![Piece::Written(text.into())],
            quoted,
            origins: Vec::new(),
            reading: Reading::First,
        }
    }

    /// Its text, pieces joined. May hold secrets.
    pub fn text(&self) -> Cow<'_, str> {
        match self.pieces.as_slice() {
            [Piece::Written(text) | Piece::Literal(text)] => Cow::Borrowed(text),
            pieces => pieces
                .iter()
                .map(|(Piece::Written(text) | Piece::Literal(text))| text.as_str())
                .collect::<String>()
                .into(),
        }
    }

    /// What was substituted in it, for a message: `a value from ${env:PORT}`.
    pub fn origin(&self) -> String {
        let shown: Vec<&str> = self.origins.iter().map(|o| o.shown.as_str()).collect();
        format!("a value from {}", shown.join(" and "))
    }

    /// Its text with the names of what was substituted in place of the values.
    pub fn masked(&self) -> Scalar {
        let mut pieces = self.pieces.clone();
        for origin in &self.origins {
            if let Some(piece) = pieces.get_mut(origin.piece) {
                *piece = Piece::Literal(origin.shown.clone());
            }
        }
        Scalar {
            pieces,
            ..self.clone()
        }
    }

    /// The texts that must not be shown.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.origins
            .iter()
            .filter_map(|origin| match self.pieces.get(origin.piece)? {
                Piece::Written(text) | Piece::Literal(text) => Some(text.as_str()),
            })
    }

    /// Whether all of it came from outside: quotes are then only the syntax around `${…}`, and its text may be a
    /// number.
    pub fn wholly_substituted(&self) -> bool {
        matches!(self.pieces.as_slice(), [Piece::Literal(_)]) && !self.origins.is_empty()
    }

    /// Whether it may be read as a number or a boolean, too.
    pub fn may_be_plain(&self) -> bool {
        !self.quoted || self.wholly_substituted()
    }
}

impl Entry {
    /// Where a reader looks for this entry: its value, or its key if the value begins on another line.
    pub fn mark(&self) -> &Mark {
        let beside = self.value.mark.line == self.key.mark.line
            && self.value.mark.file == self.key.mark.file
            && !matches!(self.value.kind, Kind::Null);
        if beside {
            &self.value.mark
        } else {
            &self.key.mark
        }
    }
}

impl Node {
    pub fn new(kind: Kind, mark: Mark) -> Node {
        Node {
            kind,
            mark,
            refused: None,
        }
    }

    /// The entry of a mapping under `key`.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Mapping(entries) => entries.iter().find(|entry| entry.key.text == key),
            _ => None,
        }
    }

    /// The node at `path`, if there is one.
    pub fn at(&self, path: &ConfigPath) -> Option<&Node> {
        path.0
            .iter()
            .try_fold(self, |node, segment| match (&node.kind, segment) {
                (Kind::Mapping(_), Segment::Key(key)) => node.entry(key).map(|entry| &entry.value),
                (Kind::Sequence(items), Segment::Index(index)) => items.get(*index),
                _ => None,
            })
    }

    /// The node at `path`, to change it.
    pub fn at_mut(&mut self, path: &ConfigPath) -> Option<&mut Node> {
        path.0
            .iter()
            .try_fold(self, |node, segment| match (&mut node.kind, segment) {
                (Kind::Mapping(entries), Segment::Key(key)) => entries
                    .iter_mut()
                    .find(|entry| entry.key.text == *key)
                    .map(|entry| &mut entry.value),
                (Kind::Sequence(items), Segment::Index(index)) => items.get_mut(*index),
                _ => None,
            })
    }

    /// The place of the longest part of `path` that exists: where a reader should look.
    pub fn nearest_mark(&self, path: &ConfigPath) -> &Mark {
        let (mut node, mut mark) = (self, &self.mark);
        for segment in &path.0 {
            (node, mark) = match (&node.kind, segment) {
                (Kind::Mapping(_), Segment::Key(key)) => match node.entry(key) {
                    Some(entry) => (&entry.value, entry.mark()),
                    None => return mark,
                },
                (Kind::Sequence(items), Segment::Index(index)) => match items.get(*index) {
                    Some(item) => (item, &item.mark),
                    None => return mark,
                },
                _ => return mark,
            };
        }
        mark
    }

    /// The nodes right below this one.
    pub fn children(&self) -> Box<dyn Iterator<Item = &Node> + '_> {
        match &self.kind {
            Kind::Null | Kind::Scalar(_) => Box::new(std::iter::empty()),
            Kind::Sequence(items) => Box::new(items.iter()),
            Kind::Mapping(entries) => Box::new(entries.iter().map(|entry| &entry.value)),
        }
    }

    /// The nodes right below this one, to change them.
    pub fn children_mut(&mut self) -> Box<dyn Iterator<Item = &mut Node> + '_> {
        match &mut self.kind {
            Kind::Null | Kind::Scalar(_) => Box::new(std::iter::empty()),
            Kind::Sequence(items) => Box::new(items.iter_mut()),
            Kind::Mapping(entries) => Box::new(entries.iter_mut().map(|entry| &mut entry.value)),
        }
    }

    /// Whether this node or one below it was refused.
    pub fn has_refusal(&self) -> bool {
        self.refused.is_some() || self.children().any(Node::has_refusal)
    }

    /// Whether a value here or below is a stand-in for a secret that has not been fetched.
    pub fn has_unfetched(&self) -> bool {
        let here = match &self.kind {
            Kind::Scalar(scalar) => scalar.origins.iter().any(|origin| origin.unfetched),
            _ => false,
        };
        here || self.children().any(Node::has_unfetched)
    }

    /// The number of nodes from here down, this one included.
    pub fn size(&self) -> usize {
        1 + self.children().map(Node::size).sum::<usize>()
    }

    /// The number of levels from here down, this one included.
    pub fn height(&self) -> usize {
        1 + self.children().map(Node::height).max().unwrap_or(0)
    }

    /// Removes the text of every scalar and keeps the places: what is left holds no secret.
    pub fn forget_texts(&mut self) {
        if let Kind::Scalar(scalar) = &mut self.kind {
            scalar.pieces.clear();
        }
        self.children_mut().for_each(Node::forget_texts);
    }
}
