//! `SQS-DeleteMessage`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Address, Queue, embedded};
use crate::integration::answer::{Answered, NativeAnswer, Rendered};
use crate::integration::parameter::{Compiler, MapError, Param, text};
use crate::integration::reach::Reached;
use crate::integration::refusal::{Lost, Service, TargetError};
use crate::integration::{Called, Effect, Kind, OwnKeys, TargetName, Targets, within, xml};
use crate::mapping::Sources;
use crate::model::request_id::RequestId;
use crate::model::text::Text;

/// Deletes one message that was received.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SQS-DeleteMessage")]
pub struct DeleteMessage {
    /// The URL of the queue, or `queue:NAME` for an embedded one.
    #[serde(rename = "QueueUrl")]
    #[schemars(required)]
    queue_url: Option<Text>,
    /// The receipt handle that came with the message.
    #[serde(rename = "ReceiptHandle")]
    #[schemars(required)]
    receipt_handle: Option<Text>,
    /// The region to call in, where the queue's URL does not name it.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
}

/// A compiled `SQS-DeleteMessage`.
#[derive(Clone, Debug)]
pub struct Compiled {
    address: Address,
    receipt_handle: Param<String>,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    #[serde(rename = "QueueUrl")]
    queue: Queue,
    #[serde(rename = "ReceiptHandle")]
    receipt_handle: String,
    #[serde(rename = "Region", skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

impl Request {
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn receipt_handle(&self) -> &str {
        &self.receipt_handle
    }

    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    pub(in crate::integration) fn is_embedded(&self) -> bool {
        matches!(self.queue, Queue::Embedded(_))
    }

    /// Whom deletes from the queue share calls with.
    pub(in crate::integration) fn target(&self) -> TargetName {
        let region = match &self.queue {
            // the URL says it
            Queue::Aws {
                region: Some(_), ..
            }
            | Queue::Embedded(_) => None,
            Queue::Aws { region: None, .. } => self.region(),
        };
        TargetName::deletes(self.queue.url(), region)
    }

    /// Bytes that it takes of a call.
    pub(in crate::integration) fn size(&self) -> usize {
        self.receipt_handle.len()
    }
}

/// The answer: it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted;

impl Kind for DeleteMessage {
    const NAME: &'static str = "SQS-DeleteMessage";
    const SERVICE: Service = Service::Sqs;
    const EFFECT: Effect = Effect::Acts;
    const FIELDS: &[&str] = &[];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Deleted;

    fn compile(&self, _: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let address = Address::compile(&self.queue_url, &self.region, compiler);
        let receipt_handle =
            compiler.required("ReceiptHandle", &self.receipt_handle, text::<1, 1024>);
        Some(Compiled {
            address: address?,
            receipt_handle: receipt_handle?,
        })
    }

    fn label(compiled: &Compiled) -> Option<String> {
        compiled.address.label()
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        compiled.address.reaches(&["sqs:DeleteMessage"])
    }

    fn touches_store(compiled: &Compiled) -> bool {
        compiled.address.may_be_embedded()
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        let (queue, region) = compiled.address.value(sources)?;
        Ok(Request {
            queue,
            receipt_handle: compiled.receipt_handle.value(sources)?,
            region,
        })
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Deleted>, TargetError> {
        use aws_sdk_sqs::operation::RequestId as _;
        let url = match request.queue {
            Queue::Embedded(name) => {
                embedded::delete(targets, &name, &request.receipt_handle, deadline).await?;
                return Ok(Called::by_us(Deleted));
            }
            Queue::Aws { url, .. } => url,
        };
        let lost = Lost::MayHaveHappened;
        let client = targets.aws.sqs(request.region.as_deref(), deadline).await;
        let client = client.map_err(|error| TargetError::from_call(Service::Sqs, lost, error))?;
        let call = client
            .delete_message()
            .queue_url(url)
            .receipt_handle(request.receipt_handle);
        let output = within(Box::pin(call.send()), Service::Sqs, lost, deadline).await?;
        Ok(Called {
            answer: Deleted,
            request_id: output.request_id().map(str::to_owned),
        })
    }
}

impl Answered for Deleted {
    fn native(&self) -> NativeAnswer {
        NativeAnswer::Fields(serde_json::Map::new())
    }
    fn aws(&self, request_id: &str) -> Rendered {
        Rendered::new(
            200,
            xml::CONTENT_TYPE,
            xml::response("DeleteMessage", request_id, None),
        )
    }
    fn field(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
}
