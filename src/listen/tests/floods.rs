//! Floods of HTTP/2 frames: each ends its connection or costs little, and another client is served meanwhile.

use super::http2::{GET_HEADERS, WAIT_HEADERS, frame, opening};
use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// What a flood is to end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The connection is ended, and that is counted.
    Cut,
    /// It goes on; its frames cost no more than reading them.
    Borne,
}

/// The same frame so many times.
fn repeated(times: usize, frame: &[u8]) -> Vec<u8> {
    frame.repeat(times)
}

/// One frame or more for each of so many streams.
fn streams(count: u32, frames: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|index| frames(1 + 2 * index)).collect()
}

/// Sends the flood, with a good client beside it, and asserts how it ends.
async fn flood(name: &str, bytes: Vec<u8>, end: End) {
    let gateway = Gateway::start(ConnectionLimits {
        idle_timeout: Duration::from_millis(1_500),
        ..ConnectionLimits::default()
    });
    let (mut reader, mut writer) = gateway.connect().await.into_split();
    let flooding = tokio::spawn(async move {
        let whole =
            writer.write_all(&opening()).await.is_ok() && writer.write_all(&bytes).await.is_ok();
        (whole, writer)
    });
    let reading = tokio::spawn(async move {
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
    });
    for _ in 0..5 {
        gateway.assert_well().await;
    }
    let (_, writer) = tokio::time::timeout(PATIENCE, flooding)
        .await
        .unwrap_or_else(|_| panic!("{name}: the flood is neither read nor cut"))
        .unwrap();
    gateway.assert_well().await;
    // Cut for what it is, or ended with the idle timeout.
    tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap_or_else(|_| panic!("{name}: the connection stays open"))
        .unwrap();
    drop(writer);
    eventually(|| gateway.stats.open() == 0).await;
    let cut = gateway.malformed() == [(MalformedKind::Protocol, None)];
    assert_eq!(cut, end == End::Cut, "{name}: {:?}", gateway.malformed());
    assert_eq!(gateway.stats.in_flight(), 0, "{name}");
    gateway.assert_well().await;
}

#[tokio::test]
async fn frames_that_ask_for_nothing_are_borne_until_the_connection_is_idle() {
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    flood("SETTINGS", repeated(20_000, &settings), End::Borne).await;
    let acknowledged = frame(SETTINGS, 1, 0, &[]);
    flood("SETTINGS ACK", repeated(20_000, &acknowledged), End::Cut).await;
    let ping = frame(PING, 0, 0, b"01234567");
    flood("PING", repeated(20_000, &ping), End::Borne).await;
    let priority = streams(20_000, |id| frame(PRIORITY, 0, id, &[0, 0, 0, 0, 16]));
    flood("PRIORITY", priority, End::Borne).await;
    let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    flood("WINDOW_UPDATE", repeated(20_000, &update), End::Borne).await;
    let unknown = frame(0xfa, 0, 0, &[0; 64]);
    flood("unknown frames", repeated(20_000, &unknown), End::Borne).await;
}

#[tokio::test]
async fn a_window_that_grows_over_its_bound_ends_the_connection() {
    let update = frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]);
    flood("windows", repeated(3, &update), End::Cut).await;
}

#[tokio::test]
async fn empty_data_frames_end_the_connection() {
    let mut bytes = frame(HEADERS, END_HEADERS, 1, POST_HEADERS);
    bytes.extend(repeated(20_000, &frame(DATA, 0, 1, &[])));
    flood("empty DATA", bytes, End::Cut).await;
}

#[tokio::test]
async fn resets_that_the_client_makes_us_send_end_the_connection() {
    // CVE-2025-8671, "MadeYouReset": an update of a stream's window by 0 is a fault of that stream
    let bytes = streams(5_000, |id| {
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, id, WAIT_HEADERS);
        bytes.extend(frame(WINDOW_UPDATE, 0, id, &[0; 4]));
        bytes
    });
    flood("MadeYouReset", bytes, End::Cut).await;
}

#[tokio::test]
async fn a_header_that_unpacks_to_a_thousand_times_its_size_is_refused_alone() {
    // A field of 4,000 bytes enters the table, and each further byte names it again (RFC 7541, 6.1).
    let mut block = GET_HEADERS.to_vec();
    block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend([b'y'; 4_000]);
    block.extend([0xbe; 10_000]);
    let bytes = streams(200, |id| {
        // The table is filled once, and named 16,000 times by each of the others.
        let block: &[u8] = if id == 1 { &block } else { &[0xbe; 16_000] };
        frame(HEADERS, END_HEADERS | END_STREAM, id, block)
    });
    let gateway = Gateway::start(ConnectionLimits::default());
    let mut stream = gateway.connect().await;
    stream.write_all(&opening()).await.unwrap();
    let _ = stream.write_all(&bytes).await;
    gateway.assert_well().await;
    assert_eq!(gateway.requests(), ["GET /well"]);
    drop(stream);
    eventually(|| gateway.stats.open() == 0).await;
}

