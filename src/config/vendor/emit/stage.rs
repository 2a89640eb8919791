//! What a stage says: its name, variables, throttles and access log.

use super::Emitter;
use crate::config::ErrorResponse;
use crate::config::vendor::build::{Mapping, list, text};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::GatewayResponse;
use crate::config::vendor::value::Named;

impl Emitter<'_> {
    /// Under which hosts, and behind which path, the API is reached.
    pub(super) fn domains(&mut self, root: &mut Mapping) {
        let api = self.api;
        if let Some(first) = api.hosts.first() {
            let hosts = api
                .hosts
                .iter()
                .filter_map(|host| self.leaf(host))
                .collect();
            root.put("hosts", &first.mark, list(hosts, &first.mark));
            self.maps(first, "hosts");
        }
        if let Some(path) = &api.base_path {
            let leaf = self.leaf(path);
            root.put_some("base_path", &path.mark, leaf);
        }
    }

    /// The stage's name and variables. A gateway serves one stage.
    pub(super) fn stage(&mut self, root: &mut Mapping) {
        let api = self.api;
        let Some(stage) = api.stages.first() else {
            return;
        };
        for other in &api.stages[1..] {
            let name = other.name.as_ref().and_then(|name| name.text());
            self.findings
                .note(
                    Verdict::Missing,
                    &other.at.mark,
                    &other.at.path,
                    format!(
                        "the stage `{}` is left out: a gateway serves one stage",
                        name.as_deref().unwrap_or("$default")
                    ),
                )
                .help("give it a gateway, or a file, of its own");
        }
        if let Some(name) = &stage.name {
            // a domain's mapping chooses the stage, and paths do not name it (reference, 1.1)
            if !api.hosts.is_empty() && name.text().is_some_and(|name| name != "$default") {
                self.findings.note(
                    Verdict::Ignored,
                    &name.mark,
                    &name.path,
                    "the stage is left out: under its domain, paths do not name it; `$context.stage` is `$default` here",
                );
            } else {
                let leaf = self.leaf(name);
                root.put_some("stage", &name.mark, leaf);
            }
        }
        let mut variables = Mapping::new(&stage.at.mark);
        for variable in &stage.variables {
            let leaf = self.leaf(&variable.value);
            variables.put_some(&variable.name, &variable.mark, leaf);
        }
        root.put_mapping("stage_variables", variables);
        self.strangers(&stage.others, "of a stage");
        self.maps(&stage.at, "stage");
    }

    /// The default of every route.
    pub(super) fn stage_throttle(&mut self, root: &mut Mapping) {
        let Some(stage) = self.api.stages.first() else {
            return;
        };
        let node = self.throttle(&stage.throttle, &stage.at.mark);
        root.put_some("throttle", &stage.at.mark, node);
    }

    pub(super) fn access_log(&mut self, root: &mut Mapping) {
        let log = self.api.stages.first().and_then(|s| s.access_log.as_ref());
        let Some(log) = log else {
            return;
        };
        let mut node = Mapping::new(&log.at.mark);
        if let Some(format) = &log.format {
            let written = format.text().map(|format| format.trim().to_owned());
            let leaf = match written {
                Some(written) => Some(text(written, &format.mark)),
                None => self.leaf(format),
            };
            node.put_some("format", &format.mark, leaf);
        }
        if let Some(destination) = &log.destination {
            self.findings.note(
                Verdict::Ignored,
                &destination.mark,
                &destination.path,
                "the access log goes to standard output, not to the vendor's log group",
            );
        }
        root.put_mapping("access_log", node);
    }

    /// A refusal in the vendor's words, where nothing of it has to be evaluated.
    pub(super) fn gateway_response(
        &mut self,
        response: &Named<GatewayResponse>,
        all: &mut Mapping,
    ) {
        let (name, at) = (response.name.as_str(), &response.value.at);
        let Some((_, code)) = REFUSALS.iter().find(|(kind, _)| *kind == name) else {
            self.findings.note(
                Verdict::Differs,
                &at.mark,
                &at.path,
                format!("the gateway response `{name}` cannot be had: refusals of this kind keep their form"),
            );
            return;
        };
        let mut node = Mapping::new(&at.mark);
        if let Some(status) = &response.value.status {
            let number = self.number(status);
            node.put_some("status", &status.mark, number);
        }
        let mut headers = Mapping::new(&at.mark);
        for parameter in &response.value.parameters {
            let written = parameter.value.text().unwrap_or_default().into_owned();
            let header = parameter.name.strip_prefix("gatewayresponse.header.");
            let fixed = written
                .strip_prefix('\'')
                .and_then(|rest| rest.strip_suffix('\''));
            match header.zip(fixed) {
                Some((header, fixed)) => {
                    headers.put(header, &parameter.mark, text(fixed, &parameter.value.mark));
                }
                None => {
                    self.findings.note(
                        Verdict::Differs,
                        &parameter.value.mark,
                        &parameter.value.path,
                        format!("{written:?} is not a text in single quotes: headers of refusals are fixed here"),
                    );
                }
            }
        }
        node.put_mapping("headers", headers);
        let json = response
            .value
            .templates
            .iter()
            .find(|t| t.name == "application/json");
        if let Some(template) = json.or(response.value.templates.first()) {
            let body = template.value.text().unwrap_or_default().into_owned();
            if body.trim() == USUAL_TEMPLATE {
                // what is answered anyway
            } else if let Some(what) = unknown_to_refusals(&body) {
                self.findings
                    .note(
                        Verdict::Differs,
                        &template.value.mark,
                        &template.value.path,
                        format!(
                            "the response template holds `{what}`, which refusals cannot name here"
                        ),
                    )
                    .help(format!("known: {}", ErrorResponse::VARIABLES.join(", ")));
            } else {
                node.put(
                    "body",
                    &template.value.mark,
                    text(body, &template.value.mark),
                );
                node.put(
                    "content_type",
                    &template.mark,
                    text(&template.name, &template.mark),
                );
            }
        }
        if node.is_empty() {
            return;
        }
        if all.contains(code) {
            self.findings.note(
                Verdict::Differs,
                &at.mark,
                &at.path,
                format!("`{name}` and a gateway response above are one kind of refusal here (`{code}`), of which the first counts"),
            );
            return;
        }
        if name == "MISSING_AUTHENTICATION_TOKEN" {
            self.findings.note(
                Verdict::Ignored,
                &at.mark,
                &at.path,
                "`MISSING_AUTHENTICATION_TOKEN` is what the vendor says where no route matches, as `no_route` here; a request without a signature is refused in the words of `INVALID_SIGNATURE`",
            );
        }
        self.maps(at, format!("error_responses.{code}"));
        all.put(*code, &response.mark, node.node());
    }
}

