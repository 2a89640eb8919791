//! Files of API keys, read after the route files and before anything is compiled: YAML, or the CSV that the vendor's
//! import takes. A million keys are read in seconds: what a line says is hashed or parsed at once, and little is kept.

mod csv;
mod lines;
mod list;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Config;
use super::keys::{KeyFile, KeysFile};
use super::load::{Environment, load, no_such_file};
use crate::authn::api_key::KeyHash;
use crate::model::path::ConfigPath;
use crate::model::problem::{Place, Problems};

pub use lines::{has_one_key_a_line, line_of};
pub use list::{FileKey, FileKeys};

use lines::Lines;

/// The largest file: some eight million keys.
const MAX_FILE: u64 = 1 << 30;
/// The largest file that is read as YAML of any form. Larger ones have one key a line.
const MAX_ANY_FORM: usize = 16 << 20;
/// The most problems that one file reports.
const MAX_PROBLEMS: usize = 20;

/// Reads the files of keys. `directory`: where relative paths under a configuration path begin. What could not be read
/// stays the name of a file.
pub fn read(
    config: &mut Config,
    directory: &dyn Fn(&ConfigPath) -> PathBuf,
    environment: &dyn Environment,
    problems: &mut Problems,
) {
    for (index, file) in config.api_key_files.iter_mut().enumerate() {
        let KeyFile::Named(name) = file else {
            continue;
        };
        let at = ConfigPath::root().key("api_key_files").index(index);
        if name.as_os_str().is_empty() {
            problems
                .error(&at, "the name of the file is empty")
                .help("write the name of a file that holds keys, such as keys.yaml");
            continue;
        }
        let path = directory(&at).join(&*name);
        let mut found = Problems::default();
        if let Some(keys) = read_file(&path, &at, environment, &mut found) {
            *file = KeyFile::Read(Arc::new(keys));
        }
        problems.0.extend(found.0);
    }
}

/// Reads one file of keys; `at` is what is said to be wrong where the file as a whole is.
pub fn read_file(
    path: &Path,
    at: &ConfigPath,
    environment: &dyn Environment,
    problems: &mut Problems,
) -> Option<FileKeys> {
    let text = match text(path) {
        Ok(text) => text,
        Err((refusal, help)) => {
            let problem = problems.error(at, refusal);
            if let Some(help) = help {
                problem.help(help);
            }
            return None;
        }
    };
    environment.file_read(path, text.as_bytes());
    let is_csv = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let before = problems.errors();
    let keys = if is_csv {
        csv::read(path, &text, at, problems)
    } else {
        match lines::read(path, &text) {
            Lines::Keys(keys) => Some(keys),
            Lines::OtherForm(_) if text.len() <= MAX_ANY_FORM => {
                any_form(path, at, environment, problems)
            }
            Lines::OtherForm(line) => {
                problems
                    .error(
                        at,
                        format!(
                            "a file of more than {} MiB has one key a line, and this line is none",
                            MAX_ANY_FORM >> 20
                        ),
                    )
                    .help("write `  NAME: { hash: \"sha256:…\", plan: PLAN }`, as `penstock keys import` does")
                    .at(Place {
                        file: path.to_owned(),
                        line,
                        column: 1,
                    });
                None
            }
        }
    };
    keys.filter(|_| problems.errors() == before)
}

/// The text of a file; zeroed when it goes, for it may hold keys.
fn text(path: &Path) -> Result<Zeroizing<String>, (String, Option<String>)> {
    if path.is_dir() {
        let help = "write a file that holds keys".to_owned();
        return Err((format!("{} is a directory", path.display()), Some(help)));
    }
    let cannot = |error: &dyn std::fmt::Display| {
        let said = format!("{} cannot be read: {error}", path.display());
        (said, None)
    };
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => no_such_file(path),
        _ => cannot(&error),
    })?;
    let length = file.metadata().map_or(0, |file| file.len());
    if length > MAX_FILE {
        return Err(cannot(&format_args!(
            "it is larger than {} MiB",
            MAX_FILE >> 20
        )));
    }
    // With room for all of it from the start, no half of it stays behind in memory.
    let room = usize::try_from(length).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(|error| cannot(&error))?;
    let bytes = std::mem::take(&mut *bytes);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let bytes = Zeroizing::new(error.into_bytes());
            let line = bytes[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
            let help = "save it as UTF-8".to_owned();
            Err((
                format!("{} is not UTF-8 (line {line})", path.display()),
                Some(help),
            ))
        }
    }
}

/// YAML of any form, by the rules of route files.
fn any_form(
    path: &Path,
    at: &ConfigPath,
    environment: &dyn Environment,
    problems: &mut Problems,
) -> Option<FileKeys> {
    let loaded = load::<KeysFile>(&[path.to_owned()], environment);
    // Their places are in the file; those that have none belong to the key that named it.
    for mut problem in loaded.problems.0 {
        if problem.place.is_none() {
            problem.path = at.clone();
        }
        problems.0.push(problem);
    }
    let mut keys = FileKeys::new(path);
    for (id, key) in &loaded.value?.api_keys {
        let at = ConfigPath::root().key("api_keys").key(id);
        let hash: KeyHash = match key.hash.parse() {
            Ok(hash) => hash,
            Err(help) => {
                let at = at.key("hash");
                let problem = problems.error(&at, "the hash of the key cannot be read");
                problem.help(help);
                problem.place = loaded.sources.place(&at);
                continue;
            }
        };
        let place = loaded.sources.place(&at);
        let (line, column) = place.map_or((1, 1), |place| (place.line, place.column));
        keys.push(
            FileKey {
                id,
                hash,
                plan: key.plan.as_deref(),
                enabled: key.enabled,
                description: key.description.as_deref(),
            },
            line,
            column,
        );
    }
    Some(keys)
}

#[cfg(test)]
mod tests;
