//! The other side: a delivery signed as its sender would sign it, from the same spec that verifies it. For test deliveries;
//! what a sender alone can sign (its own private keys) is refused.

mod draft;
mod private;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use aws_lc_rs::digest::{self, Context};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderName;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::carrier::{Carrier, HeaderPattern, Place};
use super::jwt::{Alg, JwtSpec, KeySource, Wanted};
use super::reference::Reference;
use super::request::{Delivered, hex, sha256_hex};
use super::scheme::{Signed, SignedKind};
use super::secret::{SecretSpec, Use, sha256};
use super::template::{Filter, NoValue, Piece};
use super::window::TimePlace;
use super::written::{Encoding, Scheme, TimeFormat};
use super::{Config, SchemeSpec, Spec, capture, compile, presets, twilio};
use crate::model::call::Call;
use crate::model::path::ConfigPath;
use crate::model::peer::Peer;
use crate::model::problem::Problems;
use crate::model::secret::Secret;

pub use draft::Draft;
use private::PrivateKey;

/// What stands for a secret that is not to be shown.
const HIDDEN: &str = "<secret>";

const PRIVATE_NEEDED: &str = "this sender signs with a private key, whose public half the gateway has: give the private half as the secret (PEM, or hex or base64)";

/// What a delivery is to say.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The sender's id of the delivery; minted where it is `None` and the sender has a header for it.
    pub id: Option<String>,
    /// When it is signed, in milliseconds since 1970.
    pub at_millis: i64,
    /// Whether a secret that the delivery itself carries (a token) is replaced by `<secret>`: for showing it.
    pub hides_secret: bool,
}

/// Why deliveries cannot be signed. The text shows nothing of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// None was given, and the authorizer has none that counts now.
    #[error("a secret is needed")]
    NoSecret,
    /// What it says.
    #[error("{0}")]
    Unfit(String),
}

impl From<String> for SignError {
    fn from(text: String) -> SignError {
        SignError::Unfit(text)
    }
}

/// Signs deliveries as a sender does.
#[derive(Debug)]
pub struct Signer {
    spec: Spec,
    key: SigningKey,
}

enum SigningKey {
    Shared(Secret<Vec<u8>>),
    Private(PrivateKey),
    /// Nothing is signed.
    Nothing,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(redacted)")
    }
}

impl Signer {
    /// A signer of a preset's deliveries. `public_url`: as the gateway is told. The error says what to do.
    pub fn of_preset(
        preset: &str,
        secret: Option<&Secret<String>>,
        public_url: String,
    ) -> Result<Signer, SignError> {
        if let Some(scheme) = senders_own(preset) {
            return Err(not_ours(scheme).into());
        }
        let config = Config {
            preset: Some(preset.to_owned()),
            public_url: Some(public_url),
            ..Config::default()
        };
        let mut problems = Problems::default();
        let spec = config.compiled("send", &ConfigPath::root(), false, &mut problems);
        Signer::new(spec.ok_or_else(|| said(&problems))?, secret)
    }

    /// A signer of the deliveries that an authorizer accepts. `secret` and `public_url` take the place of its own.
    pub fn of_authorizer(
        spec: &Spec,
        secret: Option<&Secret<String>>,
        public_url: Option<String>,
    ) -> Result<Signer, SignError> {
        let mut spec = spec.clone();
        if let Some(url) = public_url {
            let mut problems = Problems::default();
            let at = ConfigPath::root().key("public_url");
            let url = compile::public_url(&url, &at, &mut problems);
            spec.public_url = Some(url.ok_or_else(|| said(&problems))?);
        }
        Signer::new(spec, secret)
    }

