//! SQS: the four subtypes, on real queues and on embedded ones. One file each; this one holds what they share.

mod attributes;
mod delete;
mod delete_batch;
mod embedded;
mod purge;
mod receive;
mod send;
mod send_batch;
mod sent;
mod wire;

use bytes::Bytes;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

pub use self::delete::DeleteMessage;
pub(super) use self::embedded::refusal;
pub use self::purge::PurgeQueue;
pub use self::receive::{ReceiveMessage, Received};
pub(super) use self::send::Request as SendRequest;
pub use self::send::SendMessage;
pub(super) use self::sent::Sent;

use super::QueueFacts;
use super::parameter::{Compiler, Flaw, Param, region, utf8};
use super::reach::{Reached, ReachedKind};
use crate::mapping::Sources;
use crate::model::problem::nearest;
use crate::model::text::{Piece, Text};
use crate::model::value::QueueName;

/// Body and attributes together: 1 MiB (reference, 13.2).
pub(super) const MESSAGE_BYTES: usize = 1_048_576;

/// A queue: one of ours, or one of SQS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queue {
    /// `queue:NAME`.
    Embedded(QueueName),
    /// The URL of a queue, and the region that its host names.
    Aws { url: String, region: Option<String> },
}

impl Queue {
    /// The queue's name: the last part of the URL.
    pub(super) fn name(&self) -> &str {
        match self {
            Queue::Embedded(name) => &name.0,
            Queue::Aws { url, .. } => url.rsplit('/').next().unwrap_or(url),
        }
    }

    /// The URL of one of SQS, or the name of one of ours.
    fn url(&self) -> &str {
        match self {
            Queue::Embedded(name) => &name.0,
            Queue::Aws { url, .. } => url,
        }
    }

    pub(super) fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }

    /// As a metric's label.
    fn label(&self) -> String {
        match self {
            Queue::Embedded(name) => format!("queue:{name}"),
            Queue::Aws { .. } => self.name().to_owned(),
        }
    }
}

impl Serialize for Queue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Queue::Embedded(name) => serializer.collect_str(&format_args!("queue:{name}")),
            Queue::Aws { url, .. } => serializer.serialize_str(url),
        }
    }
}

impl<'de> Deserialize<'de> for Queue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        queue(Bytes::from(text)).map_err(|_| D::Error::custom("this is no queue"))
    }
}

fn queue(bytes: Bytes) -> Result<Queue, Flaw> {
    let text = utf8(bytes)?;
    if let Some(name) = text.strip_prefix("queue:") {
        return name.parse().map(Queue::Embedded).map_err(|_| {
            Flaw::Invalid(
                "names no queue; after `queue:` stand letters, digits, - and _, up to 80 characters, and .fifo at the end of a FIFO queue's name"
                    .to_owned(),
            )
        });
    }
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let parts = rest.and_then(|rest| rest.split_once('/'));
    match parts {
        Some((host, path)) if !host.is_empty() && !path.trim_matches('/').is_empty() => {
            let region = region_of_host(host);
            Ok(Queue::Aws { url: text, region })
        }
        _ => Err(Flaw::Invalid(
            "is not a queue; write the URL of an SQS queue, or queue:NAME for an embedded one"
                .to_owned(),
        )),
    }
}

/// A group's, a deduplication's or an attempt's id: 1 to 128 letters, digits and punctuation of ASCII (SendMessage,
/// ReceiveMessage, API reference).
fn fifo_id(bytes: Bytes) -> Result<String, Flaw> {
    if (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic) {
        return utf8(bytes);
    }
    Err(Flaw::Invalid(
        "must be 1 to 128 letters, digits and punctuation of ASCII, without spaces".to_owned(),
    ))
}

/// Whether a host, with or without its port, is one of AWS's.
fn is_aws_host(host: &str) -> bool {
    let host = host.split(':').next().unwrap_or(host).to_ascii_lowercase();
    let suffixes = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];
    suffixes.iter().any(|suffix| host.ends_with(suffix))
}

/// The region in the host of a queue's URL: `sqs.REGION.amazonaws.com`, `REGION.queue.amazonaws.com` (the old form),
/// `queue.amazonaws.com` (older still: us-east-1), and those of private endpoints.
fn region_of_host(host: &str) -> Option<String> {
    if !is_aws_host(host) {
        return None;
    }
    let host = host.split(':').next()?.to_ascii_lowercase();
    if host == "queue.amazonaws.com" {
        return Some("us-east-1".to_owned());
    }
    let labels: Vec<&str> = host.split('.').collect();
    let found = labels.windows(2).find_map(|pair| match pair {
        ["sqs" | "sqs-fips", region] => Some(*region),
        [region, "queue"] => Some(*region),
        _ => None,
    })?;
    crate::aws::is_region(found).then(|| found.to_owned())
}

