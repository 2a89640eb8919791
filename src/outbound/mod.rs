//! Requests that the gateway makes itself, beside those of the AWS SDK: keys, discovery documents, authorizers,
//! certificates. One pool of connections, the proxy of the environment, no redirects, a bounded answer, a deadline.
//!
//! Whose URL it is decides where it may point (fine print, 5): what an operator wrote may point anywhere; what a
//! request or a stranger's document named may not point at loopback, private, link-local and metadata addresses,
//! unless `egress.allow` says so. The address is checked after the name is resolved, and that address is used.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are followed, in either case. A proxy that is asked for a
//! stranger's host is not believed to know better: a host that this machine can resolve is checked here first.

mod address;
mod connect;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector};
use hyper_util::client::legacy;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use rustls_pki_types::ServerName;
use schemars::JsonSchema;
use serde::Deserialize;

use connect::{Dial, Refused};

pub use address::is_public;
pub use connect::tls;

/// How the gateway's own requests go out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Egress")]
pub struct Settings {
    /// Networks that URLs out of requests (a webhook's certificate, say) may point at although they are private:
    /// `10.0.0.0/8`. URLs that the configuration itself names may point anywhere. Default: none.
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<IpNet>,
    /// A PEM file of certificate authorities to trust beside those of the system.
    pub ca: Option<PathBuf>,
    /// SHA-256 of what was in that file when the configuration was read: with other authorities these are other settings.
    #[serde(skip)]
    #[schemars(skip)]
    pub ca_digest: Option<[u8; 32]>,
}

/// Whose words a URL is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The configuration's, or a document's at the same origin.
    ByOperator,
    /// A request's, or another origin's.
    ByStranger,
}

/// What one exchange may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From the name's look-up to the last byte.
    pub timeout: Duration,
    /// Of the answer's body, in bytes.
    pub max_body: usize,
}

/// Why there is no answer. The text is for logs; it holds no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("{0} is not a URL that can be fetched")]
    Url(String),
    #[error("{host} is {address}, and a URL out of a request may not point there")]
    Forbidden { host: String, address: String },
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("the answer is over {0} bytes")]
    TooLarge(usize),
    /// No connection came about, so nothing was sent.
    #[error("{0}")]
    NotConnected(String),
    /// The other end's certificate was refused, or it speaks no TLS.
    #[error("{0}")]
    Untrusted(String),
    #[error("{0}")]
    Failed(String),
}

/// The client. Cloning shares its connections.
#[derive(Clone, Debug)]
pub struct Client(Arc<ArcSwap<Inner>>);

type Http = legacy::Client<HttpsConnector<Dial>, Full<Bytes>>;

#[derive(Debug)]
struct Inner {
    settings: Settings,
    proxies: Arc<Matcher>,
    /// Made when first needed: reading the system's authorities takes a while. One for the operator's URLs and one for
    /// strangers', so that no connection of the one is used for the other.
    clients: OnceLock<Result<Clients, String>>,
}

#[derive(Debug)]
struct Clients {
    operators: Http,
    strangers: Http,
    tls: rustls::ClientConfig,
    /// For the operator's URLs whose host is asked for under another name.
    under: Mutex<HashMap<String, Http>>,
}

impl Default for Client {
    fn default() -> Self {
        Client::new(Settings::default())
    }
}

impl Client {
    /// A client with the proxies of the environment as it is now. Opens nothing.
    pub fn new(settings: Settings) -> Client {
        Client::with_proxies(settings, Matcher::from_env())
    }

    fn with_proxies(settings: Settings, proxies: Matcher) -> Client {
        Client(Arc::new(ArcSwap::from_pointee(Inner {
            settings,
            proxies: Arc::new(proxies),
            clients: OnceLock::new(),
        })))
    }

    /// Does all that is done from now on as `other` does. Exchanges that are under way end as they began.
    pub fn become_like(&self, other: &Client) {
        self.0.store(other.0.load_full());
    }

    /// Makes one exchange. Any status is an answer; redirects are answers too, and are not followed.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        named: Named,
        bounds: Bounds,
    ) -> Result<Response<Bytes>, FetchError> {
        let exchange = self.exchange(request, named, None, bounds.max_body);
        tokio::time::timeout(bounds.timeout, exchange)
            .await
            .unwrap_or(Err(FetchError::Timeout(bounds.timeout)))
    }

    /// The same for an operator's URL, over TLS under this name: it is asked for, and the certificate has to have it,
    /// whatever host the URL names.
    pub async fn send_under(
        &self,
        request: Request<Bytes>,
        name: &str,
        bounds: Bounds,
    ) -> Result<Response<Bytes>, FetchError> {
        let exchange = self.exchange(request, Named::ByOperator, Some(name), bounds.max_body);
        tokio::time::timeout(bounds.timeout, exchange)
            .await
            .unwrap_or(Err(FetchError::Timeout(bounds.timeout)))
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        named: Named,
        under: Option<&str>,
        max_body: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        let inner = self.0.load_full();
        let request = inner.prepared(request)?;
        let client = inner.client_of(named, under).await?;
        let answer = client.request(request.map(Full::new)).await;
        let (head, body) = answer.map_err(|error| failed(&error))?.into_parts();
        let declared = http_body::Body::size_hint(&body).lower();
        if declared > max_body as u64 {
            return Err(FetchError::TooLarge(max_body));
        }
        let body = Limited::new(body, max_body)
            .collect()
            .await
            .map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => FetchError::TooLarge(max_body),
                None => FetchError::Failed(format!("the answer broke off: {error}")),
            })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

