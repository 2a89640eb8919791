//! What another configuration would change: which routes come and go, and of those that stay what callers would notice and
//! which parameters are written otherwise.
//!
//! What callers notice is taken from the blueprints, so defaults count. Parameters are taken from the files as they were
//! written, before substitution: nothing that comes from outside is in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::blueprint::{ApiBlueprint, Blueprint, RouteBlueprint};
use crate::config::load::{LoadedApi, SourceFile, load_apis_from_texts};
use crate::config::{Dialect, OF_ONE_API};
use crate::forward::AckMode;
use crate::model::route_key::RouteKey;
use crate::model::value::{ByteSize, Span};

/// The most that is shown of a value, in characters.
const SHOWN: usize = 200;
/// Stands in for `${` while files are read as they are written.
const VEIL: &str = "\u{e000}{";
/// Keys whose values are not shown, for they can be secrets that somebody wrote into the file.
const VEILED: [&str; 9] = [
    "secret",
    "secrets",
    "token",
    "hash",
    "shared",
    "password",
    "key",
    "client_secret",
    "secret_access_key",
];

/// What another configuration would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Route keys.
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<RouteChange>,
    /// Paths of what is written otherwise, outside the routes.
    pub settings: Vec<String>,
}

/// What changes of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChange {
    pub route: String,
    /// What callers would notice.
    pub noticed: Vec<Notice>,
    /// What is written otherwise.
    pub parameters: Vec<Parameter>,
}

/// Something that callers would notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// `status`, `answer`, `auth`, `limits`, `target`, `ack`, `mapping`, `reach`.
    pub what: String,
    pub before: String,
    pub after: String,
}

/// A parameter that is written otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Below the route.
    pub path: String,
    /// `None`: it was not written.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// A configuration, as it runs and as it is written.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    pub blueprint: &'a Blueprint,
    pub texts: &'a [SourceFile],
}

impl Changes {
    /// What `new` changes.
    pub fn between(old: Written<'_>, new: Written<'_>) -> Changes {
        let mut changes = Changes::default();
        let (before, after) = (routes(old.blueprint), routes(new.blueprint));
        let (was, is) = (trees(old.texts), trees(new.texts));
        changes.added = after
            .keys()
            .filter(|key| !before.contains_key(*key))
            .cloned()
            .collect();
        changes.removed = before
            .keys()
            .filter(|key| !after.contains_key(*key))
            .cloned()
            .collect();
        for (key, route) in &after {
            let Some(other) = before.get(key) else {
                continue;
            };
            let mut parameters = Vec::new();
            differing(
                written(&was, *other),
                written(&is, *route),
                String::new(),
                &mut parameters,
            );
            let mut noticed = noticed(*other, *route);
            let in_call = |parameter: &Parameter| parameter.path.starts_with("integration");
            let elsewhere = noticed.iter().any(|notice| notice.what == "target");
            if !elsewhere && parameters.iter().any(in_call) {
                noticed.push(Notice {
                    what: "mapping".to_owned(),
                    before: "other parameters".to_owned(),
                    after: "new parameters".to_owned(),
                });
            }
            if !noticed.is_empty() || !parameters.is_empty() {
                changes.changed.push(RouteChange {
                    route: key.clone(),
                    noticed,
                    parameters,
                });
            }
        }
        let mut settings = Vec::new();
        differing(
            Some(&without_routes(was)),
            Some(&without_routes(is)),
            String::new(),
            &mut settings,
        );
        changes.settings = settings
            .into_iter()
            .map(|parameter| parameter.path)
            .collect();
        changes
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }

    /// `1 route added, 2 changed`.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        for (count, what) in [
            (self.added.len(), "added"),
            (self.removed.len(), "removed"),
            (self.changed.len(), "changed"),
        ] {
            if count > 0 {
                let noun = match (parts.is_empty(), count) {
                    (false, _) => "",
                    (true, 1) => " route",
                    (true, _) => " routes",
                };
                parts.push(format!("{count}{noun} {what}"));
            }
        }
        if !self.settings.is_empty() {
            parts.push(format!("settings: {}", self.settings.join(", ")));
        }
        if parts.is_empty() {
            return "nothing changes".to_owned();
        }
        parts.join(", ")
    }
}

/// Every route by what it is called among all: with its API's name where there are several.
fn routes(blueprint: &Blueprint) -> BTreeMap<String, Of<'_>> {
    let alone = blueprint.apis.len() == 1;
    let mut routes = BTreeMap::new();
    for api in &blueprint.apis {
        for route in &api.routes {
            let key = match alone {
                true => route.key.to_string(),
                false => format!("{}: {}", api.name, route.key),
            };
            routes.insert(key, (api, route));
        }
    }
    routes
}

type Of<'a> = (&'a ApiBlueprint, &'a RouteBlueprint);

/// Something about a route, in words.
type Fact = fn(Of<'_>) -> String;

/// What callers would notice.
fn noticed(old: Of<'_>, new: Of<'_>) -> Vec<Notice> {
    let mut noticed = Vec::new();
    let mut note = |what: &str, before: String, after: String| {
        noticed.push(Notice {
            what: what.to_owned(),
            before,
            after,
        });
    };
    let facts: [(&str, Fact); 5] = [
        ("status", status),
        ("auth", auth),
        ("limits", limits),
        ("target", target),
        ("ack", ack),
    ];
    for (what, fact) in facts {
        let (before, after) = (fact(old), fact(new));
        if before != after {
            note(what, before, after);
        } else if what == "auth" && auth_differs(old, new) {
            note(what, before, format!("{after}, with other settings"));
        }
    }
    if old.1.response != new.1.response && status(old) == status(new) {
        note("answer", "as it was".to_owned(), "other headers".to_owned());
    }
    let open = |of: Of<'_>| {
        let on = of.1.listeners.as_ref();
        let on = on.map_or_else(|| "every listener".to_owned(), |names| names.join(", "));
        let access = if of.1.access.is_open() {
            ""
        } else {
            ", by address"
        };
        format!("{on}{access}")
    };
    if open(old) != open(new) || old.1.access != new.1.access {
        note("reach", open(old), open(new));
    }
    noticed
}

