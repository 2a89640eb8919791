//! What routes promise, how targets are treated, and the SQS listener: every fault with its place, what was found and
//! what to write; and settings that no route uses.

use super::check;

const SEND: &str = "SQS-SendMessage: { QueueUrl: 'https://sqs.eu-west-1.amazonaws.com/1/orders', MessageBody: $request.body }";
const FIFO: &str = "SQS-SendMessage: { QueueUrl: 'https://sqs.eu-west-1.amazonaws.com/1/l.fifo', MessageBody: $request.body, MessageGroupId: g, MessageDeduplicationId: $request.header.x }";
const EMBEDDED: &str = "SQS-SendMessage: { QueueUrl: 'queue:q', MessageBody: $request.body }";
const RECEIVE: &str = "SQS-ReceiveMessage: { QueueUrl: 'queue:q' }";

/// The third and fourth line of a configuration that begins with a queue and `POST /a`, and what is said.
const ROUTES: &[(&str, &str, &str)] = &[
    (
        "integration: { {RECEIVE} }",
        "ack: spool",
        r#"5:10: error: routes."POST /a".ack: SQS-ReceiveMessage cannot be spooled: it reads, and a read cannot be answered later; leave `ack` out, which means `target`"#,
    ),
    (
        "integration: { {EMBEDDED} }",
        "ack: target-or-spool",
        r#"5:10: error: routes."POST /a".ack: SQS-SendMessage cannot be spooled: an embedded queue is on the same disk as the spool; leave `ack` out, which means `target`"#,
    ),
    (
        "integration: { Mock: {} }",
        "ack: spool",
        r#"5:10: error: routes."POST /a".ack: Mock cannot be spooled: it reads, and a read cannot be answered later; leave `ack` out, which means `target`"#,
    ),
    (
        "integrations: [ { {SEND} }, { {FIFO} } ]",
        "ack: target",
        r#"5:10: error: routes."POST /a".ack: several targets cannot be acknowledged together by `ack: target`: the first may have the record when the second fails; write `ack: spool` or `ack: target-or-spool`"#,
    ),
    (
        "integration: { {SEND}, aggregate: kpl }",
        "ack: target",
        r#"4:138: error: routes."POST /a".integration.aggregate: `aggregate` means nothing to SQS-SendMessage; it belongs to Kinesis-PutRecord"#,
    ),
    (
        "integration: { Kinesis-PutRecord: { StreamName: s, Data: x, PartitionKey: k, Region: eu-west-1, SequenceNumberForOrdering: '1' }, aggregate: kpl }",
        "ack: target",
        r#"4:128: error: routes."POST /a".integration.Kinesis-PutRecord.SequenceNumberForOrdering: a record with it cannot be aggregated with others; leave it out, or `aggregate`"#,
    ),
    (
        "integration: { Kinesis-PutRecord: { StreamName: s, Data: x, PartitionKey: k, Region: eu-west-1 }, aggregate: zip }",
        "ack: target",
        r#"4:114: error: routes."POST /a".integration.aggregate: "zip" is not known here; allowed: `kpl`"#,
    ),
    (
        "integration: { {SEND} }",
        "ack: { mode: target, order: route }",
        r#"5:33: error: routes."POST /a".ack.order: `order` is about spooled records, and `ack: target` spools none; leave it out, or write `mode: spool` or `mode: target-or-spool`"#,
    ),
    (
        "integration: { {SEND} }",
        "ack: { mode: target, on_poison: stop }",
        r#"5:37: error: routes."POST /a".ack.on_poison: `on_poison` is about spooled records, and `ack: target` spools none; leave it out, or write `mode: spool` or `mode: target-or-spool`"#,
    ),
    (
        "integration: { {SEND} }",
        "ack: { mode: spool, budget: 1s }",
        r#"5:33: error: routes."POST /a".ack.budget: `budget` is what `target-or-spool` gives the target before it spools; leave it out, or write `mode: target-or-spool`"#,
    ),
    (
        "integration: { {SEND} }",
        "ack: { mode: target-or-spool, budget: 10s }",
        r#"5:43: error: routes."POST /a".ack.budget: 10s is out of range; allowed: above 0 and below the route's timeout, 10s"#,
    ),
    (
        "integration: { {SEND} }",
        "ack: { mode: target-or-spool, budget: 0s }",
        r#"5:43: error: routes."POST /a".ack.budget: 0ms is out of range; allowed: above 0 and below the route's timeout, 10s"#,
    ),
    (
        "integration: { {SEND} }",
        "ack: { mode: spool, order: key }",
        r#"5:32: error: routes."POST /a".ack.order: no target of the route has a key: only FIFO queues (message group) and Kinesis (partition key) do; `order: route` keeps all of the route in order"#,
    ),
    (
        "integration: { {FIFO} }",
        "ack: { mode: spool, order: route }",
        r#"5:32: error: routes."POST /a".ack.order: a FIFO queue keeps the order of its message groups, over all routes that send to it; leave it out; for one order over the whole route map one `MessageGroupId`"#,
    ),
    (
        "integration: { {FIFO} }",
        "ack: { mode: spool, order: none }",
        r#"5:32: error: routes."POST /a".ack.order: a FIFO queue always keeps the order of its message groups; leave it out, or write `key`"#,
    ),
    (
        "integration: { {RECEIVE} }",
        "idempotency: { key: $request.header.x }",
        r#"5:18: error: routes."POST /a".idempotency: SQS-ReceiveMessage stores nothing that could be stored twice; leave `idempotency` out"#,
    ),
    (
        "integration: { {SEND} }",
        "idempotency: { ttl: 1h }",
        r#"5:18: error: routes."POST /a".idempotency: `key` is missing: nothing tells a repeated request from a new one; write `key: $request.header.idempotency-key`"#,
    ),
    (
        "integration: { {SEND} }",
        "idempotency: { key: constant }",
        r#"5:25: error: routes."POST /a".idempotency.key: the key is the same for every request, so only the first would be stored; write a mapping expression, such as `$request.header.idempotency-key`"#,
    ),
    (
        "integration: { {SEND} }",
        "idempotency: { key: $request.header.x, ttl: 0s }",
        r#"5:49: error: routes."POST /a".idempotency.ttl: 0ms is out of range; allowed: 1s to 30d"#,
    ),
    (
        "integration: { {SEND} }",
        "idempotency: { key: $request.header.x, ttl: 31d }",
        r#"5:49: error: routes."POST /a".idempotency.ttl: 31d is out of range; allowed: 1s to 30d"#,
    ),
    (
        "integration: { {SEND} }",
        "integrations: [ { {SEND} } ]",
        r#"5:19: error: routes."POST /a".integrations: `integration` and `integrations` stand side by side; move the one into the list"#,
    ),
    (
        "throttle: { rate: 1 }",
        "ack: spool",
        r#"3:3: error: routes."POST /a": the route has no `integration`, so its payload would go nowhere; write one, such as `integration: { SQS-SendMessage: { … } }`, or several under `integrations`"#,
    ),
];

