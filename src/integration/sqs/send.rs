//! `SQS-SendMessage`.

use base64::Engine as _;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::attributes::{AttributesConfig, CompiledAttributes, ENCODING, MOST, Which};
use super::sent::{Digests, Sent};
use super::{Address, MESSAGE_BYTES, Queue, embedded, fifo_id, wire};
use crate::aws::Operation;
use crate::integration::kept::attributes;
use crate::integration::parameter::{Compiler, MapError, Param, bytes, integer, optional};
use crate::integration::reach::Reached;
use crate::integration::refusal::{Service, TargetError};
use crate::integration::{
    Called, Effect, Encode, Kind, OrderKey, OwnKeys, Payload, TargetName, Targets, called,
};
use crate::mapping::Sources;
use crate::model::message::{
    Attribute, AttributeValue, Attributes, md5_of_attributes, md5_of_body, sqs_text,
};
use crate::model::request_id::RequestId;
use crate::model::text::Text;
use crate::model::value::QueueName;
use crate::store::{NewKey, Once};

/// Sends one message to a queue.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SQS-SendMessage")]
pub struct SendMessage {
    /// The URL of the queue, or `queue:NAME` for an embedded one.
    #[serde(rename = "QueueUrl")]
    #[schemars(required)]
    queue_url: Option<Text>,
    /// The message. With its attributes at most 1 MiB; SQS holds text of XML 1.0's characters and no empty body, an
    /// embedded queue any bytes.
    #[serde(rename = "MessageBody")]
    #[schemars(required)]
    message_body: Option<Text>,
    /// Seconds until the message can be received: 0 to 900. Not for FIFO queues.
    #[serde(rename = "DelaySeconds", default)]
    delay_seconds: Option<Text>,
    /// Attributes of the message: at most ten.
    #[serde(rename = "MessageAttributes", default)]
    message_attributes: Option<AttributesConfig>,
    /// FIFO queues only: a second message with the same id within five minutes is not stored again. 1 to 128
    /// letters, digits and punctuation of ASCII.
    #[serde(rename = "MessageDeduplicationId", default)]
    message_deduplication_id: Option<Text>,
    /// Messages of one group keep their order. FIFO queues need it. 1 to 128 letters, digits and punctuation of ASCII.
    #[serde(rename = "MessageGroupId", default)]
    message_group_id: Option<Text>,
    /// System attributes: `AWSTraceHeader` is the only one.
    #[serde(rename = "MessageSystemAttributes", default)]
    message_system_attributes: Option<AttributesConfig>,
    /// The region to call in, where the queue's URL does not name it.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
}

/// A compiled `SQS-SendMessage`.
#[derive(Clone, Debug)]
pub struct Compiled {
    address: Address,
    body: Param<Bytes>,
    delay_seconds: Option<Param<i32>>,
    attributes: Option<CompiledAttributes>,
    deduplication_id: Option<Param<String>>,
    group_id: Option<Param<String>>,
    system_attributes: Option<CompiledAttributes>,
    encode: Option<Encode>,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(rename = "QueueUrl")]
    pub(super) queue: Queue,
    #[serde(rename = "MessageBody")]
    pub(super) body: Payload,
    #[serde(rename = "DelaySeconds", skip_serializing_if = "Option::is_none")]
    pub(super) delay_seconds: Option<i32>,
    #[serde(
        rename = "MessageAttributes",
        skip_serializing_if = "Attributes::is_empty",
        default,
        deserialize_with = "attributes"
    )]
    pub(super) attributes: Attributes,
    #[serde(
        rename = "MessageDeduplicationId",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) deduplication_id: Option<String>,
    #[serde(rename = "MessageGroupId", skip_serializing_if = "Option::is_none")]
    pub(super) group_id: Option<String>,
    #[serde(
        rename = "MessageSystemAttributes",
        skip_serializing_if = "Attributes::is_empty",
        default,
        deserialize_with = "attributes"
    )]
    pub(super) system_attributes: Attributes,
    #[serde(rename = "Region", skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