    fn new(spec: Spec, secret: Option<&Secret<String>>) -> Result<Signer, SignError> {
        match &spec.scheme {
            SchemeSpec::Sns(_) => return Err(not_ours("sns").into()),
            SchemeSpec::Paypal(_) => return Err(not_ours("paypal").into()),
            SchemeSpec::Jwt(jwt) if jwt.keys != KeySource::Secrets => {
                return Err(not_ours("jwt").into());
            }
            _ => {}
        }
        let key = match spec.usage {
            None => SigningKey::Nothing,
            Some(Use::Public(algorithm)) => {
                let secret = secret.ok_or_else(|| PRIVATE_NEEDED.to_owned())?;
                SigningKey::Private(PrivateKey::read(secret.expose(), algorithm)?)
            }
            Some(usage) => SigningKey::Shared(shared(&spec, usage, secret)?),
        };
        Ok(Signer { spec, key })
    }

    /// The delivery with its signature, time and id. What the draft's headers already say stays as it is.
    pub fn sign(&self, mut draft: Draft, wish: &Wish) -> Result<Draft, String> {
        let spec = &self.spec;
        for (name, value) in &spec.require_headers {
            draft.offer_header(name, value)?;
        }
        let identifying = self.identify(&mut draft, wish)?;
        match &spec.scheme {
            SchemeSpec::Signed(signed) => self.sign_template(signed, draft, wish, &identifying),
            SchemeSpec::Token(carrier) => {
                let token = self.shared_text(wish)?;
                deliver(carrier, &mut draft, Vec::new(), &token)?;
                Ok(draft)
            }
            SchemeSpec::TokenOfEach { each, field } => {
                draft.set_member_of_each(each, field, &self.shared_text(wish)?)?;
                Ok(draft)
            }
            SchemeSpec::Basic(carrier) => {
                let credentials = match wish.hides_secret {
                    true => HIDDEN.to_owned(),
                    false => STANDARD.encode(self.shared()?),
                };
                deliver(
                    carrier,
                    &mut draft,
                    Vec::new(),
                    &format!("Basic {credentials}"),
                )?;
                Ok(draft)
            }
            SchemeSpec::Jwt(jwt) => self.sign_token(jwt, draft, wish),
            SchemeSpec::Twilio(carrier) => {
                if !draft.is_form() {
                    draft.set_query("bodySHA256", &sha256_hex(&draft.body))?;
                }
                let call = call(&draft);
                let delivered = self.delivered(&call, &draft, Vec::new(), None);
                let public = spec.public_url.as_ref().ok_or("there is no public URL")?;
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.shared()?);
                let signed = twilio::signed(&delivered, public)
                    .map_err(|failure| failure.detail.into_owned())?;
                let signature = STANDARD.encode(hmac::sign(&key, &signed));
                deliver(carrier, &mut draft, Vec::new(), &signature)?;
                Ok(draft)
            }
            SchemeSpec::Sns(_) => Err(not_ours("sns")),
            SchemeSpec::Paypal(_) => Err(not_ours("paypal")),
            SchemeSpec::Unsigned => Ok(draft),
        }
    }

    /// Gives the delivery its id, where the sender has a place for one; the headers that hold ids.
    fn identify(&self, draft: &mut Draft, wish: &Wish) -> Result<Vec<HeaderName>, String> {
        let references = &self.spec.event.id;
        let template = match &self.spec.scheme {
            SchemeSpec::Signed(signed) => Some(&signed.template),
            _ => None,
        };
        if let Some(id) = &wish.id {
            let place = references
                .first()
                .ok_or("this sender's deliveries have no id")?;
            draft.set(place, id)?;
        } else {
            let present = {
                let call = call(draft);
                let delivered = self.delivered(&call, draft, Vec::new(), None);
                references
                    .iter()
                    .any(|reference| matches!(delivered.text(reference), Ok(Some(_))))
            };
            let minted = references.iter().find(|reference| {
                matches!(reference, Reference::Header(_))
                    || template.is_some_and(|template| template.names(reference))
            });
            if let Some(place) = minted.filter(|_| !present) {
                draft.set(place, &mint())?;
            }
        }
        let time = self.spec.timestamp.as_ref().map(|timed| &timed.reference);
        let named = template.into_iter().flat_map(|template| template.holes());
        for hole in named.filter(|hole| Some(&hole.reference) != time) {
            if let Reference::Header(names) = &hole.reference
                && !names.iter().any(|name| draft.headers.contains_key(name))
            {
                draft.set(&hole.reference, &mint())?;
            }
        }
        let mut identifying: Vec<HeaderName> = Vec::new();
        for reference in references {
            if let Reference::Header(names) = reference {
                let held = names
                    .iter()
                    .filter(|name| draft.headers.contains_key(*name));
                identifying.extend(held.cloned());
            }
        }
        Ok(identifying)
    }

    fn sign_template(
        &self,
        signed: &Signed,
        mut draft: Draft,
        wish: &Wish,
        identifying: &[HeaderName],
    ) -> Result<Draft, String> {
        let mut items: Vec<String> = Vec::new();
        let mut timestamp = None;
        if let Some(timed) = &self.spec.timestamp {
            let text = written_time(wish.at_millis, timed.spec.format)?;
            timestamp = Some(match &timed.spec.place {
                TimePlace::Param(prefix) => {
                    items.push(format!("{prefix}{text}"));
                    text
                }
                TimePlace::Header(names) => draft.offered_header(names, &text)?,
                TimePlace::Json(_) | TimePlace::Form(_) => {
                    draft.set(&timed.reference, &text)?;
                    text
                }
            });
        }
        for hole in signed.template.holes() {
            let Reference::Param(prefix) = &hole.reference else {
                continue;
            };
            if items.iter().any(|item| item.starts_with(prefix.as_str())) {
                continue;
            }
            let lists_headers = signed.template.holes().any(|other| {
                other.reference == hole.reference && other.filters.contains(&Filter::HeaderValues)
            });
            if !lists_headers || identifying.is_empty() {
                return Err(format!("nothing is known to put into `{prefix}`"));
            }
            let names: Vec<&str> = identifying.iter().map(HeaderName::as_str).collect();
            items.push(format!("{prefix}{}", names.join(" ")));
        }
        if let Place::At(place) = &signed.carrier.place
            && signed
                .template
                .holes()
                .any(|hole| covers(&hole.reference, place))
        {
            return Err(format!(
                "the signature's place, `{place}`, is part of what is signed"
            ));
        }
        let call = call(&draft);
        let borrowed = items.iter().map(|item| Cow::Borrowed(item.as_str()));
        let delivered = self.delivered(&call, &draft, borrowed.collect(), timestamp.as_deref());
        let pieces = signed.template.pieces(&delivered, None).map_err(no_value)?;
        let bytes = self.signature(signed.kind, &pieces)?;
        let text = match signed.encoding {
            Encoding::Hex => hex(&bytes),
            Encoding::Base64 => STANDARD.encode(&bytes),
        };
        drop(pieces);
        deliver(&signed.carrier, &mut draft, items, &text)?;
        Ok(draft)
    }

    fn signature(&self, kind: SignedKind, pieces: &[Piece<'_>]) -> Result<Vec<u8>, String> {
        let parts = pieces.iter().filter_map(|piece| match piece {
            Piece::Bytes(bytes) => Some(bytes.as_ref()),
            Piece::Secret => None,
        });
        match (kind, &self.key, self.spec.usage) {
            (SignedKind::Mac(_), SigningKey::Shared(secret), Some(Use::Mac(algorithm))) => {
                let mut mac = hmac::Context::with_key(&hmac::Key::new(algorithm, secret.expose()));
                parts.for_each(|part| mac.update(part));
                Ok(mac.sign().as_ref().to_vec())
            }
            (SignedKind::Digest, SigningKey::Shared(secret), _) => {
                let mut hash = Context::new(&digest::SHA256);
                for piece in pieces {
                    hash.update(match piece {
                        Piece::Bytes(bytes) => bytes,
                        Piece::Secret => secret.expose(),
                    });
                }
                Ok(hash.finish().as_ref().to_vec())
            }
            (SignedKind::Public(_), SigningKey::Private(key), _) => {
                key.sign(&parts.collect::<Vec<_>>().concat())
            }
            _ => Err("the key is not one of this scheme".to_owned()),
        }
    }

    fn sign_token(&self, jwt: &JwtSpec, mut draft: Draft, wish: &Wish) -> Result<Draft, String> {
        let algorithms = jwt.algs.iter();
        let (alg, mac) = algorithms
            .filter_map(|alg| Some((*alg, alg.mac()?)))
            .next()
            .ok_or_else(|| not_ours("jwt"))?;
        let at = wish.at_millis.div_euclid(1_000);
        let mut claims = Map::new();
        {
            let call = call(&draft);
            let delivered = self.delivered(&call, &draft, Vec::new(), None);
            let text = |template: &super::template::Template| -> Result<Value, String> {
                let bytes = template.joined(&delivered).map_err(no_value)?;
                Ok(Value::from(String::from_utf8_lossy(&bytes).into_owned()))
            };
            for (name, templates) in [("iss", &jwt.iss), ("aud", &jwt.aud)] {
                if let Some(template) = templates.first() {
                    claims.insert(name.to_owned(), text(template)?);
                }
            }
            for (name, wanted) in &jwt.claims {
                let value = match wanted {
                    Wanted::Text(template) => text(template)?,
                    Wanted::Value(value) => value.clone(),
                };
                claims.insert(name.clone(), value);
            }
        }
        claims.insert("iat".to_owned(), json!(at));
        claims.insert("exp".to_owned(), json!(at.saturating_add(300)));
        if let Some((name, encoding)) = &jwt.body_hash {
            let hash = sha256(&draft.body);
            let text = match encoding {
                Encoding::Hex => hex(&hash),
                Encoding::Base64 => STANDARD.encode(hash),
            };
            claims.insert(name.clone(), Value::from(text));
        }
        let named = Alg::ALL.iter().find(|(_, known)| *known == alg);
        let head = json!({ "alg": named.map(|(name, _)| *name), "typ": "JWT" });
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(head.to_string()),
            URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string())
        );
        let signature = hmac::sign(&hmac::Key::new(mac, self.shared()?), message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        deliver(&jwt.carrier, &mut draft, Vec::new(), &token)?;
        Ok(draft)
    }

    fn shared(&self) -> Result<&[u8], String> {
        match &self.key {
            SigningKey::Shared(secret) => Ok(secret.expose()),
            _ => Err("the key is not one of this scheme".to_owned()),
        }
    }

    fn shared_text(&self, wish: &Wish) -> Result<String, String> {
        if wish.hides_secret {
            return Ok(HIDDEN.to_owned());
        }
        let text = std::str::from_utf8(self.shared()?);
        Ok(text.map_err(|_| "the token is not text")?.to_owned())
    }

    fn delivered<'r>(
        &'r self,
        call: &'r Call,
        draft: &'r Draft,
        items: Vec<Cow<'r, str>>,
        timestamp: Option<&'r str>,
    ) -> Delivered<'r> {
        Delivered {
            call,
            body: &draft.body,
            public_url: self.spec.public_url.as_ref(),
            settings: &self.spec.settings,
            items,
            timestamp: timestamp.map(Cow::Borrowed),
        }
    }
}

