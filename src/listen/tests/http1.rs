//! HTTP/1: what good clients do, and the clocks.

use super::*;

const GET: &str = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n";

fn short_header_timeout() -> ConnectionLimits {
    ConnectionLimits {
        header_timeout: Duration::from_millis(200),
        idle_timeout: LONG,
        ..ConnectionLimits::default()
    }
}

fn short_idle_timeout() -> ConnectionLimits {
    ConnectionLimits {
        header_timeout: LONG,
        idle_timeout: Duration::from_millis(200),
        ..ConnectionLimits::default()
    }
}

#[tokio::test]
async fn a_request_is_served_and_the_connection_is_kept() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = gateway.connect().await;
    for _ in 0..2 {
        stream.write_all(GET.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "GET /a 0\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\r\ndate: "), "{answer}");
    }
    assert_eq!((gateway.stats.accepted(), gateway.stats.open()), (1, 1));
    drop(stream);
    eventually(|| gateway.stats.open() == 0).await;
    assert_eq!(gateway.malformed(), []);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let answer = gateway
        .exchange(
            "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nhost: a\r\n\r\n\
             POST /3 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n4\r\nwiki\r\n0\r\n\r\n",
        )
        .await;
    let at = |text: &str| answer.find(text).unwrap();
    assert!(at("POST /1 3") < at("GET /2 0") && at("GET /2 0") < at("POST /3 4"));
    assert_eq!(answers(&answer), 3);
}

#[tokio::test]
async fn a_head_in_single_bytes_is_served() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = gateway.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in "POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi".bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    read_until(&mut stream, "POST /p 2\n").await;
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let answer = gateway.exchange("GET /old HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
}

#[tokio::test]
async fn continue_goes_out_only_when_the_body_is_asked_for() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        )
    };
    let early = gateway.exchange(head("/early")).await;
    assert!(early.starts_with("HTTP/1.1 413 "), "{early}");

    let mut stream = gateway.connect().await;
    stream.write_all(head("/p").as_bytes()).await.unwrap();
    read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    stream.write_all(b"hi").await.unwrap();
    read_until(&mut stream, "POST /p 2\n").await;
}

#[tokio::test]
async fn an_answer_before_the_body_reaches_a_client_that_goes_on_sending() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = gateway.connect().await;
    let head = format!(
        "POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        4 << 20
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..64 {
        // to the end, whatever was answered
        stream.write_all(&[b'x'; 64 << 10]).await.unwrap();
    }
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(answers(&answer), 1);
}

