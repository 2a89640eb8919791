//! API keys as people write them: in the route file, or in files of their own (`key_files` reads them).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::key_files::FileKeys;

/// An API key, by what it hashes to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// `sha256:` and the 64 hexadecimal digits of the key's SHA-256; the key itself must hold at least 128 random bits.
    /// Or, for keys of the form `psk_<id>_<secret>` alone: `sha256-salted:`, the 32 digits of a salt, `:`, and the 64 of
    /// the SHA-256 of salt and key. `penstock keys new` prints either.
    #[schemars(regex(pattern = r"^sha256(-salted:[0-9a-fA-F]{32})?:[0-9a-fA-F]{64}$"))]
    pub hash: String,
    /// The usage plan that the key is in. Default: none, so nothing limits it.
    pub plan: Option<String>,
    /// Whether the key is good. Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// For people.
    pub description: Option<String>,
}

fn yes() -> bool {
    true
}

/// A file of keys, as YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysFile {
    pub api_keys: IndexMap<String, ApiKey>,
}

/// A file of keys.
#[derive(Clone, Debug)]
pub enum KeyFile {
    /// Its name, relative to the file that names it. What could not be read stays one.
    Named(PathBuf),
    Read(Arc<FileKeys>),
}

impl<'de> Deserialize<'de> for KeyFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = KeyFile;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a file of keys, such as keys.yaml or keys.csv")
            }
            fn visit_str<E: de::Error>(self, file: &str) -> Result<KeyFile, E> {
                Ok(KeyFile::Named(PathBuf::from(file)))
            }
        }
        deserializer.deserialize_any(Name)
    }
}

impl JsonSchema for KeyFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeyFile".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}
