//! References (reference, 2.3): one value of a delivery, by name.

use std::fmt;

use http::HeaderName;

use super::pointer::Pointer;
use crate::model::problem::nearest;

/// One value of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Body,
    BodySha256,
    Method,
    Url,
    PublicUrl,
    Timestamp,
    Secret,
    /// The first of them that is present.
    Header(Vec<HeaderName>),
    Query(String),
    Form(String),
    Json(Pointer),
    /// The rest of the first item of the signature's carrier that starts with this.
    Param(String),
    Setting(String),
}

/// The kinds as they are written, for the nearest spelling.
const KINDS: [&str; 13] = [
    "body",
    "body-sha256",
    "method",
    "url",
    "public_url",
    "timestamp",
    "secret",
    "header",
    "query",
    "form",
    "json",
    "param",
    "config",
];

/// What is wrong, and what to write instead.
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) help: String,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Wrong {
        Wrong {
            message: message.into(),
            help: help.into(),
        }
    }
}

impl Reference {
    pub(super) fn parse(text: &str) -> Result<Reference, Wrong> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        let named = || {
            rest.filter(|rest| !rest.is_empty()).ok_or_else(|| {
                Wrong::new(
                    format!("the reference `{text}` names nothing"),
                    format!("write `{kind}:NAME`"),
                )
            })
        };
        Ok(match (kind, rest) {
            ("body", None) => Reference::Body,
            ("body-sha256", None) => Reference::BodySha256,
            ("method", None) => Reference::Method,
            ("url", None) => Reference::Url,
            ("public_url", None) => Reference::PublicUrl,
            ("timestamp", None) => Reference::Timestamp,
            ("secret", None) => Reference::Secret,
            ("header", _) => Reference::Header(header_names(named()?)?),
            ("query", _) => Reference::Query(named()?.to_owned()),
            ("form", _) => Reference::Form(named()?.to_owned()),
            ("json", _) => Reference::Json(pointer(named()?)?),
            ("param", _) => Reference::Param(named()?.to_owned()),
            ("config", _) => Reference::Setting(named()?.to_owned()),
            _ => {
                let near = nearest(kind, KINDS);
                return Err(Wrong::new(
                    format!("`{text}` is not a reference"),
                    match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "allowed: body, body-sha256, method, url, public_url, timestamp, secret, header:NAME, \
                                 query:NAME, form:NAME, json:/POINTER, param:PREFIX, config:NAME"
                            .to_owned(),
                    },
                ));
            }
        })
    }

    /// Whether its value needs `public_url`.
    pub(super) fn needs_public_url(&self) -> bool {
        matches!(self, Reference::Url | Reference::PublicUrl)
    }
}

/// `A,B`: the names of headers.
pub(super) fn header_names(text: &str) -> Result<Vec<HeaderName>, Wrong> {
    text.split(',')
        .map(|name| header_name(name.trim()))
        .collect()
}

pub(super) fn header_name(name: &str) -> Result<HeaderName, Wrong> {
    name.parse().map_err(|_| {
        Wrong::new(
            format!("{name:?} is not a header name"),
            "allowed: letters, digits and `-`, such as `X-Signature`",
        )
    })
}

pub(super) fn pointer(text: &str) -> Result<Pointer, Wrong> {
    text.parse()
        .map_err(|message: String| Wrong::new(message, "such as `json:/signature/token`"))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Body => f.write_str("body"),
            Reference::BodySha256 => f.write_str("body-sha256"),
            Reference::Method => f.write_str("method"),
            Reference::Url => f.write_str("url"),
            Reference::PublicUrl => f.write_str("public_url"),
            Reference::Timestamp => f.write_str("timestamp"),
            Reference::Secret => f.write_str("secret"),
            Reference::Header(names) => {
                let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
                write!(f, "header:{}", names.join(","))
            }
            Reference::Query(name) => write!(f, "query:{name}"),
            Reference::Form(name) => write!(f, "form:{name}"),
            Reference::Json(pointer) => write!(f, "json:{pointer}"),
            Reference::Param(prefix) => write!(f, "param:{prefix}"),
            Reference::Setting(name) => write!(f, "config:{name}"),
        }
    }
}
