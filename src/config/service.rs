//! What routes write to: the embedded store with its queues. AWS has its settings in `aws`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::value::{ByteSize, QueueName, Span};

/// The embedded durable store.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The folder that holds it; made if missing. Default: `./data`, seen from where the gateway is started.
    pub path: Option<std::path::PathBuf>,
    /// The most it may take on disk, write-ahead log included. Over it new messages are refused with 503.
    /// Default: 10GiB.
    pub max_size: Option<ByteSize>,
    /// How long to wait for another process that holds the store. Default: 30s.
    pub wait: Option<Span>,
}

/// An embedded queue, with the semantics of SQS.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// How long a received message stays hidden from other receivers, 0s to 12h. Default: 30s.
    pub visibility_timeout: Option<Span>,
    /// How long a message is kept, 1m to 14d. Default: 4d.
    pub retention: Option<Span>,
    /// How long a new message stays hidden, 0s to 15m. Default: 0s.
    pub delay: Option<Span>,
    /// The largest message, attributes included, 1KiB to 1MiB. Default: 1MiB.
    pub max_message_size: Option<ByteSize>,
    /// The most that the queue may hold. Over it: 503. Default: no limit but the store's.
    pub max_size: Option<ByteSize>,
    /// Order within message groups, and deduplication for five minutes. The name must end in `.fifo`.
    pub fifo: Option<bool>,
    /// FIFO only: without a deduplication id the body's SHA-256 is one.
    pub content_based_deduplication: bool,
    /// Newest first. Not for FIFO queues.
    pub lifo: bool,
    /// Where messages go that are received too often without being deleted.
    pub redrive: Option<Redrive>,
}

/// A dead-letter queue, and when a message goes there.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    /// A declared queue of the same kind.
    pub to: QueueName,
    /// How often a message may be received, 1 to 1,000.
    #[schemars(range(min = 1, max = 1000))]
    pub max_receive_count: u32,
}
