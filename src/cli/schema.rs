//! `penstock schema`: the JSON Schema of a route file.

use clap::Args;

use super::{Exit, print};
use crate::config::{described, reference, schema};

/// Print the JSON Schema of a route file, for editors and validators
#[derive(Debug, Args)]
pub struct Schema {
    /// Print the configuration reference as Markdown instead
    #[arg(long)]
    markdown: bool,
}

impl Schema {
    pub fn run(&self) -> Exit {
        print(&if self.markdown {
            reference::markdown(&described())
        } else {
            format!("{:#}\n", schema())
        });
        Exit::Ok
    }
}
