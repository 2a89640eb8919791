//! JSON Web Tokens of OpenID Connect issuers (reference, 4). `jsonwebtoken` checks signatures and nothing else: which
//! token is read, with which algorithm and which key, and what its claims must be, is decided here, in this order:
//! form, algorithm, claims, key, signature. What costs nothing comes first, so that forged tokens cost little.

mod claims;
mod compact;
mod fetch;
mod issuer;
mod json;
mod key;
mod keys;
mod names;
mod origin;
mod refetch;
mod refusal;
mod settings;
#[cfg(test)]
mod tests;
mod token_source;
mod verified;

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::{AuthnError, Caller};
use crate::model::identity::Presented;
use crate::outbound::Client;
use crate::telemetry::tokens::{CheckMeters, Tokens};

use claims::Validity;
use compact::Compact;
use keys::IssuerKeys;
use refusal::Refusal;
use verified::{Verified, VerifiedTokens};

pub use settings::{Config, Spec};

/// The live `jwt` authorizer.
#[derive(Debug)]
pub struct JwtAuthenticator {
    spec: Spec,
    /// In the order of the spec's issuers.
    keys: Vec<Arc<IssuerKeys>>,
    verified: VerifiedTokens,
    meters: CheckMeters,
}

impl JwtAuthenticator {
    /// Where there is a Tokio runtime, the issuers' keys begin to be fetched, in the background. `before`: the authorizer
    /// that this one follows; an issuer whose keys are to be had as before keeps those that it has.
    pub(in crate::authn) fn new(
        spec: Spec,
        outbound: &Client,
        meters: &Tokens,
        before: Option<&JwtAuthenticator>,
    ) -> JwtAuthenticator {
        let keys = |issuer: &issuer::IssuerSpec| {
            let kept = before.and_then(|before| before.keys_of(issuer, &spec));
            kept.cloned().unwrap_or_else(|| {
                let meters = meters.keys(&issuer.issuer);
                Arc::new(IssuerKeys::new(issuer, spec.stale, outbound, meters))
            })
        };
        JwtAuthenticator {
            keys: spec.issuers.iter().map(keys).collect(),
            verified: VerifiedTokens::new(spec.cache_size),
            meters: meters.checks(),
            spec,
        }
    }

    /// The keys of an issuer, if another configuration has them from the same place and as long.
    fn keys_of(&self, issuer: &issuer::IssuerSpec, spec: &Spec) -> Option<&Arc<IssuerKeys>> {
        let mut known = self.spec.issuers.iter().zip(&self.keys);
        let (_, keys) = known.find(|(known, _)| {
            known.issuer == issuer.issuer
                && known.keys == issuer.keys
                && self.spec.stale == spec.stale
        })?;
        Some(keys)
    }

    /// Adds to the caller what its token says.
    pub(in crate::authn) async fn authenticate(
        &self,
        presented: &Presented<'_>,
        caller: &mut Caller,
    ) -> Result<(), AuthnError> {
        match self.check(presented).await {
            Ok(token) => {
                token.tell(caller);
                Ok(())
            }
            Err(refusal) => {
                self.meters.refused.inc();
                Err(refusal.into())
            }
        }
    }

    async fn check(&self, presented: &Presented<'_>) -> Result<Arc<Verified>, Refusal> {
        let token = self.spec.source.find(presented.call)?;
        if token.len() > compact::MAX_TOKEN {
            return Err(Refusal::TooLarge);
        }
        let digest = VerifiedTokens::digest(&token);
        let key_is_used = |token: &Verified| {
            let keys = self.keys.get(token.issuer);
            keys.is_some_and(|keys| keys.holds(&token.key))
        };
        let (now, leeway) = (presented.now, self.spec.leeway);
        if let Some(known) = self.verified.get(&digest, now, leeway, key_is_used) {
            self.meters.remembered.inc();
            return Ok(known);
        }
        // Boxed: requests whose token is known would carry it for nothing.
        let verified = Arc::new(Box::pin(self.verify(&token, now)).await?);
        self.meters.verified.inc();
        self.verified.insert(digest, verified.clone());
        Ok(verified)
    }

    async fn verify(&self, token: &[u8], now: i64) -> Result<Verified, Refusal> {
        let token = Compact::read(token, &self.spec.algorithms)?;
        let said = &token.claims;
        let iss = said.get("iss").and_then(Value::as_str);
        let issuers = self.spec.issuers.iter().zip(&self.keys).enumerate();
        let (issuer, (spec, keys)) = issuers
            .into_iter()
            .find(|(_, (spec, _))| iss == Some(&*spec.issuer))
            .ok_or(Refusal::Issuer)?;
        if !spec.algorithms.contains(&token.algorithm) {
            return Err(Refusal::Algorithm);
        }
        claims::check_audience(said, &spec.audience)?;
        let validity = Validity::read(said)?;
        validity.at(now, self.spec.leeway)?;
        claims::check_required(said, &self.spec.required)?;
        let principal = claims::principal(said)?;
        let scopes = claims::scopes(said)?;
        let key = keys.fitting(&token).await?;
        key.verify(&token)?;
        Ok(Verified {
            issuer,
            key,
            validity,
            principal,
            scope: claims::scope(&spec.issuer, said, &token.payload),
            scopes,
            claims: Arc::new(claims::flattened(said)),
            values: Arc::new(IndexMap::from([("claims_json".to_owned(), token.payload)])),
        })
    }
}
