//! How long work waits for the CPU, and who is refused when that is too long.
//!
//! A request that never waits for anything else holds its place for microseconds, so places cannot tell that there are
//! too many of them: they queue where the runtime has not looked yet. So the runtime is asked by a timer how late it
//! is. Late in *every* probe of a window means a queue that stands (CoDel's rule); late in some means a burst, which is
//! what queues are for.
//!
//! While a queue stands, callers are held to a fair rate: whoever asks less is never refused, whoever asks more is
//! refused by chance for what is above it (core-stateless fair queueing, Stoica and others, 1998). The rate goes down
//! while the runtime stays late and up when it does not; so what is served stays close to what can be.
//!
//! Callers are counted in two rows of bins, so memory is bounded whoever comes. Nothing is counted while all is well.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a window lasts.
pub(super) const WINDOW: Duration = Duration::from_millis(100);
/// Bins of a row.
const BINS: usize = 1024;
/// What is never refused, in requests of a window: where so little is asked, it is not our requests that make us late.
const LEAST: f64 = 20.0;
/// The largest part of what is asked that is refused.
const MOST_REFUSED: f64 = 0.9;
/// How much more is let in from one window to the next, while the runtime is not late.
const MORE: f64 = 1.05;
/// The windows in which a queue that is too long is to be worked off: less than can be served is let in meanwhile.
const WORKED_OFF_IN: f64 = 5.0;
/// How much the last window tells of what can be served, the ones before it telling the rest.
const LEARNED: f64 = 0.3;
/// What a refusal costs of what a request costs that is served, at a guess.
const COST: f64 = 0.5;
/// Windows without lateness, and with all let in, after which nothing is counted any more.
const CALM_AFTER: u32 = 20;

/// The probes of one judgement.
#[derive(Debug, Default)]
pub(super) struct Window {
    probes: u32,
    least: Option<Duration>,
}

impl Window {
    /// The runtime was late by so much.
    pub(super) fn probed(&mut self, late: Duration) {
        self.probes += 1;
        self.least = Some(self.least.map_or(late, |least| least.min(late)));
    }

    pub(super) fn probes(&self) -> u32 {
        self.probes
    }

    /// How late it was at the least.
    pub(super) fn least(&self) -> Duration {
        self.least.unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    Calm,
    /// A queue stands: callers are counted.
    Counting,
    /// Callers are held to the fair rate.
    Fair,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Nanoseconds; 0: nothing is too long.
    allowed: AtomicU64,
    mode: AtomicU8,
    /// Nanoseconds, of the last window.
    least: AtomicU64,
    /// Requests of a window that one caller may have: the bits of an `f64`.
    fair: AtomicU64,
    /// Which of the two is counted in.
    at: AtomicUsize,
    counts: [Counts; 2],
    hasher: RandomState,
    course: Mutex<Course>,
}

/// Requests by caller, in two rows: a caller has at most the smaller of its two bins.
#[derive(Debug)]
struct Counts([Box<[AtomicU32]>; 2]);

#[derive(Debug, Default)]
struct Course {
    /// Requests that can be served in a window: what was served while there was always one waiting.
    served: f64,
    /// The part of them that is not let in, so that the queue gets shorter: more as long as it is too long.
    less: f64,
    /// Those that are to be let in.
    goal: f64,
    /// Windows in a row in which all was well.
    well: u32,
}

impl Counts {
    fn new() -> Counts {
        let row = || (0..BINS).map(|_| AtomicU32::new(0)).collect();
        Counts([row(), row()])
    }

    fn bins(&self, hash: u64) -> [&AtomicU32; 2] {
        let [one, other] = &self.0;
        [
            &one[hash as usize % BINS],
            &other[(hash >> 32) as usize % BINS],
        ]
    }

