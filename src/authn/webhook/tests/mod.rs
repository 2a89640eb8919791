//! The reference's vectors, and ours. Time is the vectors'; what would be fetched is in them.

mod attacks;
mod questions;
mod rejections;
mod tokens;
mod vectors;

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::fetch::Fetcher;
use super::live::Judged;
use super::request::hex;
use super::verdict::Failure;
use super::{Config, Spec, WebhookAuthenticator};
use crate::model::call::Call;
use crate::model::identity::{Delivery, Presented};
use crate::model::path::ConfigPath;
use crate::model::peer::Peer;
use crate::model::problem::Problems;
use crate::telemetry::Webhooks;

/// What is written, compiled; or every problem.
pub(super) fn compiled(written: Value) -> Result<Spec, Vec<String>> {
    let config: Config =
        serde_json::from_value(written).map_err(|error| vec![error.to_string()])?;
    let mut problems = Problems::default();
    let spec = config.compile("hooks", &ConfigPath::root(), &mut problems);
    let said: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    spec.filter(|_| !problems.has_errors()).ok_or(said)
}

/// A live authorizer; `answers`: what URLs give.
pub(super) fn live(written: Value, answers: HashMap<String, String>) -> WebhookAuthenticator {
    tried(written, answers).unwrap_or_else(|said| panic!("{said:#?}"))
}

/// The same, where it might not compile.
pub(super) fn tried(
    written: Value,
    answers: HashMap<String, String>,
) -> Result<WebhookAuthenticator, Vec<String>> {
    Ok(over(compiled(written)?, answers))
}

/// The live authorizer of what has been compiled.
pub(super) fn over(spec: Spec, answers: HashMap<String, String>) -> WebhookAuthenticator {
    let fetcher = Fetcher::Canned(Arc::new(answers));
    let metrics = Webhooks::default();
    WebhookAuthenticator::with_fetcher(Arc::new(spec), fetcher, &metrics, false)
}

/// A request; a header may stand there several times.
pub(super) fn call(method: &str, target: &str, headers: &[(&str, &str)]) -> Call {
    let mut request = http::Request::builder().method(method).uri(target);
    if let Some(map) = request.headers_mut() {
        for (name, value) in headers {
            map.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
    }
    let any = "127.0.0.1:1".parse().unwrap();
    let peer = Arc::new(Peer::tcp(any, any, "public"));
    Call::new(request.body(()).unwrap().into_parts().0, peer)
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Said {
    Delivery(Delivery),
    Answer(Response<Bytes>),
    Refused(Failure),
}

impl Said {
    /// The code of the reference.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Said::Delivery(_) => "ok",
            Said::Answer(_) => "handshake",
            Said::Refused(failure) => failure.code.name(),
        }
    }

    pub(super) fn delivery(self) -> Delivery {
        match self {
            Said::Delivery(delivery) => delivery,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) async fn judged(
    authenticator: &WebhookAuthenticator,
    call: &Call,
    body: &[u8],
    now: i64,
) -> Said {
    let none = IndexMap::new();
    let presented = Presented {
        call,
        api: "api",
        stage: "$default",
        route_key: "POST /in",
        path: call.raw_path(),
        path_variables: &[],
        stage_variables: &none,
        now,
    };
    let body = Bytes::copy_from_slice(body);
    match Box::pin(authenticator.judge(&presented, &body, false)).await {
        Ok(Judged::Delivery(delivery)) => Said::Delivery(*delivery),
        Ok(Judged::Answer(answer)) => Said::Answer(answer),
        Ok(Judged::NoQuestion) => panic!("questions alone were not asked for"),
        Err(failure) => Said::Refused(failure),
    }
}

/// The configuration that a preset needs besides secrets.
pub(super) fn preset(name: &str, secrets: &[&str]) -> Value {
    json!({ "preset": name, "secrets": secrets })
}

pub(super) const NOW: i64 = 1_700_000_000;

pub(super) fn sha256_mac(secret: &str, message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::sign(&key, message).as_ref().to_vec()
}

pub(super) fn github(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hex(&sha256_mac(secret, body)))
}

pub(super) async fn said(
    written: Value,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Said {
    judged(
        &live(written, HashMap::new()),
        &call(method, target, headers),
        body,
        NOW,
    )
    .await
}
