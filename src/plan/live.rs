//! Whether what a plan calls is there: each target is looked at by one call that changes nothing. What is found is held
//! against what the routes do with it: its type, its limits, its key.

mod verdict;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use self::verdict::Verdict;

use super::permissions::Arn;
use super::{Blueprint, TableSpec, Versions};
use crate::aws::{CallError, Clients, Operation};
use crate::integration::{Reached, ReachedKind};
use crate::model::value::ByteSize;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// As the configuration names it.
    pub target: String,
    /// `SQS queue`, `Kinesis stream`, …
    pub kind: &'static str,
    /// The routes that call it.
    pub routes: Vec<String>,
    pub verdict: Verdict,
    /// What it is: its type, its limits.
    pub facts: Vec<String>,
    /// What does not fit, and why it could not be looked at.
    pub findings: Vec<String>,
}

/// A target and what the routes do with it.
struct Wanted {
    routes: Vec<String>,
    reached: Reached,
    /// The largest body that they let in, in bytes.
    body: u64,
}

/// Looks at every target that the configuration names, all at once. Those that requests name are told of, and not looked
/// at.
pub async fn look(blueprint: &Blueprint, clients: &Clients) -> Vec<Look> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut backends: Vec<(String, Vec<String>)> = Vec::new();
    for route in blueprint.routes() {
        let key = route.key.to_string();
        for target in route.targets() {
            if target.kind() == "HTTP-Proxy" {
                let authority = target.target_label().to_owned();
                match backends.iter_mut().find(|(known, _)| *known == authority) {
                    Some((_, routes)) => routes.push(key.clone()),
                    None => backends.push((authority, vec![key.clone()])),
                }
            }
            let Some(reached) = target.reaches() else {
                continue;
            };
            let body = route.limits.body;
            match wanted.iter_mut().find(|known| known.reached == reached) {
                Some(known) => {
                    known.body = known.body.max(body);
                    known.routes.push(key.clone());
                }
                None => wanted.push(Wanted {
                    routes: vec![key.clone()],
                    reached,
                    body,
                }),
            }
        }
    }
    let mut looks = join_all(wanted.iter().map(|wanted| looked(wanted, clients))).await;
    looks.extend(join_all(backends.into_iter().map(connected)).await);
    let tables = blueprint.apis.iter().filter_map(|api| {
        let versions = api.versions.as_ref()?;
        Some((&*api.name, versions, versions.kept()?))
    });
    let tables = tables.map(|(api, versions, spec)| versions_of(api, versions, spec, clients));
    looks.extend(join_all(tables).await);
    looks
}

/// Reads a table of versions, as the gateway does.
async fn versions_of(api: &str, versions: &Versions, spec: &TableSpec, clients: &Clients) -> Look {
    let mut look = Look {
        target: spec.table.clone(),
        kind: "table of versions",
        routes: vec![format!("versions of {api}")],
        verdict: Verdict::Ok,
        facts: Vec::new(),
        findings: Vec::new(),
    };
    let read = spec.fetch(clients).await;
    match read.and_then(|items| spec.rows(&items)) {
        Ok(rows) => {
            look.facts.push(format!("{} versions", rows.len()));
            for remark in versions.unserved(&rows) {
                look.warning(remark);
            }
        }
        Err(error) => look.error(error.to_string()),
    }
    look
}

