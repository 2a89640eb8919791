//! An HTTP API as the vendor's documents describe it, whichever kind of document it was: OpenAPI, a template, a plan.
//! Each leaf is a [`Value`], which knows where the document says it. Readers fill this in and judge nothing but forms;
//! what each part becomes, and what cannot be had, is decided once, in `emit`.

use super::value::{Named, Value};

/// One API.
#[derive(Clone, Debug)]
pub struct HttpApi {
    /// The part of the document that describes it.
    pub document: Value,
    /// The id of its resource, by which findings know it; empty in a document of one API.
    pub id: String,
    pub name: Option<Value>,
    /// What the vendor's defaults are.
    pub product: Product,
    /// A path before every route's, such as `/v1`: from `servers` where that was asked for, or from an API mapping.
    pub base_path: Option<Value>,
    /// The hosts that it is reached under: custom domains.
    pub hosts: Vec<Value>,
    pub stages: Vec<Stage>,
    pub routes: Vec<Route>,
    pub authorizers: Vec<Authorizer>,
    pub cors: Option<Cors>,
    /// `HEADER` or `AUTHORIZER`.
    pub api_key_source: Option<Value>,
    /// By type: `UNAUTHORIZED`, `DEFAULT_4XX`.
    pub gateway_responses: Vec<Named<GatewayResponse>>,
    /// A resource policy document.
    pub policy: Option<Value>,
    /// By name.
    pub usage_plans: Vec<Named<UsagePlan>>,
    pub api_keys: Vec<ApiKey>,
    /// Keys of our own configuration's root: `x-penstock`.
    pub own: Option<Value>,
}

/// Which of the vendor's two products the document is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Product {
    #[default]
    Http,
    Rest,
}

/// A stage. A gateway serves one; which of several is the reader's or the command line's choice.
#[derive(Clone, Debug)]
pub struct Stage {
    pub at: Value,
    /// Absent: `$default`.
    pub name: Option<Value>,
    pub variables: Vec<Named<Value>>,
    /// The default of every route.
    pub throttle: Throttle,
    /// By route key.
    pub route_throttles: Vec<Named<Throttle>>,
    pub access_log: Option<AccessLog>,
    /// Settings that have no counterpart here: detailed metrics, logging level, caching.
    pub others: Vec<Named<Value>>,
}

#[derive(Clone, Debug, Default)]
pub struct Throttle {
    /// Requests a second.
    pub rate: Option<Value>,
    pub burst: Option<Value>,
}

#[derive(Clone, Debug)]
pub struct AccessLog {
    pub at: Value,
    pub destination: Option<Value>,
    /// A text with `$context` variables.
    pub format: Option<Value>,
}

/// A route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The operation, or the resource that declares it.
    pub at: Value,
    /// `POST /orders`, `ANY /x`, `$default`.
    pub key: String,
    /// A sentence for people.
    pub summary: Option<Value>,
    pub integration: Option<Integration>,
    pub access: Access,
    pub throttle: Throttle,
    /// What a request has to bring, where a validator asks for it.
    pub validation: Validation,
    /// Keys of our own route: `x-penstock`.
    pub own: Option<Value>,
    /// Settings that have no counterpart here.
    pub others: Vec<Named<Value>>,
}

/// Who may use a route.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// What all have to let the caller pass, in order.
    pub required: Vec<Requirement>,
    /// Written to be open: nothing has to be warned of.
    pub open: bool,
}

/// What a caller has to bring.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// Where the route asks for it.
    pub at: Value,
    pub kind: Required,
}

#[derive(Clone, Debug)]
pub enum Required {
    /// One of the API's authorizers, by name, and scopes of which a token needs one.
    Authorizer { name: String, scopes: Vec<Value> },
    /// An API key of a usage plan.
    ApiKey,
    /// A signature (`AWS_IAM`).
    Iam,
}

/// What a request has to bring.
#[derive(Clone, Debug, Default)]
pub struct Validation {
    /// A JSON Schema for `application/json`, every reference resolved.
    pub body: Option<Value>,
    /// Whether a request without a body is refused.
    pub body_required: bool,
    pub headers: Vec<Value>,
    pub query: Vec<Value>,
}

