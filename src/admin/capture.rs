//! `POST /v1/capture`: requests are recorded for a while, and the lines are the answer, as they come. Whoever asked has
//! gone: the recording ends.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval, sleep_until};

use super::api::body_within;
use super::guard::Guard;
use super::queues::Refused;
use crate::model::problem::nearest;
use crate::model::value::Share;
use crate::pipeline::Gateway;
use crate::telemetry::capture::{Recording, Selection, end};

/// The largest question, in bytes.
const LARGEST_QUESTION: usize = 64 << 10;
/// Recordings at once, the standing one included: each may hold 16 MiB.
const MOST: usize = 5;
/// The longest recording.
const LONGEST: u64 = 24 * 3600;
/// How often an empty line says that the recording goes on.
const BEAT: Duration = Duration::from_secs(5);
/// Bytes of lines that are sent at once, about.
const GULP: usize = 64 << 10;

/// What is to be recorded, and for how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    /// 1 to 86,400.
    pub seconds: u64,
    /// Route keys; none for all.
    pub routes: Vec<String>,
    /// Such as `10%`.
    pub sample: String,
    /// The longest body that is recorded, in bytes.
    pub max_body: usize,
    /// Bytes of lines after which it ends.
    pub max_size: u64,
    /// Requests after which it ends.
    pub requests: u64,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            seconds: 60,
            routes: Vec::new(),
            sample: "100%".to_owned(),
            max_body: 1 << 20,
            max_size: 256 << 20,
            requests: u64::MAX,
        }
    }
}

/// The lines of a recording, as a body.
pub struct Lines {
    /// `None` once it has ended.
    recording: Option<Recording>,
    /// Before everything else.
    first: Option<Bytes>,
    until: Pin<Box<Sleep>>,
    beat: Interval,
    bytes_left: u64,
    requests_left: u64,
    requests: u64,
}

/// Begins a recording.
pub(super) async fn answer(
    gateway: &Gateway,
    guard: &Guard,
    request: Request<Incoming>,
) -> Result<Response<Lines>, Refused> {
    guard.may_write(request.headers())?;
    let wanted: Wanted = body_within(request, LARGEST_QUESTION).await?;
    let selection = selection(gateway, &wanted)?;
    let captures = &gateway.telemetry.captures;
    if captures.count() >= MOST {
        return Err(Refused {
            status: StatusCode::CONFLICT,
            message: format!("{MOST} recordings are under way; wait for one to end"),
        });
    }
    tracing::info!(
        seconds = wanted.seconds,
        routes = ?wanted.routes,
        sample = wanted.sample,
        "Requests are recorded"
    );
    let lines = Lines::of(captures.record(selection), &wanted);
    let mut response = Response::new(lines);
    let form = HeaderValue::from_static("application/jsonl");
    response.headers_mut().insert(CONTENT_TYPE, form);
    Ok(response)
}

fn selection(gateway: &Gateway, wanted: &Wanted) -> Result<Selection, Refused> {
    if !(1..=LONGEST).contains(&wanted.seconds) {
        return Err(Refused::asked_wrongly(format!(
            "{} seconds; a recording lasts 1 to {LONGEST}",
            wanted.seconds
        )));
    }
    let sample: Share = wanted.sample.parse().map_err(Refused::asked_wrongly)?;
    let plan = gateway.current.load();
    for name in &wanted.routes {
        let routes = || plan.apis.iter().flat_map(|api| &api.routes);
        let known = || routes().map(|route| &*route.facts.key.0);
        if known().any(|key| key == name) {
            continue;
        }
        let close = nearest(name, known());
        let help = close.map_or_else(String::new, |close| format!("; did you mean {close:?}?"));
        return Err(Refused::asked_wrongly(format!(
            "there is no route {name:?}{help}"
        )));
    }
    Ok(Selection {
        routes: wanted.routes.clone(),
        sample,
        max_body: wanted.max_body,
    })
}

impl Lines {
    fn of(recording: Recording, wanted: &Wanted) -> Lines {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let first = terminated(recording.beginning());
        Lines {
            first: Some(first),
            until: Box::pin(sleep_until(
                Instant::now() + Duration::from_secs(wanted.seconds),
            )),
            beat,
            bytes_left: wanted.max_size,
            requests_left: wanted.requests,
            requests: 0,
            recording: Some(recording),
        }
    }

    /// The last line; nothing is recorded from here on.
    fn ended(&mut self, reason: &str) -> Bytes {
        let lost = self
            .recording
            .take()
            .map_or(0, |recording| recording.lost());
        tracing::info!(
            reason,
            requests = self.requests,
            lost,
            "The recording has ended"
        );
        terminated(end(reason, self.requests, lost))
    }

    /// Lines that are there, or the end.
    fn poll_lines(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(recording) = &mut self.recording else {
            return Poll::Ready(None);
        };
        if self.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(self.ended("time")));
        }
        let mut lines = Vec::new();
        let mut over = None;
        while lines.len() < GULP && over.is_none() {
            if self.requests_left == 0 {
                over = Some("requests");
                break;
            }
            match recording.poll_next(cx) {
                Poll::Ready(Some(taken)) => {
                    let line = recording.line(&taken);
                    let length = line.len() as u64 + 1;
                    if length > self.bytes_left {
                        over = Some("size");
                        break;
                    }
                    self.bytes_left -= length;
                    self.requests_left -= 1;
                    self.requests += 1;
                    recording.written(1);
                    lines.extend(line);
                    lines.push(b'\n');
                }
                Poll::Ready(None) => over = Some("stopped"),
                Poll::Pending => break,
            }
        }
        if let Some(reason) = over {
            let last = self.ended(reason);
            lines.extend(last);
        }
        if lines.is_empty() {
            ready!(self.beat.poll_tick(cx));
            lines.push(b'\n');
        }
        Poll::Ready(Some(lines.into()))
    }
}

impl Drop for Lines {
    /// Whoever asked has gone before the end.
    fn drop(&mut self) {
        if self.recording.is_some() {
            self.ended("left");
        }
    }
}

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.first.take() {
            Some(line) => Some(line),
            None => ready!(self.poll_lines(cx)),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn terminated(mut line: Vec<u8>) -> Bytes {
    line.push(b'\n');
    line.into()
}
