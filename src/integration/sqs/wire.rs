//! SendMessage and SendMessageBatch in the service's JSON protocol.

use bytes::Bytes;
use serde::Deserialize;

use super::send::Request;
use super::sent::Sent;
use crate::aws::Body;
use crate::integration::refusal::{Class, Service, TargetError};
use crate::model::message::{AttributeValue, Attributes};

/// What stands around a message and its attributes' values, about.
const AROUND: usize = 256;

/// The body of SendMessage.
pub(super) fn single(url: &str, request: &Request) -> Result<Bytes, TargetError> {
    let mut body = Body::with_capacity(url.len() + room(request));
    body.raw("{\"QueueUrl\":").text(url);
    message(&mut body, request, text(request)?);
    body.raw("}");
    Ok(body.finish())
}

/// The body of SendMessageBatch, for requests that have been found to be [`text`]; the ids are the places.
pub(super) fn batch(url: &str, entries: &[(usize, &Request, &str)]) -> Bytes {
    let rooms = entries.iter().map(|(_, request, _)| room(request));
    let mut body = Body::with_capacity(AROUND + url.len() + rooms.sum::<usize>());
    body.raw("{\"QueueUrl\":").text(url).raw(",\"Entries\":");
    let mut before = "[";
    for (place, request, text) in entries {
        body.raw(before).raw("{\"Id\":\"").number(place).raw("\"");
        message(&mut body, request, text);
        body.raw("}");
        before = ",";
    }
    body.raw("]}");
    body.finish()
}

/// Escaping adds a seventh to JSON, most often.
fn room(request: &Request) -> usize {
    let size = request.size();
    AROUND + size + size / 4
}

/// The message as text: what SQS takes.
pub(super) fn text(request: &Request) -> Result<&str, TargetError> {
    std::str::from_utf8(&request.body.0).map_err(|error| {
        TargetError::new(
            Class::Record,
            Service::Sqs,
            "InvalidMessageContents",
            error.to_string(),
        )
    })
}

fn message(body: &mut Body, request: &Request, text: &str) {
    body.member("MessageBody").text(text);
    if let Some(seconds) = request.delay_seconds {
        body.member("DelaySeconds").number(seconds);
    }
    body.text_if_any(
        "MessageDeduplicationId",
        request.deduplication_id.as_deref(),
    );
    body.text_if_any("MessageGroupId", request.group_id.as_deref());
    attributes(body, "MessageAttributes", &request.attributes);
    attributes(body, "MessageSystemAttributes", &request.system_attributes);
}

fn attributes(body: &mut Body, member: &'static str, attributes: &Attributes) {
    if attributes.is_empty() {
        return;
    }
    body.member(member);
    let mut before = "{";
    for (name, attribute) in attributes {
        body.raw(before).text(name).raw(":{\"DataType\":");
        body.text(&attribute.data_type);
        match &attribute.value {
            AttributeValue::String(text) => body.member("StringValue").text(text),
            AttributeValue::Binary(bytes) => body.member("BinaryValue").blob(bytes),
        };
        body.raw("}");
        before = ",";
    }
    body.raw("}");
}

/// The answer to SendMessage, and to an entry of a batch that was taken.
#[derive(Debug, Deserialize)]
pub(super) struct Taken {
    #[serde(rename = "Id")]
    pub(super) id: Option<String>,
    #[serde(rename = "MessageId")]
    message_id: Option<String>,
    #[serde(rename = "MD5OfMessageBody")]
    md5_of_body: Option<String>,
    #[serde(rename = "MD5OfMessageAttributes")]
    md5_of_attributes: Option<String>,
    #[serde(rename = "MD5OfMessageSystemAttributes")]
    md5_of_system_attributes: Option<String>,
    #[serde(rename = "SequenceNumber")]
    sequence_number: Option<String>,
}

impl From<Taken> for Sent {
    fn from(taken: Taken) -> Sent {
        Sent {
            message_id: taken.message_id.unwrap_or_default(),
            md5_of_body: taken.md5_of_body.unwrap_or_default(),
            md5_of_attributes: taken.md5_of_attributes,
            md5_of_system_attributes: taken.md5_of_system_attributes,
            sequence_number: taken.sequence_number,
        }
    }
}

/// An entry of a batch that was refused.
#[derive(Debug, Deserialize)]
pub(super) struct Failed {
    #[serde(rename = "Id")]
    pub(super) id: Option<String>,
    #[serde(rename = "SenderFault")]
    sender_fault: Option<bool>,
    #[serde(rename = "Code")]
    code: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
}

impl From<Failed> for TargetError {
    fn from(failed: Failed) -> TargetError {
        let status = match failed.sender_fault {
            Some(true) => 400,
            _ => 500,
        };
        let (code, message) = (failed.code.unwrap_or_default(), failed.message);
        TargetError::of_entry(Service::Sqs, status, code, message.unwrap_or_default())
    }
}

/// The answer to SendMessageBatch.
#[derive(Debug, Deserialize)]
pub(super) struct Verdicts {
    #[serde(rename = "Successful")]
    pub(super) successful: Option<Vec<Taken>>,
    #[serde(rename = "Failed")]
    pub(super) failed: Option<Vec<Failed>>,
}
