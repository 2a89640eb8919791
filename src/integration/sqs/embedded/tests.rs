use super::*;
use crate::aws;
use crate::integration::StoreState;
use crate::integration::answer::NativeAnswer;
use crate::integration::tests::{compile, map};
use crate::model::code::Code;
use crate::model::request_id::RequestId;
use crate::store::{Options, QueueSpec, Store};

async fn targets(directory: &std::path::Path) -> Targets {
    let mut options = Options::new(directory);
    options.min_free = 0;
    let store = Store::open(options).unwrap();
    let fifo = |name, content_based_deduplication| QueueSpec {
        fifo: true,
        content_based_deduplication,
        ..QueueSpec::new(name)
    };
    let small = QueueSpec {
        max_message_size: 1024,
        ..QueueSpec::new("small")
    };
    let specs = vec![
        QueueSpec::new("orders"),
        fifo("ledger.fifo", false),
        fifo("content.fifo", true),
        small,
    ];
    store.declare(specs).await.unwrap();
    Targets::new(
        aws::Clients::new(aws::Settings::default()),
        StoreState::Open(store),
    )
}

async fn call(
    targets: &Targets,
    json: &str,
    body: &[u8],
) -> Result<crate::integration::Answer, TargetError> {
    let request = map(&compile(json), body).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10) + request.wait();
    targets.call(request, deadline).await
}

fn fields(answer: &crate::integration::Answer) -> serde_json::Value {
    match answer.native() {
        NativeAnswer::Stored(fields) | NativeAnswer::Fields(fields) => fields.into(),
        NativeAnswer::Raw(_) => panic!("fields"),
    }
}

const SEND: &str = r#"{"SQS-SendMessage":{"QueueUrl":"queue:orders","MessageBody":"$request.body","MessageAttributes":{"a.b":"x","c":"y"}}}"#;
const RECEIVE: &str = r#"{"SQS-ReceiveMessage":{"QueueUrl":"queue:orders","AttributeNames":"All","MessageAttributeNames":"a.*","WaitTimeSeconds":1}}"#;

#[tokio::test]
async fn what_is_sent_is_received_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let targets = targets(directory.path()).await;
    for body in [
        "{\"a\":1}".as_bytes(),
        b"",
        "quotes \" lines\r\n 🎈".as_bytes(),
    ] {
        let sent = call(&targets, SEND, body).await.unwrap();
        assert_eq!(sent.field("md5OfMessageBody").unwrap(), md5_of_body(body));
        let received = fields(&call(&targets, RECEIVE, b"").await.unwrap());
        let message = &received["Messages"][0];
        assert_eq!(message["Body"].as_str().unwrap().as_bytes(), body);
        assert_eq!(message["MessageId"], sent.message_id().unwrap());
        assert_eq!(message["Attributes"]["ApproximateReceiveCount"], "1");
        assert_eq!(message["MessageAttributes"]["a.b"]["StringValue"], "x");
        assert!(message["MessageAttributes"]["c"].is_null());
        let handle = message["ReceiptHandle"].as_str().unwrap();
        let delete = format!(
            r#"{{"SQS-DeleteMessage":{{"QueueUrl":"queue:orders","ReceiptHandle":"{handle}"}}}}"#
        );
        assert_eq!(
            fields(&call(&targets, &delete, b"").await.unwrap()),
            serde_json::json!({})
        );
    }
    call(&targets, SEND, b"x").await.unwrap();
    call(
        &targets,
        r#"{"SQS-PurgeQueue":{"QueueUrl":"queue:orders"}}"#,
        b"",
    )
    .await
    .unwrap();
    let nothing = call(&targets, RECEIVE, b"").await.unwrap();
    assert_eq!(fields(&nothing), serde_json::json!({ "Messages": [] }));
}

