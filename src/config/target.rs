//! How a target is treated: its breaker, backoff, rate and batches.

use schemars::JsonSchema;
use serde::Deserialize;

use super::off::{self, OrOff};
use crate::model::value::Span;

/// How the gateway treats one target, or all that are not named.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// When the target counts as down, and how it is tried again. It guards `spool` and `target-or-spool`; a route with
    /// `ack: target` always tries.
    pub breaker: Option<Breaker>,
    /// The pauses between the attempts of one spooled record, with full jitter.
    pub backoff: Option<Backoff>,
    /// Records a second that the spool may send: spare a WAN link. Default: no cap.
    #[schemars(range(min = 0))]
    pub rate: Option<f64>,
    /// Requests at once that may wait for the target, of `limits.in_flight`. Over it: 503, for its requests alone.
    /// Default: half of them, or all where every route leads to one target.
    #[schemars(range(min = 1))]
    pub requests: Option<usize>,
    /// Calls at once, 1 to 256: of the spool, and as many of requests that share calls. Default: 8 of the spool, and of
    /// requests as many as they need, up to 256; fewer while the target throttles.
    #[schemars(range(min = 1, max = 256))]
    pub in_flight: Option<usize>,
    /// Records of one call, of the spool and of requests that come at the same time; `none` for one record a call.
    /// Default: as many as the target takes.
    #[serde(deserialize_with = "off::or_off")]
    #[schemars(with = "Option<OrOff<Batch>>")]
    pub batch: Option<Option<Batch>>,
}

/// When a target counts as down, and how it is tried again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row that open it; a refusal for how we are set up opens it at once. Default: 5.
    #[schemars(range(min = 1))]
    pub open_after: Option<u32>,
    /// The first pause before a call probes the target; it doubles up to `max`. Default: 1s.
    pub probe_every: Option<Span>,
    /// The longest pause between probes. Default: 10s.
    pub max: Option<Span>,
    /// Successes in a row, the probe's among them, that close it. Default: 3.
    #[schemars(range(min = 1))]
    pub close_after: Option<u32>,
}

/// The pauses between the attempts of one record.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// The longest first pause; it doubles with each attempt. Default: 100ms.
    pub base: Option<Span>,
    /// The longest pause. Default: 30s.
    pub max: Option<Span>,
}

/// Records of one call.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Records at most; the target's own limit (10 for SQS and EventBridge, 500 for Kinesis) holds too.
    #[schemars(range(min = 1))]
    pub max: Option<usize>,
    /// How long a batch may wait to fill; of requests, only while other calls to the target are under way. Default: the
    /// spool's not at all, that of requests for half of what a call takes, at most 2ms.
    pub linger: Option<Span>,
}
