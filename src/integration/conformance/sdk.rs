//! The calls through the SDK, and its outputs' verdicts.

use aws_smithy_types::Blob;
use tokio::time::Instant;

use super::{PAYLOAD, Verdict, refused, taken};
use crate::aws::Clients;
use crate::integration::kind::within;
use crate::integration::refusal::{Class, Lost, Service, TargetError};
use crate::model::message::md5_of_body;

type Each = Result<Vec<Result<String, TargetError>>, TargetError>;

/// The verdict on a call of the SDK.
pub(super) async fn call(call: &str, clients: &Clients, deadline: Instant) -> Verdict {
    let verdicts = match call {
        "SendMessage" => Box::pin(send(clients, deadline)).await,
        "SendMessageBatch" => Box::pin(send_batch(clients, deadline)).await,
        "PutRecord" => Box::pin(put(clients, deadline)).await,
        "PutRecords" => Box::pin(put_batch(clients, deadline)).await,
        "PutEvents" => Box::pin(events(clients, 1, deadline)).await,
        _ => Box::pin(events(clients, 2, deadline)).await,
    };
    match verdicts {
        Err(error) => vec![refused(&error)],
        Ok(verdicts) => verdicts
            .into_iter()
            .map(|verdict| verdict.unwrap_or_else(|error| refused(&error)))
            .collect(),
    }
}

fn unready(service: Service) -> impl Fn(crate::aws::CallError) -> TargetError {
    move |error| TargetError::from_call(service, Lost::MayHaveHappened, error)
}

/// What the digest and the id say.
fn sent(id: &str, md5: &str, request_id: Option<&str>) -> Result<String, TargetError> {
    if id.is_empty() {
        return Err(TargetError::no_receipt(Service::Sqs, "a message's id"));
    }
    if md5 != md5_of_body(PAYLOAD.as_bytes()) {
        let code = "ChecksumMismatch";
        return Err(TargetError::new(
            Class::OutcomeUnknown,
            Service::Sqs,
            code,
            "",
        ));
    }
    Ok(taken(Some(id), request_id))
}

async fn send(clients: &Clients, deadline: Instant) -> Each {
    use aws_sdk_sqs::operation::RequestId as _;
    let (service, lost) = (Service::Sqs, Lost::MayHaveHappened);
    let client = clients
        .sqs(None, deadline)
        .await
        .map_err(unready(service))?;
    let call = client.send_message().queue_url("https://q/1/q");
    let call = call.message_body(PAYLOAD).send();
    let output = within(Box::pin(call), service, lost, deadline).await?;
    let id = output.message_id().unwrap_or_default();
    let md5 = output.md5_of_message_body().unwrap_or_default();
    sent(id, md5, output.request_id()).map(|sent| vec![Ok(sent)])
}

async fn send_batch(clients: &Clients, deadline: Instant) -> Each {
    use aws_sdk_sqs::operation::RequestId as _;
    let (service, lost) = (Service::Sqs, Lost::MayHaveHappened);
    let client = clients
        .sqs(None, deadline)
        .await
        .map_err(unready(service))?;
    let mut call = client.send_message_batch().queue_url("https://q/1/q");
    for id in ["0", "1"] {
        let entry = aws_sdk_sqs::types::SendMessageBatchRequestEntry::builder()
            .id(id)
            .message_body(PAYLOAD);
        call = call.entries(entry.build().unwrap());
    }
    let output = within(Box::pin(call.send()), service, lost, deadline).await?;
    let missing = || Err(TargetError::no_receipt(service, "a verdict on the entry"));
    let mut verdicts = vec![missing(), missing()];
    let mut named = [false; 2];
    let place_of = |id: &str| id.parse().ok().filter(|place: &usize| *place < 2);
    for entry in output.successful() {
        if let Some(place) = place_of(entry.id()) {
            let (id, md5) = (entry.message_id(), entry.md5_of_message_body());
            verdicts[place] = sent(id, md5, output.request_id());
            named[place] = true;
        }
    }
    for entry in output.failed() {
        if let Some(place) = place_of(entry.id()) {
            let status = if entry.sender_fault() { 400 } else { 500 };
            let message = entry.message().unwrap_or_default();
            verdicts[place] = Err(match named[place] && verdicts[place].is_ok() {
                true => TargetError::no_receipt(service, "one verdict on the entry"),
                false => TargetError::of_entry(service, status, entry.code(), message),
            });
        }
    }
    Ok(verdicts)
}

