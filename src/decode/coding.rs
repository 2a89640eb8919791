//! The content codings, and what a request says of them (RFC 9110, 8.4).

use std::fmt;

use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use schemars::JsonSchema;
use serde::Deserialize;

use super::DecodeError;

/// How many times over a body may be encoded.
pub const MOST: usize = 2;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// RFC 1952, also as `x-gzip`.
    Gzip,
    /// Brotli, RFC 7932.
    Br,
    /// Zstandard, RFC 8878, with windows of up to 8 MiB.
    Zstd,
}

impl Coding {
    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Br => "br",
            Coding::Zstd => "zstd",
        }
    }

    fn named(name: &str) -> Option<Coding> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name {
            _ if is("gzip") || is("x-gzip") => Some(Coding::Gzip),
            _ if is("br") => Some(Coding::Br),
            _ if is("zstd") => Some(Coding::Zstd),
            _ => None,
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The codings that are undone; none where nothing is decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codings(pub Vec<Coding>);

impl Codings {
    /// What was done to the body of a request, in the order in which it was done. Nothing where nothing is decoded: then
    /// the header is the receiver's to read, not ours. `identity` and empty elements say nothing.
    pub fn applied(&self, headers: &HeaderMap) -> Result<Vec<Coding>, DecodeError> {
        let mut applied = Vec::new();
        if self.0.is_empty() {
            return Ok(applied);
        }
        for value in headers.get_all(CONTENT_ENCODING) {
            // What is no text is the name of no coding.
            let names = value.to_str().unwrap_or("?").split(',').map(str::trim);
            for name in names {
                if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                    continue;
                }
                match Coding::named(name).filter(|coding| self.0.contains(coding)) {
                    Some(coding) => applied.push(coding),
                    None => return Err(DecodeError::Unsupported(self.clone())),
                }
                if applied.len() > MOST {
                    return Err(DecodeError::TooMany(self.clone()));
                }
            }
        }
        Ok(applied)
    }
}

/// As in `Accept-Encoding`.
impl fmt::Display for Codings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, coding) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{coding}")?;
        }
        Ok(())
    }
}
