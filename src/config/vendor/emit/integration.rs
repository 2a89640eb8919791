//! What a route calls: the vendor's integration as one of ours.

use super::Emitter;
use crate::config::vendor::build::{Mapping, text};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::{Integration, Route};
use crate::config::vendor::value::Value;

/// The vendor's service integrations (reference, 2.2).
pub const SUBTYPES: [&str; 10] = [
    "SQS-SendMessage",
    "SQS-ReceiveMessage",
    "SQS-DeleteMessage",
    "SQS-PurgeQueue",
    "EventBridge-PutEvents",
    "Kinesis-PutRecord",
    "StepFunctions-StartExecution",
    "StepFunctions-StartSyncExecution",
    "StepFunctions-StopExecution",
    "AppConfig-GetConfiguration",
];

const KINDS: [&str; 5] = ["aws_proxy", "http_proxy", "mock", "aws", "http"];

impl Emitter<'_> {
    /// Adds the integration and what goes with it to the route.
    pub(super) fn integration(
        &mut self,
        route: &Route,
        integration: &Integration,
        node: &mut Mapping,
    ) {
        let at = &integration.at.mark;
        let kind = integration.kind.as_ref();
        let mut ours = Mapping::new(at);
        let mut called = None;
        match (
            kind.map(Value::word).unwrap_or_default().as_str(),
            &integration.subtype,
        ) {
            ("aws_proxy", Some(subtype)) => self.service(integration, subtype, &mut ours),
            ("aws_proxy", None) => self.function(integration),
            ("http_proxy", _) => self.proxy(integration, &mut ours),
            ("mock", _) => self.mock(integration, &mut ours),
            ("aws", _) => called = self.aws(route, integration, &mut ours),
            ("http", _) => self.template(integration, "http"),
            ("", Some(subtype)) => {
                self.findings
                    .note(
                        Verdict::Missing,
                        &subtype.mark,
                        &integration.at.path,
                        "the integration has no `type`",
                    )
                    .help("write `type: aws_proxy`");
            }
            ("", None) => {
                self.findings
                    .note(
                        Verdict::Missing,
                        at,
                        &integration.at.path,
                        "the integration has no `type`",
                    )
                    .help(format!("known: {}", KINDS.join(", ")));
            }
            _ => {
                if let Some(kind) = kind {
                    self.unknown_word(kind, "a type of integration", &KINDS);
                }
            }
        }
        if let Some(timeout) = &integration.timeout_millis {
            match timeout.number() {
                Some(millis) => {
                    let mut limits = Mapping::new(&timeout.mark);
                    limits.put(
                        "timeout",
                        &timeout.mark,
                        text(millis_as_span(millis), &timeout.mark),
                    );
                    node.put_mapping("limits", limits);
                }
                None => self
                    .wants::<()>(timeout, "a whole number of milliseconds")
                    .unwrap_or_default(),
            }
        }
        node.put_mapping("integration", ours);
        self.response_parameters(integration, node);
        if let Some(name) = called {
            self.aws_answer(route, integration, name, node);
        }
        self.unused(integration);
        if let Some(credentials) = &integration.credentials {
            self.credentials(credentials);
        }
        let mut others = integration.others.clone();
        // what other types do, a call to a service says by its content types
        others.retain(|other| {
            called.is_none() || !other.name.eq_ignore_ascii_case("passthroughBehavior")
        });
        self.strangers(&others, "of an integration");
    }

    /// Names the fields that the vendor makes nothing of with this type of integration.
    fn unused(&mut self, integration: &Integration) {
        let kind = integration
            .kind
            .as_ref()
            .map(Value::word)
            .unwrap_or_default();
        let parameters = integration.request_parameters.first();
        let fields = match kind.as_str() {
            "mock" => [parameters.map(|p| &p.value), None, None],
            "aws_proxy" | "http_proxy" => [
                None,
                integration.request_templates.as_ref(),
                integration.responses.as_ref(),
            ],
            _ => return,
        };
        for field in fields.into_iter().flatten() {
            let reason = match kind.as_str() {
                "mock" => {
                    "a mock calls nothing: the vendor makes nothing of `requestParameters`, either"
                }
                _ => {
                    "templates and `responses` of a proxy integration: the vendor makes nothing of them, either"
                }
            };
            self.findings
                .note(Verdict::Noted, &field.mark, &field.path, reason);
        }
    }

    /// One of the ten service integrations: parameters keep their names.
    fn service(&mut self, integration: &Integration, subtype: &Value, ours: &mut Mapping) {
        let at = &integration.at.mark;
        let Some(written) = subtype.text() else {
            self.leaf(subtype);
            return;
        };
        let Some(name) = SUBTYPES.iter().find(|name| **name == written) else {
            self.unknown_word(
                subtype,
                "a service integration that the vendor has",
                &SUBTYPES,
            );
            return;
        };
        if let Some(version) = &integration.payload_version
            && version.text().is_some_and(|v| v.trim().starts_with('2'))
        {
            self.findings.note(
                Verdict::Ignored,
                &version.mark,
                &version.path,
                "service integrations have the payload format 1.0",
            );
        }
        let mut parameters = Mapping::new(at);
        for parameter in &integration.request_parameters {
            let leaf = self.leaf(&parameter.value);
            parameters.put_some(&parameter.name, &parameter.mark, leaf);
        }
        ours.put(*name, &subtype.mark, parameters.node());
        if *name == "Kinesis-PutRecord" {
            // the service's own API takes a blob as base64 (reference, 2.2)
            ours.put("decode_data", at, text("base64", at));
        }
    }

    pub(super) fn function(&mut self, integration: &Integration) {
        let uri = integration.uri.as_ref();
        let at = uri.unwrap_or(&integration.at);
        let named = uri
            .and_then(|uri| uri.text().map(|uri| uri.into_owned()))
            .map(|uri| format!(" ({uri})"))
            .unwrap_or_default();
        let (mark, path) = (at.mark.clone(), at.path.clone());
        self.findings
            .note(
                Verdict::Missing,
                &mark,
                &path,
                format!("a function{named} cannot be called: routes end at services, queues and HTTP backends"),
            )
            .help("give the function a queue to read from, or a URL and `HTTP-Proxy`, in `x-penstock: { integration: … }`; `x-penstock: { on_unsupported: skip }` leaves the operation out");
    }

    /// `http`: a template makes the request.
    fn template(&mut self, integration: &Integration, kind: &str) {
        let at = integration.kind.as_ref().unwrap_or(&integration.at);
        let (mark, path) = (at.mark.clone(), at.path.clone());
        self.findings
            .note(
                Verdict::Missing,
                &mark,
                &path,
                format!("an integration of type `{kind}` makes its request by a template (VTL), which is not evaluated here"),
            )
            .help("write the call as one of ours in `x-penstock: { integration: … }`; `x-penstock: { on_unsupported: skip }` leaves the operation out");
    }

    /// A HTTP backend that gets the request as it came.
    fn proxy(&mut self, integration: &Integration, ours: &mut Mapping) {
        let at = &integration.at.mark;
        let private = integration
            .connection_type
            .as_ref()
            .filter(|kind| kind.word() == "vpc_link");
        let Some(uri) = &integration.uri else {
            self.findings.note(
                Verdict::Missing,
                at,
                &integration.at.path,
                "the integration has no `uri`",
            );
            return;
        };
        if let Some(written) = uri.text()
            && written.starts_with("arn:")
        {
            self.findings
                .note(
                    Verdict::Missing,
                    &uri.mark,
                    &uri.path,
                    format!("{written} is reached through the vendor's private link{}", if private.is_some() { "" } else { ", and is no URL" }),
                )
                .help("name the load balancer by its URL: `x-penstock: { integration: { HTTP-Proxy: { url: \"http://…\" } } }`");
            return;
        }
        if let Some(private) = private {
            self.findings.note(
                Verdict::Ignored,
                &private.mark,
                &private.path,
                "there is no private link here: the backend is called from where the gateway runs",
            );
        }
        let mut parameters = Mapping::new(at);
        let url = self.leaf(uri);
        parameters.put_some("url", &uri.mark, url);
        if let Some(method) = &integration.method
            && method.word() != "any"
        {
            let method_text = method.text().map(|m| text(m.to_uppercase(), &method.mark));
            parameters.put_some("method", &method.mark, method_text);
        }
        let changes = self.request_parameters(integration);
        parameters.put_mapping("request_parameters", changes);
        if let Some(name) = &integration.tls_server_name {
            let leaf = self.leaf(name);
            parameters.put_some("server_name", &name.mark, leaf);
        }
        ours.put_mapping("HTTP-Proxy", parameters);
    }

    /// The request mapping: that of HTTP APIs is ours too, that of REST APIs says the same in other words.
    fn request_parameters(&mut self, integration: &Integration) -> Mapping {
        let mut changes = Mapping::new(&integration.at.mark);
        for parameter in &integration.request_parameters {
            let written = parameter.value.text().map(|text| text.into_owned());
            let Some(place) = parameter.name.strip_prefix("integration.request.") else {
                let leaf = match parameter.name.starts_with("remove:") {
                    true => Some(text("''", &parameter.value.mark)),
                    false => self.leaf(&parameter.value),
                };
                changes.put_some(&parameter.name, &parameter.mark, leaf);
                continue;
            };
            let source = written.as_deref().and_then(rest_source);
            // a variable of the path that keeps its name stands in the URL already
            let same = place
                .strip_prefix("path.")
                .is_some_and(|name| source.as_deref() == Some(&format!("$request.path.{name}")));
            match source {
                _ if same => {}
                Some(source)
                    if place.starts_with("header.") || place.starts_with("querystring.") =>
                {
                    let value = text(source, &parameter.value.mark);
                    changes.put(format!("overwrite:{place}"), &parameter.mark, value);
                }
                _ => {
                    self.findings.note(
                        Verdict::Missing,
                        &parameter.mark,
                        &parameter.value.path,
                        format!("the request mapping `{}` cannot be had", parameter.name),
                    );
                }
            }
        }
        changes
    }

    /// The response mapping, which is ours too. CloudFormation writes its changes as a list.
    fn response_parameters(&mut self, integration: &Integration, node: &mut Mapping) {
        let mut all = Mapping::new(&integration.at.mark);
        for status in &integration.response_parameters {
            let mut changes = Mapping::new(&status.mark);
            for change in &status.value {
                let leaf = match change.name.strip_prefix("remove:") {
                    // the vendor's value of a removal is '' in quotes, or anything
                    Some(_) => Some(text("''", &change.value.mark)),
                    None => self.leaf(&change.value),
                };
                changes.put_some(&change.name, &change.mark, leaf);
            }
            all.put_mapping(&status.name, changes);
        }
        node.put_mapping("response_parameters", all);
    }
}

/// Milliseconds as our durations are written.
fn millis_as_span(millis: u64) -> String {
    match millis % 1000 {
        0 => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

/// A source of REST's mappings in the words of HTTP APIs: `method.request.header.NAME`, `context.NAME`,
/// `stageVariables.NAME`, or a text in single quotes.
pub(super) fn rest_source(written: &str) -> Option<String> {
    if let Some(fixed) = written
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
    {
        return Some(fixed.to_owned());
    }
    if let Some(rest) = written.strip_prefix("method.request.") {
        // several values have names of their own there
        let known = ["header.", "querystring.", "path.", "body"];
        return known
            .iter()
            .any(|known| rest.starts_with(known))
            .then(|| format!("$request.{rest}"));
    }
    (written.starts_with("context.") || written.starts_with("stageVariables."))
        .then(|| format!("${written}"))
}
