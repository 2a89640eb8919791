//! Webhook authorizers: every fault with its place, what was found and what to write.

use super::check;

/// What stands in the authorizer, and what is said of it.
const FAULTS: &[(&str, &str)] = &[
    (
        "{}",
        "authorizers.h.webhook: nothing says how deliveries are verified; write `preset: NAME`",
    ),
    (
        "{ preset: gihub, secrets: [k] }",
        r#"authorizers.h.webhook.preset: there is no preset "gihub"; did you mean `github`?"#,
    ),
    (
        "{ preset: github, secrets: [k], colour: red }",
        "unknown key `colour`",
    ),
    (
        "{ preset: github, secrets: [k], verify: { scheem: jwt } }",
        "did you mean `scheme`?",
    ),
    (
        "{ preset: github, secrets: [k], verify: { scheme: hmac-md5 } }",
        "authorizers.h.webhook.verify.scheme",
    ),
    (
        "{ preset: github }",
        "authorizers.h.webhook.secrets: `scheme: hmac-sha256` needs a secret, and there is none; write",
    ),
    (
        "{ preset: github, secrets: [''] }",
        "authorizers.h.webhook.secrets[0]: the secret cannot be used: it is empty",
    ),
    (
        "{ preset: standard-webhooks, secrets: ['whsec_hunter!2'] }",
        "authorizers.h.webhook.secrets[0]: the secret cannot be used: it is not base64",
    ),
    (
        "{ preset: github, secrets: [{ value: k, until: soon }] }",
        r#"authorizers.h.webhook.secrets[0].until: "soon" is not a time; write it as 2026-03-01T00:00:00Z"#,
    ),
    (
        "{ preset: github, secrets: [{ env: K }] }",
        "unknown key `env`",
    ),
    (
        "{ preset: github, secrets: [k], on_fail: keep }",
        "authorizers.h.webhook.on_fail",
    ),
    (
        "{ preset: github, secrets: [k], quarantine: { max: 5 } }",
        "authorizers.h.webhook.quarantine: nothing is kept, for `on_fail` is not `quarantine`; write `on_fail: quarantine`, or remove this",
    ),
    (
        "{ preset: github, secrets: [k], on_fail: quarantine, quarantine: { max: 0 } }",
        "authorizers.h.webhook.quarantine.max: 0 would keep nothing; write at least 1, or `on_fail: refuse`",
    ),
    (
        "{ preset: github, secrets: [k], verify: { signed: '{header:X-Id}' } }",
        "the body is not part of what is signed",
    ),
    (
        "{ preset: github, secrets: [k], verify: { signed: '{body|sha256}' } }",
        "`sha256` is not a filter",
    ),
    (
        "{ preset: github, secrets: [k], verify: { signed: '{timstamp}{body}' } }",
        "did you mean `timestamp`?",
    ),
    (
        "{ preset: slack, secrets: [k], verify: { signed: '{body}' } }",
        "the timestamp is not part of what is signed, so it proves nothing",
    ),
    (
        "{ preset: slack, secrets: [k], verify: { timestamp: { tolerance: 2d } } }",
        "authorizers.h.webhook.verify.timestamp.tolerance: 2d is out of range; allowed: 0 to 24h",
    ),
    (
        "{ preset: square, secrets: [k] }",
        "`public_url` needs `public_url`, and there is none",
    ),
    (
        "{ preset: twilio, secrets: [k], public_url: hooks }",
        r#"authorizers.h.webhook.public_url: "hooks" is not the URL of an endpoint"#,
    ),
    (
        "{ verify: { scheme: none } }",
        "write `allow_unsigned: true` beside `verify` if that is meant",
    ),
    (
        "{ preset: sns }",
        "the setting `config.topic_arns` is missing",
    ),
    (
        "{ preset: asana, state: awaiting-secret }",
        "there is no `secret_file`",
    ),
    (
        "{ preset: asana, secret_file: . }",
        "authorizers.h.webhook.secret_file: it cannot be read: ",
    ),
    (
        "{ preset: x, secrets: [k], handshake: [{ when: { query: { crc_token: token } }, reply: { json: { t: '{query:crc_token|header-values|hmac-sha256-base64}' } } }] }",
        "`query:crc_token` names what is signed, so that anything would be",
    ),
    (
        "{ preset: monday, secrets: [k], public_url: 'https://h.example/in', handshake: [{ when: { query: { c: token } }, reply: { body: '{query:c|hmac-sha256-hex}' } }] }",
        "authorizers.h.webhook.handshake: the answer is signed with the secret that signs the sender's tokens",
    ),
    (
        "{ preset: x, secrets: [k], handshake: [{ when: { query: { crc_token: present } }, reply: { json: { t: '{query:crc_token|hmac-sha256-base64}' } } }] }",
        "let `when` hold only where it is a `token`",
    ),
    (
        "{ preset: github, secrets: [k], attestation: { key: short } }",
        "authorizers.h.webhook.attestation.key: a shared key has at least 16 bytes",
    ),
];

