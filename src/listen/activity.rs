//! What a connection is doing and since when, and from that: when its silence has lasted too long.
//!
//! hyper has one timer for HTTP/1 heads that also ends idle connections, and none for HTTP/2. So the clocks are ours:
//! [`Wire`](super::wire::Wire) notes bytes, [`InFlight`] notes requests, and [`Watchdog`] asks for the deadline. The
//! timer is armed lazily: it moves forward only when it fires, so that a request costs no timer operation.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::drain::Drain;
use super::leaving::Leaving;
use super::limits::ConnectionLimits;
use super::parking::Place;
use super::stats::ListenStats;

/// The bytes that open an HTTP/2 connection (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection keeps what has served its last request, in case the next one comes soon.
const QUIET: Duration = Duration::from_secs(1);

/// A span give or take a tenth, so that connections which began together do not end together.
fn jittered(span: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    span.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX))
}

/// Which silence has lasted too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// A head was begun and not ended; on HTTP/2 the preface came and no more.
    Head,
    /// Nothing has been asked for a moment: the connection may make room for others, and what serves it can be put away.
    Quiet,
    /// Nothing is asked.
    Idle,
    /// The connection is as old as it may become.
    Aged,
    /// Others need the room of a connection that is quiet.
    Evicted,
    /// The client takes no byte of its answer.
    Stalled,
    /// The client closed its sending half, and its time for that is over.
    HalfClosed,
}

/// A moment that was noted, or none: milliseconds since the connection was born, plus one.
#[derive(Debug, Default)]
struct Clock(AtomicU64);

impl Clock {
    fn stop(&self) {
        self.0.store(0, Relaxed);
    }

    fn is_running(&self) -> bool {
        self.0.load(Relaxed) != 0
    }
}

/// The clocks and counts of one connection. Its HTTP/2 streams run in tasks of their own, hence the atomics.
#[derive(Debug)]
pub(super) struct Activity {
    born: Instant,
    /// When its next answer is its last.
    retires: Option<Instant>,
    stats: Arc<ListenStats>,
    /// Requests whose answers are not handed to hyper entirely.
    in_flight: AtomicU32,
    /// Those of them whose body waits for the client, not for us.
    held: AtomicU32,
    /// Bytes that came in.
    received: AtomicU64,
    /// The first byte of a head that is not complete.
    head: Clock,
    /// The end of the last request.
    quiet: Clock,
    /// The last progress of an answer.
    moved: Clock,
    /// The first write that the socket refused, while it goes on refusing.
    stalled: Clock,
    /// The client's end of sending, until hyper is told.
    half_closed: Clock,
    half_close_over: AtomicBool,
    leaving: Leaving,
    /// On HTTP/2: whether it has a place among the silent connections, and the place.
    parked: AtomicBool,
    place: Mutex<Option<Place>>,
}

impl Activity {
    pub(super) fn new(stats: Arc<ListenStats>, age: Option<Duration>) -> Activity {
        let born = Instant::now();
        Activity {
            born,
            retires: age.map(|age| born + jittered(age)),
            stats,
            in_flight: AtomicU32::new(0),
            held: AtomicU32::new(0),
            received: AtomicU64::new(0),
            head: Clock::default(),
            quiet: Clock::default(),
            moved: Clock::default(),
            stalled: Clock::default(),
            half_closed: Clock::default(),
            half_close_over: AtomicBool::new(false),
            leaving: Leaving::default(),
            parked: AtomicBool::new(false),
            place: Mutex::default(),
        }
    }

    fn note(&self, clock: &Clock) {
        let elapsed = self.born.elapsed().as_millis();
        clock
            .0
            .store(u64::try_from(elapsed).unwrap_or(u64::MAX - 1) + 1, Relaxed);
    }

    fn at(&self, clock: &Clock) -> Option<Instant> {
        let noted = clock.0.load(Relaxed).checked_sub(1)?;
        Some(self.born + Duration::from_millis(noted))
    }

    /// When the connection was accepted.
    pub(super) fn born(&self) -> Instant {
        self.born
    }

    /// When it will be as old as it may become.
    pub(super) fn retires(&self) -> Option<Instant> {
        self.retires
    }

