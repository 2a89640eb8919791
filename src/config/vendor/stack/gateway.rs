//! `AWS::ApiGatewayV2::*` and `aws_apigatewayv2_*`: APIs, and the routes, integrations, authorizers and stages that
//! refer to them.

use super::fields::{Fields, access_log, cors, made, route_throttles, throttle};
use super::{Part, Stack};
use crate::config::load::tree::Kind;
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::{
    Access, Authorizer, AuthorizerKind, Function, HttpApi, Integration, Required, Requirement,
    Route, Stage, Throttle, Validation,
};
use crate::config::vendor::template::placed;
use crate::config::vendor::value::{Named, Value};
use crate::model::problem::Problems;

const API: &str = "AWS::ApiGatewayV2::Api";
const ROUTE: &str = "AWS::ApiGatewayV2::Route";
const INTEGRATION: &str = "AWS::ApiGatewayV2::Integration";
const AUTHORIZER: &str = "AWS::ApiGatewayV2::Authorizer";
const STAGE: &str = "AWS::ApiGatewayV2::Stage";

/// Types that the vendor has for WebSocket APIs alone, or that bring what is not read.
const NOT_READ: [(&str, Verdict, &str); 8] = [
    (
        "AWS::ApiGatewayV2::IntegrationResponse",
        Verdict::Missing,
        "integration responses belong to WebSocket APIs",
    ),
    (
        "AWS::ApiGatewayV2::RouteResponse",
        Verdict::Missing,
        "route responses belong to WebSocket APIs",
    ),
    (
        "AWS::ApiGatewayV2::Model",
        Verdict::Missing,
        "models belong to WebSocket APIs; a `schema` of a route checks bodies here",
    ),
    (
        "AWS::ApiGatewayV2::ApiGatewayManagedOverrides",
        Verdict::Missing,
        "overrides of what quick create makes are not read: write route, integration and stage out",
    ),
    (
        "AWS::ApiGatewayV2::RoutingRule",
        Verdict::Missing,
        "routing rules are not read: several APIs are told apart by `hosts` and `base_path`",
    ),
    (
        "AWS::ApiGatewayV2::Deployment",
        Verdict::Noted,
        "a deployment is made when the route file is loaded",
    ),
    (
        "AWS::ApiGatewayV2::VpcLink",
        Verdict::Noted,
        "private targets are called directly, from wherever the gateway runs",
    ),
    (
        "AWS::ApiGatewayV2::Portal",
        Verdict::Noted,
        "portals are no part of an API's behaviour",
    ),
];

