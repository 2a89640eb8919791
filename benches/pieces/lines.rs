//! What each request is given at its beginning and what is written at its end.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use penstock::model::call::Call;
use penstock::model::phase::Phase;
use penstock::telemetry::access_log::{AccessLog, Destination};
use penstock::telemetry::exchange::Exchange;
use penstock::telemetry::log_format::LogFormat;
use penstock::telemetry::{Metrics, Telemetry};

use super::{Work, built};

/// A head becomes a call: its id, its time.
pub fn call() -> Work {
    let (head, peer) = (super::head(&[]), super::peer());
    Box::new(move || {
        black_box(Call::new(head.clone(), peer.clone()));
    })
}

/// An exchange from its opening to its end: metrics, and where there is one the log's line.
pub fn exchange(logged: bool) -> Work {
    let metrics = Metrics::new();
    let destination = match logged {
        true => Destination::File(PathBuf::from("/dev/null")),
        false => Destination::None,
    };
    let log = AccessLog::open(&destination, LogFormat::Json, metrics.clone());
    let telemetry = Telemetry::new(metrics, built(log, "a log"));
    let call = Arc::new(super::call(&[]));
    let (api, stage): (Arc<str>, Arc<str>) = ("shop".into(), "$default".into());
    Box::new(move || {
        let opened = (telemetry.clone(), call.clone(), api.clone(), stage.clone());
        let mut exchange = Exchange::open(opened.0, opened.1, opened.2, opened.3);
        for phase in [
            Phase::Admit,
            Phase::Route,
            Phase::Receive,
            Phase::Map,
            Phase::Store,
        ] {
            exchange.passed(phase);
        }
        exchange.received(1024);
        exchange.close(Some(202), 90);
    })
}