const ROUTE: &str = "queues: { q: {} }\nroutes: { 'POST /h': { authorizer: h, integration: { SQS-SendMessage: { QueueUrl: 'queue:q', MessageBody: $request.body } } } }\n";

#[test]
fn each_fault_of_a_webhook_is_said_with_what_to_write() {
    let mut missing = Vec::new();
    for (written, said) in FAULTS {
        let (lines, code) = check(&format!(
            "authorizers: {{ h: {{ webhook: {written} }} }}\n{ROUTE}"
        ));
        let found = lines.iter().any(|line| {
            line.starts_with("shop.yaml:") && line.contains("error: ") && line.contains(said)
        });
        let shown = lines.iter().any(|line| line.contains("hunter"));
        if code != 1 || !found || shown {
            missing.push(format!(
                "{written}\n  wanted: {said}\n  exit {code}: {lines:#?}"
            ));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_preset_is_taken_with_what_it_needs() {
    let text =
        format!("authorizers: {{ h: {{ webhook: {{ preset: stripe, secrets: [k] }} }} }}\n{ROUTE}");
    assert_eq!(
        check(&text),
        (vec!["ok: 1 route, 0 errors, 0 warnings".to_owned()], 0)
    );
}

#[test]
fn secrets_that_have_all_expired_are_a_warning() {
    let said = |secrets: &str| {
        check(&format!(
            "authorizers: {{ h: {{ webhook: {{ preset: github, secrets: [{secrets}] }} }} }}\n{ROUTE}"
        ))
    };
    let old = "{ value: hunter, until: '2020-01-01T00:00:00Z' }";
    let (lines, code) = said(old);
    let warned = lines.iter().any(|line| {
        line.contains("warning: authorizers.h.webhook.secrets: every secret has expired")
    });
    assert!(code == 0 && warned, "{lines:#?}");
    assert_eq!(
        said(&format!("{old}, new")).0,
        ["ok: 1 route, 0 errors, 0 warnings"]
    );
}

#[test]
fn what_deliveries_say_is_known_behind_a_webhook_only() {
    let route = |authorizer: &str, body: &str| {
        format!(
            "authorizers: {{ h: {{ webhook: {{ preset: stripe, secrets: [k] }} }} }}\nqueues: {{ q: {{}} }}\n\
             routes: {{ 'POST /h': {{ authorizer: {authorizer}, integration: {{ SQS-SendMessage: {{ QueueUrl: 'queue:q', MessageBody: {body} }} }} }} }}\n"
        )
    };
    for (authorizer, body, said) in [
        (
            "none",
            "$webhook.id",
            "`$webhook.id`: the route has no webhook authorizer",
        ),
        (
            "none",
            "$context.webhook.id",
            "`$context.webhook.id`: the route has no webhook authorizer",
        ),
        ("h", "$webhook.idd", "did you mean `$webhook.id`?"),
        (
            "h",
            "$webhook.attestation",
            "write `attestation: { key: … }` in the authorizer",
        ),
    ] {
        let (lines, code) = check(&route(authorizer, body));
        assert!(
            code == 1 && lines.iter().any(|line| line.contains(said)),
            "{said}: {lines:#?}"
        );
    }
    assert_eq!(check(&route("h", "$webhook.type")).1, 0);
}
