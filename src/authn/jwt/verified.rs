//! Tokens that were verified, so that each is once: by the SHA-256 of the whole token, within a bound of bytes. Only
//! tokens that passed every check come in, so forged ones cannot push them out. Each hit looks at the time and at the
//! key anew: a token is never remembered past its `exp` nor past the withdrawal of its key.

use std::mem::size_of;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use indexmap::IndexMap;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::claims::Validity;
use super::key::Key;
use crate::authn::Caller;

/// What an entry takes beside its texts: the maps' own bookkeeping, measured generously.
const OVERHEAD: usize = 512;
const CLAIM_OVERHEAD: usize = 96;
/// What an entry usually takes, for the size of the tables.
const USUAL: u64 = 2_048;

/// A token that was verified, and what it says.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    /// Which of the authorizer's issuers.
    pub issuer: usize,
    pub key: Arc<Key>,
    pub validity: Validity,
    pub principal: Option<Arc<str>>,
    /// Who calls, among the callers of all issuers.
    pub scope: Arc<str>,
    pub scopes: Arc<[String]>,
    pub claims: Arc<IndexMap<String, String>>,
    /// `claims_json`: the payload as it came.
    pub values: Arc<IndexMap<String, String>>,
}

/// Verified tokens; `None` keeps none.
#[derive(Debug)]
pub(super) struct VerifiedTokens(Option<Cache<Digest, Arc<Verified>, Bytes>>);

/// What a token is known by.
pub(super) type Digest = [u8; 32];

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Digest, Arc<Verified>> for Bytes {
    fn weight(&self, _: &Digest, token: &Arc<Verified>) -> u64 {
        let texts = |map: &IndexMap<String, String>| {
            map.iter()
                .map(|(name, value)| CLAIM_OVERHEAD + name.len() + value.len())
                .sum::<usize>()
        };
        let scopes: usize = token
            .scopes
            .iter()
            .map(|scope| size_of::<String>() + scope.len())
            .sum();
        let bytes =
            OVERHEAD + texts(&token.claims) + texts(&token.values) + scopes + token.scope.len();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl VerifiedTokens {
    /// `bytes`: how much may be kept.
    pub(super) fn new(bytes: u64) -> VerifiedTokens {
        let usual = usize::try_from(bytes / USUAL).unwrap_or(usize::MAX);
        VerifiedTokens((bytes > 0).then(|| Cache::with_weighter(usual.max(1), bytes, Bytes)))
    }

    /// What a token is known by.
    pub(super) fn digest(token: &[u8]) -> Digest {
        let mut bytes = Digest::default();
        bytes.copy_from_slice(digest(&SHA256, token).as_ref());
        bytes
    }

    /// What is known of a token, if it still holds at that second and `key_is_used` says that its key does too.
    pub(super) fn get(
        &self,
        digest: &Digest,
        now: i64,
        leeway: i64,
        key_is_used: impl FnOnce(&Verified) -> bool,
    ) -> Option<Arc<Verified>> {
        let cache = self.0.as_ref()?;
        let token = cache.get(digest)?;
        if token.validity.at(now, leeway).is_err() || !key_is_used(&token) {
            cache.remove(digest);
            return None;
        }
        Some(token)
    }

    pub(super) fn insert(&self, digest: Digest, token: Arc<Verified>) {
        if let Some(cache) = &self.0 {
            cache.insert(digest, token);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, Cache::len)
    }
}

impl Verified {
    /// Adds to the caller what the token says. What an earlier authorizer said stays.
    pub(super) fn tell(&self, caller: &mut Caller) {
        let identity = &mut caller.identity;
        if identity.principal.is_none() {
            identity.principal.clone_from(&self.principal);
        }
        identity.scope.get_or_insert_with(|| self.scope.clone());
        identity.claims.get_or_insert_with(|| self.claims.clone());
        match &identity.values {
            None => identity.values = Some(self.values.clone()),
            Some(_) => {
                for (name, value) in &*self.values {
                    identity.add_value(name, value.clone());
                }
            }
        }
        caller.scopes.get_or_insert_with(|| self.scopes.clone());
    }
}
