//! SendMessage and SendMessageBatch. The entries of a batch are handed to the store's writer together and in order, so
//! that they share its commit and a message group keeps its order.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::message::sqs_text;
use crate::store::{NewMessage, Sent};

use super::batch;
use super::fault::{Code, Fault};
use super::input::{AttributeInputs, Input, required, within};
use super::message_attributes::{message_attributes, system_attributes};
use super::queues::{Answer, Queues};

/// Bytes of all bodies and attributes of a batch (SQS).
const BATCH_BYTES: usize = 1 << 20;

/// One message, as `SendMessage` and an entry of `SendMessageBatch` have it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MessageInput {
    id: Option<String>,
    queue_url: Option<String>,
    message_body: Option<String>,
    delay_seconds: Option<i64>,
    message_attributes: Option<AttributeInputs>,
    message_system_attributes: Option<AttributeInputs>,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BatchInput {
    queue_url: Option<String>,
    entries: Option<Vec<MessageInput>>,
}

impl Queues<'_> {
    pub(super) async fn send_message(&self, input: Input) -> Answer {
        let input: MessageInput = input.read()?;
        let queue = self.named(input.queue_url.clone())?;
        let message = new_message(input, self.is_fifo(&queue)?)?;
        Ok(sent(self.store.send(&queue, message).await?))
    }

    pub(super) async fn send_message_batch(&self, input: Input) -> Answer {
        let input: BatchInput = input.read()?;
        let queue = self.named(input.queue_url)?;
        let entries = input.entries.unwrap_or_default();
        let ids = batch::checked_ids(
            "SendMessageBatchRequestEntry",
            entries.iter().map(|entry| &entry.id),
        )?;
        let bytes: usize = entries.iter().map(MessageInput::size).sum();
        if bytes > BATCH_BYTES {
            return Err(Code::BatchRequestTooLong.because(format!(
                "Batch requests cannot be longer than {BATCH_BYTES} bytes. You have sent {bytes} bytes."
            )));
        }
        let fifo = self.is_fifo(&queue)?;
        let sends = entries.into_iter().map(|entry| async {
            let message = new_message(entry, fifo)?;
            Ok::<Sent, Fault>(self.store.send(&queue, message).await?)
        });
        // Polled in order, each up to its place in the writer's line, before any is waited for.
        let fates = join_all(sends).await;
        let fates = fates.into_iter().map(|fate| fate.map(sent));
        batch::answer(ids.into_iter().zip(fates).collect())
    }
}

impl MessageInput {
    /// Bytes as the limit of a batch counts them.
    fn size(&self) -> usize {
        let attributes = self.message_attributes.iter().flatten();
        let attributes = attributes.map(|(name, attribute)| {
            let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            // Base64 says three bytes in four characters.
            let binary = text(&attribute.binary_value) / 4 * 3;
            name.len() + text(&attribute.data_type) + text(&attribute.string_value) + binary
        });
        self.message_body.as_ref().map_or(0, String::len) + attributes.sum::<usize>()
    }
}

fn new_message(input: MessageInput, fifo: bool) -> Result<NewMessage, Fault> {
    let body = required(input.message_body, "MessageBody")?;
    if let Err(at) = sqs_text(body.as_bytes()) {
        let found = body[at..].chars().next().map_or(0, u32::from);
        return Err(Code::InvalidMessageContents.because(format!(
            "Invalid binary character '#x{found:X}' was found in the message body, the set of allowed characters is \
             #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
        )));
    }
    let delay = within(input.delay_seconds, "DelaySeconds", 0, 900)?;
    if fifo && delay.is_some_and(|seconds| seconds > 0) {
        return Err(Fault::value(
            "DelaySeconds",
            delay.unwrap_or_default(),
            "The request include parameter that is not valid for this queue type.",
        ));
    }
    for (name, id) in [
        ("MessageGroupId", &input.message_group_id),
        ("MessageDeduplicationId", &input.message_deduplication_id),
    ] {
        let fits =
            |id: &String| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        if let Some(id) = id.as_ref().filter(|id| !fits(id)) {
            let rule = format!(
                "{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
            );
            return Err(Fault::value(name, id, &rule));
        }
    }
    if let Some(id) = input.message_deduplication_id.as_ref().filter(|_| !fifo) {
        return Err(Fault::value(
            "MessageDeduplicationId",
            id,
            "The request includes a parameter that is not valid for this queue type.",
        ));
    }
    Ok(NewMessage {
        body: Bytes::from(body),
        attributes: message_attributes(input.message_attributes)?,
        system_attributes: system_attributes(input.message_system_attributes)?,
        delay: delay.filter(|_| !fifo).map(Duration::from_secs),
        group_id: input.message_group_id,
        deduplication_id: input.message_deduplication_id,
    })
}

fn sent(sent: Sent) -> Value {
    let fields = [
        ("MessageId", Some(sent.message_id)),
        ("MD5OfMessageBody", Some(sent.md5_of_body)),
        ("MD5OfMessageAttributes", sent.md5_of_attributes),
        (
            "MD5OfMessageSystemAttributes",
            sent.md5_of_system_attributes,
        ),
        ("SequenceNumber", sent.sequence_number),
    ];
    let given = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))));
    Value::Object(given.collect::<Map<_, _>>())
}
