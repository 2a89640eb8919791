//! One API of a plan: what its requests meet whatever their route, and the choice among several.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::authn::{self, Authenticator};
use crate::config::{Dialect, TrailingSlash};
use crate::model::call::Call;

use super::{CorsPolicy, Matcher, Plan, Route};

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
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'p> {
    pub api: &'p Api,
    /// The path that its stage and routes see, as received: what is left below its base path.
    pub path: &'p str,
}

impl Plan {
    /// The API that a request is for; `None` where no API serves the host, or anything on this path of it.
    pub fn choose<'p>(&'p self, call: &'p Call) -> Option<Chosen<'p>> {
        let path = call.raw_path();
        let (api, taken_off) = self.hosts.choose(call.host(), path)?;
        let path = path.get(taken_off..).filter(|rest| !rest.is_empty());
        Some(Chosen {
            api: self.apis.get(api)?,
            path: path.unwrap_or("/"),
        })
    }

    /// The API of that name.
    pub fn api(&self, name: &str) -> Option<&Api> {
        self.apis.iter().find(|api| *api.name == *name)
    }
}
