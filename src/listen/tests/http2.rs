//! HTTP/2 by prior knowledge, with h2's client, and with frames by hand where no client would do such a thing.

use super::*;

type Sender = h2::client::SendRequest<Bytes>;

struct Client {
    sender: Sender,
    connection: JoinHandle<Result<(), h2::Error>>,
}

async fn client(gateway: &Gateway) -> Client {
    let (sender, connection) = h2::client::handshake(gateway.connect().await)
        .await
        .unwrap();
    Client {
        sender,
        connection: tokio::spawn(connection),
    }
}

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://a{path}"))
        .body(())
        .unwrap()
}

async fn text(answer: Response<h2::RecvStream>) -> String {
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    String::from_utf8(text).unwrap()
}

impl Client {
    async fn get(&mut self, path: &str) -> Result<Response<h2::RecvStream>, h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let (answer, _) = sender.send_request(request("GET", path), true)?;
        answer.await
    }

    /// How the connection ended.
    async fn end(self) -> Result<(), h2::Error> {
        drop(self.sender);
        tokio::time::timeout(PATIENCE, self.connection)
            .await
            .unwrap()
            .unwrap()
    }
}

#[tokio::test]
async fn both_protocols_are_served_on_one_port() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut client = client(&gateway).await;
    let mut sender = client.sender.clone().ready().await.unwrap();
    let (answer, mut body) = sender.send_request(request("POST", "/p"), false).unwrap();
    body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    assert_eq!(text(answer.await.unwrap()).await, "POST /p 5\n");
    assert_eq!(text(client.get("/a").await.unwrap()).await, "GET /a 0\n");
    gateway.assert_well().await;
    assert_eq!((gateway.stats.accepted(), gateway.stats.http2()), (2, 1));
}

#[tokio::test]
async fn requests_run_side_by_side() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut client = client(&gateway).await;
    let mut waiting = client.sender.clone().ready().await.unwrap();
    let (slow, _) = waiting.send_request(request("GET", "/wait"), true).unwrap();
    assert_eq!(text(client.get("/a").await.unwrap()).await, "GET /a 0\n");
    gateway.echo.gate.add_permits(1);
    assert_eq!(text(slow.await.unwrap()).await, "GET /wait 0\n");
}

