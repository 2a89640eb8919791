use std::time::Duration;

use serde_json::json;

use super::super::fake::{Fake, Heard, Reply, error, ok, sent};
use super::super::tests::{compile, map};
use super::super::{Integration, StoreState};
use super::*;
use crate::aws;

const SEND: &str = r#"{"SQS-SendMessage":{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/q","MessageBody":"$request.body"}}"#;
const PUT: &str =
    r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"$request.body","PartitionKey":"k"}}"#;
const EVENT: &str =
    r#"{"EventBridge-PutEvents":{"Detail":"$request.body","DetailType":"t","Source":"s"}}"#;
const START: &str = r#"{"StepFunctions-StartExecution":{"StateMachineArn":"arn:aws:states:eu-west-1:1:stateMachine:flow","Name":"n"}}"#;

fn requests(json: &str, bodies: &[&str]) -> Vec<Request> {
    let integration: Integration = compile(json);
    bodies
        .iter()
        .map(|body| map(&integration, body.as_bytes()).unwrap())
        .collect()
}

async fn call(fake: &Fake, requests: Vec<Request>) -> Vec<Result<Answer, TargetError>> {
    let targets = Targets::new(aws::Clients::for_tests(&fake.address), StoreState::Absent);
    let deadline = Instant::now() + Duration::from_secs(10);
    targets.call_batch(requests, deadline).await
}

fn actions(fake: &Fake) -> Vec<String> {
    fake.heard().into_iter().map(|heard| heard.action).collect()
}

/// `ok`, or the class and the code.
fn verdicts(results: &[Result<Answer, TargetError>]) -> Vec<String> {
    let verdict = |result: &Result<Answer, TargetError>| match result {
        Ok(answer) => format!("ok {}", answer.message_id().unwrap()),
        Err(error) => format!("{:?} {}", error.class, error.code),
    };
    results.iter().map(verdict).collect()
}

#[tokio::test]
async fn records_of_one_target_share_calls_up_to_the_limits() {
    let fake = Fake::start(ok).await;
    let bodies: Vec<String> = (0..23).map(|n| n.to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    let results = call(&fake, requests(SEND, &bodies)).await;
    let expected: Vec<String> = bodies.iter().map(|body| format!("ok m-{body}")).collect();
    assert_eq!(verdicts(&results), expected);
    assert_eq!(actions(&fake), ["SendMessageBatch"; 3]);
    let fake = Fake::start(ok).await;
    let large = "x".repeat(700_000);
    let results = call(&fake, requests(SEND, &[&large, &large, "a", "b"])).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(actions(&fake), ["SendMessage", "SendMessageBatch"]);
    let fake = Fake::start(ok).await;
    let results = call(&fake, requests(PUT, &bodies)).await;
    assert!(results.iter().all(Result::is_ok));
    let results = call(&fake, requests(EVENT, &["{}", "{}"])).await;
    assert!(results.iter().all(Result::is_ok));
    let results = call(&fake, requests(START, &["{}", "{}"])).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(
        actions(&fake),
        [
            "PutRecords",
            "PutEvents",
            "StartExecution",
            "StartExecution"
        ]
    );
}

#[tokio::test]
async fn records_of_different_targets_never_share_a_call() {
    let fake = Fake::start(ok).await;
    let mut mixed = requests(SEND, &["a"]);
    mixed.extend(requests(&SEND.replace("/1/q", "/1/other"), &["b"]));
    mixed.extend(requests(PUT, &["c"]));
    let ordered = r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"d","PartitionKey":"k","SequenceNumberForOrdering":"1"}}"#;
    mixed.extend(requests(ordered, &["d"]));
    assert!(call(&fake, mixed).await.iter().all(Result::is_ok));
    assert_eq!(
        actions(&fake),
        ["SendMessage", "SendMessage", "PutRecord", "PutRecord"]
    );
}

#[tokio::test]
async fn each_entry_has_its_own_verdict() {
    let fake = Fake::start(|heard: &Heard| {
        let entry = |n: usize| sent(&heard.body["Entries"][n]);
        let mut other_bytes = entry(4);
        other_bytes["MD5OfMessageBody"] = json!("00000000000000000000000000000000");
        Reply::Json(200, json!({
            "Successful": [entry(3), other_bytes, entry(0), entry(6), { "Id": "77", "MessageId": "m", "MD5OfMessageBody": "x" }],
            "Failed": [
                { "Id": "1", "SenderFault": true, "Code": "InvalidMessageContents", "Message": "no" },
                { "Id": "2", "SenderFault": false, "Code": "InternalError" },
                { "Id": "6", "SenderFault": true, "Code": "InvalidMessageContents" },
                { "Id": "7", "SenderFault": true, "Code": "AccessDenied" },
                { "Id": "8", "SenderFault": false, "Code": "RequestThrottled" },
            ],
        }))
    })
    .await;
    let bodies = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let results = call(&fake, requests(SEND, &bodies)).await;
    assert_eq!(
        verdicts(&results),
        [
            "ok m-a",
            "Record InvalidMessageContents",
            "Unavailable InternalError",
            "ok m-d",
            "OutcomeUnknown ChecksumMismatch",
            "OutcomeUnknown MissingReceipt",
            "OutcomeUnknown MissingReceipt",
            "Setup AccessDenied",
            "Throttled RequestThrottled",
        ]
    );
    assert!(results[2].as_ref().unwrap_err().may_be_stored());
    assert_eq!(actions(&fake), ["SendMessageBatch"]);
}

