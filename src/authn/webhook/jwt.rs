//! The `jwt` scheme: a compact JWS (RFC 7515) whose algorithm is matched against the source's list before a key is chosen.
//! What the token's head says of keys beyond `kid` (`jwk`, `jku`, `x5u`) is not looked at.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::carrier::Carrier;
use super::request::{Delivered, from_hex};
use super::scheme::Live;
use super::secret::{from_base64, same, sha256};
use super::template::Template;
use super::verdict::{Code, Failure};
use super::written::Encoding;

/// How a token is checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JwtSpec {
    pub(super) carrier: Carrier,
    pub(super) algs: Vec<Alg>,
    pub(super) keys: KeySource,
    pub(super) iss: Vec<Template>,
    pub(super) aud: Vec<Template>,
    pub(super) claims: Vec<(String, Wanted)>,
    /// Seconds.
    pub(super) max_age: Option<i64>,
    /// Seconds.
    pub(super) leeway: i64,
    pub(super) body_hash: Option<(String, Encoding)>,
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeySource {
    Secrets,
    Jwks(String),
    Plaid,
}

/// What a claim must be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    Text(Template),
    Value(Value),
}

/// A signature algorithm (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alg {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Alg {
    pub(super) const ALL: [(&'static str, Alg); 12] = [
        ("HS256", Alg::Hs256),
        ("HS384", Alg::Hs384),
        ("HS512", Alg::Hs512),
        ("RS256", Alg::Rs256),
        ("RS384", Alg::Rs384),
        ("RS512", Alg::Rs512),
        ("PS256", Alg::Ps256),
        ("PS384", Alg::Ps384),
        ("PS512", Alg::Ps512),
        ("ES256", Alg::Es256),
        ("ES384", Alg::Es384),
        ("EdDSA", Alg::EdDsa),
    ];

    pub(super) fn named(name: &str) -> Option<Alg> {
        let known = Alg::ALL.iter().find(|(known, _)| *known == name);
        known.map(|(_, alg)| *alg)
    }

    /// The MAC of a shared secret; `None` for public keys.
    pub(super) fn mac(self) -> Option<hmac::Algorithm> {
        match self {
            Alg::Hs256 => Some(hmac::HMAC_SHA256),
            Alg::Hs384 => Some(hmac::HMAC_SHA384),
            Alg::Hs512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Alg::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Alg::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Alg::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Alg::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Alg::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Alg::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            _ => None,
        }
    }

    /// The curve of a key set, and who verifies with it.
    fn curve(self) -> Option<(&'static str, &'static dyn VerificationAlgorithm)> {
        match self {
            Alg::Es256 => Some(("P-256", &ECDSA_P256_SHA256_FIXED)),
            Alg::Es384 => Some(("P-384", &ECDSA_P384_SHA384_FIXED)),
            Alg::EdDsa => Some(("Ed25519", &ED25519)),
            _ => None,
        }
    }
}

/// A key of a set (RFC 7517).
#[derive(Debug, Deserialize)]
pub(super) struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Keys that were fetched.
#[derive(Debug)]
pub(super) struct KeySet(pub(super) Vec<Jwk>);

impl KeySet {
    /// The keys of a set's JSON. One that is not understood is passed over (RFC 7517, 5).
    pub(super) fn read(json: &[u8]) -> Result<KeySet, String> {
        #[derive(Deserialize)]
        struct Written {
            keys: Vec<Value>,
        }
        let written: Written =
            serde_json::from_slice(json).map_err(|error| format!("not a key set: {error}"))?;
        let keys = written.keys.into_iter();
        Ok(KeySet(
            keys.filter_map(|key| serde_json::from_value(key).ok())
                .collect(),
        ))
    }

    /// Whether a key of that name is in it; any key where none is named.
    pub(super) fn has(&self, kid: Option<&str>) -> bool {
        self.0.iter().any(|key| key.is(kid))
    }
}

impl Jwk {
    fn is(&self, kid: Option<&str>) -> bool {
        kid.is_none_or(|kid| self.kid.as_deref() == Some(kid))
    }

