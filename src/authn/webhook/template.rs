//! Templates (reference, 2.3): text with `{reference|filter}` holes, cut into parts when the configuration is compiled,
//! so that a request's parts go to the MAC one after the other and no text of a request's size is ever made.

use std::borrow::Cow;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;

use super::handshake::is_of_token;
use super::reference::{Reference, Wrong};
use super::request::{Ambiguous, Delivered, header, hex};
use crate::model::problem::nearest;

/// Text with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Hole(Hole),
}

/// A reference and what is done with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) reference: Reference,
    pub(super) filters: Vec<Filter>,
}

/// The closed set of filters: adding one is a change of code on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// The CRC-32 (IEEE), in decimal.
    Crc32,
    /// HubSpot's own choice of percent escapes.
    HubspotUnescape,
    /// The values of the headers whose names the text lists, joined with `.`.
    HeaderValues,
    /// Keyed with the first secret that counts; for replies.
    HmacSha256Hex,
    HmacSha256Base64,
}

const FILTERS: [(&str, Filter); 5] = [
    ("crc32", Filter::Crc32),
    ("hubspot-unescape", Filter::HubspotUnescape),
    ("header-values", Filter::HeaderValues),
    ("hmac-sha256-hex", Filter::HmacSha256Hex),
    ("hmac-sha256-base64", Filter::HmacSha256Base64),
];

/// A part of a template's value.
pub(super) enum Piece<'r> {
    Bytes(Cow<'r, [u8]>),
    /// Where the secret stands.
    Secret,
}

/// Why a template has no value for a request.
#[derive(Debug)]
pub(super) enum NoValue {
    Ambiguous(Ambiguous),
    /// A keyed filter, and no secret counts at present.
    NoSecret,
}

impl From<Ambiguous> for NoValue {
    fn from(ambiguous: Ambiguous) -> NoValue {
        NoValue::Ambiguous(ambiguous)
    }
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Template, Wrong> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            if start > 0 {
                parts.push(Part::Literal(rest[..start].to_owned()));
            }
            let inner = &rest[start + 1..];
            let Some(end) = inner.find('}') else {
                return Err(Wrong::new(
                    format!("`{}` has no closing `}}`", &rest[start..]),
                    "write `{body}`, `{timestamp}`, `{header:NAME}`",
                ));
            };
            parts.push(Part::Hole(hole(&inner[..end])?));
            rest = &inner[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Template(parts))
    }

    pub(super) fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.0.iter().filter_map(|part| match part {
            Part::Hole(hole) => Some(hole),
            Part::Literal(_) => None,
        })
    }

    /// Whether a reference stands in it bare, without a filter.
    pub(super) fn names(&self, wanted: &Reference) -> bool {
        self.holes()
            .any(|hole| hole.reference == *wanted && hole.filters.is_empty())
    }

    /// Whether its value could be a bare `token`: nothing literal in it could not stand in one.
    pub(super) fn could_be_token(&self) -> bool {
        self.0.iter().all(|part| match part {
            Part::Literal(text) => text.bytes().all(is_of_token),
            Part::Hole(_) => true,
        })
    }

    /// The parts' values, in order. What is absent is empty.
    pub(super) fn pieces<'r>(
        &'r self,
        delivered: &Delivered<'r>,
        key: Option<&hmac::Key>,
    ) -> Result<Vec<Piece<'r>>, NoValue> {
        self.0
            .iter()
            .map(|part| match part {
                Part::Literal(text) => Ok(Piece::Bytes(Cow::Borrowed(text.as_bytes()))),
                Part::Hole(hole) if hole.reference == Reference::Secret => Ok(Piece::Secret),
                Part::Hole(hole) => hole.value(delivered, key).map(Piece::Bytes),
            })
            .collect()
    }

    /// The value as one; for what is short.
    pub(super) fn joined(&self, delivered: &Delivered<'_>) -> Result<Vec<u8>, NoValue> {
        let mut joined = Vec::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => joined.extend_from_slice(text.as_bytes()),
                Part::Hole(hole) => joined.extend_from_slice(&hole.value(delivered, None)?),
            }
        }
        Ok(joined)
    }

    /// The parts: literal text, or a hole.
    pub(super) fn parts(&self) -> impl Iterator<Item = Result<&str, &Hole>> {
        self.0.iter().map(|part| match part {
            Part::Literal(text) => Ok(text.as_str()),
            Part::Hole(hole) => Err(hole),
        })
    }
}