#[tokio::test]
async fn the_order_of_the_answer_tells_records_and_events_apart() {
    let fake = Fake::start(|heard: &Heard| match heard.action.as_str() {
        "PutRecords" => Reply::Json(
            200,
            json!({ "FailedRecordCount": 2, "Records": [
            { "SequenceNumber": "n-1", "ShardId": "s-1" },
            { "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow" },
            { "ErrorCode": "InternalFailure" },
            { "SequenceNumber": "n-4" },
        ] }),
        ),
        _ => Reply::Json(
            200,
            json!({ "FailedEntryCount": 1, "Entries": [
            { "EventId": "e-1" }, { "ErrorCode": "MalformedDetail", "ErrorMessage": "no" }, {},
        ] }),
        ),
    })
    .await;
    let results = call(&fake, requests(PUT, &["a", "b", "c", "d"])).await;
    assert_eq!(
        verdicts(&results),
        [
            "ok n-1",
            "Throttled ProvisionedThroughputExceededException",
            "Unavailable InternalFailure",
            "OutcomeUnknown MissingReceipt",
        ]
    );
    let results = call(&fake, requests(EVENT, &["{}", "{}", "{}"])).await;
    assert_eq!(
        verdicts(&results),
        [
            "ok e-1",
            "Record MalformedDetail",
            "OutcomeUnknown MissingReceipt"
        ]
    );
    // an answer with too few verdicts confirms none
    for json in [PUT, EVENT] {
        let results = call(&fake, requests(json, &["{}", "{}"])).await;
        assert_eq!(verdicts(&results), ["OutcomeUnknown MissingReceipt"; 2]);
    }
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_condemns_no_record() {
    for code in [
        "AWS.SimpleQueueService.BatchRequestTooLong",
        "InvalidMessageContents",
    ] {
        let fake = Fake::start(move |heard: &Heard| {
            let poison = heard.body["MessageBody"] == "b";
            match heard.action.as_str() {
                "SendMessage" if !poison => ok(heard),
                "SendMessage" => error(400, "InvalidMessageContents"),
                _ => error(400, code),
            }
        })
        .await;
        let results = call(&fake, requests(SEND, &["a", "b", "c"])).await;
        assert_eq!(
            verdicts(&results),
            ["ok m-a", "Record InvalidMessageContents", "ok m-c"]
        );
    }
}

#[tokio::test]
async fn records_are_not_sent_one_by_one_to_a_target_that_cannot_be_used() {
    let fake = Fake::start(|_: &Heard| error(400, "AccessDeniedException")).await;
    let results = call(&fake, requests(PUT, &["a", "b", "c"])).await;
    assert_eq!(
        verdicts(&results),
        [
            "Setup AccessDeniedException",
            "Unavailable NotSent",
            "Unavailable NotSent",
        ]
    );
    assert!(!results[1].as_ref().unwrap_err().may_be_stored());
    assert_eq!(actions(&fake), ["PutRecords", "PutRecord"]);
    // a failure is nobody's fault: one call, one verdict for all
    let fake = Fake::start(|_: &Heard| error(500, "InternalFailure")).await;
    let results = call(&fake, requests(PUT, &["a", "b"])).await;
    assert_eq!(verdicts(&results), ["Unavailable InternalFailure"; 2]);
    let fake = Fake::start(|_: &Heard| Reply::Cut).await;
    let results = call(&fake, requests(PUT, &["a", "b"])).await;
    assert_eq!(verdicts(&results), ["OutcomeUnknown ConnectionLost"; 2]);
    assert_eq!(actions(&fake), ["PutRecords"]);
}

#[tokio::test]
async fn an_execution_that_exists_is_a_success_of_a_resend_only() {
    let fake = Fake::start(|_: &Heard| error(400, "ExecutionAlreadyExists")).await;
    let first = requests(START, &["{}"]);
    let again = requests(START, &["{}"]).into_iter().map(Request::again);
    let results = call(&fake, first.into_iter().chain(again).collect()).await;
    assert_eq!(
        verdicts(&results),
        [
            "Record ExecutionAlreadyExists",
            "ok arn:aws:states:eu-west-1:1:execution:flow:n",
        ]
    );
}
