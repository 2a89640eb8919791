//! The schemes that are data: a MAC, a digest or a public-key signature over a template, and tokens. Every secret is held
//! against every candidate, and the outcome does not change what is computed.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, Context};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;

use super::carrier::Carrier;
use super::handshake::{LONGEST_TOKEN, is_token};
use super::pointer::Pointer;
use super::request::{Ambiguous, Delivered};
use super::secret::{Held, Key, PublicAlgorithm, from_base64, sha256};
use super::template::{NoValue, Piece, Template};
use super::verdict::Failure;
use super::written::Encoding;

/// A signature over a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) carrier: Carrier,
    pub(super) encoding: Encoding,
    pub(super) template: Template,
    pub(super) kind: SignedKind,
}

/// What kind of signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignedKind {
    /// The number of bytes of a MAC.
    Mac(usize),
    /// SHA-256 over a text that holds the secret.
    Digest,
    Public(PublicAlgorithm),
}

/// The secrets that count for a request, each with its place among the configured ones.
pub(super) type Live<'s> = [(usize, &'s Held)];

/// Which secret matched; all of them have been tried.
fn matched(outcomes: impl Iterator<Item = (usize, bool)>) -> Option<usize> {
    outcomes.fold(None, |first, (place, matches)| match first {
        None if matches => Some(place),
        first => first,
    })
}

fn no_match(candidates: usize, live: &Live<'_>) -> Failure {
    if live.is_empty() {
        return Failure::bad("no secret counts at this time");
    }
    Failure::bad(format!(
        "none of {candidates} signatures is that of any of {} secrets",
        live.len()
    ))
}

impl From<NoValue> for Failure {
    fn from(missing: NoValue) -> Failure {
        match missing {
            NoValue::Ambiguous(ambiguous) => ambiguous.into(),
            NoValue::NoSecret => Failure::bad("no secret counts at this time"),
        }
    }
}

impl Signed {
    /// The candidates among the carrier's items.
    pub(super) fn candidates(&self, delivered: &Delivered<'_>) -> Result<Vec<Vec<u8>>, Failure> {
        let length = match self.kind {
            SignedKind::Mac(length) => Some(length),
            SignedKind::Digest => Some(32),
            SignedKind::Public(PublicAlgorithm::Ed25519) => Some(64),
            SignedKind::Public(PublicAlgorithm::EcdsaP256 | PublicAlgorithm::Rsa) => None,
        };
        self.carrier
            .candidates(&delivered.items, self.encoding, length)
    }

    /// Which secret has signed the delivery.
    pub(super) fn verify(
        &self,
        delivered: &Delivered<'_>,
        candidates: &[Vec<u8>],
        live: &Live<'_>,
    ) -> Result<usize, Failure> {
        let pieces = self.template.pieces(delivered, None)?;
        let outcomes = live
            .iter()
            .map(|(place, held)| (*place, self.holds(&pieces, held, candidates)));
        matched(outcomes).ok_or_else(|| no_match(candidates.len(), live))
    }

    /// Refuses a delivery whose signed text is a bare `token`, which a handshake signs for whoever asks.
    pub(super) fn refuse_token(&self, delivered: &Delivered<'_>) -> Result<(), Failure> {
        let mut text = Vec::new();
        for piece in self.template.pieces(delivered, None)? {
            let Piece::Bytes(bytes) = piece else {
                return Ok(());
            };
            if text.len() + bytes.len() > LONGEST_TOKEN {
                return Ok(());
            }
            text.extend_from_slice(&bytes);
        }
        if is_token(&text) {
            return Err(Failure::malformed(
                "what is signed is a bare token, and this source's handshake signs those for whoever asks",
            ));
        }
        Ok(())
    }

