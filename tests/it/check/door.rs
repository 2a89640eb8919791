//! Signing users, request authorizers and policies: every fault with what is said about it.

use super::check;

const ROUTE: &str = "routes: { 'GET /a': { authorizer: none, integration: { Mock: {} } } }";

/// What stands under `authorizers.a`, and what is said.
const AUTHORIZERS: &[(&str, &str)] = &[
    ("sigv4: { credentials: [] }", "no region is known"),
    (
        "sigv4: { region: eu-west-1, credentials: [] }",
        "nobody could sign a request",
    ),
    (
        "sigv4: { region: Frankfurt, credentials: [{U}] }",
        "is not a region",
    ),
    ("sigv4: { region: eu-west-1 }", "credentials"),
    (
        "sigv4: { region: eu-west-1, credentials: nowhere.yaml }",
        "nowhere.yaml",
    ),
    (
        "sigv4: { region: eu-west-1, credentials: [{U}, {U}] }",
        "is the access key id of the user `shop` too",
    ),
    (
        "sigv4: { region: eu-west-1, service: 'execute api', credentials: [{U}] }",
        "is not a service",
    ),
    (
        "sigv4: { region: eu-west-1, max_clock_skew: 1h, credentials: [{U}] }",
        "allowed: 1s to 15m",
    ),
    (
        "sigv4: { region: eu-west-1, replay_cache: { max_entries: 0 }, credentials: [{U}] }",
        "allowed: 1 to 10000000",
    ),
    (
        "sigv4: { region: eu-west-1, replay_cache: { entries: 5 }, credentials: [{U}] }",
        "allowed: `max_entries`",
    ),
    (
        "sigv4: { region: eu-west-1, unsigned_payload: true, credentials: [{U}] }",
        "warning",
    ),
    (
        "sigv4: { region: eu-west-1, credentials: [{ name: a, access_key_id: A, secret_access_key: s, account: '12' }] }",
        "is not an account",
    ),
    (
        "sigv4: { region: eu-west-1, credentials: [{ name: a, access_key_id: A, secret_access_key: s, policy: { Statement: { Effect: Alow } } }] }",
        "did you mean `Allow`?",
    ),
    ("lambda: {}", "nobody would be asked"),
    (
        "lambda: { url: 'http://127.0.0.1/', function: f }",
        "cannot stand beside `url`",
    ),
    ("lambda: { url: 'ftp://x' }", "is not a URL"),
    (
        "lambda: { url: 'http://authz.internal/' }",
        "credentials are sent unencrypted",
    ),
    (
        "lambda: { function: 'arn:aws:lambda:x' }",
        "is not a function",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', format: '3.0' }",
        "is not a format",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', type: tokn }",
        "did you mean `token`?",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', type: token, format: '2.0' }",
        "a form of its own",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', format: '1.0', simple_responses: true }",
        "only format 2.0",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', ttl: 5m }",
        "no answer can be remembered",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', ttl: 2h, identity_sources: [$request.header.x] }",
        "allowed: 0 to 1h",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', timeout: 11s }",
        "allowed: above 0 to 10s",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', max_entries: 0 }",
        "allowed: 1 to 1000000",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', identity_sources: [authorization] }",
        "is not an identity source",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', identity_sources: [$context.rutekey] }",
        "did you mean `$context.routeKey`?",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', identity_sources: [$stageVariables.x] }",
        "there is no stage variable `x`",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', type: token, identity_sources: [$request.querystring.t] }",
        "comes in one header",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', token_pattern: x }",
        "only `type: token` has a token",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', type: token, token_pattern: '(' }",
        "is not a regular expression",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', headers: { 'a b': x } }",
        "is not a header name",
    ),
    (
        "lambda: { url: 'http://127.0.0.1/', headers: { host: x } }",
        "is set by the gateway itself",
    ),
    (
        "lambda: { function: f, headers: { x: y } }",
        "leave them out",
    ),
];

/// What stands at the top, and what is said.
const POLICIES: &[(&str, &str)] = &[
    ("policy: '{'", "the policy is not JSON"),
    (
        "policy: '{\"Statement\":[],\"Statement\":[]}'",
        "stands twice",
    ),
    (
        "policy: { Statement: [] }",
        "error: policy.Statement: the list is empty",
    ),
    (
        "policy: { Statement: { Effect: Allow, Action: '*', Resource: '*' } }",
        "Principal: is missing",
    ),
    (
        "policy: { Statement: { Effect: Allow, Principal: '*', Action: execute-api:Invok, Resource: '*' } }",
        "did you mean `execute-api:Invoke`?",
    ),
    (
        "policy: { Statement: { Effect: Allow, Principal: '*', Action: '*', Resource: '*', Condition: { IpAdress: { aws:SourceIp: 10.0.0.0/8 } } } }",
        "did you mean `IpAddress`?",
    ),
    (
        "policy: { Statement: { Effect: Allow, Principal: '*', Action: '*', Resource: '*', Condition: { IpAddress: { aws:SorceIp: 10.0.0.0/8 } } } }",
        "did you mean `aws:SourceIp`?",
    ),
    (
        "sqs: { bind: '127.0.0.1:0', credentials: [{ name: a, access_key_id: A, secret_access_key: s, account: '111122223333' }] }",
        "has no meaning for the SQS listener",
    ),
];

#[test]
fn faults_of_the_door_are_said() {
    let user = "{ name: shop, access_key_id: AKID, secret_access_key: s }";
    for (authorizer, said) in AUTHORIZERS {
        let authorizer = authorizer.replace("{U}", user);
        let (lines, code) = check(&format!(
            "authorizers: {{ a: {{ {authorizer} }} }}\n{ROUTE}"
        ));
        let is_warning = *said == "warning" || said.contains("unencrypted");
        assert_eq!(code, i32::from(!is_warning), "{authorizer}: {lines:?}");
        assert!(
            lines.iter().any(|line| line.contains(said)),
            "{authorizer}: {lines:?}"
        );
    }
    for (policy, said) in POLICIES {
        let (lines, code) = check(&format!("{policy}\n{ROUTE}"));
        assert_eq!(code, 1, "{policy}: {lines:?}");
        assert!(
            lines.iter().any(|line| line.contains(said)),
            "{policy}: {lines:?}"
        );
    }
}
