//! The breaker of one target: who may call it now. Closed, everybody may. Open, nobody may but one probe after each
//! pause. Half-open, as many may as are needed to close it, and one failure opens it again, for longer.
//!
//! A state machine without a clock, a lock or a thread of its own.

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Dice;
use super::settings::TargetSettings;

/// How a call went, as far as the target's health goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It answered; that it refuses a record for what it is says that it works.
    Well,
    /// It throttles, fails, or cannot be reached; or nobody knows what became of the call.
    Ill,
    /// It cannot be used until somebody changes how we are set up.
    Unusable,
}

/// Who wants to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A request that could be spooled instead: it never probes.
    Request,
    /// The spool.
    Spool,
    /// A request of a route that calls whatever the breaker says; the breaker only hears of it.
    Regardless,
}

/// Leave to make one call. It is given back with [`Breaker::end`] or [`Breaker::cancel`].
#[derive(Debug)]
pub(super) struct Pass {
    epoch: u64,
    kind: PassKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PassKind {
    Free,
    Probe,
    Trial,
    Regardless,
}

impl Pass {
    /// Whether the call is to find out how the target is: it should risk little.
    pub(super) fn is_careful(&self) -> bool {
        matches!(self.kind, PassKind::Probe | PassKind::Trial)
    }
}

/// No leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotNow {
    /// When to ask again, unless the state changes before; `None`: when a call that is under way has ended.
    pub(super) wait: Option<Duration>,
}

/// What a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Closed,
    Open,
    HalfOpen,
}

impl Standing {
    pub(super) const ALL: [Standing; 3] = [Standing::Closed, Standing::Open, Standing::HalfOpen];

    pub(super) fn name(self) -> &'static str {
        match self {
            Standing::Closed => "closed",
            Standing::Open => "open",
            Standing::HalfOpen => "half-open",
        }
    }
}

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
        probing: bool,
    },
    HalfOpen {
        successes: u32,
        under_way: u32,
        pause: Duration,
    },
}

/// The breaker. Settings come with each question: they may change while it runs.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// Counts changes of state: what began before one says nothing after it.
    epoch: u64,
}

impl Breaker {
    /// Closed.
    pub(super) fn new() -> Breaker {
        Breaker {
            state: State::Closed { failures: 0 },
            epoch: 0,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        match self.state {
            State::Closed { .. } => Standing::Closed,
            State::Open { .. } => Standing::Open,
            State::HalfOpen { .. } => Standing::HalfOpen,
        }
    }

    /// Differs from what it was if the state has changed.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Ends the pause of an open breaker: the next probe may go now.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let State::Open { until, .. } = &mut self.state {
            *until = (*until).min(now);
        }
    }

    /// How long nobody will be let through.
    pub(super) fn closed_for(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until, .. } => Some(until.saturating_duration_since(now)),
            _ => None,
        }
    }

    /// Asks for leave to make a call.
    pub(super) fn begin(
        &mut self,
        caller: Caller,
        now: Instant,
        settings: &TargetSettings,
    ) -> Result<Pass, NotNow> {
        let epoch = self.epoch;
        let pass = |kind| Ok(Pass { epoch, kind });
        if caller == Caller::Regardless {
            return pass(PassKind::Regardless);
        }
        match &mut self.state {
            State::Closed { .. } => pass(PassKind::Free),
            State::Open { until, probing, .. } => {
                let left = until.saturating_duration_since(now);
                if *probing {
                    return Err(NotNow { wait: None });
                }
                if caller == Caller::Request || !left.is_zero() {
                    return Err(NotNow { wait: Some(left) });
                }
                *probing = true;
                pass(PassKind::Probe)
            }
            State::HalfOpen {
                successes,
                under_way,
                ..
            } => {
                if *successes + *under_way >= settings.close_after {
                    return Err(NotNow { wait: None });
                }
                *under_way += 1;
                pass(PassKind::Trial)
            }
        }
    }

    /// Says how a call went. True if the state has changed.
    pub(super) fn end(
        &mut self,
        pass: Pass,
        health: Health,
        now: Instant,
        settings: &TargetSettings,
        dice: &Dice,
    ) -> bool {
        if pass.epoch != self.epoch {
            return false;
        }
        let well = health == Health::Well;
        match &mut self.state {
            State::Closed { failures } => {
                *failures = if well { 0 } else { *failures + 1 };
                if health != Health::Unusable && *failures < settings.open_after.max(1) {
                    return false;
                }
                self.open(settings.probe_every, now, dice);
            }
            State::Open { pause, .. } if well => {
                self.state = State::HalfOpen {
                    successes: 1,
                    under_way: 0,
                    pause: *pause,
                };
                self.epoch += 1;
                self.close_if_proven(settings);
            }
            // a call that nobody let through prolongs nothing
            State::Open { .. } if pass.kind != PassKind::Probe => return false,
            State::HalfOpen {
                successes,
                under_way,
                ..
            } if well => {
                *successes += 1;
                if pass.kind == PassKind::Trial {
                    *under_way = under_way.saturating_sub(1);
                }
                return self.close_if_proven(settings);
            }
            State::Open { pause, .. } | State::HalfOpen { pause, .. } => {
                let longer = (*pause * 2).min(settings.max_probe);
                self.open(longer, now, dice);
            }
        }
        true
    }

    /// The call was not made.
    pub(super) fn cancel(&mut self, pass: Pass) {
        if pass.epoch != self.epoch {
            return;
        }
        match (&mut self.state, pass.kind) {
            (State::Open { probing, .. }, PassKind::Probe) => *probing = false,
            (State::HalfOpen { under_way, .. }, PassKind::Trial) => {
                *under_way = under_way.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn close_if_proven(&mut self, settings: &TargetSettings) -> bool {
        let State::HalfOpen { successes, .. } = self.state else {
            return false;
        };
        if successes < settings.close_after {
            return false;
        }
        self.state = State::Closed { failures: 0 };
        self.epoch += 1;
        true
    }

    /// Opens for half the pause to the whole of it, so that many instances do not probe at once.
    fn open(&mut self, pause: Duration, now: Instant, dice: &Dice) {
        let jittered = pause.mul_f64(0.5 + dice.roll() / 2.0);
        self.state = State::Open {
            until: now + jittered,
            pause,
            probing: false,
        };
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests;
