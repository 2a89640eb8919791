//! The metrics of what is renewed while the gateway runs: the configuration, and secrets that are fetched again.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::Name;

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

/// What became of reading a table of versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TableRead {
    pub table: Name,
    /// `ok`, `failed`, or `refused` where it holds what cannot be used.
    pub result: &'static str,
}

/// A table of versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfTable {
    pub table: Name,
}

/// The handles. Cloning shares the values.
#[derive(Clone, Debug, Default)]
pub struct Renewal {
    pub secrets: Family<Renewed, Counter>,
    pub reloads: Family<Reloaded, Counter>,
    pub sources: Family<Renewed, Counter>,
    pub version_tables: Family<TableRead, Counter>,
    pub version_rows: Family<OfTable, Gauge>,
}

impl Renewal {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "secret_fetches",
            "Rounds of fetching the secrets that AWS keeps, by result; after a failure the old values stay in use",
            self.secrets.clone(),
        );
        registry.register(
            "config_source_fetches",
            "Questions whether a configuration that is kept elsewhere has changed, by result",
            self.sources.clone(),
        );
        registry.register(
            "config_reloads",
            "Configurations that were to follow the one that ran, by what brought them and by result; one that is refused leaves the old one running",
            self.reloads.clone(),
        );
        registry.register(
            "version_table_reads",
            "Readings of the tables of versions that DynamoDB keeps, by result; after a failure what was read before stays in use",
            self.version_tables.clone(),
        );
        registry.register(
            "version_table_rows",
            "Versions in the table as it is in use",
            self.version_rows.clone(),
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

    /// Counts a question to a source over the network.
    pub fn asked(&self, good: bool) {
        let result = if good { "ok" } else { "failed" };
        self.sources.get_or_create(&Renewed { result }).inc();
    }

    /// Counts a reading of a table of versions.
    pub fn table_read(&self, table: &str, result: &'static str) {
        let table = Name(table.into());
        let read = TableRead { table, result };
        self.version_tables.get_or_create(&read).inc();
    }

    /// How many versions a table has.
    pub fn table_rows(&self, table: &str, rows: usize) {
        let table = Name(table.into());
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.version_rows
            .get_or_create(&OfTable { table })
            .set(rows);
    }

    /// Counts what became of a configuration.
    pub fn reloaded(&self, origin: &'static str, good: bool) {
        let result = if good { "published" } else { "refused" };
        let reloaded = Reloaded { origin, result };
        self.reloads.get_or_create(&reloaded).inc();
    }
}
