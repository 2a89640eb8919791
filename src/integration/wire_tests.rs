//! Calls over a real socket, to a server that answers as it is told: what no emulator does, and what a broken one does.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::tests::{compile, map};
use super::*;
use crate::model::code::Code;

/// What the server does with a call.
enum Does {
    Answers(&'static str),
    /// Reads the request and closes.
    Cuts,
    /// Reads and says nothing.
    IsSilent,
}

/// A server for one call, and what it was asked.
struct Server {
    address: String,
    heard: Arc<Mutex<String>>,
}

impl Server {
    async fn start(does: Does) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(String::new()));
        let notes = heard.clone();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !complete(&request) {
                if socket.read_buf(&mut request).await.unwrap() == 0 {
                    break;
                }
            }
            *notes.lock().unwrap() = String::from_utf8_lossy(&request).into_owned();
            match does {
                Does::Answers(answer) => socket.write_all(answer.as_bytes()).await.unwrap(),
                Does::Cuts => {}
                Does::IsSilent => std::future::pending().await,
            }
        });
        Server { address, heard }
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

async fn call(address: &str, json: &str, timeout: Duration) -> Result<Answer, TargetError> {
    let targets = Targets::new(aws::Clients::for_tests(address), StoreState::Absent);
    let request = map(&compile(json), b"{}").unwrap();
    targets.call(request, Instant::now() + timeout).await
}

const PUT: &str =
    r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"$request.body","PartitionKey":"k"}}"#;
const SEND: &str = r#"{"SQS-SendMessage":{"QueueUrl":"https://sqs.us-west-2.amazonaws.com/1/q","MessageBody":"$request.body"}}"#;
const RECEIVE: &str =
    r#"{"SQS-ReceiveMessage":{"QueueUrl":"https://sqs.us-west-2.amazonaws.com/1/q"}}"#;
const CONFIGURATION: &str = r#"{"AppConfig-GetConfiguration":{"Application":"shop","Environment":"prod","Configuration":"flags","ClientId":"c-1","ClientConfigurationVersion":"2"}}"#;

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn get_configuration_gives_the_content_with_its_type_and_version() {
    let server = Server::start(Does::Answers(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-yaml\r\nconfiguration-version: 3\r\ncontent-length: 5\r\n\r\na: 1\n",
    ))
    .await;
    let answer = call(&server.address, CONFIGURATION, LONG).await.unwrap();
    let rendered = answer.aws(&RequestId::mint());
    assert_eq!(
        (
            rendered.status,
            rendered.content_type.as_deref(),
            &rendered.body[..]
        ),
        (200, Some("application/x-yaml"), &b"a: 1\n"[..])
    );
    assert_eq!(answer.field("configurationVersion").as_deref(), Some("3"));
    let heard = server.heard();
    assert!(
        heard.starts_with("GET /applications/shop/environments/prod/configurations/flags?"),
        "{heard}"
    );
    assert!(
        heard.contains("client_id=c-1") && heard.contains("client_configuration_version=2"),
        "{heard}"
    );
}

#[tokio::test]
async fn get_configuration_is_204_when_the_version_is_current() {
    let server = Server::start(Does::Answers(
        "HTTP/1.1 204 No Content\r\nconfiguration-version: 2\r\n\r\n",
    ))
    .await;
    let answer = call(&server.address, CONFIGURATION, LONG).await.unwrap();
    assert_eq!(
        (
            answer.service_status(),
            answer.aws(&RequestId::mint()).status
        ),
        (204, 204)
    );
}

#[tokio::test]
async fn the_region_of_the_queue_s_url_is_signed_for() {
    let server = Server::start(Does::Answers("HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\nx-amzn-requestid: r-9\r\ncontent-length: 85\r\n\r\n{\"MessageId\":\"m-1\",\"MD5OfMessageBody\":\"99914b932bd37a50b983c5e7c90ae93b\",\"x\":\"12345\"}")).await;
    let answer = call(&server.address, SEND, LONG).await.unwrap();
    assert_eq!(
        (answer.message_id(), answer.service_request_id()),
        (Some("m-1"), Some("r-9"))
    );
    let heard = server.heard().to_lowercase();
    assert!(heard.contains("/us-west-2/sqs/aws4_request"), "{heard}");
}

#[tokio::test]
async fn a_digest_of_other_bytes_is_never_a_success() {
    let server = Server::start(Does::Answers("HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: 73\r\n\r\n{\"MessageId\":\"m-1\",\"MD5OfMessageBody\":\"00000000000000000000000000000000\"}")).await;
    let error = call(&server.address, SEND, LONG).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.reason()),
        ("ChecksumMismatch", Code::OutcomeUnknown)
    );
}

