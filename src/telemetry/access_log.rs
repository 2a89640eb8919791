//! The access log's writer: a thread of its own behind a bounded heap of waiting lines. A request never waits for it;
//! what does not fit is dropped and counted.
//!
//! A line costs its request one copy and no allocation: it is formed in a buffer that its thread keeps, and appended to
//! the chunk that gathers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::log_format::LogFormat;
use super::metrics::Metrics;

/// Bytes that may wait: some tens of thousands of lines.
const WAITING_BYTES: usize = 16 << 20;

/// The most that is written at once, about; a chunk that fails is lost whole, and counted.
const CHUNK_BYTES: usize = 256 << 10;

/// Chunks that are kept to be filled again.
const SPARE_CHUNKS: usize = 4;

/// What a thread keeps of the buffer in which it forms lines.
const KEPT_LINE_BYTES: usize = 8 << 10;

/// How long lines gather before they are written, while there are any.
const GULP: Duration = Duration::from_millis(5);

/// How long the end of the process waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_secs(2);

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Stdout,
    Stderr,
    /// Appended to; made if missing.
    File(PathBuf),
    None,
}

/// The access log. Where its lines go, and how they look, can be changed while it is written.
#[derive(Debug)]
pub struct AccessLog {
    current: ArcSwap<Writer>,
    metrics: Metrics,
}

/// One destination of the log, opened, and its format. Dropping it writes what waits, if somebody reads: it may block for
/// a moment.
#[derive(Debug)]
pub struct Writer {
    format: LogFormat,
    waiting: Option<Arc<Waiting>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Lines that wait for the writer.
#[derive(Debug, Default)]
struct Waiting {
    heap: Mutex<Heap>,
    /// The writer sleeps, and lines have come; or no more will.
    stirred: Condvar,
}

#[derive(Debug, Default)]
struct Heap {
    /// Full ones first; the last one gathers.
    chunks: VecDeque<Chunk>,
    spare: Vec<String>,
    bytes: usize,
    asleep: bool,
    closed: bool,
}

#[derive(Debug, Default)]
struct Chunk {
    text: String,
    lines: u64,
}

impl Waiting {
    fn heap(&self) -> MutexGuard<'_, Heap> {
        self.heap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a line and its end; `false` if there is no room for it.
    fn put(&self, line: &str) -> bool {
        let mut heap = self.heap();
        if heap.bytes + line.len() >= WAITING_BYTES {
            return false;
        }
        heap.bytes += line.len() + 1;
        let full = |chunk: &Chunk| chunk.text.len() + line.len() >= CHUNK_BYTES;
        if heap.chunks.back().is_none_or(full) {
            let text = heap.spare.pop().unwrap_or_default();
            heap.chunks.push_back(Chunk { text, lines: 0 });
        }
        if let Some(chunk) = heap.chunks.back_mut() {
            chunk.text.push_str(line);
            chunk.text.push('\n');
            chunk.lines += 1;
        }
        let wake = std::mem::take(&mut heap.asleep);
        drop(heap);
        if wake {
            self.stirred.notify_one();
        }
        true
    }

    /// The next chunk; waits for lines. `None` when there will be no more.
    fn next(&self) -> Option<Chunk> {
        let mut heap = self.heap();
        loop {
            if let Some(chunk) = heap.chunks.pop_front() {
                heap.bytes -= chunk.text.len();
                return Some(chunk);
            }
            if heap.closed {
                return None;
            }
            heap.asleep = true;
            let woken = self.stirred.wait(heap);
            heap = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, mut text: String) {
        text.clear();
        let mut heap = self.heap();
        if heap.spare.len() < SPARE_CHUNKS && text.capacity() <= 2 * CHUNK_BYTES {
            heap.spare.push(text);
        }
    }

    fn is_closed(&self) -> bool {
        self.heap().closed
    }

    fn close(&self) {
        self.heap().closed = true;
        self.stirred.notify_one();
    }
}

impl Writer {
    /// Opens the destination and starts the writer's thread.
    pub fn open(
        destination: &Destination,
        format: LogFormat,
        metrics: &Metrics,
    ) -> io::Result<Writer> {
        let out: Option<Box<dyn Write + Send>> = match destination {
            Destination::Stdout => Some(Box::new(io::stdout())),
            Destination::Stderr => Some(Box::new(io::stderr())),
            Destination::File(path) => {
                let file: File = OpenOptions::new().create(true).append(true).open(path)?;
                Some(Box::new(file))
            }
            Destination::None => None,
        };
        Writer::to(out, format, metrics)
    }

    fn to(
        out: Option<Box<dyn Write + Send>>,
        format: LogFormat,
        metrics: &Metrics,
    ) -> io::Result<Writer> {
        let Some(out) = out else {
            return Ok(Writer {
                format,
                waiting: None,
                thread: Mutex::new(None),
            });
        };
        let waiting = Arc::new(Waiting::default());
        let (counted, written) = (metrics.clone(), waiting.clone());
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(&written, out, &counted))?;
        Ok(Writer {
            format,
            waiting: Some(waiting),
            thread: Mutex::new(Some(thread)),
        })
    }
}

impl AccessLog {
    /// Opens the destination and starts the writer.
    pub fn open(
        destination: &Destination,
        format: LogFormat,
        metrics: Metrics,
    ) -> io::Result<AccessLog> {
        let writer = Writer::open(destination, format, &metrics)?;
        Ok(AccessLog {
            current: ArcSwap::from_pointee(writer),
            metrics,
        })
    }

