//! Authorizers, and the vendor's names of what identifies a caller.

use super::Emitter;
use crate::config::load::tree::Node;
use crate::config::vendor::build::{Mapping, list, text};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::{Authorizer, AuthorizerKind, Function, Product};
use crate::config::vendor::value::Value;

impl Emitter<'_> {
    pub(super) fn authorizers(&mut self) -> Mapping {
        let api = self.api;
        let mut authorizers = Mapping::new(&api.document.mark);
        for authorizer in &api.authorizers {
            if self.declares(&authorizer.name) {
                self.maps(
                    &authorizer.at,
                    format!("authorizers.{} (as `x-penstock` says)", authorizer.name),
                );
                continue;
            }
            let before = self.findings.missing();
            let made = match self.authorizer(authorizer) {
                Ok(_) if self.findings.missing() > before => {
                    Err("parts of it cannot be had".to_owned())
                }
                made => made,
            };
            match made {
                Ok(Some(node)) => {
                    self.strangers(&authorizer.others, "of an authorizer");
                    self.maps(&authorizer.at, format!("authorizers.{}", authorizer.name));
                    authorizers.put(&authorizer.name, &authorizer.at.mark, node);
                }
                // what stands for itself needs no declaration
                Ok(None) => {}
                Err(reason) => {
                    let used = api.routes.iter().any(|route| {
                        route.access.required.iter().any(|required| {
                            matches!(&required.kind, crate::config::vendor::model::Required::Authorizer { name, .. } if *name == authorizer.name)
                        })
                    });
                    if !used {
                        self.findings.note(
                            Verdict::Noted,
                            &authorizer.at.mark,
                            &authorizer.at.path,
                            format!("the authorizer `{}` is left out, and no route asks for it: {reason}", authorizer.name),
                        );
                    }
                    self.unusable.insert(authorizer.name.clone(), reason);
                }
            }
        }
        if let Some(source) = &api.api_key_source {
            match source.word().as_str() {
                "header" => {}
                "authorizer" => {
                    let mark = &source.mark;
                    let mut from = Mapping::new(mark);
                    from.put("from", mark, list(vec![text("authorizer", mark)], mark));
                    let mut node = Mapping::new(mark);
                    node.put_mapping("api_key", from);
                    authorizers.put("api_key", mark, node.node());
                    self.maps(source, "authorizers.api_key");
                }
                _ => self.unknown_word(source, "a source of API keys", &["HEADER", "AUTHORIZER"]),
            }
        }
        authorizers
    }

    /// One authorizer; `None` for one that is built in. `Err`: why it cannot be had.
    fn authorizer(&mut self, authorizer: &Authorizer) -> Result<Option<Node>, String> {
        let at = &authorizer.at.mark;
        let mut kind = Mapping::new(at);
        let name = match &authorizer.kind {
            // routes that ask for it say what is missing
            AuthorizerKind::ApiKey | AuthorizerKind::Iam => return Ok(None),
            AuthorizerKind::Unknown => {
                return Err(
                    "nothing says how it is checked: no `x-amazon-apigateway-authorizer`"
                        .to_owned(),
                );
            }
            AuthorizerKind::UserPools { providers } => {
                return Err(match providers.first().and_then(user_pool) {
                    Some(issuer) => format!(
                        "a user pool's authorizer checks no audience; write `{{ jwt: {{ issuer: \"{issuer}\", audience: [APP_CLIENT_ID] }} }}` with the ids of your app clients"
                    ),
                    None => "its user pool is not named by an ARN".to_owned(),
                });
            }
            AuthorizerKind::Jwt { issuer, audience } => {
                let Some(issuer) = issuer else {
                    return Err("no issuer is named".to_owned());
                };
                let leaf = self.leaf(issuer);
                kind.put_some("issuer", &issuer.mark, leaf);
                if audience.is_empty() {
                    return Err(
                        "no audience is named, and the vendor refuses every token then".to_owned(),
                    );
                }
                let items: Vec<Node> = audience.iter().filter_map(|a| self.leaf(a)).collect();
                kind.put("audience", at, list(items, at));
                // the vendor takes RSA alone (reference, 4.2)
                let rsa = ["RS256", "RS384", "RS512"].map(|name| text(name, at));
                kind.put("algorithms", at, list(rsa.to_vec(), at));
                if let Some(source) = authorizer.identity_sources.first() {
                    let leaf = self.identity_source(source);
                    kind.put_some("identity_source", &source.mark, leaf);
                }
                if let Some(second) = authorizer.identity_sources.get(1) {
                    self.findings.note(
                        Verdict::Ignored,
                        &second.mark,
                        &second.path,
                        "a JWT has one identity source: the first",
                    );
                }
                "jwt"
            }
            AuthorizerKind::Function(function) => {
                let Function {
                    token,
                    uri,
                    credentials,
                    payload_version,
                    simple_responses,
                    token_pattern,
                } = &**function;
                let Some(uri) = uri else {
                    return Err("no function is named (`authorizerUri`)".to_owned());
                };
                let function = match uri.text() {
                    Some(written) => self.leaf(&Value {
                        mark: uri.mark.clone(),
                        ..uri.replaced(function_of(&written))
                    }),
                    None => self.leaf(uri),
                };
                kind.put_some("function", &uri.mark, function);
                if *token {
                    kind.put("type", at, text("token", at));
                } else {
                    let version = payload_version.as_ref().and_then(Value::text);
                    let format = match (version, self.api.product) {
                        (Some(version), _) if version.trim_start().starts_with('2') => "2.0",
                        (Some(_), _) | (None, Product::Rest) => "1.0",
                        (None, Product::Http) => "2.0",
                    };
                    kind.put("format", at, text(format, at));
                    if format == "2.0" {
                        let simple = simple_responses.as_ref().and_then(Value::flag);
                        let mark = simple_responses.as_ref().map_or(at, |s| &s.mark);
                        let simple = simple.unwrap_or(false).to_string();
                        kind.put(
                            "simple_responses",
                            mark,
                            crate::config::vendor::build::plain(simple, mark),
                        );
                    }
                }
                let sources: Vec<Node> = authorizer
                    .identity_sources
                    .iter()
                    .filter_map(|source| self.identity_source(source))
                    .collect();
                if !sources.is_empty() {
                    kind.put("identity_sources", at, list(sources, at));
                }
                match &authorizer.ttl_seconds {
                    Some(ttl) => {
                        let span = self.seconds(ttl);
                        kind.put_some("ttl", &ttl.mark, span);
                    }
                    // REST's default (reference, 5.4)
                    None if self.api.product == Product::Rest => {
                        kind.put("ttl", at, text("300s", at));
                    }
                    None => {}
                }
                if let Some(pattern) = token_pattern.as_ref().filter(|_| *token) {
                    let leaf = self.leaf(pattern);
                    kind.put_some("token_pattern", &pattern.mark, leaf);
                }
                if let Some(credentials) = credentials {
                    self.credentials(credentials);
                }
                "lambda"
            }
        };
        let mut node = Mapping::new(at);
        node.put_mapping(name, kind);
        Ok(Some(node.node()))
    }

    /// A source as HTTP APIs write it. REST writes `method.request.header.NAME`, and `context.NAME` without `$`.
    fn identity_source(&mut self, source: &Value) -> Option<Node> {
        let Some(written) = source.text() else {
            return self.leaf(source);
        };
        let written = written.trim();
        let ours = match written
            .strip_prefix("method.")
            .or_else(|| written.strip_prefix("$method."))
        {
            Some(rest) => format!("${rest}"),
            None if written.starts_with("context.") || written.starts_with("stageVariables.") => {
                format!("${written}")
            }
            None => written.to_owned(),
        };
        Some(text(ours, &source.mark))
    }

    /// The role that the vendor assumes.
    pub(super) fn credentials(&mut self, credentials: &Value) {
        let known = credentials
            .text()
            .filter(|_| !credentials.node.has_unfetched());
        let Some(role) = known else {
            // who calls is ours to say, whatever the function stands for
            self.findings.note(
                Verdict::Ignored,
                &credentials.mark,
                &credentials.path,
                "a role that the vendor assumes; here calls are made with the gateway's own credentials",
            );
            return;
        };
        if role.starts_with("arn:aws:iam::*:") {
            self.findings.note(
                Verdict::Differs,
                &credentials.mark,
                &credentials.path,
                "calls with the caller's own credentials cannot be had: they are made with the gateway's",
            );
            return;
        }
        self.findings
            .note(
                Verdict::Ignored,
                &credentials.mark,
                &credentials.path,
                format!("the vendor assumes the role {role}; here calls are made with the gateway's own credentials"),
            )
            .help("`penstock iam` prints the policy they need; `aws.assume_role` has the gateway assume a role");
    }
}

/// The function in the vendor's invocation URI, or the text as it is.
fn function_of(uri: &str) -> String {
    uri.split_once("/functions/")
        .map(|(_, rest)| rest.strip_suffix("/invocations").unwrap_or(rest))
        .unwrap_or(uri)
        .to_owned()
}

/// The issuer of a user pool's tokens.
fn user_pool(arn: &Value) -> Option<String> {
    let arn = arn.text()?;
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, "cognito-idp", region, _, pool] = parts.as_slice() else {
        return None;
    };
    let pool = pool.strip_prefix("userpool/")?;
    Some(format!("https://cognito-idp.{region}.amazonaws.com/{pool}"))
}
