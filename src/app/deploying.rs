//! Deploys: puts another configuration in the place of the one that runs, or tries it beside it as a canary, and takes it
//! back. Whatever is asked, and whatever a look at the canary comes to, is done by the one task that owns the plans.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::live::{After, Live, Prepared};
use super::stage::{Deployer, Files};
use super::trial::Tried;
use crate::admin::deployments::{
    Asked, CanaryOrder, Deploy, Done, FileText, Rollback, Status, Texts,
};
use crate::admin::queues::Refused as Answered;
use crate::config::load::SourceFile;
use crate::deploy::{Canary, DeploymentId, Look, Strategy};
use crate::integration::StoreState;
use crate::model::value::Share;
use crate::plan::Blueprint;
use crate::plan::candidate::{
    Candidate as Submitted, Content, Origin, Outcome, Refused, content_hash,
};
use crate::plan::change::{Changes, Written};

/// How something is to be deployed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish {
    /// `None`: as the configuration says.
    pub strategy: Option<Strategy>,
    /// Also what was rolled back.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// A configuration that could run.
struct Candidate {
    files: Files,
    blueprint: Blueprint,
    /// Whether its stage variables are those of a canary.
    overlaid: bool,
    warnings: Vec<String>,
}

impl Live {
    /// Answers what is asked through the admin listener.
    pub(super) async fn answer(&mut self, asked: Asked) {
        // Whoever asked may be gone; what was asked is done all the same.
        match asked {
            Asked::Deploy(deploy, answer) => {
                let done = Box::pin(self.deploy_asked(deploy)).await;
                let _ = answer.send(done);
            }
            Asked::Canary(order, answer) => {
                let done = Box::pin(self.canary_asked(order)).await;
                let _ = answer.send(done);
            }
            Asked::Rollback(rollback, answer) => {
                let done = Box::pin(self.rollback(rollback)).await;
                let _ = answer.send(done);
            }
            Asked::Texts(id, answer) => {
                let _ = answer.send(self.texts(id.as_deref()));
            }
        }
        self.show();
    }

    async fn deploy_asked(&mut self, deploy: Deploy) -> Result<Done, Answered> {
        let strategy = match deploy.strategy.as_deref() {
            None => None,
            Some("all") => Some(Strategy::All),
            Some("canary") => Some(Strategy::Canary),
            Some(other) => {
                return Err(Answered::asked_wrongly(format!(
                    "there is no strategy {other:?}; there are all and canary"
                )));
            }
        };
        let files = files_of(&deploy.files, &self.deployed.folder)?;
        let from = if deploy.from.as_deref() == Some("cli") {
            "cli"
        } else {
            "api"
        };
        let wish = Wish {
            strategy,
            force: deploy.force,
            dry_run: deploy.dry_run,
        };
        let from = Deployer::named(deploy.by.as_deref(), from);
        Box::pin(self.deploy(files, wish, from)).await
    }

