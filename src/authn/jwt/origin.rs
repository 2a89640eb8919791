//! URLs that keys are fetched from: which may be written, and whose words they are.

use http::Uri;

use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::outbound::Named;

/// What a URL of the configuration is for.
#[derive(Clone, Copy)]
pub(super) enum Use {
    /// The issuer; `fetched`: its keys are asked for there.
    Issuer { fetched: bool },
    /// A JWK set.
    Keys,
}

/// Checks a URL: `https`, and no more than a place. Plain HTTP is a warning where something is fetched.
pub(super) fn endpoint(
    text: &str,
    purpose: Use,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<Uri> {
    let uri = text
        .parse::<Uri>()
        .ok()
        .filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
        .filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    let Some(uri) = uri else {
        problems
            .error(at, format!("{text:?} is not the URL of a server"))
            .help("write it whole: https://idp.example.com");
        return None;
    };
    // `Uri` drops a fragment without a word.
    let query = text.contains('?') && matches!(purpose, Use::Issuer { .. });
    if query || text.contains('#') {
        problems.error(
            at,
            format!("{text:?} has a query or a fragment, which has no place there"),
        );
        return None;
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        problems.error(at, "a URL with a user and a password in it is not fetched");
        return None;
    }
    let fetched = !matches!(purpose, Use::Issuer { fetched: false });
    if fetched && uri.scheme_str() == Some("http") {
        problems
            .warning(
                at,
                "keys over plain HTTP can be changed by whoever is on the way",
            )
            .help("write https://");
    }
    Some(uri)
}

/// Whose words a URL of the discovery document is: the operator's, as long as it points where the document is from;
/// then a stranger's. `None`: it may not be followed at all, because it leads from HTTPS to plain HTTP.
pub(super) fn named_by(document: &Uri, uri: &Uri) -> Option<Named> {
    let scheme = |uri: &Uri| uri.scheme_str().map(str::to_ascii_lowercase);
    let port = |uri: &Uri| {
        uri.port_u16().or(match uri.scheme_str() {
            Some("https") => Some(443),
            _ => Some(80),
        })
    };
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    if scheme(document).as_deref() == Some("https") && scheme(uri).as_deref() != Some("https") {
        return None;
    }
    let same = scheme(document) == scheme(uri)
        && host(document) == host(uri)
        && port(document) == port(uri);
    Some(if same {
        Named::ByOperator
    } else {
        Named::ByStranger
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_same_origin_are_the_operators_and_others_are_strangers() {
        let rows = [
            (
                "https://a.example/x",
                "https://A.example:443/keys",
                Some(Named::ByOperator),
            ),
            (
                "https://a.example/x",
                "https://a.example:444/keys",
                Some(Named::ByStranger),
            ),
            (
                "https://a.example/x",
                "https://b.example/keys",
                Some(Named::ByStranger),
            ),
            ("https://a.example/x", "http://a.example/keys", None),
            (
                "http://a.example/x",
                "https://a.example/keys",
                Some(Named::ByStranger),
            ),
            (
                "http://127.0.0.1:9/x",
                "http://127.0.0.1:9/keys",
                Some(Named::ByOperator),
            ),
            (
                "http://127.0.0.1:9/x",
                "http://169.254.169.254/keys",
                Some(Named::ByStranger),
            ),
        ];
        for (document, uri, expected) in rows {
            let named = named_by(&document.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!(named, expected, "{document} {uri}");
        }
    }
}
