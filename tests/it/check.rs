//! What is wrong with a configuration is said at once, each with its place, its path and what to write instead.

mod delivery;
mod documents;
mod door;
mod edge;
mod jwt;
mod keys;
mod listeners;
mod throttles;
mod webhooks;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn penstock(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// The lines that `penstock check` prints for a file, and its exit code.
fn check(text: &str) -> (Vec<String>, i32) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shop.yaml"), text).unwrap();
    let output = penstock(&["check", "shop.yaml"], folder.path());
    let lines = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    (lines, output.status.code().unwrap())
}

const GOOD: &str = r#"
api: shop
queues: { orders: {} }
routes:
  POST /orders:
    integration:
      SQS-SendMessage: { QueueUrl: "queue:orders", MessageBody: $request.body }
"#;

#[test]
fn a_good_configuration_is_ok() {
    let (lines, code) = check(GOOD);
    assert_eq!(
        (lines, code),
        (vec!["ok: 1 route, 0 errors, 0 warnings".to_owned()], 0)
    );
}

/// One fault each, and what is said about it. `{R}` stands for a good route.
const FAULTS: &[(&str, &str)] = &[
    ("ruotes: {}\n{R}", "unknown key `ruotes`"),
    ("api: [a]\n{R}", "api"),
    ("decode: []\n{R}", "decode: the list is empty"),
    ("decode: [gzip, deflate]\n{R}", "decode[1]"),
    ("decode: [br, br]\n{R}", "decode[1]: `br` is named twice"),
    ("decode: true\n{R}", "a list of codings"),
    ("decode: gzip\n{R}", "a list of codings"),
    (
        "limits: { connection_age: 0s }\n{R}",
        "limits.connection_age: 0 would refuse every request",
    ),
    (
        "limits: { connection_age: true }\n{R}",
        "a time such as `1h`, or `false`",
    ),
    (
        "limits: { connection_age: soon }\n{R}",
        "limits.connection_age",
    ),
    (
        "limits: { connections_per_address: 0 }\n{R}",
        "limits.connections_per_address: 0 would refuse every request",
    ),
    ("stage: 'my stage'\n{R}", "is not a stage name"),
    (
        "stage_variables: { 'a-b': x }\n{R}",
        "is not a name of a stage variable",
    ),
    ("responses: xml\n{R}", "native"),
    (
        "listeners: { public: { bind: 8080 } }\n{R}",
        "is not an address",
    ),
    (
        "listeners: { a: { bind: '127.0.0.1:8080' }, b: { bind: '127.0.0.1:8080' } }\n{R}",
        "is bound to 127.0.0.1:8080 already",
    ),
    ("limits: { body: 12 parsecs }\n{R}", "is not a size"),
    ("limits: { timeout: 30 }\n{R}", "is not a duration"),
    (
        "limits: { timeout: 0s }\n{R}",
        "0 would refuse every request",
    ),
    ("limits: { headers: 10 }\n{R}", "is out of range"),
    (
        "limits: { memory: much }\n{R}",
        "is not an amount of memory",
    ),
    (
        "limits: { memory: 101% }\n{R}",
        "is not an amount of memory",
    ),
    ("limits: { memory: 0 }\n{R}", "0 would refuse every request"),
    (
        "limits: { memory: true }\n{R}",
        "expected an amount such as",
    ),
    ("limits: { bodies: 0 }\n{R}", "0 would refuse every request"),
    (
        "limits: { bodies: 1KiB }\n{R}",
        "1KiB is less than one body of",
    ),
    (
        "limits: { cpu_wait: 0s }\n{R}",
        "0 would refuse every request",
    ),
    ("limits: { cpu_wait: 20 }\n{R}", "is not a duration"),
    ("throttle: { rate: -1 }\n{R}", "is not a rate"),
    (
        "throttle: { rate: 1, burst: 0 }\n{R}",
        "never gives a token",
    ),
    (
        "cors: { allow_origins: ['*'], allow_credentials: true }\n{R}",
        "browsers refuse credentials",
    ),
    ("store: { max_size: 10 }\n{R}", "too small for a store"),
    ("queues: { 'a.b': {} }\n{R}", "is not a queue name"),
    (
        "queues: { ledger: { fifo: true } }\n{R}",
        "write `ledger.fifo`",
    ),
    (
        "queues: { l.fifo: { lifo: true } }\n{R}",
        "cannot be newest first",
    ),
    (
        "queues: { a: { retention: 30s } }\n{R}",
        "allowed: 1m to 14d",
    ),
    (
        "queues: { a: { redrive: { to: b, max_receive_count: 3 } } }\n{R}",
        "the queue `b` is not declared",
    ),
    (
        "queues: { a: { redrive: { to: b, max_receive_count: 3 } }, b: { redrive: { to: a, max_receive_count: 3 } } }\n{R}",
        "round in a circle",
    ),
    (
        "queues: { a: { redrive: { to: b.fifo, max_receive_count: 3 } }, b.fifo: {} }\n{R}",
        "is not of the same kind",
    ),
    (
        "api_keys: { k: { hash: 'sha256:abc' } }\n{R}",
        "64 hexadecimal digits",
    ),
    ("authorizers: { none: { api_key: {} } }\n{R}", "is built in"),
    (
        "authorizers: { a: { api_key: { from: [cookie:x] } } }\n{R}",
        "is not a place for a key",
    ),
    (
        "access_log: { format: '$context.statuss' }\n{R}",
        "did you mean `$context.status`?",
    ),
    (
        "access_log: { format: 'hello' }\n{R}",
        "names no `$context` variable",
    ),
    ("{}", "there is no route"),
    (
        "routes: { 'FETCH /a': { integration: { Mock: {} } } }",
        "is not a method",
    ),
    (
        "routes: { 'GET /a/x{id}': { integration: { Mock: {} } } }",
        "one whole segment",
    ),
    ("routes: { 'GET /a': { integration: {} } }", "integration"),
    (
        "routes: { 'GET /a': { integration: { Mock: {} , SQS-PurgeQueue: { QueueUrl: x } } } }",
        "integration",
    ),
    (
        "routes: { 'GET /a': { integration: { SQS-SendMesage: {} } } }",
        "SQS-SendMessage",
    ),
    (
        "routes: { 'GET /a': { authorizer: partner, integration: { Mock: {} } } }",
        "the authorizer `partner` is not declared",
    ),
    (
        "routes: { 'GET /a': { authorizer: api_key, integration: { Mock: {} } } }",
        "none is declared",
    ),
    (
        "routes: { 'GET /a/{x}': { integration: { Mock: {} } }, 'GET /a/{y}': { integration: { Mock: {} } } }",
        "serves the very same requests",
    ),
    (
        "routes: { 'GET /a': { integration: { Mock: {} }, response: { status: 404 } } }",
        "is not a success",
    ),
    (
        "routes: { 'GET /a': { integration: { Mock: {} }, response: { headers: { connection: x } } } }",
        "is reserved",
    ),
    (
        "routes: { 'GET /a': { integration: { Mock: {} }, response_parameters: { '999': {} } } }",
        "is not a status",
    ),
    (
        "routes: { 'GET /a': { integration: { Mock: {} }, response_parameters: { '200': { 'set:header.a': x } } } }",
        "is no change of a response",
    ),
    (
        "queues: { q: {} }\nroutes: { 'GET /a': { integration: { SQS-SendMessage: { QueueUrl: 'queue:q' } } } }",
        "MessageBody",
    ),
    (
        "queues: { orders: {} }\nroutes: { 'GET /a': { integration: { SQS-PurgeQueue: { QueueUrl: 'queue:order' } } } }",
        "`queue:orders`",
    ),
    (
        "queues: { q: {} }\nroutes: { 'GET /a/{id}': { integration: { SQS-DeleteMessage: { QueueUrl: 'queue:q', ReceiptHandle: $request.path.ID2 } } } }",
        "the route key has no variable",
    ),
    (
        "queues: { q.fifo: {} }\nroutes: { 'POST /a': { integration: { SQS-SendMessage: { QueueUrl: 'queue:q.fifo', MessageBody: x } } } }",
        "MessageGroupId",
    ),
    (
        "queues: { q: {} }\nroutes: { 'POST /a': { integration: { SQS-SendMessage: { QueueUrl: 'queue:q', MessageBody: x, DelaySeconds: 901 } } } }",
        "900",
    ),
    (
        "routes: { 'GET /a': { integration: { Mock: {} }, response: { headers: { x-a: $integration.mesageId } } } }",
        "did you mean `$integration.messageId`?",
    ),
    (
        "routes: { 'GET /a': { integration: { Mock: {} }, response_parameters: { '500': { 'overwrite:statuscode': 200 } } } }",
        "a failure (500) cannot be answered with 200",
    ),
    (
        "routes: { 'GET /a': { authorizer: [], integration: { Mock: {} } } }",
        "the list is empty",
    ),
    (
        "api_keys: { k: { hash: 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' } }\n{R}",
        "the hash of nothing at all",
    ),
    (
        "listeners: { a: { bind: '127.0.0.1:9901' } }\n{R}",
        "the address of the admin listener too",
    ),
    ("aws: { endpoint: nonsense }\n{R}", "aws.endpoint"),
    ("aws: { endpoint: '' }\n{R}", "aws.endpoint"),
    ("aws: { region: 'US EAST!' }\n{R}", "aws.region"),
    (
        "aws: { assume_role: { arn: not-an-arn } }\n{R}",
        "aws.assume_role.arn",
    ),
    ("a: b: c", "shop.yaml:1"),
    ("api: a\napi: b\n{R}", "twice"),
];

