//! `EventBridge-PutEvents`: always one entry, of one caller.

mod batch;
mod wire;

use std::borrow::Cow;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{Answered, NativeAnswer, Rendered, object};
use super::parameter::{Compiler, Flaw, MapError, Param, optional, text, utf8};
use super::reach::{Reached, ReachedKind};
use super::refusal::{Service, TargetError};
use super::shape::TextList;
use super::{Called, Effect, Kind, NameList, OwnKeys, TargetName, Targets, called};
use crate::aws::Operation;
use crate::mapping::Sources;
use crate::model::request_id::RequestId;
use crate::model::text::Text;

/// The entry: 14 bytes if `Time` is given, and the UTF-8 bytes of source, detail type, detail and each resource. The
/// vendor has published 256 KB and 1 MB; the larger one is checked here, the smaller one is the service's to refuse.
const ENTRY_BYTES: usize = 1_048_576;

/// Puts one event on a bus.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EventBridge-PutEvents")]
pub struct PutEvents {
    /// The event: JSON text, an object. At most 1 MiB with everything else in the entry.
    #[serde(rename = "Detail")]
    #[schemars(required)]
    detail: Option<Text>,
    /// What kind of event it is. Up to 128 characters.
    #[serde(rename = "DetailType")]
    #[schemars(required)]
    detail_type: Option<Text>,
    /// Who sends it. Must not begin with `aws.`.
    #[serde(rename = "Source")]
    #[schemars(required)]
    source: Option<Text>,
    /// When it happened: ISO 8601 (`2026-11-22T12:00:00Z`) or seconds since 1970; default: now.
    #[serde(rename = "Time", default)]
    time: Option<Text>,
    /// The bus, by name or ARN; default: the account's default bus.
    #[serde(rename = "EventBusName", default)]
    event_bus_name: Option<Text>,
    /// ARNs of what the event is about.
    #[serde(rename = "Resources", default)]
    resources: Option<TextList>,
    /// The region to call in; default `aws.region`.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
    /// An X-Ray trace header. Up to 500 characters.
    #[serde(rename = "TraceHeader", default)]
    trace_header: Option<Text>,
}

/// A compiled `EventBridge-PutEvents`.
#[derive(Clone, Debug)]
pub struct Compiled {
    detail: Param<String>,
    detail_type: Param<String>,
    source: Param<String>,
    time: Option<Param<DateTime>>,
    event_bus_name: Option<Param<String>>,
    resources: Option<NameList>,
    region: Option<Param<String>>,
    trace_header: Option<Param<String>>,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(rename = "Entries")]
    entries: [Entry; 1],
    #[serde(rename = "Region", skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(
        rename = "Time",
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_text",
        default,
        deserialize_with = "kept_time"
    )]
    time: Option<DateTime>,
    #[serde(rename = "Source")]
    source: String,
    #[serde(rename = "Resources", skip_serializing_if = "Vec::is_empty", default)]
    resources: Vec<String>,
    #[serde(rename = "DetailType")]
    detail_type: String,
    #[serde(rename = "Detail")]
    detail: String,
    #[serde(rename = "EventBusName", skip_serializing_if = "Option::is_none")]
    event_bus_name: Option<String>,
    #[serde(rename = "TraceHeader", skip_serializing_if = "Option::is_none")]
    trace_header: Option<String>,
}

/// ISO 8601, or seconds since 1970 for a time that the SDK cannot say so: a year above 9999, parts of a microsecond.
fn as_text<S: Serializer>(time: &Option<DateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(found) = time else {
        return serializer.serialize_none();
    };
    let iso = found.fmt(Format::DateTime).ok();
    let exact =
        |text: &String| DateTime::from_str(text, Format::DateTime).is_ok_and(|t| t == *found);
    match iso.filter(exact) {
        Some(text) => serializer.serialize_str(&text),
        None => {
            let seconds = found.fmt(Format::EpochSeconds);
            serializer.serialize_str(&seconds.map_err(S::Error::custom)?)
        }
    }
}

fn kept_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    time(Bytes::from(text))
        .map(Some)
        .map_err(|_| D::Error::custom("this is no time"))
}

