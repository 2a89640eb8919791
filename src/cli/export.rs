//! `penstock export`: our configuration → an OpenAPI document that the vendor's importer takes, on standard output;
//! what the vendor would make something else of, on standard error.

use std::path::PathBuf;

use clap::Args;

use super::load::{Names, compiled_with, counted, shown, summary};
use super::{Exit, print};
use crate::config::vendor::{self, Form};

/// Turn a configuration into an OpenAPI document that the vendor's importer takes
#[derive(Debug, Args)]
pub struct Export {
    /// Route files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    names: Names,
    /// Print JSON in place of YAML
    #[arg(long)]
    json: bool,
}

impl Export {
    pub fn run(&self) -> Exit {
        let compiled = compiled_with(&self.files, &self.names);
        if compiled.problems.has_errors() {
            for problem in &compiled.problems.0 {
                eprintln!("{}", shown(problem));
            }
            eprintln!("{}", summary(&compiled.problems));
            return Exit::Problems;
        }
        let form = if self.json { Form::Json } else { Form::Yaml };
        let (document, findings) = match vendor::exported(&self.files, &self.names, form) {
            Ok(exported) => exported,
            Err(problems) => {
                for problem in &problems.0 {
                    eprintln!("{}", shown(problem));
                }
                eprintln!("{}; a document describes one API", summary(&problems));
                return Exit::Problems;
            }
        };
        print(&document);
        for finding in &findings.list {
            if let Some(problem) = finding.problem() {
                let text = shown(&problem).replacen("error:", "warning:", 1);
                eprintln!("{text}");
            }
        }
        if !findings.list.is_empty() {
            eprintln!(
                "{} that the vendor would make something else of; `x-penstock` in the document has it all",
                counted(findings.list.len(), "part")
            );
        }
        Exit::Ok
    }
}
