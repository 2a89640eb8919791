//! A configuration on its way to being the one that runs. Wherever it comes from (its files, a signal, the admin API, a
//! rollback, a source over the network), it is submitted at one [`Door`], and whoever owns the running plan answers with
//! what became of it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::config::load::SourceFile;
use crate::model::problem::Problems;

/// How many candidates may wait at the door; one more waits before it.
const WAITING: usize = 16;

/// What brought a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// What the process was started with.
    Start,
    /// A route file has changed.
    Watch,
    /// A secret, or a file that the configuration names, has changed.
    Renewal,
    /// SIGHUP.
    Signal,
    /// `POST /v1/reload`.
    Reload,
    /// The source over the network has another version.
    Source,
    /// Texts that somebody deploys.
    Deploy,
    /// An earlier deployment is to run again.
    Rollback,
}

impl Origin {
    /// As metrics, the log and the admin API name it.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Start => "start",
            Origin::Watch => "watch",
            Origin::Renewal => "renewal",
            Origin::Signal => "signal",
            Origin::Reload => "reload",
            Origin::Source => "source",
            Origin::Deploy => "deploy",
            Origin::Rollback => "rollback",
        }
    }
}

/// Which texts a candidate is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// What the gateway was started from (its files, or its source over the network), read anew.
    Anew,
    /// The texts that run; what they draw on (`${file:…}`, secrets, users, keys) is read anew.
    Running,
    /// These. Relative paths in them begin at the directories of their names.
    Texts(Vec<SourceFile>),
}

/// A configuration that somebody wants to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub content: Content,
    pub origin: Origin,
    /// Who asked for it, for the log and the history; empty where nobody did.
    pub who: Arc<str>,
}

impl Candidate {
    /// What the gateway was started from, read anew.
    pub fn anew(origin: Origin) -> Candidate {
        Candidate {
            content: Content::Anew,
            origin,
            who: "".into(),
        }
    }

    /// The texts that run, with what they draw on as it is now.
    pub fn renewed() -> Candidate {
        Candidate {
            content: Content::Running,
            ..Candidate::anew(Origin::Renewal)
        }
    }
}

/// A candidate runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The deployment's id: the address of its content.
    pub hash: String,
    pub origin: Origin,
    /// Whether the texts are others than those that ran before.
    pub changed: bool,
    /// What an operator should know: warnings of the configuration, and queues that are no longer declared.
    pub warnings: Vec<String>,
    /// Settings that are others than those that run and that only a restart brings into use.
    pub needs_restart: Vec<String>,
}

/// Why a candidate does not run. Nothing has changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// The configuration has errors.
    #[error("{}", lines(.0))]
    Problems(Problems),
    /// It is sound, but what it needs cannot be had: an address, a certificate, the store, a secret.
    #[error("{0}")]
    Build(String),
    /// It is to be tried again in a moment: what API keys have used is still being read.
    #[error("{0}")]
    NotYet(&'static str),
    /// The gateway is shutting down.
    #[error("the gateway is shutting down")]
    Stopping,
}

impl Refused {
    /// What kind of refusal it is: `problems`, `build`, `later` or `stopping`.
    pub fn kind(&self) -> &'static str {
        match self {
            Refused::Problems(_) => "problems",
            Refused::Build(_) => "build",
            Refused::NotYet(_) => "later",
            Refused::Stopping => "stopping",
        }
    }

    /// What is wrong, one problem a line.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Refused::Problems(problems) => problems.0.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        }
    }
}

fn lines(problems: &Problems) -> String {
    let lines = problems.0.iter().map(ToString::to_string);
    lines.collect::<Vec<_>>().join("\n")
}

/// A candidate, and where the answer goes.
pub struct Submitted {
    pub candidate: Candidate,
    pub answer: oneshot::Sender<Result<Outcome, Refused>>,
}

/// Where candidates are submitted. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Door(mpsc::Sender<Submitted>);

/// The other side of the door.
#[derive(Debug)]
pub struct Behind(mpsc::Receiver<Submitted>);

impl Door {
    /// A door, and its other side.
    pub fn new() -> (Door, Behind) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Door(sender), Behind(receiver))
    }

    /// Has a candidate run, after those that wait already.
    ///
    /// # Errors
    /// It does not run, and what ran before runs on.
    pub async fn submit(&self, candidate: Candidate) -> Result<Outcome, Refused> {
        let (answer, answered) = oneshot::channel();
        let submitted = Submitted { candidate, answer };
        let sent = self.0.send(submitted).await;
        sent.map_err(|_| Refused::Stopping)?;
        answered.await.unwrap_or(Err(Refused::Stopping))
    }
}

impl Behind {
    /// The next candidate; never, once every door is gone.
    pub async fn next(&mut self) -> Submitted {
        match self.0.recv().await {
            Some(submitted) => submitted,
            None => std::future::pending().await,
        }
    }
}

/// Where a gateway's configuration comes from, as people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whence {
    Files(Vec<PathBuf>),
    /// `s3://bucket/key` or `appconfig:app/env/profile`.
    Remote(String),
}

impl fmt::Display for Whence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whence::Remote(name) => f.write_str(name),
            Whence::Files(paths) => {
                let shown: Vec<_> = paths
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                f.write_str(&shown.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_candidate_is_answered_and_after_the_end_every_one_is_refused() {
        let (door, mut behind) = Door::new();
        let asked = tokio::spawn({
            let door = door.clone();
            async move { door.submit(Candidate::anew(Origin::Reload)).await }
        });
        let Submitted { candidate, answer } = behind.next().await;
        assert_eq!(candidate.origin, Origin::Reload);
        drop(answer);
        assert!(matches!(asked.await.unwrap(), Err(Refused::Stopping)));
        drop(behind);
        let late = door.submit(Candidate::renewed()).await;
        assert!(matches!(late, Err(Refused::Stopping)));
    }
}
