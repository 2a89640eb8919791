//! `penstock replay`: recorded requests through a new configuration and the one of before, with nothing sent, and what
//! would become of them otherwise.

mod record;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::deploy::{At, ended, printed};
use super::load::{blueprint_or_problems, compiled};
use super::queue::Failure;
use super::rehearsal::Rehearsal;
use super::{Exit, print};
use crate::admin::deployments::Texts;
use crate::config::load::{ProcessEnvironment, SourceFile};
use crate::model::code::Code;
use crate::model::phase::Phase;
use crate::pipeline::{Decision, Explanation};
use crate::plan::Blueprint;
use crate::plan::written::compiled_again;
use crate::telemetry::capture::FORMAT;

use record::{Holds, Line, Request};

/// Differences that are shown in full.
const SHOWN: usize = 20;

/// Take recorded requests through a new configuration with nothing sent, and show what would differ
#[derive(Debug, Args)]
pub struct Replay {
    /// Route files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The records: a JSON access log, or a capture, or a folder of captures; see docs/deployments.md. May be given several
    /// times
    #[arg(long, value_name = "FILE", required = true)]
    from: Vec<PathBuf>,
    /// Compare with this file or folder in place of what runs on a gateway; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with_all = ["admin", "config"])]
    against: Vec<PathBuf>,
    #[command(flatten)]
    at: At,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What became of all records.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    requests: u64,
    same: u64,
    /// What their mappings need is not recorded.
    untold: u64,
    unreadable: u64,
    /// Requests that the recording had no room for.
    lost: u64,
    differs: u64,
    differences: Vec<Difference>,
}

/// A request that would fare otherwise.
#[derive(Debug, Serialize)]
struct Difference {
    /// Where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// In the file, from 1.
    line: usize,
    request: String,
    before: Value,
    after: Value,
}

/// One side.
struct Side {
    blueprint: Blueprint,
    rehearsal: Rehearsal,
}

impl Side {
    fn of(mut blueprint: Blueprint) -> Result<Side, Failure> {
        for route in blueprint.apis.iter_mut().flat_map(|api| &mut api.routes) {
            // Records hold no credentials, so nobody is asked for any.
            route.authorizers.clear();
            route.scopes.clear();
            route.policies.clear();
        }
        let rehearsal = Rehearsal::of(&blueprint)
            .map_err(|error| Failure::new(format!("the plan cannot be built: {error}")))?;
        Ok(Side {
            blueprint,
            rehearsal,
        })
    }
}

impl Replay {
    pub fn run(&self) -> Exit {
        ended(async {
            let old = match self.against.as_slice() {
                [] => self.running().await?,
                files => blueprint_of(files)?,
            };
            let (old, new) = (Side::of(old)?, Side::of(blueprint_of(&self.files)?)?);
            let report = self.compared(&old, &new).await?;
            if self.json {
                print(&printed(&report)?);
            } else {
                print(&shown(&report));
            }
            Ok(match report.differs {
                0 => Exit::Ok,
                _ => Exit::Problems,
            })
        })
    }

    /// What runs on a gateway, compiled here.
    async fn running(&self) -> Result<Blueprint, Failure> {
        let texts: Texts = self.at.client()?.get("/running").await?;
        let files = texts.files.into_iter().map(|file| SourceFile {
            path: file.name.into(),
            text: file.text,
        });
        let compiled = compiled_again(files.collect(), &ProcessEnvironment);
        blueprint_or_problems(compiled).ok_or_else(|| {
            Failure::new("what runs on the gateway cannot be compiled here")
                .help("give its files with --against")
        })
    }

    async fn compared(&self, old: &Side, new: &Side) -> Result<Report, Failure> {
        let mut report = Report::default();
        let files = self.recordings()?;
        for file in &files {
            let failed = |error| Failure::new(format!("{}: {error}", file.display()));
            let lines = BufReader::new(File::open(file).map_err(failed)?).lines();
            let named = (files.len() > 1).then(|| file.display().to_string());
            for (at, line) in lines.enumerate() {
                let line = line.map_err(failed)?;
                if line.trim().is_empty() {
                    continue;
                }
                match record::read(&line) {
                    Line::Beginning => {}
                    Line::End(lost) => report.lost += lost,
                    Line::Unreadable => report.unreadable += 1,
                    Line::Foreign(version) => {
                        let of = format!("{} is a capture of form {version}", file.display());
                        let help = format!("this version of penstock reads form {FORMAT}");
                        return Err(Failure::new(of).help(help));
                    }
                    Line::Request(request) => {
                        let place = Place {
                            file: named.clone(),
                            line: at + 1,
                        };
                        self.compare(old, new, *request, place, &mut report).await;
                    }
                }
            }
        }
        Ok(report)
    }

