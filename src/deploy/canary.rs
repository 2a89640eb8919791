//! A canary's way: from step to step while it does well, and back when it does worse than the baseline.
//!
//! It is pure: whoever looks tells the time and what has been counted since, and does what the look says.

use std::fmt;
use std::time::Duration;

use super::evidence::{Block, Counted, OVERWHELMING, Tally, Weighed, threshold};
use super::settings::{RollbackOn, Settings};
use crate::model::value::{Share, Span};

/// The part of the requests that may be slower than `p99`, by the meaning of the word.
const SLOW: f64 = 0.01;

/// What a look comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    Stay(Waiting),
    /// The next step's share.
    Step(Share),
    /// It has passed every step, the last of which is everything.
    Promote,
    RollBack(Blame),
}

/// Why a canary stays where it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// The step has not lasted long enough.
    Time(Duration),
    /// The step has not seen enough requests.
    Requests { seen: u64, needed: u64 },
    /// More of its requests are bad than may be, and it is not shown that this is its own fault.
    Doubt(Blame),
    /// The share was set by hand.
    Held,
    /// Its last step is not everything: it is promoted by hand.
    LastStep,
}

/// What speaks against a canary.
#[derive(Clone, Debug, PartialEq)]
pub struct Blame {
    /// `failed`, `refused`, or `slow`.
    pub what: &'static str,
    pub canary: f64,
    pub canary_requests: u64,
    pub baseline: f64,
    pub baseline_requests: u64,
    /// The part that may be.
    pub limit: f64,
    /// What is slow.
    pub p99: Option<Duration>,
}

/// Where a canary stands, to be kept and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub share: Share,
    /// The place of the step in the settings, from 0.
    pub step: usize,
    /// Whether the share was set by hand, so that no step is taken.
    pub held: bool,
    /// How often the weighing has begun anew.
    pub window: u32,
}

/// A canary on its way.
#[derive(Clone, Debug)]
pub struct Canary {
    settings: Settings,
    standing: Standing,
    /// When the step began, or went on, by the clock of whoever looks.
    since: Duration,
    /// How long it had lasted by then.
    before: Duration,
    /// What the step has seen.
    seen: Block,
    window: Window,
}

/// What is weighed together.
#[derive(Clone, Debug)]
struct Window {
    since: Duration,
    seen: Block,
    failed: Weighed,
    refused: Weighed,
    slow: Weighed,
}

impl Window {
    fn new(settings: &Settings, now: Duration) -> Window {
        let tolerated = settings.rollback_on.as_ref();
        Window {
            since: now,
            seen: Block::default(),
            failed: Weighed::nothing(tolerated.map_or(1.0, |on| on.error_ratio.ratio())),
            // Only ever held against the baseline.
            refused: Weighed::nothing(1.0),
            slow: Weighed::nothing(SLOW),
        }
    }

    fn add(&mut self, block: Block) {
        self.seen.add(block);
        let counted = |tally: Tally, bad| Counted {
            requests: tally.requests,
            bad,
        };
        let Block { baseline, canary } = block;
        self.failed.add(
            counted(baseline, baseline.failed),
            counted(canary, canary.failed),
        );
        self.refused.add(
            counted(baseline, baseline.refused),
            counted(canary, canary.refused),
        );
        self.slow.add(
            counted(baseline, baseline.slow),
            counted(canary, canary.slow),
        );
    }
}

impl Canary {
    /// A canary at its first step.
    pub fn begin(settings: Settings, now: Duration) -> Canary {
        let standing = Standing {
            share: settings.steps.first().copied().unwrap_or(Share::ALL),
            step: 0,
            held: false,
            window: 0,
        };
        Canary::resume(settings, standing, now, Duration::ZERO)
    }