impl Stack<'_> {
    /// The HTTP APIs that are written out.
    pub(super) fn gateway_apis(&mut self, root: &Value) -> Vec<HttpApi> {
        for (kind, verdict, reason) in NOT_READ {
            for resource in self.of_kind(kind) {
                self.findings
                    .note(verdict, &resource.at.mark, &resource.at.path, reason);
            }
        }
        let mut apis = Vec::new();
        let mut known = Vec::new();
        for resource in self.of_kind(API) {
            known.push(resource.id.clone());
            if let Some(api) = self.gateway_api(&resource) {
                apis.push(api);
            }
        }
        apis.extend(self.apis_of_others(root, &mut known));
        apis
    }

    fn gateway_api(&mut self, resource: &Part) -> Option<HttpApi> {
        self.findings.of(Some(&resource.id));
        let api = self.read_gateway_api(resource);
        self.findings.of(None);
        api
    }

    fn read_gateway_api(&mut self, resource: &Part) -> Option<HttpApi> {
        let properties = resource.properties.clone();
        let mut fields = self.fields(&properties);
        if let Some(protocol) = fields.take("ProtocolType")
            && protocol.word() != "http"
        {
            self.findings.note(
                Verdict::Missing,
                &protocol.mark,
                &protocol.path,
                format!(
                    "the API `{}` is a {} API: HTTP APIs are imported",
                    resource.id,
                    protocol.text().unwrap_or_default()
                ),
            );
            return None;
        }
        let body = fields.take("Body");
        let location = fields.take("BodyS3Location");
        let body = match (body, location) {
            (Some(body), _) => Some(self.parsed(body)),
            (None, Some(location)) => self.definition_at(&location),
            (None, None) => None,
        };
        let mut api = match &body {
            Some(body) => self.defined(body),
            None => HttpApi::new(properties.clone()),
        };
        api.id = resource.id.clone();
        if let Some(name) = fields.take("Name") {
            api.name.get_or_insert(name);
        }
        if let Some(at) = fields.take("CorsConfiguration") {
            api.cors = Some(cors(self.fields(&at)));
        }
        self.quick_create(&mut fields, &mut api);
        self.api_settings(fields);
        self.parts(&resource.id, &mut api);
        self.mappings(&resource.id, &mut api);
        Some(api)
    }

    /// A definition that stands as text, as in a plan.
    pub(super) fn parsed(&mut self, body: Value) -> Value {
        let Some(text) = body.text() else {
            return body;
        };
        if let Kind::Scalar(scalar) = &body.node.kind
            && !self.unresolved.settled(scalar)
        {
            return made(&body, Kind::Mapping(Vec::new()));
        }
        let mut problems = Problems::default();
        let tree = super::super::tree(&text, &body.node.mark.file, &mut problems);
        for problem in problems.0 {
            self.findings.note(
                Verdict::Missing,
                &body.mark,
                &body.path,
                format!("in the definition: {}", problem.message),
            );
        }
        match tree {
            Some(tree) => Value {
                node: placed(tree, &body.node.mark),
                ..body
            },
            None => made(&body, Kind::Mapping(Vec::new())),
        }
    }

    /// `Target` and `RouteKey`: one route, and the stage `$default`.
    fn quick_create(&mut self, fields: &mut Fields, api: &mut HttpApi) {
        let route_key = fields.take("RouteKey");
        let credentials = fields.take("CredentialsArn");
        let Some(target) = fields.take("Target") else {
            return;
        };
        let uri = target.text().unwrap_or_default();
        // a name without a value is no function for that
        let open = target.node.has_unfetched() || uri.starts_with("${env:");
        let kind = if open || uri.starts_with("http://") || uri.starts_with("https://") {
            "HTTP_PROXY"
        } else {
            "AWS_PROXY"
        };
        let mut integration = Integration::new(target.clone());
        integration.kind = Some(target.replaced(kind));
        if kind == "HTTP_PROXY" {
            integration.method = Some(target.replaced("ANY"));
        }
        integration.uri = Some(target.clone());
        integration.credentials = credentials;
        let key = route_key.as_ref().and_then(Value::text);
        api.routes.push(Route {
            key: key.as_deref().unwrap_or("$default").to_owned(),
            integration: Some(integration),
            ..route(target)
        });
    }

    /// Settings of the API that have no counterpart.
    pub(super) fn api_settings(&mut self, mut fields: Fields) {
        let mut taken = |name| fields.take(name);
        let disabled = taken("DisableExecuteApiEndpoint");
        let base_path = taken("BasePath");
        let harmless = [
            "Description",
            "Tags",
            "Version",
            "FailOnWarnings",
            "ProtocolType",
            "RouteSelectionExpression",
            "ApiKeySelectionExpression",
            "DisableSchemaValidation",
            "IpAddressType",
            "PropagateTags",
        ];
        for name in harmless {
            taken(name);
        }
        if let Some(disabled) = disabled.filter(|value| value.flag() != Some(false)) {
            self.findings.note(
                Verdict::Noted,
                &disabled.mark,
                &disabled.path,
                "there is no default endpoint here: the API is reached where its listeners are bound",
            );
        }
        if let Some(base_path) = base_path.filter(|value| value.word() != "ignore") {
            self.findings.note(
                Verdict::Differs,
                &base_path.mark,
                &base_path.path,
                "the path of the definition's `servers` is ignored",
            );
        }
        for other in fields.others() {
            self.findings.note(
                Verdict::Ignored,
                &other.mark,
                &other.value.path,
                format!("`{}` is not known of an API, and is ignored", other.name),
            );
        }
    }

    /// Routes, authorizers and stages of the API `id`.
    fn parts(&mut self, id: &str, api: &mut HttpApi) {
        for resource in self.of_kind(AUTHORIZER) {
            if self.link(&resource, "ApiId").as_deref() == Some(id) {
                let authorizer = self.gateway_authorizer(&resource);
                api.authorizers.push(authorizer);
            }
        }
        for resource in self.of_kind(ROUTE) {
            if self.link(&resource, "ApiId").as_deref() == Some(id) {
                let route = self.gateway_route(&resource);
                api.routes.push(route);
            }
        }
        for resource in self.of_kind(STAGE) {
            if self.link(&resource, "ApiId").as_deref() == Some(id) {
                let stage = self.gateway_stage(&resource);
                api.stages.push(stage);
            }
        }
    }

    /// Parts of APIs that the template does not declare: an API for each name that they refer to.
    fn apis_of_others(&mut self, root: &Value, known: &mut Vec<String>) -> Vec<HttpApi> {
        let serverless = self.of_kind("AWS::Serverless::HttpApi");
        known.extend(serverless.into_iter().map(|resource| resource.id));
        let mut apis = Vec::new();
        for resource in self.of_kind(ROUTE) {
            let Some(id) = self.link(&resource, "ApiId") else {
                self.findings.note(
                    Verdict::Missing,
                    &resource.at.mark,
                    &resource.at.path,
                    "the route names no API (`ApiId`)",
                );
                continue;
            };
            if known.contains(&id) {
                continue;
            }
            known.push(id.clone());
            let mut api = HttpApi::new(root.clone());
            api.id = id.clone();
            self.findings.of(Some(&id));
            let names = &self.unresolved.names;
            let asked = names.iter().find(|name| name.shown == id);
            let shown = asked.map_or(id.as_str(), |name| name.name.as_str());
            self.findings.note(
                Verdict::Noted,
                &resource.at.mark,
                &resource.at.path,
                format!("the API `{shown}` is declared elsewhere: its stage, CORS and name are not known here"),
            );
            self.parts(&id, &mut api);
            self.findings.of(None);
            apis.push(api);
        }
        apis
    }

    /// Adds what `AWS::ApiGatewayV2::*` says of an API that SAM declares.
    pub(super) fn gateway_parts(&mut self, id: &str, api: &mut HttpApi) {
        self.parts(id, api);
        self.mappings(id, api);
    }

    fn gateway_route(&mut self, resource: &Part) -> Route {
        let properties = resource.properties.clone();
        let mut fields = self.fields(&properties);
        fields.take("ApiId");
        let key = fields.take("RouteKey");
        let key = key
            .as_ref()
            .and_then(Value::text)
            .unwrap_or_default()
            .into_owned();
        let access = self.gateway_access(resource, &mut fields);
        fields.take("Target");
        fields.take("OperationName");
        let integration = self.target(resource);
        Route {
            key,
            integration,
            access,
            others: fields.others(),
            ..route(properties)
        }
    }

    fn gateway_access(&mut self, resource: &Part, fields: &mut Fields) -> Access {
        let kind = fields.take("AuthorizationType");
        let authorizer = fields.take("AuthorizerId");
        let scopes = fields.list("AuthorizationScopes");
        if let Some(asked) = fields.take("ApiKeyRequired")
            && asked.flag() != Some(false)
        {
            self.findings.note(
                Verdict::Noted,
                &asked.mark,
                &asked.path,
                "HTTP APIs know no API keys: the vendor ignores `ApiKeyRequired`, and so does this route",
            );
        }
        let mut access = Access::default();
        let word = kind.as_ref().map(Value::word).unwrap_or_default();
        match (word.as_str(), kind) {
            ("aws_iam", Some(at)) => access.required.push(Requirement {
                at,
                kind: Required::Iam,
            }),
            ("none", Some(_)) => access.open = true,
            _ => {
                if let Some(at) = authorizer {
                    let id = self.link(resource, "AuthorizerId").unwrap_or_default();
                    let name = authorizer_name(&id);
                    access.required.push(Requirement {
                        at,
                        kind: Required::Authorizer { name, scopes },
                    });
                }
            }
        }
        access
    }

    /// The integration that a route's `Target` names: `integrations/ID`.
    fn target(&mut self, resource: &Part) -> Option<Integration> {
        let target = self.link(resource, "Target")?;
        let id = target.strip_prefix("integrations/").unwrap_or(&target);
        let found = self
            .of_kind(INTEGRATION)
            .into_iter()
            .find(|integration| integration.id == id);
        match found {
            Some(integration) => Some(self.gateway_integration(&integration)),
            None => {
                let path = resource.at.path.key("Properties").key("Target");
                self.findings.note(
                    Verdict::Missing,
                    &resource.at.mark,
                    &path,
                    format!("the integration `{id}` is not declared in this template"),
                );
                None
            }
        }
    }

    fn gateway_integration(&mut self, resource: &Part) -> Integration {
        let properties = resource.properties.clone();
        let mut fields = self.fields(&properties);
        fields.take("ApiId");
        let mut integration = Integration::new(properties.clone());
        integration.kind = fields.take("IntegrationType");
        integration.subtype = fields.take("IntegrationSubtype");
        integration.uri = fields.take("IntegrationUri");
        integration.method = fields.take("IntegrationMethod");
        integration.credentials = fields.take("CredentialsArn");
        integration.payload_version = fields.take("PayloadFormatVersion");
        // the vendor's default, which a plan always has, is the file's own (`limits.timeout`)
        integration.timeout_millis = fields
            .take("TimeoutInMillis")
            .filter(|millis| millis.number() != Some(30_000));
        integration.connection_type = fields.take("ConnectionType");
        integration.connection_id = fields.take("ConnectionId");
        if let Some(tls) = fields.take("TlsConfig") {
            integration.tls_server_name = self.fields(&tls).take("ServerNameToVerify");
        }
        if let Some(parameters) = fields.take("RequestParameters") {
            integration.request_parameters = parameters.entries();
        }
        if let Some(parameters) = fields.take("ResponseParameters") {
            integration.response_parameters = match parameters.is_list() {
                true => plan_response_parameters(&parameters),
                false => response_parameters(&parameters),
            };
        }
        integration.others = fields.others();
        integration
    }

    fn gateway_authorizer(&mut self, resource: &Part) -> Authorizer {
        let properties = resource.properties.clone();
        let mut fields = self.fields(&properties);
        fields.take("ApiId");
        fields.take("Name");
        let kind = fields.take("AuthorizerType");
        let jwt = fields.take("JwtConfiguration");
        let identity_sources = fields.list("IdentitySource");
        let ttl_seconds = fields.take("AuthorizerResultTtlInSeconds");
        let function = Function {
            token: false,
            uri: fields.take("AuthorizerUri"),
            credentials: fields.take("AuthorizerCredentialsArn"),
            payload_version: fields.take("AuthorizerPayloadFormatVersion"),
            simple_responses: fields.take("EnableSimpleResponses"),
            token_pattern: fields.take("IdentityValidationExpression"),
        };
        let kind = match (kind.as_ref().map(Value::word).as_deref(), &jwt) {
            (Some("jwt"), _) | (None, Some(_)) => AuthorizerKind::Jwt {
                issuer: jwt.as_ref().and_then(|jwt| self.naming.get(jwt, "Issuer")),
                audience: jwt
                    .and_then(|jwt| self.naming.get(&jwt, "Audience"))
                    .map(|audience| audience.list_or_commas())
                    .unwrap_or_default(),
            },
            _ => AuthorizerKind::Function(Box::new(function)),
        };
        Authorizer {
            at: properties.clone(),
            name: authorizer_name(&resource.id),
            kind,
            identity_sources,
            ttl_seconds,
            others: fields.others(),
        }
    }

    fn gateway_stage(&mut self, resource: &Part) -> Stage {
        let properties = resource.properties.clone();
        let mut fields = self.fields(&properties);
        for name in ["ApiId", "DeploymentId", "Description", "Tags"] {
            fields.take(name);
        }
        stage(properties.clone(), &mut fields).finished(Some(fields))
    }
}

