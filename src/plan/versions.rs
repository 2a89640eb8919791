//! Which version of an API a request is for, compiled: by `Accept` (RFC 9110, 12.5.1), a header or a query parameter; and
//! what callers are told of versions that will go (RFC 8594, RFC 9745). The table stands in the file, or is read from
//! DynamoDB (`feed`).

mod dynamodb;
mod feed;
mod row;

use std::collections::HashMap;
use std::sync::Arc;

use http::header::{ACCEPT, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use time::OffsetDateTime;

use crate::config::{VersionSource, Versions as Written};
use crate::model::call::Call;
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};

use super::hosts::{Host, Mount};

pub use self::dynamodb::TableSpec;
pub use self::feed::{Asked, Feed, VersionTables};
pub use self::row::{Table, Version};

/// The versions that an API stands in front of.
#[derive(Clone, Debug)]
pub struct Versions {
    from: Vec<Source>,
    /// What answers differ by; `None` where only the query tells.
    vary: Option<HeaderValue>,
    /// The default's name.
    default: Option<String>,
    missing: StatusCode,
    unknown: StatusCode,
    /// The rows of the file.
    table: Arc<Table>,
    /// The positions of the APIs that rows may name, by name and by host.
    apis: HashMap<String, usize>,
    /// The table in DynamoDB.
    kept: Option<TableSpec>,
    /// What is read of it; `None` in a blueprint.
    feed: Option<Arc<Feed>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    /// The media type around `{version}`, in lower case.
    Accept(String, String),
    Header(HeaderName),
    Query(String),
}

/// Why a request is for no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    #[error("the request does not say which version of the API it is for")]
    Missing(StatusCode),
    #[error("there is no such version of the API")]
    Unknown(StatusCode),
    #[error("this version of the API has ended")]
    Gone,
    #[error("the table of versions in DynamoDB has not been read yet")]
    Unread,
}

