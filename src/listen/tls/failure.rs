//! Why a handshake came to nothing, in the few words of a metric.

use std::io;

use rustls::{CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It took longer than `header_timeout`.
    Timeout,
    /// The client closed in the middle of it.
    Closed,
    /// What came was not TLS.
    NotTls,
    /// Plain HTTP, which was answered with 400.
    PlainHttp,
    /// No version, cipher or protocol (ALPN) in common.
    Incompatible,
    /// The client did not like something, our certificate most likely.
    RefusedByClient,
    /// A client certificate is required, and none was shown.
    CertificateMissing,
    CertificateExpired,
    CertificateRevoked,
    /// Its chain does not end at one of the roots.
    CertificateUntrusted,
    /// Its status is not to be found in a revocation list that is up to date.
    RevocationUnknown,
    /// Anything else about it: weak, not for clients, not to be read, not the client's own.
    CertificateInvalid,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    /// Every reason, in the order of their declaration.
    pub const ALL: [HandshakeFailure; 13] = [
        HandshakeFailure::Timeout,
        HandshakeFailure::Closed,
        HandshakeFailure::NotTls,
        HandshakeFailure::PlainHttp,
        HandshakeFailure::Incompatible,
        HandshakeFailure::RefusedByClient,
        HandshakeFailure::CertificateMissing,
        HandshakeFailure::CertificateExpired,
        HandshakeFailure::CertificateRevoked,
        HandshakeFailure::CertificateUntrusted,
        HandshakeFailure::RevocationUnknown,
        HandshakeFailure::CertificateInvalid,
        HandshakeFailure::Other,
    ];

    /// The metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            HandshakeFailure::Timeout => "timeout",
            HandshakeFailure::Closed => "closed",
            HandshakeFailure::NotTls => "not_tls",
            HandshakeFailure::PlainHttp => "plain_http",
            HandshakeFailure::Incompatible => "incompatible",
            HandshakeFailure::RefusedByClient => "refused_by_client",
            HandshakeFailure::CertificateMissing => "certificate_missing",
            HandshakeFailure::CertificateExpired => "certificate_expired",
            HandshakeFailure::CertificateRevoked => "certificate_revoked",
            HandshakeFailure::CertificateUntrusted => "certificate_untrusted",
            HandshakeFailure::RevocationUnknown => "revocation_unknown",
            HandshakeFailure::CertificateInvalid => "certificate_invalid",
            HandshakeFailure::Other => "other",
        }
    }

    /// What an error of the handshake means.
    pub fn of(error: &io::Error) -> HandshakeFailure {
        let Some(error) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>())
        else {
            return HandshakeFailure::Closed;
        };
        match error {
            Error::NoCertificatesPresented => HandshakeFailure::CertificateMissing,
            Error::InvalidCertificate(error) => certificate(error),
            Error::AlertReceived(_) => HandshakeFailure::RefusedByClient,
            Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon) => {
                HandshakeFailure::CertificateInvalid
            }
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => {
                HandshakeFailure::Incompatible
            }
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => HandshakeFailure::NotTls,
            _ => HandshakeFailure::Other,
        }
    }
}

fn certificate(error: &CertificateError) -> HandshakeFailure {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            HandshakeFailure::CertificateExpired
        }
        CertificateError::Revoked => HandshakeFailure::CertificateRevoked,
        CertificateError::UnknownIssuer => HandshakeFailure::CertificateUntrusted,
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            HandshakeFailure::RevocationUnknown
        }
        _ => HandshakeFailure::CertificateInvalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_place_and_has_a_name_of_its_own() {
        for (index, reason) in HandshakeFailure::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            let same = HandshakeFailure::ALL
                .iter()
                .filter(|other| other.name() == reason.name());
            assert_eq!(same.count(), 1);
        }
    }
}
