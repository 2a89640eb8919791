//! SendMessage and SendMessageBatch. The entries of a batch are handed to the store's writer together and in order, so
//! that they share its commit and a message group keeps its order.
//!
//! The store finds duplicates per queue. A queue whose `DeduplicationScope` is `messageGroup` is given ids that hold the
//! group; the id as it was sent travels beside it, in [`SENT_ID`].

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::message::{Attribute, AttributeValue, md5_of_attributes, sqs_text};
use crate::store::{NewMessage, Sent};

use super::attributes::{SCOPE, SCOPE_GROUP};
use super::batch;
use super::fault::{Code, Fault};
use super::input::{AttributeInputs, Input, required};
use super::message_attributes::{message_attributes, system_attributes};
use super::queues::{Answer, Queues};

/// Bytes of all bodies and attributes of a batch (SQS).
const BATCH_BYTES: usize = 1 << 20;
/// The longest delay, in seconds (SQS).
const LONGEST_DELAY: i64 = 900;

/// The system attribute that holds the deduplication id as it was sent, where the store was given another.
pub const SENT_ID: &str = "MessageDeduplicationId";

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

/// What a send has to know about its queue.
#[derive(Clone, Copy)]
struct Kind {
    fifo: bool,
    content_based: bool,
    /// Duplicates are found per message group.
    per_group: bool,
}

impl Queues<'_> {
    pub(super) async fn send_message(&self, input: Input) -> Answer {
        let input: MessageInput = input.read()?;
        let queue = self.named(input.queue_url.clone())?;
        let kind = self.kind(&queue)?;
        kind.check_ids(&input)?;
        self.send(&queue, input, kind).await
    }

    pub(super) async fn send_message_batch(&self, input: Input) -> Answer {
        let input: BatchInput = input.read()?;
        let queue = self.named(input.queue_url)?;
        let kind = self.kind(&queue)?;
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
        // The service refuses the whole batch for these, and an entry alone for everything else.
        entries.iter().try_for_each(|entry| kind.check_ids(entry))?;
        let sends = entries
            .into_iter()
            .map(|entry| self.send(&queue, entry, kind));
        // Polled in order, each up to its place in the writer's line, before any is waited for.
        let fates = join_all(sends).await;
        batch::answer(ids.into_iter().zip(fates).collect())
    }

    fn kind(&self, queue: &str) -> Result<Kind, Fault> {
        let facts = self.facts(queue)?;
        Ok(Kind {
            fifo: facts.spec.fifo,
            content_based: facts.spec.content_based_deduplication,
            per_group: facts
                .extra
                .get(SCOPE)
                .is_some_and(|scope| scope == SCOPE_GROUP),
        })
    }

    async fn send(&self, queue: &str, input: MessageInput, kind: Kind) -> Answer {
        let mut message = new_message(input, kind)?;
        let digest = md5_of_attributes(&message.system_attributes);
        if kind.per_group {
            scope_to_group(&mut message);
        }
        let mut done = self.store.send(queue, message).await?;
        done.md5_of_system_attributes = digest;
        Ok(sent(done))
    }
}

impl Kind {
    /// A FIFO queue needs a message's group, and something to know it again by.
    fn check_ids(self, input: &MessageInput) -> Result<(), Fault> {
        if !self.fifo {
            return Ok(());
        }
        if input.message_group_id.is_none() {
            return Err(Fault::missing("MessageGroupId"));
        }
        if input.message_deduplication_id.is_none() && !self.content_based {
            return Err(crate::store::StoreError::MissingDeduplicationId.into());
        }
        Ok(())
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

fn new_message(input: MessageInput, kind: Kind) -> Result<NewMessage, Fault> {
    let body = required(input.message_body, "MessageBody")?;
    if let Err(at) = sqs_text(body.as_bytes()) {
        let found = body[at..].chars().next().map_or(0, u32::from);
        return Err(Code::InvalidMessageContents.because(format!(
            "Invalid binary character '#x{found:X}' was found in the message body, the set of allowed characters is \
             #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
        )));
    }
    let delay = delay(input.delay_seconds, kind.fifo)?;
    check_id("MessageGroupId", input.message_group_id.as_ref())?;
    check_id(
        "MessageDeduplicationId",
        input.message_deduplication_id.as_ref(),
    )?;
    let mut deduplication_id = input.message_deduplication_id;
    if !kind.fifo
        && let Some(id) = deduplication_id
    {
        return Err(Fault::value(
            "MessageDeduplicationId",
            id,
            "The request includes a parameter that is not valid for this queue type.",
        ));
    }
    if kind.content_based && deduplication_id.is_none() {
        deduplication_id = Some(sha256(&[body.as_bytes()]));
    }
    Ok(NewMessage {
        body: Bytes::from(body),
        attributes: message_attributes(input.message_attributes)?,
        system_attributes: system_attributes(input.message_system_attributes)?,
        delay,
        group_id: input.message_group_id,
        deduplication_id,
    })
}

fn delay(seconds: Option<i64>, fifo: bool) -> Result<Option<Duration>, Fault> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    if !(0..=LONGEST_DELAY).contains(&seconds) {
        let rule = format!("DelaySeconds must be >= 0 and <= {LONGEST_DELAY}.");
        return Err(Fault::value("DelaySeconds", seconds, &rule));
    }
    if fifo && seconds > 0 {
        let rule = "The request include parameter that is not valid for this queue type.";
        return Err(Fault::value("DelaySeconds", seconds, rule));
    }
    Ok((!fifo).then(|| Duration::from_secs(seconds.unsigned_abs())))
}

fn check_id(name: &str, id: Option<&String>) -> Result<(), Fault> {
    let fits =
        |id: &String| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    match id {
        Some(id) if !fits(id) => {
            let rule = format!(
                "{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
            );
            Err(Fault::value(name, id, &rule))
        }
        _ => Ok(()),
    }
}

/// Makes the id that the store sees differ between groups.
fn scope_to_group(message: &mut NewMessage) {
    let (Some(group), Some(id)) = (&message.group_id, message.deduplication_id.take()) else {
        return;
    };
    // No id holds a zero byte, so no two pairs are spelled alike.
    message.deduplication_id = Some(sha256(&[group.as_bytes(), b"\0", id.as_bytes()]));
    let sent = Attribute {
        data_type: "String".to_owned(),
        value: AttributeValue::String(id),
    };
    message.system_attributes.insert(SENT_ID.to_owned(), sent);
}

/// In hexadecimal digits.
fn sha256(parts: &[&[u8]]) -> String {
    let mut digest = Context::new(&SHA256);
    parts.iter().for_each(|part| digest.update(part));
    let digest = digest.finish();
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
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
