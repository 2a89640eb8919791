//! AddPermission and RemovePermission. They edit the queue's `Policy`, which is kept and given back, and decides
//! nothing here: whoever has credentials for the listener may use every queue.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::store::Extra;

use super::fault::{Code, Fault};
use super::input::{Input, required};
use super::queues::{Answer, Queues, managed};

/// The actions that SQS lets others have (AddPermission, API reference).
const ACTIONS: [&str; 9] = [
    "*",
    "SendMessage",
    "ReceiveMessage",
    "DeleteMessage",
    "ChangeMessageVisibility",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
];
/// The most actions of one permission.
const MOST: usize = 7;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PermissionInput {
    queue_url: Option<String>,
    label: Option<String>,
    #[serde(rename = "AWSAccountIds")]
    accounts: Option<Vec<String>>,
    actions: Option<Vec<String>>,
}

impl Queues<'_> {
    pub(super) async fn add_permission(&self, input: Input) -> Answer {
        let input: PermissionInput = input.read()?;
        let queue = self.named(input.queue_url)?;
        let _alone = self.changing.lock().await;
        let facts = self.facts(&queue)?;
        let label = required(input.label, "Label")?;
        let fits = label.len() <= 80
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !fits {
            let rule = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.";
            return Err(Fault::value("Label", label, rule));
        }
        let accounts = input.accounts.filter(|accounts| !accounts.is_empty());
        let accounts = accounts.ok_or_else(|| {
            Code::InvalidParameterValue
                .because("Value [] for parameter PrincipalId is invalid. Reason: Unable to verify.")
        })?;
        let actions = input.actions.filter(|actions| !actions.is_empty());
        let actions = actions.ok_or_else(|| Fault::missing("Actions"))?;
        if actions.len() > MOST {
            let count = actions.len();
            return Err(Code::OverLimit.because(format!(
                "{count} Actions were found, maximum allowed is {MOST}."
            )));
        }
        if let Some(stranger) = actions
            .iter()
            .find(|name| !ACTIONS.contains(&name.as_str()))
        {
            let rule = "Only the queue owner is allowed to invoke this action.";
            return Err(Fault::value("ActionName", format!("SQS:{stranger}"), rule));
        }
        let arn = self.names.arn(&queue);
        let mut policy = policy_of(&facts.extra, &arn);
        let statements = policy["Statement"].as_array_mut();
        let Some(statements) = statements else {
            return Err(
                Code::InvalidAttributeValue.because("Invalid value for the parameter Policy.")
            );
        };
        if statements
            .iter()
            .any(|statement| statement["Sid"] == label.as_str())
        {
            return Err(Fault::value("Label", label, "Already exists."));
        }
        let principals = accounts
            .iter()
            .map(|account| format!("arn:aws:iam::{account}:root"));
        let actions = actions.iter().map(|action| format!("SQS:{action}"));
        statements.push(json!({
            "Sid": label,
            "Effect": "Allow",
            "Principal": { "AWS": one_or_all(principals.collect()) },
            "Action": one_or_all(actions.collect()),
            "Resource": arn,
        }));
        let mut extra = facts.extra;
        extra.insert("Policy".to_owned(), policy.to_string());
        self.store
            .change_queue(facts.spec, extra)
            .await
            .map_err(managed)?;
        Ok(Value::Null)
    }

    pub(super) async fn remove_permission(&self, input: Input) -> Answer {
        let input: PermissionInput = input.read()?;
        let queue = self.named(input.queue_url)?;
        let _alone = self.changing.lock().await;
        let facts = self.facts(&queue)?;
        let label = required(input.label, "Label")?;
        let mut policy = policy_of(&facts.extra, &self.names.arn(&queue));
        let statements = policy["Statement"].as_array_mut();
        let statements = statements.filter(|statements| {
            statements
                .iter()
                .any(|statement| statement["Sid"] == label.as_str())
        });
        let Some(statements) = statements else {
            return Err(Fault::value(
                "Label",
                label,
                "can't find label on existing policy.",
            ));
        };
        statements.retain(|statement| statement["Sid"] != label.as_str());
        let mut extra = facts.extra;
        if statements.is_empty() {
            extra.remove("Policy");
        } else {
            extra.insert("Policy".to_owned(), policy.to_string());
        }
        self.store
            .change_queue(facts.spec, extra)
            .await
            .map_err(managed)?;
        Ok(Value::Null)
    }
}

/// The queue's policy, or an empty one.
fn policy_of(extra: &Extra, arn: &str) -> Value {
    let kept = extra.get("Policy");
    let kept = kept.and_then(|text| serde_json::from_str::<Value>(text).ok());
    kept.filter(Value::is_object).unwrap_or_else(|| {
        json!({
            "Version": "2008-10-17",
            "Id": format!("{arn}/SQSDefaultPolicy"),
            "Statement": [],
        })
    })
}

/// One text by itself, several as a list: so the service writes policies.
fn one_or_all(mut texts: Vec<String>) -> Value {
    match texts.len() {
        1 => texts.remove(0).into(),
        _ => texts.into(),
    }
}
