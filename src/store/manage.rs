//! Queues made, changed and removed by their users while the gateway runs, as SQS lets them; beside those that the
//! configuration declares.

use std::collections::BTreeMap;

use thiserror::Error;

use super::Store;
use super::error::{DeclareError, StoreError};
use super::spec::QueueSpec;

/// What SQS keeps for a queue and does not act on here (`Policy`, `KmsMasterKeyId`, `RedriveAllowPolicy`, …).
pub type Extra = BTreeMap<String, String>;

/// Tags of a queue.
pub type Tags = BTreeMap<String, String>;

/// A queue as its users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFacts {
    pub spec: QueueSpec,
    pub extra: Extra,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub modified_at: i64,
    /// Whether the configuration declares it.
    pub declared: bool,
}

/// Why a queue could not be made, changed or removed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ManageError {
    #[error("there is a queue of that name with other attributes")]
    ExistsOtherwise,
    #[error("the configuration declares the queue; it is removed there")]
    Declared,
    #[error(transparent)]
    Refused(#[from] DeclareError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes a queue; one that exists with the same attributes is no error.
    pub async fn create_queue(
        &self,
        spec: QueueSpec,
        extra: Extra,
        tags: Tags,
    ) -> Result<(), ManageError> {
        let _ = (spec, extra, tags);
        Err(StoreError::Closed.into())
    }

    /// Changes a queue's attributes. What the configuration declares is declared anew with the next start.
    pub async fn change_queue(&self, spec: QueueSpec, extra: Extra) -> Result<(), ManageError> {
        let _ = (spec, extra);
        Err(StoreError::Closed.into())
    }

    /// Removes a queue with all its messages.
    pub async fn delete_queue(&self, queue: &str) -> Result<(), ManageError> {
        let _ = queue;
        Err(StoreError::Closed.into())
    }

    /// The queue, if it exists. Spools are none.
    pub fn queue_facts(&self, queue: &str) -> Option<QueueFacts> {
        let _ = queue;
        None
    }

    /// Names of queues, in order. Spools are not among them.
    pub fn queue_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// The queue's tags.
    pub fn tags(&self, queue: &str) -> Result<Tags, StoreError> {
        let _ = queue;
        Err(StoreError::Closed)
    }

    /// Adds and removes tags.
    pub async fn change_tags(
        &self,
        queue: &str,
        set: Tags,
        removed: Vec<String>,
    ) -> Result<(), StoreError> {
        let _ = (queue, set, removed);
        Err(StoreError::Closed)
    }
}
