//! Errors of calls that the gateway did not make, did not wait for, or could not keep: what no service has said.

use super::{Class, Lost, Service, TargetError};
use crate::integration::sqs;
use crate::store::StoreError;

/// The code of [`TargetError::out_of_turn`].
pub(super) const OUT_OF_TURN: &str = "EarlierRecordsWait";
/// The codes of [`TargetError::target_busy`] and [`TargetError::waited_too_long`].
pub(super) const TARGET_BUSY: &str = "TargetBusy";
pub(super) const WAITED_TOO_LONG: &str = "WaitedTooLong";

impl TargetError {
    /// Of a call that was not made, because one before it in the same batch says that the target cannot be used now.
    pub(in crate::integration) fn not_sent(service: Service) -> TargetError {
        TargetError::new(
            Class::Unavailable,
            service,
            "NotSent",
            "an earlier record of the same batch could not be sent",
        )
    }

    /// Of a call that is not made, because earlier records with its order key still wait in the spool.
    pub fn out_of_turn(service: Service) -> TargetError {
        TargetError::new(
            Class::Unavailable,
            service,
            OUT_OF_TURN,
            "earlier records with the same order key are spooled and not forwarded yet",
        )
    }

    /// Of a record that is not taken, because as many wait for calls to its target as may wait, or as many as would have
    /// this one wait for longer than it can.
    pub fn target_busy(service: Service) -> TargetError {
        TargetError::new(
            Class::Overloaded,
            service,
            TARGET_BUSY,
            "too many records wait for calls to the target",
        )
    }

    /// Of a record that waited for a call to its target until its time was over. It was not sent.
    pub fn waited_too_long(service: Service) -> TargetError {
        TargetError::new(
            Class::Overloaded,
            service,
            WAITED_TOO_LONG,
            "the record waited for a call to its target until its time was over",
        )
    }

    /// The route's timeout passed while a call that may store the record was under way.
    pub fn unanswered(service: Service) -> TargetError {
        TargetError::timed_out(service, Lost::MayHaveHappened)
    }

    /// Of a call that broke off in a bug of ours.
    pub fn panicked(service: Service) -> TargetError {
        TargetError::new(
            Class::OutcomeUnknown,
            service,
            "Panicked",
            "the call broke off; the panic has been logged",
        )
    }

    /// Of a call that cannot be kept, or not in this way: what the configuration should not have let through.
    pub fn misused(service: Service, what: &str) -> TargetError {
        TargetError::new(Class::Setup, service, "CannotBeSpooled", what)
    }

    /// Of a call that was ended before its answer, because the gateway stops or gave up on it.
    pub fn interrupted(service: Service) -> TargetError {
        TargetError::new(
            Class::OutcomeUnknown,
            service,
            "Interrupted",
            "the gateway did not wait for the target's answer",
        )
    }

    /// The target takes longer than the budget of `target-or-spool`.
    pub fn over_budget(service: Service) -> TargetError {
        TargetError::new(
            Class::OutcomeUnknown,
            service,
            "BudgetExceeded",
            "the target did not answer within the budget",
        )
    }

    /// Whether the call was not made, or not awaited, for a reason of ours: it says nothing about the target.
    pub fn is_ours(&self) -> bool {
        let ours = ["NotSent", "Interrupted", TARGET_BUSY, WAITED_TOO_LONG];
        self.status.is_none() && ours.contains(&self.code.as_str())
    }

    /// The embedded store refused.
    pub fn of_spool(error: StoreError) -> TargetError {
        sqs::refusal(error)
    }

    /// There is no embedded store, or it cannot be used.
    pub fn no_store(reason: impl Into<String>) -> TargetError {
        TargetError::new(Class::StoreUnavailable, Service::Sqs, "StoreAbsent", reason)
            .of_embedded_queue()
    }
}
