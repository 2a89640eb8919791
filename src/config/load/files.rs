//! Paths from the command line → files → one tree: directories are expanded, texts are read, files that belong together
//! merge.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::tree::{Entry, Kind, Mark, Node};
use crate::model::path::ConfigPath;
use crate::model::problem::{Place, Problems, nearest};

/// The most bytes that one configuration file may hold.
pub const MAX_FILE: u64 = 16 << 20;

/// The endings of files that a directory is searched for.
const ENDINGS: [&str; 2] = ["yaml", "yml"];

/// The files that `paths` mean, each once: a file is itself; a directory is every `*.yaml` and `*.yml` right in it,
/// sorted by name, hidden ones left out. JSON files are configuration only when they are named: a schema or data may
/// well lie beside the YAML.
pub fn files(paths: &[PathBuf], problems: &mut Problems) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for path in paths {
        let listed = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => match in_directory(path) {
                Ok(listed) if listed.is_empty() => {
                    at_file(problems, path, "this directory holds no configuration file")
                        .help("of a directory the files that end in .yaml or .yml are read; a JSON file is named itself");
                    continue;
                }
                Ok(listed) => listed,
                Err(error) => {
                    at_file(
                        problems,
                        path,
                        format!("cannot list this directory: {error}"),
                    );
                    continue;
                }
            },
            // what is wrong with a file is said when it is read
            _ => vec![path.clone()],
        };
        for file in listed {
            let identity = fs::canonicalize(&file).unwrap_or_else(|_| file.clone());
            if !seen.contains(&identity) {
                seen.push(identity);
                found.push(file);
            }
        }
    }
    found
}

fn in_directory(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut listed = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if !name.starts_with('.') && ENDINGS.contains(&ending.as_ref()) && path.is_file() {
            listed.push(path);
        }
    }
    listed.sort();
    Ok(listed)
}

/// Notes what is wrong with a file as a whole.
fn at_file<'a>(
    problems: &'a mut Problems,
    file: &Path,
    message: impl Into<String>,
) -> &'a mut crate::model::problem::Problem {
    problems.error(&ConfigPath::root(), message).at(Place {
        file: file.to_owned(),
        line: 1,
        column: 1,
    })
}

/// What to say of a file that is not there, and the nearest name that is.
pub fn no_such_file(path: &Path) -> (String, Option<String>) {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let message = format!("{} does not exist", path.display());
    let Ok(entries) = fs::read_dir(directory) else {
        let help = format!("there is no directory {}", directory.display());
        return (message, Some(help));
    };
    let names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    let help = nearest(&wanted, names.iter().map(String::as_str))
        .map(|name| format!("did you mean {}?", path.with_file_name(name).display()));
    (message, help)
}

/// The text of one configuration file, without a byte order mark.
pub fn text(path: &Path, problems: &mut Problems) -> Option<String> {
    let mut bytes = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (message, help) = no_such_file(path);
            let problem = at_file(problems, path, message);
            if let Some(help) = help {
                problem.help(help);
            }
            return None;
        }
        Err(error) => {
            at_file(problems, path, format!("cannot read this file: {error}"));
            return None;
        }
        Ok(_) if bytes.len() as u64 > MAX_FILE => {
            at_file(
                problems,
                path,
                format!("larger than {} MiB", MAX_FILE >> 20),
            );
            return None;
        }
        Ok(_) => {}
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        at_file(problems, path, "this file is UTF-16").help("save it as UTF-8");
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
            let line = before.matches('\n').count() + 1;
            let column = before
                .rsplit('\n')
                .next()
                .unwrap_or_default()
                .chars()
                .count()
                + 1;
            let byte = error.as_bytes()[good];
            let message = format!("this file is not UTF-8: byte 0x{byte:02x}");
            at_file(problems, path, message)
                .help("save it as UTF-8")
                .at(Place {
                    file: path.to_owned(),
                    line,
                    column,
                });
            None
        }
    }
}

/// Joins the trees of several files: sections that are maps join, anything else may stand in one file only. `None`
/// when there is no tree.
pub(super) fn merge(trees: Vec<Node>, problems: &mut Problems) -> Option<Node> {
    let mut trees = trees.into_iter();
    let mut root = trees.next()?;
    for tree in trees {
        join(&mut root, tree, problems);
    }
    Some(root)
}

pub(super) fn join(root: &mut Node, other: Node, problems: &mut Problems) {
    let (Kind::Mapping(sections), Kind::Mapping(others)) = (&mut root.kind, other.kind) else {
        return;
    };
    for section in others {
        let path = ConfigPath::root().key(&section.key.text);
        let known = sections
            .iter_mut()
            .find(|known| known.key.text == section.key.text);
        let Some(known) = known else {
            sections.push(section);
            continue;
        };
        match (&mut known.value.kind, section.value.kind) {
            (Kind::Mapping(entries), Kind::Mapping(more)) => {
                for entry in more {
                    let first = entries
                        .iter()
                        .find(|known| known.key.text == entry.key.text);
                    match first.map(|first| first.key.mark.clone()) {
                        Some(first) => twice(&path, &entry, &first, problems),
                        None => entries.push(entry),
                    }
                }
            }
            (Kind::Scalar(_), Kind::Scalar(_)) if known.key.text == "api" => {}
            (_, kind) => {
                let first = known.key.mark.clone();
                let value = Node::new(kind, section.value.mark);
                let key = section.key;
                twice(&ConfigPath::root(), &Entry { key, value }, &first, problems);
            }
        }
    }
}

fn twice(path: &ConfigPath, entry: &Entry, first: &Mark, problems: &mut Problems) {
    let message = format!("this key is written twice, first at {}", first.place());
    problems
        .error(&path.key(&entry.key.text), message)
        .help("keep one of the two")
        .at(entry.key.mark.place());
}
