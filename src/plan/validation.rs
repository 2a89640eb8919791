//! What a route asks of its requests, compiled: a JSON Schema for the body, headers and query parameters that must be
//! there, content types that are taken.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use http::header::CONTENT_TYPE;
use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::config::Route;
use crate::config::validation::{Schema, SchemaFiles};
use crate::model::call::Call;
use crate::model::path::{ConfigPath, Segment};
use crate::model::problem::Problems;

/// The most values that a body may hold where a schema is asked for: about 16 MiB of memory.
pub const MOST_VALUES: usize = 250_000;
/// Bodies of more values are told only the first thing that is wrong.
const EVERY_FAULT_UP_TO: usize = 10_000;
/// The most faults that a caller is told, and how long what is said of one may be, in bytes.
const MOST_FAULTS: usize = 20;
const LONGEST: usize = 256;
/// Steps of a pattern with look-around or back references; others take linear time.
const BACKTRACKS: usize = 50_000;
/// Memory of one pattern, in bytes.
const PATTERN_SIZE: usize = 1 << 20;
/// `$schema` of OpenAPI 3.0's dialect begins with this; 3.1's is draft 2020-12.
const OPENAPI_3_0: &str = "https://spec.openapis.org/oas/3.0/";
const OPENAPI: &str = "https://spec.openapis.org/oas/";

/// Everything that is asked of a route's requests.
#[derive(Debug)]
pub struct Validation {
    headers: Vec<HeaderName>,
    query: Vec<String>,
    /// In lower case, with `*` for any; empty: all are taken.
    content_types: Vec<(String, String)>,
    schema: Option<Validator>,
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Invalid {
    /// Headers and parameters that are not there, each `(header or query, name)`.
    Missing(Vec<(&'static str, String)>),
    /// The content types that are taken.
    ContentType(String),
    /// The body is not JSON: why.
    NotJson(String),
    TooManyValues,
    Body(Vec<Fault>),
}

/// One thing that is wrong with a body. No value of the body stands in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// A JSON pointer into the body.
    pub pointer: String,
    /// The schema's keyword.
    pub keyword: String,
    pub message: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Missing(names) => {
                let said = names.iter().map(|(kind, name)| match *kind {
                    "header" => format!("the header {name}"),
                    _ => format!("the query parameter {name}"),
                });
                let said: Vec<String> = said.collect();
                write!(f, "the request lacks {}", said.join(", "))
            }
            Invalid::ContentType(taken) => write!(f, "the content type is none of {taken}"),
            Invalid::NotJson(why) => write!(f, "the body is not JSON: {why}"),
            Invalid::TooManyValues => {
                write!(f, "the body holds more than {MOST_VALUES} values")
            }
            Invalid::Body(faults) => match faults.as_slice() {
                [] => f.write_str("the body is not as its schema asks"),
                [one] => write!(f, "the body is not as its schema asks: {one}"),
                [first, others @ ..] => write!(
                    f,
                    "the body is not as its schema asks: {first}; and {} more",
                    others.len()
                ),
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.message),
            pointer => write!(f, "{pointer}: {}", self.message),
        }
    }
}

impl Invalid {
    /// The `errors` of a problem document.
    pub fn errors(&self) -> Vec<Value> {
        match self {
            Invalid::Missing(names) => names
                .iter()
                .map(|(kind, name)| {
                    json!({ "in": kind, "name": name, "keyword": "required", "message": "is missing or blank" })
                })
                .collect(),
            Invalid::Body(faults) => faults
                .iter()
                .map(|fault| {
                    json!({ "pointer": fault.pointer, "keyword": fault.keyword, "message": fault.message })
                })
                .collect(),
            Invalid::ContentType(_) | Invalid::NotJson(_) | Invalid::TooManyValues => Vec::new(),
        }
    }
}