    /// Whether the key has made the signature, and may be used with the algorithm at all.
    fn has_signed(&self, alg: Alg, message: &[u8], signature: &[u8]) -> bool {
        let named = Alg::ALL.iter().find(|(_, known)| *known == alg);
        let fits = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self
                .alg
                .as_deref()
                .is_none_or(|own| named.is_some_and(|(name, _)| *name == own));
        let part = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        if !fits {
            return false;
        }
        if let (Some(parameters), "RSA") = (alg.rsa(), self.kty.as_str()) {
            let (Some(n), Some(e)) = (part(&self.n), part(&self.e)) else {
                return false;
            };
            let key = RsaPublicKeyComponents { n, e };
            return key.verify(parameters, message, signature).is_ok();
        }
        let Some((curve, verifier)) = alg.curve() else {
            return false;
        };
        if self.crv.as_deref() != Some(curve) {
            return false;
        }
        let point = match self.kty.as_str() {
            "EC" => part(&self.x)
                .zip(part(&self.y))
                .map(|(x, y)| [&[4], x.as_slice(), y.as_slice()].concat()),
            "OKP" => part(&self.x),
            _ => None,
        };
        point.is_some_and(|point| {
            UnparsedPublicKey::new(verifier, point)
                .verify(message, signature)
                .is_ok()
        })
    }
}

/// A token, taken apart; nothing of it is proven.
pub(super) struct Token<'t> {
    pub(super) alg: Alg,
    pub(super) kid: Option<String>,
    /// What was signed.
    message: &'t str,
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

/// Members of an object, none twice.
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(de::Error::custom("a name stands twice"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Form)
    }
}

fn members(part: &str) -> Option<Map<String, Value>> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    let Members(members) = serde_json::from_slice(&json).ok()?;
    Some(members)
}

impl JwtSpec {
    /// Takes the token apart and matches its algorithm.
    pub(super) fn token<'t>(&self, text: &'t str) -> Result<Token<'t>, Failure> {
        let unreadable = || self.carrier.unreadable("not a token");
        let (message, signature) = text.rsplit_once('.').ok_or_else(unreadable)?;
        let (head, claims) = message.split_once('.').ok_or_else(unreadable)?;
        let head = members(head).ok_or_else(unreadable)?;
        let claims = members(claims).ok_or_else(unreadable)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| unreadable())?;
        let alg = head.get("alg").and_then(Value::as_str).and_then(Alg::named);
        let alg = alg
            .filter(|alg| self.algs.contains(alg))
            .ok_or_else(|| Failure::bad("the token's algorithm is not accepted here"))?;
        if head.contains_key("crit") {
            return Err(Failure::bad("the token asks for extensions (crit)"));
        }
        let kid = match head.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(unreadable()),
        };
        Ok(Token {
            alg,
            kid,
            message,
            signature,
            claims,
        })
    }
}

