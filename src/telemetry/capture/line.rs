//! The form of a recording: lines of JSON, the first of which says what it is. Every key is described in
//! `docs/deployments.md`.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::HOST;
use indexmap::IndexMap;
use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::strike::{STRUCK, Strikes, sounds_secret};
use super::{Selection, Taken};
use crate::model::carried::Carried;
use crate::model::identity::{Delivery, Identity};
use crate::model::peer::Endpoint;

/// The version of the form. A reader that knows another one refuses it.
pub const FORMAT: u32 = 1;

/// The first line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Beginning<'a> {
    penstock: &'static str,
    version: u32,
    started: String,
    routes: &'a [String],
    sample: String,
    max_body: usize,
}

/// The last line of a recording that came to its end.
#[derive(Serialize)]
struct End<'a> {
    penstock: &'static str,
    ended: String,
    reason: &'a str,
    requests: u64,
    lost: u64,
}

/// A request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    at: String,
    id: String,
    api: &'a str,
    stage: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    listener: &'a str,
    /// Where the connection came from.
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cert: Option<String>,
    protocol: &'a str,
    method: &'a str,
    path: String,
    headers: Headers<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    struck: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Who::is_nobody")]
    identity: Who<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

/// The caller, without what proved it.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Who<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<&'a IndexMap<String, String>>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    values: IndexMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Delivered<'a>>,
}

/// A webhook delivery that was verified.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Delivered<'a> {
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    preset: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    key: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    dedup_id: Option<&'a str>,
    received_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation: Option<&'static str>,
}

/// Headers in the order of their arrival, as `[name, value]`.
struct Headers<'a>(Vec<(&'a str, Value<'a>)>);

#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Text(&'a str),
    Binary { base64: String },
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for pair in &self.0 {
            list.serialize_element(pair)?;
        }
        list.end()
    }
}

impl<'a> Value<'a> {
    fn of(value: &'a HeaderValue) -> Value<'a> {
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Value::Text(text),
            Err(_) => Value::Binary {
                base64: STANDARD.encode(value.as_bytes()),
            },
        }
    }
}

impl<'a> Who<'a> {
    fn of(identity: &'a Identity, struck: &mut Vec<String>) -> Who<'a> {
        let values = identity.values.as_deref().into_iter().flatten();
        let values = values.map(|(name, value)| {
            if !sounds_secret(name) {
                return (name.as_str(), value.as_str());
            }
            struck.push(format!("value:{name}"));
            (name.as_str(), STRUCK)
        });
        Who {
            principal: identity.principal.as_deref(),
            scope: identity.scope.as_deref(),
            api_key: identity.api_key.as_deref(),
            claims: identity.claims.as_deref(),
            values: values.collect(),
            delivery: identity.delivery.as_deref().map(Delivered::of),
        }
    }

    fn is_nobody(&self) -> bool {
        self.principal.is_none()
            && self.api_key.is_none()
            && self.claims.is_none()
            && self.values.is_empty()
            && self.delivery.is_none()
    }
}

impl<'a> Delivered<'a> {
    fn of(delivery: &'a Delivery) -> Delivered<'a> {
        Delivered {
            source: &delivery.source,
            preset: delivery.preset.as_deref(),
            id: delivery.id.as_deref(),
            kind: delivery.kind.as_deref(),
            key: delivery.key,
            dedup_id: delivery.dedup_id.as_deref(),
            received_at: &delivery.received_at,
            // It is signed, so whoever has it can show it.
            attestation: delivery.attestation.as_ref().map(|_| STRUCK),
        }
    }
}

/// The first line, without its end.
pub fn beginning(selection: &Selection) -> Vec<u8> {
    json(&Beginning {
        penstock: "capture",
        version: FORMAT,
        started: moment(SystemTime::now()),
        routes: &selection.routes,
        sample: selection.sample.to_string(),
        max_body: selection.max_body,
    })
}

/// The last line, without its end. `lost`: requests that there was no room for.
pub fn end(reason: &str, requests: u64, lost: u64) -> Vec<u8> {
    json(&End {
        penstock: "end",
        ended: moment(SystemTime::now()),
        reason,
        requests,
        lost,
    })
}

/// A request's line, without its end. A body longer than `max_body` is left out.
pub fn line(taken: &Taken, strikes: &Strikes, max_body: usize) -> Vec<u8> {
    let call = &*taken.call;
    let mut struck = Vec::new();
    let mut path = call.raw_path().to_owned();
    if let Some(query) = call.raw_query() {
        path.push('?');
        path += &strikes.of_query(query, &mut struck);
    }
    // The target's authority has the say over `Host` (RFC 9112, 3.2.2). Whom it names as the user is nobody's business.
    let authority = call.uri.authority().map(http::uri::Authority::as_str);
    let authority = authority.map(|text| text.rsplit_once('@').map_or(text, |(_, host)| host));
    let mut headers: Vec<(&str, Value<'_>)> = Vec::with_capacity(call.headers.len());
    for (name, value) in &call.headers {
        let value = if strikes.header(name) {
            struck.push(Carried::Header(name.clone()).to_string());
            Value::Text(STRUCK)
        } else if let (&HOST, Some(authority)) = (name, authority) {
            Value::Text(authority)
        } else {
            Value::of(value)
        };
        headers.push((name.as_str(), value));
    }
    let (body, omitted) = match &taken.body {
        None => (None, Some("not_accepted")),
        Some(body) if body.len() > max_body => (None, Some("too_long")),
        Some(body) => {
            let delivery = taken.identity.delivery.as_deref();
            match strikes.of_body(body, delivery.map(|delivery| &*delivery.source)) {
                Some((left, members)) => {
                    struck.extend(members);
                    (Some(left), None)
                }
                None => (None, Some("struck")),
            }
        }
    };
    let text = body
        .as_ref()
        .and_then(|body| std::str::from_utf8(body).ok());
    let identity = Who::of(&taken.identity, &mut struck);
    struck.dedup();
    json(&Request {
        at: moment(call.arrived_at),
        id: call.id.to_string(),
        api: &taken.api,
        stage: &taken.stage,
        deployment: taken.deployment.as_deref(),
        route: taken.route.as_ref().map(|route| &*route.key.0),
        listener: &call.peer.listener,
        peer: match call.peer.source {
            Endpoint::Unix => "unix".to_owned(),
            source => source.ip().to_string(),
        },
        vpce: call.peer.vpce.as_deref(),
        client_cert: call.peer.client_cert.as_deref().map(|cert| cert.pem()),
        protocol: call.protocol(),
        method: call.method.as_str(),
        path,
        headers: Headers(headers),
        struck,
        text: text.filter(|text| !text.is_empty()),
        body: match text {
            Some(_) => None,
            None => body.as_ref().map(|body| STANDARD.encode(body)),
        },
        omitted,
        bytes: omitted.and(taken.body.as_ref()).map(|body| body.len()),
        identity,
        status: taken.status,
        code: taken.code,
    })
}

/// Nothing that is written here can fail to be: every key is a text.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn moment(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let at = at.replace_millisecond(at.millisecond()).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}
