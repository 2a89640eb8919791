//! Pieces of a located tree, made rather than read.

use crate::config::load::tree::{Entry, Key, Kind, Mark, Node, Scalar};
use crate::model::path::ConfigPath;

/// A mapping under construction.
#[derive(Debug)]
pub struct Mapping {
    mark: Mark,
    entries: Vec<Entry>,
}

impl Mapping {
    pub fn new(mark: &Mark) -> Mapping {
        Mapping {
            mark: mark.clone(),
            entries: Vec::new(),
        }
    }

    /// Adds an entry, or puts it in the place of the one of that name. `at`: where the document says so.
    pub fn put(&mut self, key: impl Into<String>, at: &Mark, value: Node) {
        let text = key.into();
        let mark = at.clone();
        match self.entries.iter_mut().find(|known| known.key.text == text) {
            Some(known) => known.value = value,
            None => self.entries.push(Entry {
                key: Key { text, mark },
                value,
            }),
        }
    }

    /// Adds an entry where there is something to add.
    pub fn put_some(&mut self, key: impl Into<String>, at: &Mark, value: Option<Node>) {
        if let Some(value) = value {
            self.put(key, at, value);
        }
    }

    /// Adds a mapping where it holds something.
    pub fn put_mapping(&mut self, key: impl Into<String>, mapping: Mapping) {
        if !mapping.entries.is_empty() {
            let at = mapping.mark.clone();
            self.put(key, &at, mapping.node());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn contains(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key.text == key)
    }

    pub fn node(self) -> Node {
        Node::new(Kind::Mapping(self.entries), self.mark)
    }

    /// The mapping in the order of its keys' letters.
    pub fn sorted(mut self) -> Node {
        self.entries.sort_by(|a, b| a.key.text.cmp(&b.key.text));
        self.node()
    }
}

/// A text, whatever it looks like.
pub fn text(text: impl Into<String>, at: &Mark) -> Node {
    Node::new(Kind::Scalar(Scalar::written(text, true)), at.clone())
}

/// A number or a boolean.
pub fn plain(text: impl Into<String>, at: &Mark) -> Node {
    Node::new(Kind::Scalar(Scalar::written(text, false)), at.clone())
}

pub fn list(items: Vec<Node>, at: &Mark) -> Node {
    Node::new(Kind::Sequence(items), at.clone())
}

/// Lays `over` on `under`: mappings join, key by key; of anything else `over` counts.
pub fn lay(under: &mut Node, over: &Node) {
    let (Kind::Mapping(entries), Kind::Mapping(more)) = (&mut under.kind, &over.kind) else {
        *under = over.clone();
        return;
    };
    for entry in more {
        match entries
            .iter_mut()
            .find(|known| known.key.text == entry.key.text)
        {
            Some(known) => lay(&mut known.value, &entry.value),
            None => entries.push(entry.clone()),
        }
    }
}

/// What people read above a part of the configuration, by the part's path.
#[derive(Clone, Debug, Default)]
pub struct Comments(Vec<(ConfigPath, String)>);

impl Comments {
    pub fn add(&mut self, path: &ConfigPath, text: impl Into<String>) {
        self.0.push((path.clone(), text.into()));
    }

    /// The comments on `path`, in the order of their making.
    pub fn on<'a>(&'a self, path: &'a ConfigPath) -> impl Iterator<Item = &'a str> + 'a {
        self.0
            .iter()
            .filter(move |(on, _)| on == path)
            .map(|(_, text)| text.as_str())
    }
}
