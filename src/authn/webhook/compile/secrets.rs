//! When secrets count, and those that could verify nothing: said when the configuration is loaded, and not by the first
//! delivery.

use std::path::Path;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::capture;
use super::super::secret::{KeySpec, SecretSpec, Use};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// A time, in seconds since 1970.
pub(super) fn moment(text: Option<&str>, at: &ConfigPath, problems: &mut Problems) -> Option<i64> {
    let text = text?;
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(time) => Some(time.unix_timestamp()),
        Err(_) => {
            problems
                .error(at, format!("{text:?} is not a time"))
                .help("write it as 2026-03-01T00:00:00Z");
            None
        }
    }
}

/// Warns where every secret has expired.
pub(super) fn lifetimes(secrets: &[SecretSpec], at: &ConfigPath, problems: &mut Problems) {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
    let expired = |secret: &SecretSpec| secret.until.is_some_and(|until| until <= now);
    if !secrets.is_empty() && secrets.iter().all(expired) {
        problems
            .warning(
                at,
                "every secret has expired, so every delivery is answered 503",
            )
            .help("write the secret that the sender uses now");
    }
}

/// Refuses a `secret_file` that is there and cannot be used. One that is not there may still come.
pub(super) fn file(
    file: &Path,
    key: &KeySpec,
    usage: Use,
    at: &ConfigPath,
    problems: &mut Problems,
) {
    match capture::kept(file) {
        Ok(None) => {}
        Ok(Some(text)) => {
            if let Err(reason) = key.decode(&text, usage) {
                problems
                    .error(at, format!("the secret in it cannot be used: {reason}"))
                    .help("write it as the sender shows it; how it is decoded is `verify.key`");
            }
        }
        Err(error) => {
            problems
                .error(at, format!("it cannot be read: {error}"))
                .help("write the path of a file that the gateway may read and write, such as `secret_file: asana.secret`");
        }
    }
}
