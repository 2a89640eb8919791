//! What the backend is told of the client: `Forwarded` (RFC 7239) and `Via`, as HTTP APIs do (reference, 12.5), and
//! `X-Forwarded-*` where the route wants it. What a client that is no trusted proxy says of itself is not passed on.

use http::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, VIA};

use crate::model::call::Call;
use crate::model::peer::Endpoint;

const X_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Tells of the connection that the request came over, behind what trusted proxies tell of theirs.
pub(super) fn tell(call: &Call, x_forwarded: bool, headers: &mut HeaderMap) {
    if !call.peer.is_trusted() {
        for name in [FORWARDED, X_FOR, X_HOST, X_PROTO, X_PORT] {
            headers.remove(name);
        }
    }
    let source = match call.peer.source {
        Endpoint::Ip(address) => Some(address.ip().to_canonical()),
        Endpoint::Unix => None,
    };
    let node = match source {
        Some(ip) if ip.is_ipv6() => format!("\"[{ip}]\""),
        Some(ip) => ip.to_string(),
        None => "unknown".to_owned(),
    };
    let proto = if call.peer.secure { "https" } else { "http" };
    let host = call.header(&HOST);
    let mut element = format!("for={node}");
    if let Some(host) = &host {
        element += &format!(";host={}", word(host));
    }
    element += &format!(";proto={proto}");
    put(headers, FORWARDED, &element);
    put(headers, VIA, "1.1 penstock");
    if x_forwarded {
        if let Some(ip) = source {
            put(headers, X_FOR, &ip.to_string());
        }
        if !headers.contains_key(X_HOST)
            && let Some(host) = &host
            && let Ok(host) = HeaderValue::from_str(host)
        {
            headers.insert(X_HOST, host);
        }
        if !headers.contains_key(X_PROTO) {
            headers.insert(X_PROTO, HeaderValue::from_static(proto));
        }
    }
}

/// At the end of the header's list.
fn put(headers: &mut HeaderMap, name: HeaderName, element: &str) {
    let before: Vec<_> = headers
        .get_all(&name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    let list = before.iter().map(String::as_str).chain([element]);
    if let Ok(value) = HeaderValue::from_str(&list.collect::<Vec<_>>().join(", ")) {
        headers.insert(name, value);
    }
}

/// A value as the header takes it: in quotes unless it is a token.
fn word(text: &str) -> String {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match !text.is_empty() && text.chars().all(token) {
        true => text.to_owned(),
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::peer::Peer;

    fn told(source: &str, trusted: bool, sent: &[(&'static str, &str)], x: bool) -> HeaderMap {
        let mut request = http::Request::builder().uri("/").header("host", "api:8080");
        for (name, value) in sent {
            request = request.header(*name, *value);
        }
        let source = source.parse().unwrap();
        let mut peer = Peer::tcp(source, source, "public");
        if trusted {
            let trust = Arc::make_mut(&mut peer.trust);
            trust.proxies.0.push("10.0.0.0/8".parse().unwrap());
        }
        let call = Call::new(request.body(()).unwrap().into_parts().0, Arc::new(peer));
        let mut headers = call.headers.clone();
        tell(&call, x, &mut headers);
        headers
    }

    #[test]
    fn what_a_stranger_says_of_itself_goes_no_further() {
        let sent = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "1.1.1.1")];
        let headers = told("10.0.0.7:1", false, &sent, false);
        assert_eq!(
            headers[FORWARDED],
            "for=10.0.0.7;host=\"api:8080\";proto=http"
        );
        assert!(!headers.contains_key(X_FOR));
        assert_eq!(headers[VIA], "1.1 penstock");
    }

    #[test]
    fn a_trusted_proxy_s_words_stand_before_ours() {
        let sent = [
            ("forwarded", "for=1.1.1.1"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
        ];
        let headers = told("10.0.0.7:1", true, &sent, true);
        assert_eq!(
            headers[FORWARDED],
            "for=1.1.1.1, for=10.0.0.7;host=\"api:8080\";proto=http"
        );
        assert_eq!(headers[X_FOR], "1.1.1.1, 10.0.0.7");
        assert_eq!(headers[X_PROTO], "https");
        assert_eq!(headers[X_HOST], "api:8080");
    }

    #[test]
    fn addresses_of_version_6_stand_in_brackets_and_quotes() {
        let headers = told("[2001:db8::1]:1", false, &[], true);
        assert!(
            headers[FORWARDED]
                .to_str()
                .unwrap()
                .starts_with("for=\"[2001:db8::1]\"")
        );
        assert_eq!(headers[X_FOR], "2001:db8::1");
    }
}
