use std::sync::Arc;

use http::Version;
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::super::Given;
use super::super::policy::{Answer, Asked};
use super::answer::{Unusable, read};
use super::*;
use crate::model::call::Call;
use crate::model::path::ConfigPath;
use crate::model::peer::Peer;
use crate::model::problem::Problems;

fn spec(config: Value) -> Spec {
    let mut problems = Problems::default();
    let stage_variables = IndexMap::from([("env".to_owned(), "test".to_owned())]);
    let given = Given {
        region: Some("us-east-1"),
        stage_variables: &stage_variables,
    };
    let config: Config = serde_json::from_value(config).unwrap();
    let spec = config.compile("legacy", &given, &ConfigPath::root(), &mut problems);
    spec.unwrap_or_else(|| panic!("{:?}", problems.0))
}

fn call() -> Call {
    let request = http::Request::builder()
        .version(Version::HTTP_11)
        .uri("/test/request/7%20a?a=1&a=2&b=x%20y")
        .header("host", "abcdef123.example.com:8080")
        .header("authorization", "user1")
        .header("accept", "*/*")
        .header("user-agent", "curl/8")
        .header("cookie", "k=v; l=w")
        .header("x-many", "1")
        .header("x-many", "2");
    let address = "192.0.2.1:4000".parse().unwrap();
    let peer = Peer::tcp(address, address, "public");
    Call::new(request.body(()).unwrap().into_parts().0, Arc::new(peer))
}

/// What is sent about that call.
fn event(config: Value) -> (Value, String) {
    let spec = spec(config);
    let call = call();
    let variables = [("id".into(), "7 a".to_owned())];
    let stage_variables = IndexMap::from([("env".to_owned(), "test".to_owned())]);
    let presented = Presented {
        call: &call,
        api: "abcdef123",
        stage: "test",
        route_key: "GET /request/{id}",
        path: "/request/7%20a",
        path_variables: &variables,
        stage_variables: &stage_variables,
        now: 0,
    };
    let values: Vec<String> = spec
        .sources
        .iter()
        .map(|source| source.value(&presented).unwrap())
        .collect();
    (event::of(&spec, &presented, &values), call.id.to_string())
}

const SOURCES: [&str; 3] = [
    "$request.header.Authorization",
    "$request.querystring.b",
    "$stageVariables.env",
];

#[test]
fn payload_2_0_is_as_the_contract_has_it() {
    let (mut event, id) = event(json!({ "url": "http://127.0.0.1/", "identity_sources": SOURCES }));
    let context = &mut event["requestContext"];
    assert!(context["timeEpoch"].take().as_i64().unwrap() > 1_700_000_000_000);
    let time = context["time"].take();
    assert_eq!(
        time.as_str().unwrap().len(),
        "12/Mar/2020:19:03:58 +0000".len()
    );
    assert_eq!(
        event,
        json!({
            "version": "2.0", "type": "REQUEST",
            "routeArn": "arn:aws:execute-api:us-east-1:000000000000:abcdef123/test/GET/request/7 a",
            "identitySource": ["user1", "x y", "test"],
            "routeKey": "GET /request/{id}",
            "rawPath": "/test/request/7 a", "rawQueryString": "a=1&a=2&b=x%20y",
            "cookies": ["k=v", "l=w"],
            "headers": {
                "host": "abcdef123.example.com:8080", "authorization": "user1", "accept": "*/*",
                "user-agent": "curl/8", "x-many": "1,2"
            },
            "queryStringParameters": { "a": "1,2", "b": "x y" },
            "requestContext": {
                "accountId": "000000000000", "apiId": "abcdef123", "authentication": null,
                "domainName": "abcdef123.example.com", "domainPrefix": "abcdef123",
                "http": { "method": "GET", "path": "/test/request/7 a", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "curl/8" },
                "requestId": id, "routeKey": "GET /request/{id}", "stage": "test", "time": null, "timeEpoch": null
            },
            "pathParameters": { "id": "7 a" }, "stageVariables": { "env": "test" }
        })
    );
}

