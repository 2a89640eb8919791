//! PutEvents in the service's JSON protocol.

use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use serde::Deserialize;

use super::Entry;
use crate::aws::Body;
use crate::integration::refusal::{Class, Service, TargetError};

/// The body of a call with these events.
pub(super) fn events<'e>(
    entries: impl Iterator<Item = &'e Entry> + Clone,
) -> Result<Bytes, TargetError> {
    let rooms = entries.clone().map(|entry| {
        let size = entry.size();
        384 + size + size / 4 // escaping adds a seventh to JSON, most often
    });
    let mut body = Body::with_capacity(rooms.sum::<usize>());
    body.raw("{\"Entries\":[");
    let mut before = "{";
    for entry in entries {
        body.raw(before);
        event(&mut body, entry)?;
        before = "},{";
    }
    body.raw("}]}");
    Ok(body.finish())
}

fn event(body: &mut Body, entry: &Entry) -> Result<(), TargetError> {
    body.raw("\"Source\":").text(&entry.source);
    body.member("DetailType").text(&entry.detail_type);
    body.member("Detail").text(&entry.detail);
    if let Some(time) = &entry.time {
        let seconds = time.fmt(Format::EpochSeconds).map_err(|error| {
            let said = error.to_string();
            TargetError::new(Class::Setup, Service::EventBridge, "InvalidRequest", said)
        })?;
        body.member("Time").raw(&seconds);
    }
    if !entry.resources.is_empty() {
        body.member("Resources");
        let mut before = "[";
        for resource in &entry.resources {
            body.raw(before).text(resource);
            before = ",";
        }
        body.raw("]");
    }
    body.text_if_any("EventBusName", entry.event_bus_name.as_deref());
    body.text_if_any("TraceHeader", entry.trace_header.as_deref());
    Ok(())
}

/// The answer.
#[derive(Debug, Deserialize)]
pub(super) struct Verdicts {
    #[serde(rename = "FailedEntryCount")]
    pub(super) failed: Option<i32>,
    #[serde(rename = "Entries")]
    pub(super) entries: Option<Vec<Verdict>>,
}

/// What became of one event.
#[derive(Debug, Deserialize)]
pub(super) struct Verdict {
    #[serde(rename = "EventId")]
    pub(super) event_id: Option<String>,
    #[serde(rename = "ErrorCode")]
    pub(super) error_code: Option<String>,
    #[serde(rename = "ErrorMessage")]
    pub(super) error_message: Option<String>,
}
