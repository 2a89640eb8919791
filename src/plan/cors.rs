//! Cross-origin resource sharing, compiled (reference, section 9).

use std::fmt::Write as _;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::config::Cors;
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::route_key::METHODS;

/// The longest that a preflight's answer may be kept, seconds.
const LONGEST_MAX_AGE: u64 = 86_400;

/// Which origins may call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// `*`
    Any,
    /// `https://*` or `http://*`: every origin of that scheme.
    Scheme(&'static str),
    Exact(String),
}

/// The policy, ready to be written into responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsPolicy {
    origins: Vec<Origin>,
    /// `*` without credentials: the origin need not be echoed.
    literal_star: bool,
    credentials: bool,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
}

impl CorsPolicy {
    /// Checks what was written.
    pub fn compile(cors: &Cors, at: &ConfigPath, problems: &mut Problems) -> Option<CorsPolicy> {
        let before = problems.errors();
        let origins: Vec<Origin> = cors
            .allow_origins
            .iter()
            .enumerate()
            .filter_map(|(index, text)| {
                origin(text, &at.key("allow_origins").index(index), problems)
            })
            .collect();
        if cors.allow_origins.is_empty() {
            problems
                .error(
                    &at.key("allow_origins"),
                    "no origin is allowed, so CORS does nothing",
                )
                .help("name origins, or write [\"*\"]");
        }
        let any = origins.contains(&Origin::Any);
        if any && cors.allow_credentials {
            problems
                .error(
                    &at.key("allow_credentials"),
                    "browsers refuse credentials together with the origin `*`",
                )
                .help("name the origins, or write `https://*`");
        }
        for (index, method) in cors.allow_methods.iter().enumerate() {
            if method != "*" && !METHODS.contains(&method.as_str()) {
                let problem = problems.error(
                    &at.key("allow_methods").index(index),
                    format!("{method:?} is not a method"),
                );
                if let Some(near) = nearest(&method.to_ascii_uppercase(), METHODS) {
                    problem.help(format!("did you mean `{near}`?"));
                }
            }
        }
        for (key, names) in [
            ("allow_headers", &cors.allow_headers),
            ("expose_headers", &cors.expose_headers),
        ] {
            for (index, name) in names.iter().enumerate() {
                if name != "*" && name.parse::<HeaderName>().is_err() {
                    problems.error(
                        &at.key(key).index(index),
                        format!("{name:?} is not a header name"),
                    );
                }
            }
        }
        let seconds = cors.max_age.map(|span| span.0.as_secs());
        if seconds.is_some_and(|seconds| seconds > LONGEST_MAX_AGE) {
            problems.error(
                &at.key("max_age"),
                "the answer to a preflight can be kept for 24h at the most",
            );
        }
        if problems.errors() > before {
            return None;
        }
        Some(CorsPolicy {
            literal_star: any && !cors.allow_credentials,
            origins,
            credentials: cors.allow_credentials,
            methods: joined(cors.allow_methods.iter().cloned()),
            headers: joined(
                cors.allow_headers
                    .iter()
                    .map(|name| name.to_ascii_lowercase()),
            ),
            expose: joined(
                cors.expose_headers
                    .iter()
                    .map(|name| name.to_ascii_lowercase()),
            ),
            max_age: seconds.map(HeaderValue::from),
        })
    }

    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| match allowed {
            Origin::Any => true,
            Origin::Scheme(prefix) => {
                origin.len() > prefix.len()
                    && origin.as_bytes()[..prefix.len()].eq_ignore_ascii_case(prefix.as_bytes())
            }
            Origin::Exact(exact) => exact.eq_ignore_ascii_case(origin),
        })
    }

    /// Adds what an actual response carries. Nothing, for an origin that is not allowed.
    pub fn decorate(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        if !self.literal_star {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if !origin.to_str().is_ok_and(|origin| self.allows(origin)) {
            return;
        }
        let value = if self.literal_star {
            HeaderValue::from_static("*")
        } else {
            origin.clone()
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
        if self.credentials {
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        if let Some(expose) = &self.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }

    /// Adds what the answer to a preflight carries beyond [`CorsPolicy::decorate`].
    pub fn answer_preflight(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        if !origin.to_str().is_ok_and(|origin| self.allows(origin)) {
            return;
        }
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, &self.methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
            (ACCESS_CONTROL_MAX_AGE, &self.max_age),
        ] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
    }

    /// Whether the request asks for leave to make another one.
    pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS
            && headers.contains_key(http::header::ORIGIN)
            && headers.contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD)
    }
}