#[tokio::test]
async fn a_preface_and_nothing_more_is_closed() {
    let gateway = Gateway::start(ConnectionLimits {
        header_timeout: Duration::from_millis(200),
        ..ConnectionLimits::default()
    });
    let mut stream = gateway.connect().await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    read_to_end(&mut stream).await;
    eventually(|| gateway.stats.open() == 0).await;
    gateway.assert_well().await;
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go_away_whatever_it_pings() {
    let gateway = Gateway::start(ConnectionLimits {
        idle_timeout: Duration::from_millis(300),
        ..ConnectionLimits::default()
    });
    let (sender, mut connection) = h2::client::handshake(gateway.connect().await)
        .await
        .unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let connection = tokio::spawn(connection);
    let pinging = tokio::spawn(async move {
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let ended = tokio::time::timeout(PATIENCE, connection).await.unwrap();
    assert!(ended.unwrap().is_ok(), "GOAWAY without an error");
    drop((sender, pinging));
    eventually(|| gateway.stats.open() == 0).await;
    assert_eq!(gateway.stats.idle_closed(), 1);
    assert_eq!(gateway.malformed(), []);
}

#[tokio::test]
async fn headers_without_an_end_are_closed_with_the_idle_timeout() {
    let gateway = Gateway::start(ConnectionLimits {
        idle_timeout: Duration::from_millis(300),
        linger: Duration::from_millis(100),
        ..ConnectionLimits::default()
    });
    let mut stream = gateway.connect().await;
    stream.write_all(&opening()).await.unwrap();
    // HEADERS without END_HEADERS, then one byte of CONTINUATION at a time
    stream.write_all(&frame(1, 0, 1, &[0x82])).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let dribble = tokio::spawn(async move {
        while writer.write_all(&frame(9, 0, 1, &[0x84])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut bytes))
        .await
        .unwrap();
    dribble.abort();
    assert_eq!(gateway.requests(), [] as [&str; 0]);
    gateway.assert_well().await;
}

#[tokio::test]
async fn an_answer_that_the_client_never_takes_is_cut_off_although_pings_go_on() {
    let gateway = Gateway::start(ConnectionLimits {
        idle_timeout: Duration::from_millis(300),
        ping_interval: Duration::from_millis(50),
        ..ConnectionLimits::default()
    });
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, Bytes>(gateway.connect().await)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let (answer, _) = sender.send_request(request("GET", "/a"), true).unwrap();
    let _unread = answer.await.unwrap();
    let _ = tokio::time::timeout(PATIENCE, connection).await.unwrap();
    eventually(|| gateway.stats.stalled() == 1 && gateway.stats.in_flight() == 0).await;
    gateway.assert_well().await;
}

#[tokio::test]
async fn the_drain_says_goaway_and_finishes_streams() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let client = client(&gateway).await;
    let mut sender = client.sender.clone().ready().await.unwrap();
    let (slow, _) = sender.send_request(request("GET", "/wait"), true).unwrap();
    eventually(|| gateway.stats.in_flight() == 1).await;
    gateway.drain.start(LONG);
    tokio::time::sleep(Duration::from_millis(100)).await;
    gateway.echo.gate.add_permits(1);
    assert_eq!(text(slow.await.unwrap()).await, "GET /wait 0\n");
    drop(sender);
    assert!(client.end().await.is_ok(), "GOAWAY without an error");
    assert_eq!(gateway.running.await.unwrap(), Drained::default());
}

#[tokio::test]
async fn the_deadline_cuts_off_streams_and_counts_them() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let client = client(&gateway).await;
    let mut sender = client.sender.clone().ready().await.unwrap();
    let (_one, _) = sender.send_request(request("GET", "/wait"), true).unwrap();
    let mut sender = sender.ready().await.unwrap();
    let (_two, _) = sender.send_request(request("GET", "/wait"), true).unwrap();
    eventually(|| gateway.stats.in_flight() == 2).await;
    let stats = gateway.stats.clone();
    gateway.drain.start(Duration::from_millis(50));
    let cut = Drained {
        connections: 1,
        requests: 2,
    };
    assert_eq!(gateway.running.await.unwrap(), cut);
    assert_eq!(stats.in_flight(), 0);
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_its_request() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut client = client(&gateway).await;
    let mut sender = client.sender.clone().ready().await.unwrap();
    let (_answer, mut stream) = sender
        .send_request(request("POST", "/wait"), false)
        .unwrap();
    eventually(|| gateway.stats.in_flight() == 1).await;
    stream.send_reset(h2::Reason::CANCEL);
    eventually(|| gateway.stats.in_flight() == 0).await;
    assert_eq!(text(client.get("/a").await.unwrap()).await, "GET /a 0\n");
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection_and_is_counted() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = gateway.connect().await;
    let mut bytes = opening();
    for id in 0..5_000 {
        let id = 1 + 2 * id;
        bytes.extend(frame(1, 0x4 | 0x1, id, GET_HEADERS));
        bytes.extend(frame(3, 0, id, &[0, 0, 0, 8]));
    }
    let _ = stream.write_all(&bytes).await;
    read_to_end(&mut stream).await;
    eventually(|| gateway.stats.open() == 0).await;
    assert_eq!(gateway.malformed(), [(MalformedKind::Protocol, None)]);
    assert_eq!(gateway.stats.in_flight(), 0);
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection_and_is_counted() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = gateway.connect().await;
    let mut bytes = opening();
    bytes.extend(frame(1, 0, 1, GET_HEADERS));
    for _ in 0..10_000 {
        bytes.extend(frame(9, 0, 1, &[]));
    }
    let _ = stream.write_all(&bytes).await;
    read_to_end(&mut stream).await;
    eventually(|| gateway.stats.open() == 0).await;
    assert_eq!(gateway.malformed(), [(MalformedKind::Protocol, None)]);
    assert_eq!(gateway.requests(), [] as [&str; 0]);
    gateway.assert_well().await;
}

#[tokio::test]
async fn nonsense_after_the_preface_is_counted() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let answer = gateway
        .exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    eventually(|| gateway.stats.open() == 0).await;
    assert_eq!(gateway.malformed(), [(MalformedKind::Protocol, None)]);
    gateway.assert_well().await;
}

#[tokio::test]
async fn too_many_streams_at_once_are_refused_not_served() {
    let gateway = Gateway::start(ConnectionLimits {
        max_streams: 2,
        ..ConnectionLimits::default()
    });
    let mut stream = gateway.connect().await;
    let mut bytes = opening();
    for id in [1, 3, 5, 7] {
        bytes.extend(frame(1, 0x4 | 0x1, id, WAIT_HEADERS));
    }
    stream.write_all(&bytes).await.unwrap();
    eventually(|| gateway.stats.in_flight() == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(gateway.requests(), ["GET /wait", "GET /wait"]);
}

#[tokio::test]
async fn header_lists_beyond_the_limit_get_431() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut client = client(&gateway).await;
    let mut sender = client.sender.clone().ready().await.unwrap();
    let mut large = request("GET", "/a");
    large
        .headers_mut()
        .insert("x", "y".repeat(70_000).parse().unwrap());
    let (answer, _) = sender.send_request(large, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 431);
    assert_eq!(text(client.get("/a").await.unwrap()).await, "GET /a 0\n");
    assert_eq!(gateway.requests(), ["GET /a"]);
}

#[tokio::test]
async fn a_body_longer_or_shorter_than_declared_is_unreadable() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut client = client(&gateway).await;
    for (declared, sent) in [("3", &b"abcdef"[..]), ("9", b"abc")] {
        let mut sender = client.sender.clone().ready().await.unwrap();
        let mut lying = request("POST", "/p");
        lying
            .headers_mut()
            .insert("content-length", declared.parse().unwrap());
        let (answer, mut body) = sender.send_request(lying, false).unwrap();
        body.send_data(Bytes::from_static(sent), true).unwrap();
        // the stream is reset, or our refusal was quicker
        assert!(answer.await.map_or(true, |answer| answer.status() == 400));
    }
    assert_eq!(text(client.get("/a").await.unwrap()).await, "GET /a 0\n");
}

#[tokio::test]
async fn beyond_the_limit_a_connection_is_told_to_go_away() {
    let gateway = Gateway::start(ConnectionLimits {
        connections: 1,
        ..ConnectionLimits::default()
    });
    let first = client(&gateway).await;
    let mut waiting = first.sender.clone().ready().await.unwrap();
    let (_slow, _) = waiting.send_request(request("GET", "/wait"), true).unwrap();
    eventually(|| gateway.stats.in_flight() == 1).await;
    let mut second = client(&gateway).await;
    let error = second.get("/b").await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    assert_eq!(
        gateway.malformed(),
        [(MalformedKind::TooManyConnections, None)]
    );
    assert_eq!(gateway.requests(), ["GET /wait"]);
}

/// Preface and SETTINGS.
pub(super) fn opening() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `:method: GET`, `:scheme: http`, `:path: /`, `:authority: a` (RFC 7541).
pub(super) const GET_HEADERS: &[u8] = &[0x82, 0x86, 0x84, 0x01, 0x01, b'a'];

/// The same for `/wait`.
pub(super) const WAIT_HEADERS: &[u8] = &[
    0x82, 0x86, 0x04, 0x05, b'/', b'w', b'a', b'i', b't', 0x01, 0x01, b'a',
];