async fn looked(wanted: &Wanted, clients: &Clients) -> Look {
    let Wanted {
        routes,
        reached,
        body,
    } = wanted;
    let kind = match reached.kind {
        ReachedKind::Queue => "SQS queue",
        ReachedKind::Stream => "Kinesis stream",
        ReachedKind::Bus => "EventBridge bus",
        ReachedKind::Machine { .. } => "state machine",
        ReachedKind::Execution => "execution",
        ReachedKind::Configuration => "AppConfig configuration",
        ReachedKind::Table => "DynamoDB table",
    };
    let mut look = Look {
        target: reached.name.clone().unwrap_or_default(),
        kind,
        routes: routes.clone(),
        verdict: Verdict::Ok,
        facts: Vec::new(),
        findings: Vec::new(),
    };
    let Some(name) = reached.name.as_deref() else {
        look.target = format!("(requests choose `{}`)", reached.parameter);
        look.unknown("each request names it, so it cannot be looked at");
        return look;
    };
    let region = reached.region.clone().or_else(|| {
        let region = Arn::read(name)?.region?;
        crate::aws::is_region(&region).then_some(region)
    });
    let region = region.as_deref();
    let at = At { clients, region };
    let looking = async {
        match reached.kind {
            ReachedKind::Queue => at.queue(name, *body, &mut look).await,
            ReachedKind::Stream => at.stream(name, *body, &mut look).await,
            ReachedKind::Bus => at.bus(name, &mut look).await,
            ReachedKind::Machine { express } => at.machine(name, express, &mut look).await,
            ReachedKind::Table => at.table(name, reached, &mut look).await,
            ReachedKind::Configuration => at.configuration(name, &mut look).await,
            ReachedKind::Execution => Ok(()),
        }
    };
    match tokio::time::timeout(PATIENCE, Box::pin(looking)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => look.failed(&error),
        Err(_) => look.error(format!("no answer within {} s", PATIENCE.as_secs())),
    }
    look
}

/// Where looks go.
struct At<'c> {
    clients: &'c Clients,
    region: Option<&'c str>,
}

type Looked = Result<(), CallError>;

impl At<'_> {
    fn deadline(&self) -> Instant {
        Instant::now() + PATIENCE
    }

    async fn queue(&self, url: &str, body: u64, look: &mut Look) -> Looked {
        use aws_sdk_sqs::types::QueueAttributeName;
        let client = self.clients.sqs(self.region, self.deadline()).await?;
        let call = client
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(QueueAttributeName::All);
        let output = Box::pin(call.send()).await?;
        let attributes = output.attributes.unwrap_or_default();
        let text = |name: QueueAttributeName| attributes.get(&name).map(String::as_str);
        let fifo = text(QueueAttributeName::FifoQueue) == Some("true");
        look.facts
            .push(if fifo { "FIFO" } else { "standard" }.to_owned());
        if fifo != url.ends_with(".fifo") {
            look.error("its name says another type than it has");
        }
        let most = text(QueueAttributeName::MaximumMessageSize).and_then(|text| text.parse().ok());
        if let Some(most) = most {
            look.takes(most, body, "messages");
        }
        if let Some(key) = text(QueueAttributeName::KmsMasterKeyId) {
            look.facts.push(format!("encrypted with {key}"));
        }
        Ok(())
    }

    async fn stream(&self, name: &str, body: u64, look: &mut Look) -> Looked {
        let client = self.clients.kinesis(self.region, self.deadline()).await?;
        let call = client.describe_stream_summary().stream_name(name);
        let output = Box::pin(call.send()).await?;
        let Some(summary) = output.stream_description_summary else {
            look.error("the answer says nothing about the stream");
            return Ok(());
        };
        look.is_active(summary.stream_status.as_str());
        let shards = summary.open_shard_count;
        look.facts.push(format!("{shards} open shards"));
        if let Some(mode) = &summary.stream_mode_details {
            look.facts.push(mode.stream_mode.as_str().to_owned());
        }
        let kib = summary.max_record_size_in_kib.unwrap_or(1024);
        look.takes(u64::try_from(kib).unwrap_or(1024) << 10, body, "records");
        if let Some(key) = &summary.key_id {
            look.facts.push(format!("encrypted with {key}"));
        }
        Ok(())
    }

    async fn bus(&self, name: &str, look: &mut Look) -> Looked {
        let client = self
            .clients
            .eventbridge(self.region, self.deadline())
            .await?;
        let output = Box::pin(client.describe_event_bus().name(name).send()).await?;
        if output.arn.is_none() {
            look.error("the answer says nothing about the bus");
        }
        if let Some(key) = &output.kms_key_identifier {
            look.facts.push(format!("encrypted with {key}"));
        }
        Ok(())
    }

    async fn machine(&self, arn: &str, waits: bool, look: &mut Look) -> Looked {
        let client = self
            .clients
            .stepfunctions(self.region, self.deadline())
            .await?;
        let call = client.describe_state_machine().state_machine_arn(arn);
        let output = Box::pin(call.send()).await?;
        if let Some(status) = &output.status {
            look.is_active(status.as_str());
        }
        let kind = output.r#type.as_str();
        look.facts.push(kind.to_owned());
        match (waits, kind) {
            (true, "STANDARD") => look.error(
                "StartSyncExecution wants a machine of type EXPRESS, and this one is STANDARD",
            ),
            (false, "EXPRESS") => look.warning(
                "an EXPRESS machine knows no names: a record that is sent again, because its outcome was not known, runs twice",
            ),
            _ => {}
        }
        Ok(())
    }

    async fn configuration(&self, path: &str, look: &mut Look) -> Looked {
        let client = self.clients.appconfig(self.region, self.deadline()).await?;
        let mut parts = path.split('/').map(str::to_owned);
        // the very call that the routes make: the service has no other that looks
        #[allow(deprecated)]
        let call = client
            .get_configuration()
            .set_application(parts.next())
            .set_environment(parts.next())
            .set_configuration(parts.next())
            .client_id("penstock-plan");
        let output = Box::pin(call.send()).await?;
        if let Some(version) = &output.configuration_version {
            look.facts.push(format!("version {version}"));
        }
        Ok(())
    }

    async fn table(&self, name: &str, reached: &Reached, look: &mut Look) -> Looked {
        let asked = Bytes::from(json!({ "TableName": name }).to_string());
        let operation = Operation::DescribeTable;
        let call = self
            .clients
            .call(operation, self.region, asked, self.deadline());
        let answer: Value = call.await?.read()?;
        let table = &answer["Table"];
        look.is_active(table["TableStatus"].as_str().unwrap_or("(no status)"));
        let schema = table["KeySchema"].as_array();
        let keys: Vec<&str> = schema
            .into_iter()
            .flatten()
            .filter_map(|key| key["AttributeName"].as_str())
            .collect();
        look.facts.push(format!("key {}", keys.join(", ")));
        if let Some(mode) = table["BillingModeSummary"]["BillingMode"].as_str() {
            look.facts.push(mode.to_owned());
        }
        let Some(names) = &reached.attributes else {
            return Ok(());
        };
        let missing: Vec<&str> = keys
            .iter()
            .copied()
            .filter(|key| !names.iter().any(|name| name == key))
            .collect();
        if !missing.is_empty() {
            let of = if reached.writes { "Item" } else { "Key" };
            look.error(format!(
                "`{of}` lacks {} of the table's key",
                missing.join(", ")
            ));
        }
        if !reached.writes && names.len() > keys.len() {
            look.error("`Key` has attributes that are not of the table's key");
        }
        Ok(())
    }
}

