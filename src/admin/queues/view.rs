//! Queues and messages as JSON. Names are camelCase; times are RFC 3339; a body that is not UTF-8 is base64, and says so.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::model::message::Attributes;
use crate::store::{Death, Delivery, Health, Peeked, QueueStats, Standing, Store};

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A standard queue.
    Queue,
    Fifo,
    /// Records on their way to a target.
    Spool,
    /// Records that a target refused.
    DeadLetters,
}

impl Kind {
    /// Told by the name: `:` is in no name that people give.
    pub fn of(queue: &str) -> Kind {
        if queue.starts_with("spool:") {
            Kind::Spool
        } else if queue.starts_with("dead:") {
            Kind::DeadLetters
        } else if queue.ends_with(".fifo") {
            Kind::Fifo
        } else {
            Kind::Queue
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Queue => "queue",
            Kind::Fifo => "fifo",
            Kind::Spool => "spool",
            Kind::DeadLetters => "dead letters",
        }
    }
}

/// All queues, and how the store is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    pub queues: Vec<QueueView>,
    /// Database and log on disk.
    pub file_bytes: u64,
    /// `healthy`, or what is wrong.
    pub health: String,
    /// Commits that had been synced and were missing when the store was opened.
    pub lost_commits: u64,
    /// Whether nothing expires because the clock stepped.
    pub expiry_suspended: bool,
}

/// A queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueView {
    pub name: String,
    pub kind: Kind,
    /// Whether the current configuration names it.
    pub declared: bool,
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
    pub bytes: u64,
    pub oldest_age_seconds: Option<f64>,
    /// The queues whose dead letters come here.
    pub dead_letters_of: Vec<String>,
    pub ledger: LedgerView,
}

/// `accepted + imported = depth + deleted + forwarded + deadLettered + expired + purged + damaged`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerView {
    pub accepted: u64,
    pub imported: u64,
    pub deleted: u64,
    pub forwarded: u64,
    pub dead_lettered: u64,
    pub expired: u64,
    pub purged: u64,
    pub damaged: u64,
    pub duplicates: u64,
}

impl QueueView {
    fn of(store: &Store, queue: &QueueStats) -> QueueView {
        let ledger = &queue.ledger;
        QueueView {
            name: queue.name.clone(),
            kind: Kind::of(&queue.name),
            declared: queue.declared,
            visible: queue.visible,
            in_flight: queue.in_flight,
            delayed: queue.delayed,
            bytes: queue.bytes,
            oldest_age_seconds: queue.oldest_age.map(|age| age.as_secs_f64()),
            dead_letters_of: store.dead_letter_sources(&queue.name),
            ledger: LedgerView {
                accepted: ledger.accepted,
                imported: ledger.imported,
                deleted: ledger.deleted,
                forwarded: ledger.forwarded,
                dead_lettered: ledger.dead_lettered,
                expired: ledger.expired,
                purged: ledger.purged,
                damaged: ledger.damaged,
                duplicates: ledger.duplicates,
            },
        }
    }

    /// Spools and their dead letters: where the records are to go.
    pub fn target(&self) -> Option<&str> {
        target_of(&self.name)
    }

    /// All messages in the queue.
    pub fn depth(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

fn target_of(queue: &str) -> Option<&str> {
    queue
        .strip_prefix("spool:")
        .or_else(|| queue.strip_prefix("dead:"))
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    Base64,
}

/// A message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageView {
    /// Its place in the queue; deliveries have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
    pub message_id: String,
    /// For deleting it; only on deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt_handle: Option<String>,
    /// `ready`, `delayed` or `in-flight`.
    pub state: String,
    pub sent_at: String,
    pub receive_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication_id: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub system_attributes: BTreeMap<String, Value>,
    /// Spools and their dead letters: where the record is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The request that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<DeathView>,
    /// Bytes of the body as it is stored.
    pub body_bytes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_encoding: Option<Encoding>,
    pub body: String,
}

/// Why a record is a dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeathView {
    pub code: String,
    pub detail: String,
    pub attempts: u32,
    pub first_attempt_at: String,
    pub last_attempt_at: String,
}

