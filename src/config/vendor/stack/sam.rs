//! `AWS::Serverless::HttpApi`: a definition, in the template or in a file of its own, or the `HttpApi` events of
//! functions; with `Globals`, as SAM merges them.

use super::fields::{cors, made, throttle};
use super::gateway::{route, stage};
use super::{Part, Stack};
use crate::config::load::tree::{Entry, Kind, Node};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::{
    Access, Authorizer, AuthorizerKind, Cors, Function, HttpApi, Integration, Required,
    Requirement, Route, Throttle,
};
use crate::config::vendor::value::{Named, Value};

const API: &str = "AWS::Serverless::HttpApi";
const FUNCTION: &str = "AWS::Serverless::Function";
/// The API that events without an `ApiId` belong to.
const IMPLICIT: &str = "ServerlessHttpApi";
/// The authorizer that checks signatures.
const IAM: &str = "AWS_IAM";

/// A route that a function asks for.
struct Event {
    function: Part,
    at: Value,
    api: String,
}

impl Stack<'_> {
    /// The HTTP APIs that SAM makes.
    pub(super) fn serverless(&mut self, globals: Option<&Value>) -> Vec<HttpApi> {
        let global = globals.and_then(|globals| globals.get("HttpApi"));
        let events = self.events();
        let mut apis = Vec::new();
        for resource in self.of_kind(API) {
            let mut properties = resource.properties.clone();
            if let Some(global) = &global {
                properties.node = merged(&global.node, &properties.node);
            }
            let api = self.serverless_api(&resource.id, properties, &events);
            apis.push(api);
        }
        if let Some(event) = events.iter().find(|event| event.api == IMPLICIT) {
            let at = match &global {
                Some(global) => global.clone(),
                None => made(&event.at, Kind::Mapping(Vec::new())),
            };
            let api = self.serverless_api(IMPLICIT, at, &events);
            apis.push(api);
        }
        apis
    }

    fn serverless_api(&mut self, id: &str, properties: Value, events: &[Event]) -> HttpApi {
        self.findings.of(Some(id));
        let api = self.read_serverless_api(id, properties, events);
        self.findings.of(None);
        api
    }

    fn read_serverless_api(&mut self, id: &str, properties: Value, events: &[Event]) -> HttpApi {
        let mut fields = self.fields(&properties);
        let body = fields.take("DefinitionBody");
        let location = fields.take("DefinitionUri");
        let definition = match (body, location) {
            (Some(body), _) => Some(body),
            (None, Some(location)) => self.definition_at(&location),
            (None, None) => None,
        };
        let mut api = match &definition {
            Some(definition) => self.defined(definition),
            None => HttpApi::new(properties.clone()),
        };
        api.id = id.to_owned();
        match fields.take("Name") {
            Some(name) => api.name = Some(name),
            None => {
                let known = api.name.take().filter(|name| !name.node.has_unfetched());
                api.name = Some(known.unwrap_or_else(|| properties.replaced(id)));
            }
        }
        if let Some(at) = fields.take("CorsConfiguration") {
            api.cors = self.serverless_cors(&at).or(api.cors);
        }
        let auth = fields.take("Auth");
        if let Some(auth) = &auth {
            self.authorizers(auth, &mut api);
        }
        for event in events.iter().filter(|event| event.api == id) {
            self.event_route(event, &mut api);
        }
        if let Some(auth) = &auth {
            apply_defaults(auth, &mut api);
        }
        if let Some(domain) = fields.take("Domain") {
            self.serverless_domain(&domain, &mut api);
        }
        let stage = stage(properties.clone(), &mut fields);
        api.stages.push(stage.finished(None));
        self.api_settings(fields);
        self.gateway_parts(id, &mut api);
        api
    }

    /// `CorsConfiguration`: `true` and a text are origins.
    fn serverless_cors(&mut self, at: &Value) -> Option<Cors> {
        if at.is_mapping() {
            return Some(cors(self.fields(at)));
        }
        let origin = match at.flag() {
            Some(true) => "*".to_owned(),
            Some(false) => return None,
            None => at.text()?.trim_matches('\'').to_owned(),
        };
        let mut cors = cors(self.fields(at));
        cors.allow_origins = vec![at.replaced(origin)];
        Some(cors)
    }

    /// `Auth.Authorizers`.
    fn authorizers(&mut self, auth: &Value, api: &mut HttpApi) {
        let mut fields = self.fields(auth);
        fields.take("DefaultAuthorizer");
        fields.take("EnableIamAuthorizer");
        if let Some(authorizers) = fields.take("Authorizers") {
            for authorizer in authorizers.entries() {
                let read = self.serverless_authorizer(authorizer);
                api.authorizers.retain(|known| known.name != read.name);
                api.authorizers.push(read);
            }
        }
        for other in fields.others() {
            self.findings.note(
                Verdict::Differs,
                &other.mark,
                &other.value.path,
                format!("`{}` is not known of `Auth`, and is ignored", other.name),
            );
        }
    }

    fn serverless_authorizer(&mut self, authorizer: Named<Value>) -> Authorizer {
        let at = authorizer.value;
        let mut fields = self.fields(&at);
        fields.take("AuthorizationScopes");
        for name in ["EnableFunctionDefaultPermissions", "FunctionInvokeRole"] {
            fields.take(name);
        }
        let mut identity_sources = fields.list("IdentitySource");
        let identity = fields.take("Identity");
        let jwt = fields.take("JwtConfiguration");
        let mut ttl_seconds = None;
        if let Some(identity) = &identity {
            ttl_seconds = identity.get("ReauthorizeEvery");
            for (list, source) in [
                ("Headers", "$request.header."),
                ("QueryStrings", "$request.querystring."),
                ("Context", "$context."),
                ("StageVariables", "$stageVariables."),
            ] {
                let names = identity.get(list).map(|names| names.list_or_commas());
                let sources = names.unwrap_or_default().into_iter().filter_map(|name| {
                    let text = format!("{source}{}", name.text()?);
                    Some(name.replaced(text))
                });
                identity_sources.extend(sources);
            }
        }
        let kind = match &jwt {
            Some(jwt) => AuthorizerKind::Jwt {
                issuer: self.in_any_case(jwt, "issuer"),
                audience: self
                    .in_any_case(jwt, "audience")
                    .map(|audience| audience.list_or_commas())
                    .unwrap_or_default(),
            },
            None => AuthorizerKind::Function(Box::new(Function {
                token: false,
                uri: fields.take("FunctionArn"),
                credentials: None,
                payload_version: fields.take("AuthorizerPayloadFormatVersion"),
                simple_responses: fields.take("EnableSimpleResponses"),
                token_pattern: None,
            })),
        };
        Authorizer {
            name: authorizer.name,
            kind,
            identity_sources,
            ttl_seconds,
            others: fields.others(),
            at: at.clone(),
        }
    }

    /// SAM hands `JwtConfiguration` on as it is, and the vendor knows `issuer` and `audience` in lower case only.
    fn in_any_case(&mut self, jwt: &Value, name: &str) -> Option<Value> {
        if let Some(value) = jwt.get(name) {
            return Some(value);
        }
        let entries = jwt.entries().into_iter();
        let found = entries
            .map(|entry| (entry.name.to_lowercase(), entry))
            .find(|(lower, _)| lower == name);
        let (_, entry) = found?;
        self.findings.note(
            Verdict::Noted,
            &entry.mark,
            &entry.value.path,
            format!(
                "`{}` is taken as `{name}`; the vendor's importer knows the lower case only",
                entry.name
            ),
        );
        Some(entry.value)
    }

    /// The routes that functions ask for.
    fn events(&mut self) -> Vec<Event> {
        let mut found = Vec::new();
        for function in self.of_kind(FUNCTION) {
            let linked = function.linked.get("Events");
            let events = function.properties.get("Events");
            for event in events.map(|events| events.entries()).unwrap_or_default() {
                let kind = event.value.get("Type");
                if kind.as_ref().and_then(Value::text).as_deref() != Some("HttpApi") {
                    continue;
                }
                let api = linked
                    .as_ref()
                    .and_then(|events| events.get(&event.name))
                    .and_then(|event| event.get("Properties")?.get("ApiId"))
                    .and_then(|api| api.text().map(|text| text.into_owned()));
                let at = event.value.get("Properties");
                found.push(Event {
                    function: function.clone(),
                    at: at.unwrap_or_else(|| made(&event.value, Kind::Mapping(Vec::new()))),
                    api: api.unwrap_or_else(|| IMPLICIT.to_owned()),
                });
            }
        }
        found
    }

    /// One route to a function. A route that the definition has is the definition's.
    fn event_route(&mut self, event: &Event, api: &mut HttpApi) {
        let mut fields = self.fields(&event.at);
        fields.take("ApiId");
        let method = fields.take("Method");
        let path = fields.take("Path");
        let method = method.as_ref().map(Value::word).unwrap_or_default();
        let method = match method.as_str() {
            "" | "any" | "x-amazon-apigateway-any-method" => "ANY".to_owned(),
            method => method.to_uppercase(),
        };
        let key = match path.as_ref().and_then(Value::text).as_deref() {
            None | Some("$default" | "/$default") => "$default".to_owned(),
            Some(path) => format!("{method} {path}"),
        };
        if api.routes.iter().any(|route| route.key == key) {
            return;
        }
        let mut integration = Integration::new(event.at.clone());
        integration.kind = Some(event.at.replaced("AWS_PROXY"));
        integration.uri = Some(event.at.replaced(event.function.id.clone()));
        integration.payload_version = fields
            .take("PayloadFormatVersion")
            .or_else(|| Some(event.at.replaced("2.0")));
        integration.timeout_millis = fields.take("TimeoutInMillis");
        let mut access = Access::default();
        if let Some(auth) = fields.take("Auth") {
            access = self.event_access(&auth);
        }
        let mut others = Vec::new();
        let throttle = match fields.take("RouteSettings") {
            Some(at) => throttle(self.fields(&at), &mut others),
            None => Throttle::default(),
        };
        others.extend(fields.others());
        api.routes.push(Route {
            key,
            integration: Some(integration),
            access,
            throttle,
            others,
            ..route(event.at.clone())
        });
    }

    fn event_access(&mut self, auth: &Value) -> Access {
        let mut access = Access::default();
        let Some(authorizer) = auth.get("Authorizer") else {
            return access;
        };
        let scopes = auth
            .get("AuthorizationScopes")
            .map(|scopes| scopes.list_or_commas())
            .unwrap_or_default();
        match authorizer.text().unwrap_or_default().as_ref() {
            "NONE" => access.open = true,
            name => access.required.push(requirement(&authorizer, name, scopes)),
        }
        access
    }
}

