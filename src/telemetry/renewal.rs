//! The metrics of what is renewed while the gateway runs: the configuration, and secrets that are fetched again.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Renewed {
    /// `ok` or `failed`.
    pub result: &'static str,
}

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reloaded {
    /// What brought it: `watch`, `renewal`, `signal`, `reload`, `source`, `deploy` or `rollback`.
    pub origin: &'static str,
    /// `published` or `refused`.
    pub result: &'static str,
}

/// The handles. Cloning shares the values.
#[derive(Clone, Debug, Default)]
pub struct Renewal {
    pub secrets: Family<Renewed, Counter>,
    pub reloads: Family<Reloaded, Counter>,
}

impl Renewal {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "secret_fetches",
            "Rounds of fetching the secrets that AWS keeps, by result; after a failure the old values stay in use",
            self.secrets.clone(),
        );
        registry.register(
            "config_reloads",
            "Configurations that were to follow the one that ran, by what brought them and by result; one that is refused leaves the old one running",
            self.reloads.clone(),
        );
        for origin in ["watch", "renewal", "signal", "reload"] {
            for result in ["published", "refused"] {
                let reloaded = Reloaded { origin, result };
                drop(self.reloads.get_or_create(&reloaded));
            }
        }
    }

    /// Counts a round of fetching.
    pub fn fetched(&self, good: bool) {
        let result = if good { "ok" } else { "failed" };
        self.secrets.get_or_create(&Renewed { result }).inc();
    }

    /// Counts what became of a configuration.
    pub fn reloaded(&self, origin: &'static str, good: bool) {
        let result = if good { "published" } else { "refused" };
        let reloaded = Reloaded { origin, result };
        self.reloads.get_or_create(&reloaded).inc();
    }
}
