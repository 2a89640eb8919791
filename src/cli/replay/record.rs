//! A line of records, as a request: of a capture, or of a JSON access log, which holds less.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Version};
use indexmap::IndexMap;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use crate::cli::rehearsal::{Client, Recorded};
use crate::model::certificate::ClientCert;
use crate::model::identity::{Delivery, Identity};
use crate::telemetry::capture::FORMAT;

/// A line.
pub enum Line {
    /// The first of a capture.
    Beginning,
    /// The last of a capture: requests that it lost.
    End(u64),
    Request(Box<Request>),
    /// The first of a capture in a form that is not known here.
    Foreign(u32),
    /// Nothing that is known.
    Unreadable,
}

/// A request, with what is known of it.
pub struct Request {
    pub head: Parts,
    /// Empty where it is not there.
    pub body: Bytes,
    pub holds: Holds,
    pub listener: Option<String>,
    pub client: Client,
    pub recorded: Recorded,
    /// `METHOD /path`, without the query.
    pub name: String,
}

/// What a record holds of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    All,
    /// The head alone: the body was left out, or nobody got so far as to read it.
    Head,
    /// What an access log says.
    Line,
}

/// A line that is about the recording itself.
#[derive(Debug, Deserialize)]
struct About {
    penstock: String,
    version: Option<u32>,
    lost: Option<u64>,
}

