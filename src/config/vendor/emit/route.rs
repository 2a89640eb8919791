//! Routes: who may come in, within what limits, and what is called.

use super::{Emitter, ON_UNSUPPORTED, skips};
use crate::config::load::tree::{Kind, Node};
use crate::config::vendor::build::{Mapping, lay, list, text};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::{Required, Requirement, Route};
use crate::config::vendor::value::Value;
use crate::model::path::ConfigPath;
use crate::model::problem::nearest;
use crate::model::route_key::RouteKey;

impl Emitter<'_> {
    pub(super) fn routes(&mut self) -> Mapping {
        let api = self.api;
        let mut routes = Mapping::new(&api.document.mark);
        for route in &api.routes {
            let excused = self.skips || route.own.as_ref().is_some_and(skips);
            self.findings.enter(excused);
            let before = (self.findings.errors(), self.findings.missing());
            let node = self.route(route);
            let (errors, missing) = (self.findings.errors(), self.findings.missing());
            self.findings.leave();
            let path = ConfigPath::root().key("routes").key(&route.key);
            // an operator who lets operations be left out wants none that behaves differently, either
            if missing > before.1 || (excused && errors > before.0) {
                continue;
            }
            if let Some(summary) = route.summary.as_ref().and_then(Value::text) {
                self.comments
                    .add(&path, summary.lines().next().unwrap_or_default());
            }
            if routes.contains(&route.key) {
                self.findings.note(
                    Verdict::Missing,
                    &route.at.mark,
                    &route.at.path,
                    format!("the route `{}` is there twice", route.key),
                );
                continue;
            }
            let what = match node.entry("integration").map(|entry| &entry.value.kind) {
                Some(Kind::Mapping(entries)) => entries
                    .first()
                    .map(|entry| entry.key.text.clone())
                    .unwrap_or_default(),
                _ => "no integration".to_owned(),
            };
            self.maps(&route.at, format!("{}: {what}", route.key));
            routes.put(&route.key, &route.at.mark, node);
        }
        routes
    }

    fn route(&mut self, route: &Route) -> Node {
        let at = &route.at.mark;
        let mut node = Mapping::new(at);
        if let Err(reason) = route.key.parse::<RouteKey>() {
            self.findings
                .note(Verdict::Missing, at, &route.at.path, reason);
        }
        if route.key.ends_with('/') && !route.key.ends_with(" /") {
            self.findings.note(
                Verdict::Ignored,
                at,
                &route.at.path,
                format!(
                    "the vendor drops a path that ends in `/`; `{}` is served here",
                    route.key
                ),
            );
        }
        let own = route.own.as_ref();
        let has_own = |key: &str| own.is_some_and(|own| own.get(key).is_some());
        if !has_own("authorizer") {
            self.access(route, &mut node);
        }
        let throttle = match self.throttle(&route.throttle, at) {
            Some(throttle) => Some(throttle),
            None => self.stage_override(&route.key),
        };
        node.put_some("throttle", at, throttle);
        self.validation(route, &mut node);
        match &route.integration {
            _ if own.is_some_and(names_an_integration) || has_own("integrations") => {}
            Some(integration) => self.integration(route, integration, &mut node),
            None => {
                self.findings
                    .note(
                        Verdict::Missing,
                        at,
                        &route.at.path,
                        "no `x-amazon-apigateway-integration`: the route calls nothing",
                    )
                    .help("write one, or an `integration` under `x-penstock`");
            }
        }
        self.strangers(&route.others, "of a route");
        let mut node = node.node();
        if let Some(own) = own {
            let mut over = own.node.clone();
            match &mut over.kind {
                Kind::Mapping(entries) => {
                    entries.retain(|entry| entry.key.text != ON_UNSUPPORTED);
                    lay(&mut node, &over);
                }
                _ => {
                    self.wants::<()>(own, "a mapping with keys of a route");
                }
            }
        }
        node
    }

    /// The stage's own bucket of one route.
    fn stage_override(&mut self, key: &str) -> Option<Node> {
        let api = self.api;
        let stage = api.stages.first()?;
        let route = stage.route_throttles.iter().find(|r| r.name == key)?;
        self.throttle(&route.value, &route.mark)
    }

    /// Who may use the route.
    fn access(&mut self, route: &Route, node: &mut Mapping) {
        let at = &route.at.mark;
        let (mut names, mut asked) = (Vec::new(), None);
        for requirement in &route.access.required {
            let mark = &requirement.at.mark;
            match &requirement.kind {
                Required::ApiKey => {
                    self.keys_are_missing(requirement);
                    names.push(text("api_key", mark));
                }
                Required::Iam => {
                    if self.declares("aws_iam") {
                        names.push(text("aws_iam", mark));
                    } else {
                        self.cannot(
                            requirement,
                            "the vendor knows who may sign (AWS_IAM), and the document does not say it",
                            "declare `authorizers.aws_iam: { sigv4: { credentials: users.yaml } }` under `x-penstock`",
                        );
                    }
                }
                Required::Authorizer { name, scopes } => {
                    let declared = self.api.authorizers.iter().any(|known| known.name == *name);
                    if !declared && !self.declares(name) {
                        let known: Vec<&str> = self
                            .api
                            .authorizers
                            .iter()
                            .map(|a| a.name.as_str())
                            .collect();
                        let help = match nearest(name, known) {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => format!("declare `authorizers.{name}` under `x-penstock`"),
                        };
                        self.cannot(
                            requirement,
                            &format!("the authorizer `{name}` is not declared"),
                            &help,
                        );
                        continue;
                    }
                    if let Some(reason) = self.unusable.get_mut(name) {
                        // why it cannot is said once, that a route lacks it at each
                        let reason = std::mem::replace(reason, "as said above".to_owned());
                        self.cannot(
                            requirement,
                            &format!("the authorizer `{name}` cannot be had: {reason}"),
                            &format!("declare `authorizers.{name}` under `x-penstock`, or write `x-penstock: {{ authorizer: none }}` here to let everyone in"),
                        );
                        continue;
                    }
                    names.push(text(name, mark));
                    let scopes: Vec<Node> = scopes.iter().filter_map(|s| self.leaf(s)).collect();
                    if !scopes.is_empty() {
                        asked = Some(list(scopes, mark));
                    }
                }
            }
        }
        match names.len() {
            0 if route.access.open => node.put("authorizer", at, text("none", at)),
            0 => {}
            1 => node.put_some("authorizer", at, names.pop()),
            _ => node.put("authorizer", at, list(names, at)),
        }
        node.put_some("scopes", at, asked);
    }

    fn cannot(&mut self, requirement: &Requirement, reason: &str, help: &str) {
        self.findings
            .note(
                Verdict::Missing,
                &requirement.at.mark,
                &requirement.at.path,
                reason,
            )
            .help(help);
    }

    /// Says that a key is asked for and that there is none.
    fn keys_are_missing(&mut self, requirement: &Requirement) {
        let own = self.api.own.as_ref();
        let has = |key: &str| own.is_some_and(|own| own.get(key).is_some());
        if self.api.api_keys.is_empty() && !has("api_keys") && !has("api_key_files") {
            self.findings
                .note(
                    Verdict::Ignored,
                    &requirement.at.mark,
                    &requirement.at.path,
                    "an API key is asked for, and the document holds none: until one is declared everyone is refused",
                )
                .help("write `api_keys` or `api_key_files`; `penstock keys` makes and hashes keys");
        }
    }

    /// Whether `x-penstock` declares an authorizer.
    pub(super) fn declares(&self, name: &str) -> bool {
        let own = self.api.own.as_ref();
        own.and_then(|own| own.get("authorizers"))
            .is_some_and(|authorizers| authorizers.get(name).is_some())
    }

    /// What a request has to bring.
    fn validation(&mut self, route: &Route, node: &mut Mapping) {
        let asked = &route.validation;
        if let Some(schema) = &asked.body {
            let at = &schema.mark;
            let mut whole = Mapping::new(at);
            whole.put("$schema", at, text(DIALECT, at));
            whole.put("allOf", at, list(vec![schema.node.clone()], at));
            // references go from the document's root, which the schema is here
            let components = self.api.document.get("components");
            if let Some(schemas) = components.and_then(|components| components.get("schemas")) {
                let mut components = Mapping::new(&schemas.mark);
                let kept = referred(&schema.node, &schemas);
                components.put_mapping("schemas", kept);
                whole.put_mapping("components", components);
            }
            node.put("schema", at, whole.node());
        }
        let mut required = Mapping::new(&route.at.mark);
        for (key, names) in [("headers", &asked.headers), ("query", &asked.query)] {
            if let Some(first) = names.first() {
                let items = names.iter().filter_map(|name| self.leaf(name)).collect();
                required.put(key, &first.mark, list(items, &first.mark));
            }
        }
        node.put_mapping("required", required);
    }
}

