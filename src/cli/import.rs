//! `penstock import`: a vendor's document → our YAML on standard output, and on standard error what maps, what differs
//! and what is missing.

use std::path::PathBuf;

use clap::Args;

use super::load::{counted, shown, summary};
use super::{Exit, print};
use crate::config::load::read_file;
use crate::config::vendor::findings::{Finding, Findings, Level, Verdict};
use crate::config::vendor::import;

/// Turn an OpenAPI document of an API into a route file, and say what differs
#[derive(Debug, Args)]
pub struct Import {
    /// An OpenAPI 3.0 document, JSON or YAML
    file: PathBuf,
}

impl Import {
    pub fn run(&self) -> Exit {
        let file = match read_file(&self.file) {
            Ok(file) => file,
            Err(problems) => {
                for problem in &problems.0 {
                    eprintln!("{}", shown(problem));
                }
                return Exit::Problems;
            }
        };
        let imported = import(&file);
        if let Some(yaml) = &imported.yaml {
            print(yaml);
        }
        for problem in &imported.problems.0 {
            eprintln!("{}", shown(problem));
        }
        if imported.problems.has_errors() && imported.yaml.is_none() {
            eprintln!("{}", summary(&imported.problems));
            return Exit::Problems;
        }
        eprint!("{}", report(&imported.findings));
        match imported.findings.has_errors() || imported.problems.has_errors() {
            true => Exit::Problems,
            false => Exit::Ok,
        }
    }
}

/// The report for people.
fn report(findings: &Findings) -> String {
    let mut text = String::new();
    if !findings.mapped.is_empty() {
        text += "maps:\n";
        for mapped in &findings.mapped {
            text += &format!("  {}: {}\n", mapped.mark.place(), mapped.ours);
        }
    }
    for (heading, verdict) in [
        ("differs", Verdict::Differs),
        ("missing", Verdict::Missing),
        ("ignored, and no caller notices", Verdict::Ignored),
        ("worth knowing", Verdict::Noted),
    ] {
        let mut found = findings
            .list
            .iter()
            .filter(|f| f.verdict == verdict)
            .peekable();
        if found.peek().is_some() {
            text += &format!("{heading}:\n");
        }
        for finding in found {
            text += &format!("  {}\n", line(finding));
        }
    }
    let of = |level: Level| findings.list.iter().filter(|f| f.level() == level).count();
    text += &format!(
        "{} mapped, {}, {}\n",
        counted(findings.mapped.len(), "part"),
        counted(of(Level::Error), "error"),
        counted(of(Level::Warning), "warning"),
    );
    text
}

fn line(finding: &Finding) -> String {
    let mut text = format!("{}: {}: ", finding.mark.place(), finding.level().name());
    if !finding.path.0.is_empty() {
        text += &format!("{}: ", finding.path);
    }
    text += &finding.reason();
    if let Some(help) = &finding.help {
        text += &format!("; {help}");
    }
    text
}
