//! What people write about the listener, and what it is run with.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::authn::sigv4::{User, UserList};

/// The address that the listener has unless another is written.
pub const DEFAULT_BIND: &str = "127.0.0.1:9324";

/// A listener that answers the SQS protocol over the embedded queues: AWS JSON 1.0 and Query. Its queues' URLs are
/// `http://HOST/000000000000/NAME`. Either `credentials` or `anonymous: true` has to be written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Sqs")]
pub struct Settings {
    /// `address:port`. Port 0 takes a free one; the address taken is printed. Default: 127.0.0.1:9324.
    pub bind: Option<String>,
    /// Whether signatures are ignored, for development; on loopback addresses only. Default: false.
    pub anonymous: bool,
    /// Who may sign requests: a file with `users: […]`, or the list itself. Each user may do everything.
    pub credentials: Option<UserList>,
    /// The region of the queues' ARNs; when it is written, requests have to be signed for it. Default: any region, and
    /// `aws.region`, else us-east-1, in ARNs.
    pub region: Option<String>,
}

/// Whose requests are answered.
#[derive(Clone, Debug)]
pub enum Access {
    /// Anybody's.
    Anonymous,
    /// Those of these users.
    Signed {
        users: Vec<User>,
        /// The region that requests have to be signed for; `None`: any.
        region: Option<String>,
    },
}
