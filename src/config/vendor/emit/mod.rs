//! Model → our configuration: the located tree that a route file would have given, each value at the place where the
//! vendor's document says it. What cannot be had is a finding; `x-penstock` is laid over the rest.

mod answer;
mod authorizer;
mod aws;
mod expression;
mod integration;
mod leaf;
mod mock;
mod route;
mod stage;
mod velocity;

use std::collections::HashMap;

use super::build::{Comments, Mapping, lay, list, plain, text};
use super::findings::{Findings, Verdict};
use super::model::{Cors, HttpApi, Product};
use super::value::Value;
use crate::authn::api_key::hash::sha256;
use crate::config::load::tree::{Kind, Node};
use crate::model::path::ConfigPath;

/// What became of an API.
#[derive(Debug)]
pub struct Emitted {
    pub tree: Node,
    pub comments: Comments,
}

pub use integration::SUBTYPES;

/// The key of our own parts in a vendor's document.
pub const OWN: &str = "x-penstock";

/// What becomes of an operation that cannot be honoured: a key of `x-penstock`, at the root and in operations.
pub const ON_UNSUPPORTED: &str = "on_unsupported";

/// Keys of `x-penstock` that are not keys of a route file.
const DIRECTIVES: [&str; 2] = [ON_UNSUPPORTED, "basepath"];

/// Makes our configuration of an API.
pub fn emit(api: &HttpApi, findings: &mut Findings) -> Emitted {
    let mut emitter = Emitter {
        api,
        findings,
        comments: Comments::default(),
        unusable: HashMap::new(),
        skips: api.own.as_ref().is_some_and(skips),
    };
    let tree = emitter.root();
    Emitted {
        tree,
        comments: emitter.comments,
    }
}

/// Whether `on_unsupported: skip` is written here.
pub fn skips(own: &Value) -> bool {
    own.get(ON_UNSUPPORTED)
        .is_some_and(|value| value.word() == "skip")
}

struct Emitter<'a> {
    api: &'a HttpApi,
    findings: &'a mut Findings,
    comments: Comments,
    /// Authorizers that cannot be had, and why.
    unusable: HashMap<String, String>,
    /// Whether operations that cannot be honoured may be left out.
    skips: bool,
}

