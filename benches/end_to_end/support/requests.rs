//! What clients send: whole requests, made once and only patched with a number, so that the client stays cheap.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers of messages, over all cases of this process: a fake endpoint counts by them.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Digits of a number in a body.
const DIGITS: usize = 16;

/// The key that gateways of the benches know, and its hash.
pub const KEY: &str = "psk_demo5f0c7d2be14a49c3a86f3d9b1e7c2a40";
pub const KEY_HASH: &str =
    "sha256:0e4cf6fb3248857026d3f68bf2d8e1311b06bb023e96ced236b990f314e2d155";

/// A request whose body may carry a number.
pub struct Prototype {
    bytes: Vec<u8>,
    number_at: Option<usize>,
}

impl Prototype {
    /// `POST path` with a JSON body of `length` bytes (40 at least) that begins with the message's number.
    pub fn numbered(path: &str, headers: &str, length: usize) -> Prototype {
        let mut body = format!("{{\"id\":\"{:0DIGITS$}\",\"pad\":\"", 0);
        let pad = length.saturating_sub(body.len() + 2);
        body.extend(std::iter::repeat_n('x', pad));
        body.push_str("\"}");
        let mut prototype = Prototype::plain("POST", path, headers, &body);
        prototype.number_at = Some(prototype.bytes.len() - body.len() + "{\"id\":\"".len());
        prototype
    }

    /// `POST path` with this body, in which a number of sixteen noughts stands for the message's.
    pub fn around(path: &str, headers: &str, body: &str) -> Prototype {
        let mut prototype = Prototype::plain("POST", path, headers, body);
        let noughts = [b'0'; DIGITS];
        let mut windows = prototype.bytes.windows(DIGITS);
        prototype.number_at = windows.position(|window| window == noughts);
        prototype
    }

    /// A request that is the same each time. `headers` are lines that end in CR LF.
    pub fn plain(method: &str, path: &str, headers: &str, body: &str) -> Prototype {
        let length = match (method, body.len()) {
            ("GET", 0) => String::new(),
            (_, length) => format!("content-length: {length}\r\n"),
        };
        Prototype {
            bytes: format!(
                "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}{length}\r\n{body}"
            )
            .into_bytes(),
            number_at: None,
        }
    }

    /// Copies the request, with the next number in it where it has one: what to look for later.
    pub fn next(&self, request: &mut Vec<u8>) -> Option<u64> {
        request.clear();
        request.extend_from_slice(&self.bytes);
        let at = self.number_at?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut rest = number;
        for digit in request[at..at + DIGITS].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Some(number)
    }
}

/// The header line of the key that the gateways know.
pub fn keyed() -> String {
    format!("x-api-key: {KEY}\r\n")
}

/// A number out of the beginning of a body, as `Prototype::numbered` puts it there.
pub fn number_of(body: &[u8]) -> Option<u64> {
    let at = body
        .windows(6)
        .take(64)
        .position(|six| six == b"\"id\":\"")?;
    let digits = body.get(at + 6..at + 6 + DIGITS)?;
    digits.iter().try_fold(0u64, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}
