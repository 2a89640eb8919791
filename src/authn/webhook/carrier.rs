//! Where signatures are: headers or another place, cut into items, each a candidate. Everything that is there counts.

use std::borrow::Cow;

use http::HeaderName;

use super::reference::Reference;
use super::request::{Delivered, from_hex, header};
use super::secret::from_base64;
use super::verdict::Failure;
use super::written::Encoding;

/// The most candidates of the right form that are tried: rotation needs two or three.
const MOST_CANDIDATES: usize = 32;
/// The most headers that `#` counts through.
pub(super) const MOST_NUMBERED: usize = 16;

/// Where signatures are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carrier {
    pub(super) place: Place,
    pub(super) split: Option<String>,
    pub(super) prefix: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Headers(Vec<HeaderPattern>),
    At(Reference),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderPattern {
    One(HeaderName),
    /// The texts before and after the number.
    Numbered(String, String),
}

impl Carrier {
    /// A header with one whole value.
    pub(super) fn of_header(name: HeaderName) -> Carrier {
        Carrier {
            place: Place::Headers(vec![HeaderPattern::One(name)]),
            split: None,
            prefix: None,
        }
    }

    /// The items of every carrier that is present, prefixes and all.
    pub(super) fn items<'r>(
        &'r self,
        delivered: &Delivered<'r>,
    ) -> Result<Vec<Cow<'r, str>>, Failure> {
        let mut carriers: Vec<Cow<'r, str>> = Vec::new();
        let readable =
            |bytes: &'r [u8]| std::str::from_utf8(bytes).map_err(|_| self.unreadable("not text"));
        match &self.place {
            Place::At(reference) => {
                let value = delivered
                    .value(reference)?
                    .filter(|value| !value.is_empty());
                if let Some(value) = value {
                    let text = String::from_utf8(value.into_owned())
                        .map_err(|_| self.unreadable("not text"))?;
                    carriers.push(Cow::Owned(text));
                }
            }
            Place::Headers(patterns) => {
                for pattern in patterns {
                    match pattern {
                        HeaderPattern::One(name) => {
                            if let Some(value) = header(&delivered.call.headers, name)? {
                                carriers.push(Cow::Borrowed(readable(value)?));
                            }
                        }
                        HeaderPattern::Numbered(before, after) => {
                            for number in 1..=MOST_NUMBERED {
                                let name = format!("{before}{number}{after}");
                                let Ok(name) = name.parse::<HeaderName>() else {
                                    break;
                                };
                                let Some(value) = header(&delivered.call.headers, &name)? else {
                                    break;
                                };
                                carriers.push(Cow::Borrowed(readable(value)?));
                            }
                        }
                    }
                }
            }
        }
        if carriers.iter().all(|carrier| carrier.is_empty()) {
            return Err(Failure::missing(format!("{} is absent", self.describe())));
        }
        let Some(split) = &self.split else {
            return Ok(carriers);
        };
        let mut items = Vec::new();
        for carrier in &carriers {
            match carrier {
                Cow::Borrowed(text) => {
                    let cut = text.split(split.as_str());
                    items.extend(cut.map(|item| Cow::Borrowed(item.trim())));
                }
                Cow::Owned(text) => {
                    let cut = text.split(split.as_str());
                    items.extend(cut.map(|item| Cow::Owned(item.trim().to_owned())));
                }
            }
        }
        Ok(items)
    }

    /// The items that are candidates, without their prefix.
    pub(super) fn tagged<'i>(&self, items: &'i [Cow<'_, str>]) -> Result<Vec<&'i str>, Failure> {
        let tagged: Vec<&str> = match &self.prefix {
            None => items.iter().map(AsRef::as_ref).collect(),
            Some(prefix) => items
                .iter()
                .filter_map(|item| item.strip_prefix(prefix.as_str()))
                .collect(),
        };
        if tagged.is_empty() {
            return Err(self.unreadable("without an item of the right prefix"));
        }
        Ok(tagged)
    }

    /// The candidates, decoded. `length`: the exact number of bytes; what has another is no candidate.
    pub(super) fn candidates(
        &self,
        items: &[Cow<'_, str>],
        encoding: Encoding,
        length: Option<usize>,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let mut candidates = Vec::new();
        for text in self.tagged(items)? {
            let decoded = match encoding {
                Encoding::Hex => from_hex(text.as_bytes()),
                Encoding::Base64 => from_base64(text.as_bytes()),
            };
            let fits = |bytes: &Vec<u8>| {
                !bytes.is_empty() && length.is_none_or(|length| bytes.len() == length)
            };
            candidates.extend(decoded.filter(fits));
        }
        match candidates.len() {
            0 => Err(self.unreadable(match encoding {
                Encoding::Hex => "without a signature of the right length in hex",
                Encoding::Base64 => "without a signature of the right length in base64",
            })),
            1..=MOST_CANDIDATES => Ok(candidates),
            _ => Err(self.unreadable("with more signatures than anybody sends")),
        }
    }

    pub(super) fn unreadable(&self, what: &str) -> Failure {
        Failure::malformed(format!("{} is {what}", self.describe()))
    }

    /// The place, for messages.
    pub(super) fn describe(&self) -> String {
        match &self.place {
            Place::At(reference) => reference.to_string(),
            Place::Headers(patterns) => {
                let names: Vec<String> = patterns
                    .iter()
                    .map(|pattern| match pattern {
                        HeaderPattern::One(name) => name.to_string(),
                        HeaderPattern::Numbered(before, after) => format!("{before}#{after}"),
                    })
                    .collect();
                format!("the header {}", names.join(" or "))
            }
        }
    }
}