    /// Deploys files.
    pub(super) async fn deploy(
        &mut self,
        files: Files,
        wish: Wish,
        from: Deployer,
    ) -> Result<Done, Answered> {
        let named = files.iter();
        let id = DeploymentId::of(named.map(|file| (file.path.as_path(), file.text.as_str())));
        if self.deployed.stage.is_pinned(&id) && !wish.force {
            self.metrics.deployments.event("pinned");
            return Err(Answered {
                status: StatusCode::CONFLICT,
                message: format!(
                    "{id} was rolled back, and is not deployed again until it changes; --force deploys it all the same"
                ),
            });
        }
        let candidate = match Box::pin(self.candidate(files, wish.strategy)).await {
            Ok(candidate) => candidate,
            Err(reason) => {
                if !wish.dry_run {
                    self.refused(&id, from, &reason).await;
                }
                return Err(Answered {
                    status: StatusCode::UNPROCESSABLE_ENTITY,
                    message: reason,
                });
            }
        };
        let changes = self.changes(&candidate);
        let strategy = wish
            .strategy
            .unwrap_or(candidate.blueprint.deployment.strategy);
        let warnings = candidate.warnings.clone();
        let done = |said: String| Done {
            said,
            id: id.to_string(),
            changes: Some(changes.clone()),
            warnings: warnings.clone(),
        };
        if id == self.running.id && self.deployed.trial.is_none() && !wish.force {
            return Ok(done(format!("{id} runs already")));
        }
        if wish.dry_run {
            return Ok(done(match strategy {
                Strategy::All => format!("{id} would take over at once"),
                Strategy::Canary => format!("{id} would be tried as a canary"),
            }));
        }
        self.declare(&candidate.blueprint).await?;
        if strategy == Strategy::Canary && id != self.running.id {
            let share = Box::pin(self.begin_canary(candidate, from, changes.clone())).await;
            return Ok(done(format!(
                "{id} is a canary now, for {share} of the callers"
            )));
        }
        if id == self.running.id {
            // Whoever deploys what runs wants nothing else beside it.
            self.end_trial(Status::Superseded, None);
            self.save().await;
            return Ok(done(format!("{id} runs, and no canary beside it")));
        }
        Box::pin(self.take_over(candidate, from, Some(changes.clone()), Status::Superseded))
            .await?;
        Ok(done(format!("{id} runs now")))
    }

    /// Compiles files with what they draw on. `Err`: every problem, a line each.
    async fn candidate(&self, files: Files, wished: Option<Strategy>) -> Result<Candidate, String> {
        let compiled = Box::pin(self.compile(&Content::Texts(files.to_vec()))).await;
        let compiled = compiled.map_err(|refused| refused.to_string())?;
        let warnings = compiled
            .problems
            .0
            .iter()
            .map(ToString::to_string)
            .collect();
        let Some(blueprint) = compiled.blueprint else {
            return Err(match compiled.problems.has_errors() {
                true => Refused::Problems(compiled.problems).to_string(),
                false => "a secret that it names cannot be fetched".to_owned(),
            });
        };
        let strategy = wished.unwrap_or(blueprint.deployment.strategy);
        let as_canary = compiled.as_canary.filter(|_| strategy == Strategy::Canary);
        let overlaid = as_canary.is_some();
        Ok(Candidate {
            files,
            blueprint: self.amended(as_canary.unwrap_or(blueprint)),
            overlaid,
            warnings,
        })
    }

    /// Brings into use what came from the files, or is what runs with what it draws on anew.
    pub(super) async fn bring(
        &mut self,
        prepared: Prepared,
        submitted: &Submitted,
    ) -> Result<Outcome, Refused> {
        let id = prepared.blueprint.id.clone();
        if submitted.content == Content::Anew {
            self.deployed.stage.seen(&id);
        }
        if id == self.running.id {
            let became = Box::pin(self.publish(prepared, After::Itself)).await;
            Box::pin(self.renew_canary()).await;
            self.save().await;
            return became;
        }
        let tried = self.deployed.trial.as_ref();
        if tried.is_some_and(|tried| tried.blueprint.id == id) {
            Box::pin(self.renew_canary()).await;
            self.save().await;
            return Ok(outcome_of(&prepared));
        }
        if self.deployed.stage.is_pinned(&id) {
            tracing::warn!(deployment = %id, "What was rolled back is not deployed again until it changes");
            self.metrics.deployments.event("pinned");
            self.save().await;
            return Ok(Outcome {
                changed: false,
                ..outcome_of(&prepared)
            });
        }
        let who = Some(&*submitted.who).filter(|who| !who.is_empty());
        let from = Deployer::named(who, submitted.origin.name());
        let strategy = prepared.blueprint.deployment.strategy;
        let files = Arc::new(prepared.texts.clone());
        let overlaid = prepared.as_canary.is_some() && strategy == Strategy::Canary;
        let candidate = Candidate {
            files,
            blueprint: match prepared.as_canary.as_ref().filter(|_| overlaid) {
                Some(canary) => canary.clone(),
                None => prepared.blueprint.clone(),
            },
            overlaid,
            warnings: Vec::new(),
        };
        let changes = self.changes(&candidate);
        if strategy == Strategy::Canary {
            let outcome = outcome_of(&prepared);
            let declared = self.declare(&candidate.blueprint).await;
            declared.map_err(|refused| Refused::Build(refused.message))?;
            Box::pin(self.begin_canary(candidate, from, changes)).await;
            return Ok(outcome);
        }
        let became = Box::pin(self.publish(prepared, After::Baseline)).await?;
        self.took_over(&candidate, from, Some(changes), Status::Superseded)
            .await;
        Ok(became)
    }

