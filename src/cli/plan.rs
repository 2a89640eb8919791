//! `penstock plan`: what a configuration would change, for callers and in its parameters, against what runs on a gateway or
//! against other files.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::deploy::{At, LIMIT, changes, ended, named_files, printed};
use super::load::{blueprint_or_problems, compiled};
use super::queue::Failure;
use super::{Exit, live, print};
use crate::admin::deployments::{Deploy, Done};
use crate::config::load::SourceFile;
use crate::plan::Blueprint;
use crate::plan::change::{Changes, Written};

/// Show what a configuration would change: routes that come and go, and what callers would notice of the others
#[derive(Debug, Args)]
pub struct Plan {
    /// Route files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Compare with this file or folder in place of what runs on a gateway; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with_all = ["admin", "config"])]
    against: Vec<PathBuf>,
    /// Look also whether each target is there and fits, from here, by calls that change nothing; ends with 1 if one does
    /// not
    #[arg(long)]
    live: bool,
    /// End with 1 when something would change
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    at: At,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub fn run(&self) -> Exit {
        ended(async {
            let changed = if self.against.is_empty() {
                self.asked().await?
            } else {
                let old = read(&self.against)?;
                let new = read(&self.files)?;
                let written = |(blueprint, texts)| Written { blueprint, texts };
                Changes::between(written((&old.0, &old.1)), written((&new.0, &new.1)))
            };
            let looks = match self.live {
                true => Some(Box::pin(live::looked(&read(&self.files)?.0)).await),
                false => None,
            };
            if self.json {
                let mut said = json!(changed);
                if let Some(looks) = &looks {
                    said["targets"] = json!(looks);
                }
                print(&printed(&said)?);
            } else {
                print(&changes(&changed));
                print(&format!("{}\n", changed.summary()));
                if let Some(looks) = &looks {
                    print(&format!("\n{}", live::shown(looks)));
                }
            }
            let fits = looks.is_none_or(|looks| live::exit(&looks) == Exit::Ok);
            Ok(match fits && (changed.is_empty() || !self.exit_code) {
                true => Exit::Ok,
                false => Exit::Problems,
            })
        })
    }

    /// The gateway compares: with its own variables, secrets and files.
    async fn asked(&self) -> Result<Changes, Failure> {
        let wanted = Deploy {
            files: named_files(&self.files)?,
            strategy: None,
            force: true,
            dry_run: true,
            by: None,
            from: Some("cli".to_owned()),
        };
        let done: Done = self.at.client()?.post_within(LIMIT, "", &wanted).await?;
        for warning in &done.warnings {
            eprintln!("{warning}");
        }
        Ok(done.changes.unwrap_or_default())
    }
}

/// A configuration in files.
fn read(paths: &[PathBuf]) -> Result<(Blueprint, Vec<SourceFile>), Failure> {
    let compiled = compiled(paths);
    let texts = compiled.texts.clone();
    let blueprint = blueprint_or_problems(compiled);
    let blueprint =
        blueprint.ok_or_else(|| Failure::new("the configuration cannot be compared"))?;
    Ok((blueprint, texts))
}
