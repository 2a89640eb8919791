//! The one owner of the running configuration. Whatever a configuration came from, it goes one way: `prepare` loads,
//! compiles and opens what it needs, and may fail; `publish` brings it into use. One with errors is refused whole, and
//! what ran before runs on.

mod compile;
mod plans;
mod records;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::StartError;
use super::follow::Follow;
use super::listeners::{Changes, Listeners, Services};
use super::reaper::Reaper;
use super::remote::Remote;
use super::source::{Place, Source};
use super::stage::{Deployer, Stage};
use super::storage::{Step, Storage};
use super::trial::Tried;
use crate::admin::deployments::{Asked, Listing};
use crate::admin::status::Refusal;
use crate::admin::{Configured, Guard, Status};
use crate::authn::api_key::ApiKeys;
use crate::aws::Clients;
use crate::config::load::{Environment as _, SourceFile};
use crate::deploy::DeploymentId;
use crate::forward::Forward;
use crate::integration::Targets;
use crate::limit::CallerTable;
use crate::limit::admission::Admission;
use crate::limit::shared::SharedStores;
use crate::limit::usage::Succession;
use crate::outbound;
use crate::plan::candidate::{Behind, Candidate, Content, Origin, Outcome, Refused, Submitted};
use crate::plan::{Blueprint, Feed, Plan, VersionTables};
use crate::sqs_api::SqsApi;
use crate::store::Notice;
use crate::telemetry::Metrics;
use crate::telemetry::access_log::Writer;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often a canary is looked at.
const JUDGE_EVERY: Duration = Duration::from_millis(250);

/// How long new AWS clients may take to find credentials before they replace those that run.
const CREDENTIALS_WAIT: Duration = Duration::from_secs(5);

/// What a new plan is put together from, and where it goes.
pub(super) struct Live {
    pub(super) source: Source,
    /// The texts that run.
    pub(super) texts: Vec<SourceFile>,
    pub(super) running: Blueprint,
    /// The admin listener's address, which only a restart changes.
    pub(super) admin: String,
    pub(super) services: Services,
    pub(super) listeners: Listeners,
    pub(super) storage: Storage,
    pub(super) metrics: Metrics,
    pub(super) targets: Arc<Targets>,
    pub(super) forward: Arc<Forward>,
    pub(super) outbound: outbound::Client,
    pub(super) aws: Clients,
    pub(super) callers: Arc<CallerTable>,
    pub(super) stores: Arc<SharedStores>,
    pub(super) version_tables: Arc<VersionTables>,
    pub(super) admission: Arc<Admission>,
    pub(super) succession: Succession<ApiKeys>,
    pub(super) guard: Guard,
    pub(super) status: Status,
    pub(super) reaper: Reaper,
    /// Why the last change was refused; empty once one is in use. The same is not said twice.
    pub(super) said: String,
    /// A change that could not be used yet: tried again at each look.
    pub(super) pending: Option<Candidate>,
    pub(super) deployed: Deployed,
}

/// What was deployed, and what is tried.
pub(super) struct Deployed {
    pub(super) stage: Stage,
    /// The canary.
    pub(super) trial: Option<Tried>,
    /// Whether the baseline has the stage variables of a canary that took over.
    pub(super) overlaid: bool,
    /// What the admin listener is told.
    pub(super) listing: Arc<ArcSwap<Listing>>,
    /// The folder in which files that are sent are seen.
    pub(super) folder: PathBuf,
    /// When the process's own time begins.
    pub(super) began: Instant,
    /// What was read last, until it is known whether it runs.
    pub(super) tried: Option<DeploymentId>,
}

impl Deployed {
    pub(super) fn new(listing: Arc<ArcSwap<Listing>>, folder: &Path) -> Deployed {
        Deployed {
            stage: Stage::default(),
            trial: None,
            overlaid: false,
            listing,
            folder: folder.to_path_buf(),
            began: Instant::now(),
            tried: None,
        }
    }
}

