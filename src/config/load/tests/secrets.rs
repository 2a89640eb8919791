//! What comes from outside: it is literal, it feeds numbers, and it is never shown.

use super::*;

fn message_body(text: &str, variables: &[(&str, &str)]) -> Vec<Piece> {
    let text = format!(
        "routes:\n  POST /a:\n    integration:\n      SQS-SendMessage:\n        QueueUrl: queue:a\n        MessageBody: {text}\n"
    );
    let sample = value(&text, variables);
    match &sample.routes[0].integration {
        Integration::Send(send) => send.message_body.0.clone(),
        other => panic!("{other:?}"),
    }
}

fn written(text: &str) -> Piece {
    Piece::Written(text.to_owned())
}

fn literal(text: &str) -> Piece {
    Piece::Literal(text.to_owned())
}

#[test]
fn substituted_text_is_a_literal_piece_and_never_a_mapping() {
    let hostile = [("X", "${request.body} $request.path")];
    assert_eq!(
        message_body("a-${env:X}-$request.header.b", &hostile),
        [
            written("a-"),
            literal("${request.body} $request.path"),
            written("-$request.header.b")
        ]
    );
}

#[test]
fn a_doubled_dollar_is_a_literal_brace_and_other_expressions_stay_written() {
    assert_eq!(
        message_body(
            "\"$${env:X} ${request.body.a:-{}} ${env:X:-{\\\"a\\\":1}}\"",
            &[]
        ),
        [
            literal("${"),
            written("env:X} ${request.body.a:-{}} "),
            literal("{\"a\":1}")
        ]
    );
}

#[test]
fn the_default_stands_in_for_a_variable_that_is_unset_or_empty() {
    assert_eq!(value("api: ${env:X:-shop}", &[]).api.unwrap(), "shop");
    assert_eq!(
        value("api: ${env:X:-shop}", &[("X", "")]).api.unwrap(),
        "shop"
    );
    assert_eq!(value("api: ${env:X:-}", &[]).api.unwrap(), "");
    assert_eq!(value("api: ${env:X}", &[("X", "")]).api.unwrap(), "");
    assert_eq!(
        value("api: a${env:X:-shop}b", &[("X", "-")]).api.unwrap(),
        "a-b"
    );
}

#[test]
fn numbers_and_booleans_may_come_from_outside_quoted_or_not() {
    let variables = [("N", "7"), ("B", "true"), ("R", "0.5")];
    let sample = value(
        "limits: { in_flight: \"${env:N}\", strict: \"${env:B}\" }\nthrottle:\n  rate: ${env:R}\n  burst: ${env:M:-9}\n",
        &variables,
    );
    assert_eq!(sample.limits.in_flight, Some(7));
    assert!(sample.limits.strict);
    assert_eq!(sample.throttle.as_ref().unwrap().rate, 0.5);
    assert_eq!(sample.throttle.unwrap().burst, 9);
}

#[test]
fn files_are_read_beside_the_file_that_names_them_without_their_last_newline() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    fs::create_dir(&keys).unwrap();
    fs::write(keys.join("token"), "abc\n\n").unwrap();
    fs::write(keys.join("windows"), "abc\r\n").unwrap();
    let file = directory.path().join("shop.yaml");
    fs::write(
        &file,
        "api: ${file:keys/token}\nstage: ${file:keys/windows}\n",
    )
    .unwrap();
    let loaded = load::<Sample>(&[file], &environment(&[]));
    let sample = loaded.value.unwrap();
    assert_eq!(sample.api.unwrap(), "abc\n");
    assert_eq!(sample.stage.unwrap(), "abc");
    assert_eq!(
        loaded.sources.texts()[0].text,
        "api: ${file:keys/token}\nstage: ${file:keys/windows}\n"
    );
}

