//! REST APIs in a template: those that an OpenAPI definition describes are read as far as HTTP APIs go, as such a
//! document is; those that resources and functions spell out are named.

use std::collections::BTreeMap;

use super::fields::made;
use super::gateway::stage;
use super::{Part, Stack};
use crate::config::load::tree::{Entry, Kind};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::{HttpApi, Product};
use crate::config::vendor::value::Value;

const API: &str = "AWS::ApiGateway::RestApi";
const SERVERLESS: &str = "AWS::Serverless::Api";
const STAGE: &str = "AWS::ApiGateway::Stage";

/// Parts that say nothing more of an API whose definition is read.
const ACCESSORIES: [&str; 3] = [
    STAGE,
    "AWS::ApiGateway::Deployment",
    "AWS::ApiGateway::Account",
];

/// Properties that have no counterpart, and that no caller notices here.
const HARMLESS: [&str; 16] = [
    "Name",
    "Description",
    "OpenApiVersion",
    "EndpointConfiguration",
    "EndpointConfigurationTypes",
    "TracingEnabled",
    "BinaryMediaTypes",
    "MinimumCompressionSize",
    "DisableExecuteApiEndpoint",
    "AlwaysDeploy",
    "CacheClusterEnabled",
    "CacheClusterSize",
    "FailOnWarnings",
    "Tags",
    "CloneFrom",
    "Parameters",
];

