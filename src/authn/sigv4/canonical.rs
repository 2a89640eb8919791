//! The canonical request: the one spelling of a request that signer and verifier agree on. They do not agree everywhere:
//! some signers drop empty and dot segments of a path, some do not; some take a query's spelling as it stands, some spell
//! it anew. A query in which that makes a difference has both spellings. A path has the normalized one beside its own
//! only where it does not decide what is served: else a signature for one path would open another.

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use http::header::HOST;
use percent_encoding::percent_decode_str;

use super::form::Form;
use super::{Head, Paths, Refused, hex};
use crate::authn::policy::has_dot_segment;

/// A canonical request up to its last line, the payload's hash: what SHA-256 has seen of it so far, as the text is as
/// long as the head.
#[derive(Clone)]
pub(super) struct Canonical(digest::Context);

impl Canonical {
    /// The digest of the whole, in hexadecimal digits. `payload`: the last line.
    pub fn with(&self, payload: &str) -> String {
        let mut text = self.0.clone();
        text.update(payload.as_bytes());
        hex(text.finish().as_ref())
    }
}

impl fmt::Debug for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canonical")
    }
}

/// The request in each of its spellings, the most common first.
pub(super) fn requests(
    head: &Head<'_>,
    form: &Form,
    paths: Paths,
) -> Result<Vec<Canonical>, Refused> {
    let headers = headers(head, &form.signed_headers)?;
    let path_sent = head.uri.path();
    let query_sent = head.uri.query().unwrap_or_default();
    let mut paths = match paths {
        Paths::Normalized => vec![path(&normalized(path_sent)), path(path_sent)],
        Paths::AsSent if has_dot_segment(path_sent) => {
            return Err(Refused::Incomplete(
                "A signed path may not have '.' or '..' as a segment.".to_owned(),
            ));
        }
        Paths::AsSent => vec![path(path_sent)],
    };
    let mut queries = vec![query(query_sent), query_as_sent(query_sent)];
    paths.dedup();
    queries.dedup();
    let names = format!("\n{}\n", form.signed_headers.join(";")).into_bytes();
    let mut requests = Vec::with_capacity(paths.len() * queries.len());
    for path in &paths {
        for query in &queries {
            let mut text = digest::Context::new(&SHA256);
            text.update(format!("{}\n{path}\n{query}\n", head.method).as_bytes());
            text.update(&headers);
            text.update(&names);
            requests.push(Canonical(text));
        }
    }
    Ok(requests)
}

/// Each segment encoded once more, `/` when empty (every service but S3).
fn path(path: &str) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    let mut canonical = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        canonical.push('/');
        encode(segment.as_bytes(), &mut canonical);
    }
    canonical
}

/// Without empty, `.` and `..` segments (RFC 3986, 5.2.4), as signers take it; a slash at the end stays.
fn normalized(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", kept.join("/"))
}

/// As they were sent, in order; the signature itself left out.
fn query_as_sent(query: &str) -> String {
    if query.is_empty() {
        return String::new();
    }
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// Names and values encoded, in the order of the encoded; the signature itself left out.
fn query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .map(|(name, value)| (recoded(name), recoded(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// `+` is a space, as it is to whoever reads the query afterwards.
fn recoded(raw: &str) -> String {
    let decoded: Vec<u8> = percent_decode_str(&raw.replace('+', " ")).collect();
    let mut encoded = String::with_capacity(raw.len());
    encode(&decoded, &mut encoded);
    encoded
}

/// RFC 3986: all but the unreserved characters, in upper case.
fn encode(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// The signed headers, a line each; no line is longer than the header itself, as no name stands twice. `host` and every `x-amz-…` that came has to be among them, or someone on the way
/// could have added it.
fn headers(head: &Head<'_>, signed: &[String]) -> Result<Vec<u8>, Refused> {
    // The names are in order.
    let has = |name: &str| {
        signed
            .binary_search_by(|signed| signed.as_str().cmp(name))
            .is_ok()
    };
    let mut present = head.headers.keys().map(|name| name.as_str());
    let unsigned = present.find(|name| name.starts_with("x-amz-") && !has(name));
    if let Some(name) = unsigned.or_else(|| (!has("host")).then_some("host")) {
        return Err(Refused::Incomplete(format!(
            "The header '{name}' must be a signed header."
        )));
    }
    let mut lines = Vec::new();
    for name in signed {
        let mut values: Vec<Vec<u8>> = head
            .headers
            .get_all(name.as_str())
            .iter()
            .map(|value| collapsed(value.as_bytes()))
            .collect();
        // HTTP/2 has the authority in place of the header.
        if values.is_empty()
            && name == HOST.as_str()
            && let Some(authority) = head.uri.authority()
        {
            values.push(authority.as_str().as_bytes().to_vec());
        }
        if values.is_empty() {
            return Err(Refused::Incomplete(format!(
                "The signed header '{name}' is not in the request."
            )));
        }
        lines.extend_from_slice(format!("{name}:").as_bytes());
        lines.extend_from_slice(&values.join(&b","[..]));
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Trimmed, with runs of spaces as one. Bytes that are not UTF-8 are signed as they are.
fn collapsed(value: &[u8]) -> Vec<u8> {
    let words = value.split(u8::is_ascii_whitespace);
    let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
    words.join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_normalized_and_encoded_once_more() {
        for (sent, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("/items/a%20b", "/items/a%2520b"),
            ("/000000000000/q.fifo", "/000000000000/q.fifo"),
            ("/a/./b/../c/", "/a/c/"),
            ("//a//b", "/a/b"),
            ("/../..", "/"),
        ] {
            assert_eq!(path(&normalized(sent)), canonical, "{sent}");
        }
    }

    #[test]
    fn a_query_is_sorted_by_its_encoded_names_and_values() {
        assert_eq!(query("b=2&a=x%20y"), "a=x%20y&b=2");
        assert_eq!(query("a=2&a=1&B&c=%7e&=x"), "=x&B=&a=1&a=2&c=~");
        assert_eq!(query("X-Amz-Signature=s&a=%2f"), "a=%2F");
        assert_eq!(query("a=x+y&b=%2B"), "a=x%20y&b=%2B");
        assert_eq!(query(""), "");
        assert_eq!(
            query_as_sent("b=x+y&a&X-Amz-Signature=s&a=%2f"),
            "a=&a=%2f&b=x+y"
        );
        assert_eq!(query_as_sent(""), "");
    }

    #[test]
    fn values_of_headers_are_trimmed_and_their_spaces_collapsed() {
        assert_eq!(collapsed(b"  a   b\tc \xff"), b"a b c \xff");
    }
}
