//! The four SQS calls on embedded queues: the store behind the same requests and answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use tokio::time::Instant;

use super::receive::{Message, Received};
use super::send::Sent;
use super::{receive, send};
use crate::integration::refusal::{Class, Lost, Service, TargetError};
use crate::integration::{StoreState, Targets};
use crate::model::message::{Attributes, md5_of_attributes, md5_of_body, sqs_text};
use crate::model::value::QueueName;
use crate::store::{Delivery, NewMessage, Receive, Store, StoreError};

pub(super) async fn send(
    targets: &Targets,
    queue: &QueueName,
    request: send::Request,
    deadline: Instant,
) -> Result<Sent, TargetError> {
    let message = NewMessage {
        body: request.body.0,
        attributes: request.attributes,
        system_attributes: request.system_attributes,
        delay: request.delay_seconds.map(seconds),
        group_id: request.group_id,
        deduplication_id: request.deduplication_id,
    };
    let store = open_store(targets)?;
    let sending = store.send(&queue.0, message);
    let sent = by(deadline, Lost::MayHaveHappened, sending).await?;
    Ok(Sent {
        message_id: sent.message_id,
        md5_of_body: sent.md5_of_body,
        md5_of_attributes: sent.md5_of_attributes,
        md5_of_system_attributes: sent.md5_of_system_attributes,
        sequence_number: sent.sequence_number,
    })
}

pub(super) async fn receive(
    targets: &Targets,
    queue: &QueueName,
    request: receive::Request,
    deadline: Instant,
) -> Result<Received, TargetError> {
    let wanted = Receive {
        max_messages: request
            .max_number_of_messages
            .map_or(1, |most| most.unsigned_abs() as usize),
        visibility_timeout: request.visibility_timeout.map(seconds),
        wait: seconds(request.wait_time_seconds.unwrap_or_default()),
        attempt_id: request.attempt_id,
    };
    let store = open_store(targets)?;
    let receiving = store.receive(&queue.0, wanted);
    let deliveries = by(deadline, Lost::Harmless, receiving).await?;
    let (system, names) = (request.attribute_names, request.message_attribute_names);
    let messages = deliveries
        .into_iter()
        .map(|delivery| message(delivery, &system, &names))
        .collect();
    Ok(Received { messages })
}

pub(super) async fn delete(
    targets: &Targets,
    queue: &QueueName,
    receipt_handle: &str,
    deadline: Instant,
) -> Result<(), TargetError> {
    let store = open_store(targets)?;
    let deleting = store.delete(&queue.0, receipt_handle);
    by(deadline, Lost::MayHaveHappened, deleting).await
}

pub(super) async fn purge(
    targets: &Targets,
    queue: &QueueName,
    deadline: Instant,
) -> Result<u64, TargetError> {
    let store = open_store(targets)?;
    let purging = store.purge(&queue.0);
    by(deadline, Lost::MayHaveHappened, purging).await
}

fn open_store(targets: &Targets) -> Result<Store, TargetError> {
    let absent =
        |reason| TargetError::new(Class::StoreUnavailable, Service::Sqs, "StoreAbsent", reason);
    match targets.store_state() {
        StoreState::Open(store) => Ok(store),
        StoreState::Absent => Err(absent("no embedded store is configured".to_owned())),
        StoreState::Unavailable(reason) => Err(absent(reason)),
    }
}

fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(seconds.unsigned_abs().into())
}