    fn holds(&self, pieces: &[Piece<'_>], held: &Held, candidates: &[Vec<u8>]) -> bool {
        match &held.key {
            Key::Mac(key) => {
                let mut mac = hmac::Context::with_key(key);
                for piece in pieces {
                    if let Piece::Bytes(bytes) = piece {
                        mac.update(bytes);
                    }
                }
                equals_any(mac.sign().as_ref(), candidates)
            }
            Key::Plain(_) => {
                let mut hash = Context::new(&digest::SHA256);
                for piece in pieces {
                    hash.update(match piece {
                        Piece::Bytes(bytes) => bytes,
                        Piece::Secret => held.bytes.expose(),
                    });
                }
                equals_any(hash.finish().as_ref(), candidates)
            }
            Key::Public(key) => public(self.kind, pieces, key, candidates),
        }
    }
}

fn equals_any(computed: &[u8], candidates: &[Vec<u8>]) -> bool {
    candidates.iter().fold(false, |found, candidate| {
        found | verify_slices_are_equal(computed, candidate).is_ok()
    })
}

fn public(
    kind: SignedKind,
    pieces: &[Piece<'_>],
    key: &ParsedPublicKey,
    candidates: &[Vec<u8>],
) -> bool {
    let bytes = pieces.iter().filter_map(|piece| match piece {
        Piece::Bytes(bytes) => Some(bytes.as_ref()),
        Piece::Secret => None,
    });
    // Ed25519 reads its message twice; the others sign a digest, which takes parts.
    if kind == SignedKind::Public(PublicAlgorithm::Ed25519) {
        let parts: Vec<&[u8]> = bytes.collect();
        let joined;
        let message = match parts.as_slice() {
            [one] => one,
            several => {
                joined = several.concat();
                joined.as_slice()
            }
        };
        return candidates.iter().fold(false, |found, candidate| {
            found | key.verify_sig(message, candidate).is_ok()
        });
    }
    let mut hash = Context::new(&digest::SHA256);
    bytes.for_each(|part| hash.update(part));
    let digest = hash.finish();
    candidates.iter().fold(false, |found, candidate| {
        found | key.verify_digest_sig(&digest, candidate).is_ok()
    })
}

/// Which secret a text is; texts of any length take the same time.
fn secret_that_is(text: &[u8], live: &Live<'_>) -> Option<usize> {
    let brought = sha256(text);
    matched(live.iter().map(|(place, held)| {
        let same = match &held.key {
            Key::Plain(digest) => verify_slices_are_equal(digest, &brought).is_ok(),
            Key::Mac(_) | Key::Public(_) => false,
        };
        (*place, same)
    }))
}

/// Which secret the carrier holds.
pub(super) fn token(
    carrier: &Carrier,
    delivered: &Delivered<'_>,
    live: &Live<'_>,
) -> Result<usize, Failure> {
    let candidates = carrier.tagged(&delivered.items)?;
    let found = candidates
        .iter()
        .map(|text| secret_that_is(text.as_bytes(), live));
    let found = found.fold(None, |first: Option<usize>, place| first.or(place));
    found.ok_or_else(|| no_match(candidates.len(), live))
}

/// Which secret is the user and password of HTTP Basic (RFC 7617).
pub(super) fn basic(
    carrier: &Carrier,
    delivered: &Delivered<'_>,
    live: &Live<'_>,
) -> Result<usize, Failure> {
    let decoded: Vec<Vec<u8>> = delivered
        .items
        .iter()
        .filter_map(|item| {
            let (scheme, rest) = item.split_once(' ')?;
            let encoded = rest.trim_start_matches(' ');
            scheme
                .eq_ignore_ascii_case("basic")
                .then(|| from_base64(encoded.as_bytes()))
                .flatten()
        })
        .collect();
    if decoded.is_empty() {
        return Err(carrier.unreadable("not HTTP Basic"));
    }
    let found = decoded.iter().map(|text| secret_that_is(text, live));
    let found = found.fold(None, |first: Option<usize>, place| first.or(place));
    found.ok_or_else(|| no_match(decoded.len(), live))
}

/// The most elements of a list whose tokens are looked at: nobody batches more.
const MOST_ELEMENTS: usize = 10_000;

/// Which secret every element of a list carries. An empty list proves nothing.
pub(super) fn token_of_each(
    each: &Pointer,
    field: &str,
    delivered: &Delivered<'_>,
    live: &Live<'_>,
) -> Result<usize, Failure> {
    let missing = || Failure::missing(format!("an element of json:{each} has no `{field}`"));
    let list = delivered
        .json(each)?
        .ok_or_else(|| Failure::missing(format!("json:{each} is absent")))?;
    let elements: Vec<&serde_json::value::RawValue> = serde_json::from_str(list.get())
        .map_err(|_| Failure::malformed(format!("json:{each} is not a list")))?;
    if elements.is_empty() {
        return Err(missing());
    }
    if elements.len() > MOST_ELEMENTS {
        return Err(Failure::malformed(format!(
            "json:{each} is too long a list"
        )));
    }
    let member: Pointer = format!("/{}", field.replace('~', "~0").replace('/', "~1"))
        .parse()
        .map_err(Failure::malformed)?;
    let mut tokens = Vec::with_capacity(elements.len());
    for element in &elements {
        match member.find(element.get().as_bytes()) {
            super::pointer::Found::Nothing => return Err(missing()),
            super::pointer::Found::Ambiguous => {
                return Err(Ambiguous(format!("`{field}`")).into());
            }
            super::pointer::Found::Value(raw) => tokens.push(super::pointer::text_of(raw)),
        }
    }
    let found: Vec<Option<usize>> = tokens
        .iter()
        .map(|text| secret_that_is(text.as_bytes(), live))
        .collect();
    match found.first() {
        Some(Some(first)) if found.iter().all(Option::is_some) => Ok(*first),
        _ => Err(no_match(tokens.len(), live)),
    }
}
