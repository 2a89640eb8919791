use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::tests::{compile, map};
use super::*;
use crate::integration::NativeAnswer;
use crate::model::request_id::RequestId;

const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/1/orders";
const MACHINE: &str = "arn:aws:states:eu-west-1:111122223333:stateMachine:flow";

fn request(json: &str, body: &[u8]) -> Request {
    map(&compile(json), body).unwrap()
}

/// What is kept reads back as it was, to the byte.
fn comes_back(request: &Request) {
    let kept = request.encode().unwrap();
    let back = Request::decode(&kept).unwrap();
    let facts = |request: &Request| {
        let flags = (request.is_resend(), request.keeps_place());
        (flags, request.target(), request.size())
    };
    assert_eq!(facts(&back), facts(request));
    assert_eq!(back.encode().unwrap(), kept);
    match (&request.call, &back.call) {
        (Call::SqsSendMessage(was), Call::SqsSendMessage(is)) => assert_eq!(was, is),
        (Call::KinesisPutRecord(was), Call::KinesisPutRecord(is)) => assert_eq!(was, is),
        (Call::EventBridgePutEvents(was), Call::EventBridgePutEvents(is)) => assert_eq!(was, is),
        (Call::StepFunctionsStartExecution(was), Call::StepFunctionsStartExecution(is)) => {
            assert_eq!(was, is)
        }
        (was, is) => panic!("{was:?} became {is:?}"),
    }
}

fn send(queue: &str, extra: serde_json::Value) -> String {
    let mut parameters = json!({ "QueueUrl": queue, "MessageBody": "$request.body" });
    for (name, value) in extra.as_object().unwrap() {
        parameters[name] = value.clone();
    }
    json!({ "SQS-SendMessage": parameters }).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_come_back_as_they_were(body in prop::collection::vec(any::<u8>(), 0..300)) {
        comes_back(&request(&send("queue:orders", json!({})), &body));
        let put = r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"$request.body","PartitionKey":"k","ExplicitHashKey":"7","Region":"us-east-1"}}"#;
        comes_back(&request(put, &body));
        comes_back(&request(put, &body).again());
        comes_back(&request(put, &body).keeping_place());
    }

    #[test]
    fn any_text_comes_back_as_it_was(body in "[ -~\t\n\r\u{e9}-\u{d7ff}\u{10000}-\u{10ffff}\"\\\\]{1,80}", name in "[a-zA-Z]{1,20}") {
        let text = json!({
            "DelaySeconds": "7",
            "MessageAttributes": {
                "n": { "DataType": "Number.int", "StringValue": "3" },
                name: { "DataType": "Binary", "BinaryValue": "/wA=" },
                "text": "$request.header.x-a",
            },
            "MessageSystemAttributes": { "AWSTraceHeader": "Root=1" },
        });
        comes_back(&request(&send(QUEUE, text), body.as_bytes()));
        let start = json!({ "StepFunctions-StartExecution": { "StateMachineArn": MACHINE, "Input": "$request.body" } });
        comes_back(&request(&start.to_string(), body.as_bytes()));
    }

    #[test]
    fn any_time_comes_back_as_it_was(seconds in 0i64..400_000_000_000, nanos in prop::option::of(1u32..1_000_000_000)) {
        let time = match nanos {
            Some(nanos) => format!("{seconds}.{nanos:09}"),
            None => seconds.to_string(),
        };
        let event = json!({ "EventBridge-PutEvents": {
            "Detail": "$request.body", "DetailType": "t", "Source": "s", "Time": time,
            "EventBusName": "hooks", "Resources": ["arn:a", "$request.header.x-a"], "TraceHeader": "Root=1",
        } });
        comes_back(&request(&event.to_string(), b"{}"));
    }
}

#[test]
fn a_fifo_send_keeps_its_ids_and_a_queue_elsewhere_its_region() {
    let ids = json!({ "MessageGroupId": "g", "MessageDeduplicationId": "d" });
    comes_back(&request(
        &send("https://sqs.eu-west-1.amazonaws.com/1/l.fifo", ids),
        b"x",
    ));
    let region = json!({ "Region": "us-east-1" });
    comes_back(&request(&send("http://127.0.0.1:4566/1/l", region), b"x"));
}

