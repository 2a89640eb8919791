//! How long work waits for the CPU, and how many are let in when that is too long.
//!
//! A request that never waits for anything else holds its place for microseconds, so places cannot tell that there are
//! too many of them: they queue where the runtime has not looked yet. So the runtime is asked how late it is, by way of a
//! socket and of a task. Late in *every* probe of a window means a queue that stands (CoDel's rule); late in some means a burst, which is
//! what queues are for.
//!
//! Where requests also wait for the store's writer or for a shared call, the queue moves to and fro between those and the
//! runtime, and stands in none of them. It is seen all the same: more than a quarter of `limits.in_flight` under way all
//! the time, while the runtime is late most of the time. That is a rush, and is not watched to the end of its window.
//!
//! From then on fewer requests may be under way, in all: as many as leave the runtime only a little late. Their number
//! goes down while it is later than that and up while it is not, so each that ends lets another in, and what is served
//! stays what can be. Places that are scarce are shared out between callers as ever (`callers`).
//!
//! How late is too late depends on what has been. A closed loop of a thousand clients stands in line for tens of
//! milliseconds and is no overload: nobody is refused before `limits.cpu_wait`. Once that is passed more is asked than can
//! be served, and the same goodput is had with any queue; so then the runtime is held to a twentieth of it. Whether those who
//! ask are only a large closed loop can be told by letting them in alone: that is tried now and then, unless so many have
//! been refused of late that they would be a rush, and the more rarely the more often it has failed.
//!
//! When less is asked again than was served while it was too much, it can be served, though on a busy machine the runtime
//! may be later than it is held to all the same, and so never let more in. That is tried as soon as it is seen.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::refusals::LONGEST;

/// How long a window lasts.
pub(super) const WINDOW: Duration = Duration::from_millis(100);
/// Requests under way that are never too many: with less there is not enough to do together.
const FEWEST: u64 = 64;
/// The largest part of what is under way that is taken away from one window to the next.
const AT_ONCE: f64 = 0.5;
/// How many more are let in from one window to the next while the runtime is not late and some are refused: one in so
/// many. Where nobody is refused it is not known whether more would fit.
const MORE: u64 = 16;
/// The part of all places that is taken without being a crowd: by default a thousand clients may ask again as soon as
/// they are answered.
const CROWD: u64 = 4;
/// The part of the wait that is allowed at which a crowd is a rush.
const RUSH_AT: u32 = 2;
/// Probes in a row that were later than all that is allowed, after which the end of the window is not waited for.
const URGENT: usize = 3;
/// The part of it that is left once it has been longer.
const HELD_AT: u32 = 20;
/// Windows until a wait of all that is allowed is tried again: first, and at the most.
const TRIED_AFTER: u32 = 100;
const TRIED_AFTER_AT_MOST: u32 = 600;
/// Of what was served while it was too much, the part that can be served without holding anybody back.
const EASY: f64 = 0.9;
/// Windows until what is let in is what is served: at first all are, and wait.
const SETTLED_AFTER: usize = ASKED_WITHIN + 10;
/// Windows that such a trial lasts at the most.
const TRIAL: u32 = 80;
/// Windows in a row in which all were let in, after which nobody is held back any more: those who were refused are back
/// by then.
const CALM_AFTER: u32 = ASKED_WITHIN as u32 + 10;
/// The windows whose refusals say how many ask: a refusal is held for so long.
const ASKED_WITHIN: usize = (LONGEST.as_millis() / WINDOW.as_millis()) as usize;

/// The probes of one judgement.
#[derive(Debug, Default)]
pub(super) struct Window {
    late: Vec<Duration>,
    crowds: Vec<u64>,
}

/// What a window has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pressure {
    /// How late the runtime was at the least.
    pub least: Duration,
    /// How late it was half of the times.
    pub typical: Duration,
    /// Requests that were under way, at the least.
    pub crowd: u64,
    /// And at the most.
    pub most: u64,
    /// Places that there are for them.
    pub places: u64,
}

impl Window {
    /// The runtime was late by so much, and so many requests were under way.
    pub(super) fn probed(&mut self, late: Duration, crowd: u64) {
        self.late.push(late);
        self.crowds.push(crowd);
    }

    pub(super) fn probes(&self) -> usize {
        self.late.len()
    }

