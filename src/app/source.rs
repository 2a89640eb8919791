//! Where the configuration comes from, and how it is read anew: files, or a source over the network.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::config::load::SourceFile;
use crate::config::secrets::Vault;
use crate::plan::Blueprint;
use crate::plan::candidate::Whence;

/// Where the running configuration came from.
pub struct Source {
    pub place: Place,
    /// The texts as they were read.
    pub texts: Vec<SourceFile>,
    pub vault: Arc<Vault>,
    /// Whether changes of the files, or of the source, are noticed without being told.
    pub watch: bool,
    /// What the command line changes in every blueprint.
    pub amend: Box<dyn Fn(&mut Blueprint) + Send + Sync>,
    /// The plan as `penstock routes --json` prints it.
    pub shown: fn(&Blueprint) -> Value,
}

/// What is read.
pub enum Place {
    /// Route files, and folders of them, as the command line names them.
    Files(Vec<PathBuf>),
}

impl Place {
    /// As people are told.
    pub fn whence(&self) -> Whence {
        match self {
            Place::Files(paths) => Whence::Files(paths.clone()),
        }
    }
}