impl MessageView {
    /// A message that lies in its queue.
    pub(super) fn peeked(queue: &str, message: &Peeked) -> MessageView {
        let target = target_of(queue);
        let state = match message.standing {
            Standing::Ready => "ready",
            Standing::Delayed => "delayed",
            Standing::InFlight => "in-flight",
        };
        let (body, body_encoding) = text_or_base64(&message.body);
        MessageView {
            number: Some(message.number),
            message_id: message.id.clone(),
            receipt_handle: None,
            state: state.to_owned(),
            sent_at: moment(message.sent_at),
            receive_count: message.receive_count,
            group_id: message.group_id.clone(),
            deduplication_id: message.deduplication_id.clone(),
            attributes: as_json(&message.attributes),
            system_attributes: as_json(&message.system_attributes),
            target: target.map(str::to_owned),
            context: message.context.as_deref().map(json_or_text),
            death: message.death.as_ref().map(DeathView::of),
            body_bytes: message.body.len(),
            body_encoding,
            body,
        }
    }

    /// A message that was received.
    pub(super) fn delivered(message: &Delivery) -> MessageView {
        let (body, body_encoding) = text_or_base64(&message.body);
        MessageView {
            number: None,
            message_id: message.message_id.clone(),
            receipt_handle: Some(message.receipt_handle.clone()),
            state: "in-flight".to_owned(),
            sent_at: moment(message.sent_timestamp),
            receive_count: message.receive_count,
            group_id: message.group_id.clone(),
            deduplication_id: message.deduplication_id.clone(),
            attributes: as_json(&message.attributes),
            system_attributes: as_json(&message.system_attributes),
            target: None,
            context: None,
            death: None,
            body_bytes: message.body.len(),
            body_encoding,
            body,
        }
    }
}

impl DeathView {
    fn of(death: &Death) -> DeathView {
        DeathView {
            code: death.code.clone(),
            detail: death.detail.clone(),
            attempts: death.attempts,
            first_attempt_at: moment(death.first_attempt_at),
            last_attempt_at: moment(death.last_attempt_at),
        }
    }
}

/// The listing of a store.
pub(super) fn listing(store: &Store) -> Listing {
    let stats = store.stats();
    Listing {
        queues: stats
            .queues
            .iter()
            .map(|queue| QueueView::of(store, queue))
            .collect(),
        file_bytes: stats.file_bytes,
        health: health_words(&stats.health),
        lost_commits: stats.lost_commits,
        expiry_suspended: stats.expiry_suspended,
    }
}

/// The store's health in words.
pub fn health_words(health: &Health) -> String {
    match health {
        Health::Healthy => "healthy".to_owned(),
        Health::Full(reason) => format!("full: {reason}"),
        Health::Failed(reason) => format!("failed: {reason}"),
    }
}

/// Milliseconds since 1970 in RFC 3339; the bare number where no calendar has the day.
pub fn moment(millis: i64) -> String {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&form).ok())
        .unwrap_or_else(|| millis.to_string())
}

fn text_or_base64(body: &[u8]) -> (String, Option<Encoding>) {
    match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (STANDARD.encode(body), Some(Encoding::Base64)),
    }
}

fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

fn as_json(attributes: &Attributes) -> BTreeMap<String, Value> {
    attributes
        .iter()
        .map(|(name, attribute)| (name.clone(), json!(attribute)))
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn peeked(body: &'static [u8]) -> Peeked {
        Peeked {
            number: 7,
            id: "id".into(),
            standing: Standing::Ready,
            body: Bytes::from_static(body),
            attributes: Attributes::new(),
            system_attributes: Attributes::new(),
            sent_at: 1_700_000_000_123,
            receive_count: 0,
            group_id: None,
            deduplication_id: None,
            context: Some(r#"{"requestId":"r"}"#.into()),
            death: None,
        }
    }

    #[test]
    fn a_body_that_is_not_utf8_is_base64_and_says_so() {
        let text = MessageView::peeked("q", &peeked("héllo".as_bytes()));
        assert_eq!((text.body.as_str(), text.body_encoding), ("héllo", None));
        let bytes = MessageView::peeked("q", &peeked(b"\xff\x00"));
        assert_eq!(bytes.body, "/wA=");
        assert_eq!(bytes.body_encoding, Some(Encoding::Base64));
        assert_eq!(bytes.body_bytes, 2);
    }

    #[test]
    fn a_record_of_a_spool_names_its_target_and_its_request() {
        let view = MessageView::peeked("dead:sqs:https://x/orders", &peeked(b"{}"));
        assert_eq!(view.target.as_deref(), Some("sqs:https://x/orders"));
        assert_eq!(view.context, Some(json!({"requestId": "r"})));
        assert_eq!(view.sent_at, "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn what_is_written_as_json_is_read_back() {
        let view = MessageView::peeked("q", &peeked(b"x"));
        let text = serde_json::to_string(&view).unwrap();
        let back: MessageView = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        assert!(!text.contains("receiptHandle"), "{text}");
    }
}
