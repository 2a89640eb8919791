//! Integrations: what a route calls. The vendor's ten subtypes, DynamoDB's items, HTTP backends, and `Mock`; the SQS
//! ones on embedded queues too.
//!
//! Each goes the same way: [`IntegrationConfig`] (what people write) → `compile` → [`Integration`] (checked, immutable)
//! → `map` → [`Request`] (the exact call, as `penstock explain` prints it) → [`Targets::call`] → [`Answer`] or
//! [`TargetError`], which know both response dialects. A target's limits are checked before it is called: at compile
//! time where the value is static, else in `map`.
//!
//! A new integration is one file and one entry in the register below.

mod answer;
mod app_config;
mod batch;
mod dynamodb;
mod event_bridge;
mod http_proxy;
mod kept;
mod kind;
mod kinesis;
mod mock;
mod parameter;
mod reach;
mod refusal;
mod shape;
mod sqs;
mod step_functions;
mod target;
mod written;
mod xml;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use indexmap::IndexMap;
use schemars::{Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::MapAccess;
use tokio::time::Instant;

use crate::aws;
use crate::mapping::{self, Sources};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::request_id::RequestId;
use crate::model::route_key::PathKey;
use crate::model::value::QueueName;
use crate::outbound;
use crate::store::{NewKey, Once, Store};

pub use self::answer::{Answer, NativeAnswer, Rendered};
pub use self::kind::{Aggregate, DecodeData, Encode, Payload};
pub use self::kinesis::AggregationCounts;
pub use self::parameter::MapError;
pub use self::reach::{Reached, ReachedKind};
pub use self::refusal::{Class, Service, TargetError};
pub use self::target::{BatchLimits, Billing, TargetName};
pub use self::written::IntegrationConfig;

use self::answer::Answered;
use self::kind::{Called, Effect, Kind, NameList, OwnKeys, called, service_body, within};
use self::parameter::Compiler;

/// What is known while an integration is compiled.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// For mapping expressions.
    pub mapping: mapping::Scope<'a>,
    /// The embedded queues that are declared.
    pub queues: &'a IndexMap<QueueName, QueueFacts>,
    /// `aws.region`.
    pub region: Option<&'a str>,
    /// Whether `aws.endpoint` or `aws.endpoints.sqs` says where SQS is.
    pub sqs_endpoint: bool,
    /// The path of the route's key; `$default` has none.
    pub path: Option<&'a PathKey>,
    /// Whether the route undoes content codings.
    pub decodes: bool,
}

/// What a send has to know about an embedded queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFacts {
    pub fifo: bool,
    pub content_based_deduplication: bool,
}

/// A compiled integration. Cloning shares it.
#[derive(Clone)]
pub struct Integration(Arc<Inner>);

impl std::fmt::Debug for Integration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.kind(), self.target_label())
    }
}

struct Inner {
    compiled: Compiled,
    label: Option<String>,
}

impl IntegrationConfig {
    /// Compiles the integration; notes everything that is wrong, at its path below `at`.
    pub fn compile(
        &self,
        at: &ConfigPath,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) -> Option<Integration> {
        let (name, before) = (self.parameters.name(), problems.errors());
        let strangers = [
            (
                written::ENCODE,
                self.own.encode.is_some(),
                sqs::SendMessage::NAME,
            ),
            (
                written::DECODE_DATA,
                self.own.decode_data.is_some(),
                kinesis::PutRecord::NAME,
            ),
            (
                written::AGGREGATE,
                self.own.aggregate.is_some(),
                kinesis::PutRecord::NAME,
            ),
        ];
        for (key, given, owner) in strangers {
            if given && name != owner {
                problems
                    .error(&at.key(key), format!("`{key}` means nothing to {name}"))
                    .help(format!("it belongs to {owner}"));
            }
        }
        let at = at.key(name);
        let compiled = self.parameters.compile(&self.own, &at, scope, problems);
        let compiled = compiled.filter(|_| problems.errors() == before)?;
        let label = compiled.label();
        Some(Integration(Arc::new(Inner { compiled, label })))
    }

    /// The tag: `SQS-SendMessage`.
    pub fn name(&self) -> &'static str {
        self.parameters.name()
    }
}

