use serde_json::json;

use super::*;
use crate::integration::refusal::Class;
use crate::integration::tests::{compile, map, problems};

#[test]
fn every_parameter_stands_in_the_one_entry() {
    let request = map(
        &compile(
            r#"{"EventBridge-PutEvents": {"Detail": "$request.body", "DetailType": "order", "Source": "shop",
            "Time": "2026-11-22T13:00:00.5+01:00", "EventBusName": "hooks", "Resources": ["arn:a", "$request.header.x-a"],
            "Region": "us-east-1", "TraceHeader": "Root=1"}}"#,
        ),
        b"{\"a\":1}",
    );
    assert_eq!(
        serde_json::to_string(&request.unwrap()).unwrap(),
        r#"{"EventBridge-PutEvents":{"Entries":[{"Time":"2026-11-22T12:00:00.5Z","Source":"shop","Resources":["arn:a","alpha"],"DetailType":"order","Detail":"{\"a\":1}","EventBusName":"hooks","TraceHeader":"Root=1"}],"Region":"us-east-1"}}"#
    );
}

#[test]
fn one_text_says_the_resources_and_a_value_stays_in_its_place() {
    let of = |resources: &str| {
        let text = format!(
            r#"{{"EventBridge-PutEvents": {{"Detail": "$request.body", "DetailType": "t", "Source": "s", "Resources": {resources}}}}}"#
        );
        let request = map(&compile(&text), br#"{"a":"x\",\"y","b":"n"}"#).unwrap();
        serde_json::to_value(&request).unwrap()["EventBridge-PutEvents"]["Entries"][0]["Resources"]
            .clone()
    };
    assert_eq!(
        of(r#""arn:${request.header.x-a},arn:b""#),
        serde_json::json!(["arn:alpha", "arn:b"])
    );
    assert_eq!(
        of(r#""[\"arn:${request.body.a}\", \"${request.header.x-none:-d}\"]""#),
        serde_json::json!(["arn:x\",\"y", "d"])
    );
}

#[test]
fn a_static_detail_has_to_be_a_json_object() {
    for detail in ["hello", "[1]", r#"{\"a\":}"#] {
        let text = format!(
            r#"{{"EventBridge-PutEvents": {{"Detail": "{detail}", "DetailType": "t", "Source": "s"}}}}"#
        );
        assert_eq!(
            problems(&text),
            [
                "error: integration.EventBridge-PutEvents.Detail: the static text is not a JSON object; write `$request.body` to send the request's body, or JSON text with `${…}` inside"
            ]
        );
    }
}

#[test]
fn times_are_iso_or_epoch_seconds() {
    let of = |text: &'static str| time(Bytes::from_static(text.as_bytes()));
    assert_eq!(
        of("1700000000.5"),
        Ok(DateTime::from_millis(1_700_000_000_500))
    );
    assert_eq!(
        of("2023-11-14T22:13:20Z"),
        Ok(DateTime::from_secs(1_700_000_000))
    );
    assert!(matches!(of("yesterday"), Err(Flaw::Invalid(_))));
}

#[test]
fn the_size_of_an_entry_is_counted_as_the_service_counts() {
    let yaml = r#"{"EventBridge-PutEvents": {"Detail": "$request.body", "DetailType": "dt", "Source": "src", "Time": "0", "Resources": "a,bc"}}"#;
    let room = ENTRY_BYTES - 14 - 3 - 2 - 3;
    assert!(map(&compile(yaml), &vec![b'x'; room]).is_ok());
    assert_eq!(
        map(&compile(yaml), &vec![b'x'; room + 1])
            .unwrap_err()
            .status(),
        413
    );
    assert_eq!(
        map(&compile(yaml), b"\xff").unwrap_err().code().name(),
        "target_charset"
    );
}

#[test]
fn what_is_wrong_with_static_values_is_said_at_check() {
    assert_eq!(
        problems(r#"{"EventBridge-PutEvents": {"Source": "aws.ec2", "DetailType": ""}}"#),
        [
            "error: integration.EventBridge-PutEvents.Detail: the parameter `Detail` is missing; EventBridge-PutEvents requires it",
            "error: integration.EventBridge-PutEvents.DetailType: \"\" is empty",
            "error: integration.EventBridge-PutEvents.Source: \"aws.ec2\" begins with `aws.`, which is reserved for AWS",
        ]
    );
}

#[test]
fn a_refused_entry_is_a_failure_that_the_aws_dialect_shows_as_it_is() {
    let entry = |code: &str| {
        let said = json!({ "ErrorCode": code, "ErrorMessage": "Detail is malformed." });
        serde_json::from_value(said).unwrap()
    };
    for (code, class, status) in [
        ("MalformedDetail", Class::Record, 422),
        ("ThrottlingException", Class::Throttled, 503),
        ("InternalFailure", Class::Unavailable, 503),
        ("NotAuthorizedForSource", Class::Setup, 502),
    ] {
        let answer = EventPut::from(Some(entry(code)), 1).unwrap();
        let failure = answer.failure().unwrap();
        assert_eq!(
            (failure.class, failure.native_status()),
            (class, status),
            "{code}"
        );
    }
    let answer = EventPut::from(Some(entry("MalformedDetail")), 1)
        .unwrap()
        .aws("r");
    assert_eq!(answer.status, 200);
    assert_eq!(
        std::str::from_utf8(&answer.body).unwrap(),
        r#"{"Entries":[{"ErrorCode":"MalformedDetail","ErrorMessage":"Detail is malformed."}],"FailedEntryCount":1}"#
    );
}

#[test]
fn without_an_id_nobody_knows_whether_the_entry_was_taken() {
    for (entry, failed) in [
        (None, 0),
        (Some(json!({})), 0),
        (Some(json!({ "EventId": "" })), 0),
        (Some(json!({ "EventId": "e-1" })), 1),
    ] {
        let entry = entry.map(|entry| serde_json::from_value(entry).unwrap());
        let error = EventPut::from(entry, failed).unwrap_err();
        assert_eq!(
            (error.class, error.code.as_str(), error.may_be_stored()),
            (Class::OutcomeUnknown, "MissingReceipt", true)
        );
    }
}

#[test]
fn a_taken_entry_has_an_id() {
    let entry = serde_json::from_value(json!({ "EventId": "e-1" })).unwrap();
    let answer = EventPut::from(Some(entry), 0).unwrap();
    assert!(answer.failure().is_none());
    assert_eq!(answer.message_id(), Some("e-1"));
    assert_eq!(
        &answer.aws("r").body[..],
        &br#"{"Entries":[{"EventId":"e-1"}],"FailedEntryCount":0}"#[..]
    );
}