/// The secret that a delivery is signed with: the one that was given, else the first that counts now, else the captured one.
fn shared(
    spec: &Spec,
    usage: Use,
    given: Option<&Secret<String>>,
) -> Result<Secret<Vec<u8>>, SignError> {
    let decoded = |text: &str| {
        let bytes = spec.key.decode(text, usage).map(Secret::new);
        bytes.map_err(|reason| SignError::Unfit(format!("the secret cannot be used: {reason}")))
    };
    if let Some(text) = given {
        return decoded(text.expose());
    }
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let counts = |secret: &&SecretSpec| {
        secret.from.is_none_or(|from| from <= now) && secret.until.is_none_or(|until| now < until)
    };
    if let Some(secret) = spec.secrets.iter().find(counts) {
        return Ok(secret.bytes.clone());
    }
    let kept = match &spec.secret_file {
        Some(file) => {
            capture::kept(file).map_err(|error| format!("{}: {error}", file.display()))?
        }
        None => None,
    };
    decoded(&kept.ok_or(SignError::NoSecret)?)
}

/// What compiling has found wrong.
fn said(problems: &Problems) -> String {
    let errors = problems.0.iter().map(ToString::to_string);
    errors.collect::<Vec<_>>().join("\n")
}

/// Puts the items and the signature where the carrier is looked for.
fn deliver(
    carrier: &Carrier,
    draft: &mut Draft,
    mut items: Vec<String>,
    signature: &str,
) -> Result<(), String> {
    let prefix = carrier.prefix.as_deref().unwrap_or_default();
    items.push(format!("{prefix}{signature}"));
    let text = match &carrier.split {
        Some(split) => items.join(split),
        None if items.len() == 1 => items.concat(),
        None => return Err("there are several items, and no `split` between them".to_owned()),
    };
    match &carrier.place {
        Place::At(Reference::Header(names)) => draft.offered_header(names, &text).map(drop),
        Place::At(reference) => draft.set(reference, &text),
        Place::Headers(patterns) => {
            let name = match patterns.first() {
                Some(HeaderPattern::One(name)) => name.clone(),
                Some(HeaderPattern::Numbered(before, after)) => format!("{before}1{after}")
                    .parse()
                    .map_err(|_| "the header's name cannot be written")?,
                None => return Err("there is no header for the signature".to_owned()),
            };
            draft.offer_header(&name, &text)
        }
    }
}

