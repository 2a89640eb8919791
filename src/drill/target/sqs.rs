//! SQS: SendMessage and SendMessageBatch, JSON 1.0, with the digests that SDKs check.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::super::place::{Place, Service};
use super::protocol::{Fault, entries, last, text};
use super::store::{Arrival, Once, Outcome};
use crate::model::message::{
    Attribute, AttributeValue, Attributes, md5_of_attributes, md5_of_body,
};

pub(super) const THROTTLED: Fault = Fault {
    status: 400,
    code: "com.amazonaws.sqs#RequestThrottled",
    message: "Rate exceeded",
};
pub(super) const INTERNAL: Fault = Fault {
    status: 500,
    code: "InternalFailure",
    message: "The request failed because of an unknown error",
};

/// A message; `call` names the queue.
pub(super) fn arrival(call: &Value, entry: &Value) -> Arrival {
    let queue = last(text(call, "QueueUrl"), &['/']);
    let body = text(entry, "MessageBody");
    let once = queue.ends_with(".fifo").then(|| {
        // Without an id the queue takes the body for one: it stands for a content-based one.
        let id = match text(entry, "MessageDeduplicationId") {
            "" => md5_of_body(body.as_bytes()),
            id => id.to_owned(),
        };
        Once::Deduplicated(id)
    });
    let group = match text(entry, "MessageGroupId") {
        "" => None,
        // A standard queue keeps no order, whatever the message says.
        group => queue.ends_with(".fifo").then(|| group.to_owned()),
    };
    let attributes = entry.get("MessageAttributes").map(Value::to_string);
    Arrival {
        place: Place::new(Service::Sqs, queue),
        content: body.into(),
        rest: format!(
            "{} {}",
            attributes.unwrap_or_default(),
            text(entry, "MessageDeduplicationId")
        ),
        group,
        once,
    }
}

/// The answer to one message.
pub(super) fn sent(entry: &Value, outcome: Outcome) -> Value {
    let mut answer = Map::new();
    let (Outcome::Stored(number) | Outcome::Again(number)) = outcome else {
        return answer.into();
    };
    answer.insert("MessageId".to_owned(), message_id(number).into());
    let body = text(entry, "MessageBody");
    answer.insert(
        "MD5OfMessageBody".to_owned(),
        md5_of_body(body.as_bytes()).into(),
    );
    let digests = [
        ("MessageAttributes", "MD5OfMessageAttributes"),
        ("MessageSystemAttributes", "MD5OfMessageSystemAttributes"),
    ];
    for (from, to) in digests {
        if let Some(digest) = md5_of_attributes(&attributes(entry, from)) {
            answer.insert(to.to_owned(), digest.into());
        }
    }
    if entry.get("MessageGroupId").is_some() {
        answer.insert("SequenceNumber".to_owned(), format!("{number:020}").into());
    }
    answer.into()
}

/// The answer to a batch.
pub(super) fn sent_batch(input: &Value, outcomes: &[Outcome]) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (entry, outcome) in entries(input, "Entries").zip(outcomes) {
        let id = text(entry, "Id");
        match sent(entry, *outcome) {
            Value::Object(mut answer) if !answer.is_empty() => {
                answer.insert("Id".to_owned(), id.into());
                successful.push(Value::Object(answer));
            }
            _ => failed.push(json!({
                "Id": id, "Code": "InternalError", "SenderFault": false, "Message": "try again",
            })),
        }
    }
    json!({ "Successful": successful, "Failed": failed })
}

fn message_id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

fn attributes(entry: &Value, name: &str) -> Attributes {
    let Some(Value::Object(given)) = entry.get(name) else {
        return Attributes::new();
    };
    given
        .iter()
        .map(|(name, attribute)| {
            let value = match attribute.get("BinaryValue").and_then(Value::as_str) {
                Some(coded) => {
                    let bytes = base64::engine::general_purpose::STANDARD.decode(coded);
                    // What is no base64 gets a digest that the sender will not agree with.
                    AttributeValue::Binary(bytes.unwrap_or_default().into())
                }
                None => AttributeValue::String(text(attribute, "StringValue").to_owned()),
            };
            let data_type = text(attribute, "DataType").to_owned();
            (name.clone(), Attribute { data_type, value })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_answered_entry_by_entry() {
        let input = json!({ "QueueUrl": "https://sqs.eu-west-1.amazonaws.com/1/orders.fifo", "Entries": [
            { "Id": "a", "MessageBody": "hello world", "MessageGroupId": "g", "MessageDeduplicationId": "d" },
            { "Id": "b", "MessageBody": "x" },
        ]});
        let answer = sent_batch(&input, &[Outcome::Stored(7), Outcome::Failed]);
        assert_eq!(answer["Successful"][0]["Id"], "a");
        assert_eq!(
            answer["Successful"][0]["MD5OfMessageBody"],
            "5eb63bbbe01eeed093cb22bb8f5acdc3"
        );
        assert_eq!(answer["Failed"][0]["Id"], "b");
        let first = arrival(&input, &input["Entries"][0]);
        assert_eq!(first.place, Place::new(Service::Sqs, "orders.fifo"));
        assert_eq!(first.group.as_deref(), Some("g"));
    }
}
