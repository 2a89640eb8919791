//! `HTTP-Proxy`: the request, passed on to an HTTP backend, and its answer passed back. What the backend does with it
//! nobody here knows, so no promise goes with its 2xx.

mod changes;
mod forwarded;
mod url;

use std::borrow::Cow;
use std::fmt;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use indexmap::IndexMap;
use rustls_pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use tokio::time::Instant;

use self::changes::Changes;
use self::url::Url;
use super::answer::{Answered, NativeAnswer, Rendered};
use super::parameter::{Compiler, MapError};
use super::refusal::{Class, Service, TargetError};
use super::{Called, Effect, Kind, OwnKeys, Payload, Targets};
use crate::mapping::{Source, Sources};
use crate::model::header::remove_hop_by_hop;
use crate::model::request_id::RequestId;
use crate::model::route_key::METHODS;
use crate::model::text::Text;
use crate::model::value::ByteSize;
use crate::outbound::{Bounds, FetchError, Named};

/// The largest answer, unless `max_answer` says otherwise: what the vendor's gateway passes on.
const MAX_ANSWER: ByteSize = ByteSize::mib(10);

/// Passes the request on to an HTTP backend: method, path variables, query, headers and body. Its answer is the route's,
/// whatever its status. The route's `limits.timeout` holds. A 2xx promises nothing: the backend gave it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HTTP-Proxy")]
pub struct HttpProxy {
    /// The backend: `http://` or `https://`, over HTTP/1.1. `{name}` is what the request's path has in the place of that
    /// variable, as it was sent; the request's query is added. A host that comes out of the request may not be a private
    /// address (`egress.allow`).
    #[schemars(required)]
    url: Option<Text>,
    /// The method; `ANY` for the request's own. Default: `ANY`.
    method: Option<String>,
    /// The vendor's request mapping: `append:`, `overwrite:` and `remove:` of `header.NAME` and `querystring.NAME`, and
    /// `overwrite:path`. A change whose value does not resolve is left out. Reserved headers stay as they are, but for
    /// `authorization`.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, Text>")]
    request_parameters: IndexMap<String, Text>,
    /// The name that the backend's certificate has to have, and that TLS asks for. Default: the URL's host.
    server_name: Option<String>,
    /// Whether `X-Forwarded-For`, `-Host` and `-Proto` are sent beside `Forwarded`. Default: false.
    #[serde(default)]
    x_forwarded: bool,
    /// The largest answer that is passed on; above: 502. Default: 10MiB.
    max_answer: Option<ByteSize>,
}

/// A compiled `HTTP-Proxy`.
#[derive(Clone, Debug)]
pub struct Compiled {
    url: Url,
    method: Option<Method>,
    changes: Changes,
    server_name: Option<String>,
    x_forwarded: bool,
    max_answer: usize,
    /// Whether the route undoes content codings, so that the body is no longer in one.
    decodes: bool,
}

/// The request to the backend.
#[derive(Clone, PartialEq, Serialize)]
pub struct Request {
    #[serde(serialize_with = "as_text")]
    method: Method,
    url: String,
    #[serde(serialize_with = "by_name")]
    headers: HeaderMap,
    body: Payload,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    /// Whether the host came out of the request.
    #[serde(skip)]
    by_stranger: bool,
    #[serde(skip)]
    max_answer: usize,
}

impl fmt::Debug for Request {
    /// Headers, query and body may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split('?').next().unwrap_or_default();
        write!(f, "{} {url}", self.method)
    }
}

fn as_text<S: Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(method.as_str())
}

fn by_name<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.keys().map(|name| {
        let values = headers.get_all(name).iter();
        let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        (name.as_str(), texts.collect::<Vec<_>>().join(","))
    }))
}

/// The backend's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxied {
    status: StatusCode,
    headers: HeaderMap,
    body: bytes::Bytes,
}

impl Kind for HttpProxy {
    const NAME: &'static str = "HTTP-Proxy";
    const SERVICE: Service = Service::Http;
    const EFFECT: Effect = Effect::Passes;
    const FIELDS: &[&str] = &["status"];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Proxied;

    fn compile(&self, _: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let url = match &self.url {
            Some(text) => Url::compile(text, compiler),
            None => {
                compiler.error(
                    "url",
                    "the parameter `url` is missing",
                    "write where the backend is: http://alb.internal/{proxy}",
                );
                None
            }
        };
        let changes = Changes::compile(&self.request_parameters, compiler);
        let max_answer = self.max_answer.unwrap_or(MAX_ANSWER);
        if let Some(name) = &self.server_name {
            if ServerName::try_from(name.as_str()).is_err() {
                compiler.error(
                    "server_name",
                    format!("{name:?} is not a host's name"),
                    "write the name in the certificate: api.internal",
                );
            }
            if let Some(url) = &url
                && !url.is_https_of_the_operator()
            {
                compiler.error(
                    "server_name",
                    "there is a name to verify only where the URL begins with `https://` and names its host",
                    "write `https://`, or leave it out",
                );
            }
        }
        Some(Compiled {
            method: method(self.method.as_deref(), compiler),
            changes,
            server_name: self.server_name.clone(),
            x_forwarded: self.x_forwarded,
            max_answer: usize::try_from(max_answer.0).unwrap_or(usize::MAX),
            decodes: compiler.scope.decodes,
            url: url?,
        })
    }

