//! The attributes of queues: what is asked for, what may be set, and what is only kept.
//!
//! What the store acts on is in its declaration of the queue; the rest is kept as it was written and given back: the
//! wait of a receive, which acts here, and what has no meaning in a gateway of one account (`Policy`, `Kms…`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::store::{Extra, QueueFacts, QueueSpec, QueueStats, Redrive};

use super::fault::{Code, Fault};
use super::input::Input;
use super::names::{self, Names};
use super::queues::{Answer, Queues, managed};

/// Attributes as they are written.
pub type AttributeInput = BTreeMap<String, String>;

/// The attribute whose value is the wait of a receive that names none.
pub const WAIT_TIME: &str = "ReceiveMessageWaitTimeSeconds";

/// The attribute that says within what a FIFO queue finds duplicates.
pub const SCOPE: &str = "DeduplicationScope";
/// Its value for: within a message group.
pub const SCOPE_GROUP: &str = "messageGroup";
/// The attribute that says what a FIFO queue's throughput is counted by. Nothing here is.
const LIMIT: &str = "FifoThroughputLimit";

/// Every attribute of a queue, but `All`.
const NAMES: [&str; 21] = [
    "Policy",
    "VisibilityTimeout",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
    "ApproximateNumberOfMessagesDelayed",
    "DelaySeconds",
    WAIT_TIME,
    "RedrivePolicy",
    "FifoQueue",
    "ContentBasedDeduplication",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    SCOPE,
    LIMIT,
    "RedriveAllowPolicy",
    "SqsManagedSseEnabled",
];

/// The longest retention that SQS knows (14 days); a queue that keeps its messages for ever shows it.
const LONGEST_RETENTION: u64 = 1_209_600;

/// Whether attributes are those of a new queue: only then may they say that it is FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Create,
    Set,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct GetInput {
    queue_url: Option<String>,
    attribute_names: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct SetInput {
    queue_url: Option<String>,
    attributes: Option<AttributeInput>,
}

/// The JSON text of `RedrivePolicy`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedriveInput {
    dead_letter_target_arn: Option<Value>,
    max_receive_count: Option<Value>,
}

impl Queues<'_> {
    pub(super) async fn get_queue_attributes(&self, input: Input) -> Answer {
        let input: GetInput = input.read()?;
        let queue = self.named(input.queue_url)?;
        let facts = self.facts(&queue)?;
        let asked = input.attribute_names.unwrap_or_default();
        if let Some(stranger) = asked
            .iter()
            .find(|name| *name != "All" && !NAMES.contains(&name.as_str()))
        {
            return Err(unknown(stranger));
        }
        let stats = self.store.stats();
        let stats = stats.queues.into_iter().find(|stats| stats.name == queue);
        let all = shown(&facts, stats.as_ref(), self.names);
        let wanted = |name: &str| asked.iter().any(|asked| asked == "All" || asked == name);
        let chosen: Map<String, Value> = all
            .into_iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, value)| (name.to_owned(), Value::String(value)))
            .collect();
        Ok(match chosen.is_empty() {
            true => json!({}),
            false => json!({ "Attributes": chosen }),
        })
    }

    pub(super) async fn set_queue_attributes(&self, input: Input) -> Answer {
        let input: SetInput = input.read()?;
        let queue = self.named(input.queue_url)?;
        let _alone = self.changing.lock().await;
        let facts = self.facts(&queue)?;
        let Some(attributes) = input.attributes.filter(|given| !given.is_empty()) else {
            return Err(Fault::missing("Attributes"));
        };
        let (mut spec, mut extra) = (facts.spec, facts.extra);
        apply(&attributes, Use::Set, &mut spec, &mut extra)?;
        if facts.declared && extra.get(SCOPE).is_some_and(|scope| scope == SCOPE_GROUP) {
            // Routes send to declared queues past this listener, with ids for the whole queue.
            return Err(Code::UnsupportedOperation.because(
                "The gateway's configuration declares this queue; its DeduplicationScope is queue.",
            ));
        }
        if attributes.contains_key("RedrivePolicy") {
            self.check_redrive(&spec)?;
        }
        let changed = self.store.change_queue(spec, extra).await;
        changed.map_err(managed)?;
        Ok(Value::Null)
    }
}

fn unknown(name: &str) -> Fault {
    Code::InvalidAttributeName.because(format!("Unknown Attribute {name}."))
}

fn invalid(name: &str) -> Fault {
    Code::InvalidAttributeValue.because(format!("Invalid value for the parameter {name}."))
}

