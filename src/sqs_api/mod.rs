//! The SQS wire protocol over the embedded queues, on its own listener: JSON 1.0 and Query, as any SDK speaks it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::integration::Targets;

/// The listener that answers the SQS protocol.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Sqs")]
pub struct Settings {
    /// `host:port`. Default: 127.0.0.1:9324.
    pub bind: Option<String>,
    /// Whether signatures are ignored; on loopback addresses only. Default: false.
    pub anonymous: bool,
}

/// What answers the protocol's requests.
pub struct SqsApi {
    pub targets: Arc<Targets>,
}
