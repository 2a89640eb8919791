//! Authorizers → security schemes, and what routes ask for → security requirements. What the vendor cannot check is
//! closed there, never open.

use super::{Exporter, VENDOR, millis};
use crate::config::vendor::build::{Mapping, list, plain, text};
use crate::config::vendor::value::{Named, Value};

/// What a route asks for, in the vendor's words.
enum Asked {
    Open,
    /// Names of schemes.
    Schemes(Vec<String>),
    Iam,
    /// The vendor has no words for it.
    Unsaid(String),
}

impl Exporter {
    /// The security schemes of authorizers that the vendor knows.
    pub(super) fn schemes(&mut self) -> Mapping {
        let config = self.config.clone();
        let mut schemes = Mapping::new(&config.mark);
        let declared = config
            .get("authorizers")
            .map(|a| a.entries())
            .unwrap_or_default();
        for authorizer in &declared {
            if let Some(scheme) = self.scheme(authorizer) {
                schemes.put_mapping(&authorizer.name, scheme);
            }
        }
        let routes = config
            .get("routes")
            .map(|r| r.entries())
            .unwrap_or_default();
        let asks = |route: &Named<Value>| names(&route.value).iter().any(|name| name == "api_key");
        if routes.iter().any(asks) && !schemes.contains("api_key") {
            schemes.put_mapping("api_key", key_header(&config));
        }
        schemes
    }

    fn scheme(&mut self, authorizer: &Named<Value>) -> Option<Mapping> {
        let at = &authorizer.mark;
        if let Some(jwt) = authorizer.value.get("jwt") {
            let issuer = jwt.get("issuer")?;
            let audience = jwt.get("audience")?;
            let mut configuration = Mapping::new(&jwt.mark);
            configuration.put("issuer", &issuer.mark, issuer.node.clone());
            let audience = audience.one_or_many();
            let items = audience.iter().map(|item| item.node.clone()).collect();
            configuration.put("audience", &jwt.mark, list(items, &jwt.mark));
            let mut inner = Mapping::new(at);
            inner.put("type", at, text("jwt", at));
            let source = jwt.get("identity_source");
            let source = source
                .as_ref()
                .and_then(|source| source.text())
                .unwrap_or_else(|| "$request.header.Authorization".into());
            inner.put("identitySource", at, text(source, at));
            inner.put_mapping("jwtConfiguration", configuration);
            let mut scheme = Mapping::new(at);
            scheme.put("type", at, text("oauth2", at));
            scheme.put("flows", at, Mapping::new(at).node());
            scheme.put_mapping(format!("{VENDOR}authorizer"), inner);
            return Some(scheme);
        }
        if let Some(lambda) = authorizer
            .value
            .get("lambda")
            .or_else(|| authorizer.value.get("request"))
        {
            return self.function(authorizer, &lambda);
        }
        if authorizer.value.get("api_key").is_some() && authorizer.name == "api_key" {
            return Some(key_header(&authorizer.value));
        }
        None
    }

    fn function(&mut self, authorizer: &Named<Value>, lambda: &Value) -> Option<Mapping> {
        let at = &authorizer.mark;
        let function = lambda.get("function")?;
        let arn = function.text()?.into_owned();
        let region = arn
            .strip_prefix("arn:aws:lambda:")?
            .split(':')
            .next()?
            .to_owned();
        if lambda
            .get("type")
            .is_some_and(|kind| kind.word() == "token")
        {
            return None;
        }
        let mut inner = Mapping::new(at);
        inner.put("type", at, text("request", at));
        let uri = format!(
            "arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations"
        );
        inner.put("authorizerUri", &function.mark, text(uri, &function.mark));
        let format = lambda.get("format");
        let format = format
            .as_ref()
            .and_then(|f| f.text())
            .unwrap_or_else(|| "2.0".into());
        let second = format == "2.0";
        inner.put("authorizerPayloadFormatVersion", at, text(format, at));
        if second {
            let simple = lambda
                .get("simple_responses")
                .and_then(|s| s.flag())
                .unwrap_or(false);
            inner.put("enableSimpleResponses", at, plain(simple.to_string(), at));
        }
        let sources = lambda
            .get("identity_sources")
            .map(|s| s.items())
            .unwrap_or_default();
        let sources: Vec<String> = sources
            .iter()
            .filter_map(|s| s.text().map(|t| t.into_owned()))
            .collect();
        if !sources.is_empty() {
            inner.put("identitySource", at, text(sources.join(", "), at));
        }
        if let Some(ttl) = lambda.get("ttl")
            && let Some(millis) = millis(&ttl)
        {
            inner.put(
                "authorizerResultTtlInSeconds",
                &ttl.mark,
                plain((millis / 1000).to_string(), &ttl.mark),
            );
        }
        let header = match sources.as_slice() {
            [only] => only
                .strip_prefix("$request.header.")
                .unwrap_or("Unused")
                .to_owned(),
            _ => "Unused".to_owned(),
        };
        let mut scheme = Mapping::new(at);
        scheme.put("type", at, text("apiKey", at));
        scheme.put("name", at, text(header, at));
        scheme.put("in", at, text("header", at));
        scheme.put_mapping(format!("{VENDOR}authorizer"), inner);
        Some(scheme)
    }

