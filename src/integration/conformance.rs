//! Our own client and the SDK's agree: whatever a service answers, and however it fails, a call through either has the
//! same verdict. The SDK's side is written here, as the gateway called before it had a client of its own.

mod sdk;
mod server;

use std::time::Duration;

use tokio::time::Instant;

use self::server::{Does, Server};
use super::answer::Answered;
use super::batch::Batched;
use super::tests::{compile, map};
use super::*;
use crate::aws::Clients;

const SEND: &str = r#"{"SQS-SendMessage":{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/q","MessageBody":"$request.body"}}"#;
const PUT: &str =
    r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"$request.body","PartitionKey":"k"}}"#;
const EVENT: &str =
    r#"{"EventBridge-PutEvents":{"Detail":"$request.body","DetailType":"t","Source":"s"}}"#;

/// What is sent in every call; batches have it twice.
const PAYLOAD: &str = "{}";

/// A success of every operation, with one entry refused where it is a batch.
const SUCCESS: &str = r#"{"MessageId":"m-1","MD5OfMessageBody":"99914b932bd37a50b983c5e7c90ae93b","SequenceNumber":"7","ShardId":"shardId-1","EncryptionType":"KMS","FailedEntryCount":0,"FailedRecordCount":1,
 "Successful":[{"Id":"1","MessageId":"m-2","MD5OfMessageBody":"99914b932bd37a50b983c5e7c90ae93b","x":[1,{}]}],
 "Failed":[{"Id":"0","SenderFault":true,"Code":"InvalidMessageContents","Message":"no"}],
 "Records":[{"SequenceNumber":"7","ShardId":"shardId-1"},{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"slow"}],
 "Entries":[{"EventId":"e-1"},{"ErrorCode":"InternalFailure","ErrorMessage":"sorry"}]}"#;

/// The calls that both clients can make.
const CALLS: [&str; 6] = [
    "SendMessage",
    "SendMessageBatch",
    "PutRecord",
    "PutRecords",
    "PutEvents",
    "PutEvents of two",
];

/// What became of a call, in words that can be compared.
type Verdict = Vec<String>;

fn taken(message_id: Option<&str>, request_id: Option<&str>) -> String {
    format!("taken as {message_id:?}, request {request_id:?}")
}

fn refused(error: &TargetError) -> String {
    let TargetError {
        class,
        code,
        status,
        request_id,
        ..
    } = error;
    // what a failure below HTTP is called is for logs, and may differ
    let message = status.map(|_| &error.message);
    let stored = error.may_be_stored();
    let aws = error.aws(&RequestId::read(&"0".repeat(32)).unwrap());
    format!("{class:?} {code} {status:?} {request_id:?} {message:?} stored={stored} {aws:?}")
}

fn each<A: Answered>(entries: Result<batch::Entries<A>, TargetError>) -> Verdict {
    match entries {
        Err(error) => vec![refused(&error)],
        Ok(entries) => entries
            .iter()
            .map(|entry| match entry {
                Err(error) => refused(error),
                Ok(called) => match called.answer.failure() {
                    Some(failure) => refused(failure),
                    None => taken(called.answer.message_id(), called.request_id.as_deref()),
                },
            })
            .collect(),
    }
}

fn request(json: &str) -> Request {
    map(&compile(json), PAYLOAD.as_bytes()).unwrap()
}

/// The verdict on a call of our own client.
async fn lean(call: &str, targets: &Targets, deadline: Instant) -> Verdict {
    let json = match call {
        "SendMessage" | "SendMessageBatch" => SEND,
        "PutRecord" | "PutRecords" => PUT,
        _ => EVENT,
    };
    match (call, request(json).call) {
        ("SendMessageBatch", Call::SqsSendMessage(request)) => {
            let both = [&request, &request];
            each(sqs::SendMessage::call_batch(&both, targets, deadline).await)
        }
        ("PutRecords", Call::KinesisPutRecord(request)) => {
            let both = [&request, &request];
            each(kinesis::PutRecord::call_batch(&both, targets, deadline).await)
        }
        ("PutEvents of two", Call::EventBridgePutEvents(request)) => {
            let both = [&request, &request];
            each(event_bridge::PutEvents::call_batch(&both, targets, deadline).await)
        }
        _ => vec![match targets.call(request(json), deadline).await {
            Err(error) => refused(&error),
            Ok(answer) => match answer.failure() {
                Some(failure) => refused(failure),
                None => taken(answer.message_id(), answer.service_request_id()),
            },
        }],
    }
}

/// Both clients, and what they called so far.
struct Both {
    targets: Targets,
    clients: Clients,
}