impl Validation {
    /// What a route asks; `None` where it asks nothing.
    pub(super) fn compile(
        route: &Route,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Arc<Validation>> {
        let mut headers = Vec::new();
        let asked = at.key("required");
        for (index, name) in route.required.headers.iter().enumerate() {
            match name.parse() {
                Ok(name) => headers.push(name),
                Err(_) => {
                    let at = asked.key("headers").index(index);
                    problems.error(&at, format!("{name:?} is not a header name"));
                }
            }
        }
        for (index, name) in route.required.query.iter().enumerate() {
            if name.is_empty() {
                let at = asked.key("query").index(index);
                problems.error(&at, "the name of the parameter is empty");
            }
        }
        let mut content_types = Vec::new();
        for (index, written) in route.content_types.iter().enumerate() {
            match media_type(written) {
                Some(kind) if !written.contains(';') => content_types.push(kind),
                _ => {
                    problems
                        .error(
                            &at.key("content_types").index(index),
                            format!("{written:?} is not a content type"),
                        )
                        .help("write one such as `application/json`, `text/*` or `application/*+json`, without parameters");
                }
            }
        }
        let schema = match &route.schema {
            Some(Schema::Read(files)) => validator(files, &at.key("schema"), problems),
            // Those that could not be read have been reported.
            Some(Schema::File(_) | Schema::Inline(_)) | None => None,
        };
        let nothing =
            headers.is_empty() && route.required.query.is_empty() && content_types.is_empty();
        if nothing && schema.is_none() {
            return None;
        }
        Some(Arc::new(Validation {
            headers,
            query: route.required.query.clone(),
            content_types,
            schema,
        }))
    }

    /// Looks at the head alone.
    pub fn head(&self, call: &Call) -> Result<(), Invalid> {
        let there = |value: &[u8]| !value.trim_ascii().is_empty();
        let mut missing = Vec::new();
        for name in &self.headers {
            let mut values = call.headers.get_all(name).iter();
            if !values.any(|value| there(value.as_bytes())) {
                missing.push(("header", name.to_string()));
            }
        }
        for name in &self.query {
            if !call.query(name).is_some_and(|value| there(&value)) {
                missing.push(("query", name.clone()));
            }
        }
        if !missing.is_empty() {
            return Err(Invalid::Missing(missing));
        }
        self.content_type(call)
    }

    fn content_type(&self, call: &Call) -> Result<(), Invalid> {
        if self.content_types.is_empty() {
            return Ok(());
        }
        let mut named = call.headers.get_all(CONTENT_TYPE).iter();
        let only = named.next().filter(|_| named.next().is_none());
        let kind = only.and_then(|value| media_type(value.to_str().ok()?));
        let taken = |(main, sub): &(String, String)| {
            let (own_main, own_sub) = kind.as_ref()?;
            let suffix = sub.strip_prefix('*').filter(|rest| !rest.is_empty());
            let same_sub = sub == "*"
                || sub == own_sub
                || suffix.is_some_and(|suffix| own_sub.ends_with(suffix));
            ((main == "*" || main == own_main) && same_sub).then_some(())
        };
        if self.content_types.iter().any(|kind| taken(kind).is_some()) {
            return Ok(());
        }
        let names = self.content_types.iter();
        let names: Vec<String> = names.map(|(main, sub)| format!("{main}/{sub}")).collect();
        Err(Invalid::ContentType(names.join(", ")))
    }

    /// Whether the body is looked at.
    pub fn asks_body(&self) -> bool {
        self.schema.is_some()
    }

    /// Holds the body against the schema. Takes time in proportion to the body for most schemas.
    pub fn body(&self, body: &[u8]) -> Result<(), Invalid> {
        let Some(schema) = &self.schema else {
            return Ok(());
        };
        let count = values(body)?;
        let value: Value =
            serde_json::from_slice(body).map_err(|error| Invalid::NotJson(error.to_string()))?;
        if schema.is_valid(&value) {
            return Ok(());
        }
        let faults = if count > EVERY_FAULT_UP_TO {
            let first = schema.validate(&value).err();
            first.iter().map(fault).collect()
        } else {
            let errors = schema.iter_errors(&value).take(MOST_FAULTS);
            errors.map(|error| fault(&error)).collect()
        };
        Err(Invalid::Body(faults))
    }
}

fn fault(error: &jsonschema::ValidationError<'_>) -> Fault {
    Fault {
        pointer: shortened(error.instance_path().as_str()),
        keyword: shortened(error.kind().keyword()),
        message: shortened(&error.masked().to_string()),
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(LONGEST)])
}

