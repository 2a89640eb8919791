//! Time as the store sees it: two lines, and a guard between them.
//!
//! *Wall* time stamps messages and decides expiry. *Steady* time decides visibility, delay and deduplication; it moves
//! with `CLOCK_BOOTTIME`, so a step of the wall clock neither hides nor reveals a message. When the two part by more
//! than five minutes, all expiry stops until an operator confirms the time or both have agreed for an hour: a wrong
//! clock must not throw messages away.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How far wall and boot time may part before expiry stops.
const TOLERANCE_MS: i64 = 5 * 60 * 1000;
/// How long they must agree before expiry goes on by itself.
const AGREEMENT_MS: i64 = 60 * 60 * 1000;

/// Where the store reads the time; cheap to clone. Tests move a [`Clock::manual`] one by hand.
#[derive(Clone)]
pub struct Clock(Arc<Source>);

enum Source {
    System,
    Manual(Manual),
}

type Listener = Box<dyn Fn() + Send + Sync>;

struct Manual {
    wall: AtomicI64,
    boot: AtomicI64,
    boots: AtomicU64,
    listeners: Mutex<Vec<Listener>>,
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Clock {
        Clock(Arc::new(Source::System))
    }

    /// A clock that stands still until it is moved; it starts at this wall time, in milliseconds since 1970.
    pub fn manual(wall_ms: i64) -> Clock {
        Clock(Arc::new(Source::Manual(Manual {
            wall: AtomicI64::new(wall_ms),
            boot: AtomicI64::new(1_000),
            boots: AtomicU64::new(0),
            listeners: Mutex::default(),
        })))
    }

    /// Time passes on a manual clock; stores that use it look at once at what has become due.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &*self.0 {
            manual.wall.fetch_add(millis(by), Ordering::SeqCst);
            manual.boot.fetch_add(millis(by), Ordering::SeqCst);
            manual.tell();
        }
    }

    /// Somebody sets a manual wall clock, while no time passes.
    pub fn step_wall(&self, by_ms: i64) {
        if let Source::Manual(manual) = &*self.0 {
            manual.wall.fetch_add(by_ms, Ordering::SeqCst);
            manual.tell();
        }
    }

    /// The machine of a manual clock starts anew: boot time begins again.
    pub fn reboot(&self) {
        if let Source::Manual(manual) = &*self.0 {
            manual.boot.store(0, Ordering::SeqCst);
            manual.boots.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Milliseconds since 1970, as the machine believes.
    pub fn wall_ms(&self) -> i64 {
        match &*self.0 {
            Source::System => read(ClockId::Realtime),
            Source::Manual(manual) => manual.wall.load(Ordering::SeqCst),
        }
    }

    /// Milliseconds since the machine started, sleep included; never steps.
    fn boot_ms(&self) -> i64 {
        match &*self.0 {
            Source::System => read(ClockId::Boottime),
            Source::Manual(manual) => manual.boot.load(Ordering::SeqCst),
        }
    }

    /// Which start of the machine this is; empty where the system does not say.
    fn boot_id(&self) -> String {
        match &*self.0 {
            Source::System => std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_default(),
            Source::Manual(manual) => format!("manual-{}", manual.boots.load(Ordering::SeqCst)),
        }
    }

    /// Calls back whenever a manual clock is moved.
    pub(super) fn on_move(&self, listener: impl Fn() + Send + Sync + 'static) {
        if let Source::Manual(manual) = &*self.0 {
            let mut listeners = manual
                .listeners
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            listeners.push(Box::new(listener));
        }
    }
}

impl Manual {
    fn tell(&self) {
        let listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.iter() {
            listener();
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0 {
            Source::System => "Clock(system)",
            Source::Manual(_) => "Clock(manual)",
        })
    }
}

fn read(id: ClockId) -> i64 {
    let time = clock_gettime(id);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// Whole milliseconds, saturating.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// One moment, as a group of operations sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Milliseconds since 1970.
    pub wall: i64,
    /// Milliseconds on the store's own line, which never steps back.
    pub steady: i64,
    /// Whether anything may expire now.
    pub expiry: bool,
}

/// What the file remembers of the clocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LastSeen {
    pub wall: i64,
    pub steady: i64,
    pub boot: i64,
    pub boot_id: String,
}

/// Steady time for those who do not own the timeline.
pub(super) struct Steady {
    clock: Clock,
    ahead_of_boot: i64,
}

impl Steady {
    pub fn now(&self) -> i64 {
        self.clock.boot_ms() + self.ahead_of_boot
    }

    /// Wall time and steady time.
    pub fn both(&self) -> (i64, i64) {
        (self.clock.wall_ms(), self.now())
    }
}

/// Whether wall time has passed otherwise than steady time, by more than what clocks are corrected by.
pub(super) fn have_parted(wall: i64, steady: i64) -> bool {
    (wall - steady).abs() > TOLERANCE_MS
}

/// The guard for those who have no store open: it begins with the process, and believes the clock that it finds.
pub struct Watch(Timeline);

impl Watch {
    /// Believes the clock as it is now.
    pub fn new(clock: Clock) -> Watch {
        let here = LastSeen {
            wall: clock.wall_ms(),
            ..LastSeen::default()
        };
        Watch(Timeline::resume(clock, &here))
    }

