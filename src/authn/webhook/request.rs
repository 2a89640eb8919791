//! A delivery as schemes, handshakes and events read it: raw bytes, each value looked up when it is asked for.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode;

use super::pointer::{Found, Pointer, text_of};
use super::reference::Reference;
use super::verdict::Failure;
use super::{PublicUrl, Settings};
use crate::model::call::Call;

/// A value that stands there more than once: never the first, never the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous(pub(super) String);

impl From<Ambiguous> for Failure {
    fn from(Ambiguous(name): Ambiguous) -> Failure {
        Failure::malformed(format!("{name} stands there more than once"))
    }
}

/// The values of one request.
pub(super) struct Delivered<'r> {
    pub(super) call: &'r Call,
    pub(super) body: &'r Bytes,
    pub(super) public_url: Option<&'r PublicUrl>,
    pub(super) settings: &'r Settings,
    /// The items of the signature's carriers, once they were looked up.
    pub(super) items: Vec<Cow<'r, str>>,
    /// The timestamp's text, once it was looked up.
    pub(super) timestamp: Option<Cow<'r, str>>,
}

impl<'r> Delivered<'r> {
    /// The value; `None` where there is none.
    pub(super) fn value(
        &self,
        reference: &'r Reference,
    ) -> Result<Option<Cow<'r, [u8]>>, Ambiguous> {
        let text = |text: &'r str| Some(Cow::Borrowed(text.as_bytes()));
        Ok(match reference {
            Reference::Body => Some(Cow::Borrowed(self.body)),
            Reference::BodySha256 => Some(Cow::Owned(sha256_hex(self.body).into_bytes())),
            Reference::Method => text(self.call.method.as_str()),
            Reference::Url => self
                .public_url
                .map(|public| Cow::Owned(self.url(public).into_bytes())),
            Reference::PublicUrl => self.public_url.and_then(|public| text(&public.whole)),
            Reference::Timestamp => self.timestamp.clone().map(bytes_of),
            // Filled in by the scheme, for each secret.
            Reference::Secret => None,
            Reference::Header(names) => first_header(&self.call.headers, names)?,
            Reference::Query(name) => {
                let query = self.call.raw_query().unwrap_or_default();
                parameter(query.as_bytes(), name, "query")?.map(Cow::Owned)
            }
            Reference::Form(name) => parameter(self.body, name, "form")?.map(Cow::Owned),
            Reference::Json(pointer) => self
                .json(pointer)?
                .map(|raw| Cow::Owned(text_of(raw).into_bytes())),
            Reference::Param(prefix) => self
                .items
                .iter()
                .find_map(|item| Some(item.strip_prefix(prefix.as_str())?.as_bytes().to_vec()))
                .map(Cow::Owned),
            Reference::Setting(name) => self
                .settings
                .one(name)
                .map(|value| Cow::Borrowed(value.as_bytes())),
        })
    }

    /// The value as text; what is not UTF-8 is none.
    pub(super) fn text(&self, reference: &'r Reference) -> Result<Option<Cow<'r, str>>, Ambiguous> {
        let value = self.value(reference)?;
        Ok(value.and_then(|value| match value {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }))
    }

    /// The JSON value, whatever it is.
    pub(super) fn json(
        &self,
        pointer: &Pointer,
    ) -> Result<Option<&'r serde_json::value::RawValue>, Ambiguous> {
        match pointer.find(self.body) {
            Found::Nothing => Ok(None),
            Found::Value(raw) => Ok(Some(raw)),
            Found::Ambiguous => Err(Ambiguous(format!("json:{pointer}"))),
        }
    }

    /// The origin of `public_url` with the path and query as received (reference, 1.7).
    pub(super) fn url(&self, public: &PublicUrl) -> String {
        let uri = &self.call.uri;
        let query = uri
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        format!("{}{}{query}", public.origin, uri.path())
    }
}

fn bytes_of(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The value of a header that may stand there once.
pub(super) fn header<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h [u8]>, Ambiguous> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Ambiguous(format!("the header {name}")));
    }
    Ok(first.map(|value| value.as_bytes()))
}

fn first_header<'h>(
    headers: &'h HeaderMap,
    names: &[HeaderName],
) -> Result<Option<Cow<'h, [u8]>>, Ambiguous> {
    for name in names {
        if let Some(value) = header(headers, name)? {
            return Ok(Some(Cow::Borrowed(value)));
        }
    }
    Ok(None)
}

/// The decoded name-value pairs of a query or a form.
pub(super) fn pairs(text: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
    text.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = match equals {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &pair[..0]),
            };
            (decoded(name), decoded(value))
        })
}

/// Percent-decoded once; `+` is a space.
fn decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    percent_decode(&spaced).collect()
}

fn parameter(text: &[u8], name: &str, kind: &str) -> Result<Option<Vec<u8>>, Ambiguous> {
    let mut values = pairs(text).filter(|(known, _)| known == name.as_bytes());
    let first = values.next();
    if values.next().is_some() {
        return Err(Ambiguous(format!("{kind}:{name}")));
    }
    Ok(first.map(|(_, value)| value))
}

/// SHA-256 in lower-case hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Bytes from hex, in either case.
pub(super) fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    text.chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}
