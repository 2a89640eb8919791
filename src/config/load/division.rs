//! Several files, several APIs: which trees make up which API. Sections of one API stand in its own files; what is the
//! process's may stand in any of them, once, and every API sees it.

use super::files::{join, merge};
use super::tree::{Entry, Kind, Mark, Node};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// Which parts of a file belong to one API. All others are the process's.
pub struct Division {
    /// Whole sections.
    pub sections: &'static [&'static str],
    /// Keys within sections that are the process's otherwise.
    pub keys: &'static [(&'static str, &'static [&'static str])],
}

impl Division {
    fn has_whole(&self, section: &str) -> bool {
        self.sections.contains(&section)
    }

    fn keys_of(&self, section: &str) -> &'static [&'static str] {
        let known = self.keys.iter().find(|(name, _)| *name == section);
        known.map_or(&[], |(_, keys)| keys)
    }
}

/// One tree for each API, in the order in which they are first named; and `false` if something had to be left out.
/// Without a `division` all files are of one.
pub(super) fn divide(
    trees: Vec<Node>,
    division: Option<&Division>,
    problems: &mut Problems,
) -> (Vec<Node>, bool) {
    let names = named(&trees);
    if let [] | [_] = names.as_slice() {
        return (merge(trees, problems).into_iter().collect(), true);
    }
    let Some(division) = division else {
        let whole = only_one(&names, problems);
        return (merge(trees, problems).into_iter().collect(), whole);
    };
    let mut whole = true;
    let mut own: Vec<Vec<Node>> = names.iter().map(|_| Vec::new()).collect();
    let mut general = Vec::new();
    for tree in trees {
        let mark = tree.mark.clone();
        let name = name_of(&tree).map(|(name, _)| name);
        let (of_api, of_process) = split(tree, division);
        if !of_process.is_empty() {
            general.push(Node::new(Kind::Mapping(of_process), mark.clone()));
        }
        let at = name.and_then(|name| names.iter().position(|(known, _)| *known == name));
        match (at, of_api.first()) {
            (Some(at), _) => own[at].push(Node::new(Kind::Mapping(of_api), mark)),
            (None, Some(section)) => {
                nobodys(section, &names, problems);
                whole = false;
            }
            (None, None) => {}
        }
    }
    let general = merge(general, problems);
    let apis = own.into_iter().filter_map(|trees| {
        let mut root = merge(trees, problems)?;
        if let Some(general) = &general {
            join(&mut root, general.clone(), problems);
        }
        Some(root)
    });
    (apis.collect(), whole)
}

/// The APIs that are named, each with where it is named first.
fn named(trees: &[Node]) -> Vec<(String, Mark)> {
    let mut names: Vec<(String, Mark)> = Vec::new();
    for (name, mark) in trees.iter().filter_map(name_of) {
        if names.iter().all(|(known, _)| *known != name) {
            names.push((name, mark));
        }
    }
    names
}

/// A name in a wrong form is reported when it is read.
fn name_of(tree: &Node) -> Option<(String, Mark)> {
    let entry = tree.entry("api")?;
    match &entry.value.kind {
        Kind::Scalar(name) => Some((name.text().into_owned(), entry.mark().clone())),
        _ => None,
    }
}

/// The sections of the API, and those of the process. A file that is no mapping has none; parsing has refused it.
fn split(tree: Node, division: &Division) -> (Vec<Entry>, Vec<Entry>) {
    let Kind::Mapping(sections) = tree.kind else {
        return Default::default();
    };
    let (mut of_api, mut of_process) = (Vec::new(), Vec::new());
    for section in sections {
        let keys = division.keys_of(&section.key.text);
        match section.value.kind {
            _ if division.has_whole(&section.key.text) => of_api.push(section),
            Kind::Mapping(entries) if !keys.is_empty() => {
                let (own, others): (Vec<_>, Vec<_>) = entries
                    .into_iter()
                    .partition(|entry| keys.contains(&entry.key.text.as_str()));
                for (part, to) in [(own, &mut of_api), (others, &mut of_process)] {
                    if !part.is_empty() {
                        let value = Node::new(Kind::Mapping(part), section.value.mark.clone());
                        let key = section.key.clone();
                        to.push(Entry { key, value });
                    }
                }
            }
            _ => of_process.push(section),
        }
    }
    (of_api, of_process)
}

fn nobodys(section: &Entry, names: &[(String, Mark)], problems: &mut Problems) {
    let known: Vec<String> = names.iter().map(|(name, _)| format!("`{name}`")).collect();
    let name = &section.key.text;
    problems
        .error(
            &ConfigPath::root().key(name),
            format!(
                "several APIs are configured, and this file does not say whose `{name}` this is"
            ),
        )
        .help(format!(
            "write `api: …` in this file, such as one of {}",
            known.join(", ")
        ))
        .at(section.key.mark.place());
}

/// Says of every name but the first that it cannot stand.
fn only_one(names: &[(String, Mark)], problems: &mut Problems) -> bool {
    let Some(((_, first), others)) = names.split_first() else {
        return true;
    };
    for (_, mark) in others {
        let message = format!("another name than the one at {}", first.place());
        let at = ConfigPath::root().key("api");
        problems
            .error(&at, message)
            .help("these files are read as one")
            .at(mark.place());
    }
    others.is_empty()
}
