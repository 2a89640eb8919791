use std::collections::BTreeMap;

use super::*;
use crate::config::Config;
use crate::config::load::{SourceFile, load_texts};
use crate::config::validation;
use crate::model::peer::Peer;

/// The validation of a route with these keys, and what is said of them. `files`: those beside it.
fn compiled(keys: &str, files: &[(&str, &str)]) -> (Option<Arc<Validation>>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let file = SourceFile {
        path: folder.path().join("shop.yaml"),
        text: format!("routes:\n  POST /a:\n    integration: {{ Mock: {{}} }}\n{keys}"),
    };
    let environment = BTreeMap::<String, String>::new();
    let loaded = load_texts::<Config>(vec![file], &environment);
    let mut problems = loaded.problems;
    let mut config = loaded.value.unwrap();
    let directory = |path: &_| loaded.sources.directory(path);
    validation::read(&mut config, &directory, &environment, &mut problems);
    let at = ConfigPath::root().key("routes").key("POST /a");
    let validation = Validation::compile(&config.routes[0], &at, &mut problems);
    loaded.sources.locate(&mut problems);
    let prefix = format!("{}/", folder.path().display());
    let lines = problems
        .0
        .iter()
        .map(|problem| problem.to_string().replace(&prefix, ""));
    (validation, lines.collect())
}

fn good(keys: &str, files: &[(&str, &str)]) -> Arc<Validation> {
    let (validation, lines) = compiled(keys, files);
    assert_eq!(lines, Vec::<String>::new());
    validation.unwrap()
}

fn faults(validation: &Validation, body: &str) -> Vec<String> {
    match validation.body(body.as_bytes()) {
        Ok(()) => Vec::new(),
        Err(Invalid::Body(faults)) => faults
            .iter()
            .map(|fault| format!("{} {}", fault.pointer, fault.keyword))
            .collect(),
        Err(other) => vec![other.to_string()],
    }
}

