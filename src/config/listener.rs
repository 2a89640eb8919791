//! Where the gateway listens.

use schemars::JsonSchema;
use serde::Deserialize;

/// An address that requests come in on. HTTP/1.1 and HTTP/2 (cleartext, prior knowledge) share the port.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `address:port`. Port 0 takes a free one; the address taken is printed.
    pub bind: String,
}

/// The admin listener: `/livez`, `/readyz`, `/metrics`, `/v1/plan`, `/v1/queues`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// `address:port`. Port 0 takes a free one; the address taken is printed.
    pub bind: String,
}
