//! AWS Signature Version 4, verified: who signed a request, by the credentials that the configuration names.
//!
//! In two steps, so that no body is read for a caller who cannot be one: [`Verifier::claim`] looks at the head (form,
//! key, time, scope), [`Claim::verify`] computes the signature over head and body. The header form and the presigned
//! query form are served; not the asymmetric variant, nor chunked payload signatures. Rules: "Create a signed AWS API
//! request", IAM user guide; the canonical request is in `canonical.rs`, the reading of both forms in `form.rs`.

pub mod authorizer;
mod canonical;
mod form;
pub(in crate::authn) mod replay;
mod users;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest, hmac};
use http::{HeaderMap, Method, Uri};
use thiserror::Error;
use time::OffsetDateTime;

use crate::model::secret::Secret;

pub use users::{SecretText, User, UserList, UsersFile, check_users};

use canonical::Canonical;
use form::Form;

/// The one algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What stands in place of the body's hash where the body is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The end of every credential scope.
const TERMINATOR: &str = "aws4_request";

/// What a signature has to be for.
#[derive(Clone, Debug)]
pub struct Scope {
    /// `sqs`, `execute-api`.
    pub service: String,
    /// `None`: any region. SDKs sign with the one they were configured for.
    pub region: Option<String>,
    /// How far the signer's clock may be from ours.
    pub skew: Duration,
    /// Whether a signer may leave the body out of the signature (`UNSIGNED-PAYLOAD`).
    pub unsigned_payload: bool,
    pub paths: Paths,
}

/// Which spelling of a path has to be the signed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// The one that was sent, which may not have dot segments: it decides what is served, and what policies are asked.
    AsSent,
    /// That, or the one without empty and dot segments: what is served does not depend on it.
    Normalized,
}

/// The head of a request, as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
}

/// Checks signatures against the users' credentials.
#[derive(Debug)]
pub struct Verifier {
    users: HashMap<String, Arc<User>>,
    /// Stands in for users who do not exist, so that refusing them takes as long.
    nobody: Arc<User>,
    scope: Scope,
}

/// A signature whose head is in order: what is left is to compute it.
#[derive(Debug)]
pub struct Claim {
    user: Arc<User>,
    /// The canonical request up to its last line, the payload's hash, in each spelling that signers have for it.
    canonical: Vec<Canonical>,
    /// The third line of the string to sign.
    scope: String,
    /// `YYYYMMDDTHHMMSSZ`.
    timestamp: String,
    signature: String,
    payload: Payload,
    /// The last second at which it is good, since 1970.
    good_until: i64,
}

/// What the signer says of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Payload {
    /// Nothing: its hash is in the signature alone.
    Unsaid,
    /// Its SHA-256.
    Hash(String),
    /// That it is not signed, and that is allowed.
    Unsigned,
}

/// Why a request is nobody's. The texts are for the caller.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    #[error("Request is missing Authentication Token")]
    Missing,
    /// Something that a signature consists of is missing or cannot be read.
    #[error("{0}")]
    Incomplete(String),
    /// The key is unknown or switched off, or its session token is another.
    #[error("The security token included in the request is invalid.")]
    UnknownToken,
    #[error("Signature expired: {0}")]
    Expired(String),
    #[error("Signature not yet current: {0}")]
    NotYet(String),
    /// For another service, region or day.
    #[error("{0}")]
    Scope(String),
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
    /// The body is not the one whose hash was signed.
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    Payload,
    #[error("The body is not signed (UNSIGNED-PAYLOAD), which is not allowed here.")]
    Unsigned,
}

impl Verifier {
    /// A verifier for these users. Of several with one key the first counts; a check has refused that before.
    pub fn new(users: Vec<User>, scope: Scope) -> Verifier {
        let mut by_key = HashMap::new();
        for user in users {
            by_key
                .entry(user.access_key_id.clone())
                .or_insert_with(|| Arc::new(user));
        }
        Verifier {
            users: by_key,
            nobody: Arc::new(nobody()),
            scope,
        }
    }

    /// Looks at everything that does not need the body. `now`: seconds since 1970.
    pub fn claim(&self, head: &Head<'_>, now: i64) -> Result<Claim, Refused> {
        let form = Form::of(head)?;
        let token = form.session_token.clone().map(Secret::new);
        let user = self.users.get(&form.access_key).filter(|user| {
            user.enabled && user.session_token.as_ref().map(|token| &token.0) == token.as_ref()
        });
        let Some(user) = user else {
            // The work of a wrong signature, for nothing: how long a refusal takes does not tell which keys there are.
            if let Ok(claim) = self.claim_of(&self.nobody, head, &form, now) {
                claim.verify_unheard();
            }
            return Err(Refused::UnknownToken);
        };
        self.claim_of(user, head, &form, now)
    }

    /// What is left to look at once it is known whose signature it is said to be.
    fn claim_of(
        &self,
        user: &Arc<User>,
        head: &Head<'_>,
        form: &Form,
        now: i64,
    ) -> Result<Claim, Refused> {
        self.check_scope(form)?;
        let good_until = self.check_time(form, now)?;
        let canonical = canonical::requests(head, form, self.scope.paths)?;
        let payload = match form.payload.clone() {
            None => Payload::Unsaid,
            Some(said) if said != UNSIGNED => Payload::Hash(said),
            Some(_) if self.scope.unsigned_payload => Payload::Unsigned,
            Some(_) => return Err(Refused::Unsigned),
        };
        Ok(Claim {
            user: user.clone(),
            canonical,
            scope: format!(
                "{}/{}/{}/{TERMINATOR}",
                form.date, form.region, form.service
            ),
            timestamp: form.timestamp.clone(),
            signature: form.signature.to_ascii_lowercase(),
            payload,
            good_until,
        })
    }