/// What a plan that is published goes on from, and what it stands beside.
pub(super) enum After {
    /// The baseline; a canary stays as it is.
    Itself,
    /// The baseline; no canary stands beside it.
    Baseline,
    /// The canary, which takes over.
    Canary(Arc<Plan>),
}

/// A candidate that can run: everything that may fail has been done, and nothing is in use. Dropping it leaves nothing
/// behind but, where the store was opened for it, an empty one.
pub(super) struct Prepared {
    pub(super) blueprint: Blueprint,
    /// The same as a canary, where its stage variables are others.
    pub(super) as_canary: Option<Blueprint>,
    pub(super) texts: Vec<SourceFile>,
    pub(super) hash: String,
    pub(super) origin: Origin,
    pub(super) warnings: Vec<String>,
    needs_restart: Vec<String>,
    listeners: Changes,
    storage: Step,
    /// Where they are to be others than before.
    aws: Option<Clients>,
    outbound: Option<outbound::Client>,
    log: Option<Writer>,
    /// The tables of versions that no plan has yet: held until one has.
    version_tables: Vec<Arc<Feed>>,
}

impl Live {
    /// Runs until it is dropped, or a listener fails.
    pub(super) async fn run(
        &mut self,
        mut behind: Behind,
        mut asked: mpsc::Receiver<Asked>,
        mut hangup: Signal,
    ) -> StartError {
        let mut judge = tokio::time::interval(JUDGE_EVERY);
        judge.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follow = match (&self.source.place, self.source.watch) {
            (Place::Files(paths), true) => {
                let named = self.source.vault.vars().map(Path::to_owned);
                let followed = paths.iter().cloned().chain(named);
                Some(Follow::new(followed.collect()).await)
            }
            (_, _) => None,
        };
        if follow.is_some() {
            // They may have changed since they were read and before anybody followed them.
            self.pending = Some(Candidate::anew(Origin::Watch));
        }
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut when = When::now();
        loop {
            tokio::select! {
                error = self.listeners.failed() => return error.into(),
                Submitted { candidate, answer } = behind.next() => {
                    let became = self.submit(candidate).await;
                    // Whoever asked may have gone away.
                    let _ = answer.send(became);
                }
                Some(asked) = asked.recv() => Box::pin(self.answer(asked)).await,
                _ = judge.tick() => Box::pin(self.judge()).await,
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP: the configuration is read anew");
                    self.fetch().await;
                    self.try_again(Candidate::anew(Origin::Signal)).await;
                }
                () = hint(&mut follow) => self.look(&mut follow, &mut when).await,
                _ = look.tick() => self.look(&mut follow, &mut when).await,
            }
        }
    }

    /// Looks whether anything that the configuration is made of has changed.
    async fn look(&mut self, follow: &mut Option<Follow>, when: &mut When) {
        let mut candidate = self.pending.take();
        if self.source.watch {
            let mut changed = false;
            if self.source.vault.draws_on_aws()
                && when.fetched.elapsed() >= self.running.secrets_refresh
            {
                changed |= self.fetch().await;
                when.fetched = Instant::now();
            }
            let own = self.source.texts.iter().chain(&self.texts);
            let own: Vec<_> = own.map(|file| file.path.clone()).collect();
            let vault = self.source.vault.clone();
            let looking = tokio::task::spawn_blocking(move || vault.files_changed(&own));
            changed |= looking.await.unwrap_or_default();
            if changed && candidate.is_none() {
                candidate = Some(Candidate::renewed());
            }
            if let Some(follow) = follow
                && follow.changed().await
            {
                candidate = Some(Candidate::anew(Origin::Watch));
            }
            if let Place::Remote(remote) = &self.source.place
                && when.polled.elapsed() >= remote.poll_interval()
            {
                when.polled = Instant::now();
                candidate = self.poll(remote.clone()).await.or(candidate);
            }
        }
        if let Some(candidate) = candidate {
            self.try_again(candidate).await;
        }
    }

    /// Asks the source over the network whether it has another configuration.
    async fn poll(&self, remote: Arc<Remote>) -> Option<Candidate> {
        let changed = remote.changed().await;
        self.metrics.renewal.asked(changed.is_ok());
        match changed {
            Ok(changed) => {
                self.remark(None);
                let text = changed?;
                Some(Candidate {
                    content: Content::Texts(vec![remote.named(text)]),
                    ..Candidate::anew(Origin::Source)
                })
            }
            Err(error) => {
                self.remark(Some(format!("{error}; what was fetched before runs on")));
                None
            }
        }
    }

    /// What an operator should know of the source; the same is not said twice.
    fn remark(&self, remark: Option<String>) {
        if self.status.load().remark == remark {
            return;
        }
        match &remark {
            Some(remark) => tracing::warn!("{remark}"),
            None => {
                let source = self.source.place.whence();
                tracing::info!(%source, "The configuration can be fetched again");
            }
        }
        self.status.change(|status| status.remark = remark);
    }

    /// Submits a candidate that nobody waits for; one that cannot run yet is tried again.
    async fn try_again(&mut self, candidate: Candidate) {
        self.pending = match self.submit(candidate.clone()).await {
            Ok(_) => None,
            Err(_) => Some(candidate),
        };
    }

    /// The way of every configuration: prepared, then published. What became of it is logged, counted, and told by the
    /// admin listener.
    pub(super) async fn submit(&mut self, candidate: Candidate) -> Result<Outcome, Refused> {
        let prepared = match Box::pin(self.prepare(&candidate)).await {
            Ok(Some(prepared)) => Ok(prepared),
            Ok(None) => return Ok(self.status.load().outcome.clone()),
            Err(refused) => Err(refused),
        };
        let became = match prepared {
            Ok(prepared) => Box::pin(self.bring(prepared, &candidate)).await,
            Err(refused) => Err(refused),
        };
        match &became {
            Ok(outcome) => self.tell(outcome, &candidate.who),
            Err(refused) => Box::pin(self.refuse(&candidate, refused)).await,
        }
        self.show();
        became
    }

    fn tell(&mut self, outcome: &Outcome, who: &str) {
        self.said.clear();
        self.pending = None;
        self.metrics.renewal.reloaded(outcome.origin.name(), true);
        tracing::info!(
            origin = outcome.origin.name(),
            who,
            hash = outcome.hash,
            changed = outcome.changed,
            "A new configuration runs"
        );
        for warning in &outcome.warnings {
            tracing::warn!("{warning}");
        }
        for what in &outcome.needs_restart {
            tracing::warn!(what, "This has changed and needs a restart");
        }
    }

    async fn refuse(&mut self, candidate: &Candidate, refused: &Refused) {
        let reason = match refused {
            Refused::NotYet(_) | Refused::Stopping => return,
            Refused::Problems(_) | Refused::Build(_) => refused.to_string(),
        };
        if reason == self.said {
            return;
        }
        tracing::error!(
            origin = candidate.origin.name(),
            who = &*candidate.who,
            problems = reason,
            "A new configuration is refused; the old one runs on"
        );
        self.metrics
            .renewal
            .reloaded(candidate.origin.name(), false);
        if let Some(id) = self.deployed.tried.take() {
            let who = Some(&*candidate.who).filter(|who| !who.is_empty());
            let from = Deployer::named(who, candidate.origin.name());
            self.note_refusal(&id, from, &reason).await;
        }
        self.said = reason;
        let refusal = Refusal {
            at: SystemTime::now(),
            origin: candidate.origin,
            reason: refused.clone(),
        };
        self.status.change(|status| status.refused = Some(refusal));
    }

    /// Does everything that may fail. `None`: it is what was read before, and nobody asked for it to be brought into use
    /// again.
    pub(super) async fn prepare(
        &mut self,
        candidate: &Candidate,
    ) -> Result<Option<Prepared>, Refused> {
        let (compiled, renewed) = Box::pin(self.compile(&candidate.content)).await?;
        let texts = compiled.texts.iter();
        let texts = texts.map(|file| (file.path.as_path(), file.text.as_str()));
        self.deployed.tried = Some(DeploymentId::of(texts));
        let problems = compiled.problems;
        let Some(blueprint) = compiled.blueprint else {
            return Err(match problems.has_errors() {
                true => Refused::Problems(problems),
                false => Refused::Build("a secret that it names cannot be fetched".to_owned()),
            });
        };
        if candidate.content == Content::Anew {
            let same = self.source.texts == compiled.texts;
            self.source.texts.clone_from(&compiled.texts);
            if same && !renewed && candidate.origin == Origin::Watch && self.said.is_empty() {
                return Ok(None);
            }
        }
        let running = candidate.content == Content::Running && self.deployed.overlaid;
        let (blueprint, as_canary) = match compiled.as_canary {
            Some(canary) if running => (canary, None),
            as_canary => (blueprint, as_canary),
        };
        let as_canary = as_canary.map(|blueprint| self.amended(blueprint));
        let blueprint = self.amended(blueprint);
        let warnings = problems.0.iter().map(ToString::to_string).collect();
        let prepared = self.ready(blueprint, compiled.texts, candidate.origin, warnings);
        let prepared = Box::pin(prepared).await?;
        Ok(Some(Prepared {
            as_canary,
            ..prepared
        }))
    }

    /// A blueprint with what the command line changes.
    pub(super) fn amended(&self, mut blueprint: Blueprint) -> Blueprint {
        (self.source.amend)(&mut blueprint);
        blueprint
    }

    /// Opens what a blueprint needs.
    pub(super) async fn ready(
        &mut self,
        blueprint: Blueprint,
        texts: Vec<SourceFile>,
        origin: Origin,
        warnings: Vec<String>,
    ) -> Result<Prepared, Refused> {
        if blueprint.usage_changes(&self.running) && self.loading() {
            let reason = "what API keys have used is still being read from the store";
            return Err(Refused::NotYet(reason));
        }
        let mut needs_restart = self.storage.needs_restart(&blueprint.store);
        if blueprint.admin != self.admin {
            needs_restart.push("admin.bind".to_owned());
        }
        let log = self.log(&blueprint, origin).await?;
        let aws = self.aws(&blueprint).await;
        let outbound = (blueprint.egress != self.running.egress)
            .then(|| outbound::Client::new(blueprint.egress.clone()));
        let build = |error: &dyn std::fmt::Display| Refused::Build(error.to_string());
        let listeners = self.listeners.prepare(&blueprint).await;
        let listeners = listeners.map_err(|error| build(&error))?;
        let clients = aws.as_ref().unwrap_or(&self.aws);
        let version_tables = self.version_tables.ahead(&blueprint, clients).await;
        let version_tables = version_tables.map_err(Refused::Build)?;
        let storage = self.storage.prepare(&blueprint).await;
        let storage = storage.map_err(|error| build(&error))?;
        Ok(Prepared {
            hash: blueprint.id.to_string(),
            as_canary: None,
            texts,
            origin,
            warnings,
            needs_restart,
            listeners,
            storage,
            aws,
            outbound,
            log,
            version_tables,
            blueprint,
        })
    }

    /// Brings a candidate into use. Only the store may still refuse it, before anything has changed.
    pub(super) async fn publish(
        &mut self,
        prepared: Prepared,
        after: After,
    ) -> Result<Outcome, Refused> {
        let Prepared {
            blueprint,
            as_canary: _,
            texts,
            hash,
            origin,
            mut warnings,
            needs_restart,
            listeners,
            storage,
            aws,
            outbound,
            log,
            version_tables,
        } = prepared;
        let declared = self.storage.publish(&storage, &blueprint.store);
        let notices = declared
            .await
            .map_err(|error| Refused::Build(error.to_string()))?;
        if let Some(aws) = aws {
            self.aws.become_like(&aws);
        }
        if let Some(outbound) = outbound {
            self.outbound.become_like(&outbound);
        }
        if blueprint.targets != self.running.targets {
            self.forward.configure(blueprint.targets.clone());
        }
        let telemetry = &self.services.gateway.telemetry;
        if let Some(log) = log {
            self.reaper.take(telemetry.access_log.change(log));
        }
        if blueprint.capture != self.running.capture {
            self.record(&blueprint);
        }
        self.renew_sqs(&blueprint);
        let leaving = self.listeners.leaving(&blueprint);
        self.put(&blueprint, &leaving, after);
        drop(version_tables);
        let drain = self.running.limits.drain.max(blueprint.limits.drain);
        self.listeners
            .publish(listeners, &self.services, drain)
            .await;
        self.guard.ask_for(blueprint.admin_token.clone());
        warnings.extend(notices.iter().map(undeclared));
        let outcome = Outcome {
            changed: texts != self.texts,
            hash,
            origin,
            warnings,
            needs_restart,
        };
        let plan = Arc::new((self.source.shown)(&blueprint));
        let counted = self.listeners.counted();
        self.status.change(|status| {
            *status = Configured {
                plan,
                store_needed: blueprint.store.needed,
                listeners: counted,
                outcome: outcome.clone(),
                since: SystemTime::now(),
                refused: None,
                ..status.clone()
            };
        });
        self.keep(origin, &texts).await;
        self.texts = texts;
        self.running = blueprint;
        Ok(outcome)
    }

    /// Keeps what came over the network for a start without it.
    async fn keep(&self, origin: Origin, texts: &[SourceFile]) {
        let (Place::Remote(remote), [file]) = (&self.source.place, texts) else {
            return;
        };
        if matches!(origin, Origin::Source | Origin::Signal | Origin::Reload) {
            remote.keep(file.text.clone()).await;
        }
    }

    /// The SQS protocol as the blueprint has it.
    fn renew_sqs(&mut self, blueprint: &Blueprint) {
        let Some(sqs) = &blueprint.sqs else { return };
        match &self.services.sqs {
            Some(api) => api.admit(sqs.access.clone(), sqs.region.clone()),
            None => self.services.sqs = Some(sqs_api(sqs, &self.targets, &self.metrics)),
        }
    }

    /// AWS clients, where they are to be others; once they have had time to find credentials.
    async fn aws(&self, blueprint: &Blueprint) -> Option<Clients> {
        if blueprint.aws == self.running.aws {
            return None;
        }
        let clients = Clients::new(blueprint.aws.clone());
        if super::touches_aws(blueprint) {
            clients.settle(Instant::now() + CREDENTIALS_WAIT).await;
        }
        Some(clients)
    }

    /// Whether what keys have used is being read from the store.
    fn loading(&self) -> bool {
        let plan = self.services.gateway.current.load();
        plan.usage.is_loading()
    }
}

/// When something was last done that is done again and again.
struct When {
    /// Secrets were fetched.
    fetched: Instant,
    /// The source over the network was asked.
    polled: Instant,
}

impl When {
    fn now() -> When {
        When {
            fetched: Instant::now(),
            polled: Instant::now(),
        }
    }
}

/// Waits for a sign that files have changed; for ever, where nobody follows them.
async fn hint(follow: &mut Option<Follow>) {
    match follow {
        Some(follow) => follow.hint().await,
        None => std::future::pending().await,
    }
}

fn undeclared(Notice::Undeclared { queue, depth }: &Notice) -> String {
    format!("the queue {queue} is no longer declared; its {depth} messages are kept")
}

/// The SQS protocol over the store.
pub(super) fn sqs_api(
    sqs: &crate::plan::blueprint::SqsBlueprint,
    targets: &Arc<Targets>,
    metrics: &Metrics,
) -> SqsApi {
    SqsApi::new(
        targets.clone(),
        sqs.access.clone(),
        sqs.region.clone(),
        crate::store::Clock::system(),
        metrics.clone(),
    )
}
