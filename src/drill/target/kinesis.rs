//! Kinesis: PutRecord and PutRecords, JSON 1.1.

use base64::Engine as _;
use serde_json::{Value, json};

use super::super::place::{Place, Service};
use super::protocol::{Fault, last, text};
use super::store::{Arrival, Outcome};

pub(super) const THROTTLED: Fault = Fault {
    status: 400,
    code: "ProvisionedThroughputExceededException",
    message: "Rate exceeded for shard shardId-000000000000",
};
pub(super) const INTERNAL: Fault = Fault {
    status: 500,
    code: "InternalFailure",
    message: "internal failure",
};

/// A record; `call` names the stream.
pub(super) fn arrival(call: &Value, entry: &Value) -> Arrival {
    let stream = match text(call, "StreamName") {
        "" => last(text(call, "StreamARN"), &['/']),
        name => name,
    };
    let data = text(entry, "Data");
    let content = base64::engine::general_purpose::STANDARD.decode(data);
    Arrival {
        place: Place::new(Service::Kinesis, stream),
        // What is no base64 is kept as it came; it will not be found.
        content: content.unwrap_or_else(|_| data.into()),
        rest: text(entry, "PartitionKey").to_owned(),
        group: Some(text(entry, "PartitionKey").to_owned()),
        once: None,
    }
}

/// The answer to one record.
pub(super) fn put(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Stored(number) | Outcome::Again(number) => json!({
            "ShardId": "shardId-000000000000", "SequenceNumber": format!("{number:056}"),
        }),
        Outcome::Exists | Outcome::Failed => json!({
            "ErrorCode": "InternalFailure", "ErrorMessage": "Internal service failure.",
        }),
    }
}

/// The answer to a batch.
pub(super) fn put_batch(outcomes: &[Outcome]) -> Value {
    let failed = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::Failed);
    json!({
        "FailedRecordCount": failed.count(),
        "Records": outcomes.iter().copied().map(put).collect::<Vec<_>>(),
    })
}
