//! Deploys: puts another configuration in the place of the one that runs, or tries it beside it as a canary, and takes it
//! back. Whatever is asked, and whatever a look at the canary comes to, is done by the one task that owns the plans.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::renewal::{Renewal, With};
use super::stage::{Deployer, Files};
use super::trial::Tried;
use crate::admin::deployments::{
    Asked, CanaryOrder, Deploy, Done, FileText, Rollback, Status, Texts,
};
use crate::admin::queues::Refused;
use crate::config::load::{Environment as _, SourceFile};
use crate::deploy::{Canary, DeploymentId, Look, Strategy};
use crate::integration::StoreState;
use crate::model::value::Share;
use crate::plan::Blueprint;
use crate::plan::change::{Changes, Written};
use crate::plan::written::Compiled;

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

impl Renewal {
    /// Answers what is asked through the admin listener.
    pub(super) async fn answer(&mut self, asked: Asked) {
        // Whoever asked may be gone; what was asked is done all the same.
        match asked {
            Asked::Deploy(deploy, answer) => {
                let done = self.deploy_asked(deploy).await;
                let _ = answer.send(done);
            }
            Asked::Canary(order, answer) => {
                let done = self.canary_asked(order).await;
                let _ = answer.send(done);
            }
            Asked::Rollback(rollback, answer) => {
                let done = self.rollback(rollback).await;
                let _ = answer.send(done);
            }
            Asked::Texts(id, answer) => {
                let _ = answer.send(self.texts(id.as_deref()));
            }
        }
        self.tell();
    }

    async fn deploy_asked(&mut self, deploy: Deploy) -> Result<Done, Refused> {
        let strategy = match deploy.strategy.as_deref() {
            None => None,
            Some("all") => Some(Strategy::All),
            Some("canary") => Some(Strategy::Canary),
            Some(other) => {
                return Err(Refused::asked_wrongly(format!(
                    "there is no strategy {other:?}; there are all and canary"
                )));
            }
        };
        let files = files_of(&deploy.files, &self.folder)?;
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
        self.deploy(files, wish, from).await
    }

