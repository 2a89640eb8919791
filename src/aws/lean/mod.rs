//! Our own client for the calls that requests wait for most: the sends to SQS, Kinesis and EventBridge. A call of the
//! SDK costs 45 to 60 µs of CPU before its first byte; these cost a quarter of it. Credentials, endpoints and settings
//! are the SDK's (`destination.rs`), and every error is the [`CallError`] that the SDK's would have become. DynamoDB,
//! whose SDK is not built in, is called by it too (`unbuilt.rs` says where). All other operations stay with the SDK.
//!
//! No call is sent twice, with two exceptions that cannot make a duplicate: a connection that was closed before a byte
//! was written, and a refusal because of the time of the signature, which is signed anew once.

mod answer;
mod body;
mod destination;
mod http;
mod unbuilt;

use std::sync::Arc;
use std::time::SystemTime;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST, PROXY_AUTHORIZATION, USER_AGENT};
use ::http::response::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use arc_swap::ArcSwapOption;
use aws_credential_types::Credentials;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::time::Instant;

pub use self::answer::Reply;
pub(super) use self::answer::refusal;
pub use self::body::Body;

use self::destination::{Destination, Signing, Taken};
use self::http::Http;
use super::clock::Clock;
use super::error::{self, setup};
use super::sigv4::{self, Signable, Stamp};
use super::{ByRegion, CallError, Clients, Inner, region_for};

/// The largest answer that is read: far above what 500 verdicts take.
const MAX_ANSWER: usize = 10 * 1024 * 1024;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// What our own client can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    SendMessage,
    SendMessageBatch,
    DeleteMessageBatch,
    PutRecord,
    PutRecords,
    PutEvents,
    GetItem,
    PutItem,
    DescribeTable,
    Scan,
    Query,
}

/// The service of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Sqs,
    Kinesis,
    EventBridge,
    DynamoDb,
}

impl Operation {
    /// Whether it changes nothing: an answer that is lost is no loss.
    pub fn only_reads(self) -> bool {
        matches!(
            self,
            Operation::GetItem | Operation::DescribeTable | Operation::Scan | Operation::Query
        )
    }

    fn of(self) -> Of {
        match self {
            Operation::SendMessage
            | Operation::SendMessageBatch
            | Operation::DeleteMessageBatch => Of::Sqs,
            Operation::PutRecord | Operation::PutRecords => Of::Kinesis,
            Operation::PutEvents => Of::EventBridge,
            Operation::GetItem
            | Operation::PutItem
            | Operation::DescribeTable
            | Operation::Scan
            | Operation::Query => Of::DynamoDb,
        }
    }

    /// `x-amz-target`.
    fn target(self) -> &'static str {
        match self {
            Operation::SendMessage => "AmazonSQS.SendMessage",
            Operation::SendMessageBatch => "AmazonSQS.SendMessageBatch",
            Operation::DeleteMessageBatch => "AmazonSQS.DeleteMessageBatch",
            Operation::PutRecord => "Kinesis_20131202.PutRecord",
            Operation::PutRecords => "Kinesis_20131202.PutRecords",
            Operation::PutEvents => "AWSEvents.PutEvents",
            Operation::GetItem => "DynamoDB_20120810.GetItem",
            Operation::PutItem => "DynamoDB_20120810.PutItem",
            Operation::DescribeTable => "DynamoDB_20120810.DescribeTable",
            Operation::Scan => "DynamoDB_20120810.Scan",
            Operation::Query => "DynamoDB_20120810.Query",
        }
    }

    fn content_type(self) -> &'static str {
        match self.of() {
            Of::Sqs | Of::DynamoDb => "application/x-amz-json-1.0",
            Of::Kinesis | Of::EventBridge => "application/x-amz-json-1.1",
        }
    }
}

type Slot = Arc<ArcSwapOption<Signing>>;

