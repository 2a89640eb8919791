//! `${env:NAME}`, `${env:NAME:-default}`, `${file:path}` and AWS's secrets in the values of a tree. What comes from outside becomes a
//! literal piece, never parsed again; it never appears in a problem's message. `$${` is a literal `${`. Any other
//! `${…}` stays as written: it is a mapping source, judged by the type that reads it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::Path;

use super::files::no_such_file;
use super::tree::{Kind, Mark, Node, Origin, Refusal, Scalar};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::text::Piece;

/// The most bytes that `${file:…}` reads: secrets and certificates are far smaller.
pub const MAX_FILE: u64 = 1 << 20;

/// What values may be taken from, beside files. The process's own surroundings, or a test's.
pub trait Environment {
    /// The variable's value; `None` when it is not set.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// A secret that AWS keeps; `None` while it has not been fetched. Then a stand-in takes its place, and what is
    /// wrong with the value is no problem of the configuration's.
    fn secret(&self, _name: &SecretName) -> Option<String> {
        None
    }

    /// Whether a stand-in took the place of a secret: what was made of it must not serve.
    fn has_stood_in(&self) -> bool {
        false
    }

    /// The file that says what names in a vendor's document stand for; none by default.
    fn vars(&self) -> Option<&Path> {
        None
    }

    /// A file was read, and held this. Whoever keeps the configuration up to date looks whether it still does.
    fn file_read(&self, _path: &Path, _content: &[u8]) {}
}

/// Where AWS keeps a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretKeeper {
    SecretsManager,
    ParameterStore,
}

/// A secret that AWS keeps, as written: `${aws-secretsmanager:NAME#key}`, `${aws-ssm:NAME}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretName {
    pub keeper: SecretKeeper,
    /// A name or an ARN.
    pub name: String,
    /// The member of the secret's JSON object, where it is one.
    pub key: Option<String>,
}

impl std::fmt::Display for SecretName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keeper = match self.keeper {
            SecretKeeper::SecretsManager => SECRETS_MANAGER,
            SecretKeeper::ParameterStore => PARAMETER_STORE,
        };
        write!(f, "${{{keeper}{}", self.name)?;
        if let Some(key) = &self.key {
            write!(f, "#{key}")?;
        }
        f.write_str("}")
    }
}

const SECRETS_MANAGER: &str = "aws-secretsmanager:";
const PARAMETER_STORE: &str = "aws-ssm:";

/// Stands in for what has not been fetched: a text that most rules for secrets take.
const STAND_IN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The variables that this process was started with.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }
}

impl Environment for BTreeMap<String, String> {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.get(name).map(OsString::from)
    }
}

/// Substitutes in every value of one file's tree. A value in which something is wrong is reported once and refused.
pub fn substitute(root: &mut Node, environment: &dyn Environment, problems: &mut Problems) {
    let directory = root.mark.file.parent().unwrap_or(Path::new("")).to_owned();
    let sources = Outside {
        environment,
        directory: &directory,
    };
    let mark = root.mark.clone();
    below(root, &mark, &sources, &ConfigPath::root(), problems);
}

/// Substitutes from `node` down; `mark` is where a reader looks for it.
fn below(
    node: &mut Node,
    mark: &Mark,
    outside: &Outside<'_>,
    path: &ConfigPath,
    problems: &mut Problems,
) {
    match &mut node.kind {
        Kind::Null => {}
        Kind::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let mark = item.mark.clone();
                below(item, &mark, outside, &path.index(index), problems);
            }
        }
        Kind::Mapping(entries) => {
            for entry in entries {
                let mark = entry.mark().clone();
                let path = path.key(&entry.key.text);
                below(&mut entry.value, &mark, outside, &path, problems);
            }
        }
        Kind::Scalar(scalar) => {
            let [Piece::Written(text)] = scalar.pieces.as_slice() else {
                return;
            };
            if !text.contains("${") {
                return;
            }
            match outside.pieces(text) {
                Ok((pieces, origins)) => {
                    *scalar = Scalar {
                        pieces,
                        origins,
                        ..scalar.clone()
                    };
                }
                Err(Trouble { message, help }) => {
                    let problem = problems.error(path, message).at(mark.place());
                    if !help.is_empty() {
                        problem.help(help);
                    }
                    node.refused = Some(Refusal::default());
                }
            }
        }
    }
}