/// A line that is about a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    method: String,
    path: String,
    host: Option<String>,
    protocol: Option<String>,
    listener: Option<String>,
    /// Where the connection came from.
    peer: Option<String>,
    /// Where the request came from.
    source_ip: Option<String>,
    vpce: Option<String>,
    client_cert: Option<String>,
    headers: Option<Vec<(String, serde_json::Value)>>,
    text: Option<String>,
    /// Base64.
    body: Option<String>,
    omitted: Option<String>,
    deployment: Option<String>,
    identity: Option<Who>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Who {
    principal: Option<Arc<str>>,
    scope: Option<Arc<str>>,
    api_key: Option<Arc<str>>,
    claims: Option<IndexMap<String, String>>,
    values: Option<IndexMap<String, String>>,
    delivery: Option<Delivered>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivered {
    source: Arc<str>,
    preset: Option<Arc<str>>,
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    key: usize,
    dedup_id: Option<String>,
    received_at: String,
    attestation: Option<String>,
}

impl From<Who> for Identity {
    fn from(who: Who) -> Identity {
        let delivery = who.delivery.map(|delivery| Delivery {
            source: delivery.source,
            preset: delivery.preset,
            id: delivery.id,
            kind: delivery.kind,
            key: delivery.key,
            dedup_id: delivery.dedup_id,
            received_at: delivery.received_at,
            attestation: delivery.attestation,
        });
        Identity {
            principal: who.principal,
            scope: who.scope,
            api_key: who.api_key,
            claims: who.claims.map(Arc::new),
            values: who.values.map(Arc::new),
            delivery: delivery.map(Arc::new),
            ..Identity::default()
        }
    }
}

/// Reads a line.
pub fn read(line: &str) -> Line {
    if let Ok(about) = serde_json::from_str::<About>(line) {
        return match (&*about.penstock, about.version) {
            ("capture", Some(FORMAT)) => Line::Beginning,
            ("capture", Some(version)) => Line::Foreign(version),
            ("end", _) => Line::End(about.lost.unwrap_or_default()),
            _ => Line::Unreadable,
        };
    }
    let written = serde_json::from_str::<Written>(line).ok();
    match written.and_then(request) {
        Some(request) => Line::Request(Box::new(request)),
        None => Line::Unreadable,
    }
}

/// `None` for one that is no request.
fn request(written: Written) -> Option<Request> {
    let path = written.path.split('?').next().unwrap_or_default();
    let name = format!("{} {path}", written.method);
    let mut request = http::Request::builder()
        .method(written.method.as_str())
        .uri(written.path.as_str())
        .version(match written.protocol.as_deref() {
            Some("HTTP/2.0") => Version::HTTP_2,
            Some("HTTP/1.0") => Version::HTTP_10,
            _ => Version::HTTP_11,
        });
    let holds = match (&written.headers, &written.omitted) {
        (None, _) => Holds::Line,
        (Some(_), Some(_)) => Holds::Head,
        (Some(_), None) => Holds::All,
    };
    for (name, value) in written.headers.iter().flatten() {
        let name: HeaderName = name.parse().ok()?;
        request = request.header(name, header(value)?);
    }
    let mut head = request.body(()).ok()?.into_parts().0;
    if !head.headers.contains_key(HOST) {
        let host = written.host.as_deref().unwrap_or("localhost");
        head.headers.insert(HOST, host.parse().ok()?);
    }
    let body: Bytes = match (written.text, written.body) {
        (Some(text), _) => text.into(),
        (None, Some(encoded)) => STANDARD.decode(encoded).ok()?.into(),
        (None, None) => Bytes::new(),
    };
    let from = written.peer.or(written.source_ip);
    let from = from.and_then(|ip| ip.parse().ok());
    let certificate = match &written.client_cert {
        Some(pem) => {
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
            Some(Arc::new(ClientCert::read(&der).ok()?))
        }
        None => None,
    };
    Some(Request {
        head,
        body,
        holds,
        listener: written.listener,
        client: Client {
            ip: from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            vpce: written.vpce.map(Arc::from),
            certificate,
        },
        recorded: Recorded {
            identity: written
                .identity
                .map_or_else(Identity::default, Identity::from),
            deployment: written.deployment.map(Arc::from),
        },
        name,
    })
}

/// A text, or `{"base64": …}` for what is none.
fn header(value: &serde_json::Value) -> Option<HeaderValue> {
    if let Some(text) = value.as_str() {
        return HeaderValue::from_bytes(text.as_bytes()).ok();
    }
    let bytes = STANDARD.decode(value.get("base64")?.as_str()?).ok()?;
    HeaderValue::from_bytes(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(line: &str) -> Request {
        match read(line) {
            Line::Request(request) => *request,
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn lines_are_told_apart() {
        assert!(matches!(
            read(r#"{"penstock":"capture","version":1}"#),
            Line::Beginning
        ));
        assert!(matches!(
            read(r#"{"penstock":"capture","version":9}"#),
            Line::Foreign(9)
        ));
        assert!(matches!(
            read(r#"{"penstock":"end","lost":3}"#),
            Line::End(3)
        ));
        for line in [
            "{",
            "[]",
            r#"{"method":"G E T","path":"/"}"#,
            r#"{"method":"GET"}"#,
        ] {
            assert!(matches!(read(line), Line::Unreadable), "{line}");
        }
    }

    #[test]
    fn a_capture_holds_all_an_access_log_a_line() {
        let log =
            known(r#"{"method":"GET","path":"/a","host":"x.example","sourceIp":"192.0.2.7"}"#);
        assert_eq!(
            (log.holds, log.client.ip.to_string()),
            (Holds::Line, "192.0.2.7".to_owned())
        );
        assert_eq!(log.head.headers[HOST], "x.example");
        let head = known(r#"{"method":"GET","path":"/a","headers":[],"omitted":"too_long"}"#);
        assert_eq!(head.holds, Holds::Head);
        let all = known(
            r#"{"method":"PUT","path":"/a?b=1","headers":[["x",{"base64":"/w=="}]],"body":"/wA=",
                "protocol":"HTTP/2.0","identity":{"principal":"ann","claims":{"sub":"ann"}}}"#,
        );
        assert_eq!((all.holds, &*all.name), (Holds::All, "PUT /a"));
        assert_eq!(
            (&all.body[..], all.head.headers["x"].as_bytes()),
            (&b"\xff\0"[..], &b"\xff"[..])
        );
        assert_eq!(all.head.version, Version::HTTP_2);
        assert_eq!(all.recorded.identity.principal.as_deref(), Some("ann"));
    }
}
