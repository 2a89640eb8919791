//! Tables of versions that DynamoDB keeps, as they were read last. A table is read in the background, again and again,
//! and its rows are swapped whole: no request waits for DynamoDB. Plans that follow each other, and a canary's, share it.
//! The last good rows are kept on disk (`config::copy`) where there is a folder for it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::dynamodb::{TableSpec, Unread};
use super::row::Table;
use crate::aws::Clients;
use crate::config::copy::Copy;
use crate::plan::Blueprint;
use crate::telemetry::renewal::Renewal;

/// How long after a read that failed the next one begins, where there are no rows to go on with.
const PAUSE_WITHOUT_ROWS: Duration = Duration::from_secs(1);

/// The tables that plans read.
#[derive(Debug)]
pub struct VersionTables {
    feeds: Mutex<Vec<Weak<Feed>>>,
    /// Set once tables are read: the folder in which copies are kept.
    reading: OnceLock<Option<PathBuf>>,
    meters: Renewal,
}

/// What the plan made last asks of a table.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The APIs that rows may name, by name and by host, in order.
    pub apis: Vec<String>,
    /// The version that has to be there.
    pub default: Option<String>,
}

impl Asked {
    /// What is asked and the table does not have, and what it has and nobody may name.
    pub(super) fn unserved(&self, rows: &Table) -> Vec<String> {
        let known = |api: &str| {
            self.apis
                .iter()
                .any(|known| known.eq_ignore_ascii_case(api))
        };
        let unknown = rows.rows().filter(|row| !known(&row.api));
        let mut said: Vec<String> = unknown
            .map(|row| {
                format!(
                    "the version `{}` names `{}`, which is not among `versions.dynamodb.apis`, so it is answered as unknown",
                    row.name, row.api
                )
            })
            .collect();
        said.sort();
        if let Some(default) = self
            .default
            .as_deref()
            .filter(|name| rows.named(name).is_none())
        {
            said.push(format!(
                "there is no version `{default}`, which is the default"
            ));
        }
        said
    }
}

/// One table.
pub struct Feed {
    spec: TableSpec,
    rows: ArcSwapOption<Table>,
    state: Mutex<State>,
    /// Whether reading it was tried.
    tried: watch::Sender<bool>,
    task: OnceLock<AbortOnDropHandle<()>>,
    meters: Renewal,
}

struct State {
    clients: Clients,
    asked: Asked,
    refresh: Duration,
    remarks: Vec<String>,
    /// Where the rows come from, until they are read for the first time.
    copied: Option<String>,
}

impl VersionTables {
    /// None yet. Nothing is read before [`VersionTables::read`].
    pub fn new(meters: Renewal) -> Arc<VersionTables> {
        Arc::new(VersionTables {
            feeds: Mutex::default(),
            reading: OnceLock::new(),
            meters,
        })
    }

    /// From now on tables are read. `folder`: where the last good rows are kept. Needs a Tokio runtime.
    pub fn read(&self, folder: Option<PathBuf>) {
        let folder = self.reading.get_or_init(|| folder);
        for feed in self.feeds() {
            feed.start(folder.as_ref());
        }
    }

    fn feeds(&self) -> Vec<Arc<Feed>> {
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.iter().filter_map(Weak::upgrade).collect()
    }

    /// The table of a plan that is made; the same one for all that read the same.
    pub fn feed(&self, spec: &TableSpec, asked: Asked, clients: &Clients) -> Arc<Feed> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.retain(|feed| feed.strong_count() > 0);
        let mut known = feeds.iter().filter_map(Weak::upgrade);
        if let Some(feed) = known.find(|feed| feed.spec.is_same_table(spec)) {
            let mut state = feed.state();
            state.clients = clients.clone();
            state.asked = asked;
            state.refresh = spec.refresh;
            drop(state);
            return feed;
        }
        let feed = Arc::new(Feed {
            spec: spec.clone(),
            rows: ArcSwapOption::empty(),
            state: Mutex::new(State {
                clients: clients.clone(),
                asked,
                refresh: spec.refresh,
                remarks: Vec::new(),
                copied: None,
            }),
            tried: watch::Sender::new(false),
            task: OnceLock::new(),
            meters: self.meters.clone(),
        });
        feeds.push(Arc::downgrade(&feed));
        if let Some(folder) = self.reading.get() {
            feed.start(folder.as_ref());
        }
        feed
    }

    /// Waits until every table has rows, or reading it has failed once.
    pub async fn settled(&self) {
        for feed in self.feeds() {
            feed.settled().await;
        }
    }

    /// Reads the tables of a blueprint that no plan has yet; they stay for as long as the caller holds them. `Err`: one
    /// without which requests would find no version cannot be read.
    pub async fn ahead(
        &self,
        blueprint: &Blueprint,
        clients: &Clients,
    ) -> Result<Vec<Arc<Feed>>, String> {
        let mut held = Vec::new();
        for versions in blueprint
            .apis
            .iter()
            .filter_map(|api| api.versions.as_ref())
        {
            let Some(spec) = versions.kept() else {
                continue;
            };
            let mut known = self.feeds().into_iter();
            if known.any(|feed| feed.spec.is_same_table(spec)) {
                continue;
            }
            let feed = self.feed(spec, versions.asked(), clients);
            feed.settled().await;
            if feed.rows().is_none() && versions.table().is_empty() {
                return Err(feed.remarks().join("; "));
            }
            held.push(feed);
        }
        Ok(held)
    }
}

