//! The queues as one request sees them, and the actions that make, name, list, empty and remove them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::listen::Leaving;
use crate::model::value::QueueName;
use crate::store::{ManageError, QueueFacts, QueueSpec, Store, StoreError, Tags};

use super::attributes::{self, AttributeInput};
use super::fault::{Code, Fault};
use super::input::{Input, OfQueue, required, within};
use super::names::{self, Names};
use super::tags::check_tags;

/// What an action answers: an object, or null where the action has no result.
pub type Answer = Result<Value, Fault>;

/// How long a queue that was purged is not purged again (SQS).
const PURGE_PAUSE: Duration = Duration::from_secs(60);
/// How long a purge is waited for. It goes on without us; SQS promises no more than that it is done within a minute.
const PURGE_WAIT: Duration = Duration::from_secs(15);
/// The most queues in one answer.
const PAGE: i64 = 1_000;

/// The queues, for one request.
pub struct Queues<'a> {
    pub store: &'a Store,
    pub names: &'a Names,
    pub purges: &'a Purges,
    pub leaving: &'a Leaving,
    /// Held by whoever reads a queue's attributes in order to change them.
    pub changing: &'a tokio::sync::Mutex<()>,
}

/// When queues were purged, in this process.
#[derive(Debug, Default)]
pub struct Purges(Mutex<HashMap<String, Instant>>);

impl Purges {
    /// Notes a purge; false if the last one was less than a minute ago.
    fn begin(&self, queue: &str) -> bool {
        let mut purges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        purges.retain(|_, at| at.elapsed() < PURGE_PAUSE);
        if purges.contains_key(queue) {
            return false;
        }
        purges.insert(queue.to_owned(), Instant::now());
        true
    }

