//! Where everything in a loaded configuration was written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree::{Kind, Mark, Node};
use crate::model::path::ConfigPath;
use crate::model::problem::{Place, Problems};
use crate::model::secret::Secret;

/// Shorter texts from outside are no secrets, and stand in every other message by chance.
const SHORTEST_CONCEALED: usize = 4;

/// One file as it was read, before substitution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

/// The files of a configuration and the places of its values. What was substituted is kept only to be struck out of
/// problems, is never shown, and goes when this goes.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Arc<[SourceFile]>,
    /// The merged tree, its texts forgotten.
    root: Option<Node>,
    /// What came from outside, in the forms in which a message may show it, longest first.
    outside: Vec<Secret<String>>,
}

impl Sources {
    pub(super) fn new(files: Arc<[SourceFile]>, mut root: Option<Node>) -> Sources {
        let mut outside = Vec::new();
        if let Some(root) = &mut root {
            collect_outside(root, &mut outside);
            root.forget_texts();
        }
        outside.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        outside.dedup();
        Sources {
            files,
            root,
            outside: outside.into_iter().map(Secret::new).collect(),
        }
    }

    /// Strikes out of messages and help what `${env:…}` and `${file:…}` brought in, in any case of its letters: for
    /// problems that were found after loading, where values no longer know that they came from outside.
    pub fn conceal(&self, problems: &mut Problems) {
        for problem in &mut problems.0 {
            for secret in &self.outside {
                strike(&mut problem.message, secret.expose());
                if let Some(help) = &mut problem.help {
                    strike(help, secret.expose());
                }
            }
        }
    }

    fn mark(&self, path: &ConfigPath) -> Option<&Mark> {
        Some(self.root.as_ref()?.nearest_mark(path))
    }

    /// Where `path` was written: the value, or its key if the value begins on another line; for what was not written,
    /// the nearest part above it that was. `None` when no file could be read.
    pub fn place(&self, path: &ConfigPath) -> Option<Place> {
        Some(self.mark(path)?.place())
    }

    /// The directory at which relative paths in the value at `path` begin: that of the file it was written in.
    pub fn directory(&self, path: &ConfigPath) -> PathBuf {
        let file = self.mark(path).map(|mark| mark.file.to_path_buf());
        let first = || self.files.first().map(|file| file.path.clone());
        match file.or_else(first).as_deref().and_then(Path::parent) {
            Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Whether the value at `path`, or one above it, was written and could not be used. It has been reported: what is
    /// missing only because of it is no problem of its own.
    pub fn refused(&self, path: &ConfigPath) -> bool {
        let Some(root) = &self.root else {
            return true;
        };
        let above = (0..=path.0.len()).map(|end| ConfigPath(path.0[..end].to_vec()));
        above
            .map_while(|path| root.at(&path))
            .any(|node| node.refused.is_some())
    }

    /// Whether the value at `path`, or one below it, is a stand-in for a secret that has not been fetched: what is wrong
    /// with it is no problem of the configuration's.
    pub fn unfetched(&self, path: &ConfigPath) -> bool {
        let node = self.root.as_ref().and_then(|root| root.at(path));
        node.is_some_and(Node::has_unfetched)
    }

    /// Whether something at or below the key `key` of the root was refused, or a refused key was meant to be it.
    pub fn refused_within(&self, key: &str) -> bool {
        let Some(root) = &self.root else {
            return true;
        };
        let Kind::Mapping(entries) = &root.kind else {
            return root.has_refusal();
        };
        entries.iter().any(|entry| {
            let meant = entry
                .value
                .refused
                .as_ref()
                .and_then(|r| r.meant.as_deref());
            meant == Some(key) || (entry.key.text == key && entry.value.has_refusal())
        })
    }

    /// Gives each problem that has only a path its place, and sorts all by file, line and column.
    pub fn locate(&self, problems: &mut Problems) {
        for problem in &mut problems.0 {
            if problem.place.is_none() {
                problem.place = self.place(&problem.path);
            }
        }
        problems.0.sort_by_cached_key(|problem| {
            problem.place.as_ref().map(|place| {
                let file = self.files.iter().position(|file| file.path == place.file);
                let order = file.unwrap_or(usize::MAX);
                (order, place.file.clone(), place.line, place.column)
            })
        });
    }

    /// The files as they were written, before anything was substituted, in the order of reading.
    pub fn texts(&self) -> &[SourceFile] {
        &self.files
    }

    /// The name an api has that does not name itself: its first file's, without the ending.
    pub fn default_api(&self) -> String {
        self.files
            .first()
            .and_then(|file| file.path.file_stem())
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

/// Every substituted text below `node`: as it is, without the spaces around it, and as `{:?}` shows it.
fn collect_outside(node: &Node, found: &mut Vec<String>) {
    if let Kind::Scalar(scalar) = &node.kind {
        for text in scalar.secrets() {
            let quoted = format!("{text:?}");
            let escaped = quoted[1..quoted.len() - 1].to_owned();
            let forms = [text.to_owned(), text.trim().to_owned(), escaped];
            found.extend(
                forms
                    .into_iter()
                    .filter(|form| form.chars().count() >= SHORTEST_CONCEALED),
            );
        }
    }
    for child in node.children() {
        collect_outside(child, found);
    }
}

/// Replaces every occurrence of `secret` in `text`, ASCII letters in any case.
fn strike(text: &mut String, secret: &str) {
    // lowercasing ASCII letters moves no byte
    let (whole, wanted) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let mut found = whole.match_indices(&wanted).peekable();
    if found.peek().is_none() {
        return;
    }
    let mut struck = String::with_capacity(text.len());
    let mut rest = 0;
    for (at, _) in found {
        struck.push_str(&text[rest..at]);
        struck.push('…');
        rest = at + wanted.len();
    }
    struck.push_str(&text[rest..]);
    *text = struck;
}