/// That a route asks for an authorizer by name.
fn requirement(at: &Value, name: &str, scopes: Vec<Value>) -> Requirement {
    let kind = match name {
        IAM => Required::Iam,
        name => Required::Authorizer {
            name: name.to_owned(),
            scopes,
        },
    };
    Requirement {
        at: at.clone(),
        kind,
    }
}

/// Every route that says nothing of its own asks for the default authorizer, and every one that names no scopes for
/// those of its authorizer.
fn apply_defaults(auth: &Value, api: &mut HttpApi) {
    let default = auth.get("DefaultAuthorizer");
    let authorizers = auth.get("Authorizers");
    for route in &mut api.routes {
        let access = &mut route.access;
        let preflight = route.key.starts_with("OPTIONS ");
        if let Some(default) = &default
            && let Some(name) = default.text()
            && access.required.is_empty()
            && !access.open
            && !preflight
        {
            access
                .required
                .push(requirement(default, &name, Vec::new()));
        }
        for required in &mut access.required {
            if let Required::Authorizer { name, scopes } = &mut required.kind
                && scopes.is_empty()
                && let Some(own) = authorizers.as_ref().and_then(|all| all.get(name))
                && let Some(of_all) = own.get("AuthorizationScopes")
            {
                *scopes = of_all.list_or_commas();
            }
        }
    }
}

/// `Globals` under a resource's own: mappings join, lists follow each other, of anything else the resource's counts
/// (SAM specification, "Globals section").
fn merged(global: &Node, own: &Node) -> Node {
    let kind = match (&global.kind, &own.kind) {
        (Kind::Mapping(global), Kind::Mapping(own)) => {
            let mut entries: Vec<Entry> = own.clone();
            for entry in global {
                let known = entries
                    .iter_mut()
                    .find(|known| known.key.text == entry.key.text);
                match known {
                    Some(known) => known.value = merged(&entry.value, &known.value),
                    None => entries.push(entry.clone()),
                }
            }
            Kind::Mapping(entries)
        }
        (Kind::Sequence(global), Kind::Sequence(own)) => {
            Kind::Sequence(global.iter().chain(own).cloned().collect())
        }
        (_, own) => own.clone(),
    };
    Node::new(kind, own.mark.clone())
}