impl Stack<'_> {
    /// The REST APIs that a definition describes.
    pub(super) fn rest_definitions(&mut self) -> Vec<HttpApi> {
        let mut apis = Vec::new();
        for kind in [API, SERVERLESS] {
            for resource in self.of_kind(kind) {
                self.findings.of(Some(&resource.id));
                apis.extend(self.rest_definition(&resource));
                self.findings.of(None);
            }
        }
        apis
    }

    fn rest_definition(&mut self, resource: &Part) -> Option<HttpApi> {
        let properties = resource.properties.clone();
        let mut fields = self.fields(&properties);
        let names = match resource.kind.as_str() {
            SERVERLESS => ["DefinitionBody", "DefinitionUri"],
            _ => ["Body", "BodyS3Location"],
        };
        let [body, location] = names.map(|name| fields.take(name));
        let definition = match (body, location) {
            (Some(body), _) => self.parsed(body),
            (None, Some(location)) => self.definition_at(&location)?,
            (None, None) => return None,
        };
        if definition.get("swagger").is_some() {
            super::super::no_openapi_2(&definition, self.findings);
            return None;
        }
        let mut api = self.defined(&definition);
        api.id = resource.id.clone();
        api.product = Product::Rest;
        let title = api.name.take().filter(|name| !name.node.has_unfetched());
        let name = title.or_else(|| self.naming.get(&properties, "Name"));
        api.name = Some(name.unwrap_or_else(|| properties.replaced(resource.id.clone())));
        match resource.kind.as_str() {
            SERVERLESS => {
                let variables = fields.take("Variables");
                let mut at = stage(properties.clone(), &mut fields).finished(None);
                at.variables = variables.map(|all| all.entries()).unwrap_or_default();
                api.stages.push(at);
            }
            _ => api.stages.extend(self.rest_stage(&resource.id)),
        }
        for name in HARMLESS {
            fields.take(name);
        }
        for other in fields.others() {
            self.findings
                .note(
                    Verdict::Differs,
                    &other.mark,
                    &other.value.path,
                    format!("`{}` of a REST API is not read: the definition is", other.name),
                )
                .help("export the API (`aws apigateway get-export --export-type oas30 --parameters extensions=integrations`), which has it in the definition");
        }
        Some(api)
    }

    /// The stage that is declared for the API `id`.
    fn rest_stage(&mut self, id: &str) -> Option<crate::config::vendor::model::Stage> {
        let found = self
            .of_kind(STAGE)
            .into_iter()
            .find(|stage| self.link(stage, "RestApiId").as_deref() == Some(id))?;
        let at = found.properties.clone();
        let mut read = stage(at.clone(), &mut self.fields(&at)).finished(None);
        let variables = self.naming.get(&at, "Variables");
        read.variables = variables.map(|all| all.entries()).unwrap_or_default();
        read.name = read.name.or_else(|| at.get("stage_name"));
        Some(read)
    }

    /// Names every REST API that was not read, and parts of REST APIs in one line.
    pub(super) fn rest_apis(&mut self, read: &[HttpApi]) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut first: Option<Part> = None;
        let resources = self.parts.clone();
        for resource in &resources {
            let whole = match resource.kind.as_str() {
                API | SERVERLESS => true,
                kind if kind.starts_with("AWS::ApiGateway::") => false,
                _ => continue,
            };
            let is_read = read.iter().any(|api| api.id == resource.id);
            if whole && !is_read {
                self.findings
                    .note(
                        Verdict::Missing,
                        &resource.at.mark,
                        &resource.at.path,
                        format!("`{}` is a REST API ({}) without a definition that is read: HTTP APIs and OpenAPI definitions are imported", resource.id, resource.written_as),
                    )
                    .help("export it (`aws apigateway get-export --export-type oas30 --parameters extensions=integrations`) and import that document");
            }
            let accessory = !read.is_empty() && ACCESSORIES.contains(&resource.kind.as_str());
            if whole || accessory {
                continue;
            }
            first.get_or_insert_with(|| resource.clone());
            *counts.entry(resource.written_as.clone()).or_default() += 1;
        }
        self.implicit_rest_api(&resources);
        if let Some(first) = first {
            let kinds: Vec<String> = counts
                .into_iter()
                .map(|(kind, count)| format!("{count} × {kind}"))
                .collect();
            self.findings.note(
                Verdict::Missing,
                &first.at.mark,
                &first.at.path.parent().unwrap_or_default(),
                format!("parts of REST APIs are left out: {}", kinds.join(", ")),
            );
        }
    }

    /// Events of type `Api`: SAM makes a REST API of them.
    fn implicit_rest_api(&mut self, resources: &[Part]) {
        for resource in resources {
            let Some(events) = resource.properties.get("Events") else {
                continue;
            };
            for event in events.entries() {
                let kind = event.value.get("Type");
                if kind.as_ref().and_then(|kind| kind.text()).as_deref() == Some("Api") {
                    self.findings.note(
                        Verdict::Missing,
                        &event.mark,
                        &event.value.path,
                        format!("the event `{}` of `{}` is a route of a REST API to a function, which cannot be called", event.name, resource.id),
                    );
                }
            }
        }
    }
}

/// The properties of a part of a REST API that are read: the others may hold functions that nobody asks for.
pub(super) fn read_of(kind: &str, properties: &Value) -> Option<Value> {
    let names: &[&str] = match kind {
        // a name that is put together is that of the stack, and the definition has a title
        API if has(properties, &["Body", "BodyS3Location"]) => {
            return Some(without(properties, |entry| {
                entry.key.text == "Name" && !matches!(entry.value.kind, Kind::Scalar(_))
            }));
        }
        SERVERLESS if has(properties, &["DefinitionBody", "DefinitionUri"]) => return None,
        STAGE => &["RestApiId", "StageName", "Variables"],
        kind if kind.starts_with("AWS::ApiGateway::") || kind == SERVERLESS => &[],
        _ => return None,
    };
    Some(without(properties, |entry| {
        !names.contains(&entry.key.text.as_str())
    }))
}

/// The properties but for some.
fn without(properties: &Value, left_out: impl Fn(&Entry) -> bool) -> Value {
    let Kind::Mapping(entries) = &properties.node.kind else {
        return properties.clone();
    };
    let kept = entries.iter().filter(|entry| !left_out(entry));
    made(properties, Kind::Mapping(kept.cloned().collect()))
}

fn has(properties: &Value, names: &[&str]) -> bool {
    names.iter().any(|name| properties.get(name).is_some())
}
