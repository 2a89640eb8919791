//! `SQS-ReceiveMessage`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::attributes::ENCODING;
use super::send::base64_marker;
use super::{Address, Queue, embedded, fifo_id};
use crate::integration::answer::{Answered, NativeAnswer, Rendered, object};
use crate::integration::parameter::{Compiler, MapError, Param, integer, optional};
use crate::integration::reach::Reached;
use crate::integration::refusal::{Class, Lost, Service, TargetError};
use crate::integration::shape::TextList;
use crate::integration::{Called, Effect, Kind, NameList, OwnKeys, Targets, within, xml};
use crate::mapping::Sources;
use crate::model::message::{
    Attribute, AttributeValue, Attributes, md5_of_attributes, md5_of_body,
};
use crate::model::request_id::RequestId;
use crate::model::text::Text;

/// Receives up to ten messages from a queue.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SQS-ReceiveMessage")]
pub struct ReceiveMessage {
    /// The URL of the queue, or `queue:NAME` for an embedded one.
    #[serde(rename = "QueueUrl")]
    #[schemars(required)]
    queue_url: Option<Text>,
    /// The system attributes to return: `All`, or some of `SentTimestamp`, `ApproximateReceiveCount`,
    /// `ApproximateFirstReceiveTimestamp`, `MessageGroupId`, `MessageDeduplicationId`, `SequenceNumber`, `SenderId`,
    /// `AWSTraceHeader`.
    #[serde(rename = "AttributeNames", default)]
    attribute_names: Option<TextList>,
    /// At most so many messages: 1 to 10.
    #[serde(rename = "MaxNumberOfMessages", default)]
    max_number_of_messages: Option<Text>,
    /// The message attributes to return: `All`, `.*`, names, or beginnings (`order.*`).
    #[serde(rename = "MessageAttributeNames", default)]
    message_attribute_names: Option<TextList>,
    /// FIFO queues only: the same id within five minutes gives the same messages again. 1 to 128
    /// letters, digits and punctuation of ASCII.
    #[serde(rename = "ReceiveRequestAttemptId", default)]
    receive_request_attempt_id: Option<Text>,
    /// Seconds for which nobody else receives the messages: 0 to 43,200.
    #[serde(rename = "VisibilityTimeout", default)]
    visibility_timeout: Option<Text>,
    /// Seconds to wait for a message: 0 to 20. They extend the route's timeout.
    #[serde(rename = "WaitTimeSeconds", default)]
    wait_time_seconds: Option<Text>,
    /// The region to call in, where the queue's URL does not name it.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
}

/// A compiled `SQS-ReceiveMessage`.
#[derive(Clone, Debug)]
pub struct Compiled {
    address: Address,
    attribute_names: Option<NameList>,
    max_number_of_messages: Option<Param<i32>>,
    message_attribute_names: Option<NameList>,
    attempt_id: Option<Param<String>>,
    visibility_timeout: Option<Param<i32>>,
    wait_time_seconds: Option<Param<i32>>,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    #[serde(rename = "QueueUrl")]
    pub(super) queue: Queue,
    #[serde(rename = "AttributeNames", skip_serializing_if = "Vec::is_empty")]
    pub(super) attribute_names: Vec<String>,
    #[serde(
        rename = "MaxNumberOfMessages",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) max_number_of_messages: Option<i32>,
    #[serde(
        rename = "MessageAttributeNames",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(super) message_attribute_names: Vec<String>,
    #[serde(
        rename = "ReceiveRequestAttemptId",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) attempt_id: Option<String>,
    #[serde(rename = "VisibilityTimeout", skip_serializing_if = "Option::is_none")]
    pub(super) visibility_timeout: Option<i32>,
    #[serde(rename = "WaitTimeSeconds", skip_serializing_if = "Option::is_none")]
    pub(super) wait_time_seconds: Option<i32>,
    #[serde(rename = "Region", skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// The answer.
#[derive(Default, Clone, Debug, PartialEq)]
pub struct Received {
    pub(super) messages: Vec<Message>,
}

/// A message as it is delivered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) message_id: String,
    pub(super) receipt_handle: String,
    pub(super) md5_of_body: String,
    /// Text; base64 text where `base64` says so.
    pub(super) body: String,
    pub(super) base64: bool,
    pub(super) system_attributes: BTreeMap<String, String>,
    pub(super) attributes: Attributes,
    pub(super) md5_of_attributes: Option<String>,
}

impl Kind for ReceiveMessage {
    const NAME: &'static str = "SQS-ReceiveMessage";
    const SERVICE: Service = Service::Sqs;
    const EFFECT: Effect = Effect::Reads;
    const FIELDS: &[&str] = &["messageCount"];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Received;

