//! One API in front of several versions of it.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::model::value::Span;

/// Which version of the API a request is for. Each version is an API of this process, told apart by what the request says
/// and not by its path.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// Where a request says its version: the first that says one counts.
    pub from: Vec<VersionSource>,
    /// The version of a request that says none. Default: it is refused.
    pub default: Option<String>,
    /// The status for a request that says none, where there is no default: 4xx. Default: 403.
    #[schemars(range(min = 400, max = 499))]
    pub missing: Option<u16>,
    /// The status for a version that is not in the table: 4xx. Default: 403.
    #[schemars(range(min = 400, max = 499))]
    pub unknown: Option<u16>,
    /// The versions, by name, each with the `api` that serves it; a host of that API will do. Beside `dynamodb` they hold
    /// until the table there has been read for the first time.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, Version>")]
    pub table: IndexMap<String, Version>,
    /// The versions are the items of a table in DynamoDB. It is read in the background, and what is changed there is in use
    /// without a reload.
    pub dynamodb: Option<VersionTable>,
}

/// A table of versions in DynamoDB.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionTable {
    /// The table, by name or ARN.
    pub table: String,
    /// The APIs that items may name; an item that names another one is reported, and no version. Those that have neither
    /// `hosts` nor `base_path` are reached as versions alone.
    pub apis: Vec<String>,
    /// What the items' attributes are called.
    #[serde(default)]
    pub attributes: VersionAttributes,
    /// The partition that holds the versions, where the table holds other things too: it is queried in place of scanned.
    pub partition: Option<Partition>,
    /// Its region. Default: the ARN's, else `aws.region`.
    pub region: Option<String>,
    /// How often it is read, 1s to 1h. Default: 30s.
    pub refresh: Option<Span>,
}

/// A partition of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// The attribute that is the table's partition key, a string.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What the attributes of a version's item are called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VersionAttributes {
    /// The version's name, a string or a number. Default: `version`.
    pub version: String,
    /// The API that serves it, by name or by one of its hosts. Default: `api`.
    pub api: String,
    /// Since when it is deprecated. Default: `deprecated`.
    pub deprecated: String,
    /// When it ends. Default: `sunset`.
    pub sunset: String,
    /// A page about it. Default: `link`.
    pub link: String,
    /// Whether it is answered 410 from its sunset on, a boolean. Default: `gone`.
    pub gone: String,
}

impl Default for VersionAttributes {
    fn default() -> VersionAttributes {
        let [version, api, deprecated, sunset, link, gone] =
            ["version", "api", "deprecated", "sunset", "link", "gone"].map(str::to_owned);
        VersionAttributes {
            version,
            api,
            deprecated,
            sunset,
            link,
            gone,
        }
    }
}

impl VersionAttributes {
    /// All of them, each with its key.
    pub fn all(&self) -> [(&'static str, &str); 6] {
        [
            ("version", &self.version),
            ("api", &self.api),
            ("deprecated", &self.deprecated),
            ("sunset", &self.sunset),
            ("link", &self.link),
            ("gone", &self.gone),
        ]
    }
}

/// Where a request says its version.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VersionSource {
    /// A media type of `Accept` with `{version}` in it, such as `application/vnd.example.{version}+json`.
    Accept(String),
    /// A header.
    Header(String),
    /// A query parameter.
    Query(String),
}

/// A version: the name of its API, or that with what its callers are told.
#[derive(Clone, Debug, Default)]
pub struct Version {
    /// The API that serves it, by name, or by one of its hosts.
    pub api: String,
    /// Since when it is deprecated, `2026-06-30` or with a time: `Deprecation` (RFC 9745) tells.
    pub deprecated: Option<String>,
    /// When it ends: `Sunset` (RFC 8594) tells.
    pub sunset: Option<String>,
    /// A page about it, told in `Link`.
    pub link: Option<String>,
    /// Whether it is answered 410 from its sunset on.
    pub gone: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    api: String,
    deprecated: Option<String>,
    sunset: Option<String>,
    link: Option<String>,
    #[serde(default)]
    gone: bool,
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Version;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an API, or `{ api: …, sunset: … }`")
            }
            fn visit_str<E: de::Error>(self, api: &str) -> Result<Version, E> {
                Ok(Version {
                    api: api.to_owned(),
                    ..Version::default()
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Version, A::Error> {
                let map = de::value::MapAccessDeserializer::new(map);
                let Whole {
                    api,
                    deprecated,
                    sunset,
                    link,
                    gone,
                } = Whole::deserialize(map)?;
                Ok(Version {
                    api,
                    deprecated,
                    sunset,
                    link,
                    gone,
                })
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        json_schema!({
            "description": "The API that serves the version, by name or by one of its hosts; or that with what its callers are told.",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["api"],
                    "properties": {
                        "api": { "description": "The API that serves it, by name or by one of its hosts.", "type": "string" },
                        "deprecated": { "description": "Since when it is deprecated, `2026-06-30` or with a time: `Deprecation` (RFC 9745) tells.", "type": "string" },
                        "sunset": { "description": "When it ends: `Sunset` (RFC 8594) tells.", "type": "string" },
                        "link": { "description": "A page about it, told in `Link`.", "type": "string" },
                        "gone": { "description": "Whether it is answered 410 from its sunset on. Default: false.", "type": "boolean" }
                    }
                }
            ]
        })
    }
}