/// `type/subtype` in lower case, without parameters.
fn media_type(text: &str) -> Option<(String, String)> {
    let essence = text.split(';').next()?.trim();
    let (main, sub) = essence.split_once('/')?;
    let token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    (token(main) && token(sub)).then(|| (main.to_ascii_lowercase(), sub.to_ascii_lowercase()))
}

/// The validator of a schema; problems at its place, or in its file.
fn validator(
    files: &Arc<SchemaFiles>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<Validator> {
    let base = files.uri.split('#').next().unwrap_or_default();
    let inline = files.inline.clone();
    let (schema, document) = match inline {
        Some(value) => (in_known_dialect(value), None),
        None => {
            // A file that could not be read has been reported.
            let document = files.documents.get(base)?;
            let whole = files.uri == base;
            let schema = if whole {
                in_known_dialect(document.value.clone())
            } else {
                json!({ "$ref": files.uri })
            };
            (schema, whole.then_some(document))
        }
    };
    if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
        let said = "this is no JSON Schema: a schema is a mapping";
        problems.error(at, said);
        return None;
    }
    // What only refers into a file has a name of its own: under the file's the file would not be asked for.
    let own_uri = match (&files.inline, &document) {
        (None, None) => "urn:penstock:reference",
        _ => base,
    };
    let patterns = PatternOptions::fancy_regex()
        .backtrack_limit(BACKTRACKS)
        .size_limit(PATTERN_SIZE);
    let built = jsonschema::options()
        .with_base_uri(own_uri.to_owned())
        .with_retriever(Beside(files.clone()))
        .with_pattern_options(patterns)
        .should_ignore_unknown_formats(true)
        .build(&schema);
    match built {
        Ok(validator) => Some(validator),
        Err(error) => {
            let within = path_in(&schema, error.instance_path().as_str());
            let message = format!("this schema cannot be used: {error}");
            match document {
                Some(document) => {
                    let place = document.sources.place(&within);
                    let problem = problems.error(at, format!("{message}{}", pointed(&within)));
                    problem.place = place;
                }
                None => {
                    let at = ConfigPath([&at.0[..], &within.0[..]].concat());
                    problems.error(&at, message);
                }
            }
            None
        }
    }
}

fn pointed(path: &ConfigPath) -> String {
    match path.0.as_slice() {
        [] => String::new(),
        _ => format!(" (at {path})"),
    }
}

/// A JSON pointer as a path of the configuration.
fn path_in(value: &Value, pointer: &str) -> ConfigPath {
    let mut path = ConfigPath::root();
    let mut node = Some(value);
    for part in pointer.split('/').skip(1) {
        let name = part.replace("~1", "/").replace("~0", "~");
        let index = name
            .parse()
            .ok()
            .filter(|_| node.is_some_and(Value::is_array));
        let segment = match index {
            Some(index) => Segment::Index(index),
            None => Segment::Key(name.clone()),
        };
        node = match (node, index) {
            (Some(Value::Array(items)), Some(index)) => items.get(index),
            (Some(Value::Object(members)), _) => members.get(&name),
            _ => None,
        };
        path.0.push(segment);
    }
    path
}

/// The files that a schema refers to; nothing else is ever asked for.
struct Beside(Arc<SchemaFiles>);

impl Retrieve for Beside {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let uri = uri.as_str().split('#').next().unwrap_or_default();
        let by_id = || {
            let mut documents = self.0.documents.values();
            documents
                .find(|document| document.value.get("$id").and_then(Value::as_str) == Some(uri))
        };
        match self.0.documents.get(uri).or_else(by_id) {
            Some(document) => Ok(in_known_dialect(document.value.clone())),
            None if uri.starts_with("file:") => Err(format!("{uri} could not be read").into()),
            None => {
                Err(format!("{uri} is not among the files, and schemas are not fetched").into())
            }
        }
    }
}

