//! Loading as a user meets it: files in, problems out, each as the line that `check` prints.

use std::collections::BTreeMap;
use std::fs;

use indexmap::IndexMap;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::model::route_key::RouteKey;
use crate::model::text::{Piece, Text};
use crate::model::value::{ByteSize, QueueName, Span};

mod multiple;
mod reading;
mod secrets;
mod syntax;

/// A small gateway: one of every form that the real types have.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    api: Option<String>,
    stage: Option<String>,
    stage_variables: BTreeMap<String, String>,
    responses: Dialect,
    limits: Limits,
    queues: IndexMap<QueueName, Queue>,
    throttle: Option<Throttle>,
    statuses: BTreeMap<u16, String>,
    routes: IndexMap<RouteKey, Route>,
    secrets: Vec<StringOrValue>,
    rate_or_off: Option<RateOrOff>,
    anything: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Dialect {
    #[default]
    Native,
    Aws,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    body: Option<ByteSize>,
    timeout: Option<Span>,
    in_flight: Option<u32>,
    strict: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Queue {
    fifo: bool,
    visibility_timeout: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Throttle {
    rate: f64,
    burst: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    integration: Integration,
    #[serde(default)]
    throttle: Option<Throttle>,
    #[serde(default)]
    authorizer: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only its shape is used")]
enum Integration {
    #[serde(rename = "SQS-SendMessage")]
    Send(Send),
    #[serde(rename = "SQS-PurgeQueue", rename_all = "PascalCase")]
    Purge {
        queue_url: Text,
    },
    Mock,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Send {
    queue_url: Text,
    message_body: Text,
    #[serde(default)]
    delay_seconds: Option<Text>,
}

/// Takes text or a mapping and asks for any form, as hand-written types do.
#[derive(Debug, PartialEq)]
struct StringOrValue(String);

impl<'de> Deserialize<'de> for StringOrValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = StringOrValue;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a secret, or `{ value: … }`")
            }
            fn visit_str<E>(self, text: &str) -> Result<StringOrValue, E> {
                Ok(StringOrValue(text.to_owned()))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<StringOrValue, A::Error> {
                let mut value = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "value" {
                        return Err(serde::de::Error::unknown_field(&key, &["value"]));
                    }
                    value = Some(map.next_value::<String>()?);
                }
                value
                    .map(StringOrValue)
                    .ok_or_else(|| serde::de::Error::missing_field("value"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Takes a number or `false`, and no text.
#[derive(Debug, PartialEq)]
enum RateOrOff {
    Rate(f64),
    Off,
}

impl<'de> Deserialize<'de> for RateOrOff {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = RateOrOff;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, or false")
            }
            fn visit_u64<E>(self, rate: u64) -> Result<RateOrOff, E> {
                Ok(RateOrOff::Rate(rate as f64))
            }
            fn visit_f64<E>(self, rate: f64) -> Result<RateOrOff, E> {
                Ok(RateOrOff::Rate(rate))
            }
            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<RateOrOff, E> {
                if on {
                    return Err(E::invalid_value(serde::de::Unexpected::Bool(on), &self));
                }
                Ok(RateOrOff::Off)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Variables as a test sets them.
fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

/// Loads one text as `shop.yaml`.
fn sample(text: &str, variables: &[(&str, &str)]) -> Loaded<Sample> {
    let file = SourceFile {
        path: "shop.yaml".into(),
        text: text.to_owned(),
    };
    load_texts(vec![file], &environment(variables))
}

/// The lines that `check` would print.
fn lines<T>(loaded: &Loaded<T>) -> Vec<String> {
    let problems = loaded.problems.0.iter();
    problems.map(|problem| problem.to_string()).collect()
}

/// The problems of one text.
fn problems(text: &str) -> Vec<String> {
    lines(&sample(text, &[]))
}

/// The value of a text without problems.
fn value(text: &str, variables: &[(&str, &str)]) -> Sample {
    let loaded = sample(text, variables);
    assert_eq!(lines(&loaded), Vec::<String>::new());
    loaded.value.unwrap()
}

fn path(keys: &[&str]) -> ConfigPath {
    keys.iter()
        .fold(ConfigPath::root(), |path, key| path.key(*key))
}

#[test]
fn ten_faults_give_ten_lines_with_file_line_column_and_path() {
    let loaded = sample(
        r#"api: shop
stag: prod
responses: awz
limits: { body: 1 parsec, timeout: [30s], in_flight: "5" }
queues:
  a.b: {}
  orders: { fifo: maybe, visibility_timeout: 30 }
throttle:
  rate: fast
  burst: 10
routes:
  POST orders:
    integration: Mock
  POST /orders:
    integration:
      SQS-SendMesage: { QueueUrl: "queue:orders", MessageBody: $request.body }
"#,
        &[],
    );
    assert_eq!(
        lines(&loaded),
        [
            "shop.yaml:2:1: error: stag: unknown key `stag`; did you mean `stage`? allowed: `api`, `stage`, `stage_variables`, `responses`, `limits`, `queues`, `throttle`, `statuses`, `routes`, `secrets`, `rate_or_off`, `anything`",
            "shop.yaml:3:12: error: responses: \"awz\" is not known here; did you mean `aws`? allowed: `native`, `aws`",
            "shop.yaml:4:17: error: limits.body: \"1 parsec\" is not a size; write a number of bytes or one with a unit, such as 256KiB, 1MiB, 10GiB",
            "shop.yaml:4:36: error: limits.timeout: found a list, expected a duration such as 30s or 10m",
            "shop.yaml:4:54: error: limits.in_flight: found \"5\", expected a whole number from 0 to 4294967295; write it without quotes",
            "shop.yaml:6:3: error: queues.\"a.b\": \"a.b\" is not a queue name; allowed: letters, digits, - and _, up to 80 characters, and .fifo at the end of a FIFO queue's name",
            "shop.yaml:7:19: error: queues.orders.fifo: found \"maybe\", expected true or false",
            "shop.yaml:7:46: error: queues.orders.visibility_timeout: \"30\" is not a duration; write a number with a unit, such as 500ms, 30s, 10m, 24h, 4d",
            "shop.yaml:9:9: error: throttle.rate: found \"fast\", expected a number",
            "shop.yaml:12:3: error: routes.\"POST orders\": the path \"orders\" must start with `/`",
            "shop.yaml:16:7: error: routes.\"POST /orders\".integration.SQS-SendMesage: \"SQS-SendMesage\" is not known here; did you mean `SQS-SendMessage`? allowed: `SQS-SendMessage`, `SQS-PurgeQueue`, `Mock`",
        ]
    );
    let value = loaded.value.unwrap();
    assert_eq!(value.api.as_deref(), Some("shop"));
    assert_eq!(
        value.queues.len(),
        1,
        "what did parse is there for cross-checks"
    );
    assert!(value.throttle.is_none());
    assert!(value.routes.is_empty());
    let at = |keys: &[&str]| loaded.sources.refused(&path(keys));
    assert!(at(&["routes", "POST /orders", "integration"]));
    assert!(at(&["throttle", "burst"]));
    assert!(!at(&["queues", "orders"]));
    assert!(!at(&["routes"]));
}

#[test]
fn a_small_gateway_loads() {
    let sample = value(
        r#"
api: shop
stage: prod
stage_variables: { tier: gold, count: 3 }
responses: aws
limits: { body: 1MiB, timeout: 10s, in_flight: 4096, strict: true }
queues: { orders: { visibility_timeout: 30s }, ledger.fifo: { fifo: true } }
throttle: { rate: 1000, burst: 2000 }
statuses: { 200: fine, 404: gone }
routes:
  POST /orders:
    integration:
      SQS-SendMessage:
        QueueUrl: queue:orders
        MessageBody: $request.body
        DelaySeconds: 007
    throttle: { rate: 0.5, burst: 1 }
    authorizer: [keys]
  POST /purge: { integration: { SQS-PurgeQueue: { QueueUrl: "queue:orders" } } }
  GET /health: { integration: Mock }
  GET /also: { integration: { Mock: {} } }
rate_or_off: false
"#,
        &[],
    );
    assert_eq!(sample.stage.as_deref(), Some("prod"));
    assert_eq!(sample.stage_variables["count"], "3");
    assert_eq!(sample.responses, Dialect::Aws);
    assert_eq!(sample.limits.body, Some(ByteSize::mib(1)));
    assert_eq!(sample.limits.timeout, Some(Span::secs(10)));
    assert!(sample.limits.strict);
    assert_eq!(sample.statuses[&404], "gone");
    assert_eq!(sample.rate_or_off, Some(RateOrOff::Off));
    assert_eq!(sample.throttle.unwrap().burst, 2000);
    let keys: Vec<_> = sample.queues.keys().map(|name| name.0.as_str()).collect();
    assert_eq!(keys, ["orders", "ledger.fifo"]);
    assert!(sample.queues[1].fifo);
    let route = &sample.routes[0];
    assert_eq!(route.authorizer, ["keys"]);
    assert_eq!(route.throttle.as_ref().unwrap().rate, 0.5);
    let Integration::Send(send) = &route.integration else {
        panic!("{:?}", route.integration);
    };
    assert_eq!(send.queue_url, Text::written("queue:orders"));
    assert_eq!(send.message_body, Text::written("$request.body"));
    assert_eq!(
        send.delay_seconds,
        Some(Text::written("007")),
        "text keeps its spelling"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn random_text_never_panics_the_loader(text in "\\PC{0,200}") {
        sample(&text, &[]);
    }

    #[test]
    fn text_made_of_yaml_signs_never_panics_the_loader(
        text in proptest::collection::vec(
            prop_oneof![
                Just("\n"), Just(" "), Just("  "), Just("\t"), Just(": "), Just("- "), Just("{"), Just("}"), Just("["),
                Just("]"), Just(","), Just("\""), Just("'"), Just("&a "), Just("*a"), Just("<<: "), Just("!!str "),
                Just("!x "), Just("|\n"), Just(">-\n"), Just("---\n"), Just("...\n"), Just("#"), Just("? "), Just("%"),
                Just("${env:X}"), Just("${"), Just("$"), Just("routes"), Just("limits"), Just("POST /a"), Just("1"),
                Just("null"), Just("integration"), Just("Mock"), Just("\r"), Just("\u{feff}"), Just("é"), Just("\\"),
            ], 0..60)
    ) {
        sample(&text.concat(), &[("X", "y")]);
    }

    #[test]
    fn random_bytes_never_panic_the_loader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.yaml");
        fs::write(&file, bytes).unwrap();
        load::<Sample>(&[file], &environment(&[]));
    }
}
