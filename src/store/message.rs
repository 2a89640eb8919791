//! What goes into the store and what comes out: a message to send, the answer to it, a request to receive, a delivery.
//! Whatever can be computed before the writer's turn (ids, digests, checks, encodings) is computed here, by the caller.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::model::message::{
    Attribute, AttributeValue, Attributes, md5_of_attributes, md5_of_body,
};

use super::checksum::chain;
use super::clock::millis;
use super::error::StoreError;
use super::spec::{MAX_DELAY, QueueSpec};

/// The most attributes of a message (SQS).
const MAX_ATTRIBUTES: usize = 10;
/// The longest message group id and deduplication id, in characters (SQS).
const MAX_ID: usize = 128;
/// The longest order key of a spooled record, in bytes: room for Kinesis' longest, 256 characters.
const MAX_KEY: usize = 1024;
/// The system attribute of a spooled record that holds what is known of its request.
pub(super) const CONTEXT: &str = "context";

/// A message to send.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    /// Kept byte by byte; may be empty, may be anything but too large.
    pub body: Bytes,
    pub attributes: Attributes,
    /// `AWSTraceHeader` and what else SQS may define.
    pub system_attributes: Attributes,
    /// Instead of the queue's delay, up to 15 minutes; not on FIFO queues.
    pub delay: Option<Duration>,
    /// Needed on FIFO queues; kept, without effect, on others.
    pub group_id: Option<String>,
    /// FIFO queues only.
    pub deduplication_id: Option<String>,
}

/// The answer to a message that is now durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// A UUID.
    pub message_id: String,
    pub md5_of_body: String,
    pub md5_of_attributes: Option<String>,
    pub md5_of_system_attributes: Option<String>,
    /// FIFO queues: 20 digits, growing.
    pub sequence_number: Option<String>,
    /// An earlier message had the same deduplication id: nothing new was stored, and the id and number are the first's.
    pub duplicate: bool,
}

/// A request for messages.
#[derive(Clone, Debug)]
pub struct Receive {
    /// 1 to 10.
    pub max_messages: usize,
    /// Instead of the queue's own, up to 12 hours.
    pub visibility_timeout: Option<Duration>,
    /// How long to wait for the first message.
    pub wait: Duration,
    /// FIFO queues: `ReceiveRequestAttemptId`. A retry with the same id within five minutes gets the same messages again.
    pub attempt_id: Option<String>,
}

impl Default for Receive {
    fn default() -> Self {
        Receive {
            max_messages: 1,
            visibility_timeout: None,
            wait: Duration::ZERO,
            attempt_id: None,
        }
    }
}

/// A message on its way to a consumer: invisible to others until its visibility timeout ends or it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub message_id: String,
    /// For deleting the message, or changing its visibility; URL-safe characters.
    pub receipt_handle: String,
    pub body: Bytes,
    pub attributes: Attributes,
    pub system_attributes: Attributes,
    /// Milliseconds since 1970.
    pub sent_timestamp: i64,
    /// Milliseconds since 1970.
    pub first_receive_timestamp: i64,
    /// This delivery included.
    pub receive_count: u32,
    pub group_id: Option<String>,
    pub deduplication_id: Option<String>,
    /// FIFO queues.
    pub sequence_number: Option<String>,
    /// `AWSTraceHeader`, if it was sent.
    pub aws_trace_header: Option<String>,
    /// The queue it was sent to, where this is its dead-letter queue.
    pub dead_letter_source: Option<String>,
}

/// What a row of `message` holds, but for what the writer adds to it.
pub(super) struct Row {
    pub id: Uuid,
    pub body: Bytes,
    /// As JSON; `None` without attributes.
    pub attributes: Option<String>,
    pub system_attributes: Option<String>,
    pub group_id: Option<String>,
    pub deduplication_id: Option<String>,
    /// Bytes of body and attributes, as limits count them.
    pub size: u64,
    pub content_hash: u64,
}

/// A message made ready for the writer.
pub(super) struct Prepared {
    pub row: Row,
    /// Milliseconds; `None`: the queue's own.
    pub delay: Option<i64>,
    md5_of_body: String,
    md5_of_attributes: Option<String>,
    md5_of_system_attributes: Option<String>,
}

