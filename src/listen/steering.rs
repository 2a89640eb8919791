//! What may be changed of a listener while it serves: its terms, for connections from then on, and who owns its socket.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::bind::Bound;
use super::terms::Terms;

/// Steers one listener. Dropping it leaves the listener as it is.
#[derive(Debug)]
pub struct Steering {
    terms: watch::Sender<Arc<Terms>>,
    wanted: oneshot::Sender<oneshot::Sender<Bound>>,
}

/// What a listener looks at.
#[derive(Debug)]
pub struct Steered {
    pub(super) terms: watch::Receiver<Arc<Terms>>,
    pub(super) wanted: oneshot::Receiver<oneshot::Sender<Bound>>,
}

impl Steering {
    /// Steering, and what it steers.
    pub fn new(terms: Arc<Terms>) -> (Steering, Steered) {
        let (terms, seen) = watch::channel(terms);
        let (wanted, asked) = oneshot::channel();
        let steered = Steered {
            terms: seen,
            wanted: asked,
        };
        (Steering { terms, wanted }, steered)
    }

    /// The terms as they are.
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.borrow().clone()
    }

    /// Other terms for the connections that are accepted from now on.
    pub fn change(&self, terms: Arc<Terms>) {
        self.terms.send_replace(terms);
    }

    /// Takes the socket away, with the connections that wait in its backlog; those that were accepted stay with the
    /// listener, which ends when they do. `None` if the listener has ended, or is about to.
    pub async fn take(self) -> Option<Bound> {
        let (give, given) = oneshot::channel();
        self.wanted.send(give).ok()?;
        given.await.ok()
    }
}
