use std::sync::Arc;

use super::*;
use crate::model::peer::Peer;

fn compiled(json: serde_json::Value) -> (Option<Versions>, Vec<String>) {
    let written = serde_json::from_value(json).unwrap();
    let (any, mount) = (Mount::default(), Mount::default());
    let two = Mount {
        hosts: vec![Host::Exact("two.example".to_owned())],
        ..Mount::default()
    };
    let apis = [("front", &any), ("one", &mount), ("two", &two)];
    let apis = apis.map(|(name, mount)| Named { name, mount });
    let mut problems = Problems::default();
    let versions = Versions::compile(&written, &apis, &ConfigPath::root(), &mut problems);
    let lines = problems.0.iter().map(ToString::to_string).collect();
    (versions, lines)
}

fn call(uri: &str, headers: &[(&'static str, &str)]) -> Call {
    let mut request = http::Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let any = "127.0.0.1:1".parse().unwrap();
    let peer = Arc::new(Peer::tcp(any, any, "public"));
    Call::new(request.body(()).unwrap().into_parts().0, peer)
}

fn seed() -> Versions {
    let (versions, lines) = compiled(serde_json::json!({
        "from": [{ "accept": "application/vnd.example.{version}+json" }, { "header": "apiver" }, { "query": "v" }],
        "table": { "v1": "one", "v2": "two.example" },
    }));
    assert_eq!(lines, Vec::<String>::new());
    versions.unwrap()
}

fn chosen(versions: &Versions, uri: &str, headers: &[(&'static str, &str)]) -> String {
    match versions.choose(&call(uri, headers)) {
        (_, Some(error)) => format!("{} {error:?}", error.status().as_u16()),
        (Some(version), None) => {
            let api = versions.api_of(&version).unwrap();
            format!("{} {api}", version.name)
        }
        (None, None) => "nothing".to_owned(),
    }
}

#[test]
fn the_version_is_what_accept_a_header_or_the_query_says() {
    let versions = seed();
    for (uri, header, value, expected) in [
        ("/", "accept", "application/vnd.example.v1+json", "v1 1"),
        ("/", "accept", "Application/Vnd.Example.V2+JSON", "v2 2"),
        (
            "/",
            "accept",
            "text/html, application/vnd.example.v2+json;q=0.5",
            "v2 2",
        ),
        (
            "/",
            "accept",
            "application/vnd.example.v2+json;q=0.5, application/vnd.example.v1+json; q=0.9",
            "v1 1",
        ),
        (
            "/",
            "accept",
            "application/vnd.example.v9+json, application/vnd.example.v1+json;q=0.1",
            "v1 1",
        ),
        ("/", "apiver", "v1", "v1 1"),
        ("/?v=v2", "x-other", "v1", "v2 2"),
        ("/?v=v2", "apiver", "v1", "v1 1"),
    ] {
        assert_eq!(
            chosen(&versions, uri, &[(header, value)]),
            expected,
            "{value}"
        );
    }
}

#[test]
fn a_version_that_is_missing_or_unknown_is_refused_as_configured() {
    let versions = seed();
    for (header, value, expected) in [
        ("accept", "*/*", "403 Missing(403)"),
        (
            "accept",
            "application/vnd.example.v1+json;q=0",
            "403 Missing(403)",
        ),
        (
            "accept",
            "application/vnd.example.v3+json",
            "403 Unknown(403)",
        ),
        ("apiver", "v3", "403 Unknown(403)"),
        ("apiver", " ", "403 Missing(403)"),
    ] {
        assert_eq!(
            chosen(&versions, "/", &[(header, value)]),
            expected,
            "{value}"
        );
    }
    let (versions, lines) = compiled(serde_json::json!({
        "from": [{ "header": "apiver" }], "default": "v1", "unknown": 406,
        "table": { "v1": "one" },
    }));
    assert_eq!(lines, Vec::<String>::new());
    let versions = versions.unwrap();
    assert_eq!(chosen(&versions, "/", &[]), "v1 1");
    assert_eq!(
        chosen(&versions, "/", &[("apiver", "v2")]),
        "406 Unknown(406)"
    );
}

#[test]
fn what_will_go_says_so_and_what_has_gone_is_410() {
    let (versions, lines) = compiled(serde_json::json!({
        "from": [{ "header": "apiver" }, { "query": "v" }],
        "table": {
            "v0": { "api": "one", "sunset": "2020-01-01", "gone": true },
            "v1": { "api": "one", "deprecated": "2020-01-01", "sunset": "2099-12-31T00:00:00Z", "link": "https://example.com/v1" },
            "v2": "two",
        },
    }));
    assert_eq!(lines, Vec::<String>::new());
    let versions = versions.unwrap();
    assert_eq!(chosen(&versions, "/?v=v0", &[]), "410 Gone");
    let told = |uri: &str| {
        let mut headers = HeaderMap::new();
        let call = call(uri, &[]);
        versions.tell(versions.choose(&call).0.as_deref(), &mut headers);
        let of = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        [of("vary"), of("deprecation"), of("sunset"), of("link")]
    };
    let told_of = |texts: [&str; 4]| texts.map(|text| (!text.is_empty()).then(|| text.to_owned()));
    assert_eq!(
        told("/?v=v1"),
        told_of([
            "apiver",
            "@1577836800",
            "Thu, 31 Dec 2099 00:00:00 GMT",
            "<https://example.com/v1>; rel=\"deprecation sunset\""
        ])
    );
    assert_eq!(told("/?v=v2"), told_of(["apiver", "", "", ""]));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (json, said) in [
        (
            serde_json::json!({ "from": [], "table": { "v1": "one" } }),
            "from: nothing says",
        ),
        (
            serde_json::json!({ "from": [{ "query": "v" }], "table": {} }),
            "table: there is no version",
        ),
        (
            serde_json::json!({ "from": [{ "query": "v" }], "table": { "v1": "oen" } }),
            "did you mean `one`?",
        ),
        (
            serde_json::json!({ "from": [{ "accept": "application/json" }], "table": { "v1": "one" } }),
            "from[0].accept",
        ),
        (
            serde_json::json!({ "from": [{ "header": "a b" }], "table": { "v1": "one" } }),
            "from[0].header",
        ),
        (
            serde_json::json!({ "from": [{ "query": "v" }], "default": "v3", "table": { "v1": "one" } }),
            "default: there is no version `v3`",
        ),
        (
            serde_json::json!({ "from": [{ "query": "v" }], "missing": 200, "table": { "v1": "one" } }),
            "missing: 200",
        ),
        (
            serde_json::json!({ "from": [{ "query": "v" }], "table": { "v1": { "api": "one", "sunset": "soon" } } }),
            "v1.sunset: \"soon\"",
        ),
        (
            serde_json::json!({ "from": [{ "query": "v" }], "table": { "v1": { "api": "one", "gone": true } } }),
            "v1.gone: nothing says when",
        ),
        (
            serde_json::json!({ "from": [{ "query": "v" }], "table": { "v1": { "api": "one", "link": "here" } } }),
            "v1.link",
        ),
    ] {
        let (versions, lines) = compiled(json);
        assert!(versions.is_none());
        assert!(lines[0].contains(said), "{lines:?}");
    }
}