#[tokio::test]
async fn bytes_that_are_no_text_are_kept_and_read_as_base64() {
    let directory = tempfile::tempdir().unwrap();
    let targets = targets(directory.path()).await;
    for body in [&b"\xff\x00"[..], b"control \x01"] {
        call(&targets, SEND, body).await.unwrap();
        let received = call(&targets, RECEIVE, b"").await.unwrap();
        let message = &fields(&received)["Messages"][0];
        assert_eq!(message["BodyEncoding"], "base64");
        let text = message["Body"].as_str().unwrap();
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap();
        assert_eq!(decoded, body);
        assert_eq!(message["MD5OfBody"], md5_of_body(text.as_bytes()));
        let xml = received.aws(&RequestId::mint()).body;
        assert!(
            String::from_utf8(xml.to_vec())
                .unwrap()
                .contains("<Name>penstock-encoding</Name>")
        );
        call(
            &targets,
            r#"{"SQS-PurgeQueue":{"QueueUrl":"queue:orders"}}"#,
            b"",
        )
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn what_the_store_refuses_has_a_code_and_a_status() {
    let directory = tempfile::tempdir().unwrap();
    let targets = targets(directory.path()).await;
    let to = |queue: &str| {
        format!(
            r#"{{"SQS-SendMessage":{{"QueueUrl":"${{request.body.q:-queue:{queue}}}","MessageBody":"$request.body","MessageGroupId":"g"}}}}"#
        )
    };
    let bad_handle =
        r#"{"SQS-DeleteMessage":{"QueueUrl":"queue:orders","ReceiptHandle":"nonsense"}}"#;
    for (json, body, reason, status, wire) in [
        (
            to("missing"),
            &b"{}"[..],
            Code::TargetSetup,
            502,
            "NonExistentQueue",
        ),
        (
            to("ledger.fifo"),
            b"{}",
            Code::TargetRefusedRecord,
            422,
            "InvalidParameterValue",
        ),
        (
            to("small"),
            &[b' '; 1025],
            Code::TargetLimit,
            413,
            "Request Entity Too Large",
        ),
        (
            bad_handle.to_owned(),
            b"",
            Code::TargetRefusedRecord,
            422,
            "ReceiptHandleIsInvalid",
        ),
    ] {
        let error = call(&targets, &json, body).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.native_status()),
            (reason, status),
            "{error}"
        );
        assert!(!error.detail().contains("SQS "), "{}", error.detail());
        if status != 413 {
            assert!(error.detail().starts_with("the embedded queue "));
        }
        let aws = error.aws(&RequestId::mint());
        // A limit is the gateway's own refusal, in both dialects; the rest is said as SQS says it.
        assert_eq!(aws.status, if status == 413 { 413 } else { 400 });
        assert!(
            String::from_utf8(aws.body.to_vec()).unwrap().contains(wire),
            "{error}"
        );
    }
}

#[tokio::test]
async fn without_a_store_calls_to_embedded_queues_are_503() {
    let targets = Targets::new(
        aws::Clients::new(aws::Settings::default()),
        StoreState::Absent,
    );
    let error = call(&targets, SEND, b"x").await.unwrap_err();
    assert_eq!(
        (error.reason(), error.native_status()),
        (Code::StoreUnavailable, 503)
    );
    let aws = error.aws(&RequestId::mint());
    assert_eq!(&aws.body[..], &b"{\"message\":\"Service Unavailable\"}"[..]);
    assert!(!error.may_be_stored());
}

#[tokio::test]
async fn a_fifo_queue_answers_with_sequence_numbers_and_knows_duplicates() {
    let directory = tempfile::tempdir().unwrap();
    let targets = targets(directory.path()).await;
    let send = r#"{"SQS-SendMessage":{"QueueUrl":"queue:content.fifo","MessageBody":"$request.body","MessageGroupId":"g"}}"#;
    let first = call(&targets, send, b"x").await.unwrap();
    let again = call(&targets, send, b"x").await.unwrap();
    assert!(first.field("sequenceNumber").is_some());
    assert_eq!(first.message_id(), again.message_id());
}

#[test]
fn attributes_are_asked_for_by_name_prefix_or_all() {
    assert!(
        matches("All", "a") && matches(".*", "a") && matches("a", "a") && matches("a.*", "a.b")
    );
    assert!(!matches("b", "a") && !matches("b.*", "a"));
}
