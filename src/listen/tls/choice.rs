//! Which certificate a client is shown: by the name that it asks for (SNI), and by what it can check.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::material::Certificate;

/// Certificates by name.
#[derive(Debug)]
pub(super) struct Choice {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// Where no name is asked for, or one that no certificate has.
    default: Vec<Arc<CertifiedKey>>,
}

impl Choice {
    /// The first certificate is the default; so are those that share all of its names, which differ in their keys.
    pub(super) fn new(certificates: &[Certificate]) -> Choice {
        let mut choice = Choice {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default: Vec::new(),
        };
        for certificate in certificates {
            if certificates
                .first()
                .is_some_and(|first| first.names == certificate.names)
            {
                choice.default.push(certificate.key.clone());
            }
            for name in &certificate.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut choice.wildcard, parent),
                    None => (&mut choice.exact, name.as_str()),
                };
                let keys = names.entry(name.to_owned()).or_default();
                keys.push(certificate.key.clone());
            }
        }
        choice
    }

    fn named(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let Some(name) = name else {
            return &self.default;
        };
        let name = name.to_ascii_lowercase();
        let parent = || name.split_once('.').map(|(_, parent)| parent);
        self.exact
            .get(&name)
            .or_else(|| self.wildcard.get(parent()?))
            .unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.named(client.server_name());
        let usable = keys
            .iter()
            .find(|key| key.key.choose_scheme(client.signature_schemes()).is_some());
        usable.or(keys.first()).cloned()
    }
}
