//! The standing recording of requests.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::carried::Carried;
use crate::model::route_key::RouteKey;
use crate::model::value::{ByteSize, Share};

/// Requests that are recorded while the gateway runs, to be taken through another configuration by `penstock replay`.
/// Credentials and signatures are struck out; bodies are in it as they came. It never delays a request: what does not fit
/// is dropped and counted. `penstock capture` records for a while without this.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// The folder for the files, of its own; made if missing, and readable by its owner alone.
    #[schemars(required)]
    pub path: String,
    /// The routes whose requests are recorded, by their keys. Default: all, and requests without a route.
    pub routes: Vec<RouteKey>,
    /// The part of the requests that is recorded, at random. Default: 100%.
    pub sample: Option<Share>,
    /// The longest body that is recorded; of a request with a longer one everything else is. Default: 64KiB.
    pub max_body: Option<ByteSize>,
    /// How long a file becomes before another one is begun. Default: 64MiB.
    pub file_size: Option<ByteSize>,
    /// The most that all files take together; the oldest are removed. Default: 1GiB.
    pub max_size: Option<ByteSize>,
    /// What is struck out beside credentials: `header:NAME`, `query:NAME`, or `body` for every body. It holds for
    /// `penstock capture`, too.
    pub redact: Vec<Struck>,
}

/// A place that is struck out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struck(pub Carried);

impl<'de> Deserialize<'de> for Struck {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Struck, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Struck).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Struck {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Struck".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(header:.+|query:.+|body)$" })
    }
}
