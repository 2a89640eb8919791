//! Documents → configuration, and what is said of them.

use std::collections::BTreeMap;

use super::{Document, OnDisk, Told, Vars, import, recognise};
use crate::config::Config;
use crate::config::load::{Loaded, SourceFile, load_texts};

fn document(text: &str) -> SourceFile {
    SourceFile {
        path: "api.yaml".into(),
        text: text.to_owned(),
    }
}

fn load(text: &str) -> Loaded<Config> {
    load_texts(vec![document(text)], &BTreeMap::<String, String>::new())
}

fn problems(text: &str) -> Vec<String> {
    load(text)
        .problems
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The YAML without its head, and the findings.
fn imported(text: &str) -> (String, Vec<String>) {
    let told = Told {
        vars: &Vars::default(),
        api: None,
        beside: &OnDisk,
    };
    let imported = import(&document(text), told);
    assert!(imported.problems.0.is_empty(), "{:?}", imported.problems);
    let yaml: String = imported.apis.into_iter().map(|file| file.yaml).collect();
    let body: Vec<&str> = yaml
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    let findings = imported.findings.list.iter().map(|finding| {
        format!(
            "{}:{} {}: {}: {}",
            finding.mark.line,
            finding.mark.column,
            finding.level().name(),
            finding.path,
            finding.reason()
        )
    });
    (body.join("\n"), findings.collect())
}

const SEED: &str = r#"
openapi: "3.0.1"
info:
  title: API Gateway HTTP API to SQS
paths:
  /:
    post:
      responses:
        default:
          description: Default response for POST /
      x-amazon-apigateway-integration:
        type: aws_proxy
        integrationSubtype: SQS-SendMessage
        payloadFormatVersion: "1.0"
        connectionType: INTERNET
        credentials: arn:aws:iam::111122223333:role/api
        requestParameters:
          MessageBody: "$request.body.MessageBody"
          QueueUrl: https://sqs.eu-west-1.amazonaws.com/111122223333/orders
x-amazon-apigateway-importexport-version: "1.0"
"#;

#[test]
fn the_storage_first_seed_is_a_configuration() {
    assert_eq!(recognise(SEED), Some(Document::OpenApi));
    assert_eq!(
        problems(SEED),
        [
            "api.yaml:16:22: warning: paths.\"/\".post.x-amazon-apigateway-integration.credentials: the vendor assumes the role arn:aws:iam::111122223333:role/api; here calls are made with the gateway's own credentials; `penstock iam` prints the policy they need; `aws.assume_role` has the gateway assume a role"
        ]
    );
    let config = load(SEED).value.unwrap();
    assert_eq!(config.api.as_deref(), Some("api-gateway-http-api-to-sqs"));
    assert_eq!(config.routes.len(), 1);
    let (yaml, _) = imported(SEED);
    assert_eq!(
        yaml,
        "api: api-gateway-http-api-to-sqs\nresponses: aws\nlimits:\n  timeout: 30s\nroutes:\n  POST /:\n    integration:\n      \
         SQS-SendMessage:\n        MessageBody: $request.body.MessageBody\n        \
         QueueUrl: https://sqs.eu-west-1.amazonaws.com/111122223333/orders"
    );
}

#[test]
fn the_seeds_printed_quote_is_pointed_at() {
    let printed = SEED.replace("type: aws_proxy", "type: \"aws_proxy”");
    assert_eq!(
        problems(&printed),
        [
            "api.yaml:12:25: error: paths.\"/\".post.x-amazon-apigateway-integration.type: the typographic quote `”` (U+201D) stands where `\"` was meant; write a straight quote in its place"
        ]
    );
    let both = SEED.replace("type: aws_proxy", "type: “aws_proxy”");
    assert_eq!(
        problems(&both)[0],
        "api.yaml:12:15: error: paths.\"/\".post.x-amazon-apigateway-integration.type: the typographic quote `“` (U+201C) stands where `\"` was meant; write a straight quote in its place"
    );
    let inside = SEED.replace("type: aws_proxy", "type: \"aws_proxy”\"");
    assert!(
        problems(&inside)[0].starts_with("api.yaml:12:25: error: "),
        "{:?}",
        problems(&inside)
    );
}

#[test]
fn a_wrong_parameter_is_pointed_at_in_the_document() {
    let wrong = SEED.replace("QueueUrl:", "queueUrl:");
    let said = problems(&wrong);
    assert!(
        said[1].starts_with("api.yaml:19:11: error: routes.\"POST /\".integration.SQS-SendMessage.queueUrl: unknown key `queueUrl`; did you mean `QueueUrl`?"),
        "{said:?}"
    );
    let wrong = SEED.replace("SQS-SendMessage", "SQS-SendMesage");
    assert!(problems(&wrong)[0].contains(
        "\"SQS-SendMesage\" is not a service integration that the vendor has; did you mean `SQS-SendMessage`?"
    ));
}

#[test]
fn authorizers_scopes_cors_and_any_method_become_ours() {
    let text = r##"{
  "openapi": "3.0.1",
  "info": { "title": "x" },
  "components": {
    "securitySchemes": {
      "jwt": { "type": "oauth2", "flows": {}, "x-amazon-apigateway-authorizer": {
        "type": "jwt", "identitySource": ["$request.header.Authorization"],
        "jwtConfiguration": { "issuer": "https://idp.example.com/", "audience": ["a", "b"] } } },
      "oidc": { "type": "openIdConnect", "openIdConnectUrl": "https://idp.example.com/.well-known/openid-configuration",
        "x-amazon-apigateway-authorizer": { "type": "jwt", "identitySource": "$request.header.Authorization", "jwtConfiguration": { "Audience": "a" } } },
      "fn": { "type": "apiKey", "name": "Unused", "in": "header", "x-amazon-apigateway-authorizer": {
        "type": "request", "authorizerUri": "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:1:function:auth/invocations",
        "authorizerPayloadFormatVersion": 2.0, "enableSimpleResponses": true,
        "identitySource": "$request.header.Authorization, $request.querystring.tenant", "authorizerResultTtlInSeconds": "300" } }
    },
    "x-amazon-apigateway-integrations": { "send": {
      "type": "AWS_PROXY", "integrationSubtype": "SQS-SendMessage", "payloadFormatVersion": 1.0, "timeoutInMillis": 5500,
      "requestParameters": { "QueueUrl": "https://sqs.eu-west-1.amazonaws.com/1/q", "MessageBody": "$request.body" },
      "responseParameters": { "200": { "append:header.x-a": "$context.requestId", "overwrite:statuscode": "202", "remove:header.x-b": "''" } } } }
  },
  "paths": {
    "/a": { "post": { "security": [{ "jwt": ["orders.write"] }],
      "x-amazon-apigateway-integration": { "$ref": "#/components/x-amazon-apigateway-integrations/send" } } },
    "/b/{proxy+}": { "x-amazon-apigateway-any-method": { "security": [{ "fn": [] }],
      "x-amazon-apigateway-integration": { "$ref": "#/components/x-amazon-apigateway-integrations/send" } } },
    "/$default": { "x-amazon-apigateway-any-method": { "isDefaultRoute": true, "security": [{ "oidc": [] }],
      "x-amazon-apigateway-integration": { "$ref": "#/components/x-amazon-apigateway-integrations/send" } } }
  },
  "x-amazon-apigateway-cors": { "allowOrigins": ["https://a.example"], "allowMethods": ["GET", "POST"], "allowHeaders": "*", "allowCredentials": true, "maxAge": 300 },
  "x-penstock": { "stage": "prod", "routes": { "POST /a": { "idempotency": { "key": "$request.header.idempotency-key" } } } }
}"##;
    let (yaml, findings) = imported(text);
    assert_eq!(
        yaml,
        "\
api: x
responses: aws
limits:
  timeout: 30s
cors:
  allow_origins: [https://a.example]
  allow_methods: [GET, POST]
  allow_headers: ['*']
  allow_credentials: true
  max_age: 300s
authorizers:
  jwt:
    jwt:
      issuer: https://idp.example.com/
      audience: [a, b]
      algorithms: [RS256, RS384, RS512]
      identity_source: $request.header.Authorization
  oidc:
    jwt:
      issuer: https://idp.example.com
      audience: [a]
      algorithms: [RS256, RS384, RS512]
      identity_source: $request.header.Authorization
  fn:
    lambda:
      function: arn:aws:lambda:eu-west-1:1:function:auth
      format: '2.0'
      simple_responses: true
      identity_sources: [$request.header.Authorization, $request.querystring.tenant]
      ttl: 300s
routes:
  POST /a:
    authorizer: jwt
    scopes: [orders.write]
    limits:
      timeout: 5500ms
    integration:
      SQS-SendMessage:
        QueueUrl: https://sqs.eu-west-1.amazonaws.com/1/q
        MessageBody: $request.body
    response_parameters:
      '200':
        append:header.x-a: $context.requestId
        overwrite:statuscode: '202'
        remove:header.x-b: \"''\"
    idempotency:
      key: $request.header.idempotency-key
  ANY /b/{proxy+}:
    authorizer: fn
    limits:
      timeout: 5500ms
    integration:
      SQS-SendMessage:
        QueueUrl: https://sqs.eu-west-1.amazonaws.com/1/q
        MessageBody: $request.body
    response_parameters:
      '200':
        append:header.x-a: $context.requestId
        overwrite:statuscode: '202'
        remove:header.x-b: \"''\"
  $default:
    authorizer: oidc
    limits:
      timeout: 5500ms
    integration:
      SQS-SendMessage:
        QueueUrl: https://sqs.eu-west-1.amazonaws.com/1/q
        MessageBody: $request.body
    response_parameters:
      '200':
        append:header.x-a: $context.requestId
        overwrite:statuscode: '202'
        remove:header.x-b: \"''\"
stage: prod"
    );
    assert_eq!(
        findings,
        [
            "10:145 warning: components.securitySchemes.oidc.x-amazon-apigateway-authorizer.jwtConfiguration.Audience: `Audience` is taken for `audience`; the vendor does not know it in this spelling"
        ]
    );
    let again = problems(&yaml);
    assert_eq!(again, Vec::<String>::new());
}

#[test]
fn what_cannot_be_had_is_said_at_its_place_and_may_be_left_out() {
    let text = r#"
openapi: 3.0.1
info: { title: x }
paths:
  /fn:
    get:
      x-amazon-apigateway-integration:
        type: aws_proxy
        uri: arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:1:function:f/invocations
        payloadFormatVersion: "2.0"
  /link:
    get:
      x-amazon-apigateway-integration:
        type: http_proxy
        uri: arn:aws:elasticloadbalancing:eu-west-1:1:listener/app/a/b/c
        connectionType: VPC_LINK
        connectionId: abc
  /vtl:
    get:
      x-amazon-apigateway-integration: { type: aws, uri: "arn:aws:apigateway:eu-west-1:sqs:path/1/q" }
  /none:
    get: { responses: {} }
  /iam:
    get:
      x-amazon-apigateway-auth: { type: AWS_IAM }
      x-amazon-apigateway-integration: { type: mock }
  /pool:
    get:
      security: [ { pool: [] } ]
      x-amazon-apigateway-integration: { type: mock }
  /ok:
    get:
      x-amazon-apigateway-integration: { type: mock, requestTemplates: { application/json: "{\"statusCode\": 204}" } }
components:
  securitySchemes:
    pool:
      type: apiKey
      name: Authorization
      in: header
      x-amazon-apigateway-authtype: cognito_user_pools
      x-amazon-apigateway-authorizer:
        type: cognito_user_pools
        providerARNs: [ "arn:aws:cognito-idp:eu-west-1:1:userpool/eu-west-1_abc" ]
"#;
    let said = problems(text);
    let errors: Vec<&str> = said
        .iter()
        .filter(|line| line.contains(": error: "))
        .map(|line| line.split(": error: ").next().unwrap_or_default())
        .collect();
    assert_eq!(
        errors,
        [
            "api.yaml:9:14",
            "api.yaml:15:14",
            "api.yaml:20:48",
            "api.yaml:22:10",
            "api.yaml:25:33",
            "api.yaml:29:21"
        ],
        "{said:#?}"
    );
    assert!(
        said.iter().any(|line| line.contains(
            "jwt: { issuer: \"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc\""
        )),
        "{said:#?}"
    );
    let skipping = format!("{text}x-penstock: {{ on_unsupported: skip }}\n");
    let loaded = load(&skipping);
    assert!(!loaded.problems.has_errors(), "{:?}", loaded.problems);
    assert_eq!(loaded.value.unwrap().routes.len(), 1);
}

#[test]
fn documents_of_other_kinds_are_refused_by_name() {
    assert!(problems("swagger: \"2.0\"\npaths: {}\n")[0].contains("OpenAPI 2.0 (Swagger)"));
    assert!(
        problems("Resources:\n  Q: { Type: AWS::SQS::Queue }\n")[0].contains("penstock import")
    );
    assert!(
        problems("{\"format_version\": \"1.2\", \"planned_values\": {}}")[0]
            .contains("penstock import")
    );
    assert_eq!(recognise("routes: {}\n"), None);
    assert_eq!(
        recognise("info: [1, {a: b}]\nx: &a 1\ny: *a\nopenapi: 3.0.0\n"),
        Some(Document::OpenApi)
    );
}

/// The configuration as the types see it, without the places.
fn meaning(text: &str) -> String {
    let loaded = load(text);
    assert!(
        !loaded.problems.has_errors(),
        "{:?}\n{text}",
        loaded.problems
    );
    format!("{:#?}", loaded.value.unwrap())
}

fn exported(text: &str) -> (String, Vec<String>) {
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("shop.yaml");
    std::fs::write(&path, text).unwrap();
    let (document, findings) = super::exported(
        &[path],
        &BTreeMap::<String, String>::new(),
        super::Form::Json,
    )
    .unwrap();
    let reasons = findings.list.iter().map(|finding| finding.reason.clone());
    (document, reasons.collect())
}

/// What nobody writes, written out: an import says it.
const SAID: &str = "api: shop\nlimits: { timeout: 10s }\n";

#[test]
fn an_import_of_an_export_is_the_identity() {
    for (routes, reasons) in [
        (
            "responses: aws\nroutes:\n  POST /orders/{id}:\n    integration: { SQS-SendMessage: { QueueUrl: https://sqs.eu-west-1.amazonaws.com/1/q, MessageBody: $request.body } }\n    limits: { timeout: 5s }\n",
            vec![],
        ),
        (
            "responses: native\nqueues: { q: {} }\nroutes:\n  ANY /a/{p+}: { integration: { SQS-SendMessage: { QueueUrl: 'queue:q', MessageBody: $request.body } } }\n  $default: { integration: { Mock: { status: 404 } } }\n",
            vec![
                "the vendor has no embedded queues",
                "the vendor's HTTP APIs have no `Mock`",
            ],
        ),
        (
            "responses: aws\nlisteners: { public: { bind: '127.0.0.1:0', allow: [10.0.0.0/8] } }\nstage: prod\nstage_variables: { a: '1', b: 'true' }\nthrottle: { rate: 10, burst: 20 }\n\
             cors: { allow_origins: [https://a.example], allow_methods: [POST], max_age: 5m }\n\
             authorizers:\n  partners: { jwt: { issuer: https://idp.example.com, audience: [shop], algorithms: [RS256, RS384, RS512], identity_source: $request.header.Authorization } }\n  \
             staff: { jwt: { issuer: https://idp.example.com, audience: shop } }\n  hooks: { webhook: { preset: github, secrets: ['s3cret-s3cret'] } }\n\
             routes:\n  POST /a: { authorizer: partners, scopes: [w], integration: { Kinesis-PutRecord: { StreamName: s, Data: $request.body, PartitionKey: k }, decode_data: base64 } }\n  \
             POST /b: { authorizer: staff, ack: spool, integration: { EventBridge-PutEvents: { Detail: $request.body, DetailType: t, Source: '${env:SOURCE:-s}' } } }\n  \
             POST /c: { authorizer: hooks, limits: { timeout: 3s }, response_parameters: { '200': { 'append:header.x-a': b } }, response: { status: 200 }, integration: { Kinesis-PutRecord: { StreamName: s, Data: $request.body, PartitionKey: k } } }\n",
            vec![
                "the vendor does not know \"${env:SOURCE:-s}\": put the value in its place before it is imported there",
                "the vendor has no authorizer like `hooks`: there the route asks for a signature (AWS_IAM), so that it is not open",
            ],
        ),
    ] {
        let ours = format!("{SAID}{routes}");
        let (document, said) = exported(&ours);
        assert_eq!(said, reasons, "{document}");
        assert_eq!(meaning(&document), meaning(&ours), "{document}");
        let (again, _) = exported(&document);
        assert_eq!(again, document);
    }
}

#[test]
fn an_export_says_what_the_vendor_understands_in_its_words() {
    let (document, _) = exported(
        "api: shop\nresponses: aws\nlimits: { timeout: 30s }\nroutes:\n  POST /orders/{id}: { integration: { SQS-SendMessage: { QueueUrl: https://sqs.eu-west-1.amazonaws.com/1/q, MessageBody: $request.body } } }\n",
    );
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let operation = &document["paths"]["/orders/{id}"]["post"];
    assert_eq!(
        operation["x-amazon-apigateway-integration"],
        serde_json::json!({
            "payloadFormatVersion": "1.0", "type": "aws_proxy", "integrationSubtype": "SQS-SendMessage", "connectionType": "INTERNET",
            "requestParameters": { "QueueUrl": "https://sqs.eu-west-1.amazonaws.com/1/q", "MessageBody": "$request.body" }
        })
    );
    assert_eq!(
        operation["responses"]["default"]["description"],
        "Default response for POST /orders/{id}"
    );
    assert_eq!(operation.get("x-penstock"), None);
    assert_eq!(document["openapi"], "3.0.1");
}
