//! `penstock iam`: the policy with which a configuration works, and no more.

mod text;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::{Args, ValueEnum};

use self::text::{cloud_formation, json, terraform};
use super::load::{Names, blueprint_or_problems};
use super::{Exit, print};
use crate::config::load::{Environment, SecretName};
use crate::plan::permissions::{self, Given};
use crate::plan::written::{self, Compiled};

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
    #[command(flatten)]
    names: Names,
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
        let (compiled, secrets) = self.compiled();
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
        let mut found = permissions::of(&blueprint, &secrets, &given);
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
                let apis = blueprint.apis.iter().map(|api| &*api.name);
                cloud_formation(&found, &apis.collect::<Vec<_>>().join(", "))
            }
            Format::Terraform => terraform(&found),
        });
        Exit::Ok
    }
}

impl Iam {
    /// The configuration with stand-ins for its secrets, and their names. A stand-in that most rules for secrets take is
    /// no hash of an API key: where that is wanted, one of that form takes its place.
    fn compiled(&self) -> (Compiled, Vec<SecretName>) {
        let (compiled, mut secrets) = self.compiled_with(Vec::new());
        if compiled.blueprint.is_some() || compiled.problems.has_errors() {
            return (compiled, secrets);
        }
        let is_hash = |secret: &SecretName| {
            let (alone, _) = self.compiled_with(vec![secret.clone()]);
            !alone.problems.has_errors()
        };
        let hashes: Vec<SecretName> = secrets
            .iter()
            .filter(|name| is_hash(name))
            .cloned()
            .collect();
        let (compiled, more) = self.compiled_with(hashes);
        secrets.extend(more);
        secrets.sort();
        secrets.dedup();
        (compiled, secrets)
    }

    fn compiled_with(&self, hashes: Vec<SecretName>) -> (Compiled, Vec<SecretName>) {
        let asked = Asked {
            names: &self.names,
            hashes,
            secrets: Mutex::default(),
        };
        let compiled = written::compiled(&self.files, &asked);
        (compiled, asked.secrets())
    }
}

/// The process's environment, which keeps the names of the secrets that it is asked for. None is fetched, and stand-ins do:
/// no policy depends on what is in a secret.
struct Asked<'n> {
    names: &'n Names,
    /// Secrets for which the hash of a key stands in.
    hashes: Vec<SecretName>,
    secrets: Mutex<Vec<SecretName>>,
}

impl Asked<'_> {
    fn secrets(&self) -> Vec<SecretName> {
        let asked = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut secrets = asked.clone();
        secrets.sort();
        secrets.dedup();
        secrets
    }
}

impl Environment for Asked<'_> {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.names.variable(name)
    }

    fn secret(&self, name: &SecretName) -> Option<String> {
        let mut asked = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(name.clone());
        let at = self.hashes.iter().position(|hash| hash == name)?;
        // no two keys may have one hash
        Some(format!("sha256:{at:064x}"))
    }

    fn vars(&self) -> Option<&Path> {
        self.names.vars()
    }
}
