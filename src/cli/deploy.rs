//! `penstock deployments`, `deploy`, `canary`, `promote`, `rollback`: what was deployed on a running gateway, and another
//! configuration in its place, through its admin listener.

mod gateway;
mod text;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::queue::Failure;
use super::{Exit, print};
use crate::admin::deployments::{CanaryOrder, Deploy as Wanted, Done, Listing, Rollback as Back};
use crate::model::value::Share;

pub use gateway::{At, LIMIT, as_json as printed, ended, named_files};
pub use text::changes;

/// List what was deployed on a running gateway, and how its canary does
#[derive(Debug, Args)]
pub struct Deployments {
    /// Show what each changed
    #[arg(long)]
    changes: bool,
    #[command(flatten)]
    at: At,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// How a configuration takes over.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Strategy {
    /// At once
    All,
    /// For a growing share of the callers
    Canary,
}

/// Deploy a configuration on a running gateway
#[derive(Debug, Args)]
pub struct Deploy {
    /// Route files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How it takes over [default: as the configuration's `deployment.strategy` says]
    #[arg(long)]
    strategy: Option<Strategy>,
    /// Deploy it although it was rolled back
    #[arg(long)]
    force: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    at: At,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Move a running canary: its share, forward, or back
#[derive(Debug, Args)]
pub struct Canary {
    #[command(subcommand)]
    what: Move,
}

#[derive(Debug, Subcommand)]
enum Move {
    /// Set its share of the callers; it stays there, and is still taken back when it does worse
    Set {
        /// Such as 25%
        share: Share,
        #[command(flatten)]
        at: At,
    },
    /// Let it go on from step to step
    Resume {
        #[command(flatten)]
        at: At,
    },
    /// Let it take over
    Promote {
        #[command(flatten)]
        at: At,
    },
    /// Take it back; it is not deployed again until it changes
    Abort {
        #[command(flatten)]
        at: At,
    },
}

/// Let the canary take over: the same as `canary promote`
#[derive(Debug, Args)]
pub struct Promote {
    #[command(flatten)]
    at: At,
}

/// Take the canary back; without one, go back to what ran before. What is left is not deployed again until it changes
#[derive(Debug, Args)]
pub struct Rollback {
    /// The deployment to go back to, as `penstock deployments` lists it, or the beginning of its id
    id: Option<String>,
    #[command(flatten)]
    at: At,
}

impl Deployments {
    pub fn run(&self) -> Exit {
        gateway::ended(async {
            let listing: Listing = self.at.client()?.get("").await?;
            if self.json {
                print(&gateway::as_json(&listing)?);
            } else {
                print(&text::listing(&listing, self.changes));
                if !listing.kept {
                    eprintln!(
                        "the gateway has no store open, so this history ends with its process"
                    );
                }
            }
            Ok(Exit::Ok)
        })
    }
}

impl Deploy {
    pub fn run(&self) -> Exit {
        gateway::ended(async {
            let wanted = Wanted {
                files: named_files(&self.files)?,
                strategy: self.strategy.map(|strategy| {
                    match strategy {
                        Strategy::All => "all",
                        Strategy::Canary => "canary",
                    }
                    .to_owned()
                }),
                force: self.force,
                dry_run: self.dry_run,
                by: gateway::who(),
                from: Some("cli".to_owned()),
            };
            let done: Done = self.at.client()?.post_within(LIMIT, "", &wanted).await?;
            if self.json {
                print(&gateway::as_json(&done)?);
                return Ok(Exit::Ok);
            }
            for warning in &done.warnings {
                eprintln!("{warning}");
            }
            if let Some(changed) = done.changes.as_ref().filter(|_| self.dry_run) {
                print(&text::changes(changed));
            }
            print(&format!("{}\n", done.said));
            Ok(Exit::Ok)
        })
    }
}

impl Canary {
    pub fn run(&self) -> Exit {
        let (order, at) = match &self.what {
            Move::Set { share, at } => (CanaryOrder::Set(share.to_string()), at),
            Move::Resume { at } => (CanaryOrder::Resume, at),
            Move::Promote { at } => (CanaryOrder::Promote, at),
            Move::Abort { at } => (CanaryOrder::Abort, at),
        };
        moved(at, order)
    }
}

impl Promote {
    pub fn run(&self) -> Exit {
        moved(&self.at, CanaryOrder::Promote)
    }
}

impl Rollback {
    pub fn run(&self) -> Exit {
        gateway::ended(async {
            let back = Back {
                id: self.id.clone(),
                by: gateway::who(),
            };
            let done: Done = self
                .at
                .client()?
                .post_within(LIMIT, "/rollback", &back)
                .await?;
            print(&format!("{}\n", done.said));
            Ok(Exit::Ok)
        })
    }
}

fn moved(at: &At, order: CanaryOrder) -> Exit {
    gateway::ended(async {
        let done: Done = at.client()?.post_within(LIMIT, "/canary", &order).await?;
        print(&format!("{}\n", done.said));
        Ok::<_, Failure>(Exit::Ok)
    })
}