#[test]
fn payload_1_0_and_the_token_form_are_as_the_contract_has_them() {
    let (event_1, id) =
        event(json!({ "url": "http://127.0.0.1/", "format": "1.0", "identity_sources": SOURCES }));
    assert_eq!(
        event_1,
        json!({
            "version": "1.0", "type": "REQUEST",
            "methodArn": "arn:aws:execute-api:us-east-1:000000000000:abcdef123/test/GET/request/7 a",
            "identitySource": "user1,x y,test", "authorizationToken": "user1,x y,test",
            "resource": "/request/{id}", "path": "/request/7 a", "httpMethod": "GET",
            "headers": {
                "host": "abcdef123.example.com:8080", "authorization": "user1", "accept": "*/*",
                "user-agent": "curl/8", "cookie": "k=v; l=w", "x-many": "1,2"
            },
            "queryStringParameters": { "a": "1,2", "b": "x y" },
            "pathParameters": { "id": "7 a" }, "stageVariables": { "env": "test" },
            "requestContext": {
                "path": "/test/request/7 a", "accountId": "000000000000", "resourceId": "GET /request/{id}",
                "stage": "test", "requestId": id,
                "identity": { "apiKey": null, "sourceIp": "192.0.2.1", "clientCert": null },
                "resourcePath": "/request/{id}", "httpMethod": "GET", "apiId": "abcdef123"
            }
        })
    );
    let (token, _) = event(json!({ "function": "authorize", "type": "token" }));
    assert_eq!(
        token,
        json!({
            "type": "TOKEN", "authorizationToken": "user1",
            "methodArn": "arn:aws:execute-api:us-east-1:000000000000:abcdef123/test/GET/request/7 a"
        })
    );
}

fn policy(effect: &str, resource: &str) -> Value {
    json!({ "Version": "2012-10-17", "Statement": [
        { "Action": "execute-api:Invoke", "Effect": effect, "Resource": resource }
    ] })
}

#[test]
fn answers_are_read_by_the_format_that_was_asked_for() {
    let either = spec(json!({ "url": "http://127.0.0.1/" }));
    let simple = spec(json!({ "url": "http://127.0.0.1/", "simple_responses": true }));
    let policies = spec(json!({ "url": "http://127.0.0.1/", "simple_responses": false }));
    let one = spec(json!({ "url": "http://127.0.0.1/", "format": "1.0" }));
    let yes = json!({ "isAuthorized": true });
    let document = json!({ "principalId": "u", "policyDocument": policy("Allow", "*") });
    for (spec, answer, good) in [
        (&either, &yes, true),
        (&either, &document, true),
        (&simple, &yes, true),
        (&simple, &document, false),
        (&policies, &yes, false),
        (&policies, &document, true),
        (&one, &yes, false),
        (&one, &document, true),
    ] {
        let read = read(spec, answer.to_string().as_bytes());
        assert_eq!(read.is_ok(), good, "{answer}");
    }
}

