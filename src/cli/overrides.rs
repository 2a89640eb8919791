//! What `serve` may put in place of what a configuration says, so that the same configuration can be tried elsewhere:
//! at another target, on another store, on other addresses. `penstock drill` runs its gateways with these.

use std::path::PathBuf;

use clap::Args;

use crate::aws;
use crate::plan::Blueprint;
use crate::plan::blueprint::ListenerBlueprint;
use crate::telemetry::access_log::Destination;

/// Overrides of a checked configuration; none of them is given in ordinary use.
#[derive(Clone, Debug, Default, Args)]
pub struct Overrides {
    /// Call every AWS service at this URL, with the credentials of the environment and no role
    #[arg(long, hide_short_help = true, value_name = "URL")]
    override_endpoint: Option<String>,
    /// Keep the store in this folder
    #[arg(long, hide_short_help = true, value_name = "DIR")]
    override_store: Option<PathBuf>,
    /// The most that the store may take on disk, in bytes
    #[arg(long, hide_short_help = true, value_name = "BYTES")]
    override_store_size: Option<u64>,
    /// Bind every listener, that of the SQS protocol included, to this address; its port should be 0 where there are
    /// several
    #[arg(long, hide_short_help = true, value_name = "HOST:PORT")]
    override_bind: Option<String>,
    /// Bind the admin listener to this address, and ask for no token
    #[arg(long, hide_short_help = true, value_name = "HOST:PORT")]
    override_admin: Option<String>,
    /// Write the access log to this file, or `none`
    #[arg(long, hide_short_help = true, value_name = "FILE")]
    override_access_log: Option<PathBuf>,
}

impl Overrides {
    /// Changes the blueprint; what is not overridden stays as it was configured.
    pub fn apply(&self, blueprint: &mut Blueprint) {
        if let Some(url) = &self.override_endpoint {
            blueprint.aws = aws::Settings {
                region: blueprint.aws.region.clone(),
                endpoint: Some(url.clone()),
                ..aws::Settings::default()
            };
        }
        if let Some(path) = &self.override_store {
            blueprint.store.path.clone_from(path);
        }
        if let Some(bytes) = self.override_store_size {
            blueprint.store.max_size = bytes;
        }
        if let Some(bind) = &self.override_bind {
            for listener in &mut blueprint.listeners {
                // whoever asks for another address speaks plain HTTP there
                *listener = ListenerBlueprint::plain(listener.name.clone(), bind);
            }
            if let Some(sqs) = &mut blueprint.sqs {
                sqs.bind.clone_from(bind);
            }
        }
        if let Some(bind) = &self.override_admin {
            blueprint.admin.clone_from(bind);
            blueprint.admin_token = None;
        }
        if let Some(path) = &self.override_access_log {
            blueprint.log_destination = if path.as_os_str() == "none" {
                Destination::None
            } else {
                Destination::File(path.clone())
            };
        }
    }
}
