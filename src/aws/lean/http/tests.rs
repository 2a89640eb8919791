use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

/// A server that answers each connection's first request with this text, and tells what it was sent.
async fn server(answer: &'static str) -> (String, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, heard) = unbounded_channel();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            told.send(text).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            open.push(stream);
        }
    });
    (address, heard)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn post(http: &Http, uri: &str) -> Result<u16, legacy::Error> {
    let uri: Uri = uri.parse().unwrap();
    let mut request = Request::post(uri.clone())
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    if let Some(value) = http.proxy_authorization(&uri) {
        let name = http::header::PROXY_AUTHORIZATION;
        request.headers_mut().insert(name, value);
    }
    let answer = http.pool.request(request).await?;
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn what_goes_in_clear_is_read_by_the_proxy_which_is_shown_its_credentials() {
    let (proxy, mut heard) = server(OK).await;
    let proxies = Matcher::builder().http(format!("http://user:word@{proxy}"));
    let http = Http::new(proxies.no("127.0.0.1").build());
    assert_eq!(
        post(&http, "http://sqs.example:4566/base").await.unwrap(),
        200
    );
    let asked = heard.recv().await.unwrap();
    assert!(
        asked.starts_with("POST http://sqs.example:4566/base HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(
        asked.contains("proxy-authorization: Basic dXNlcjp3b3Jk"),
        "{asked}"
    );

    let (server, mut direct) = server(OK).await;
    assert_eq!(
        post(&http, &format!("http://{server}/y")).await.unwrap(),
        200
    );
    let asked = direct.recv().await.unwrap();
    assert!(asked.starts_with("POST /y HTTP/1.1\r\n"), "{asked}");
    assert!(!asked.contains("proxy-authorization"), "{asked}");
    assert!(heard.try_recv().is_err(), "NO_PROXY was asked for");
}

#[tokio::test]
async fn what_goes_over_tls_goes_through_a_tunnel_and_a_proxy_that_refuses_it_was_sent_nothing() {
    let (proxy, mut heard) = server("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let proxies = Matcher::builder().https(format!("http://user:word@{proxy}"));
    let http = Http::new(proxies.build());
    let refused = post(&http, "https://sqs.eu-west-1.amazonaws.com/").await;
    assert!(refused.unwrap_err().is_connect());
    let asked = heard.recv().await.unwrap();
    let expected = "CONNECT sqs.eu-west-1.amazonaws.com:443 HTTP/1.1\r\n";
    assert!(asked.starts_with(expected), "{asked}");
    let asked = asked.to_lowercase();
    assert!(
        asked.contains("proxy-authorization: basic dxnlcjp3b3jk"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_host_that_does_not_take_the_connection_was_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let http = Http::new(Matcher::builder().build());
    // takes the connection and never says a word of TLS
    let silent = post(&http, &format!("https://{address}/"))
        .await
        .unwrap_err();
    assert!(silent.is_connect());
    let said = crate::aws::error::root_cause(&silent);
    assert_eq!(said, "no connection within 2 s");
    drop(listener);
    let refused = post(&http, &format!("http://{address}/"))
        .await
        .unwrap_err();
    assert!(refused.is_connect());
    let said = crate::aws::error::root_cause(&refused);
    assert!(said.starts_with("Connection refused"), "{said}");
}