fn hole(text: &str) -> Result<Hole, Wrong> {
    let mut pieces = text.split('|');
    let reference = Reference::parse(pieces.next().unwrap_or_default().trim())?;
    let filters = pieces
        .map(|name| {
            let name = name.trim();
            let known = FILTERS.iter().find(|(known, _)| *known == name);
            known.map(|(_, filter)| *filter).ok_or_else(|| {
                let names = FILTERS.map(|(known, _)| known);
                Wrong::new(
                    format!("`{name}` is not a filter"),
                    match nearest(name, names) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("allowed: {}", names.join(", ")),
                    },
                )
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Hole { reference, filters })
}

impl Filter {
    /// Whether its value could pass for a signature.
    pub(super) fn is_keyed(self) -> bool {
        matches!(self, Filter::HmacSha256Hex | Filter::HmacSha256Base64)
    }
}

impl Hole {
    /// The value; empty where there is none.
    pub(super) fn value<'r>(
        &'r self,
        delivered: &Delivered<'r>,
        key: Option<&hmac::Key>,
    ) -> Result<Cow<'r, [u8]>, NoValue> {
        let mut value = delivered.value(&self.reference)?.unwrap_or_default();
        for filter in &self.filters {
            value = Cow::Owned(match filter {
                Filter::Crc32 => crc32fast::hash(&value).to_string().into_bytes(),
                Filter::HubspotUnescape => hubspot_unescaped(&value),
                Filter::HeaderValues => header_values(&value, delivered)?,
                Filter::HmacSha256Hex => {
                    let key = key.ok_or(NoValue::NoSecret)?;
                    hex(hmac::sign(key, &value).as_ref()).into_bytes()
                }
                Filter::HmacSha256Base64 => {
                    let key = key.ok_or(NoValue::NoSecret)?;
                    STANDARD.encode(hmac::sign(key, &value)).into_bytes()
                }
            });
        }
        Ok(value)
    }
}

/// Reference, 4.22: exactly these are decoded; other escapes stay.
fn hubspot_unescaped(url: &[u8]) -> Vec<u8> {
    const DECODED: [(&[u8; 2], u8); 12] = [
        (b"3A", b':'),
        (b"2F", b'/'),
        (b"3F", b'?'),
        (b"40", b'@'),
        (b"21", b'!'),
        (b"24", b'$'),
        (b"27", b'\''),
        (b"28", b'('),
        (b"29", b')'),
        (b"2A", b'*'),
        (b"2C", b','),
        (b"3B", b';'),
    ];
    let mut out = Vec::with_capacity(url.len());
    let mut rest = url;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let known = escaped.and_then(|digits| {
            DECODED
                .iter()
                .find(|(code, _)| code.eq_ignore_ascii_case(digits))
        });
        match known {
            Some((_, byte)) => {
                out.push(*byte);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

fn header_values(names: &[u8], delivered: &Delivered<'_>) -> Result<Vec<u8>, Ambiguous> {
    let mut joined = Vec::new();
    for (place, name) in names.split(|byte| *byte == b' ').enumerate() {
        if place > 0 {
            joined.push(b'.');
        }
        if let Ok(name) = HeaderName::from_bytes(name)
            && let Some(value) = header(&delivered.call.headers, &name)?
        {
            joined.extend_from_slice(value);
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_cut_into_literals_and_holes() {
        let template = Template::parse("v0:{timestamp}:{body|crc32}").ok().unwrap();
        let holes: Vec<String> = template
            .holes()
            .map(|hole| hole.reference.to_string())
            .collect();
        assert_eq!(holes, ["timestamp", "body"]);
        assert!(template.names(&Reference::Timestamp));
        assert!(!template.names(&Reference::Body), "it is filtered");
    }

    #[test]
    fn what_cannot_stand_is_refused_with_the_nearest_spelling() {
        let wrong = |text: &str| Template::parse(text).err().map(|w| (w.message, w.help));
        assert!(wrong("{body").unwrap().0.contains("no closing"));
        assert_eq!(wrong("{bdoy}").unwrap().1, "did you mean `body`?");
        assert_eq!(wrong("{body|crc23}").unwrap().1, "did you mean `crc32`?");
        assert!(wrong("{header:}").unwrap().0.contains("names nothing"));
    }

    #[test]
    fn hubspot_decodes_its_own_escapes_only() {
        assert_eq!(
            hubspot_unescaped(b"a%3a%2Fb%20c%40%4%"),
            b"a:/b%20c@%4%".to_vec()
        );
    }
}
