use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::*;
use crate::model::route_key::RouteKey;
use crate::model::text::Text;
use crate::model::value::{ByteSize, Span};

/// A sample of a route file.
///
/// It has a second paragraph.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    /// The name. Default: the file's name.
    api: Option<String>,
    /// How answers look.
    responses: Option<Dialect>,
    /// Limits of size | time.
    limits: Limits,
    /// The bucket of every route.
    throttle: Option<Bucket>,
    /// Settings by name.
    settings: BTreeMap<String, u16>,
    /// The routes.
    routes: IndexMap<RouteKey, Route>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Dialect {
    /// Our own.
    Native,
    /// The vendor's.
    Aws,
}

/// Limits in general.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    /// The largest body. Default: 1MiB.
    body: Option<ByteSize>,
    /// How long to wait.
    timeout: Option<Span>,
    /// At once.
    #[schemars(range(min = 1, max = 9))]
    in_flight: Option<u32>,
    strict: bool,
}

/// A token bucket.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct Bucket {
    /// Tokens a second.
    rate: f64,
}

/// Where requests go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct Route {
    /// The route's own bucket.
    throttle: Option<Bucket>,
    /// The target.
    integration: Integration,
    /// Further targets.
    also: Vec<Tagged>,
    /// A bucket of the caller's.
    caller: Option<BucketOrFalse>,
    /// The method.
    method: Option<Method>,
    /// Who may come in.
    authorizer: Option<Names>,
    /// Headers to add.
    #[serde(default)]
    headers: BTreeMap<String, Text>,
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
enum Integration {
    /// Sends a message.
    #[serde(rename = "SQS-SendMessage")]
    Send(Send),
    /// Answers as told.
    Mock,
}

/// The parameters of SendMessage.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
#[expect(dead_code, reason = "only its shape is used")]
struct Send {
    /// The queue's URL.
    queue_url: Text,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its shape is used")]
enum BucketOrFalse {
    Bucket(Bucket),
    Off(bool),
}

/// A name, or a list of names.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its shape is used")]
enum Names {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Get,
    Post,
}

/// A target with keys beside its tag, as hand-written schemas have it.
#[derive(Deserialize)]
struct Tagged;

impl JsonSchema for Tagged {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tagged".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let send = generator.subschema_for::<Send>();
        let form = |tag: &str, beside: &[&str]| {
            let mut keys = Map::new();
            keys.insert(tag.to_owned(), send.clone().to_value());
            for key in beside {
                keys.insert(
                    key.to_string(),
                    serde_json::json!({ "type": "string", "description": "Says how." }),
                );
            }
            serde_json::json!({ "type": "object", "properties": keys, "required": [tag] })
        };
        schemars::json_schema!({
            "description": "A target, by its tag.",
            "oneOf": [form("Kinesis", &["decode", "both"]), form("SQS", &["both"])]
        })
    }
}

#[test]
fn the_page_has_a_section_for_each_part_and_a_table_of_its_keys() {
    let page = markdown(&schemars::schema_for!(Sample).to_value());
    assert_eq!(page, include_str!("sample.md"), "{page}");
}

#[test]
fn every_link_leads_to_a_heading() {
    let page = markdown(&schemars::schema_for!(Sample).to_value());
    let headings: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with("##"))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title.replace(['`', '.', '[', ']'], "").replace(' ', "-")
        })
        .collect();
    let mut links = 0;
    for link in page.split("](#").skip(1) {
        let target = link.split(')').next().unwrap();
        assert!(
            headings.iter().any(|heading| heading == target),
            "{target} in {headings:?}"
        );
        links += 1;
    }
    assert!(links > 5);
}

#[test]
fn a_schema_of_any_form_gives_a_page() {
    for schema in [
        serde_json::json!(null),
        serde_json::json!({}),
        serde_json::json!({ "$ref": "#/$defs/A", "$defs": { "A": { "$ref": "#/$defs/A" } } }),
        serde_json::json!({ "$ref": "#/$defs/A", "$defs": { "A": { "items": { "$ref": "#/$defs/A" } } } }),
        serde_json::json!({
            "$ref": "#/$defs/A",
            "$defs": { "A": { "anyOf": [{ "type": "string" }, { "items": { "$ref": "#/$defs/A" } }] } }
        }),
        serde_json::json!({ "properties": { "a": true, "b": { "items": { "properties": {} } } } }),
        serde_json::json!({ "$ref": "#/$defs/A", "$defs": { "A": { "properties": { "a": { "$ref": "#/$defs/A" } } } } }),
    ] {
        assert!(markdown(&schema).starts_with("# Configuration\n"));
    }
}
