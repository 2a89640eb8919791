//! A table of versions in DynamoDB: what is asked, and how items become rows. A table with an item that cannot be a
//! version is refused whole, so that a slip of an editor changes nothing.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::row::{Table, Version};
use crate::aws::{Clients, Operation};
use crate::config::{Partition, Version as Written, VersionAttributes, VersionTable};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::value::Span;
use crate::plan::permissions::Arn;

/// How long reading the whole table may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most versions that a table may hold.
const MOST_ROWS: usize = 1_000;
/// The most answers that are read for them: each holds up to 1 MB of items (Scan, API reference).
const MOST_PAGES: usize = 50;
/// The longest text of an attribute, in bytes.
const LONGEST: usize = 1_024;

/// A table of versions, and how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// By name or ARN.
    pub table: String,
    pub region: Option<String>,
    attributes: VersionAttributes,
    partition: Option<Partition>,
    pub refresh: Duration,
}

/// Why there are no rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Refused(String),
}

/// One answer of Scan and Query.
#[derive(Deserialize)]
struct Page {
    #[serde(rename = "Items", default)]
    items: Vec<Value>,
    #[serde(rename = "LastEvaluatedKey")]
    last: Option<Map<String, Value>>,
}

impl TableSpec {
    /// Checks what was written, but for the APIs.
    pub(super) fn compile(
        written: &VersionTable,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> TableSpec {
        if written.apis.is_empty() {
            problems
                .error(
                    &at.key("apis"),
                    "nothing says which APIs its items may name",
                )
                .help("write the names of the APIs that are, or are to be, versions");
        }
        let arn = Arn::read(&written.table);
        let name = match &arn {
            Some(arn) if arn.service == "dynamodb" => arn.resource.strip_prefix("table/"),
            Some(_) => None,
            None => Some(written.table.as_str()),
        };
        if !name.is_some_and(is_name) {
            problems
                .error(
                    &at.key("table"),
                    format!("{:?} is not a table's name", written.table),
                )
                .help("allowed: letters, digits, `_`, `.` and `-`, 3 to 255 characters, or an ARN");
        }
        let region = written
            .region
            .clone()
            .or_else(|| arn?.region.filter(|region| !region.is_empty()));
        if let Some(region) = region
            .as_deref()
            .filter(|name| !crate::aws::is_region(name))
        {
            problems.error(&at.key("region"), format!("{region:?} is not a region"));
        }
        let all = written.attributes.all();
        for (index, (key, name)) in all.iter().enumerate() {
            let at = at.key("attributes").key(*key);
            if name.is_empty() || name.len() > 255 {
                problems.error(&at, "an attribute's name has 1 to 255 characters");
            }
            if let Some((first, _)) = all[..index].iter().find(|(_, other)| other == name) {
                problems.error(&at, format!("`{first}` is called `{name}` too"));
            }
        }
        if let Some(partition) = &written.partition
            && (partition.key.is_empty() || partition.value.is_empty())
        {
            problems.error(&at.key("partition"), "a key and its value are not empty");
        }
        let refresh = written.refresh.unwrap_or(Span::secs(30));
        if !(Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&refresh.0) {
            problems
                .error(&at.key("refresh"), format!("{refresh} is out of range"))
                .help("allowed: 1s to 1h");
        }
        TableSpec {
            table: written.table.clone(),
            region,
            attributes: written.attributes.clone(),
            partition: written.partition.clone(),
            refresh: refresh.0,
        }
    }

    /// Whether the same rows are read, perhaps at another pace.
    pub fn is_same_table(&self, other: &TableSpec) -> bool {
        let own = (&self.table, &self.region, &self.attributes, &self.partition);
        own == (
            &other.table,
            &other.region,
            &other.attributes,
            &other.partition,
        )
    }

    /// What a policy has to allow on the table.
    pub fn action(&self) -> &'static str {
        match self.partition {
            Some(_) => "dynamodb:Query",
            None => "dynamodb:Scan",
        }
    }

    /// What its rows are made of.
    pub(super) fn shape(&self) -> impl std::fmt::Debug {
        (&self.attributes, &self.partition)
    }

    /// As people are told.
    pub fn label(&self) -> &str {
        self.table.rsplit('/').next().unwrap_or(&self.table)
    }

