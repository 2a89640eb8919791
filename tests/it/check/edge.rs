//! Hosts, versions, what is asked of a request, and refusals in other words: every fault with what is said about it.

use super::check;

/// Before the routes, and what is said.
const SECTIONS: &[(&str, &str)] = &[
    ("hosts: ['https://a.example']", "write the name alone"),
    ("hosts: ['a.example:80']", "leave the port out"),
    ("hosts: ['a.*.example']", "is not a host"),
    ("hosts: [a.example, A.example.]", "a.example is named twice"),
    ("base_path: 'a//b'", "\"a//b\" is not a base path"),
    ("base_path: [a, /a]", "this base path is named twice"),
    ("strip_base_path: maybe", "strip_base_path"),
    (
        "versions: { from: [], table: { v1: shop } }",
        "versions.from: nothing says where a request names its version",
    ),
    (
        "versions: { from: [ { cookie: v } ], table: { v1: shop } }",
        "cookie",
    ),
    (
        "versions: { from: [ { accept: application/json } ], table: { v1: shop } }",
        "is not a media type with a version in it",
    ),
    (
        "versions: { from: [ { header: 'a b' } ], table: { v1: shop } }",
        "is not a header name",
    ),
    (
        "versions: { from: [ { query: '' } ], table: { v1: shop } }",
        "the name of the parameter is empty",
    ),
    (
        "versions: { from: [ { query: v } ], table: {} }",
        "there is no version, so every request would be refused",
    ),
    (
        "versions: { from: [ { query: v } ], table: { v1: shp } }",
        "there is no API `shp`; did you mean `shop`?",
    ),
    (
        "versions: { from: [ { query: v } ], default: v2, table: { v1: shop } }",
        "there is no version `v2` in the table",
    ),
    (
        "versions: { from: [ { query: v } ], missing: 500, table: { v1: shop } }",
        "500 does not say that the request is at fault",
    ),
    (
        "versions: { from: [ { query: v } ], table: { v1: { api: shop, sunset: soon } } }",
        "\"soon\" is not a date",
    ),
    (
        "versions: { from: [ { query: v } ], table: { v1: { api: shop, gone: true } } }",
        "nothing says when the version ends",
    ),
    (
        "versions: { from: [ { query: v } ], table: { v1: { api: shop, deprecated: 2026-02-01, sunset: 2026-01-01 } } }",
        "a version cannot end before it is deprecated",
    ),
    (
        "versions: { from: [ { query: v } ], table: { v1: { api: shop, sunset: 2026-01-01, link: here } } }",
        "\"here\" is not a URL",
    ),
    (
        "versions: { from: [ { query: v } ], dynamodb: { table: api-versions, apis: [] } }",
        "nothing says which APIs its items may name",
    ),
    (
        "versions: { from: [ { query: v } ], dynamodb: { table: api-versions, apis: [shp] } }",
        "there is no API `shp`; did you mean `shop`?",
    ),
    (
        "versions: { from: [ { query: v } ], dynamodb: { table: 'a b', apis: [shop] } }",
        "is not a table's name",
    ),
    (
        "versions: { from: [ { query: v } ], dynamodb: { table: api-versions, apis: [shop], region: here } }",
        "is not a region",
    ),
    (
        "versions: { from: [ { query: v } ], dynamodb: { table: api-versions, apis: [shop], refresh: 1ms } }",
        "1ms is out of range",
    ),
    (
        "versions: { from: [ { query: v } ], dynamodb: { table: api-versions, apis: [shop], attributes: { api: version } } }",
        "`version` is called `version` too",
    ),
    (
        "versions: { from: [ { query: v } ], dynamodb: { table: api-versions, apis: [shop], partition: { key: '', value: x } } }",
        "a key and its value are not empty",
    ),
    (
        "error_responses: { no_rout: {} }",
        "there is no refusal `no_rout`; did you mean `no_route`?",
    ),
    (
        "error_responses: { internal: { status: 404 } }",
        "allowed: 5xx",
    ),
    (
        "error_responses: { default_4xx: { headers: { connection: close } } }",
        "`connection` is the gateway's own",
    ),
    (
        "error_responses: { default_4xx: { headers: { 'a b': x } } }",
        "is not a header name",
    ),
    (
        "error_responses: { default_4xx: { body: $context.error.mesage } }",
        "did you mean `$context.error.message`?",
    ),
    (
        "error_responses: { default_4xx: { content_type: \"a\\nb\" } }",
        "is not a content type",
    ),
];

/// In a route, and what is said.
const ROUTE: &[(&str, &str)] = &[
    ("schema: [1]", "a JSON Schema, or the name of a file"),
    ("schema: ''", "the name of the file is empty"),
    ("schema: nowhere.json", "nowhere.json does not exist"),
    (
        "schema: { type: strin }",
        "routes.\"GET /a\".schema.type: this schema cannot be used",
    ),
    ("schema: { pattern: '(' }", "this schema cannot be used"),
    (
        "schema: { $ref: 'https://example.com/a.json' }",
        "schemas are not fetched",
    ),
    (
        "required: { headers: ['a b'] }",
        "required.headers[0]: \"a b\" is not a header name",
    ),
    (
        "required: { query: [''] }",
        "the name of the parameter is empty",
    ),
    ("content_types: [json]", "\"json\" is not a content type"),
];

#[test]
fn every_fault_of_hosts_versions_and_validation_is_found_and_described() {
    let sections = SECTIONS.iter().map(|(section, said)| {
        let text = format!(
            "api: shop\n{section}\nroutes: {{ 'GET /a': {{ authorizer: none, integration: {{ Mock: {{}} }} }} }}\n"
        );
        (text, said)
    });
    let routes = ROUTE.iter().map(|(keys, said)| {
        let text = format!(
            "routes: {{ 'GET /a': {{ authorizer: none, {keys}, integration: {{ Mock: {{}} }} }} }}\n"
        );
        (text, said)
    });
    for (text, said) in sections.chain(routes) {
        let (lines, code) = check(&text);
        assert_eq!(code, 1, "{text}\n{lines:?}");
        assert!(
            lines.iter().any(|line| line.contains(said)),
            "{text}\n{lines:?}"
        );
    }
}
