//! Identity sources: what of a request identifies its caller to a request authorizer (reference, 5.4).

use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use http::header::USER_AGENT;

use crate::model::identity::Presented;
use crate::model::problem::nearest;

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Any case.
    Header(HeaderName),
    /// This case.
    Query(String),
    Context(Fact),
    StageVariable(String),
}

/// What `$context` knows before anybody was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    ApiId,
    DomainName,
    DomainPrefix,
    HttpMethod,
    Listener,
    Path,
    Protocol,
    RequestId,
    RouteKey,
    SourceIp,
    Stage,
    UserAgent,
    Vpce,
}

const FACTS: [(&str, Fact); 13] = [
    ("apiId", Fact::ApiId),
    ("domainName", Fact::DomainName),
    ("domainPrefix", Fact::DomainPrefix),
    ("httpMethod", Fact::HttpMethod),
    ("listener", Fact::Listener),
    ("path", Fact::Path),
    ("protocol", Fact::Protocol),
    ("requestId", Fact::RequestId),
    ("routeKey", Fact::RouteKey),
    ("identity.sourceIp", Fact::SourceIp),
    ("stage", Fact::Stage),
    ("identity.userAgent", Fact::UserAgent),
    ("identity.vpceId", Fact::Vpce),
];

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        let after = |prefix: &str| text.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        if let Some(name) = after("$request.header.") {
            return name
                .parse()
                .map(Source::Header)
                .map_err(|_| format!("{name:?} is not a header name"));
        }
        if let Some(name) = after("$request.querystring.") {
            return Ok(Source::Query(name.to_owned()));
        }
        if let Some(name) = after("$stageVariables.") {
            return Ok(Source::StageVariable(name.to_owned()));
        }
        if let Some(name) = after("$context.") {
            let known = FACTS.iter().find(|(known, _)| *known == name);
            return known
                .map(|(_, fact)| Source::Context(*fact))
                .ok_or_else(|| {
                    let names = FACTS.iter().map(|(known, _)| *known);
                    match nearest(name, names.clone()) {
                        Some(near) => format!(
                            "{text:?} cannot identify a caller; did you mean `$context.{near}`?"
                        ),
                        None => format!(
                            "{text:?} cannot identify a caller; of $context there are {}",
                            names.collect::<Vec<_>>().join(", ")
                        ),
                    }
                });
        }
        Err(format!(
            "{text:?} is not an identity source; write $request.header.NAME, $request.querystring.NAME, $context.NAME or $stageVariables.NAME"
        ))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Header(name) => write!(f, "$request.header.{name}"),
            Source::Query(name) => write!(f, "$request.querystring.{name}"),
            Source::StageVariable(name) => write!(f, "$stageVariables.{name}"),
            Source::Context(fact) => {
                let named = FACTS.iter().find(|(_, known)| known == fact);
                write!(f, "$context.{}", named.map_or("", |(name, _)| name))
            }
        }
    }
}

impl Source {
    /// What a caller has to bring.
    pub fn described(&self) -> String {
        match self {
            Source::Header(name) => format!("the header {name}"),
            Source::Query(name) => format!("the query parameter {name}"),
            Source::Context(_) | Source::StageVariable(_) => format!("a value for {self}"),
        }
    }

    /// The value; `None` where the request has none.
    pub fn value(&self, presented: &Presented<'_>) -> Option<String> {
        let call = presented.call;
        let text = match self {
            Source::Header(name) => call.header(name)?.into_owned(),
            Source::Query(name) => String::from_utf8_lossy(&call.query(name)?).into_owned(),
            Source::StageVariable(name) => presented.stage_variables.get(name)?.clone(),
            Source::Context(fact) => match fact {
                Fact::ApiId => presented.api.to_owned(),
                Fact::DomainName => call.host()?.to_owned(),
                Fact::DomainPrefix => call.host()?.split('.').next()?.to_owned(),
                Fact::HttpMethod => call.method.to_string(),
                Fact::Listener => call.peer.listener.to_string(),
                Fact::Path => call.raw_path().to_owned(),
                Fact::Protocol => call.protocol().to_owned(),
                Fact::RequestId => call.id.to_string(),
                Fact::RouteKey => presented.route_key.to_owned(),
                Fact::SourceIp => call.source_ip().to_string(),
                Fact::Stage => presented.stage.to_owned(),
                Fact::UserAgent => call.header(&USER_AGENT)?.into_owned(),
                Fact::Vpce => call.peer.vpce.as_deref()?.to_owned(),
            },
        };
        Some(text)
    }
}