    fn check_scope(&self, form: &Form) -> Result<(), Refused> {
        let wrong = |what: String| Err(Refused::Scope(what));
        if form.terminator != TERMINATOR {
            return wrong(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{}'.",
                form.terminator
            ));
        }
        if form.service != self.scope.service {
            return wrong(format!(
                "Credential should be scoped to correct service: '{}'.",
                self.scope.service
            ));
        }
        match &self.scope.region {
            Some(region) if *region != form.region => {
                return wrong(format!(
                    "Credential should be scoped to a valid region, not '{}'.",
                    form.region
                ));
            }
            _ => {}
        }
        if !form.timestamp.starts_with(&form.date) || form.date.len() != 8 {
            return wrong(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}', from '{}'.",
                form.date,
                form.timestamp.get(..8).unwrap_or_default(),
                form.timestamp
            ));
        }
        Ok(())
    }

    /// The last second at which the signature is good.
    fn check_time(&self, form: &Form, now: i64) -> Result<i64, Refused> {
        let skew = i64::try_from(self.scope.skew.as_secs()).unwrap_or(i64::MAX);
        let said = |limit: i64, word: &str, margin: String| {
            format!(
                "{} is now {word} than {} ({} {margin}.)",
                form.timestamp,
                basic(limit),
                basic(now)
            )
        };
        // A header's signature is good around its time; a presigned one from its time on for as long as it says.
        let last = match form.expires {
            Some(expires) => form.signed_at.saturating_add(expires),
            None => form.signed_at.saturating_add(skew),
        };
        let minutes = skew / 60;
        if now > last {
            let margin = match form.expires {
                Some(expires) => format!("- {expires} s"),
                None => format!("- {minutes} min"),
            };
            return Err(Refused::Expired(said(
                now - (last - form.signed_at),
                "earlier",
                margin,
            )));
        }
        let latest = now.saturating_add(skew);
        if form.signed_at > latest {
            let margin = format!("+ {minutes} min");
            return Err(Refused::NotYet(said(latest, "later", margin)));
        }
        Ok(last)
    }
}

impl Claim {
    /// Whose signature it is said to be.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Checks the signature before the body is there, where the signer says what the body is: whether it could.
    pub fn verify_head(&self) -> Result<bool, Refused> {
        match &self.payload {
            Payload::Unsaid => Ok(false),
            Payload::Hash(hash) => self.verify_over(hash).map(|()| true),
            Payload::Unsigned => self.verify_over(UNSIGNED).map(|()| true),
        }
    }

    /// Whether the body is what the signer says it is; says nothing of the signature.
    pub fn verify_body(&self, body: &[u8]) -> Result<(), Refused> {
        match &self.payload {
            Payload::Hash(said) if *said != sha256_hex(body) => Err(Refused::Payload),
            _ => Ok(()),
        }
    }

    /// Whether head and body are what the user signed.
    pub fn verify(&self, body: &[u8]) -> Result<&User, Refused> {
        self.verify_body(body)?;
        match &self.payload {
            Payload::Unsaid | Payload::Hash(_) => self.verify_over(&sha256_hex(body))?,
            Payload::Unsigned => self.verify_over(UNSIGNED)?,
        }
        Ok(&self.user)
    }

    /// Computes the signature and says nothing of it.
    fn verify_unheard(&self) {
        let unheard = match &self.payload {
            Payload::Unsaid => self.verify(&[]).map(|_| ()),
            Payload::Hash(_) | Payload::Unsigned => self.verify_head().map(|_| ()),
        };
        std::hint::black_box(unheard).ok();
    }

    /// `hash`: the last line of the canonical request.
    fn verify_over(&self, hash: &str) -> Result<(), Refused> {
        let key = self.signing_key();
        let mut canonicals = self.canonical.iter();
        let genuine = canonicals.any(|canonical| {
            let to_sign = format!(
                "{ALGORITHM}\n{}\n{}\n{}",
                self.timestamp,
                self.scope,
                canonical.with(hash)
            );
            let expected = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
            constant_time::verify_slices_are_equal(expected.as_bytes(), self.signature.as_bytes())
                .is_ok()
        });
        if genuine {
            Ok(())
        } else {
            Err(Refused::Mismatch)
        }
    }

    fn signing_key(&self) -> hmac::Key {
        let secret = format!("AWS4{}", self.user.secret_access_key.0.expose());
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        for part in self.scope.split('/') {
            let derived = hmac::sign(&key, part.as_bytes());
            key = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
        }
        key
    }
}

/// Somebody whose signature is never accepted.
fn nobody() -> User {
    User {
        name: String::new(),
        access_key_id: String::new(),
        // As long as what the vendor hands out.
        secret_access_key: SecretText(Secret::new("-".repeat(40))),
        session_token: None,
        enabled: false,
        account: None,
        policy: None,
    }
}

/// `YYYYMMDDTHHMMSSZ`, for a message.
fn basic(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(form::BASIC).ok())
        .unwrap_or_else(|| seconds.to_string())
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pairs = bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    pairs.map(char::from).collect()
}