    fn clear(&self) {
        for bin in self.0.iter().flatten() {
            bin.store(0, Relaxed);
        }
    }
}

impl Waiting {
    pub(super) fn new(allowed: Option<Duration>) -> Waiting {
        let waiting = Waiting {
            allowed: AtomicU64::new(0),
            mode: AtomicU8::new(Mode::Calm as u8),
            least: AtomicU64::new(0),
            fair: AtomicU64::new(f64::INFINITY.to_bits()),
            at: AtomicUsize::new(0),
            counts: [Counts::new(), Counts::new()],
            hasher: RandomState::new(),
            course: Mutex::default(),
        };
        waiting.configure(allowed);
        waiting
    }

    pub(super) fn configure(&self, allowed: Option<Duration>) {
        let nanos = allowed.map_or(0, |allowed| allowed.as_nanos());
        self.allowed
            .store(u64::try_from(nanos).unwrap_or(u64::MAX), Relaxed);
    }

    /// How late the runtime is, if the caller is refused for it. Counts the request.
    pub(super) fn refuses(&self, caller: &[u8], chance: f64) -> Option<Duration> {
        if self.mode.load(Relaxed) == Mode::Calm as u8 {
            return None;
        }
        let hash = self.hasher.hash_one(caller);
        let at = self.at.load(Relaxed) & 1;
        let now = self.counts[at]
            .bins(hash)
            .map(|bin| bin.fetch_add(1, Relaxed) + 1);
        let before = self.counts[at ^ 1].bins(hash).map(|bin| bin.load(Relaxed));
        let least = |[one, other]: [u32; 2]| one.min(other);
        let rate = f64::from(least(now).max(least(before)));
        let fair = f64::from_bits(self.fair.load(Relaxed));
        // Chance falls on what is above the fair rate.
        (rate > fair && chance < 1.0 - fair / rate)
            .then(|| Duration::from_nanos(self.least.load(Relaxed)))
    }

    /// How late the runtime was of late, and whether that has consequences.
    pub(super) fn report(&self) -> (Duration, bool) {
        let late = self.mode.load(Relaxed) != Mode::Calm as u8;
        (Duration::from_nanos(self.least.load(Relaxed)), late)
    }

