//! The embedded durable store: queues with the semantics of SQS in one SQLite file. It knows no HTTP, no AWS, no
//! configuration.
//!
//! # The promises
//!
//! 1. **An answer means durable.** `send`, `delete`, `purge` and `declare` answer after the commit that holds them has been
//!    synced (`synchronous=FULL`). `receive` and `change_visibility` answer after a commit that a crash of the process
//!    survives and a power cut may undo: the message is then delivered again, earlier than it would have been. So it is
//!    with spools (`spool` and `settle`; `take_parcels`) and idempotency keys (`reserve`, `complete`, `release`).
//! 2. **A failed group fails as a whole.** Every waiter of a transaction that could not be committed is told so, and the
//!    writer never goes on with a half of it. A message refused this way may still turn out to be stored.
//! 3. **What goes in comes out**, byte by byte, at least once, or is counted where it went: the [`Ledger`] of each queue is
//!    part of the same transactions and balances at every commit, so also after a crash.
//! 4. **The cost of an operation does not grow with depth**, nor does memory, nor the time to open.
//! 5. **Faults are loud, and pass by themselves.** A full disk refuses sends, and lets receive and delete empty the store; a
//!    failing disk refuses everything until it works; a corrupt file is left as it is.
//! 6. **A changed row is never delivered**: each has a checksum, and what fails it goes to the table `damaged`.
//!
//! # The shape
//!
//! One thread writes (`writer.rs`): it takes all that waits, runs one transaction, answers each caller after the
//! commit. A second thread moves the log into the database beside it. Callers prepare what they can before their turn:
//! ids, digests, checks. A long poll costs nothing while its queue is empty. What only looks (`peek`, `known`,
//! `spool_holds`) has connections of its own (`reader.rs`), and is refused while the file fails.
//!
//! A spool is a queue whose only consumer is this process, and beside it one for dead letters: rows of `queue` with
//! names that no user's queue can have. A record that is being delivered lies in `flight` until it is settled, and a key
//! is a lane, as the group of a FIFO queue is.
//!
//! The directory holds `store.db` with SQLite's `store.db-wal` and `store.db-shm`, `lock` (flock; the pid of the holder),
//! `commits` (the number of the last synced commit, which makes a shortened log loud) and `reserve` (space to give back
//! when the disk is full). The tables are described in `schema.rs`; anybody may look at them with `sqlite3`.
//!
//! Standard queues are first in, first out as far as redelivery lets them: a message that becomes visible again stands
//! where it stood. Every handle ever given out for a message of a standard queue deletes it; a FIFO queue wants the
//! current one. Messages keep their sequence number and time of sending when they move to a dead-letter queue; there,
//! their receive count begins anew. What is moved back out of one is a new message to its queue: it gets a new number and
//! comes last, and keeps its id and its time of sending.

mod ask;
mod checkpoint;
mod checksum;
mod clock;
mod commit;
mod declare;
mod deployments;
mod dispatch;
mod error;
mod group;
mod handle;
mod idempotency;
mod inquiry;
mod job;
mod manage;
mod message;
mod moving;
mod once;
mod open;
mod peek;
mod queue;
mod reader;
mod receive;
mod recover;
mod redrive;
mod salvage;
mod schema;
mod send;
mod settle;
mod space;
mod spec;
mod spool;
mod stats;
mod stored;
mod upkeep;
mod usage;
mod wait;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

pub use clock::{Clock, Watch};
pub use deployments::{DeploymentRow, Deployments};
pub use error::{DeclareError, FullReason, OpenError, StoreError};
pub use idempotency::{Kept, Known, NewKey, Once, Reservation};
pub use manage::{Extra, ManageError, QueueFacts, Tags};
pub use message::{Delivery, NewMessage, Receive, Sent};
pub use peek::{Death, Peeked, Standing};
pub use redrive::{MoveError, MoveState, MoveTask, NewMove};
pub use salvage::{QueueSalvage, Rows, Salvage, salvage};
pub use spec::{MAX_DELAY, MAX_VISIBILITY, Notice, QueueSpec, Redrive};
pub use spool::{
    NewRecord, Parcel, Reason, Settlement, SpoolDepth, Spooled, dead_letter_queue, spool_queue,
};
pub use stats::{Health, Ledger, Meters, QueueStats, Role, StoreStats};
pub use usage::{KeyState, UsageDay};

use checkpoint::Checkpointer;
use clock::{Steady, Timeline, millis};
use handle::{Grip, HandleKey};
use job::{Job, Solo};
use open::Files;
use queue::{Names, Queue, Spools, locked};
use reader::Readers;
use recover::Recovery;
use space::Space;
use writer::{Link, Writer};

