use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::admin::queues::DeathView;

fn view(body: &str) -> MessageView {
    MessageView {
        number: Some(12),
        message_id: "0e0c".into(),
        receipt_handle: None,
        state: "ready".into(),
        sent_at: "2026-01-02T03:04:05.006Z".into(),
        receive_count: 0,
        group_id: None,
        deduplication_id: None,
        attributes: BTreeMap::new(),
        system_attributes: BTreeMap::new(),
        target: None,
        context: None,
        death: None,
        body_bytes: body.len(),
        body_encoding: None,
        body: body.into(),
    }
}

#[test]
fn a_message_is_a_block_with_a_glimpse_of_its_body() {
    assert_eq!(
        message(&view("hello"), false),
        "#12  ready  sent 2026-01-02T03:04:05.006Z  0e0c\n  body       5 bytes\n    hello\n"
    );
    let long = "x".repeat(500);
    assert!(message(&view(&long), false).ends_with("x …\n"));
    assert!(message(&view(&long), true).contains(&long));
}

#[test]
fn a_dead_letter_says_where_why_when_and_for_whom() {
    let dead = MessageView {
        target: Some("sqs:https://x/orders".into()),
        context: Some(json!({
            "requestId": "r-1", "routeKey": "POST /orders", "sourceIp": "10.0.0.5", "principalId": null,
            "receivedAt": 1_700_000_000_123_u64,
        })),
        death: Some(DeathView {
            code: "InvalidMessageContents".into(),
            detail: "no such character".into(),
            attempts: 3,
            first_attempt_at: "A".into(),
            last_attempt_at: "B".into(),
        }),
        ..view(r#"{"QueueUrl":"x","MessageBody":"y"}"#)
    };
    let text = message(&dead, true);
    for line in [
        "  target     sqs:https://x/orders\n",
        "  reason     InvalidMessageContents: no such character\n",
        "  attempts   3, first A, last B\n",
        "receivedAt 2023-11-14T22:13:20.123Z",
        "sourceIp 10.0.0.5",
        "    {\n      \"QueueUrl\": \"x\",\n",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
}

#[test]
fn a_spooled_record_shows_what_was_sent_its_attempts_and_its_key() {
    let spooled = |call: Value, key: &str| {
        let body = json!({"call": call, "resend": true}).to_string();
        let record = MessageView {
            target: Some("sqs:https://x/orders".into()),
            receive_count: 7,
            group_id: Some(key.into()),
            ..view(&body)
        };
        message(&record, false)
    };
    for (call, shown) in [
        (
            json!({"SQS-SendMessage": {"QueueUrl": "https://x/orders", "MessageBody": "{\"a\":1}"}}),
            "{\"a\":1}",
        ),
        (
            json!({"Kinesis-PutRecord": {"StreamName": "s", "Data": {"base64": "/wA="}}}),
            "{\"base64\":\"/wA=\"}",
        ),
        (
            json!({"EventBridge-PutEvents": {"Entries": [{"Source": "s", "Detail": "{}"}]}}),
            "{}",
        ),
        (
            json!({"StepFunctions-StartExecution": {"stateMachineArn": "a", "input": "[]"}}),
            "[]",
        ),
        (
            json!({"Later-Call": {"X": "y"}}),
            "{\"call\":{\"Later-Call\":{\"X\":\"y\"}},\"resend\":true}",
        ),
    ] {
        let text = spooled(call, "key:k-1");
        assert!(text.ends_with(&format!("\n    {shown}\n")), "{text}");
        assert!(
            text.contains("  attempts   7\n") && text.contains("  key        k-1\n"),
            "{text}"
        );
    }
    assert!(spooled(json!({}), "route:POST /a").contains("  key        route:POST /a\n"));
}

#[test]
fn a_body_cannot_steer_the_terminal() {
    let text = message(&view("a\u{1b}[2Jb\rc\u{202e}d\ne"), true);
    assert!(
        text.contains("a\\u{1b}[2Jb\\rc\\u{202e}d\n    e"),
        "{text:?}"
    );
}

#[test]
fn ages_have_two_units() {
    for (seconds, text) in [
        (0.2, "0s"),
        (59.9, "59s"),
        (61.0, "1m 1s"),
        (3_600.0, "1h"),
        (86_400.0 * 3.0 + 7_200.0, "3d 2h"),
    ] {
        assert_eq!(age(seconds), text);
    }
}