    /// Who may use a route.
    pub(super) fn access(&mut self, route: &Named<Value>, operation: &mut Mapping) {
        let at = &route.mark;
        match self.asked(route) {
            Asked::Open => {}
            Asked::Schemes(names) => {
                let scopes = route.value.get("scopes").map(|scopes| scopes.node);
                let requirements = names.iter().enumerate().map(|(position, name)| {
                    let mut requirement = Mapping::new(at);
                    let none = list(Vec::new(), at);
                    let scopes = scopes.clone().filter(|_| position == 0).unwrap_or(none);
                    requirement.put(name, at, scopes);
                    requirement.node()
                });
                let requirements = requirements.collect();
                operation.put("security", at, list(requirements, at));
            }
            asked @ (Asked::Iam | Asked::Unsaid(_)) => {
                let mut iam = Mapping::new(at);
                iam.put("type", at, text("AWS_IAM", at));
                operation.put_mapping(format!("{VENDOR}auth"), iam);
                if let Asked::Unsaid(reason) = asked {
                    self.differs(&route.value, format!("{reason}: there the route asks for a signature (AWS_IAM), so that it is not open"));
                }
            }
        }
    }

    fn asked(&mut self, route: &Named<Value>) -> Asked {
        let names = names(&route.value);
        match names
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .as_slice()
        {
            [] | ["none"] => Asked::Open,
            ["aws_iam"] => Asked::Iam,
            _ => {
                let mut judges = 0;
                for name in &names {
                    let declared = self.authorizer(name);
                    let known = match &declared {
                        None => name == "api_key",
                        Some(authorizer) => {
                            let entry = Named {
                                name: name.clone(),
                                mark: authorizer.mark.clone(),
                                value: authorizer.clone(),
                            };
                            self.scheme(&entry).is_some()
                        }
                    };
                    if !known {
                        return Asked::Unsaid(format!(
                            "the vendor has no authorizer like `{name}`"
                        ));
                    }
                    if name != "api_key" {
                        judges += 1;
                    } else {
                        self.differs(&route.value, "the vendor's HTTP APIs have no API keys: import the document as a REST API there, or put another authorizer in front");
                    }
                }
                if judges > 1 {
                    return Asked::Unsaid(
                        "the vendor takes one authorizer for each route".to_owned(),
                    );
                }
                Asked::Schemes(names)
            }
        }
    }
}

/// The authorizers of a route.
fn names(route: &Value) -> Vec<String> {
    let authorizer = route.get("authorizer");
    let named = authorizer
        .map(|authorizer| authorizer.one_or_many())
        .unwrap_or_default();
    named
        .iter()
        .filter_map(|name| name.text().map(|name| name.into_owned()))
        .map(|name| {
            if name == "false" {
                "none".to_owned()
            } else {
                name
            }
        })
        .collect()
}

/// The header of the vendor's API keys.
fn key_header(of: &Value) -> Mapping {
    let at = &of.mark;
    let mut scheme = Mapping::new(at);
    scheme.put("type", at, text("apiKey", at));
    scheme.put("name", at, text("x-api-key", at));
    scheme.put("in", at, text("header", at));
    scheme
}