/// What is wrong with one `${…}`, and what to write instead.
struct Trouble {
    message: String,
    help: String,
}

fn trouble<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble {
        message: message.into(),
        help: help.into(),
    })
}

/// What a `${…}` stands for.
struct Found {
    /// As it may be shown.
    shown: String,
    value: String,
    /// Whether the value is a stand-in.
    unfetched: bool,
}

impl Found {
    fn known(shown: String, value: String) -> Found {
        Found {
            shown,
            value,
            unfetched: false,
        }
    }
}

/// The secret that `${inside}` names, if it names one. A name or an ARN holds no `#` (CreateSecret and PutParameter,
/// API references).
fn secret_name(inside: &str) -> Result<Option<SecretName>, Trouble> {
    let (keeper, rest) = if let Some(rest) = inside.strip_prefix(SECRETS_MANAGER) {
        (SecretKeeper::SecretsManager, rest)
    } else if let Some(rest) = inside.strip_prefix(PARAMETER_STORE) {
        (SecretKeeper::ParameterStore, rest)
    } else {
        return Ok(None);
    };
    let (name, key) = match rest.split_once('#') {
        Some((name, key)) => (name, Some(key)),
        None => (rest, None),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-:!".contains(c);
    if name.is_empty() || name.len() > 2048 || !name.chars().all(good) || key == Some("") {
        return trouble(
            format!("`${{{inside}}}` names no secret"),
            "write `${aws-secretsmanager:NAME}`, `${aws-secretsmanager:NAME#key}` for a member of a JSON secret, or `${aws-ssm:NAME}`; names and ARNs hold letters, digits and /_+=.@-:!",
        );
    }
    Ok(Some(SecretName {
        keeper,
        name: name.to_owned(),
        key: key.map(str::to_owned),
    }))
}

/// What values may be taken from.
struct Outside<'a> {
    environment: &'a dyn Environment,
    /// Of the file that is substituted in; paths start there.
    directory: &'a Path,
}

