//! Request authorizers: a service decides, by the Lambda-authorizer contract (reference, section 5): over HTTP, or by
//! the Invoke call of a Lambda function.
//!
//! `source.rs` reads what identifies a caller, `event.rs` writes what the service is sent, `answer.rs` reads what it
//! says, `ask.rs` makes the call, `kept.rs` remembers answers.

mod answer;
mod ask;
mod config;
mod event;
mod kept;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use regex_lite::Regex;

use super::{AuthnError, Caller, Kind};
use crate::model::carried::Carried;
use crate::model::identity::Presented;
use crate::model::secret::Secret;

pub use config::Config;

use answer::{Decision, Said};
use ask::{Asker, Service};
use kept::{Answers, Key};
use source::Source;

/// The form of what is sent and of what may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    V1,
    V2 {
        /// `{"isAuthorized": …}`; `None`: a policy will do as well.
        simple: Option<bool>,
    },
    /// REST's `TOKEN`: the token alone is sent.
    Token,
}

/// A compiled `lambda` authorizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    name: Arc<str>,
    service: Service,
    format: Format,
    sources: Vec<Source>,
    token_pattern: Option<Token>,
    ttl: Duration,
    timeout: Duration,
    headers: Vec<(http::HeaderName, Secret<String>)>,
    max_entries: usize,
    /// For the ARNs of requests.
    region: Option<Arc<str>>,
}

/// What a token looks like; equal if it was written the same way.
#[derive(Clone, Debug)]
struct Token(Regex);

impl PartialEq for Token {
    fn eq(&self, other: &Token) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// The live `lambda` authorizer.
#[derive(Debug)]
pub struct LambdaAuthenticator {
    spec: Arc<Spec>,
    asker: Arc<Asker>,
    /// `None`: each request is asked about.
    answers: Option<Answers>,
}

impl Spec {
    /// The function that is asked, by ARN or name, and its region where one is said; `None` where it is a service.
    pub fn function(&self) -> Option<(&str, Option<&str>)> {
        match &self.service {
            Service::Function { name, region } => Some((name, region.as_deref())),
            Service::Url(_) => None,
        }
    }

    /// What of a request tells the service who calls.
    pub(super) fn carried(&self) -> Vec<Carried> {
        let sources = self.sources.iter();
        let sources = sources.filter_map(|source| match source {
            Source::Header(name) => Some(Carried::Header(name.clone())),
            Source::Query(name) => Some(Carried::Query(name.clone())),
            Source::Context(_) | Source::StageVariable(_) => None,
        });
        sources.collect()
    }

    pub(super) fn describe(&self) -> String {
        let format = match self.format {
            Format::V1 => "1.0",
            Format::V2 { .. } => "2.0",
            Format::Token => "token",
        };
        format!("{}, {format}", self.service)
    }
}

impl LambdaAuthenticator {
    pub(in crate::authn) fn new(
        spec: Spec,
        outbound: &crate::outbound::Client,
        aws: &crate::aws::Clients,
    ) -> LambdaAuthenticator {
        let spec = Arc::new(spec);
        LambdaAuthenticator {
            asker: Arc::new(Asker::new(spec.clone(), outbound.clone(), aws.clone())),
            answers: (!spec.ttl.is_zero()).then(|| Answers::new(spec.max_entries, spec.ttl)),
            spec,
        }
    }

    /// Asks the service, or remembers what it said, and adds that to the caller.
    pub(in crate::authn) async fn authenticate(
        &self,
        presented: &Presented<'_>,
        caller: &mut Caller,
    ) -> Result<(), AuthnError> {
        let values = self.identity(presented)?;
        let key = Key::of(&values);
        let began = Instant::now();
        let ask = || {
            let event = event::of(&self.spec, presented, &values);
            let asker = self.asker.clone();
            async move { asker.ask(event).await.map(Arc::new) }.boxed()
        };
        let said = match &self.answers {
            None => ask().await,
            Some(answers) => answers.get(key, began, ask).await,
        }?;
        apply(&said, began.elapsed(), caller)?;
        let identity = &mut caller.identity;
        identity
            .scope
            .get_or_insert_with(|| scope(&self.spec.name, &said, key));
        Ok(())
    }

    /// Forgets every answer. How many there were.
    pub fn flush(&self) -> usize {
        self.answers.as_ref().map_or(0, Answers::flush)
    }

    /// The values of all identity sources, each of which has to be there.
    fn identity(&self, presented: &Presented<'_>) -> Result<Vec<String>, AuthnError> {
        let mut values = Vec::with_capacity(self.spec.sources.len());
        for source in &self.spec.sources {
            let value = source.value(presented).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| {
                AuthnError::new(
                    Kind::Unauthorized,
                    format!("This route needs {}.", source.described()),
                    format!("the identity source {source} is missing or empty"),
                )
            })?;
            values.push(value);
        }
        if let Some(Token(pattern)) = &self.spec.token_pattern
            && !values.first().is_some_and(|token| pattern.is_match(token))
        {
            return Err(AuthnError::new(
                Kind::Unauthorized,
                "The token is not accepted.",
                "the token does not match `token_pattern`",
            )
            .wrong());
        }
        Ok(values)
    }
}

/// Who the caller is among all callers of the authorizer: the principal that it names, else whoever brings the same
/// values of the identity sources.
fn scope(name: &str, said: &Said, key: Key) -> Arc<str> {
    match &said.principal {
        Some(principal) => format!("{name}\nprincipal {principal}"),
        None => format!("{name}\nidentity {key}"),
    }
    .into()
}

fn apply(said: &Said, latency: Duration, caller: &mut Caller) -> Result<(), AuthnError> {
    let policy = match &said.decision {
        Decision::All(false) => {
            return Err(AuthnError::new(
                Kind::Forbidden,
                "The caller is not allowed to make this request.",
                "the authorizer said no",
            )
            .wrong());
        }
        Decision::All(true) => None,
        Decision::Policy(policy) => Some(policy.clone()),
    };
    let identity = &mut caller.identity;
    if let Some(principal) = &said.principal {
        identity.principal.get_or_insert_with(|| principal.clone());
    }
    for (name, value) in &said.values {
        identity.add_value(name, value.clone());
    }
    identity.add_value("latency", latency.as_millis().to_string());
    if let Some(key) = &said.usage_identifier {
        caller.usage_identifier.get_or_insert_with(|| key.clone());
    }
    caller.judge(policy);
    Ok(())
}