    /// Has lines go elsewhere, or look otherwise, from now on. Gives back what wrote them before; lines may still be on
    /// their way to it while others hold it.
    #[must_use = "dropping it may block, and others may hold it"]
    pub fn change(&self, writer: Writer) -> Arc<Writer> {
        self.current.swap(Arc::new(writer))
    }

    /// Has a line written, without its end, if lines go anywhere.
    pub fn write(&self, form: impl FnOnce(&LogFormat, &mut String)) {
        let writer = self.current.load();
        let Some(waiting) = &writer.waiting else {
            return;
        };
        LINE.with_borrow_mut(|line| {
            line.clear();
            form(&writer.format, line);
            if !waiting.put(line) {
                self.metrics.log_dropped.inc();
            }
            line.shrink_to(KEPT_LINE_BYTES);
        });
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            waiting.close();
        }
        let Some(thread) = self.thread.get_mut().ok().and_then(Option::take) else {
            return;
        };
        let patience = Instant::now() + PATIENCE;
        while !thread.is_finished() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !thread.is_finished() {
            tracing::warn!("The access log's reader does not read; its last lines are lost");
        } else if thread.join().is_err() {
            tracing::error!("The access log's writer has panicked");
        }
    }
}

/// Writes lines in gulps: what has come is written and flushed, then the thread sleeps a little before it looks again.
/// While lines keep coming nobody has to wake it, which would cost a request more than forming its line.
fn write_lines(waiting: &Waiting, mut out: Box<dyn Write + Send>, metrics: &Metrics) {
    let mut failing = false;
    while let Some(chunk) = waiting.next() {
        let written = out.write_all(chunk.text.as_bytes());
        let written = written.and_then(|()| out.flush());
        note(written, chunk.lines, &mut failing, metrics);
        let was_full = chunk.text.len() >= CHUNK_BYTES / 2;
        waiting.give_back(chunk.text);
        if !was_full && !waiting.is_closed() {
            std::thread::sleep(GULP);
        }
    }
}

/// Counts lines as written or dropped; says once when writing begins to fail, and once when it works again.
fn note(written: io::Result<()>, lines: u64, failing: &mut bool, metrics: &Metrics) {
    match written {
        Ok(()) => {
            if std::mem::take(failing) {
                tracing::info!("The access log can be written again");
            }
            metrics.log_lines.inc_by(lines);
        }
        Err(error) => {
            if !std::mem::replace(failing, true) {
                tracing::warn!(%error, "The access log cannot be written; its lines are dropped");
            }
            metrics.log_dropped.inc_by(lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Blocks in its first write until told to go on.
    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            let _ = self.0.recv();
            Ok(())
        }
    }

    fn logged(
        out: Option<Box<dyn Write + Send>>,
        format: LogFormat,
        metrics: &Metrics,
    ) -> AccessLog {
        let writer = Writer::to(out, format, metrics).unwrap();
        AccessLog {
            current: ArcSwap::from_pointee(writer),
            metrics: metrics.clone(),
        }
    }

    #[test]
    fn lines_go_where_the_log_was_last_changed_to_and_none_is_lost() {
        let (first, second) = (Shared::default(), Shared::default());
        let metrics = Metrics::new();
        let log = logged(Some(Box::new(first.clone())), LogFormat::Json, &metrics);
        log.write(|_, line| line.push_str("before"));
        let next = Writer::to(Some(Box::new(second.clone())), LogFormat::Json, &metrics).unwrap();
        drop(log.change(next));
        log.write(|_, line| line.push_str("after"));
        drop(log);
        assert_eq!(*first.0.lock().unwrap(), b"before\n");
        assert_eq!(*second.0.lock().unwrap(), b"after\n");
    }

    #[test]
    fn dropping_the_log_writes_what_waits() {
        let out = Shared::default();
        let metrics = Metrics::new();
        let log = logged(Some(Box::new(out.clone())), LogFormat::Json, &metrics);
        for n in 0..100 {
            log.write(|_, line| line.push_str(&n.to_string()));
        }
        drop(log);
        assert_eq!(
            String::from_utf8(out.0.lock().unwrap().clone())
                .unwrap()
                .lines()
                .count(),
            100
        );
        assert_eq!(metrics.log_lines.get(), 100);
    }

    #[test]
    fn large_lines_that_wait_are_bounded_by_their_bytes() {
        let (go, stuck) = channel();
        let metrics = Metrics::new();
        let log = logged(Some(Box::new(Stuck(stuck))), LogFormat::Json, &metrics);
        for _ in 0..40 {
            log.write(|_, line| line.push_str(&"x".repeat(1 << 20)));
        }
        assert!(
            metrics.log_dropped.get() >= 22,
            "{}",
            metrics.log_dropped.get()
        );
        drop(go);
    }

    #[test]
    fn a_log_that_is_stuck_drops_and_counts_but_never_blocks() {
        let (go, stuck) = channel();
        let metrics = Metrics::new();
        let log = logged(Some(Box::new(Stuck(stuck))), LogFormat::Json, &metrics);
        let lines = WAITING_BYTES / 1024 + 5_000;
        for _ in 0..lines {
            log.write(|_, line| line.push_str(&"x".repeat(1023)));
        }
        assert!(metrics.log_dropped.get() > 0);
        drop(go);
        drop(log);
        assert_eq!(
            metrics.log_dropped.get() + metrics.log_lines.get(),
            lines as u64
        );
    }
}
