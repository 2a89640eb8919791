//! Why a token is refused, and how that is told: the status, `WWW-Authenticate` (RFC 6750, 3; reference, 4.4), and
//! `$context.authorizer.error`. Nothing of the token is in any of it.

use crate::authn::{AuthnError, Kind};

/// Why a token is refused. The text is the vendor's where one is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no token was sent")]
    Missing,
    #[error("more than one token was sent")]
    Several,
    #[error("the token is larger than 16 KiB")]
    TooLarge,
    #[error("token contains an invalid number of segments")]
    Segments,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token's signing algorithm is not accepted")]
    Algorithm,
    #[error("the token has a critical extension that is not understood")]
    Critical,
    #[error("the token is of another type")]
    Type,
    #[error("the token does not have an accepted issuer")]
    Issuer,
    #[error("the token does not have a valid audience")]
    Audience,
    #[error("the token has no valid expiry")]
    NoExpiry,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token is issued in the future")]
    IssuedLater,
    #[error("the token does not have a required claim")]
    Claim,
    #[error("the token's signing key is not known")]
    UnknownKey,
    #[error("the token's signature is invalid")]
    Signature,
    /// The keys cannot be had: not the caller's fault, so no 401.
    #[error("{0}")]
    NoKeys(String),
}

impl From<Refusal> for AuthnError {
    fn from(refusal: Refusal) -> AuthnError {
        let cause = refusal.to_string();
        match refusal {
            Refusal::Missing => AuthnError::new(
                Kind::Unauthorized,
                "This route needs a JSON Web Token.",
                cause,
            )
            .challenging("Bearer"),
            Refusal::NoKeys(_) => AuthnError::new(
                Kind::Unavailable,
                "The token cannot be checked at the moment. Try again later.",
                cause,
            ),
            _ => AuthnError::new(
                Kind::Unauthorized,
                format!("The token is not accepted: {cause}."),
                &cause,
            )
            .challenging(format!(
                "Bearer scope=\"\" error=\"invalid_token\" error_description=\"{cause}\""
            ))
            .wrong(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_challenges_and_missing_keys_are_not_the_callers_fault() {
        let missing = AuthnError::from(Refusal::Missing);
        assert_eq!(missing.challenge.as_deref(), Some("Bearer"));
        assert!(!missing.wrong_credentials);
        let expired = AuthnError::from(Refusal::Expired);
        assert_eq!(
            expired.challenge.as_deref(),
            Some(
                r#"Bearer scope="" error="invalid_token" error_description="the token has expired""#
            )
        );
        assert_eq!(expired.cause, "the token has expired");
        assert!(expired.wrong_credentials);
        let down = AuthnError::from(Refusal::NoKeys("no answer within 1500 ms".into()));
        assert_eq!((down.kind, down.challenge), (Kind::Unavailable, None));
    }
}