    /// Draws the conclusions of a window in which the runtime was late by `least` at the least.
    pub(super) fn judge(&self, least: Duration) {
        let least = u64::try_from(least.as_nanos()).unwrap_or(u64::MAX);
        self.least.store(least, Relaxed);
        let allowed = self.allowed.load(Relaxed);
        let late = allowed > 0 && least > allowed;
        let mode = self.mode.load(Relaxed);
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        if mode == Mode::Calm as u8 {
            if late {
                self.counts.iter().for_each(Counts::clear);
                *course = Course {
                    goal: f64::INFINITY,
                    ..Course::default()
                };
                self.mode.store(Mode::Counting as u8, Relaxed);
            }
            return;
        }
        let at = self.at.load(Relaxed) & 1;
        let [row, _] = &self.counts[at].0;
        let asked: Vec<f64> = row
            .iter()
            .map(|bin| f64::from(bin.load(Relaxed)))
            .filter(|asked| *asked > 0.0)
            .collect();
        let total: f64 = asked.iter().sum();
        let fair = f64::from_bits(self.fair.load(Relaxed));
        let let_in: f64 = asked.iter().map(|asked| asked.min(fair)).sum();
        let lowest = (total * (1.0 - MOST_REFUSED)).max(LEAST);
        if late {
            let served = let_in + (total - let_in) * COST;
            course.served = match course.goal.is_finite() {
                true => course.served * (1.0 - LEARNED) + served * LEARNED,
                false => served,
            };
            let queue = (least - allowed) as f64 / WINDOW.as_nanos() as f64;
            course.less += (queue / WORKED_OFF_IN).clamp(0.02, 0.3);
            course.less = course.less.min(MOST_REFUSED);
            course.goal = (course.served * (1.0 - course.less)).max(lowest);
            course.well = 0;
        } else {
            course.less /= 2.0;
            course.served = course.served.max(let_in) * MORE;
            course.goal = course.served * (1.0 - course.less);
            let all = course.goal >= total;
            course.well = if all { course.well + 1 } else { 0 };
        }
        let fair = if course.well >= CALM_AFTER {
            self.mode.store(Mode::Calm as u8, Relaxed);
            f64::INFINITY
        } else {
            self.mode.store(Mode::Fair as u8, Relaxed);
            fair_rate(&asked, course.goal)
        };
        self.fair.store(fair.to_bits(), Relaxed);
        self.counts[at ^ 1].clear();
        self.at.store(at ^ 1, Relaxed);
    }
}

/// What each may have at most, so that together they have `goal`: those who ask less have all they ask for.
fn fair_rate(asked: &[f64], goal: f64) -> f64 {
    let mut asked = asked.to_vec();
    asked.sort_by(f64::total_cmp);
    let (mut left, mut callers) = (goal, asked.len());
    for ask in asked {
        let each = left / callers as f64;
        if ask > each {
            return each;
        }
        left -= ask;
        callers -= 1;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Duration = Duration::from_millis(10);
    const LATE: Duration = Duration::from_millis(20);
    const WELL: Duration = Duration::from_millis(1);

    /// Requests of one window, with chances spread evenly: how many of them are let in.
    fn ask(waiting: &Waiting, caller: &str, requests: u32) -> u32 {
        let chance = |n: u32| f64::from(n) * 0.618_034 % 1.0;
        let asked = (0..requests).filter(|n| {
            let refused = waiting.refuses(caller.as_bytes(), chance(*n));
            refused.is_none()
        });
        asked.count() as u32
    }

    #[test]
    fn a_burst_is_no_queue_that_stands() {
        let mut window = Window::default();
        window.probed(Duration::from_millis(80));
        window.probed(Duration::from_millis(2));
        assert_eq!(window.least(), Duration::from_millis(2));
    }

    #[test]
    fn nobody_is_refused_until_a_queue_has_stood_for_two_windows() {
        let waiting = Waiting::new(Some(ALLOWED));
        assert_eq!(ask(&waiting, "ann", 1000), 1000);
        waiting.judge(LATE);
        assert!(waiting.report().1, "said before anybody is refused");
        assert_eq!(ask(&waiting, "ann", 1000), 1000);
        waiting.judge(LATE);
        assert!(ask(&waiting, "ann", 1000) < 1000);
    }

    #[test]
    fn whoever_asks_less_than_the_fair_rate_is_never_refused() {
        let waiting = Waiting::new(Some(ALLOWED));
        waiting.judge(LATE);
        let mut quiet = 0;
        let mut noisy = 0;
        for _ in 0..20 {
            quiet = ask(&waiting, "quiet", 5);
            noisy = ask(&waiting, "noisy", 2000);
            waiting.judge(LATE);
        }
        assert_eq!(quiet, 5);
        assert!((500..1500).contains(&noisy), "{noisy} of 2000");
    }

    #[test]
    fn all_are_let_in_again_when_the_runtime_keeps_up() {
        let waiting = Waiting::new(Some(ALLOWED));
        for _ in 0..40 {
            ask(&waiting, "ann", 1000);
            waiting.judge(LATE);
        }
        assert!(ask(&waiting, "ann", 1000) < 500);
        let mut windows = 0;
        while waiting.report().1 {
            waiting.judge(WELL);
            ask(&waiting, "ann", 1000);
            windows += 1;
            assert!(windows < 200, "it never calms down");
        }
        assert_eq!(ask(&waiting, "ann", 1000), 1000);
    }

    #[test]
    fn a_few_requests_are_never_blamed() {
        let waiting = Waiting::new(Some(ALLOWED));
        for _ in 0..50 {
            assert_eq!(ask(&waiting, "ann", 15), 15);
            waiting.judge(LATE);
        }
        let off = Waiting::new(None);
        off.judge(LATE);
        off.judge(LATE);
        assert_eq!(ask(&off, "ann", 10_000), 10_000);
    }

    #[test]
    fn the_fair_rate_gives_all_of_it_away_and_no_more() {
        assert_eq!(fair_rate(&[10.0, 100.0, 200.0], 110.0), 50.0);
        assert_eq!(fair_rate(&[10.0, 20.0], 100.0), f64::INFINITY);
        assert_eq!(fair_rate(&[], 100.0), f64::INFINITY);
    }
}