#[test]
fn what_cannot_be_substituted_is_said_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("token"), [0xff]).unwrap();
    let file = directory.path().join("shop.yaml");
    fs::write(
        &file,
        "stage_variables:\n  a: ${env:NOWHERE}\n  b: ${env:1X}\n  c: ${file:tokem}\n  d: ${file:token}\n  e: ${env:A\n  f: ${evn:A}\n  g: ${aws-secret:A}\n  h: ${file:}\n  i: ${file:.}\n  j: ${env:A:-${env:B}}\n  k: ${HOME}\n  l: ${file:x/y}\n",
    )
    .unwrap();
    let loaded = load::<Sample>(&[file], &environment(&[]));
    let prefix = format!("{}/", directory.path().display());
    let lines: Vec<_> = lines(&loaded)
        .iter()
        .map(|line| line.replace(&prefix, ""))
        .collect();
    assert_eq!(
        lines,
        [
            "shop.yaml:2:6: error: stage_variables.a: the environment variable NOWHERE is not set; set it, or give a default: `${env:NOWHERE:-…}`",
            "shop.yaml:3:6: error: stage_variables.b: \"1X\" is not the name of an environment variable; write `${env:NAME}` or `${env:NAME:-default}`; names hold letters, digits and _",
            "shop.yaml:4:6: error: stage_variables.c: tokem does not exist; did you mean token?",
            "shop.yaml:5:6: error: stage_variables.d: token does not hold UTF-8 text",
            "shop.yaml:6:6: error: stage_variables.e: `${` has no `}`; close it; a literal `${` is written `$${`",
            "shop.yaml:7:6: error: stage_variables.f: `${evn:…}` is not something that can be substituted; did you mean `${env:…}`? allowed: `${env:NAME}`, `${env:NAME:-default}`, `${file:path}`, `${aws-secretsmanager:NAME}`, `${aws-ssm:NAME}`; a literal `${` is written `$${`",
            "shop.yaml:8:6: error: stage_variables.g: `${aws-secret:…}` is not something that can be substituted; allowed: `${env:NAME}`, `${env:NAME:-default}`, `${file:path}`, `${aws-secretsmanager:NAME}`, `${aws-ssm:NAME}`; a literal `${` is written `$${`",
            "shop.yaml:9:6: error: stage_variables.h: `${file:…}` names no file; write `${file:path}`",
            "shop.yaml:10:6: error: stage_variables.i: . cannot be read: Is a directory (os error 21)",
            "shop.yaml:11:6: error: stage_variables.j: the default of `${env:A:-…}` holds another `${`; a default is literal text",
            "shop.yaml:12:6: error: stage_variables.k: `${HOME}` cannot be used in this value; allowed: `${env:NAME}`, `${env:NAME:-default}`, `${file:path}`, `${aws-secretsmanager:NAME}`, `${aws-ssm:NAME}`; a literal `${` is written `$${`",
            "shop.yaml:13:6: error: stage_variables.l: x/y does not exist; there is no directory x",
        ]
    );
}

#[test]
fn a_substituted_value_is_never_in_a_message() {
    let secret = "hunter2-and-more";
    let loaded = sample(
        r#"
api: { a: "${env:S}" }
responses: ${env:S}
limits: { body: "${env:S}", timeout: "1${env:S}", in_flight: "${env:S}", strict: "${env:S}" }
queues: ["${env:S}"]
throttle: "${env:S}"
rate_or_off: ${env:S}
routes:
  POST /a: { integration: "${env:S}" }
"#,
        &[("S", secret)],
    );
    let lines = lines(&loaded);
    assert_eq!(
        lines,
        [
            "shop.yaml:2:6: error: api: found a mapping, expected text",
            "shop.yaml:3:12: error: responses: a value from ${env:S} is not known here; allowed: `native`, `aws`",
            "shop.yaml:4:17: error: limits.body: a value from ${env:S} is not a size; write a number of bytes or one with a unit, such as 256KiB, 1MiB, 10GiB",
            "shop.yaml:4:38: error: limits.timeout: \"1${env:S}\" is not a duration; write a number with a unit, such as 500ms, 30s, 10m, 24h, 4d (it holds a value from ${env:S})",
            "shop.yaml:4:62: error: limits.in_flight: found a value from ${env:S}, expected a whole number from 0 to 4294967295",
            "shop.yaml:4:82: error: limits.strict: found a value from ${env:S}, expected true or false",
            "shop.yaml:5:9: error: queues: found a list, expected a mapping",
            "shop.yaml:6:11: error: throttle: found a value from ${env:S}, expected a mapping; its keys are `rate`, `burst`",
            "shop.yaml:7:14: error: rate_or_off: found a value from ${env:S}, expected a number, or false",
            "shop.yaml:9:27: error: routes.\"POST /a\".integration: a value from ${env:S} is not known here; allowed: `SQS-SendMessage`, `SQS-PurgeQueue`, `Mock`",
        ]
    );
    assert!(!format!("{:?}", loaded.sources).contains("hunter2"));
    assert!(!format!("{:?}", loaded.problems).contains("hunter2"));
}