    /// Deploys files.
    pub(super) async fn deploy(
        &mut self,
        files: Files,
        wish: Wish,
        from: Deployer,
    ) -> Result<Done, Refused> {
        let named = files.iter();
        let id = DeploymentId::of(named.map(|file| (file.path.as_path(), file.text.as_str())));
        if self.stage.is_pinned(&id) && !wish.force {
            self.metrics.deployments.event("pinned");
            return Err(Refused {
                status: StatusCode::CONFLICT,
                message: format!(
                    "{id} was rolled back, and is not deployed again until it changes; --force deploys it all the same"
                ),
            });
        }
        let candidate = match self.candidate(files, wish.strategy).await {
            Ok(candidate) => candidate,
            Err(reason) => {
                if !wish.dry_run {
                    self.refuse(&id, from, &reason).await;
                }
                return Err(Refused {
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
        if id == self.running.id && self.trial.is_none() && !wish.force {
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
            let share = self.begin_canary(candidate, from, changes.clone()).await;
            return Ok(done(format!(
                "{id} is a canary now, for {share} of the callers"
            )));
        }
        if id == self.running.id {
            // Whoever deploys what runs wants nothing else beside it.
            self.end_trial(Status::Superseded, None).await;
            self.save().await;
            return Ok(done(format!("{id} runs, and no canary beside it")));
        }
        self.take_over(candidate, from, Some(changes.clone()), Status::Superseded)
            .await;
        Ok(done(format!("{id} runs now")))
    }

    /// Compiles files with what they draw on. `Err`: every problem, a line each.
    async fn candidate(&self, files: Files, wished: Option<Strategy>) -> Result<Candidate, String> {
        let mut compiled = self.compile(files.to_vec(), true).await?;
        if self.source.vault.has_stood_in() {
            self.fetch().await;
            compiled = self.compile(files.to_vec(), true).await?;
        }
        let overlays = |blueprint: &Blueprint| {
            wished.unwrap_or(blueprint.deployment.strategy) == Strategy::Canary
        };
        let overlaid = compiled.as_canary.as_ref().is_some_and(overlays);
        let warnings = compiled
            .problems
            .0
            .iter()
            .map(ToString::to_string)
            .collect();
        let blueprint = self.usable(compiled, overlaid)?;
        Ok(Candidate {
            files,
            blueprint,
            overlaid,
            warnings,
        })
    }

    /// The blueprint of what was compiled, with what the command line changes.
    pub(super) fn usable(&self, compiled: Compiled, overlaid: bool) -> Result<Blueprint, String> {
        let Compiled {
            blueprint,
            as_canary,
            problems,
            ..
        } = compiled;
        match as_canary.filter(|_| overlaid).or(blueprint) {
            Some(mut blueprint) => {
                (self.source.amend)(&mut blueprint);
                Ok(blueprint)
            }
            None if problems.has_errors() => {
                let lines = problems.0.iter().map(ToString::to_string);
                Err(lines.collect::<Vec<_>>().join("\n"))
            }
            None => Err("a secret that it names cannot be fetched".to_owned()),
        }
    }

    fn changes(&self, candidate: &Candidate) -> Changes {
        Changes::between(
            Written {
                blueprint: &self.running,
                texts: &self.source.texts,
            },
            Written {
                blueprint: &candidate.blueprint,
                texts: &candidate.files,
            },
        )
    }

    /// Notes a configuration that cannot run.
    async fn refuse(&mut self, id: &DeploymentId, from: Deployer, reason: &str) {
        tracing::error!(
            deployment = %id,
            by = from.by,
            problems = reason,
            "A configuration was refused; what runs goes on"
        );
        self.metrics.deployments.event("refused");
        self.stage.refuse(id, from, reason.to_owned());
        self.save().await;
    }

    /// Makes the queues that a configuration declares, beside those that are there.
    async fn declare(&self, blueprint: &Blueprint) -> Result<(), Refused> {
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
            Err(error) => Err(Refused {
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
    ) {
        let Candidate {
            files,
            blueprint,
            overlaid,
            ..
        } = candidate;
        let id = blueprint.id.clone();
        tracing::info!(deployment = %id, by = from.by, "A configuration was deployed");
        self.metrics.deployments.event("deployed");
        self.end_trial(became, None).await;
        if became == Status::Superseded {
            self.stage.unpin_all();
        }
        let n = self.stage.note(&id, Status::Running, from, files.clone());
        self.stage.change(n, |told| {
            told.changes = changes;
            told.overlaid = overlaid;
        });
        self.stage.run(n, became);
        self.source.texts = files.to_vec();
        self.overlaid = overlaid;
        let before = self.gateway.current.load();
        self.publish(blueprint, With::Nothing(&before));
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
        self.end_trial(Status::Superseded, None).await;
        self.stage.unpin_all();
        let id = blueprint.id.clone();
        let by = from.by.clone();
        let n = self.stage.note(&id, Status::Canary, from, files.clone());
        self.stage.change(n, |told| {
            told.changes = Some(changes);
            told.overlaid = overlaid;
        });
        let canary = Canary::begin(blueprint.deployment.clone(), self.steady());
        let share = canary.standing().share;
        tracing::info!(deployment = %id, by, %share, "A canary begins");
        self.metrics.deployments.event("canary");
        self.stage.stand(n, canary.standing(), Duration::ZERO);
        self.tried(n, files, blueprint, canary);
        self.save().await;
        share
    }

    /// Looks at the canary, once a second.
    pub(super) async fn judge(&mut self) {
        let now = self.steady();
        let Some(tried) = &mut self.trial else { return };
        match tried.look(now) {
            Look::Stay(_) => {}
            Look::Step(share) => {
                tracing::info!(deployment = %tried.blueprint.id, %share, "The canary goes on");
                tried.trial.split.set(share);
                self.metrics.deployments.share(share);
                let (n, standing) = (tried.n, tried.canary.standing());
                self.stage.stand(n, standing, Duration::ZERO);
                self.save().await;
            }
            Look::Promote => {
                let reason = "it passed its steps".to_owned();
                self.promote(reason).await;
            }
            Look::RollBack(blame) => self.abort(blame.to_string()).await,
        }
        self.tell();
    }

    /// The canary takes over.
    async fn promote(&mut self, reason: String) {
        let Some(tried) = self.trial.take() else {
            return;
        };
        tracing::info!(deployment = %tried.blueprint.id, reason, "The canary takes over");
        self.metrics.deployments.event("promoted");
        self.metrics.deployments.share(Share::NONE);
        let overlaid = self.stage.told(tried.n).is_some_and(|told| told.overlaid);
        self.stage.end_canary(Status::Running, Some(reason));
        self.stage.run(tried.n, Status::Superseded);
        self.source.texts = tried.files.to_vec();
        self.overlaid = overlaid;
        let before = tried.trial.plan.clone();
        self.publish(tried.blueprint, With::Nothing(&before));
        self.save().await;
    }

    /// The canary is taken back, and not tried again until it changes.
    async fn abort(&mut self, reason: String) {
        if let Some(tried) = &self.trial {
            tracing::warn!(deployment = %tried.blueprint.id, reason, "The canary is taken back");
            self.metrics.deployments.event("rolled_back");
            let id = tried.blueprint.id.to_string();
            self.end_trial(Status::RolledBack, Some(reason)).await;
            self.stage.pin(&id);
            self.save().await;
        }
    }

    /// There is no canary from now on.
    async fn end_trial(&mut self, became: Status, reason: Option<String>) {
        if self.trial.take().is_some() {
            self.gateway.current.set_trial(None);
            self.metrics.deployments.share(Share::NONE);
        }
        self.stage.end_canary(became, reason);
    }

    async fn canary_asked(&mut self, order: CanaryOrder) -> Result<Done, Refused> {
        let now = self.steady();
        let Some(tried) = &mut self.trial else {
            return Err(Refused {
                status: StatusCode::CONFLICT,
                message: "no canary runs".to_owned(),
            });
        };
        let id = tried.blueprint.id.clone();
        let said = match order {
            CanaryOrder::Set(share) => {
                let share: Share = share.parse().map_err(Refused::asked_wrongly)?;
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
                self.promote("by hand".to_owned()).await;
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
        let Some(tried) = &self.trial else {
            return Share::NONE;
        };
        let standing = tried.canary.standing();
        tracing::info!(deployment = %tried.blueprint.id, share = %standing.share, "The canary's share was set by an operator");
        tried.trial.split.set(standing.share);
        self.metrics.deployments.share(standing.share);
        self.stage.stand(tried.n, standing, Duration::ZERO);
        standing.share
    }

    async fn rollback(&mut self, rollback: Rollback) -> Result<Done, Refused> {
        let done = |said: String, id: &str| Done {
            said,
            id: id.to_owned(),
            changes: None,
            warnings: Vec::new(),
        };
        if let (None, Some(tried)) = (&rollback.id, &self.trial) {
            let id = tried.blueprint.id.to_string();
            self.abort("by hand".to_owned()).await;
            return Ok(done(format!("{id} is taken back"), &id));
        }
        let target = match &rollback.id {
            None => self.stage.before(),
            Some(id) => self.found(id)?,
        };
        let Some(target) = target.cloned() else {
            return Err(Refused {
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
        let files = self.stage.files(target.n).cloned().unwrap_or_default();
        let strategy = if target.overlaid {
            Strategy::Canary
        } else {
            Strategy::All
        };
        let candidate = self.candidate(files, Some(strategy)).await;
        let candidate = candidate.map_err(|reason| Refused {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            message: format!("{id} cannot run any more:\n{reason}"),
        })?;
        self.declare(&candidate.blueprint).await?;
        let left: Vec<String> = std::iter::once(&self.running.id)
            .chain(self.trial.as_ref().map(|tried| &tried.blueprint.id))
            .map(ToString::to_string)
            .collect();
        self.metrics.deployments.event("rolled_back");
        let changes = self.changes(&candidate);
        let from = Deployer::named(rollback.by.as_deref(), "rollback");
        self.take_over(candidate, from, Some(changes), Status::RolledBack)
            .await;
        for left in &left {
            self.stage.pin(left);
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

    fn found(&self, id: &str) -> Result<Option<&crate::admin::deployments::Told>, Refused> {
        self.stage.found(id).map_err(|()| {
            Refused::asked_wrongly(format!(
                "several deployments begin with {id}; write more of it"
            ))
        })
    }

    fn texts(&self, id: Option<&str>) -> Result<Texts, Refused> {
        let told = match id {
            None => self.stage.running(),
            Some(id) => self.found(id)?,
        };
        let files = told.and_then(|told| Some((told, self.stage.files(told.n)?)));
        let Some((told, files)) = files else {
            return Err(Refused {
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
                Ok(kept) => self.stage.join(kept),
                Err(error) => {
                    tracing::error!(%error, "The history of deployments cannot be read")
                }
            }
        }
        let own = Candidate {
            files: Arc::new(self.source.texts.clone()),
            blueprint: self.running.clone(),
            overlaid: false,
            warnings: Vec::new(),
        };
        let id = own.blueprint.id.clone();
        let unchanged = self.stage.last_seen() == id.as_str();
        self.stage.seen(&id);
        let from = Deployer::named(None, "start");
        let kept = self.stage.running().cloned();
        let tried = self
            .stage
            .progress()
            .and_then(|progress| self.stage.told(progress.n));
        let is_canary = tried.is_some_and(|told| told.id == id.as_str());
        let strategy = own.blueprint.deployment.strategy;
        let restored = match &kept {
            Some(kept) if kept.id == id.as_str() && !kept.overlaid => true,
            Some(kept) => {
                let stays = unchanged || is_canary || self.stage.is_pinned(&id);
                let wanted = stays || strategy == Strategy::Canary || kept.id == id.as_str();
                wanted && self.restore(kept.n, kept.overlaid).await
            }
            None => false,
        };
        if !restored {
            // The files are what runs: the first time, or because they have changed.
            let changes = None;
            self.end_trial(Status::Superseded, None).await;
            self.take_over(own, from, changes, Status::Superseded).await;
        } else if !unchanged && !is_canary && !self.stage.is_pinned(&id) && id != self.running.id {
            let candidate = self.candidate(own.files, Some(Strategy::Canary)).await;
            if let Ok(candidate) = candidate {
                let changes = self.changes(&candidate);
                self.begin_canary(candidate, from, changes).await;
            }
        } else {
            if id != self.running.id && !is_canary {
                tracing::warn!(
                    files = %id,
                    running = %self.running.id,
                    "The files hold a configuration that was not deployed or was rolled back; what ran before goes on"
                );
            }
            self.resume_canary().await;
        }
        self.save().await;
        self.tell();
    }

    /// Runs a deployment of the history. Whether it can.
    async fn restore(&mut self, n: i64, overlaid: bool) -> bool {
        let Some(files) = self.stage.files(n).cloned() else {
            return false;
        };
        let strategy = if overlaid {
            Strategy::Canary
        } else {
            Strategy::All
        };
        match self.candidate(files, Some(strategy)).await {
            Ok(candidate) => {
                self.source.texts = candidate.files.to_vec();
                self.overlaid = overlaid;
                let before = self.gateway.current.load();
                self.publish(candidate.blueprint, With::Nothing(&before));
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
        let Some(progress) = self.stage.progress().cloned() else {
            return;
        };
        let files = self.stage.files(progress.n).cloned();
        let candidate = match files {
            Some(files) => self.candidate(files, Some(Strategy::Canary)).await,
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
                self.end_trial(Status::RolledBack, Some(problems)).await;
            }
            (Ok(_), None) => {
                self.end_trial(
                    Status::RolledBack,
                    Some("its state cannot be read".to_owned()),
                )
                .await;
            }
        }
    }

    /// Writes the stage down, where there is a store.
    async fn save(&mut self) {
        let StoreState::Open(store) = self.targets.store_state() else {
            return;
        };
        if let Err(error) = self.stage.save(&store).await {
            tracing::error!(%error, "The history of deployments cannot be written; it is with the next change");
        }
    }

    /// Makes the canary's plan anew, after what it draws on has changed. What cannot run leaves the old one.
    pub(super) async fn renew_canary(&mut self) {
        let Some(tried) = self.trial.take() else {
            return;
        };
        let Tried {
            n,
            files,
            canary,
            blueprint,
            ..
        } = tried;
        match self.candidate(files.clone(), Some(Strategy::Canary)).await {
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

/// The files that were sent, in the folder of the gateway's own.
fn files_of(sent: &[FileText], folder: &Path) -> Result<Files, Refused> {
    if sent.is_empty() {
        return Err(Refused::asked_wrongly("no files were sent"));
    }
    let file = |file: &FileText| {
        let name = PathBuf::from(&file.name);
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if file.name.is_empty() || !name.components().all(plain) {
            return Err(Refused::asked_wrongly(format!(
                "{:?} is no name of a file in a folder",
                file.name
            )));
        }
        Ok(SourceFile {
            path: folder.join(name),
            text: file.text.clone(),
        })
    };
    let files: Result<Vec<SourceFile>, Refused> = sent.iter().map(file).collect();
    Ok(Arc::new(files?))
}