/// The first thing in a template of a refusal that would have to be evaluated, and is no variable of ours.
fn unknown_to_refusals(body: &str) -> Option<String> {
    let mut rest = body;
    while let Some(at) = rest.find(['$', '#']) {
        rest = &rest[at..];
        // a longer name of the vendor's is another
        let known = ErrorResponse::VARIABLES.iter().find(|name| {
            rest.strip_prefix(**name)
                .is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_alphanumeric()))
        });
        let Some(known) = known else {
            let word = |c: &char| c.is_ascii_alphanumeric() || "$#._{}".contains(*c);
            return Some(rest.chars().take_while(word).collect());
        };
        rest = &rest[known.len()..];
    }
    None
}

/// The template that gateway responses have unless something else is written.
const USUAL_TEMPLATE: &str = r#"{"message":$context.error.messageString}"#;

/// The vendor's kinds of refusals that are ours too.
const REFUSALS: [(&str, &str); 19] = [
    ("DEFAULT_4XX", "default_4xx"),
    ("DEFAULT_5XX", "default_5xx"),
    ("ACCESS_DENIED", "forbidden"),
    ("BAD_REQUEST_BODY", "schema_invalid"),
    ("BAD_REQUEST_PARAMETERS", "parameters_invalid"),
    ("AUTHORIZER_FAILURE", "internal"),
    ("AUTHORIZER_CONFIGURATION_ERROR", "internal"),
    ("API_CONFIGURATION_ERROR", "internal"),
    ("INTEGRATION_FAILURE", "target_unavailable"),
    ("INVALID_SIGNATURE", "signature_refused"),
    ("EXPIRED_TOKEN", "signature_refused"),
    ("MISSING_AUTHENTICATION_TOKEN", "no_route"),
    ("INTEGRATION_TIMEOUT", "timeout"),
    ("INVALID_API_KEY", "api_key_refused"),
    ("QUOTA_EXCEEDED", "quota_exceeded"),
    ("REQUEST_TOO_LARGE", "body_too_large"),
    ("RESOURCE_NOT_FOUND", "no_route"),
    ("THROTTLED", "throttled"),
    ("UNAUTHORIZED", "unauthorized"),
];