    /// What it has shown of a process with so many places.
    pub(super) fn pressure(&self, places: u64) -> Pressure {
        let mut late = self.late.clone();
        late.sort_unstable();
        Pressure {
            least: late.first().copied().unwrap_or_default(),
            typical: late.get(late.len() / 2).copied().unwrap_or_default(),
            crowd: self.crowds.iter().min().copied().unwrap_or_default(),
            most: self.crowds.iter().max().copied().unwrap_or_default(),
            places,
        }
    }
}

impl Pressure {
    /// Whether more is asked than can be served. `allowed`: how late the runtime may be.
    fn is_overload(&self, allowed: Duration) -> bool {
        self.least > allowed || self.is_rush(allowed)
    }

    /// Whether it is a crowd that is served late most of the time.
    fn is_rush(&self, allowed: Duration) -> bool {
        self.crowd > self.places / CROWD && self.typical > allowed / RUSH_AT
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Nanoseconds; 0: nothing is too long.
    allowed: AtomicU64,
    /// Nanoseconds, of the last window.
    least: AtomicU64,
    /// Requests that may be under way; [`Waiting::ALL`]: as many as there are places.
    held: AtomicU64,
    /// Requests that were refused for it, in this window.
    refused: AtomicU64,
    /// Requests that had come when the last window ended, refused ones too.
    received: AtomicU64,
    course: Mutex<Course>,
}

/// How it goes, from when there was too much to when there is not any more.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    /// Requests that may be under way.
    held: u64,
    /// Windows in a row in which nobody was refused.
    well: u32,
    /// Windows since this began, or since a trial began or ended.
    since: u32,
    /// Requests that may be under way after the trial, should it fail: `None` while there is none.
    trial: Option<u64>,
    /// Trials that have failed.
    failed: u32,
    /// Refusals of the last windows.
    refused: [u64; ASKED_WITHIN],
    /// Requests that came in them.
    received: [u64; ASKED_WITHIN],
    /// Windows since this began, or since the last trial ended.
    settled: usize,
    /// Requests that were let in within so many windows, at the most, while some were held back.
    best: u64,
}

/// The requests of a window.
#[derive(Clone, Copy, Debug)]
struct Seen {
    received: u64,
    /// Of these, those that were refused for waiting.
    refused: u64,
}

impl Course {
    /// Nobody is refused for a window more, in which it is already said that the gateway is not ready.
    fn begin(pressure: &Pressure) -> Course {
        Course {
            held: pressure.places,
            ..Course::default()
        }
    }

    /// Draws the conclusions of a window in which so many were refused. Whether it is over.
    fn goes_on(&mut self, allowed: Duration, pressure: &Pressure, seen: Seen) -> bool {
        let Seen { received, refused } = seen;
        self.well = if refused == 0 { self.well + 1 } else { 0 };
        self.since += 1;
        self.settled += 1;
        self.refused.rotate_right(1);
        self.refused[0] = refused;
        self.received.rotate_right(1);
        self.received[0] = received;
        if let Some(before) = self.trial {
            if pressure.is_overload(allowed) || self.since > TRIAL {
                (self.held, self.trial, self.since) = (before, None, 0);
                self.settled = 0;
                self.failed += 1;
            }
        } else if self.is_easy() || self.is_to_be_tried(pressure) {
            self.trial = Some(self.held);
            (self.held, self.since) = (pressure.places, 0);
        } else {
            self.held = self.fitting(allowed / HELD_AT, pressure, refused > 0);
        }
        self.well < CALM_AFTER
    }

    /// Whether less is asked than was served while more was. Learns what can be served.
    fn is_easy(&mut self) -> bool {
        if self.settled < SETTLED_AFTER {
            return false;
        }
        let received = self.received.iter().sum::<u64>();
        let refused = self.refused.iter().sum::<u64>();
        self.best = self.best.max(received.saturating_sub(refused));
        let patience = (ASKED_WITHIN as u32) << self.failed.min(8);
        refused > 0
            && self.since >= patience.min(TRIED_AFTER_AT_MOST)
            && (received as f64) < self.best as f64 * EASY
    }

    fn is_to_be_tried(&self, pressure: &Pressure) -> bool {
        let patience = TRIED_AFTER << self.failed.min(8);
        let asked = pressure.most + self.refused.iter().sum::<u64>();
        // Some are refused twice within the time that is looked at.
        self.since > patience.min(TRIED_AFTER_AT_MOST) && asked <= pressure.places / (CROWD - 1)
    }

