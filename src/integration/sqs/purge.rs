//! `SQS-PurgeQueue`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Address, Queue, embedded};
use crate::integration::answer::{Answered, NativeAnswer, Rendered};
use crate::integration::parameter::{Compiler, MapError};
use crate::integration::reach::Reached;
use crate::integration::refusal::{Lost, Service, TargetError};
use crate::integration::{Called, Effect, Kind, OwnKeys, Targets, within, xml};
use crate::mapping::Sources;
use crate::model::request_id::RequestId;
use crate::model::text::Text;

/// Deletes every message of a queue. SQS allows it once in 60 seconds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SQS-PurgeQueue")]
pub struct PurgeQueue {
    /// The URL of the queue, or `queue:NAME` for an embedded one.
    #[serde(rename = "QueueUrl")]
    #[schemars(required)]
    queue_url: Option<Text>,
    /// The region to call in, where the queue's URL does not name it.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
}

/// A compiled `SQS-PurgeQueue`.
#[derive(Clone, Debug)]
pub struct Compiled {
    address: Address,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    #[serde(rename = "QueueUrl")]
    queue: Queue,
    #[serde(rename = "Region", skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// The answer: the queue is being emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged;

impl Kind for PurgeQueue {
    const NAME: &'static str = "SQS-PurgeQueue";
    const SERVICE: Service = Service::Sqs;
    const EFFECT: Effect = Effect::Acts;
    const FIELDS: &[&str] = &[];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Purged;

    fn compile(&self, _: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let address = Address::compile(&self.queue_url, &self.region, compiler)?;
        Some(Compiled { address })
    }

    fn label(compiled: &Compiled) -> Option<String> {
        compiled.address.label()
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        compiled.address.reaches(&["sqs:PurgeQueue"])
    }

    fn touches_store(compiled: &Compiled) -> bool {
        compiled.address.may_be_embedded()
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        let (queue, region) = compiled.address.value(sources)?;
        Ok(Request { queue, region })
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Purged>, TargetError> {
        use aws_sdk_sqs::operation::RequestId as _;
        let url = match request.queue {
            Queue::Embedded(name) => {
                embedded::purge(targets, &name, deadline).await?;
                return Ok(Called::by_us(Purged));
            }
            Queue::Aws { url, .. } => url,
        };
        let lost = Lost::MayHaveHappened;
        let client = targets.aws.sqs(request.region.as_deref(), deadline).await;
        let client = client.map_err(|error| TargetError::from_call(Service::Sqs, lost, error))?;
        let call = client.purge_queue().queue_url(url);
        let output = within(Box::pin(call.send()), Service::Sqs, lost, deadline).await?;
        Ok(Called {
            answer: Purged,
            request_id: output.request_id().map(str::to_owned),
        })
    }
}

impl Answered for Purged {
    fn native(&self) -> NativeAnswer {
        NativeAnswer::Fields(serde_json::Map::new())
    }
    fn aws(&self, request_id: &str) -> Rendered {
        Rendered::new(
            200,
            xml::CONTENT_TYPE,
            xml::response("PurgeQueue", request_id, None),
        )
    }
    fn field(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
}
