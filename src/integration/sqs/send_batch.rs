//! SendMessageBatch: several callers' messages in one call, and what became of each.

use std::collections::HashMap;

use tokio::time::Instant;

use super::send::{Request, SendMessage};
use super::sent::{Digests, Sent};
use super::{Queue, wire};
use crate::aws::Operation;
use crate::integration::batch::{Batched, Entries};
use crate::integration::refusal::{Service, TargetError};
use crate::integration::{Called, Targets, called};

impl Batched for SendMessage {
    fn can_share(request: &Request) -> bool {
        matches!(request.queue, Queue::Aws { .. })
    }

    fn same_target(a: &Request, b: &Request) -> bool {
        a.queue == b.queue && a.region() == b.region()
    }

    async fn call_batch(
        requests: &[&Request],
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Entries<Sent>, TargetError> {
        let Some(Request {
            queue: Queue::Aws { url, .. },
            ..
        }) = requests.first()
        else {
            return Ok(Vec::new()); // never: such requests do not share calls
        };
        let region = requests.first().and_then(|request| request.region());
        // an entry that SQS could not hold is refused by itself
        let mut verdicts: HashMap<usize, Result<Sent, TargetError>> = HashMap::new();
        let mut entries = Vec::with_capacity(requests.len());
        for (place, request) in requests.iter().enumerate() {
            match wire::text(request) {
                Ok(text) => entries.push((place, *request, text)),
                Err(error) => {
                    verdicts.insert(place, Err(error));
                }
            }
        }
        if entries.is_empty() {
            return Ok(in_order(requests.len(), verdicts, None));
        }
        let called: Called<wire::Verdicts> = called(
            targets,
            Operation::SendMessageBatch,
            Service::Sqs,
            region,
            wire::batch(url, &entries),
            deadline,
        )
        .await?;
        let place_of = |id: &Option<String>| {
            let place: Option<usize> = id.as_ref().and_then(|id| id.parse().ok());
            place.filter(|place| *place < requests.len())
        };
        let successful = called.answer.successful.unwrap_or_default();
        for taken in successful {
            let Some(place) = place_of(&taken.id) else {
                continue;
            };
            let sent = Digests::of(requests[place]).confirm(Sent::from(taken));
            verdicts.insert(place, sent);
        }
        let failed = called.answer.failed.unwrap_or_default();
        for failed in failed {
            let Some(place) = place_of(&failed.id) else {
                continue;
            };
            // what stands in both lists is in neither
            let error = match verdicts.get(&place) {
                Some(Ok(_)) => TargetError::no_receipt(Service::Sqs, "one verdict on the entry"),
                _ => TargetError::from(failed),
            };
            verdicts.insert(place, Err(error));
        }
        Ok(in_order(requests.len(), verdicts, called.request_id))
    }
}

/// The verdicts by place; an entry that the answer does not name has none.
fn in_order(
    entries: usize,
    mut verdicts: HashMap<usize, Result<Sent, TargetError>>,
    request_id: Option<String>,
) -> Entries<Sent> {
    (0..entries)
        .map(|place| {
            let missing = || {
                Err(TargetError::no_receipt(
                    Service::Sqs,
                    "a verdict on the entry",
                ))
            };
            let verdict = verdicts.remove(&place).unwrap_or_else(missing);
            verdict.map(|answer| Called {
                answer,
                request_id: request_id.clone(),
            })
        })
        .collect()
}
