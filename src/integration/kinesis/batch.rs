//! PutRecords: several callers' records in one call, and what became of each. The answer has them in the order of the
//! call.

use tokio::time::Instant;

use super::{Put, PutRecord, Request, wire};
use crate::aws::Operation;
use crate::integration::batch::{Batched, Entries};
use crate::integration::refusal::{Service, TargetError};
use crate::integration::{Called, Targets, called};

impl Batched for PutRecord {
    /// PutRecords has no `SequenceNumberForOrdering`.
    fn can_share(request: &Request) -> bool {
        request.sequence_number_for_ordering.is_none()
    }

    fn same_target(a: &Request, b: &Request) -> bool {
        a.stream_name == b.stream_name && a.region == b.region
    }

    async fn call_batch(
        requests: &[&Request],
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Entries<Put>, TargetError> {
        let Some(first) = requests.first() else {
            return Ok(Vec::new());
        };
        let records: Vec<_> = requests.iter().map(|request| request.record()).collect();
        let called: Called<wire::Verdicts> = called(
            targets,
            Operation::PutRecords,
            Service::Kinesis,
            first.region.as_deref(),
            wire::batch(&first.stream_name, &records),
            deadline,
        )
        .await?;
        Ok(verdicts(requests.len(), called))
    }
}

/// What became of each of so many records.
fn verdicts(records: usize, called: Called<wire::Verdicts>) -> Entries<Put> {
    let service = Service::Kinesis;
    let Called { answer, request_id } = called;
    let verdicts = answer.records.unwrap_or_default();
    if verdicts.len() != records {
        // nobody knows which of them is missing
        let missing = || Err(TargetError::no_receipt(service, "a verdict on each record"));
        return (0..records).map(|_| missing()).collect();
    }
    let encryption_type = answer.encryption_type;
    let verdicts = verdicts.into_iter().map(|verdict| {
        if let Some(code) = verdict.error_code.filter(|code| !code.is_empty()) {
            let message = verdict.error_message.unwrap_or_default();
            return Err(TargetError::of_entry(service, 200, code, message));
        }
        Ok(Called {
            answer: Put::confirmed(
                verdict.sequence_number,
                verdict.shard_id,
                encryption_type.clone(),
            )?,
            request_id: request_id.clone(),
        })
    });
    verdicts.collect()
}
