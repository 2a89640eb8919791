//! Requests signed with AWS Signature Version 4, as an authorizer of routes: which users may sign, what their policies
//! are, and what a proven signature adds to the caller.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::super::policy::{ACCOUNT, Document, Principal, Side};
use super::super::{AuthnError, Caller, Given, Kind, Verified};
use super::replay::{Replays, Taken};
use super::{Claim, Head, Paths, Refused, Scope, User, UserList, Verifier, check_users};
use crate::model::call::Call;
use crate::model::identity::Presented;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::value::Span;

/// Requests signed with AWS Signature Version 4.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SigV4Authorizer")]
pub struct Config {
    /// Who may sign: a file that holds `users: […]`, or the list itself.
    pub credentials: UserList,
    /// The region that signatures are for. Default: `aws.region`.
    #[serde(default)]
    pub region: Option<String>,
    /// The service that signatures are for. Default: `execute-api`.
    #[serde(default)]
    pub service: Option<String>,
    /// Whether a signer may leave the body out of the signature (`x-amz-content-sha256: UNSIGNED-PAYLOAD`): whoever is
    /// on the way could then change it. Default: false.
    #[serde(default)]
    pub unsigned_payload: bool,
    /// How far a signer's clock may be from ours, up to 15m. Default: 5m.
    #[serde(default)]
    pub max_clock_skew: Option<Span>,
    /// Whether a signature is good only once: `{ max_entries: 100000 }`, or `false`. The same signed request sent again
    /// is then refused, retries included. Default: false.
    #[serde(default)]
    pub replay_cache: ReplayCache,
}

/// `false`, or how many signatures are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayCache(Option<usize>);

/// A signature is good once.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplayCache")]
struct ReplayCacheKeys {
    /// How many signatures that are still good are remembered, 1 to 10,000,000, at about 150 bytes each. When there is
    /// no room, signed requests are refused with 503. Default: 100,000.
    #[serde(default)]
    max_entries: Option<usize>,
}

const ENTRIES: usize = 100_000;
const MOST_ENTRIES: usize = 10_000_000;
const SKEW: Duration = Duration::from_secs(300);
const LONGEST_SKEW: Duration = Duration::from_secs(900);

