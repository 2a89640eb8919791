//! `serve s3://…` and `serve appconfig:…`: the first configuration of a gateway whose configuration is kept elsewhere,
//! from there, or else from the copy of the last good one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::load::{fetched_text, shown, summary};
use crate::app::remote::{Address, Remote};
use crate::config::secrets::Vault;
use crate::model::value::Span;
use crate::plan::written::Compiled;

/// How often a source over the network is asked, unless it is said.
const POLL: Duration = Duration::from_secs(60);

/// How a configuration that is kept elsewhere is fetched.
#[derive(Clone, Debug, Args)]
pub struct Fetching {
    /// The region of the bucket, or of AppConfig; else the environment's, as the AWS SDKs have it
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// How often a configuration in S3 or AppConfig is asked for again; default: 60s
    #[arg(long, value_name = "TIME")]
    poll: Option<Span>,
    /// Where the last good configuration from S3 or AppConfig is kept, for a start without the network
    #[arg(long, value_name = "FILE", default_value = "penstock-last-good.yaml")]
    copy: PathBuf,
}

/// What a gateway starts with, and what is to be said of it.
pub struct First {
    pub compiled: Compiled,
    pub remark: Option<String>,
}

impl Fetching {
    /// The source that the arguments name; `None` where they name files.
    pub fn source(&self, arguments: &[PathBuf]) -> Result<Option<Arc<Remote>>, String> {
        let texts: Vec<_> = arguments
            .iter()
            .map(|path| path.to_string_lossy())
            .collect();
        let Some(meant) = texts.iter().find(|text| Address::is_meant(text)) else {
            return Ok(None);
        };
        if texts.len() > 1 {
            return Err(format!(
                "{meant} stands alone: it is the whole configuration"
            ));
        }
        let address = meant
            .parse::<Address>()
            .map_err(|error| error.to_string())?;
        let poll = self.poll.map_or(POLL, |poll| poll.0);
        if poll < Duration::from_secs(1) {
            return Err("--poll is at least 1s".to_owned());
        }
        let remote = Remote::new(address, self.region.clone(), poll, self.copy.clone());
        Ok(Some(Arc::new(remote)))
    }
}

/// The configuration that is there, if it is good, else the last good one that was kept.
pub async fn first(remote: &Arc<Remote>, vault: &Vault) -> Result<First, String> {
    let reason = match remote.fetch().await {
        Ok(text) => {
            let compiled = fetched_text(remote.named(text.clone()), vault).await?;
            if compiled.blueprint.is_some() {
                remote.keep(text).await;
                return Ok(First {
                    compiled,
                    remark: None,
                });
            }
            for problem in &compiled.problems.0 {
                eprintln!("{}", shown(problem));
            }
            format!("{remote} is refused: {}", summary(&compiled.problems))
        }
        Err(error) => error.to_string(),
    };
    let kept = remote.copy().read();
    let path = remote.copy().path().display();
    let kept = kept.map_err(|why| format!("{reason}; and there is no copy in {path}: {why}"))?;
    let remark = format!(
        "{reason}; the gateway runs on the copy in {path}, fetched {}",
        kept.since
    );
    tracing::error!("{remark}");
    vault.forget_files();
    let compiled = fetched_text(remote.named(kept.text), vault).await?;
    Ok(First {
        compiled,
        remark: Some(remark),
    })
}
