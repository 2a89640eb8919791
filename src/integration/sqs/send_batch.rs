//! SendMessageBatch: several callers' messages in one call, and what became of each.

use std::collections::HashMap;

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use tokio::time::Instant;

use super::Queue;
use super::send::{Request, SendMessage, sdk_attribute, sdk_system_attribute, text, unbuilt};
use super::sent::{Digests, Sent};
use crate::integration::batch::{Batched, Entries};
use crate::integration::refusal::{Lost, Service, TargetError};
use crate::integration::{Called, Targets, within};

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
        use aws_sdk_sqs::operation::RequestId as _;
        let lost = Lost::MayHaveHappened;
        let Some(Request {
            queue: Queue::Aws { url, .. },
            ..
        }) = requests.first()
        else {
            return Ok(Vec::new()); // never: such requests do not share calls
        };
        let region = requests.first().and_then(|request| request.region());
        let client = targets.aws.sqs(region, deadline).await;
        let client = client.map_err(|error| TargetError::from_call(Service::Sqs, lost, error))?;
        let mut call = client.send_message_batch().queue_url(url);
        // an entry that cannot be built is refused by itself
        let mut verdicts: HashMap<usize, Result<Sent, TargetError>> = HashMap::new();
        for (place, request) in requests.iter().enumerate() {
            match entry(place, request) {
                Ok(entry) => call = call.entries(entry),
                Err(error) => {
                    verdicts.insert(place, Err(error));
                }
            }
        }
        if verdicts.len() == requests.len() {
            return Ok(in_order(requests.len(), verdicts, None));
        }
        let output = within(Box::pin(call.send()), Service::Sqs, lost, deadline).await?;
        let request_id = output.request_id().map(str::to_owned);
        let place_of = |id: &str| id.parse().ok().filter(|place| *place < requests.len());
        for entry in output.successful {
            let Some(place) = place_of(&entry.id) else {
                continue;
            };
            let sent = Sent {
                message_id: entry.message_id,
                md5_of_body: entry.md5_of_message_body,
                md5_of_attributes: entry.md5_of_message_attributes,
                md5_of_system_attributes: entry.md5_of_message_system_attributes,
                sequence_number: entry.sequence_number,
            };
            verdicts.insert(place, Digests::of(requests[place]).confirm(sent));
        }
        for entry in output.failed {
            let Some(place) = place_of(&entry.id) else {
                continue;
            };
            let status = if entry.sender_fault { 400 } else { 500 };
            let message = entry.message.unwrap_or_default();
            let error = TargetError::of_entry(Service::Sqs, status, entry.code, message);
            // what stands in both lists is in neither
            let error = match verdicts.get(&place) {
                Some(Ok(_)) => TargetError::no_receipt(Service::Sqs, "one verdict on the entry"),
                _ => error,
            };
            verdicts.insert(place, Err(error));
        }
        Ok(in_order(requests.len(), verdicts, request_id))
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

fn entry(place: usize, request: &Request) -> Result<SendMessageBatchRequestEntry, TargetError> {
    use aws_sdk_sqs::types::MessageSystemAttributeNameForSends as SystemName;
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(place.to_string())
        .message_body(text(request.body.0.clone())?)
        .set_delay_seconds(request.delay_seconds)
        .set_message_deduplication_id(request.deduplication_id.clone())
        .set_message_group_id(request.group_id.clone());
    for (name, attribute) in &request.attributes {
        entry = entry.message_attributes(name, sdk_attribute(attribute.clone())?);
    }
    for (name, attribute) in &request.system_attributes {
        entry = entry.message_system_attributes(
            SystemName::from(name.as_str()),
            sdk_system_attribute(attribute.clone())?,
        );
    }
    entry.build().map_err(unbuilt)
}