/// The queue of a call and the region to call it in.
#[derive(Clone, Debug)]
struct Address {
    queue: Param<Queue>,
    /// The queue as messages may name it: without what was substituted.
    shown: String,
    region: Option<Param<String>>,
}

impl Address {
    /// Compiles `QueueUrl` and `Region`; an embedded queue has to be declared.
    fn compile(
        queue_url: &Option<Text>,
        region_text: &Option<Text>,
        compiler: &mut Compiler<'_, '_>,
    ) -> Option<Address> {
        let found = compiler.required("QueueUrl", queue_url, queue);
        let region = compiler.optional("Region", region_text, region);
        let (queue, text) = (found?, queue_url.as_ref()?);
        let address = Address {
            shown: shown_name(&queue, text),
            queue,
            region,
        };
        match address.queue.constant() {
            Some(Queue::Embedded(name)) if !compiler.scope.queues.contains_key(name) => {
                let declared = compiler.scope.queues.keys().map(|name| name.0.as_str());
                let help = match nearest(&name.0, declared) {
                    Some(near) => format!("did you mean `queue:{near}`?"),
                    None if address.shown == name.0 => {
                        format!("declare it: `queues: {{ {name}: {{}} }}`")
                    }
                    None => "declare it under `queues`".to_owned(),
                };
                compiler.error(
                    "QueueUrl",
                    format!("the queue `{}` is not declared", address.shown),
                    help,
                );
            }
            Some(Queue::Aws { region: None, .. })
                if address.region.is_none() && compiler.scope.region.is_none() =>
            {
                compiler.no_region();
            }
            _ => {}
        }
        if let Some(Queue::Aws {
            region: Some(of_url),
            ..
        }) = address.queue.constant()
            && let Some(asked) = address.region.as_ref().and_then(Param::constant)
            && asked != of_url
        {
            compiler
                .problems
                .warning(
                    &compiler.at.key("Region"),
                    "`Region` is not the region in the queue's URL, which is the one that is called",
                )
                .help("leave `Region` out");
        }
        if let Some(Queue::Aws { url, .. }) = address.queue.constant()
            && !compiler.scope.sqs_endpoint
            && !url.split('/').nth(2).is_some_and(is_aws_host)
        {
            compiler.stray_host();
        }
        Some(address)
    }

    fn value(&self, sources: &dyn Sources) -> Result<(Queue, Option<String>), super::MapError> {
        let queue = self.queue.value(sources)?;
        let region = match &queue {
            Queue::Embedded(_) => None,
            // the queue's own region wins
            Queue::Aws {
                region: Some(region),
                ..
            } => Some(region.clone()),
            Queue::Aws { region: None, .. } => super::parameter::optional(&self.region, sources)?,
        };
        Ok((queue, region))
    }

    /// The facts of the queue, if it is an embedded one and known already.
    fn facts(&self, compiler: &Compiler<'_, '_>) -> Option<QueueFacts> {
        match self.queue.constant() {
            Some(Queue::Embedded(name)) => compiler.scope.queues.get(name).copied(),
            _ => None,
        }
    }

    fn label(&self) -> Option<String> {
        self.queue.constant().map(Queue::label)
    }

    /// Nothing at AWS where the queue is an embedded one.
    fn reaches(&self, actions: &'static [&'static str]) -> Option<Reached> {
        let asked = || self.region.as_ref().and_then(Param::constant).cloned();
        let (name, region) = match self.queue.constant() {
            Some(Queue::Embedded(_)) => return None,
            Some(Queue::Aws { url, region }) => (Some(url.clone()), region.clone().or_else(asked)),
            None => (None, asked()),
        };
        Some(Reached {
            kind: ReachedKind::Queue,
            name,
            region,
            parameter: "QueueUrl",
            actions,
        })
    }

    fn may_be_embedded(&self) -> bool {
        !matches!(self.queue.constant(), Some(Queue::Aws { .. }))
    }
}

fn shown_name(queue: &Param<Queue>, text: &Text) -> String {
    let substituted = text
        .0
        .iter()
        .any(|piece| matches!(piece, Piece::Literal(_)));
    match queue.constant() {
        Some(queue) if !substituted => queue.name().to_owned(),
        _ => text.shown(),
    }
}

#[cfg(test)]
mod tests;
