//! Tags of queues: TagQueue, UntagQueue, ListQueueTags.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::store::Tags;

use super::fault::{Code, Fault};
use super::input::{Input, OfQueue};
use super::queues::{Answer, Queues};

/// The most tags of a queue (SQS).
const MOST: usize = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TagInput {
    queue_url: Option<String>,
    tags: Option<Tags>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct UntagInput {
    queue_url: Option<String>,
    tag_keys: Option<Vec<String>>,
}

impl Queues<'_> {
    pub(super) async fn tag_queue(&self, input: Input) -> Answer {
        let input: TagInput = input.read()?;
        let queue = self.named(input.queue_url)?;
        self.facts(&queue)?;
        let Some(tags) = input.tags.filter(|tags| !tags.is_empty()) else {
            return Err(Fault::missing("Tags"));
        };
        let mut all = self.store.tags(&queue)?;
        all.extend(tags.clone());
        check_tags(&all, &queue)?;
        self.store.change_tags(&queue, tags, Vec::new()).await?;
        Ok(Value::Null)
    }

    pub(super) async fn untag_queue(&self, input: Input) -> Answer {
        let input: UntagInput = input.read()?;
        let queue = self.named(input.queue_url)?;
        self.facts(&queue)?;
        let Some(keys) = input.tag_keys.filter(|keys| !keys.is_empty()) else {
            return Err(Code::InvalidParameterValue
                .because("Tag keys must be between 1 and 128 characters in length."));
        };
        self.store.change_tags(&queue, Tags::new(), keys).await?;
        Ok(Value::Null)
    }

    pub(super) async fn list_queue_tags(&self, input: Input) -> Answer {
        let input: OfQueue = input.read()?;
        let queue = self.named(input.queue_url)?;
        self.facts(&queue)?;
        let tags = self.store.tags(&queue)?;
        Ok(match tags.is_empty() {
            true => json!({}),
            false => json!({ "Tags": tags }),
        })
    }
}

/// Checks all tags that a queue is going to have.
pub fn check_tags(tags: &Tags, queue: &str) -> Result<(), Fault> {
    let refused = |why: &str| Err(Code::InvalidParameterValue.because(why));
    if tags.len() > MOST {
        return refused(&format!("Too many tags added for queue {queue}."));
    }
    for (key, value) in tags {
        if !(1..=128).contains(&key.chars().count()) {
            return refused("Tag keys must be between 1 and 128 characters in length.");
        }
        if value.chars().count() > 256 {
            return refused("Tag values must be between 0 and 256 characters in length.");
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return refused("Tag keys that begin with aws: are reserved.");
        }
    }
    Ok(())
}