/// What an authorizer is called: its id, or its address without the type.
fn authorizer_name(id: &str) -> String {
    id.replace("aws_apigatewayv2_authorizer.", "")
}

/// A stage while it is read.
pub(super) struct Read {
    stage: Stage,
    others: Vec<Named<Value>>,
}

impl Read {
    /// The stage, with the properties that nobody took where they are all a stage's.
    pub(super) fn finished(self, fields: Option<Fields>) -> Stage {
        let mut stage = self.stage;
        stage.others = self.others;
        stage
            .others
            .extend(fields.into_iter().flat_map(Fields::others));
        stage
    }
}

/// What both template languages say of a stage in the same words.
pub(super) fn stage(at: Value, fields: &mut Fields) -> Read {
    let naming = fields.naming;
    let mut others = Vec::new();
    let default = fields.take("DefaultRouteSettings");
    let routes = fields.take("RouteSettings");
    let log = fields.take("AccessLogSettings");
    let stage = Stage {
        name: fields.take("StageName"),
        variables: fields
            .take("StageVariables")
            .map(|variables| variables.entries())
            .unwrap_or_default(),
        throttle: default
            .map(|at| throttle(Fields::of(&at, naming), &mut others))
            .unwrap_or_default(),
        route_throttles: routes
            .map(|at| route_throttles(&at, naming, &mut others))
            .unwrap_or_default(),
        access_log: log.map(|at| access_log(Fields::of(&at, naming))),
        others: Vec::new(),
        at,
    };
    Read { stage, others }
}

