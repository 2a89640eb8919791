//! Where the gateway listens.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::model::secret::Secret;

/// An address that requests come in on. HTTP/1.1 and HTTP/2 (cleartext, prior knowledge) share the port.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `address:port`. Port 0 takes a free one; the address taken is printed.
    pub bind: String,
}

/// The admin listener: `/livez`, `/readyz`, `/metrics`, `/v1/plan`, `/v1/queues` and what `penstock queue` asks for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// `address:port`. Port 0 takes a free one; the address taken is printed.
    pub bind: String,
    /// What must be brought (`Authorization: Bearer …`) to see or change messages: 16 to 1,024 visible ASCII characters,
    /// best from `${env:…}` or `${file:…}`. Default: none; then messages are seen and changed from this machine only,
    /// and not at all where `bind` is not loopback.
    #[serde(default, deserialize_with = "token")]
    #[schemars(with = "Option<String>", length(min = 16, max = 1024))]
    pub token: Option<Secret<String>>,
}

/// Reads a token; a refusal does not show it.
fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret<String>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let fits =
        (16..=1024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        Ok(Some(Secret::new(text)))
    } else {
        Err(D::Error::custom(
            "a token has 16 to 1,024 visible ASCII characters",
        ))
    }
}
