//! `penstock replay`: recorded requests through a new configuration and the one of before, with nothing sent, and what
//! would become of them otherwise.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use http::HeaderName;
use http::header::HOST;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::deploy::{At, ended, printed};
use super::load::{blueprint_or_problems, compiled};
use super::queue::Failure;
use super::rehearsal::Rehearsal;
use super::{Exit, print};
use crate::admin::deployments::Texts;
use crate::config::load::{ProcessEnvironment, SourceFile};
use crate::model::code::Code;
use crate::pipeline::Explanation;
use crate::plan::Blueprint;
use crate::plan::written::compiled_again;

/// Differences that are shown in full.
const SHOWN: usize = 20;

/// Take recorded requests through a new configuration with nothing sent, and show what would differ
#[derive(Debug, Args)]
pub struct Replay {
    /// Route files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The records: a JSON access log, or a capture; see docs/deployments.md
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Compare with this file or folder in place of what runs on a gateway; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with_all = ["admin", "config"])]
    against: Vec<PathBuf>,
    #[command(flatten)]
    at: At,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// A line of the records. Of an access log it holds no headers and no body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    method: String,
    path: String,
    host: Option<String>,
    listener: Option<String>,
    source_ip: Option<String>,
    headers: Option<Vec<(String, String)>>,
    /// Base64.
    body: Option<String>,
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
    differs: u64,
    differences: Vec<Difference>,
}

/// A request that would fare otherwise.
#[derive(Debug, Serialize)]
struct Difference {
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
        let failed = |error| Failure::new(format!("{}: {error}", self.from.display()));
        let records = BufReader::new(File::open(&self.from).map_err(failed)?);
        let mut report = Report::default();
        for (at, line) in records.lines().enumerate() {
            let line = line.map_err(failed)?;
            if line.trim().is_empty() {
                continue;
            }
            let record = serde_json::from_str::<Record>(&line).ok();
            let Some((record, head, body)) = record.and_then(readable) else {
                report.unreadable += 1;
                continue;
            };
            report.requests += 1;
            let from = record.source_ip.as_deref().and_then(|ip| ip.parse().ok());
            let from = from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let listener = record.listener.as_deref();
            // One call for both, so that ids and times that are mapped are the same.
            let call = old.rehearsal.call(&old.blueprint, head, listener, from);
            let before = old.rehearsal.explain(&call, &body).await;
            let after = new.rehearsal.explain(&call, &body).await;
            let (was, is) = (told(&before), told(&after));
            let is_log = record.headers.is_none();
            let lacks = |side: &Explanation| side.code == Some(Code::MappingUnresolved.name());
            if is_log && before.route == after.route && (lacks(&before) || lacks(&after)) {
                report.untold += 1;
            } else if was == is {
                report.same += 1;
            } else {
                report.differs += 1;
                if self.json || report.differences.len() < SHOWN {
                    let path = record.path.split('?').next().unwrap_or_default();
                    report.differences.push(Difference {
                        line: at + 1,
                        request: format!("{} {path}", record.method),
                        before: was,
                        after: is,
                    });
                }
            }
        }
        Ok(report)
    }
}

fn blueprint_of(files: &[PathBuf]) -> Result<Blueprint, Failure> {
    blueprint_or_problems(compiled(files))
        .ok_or_else(|| Failure::new("the configuration has errors"))
}

/// The head and the body of a record; `None` for one that is no request.
fn readable(record: Record) -> Option<(Record, http::request::Parts, Bytes)> {
    let mut request = http::Request::builder()
        .method(record.method.as_str())
        .uri(record.path.as_str());
    for (name, value) in record.headers.iter().flatten() {
        let name: HeaderName = name.parse().ok()?;
        request = request.header(name, value);
    }
    let mut head = request.body(()).ok()?.into_parts().0;
    if !head.headers.contains_key(HOST) {
        let host = record.host.as_deref().unwrap_or("localhost");
        head.headers.insert(HOST, host.parse().ok()?);
    }
    let body = match &record.body {
        Some(text) => STANDARD.decode(text).ok()?.into(),
        None => Bytes::new(),
    };
    Some((record, head, body))
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
            ", {} cannot be told (their mappings need headers or a body, which an access log does not hold)",
            report.untold
        );
    }
    if report.unreadable > 0 {
        text += &format!("; {} lines are no requests", report.unreadable);
    }
    text + "\nauthorizers, scopes and policies were left out on both sides; `penstock plan` compares them\n"
}
