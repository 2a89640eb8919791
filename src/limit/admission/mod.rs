//! What the process can bear, and who is let in while it can: places for requests, bytes of bodies, memory, places for
//! each target, shares of each caller, and the time that work waits for the CPU.
//!
//! Every budget refuses before a byte of the body is read. A request that is let in holds one [`Admitted`], which gives
//! back all that it took when it is dropped, however the request ends.
//!
//! - **Places** ([`Budget`]): requests at once, for the process and for each target.
//! - **Shares** (`callers`): of places, one caller may have nine times as many as are free. The rule of dynamic
//!   thresholds (Choudhury and Hahne, 1998): a single caller gets nine tenths, several split what there is, and a
//!   newcomer always finds room.
//! - **Bodies**: bytes that were promised (by their declared length) or have come.
//! - **Memory** (`memory`): what was in use a moment ago, and the bodies that have been let in since.
//! - **Waiting** (`waiting`): how late the runtime comes to what is due. Where that is too late, fewer places are given
//!   out for a while, and are shared out like all others.
//!
//! The limits change with the configuration; what is in use goes on being counted.

mod admitted;
mod budget;
mod callers;
mod cgroup;
mod memory;
mod refusals;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use prometheus_client::metrics::counter::Counter;
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Handle;

pub use admitted::Admitted;
pub use budget::Budget;
pub use refusals::Pause;

use super::clock::Clock;
use crate::model::value::MemoryShare;
use callers::Callers;
use memory::Memory;
use refusals::Refusals;
use waiting::{WINDOW, Waiting, Window};

/// How often the runtime is asked whether it is late.
const PROBE: Duration = Duration::from_millis(WINDOW.as_millis() as u64 / PROBES as u64);
/// Probes of one judgement.
const PROBES: usize = 5;
/// How long nothing is asked after a judgement before which no request came.
const IDLE: Duration = Duration::from_millis(400);
/// How much of a budget may be used before the gateway says that it is not ready, which is before anybody is refused;
/// and how little makes it ready again.
const NEAR: f64 = 0.8;
const WELL: f64 = 0.7;

/// What waits in the lines of a runtime, to see how long that takes: a byte in a socket, where requests wait until a worker
/// looks at their connections, and a task that comes from another thread, as the answers of the store do.
struct Probe {
    runtime: Handle,
    line: UnixStream,
    question: Arc<Question>,
}

/// How long the two have waited.
struct Question {
    clock: Instant,
    /// Nanoseconds of the clock.
    asked: AtomicU64,
    /// Of the two, those that wait.
    waiting: AtomicU64,
    /// Nanoseconds that the slower one has waited, once none waits.
    waited: AtomicU64,
}

impl Question {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn since_asked(&self) -> u64 {
        self.now().saturating_sub(self.asked.load(Relaxed))
    }

    /// One of the two has come to its turn.
    fn answer(&self) {
        self.waited.store(self.since_asked(), Relaxed);
        self.waiting.fetch_sub(1, AcqRel);
    }
}

impl Probe {
    /// On the runtime that it is called on.
    fn new() -> io::Result<Probe> {
        let (line, end) = UnixStream::pair()?;
        line.set_nonblocking(true)?;
        end.set_nonblocking(true)?;
        let mut end = tokio::net::UnixStream::from_std(end)?;
        let question = Arc::new(Question {
            clock: Instant::now(),
            asked: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            waited: AtomicU64::new(0),
        });
        let answering = question.clone();
        tokio::spawn(async move {
            // Ends with the other end.
            while let Ok(1..) = end.read(&mut [0]).await {
                answering.answer();
            }
        });
        Ok(Probe {
            runtime: Handle::current(),
            line,
            question,
        })
    }

    fn ask(&mut self) -> io::Result<()> {
        let question = self.question.clone();
        question.asked.store(question.now(), Relaxed);
        question.waiting.store(2, Release);
        self.line.write_all(&[0])?;
        self.runtime.spawn(async move { question.answer() });
        Ok(())
    }

    /// How late the runtime is: a question that nobody has come to counts by its age. Asked anew once there was an answer.
    ///
    /// # Errors
    /// The runtime has ended.
    fn late(&mut self) -> io::Result<Duration> {
        if self.question.waiting.load(Acquire) > 0 {
            return Ok(Duration::from_nanos(self.question.since_asked()));
        }
        let waited = self.question.waited.load(Relaxed);
        self.ask()?;
        Ok(Duration::from_nanos(waited))
    }
}