impl Token<'_> {
    /// Which secret has signed it.
    pub(super) fn signed_by_secret(&self, live: &Live<'_>) -> Result<usize, Failure> {
        let Some(mac) = self.alg.mac() else {
            return Err(Failure::bad("the token's algorithm is not one of secrets"));
        };
        let matches = live.iter().fold(None, |first, (place, held)| {
            let key = hmac::Key::new(mac, held.bytes.expose());
            let holds = hmac::verify(&key, self.message.as_bytes(), &self.signature).is_ok();
            first.or(holds.then_some(*place))
        });
        matches.ok_or_else(|| Failure::bad("no secret has signed the token"))
    }

    /// Whether a key of the set has signed it.
    pub(super) fn signed_by_key(&self, keys: &KeySet) -> Result<(), Failure> {
        let kid = self.kid.as_deref();
        if !keys.has(kid) {
            return Err(Failure::bad("the token names a key that is not known"));
        }
        let holds = keys
            .0
            .iter()
            .filter(|key| key.is(kid))
            .any(|key| key.has_signed(self.alg, self.message.as_bytes(), &self.signature));
        if holds {
            Ok(())
        } else {
            Err(Failure::bad("the token's key has not signed it"))
        }
    }

    /// What the signed claims must say. Times come last, so that `stale` can be trusted.
    pub(super) fn check(
        &self,
        spec: &JwtSpec,
        delivered: &Delivered<'_>,
        now: i64,
    ) -> Result<(), Failure> {
        let wrong =
            |name: &str| Failure::bad(format!("the claim `{name}` is not what it should be"));
        let claim = |name: &str| self.claims.get(name);
        let filled = |template: &Template| template.joined(delivered).map_err(Failure::from);
        let one_of = |value: Option<&Value>, wanted: &[Template]| -> Result<bool, Failure> {
            let texts: Vec<&str> = match value {
                Some(Value::String(text)) => vec![text],
                Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            };
            let mut found = false;
            for template in wanted {
                let wanted = filled(template)?;
                found |= !wanted.is_empty() && texts.iter().any(|text| text.as_bytes() == wanted);
            }
            Ok(found)
        };
        let issuer = claim("iss").filter(|value| value.is_string());
        if !spec.iss.is_empty() && !one_of(issuer, &spec.iss)? {
            return Err(wrong("iss"));
        }
        if !spec.aud.is_empty() && !one_of(claim("aud"), &spec.aud)? {
            return Err(wrong("aud"));
        }
        for (name, wanted) in &spec.claims {
            let holds = match (wanted, claim(name)) {
                (Wanted::Text(template), Some(Value::String(text))) => {
                    let wanted = filled(template)?;
                    !wanted.is_empty() && wanted == text.as_bytes()
                }
                (Wanted::Value(wanted), Some(value)) => wanted == value,
                _ => false,
            };
            if !holds {
                return Err(wrong(name));
            }
        }
        if let Some((name, encoding)) = &spec.body_hash {
            let text = claim(name).and_then(Value::as_str).unwrap_or_default();
            let hash = match encoding {
                Encoding::Hex => from_hex(text.as_bytes()),
                Encoding::Base64 => from_base64(text.as_bytes()),
            };
            if !hash.is_some_and(|hash| same(&hash, &sha256(delivered.body))) {
                return Err(wrong(name));
            }
        }
        self.check_times(spec, now)
    }

    fn check_times(&self, spec: &JwtSpec, now: i64) -> Result<(), Failure> {
        let time = |name: &str| -> Result<Option<i64>, Failure> {
            match self.claims.get(name) {
                None => Ok(None),
                Some(value) => seconds(value)
                    .map(Some)
                    .ok_or_else(|| Failure::bad(format!("the claim `{name}` is not a time"))),
            }
        };
        let (exp, nbf, iat) = (time("exp")?, time("nbf")?, time("iat")?);
        let stale = |text: &'static str| Failure::new(Code::Stale, text);
        match (exp, spec.max_age) {
            (None, None) => return Err(Failure::bad("the token never expires")),
            (Some(exp), _) if now >= exp.saturating_add(spec.leeway) => {
                return Err(stale("the token has expired"));
            }
            _ => {}
        }
        if let Some(max_age) = spec.max_age {
            let iat = iat.ok_or_else(|| Failure::bad("the token does not say when it was made"))?;
            if now.saturating_sub(iat) > max_age {
                return Err(stale("the token was made too long ago"));
            }
        }
        let ahead = [nbf, iat.filter(|_| spec.max_age.is_some())];
        if ahead
            .into_iter()
            .flatten()
            .any(|time| time.saturating_sub(spec.leeway) > now)
        {
            return Err(Failure::new(Code::Future, "the token does not count yet"));
        }
        Ok(())
    }
}

/// A NumericDate (RFC 7519, 2), which may have a fraction.
fn seconds(value: &Value) -> Option<i64> {
    if let Some(whole) = value.as_i64() {
        return Some(whole);
    }
    let fraction = value.as_f64()?;
    (fraction.abs() < 1e15).then(|| fraction.floor() as i64)
}
