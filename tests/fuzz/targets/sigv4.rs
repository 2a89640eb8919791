//! Signature Version 4. Input: `METHOD target`, header lines, an empty line, the body.
//!
//! Whatever comes in, it is answered; nothing that this target did not sign itself is genuine (the secret is nowhere in
//! the corpus but under the published vectors); what the SDK's own signer has signed is genuine, in a header and
//! presigned, and is not once anything of it is changed.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use penstock::authn::sigv4::{Head, Paths, Refused, Scope, SecretText, User, Verifier};
use penstock::model::secret::Secret;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2024-01-02T03:04:05Z
const NOW: i64 = 1_704_164_645;

#[derive(Clone)]
struct Request {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    fn check(&self, verifier: &Verifier, now: i64) -> Result<(), Refused> {
        let head = Head {
            method: &self.method,
            uri: &self.uri,
            headers: &self.headers,
        };
        let claim = verifier.claim(&head, now)?;
        claim.verify_head()?;
        claim.verify(&self.body).map(|_| ())
    }
}

fn verifier(secret: &str, paths: Paths) -> Verifier {
    let user = User {
        name: "shop".into(),
        access_key_id: KEY.into(),
        secret_access_key: SecretText(Secret::new(secret.into())),
        session_token: None,
        enabled: true,
        account: None,
        policy: None,
    };
    let scope = Scope {
        service: "execute-api".into(),
        region: None,
        skew: Duration::from_secs(900),
        unsigned_payload: false,
        paths,
    };
    Verifier::new(vec![user], scope)
}

pub fn run(data: &[u8]) {
    let (head, body) = super::head_and_body(data);
    let mut lines = head.lines();
    let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else {
        return;
    };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), target.parse::<Uri>()) else {
        return;
    };
    let request = Request {
        method,
        uri,
        headers: super::headers(lines),
        body: body.to_vec(),
    };
    for paths in [Paths::AsSent, Paths::Normalized] {
        // as it came: with another secret than its signer's it is never genuine
        let others = verifier("another secret that nobody has ever signed", paths);
        assert!(request.check(&others, NOW).is_err());
        request.check(&verifier(SECRET, paths), NOW).ok();
    }
    for location in [SignatureLocation::Headers, SignatureLocation::QueryParams] {
        signed(&request, location);
    }
}

/// The request, signed by the SDK's signer; `None` where it cannot be.
fn sign_with_sdk(request: &Request, location: SignatureLocation) -> Option<Request> {
    let mut request = request.clone();
    let own = [
        "authorization",
        "host",
        "content-length",
        "user-agent",
        "x-amzn-trace-id",
    ];
    let kept = request.headers.iter().filter(|(name, value)| {
        let name = name.as_str();
        !own.contains(&name) && !name.starts_with("x-amz-") && value.to_str().is_ok()
    });
    request.headers = kept
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let repeated = request
        .headers
        .keys()
        .any(|name| request.headers.get_all(name).iter().count() > 1);
    let path = request.uri.path_and_query()?.as_str().to_owned();
    if repeated || !path.starts_with('/') || path.contains("X-Amz-") {
        return None;
    }
    request.uri = format!("http://api.example.com{path}").parse().ok()?;
    request
        .headers
        .insert("host", HeaderValue::from_static("api.example.com"));
    let identity = Credentials::new(KEY, SECRET, None, None, "fuzz").into();
    let mut settings = SigningSettings::default();
    settings.signature_location = location;
    if location == SignatureLocation::QueryParams {
        settings.expires_in = Some(Duration::from_secs(300));
    }
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("execute-api")
        .time(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs()))
        .settings(settings)
        .build()
        .ok()?
        .into();
    let headers = request.headers.iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let uri = request.uri.to_string();
    let signable = SignableRequest::new(
        request.method.as_str(),
        &uri,
        headers,
        SignableBody::Bytes(&request.body),
    );
    let instructions = sign(signable.ok()?, &params).ok()?.into_parts().0;
    let mut carrier = http::Request::builder()
        .method(request.method.clone())
        .uri(request.uri.clone())
        .body(())
        .ok()?;
    *carrier.headers_mut() = request.headers.clone();
    instructions.apply_to_request_http1x(&mut carrier);
    // as HTTP/1.1 sends it
    request.uri = carrier.uri().path_and_query()?.as_str().parse().ok()?;
    request.headers = carrier.headers().clone();
    Some(request)
}

fn signed(request: &Request, location: SignatureLocation) {
    let Some(request) = sign_with_sdk(request, location) else {
        return;
    };
    let verifier = verifier(SECRET, Paths::Normalized);
    let genuine = request.check(&verifier, NOW);
    if plain(&request) {
        assert_eq!(genuine, Ok(()), "{} {:?}", request.uri, request.headers);
    }
    if genuine.is_err() {
        return;
    }
    let refused = |what: &str, change: &dyn Fn(&mut Request)| {
        let mut changed = request.clone();
        change(&mut changed);
        assert!(
            changed.check(&verifier, NOW).is_err(),
            "accepted with {what} changed"
        );
    };
    refused("the method", &|request| {
        request.method = Method::from_bytes(format!("{}X", request.method).as_bytes()).unwrap();
    });
    if location == SignatureLocation::Headers {
        refused("the body", &|request| request.body.push(b'x'));
    }
    refused("the path", &|request| {
        let uri = request.uri.to_string();
        let (path, query) = uri.split_once('?').unwrap_or((&uri, ""));
        request.uri = format!("{path}x?{query}").parse().unwrap();
    });
    refused("the query", &|request| {
        let uri = request.uri.to_string();
        let mark = if uri.contains('?') { '&' } else { '?' };
        request.uri = format!("{uri}{mark}added=1").parse().unwrap();
    });
    refused("an x-amz header", &|request| {
        request.headers.insert(
            HeaderName::from_static("x-amz-added"),
            HeaderValue::from_static("1"),
        );
    });
    refused("the host", &|request| {
        request
            .headers
            .insert("host", HeaderValue::from_static("evil.example.com"));
    });
    for later in [-100_000, 100_000] {
        assert!(
            request.check(&verifier, NOW + later).is_err(),
            "good at any time"
        );
    }
}

/// Whether signers agree on how the request is spelled. (The SDK's takes bytes of a query that are no text for U+FFFD.)
fn plain(request: &Request) -> bool {
    let target = request.uri.path();
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~./".contains(&byte);
    let query = request.uri.query().unwrap_or_default();
    let text = percent_encoding::percent_decode_str(query)
        .decode_utf8()
        .is_ok();
    text && target.bytes().all(unreserved)
        && !target.contains("//")
        && !target
            .split('/')
            .any(|segment| segment == "." || segment == "..")
        && query
            .bytes()
            .all(|byte| unreserved(byte) || b"=&%".contains(&byte))
        && !query.split('&').any(str::is_empty)
        && request
            .headers
            .values()
            .all(|value| value.as_bytes().iter().all(u8::is_ascii_graphic))
}