/// Whether a queue that is to be made is FIFO: its name says so, and `FifoQueue` has to say the same.
pub fn is_fifo(name: &str, given: &AttributeInput) -> Result<bool, Fault> {
    let fifo_name = name.ends_with(".fifo");
    match given.get("FifoQueue").map(|value| value.to_ascii_lowercase()) {
        Some(value) if value == "true" && fifo_name => Ok(true),
        Some(value) if value == "true" => Err(Code::InvalidParameterValue.because(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length.",
        )),
        Some(value) if value == "false" && !fifo_name => Err(unknown("FifoQueue")),
        Some(value) if value != "false" => Err(invalid("FifoQueue")),
        _ if fifo_name => Err(Code::InvalidParameterValue.because(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        )),
        _ => Ok(false),
    }
}

/// Puts attributes where they belong.
pub fn apply(
    given: &AttributeInput,
    how: Use,
    spec: &mut QueueSpec,
    extra: &mut Extra,
) -> Result<(), Fault> {
    for (name, value) in given {
        let number = |low: u64, high: u64| {
            let number = value.parse::<u64>().ok();
            number
                .filter(|number| (low..=high).contains(number))
                .ok_or_else(|| invalid(name))
        };
        let truth = || match value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(invalid(name)),
        };
        match name.as_str() {
            "VisibilityTimeout" => {
                spec.visibility_timeout = Duration::from_secs(number(0, 43_200)?);
            }
            "MessageRetentionPeriod" => {
                spec.retention = Some(Duration::from_secs(number(60, LONGEST_RETENTION)?));
            }
            "DelaySeconds" => spec.delay = Duration::from_secs(number(0, 900)?),
            "MaximumMessageSize" => spec.max_message_size = number(1_024, 1 << 20)?,
            "RedrivePolicy" => spec.redrive = redrive(value)?,
            "FifoQueue" if how == Use::Create && spec.fifo => {}
            "ContentBasedDeduplication" if spec.fifo => spec.content_based_deduplication = truth()?,
            WAIT_TIME => keep(extra, name, number(0, 20)?.to_string()),
            "KmsDataKeyReusePeriodSeconds" => keep(extra, name, number(60, 86_400)?.to_string()),
            "SqsManagedSseEnabled" => keep(extra, name, truth()?.to_string()),
            "KmsMasterKeyId" => keep(extra, name, value.clone()),
            SCOPE if spec.fifo => {
                check_word(name, value, &["queue", SCOPE_GROUP])?;
                keep(extra, name, value.clone());
            }
            LIMIT if spec.fifo => {
                check_word(name, value, &["perQueue", "perMessageGroupId"])?;
                keep(extra, name, value.clone());
            }
            "Policy" => {
                if !value.is_empty() && !is_object(value) {
                    return Err(invalid(name));
                }
                keep(extra, name, value.clone());
            }
            "RedriveAllowPolicy" => {
                check_redrive_allow(value)?;
                keep(extra, name, value.clone());
            }
            _ => return Err(unknown(name)),
        }
    }
    let scope = extra.get(SCOPE).map(String::as_str);
    if extra
        .get(LIMIT)
        .is_some_and(|limit| limit == "perMessageGroupId")
        && scope != Some(SCOPE_GROUP)
    {
        return Err(Code::InvalidAttributeValue.because(
            "FifoThroughputLimit perMessageGroupId needs DeduplicationScope messageGroup.",
        ));
    }
    Ok(())
}

fn check_word(name: &str, value: &str, words: &[&str]) -> Result<(), Fault> {
    if words.contains(&value) {
        Ok(())
    } else {
        Err(invalid(name))
    }
}

/// Keeps an attribute; an empty one is removed.
fn keep(extra: &mut Extra, name: &str, value: String) {
    if value.is_empty() {
        extra.remove(name);
    } else {
        extra.insert(name.to_owned(), value);
    }
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())
}

/// Reads a `RedrivePolicy`; an empty one is none.
fn redrive(text: &str) -> Result<Option<Redrive>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let refused = |why: &str| Fault::value("RedrivePolicy", text, why);
    let policy: RedriveInput = serde_json::from_str(text)
        .map_err(|_| refused("Redrive policy is not a valid JSON map."))?;
    let arn = policy
        .dead_letter_target_arn
        .as_ref()
        .and_then(Value::as_str);
    let arn = arn.ok_or_else(|| {
        refused("Redrive policy does not contain mandatory attribute: deadLetterTargetArn.")
    })?;
    let count = policy.max_receive_count.ok_or_else(|| {
        refused("Redrive policy does not contain mandatory attribute: maxReceiveCount.")
    })?;
    let to = names::in_arn(arn).ok_or_else(|| refused("Invalid value for deadLetterTargetArn."))?;
    let count = match &count {
        Value::String(digits) => digits.parse().ok(),
        number => number.as_u64(),
    };
    let count = count
        .filter(|count| (1..=1_000).contains(count))
        .ok_or_else(|| refused("Invalid value for maxReceiveCount: must be between 1 and 1000."))?;
    Ok(Some(Redrive {
        to: to.to_owned(),
        max_receive_count: count as u32,
    }))
}

