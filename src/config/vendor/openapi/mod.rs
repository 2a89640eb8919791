//! OpenAPI 3.0 with the vendor's extensions (reference, 14.2) → model. Forms are judged here, meanings in `emit`.

mod integration;
mod operation;
mod security;
mod validation;

use std::collections::HashMap;

use super::emit::OWN;
use super::findings::{Findings, Verdict};
use super::model::{Cors, GatewayResponse, HttpApi, Product};
use super::value::{Named, Value};

/// Every extension begins so.
pub const VENDOR: &str = "x-amazon-apigateway-";

/// Extensions of the root that are read.
const READ: [&str; 9] = [
    "cors",
    "api-key-source",
    "request-validators",
    "request-validator",
    "gateway-responses",
    "policy",
    "importexport-version",
    "endpoint-configuration",
    "integrations",
];

/// Extensions that have no counterpart, and why no caller notices.
const HARMLESS: [(&str, &str); 5] = [
    (
        "binary-media-types",
        "payloads are bytes from end to end, whatever their type",
    ),
    ("minimum-compression-size", "answers are not compressed"),
    ("documentation", "it is for people"),
    ("tag-value", "tags are for the vendor's console"),
    (
        "security-policy",
        "TLS is the listener's: `tls.min_version`",
    ),
];

/// Reads a document.
pub fn read(root: Value, findings: &mut Findings) -> HttpApi {
    let mut reader = Reader {
        root: root.clone(),
        findings,
        validators: HashMap::new(),
    };
    reader.document(root)
}

struct Reader<'a> {
    root: Value,
    findings: &'a mut Findings,
    /// What request validators look at, by name: bodies, parameters.
    validators: HashMap<String, (bool, bool)>,
}