impl<'de> Deserialize<'de> for ReplayCache {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = ReplayCache;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping (`{ max_entries: 100000 }`) or `false`")
            }
            fn visit_unit<E: de::Error>(self) -> Result<ReplayCache, E> {
                Ok(ReplayCache(None))
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<ReplayCache, E> {
                Ok(ReplayCache(on.then_some(ENTRIES)))
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<ReplayCache, E> {
                match word {
                    "none" | "false" => Ok(ReplayCache(None)),
                    _ => Err(E::invalid_type(de::Unexpected::Str(word), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ReplayCache, A::Error> {
                let keys = ReplayCacheKeys::deserialize(de::value::MapAccessDeserializer::new(map));
                keys.map(|keys| ReplayCache(Some(keys.max_entries.unwrap_or(ENTRIES))))
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for ReplayCache {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ReplayCacheOrOff".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = generator.subschema_for::<ReplayCacheKeys>();
        json_schema!({ "anyOf": [keys, { "enum": [true, false, "none"] }] })
    }
}

/// A compiled `sigv4` authorizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    signers: Vec<Signer>,
    service: String,
    region: String,
    unsigned_payload: bool,
    skew: Duration,
    replay_cache: ReplayCache,
}

/// A user, and what the user may do.
#[derive(Clone, Debug, PartialEq)]
struct Signer {
    user: User,
    principal: Arc<Principal>,
    policy: Option<Arc<Document>>,
}

/// The live `sigv4` authorizer.
#[derive(Debug)]
pub struct SigV4Authenticator {
    verifier: Verifier,
    /// By access key id.
    signers: HashMap<String, Signer>,
    /// With how many are kept; `None`: a signature is good as often as it comes.
    replays: Option<(Arc<Replays>, usize)>,
    /// Tells its claims from those of another authorizer on the same route.
    id: Arc<()>,
}

/// A signature that was looked at and that waits for the body.
#[derive(Clone, Debug)]
pub(in crate::authn) struct Pending {
    authenticator: Arc<()>,
    claim: Arc<Claim>,
    /// Whether the signature is proven, so that only the body's hash is left to check.
    proven: bool,
}

impl Pending {
    /// Whether the signature is not proven yet.
    pub(in crate::authn) fn is_open(&self) -> bool {
        !self.proven
    }
}

impl Config {
    /// Checks what was written.
    pub(in crate::authn) fn compile(
        &self,
        given: &Given<'_>,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<Spec> {
        let before = problems.errors();
        let region = match self.region.as_deref().or(given.region) {
            Some(region) if crate::aws::is_region(region) => region.to_owned(),
            Some(region) => {
                problems
                    .error(&at.key("region"), format!("{region:?} is not a region"))
                    .help("write one such as eu-west-1");
                String::new()
            }
            None => {
                problems
                    .error(
                        &at.key("region"),
                        "no region is known that signatures could be for",
                    )
                    .help("write the one that callers sign with, here or as `aws.region`");
                String::new()
            }
        };
        let service = self.service.as_deref().unwrap_or("execute-api").to_owned();
        let is_service = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if service.is_empty() || !service.bytes().all(is_service) {
            problems
                .error(&at.key("service"), format!("{service:?} is not a service"))
                .help("write execute-api");
        }
        let skew = self.max_clock_skew.map_or(SKEW, |span| span.0);
        if skew.as_secs() == 0 || skew > LONGEST_SKEW {
            problems
                .error(
                    &at.key("max_clock_skew"),
                    format!("{} is out of range", Span(skew)),
                )
                .help("allowed: 1s to 15m");
        }
        if self.unsigned_payload {
            problems.warning(
                &at.key("unsigned_payload"),
                "whoever is on the way can change a body that is not signed",
            );
        }
        if let ReplayCache(Some(max)) = self.replay_cache
            && !(1..=MOST_ENTRIES).contains(&max)
        {
            problems
                .error(
                    &at.key("replay_cache").key("max_entries"),
                    format!("{max} is out of range"),
                )
                .help("allowed: 1 to 10000000");
        }
        let users = match &self.credentials {
            UserList::Users(users) => {
                check_users(users, &at.key("credentials"), problems);
                users.as_slice()
            }
            // A file that was not read, which has been reported.
            UserList::File(_) => &[],
        };
        let mut signers = Vec::new();
        for (index, user) in users.iter().enumerate() {
            let at = at.key("credentials").index(index);
            signers.push(Signer {
                user: user.clone(),
                principal: Arc::new(principal(user)),
                policy: user.policy.as_ref().and_then(|written| {
                    let side = Side::Caller {
                        region: Some(&region),
                    };
                    let name = format!("the policy of {}", user.name);
                    written.compile(&name, side, &at.key("policy"), problems)
                }),
            });
        }
        (problems.errors() == before).then_some(Spec {
            signers,
            service,
            region,
            unsigned_payload: self.unsigned_payload,
            skew,
            replay_cache: self.replay_cache,
        })
    }
}

fn principal(user: &User) -> Principal {
    let account = user.account.as_deref().unwrap_or(ACCOUNT);
    Principal {
        name: user.name.as_str().into(),
        account: account.into(),
        arn: format!("arn:aws:iam::{account}:user/{}", user.name).into(),
        foreign: account != ACCOUNT,
    }
}

impl Spec {
    pub(in crate::authn) fn describe(&self) -> String {
        let users = self.signers.len();
        let s = if users == 1 { "" } else { "s" };
        format!("{users} user{s}, {}/{}", self.region, self.service)
    }
}

impl SigV4Authenticator {
    /// `before`: the authorizer that this one follows; signatures that were used there stay so.
    pub(in crate::authn) fn new(
        spec: Spec,
        before: Option<&SigV4Authenticator>,
    ) -> SigV4Authenticator {
        let kept = before.and_then(|before| Some(before.replays.as_ref()?.0.clone()));
        let scope = Scope {
            service: spec.service,
            region: Some(spec.region),
            skew: spec.skew,
            unsigned_payload: spec.unsigned_payload,
            paths: Paths::AsSent,
        };
        let users = spec.signers.iter().map(|signer| signer.user.clone());
        SigV4Authenticator {
            verifier: Verifier::new(users.collect(), scope),
            signers: spec
                .signers
                .into_iter()
                .map(|signer| (signer.user.access_key_id.clone(), signer))
                .collect(),
            replays: spec
                .replay_cache
                .0
                .map(|max| (kept.unwrap_or_default(), max)),
            id: Arc::new(()),
        }
    }

    /// Looks at the head. The caller is known from here on where the signer says what the body is, or where there is
    /// none; else once the body is there.
    pub(in crate::authn) fn authenticate(
        &self,
        presented: &Presented<'_>,
        caller: &mut Caller,
    ) -> Result<(), AuthnError> {
        let call = presented.call;
        let head = Head {
            method: &call.method,
            uri: &call.uri,
            headers: &call.headers,
        };
        let claim = self.verifier.claim(&head, presented.now)?;
        let proven = if claim.verify_head().map_err(|why| said(&claim, why))? {
            true
        } else if has_no_body(call) {
            claim.verify(&[]).map_err(|why| said(&claim, why))?;
            true
        } else {
            false
        };
        if proven {
            self.prove(&claim, caller);
        }
        caller.pending.push(Pending {
            authenticator: self.id.clone(),
            claim: Arc::new(claim),
            proven,
        });
        Ok(())
    }

    /// Holds the body against the signature, and takes the signature out of circulation where it is good only once.
    pub(in crate::authn) fn verify(
        &self,
        presented: &Presented<'_>,
        body: &Bytes,
        caller: &mut Caller,
    ) -> Result<Verified, AuthnError> {
        let found = caller
            .pending
            .iter()
            .position(|pending| Arc::ptr_eq(&pending.authenticator, &self.id));
        let Some(found) = found else {
            return Err(Refused::Missing.into());
        };
        let Pending { claim, proven, .. } = caller.pending.swap_remove(found);
        if proven {
            claim.verify_body(body).map_err(|why| said(&claim, why))?;
        } else {
            claim.verify(body).map_err(|why| said(&claim, why))?;
            self.prove(&claim, caller);
        }
        if let Some((replays, max)) = &self.replays {
            let key = &claim.user().access_key_id;
            let until = claim.good_until;
            let took = i64::try_from(presented.call.arrived.elapsed().as_secs());
            let now = presented.now.saturating_add(took.unwrap_or(i64::MAX));
            let reservation = replays
                .reserve((key, &claim.signature), until, now, *max)
                .map_err(|taken| match taken {
                    Taken::Replayed => AuthnError::new(
                        Kind::Signature,
                        "This signature was used before, and is good only once. Sign the request again.",
                        format!("the signature of {key} was used before, or its first request is under way"),
                    ),
                    Taken::Over => AuthnError::new(
                        Kind::Signature,
                        "The signature is not accepted.",
                        format!("the signature of {key} expired before the body was there"),
                    ),
                    Taken::Full => AuthnError::new(
                        Kind::Unavailable,
                        "Too many signed requests are remembered. Try again later.",
                        "the replay cache is full of signatures that are still good: raise `replay_cache.max_entries`",
                    ),
                })?;
            caller.reservations.push(reservation);
        }
        Ok(Verified::Passed)
    }

    /// Adds to the caller what a proven signature says.
    fn prove(&self, claim: &Claim, caller: &mut Caller) {
        // Every user of the verifier is a signer.
        let Some(signer) = self.signers.get(&claim.user().access_key_id) else {
            return;
        };
        let principal = &signer.principal;
        let identity = &mut caller.identity;
        identity
            .principal
            .get_or_insert_with(|| principal.name.clone());
        identity
            .scope
            .get_or_insert_with(|| format!("{}\n{}", principal.account, principal.name).into());
        for (name, value) in [
            ("iam.accessKey", claim.user().access_key_id.as_str()),
            ("iam.accountId", &principal.account),
            ("iam.callerId", &principal.name),
            ("iam.userArn", &principal.arn),
            ("iam.userId", &principal.name),
        ] {
            identity.add_value(name, value.to_owned());
        }
        caller.signer.get_or_insert_with(|| principal.clone());
        caller.judge(signer.policy.clone());
    }
}

/// Whether a request certainly has no body: on HTTP/2 only a declared length says so.
fn has_no_body(call: &Call) -> bool {
    match call.headers.get(CONTENT_LENGTH) {
        Some(length) => length.as_bytes() == b"0",
        None => call.version < Version::HTTP_2 && !call.headers.contains_key(TRANSFER_ENCODING),
    }
}

/// A refusal of a claim, with whose it is said to be.
fn said(claim: &Claim, why: Refused) -> AuthnError {
    let error = AuthnError::from(why);
    let key = &claim.user().access_key_id;
    AuthnError {
        cause: format!("{} (access key {key})", error.cause),
        ..error
    }
}

impl From<Refused> for AuthnError {
    fn from(refused: Refused) -> AuthnError {
        let cause = refused.to_string();
        match refused {
            Refused::Missing => AuthnError::new(
                Kind::Signature,
                "This route needs a request that is signed with AWS Signature Version 4.",
                cause,
            ),
            _ => AuthnError::new(Kind::Signature, "The signature is not accepted.", cause).wrong(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(max: Option<usize>, account: Option<&str>) -> Spec {
        let user = User {
            name: "shop".into(),
            access_key_id: "AKID".into(),
            secret_access_key: super::super::SecretText(crate::model::secret::Secret::new(
                "s".into(),
            )),
            session_token: None,
            enabled: true,
            account: account.map(str::to_owned),
            policy: None,
        };
        Spec {
            signers: vec![Signer {
                principal: Arc::new(principal(&user)),
                user,
                policy: None,
            }],
            service: "execute-api".into(),
            region: "eu-west-1".into(),
            unsigned_payload: false,
            skew: SKEW,
            replay_cache: ReplayCache(max),
        }
    }

    fn take(authenticator: &SigV4Authenticator) -> Result<(), Taken> {
        let (replays, max) = authenticator.replays.as_ref().unwrap();
        let mut reservation = replays.reserve(("AKID", "aa"), 100, 50, *max)?;
        reservation.spend();
        Ok(())
    }

    #[test]
    fn a_used_signature_stays_used_when_the_credentials_are_renewed() {
        let first = SigV4Authenticator::new(spec(Some(10), None), None);
        assert_eq!(take(&first), Ok(()));
        let renewed = SigV4Authenticator::new(spec(Some(20), None), Some(&first));
        assert_eq!(take(&renewed), Err(Taken::Replayed));
        let off = SigV4Authenticator::new(spec(None, None), Some(&renewed));
        assert!(off.replays.is_none());
        let anew = SigV4Authenticator::new(spec(Some(10), None), Some(&off));
        assert_eq!(take(&anew), Ok(()));
    }

    #[test]
    fn users_of_one_name_in_two_accounts_have_scopes_of_their_own() {
        let scope_in = |account| {
            let authenticator = SigV4Authenticator::new(spec(None, account), None);
            let signer = &authenticator.signers["AKID"];
            let claim = Claim {
                user: Arc::new(signer.user.clone()),
                canonical: Vec::new(),
                scope: String::new(),
                timestamp: String::new(),
                signature: String::new(),
                payload: super::super::Payload::Unsaid,
                good_until: 0,
            };
            let mut caller = Caller::anyone();
            authenticator.prove(&claim, &mut caller);
            assert_eq!(caller.identity().principal.as_deref(), Some("shop"));
            caller.identity().scope().map(str::to_owned)
        };
        assert_ne!(scope_in(None), scope_in(Some("111122223333")));
        assert_eq!(scope_in(None).as_deref(), Some("000000000000\nshop"));
    }
}