impl Feed {
    /// The rows that were read last; `None` if there were none ever.
    pub fn rows(&self) -> Option<Arc<Table>> {
        self.rows.load_full()
    }

    /// What an operator should know of the table.
    pub fn remarks(&self) -> Vec<String> {
        self.state().remarks.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn settled(&self) {
        let mut tried = self.tried.subscribe();
        // The sender is this table's own.
        let _ = tried
            .wait_for(|tried| *tried || self.rows.load().is_some())
            .await;
    }

    fn start(self: &Arc<Feed>, folder: Option<&PathBuf>) {
        let copy = folder.map(|folder| self.copy(folder));
        let feed = Arc::downgrade(self);
        self.task
            .get_or_init(|| AbortOnDropHandle::new(tokio::spawn(keep_reading(feed, copy))));
    }

    /// Where its last good rows are kept.
    fn copy(&self, folder: &std::path::Path) -> Copy {
        let of = format!(
            "dynamodb:{:?}",
            (&self.spec.table, &self.spec.region, self.spec.shape())
        );
        let hash = digest(&SHA256, of.as_bytes());
        let short: String = hash.as_ref()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name = format!("{}-{short}.json", self.spec.label());
        Copy::new(folder.join("version-tables").join(name), of)
    }

    /// Begins with what was kept, so that a start without the network has the rows of before.
    async fn begin(&self, copy: &Copy) {
        let kept = copy.clone();
        let Ok(Ok(kept)) = tokio::task::spawn_blocking(move || kept.read()).await else {
            return;
        };
        let items: Vec<Value> = serde_json::from_str(&kept.text).unwrap_or_default();
        match self.spec.rows(&items) {
            Ok(rows) => {
                let origin = format!("as it was read at {}, from the copy on disk", kept.since);
                self.remark(vec![self.said(&format!("is {origin}"))]);
                self.state().copied = Some(origin);
                self.put(rows);
                self.tried.send_replace(false);
            }
            Err(error) => {
                let path = copy.path().display();
                tracing::warn!(%error, %path, "The copy of a table of versions cannot be used");
            }
        }
    }

    /// Reads the table once.
    async fn read(&self, copy: Option<&Copy>) {
        let clients = self.state().clients.clone();
        let fetched = self.spec.fetch(&clients).await;
        let fetched = fetched.and_then(|items| Ok((self.spec.rows(&items)?, items)));
        let result = match &fetched {
            Ok(_) => "ok",
            Err(Unread::Failed(_)) => "failed",
            Err(Unread::Refused(_)) => "refused",
        };
        self.meters.table_read(self.spec.label(), result);
        match fetched {
            Ok((rows, items)) => {
                self.state().copied = None;
                let unserved = self.state().asked.unserved(&rows);
                self.remark(unserved.iter().map(|said| self.said(said)).collect());
                let same = self.rows.load().as_deref() == Some(&rows);
                if !same {
                    self.put(rows);
                    tracing::info!(
                        table = self.spec.label(),
                        "The table of versions has changed, and is in use"
                    );
                }
                if let Some(copy) = copy {
                    self.keep(copy, items, same).await;
                }
            }
            Err(error) => {
                let copied = self.state().copied.clone();
                let stays = match (self.rows.load().is_some(), copied) {
                    (true, Some(copied)) => format!("; it stays in use {copied}"),
                    (true, None) => "; what was read before stays in use".to_owned(),
                    (false, _) => String::new(),
                };
                self.remark(vec![self.said(&format!("cannot be used: {error}{stays}"))]);
            }
        }
        self.tried.send_replace(true);
    }

    fn put(&self, rows: Table) {
        self.meters.table_rows(self.spec.label(), rows.len());
        self.rows.store(Some(Arc::new(rows)));
    }

    /// Keeps items on disk, where they are others than before.
    async fn keep(&self, copy: &Copy, items: Vec<Value>, same: bool) {
        let path = copy.path().to_path_buf();
        let copy = copy.clone();
        let keeping = tokio::task::spawn_blocking(move || {
            if same && copy.path().exists() {
                return Ok(());
            }
            copy.keep(&Value::from(items).to_string(), SystemTime::now())
        });
        let kept = keeping
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        if let Err(error) = kept {
            let path = path.display();
            tracing::warn!(%error, %path, "A table of versions cannot be kept here, so the next start needs DynamoDB");
        }
    }

    fn said(&self, what: &str) -> String {
        format!("the table of versions {}: {what}", self.spec.label())
    }

    /// Tells the operator; the same is not said twice.
    fn remark(&self, remarks: Vec<String>) {
        let mut state = self.state();
        if state.remarks == remarks {
            return;
        }
        for remark in &remarks {
            tracing::warn!("{remark}");
        }
        if remarks.is_empty() {
            tracing::info!(
                table = self.spec.label(),
                "The table of versions is read again"
            );
        }
        state.remarks = remarks;
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// Reads for as long as some plan wants it.
async fn keep_reading(feed: Weak<Feed>, copy: Option<Copy>) {
    if let (Some(feed), Some(copy)) = (feed.upgrade(), &copy) {
        feed.begin(copy).await;
    }
    while let Some(table) = feed.upgrade() {
        table.read(copy.as_ref()).await;
        let refresh = table.state().refresh;
        let pause = match table.rows.load().is_some() {
            true => refresh,
            false => refresh.min(PAUSE_WITHOUT_ROWS),
        };
        drop(table);
        tokio::time::sleep(pause).await;
    }
}