/// Checks a message against the queue and prepares it.
pub(super) fn prepare(message: NewMessage, spec: &QueueSpec) -> Result<Prepared, StoreError> {
    let size = message.body.len()
        + message
            .attributes
            .iter()
            .map(|(name, attribute)| attribute.size(name))
            .sum::<usize>();
    if size as u64 > spec.max_message_size {
        return Err(StoreError::MessageTooLarge {
            limit: spec.max_message_size,
        });
    }
    let invalid = |what: &str| Err(StoreError::InvalidParameter(what.to_owned()));
    if message.attributes.len() > MAX_ATTRIBUTES {
        return invalid("a message has at most 10 attributes");
    }
    let deduplication_id = if spec.fifo {
        if message.delay.is_some_and(|delay| !delay.is_zero()) {
            return invalid("DelaySeconds is not valid for a message to a FIFO queue");
        }
        if message.group_id.is_none() {
            return Err(StoreError::MissingGroupId);
        }
        match message.deduplication_id {
            Some(id) => Some(id),
            None if spec.content_based_deduplication => Some(sha256_hex(&message.body)),
            None => return Err(StoreError::MissingDeduplicationId),
        }
    } else if message.deduplication_id.is_some() {
        return invalid("MessageDeduplicationId is not valid for a standard queue");
    } else {
        None
    };
    if message.delay.is_some_and(|delay| delay > MAX_DELAY) {
        return invalid("DelaySeconds is at most 900");
    }
    for (name, id) in [
        ("MessageGroupId", &message.group_id),
        ("MessageDeduplicationId", &deduplication_id),
    ] {
        let fits = |id: &String| {
            (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
        };
        if !id.as_ref().is_none_or(fits) {
            return invalid(&format!(
                "{name} has 1 to 128 letters, digits or punctuation marks"
            ));
        }
    }
    let attributes = encode(&message.attributes)?;
    let system_attributes = encode(&message.system_attributes)?;
    Ok(Prepared {
        delay: message.delay.map(millis).filter(|_| !spec.fifo),
        md5_of_body: md5_of_body(&message.body),
        md5_of_attributes: md5_of_attributes(&message.attributes),
        md5_of_system_attributes: md5_of_attributes(&message.system_attributes),
        row: Row {
            id: Uuid::new_v4(),
            body: message.body,
            attributes,
            system_attributes,
            group_id: message.group_id,
            deduplication_id,
            size: size as u64,
            content_hash: 0,
        }
        .hashed(),
    })
}

/// Checks a record for a spool and prepares it.
pub(super) fn prepare_record(
    id: Uuid,
    key: Option<String>,
    call: Bytes,
    context: String,
) -> Result<Row, StoreError> {
    if key
        .as_ref()
        .is_some_and(|key| !(1..=MAX_KEY).contains(&key.len()))
    {
        return Err(StoreError::InvalidParameter(format!(
            "an order key has 1 to {MAX_KEY} bytes"
        )));
    }
    let size = (call.len() + context.len()) as u64;
    let context = Attribute {
        data_type: "String".to_owned(),
        value: AttributeValue::String(context),
    };
    let row = Row {
        id,
        body: call,
        attributes: None,
        // Beside the call, and so under the same checksum.
        system_attributes: encode(&Attributes::from([(CONTEXT.to_owned(), context)]))?,
        group_id: key,
        deduplication_id: None,
        size,
        content_hash: 0,
    };
    Ok(row.hashed())
}

impl Row {
    fn hashed(mut self) -> Row {
        self.content_hash = content_hash(
            self.id.as_bytes(),
            self.group_id.as_deref(),
            self.deduplication_id.as_deref(),
            self.attributes.as_deref(),
            self.system_attributes.as_deref(),
            &self.body,
        );
        self
    }

    /// Bytes that the message takes while it waits.
    pub fn footprint(&self) -> u64 {
        let attributes = self.attributes.as_ref().map_or(0, String::len);
        let system = self.system_attributes.as_ref().map_or(0, String::len);
        (self.body.len() + attributes + system) as u64 + 512
    }
}

impl Prepared {
    /// The answer, once the message (or the first of its kind) is durable under this id and number.
    pub fn sent(&self, id: Uuid, sequence: Option<i64>, duplicate: bool) -> Sent {
        Sent {
            message_id: id.to_string(),
            md5_of_body: self.md5_of_body.clone(),
            md5_of_attributes: self.md5_of_attributes.clone(),
            md5_of_system_attributes: self.md5_of_system_attributes.clone(),
            sequence_number: sequence.map(sequence_number),
            duplicate,
        }
    }
}

/// SQS's sequence number: 20 digits.
pub(super) fn sequence_number(seq: i64) -> String {
    format!("{seq:020}")
}

/// The checksum of what a caller sent.
pub(super) fn content_hash(
    id: &[u8],
    group_id: Option<&str>,
    deduplication_id: Option<&str>,
    attributes: Option<&str>,
    system_attributes: Option<&str>,
    body: &[u8],
) -> u64 {
    let mut hash = chain(0, Some(id));
    for field in [group_id, deduplication_id, attributes, system_attributes] {
        hash = chain(hash, field.map(str::as_bytes));
    }
    chain(hash, Some(body))
}

/// The checksum of the whole row: what was sent, and what the writer added.
pub(super) fn row_checksum(content_hash: u64, seq: i64, queue: i64, sent_at: i64) -> i64 {
    let mut added = [0; 24];
    for (place, value) in added.chunks_exact_mut(8).zip([seq, queue, sent_at]) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    chain(content_hash, Some(&added)) as i64
}

fn sha256_hex(body: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn encode(attributes: &Attributes) -> Result<Option<String>, StoreError> {
    if attributes.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(attributes)
        .map(Some)
        .map_err(|error| StoreError::InvalidParameter(format!("attributes: {error}")))
}

/// Attributes as [`encode`] wrote them; `None` if the text is something else.
pub(super) fn decode(text: Option<&str>) -> Option<Attributes> {
    use base64::Engine as _;
    let Some(text) = text else {
        return Some(Attributes::new());
    };
    let Value::Object(map) = serde_json::from_str(text).ok()? else {
        return None;
    };
    map.into_iter()
        .map(|(name, attribute)| {
            let data_type = attribute.get("DataType")?.as_str()?.to_owned();
            let value = match attribute.get("StringValue") {
                Some(text) => AttributeValue::String(text.as_str()?.to_owned()),
                None => {
                    let text = attribute.get("BinaryValue")?.as_str()?;
                    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
                    AttributeValue::Binary(bytes.ok()?.into())
                }
            };
            Some((name, Attribute { data_type, value }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_went() {
        let attributes = Attributes::from([
            (
                "a".to_owned(),
                Attribute {
                    data_type: "Number.int".into(),
                    value: AttributeValue::String("3".into()),
                },
            ),
            (
                "b \"".to_owned(),
                Attribute {
                    data_type: "Binary".into(),
                    value: AttributeValue::Binary(Bytes::from_static(b"\xff\0")),
                },
            ),
        ]);
        let text = encode(&attributes).unwrap();
        assert_eq!(decode(text.as_deref()), Some(attributes));
        assert_eq!(decode(None), Some(Attributes::new()));
        assert_eq!(decode(Some("{\"a\":1}")), None);
    }

    #[test]
    fn what_sqs_refuses_is_refused_before_it_is_written() {
        let standard = QueueSpec::new("q");
        let fifo = QueueSpec::new("q.fifo");
        let message = NewMessage::default();
        assert!(prepare(message.clone(), &standard).is_ok());
        assert_eq!(
            prepare(message.clone(), &fifo).err(),
            Some(StoreError::MissingGroupId)
        );
        let grouped = NewMessage {
            group_id: Some("g".into()),
            ..message.clone()
        };
        assert_eq!(
            prepare(grouped, &fifo).err(),
            Some(StoreError::MissingDeduplicationId)
        );
        let large = NewMessage {
            body: vec![0; (1 << 20) + 1].into(),
            ..message.clone()
        };
        assert_eq!(
            prepare(large, &standard).err(),
            Some(StoreError::MessageTooLarge { limit: 1 << 20 })
        );
        let late = NewMessage {
            delay: Some(Duration::from_secs(901)),
            ..message.clone()
        };
        assert!(matches!(
            prepare(late, &standard),
            Err(StoreError::InvalidParameter(_))
        ));
        let spaced = NewMessage {
            group_id: Some("a b".into()),
            ..message
        };
        assert!(matches!(
            prepare(spaced, &standard),
            Err(StoreError::InvalidParameter(_))
        ));
    }
}