#[tokio::test]
async fn the_query_compatible_code_is_the_one_that_counts() {
    let server = Server::start(Does::Answers("HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.0\r\nx-amzn-requestid: r-1\r\nx-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender\r\ncontent-length: 76\r\n\r\n{\"__type\":\"com.amazonaws.sqs#QueueDoesNotExist\",\"message\":\"No such queue.\"} ")).await;
    let error = call(&server.address, SEND, LONG).await.unwrap_err();
    assert_eq!(
        (
            error.class,
            error.code.as_str(),
            error.request_id.as_deref()
        ),
        (
            Class::Setup,
            "AWS.SimpleQueueService.NonExistentQueue",
            Some("r-1")
        )
    );
}

#[tokio::test]
async fn start_sync_execution_calls_the_endpoint_without_a_prefix() {
    let server = Server::start(Does::Answers("HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: 76\r\n\r\n{\"executionArn\":\"arn:x\",\"startDate\":1,\"stopDate\":2.5,\"status\":\"SUCCEEDED\"}  ")).await;
    let sync = r#"{"StepFunctions-StartSyncExecution":{"StateMachineArn":"arn:aws:states:eu-west-1:1:stateMachine:flow"}}"#;
    let answer = call(&server.address, sync, LONG).await.unwrap();
    assert_eq!(answer.field("status").as_deref(), Some("SUCCEEDED"));
    assert!(
        server
            .heard()
            .to_lowercase()
            .contains("\r\nhost: 127.0.0.1"),
        "{}",
        server.heard()
    );
}

#[tokio::test]
async fn a_refused_connection_is_known_at_once_and_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for json in [PUT, SEND, RECEIVE] {
        let error = call(&address, json, LONG).await.unwrap_err();
        assert_eq!(
            (error.class, error.reason(), error.may_be_stored()),
            (Class::Unavailable, Code::TargetUnavailable, false)
        );
    }
}

#[tokio::test]
async fn a_silent_target_is_an_unknown_outcome_for_a_store_and_a_timeout_for_a_read() {
    let server = Server::start(Does::IsSilent).await;
    let error = call(&server.address, PUT, SHORT).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.native_status(), error.may_be_stored()),
        (Code::OutcomeUnknown, 503, true)
    );
    let server = Server::start(Does::IsSilent).await;
    let error = call(&server.address, RECEIVE, SHORT).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.native_status()),
        (Code::Timeout, 503)
    );
}

#[tokio::test]
async fn a_connection_lost_after_sending_is_an_unknown_outcome_for_a_store() {
    let server = Server::start(Does::Cuts).await;
    assert_eq!(
        call(&server.address, PUT, LONG).await.unwrap_err().class,
        Class::OutcomeUnknown
    );
    let server = Server::start(Does::Cuts).await;
    assert_eq!(
        call(&server.address, RECEIVE, LONG)
            .await
            .unwrap_err()
            .class,
        Class::Unavailable
    );
}

#[tokio::test]
async fn an_answer_of_somebody_else_is_not_passed_on() {
    let html =
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    let server = Server::start(Does::Answers(html)).await;
    let error = call(&server.address, PUT, LONG).await.unwrap_err();
    assert_eq!(
        (error.class, error.status, error.may_be_stored()),
        (Class::Unavailable, Some(502), true)
    );
    assert_eq!(error.aws(&RequestId::mint()).status, 503);
    let server = Server::start(Does::Answers(
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>",
    ))
    .await;
    let error = call(&server.address, PUT, LONG).await.unwrap_err();
    assert_eq!(error.class, Class::OutcomeUnknown);
}

#[tokio::test]
async fn a_throttle_and_an_overload_are_503_with_the_service_s_own_answer_in_the_aws_dialect() {
    let throttled = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: 51\r\n\r\n{\"__type\":\"ProvisionedThroughputExceededException\"}";
    let server = Server::start(Does::Answers(throttled)).await;
    let error = call(&server.address, PUT, LONG).await.unwrap_err();
    assert_eq!(
        (error.class, error.native_status()),
        (Class::Throttled, 503)
    );
    let aws = error.aws(&RequestId::mint());
    assert_eq!(
        (aws.status, &aws.body[..]),
        (
            400,
            &br#"{"__type":"ProvisionedThroughputExceededException"}"#[..]
        )
    );
}
