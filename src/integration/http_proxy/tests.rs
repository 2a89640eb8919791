use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::integration::tests::{compile, problems, try_compile};
use crate::integration::{Integration, StoreState};
use crate::mapping::select;
use crate::model::call::Call;
use crate::model::peer::Peer;

/// A request of a route `ANY /shop/{id}/{proxy+}`.
struct Sent(Call);

impl Sent {
    fn new(method: &str, uri: &str, headers: &[(&'static str, &'static str)]) -> Sent {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let any = "192.0.2.1:1".parse().unwrap();
        let peer = Arc::new(Peer::tcp(any, any, "public"));
        Sent(Call::new(request.body(()).unwrap().into_parts().0, peer))
    }
}

impl Sources for Sent {
    fn get(&self, source: &Source) -> Result<Option<Bytes>, String> {
        let body = Bytes::from_static(b"{\"a\":\"b c/d\"}");
        Ok(match source {
            Source::Path => Some(Bytes::copy_from_slice(self.0.raw_path().as_bytes())),
            Source::Header(name) => self
                .0
                .headers
                .get(name)
                .map(|value| Bytes::copy_from_slice(value.as_bytes())),
            Source::Query(name) => self.0.query(name).map(Bytes::from),
            Source::Body => Some(body),
            Source::BodyField(selector) => return select(selector, &body),
            _ => None,
        })
    }
    fn call(&self) -> Option<&Call> {
        Some(&self.0)
    }
}

