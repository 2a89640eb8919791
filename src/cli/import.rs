//! `penstock import`: a vendor's document → our YAML on standard output, and on standard error what maps, what differs
//! and what is missing.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::load::{counted, shown, summary, to_json};
use super::{Exit, print};
use crate::config::load::{ProcessEnvironment, SourceFile, read_file};
use crate::config::vendor::findings::{Finding, Findings, Level, Verdict};
use crate::config::vendor::{Imported, OnDisk, RouteFile, Told, Vars, import};
use crate::model::problem::{Problems, Severity};
use crate::plan::written;

/// Turn a document of an API into a route file: OpenAPI, a SAM or CloudFormation template, a Terraform plan
///
/// Which kind it is shows in what it holds. What maps, what differs and what is missing goes to standard error, each
/// with its place; the exit code is 0 unless something would behave differently.
#[derive(Debug, Args)]
pub struct Import {
    /// An OpenAPI 3.0 document, a SAM or CloudFormation template, or what `terraform show -json` prints
    file: PathBuf,
    /// What names in the document stand for: a YAML or JSON file with lines such as `MyQueue: https://…`,
    /// `MyRole.Arn: arn:…`, `AWS::Region: eu-west-1`
    #[arg(long, value_name = "FILE")]
    vars: Option<PathBuf>,
    /// The one API of the document that is wanted, by its name or the id of its resource
    #[arg(long, value_name = "NAME")]
    api: Option<String>,
    /// Write a file for each API into this directory, instead of all to standard output
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print route files and report as one JSON object
    #[arg(long)]
    json: bool,
}

impl Import {
    pub fn run(&self) -> Exit {
        match self.imported() {
            Ok(imported) => self.tell(&imported),
            Err(problems) => {
                tell_problems(&problems);
                Exit::Problems
            }
        }
    }

    fn imported(&self) -> Result<Imported, Problems> {
        let document = read_file(&self.file)?;
        let vars = match &self.vars {
            Some(path) => {
                let file = read_file(path)?;
                let mut problems = Problems::default();
                let vars = Vars::read(&file.text, &Arc::from(path.as_path()), &mut problems);
                if problems.has_errors() {
                    return Err(problems);
                }
                vars
            }
            None => Vars::default(),
        };
        let told = Told {
            vars: &vars,
            api: self.api.as_deref(),
            beside: &OnDisk,
        };
        Ok(import(&document, told))
    }

    fn tell(&self, imported: &Imported) -> Exit {
        let read: Vec<Problems> = imported.apis.iter().map(read_back).collect();
        let fails = imported.findings.has_errors()
            || imported.problems.has_errors()
            || read.iter().any(Problems::has_errors);
        let mut exit = match fails {
            true => Exit::Problems,
            false => Exit::Ok,
        };
        if self.json {
            print(&format!("{}\n", for_programs(imported, &read)));
            return exit;
        }
        match &self.out {
            Some(directory) => {
                for file in &imported.apis {
                    let path = directory.join(format!("{}.yaml", file.name));
                    match write_new(directory, &path, &file.yaml) {
                        Ok(()) => eprintln!("{}: written", path.display()),
                        Err(error) => {
                            eprintln!("error: {} cannot be written: {error}", path.display());
                            exit = Exit::Problems;
                        }
                    }
                }
            }
            None => {
                let files: Vec<&str> = imported
                    .apis
                    .iter()
                    .map(|file| file.yaml.as_str())
                    .collect();
                print(&files.join("---\n"));
                if files.len() > 1 {
                    eprintln!(
                        "note: the document describes {}, here one after the other; `--api NAME` takes one, `--out DIR` writes a file for each",
                        counted(files.len(), "API")
                    );
                }
            }
        }
        tell_problems(&imported.problems);
        eprint!("{}", for_people(&imported.findings));
        for (file, problems) in imported.apis.iter().zip(&read) {
            if problems.has_errors() {
                eprintln!("{}.yaml cannot be served as it is:", file.name);
                problems
                    .0
                    .iter()
                    .for_each(|problem| eprintln!("  {}", shown(problem)));
            }
        }
        exit
    }
}

/// What is wrong with a route file that was made, as `penstock check` says it. One that waits for variables of the
/// environment is not judged: the report has their names.
fn read_back(file: &RouteFile) -> Problems {
    if file.yaml.contains("${env:") {
        return Problems::default();
    }
    let text = SourceFile {
        path: PathBuf::from(format!("{}.yaml", file.name)),
        text: file.yaml.clone(),
    };
    let mut problems = written::compiled_again(vec![text], &ProcessEnvironment).problems;
    problems
        .0
        .retain(|problem| problem.severity == Severity::Error);
    problems
}

/// Writes a file that must not be there yet.
fn write_new(directory: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

fn tell_problems(problems: &Problems) {
    for problem in &problems.0 {
        eprintln!("{}", shown(problem));
    }
    if problems.has_errors() {
        eprintln!("{}", summary(problems));
    }
}

/// The report for people.
fn for_people(findings: &Findings) -> String {
    let mut text = String::new();
    if !findings.mapped.is_empty() {
        text += "maps:\n";
        for mapped in &findings.mapped {
            text += &format!(
                "  {}: {}: {}\n",
                mapped.mark.place(),
                mapped.path,
                mapped.ours
            );
        }
    }
    // the same advice is given once
    let mut helped = HashSet::new();
    for (heading, verdict) in [
        ("differs", Verdict::Differs),
        ("missing", Verdict::Missing),
        ("ignored, and no caller notices", Verdict::Ignored),
        ("worth knowing", Verdict::Noted),
    ] {
        let found: Vec<&Finding> = findings
            .list
            .iter()
            .filter(|f| f.verdict == verdict)
            .collect();
        if !found.is_empty() {
            text += &format!("{heading}:\n");
        }
        for finding in found {
            let help = finding.help.as_deref().filter(|help| helped.insert(*help));
            text += &format!("  {}\n", line(finding, help));
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

fn line(finding: &Finding, help: Option<&str>) -> String {
    let mut text = format!("{}: {}: ", finding.mark.place(), finding.level().name());
    if !finding.path.0.is_empty() {
        text += &format!("{}: ", finding.path);
    }
    text += &finding.reason();
    if let Some(help) = help {
        text += &format!("; {help}");
    }
    text
}

/// Route files and report for programs.
fn for_programs(imported: &Imported, read: &[Problems]) -> Value {
    let findings = &imported.findings;
    let apis: Vec<Value> = imported
        .apis
        .iter()
        .zip(read)
        .map(|(file, problems)| json!({ "name": file.name, "yaml": file.yaml, "problems": to_json(problems) }))
        .collect();
    let mapped: Vec<Value> = findings
        .mapped
        .iter()
        .map(|mapped| {
            json!({
                "file": mapped.mark.file.display().to_string(),
                "line": mapped.mark.line,
                "column": mapped.mark.column,
                "path": mapped.path.to_string(),
                "ours": mapped.ours,
            })
        })
        .collect();
    let list: Vec<Value> = findings
        .list
        .iter()
        .map(|finding| {
            json!({
                "verdict": finding.verdict,
                "level": finding.level(),
                "file": finding.mark.file.display().to_string(),
                "line": finding.mark.line,
                "column": finding.mark.column,
                "path": finding.path.to_string(),
                "reason": finding.reason,
                "help": finding.help,
                "places": finding.more + 1,
            })
        })
        .collect();
    json!({
        "apis": apis,
        "mapped": mapped,
        "findings": list,
        "problems": to_json(&imported.problems),
    })
}