impl Kind for SendMessage {
    const NAME: &'static str = "SQS-SendMessage";
    const SERVICE: Service = Service::Sqs;
    const EFFECT: Effect = Effect::Stores;
    const FIELDS: &[&str] = &[
        "sequenceNumber",
        "md5OfMessageBody",
        "md5OfMessageAttributes",
    ];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Sent;

    fn compile(&self, own: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let address = Address::compile(&self.queue_url, &self.region, compiler);
        let body = compiler.required("MessageBody", &self.message_body, bytes);
        let delay_seconds =
            compiler.optional("DelaySeconds", &self.delay_seconds, integer::<0, 900>);
        let deduplication_id = compiler.optional(
            "MessageDeduplicationId",
            &self.message_deduplication_id,
            fifo_id,
        );
        let group_id = compiler.optional("MessageGroupId", &self.message_group_id, fifo_id);
        let room = MOST - usize::from(own.encode.is_some());
        let attributes = self
            .message_attributes
            .as_ref()
            .and_then(|config| config.compile(Which::Message, room, compiler));
        let system_attributes = self
            .message_system_attributes
            .as_ref()
            .and_then(|config| config.compile(Which::System, 1, compiler));
        let compiled = Compiled {
            address: address?,
            body: body?,
            delay_seconds,
            attributes,
            deduplication_id,
            group_id,
            system_attributes,
            encode: own.encode,
        };
        compiled.check_fifo(self, compiler);
        compiled.check_body(self, compiler);
        if own.encode.is_some()
            && let Some(Queue::Embedded(_)) = compiled.address.queue.constant()
        {
            let at = compiler.at.parent().unwrap_or_default().key("encode");
            compiler.problems.warning(
                &at,
                "`encode` does nothing here: an embedded queue holds any bytes",
            );
        }
        Some(compiled)
    }

    fn label(compiled: &Compiled) -> Option<String> {
        compiled.address.label()
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        compiled.address.reaches(&["sqs:SendMessage"])
    }

    fn touches_store(compiled: &Compiled) -> bool {
        compiled.address.may_be_embedded()
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        let (queue, region) = compiled.address.value(sources)?;
        let aws = matches!(queue, Queue::Aws { .. });
        let mut body = compiled.body.value(sources)?;
        let room = MOST - usize::from(compiled.encode.is_some() && aws);
        let mut attributes = match &compiled.attributes {
            Some(attributes) => attributes.value(room, sources)?,
            None => Attributes::new(),
        };
        if aws && let Err(flaw) = for_sqs(&body) {
            let unfit = matches!(flaw, MapError::Charset { .. });
            if !(unfit && compiled.encode == Some(Encode::Base64IfNeeded)) {
                return Err(flaw);
            }
            let encoded = base64::engine::general_purpose::STANDARD.encode(&body);
            body = Bytes::from(encoded);
            attributes.insert(ENCODING.to_owned(), base64_marker());
        }
        let request = Request {
            queue,
            body: Payload(body),
            delay_seconds: optional(&compiled.delay_seconds, sources)?,
            attributes,
            deduplication_id: optional(&compiled.deduplication_id, sources)?,
            group_id: optional(&compiled.group_id, sources)?,
            system_attributes: match &compiled.system_attributes {
                Some(attributes) => attributes.value(1, sources)?,
                None => Attributes::new(),
            },
            region,
        };
        request.check_size()?;
        if request.queue.is_fifo() && request.group_id.is_none() {
            return Err(MapError::parameter(
                "MessageGroupId",
                None,
                format!("is missing: the queue {} is FIFO", request.queue.name()),
            ));
        }
        Ok(request)
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Sent>, TargetError> {
        match request.queue.clone() {
            Queue::Embedded(name) => embedded::send(targets, &name, request, deadline)
                .await
                .map(Called::by_us),
            Queue::Aws { url, .. } => send(request, &url, targets, deadline).await,
        }
    }
}

impl Request {
    /// The embedded queue that it goes to, if it goes to one.
    pub(in crate::integration) fn embedded(&self) -> Option<&QueueName> {
        match &self.queue {
            Queue::Embedded(name) => Some(name),
            Queue::Aws { .. } => None,
        }
    }
}

impl SendMessage {
    pub(in crate::integration) async fn send_once(
        request: Request,
        targets: &Targets,
        key: NewKey,
        deadline: Instant,
    ) -> Result<Once<Sent>, TargetError> {
        match request.embedded().cloned() {
            Some(queue) => embedded::send_once(targets, &queue, request, key, deadline).await,
            None => Err(TargetError::no_store("not an embedded queue")),
        }
    }

