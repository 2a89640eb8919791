//! Secrets that AWS keeps (`${aws-secretsmanager:…}`, `${aws-ssm:…}`), and what a configuration draws on besides: the
//! vault remembers the values in memory, fetches them, and tells when something has changed. Nothing of it is written
//! anywhere.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::load::{Environment, ProcessEnvironment, SecretKeeper, SecretName};
use crate::aws::{CallError, Clients, Service};
use crate::model::secret::Secret;
use crate::model::value::Span;
use crate::outbound;

/// How long fetching one secret may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls at once.
const AT_ONCE: usize = 8;

/// How secrets from outside are kept up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// How often `${aws-secretsmanager:…}` and `${aws-ssm:…}` are fetched again, 1s to 24h. A failure leaves the old
    /// value in use. Files (`${file:…}`, users, keys) are looked at every two seconds. Default: 5m.
    pub refresh: Option<Span>,
}

/// What a configuration draws on beside its own text.
#[derive(Debug, Default)]
pub struct Vault {
    inside: Mutex<Inside>,
    /// The file that says what names in a vendor's document stand for.
    vars: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Inside {
    /// Every secret that was asked for; `None`: not fetched yet.
    secrets: BTreeMap<SecretName, Option<Secret<String>>>,
    /// Every file that was read, and the SHA-256 of what it held.
    files: BTreeMap<PathBuf, [u8; 32]>,
    /// How the files looked from outside when they last held the same: those that look so still are not read.
    unchanged: BTreeMap<PathBuf, Look>,
}

/// Device, inode, size, and the time of the last change in nanoseconds.
type Look = (u64, u64, u64, i128);

/// Files that were read, and what they held.
#[derive(Debug, Default)]
pub struct Files(BTreeMap<PathBuf, [u8; 32]>);

/// A secret that could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct Unfetched {
    pub name: SecretName,
    pub reason: String,
}

/// What fetching has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Some value is another than before.
    pub changed: bool,
    pub failed: Vec<Unfetched>,
}

impl Environment for Vault {
    fn variable(&self, name: &str) -> Option<OsString> {
        ProcessEnvironment.variable(name)
    }

    fn secret(&self, name: &SecretName) -> Option<String> {
        let mut inside = self.inside();
        let known = inside.secrets.entry(name.clone()).or_default();
        known.as_ref().map(|value| value.expose().clone())
    }

    fn has_stood_in(&self) -> bool {
        self.inside().secrets.values().any(Option::is_none)
    }

    fn vars(&self) -> Option<&Path> {
        self.vars.as_deref()
    }

    fn file_read(&self, path: &Path, content: &[u8]) {
        self.inside().files.insert(path.to_owned(), hashed(content));
    }
}

impl Vault {
    /// A vault that knows of a file that says what names in a vendor's document stand for.
    pub fn with_vars(vars: Option<PathBuf>) -> Vault {
        Vault {
            vars,
            ..Vault::default()
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether AWS keeps something that the configuration draws on.
    pub fn draws_on_aws(&self) -> bool {
        !self.inside().secrets.is_empty()
    }

    /// Fetches every secret that was asked for; those that cannot be had keep their old value.
    pub async fn fetch(&self, clients: &Clients, via: &outbound::Client) -> Fetched {
        let names: Vec<SecretName> = self.inside().secrets.keys().cloned().collect();
        let calls = names.into_iter().map(async |name| {
            let value = fetch(&name, clients, via).await;
            (name, value)
        });
        let answers: Vec<_> = iter(calls).buffer_unordered(AT_ONCE).collect().await;
        let mut fetched = Fetched::default();
        let mut inside = self.inside();
        for (name, value) in answers {
            match value {
                Ok(value) => {
                    let value = Some(Secret::new(value));
                    let known = inside.secrets.entry(name).or_default();
                    fetched.changed |= *known != value;
                    *known = value;
                }
                Err(reason) => fetched.failed.push(Unfetched { name, reason }),
            }
        }
        fetched
    }

    /// Whether a file holds something else than when it was read; those that look unchanged from outside are not read. `but_not`: files that are not looked
    /// at. A file that cannot be read now has not changed: it may be in the middle of being replaced.
    pub fn files_changed(&self, but_not: &[PathBuf]) -> bool {
        let known: Vec<_> = self.inside().files.clone().into_iter().collect();
        let mut changed = false;
        for (path, before) in known {
            let Some(look) = looked(&path).filter(|_| !but_not.contains(&path)) else {
                continue;
            };
            if self.inside().unchanged.get(&path) == Some(&look) {
                continue;
            }
            let Ok(now) = fs::read(&path).map(Zeroizing::new) else {
                continue;
            };
            if before == hashed(&now) {
                self.inside().unchanged.insert(path, look);
            } else {
                changed = true;
            }
        }
        changed
    }

    /// Forgets which files were read, before they are read anew: one that is not named any more is not watched.
    pub fn forget_files(&self) -> Files {
        let mut inside = self.inside();
        // Secrets that nobody could fetch are asked for again by whoever still names them.
        inside.secrets.retain(|_, value| value.is_some());
        inside.unchanged.clear();
        Files(std::mem::take(&mut inside.files))
    }

    /// Whether a file that has been read now held something else before.
    pub fn read_otherwise(&self, before: &Files) -> bool {
        let inside = self.inside();
        let mut read = inside.files.iter();
        read.any(|(path, now)| before.0.get(path).is_some_and(|then| then != now))
    }

    /// Goes on to watch files of before that have not been read since.
    pub fn remember_files(&self, before: Files) {
        let mut inside = self.inside();
        for (path, hash) in before.0 {
            inside.files.entry(path).or_insert(hash);
        }
    }
}

/// How a file looks from outside; `None` for what is no file, or is not there.
fn looked(path: &Path) -> Option<Look> {
    let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let changed = i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
    Some((found.dev(), found.ino(), found.size(), changed))
}

fn hashed(content: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, content).as_ref());
    hash
}

