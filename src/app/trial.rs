//! The canary that runs: its plan beside the baseline's, what has been counted of both, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use super::live::Live;
use super::stage::Files;
use crate::admin::deployments::{CanaryView, Listing, Seen};
use crate::deploy::{Block, Canary, Look, Meters, Part, Split, Tally};
use crate::integration::StoreState;
use crate::plan::{Blueprint, Trial};

/// A configuration that is tried.
pub(super) struct Tried {
    /// Its place in the history.
    pub n: i64,
    pub files: Files,
    pub blueprint: Blueprint,
    pub canary: Canary,
    pub trial: Arc<Trial>,
    /// What the meters said at the last look.
    last: Block,
}

impl Tried {
    /// Looks at what has been counted since the last time.
    pub fn look(&mut self, now: Duration) -> Look {
        let counted = Block {
            baseline: self.trial.baseline.meters.tally(),
            canary: self.trial.canary.meters.tally(),
        };
        let block = Block {
            baseline: counted.baseline.since(self.last.baseline),
            canary: counted.canary.since(self.last.canary),
        };
        self.last = counted;
        self.canary.look(now, block)
    }

    fn view(&self, now: Duration) -> CanaryView {
        let (standing, settings) = (self.canary.standing(), self.canary.settings());
        let seen = |tally: Tally| Seen {
            requests: tally.requests,
            failed: tally.failed,
            refused: tally.refused,
            slow: tally.slow,
        };
        let waiting = self.canary.waiting(now);
        CanaryView {
            id: self.blueprint.id.to_string(),
            share: standing.share.to_string(),
            step: standing.step + 1,
            steps: settings.steps.iter().map(ToString::to_string).collect(),
            step_seconds: self.canary.lasted(now).as_secs_f64(),
            waiting: waiting.map_or_else(String::new, |waiting| waiting.to_string()),
            canary: seen(self.canary.seen().canary),
            baseline: seen(self.canary.seen().baseline),
        }
    }
}

impl Live {
    /// Builds a plan beside the baseline's and gives it its share.
    pub(super) async fn tried(
        &mut self,
        n: i64,
        files: Files,
        blueprint: Blueprint,
        canary: Canary,
    ) {
        // Held until the plan has them: a canary that began without its rows would be taken back for that.
        let tables = Box::pin(self.version_tables.ahead(&blueprint, &self.aws)).await;
        if let Err(error) = &tables {
            tracing::warn!(error, "The canary begins without a table of versions");
        }
        let plan = Arc::new(self.beside(&blueprint));
        let settings = canary.settings();
        let p99 = settings.rollback_on.as_ref().and_then(|on| on.p99);
        let part = |deployment, is_canary| {
            Arc::new(Part {
                deployment,
                is_canary,
                meters: Arc::new(Meters::new(p99)),
            })
        };
        let id = blueprint.id.clone();
        let share = canary.standing().share;
        let trial = Arc::new(Trial {
            plan,
            split: Split::new(id.clone(), settings.sticky.clone(), share),
            baseline: part(self.running.id.clone(), false),
            canary: part(id, true),
        });
        let old = self.services.gateway.current.set_trial(Some(trial.clone()));
        if let Some(old) = old {
            self.reaper.take(old);
        }
        self.metrics.deployments.share(share);
        self.deployed.trial = Some(Tried {
            n,
            files,
            blueprint,
            canary,
            trial,
            last: Block::default(),
        });
    }

    /// The process's own time.
    pub(super) fn steady(&self) -> Duration {
        self.deployed.began.elapsed()
    }

    /// Tells the admin listener how things stand.
    pub(super) fn show(&self) {
        let now = self.steady();
        let kept = matches!(self.targets.store_state(), StoreState::Open(_));
        self.deployed.listing.store(Arc::new(Listing {
            baseline: self.running.id.to_string(),
            canary: self.deployed.trial.as_ref().map(|tried| tried.view(now)),
            pinned: self.deployed.stage.pins().to_vec(),
            kept,
            deployments: self.deployed.stage.history(),
        }));
    }
}