    /// How many may be under way so that the runtime is as late as it is to be.
    fn fitting(&self, wanted: Duration, pressure: &Pressure, refused: bool) -> u64 {
        if pressure.typical <= wanted && !refused {
            return self.held;
        }
        if pressure.typical <= wanted {
            let more = (self.held / MORE).max(1);
            return (self.held + more).min(pressure.places);
        }
        let excess = 1.0 - wanted.as_secs_f64() / pressure.typical.as_secs_f64();
        let under_way = self.held.min(pressure.most) as f64;
        ((under_way * (1.0 - excess * AT_ONCE)) as u64).max(FEWEST)
    }
}

impl Waiting {
    const ALL: u64 = u64::MAX;

    pub(super) fn new(allowed: Option<Duration>) -> Waiting {
        let waiting = Waiting {
            allowed: AtomicU64::new(0),
            least: AtomicU64::new(0),
            held: AtomicU64::new(Waiting::ALL),
            refused: AtomicU64::new(0),
            received: AtomicU64::new(0),
            course: Mutex::default(),
        };
        waiting.configure(allowed);
        waiting
    }

    pub(super) fn configure(&self, allowed: Option<Duration>) {
        self.allowed.store(allowed.map_or(0, nanos), Relaxed);
    }

    /// How many requests may be under way, where that is less than there are places.
    pub(super) fn held(&self) -> Option<u64> {
        Some(self.held.load(Relaxed)).filter(|held| *held != Waiting::ALL)
    }

    /// Counts a request that is refused, and says how late the runtime is.
    pub(super) fn refuse(&self) -> Duration {
        self.refused.fetch_add(1, Relaxed);
        Duration::from_nanos(self.least.load(Relaxed))
    }

    /// How late the runtime was of late, and whether that has consequences.
    pub(super) fn report(&self) -> (Duration, bool) {
        let late = Duration::from_nanos(self.least.load(Relaxed));
        (late, self.held().is_some())
    }

