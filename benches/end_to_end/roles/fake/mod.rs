//! A fake AWS endpoint: SendMessage(Batch), PutRecord(s) and PutEvents over JSON. It looks at each signature's presence
//! and shape, computes the MD5s that SQS answers with, counts calls, records and duplicates, and can be slow, throttle,
//! fail, fail in part, and lose replies (`POST /mood`). `GET /stats` tells the counts, `GET /seen` how often each
//! numbered message was stored.

mod calls;
mod mood;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use self::calls::Service;
use self::mood::{Fate, State};
use crate::support::Outcome;

pub async fn serve() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let state = Arc::new(State::new());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = state.clone();
        let service = service_fn(move |request| answer(state.clone(), request));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

/// An error ends the connection without an answer.
async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/stats") => return json(200, state.stats().to_string()),
        (&Method::GET, "/seen") => return Ok(Response::new(Full::new(state.seen().into()))),
        (&Method::POST, "/mood") => {
            return match state.change(&body) {
                Ok(()) => json(200, "{}".to_owned()),
                Err(error) => json(400, error.to_string()),
            };
        }
        _ => {}
    }
    let action = head.headers.get("x-amz-target");
    let Some(service) = action
        .and_then(|action| action.to_str().ok())
        .and_then(Service::of)
    else {
        return json(400, calls::refusal("UnknownOperationException"));
    };
    state.called(service, calls::is_signed(&head.headers));
    state.think().await;
    match state.fate() {
        Fate::Throttled => json(400, calls::refusal(service.throttle())),
        Fate::Failed => json(503, calls::refusal("ServiceUnavailable")),
        Fate::Lost => {
            calls::perform(service, &body, &state).map_err(io::Error::other)?;
            Err(io::Error::other("the reply is lost"))
        }
        Fate::Answered => match calls::perform(service, &body, &state) {
            Ok(answer) => json(200, answer),
            Err(error) => {
                state.malformed();
                json(
                    400,
                    calls::refusal(&format!("SerializationException: {error}")),
                )
            }
        },
    }
}

fn json(status: u16, body: String) -> io::Result<Response<Full<Bytes>>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0")
        .body(Full::new(body.into()))
        .map_err(io::Error::other)
}
