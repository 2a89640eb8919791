//! Where everything in a loaded configuration was written.

use std::path::{Path, PathBuf};

use super::tree::{Mark, Node};
use crate::model::path::ConfigPath;
use crate::model::problem::{Place, Problems};

/// One file as it was read, before substitution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

/// The files of a configuration and the places of its values. Holds no substituted text.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
    /// The merged tree, its texts forgotten.
    root: Option<Node>,
}

impl Sources {
    pub(super) fn new(files: Vec<SourceFile>, mut root: Option<Node>) -> Sources {
        if let Some(root) = &mut root {
            root.forget_texts();
        }
        Sources { files, root }
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
