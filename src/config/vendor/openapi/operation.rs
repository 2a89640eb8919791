//! Paths and operations → routes.

use super::{Reader, VENDOR};
use crate::config::vendor::emit::{self, OWN};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::{Route, Throttle};
use crate::config::vendor::value::Value;

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// Extensions of an operation that are read.
const READ: [&str; 5] = [
    "integration",
    "auth",
    "request-validator",
    "any-method",
    "documentation",
];

impl Reader<'_> {
    /// The routes; `base` goes before every path.
    pub(super) fn routes(&mut self, root: &Value, base: &str) -> Vec<Route> {
        let Some(paths) = root.get("paths") else {
            self.note(Verdict::Missing, root, "the document has no `paths`");
            return Vec::new();
        };
        let skips = root.get(OWN).is_some_and(|own| emit::skips(&own));
        let mut routes = Vec::new();
        for path in paths.entries() {
            if path.name.starts_with("x-") {
                continue;
            }
            let Some(item) = self.followed(path.value) else {
                continue;
            };
            for part in item.entries() {
                let name = part.name.as_str();
                let method = match name.strip_prefix(VENDOR) {
                    Some("any-method") => "ANY".to_owned(),
                    Some(_) => {
                        let reason = format!("`{name}` is not known here, and is ignored");
                        self.note(Verdict::Ignored, &part.value, reason);
                        continue;
                    }
                    None if METHODS.contains(&name) => name.to_uppercase(),
                    None if METHODS.contains(&name.to_lowercase().as_str()) => {
                        let reason =
                            format!("`{name}` is no method: OpenAPI writes them in small letters");
                        self.note(Verdict::Missing, &part.value, reason)
                            .help(format!("write `{}`", name.to_lowercase()));
                        continue;
                    }
                    None => {
                        let known = ["summary", "description", "parameters", "servers", "$ref"];
                        if !known.contains(&name) && !name.starts_with("x-") {
                            let reason = format!("`{name}` is no part of a path, and is ignored");
                            self.note(Verdict::Ignored, &part.value, reason);
                        }
                        continue;
                    }
                };
                if method == "TRACE" {
                    self.note(
                        Verdict::Missing,
                        &part.value,
                        "the vendor has no routes for TRACE",
                    );
                    continue;
                }
                let path = match path.name.as_str() {
                    name if is_default(name) => name.to_owned(),
                    name => format!("{base}{name}"),
                };
                let own = part.value.get(OWN);
                self.findings
                    .enter(skips || own.is_some_and(|own| emit::skips(&own)));
                let route = self.operation(&path, &method, &item, part.value);
                self.findings.leave();
                routes.push(route);
            }
        }
        routes
    }

    fn operation(&mut self, path: &str, method: &str, item: &Value, operation: Value) -> Route {
        let default = is_default(path);
        if default && method != "ANY" {
            self.note(
                Verdict::Ignored,
                &operation,
                "the default route is for every method: the vendor has it under `x-amazon-apigateway-any-method`",
            );
        }
        let key = match default {
            true => "$default".to_owned(),
            false => format!("{method} {path}"),
        };
        let access = self.access(&operation);
        let validation = self.validation(item, &operation);
        let integration = self
            .extension(&operation, "integration")
            .and_then(|integration| self.integration(integration));
        let mut others = Vec::new();
        for part in operation.entries() {
            if let Some(name) = part.name.strip_prefix(VENDOR)
                && !READ.contains(&name)
            {
                others.push(part);
            }
        }
        Route {
            key,
            summary: operation.get("summary"),
            integration,
            access,
            throttle: Throttle::default(),
            validation,
            own: operation.get(OWN),
            others,
            at: operation,
        }
    }
}

/// Whether a path stands for the route of what no other route matches.
fn is_default(path: &str) -> bool {
    path == "/$default" || path == "$default"
}
