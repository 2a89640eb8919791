//! What is found out about a delivery (reference, 1.4), and what the sender is told of it.

use std::borrow::Cow;

use super::super::{AuthnError, Kind};

/// What a request turned out to be. The names are those of the reference and of the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Ok,
    MissingHeader,
    Malformed,
    BadSignature,
    Stale,
    Future,
    Handshake,
    /// A handshake whose check failed, or whose answer may not be given.
    Refused(u16),
    /// What is needed to decide cannot be had at the moment.
    Unavailable,
}

impl Code {
    /// Every name.
    pub(super) const NAMES: [&'static str; 9] = [
        "ok",
        "missing-header",
        "malformed",
        "bad-signature",
        "stale",
        "future",
        "handshake",
        "refused",
        "unavailable",
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Code::Ok => "ok",
            Code::MissingHeader => "missing-header",
            Code::Malformed => "malformed",
            Code::BadSignature => "bad-signature",
            Code::Stale => "stale",
            Code::Future => "future",
            Code::Handshake => "handshake",
            Code::Refused(_) => "refused",
            Code::Unavailable => "unavailable",
        }
    }
}

/// Why a request is not passed on. The detail is for the log: it names places and sizes, never a secret, a signature or
/// what a signature should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) detail: Cow<'static, str>,
    /// Whether the source address is charged for it though nothing was proven wrong.
    pub(super) charged: bool,
}

impl Failure {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Failure {
        Failure {
            code,
            detail: detail.into(),
            charged: false,
        }
    }

    /// Charged to the source address.
    #[must_use]
    pub(super) fn charged(self) -> Failure {
        Failure {
            charged: true,
            ..self
        }
    }

    pub(super) fn missing(detail: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(Code::MissingHeader, detail)
    }

    pub(super) fn malformed(detail: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(Code::Malformed, detail)
    }

    pub(super) fn bad(detail: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(Code::BadSignature, detail)
    }

    pub(super) fn unavailable(detail: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(Code::Unavailable, detail)
    }

    /// As the door's error. The public words do not say which part failed.
    pub(super) fn into_error(self, source: &str) -> AuthnError {
        let cause = format!("webhook {source}: {}: {}", self.code.name(), self.detail);
        let (kind, public) = match self.code {
            Code::Malformed => (
                Kind::Webhook(400),
                "What proves a delivery genuine cannot be read.",
            ),
            Code::Refused(status) => (Kind::Webhook(status), "This handshake is refused."),
            Code::Unavailable => (
                Kind::Unavailable,
                "Deliveries cannot be verified at the moment.",
            ),
            _ => (Kind::Webhook(401), "The delivery could not be verified."),
        };
        let error = AuthnError::new(kind, public, cause);
        match self.code {
            // Stale and future ones are the real sender's: a retry or a clock, not a guess.
            Code::BadSignature | Code::Malformed | Code::Refused(_) => error.wrong(),
            _ if self.charged => error.wrong(),
            _ => error,
        }
    }
}
