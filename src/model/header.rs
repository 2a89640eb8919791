//! Headers that are not for anyone to set or to pass on.

use http::header::{
    CONNECTION, HeaderMap, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

/// Headers that no mapping may set (reference, 3.5).
const RESERVED: [&str; 18] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "forwarded",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];
const RESERVED_PREFIXES: [&str; 5] = ["access-control-", "apigw-", "x-amz-", "x-amzn-", "via"];

/// Whether no mapping may set the header.
pub fn is_reserved(name: &HeaderName) -> bool {
    let text = name.as_str();
    let mut prefixes = RESERVED_PREFIXES.iter();
    RESERVED.contains(&text) || prefixes.any(|prefix| text.starts_with(prefix))
}

/// Headers that are about one connection (RFC 9110, 7.6.1), beside those that `Connection` names.
const OF_A_CONNECTION: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Takes away what is about the connection that the message came over, and must not be passed on.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_A_CONNECTION) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("x-kept", "1"),
        ] {
            headers.insert(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_static(value),
            );
        }
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn reserved_names_are_known_by_name_and_by_beginning() {
        for name in [
            "forwarded",
            "x-amzn-trace-id",
            "via",
            "access-control-max-age",
        ] {
            assert!(is_reserved(&name.parse().unwrap()), "{name}");
        }
        assert!(!is_reserved(&"x-request-id".parse().unwrap()));
    }
}
