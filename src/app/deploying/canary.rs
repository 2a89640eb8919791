//! The canary: begins, is judged, takes over, ends.

use std::time::Duration;

use http::StatusCode;

use super::Candidate;
use crate::admin::deployments::{CanaryOrder, Done, Status};
use crate::admin::queues::Refused as Answered;
use crate::app::live::{After, Live};
use crate::app::stage::Deployer;
use crate::app::trial::Tried;
use crate::deploy::{Canary, Look, Strategy};
use crate::model::value::Share;
use crate::plan::candidate::Origin;
use crate::plan::change::Changes;

impl Live {
    /// It serves a share of the callers from now on, which is returned.
    pub(super) async fn begin_canary(
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
        self.tried(n, files, blueprint, canary).await;
        self.save().await;
        share
    }

    /// Looks at the canary, once a second.
    pub(in crate::app) async fn judge(&mut self) {
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
    pub(super) async fn promote(&mut self, reason: String) -> Result<(), Answered> {
        let Some(tried) = &self.deployed.trial else {
            return Ok(());
        };
        let (n, plan) = (tried.n, tried.trial.plan.clone());
        let (blueprint, texts) = (tried.blueprint.clone(), tried.files.to_vec());
        let id = blueprint.id.clone();
        let preparing = self.ready(blueprint, texts, Origin::Deploy, Vec::new());
        let prepared = Box::pin(preparing).await;
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
    pub(super) async fn abort(&mut self, reason: String) {
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
    pub(super) fn end_trial(&mut self, became: Status, reason: Option<String>) {
        if self.deployed.trial.take().is_some() {
            if let Some(old) = self.services.gateway.current.set_trial(None) {
                self.reaper.take(old);
            }
            self.metrics.deployments.share(Share::NONE);
        }
        self.deployed.stage.end_canary(became, reason);
    }

    pub(super) async fn canary_asked(&mut self, order: CanaryOrder) -> Result<Done, Answered> {
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
    pub(super) fn stand_anew(&mut self) -> Share {
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

    /// Makes the canary's plan anew, after what it draws on has changed. What cannot run leaves the old one.
    pub(in crate::app) async fn renew_canary(&mut self) {
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
            Ok(candidate) => self.tried(n, files, candidate.blueprint, canary).await,
            Err(problems) => {
                tracing::error!(
                    problems,
                    "The canary cannot be made anew; its old plan goes on"
                );
                self.tried(n, files, blueprint, canary).await;
            }
        }
    }
}