/// A route of which nothing is known but where it is written.
pub(super) fn route(at: Value) -> Route {
    Route {
        at,
        key: String::new(),
        summary: None,
        integration: None,
        access: Access::default(),
        throttle: Throttle::default(),
        validation: Validation::default(),
        own: None,
        others: Vec::new(),
    }
}

/// `{"200": {ResponseParameters: [{Source, Destination}]}}`, or the form of OpenAPI.
fn response_parameters(at: &Value) -> Vec<Named<Vec<Named<Value>>>> {
    at.entries()
        .into_iter()
        .map(|status| {
            let list = status.value.get("ResponseParameters");
            let value = match list {
                Some(list) => list.items().iter().filter_map(destination).collect(),
                None => status.value.entries(),
            };
            Named {
                name: status.name,
                mark: status.mark,
                value,
            }
        })
        .collect()
}

/// A plan's `response_parameters { status_code, mappings }`.
fn plan_response_parameters(at: &Value) -> Vec<Named<Vec<Named<Value>>>> {
    let block = |block: Value| {
        let status = block.get("status_code")?;
        Some(Named {
            name: status.text()?.into_owned(),
            mark: status.mark.clone(),
            value: block
                .get("mappings")
                .map(|all| all.entries())
                .unwrap_or_default(),
        })
    };
    at.items().into_iter().filter_map(block).collect()
}

fn destination(pair: &Value) -> Option<Named<Value>> {
    let name = pair.get("Destination")?;
    let source = pair.get("Source").unwrap_or_else(|| pair.replaced(""));
    Some(Named {
        name: name.text()?.into_owned(),
        mark: name.mark.clone(),
        value: source,
    })
}
