//! What is written down of requests: the access log and the standing recording, as a new configuration has them.

use super::Live;
use crate::plan::Blueprint;
use crate::plan::candidate::{Origin, Refused};
use crate::telemetry::access_log::Writer;

impl Live {
    /// The access log, where it is to go elsewhere or look otherwise. A file is opened anew when somebody says so by a
    /// signal, as those who rotate logs do.
    pub(super) async fn log(
        &self,
        next: &Blueprint,
        origin: Origin,
    ) -> Result<Option<Writer>, Refused> {
        let same = next.log_destination == self.running.log_destination
            && next.log_format == self.running.log_format;
        if same && origin != Origin::Signal {
            return Ok(None);
        }
        let (destination, format) = (next.log_destination.clone(), next.log_format.clone());
        let metrics = self.metrics.clone();
        let opening =
            tokio::task::spawn_blocking(move || Writer::open(&destination, format, &metrics));
        let refused = |error: &dyn std::fmt::Display| {
            Refused::Build(format!("the access log cannot be opened: {error}"))
        };
        let opened = opening.await.map_err(|error| refused(&error))?;
        opened.map(Some).map_err(|error| refused(&error))
    }

    /// Has the standing recording be the blueprint's. That it cannot be is no reason to refuse a request.
    pub(super) fn record(&mut self, blueprint: &Blueprint) {
        let captures = &self.services.gateway.telemetry.captures;
        match captures.stand(blueprint.capture.as_ref()) {
            Ok(Some(before)) => self.reaper.take(before),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "Requests cannot be recorded"),
        }
    }
}