/// Looks five times in each window how late the runtime is, and draws the conclusions, as long as somebody holds what it
/// watches over.
fn keep_watching(mut probe: Probe, watched: &Weak<Admission>) {
    let mut received = 0;
    loop {
        let mut window = Window::default();
        while window.probes() < PROBES {
            thread::sleep(PROBE);
            let Some(admission) = watched.upgrade() else {
                return;
            };
            let Ok(late) = probe.late() else {
                return;
            };
            window.probed(late, admission.places.used());
            let pressure = window.pressure(admission.places.limit());
            if admission.waiting.is_urgent(&pressure, window.probes()) {
                break;
            }
        }
        let Some(admission) = watched.upgrade() else {
            return;
        };
        admission.memory.sample(admission.arrived.load(Relaxed));
        admission.judge(&window);
        let before = std::mem::replace(&mut received, admission.received.get());
        let (_, late) = admission.waiting.report();
        drop(admission);
        if before == received && !late {
            thread::sleep(IDLE);
        }
    }
}

/// What is too scarce to let a request in.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Scarce {
    #[error("all {limit} places for requests in flight are taken")]
    Places { limit: u64 },
    #[error("{used} of {limit} bytes of memory are in use or promised")]
    Memory { used: u64, limit: u64 },
    #[error("bodies in flight take {used} of {limit} bytes, and this one is one of {asked} bytes")]
    Bodies { used: u64, limit: u64, asked: u64 },
    #[error("all {limit} places for requests that wait for {target} are taken")]
    Target { target: Arc<str>, limit: u64 },
    #[error("the caller has {held} requests under way, and few places are free")]
    Share { held: u32 },
    #[error("requests wait {} ms for the CPU, and as many are under way as can be served in time", .0.as_millis())]
    Waiting(Duration),
}

impl Scarce {
    /// The label of metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Scarce::Places { .. } => "in_flight",
            Scarce::Memory { .. } => "memory",
            Scarce::Bodies { .. } => "bodies",
            Scarce::Target { .. } => "target",
            Scarce::Share { .. } => "share",
            Scarce::Waiting(_) => "cpu",
        }
    }

    const ALL: [&'static str; 6] = ["in_flight", "memory", "bodies", "target", "share", "cpu"];
}

/// How much of everything there is.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Requests at once.
    pub in_flight: u64,
    /// `None`: whatever there is.
    pub memory: Option<MemoryShare>,
    /// Bytes of bodies at once; `None`: a quarter of the memory that there is.
    pub bodies: Option<u64>,
    /// The largest body that any route takes, in bytes: one of them always has room when there is no other.
    pub largest_body: u64,
    /// How long work may wait for the CPU; `None`: as long as it does.
    pub cpu_wait: Option<Duration>,
}

/// What the process can bear. One for a process.
#[derive(Debug)]
pub struct Admission {
    places: Budget,
    bodies: Budget,
    /// Bytes of bodies that have really come; the others are promised.
    arrived: AtomicU64,
    memory: Memory,
    /// `limits.bodies`; 0: by the memory.
    bodies_written: AtomicU64,
    largest_body: AtomicU64,
    targets: Mutex<HashMap<Arc<str>, Arc<Budget>>>,
    callers: Callers,
    waiting: Waiting,
    refusals: Refusals,
    refused: [AtomicU64; Scarce::ALL.len()],
    /// Requests that have come.
    received: Counter,
    /// Of places, bodies, memory: whether it was too full when it was looked at last.
    near: [AtomicBool; 3],
}

/// How full a budget is.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    pub what: &'static str,
    pub used: u64,
    /// 0: there is none.
    pub limit: u64,
    /// Too full for another client to be sent here: from four fifths on, until it is below seven tenths.
    pub near: bool,
}

