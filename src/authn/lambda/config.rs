//! What people write about a request authorizer, and what is wrong with it.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use indexmap::IndexMap;
use regex_lite::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::Given;
use super::super::sigv4::SecretText;
use super::ask::Service;
use super::source::Source;
use super::{Format, Spec, Token};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::value::Span;

/// Request authorizers: a service decides, by the Lambda-authorizer contract.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "LambdaAuthorizer")]
pub struct Config {
    /// The service that is asked, by POST. Either this or `function`.
    pub url: Option<String>,
    /// The Lambda function that is asked: its ARN, or its name in `aws.region`.
    pub function: Option<String>,
    /// The payload format: `1.0` or `2.0`. Default: `2.0`.
    pub format: Option<String>,
    /// `request`, or `token` for REST's form, which sends the token alone. Default: `request`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Format 2.0: `true` takes `{"isAuthorized": …}` alone, `false` policies alone. Default: either.
    pub simple_responses: Option<bool>,
    /// What identifies a caller, all of which must be there: `$request.header.NAME`, `$request.querystring.NAME`,
    /// `$context.NAME`, `$stageVariables.NAME`. Their values are the key of remembered answers, over all routes that name
    /// the authorizer; with `$context.routeKey` among them each route has its own. Default: none; for `token`
    /// `$request.header.authorization`.
    pub identity_sources: Vec<String>,
    /// How long an answer is remembered, a refusal too, up to 1h. Default: 0, which asks about each request.
    pub ttl: Option<Span>,
    /// How long the service may take, up to 10s. Default: 10s.
    pub timeout: Option<Span>,
    /// A regular expression that a token must match, or it is refused without a call. Only for `token`.
    pub token_pattern: Option<String>,
    /// Headers that go with each question to `url`. Their values are never printed.
    #[schemars(with = "std::collections::BTreeMap<String, SecretText>")]
    pub headers: IndexMap<String, SecretText>,
    /// How many answers are remembered, 1 to 1,000,000; the ones used least make room. Default: 10,000.
    pub max_entries: Option<usize>,
}

const LONGEST_TTL: Duration = Duration::from_secs(3_600);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);
const ENTRIES: usize = 10_000;
const MOST_ENTRIES: usize = 1_000_000;

