//! Parts that can be switched off: `false` or `none` in place of their mapping.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::ack::Idempotency;
use super::capture::Capture;
use super::decode::Decode;
use super::deployment::{RollbackOn, Sticky};
use super::stage::{AccessLog, Cors};
use super::target::Batch;
use super::throttle::{AuthFailures, Throttles};
use crate::model::value::{MemoryShare, Span};

/// A part that can be switched off.
pub(super) trait Switched<'de>: Deserialize<'de> {
    /// What may be written, for a message.
    const FORMS: &'static str;

    /// The part, where it may be written as a list.
    fn from_list<A: SeqAccess<'de>>(_: A) -> Result<Self, A::Error> {
        Err(de::Error::custom(format_args!(
            "found a list, expected {}",
            Self::FORMS
        )))
    }
}

impl<'de> Switched<'de> for Throttles {
    const FORMS: &'static str =
        "a bucket (`{ rate: 100, burst: 200 }`), a list of buckets, or `false`";

    fn from_list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        Throttles::deserialize(de::value::SeqAccessDeserializer::new(list))
    }
}

impl<'de> Switched<'de> for Decode {
    const FORMS: &'static str = "a list of codings (`[gzip, br, zstd]`) or `false`";

    fn from_list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        Decode::deserialize(de::value::SeqAccessDeserializer::new(list))
    }
}

impl<'de> Switched<'de> for Sticky {
    const FORMS: &'static str =
        "a list (`[$request.header.x-tenant, $context.identity.sourceIp]`) or `false`";

    fn from_list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        Sticky::deserialize(de::value::SeqAccessDeserializer::new(list))
    }
}

impl Switched<'_> for RollbackOn {
    const FORMS: &'static str =
        "a mapping (`{ error_ratio: 2%, p99: 500ms, min_requests: 200 }`) or `false`";
}

impl Switched<'_> for AuthFailures {
    const FORMS: &'static str = "a bucket (`{ rate: 10, burst: 100 }`) or `false`";
}

impl Switched<'_> for Cors {
    const FORMS: &'static str = "a mapping (`{ allow_origins: [\"*\"] }`) or `false`";
}

impl Switched<'_> for AccessLog {
    const FORMS: &'static str = "a mapping (`{ path: stdout, format: json }`) or `false`";
}

impl Switched<'_> for Capture {
    const FORMS: &'static str = "a mapping (`{ path: ./captures, sample: 1% }`) or `false`";
}

impl Switched<'_> for Idempotency {
    const FORMS: &'static str = "a mapping (`{ key: $request.header.idempotency-key }`) or `false`";
}

impl Switched<'_> for Batch {
    const FORMS: &'static str = "a mapping (`{ max: 10, linger: 5ms }`) or `none`";
}

/// `None`: nothing was written; `Some(None)`: it is off.
pub(super) fn or_off<'de, T: Switched<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    deserializer.deserialize_any(Switch(PhantomData))
}

/// The same for a part that is off when nothing was written.
pub(super) fn unless_off<'de, T: Switched<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    or_off(deserializer).map(Option::flatten)
}

/// The access log, which is on when nothing was written: off is the path `none`.
pub(super) fn access_log<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<AccessLog>, D::Error> {
    let written = or_off(deserializer)?;
    Ok(written.map(|log: Option<AccessLog>| {
        log.unwrap_or_else(|| AccessLog {
            path: Some("none".to_owned()),
            format: None,
        })
    }))
}

/// A value that can be switched off.
pub(super) trait Valued: FromStr<Err = String> {
    /// What may be written, for a message.
    const FORMS: &'static str;
}

impl Valued for Span {
    const FORMS: &'static str = "a time such as `1h`, or `false`";
}

impl Valued for MemoryShare {
    const FORMS: &'static str = "an amount such as `80%`, `512MiB` or `auto`, or `none`";
}

/// As `or_off`, for a value.
pub(super) fn value_or_off<'de, T: Valued, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    deserializer.deserialize_any(ValueSwitch(PhantomData))
}

struct ValueSwitch<T>(PhantomData<T>);

impl<T: Valued> Visitor<'_> for ValueSwitch<T> {
    type Value = Option<Option<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::FORMS)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
        if on {
            return Err(E::invalid_value(de::Unexpected::Bool(on), &self));
        }
        Ok(Some(None))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            "none" | "false" => Ok(Some(None)),
            _ => text
                .parse()
                .map(|value| Some(Some(value)))
                .map_err(E::custom),
        }
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }
}

struct Switch<T>(PhantomData<T>);

impl<'de, T: Switched<'de>> Visitor<'de> for Switch<T> {
    type Value = Option<Option<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::FORMS)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
        if on {
            return Err(E::invalid_value(de::Unexpected::Bool(on), &self));
        }
        Ok(Some(None))
    }
    fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
        match word {
            "none" | "false" => Ok(Some(None)),
            _ => Err(E::invalid_type(de::Unexpected::Str(word), &self)),
        }
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::from_list(list).map(|part| Some(Some(part)))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(|part| Some(Some(part)))
    }
}

