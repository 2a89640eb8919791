//! ReceiveMessage, and how a stored message looks to a consumer of SQS.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::message::{
    Attribute, AttributeValue, Attributes, md5_of_attributes, md5_of_body, sqs_text,
};
use crate::store::{Delivery, Receive};

use super::attributes::WAIT_TIME;
use super::fault::Code;
use super::input::{Input, within};
use super::names::{ACCOUNT, Names};
use super::queues::{Answer, Queues};
use super::send::SENT_ID;

/// The attribute that says that a body is base64 text, because the bytes themselves are none that SQS could hold.
const ENCODING: &str = "penstock-encoding";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ReceiveInput {
    queue_url: Option<String>,
    /// The old name of the next one; both are served.
    attribute_names: Option<Vec<String>>,
    message_system_attribute_names: Option<Vec<String>>,
    message_attribute_names: Option<Vec<String>>,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    receive_request_attempt_id: Option<String>,
}

impl Queues<'_> {
    pub(super) async fn receive_message(&self, input: Input) -> Answer {
        let input: ReceiveInput = input.read()?;
        let queue = self.named(input.queue_url)?;
        let fifo = self.is_fifo(&queue)?;
        let most = within(input.max_number_of_messages, "MaxNumberOfMessages", 1, 10)?;
        let visibility = within(input.visibility_timeout, "VisibilityTimeout", 0, 43_200)?;
        let wait = within(input.wait_time_seconds, "WaitTimeSeconds", 0, 20)?;
        let attempt = input.receive_request_attempt_id;
        if attempt.as_ref().is_some_and(|id| {
            !(1..=128).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_graphic())
        }) {
            return Err(Code::InvalidParameterValue.because(
                "ReceiveRequestAttemptId can only include alphanumeric and punctuation characters. 1 to 128 in length.",
            ));
        }
        let wanted = Receive {
            max_messages: most.unwrap_or(1) as usize,
            visibility_timeout: visibility.map(Duration::from_secs),
            wait: Duration::from_secs(wait.unwrap_or_else(|| self.default_wait(&queue))),
            attempt_id: attempt.filter(|_| fifo),
        };
        let polls = !wanted.wait.is_zero();
        let receiving = self.store.receive(&queue, wanted);
        let deliveries = tokio::select! {
            deliveries = receiving => deliveries?,
            // It has given up, in all likelihood, and is to take no message with it.
            () = self.leaving.begun(), if polls => Vec::new(),
        };
        let mut system = input.attribute_names.unwrap_or_default();
        system.extend(input.message_system_attribute_names.unwrap_or_default());
        let named = input.message_attribute_names.unwrap_or_default();
        let messages: Vec<Value> = deliveries
            .into_iter()
            .map(|delivery| message(delivery, &system, &named, self.names))
            .collect();
        Ok(match messages.is_empty() {
            true => json!({}),
            false => json!({ "Messages": messages }),
        })
    }

    /// The queue's own `ReceiveMessageWaitTimeSeconds`.
    fn default_wait(&self, queue: &str) -> u64 {
        let facts = self.store.queue_facts(queue);
        let wait = facts.and_then(|facts| facts.extra.get(WAIT_TIME)?.parse().ok());
        wait.unwrap_or_default()
    }
}

/// A delivery as SQS would give it: only the attributes that were asked for, and text only.
fn message(delivery: Delivery, system: &[String], named: &[String], names: &Names) -> Value {
    let asked = |name: &str| {
        system
            .iter()
            .any(|wanted| wanted == "All" || wanted == name)
    };
    let sent_id = delivery.system_attributes.get(SENT_ID);
    let sent_id = sent_id.and_then(|attribute| match &attribute.value {
        AttributeValue::String(id) => Some(id.clone()),
        AttributeValue::Binary(_) => None,
    });
    let source = delivery.dead_letter_source.map(|name| names.arn(&name));
    let facts = [
        // Whoever sent it, it came into the account of every queue.
        ("SenderId", Some(ACCOUNT.to_owned())),
        ("SentTimestamp", Some(delivery.sent_timestamp.to_string())),
        (
            "ApproximateReceiveCount",
            Some(delivery.receive_count.to_string()),
        ),
        (
            "ApproximateFirstReceiveTimestamp",
            Some(delivery.first_receive_timestamp.to_string()),
        ),
        ("MessageGroupId", delivery.group_id),
        (SENT_ID, sent_id.or(delivery.deduplication_id)),
        ("SequenceNumber", delivery.sequence_number),
        ("AWSTraceHeader", delivery.aws_trace_header),
        ("DeadLetterQueueSourceArn", source),
    ];
    let facts: Map<String, Value> = facts
        .into_iter()
        .filter(|(name, _)| asked(name))
        .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))))
        .collect();
    let mut attributes: Attributes = delivery
        .attributes
        .into_iter()
        .filter(|(name, _)| named.iter().any(|wanted| matches(wanted, name)))
        .collect();
    let body = match sqs_text(&delivery.body) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let encoding = Attribute {
                data_type: "String".to_owned(),
                value: AttributeValue::String("base64".to_owned()),
            };
            attributes.insert(ENCODING.to_owned(), encoding);
            STANDARD.encode(&delivery.body)
        }
    };
    let mut message = json!({
        "MessageId": delivery.message_id,
        "ReceiptHandle": delivery.receipt_handle,
        "MD5OfBody": md5_of_body(body.as_bytes()),
        "Body": body,
    });
    if !facts.is_empty() {
        message["Attributes"] = Value::Object(facts);
    }
    if let Some(digest) = md5_of_attributes(&attributes) {
        message["MD5OfMessageAttributes"] = Value::String(digest);
        message["MessageAttributes"] = attributes
            .iter()
            .map(|(name, attribute)| (name.clone(), rendered(attribute)))
            .collect::<Map<_, _>>()
            .into();
    }
    message
}

fn rendered(attribute: &Attribute) -> Value {
    let (name, value) = match &attribute.value {
        AttributeValue::String(text) => ("StringValue", text.clone()),
        AttributeValue::Binary(bytes) => ("BinaryValue", STANDARD.encode(bytes)),
    };
    json!({ name: value, "DataType": attribute.data_type })
}

/// Whether a name is asked for: `All`, `.*`, the name itself, or `prefix.*`.
fn matches(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => wanted == "All" || wanted == name,
    }
}
