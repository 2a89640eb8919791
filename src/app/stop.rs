//! The end of the process: what asks for it, and what is finished before it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::Ended;
use super::listeners::Listeners;
use crate::forward::Forward;
use crate::integration::{StoreState, Targets};
use crate::pipeline::Gateway;
use crate::store::Store;

/// How long past the drain deadline closing the store may take.
pub(super) const CLOSING: Duration = Duration::from_secs(5);

/// SIGTERM and SIGINT. (SIGHUP has the configuration read anew.)
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn new() -> io::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Finishes what is in flight, or cuts it off at the deadline or at a second signal.
pub(super) async fn drain_all(
    gateway: &Arc<Gateway>,
    listeners: &mut Listeners,
    targets: &Arc<Targets>,
    forward: &Forward,
    deadline: Instant,
    stop: &mut Stop,
) -> Ended {
    let within = deadline.saturating_duration_since(Instant::now());
    tracing::info!(
        within_seconds = within.as_secs_f64().round() as u64,
        "Shutting down; a second signal ends it at once"
    );
    gateway.drain();
    if let StoreState::Open(store) = targets.store_state() {
        store.end_polls();
    }
    listeners.drain(within);
    let mut requests = 0;
    let mut at_once = false;
    loop {
        tokio::select! {
            () = stop.asked() => {
                tracing::warn!("A second signal: ending at once");
                at_once = true;
                listeners.drain(Duration::ZERO);
            }
            ended = listeners.ended() => match ended {
                None => break,
                Some(Ok(drained)) => requests += drained.requests,
                Some(Err(error)) => tracing::error!(%error, "A listener has failed"),
            },
        }
    }
    gateway.calls.close();
    tokio::select! {
        () = gateway.calls.wait() => {}
        () = tokio::time::sleep_until(deadline) => {}
        () = std::future::ready(()), if at_once => {}
        () = stop.asked() => {}
    }
    // No call of ours may run when the store closes: what is spooled stays, and goes on with the next start.
    let until = if at_once { Instant::now() } else { deadline };
    let left = tokio::select! {
        left = forward.drain(until) => left,
        () = stop.asked() => forward.drain(Instant::now()).await,
    };
    if left > 0 {
        tracing::warn!(
            records = left,
            "Records stay in the spool; they are forwarded after the next start"
        );
    }
    let calls = gateway.calls.len();
    if requests == 0 && calls == 0 {
        Ended::Drained
    } else {
        Ended::CutOff { requests, calls }
    }
}

/// Closes the store, unless the disk hangs. Nothing acknowledged depends on it: a store that was not closed is
/// recovered when it is opened again.
pub(super) async fn close_store(store: &Store, deadline: Instant, stop: &mut Stop) {
    let given_up = tokio::select! {
        () = store.close() => return,
        () = tokio::time::sleep_until(deadline + CLOSING) => "the disk did not answer in time",
        () = stop.asked() => "a second signal",
    };
    tracing::warn!(
        reason = given_up,
        "The store was left open; its log is read when it is opened again"
    );
}