/// Operations that may wait for the writer; one more is refused.
const WAITING_JOBS: usize = 8192;
/// Bytes of messages that may wait for the writer.
const WAITING_BYTES: u64 = 64 << 20;

/// Where the store is and what it may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory; created if missing.
    pub path: PathBuf,
    /// Bytes that database and log may take on disk, at least 1 MiB.
    pub max_size: u64,
    /// How long to wait while another process has the store.
    pub lock_wait: Duration,
    /// Sends are refused while less than this is free on the file system.
    pub min_free: u64,
    pub clock: Clock,
}

impl Options {
    /// 10 GiB, 30 s, 64 MiB to stay free, the machine's clock.
    pub fn new(path: impl Into<PathBuf>) -> Options {
        Options {
            path: path.into(),
            max_size: 10 << 30,
            lock_wait: Duration::from_secs(30),
            min_free: 64 << 20,
            clock: Clock::system(),
        }
    }
}

/// What callers and the writer share.
struct Shared {
    names: ArcSwap<Names>,
    spools: ArcSwap<Spools>,
    spool_made: Notify,
    possible_duplicates: AtomicU64,
    readers: Readers,
    steady: Steady,
    /// Deliveries whose caller went away while the answer was on its way.
    strays: Mutex<Vec<Grip>>,
    handles: HandleKey,
    health: Mutex<Health>,
    vitals: Mutex<Vitals>,
    meters: Meters,
    waiting_bytes: AtomicU64,
    /// Long polls end, with an empty answer.
    polls_over: CancellationToken,
    closing: CancellationToken,
}

/// Numbers of the whole store, as the writer last saw them.
#[derive(Default)]
struct Vitals {
    wall: i64,
    /// The steady time that belongs to it.
    steady: i64,
    file_bytes: u64,
    used_bytes: u64,
    commits: i64,
    failed_groups: u64,
    lost_commits: u64,
    expiry_suspended: bool,
}

/// An open store. Clones are the same store; when the last one goes, so does the writer, after it has finished.
#[derive(Clone)]
pub struct Store(Arc<Owned>);

