//! The phases of a request's life: one list of names for the access log, metrics, traces and refusals.

use std::fmt;

/// A phase of a request's life, in the order in which a request meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// The connection: what hyper refuses by itself ends here.
    Listen,
    /// What needs no route: in-flight slots, header limits, well-formedness.
    Admit,
    /// Stage and path to a route.
    Route,
    /// Preflight answers.
    Cors,
    /// Token buckets: the route's before the caller is known, the caller's after.
    Throttle,
    /// Credentials to a caller.
    Authenticate,
    /// A caller to a permit.
    Authorize,
    /// The body, within its limits of size and time.
    Receive,
    /// What needs the body: signatures and payload hashes.
    Verify,
    /// Parameter mapping: a request to the service's call.
    Map,
    /// The call that makes the payload durable.
    Store,
    /// The answer.
    Respond,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 12] = [
        Phase::Listen,
        Phase::Admit,
        Phase::Route,
        Phase::Cors,
        Phase::Throttle,
        Phase::Authenticate,
        Phase::Authorize,
        Phase::Receive,
        Phase::Verify,
        Phase::Map,
        Phase::Store,
        Phase::Respond,
    ];

    /// The name as it stands in logs, labels and `$context.<phase>.*`.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Listen => "listen",
            Phase::Admit => "admit",
            Phase::Route => "route",
            Phase::Cors => "cors",
            Phase::Throttle => "throttle",
            Phase::Authenticate => "authenticate",
            Phase::Authorize => "authorize",
            Phase::Receive => "receive",
            Phase::Verify => "verify",
            Phase::Map => "map",
            Phase::Store => "store",
            Phase::Respond => "respond",
        }
    }

    /// The position in [`Phase::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The phase of that name.
    pub fn named(name: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_stands_at_its_own_index_and_is_found_by_its_name() {
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase.index(), index);
            assert_eq!(Phase::named(phase.name()), Some(phase));
        }
    }
}
