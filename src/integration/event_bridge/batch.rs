//! PutEvents with the events of several callers, and what became of each. The answer has them in the order of the
//! call.

use tokio::time::Instant;

use super::{EventPut, PutEvents, Request};
use crate::integration::batch::{Batched, Entries};
use crate::integration::refusal::{Lost, Service, TargetError};
use crate::integration::{Called, Targets, within};

impl Batched for PutEvents {
    fn can_share(_: &Request) -> bool {
        true
    }

    fn same_target(a: &Request, b: &Request) -> bool {
        let ([one], [other]) = (&a.entries, &b.entries);
        one.event_bus_name == other.event_bus_name && a.region == b.region
    }

    async fn call_batch(
        requests: &[&Request],
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Entries<EventPut>, TargetError> {
        use aws_sdk_eventbridge::operation::RequestId as _;
        let (service, lost) = (Service::EventBridge, Lost::MayHaveHappened);
        let region = requests
            .first()
            .and_then(|request| request.region.as_deref());
        let client = targets.aws.eventbridge(region, deadline).await;
        let client = client.map_err(|error| TargetError::from_call(service, lost, error))?;
        let entries = requests.iter().map(|request| {
            let [entry] = &request.entries;
            entry.clone().sdk()
        });
        let call = client.put_events().set_entries(Some(entries.collect()));
        let output = within(Box::pin(call.send()), service, lost, deadline).await?;
        let request_id = output.request_id().map(str::to_owned);
        let verdicts = output.entries.unwrap_or_default();
        if verdicts.len() != requests.len() {
            // nobody knows which of them is missing
            let missing = || Err(TargetError::no_receipt(service, "a verdict on each event"));
            return Ok(requests.iter().map(|_| missing()).collect());
        }
        let verdicts = verdicts.into_iter().map(|entry| {
            Ok(Called {
                answer: EventPut::from(Some(entry), 0)?,
                request_id: request_id.clone(),
            })
        });
        Ok(verdicts.collect())
    }
}
