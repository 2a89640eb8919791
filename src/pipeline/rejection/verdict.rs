//! What a refusal says, and how it is written: a problem document, the vendor's message, or the service's own answer.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use http_body_util::Full;
use serde_json::Value;

use super::super::Answer;
use super::super::throttle::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::config::Dialect;
use crate::integration::Rendered;
use crate::model::call::Call;
use crate::model::code::Code;
use crate::model::phase::Phase;
use crate::plan::{Api, Refused};
use crate::telemetry::exchange::Refusal;

/// What a refusal says, to whom.
#[derive(Debug)]
pub struct Verdict {
    pub(super) phase: Phase,
    pub(super) code: Code,
    pub(super) status: StatusCode,
    /// For the caller.
    pub(super) detail: String,
    /// Each thing that is wrong with the request, for the caller.
    pub(super) errors: Vec<Value>,
    /// For the log.
    pub(super) cause: String,
    pub(super) retry_after: Option<u64>,
    pub(super) headers: HeaderMap,
    pub(super) aws: AwsBody,
}

/// What stands in a refusal of the `aws` dialect.
#[derive(Debug)]
pub(super) enum AwsBody {
    /// `{"message":"…"}` and this status.
    Message(StatusCode, &'static str),
    /// The same with the status of the other dialect.
    Said(String),
    /// The service's own answer.
    Service(Rendered),
}

impl Verdict {
    /// How the refusal is written down, whatever the dialect.
    pub(in crate::pipeline) fn refusal(&self) -> Refusal {
        Refusal {
            phase: self.phase,
            code: self.code,
            status: self.status.as_u16(),
            cause: self.cause.clone(),
        }
    }

    /// The response.
    pub(in crate::pipeline) fn into_response(
        self,
        dialect: Dialect,
        api: Option<&Api>,
        call: &Call,
    ) -> Answer {
        let mut response = match dialect {
            Dialect::Native => self.problem(call),
            Dialect::Aws => self.vendor(),
        };
        if let Some(after) = self.retry_after.filter(|_| {
            dialect == Dialect::Native
                || response.status().is_server_error()
                || response.status() == StatusCode::CONFLICT
        }) {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(after));
        }
        // What is malformed may end elsewhere than it says: nothing behind it is read as a request.
        if self.code == Code::Malformed && call.version < Version::HTTP_2 {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let native_only = [RATE_LIMIT, RATE_LIMIT_POLICY, ALLOW];
        for (name, value) in &self.headers {
            if dialect == Dialect::Native || !native_only.contains(name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        // What the service itself answers is not ours to put otherwise.
        let own = dialect == Dialect::Native || !matches!(self.aws, AwsBody::Service(_));
        if let Some(api) = api.filter(|_| own) {
            self.in_other_words(api, call, &mut response);
        }
        response
    }

    fn in_other_words(&self, api: &Api, call: &Call, response: &mut Answer) {
        let Some(responses) = &api.error_responses else {
            return;
        };
        let refused = Refused {
            call,
            api: &api.name,
            stage: &api.stage,
            code: self.code,
            status: response.status(),
            message: match (&self.aws, api.dialect) {
                (AwsBody::Message(_, message), Dialect::Aws) => message,
                (AwsBody::Said(message), Dialect::Aws) => message,
                _ => &self.detail,
            },
            validation: match self.code {
                Code::SchemaInvalid | Code::ParametersInvalid => &self.detail,
                _ => "",
            },
        };
        let mut status = response.status();
        let body = responses.apply(&refused, &mut status, response.headers_mut());
        *response.status_mut() = status;
        if let Some(body) = body {
            *response.body_mut() = Full::new(body.into());
        }
    }

    /// RFC 9457.
    fn problem(&self, call: &Call) -> Answer {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = String::with_capacity(256);
        // Writing to a String cannot fail.
        let _ = write!(
            body,
            r#"{{"type":"about:blank","title":"{title}","status":{},"detail":{},"requestId":"{}","code":"{}""#,
            self.status.as_u16(),
            Value::from(self.detail.as_str()),
            call.id,
            self.code
        );
        if !self.errors.is_empty() {
            let _ = write!(body, r#","errors":{}"#, Value::from(self.errors.clone()));
        }
        body.push('}');
        response(self.status, "application/problem+json", body.into())
    }

    fn vendor(&self) -> Answer {
        match &self.aws {
            AwsBody::Message(status, message) => response(
                *status,
                "application/json",
                format!(r#"{{"message":"{message}"}}"#).into(),
            ),
            AwsBody::Said(message) => response(
                self.status,
                "application/json",
                format!(r#"{{"message":{}}}"#, Value::from(message.as_str())).into(),
            ),
            AwsBody::Service(rendered) => super::super::respond::rendered(rendered),
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