impl Emitter<'_> {
    fn root(&mut self) -> Node {
        let api = self.api;
        let at = &api.document.mark;
        let mut root = Mapping::new(at);
        if let Some((name, slug)) = api.name.as_ref().zip(named(api)) {
            root.put("api", &name.mark, text(slug, &name.mark));
        }
        self.domains(&mut root);
        self.stage(&mut root);
        root.put("responses", at, text("aws", at));
        let mut limits = Mapping::new(at);
        // the vendor's longest, and its default (reference, 2.7)
        limits.put("timeout", at, text("30s", at));
        root.put_mapping("limits", limits);
        if let Some(cors) = &api.cors {
            root.put("cors", &cors.at.mark, self.cors(cors));
        }
        self.stage_throttle(&mut root);
        let authorizers = self.authorizers();
        root.put_mapping("authorizers", authorizers);
        if let Some(policy) = &api.policy {
            root.put("policy", &policy.mark, policy.node.clone());
            self.maps(policy, "policy");
        }
        self.plans(&mut root);
        let mut refusals = Mapping::new(at);
        for response in &api.gateway_responses {
            self.gateway_response(response, &mut refusals);
        }
        root.put_mapping("error_responses", refusals);
        let routes = self.routes();
        root.put("routes", at, routes.node());
        self.access_log(&mut root);
        if api.product == Product::Rest {
            self.findings.note(
                Verdict::Ignored,
                at,
                &api.document.path,
                "this describes a REST API: refusals have the statuses and bodies of HTTP APIs here (404 `{\"message\":\"Not Found\"}` where no route matches, say)",
            );
        }
        let mut root = root.node();
        if let Some(own) = &api.own {
            self.own(&mut root, own);
        }
        root
    }

    /// Lays `x-penstock` over what the document gave.
    fn own(&mut self, onto: &mut Node, own: &Value) {
        let mut over = own.node.clone();
        let Kind::Mapping(entries) = &mut over.kind else {
            self.findings.note(
                Verdict::Missing,
                &own.mark,
                &own.path,
                format!("`{OWN}` holds no mapping, expected keys of a route file"),
            );
            return;
        };
        entries.retain(|entry| !DIRECTIVES.contains(&entry.key.text.as_str()));
        lay(onto, &over);
    }

    fn cors(&mut self, cors: &Cors) -> Node {
        let mut node = Mapping::new(&cors.at.mark);
        for (key, values) in [
            ("allow_origins", &cors.allow_origins),
            ("allow_methods", &cors.allow_methods),
            ("allow_headers", &cors.allow_headers),
            ("expose_headers", &cors.expose_headers),
        ] {
            if let Some(first) = values.first() {
                let items = values.iter().filter_map(|value| self.leaf(value)).collect();
                node.put(key, &first.mark, list(items, &first.mark));
            }
        }
        if let Some(credentials) = &cors.allow_credentials {
            let node_value = self.flag(credentials);
            node.put_some("allow_credentials", &credentials.mark, node_value);
        }
        if let Some(max_age) = &cors.max_age {
            // -1 asks browsers to keep nothing, as 0 does
            let seconds = match max_age.word().as_str() {
                "-1" => Some(text("0s", &max_age.mark)),
                _ => self.seconds(max_age),
            };
            node.put_some("max_age", &max_age.mark, seconds);
        }
        self.strangers(&cors.others, "of CORS");
        self.maps(&cors.at, "cors");
        node.node()
    }

    /// Usage plans, and the keys in them.
    fn plans(&mut self, root: &mut Mapping) {
        let api = self.api;
        let at = &api.document.mark;
        let mut plans = Mapping::new(at);
        for plan in &api.usage_plans {
            let mark = &plan.value.at.mark;
            let mut node = Mapping::new(mark);
            if let Some(throttle) = self.throttle(&plan.value.throttle, mark) {
                node.put("throttle", mark, throttle);
            }
            let mut routes = Mapping::new(mark);
            for route in &plan.value.route_throttles {
                if let Some(throttle) = self.throttle(&route.value, &route.mark) {
                    routes.put(&route.name, &route.mark, throttle);
                }
            }
            node.put_mapping("routes", routes);
            if let Some(limit) = &plan.value.quota_limit {
                let mut quota = Mapping::new(&limit.mark);
                let number = self.number(limit);
                quota.put_some("limit", &limit.mark, number);
                if let Some(period) = &plan.value.quota_period {
                    quota.put("period", &period.mark, text(period.word(), &period.mark));
                    if period.word() == "week" {
                        self.findings.note(
                            Verdict::Noted,
                            &period.mark,
                            &period.path,
                            "weeks begin on Monday here",
                        );
                    }
                }
                if let Some(offset) = &plan.value.quota_offset {
                    let number = self.number(offset);
                    quota.put_some("offset", &offset.mark, number);
                }
                node.put_mapping("quota", quota);
            }
            if let Some(description) = &plan.value.description {
                let leaf = self.leaf(description);
                node.put_some("description", &description.mark, leaf);
            }
            self.maps(&plan.value.at, format!("usage_plans.{}", plan.name));
            plans.put(&plan.name, mark, node.node());
        }
        root.put_mapping("usage_plans", plans);
        let mut keys = Mapping::new(at);
        for key in &api.api_keys {
            let path = ConfigPath::root().key("api_keys").key(&key.name);
            let Some(value) = key.value.as_ref().and_then(Value::text) else {
                self.findings
                    .note(
                        Verdict::Missing,
                        &key.at.mark,
                        &key.at.path,
                        format!(
                            "the API key `{}` is made by the vendor: the document does not hold it",
                            key.name
                        ),
                    )
                    .help(format!(
                        "hash it (`penstock keys hash`) and write it under `{path}`"
                    ));
                continue;
            };
            let mark = &key.at.mark;
            let mut node = Mapping::new(mark);
            node.put("hash", mark, text(hashed(&value), mark));
            if let Some(plan) = &key.plan {
                node.put("plan", mark, text(plan, mark));
            }
            if let Some(enabled) = &key.enabled {
                let flag = self.flag(enabled);
                node.put_some("enabled", &enabled.mark, flag);
            }
            if let Some(description) = &key.description {
                let leaf = self.leaf(description);
                node.put_some("description", &description.mark, leaf);
            }
            self.maps(&key.at, path.to_string());
            keys.put(&key.name, mark, node.node());
        }
        root.put_mapping("api_keys", keys);
    }
}

/// A key's hash as `api_keys` holds it.
fn hashed(key: &str) -> String {
    let digest = sha256(&[key.as_bytes()]);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// What an API calls itself. A name that nobody knows yet is none: that of the file, or of the resource, serves.
pub fn named(api: &HttpApi) -> Option<String> {
    let name = api.name.as_ref().filter(|name| !name.node.has_unfetched());
    let written = name.and_then(Value::text)?;
    let slug = slug(&written);
    (!slug.is_empty() && leaf::placeholder(&written).is_none()).then_some(slug)
}

/// A title as a name: `My Orders API` is `my-orders-api`.
pub fn slug(title: &str) -> String {
    let mut slug = String::new();
    for c in title.trim().chars() {
        match c {
            c if c.is_ascii_alphanumeric() => slug.push(c.to_ascii_lowercase()),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// Seconds as our durations are written.
fn span(seconds: u64, at: &Value) -> Node {
    text(format!("{seconds}s"), &at.mark)
}

fn number_node(number: impl ToString, at: &Value) -> Node {
    plain(number.to_string(), &at.mark)
}
