//! Clients that ask again as soon as they are answered (closed loop): keep-alive, no pipelining, plain or TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Outcome;
use super::histogram::Histogram;
use super::requests::Prototype;

/// Where requests go, and which.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    /// With TLS, where this is given.
    pub tls: Option<TlsConnector>,
    /// Each connection sends them in turn, from another one on.
    pub requests: Arc<[Prototype]>,
}

/// What clients saw between the warm-up and the end.
#[derive(Clone)]
pub struct Tally {
    /// Of answered requests.
    pub latency: Histogram,
    /// Answers by status.
    pub statuses: Vec<(u16, u64)>,
    /// Numbers of messages whose answer was a success, those of the warm-up too.
    pub acknowledged: Vec<u64>,
    /// Connections that ended without an answer.
    pub broken: u64,
}

impl Tally {
    pub fn new() -> Tally {
        Tally {
            latency: Histogram::new(),
            statuses: Vec::new(),
            acknowledged: Vec::new(),
            broken: 0,
        }
    }

    pub fn count(&mut self, status: u16, more: u64) {
        match self.statuses.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += more,
            None => self.statuses.push((status, more)),
        }
    }

    pub fn merge(&mut self, other: &Tally) {
        self.latency.merge(&other.latency);
        for (status, count) in &other.statuses {
            self.count(*status, *count);
        }
        self.acknowledged.extend(&other.acknowledged);
        self.broken += other.broken;
    }

    /// Answers whose status satisfies this.
    pub fn answers(&self, is: impl Fn(u16) -> bool) -> u64 {
        let counted = self.statuses.iter().filter(|(status, _)| is(*status));
        counted.map(|(_, count)| count).sum()
    }

    pub fn successes(&self) -> u64 {
        self.answers(is_success)
    }

    /// `202: 1200, 503: 3`.
    pub fn shown(&self) -> String {
        let mut statuses = self.statuses.clone();
        statuses.sort_unstable();
        let mut shown: Vec<String> = statuses
            .iter()
            .map(|(status, count)| format!("{status}: {count}"))
            .collect();
        if self.broken > 0 {
            shown.push(format!("hung up: {}", self.broken));
        }
        shown.join(", ")
    }
}

pub fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Clients that run until they are stopped.
pub struct Clients {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<Tally>>,
}

struct Shared {
    over: AtomicBool,
    measuring: AtomicBool,
    /// Successes so far.
    done: AtomicU64,
    /// All answers so far.
    answered: AtomicU64,
}

impl Clients {
    pub fn start(load: &Load, connections: usize) -> Clients {
        let shared = Arc::new(Shared {
            over: AtomicBool::new(false),
            measuring: AtomicBool::new(false),
            done: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        });
        let tasks = (0..connections)
            .map(|connection| tokio::spawn(ask_on(load.clone(), shared.clone(), connection * 61)))
            .collect();
        Clients { shared, tasks }
    }

    /// Successes so far.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Answers so far, whatever they said.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// From here on latencies and statuses are counted.
    pub fn measure(&self) {
        self.shared.measuring.store(true, Ordering::Relaxed);
    }

    /// Lets each client have its last answer.
    pub async fn stop(self) -> Outcome<Tally> {
        self.shared.over.store(true, Ordering::Relaxed);
        let mut all = Tally::new();
        for task in self.tasks {
            match tokio::time::timeout(Duration::from_secs(60), task).await {
                Ok(tally) => all.merge(&tally?),
                Err(_) => return Err("a client has waited for its answer for a minute".into()),
            }
        }
        Ok(all)
    }
}

/// One connection after the other, until it is over.
async fn ask_on(load: Load, shared: Arc<Shared>, first: usize) -> Tally {
    let mut tally = Tally::new();
    let mut next = first;
    while !shared.over.load(Ordering::Relaxed) {
        let ended = match connect(&load).await {
            Ok(Stream::Plain(stream)) => {
                converse(stream, &load.requests, &mut next, &shared, &mut tally).await
            }
            Ok(Stream::Tls(stream)) => {
                converse(*stream, &load.requests, &mut next, &shared, &mut tally).await
            }
            Err(error) => Err(error),
        };
        if ended.is_err() {
            tally.broken += 1;
            // A server that is away or full: a client that tries at once would only burn the core that it shares.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    tally
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    requests: &[Prototype],
    next: &mut usize,
    shared: &Shared,
    tally: &mut Tally,
) -> std::io::Result<()> {
    let (mut buffer, mut request) = (Vec::new(), Vec::new());
    while !shared.over.load(Ordering::Relaxed) {
        let number = requests[*next % requests.len()].next(&mut request);
        *next += 1;
        let began = Instant::now();
        stream.write_all(&request).await?;
        // TLS may have taken the bytes and not written them yet.
        stream.flush().await?;
        let answer = answer(&mut stream, &mut buffer).await?;
        shared.answered.fetch_add(1, Ordering::Relaxed);
        if is_success(answer.status) {
            shared.done.fetch_add(1, Ordering::Relaxed);
            tally.acknowledged.extend(number);
        }
        if shared.measuring.load(Ordering::Relaxed) {
            tally.latency.add(began.elapsed());
            tally.count(answer.status, 1);
        }
        if answer.closes {
            return Ok(());
        }
    }
    Ok(())
}

/// A connection, ready for requests.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

pub async fn connect(load: &Load) -> std::io::Result<Stream> {
    let stream = TcpStream::connect(load.address).await?;
    stream.set_nodelay(true)?;
    match &load.tls {
        None => Ok(Stream::Plain(stream)),
        Some(tls) => {
            let name = "localhost".try_into().map_err(std::io::Error::other)?;
            Ok(Stream::Tls(Box::new(tls.connect(name, stream).await?)))
        }
    }
}

/// An answer's head; its body has been read.
pub struct Answer {
    pub status: u16,
    /// Whether the server closes after it.
    pub closes: bool,
    /// Where the body is in the buffer.
    pub body: std::ops::Range<usize>,
}

/// Reads one whole answer. The buffer is overwritten; the answers of the benches' servers state their length.
pub async fn answer<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Answer> {
    let broken = |what: &str| std::io::Error::other(what.to_owned());
    if buffer.len() < 4096 {
        buffer.resize(4096, 0);
    }
    let mut read = 0;
    let mut head: Option<(usize, Answer)> = None;
    loop {
        if read == buffer.len() {
            buffer.resize(read * 2, 0);
        }
        let more = stream.read(&mut buffer[read..]).await?;
        if more == 0 {
            return Err(broken("the server hung up"));
        }
        read += more;
        if head.is_none() {
            let Some(end) = buffer[..read]
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
            else {
                continue;
            };
            let text = std::str::from_utf8(&buffer[..end])
                .map_err(|_| broken("a head that is no text"))?;
            let mut lines = text.split("\r\n");
            let status = lines
                .next()
                .and_then(|line| line.split(' ').nth(1)?.parse().ok())
                .ok_or_else(|| broken(text))?;
            let (mut length, mut closes) = (0, false);
            for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.parse().map_err(|_| broken(text))?;
                } else if name.eq_ignore_ascii_case("transfer-encoding") {
                    return Err(broken("an answer whose length is not stated"));
                } else if name.eq_ignore_ascii_case("connection") {
                    closes = value.eq_ignore_ascii_case("close");
                }
            }
            let body = end + 4..end + 4 + length;
            head = Some((
                body.end,
                Answer {
                    status,
                    closes,
                    body,
                },
            ));
        }
        if head.as_ref().is_some_and(|(end, _)| read >= *end)
            && let Some((_, answer)) = head
        {
            return Ok(answer);
        }
    }
}