    /// Reads every item.
    pub async fn fetch(&self, clients: &Clients) -> Result<Vec<Value>, Unread> {
        let operation = match self.partition {
            Some(_) => Operation::Query,
            None => Operation::Scan,
        };
        let deadline = Instant::now() + PATIENCE;
        // A call waits for the first credentials as briefly as a request may; nobody waits for this one.
        clients.settle(deadline).await;
        let mut items = Vec::new();
        let mut after = None;
        for _ in 0..MOST_PAGES {
            let question = Bytes::from(self.question(after.take()).to_string());
            let answer = clients.call(operation, self.region.as_deref(), question, deadline);
            let page = answer.await.and_then(|answer| answer.read::<Page>());
            let page = page.map_err(|error| Unread::Failed(error.to_string()))?;
            items.extend(page.items);
            if items.len() > MOST_ROWS {
                let said = format!("it holds more than {MOST_ROWS} items");
                return Err(Unread::Refused(said));
            }
            match page.last {
                Some(last) => after = Some(last),
                None => return Ok(items),
            }
        }
        let said = format!("its items are spread over more than {MOST_PAGES} answers");
        Err(Unread::Refused(said))
    }

    /// The input of Scan or Query: nothing but the attributes that a row is made of.
    fn question(&self, after: Option<Map<String, Value>>) -> Value {
        let mut names = Map::new();
        for (key, name) in self.attributes.all() {
            names.insert(format!("#{key}"), Value::from(name));
        }
        let asked: Vec<&str> = names.keys().map(String::as_str).collect();
        let mut question = json!({
            "TableName": self.table,
            "ProjectionExpression": asked.join(","),
        });
        if let Some(partition) = &self.partition {
            names.insert("#partition".to_owned(), Value::from(&*partition.key));
            question["KeyConditionExpression"] = "#partition = :partition".into();
            question["ExpressionAttributeValues"] =
                json!({ ":partition": { "S": partition.value } });
        }
        question["ExpressionAttributeNames"] = names.into();
        if let Some(after) = after {
            question["ExclusiveStartKey"] = after.into();
        }
        question
    }

    /// The rows that items are; all of them must be one.
    pub fn rows(&self, items: &[Value]) -> Result<Table, Unread> {
        let mut table = Table::default();
        let refused = |said: String| Err(Unread::Refused(said));
        for item in items {
            let row = match self.row(item) {
                Ok(row) => row,
                Err(said) => return refused(said),
            };
            let name = row.name.clone();
            if !table.add(row) {
                return refused(format!("the version `{name}` stands in it twice"));
            }
        }
        match table.is_empty() {
            true => refused("it holds no version".to_owned()),
            false => Ok(table),
        }
    }

    fn row(&self, item: &Value) -> Result<Version, String> {
        let of = &self.attributes;
        let Some(name) = text(item, &of.version)? else {
            return Err(format!("an item has no attribute `{}`", of.version));
        };
        let whose = |said: String| format!("the version `{name}`: {said}");
        let optional = |attribute: &str| text(item, attribute).map_err(whose);
        let Some(api) = optional(&of.api)? else {
            return Err(whose(format!("its item has no attribute `{}`", of.api)));
        };
        let gone = match item.get(&of.gone) {
            None => false,
            Some(value) => match (value["BOOL"].as_bool(), &value["NULL"]) {
                (Some(gone), _) => gone,
                (None, Value::Bool(true)) => false,
                _ => return Err(whose(format!("`{}` is not a boolean", of.gone))),
            },
        };
        let written = Written {
            api,
            deprecated: optional(&of.deprecated)?,
            sunset: optional(&of.sunset)?,
            link: optional(&of.link)?,
            gone,
        };
        let mut problems = Problems::default();
        let row = Version::compile(&name, &written, &ConfigPath::root(), &mut problems);
        match problems.0.first() {
            None => Ok(row),
            Some(problem) => Err(whose(problem.message.clone())),
        }
    }
}

/// A string or a number; `None` where it is not there, is null or empty.
fn text(item: &Value, attribute: &str) -> Result<Option<String>, String> {
    let Some(value) = item.get(attribute) else {
        return Ok(None);
    };
    if value["NULL"] == Value::Bool(true) {
        return Ok(None);
    }
    match value["S"].as_str().or(value["N"].as_str()) {
        Some(text) if text.len() > LONGEST => {
            Err(format!("`{attribute}` is longer than {LONGEST} bytes"))
        }
        Some(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        None => Err(format!("`{attribute}` is neither a string nor a number")),
    }
}

/// Whether a table can be called so (CreateTable, API reference).
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (3..=255).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
