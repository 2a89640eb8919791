//! Why a caller was not let in: one shape for all kinds, so that statuses and public words are chosen in few places.

use std::borrow::Cow;

/// What a refusal is, whatever refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 401: credentials are missing or wrong.
    Unauthorized,
    /// 403: proven, and not allowed (scope, policy, address, certificate).
    Forbidden,
    /// 403 `api_key_refused`.
    ApiKey,
    /// 403 `signature_refused`.
    Signature,
    /// 401 `webhook_refused`, or 400 where what carries the signature cannot be read, or what a handshake's check says.
    Webhook(u16),
    /// 500: the authorizer itself failed. The caller may try again.
    AuthorizerFailed,
    /// 503: what is needed to decide cannot be had at the moment (keys, certificates).
    Unavailable,
}

/// Why a caller was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct AuthnError {
    pub kind: Kind,
    /// For the caller: names what is asked for, and nothing that helps to guess.
    pub public: Cow<'static, str>,
    /// For the log, in full; never a credential.
    pub cause: String,
    /// `WWW-Authenticate`.
    pub challenge: Option<String>,
    /// Whether something was brought and found wrong, so that the source address is charged for it. Nothing brought at
    /// all is cheap to refuse and often a mistake.
    pub wrong_credentials: bool,
}

impl AuthnError {
    /// A refusal of that kind.
    pub fn new(
        kind: Kind,
        public: impl Into<Cow<'static, str>>,
        cause: impl Into<String>,
    ) -> AuthnError {
        AuthnError {
            kind,
            public: public.into(),
            cause: cause.into(),
            challenge: None,
            wrong_credentials: false,
        }
    }

    /// With a `WWW-Authenticate` header.
    #[must_use]
    pub fn challenging(self, challenge: impl Into<String>) -> AuthnError {
        AuthnError {
            challenge: Some(challenge.into()),
            ..self
        }
    }

    /// For credentials that were brought and are wrong.
    #[must_use]
    pub fn wrong(self) -> AuthnError {
        AuthnError {
            wrong_credentials: true,
            ..self
        }
    }
}
