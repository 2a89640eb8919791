//! Who may see and change messages through the admin listener. Health, metrics and counts are told to anybody who can
//! reach it; payloads and writes are not.
//!
//! With `admin.token`, whoever brings it may. Without one, whoever is on this machine may, and on an address that is
//! not loopback nobody. A browser is on this machine too, so what a page of somebody else's makes it send is refused:
//! by `Origin` and `Sec-Fetch-Site` (Fetch standard), and, against names that are made to point here, by `Host`.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};

use super::queues::Refused;
use crate::model::secret::Secret;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The rules of one listener.
#[derive(Clone, Debug)]
pub struct Guard {
    token: Arc<ArcSwapOption<Secret<String>>>,
    loopback: bool,
}

impl Guard {
    /// For a listener at this address.
    pub fn new(token: Option<Secret<String>>, bound: IpAddr) -> Guard {
        Guard {
            token: Arc::new(ArcSwapOption::new(token.map(Arc::new))),
            loopback: bound.is_loopback(),
        }
    }

    /// What has to be brought from now on.
    pub fn ask_for(&self, token: Option<Secret<String>>) {
        self.token.store(token.map(Arc::new));
    }

    /// Whether the caller may see messages.
    pub fn may_read(&self, headers: &HeaderMap) -> Result<(), Refused> {
        if let Some(token) = &*self.token.load() {
            let brought = text(headers, &AUTHORIZATION)
                .and_then(|value| value.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| Secret::new(token.trim().to_owned()));
            return if brought.as_ref() == Some(&**token) {
                Ok(())
            } else {
                Err(Refused::forbidden(
                    "messages are shown and changed only with admin.token, as `Authorization: Bearer TOKEN`",
                ))
            };
        }
        if !self.loopback {
            return Err(Refused::forbidden(
                "this address is not loopback, so messages are shown and changed only with a token: set admin.token",
            ));
        }
        let host = text(headers, &HOST).unwrap_or_default();
        if is_local(host) {
            Ok(())
        } else {
            Err(Refused::forbidden(format!(
                "{host:?} is no name of this machine; ask for 127.0.0.1 or localhost, or set admin.token"
            )))
        }
    }

    /// Whether the caller may change something.
    pub fn may_write(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let host = text(headers, &HOST).unwrap_or_default();
        let own_origin = |origin: &[u8]| {
            origin.strip_prefix(b"http://") == Some(host.as_bytes()) && !host.is_empty()
        };
        let from_elsewhere = headers
            .get_all(ORIGIN)
            .iter()
            .any(|origin| !own_origin(origin.as_bytes()))
            || headers
                .get_all(SEC_FETCH_SITE)
                .iter()
                .any(|site| ![&b"same-origin"[..], b"none"].contains(&site.as_bytes()));
        if from_elsewhere {
            return Err(Refused::forbidden(
                "a browser sent this for another site's page",
            ));
        }
        self.may_read(headers)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a `Host` is an address or `localhost`: names can be made to point anywhere, addresses cannot.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn guard(token: Option<&str>, bound: [u8; 4]) -> Guard {
        Guard::new(
            token.map(|token| Secret::new(token.to_owned())),
            Ipv4Addr::from(bound).into(),
        )
    }

    const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
    const OPEN: [u8; 4] = [10, 0, 0, 5];

    #[test]
    fn an_address_that_is_not_loopback_needs_a_token_and_the_right_one() {
        let host = ("host", "10.0.0.5:9901");
        assert!(guard(None, OPEN).may_read(&headers(&[host])).is_err());
        assert!(guard(None, OPEN).may_write(&headers(&[host])).is_err());
        let guarded = guard(Some("a long enough token"), OPEN);
        for wrong in [
            "",
            "Bearer",
            "Bearer a long enough toke",
            "Basic a long enough token",
        ] {
            let brought = headers(&[host, ("authorization", wrong)]);
            assert!(guarded.may_write(&brought).is_err(), "{wrong:?}");
        }
        let right = headers(&[host, ("authorization", "bearer a long enough token")]);
        assert_eq!(guarded.may_write(&right), Ok(()));
    }

    #[test]
    fn a_token_is_asked_for_on_loopback_too() {
        let guarded = guard(Some("a long enough token"), LOOPBACK);
        assert!(
            guarded
                .may_read(&headers(&[("host", "127.0.0.1:9901")]))
                .is_err()
        );
    }

    #[test]
    fn a_name_that_was_made_to_point_here_is_refused() {
        let guarded = guard(None, LOOPBACK);
        for good in ["127.0.0.1:9901", "localhost", "LOCALHOST:1", "[::1]:9901"] {
            assert_eq!(guarded.may_read(&headers(&[("host", good)])), Ok(()));
        }
        for bad in ["evil.example:9901", "", "[evil", "localhost.evil.example"] {
            assert!(guarded.may_read(&headers(&[("host", bad)])).is_err());
        }
        assert!(guarded.may_read(&HeaderMap::new()).is_err());
    }

    #[test]
    fn what_another_sites_page_makes_a_browser_send_is_refused() {
        let guarded = guard(None, LOOPBACK);
        let host = ("host", "127.0.0.1:9901");
        for bad in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "https://127.0.0.1:9901"),
            ("origin", "http://127.0.0.1:8080"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(
                guarded.may_write(&headers(&[host, bad])).is_err(),
                "{bad:?}"
            );
        }
        for good in [
            ("origin", "http://127.0.0.1:9901"),
            ("sec-fetch-site", "same-origin"),
        ] {
            assert_eq!(guarded.may_write(&headers(&[host, good])), Ok(()));
        }
        assert_eq!(guarded.may_write(&headers(&[host])), Ok(()));
    }
}
