//! What a policy has to allow so that a configuration works, and no more: each action on the very things that it is called
//! on, wherever the configuration names them.

mod arn;

use std::collections::BTreeMap;

pub use self::arn::{Arn, Style};

use super::Blueprint;
use crate::authn;
use crate::config::load::{SecretKeeper, SecretName};
use crate::integration::{Reached, ReachedKind};

/// What is allowed, and what people should know about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    pub statements: Vec<Statement>,
    /// Where a wildcard had to stand, and why; what may be missing.
    pub notes: Vec<String>,
    /// The role that all calls are made as: the policy is that role's, and the process may assume it.
    pub role: Option<String>,
}

/// Some actions on some things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub sid: String,
    pub actions: Vec<String>,
    pub resources: Vec<Arn>,
}

/// What the configuration does not say.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The account of what is named without one.
    pub account: Option<String>,
    /// The region of what is named without one, where `aws.region` does not say.
    pub region: Option<String>,
    /// Keys that queues, streams, tables and secrets are encrypted with, by ARN.
    pub kms_keys: Vec<String>,
    /// Where the configuration itself is kept: `appconfig:APP/ENV/PROFILE`, `s3://BUCKET/KEY`.
    pub sources: Vec<String>,
    /// Whether `penstock plan --live` is to work with it, too.
    pub looks: bool,
}

/// The permissions of a configuration that draws on these secrets.
pub fn of(blueprint: &Blueprint, secrets: &[SecretName], given: &Given) -> Permissions {
    let mut found = Found {
        region: blueprint.aws.region.clone().or(given.region.clone()),
        ..Found::default()
    };
    for route in blueprint.routes() {
        for reached in route.targets().filter_map(|target| target.reaches()) {
            found.reach(&route.key.to_string(), &reached, given.looks);
        }
        for (name, spec) in &route.authorizers {
            if let authn::Spec::Lambda(lambda) = spec
                && let Some((function, region)) = lambda.function()
            {
                let arn = Arn::read(function)
                    .unwrap_or_else(|| found.arn("lambda", region, format!("function:{function}")));
                found.allow(
                    &format!("Authorizer{}", word(name)),
                    &["lambda:InvokeFunction"],
                    arn,
                );
            }
        }
    }
    for spec in blueprint
        .apis
        .iter()
        .filter_map(|api| api.versions.as_ref()?.kept())
    {
        let region = spec.region.as_deref();
        let arn = found.named("dynamodb", "table/", Some(&spec.table), region);
        found.allow("Versions", &[spec.action()], arn);
    }
    for secret in secrets {
        found.secret(secret);
    }
    for source in &given.sources {
        found.source(source);
    }
    for key in &given.kms_keys {
        match Arn::read(key) {
            Some(arn) => {
                found.allow("Keys", &["kms:Decrypt", "kms:GenerateDataKey"], arn);
            }
            None => found.note(format!("{key} is not the ARN of a key, and was left out")),
        }
    }
    found.finish(blueprint, given)
}

/// The permissions of a process that only assumes a role.
pub fn assuming(role: &str) -> Permissions {
    let statement = Arn::read(role).map(|role| Statement {
        sid: "AssumeRole".to_owned(),
        actions: vec!["sts:AssumeRole".to_owned()],
        resources: vec![role],
    });
    Permissions {
        statements: statement.into_iter().collect(),
        ..Permissions::default()
    }
}

/// What has been found so far: by statement's id and actions.
#[derive(Default)]
struct Found {
    region: Option<String>,
    statements: BTreeMap<(String, Vec<String>), Vec<Arn>>,
    notes: Vec<String>,
}

impl Found {
    fn arn(&self, service: &str, region: Option<&str>, resource: String) -> Arn {
        Arn {
            partition: None,
            service: service.to_owned(),
            region: region.map(str::to_owned).or_else(|| self.region.clone()),
            account: None,
            resource,
        }
    }

