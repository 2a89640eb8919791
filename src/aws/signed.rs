//! Calls to services for which no SDK crate is built in: plain HTTP, signed (Signature Version 4) with the same
//! credentials, region and endpoints as the SDK's.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Response, Uri};
use serde_json::Value;
use tokio::time::Instant;

use super::error::setup;
use super::lean::refusal;
use super::sigv4::{self, Key, Signable, Stamp, canonical_path, canonical_query};
use super::{CallError, Clients, region_for};
use crate::outbound::{self, Bounds, FetchError, Named};

/// The largest answer, in bytes: Lambda gives up to 6 MB.
const MAX_ANSWER: usize = 6 * 1024 * 1024;

/// A service that is called without its SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Lambda,
    SecretsManager,
    Ssm,
    S3,
    /// AppConfig's data plane.
    AppConfigData,
}

impl Service {
    /// The name in host names.
    pub fn name(self) -> &'static str {
        match self {
            Service::Lambda => "lambda",
            Service::SecretsManager => "secretsmanager",
            Service::Ssm => "ssm",
            Service::S3 => "s3",
            Service::AppConfigData => "appconfigdata",
        }
    }

    /// The name in credential scopes.
    fn signing_name(self) -> &'static str {
        match self {
            Service::AppConfigData => "appconfig",
            other => other.name(),
        }
    }
}

impl Clients {
    /// Makes one signed call. `request`: its URI is path and query alone. An answer of 300 or more is
    /// [`CallError::Refused`], with the code and message of an AWS JSON error where it has them.
    pub async fn signed(
        &self,
        via: &outbound::Client,
        service: Service,
        region: Option<&str>,
        request: Request<Bytes>,
        deadline: Instant,
    ) -> Result<Response<Bytes>, CallError> {
        let inner = self.inner();
        let ready = inner.ready(deadline).await?;
        let shared = &ready.config;
        let region = region_for(region, shared)?;
        let own = &inner.settings.endpoints;
        let own = match service {
            Service::Lambda => own.lambda.as_deref(),
            Service::SecretsManager => own.secretsmanager.as_deref(),
            Service::Ssm => own.ssm.as_deref(),
            // Only a configuration that is kept there is fetched from these, and it cannot say where they are.
            Service::S3 | Service::AppConfigData => None,
        };
        let endpoint = match own.or(shared.endpoint_url()) {
            Some(written) => written.to_owned(),
            None => default_endpoint(service, &region),
        };
        let mut request = addressed(request, &endpoint)?;
        let stamp = inner.lean.clock.stamp(SystemTime::now());
        sign(
            &mut request,
            &*ready.credentials()?,
            &region,
            service,
            &stamp,
        )?;
        let bounds = Bounds {
            timeout: deadline.saturating_duration_since(Instant::now()),
            max_body: MAX_ANSWER,
        };
        let answer = via
            .send(request, Named::ByOperator, bounds)
            .await
            .map_err(not_answered)?;
        if answer.status().as_u16() >= 300 {
            let (head, body) = answer.into_parts();
            return Err(CallError::Refused(Box::new(refusal(&head, body))));
        }
        Ok(answer)
    }

    /// A call of the AWS JSON 1.1 protocol.
    pub async fn json_call(
        &self,
        via: &outbound::Client,
        service: Service,
        target: &str,
        input: &Value,
        timeout: Duration,
    ) -> Result<Value, CallError> {
        let request = Request::post("/")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .body(Bytes::from(input.to_string()))
            .map_err(|error| setup("InvalidRequest", error.to_string()))?;
        let deadline = Instant::now() + timeout;
        let answer = self.signed(via, service, None, request, deadline).await?;
        serde_json::from_slice(answer.body()).map_err(|error| CallError::Lost {
            reason: format!("the answer is not JSON: {error}"),
        })
    }
}

fn default_endpoint(service: Service, region: &str) -> String {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://{}.{region}.{domain}", service.name())
}

/// The request at the endpoint, which may have a path of its own.
fn addressed(request: Request<Bytes>, endpoint: &str) -> Result<Request<Bytes>, CallError> {
    let wrong =
        |error: &dyn std::fmt::Display| setup("InvalidEndpoint", format!("{endpoint}: {error}"));
    let base: Uri = endpoint.parse().map_err(|error| wrong(&error))?;
    let authority: Authority = base
        .authority()
        .cloned()
        .ok_or_else(|| wrong(&"it names no host"))?;
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", PathAndQuery::as_str);
    let uri = Uri::builder()
        .scheme(base.scheme_str().unwrap_or("https"))
        .authority(authority)
        .path_and_query(format!("{}{path}", base.path().trim_end_matches('/')))
        .build()
        .map_err(|error| wrong(&error))?;
    let (mut head, body) = request.into_parts();
    head.uri = uri;
    Ok(Request::from_parts(head, body))
}

