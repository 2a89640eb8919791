//! Deploys: puts another configuration in the place of the one that runs, or tries it beside it as a canary, and takes it
//! back. Whatever is asked, and whatever a look at the canary comes to, is done by the one task that owns the plans.

mod back;
mod canary;

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use http::StatusCode;

use super::live::{After, Live, Prepared};
use super::stage::{Deployer, Files};
use crate::admin::deployments::{Asked, Deploy, Done, FileText, Status};
use crate::admin::queues::Refused as Answered;
use crate::config::load::SourceFile;
use crate::deploy::{DeploymentId, Strategy};
use crate::integration::StoreState;
use crate::plan::Blueprint;
use crate::plan::candidate::{Candidate as Submitted, Content, Origin, Outcome, Refused};
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
        let mut warnings = candidate.warnings.clone();
        let calls = &candidate.blueprint;
        if strategy == Strategy::Canary
            && (calls.aws != self.running.aws || calls.egress != self.running.egress)
        {
            warnings.push(
                "`aws` or `egress` differ: the canary calls as the baseline does, until it has taken over"
                    .to_owned(),
            );
        }
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
        let is_canary = strategy == Strategy::Canary && id != self.running.id;
        // Held until the canary has them. Who takes over reads them itself.
        let tables = match is_canary {
            true => Box::pin(self.version_tables.ahead(&candidate.blueprint, &self.aws)).await,
            false => Ok(Vec::new()),
        };
        let tables = match tables {
            Ok(tables) => tables,
            Err(reason) => {
                self.refused(&id, from, &reason).await;
                return Err(Answered {
                    status: StatusCode::UNPROCESSABLE_ENTITY,
                    message: reason,
                });
            }
        };
        self.declare(&candidate.blueprint).await?;
        if is_canary {
            let share = Box::pin(self.begin_canary(candidate, from, changes.clone())).await;
            drop(tables);
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
        let (compiled, _) = compiled.map_err(|refused| refused.to_string())?;
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
            let seen = self.deployed.stage.last_seen() == id.as_str();
            self.deployed.stage.seen(&id);
            let tried = self.deployed.trial.as_ref();
            let is_tried = tried.is_some_and(|tried| tried.blueprint.id == id);
            let is_pinned = self.deployed.stage.is_pinned(&id);
            if seen && id != self.running.id && !is_tried && !is_pinned {
                drop(prepared);
                return Box::pin(self.go_on(submitted, &id)).await;
            }
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

    /// The files hold what they held when they were looked at last, and something else was deployed since: that goes on, with
    /// what it draws on anew. Whoever rotates logs by a signal undoes no deployment.
    async fn go_on(
        &mut self,
        submitted: &Submitted,
        held: &DeploymentId,
    ) -> Result<Outcome, Refused> {
        let renewing = Submitted {
            content: Content::Running,
            ..submitted.clone()
        };
        let Some(prepared) = Box::pin(self.prepare(&renewing)).await? else {
            return Ok(self.status.load().outcome.clone());
        };
        let mut became = Box::pin(self.publish(prepared, After::Itself)).await?;
        Box::pin(self.renew_canary()).await;
        self.save().await;
        became.warnings.push(format!(
            "the files hold {held}, as before; {} was deployed since, and runs on (`penstock deploy` brings the files back)",
            self.running.id
        ));
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
        let prepared = Box::pin(self.ready(blueprint, texts, origin, warnings)).await;
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
