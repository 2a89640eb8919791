//! `penstock completions`: a script for the shell.

use clap::Args;
use clap_complete::{Shell, generate};

use super::{Exit, definition, print};

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(&self) -> Exit {
        let mut script = Vec::new();
        generate(self.shell, &mut definition(), "penstock", &mut script);
        print(&String::from_utf8_lossy(&script));
        Exit::Ok
    }
}
