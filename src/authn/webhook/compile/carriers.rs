//! Where signatures are, as written; and keys that a scheme has no use for.

use super::super::carrier::{Carrier, HeaderPattern, Place};
use super::super::reference::{self, Reference, Wrong};
use super::super::written::{Scheme, Several, Verify};
use super::{Known, noted};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// The carrier, or the scheme's own header.
pub(super) fn own_or(
    verify: &Verify,
    header: &'static str,
    known: &Known<'_>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<Carrier> {
    if verify.header.is_some() || verify.within.is_some() {
        return carrier(verify, known, at, problems);
    }
    let mut carrier = Carrier::of_header(http::HeaderName::from_static(header));
    carrier.split.clone_from(&verify.split);
    carrier.prefix.clone_from(&verify.prefix);
    Some(carrier)
}

/// The carrier of signature candidates.
pub(super) fn carrier(
    verify: &Verify,
    known: &Known<'_>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<Carrier> {
    if verify.split.as_deref() == Some("") {
        problems
            .error(&at.key("split"), "nothing can be cut at an empty text")
            .help("leave it out if there is one signature");
    }
    let place = match (&verify.header, &verify.within) {
        (Some(Several(names)), None) => {
            let at = at.key("header");
            if names.is_empty() {
                problems.error(&at, "the list of headers is empty");
                return None;
            }
            let patterns = names
                .iter()
                .map(|name| noted(pattern(name), &at, problems))
                .collect::<Option<Vec<_>>>()?;
            Place::Headers(patterns)
        }
        (None, Some(text)) => {
            let at = at.key("in");
            let reference = noted(Reference::parse(text), &at, problems)?;
            if !matches!(
                reference,
                Reference::Header(_)
                    | Reference::Query(_)
                    | Reference::Form(_)
                    | Reference::Json(_)
            ) {
                problems
                    .error(&at, format!("no signature can be in `{reference}`"))
                    .help("allowed: header:NAME, query:NAME, form:NAME, json:/POINTER");
            }
            known.check(&reference, true, &at, problems);
            Place::At(reference)
        }
        (Some(_), Some(_)) => {
            problems
                .error(&at.key("in"), "`header` and `in` stand side by side")
                .help("signatures are in one place: leave one of them out");
            return None;
        }
        (None, None) => {
            problems
                .error(at, "nothing says where the signature is")
                .help("write `header: NAME`, or `in: json:/POINTER`");
            return None;
        }
    };
    Some(Carrier {
        place,
        split: verify.split.clone(),
        prefix: verify.prefix.clone(),
    })
}

fn pattern(name: &str) -> Result<HeaderPattern, Wrong> {
    match name.split_once('#') {
        None => reference::header_name(name).map(HeaderPattern::One),
        Some((before, after)) => {
            reference::header_name(&format!("{before}1{after}"))?;
            Ok(HeaderPattern::Numbered(before.to_owned(), after.to_owned()))
        }
    }
}

/// Keys that the scheme does not read would be obeyed by nobody.
pub(super) fn unused(verify: &Verify, scheme: Scheme, at: &ConfigPath, problems: &mut Problems) {
    use Scheme::{Basic, Jwt, None as Unsigned, Paypal, Sns, Token, Twilio};
    let coded = matches!(scheme, Sns | Paypal | Unsigned);
    let signs = !matches!(scheme, Token | Basic | Jwt | Twilio) && !coded;
    let of_each = verify.each.is_some();
    let jwt = scheme == Jwt;
    for (name, written, of_use) in [
        ("header", verify.header.is_some(), !coded && !of_each),
        ("in", verify.within.is_some(), !coded && !of_each),
        ("split", verify.split.is_some(), !coded && !of_each),
        (
            "prefix",
            verify.prefix.is_some(),
            !coded && !of_each && scheme != Basic,
        ),
        ("encoding", verify.encoding.is_some(), signs),
        ("signed", verify.signed.is_some(), signs),
        ("partial", verify.partial == Some(true), signs),
        (
            "timestamp",
            verify.timestamp.is_some(),
            signs || matches!(scheme, Sns | Paypal),
        ),
        ("key", verify.key.is_some(), !coded),
        ("each", verify.each.is_some(), scheme == Token),
        ("field", verify.field.is_some(), scheme == Token),
        ("algs", verify.algs.is_some(), jwt),
        ("keys", verify.keys.is_some(), jwt),
        ("iss", verify.iss.is_some(), jwt),
        ("aud", verify.aud.is_some(), jwt),
        ("claims", !verify.claims.is_empty(), jwt),
        ("max_age", verify.max_age.is_some(), jwt),
        ("leeway", verify.leeway.is_some(), jwt),
        ("body_hash", verify.body_hash.is_some(), jwt),
    ] {
        if written && !of_use {
            problems
                .error(
                    &at.key(name),
                    format!("`{name}` has no meaning with `scheme: {}`", scheme.name()),
                )
                .help("leave it out, or choose another scheme");
        }
    }
}