impl Integration {
    /// The tag: `SQS-SendMessage`.
    pub fn kind(&self) -> &'static str {
        self.0.compiled.name()
    }

    /// The service that is called.
    pub fn service(&self) -> Service {
        self.0.compiled.service()
    }

    /// The names that `$integration.NAME` knows of its answer.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        let common = ["messageId", "requestId"];
        common
            .into_iter()
            .chain(self.0.compiled.fields().iter().copied())
    }

    /// Whether a 2xx says that a record is durable: SendMessage, PutRecord, PutEvents, StartExecution.
    pub fn stores(&self) -> bool {
        self.0.compiled.effect() == Effect::Stores
    }

    /// Whether the answer is what the caller came for.
    pub fn reads(&self) -> bool {
        self.0.compiled.effect() == Effect::Reads
    }

    /// Whether a call can go to an embedded queue.
    pub fn touches_store(&self) -> bool {
        self.0.compiled.touches_store()
    }

    /// Why records cannot be spooled, where they cannot.
    pub fn refuses_spool(&self) -> Option<&'static str> {
        match self.0.compiled.effect() {
            Effect::Reads => Some("it reads, and a read cannot be answered later"),
            Effect::Acts => Some("it changes what is there and stores no record"),
            Effect::Passes => Some("its answer is the backend's, which cannot be given later"),
            Effect::Stores if self.target_label().starts_with("queue:") => {
                Some("an embedded queue is on the same disk as the spool")
            }
            Effect::Stores => None,
        }
    }

    /// What keeps records of this integration in order, if anything of them does.
    pub fn order_key(&self) -> OrderKey {
        match &self.0.compiled {
            Compiled::SqsSendMessage(compiled) => sqs::SendMessage::order_key(compiled),
            Compiled::KinesisPutRecord(_) => OrderKey::PartitionKey,
            _ => OrderKey::None,
        }
    }

    /// Whether a call can go to AWS, so that credentials will be needed.
    pub fn touches_aws(&self) -> bool {
        match self.service() {
            Service::Mock | Service::Http => false,
            Service::Sqs => !self.target_label().starts_with("queue:"),
            _ => true,
        }
    }

    /// The target as a label of metrics: `queue:orders`, the name of a queue, stream, bus, machine or configuration;
    /// `dynamic` where each request names it.
    pub fn target_label(&self) -> &str {
        self.0.label.as_deref().unwrap_or("dynamic")
    }

    /// What `targets:` of the configuration calls the target that records are stored at ([`TargetName::plain`]); `None`
    /// where each request names it, and where nothing is stored outside.
    pub fn plain_target(&self) -> Option<&str> {
        match &self.0.compiled {
            Compiled::SqsSendMessage(compiled) => sqs::SendMessage::url(compiled),
            Compiled::KinesisPutRecord(compiled) => kinesis::PutRecord::stream(compiled),
            Compiled::EventBridgePutEvents(compiled) => event_bridge::PutEvents::bus(compiled),
            Compiled::StepFunctionsStartExecution(compiled) => {
                step_functions::StartExecution::machine(compiled)
            }
            Compiled::DynamoDbPutItem(compiled) => dynamodb::PutItem::table(compiled),
            _ => None,
        }
    }

    /// What calls are made to at AWS; `None` where nothing there is called.
    pub fn reaches(&self) -> Option<Reached> {
        self.0.compiled.reaches()
    }

    /// The call for a request.
    pub fn map(&self, sources: &dyn Sources, id: &RequestId) -> Result<Request, MapError> {
        self.0.compiled.map(sources, id).map(Request::from)
    }
}

/// What records carry that can keep them in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKey {
    None,
    /// The message group of a FIFO queue, which always keeps its order.
    Group,
    /// Kinesis: kept unless the route says otherwise.
    PartitionKey,
}

/// The exact call, with the service's own parameter names, tagged with the integration's: as `penstock explain` prints
/// it. Bytes that are not text stand as `{"base64": …}`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Request {
    call: Call,
    /// The target may have it already.
    #[serde(skip)]
    resend: bool,
    /// Those behind it wait if it is refused.
    #[serde(skip)]
    keeps_place: bool,
}

impl From<Call> for Request {
    fn from(call: Call) -> Request {
        Request {
            call,
            resend: false,
            keeps_place: false,
        }
    }
}

impl Request {
    /// The same call once more, after an attempt that may have reached the target: that the target has it already is a
    /// success.
    pub fn again(self) -> Request {
        Request {
            resend: true,
            ..self
        }
    }

    /// The same call, which keeps its place in its spool if the target refuses it for what it is (`on_poison: stop`).
    pub fn keeping_place(self) -> Request {
        Request {
            keeps_place: true,
            ..self
        }
    }

    /// Whether it keeps its place in its spool if the target refuses it for what it is.
    pub fn keeps_place(&self) -> bool {
        self.keeps_place
    }

    /// The service that is called.
    pub fn service(&self) -> Service {
        self.call.service()
    }

    /// Whether the target may have it already.
    pub fn is_resend(&self) -> bool {
        self.resend
    }

    /// How much longer than usual the answer may take: the wait of a long poll. It extends the deadline.
    pub fn wait(&self) -> Duration {
        self.call.wait()
    }

