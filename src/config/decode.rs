//! Which encoded bodies are decoded.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::decode::Coding;

/// The content codings of bodies that are decoded: `gzip`, `br`, `zstd`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Decode(pub Vec<Coding>);
