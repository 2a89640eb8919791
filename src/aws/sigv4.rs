//! Signature Version 4 for calls that are not the SDK's: what AWS's documentation calls the canonical request, the
//! string to sign and the signing key. One signing key serves a day, so whoever calls often keeps it.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;

pub(super) const DATE: HeaderName = HeaderName::from_static("x-amz-date");
pub(super) const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The characters that stand for themselves in a canonical request: RFC 3986's unreserved ones.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A moment as signatures name it.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    /// Seconds since 1970.
    second: u64,
    /// `20261122T120000Z`.
    text: String,
    header: HeaderValue,
}

impl Stamp {
    /// The second that the time is in.
    pub(super) fn of(time: SystemTime) -> Stamp {
        let second = seconds(time);
        let (date, clock) = i64::try_from(second)
            .ok()
            .and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
            .map_or(((1970, 1, 1), (0, 0, 0)), |at| {
                let (year, month, day) = at.to_calendar_date();
                ((year, u8::from(month), day), at.to_hms())
            });
        let ((year, month, day), (hour, minute, second_of)) = (date, clock);
        let text = format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second_of:02}Z");
        let header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        Stamp {
            second,
            text,
            header,
        }
    }

    /// Whether the time is in the same second.
    pub(super) fn is_of(&self, time: SystemTime) -> bool {
        self.second == seconds(time)
    }

    /// `20261122`.
    pub(super) fn day(&self) -> &str {
        self.text.get(..8).unwrap_or_default()
    }

    /// The value of `x-amz-date`.
    pub(super) fn header(&self) -> &HeaderValue {
        &self.header
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.second)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A request as it is signed. Paths, query and header names have their canonical spelling, and the headers their order.
pub(super) struct Signable<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    /// Names in lower case, sorted; `host` and `x-amz-date` among them.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// A signing key: of one access key, for one day, region and service.
pub(super) struct Key {
    key: hmac::Key,
    day: String,
    /// `20261122/eu-west-1/sqs/aws4_request`.
    scope: String,
    access_key: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({}/{})", self.access_key, self.scope)
    }
}

impl Key {
    /// The key of a day: `20261122`.
    pub(super) fn new(
        access_key: &str,
        secret: &str,
        day: &str,
        region: &str,
        service: &str,
    ) -> Key {
        let mut bytes = [b"AWS4", secret.as_bytes()].concat();
        for part in [day, region, service, "aws4_request"] {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
            let next = hmac::sign(&key, part.as_bytes());
            bytes.clear();
            bytes.extend_from_slice(next.as_ref());
        }
        Key {
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
            day: day.to_owned(),
            scope: format!("{day}/{region}/{service}/aws4_request"),
            access_key: access_key.to_owned(),
        }
    }

    pub(super) fn day(&self) -> &str {
        &self.day
    }

    /// The value of the `authorization` header; the bytes are those of a header's value where the access key's are.
    pub(super) fn authorization(&self, at: &Stamp, request: &Signable<'_>) -> Vec<u8> {
        let canonical = canonical(request);
        let mut to_sign = Vec::with_capacity(160);
        for part in ["AWS4-HMAC-SHA256\n", at.text(), "\n", &self.scope, "\n"] {
            to_sign.extend_from_slice(part.as_bytes());
        }
        push_hex(&mut to_sign, digest(&SHA256, &canonical).as_ref());
        let signature = hmac::sign(&self.key, &to_sign);
        let mut value = Vec::with_capacity(320);
        for part in [
            "AWS4-HMAC-SHA256 Credential=",
            &self.access_key,
            "/",
            &self.scope,
            ", SignedHeaders=",
        ] {
            value.extend_from_slice(part.as_bytes());
        }
        push_names(&mut value, request.headers);
        value.extend_from_slice(b", Signature=");
        push_hex(&mut value, signature.as_ref());
        value
    }
}

fn canonical(request: &Signable<'_>) -> Vec<u8> {
    let headers = request.headers.iter();
    let values: usize = headers
        .map(|(name, value)| 2 * name.len() + value.len() + 3)
        .sum();
    let fixed = request.method.len() + request.path.len() + request.query.len() + 72;
    let mut text = Vec::with_capacity(fixed + values);
    for part in [
        request.method,
        "\n",
        request.path,
        "\n",
        request.query,
        "\n",
    ] {
        text.extend_from_slice(part.as_bytes());
    }
    for (name, value) in request.headers {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend_from_slice(value.as_bytes());
        text.push(b'\n');
    }
    text.push(b'\n');
    push_names(&mut text, request.headers);
    text.push(b'\n');
    push_hex(&mut text, digest(&SHA256, request.body).as_ref());
    text
}

fn push_names(text: &mut Vec<u8>, headers: &[(&str, &str)]) {
    for (place, (name, _)) in headers.iter().enumerate() {
        if place > 0 {
            text.push(b';');
        }
        text.extend_from_slice(name.as_bytes());
    }
}

fn push_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        let pair = [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ];
        text.extend_from_slice(&pair);
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn hashed(body: &[u8]) -> String {
    let hash = digest(&SHA256, body);
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The canonical spelling of a path as it is sent (every service but S3): without empty and dot segments, and each
/// segment encoded once more.
pub(super) fn canonical_path(sent: &str) -> String {
    let mut segments = Vec::new();
    for segment in sent.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut path = String::with_capacity(sent.len() + 1);
    for segment in &segments {
        path.push('/');
        path.extend(utf8_percent_encode(segment, RESERVED));
    }
    if segments.is_empty() || ["/", "/.", "/.."].iter().any(|end| sent.ends_with(end)) {
        path.push('/');
    }
    path
}

/// The canonical spelling of a query as it is sent: each name and value decoded and encoded, then sorted.
pub(super) fn canonical_query(sent: &str) -> String {
    let respelled = |text: &str| {
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
        percent_encoding::percent_encode(&decoded, RESERVED).to_string()
    };
    let mut pairs: Vec<(String, String)> = sent
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (respelled(name), respelled(value))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// The value of `host` as hyper sends it: the port is left out where it is the scheme's own.
pub(super) fn host(uri: &http::Uri) -> Option<String> {
    let name = uri.host().filter(|name| !name.is_empty())?;
    let own = match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    Some(match uri.port_u16() {
        Some(port) if port != own => format!("{name}:{port}"),
        _ => name.to_owned(),
    })
}

#[cfg(test)]
mod tests;