    /// The answer of a long poll that is ended before a message has come. `None` for calls that do not wait.
    pub fn ended_poll(&self) -> Option<Answer> {
        match &self.call {
            Call::SqsReceiveMessage(_) if !self.wait().is_zero() => Some(Answer {
                outcome: Outcome::SqsReceiveMessage(sqs::Received::default()),
                request_id: None,
                spooled: false,
            }),
            _ => None,
        }
    }
}

/// The embedded store, as far as calls go. It may come up after the gateway has.
#[derive(Clone, Debug)]
pub enum StoreState {
    /// Nothing configured needs one.
    Absent,
    Open(Store),
    /// It cannot be used now, for this reason; it may be later.
    Unavailable(String),
}

/// What requests call.
pub struct Targets {
    aws: aws::Clients,
    store: ArcSwap<StoreState>,
    kinesis: kinesis::Aggregation,
    outbound: outbound::Client,
}

impl Targets {
    /// Without a store that is open, calls to embedded queues fail with [`Class::StoreUnavailable`].
    pub fn new(aws: aws::Clients, store: StoreState) -> Targets {
        Targets {
            aws,
            store: ArcSwap::from_pointee(store),
            kinesis: kinesis::Aggregation::default(),
            outbound: outbound::Client::default(),
        }
    }

    /// The same, with this client for HTTP backends in place of one of its own.
    pub fn with_outbound(self, outbound: outbound::Client) -> Targets {
        Targets { outbound, ..self }
    }

    /// The store as it is now.
    pub fn store_state(&self) -> StoreState {
        StoreState::clone(&self.store.load())
    }

    /// The store, or why there is none that could be used.
    pub fn open_store(&self) -> Result<Store, TargetError> {
        match self.store_state() {
            StoreState::Open(store) => Ok(store),
            StoreState::Absent => Err(TargetError::no_store("no embedded store is configured")),
            StoreState::Unavailable(reason) => Err(TargetError::no_store(reason)),
        }
    }

    /// The store has come up, or gone.
    pub fn set_store(&self, state: StoreState) {
        self.store.store(Arc::new(state));
    }

    /// Begins to load credentials, so that the first request finds them: for plans in which something
    /// [`touches_aws`](Integration::touches_aws). Needs a Tokio runtime.
    pub fn warm(&self) {
        self.aws.warm();
    }

    /// Calls the target, once, and answers by the deadline. Neither the deadline nor dropping the future undoes a call
    /// that is under way: who must know its outcome runs it in a task of its own.
    pub async fn call(&self, request: Request, deadline: Instant) -> Result<Answer, TargetError> {
        match request.resend {
            false => request.call.run(self, deadline).await,
            true => Box::pin(self.call_again(request, deadline)).await,
        }
    }

    /// The same for a call whose first outcome is unknown: a refusal may say that it was a success.
    async fn call_again(&self, request: Request, deadline: Instant) -> Result<Answer, TargetError> {
        let call = request.call.asking();
        let sent = call.clone();
        match call.run(self, deadline).await {
            Err(error) => sent.already_there(&error).ok_or(error),
            answered => answered,
        }
    }
}

impl Targets {
    /// Sends to an embedded queue, once for each idempotency key: key, message and answer are one transaction.
    pub async fn send_once(
        &self,
        request: Request,
        key: NewKey,
        deadline: Instant,
    ) -> Result<Once<Answer>, TargetError> {
        let sent = match request.call {
            Call::SqsSendMessage(request) => {
                sqs::SendMessage::send_once(request, self, key, deadline).await?
            }
            _ => return Err(TargetError::no_store("not an embedded queue")),
        };
        Ok(match sent {
            Once::New(sent) => Once::New(Answer {
                outcome: Outcome::SqsSendMessage(sent),
                request_id: None,
                spooled: false,
            }),
            Once::Known(known) => Once::Known(known),
        })
    }
}

