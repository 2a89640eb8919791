//! The access log's writer: a thread of its own behind a bounded line of waiting entries. A request never waits for
//! it; what does not fit is dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::log_format::LogFormat;
use super::metrics::Metrics;

/// Entries that may wait.
const WAITING: usize = 32_768;
/// Bytes that may wait: a few hostile lines must not take what thousands of ordinary ones would.
const WAITING_BYTES: usize = 16 << 20;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Stdout,
    Stderr,
    /// Appended to; made if missing.
    File(PathBuf),
    None,
}

/// The most that is written at once, about; a gulp that fails is lost whole, and counted.
const GULP_BYTES: usize = 256 << 10;

/// How long lines gather before they are written, while there are any.
const GULP: Duration = Duration::from_millis(5);

/// How long the end of the process waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_secs(2);

/// The access log. Dropping it writes what waits, if somebody reads.
#[derive(Debug)]
pub struct AccessLog {
    format: LogFormat,
    sender: Option<SyncSender<String>>,
    /// Bytes that wait for the writer.
    waiting: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
    metrics: Metrics,
}

impl AccessLog {
    /// Opens the destination and starts the writer.
    pub fn open(
        destination: &Destination,
        format: LogFormat,
        metrics: Metrics,
    ) -> io::Result<AccessLog> {
        let out: Option<Box<dyn Write + Send>> = match destination {
            Destination::Stdout => Some(Box::new(io::stdout())),
            Destination::Stderr => Some(Box::new(io::stderr())),
            Destination::File(path) => {
                let file: File = OpenOptions::new().create(true).append(true).open(path)?;
                Some(Box::new(file))
            }
            Destination::None => None,
        };
        AccessLog::to(out, format, metrics)
    }

    fn to(
        out: Option<Box<dyn Write + Send>>,
        format: LogFormat,
        metrics: Metrics,
    ) -> io::Result<AccessLog> {
        let Some(out) = out else {
            return Ok(AccessLog {
                format,
                sender: None,
                waiting: Arc::default(),
                thread: Mutex::new(None),
                metrics,
            });
        };
        let (sender, receiver) = sync_channel(WAITING);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (counted, written) = (metrics.clone(), waiting.clone());
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(receiver, out, &counted, &written))?;
        Ok(AccessLog {
            format,
            sender: Some(sender),
            waiting,
            thread: Mutex::new(Some(thread)),
            metrics,
        })
    }

    /// The format of its lines.
    pub fn format(&self) -> &LogFormat {
        &self.format
    }

    /// Whether lines go anywhere.
    pub fn is_on(&self) -> bool {
        self.sender.is_some()
    }

    /// Hands a line over, without its end.
    pub fn put(&self, line: String) {
        let Some(sender) = &self.sender else { return };
        let size = line.capacity();
        if self.waiting.fetch_add(size, Ordering::Relaxed) + size > WAITING_BYTES {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.metrics.log_dropped.inc();
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sender.try_send(line) {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.metrics.log_dropped.inc();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.sender = None;
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
fn write_lines(
    lines: Receiver<String>,
    mut out: Box<dyn Write + Send>,
    metrics: &Metrics,
    waiting: &AtomicUsize,
) {
    let mut gulp = String::new();
    let mut failing = false;
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while next.is_some() {
            gulp.clear();
            let mut count = 0;
            while let Some(line) = next {
                waiting.fetch_sub(line.capacity(), Ordering::Relaxed);
                gulp.push_str(&line);
                gulp.push('\n');
                count += 1;
                next = if gulp.len() < GULP_BYTES {
                    lines.try_recv().ok()
                } else {
                    None
                };
            }
            let written = out.write_all(gulp.as_bytes()).and_then(|()| out.flush());
            note(written, count, &mut failing, metrics);
            std::thread::sleep(GULP);
            next = lines.try_recv().ok();
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

    #[test]
    fn dropping_the_log_writes_what_waits() {
        let out = Shared::default();
        let metrics = Metrics::new();
        let log = AccessLog::to(
            Some(Box::new(out.clone())),
            LogFormat::Json,
            metrics.clone(),
        )
        .unwrap();
        for n in 0..100 {
            log.put(format!("{n}"));
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
        let log = AccessLog::to(
            Some(Box::new(Stuck(stuck))),
            LogFormat::Json,
            metrics.clone(),
        )
        .unwrap();
        for _ in 0..40 {
            log.put("x".repeat(1 << 20));
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
        let log = AccessLog::to(
            Some(Box::new(Stuck(stuck))),
            LogFormat::Json,
            metrics.clone(),
        )
        .unwrap();
        for _ in 0..WAITING + 5_000 {
            log.put("x".repeat(64));
        }
        assert!(metrics.log_dropped.get() > 0);
        drop(go);
        drop(log);
        assert_eq!(
            metrics.log_dropped.get() + metrics.log_lines.get(),
            WAITING as u64 + 5_000
        );
    }
}
