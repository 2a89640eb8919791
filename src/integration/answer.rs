//! What a target answered, and how either dialect says it.

use std::borrow::Cow;

use aws_smithy_types::DateTime;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::Outcome;
use super::refusal::TargetError;
use crate::model::request_id::RequestId;

/// A response, all but the headers that every response carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub status: u16,
    pub content_type: Option<String>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl Rendered {
    pub(super) fn new(
        status: u16,
        content_type: impl Into<String>,
        body: impl Into<Bytes>,
    ) -> Rendered {
        Rendered {
            status,
            content_type: Some(content_type.into()),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// The vendor's gateway speaking for itself: `{"message":"…"}`.
    pub(super) fn message(status: u16, message: &str) -> Rendered {
        let body = format!("{{\"message\":\"{message}\"}}");
        Rendered::new(status, "application/json", body)
    }
}

/// The answer in the native dialect.
#[derive(Clone, Debug, PartialEq)]
pub enum NativeAnswer {
    /// The record is stored: 202, and these fields beside `requestId` and `durability`.
    Stored(Map<String, Value>),
    /// Something was read or done: 200, and the service's answer in its own JSON names.
    Fields(Map<String, Value>),
    /// Content with a type of its own: a configuration, a mock.
    Raw(Rendered),
}

impl NativeAnswer {
    /// The status where the route says nothing else.
    pub fn status(&self) -> u16 {
        match self {
            NativeAnswer::Stored(_) => 202,
            NativeAnswer::Fields(_) => 200,
            NativeAnswer::Raw(rendered) => rendered.status,
        }
    }
}

/// What each kind of answer supplies.
pub(super) trait Answered {
    /// The answer in the native dialect.
    fn native(&self) -> NativeAnswer;
    /// The answer as the service itself gives it; `request_id` is the service's, or ours where it has none.
    fn aws(&self, request_id: &str) -> Rendered;
    /// `$integration.NAME`.
    fn field(&self, name: &str) -> Option<Cow<'_, str>>;
    /// The id that the target gave the record.
    fn message_id(&self) -> Option<&str> {
        None
    }
    /// A failure inside a successful answer.
    fn failure(&self) -> Option<&TargetError> {
        None
    }
    /// The service's status.
    fn status(&self) -> u16 {
        200
    }
}

/// What a target answered.
#[derive(Debug)]
pub struct Answer {
    pub(super) outcome: Outcome,
    pub(super) request_id: Option<String>,
    /// The gateway gave it, in the target's place.
    pub(super) spooled: bool,
}

impl Answer {
    /// The answer in the native dialect. One that hides a failure is not to be given: see [`Answer::failure`].
    pub fn native(&self) -> NativeAnswer {
        match self.outcome.answered().native() {
            NativeAnswer::Stored(mut members) if self.spooled => {
                // what only the target can say; the aws dialect has to fill the places, so that SDKs can read it
                for invented in ["sequenceNumber", "shardId", "eventId"] {
                    members.remove(invented);
                }
                NativeAnswer::Stored(members)
            }
            answer => answer,
        }
    }

    /// The answer in the aws dialect: status, content type and body of the service itself.
    pub fn aws(&self, id: &RequestId) -> Rendered {
        let request_id = self.request_id.as_deref().unwrap_or(id.as_str());
        self.outcome.answered().aws(request_id)
    }

    /// The value of `$integration.NAME`.
    pub fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "requestId" => self.request_id.as_deref().map(Cow::Borrowed),
            "messageId" => self.message_id().map(Cow::Borrowed),
            _ => self.outcome.answered().field(name),
        }
    }

    /// The id that the target gave the record: message id, sequence number, event id, execution ARN.
    pub fn message_id(&self) -> Option<&str> {
        self.outcome.answered().message_id()
    }

    /// A failure inside a successful answer: an event entry that was refused, a workflow that failed. Native: a
    /// refusal, with this error's status. Aws: the answer as it is, counted as a failure.
    pub fn failure(&self) -> Option<&TargetError> {
        self.outcome.answered().failure()
    }

    /// The service's status.
    pub fn service_status(&self) -> u16 {
        self.outcome.answered().status()
    }

    /// Whether the gateway gave it, for a record that is spooled.
    pub fn is_spooled(&self) -> bool {
        self.spooled
    }

    /// The service's request id; none from the embedded queues.
    pub fn service_request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

/// A JSON object from names and values; absent values are left out.
pub(super) fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// A time as the JSON protocols have it: seconds since 1970 with a fraction.
pub(super) fn epoch(time: &DateTime) -> Value {
    Value::from(time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_with_a_fraction() {
        assert_eq!(
            epoch(&DateTime::from_millis(1_700_000_000_123)).to_string(),
            "1700000000.123"
        );
    }
}
