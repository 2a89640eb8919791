//! The compact form of a signed token (RFC 7515, 7.1): three segments of base64url without padding, each in its only
//! spelling, and a header of which little is believed. Keys that a header brings along (`jwk`, `jku`, `x5u`, `x5c`) are
//! never looked at, and `kid` is only ever compared.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::json::{self, Object};
use super::refusal::Refusal;

/// The largest token that is looked at, in bytes.
pub(super) const MAX_TOKEN: usize = 16 << 10;

/// A token whose form is right. Nothing of it is proven.
#[derive(Debug)]
pub(super) struct Compact<'t> {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    /// The claims, as they came.
    pub payload: String,
    pub claims: Object,
    /// What is signed: header and payload as they came, with the dot between them.
    pub signed: &'t [u8],
    /// As it came, in base64url.
    pub signature: &'t str,
}

impl<'t> Compact<'t> {
    /// Reads a token. `accepted`: the algorithms that any key may be used with; the others are refused by their name.
    pub(super) fn read(token: &'t [u8], accepted: &[Algorithm]) -> Result<Compact<'t>, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::TooLarge);
        }
        let token = std::str::from_utf8(token).map_err(|_| Refusal::Malformed)?;
        let mut segments = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) = (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) else {
            return Err(Refusal::Segments);
        };
        let header = json::object(&decoded(header)?).ok_or(Refusal::Malformed)?;
        let algorithm = algorithm(&header, accepted)?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Refusal::Malformed),
        };
        // An empty signature is refused with the wrong ones; one that is no base64 is no token.
        decoded(signature)?;
        let payload = String::from_utf8(decoded(payload)?).map_err(|_| Refusal::Malformed)?;
        let claims = json::object(payload.as_bytes()).ok_or(Refusal::Malformed)?;
        let signed = &token.as_bytes()[..token.len() - signature.len() - 1];
        Ok(Compact {
            algorithm,
            kid,
            payload,
            claims,
            signed,
            signature,
        })
    }
}

/// Strict: no padding, no other alphabet, no white space, no bits left over.
fn decoded(segment: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(segment)
        .map_err(|_| Refusal::Malformed)
}

fn algorithm(header: &Object, accepted: &[Algorithm]) -> Result<Algorithm, Refusal> {
    let named = match header.get("alg") {
        Some(Value::String(named)) => named,
        _ => return Err(Refusal::Algorithm),
    };
    let algorithm = Algorithm::from_str(named)
        .ok()
        .filter(|algorithm| accepted.contains(algorithm))
        .ok_or(Refusal::Algorithm)?;
    // `b64` (RFC 7797) changes what is signed, so it is refused even where `crit` does not name it.
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(Refusal::Critical);
    }
    match header.get("typ") {
        None => Ok(algorithm),
        Some(Value::String(typ)) if is_token(typ) => Ok(algorithm),
        Some(_) => Err(Refusal::Type),
    }
}

