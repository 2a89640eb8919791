//! `penstock check`: every problem of a configuration, at once.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::load::{Names, compiled_with, counted, shown, summary, to_json};
use super::{Exit, print};

/// Print every problem of a configuration: file, line, column, path, what was found, what to write instead
#[derive(Debug, Args)]
pub struct Check {
    /// Route files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    names: Names,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(&self) -> Exit {
        let compiled = compiled_with(&self.files, &self.names);
        let good = !compiled.problems.has_errors();
        if self.json {
            print(&format!(
                "{:#}\n",
                json!({ "ok": good, "problems": to_json(&compiled.problems) })
            ));
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
            print(&text);
        }
        if good { Exit::Ok } else { Exit::Problems }
    }
}