#[test]
fn a_type_that_talks_about_its_parts_does_not_show_them() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "Raw")]
    #[expect(dead_code, reason = "only its shape is used")]
    struct Checked(Raw);
    #[derive(Debug, Deserialize)]
    struct Raw {
        name: String,
        number: u8,
    }
    impl TryFrom<Raw> for Checked {
        type Error = String;
        fn try_from(raw: Raw) -> Result<Checked, String> {
            match raw.name.as_str() {
                "pair" => Err("exactly one of the two may be given".to_owned()),
                name => Err(format!(
                    "{} and {} do not fit",
                    name.to_uppercase(),
                    raw.number
                )),
            }
        }
    }
    let file = |name: &str| {
        let path = "shop.yaml".into();
        let text = format!("checked: {{ name: \"{name}\", number: \"${{env:N}}\" }}\n");
        let environment = environment(&[("S", "hunter2"), ("N", "7")]);
        lines(&load_texts::<BTreeMap<String, Checked>>(
            vec![SourceFile { path, text }],
            &environment,
        ))
    };
    assert_eq!(
        file("${env:S}"),
        ["shop.yaml:1:10: error: checked: a value from ${env:S} is refused here; it is not shown"]
    );
    assert_eq!(
        file("pair"),
        ["shop.yaml:1:10: error: checked: exactly one of the two may be given"]
    );
}

#[test]
fn a_type_that_takes_text_or_a_mapping_asks_for_pieces_and_gets_either() {
    #[derive(Debug, PartialEq)]
    enum Attribute {
        Text(Text),
        Typed(BTreeMap<String, Text>),
    }
    impl<'de> Deserialize<'de> for Attribute {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Attribute;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("text, or `{ DataType, … }`")
                }
                fn visit_seq<A: serde::de::SeqAccess<'de>>(
                    self,
                    pieces: A,
                ) -> Result<Attribute, A::Error> {
                    Text::deserialize(PiecesOf(SeqAccessDeserializer::new(pieces)))
                        .map(Attribute::Text)
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    map: A,
                ) -> Result<Attribute, A::Error> {
                    BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(Attribute::Typed)
                }
            }
            deserializer.deserialize_newtype_struct(crate::model::text::TEXT_TOKEN, Visitor)
        }
    }
    struct PiecesOf<D>(D);
    impl<'de, D: serde::Deserializer<'de>> serde::Deserializer<'de> for PiecesOf<D> {
        type Error = D::Error;
        fn deserialize_any<V: serde::de::Visitor<'de>>(self, v: V) -> Result<V::Value, D::Error> {
            self.0.deserialize_any(v)
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
        }
    }
    let load = |text: &str| {
        let (path, text) = ("shop.yaml".into(), text.to_owned());
        load_texts::<BTreeMap<String, Attribute>>(
            vec![SourceFile { path, text }],
            &environment(&[("S", "x")]),
        )
    };
    let loaded = load("a: p${env:S}\nb: { DataType: 7 }\nc: [a]\n");
    assert_eq!(
        lines(&loaded),
        ["shop.yaml:3:4: error: c: found a list, expected text, or `{ DataType, … }`"]
    );
    let value = loaded.value.unwrap();
    assert_eq!(
        value["a"],
        Attribute::Text(Text(vec![written("p"), literal("x")]))
    );
    let Attribute::Typed(typed) = &value["b"] else {
        panic!("{value:?}");
    };
    assert_eq!(typed["DataType"], Text::written("7"));
}