    fn forget(&self, queue: &str) {
        let mut purges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        purges.remove(queue);
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CreateInput {
    queue_name: Option<String>,
    attributes: Option<AttributeInput>,
    /// The model's one name in lower case.
    #[serde(rename = "tags", alias = "Tags")]
    tags: Option<Tags>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OfName {
    queue_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ListInput {
    queue_url: Option<String>,
    queue_name_prefix: Option<String>,
    next_token: Option<String>,
    max_results: Option<i64>,
}

impl Queues<'_> {
    /// The name in a required `QueueUrl`. Names that no queue can have are no queue: spools have such names.
    pub(super) fn named(&self, url: Option<String>) -> Result<String, Fault> {
        let name = names::in_url(&required(url, "QueueUrl")?)?;
        match name.parse::<QueueName>() {
            Ok(_) => Ok(name),
            Err(_) => Err(Fault::no_queue()),
        }
    }

    /// What is known of a queue that exists.
    pub(super) fn facts(&self, queue: &str) -> Result<QueueFacts, Fault> {
        self.store.queue_facts(queue).ok_or_else(Fault::no_queue)
    }

    /// Whether a queue that exists is FIFO.
    pub(super) fn is_fifo(&self, queue: &str) -> Result<bool, Fault> {
        let spec = self.store.spec(queue).ok_or_else(Fault::no_queue)?;
        Ok(spec.fifo)
    }

    pub(super) async fn create_queue(&self, input: Input) -> Answer {
        let input: CreateInput = input.read()?;
        let name = input
            .queue_name
            .ok_or_else(|| Fault::missing("QueueName"))?;
        names::check(&name)?;
        let wanted = input.attributes.unwrap_or_default();
        let tags = input.tags.unwrap_or_default();
        check_tags(&tags, &name)?;
        let fifo = attributes::is_fifo(&name, &wanted)?;
        let _alone = self.changing.lock().await;
        if let Some(facts) = self.store.queue_facts(&name) {
            attributes::check_same(&wanted, &facts, self.names)?;
            return Ok(json!({ "QueueUrl": self.names.url(&name) }));
        }
        let mut spec = QueueSpec::new(&name);
        spec.fifo = fifo;
        let mut extra = Default::default();
        attributes::apply(&wanted, attributes::Use::Create, &mut spec, &mut extra)?;
        self.check_redrive(&spec)?;
        match self.store.create_queue(spec, extra, tags).await {
            Ok(()) => Ok(json!({ "QueueUrl": self.names.url(&name) })),
            Err(error) => Err(managed(error)),
        }
    }

    pub(super) async fn delete_queue(&self, input: Input) -> Answer {
        let input: OfQueue = input.read()?;
        let queue = self.named(input.queue_url)?;
        self.facts(&queue)?;
        self.store.delete_queue(&queue).await.map_err(managed)?;
        self.purges.forget(&queue);
        Ok(Value::Null)
    }

    pub(super) async fn get_queue_url(&self, input: Input) -> Answer {
        let input: OfName = input.read()?;
        let name = required(input.queue_name, "QueueName")?;
        self.facts(&name)?;
        Ok(json!({ "QueueUrl": self.names.url(&name) }))
    }

    pub(super) async fn list_queues(&self, input: Input) -> Answer {
        let input: ListInput = input.read()?;
        let prefix = input.queue_name_prefix.clone().unwrap_or_default();
        let mut names = self.store.queue_names();
        names.retain(|name| name.starts_with(&prefix));
        self.page("QueueUrls", names, input)
    }

    pub(super) async fn list_dead_letter_source_queues(&self, input: Input) -> Answer {
        let input: ListInput = input.read()?;
        let queue = self.named(input.queue_url.clone())?;
        self.facts(&queue)?;
        let sources = self.store.dead_letter_sources(&queue);
        // The model's one name in lower case.
        let mut answer = self.page("queueUrls", sources, input)?;
        if answer.get("queueUrls").is_none() {
            answer["queueUrls"] = json!([]);
        }
        Ok(answer)
    }

    /// One page of a list of queues, which are in order. A token goes with `MaxResults` only, as the service has it.
    fn page(&self, key: &str, mut names: Vec<String>, input: ListInput) -> Answer {
        let most = within(input.max_results, "MaxResults", 1, PAGE)?;
        if let Some(token) = input.next_token.filter(|token| !token.is_empty()) {
            if most.is_none() {
                return Err(Fault::missing("MaxResults"));
            }
            let last = URL_SAFE_NO_PAD.decode(token).ok();
            let last = last.and_then(|bytes| String::from_utf8(bytes).ok());
            let last = last.ok_or_else(|| {
                Code::InvalidParameterValue.because("Invalid or expired NextToken")
            })?;
            names.retain(|name| *name > last);
        }
        let all = names.len();
        names.truncate(most.map_or(PAGE as usize, |most| most as usize));
        let mut answer = serde_json::Map::new();
        if names.len() < all
            && most.is_some()
            && let Some(last) = names.last()
        {
            answer.insert("NextToken".to_owned(), URL_SAFE_NO_PAD.encode(last).into());
        }
        if !names.is_empty() {
            let urls: Vec<Value> = names
                .iter()
                .map(|name| self.names.url(name).into())
                .collect();
            answer.insert(key.to_owned(), urls.into());
        }
        Ok(Value::Object(answer))
    }

    pub(super) async fn purge_queue(&self, input: Input) -> Answer {
        let input: OfQueue = input.read()?;
        let queue = self.named(input.queue_url)?;
        self.is_fifo(&queue)?;
        if !self.purges.begin(&queue) {
            return Err(Code::PurgeQueueInProgress.because(format!(
                "Only one PurgeQueue operation on {queue} is allowed every 60 seconds."
            )));
        }
        match tokio::time::timeout(PURGE_WAIT, self.store.purge(&queue)).await {
            Ok(Err(error)) => {
                self.purges.forget(&queue);
                Err(error.into())
            }
            Ok(Ok(_)) | Err(_) => Ok(Value::Null),
        }
    }

    /// The dead-letter queue that a declaration names has to exist, and be of the same kind.
    pub(super) fn check_redrive(&self, spec: &QueueSpec) -> Result<(), Fault> {
        let Some(redrive) = &spec.redrive else {
            return Ok(());
        };
        let refused = |why: &str| {
            let given = format!("{:?}", self.names.arn(&redrive.to));
            Err(Fault::value("RedrivePolicy", given, why))
        };
        match self.store.queue_facts(&redrive.to) {
            None => refused("Dead letter target does not exist."),
            Some(target) if target.spec.fifo != spec.fifo => {
                refused("Dead-letter queue must be same type of queue as the source.")
            }
            Some(_) => Ok(()),
        }
    }
}

/// Why a queue could not be made, changed or removed, in SQS's codes.
pub(super) fn managed(error: ManageError) -> Fault {
    match error {
        ManageError::ExistsOtherwise => Code::QueueNameExists.because(
            "A queue already exists with the same name and a different value for some attribute",
        ),
        ManageError::Declared => Code::UnsupportedOperation
            .because("The gateway's configuration declares this queue; it is removed there."),
        ManageError::Refused(error) => match error {
            crate::store::DeclareError::Store(error) => error.into(),
            error => Code::InvalidParameterValue.because(error.to_string()),
        },
        ManageError::Store(StoreError::UnknownQueue(_)) => Fault::no_queue(),
        ManageError::Store(error) => error.into(),
    }
}