impl Reader<'_> {
    fn document(&mut self, root: Value) -> HttpApi {
        let mut api = HttpApi::new(root.clone());
        self.version(&root);
        api.name = root.get("info").and_then(|info| info.get("title"));
        api.own = root.get(OWN);
        api.product = self.product(&root);
        self.validators(&root);
        api.authorizers = self.authorizers(&root);
        api.cors = self.extension(&root, "cors").map(|cors| read_cors(&cors));
        api.api_key_source = self.extension(&root, "api-key-source");
        api.policy = self.extension(&root, "policy");
        if let Some(responses) = self.extension(&root, "gateway-responses") {
            let named = responses.entries().into_iter();
            api.gateway_responses = named.map(gateway_response).collect();
        }
        let base = self.servers(&root, &api);
        api.routes = self.routes(&root, &base);
        self.rest(&root);
        api
    }

    /// `x-amazon-apigateway-NAME` of a part.
    fn extension(&self, of: &Value, name: &str) -> Option<Value> {
        of.get(&format!("{VENDOR}{name}"))
    }

    fn note(
        &mut self,
        verdict: Verdict,
        at: &Value,
        reason: impl Into<String>,
    ) -> &mut super::findings::Finding {
        self.findings.note(verdict, &at.mark, &at.path, reason)
    }

    fn version(&mut self, root: &Value) {
        let Some(version) = root.get("openapi") else {
            return;
        };
        let written = version.text().unwrap_or_default().into_owned();
        match written.trim() {
            known if known == "3.0" || known.starts_with("3.0.") => {}
            newer if newer.starts_with("3.") => {
                self.note(
                    Verdict::Ignored,
                    &version,
                    format!("OpenAPI {newer}: the vendor imports 3.0; this is read as if it were"),
                );
            }
            other => {
                let reason = format!("found the version {other:?}, expected 3.0.x");
                self.note(Verdict::Missing, &version, reason);
            }
        }
    }

    /// Which product the document is for, by what only one of them knows.
    fn product(&self, root: &Value) -> Product {
        let rest_only = [
            "request-validators",
            "request-validator",
            "gateway-responses",
            "policy",
            "api-key-source",
            "binary-media-types",
            "minimum-compression-size",
            "documentation",
        ];
        let by_root = rest_only
            .iter()
            .any(|name| self.extension(root, name).is_some());
        let paths = root.get("paths").map(|p| p.entries()).unwrap_or_default();
        let by_integration = paths.iter().any(|path| {
            path.value.entries().iter().any(|operation| {
                let integration = self.extension(&operation.value, "integration");
                let kind = integration
                    .and_then(|i| i.get("type"))
                    .map(|kind| kind.word());
                matches!(kind.as_deref(), Some("aws" | "http" | "mock"))
            })
        });
        if by_root || by_integration {
            Product::Rest
        } else {
            Product::Http
        }
    }

    /// The path of `servers[0].url`, where `x-penstock: { basepath: prepend }` asks for it, or all but its first segment
    /// with `split`: it goes before every path. The vendor ignores it by default.
    fn servers(&mut self, root: &Value, api: &HttpApi) -> String {
        let mode = api.own.as_ref().and_then(|own| own.get("basepath"));
        let first = root
            .get("servers")
            .and_then(|s| s.items().into_iter().next());
        let Some(server) = first else {
            return String::new();
        };
        if let Some(endpoint) = self.extension(&server, "endpoint-configuration") {
            for field in endpoint.entries() {
                let reason = match field.name.as_str() {
                    "disableExecuteApiEndpoint" => "there is no default endpoint to switch off: a gateway listens where `listeners` say".to_owned(),
                    "vpcEndpointIds" => "the endpoints of a private API have no counterpart: `listeners` say who may reach the gateway".to_owned(),
                    name => format!("`{name}` of an endpoint configuration is ignored"),
                };
                self.note(Verdict::Ignored, &field.value, reason);
            }
        }
        let Some(url) = server.get("url") else {
            return String::new();
        };
        let path = server_path(&server, &url.text().unwrap_or_default());
        let word = mode.as_ref().map(Value::word);
        let base = match (word.as_deref(), path) {
            (_, None) => None,
            (None | Some("ignore"), Some(path)) => {
                self.note(
                    Verdict::Noted,
                    &url,
                    format!("the path `{path}` of the server is ignored, as the vendor does by default"),
                )
                .help(format!("`{OWN}: {{ basepath: prepend }}` puts it before every path; `stage` names a stage"));
                None
            }
            (Some("prepend"), Some(path)) => Some(path),
            (Some("split"), Some(path)) => {
                let rest = path.trim_start_matches('/').split_once('/');
                rest.map(|(_, rest)| format!("/{rest}"))
            }
            (Some(other), Some(_)) => {
                let reason = format!("{other:?} is not known here");
                if let Some(mode) = &mode {
                    self.note(Verdict::Missing, mode, reason)
                        .help("known: ignore, prepend, split");
                }
                None
            }
        };
        base.unwrap_or_default()
    }

    /// Whatever of the root was not looked at.
    fn rest(&mut self, root: &Value) {
        for part in root.entries() {
            let Some(name) = part.name.strip_prefix(VENDOR) else {
                let standard = [
                    "openapi",
                    "info",
                    "servers",
                    "paths",
                    "components",
                    "security",
                    "tags",
                    "externalDocs",
                    OWN,
                ];
                if !standard.contains(&part.name.as_str()) && !part.name.starts_with("x-") {
                    let known = standard.iter().copied();
                    let near = crate::model::problem::nearest(&part.name, known);
                    let reason = format!(
                        "`{}` is no part of an OpenAPI document, and is ignored",
                        part.name
                    );
                    let finding = self.note(Verdict::Ignored, &part.value, reason);
                    if let Some(near) = near {
                        finding.help(format!("did you mean `{near}`?"));
                    }
                } else if part.name.starts_with("x-") && part.name != OWN {
                    let reason = format!(
                        "the extension `{}` is ignored: it is not the vendor's",
                        part.name
                    );
                    self.note(Verdict::Noted, &part.value, reason);
                }
                continue;
            };
            if READ.contains(&name) {
                continue;
            }
            let reason = match HARMLESS.iter().find(|(known, _)| *known == name) {
                Some((_, why)) => format!("`{}` is ignored: {why}", part.name),
                None => format!("`{}` is not known, and is ignored", part.name),
            };
            self.note(Verdict::Ignored, &part.value, reason);
        }
        if let Some(components) = root.get("components")
            && (components.get("schemas").is_some() || components.get("responses").is_some())
        {
            self.note(
                Verdict::Noted,
                &components,
                "schemas, parameters and responses describe; requests are judged by them only where a request validator says so",
            );
        }
    }

    /// What a value stands for: itself, or what its `$ref` points to in this document. `None` where that leads nowhere,
    /// which has then been said.
    fn followed(&mut self, value: Value) -> Option<Value> {
        /// More references in a row than any document has.
        const LONGEST: usize = 16;
        let mut value = value;
        for _ in 0..LONGEST {
            let Some(reference) = value.get("$ref") else {
                return Some(value);
            };
            let written = reference.text().unwrap_or_default().into_owned();
            let Some(pointer) = written.strip_prefix('#') else {
                self.note(
                    Verdict::Missing,
                    &reference,
                    format!("`{written}` is outside this document"),
                )
                .help("bundle the document into one file");
                return None;
            };
            let target = self.pointed(pointer);
            let Some(target) = target else {
                let reason = format!("`{written}` points to nothing in this document");
                self.note(Verdict::Missing, &reference, reason);
                return None;
            };
            value = target;
        }
        self.note(Verdict::Missing, &value, "references lead in a circle");
        None
    }

    /// The value at a JSON pointer (RFC 6901) of this document.
    fn pointed(&self, pointer: &str) -> Option<Value> {
        let mut value = self.root.clone();
        for token in pointer.split('/').skip(1) {
            let name = percent_encoding::percent_decode_str(token)
                .decode_utf8_lossy()
                .replace("~1", "/")
                .replace("~0", "~");
            value = match name.parse::<usize>() {
                Ok(index) if value.is_list() => value.items().into_iter().nth(index)?,
                _ => value.get(&name)?,
            };
        }
        Some(value)
    }
}