/// Everything that there is to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub places: Level,
    pub bodies: Level,
    pub memory: Level,
    /// How late the runtime has been of late, at the least.
    pub cpu_wait: Duration,
    /// Whether that is, or was a moment ago, more than is allowed.
    pub late: bool,
    /// Refusals by what was scarce.
    pub refused: [(&'static str, u64); Scarce::ALL.len()],
    /// Places taken and all, by target.
    pub targets: Vec<(Arc<str>, u64, u64)>,
}

impl Admission {
    /// With all that there is free. `received`: counts the requests that come.
    pub fn new(settings: &Settings, received: Counter, clock: Clock) -> Arc<Admission> {
        let admission = Admission {
            places: Budget::new(settings.in_flight),
            bodies: Budget::new(u64::MAX),
            arrived: AtomicU64::new(0),
            memory: Memory::new(settings.memory),
            bodies_written: AtomicU64::new(0),
            largest_body: AtomicU64::new(0),
            targets: Mutex::default(),
            callers: Callers::new(),
            waiting: Waiting::new(settings.cpu_wait),
            refusals: Refusals::new(clock),
            refused: Default::default(),
            received,
            near: Default::default(),
        };
        admission.configure(settings);
        Arc::new(admission)
    }

    /// Takes other limits, for all that happens from now on.
    pub fn configure(&self, settings: &Settings) {
        self.places.resize(settings.in_flight);
        self.memory.configure(settings.memory);
        self.bodies_written
            .store(settings.bodies.unwrap_or(0), Relaxed);
        self.largest_body.store(settings.largest_body, Relaxed);
        self.waiting.configure(settings.cpu_wait);
        self.look();
    }

    /// The places of a target, which are as many from now on.
    pub fn target(&self, name: &Arc<str>, places: u64) -> Arc<Budget> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = targets
            .entry(name.clone())
            .or_insert_with(|| Arc::new(Budget::named(name.clone(), places)));
        budget.resize(places);
        budget.clone()
    }

    /// Forgets the targets that no route leads to any more. Requests that are still under way hold theirs.
    pub fn keep_targets(&self, named: &dyn Fn(&str) -> bool) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.retain(|name, _| named(name));
    }

    /// Lets a request in as far as the process is concerned: takes a place. `asked`: the body's declared length.
    pub fn enter(self: &Arc<Self>, asked: u64) -> Result<Admitted, Scarce> {
        // No route takes a larger one: it will be told so.
        let asked = asked.min(self.largest_body.load(Relaxed));
        self.memory_for(asked)
            .map_err(|scarce| self.refuse(scarce))?;
        if !self.places.take(1) {
            let limit = self.places.limit();
            return Err(self.refuse(Scarce::Places { limit }));
        }
        Ok(Admitted::new(self.clone()))
    }

    /// Whether so many bytes more are below the watermark.
    fn memory_for(&self, asked: u64) -> Result<(), Scarce> {
        let promised = self.bodies.used();
        self.memory.admits(promised, asked)
    }

    /// Counts a refusal.
    fn refuse(&self, scarce: Scarce) -> Scarce {
        let name = scarce.name();
        if let Some(at) = Scarce::ALL.iter().position(|known| *known == name) {
            self.refused[at].fetch_add(1, Relaxed);
        }
        self.refusals.count();
        scarce
    }

    /// How long a refusal is to be held before it is said: nothing until there are many of them.
    pub fn pause(&self) -> Option<Pause<'_>> {
        self.refusals.pause()
    }

    /// What `Retry-After` says, in seconds: by chance, so that those who are refused together do not come back together,
    /// and the longer the more are refused. `chance`: from 0 up to, but not, 1.
    pub fn retry_after(&self, chance: f64) -> u64 {
        self.refusals.retry_after(chance)
    }

    /// Watches over the runtime that it is called on, and over memory, until nobody holds this any more: on a thread of its
    /// own, for a task would itself come late when there is most to see.
    ///
    /// # Errors
    /// There is no socket to be had, or the thread cannot be started.
    pub fn watch(self: &Arc<Self>) -> io::Result<()> {
        let (probe, watched) = (Probe::new()?, Arc::downgrade(self));
        let watching = thread::Builder::new().name("admission".to_owned());
        watching.spawn(move || keep_watching(probe, &watched))?;
        Ok(())
    }

    /// Draws the conclusions of a window.
    fn judge(&self, window: &Window) {
        let received = self.received.get();
        self.waiting
            .judge(&window.pressure(self.places.limit()), received);
        self.refusals.judge(received);
        self.look();
    }

    /// Brings up to date what follows from other numbers.
    fn look(&self) {
        let written = self.bodies_written.load(Relaxed);
        let quarter = self.memory.limit().map_or(u64::MAX, |limit| limit / 4);
        let limit = if written > 0 { written } else { quarter };
        self.bodies
            .resize(limit.max(self.largest_body.load(Relaxed)));
        let _ = self.levels();
    }

    /// How full the budgets are of which a full one refuses requests of every route.
    fn levels(&self) -> [Level; 3] {
        let memory = self.memory.level(self.bodies.used());
        [
            self.level(
                0,
                "places for requests in flight",
                self.places.used(),
                self.places.limit(),
            ),
            self.level(
                1,
                "bytes for bodies in flight",
                self.bodies.used(),
                self.bodies.limit(),
            ),
            self.level(2, "bytes of memory", memory.used, memory.limit),
        ]
    }

    fn level(&self, at: usize, what: &'static str, used: u64, limit: u64) -> Level {
        let limit = if limit == u64::MAX { 0 } else { limit };
        let share = used as f64 / limit.max(1) as f64;
        let was = self.near[at].load(Relaxed);
        let near = limit > 0 && share >= if was { WELL } else { NEAR };
        if near != was {
            self.near[at].store(near, Relaxed);
        }
        Level {
            what,
            used,
            limit,
            near,
        }
    }

    /// Everything that there is to tell.
    pub fn report(&self) -> Report {
        let [places, bodies, memory] = self.levels();
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut targets: Vec<_> = targets
            .iter()
            .map(|(name, budget)| (name.clone(), budget.used(), budget.limit()))
            .collect();
        targets.sort();
        let (cpu_wait, late) = self.waiting.report();
        Report {
            places,
            bodies,
            memory,
            cpu_wait,
            late,
            refused: std::array::from_fn(|at| (Scarce::ALL[at], self.refused[at].load(Relaxed))),
            targets,
        }
    }
}
