//! DynamoDB, HTTP backends and a response of the route's own: every fault with what is said about it.

use super::check;

/// What stands as the route's integration, and what is said.
const INTEGRATIONS: &[(&str, &str)] = &[
    ("DynamoDB-GetItem: {}", "the parameter `Key` is missing"),
    (
        "DynamoDB-GetItem: { TableName: x, Key: { a: { S: '1' } } }",
        "is not a table's name",
    ),
    (
        "DynamoDB-GetItem: { TableName: 'arn:aws:sqs:eu-west-1:1:x', Key: { a: { S: '1' } } }",
        "is not an ARN of a table",
    ),
    (
        "DynamoDB-GetItem: { TableName: items, Key: { a: b } }",
        "an attribute's value says its type",
    ),
    (
        "DynamoDB-GetItem: { TableName: items, Key: { a: { N: one } } }",
        "is not a number",
    ),
    (
        "DynamoDB-GetItem: { TableName: items, Key: { a: { S: '1' } }, ConsistentRead: perhaps }",
        "must be true or false",
    ),
    (
        "DynamoDB-PutItem: { TableName: items, Item: { a: { SS: x } } }",
        "`SS` is a list",
    ),
    (
        "DynamoDB-PutItem: { TableName: items, Item: { a: { NULL: false } } }",
        "`NULL` is always true",
    ),
    (
        "DynamoDB-PutItem: { TableName: items, Item: { a: { B: '*' } } }",
        "is not base64 text",
    ),
    (
        "DynamoDB-PutItem: { TableName: items, Item: { a: { S: '1' } }, ReturnValues: ALL_NEW }",
        "allowed: NONE, ALL_OLD",
    ),
    (
        "DynamoDB-PutItem: { TableName: items, Item: text }",
        "is not a map of attribute values",
    ),
    (
        "DynamoDB-PutItem: { TableName: items, Itm: { a: { S: '1' } } }",
        "did you mean `Item`?",
    ),
    ("HTTP-Proxy: {}", "the parameter `url` is missing"),
    (
        "HTTP-Proxy: { url: 'alb.internal/x' }",
        "is not the URL of a backend",
    ),
    (
        "HTTP-Proxy: { url: 'https://alb.internal/{proxy}' }",
        "the route key has no such variable",
    ),
    ("HTTP-Proxy: { url: 'http://alb.internal/' }", "warning"),
    (
        "HTTP-Proxy: { url: 'https://alb.internal/', method: FETCH }",
        "is not a method",
    ),
    (
        "HTTP-Proxy: { url: 'http://127.0.0.1/', server_name: api.internal }",
        "there is a name to verify only where",
    ),
    (
        "HTTP-Proxy: { url: 'https://alb.internal/', request_parameters: { 'overwrite:header.forwarded': x } }",
        "is reserved and cannot be mapped to",
    ),
    (
        "HTTP-Proxy: { url: 'https://alb.internal/', request_parameters: { 'replace:header.x': x } }",
        "is no change of a request",
    ),
];

#[test]
fn every_fault_of_an_integration_is_said_at_its_place() {
    for (integration, said) in INTEGRATIONS {
        let text = format!(
            "aws: {{ region: eu-west-1 }}\nroutes: {{ 'GET /a/{{id}}': {{ authorizer: none, integration: {{ {integration} }} }} }}"
        );
        let (lines, _) = check(&text);
        let found = lines
            .iter()
            .any(|line| line.contains(said) && line.contains("routes.\"GET /a/{id}\".integration"));
        assert!(found, "{integration}: {lines:#?}");
    }
}

#[test]
fn a_body_of_the_route_s_own_is_checked_in_its_leaves() {
    for (body, at, said) in [
        ("{ a: $integration.itm }", "body.a", "did you mean"),
        (
            "{ a: [1, '$context.nothing'] }",
            "body.a[1]",
            "is not a context variable",
        ),
        ("{ a: '${request.header.x' }", "body.a", "has no `}`"),
    ] {
        let text = format!(
            "aws: {{ region: eu-west-1 }}\nroutes: {{ 'GET /a': {{ authorizer: none, response: {{ body: {body} }}, integration: {{ DynamoDB-GetItem: {{ TableName: items, Key: {{ id: {{ S: x }} }} }} }} }} }}"
        );
        let (lines, code) = check(&text);
        let found = lines
            .iter()
            .any(|line| line.contains(&format!("response.{at}:")) && line.contains(said));
        assert!(found && code == 1, "{body}: {lines:#?}");
    }
}
