//! Calls and answers as they are kept: beside a spooled record the whole call, beside an idempotency key the answer.
//! JSON, in the words of the services, so that anybody can read what a store holds. What these bytes look like is a
//! promise to later versions: fields may be added, none may change its meaning.

use aws_smithy_types::DateTime;
use bytes::Bytes;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use super::answer::Answer;
use super::dynamodb::{Put as ItemPut, PutRequest as PutItemRequest};
use super::event_bridge::{EventPut, Request as PutEventsRequest};
use super::kinesis::{Put, Request as PutRecordRequest};
use super::sqs::{SendRequest, Sent};
use super::step_functions::{StartRequest, Started};
use super::{Call, Outcome, Request};
use crate::model::message::{Attribute, AttributeValue, Attributes};

/// A call that is kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptRequest {
    call: KeptCall,
    #[serde(default)]
    resend: bool,
    #[serde(default)]
    keeps_place: bool,
}

#[derive(Deserialize)]
enum KeptCall {
    #[serde(rename = "SQS-SendMessage")]
    SendMessage(Box<SendRequest>),
    #[serde(rename = "Kinesis-PutRecord")]
    PutRecord(Box<PutRecordRequest>),
    #[serde(rename = "EventBridge-PutEvents")]
    PutEvents(Box<PutEventsRequest>),
    #[serde(rename = "StepFunctions-StartExecution")]
    StartExecution(Box<StartRequest>),
    #[serde(rename = "DynamoDB-PutItem")]
    PutItem(Box<PutItemRequest>),
}

/// A call that is to be kept.
#[derive(Serialize)]
struct KeepRequest<'a> {
    call: &'a Call,
    #[serde(skip_serializing_if = "is_false")]
    resend: bool,
    #[serde(skip_serializing_if = "is_false")]
    keeps_place: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Request {
    /// The call as it is kept beside a spooled record; [`Request::decode`] reads it.
    ///
    /// # Errors
    /// Kinds that store no record cannot be kept.
    pub fn encode(&self) -> Result<Bytes, String> {
        if self.target().is_none() {
            return Err("a call that stores no record cannot be kept".to_owned());
        }
        let kept = KeepRequest {
            call: &self.call,
            resend: self.resend,
            keeps_place: self.keeps_place,
        };
        serde_json::to_vec(&kept)
            .map(Bytes::from)
            .map_err(|error| error.to_string())
    }

    /// A call that was kept.
    ///
    /// # Errors
    /// These are not the bytes of one, or a later version's.
    pub fn decode(kept: &[u8]) -> Result<Request, String> {
        let kept: KeptRequest = serde_json::from_slice(kept).map_err(|error| error.to_string())?;
        let call = match kept.call {
            KeptCall::SendMessage(request) => Call::SqsSendMessage(*request),
            KeptCall::PutRecord(request) => Call::KinesisPutRecord(*request),
            KeptCall::PutEvents(request) => Call::EventBridgePutEvents(*request),
            KeptCall::StartExecution(request) => Call::StepFunctionsStartExecution(*request),
            KeptCall::PutItem(request) => Call::DynamoDbPutItem(*request),
        };
        Ok(Request {
            call,
            resend: kept.resend,
            keeps_place: kept.keeps_place,
        })
    }

    /// What a caller is told whose record is spooled under this id: the id stands where the target's own would, digests
    /// are those of what was sent, and what only the target can say is absent. In place of a shard stands `spooled`.
    /// `None` for kinds that store no record.
    pub fn spooled_answer(&self, id: &str) -> Option<Answer> {
        let outcome = match &self.call {
            Call::SqsSendMessage(request) => Outcome::SqsSendMessage(request.spooled(id)),
            Call::KinesisPutRecord(_) => Outcome::KinesisPutRecord(Put::spooled(id)),
            Call::EventBridgePutEvents(_) => Outcome::EventBridgePutEvents(EventPut::spooled(id)),
            Call::StepFunctionsStartExecution(request) => {
                Outcome::StepFunctionsStartExecution(request.started())
            }
            Call::DynamoDbPutItem(_) => Outcome::DynamoDbPutItem(ItemPut::default()),
            _ => return None,
        };
        Some(Answer {
            outcome,
            request_id: None,
            spooled: true,
        })
    }
}