/// Whether tokens of that `typ` may open a door: plain ones and access tokens (RFC 9068, and those named after it), but
/// not what the same keys sign for other ends, such as `logout+jwt` or `dpop+jwt` (RFC 8725, 3.11).
fn is_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    matches!(typ, "jwt" | "jws" | "jose" | "at+jwt") || typ.ends_with("-at+jwt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!(
            "{}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        )
    }

    fn read(token: &str) -> Result<(), Refusal> {
        Compact::read(token.as_bytes(), &[Algorithm::RS256]).map(drop)
    }

    #[test]
    fn a_header_says_little_and_less_is_believed() {
        let rows = [
            (r#"{"alg":"RS256"}"#, Ok(())),
            (r#"{"alg":"RS256","kid":"../../etc/passwd"}"#, Ok(())),
            (
                r#"{"alg":"RS256","jku":"https://evil","jwk":{},"x5u":1,"x5c":[]}"#,
                Ok(()),
            ),
            (r#"{"alg":"RS256","typ":"at+jwt"}"#, Ok(())),
            (
                r#"{"alg":"RS256","typ":"application/okta-internal-at+jwt"}"#,
                Ok(()),
            ),
            (r#"{"alg":"RS256","typ":"logout+jwt"}"#, Err(Refusal::Type)),
            (r#"{"alg":"RS256","typ":7}"#, Err(Refusal::Type)),
            (r#"{"alg":"RS256","kid":7}"#, Err(Refusal::Malformed)),
            (r#"{"alg":"RS256","kid":null}"#, Err(Refusal::Malformed)),
            (r#"{"alg":"RS256","crit":[]}"#, Err(Refusal::Critical)),
            (r#"{"alg":"RS256","crit":["exp"]}"#, Err(Refusal::Critical)),
            (r#"{"alg":"RS256","b64":false}"#, Err(Refusal::Critical)),
            (r#"{"alg":"none"}"#, Err(Refusal::Algorithm)),
            (r#"{"alg":"None"}"#, Err(Refusal::Algorithm)),
            (r#"{"alg":"nOnE"}"#, Err(Refusal::Algorithm)),
            (r#"{"alg":""}"#, Err(Refusal::Algorithm)),
            (r#"{"alg":"HS256"}"#, Err(Refusal::Algorithm)),
            (r#"{"alg":"rs256"}"#, Err(Refusal::Algorithm)),
            (r#"{"alg":"RS256 "}"#, Err(Refusal::Algorithm)),
            (r#"{"alg":["RS256"]}"#, Err(Refusal::Algorithm)),
            (r#"{"alg":null}"#, Err(Refusal::Algorithm)),
            (r#"{}"#, Err(Refusal::Algorithm)),
            (r#"{"alg":"RS256","alg":"none"}"#, Err(Refusal::Malformed)),
            (
                r#"{"alg":"none","\u0061lg":"RS256"}"#,
                Err(Refusal::Malformed),
            ),
            (r#"[]"#, Err(Refusal::Malformed)),
            (r#""RS256""#, Err(Refusal::Malformed)),
        ];
        for (header, expected) in rows {
            assert_eq!(read(&token(header, "{}")), expected, "{header}");
        }
    }

    #[test]
    fn a_token_has_one_spelling() {
        let good = token(r#"{"alg":"RS256"}"#, r#"{"a":1}"#);
        assert_eq!(read(&good), Ok(()));
        let (rest, _) = good.rsplit_once('.').unwrap();
        let rows = [
            ("", Refusal::Segments),
            ("a.b", Refusal::Segments),
            ("a.b.c.d.e", Refusal::Segments),
            ("..", Refusal::Malformed),
            (rest, Refusal::Segments),
            (&format!("{good}."), Refusal::Segments),
            // `c2ln` in other spellings: padded, with bits left over, in the other alphabet, with white space.
            (&format!("{rest}.c2lnPQ=="), Refusal::Malformed),
            (&format!("{rest}.c2k="), Refusal::Malformed),
            (&format!("{rest}.c2l"), Refusal::Malformed),
            (&format!("{rest}.c2+n"), Refusal::Malformed),
            (&format!("{rest}.c2ln\n"), Refusal::Malformed),
            (&format!("{rest}. c2ln"), Refusal::Malformed),
            (&format!("Bearer {good}"), Refusal::Malformed),
            (&format!("{good}, {good}"), Refusal::Segments),
            (&"x".repeat(MAX_TOKEN + 1), Refusal::TooLarge),
            (&token(r#"{"alg":"RS256"}"#, "[]"), Refusal::Malformed),
            (
                &token(r#"{"alg":"RS256"}"#, r#"{"a":1,"a":1}"#),
                Refusal::Malformed,
            ),
            (&token(r#"{"alg":"RS256"}"#, ""), Refusal::Malformed),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text), Err(expected), "{text}");
        }
        assert_eq!(
            Compact::read(b"\xff.\xff.\xff", &[]).map(drop),
            Err(Refusal::Malformed)
        );
    }
}
