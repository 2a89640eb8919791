use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const BOUNDS: Bounds = Bounds {
    timeout: Duration::from_secs(10),
    max_body: 100,
};

/// A server that answers one request after another with this text, and tells what it was sent.
async fn server(
    answer: &'static str,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        // Open to the end: a connection that is closed is another failure than one that says nothing more.
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            told.send(String::from_utf8_lossy(&bytes[..read]).into_owned())
                .unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            open.push(stream);
        }
    });
    (address, heard)
}

fn without_proxy(settings: Settings) -> Client {
    Client::with_proxies(settings, Matcher::builder().build())
}

fn get(uri: &str) -> Request<Bytes> {
    Request::get(uri).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn an_operator_s_url_may_point_at_this_machine_and_a_stranger_s_may_not() {
    let (address, mut heard) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let client = without_proxy(Settings::default());
    let uri = format!("http://{address}");
    let answer = client.send(get(&uri), Named::ByOperator, BOUNDS).await;
    assert_eq!(answer.unwrap().body().as_ref(), b"hi");
    assert!(
        heard
            .recv()
            .await
            .unwrap()
            .starts_with("GET / HTTP/1.1\r\n")
    );

    for uri in [
        uri.clone(),
        format!("http://localhost:{}/", address.port()),
        format!("http://[::ffff:127.0.0.1]:{}/", address.port()),
    ] {
        let refused = client.send(get(&uri), Named::ByStranger, BOUNDS).await;
        assert!(
            matches!(refused, Err(FetchError::Forbidden { .. })),
            "{uri}: {refused:?}"
        );
    }
    assert!(heard.try_recv().is_err(), "nobody was asked");
}

#[tokio::test]
async fn a_stranger_s_url_may_point_where_the_operator_allows_it() {
    let (address, _heard) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let client = without_proxy(Settings {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        ca: None,
        ca_digest: None,
    });
    let uri = format!("http://{address}/x");
    let answer = client.send(get(&uri), Named::ByStranger, BOUNDS).await;
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (address, mut heard) =
        server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
            .await;
    let client = without_proxy(Settings::default());
    let uri = format!("http://{address}/x");
    let answer = client.send(get(&uri), Named::ByOperator, BOUNDS).await;
    assert_eq!(answer.unwrap().status(), 302);
    assert!(heard.recv().await.is_some());
}

#[tokio::test]
async fn an_answer_that_is_too_large_or_too_late_is_none() {
    let (large, _heard) = server("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n0123456789").await;
    let client = without_proxy(Settings::default());
    let answer = client
        .send(get(&format!("http://{large}/")), Named::ByOperator, BOUNDS)
        .await;
    assert_eq!(answer.unwrap_err(), FetchError::TooLarge(100));
    let (late, _heard) = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0").await;
    let timeout = Duration::from_millis(50);
    let bounds = Bounds { timeout, ..BOUNDS };
    let answer = client
        .send(get(&format!("http://{late}/")), Named::ByOperator, bounds)
        .await;
    assert_eq!(answer.unwrap_err(), FetchError::Timeout(timeout));
}

#[tokio::test]
async fn what_is_no_web_address_is_refused_without_its_credentials() {
    let client = without_proxy(Settings::default());
    for uri in ["/x", "ftp://user:hunter2@example.com/x"] {
        let refused = client.send(get(uri), Named::ByOperator, BOUNDS).await;
        let said = refused.unwrap_err().to_string();
        assert!(
            said.contains("is not a URL") && !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_proxy_is_asked_with_its_credentials_and_is_left_out_where_the_environment_says_so() {
    let (proxy, mut heard) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let (server, mut direct) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let proxies = Matcher::builder()
        .all(format!("http://user:word@{proxy}"))
        .no("127.0.0.1")
        .build();
    let client = Client::with_proxies(Settings::default(), proxies);
    let answer = client
        .send(get("http://keys.example/jwks"), Named::ByOperator, BOUNDS)
        .await;
    assert_eq!(answer.unwrap().status(), 200);
    let asked = heard.recv().await.unwrap();
    assert!(
        asked.starts_with("GET http://keys.example/jwks HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(
        asked.contains("proxy-authorization: Basic dXNlcjp3b3Jk"),
        "{asked}"
    );
    let answer = client
        .send(
            get(&format!("http://{server}/y")),
            Named::ByOperator,
            BOUNDS,
        )
        .await;
    assert_eq!(answer.unwrap().status(), 200);
    assert!(direct.recv().await.unwrap().starts_with("GET /y HTTP/1.1"));
    assert!(heard.try_recv().is_err());
}

#[tokio::test]
async fn what_goes_over_tls_goes_through_a_tunnel_of_the_proxy() {
    let (proxy, mut heard) = server("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let proxies = Matcher::builder().https(format!("http://{proxy}")).build();
    let client = Client::with_proxies(Settings::default(), proxies);
    let answer = client
        .send(get("https://keys.example/jwks"), Named::ByOperator, BOUNDS)
        .await;
    assert!(
        matches!(answer, Err(FetchError::NotConnected(_))),
        "{answer:?}"
    );
    let asked = heard.recv().await.unwrap();
    assert!(
        asked.starts_with("CONNECT keys.example:443 HTTP/1.1\r\n"),
        "{asked}"
    );
}
