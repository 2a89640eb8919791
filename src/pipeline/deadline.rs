//! The one deadline of a request: from its head on, everything that the gateway waits for shares the route's timeout. The
//! time in which the body arrives is the client's, and has a limit of its own.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use tokio::time::{Instant, timeout_at};

use super::rejection::Rejection;
use crate::model::call::Call;
use crate::model::phase::Phase;
use crate::plan::Route;

/// When a request has to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Instant,
    given: Duration,
}

/// What was waited for longer than the request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request's {} ms were over in this phase", .given.as_millis())]
pub struct Late {
    pub phase: Phase,
    pub given: Duration,
}

impl Deadline {
    /// The deadline of a request whose head has just arrived.
    pub fn of(route: &Route, call: &Call) -> Deadline {
        let given = route.limits.timeout;
        Deadline {
            at: Instant::from_std(call.arrived) + given,
            given,
        }
    }

    /// Leaves out a time that was not the gateway's, or that the client has asked to wait.
    pub fn later(self, by: Duration) -> Deadline {
        Deadline {
            at: self.at + by,
            ..self
        }
    }

    /// The moment, for whoever makes calls.
    pub fn at(self) -> Instant {
        self.at
    }

    /// Waits for a phase, as long as the request has time. What is not done then is given up.
    pub async fn within<T>(
        self,
        phase: Phase,
        mut work: Pin<&mut impl Future<Output = Result<T, Rejection>>>,
    ) -> Result<T, Rejection> {
        // Most phases wait for nothing, and a timer that is not needed costs as much as some of them.
        if let Poll::Ready(done) = poll!(work.as_mut()) {
            return done;
        }
        let given = self.given;
        let done = timeout_at(self.at, work).await;
        done.unwrap_or_else(|_| Err(Late { phase, given }.into()))
    }
}
