//! Where a caller may put an API key, and what is told to who uses a place that will go.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::limit::usage::Source;
use crate::model::deprecation::Deprecation;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// A place as people write it: a word, or a mapping that also says until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    Word(String),
    Place(Place),
}

/// A place for a key that callers are to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "KeyPlace")]
pub struct Place {
    /// The name of a header.
    pub header: Option<String>,
    /// The name of a query parameter.
    pub query: Option<String>,
    /// Since when the place is deprecated, such as `2026-11-01`, or `true` where no day is to be named. Callers that use
    /// it are told in the header `Deprecation`.
    #[schemars(with = "Option<Deprecated>")]
    pub deprecated: Option<Since>,
    /// When the place will go, such as `2027-01-01`: told in the header `Sunset`. It goes when it is removed here.
    pub sunset: Option<String>,
}

/// `true`, or a date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    Always,
    Never,
    Date(String),
}

/// The schema of [`Since`].
struct Deprecated;

impl JsonSchema for Deprecated {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Deprecated".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "boolean"] })
    }
}

impl<'de> Deserialize<'de> for Since {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Since;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, or a date such as 2026-11-01")
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Since, E> {
                Ok(if on { Since::Always } else { Since::Never })
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Since, E> {
                Ok(match text {
                    "true" => Since::Always,
                    "false" | "none" => Since::Never,
                    date => Since::Date(date.to_owned()),
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Written;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a place such as `header:x-api-key`, or `{ query: apiKey, sunset: 2027-01-01 }`")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Written, E> {
                Ok(Written::Word(word.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                Place::deserialize(de::value::MapAccessDeserializer::new(map)).map(Written::Place)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Written {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeySource".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let place = generator.subschema_for::<Place>();
        json_schema!({
            "anyOf": [{ "type": "string", "pattern": "^(header:.+|query:.+|authorizer)$" }, place]
        })
    }
}

/// Where a key may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    Header(HeaderName),
    Query(String),
    /// `usageIdentifierKey` in the answer of an authorizer before this one.
    Authorizer,
}

/// A place, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeySource {
    pub location: Location,
    /// What goes out with answers to who uses it.
    pub notice: Option<Arc<Deprecation>>,
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("header", name)) => header(name),
            Some(("query", name)) if !name.is_empty() => Ok(Location::Query(name.to_owned())),
            None if text == "authorizer" => Ok(Location::Authorizer),
            _ => Err(format!(
                "{text:?} is not a place for a key; allowed: `header:NAME`, `query:NAME`, `authorizer`"
            )),
        }
    }
}

fn header(name: &str) -> Result<Location, String> {
    name.parse()
        .map(Location::Header)
        .map_err(|_| format!("{name:?} is not a header name"))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Header(name) => write!(f, "header:{name}"),
            Location::Query(name) => write!(f, "query:{name}"),
            Location::Authorizer => f.write_str("authorizer"),
        }
    }
}

impl Location {
    /// What is counted of its use.
    pub fn source(&self) -> Source {
        match self {
            Location::Header(_) => Source::Header,
            Location::Query(_) => Source::Query,
            Location::Authorizer => Source::Authorizer,
        }
    }
}

impl Written {
    pub(super) fn compile(&self, at: &ConfigPath, problems: &mut Problems) -> Option<KeySource> {
        let source = match self {
            Written::Word(word) => word.parse().map(|location| KeySource {
                location,
                notice: None,
            }),
            Written::Place(place) => place.compile(at, problems),
        };
        match source {
            Ok(source) => {
                if matches!(source.location, Location::Query(_)) && source.notice.is_none() {
                    problems
                        .warning(
                            at,
                            "a key in the query ends up in logs, histories and referrers",
                        )
                        .help("move callers to a header, then remove this; `{ query: NAME, deprecated: true }` tells them");
                }
                Some(source)
            }
            Err(refusal) => {
                problems.error(at, refusal);
                None
            }
        }
    }
}

impl Place {
    fn compile(&self, at: &ConfigPath, problems: &mut Problems) -> Result<KeySource, String> {
        let location = match (&self.header, &self.query) {
            (Some(name), None) => header(name)?,
            (None, Some(name)) if !name.is_empty() => Location::Query(name.clone()),
            _ => {
                return Err(
                    "a place for a key has one of `header: NAME` and `query: NAME`".to_owned(),
                );
            }
        };
        let mut date = |key: &str, text: &str| {
            let read = moment(text);
            if read.is_none() {
                problems
                    .error(&at.key(key), format!("{text:?} is not a date"))
                    .help("write it as 2027-01-01, or with a time as 2027-01-01T12:00:00Z");
            }
            read
        };
        let since = match &self.deprecated {
            None | Some(Since::Never) => None,
            // The header wants a date (RFC 9745, 2.1); one long past says "already".
            Some(Since::Always) => Some(OffsetDateTime::UNIX_EPOCH),
            Some(Since::Date(text)) => date("deprecated", text),
        };
        let sunset = self.sunset.as_deref().and_then(|text| date("sunset", text));
        if let (Some(since), Some(sunset)) = (since, sunset)
            && sunset < since
        {
            problems
                .error(
                    &at.key("sunset"),
                    "the place would go before it is deprecated",
                )
                .help("RFC 9745 wants the sunset to be no earlier than the deprecation");
        }
        Ok(KeySource {
            location,
            notice: Deprecation::new(since, sunset).map(Arc::new),
        })
    }
}

/// A date, at its first moment in UTC; or a date with a time.
fn moment(text: &str) -> Option<OffsetDateTime> {
    let day = format_description!("[year]-[month]-[day]");
    match Date::parse(text, &day) {
        Ok(date) => Some(date.midnight().assume_utc()),
        Err(_) => OffsetDateTime::parse(text, &Rfc3339).ok(),
    }
}