fn time(bytes: Bytes) -> Result<DateTime, Flaw> {
    let text = utf8(bytes)?;
    let text = text.trim();
    DateTime::from_str(text, Format::DateTimeWithOffset)
        .or_else(|_| DateTime::from_str(text, Format::EpochSeconds))
        .map_err(|_| {
            Flaw::Invalid(
                "is not a time; write 2026-11-22T12:00:00Z or seconds since 1970".to_owned(),
            )
        })
}

fn source(bytes: Bytes) -> Result<String, Flaw> {
    let source = text::<1, 256>(bytes)?;
    if source.starts_with("aws.") {
        return Err(Flaw::Invalid(
            "begins with `aws.`, which is reserved for AWS".to_owned(),
        ));
    }
    Ok(source)
}

fn detail(bytes: Bytes) -> Result<String, Flaw> {
    let detail = utf8(bytes)?;
    if detail.is_empty() {
        return Err(Flaw::Invalid(
            "is empty; EventBridge takes a JSON object".to_owned(),
        ));
    }
    Ok(detail)
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPut {
    /// The id, where the entry was taken.
    event_id: Option<String>,
    /// The refusal, where it was not. Such an answer is not kept.
    #[serde(skip)]
    refused: Option<TargetError>,
}

impl Kind for PutEvents {
    const NAME: &'static str = "EventBridge-PutEvents";
    const SERVICE: Service = Service::EventBridge;
    const EFFECT: Effect = Effect::Stores;
    const FIELDS: &[&str] = &["eventId"];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = EventPut;

    fn compile(&self, _: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let detail = compiler.required("Detail", &self.detail, detail);
        let detail_type = compiler.required("DetailType", &self.detail_type, text::<1, 128>);
        let source = compiler.required("Source", &self.source, source);
        compiler.static_json("Detail", &detail, Value::is_object, "a JSON object");
        Some(Compiled {
            time: compiler.optional("Time", &self.time, time),
            event_bus_name: compiler.optional(
                "EventBusName",
                &self.event_bus_name,
                text::<1, 1600>,
            ),
            resources: NameList::compile("Resources", &self.resources, compiler),
            region: compiler.region(&self.region),
            trace_header: compiler.optional("TraceHeader", &self.trace_header, text::<1, 500>),
            detail: detail?,
            detail_type: detail_type?,
            source: source?,
        })
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        let region = compiled.region.as_ref().and_then(Param::constant);
        Some(Reached {
            kind: ReachedKind::Bus,
            name: PutEvents::bus(compiled).map(str::to_owned),
            region: region.cloned(),
            parameter: "EventBusName",
            actions: &["events:PutEvents"],
        })
    }

    fn label(compiled: &Compiled) -> Option<String> {
        match &compiled.event_bus_name {
            None => Some("default".to_owned()),
            Some(bus) => bus.constant().map(|bus| last_part(bus).to_owned()),
        }
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        let entry = Entry {
            time: optional(&compiled.time, sources)?,
            source: compiled.source.value(sources)?,
            resources: NameList::value(&compiled.resources, sources)?,
            detail_type: compiled.detail_type.value(sources)?,
            detail: compiled.detail.value(sources)?,
            event_bus_name: optional(&compiled.event_bus_name, sources)?,
            trace_header: optional(&compiled.trace_header, sources)?,
        };
        entry.check_size()?;
        Ok(Request {
            entries: [entry],
            region: optional(&compiled.region, sources)?,
        })
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<EventPut>, TargetError> {
        let called: Called<wire::Verdicts> = called(
            targets,
            Operation::PutEvents,
            Service::EventBridge,
            request.region.as_deref(),
            wire::events(request.entries.iter())?,
            deadline,
        )
        .await?;
        let verdicts = called.answer;
        let verdict = verdicts.entries.unwrap_or_default().into_iter().next();
        let failed = verdicts.failed.unwrap_or_default();
        Ok(Called {
            answer: EventPut::from(verdict, failed)?,
            request_id: called.request_id,
        })
    }
}

impl EventPut {
    fn from(verdict: Option<wire::Verdict>, failed: i32) -> Result<EventPut, TargetError> {
        let (event_id, code, message) = verdict
            .map(|verdict| (verdict.event_id, verdict.error_code, verdict.error_message))
            .unwrap_or_default();
        if let Some(code) = code.filter(|code| !code.is_empty()) {
            let message = message.unwrap_or_default();
            let refused = TargetError::of_entry(Service::EventBridge, 200, code, message);
            return Ok(EventPut {
                event_id: None,
                refused: Some(refused),
            });
        }
        // an id is the proof that the event was taken; anything else is none
        let event_id = event_id.filter(|id| !id.is_empty() && failed == 0);
        match event_id {
            Some(_) => Ok(EventPut {
                event_id,
                refused: None,
            }),
            None => Err(TargetError::no_receipt(
                Service::EventBridge,
                "an event's id",
            )),
        }
    }
}

impl PutEvents {
    /// Its name or ARN; `None` where each request names the bus.
    pub(super) fn bus(compiled: &Compiled) -> Option<&str> {
        match &compiled.event_bus_name {
            None => Some("default"),
            Some(bus) => bus.constant().map(String::as_str),
        }
    }
}

impl Request {
    pub(super) fn target(&self) -> TargetName {
        let [entry] = &self.entries;
        let bus = entry.event_bus_name.as_deref().unwrap_or("default");
        TargetName::new(Service::EventBridge, bus, self.region.as_deref())
    }

    /// The target, if it is the same for every request.
    pub(super) fn target_of(compiled: &Compiled) -> Option<TargetName> {
        let region = Param::constant_if_any(&compiled.region)?.map(String::as_str);
        let bus =
            Param::constant_if_any(&compiled.event_bus_name)?.map_or("default", String::as_str);
        Some(TargetName::new(Service::EventBridge, bus, region))
    }

    /// As PutEvents counts its entries.
    pub(super) fn size(&self) -> usize {
        let [entry] = &self.entries;
        entry.size()
    }
}

impl EventPut {
    /// What a caller is told whose event is spooled.
    pub(super) fn spooled(id: &str) -> EventPut {
        EventPut {
            event_id: Some(id.to_owned()),
            refused: None,
        }
    }
}

impl Entry {
    fn size(&self) -> usize {
        let time = if self.time.is_some() { 14 } else { 0 };
        let resources: usize = self.resources.iter().map(String::len).sum();
        time + self.source.len() + self.detail_type.len() + self.detail.len() + resources
    }

    fn check_size(&self) -> Result<(), MapError> {
        let size = self.size();
        if size <= ENTRY_BYTES {
            return Ok(());
        }
        Err(MapError::Limit {
            target: "EventBridge",
            parameter: "Detail".to_owned(),
            limit: format!("{size} bytes in the entry, at most {ENTRY_BYTES} (1 MiB) are allowed"),
        })
    }
}

/// The part of an ARN that names the thing.
pub(super) fn last_part(arn: &str) -> &str {
    arn.rsplit(['/', ':']).next().unwrap_or(arn)
}

impl Answered for EventPut {
    fn native(&self) -> NativeAnswer {
        let id = self.event_id.as_deref().map(Value::from);
        NativeAnswer::Stored(object([("messageId", id.clone()), ("eventId", id)]))
    }

    fn aws(&self, _: &str) -> Rendered {
        let code = self.refused.as_ref().map(|refused| refused.code.as_str());
        let message = self
            .refused
            .as_ref()
            .map(|refused| refused.message.as_str());
        let entry = object([
            ("EventId", self.event_id.as_deref().map(Value::from)),
            ("ErrorCode", code.map(Value::from)),
            ("ErrorMessage", message.map(Value::from)),
        ]);
        let body = object([
            ("Entries", Some(Value::from(vec![Value::Object(entry)]))),
            (
                "FailedEntryCount",
                Some(Value::from(i32::from(self.refused.is_some()))),
            ),
        ]);
        Rendered::new(
            200,
            "application/x-amz-json-1.1",
            Value::Object(body).to_string(),
        )
    }

    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "eventId" => self.event_id.as_deref().map(Cow::Borrowed),
            _ => None,
        }
    }

    fn message_id(&self) -> Option<&str> {
        self.event_id.as_deref()
    }

    fn failure(&self) -> Option<&TargetError> {
        self.refused.as_ref()
    }
}

#[cfg(test)]
mod tests;
