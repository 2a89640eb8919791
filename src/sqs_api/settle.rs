//! What a consumer says about messages it has received: DeleteMessage, ChangeMessageVisibility, and their batches.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::store::StoreError;

use super::batch;
use super::fault::{Code, Fault};
use super::input::{Input, required};
use super::queues::{Answer, Queues};

/// The longest visibility timeout, in seconds (SQS).
const LONGEST: i64 = 43_200;

/// One message, as the single actions and the entries of their batches have it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct SettleInput {
    id: Option<String>,
    queue_url: Option<String>,
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BatchInput {
    queue_url: Option<String>,
    entries: Option<Vec<SettleInput>>,
}

impl Queues<'_> {
    pub(super) async fn delete_message(&self, input: Input) -> Answer {
        let input: SettleInput = input.read()?;
        let queue = self.named(input.queue_url.clone())?;
        self.is_fifo(&queue)?;
        self.delete(&queue, input).await
    }

    pub(super) async fn delete_message_batch(&self, input: Input) -> Answer {
        let input: BatchInput = input.read()?;
        let queue = self.named(input.queue_url)?;
        self.is_fifo(&queue)?;
        let entries = input.entries.unwrap_or_default();
        let ids = entries.iter().map(|entry| &entry.id);
        let ids = batch::checked_ids("DeleteMessageBatchRequestEntry", ids)?;
        let handles = handles(&entries);
        let fates = entries.into_iter().map(|entry| self.delete(&queue, entry));
        let fates = join_all(fates).await.into_iter().zip(handles).map(as_entry);
        batch::answer(ids.into_iter().zip(fates).collect())
    }

    pub(super) async fn change_message_visibility(&self, input: Input) -> Answer {
        let input: SettleInput = input.read()?;
        let queue = self.named(input.queue_url.clone())?;
        self.is_fifo(&queue)?;
        self.change_visibility(&queue, input).await
    }

    pub(super) async fn change_message_visibility_batch(&self, input: Input) -> Answer {
        let input: BatchInput = input.read()?;
        let queue = self.named(input.queue_url)?;
        self.is_fifo(&queue)?;
        let entries = input.entries.unwrap_or_default();
        let ids = entries.iter().map(|entry| &entry.id);
        let ids = batch::checked_ids("ChangeMessageVisibilityBatchRequestEntry", ids)?;
        let handles = handles(&entries);
        let fates = entries
            .into_iter()
            .map(|entry| self.change_visibility(&queue, entry));
        let fates = join_all(fates).await.into_iter().zip(handles).map(as_entry);
        batch::answer(ids.into_iter().zip(fates).collect())
    }

    async fn delete(&self, queue: &str, input: SettleInput) -> Answer {
        let handle = required(input.receipt_handle, "ReceiptHandle")?;
        let deleted = self.store.delete(queue, &handle).await;
        deleted.map_err(|error| of_handle(error, &handle))?;
        Ok(Value::Null)
    }

    async fn change_visibility(&self, queue: &str, input: SettleInput) -> Answer {
        let handle = required(input.receipt_handle, "ReceiptHandle")?;
        let timeout = input
            .visibility_timeout
            .ok_or_else(|| Fault::missing("VisibilityTimeout"))?;
        if !(0..=LONGEST).contains(&timeout) {
            let rule = "Must be between 0 and 43200.";
            return Err(Fault::value("VisibilityTimeout", timeout, rule));
        }
        let timeout = Duration::from_secs(timeout.unsigned_abs());
        let changed = self.store.change_visibility(queue, &handle, timeout).await;
        changed.map_err(|error| of_handle(error, &handle))?;
        Ok(Value::Null)
    }
}

/// Names the handle, as the service does.
fn of_handle(error: StoreError, handle: &str) -> Fault {
    match error {
        StoreError::ReceiptHandleExpired => {
            Fault::value("ReceiptHandle", handle, "The receipt handle has expired.")
        }
        error => error.into(),
    }
}

fn handles(entries: &[SettleInput]) -> Vec<String> {
    let handle = |entry: &SettleInput| entry.receipt_handle.clone().unwrap_or_default();
    entries.iter().map(handle).collect()
}

/// An action without a result is an entry with its id alone. Of a wrong handle the service says more in a batch than
/// elsewhere: which it was.
fn as_entry((fate, handle): (Answer, String)) -> Answer {
    match fate {
        Ok(_) => Ok(json!({})),
        Err(fault) if fault.code == Code::ReceiptHandleIsInvalid => Err(fault.code.because(
            format!("The input receipt handle \"{handle}\" is not a valid receipt handle."),
        )),
        Err(fault) => Err(fault),
    }
}