/// What the calls share.
#[derive(Debug)]
pub(super) struct Lean {
    http: Http,
    pub(super) clock: Clock,
    sqs: ByRegion<Slot>,
    kinesis: ByRegion<Slot>,
    eventbridge: ByRegion<Slot>,
    dynamodb: ByRegion<Slot>,
}

impl Clients {
    /// Makes a call in that region, else in the default one, and gives the answer, whatever it says of entries. The
    /// deadline bounds only the wait for the first credentials: the caller bounds the rest.
    ///
    /// # Errors
    /// An answer of 300 and above is [`CallError::Refused`].
    pub async fn call(
        &self,
        operation: Operation,
        region: Option<&str>,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let inner = self.inner();
        let ready = inner.ready(deadline).await?;
        let region = region_for(region, &ready.config)?;
        let http = &inner.lean.http;
        let mut first = true;
        loop {
            let credentials = ready.credentials()?;
            let sent = SystemTime::now();
            let stamp = inner.lean.clock.stamp(sent);
            let signing = inner
                .signing(operation.of(), &region, credentials, &stamp, http)
                .await?;
            let request = signed(operation, &signing, &stamp, body.clone())?;
            let answer = http.pool.request(request).await;
            let (head, body) = answer
                .map_err(|error| error::not_answered(&error))?
                .into_parts();
            let body = whole(body).await;
            match Reply::of(&head, body) {
                Err(CallError::Refused(refusal))
                    if first && inner.learns(&refusal.code, &head, &stamp, sent) =>
                {
                    first = false;
                }
                outcome => return outcome,
            }
        }
    }
}

impl Inner {
    /// Whether the refusal is one for the time of the signature, and says what the time is.
    fn learns(&self, code: &str, head: &Parts, signed: &Stamp, sent: SystemTime) -> bool {
        let date = head.headers.get(DATE).and_then(|date| date.to_str().ok());
        let clock = &self.lean.clock;
        clock.learns(code, date, signed, sent, SystemTime::now())
    }

    /// What calls to the service are signed with: kept for as long as it serves.
    async fn signing(
        &self,
        of: Of,
        region: &str,
        credentials: Arc<Credentials>,
        stamp: &Stamp,
        http: &Http,
    ) -> Result<Arc<Signing>, CallError> {
        let slots = match of {
            Of::Sqs => &self.lean.sqs,
            Of::Kinesis => &self.lean.kinesis,
            Of::EventBridge => &self.lean.eventbridge,
            Of::DynamoDb => &self.lean.dynamodb,
        };
        let slot = slots.get(region, Slot::default);
        let kept = slot.load_full();
        if let Some(kept) = &kept
            && kept.serves(&credentials, stamp.day())
        {
            return Ok(kept.clone());
        }
        let destination = match kept.filter(|kept| kept.is_where(&credentials)) {
            Some(kept) => kept.destination.clone(),
            None => Arc::new(Box::pin(self.destination(of, region, http)).await?),
        };
        let signing = Arc::new(Signing::new(destination, credentials, stamp.day())?);
        slot.store(Some(signing.clone()));
        Ok(signing)
    }

    /// Where the SDK would call the service, or, where it is not built in, where its rules say.
    async fn destination(
        &self,
        of: Of,
        region: &str,
        http: &Http,
    ) -> Result<Destination, CallError> {
        const PLACEHOLDER: &str = "x";
        let now = Instant::now(); // credentials are there
        let taken = Taken::default();
        let error = match of {
            Of::Sqs => {
                let client = self.sqs(Some(region), now).await?;
                let call = client.send_message().queue_url(PLACEHOLDER);
                let call = call.message_body(PLACEHOLDER).customize();
                call.interceptor(taken.clone())
                    .send()
                    .await
                    .err()
                    .map(CallError::from)
            }
            Of::Kinesis => {
                let client = self.kinesis(Some(region), now).await?;
                let data = aws_smithy_types::Blob::new(PLACEHOLDER);
                let call = client.put_record().stream_name(PLACEHOLDER).data(data);
                let call = call.partition_key(PLACEHOLDER).customize();
                call.interceptor(taken.clone())
                    .send()
                    .await
                    .err()
                    .map(CallError::from)
            }
            Of::EventBridge => {
                let client = self.eventbridge(Some(region), now).await?;
                let entry = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder().build();
                let call = client.put_events().entries(entry).customize();
                call.interceptor(taken.clone())
                    .send()
                    .await
                    .err()
                    .map(CallError::from)
            }
            Of::DynamoDb => {
                let own = self.settings.endpoints.dynamodb.as_deref();
                let shared = self.ready(now).await?.config;
                return Destination::new(unbuilt::DYNAMODB.address(own, &shared, region), http);
            }
        };
        Destination::new(taken.or(error)?, http)
    }
}

