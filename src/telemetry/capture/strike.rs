//! What is struck out of a recording: every place in which some authorizer looks for a credential or a signature, what an
//! operator names, and whatever sounds like one. What is struck stays in its place, with another value, so that whoever
//! replays the request knows that it was there.

use std::borrow::Cow;
use std::collections::HashSet;

use http::HeaderName;
use percent_encoding::percent_decode_str;

use super::members::without;
use crate::model::carried::Carried;

/// What stands in place of a value that is not recorded.
pub const STRUCK: &str = "struck-out";

/// Parts of names that say that a value is a credential, in lower case.
const TELLING: [&str; 14] = [
    "authorization",
    "auth-key",
    "x-auth",
    "cookie",
    "token",
    "secret",
    "passw",
    "api-key",
    "apikey",
    "api_key",
    "signature",
    "credential",
    "hmac",
    "session",
];
/// Whole names that do.
const NAMES: [&str; 9] = [
    "auth",
    "authentication",
    "code",
    "jwt",
    "key",
    "paypal-transmission-sig",
    "pwd",
    "sid",
    "sig",
];

/// The places whose values are not recorded, beside those whose names say it. It only grows: what was a credential a
/// moment ago still is one.
#[derive(Clone, Debug, Default)]
pub struct Strikes(HashSet<Carried>);

impl Strikes {
    /// Adds places.
    pub fn add(&mut self, places: impl IntoIterator<Item = Carried>) {
        self.0.extend(places);
    }

    /// Whether all of these are known.
    pub fn hold(&self, places: &[Carried]) -> bool {
        places.iter().all(|place| self.0.contains(place))
    }

    /// Whether a header's value is struck out.
    pub fn header(&self, name: &HeaderName) -> bool {
        sounds_secret(name.as_str()) || self.0.contains(&Carried::Header(name.clone()))
    }

    /// The body that may be recorded, and the places of what it lacks; `None`: nothing of it may be. `source`: the
    /// authorizer that has verified it, if one has.
    pub fn of_body<'b>(
        &self,
        body: &'b [u8],
        source: Option<&str>,
    ) -> Option<(Cow<'b, [u8]>, Vec<String>)> {
        let whole = |source: &str| self.0.contains(&Carried::BodyOf(source.to_owned()));
        if self.0.contains(&Carried::Body) || source.is_some_and(whole) {
            return None;
        }
        let mut left = Cow::Borrowed(body);
        let mut struck = Vec::new();
        for place in &self.0 {
            let Carried::Member { source: of, path } = place else {
                continue;
            };
            if Some(of.as_str()) == source {
                let text = std::str::from_utf8(&left).ok()?;
                left = Cow::Owned(without(text, path)?.into_bytes());
                struck.push(place.to_string());
            }
        }
        Some((left, struck))
    }

    fn query(&self, name: &str) -> bool {
        sounds_secret(name) || self.0.contains(&Carried::Query(name.to_owned()))
    }

    /// The query with what is struck, and the names of that.
    pub fn of_query<'q>(&self, query: &'q str, struck: &mut Vec<String>) -> Cow<'q, str> {
        let before = struck.len();
        let pairs: Vec<Cow<'q, str>> = query
            .split('&')
            .map(|pair| {
                let raw = pair.split_once('=').map_or(pair, |(name, _)| name);
                let name = raw.replace('+', " ");
                let name = percent_decode_str(&name).decode_utf8_lossy();
                if !pair.contains('=') || !self.query(&name) {
                    return Cow::Borrowed(pair);
                }
                struck.push(Carried::Query(name.into_owned()).to_string());
                Cow::Owned(format!("{raw}={STRUCK}"))
            })
            .collect();
        if struck.len() == before {
            Cow::Borrowed(query)
        } else {
            Cow::Owned(pairs.join("&"))
        }
    }
}

/// Whether a name says that what it names is a credential.
pub fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.contains(&name.as_str()) || TELLING.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_so_are_struck_and_others_are_not() {
        for name in [
            "Authorization",
            "proxy-authorization",
            "cookie",
            "x-api-key",
            "X-Amz-Security-Token",
            "X-Amz-Signature",
            "x-hub-signature-256",
            "x-shopify-hmac-sha256",
            "sig",
            "access_token",
        ] {
            assert!(sounds_secret(name), "{name}");
        }
        for name in [
            "idempotency-key",
            "x-tenant",
            "content-type",
            "host",
            "design",
        ] {
            assert!(!sounds_secret(name), "{name}");
        }
    }

    #[test]
    fn a_query_keeps_its_shape_and_what_is_no_credential() {
        let mut strikes = Strikes::default();
        let place: Carried = "query:pass key".parse().unwrap();
        strikes.add([place.clone()]);
        assert!(strikes.hold(&[place]) && !strikes.hold(&[Carried::Body]));
        let mut struck = Vec::new();
        assert_eq!(
            strikes.of_query(
                "a=1&pass+key=s%20t&token&access%5Ftoken=x=y&b=%2B",
                &mut struck
            ),
            "a=1&pass+key=struck-out&token&access%5Ftoken=struck-out&b=%2B"
        );
        assert_eq!(struck, ["query:pass key", "query:access_token"]);
        struck.clear();
        assert_eq!(strikes.of_query("a=1&b", &mut struck), "a=1&b");
        assert!(struck.is_empty());
    }
}