#[tokio::test]
async fn continuations_over_the_limit_of_a_head_end_the_connection() {
    let mut bytes = frame(HEADERS, 0, 1, GET_HEADERS);
    let mut field = vec![0, 1, b'x', 0x7f, 0xa1, 0x1e];
    field.extend([b'y'; 4_000]);
    bytes.extend(repeated(2_000, &frame(CONTINUATION, 0, 1, &field)));
    flood("CONTINUATION", bytes, End::Cut).await;
}

#[tokio::test]
async fn windows_that_stay_shut_hold_no_more_answers_than_streams() {
    let gateway = Gateway::start(ConnectionLimits {
        idle_timeout: Duration::from_millis(500),
        max_streams: 16,
        ..ConnectionLimits::default()
    });
    let mut stream = gateway.connect().await;
    let mut bytes = opening();
    // SETTINGS_INITIAL_WINDOW_SIZE 0: no answer's body may be sent
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    bytes.extend(streams(16, |id| {
        frame(HEADERS, END_HEADERS | END_STREAM, id, GET_HEADERS)
    }));
    stream.write_all(&bytes).await.unwrap();
    eventually(|| gateway.requests().len() == 16).await;
    gateway.assert_well().await;
    read_to_end(&mut stream).await;
    eventually(|| gateway.stats.stalled() == 1 && gateway.stats.in_flight() == 0).await;
    gateway.assert_well().await;
}

#[tokio::test]
async fn fields_that_belong_to_http_1_are_no_request_in_http_2() {
    // literal fields without indexing (RFC 7541, 6.2.2)
    let field = |name: &str, value: &str| {
        let mut bytes = vec![0, u8::try_from(name.len()).unwrap()];
        bytes.extend(name.as_bytes());
        bytes.push(u8::try_from(value.len()).unwrap());
        bytes.extend(value.as_bytes());
        bytes
    };
    let (method, scheme, path) = ([0x83], [0x86], [0x84]);
    let whole = |extra: &[u8]| [&method[..], &scheme, &path, extra].concat();
    for (name, block) in [
        (
            "transfer-encoding",
            whole(&field("transfer-encoding", "chunked")),
        ),
        ("connection", whole(&field("connection", "close"))),
        ("upper case", whole(&field("X-Upper", "a"))),
        ("a line in a value", whole(&field("x", "a\r\nx: b"))),
        ("a NUL in a value", whole(&field("x", "a\0b"))),
        ("a space in a name", whole(&field("x y", "a"))),
        ("two methods", [&method[..], &whole(&[])].concat()),
        ("an unknown pseudo-header", whole(&field(":x", "a"))),
        (
            "a late pseudo-header",
            [&field("x", "a")[..], &whole(&[])].concat(),
        ),
        (
            "a path with a space",
            [&method[..], &scheme, &field(":path", "/a b")].concat(),
        ),
        (
            "a path with a line",
            [&method[..], &scheme, &field(":path", "/a\r\nx: b")].concat(),
        ),
        (
            "a relative path",
            [&method[..], &scheme, &field(":path", "a")].concat(),
        ),
        ("no scheme", [&method[..], &path].concat()),
        (
            "two lengths",
            whole(&[field("content-length", "1"), field("content-length", "2")].concat()),
        ),
    ] {
        let gateway = Gateway::start(ConnectionLimits::default());
        let mut stream = gateway.connect().await;
        let mut bytes = opening();
        bytes.extend(frame(HEADERS, END_HEADERS, 1, &block));
        bytes.extend(frame(DATA, END_STREAM, 1, b"0\r\n\r\nGET /smuggled"));
        stream.write_all(&bytes).await.unwrap();
        gateway.assert_well().await;
        eventually(|| gateway.stats.in_flight() == 0).await;
        let refused: Vec<String> = gateway.requests();
        assert_eq!(refused, ["GET /well"], "{name}");
    }
}

/// `:method: POST`, `:scheme: http`, `:path: /`, `:authority: a` (RFC 7541).
const POST_HEADERS: &[u8] = &[0x83, 0x86, 0x84, 0x01, 0x01, b'a'];
