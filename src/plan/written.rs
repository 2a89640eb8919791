//! From files to a blueprint: load, read the files that are named in them, compile. Done at the start, by every command
//! that takes a route file, and again when what the files draw on has changed.

use std::path::PathBuf;

use crate::aws;
use crate::config::load::{Environment, Loaded, SourceFile, load, load_texts};
use crate::config::{Config, Strategy, certificates, key_files, users};
use crate::deploy::DeploymentId;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::outbound;

use super::blueprint::Blueprint;
use super::compile::{Origin, compile};

/// A configuration as far as it could be understood.
pub struct Compiled {
    /// `None` when there are errors, and when it cannot be had without secrets that have not been fetched.
    pub blueprint: Option<Blueprint>,
    /// The same as a canary, whose stage variables are others; `None` where they are not.
    pub as_canary: Option<Blueprint>,
    pub problems: Problems,
    /// The route files as they were read, nothing substituted.
    pub texts: Vec<SourceFile>,
    /// How secrets that AWS keeps can be fetched.
    pub reach: (aws::Settings, outbound::Settings),
}

/// Loads and compiles; touches no network and opens nothing.
pub fn compiled(paths: &[PathBuf], environment: &dyn Environment) -> Compiled {
    understood(load::<Config>(paths, environment), environment)
}

/// The same from texts that were read before.
pub fn compiled_again(texts: Vec<SourceFile>, environment: &dyn Environment) -> Compiled {
    understood(load_texts::<Config>(texts, environment), environment)
}

fn understood(loaded: Loaded<Config>, environment: &dyn Environment) -> Compiled {
    let texts = loaded.sources.texts().to_vec();
    let sources = loaded.sources;
    let mut problems = loaded.problems;
    let Some(mut config) = loaded.value else {
        problems
            .0
            .retain(|problem| !sources.unfetched(&problem.path));
        return Compiled {
            blueprint: None,
            as_canary: None,
            problems,
            texts,
            reach: Default::default(),
        };
    };
    let mut found = Problems::default();
    let api = sources.default_api();
    let directory = |path: &_| sources.directory(path);
    users::read(&mut config, &directory, environment, &mut problems);
    key_files::read(&mut config, &directory, environment, &mut problems);
    let named = texts.iter();
    let named = named.map(|file| (file.path.as_path(), file.text.as_str()));
    let origin = Origin {
        api: &api,
        id: DeploymentId::of(named),
        directory: &directory,
    };
    let blueprint = compile(&config, &origin, &mut found);
    let as_canary = as_canary(&config, &origin, &mut found);
    if let Some(blueprint) = &blueprint {
        check_certificates(&config, blueprint, &mut found);
    }
    // What is missing only because it was refused has been reported already.
    found.0.retain(|problem| !sources.refused(&problem.path));
    if config.routes.is_empty() && sources.refused_within("routes") {
        let routes = ConfigPath::root().key("routes");
        found.0.retain(|problem| problem.path != routes);
    }
    // Checks across values show what they refuse, and do not know what came from outside.
    sources.conceal(&mut found);
    problems.0.extend(found.0);
    problems
        .0
        .retain(|problem| !sources.unfetched(&problem.path));
    sources.locate(&mut problems);
    let usable = !problems.has_errors() && !environment.has_stood_in();
    Compiled {
        blueprint: blueprint.filter(|_| usable),
        as_canary: as_canary.filter(|_| usable),
        problems,
        texts,
        reach: (config.aws.unwrap_or_default(), config.egress),
    }
}

/// The configuration with its canary's stage variables. Of the problems, those that it would not have without them are
/// new.
fn as_canary(config: &Config, origin: &Origin<'_>, problems: &mut Problems) -> Option<Blueprint> {
    let variables = &config.deployment.variables;
    if config.deployment.strategy != Some(Strategy::Canary) || variables.is_empty() {
        return None;
    }
    let mut overlaid = config.clone();
    let own = variables.iter();
    let own = own.map(|(name, value)| (name.clone(), value.clone()));
    overlaid.stage_variables.extend(own);
    let mut found = Problems::default();
    let blueprint = compile(&overlaid, origin, &mut found);
    let new = found.0.into_iter();
    let new = new.filter(|problem| !problems.0.contains(problem));
    let new: Vec<_> = new.collect();
    problems.0.extend(new);
    blueprint
}

/// Reads the files of TLS that listeners name.
fn check_certificates(config: &Config, blueprint: &Blueprint, problems: &mut Problems) {
    let at = ConfigPath::root().key("listeners");
    for listener in &blueprint.listeners {
        let written = config.listeners.get(&*listener.name);
        let several = written
            .and_then(|listener| listener.tls.as_ref())
            .is_some_and(|tls| !tls.certificates.is_empty());
        if let Some(tls) = &listener.tls {
            certificates::check(tls, several, &at.key(&*listener.name).key("tls"), problems);
        }
    }
}
