//! Which version of an API a request is for, compiled: by `Accept` (RFC 9110, 12.5.1), a header or a query parameter; and
//! what callers are told of versions that will go (RFC 8594, RFC 9745).

use std::time::SystemTime;

use http::header::{ACCEPT, LINK, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::{VersionSource, Versions as Written};
use crate::model::call::Call;
use crate::model::deprecation::Deprecation;
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};

use super::hosts::{Host, Mount};

/// The versions that an API stands in front of.
#[derive(Clone, Debug, PartialEq)]
pub struct Versions {
    from: Vec<Source>,
    /// What answers differ by; `None` where only the query tells.
    vary: Option<HeaderValue>,
    /// The position of the default.
    default: Option<usize>,
    missing: StatusCode,
    unknown: StatusCode,
    table: Vec<Version>,
}

/// A version of an API.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub name: String,
    /// The position of the API that serves it.
    pub api: usize,
    notice: Option<Deprecation>,
    links: Option<HeaderValue>,
    /// From when on it is answered 410.
    gone: Option<OffsetDateTime>,
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
}

impl VersionError {
    /// The status that the caller is answered.
    pub fn status(&self) -> StatusCode {
        match self {
            VersionError::Missing(status) | VersionError::Unknown(status) => *status,
            VersionError::Gone => StatusCode::GONE,
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
        if written.table.is_empty() {
            problems.error(
                &at.key("table"),
                "there is no version, so every request would be refused",
            );
        }
        let mut table = Vec::new();
        for (name, version) in &written.table {
            let at = at.key("table").key(name);
            let names = |api: &Named<'_>| {
                let host = |host: &Host| matches!(host, Host::Exact(host) if host.eq_ignore_ascii_case(&version.api));
                api.name == version.api || api.mount.hosts.iter().any(host)
            };
            let Some(api) = apis.iter().position(names) else {
                let known = apis.iter().map(|api| api.name);
                let problem = problems.error(&at, format!("there is no API `{}`", version.api));
                match nearest(&version.api, known) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => {
                        problem.help("name an `api` of this configuration, or one of its hosts")
                    }
                };
                continue;
            };
            let deprecated = date(
                version.deprecated.as_deref(),
                &at.key("deprecated"),
                problems,
            );
            let sunset = date(version.sunset.as_deref(), &at.key("sunset"), problems);
            if let (Some(deprecated), Some(sunset)) = (deprecated, sunset)
                && sunset < deprecated
            {
                problems.error(
                    &at.key("sunset"),
                    "a version cannot end before it is deprecated (RFC 9745, 4)",
                );
            }
            if version.gone && version.sunset.is_none() {
                problems
                    .error(&at.key("gone"), "nothing says when the version ends")
                    .help("write `sunset`");
            }
            let links = version.link.as_deref().and_then(|link| {
                let links = links(link, deprecated.is_some(), sunset.is_some());
                if links.is_none() {
                    problems
                        .error(&at.key("link"), format!("{link:?} is not a URL"))
                        .help("write one such as `https://example.com/versions`");
                }
                links
            });
            table.push(Version {
                name: name.clone(),
                api,
                notice: Deprecation::new(deprecated, sunset),
                links,
                gone: sunset.filter(|_| version.gone),
            });
        }
        let default = written.default.as_ref().and_then(|name| {
            let found = table.iter().position(|version| version.name == *name);
            if found.is_none() && !written.table.contains_key(name) {
                let known = written.table.keys().map(String::as_str);
                let problem = problems.error(
                    &at.key("default"),
                    format!("there is no version `{name}` in the table"),
                );
                if let Some(near) = nearest(name, known) {
                    problem.help(format!("did you mean `{near}`?"));
                }
            }
            found
        });
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
            default,
            missing,
            unknown,
            table,
        })
    }

    /// Every version.
    pub fn table(&self) -> &[Version] {
        &self.table
    }

    /// The version that a request is for, and why it is not served, if so: one that has ended is both.
    pub fn choose(&self, call: &Call) -> (Option<&Version>, Option<VersionError>) {
        let version = match self.said(call) {
            Ok(version) => version,
            Err(refusal) => return (None, Some(refusal)),
        };
        let now = OffsetDateTime::from(call.arrived_at);
        let ended = version.gone.is_some_and(|end| end <= now);
        (Some(version), ended.then_some(VersionError::Gone))
    }

    fn said(&self, call: &Call) -> Result<&Version, VersionError> {
        for source in &self.from {
            let names = source.read(call);
            if names.is_empty() {
                continue;
            }
            // Of several media types the one that the client prefers and the table has.
            let known = names.iter().find_map(|name| self.named(name));
            return known.ok_or(VersionError::Unknown(self.unknown));
        }
        let default = self.default.and_then(|at| self.table.get(at));
        default.ok_or(VersionError::Missing(self.missing))
    }

    fn named(&self, name: &str) -> Option<&Version> {
        let mut table = self.table.iter();
        table.find(|version| version.name.eq_ignore_ascii_case(name))
    }

    /// Says in an answer what it differs by, and what is to be known of its version.
    pub fn tell(&self, version: Option<&Version>, headers: &mut HeaderMap) {
        if let Some(vary) = &self.vary {
            headers.append(VARY, vary.clone());
        }
        let Some(version) = version else {
            return;
        };
        if let Some(notice) = &version.notice {
            notice.put(headers);
        }
        if let Some(links) = &version.links {
            headers.append(LINK, links.clone());
        }
    }
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

/// A date, or a date with a time, of RFC 3339.
fn date(text: Option<&str>, at: &ConfigPath, problems: &mut Problems) -> Option<OffsetDateTime> {
    let text = text?;
    let whole = OffsetDateTime::parse(text, &Rfc3339);
    let day = || OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339);
    match whole.or_else(|_| day()) {
        // A header cannot say what was before 1970.
        Ok(date) if SystemTime::from(date) >= SystemTime::UNIX_EPOCH => Some(date),
        _ => {
            problems
                .error(at, format!("{text:?} is not a date"))
                .help("write one such as `2026-12-31` or `2026-12-31T12:00:00Z`");
            None
        }
    }
}

/// The page, by what it is about (RFC 8594, 6; RFC 9745, 3).
fn links(link: &str, deprecated: bool, sunset: bool) -> Option<HeaderValue> {
    let url: http::Uri = link.parse().ok()?;
    url.scheme()?;
    if link.contains(['<', '>', '"', ' ']) {
        return None;
    }
    let relations: Vec<&str> = [(deprecated, "deprecation"), (sunset, "sunset")]
        .into_iter()
        .filter_map(|(told, relation)| told.then_some(relation))
        .collect();
    let relations = match relations.as_slice() {
        [] => "latest-version".to_owned(),
        several => several.join(" "),
    };
    HeaderValue::from_str(&format!("<{link}>; rel=\"{relations}\"")).ok()
}

#[cfg(test)]
mod tests;