fn check_redrive_allow(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Ok(());
    }
    let refused = |why: &str| Err(Fault::value("RedriveAllowPolicy", text, why));
    let Ok(policy) = serde_json::from_str::<Map<String, Value>>(text) else {
        return refused("Redrive allow policy is not a valid JSON map.");
    };
    let sources = policy.get("sourceQueueArns").and_then(Value::as_array);
    match policy.get("redrivePermission").and_then(Value::as_str) {
        Some("allowAll" | "denyAll") if sources.is_none() => Ok(()),
        Some("byQueue")
            if sources.is_some_and(|arns| {
                (1..=10).contains(&arns.len())
                    && arns
                        .iter()
                        .all(|arn| arn.as_str().and_then(names::in_arn).is_some())
            }) =>
        {
            Ok(())
        }
        Some("byQueue") => refused("byQueue needs one to ten sourceQueueArns."),
        Some("allowAll" | "denyAll") => refused("Only byQueue takes sourceQueueArns."),
        _ => refused("redrivePermission must be allowAll, denyAll or byQueue."),
    }
}

/// Every attribute that a queue has a value for, as SQS spells it.
fn shown(
    facts: &QueueFacts,
    stats: Option<&QueueStats>,
    names: &Names,
) -> BTreeMap<&'static str, String> {
    let spec = &facts.spec;
    let count = |count: fn(&QueueStats) -> u64| stats.map_or(0, count).to_string();
    let retention = spec
        .retention
        .map_or(LONGEST_RETENTION, |kept| kept.as_secs());
    let mut shown = BTreeMap::from([
        ("QueueArn", names.arn(&spec.name)),
        ("ApproximateNumberOfMessages", count(|stats| stats.visible)),
        (
            "ApproximateNumberOfMessagesNotVisible",
            count(|stats| stats.in_flight),
        ),
        (
            "ApproximateNumberOfMessagesDelayed",
            count(|stats| stats.delayed),
        ),
        ("CreatedTimestamp", facts.created_at.to_string()),
        ("LastModifiedTimestamp", facts.modified_at.to_string()),
        (
            "VisibilityTimeout",
            spec.visibility_timeout.as_secs().to_string(),
        ),
        ("MaximumMessageSize", spec.max_message_size.to_string()),
        ("MessageRetentionPeriod", retention.to_string()),
        ("DelaySeconds", spec.delay.as_secs().to_string()),
        (WAIT_TIME, "0".to_owned()),
    ]);
    if spec.fifo {
        shown.insert("FifoQueue", "true".to_owned());
        let content = spec.content_based_deduplication.to_string();
        shown.insert("ContentBasedDeduplication", content);
        shown.insert(SCOPE, "queue".to_owned());
        shown.insert(LIMIT, "perQueue".to_owned());
    }
    if let Some(redrive) = &spec.redrive {
        let policy = json!({
            "deadLetterTargetArn": names.arn(&redrive.to),
            "maxReceiveCount": redrive.max_receive_count,
        });
        shown.insert("RedrivePolicy", policy.to_string());
    }
    for name in NAMES {
        if let Some(kept) = facts.extra.get(name) {
            shown.insert(name, kept.clone());
        }
    }
    shown
}

/// Whether a queue that exists has the attributes that it would be made with.
pub fn check_same(given: &AttributeInput, facts: &QueueFacts, names: &Names) -> Result<(), Fault> {
    // Read into a copy first, so that a wrong value is called wrong, and a right one is compared by its meaning.
    let (mut spec, mut extra) = (facts.spec.clone(), facts.extra.clone());
    apply(given, Use::Create, &mut spec, &mut extra)?;
    let wanted = QueueFacts {
        spec,
        extra,
        ..facts.clone()
    };
    let (have, want) = (shown(facts, None, names), shown(&wanted, None, names));
    let differs = given
        .keys()
        .find(|name| have.get(name.as_str()) != want.get(name.as_str()));
    match differs {
        None => Ok(()),
        Some(name) => Err(Code::QueueNameExists.because(format!(
            "A queue already exists with the same name and a different value for attribute {name}"
        ))),
    }
}

#[cfg(test)]
mod tests;
