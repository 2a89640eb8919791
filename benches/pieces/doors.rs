//! Who is there, as each kind of authorizer finds out. They are compiled from a route file, as the gateway's are.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use futures_util::FutureExt as _;
use indexmap::IndexMap;
use penstock::authn::api_key::{ApiKeys, KeyHash, NewKey};
use penstock::authn::{Authenticator, Caller, Shared};
use penstock::config::load::ProcessEnvironment;
use penstock::model::call::Call;
use penstock::model::identity::Presented;
use penstock::outbound;
use penstock::plan::written::compiled;
use penstock::telemetry::Metrics;

use super::{Work, body, built, call};

const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";

/// Another key of the table each time.
pub fn api_key(keys: usize) -> Work {
    let key = |number: usize| format!("psk_{number:040}");
    let names: Vec<String> = (0..keys).map(|number| format!("key-{number}")).collect();
    let entries: Vec<NewKey<'_>> = names
        .iter()
        .enumerate()
        .map(|(number, id)| NewKey {
            id,
            hash: KeyHash::of(key(number).as_bytes()),
            plan: None,
            enabled: true,
        })
        .collect();
    let table = Arc::new(built(ApiKeys::new(&entries, Vec::new()), "keys"));
    let step = (keys / 4_096).max(1);
    let calls: Vec<Call> = (0..keys)
        .step_by(step)
        .map(|number| call(&[("x-api-key", &key(number))]))
        .collect();
    let authenticator = authenticator("authorizers: {}", "api_key", &table);
    let mut next = 0;
    Box::new(move || {
        next = (next + 1) % calls.len();
        black_box(authenticated(&authenticator, &calls[next]));
    })
}

/// A token that was verified before.
pub fn cached_token() -> Work {
    let claims = serde_json::json!({
        "iss": "bench", "aud": "shop", "sub": "caller", "exp": 4_000_000_000u64, "iat": 1_700_000_000u64,
        "scope": "orders.read orders.write", "padding": "x".repeat(400),
    });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let header = jsonwebtoken::Header::default();
    let token = built(jsonwebtoken::encode(&header, &claims, &key), "a token");
    let written = format!(
        "authorizers: {{ staff: {{ jwt: {{ issuers: [ {{ issuer: bench, audience: shop, secret: {SECRET} }} ] }} }} }}"
    );
    let authenticator = authenticator(&written, "staff", &Arc::default());
    let call = call(&[("authorization", &format!("Bearer {token}"))]);
    // The first time it is verified.
    authenticated(&authenticator, &call);
    Box::new(move || {
        black_box(authenticated(&authenticator, &call));
    })
}

/// Head and body of a request signed by AWS's own crate.
pub fn sigv4() -> Work {
    let written = "aws: { region: eu-west-1 }\nauthorizers: { users: { sigv4: { credentials: [ { name: u, access_key_id: AKIDBENCH, secret_access_key: wJalrXUtnFEMI } ] } } }";
    let authenticator = authenticator(written, "users", &Arc::default());
    let body = body();
    let headers = signature(&body);
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let call = call(&headers);
    Box::new(move || {
        let mut caller = authenticated(&authenticator, &call);
        verified(&authenticator, &call, &body, &mut caller);
        black_box(&caller);
    })
}

fn signature(body: &Bytes) -> Vec<(String, String)> {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity =
        aws_credential_types::Credentials::new("AKIDBENCH", "wJalrXUtnFEMI", None, None, "bench")
            .into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("execute-api")
        .time(SystemTime::now())
        .settings(settings)
        .build();
    let params = built(params, "parameters").into();
    let request = SignableRequest::new(
        "POST",
        "http://ingest.example.com/orders?source=web",
        std::iter::once(("host", "ingest.example.com")),
        SignableBody::Bytes(body),
    );
    let signed = built(sign(built(request, "a request"), &params), "a signature");
    let (instructions, _) = signed.into_parts();
    instructions
        .headers()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A delivery whose body is signed with a shared secret.
pub fn webhook() -> Work {
    let written = format!(
        "authorizers: {{ hooks: {{ webhook: {{ preset: github, secrets: [ {SECRET} ] }} }} }}"
    );
    let authenticator = authenticator(&written, "hooks", &Arc::default());
    let body = body();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let mut signature = "sha256=".to_owned();
    for byte in aws_lc_rs::hmac::sign(&key, &body).as_ref() {
        built(write!(signature, "{byte:02x}"), "a signature");
    }
    let call = call(&[
        ("x-hub-signature-256", &signature),
        ("x-github-event", "push"),
        ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
    ]);
    Box::new(move || {
        let mut caller = authenticated(&authenticator, &call);
        verified(&authenticator, &call, &body, &mut caller);
        black_box(&caller);
    })
}

/// The live authorizer of this name.
fn authenticator(sections: &str, name: &str, keys: &Arc<ApiKeys>) -> Authenticator {
    let folder = built(tempfile::tempdir(), "a folder");
    let file = folder.path().join("piece.yaml");
    let hash = KeyHash::of(b"psk_unused");
    let text = format!(
        "{sections}\napi_keys: {{ unused: {{ hash: '{hash}' }} }}\nroutes:\n  POST /orders:\n    authorizer: {name}\n    integration: {{ Mock: {{}} }}\n"
    );
    built(std::fs::write(&file, text), "a file");
    let compiled = compiled(&[file], &ProcessEnvironment);
    let Some(blueprint) = &compiled.blueprint else {
        panic!("{:?}", compiled.problems.0);
    };
    let (_, spec) = &blueprint.apis[0].routes[0].authorizers[0];
    let shared = Shared {
        keys,
        outbound: &outbound::Client::new(blueprint.egress.clone()),
        aws: &penstock::aws::Clients::new(blueprint.aws.clone()),
        metrics: &Metrics::new(),
        rehearses: false,
    };
    spec.build(&shared, None)
}

/// What is known of `call` when authorizers are asked.
fn presented<'c>(call: &'c Call, variables: &'c IndexMap<String, String>) -> Presented<'c> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Presented {
        call,
        api: "shop",
        stage: "$default",
        route_key: "POST /orders",
        path: "/orders",
        path_variables: &[],
        stage_variables: variables,
        now: since.unwrap_or(Duration::ZERO).as_secs() as i64,
    }
}

fn authenticated(authenticator: &Authenticator, call: &Call) -> Caller {
    let variables = IndexMap::new();
    let presented = presented(call, &variables);
    let mut caller = Caller::anyone();
    let asked = authenticator.authenticate(&presented, &mut caller);
    let answer = asked.now_or_never();
    built(built(answer.ok_or("it waits"), "an answer"), "the caller");
    caller
}

fn verified(authenticator: &Authenticator, call: &Call, body: &Bytes, caller: &mut Caller) {
    let variables = IndexMap::new();
    let presented = presented(call, &variables);
    let asked = authenticator.verify(&presented, body, caller);
    let answer = asked.now_or_never();
    built(built(answer.ok_or("it waits"), "an answer"), "the body");
}
