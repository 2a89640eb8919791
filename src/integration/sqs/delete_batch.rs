//! DeleteMessageBatch: several callers' deletes from one queue in one call, and what became of each.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use super::delete::{DeleteMessage, Deleted, Request};
use super::{Queue, wire};
use crate::aws::{Body, Operation};
use crate::integration::batch::{Batched, Entries};
use crate::integration::refusal::{Service, TargetError};
use crate::integration::{Called, Targets, called};

/// What stands around a receipt handle, about.
const AROUND: usize = 48;

/// The answer to DeleteMessageBatch (API reference).
#[derive(Debug, Deserialize)]
struct Verdicts {
    #[serde(rename = "Successful")]
    successful: Option<Vec<Gone>>,
    #[serde(rename = "Failed")]
    failed: Option<Vec<wire::Failed>>,
}

/// An entry whose message is deleted.
#[derive(Debug, Deserialize)]
struct Gone {
    #[serde(rename = "Id")]
    id: Option<String>,
}

impl Batched for DeleteMessage {
    fn can_share(request: &Request) -> bool {
        !request.is_embedded()
    }

    fn same_target(a: &Request, b: &Request) -> bool {
        a.queue() == b.queue() && a.region() == b.region()
    }

    async fn call_batch(
        requests: &[&Request],
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Entries<Deleted>, TargetError> {
        let Some(first) = requests.first() else {
            return Ok(Vec::new());
        };
        let Queue::Aws { url, .. } = first.queue() else {
            return Ok(Vec::new()); // never: such requests do not share calls
        };
        let called: Called<Verdicts> = called(
            targets,
            Operation::DeleteMessageBatch,
            Service::Sqs,
            first.region(),
            body(url, requests),
            deadline,
        )
        .await?;
        let place_of = |id: Option<String>| {
            let place: Option<usize> = id.and_then(|id| id.parse().ok());
            place.filter(|place| *place < requests.len())
        };
        let mut verdicts: HashMap<usize, Result<Deleted, TargetError>> = HashMap::new();
        for gone in called.answer.successful.unwrap_or_default() {
            if let Some(place) = place_of(gone.id) {
                verdicts.insert(place, Ok(Deleted));
            }
        }
        for mut failed in called.answer.failed.unwrap_or_default() {
            let Some(place) = place_of(failed.id.take()) else {
                continue;
            };
            // what stands in both lists is in neither
            let error = match verdicts.get(&place) {
                Some(Ok(_)) => TargetError::no_receipt(Service::Sqs, "one verdict on the entry"),
                _ => TargetError::from(failed),
            };
            verdicts.insert(place, Err(error));
        }
        let entries = (0..requests.len()).map(|place| {
            let missing = || {
                Err(TargetError::no_receipt(
                    Service::Sqs,
                    "a verdict on the entry",
                ))
            };
            let verdict = verdicts.remove(&place).unwrap_or_else(missing);
            verdict.map(|answer| Called {
                answer,
                request_id: called.request_id.clone(),
            })
        });
        Ok(entries.collect())
    }
}

/// The ids are the places.
fn body(url: &str, requests: &[&Request]) -> Bytes {
    let handles = requests.iter().map(|request| request.size() + AROUND);
    let mut body = Body::with_capacity(url.len() + AROUND + handles.sum::<usize>());
    body.raw("{\"QueueUrl\":").text(url).raw(",\"Entries\":");
    let mut before = "[";
    for (place, request) in requests.iter().enumerate() {
        body.raw(before).raw("{\"Id\":\"").number(place).raw("\"");
        body.member("ReceiptHandle").text(request.receipt_handle());
        body.raw("}");
        before = ",";
    }
    body.raw("]}");
    body.finish()
}
