//! What can be seen: the exchange (all that is known of one request), the access log, the metrics.

pub mod access_log;
pub mod capture;
pub mod deployments;
pub mod exchange;
pub mod forwarding;
pub mod histogram;
pub mod log_format;
pub mod metrics;
pub mod renewal;
pub mod throttling;
pub mod tokens;
mod webhooks;

use std::sync::Arc;

pub use access_log::AccessLog;
pub use capture::Captures;
pub use exchange::Exchange;
pub use metrics::Metrics;
pub use webhooks::Webhooks;

/// Where exchanges end: one for the process.
#[derive(Debug)]
pub struct Telemetry {
    pub metrics: Metrics,
    pub access_log: AccessLog,
    /// Who records requests.
    pub captures: Arc<Captures>,
}

impl Telemetry {
    /// Telemetry that writes access-log lines to `access_log`.
    pub fn new(metrics: Metrics, access_log: AccessLog) -> Arc<Telemetry> {
        let captures = Arc::new(Captures::new(metrics.capture.clone()));
        Arc::new(Telemetry {
            metrics,
            access_log,
            captures,
        })
    }
}