    /// The URL; `None` where each request names the queue, or it is embedded.
    pub(in crate::integration) fn url(compiled: &Compiled) -> Option<&str> {
        match compiled.address.queue.constant() {
            Some(Queue::Aws { url, .. }) => Some(url),
            Some(Queue::Embedded(_)) | None => None,
        }
    }

    /// A queue that each request names may be FIFO: what is mapped for a group counts.
    pub(in crate::integration) fn order_key(compiled: &Compiled) -> OrderKey {
        let fifo = match compiled.address.queue.constant() {
            Some(queue) => queue.is_fifo(),
            None => compiled.group_id.is_some(),
        };
        if fifo {
            OrderKey::Group
        } else {
            OrderKey::None
        }
    }
}

impl Compiled {
    fn check_fifo(&self, config: &SendMessage, compiler: &mut Compiler<'_, '_>) {
        let Some(queue) = self.address.queue.constant() else {
            return;
        };
        let facts = self.address.facts(compiler);
        let fifo = facts.map_or(queue.is_fifo(), |facts| facts.fifo);
        let name = &self.address.shown;
        if !fifo {
            if config.message_deduplication_id.is_some() {
                compiler.error(
                    "MessageDeduplicationId",
                    format!("the queue `{name}` is not FIFO and takes no deduplication id"),
                    "leave it out, or send to a queue whose name ends in .fifo",
                );
            }
            return;
        }
        if config.message_group_id.is_none() {
            compiler.error(
                "MessageGroupId",
                format!("the parameter `MessageGroupId` is missing: the queue `{name}` is FIFO"),
                "messages of one group keep their order: `MessageGroupId: $request.body.customer`, say",
            );
        }
        if config.message_deduplication_id.is_none()
            && !facts.is_some_and(|facts| facts.content_based_deduplication)
        {
            compiler.error(
                "MessageDeduplicationId",
                format!("the parameter `MessageDeduplicationId` is missing: the queue `{name}` is FIFO and not known to deduplicate by content"),
                "map an id that the caller repeats (`$request.header.idempotency-key`), or `$context.requestId` to store every request",
            );
        }
        if config.delay_seconds.is_some() {
            compiler.error(
                "DelaySeconds",
                format!("the queue `{name}` is FIFO: its messages cannot be delayed one by one"),
                "set the delay on the queue",
            );
        }
    }

