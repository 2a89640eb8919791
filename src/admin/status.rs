//! What the owner of the running configuration tells about it: which one runs, and why another one does not.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::listen::ListenStats;
use crate::plan::candidate::{Origin, Outcome, Refused};
use crate::telemetry::metrics::Name;

/// The configuration that runs, and the last one that does not.
#[derive(Clone)]
pub struct Configured {
    /// The plan as `penstock routes --json` prints it.
    pub plan: Arc<Value>,
    /// Whether some route or queue needs the store.
    pub store_needed: bool,
    /// What each listener counts, by its name; those that were there before too.
    pub listeners: Vec<(Name, Arc<ListenStats>)>,
    /// Where the gateway gets its configuration.
    pub from: String,
    /// How what runs came to run.
    pub outcome: Outcome,
    pub since: SystemTime,
    /// The configuration was to be another one since, and could not.
    pub refused: Option<Refusal>,
    /// What else an operator should know of the source: that it cannot be reached, say.
    pub remark: Option<String>,
}

/// A configuration that does not run.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub at: SystemTime,
    pub origin: Origin,
    pub reason: Refused,
}

/// Shared by its writer and the admin listener. Cloning shares it.
#[derive(Clone)]
pub struct Status(Arc<ArcSwap<Configured>>);

impl Status {
    /// Of the first configuration.
    pub fn new(configured: Configured) -> Status {
        Status(Arc::new(ArcSwap::from_pointee(configured)))
    }

    /// As it is now.
    pub fn load(&self) -> Arc<Configured> {
        self.0.load_full()
    }

    /// Changes a part. There is one writer.
    pub fn change(&self, part: impl FnOnce(&mut Configured)) {
        let mut next = Configured::clone(&self.0.load());
        part(&mut next);
        self.0.store(Arc::new(next));
    }
}

impl Configured {
    /// For `/readyz`: which configuration runs, since when, and what is wrong with the one that was to follow.
    pub(super) fn shown(&self) -> Value {
        json!({
            "hash": self.outcome.hash,
            "origin": self.outcome.origin,
            "from": self.from,
            "since": written(self.since),
            "needsRestart": self.outcome.needs_restart,
            "refused": self.refused.as_ref().map(Refusal::shown),
        })
    }

    /// What an operator should look at.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(refusal) = &self.refused {
            remarks.push(format!(
                "the configuration has changed and is refused, so an older one runs: {}",
                refusal.reason
            ));
        }
        if !self.outcome.needs_restart.is_empty() {
            remarks.push(format!(
                "the configuration has changed in what only a restart brings into use: {}",
                self.outcome.needs_restart.join(", ")
            ));
        }
        remarks.extend(self.remark.clone());
        remarks
    }
}

impl Refusal {
    /// As the admin API tells it.
    pub fn shown(&self) -> Value {
        json!({
            "at": written(self.at),
            "origin": self.origin,
            "reason": self.reason.kind(),
            "problems": self.reason.lines(),
        })
    }
}

fn written(time: SystemTime) -> Option<String> {
    OffsetDateTime::from(time).format(&Rfc3339).ok()
}
