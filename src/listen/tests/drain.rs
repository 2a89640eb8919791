//! The way out of a listener.

use super::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n";

async fn drained(gateway: Gateway) -> Drained {
    tokio::time::timeout(PATIENCE, gateway.running)
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn the_drain_finishes_requests_closes_idle_connections_and_accepts_no_more() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut idle = gateway.connect().await;
    idle.write_all(GET).await.unwrap();
    read_until(&mut idle, "GET /a 0\n").await;
    let mut silent = gateway.connect().await;
    let mut busy = gateway.connect().await;
    busy.write_all(WAIT).await.unwrap();
    eventually(|| gateway.stats.in_flight() == 1 && gateway.stats.open() == 3).await;

    gateway.drain.start(LONG);
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut silent).await, "");
    let refused = TcpStream::connect(gateway.address).await;
    assert!(refused.is_err(), "nobody listens any more");

    gateway.echo.gate.add_permits(1);
    let answer = read_to_end(&mut busy).await;
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("GET /wait 0\n"), "{answer}");
    drop(busy);
    assert_eq!(drained(gateway).await, Drained::default());
}

#[tokio::test]
async fn a_request_whose_head_is_half_here_is_served_during_the_drain() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = gateway.connect().await;
    stream.write_all(GET).await.unwrap();
    read_until(&mut stream, "GET /a 0\n").await;
    let (first, rest) = GET.split_at(9);
    stream.write_all(first).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    gateway.drain.start(LONG);
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.write_all(rest).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.ends_with("GET /a 0\n"), "{answer}");
    assert_eq!(drained(gateway).await, Drained::default());
}

#[tokio::test]
async fn at_the_deadline_what_is_left_is_cut_off_and_counted() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut busy = gateway.connect().await;
    busy.write_all(WAIT).await.unwrap();
    eventually(|| gateway.stats.in_flight() == 1).await;
    let stats = gateway.stats.clone();
    gateway.drain.start(Duration::from_millis(100));
    let cut = Drained {
        connections: 1,
        requests: 1,
    };
    assert_eq!(drained(gateway).await, cut);
    assert_eq!(read_to_end(&mut busy).await, "");
    assert_eq!((stats.in_flight(), stats.open()), (0, 0));
}

#[tokio::test]
async fn a_second_word_ends_the_drain_at_once() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut busy = gateway.connect().await;
    busy.write_all(WAIT).await.unwrap();
    eventually(|| gateway.stats.in_flight() == 1).await;
    gateway.drain.start(LONG);
    gateway.drain.cut_off();
    assert_eq!(drained(gateway).await.requests, 1);
}

#[tokio::test]
async fn connections_in_the_backlog_are_served_when_the_drain_begins() {
    let bound = Bound::bind(&ListenerSpec::new("public", "127.0.0.1:0")).unwrap();
    let address = bound.ip_address().unwrap();
    let mut early = TcpStream::connect(address).await.unwrap();
    early.write_all(GET).await.unwrap();
    let (handle, drain) = DrainHandle::new();
    handle.start(LONG);
    let echo = Echo {
        requests: Arc::default(),
        peers: Arc::default(),
        malformed: Arc::default(),
        gate: Arc::new(Semaphore::new(0)),
        barred: Arc::default(),
    };
    let (_keep, limits) = watch::channel(ConnectionLimits::default());
    let running = tokio::spawn(run(
        bound,
        Terms::default(),
        limits,
        echo,
        drain,
        Arc::default(),
    ));
    let answer = read_to_end(&mut early).await;
    assert!(answer.ends_with("GET /a 0\n"), "{answer}");
    drop(early);
    assert_eq!(running.await.unwrap().unwrap(), Drained::default());
}
