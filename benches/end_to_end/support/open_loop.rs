//! Clients that send at a rate, whatever comes back (open loop): each request has an instant at which it is due, and
//! latency is told from when it was sent as well as from when it was due, so that a server that stalls cannot make its
//! clients silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Outcome;
use super::client::{Load, Tally, answer, is_success};
use super::histogram::Histogram;

/// A request that could not be sent for this long after it was due is not sent at all: every connection was waiting.
const GIVEN_UP: Duration = Duration::from_millis(200);

/// What came of an offer: of what was due once it had settled, where nothing else is said.
pub struct Offer {
    /// Latencies of successes alone, from when they were sent. What was acknowledged, from the beginning.
    pub tally: Tally,
    /// Latencies of the successes before that.
    pub onset: Histogram,
    /// Of successes, from when they were due.
    pub since_due: Histogram,
    /// Of what was refused, from when it was sent, from the beginning.
    pub refusals: Histogram,
    /// Sent.
    pub sent: u64,
    /// Due, and not sent: the client was too slow, or every connection was waiting.
    pub unsent: u64,
    pub took: Duration,
}

impl Offer {
    fn new() -> Offer {
        Offer {
            tally: Tally::new(),
            onset: Histogram::new(),
            since_due: Histogram::new(),
            refusals: Histogram::new(),
            sent: 0,
            unsent: 0,
            took: Duration::ZERO,
        }
    }

    fn merge(&mut self, other: &Offer) {
        self.tally.merge(&other.tally);
        self.onset.merge(&other.onset);
        self.since_due.merge(&other.since_due);
        self.refusals.merge(&other.refusals);
        self.sent += other.sent;
        self.unsent += other.unsent;
    }
}

/// Connections that are kept from one offer to the next.
pub struct Lines {
    load: Load,
    streams: Vec<Option<TcpStream>>,
}

impl Lines {
    pub async fn open(load: &Load, connections: usize) -> Outcome<Lines> {
        let mut streams = Vec::with_capacity(connections);
        for _ in 0..connections {
            streams.push(connected(load).await.ok());
        }
        Ok(Lines {
            load: load.clone(),
            streams,
        })
    }

    /// Sends so many requests a second: until that has settled, and then for so long.
    pub async fn offer(
        &mut self,
        per_second: f64,
        settling: Duration,
        length: Duration,
    ) -> Outcome<Offer> {
        let next = Arc::new(AtomicU64::new(0));
        let start = Instant::now() + Duration::from_millis(20);
        let mut tasks = Vec::new();
        for stream in std::mem::take(&mut self.streams) {
            let (load, next) = (self.load.clone(), next.clone());
            let line = Line {
                stream,
                load,
                next,
                start,
                settled: start + settling,
                end: start + settling + length,
                per_second,
                offer: Offer::new(),
            };
            tasks.push(tokio::spawn(line.run()));
        }
        let mut all = Offer::new();
        for task in tasks {
            let (stream, offer) = task.await?;
            self.streams.push(stream);
            all.merge(&offer);
        }
        all.took = length;
        Ok(all)
    }
}

async fn connected(load: &Load) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(load.address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Line {
    stream: Option<TcpStream>,
    load: Load,
    next: Arc<AtomicU64>,
    start: Instant,
    settled: Instant,
    end: Instant,
    per_second: f64,
    offer: Offer,
}

impl Line {
    async fn run(mut self) -> (Option<TcpStream>, Offer) {
        let (mut request, mut buffer) = (Vec::new(), Vec::new());
        loop {
            let slot = self.next.fetch_add(1, Ordering::Relaxed);
            let due = self.start + Duration::from_secs_f64(slot as f64 / self.per_second);
            if due >= self.end {
                return (self.stream, self.offer);
            }
            let now = Instant::now();
            if due > now {
                tokio::time::sleep_until(due).await;
            } else if now - due > GIVEN_UP {
                self.offer.unsent += u64::from(due >= self.settled);
                continue;
            }
            if self
                .ask(due, slot, &mut request, &mut buffer)
                .await
                .is_err()
            {
                self.offer.tally.broken += 1;
                self.stream = None;
            }
        }
    }

    async fn ask(
        &mut self,
        due: Instant,
        slot: u64,
        request: &mut Vec<u8>,
        buffer: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connected(&self.load).await?,
        };
        let requests = &self.load.requests;
        let number = requests[slot as usize % requests.len()].next(request);
        let sent = Instant::now();
        let settled = due >= self.settled;
        self.offer.sent += u64::from(settled);
        stream.write_all(request).await?;
        let answer = answer(&mut stream, buffer).await?;
        let success = is_success(answer.status);
        if success {
            self.offer.tally.acknowledged.extend(number);
        }
        match (success, settled) {
            (true, true) => {
                self.offer.tally.latency.add(sent.elapsed());
                self.offer.since_due.add(due.elapsed());
            }
            (true, false) => self.offer.onset.add(sent.elapsed()),
            (false, _) => self.offer.refusals.add(sent.elapsed()),
        }
        if settled {
            self.offer.tally.count(answer.status, 1);
        }
        if !answer.closes {
            self.stream = Some(stream);
        }
        Ok(())
    }
}
