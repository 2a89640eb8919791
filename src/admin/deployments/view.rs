//! What is told of deployments, and what is asked for: the JSON of `/v1/deployments`, for the listener and for its clients.

use serde::{Deserialize, Serialize};

use crate::plan::change::Changes;

/// What became of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The baseline.
    Running,
    /// Serves a share of the callers.
    Canary,
    /// Another one took its place.
    Superseded,
    /// Taken back, by itself or by hand.
    RolledBack,
    /// It never served.
    Refused,
}

impl Status {
    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Canary => "canary",
            Status::Superseded => "superseded",
            Status::RolledBack => "rolled back",
            Status::Refused => "refused",
        }
    }
}

/// One deployment of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// Its place in the history.
    pub n: i64,
    /// The address of its content; several deployments may have the same.
    pub id: String,
    /// RFC 3339.
    pub at: String,
    /// Who, as far as they said.
    pub by: String,
    /// `start`, `files`, `signal`, `api`, `cli`, `rollback`.
    pub from: String,
    pub status: Status,
    /// Why it was refused, taken back or promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it changed of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// Whether it runs with the stage variables of a canary.
    #[serde(default)]
    pub overlaid: bool,
}

/// Requests of one of both, since the step began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub requests: u64,
    pub failed: u64,
    #[serde(default)]
    pub refused: u64,
    pub slow: u64,
}

/// The canary that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryView {
    pub id: String,
    /// As it is written: `25%`.
    pub share: String,
    /// From 1.
    pub step: usize,
    pub steps: Vec<String>,
    pub step_seconds: f64,
    /// Why it does not go on now.
    pub waiting: String,
    pub canary: Seen,
    pub baseline: Seen,
}

/// All deployments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// The id of the one that runs.
    pub baseline: String,
    pub canary: Option<CanaryView>,
    /// Contents that are not deployed again but by force.
    pub pinned: Vec<String>,
    /// Whether the history outlives the process.
    pub kept: bool,
    /// The latest one first.
    pub deployments: Vec<Told>,
}

/// A file of a configuration. Its name is seen from the folder of the gateway's own files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileText {
    pub name: String,
    pub text: String,
}

/// The files of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts {
    pub id: String,
    pub files: Vec<FileText>,
}

/// A configuration to be deployed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    pub files: Vec<FileText>,
    /// `all` or `canary`; else what the configuration says.
    #[serde(default)]
    pub strategy: Option<String>,
    /// Also one that was rolled back.
    #[serde(default)]
    pub force: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub by: Option<String>,
    /// `cli`, or nothing.
    #[serde(default)]
    pub from: Option<String>,
}

/// What is to become of the canary.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum CanaryOrder {
    /// Its share, as it is written; it stays there.
    Set(String),
    /// It goes on from step to step.
    Resume,
    /// It takes over.
    Promote,
    /// It is taken back.
    Abort,
}

/// What is to run again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// An id, or the beginning of one; else the one that ran before.
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub by: Option<String>,
}

/// What was done, or would be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// For people.
    pub said: String,
    /// The deployment that it is about.
    pub id: String,
    /// What it changes of the one that runs.
    #[serde(default)]
    pub changes: Option<Changes>,
    /// Warnings.
    #[serde(default)]
    pub warnings: Vec<String>,
}