impl Default for Lean {
    fn default() -> Self {
        Lean {
            http: Http::new(Matcher::from_env()),
            clock: Clock::default(),
            sqs: ByRegion::default(),
            kinesis: ByRegion::default(),
            eventbridge: ByRegion::default(),
            dynamodb: ByRegion::default(),
        }
    }
}

impl Lean {
    /// Does ahead of the first call what takes a while.
    pub(super) fn warm(&self) -> impl Future<Output = ()> + Send + use<> {
        let http = self.http.clone();
        async move { http.warm().await }
    }
}

fn signed(
    operation: Operation,
    signing: &Signing,
    stamp: &Stamp,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, CallError> {
    let destination = &*signing.destination;
    let host = text(&destination.host)?;
    let token = signing.token.as_ref().map(text).transpose()?;
    let mut signable = [("", ""); 5];
    let mut headers = 0;
    for (name, value) in [
        ("content-type", Some(operation.content_type())),
        ("host", Some(host)),
        ("x-amz-date", Some(stamp.text())),
        ("x-amz-security-token", token),
        ("x-amz-target", Some(operation.target())),
    ] {
        if let Some(value) = value {
            signable[headers] = (name, value);
            headers += 1;
        }
    }
    let signable = Signable {
        method: "POST",
        path: &destination.path,
        query: "",
        headers: &signable[..headers],
        body: &body,
    };
    let authorization = signing.key.authorization(stamp, &signable);
    let mut authorization = HeaderValue::from_maybe_shared(Bytes::from(authorization))
        .map_err(|_| setup("InvalidRequest", "the access key is none".to_owned()))?;
    authorization.set_sensitive(true);

    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(HOST, destination.host.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(USER));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(operation.content_type()),
    );
    headers.insert(TARGET, HeaderValue::from_static(operation.target()));
    headers.insert(sigv4::DATE, stamp.header().clone());
    if let Some(token) = &signing.token {
        headers.insert(sigv4::TOKEN, token.clone());
    }
    if let Some(proxy) = &destination.proxy_authorization {
        headers.insert(PROXY_AUTHORIZATION, proxy.clone());
    }
    headers.insert(AUTHORIZATION, authorization);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = destination.uri.clone();
    *request.headers_mut() = headers;
    Ok(request)
}

fn text(value: &HeaderValue) -> Result<&str, CallError> {
    let text = value.to_str();
    text.map_err(|_| setup("InvalidRequest", "a header is not text".to_owned()))
}

const USER: &str = concat!("penstock/", env!("CARGO_PKG_VERSION"));

/// The whole body, or why it did not come.
async fn whole(body: Incoming) -> Result<Bytes, String> {
    let declared = hyper::body::Body::size_hint(&body).lower();
    if declared > MAX_ANSWER as u64 {
        return Err(format!("it is over {MAX_ANSWER} bytes"));
    }
    let collected = Limited::new(body, MAX_ANSWER).collect().await;
    let body = collected.map_err(|error| error::root_cause(&*error))?;
    Ok(body.to_bytes())
}

#[cfg(test)]
mod tests;
