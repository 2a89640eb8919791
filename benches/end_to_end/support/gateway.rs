//! Gateways as the benches configure them: an API key, a throttle that never refuses, metrics and an access log.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Outcome;
use super::process::Server;
use super::requests::KEY_HASH;

/// A gateway's file, part by part.
#[derive(Clone, Default)]
pub struct Setup {
    /// Top-level sections beside those that every gateway here has.
    pub sections: String,
    /// The public listener's further keys, such as `tls`.
    pub listener: String,
    /// Where AWS is.
    pub endpoint: Option<SocketAddr>,
    /// The store's further keys, such as `max_size`.
    pub store: String,
    /// Routes, each with its indented body.
    pub routes: String,
}

impl Setup {
    /// One `POST /orders` behind the key and the throttle. `integration` is written as under the route.
    pub fn orders(integration: &str) -> Setup {
        Setup::default().route("POST /orders", "authorizer: api_key", integration)
    }

    pub fn route(mut self, key: &str, authorizer: &str, integration: &str) -> Setup {
        // Into a String nothing can fail.
        let _ = write!(
            self.routes,
            "  {key}:\n    {authorizer}\n    throttle: {{ rate: 1000000000, burst: 1000000 }}\n    {integration}\n"
        );
        self
    }

    pub fn endpoint(mut self, endpoint: SocketAddr) -> Setup {
        self.endpoint = Some(endpoint);
        self
    }

    pub fn section(mut self, section: &str) -> Setup {
        self.sections += section;
        self.sections.push('\n');
        self
    }

    pub fn store(mut self, keys: &str) -> Setup {
        self.store = format!(", {keys}");
        self
    }

    pub fn listener(mut self, keys: &str) -> Setup {
        self.listener = keys.to_owned();
        self
    }

    /// Writes the file into a folder of its own below this one; what was there from an earlier gateway stays, the
    /// store included.
    pub fn write(&self, folder: &Path, name: &str) -> Outcome<PathBuf> {
        let folder = folder.join(name.replace([' ', ',', ':', '`'], "-"));
        fs::create_dir_all(&folder)?;
        let aws = match self.endpoint {
            Some(endpoint) => {
                format!("aws: {{ region: eu-west-1, endpoint: 'http://{endpoint}' }}\n")
            }
            None => String::new(),
        };
        let file = folder.join("gateway.yaml");
        fs::write(
            &file,
            format!(
                "api: bench\nlisteners: {{ public: {{ bind: 127.0.0.1:0{} }} }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
                 store: {{ path: ./data{} }}\naccess_log: {{ path: access.log }}\n\
                 api_keys: {{ k: {{ hash: '{KEY_HASH}' }} }}\n{aws}{}routes:\n{}",
                self.listener, self.store, self.sections, self.routes
            ),
        )?;
        Ok(file)
    }

    pub fn start(&self, folder: &Path, name: &str) -> Outcome<Server> {
        self.start_on(folder, name, None)
    }

    /// On this core alone, where that can be had.
    pub fn start_on(&self, folder: &Path, name: &str, core: Option<usize>) -> Outcome<Server> {
        Server::gateway(name, &self.write(folder, name)?, core)
    }
}

/// A target that does nothing.
pub const MOCK: &str = "integration: { Mock: { status: 202 } }";
/// A target that fsyncs.
pub const QUEUE: &str =
    "integration: { SQS-SendMessage: { QueueUrl: 'queue:orders', MessageBody: $request.body } }";
/// A target at the fake endpoint.
pub const SQS: &str = "integration: { SQS-SendMessage: { QueueUrl: 'https://sqs.eu-west-1.amazonaws.com/111122223333/orders', MessageBody: $request.body } }";
/// Another one; records spread over shards.
pub const KINESIS: &str = "integration: { Kinesis-PutRecord: { StreamName: clicks, Data: $request.body, PartitionKey: $context.requestId } }";
/// And the third that is called in batches.
pub const EVENTS: &str = "integration: { EventBridge-PutEvents: { EventBusName: hooks, Source: bench, DetailType: order, Detail: $request.body } }";

/// One call a record, for every target.
pub const ONE_BY_ONE: &str = "targets: { default: { batch: none } }";
