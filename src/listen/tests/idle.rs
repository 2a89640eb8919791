//! Connections without a request: what they keep, who makes room for whom, how old they become, and who may connect.

use super::*;

const GET: &str = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n";

/// A connection that has had an answer.
async fn served(gateway: &Gateway) -> TcpStream {
    let mut stream = gateway.connect().await;
    again(&mut stream).await;
    stream
}

/// One more request on the same connection.
async fn again(stream: &mut TcpStream) -> String {
    stream.write_all(GET.as_bytes()).await.unwrap();
    read_until(stream, "GET /a 0\n").await
}

/// Waits until so many connections are among the silent ones.
async fn parked(gateway: &Gateway, connections: usize) {
    eventually(|| gateway.stats.parked() == connections as u64).await;
}

#[tokio::test]
async fn a_connection_that_was_put_away_is_served_again() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = served(&gateway).await;
    for _ in 0..2 {
        parked(&gateway, 1).await;
        again(&mut stream).await;
        eventually(|| gateway.stats.parked() == 0).await;
    }
    parked(&gateway, 1).await;
    stream.write_all(b"GET /a HT").await.unwrap();
    eventually(|| gateway.stats.parked() == 0).await;
    stream
        .write_all(b"TP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(read_to_end(&mut stream).await.ends_with("GET /a 0\n"));
    assert_eq!(gateway.requests().len(), 4);
    assert_eq!(gateway.malformed(), []);
}

#[tokio::test]
async fn a_half_head_behind_a_request_has_the_time_of_a_head() {
    let gateway = Gateway::start(ConnectionLimits {
        header_timeout: Duration::from_millis(300),
        idle_timeout: LONG,
        ..ConnectionLimits::default()
    });
    let answer = gateway
        .exchange(format!("{GET}GET /b HTTP/1.1\r\nho"))
        .await;
    assert_eq!(answers(&answer), 2, "{answer}");
    assert!(answer.contains("HTTP/1.1 408 "), "{answer}");
    assert_eq!(
        gateway.malformed(),
        [(MalformedKind::HeadTimeout, Some(408))]
    );
}

#[tokio::test]
async fn a_connection_that_was_put_away_ends_with_the_idle_timeout_and_with_the_drain() {
    let gateway = Gateway::start(ConnectionLimits {
        idle_timeout: Duration::from_millis(1_200),
        ..ConnectionLimits::default()
    });
    let mut stream = served(&gateway).await;
    parked(&gateway, 1).await;
    assert_eq!(read_to_end(&mut stream).await, "");
    assert_eq!(gateway.stats.idle_closed(), 1);

    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = served(&gateway).await;
    parked(&gateway, 1).await;
    gateway.drain.start(LONG);
    assert_eq!(read_to_end(&mut stream).await, "");
    drop(stream);
    assert_eq!(gateway.running.await.unwrap(), Drained::default());
}

#[tokio::test]
async fn when_the_listener_is_full_the_connection_goes_that_was_silent_for_longest() {
    let gateway = Gateway::start(ConnectionLimits {
        connections: 3,
        ..ConnectionLimits::default()
    });
    let mut waiting = gateway.connect().await;
    waiting
        .write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    eventually(|| gateway.stats.in_flight() == 1).await;
    let mut silent = gateway.connect().await;
    parked(&gateway, 1).await;
    let mut second = served(&gateway).await;
    parked(&gateway, 2).await;

    gateway.assert_well().await;
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(gateway.stats.evicted(), 1);
    again(&mut second).await;
    gateway.echo.gate.add_permits(1);
    read_until(&mut waiting, "GET /wait 0\n").await;
    assert_eq!(gateway.stats.refused(), 0);
}

