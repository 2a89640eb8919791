//! The `twilio` scheme (reference, 4.8): a MAC over the URL and the sorted form fields, or over a URL that carries the
//! body's hash.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use http::Uri;

use super::PublicUrl;
use super::request::{Delivered, from_hex, pairs};
use super::scheme::Live;
use super::secret::{Key, same, sha256};
use super::verdict::Failure;

/// Which secret has signed the request.
pub(super) fn verify(
    delivered: &Delivered<'_>,
    public: &PublicUrl,
    candidates: &[Vec<u8>],
    live: &Live<'_>,
) -> Result<usize, Failure> {
    let url = delivered.url(public);
    let fields = match body_hash(delivered)? {
        // The URL is signed, and so is the hash in it.
        Some(claimed) => {
            let claimed = from_hex(&claimed);
            if !claimed.is_some_and(|claimed| same(&claimed, &sha256(delivered.body))) {
                return Err(Failure::bad(
                    "the body is not the one that bodySHA256 names",
                ));
            }
            Vec::new()
        }
        None => sorted_fields(delivered.body),
    };
    let spellings = spellings(&url);
    let found = live.iter().fold(None, |first, (place, held)| {
        let mut holds = false;
        if let Key::Mac(key) = &held.key {
            for url in &spellings {
                let mut mac = hmac::Context::with_key(key);
                mac.update(url.as_bytes());
                mac.update(&fields);
                let mac = mac.sign();
                for candidate in candidates {
                    holds |= verify_slices_are_equal(mac.as_ref(), candidate).is_ok();
                }
            }
        }
        first.or(holds.then_some(*place))
    });
    found.ok_or_else(|| Failure::bad("the signature is that of no secret"))
}

/// The bytes that a sender signs.
pub(super) fn signed(delivered: &Delivered<'_>, public: &PublicUrl) -> Result<Vec<u8>, Failure> {
    let mut signed = delivered.url(public).into_bytes();
    if body_hash(delivered)?.is_none() {
        signed.extend(sorted_fields(delivered.body));
    }
    Ok(signed)
}

/// What the query's `bodySHA256` says.
fn body_hash(delivered: &Delivered<'_>) -> Result<Option<Vec<u8>>, Failure> {
    let query = delivered.call.raw_query().unwrap_or_default();
    let mut named = pairs(query.as_bytes()).filter(|(name, _)| name == b"bodySHA256");
    let first = named.next();
    if named.next().is_some() {
        return Err(Failure::malformed(
            "query:bodySHA256 stands there more than once",
        ));
    }
    Ok(first.map(|(_, value)| value))
}

/// Names in byte order, each with its different values in byte order, nothing between. A body that is no form is a field
/// too, so that nothing of it escapes the signature.
fn sorted_fields(body: &[u8]) -> Vec<u8> {
    let mut fields: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (name, value) in pairs(body) {
        fields.entry(name).or_default().insert(value);
    }
    let mut signed = Vec::with_capacity(body.len());
    for (name, values) in &fields {
        for value in values {
            signed.extend_from_slice(name);
            signed.extend_from_slice(value);
        }
    }
    signed
}

/// The URL as seen, without a port, and with the scheme's own port: Twilio's products differ.
fn spellings(url: &str) -> Vec<String> {
    let mut spellings = vec![url.to_owned()];
    let Some((scheme, rest)) = url.split_once("://") else {
        return spellings;
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = match authority.parse::<Uri>().ok().and_then(|uri| uri.port_u16()) {
        Some(port) => authority
            .strip_suffix(&format!(":{port}"))
            .unwrap_or(authority),
        None => authority,
    };
    let port = if scheme == "https" { 443 } else { 80 };
    for other in [
        format!("{scheme}://{host}{path}"),
        format!("{scheme}://{host}:{port}{path}"),
    ] {
        if !spellings.contains(&other) {
            spellings.push(other);
        }
    }
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_tried_with_and_without_its_port() {
        assert_eq!(
            spellings("https://a.example:1234/x?y=1"),
            [
                "https://a.example:1234/x?y=1",
                "https://a.example/x?y=1",
                "https://a.example:443/x?y=1"
            ]
        );
        assert_eq!(
            spellings("http://a.example?b"),
            ["http://a.example?b", "http://a.example:80?b"]
        );
    }

    #[test]
    fn a_body_that_is_no_form_is_signed_all_the_same() {
        assert_eq!(sorted_fields(b"b=2&a=1&b=1&b=2"), b"a1b1b2".to_vec());
        assert_ne!(sorted_fields(b"{\"a\":1}"), Vec::<u8>::new());
    }
}
