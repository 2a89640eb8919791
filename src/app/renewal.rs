//! Keeps the running plan up to date with what its files draw on: secrets that AWS keeps, `${file:…}`, files of users
//! and keys. The route files themselves stay as they were read at the start.
//!
//! What has changed is compiled like a new configuration. One with errors is refused whole and the old plan runs on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior};

use crate::admin::Guard;
use crate::authn::api_key::ApiKeys;
use crate::aws::Clients;
use crate::config::load::{Environment as _, SourceFile};
use crate::config::secrets::Vault;
use crate::forward::Forward;
use crate::integration::Targets;
use crate::limit::CallerTable;
use crate::limit::admission::Admission;
use crate::limit::shared::SharedStores;
use crate::limit::usage::{Succession, Usage};
use crate::outbound;
use crate::pipeline::Gateway;
use crate::plan::build::Shared;
use crate::plan::written::{Compiled, compiled_again};
use crate::plan::{Blueprint, Plan, build};
use crate::sqs_api::SqsApi;
use crate::telemetry::Metrics;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where the running configuration came from.
pub struct Source {
    /// The route files as they were read.
    pub texts: Vec<SourceFile>,
    pub vault: Arc<Vault>,
    /// What the command line changes in every blueprint.
    pub amend: Box<dyn Fn(&mut Blueprint) + Send + Sync>,
    /// The plan as `penstock routes --json` prints it.
    pub shown: fn(&Blueprint) -> Value,
}

/// What a new plan is put together from, and where it goes.
pub(super) struct Renewal {
    pub(super) source: Source,
    pub(super) running: Blueprint,
    pub(super) gateway: Arc<Gateway>,
    pub(super) metrics: Metrics,
    pub(super) targets: Arc<Targets>,
    pub(super) forward: Arc<Forward>,
    pub(super) outbound: outbound::Client,
    pub(super) aws: Clients,
    pub(super) callers: Arc<CallerTable>,
    pub(super) stores: Arc<SharedStores>,
    pub(super) admission: Arc<Admission>,
    pub(super) succession: Succession<ApiKeys>,
    pub(super) guard: Guard,
    pub(super) sqs: Option<SqsApi>,
    pub(super) plan_json: Arc<ArcSwap<Value>>,
    /// Why the last change was refused; empty once one is in use. The same is not said twice.
    pub(super) said: String,
}

impl Renewal {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let own: Arc<[PathBuf]> = self
            .source
            .texts
            .iter()
            .map(|file| file.path.clone())
            .collect();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fetched = Instant::now();
        // A change that could not be used yet is tried again at each look.
        let mut pending = false;
        loop {
            look.tick().await;
            let mut changed = std::mem::take(&mut pending);
            if self.source.vault.draws_on_aws() && fetched.elapsed() >= self.running.secrets_refresh
            {
                changed |= self.fetch().await;
                fetched = Instant::now();
            }
            let (vault, own) = (self.source.vault.clone(), own.clone());
            let looking = tokio::task::spawn_blocking(move || vault.files_changed(&own));
            changed |= looking.await.unwrap_or_default();
            if changed {
                pending = !self.renew().await;
            }
        }
    }

    /// Fetches secrets again; whether any is another than before.
    async fn fetch(&self) -> bool {
        let fetched = self.source.vault.fetch(&self.aws, &self.outbound).await;
        for failure in &fetched.failed {
            tracing::warn!(
                secret = %failure.name,
                reason = failure.reason,
                "A secret cannot be fetched again; its old value stays in use"
            );
        }
        self.metrics.renewal.fetched(fetched.failed.is_empty());
        fetched.changed
    }

    /// Whether the change is in use.
    async fn renew(&mut self) -> bool {
        let mut compiled = self.compile().await;
        if self.source.vault.has_stood_in() {
            // A file names secrets that nobody has asked for before.
            self.fetch().await;
            compiled = self.compile().await;
        }
        let refusal = match compiled {
            Ok(Compiled {
                blueprint: Some(mut blueprint),
                ..
            }) => {
                if blueprint.usage_changes(&self.running) && self.loading() {
                    return false;
                }
                (self.source.amend)(&mut blueprint);
                self.publish(blueprint);
                self.said.clear();
                return true;
            }
            Ok(compiled) if compiled.problems.has_errors() => {
                let lines = compiled.problems.0.iter().map(ToString::to_string);
                lines.collect::<Vec<_>>().join("\n")
            }
            Ok(_) => "a secret that it names cannot be fetched".to_owned(),
            Err(error) => error,
        };
        if refusal != self.said {
            tracing::error!(
                problems = refusal,
                "A file or a secret has changed, and the configuration with it is refused; the old plan runs on"
            );
            self.metrics.renewal.planned(false);
            self.said = refusal;
        }
        false
    }

    /// Whether what keys have used is being read from the store.
    fn loading(&self) -> bool {
        self.gateway.current.load().usage.is_loading()
    }

    async fn compile(&self) -> Result<Compiled, String> {
        let (texts, vault) = (self.source.texts.clone(), self.source.vault.clone());
        let compiling = tokio::task::spawn_blocking(move || {
            let before = vault.forget_files();
            let compiled = compiled_again(texts, &*vault);
            if compiled.blueprint.is_none() {
                // A file that is missing at the moment is looked for again.
                vault.remember_files(before);
            }
            compiled
        });
        compiling.await.map_err(|error| error.to_string())
    }

    /// The counts of the plan that follows: those that run, where keys and usage plans stay the same.
    fn usage(&self, before: &Plan, next: &Blueprint) -> Arc<Usage> {
        let usage = next.usage_after(&before.usage);
        let (old, new) = (&*before.keys, &*next.keys);
        if before.usage.serves(old, &usage, new) {
            return before.usage.clone();
        }
        usage.take_over(&before.usage, old, new);
        self.succession.hand_over(usage.clone(), next.keys.clone());
        usage
    }

    /// Cannot fail: nothing is opened.
    fn publish(&mut self, blueprint: Blueprint) {
        for (what, same) in [
            ("listeners", blueprint.listeners == self.running.listeners),
            ("admin.bind", blueprint.admin == self.running.admin),
            ("aws", blueprint.aws == self.running.aws),
            ("egress", blueprint.egress == self.running.egress),
            ("store", blueprint.store == self.running.store),
        ] {
            if !same {
                tracing::warn!(what, "This has changed and needs a restart");
            }
        }
        let before = self.gateway.current.load();
        let usage = self.usage(&before, &blueprint);
        let shared = Shared {
            metrics: &self.metrics,
            targets: self.targets.clone(),
            forward: self.forward.clone(),
            keys: blueprint.keys.clone(),
            usage,
            callers: self.callers.clone(),
            stores: self.stores.clone(),
            outbound: self.outbound.clone(),
            admission: self.admission.clone(),
            rehearses: false,
            aws: self.aws.clone(),
        };
        let plan = build(&blueprint, &shared, Some(&before));
        self.gateway.current.publish(plan);
        self.guard.ask_for(blueprint.admin_token.clone());
        if let (Some(api), Some(sqs)) = (&self.sqs, &blueprint.sqs) {
            api.admit(sqs.access.clone());
        }
        self.plan_json
            .store(Arc::new((self.source.shown)(&blueprint)));
        self.running = blueprint;
        self.metrics.renewal.planned(true);
        tracing::info!("A file or a secret has changed; the plan was made anew");
    }
}
