//! The metrics of JSON Web Tokens: how their issuers' keys are had, and what checking them costs.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::{Level, Name};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByIssuer {
    pub issuer: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyFetch {
    pub issuer: Name,
    /// `ok` or `failed`.
    pub result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenCheck {
    /// `remembered`: verified before. `verified`: its signature was checked. `refused`.
    pub result: &'static str,
}

/// The handles. Cloning shares the values.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    pub key_fetches: Family<KeyFetch, Counter>,
    /// Seconds since 1970.
    pub keys_fetched: Family<ByIssuer, Level>,
    pub checks: Family<TokenCheck, Counter>,
}

/// The handles that a token authorizer counts on.
#[derive(Clone, Debug)]
pub struct CheckMeters {
    pub remembered: Counter,
    pub verified: Counter,
    pub refused: Counter,
}

/// The handles of an issuer's keys.
#[derive(Clone, Debug)]
pub struct KeyMeters {
    pub fetched: Counter,
    pub failed: Counter,
    /// When the keys in use were fetched, in seconds since 1970; 0 while there are none.
    pub fetched_at: Level,
}

impl Tokens {
    /// The handles of token checks.
    pub fn checks(&self) -> CheckMeters {
        let of = |result| self.checks.get_or_create(&TokenCheck { result }).clone();
        CheckMeters {
            remembered: of("remembered"),
            verified: of("verified"),
            refused: of("refused"),
        }
    }

    /// The handles of an issuer's keys.
    pub fn keys(&self, issuer: &str) -> KeyMeters {
        let issuer = Name(issuer.into());
        let fetches = |result| {
            let issuer = issuer.clone();
            self.key_fetches
                .get_or_create(&KeyFetch { issuer, result })
                .clone()
        };
        KeyMeters {
            fetched: fetches("ok"),
            failed: fetches("failed"),
            fetched_at: self
                .keys_fetched
                .get_or_create(&ByIssuer {
                    issuer: issuer.clone(),
                })
                .clone(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "token_key_fetches",
            "Attempts to fetch an issuer's keys, by result",
            self.key_fetches.clone(),
        );
        registry.register_with_unit(
            "token_keys_fetched_timestamp",
            "When the keys of an issuer that are in use were fetched; 0 while there are none",
            Unit::Seconds,
            self.keys_fetched.clone(),
        );
        registry.register(
            "token_checks",
            "JSON Web Tokens looked at: remembered from an earlier check, verified, or refused",
            self.checks.clone(),
        );
    }
}