#[tokio::test]
async fn a_half_sent_head_gets_408_in_its_time_although_idling_is_allowed_longer() {
    let gateway = Gateway::start(short_header_timeout());
    let answer = gateway.exchange("GET /slow HTTP/1.1\r\nhost").await;
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nconnection: close\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], "timeout");
    assert!(head.contains(&format!(
        "x-request-id: {}",
        body["requestId"].as_str().unwrap()
    )));
    assert_eq!(
        gateway.malformed(),
        [(MalformedKind::HeadTimeout, Some(408))]
    );
    assert_eq!(gateway.requests(), [] as [&str; 0]);
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_head_that_dribbles_in_gets_408_also_on_a_used_connection() {
    let gateway = Gateway::start(short_header_timeout());
    let mut stream = gateway.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    read_until(&mut stream, "GET /a 0\n").await;
    let (mut reader, mut writer) = stream.into_split();
    let dribble = tokio::spawn(async move {
        let _ = writer.write_all(b"GET /b HTTP/1.1\r\n").await;
        while writer.write_all(b"x-y: z\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut answer))
        .await
        .unwrap();
    dribble.abort();
    assert!(answer.starts_with(b"HTTP/1.1 408 "));
    assert_eq!(gateway.requests(), ["GET /a"]);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_timeout() {
    let gateway = Gateway::start(short_header_timeout());
    let mut stream = gateway.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    read_until(&mut stream, "GET /a 0\n").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    read_until(&mut stream, "GET /a 0\n").await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_silently() {
    let gateway = Gateway::start(short_idle_timeout());
    let mut stream = gateway.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.ends_with("GET /a 0\n"), "{answer}");
    assert_eq!(gateway.malformed(), []);
    eventually(|| gateway.stats.idle_closed() == 1).await;
}

#[tokio::test]
async fn a_half_head_that_came_with_the_request_before_it_gets_408() {
    let gateway = Gateway::start(short_idle_timeout());
    let answer = gateway.exchange(format!("{GET}GET /b HT")).await;
    assert_eq!(answers(&answer), 2);
    assert!(answer.contains("GET /a 0\nHTTP/1.1 408 "), "{answer}");
    assert_eq!(gateway.requests(), ["GET /a"]);
}

#[tokio::test]
async fn a_long_request_is_not_silence() {
    let gateway = Gateway::start(ConnectionLimits {
        header_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(100),
        ..ConnectionLimits::default()
    });
    let mut stream = gateway.connect().await;
    stream
        .write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    gateway.echo.gate.add_permits(1);
    read_until(&mut stream, "GET /wait 0\n").await;
}

#[tokio::test]
async fn silence_and_half_a_preface_end_with_the_header_timeout() {
    let gateway = Gateway::start(short_header_timeout());
    assert_eq!(gateway.exchange("").await, "");
    assert_eq!(gateway.malformed(), []);
    for part in ["P", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let answer = gateway.exchange(part).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{part}: {answer}");
    }
    assert_eq!(
        gateway.malformed(),
        [(MalformedKind::HeadTimeout, Some(408)); 2]
    );
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_client_that_closes_its_sending_half_still_gets_its_answer() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = gateway.connect().await;
    stream
        .write_all(b"POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    assert!(read_to_end(&mut stream).await.ends_with("POST /p 2\n"));

    let mut stream = gateway.connect().await;
    stream
        .write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    gateway.echo.gate.add_permits(1);
    assert!(read_to_end(&mut stream).await.ends_with("GET /wait 0\n"));
    eventually(|| gateway.stats.open() == 0).await;
}

#[tokio::test]
async fn a_client_that_is_gone_ends_its_request() {
    let gateway = Gateway::start(ConnectionLimits {
        half_close: Duration::from_millis(100),
        ..ConnectionLimits::default()
    });
    let mut stream = gateway.connect().await;
    stream
        .write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    eventually(|| gateway.stats.in_flight() == 1).await;
    drop(stream);
    eventually(|| gateway.stats.in_flight() == 0 && gateway.stats.open() == 0).await;
    assert_eq!(gateway.malformed(), []);
}

#[tokio::test]
async fn a_request_hears_at_once_that_its_client_has_closed_its_sending_half() {
    let gateway = Gateway::start(ConnectionLimits {
        half_close: LONG,
        ..ConnectionLimits::default()
    });
    let mut stream = gateway.connect().await;
    stream
        .write_all(b"GET /poll HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    eventually(|| gateway.stats.in_flight() == 1).await;
    stream.shutdown().await.unwrap();
    assert!(read_to_end(&mut stream).await.ends_with("GET /poll 0\n"));
    eventually(|| gateway.stats.open() == 0).await;
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_cut_off() {
    let gateway = Gateway::start(short_idle_timeout());
    let mut stream = gateway.connect().await;
    stream
        .write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    eventually(|| gateway.stats.stalled() == 1 && gateway.stats.open() == 0).await;
    assert!(read_to_end(&mut stream).await.len() < 8 << 20);
    gateway.assert_well().await;
}

#[tokio::test]
async fn beyond_the_limit_a_connection_is_told_so() {
    let gateway = Gateway::start(ConnectionLimits {
        connections: 1,
        ..ConnectionLimits::default()
    });
    let mut first = gateway.connect().await;
    first
        .write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    eventually(|| gateway.stats.in_flight() == 1).await;

    let refused = gateway.exchange(GET).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n"));
    assert!(refused.contains("\"code\":\"overloaded\""));
    assert_eq!(
        gateway.malformed(),
        [(MalformedKind::TooManyConnections, Some(503))]
    );
    assert_eq!(gateway.stats.refused(), 1);

    drop(first);
    eventually(|| gateway.stats.open() == 0).await;
    gateway.assert_well().await;
}

#[tokio::test]
async fn an_offer_to_upgrade_is_passed_over() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = gateway.connect().await;
    for upgrade in [
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk",
        "connection: upgrade\r\nupgrade: websocket",
    ] {
        let request = format!("GET /a HTTP/1.1\r\nhost: a\r\n{upgrade}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "GET /a 0\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn every_form_of_target_is_handed_over() {
    let gateway = Gateway::start(ConnectionLimits::default());
    for line in ["OPTIONS *", "GET http://b/a", "CONNECT b:443"] {
        let answer = gateway
            .exchange(format!(
                "{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{line}: {answer}");
    }
    assert_eq!(gateway.requests(), ["OPTIONS *", "GET /a", "CONNECT "]);
}