fn receipt(number: &str, shard: &str, request_id: Option<&str>) -> Result<String, TargetError> {
    if number.is_empty() || shard.is_empty() {
        let missing = "a sequence number and a shard";
        return Err(TargetError::no_receipt(Service::Kinesis, missing));
    }
    Ok(taken(Some(number), request_id))
}

async fn put(clients: &Clients, deadline: Instant) -> Each {
    use aws_sdk_kinesis::operation::RequestId as _;
    let (service, lost) = (Service::Kinesis, Lost::MayHaveHappened);
    let client = clients
        .kinesis(None, deadline)
        .await
        .map_err(unready(service))?;
    let call = client.put_record().stream_name("s").partition_key("k");
    let call = call.data(Blob::new(PAYLOAD)).send();
    let output = within(Box::pin(call), service, lost, deadline).await?;
    let (number, shard) = (output.sequence_number(), output.shard_id());
    receipt(number, shard, output.request_id()).map(|put| vec![Ok(put)])
}

async fn put_batch(clients: &Clients, deadline: Instant) -> Each {
    use aws_sdk_kinesis::operation::RequestId as _;
    let (service, lost) = (Service::Kinesis, Lost::MayHaveHappened);
    let client = clients
        .kinesis(None, deadline)
        .await
        .map_err(unready(service))?;
    let mut call = client.put_records().stream_name("s");
    for _ in 0..2 {
        let record = aws_sdk_kinesis::types::PutRecordsRequestEntry::builder()
            .data(Blob::new(PAYLOAD))
            .partition_key("k");
        call = call.records(record.build().unwrap());
    }
    let output = within(Box::pin(call.send()), service, lost, deadline).await?;
    if output.records().len() != 2 {
        let missing = || Err(TargetError::no_receipt(service, "a verdict on each record"));
        return Ok(vec![missing(), missing()]);
    }
    let verdicts = output.records().iter().map(|record| {
        match record.error_code().filter(|code| !code.is_empty()) {
            Some(code) => {
                let message = record.error_message().unwrap_or_default();
                Err(TargetError::of_entry(service, 200, code, message))
            }
            None => receipt(
                record.sequence_number().unwrap_or_default(),
                record.shard_id().unwrap_or_default(),
                output.request_id(),
            ),
        }
    });
    Ok(verdicts.collect())
}

async fn events(clients: &Clients, events: usize, deadline: Instant) -> Each {
    use aws_sdk_eventbridge::operation::RequestId as _;
    let (service, lost) = (Service::EventBridge, Lost::MayHaveHappened);
    let client = clients
        .eventbridge(None, deadline)
        .await
        .map_err(unready(service))?;
    let entry = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder()
        .detail(PAYLOAD)
        .detail_type("t")
        .source("s")
        .build();
    let call = client.put_events().set_entries(Some(vec![entry; events]));
    let output = within(Box::pin(call.send()), service, lost, deadline).await?;
    let mut entries = output.entries().to_vec();
    if events == 1 {
        entries.resize(
            1,
            aws_sdk_eventbridge::types::PutEventsResultEntry::builder().build(),
        );
    } else if entries.len() != events {
        let missing = || Err(TargetError::no_receipt(service, "a verdict on each event"));
        return Ok((0..events).map(|_| missing()).collect());
    }
    let failed = if events == 1 {
        output.failed_entry_count()
    } else {
        0
    };
    let verdicts = entries.iter().map(|entry| {
        if let Some(code) = entry.error_code().filter(|code| !code.is_empty()) {
            let message = entry.error_message().unwrap_or_default();
            return Err(TargetError::of_entry(service, 200, code, message));
        }
        match entry.event_id().filter(|id| !id.is_empty() && failed == 0) {
            Some(id) => Ok(taken(Some(id), output.request_id())),
            None => Err(TargetError::no_receipt(service, "an event's id")),
        }
    });
    Ok(verdicts.collect())
}