fn joined(names: impl Iterator<Item = String>) -> Option<HeaderValue> {
    let text = names.fold(String::new(), |mut text, name| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{name}", if text.is_empty() { "" } else { "," });
        text
    });
    HeaderValue::try_from(text)
        .ok()
        .filter(|value| !value.is_empty())
}

fn origin(text: &str, at: &ConfigPath, problems: &mut Problems) -> Option<Origin> {
    match text {
        "*" => return Some(Origin::Any),
        "https://*" => return Some(Origin::Scheme("https://")),
        "http://*" => return Some(Origin::Scheme("http://")),
        _ => {}
    }
    let host = text.split_once("://").map(|(_, host)| host);
    match host {
        Some(host)
            if !host.is_empty()
                && !host.contains(['/', '*', '?', '#', ' '])
                && HeaderValue::from_str(text).is_ok() =>
        {
            Some(Origin::Exact(text.to_owned()))
        }
        Some(host) if host.contains('*') => {
            problems.error(
                at,
                format!("{text:?}: the only wildcards are `*`, `https://*` and `http://*`"),
            );
            None
        }
        Some(host) if host.trim_end_matches('/').len() < host.len() => {
            problems
                .error(
                    at,
                    format!("{text:?} ends in a slash; an origin has no path"),
                )
                .help(format!("write `{}`", text.trim_end_matches('/')));
            None
        }
        _ => {
            problems
                .error(at, format!("{text:?} is not an origin"))
                .help("write scheme and host, such as `https://shop.example`");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::Span;

    fn policy(cors: &Cors) -> Result<CorsPolicy, String> {
        let mut problems = Problems::default();
        CorsPolicy::compile(cors, &ConfigPath::root().key("cors"), &mut problems)
            .ok_or_else(|| problems.0[0].to_string())
    }

    fn cors(origins: &[&str]) -> Cors {
        Cors {
            allow_origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
            allow_methods: vec!["POST".into(), "GET".into()],
            allow_headers: vec!["Content-Type".into()],
            expose_headers: vec!["x-request-id".into()],
            allow_credentials: false,
            max_age: Some(Span::secs(600)),
        }
    }

    fn decorated(policy: &CorsPolicy, origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        policy.decorate(&HeaderValue::from_static(origin), &mut headers);
        policy.answer_preflight(&HeaderValue::from_static(origin), &mut headers);
        headers
    }

    #[test]
    fn an_allowed_origin_is_echoed_and_another_gets_nothing() {
        let policy = policy(&cors(&["https://shop.example"])).unwrap();
        let headers = decorated(&policy, "https://shop.example");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://shop.example");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "POST,GET");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "content-type");
        assert_eq!(headers[ACCESS_CONTROL_MAX_AGE], "600");
        assert_eq!(headers[VARY], "origin");
        let headers = decorated(&policy, "https://evil.example");
        assert_eq!(headers.len(), 1, "{headers:?}");
    }

    #[test]
    fn a_star_is_sent_as_it_is_and_a_scheme_covers_its_hosts() {
        assert_eq!(
            decorated(&policy(&cors(&["*"])).unwrap(), "https://a.example")
                [ACCESS_CONTROL_ALLOW_ORIGIN],
            "*"
        );
        let https = policy(&cors(&["https://*"])).unwrap();
        assert_eq!(
            decorated(&https, "https://a.example")[ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://a.example"
        );
        assert!(!decorated(&https, "http://a.example").contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        assert!(!decorated(&https, "https://").contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[test]
    fn what_browsers_would_refuse_is_refused_here() {
        for (change, reason) in [
            (
                Cors {
                    allow_credentials: true,
                    ..cors(&["*"])
                },
                "together with the origin `*`",
            ),
            (cors(&["https://*.example.com"]), "only wildcards"),
            (
                cors(&["https://shop.example/"]),
                "write `https://shop.example`",
            ),
            (cors(&["shop.example"]), "is not an origin"),
            (cors(&[]), "no origin is allowed"),
            (
                Cors {
                    allow_methods: vec!["PSOT".into()],
                    ..cors(&["*"])
                },
                "did you mean `POST`?",
            ),
            (
                Cors {
                    max_age: Some(Span::secs(86_401)),
                    ..cors(&["*"])
                },
                "24h at the most",
            ),
        ] {
            let refusal = policy(&change).unwrap_err();
            assert!(refusal.contains(reason), "{refusal}");
        }
    }
}