struct Owned {
    jobs: Option<SyncSender<Job>>,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.jobs = None;
        let writer = locked(&self.writer).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("The store's writer panicked");
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store, or creates it. Blocks: for the lock, and for reading the log of a process that was killed.
    pub fn open(options: Options) -> Result<Store, OpenError> {
        let files = Files::within(&options.path);
        let mut space = Space::plan(&files, options.max_size, options.min_free)?;
        let lock = open::lock(&files, options.lock_wait)?;
        let wall = options.clock.wall_ms();
        let session = match open::open(&files, space.sizes(), wall) {
            // A disk that was filled meanwhile: what was set aside for this is enough to open, and to be emptied.
            Err(OpenError::Full { .. } | OpenError::Io { .. })
                if space.is_kept() && space.is_full() =>
            {
                space.give_back();
                open::open(&files, space.sizes(), wall)?
            }
            opened => opened?,
        };
        let synced_commits = open::synced_commits(&files)?.unwrap_or(0);
        let sidecar = open::sidecar(&files)?;
        space.keep_reserve();
        let checkpointer =
            Checkpointer::start(files.database.clone()).map_err(|error| OpenError::Io {
                path: files.directory.clone(),
                reason: error.to_string(),
            })?;
        let timeline = Timeline::resume(options.clock.clone(), &session.state.last_seen);
        let shared = Arc::new(Shared {
            names: ArcSwap::default(),
            spools: ArcSwap::default(),
            spool_made: Notify::new(),
            possible_duplicates: AtomicU64::new(0),
            strays: Mutex::default(),
            readers: Readers::new(files.database.clone()),
            steady: timeline.steady(),
            handles: HandleKey::new(&session.state.handle_key),
            health: Mutex::default(),
            vitals: Mutex::default(),
            meters: Meters::default(),
            waiting_bytes: AtomicU64::new(0),
            polls_over: CancellationToken::new(),
            closing: CancellationToken::new(),
        });
        let (jobs, inbox) = sync_channel(WAITING_JOBS);
        let mut writer = Writer {
            jobs: inbox,
            shared: shared.clone(),
            link: Link::Down {
                reason: "the store is opening".to_owned(),
                retry: None,
            },
            checkpointer,
            timeline,
            space,
            desks: HashMap::new(),
            attempts: HashMap::new(),
            next_seq: 0,
            commits: 0,
            synced_commits,
            syncs: true,
            sidecar,
            sidecar_failed: false,
            recovery: Some(Recovery::Opened {
                below: session.state.next_seq,
            }),
            releases: Vec::new(),
            purges: VecDeque::new(),
            removals: VecDeque::new(),
            moves: Vec::new(),
            steps_from: i64::MIN,
            due_from: Instant::now(),
            next_tick: Instant::now(),
            backlog: false,
            full_since: None,
            uncounted: 0,
            identity: [None, None],
            inquiry: inquiry::Inquiry::default(),
            files: files.clone(),
            lock,
        };
        writer.adopt(session);
        let now = writer.timeline.now();
        writer.now_seen(now);
        writer.recover_spools();
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| OpenError::Io {
                path: files.directory,
                reason: error.to_string(),
            })?;
        let store = Store(Arc::new(Owned {
            jobs: Some(jobs),
            shared,
            writer: Mutex::new(Some(thread)),
        }));
        let owned = Arc::downgrade(&store.0);
        options.clock.on_move(move || {
            if let Some(jobs) = owned
                .upgrade()
                .as_ref()
                .and_then(|owned| owned.jobs.as_ref())
            {
                // If so much waits that this does not fit, the writer is not asleep.
                let _ = jobs.try_send(Job::Solo(Solo::Look(None)));
            }
        });
        Ok(store)
    }

    /// Whether there is a store in a directory, or what is left of one.
    pub fn exists(path: &Path) -> bool {
        Files::within(path).database.exists()
    }

    /// Creates queues and changes their settings, all or nothing. Queues of the file that are not named keep their
    /// messages and can still be used; a [`Notice`] says so.
    pub async fn declare(&self, specs: Vec<QueueSpec>) -> Result<Vec<Notice>, DeclareError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Solo(Solo::Declare { specs, reply }))?;
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// Whether [`Store::declare`] would take these queues, as far as that can be told without writing.
    pub fn would_declare(&self, specs: &[QueueSpec]) -> Result<(), DeclareError> {
        let names = self.0.shared.names.load();
        let held: Vec<QueueSpec> = names
            .values()
            .filter(|queue| queue.role == Role::Queue)
            .map(|queue| queue.spec.load().as_ref().clone())
            .collect();
        spec::check_all(specs, &held)
    }

    /// The declaration of a queue, also of one that is no longer declared.
    pub fn spec(&self, queue: &str) -> Option<Arc<QueueSpec>> {
        let names = self.0.shared.names.load();
        let queue = names.get(queue).filter(|queue| queue.role == Role::Queue);
        queue.map(|queue| queue.spec.load_full())
    }

    /// Stores a message; the answer means that it is on disk.
    ///
    /// # Errors
    /// What SQS refuses is refused before it is written. [`StoreError::Full`], [`StoreError::QueueFull`],
    /// [`StoreError::Overloaded`], [`StoreError::Unavailable`]: nothing was acknowledged.
    pub async fn send(&self, queue: &str, message: NewMessage) -> Result<Sent, StoreError> {
        let queue = self.queue(queue)?;
        let message = Box::new(message::prepare(message, &queue.spec.load())?);
        self.ask_about(&queue, |reply| Job::Send {
            queue: queue.id,
            message,
            reply,
        })
        .await
    }

    /// Deletes the message that a handle was given for. That it is gone already is no error; see the module about
    /// handles of earlier deliveries.
    pub async fn delete(&self, queue: &str, receipt_handle: &str) -> Result<(), StoreError> {
        let queue = self.queue(queue)?;
        let grip = self.grip(&queue, receipt_handle)?;
        self.ask_about(&queue, |reply| Job::Delete { grip, reply })
            .await
    }

    /// Changes when a received message becomes visible again: this long from now, zero for at once; at most 12 hours
    /// after it was received.
    pub async fn change_visibility(
        &self,
        queue: &str,
        receipt_handle: &str,
        visibility_timeout: Duration,
    ) -> Result<(), StoreError> {
        let queue = self.queue(queue)?;
        let grip = self.grip(&queue, receipt_handle)?;
        check_visibility(visibility_timeout)?;
        let visibility = millis(visibility_timeout);
        self.ask_about(&queue, |reply| Job::ChangeVisibility {
            grip,
            visibility,
            reply,
        })
        .await
    }

    /// Deletes all messages that were in the queue (a spool and its dead letters, too) when this was called, and says how many. Runs in steps, so that other
    /// operations go on; goes on by itself when the caller stops waiting.
    pub async fn purge(&self, queue: &str) -> Result<u64, StoreError> {
        let queue = self.any_queue(queue)?;
        self.ask_about(&queue, |reply| {
            Job::Solo(Solo::Purge {
                queue: queue.id,
                reply,
            })
        })
        .await
    }

    /// An operator says that the clock is right: what expires may expire again.
    pub async fn confirm_time(&self) -> Result<(), StoreError> {
        self.ask(|reply| Job::Solo(Solo::ConfirmTime(reply))).await
    }

    /// Whether the wall clock is not to be believed at this moment, by what the writer knows and by the clocks themselves:
    /// it looks once a second, and a clock may step in between.
    pub fn time_in_doubt(&self) -> bool {
        let (wall, steady) = self.0.shared.steady.both();
        let vitals = locked(&self.0.shared.vitals);
        vitals.expiry_suspended || clock::have_parted(wall - vitals.wall, steady - vitals.steady)
    }

    /// The store now; cheap, for it reads what the writer counts anyway.
    pub fn stats(&self) -> StoreStats {
        let shared = &self.0.shared;
        let vitals = locked(&shared.vitals);
        let mut queues: Vec<QueueStats> = shared
            .names
            .load()
            .values()
            .map(|queue| {
                let counters = *locked(&queue.counters);
                let waiting = match queue.role {
                    Role::Spool => counters.depth(),
                    Role::Queue | Role::DeadLetters => counters.visible,
                };
                let age =
                    |arrived: i64| Duration::from_millis((vitals.wall - arrived).max(0) as u64);
                QueueStats {
                    name: queue.name.to_string(),
                    role: queue.role,
                    declared: queue.declared.load(Ordering::Relaxed),
                    ledger: counters.ledger,
                    visible: counters.visible,
                    delayed: counters.delayed,
                    in_flight: counters.in_flight,
                    bytes: counters.bytes,
                    oldest_age: counters.oldest.filter(|_| waiting > 0).map(age),
                    receives_waiting: queue.waiting.load(Ordering::Relaxed) as u64,
                }
            })
            .collect();
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        StoreStats {
            queues,
            health: locked(&shared.health).clone(),
            file_bytes: vitals.file_bytes,
            used_bytes: vitals.used_bytes,
            commits: vitals.commits.max(0) as u64,
            failed_groups: vitals.failed_groups,
            lost_commits: vitals.lost_commits,
            expiry_suspended: vitals.expiry_suspended,
            waiting_bytes: shared.waiting_bytes.load(Ordering::Relaxed),
        }
    }

    /// The writer's meters, for the registry.
    pub fn meters(&self) -> Meters {
        self.0.shared.meters.clone()
    }

    /// Ends long polls with an empty answer, now and from now on; everything else goes on. The first step of a shutdown.
    pub fn end_polls(&self) {
        self.0.shared.polls_over.cancel();
    }

    /// Ends long polls with an empty answer, finishes what waits, empties the log, releases the lock. Everything asked
    /// later is refused with [`StoreError::Closed`]. Closing twice is no error.
    pub async fn close(&self) {
        self.end_polls();
        self.0.shared.closing.cancel();
        let (reply, closed) = oneshot::channel();
        let mut job = Job::Solo(Solo::Close(reply));
        while let Some(jobs) = &self.0.jobs {
            match jobs.try_send(job) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => {
                    job = back;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // Closed before.
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
        // An error means that the writer ended for another reason; it is gone either way.
        let _ = closed.await;
        let writer = locked(&self.0.writer).take();
        if let Some(writer) = writer {
            // It has answered and only drops what it owns, the lock among it.
            let joined = tokio::task::spawn_blocking(move || writer.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("The store's writer panicked");
            }
        }
    }

    /// Looks at once at what has become visible or too old, instead of within a second.
    #[cfg(test)]
    async fn look(&self) -> Result<(), StoreError> {
        self.ask(|reply| Job::Solo(Solo::Look(Some(reply)))).await
    }

    /// A queue for its users.
    fn queue(&self, name: &str) -> Result<Arc<Queue>, StoreError> {
        self.any_queue(name)
            .ok()
            .filter(|queue| queue.role == Role::Queue)
            .ok_or_else(|| StoreError::UnknownQueue(name.to_owned()))
    }

    fn any_queue(&self, name: &str) -> Result<Arc<Queue>, StoreError> {
        let names = self.0.shared.names.load();
        names
            .get(name)
            .cloned()
            .ok_or_else(|| StoreError::UnknownQueue(name.to_owned()))
    }

    fn grip(&self, queue: &Queue, receipt_handle: &str) -> Result<Grip, StoreError> {
        self.0
            .shared
            .handles
            .open(receipt_handle)
            .filter(|grip| grip.queue == queue.id)
            .ok_or(StoreError::ReceiptHandleInvalid)
    }
}

fn check_visibility(timeout: Duration) -> Result<(), StoreError> {
    if timeout > MAX_VISIBILITY {
        return Err(StoreError::InvalidParameter(
            "VisibilityTimeout is at most 43200".to_owned(),
        ));
    }
    Ok(())
}
