//! `penstock reload`: has a running gateway read its configuration anew, and says what became of it.

use std::path::PathBuf;

use clap::Args;

use super::queue::{Failure, running};
use super::{Exit, print};
use crate::plan::candidate::Outcome;

/// Have a running gateway read its configuration anew, as SIGHUP does; says what became of it
#[derive(Debug, Args)]
pub struct Reload {
    /// The admin listener of the gateway; else the environment's PENSTOCK_ADMIN, else what --config says, else
    /// http://127.0.0.1:9901. Its admin.token is taken from PENSTOCK_ADMIN_TOKEN, or from --config
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The gateway's route file, or a folder of them: its admin.bind and admin.token are used
    #[arg(short, long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Reload {
    pub fn run(&self) -> Exit {
        match self.perform() {
            Ok(exit) => exit,
            Err(failure) => failure.report(),
        }
    }

    fn perform(&self) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(format!("the runtime cannot be started: {error}")))?;
        let client = running(self.admin.as_ref(), &self.config)?.at("/v1/reload");
        let outcome: Outcome = runtime.block_on(client.post("", &serde_json::Map::new()))?;
        if self.json {
            let text = serde_json::to_string_pretty(&outcome)
                .map_err(|error| Failure::new(error.to_string()))?;
            print(&(text + "\n"));
            return Ok(Exit::Ok);
        }
        for warning in &outcome.warnings {
            eprintln!("warning: {warning}");
        }
        for what in &outcome.needs_restart {
            eprintln!("warning: {what} has changed and needs a restart");
        }
        let said = if outcome.changed {
            "a new configuration runs"
        } else {
            "the configuration is the same"
        };
        print(&format!("{said}: {}\n", outcome.hash));
        Ok(Exit::Ok)
    }
}
