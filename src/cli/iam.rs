//! `penstock iam`: the policy with which a configuration works, and no more.

mod text;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use clap::{Args, ValueEnum};

use self::text::{cloud_formation, json, terraform};
use super::load::blueprint_or_problems;
use super::{Exit, print};
use crate::config::load::{Environment, ProcessEnvironment, SecretName};
use crate::plan::permissions::{self, Given};
use crate::plan::written;

/// How the policy is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A policy document
    Json,
    /// A template with a managed policy
    Cloudformation,
    /// An aws_iam_policy_document
    Terraform,
}

/// Print the least policy with which a configuration works: each action on the very things that the routes name
#[derive(Debug, Args)]
pub struct Iam {
    /// Route files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How it is written
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// The account of what is named without one; default: the only one that is named anywhere
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// The region of what is named without one, where `aws.region` does not say
    #[arg(long)]
    region: Option<String>,
    /// A key of KMS that targets or secrets are encrypted with; may be given several times
    #[arg(long, value_name = "ARN")]
    kms_key: Vec<String>,
    /// Where the configuration itself is kept: appconfig:APP/ENV/PROFILE or s3://BUCKET/KEY; may be given several times
    #[arg(long, value_name = "SOURCE")]
    source: Vec<String>,
    /// Allow what `plan --live` looks at, too
    #[arg(long)]
    with_live: bool,
    /// Print the policy of the process, which may assume the role of `aws.assume_role`, in place of the role's
    #[arg(long)]
    process: bool,
}

impl Iam {
    pub fn run(&self) -> Exit {
        let asked = Asked::default();
        let compiled = written::compiled(&self.files, &asked);
        let Some(blueprint) = blueprint_or_problems(compiled) else {
            return Exit::Problems;
        };
        let given = Given {
            account: self.account.clone(),
            region: self.region.clone(),
            kms_keys: self.kms_key.clone(),
            sources: self.source.clone(),
            looks: self.with_live,
        };
        let mut found = permissions::of(&blueprint, &asked.names(), &given);
        match (&found.role, self.process) {
            (None, true) => {
                eprintln!("error: the configuration has no `aws.assume_role`, so the process's policy is the only one");
                return Exit::Usage;
            }
            (Some(role), true) => found = permissions::assuming(role),
            (Some(role), false) => found.notes.push(format!(
                "all calls are made as {role}: this is that role's policy; --process prints the process's own"
            )),
            (None, false) => {}
        }
        for note in &found.notes {
            eprintln!("note: {note}");
        }
        print(&match self.format {
            Format::Json => json(&found),
            Format::Cloudformation => {
                let apis: Vec<&str> = blueprint.apis.iter().map(|api| &*api.name).collect();
                cloud_formation(&found, &apis.join("-"))
            }
            Format::Terraform => terraform(&found),
        });
        Exit::Ok
    }
}

/// The process's environment, which keeps the names of the secrets that it is asked for. None is fetched, and stand-ins do:
/// no policy depends on what is in a secret.
#[derive(Default)]
struct Asked(Mutex<Vec<SecretName>>);

impl Asked {
    fn names(&self) -> Vec<SecretName> {
        let mut names = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        names.sort();
        names.dedup_by(|a, b| (a.keeper, &a.name) == (b.keeper, &b.name));
        names
    }
}

impl Environment for Asked {
    fn variable(&self, name: &str) -> Option<OsString> {
        ProcessEnvironment.variable(name)
    }

    fn secret(&self, name: &SecretName) -> Option<String> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.push(name.clone());
        None
    }
}
