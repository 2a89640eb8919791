//! The admin listener of a running gateway, as `penstock queue` asks it.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;
use crate::model::secret::Secret;

/// How long the listener may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take that does not wait for work to be done.
const ANSWER: Duration = Duration::from_secs(30);
/// The largest answer: a page of the largest messages.
const LARGEST_ANSWER: usize = 256 << 20;

/// A connection to an admin listener.
pub struct Client {
    base: String,
    /// The path that everything asked for is below.
    root: &'static str,
    token: Option<Secret<String>>,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// For the listener at `url` (`http://host:port`, or `host:port`); connects with the first question.
    pub fn new(url: &str, token: Option<Secret<String>>) -> Result<Client, Failure> {
        let base = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let wrong = || {
            Failure::usage(format!("{url:?} is not the address of an admin listener"))
                .help("write it as http://127.0.0.1:9901; the admin listener speaks plain HTTP")
        };
        let parsed: Uri = base.parse().map_err(|_| wrong())?;
        if parsed.scheme_str() != Some("http") || parsed.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        Ok(Client {
            base: base.trim_end_matches('/').to_owned(),
            root: "/v1/queues",
            token,
            http: legacy::Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// For what is below another path than that of the queues.
    pub fn at(self, root: &'static str) -> Client {
        Client { root, ..self }
    }

    /// Asks for something that is below the root, `/v1/queues`.
    pub async fn get<T: DeserializeOwned>(&self, below: &str) -> Result<T, Failure> {
        let asked = self.ask(Method::GET, below, Bytes::new());
        let help = "its disk may hang; its log and /readyz say more";
        self.within(ANSWER, asked, help).await
    }

    /// Has something done that is below the root; waits until it is.
    pub async fn post<T: DeserializeOwned>(
        &self,
        below: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::new(format!("the request cannot be written: {error}")))?;
        self.ask(Method::POST, below, body.into()).await
    }

    /// Has something begun that is below the root; what comes of it comes for as long as it lasts.
    pub async fn stream(&self, below: &str, body: &impl Serialize) -> Result<Incoming, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::new(format!("the request cannot be written: {error}")))?;
        let response = self.send(Method::POST, below, body.into()).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let bytes = self.whole(response.into_body()).await?;
        Err(self.refused(status, &bytes))
    }

    /// The same, for as long as `limit` at most: where somebody waits who cannot look, such as a pipeline.
    pub async fn post_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        below: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let help = "it may still do what was asked; its log and /readyz say more";
        self.within(limit, self.post(below, body), help).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<T, Failure>>,
        help: &'static str,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(limit, asked).await {
            Ok(answered) => answered,
            Err(_) => Err(Failure::new(format!(
                "the gateway at {} did not answer within {} s",
                self.base,
                limit.as_secs()
            ))
            .help(help)),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        below: &str,
        body: Bytes,
    ) -> Result<T, Failure> {
        let response = self.send(method, below, body).await?;
        let status = response.status();
        let bytes = self.whole(response.into_body()).await?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|_| self.stranger(status));
        }
        Err(self.refused(status, &bytes))
    }

    async fn send(
        &self,
        method: Method,
        below: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{}{below}", self.base, self.root)
            .parse()
            .map_err(|error| Failure::usage(format!("{}: {error}", self.base)))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token {
            let mut value =
                HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
                    Failure::usage("the admin token holds characters that no header can")
                })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let sent = self.http.request(request).await;
        sent.map_err(|error| self.unreachable(&error))
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, Failure> {
        let collected = Limited::new(body, LARGEST_ANSWER).collect().await;
        let broke = |error| Failure::new(format!("the answer of {} broke off: {error}", self.base));
        Ok(collected.map_err(broke)?.to_bytes())
    }

    fn refused(&self, status: StatusCode, bytes: &[u8]) -> Failure {
        let said = serde_json::from_slice::<Value>(bytes)
            .ok()
            .and_then(|answer| answer.get("error")?.as_str().map(str::to_owned));
        match said {
            Some(said) if status == StatusCode::FORBIDDEN => Failure::new(said).help(
                "the token is taken from the environment's PENSTOCK_ADMIN_TOKEN, or from the route file with -c FILE",
            ),
            Some(said) => Failure::new(said),
            None => self.stranger(status),
        }
    }

    fn unreachable(&self, error: &legacy::Error) -> Failure {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(below) = cause {
            reason = below.to_string();
            cause = below.source();
        }
        Failure::new(format!("no gateway answers at {}: {reason}", self.base)).help(
            "say where its admin listener is with --admin URL or -c FILE; for the files of a stopped gateway use \
             --store DIR",
        )
    }

    fn stranger(&self, status: StatusCode) -> Failure {
        Failure::new(format!(
            "{} answers ({status}), but not as the admin listener of this version of penstock does",
            self.base
        ))
        .help("give the address that `penstock serve` prints as \"admin on\"")
    }
}

/// The path of something that is asked of a queue.
pub fn below(queue: &str, verb: &str) -> String {
    format!("/{}/{verb}", utf8_percent_encode(queue, NON_ALPHANUMERIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_or_host_and_port() {
        for good in [
            "http://127.0.0.1:9901",
            "http://[::1]:9901/",
            "localhost:9901",
        ] {
            assert!(Client::new(good, None).is_ok(), "{good}");
        }
        for bad in ["https://127.0.0.1:9901", "", "http://", "a b:1"] {
            assert!(Client::new(bad, None).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_of_a_spool_is_one_segment_of_a_path() {
        assert_eq!(
            below("spool:sqs:https://x/o", "messages"),
            "/spool%3Asqs%3Ahttps%3A%2F%2Fx%2Fo/messages"
        );
    }
}
