//! `Mock`: answers as it is told, calls nobody. For trying routes, and for tests.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::answer::{Answered, NativeAnswer, Rendered};
use super::parameter::{Compiler, MapError};
use super::refusal::{Service, TargetError};
use super::{Called, Effect, Kind, OwnKeys, Payload, Targets};
use crate::mapping::{Expression, Sources};
use crate::model::request_id::RequestId;
use crate::model::text::Text;

/// Answers with a fixed or mapped response; nothing is stored.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mock {
    /// The status: 200 to 599. Default 200.
    #[serde(default)]
    #[schemars(range(min = 200, max = 599))]
    status: Option<u16>,
    /// Headers by name.
    #[serde(default)]
    headers: IndexMap<String, Text>,
    /// The body. Default: empty.
    #[serde(default)]
    body: Option<Text>,
}

/// A compiled `Mock`.
#[derive(Clone, Debug)]
pub struct Compiled {
    status: u16,
    headers: Vec<(HeaderName, Expression)>,
    body: Option<Expression>,
}

/// The answer to give.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    status: u16,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Payload,
}

fn as_map<S: serde::Serializer>(
    headers: &[(HeaderName, HeaderValue)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    serializer.collect_map(
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), text(value))),
    )
}

/// Headers that the connection decides on.
const FRAMING: [HeaderName; 4] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
];

impl Kind for Mock {
    const NAME: &'static str = "Mock";
    const SERVICE: Service = Service::Mock;
    const EFFECT: Effect = Effect::Reads;
    const FIELDS: &[&str] = &["status"];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Request;

    fn compile(&self, _: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let status = self.status.unwrap_or(200);
        if !(200..=599).contains(&status) {
            compiler.error(
                "status",
                format!("{status} is not a status that can be answered"),
                "allowed: 200 to 599",
            );
        }
        let mut headers = Vec::new();
        for (name, text) in &self.headers {
            let at = compiler.at.key("headers").key(name);
            let Ok(parsed) = name.parse::<HeaderName>() else {
                compiler
                    .problems
                    .error(&at, format!("{name:?} is not a header name"));
                continue;
            };
            if FRAMING.contains(&parsed) {
                compiler
                    .problems
                    .error(&at, format!("`{name}` is for the connection to decide"));
                continue;
            }
            let Some(expression) = compiler.expression(&at, text) else {
                continue;
            };
            if expression
                .constant()
                .is_some_and(|text| HeaderValue::from_str(text).is_err())
            {
                compiler
                    .problems
                    .error(&at, "a header's value is one line of text");
            }
            headers.push((parsed, expression));
        }
        let body = self
            .body
            .as_ref()
            .and_then(|text| compiler.expression(&compiler.at.key("body"), text));
        Some(Compiled {
            status,
            headers,
            body,
        })
    }

    fn label(_: &Compiled) -> Option<String> {
        Some("mock".to_owned())
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        let mut headers = Vec::with_capacity(compiled.headers.len());
        for (name, expression) in &compiled.headers {
            let value = expression.resolve(name.as_str(), sources)?;
            let value = HeaderValue::from_maybe_shared(value)
                .map_err(|_| MapError::parameter(name.as_str(), None, "is not one line of text"))?;
            headers.push((name.clone(), value));
        }
        Ok(Request {
            status: compiled.status,
            headers,
            body: Payload(match &compiled.body {
                Some(expression) => expression.resolve("body", sources)?,
                None => Bytes::new(),
            }),
        })
    }

    async fn call(
        request: Request,
        _: &Targets,
        _: Instant,
    ) -> Result<Called<Request>, TargetError> {
        Ok(Called::by_us(request))
    }
}

impl Request {
    fn rendered(&self) -> Rendered {
        let (types, headers): (Vec<_>, Vec<_>) = self
            .headers
            .iter()
            .cloned()
            .partition(|(name, _)| name == header::CONTENT_TYPE);
        let content_type = types
            .last()
            .map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Rendered {
            status: self.status,
            content_type,
            headers,
            body: self.body.0.clone(),
        }
    }
}

impl Answered for Request {
    fn native(&self) -> NativeAnswer {
        NativeAnswer::Raw(self.rendered())
    }
    fn aws(&self, _: &str) -> Rendered {
        self.rendered()
    }
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "status").then(|| Cow::Owned(self.status.to_string()))
    }
    fn status(&self) -> u16 {
        self.status
    }
}

#[cfg(test)]
mod tests {
    use crate::integration::tests::{compile, map, problems};

    #[test]
    fn a_mock_answers_as_it_is_told() {
        let integration = compile(
            r#"{"Mock": {"status": 418, "headers": {"content-type": "text/plain", "x-b": "${request.header.x-a}!"}, "body": "$request.body"}}"#,
        );
        let request = map(&integration, b"\x00\xff").unwrap();
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"Mock":{"status":418,"headers":{"content-type":"text/plain","x-b":"alpha!"},"body":{"base64":"AP8="}}}"#
        );
        let super::super::Request {
            call: super::super::Call::Mock(request),
            ..
        } = request
        else {
            panic!("a mock");
        };
        let rendered = request.rendered();
        assert_eq!(
            (
                rendered.status,
                rendered.content_type.as_deref(),
                &rendered.body[..]
            ),
            (418, Some("text/plain"), &b"\x00\xff"[..])
        );
        assert_eq!(rendered.headers.len(), 1);
    }

    #[test]
    fn a_mock_alone_is_an_empty_200() {
        let request = map(&compile(r#"{"Mock": {}}"#), b"x").unwrap();
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"Mock":{"status":200,"body":""}}"#
        );
    }

    #[test]
    fn what_cannot_be_answered_is_refused_at_check() {
        assert_eq!(
            problems(
                r#"{"Mock": {"status": 99, "headers": {"a b": "x", "content-length": "1", "x-c": "a\nb"}}}"#
            ),
            [
                "error: integration.Mock.status: 99 is not a status that can be answered; allowed: 200 to 599",
                "error: integration.Mock.headers.\"a b\": \"a b\" is not a header name",
                "error: integration.Mock.headers.content-length: `content-length` is for the connection to decide",
                "error: integration.Mock.headers.x-c: a header's value is one line of text",
            ]
        );
    }
}
