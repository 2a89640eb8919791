//! A row of a table of versions: the API that serves a version, and what its callers are told of its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::LINK;
use http::{HeaderMap, HeaderValue};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::Version as Written;
use crate::model::deprecation::Deprecation;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// A version of an API.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub name: String,
    /// The API that serves it, by name or by a host, as written.
    pub(super) api: String,
    notice: Option<Deprecation>,
    links: Option<HeaderValue>,
    /// From when on it is answered 410.
    pub(super) gone: Option<OffsetDateTime>,
}

impl Version {
    /// Checks a row, but for whether there is such an API.
    pub(super) fn compile(
        name: &str,
        version: &Written,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Version {
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
        Version {
            name: name.to_owned(),
            api: version.api.clone(),
            notice: Deprecation::new(deprecated, sunset),
            links,
            gone: sunset.filter(|_| version.gone),
        }
    }

    /// Says in an answer what is to be known of the version.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        if let Some(notice) = &self.notice {
            notice.put(headers);
        }
        if let Some(links) = &self.links {
            headers.append(LINK, links.clone());
        }
    }
}

/// Versions by name, whatever their case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(HashMap<String, Arc<Version>>);

impl Table {
    /// Adds a row; `false` where there is one of that name.
    pub(super) fn add(&mut self, version: Version) -> bool {
        let name = version.name.to_ascii_lowercase();
        match self.0.entry(name) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Arc::new(version));
                true
            }
        }
    }

    /// The version of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<Version>> {
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.0.get(&name.to_ascii_lowercase());
        }
        self.0.get(name)
    }

    /// Every version, in no order.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
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
