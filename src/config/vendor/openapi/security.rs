//! Security schemes → authorizers, security requirements → who may use a route.

use super::Reader;
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::{
    Access, Authorizer, AuthorizerKind, Function, Required, Requirement,
};
use crate::config::vendor::value::{Named, Value};

/// What an issuer's discovery document is called.
const DISCOVERY: &str = "/.well-known/openid-configuration";

const KNOWN: [&str; 10] = [
    "type",
    "authorizerUri",
    "authorizerCredentials",
    "authorizerPayloadFormatVersion",
    "enableSimpleResponses",
    "identitySource",
    "jwtConfiguration",
    "identityValidationExpression",
    "authorizerResultTtlInSeconds",
    "providerARNs",
];

impl Reader<'_> {
    pub(super) fn authorizers(&mut self, root: &Value) -> Vec<Authorizer> {
        let schemes = root
            .get("components")
            .and_then(|components| components.get("securitySchemes"));
        let entries = schemes.map(|schemes| schemes.entries()).unwrap_or_default();
        let mut authorizers = Vec::new();
        for scheme in entries {
            if let Some(followed) = self.followed(scheme.value.clone()) {
                authorizers.push(self.scheme(&scheme, followed));
            }
        }
        authorizers
    }

    fn scheme(&mut self, named: &Named<Value>, scheme: Value) -> Authorizer {
        let auth_type = self.extension(&scheme, "authtype").map(|kind| kind.word());
        let written = self.extension(&scheme, "authorizer");
        let Some(at) = written else {
            let kind = match (
                auth_type.as_deref(),
                scheme.get("type").map(|t| t.word()).as_deref(),
            ) {
                (Some("awssigv4"), _) => AuthorizerKind::Iam,
                (None | Some("apikey"), Some("apikey")) if is_key_header(&scheme) => {
                    AuthorizerKind::ApiKey
                }
                _ => AuthorizerKind::Unknown,
            };
            return Authorizer {
                name: named.name.clone(),
                kind,
                identity_sources: Vec::new(),
                ttl_seconds: None,
                others: Vec::new(),
                at: scheme,
            };
        };
        let mut field = |name: &str| self.in_any_case(&at, name);
        let kind = field("type");
        let uri = field("authorizerUri");
        let credentials = field("authorizerCredentials");
        let payload_version = field("authorizerPayloadFormatVersion");
        let simple_responses = field("enableSimpleResponses");
        let source = field("identitySource");
        let jwt = field("jwtConfiguration");
        let token_pattern = field("identityValidationExpression");
        let ttl_seconds = field("authorizerResultTtlInSeconds");
        let providers = field("providerARNs");
        let word = kind.as_ref().map(Value::word).unwrap_or_default();
        let mut identity_sources = source
            .map(|source| source.list_or_commas())
            .unwrap_or_default();
        let kind = match word.as_str() {
            "jwt" => {
                let issuer = match &jwt {
                    Some(jwt) => self.in_any_case(jwt, "issuer"),
                    None => None,
                };
                let audience = match &jwt {
                    Some(jwt) => self.in_any_case(jwt, "audience"),
                    None => None,
                };
                AuthorizerKind::Jwt {
                    issuer: issuer.or_else(|| discovered(&scheme)),
                    audience: audience.map(|a| a.one_or_many()).unwrap_or_default(),
                }
            }
            "cognito_user_pools" => AuthorizerKind::UserPools {
                providers: providers.map(|p| p.one_or_many()).unwrap_or_default(),
            },
            "request" | "token" => {
                let token = word == "token";
                if token && identity_sources.is_empty() {
                    identity_sources.extend(token_header(&scheme));
                }
                AuthorizerKind::Function(Box::new(Function {
                    token,
                    uri,
                    credentials,
                    payload_version,
                    simple_responses,
                    token_pattern,
                }))
            }
            _ => {
                if let Some(kind) = &kind {
                    let reason = format!("{word:?} is not a type of authorizer");
                    self.note(Verdict::Noted, kind, reason)
                        .help("known: jwt, request, token, cognito_user_pools");
                }
                AuthorizerKind::Unknown
            }
        };
        let known = |name: &str| KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name));
        let others = at.entries().into_iter();
        Authorizer {
            name: named.name.clone(),
            kind,
            identity_sources,
            ttl_seconds,
            others: others.filter(|other| !known(&other.name)).collect(),
            at,
        }
    }

    /// Who may use an operation: its own `security`, else the document's, and `x-amazon-apigateway-auth`.
    pub(super) fn access(&mut self, operation: &Value) -> Access {
        let mut access = Access::default();
        if let Some(auth) = self.extension(operation, "auth") {
            let kind = auth.get("type");
            match kind.as_ref().map(Value::word).unwrap_or_default().as_str() {
                "none" => {
                    access.open = true;
                    return access;
                }
                "aws_iam" => access.required.push(Requirement {
                    at: auth,
                    kind: Required::Iam,
                }),
                _ => {
                    let at = kind.unwrap_or(auth);
                    let name = at.text().unwrap_or_default().into_owned();
                    let scopes = Vec::new();
                    // nobody knows it, so nobody passes it
                    let kind = Required::Authorizer { name, scopes };
                    access.required.push(Requirement { at, kind });
                }
            }
        }
        let security = match operation.get("security") {
            Some(own) => own,
            None => {
                let Some(general) = self.root.get("security") else {
                    return access;
                };
                if general.items().iter().any(|r| !r.entries().is_empty()) {
                    self.note(
                        Verdict::Ignored,
                        &general,
                        "`security` of the document holds for every operation without its own, as OpenAPI says; the vendor ignores it, and lets everyone in",
                    );
                }
                general
            }
        };
        self.requirements(&security, &mut access);
        access
    }

    fn requirements(&mut self, security: &Value, access: &mut Access) {
        let alternatives = security.items();
        if alternatives.is_empty() || alternatives.iter().any(|one| one.entries().is_empty()) {
            // `security: []`, and `{}` as one of the alternatives: nothing is asked for
            access.open = access.required.is_empty();
            return;
        }
        let mut authorizers = 0;
        for alternative in &alternatives {
            for scheme in alternative.entries() {
                let name = scheme.name.clone();
                let kind = match self.kind_of(&name) {
                    Some(AuthorizerKind::ApiKey) => Required::ApiKey,
                    Some(AuthorizerKind::Iam) => Required::Iam,
                    _ => {
                        authorizers += 1;
                        Required::Authorizer {
                            name,
                            scopes: scheme.value.items(),
                        }
                    }
                };
                access.required.push(Requirement {
                    at: Value {
                        mark: scheme.mark.clone(),
                        ..scheme.value
                    },
                    kind,
                });
            }
        }
        if authorizers > 1 {
            self.note(
                Verdict::Differs,
                security,
                "more than one authorizer: the vendor takes one, and beside it an API key; here all of them have to let the caller pass",
            );
        }
        // an authorizer before the key that it may name
        access
            .required
            .sort_by_key(|required| matches!(required.kind, Required::ApiKey));
    }

    /// What a scheme without an authorizer of its own stands for.
    fn kind_of(&mut self, name: &str) -> Option<AuthorizerKind> {
        let path = format!(
            "/components/securitySchemes/{}",
            name.replace('~', "~0").replace('/', "~1")
        );
        let scheme = self.pointed(&path)?;
        if self.extension(&scheme, "authorizer").is_some() {
            return None;
        }
        let kind = self.extension(&scheme, "authtype").map(|kind| kind.word());
        match kind.as_deref() {
            Some("awssigv4") => Some(AuthorizerKind::Iam),
            None | Some("apikey") if is_key_header(&scheme) => Some(AuthorizerKind::ApiKey),
            _ => None,
        }
    }
}

/// Whether a scheme is the header of the vendor's API keys.
fn is_key_header(scheme: &Value) -> bool {
    let word = |key: &str| {
        scheme
            .get(key)
            .map(|value| value.word())
            .unwrap_or_default()
    };
    word("type") == "apikey" && word("in") == "header" && word("name") == "x-api-key"
}

/// The header that a `token` authorizer reads.
fn token_header(scheme: &Value) -> Option<Value> {
    let name = scheme.get("name")?;
    let written = name.text()?.into_owned();
    let header = !written.eq_ignore_ascii_case("unused");
    header.then(|| name.replaced(format!("$request.header.{written}")))
}

/// The issuer in `openIdConnectUrl`.
fn discovered(scheme: &Value) -> Option<Value> {
    let url = scheme.get("openIdConnectUrl")?;
    let written = url.text()?.into_owned();
    let issuer = written.strip_suffix(DISCOVERY).unwrap_or(&written);
    Some(url.replaced(issuer))
}
