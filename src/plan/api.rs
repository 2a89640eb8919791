//! One API of a plan: what its requests meet whatever their route, and the choice among several.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use indexmap::IndexMap;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::authn::{self, Authenticator};
use crate::config::{Dialect, TrailingSlash};
use crate::model::call::Call;
use crate::telemetry::metrics::{Name, Versioned};

use super::{CorsPolicy, ErrorResponses, Matcher, Plan, Route, Version, VersionError, Versions};

/// An API that requests are for.
#[derive(Debug)]
pub struct Api {
    /// `$context.apiId`.
    pub name: Arc<str>,
    pub stage: Arc<str>,
    /// `/prod` for a named stage, empty for `$default`.
    pub prefix: String,
    pub stage_variables: Arc<IndexMap<String, String>>,
    pub dialect: Dialect,
    pub trailing_slash: TrailingSlash,
    pub cors: Option<CorsPolicy>,
    /// The versions that it stands in front of.
    pub versions: Option<Versions>,
    /// What requests are counted with, by the version that they are for.
    pub(super) versioned: Family<Versioned, Counter>,
    pub error_responses: Option<ErrorResponses>,
    pub routes: Vec<Arc<Route>>,
    /// The routes that can be reached on each listener, in the listeners' order. Those with the same routes share them.
    pub(super) matchers: Vec<Arc<Matcher<Arc<Route>>>>,
    /// By name, with what each was made of: the next plan goes on with those that stay as they are, for they know keys,
    /// answers and signatures that it would have to learn anew.
    pub(super) authorizers: HashMap<String, (authn::Spec, Arc<Authenticator>)>,
}

impl Api {
    /// The path below the stage; `None` where the stage does not serve the path.
    pub fn below_stage<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(&self.prefix)?;
        match rest {
            "" => Some("/"),
            rest if rest.starts_with('/') || self.prefix.is_empty() => Some(rest),
            _ => None,
        }
    }

    /// The live authorizer of that name, if a route names it.
    pub fn authorizer(&self, name: &str) -> Option<&Authenticator> {
        self.authorizers.get(name).map(|(_, live)| &**live)
    }
}

/// The API that a request is for.
#[derive(Clone, Debug)]
pub struct Chosen<'p> {
    pub api: &'p Api,
    /// The path that its stage and routes see, as received: what is left below its base path.
    pub path: &'p str,
    /// Where an API in front told which version it is.
    pub version: Option<Picked<'p>>,
}

/// The version that an API in front picked.
#[derive(Clone, Debug)]
pub struct Picked<'p> {
    /// The API in front.
    front: &'p Api,
    versions: &'p Versions,
    version: Option<Arc<Version>>,
    /// Why it is not served.
    pub refusal: Option<VersionError>,
}

impl Picked<'_> {
    /// Says in an answer what is to be known of the version.
    pub fn tell(&self, headers: &mut HeaderMap) {
        self.versions.tell(self.version.as_deref(), headers);
    }

    /// Counts the request by its version, at the API that it came to.
    pub fn count(&self) {
        let name = self.name().unwrap_or_default();
        let labels = Versioned {
            api: Name(self.front.name.clone()),
            version: Name(name.into()),
        };
        self.front.versioned.get_or_create(&labels).inc();
    }

    /// The version's name.
    pub fn name(&self) -> Option<&str> {
        self.version.as_ref().map(|version| version.name.as_str())
    }
}

impl Plan {
    /// The API that a request is for; `None` where no API serves the host, or anything on this path of it.
    pub fn choose<'p>(&'p self, call: &'p Call) -> Option<Chosen<'p>> {
        let path = call.raw_path();
        let (api, taken_off) = self.hosts.choose(call.host(), path)?;
        let path = path.get(taken_off..).filter(|rest| !rest.is_empty());
        let api = self.apis.get(api)?;
        let (api, version) = match &api.versions {
            None => (api, None),
            Some(versions) => self.version(api, versions, call),
        };
        Some(Chosen {
            api,
            path: path.unwrap_or("/"),
            version,
        })
    }

    /// The API of the version that a request is for; the one in front, where it is for none that is served.
    fn version<'p>(
        &'p self,
        front: &'p Api,
        versions: &'p Versions,
        call: &Call,
    ) -> (&'p Api, Option<Picked<'p>>) {
        let (version, refusal) = versions.choose(call);
        let served = version
            .as_deref()
            .filter(|_| refusal.is_none())
            .and_then(|version| self.apis.get(versions.api_of(version)?));
        let picked = Picked {
            front,
            versions,
            version,
            refusal,
        };
        (served.unwrap_or(front), Some(picked))
    }

    /// The API of that name.
    pub fn api(&self, name: &str) -> Option<&Api> {
        self.apis.iter().find(|api| *api.name == *name)
    }
}
