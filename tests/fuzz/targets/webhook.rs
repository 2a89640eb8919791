//! Webhook deliveries. Input: header lines, an empty line, the body; or, where it begins with `{`, what somebody writes
//! as an authorizer, and a delivery to it after the first empty line.
//!
//! A delivery is accepted only if a configured secret signed these very bytes, at about this time. Whatever is written
//! compiles or is said to be wrong.

use std::sync::Arc;

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::HeaderMap;
use indexmap::IndexMap;
use penstock::authn::api_key::ApiKeys;
use penstock::authn::{Authenticator, AuthorizerConfig, Caller, Given, Shared, Verified};
use penstock::model::call::Call;
use penstock::model::identity::Presented;
use penstock::model::path::ConfigPath;
use penstock::model::peer::Peer;
use penstock::model::problem::Problems;
use penstock::telemetry::Metrics;
use penstock::{aws, outbound};
use serde_json::{Value, json};

/// 2024-01-02T03:04:05Z
const NOW: i64 = 1_704_164_645;
const SECRET: &str = "whsec-of-the-fuzz-targets-01234567";

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    static GITHUB: Arc<Authenticator> = authenticator(&json!({ "webhook": { "preset": "github", "secrets": [SECRET] }}));
    static STRIPE: Arc<Authenticator> = authenticator(&json!({ "webhook": { "preset": "stripe", "secrets": [SECRET] }}));
}

/// What a configuration says of an authorizer, made live; `None` where it does not compile.
pub fn compiled(written: &Value) -> Option<Arc<Authenticator>> {
    let config: AuthorizerConfig = serde_json::from_value(written.clone()).ok()?;
    let mut problems = Problems::default();
    let none = IndexMap::new();
    let given = Given {
        region: Some("eu-west-1"),
        stage_variables: &none,
    };
    let spec = config.compile("hooks", &given, &ConfigPath::root(), &mut problems);
    assert!(spec.is_some() || problems.has_errors());
    let spec = spec.filter(|_| !problems.has_errors())?;
    RUNTIME.with(|runtime| {
        let _inside = runtime.enter();
        let shared = Shared {
            keys: &Arc::new(ApiKeys::new(&[], Vec::new()).unwrap()),
            outbound: &outbound::Client::default(),
            aws: &aws::Clients::new(aws::Settings::default()),
            metrics: &Metrics::new(),
            rehearses: true,
        };
        Some(Arc::new(spec.build(&shared, None)))
    })
}

/// As [`compiled`], of what does compile.
pub fn authenticator(written: &Value) -> Arc<Authenticator> {
    compiled(written).unwrap()
}

/// Whether the authorizer lets such a request pass.
pub fn presented(door: &Authenticator, headers: HeaderMap, body: &[u8], now: i64) -> bool {
    let any = "127.0.0.1:1".parse().unwrap();
    let mut request = http::Request::post("/hooks").body(()).unwrap();
    *request.headers_mut() = headers;
    let peer = Arc::new(Peer::tcp(any, any, "public"));
    let call = Call::new(request.into_parts().0, peer);
    let none = IndexMap::new();
    let presented = Presented {
        call: &call,
        api: "shop",
        stage: "prod",
        route_key: "POST /hooks",
        path: "/hooks",
        path_variables: &[],
        stage_variables: &none,
        now,
    };
    let mut caller = Caller::default();
    let body = Bytes::copy_from_slice(body);
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            door.authenticate(&presented, &mut caller).await.is_ok()
                && matches!(
                    door.verify(&presented, &body, &mut caller).await,
                    Ok(Verified::Passed)
                )
        })
    })
}

fn digest(message: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    super::hex(hmac::sign(&key, message).as_ref())
}

pub fn run(data: &[u8]) {
    let (head, body) = super::head_and_body(data);
    if head.starts_with('{') {
        let Ok(written) = serde_json::from_str::<Value>(head) else {
            return;
        };
        // what names a file or an address of the machine is not for a fuzzer
        let reaches = ["file", "http", "/"].iter().any(|word| head.contains(word));
        let door = Some(json!({ "webhook": written })).filter(|_| !reaches);
        if let Some(door) = door.as_ref().and_then(compiled) {
            let (head, body) = super::head_and_body(body);
            presented(&door, super::headers(head.lines()), body, NOW);
        }
        return;
    }
    let headers = super::headers(head.lines());
    let of = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect()
    };
    let github = of("x-hub-signature-256")
        .iter()
        .any(|value| value.trim().to_ascii_lowercase() == format!("sha256={}", digest(body)));
    let accepted = GITHUB.with(|door| presented(door, headers.clone(), body, NOW));
    assert!(!accepted || github, "{headers:?}");
    let stripe = of("stripe-signature").iter().any(|value| {
        let items: Vec<(&str, &str)> = value
            .split(',')
            .filter_map(|item| item.trim().split_once('='))
            .collect();
        items.iter().any(|(name, time)| {
            let message = [time.as_bytes(), b".", body].concat();
            let fresh = time
                .parse::<i64>()
                .is_ok_and(|time| (NOW - time).abs() <= 300);
            *name == "t"
                && fresh
                && items.iter().any(|(name, signature)| {
                    *name == "v1" && signature.to_ascii_lowercase() == digest(&message)
                })
        })
    });
    let accepted = STRIPE.with(|door| presented(door, headers.clone(), body, NOW));
    assert!(!accepted || stripe, "{headers:?}");
    // and what is signed here is accepted
    let mut signed = headers;
    let value = format!("sha256={}", digest(body));
    signed.insert("x-hub-signature-256", value.parse().unwrap());
    signed.insert("x-github-event", http::HeaderValue::from_static("push"));
    signed.insert(
        "x-github-delivery",
        http::HeaderValue::from_static("72d3162e-cc78-11e3-81ab-4c9367dc0958"),
    );
    signed.insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    assert!(GITHUB.with(|door| presented(door, signed, body, NOW)));
}
