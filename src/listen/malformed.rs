//! What came in and never became a request.

use std::borrow::Cow;

use crate::model::code::Code;
use crate::model::request_id::RequestId;

/// Something that was received, and refused before it was a request.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// Minted for this refusal; in the answer too, unless hyper wrote it.
    pub id: RequestId,
    pub kind: MalformedKind,
    /// The status that was sent, if any could be.
    pub status: Option<u16>,
    /// What was wrong, for the log. Nothing of what the client sent is in it.
    pub reason: Cow<'static, str>,
}

/// In which way it never became a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MalformedKind {
    /// The request line or a header field cannot be parsed, or the message's length is not certain: 400 by hyper.
    Head,
    /// The head is beyond hyper's buffer: 431 (or 414) by hyper.
    HeadTooLarge,
    /// The head was not complete within `header_timeout`: 408.
    HeadTimeout,
    /// The client stopped sending in the middle of a head: 400 if it still listens.
    HeadTruncated,
    /// An HTTP/2 connection broke the protocol, or its limits: GOAWAY.
    Protocol,
    /// HTTP without TLS on a listener with it: 400.
    PlainHttp,
    /// The listener has no room for another connection: 503.
    TooManyConnections,
    /// The client's address holds as many connections as it may: 503.
    TooManyFromAddress,
    /// The client's address may not come in on this listener: 403.
    Barred,
}

impl MalformedKind {
    /// The machine-readable reason, as metrics and problem documents name it.
    pub const fn code(self) -> Code {
        match self {
            MalformedKind::Head
            | MalformedKind::HeadTruncated
            | MalformedKind::Protocol
            | MalformedKind::PlainHttp => Code::Malformed,
            MalformedKind::HeadTooLarge => Code::HeadersTooLarge,
            MalformedKind::HeadTimeout => Code::Timeout,
            MalformedKind::TooManyConnections | MalformedKind::TooManyFromAddress => {
                Code::Overloaded
            }
            MalformedKind::Barred => Code::Forbidden,
        }
    }
}

impl Malformed {
    pub(super) fn new(kind: MalformedKind, reason: impl Into<Cow<'static, str>>) -> Malformed {
        Malformed {
            id: RequestId::mint(),
            kind,
            status: None,
            reason: reason.into(),
        }
    }

    /// Notes the status that was sent.
    pub(super) fn answered(mut self, status: u16) -> Malformed {
        self.status = Some(status);
        self
    }
}