    fn label(compiled: &Compiled) -> Option<String> {
        compiled.url.authority().map(str::to_owned)
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        let mut headers = HeaderMap::new();
        let mut method = compiled.method.clone();
        let mut query = "";
        if let Some(call) = sources.call() {
            headers = call.headers.clone();
            remove_hop_by_hop(&mut headers);
            for name in [header::HOST, header::CONTENT_LENGTH, header::EXPECT] {
                headers.remove(name);
            }
            if compiled.decodes {
                headers.remove(header::CONTENT_ENCODING);
            }
            forwarded::tell(call, compiled.x_forwarded, &mut headers);
            method.get_or_insert_with(|| call.method.clone());
            query = call.raw_query().unwrap_or_default();
        }
        let body = sources.get(&Source::Body).ok().flatten();
        let url = compiled.url.value(&compiled.changes, query, sources)?;
        compiled.changes.to_headers(&mut headers, sources);
        Ok(Request {
            method: method.unwrap_or(Method::GET),
            url,
            headers,
            body: Payload(body.unwrap_or_default()),
            server_name: compiled.server_name.clone(),
            by_stranger: compiled.url.authority().is_none(),
            max_answer: compiled.max_answer,
        })
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Proxied>, TargetError> {
        let Request {
            method,
            url,
            headers,
            body,
            server_name,
            by_stranger,
            max_answer,
        } = request;
        let is_head = method == Method::HEAD;
        let mut built = http::Request::new(body.0);
        *built.method_mut() = method;
        *built.uri_mut() = url
            .parse()
            .map_err(|_| failed(FetchError::Url("what came out".to_owned())))?;
        *built.headers_mut() = headers;
        let bounds = Bounds {
            timeout: deadline.saturating_duration_since(Instant::now()),
            max_body: max_answer,
        };
        let named = match by_stranger {
            true => Named::ByStranger,
            false => Named::ByOperator,
        };
        let answer = match &server_name {
            Some(name) => targets.outbound.send_under(built, name, bounds).await,
            None => targets.outbound.send(built, named, bounds).await,
        };
        let (mut head, body) = answer.map_err(failed)?.into_parts();
        if head.status.is_informational() {
            let said = format!("the backend answered {}", head.status);
            return Err(failed(FetchError::Failed(said)));
        }
        remove_hop_by_hop(&mut head.headers);
        if !is_head {
            // of a body that comes whole it is written anew; of one that HEAD leaves out it says the length
            head.headers.remove(header::CONTENT_LENGTH);
        }
        Ok(Called::by_us(Proxied {
            status: head.status,
            headers: head.headers,
            body,
        }))
    }
}

fn method(written: Option<&str>, compiler: &mut Compiler<'_, '_>) -> Option<Method> {
    let written = written.filter(|method| *method != "ANY")?;
    if !METHODS.contains(&written) {
        compiler.error(
            "method",
            format!("{written:?} is not a method"),
            format!("allowed: ANY, {}", METHODS.join(", ")),
        );
    }
    written.parse().ok()
}

/// What an exchange that did not come about means. Its words may name addresses: they are for the log.
fn failed(error: FetchError) -> TargetError {
    let said = error.to_string();
    let (class, code) = match error {
        FetchError::NotConnected(_) => (Class::Unavailable, "ConnectFailed"),
        FetchError::Failed(_) => (Class::Unavailable, "ConnectionLost"),
        FetchError::Timeout(_) => (Class::Timeout, "DeadlineExceeded"),
        FetchError::Untrusted(_) => (Class::Setup, "TlsRefused"),
        FetchError::TooLarge(_) => (Class::Setup, "AnswerTooLarge"),
        FetchError::Url(_) => (Class::Setup, "InvalidUrl"),
        FetchError::Forbidden { .. } => (Class::Setup, "AddressRefused"),
    };
    TargetError::new(class, Service::Http, code, said)
}

impl Proxied {
    fn rendered(&self) -> Rendered {
        let headers = self.headers.iter();
        Rendered {
            status: self.status.as_u16(),
            content_type: None,
            headers: headers
                .map(|(name, value): (&HeaderName, &HeaderValue)| (name.clone(), value.clone()))
                .collect(),
            body: self.body.clone(),
        }
    }
}

impl Answered for Proxied {
    fn native(&self) -> NativeAnswer {
        NativeAnswer::Raw(self.rendered())
    }
    fn aws(&self, _: &str) -> Rendered {
        self.rendered()
    }
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "status").then(|| Cow::Owned(self.status.as_u16().to_string()))
    }
    fn status(&self) -> u16 {
        self.status.as_u16()
    }
}

#[cfg(test)]
mod tests;