impl Inner {
    /// The request with what a server needs to be asked: a path, and a proxy's credentials where one is asked in clear.
    fn prepared(&self, mut request: Request<Bytes>) -> Result<Request<Bytes>, FetchError> {
        let uri = request.uri();
        let web = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme());
        if !web || uri.host().is_none_or(str::is_empty) {
            return Err(FetchError::Url(shown(uri)));
        }
        if uri.scheme() == Some(&Scheme::HTTP)
            && let Some(proxy) = self.proxies.intercept(uri)
            && let Some(credentials) = proxy.basic_auth()
        {
            let credentials = credentials.clone();
            request
                .headers_mut()
                .insert(http::header::PROXY_AUTHORIZATION, credentials);
        }
        if request.uri().path_and_query().is_none() {
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = Some(PathAndQuery::from_static("/"));
            *request.uri_mut() =
                Uri::from_parts(parts).map_err(|error| FetchError::Url(error.to_string()))?;
        }
        request
            .headers_mut()
            .entry(http::header::USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!(
                "penstock/",
                env!("CARGO_PKG_VERSION")
            )));
        Ok(request)
    }

    async fn client_of(
        self: &Arc<Inner>,
        named: Named,
        under: Option<&str>,
    ) -> Result<Http, FetchError> {
        if self.clients.get().is_none() {
            let inner = self.clone();
            let made = tokio::task::spawn_blocking(move || {
                inner.clients.get_or_init(|| inner.connect());
            });
            made.await
                .map_err(|error| FetchError::Failed(error.to_string()))?;
        }
        let clients = match self.clients.get() {
            Some(Ok(clients)) => clients,
            Some(Err(reason)) => return Err(FetchError::Failed(reason.clone())),
            None => return Err(FetchError::Failed("the client was not made".to_owned())),
        };
        match (named, under) {
            (Named::ByOperator, None) => Ok(clients.operators.clone()),
            (Named::ByStranger, _) => Ok(clients.strangers.clone()),
            (Named::ByOperator, Some(name)) => clients.under(name, self),
        }
    }
}

impl Clients {
    /// The client that asks for hosts under this name.
    fn under(&self, name: &str, inner: &Inner) -> Result<Http, FetchError> {
        let mut known = self.under.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(name) {
            return Ok(client.clone());
        }
        let server = ServerName::try_from(name.to_owned())
            .map_err(|error| FetchError::Untrusted(format!("{name}: {error}")))?;
        let client = inner.client(&self.tls, Named::ByOperator, Some(server));
        known.insert(name.to_owned(), client.clone());
        Ok(client)
    }
}

impl Inner {
    fn connect(&self) -> Result<Clients, String> {
        let tls = connect::tls(self.settings.ca.as_deref())?;
        Ok(Clients {
            operators: self.client(&tls, Named::ByOperator, None),
            strangers: self.client(&tls, Named::ByStranger, None),
            under: Mutex::default(),
            tls,
        })
    }

    fn client(
        &self,
        tls: &rustls::ClientConfig,
        named: Named,
        under: Option<ServerName<'static>>,
    ) -> Http {
        let dial = Dial {
            proxies: self.proxies.clone(),
            allow: match named {
                Named::ByOperator => None,
                Named::ByStranger => Some(self.settings.allow.clone().into()),
            },
        };
        let builder = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http();
        let builder = match under {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_timer(TokioTimer::new())
            .build(builder.enable_http1().wrap_connector(dial))
    }
}

/// Whether a file holds authorities that can be trusted; why not.
pub fn check_ca(file: &Path) -> Result<(), String> {
    connect::add(&mut rustls::RootCertStore::empty(), file)
}

/// A URL as it may be shown: without user, password and query.
fn shown(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    format!(
        "{}://{host}{}",
        uri.scheme_str().unwrap_or_default(),
        uri.path()
    )
}

/// What went wrong, from the outermost error to the cause of all.
fn failed(error: &legacy::Error) -> FetchError {
    let mut causes = Vec::new();
    let mut refused_by_tls = false;
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return FetchError::Forbidden {
                host: refused.host.clone(),
                address: refused.address.to_string(),
            };
        }
        causes.push(error.to_string());
        refused_by_tls |= is_of_tls(error);
        cause = error.source();
    }
    causes.dedup();
    let said = causes.join(": ");
    match error.is_connect() {
        true if refused_by_tls => FetchError::Untrusted(said),
        true => FetchError::NotConnected(said),
        false => FetchError::Failed(said),
    }
}

/// Whether it is a refusal of rustls', which lies in an I/O error and that in another one: `source` passes such by.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    let within = error.downcast_ref::<std::io::Error>();
    within
        .and_then(std::io::Error::get_ref)
        .is_some_and(|inner| is_of_tls(inner))
}