    fn compile(&self, _: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let address = Address::compile(&self.queue_url, &self.region, compiler);
        let compiled = Compiled {
            attribute_names: NameList::compile("AttributeNames", &self.attribute_names, compiler),
            max_number_of_messages: compiler.optional(
                "MaxNumberOfMessages",
                &self.max_number_of_messages,
                integer::<1, 10>,
            ),
            message_attribute_names: NameList::compile(
                "MessageAttributeNames",
                &self.message_attribute_names,
                compiler,
            ),
            attempt_id: compiler.optional(
                "ReceiveRequestAttemptId",
                &self.receive_request_attempt_id,
                fifo_id,
            ),
            visibility_timeout: compiler.optional(
                "VisibilityTimeout",
                &self.visibility_timeout,
                integer::<0, 43_200>,
            ),
            wait_time_seconds: compiler.optional(
                "WaitTimeSeconds",
                &self.wait_time_seconds,
                integer::<0, 20>,
            ),
            address: address?,
        };
        if let Some(queue) = compiled.address.queue.constant()
            && !queue.is_fifo()
            && compiled.attempt_id.is_some()
        {
            let name = &compiled.address.shown;
            compiler.error(
                "ReceiveRequestAttemptId",
                format!("the queue `{name}` is not FIFO and takes no attempt id"),
                "leave it out",
            );
        }
        Some(compiled)
    }

    fn label(compiled: &Compiled) -> Option<String> {
        compiled.address.label()
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        compiled.address.reaches(&["sqs:ReceiveMessage"])
    }

    fn touches_store(compiled: &Compiled) -> bool {
        compiled.address.may_be_embedded()
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        let (queue, region) = compiled.address.value(sources)?;
        Ok(Request {
            queue,
            attribute_names: NameList::value(&compiled.attribute_names, sources)?,
            max_number_of_messages: optional(&compiled.max_number_of_messages, sources)?,
            message_attribute_names: NameList::value(&compiled.message_attribute_names, sources)?,
            attempt_id: optional(&compiled.attempt_id, sources)?,
            visibility_timeout: optional(&compiled.visibility_timeout, sources)?,
            wait_time_seconds: optional(&compiled.wait_time_seconds, sources)?,
            region,
        })
    }

    fn wait(request: &Request) -> Duration {
        Duration::from_secs(
            request
                .wait_time_seconds
                .unwrap_or_default()
                .unsigned_abs()
                .into(),
        )
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Received>, TargetError> {
        match request.queue.clone() {
            Queue::Embedded(name) => embedded::receive(targets, &name, request, deadline)
                .await
                .map(Called::by_us),
            Queue::Aws { url, .. } => receive(request, url, targets, deadline).await,
        }
    }
}

async fn receive(
    request: Request,
    url: String,
    targets: &Targets,
    deadline: Instant,
) -> Result<Called<Received>, TargetError> {
    use aws_sdk_sqs::operation::RequestId as _;
    use aws_sdk_sqs::types::QueueAttributeName;

    let lost = Lost::Harmless;
    let client = targets.aws.sqs(request.region.as_deref(), deadline).await;
    let client = client.map_err(|error| TargetError::from_call(Service::Sqs, lost, error))?;
    let names = |names: Vec<String>| (!names.is_empty()).then_some(names);
    let system = request
        .attribute_names
        .iter()
        .map(|name| QueueAttributeName::from(name.as_str()));
    let system: Vec<_> = system.collect();
    // the vendor's parameter is the older name, and it is the one that every server of the protocol knows
    #[allow(deprecated)]
    let call = client
        .receive_message()
        .queue_url(url)
        .set_attribute_names((!system.is_empty()).then_some(system))
        .set_max_number_of_messages(request.max_number_of_messages)
        .set_message_attribute_names(names(request.message_attribute_names))
        .set_receive_request_attempt_id(request.attempt_id)
        .set_visibility_timeout(request.visibility_timeout)
        .set_wait_time_seconds(request.wait_time_seconds);
    let output = within(Box::pin(call.send()), Service::Sqs, lost, deadline).await?;
    let request_id = output.request_id().map(str::to_owned);
    let messages = output.messages.unwrap_or_default().into_iter().map(message);
    Ok(Called {
        answer: Received {
            messages: messages.collect::<Result<_, _>>()?,
        },
        request_id,
    })
}

fn message(from: aws_sdk_sqs::types::Message) -> Result<Message, TargetError> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (Some(message_id), Some(receipt_handle), Some(body)) = (
        given(from.message_id),
        given(from.receipt_handle),
        from.body,
    ) else {
        let missing = "a message's id, receipt handle or body";
        return Err(TargetError::incomplete(Service::Sqs, missing));
    };
    let md5 = from.md5_of_body.unwrap_or_default();
    if !md5.is_empty() && md5 != md5_of_body(body.as_bytes()) {
        return Err(TargetError::new(
            Class::Unavailable,
            Service::Sqs,
            "ChecksumMismatch",
            "MD5OfBody is not that of the body that came with it",
        ));
    }
    let system = from.attributes.unwrap_or_default();
    let attributes = from.message_attributes.unwrap_or_default();
    Ok(Message {
        message_id,
        receipt_handle,
        md5_of_body: md5,
        body,
        base64: false,
        system_attributes: system
            .into_iter()
            .map(|(name, value)| (name.as_str().to_owned(), value))
            .collect(),
        attributes: attributes
            .into_iter()
            .map(|(name, from)| {
                let value = match (from.string_value, from.binary_value) {
                    (_, Some(blob)) => AttributeValue::Binary(blob.into_inner().into()),
                    (text, None) => AttributeValue::String(text.unwrap_or_default()),
                };
                let data_type = from.data_type;
                (name, Attribute { data_type, value })
            })
            .collect(),
        md5_of_attributes: from.md5_of_message_attributes,
    })
}