/// The document's schemas that a schema refers to, and those that these refer to.
fn referred(schema: &Node, schemas: &Value) -> Mapping {
    let mut kept = Mapping::new(&schemas.mark);
    let mut waiting = vec![schema];
    while let Some(node) = waiting.pop() {
        waiting.extend(node.children());
        let reference = node.entry("$ref").map(|entry| &entry.value.kind);
        let Some(Kind::Scalar(reference)) = reference else {
            continue;
        };
        let reference = reference.text();
        let Some(rest) = reference.strip_prefix("#/components/schemas/") else {
            continue;
        };
        let name = rest.split('/').next().unwrap_or_default();
        let name = name.replace("~1", "/").replace("~0", "~");
        if let Some(entry) = schemas.node.entry(&name).filter(|_| !kept.contains(&name)) {
            kept.put(&name, &entry.key.mark, entry.value.clone());
            waiting.push(&entry.value);
        }
    }
    kept
}

/// What schemas in OpenAPI 3.0 mean.
const DIALECT: &str = "https://spec.openapis.org/oas/3.0/schema/2021-09-28";

/// Whether the route's own part says what is called, rather than only adding a key beside the tag.
fn names_an_integration(own: &Value) -> bool {
    own.get("integration").is_some_and(|integration| {
        integration
            .entries()
            .iter()
            .any(|entry| entry.name.contains('-') || entry.name == "Mock")
            || integration.text().is_some()
    })
}
