//! What was before: rollbacks, and what an earlier process has left.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::Candidate;
use crate::admin::deployments::{Done, FileText, Rollback, Status, Texts};
use crate::admin::queues::Refused as Answered;
use crate::app::live::{After, Live};
use crate::app::stage::Deployer;
use crate::config::load::SourceFile;
use crate::deploy::{Canary, Strategy};
use crate::integration::StoreState;

impl Live {
    pub(super) async fn rollback(&mut self, rollback: Rollback) -> Result<Done, Answered> {
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

    pub(super) fn found(
        &self,
        id: &str,
    ) -> Result<Option<&crate::admin::deployments::Told>, Answered> {
        self.deployed.stage.found(id).map_err(|()| {
            Answered::asked_wrongly(format!(
                "several deployments begin with {id}; write more of it"
            ))
        })
    }

    pub(super) fn texts(&self, id: Option<&str>) -> Result<Texts, Answered> {
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
    pub(in crate::app) async fn resume(&mut self) {
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
    pub(super) async fn restore(&mut self, n: i64, overlaid: bool) -> bool {
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
                let hash = self.running.id.to_string();
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
    pub(super) async fn resume_canary(&mut self) {
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
                let lasted = crate::app::stage::epoch_millis().saturating_sub(progress.since);
                let settings = candidate.blueprint.deployment.clone();
                let lasted = Duration::from_millis(lasted).min(settings.every);
                let canary = Canary::resume(settings, standing, self.steady(), lasted);
                tracing::info!(deployment = %candidate.blueprint.id, share = %standing.share, "The canary goes on after the restart");
                self.tried(progress.n, candidate.files, candidate.blueprint, canary)
                    .await;
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
    pub(super) async fn save(&mut self) {
        let StoreState::Open(store) = self.targets.store_state() else {
            return;
        };
        if let Err(error) = self.deployed.stage.save(&store).await {
            tracing::error!(%error, "The history of deployments cannot be written; it is with the next change");
        }
    }
}