    /// `None`: as long as it likes.
    fn allowed(&self) -> Option<Duration> {
        let nanos = self.allowed.load(Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Whether what a window has shown by so many probes must have consequences at once.
    pub(super) fn is_urgent(&self, pressure: &Pressure, probes: usize) -> bool {
        let urgent = self.allowed().is_some_and(|allowed| {
            probes > 1 && pressure.is_rush(allowed) || probes >= URGENT && pressure.least > allowed
        });
        urgent && self.held().is_none_or(|held| held >= pressure.places)
    }

    /// Draws the conclusions of a window. `received`: requests so far.
    pub(super) fn judge(&self, pressure: &Pressure, received: u64) {
        self.least.store(nanos(pressure.least), Relaxed);
        let seen = Seen {
            received: received.saturating_sub(self.received.swap(received, Relaxed)),
            refused: self.refused.swap(0, Relaxed),
        };
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = match self.allowed() {
            None => false,
            Some(allowed) if self.held().is_some() => course.goes_on(allowed, pressure, seen),
            Some(allowed) => {
                *course = Course::begin(pressure);
                pressure.is_overload(allowed)
            }
        };
        let held = if lasts { course.held } else { Waiting::ALL };
        self.held.store(held, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Duration = Duration::from_millis(100);
    const PLACES: u64 = 4_096;

    /// A window in which the runtime was late by the same each time, and so many were under way.
    fn late(millis: u64, under_way: u64) -> Pressure {
        let late = Duration::from_millis(millis);
        Pressure {
            least: late,
            typical: late,
            crowd: under_way,
            most: under_way,
            places: PLACES,
        }
    }

    /// Clients who ask again as soon as they are answered, and who are served 20,000 a second: one more in line makes
    /// the runtime later by a twentieth of a millisecond. How many of them were let in.
    fn closed_loop(waiting: &Waiting, clients: u64) -> u64 {
        let let_in = clients.min(waiting.held().unwrap_or(PLACES));
        (let_in..clients).for_each(|_| {
            waiting.refuse();
        });
        came(waiting, clients, &late(let_in / 20, let_in));
        let_in
    }

    /// A window in which so many came.
    fn came(waiting: &Waiting, requests: u64, pressure: &Pressure) {
        waiting.judge(pressure, waiting.received.load(Relaxed) + requests);
    }

    #[test]
    fn a_burst_is_no_queue_that_stands() {
        let mut window = Window::default();
        for (late, crowd) in [(80, 3_000), (2, 10), (3, 20)] {
            window.probed(Duration::from_millis(late), crowd);
        }
        let pressure = window.pressure(PLACES);
        assert_eq!(pressure.least, Duration::from_millis(2));
        assert_eq!(pressure.typical, Duration::from_millis(3));
        assert_eq!((pressure.crowd, pressure.most), (10, 3_000));
        assert!(!pressure.is_overload(ALLOWED));
    }

    #[test]
    fn nobody_is_held_back_until_work_has_waited_longer_than_it_may() {
        let waiting = Waiting::new(Some(ALLOWED));
        came(&waiting, 0, &late(100, 400));
        assert!(!waiting.report().1);
        came(&waiting, 0, &late(101, 400));
        assert_eq!(waiting.held(), Some(PLACES));
        assert!(waiting.report().1, "said before anybody is refused");
        came(&waiting, 0, &late(50, 400));
        assert_eq!(waiting.held(), Some(220));
    }

    #[test]
    fn a_crowd_that_is_served_late_most_of_the_time_is_an_overload_though_no_line_stands() {
        let seen = |typical, crowd| Pressure {
            least: Duration::from_millis(1),
            typical: Duration::from_millis(typical),
            ..late(0, crowd)
        };
        let of = |pressure: Pressure| {
            let waiting = Waiting::new(Some(ALLOWED));
            let rush = waiting.is_urgent(&pressure, 2);
            came(&waiting, 0, &pressure);
            assert_eq!(waiting.held().is_some(), rush);
            rush
        };
        assert!(!of(seen(60, 1_024)), "a closed loop");
        assert!(!of(seen(10, 3_000)), "a slow target");
        assert!(of(seen(60, 3_000)));
    }

    #[test]
    fn in_an_overload_as_many_are_let_in_as_leave_the_runtime_a_twentieth_of_what_is_allowed() {
        let waiting = Waiting::new(Some(ALLOWED));
        let let_in: Vec<u64> = (0..300).map(|_| closed_loop(&waiting, 5_000)).collect();
        assert_eq!(let_in[..2], [PLACES, PLACES]);
        let settled = &let_in[20..];
        assert!(settled.iter().all(|let_in| (70..140).contains(let_in)));
    }

    #[test]
    fn a_line_that_stands_is_not_watched_to_the_end_of_the_window() {
        let waiting = Waiting::new(Some(ALLOWED));
        assert!(!waiting.is_urgent(&late(110, 400), URGENT - 1));
        assert!(waiting.is_urgent(&late(110, 400), URGENT));
        assert!(!waiting.is_urgent(&late(90, 400), URGENT));
        came(&waiting, 0, &late(110, 400));
        came(&waiting, 0, &late(110, 400));
        assert!(
            !waiting.is_urgent(&late(110, 400), URGENT),
            "held back already"
        );
    }

    #[test]
    fn a_few_requests_are_never_too_many() {
        let waiting = Waiting::new(Some(ALLOWED));
        for _ in 0..50 {
            came(&waiting, 0, &late(500, 60));
            waiting.refuse();
            assert!(waiting.held().is_some_and(|held| held >= FEWEST));
        }
        let off = Waiting::new(None);
        for _ in 0..50 {
            came(&off, 0, &late(500, 3_000));
            assert_eq!(off.held(), None);
        }
    }

    #[test]
    fn all_are_let_in_again_when_those_who_were_refused_have_come_back() {
        let waiting = Waiting::new(Some(ALLOWED));
        for _ in 0..40 {
            closed_loop(&waiting, 5_000);
        }
        assert!(waiting.held().is_some_and(|held| held < 200));
        // Some are still refused, then none.
        waiting.refuse();
        let windows = (0..100).take_while(|_| {
            closed_loop(&waiting, 50);
            waiting.held().is_some()
        });
        assert_eq!(windows.count(), CALM_AFTER as usize);
    }

    /// A second in which so many ask in each window, of whom so many are refused, while the runtime is late by more than it is held
    /// to.
    fn later_than_it_is_held_to(waiting: &Waiting, asked: u64, refused: u64) {
        for _ in 0..10 {
            let refused = waiting.held().map_or(0, |_| refused);
            (0..refused).for_each(|_| {
                waiting.refuse();
            });
            came(waiting, asked, &late(9, 90));
        }
    }

    #[test]
    fn less_than_was_served_is_let_in_though_the_runtime_is_later_than_it_is_held_to() {
        let waiting = Waiting::new(Some(ALLOWED));
        came(&waiting, 2_000, &late(120, 2_000));
        for _ in 0..60 {
            later_than_it_is_held_to(&waiting, 2_000, 1_000);
            assert_eq!(waiting.held(), Some(FEWEST));
        }
        // As much as was served is no proof that it can be.
        for _ in 0..60 {
            later_than_it_is_held_to(&waiting, 950, 300);
            assert_eq!(waiting.held(), Some(FEWEST));
        }
        for _ in 0..3 {
            later_than_it_is_held_to(&waiting, 500, 100);
        }
        assert_eq!(waiting.held(), Some(PLACES), "a trial");
        for _ in 0..4 {
            later_than_it_is_held_to(&waiting, 500, 0);
        }
        assert_eq!(waiting.held(), None);
    }

    #[test]
    fn what_looks_like_less_and_is_too_much_is_let_in_ever_more_rarely() {
        let waiting = Waiting::new(Some(ALLOWED));
        came(&waiting, 2_000, &late(120, 2_000));
        for _ in 0..60 {
            later_than_it_is_held_to(&waiting, 2_000, 1_000);
        }
        let mut tried = 0;
        for _ in 0..6_000 {
            if waiting.held() == Some(PLACES) {
                tried += 1;
                came(&waiting, 500, &late(120, 2_000));
            } else {
                (0..100).for_each(|_| {
                    waiting.refuse();
                });
                came(&waiting, 500, &late(9, 90));
            }
        }
        assert!((2..20).contains(&tried), "{tried} of 6,000 windows");
    }

    /// Windows until nobody is held back, of `most`.
    fn windows_until_calm(waiting: &Waiting, clients: u64, most: usize) -> usize {
        (0..most)
            .find(|_| {
                closed_loop(waiting, clients);
                waiting.held().is_none()
            })
            .unwrap_or(most)
    }

    #[test]
    fn a_large_closed_loop_that_was_held_back_is_let_in_whole_again() {
        let waiting = Waiting::new(Some(ALLOWED));
        came(&waiting, 0, &late(120, 450));
        let clients = 450;
        // Each is refused as often as refusals are held.
        let windows = (0..400).find(|_| {
            let let_in = clients.min(waiting.held().unwrap_or(PLACES));
            (0..(clients - let_in) / ASKED_WITHIN as u64).for_each(|_| {
                waiting.refuse();
            });
            came(&waiting, 0, &late(let_in / 10, let_in));
            waiting.held().is_none()
        });
        assert!(windows.is_some_and(|windows| (100..200).contains(&windows)));
    }

    #[test]
    fn an_overload_that_lasts_is_never_let_in_to_see_whether_it_is_one() {
        let waiting = Waiting::new(Some(ALLOWED));
        closed_loop(&waiting, 5_000);
        assert_eq!(windows_until_calm(&waiting, 5_000, 6_000), 6_000);
        let most = (0..6_000).map(|_| closed_loop(&waiting, 5_000)).max();
        assert!(most.is_some_and(|most| most < 200));
    }

    #[test]
    fn few_who_are_too_many_are_let_in_to_see_and_ever_more_rarely() {
        let waiting = Waiting::new(Some(ALLOWED));
        came(&waiting, 0, &late(120, 1_200));
        let mut tried = 0;
        for _ in 0..6_000 {
            let let_in = 1_200.min(waiting.held().unwrap_or(PLACES));
            tried += u32::from(let_in == 1_200);
            waiting.refuse();
            came(&waiting, 0, &late(let_in / 10, let_in));
        }
        assert!((2..30).contains(&tried), "{tried} of 6,000 windows");
    }

    #[test]
    fn a_wait_that_is_allowed_for_as_long_as_it_takes_lets_all_in_at_once() {
        let waiting = Waiting::new(Some(ALLOWED));
        came(&waiting, 0, &late(120, 3_000));
        assert!(waiting.held().is_some());
        waiting.configure(None);
        came(&waiting, 0, &late(120, 3_000));
        assert_eq!(waiting.held(), None);
    }
}