/// The path of a server's URL, its variables filled in with their defaults; `None` for none.
fn server_path(server: &Value, url: &str) -> Option<String> {
    let mut url = url.to_owned();
    for variable in server
        .get("variables")
        .map(|v| v.entries())
        .unwrap_or_default()
    {
        let default = variable.value.get("default");
        let default = default.as_ref().and_then(Value::text).unwrap_or_default();
        url = url.replace(&format!("{{{}}}", variable.name), &default);
    }
    // some exports leave the scheme out
    let after = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let (_, path) = after.split_once('/')?;
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    (!segments.is_empty()).then(|| format!("/{}", segments.join("/")))
}

fn read_cors(cors: &Value) -> Cors {
    let list = |key: &str| {
        cors.get_in_any_case(key)
            .map(|value| value.list_or_commas())
            .unwrap_or_default()
    };
    Cors {
        at: cors.clone(),
        allow_origins: list("allowOrigins"),
        allow_methods: list("allowMethods"),
        allow_headers: list("allowHeaders"),
        expose_headers: list("exposeHeaders"),
        allow_credentials: cors.get_in_any_case("allowCredentials"),
        max_age: cors.get_in_any_case("maxAge"),
        others: {
            let mut others = cors.entries();
            let known = [
                "alloworigins",
                "allowmethods",
                "allowheaders",
                "exposeheaders",
                "allowcredentials",
                "maxage",
            ];
            others.retain(|other| !known.contains(&other.name.to_lowercase().as_str()));
            others
        },
    }
}

fn gateway_response(response: Named<Value>) -> Named<GatewayResponse> {
    let entries = |key: &str| {
        response
            .value
            .get(key)
            .map(|v| v.entries())
            .unwrap_or_default()
    };
    let value = GatewayResponse {
        status: response.value.get("statusCode"),
        parameters: entries("responseParameters"),
        templates: entries("responseTemplates"),
        at: response.value.clone(),
    };
    Named {
        name: response.name,
        mark: response.mark,
        value,
    }
}
