//! How a configuration takes over: from what is written to [`deploy::Settings`].

use std::time::Duration;

use indexmap::IndexMap;

use crate::config::{self, Deployment, Sticky};
use crate::deploy::{RollbackOn, Settings, Strategy, Trait};
use crate::mapping::{Expression, Part, Scope, Side, Source};
use crate::model::context::{ContextVariable, Plain};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::value::Share;

use super::compile::check_variables;

/// Steps of one canary.
const MOST_STEPS: usize = 32;
const MONTH: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn compile(written: &Deployment, problems: &mut Problems) -> Settings {
    let at = ConfigPath::root().key("deployment");
    let usual = Settings::default();
    let strategy = match written.strategy.unwrap_or_default() {
        config::Strategy::All => Strategy::All,
        config::Strategy::Canary => Strategy::Canary,
    };
    let every = written.every.map_or(usual.every, |every| every.0);
    if !(Duration::from_secs(1)..=MONTH).contains(&every) {
        let said = "a step lasts 1s to 30d".to_owned();
        problems.error(&at.key("every"), said);
    }
    let steps = written.steps.clone().unwrap_or(usual.steps);
    check_steps(&steps, &at.key("steps"), problems);
    check_variables(&written.variables, &at.key("variables"), problems);
    if !written.variables.is_empty() && strategy == Strategy::All {
        problems
            .warning(
                &at.key("variables"),
                "these are the variables of a canary, and `strategy` is `all`, so they are not used",
            )
            .help("write `strategy: canary`, or put them into `stage_variables`");
    }
    let sticky = match &written.sticky {
        None => usual.sticky,
        Some(None) => Vec::new(),
        Some(Some(sticky)) => traits(sticky, &at.key("sticky"), problems),
    };
    let rollback_on = match &written.rollback_on {
        None => usual.rollback_on,
        Some(None) => None,
        Some(Some(on)) => Some(rollback_on(on, &at.key("rollback_on"), problems)),
    };
    Settings {
        strategy,
        steps,
        every,
        sticky,
        rollback_on,
    }
}

fn check_steps(steps: &[Share], at: &ConfigPath, problems: &mut Problems) {
    if steps.is_empty() || steps.len() > MOST_STEPS {
        problems
            .error(
                at,
                format!("{} steps; allowed: 1 to {MOST_STEPS}", steps.len()),
            )
            .help("write shares that grow, such as [5%, 25%, 100%]");
        return;
    }
    for (place, step) in steps.iter().enumerate() {
        let before = place
            .checked_sub(1)
            .map_or(Share::NONE, |before| steps[before]);
        if *step <= before {
            problems
                .error(
                    &at.index(place),
                    format!("{step} is no more than {before}, which comes before it"),
                )
                .help("write shares that grow, such as [5%, 25%, 100%]");
        }
    }
    if steps[0] >= Share::ALL {
        problems
            .error(&at.index(0), "a canary whose first step is 100% is none")
            .help("begin with a smaller share, or write `strategy: all`");
    }
}

/// What the expressions name.
fn traits(sticky: &Sticky, at: &ConfigPath, problems: &mut Problems) -> Vec<Trait> {
    let stage_variables = IndexMap::new();
    let scope = Scope {
        side: Side::Request,
        path_variables: &[],
        stage_variables: &stage_variables,
        webhook: None,
        integration_fields: None,
    };
    let mut traits = Vec::new();
    for (place, text) in sticky.0.iter().enumerate() {
        let at = at.index(place);
        let Some(expression) = Expression::compile(text, &at, &scope, problems) else {
            continue;
        };
        let source = match expression.parts() {
            [Part::Reference(only)] if only.default.is_none() => Some(&only.source),
            _ => None,
        };
        match source {
            Some(Source::Header(name)) => traits.push(Trait::Header(name.clone())),
            Some(Source::Query(name)) => traits.push(Trait::Query(name.clone())),
            Some(Source::Context(ContextVariable::Plain(Plain::SourceIp))) => {
                traits.push(Trait::SourceIp);
            }
            _ => {
                problems
                    .error(&at, "this is not known before a request has a deployment")
                    .help(
                        "allowed: $request.header.NAME, $request.querystring.NAME, $context.identity.sourceIp",
                    );
            }
        }
    }
    traits
}

fn rollback_on(
    written: &config::RollbackOn,
    at: &ConfigPath,
    problems: &mut Problems,
) -> RollbackOn {
    let usual = RollbackOn::default();
    if written.error_ratio.is_some_and(|ratio| ratio >= Share::ALL) {
        problems
            .error(
                &at.key("error_ratio"),
                "at 100% nothing would take the canary back",
            )
            .help("write less, or `rollback_on: false`");
    }
    if written.p99.is_some_and(|p99| p99.0.is_zero()) {
        problems.error(&at.key("p99"), "every request takes longer than that");
    }
    RollbackOn {
        error_ratio: written.error_ratio.unwrap_or(usual.error_ratio),
        refused_ratio: match written.refused_ratio {
            None => usual.refused_ratio,
            // More than all cannot be refused.
            Some(ratio) => Some(ratio).filter(|ratio| *ratio < Share::ALL),
        },
        p99: written.p99.map(|p99| p99.0),
        min_requests: written.min_requests.unwrap_or(usual.min_requests),
    }
}
