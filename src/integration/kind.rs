//! What each integration supplies, and the small values that several of them share.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use base64::Engine as _;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use tokio::time::Instant;

use super::Targets;
use super::answer::Answered;
use super::parameter::{Compiler, MapError, Param, names, optional};
use super::reach::Reached;
use super::refusal::{Lost, Service, TargetError};
use super::shape::{Shape, TextList};
use crate::aws::Operation;
use crate::mapping::{Expression, Sources};
use crate::model::request_id::RequestId;
use crate::model::text::{Piece, Text};

/// An integration: what people write (`Self`), what a plan keeps (`Compiled`), what is sent (`Request`), what comes
/// back (`Answer`). Compiling and mapping never open a socket.
pub(super) trait Kind: for<'de> Deserialize<'de> + JsonSchema {
    /// The tag in the configuration, and the label of metrics.
    const NAME: &'static str;
    const SERVICE: Service;
    const EFFECT: Effect;
    /// The names that `$integration.NAME` knows of its answer, beside `messageId` and `requestId`.
    const FIELDS: &[&str];
    type Compiled: Send + Sync;
    type Request: Serialize + Send;
    type Answer: Answered + Send;

    /// Notes everything that is wrong; the result counts only if nothing was.
    fn compile(&self, own: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Self::Compiled>;

    /// The target's name, if it is the same for every request.
    fn label(compiled: &Self::Compiled) -> Option<String>;

    /// What calls are made to at AWS; `None` where nothing there is called.
    fn reaches(_: &Self::Compiled) -> Option<Reached> {
        None
    }

    /// Whether a call can go to an embedded queue.
    fn touches_store(_: &Self::Compiled) -> bool {
        false
    }

    /// The call for a request; everything that the target limits is checked.
    fn map(
        compiled: &Self::Compiled,
        sources: &dyn Sources,
        id: &RequestId,
    ) -> Result<Self::Request, MapError>;

    /// How much longer than usual the answer may take.
    fn wait(_: &Self::Request) -> Duration {
        Duration::ZERO
    }

    /// Calls the target, once.
    fn call(
        request: Self::Request,
        targets: &Targets,
        deadline: Instant,
    ) -> impl Future<Output = Result<Called<Self::Answer>, TargetError>> + Send;
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It makes a record durable: promise 1 holds for its 2xx.
    Stores,
    /// Its answer is what the caller came for.
    Reads,
    /// It changes something; the answer only says so.
    Acts,
    /// It passes the request on; what that does, and what the answer says, is the backend's.
    Passes,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Called<A> {
    pub(super) answer: A,
    /// The service's id for the call.
    pub(super) request_id: Option<String>,
}

impl<A> Called<A> {
    /// Answered without a service: by the embedded store, or from the configuration.
    pub(super) fn by_us(answer: A) -> Called<A> {
        Called {
            answer,
            request_id: None,
        }
    }
}

/// Our own keys, which stand beside the tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnKeys {
    pub(super) encode: Option<Encode>,
    pub(super) decode_data: Option<DecodeData>,
    pub(super) aggregate: Option<Aggregate>,
}

/// What to do with a body that the target cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Encode {
    /// SQS-SendMessage: send it as base64 text, with the attribute `penstock-encoding` = `base64`.
    #[serde(rename = "base64-if-needed")]
    Base64IfNeeded,
}

/// How the caller has encoded `Data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum DecodeData {
    /// Kinesis-PutRecord: as base64 text, which is decoded; the record is what it stands for.
    #[serde(rename = "base64")]
    Base64,
}

/// Whether records may be packed into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
pub enum Aggregate {
    /// Kinesis-PutRecord: records of one shard that are sent in one call go into aggregated records of the Kinesis
    /// Producer Library's format, up to 50 KiB each. Consumers have to de-aggregate, as the Kinesis Client Library does.
    /// Needs the permission `kinesis:ListShards`; without it only records with one partition key go together.
    #[serde(rename = "kpl")]
    Kpl,
}

/// Bytes that are sent as they are. Printed as text where they are text, else as `{"base64": …}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                let text = base64::engine::general_purpose::STANDARD.encode(&self.0);
                map.serialize_entry("base64", &text)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Printed)
    }
}

/// A payload as it is printed.
struct Printed;

impl<'de> Visitor<'de> for Printed {
    type Value = Payload;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, or bytes as {\"base64\": …}")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Payload, E> {
        Ok(Payload(Bytes::copy_from_slice(text.as_bytes())))
    }
    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Payload, E> {
        Ok(Payload(Bytes::from(text)))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        let Some(("base64", text)) = map.next_entry::<&str, String>()? else {
            return Err(A::Error::custom("expected `base64`"));
        };
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        bytes
            .map(|bytes| Payload(Bytes::from(bytes)))
            .map_err(A::Error::custom)
    }
}

