//! PutRecords: several callers' records in one call, and what became of each. The answer has them in the order of the
//! call.

use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use aws_smithy_types::Blob;
use tokio::time::Instant;

use super::{Put, PutRecord, Request};
use crate::integration::batch::{Batched, Entries};
use crate::integration::refusal::{Lost, Service, TargetError};
use crate::integration::{Called, Targets, within};

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
        use aws_sdk_kinesis::operation::RequestId as _;
        let (service, lost) = (Service::Kinesis, Lost::MayHaveHappened);
        let Some(first) = requests.first() else {
            return Ok(Vec::new());
        };
        let region = first.region.as_deref();
        let client = targets.aws.kinesis(region, deadline).await;
        let client = client.map_err(|error| TargetError::from_call(service, lost, error))?;
        let mut call = client.put_records().stream_name(&first.stream_name);
        for request in requests {
            let record = PutRecordsRequestEntry::builder()
                .data(Blob::new(request.data.0.clone()))
                .partition_key(&request.partition_key)
                .set_explicit_hash_key(request.explicit_hash_key.clone())
                .build();
            let record = record.map_err(|error| TargetError::misused(service, &error.to_string()));
            call = call.records(record?);
        }
        let output = within(Box::pin(call.send()), service, lost, deadline).await?;
        let request_id = output.request_id().map(str::to_owned);
        if output.records.len() != requests.len() {
            // nobody knows which of them is missing
            let missing = || Err(TargetError::no_receipt(service, "a verdict on each record"));
            return Ok(requests.iter().map(|_| missing()).collect());
        }
        let encryption_type = output.encryption_type;
        let verdicts = output.records.into_iter().map(|record| {
            let code = record.error_code.filter(|code| !code.is_empty());
            let answer = match code {
                Some(code) => {
                    let message = record.error_message.unwrap_or_default();
                    return Err(TargetError::of_entry(service, 200, code, message));
                }
                None => Put::confirmed(
                    record.sequence_number.unwrap_or_default(),
                    record.shard_id.unwrap_or_default(),
                    encryption_type.clone(),
                )?,
            };
            Ok(Called {
                answer,
                request_id: request_id.clone(),
            })
        });
        Ok(verdicts.collect())
    }
}