/// The first line of a configuration whose one route is good, and what is said.
const SECTIONS: &[(&str, &str)] = &[
    (
        "targets: { default: { breaker: { open_after: 0 } } }",
        "1:46: error: targets.default.breaker.open_after: 0 is out of range; allowed: 1 and more",
    ),
    (
        "targets: { default: { breaker: { close_after: 0 } } }",
        "1:47: error: targets.default.breaker.close_after: 0 is out of range; allowed: 1 and more",
    ),
    (
        "targets: { default: { breaker: { probe_every: 0s } } }",
        "1:47: error: targets.default.breaker.probe_every: 0ms is out of range; allowed: 1ms to 1d",
    ),
    (
        "targets: { default: { breaker: { max: 2d } } }",
        "1:39: error: targets.default.breaker.max: 2d is out of range; allowed: 1ms to 1d",
    ),
    (
        "targets: { default: { backoff: { base: 0s } } }",
        "1:40: error: targets.default.backoff.base: 0ms is out of range; allowed: 1ms to 1d",
    ),
    (
        "targets: { default: { backoff: { max: 2d } } }",
        "1:39: error: targets.default.backoff.max: 2d is out of range; allowed: 1ms to 1d",
    ),
    (
        "targets: { default: { rate: 0 } }",
        "1:29: error: targets.default.rate: 0 is out of range; allowed: records a second, above 0",
    ),
    (
        "targets: { default: { in_flight: 257 } }",
        "1:34: error: targets.default.in_flight: 257 is out of range; allowed: 1 to 256",
    ),
    (
        "targets: { default: { requests: 0 } }",
        "1:33: error: targets.default.requests: 0 is out of range; allowed: 1 to 4096, which is `limits.in_flight`",
    ),
    (
        "targets: { default: { requests: 4097 } }",
        "1:33: error: targets.default.requests: 4097 is out of range; allowed: 1 to 4096, which is `limits.in_flight`",
    ),
    (
        "targets: { default: { batch: { max: 0 } } }",
        "1:37: error: targets.default.batch.max: 0 is out of range; allowed: 1 and more",
    ),
    (
        "targets: { default: { batch: { linger: 2m } } }",
        "1:40: error: targets.default.batch.linger: 2m is out of range; allowed: 0s to 1m",
    ),
    (
        "sqs: { anonymous: true, bind: '0.0.0.0:9324' }",
        "1:19: error: sqs.anonymous: 0.0.0.0:9324 is not loopback: anybody who reaches it could read and empty every queue; bind it to 127.0.0.1, or write `credentials` in place of `anonymous: true`",
    ),
    (
        "sqs: {}",
        "1:6: error: sqs: nobody could use this listener; write `credentials: [ { name: …, access_key_id: …, secret_access_key: … } ]` or the name of a file that holds `users: […]`; for development on a loopback address `anonymous: true`",
    ),
    (
        "sqs: { credentials: [] }",
        "1:21: error: sqs.credentials: there is no user, so nobody could sign a request; write { name, access_key_id, secret_access_key } for each",
    ),
];

