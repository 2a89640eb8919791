//! What holds for every route of a stage.

use schemars::JsonSchema;
use serde::Deserialize;

use super::off::{self, OrOff};
use crate::model::text::Text;
use crate::model::value::{ByteSize, MemoryShare, Span};

/// How answers look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// JSON of our own; refusals are RFC 9457 problem documents.
    #[default]
    Native,
    /// The service's own answers, and the vendor's error bodies.
    Aws,
}

/// Whether a path with a trailing slash is another path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrailingSlash {
    /// `/orders/` and `/orders` are two paths.
    #[default]
    Strict,
    /// They are one path.
    Ignore,
    /// A path that has no route is answered 308 when its twin has one.
    Redirect,
}

/// Cross-origin resource sharing. Headers go out only where `Origin` came in; a preflight is answered 204 before
/// anything else unless a route key says `OPTIONS`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Exact origins, `*`, `https://*` or `http://*`.
    #[serde(default)]
    pub allow_origins: Vec<String>,
    /// Method names, or `*`.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// Header names, or `*`.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Header names that scripts may read, or `*`.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Whether cookies and credentials may come along. Cannot stand beside the origin `*`.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long browsers may keep a preflight's answer, up to 24h.
    pub max_age: Option<Span>,
}

/// Limits of size, time and number.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest body. Over it: 413. Default: 1MiB; 10MiB in the `aws` dialect.
    pub body: Option<ByteSize>,
    /// Request line and headers together. Over it: 431. Default: 16KiB; 10,240 bytes in the `aws` dialect.
    pub headers: Option<ByteSize>,
    /// The number of headers. Over it: 431. Default: 100.
    #[schemars(range(min = 1))]
    pub header_count: Option<usize>,
    /// How long a head may take to arrive. Over it: 408. Default: 10s.
    pub header_timeout: Option<Span>,
    /// How long a body may take to arrive. Over it: 408. Default: 30s.
    pub body_timeout: Option<Span>,
    /// How long a connection may stay idle before it is closed. Default: 60s.
    pub idle_timeout: Option<Span>,
    /// How long a request may take, from its head to the target's answer: authorizers, shared limits and the target
    /// share it. The time in which the body arrives is not part of it (`body_timeout`); a long poll's wait is added.
    /// Over it: 503. Default: 10s.
    pub timeout: Option<Span>,
    /// Requests at once, over all listeners. Over it: 503. Default: 4096.
    #[schemars(range(min = 1))]
    pub in_flight: Option<usize>,
    /// How much memory may be in use before requests are refused with 503: a part of what the container or the machine
    /// has (`80%`), a size of the process's own memory (`512MiB`), `auto` (85%), or `none`. Default: `auto`.
    #[serde(deserialize_with = "off::value_or_off")]
    #[schemars(with = "Option<OrOff<MemoryShare>>")]
    pub memory: Option<Option<MemoryShare>>,
    /// Bytes of bodies in flight. Over it: 503, before the body is read. Default: a quarter of `memory`; the largest
    /// body of any route at least.
    pub bodies: Option<ByteSize>,
    /// How long work may wait for the CPU, all the time, before fewer requests are let in and the others refused with 503;
    /// `none` for as long as it does. Default: 100ms.
    #[serde(deserialize_with = "off::value_or_off")]
    #[schemars(with = "Option<OrOff<Span>>")]
    pub cpu_wait: Option<Option<Span>>,
    /// Connections at once, for each listener. Over it the connection closes that has been without a request for
    /// longest; where all are busy the new one gets 503 and closes. Default: 16384.
    #[schemars(range(min = 1))]
    pub connections: Option<usize>,
    /// Of those at most so many from one address (one /64 of IPv6): 503, and closed. Not counted behind the PROXY protocol
    /// and from `trusted_proxies`, where many clients come from one address. Default: any number.
    #[schemars(range(min = 1))]
    pub connections_per_address: Option<usize>,
    /// How old a connection may become, give or take a tenth: then its next answer is its last (`Connection: close`, on
    /// HTTP/2 GOAWAY), so that new certificates, revocations and limits reach everybody. `false` for any age. Default: 1h.
    #[serde(deserialize_with = "off::value_or_off")]
    #[schemars(with = "Option<OrOff<Span>>")]
    pub connection_age: Option<Option<Span>>,
    /// How long a shutdown waits for what is in flight. Default: 30s.
    pub drain: Option<Span>,
}

/// One line for each request, refusals, vanished clients and panics included.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// `stdout`, `stderr`, `none`, or a file that is appended to. Default: `stdout`.
    pub path: Option<String>,
    /// `json`, `clf`, or a text with `$context` variables such as
    /// `$context.requestId $context.status $context.store.latency`. Default: `json`.
    pub format: Option<LogFormat>,
}

/// `json`, `clf`, or a text with `$context` variables.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LogFormat(pub Text);