/// Whether two texts are equal, at compile time.
const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Writes the enums of the family and their matches, so that the compiler checks that none is forgotten.
macro_rules! integrations {
    ($($tag:literal => $variant:ident($kind:ty),)+) => {
        $(const _: () = assert!(same($tag, <$kind as Kind>::NAME));)+

        /// The tags.
        pub const NAMES: &[&str] = &[$($tag),+];
        /// The tags, and the keys that may stand beside them.
        const KEYS: &[&str] = &[$($tag,)+ written::ENCODE, written::DECODE_DATA, written::AGGREGATE];

        /// What people write below a tag.
        #[derive(Clone, Debug)]
        enum Parameters { $($variant(Box<$kind>),)+ }

        impl Parameters {
            /// Reads what stands below `tag`; `None` for a tag that does not exist.
            fn read<'de, A: MapAccess<'de>>(tag: &str, map: &mut A) -> Result<Option<Parameters>, A::Error> {
                match tag {
                    $($tag => map.next_value().map(|kind| Some(Parameters::$variant(Box::new(kind)))),)+
                    _ => Ok(None),
                }
            }
            fn name(&self) -> &'static str {
                match self { $(Parameters::$variant(_) => $tag,)+ }
            }
            fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
                vec![$(($tag, generator.subschema_for::<$kind>())),+]
            }
            fn compile(&self, own: &OwnKeys, at: &ConfigPath, scope: &Scope<'_>, problems: &mut Problems) -> Option<Compiled> {
                match self {
                    $(Parameters::$variant(kind) => {
                        let mut compiler = Compiler::new($tag, <$kind as Kind>::SERVICE.name(), at, scope, problems);
                        kind.compile(own, &mut compiler).map(Compiled::$variant)
                    })+
                }
            }
        }

        /// What a plan keeps.
        enum Compiled { $($variant(<$kind as Kind>::Compiled),)+ }

        impl Compiled {
            fn name(&self) -> &'static str {
                match self { $(Compiled::$variant(_) => $tag,)+ }
            }
            fn service(&self) -> Service {
                match self { $(Compiled::$variant(_) => <$kind as Kind>::SERVICE,)+ }
            }
            fn effect(&self) -> Effect {
                match self { $(Compiled::$variant(_) => <$kind as Kind>::EFFECT,)+ }
            }
            fn fields(&self) -> &'static [&'static str] {
                match self { $(Compiled::$variant(_) => <$kind as Kind>::FIELDS,)+ }
            }
            fn label(&self) -> Option<String> {
                match self { $(Compiled::$variant(compiled) => <$kind as Kind>::label(compiled),)+ }
            }
            fn reaches(&self) -> Option<Reached> {
                match self { $(Compiled::$variant(compiled) => <$kind as Kind>::reaches(compiled),)+ }
            }
            fn touches_store(&self) -> bool {
                match self { $(Compiled::$variant(compiled) => <$kind as Kind>::touches_store(compiled),)+ }
            }
            fn map(&self, sources: &dyn Sources, id: &RequestId) -> Result<Call, MapError> {
                match self {
                    $(Compiled::$variant(compiled) => <$kind as Kind>::map(compiled, sources, id).map(Call::$variant),)+
                }
            }
        }

        /// What is sent.
        #[derive(Clone, Debug, Serialize)]
        enum Call { $(#[serde(rename = $tag)] $variant(<$kind as Kind>::Request),)+ }

        impl Call {
            fn service(&self) -> Service {
                match self { $(Call::$variant(_) => <$kind as Kind>::SERVICE,)+ }
            }
            fn wait(&self) -> Duration {
                match self { $(Call::$variant(request) => <$kind as Kind>::wait(request),)+ }
            }
            async fn run(self, targets: &Targets, deadline: Instant) -> Result<Answer, TargetError> {
                match self {
                    $(Call::$variant(request) => {
                        let Called { answer, request_id } = <$kind as Kind>::call(request, targets, deadline).await?;
                        Ok(Answer { outcome: Outcome::$variant(answer), request_id, spooled: false })
                    })+
                }
            }
        }

        /// What came back.
        #[derive(Debug)]
        enum Outcome { $($variant(<$kind as Kind>::Answer),)+ }

        impl Outcome {
            fn answered(&self) -> &dyn Answered {
                match self { $(Outcome::$variant(answer) => answer,)+ }
            }
        }
    };
}

integrations! {
    "SQS-SendMessage" => SqsSendMessage(sqs::SendMessage),
    "SQS-ReceiveMessage" => SqsReceiveMessage(sqs::ReceiveMessage),
    "SQS-DeleteMessage" => SqsDeleteMessage(sqs::DeleteMessage),
    "SQS-PurgeQueue" => SqsPurgeQueue(sqs::PurgeQueue),
    "EventBridge-PutEvents" => EventBridgePutEvents(event_bridge::PutEvents),
    "Kinesis-PutRecord" => KinesisPutRecord(kinesis::PutRecord),
    "StepFunctions-StartExecution" => StepFunctionsStartExecution(step_functions::StartExecution),
    "StepFunctions-StartSyncExecution" => StepFunctionsStartSyncExecution(step_functions::StartSyncExecution),
    "StepFunctions-StopExecution" => StepFunctionsStopExecution(step_functions::StopExecution),
    "AppConfig-GetConfiguration" => AppConfigGetConfiguration(app_config::GetConfiguration),
    "DynamoDB-GetItem" => DynamoDbGetItem(dynamodb::GetItem),
    "DynamoDB-PutItem" => DynamoDbPutItem(dynamodb::PutItem),
    "HTTP-Proxy" => HttpProxy(http_proxy::HttpProxy),
    "Mock" => Mock(mock::Mock),
}

#[cfg(test)]
pub(crate) mod fake;

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
mod wire_tests;

#[cfg(test)]
mod conformance;
