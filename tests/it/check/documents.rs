//! What is wrong with a vendor's document, at its place in it.

use super::check;

/// A document with one operation; `{I}` stands for its integration, `{O}` for what is beside it, `{R}` for what is at
/// the root.
const DOCUMENT: &str = r#"openapi: 3.0.1
info: { title: shop }
paths:
  /a:
    post:
      x-amazon-apigateway-integration: {I}
{O}
{R}
"#;

const SEND: &str = r#"{ type: aws_proxy, integrationSubtype: SQS-SendMessage, payloadFormatVersion: "1.0", requestParameters: { QueueUrl: "https://sqs.eu-west-1.amazonaws.com/1/q", MessageBody: $request.body } }"#;

fn said(integration: &str, beside: &str, root: &str) -> (Vec<String>, i32) {
    let text = DOCUMENT
        .replace("{I}", integration)
        .replace("{O}", beside)
        .replace("{R}", root);
    check(&text)
}

#[test]
fn a_good_document_is_ok() {
    let (lines, code) = said(SEND, "", "");
    assert_eq!(
        (lines.last().unwrap().as_str(), code),
        ("ok: 1 route, 0 errors, 0 warnings", 0)
    );
}

/// Integration, what is beside it, what is at the root, and what is said.
const FAULTS: &[(&str, &str, &str, &str)] = &[
    (
        "{ type: aws_proxy, uri: \"arn:aws:lambda:eu-west-1:1:function:f\" }",
        "",
        "",
        "shop.yaml:6:64: error: paths.\"/a\".post.x-amazon-apigateway-integration.uri: a function",
    ),
    (
        "{ type: aws }",
        "",
        "",
        "shop.yaml:6:40: error: paths.\"/a\".post.x-amazon-apigateway-integration: an integration of type `aws` makes its request by a template",
    ),
    (
        "{ type: awsproxy }",
        "",
        "",
        "\"awsproxy\" is not a type of integration; did you mean `aws_proxy`?",
    ),
    (
        "{ integrationSubtype: SQS-SendMessage }",
        "",
        "",
        "the integration has no `type`",
    ),
    (
        "{ $ref: \"#/components/nowhere\" }",
        "",
        "",
        "`#/components/nowhere` points to nothing in this document",
    ),
    (
        "{ $ref: other.yaml }",
        "",
        "",
        "`other.yaml` is outside this document; bundle the document into one file",
    ),
    (
        "{ type: aws_proxy, integrationSubtype: SNS-Publish }",
        "",
        "",
        "\"SNS-Publish\" is not a service integration that the vendor has",
    ),
    (
        "{ type: http_proxy, uri: \"arn:aws:servicediscovery:eu-west-1:1:service/x\", connectionType: VPC_LINK }",
        "",
        "",
        "is reached through the vendor's private link",
    ),
    (
        "{S}",
        "      security: [ { nobody: [] } ]",
        "",
        "the authorizer `nobody` is not declared",
    ),
    (
        "{S}",
        "      x-amazon-apigateway-auth: { type: AWS_IAM }",
        "",
        "declare `authorizers.aws_iam",
    ),
    (
        "{S}",
        "      x-amazon-apigateway-request-validator: all",
        "",
        "the request validator \"all\" is not declared",
    ),
    (
        "{S}",
        "      x-penstock: { akc: spool }",
        "",
        "unknown key `akc`; did you mean `ack`?",
    ),
    (
        "{S}",
        "",
        "x-penstock: { lisseners: {} }",
        "unknown key `lisseners`; did you mean `listeners`?",
    ),
    (
        "{S}",
        "",
        "x-penstock: { basepath: sometimes }\nservers: [ { url: \"https://x/y\" } ]",
        "\"sometimes\" is not known here; known: ignore, prepend, split",
    ),
    (
        "{S}",
        "",
        "x-amazon-apigateway-cors: { allowOrigins: [\"*\"], allowCredentials: true }",
        "cors.allow_credentials",
    ),
    (
        "{S}",
        "",
        "x-amazon-apigateway-gateway-responses: { WAF_FILTERED: { statusCode: 400 } }",
        "the gateway response `WAF_FILTERED` cannot be had",
    ),
];

#[test]
fn every_fault_of_a_document_is_named_at_its_place() {
    let mut unsaid = Vec::new();
    for (integration, beside, root, expected) in FAULTS {
        let (lines, code) = said(&integration.replace("{S}", SEND), beside, root);
        if code != 1 || !lines.iter().any(|line| line.contains(expected)) {
            unsaid.push(format!("{expected}\n  {}", lines.join("\n  ")));
        }
    }
    assert!(unsaid.is_empty(), "{}", unsaid.join("\n"));
}