#[test]
fn a_body_is_held_against_its_schema_and_every_fault_is_told_without_its_values() {
    let validation = good(
        "    schema:\n      type: object\n      required: [id, lines]\n      properties:\n        id: { type: string, pattern: '^o-[0-9]+$' }\n        lines: { type: array, minItems: 1, items: { $ref: '#/$defs/line' } }\n      $defs: { line: { type: object, properties: { quantity: { type: integer, minimum: 1 } } } }\n",
        &[],
    );
    assert_eq!(
        faults(&validation, r#"{"id":"o-1","lines":[{"quantity":1}]}"#),
        Vec::<String>::new()
    );
    assert_eq!(
        faults(
            &validation,
            r#"{"id":"secret","lines":[{"quantity":0},{"quantity":"x"}]}"#
        ),
        [
            "/id pattern",
            "/lines/0/quantity minimum",
            "/lines/1/quantity type"
        ]
    );
    assert_eq!(faults(&validation, "{}"), [" required", " required"]);
    let Err(invalid) = validation.body(br#"{"id":"secret","lines":[]}"#) else {
        panic!();
    };
    assert!(!format!("{invalid} {:?}", invalid.errors()).contains("secret"));
    for body in ["", "{", "{} x", "[1,]"] {
        assert!(
            faults(&validation, body)[0].starts_with("the body is not JSON"),
            "{body}"
        );
    }
}

#[test]
fn what_openapi_3_0_says_in_its_own_way_is_understood() {
    let of_3_0 = "openapi: 3.0.3\ncomponents:\n  schemas:\n    Order:\n      type: object\n      properties:\n        note: { type: string, nullable: true, example: hello }\n        price: { type: number, minimum: 0, exclusiveMinimum: true }\n        by: { $ref: 'people.yaml#/Person', description: beside a reference }\n      discriminator: { propertyName: kind }\n";
    let people = "Person: { type: object, required: [name] }\n";
    let validation = good(
        "    schema: openapi.yaml#/components/schemas/Order\n",
        &[("openapi.yaml", of_3_0), ("people.yaml", people)],
    );
    assert_eq!(
        faults(
            &validation,
            r#"{"note":null,"price":0.1,"by":{"name":"a"}}"#
        ),
        Vec::<String>::new()
    );
    assert_eq!(
        faults(&validation, r#"{"note":1,"price":0,"by":{}}"#),
        ["/note type", "/price exclusiveMinimum", "/by required"]
    );
    let inline = "    schema: { $schema: 'https://spec.openapis.org/oas/3.0/schema/2021-09-28', type: integer, nullable: true, maximum: 3, exclusiveMaximum: true }\n";
    let validation = good(inline, &[]);
    assert_eq!(faults(&validation, "null"), Vec::<String>::new());
    assert_eq!(faults(&validation, "3"), [" exclusiveMaximum"]);
}

#[test]
fn a_schema_that_cannot_be_used_is_a_problem_of_its_place() {
    for (keys, files, said) in [
        (
            "    schema: { type: strin }\n",
            &[][..],
            "shop.yaml:4:21: error: routes.\"POST /a\".schema.type",
        ),
        (
            "    schema: { properties: { a: { minimum: x } } }\n",
            &[],
            "schema.properties.a.minimum",
        ),
        ("    schema: { pattern: '(' }\n", &[], "schema"),
        (
            "    schema: { $ref: 'https://example.com/a.json' }\n",
            &[],
            "schemas are not fetched",
        ),
        ("    schema: { $ref: '#/$defs/gone' }\n", &[], "schema"),
        ("    schema: gone.json\n", &[], "gone.json does not exist"),
        (
            "    schema: a.yaml\n",
            &[("a.yaml", "type: object\nminProperties: x\n")],
            "a.yaml:2:16",
        ),
        ("    schema: ''\n", &[], "the name of the file is empty"),
        (
            "    required: { headers: ['a b'] }\n",
            &[],
            "required.headers[0]: \"a b\" is not a header name",
        ),
        ("    required: { query: [''] }\n", &[], "required.query[0]"),
        ("    content_types: [json]\n", &[], "content_types[0]"),
    ] {
        let (_, lines) = compiled(keys, files);
        assert!(
            lines.iter().any(|line| line.contains(said)),
            "{keys}: {lines:?}"
        );
    }
}

#[test]
fn headers_parameters_and_content_types_are_looked_at() {
    let validation = good(
        "    required: { headers: [x-tenant], query: [kind] }\n    content_types: [application/json, 'application/*+json', text/*]\n",
        &[],
    );
    let looked = |uri: &str, headers: &[(&'static str, &str)]| {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let any = "127.0.0.1:1".parse().unwrap();
        let peer = Arc::new(Peer::tcp(any, any, "public"));
        let call = Call::new(request.body(()).unwrap().into_parts().0, peer);
        validation.head(&call).err().map(|error| error.to_string())
    };
    let missing =
        Some("the request lacks the header x-tenant, the query parameter kind".to_owned());
    assert_eq!(looked("/", &[]), missing);
    assert_eq!(looked("/?kind=%20", &[("x-tenant", " ")]), missing);
    for (kind, taken) in [
        ("application/json; charset=utf-8", true),
        ("Application/Problem+JSON", true),
        ("text/csv", true),
        ("application/xml", false),
        ("json", false),
    ] {
        let said = looked("/?kind=a", &[("x-tenant", "a"), ("content-type", kind)]);
        assert_eq!(said.is_none(), taken, "{kind}: {said:?}");
    }
}

#[test]
fn a_body_of_too_many_values_is_refused_before_it_is_read() {
    let validation = good(
        "    schema: { type: array, items: { type: string } }\n",
        &[],
    );
    let body = format!("[{}1]", "1,".repeat(MOST_VALUES));
    assert_eq!(
        validation.body(body.as_bytes()),
        Err(Invalid::TooManyValues)
    );
    let body = format!("[{}1]", "1,".repeat(EVERY_FAULT_UP_TO));
    assert_eq!(faults(&validation, &body).len(), 1);
    let body = format!("[{}1]", "1,".repeat(100));
    assert_eq!(faults(&validation, &body).len(), MOST_FAULTS);
    let deep = "[".repeat(100_000);
    assert!(faults(&validation, &deep)[0].starts_with("the body is not JSON"));
}

#[test]
fn a_pattern_that_would_take_for_ever_is_given_up() {
    let validation = good(
        "    schema: { type: string, pattern: '^(?=a)(a+)+$' }\n",
        &[],
    );
    let body = format!("\"{}b\"", "a".repeat(5_000));
    assert_eq!(faults(&validation, &body), [" pattern"]);
}