impl Outside<'_> {
    /// The pieces of one text, and what was substituted in it.
    fn pieces(&self, text: &str) -> Result<(Vec<Piece>, Vec<Origin>), Trouble> {
        let (mut pieces, mut origins) = (Vec::new(), Vec::new());
        let mut written = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if let Some(before) = rest[..at].strip_suffix('$') {
                written.push_str(before);
                flush(&mut written, &mut pieces);
                pieces.push(Piece::Literal("${".to_owned()));
                rest = &rest[at + 2..];
                continue;
            }
            written.push_str(&rest[..at]);
            let inside = inside(&rest[at + 2..])?;
            if let Some(found) = self.value(inside)? {
                flush(&mut written, &mut pieces);
                let piece = pieces.len();
                pieces.push(Piece::Literal(found.value));
                origins.push(Origin {
                    piece,
                    shown: found.shown,
                    unfetched: found.unfetched,
                });
                rest = &rest[at + 2 + inside.len() + 1..];
            } else {
                // only its `${`: a default inside may itself be substituted
                written.push_str("${");
                rest = &rest[at + 2..];
            }
        }
        written.push_str(rest);
        flush(&mut written, &mut pieces);
        Ok((pieces, origins))
    }

    /// What `${inside}` stands for and how it may be shown; `None` when it is not ours to substitute.
    fn value(&self, inside: &str) -> Result<Option<Found>, Trouble> {
        if let Some(reference) = inside.strip_prefix("env:") {
            let (name, default) = match reference.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (reference, None),
            };
            let value = self.variable(name, default)?;
            return Ok(Some(Found::known(format!("${{env:{name}}}"), value)));
        }
        if let Some(path) = inside.strip_prefix("file:") {
            return Ok(Some(Found::known(
                format!("${{{inside}}}"),
                self.file(path)?,
            )));
        }
        if let Some(name) = secret_name(inside)? {
            let value = self.environment.secret(&name);
            return Ok(Some(Found {
                shown: name.to_string(),
                unfetched: value.is_none(),
                value: value.unwrap_or_else(|| STAND_IN.to_owned()),
            }));
        }
        match inside.split_once(':') {
            // a mapping source has dots before its `:-default`, a source of substitution has neither
            Some((kind, after))
                if !after.starts_with('-')
                    && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') =>
            {
                let meant = nearest(kind, ["env", "file", "aws-secretsmanager", "aws-ssm"])
                    .map(|near| format!("did you mean `${{{near}:…}}`? "))
                    .unwrap_or_default();
                trouble(
                    format!("`${{{kind}:…}}` is not something that can be substituted"),
                    format!(
                        "{meant}allowed: `${{env:NAME}}`, `${{env:NAME:-default}}`, `${{file:path}}`, `${{aws-secretsmanager:NAME}}`, `${{aws-ssm:NAME}}`; a literal `${{` is written `$${{`"
                    ),
                )
            }
            _ => Ok(None),
        }
    }

    /// A variable's value, or the default where it is unset or empty, as in a shell.
    fn variable(&self, name: &str, default: Option<&str>) -> Result<String, Trouble> {
        let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !valid {
            return trouble(
                format!("{name:?} is not the name of an environment variable"),
                "write `${env:NAME}` or `${env:NAME:-default}`; names hold letters, digits and _",
            );
        }
        if default.is_some_and(|default| default.contains("${")) {
            return trouble(
                format!("the default of `${{env:{name}:-…}}` holds another `${{`"),
                "a default is literal text",
            );
        }
        match (self.environment.variable(name), default) {
            (Some(value), default) => match value.into_string() {
                Ok(value) if value.is_empty() => Ok(default.unwrap_or_default().to_owned()),
                Ok(value) => Ok(value),
                Err(_) => trouble(
                    format!("the environment variable {name} does not hold UTF-8 text"),
                    "",
                ),
            },
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => trouble(
                format!("the environment variable {name} is not set"),
                format!("set it, or give a default: `${{env:{name}:-…}}`"),
            ),
        }
    }

    /// A file's text without one newline at its end.
    fn file(&self, path: &str) -> Result<String, Trouble> {
        if path.trim().is_empty() {
            return trouble("`${file:…}` names no file", "write `${file:path}`");
        }
        let full = self.directory.join(path);
        let shown = full.display();
        let mut bytes = Vec::new();
        let read =
            fs::File::open(&full).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (message, help) = no_such_file(&full);
                return trouble(message, help.unwrap_or_default());
            }
            Err(error) => return trouble(format!("{shown} cannot be read: {error}"), ""),
            Ok(_) if bytes.len() as u64 > MAX_FILE => {
                return trouble(format!("{shown} is larger than {MAX_FILE} bytes"), "");
            }
            Ok(_) => self.environment.file_read(&full, &bytes),
        }
        let Ok(mut text) = String::from_utf8(bytes) else {
            return trouble(format!("{shown} does not hold UTF-8 text"), "");
        };
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }
}

fn flush(written: &mut String, pieces: &mut Vec<Piece>) {
    if !written.is_empty() {
        pieces.push(Piece::Written(std::mem::take(written)));
    }
}

/// What stands between `${` and its `}`; braces inside come in pairs.
fn inside(after: &str) -> Result<&str, Trouble> {
    let mut depth = 1usize;
    for (at, byte) in after.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(&after[..at]);
        }
    }
    trouble(
        "`${` has no `}`",
        "close it; a literal `${` is written `$${`",
    )
}
