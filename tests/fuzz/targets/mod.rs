//! The fuzz targets: one function each, which takes bytes that anybody could send and panics where a property does not
//! hold. cargo-fuzz runs them for hours (`tests/fuzz/run`), `tests/it/fuzz.rs` for a moment with every test run.

pub mod config_loader;
pub mod forwarded;
pub mod importers;
pub mod jwt;
pub mod kept;
pub mod mapping;
pub mod proxy_protocol;
pub mod route_matching;
pub mod sigv4;
pub mod sqs_wire;
pub mod webhook;

/// A target's body.
pub type Target = fn(&[u8]);

/// Every target, by the name of its binary and its corpus.
pub const ALL: [(&str, Target); 11] = [
    ("config_loader", config_loader::run),
    ("forwarded", forwarded::run),
    ("importers", importers::run),
    ("jwt", jwt::run),
    ("kept", kept::run),
    ("mapping", mapping::run),
    ("proxy_protocol", proxy_protocol::run),
    ("route_matching", route_matching::run),
    ("sigv4", sigv4::run),
    ("sqs_wire", sqs_wire::run),
    ("webhook", webhook::run),
];

/// Text and what comes after its first empty line.
fn head_and_body(data: &[u8]) -> (&str, &[u8]) {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &data[data.len()..]),
    };
    (std::str::from_utf8(head).unwrap_or_default(), body)
}

/// `name: value` lines; those that no HTTP message could hold are left out.
fn headers<'h>(lines: impl Iterator<Item = &'h str>) -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (
            name.parse::<http::HeaderName>(),
            http::HeaderValue::from_bytes(value.as_bytes()),
        ) {
            headers.append(name, value);
        }
    }
    headers
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