#[test]
fn what_is_kept_is_json_in_the_words_of_the_service() {
    let request = request(&send(QUEUE, json!({})), b"{\"a\":1}");
    assert_eq!(
        request.encode().unwrap(),
        format!(
            r#"{{"call":{{"SQS-SendMessage":{{"QueueUrl":"{QUEUE}","MessageBody":"{{\"a\":1}}","Region":"eu-west-1"}}}}}}"#
        )
    );
    assert!(
        request
            .again()
            .encode()
            .unwrap()
            .ends_with(b",\"resend\":true}")
    );
}

#[test]
fn what_another_version_has_written_is_refused_and_not_half_read() {
    for kept in [
        "",
        "{}",
        r#"{"call":{"Mock":{}}}"#,
        r#"{"call":{"SQS-SendMessage":{"QueueUrl":"https://h/1/q","MessageBody":"x","Priority":"1"}}}"#,
        r#"{"call":{"SQS-SendMessage":{"QueueUrl":"orders","MessageBody":"x"}}}"#,
        r#"{"call":{"SQS-SendMessage":{"QueueUrl":"https://h/1/q","MessageBody":{"base64":"?"}}}}"#,
        r#"{"call":{"SQS-SendMessage":{"QueueUrl":"https://h/1/q","MessageBody":"x"}},"encrypted":true}"#,
    ] {
        assert!(Request::decode(kept.as_bytes()).is_err(), "{kept}");
    }
    assert!(request(r#"{"Mock":{}}"#, b"").encode().is_err());
}

#[test]
fn answers_come_back_in_both_dialects() {
    let id = RequestId::mint();
    let attributes = json!({ "MessageAttributes": { "a": "b" } });
    for json in [
        send(QUEUE, attributes),
        r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"x","PartitionKey":"k"}}"#.to_owned(),
        r#"{"EventBridge-PutEvents":{"Detail":"{}","DetailType":"t","Source":"s"}}"#.to_owned(),
        json!({ "StepFunctions-StartExecution": { "StateMachineArn": MACHINE } }).to_string(),
    ] {
        let answer = request(&json, b"x").spooled_answer("id-1").unwrap();
        let back = Answer::decode(&answer.encode().unwrap()).unwrap();
        assert!(back.is_spooled());
        assert_eq!(back.native(), answer.native());
        assert_eq!(back.aws(&id), answer.aws(&id));
    }
    assert!(Answer::decode(b"{}").is_none());
    assert!(request(r#"{"Mock":{}}"#, b"").spooled_answer("i").is_none());
}

#[test]
fn a_spooled_record_s_answer_says_what_is_known() {
    let id = RequestId::mint();
    let of = |json: &str| {
        request(json, b"hello world")
            .spooled_answer("id-1")
            .unwrap()
    };
    let sent = of(&send(QUEUE, json!({})));
    assert_eq!(sent.message_id(), Some("id-1"));
    assert_eq!(
        sent.field("md5OfMessageBody").as_deref(),
        Some("5eb63bbbe01eeed093cb22bb8f5acdc3")
    );
    assert_eq!(sent.field("sequenceNumber"), None);
    let put = of(r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"x","PartitionKey":"k"}}"#);
    assert_eq!(
        put.aws(&id).body,
        Bytes::from_static(br#"{"SequenceNumber":"id-1","ShardId":"spooled"}"#)
    );
    let told = |answer: &Answer| match answer.native() {
        NativeAnswer::Stored(members) => Value::Object(members),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(&put), json!({ "messageId": "id-1" }));
    let event = of(r#"{"EventBridge-PutEvents":{"Detail":"{}","DetailType":"t","Source":"s"}}"#);
    assert_eq!(event.field("eventId").as_deref(), Some("id-1"));
    assert_eq!(told(&event), json!({ "messageId": "id-1" }));
    let start =
        json!({ "StepFunctions-StartExecution": { "StateMachineArn": MACHINE, "Name": "n-1" } });
    assert_eq!(
        of(&start.to_string()).message_id(),
        Some("arn:aws:states:eu-west-1:111122223333:execution:flow:n-1")
    );
}