#[test]
fn each_fault_of_a_promise_is_said_with_its_place_and_what_is_allowed() {
    for (integration, rest, said) in ROUTES {
        let text = [
            "queues: { q: {} }\nroutes:\n  POST /a:\n    ",
            integration,
            "\n    ",
            rest,
            "\n",
        ]
        .concat()
        .replace("{SEND}", SEND)
        .replace("{FIFO}", FIFO)
        .replace("{EMBEDDED}", EMBEDDED)
        .replace("{RECEIVE}", RECEIVE);
        said_alone(&text, said);
    }
    for (section, said) in SECTIONS {
        let route = "routes: { 'GET /ok': { integration: { Mock: {} } } }";
        said_alone(&format!("{section}\n{route}\n"), said);
    }
}

fn said_alone(text: &str, said: &str) {
    let (lines, code) = check(text);
    let expected = vec![
        format!("shop.yaml:{said}"),
        "1 error, 0 warnings".to_owned(),
    ];
    assert_eq!((lines, code), (expected, 1), "{text}");
}

/// What `check` warns of for two routes that spool, to a stream and to a queue, with these `targets`.
fn warnings(targets: &str, stream: &str) -> Vec<String> {
    let text = format!(
        "aws: {{ region: eu-west-1 }}\ntargets: {{ {targets} }}\nroutes:\n  \
         POST /a: {{ ack: spool, integration: {{ {SEND} }} }}\n  \
         POST /b: {{ ack: spool, integration: {{ Kinesis-PutRecord: {{ StreamName: {stream}, Data: x, PartitionKey: k }} }} }}\n"
    );
    let (mut lines, code) = check(&text);
    assert_eq!(code, 0, "{lines:#?}");
    lines.pop();
    lines
}

#[test]
fn settings_of_a_target_that_no_route_names_are_not_lost_without_a_word() {
    let url = "'https://sqs.eu-west-1.amazonaws.com/1/orders'";
    let used = format!("default: {{ rate: 9 }}, readings: {{ rate: 5 }}, {url}: {{ rate: 5 }}");
    assert_eq!(warnings(&used, "readings"), [""; 0]);
    for (name, place, help) in [
        (
            "readingz",
            "2:22: warning: targets.readingz: ",
            "did you mean `readings`?",
        ),
        (
            "orders",
            "2:20: warning: targets.orders: ",
            "did you mean `https://sqs.eu-west-1.amazonaws.com/1/orders`?",
        ),
        (
            "elsewhere",
            "2:23: warning: targets.elsewhere: ",
            "write the name as routes do: ",
        ),
    ] {
        let said = warnings(&format!("{name}: {{ rate: 5 }}"), "readings");
        let [line] = &said[..] else {
            panic!("{name}: {said:#?}");
        };
        assert!(line.starts_with(&format!("shop.yaml:{place}")), "{line}");
        assert!(line.contains("; ") && line.contains(help), "{line}");
    }
}

#[test]
fn where_requests_name_the_target_any_settings_may_be_used() {
    let said = warnings("readingz: { rate: 5 }", "$request.header.stream");
    let [line] = &said[..] else {
        panic!("{said:#?}");
    };
    assert!(
        line.contains("gets a spool of its own, which stays"),
        "{line}"
    );
}