/// Waits for the store until the deadline. What has been handed to the writer goes on without us.
async fn by<T>(
    deadline: Instant,
    lost: Lost,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, TargetError> {
    match tokio::time::timeout_at(deadline, call).await {
        Ok(done) => done.map_err(refusal),
        Err(_) => Err(TargetError::timed_out(Service::Sqs, lost)),
    }
}

/// What the store's refusal means, in SQS's own codes where SQS has one.
fn refusal(error: StoreError) -> TargetError {
    let message = error.to_string();
    let of = |class, code: &str| TargetError::new(class, Service::Sqs, code, message.clone());
    match error {
        StoreError::UnknownQueue(_) => {
            of(Class::Setup, "AWS.SimpleQueueService.NonExistentQueue").answered(400)
        }
        StoreError::ReceiptHandleInvalid => {
            of(Class::Record, "ReceiptHandleIsInvalid").answered(400)
        }
        StoreError::ReceiptHandleExpired | StoreError::InvalidParameter(_) => {
            of(Class::Record, "InvalidParameterValue").answered(400)
        }
        StoreError::MessageNotInFlight => {
            of(Class::Record, "AWS.SimpleQueueService.MessageNotInflight").answered(400)
        }
        StoreError::MessageTooLarge { .. } => {
            of(Class::Limit, "InvalidParameterValue").answered(400)
        }
        StoreError::MissingGroupId => of(Class::Record, "MissingParameter").answered(400),
        StoreError::MissingDeduplicationId => {
            of(Class::Record, "InvalidParameterValue").answered(400)
        }
        StoreError::QueueFull { .. } => of(Class::StoreFull, "QueueFull"),
        StoreError::Full(_) => of(Class::StoreFull, "StoreFull"),
        StoreError::Overloaded => of(Class::Overloaded, "StoreOverloaded"),
        StoreError::Unavailable { .. } => of(Class::StoreUnavailable, "StoreUnavailable"),
        StoreError::Closed => of(Class::StoreUnavailable, "StoreClosed"),
    }
}

/// A delivery as SQS would give it: only the attributes that were asked for, and text only.
fn message(delivery: Delivery, system_names: &[String], names: &[String]) -> Message {
    let asked = |name: &str| {
        system_names
            .iter()
            .any(|wanted| wanted == "All" || wanted == name)
    };
    let facts = [
        ("SentTimestamp", Some(delivery.sent_timestamp.to_string())),
        (
            "ApproximateFirstReceiveTimestamp",
            Some(delivery.first_receive_timestamp.to_string()),
        ),
        (
            "ApproximateReceiveCount",
            Some(delivery.receive_count.to_string()),
        ),
        ("MessageGroupId", delivery.group_id),
        ("MessageDeduplicationId", delivery.deduplication_id),
        ("SequenceNumber", delivery.sequence_number),
        ("AWSTraceHeader", delivery.aws_trace_header),
        (
            "DeadLetterQueueSourceArn",
            delivery.dead_letter_source.map(|name| arn(&name)),
        ),
    ];
    let system_attributes: BTreeMap<String, String> = facts
        .into_iter()
        .filter(|(name, _)| asked(name))
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    let attributes: Attributes = delivery
        .attributes
        .into_iter()
        .filter(|(name, _)| names.iter().any(|wanted| matches(wanted, name)))
        .collect();
    let (body, base64) = match sqs_text(&delivery.body) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(&delivery.body);
            (encoded, true)
        }
    };
    Message {
        message_id: delivery.message_id,
        receipt_handle: delivery.receipt_handle,
        md5_of_body: md5_of_body(body.as_bytes()),
        body,
        base64,
        system_attributes,
        md5_of_attributes: md5_of_attributes(&attributes),
        attributes,
    }
}

/// Whether a name is asked for: `All`, `.*`, the name itself, or `prefix.*`.
fn matches(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => wanted == "All" || wanted == name,
    }
}

/// An embedded queue as consumers of SQS expect to read its name.
fn arn(name: &str) -> String {
    format!("arn:aws:sqs:penstock:000000000000:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws;
    use crate::integration::answer::NativeAnswer;
    use crate::integration::tests::{compile, map};
    use crate::model::code::Code;
    use crate::model::request_id::RequestId;
    use crate::store::{Options, QueueSpec};

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
                "InvalidParameterValue",
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
            let aws = error.aws(&RequestId::mint());
            assert_eq!(aws.status, 400);
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
}
