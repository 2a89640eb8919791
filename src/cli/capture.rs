//! `penstock capture`: records the requests of a running gateway for a while, for `penstock replay`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use clap::Args;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;

use super::Exit;
use super::deploy::{At, ended};
use super::queue::Failure;
use crate::admin::capture::Wanted;
use crate::model::value::{ByteSize, Share};

/// Record the requests of a running gateway for a while, without their credentials, for `penstock replay`
#[derive(Debug, Args)]
pub struct Capture {
    /// How long, in seconds, up to a day
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The file that they are written to, readable by its owner alone; it must not be there yet [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only requests of this route, by its key, such as "POST /orders"; may be given several times
    #[arg(long = "route", value_name = "KEY")]
    routes: Vec<String>,
    /// Only this part of them, at random
    #[arg(long, default_value = "100%")]
    sample: Share,
    /// End after so many requests
    #[arg(long, value_name = "COUNT")]
    requests: Option<u64>,
    /// The longest body that is recorded
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    max_body: ByteSize,
    /// End once the recording is as long as this
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    max_size: ByteSize,
    #[command(flatten)]
    at: At,
}

/// The last line of a recording.
#[derive(Debug, Deserialize)]
struct End {
    penstock: String,
    reason: String,
    requests: u64,
    lost: u64,
}

/// Where lines go: whole ones alone, and none that is empty.
struct Lines<W> {
    out: W,
    half: Vec<u8>,
    last: Vec<u8>,
    /// Lines, the first one included.
    written: u64,
}

impl Capture {
    pub fn run(&self) -> Exit {
        ended(async {
            let client = self.at.client_at("/v1/capture")?;
            let wanted = Wanted {
                seconds: self.seconds,
                routes: self.routes.clone(),
                sample: self.sample.to_string(),
                max_body: usize::try_from(self.max_body.0).unwrap_or(usize::MAX),
                max_size: self.max_size.0,
                requests: self.requests.unwrap_or(u64::MAX),
            };
            let out = self.open()?;
            let begun = client.stream("", &wanted).await;
            let body = match (begun, &self.out) {
                (Ok(body), _) => body,
                (Err(failure), path) => {
                    // Nothing is in it, and the next try is not to meet it.
                    if let Some(path) = path {
                        let _ = std::fs::remove_file(path);
                    }
                    return Err(failure);
                }
            };
            eprintln!("recording for {} s; Ctrl-C ends it", self.seconds);
            let mut lines = Lines {
                out,
                half: Vec::new(),
                last: Vec::new(),
                written: 0,
            };
            let ended = lines.take(body).await;
            ended.map_err(|error| Failure::new(format!("the recording broke off: {error}")))?;
            Ok(self.told(&lines.last, lines.written))
        })
    }

    fn open(&self) -> Result<Box<dyn Write>, Failure> {
        let Some(path) = &self.out else {
            return Ok(Box::new(io::stdout()));
        };
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(path);
        let file = opened.map_err(|error| {
            let failure = Failure::new(format!("{}: {error}", path.display()));
            match error.kind() {
                io::ErrorKind::AlreadyExists => failure.help("give another name, or remove it"),
                _ => failure,
            }
        })?;
        Ok(Box::new(file))
    }

    /// How it ended.
    fn told(&self, last: &[u8], written: u64) -> Exit {
        let end = serde_json::from_slice::<End>(last).ok();
        let Some(end) = end.filter(|end| end.penstock == "end") else {
            let requests = written.saturating_sub(1);
            eprintln!("{requests} requests; the recording was ended before its time");
            return Exit::Ok;
        };
        let lost = match end.lost {
            0 => String::new(),
            lost => format!(", {lost} lost because they came faster than they could be sent"),
        };
        eprintln!("{} requests (ended by {}){lost}", end.requests, end.reason);
        Exit::Ok
    }
}

impl<W: Write> Lines<W> {
    /// Writes what comes, until there is no more or somebody presses Ctrl-C.
    async fn take(&mut self, mut body: Incoming) -> io::Result<()> {
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                pressed = tokio::signal::ctrl_c() => {
                    pressed?;
                    None
                }
            };
            match frame {
                None => return self.out.flush(),
                // The gateway has gone; what it sent is good.
                Some(Err(_)) => return self.out.flush(),
                Some(Ok(frame)) => self.put(frame.data_ref().map_or(&[], |data| data))?,
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.half.extend_from_slice(bytes);
        let Some(end) = self.half.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        let rest = self.half.split_off(end + 1);
        let whole = std::mem::replace(&mut self.half, rest);
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            if line != b"\n" {
                self.out.write_all(line)?;
                self.written += 1;
                line.clone_into(&mut self.last);
            }
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_alone_are_written_and_empty_ones_are_not() {
        let mut lines = Lines {
            out: Vec::new(),
            half: Vec::new(),
            last: Vec::new(),
            written: 0,
        };
        for piece in ["{\"a\":", "1}\n\n\n{\"b\"", ":2}\n{\"c\":"] {
            lines.put(piece.as_bytes()).unwrap();
        }
        assert_eq!(lines.out, b"{\"a\":1}\n{\"b\":2}\n");
        assert_eq!((lines.written, &*lines.last), (2, &b"{\"b\":2}\n"[..]));
    }
}