/// An answer that is kept.
#[derive(Serialize, Deserialize)]
struct KeptAnswer {
    answer: KeptOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    spooled: bool,
}

#[derive(Serialize, Deserialize)]
enum KeptOutcome {
    #[serde(rename = "SQS-SendMessage")]
    Sent(Sent),
    #[serde(rename = "Kinesis-PutRecord")]
    Put(Put),
    #[serde(rename = "EventBridge-PutEvents")]
    EventPut(EventPut),
    #[serde(rename = "StepFunctions-StartExecution")]
    Started(Started),
    #[serde(rename = "DynamoDB-PutItem")]
    ItemPut(ItemPut),
}

impl Answer {
    /// The answer as it is kept beside an idempotency key; `None` for kinds that store nothing, and for an answer that
    /// hides a failure.
    pub fn encode(&self) -> Option<Bytes> {
        if self.failure().is_some() {
            return None;
        }
        let answer = match &self.outcome {
            Outcome::SqsSendMessage(sent) => KeptOutcome::Sent(sent.clone()),
            Outcome::KinesisPutRecord(put) => KeptOutcome::Put(put.clone()),
            Outcome::EventBridgePutEvents(put) => KeptOutcome::EventPut(put.clone()),
            Outcome::StepFunctionsStartExecution(started) => KeptOutcome::Started(started.clone()),
            Outcome::DynamoDbPutItem(put) => KeptOutcome::ItemPut(put.clone()),
            _ => return None,
        };
        let kept = KeptAnswer {
            answer,
            request_id: self.request_id.clone(),
            spooled: self.spooled,
        };
        serde_json::to_vec(&kept).ok().map(Bytes::from)
    }

    /// An answer that was kept, by us or by the embedded store (its own `Sent`); `None` if these are not the bytes of one.
    pub fn decode(kept: &[u8]) -> Option<Answer> {
        let Ok(kept) = serde_json::from_slice::<KeptAnswer>(kept) else {
            return serde_json::from_slice(kept).ok().map(|sent| Answer {
                outcome: Outcome::SqsSendMessage(sent),
                request_id: None,
                spooled: false,
            });
        };
        let outcome = match kept.answer {
            KeptOutcome::Sent(sent) => Outcome::SqsSendMessage(sent),
            KeptOutcome::Put(put) => Outcome::KinesisPutRecord(put),
            KeptOutcome::EventPut(put) => Outcome::EventBridgePutEvents(put),
            KeptOutcome::Started(started) => Outcome::StepFunctionsStartExecution(started),
            KeptOutcome::ItemPut(put) => Outcome::DynamoDbPutItem(put),
        };
        Some(Answer {
            outcome,
            request_id: kept.request_id,
            spooled: kept.spooled,
        })
    }
}

/// A time in an answer that is kept: milliseconds since 1970, as fine as the services tell it.
pub(super) mod milliseconds {
    use super::*;

    pub(in crate::integration) fn serialize<S: Serializer>(
        time: &DateTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let millis = time.to_millis().map_err(serde::ser::Error::custom)?;
        serializer.serialize_i64(millis)
    }

    pub(in crate::integration) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<DateTime, D::Error> {
        i64::deserialize(deserializer).map(DateTime::from_millis)
    }
}

/// An attribute as its `Serialize` writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptAttribute {
    #[serde(rename = "DataType")]
    data_type: String,
    #[serde(rename = "StringValue")]
    string_value: Option<String>,
    #[serde(rename = "BinaryValue")]
    binary_value: Option<String>,
}

/// Attributes of a call that was kept.
pub(super) fn attributes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Attributes, D::Error> {
    use base64::Engine as _;
    let kept = std::collections::BTreeMap::<String, KeptAttribute>::deserialize(deserializer)?;
    kept.into_iter()
        .map(|(name, attribute)| {
            let value = match (attribute.string_value, attribute.binary_value) {
                (Some(text), None) => AttributeValue::String(text),
                (None, Some(text)) => base64::engine::general_purpose::STANDARD
                    .decode(text)
                    .map(|bytes| AttributeValue::Binary(Bytes::from(bytes)))
                    .map_err(D::Error::custom)?,
                _ => return Err(D::Error::custom("an attribute has one value")),
            };
            let data_type = attribute.data_type;
            Ok((name, Attribute { data_type, value }))
        })
        .collect()
}

#[cfg(test)]
mod tests;
