//! The question to a request authorizer: one POST, or one Invoke call; its answer, or why there is none that could be
//! used.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time::Instant;

use super::super::{AuthnError, Kind};
use super::Spec;
use super::answer::{Said, Unusable, read};
use crate::aws;
use crate::outbound::{self, Bounds, Named};

/// The largest answer, in bytes: what a context may hold, and a policy, many times over.
const MAX_ANSWER: usize = 256 << 10;

/// All but the unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Who is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Service {
    Url(Uri),
    Function {
        /// ARN or name.
        name: String,
        region: Option<String>,
    },
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The path and query of a URL may be a secret.
            Service::Url(uri) => f.write_str(uri.host().unwrap_or_default()),
            Service::Function { name, .. } => f.write_str(name),
        }
    }
}

/// What asks.
#[derive(Debug)]
pub(super) struct Asker {
    spec: Arc<Spec>,
    outbound: outbound::Client,
    aws: aws::Clients,
}

impl Asker {
    pub fn new(spec: Arc<Spec>, outbound: outbound::Client, aws: aws::Clients) -> Asker {
        Asker {
            spec,
            outbound,
            aws,
        }
    }

    /// Sends the event and reads the answer.
    pub async fn ask(&self, event: Value) -> Result<Said, AuthnError> {
        let event = Bytes::from(event.to_string());
        let body = match &self.spec.service {
            Service::Url(uri) => self.post(uri, event).await,
            Service::Function { name, region } => self.invoke(name, region.as_deref(), event).await,
        };
        body.and_then(|body| read(&self.spec, &body))
            .map_err(|unusable| self.refusal(unusable))
    }

    fn refusal(&self, unusable: Unusable) -> AuthnError {
        match unusable {
            Unusable::Unauthorized => AuthnError::new(
                Kind::Unauthorized,
                "The credentials are not accepted.",
                "the authorizer said Unauthorized",
            )
            .wrong(),
            Unusable::Broken(why) => AuthnError::new(
                Kind::AuthorizerFailed,
                "The authorizer failed. Try again later.",
                format!("the authorizer {}: {why}", self.spec.name),
            ),
        }
    }

    async fn post(&self, uri: &Uri, event: Bytes) -> Result<Bytes, Unusable> {
        let broken = |why: String| Unusable::Broken(why);
        let mut request = Request::new(event);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &self.spec.headers {
            // Compiling has seen that it is one.
            if let Ok(value) = HeaderValue::from_str(value.expose()) {
                headers.insert(name, value);
            }
        }
        let bounds = Bounds {
            timeout: self.spec.timeout,
            max_body: MAX_ANSWER,
        };
        let answer = self
            .outbound
            .send(request, Named::ByOperator, bounds)
            .await
            .map_err(|error| broken(error.to_string()))?;
        if answer.status() != StatusCode::OK {
            return Err(broken(format!("it answered {}", answer.status().as_u16())));
        }
        Ok(answer.into_body())
    }

    /// "Invoke", AWS Lambda API reference: an error of the function is a 200 with `X-Amz-Function-Error`.
    async fn invoke(
        &self,
        name: &str,
        region: Option<&str>,
        event: Bytes,
    ) -> Result<Bytes, Unusable> {
        let broken = |why: String| Unusable::Broken(why);
        let name = utf8_percent_encode(name, ENCODED);
        let request = Request::post(format!("/2015-03-31/functions/{name}/invocations"))
            .header(CONTENT_TYPE, "application/json")
            .header("x-amz-invocation-type", "RequestResponse")
            .body(event)
            .map_err(|error| broken(error.to_string()))?;
        let deadline = Instant::now() + self.spec.timeout;
        let called = self.aws.signed(
            &self.outbound,
            aws::Service::Lambda,
            region,
            request,
            deadline,
        );
        let answer = tokio::time::timeout_at(deadline, Box::pin(called))
            .await
            .map_err(|_| {
                broken(format!(
                    "no answer within {} ms",
                    self.spec.timeout.as_millis()
                ))
            })?
            .map_err(|error| broken(error.to_string()))?;
        let failed = answer.headers().contains_key("x-amz-function-error");
        let body = answer.into_body();
        if failed {
            // The error's text tells a 401 from a 500; one that cannot be read is a 500.
            return match read(&self.spec, &body) {
                Err(unusable) => Err(unusable),
                Ok(_) => Err(broken("the function failed".to_owned())),
            };
        }
        if body.len() > MAX_ANSWER {
            return Err(broken(format!("the answer is over {MAX_ANSWER} bytes")));
        }
        Ok(body)
    }
}
