//! `penstock keys`: makes keys, hashes and imports them, and asks a running gateway what they have used.

use std::fs;
use std::io::{self, BufWriter, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use zeroize::Zeroizing;

use super::load::shown;
use super::queue::{Failure, running};
use super::table::table;
use super::{Exit, print};
use crate::admin::usage::{KeyReport, Report};
use crate::authn::api_key::{KeyHash, is_id_of_a_key, mint, mint_salted, salt};
use crate::config::key_files::{FileKey, FileKeys, has_one_key_a_line, line_of, read_file};
use crate::config::load::ProcessEnvironment;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// Make API keys, hash and import them, and see what they have used
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(New),
    Hash(Hash),
    Import(Import),
    Usage(Usage),
}

/// Make a key: it is printed once, with the line that the configuration needs in its place
#[derive(Debug, Args)]
struct New {
    /// What logs and reports call it
    name: String,
    /// The usage plan that it is in
    #[arg(long, value_name = "PLAN")]
    plan: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Make a key with its name in it, and a salted hash
    #[arg(long)]
    salted: bool,
    /// Add the line to this file of keys, which is made if it is missing
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Print the hash of a key that is read from standard input
#[derive(Debug, Args)]
struct Hash {
    /// Salt the hash; the key must have the form psk_NAME_SECRET
    #[arg(long)]
    salted: bool,
}

/// Turn the CSV of the vendor's import into a file of hashes, on standard output
#[derive(Debug, Args)]
struct Import {
    /// The CSV: Name and Key; Description, Enabled and UsagePlanIds where wanted
    file: PathBuf,
}

/// Show what keys have used, by asking a running gateway
#[derive(Debug, Args)]
struct Usage {
    /// One key, day by day; default: all that were used
    name: Option<String>,
    /// The first day, such as 2026-11-01; default: 29 days before the last
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// The last day; default: today (UTC)
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// The admin listener; else the environment's PENSTOCK_ADMIN, else what --config says, else http://127.0.0.1:9901.
    /// Its admin.token is taken from PENSTOCK_ADMIN_TOKEN, or from --config
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The running gateway's route file, or a folder of them
    #[arg(short, long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Keys {
    pub fn run(&self) -> Exit {
        let done = match &self.command {
            Command::New(new) => new.run(),
            Command::Hash(hash) => hash.run(),
            Command::Import(import) => import.run(),
            Command::Usage(usage) => usage.run(),
        };
        done.unwrap_or_else(|failure| failure.report())
    }
}

impl New {
    fn run(&self) -> Result<Exit, Failure> {
        if self.name.is_empty() || self.name.len() > 128 {
            return Err(Failure::usage("a key's name has 1 to 128 characters"));
        }
        if self.salted && !is_id_of_a_key(&self.name) {
            return Err(
                Failure::usage(format!("{:?} cannot stand in a key", self.name)).help(
                    "with --salted a name has letters, digits, `_`, `-` and `.`, up to 64 of them",
                ),
            );
        }
        let failed = |error: crate::authn::api_key::NoRandomness| Failure::new(error.to_string());
        let (key, hash) = if self.salted {
            let key = mint_salted(&self.name).map_err(failed)?;
            let hash = KeyHash::salted(key.expose().as_bytes(), salt().map_err(failed)?);
            (key, hash)
        } else {
            let key = mint().map_err(failed)?;
            let hash = KeyHash::of(key.expose().as_bytes());
            (key, hash)
        };
        let line = line_of(&FileKey {
            id: &self.name,
            hash,
            plan: self.plan.as_deref(),
            enabled: true,
            description: self.description.as_deref(),
        });
        // A key that is in no file is of no use, so the file comes first.
        if let Some(file) = &self.file {
            add_to(file, &self.name, &line)?;
        }
        if self.json {
            print(&format!(
                "{:#}\n",
                json!({
                    "name": self.name, "key": key.expose(), "hash": hash.to_string(), "plan": self.plan,
                    "yaml": line.trim_start(),
                })
            ));
        } else {
            print(&format!("{}\n", key.expose()));
            match &self.file {
                Some(file) => eprintln!(
                    "The key is shown this once. Its hash is in {}; the gateway reads it at its next start.",
                    file.display()
                ),
                None => {
                    eprintln!("The key is shown this once. Its place in the configuration:\n");
                    print(&format!("api_keys:\n{line}\n"));
                }
            }
        }
        Ok(Exit::Ok)
    }
}

impl Hash {
    fn run(&self) -> Result<Exit, Failure> {
        if io::stdin().is_terminal() {
            eprintln!("Type the key, then Enter and Ctrl-D:");
        }
        let mut text = Zeroizing::new(String::new());
        io::stdin()
            .take(64 << 10)
            .read_to_string(&mut text)
            .map_err(|error| Failure::new(format!("standard input cannot be read: {error}")))?;
        let key = text.trim_end_matches(['\r', '\n']);
        if key.is_empty() {
            return Err(Failure::usage("standard input is empty, and so is no key")
                .help("penstock keys hash < key.txt"));
        }
        if key.len() < 30 {
            eprintln!("warning: the key is short; a key that can be guessed is no key");
        }
        let hash = if self.salted {
            if KeyHash::name_in(key).is_none() {
                return Err(Failure::usage(
                    "a salted hash is found by the name in its key, which has the form psk_NAME_SECRET",
                ));
            }
            let salt = salt().map_err(|error| Failure::new(error.to_string()))?;
            KeyHash::salted(key.as_bytes(), salt)
        } else {
            KeyHash::of(key.as_bytes())
        };
        print(&format!("{hash}\n"));
        Ok(Exit::Ok)
    }
}

impl Import {
    fn run(&self) -> Result<Exit, Failure> {
        let Some(keys) = read(&self.file) else {
            return Ok(Exit::Problems);
        };
        let mut out = BufWriter::new(io::stdout().lock());
        let write = |out: &mut dyn io::Write| -> io::Result<()> {
            writeln!(
                out,
                "# Made by penstock keys import; holds no keys, only hashes."
            )?;
            writeln!(out, "api_keys:")?;
            for key in keys.last_of_each() {
                writeln!(out, "{}", line_of(&key))?;
            }
            out.flush()
        };
        match write(&mut out) {
            Ok(()) => Ok(Exit::Ok),
            // Whoever read it has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
            Err(error) => Err(Failure::new(format!(
                "standard output cannot be written: {error}"
            ))),
        }
    }
}

/// Reads a file of keys; what is wrong with it goes to standard error.
fn read(file: &Path) -> Option<FileKeys> {
    let mut problems = Problems::default();
    let keys = read_file(
        file,
        &ConfigPath::root(),
        &ProcessEnvironment,
        &mut problems,
    );
    for problem in &problems.0 {
        eprintln!("{}", shown(problem));
    }
    keys
}

/// Adds a line to a file of keys, which is replaced whole or not at all.
fn add_to(file: &Path, name: &str, line: &str) -> Result<(), Failure> {
    let cannot =
        |error: io::Error| Failure::new(format!("{} cannot be written: {error}", file.display()));
    let mut text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => "api_keys:\n".to_owned(),
        Err(error) => {
            return Err(Failure::new(format!(
                "{} cannot be read: {error}",
                file.display()
            )));
        }
    };
    if file.exists() {
        let Some(keys) = read(file) else {
            return Err(Failure::new(format!(
                "{} has errors; nothing was added to it",
                file.display()
            )));
        };
        if keys.iter().any(|key| key.id == name) {
            return Err(
                Failure::new(format!("{} has a key {name:?} already", file.display()))
                    .help("choose another name, or remove that key first"),
            );
        }
        if !has_one_key_a_line(&text) {
            return Err(Failure::new(format!(
                "{} is not written with one key a line, so nothing can be added to its end",
                file.display()
            ))
            .help("leave out --file, and put the line that is printed where it belongs"));
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = fs::File::create(&new).and_then(|mut out| {
        if let Ok(old) = fs::metadata(file) {
            out.set_permissions(old.permissions())?;
        }
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&new, file)
    });
    written.map_err(|error| {
        // What is left of the attempt is of no use to anybody.
        let _ = fs::remove_file(&new);
        cannot(error)
    })
}

impl Usage {
    fn run(&self) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(format!("the runtime cannot be started: {error}")))?;
        let report = runtime.block_on(self.ask())?;
        if self.json {
            let text = serde_json::to_string_pretty(&report)
                .map_err(|error| Failure::new(error.to_string()))?;
            print(&(text + "\n"));
        } else if self.name.is_some() {
            for key in &report.keys {
                print(&day_by_day(key));
            }
        } else {
            print(&overview(&report));
        }
        Ok(Exit::Ok)
    }

    async fn ask(&self) -> Result<Report, Failure> {
        let client = running(self.admin.as_ref(), &self.config)?.at("/v1/usage");
        let mut query = String::new();
        for (name, value) in [("key", &self.name), ("from", &self.from), ("to", &self.to)] {
            if let Some(value) = value {
                let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
                query += &format!("&{name}={value}");
            }
        }
        let mut report: Report = client.get(&format!("?limit=1000{query}")).await?;
        while let Some(after) = report.next.take() {
            let after = utf8_percent_encode(&after, NON_ALPHANUMERIC);
            let page = format!("?limit=1000{query}&after={after}");
            let more: Report = client.get(&page).await?;
            report.keys.extend(more.keys);
            report.items.extend(more.items);
            report.next = more.next;
        }
        Ok(report)
    }
}