/// A compiled list of texts.
#[derive(Clone, Debug)]
pub(super) enum NameList {
    /// One text that says them all.
    One(Param<Vec<String>>),
    /// One text each.
    Each(&'static str, Vec<Expression>),
}

impl NameList {
    pub(super) fn compile(
        name: &'static str,
        list: &Option<TextList>,
        compiler: &mut Compiler<'_, '_>,
    ) -> Option<NameList> {
        match &list.as_ref()?.0 {
            Shape::Map(_) => None, // nothing of that type exists
            Shape::Text(text) => match json_items(text) {
                Some(texts) => {
                    let at = compiler.at.key(name);
                    let expressions = texts
                        .iter()
                        .filter_map(|text| compiler.expression(&at, text))
                        .collect();
                    Some(NameList::Each(name, expressions))
                }
                None => compiler
                    .optional(name, &Some(text.clone()), names)
                    .map(NameList::One),
            },
            Shape::List(texts) => {
                let at = compiler.at.key(name);
                let expressions = texts
                    .iter()
                    .enumerate()
                    .filter_map(|(position, text)| compiler.expression(&at.index(position), text))
                    .collect();
                Some(NameList::Each(name, expressions))
            }
        }
    }

    /// The list for a request; items that come out empty are left out.
    pub(super) fn value(
        list: &Option<NameList>,
        sources: &dyn Sources,
    ) -> Result<Vec<String>, MapError> {
        match list {
            None => Ok(Vec::new()),
            Some(NameList::One(param)) => {
                Ok(optional(&Some(param.clone()), sources)?.unwrap_or_default())
            }
            Some(NameList::Each(name, expressions)) => {
                let mut items = Vec::with_capacity(expressions.len());
                for expression in expressions {
                    let bytes = expression.resolve(name, sources)?;
                    let item = String::from_utf8(Vec::from(bytes))
                        .map_err(|_| MapError::parameter(*name, None, "is not UTF-8"))?;
                    if !item.is_empty() {
                        items.push(item);
                    }
                }
                Ok(items)
            }
        }
    }
}

/// The texts of a JSON array that stands there as written, so that what a request puts into one of them stays in it.
fn json_items(text: &Text) -> Option<Vec<Text>> {
    let [Piece::Written(json)] = text.0.as_slice() else {
        return None;
    };
    let items: Vec<String> = serde_json::from_str(json).ok()?;
    Some(items.into_iter().map(Text::written).collect())
}

/// Runs a call of the SDK until the deadline. The call comes in a box: its future is over 5 KB.
pub(super) async fn within<T, E>(
    call: Pin<Box<impl Future<Output = Result<T, SdkError<E, HttpResponse>>>>>,
    service: Service,
    lost: Lost,
    deadline: Instant,
) -> Result<T, TargetError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match tokio::time::timeout_at(deadline, call).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(TargetError::from_call(service, lost, error.into())),
        Err(_) => Err(TargetError::timed_out(service, lost)),
    }
}

/// The body of a call: its JSON, without the region, which says where it goes.
pub(super) fn service_body<T: Serialize>(
    request: &T,
    service: Service,
) -> Result<Bytes, TargetError> {
    let body = serde_json::to_value(request).and_then(|mut body| {
        if let Some(members) = body.as_object_mut() {
            members.remove("Region");
        }
        serde_json::to_vec(&body)
    });
    body.map(Bytes::from)
        .map_err(|error| TargetError::misused(service, &error.to_string()))
}

/// Makes a call through our own client, until the deadline.
pub(super) async fn called<T: DeserializeOwned>(
    targets: &Targets,
    operation: Operation,
    service: Service,
    region: Option<&str>,
    body: Bytes,
    deadline: Instant,
) -> Result<Called<T>, TargetError> {
    let lost = match operation.only_reads() {
        true => Lost::Harmless,
        false => Lost::MayHaveHappened,
    };
    let call = targets.aws.call(operation, region, body, deadline);
    let read = async {
        let reply = call.await?;
        let answer = reply.read()?;
        let request_id = reply.request_id;
        Ok(Called { answer, request_id })
    };
    match tokio::time::timeout_at(deadline, read).await {
        Ok(Ok(called)) => Ok(called),
        Ok(Err(error)) => Err(TargetError::from_call(service, lost, error)),
        Err(_) => Err(TargetError::timed_out(service, lost)),
    }
}