    /// Whether its next answer is its last, by its age.
    pub(super) fn has_retired(&self) -> bool {
        self.retires.is_some_and(|at| at <= Instant::now())
    }

    /// Counts that it was ended for its age.
    pub(super) fn retire(&self) {
        self.stats.aged.fetch_add(1, Relaxed);
    }

    /// Since when nothing is asked.
    pub(super) fn quiet_since(&self) -> Instant {
        let since = self.at(&self.quiet).max(self.at(&self.moved));
        since.unwrap_or(self.born)
    }

    /// Bytes came in: outside of a request they begin a head.
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
        if !self.is_busy() && !self.head.is_running() {
            self.note(&self.head);
        }
    }

    /// The socket took bytes. On HTTP/2 they may be a ping's, and prove nothing of the answers.
    pub(super) fn wrote(&self, of_answer: bool) {
        self.stalled.stop();
        if of_answer {
            self.note(&self.moved);
        }
    }

    /// The socket took none.
    pub(super) fn stalled(&self) {
        if !self.stalled.is_running() {
            self.note(&self.stalled);
        }
    }

    /// The client will send no more. Says whether that is to be kept from hyper a little longer.
    pub(super) fn keep_half_open(&self) -> bool {
        if !self.is_busy() || self.half_close_over.load(Relaxed) {
            self.half_closed.stop();
            return false;
        }
        if !self.half_closed.is_running() {
            self.note(&self.half_closed);
            self.leaving.begin();
        }
        true
    }

    /// hyper is to know of the client's end when it reads next.
    pub(super) fn end_half_close(&self) {
        self.half_close_over.store(true, Relaxed);
        self.half_closed.stop();
    }

    /// Whether a request is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
    }

    /// Whether a part of a head came in.
    pub(super) fn is_head_begun(&self) -> bool {
        self.head.is_running()
    }

    /// When the first byte of the head came in that is not complete.
    pub(super) fn head_begun(&self) -> Option<Instant> {
        self.at(&self.head)
    }

    /// Keeps a place among the silent connections, until the next request begins.
    pub(super) fn park(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        self.parked.store(true, Relaxed);
    }

    fn unpark(&self) {
        self.parked.store(false, Relaxed);
        self.place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// A request begins; it ends with the returned value.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.head.stop();
        if self.parked.load(Relaxed) {
            self.unpark();
        }
        self.in_flight.fetch_add(1, Relaxed);
        self.stats.in_flight.fetch_add(1, Relaxed);
        InFlight {
            activity: self.clone(),
            held: false,
        }
    }

    /// When the silence on an HTTP/1 connection will have lasted too long, as things stand.
    pub(super) fn http1_deadline(&self, limits: &ConnectionLimits) -> Option<(Instant, Silence)> {
        if let Some(held_up) = self.held_up(limits) {
            return Some(held_up);
        }
        if let Some(at) = self.at(&self.half_closed) {
            // without a request there is nothing to wait for: hyper is to read the end now
            let patience = if self.is_busy() {
                limits.half_close
            } else {
                Duration::ZERO
            };
            return Some((at + patience, Silence::HalfClosed));
        }
        if self.is_busy() {
            return None;
        }
        if let Some(at) = self.at(&self.head) {
            return Some((at + limits.header_timeout, Silence::Head));
        }
        let since = self.quiet_since();
        if limits.idle_timeout <= QUIET {
            return Some((since + limits.idle_timeout, Silence::Idle));
        }
        Some((since + QUIET, Silence::Quiet))
    }

    /// The same for HTTP/2. Bytes prove nothing there (pings, dribbled headers), only requests do.
    pub(super) fn http2_deadline(&self, limits: &ConnectionLimits) -> Option<(Instant, Silence)> {
        if let Some(held_up) = self.held_up(limits) {
            return Some(held_up);
        }
        if self.is_busy() {
            return None;
        }
        if self.received.load(Relaxed) <= PREFACE.len() as u64 {
            return Some((self.born + limits.header_timeout, Silence::Head));
        }
        let since = self.at(&self.quiet).unwrap_or(self.born);
        if self.parked.load(Relaxed) || limits.idle_timeout <= QUIET {
            return Some((since + limits.idle_timeout, Silence::Idle));
        }
        Some((since + QUIET, Silence::Quiet))
    }

    /// When the client will have held up its answers for too long: its socket takes nothing, or (HTTP/2) its windows
    /// are shut for every answer there is.
    fn held_up(&self, limits: &ConnectionLimits) -> Option<(Instant, Silence)> {
        let held = self.held.load(Relaxed);
        let since = match self.at(&self.stalled) {
            Some(at) => at,
            None if held > 0 && held == self.in_flight.load(Relaxed) => {
                self.at(&self.moved).unwrap_or(self.born)
            }
            None => return None,
        };
        Some((since + limits.idle_timeout, Silence::Stalled))
    }
}

