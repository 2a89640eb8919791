//! `load`: files → tree → substitution → value. Reads files and the environment, never the network; says every problem
//! at once, each with its file, line, column and path.
//!
//! `files` finds and merges, `parse` makes the located `tree` (of a vendor's document `vendor` does, by way of `json` too), `substitute` fills in `${env:…}` and `${file:…}`, `de`
//! reads types from the tree, `read` does so again and again until every `fault` is known, `sources` remembers where
//! everything was written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use self::parse::Tags;
use super::vendor;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

mod access;
mod de;
mod fault;
mod files;
pub(in crate::config) mod json;
pub(in crate::config) mod parse;
mod read;
mod sources;
mod substitute;
pub(in crate::config) mod tree;

pub use files::{files, no_such_file};
pub use sources::{SourceFile, Sources};
pub use substitute::{Environment, ProcessEnvironment, SecretKeeper, SecretName};

/// What loading gave.
#[derive(Debug)]
pub struct Loaded<T> {
    /// What could be read. Beside errors it may lack the parts that were refused; it is `None` when a whole file or a
    /// required part of the root is missing, so that checks across values would only find echoes.
    pub value: Option<T>,
    /// Every problem, located and sorted.
    pub problems: Problems,
    pub sources: Sources,
}

/// Loads a configuration from files and directories.
pub fn load<T: DeserializeOwned>(paths: &[PathBuf], environment: &dyn Environment) -> Loaded<T> {
    let mut problems = Problems::default();
    let found = files(paths, &mut problems);
    let mut texts = Vec::new();
    for path in found {
        if let Some(text) = files::text(&path, &mut problems) {
            environment.file_read(&path, text.as_bytes());
            texts.push(SourceFile { path, text });
        }
    }
    from_texts(texts, environment, problems)
}

/// Reads one file as it is; what is wrong with it as a file is in the error.
pub fn read_file(path: &Path) -> Result<SourceFile, Problems> {
    let mut problems = Problems::default();
    match files::text(path, &mut problems) {
        Some(text) => Ok(SourceFile {
            path: path.to_owned(),
            text,
        }),
        None => Err(problems),
    }
}

/// Loads a configuration from texts that were read before, such as a deployment's. Relative paths in them begin at
/// the directories of their file names.
pub fn load_texts<T: DeserializeOwned>(
    texts: Vec<SourceFile>,
    environment: &dyn Environment,
) -> Loaded<T> {
    from_texts(texts, environment, Problems::default())
}

fn from_texts<T: DeserializeOwned>(
    texts: Vec<SourceFile>,
    environment: &dyn Environment,
    mut problems: Problems,
) -> Loaded<T> {
    if texts.is_empty() && !problems.has_errors() {
        problems
            .error(&ConfigPath::root(), "no configuration file was named")
            .help("name a file or a directory");
    }
    let mut partial = problems.has_errors();
    let mut trees = Vec::new();
    for file in &texts {
        let path: Arc<Path> = Arc::from(file.path.as_path());
        let tree = match vendor::recognise(&file.text) {
            None => parse::parse(&file.text, &path, Tags::Refused, &mut problems),
            Some(document) => vendor::configuration(document, &file.text, &path, &mut problems),
        };
        match tree {
            Some(mut tree) => {
                substitute::substitute(&mut tree, environment, &mut problems);
                trees.push(tree);
            }
            None => partial = true,
        }
    }
    let (mut root, whole) = files::merge(trees, &mut problems);
    partial |= !whole;
    let value = root
        .as_mut()
        .and_then(|root| read::read(root, partial, &mut problems))
        .filter(|_| !partial);
    let sources = Sources::new(texts, root);
    sources.locate(&mut problems);
    Loaded {
        value,
        problems,
        sources,
    }
}

#[cfg(test)]
mod tests;
