//! Keeps the running plan up to date with what its files draw on: secrets that AWS keeps, `${file:…}`, files of users
//! and keys. The route files themselves stay as they were read at the start.
//!
//! What has changed is compiled like a new configuration. One with errors is refused whole and the old plan runs on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::stage::Stage;
use super::trial::Tried;
use crate::admin::Guard;
use crate::admin::deployments::{Asked, Listing};
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

/// How often the canary is looked at.
const JUDGE_EVERY: Duration = Duration::from_secs(1);

/// Where the running configuration came from.
pub struct Source {
    /// The route files as they were read: those of the baseline.
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
    /// What was deployed.
    pub(super) stage: Stage,
    /// The canary.
    pub(super) trial: Option<Tried>,
    /// Whether the baseline has the stage variables of a canary that took over.
    pub(super) overlaid: bool,
    /// What is asked through the admin listener.
    pub(super) asked: mpsc::Receiver<Asked>,
    /// What it is told.
    pub(super) listing: Arc<ArcSwap<Listing>>,
    /// The folder of the gateway's own files.
    pub(super) folder: PathBuf,
    /// When the process's own time begins.
    pub(super) began: Instant,
}

/// What a plan that is published stands beside, and goes on from.
pub(super) enum With<'p> {
    /// The canary stays as it is.
    Canary,
    /// It serves alone, and goes on with what this plan holds.
    Nothing(&'p Plan),
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
        let mut judge = tokio::time::interval(JUDGE_EVERY);
        judge.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fetched = Instant::now();
        // A change that could not be used yet is tried again at each look.
        let mut pending = false;
        loop {
            tokio::select! {
                _ = look.tick() => {}
                _ = judge.tick() => {
                    self.judge().await;
                    continue;
                }
                Some(asked) = self.asked.recv() => {
                    self.answer(asked).await;
                    continue;
                }
            }
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
    pub(super) async fn fetch(&self) -> bool {
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
        let texts = self.source.texts.clone();
        let mut compiled = self.compile(texts.clone(), false).await;
        if self.source.vault.has_stood_in() {
            // A file names secrets that nobody has asked for before.
            self.fetch().await;
            compiled = self.compile(texts, false).await;
        }
        match compiled.and_then(|compiled| self.usable(compiled, self.overlaid)) {
            Ok(blueprint) => {
                if blueprint.usage_changes(&self.running) && self.loading() {
                    return false;
                }
                self.publish(blueprint, With::Canary);
                self.renew_canary().await;
                self.metrics.renewal.planned(true);
                tracing::info!("A file or a secret has changed; the plan was made anew");
                self.said.clear();
                true
            }
            Err(refusal) => {
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
        }
    }

    /// Whether what keys have used is being read from the store.
    fn loading(&self) -> bool {
        self.gateway.current.load().usage.is_loading()
    }

    /// Compiles texts. `beside`: the files that the running ones have read are still looked at.
    pub(super) async fn compile(
        &self,
        texts: Vec<SourceFile>,
        beside: bool,
    ) -> Result<Compiled, String> {
        let vault = self.source.vault.clone();
        let compiling = tokio::task::spawn_blocking(move || {
            let before = vault.forget_files();
            let compiled = compiled_again(texts, &*vault);
            if beside || compiled.blueprint.is_none() {
                // A file that is missing at the moment is looked for again.
                vault.remember_files(before);
            }
            compiled
        });
        compiling.await.map_err(|error| error.to_string())
    }

    /// The process's own time.
    pub(super) fn steady(&self) -> Duration {
        self.began.elapsed()
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
    pub(super) fn publish(&mut self, blueprint: Blueprint, with: With<'_>) {
        for (what, same) in [
            ("listeners", blueprint.listeners == self.running.listeners),
            ("admin.bind", blueprint.admin == self.running.admin),
            ("aws", blueprint.aws == self.running.aws),
            ("egress", blueprint.egress == self.running.egress),
            ("store", blueprint.store.same_place(&self.running.store)),
        ] {
            if !same {
                tracing::warn!(what, "This has changed and needs a restart");
            }
        }
        let before = self.gateway.current.load();
        let usage = self.usage(&before, &blueprint);
        match with {
            With::Canary => {
                let plan = self.planned(&blueprint, usage, &before, false);
                self.gateway.current.publish(plan);
            }
            With::Nothing(from) => {
                let plan = self.planned(&blueprint, usage, from, false);
                self.gateway.current.publish_alone(plan);
            }
        }
        self.guard.ask_for(blueprint.admin_token.clone());
        if let (Some(api), Some(sqs)) = (&self.sqs, &blueprint.sqs) {
            api.admit(sqs.access.clone());
        }
        self.plan_json
            .store(Arc::new((self.source.shown)(&blueprint)));
        self.running = blueprint;
    }

    /// A plan beside the baseline's. What keys have used is counted apart where keys or usage plans are others.
    pub(super) fn beside(&self, blueprint: &Blueprint) -> Plan {
        let before = self.gateway.current.load();
        let usage = blueprint.usage_after(&before.usage);
        let (old, new) = (&*before.keys, &*blueprint.keys);
        let usage = if before.usage.serves(old, &usage, new) {
            before.usage.clone()
        } else {
            usage.take_over(&before.usage, old, new);
            usage
        };
        self.planned(blueprint, usage, &before, true)
    }

    fn planned(
        &self,
        blueprint: &Blueprint,
        usage: Arc<Usage>,
        before: &Plan,
        beside: bool,
    ) -> Plan {
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
            beside,
            aws: self.aws.clone(),
        };
        build(blueprint, &shared, Some(before))
    }
}
