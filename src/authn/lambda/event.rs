//! What a request authorizer is sent: payloads 2.0, 1.0, and REST's `TOKEN` (reference, 5.1 and 5.2). Never a body.

use http::header::{COOKIE, USER_AGENT};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::super::policy::{ACCOUNT, arn_path, decoded};
use super::{Format, Spec};
use crate::model::call::Call;
use crate::model::certificate::ClientCert;
use crate::model::identity::Presented;

/// As the Common Log Format has it.
const CLF: &[BorrowedFormatItem<'_>] = format_description!(
    "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
);

/// What stands in ARNs where no region is configured, as in those of embedded queues.
const REGION: &str = "us-east-1";

/// The payload. `values`: of the identity sources, in their order.
pub(super) fn of(spec: &Spec, presented: &Presented<'_>, values: &[String]) -> Value {
    match spec.format {
        Format::V1 => version_1(spec, presented, values),
        Format::V2 { .. } => version_2(spec, presented, values),
        Format::Token => json!({
            "type": "TOKEN",
            "authorizationToken": values.first().map(String::as_str).unwrap_or_default(),
            "methodArn": arn(spec, presented),
        }),
    }
}

/// `arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/METHOD/path`
fn arn(spec: &Spec, presented: &Presented<'_>) -> String {
    format!(
        "arn:aws:execute-api:{}:{ACCOUNT}:{}/{}/{}{}",
        spec.region.as_deref().unwrap_or(REGION),
        presented.api,
        presented.stage,
        presented.call.method,
        arn_path(presented.path)
    )
}

fn version_2(spec: &Spec, presented: &Presented<'_>, values: &[String]) -> Value {
    let call = presented.call;
    let mut event = json!({
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": arn(spec, presented),
        "identitySource": values,
        "routeKey": presented.route_key,
        "rawPath": decoded(call.raw_path()),
        "rawQueryString": call.raw_query().unwrap_or_default(),
    });
    let cookies = cookies(call);
    let mut headers = headers(call);
    headers.remove(COOKIE.as_str());
    let optional = [
        ("cookies", Value::from(cookies)),
        ("headers", Value::from(headers)),
        ("queryStringParameters", Value::from(query(call))),
        ("requestContext", context_2(presented)),
        ("pathParameters", Value::from(path_parameters(presented))),
        ("stageVariables", Value::from(stage_variables(presented))),
    ];
    for (name, value) in optional {
        let is_empty = value.as_object().is_some_and(Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty);
        // What is empty is left out, but for the headers, of which there is always one.
        if !is_empty {
            event[name] = value;
        }
    }
    event
}

fn context_2(presented: &Presented<'_>) -> Value {
    let call = presented.call;
    let arrived = OffsetDateTime::from(call.arrived_at);
    let host = call.host().unwrap_or_default();
    json!({
        "accountId": ACCOUNT,
        "apiId": presented.api,
        "authentication": call.peer.client_cert.as_ref().map(|cert| json!({ "clientCert": client_cert(cert) })),
        "domainName": host,
        "domainPrefix": host.split('.').next().unwrap_or_default(),
        "http": {
            "method": call.method.as_str(),
            "path": decoded(call.raw_path()),
            "protocol": call.protocol(),
            "sourceIp": call.source_ip().to_string(),
            "userAgent": call.header(&USER_AGENT).unwrap_or_default(),
        },
        "requestId": call.id.to_string(),
        "routeKey": presented.route_key,
        "stage": presented.stage,
        "time": arrived.format(CLF).unwrap_or_default(),
        "timeEpoch": arrived.unix_timestamp_nanos() / 1_000_000,
    })
}

fn version_1(spec: &Spec, presented: &Presented<'_>, values: &[String]) -> Value {
    let call = presented.call;
    let identity = values.join(",");
    let resource = presented
        .route_key
        .split_once(' ')
        .map_or(presented.route_key, |(_, path)| path);
    let or_null = |map: Map<String, Value>| match map.is_empty() {
        true => Value::Null,
        false => Value::from(map),
    };
    json!({
        "version": "1.0",
        "type": "REQUEST",
        "methodArn": arn(spec, presented),
        "identitySource": identity,
        "authorizationToken": identity,
        "resource": resource,
        "path": decoded(presented.path),
        "httpMethod": call.method.as_str(),
        "headers": headers(call),
        "queryStringParameters": or_null(query(call)),
        "pathParameters": or_null(path_parameters(presented)),
        "stageVariables": or_null(stage_variables(presented)),
        "requestContext": {
            "path": decoded(call.raw_path()),
            "accountId": ACCOUNT,
            "resourceId": presented.route_key,
            "stage": presented.stage,
            "requestId": call.id.to_string(),
            "identity": {
                "apiKey": call.headers.get("x-api-key").and_then(|key| key.to_str().ok()),
                "sourceIp": call.source_ip().to_string(),
                "clientCert": call.peer.client_cert.as_deref().map(client_cert),
            },
            "resourcePath": resource,
            "httpMethod": call.method.as_str(),
            "apiId": presented.api,
        },
    })
}

fn client_cert(cert: &ClientCert) -> Value {
    json!({
        "clientCertPem": cert.pem(),
        "subjectDN": cert.subject.to_string(),
        "issuerDN": cert.issuer.to_string(),
        "serialNumber": cert.serial,
        "validity": { "notBefore": cert.not_before_text(), "notAfter": cert.not_after_text() },
    })
}

/// By lower-case names; what came more than once is joined by commas.
fn headers(call: &Call) -> Map<String, Value> {
    let names = call.headers.keys();
    names
        .filter_map(|name| {
            let value = call.header(name)?.into_owned();
            Some((name.as_str().to_owned(), Value::from(value)))
        })
        .collect()
}

fn cookies(call: &Call) -> Vec<String> {
    let Some(joined) = call.header(&COOKIE) else {
        return Vec::new();
    };
    joined
        .split("; ")
        .filter(|cookie| !cookie.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Decoded; what came more than once is joined by commas.
fn query(call: &Call) -> Map<String, Value> {
    let mut joined: IndexMap<String, String> = IndexMap::new();
    for (name, value) in call.query_pairs() {
        match joined.get_mut(&name) {
            Some(values) => {
                values.push(',');
                values.push_str(&value);
            }
            None => {
                joined.insert(name, value);
            }
        }
    }
    let texts = joined.into_iter();
    texts.map(|(name, value)| (name, value.into())).collect()
}

fn path_parameters(presented: &Presented<'_>) -> Map<String, Value> {
    let variables = presented.path_variables.iter();
    variables
        .map(|(name, value)| (name.to_string(), Value::from(value.as_str())))
        .collect()
}

fn stage_variables(presented: &Presented<'_>) -> Map<String, Value> {
    let variables = presented.stage_variables.iter();
    variables
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect()
}
