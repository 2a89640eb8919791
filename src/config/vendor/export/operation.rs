//! Routes → paths and operations.

use super::{Exporter, Own, VENDOR, millis};
use crate::config::load::tree::{Mark, Node};
use crate::config::vendor::build::{Mapping, list, plain, text};
use crate::config::vendor::emit::{OWN, SUBTYPES};
use crate::config::vendor::value::{Named, Value};
use crate::model::route_key::RouteKey;

/// What the vendor lets an integration take.
const TIMEOUTS: std::ops::RangeInclusive<u64> = 50..=30_000;

impl Exporter {
    pub(super) fn paths(&mut self, own: &Own) -> Mapping {
        let config = self.config.clone();
        let routes = config
            .get("routes")
            .map(|r| r.entries())
            .unwrap_or_default();
        // by path, in the order of writing
        let mut paths: Vec<(String, Mapping)> = Vec::new();
        for route in routes {
            let (method, path) = match route.name.split_once(' ') {
                Some((method, path)) => (method, path),
                None => ("ANY", "/$default"),
            };
            let operation = self.operation(&route, own.of(&route.name));
            let key = match method {
                "ANY" => format!("{VENDOR}any-method"),
                method => method.to_lowercase(),
            };
            if path.ends_with('/') && path != "/" {
                self.differs(&route.value, "the vendor drops a path that ends in `/`");
            }
            match paths.iter_mut().find(|(known, _)| known == path) {
                Some((_, item)) => item.put(key, &route.mark, operation),
                None => {
                    let mut item = Mapping::new(&route.mark);
                    item.put(key, &route.mark, operation);
                    paths.push((path.to_owned(), item));
                }
            }
        }
        let mut all = Mapping::new(&config.mark);
        for (path, item) in paths {
            all.put_mapping(path, item);
        }
        all
    }

    fn operation(&mut self, route: &Named<Value>, own: Option<&Node>) -> Node {
        let at = &route.mark;
        let mut operation = Mapping::new(at);
        if let Ok(key) = route.name.parse::<RouteKey>() {
            let greedy = match &key {
                RouteKey::Path { path, .. } => path.greedy.as_deref(),
                RouteKey::Default => None,
            };
            let parameters: Vec<Node> = key
                .variables()
                .into_iter()
                .map(|name| parameter(name, greedy == Some(name), at))
                .collect();
            if !parameters.is_empty() {
                operation.put("parameters", at, list(parameters, at));
            }
        }
        let mut default = Mapping::new(at);
        let shown = match route.name.as_str() {
            "$default" => "Default response for $default".to_owned(),
            key => format!("Default response for {key}"),
        };
        default.put("description", at, text(shown, at));
        let mut responses = Mapping::new(at);
        responses.put_mapping("default", default);
        operation.put_mapping("responses", responses);
        if route.name == "$default" {
            operation.put("isDefaultRoute", at, plain("true", at));
        }
        self.access(route, &mut operation);
        if let Some(integration) = self.integration(route) {
            operation.put(format!("{VENDOR}integration"), at, integration);
        }
        if let Some(own) = own {
            operation.put(OWN, at, own.clone());
        }
        operation.node()
    }

    /// The vendor's integration; `None` where it has none like ours.
    fn integration(&mut self, route: &Named<Value>) -> Option<Node> {
        let Some(written) = route.value.get("integration") else {
            if let Some(several) = route.value.get("integrations") {
                self.differs(&several, "the vendor calls one target for each route");
            }
            return None;
        };
        let tag = written
            .entries()
            .into_iter()
            .find(|entry| entry.name.contains('-') || entry.name == "Mock")?;
        let at = &tag.mark;
        let mut node = Mapping::new(at);
        node.put("payloadFormatVersion", at, text("1.0", at));
        if SUBTYPES.contains(&tag.name.as_str()) {
            node.put("type", at, text("aws_proxy", at));
            node.put("integrationSubtype", at, text(&tag.name, at));
            node.put("connectionType", at, text("INTERNET", at));
            let mut parameters = Mapping::new(at);
            for parameter in tag.value.entries() {
                let value = parameter.value.text().map(|text| text.into_owned());
                match value {
                    Some(url) if url.starts_with("queue:") => {
                        self.differs(&parameter.value, "the vendor has no embedded queues");
                        return None;
                    }
                    Some(value) => {
                        if value.contains("${env:")
                            || value.contains("${file:")
                            || value.contains("${aws-")
                        {
                            self.differs(
                                &parameter.value,
                                format!("the vendor does not know {value:?}: put the value in its place before it is imported there"),
                            );
                        }
                        parameters.put(
                            &parameter.name,
                            &parameter.mark,
                            text(value, &parameter.value.mark),
                        );
                    }
                    None => {
                        self.differs(
                            &parameter.value,
                            format!("`{}` is written as a mapping or a list, which the vendor takes as JSON text", parameter.name),
                        );
                    }
                }
            }
            node.put_mapping("requestParameters", parameters);
        } else if tag.name == "HTTP-Proxy" {
            node.put("type", at, text("http_proxy", at));
            node.put("connectionType", at, text("INTERNET", at));
            let url = tag.value.get("url")?;
            node.put("uri", &url.mark, url.node.clone());
            let method = tag.value.get("method");
            let method = method
                .as_ref()
                .and_then(|m| m.text())
                .unwrap_or_else(|| "ANY".into());
            node.put("httpMethod", at, text(method, at));
            if let Some(changes) = tag.value.get("request_parameters") {
                node.put("requestParameters", &changes.mark, changes.node.clone());
            }
            if let Some(name) = tag.value.get("server_name") {
                let mut tls = Mapping::new(&name.mark);
                tls.put("serverNameToVerify", &name.mark, name.node.clone());
                node.put_mapping("tlsConfig", tls);
            }
        } else {
            self.differs(
                &tag.value,
                format!("the vendor's HTTP APIs have no `{}`", tag.name),
            );
            return None;
        }
        if let Some(timeout) = route
            .value
            .get("limits")
            .and_then(|limits| limits.get("timeout"))
        {
            match millis(&timeout) {
                Some(millis) if TIMEOUTS.contains(&millis) => {
                    node.put(
                        "timeoutInMillis",
                        &timeout.mark,
                        plain(millis.to_string(), &timeout.mark),
                    );
                }
                _ => self.differs(&timeout, "the vendor takes 50ms to 30s"),
            }
        }
        if let Some(mapping) = route.value.get("response_parameters") {
            node.put("responseParameters", &mapping.mark, mapping.node.clone());
        }
        Some(node.node())
    }
}

/// A variable of a path. The name of a greedy one has its `+`, as in the path.
fn parameter(name: &str, greedy: bool, at: &Mark) -> Node {
    let mut schema = Mapping::new(at);
    schema.put("type", at, text("string", at));
    let mut parameter = Mapping::new(at);
    let name = if greedy {
        format!("{name}+")
    } else {
        name.to_owned()
    };
    parameter.put("name", at, text(name, at));
    parameter.put("in", at, text("path", at));
    parameter.put("required", at, plain("true", at));
    parameter.put_mapping("schema", schema);
    parameter.node()
}
