//! Parameter mapping expressions (reference, section 3): parsed once when the configuration is compiled, resolved for
//! each request. They select and join; there is no transformation language.
//!
//! `$request.header.x`, `$request.querystring.x`, `$request.path`, `$request.path.x`, `$request.body`,
//! `$request.body.a.b[0]['c d']`, `$context.x`, `$stageVariables.x`, static text, and `${…}` inside text with an
//! optional default: `${request.header.x:-none}`. Behind a webhook authorizer `$webhook.x`. On the way out also `$integration.x`, `$response.header.x`,
//! `$response.body`, `$response.body.a`.

mod json;
mod parse;
mod select;

use bytes::{Bytes, BytesMut};
use http::HeaderName;
use indexmap::IndexMap;

use crate::model::call::Call;
use crate::model::context::ContextVariable;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::text::Text;

pub use json::{Json, Template};
pub use select::{Is, Selector, select, select_json};

/// Which values an expression may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before the target is called.
    Request,
    /// After it has answered.
    Response,
    /// The access log: `$context` alone.
    Log,
}

/// What is known while expressions are compiled.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub side: Side,
    /// The variables of the route's path.
    pub path_variables: &'a [&'a str],
    /// The stage's variables; their values are put in at compile time.
    pub stage_variables: &'a IndexMap<String, String>,
    /// What `$webhook.NAME` can name; `None` where no webhook authorizer stands before the expression.
    pub webhook: Option<WebhookScope>,
    /// The fields that `$integration.NAME` can name; `None` where that is not known, or where none can be named.
    pub integration_fields: Option<&'a [&'a str]>,
}

/// What is known of deliveries where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookScope {
    /// Whether they come with a signed statement.
    pub attested: bool,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    Header(HeaderName),
    Query(String),
    /// The path as received, without the stage.
    Path,
    /// A variable of the path, decoded.
    PathVariable(String),
    /// The raw body.
    Body,
    /// A value out of the JSON body.
    BodyField(Selector),
    Context(ContextVariable),
    /// `$integration.NAME`: a field of the target's answer (`messageId`, `sequenceNumber`, …).
    Integration(String),
    ResponseHeader(HeaderName),
    ResponseBody,
    ResponseField(Selector),
}

/// A source as written, with what stands in for it when it has no value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    pub source: Source,
    /// As written, with `$` before it: `$request.header.x`.
    pub written: String,
    /// `:-text`: used when the source has no value, or an empty one.
    pub default: Option<String>,
}

/// A part of an expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    Literal(String),
    Reference(Reference),
}

/// A compiled expression. Adjacent literals are joined, so a constant has at most one part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expression {
    parts: Vec<Part>,
}

/// Why an expression has no value for a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unable to resolve property {property} from source {source_text}{}", reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
pub struct Unresolved {
    /// The parameter that asked.
    pub property: String,
    /// The expression's source, as written.
    pub source_text: String,
    /// More, where more is known: the body is not JSON, say.
    pub reason: Option<String>,
}

/// Whoever has the values. `Ok(None)`: there is none; `Err`: there is none, and this is why.
pub trait Sources {
    fn get(&self, source: &Source) -> Result<Option<Bytes>, String>;

    /// The head of the request, for those who pass it on whole; `None` where there is only what expressions can name.
    fn call(&self) -> Option<&Call> {
        None
    }
}

impl Expression {
    /// Parses a text of the configuration; everything wrong with it is noted at `at`.
    pub fn compile(
        text: &Text,
        at: &ConfigPath,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) -> Option<Expression> {
        let mut parts: Vec<Part> = Vec::new();
        let before = problems.errors();
        for part in parse::parts(text, at, scope, problems) {
            match (parts.last_mut(), part) {
                (Some(Part::Literal(joined)), Part::Literal(text)) => joined.push_str(&text),
                (_, part) => parts.push(part),
            }
        }
        (problems.errors() == before).then_some(Expression { parts })
    }

    /// An expression that is always this text.
    pub fn literal(text: impl Into<String>) -> Expression {
        Expression {
            parts: vec![Part::Literal(text.into())],
        }
    }

    /// The text, if it is the same for every request.
    pub fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The sources that it names.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reference(reference) => Some(reference),
            Part::Literal(_) => None,
        })
    }

    /// Whether it is the raw body and nothing else.
    pub fn is_whole_body(&self) -> bool {
        matches!(
            self.parts.as_slice(),
            [Part::Reference(Reference {
                source: Source::Body,
                ..
            })]
        )
    }

    /// The parts, for those who print them.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The value for a request. The whole body is passed on without a copy. A selector without a value, or with an
    /// empty one, and without a default does not resolve; the whole body resolves even when it is empty.
    pub fn resolve(&self, property: &str, sources: &dyn Sources) -> Result<Bytes, Unresolved> {
        match self.parts.as_slice() {
            [] => Ok(Bytes::new()),
            [Part::Literal(text)] => Ok(Bytes::copy_from_slice(text.as_bytes())),
            [Part::Reference(reference)] => reference.value(property, sources),
            parts => {
                let mut joined = BytesMut::new();
                for part in parts {
                    match part {
                        Part::Literal(text) => joined.extend_from_slice(text.as_bytes()),
                        Part::Reference(reference) => {
                            joined.extend_from_slice(&reference.value(property, sources)?)
                        }
                    }
                }
                Ok(joined.freeze())
            }
        }
    }
}

impl Reference {
    /// The value for a request, for `property`.
    pub fn value(&self, property: &str, sources: &dyn Sources) -> Result<Bytes, Unresolved> {
        let whole_body = matches!(self.source, Source::Body | Source::ResponseBody);
        let found = sources.get(&self.source);
        if let Ok(Some(value)) = &found
            && (!value.is_empty() || (whole_body && self.default.is_none()))
        {
            return Ok(value.clone());
        }
        if let Some(default) = &self.default {
            return Ok(Bytes::copy_from_slice(default.as_bytes()));
        }
        Err(Unresolved {
            property: property.to_owned(),
            source_text: self.written.clone(),
            reason: found.err(),
        })
    }
}

#[cfg(test)]
mod tests;