/// Whether two integrations make the same calls. Nothing of what is compared is shown.
fn auth_differs(old: Of<'_>, new: Of<'_>) -> bool {
    old.1.authorizers != new.1.authorizers
        || format!("{:?}", old.1.policies) != format!("{:?}", new.1.policies)
}

fn status((api, route): Of<'_>) -> String {
    let own = route
        .response
        .status
        .map(|status| status.as_u16().to_string());
    let dialect = match api.dialect {
        Dialect::Native => "native",
        Dialect::Aws => "aws",
    };
    let usual = match api.dialect {
        Dialect::Native if route.integration.stores() => "202",
        Dialect::Native => "the target's, or 200",
        Dialect::Aws => "the service's",
    };
    let mapped = route.response.mappings.keys();
    let mapped: Vec<String> = mapped.map(|status| format!(", {status} mapped")).collect();
    format!(
        "{} ({dialect}){}",
        own.as_deref().unwrap_or(usual),
        mapped.concat()
    )
}

fn auth((_, route): Of<'_>) -> String {
    let names = route.authorizers.iter().map(|(name, _)| name.as_str());
    let mut said = names.collect::<Vec<_>>().join(", ");
    if said.is_empty() {
        said.push_str("none");
    }
    if !route.scopes.is_empty() {
        said += &format!("; one of the scopes {}", route.scopes.join(", "));
    }
    if !route.policies.is_empty() {
        said += &format!("; {} resource policies", route.policies.len());
    }
    said
}

fn limits((_, route): Of<'_>) -> String {
    let own = route.limits;
    let mut said = format!(
        "body {}, timeout {}, body timeout {}",
        ByteSize(own.body),
        Span(own.timeout),
        Span(own.body_timeout)
    );
    for throttle in &route.throttles {
        said += &format!("; {}", throttle.describe());
    }
    for limit in &route.concurrency {
        said += &format!("; {} at once", limit.limit);
    }
    said
}

fn target((_, route): Of<'_>) -> String {
    let each = route.targets();
    let each = each.map(|target| format!("{} {}", target.kind(), target.target_label()));
    each.collect::<Vec<_>>().join(", ").trim_end().to_owned()
}

fn ack((_, route): Of<'_>) -> String {
    let mut said = match route.ack.mode {
        AckMode::Target => "target".to_owned(),
        _ => route.ack.to_string(),
    };
    if let Some(once) = &route.idempotency {
        said += &format!(
            "; once for each idempotency key, for {}{}",
            Span(once.ttl),
            if once.required {
                ", which is required"
            } else {
                ""
            }
        );
    }
    said
}

/// Each API as it is written, by its name. What is wrong with the files has been said elsewhere.
fn trees(texts: &[SourceFile]) -> BTreeMap<String, Value> {
    let veiled = texts.iter().map(|file| SourceFile {
        path: file.path.clone(),
        text: file.text.replace("${", VEIL),
    });
    let nothing: BTreeMap<String, String> = BTreeMap::new();
    let loaded = load_apis_from_texts::<Value>(veiled.collect(), &nothing, &OF_ONE_API);
    let named = |api: LoadedApi<Value>| {
        let tree = api.value.unwrap_or_default();
        let name = tree.get("api").and_then(Value::as_str).map(str::to_owned);
        (name.unwrap_or_else(|| api.sources.default_api()), tree)
    };
    loaded.apis.into_iter().map(named).collect()
}

/// A route as it is written.
fn written<'t>(trees: &'t BTreeMap<String, Value>, (api, route): Of<'_>) -> Option<&'t Value> {
    let routes = trees.get(&*api.name)?.get("routes")?.as_object()?;
    let is_it = |text: &&String| text.parse::<RouteKey>().is_ok_and(|own| own == route.key);
    routes.get(routes.keys().find(is_it)?)
}

fn without_routes(mut trees: BTreeMap<String, Value>) -> Value {
    for tree in trees.values_mut() {
        if let Some(all) = tree.as_object_mut() {
            all.remove("routes");
        }
    }
    // Of one API, paths are as they stand in its file.
    match trees.len() {
        1 => trees.into_values().next().unwrap_or_default(),
        _ => trees.into_iter().collect::<serde_json::Map<_, _>>().into(),
    }
}

/// Every leaf that is written otherwise.
fn differing(
    before: Option<&Value>,
    after: Option<&Value>,
    path: String,
    out: &mut Vec<Parameter>,
) {
    if before == after {
        return;
    }
    let below = |path: &str, key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    let members = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    match (members(before), members(after)) {
        (Some(old), Some(new)) => {
            let mut keys: Vec<&String> = old.keys().collect();
            keys.extend(new.keys().filter(|key| !old.contains_key(*key)));
            for key in keys {
                differing(old.get(key), new.get(key), below(&path, key), out);
            }
        }
        _ => {
            let veiled = path
                .rsplit('.')
                .next()
                .is_some_and(|key| VEILED.contains(&key));
            let text = |value: &Value| {
                if veiled {
                    return "(not shown)".to_owned();
                }
                shown(value)
            };
            out.push(Parameter {
                before: before.map(text),
                after: after.map(text),
                path,
            });
        }
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = text.replace(VEIL, "${");
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
#[path = "change/tests.rs"]
mod tests;