#[test]
fn what_is_no_answer_is_a_failure_of_ours_and_says_why() {
    let spec = spec(json!({ "url": "http://127.0.0.1/" }));
    for (body, wanted) in [
        ("", "is not JSON"),
        ("null", "is not a JSON object"),
        ("{}", "neither `isAuthorized` nor `policyDocument`"),
        (r#"{"isAuthorized":"true"}"#, "neither true nor false"),
        (r#"{"isAuthorized":1}"#, "neither true nor false"),
        (
            r#"{"isAuthorized":false,"isAuthorized":true}"#,
            "stands twice",
        ),
        (
            r#"{"isAuthorized":true,"context":[]}"#,
            "`context` is not an object",
        ),
        (r#"{"isAuthorized":true,"policyDocument":{}}"#, "both"),
        (
            r#"{"principalId":"u","policyDocument":{"Statement":[{"Effect":"Allow"}]}}"#,
            "its policy cannot be used",
        ),
        (
            r#"{"principalId":["u"],"isAuthorized":true}"#,
            "`principalId` is not text",
        ),
        (
            r#"{"isAuthorized":true,"usageIdentifierKey":1}"#,
            "`usageIdentifierKey` is not text",
        ),
        (
            r#"{"errorMessage":"boom","errorType":"Error"}"#,
            "the function failed: boom",
        ),
        (r#"{"errorMessage":"unauthorized"}"#, "the function failed"),
    ] {
        match read(&spec, body.as_bytes()) {
            Err(Unusable::Broken(why)) => assert!(why.contains(wanted), "{body}: {why}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    assert_eq!(
        read(&spec, br#"{"errorMessage":"Unauthorized"}"#).unwrap_err(),
        Unusable::Unauthorized
    );
}

#[test]
fn a_context_is_flattened_and_cannot_pretend_to_be_claims() {
    let spec = spec(json!({ "url": "http://127.0.0.1/" }));
    let answer = json!({ "isAuthorized": true, "context": {
        "text": "a", "number": 1.5, "yes": true, "list": ["a", 1], "map": { "k": "v" }, "nothing": null,
        "claims": { "sub": "root" }, "principalId": "root"
    }, "usageIdentifierKey": "secret-key" });
    let said = read(&spec, answer.to_string().as_bytes()).unwrap();
    let values: Vec<String> = said
        .values
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(
        values,
        [
            "text=a",
            "number=1.5",
            "yes=true",
            r#"list=["a",1]"#,
            r#"map={"k":"v"}"#
        ]
    );
    assert!(!format!("{said:?}").contains("secret-key"));
}

#[test]
fn a_policy_is_asked_for_each_request() {
    let spec = spec(json!({ "url": "http://127.0.0.1/" }));
    let arn = "arn:aws:execute-api:us-east-1:000000000000:shop/prod/GET/a";
    let answer = json!({ "principalId": "u", "policyDocument": policy("Allow", arn) });
    let said = read(&spec, answer.to_string().as_bytes()).unwrap();
    let mut caller = Caller::anyone();
    apply(&said, Duration::ZERO, &mut caller).unwrap();
    let call = call();
    for (path, allowed) in [("/a", true), ("/b", false)] {
        let presented = Presented {
            call: &call,
            api: "shop",
            stage: "prod",
            route_key: "GET /x",
            path,
            path_variables: &[],
            stage_variables: &IndexMap::new(),
            now: 0,
        };
        let answer = caller.answer(&Asked::of(&presented, None)).unwrap();
        assert_eq!(matches!(answer, Answer::Allowed(_)), allowed, "{path}");
    }
    assert_eq!(caller.identity().principal.as_deref(), Some("u"));
}

#[test]
fn a_debug_print_shows_no_header_s_value() {
    let spec = spec(json!({ "url": "http://127.0.0.1/", "headers": { "x-secret": "hunter2" } }));
    assert!(!format!("{spec:?}").contains("hunter2"));
}

#[test]
fn callers_whom_the_answer_does_not_name_are_told_apart_by_what_they_bring() {
    let spec = spec(json!({ "url": "http://127.0.0.1/", "simple_responses": true }));
    let said = |answer: Value| read(&spec, answer.to_string().as_bytes()).unwrap();
    let nobody = said(json!({ "isAuthorized": true }));
    let of = |said, token: &str| scope(&spec.name, said, Key::of(&[token.to_owned()]));
    assert_ne!(of(&nobody, "a"), of(&nobody, "b"));
    assert_eq!(of(&nobody, "a"), of(&nobody, "a"));
    let named = said(json!({ "isAuthorized": true, "principalId": "u" }));
    assert_eq!(of(&named, "a"), of(&named, "b"));
    assert_ne!(of(&named, "a"), scope("other", &named, Key::of(&[])));
}