    fn check_body(&self, config: &SendMessage, compiler: &mut Compiler<'_, '_>) {
        let (Some(queue), Some(body)) = (self.address.queue.constant(), self.body.constant())
        else {
            return;
        };
        let wrong = match queue {
            Queue::Aws { .. } if self.encode.is_none() => for_sqs(body).err(),
            _ => None,
        };
        let wrong = wrong.or_else(|| within_limit(queue, body.len()).err());
        if let Some(wrong) = wrong {
            let shown = config
                .message_body
                .as_ref()
                .map(Text::shown)
                .unwrap_or_default();
            compiler.error(
                "MessageBody",
                wrong.to_string(),
                if shown.is_empty() {
                    "write `$request.body` to send the request's body"
                } else {
                    "shorten it"
                },
            );
        }
    }
}

fn named(queue: &Queue, asked: Option<&str>) -> TargetName {
    match queue {
        Queue::Embedded(name) => TargetName::new(Service::Sqs, &format!("queue:{name}"), None),
        Queue::Aws { url, region } => {
            // the queue's own region wins
            TargetName::new(Service::Sqs, url, asked.filter(|_| region.is_none()))
        }
    }
}

impl Request {
    /// Body and attributes together, as SQS counts them.
    pub(in crate::integration) fn size(&self) -> usize {
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, value)| value.size(name));
        self.body.0.len() + attributes.sum::<usize>()
    }

    fn check_size(&self) -> Result<(), MapError> {
        within_limit(&self.queue, self.size())
    }

    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    pub(in crate::integration) fn is_embedded(&self) -> bool {
        matches!(self.queue, Queue::Embedded(_))
    }

    pub(in crate::integration) fn target(&self) -> TargetName {
        named(&self.queue, self.region())
    }

    /// The target, if it is one of AWS and the same for every request.
    pub(in crate::integration) fn target_of(compiled: &Compiled) -> Option<TargetName> {
        let queue = compiled.address.queue.constant()?;
        let region = Param::constant_if_any(&compiled.address.region)?.map(String::as_str);
        matches!(queue, Queue::Aws { .. }).then(|| named(queue, region))
    }

    /// The message group, where the queue keeps its order.
    pub(in crate::integration) fn order_key(&self) -> Option<&str> {
        let fifo = self.queue.is_fifo();
        self.group_id.as_deref().filter(|_| fifo)
    }

    /// What a caller is told whose message is spooled.
    pub(in crate::integration) fn spooled(&self, id: &str) -> Sent {
        Sent {
            message_id: id.to_owned(),
            md5_of_body: md5_of_body(&self.body.0),
            md5_of_attributes: md5_of_attributes(&self.attributes),
            md5_of_system_attributes: md5_of_attributes(&self.system_attributes),
            sequence_number: None,
        }
    }
}

fn within_limit(queue: &Queue, size: usize) -> Result<(), MapError> {
    if size <= MESSAGE_BYTES {
        return Ok(());
    }
    Err(MapError::Limit {
        target: match queue {
            Queue::Embedded(_) => "the embedded queue",
            Queue::Aws { .. } => "SQS",
        },
        parameter: "MessageBody".to_owned(),
        limit: format!("{size} bytes with attributes, at most {MESSAGE_BYTES} (1 MiB) are allowed"),
    })
}

/// Whether real SQS can hold the body.
fn for_sqs(body: &[u8]) -> Result<(), MapError> {
    if body.is_empty() {
        return Err(MapError::parameter(
            "MessageBody",
            None,
            "is empty: SQS takes messages of 1 character and more",
        ));
    }
    sqs_text(body)
        .map(|_| ())
        .map_err(|offset| MapError::Charset {
            target: "SQS",
            parameter: "MessageBody".to_owned(),
            offset,
        })
}

/// What says that a body is base64 text.
pub(super) fn base64_marker() -> Attribute {
    Attribute {
        data_type: "String".to_owned(),
        value: AttributeValue::String("base64".to_owned()),
    }
}

async fn send(
    request: Request,
    url: &str,
    targets: &Targets,
    deadline: Instant,
) -> Result<Called<Sent>, TargetError> {
    let digests = Digests::of(&request);
    let body = wire::single(url, &request)?;
    let region = request.region();
    let called: Called<wire::Taken> = called(
        targets,
        Operation::SendMessage,
        Service::Sqs,
        region,
        body,
        deadline,
    )
    .await?;
    Ok(Called {
        answer: digests.confirm(Sent::from(called.answer))?,
        request_id: called.request_id,
    })
}
