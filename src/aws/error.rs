//! What can go wrong in a call to AWS, told apart by what it says about the record: not sent, sent without an answer,
//! never to be sent the way we are set up, or refused by the service.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use bytes::Bytes;
use hyper_util::client::legacy;

/// Why a call brought no answer that could be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent: refused, unreachable, no such host, no connection in time.
    #[error("could not connect: {reason}")]
    NotSent { reason: String },
    /// It was sent, at least in part, and no usable answer came.
    #[error("no answer: {reason}")]
    Lost { reason: String },
    /// Nothing was sent, and nothing will be until someone changes how we are set up: credentials, certificate,
    /// region, a request that the SDK cannot build.
    #[error("{code}: {reason}")]
    Setup { code: String, reason: String },
    /// The service answered, with an error.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(Box<Refusal>),
}

/// An error answer of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// The service's code; empty if the answer had none.
    pub code: String,
    pub message: String,
    pub request_id: Option<String>,
    pub content_type: Option<String>,
    pub body: Bytes,
}

impl<E> From<SdkError<E, HttpResponse>> for CallError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> CallError {
        match &error {
            // the SDK calls an answer that it cannot read a service error too, whatever its status
            SdkError::ServiceError(refused) if is_refusal(refused.raw()) => {
                let meta = refused.err().meta();
                refusal(refused.raw(), meta.code(), meta.message())
            }
            SdkError::ResponseError(unreadable) if is_refusal(unreadable.raw()) => {
                refusal(unreadable.raw(), None, None)
            }
            SdkError::ServiceError(_) | SdkError::ResponseError(_) => CallError::Lost {
                reason: format!("the answer could not be read: {}", root_cause(&error)),
            },
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(connector) => of_connector(connector),
                None => setup("DispatchFailure", root_cause(&error)),
            },
            SdkError::TimeoutError(_) => CallError::Lost {
                reason: root_cause(&error),
            },
            _ => setup("InvalidRequest", root_cause(&error)),
        }
    }
}

/// Something about how we are set up.
pub(super) fn setup(code: &str, reason: String) -> CallError {
    CallError::Setup {
        code: code.to_owned(),
        reason,
    }
}

/// Whether the status says that the call was not done: an error, or a redirect, which the SDK does not follow.
fn is_refusal(raw: &HttpResponse) -> bool {
    raw.status().as_u16() >= 300
}

fn refusal(raw: &HttpResponse, code: Option<&str>, message: Option<&str>) -> CallError {
    let header = |name| raw.headers().get(name).map(str::to_owned);
    CallError::Refused(Box::new(Refusal {
        status: raw.status().as_u16(),
        code: code.unwrap_or_default().to_owned(),
        message: message.unwrap_or_default().to_owned(),
        request_id: header("x-amzn-requestid").or_else(|| header("x-amz-request-id")),
        content_type: header("content-type"),
        body: raw
            .body()
            .bytes()
            .map(Bytes::copy_from_slice)
            .unwrap_or_default(),
    }))
}

/// A failure below HTTP.
pub(super) fn not_answered(error: &legacy::Error) -> CallError {
    let reason = root_cause(error);
    // only what hyper calls a connect error is known not to have been sent
    if !error.is_connect() {
        return CallError::Lost { reason };
    }
    // rustls reports what it refuses (a certificate, a peer that speaks no TLS) as invalid data
    let refused_by_tls = chain(error)
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::InvalidData);
    if refused_by_tls {
        setup("TlsRefused", reason)
    } else {
        CallError::NotSent { reason }
    }
}

/// A failure of the SDK's own way to the service.
fn of_connector(error: &ConnectorError) -> CallError {
    if let Some(hyper) = find::<legacy::Error>(error) {
        return not_answered(hyper);
    }
    let reason = root_cause(error);
    if find::<hyper::Error>(error).is_some() || error.is_io() || error.is_timeout() {
        CallError::Lost { reason }
    } else {
        // credentials, endpoint resolution, signing: the request never reached the connector
        setup("DispatchFailure", reason)
    }
}

/// The error and what caused it, outermost first. Looks inside `io::Error`s, which hide what they wrap.
fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// What the innermost cause says: "Connection refused (os error 111)" rather than "dispatch failure".
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sqs::operation::send_message::SendMessageError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

    fn answer(status: u16, body: &'static str) -> HttpResponse {
        let mut response =
            HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body));
        response.headers_mut().insert("x-amzn-requestid", "r-1");
        response
    }

    #[test]
    fn an_error_answer_keeps_status_code_and_body() {
        let error = SendMessageError::generic(
            ErrorMetadata::builder()
                .code("AccessDenied")
                .message("no")
                .build(),
        );
        let CallError::Refused(refusal) = SdkError::service_error(error, answer(403, "{}")).into()
        else {
            panic!("a service error is a refusal");
        };
        assert_eq!(
            (refusal.status, refusal.code.as_str()),
            (403, "AccessDenied")
        );
        assert_eq!(refusal.request_id.as_deref(), Some("r-1"));
        assert_eq!(&refusal.body[..], b"{}");
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_lost_when_it_says_success_and_a_refusal_otherwise() {
        let unreadable = |status| -> CallError {
            SdkError::<SendMessageError, _>::response_error("garbage", answer(status, "<html>"))
                .into()
        };
        let unhandled = |status| -> CallError {
            let error = SendMessageError::unhandled("garbage");
            SdkError::service_error(error, answer(status, "<html>")).into()
        };
        for of in [&unreadable as &dyn Fn(u16) -> CallError, &unhandled] {
            assert!(matches!(of(200), CallError::Lost { .. }));
            assert!(matches!(of(204), CallError::Lost { .. }));
            assert!(matches!(of(302), CallError::Refused(refusal) if refusal.status == 302));
            assert!(matches!(of(502), CallError::Refused(refusal) if refusal.status == 502));
        }
    }

    #[test]
    fn what_never_reached_the_connector_is_a_matter_of_setup() {
        let never: CallError = SdkError::<SendMessageError, _>::dispatch_failure(
            ConnectorError::other("no credentials".into(), None),
        )
        .into();
        assert!(matches!(never, CallError::Setup { reason, .. } if reason == "no credentials"));
        let built: CallError =
            SdkError::<SendMessageError, HttpResponse>::construction_failure("no queue").into();
        assert!(matches!(built, CallError::Setup { .. }));
        let cut: CallError = SdkError::<SendMessageError, _>::dispatch_failure(ConnectorError::io(
            "connection reset".into(),
        ))
        .into();
        assert!(matches!(cut, CallError::Lost { .. }));
    }
}