/// The schema of a part that can be switched off.
pub(super) struct OrOff<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OrOff<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("{}OrOff", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<T>(), { "enum": [false, "none"] }] })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::load::{Loaded, SourceFile, load_texts};
    use crate::forward::AckMode;
    use std::collections::BTreeMap;

    fn read(text: &str) -> Loaded<Config> {
        let file = SourceFile {
            path: "shop.yaml".into(),
            text: text.to_owned(),
        };
        let variables = BTreeMap::from([("OFF".to_owned(), "false".to_owned())]);
        load_texts(vec![file], &variables)
    }

    #[test]
    fn false_and_none_switch_a_part_off() {
        for off in ["false", "none", "'${env:OFF}'"] {
            let loaded = read(&format!(
                "throttle: {off}\ncors: {off}\naccess_log: {off}\n\
                 routes: {{ GET /a: {{ throttle: {off}, integration: {{ Mock: {{}} }} }} }}\n"
            ));
            assert!(loaded.problems.0.is_empty(), "{:?}", loaded.problems);
            let config = loaded.value.unwrap();
            assert!(config.throttle.is_none() && config.cors.is_none());
            assert_eq!(config.access_log.unwrap().path.as_deref(), Some("none"));
            assert_eq!(config.routes[0].throttle, Some(None));
        }
    }

    #[test]
    fn null_is_as_good_as_nothing() {
        let loaded = read(
            "throttle: ~\ncors:\naccess_log: null\n\
             routes: { GET /a: { throttle: null, ack: null, integration: { Mock: {} } } }\n",
        );
        assert!(loaded.problems.0.is_empty(), "{:?}", loaded.problems);
        let config = loaded.value.unwrap();
        assert!(config.access_log.is_none());
        assert_eq!(config.routes[0].throttle, None);
    }

    #[test]
    fn true_and_lists_are_refused() {
        for (text, said) in [
            ("throttle: true", "found true, expected a bucket"),
            ("cors: true", "found true, expected a mapping"),
            ("access_log: true", "found true, expected a mapping"),
            ("access_log: stdout", "found \"stdout\", expected a mapping"),
            ("throttle: 5", "found 5, expected a bucket"),
            ("cors: ['*']", "found a list, expected a mapping"),
            (
                "auth_failures: [{ rate: 1 }]",
                "found a list, expected a bucket",
            ),
        ] {
            let problems = read(text).problems.0;
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].message.contains(said), "{}", problems[0]);
        }
    }

    #[test]
    fn a_throttle_is_a_bucket_or_a_list_of_buckets() {
        let loaded = read(
            "throttle: [{ rate: 1 }, { rate: 2, per: $context.identity.sourceIp }]\nauth_failures: none\n\
             routes: { GET /a: { throttle: { rate: 3 }, concurrency: 4, integration: { Mock: {} } }, \
             GET /b: { concurrency: [{ limit: 5, per: $request.header.x }], integration: { Mock: {} } } }\n",
        );
        assert!(loaded.problems.0.is_empty(), "{:?}", loaded.problems);
        let config = loaded.value.unwrap();
        assert_eq!(config.auth_failures, Some(None));
        assert_eq!(config.throttle.unwrap().0.len(), 2);
        let own = config.routes[0].throttle.clone().flatten().unwrap();
        assert_eq!(own.0[0].rate, 3.0);
        let limit = |route: usize| config.routes[route].concurrency.clone().unwrap().0[0].limit;
        assert_eq!((limit(0), limit(1)), (4, 5));
    }

    #[test]
    fn an_acknowledgement_is_a_mode_or_a_mode_with_details() {
        let route = |ack: &str| {
            read(&format!(
                "routes: {{ GET /a: {{ ack: {ack}, integration: {{ Mock: {{}} }} }} }}"
            ))
        };
        for (ack, mode) in [
            ("target", AckMode::Target),
            ("spool", AckMode::Spool),
            (
                "{ mode: target-or-spool, order: route }",
                AckMode::TargetOrSpool,
            ),
        ] {
            let read = route(ack).value.unwrap().routes[0].ack;
            assert_eq!(read.map(|ack| ack.mode), Some(mode));
        }
        for (ack, said) in [
            ("both", "allowed: `target`, `spool`, `target-or-spool`"),
            ("{ budget: 1s }", "`mode` is missing"),
            ("{ mode: spool, budged: 1s }", "did you mean `budget`?"),
        ] {
            let problems = route(ack).problems.0;
            assert!(problems[0].to_string().contains(said), "{problems:?}");
        }
    }
}