#[test]
fn a_list_of_texts_can_be_one_text_in_pieces_or_a_list_of_them() {
    let load = |resources: &str| {
        let text = format!(
            "EventBridge-PutEvents: {{ Detail: $request.body, DetailType: t, Source: s, Resources: {resources} }}\n"
        );
        let path = "shop.yaml".into();
        let loaded = load_texts::<crate::integration::IntegrationConfig>(
            vec![SourceFile { path, text }],
            &environment(&[("S", "x")]),
        );
        let shown = format!("{:?}", loaded.value);
        (lines(&loaded), shown)
    };
    for (resources, pieces) in [
        (
            "\"arn:${request.header.x:-none}\"",
            r#"Text(Text([Written("arn:${request.header.x:-none}")]))"#,
        ),
        (
            "'[\"arn:${request.header.x}\"]'",
            r#"Text(Text([Written("[\"arn:${request.header.x}\"]")]))"#,
        ),
        (
            "\"${env:S}-$request.path\"",
            r#"Text(Text([Literal("x"), Written("-$request.path")]))"#,
        ),
        (
            "[\"${request.path}\", a]",
            r#"List([Text([Written("${request.path}")]), Text([Written("a")])])"#,
        ),
    ] {
        let (problems, shown) = load(resources);
        assert_eq!(problems, [""; 0], "{resources}");
        assert!(shown.contains(pieces), "{resources}: {shown}");
    }
    let (problems, _) = load("{ a: b }");
    assert!(
        problems[0].contains("expected a text or a list of texts"),
        "{problems:?}"
    );
}

const FULL: &str = r#"api: ${env:S}
stage_variables: { a: "x${env:S}y", b: '${env:S}' }
limits: { body: 1MiB, timeout: 10s, in_flight: 5, strict: true }
queues: { orders: { visibility_timeout: 30s } }
throttle: { rate: 1, burst: 2 }
secrets: ["${env:S}", { value: "${env:S}" }]
routes:
  POST /a:
    integration: { SQS-SendMessage: { QueueUrl: "${env:S}", MessageBody: "${env:S}" } }
    authorizer: ["${env:S}"]
"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_damaged_configuration_never_panics_and_never_shows_a_secret(
        at in 0..FULL.len(),
        length in 0usize..30,
        put in prop_oneof![
            Just("${env:S}"), Just("\"${env:S}\""), Just(""), Just("\n"), Just("["), Just("x: "), Just("}"), Just("5"),
        ],
    ) {
        let end = (at + length).min(FULL.len());
        let text = format!("{}{put}{}", &FULL[..at], &FULL[end..]);
        let loaded = sample(&text, &[("S", "hunter2-is-secret")]);
        for line in lines(&loaded) {
            prop_assert!(!line.contains("hunter2") && !line.contains("is-secret"), "{line}");
        }
        prop_assert!(loaded.value.is_some() || loaded.problems.has_errors());
    }
}

#[test]
fn what_came_from_outside_is_struck_out_of_problems_that_are_found_later() {
    let variables = [
        ("LONG", "hunter2 \"the\tsecret\""),
        ("SHORT", "hunter2"),
        ("TINY", "the"),
        ("NAME", "Ünïque-Key"),
    ];
    let loaded = sample(
        "api: ${env:LONG}\nstage: a${env:SHORT}b\nstage_variables: { a: '${env:TINY}', b: '${env:NAME}' }\n",
        &variables,
    );
    let mut found = Problems::default();
    let long = variables[0].1;
    let path = ConfigPath::root().key("api");
    found.error(
        &path,
        format!("{long:?} and {long} are refused, ahunter2b too"),
    );
    found
        .error(&path, "the name ünïque-key")
        .help("write HUNTER2");
    found.error(&path, "nothing to hide");
    loaded.sources.conceal(&mut found);
    let said: Vec<String> = found.0.iter().map(|p| p.to_string()).collect();
    assert_eq!(
        said,
        [
            "error: api: \"…\" and … are refused, a…b too",
            // only ASCII letters are compared in any case
            "error: api: the name ünïque-key; write …",
            "error: api: nothing to hide",
        ]
    );
    assert!(!format!("{:?}", loaded.sources).contains("hunter2"));
}
