//! What every command that takes a route file begins with: load, compile, and say what is wrong.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::aws::Clients;
use crate::config::load::{Environment, ProcessEnvironment, SourceFile};
use crate::config::secrets::Vault;
use crate::model::problem::{Problem, Problems, Severity};
use crate::outbound;
use crate::plan::Blueprint;
use crate::plan::written::{self, Compiled};

/// How often fetching the first secrets is tried, and how long it waits in between.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Loads and compiles; touches no network and opens nothing. Secrets that AWS keeps stay unknown.
pub fn compiled(paths: &[PathBuf]) -> Compiled {
    written::compiled(paths, &ProcessEnvironment)
}

/// The same, with what names in a vendor's document stand for.
pub fn compiled_with(paths: &[PathBuf], names: &Names) -> Compiled {
    written::compiled(paths, names)
}

/// What names in a vendor's document stand for.
#[derive(Clone, Debug, Default, Args)]
pub struct Names {
    /// What names in an OpenAPI document's template functions stand for: a YAML or JSON file with lines such as
    /// `MyQueue: https://…`, `MyRole.Arn: arn:…`, `AWS::Region: eu-west-1`
    #[arg(long, value_name = "FILE")]
    pub vars: Option<PathBuf>,
}

impl Environment for Names {
    fn variable(&self, name: &str) -> Option<OsString> {
        ProcessEnvironment.variable(name)
    }

    fn vars(&self) -> Option<&Path> {
        self.vars.as_deref()
    }
}

/// Loads and compiles, with the secrets that AWS keeps. `Err`: some cannot be had.
pub async fn fetched(paths: &[PathBuf], vault: &Vault) -> Result<Compiled, String> {
    completed(|| written::compiled(paths, vault), vault).await
}

/// The same of a text that was fetched itself.
pub async fn fetched_text(file: SourceFile, vault: &Vault) -> Result<Compiled, String> {
    let compile = || written::compiled_again(vec![file.clone()], vault);
    completed(compile, vault).await
}

/// Compiles, fetches the secrets that are missing, and compiles again.
async fn completed(compile: impl Fn() -> Compiled, vault: &Vault) -> Result<Compiled, String> {
    let mut compiled = compile();
    if !vault.draws_on_aws() || compiled.problems.has_errors() {
        return Ok(compiled);
    }
    let (aws, egress) = std::mem::take(&mut compiled.reach);
    let clients = Clients::new(aws);
    let via = outbound::Client::new(egress);
    let mut tries = 0;
    loop {
        let fetched = vault.fetch(&clients, &via).await;
        tries += 1;
        if fetched.failed.is_empty() {
            compiled = compile();
            // What has been fetched may have led to a file that names further secrets.
            if !vault.has_stood_in() {
                return Ok(compiled);
            }
        }
        if tries == TRIES {
            let reasons: Vec<String> = fetched.failed.iter().map(ToString::to_string).collect();
            return Err(match reasons.as_slice() {
                [] => "secrets name further secrets without end".to_owned(),
                reasons => format!("secrets cannot be fetched: {}", reasons.join("; ")),
            });
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// The blueprint of files; problems go to standard error.
pub fn blueprint_or_problems(compiled: Compiled) -> Option<Blueprint> {
    for problem in &compiled.problems.0 {
        eprintln!("{}", shown(problem));
    }
    if compiled.problems.has_errors() {
        eprintln!("{}", summary(&compiled.problems));
    } else if compiled.blueprint.is_none() {
        eprintln!(
            "error: the configuration draws on secrets that AWS keeps, and this command does not fetch them"
        );
    }
    compiled.blueprint
}

/// A problem for people: on a terminal its severity stands out.
pub fn shown(problem: &Problem) -> String {
    let text = problem.to_string();
    if !std::io::stderr().is_terminal() {
        return text;
    }
    let (word, colour) = match problem.severity {
        Severity::Error => ("error:", 31),
        Severity::Warning => ("warning:", 33),
    };
    text.replacen(word, &format!("\x1b[1;{colour}m{word}\x1b[0m"), 1)
}

/// `2 errors, 1 warning`.
pub fn summary(problems: &Problems) -> String {
    let errors = problems.errors();
    let warnings = problems.0.len() - errors;
    format!(
        "{}, {}",
        counted(errors, "error"),
        counted(warnings, "warning")
    )
}

/// `1 error`, `2 errors`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Problems for programs.
pub fn to_json(problems: &Problems) -> Value {
    let problem = |problem: &Problem| {
        json!({
            "severity": problem.severity,
            "path": problem.path.to_string(),
            "message": problem.message,
            "help": problem.help,
            "file": problem.place.as_ref().map(|place| place.file.display().to_string()),
            "line": problem.place.as_ref().map(|place| place.line),
            "column": problem.place.as_ref().map(|place| place.column),
        })
    };
    problems.0.iter().map(problem).collect()
}