/// What a route calls.
#[derive(Clone, Debug)]
pub struct Integration {
    pub at: Value,
    /// `aws_proxy`, `http_proxy`, `mock`, `aws`, `http`, in any case.
    pub kind: Option<Value>,
    /// `SQS-SendMessage`.
    pub subtype: Option<Value>,
    pub uri: Option<Value>,
    pub method: Option<Value>,
    pub credentials: Option<Value>,
    pub payload_version: Option<Value>,
    /// In the vendor's writing: parameter names, or `overwrite:header.NAME` and the like.
    pub request_parameters: Vec<Named<Value>>,
    /// By status: `overwrite:header.NAME`, `overwrite:statuscode` and the like.
    pub response_parameters: Vec<Named<Vec<Named<Value>>>>,
    pub timeout_millis: Option<Value>,
    /// `INTERNET` or `VPC_LINK`.
    pub connection_type: Option<Value>,
    pub connection_id: Option<Value>,
    pub tls_server_name: Option<Value>,
    /// REST: by content type.
    pub request_templates: Option<Value>,
    /// REST: by a regular expression, or `default`.
    pub responses: Option<Value>,
    /// Further fields: known ones that have no counterpart, and unknown ones.
    pub others: Vec<Named<Value>>,
}

/// An authorizer.
#[derive(Clone, Debug)]
pub struct Authorizer {
    pub at: Value,
    pub name: String,
    pub kind: AuthorizerKind,
    /// Header, query and other sources: `$request.header.NAME`, or REST's `method.request.header.NAME`.
    pub identity_sources: Vec<Value>,
    /// How long an answer is remembered, in seconds.
    pub ttl_seconds: Option<Value>,
    pub others: Vec<Named<Value>>,
}

/// A function that decides.
#[derive(Clone, Debug)]
pub struct Function {
    /// REST's `token` form; else `request`.
    pub token: bool,
    /// The function's ARN, or the vendor's invocation URI.
    pub uri: Option<Value>,
    pub credentials: Option<Value>,
    pub payload_version: Option<Value>,
    pub simple_responses: Option<Value>,
    /// `identityValidationExpression`.
    pub token_pattern: Option<Value>,
}

#[derive(Clone, Debug)]
pub enum AuthorizerKind {
    Jwt {
        issuer: Option<Value>,
        audience: Vec<Value>,
    },
    /// A function that decides.
    Function(Box<Function>),
    /// Cognito user pools, by ARN.
    UserPools { providers: Vec<Value> },
    /// Signatures (`awsSigv4`).
    Iam,
    /// An API key in the header `x-api-key`.
    ApiKey,
    /// Declared, and nothing says how it is checked.
    Unknown,
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug)]
pub struct Cors {
    pub at: Value,
    pub allow_origins: Vec<Value>,
    pub allow_methods: Vec<Value>,
    pub allow_headers: Vec<Value>,
    pub expose_headers: Vec<Value>,
    pub allow_credentials: Option<Value>,
    /// In seconds.
    pub max_age: Option<Value>,
    pub others: Vec<Named<Value>>,
}

/// What a refusal looks like.
#[derive(Clone, Debug)]
pub struct GatewayResponse {
    pub at: Value,
    pub status: Option<Value>,
    /// `gatewayresponse.header.NAME` to a quoted text or a selector of the request.
    pub parameters: Vec<Named<Value>>,
    /// By content type.
    pub templates: Vec<Named<Value>>,
}

#[derive(Clone, Debug)]
pub struct UsagePlan {
    pub at: Value,
    pub throttle: Throttle,
    /// By route key.
    pub route_throttles: Vec<Named<Throttle>>,
    pub quota_limit: Option<Value>,
    /// `DAY`, `WEEK` or `MONTH`.
    pub quota_period: Option<Value>,
    pub quota_offset: Option<Value>,
    pub description: Option<Value>,
}

#[derive(Clone, Debug)]
pub struct ApiKey {
    pub at: Value,
    pub name: String,
    /// The key itself, where the document holds it.
    pub value: Option<Value>,
    pub enabled: Option<Value>,
    pub plan: Option<String>,
    pub description: Option<Value>,
}

impl HttpApi {
    /// An API of which nothing is known but where it is described.
    pub fn new(document: Value) -> HttpApi {
        HttpApi {
            document,
            id: String::new(),
            name: None,
            product: Product::default(),
            base_path: None,
            hosts: Vec::new(),
            stages: Vec::new(),
            routes: Vec::new(),
            authorizers: Vec::new(),
            cors: None,
            api_key_source: None,
            gateway_responses: Vec::new(),
            policy: None,
            usage_plans: Vec::new(),
            api_keys: Vec::new(),
            own: None,
        }
    }
}

impl Integration {
    /// An integration of which nothing is known but where it is written.
    pub fn new(at: Value) -> Integration {
        Integration {
            at,
            kind: None,
            subtype: None,
            uri: None,
            method: None,
            credentials: None,
            payload_version: None,
            request_parameters: Vec::new(),
            response_parameters: Vec::new(),
            timeout_millis: None,
            connection_type: None,
            connection_id: None,
            tls_server_name: None,
            request_templates: None,
            responses: None,
            others: Vec::new(),
        }
    }
}