/// A document in a draft of JSON Schema: what OpenAPI 3.0 says in its own way is said as draft 2020-12 does.
fn in_known_dialect(mut document: Value) -> Value {
    let named = document.get("$schema").and_then(Value::as_str);
    let of_openapi = named.is_some_and(|named| named.starts_with(OPENAPI));
    let old = named.is_some_and(|named| named.starts_with(OPENAPI_3_0))
        || document
            .get("openapi")
            .and_then(Value::as_str)
            .is_some_and(|version| version.starts_with("3.0"));
    if let (true, Value::Object(members)) = (of_openapi, &mut document) {
        members.shift_remove("$schema");
    }
    if old {
        from_openapi_3_0(&mut document);
    }
    document
}

fn from_openapi_3_0(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(from_openapi_3_0),
        Value::Object(members) => {
            // Beside a reference nothing counts.
            if let Some(Value::String(reference)) = members.get("$ref") {
                let reference = Value::from(reference.as_str());
                members.clear();
                members.insert("$ref".to_owned(), reference);
                return;
            }
            for (exclusive, limit) in [
                ("exclusiveMinimum", "minimum"),
                ("exclusiveMaximum", "maximum"),
            ] {
                if let Some(Value::Bool(is)) = members.get(exclusive) {
                    let moved = is.then(|| members.shift_remove(limit)).flatten();
                    members.shift_remove(exclusive);
                    if let Some(moved) = moved {
                        members.insert(exclusive.to_owned(), moved);
                    }
                }
            }
            nullable(members);
            members.values_mut().for_each(from_openapi_3_0);
        }
        _ => {}
    }
}

/// `nullable` adds null to a `type`, and says nothing without one (OpenAPI 3.0.3).
fn nullable(members: &mut Map<String, Value>) {
    let Some(Value::Bool(nullable)) = members.get("nullable") else {
        return;
    };
    let nullable = *nullable;
    let Some(Value::String(kind)) = members.get("type").filter(|_| nullable) else {
        return;
    };
    let kinds = json!([kind, "null"]);
    members.insert("type".to_owned(), kinds);
}

/// How many values a JSON text holds.
fn values(body: &[u8]) -> Result<usize, Invalid> {
    struct Count<'c>(&'c mut usize);
    impl Count<'_> {
        fn one<T, E: serde::de::Error>(self, value: T) -> Result<T, E> {
            *self.0 += 1;
            if *self.0 > MOST_VALUES {
                return Err(E::custom("too many values"));
            }
            Ok(value)
        }
    }
    impl<'de> serde::de::DeserializeSeed<'de> for Count<'_> {
        type Value = ();
        fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
            from.deserialize_any(self)
        }
    }
    impl<'de> Visitor<'de> for Count<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("JSON")
        }
        fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
            self.one(())
        }
        fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
            self.one(())
        }
        fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
            self.one(())
        }
        fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
            self.one(())
        }
        fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
            self.one(())
        }
        fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
            self.one(())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
            let count = self.0;
            Count(count).one(())?;
            while items.next_element_seed(Count(count))?.is_some() {}
            Ok(())
        }
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
            let count = self.0;
            Count(count).one(())?;
            while members.next_key::<serde::de::IgnoredAny>()?.is_some() {
                members.next_value_seed(Count(count))?;
            }
            Ok(())
        }
    }
    let mut count = 0;
    let mut text = serde_json::Deserializer::from_slice(body);
    let counted = text
        .deserialize_any(Count(&mut count))
        .and_then(|()| text.end());
    match counted {
        Err(_) if count > MOST_VALUES => Err(Invalid::TooManyValues),
        Err(error) => Err(Invalid::NotJson(error.to_string())),
        Ok(()) => Ok(count),
    }
}

#[cfg(test)]
mod tests;
