//! What joins an exchange to the call that stores its payload, so that its end is known when the request is gone.

use std::sync::{Mutex, PoisonError};

use super::{Facts, Refusal, TargetFacts};
use crate::model::code::Code;
use crate::model::phase::Phase;

/// Joins an exchange to the call that stores its payload: whichever ends last writes the line.
#[derive(Debug, Default)]
pub struct Ticket(Mutex<TicketState>);

#[derive(Debug, Default)]
enum TicketState {
    /// The call is under way and the exchange is with its request.
    #[default]
    Running,
    /// The request is gone; the facts wait for the call.
    Abandoned(Box<Facts>),
    /// The call has ended. `Ok`: stored.
    Done(Result<TargetFacts, Refusal>),
}

impl Ticket {
    /// What became of the call that stores. `Ok`: the payload is durable.
    pub fn done(&self, result: Result<TargetFacts, Refusal>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, TicketState::Running) {
            TicketState::Abandoned(facts) => facts.end_abandoned(result),
            TicketState::Running | TicketState::Done(_) => *state = TicketState::Done(result),
        }
    }

    pub(super) fn abandon(&self, facts: Box<Facts>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, TicketState::Running) {
            TicketState::Done(result) => facts.end_abandoned(result),
            TicketState::Running | TicketState::Abandoned(_) => {
                *state = TicketState::Abandoned(facts)
            }
        }
    }
}

impl Drop for Ticket {
    /// The call's task was ended before the call was: the process is at its drain deadline.
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let TicketState::Abandoned(facts) = std::mem::take(state) {
            facts.end_abandoned(Err(Refusal {
                phase: Phase::Store,
                code: Code::OutcomeUnknown,
                status: 503,
                cause: "the call was cut off at the drain deadline".to_owned(),
            }));
        }
    }
}
