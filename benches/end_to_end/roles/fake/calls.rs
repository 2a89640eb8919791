//! The calls that the fake endpoint takes, and its answers in the services' own JSON.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use md5::{Digest as _, Md5};
use serde::Deserialize;

use super::mood::State;

#[derive(Clone, Copy)]
pub enum Service {
    SendMessage,
    SendMessageBatch,
    PutRecord,
    PutRecords,
    PutEvents,
}

impl Service {
    /// By the header `x-amz-target`.
    pub fn of(action: &str) -> Option<Service> {
        Some(match action {
            "AmazonSQS.SendMessage" => Service::SendMessage,
            "AmazonSQS.SendMessageBatch" => Service::SendMessageBatch,
            "Kinesis_20131202.PutRecord" => Service::PutRecord,
            "Kinesis_20131202.PutRecords" => Service::PutRecords,
            "AWSEvents.PutEvents" => Service::PutEvents,
            _ => return None,
        })
    }

    pub fn operation(self) -> &'static str {
        match self {
            Service::SendMessage => "SendMessage",
            Service::SendMessageBatch => "SendMessageBatch",
            Service::PutRecord => "PutRecord",
            Service::PutRecords => "PutRecords",
            Service::PutEvents => "PutEvents",
        }
    }

    /// What it says when there are too many.
    pub fn throttle(self) -> &'static str {
        match self {
            Service::SendMessage | Service::SendMessageBatch => "RequestThrottled",
            Service::PutRecord | Service::PutRecords => "ProvisionedThroughputExceededException",
            Service::PutEvents => "ThrottlingException",
        }
    }
}

/// Whether a signature is there and looks like one. None is computed again.
pub fn is_signed(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(authorization) = text("authorization") else {
        return false;
    };
    let Some(parts) = authorization.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return false;
    };
    let part = |name: &str| {
        let mut parts = parts.split(',').map(str::trim);
        parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    let date = text("x-amz-date").unwrap_or_default();
    let credential = part("Credential").is_some_and(|credential| {
        let fields: Vec<&str> = credential.split('/').collect();
        fields.len() == 5 && date.starts_with(fields[1]) && fields[4] == "aws4_request"
    });
    let signed = part("SignedHeaders").is_some_and(|signed| {
        let has = |wanted: &str| signed.split(';').any(|name| name == wanted);
        has("host") && has("x-amz-date")
    });
    let signature = part("Signature").is_some_and(|signature| {
        signature.len() == 64 && signature.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    date.len() == 16 && credential && signed && signature
}

pub fn refusal(code: &str) -> String {
    format!("{{\"__type\":\"com.amazonaws#{code}\",\"message\":\"The fake endpoint says so\"}}")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message_body: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entries<T> {
    entries: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Records<'a> {
    #[serde(borrow)]
    records: Vec<Record<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event<'a> {
    #[serde(borrow)]
    detail: Cow<'a, str>,
}

/// Stores what is sent. The body of the answer.
pub fn perform(service: Service, body: &[u8], state: &State) -> serde_json::Result<String> {
    let mut out = String::with_capacity(256);
    let written = match service {
        Service::SendMessage => {
            let message: Message = serde_json::from_slice(body)?;
            let body = message.message_body.as_bytes();
            let id = state.store(body);
            write!(
                out,
                "{{\"MD5OfMessageBody\":\"{:x}\",\"MessageId\":\"{id:032x}\"}}",
                Md5::digest(body)
            )
        }
        Service::SendMessageBatch => {
            let batch: Entries<Message> = serde_json::from_slice(body)?;
            send_batch(&mut out, &batch.entries, state)
        }
        Service::PutRecord => {
            let record: Record = serde_json::from_slice(body)?;
            let number = state.store(&decoded(&record.data));
            write!(
                out,
                "{{\"ShardId\":\"shardId-000000000000\",\"SequenceNumber\":\"{number:056}\"}}"
            )
        }
        Service::PutRecords => {
            let batch: Records = serde_json::from_slice(body)?;
            put_records(&mut out, &batch.records, state)
        }
        Service::PutEvents => {
            let batch: Entries<Event> = serde_json::from_slice(body)?;
            put_events(&mut out, &batch.entries, state)
        }
    };
    written.map_err(serde::ser::Error::custom)?;
    Ok(out)
}

fn send_batch(out: &mut String, entries: &[Message], state: &State) -> std::fmt::Result {
    let mut failed = String::new();
    out.push_str("{\"Successful\":[");
    let (mut good, mut bad) = ("", "");
    for entry in entries {
        let id = entry.id.as_deref().unwrap_or_default();
        if state.refuses_entry() {
            write!(
                failed,
                "{bad}{{\"Id\":\"{id}\",\"SenderFault\":false,\"Code\":\"InternalError\",\"Message\":\"in part\"}}"
            )?;
            bad = ",";
            continue;
        }
        let body = entry.message_body.as_bytes();
        let number = state.store(body);
        write!(
            out,
            "{good}{{\"Id\":\"{id}\",\"MD5OfMessageBody\":\"{:x}\",\"MessageId\":\"{number:032x}\"}}",
            Md5::digest(body)
        )?;
        good = ",";
    }
    write!(out, "],\"Failed\":[{failed}]}}")
}

fn put_records(out: &mut String, records: &[Record], state: &State) -> std::fmt::Result {
    let mut failed = 0;
    out.push_str("{\"Records\":[");
    for (at, record) in records.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        if state.refuses_entry() {
            failed += 1;
            write!(
                out,
                "{comma}{{\"ErrorCode\":\"ProvisionedThroughputExceededException\",\"ErrorMessage\":\"in part\"}}"
            )?;
            continue;
        }
        let number = state.store(&decoded(&record.data));
        write!(
            out,
            "{comma}{{\"SequenceNumber\":\"{number:056}\",\"ShardId\":\"shardId-000000000000\"}}"
        )?;
    }
    write!(out, "],\"FailedRecordCount\":{failed}}}")
}

fn put_events(out: &mut String, entries: &[Event], state: &State) -> std::fmt::Result {
    let mut failed = 0;
    out.push_str("{\"Entries\":[");
    for (at, entry) in entries.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        if state.refuses_entry() {
            failed += 1;
            write!(
                out,
                "{comma}{{\"ErrorCode\":\"InternalFailure\",\"ErrorMessage\":\"in part\"}}"
            )?;
            continue;
        }
        let number = state.store(entry.detail.as_bytes());
        write!(out, "{comma}{{\"EventId\":\"{number:032x}\"}}")?;
    }
    write!(out, "],\"FailedEntryCount\":{failed}}}")
}

/// Data that is no base64 holds no number, and is missed.
fn decoded(data: &str) -> Vec<u8> {
    STANDARD.decode(data).unwrap_or_default()
}