    fn changes(&self, candidate: &Candidate) -> Changes {
        Changes::between(
            Written {
                blueprint: &self.running,
                texts: &self.texts,
            },
            Written {
                blueprint: &candidate.blueprint,
                texts: &candidate.files,
            },
        )
    }

    /// Notes a configuration that cannot run.
    pub(super) async fn refused(&mut self, id: &DeploymentId, from: Deployer, reason: &str) {
        tracing::error!(
            deployment = %id,
            by = from.by,
            problems = reason,
            "A configuration was refused; what runs goes on"
        );
        self.note_refusal(id, from, reason).await;
    }

    /// Counts a refusal, and keeps it in the history.
    pub(super) async fn note_refusal(&mut self, id: &DeploymentId, from: Deployer, reason: &str) {
        self.metrics.deployments.event("refused");
        self.deployed.stage.refuse(id, from, reason.to_owned());
        self.save().await;
    }

    /// Makes the queues that a configuration declares, beside those that are there.
    async fn declare(&self, blueprint: &Blueprint) -> Result<(), Answered> {
        let StoreState::Open(store) = self.targets.store_state() else {
            return Ok(());
        };
        if blueprint.store.queues == self.running.store.queues {
            return Ok(());
        }
        let mut specs = blueprint.store.queues.clone();
        let others = self.running.store.queues.iter();
        let own: Vec<_> = specs.iter().map(|spec| spec.name.clone()).collect();
        specs.extend(others.filter(|spec| !own.contains(&spec.name)).cloned());
        match store.declare(specs).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Answered {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                message: format!("its queues cannot be had: {error}"),
            }),
        }
    }

    /// It serves every request from now on.
    async fn take_over(
        &mut self,
        candidate: Candidate,
        from: Deployer,
        changes: Option<Changes>,
        became: Status,
    ) -> Result<(), Answered> {
        let origin = match from.from {
            "rollback" => Origin::Rollback,
            _ => Origin::Deploy,
        };
        let (blueprint, texts) = (candidate.blueprint.clone(), candidate.files.to_vec());
        let warnings = candidate.warnings.clone();
        let prepared = self.ready(blueprint, texts, origin, warnings).await;
        let published = match prepared {
            Ok(prepared) => Box::pin(self.publish(prepared, After::Baseline)).await,
            Err(refused) => Err(refused),
        };
        if let Err(refused) = published {
            let reason = refused.to_string();
            let status = match refused {
                Refused::NotYet(_) | Refused::Stopping => StatusCode::SERVICE_UNAVAILABLE,
                Refused::Problems(_) | Refused::Build(_) => {
                    self.refused(&candidate.blueprint.id, from, &reason).await;
                    StatusCode::UNPROCESSABLE_ENTITY
                }
            };
            return Err(Answered {
                status,
                message: reason,
            });
        }
        self.took_over(&candidate, from, changes, became).await;
        Ok(())
    }

    /// Writes down that it serves every request.
    async fn took_over(
        &mut self,
        candidate: &Candidate,
        from: Deployer,
        changes: Option<Changes>,
        became: Status,
    ) {
        let id = &candidate.blueprint.id;
        tracing::info!(deployment = %id, by = from.by, "A configuration was deployed");
        self.metrics.deployments.event("deployed");
        self.end_trial(became, None);
        if became == Status::Superseded {
            self.deployed.stage.unpin_all();
        }
        let files = candidate.files.clone();
        let n = self.deployed.stage.note(id, Status::Running, from, files);
        self.deployed.stage.change(n, |told| {
            told.changes = changes;
            told.overlaid = candidate.overlaid;
        });
        self.deployed.stage.run(n, became);
        self.deployed.overlaid = candidate.overlaid;
        self.save().await;
    }

    /// It serves a share of the callers from now on, which is returned.
    async fn begin_canary(
        &mut self,
        candidate: Candidate,
        from: Deployer,
        changes: Changes,
    ) -> Share {
        let Candidate {
            files,
            blueprint,
            overlaid,
            ..
        } = candidate;
        self.end_trial(Status::Superseded, None);
        self.deployed.stage.unpin_all();
        let id = blueprint.id.clone();
        let by = from.by.clone();
        let n = self
            .deployed
            .stage
            .note(&id, Status::Canary, from, files.clone());
        self.deployed.stage.change(n, |told| {
            told.changes = Some(changes);
            told.overlaid = overlaid;
        });
        let canary = Canary::begin(blueprint.deployment.clone(), self.steady());
        let share = canary.standing().share;
        tracing::info!(deployment = %id, by, %share, "A canary begins");
        self.metrics.deployments.event("canary");
        self.deployed
            .stage
            .stand(n, canary.standing(), Duration::ZERO);
        self.tried(n, files, blueprint, canary);
        self.save().await;
        share
    }

    /// Looks at the canary, once a second.
    pub(super) async fn judge(&mut self) {
        let now = self.steady();
        let Some(tried) = &mut self.deployed.trial else {
            return;
        };
        match tried.look(now) {
            Look::Stay(_) => {}
            Look::Step(share) => {
                tracing::info!(deployment = %tried.blueprint.id, %share, "The canary goes on");
                tried.trial.split.set(share);
                self.metrics.deployments.share(share);
                let (n, standing) = (tried.n, tried.canary.standing());
                self.deployed.stage.stand(n, standing, Duration::ZERO);
                self.save().await;
            }
            Look::Promote => {
                let reason = "it passed its steps".to_owned();
                // What stands in the way has been logged, and is tried again.
                let _ = Box::pin(self.promote(reason)).await;
            }
            Look::RollBack(blame) => self.abort(blame.to_string()).await,
        }
        self.show();
    }

    /// The canary takes over. One that cannot stays a canary, and tries again at its next look.
    async fn promote(&mut self, reason: String) -> Result<(), Answered> {
        let Some(tried) = &self.deployed.trial else {
            return Ok(());
        };
        let (n, plan) = (tried.n, tried.trial.plan.clone());
        let (blueprint, texts) = (tried.blueprint.clone(), tried.files.to_vec());
        let id = blueprint.id.clone();
        let prepared = self
            .ready(blueprint, texts, Origin::Deploy, Vec::new())
            .await;
        let published = match prepared {
            Ok(prepared) => Box::pin(self.publish(prepared, After::Canary(plan))).await,
            Err(refused) => Err(refused),
        };
        if let Err(refused) = published {
            let message = format!("the canary cannot take over: {refused}");
            tracing::error!(deployment = %id, message);
            return Err(Answered {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                message,
            });
        }
        tracing::info!(deployment = %id, reason, "The canary takes over");
        self.metrics.deployments.event("promoted");
        self.metrics.deployments.share(Share::NONE);
        self.deployed.trial = None;
        let overlaid = self
            .deployed
            .stage
            .told(n)
            .is_some_and(|told| told.overlaid);
        self.deployed
            .stage
            .end_canary(Status::Running, Some(reason));
        self.deployed.stage.run(n, Status::Superseded);
        self.deployed.overlaid = overlaid;
        self.save().await;
        Ok(())
    }

    /// The canary is taken back, and not tried again until it changes.
    async fn abort(&mut self, reason: String) {
        if let Some(tried) = &self.deployed.trial {
            tracing::warn!(deployment = %tried.blueprint.id, reason, "The canary is taken back");
            self.metrics.deployments.event("rolled_back");
            let id = tried.blueprint.id.to_string();
            self.end_trial(Status::RolledBack, Some(reason));
            self.deployed.stage.pin(&id);
            self.save().await;
        }
    }

    /// There is no canary from now on.
    fn end_trial(&mut self, became: Status, reason: Option<String>) {
        if self.deployed.trial.take().is_some() {
            if let Some(old) = self.services.gateway.current.set_trial(None) {
                self.reaper.take(old);
            }
            self.metrics.deployments.share(Share::NONE);
        }
        self.deployed.stage.end_canary(became, reason);
    }

    async fn canary_asked(&mut self, order: CanaryOrder) -> Result<Done, Answered> {
        let now = self.steady();
        let Some(tried) = &mut self.deployed.trial else {
            return Err(Answered {
                status: StatusCode::CONFLICT,
                message: "no canary runs".to_owned(),
            });
        };
        let id = tried.blueprint.id.clone();
        let said = match order {
            CanaryOrder::Set(share) => {
                let share: Share = share.parse().map_err(Answered::asked_wrongly)?;
                tried.canary.set(share, now);
                self.stand_anew();
                format!("{id} serves {share} of the callers, and stays there")
            }
            CanaryOrder::Resume => {
                tried.canary.go_on(now);
                let share = self.stand_anew();
                format!("{id} goes on from {share}")
            }
            CanaryOrder::Promote => {
                Box::pin(self.promote("by hand".to_owned())).await?;
                format!("{id} runs now")
            }
            CanaryOrder::Abort => {
                self.abort("by hand".to_owned()).await;
                format!("{id} is taken back, and not deployed again until it changes")
            }
        };
        self.save().await;
        Ok(Done {
            said,
            id: id.to_string(),
            changes: None,
            warnings: Vec::new(),
        })
    }

    /// The canary's share has been set. Says what it is.
    fn stand_anew(&mut self) -> Share {
        let Some(tried) = &self.deployed.trial else {
            return Share::NONE;
        };
        let standing = tried.canary.standing();
        tracing::info!(deployment = %tried.blueprint.id, share = %standing.share, "The canary's share was set by an operator");
        tried.trial.split.set(standing.share);
        self.metrics.deployments.share(standing.share);
        self.deployed.stage.stand(tried.n, standing, Duration::ZERO);
        standing.share
    }

    async fn rollback(&mut self, rollback: Rollback) -> Result<Done, Answered> {
        let done = |said: String, id: &str| Done {
            said,
            id: id.to_owned(),
            changes: None,
            warnings: Vec::new(),
        };
        if let (None, Some(tried)) = (&rollback.id, &self.deployed.trial) {
            let id = tried.blueprint.id.to_string();
            self.abort("by hand".to_owned()).await;
            return Ok(done(format!("{id} is taken back"), &id));
        }
        let target = match &rollback.id {
            None => self.deployed.stage.before(),
            Some(id) => self.found(id)?,
        };
        let Some(target) = target.cloned() else {
            return Err(Answered {
                status: StatusCode::NOT_FOUND,
                message:
                    "there is nothing to go back to; `penstock deployments` lists what there is"
                        .to_owned(),
            });
        };
        let id = target.id.clone();
        if id == self.running.id.as_str() {
            return Ok(done(format!("{id} runs already"), &id));
        }
        let files = self
            .deployed
            .stage
            .files(target.n)
            .cloned()
            .unwrap_or_default();
        let strategy = if target.overlaid {
            Strategy::Canary
        } else {
            Strategy::All
        };
        let candidate = Box::pin(self.candidate(files, Some(strategy))).await;
        let candidate = candidate.map_err(|reason| Answered {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            message: format!("{id} cannot run any more:\n{reason}"),
        })?;
        self.declare(&candidate.blueprint).await?;
        let left: Vec<String> = std::iter::once(&self.running.id)
            .chain(
                self.deployed
                    .trial
                    .as_ref()
                    .map(|tried| &tried.blueprint.id),
            )
            .map(ToString::to_string)
            .collect();
        self.metrics.deployments.event("rolled_back");
        let changes = self.changes(&candidate);
        let from = Deployer::named(rollback.by.as_deref(), "rollback");
        Box::pin(self.take_over(candidate, from, Some(changes), Status::RolledBack)).await?;
        for left in &left {
            self.deployed.stage.pin(left);
        }
        self.save().await;
        Ok(done(
            format!(
                "{id} runs again; {} is not deployed again until it changes",
                left.join(" and ")
            ),
            &id,
        ))
    }

    fn found(&self, id: &str) -> Result<Option<&crate::admin::deployments::Told>, Answered> {
        self.deployed.stage.found(id).map_err(|()| {
            Answered::asked_wrongly(format!(
                "several deployments begin with {id}; write more of it"
            ))
        })
    }

    fn texts(&self, id: Option<&str>) -> Result<Texts, Answered> {
        let told = match id {
            None => self.deployed.stage.running(),
            Some(id) => self.found(id)?,
        };
        let files = told.and_then(|told| Some((told, self.deployed.stage.files(told.n)?)));
        let Some((told, files)) = files else {
            return Err(Answered {
                status: StatusCode::NOT_FOUND,
                message: "there is no such deployment, or its files are not kept".to_owned(),
            });
        };
        let file = |file: &SourceFile| FileText {
            name: file.path.display().to_string(),
            text: file.text.clone(),
        };
        Ok(Texts {
            id: told.id.clone(),
            files: files.iter().map(file).collect(),
        })
    }

    /// Goes on as an earlier process left it, if the store knows. Nobody is served yet.
    pub(super) async fn resume(&mut self) {
        if let StoreState::Open(store) = self.targets.store_state() {
            match store.deployments().await {
                Ok(kept) => self.deployed.stage.join(kept),
                Err(error) => {
                    tracing::error!(%error, "The history of deployments cannot be read")
                }
            }
        }
        let own = Candidate {
            files: Arc::new(self.texts.clone()),
            blueprint: self.running.clone(),
            overlaid: false,
            warnings: Vec::new(),
        };
        let id = own.blueprint.id.clone();
        let unchanged = self.deployed.stage.last_seen() == id.as_str();
        self.deployed.stage.seen(&id);
        let from = Deployer::named(None, "start");
        let kept = self.deployed.stage.running().cloned();
        let tried = self
            .deployed
            .stage
            .progress()
            .and_then(|progress| self.deployed.stage.told(progress.n));
        let is_canary = tried.is_some_and(|told| told.id == id.as_str());
        let strategy = own.blueprint.deployment.strategy;
        let restored = match &kept {
            Some(kept) if kept.id == id.as_str() && !kept.overlaid => true,
            Some(kept) => {
                let stays = unchanged || is_canary || self.deployed.stage.is_pinned(&id);
                let wanted = stays || strategy == Strategy::Canary || kept.id == id.as_str();
                wanted && Box::pin(self.restore(kept.n, kept.overlaid)).await
            }
            None => false,
        };
        if !restored {
            // The files are what runs: the first time, or because they have changed.
            self.took_over(&own, from, None, Status::Superseded).await;
        } else if !unchanged
            && !is_canary
            && !self.deployed.stage.is_pinned(&id)
            && id != self.running.id
        {
            let candidate = Box::pin(self.candidate(own.files, Some(Strategy::Canary))).await;
            if let Ok(candidate) = candidate {
                let changes = self.changes(&candidate);
                Box::pin(self.begin_canary(candidate, from, changes)).await;
            }
        } else {
            if id != self.running.id && !is_canary {
                tracing::warn!(
                    files = %id,
                    running = %self.running.id,
                    "The files hold a configuration that was not deployed or was rolled back; what ran before goes on"
                );
            }
            Box::pin(self.resume_canary()).await;
        }
        self.save().await;
        self.show();
    }

    /// Runs a deployment of the history. Whether it can.
    async fn restore(&mut self, n: i64, overlaid: bool) -> bool {
        let Some(files) = self.deployed.stage.files(n).cloned() else {
            return false;
        };
        let strategy = if overlaid {
            Strategy::Canary
        } else {
            Strategy::All
        };
        match Box::pin(self.candidate(files, Some(strategy))).await {
            Ok(candidate) => {
                let blueprint = candidate.blueprint;
                if blueprint.listeners != self.running.listeners {
                    tracing::warn!(
                        "The listeners are those of the files, until something else is deployed"
                    );
                }
                self.texts = candidate.files.to_vec();
                self.deployed.overlaid = overlaid;
                self.put(&blueprint, &[], After::Baseline);
                self.guard.ask_for(blueprint.admin_token.clone());
                let plan = Arc::new((self.source.shown)(&blueprint));
                let hash = content_hash(&self.texts);
                self.status.change(|status| {
                    status.plan = plan;
                    status.outcome.hash = hash;
                });
                self.running = blueprint;
                true
            }
            Err(problems) => {
                tracing::error!(
                    problems,
                    "The configuration that ran before cannot run any more; that of the files runs"
                );
                false
            }
        }
    }

    /// Goes on with the canary that an earlier process tried.
    async fn resume_canary(&mut self) {
        let Some(progress) = self.deployed.stage.progress().cloned() else {
            return;
        };
        let files = self.deployed.stage.files(progress.n).cloned();
        let candidate = match files {
            Some(files) => Box::pin(self.candidate(files, Some(Strategy::Canary))).await,
            None => Err("its files are not kept".to_owned()),
        };
        match (candidate, progress.standing()) {
            (Ok(candidate), Some(standing)) => {
                let lasted = super::stage::epoch_millis().saturating_sub(progress.since);
                let settings = candidate.blueprint.deployment.clone();
                let lasted = Duration::from_millis(lasted).min(settings.every);
                let canary = Canary::resume(settings, standing, self.steady(), lasted);
                tracing::info!(deployment = %candidate.blueprint.id, share = %standing.share, "The canary goes on after the restart");
                self.tried(progress.n, candidate.files, candidate.blueprint, canary);
            }
            (Err(problems), _) => {
                tracing::error!(problems, "The canary of before cannot run any more");
                self.end_trial(Status::RolledBack, Some(problems));
            }
            (Ok(_), None) => {
                self.end_trial(
                    Status::RolledBack,
                    Some("its state cannot be read".to_owned()),
                );
            }
        }
    }

    /// Writes the stage down, where there is a store.
    async fn save(&mut self) {
        let StoreState::Open(store) = self.targets.store_state() else {
            return;
        };
        if let Err(error) = self.deployed.stage.save(&store).await {
            tracing::error!(%error, "The history of deployments cannot be written; it is with the next change");
        }
    }

    /// Makes the canary's plan anew, after what it draws on has changed. What cannot run leaves the old one.
    pub(super) async fn renew_canary(&mut self) {
        let Some(tried) = self.deployed.trial.take() else {
            return;
        };
        let Tried {
            n,
            files,
            canary,
            blueprint,
            ..
        } = tried;
        match Box::pin(self.candidate(files.clone(), Some(Strategy::Canary))).await {
            Ok(candidate) => self.tried(n, files, candidate.blueprint, canary),
            Err(problems) => {
                tracing::error!(
                    problems,
                    "The canary cannot be made anew; its old plan goes on"
                );
                self.tried(n, files, blueprint, canary);
            }
        }
    }
}

/// What is answered where nothing of the process changes yet.
fn outcome_of(prepared: &Prepared) -> Outcome {
    Outcome {
        hash: prepared.hash.clone(),
        origin: prepared.origin,
        changed: true,
        warnings: prepared.warnings.clone(),
        needs_restart: Vec::new(),
    }
}

/// The files that were sent, in the folder of the gateway's own.
fn files_of(sent: &[FileText], folder: &Path) -> Result<Files, Answered> {
    if sent.is_empty() {
        return Err(Answered::asked_wrongly("no files were sent"));
    }
    let file = |file: &FileText| {
        let name = PathBuf::from(&file.name);
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if file.name.is_empty() || !name.components().all(plain) {
            return Err(Answered::asked_wrongly(format!(
                "{:?} is no name of a file in a folder",
                file.name
            )));
        }
        Ok(SourceFile {
            path: folder.join(name),
            text: file.text.clone(),
        })
    };
    let files: Result<Vec<SourceFile>, Answered> = sent.iter().map(file).collect();
    Ok(Arc::new(files?))
}
