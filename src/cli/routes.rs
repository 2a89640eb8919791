//! `penstock routes`: the routes of a configuration, in the order in which they are matched by key.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::load::{Names, blueprint_or_problems, compiled_with};
use super::table::table;
use super::{Exit, print};
use crate::forward::AckMode;
use crate::integration::Integration;
use crate::model::value::{ByteSize, Span};
use crate::plan::blueprint::{ApiBlueprint, RouteBlueprint};
use crate::plan::throttle::{ConcurrencySpec, ThrottleSpec};
use crate::plan::{Blueprint, Host};

/// Print the routes of a configuration as a table
#[derive(Debug, Args)]
pub struct Routes {
    /// Route files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    names: Names,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Routes {
    pub fn run(&self) -> Exit {
        let Some(blueprint) = blueprint_or_problems(compiled_with(&self.files, &self.names)) else {
            return Exit::Problems;
        };
        if self.json {
            print(&format!("{:#}\n", plan_json(&blueprint)));
        } else {
            print(&routes_table(&blueprint));
        }
        Exit::Ok
    }
}

/// The routes for people: a table for each API, where there are several.
pub fn routes_table(blueprint: &Blueprint) -> String {
    if let [only] = blueprint.apis.as_slice() {
        return table_of(only);
    }
    let tables = blueprint.apis.iter().map(|api| {
        let (name, stage) = (&api.name, &api.stage.0);
        format!(
            "{name}, stage {stage}: {}\n{}",
            found_at(api).join(", "),
            table_of(api)
        )
    });
    tables.collect::<Vec<_>>().join("\n")
}

/// The hosts and base paths of an API.
fn found_at(api: &ApiBlueprint) -> Vec<String> {
    let places = |host: &Host| {
        let host = match host {
            Host::Any => "*".to_owned(),
            named => named.to_string(),
        };
        let bases = api.mount.base_paths.iter();
        bases
            .map(move |base| format!("{host}{base}/"))
            .collect::<Vec<_>>()
    };
    api.mount.hosts.iter().flat_map(places).collect()
}

fn table_of(api: &ApiBlueprint) -> String {
    let rows: Vec<Vec<String>> = api
        .routes
        .iter()
        .map(|route| {
            let authorizers: Vec<&str> = route
                .authorizers
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            vec![
                with_questions(route),
                joined(route, Integration::kind),
                joined(route, Integration::target_label),
                route.ack.mode.name().to_owned(),
                if authorizers.is_empty() {
                    "-".to_owned()
                } else {
                    authorizers.join(", ")
                },
                throttles(route),
                ByteSize(route.limits.body).to_string(),
                Span(route.limits.timeout).to_string(),
            ]
        })
        .collect();
    table(
        &[
            "ROUTE",
            "INTEGRATION",
            "TARGET",
            "ACK",
            "AUTHORIZER",
            "THROTTLE",
            "BODY",
            "TIMEOUT",
        ],
        &rows,
    )
}

/// The route key, and the methods by which a webhook's sender asks its questions.
fn with_questions(route: &RouteBlueprint) -> String {
    let methods = route.questions.iter().map(|key| {
        let key = key.to_string();
        let method = key.split(' ').next().unwrap_or_default();
        format!(" +{method}")
    });
    route.key.to_string() + &methods.collect::<String>()
}

/// The route's buckets, one after the other.
fn throttles(route: &RouteBlueprint) -> String {
    let buckets: Vec<String> = route.throttles.iter().map(ThrottleSpec::describe).collect();
    if buckets.is_empty() {
        return "-".to_owned();
    }
    buckets.join("; ")
}

fn throttle_json(throttle: &ThrottleSpec) -> Value {
    json!({
        "name": &*throttle.name,
        "rate": throttle.bucket.rate,
        "burst": throttle.bucket.burst,
        "per": throttle.key.as_ref().map(ToString::to_string),
        "dryRun": throttle.dry_run,
        "shared": throttle.shared.as_ref().map(|shared| shared.address.to_string()),
    })
}

fn concurrency_json(limit: &ConcurrencySpec) -> Value {
    json!({
        "limit": limit.limit,
        "per": limit.key.as_ref().map(ToString::to_string),
        "dryRun": limit.dry_run,
    })
}

/// The same of each target, one after the other.
fn joined(route: &RouteBlueprint, word: fn(&Integration) -> &str) -> String {
    let words: Vec<&str> = route.targets().map(word).collect();
    words.join(", ")
}

fn ack_json(route: &RouteBlueprint) -> Value {
    let ack = route.ack;
    json!({
        "mode": ack.mode.name(),
        "budgetSeconds": (ack.mode == AckMode::TargetOrSpool).then_some(ack.budget.as_secs_f64()),
        "order": (ack.mode != AckMode::Target).then(|| ack.order.name()),
    })
}

/// The plan for programs. Nothing that came from a secret is in it.
pub fn plan_json(blueprint: &Blueprint) -> Value {
    let apis: Vec<Value> = blueprint.apis.iter().map(api_json).collect();
    match <[Value; 1]>::try_from(apis) {
        Ok([only]) => only,
        Err(several) => json!({ "apis": several }),
    }
}

fn api_json(api: &ApiBlueprint) -> Value {
    let routes: Vec<Value> = api
        .routes
        .iter()
        .map(|route| {
            let authorizers: Vec<&str> = route.authorizers.iter().map(|(name, _)| name.as_str()).collect();
            let targets: Vec<Value> = route
                .targets()
                .map(|target| json!({ "integration": target.kind(), "target": target.target_label() }))
                .collect();
            json!({
                "route": route.key.to_string(),
                "handshakes": route.questions.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "integration": route.integration.kind(),
                "target": route.integration.target_label().to_owned(),
                "targets": targets,
                "ack": ack_json(route),
                "authorizers": authorizers,
                "throttles": route.throttles.iter().map(throttle_json).collect::<Vec<_>>(),
                "concurrency": route.concurrency.iter().map(concurrency_json).collect::<Vec<_>>(),
                "limits": {
                    "bodyBytes": route.limits.body,
                    "bodyTimeoutSeconds": route.limits.body_timeout.as_secs_f64(),
                    "timeoutSeconds": route.limits.timeout.as_secs_f64(),
                },
            })
        })
        .collect();
    json!({
        "api": &*api.name,
        "stage": api.stage.0,
        "hosts": api.mount.hosts.iter().filter(|host| **host != Host::Any).map(ToString::to_string).collect::<Vec<_>>(),
        "basePaths": api.mount.base_paths.iter().filter(|base| !base.is_empty()).collect::<Vec<_>>(),
        "routes": routes,
    })
}
