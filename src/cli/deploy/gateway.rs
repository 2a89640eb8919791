//! The gateway that is asked, and the files that it is sent.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::admin::deployments::FileText;
use crate::cli::Exit;
use crate::cli::queue::{Client, Failure, running};
use crate::config::load;
use crate::deploy::common_folder;
use crate::model::problem::Problems;

/// How long the gateway may take to compile a configuration, to fetch the secrets that are new in it, and to publish it.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Where the gateway is.
#[derive(Debug, Args)]
pub struct At {
    /// The admin listener of the gateway; else the environment's PENSTOCK_ADMIN, else what --config says, else
    /// http://127.0.0.1:9901. Its admin.token is taken from PENSTOCK_ADMIN_TOKEN, or from --config
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The running gateway's route file, or a folder of them: its admin.bind and admin.token are used
    #[arg(short, long, value_name = "FILE")]
    config: Vec<PathBuf>,
}

impl At {
    /// Asks below `/v1/deployments`.
    pub fn client(&self) -> Result<Client, Failure> {
        self.client_at("/v1/deployments")
    }

    /// Asks below another path.
    pub fn client_at(&self, root: &'static str) -> Result<Client, Failure> {
        Ok(running(self.admin.as_ref(), &self.config)?.at(root))
    }
}

/// Runs what asks the gateway; says why it could not.
pub fn ended(asking: impl Future<Output = Result<Exit, Failure>>) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(asking),
        Err(error) => Err(Failure::new(format!(
            "the runtime cannot be started: {error}"
        ))),
    };
    ended.unwrap_or_else(|failure| failure.report())
}

/// Who types, for the history.
pub fn who() -> Option<String> {
    ["USER", "LOGNAME"].into_iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        (!value.is_empty()).then_some(value)
    })
}

/// The files, named from the folder that holds them all.
pub fn named_files(paths: &[PathBuf]) -> Result<Vec<FileText>, Failure> {
    let mut problems = Problems::default();
    let found = load::files(paths, &mut problems);
    if let Some(problem) = problems.0.first() {
        return Err(Failure::new(
            problem.to_string().trim_start_matches("error: "),
        ));
    }
    let folder = common_folder(found.iter().map(PathBuf::as_path));
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        let name = path.strip_prefix(&folder).unwrap_or(path);
        Ok(FileText {
            name: name.to_string_lossy().into_owned(),
            text,
        })
    };
    found.iter().map(|path| read(path)).collect()
}

/// For programs.
pub fn as_json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    let text =
        text.map_err(|error| Failure::new(format!("the answer cannot be written: {error}")))?;
    Ok(text + "\n")
}