impl Both {
    fn at(address: &str) -> Both {
        Both {
            targets: Targets::new(Clients::for_tests(address), StoreState::Absent),
            clients: Clients::for_tests(address),
        }
    }

    /// Makes each call through each client; what they say is the same, and is given.
    async fn agree(&self, about: &str, patience: Duration) -> Vec<Verdict> {
        Box::pin(self.agree_on(&CALLS, about, patience)).await
    }

    async fn agree_on(&self, calls: &[&str], about: &str, patience: Duration) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for &call in calls {
            let ours = Box::pin(lean(call, &self.targets, Instant::now() + patience)).await;
            let theirs = sdk::call(call, &self.clients, Instant::now() + patience).await;
            assert_eq!(ours, theirs, "{call}: {about}");
            verdicts.push(ours);
        }
        verdicts
    }
}

const LONG: Duration = Duration::from_secs(20);

fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} Told\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn every_answer_has_the_same_verdict() {
    const JSON: &str = "content-type: application/x-amz-json-1.0\r\nx-amzn-requestid: r-1\r\n";
    let headers = [
        "",
        JSON,
        "x-amz-request-id: r-2\r\ncontent-type: text/html\r\n",
        "x-amzn-errortype: ns#ThrottlingException:http://x\r\ncontent-type: application/x-amz-json-1.1\r\n",
        "x-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender\r\n",
        "x-amzn-query-error: nothing\r\n",
    ];
    let bodies = [
        "",
        "{}",
        SUCCESS,
        &SUCCESS[..200],
        "<html><body>502 Bad Gateway</body></html>",
        "null",
        "[]",
        "\"text\"",
        r#"{"MessageId":"","MD5OfMessageBody":null,"SequenceNumber":"","Records":[],"Entries":[],"Successful":[],"Failed":[]}"#,
        r#"{"MessageId":"m-1","MD5OfMessageBody":"00000000000000000000000000000000","Successful":[{"Id":"0","MessageId":"m-1","MD5OfMessageBody":"0"},{"Id":"9"},{"Id":"1"}]}"#,
        r#"{"Successful":[{"Id":"0","MessageId":"m-1","MD5OfMessageBody":"99914b932bd37a50b983c5e7c90ae93b"}],"Failed":[{"Id":"0","Code":"InternalError"},{"Id":"1","Code":"Nobody"}]}"#,
        r#"{"MessageId":7,"SequenceNumber":{},"Entries":"x","Successful":3}"#,
        r#"{"Entries":null,"Records":null,"Successful":null,"Failed":null}"#,
        r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"No such queue."}"#,
        r#"{"__type":"AccessDeniedException","Message":"no"}"#,
        r#"{"__type":"InvalidArgumentException","message":"Member must have length less than or equal to 10"}"#,
        r#"{"__type":"com.amazon.coral.service#ProvisionedThroughputExceededException"}"#,
        r#"{"code":"InternalFailure","__type":"X","errorMessage":"sorry"}"#,
        r#"{"__type":"ServiceUnavailable","message":null,"extra":[{"deep":[[]]}]}"#,
        r#"{"message":"no code at all"}"#,
        r#"{"__type":"Thrott"#,
        r#"{"__type":"InvalidMessageContents","message":"a \"b\" \u00e9 \ud83c\udf88"}"#,
    ];
    let server = Server::start().await;
    let both = Both::at(&server.address);
    for status in [200, 302, 400, 429, 500, 503] {
        for (place, headers) in headers.iter().enumerate() {
            // a success has no headers of errors, and most headers say nothing about a status
            if status < 300 && place > 1 || ![400, 503].contains(&status) && place > 2 {
                continue;
            }
            for body in bodies {
                // JSON of another kind beside a code in a header: the SDK believes some codes then, and others not
                if place > 2 && ["null", "[]", "\"text\""].contains(&body) {
                    continue;
                }
                let answer = answer(status, headers, body);
                server.now(Does::Says(answer.clone()));
                // only SQS has had the older protocol, whose codes stand in that header
                let calls = match headers.contains("query-error") {
                    true => &CALLS[..2],
                    false => &CALLS[..],
                };
                Box::pin(both.agree_on(calls, &answer, LONG)).await;
            }
        }
    }
    server.now(Does::Says("HTTP/1.1 204 No Content\r\n\r\n".to_owned()));
    Box::pin(both.agree("204", LONG)).await;
}

