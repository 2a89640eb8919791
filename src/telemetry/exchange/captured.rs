//! What a recording takes of an exchange.

use bytes::Bytes;

use super::{Exchange, Facts, Head};
use crate::telemetry::capture::Taken;

impl Exchange {
    /// The request has passed authentication with this body, as received: from here on it may be recorded.
    pub fn accepted(&mut self, body: &Bytes) {
        self.with(|facts| {
            if facts.telemetry.captures.is_on() {
                facts.body = Some(body.clone());
            }
        });
    }
}

impl Facts {
    /// Gives the request to whoever records. What never became a request is not recorded.
    pub(super) fn record(self, code: &'static str) {
        let Head::Call(call) = self.head else {
            return;
        };
        let route = self.route.clone();
        self.telemetry.captures.give(route.as_deref(), || Taken {
            call,
            body: self.body,
            identity: self.identity,
            api: self.api,
            stage: self.stage,
            deployment: self.deployment,
            route: self.route,
            status: self.status,
            code: Some(code).filter(|code| !code.is_empty()),
        });
    }
}