impl VersionError {
    /// The status that the caller is answered.
    pub fn status(&self) -> StatusCode {
        match self {
            VersionError::Missing(status) | VersionError::Unknown(status) => *status,
            VersionError::Gone => StatusCode::GONE,
            VersionError::Unread => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// An API as a table of versions may name it.
pub(super) struct Named<'a> {
    pub name: &'a str,
    pub mount: &'a Mount,
}

impl Versions {
    /// Checks what was written. `apis`: all of the process.
    pub(super) fn compile(
        written: &Written,
        apis: &[Named<'_>],
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Versions> {
        let before = problems.errors();
        let from_at = at.key("from");
        if written.from.is_empty() {
            problems
                .error(&from_at, "nothing says where a request names its version")
                .help("write one of `accept`, `header`, `query`");
        }
        let mut from = Vec::new();
        for (index, source) in written.from.iter().enumerate() {
            from.extend(Source::compile(source, &from_at.index(index), problems));
        }
        let mut apis_named = HashMap::new();
        let kept = written.dynamodb.as_ref().and_then(|table| {
            let at = at.key("dynamodb");
            let before = problems.errors();
            for (index, name) in table.apis.iter().enumerate() {
                let at = at.key("apis").index(index);
                let Some(position) = apis.iter().position(|api| api.name == name.as_str()) else {
                    unknown_api(name, apis, &at, problems);
                    continue;
                };
                apis_named.insert(name.clone(), position);
                for host in &apis[position].mount.hosts {
                    if let Host::Exact(host) = host {
                        apis_named.insert(host.clone(), position);
                    }
                }
            }
            let spec = TableSpec::compile(table, &at, problems);
            (problems.errors() == before).then_some(spec)
        });
        if written.table.is_empty() && written.dynamodb.is_none() {
            problems.error(
                &at.key("table"),
                "there is no version, so every request would be refused",
            );
        }
        let mut table = Table::default();
        for (name, version) in &written.table {
            let at = at.key("table").key(name);
            let names = |api: &Named<'_>| {
                let host = |host: &Host| matches!(host, Host::Exact(host) if host.eq_ignore_ascii_case(&version.api));
                api.name == version.api || api.mount.hosts.iter().any(host)
            };
            let Some(api) = apis.iter().position(names) else {
                unknown_api(&version.api, apis, &at, problems);
                continue;
            };
            let row = Version::compile(name, version, &at, problems);
            apis_named.insert(version.api.clone(), api);
            if !table.add(row) {
                problems.error(&at, "this version is named twice, in another case");
            }
        }
        if let Some(name) = &written.default
            && written.dynamodb.is_none()
            && table.named(name).is_none()
            && !written.table.contains_key(name)
        {
            let known = written.table.keys().map(String::as_str);
            let problem = problems.error(
                &at.key("default"),
                format!("there is no version `{name}` in the table"),
            );
            if let Some(near) = nearest(name, known) {
                problem.help(format!("did you mean `{near}`?"));
            }
        }
        let mut refusal = |key: &str, status: Option<u16>| {
            let status = status.unwrap_or(403);
            let known = StatusCode::from_u16(status).ok();
            known
                .filter(StatusCode::is_client_error)
                .unwrap_or_else(|| {
                    problems
                        .error(
                            &at.key(key),
                            format!("{status} does not say that the request is at fault"),
                        )
                        .help("allowed: 400 to 499");
                    StatusCode::FORBIDDEN
                })
        };
        let missing = refusal("missing", written.missing);
        let unknown = refusal("unknown", written.unknown);
        let headers: Vec<&str> = from
            .iter()
            .filter_map(|source| match source {
                Source::Accept(..) => Some("accept"),
                Source::Header(name) => Some(name.as_str()),
                Source::Query(_) => None,
            })
            .collect();
        let vary = (!headers.is_empty())
            .then(|| HeaderValue::from_str(&headers.join(", ")).ok())
            .flatten();
        (problems.errors() == before).then(|| Versions {
            vary,
            from,
            default: written.default.clone(),
            missing,
            unknown,
            table: Arc::new(table),
            apis: apis_named,
            kept,
            feed: None,
        })
    }

    /// The rows of the file.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The table in DynamoDB.
    pub fn kept(&self) -> Option<&TableSpec> {
        self.kept.as_ref()
    }

    /// What is read of the table in DynamoDB.
    pub fn feed(&self) -> Option<&Feed> {
        self.feed.as_deref()
    }

    /// The same, with what is read of the table in DynamoDB.
    pub(super) fn fed(&self, feeds: impl FnOnce(&TableSpec, Asked) -> Arc<Feed>) -> Versions {
        Versions {
            feed: self.kept.as_ref().map(|spec| feeds(spec, self.asked())),
            ..self.clone()
        }
    }

    /// What is wrong with the rows of DynamoDB, in what this API asks of them.
    pub(super) fn unserved(&self, rows: &Table) -> Vec<String> {
        self.asked().unserved(rows)
    }

    /// What is asked of the table in DynamoDB.
    fn asked(&self) -> Asked {
        let mut apis: Vec<String> = self.apis.keys().cloned().collect();
        apis.sort();
        Asked {
            apis,
            default: self.default.clone(),
        }
    }

    /// The positions of the APIs that are, or may become, versions.
    pub(super) fn apis(&self) -> impl Iterator<Item = usize> {
        self.apis.values().copied()
    }

    /// The position of the API that serves a version; `None` where a row of DynamoDB names none that it may.
    pub(super) fn api_of(&self, version: &Version) -> Option<usize> {
        let known = self.apis.get(&version.api);
        known
            .or_else(|| self.apis.get(&version.api.to_ascii_lowercase()))
            .copied()
    }

    /// The rows that hold; `None` while those of DynamoDB are not known, and the file has none.
    fn rows(&self) -> Option<Arc<Table>> {
        let read = self.feed.as_ref().and_then(|feed| feed.rows());
        let known = self.kept.is_none() || !self.table.is_empty();
        read.or_else(|| known.then(|| self.table.clone()))
    }

    /// The version that a request is for, and why it is not served, if so: one that has ended is both.
    pub fn choose(&self, call: &Call) -> (Option<Arc<Version>>, Option<VersionError>) {
        let version = match self.said(call) {
            Ok(version) => version,
            Err(refusal) => return (None, Some(refusal)),
        };
        let now = OffsetDateTime::from(call.arrived_at);
        let ended = version.gone.is_some_and(|end| end <= now);
        (Some(version), ended.then_some(VersionError::Gone))
    }

    fn said(&self, call: &Call) -> Result<Arc<Version>, VersionError> {
        let table = self.rows().ok_or(VersionError::Unread)?;
        let served = |name: &str| {
            let version = table.named(name)?;
            self.api_of(version).map(|_| version.clone())
        };
        for source in &self.from {
            let names = source.read(call);
            if names.is_empty() {
                continue;
            }
            // Of several media types the one that the client prefers and the table has.
            let known = names.iter().find_map(|name| served(name));
            return known.ok_or(VersionError::Unknown(self.unknown));
        }
        let default = self.default.as_deref().and_then(served);
        default.ok_or(VersionError::Missing(self.missing))
    }

    /// Says in an answer what it differs by, and what is to be known of its version.
    pub fn tell(&self, version: Option<&Version>, headers: &mut HeaderMap) {
        if let Some(vary) = &self.vary {
            headers.append(VARY, vary.clone());
        }
        if let Some(version) = version {
            version.tell(headers);
        }
    }
}

/// Says that no API is called so.
fn unknown_api(name: &str, apis: &[Named<'_>], at: &ConfigPath, problems: &mut Problems) {
    let known = apis.iter().map(|api| api.name);
    let problem = problems.error(at, format!("there is no API `{name}`"));
    match nearest(name, known) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help("name an `api` of this configuration, or one of its hosts"),
    };
}

impl Source {
    fn compile(
        written: &VersionSource,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Source> {
        match written {
            VersionSource::Accept(text) => {
                let lower = text.to_ascii_lowercase();
                let parts = lower.split_once("{version}");
                match parts {
                    Some((before, after))
                        if before.contains('/')
                            && !after.contains(['{', '/'])
                            && !lower.contains([';', ',', ' ', '*']) =>
                    {
                        Some(Source::Accept(before.to_owned(), after.to_owned()))
                    }
                    _ => {
                        problems
                            .error(
                                &at.key("accept"),
                                format!("{text:?} is not a media type with a version in it"),
                            )
                            .help("write one such as `application/vnd.example.{version}+json`");
                        None
                    }
                }
            }
            VersionSource::Header(name) => match name.parse() {
                Ok(name) => Some(Source::Header(name)),
                Err(_) => {
                    problems.error(&at.key("header"), format!("{name:?} is not a header name"));
                    None
                }
            },
            VersionSource::Query(name) if name.is_empty() => {
                problems.error(&at.key("query"), "the name of the parameter is empty");
                None
            }
            VersionSource::Query(name) => Some(Source::Query(name.clone())),
        }
    }

    /// The versions that a request names, the one it prefers first.
    fn read(&self, call: &Call) -> Vec<String> {
        let one = |value: String| {
            let value = value.trim();
            Vec::from_iter((!value.is_empty()).then(|| value.to_owned()))
        };
        match self {
            Source::Header(name) => call
                .header(name)
                .map_or_else(Vec::new, |value| one(value.into())),
            Source::Query(name) => call
                .query(name)
                .and_then(|value| String::from_utf8(value).ok())
                .map_or_else(Vec::new, one),
            Source::Accept(before, after) => {
                let Some(accept) = call.header(&ACCEPT) else {
                    return Vec::new();
                };
                let mut named: Vec<(u16, String)> = accept
                    .split(',')
                    .filter_map(|range| {
                        let mut parts = range.split(';').map(str::trim);
                        let kind = parts.next()?.to_ascii_lowercase();
                        let version = kind
                            .strip_prefix(before.as_str())?
                            .strip_suffix(after.as_str())?;
                        let quality = parts.find_map(quality).unwrap_or(1_000);
                        let named = !version.is_empty() && quality > 0;
                        named.then(|| (quality, version.to_owned()))
                    })
                    .collect();
                // Those of the same quality stay in the order in which they came.
                named.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
                named.into_iter().map(|(_, version)| version).collect()
            }
        }
    }
}

/// `q=0.8` in thousandths (RFC 9110, 12.4.2); one that cannot be read counts as nought.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value: f64 = value.trim().parse().unwrap_or_default();
    Some(if (0.0..=1.0).contains(&value) {
        (value * 1_000.0).round() as u16
    } else {
        0
    })
}

#[cfg(test)]
mod tests;
