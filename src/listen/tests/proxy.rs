//! The PROXY protocol and Unix sockets, over real connections.

use super::*;
use crate::listen::{ProxyFailure, ProxyProtocol};
use crate::model::cidr::Networks;
use crate::model::peer::{Endpoint, Trust};

const GET: &str = "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fn terms(proxy_protocol: ProxyProtocol, speakers: &[&str]) -> Terms {
    let proxies = speakers.iter().map(|range| range.parse().unwrap());
    let proxies = proxies.collect();
    Terms {
        proxy_protocol,
        trust: Arc::new(Trust {
            proxies: Networks(proxies),
            ..Trust::default()
        }),
        ..Terms::default()
    }
}

fn start(proxy_protocol: ProxyProtocol, speakers: &[&str]) -> Gateway {
    Gateway::start_on(terms(proxy_protocol, speakers), ConnectionLimits::default())
}

fn failures(gateway: &Gateway) -> Vec<(ProxyFailure, u64)> {
    gateway
        .stats
        .proxy_failures()
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn source(gateway: &Gateway) -> String {
    gateway
        .echo
        .peers
        .lock()
        .unwrap()
        .last()
        .unwrap()
        .source
        .to_string()
}

/// A header of version 2 for 203.0.113.9:4711, with the id of a VPC endpoint.
fn version_2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x19".to_vec();
    header.extend([203, 0, 113, 9, 192, 0, 2, 1, 0x12, 0x67, 0x01, 0xbb]);
    header.extend(b"\xea\x00\x0a\x01vpce-0123");
    header
}

#[tokio::test]
async fn the_peer_is_the_one_that_the_header_names() {
    for (mode, header) in [
        (
            ProxyProtocol::V1,
            b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n".to_vec(),
        ),
        (ProxyProtocol::V2, version_2()),
        (ProxyProtocol::Auto, version_2()),
    ] {
        let gateway = start(mode, &["127.0.0.0/8"]);
        let whole = [&header, GET.as_bytes()].concat();
        let answer = gateway.exchange(&whole).await;
        assert!(answer.ends_with("GET /a 0\n"), "{mode:?}: {answer}");
        assert_eq!(source(&gateway), "203.0.113.9:4711");
        let peer = gateway.echo.peers.lock().unwrap()[0].clone();
        assert_eq!(
            peer.vpce.as_deref(),
            (mode != ProxyProtocol::V1).then_some("vpce-0123")
        );
        assert!(peer.remote.ip().is_loopback());
        // byte by byte, and no byte of the request is lost
        let mut stream = gateway.connect().await;
        for byte in &whole {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(read_to_end(&mut stream).await.ends_with("GET /a 0\n"));
        assert_eq!(failures(&gateway), []);
    }
}

#[tokio::test]
async fn a_connection_without_the_header_that_it_needs_is_closed_and_counted() {
    let gateway = start(ProxyProtocol::V2, &[]);
    let mut wrong = version_2();
    wrong[13] = 0x12;
    for (bytes, failure) in [
        (GET.as_bytes().to_vec(), ProxyFailure::Missing),
        (
            b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n".to_vec(),
            ProxyFailure::Missing,
        ),
        (wrong, ProxyFailure::Malformed),
    ] {
        let before: u64 = failures(&gateway).iter().map(|(_, count)| count).sum();
        assert_eq!(gateway.exchange(&bytes).await, "");
        assert!(
            failures(&gateway).iter().any(|(own, _)| *own == failure),
            "{failure:?}"
        );
        let after: u64 = failures(&gateway).iter().map(|(_, count)| count).sum();
        assert_eq!(after, before + 1);
    }
    drop(gateway.connect().await);
    eventually(|| gateway.stats.open() == 0).await;
    assert_eq!(
        failures(&gateway)
            .iter()
            .map(|(_, count)| count)
            .sum::<u64>(),
        3
    );
    assert!(gateway.requests().is_empty() && gateway.malformed().is_empty());
}

#[tokio::test]
async fn a_header_has_the_time_of_a_head() {
    let limits = ConnectionLimits {
        header_timeout: Duration::from_millis(200),
        ..ConnectionLimits::default()
    };
    let gateway = Gateway::start_on(terms(ProxyProtocol::Auto, &[]), limits);
    assert_eq!(gateway.exchange("PROXY TCP4 ").await, "");
    assert_eq!(failures(&gateway), [(ProxyFailure::Timeout, 1)]);
}

#[tokio::test]
async fn with_auto_a_connection_may_begin_with_its_request() {
    let gateway = start(ProxyProtocol::Auto, &["127.0.0.0/8"]);
    assert!(gateway.exchange(GET).await.ends_with("GET /a 0\n"));
    assert!(source(&gateway).starts_with("127.0.0.1:"));
    // health checks of the load balancer itself
    let local = [&b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"[..], GET.as_bytes()].concat();
    assert!(gateway.exchange(local).await.ends_with("GET /a 0\n"));
    assert!(source(&gateway).starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn strangers_may_not_say_where_they_come_from() {
    let gateway = start(ProxyProtocol::Auto, &["10.0.0.0/8"]);
    let answer = gateway
        .exchange(format!(
            "PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n{GET}"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(gateway.exchange(GET).await.ends_with("GET /a 0\n"));
    assert!(source(&gateway).starts_with("127.0.0.1:"));
    let strict = start(ProxyProtocol::V1, &["10.0.0.0/8"]);
    let answer = strict
        .exchange(format!(
            "PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n{GET}"
        ))
        .await;
    assert_eq!(answer, "");
    assert_eq!(failures(&strict), [(ProxyFailure::Untrusted, 1)]);
}

#[tokio::test]
async fn http_2_comes_after_the_header_too() {
    let gateway = start(ProxyProtocol::V2, &[]);
    let mut stream = gateway.connect().await;
    stream.write_all(&version_2()).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = Request::builder()
        .uri("http://a.example/h2")
        .body(())
        .unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(source(&gateway), "203.0.113.9:4711");
    driving.abort();
}

#[tokio::test]
async fn a_unix_socket_serves_and_its_file_goes_when_accepting_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let bound = Bound::bind(&ListenerSpec::new(
        "public",
        format!("unix:{}", path.display()),
    ))
    .unwrap();
    let echo = Echo {
        requests: Arc::default(),
        peers: Arc::default(),
        malformed: Arc::default(),
        gate: Arc::new(Semaphore::new(0)),
        barred: Arc::default(),
    };
    let (handle, drain) = DrainHandle::new();
    let (_keep, limits) = watch::channel(ConnectionLimits::default());
    let running = tokio::spawn(run(
        bound,
        Terms::default(),
        limits,
        echo.clone(),
        drain,
        Arc::default(),
    ));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("GET /a 0\n"), "{answer}");
    assert_eq!(echo.peers.lock().unwrap()[0].source, Endpoint::Unix);
    handle.start(LONG);
    assert_eq!(running.await.unwrap().unwrap(), Drained::default());
    assert!(!path.exists());
}