#[test]
fn each_fault_is_said_with_its_place_and_what_is_allowed() {
    let route = "routes: { 'GET /ok': { integration: { Mock: {} } } }\n";
    let mut missing = Vec::new();
    for (text, said) in FAULTS {
        let (lines, code) = check(&text.replace("{R}", route));
        let errors: Vec<&String> = lines
            .iter()
            .filter(|line| line.contains("error: "))
            .collect();
        let found = errors
            .iter()
            .any(|line| line.contains(said) && line.starts_with("shop.yaml:"));
        if code != 1 || !found {
            missing.push(format!(
                "{text:?}\n  wanted: {said}\n  exit {code}: {lines:#?}"
            ));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_fault_of_a_file_is_said_at_once() {
    let text = "api: shop\n\
                throtle: { rate: 1 }\n\
                limits: { body: big, timeout: 30 }\n\
                queues: { orders: { retention: 1s }, 'bad name': {} }\n\
                routes:\n  \
                  POST /a: { integration: { SQS-SendMessage: { QueueUrl: 'queue:ordes', MessageBody: $request.bodi } } }\n  \
                  FETCH /b: { integration: { Mock: {} } }\n  \
                  GET /c: { authorizer: keys, integration: { Mock: {} } }\n";
    let (lines, code) = check(text);
    assert_eq!(code, 1);
    for said in [
        "`throtle`",
        "is not a size",
        "is not a duration",
        "1m to 14d",
        "bad name",
        "`queue:orders`",
        "bodi",
        "FETCH",
        "`keys`",
    ] {
        assert!(
            lines.iter().any(|line| line.contains(said)),
            "{said}: {lines:#?}"
        );
    }
    assert_eq!(
        lines.last().map(String::as_str),
        Some("9 errors, 0 warnings"),
        "{lines:#?}"
    );
}

#[test]
fn warnings_do_not_stand_in_the_way() {
    let text = format!(
        "listeners: {{ public: {{ bind: '0.0.0.0:0' }} }}\n{GOOD}  $default: {{ integration: {{ Mock: {{}} }} }}\n  ANY /: {{ integration: {{ Mock: {{}} }} }}\n  'ANY /{{p+}}': {{ integration: {{ Mock: {{}} }} }}\n"
    );
    let (lines, code) = check(&text);
    assert_eq!(code, 0, "{lines:#?}");
    assert!(
        lines.iter().any(
            |line| line.contains("warning: ") && line.contains("no request reaches this route")
        ),
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("it has no `authorizer`")),
        "{lines:#?}"
    );
}

#[test]
fn a_value_from_the_environment_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "hunter2-the-secret\n").unwrap();
    let text = "api_keys: { k: { hash: '${file:secret}' } }\nlimits: { body: '${file:secret}' }\nroutes: { 'GET /a': { integration: { Mock: {} } } }\n";
    fs::write(folder.path().join("shop.yaml"), text).unwrap();
    let output = penstock(&["check", "shop.yaml"], folder.path());
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn checks_across_values_show_nothing_from_the_environment_either() {
    let folder = tempfile::tempdir().unwrap();
    let texts = [
        "listeners: { public: { bind: '${env:X}' } }",
        "admin: { bind: '${env:X}' }",
        "cors: { allow_origins: ['${env:X}'] }",
        "cors: { allow_origins: ['*'], allow_methods: ['${env:X}'] }",
        "authorizers: { a: { api_key: { from: ['${env:X}'] } } }",
        "authorizers: { a: { jwt: { issuer: '${env:X}', audience: a } } }",
        "authorizers: { a: { jwt: { issuer: i, audience: a, jwks: '${env:X}' } } }",
        "routes: { 'GET /a': { authorizer: '${env:X}', integration: { Mock: {} } } }",
    ];
    for text in texts {
        let route = "routes: { 'GET /a': { integration: { Mock: {} } } }\n";
        let rest = if text.starts_with("routes") {
            ""
        } else {
            route
        };
        fs::write(folder.path().join("shop.yaml"), format!("{text}\n{rest}")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_penstock"))
            .args(["check", "shop.yaml"])
            .env("X", "Hunter2-the\tsecret")
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(1), "{text}: {said}");
        assert!(!said.to_lowercase().contains("hunter2"), "{text}: {said}");
    }
}

#[test]
fn routes_that_were_all_refused_are_not_said_to_be_missing() {
    for text in [
        "routes: { 'FETCH /a': { integration: { Mock: {} } } }",
        "ruotes: { 'GET /a': { integration: { Mock: {} } } }",
    ] {
        let (lines, _) = check(text);
        assert_eq!(
            lines.last().map(String::as_str),
            Some("1 error, 0 warnings"),
            "{lines:#?}"
        );
    }
    let (lines, _) = check("api: shop\nroutes: {}\n");
    assert!(lines[0].contains("there is no route"), "{lines:#?}");
}

#[test]
fn a_stage_is_named_as_it_is_spelled_and_null_is_the_default_one() {
    let folder = tempfile::tempdir().unwrap();
    let said = |stage: &str| {
        let route = "routes: { 'GET /a': { integration: { Mock: {} } } }";
        fs::write(
            folder.path().join("shop.yaml"),
            format!("stage: {stage}\n{route}\n"),
        )
        .unwrap();
        let output = penstock(&["routes", "--json", "shop.yaml"], folder.path());
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8(said).unwrap()
    };
    for stage in ["0x10", "1e3", "007", "1", "true"] {
        let shown = format!("\"stage\": \"{stage}\"");
        assert!(said(stage).contains(&shown), "{stage}: {}", said(stage));
    }
    assert!(said("1.0").contains("\"1.0\" is not a stage name"));
    for stage in ["", "null", "~", "$default"] {
        assert!(said(stage).contains("\"stage\": \"$default\""), "{stage}");
    }
}

#[test]
fn programs_read_the_problems_as_json() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shop.yaml"), "throtle: 1\n").unwrap();
    let output = penstock(&["check", "--json", "shop.yaml"], folder.path());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["ok"], &json["problems"][0]["line"]),
        (&false.into(), &1.into()),
        "{json:#}"
    );
}

#[test]
fn a_usage_error_exits_with_2_and_help_with_0() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(penstock(&["sreve"], here).status.code(), Some(2));
    assert_eq!(penstock(&["check"], here).status.code(), Some(2));
    let help = penstock(&["--help"], here);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("Exit codes:"));
}