#[tokio::test]
async fn what_is_taken_is_taken_and_what_is_refused_is_refused() {
    let server = Server::start().await;
    let both = Both::at(&server.address);
    server.now(Does::Says(answer(
        200,
        "x-amzn-requestid: r-1\r\n",
        SUCCESS,
    )));
    let verdicts = Box::pin(both.agree("success", LONG)).await;
    assert_eq!(verdicts[0], [taken(Some("m-1"), Some("r-1"))]);
    assert_eq!(verdicts[2], [taken(Some("7"), Some("r-1"))]);
    assert_eq!(verdicts[4], [taken(Some("e-1"), Some("r-1"))]);
    assert_eq!(verdicts[1][1], taken(Some("m-2"), Some("r-1")));
    for (place, entry, class) in [
        (1, 0, "Record "),
        (3, 1, "Throttled "),
        (5, 1, "Unavailable "),
    ] {
        assert!(verdicts[place][entry].starts_with(class), "{verdicts:?}");
    }
}

#[tokio::test]
async fn every_fault_has_the_same_verdict() {
    let server = Server::start().await;
    let both = Both::at(&server.address);
    let half = answer(200, "", SUCCESS);
    for (about, does, class) in [
        ("closed at once", Does::Closes, "OutcomeUnknown"),
        ("reset at once", Does::Resets, "OutcomeUnknown"),
        (
            "closed after the request",
            Does::ReadsAndCloses,
            "OutcomeUnknown",
        ),
        (
            "reset after the request",
            Does::ReadsAndResets,
            "OutcomeUnknown",
        ),
        (
            "half a head",
            Does::SaysAndCloses(half[..30].to_owned()),
            "OutcomeUnknown",
        ),
        (
            "half a body",
            Does::SaysAndCloses(half[..120].to_owned()),
            "OutcomeUnknown",
        ),
        (
            "half an error",
            Does::SaysAndCloses("HTTP/1.1 500 X\r\ncontent-length: 50\r\n\r\n{}".to_owned()),
            "Unavailable",
        ),
        (
            "another protocol",
            Does::Says("SSH-2.0-OpenSSH_9.6\r\n".to_owned()),
            "OutcomeUnknown",
        ),
        (
            "chunks that are none",
            Does::SaysAndCloses(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(),
            ),
            "OutcomeUnknown",
        ),
    ] {
        server.now(does);
        for verdict in Box::pin(both.agree(about, LONG)).await {
            assert!(verdict[0].starts_with(class), "{about}: {verdict:?}");
        }
    }
}

#[tokio::test]
async fn whoever_says_nothing_in_time_has_the_same_verdict() {
    let server = Server::start().await;
    let both = Both::at(&server.address);
    // the first calls make the clients, which takes longer
    server.now(Does::Says(answer(200, "", SUCCESS)));
    Box::pin(both.agree("a call before", LONG)).await;
    for does in [
        Does::IsSilent,
        Does::SaysAndIsSilent("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{".to_owned()),
    ] {
        server.now(does);
        for verdict in Box::pin(both.agree("silence", Duration::from_millis(200))).await {
            let expected = "OutcomeUnknown DeadlineExceeded";
            assert!(verdict[0].starts_with(expected), "{verdict:?}");
        }
    }
}

#[tokio::test]
async fn whoever_cannot_be_connected_to_has_the_same_verdict() {
    let plain = Server::start().await;
    plain.now(Does::Closes);
    let untrusted = Server::over_tls().await;
    let gone = Server::gone().await;
    for (address, verdict) in [
        (gone.as_str(), "Unavailable ConnectFailed"),
        ("http://nobody.invalid:4566", "Unavailable ConnectFailed"),
        (
            &plain.address.replace("http:", "https:"),
            "Unavailable ConnectFailed",
        ),
        (&untrusted.address, "Setup TlsRefused"),
        ("ftp://127.0.0.1:1", "Unavailable ConnectFailed"),
        ("nonsense", "Setup"),
    ] {
        for found in Box::pin(Both::at(address).agree(address, LONG)).await {
            assert!(found[0].starts_with(verdict), "{address}: {found:?}");
        }
    }
}

#[tokio::test]
async fn no_call_goes_out_twice_however_the_connection_ends() {
    let server = Server::start().await;
    let both = Both::at(&server.address);
    let mut calls = 0;
    for _ in 0..20 {
        for does in [
            Does::Says(answer(200, "", SUCCESS)),
            Does::SaysAndCloses(answer(200, "", SUCCESS)),
            Does::ReadsAndCloses,
            Does::SaysAndCloses(answer(503, "", "")),
        ] {
            server.now(does);
            Box::pin(lean("SendMessage", &both.targets, Instant::now() + LONG)).await;
            calls += 1;
        }
    }
    assert!(
        server.requests() <= calls,
        "{} of {calls}",
        server.requests()
    );
}
