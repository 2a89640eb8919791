//! What is no good HTTP/1: never two requests out of one, a fitting status, and the server stays well.

use super::*;

/// Sends the bytes; gives what was answered, and asserts that a good client is served afterwards.
async fn tried(bytes: impl AsRef<[u8]>) -> (Gateway, String) {
    let gateway = Gateway::start(ConnectionLimits {
        header_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        ..ConnectionLimits::default()
    });
    let answer = gateway.exchange(bytes).await;
    gateway.assert_well().await;
    gateway
        .echo
        .requests
        .lock()
        .unwrap()
        .retain(|line| line != "GET /well");
    (gateway, answer)
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn what_is_no_request_gets_400_and_is_counted_once() {
    for bytes in [
        "no http at all\r\n\r\n",
        "GET /a\r\n\r\n",
        "GET /a HTTP/3.0\r\nhost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        "G@T /a HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nx: 1\rx: 2\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
        // obsolete line folding (RFC 9112, 5.2)
        "GET /a HTTP/1.1\r\nhost: a\r\nx: 1\r\n folded\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}",
    ] {
        let (gateway, answer) = tried(bytes).await;
        assert_eq!(status(&answer), "400", "{bytes:?}: {answer}");
        assert_eq!(answers(&answer), 1, "{bytes:?}");
        assert_eq!(gateway.requests(), [] as [&str; 0], "{bytes:?}");
        assert_eq!(
            gateway.malformed(),
            [(MalformedKind::Head, Some(400))],
            "{bytes:?}"
        );
    }
}

#[tokio::test]
async fn a_length_that_is_not_certain_gets_400_and_nothing_after_it_is_read() {
    for lengths in [
        "content-length: 3\r\ncontent-length: 38",
        "content-length: 3, 38",
        "content-length: 3, 3",
        "content-length: +3",
        "content-length: -1",
        "content-length: 0x3",
        "content-length: 99999999999999999999",
        "content-length:",
        "transfer-encoding: identity",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding : chunked",
        "transfer-encoding\u{b}: chunked",
        "content-length: 3\r\ntransfer-encoding: gzip",
    ] {
        let (gateway, answer) = tried(format!(
            "POST /a HTTP/1.1\r\nhost: a\r\n{lengths}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        ))
        .await;
        assert_eq!(status(&answer), "400", "{lengths:?}: {answer}");
        assert_eq!(answers(&answer), 1, "{lengths:?}: {answer}");
        assert_eq!(gateway.requests(), [] as [&str; 0], "{lengths:?}");
        assert_eq!(
            gateway.malformed(),
            [(MalformedKind::Head, Some(400))],
            "{lengths:?}"
        );
    }
}

#[tokio::test]
async fn with_both_lengths_chunked_wins_and_the_connection_closes() {
    for lengths in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\ncontent-length: 6",
        "transfer-encoding: CHUNKED\r\ncontent-length: nonsense",
    ] {
        let (gateway, answer) = tried(format!(
            "POST /a HTTP/1.1\r\nhost: a\r\n{lengths}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        ))
        .await;
        assert_eq!(status(&answer), "200", "{lengths:?}: {answer}");
        assert_eq!(answers(&answer), 1, "{lengths:?}: {answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert_eq!(gateway.requests(), ["POST /a"], "{lengths:?}");
    }
}

#[tokio::test]
async fn the_same_length_twice_is_one_length() {
    let (gateway, answer) = tried(
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
    )
    .await;
    assert!(answer.ends_with("POST /a 3\n"), "{answer}");
    assert_eq!(gateway.requests(), ["POST /a"]);
}

#[tokio::test]
async fn transfer_encoding_in_http_1_0_gets_400() {
    let (gateway, answer) = tried(
        "POST /a HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.0\r\n\r\n",
    )
    .await;
    assert!(answer.contains(" 400 "), "{answer}");
    assert_eq!(gateway.requests(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_bad_chunk_makes_the_body_unreadable_and_closes_the_connection() {
    for chunks in [
        "z\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3 3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3\rXabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
    ] {
        let (gateway, answer) = tried(format!(
            "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}\
             GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        ))
        .await;
        assert_eq!(status(&answer), "400", "{chunks:?}: {answer}");
        assert!(answer.contains("unreadable body"), "{chunks:?}: {answer}");
        assert_eq!(answers(&answer), 1, "{chunks:?}: {answer}");
        assert_eq!(gateway.requests(), ["POST /a"], "{chunks:?}");
        assert_eq!(gateway.malformed(), [], "the pipeline has refused it");
    }
}

#[tokio::test]
async fn an_extension_of_a_chunk_is_skipped_and_trailers_are_no_request() {
    let (gateway, answer) = tried(
        "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\n\
         x-trailer: GET /smuggled HTTP/1.1\r\n\r\n",
    )
    .await;
    assert!(answer.ends_with("POST /a 3\n"), "{answer}");
    assert_eq!(gateway.requests(), ["POST /a"]);
}

#[tokio::test]
async fn chunk_extensions_and_trailers_without_end_are_refused() {
    let extension = "x".repeat(1 << 20);
    let trailers = "x: y\r\n".repeat(1 << 17);
    for chunks in [
        format!("3;{extension}\r\nabc\r\n0\r\n\r\n"),
        format!("0\r\n{trailers}\r\n"),
    ] {
        let gateway = Gateway::start(ConnectionLimits::default());
        let mut stream = gateway.connect().await;
        let head = "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(chunks.as_bytes()).await;
        let answer = read_to_end(&mut stream).await;
        assert_eq!(status(&answer), "400", "{answer}");
        gateway.assert_well().await;
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_unreadable() {
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let gateway = Gateway::start(ConnectionLimits {
            half_close: Duration::from_millis(50),
            ..ConnectionLimits::default()
        });
        let mut stream = gateway.connect().await;
        let bytes = format!("POST /a HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n5\r\nabcde\r\n");
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert_eq!(status(&answer), "400", "{answer}");
        assert_eq!(gateway.requests(), ["POST /a"]);
        gateway.assert_well().await;
    }
}

#[tokio::test]
async fn a_body_that_was_not_read_is_no_request() {
    let (gateway, answer) = tried(
        "POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
    )
    .await;
    assert_eq!(status(&answer), "413", "{answer}");
    assert_eq!(answers(&answer), 1);
    assert_eq!(gateway.requests(), ["POST /early"]);
}

#[tokio::test]
async fn a_small_body_that_was_not_read_is_skipped_and_the_next_request_served() {
    let (gateway, answer) = tried(
        "POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
    )
    .await;
    assert_eq!(answers(&answer), 2, "{answer}");
    assert_eq!(gateway.requests(), ["POST /early", "GET /b"]);
}

#[tokio::test]
async fn a_bare_line_feed_in_a_head_is_tolerated_as_one_request() {
    let (gateway, answer) = tried("GET /a HTTP/1.1\nhost: a\nconnection: close\n\n").await;
    assert!(answer.ends_with("GET /a 0\n"), "{answer}");
    assert_eq!(gateway.requests(), ["GET /a"]);
}

#[tokio::test]
async fn a_head_beyond_the_limits_of_hyper_gets_431() {
    let wide = format!(
        "GET /a HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(70_000)
    );
    let many = format!(
        "GET /a HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(300)
    );
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(70_000));
    let endless = format!("GET /a HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(1 << 20));
    for bytes in [wide, many, long, endless] {
        let (gateway, answer) = tried(&bytes).await;
        assert_eq!(status(&answer), "431", "{answer}");
        assert_eq!(
            gateway.malformed(),
            [(MalformedKind::HeadTooLarge, Some(431))]
        );
    }
}

#[tokio::test]
async fn a_target_that_only_hyper_finds_too_long_gets_414() {
    let gateway = Gateway::start(ConnectionLimits::default().above(64 << 10, 100));
    let answer = gateway
        .exchange(format!(
            "GET /{} HTTP/1.1\r\nhost: a\r\n\r\n",
            "y".repeat(70_000)
        ))
        .await;
    assert_eq!(status(&answer), "414", "{answer}");
    assert_eq!(
        gateway.malformed(),
        [(MalformedKind::HeadTooLarge, Some(414))]
    );
}

#[tokio::test]
async fn a_head_below_the_limits_of_hyper_is_left_to_the_pipeline() {
    let fields = format!("x: {}\r\n", "y".repeat(200)).repeat(200);
    let (gateway, answer) = tried(format!(
        "GET /a HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n"
    ))
    .await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert_eq!(gateway.malformed(), []);
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_a_head_gets_400() {
    for part in ["GET /a HTTP/1.1\r\nho", "P"] {
        let gateway = Gateway::start(ConnectionLimits::default());
        let mut stream = gateway.connect().await;
        stream.write_all(part.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert_eq!(status(&answer), "400", "{part}: {answer}");
        assert_eq!(
            gateway.malformed(),
            [(MalformedKind::HeadTruncated, Some(400))]
        );
        gateway.assert_well().await;
    }
}

#[tokio::test]
async fn a_bad_request_after_a_good_one_is_refused_alone() {
    let (gateway, answer) = tried("GET /a HTTP/1.1\r\nhost: a\r\n\r\nnonsense\r\n\r\n").await;
    assert_eq!(answers(&answer), 2, "{answer}");
    assert!(answer.contains("GET /a 0\nHTTP/1.1 400 "), "{answer}");
    assert_eq!(gateway.malformed(), [(MalformedKind::Head, Some(400))]);
}

#[tokio::test]
async fn a_tls_handshake_without_tls_is_named_in_the_log() {
    let (gateway, answer) = tried(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    assert_eq!(status(&answer), "400", "{answer}");
    let malformed = gateway.echo.malformed.lock().unwrap();
    assert_eq!(
        malformed[0].reason,
        "a TLS handshake on a listener without TLS"
    );
}

#[tokio::test]
async fn a_client_that_resets_the_connection_half_way_is_counted() {
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = gateway.connect().await;
    stream.write_all(b"GET /a HT").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
    eventually(|| gateway.stats.open() == 0).await;
    assert_eq!(gateway.malformed(), [(MalformedKind::HeadTruncated, None)]);
    gateway.assert_well().await;
}

#[tokio::test]
async fn many_slow_clients_leave_others_unharmed() {
    let gateway = Gateway::start(ConnectionLimits {
        header_timeout: Duration::from_millis(500),
        ..ConnectionLimits::default()
    });
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = gateway.connect().await;
        stream.write_all(b"GET /slow HTTP/1.1\r\n").await.unwrap();
        slow.push(stream);
    }
    gateway.assert_well().await;
    for mut stream in slow {
        assert_eq!(status(&read_to_end(&mut stream).await), "408");
    }
    eventually(|| gateway.stats.open() == 0).await;
    assert_eq!(gateway.malformed().len(), 200);
}
