//! What a route asks of a request before its payload is mapped: a JSON Schema, headers and parameters, a content type.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::Config;
use super::load::{Environment, Sources, load};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// The most files that one schema may be spread over.
const MOST_FILES: usize = 200;

/// What a request has to bring, beside its body.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Required {
    /// Names of headers that must be there and not be blank.
    pub headers: Vec<String>,
    /// Names of query parameters that must be there and not be blank.
    pub query: Vec<String>,
}

/// A JSON Schema, as written.
#[derive(Clone, Debug)]
pub enum Schema {
    /// In its place.
    Inline(Value),
    /// The name of a file, and where in it: `schemas.yaml#/components/schemas/Order`.
    File(String),
    /// With every file that it refers to.
    Read(Arc<SchemaFiles>),
}

/// A schema with the files that it refers to.
#[derive(Clone, Debug)]
pub struct SchemaFiles {
    /// The URI of the schema: that of its file, and where in it.
    pub uri: String,
    /// `None` where it stands in its place.
    pub inline: Option<Value>,
    /// By URI.
    pub documents: BTreeMap<String, SchemaDocument>,
}

/// A file of schemas.
#[derive(Clone, Debug)]
pub struct SchemaDocument {
    pub value: Value,
    /// Where everything in it was written.
    pub sources: Sources,
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Schema;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON Schema, or the name of a file that holds one")
            }
            fn visit_str<E: de::Error>(self, file: &str) -> Result<Schema, E> {
                Ok(Schema::File(file.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Schema, A::Error> {
                Value::deserialize(de::value::MapAccessDeserializer::new(map)).map(Schema::Inline)
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for Schema {
    fn schema_name() -> Cow<'static, str> {
        "BodySchema".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        json_schema!({
            "description": "A JSON Schema (draft 2020-12, or what its `$schema` says; OpenAPI 3.0's dialect where `$schema` begins with `https://spec.openapis.org/oas/3.0/`), or the name of a file that holds one, such as `schemas/order.json` or `openapi.yaml#/components/schemas/Order`.",
            "anyOf": [{ "type": "string" }, { "type": "object" }]
        })
    }
}

/// Reads the files that schemas are in, and those that they refer to. Nothing is fetched from a network.
pub fn read(
    config: &mut Config,
    directory: &dyn Fn(&ConfigPath) -> PathBuf,
    environment: &dyn Environment,
    problems: &mut Problems,
) {
    let routes = ConfigPath::root().key("routes");
    for (key, route) in &mut config.routes {
        let Some(schema) = &mut route.schema else {
            continue;
        };
        let at = routes.key(key.to_string()).key("schema");
        let mut reading = Reading {
            at: &at,
            documents: BTreeMap::new(),
            environment,
            problems,
        };
        let (uri, inline) = match schema {
            Schema::Read(_) => continue,
            Schema::Inline(value) => {
                let beside = reading.absolute(&directory(&at).join("the-route-file"));
                reading.follow(value, &beside);
                (uri_of(&beside), Some(std::mem::take(value)))
            }
            Schema::File(name) => {
                let (file, fragment) = name.split_once('#').unwrap_or((name, ""));
                if file.is_empty() {
                    reading
                        .problems
                        .error(&at, "the name of the file is empty")
                        .help("write a file that holds a JSON Schema, or the schema itself");
                    continue;
                }
                let file = reading.absolute(&directory(&at).join(file));
                reading.file(&file);
                let uri = uri_of(&file);
                let uri = if fragment.is_empty() {
                    uri
                } else {
                    format!("{uri}#{fragment}")
                };
                (uri, None)
            }
        };
        let documents = reading.documents;
        *schema = Schema::Read(Arc::new(SchemaFiles {
            uri,
            inline,
            documents,
        }));
    }
}

struct Reading<'r> {
    at: &'r ConfigPath,
    documents: BTreeMap<String, SchemaDocument>,
    environment: &'r dyn Environment,
    problems: &'r mut Problems,
}

impl Reading<'_> {
    /// Without `.` and `..`, so that each file has one name.
    fn absolute(&self, path: &Path) -> PathBuf {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut plain = PathBuf::new();
        for part in whole.components() {
            match part {
                std::path::Component::ParentDir => drop(plain.pop()),
                std::path::Component::CurDir => {}
                part => plain.push(part),
            }
        }
        plain
    }

    /// Reads a file and what it refers to, unless it has been read.
    fn file(&mut self, path: &Path) {
        let uri = uri_of(path);
        if self.documents.contains_key(&uri) {
            return;
        }
        if self.documents.len() == MOST_FILES {
            let said = format!("the schema refers to more than {MOST_FILES} files");
            self.problems.error(self.at, said);
            return;
        }
        let loaded = load::<Value>(&[path.to_owned()], self.environment);
        for mut problem in loaded.problems.0 {
            problem.path = self.at.clone();
            self.problems.0.push(problem);
        }
        let Some(value) = loaded.value else {
            return;
        };
        let sources = loaded.sources;
        let document = SchemaDocument {
            value: value.clone(),
            sources,
        };
        self.documents.insert(uri, document);
        self.follow(&value, path);
    }

    /// Reads the files beside `from` that a document refers to.
    fn follow(&mut self, value: &Value, from: &Path) {
        let mut named = Vec::new();
        references(value, &mut named);
        for reference in named {
            let file = reference.split('#').next().unwrap_or_default();
            // What has a scheme, or begins at the root of some server, is no file beside this one.
            if file.is_empty() || file.contains(':') || file.starts_with('/') {
                continue;
            }
            let path = from.parent().unwrap_or(Path::new(".")).join(file);
            self.file(&self.absolute(&path));
        }
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.push(reference.clone());
            }
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// `file:///…`, with what a URI cannot hold in percent-encoding.
fn uri_of(path: &Path) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'.')
        .remove(b'-')
        .remove(b'_')
        .remove(b'~');
    let text = path.to_string_lossy();
    format!(
        "file://{}",
        percent_encoding::utf8_percent_encode(&text, KEPT)
    )
}