    /// The files that hold records; of a folder those of a standing recording, in their order.
    fn recordings(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut files = Vec::new();
        for from in &self.from {
            let failed = |error| Failure::new(format!("{}: {error}", from.display()));
            if !from.is_dir() {
                files.push(from.clone());
                continue;
            }
            let mut found = Vec::new();
            for entry in from.read_dir().map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if path
                    .extension()
                    .is_some_and(|extension| extension == "jsonl")
                {
                    found.push(path);
                }
            }
            found.sort();
            files.extend(found);
        }
        Ok(files)
    }

    async fn compare(
        &self,
        old: &Side,
        new: &Side,
        request: Request,
        place: Place,
        report: &mut Report,
    ) {
        report.requests += 1;
        let Request {
            head,
            body,
            holds,
            listener,
            client,
            mut recorded,
            name,
        } = request;
        // Ids and times that are mapped are the same on both sides, so they are no difference.
        let deployment = recorded.deployment.take();
        recorded.deployment = deployment.or_else(|| Some(old.rehearsal.deployment().clone()));
        let call = old
            .rehearsal
            .call(&old.blueprint, head, listener.as_deref(), client);
        let before = old.rehearsal.explain(&call, &body, Some(&recorded)).await;
        let after = new.rehearsal.explain(&call, &body, Some(&recorded)).await;
        let (was, is) = (told(&before), told(&after));
        let lacks = |side: &Explanation| match holds {
            Holds::All => false,
            Holds::Head => side.phases.iter().any(reads_the_body),
            Holds::Line => side.code == Some(Code::MappingUnresolved.name()),
        };
        let needed = match holds {
            // Where one side reads the body and the other refuses before, that is the difference.
            Holds::Head => lacks(&before) && lacks(&after),
            _ => lacks(&before) || lacks(&after),
        };
        if needed && before.route == after.route {
            report.untold += 1;
        } else if was == is {
            report.same += 1;
        } else {
            report.differs += 1;
            if self.json || report.differences.len() < SHOWN {
                report.differences.push(Difference {
                    file: place.file,
                    line: place.line,
                    request: name,
                    before: was,
                    after: is,
                });
            }
        }
    }
}

/// Where a record stands.
struct Place {
    /// Where there are several.
    file: Option<String>,
    line: usize,
}

fn reads_the_body(decision: &Decision) -> bool {
    decision.phase == Phase::Receive.name()
}

fn blueprint_of(files: &[PathBuf]) -> Result<Blueprint, Failure> {
    blueprint_or_problems(compiled(files))
        .ok_or_else(|| Failure::new("the configuration has errors"))
}

/// What is compared of a request.
fn told(explanation: &Explanation) -> Value {
    serde_json::json!({
        "route": explanation.route,
        "status": explanation.status,
        "code": explanation.code,
        "call": explanation.call,
    })
}

fn shown(report: &Report) -> String {
    let mut text = String::new();
    for difference in &report.differences {
        if let Some(file) = &difference.file {
            text += &format!("{file}, ");
        }
        text += &format!(
            "line {}: {}\n  before  {}\n  after   {}\n",
            difference.line, difference.request, difference.before, difference.after
        );
    }
    let more = report.differs - report.differences.len() as u64;
    if more > 0 {
        text += &format!("… and {more} more; --json shows all\n");
    }
    text += &format!(
        "{} requests: {} the same, {} differ",
        report.requests, report.same, report.differs
    );
    if report.untold > 0 {
        text += &format!(
            ", {} cannot be told (their mappings need headers or a body that is not in the records)",
            report.untold
        );
    }
    if report.unreadable > 0 {
        text += &format!("; {} lines are no requests", report.unreadable);
    }
    if report.lost > 0 {
        text += &format!("; the recording lost {} more", report.lost);
    }
    text + "\nauthorizers, scopes and policies were left out on both sides; `penstock plan` compares them\n"
}