async fn fetch(
    name: &SecretName,
    clients: &Clients,
    via: &outbound::Client,
) -> Result<String, String> {
    let (service, target, input) = match name.keeper {
        SecretKeeper::SecretsManager => (
            Service::SecretsManager,
            "secretsmanager.GetSecretValue",
            json!({ "SecretId": name.name }),
        ),
        SecretKeeper::ParameterStore => (
            Service::Ssm,
            "AmazonSSM.GetParameter",
            json!({ "Name": name.name, "WithDecryption": true }),
        ),
    };
    let answer = clients
        .json_call(via, service, target, &input, PATIENCE)
        .await
        .map_err(|error| match error {
            // A service's answer could hold anything; its code and status say enough.
            CallError::Refused(refusal) => format!("{} ({})", refusal.code, refusal.status),
            other => other.to_string(),
        })?;
    let text = match name.keeper {
        SecretKeeper::SecretsManager => secret_text(&answer)?,
        SecretKeeper::ParameterStore => answer["Parameter"]["Value"]
            .as_str()
            .ok_or("the answer has no value")?
            .to_owned(),
    };
    match &name.key {
        None => Ok(text),
        Some(key) => member(&text, key),
    }
}

fn secret_text(answer: &Value) -> Result<String, String> {
    if let Some(text) = answer["SecretString"].as_str() {
        return Ok(text.to_owned());
    }
    let binary = answer["SecretBinary"].as_str();
    let binary = binary.ok_or("the answer has no value")?;
    let bytes = STANDARD
        .decode(binary)
        .map_err(|_| "the binary secret is not base64")?;
    String::from_utf8(bytes).map_err(|_| "the binary secret is not UTF-8 text".to_owned())
}

/// A member of a secret that is a JSON object, as text.
fn member(text: &str, key: &str) -> Result<String, String> {
    let object: Value =
        serde_json::from_str(text).map_err(|_| "the secret is not a JSON object".to_owned())?;
    match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
        Some(_) => Err(format!("the member {key:?} of the secret is no text")),
        None => Err(format!("the secret has no member {key:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName {
            keeper: SecretKeeper::SecretsManager,
            name: text.to_owned(),
            key: None,
        }
    }

    #[test]
    fn a_secret_is_text_or_bytes_or_a_member_of_an_object() {
        assert_eq!(
            secret_text(&json!({"SecretString": "s"})),
            Ok("s".to_owned())
        );
        assert_eq!(
            secret_text(&json!({"SecretBinary": "aGk="})),
            Ok("hi".to_owned())
        );
        assert!(secret_text(&json!({"SecretBinary": "/w=="})).is_err());
        assert!(secret_text(&json!({})).is_err());
        assert_eq!(member("{\"a\":\"b\",\"n\":7}", "a"), Ok("b".to_owned()));
        assert_eq!(member("{\"a\":\"b\",\"n\":7}", "n"), Ok("7".to_owned()));
        assert!(member("{\"a\":\"hunter2\"}", "b").is_err_and(|said| !said.contains("hunter2")));
        assert!(member("hunter2", "a").is_err_and(|said| !said.contains("hunter2")));
    }

    #[test]
    fn a_vault_remembers_what_was_asked_for_and_never_shows_it() {
        let vault = Vault::default();
        assert!(!vault.draws_on_aws());
        assert_eq!(vault.secret(&name("db")), None);
        assert!(vault.draws_on_aws());
        vault
            .inside()
            .secrets
            .insert(name("db"), Some(Secret::new("hunter2".to_owned())));
        assert_eq!(vault.secret(&name("db")).as_deref(), Some("hunter2"));
        assert!(!format!("{vault:?}").contains("hunter2"));
    }

    #[test]
    fn a_file_has_changed_when_it_holds_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "one").unwrap();
        let vault = Vault::default();
        vault.file_read(&path, b"one");
        assert!(!vault.files_changed(&[]));
        fs::write(&path, "two").unwrap();
        assert!(vault.files_changed(&[]));
        assert!(!vault.files_changed(std::slice::from_ref(&path)));
        fs::remove_file(&path).unwrap();
        assert!(!vault.files_changed(&[]), "it may be about to be replaced");
    }
}
