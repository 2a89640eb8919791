//! What can go wrong in the store, one enum per verb: open, declare, use.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why a store could not be opened. The files are as they were.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has the store and did not let go in time.
    #[error("the store is in use by another process{}: {} stayed locked for {waited:?}", holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), lock.display())]
    Locked {
        lock: PathBuf,
        holder: Option<u32>,
        waited: Duration,
    },
    /// The file is damaged, shortened, or no store of ours.
    #[error("the store's file {} is corrupt: {reason}; it has not been touched", file.display())]
    Corrupt { file: PathBuf, reason: String },
    /// A later version of Penstock wrote the file.
    #[error("the store's file {} has format {found}, and this version knows up to {known}", file.display())]
    NewerVersion {
        file: PathBuf,
        found: i64,
        known: i64,
    },
    /// The directory or the file cannot be written.
    #[error("the store's directory {} cannot be written: {reason}", path.display())]
    ReadOnly { path: PathBuf, reason: String },
    /// There is no room to start with.
    #[error("there is no room for the store in {}: {reason}", path.display())]
    Full { path: PathBuf, reason: String },
    /// `max_size` is too small to work with.
    #[error("the store's max_size of {max_size} bytes is below the smallest, {smallest}")]
    TooSmall { max_size: u64, smallest: u64 },
    /// Anything else that the system refused.
    #[error("the store in {} cannot be opened: {reason}", path.display())]
    Io { path: PathBuf, reason: String },
}

/// Why a set of queues was refused as a whole. Nothing has changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DeclareError {
    #[error("queue {queue:?} is declared twice")]
    Twice { queue: String },
    #[error("queue {queue:?}: {reason}")]
    Invalid { queue: String, reason: String },
    /// A queue is FIFO or standard for life.
    #[error(
        "queue {queue:?} exists as a {} queue; fifo cannot change", if *.was_fifo { "FIFO" } else { "standard" }
    )]
    FifoChanged { queue: String, was_fifo: bool },
    #[error("queue {queue:?} sends its dead letters to {to:?}, which does not exist")]
    UnknownRedrive { queue: String, to: String },
    #[error("dead letters would go round in a circle: {}", .queues.join(" → "))]
    RedriveCycle { queues: Vec<String> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the store takes no more messages.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FullReason {
    /// The configured size is used up.
    #[error("max_size of {max_size} bytes is used up")]
    MaxSize { max_size: u64 },
    /// Too little is free on the file system.
    #[error("{free} bytes are free on the file system, and {min_free} must stay free")]
    LowSpace { free: u64, min_free: u64 },
    /// The disk refused a write for lack of room.
    #[error("the disk is full")]
    Disk,
    /// Somebody reads the file for so long that its log cannot be emptied.
    #[error("a long-running reader of the database file keeps its log from being emptied")]
    LogHeld,
}

/// Why an operation was refused. Unless it is about a receipt handle, nothing was acknowledged and nothing is lost.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    #[error("there is no queue {0:?}")]
    UnknownQueue(String),
    /// Not a handle of this store and queue.
    #[error("the receipt handle is not valid for this queue")]
    ReceiptHandleInvalid,
    /// FIFO queues: the visibility timeout of that delivery is over.
    #[error("the receipt handle has expired")]
    ReceiptHandleExpired,
    /// Visibility can change only while that delivery of the message is in flight.
    #[error("the message does not exist or is not in flight")]
    MessageNotInFlight,
    #[error("the message is larger than the queue's limit of {limit} bytes")]
    MessageTooLarge { limit: u64 },
    #[error("a message to a FIFO queue needs a message group id")]
    MissingGroupId,
    #[error(
        "a message to a FIFO queue without content-based deduplication needs a deduplication id"
    )]
    MissingDeduplicationId,
    #[error("{0}")]
    InvalidParameter(String),
    /// The queue's own `max_size`.
    #[error("the queue is full: its max_size is {max_size} bytes")]
    QueueFull { max_size: u64 },
    #[error("the store is full: {0}")]
    Full(FullReason),
    /// Targets that are named by requests can be without number; spools cannot.
    #[error("{most} targets have a spool already, and no more can have one")]
    TooManySpools { most: usize },
    /// More waits for the disk than may wait: try again.
    #[error("the store is overloaded: too much waits for the disk")]
    Overloaded,
    /// The disk or the file fails. What was asked has not been acknowledged; it may still turn out to be stored.
    #[error("the store is unavailable: {reason}")]
    Unavailable { reason: String },
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the fault is ours and passes by itself, rather than the caller's.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            StoreError::QueueFull { .. }
                | StoreError::Full(_)
                | StoreError::TooManySpools { .. }
                | StoreError::Overloaded
                | StoreError::Unavailable { .. }
                | StoreError::Closed
        )
    }
}
