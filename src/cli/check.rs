//! `penstock check`: every problem of a configuration, at once.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::load::{Names, compiled_with, counted, shown, summary, to_json};
use super::{Exit, live, print};
use crate::plan::Blueprint;
use crate::plan::live::Look;

/// Print every problem of a configuration: file, line, column, path, what was found, what to write instead
#[derive(Debug, Args)]
pub struct Check {
    /// Route files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    names: Names,
    /// Look whether each target is there and fits, by calls that change nothing: exists, reachable, permitted, type, limits
    #[arg(long)]
    live: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(&self) -> Exit {
        let compiled = compiled_with(&self.files, &self.names);
        let good = !compiled.problems.has_errors();
        let looks = match &compiled.blueprint {
            Some(blueprint) if self.live => match looked(blueprint) {
                Ok(looks) => Some(looks),
                Err(error) => {
                    eprintln!("error: {error}");
                    return Exit::CannotStart;
                }
            },
            _ => None,
        };
        if self.json {
            let mut said = json!({ "ok": good, "problems": to_json(&compiled.problems) });
            if let Some(looks) = &looks {
                said["targets"] = json!(looks);
            }
            print(&format!("{said:#}\n"));
        } else {
            let mut text = String::new();
            for problem in &compiled.problems.0 {
                text += &format!("{}\n", shown(problem));
            }
            match &compiled.blueprint {
                Some(blueprint) => {
                    let mut counts = counted(blueprint.routes().count(), "route");
                    if blueprint.apis.len() > 1 {
                        counts = format!("{} APIs, {counts}", blueprint.apis.len());
                    }
                    text += &format!("ok: {counts}, {}\n", summary(&compiled.problems));
                }
                None if good => {
                    text += "ok, but for what depends on secrets that AWS keeps: they are fetched at the start\n";
                }
                None => text += &format!("{}\n", summary(&compiled.problems)),
            }
            if let Some(looks) = &looks {
                text += &format!("\n{}", live::shown(looks));
            }
            print(&text);
        }
        match looks {
            Some(looks) if good => live::exit(&looks),
            _ if good => Exit::Ok,
            _ => Exit::Problems,
        }
    }
}

fn looked(blueprint: &Blueprint) -> std::io::Result<Vec<Look>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(live::looked(blueprint)))
}
