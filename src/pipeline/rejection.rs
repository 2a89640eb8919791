//! A refusal to a response: the only place where statuses, codes and public words are chosen. What was wrong in full
//! goes to the log.

mod verdict;

use std::any::Any;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, ALLOW, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::admit::AdmitError;
use super::authorize::Forbidden;
use super::deadline::Late;
use super::decode;
use super::once::KeyError;
use super::receive::BodyError;
use super::route::RouteError;
use super::throttle::{RATE_LIMIT, RATE_LIMIT_POLICY, ThrottleError};
use crate::authn::{AuthnError, Kind};
use crate::decode::DecodeError;
use crate::integration::{MapError, TargetError};
use crate::limit::admission::Scarce;
use crate::limit::usage::{OverLimit, What};
use crate::model::call::Call;
use crate::model::cidr::Barred;
use crate::model::code::Code;
use crate::model::phase::Phase;
use crate::model::request_id::RequestId;
use crate::plan::Invalid;
use crate::telemetry::exchange::Refusal;

use verdict::AwsBody;
pub use verdict::Verdict;

/// Why a request is not served: one variant for each room that refuses.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// The process has no room.
    #[error("{}", .0.scarce)]
    Overload(Box<Overload>),
    /// The request's time was over before its payload was handed to a target.
    #[error(transparent)]
    Late(#[from] Late),
    #[error(transparent)]
    Route(RouteError),
    /// The route does not let the client's address pass.
    #[error("the route's lists of addresses: {0}")]
    Barred(Barred),
    #[error(transparent)]
    Throttled(Box<ThrottleError>),
    /// The usage plan of the caller's key has no room.
    #[error("{0}")]
    OverPlan(Box<OverLimit>),
    #[error(transparent)]
    Authn(#[from] AuthnError),
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Body(BodyError),
    #[error(transparent)]
    Content(#[from] DecodeError),
    /// The request is not what its route asks for.
    #[error("{0}")]
    Invalid(Box<Invalid>),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Target(#[from] Box<TargetError>),
    /// The call that was to store panicked.
    #[error("the call ended before the target answered: {0}")]
    CallEnded(String),
    #[error("a bug: {0}")]
    Panicked(String),
}

/// What there is no room for.
#[derive(Debug)]
pub struct Overload {
    /// The phase that asked.
    pub phase: Phase,
    pub scarce: Scarce,
    /// Seconds, by chance.
    pub retry_after: u64,
}

impl From<TargetError> for Rejection {
    fn from(error: TargetError) -> Rejection {
        Rejection::Target(Box::new(error))
    }
}

impl From<&TargetError> for Refusal {
    fn from(error: &TargetError) -> Refusal {
        Refusal {
            phase: Phase::Store,
            code: error.reason(),
            status: error.native_status(),
            cause: error.to_string(),
        }
    }
}

impl Rejection {
    /// A panic, with what it said.
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Rejection {
        Rejection::Panicked(said(panic))
    }

    /// The call that was to store panicked: nobody knows what the target has.
    pub(super) fn call_panicked(panic: &(dyn Any + Send)) -> Rejection {
        Rejection::CallEnded(said(panic))
    }

    /// Whether nobody is there to be told.
    pub(super) fn client_left(&self) -> bool {
        matches!(self, Rejection::Body(BodyError::Left))
    }

    /// Whether the target certainly has nothing of the request.
    pub(super) fn nothing_happened(&self) -> bool {
        match self {
            Rejection::Target(error) => error.reason() != Code::OutcomeUnknown,
            _ => false,
        }
    }

    /// The service's own status, where a service refused.
    pub(super) fn service_status(&self) -> Option<u16> {
        match self {
            Rejection::Target(error) => error.status,
            _ => None,
        }
    }

    /// The service's own answer, where a service refused.
    pub(super) fn service_body(&self, call: &Call) -> Bytes {
        match self {
            Rejection::Target(error) => error.aws(&call.id).body,
            _ => Bytes::new(),
        }
    }

    /// What the caller, the log and the metrics are told.
    pub(super) fn verdict(&self, call: &Call) -> Verdict {
        let (phase, code, status, aws) = self.place(call.id);
        let mut headers = HeaderMap::new();
        let mut retry_after = match self {
            Rejection::Throttled(error) => Some(error.retry_after()),
            Rejection::OverPlan(over) => Some(over.retry_after()),
            // Most are answered long before their fence.
            Rejection::Key(KeyError::InFlight(_)) => Some(1),
            Rejection::Overload(overload) => Some(overload.retry_after),
            Rejection::Target(error) => error.retry_after().map(|after| after.as_secs()),
            _ => None,
        };
        if status.is_server_error() && !matches!(self, Rejection::Overload(_)) {
            // Those who were refused together are not to come back together.
            let soonest = retry_after.unwrap_or(1);
            let spread = call.id.chance(1) * (soonest + 2) as f64;
            retry_after = Some(soonest + spread as u64);
        }
        match self {
            Rejection::Throttled(error) => {
                if let ThrottleError::Empty { told, .. } = &**error
                    && let Some((limits, policies)) = told.headers()
                {
                    put(&mut headers, RATE_LIMIT, &limits);
                    put(&mut headers, RATE_LIMIT_POLICY, &policies);
                }
            }
            Rejection::OverPlan(over) => {
                let (limit, policy) = over.headers();
                put(&mut headers, HeaderName::from_static("ratelimit"), &limit);
                put(
                    &mut headers,
                    HeaderName::from_static("ratelimit-policy"),
                    &policy,
                );
            }
            Rejection::Authn(AuthnError {
                challenge: Some(challenge),
                ..
            }) => put(&mut headers, WWW_AUTHENTICATE, challenge),
            // RFC 6750, 3.1
            Rejection::Forbidden(Forbidden::Scope(scopes)) => {
                let scopes = scopes.join(" ");
                let challenge = format!("Bearer scope=\"{scopes}\" error=\"insufficient_scope\"");
                put(&mut headers, WWW_AUTHENTICATE, &challenge);
            }
            Rejection::Route(RouteError::Method { allow }) => {
                let allow: Vec<&str> = allow.iter().map(http::Method::as_str).collect();
                put(&mut headers, ALLOW, &allow.join(", "));
            }
            // RFC 9110, 15.5.16
            Rejection::Invalid(invalid) if let Invalid::ContentType(taken) = &**invalid => {
                put(&mut headers, ACCEPT, taken);
            }
            Rejection::Content(error) if let Some(codings) = decode::accepted(error) => {
                put(&mut headers, ACCEPT_ENCODING, &codings.to_string());
            }
            _ => {}
        }
        if let Rejection::Panicked(said) | Rejection::CallEnded(said) = self {
            tracing::error!(request_id = %call.id, said, "A request met a bug");
        }
        Verdict {
            phase,
            code,
            status,
            detail: self.detail(),
            errors: match self {
                Rejection::Invalid(invalid) => invalid.errors(),
                _ => Vec::new(),
            },
            cause: self.to_string(),
            retry_after,
            headers,
            aws,
        }
    }

    /// Phase, code, native status, and the answer of the `aws` dialect (reference, 0.1).
    fn place(&self, id: RequestId) -> (Phase, Code, StatusCode, AwsBody) {
        use AwsBody::{Message, Service};
        let unavailable = || Message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
        let bad_request = || Message(StatusCode::BAD_REQUEST, "Bad Request");
        let not_found = || Message(StatusCode::NOT_FOUND, "Not Found");
        let broken = || Message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        match self {
            Rejection::Admit(AdmitError::Draining) => (
                Phase::Admit,
                Code::Draining,
                StatusCode::SERVICE_UNAVAILABLE,
                unavailable(),
            ),
            Rejection::Overload(overload) => (
                overload.phase,
                Code::Overloaded,
                StatusCode::SERVICE_UNAVAILABLE,
                unavailable(),
            ),
            Rejection::Late(late) => (
                late.phase,
                Code::Timeout,
                StatusCode::SERVICE_UNAVAILABLE,
                unavailable(),
            ),
            Rejection::Admit(
                AdmitError::HeadTooLarge { .. } | AdmitError::TooManyHeaders { .. },
            ) => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                (
                    Phase::Admit,
                    Code::HeadersTooLarge,
                    status,
                    Message(status, "Request Header Fields Too Large"),
                )
            }
            Rejection::Admit(
                AdmitError::Hosts(_) | AdmitError::HostsDiffer | AdmitError::Coding,
            ) => (
                Phase::Admit,
                Code::Malformed,
                StatusCode::BAD_REQUEST,
                bad_request(),
            ),
            Rejection::Admit(AdmitError::Barred(_)) => {
                let status = StatusCode::FORBIDDEN;
                (
                    Phase::Admit,
                    Code::Forbidden,
                    status,
                    Message(status, "Forbidden"),
                )
            }
            Rejection::Barred(_) => {
                let status = StatusCode::FORBIDDEN;
                (
                    Phase::Authorize,
                    Code::Forbidden,
                    status,
                    Message(status, "Forbidden"),
                )
            }
            Rejection::Route(
                RouteError::NoApi
                | RouteError::NoStage
                | RouteError::NoRoute
                | RouteError::Redirect { .. },
            ) => (
                Phase::Route,
                Code::NoRoute,
                StatusCode::NOT_FOUND,
                not_found(),
            ),
            Rejection::Route(RouteError::Version(error)) => {
                let status = error.status();
                let (code, message) = match status {
                    StatusCode::FORBIDDEN => (Code::Forbidden, "Forbidden"),
                    StatusCode::NOT_FOUND => (Code::NoRoute, "Not Found"),
                    StatusCode::GONE => (Code::NoRoute, "Gone"),
                    StatusCode::SERVICE_UNAVAILABLE => {
                        (Code::VersionsUnavailable, "Service Unavailable")
                    }
                    status => (
                        Code::BadRequest,
                        status.canonical_reason().unwrap_or("Bad Request"),
                    ),
                };
                (Phase::Route, code, status, Message(status, message))
            }
            Rejection::Route(RouteError::Method { .. }) => (
                Phase::Route,
                Code::MethodNotAllowed,
                StatusCode::METHOD_NOT_ALLOWED,
                not_found(),
            ),
            Rejection::Throttled(error) => {
                let (code, status) = match **error {
                    ThrottleError::Empty { .. }
                    | ThrottleError::Failures(_)
                    | ThrottleError::CallerBusy { .. } => {
                        (Code::Throttled, StatusCode::TOO_MANY_REQUESTS)
                    }
                    // Ours, not the caller's.
                    ThrottleError::RouteBusy(_) => {
                        (Code::Overloaded, StatusCode::SERVICE_UNAVAILABLE)
                    }
                    ThrottleError::SharedGone { .. } => {
                        (Code::Internal, StatusCode::SERVICE_UNAVAILABLE)
                    }
                };
                let aws = match status {
                    StatusCode::TOO_MANY_REQUESTS => Message(status, "Too Many Requests"),
                    _ => unavailable(),
                };
                (Phase::Throttle, code, status, aws)
            }
            Rejection::OverPlan(over) => {
                let (code, message) = match over.what {
                    What::Quota(_) => (Code::QuotaExceeded, "Limit Exceeded"),
                    What::Route(_) | What::Plan(_) => (Code::Throttled, "Too Many Requests"),
                };
                let status = StatusCode::TOO_MANY_REQUESTS;
                (Phase::Throttle, code, status, Message(status, message))
            }
            Rejection::Authn(error) => {
                let (code, status) = authn_place(error.kind);
                let phase = match error.kind {
                    // Signatures are computed over the body, and nothing of a delivery is known before.
                    Kind::Webhook(_) => Phase::Verify,
                    _ => Phase::Authenticate,
                };
                let aws = match status {
                    StatusCode::UNAUTHORIZED => Message(status, "Unauthorized"),
                    StatusCode::FORBIDDEN => Message(status, "Forbidden"),
                    StatusCode::BAD_REQUEST => bad_request(),
                    StatusCode::SERVICE_UNAVAILABLE => unavailable(),
                    _ => Message(status, "Internal Server Error"),
                };
                (phase, code, status, aws)
            }
            Rejection::Forbidden(_) => {
                let status = StatusCode::FORBIDDEN;
                (
                    Phase::Authorize,
                    Code::Forbidden,
                    status,
                    Message(status, "Forbidden"),
                )
            }
            Rejection::Body(BodyError::TooLarge { .. }) => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                (
                    Phase::Receive,
                    Code::BodyTooLarge,
                    status,
                    Message(status, "Request Entity Too Large"),
                )
            }
            Rejection::Body(BodyError::Timeout(_)) => {
                let status = StatusCode::REQUEST_TIMEOUT;
                (
                    Phase::Receive,
                    Code::Timeout,
                    status,
                    Message(status, "Request Timeout"),
                )
            }
            Rejection::Body(BodyError::Malformed(_) | BodyError::Left) => (
                Phase::Receive,
                Code::Malformed,
                StatusCode::BAD_REQUEST,
                bad_request(),
            ),
            Rejection::Content(error) => {
                let (code, status, message) = decode::place(error);
                (Phase::Verify, code, status, Message(status, message))
            }
            Rejection::Invalid(invalid) => match &**invalid {
                Invalid::ContentType(_) => {
                    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                    let aws = Message(status, "Unsupported Media Type");
                    (Phase::Verify, Code::BadRequest, status, aws)
                }
                Invalid::Missing(names) => {
                    let names: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
                    let names = names.join(", ");
                    let aws =
                        AwsBody::Said(format!("Missing required request parameters: [{names}]"));
                    (
                        Phase::Verify,
                        Code::ParametersInvalid,
                        StatusCode::BAD_REQUEST,
                        aws,
                    )
                }
                Invalid::NotJson(_) | Invalid::TooManyValues | Invalid::Body(_) => {
                    let status = StatusCode::BAD_REQUEST;
                    let aws = Message(status, "Invalid request body");
                    (Phase::Verify, Code::SchemaInvalid, status, aws)
                }
            },
            Rejection::Key(error) => {
                let (code, status) = match error {
                    KeyError::Missing(_) | KeyError::Malformed(_) => {
                        (Code::BadRequest, StatusCode::BAD_REQUEST)
                    }
                    KeyError::Mismatch => {
                        (Code::IdempotencyMismatch, StatusCode::UNPROCESSABLE_ENTITY)
                    }
                    KeyError::InFlight(_) => (Code::IdempotencyInFlight, StatusCode::CONFLICT),
                };
                let message = match error {
                    KeyError::Missing(_) | KeyError::Malformed(_) => "Bad Request",
                    KeyError::Mismatch => "Unprocessable Entity",
                    KeyError::InFlight(_) => "Conflict",
                };
                (Phase::Verify, code, status, Message(status, message))
            }
            Rejection::Map(error) => {
                let status =
                    StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
                let aws = match status {
                    StatusCode::PAYLOAD_TOO_LARGE => Message(status, "Request Entity Too Large"),
                    _ => bad_request(),
                };
                (Phase::Map, error.code(), status, aws)
            }
            Rejection::Target(error) => {
                let status =
                    StatusCode::from_u16(error.native_status()).unwrap_or(StatusCode::BAD_GATEWAY);
                (
                    Phase::Store,
                    error.reason(),
                    status,
                    Service(error.aws(&id)),
                )
            }
            Rejection::CallEnded(_) => (
                Phase::Store,
                Code::OutcomeUnknown,
                StatusCode::SERVICE_UNAVAILABLE,
                unavailable(),
            ),
            Rejection::Panicked(_) => (
                Phase::Respond,
                Code::Internal,
                StatusCode::INTERNAL_SERVER_ERROR,
                broken(),
            ),
        }
    }

    /// What the caller is told.
    fn detail(&self) -> String {
        match self {
            Rejection::Throttled(error) => error.detail(),
            Rejection::OverPlan(over) => over.detail(),
            Rejection::Admit(AdmitError::Barred(_)) | Rejection::Barred(_) => {
                "Requests from this address are not allowed here.".to_owned()
            }
            Rejection::Authn(error) => error.public.clone().into_owned(),
            Rejection::Forbidden(Forbidden::Scope(scopes)) => {
                format!("The token needs one of the scopes {}.", scopes.join(", "))
            }
            Rejection::Forbidden(Forbidden::Policy { .. }) => {
                "The caller is not allowed to make this request.".to_owned()
            }
            Rejection::Target(error) => error.detail(),
            Rejection::Overload(overload) => overloaded(&overload.scarce),
            Rejection::Late(_) => {
                "The request could not be served in time. Nothing was stored.".to_owned()
            }
            Rejection::CallEnded(_) => {
                "The target did not answer: the record may or may not be stored.".to_owned()
            }
            Rejection::Panicked(_) => {
                "The gateway met a bug. The request id says where to look.".to_owned()
            }
            Rejection::Admit(_)
            | Rejection::Route(_)
            | Rejection::Body(_)
            | Rejection::Content(_)
            | Rejection::Invalid(_)
            | Rejection::Key(_)
            | Rejection::Map(_) => sentence(&self.to_string()),
        }
    }
}

/// What a caller is told who finds no room: nothing of other callers, nor of targets' names.
fn overloaded(scarce: &Scarce) -> String {
    let what = match scarce {
        Scarce::Places { .. } => "The gateway has as many requests under way as it takes.",
        Scarce::Memory { .. } | Scarce::Bodies { .. } => {
            "The gateway has as many bodies under way as it takes."
        }
        Scarce::Target { .. } => {
            "As many requests as the gateway takes wait for what this route needs."
        }
        Scarce::Share { .. } => "This caller has its share of the gateway's requests under way.",
        Scarce::Waiting(_) => "The gateway is asked more than it can do.",
    };
    format!("{what} Nothing was stored.")
}

/// Code and status of what authentication refused.
fn authn_place(kind: Kind) -> (Code, StatusCode) {
    match kind {
        Kind::Unauthorized => (Code::Unauthorized, StatusCode::UNAUTHORIZED),
        Kind::Forbidden => (Code::Forbidden, StatusCode::FORBIDDEN),
        Kind::ApiKey => (Code::ApiKeyRefused, StatusCode::FORBIDDEN),
        Kind::Signature => (Code::SignatureRefused, StatusCode::FORBIDDEN),
        Kind::Webhook(status) => (
            Code::WebhookRefused,
            StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED),
        ),
        Kind::AuthorizerFailed => (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR),
        Kind::Unavailable => (Code::Internal, StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    said.unwrap_or_else(|| "a panic without words".to_owned())
}

/// With a capital at the start and a full stop at the end.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    let stop = if text.ends_with('.') { "" } else { "." };
    first.chain(letters).collect::<String>() + stop
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // What is put here is made of digits, methods and escaped paths; anything else would be left out, not sent.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
