//! `load`: files → tree → substitution → value. Reads files and the environment, never the network; says every problem
//! at once, each with its file, line, column and path.
//!
//! `files` finds and merges, `division` tells the files of several APIs apart, `parse` makes the located `tree` (of a
//! vendor's document `vendor` does, by way of `json` too), `substitute` fills in `${env:…}` and `${file:…}`, `de`
//! reads types from the tree, `read` does so again and again until every `fault` is known, `sources` remembers where
//! everything was written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use self::parse::Tags;
use self::tree::Node;
use super::vendor::{self, Vars};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

mod access;
mod de;
mod division;
mod fault;
mod files;
pub(in crate::config) mod json;
pub(in crate::config) mod parse;
pub(in crate::config) mod quotes;
mod read;
mod sources;
mod substitute;
pub(in crate::config) mod tree;

pub use division::Division;
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

/// What loading several APIs gave.
#[derive(Debug)]
pub struct LoadedApis<T> {
    /// Each API with its own sections and those of the process, in the order in which they are first named; one, where
    /// fewer than two are named, and none where there was no file to read.
    pub apis: Vec<LoadedApi<T>>,
    /// Every problem, located and sorted.
    pub problems: Problems,
    /// The files as they were written, in the order of reading.
    pub texts: Vec<SourceFile>,
}

/// One API as far as it could be read.
#[derive(Debug)]
pub struct LoadedApi<T> {
    /// As [`Loaded::value`].
    pub value: Option<T>,
    /// Where everything in it was written.
    pub sources: Sources,
}

/// Loads a document from files and directories.
pub fn load<T: DeserializeOwned>(paths: &[PathBuf], environment: &dyn Environment) -> Loaded<T> {
    let (texts, problems) = read_texts(paths, environment);
    one(from_texts(texts, environment, None, problems))
}

/// Loads a document from texts that were read before. Relative paths in them begin at the directories of their file
/// names.
pub fn load_texts<T: DeserializeOwned>(
    texts: Vec<SourceFile>,
    environment: &dyn Environment,
) -> Loaded<T> {
    one(from_texts(texts, environment, None, Problems::default()))
}

/// Loads the APIs of a configuration from files and directories.
pub fn load_apis<T: DeserializeOwned>(
    paths: &[PathBuf],
    environment: &dyn Environment,
    division: &Division,
) -> LoadedApis<T> {
    let (texts, problems) = read_texts(paths, environment);
    from_texts(texts, environment, Some(division), problems)
}

/// The same from texts that were read before, such as a deployment's.
pub fn load_apis_from_texts<T: DeserializeOwned>(
    texts: Vec<SourceFile>,
    environment: &dyn Environment,
    division: &Division,
) -> LoadedApis<T> {
    from_texts(texts, environment, Some(division), Problems::default())
}

fn read_texts(paths: &[PathBuf], environment: &dyn Environment) -> (Vec<SourceFile>, Problems) {
    let mut problems = Problems::default();
    let mut found = files(paths, &mut problems);
    // among the texts, so that a configuration's history has them
    found.extend(environment.vars().map(Path::to_owned));
    let mut texts = Vec::new();
    for path in found {
        if let Some(text) = files::text(&path, &mut problems) {
            environment.file_read(&path, text.as_bytes());
            texts.push(SourceFile { path, text });
        }
    }
    (texts, problems)
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

fn one<T>(mut loaded: LoadedApis<T>) -> Loaded<T> {
    let problems = loaded.problems;
    match loaded.apis.pop() {
        Some(LoadedApi { value, sources }) => Loaded {
            value,
            problems,
            sources,
        },
        None => Loaded {
            value: None,
            problems,
            sources: Sources::new(loaded.texts.into(), None),
        },
    }
}

fn from_texts<T: DeserializeOwned>(
    texts: Vec<SourceFile>,
    environment: &dyn Environment,
    division: Option<&Division>,
    mut problems: Problems,
) -> LoadedApis<T> {
    if texts.is_empty() && !problems.has_errors() {
        problems
            .error(&ConfigPath::root(), "no configuration file was named")
            .help("name a file or a directory");
    }
    let mut partial = problems.has_errors();
    let mut trees = Vec::new();
    let vars = vars(&texts, environment, &mut problems);
    for file in &texts {
        if environment.vars() == Some(&file.path) {
            continue;
        }
        let path: Arc<Path> = Arc::from(file.path.as_path());
        match tree(&file.text, &path, &vars, environment, &mut problems) {
            Some(mut tree) => {
                substitute::substitute(&mut tree, environment, &mut problems);
                trees.push(tree);
            }
            None => partial = true,
        }
    }
    let (roots, whole) = division::divide(trees, division, &mut problems);
    partial |= !whole;
    let files: Arc<[SourceFile]> = texts.as_slice().into();
    let mut apis = Vec::new();
    for mut root in roots {
        let value = read::read(&mut root, partial, &mut problems).filter(|_| !partial);
        let sources = Sources::new(files.clone(), Some(root));
        sources.locate(&mut problems);
        apis.push(LoadedApi { value, sources });
    }
    if apis.is_empty() {
        Sources::new(files, None).locate(&mut problems);
    }
    problems.without_repetitions();
    LoadedApis {
        apis,
        problems,
        texts,
    }
}

/// What names in a vendor's document stand for.
fn vars(texts: &[SourceFile], environment: &dyn Environment, problems: &mut Problems) -> Vars {
    let file = texts
        .iter()
        .find(|file| environment.vars() == Some(&file.path));
    match file {
        Some(file) => Vars::read(&file.text, &Arc::from(file.path.as_path()), problems),
        None => Vars::default(),
    }
}

/// The tree of one file's text, whatever kind of file it is.
fn tree(
    text: &str,
    path: &Arc<Path>,
    vars: &Vars,
    environment: &dyn Environment,
    problems: &mut Problems,
) -> Option<Node> {
    match vendor::recognise(text) {
        None => parse::parse(text, path, Tags::Refused, problems),
        Some(document) => vendor::configuration(document, text, path, vars, environment, problems),
    }
}

/// A configuration as it is written, in one tree, nothing substituted; and the name that an api has that does not name
/// itself.
pub(in crate::config) fn written(
    paths: &[PathBuf],
    environment: &dyn Environment,
) -> Result<(Node, String), Problems> {
    let (texts, mut problems) = read_texts(paths, environment);
    let vars = vars(&texts, environment, &mut problems);
    let (mut trees, mut name) = (Vec::new(), None);
    for file in &texts {
        if environment.vars() == Some(&file.path) {
            continue;
        }
        let shared: Arc<Path> = Arc::from(file.path.as_path());
        trees.extend(tree(&file.text, &shared, &vars, environment, &mut problems));
        name = name.or_else(|| Some(file.path.file_stem()?.to_string_lossy().into_owned()));
    }
    let (mut roots, whole) = division::divide(trees, None, &mut problems);
    match roots.pop() {
        Some(root) if whole && !problems.has_errors() => Ok((root, name.unwrap_or_default())),
        _ => Err(problems),
    }
}

#[cfg(test)]
mod tests;