/// Whether what is signed holds the place that the signature is to be written to.
fn covers(signed: &Reference, place: &Reference) -> bool {
    match place {
        Reference::Json(_) | Reference::Form(_) => {
            matches!(signed, Reference::Body | Reference::BodySha256)
        }
        Reference::Query(_) => matches!(signed, Reference::Url),
        _ => false,
    }
}

fn call(draft: &Draft) -> Call {
    let mut request = http::Request::new(());
    *request.method_mut() = draft.method.clone();
    *request.uri_mut() = draft.url.clone();
    *request.headers_mut() = draft.headers.clone();
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let peer = Arc::new(Peer::tcp(nowhere, nowhere, "send"));
    Call::new(request.into_parts().0, peer)
}

fn written_time(millis: i64, format: TimeFormat) -> Result<String, String> {
    Ok(match format {
        TimeFormat::Unix => millis.div_euclid(1_000).to_string(),
        TimeFormat::UnixMs => millis.to_string(),
        TimeFormat::Rfc3339 => {
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
                .ok()
                .and_then(|time| time.format(&Rfc3339).ok())
                .ok_or("the time cannot be written")?
        }
    })
}

fn no_value(missing: NoValue) -> String {
    match missing {
        NoValue::Ambiguous(ambiguous) => format!("{} stands there more than once", ambiguous.0),
        NoValue::NoSecret => "a secret is needed".to_owned(),
    }
}

fn mint() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The scheme of a preset that nobody but the sender can sign.
fn senders_own(preset: &str) -> Option<&'static str> {
    let verify = &presets::all().ok()?.get(preset)?.verify;
    let shares = || {
        let keys = verify.keys.as_ref();
        keys.is_some_and(|keys| keys.secrets == Some(true))
    };
    match verify.scheme? {
        scheme @ (Scheme::Sns | Scheme::Paypal) => Some(scheme.name()),
        scheme @ Scheme::Jwt if !shares() => Some(scheme.name()),
        _ => None,
    }
}

fn not_ours(scheme: &str) -> String {
    format!(
        "`scheme: {scheme}` is signed with keys that the sender alone has, so a test delivery cannot be made here; send one from the sender's own console"
    )
}
