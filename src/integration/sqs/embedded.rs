//! The four SQS calls on embedded queues: the store behind the same requests and answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use tokio::time::Instant;

use super::receive::{Message, Received};
use super::sent::Sent;
use super::{receive, send};
use crate::integration::Targets;
use crate::integration::refusal::{Class, Lost, Service, TargetError};
use crate::model::message::{Attributes, md5_of_attributes, md5_of_body, sqs_text};
use crate::model::value::QueueName;
use crate::store::{self, Delivery, NewKey, NewMessage, Once, Receive, StoreError};

pub(super) async fn send(
    targets: &Targets,
    queue: &QueueName,
    request: send::Request,
    deadline: Instant,
) -> Result<Sent, TargetError> {
    let store = targets.open_store()?;
    let sending = store.send(&queue.0, message_of(request));
    let sent = by(deadline, Lost::MayHaveHappened, sending).await;
    sent.map(Sent::from).map_err(|error| naming(error, queue))
}

/// The same, once for each idempotency key.
pub(in crate::integration) async fn send_once(
    targets: &Targets,
    queue: &QueueName,
    request: send::Request,
    key: NewKey,
    deadline: Instant,
) -> Result<Once<Sent>, TargetError> {
    let store = targets.open_store()?;
    let sending = store.send_once(&queue.0, message_of(request), key);
    let sent = by(deadline, Lost::MayHaveHappened, sending).await;
    match sent.map_err(|error| naming(error, queue))? {
        Once::New(sent) => Ok(Once::New(sent.into())),
        Once::Known(known) => Ok(Once::Known(known)),
    }
}

fn message_of(request: send::Request) -> NewMessage {
    NewMessage {
        body: request.body.0,
        attributes: request.attributes,
        system_attributes: request.system_attributes,
        delay: request.delay_seconds.map(seconds),
        group_id: request.group_id,
        deduplication_id: request.deduplication_id,
    }
}

fn naming(mut error: TargetError, queue: &QueueName) -> TargetError {
    if error.class == Class::Limit {
        error.message = format!("queue:{queue}: {}", error.message);
    }
    error
}

impl From<store::Sent> for Sent {
    fn from(sent: store::Sent) -> Sent {
        Sent {
            message_id: sent.message_id,
            md5_of_body: sent.md5_of_body,
            md5_of_attributes: sent.md5_of_attributes,
            md5_of_system_attributes: sent.md5_of_system_attributes,
            sequence_number: sent.sequence_number,
        }
    }
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
    let store = targets.open_store()?;
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
    let store = targets.open_store()?;
    let deleting = store.delete(&queue.0, receipt_handle);
    by(deadline, Lost::MayHaveHappened, deleting).await
}

pub(super) async fn purge(
    targets: &Targets,
    queue: &QueueName,
    deadline: Instant,
) -> Result<u64, TargetError> {
    let store = targets.open_store()?;
    let purging = store.purge(&queue.0);
    by(deadline, Lost::MayHaveHappened, purging).await
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
        Err(_) => Err(TargetError::timed_out(Service::Sqs, lost).of_embedded_queue()),
    }
}

/// What the store's refusal means, in SQS's own codes where SQS has one.
pub(in crate::integration) fn refusal(error: StoreError) -> TargetError {
    let message = error.to_string();
    let of = |class, code: &str| {
        TargetError::new(class, Service::Sqs, code, message.clone()).of_embedded_queue()
    };
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
        StoreError::TooManySpools { .. } => of(Class::StoreFull, "TooManySpools"),
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
mod tests;