    /// Whether the wall clock is not to be believed now.
    pub fn in_doubt(&mut self) -> bool {
        !self.0.now().expiry
    }
}

/// The two time lines of an open store, and whether they agree.
pub(super) struct Timeline {
    clock: Clock,
    boot_id: String,
    boot_at_start: i64,
    steady_at_start: i64,
    /// Where wall and boot time were last taken to agree.
    agreed: (i64, i64),
    /// The boot time at which they parted.
    parted: Option<i64>,
}

impl Timeline {
    /// Goes on from what the file remembers.
    pub fn resume(clock: Clock, last: &LastSeen) -> Timeline {
        let (wall, boot, boot_id) = (clock.wall_ms(), clock.boot_ms(), clock.boot_id());
        let same_boot = !boot_id.is_empty() && boot_id == last.boot_id && boot >= last.boot;
        let (steady, drift) = if same_boot {
            let passed = boot - last.boot;
            (last.steady + passed, wall - last.wall - passed)
        } else {
            // How long the machine was off is not known; only a clock that went back shows itself.
            (wall.max(last.steady), (wall - last.wall).min(0))
        };
        let parted = (drift.abs() > TOLERANCE_MS).then(|| {
            tracing::error!(drift_ms = drift, "The clock stepped while the store was closed; nothing expires until it is confirmed, or has been steady for an hour");
            boot
        });
        Timeline {
            clock,
            boot_id,
            boot_at_start: boot,
            steady_at_start: steady,
            agreed: (wall, boot),
            parted,
        }
    }

    /// The moment, and whether the clocks still agree.
    pub fn now(&mut self) -> Now {
        let (wall, boot) = (self.clock.wall_ms(), self.clock.boot_ms());
        let drift = (wall - self.agreed.0) - (boot - self.agreed.1);
        if drift.abs() > TOLERANCE_MS {
            tracing::error!(
                drift_ms = drift,
                "The clock stepped; nothing expires until it is confirmed, or has been steady for an hour"
            );
            self.agreed = (wall, boot);
            self.parted = Some(boot);
        } else if boot - self.agreed.1 >= AGREEMENT_MS {
            // Slow corrections by NTP must not add up to what looks like a step.
            self.agreed = (wall, boot);
        }
        if self.parted.is_some_and(|at| boot - at >= AGREEMENT_MS) {
            tracing::info!("The clock has been steady for an hour; expiry goes on");
            self.parted = None;
        }
        Now {
            wall,
            steady: self.steady_at_start + boot - self.boot_at_start,
            expiry: self.parted.is_none(),
        }
    }

    /// The steady line alone, for others to read.
    pub fn steady(&self) -> Steady {
        Steady {
            clock: self.clock.clone(),
            ahead_of_boot: self.steady_at_start - self.boot_at_start,
        }
    }

    /// An operator says that the wall clock is right.
    pub fn confirm(&mut self) {
        self.agreed = (self.clock.wall_ms(), self.clock.boot_ms());
        self.parted = None;
    }

    /// What to write into the file with a commit made at this moment.
    pub fn last_seen(&self, now: Now) -> LastSeen {
        LastSeen {
            wall: now.wall,
            steady: now.steady,
            boot: now.steady - self.steady_at_start + self.boot_at_start,
            boot_id: self.boot_id.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_000_000;

    #[test]
    fn a_step_of_the_wall_clock_stops_expiry_for_an_hour_and_leaves_steady_time_alone() {
        let clock = Clock::manual(START);
        let mut line = Timeline::resume(clock.clone(), &LastSeen::default());
        let before = line.now();
        assert!(before.expiry);
        clock.step_wall(10 * 60 * 1000);
        let stepped = line.now();
        assert!(!stepped.expiry);
        assert_eq!(stepped.steady, before.steady);
        clock.advance(Duration::from_secs(59 * 60));
        assert!(!line.now().expiry);
        clock.advance(Duration::from_secs(61));
        assert!(line.now().expiry);
    }

    #[test]
    fn an_operator_confirms_the_time_at_once() {
        let clock = Clock::manual(START);
        let mut line = Timeline::resume(clock.clone(), &LastSeen::default());
        clock.step_wall(-3_600_000);
        assert!(!line.now().expiry);
        line.confirm();
        assert!(line.now().expiry);
    }

    #[test]
    fn steady_time_goes_on_over_restarts_and_never_back() {
        let clock = Clock::manual(START);
        let mut line = Timeline::resume(clock.clone(), &LastSeen::default());
        let now = line.now();
        let last = line.last_seen(now);
        clock.advance(Duration::from_secs(7));
        clock.step_wall(-60_000);
        let mut same_boot = Timeline::resume(clock.clone(), &last);
        assert_eq!(same_boot.now().steady, last.steady + 7_000);
        clock.reboot();
        clock.step_wall(-3_600_000);
        let mut rebooted = Timeline::resume(clock, &last);
        let now = rebooted.now();
        assert_eq!(now.steady, last.steady);
        assert!(!now.expiry, "the wall clock went back by an hour");
    }
}
