//! `penstock export`: our configuration → an OpenAPI 3.0.1 document that the vendor's importer takes. What the vendor
//! has a word for is said in its words; all else stands under `x-penstock`. What goes there is found by reading the
//! document back: whatever differs from what was exported is added, so that an import of the export is the identity.

mod operation;
mod scheme;

use std::collections::BTreeSet;

use super::build::{Mapping, plain, text};
use super::emit::{self, OWN};
use super::findings::{Findings, Verdict};
use super::openapi::{self, VENDOR};
use super::value::{Named, Value};
use crate::config::load::tree::{Kind, Node};

/// What an export gave.
#[derive(Debug)]
pub struct Exported {
    /// The document.
    pub tree: Node,
    /// What the vendor would make something else of.
    pub findings: Findings,
}

/// Exports a configuration's tree as it is written, nothing substituted. `name`: of the API, where it does not name
/// itself.
pub fn export(tree: &Node, name: &str) -> Exported {
    let mut exporter = Exporter {
        config: Value::root(tree.clone()),
        findings: Findings::default(),
    };
    let document = exporter.document(name);
    Exported {
        tree: document,
        findings: exporter.findings,
    }
}

struct Exporter {
    config: Value,
    findings: Findings,
}

/// What the vendor's document gives us if nothing else is said.
const IMPLIED: [(&str, &str); 2] = [("responses", "native"), ("api", "")];

/// The time that a target has by our own default, in place of the vendor's that an import writes.
const TIMEOUT: &str = "10s";

impl Exporter {
    fn document(&mut self, name: &str) -> Node {
        let at = self.config.mark.clone();
        let api = self
            .config
            .get("api")
            .and_then(|api| api.text().map(|t| t.into_owned()));
        let title = api.unwrap_or_else(|| name.to_owned());
        // first what the vendor's words say, then what they leave out
        let vendors = self.vendors(&title, &Own::default());
        let read_back = self.read_back(vendors);
        let own = self.left_over(&read_back, &title);
        self.findings = Findings::default();
        let mut document = self.vendors(&title, &own);
        if let Some(root) = own.root {
            document.put(OWN, &at, root);
        }
        document.put(
            format!("{VENDOR}importexport-version"),
            &at,
            text("1.0", &at),
        );
        document.node()
    }

    /// The document without what is ours at its root.
    fn vendors(&mut self, title: &str, own: &Own) -> Mapping {
        let config = self.config.clone();
        let at = &config.mark;
        let mut document = Mapping::new(at);
        document.put("openapi", at, text("3.0.1", at));
        let mut info = Mapping::new(at);
        info.put("title", at, text(title, at));
        info.put("version", at, text("1.0", at));
        document.put_mapping("info", info);
        let paths = self.paths(own);
        document.put("paths", at, paths.node());
        let schemes = self.schemes();
        let mut components = Mapping::new(at);
        components.put_mapping("securitySchemes", schemes);
        document.put_mapping("components", components);
        if let Some(cors) = config.get("cors").filter(Value::is_mapping) {
            let node = self.cors(&cors);
            document.put_mapping(format!("{VENDOR}cors"), node);
        }
        document
    }

    fn cors(&mut self, cors: &Value) -> Mapping {
        let mut node = Mapping::new(&cors.mark);
        for (ours, theirs) in [
            ("allow_origins", "allowOrigins"),
            ("allow_methods", "allowMethods"),
            ("allow_headers", "allowHeaders"),
            ("expose_headers", "exposeHeaders"),
        ] {
            if let Some(names) = cors.get(ours).filter(Value::is_list) {
                node.put(theirs, &names.mark, names.node.clone());
            }
        }
        if let Some(flag) = cors.get("allow_credentials").and_then(|value| value.flag()) {
            node.put(
                "allowCredentials",
                &cors.mark,
                plain(flag.to_string(), &cors.mark),
            );
        }
        if let Some(age) = cors.get("max_age")
            && let Some(millis) = millis(&age)
        {
            node.put(
                "maxAge",
                &age.mark,
                plain((millis / 1000).to_string(), &age.mark),
            );
        }
        node
    }

    /// Our configuration as a reader of the document would see it.
    fn read_back(&self, document: Mapping) -> Value {
        let api = openapi::read(Value::root(document.node()), &mut Findings::default());
        Value::root(emit::emit(&api, &mut Findings::default()).tree)
    }

