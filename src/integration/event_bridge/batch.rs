//! PutEvents with the events of several callers, and what became of each. The answer has them in the order of the
//! call.

use tokio::time::Instant;

use super::{EventPut, PutEvents, Request, wire};
use crate::aws::Operation;
use crate::integration::batch::{Batched, Entries};
use crate::integration::refusal::{Service, TargetError};
use crate::integration::{Called, Targets, called};

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
        let service = Service::EventBridge;
        let region = requests
            .first()
            .and_then(|request| request.region.as_deref());
        let called: Called<wire::Verdicts> = called(
            targets,
            Operation::PutEvents,
            service,
            region,
            wire::events(requests.iter().flat_map(|request| &request.entries))?,
            deadline,
        )
        .await?;
        let Called { answer, request_id } = called;
        let verdicts = answer.entries.unwrap_or_default();
        if verdicts.len() != requests.len() {
            // nobody knows which of them is missing
            let missing = || Err(TargetError::no_receipt(service, "a verdict on each event"));
            return Ok(requests.iter().map(|_| missing()).collect());
        }
        let verdicts = verdicts.into_iter().map(|verdict| {
            Ok(Called {
                answer: EventPut::from(Some(verdict), 0)?,
                request_id: request_id.clone(),
            })
        });
        Ok(verdicts.collect())
    }
}