    /// A canary that an earlier process began; its step has lasted so long. What was counted is gone: the step counts
    /// anew.
    pub fn resume(
        settings: Settings,
        standing: Standing,
        now: Duration,
        lasted: Duration,
    ) -> Canary {
        Canary {
            since: now,
            before: lasted,
            seen: Block::default(),
            window: Window::new(&settings, now),
            standing,
            settings,
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// What the step has seen.
    pub fn seen(&self) -> Block {
        self.seen
    }

    /// How long the step has lasted.
    pub fn lasted(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since) + self.before
    }

    /// Sets the share by hand: it stays there, until it is set again or taken on its way again.
    pub fn set(&mut self, share: Share, now: Duration) {
        self.standing.held = true;
        self.begin_step(share, now);
    }

    /// Takes it on its way again: the next step is the first above its share.
    pub fn go_on(&mut self, now: Duration) {
        let steps = &self.settings.steps;
        let reached = steps.iter().rposition(|step| *step <= self.standing.share);
        let first = steps.first().copied().unwrap_or(Share::ALL);
        self.standing.step = reached.unwrap_or(0);
        self.standing.share = self.standing.share.max(first);
        self.standing.held = false;
        self.since = now;
        self.before = Duration::ZERO;
        self.seen = Block::default();
    }

    /// Takes in what has been counted since the last look, and says what is to be done. [`Look::Step`] has been taken when
    /// this returns.
    pub fn look(&mut self, now: Duration, block: Block) -> Look {
        self.seen.add(block);
        self.window.add(block);
        if let Some(blame) = self.worse() {
            return Look::RollBack(blame);
        }
        self.renew_window(now);
        if let Some(waiting) = self.waiting(now) {
            return Look::Stay(waiting);
        }
        let next = self.standing.step + 1;
        match self.settings.steps.get(next).copied() {
            Some(share) if share >= Share::ALL => Look::Promote,
            Some(share) => {
                self.standing.step = next;
                self.begin_step(share, now);
                Look::Step(share)
            }
            None => Look::Stay(Waiting::LastStep),
        }
    }

    /// Why it stays where it is; `None` when it can go on.
    pub fn waiting(&self, now: Duration) -> Option<Waiting> {
        if self.standing.held {
            return Some(Waiting::Held);
        }
        if self.standing.step + 1 >= self.settings.steps.len() {
            return Some(Waiting::LastStep);
        }
        let lasted = self.lasted(now);
        if lasted < self.settings.every {
            return Some(Waiting::Time(self.settings.every - lasted));
        }
        let on = self.settings.rollback_on.as_ref()?;
        let seen = self.seen.canary.requests;
        if seen < on.min_requests {
            return Some(Waiting::Requests {
                seen,
                needed: on.min_requests,
            });
        }
        self.doubt(on).map(Waiting::Doubt)
    }

    fn begin_step(&mut self, share: Share, now: Duration) {
        self.standing.share = share;
        self.standing.window += 1;
        self.since = now;
        self.before = Duration::ZERO;
        self.seen = Block::default();
        self.window = Window::new(&self.settings, now);
    }

    /// A long good time would hide a bad one that follows, so the weighing begins anew now and then.
    fn renew_window(&mut self, now: Duration) {
        let needed = self.settings.rollback_on.as_ref();
        let needed = needed.map_or(u64::MAX, |on| on.min_requests.max(1));
        let over = now.saturating_sub(self.window.since) >= self.settings.every;
        if over && self.window.seen.canary.requests >= needed {
            self.standing.window += 1;
            self.window = Window::new(&self.settings, now);
        }
    }

    /// What takes it back: more of its requests are bad than may be, and the baseline's are not as bad. A baseline that had
    /// too few requests to compare with is left out.
    fn worse(&self) -> Option<Blame> {
        let on = self.settings.rollback_on.as_ref()?;
        let seen = self.window.seen;
        let enough = threshold(self.standing.window);
        let (floor, alone) = (
            if seen.canary.requests < on.min_requests {
                enough.max(OVERWHELMING)
            } else {
                enough
            },
            seen.baseline.requests < on.min_requests.min(seen.canary.requests),
        );
        let shown =
            |weighed: &Weighed| weighed.worse() >= floor || (alone && weighed.over() >= floor);
        let failed = self.failed(on, seen);
        if failed.canary > failed.limit && shown(&self.window.failed) {
            return Some(failed);
        }
        if let Some(refused) = self.refused(on, seen)
            && refused.canary > refused.limit
            && self.window.refused.worse() >= floor
        {
            return Some(refused);
        }
        let slow = self.slow(on, seen)?;
        (slow.canary > slow.limit && shown(&self.window.slow)).then_some(slow)
    }

    /// What keeps it from the next step: failures over the limit, whoever's fault they are; refusals that are more than the
    /// baseline's by more than the limit; slowness over the limit, unless the baseline is slow too.
    fn doubt(&self, on: &RollbackOn) -> Option<Blame> {
        let failed = self.failed(on, self.seen);
        if failed.canary > failed.limit {
            return Some(failed);
        }
        if let Some(refused) = self.refused(on, self.seen)
            && refused.canary > refused.limit
        {
            return Some(refused);
        }
        let slow = self.slow(on, self.seen)?;
        (slow.canary > slow.limit && slow.baseline <= slow.limit).then_some(slow)
    }

    fn failed(&self, on: &RollbackOn, seen: Block) -> Blame {
        Blame {
            what: "failed",
            canary: seen.canary.failed_ratio(),
            canary_requests: seen.canary.requests,
            baseline: seen.baseline.failed_ratio(),
            baseline_requests: seen.baseline.requests,
            limit: on.error_ratio.ratio(),
            p99: None,
        }
    }

    /// What callers do wrong they do to both, so the limit is above what the baseline refuses. `None`: it does not matter,
    /// or nothing of the baseline's is there to compare with.
    fn refused(&self, on: &RollbackOn, seen: Block) -> Option<Blame> {
        let beyond = on.refused_ratio.filter(|_| seen.baseline.requests > 0)?;
        let baseline = seen.baseline.refused_ratio();
        Some(Blame {
            what: "refused",
            canary: seen.canary.refused_ratio(),
            canary_requests: seen.canary.requests,
            baseline,
            baseline_requests: seen.baseline.requests,
            limit: baseline + beyond.ratio(),
            p99: None,
        })
    }

    fn slow(&self, on: &RollbackOn, seen: Block) -> Option<Blame> {
        Some(Blame {
            what: "slow",
            canary: seen.canary.slow_ratio(),
            canary_requests: seen.canary.requests,
            baseline: seen.baseline.slow_ratio(),
            baseline_requests: seen.baseline.requests,
            limit: SLOW,
            p99: Some(on.p99?),
        })
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.p99 {
            None => f.write_str(self.what)?,
            Some(p99) => write!(f, "slower than {}", Span(p99))?,
        }
        write!(
            f,
            ": {:.1}% of the canary's {} requests, {:.1}% of the baseline's {} at the same time; {:.1}% may be",
            100.0 * self.canary,
            self.canary_requests,
            100.0 * self.baseline,
            self.baseline_requests,
            100.0 * self.limit
        )
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Time(left) => {
                write!(
                    f,
                    "the next step is due in {}",
                    Span(Duration::from_secs(left.as_secs()))
                )
            }
            Waiting::Requests { seen, needed } => {
                write!(
                    f,
                    "{seen} of the {needed} requests that the next step needs"
                )
            }
            Waiting::Doubt(blame) => write!(f, "{blame}"),
            Waiting::Held => f.write_str("its share was set by hand"),
            Waiting::LastStep => f.write_str("it is at its last step, to be promoted by hand"),
        }
    }
}

#[cfg(test)]
#[path = "canary/tests.rs"]
mod tests;