/// A request in flight: from its head to the last byte of its answer's body.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    held: bool,
}

impl InFlight {
    /// What tells that the client has closed its sending half.
    pub(super) fn leaving(&self) -> &Leaving {
        &self.activity.leaving
    }

    /// Whether the answer is its connection's last, by the connection's age; it is counted then.
    pub(super) fn retires(&self) -> bool {
        let retired = self.activity.has_retired();
        if retired {
            self.activity.retire();
        }
        retired
    }

    /// Notes progress of the answer, and whether the next step is the client's.
    fn moved(&mut self, held: bool) {
        if held != self.held {
            self.held = held;
            if held {
                self.activity.held.fetch_add(1, Relaxed);
            } else {
                self.activity.held.fetch_sub(1, Relaxed);
            }
        }
        self.activity.note(&self.activity.moved);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.held {
            self.activity.held.fetch_sub(1, Relaxed);
        }
        self.activity.stats.in_flight.fetch_sub(1, Relaxed);
        // noted first: whoever sees the count at zero must not see an old moment
        self.activity.note(&self.activity.quiet);
        self.activity.in_flight.fetch_sub(1, Relaxed);
    }
}

/// An answer's body; its request is in flight until hyper has taken the last of it.
pub(super) struct Tracked<B> {
    body: B,
    in_flight: InFlight,
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, mut in_flight: InFlight) -> Tracked<B> {
        in_flight.moved(true);
        Tracked { body, in_flight }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.in_flight.moved(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What ends the wait for a connection's next event.
pub(super) enum Event<R> {
    /// The connection came to its end.
    Ended(R),
    /// The drain has begun, and the connection may be told.
    Drain,
    /// Some silence has lasted too long.
    Silent(Silence),
}

/// Drives a connection, and looks at the clock and at the drain meanwhile.
pub(super) struct Watchdog {
    drain: Pin<Box<dyn Future<Output = ()> + Send>>,
    draining: bool,
    told: bool,
    timer: Pin<Box<Sleep>>,
}

impl Watchdog {
    pub(super) fn new(mut drain: Drain, first_look: Instant) -> Watchdog {
        Watchdog {
            drain: Box::pin(async move { drain.started().await }),
            draining: false,
            told: false,
            timer: Box::pin(tokio::time::sleep_until(first_look)),
        }
    }

    /// Drives the connection to its next event. `ready_to_drain` holds the drain back while it says no.
    pub(super) async fn next<C: Future + Unpin>(
        &mut self,
        connection: &mut C,
        deadline: impl Fn() -> Option<(Instant, Silence)>,
        ready_to_drain: impl Fn() -> bool,
    ) -> Event<C::Output> {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(end) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(Event::Ended(end));
            }
            self.draining = self.draining || self.drain.as_mut().poll(cx).is_ready();
            if self.draining && !self.told && ready_to_drain() {
                self.told = true;
                return Poll::Ready(Event::Drain);
            }
            self.poll_silence(cx, &deadline).map(Event::Silent)
        })
        .await
    }

    fn poll_silence(
        &mut self,
        cx: &mut Context<'_>,
        deadline: impl Fn() -> Option<(Instant, Silence)>,
    ) -> Poll<Silence> {
        /// How soon to look again while there is no deadline.
        const LATER: Duration = Duration::from_secs(1);
        let deadline = deadline();
        if let Some((at, _)) = deadline
            && at < self.timer.deadline()
        {
            self.timer.as_mut().reset(at);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            match deadline {
                Some((at, silence)) if at <= now => return Poll::Ready(silence),
                Some((at, _)) => self.timer.as_mut().reset(at),
                None => self.timer.as_mut().reset(now + LATER),
            }
        }
    }
}