impl Config {
    /// Checks what was written.
    pub(in crate::authn) fn compile(
        &self,
        name: &str,
        given: &Given<'_>,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Spec> {
        let before = problems.errors();
        let service = self.service(at, problems);
        let format = self.format(at, problems);
        let sources = self.sources(format, given, at, problems);
        let ttl = self.ttl.map_or(Duration::ZERO, |span| span.0);
        if ttl > LONGEST_TTL {
            problems
                .error(&at.key("ttl"), format!("{} is out of range", Span(ttl)))
                .help("allowed: 0 to 1h");
        } else if !ttl.is_zero() && sources.is_empty() {
            problems
                .error(
                    &at.key("ttl"),
                    "no answer can be remembered without `identity_sources`: one caller's would be everyone's",
                )
                .help("name what identifies a caller, such as $request.header.authorization");
        }
        let timeout = self.timeout.map_or(LONGEST_TIMEOUT, |span| span.0);
        if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
            problems
                .error(
                    &at.key("timeout"),
                    format!("{} is out of range", Span(timeout)),
                )
                .help("allowed: above 0 to 10s");
        }
        let max_entries = self.max_entries.unwrap_or(ENTRIES);
        if !(1..=MOST_ENTRIES).contains(&max_entries) {
            problems
                .error(
                    &at.key("max_entries"),
                    format!("{max_entries} is out of range"),
                )
                .help("allowed: 1 to 1000000");
        }
        let token_pattern = self.token_pattern(format, at, problems);
        let headers = self.headers(at, problems);
        let service = service?;
        (problems.errors() == before).then_some(Spec {
            name: name.into(),
            service,
            format,
            sources,
            token_pattern,
            ttl,
            timeout,
            headers,
            max_entries,
            region: given.region.map(Into::into),
        })
    }

    fn service(&self, at: &ConfigPath, problems: &mut Problems) -> Option<Service> {
        match (&self.url, &self.function) {
            (Some(url), None) => url_of(url, &at.key("url"), problems),
            (None, Some(function)) => function_of(function, &at.key("function"), problems),
            (Some(_), Some(_)) => {
                problems
                    .error(&at.key("function"), "cannot stand beside `url`")
                    .help("write one of them");
                None
            }
            (None, None) => {
                problems
                    .error(at, "nobody would be asked")
                    .help("write `url: https://…` or `function: ARN`");
                None
            }
        }
    }

    fn format(&self, at: &ConfigPath, problems: &mut Problems) -> Format {
        let is_token = match self.kind.as_deref() {
            None | Some("request") => false,
            Some("token") => true,
            Some(other) => {
                let help = nearest(other, ["request", "token"]);
                problems
                    .error(&at.key("type"), format!("{other:?} is not a type"))
                    .help(match help {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "allowed: `request`, `token`".to_owned(),
                    });
                false
            }
        };
        let format = match self.format.as_deref() {
            None if is_token => Format::Token,
            // YAML's 2.0 may have lost its zero on the way.
            None | Some("2.0" | "2") if !is_token => Format::V2 {
                simple: self.simple_responses,
            },
            Some("1.0" | "1") if is_token => Format::Token,
            Some("1.0" | "1") => Format::V1,
            Some(_) | None if is_token => {
                problems
                    .error(&at.key("format"), "a token has a form of its own")
                    .help("leave it out");
                Format::Token
            }
            Some(_) | None => {
                problems
                    .error(&at.key("format"), "is not a format")
                    .help("write \"1.0\" or \"2.0\"");
                Format::V1
            }
        };
        if self.simple_responses == Some(true) && !matches!(format, Format::V2 { .. }) {
            problems
                .error(
                    &at.key("simple_responses"),
                    "only format 2.0 has simple responses",
                )
                .help("leave it out, or write format: \"2.0\"");
        }
        format
    }

    fn sources(
        &self,
        format: Format,
        given: &Given<'_>,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Vec<Source> {
        let at = at.key("identity_sources");
        let mut sources = Vec::new();
        for (index, text) in self.identity_sources.iter().enumerate() {
            let at = at.index(index);
            match text.parse::<Source>() {
                Ok(Source::StageVariable(name)) if !given.stage_variables.contains_key(&name) => {
                    problems
                        .error(&at, format!("there is no stage variable `{name}`"))
                        .help("declare it under `stage_variables`");
                }
                Ok(source) => sources.push(source),
                Err(why) => {
                    problems.error(&at, why);
                }
            }
        }
        if format != Format::Token {
            return sources;
        }
        if self.identity_sources.is_empty() {
            return vec![Source::Header(http::header::AUTHORIZATION)];
        }
        if !matches!(sources.as_slice(), [Source::Header(_)]) {
            problems
                .error(&at, "a token comes in one header")
                .help("write one $request.header.NAME");
        }
        sources
    }

    fn token_pattern(
        &self,
        format: Format,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Token> {
        let written = self.token_pattern.as_ref()?;
        let at = at.key("token_pattern");
        if format != Format::Token {
            problems
                .error(&at, "only `type: token` has a token")
                .help("leave it out");
        }
        // The whole token has to match, as the vendor says.
        match Regex::new(&format!("^(?:{written})$")) {
            Ok(pattern) => Some(Token(pattern)),
            Err(error) => {
                problems.error(&at, format!("is not a regular expression: {error}"));
                None
            }
        }
    }

    fn headers(
        &self,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Vec<(HeaderName, crate::model::secret::Secret<String>)> {
        let at = at.key("headers");
        if self.function.is_some() && !self.headers.is_empty() {
            problems
                .error(&at, "a function is not asked over HTTP of ours")
                .help("leave them out");
        }
        let mut headers = Vec::new();
        for (name, SecretText(value)) in &self.headers {
            let at = at.key(name);
            let known = name.parse::<HeaderName>();
            let Ok(header) = known else {
                problems.error(&at, format!("{name:?} is not a header name"));
                continue;
            };
            if [
                "content-length",
                "content-type",
                "host",
                "transfer-encoding",
                "connection",
            ]
            .contains(&header.as_str())
            {
                problems.error(&at, "is set by the gateway itself");
            }
            if HeaderValue::from_str(value.expose()).is_err() {
                problems.error(&at, "is not the value of a header");
            }
            headers.push((header, value.clone()));
        }
        headers
    }
}

fn url_of(url: &str, at: &ConfigPath, problems: &mut Problems) -> Option<Service> {
    let uri = url
        .parse::<Uri>()
        .ok()
        .filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
        .filter(|uri| uri.host().is_some_and(|host| !host.is_empty()))
        .filter(|_| !url.contains(['@', '#']));
    let Some(uri) = uri else {
        // It may hold a secret: not shown.
        problems
            .error(at, "is not a URL")
            .help("write https://HOST/path, without a user or a fragment");
        return None;
    };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_near = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    if uri.scheme_str() == Some("http") && !is_near {
        problems
            .warning(
                at,
                "plain HTTP to another machine: credentials are sent unencrypted",
            )
            .help("write https:// where the service offers it");
    }
    Some(Service::Url(uri))
}

/// `arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]`, or a name.
fn function_of(function: &str, at: &ConfigPath, problems: &mut Problems) -> Option<Service> {
    let is_name = |name: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_$".contains(&b);
        (1..=140).contains(&name.len()) && name.bytes().all(fits)
    };
    let parts: Vec<&str> = function.split(':').collect();
    let region = match parts.as_slice() {
        [
            "arn",
            _,
            "lambda",
            region,
            account,
            "function",
            name,
            rest @ ..,
        ] if crate::aws::is_region(region)
            && account.len() == 12
            && is_name(name)
            && rest.len() <= 1
            && rest.iter().all(|qualifier| is_name(qualifier)) =>
        {
            Some(Some((*region).to_owned()))
        }
        [name] if is_name(name) => Some(None),
        _ => None,
    };
    let Some(region) = region else {
        problems
            .error(at, format!("{function:?} is not a function"))
            .help("write its name, or arn:aws:lambda:REGION:ACCOUNT:function:NAME");
        return None;
    };
    Some(Service::Function {
        name: function.to_owned(),
        region,
    })
}