fn not_answered(error: FetchError) -> CallError {
    let reason = error.to_string();
    match error {
        FetchError::Url(_) | FetchError::Forbidden { .. } => setup("InvalidEndpoint", reason),
        FetchError::NotConnected(_) => CallError::NotSent { reason },
        FetchError::Untrusted(_) => setup("TlsRefused", reason),
        FetchError::Timeout(_) | FetchError::TooLarge(_) | FetchError::Failed(_) => {
            CallError::Lost { reason }
        }
    }
}

/// Adds what proves whose request it is: the date, the session's token, the signature over all that is there by then.
fn sign(
    request: &mut Request<Bytes>,
    credentials: &Credentials,
    region: &str,
    service: Service,
    stamp: &Stamp,
) -> Result<(), CallError> {
    let unfit = |what: &str| setup("InvalidRequest", format!("{what} cannot be signed"));
    let uri = request.uri().clone();
    let host = sigv4::host(&uri).and_then(|host| HeaderValue::try_from(host).ok());
    let headers = request.headers_mut();
    headers.insert(HOST, host.ok_or_else(|| unfit("the host"))?);
    headers.insert(sigv4::DATE, stamp.header().clone());
    if let Some(token) = credentials.session_token() {
        let mut token = HeaderValue::from_str(token).map_err(|_| unfit("the session token"))?;
        token.set_sensitive(true);
        headers.insert(sigv4::TOKEN, token);
    }
    // S3 signs the path as it is sent, and wants the body's hash in a header (Signature Version 4, S3 API reference).
    let path = match service {
        Service::S3 => {
            let hash = sigv4::hashed(request.body());
            let hash = HeaderValue::try_from(hash).map_err(|_| unfit("the hash"))?;
            request.headers_mut().insert(sigv4::CONTENT_SHA256, hash);
            uri.path().to_owned()
        }
        _ => canonical_path(uri.path()),
    };
    let mut signed = Vec::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        let value = value.to_str().map_err(|_| unfit(name.as_str()))?;
        signed.push((name.as_str(), value));
    }
    signed.sort_unstable();
    let key = Key::new(
        credentials.access_key_id(),
        credentials.secret_access_key(),
        stamp.day(),
        region,
        service.signing_name(),
    );
    let signable = Signable {
        method: request.method().as_str(),
        path: &path,
        query: &canonical_query(uri.query().unwrap_or_default()),
        headers: &signed,
        body: request.body(),
    };
    let authorization = key.authorization(stamp, &signable);
    let mut authorization = HeaderValue::from_maybe_shared(Bytes::from(authorization))
        .map_err(|_| unfit("the access key"))?;
    authorization.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, authorization);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn server(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&bytes[..read]).into_owned()
        });
        (address, heard)
    }

    #[tokio::test]
    async fn a_call_is_signed_for_its_service_and_its_answer_read() {
        let (address, heard) =
            server("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"Name\":\"abc\"}").await;
        let answer = Clients::for_tests(&address)
            .json_call(
                &outbound::Client::default(),
                Service::SecretsManager,
                "secretsmanager.GetSecretValue",
                &serde_json::json!({"SecretId": "x"}),
                Duration::from_secs(5),
            )
            .await;
        assert!(
            matches!(answer, Err(CallError::Lost { .. })),
            "13 of 14 bytes: {answer:?}"
        );
        let asked = heard.await.unwrap().to_lowercase();
        assert!(asked.contains("/secretsmanager/aws4_request"), "{asked}");
        assert!(
            asked.contains("x-amz-target: secretsmanager.getsecretvalue"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn a_refusal_has_the_service_s_code_and_message() {
        let (address, _heard) = server(
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 55\r\n\r\n{\"__type\":\"a.b#ResourceNotFound\",\"Message\":\"no secret\"}\n",
        )
        .await;
        let called = Clients::for_tests(&address)
            .json_call(
                &outbound::Client::default(),
                Service::Ssm,
                "AmazonSSM.GetParameter",
                &serde_json::json!({}),
                Duration::from_secs(5),
            )
            .await;
        let Err(CallError::Refused(refusal)) = called else {
            panic!("not refused");
        };
        assert_eq!(
            (refusal.status, refusal.code.as_str()),
            (400, "ResourceNotFound")
        );
        assert_eq!(refusal.message, "no secret");
    }

    #[test]
    fn an_endpoint_may_have_a_path() {
        let request = Request::post("/2015-03-31/functions/f/invocations?Qualifier=1")
            .body(Bytes::new())
            .unwrap();
        let request = addressed(request, "http://127.0.0.1:4566/base/").unwrap();
        assert_eq!(
            request.uri().to_string(),
            "http://127.0.0.1:4566/base/2015-03-31/functions/f/invocations?Qualifier=1"
        );
    }
}