fn number(count: Option<u64>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| count.to_string())
}

fn overview(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .keys
        .iter()
        .map(|key| {
            let quota = key.quota.as_ref();
            vec![
                key.key.clone(),
                key.plan.clone().unwrap_or_else(|| "-".to_owned()),
                key.used.to_string(),
                number(quota.map(|quota| quota.remaining)),
                quota.map_or_else(|| "-".to_owned(), |quota| quota.resets_at.clone()),
                key.by_source.query.to_string(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return format!("No key was used from {} to {}.\n", report.from, report.to);
    }
    table(
        &["KEY", "PLAN", "USED", "REMAINING", "RESETS AT", "BY QUERY"],
        &rows,
    )
}

fn day_by_day(key: &KeyReport) -> String {
    let mut text = format!(
        "key {}, usage plan {}",
        key.key,
        key.plan.as_deref().unwrap_or("none")
    );
    if let Some(quota) = &key.quota {
        text += &format!(
            ": {} of {} a {} are left until {}",
            quota.remaining, quota.limit, quota.period, quota.resets_at
        );
    }
    let rows: Vec<Vec<String>> = key
        .days
        .iter()
        .map(|day| {
            vec![
                day.day.clone(),
                day.used.to_string(),
                number(day.remaining),
                day.by_source.header.to_string(),
                day.by_source.query.to_string(),
                day.by_source.authorizer.to_string(),
            ]
        })
        .collect();
    let heads = ["DAY", "USED", "REMAINING", "HEADER", "QUERY", "AUTHORIZER"];
    text + "\n\n" + &table(&heads, &rows)
}