fn mapped(integration: &Integration, sent: &Sent) -> Result<Request, MapError> {
    let request = integration.map(sent, &RequestId::mint())?;
    match request.call {
        crate::integration::Call::HttpProxy(request) => Ok(request),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_goes_on_with_its_method_path_query_headers_and_body() {
    let integration =
        compile(r#"{"HTTP-Proxy": {"url": "https://alb.internal/app/{id}/{proxy}?fixed=1"}}"#);
    assert_eq!(integration.target_label(), "alb.internal");
    assert!(!integration.stores() && !integration.reads() && !integration.touches_aws());
    assert!(integration.refuses_spool().is_some());
    let sent = Sent::new(
        "PATCH",
        "/shop/a%2Fb/x%20y/z?q=1&q=%20",
        &[
            ("host", "api.example"),
            ("authorization", "Bearer t"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "5"),
            ("te", "trailers"),
        ],
    );
    let request = mapped(&integration, &sent).unwrap();
    assert_eq!(request.method, Method::PATCH);
    assert_eq!(
        request.url,
        "https://alb.internal/app/a%2Fb/x%20y/z?fixed=1&q=1&q=%20"
    );
    let names: Vec<_> = request.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["authorization", "forwarded", "via"]);
    assert_eq!(
        request.headers["forwarded"],
        "for=192.0.2.1;host=api.example;proto=http"
    );
    assert_eq!(&request.body.0[..], b"{\"a\":\"b c/d\"}");
}

#[test]
fn the_vendor_s_request_mapping_changes_headers_query_and_path() {
    let integration = compile(
        r#"{"HTTP-Proxy": {"url": "https://alb.internal/{proxy}?v=1", "method": "POST", "x_forwarded": true, "request_parameters": {
            "append:header.header2": "$request.header.header1", "remove:header.header1": "''", "overwrite:header.host": "other.internal",
            "overwrite:header.authorization": "Basic eA==", "append:header.nothing": "$request.header.missing",
            "append:querystring.a": "2&3", "overwrite:querystring.b": "$request.body.a", "remove:querystring.c": "''", "remove:querystring.v": "''",
            "overwrite:path": "/base/${request.path.id}/${request.body.a}"}}}"#,
    );
    let sent = Sent::new(
        "GET",
        "/shop/i%201/rest?a=1&b=x&c=1&b=y&d",
        &[("header1", "one"), ("authorization", "Bearer t")],
    );
    let request = mapped(&integration, &sent).unwrap();
    assert_eq!(
        request.url,
        "https://alb.internal/base/i%201/b%20c%2Fd?v=1&a=1&d&a=2%263&b=b%20c%2Fd"
    );
    let header = |name| {
        request
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap())
    };
    assert_eq!(
        (header("header2"), header("header1"), header("nothing")),
        (Some("one"), None, None)
    );
    assert_eq!(
        (header("host"), header("authorization")),
        (Some("other.internal"), Some("Basic eA=="))
    );
    assert_eq!(header("x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(request.method, Method::POST);
}

#[test]
fn a_path_cannot_leave_the_place_that_is_left_for_it() {
    let integration = compile(r#"{"HTTP-Proxy": {"url": "https://alb.internal/app/{proxy}"}}"#);
    for path in ["/shop/1/../admin", "/shop/1/%2e%2e/admin", "/shop/1/a/.%2E"] {
        let error = mapped(&integration, &Sent::new("GET", path, &[])).unwrap_err();
        assert_eq!(error.status(), 400, "{path}");
    }
    let by_header = compile(r#"{"HTTP-Proxy": {"url": "https://${request.header.x-host}/app"}}"#);
    assert_eq!(by_header.target_label(), "dynamic");
    for host in ["a/b", "a@b", "a?b", "a b"] {
        let sent = Sent::new("GET", "/shop/1/x", &[("x-host", host)]);
        assert!(mapped(&by_header, &sent).is_err(), "{host}");
    }
    let sent = Sent::new("GET", "/shop/1/x", &[("x-host", "127.0.0.1")]);
    assert!(mapped(&by_header, &sent).unwrap().by_stranger);
}

#[test]
fn what_cannot_be_passed_on_is_refused_at_check() {
    assert_eq!(problems(r#"{"HTTP-Proxy": {}}"#).len(), 1);
    for url in [
        "alb.internal",
        "ftp://alb.internal/",
        "https://user@alb.internal/",
        "https://alb.internal/#x",
        "https:///x",
    ] {
        let found = problems(&format!(r#"{{"HTTP-Proxy": {{"url": "{url}"}}}}"#));
        assert!(
            found[0].contains("is not the URL of a backend"),
            "{url}: {found:?}"
        );
    }
    assert_eq!(
        problems(
            r#"{"HTTP-Proxy": {"url": "https://a/{who}", "method": "FETCH", "server_name": "a b", "request_parameters": {"overwrite:header.via": "x", "overwrite:body": "x"}}}"#
        ),
        [
            "error: integration.HTTP-Proxy.url: `{who}`: the route key has no such variable; its variables are id, proxy",
            "error: integration.HTTP-Proxy.request_parameters.\"overwrite:header.via\": the header `via` is reserved and cannot be mapped to",
            "error: integration.HTTP-Proxy.request_parameters.\"overwrite:body\": \"overwrite:body\" is no change of a request; did you mean `overwrite:path`?",
            "error: integration.HTTP-Proxy.server_name: \"a b\" is not a host's name; write the name in the certificate: api.internal",
            "error: integration.HTTP-Proxy.method: \"FETCH\" is not a method; allowed: ANY, GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        ]
    );
    let (compiled, warnings) = try_compile(r#"{"HTTP-Proxy": {"url": "http://10.0.0.1/x"}}"#, None);
    assert!(
        compiled.is_some() && warnings[0].contains("plain HTTP to another machine"),
        "{warnings:?}"
    );
    let (_, none) = try_compile(r#"{"HTTP-Proxy": {"url": "http://127.0.0.1:1/x"}}"#, None);
    assert!(none.is_empty());
}

/// A backend that answers once, and what it heard.
async fn backend(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    });
    (url, heard)
}

async fn passed(
    url: &str,
    method: &str,
    timeout: Duration,
) -> Result<crate::integration::Answer, TargetError> {
    let integration = compile(&format!(
        r#"{{"HTTP-Proxy": {{"url": "{url}", "max_answer": 100}}}}"#
    ));
    let request = integration
        .map(
            &Sent::new(method, "/shop/1/x", &[("host", "api")]),
            &RequestId::mint(),
        )
        .unwrap();
    let targets = Targets::new(
        crate::aws::Clients::for_tests("http://127.0.0.1:1"),
        StoreState::Absent,
    );
    targets.call(request, Instant::now() + timeout).await
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_backend_s_answer_comes_back_but_for_what_is_the_connection_s() {
    let (url, heard) = backend(
        "HTTP/1.1 404 Not Found\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-type: text/html\r\nconnection: x-hop\r\nx-hop: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    )
    .await;
    let answer = passed(&url, "POST", LONG).await.unwrap();
    let NativeAnswer::Raw(rendered) = answer.native() else {
        panic!("as it is");
    };
    assert_eq!((rendered.status, &rendered.body[..]), (404, &b"no"[..]));
    let headers: Vec<_> = rendered
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        headers,
        [
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("content-type", "text/html")
        ]
    );
    assert_eq!(answer.field("status").as_deref(), Some("404"));
    let heard = heard.await.unwrap();
    assert!(
        heard.starts_with("POST / HTTP/1.1\r\n")
            && heard.contains(&format!("host: {}", &url[7..url.len() - 1])),
        "{heard}"
    );
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_has_its_status() {
    let (silent, _heard) = backend("").await;
    let nowhere = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let (large, _heard) = backend("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n").await;
    let (broken, _heard) = backend("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf").await;
    let (nonsense, _heard) = backend("SSH-2.0\r\n\r\n").await;
    for (about, url, timeout, status) in [
        ("nobody there", &nowhere, LONG, 503),
        ("too large", &large, LONG, 502),
        ("broken off", &broken, LONG, 502),
        ("another protocol", &nonsense, LONG, 502),
    ] {
        let error = passed(url, "GET", timeout).await.unwrap_err();
        assert_eq!(error.native_status(), status, "{about}: {error}");
        assert!(error.retry_after().is_some());
    }
    drop(silent);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let late = passed(&url, "GET", Duration::from_millis(100))
        .await
        .unwrap_err();
    assert_eq!(
        (late.native_status(), late.aws(&RequestId::mint()).status),
        (504, 503)
    );
}

#[tokio::test]
async fn the_answer_to_head_keeps_the_length_that_it_tells() {
    let (url, _heard) = backend("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n").await;
    let answer = passed(&url, "HEAD", LONG).await.unwrap();
    let NativeAnswer::Raw(rendered) = answer.native() else {
        panic!("as it is");
    };
    assert_eq!(rendered.headers[0].1, "1234");
}