impl Message {
    /// The attributes as they are delivered, and their digest: a base64 body says so in one of its own.
    fn delivered(&self) -> (Cow<'_, Attributes>, Option<Cow<'_, str>>) {
        if !self.base64 {
            let md5 = self.md5_of_attributes.as_deref().map(Cow::Borrowed);
            return (Cow::Borrowed(&self.attributes), md5);
        }
        let mut attributes = self.attributes.clone();
        attributes.insert(ENCODING.to_owned(), base64_marker());
        let md5 = md5_of_attributes(&attributes).map(Cow::Owned);
        (Cow::Owned(attributes), md5)
    }

    /// The message in the service's JSON names; a base64 body says so in `BodyEncoding` as well.
    fn json(&self) -> Value {
        let (attributes, md5_of_attributes) = self.delivered();
        let system: Map<String, Value> = self
            .system_attributes
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
            .collect();
        let any = !attributes.is_empty();
        let attributes = serde_json::to_value(&attributes).unwrap_or_default(); // maps of text: cannot fail
        Value::Object(object([
            ("MessageId", Some(Value::from(self.message_id.as_str()))),
            (
                "ReceiptHandle",
                Some(Value::from(self.receipt_handle.as_str())),
            ),
            ("MD5OfBody", Some(Value::from(self.md5_of_body.as_str()))),
            ("Body", Some(Value::from(self.body.as_str()))),
            ("BodyEncoding", self.base64.then(|| Value::from("base64"))),
            (
                "Attributes",
                (!system.is_empty()).then(|| Value::Object(system)),
            ),
            (
                "MD5OfMessageAttributes",
                md5_of_attributes.as_deref().map(Value::from),
            ),
            ("MessageAttributes", any.then_some(attributes)),
        ]))
    }

    /// The message in XML.
    fn xml(&self, document: &mut xml::Document) {
        let (attributes, md5_of_attributes) = self.delivered();
        document.text("MessageId", &self.message_id);
        document.text("ReceiptHandle", &self.receipt_handle);
        document.text("MD5OfBody", &self.md5_of_body);
        document.text("Body", &self.body);
        for (name, value) in &self.system_attributes {
            document.nested("Attribute", |attribute| {
                attribute.text("Name", name);
                attribute.text("Value", value);
            });
        }
        document.text_if_any("MD5OfMessageAttributes", md5_of_attributes.as_deref());
        for (name, attribute) in attributes.iter() {
            document.nested("MessageAttribute", |element| {
                element.text("Name", name);
                element.nested("Value", |value| {
                    match &attribute.value {
                        AttributeValue::String(text) => value.text("StringValue", text),
                        AttributeValue::Binary(bytes) => {
                            use base64::Engine as _;
                            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
                            value.text("BinaryValue", &text);
                        }
                    }
                    value.text("DataType", &attribute.data_type);
                });
            });
        }
    }
}

impl Answered for Received {
    fn native(&self) -> NativeAnswer {
        let messages: Vec<Value> = self.messages.iter().map(Message::json).collect();
        NativeAnswer::Fields(object([("Messages", Some(Value::from(messages)))]))
    }

    fn aws(&self, request_id: &str) -> Rendered {
        let body = xml::response(
            "ReceiveMessage",
            request_id,
            Some(&|result| {
                for message in &self.messages {
                    result.nested("Message", |document| message.xml(document));
                }
            }),
        );
        Rendered::new(200, xml::CONTENT_TYPE, body)
    }

    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "messageCount" => Some(Cow::Owned(self.messages.len().to_string())),
            _ => None,
        }
    }
}