    fn allow(&mut self, sid: &str, actions: &[&str], arn: Arn) {
        let mut actions: Vec<String> = actions.iter().map(|action| (*action).to_owned()).collect();
        actions.sort();
        let resources = self
            .statements
            .entry((sid.to_owned(), actions))
            .or_default();
        if !resources.contains(&arn) {
            resources.push(arn);
        }
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn reach(&mut self, route: &str, reached: &Reached, looks: bool) {
        let region = reached.region.as_deref();
        let mut actions = reached.actions.to_vec();
        let look = match reached.kind {
            ReachedKind::Queue => Some("sqs:GetQueueAttributes"),
            ReachedKind::Stream => Some("kinesis:DescribeStreamSummary"),
            ReachedKind::Bus => Some("events:DescribeEventBus"),
            ReachedKind::Machine { .. } => Some("states:DescribeStateMachine"),
            ReachedKind::Table => Some("dynamodb:DescribeTable"),
            ReachedKind::Execution | ReachedKind::Configuration => None,
        };
        actions.extend(look.filter(|_| looks));
        let sid: String = reached.actions[reached.actions.len() - 1]
            .split(':')
            .map(capitalised)
            .collect();
        if reached.name.is_none() && reached.kind != ReachedKind::Configuration {
            let parameter = reached.parameter;
            self.note(format!(
                "{route}: requests choose `{parameter}`, so the policy allows all of its kind"
            ));
        }
        let name = reached.name.as_deref();
        let arn = match reached.kind {
            ReachedKind::Queue => match name {
                Some(url) => self.queue(url, region),
                None => self.arn("sqs", region, "*".to_owned()),
            },
            ReachedKind::Stream => self.named("kinesis", "stream/", name, region),
            ReachedKind::Bus => self.named("events", "event-bus/", name, region),
            ReachedKind::Machine { .. } => self.named("states", "stateMachine:", name, region),
            ReachedKind::Execution => self.named("states", "execution:", name, region),
            ReachedKind::Table => self.named("dynamodb", "table/", name, region),
            ReachedKind::Configuration => {
                return self.configuration(&sid, &actions, name, region);
            }
        };
        self.allow(&sid, &actions, arn);
    }

    /// By its ARN, or by its name; any where there is none.
    fn named(&self, service: &str, kind: &str, name: Option<&str>, region: Option<&str>) -> Arn {
        let known = name.and_then(Arn::read);
        known.unwrap_or_else(|| {
            let name = name.unwrap_or("*");
            self.arn(service, region, format!("{kind}{name}"))
        })
    }

    /// `https://HOST/ACCOUNT/NAME`
    fn queue(&self, url: &str, region: Option<&str>) -> Arn {
        let mut parts = url.trim_end_matches('/').rsplit('/');
        let name = parts.next().unwrap_or_default();
        let account = parts.next().filter(|part| is_account(part));
        Arn {
            account: account.map(str::to_owned),
            ..self.arn("sqs", region, name.to_owned())
        }
    }

    /// Policies know AppConfig's things by their ids alone.
    fn configuration(
        &mut self,
        sid: &str,
        actions: &[&str],
        name: Option<&str>,
        region: Option<&str>,
    ) {
        let [application, environment, profile] = self.ids(name.unwrap_or_default());
        for resource in [
            format!("application/{application}"),
            format!("application/{application}/environment/{environment}"),
            format!("application/{application}/configurationprofile/{profile}"),
        ] {
            let arn = self.arn("appconfig", region, resource);
            self.allow(sid, actions, arn);
        }
    }

    fn ids(&mut self, path: &str) -> [String; 3] {
        let mut parts = path.split('/');
        let is_id = |part: &str| {
            part.len() == 7
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && part.bytes().any(|b| b.is_ascii_digit())
        };
        let mut wild = false;
        let ids = [(); 3].map(|()| match parts.next() {
            Some(part) if is_id(part) => part.to_owned(),
            _ => {
                wild = true;
                "*".to_owned()
            }
        });
        if wild {
            self.note(
                "AppConfig: policies know applications, environments and profiles by their ids alone; \
                 write ids in the configuration for a policy without wildcards"
                    .to_owned(),
            );
        }
        ids
    }

    fn secret(&mut self, secret: &SecretName) {
        let known = Arn::read(&secret.name);
        match secret.keeper {
            SecretKeeper::SecretsManager => {
                // the service adds a hyphen and six characters to a name
                let arn = known.unwrap_or_else(|| {
                    self.arn(
                        "secretsmanager",
                        None,
                        format!("secret:{}-??????", secret.name),
                    )
                });
                self.allow("Secrets", &["secretsmanager:GetSecretValue"], arn);
            }
            SecretKeeper::ParameterStore => {
                let name = secret.name.trim_start_matches('/');
                let arn =
                    known.unwrap_or_else(|| self.arn("ssm", None, format!("parameter/{name}")));
                self.allow("Parameters", &["ssm:GetParameter"], arn);
            }
        }
    }

    fn source(&mut self, source: &str) {
        if let Some(path) = source.strip_prefix("appconfig:") {
            let [application, environment, profile] = self.ids(path);
            let resource = format!(
                "application/{application}/environment/{environment}/configuration/{profile}"
            );
            let arn = self.arn("appconfig", None, resource);
            let actions = [
                "appconfig:GetLatestConfiguration",
                "appconfig:StartConfigurationSession",
            ];
            self.allow("Configuration", &actions, arn);
        } else if let Some(object) = source.strip_prefix("s3://") {
            let arn = Arn {
                region: Some(String::new()),
                account: Some(String::new()),
                ..self.arn("s3", None, object.to_owned())
            };
            self.allow("Configuration", &["s3:GetObject"], arn);
        } else {
            self.note(format!(
                "{source} is neither appconfig:APP/ENV/PROFILE nor s3://BUCKET/KEY, and was left out"
            ));
        }
    }

    fn finish(self, blueprint: &Blueprint, given: &Given) -> Permissions {
        let role = blueprint.aws.assume_role.as_ref();
        let role = role.map(|role| role.arn.clone());
        let own = role.as_deref().and_then(Arn::read);
        let resources = self.statements.values().flatten().chain(&own);
        let mut accounts: Vec<&str> = resources
            .filter_map(|arn| arn.account.as_deref())
            .filter(|account| is_account(account))
            .collect();
        accounts.sort_unstable();
        accounts.dedup();
        let account = match (&given.account, accounts.as_slice()) {
            (Some(account), _) => Some(account.clone()),
            (None, [only]) => Some((*only).to_owned()),
            (None, _) => None,
        };
        let mut notes = self.notes;
        let mut several: BTreeMap<String, u32> = BTreeMap::new();
        let statements = self
            .statements
            .into_iter()
            .map(|((sid, actions), resources)| {
                let fill = |mut arn: Arn| {
                    arn.account = arn.account.or_else(|| account.clone());
                    arn
                };
                let number = several.entry(sid.clone()).or_default();
                *number += 1;
                Statement {
                    sid: match *number {
                        1 => sid,
                        number => format!("{sid}{number}"),
                    },
                    actions,
                    resources: resources.into_iter().map(fill).collect(),
                }
            });
        let statements: Vec<Statement> = statements.collect();
        if statements.is_empty() {
            notes.push("nothing at AWS is called, so no policy is needed".to_owned());
        } else if given.kms_keys.is_empty() {
            notes.push(
                "what is encrypted with keys of your own needs kms:Decrypt and kms:GenerateDataKey on them: --kms-key ARN"
                    .to_owned(),
            );
        }
        Permissions {
            statements,
            notes,
            role,
        }
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Letters and digits alone, as ids of statements are.
fn word(name: &str) -> String {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .map(capitalised)
        .collect()
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_ascii_uppercase().to_string() + letters.as_str(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