    /// What the vendor's words did not say.
    fn left_over(&mut self, read_back: &Value, title: &str) -> Own {
        let config = self.config.clone();
        let at = &config.mark;
        let mut own = Own::default();
        let mut root = Mapping::new(at);
        for (key, default) in IMPLIED {
            if config.get(key).is_none() {
                let implied = if key == "api" { title } else { default };
                let said = read_back.get(key);
                if said.is_none_or(|said| said.text().as_deref() != Some(implied)) {
                    root.put(key, at, text(implied, at));
                }
            }
        }
        for part in config.entries() {
            match part.name.as_str() {
                "routes" => {}
                "authorizers" => {
                    let mut authorizers = Mapping::new(&part.mark);
                    let known = read_back.get("authorizers");
                    for authorizer in part.value.entries() {
                        let said = known.as_ref().and_then(|known| known.get(&authorizer.name));
                        if said.is_none_or(|said| !same(&said.node, &authorizer.value.node)) {
                            authorizers.put(
                                &authorizer.name,
                                &authorizer.mark,
                                authorizer.value.node,
                            );
                        }
                    }
                    root.put_mapping("authorizers", authorizers);
                }
                "limits" => {
                    let mut limits = Mapping::new(&part.mark);
                    for limit in part.value.entries() {
                        limits.put(limit.name, &limit.mark, limit.value.node);
                    }
                    root.put("limits", &part.mark, limits.sorted());
                }
                name => {
                    let said = read_back.get(name);
                    if said.is_none_or(|said| !same(&said.node, &part.value.node)) {
                        root.put(name, &part.mark, part.value.node);
                    }
                }
            }
        }
        let timeout = config
            .get("limits")
            .and_then(|limits| limits.get("timeout"));
        if timeout.is_none() {
            let mut limits = Mapping::new(at);
            for limit in config
                .get("limits")
                .map(|l| l.entries())
                .unwrap_or_default()
            {
                limits.put(limit.name, &limit.mark, limit.value.node);
            }
            limits.put("timeout", at, text(TIMEOUT, at));
            root.put("limits", at, limits.sorted());
        }
        let routes = read_back.get("routes");
        for route in config
            .get("routes")
            .map(|r| r.entries())
            .unwrap_or_default()
        {
            let said = routes.as_ref().and_then(|routes| routes.get(&route.name));
            let said = |part: &str| said.as_ref().and_then(|said| said.get(part));
            let agrees = |part: &Named<Value>| {
                said(&part.name).is_some_and(|known| same(&known.node, &part.value.node))
            };
            let parts = route.value.entries();
            // an integration of ours takes the place of the vendor's with all that is written in it
            let called = parts.iter().find(|part| part.name == "integration");
            let replaced = called.is_some_and(|called| !agrees(called));
            let mut rest = Mapping::new(&route.mark);
            for part in parts {
                let within = ["limits", "response_parameters"].contains(&part.name.as_str());
                let known = said(&part.name).filter(|_| !(replaced && within));
                if known.is_none_or(|known| !same(&known.node, &part.value.node)) {
                    rest.put(part.name, &part.mark, part.value.node);
                }
            }
            if !rest.is_empty() {
                own.routes.push((route.name, rest.sorted()));
            }
        }
        own.root = (!root.is_empty()).then(|| root.sorted());
        own
    }

    /// Says that the vendor would make something else of a part.
    fn differs(&mut self, at: &Value, reason: impl Into<String>) {
        self.findings
            .note(Verdict::Differs, &at.mark, &at.path, reason);
    }

    /// The names of the API's authorizers.
    fn authorizer(&self, name: &str) -> Option<Value> {
        self.config.get("authorizers")?.get(name)
    }
}

/// What stands under `x-penstock`.
#[derive(Default)]
struct Own {
    root: Option<Node>,
    /// By route key.
    routes: Vec<(String, Node)>,
}

impl Own {
    fn of(&self, route: &str) -> Option<&Node> {
        let found = self.routes.iter().find(|(key, _)| key == route);
        found.map(|(_, node)| node)
    }
}

/// Whether two parts of a configuration say the same in the same words; places and quotes apart.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.kind, &b.kind) {
        (Kind::Null, Kind::Null) => true,
        (Kind::Scalar(a), Kind::Scalar(b)) => a.text() == b.text(),
        (Kind::Sequence(a), Kind::Sequence(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Kind::Mapping(a), Kind::Mapping(_)) => {
            let keys: BTreeSet<&str> = a.iter().map(|entry| entry.key.text.as_str()).collect();
            let others = b.children().count();
            keys.len() == others
                && a.iter().all(|entry| {
                    b.entry(&entry.key.text)
                        .is_some_and(|other| same(&entry.value, &other.value))
                })
        }
        _ => false,
    }
}

/// A duration of ours in whole milliseconds; `None` for one that comes from outside.
fn millis(span: &Value) -> Option<u64> {
    let span: crate::model::value::Span = span.text()?.parse().ok()?;
    u64::try_from(span.0.as_millis()).ok()
}
