//! What every command that takes a route file begins with: load, compile, and say what is wrong.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::config::Config;
use crate::config::certificates;
use crate::config::load::{ProcessEnvironment, load};
use crate::config::users;
use crate::model::path::ConfigPath;
use crate::model::problem::{Problem, Problems, Severity};
use crate::plan::Blueprint;
use crate::plan::compile::{Origin, compile};

/// A configuration as far as it could be understood.
pub struct Compiled {
    /// `None` when there are errors.
    pub blueprint: Option<Blueprint>,
    pub problems: Problems,
}

/// Loads and compiles; touches no network, and opens nothing but the files that are named.
pub fn compiled(paths: &[PathBuf]) -> Compiled {
    let loaded = load::<Config>(paths, &ProcessEnvironment);
    let mut problems = loaded.problems;
    let Some(mut config) = loaded.value else {
        return Compiled {
            blueprint: None,
            problems,
        };
    };
    let mut found = Problems::default();
    let api = loaded.sources.default_api();
    let directory = |path: &_| loaded.sources.directory(path);
    users::read(&mut config, &directory, &ProcessEnvironment, &mut problems);
    let blueprint = compile(
        &config,
        &Origin {
            api: &api,
            directory: &directory,
        },
        &mut found,
    );
    if let Some(blueprint) = &blueprint {
        certificates(&config, blueprint, &mut found);
    }
    // What is missing only because it was refused has been reported already.
    found
        .0
        .retain(|problem| !loaded.sources.refused(&problem.path));
    if config.routes.is_empty() && loaded.sources.refused_within("routes") {
        let routes = ConfigPath::root().key("routes");
        found.0.retain(|problem| problem.path != routes);
    }
    // Checks across values show what they refuse, and do not know what came from outside.
    loaded.sources.conceal(&mut found);
    problems.0.extend(found.0);
    loaded.sources.locate(&mut problems);
    let blueprint = blueprint.filter(|_| !problems.has_errors());
    Compiled {
        blueprint,
        problems,
    }
}

/// Reads the files of TLS that listeners name.
fn certificates(config: &Config, blueprint: &Blueprint, problems: &mut Problems) {
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

impl Compiled {
    /// The blueprint; problems go to standard error.
    pub fn blueprint_or_problems(self) -> Option<Blueprint> {
        for problem in &self.problems.0 {
            eprintln!("{}", shown(problem));
        }
        if self.problems.has_errors() {
            eprintln!("{}", summary(&self.problems));
        }
        self.blueprint
    }
}

/// A problem for people: on a terminal its severity stands out.
pub fn shown(problem: &Problem) -> String {
    let text = problem.to_string();
    if !std::io::stderr().is_terminal() {
        return text;
    }
    let (word, colour) = match problem.severity {
        Severity::Error => ("error:", 31),
        Severity::Warning => ("warning:", 33),
    };
    text.replacen(word, &format!("\x1b[1;{colour}m{word}\x1b[0m"), 1)
}

/// `2 errors, 1 warning`.
pub fn summary(problems: &Problems) -> String {
    let errors = problems.errors();
    let warnings = problems.0.len() - errors;
    format!(
        "{}, {}",
        counted(errors, "error"),
        counted(warnings, "warning")
    )
}

/// `1 error`, `2 errors`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Problems for programs.
pub fn to_json(problems: &Problems) -> Value {
    let problem = |problem: &Problem| {
        json!({
            "severity": problem.severity,
            "path": problem.path.to_string(),
            "message": problem.message,
            "help": problem.help,
            "file": problem.place.as_ref().map(|place| place.file.display().to_string()),
            "line": problem.place.as_ref().map(|place| place.line),
            "column": problem.place.as_ref().map(|place| place.column),
        })
    };
    problems.0.iter().map(problem).collect()
}