impl Look {
    fn is_active(&mut self, status: &str) {
        match status {
            "ACTIVE" => {}
            "UPDATING" => self.facts.push(status.to_owned()),
            _ => self.error(format!("it is {status}, not ACTIVE")),
        }
    }

    /// Up to how many bytes it takes, held against the bodies that its routes let in.
    fn takes(&mut self, most: u64, body: u64, what: &str) {
        let most_text = ByteSize(most);
        self.facts.push(format!("{what} up to {most_text}"));
        if body > most {
            let body = ByteSize(body);
            self.warning(format!(
                "bodies up to {body} are let in: one that makes a larger record than {most_text} is refused by the target"
            ));
        }
    }
}

/// Whether a backend takes connections. Nothing is asked.
async fn connected((authority, routes): (String, Vec<String>)) -> Look {
    let mut look = Look {
        target: authority.clone(),
        kind: "HTTP backend",
        routes,
        verdict: Verdict::Ok,
        facts: Vec::new(),
        findings: Vec::new(),
    };
    if authority == "dynamic" {
        look.target = "(requests choose the host)".to_owned();
        look.unknown("each request names it, so it cannot be looked at");
        return look;
    }
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let addresses = match has_port {
        true => vec![authority],
        false => vec![format!("{authority}:443"), format!("{authority}:80")],
    };
    let mut failures = Vec::new();
    for address in addresses {
        let connecting = tokio::net::TcpStream::connect(&address);
        match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(Ok(_)) => {
                look.facts.push("takes connections".to_owned());
                return look;
            }
            Ok(Err(error)) => failures.push(error.to_string()),
            Err(_) => failures.push(format!("nothing within {} s", PATIENCE.as_secs())),
        }
    }
    failures.dedup();
    look.error(format!("no connection: {}", failures.join("; ")));
    look
}
