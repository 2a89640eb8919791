//! What SQS answers to a message, and whether that confirms it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::send::Request;
use crate::integration::answer::{Answered, NativeAnswer, Rendered, object};
use crate::integration::refusal::{Class, Service, TargetError};
use crate::integration::xml;
use crate::model::message::{md5_of_attributes, md5_of_body};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub(super) message_id: String,
    pub(super) md5_of_body: String,
    pub(super) md5_of_attributes: Option<String>,
    pub(super) md5_of_system_attributes: Option<String>,
    pub(super) sequence_number: Option<String>,
}

/// The digests of what was sent.
pub(super) struct Digests {
    body: String,
    attributes: Option<String>,
}

impl Digests {
    pub(super) fn of(request: &Request) -> Digests {
        Digests {
            body: md5_of_body(&request.body.0),
            attributes: md5_of_attributes(&request.attributes),
        }
    }

    /// An answer's digests say what SQS has stored. If it is not what we sent, nobody may be told that the bytes are
    /// safe; nor without an id.
    pub(super) fn confirm(&self, sent: Sent) -> Result<Sent, TargetError> {
        if sent.message_id.is_empty() {
            return Err(TargetError::no_receipt(Service::Sqs, "a message's id"));
        }
        let other_attributes =
            sent.md5_of_attributes.is_some() && sent.md5_of_attributes != self.attributes;
        let what = if sent.md5_of_body != self.body {
            "MD5OfMessageBody"
        } else if other_attributes {
            "MD5OfMessageAttributes"
        } else {
            return Ok(sent);
        };
        Err(TargetError::new(
            Class::OutcomeUnknown,
            Service::Sqs,
            "ChecksumMismatch",
            format!(
                "{what} is not that of what was sent; message {}",
                sent.message_id
            ),
        ))
    }
}

impl Answered for Sent {
    fn native(&self) -> NativeAnswer {
        NativeAnswer::Stored(object([
            ("messageId", Some(Value::from(self.message_id.as_str()))),
            (
                "sequenceNumber",
                self.sequence_number.as_deref().map(Value::from),
            ),
        ]))
    }

    fn aws(&self, request_id: &str) -> Rendered {
        let body = xml::response(
            "SendMessage",
            request_id,
            Some(&|result| {
                result.text("MessageId", &self.message_id);
                result.text("MD5OfMessageBody", &self.md5_of_body);
                result.text_if_any("MD5OfMessageAttributes", self.md5_of_attributes.as_deref());
                result.text_if_any(
                    "MD5OfMessageSystemAttributes",
                    self.md5_of_system_attributes.as_deref(),
                );
                result.text_if_any("SequenceNumber", self.sequence_number.as_deref());
            }),
        );
        Rendered::new(200, xml::CONTENT_TYPE, body)
    }

    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "md5OfMessageBody" => Some(self.md5_of_body.as_str()),
            "md5OfMessageAttributes" => self.md5_of_attributes.as_deref(),
            "sequenceNumber" => self.sequence_number.as_deref(),
            _ => None,
        }
        .map(Cow::Borrowed)
    }

    fn message_id(&self) -> Option<&str> {
        Some(&self.message_id)
    }
}
