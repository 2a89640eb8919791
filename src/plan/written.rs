//! From files to a blueprint: load, read the files that are named in them, compile. Done at the start, by every command
//! that takes a route file, and again when what the files draw on has changed.

use std::path::PathBuf;

use crate::aws;
use crate::config::load::{
    Environment, LoadedApis, SourceFile, Sources, load_apis, load_apis_from_texts,
};
use crate::config::{Config, OF_ONE_API, certificates, key_files, users, validation};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problem, Problems};
use crate::outbound;

use super::blueprint::Blueprint;
use super::compile::{Origin, Written, compile_apis};

/// A configuration as far as it could be understood.
pub struct Compiled {
    /// `None` when there are errors, and when it cannot be had without secrets that have not been fetched.
    pub blueprint: Option<Blueprint>,
    pub problems: Problems,
    /// The route files as they were read, nothing substituted.
    pub texts: Vec<SourceFile>,
    /// How secrets that AWS keeps can be fetched.
    pub reach: (aws::Settings, outbound::Settings),
}

/// Loads and compiles; touches no network and opens nothing.
pub fn compiled(paths: &[PathBuf], environment: &dyn Environment) -> Compiled {
    understood(
        load_apis::<Config>(paths, environment, &OF_ONE_API),
        environment,
    )
}

/// The same from texts that were read before.
pub fn compiled_again(texts: Vec<SourceFile>, environment: &dyn Environment) -> Compiled {
    understood(
        load_apis_from_texts::<Config>(texts, environment, &OF_ONE_API),
        environment,
    )
}

fn understood(loaded: LoadedApis<Config>, environment: &dyn Environment) -> Compiled {
    let LoadedApis {
        apis,
        mut problems,
        texts,
    } = loaded;
    let unread = apis.is_empty() || apis.iter().any(|api| api.value.is_none());
    let (mut configs, mut sources) = (Vec::new(), Vec::new());
    for api in apis {
        configs.extend(api.value);
        sources.push(api.sources);
    }
    let unfetched = |problem: &Problem| {
        let mut sources = sources.iter();
        sources.any(|sources| sources.unfetched(&problem.path))
    };
    if unread {
        problems.0.retain(|problem| !unfetched(problem));
        return Compiled {
            blueprint: None,
            problems,
            texts,
            reach: Default::default(),
        };
    }
    for (at, (config, sources)) in configs.iter_mut().zip(&sources).enumerate() {
        let directory = |path: &_| sources.directory(path);
        users::read(config, &directory, environment, &mut problems);
        validation::read(config, &directory, environment, &mut problems);
        // The process's keys are looked up in one table, which is made of the first API's.
        if at == 0 {
            key_files::read(config, &directory, environment, &mut problems);
        }
    }
    let mut found: Vec<Problems> = sources.iter().map(|_| Problems::default()).collect();
    let blueprint = compile(&configs, &sources, &mut found);
    if let (Some(blueprint), Some(config), Some(found)) =
        (&blueprint, configs.first(), found.first_mut())
    {
        check_certificates(config, blueprint, found);
    }
    for ((config, sources), mut found) in configs.iter().zip(&sources).zip(found) {
        // What is missing only because it was refused has been reported already.
        found.0.retain(|problem| !sources.refused(&problem.path));
        if config.routes.is_empty() && sources.refused_within("routes") {
            let routes = ConfigPath::root().key("routes");
            found.0.retain(|problem| problem.path != routes);
        }
        // Checks across values show what they refuse, and do not know what came from outside.
        sources.conceal(&mut found);
        sources.locate(&mut found);
        problems.0.extend(found.0);
    }
    problems.0.retain(|problem| !unfetched(problem));
    if let Some(sources) = sources.first() {
        sources.locate(&mut problems);
    }
    problems.without_repetitions();
    let blueprint = blueprint.filter(|_| !problems.has_errors() && !environment.has_stood_in());
    let general = configs.into_iter().next().unwrap_or_default();
    Compiled {
        blueprint,
        problems,
        texts,
        reach: (general.aws.unwrap_or_default(), general.egress),
    }
}

fn compile(configs: &[Config], sources: &[Sources], found: &mut [Problems]) -> Option<Blueprint> {
    let names: Vec<String> = sources.iter().map(Sources::default_api).collect();
    let directories: Vec<_> = sources
        .iter()
        .map(|sources| |path: &ConfigPath| sources.directory(path))
        .collect();
    let places: Vec<_> = sources
        .iter()
        .map(|sources| |path: &ConfigPath| sources.place(path))
        .collect();
    let origins: Vec<Origin<'_>> = names
        .iter()
        .zip(&directories)
        .zip(&places)
        .map(|((api, directory), place)| Origin {
            api,
            directory,
            place,
        })
        .collect();
    let written: Vec<Written<'_>> = configs
        .iter()
        .zip(&origins)
        .map(|(config, origin)| Written { config, origin })
        .collect();
    compile_apis(&written, found)
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
