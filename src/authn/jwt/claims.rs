//! What a token claims, read strictly (reference, 4.2): a claim of the wrong type is a wrong claim. And how claims are
//! handed on: flattened as the vendor does (4.5), beside the payload as it came.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use indexmap::IndexMap;
use serde_json::Value;

use super::json::Object;
use super::refusal::Refusal;

/// 9999-12-31T23:59:59Z. What claims a later time has been computed wrongly.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// When a token may be used, in whole seconds since 1970, without leeway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// From this second on, by `nbf`.
    pub not_before: Option<i64>,
    /// From this second on, by `iat`.
    pub issued: Option<i64>,
    /// Before this second.
    pub expires: i64,
}

impl Validity {
    /// Reads `exp`, which has to be there, `nbf` and `iat`.
    pub(super) fn read(claims: &Object) -> Result<Validity, Refusal> {
        Ok(Validity {
            not_before: instant(claims, "nbf")?,
            issued: instant(claims, "iat")?,
            expires: instant(claims, "exp")
                .ok()
                .flatten()
                .ok_or(Refusal::NoExpiry)?,
        })
    }

    /// Whether it holds at that second. `leeway`: how far the issuer's clock may be off, in seconds.
    pub(super) fn at(&self, now: i64, leeway: i64) -> Result<(), Refusal> {
        if now >= self.expires.saturating_add(leeway) {
            return Err(Refusal::Expired);
        }
        let latest = now.saturating_add(leeway);
        if self.not_before.is_some_and(|from| from > latest) {
            return Err(Refusal::NotYet);
        }
        if self.issued.is_some_and(|at| at > latest) {
            return Err(Refusal::IssuedLater);
        }
        Ok(())
    }
}

/// A `NumericDate` (RFC 7519, 2): a number, fractions allowed. It is compared with whole seconds, for which the next
/// whole one stands in exactly.
fn instant(claims: &Object, name: &str) -> Result<Option<i64>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => match number.as_f64() {
            // Past the range check the conversion is exact.
            Some(seconds) if (-LAST_SECOND..=LAST_SECOND).contains(&seconds) => {
                Ok(Some(seconds.ceil() as i64))
            }
            _ => Err(Refusal::Malformed),
        },
        Some(_) => Err(Refusal::Malformed),
    }
}

/// Whether the token is for one of the audiences: `aud` says so, and `client_id` where there is no `aud`.
pub(super) fn check_audience(claims: &Object, accepted: &[String]) -> Result<(), Refusal> {
    let known = |name: &Value| {
        name.as_str()
            .is_some_and(|name| accepted.iter().any(|audience| audience == name))
    };
    let fits = match claims.get("aud") {
        Some(Value::Array(names)) => names.iter().all(Value::is_string) && names.iter().any(known),
        Some(name) => known(name),
        None => claims.get("client_id").is_some_and(known),
    };
    if fits { Ok(()) } else { Err(Refusal::Audience) }
}

/// Whether the claims that are asked for are there: each with one of its values, as its text or as an element of a list.
pub(super) fn check_required(
    claims: &Object,
    required: &[(String, Vec<String>)],
) -> Result<(), Refusal> {
    let fits = |value: &Value, accepted: &[String]| match value {
        Value::String(text) => accepted.contains(text),
        Value::Bool(_) | Value::Number(_) => accepted.contains(&value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    let all = required
        .iter()
        .all(|(name, accepted)| match claims.get(name) {
            Some(Value::Array(values)) => values.iter().any(|value| fits(value, accepted)),
            Some(value) => fits(value, accepted),
            None => false,
        });
    if all { Ok(()) } else { Err(Refusal::Claim) }
}

/// The scopes granted: `scope`, or else `scp`; a text with spaces between them (RFC 8693, 4.2) or a list.
pub(super) fn scopes(claims: &Object) -> Result<Arc<[String]>, Refusal> {
    let granted = match claims.get("scope").or_else(|| claims.get("scp")) {
        None => Vec::new(),
        Some(Value::String(text)) => text
            .split(' ')
            .filter(|scope| !scope.is_empty())
            .map(str::to_owned)
            .collect(),
        Some(Value::Array(list)) => list
            .iter()
            .map(|scope| scope.as_str().map(str::to_owned).ok_or(Refusal::Malformed))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(Refusal::Malformed),
    };
    Ok(granted.into())
}

/// Who the caller is: `sub`, else `client_id`.
pub(super) fn principal(claims: &Object) -> Result<Option<Arc<str>>, Refusal> {
    for name in ["sub", "client_id"] {
        match claims.get(name) {
            None => {}
            Some(Value::String(text)) => return Ok(Some(text.as_str().into())),
            Some(_) => return Err(Refusal::Malformed),
        }
    }
    Ok(None)
}

/// Who the caller is among the callers of all issuers: the issuer, with `sub`, else `client_id`. A token that has
/// neither stands for itself.
pub(super) fn scope(issuer: &str, claims: &Object, payload: &str) -> Arc<str> {
    let said = ["sub", "client_id"]
        .iter()
        .find_map(|name| Some((*name, claims.get(*name)?.as_str()?)));
    match said {
        Some((name, who)) => format!("{issuer}\n{name} {who}").into(),
        None => {
            let digest = digest(&SHA256, payload.as_bytes());
            let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
            format!("{issuer}\nclaims {}", digits.collect::<String>()).into()
        }
    }
}

/// Every claim as text. Claims that are null are left out.
pub(super) fn flattened(claims: &Object) -> IndexMap<String, String> {
    claims
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), flat(value)))
        .collect()
}

