//! Requests that the gateway makes itself, beside those of the AWS SDK: keys, discovery documents, authorizers,
//! certificates. One pool of connections, the proxy of the environment, no redirects, a bounded answer, a deadline.
//!
//! Whose URL it is decides where it may point (fine print, 5): what an operator wrote may point anywhere; what a
//! request or a stranger's document named may not point at loopback, private, link-local and metadata addresses,
//! unless `egress.allow` says so. The address is checked after the name is resolved, and that address is used.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

/// Whose words a URL is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The configuration's, or a document's at the same origin.
    ByOperator,
    /// A request's, or another origin's.
    ByStranger,
}

/// What one exchange may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From the name's look-up to the last byte.
    pub timeout: Duration,
    /// Of the answer's body, in bytes.
    pub max_body: usize,
}

/// Why there is no answer. The text is for logs; it holds no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("{0} is not a URL that can be fetched")]
    Url(String),
    #[error("{host} is {address}, which a URL out of a request may not point at")]
    Forbidden { host: String, address: String },
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("the answer is over {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Failed(String),
}

/// The client. Cloning shares its connections.
#[derive(Clone, Debug, Default)]
pub struct Client {}

impl Client {
    /// Makes one exchange. Any status is an answer; redirects are answers too.
    pub async fn send(
        &self,
        _request: Request<Bytes>,
        _named: Named,
        _bounds: Bounds,
    ) -> Result<Response<Bytes>, FetchError> {
        Err(FetchError::Failed("not built yet".to_owned()))
    }
}
