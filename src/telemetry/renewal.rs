//! The metrics of what is renewed while the gateway runs: secrets that are fetched again, and the plans that follow.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Renewed {
    /// Of secrets: `ok`, `failed`. Of plans: `published`, `refused`.
    pub result: &'static str,
}

/// The handles. Cloning shares the values.
#[derive(Clone, Debug, Default)]
pub struct Renewal {
    pub secrets: Family<Renewed, Counter>,
    pub plans: Family<Renewed, Counter>,
}

impl Renewal {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "secret_fetches",
            "Rounds of fetching the secrets that AWS keeps, by result; after a failure the old values stay in use",
            self.secrets.clone(),
        );
        registry.register(
            "plan_renewals",
            "Plans made anew because a secret or a file changed, by result; one that is refused leaves the old plan running",
            self.plans.clone(),
        );
        for result in ["published", "refused"] {
            drop(self.plans.get_or_create(&Renewed { result }));
        }
    }

    /// Counts a round of fetching.
    pub fn fetched(&self, good: bool) {
        let result = if good { "ok" } else { "failed" };
        self.secrets.get_or_create(&Renewed { result }).inc();
    }

    /// Counts a plan that was made anew.
    pub fn planned(&self, good: bool) {
        let result = if good { "published" } else { "refused" };
        self.plans.get_or_create(&Renewed { result }).inc();
    }
}