/// Texts as they are, lists as `[a b c]`, the rest as JSON.
fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(flat).collect();
            format!("[{}]", values.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::jwt::json::object;

    fn claims(text: &str) -> Object {
        object(text.as_bytes()).unwrap()
    }

    fn validity(text: &str, now: i64, leeway: i64) -> Result<(), Refusal> {
        Validity::read(&claims(text))?.at(now, leeway)
    }

    #[test]
    fn a_token_holds_from_nbf_and_iat_up_to_and_not_including_exp() {
        let rows = [
            (r#"{"exp":101}"#, Ok(())),
            (r#"{"exp":100}"#, Err(Refusal::Expired)),
            (r#"{"exp":100.5}"#, Ok(())),
            (r#"{"exp":-1}"#, Err(Refusal::Expired)),
            (r#"{}"#, Err(Refusal::NoExpiry)),
            (r#"{"exp":"101"}"#, Err(Refusal::NoExpiry)),
            (r#"{"exp":null}"#, Err(Refusal::NoExpiry)),
            (r#"{"exp":true}"#, Err(Refusal::NoExpiry)),
            (r#"{"exp":[101]}"#, Err(Refusal::NoExpiry)),
            (r#"{"exp":{"exp":101}}"#, Err(Refusal::NoExpiry)),
            (r#"{"exp":1e300}"#, Err(Refusal::NoExpiry)),
            (r#"{"exp":9223372036854775807}"#, Err(Refusal::NoExpiry)),
            (r#"{"exp":18446744073709551615}"#, Err(Refusal::NoExpiry)),
            (r#"{"exp":101,"nbf":100,"iat":100}"#, Ok(())),
            (r#"{"exp":101,"nbf":101}"#, Err(Refusal::NotYet)),
            (r#"{"exp":101,"nbf":100.001}"#, Err(Refusal::NotYet)),
            (r#"{"exp":101,"nbf":"100"}"#, Err(Refusal::Malformed)),
            (r#"{"exp":101,"nbf":null}"#, Err(Refusal::Malformed)),
            (r#"{"exp":101,"iat":101}"#, Err(Refusal::IssuedLater)),
            (r#"{"exp":101,"iat":"x"}"#, Err(Refusal::Malformed)),
        ];
        for (text, expected) in rows {
            assert_eq!(validity(text, 100, 0), expected, "{text}");
        }
    }

    #[test]
    fn leeway_stretches_both_ends_by_its_seconds_and_no_more() {
        for (text, expected) in [
            (r#"{"exp":91}"#, Ok(())),
            (r#"{"exp":90}"#, Err(Refusal::Expired)),
            (r#"{"exp":200,"nbf":110,"iat":110}"#, Ok(())),
            (r#"{"exp":200,"nbf":111}"#, Err(Refusal::NotYet)),
            (r#"{"exp":200,"iat":111}"#, Err(Refusal::IssuedLater)),
        ] {
            assert_eq!(validity(text, 100, 10), expected, "{text}");
        }
    }

    #[test]
    fn an_audience_is_one_of_those_configured_and_client_id_stands_in_only_for_an_absent_one() {
        let accepted = ["shop".to_owned(), "till".to_owned()];
        for (text, fits) in [
            (r#"{"aud":"shop"}"#, true),
            (r#"{"aud":["other","till"]}"#, true),
            (r#"{"client_id":"shop"}"#, true),
            (r#"{"aud":"other","client_id":"shop"}"#, false),
            (r#"{"aud":[],"client_id":"shop"}"#, false),
            (r#"{"aud":null,"client_id":"shop"}"#, false),
            (r#"{"aud":["shop",1]}"#, false),
            (r#"{"aud":{"shop":1}}"#, false),
            (r#"{"aud":"Shop"}"#, false),
            (r#"{"aud":"shop till"}"#, false),
            (r#"{"client_id":["shop"]}"#, false),
            (r#"{}"#, false),
        ] {
            assert_eq!(
                check_audience(&claims(text), &accepted).is_ok(),
                fits,
                "{text}"
            );
        }
    }

    #[test]
    fn required_claims_are_compared_as_text_and_lists_by_their_elements() {
        let required = [
            ("tier".to_owned(), vec!["gold".to_owned(), "2".to_owned()]),
            ("mfa".to_owned(), vec!["true".to_owned()]),
        ];
        for (text, fits) in [
            (r#"{"tier":"gold","mfa":true}"#, true),
            (r#"{"tier":["tin","gold"],"mfa":"true"}"#, true),
            (r#"{"tier":2,"mfa":true}"#, true),
            (r#"{"tier":"gold"}"#, false),
            (r#"{"tier":"gold","mfa":false}"#, false),
            (r#"{"tier":"golden","mfa":true}"#, false),
            (r#"{"tier":[["gold"]],"mfa":true}"#, false),
            (r#"{"tier":{"gold":1},"mfa":true}"#, false),
            (r#"{"tier":null,"mfa":true}"#, false),
        ] {
            assert_eq!(
                check_required(&claims(text), &required).is_ok(),
                fits,
                "{text}"
            );
        }
    }

    #[test]
    fn scopes_are_read_from_scope_or_scp() {
        for (text, expected) in [
            (r#"{"scope":"a  b c"}"#, Some("a b c")),
            (r#"{"scp":["a","b"]}"#, Some("a b")),
            (r#"{"scp":"a b"}"#, Some("a b")),
            (r#"{"scope":["a b"]}"#, Some("a b")),
            (r#"{"scope":"a","scp":["b"]}"#, Some("a")),
            (r#"{}"#, Some("")),
            (r#"{"scope":1}"#, None),
            (r#"{"scp":["a",1]}"#, None),
        ] {
            let found = scopes(&claims(text)).ok().map(|scopes| scopes.join(" "));
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn claims_are_flattened_as_the_vendor_does() {
        let flat = flattened(&claims(
            r#"{"sub":"u","n":1,"f":1.5,"b":true,"z":null,"cognito:groups":["a","b",1],"o":{"k":[1]},"e":[]}"#,
        ));
        let pairs: Vec<String> = flat.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            pairs,
            [
                "sub=u",
                "n=1",
                "f=1.5",
                "b=true",
                "cognito:groups=[a b 1]",
                r#"o={"k":[1]}"#,
                "e=[]"
            ]
        );
        assert_eq!(
            principal(&claims(r#"{"client_id":"c"}"#)),
            Ok(Some("c".into()))
        );
        assert_eq!(
            principal(&claims(r#"{"sub":1,"client_id":"c"}"#)),
            Err(Refusal::Malformed)
        );
        assert_eq!(principal(&claims("{}")), Ok(None));
    }

    #[test]
    fn callers_of_two_issuers_and_tokens_that_name_nobody_have_scopes_of_their_own() {
        let said = [
            ("https://a", r#"{"sub":"u"}"#),
            ("https://b", r#"{"sub":"u"}"#),
            ("https://a", r#"{"client_id":"u"}"#),
            ("https://a", r#"{"jti":"1"}"#),
            ("https://a", r#"{"jti":"2"}"#),
        ];
        let scopes = said.map(|(issuer, payload)| scope(issuer, &claims(payload), payload));
        let different: std::collections::HashSet<_> = scopes.iter().collect();
        assert_eq!(different.len(), said.len(), "{scopes:?}");
        // A new token of the same caller's changes nothing.
        let later = r#"{"sub":"u","iat":2}"#;
        assert_eq!(scope("https://a", &claims(later), later), scopes[0]);
    }
}