#[tokio::test]
async fn a_silent_http2_connection_makes_room_and_a_busy_one_does_not() {
    let gateway = Gateway::start(ConnectionLimits {
        connections: 1,
        ..ConnectionLimits::default()
    });
    let (sender, connection) = h2::client::handshake(gateway.connect().await)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    parked(&gateway, 1).await;
    let request = Request::get("http://a/wait").body(()).unwrap();
    let (slow, _) = sender.send_request(request, true).unwrap();
    eventually(|| gateway.stats.in_flight() == 1).await;
    assert_eq!(gateway.stats.parked(), 0);
    let refused = gateway.exchange(GET).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");

    gateway.echo.gate.add_permits(1);
    assert_eq!(slow.await.unwrap().status(), 200);
    parked(&gateway, 1).await;
    gateway.assert_well().await;
    assert_eq!(gateway.stats.evicted(), 1);
    let _ = tokio::time::timeout(PATIENCE, connection).await.unwrap();
}

#[tokio::test]
async fn a_crowd_of_silent_connections_keeps_nobody_out() {
    let gateway = Gateway::start(ConnectionLimits {
        connections: 50,
        ..ConnectionLimits::default()
    });
    let mut crowd = Vec::new();
    for _ in 0..20 {
        for _ in 0..25 {
            crowd.push(gateway.connect().await);
        }
        gateway.assert_well().await;
        eventually(|| gateway.stats.open() <= 50).await;
    }
    assert!(gateway.stats.evicted() >= 400);
}

#[tokio::test]
async fn an_old_connection_s_next_answer_is_its_last() {
    let gateway = Gateway::start(ConnectionLimits {
        age: Some(Duration::from_millis(100)),
        ..ConnectionLimits::default()
    });
    let mut stream = gateway.connect().await;
    tokio::time::sleep(Duration::from_millis(120)).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("GET /a 0\n"), "{answer}");
    assert_eq!(gateway.stats.aged(), 1);

    let young = Gateway::start(ConnectionLimits {
        age: Some(LONG),
        ..ConnectionLimits::default()
    });
    let mut stream = young.connect().await;
    assert!(!again(&mut stream).await.contains("connection: close"));
}

#[tokio::test]
async fn an_old_http2_connection_is_told_to_go_away_and_finishes_its_streams() {
    let gateway = Gateway::start(ConnectionLimits {
        age: Some(Duration::from_millis(200)),
        ..ConnectionLimits::default()
    });
    let (sender, connection) = h2::client::handshake(gateway.connect().await)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let request = Request::get("http://a/wait").body(()).unwrap();
    let (slow, _) = sender.send_request(request, true).unwrap();
    eventually(|| gateway.stats.aged() == 1).await;
    gateway.echo.gate.add_permits(1);
    assert_eq!(slow.await.unwrap().status(), 200);
    drop(sender);
    let ended = tokio::time::timeout(PATIENCE, connection).await.unwrap();
    assert!(ended.unwrap().is_ok(), "GOAWAY without an error");
}

#[tokio::test]
async fn a_client_that_is_barred_is_told_so_and_nothing_of_it_is_served() {
    let gateway = Gateway::start(ConnectionLimits::default());
    gateway.echo.barred.store(true, Relaxed);
    let answer = gateway.exchange(format!("{GET}{GET}")).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("\"code\":\"forbidden\""), "{answer}");
    assert_eq!(answers(&answer), 1);
    assert_eq!(gateway.requests(), [] as [&str; 0]);
    assert_eq!(gateway.malformed(), [(MalformedKind::Barred, Some(403))]);
    assert_eq!((gateway.stats.barred(), gateway.stats.open()), (1, 0));
    gateway.echo.barred.store(false, Relaxed);
    gateway.assert_well().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let gateway = Gateway::start(ConnectionLimits {
        per_address: Some(2),
        ..ConnectionLimits::default()
    });
    let (one, _two) = (served(&gateway).await, served(&gateway).await);
    let answer = gateway.exchange(GET).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(
        gateway.malformed(),
        [(MalformedKind::TooManyFromAddress, Some(503))]
    );
    assert_eq!(gateway.stats.crowded(), 1);

    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    again(&mut other.connect(gateway.address).await.unwrap()).await;
    drop(one);
    eventually(|| gateway.stats.open() == 1).await;
    gateway.assert_well().await;
}
