//! The stage: which deployment runs, which one is tried, what was deployed before, and what is not to be deployed again. It
//! is kept in memory and, where there is a store, there too.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::admin::deployments::{Status, Told};
use crate::config::load::SourceFile;
use crate::deploy::{DeploymentId, Standing};
use crate::store::{DeploymentRow, Deployments, Store, StoreError};

/// Deployments that the history holds.
const KEPT: usize = 50;
/// The longest name of whoever deploys, in characters.
const LONGEST_NAME: usize = 128;

/// The files of a deployment.
pub(super) type Files = Arc<Vec<SourceFile>>;

/// A file, as it is kept.
#[derive(Serialize, Deserialize)]
struct KeptFile {
    path: PathBuf,
    text: String,
}

/// What outlives the process beside the history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    /// The place of the one that runs.
    running: i64,
    canary: Option<Progress>,
    /// Contents that are not deployed again but by force.
    pins: Vec<String>,
    /// The content that the files had when they were looked at last.
    files: String,
}

/// How far the canary is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Its place in the history.
    pub n: i64,
    /// As it is written.
    pub share: String,
    pub step: usize,
    pub held: bool,
    pub window: u32,
    /// When the step began, in milliseconds since 1970.
    pub since: u64,
}

impl Progress {
    fn of(n: i64, standing: Standing, since: u64) -> Progress {
        Progress {
            n,
            share: standing.share.to_string(),
            step: standing.step,
            held: standing.held,
            window: standing.window,
            since,
        }
    }

    /// `None` for one that cannot be read.
    pub fn standing(&self) -> Option<Standing> {
        Some(Standing {
            share: self.share.parse().ok()?,
            step: self.step,
            held: self.held,
            window: self.window,
        })
    }
}

/// Who deploys, and how.
#[derive(Clone, Debug)]
pub(super) struct Deployer {
    pub by: String,
    pub from: &'static str,
}

impl Deployer {
    /// A name that somebody gave, cut to what a line can hold.
    pub fn named(by: Option<&str>, from: &'static str) -> Deployer {
        let by = by.unwrap_or(from).chars().filter(|c| !c.is_control());
        Deployer {
            by: by.take(LONGEST_NAME).collect(),
            from,
        }
    }
}

/// The history and the state. What has changed is saved by [`Stage::save`].
#[derive(Default)]
pub(super) struct Stage {
    /// In the order of their places.
    history: Vec<Told>,
    files: BTreeMap<i64, Files>,
    state: State,
    /// Places of rows that have changed since the last save.
    changed: Vec<i64>,
    forgotten: Vec<i64>,
    /// Whether what an earlier process has left is part of it.
    joined: bool,
}

impl Stage {
    /// The latest one first.
    pub fn history(&self) -> Vec<Told> {
        self.history.iter().rev().cloned().collect()
    }

    pub fn told(&self, n: i64) -> Option<&Told> {
        self.history.iter().find(|told| told.n == n)
    }

    pub fn running(&self) -> Option<&Told> {
        self.told(self.state.running)
    }

    pub fn progress(&self) -> Option<&Progress> {
        self.state.canary.as_ref()
    }

    pub fn files(&self, n: i64) -> Option<&Files> {
        self.files.get(&n)
    }

    pub fn pins(&self) -> &[String] {
        &self.state.pins
    }

    pub fn is_pinned(&self, id: &DeploymentId) -> bool {
        self.state.pins.iter().any(|pin| pin == id.as_str())
    }

    /// The content of the files when they were looked at last.
    pub fn last_seen(&self) -> &str {
        &self.state.files
    }

    pub fn seen(&mut self, id: &DeploymentId) {
        self.state.files = id.to_string();
    }

    /// Notes a deployment; its place.
    pub fn note(&mut self, id: &DeploymentId, status: Status, from: Deployer, files: Files) -> i64 {
        let n = self.history.last().map_or(1, |last| last.n + 1);
        self.history.push(Told {
            n,
            id: id.to_string(),
            at: now(),
            by: from.by,
            from: from.from.to_owned(),
            status,
            reason: None,
            changes: None,
            overlaid: false,
        });
        if status != Status::Refused {
            self.files.insert(n, files);
        }
        self.changed.push(n);
        self.forget();
        n
    }

    /// Notes a deployment that was refused. The same is not noted twice in a row.
    pub fn refuse(&mut self, id: &DeploymentId, from: Deployer, reason: String) {
        let same = |last: &Told| {
            last.status == Status::Refused
                && last.id == id.as_str()
                && last.reason.as_deref() == Some(&reason)
        };
        if self.history.last().is_some_and(same) {
            return;
        }
        let n = self.note(id, Status::Refused, from, Files::default());
        self.change(n, |told| told.reason = Some(reason));
    }

    /// Changes what is told of a deployment.
    pub fn change(&mut self, n: i64, change: impl FnOnce(&mut Told)) {
        if let Some(told) = self.history.iter_mut().find(|told| told.n == n) {
            change(told);
            self.changed.push(n);
        }
    }

    /// From now on this one runs; what became of the one before is said.
    pub fn run(&mut self, n: i64, became: Status) {
        let before = std::mem::replace(&mut self.state.running, n);
        if before != n {
            self.change(before, |told| told.status = became);
        }
        self.change(n, |told| told.status = Status::Running);
    }

    /// The canary stands there since so long.
    pub fn stand(&mut self, n: i64, standing: Standing, lasted: std::time::Duration) {
        let now = epoch_millis();
        let lasted = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
        self.state.canary = Some(Progress::of(n, standing, now.saturating_sub(lasted)));
    }

    /// There is no canary any more; what became of it is said. Its place.
    pub fn end_canary(&mut self, became: Status, reason: Option<String>) -> Option<i64> {
        let progress = self.state.canary.take()?;
        self.change(progress.n, |told| {
            told.status = became;
            told.reason = reason;
        });
        Some(progress.n)
    }

    /// This content is not deployed again but by force.
    pub fn pin(&mut self, id: &str) {
        if !self.state.pins.iter().any(|pin| pin == id) {
            self.state.pins.push(id.to_owned());
        }
    }

    /// Another content is deployed: what was rolled back before may come again.
    pub fn unpin_all(&mut self) {
        self.state.pins.clear();
    }

    /// The one that ran before the one that runs.
    pub fn before(&self) -> Option<&Told> {
        let running = self.running()?;
        let served = |told: &&Told| {
            told.n < running.n
                && told.id != running.id
                && told.status == Status::Superseded
                && self.files.contains_key(&told.n)
        };
        self.history.iter().rev().find(served)
    }

    /// The latest one with files whose id begins so; `Err`: several ids do.
    pub fn found(&self, beginning: &str) -> Result<Option<&Told>, ()> {
        let fits = |told: &&Told| {
            told.id.starts_with(beginning)
                && self.files.contains_key(&told.n)
                && !beginning.is_empty()
        };
        let mut found: Option<&Told> = None;
        for told in self.history.iter().rev().filter(fits) {
            match found {
                Some(other) if other.id != told.id => return Err(()),
                Some(_) => {}
                None => found = Some(told),
            }
        }
        Ok(found)
    }

    fn forget(&mut self) {
        while self.history.len() > KEPT {
            let canary = self.state.canary.as_ref().map(|canary| canary.n);
            let last = self.history.last().map(|last| last.n);
            let needed = |n: i64| n == self.state.running || Some(n) == canary || Some(n) == last;
            let Some(at) = self.history.iter().position(|told| !needed(told.n)) else {
                return;
            };
            let gone = self.history.remove(at).n;
            self.files.remove(&gone);
            self.changed.retain(|n| *n != gone);
            self.forgotten.push(gone);
        }
    }

    /// Goes on with what an earlier process has left. What this one has noted already comes after it.
    pub fn join(&mut self, kept: Deployments) {
        self.joined = true;
        let mut history: Vec<Told> = Vec::new();
        let mut files = BTreeMap::new();
        for row in kept.rows {
            let Ok(mut told) = serde_json::from_str::<Told>(&row.told) else {
                tracing::warn!(n = row.n, "A deployment of the history cannot be read");
                self.forgotten.push(row.n);
                continue;
            };
            told.n = row.n;
            let texts = row.texts.as_deref();
            if let Some(Ok(texts)) = texts.map(serde_json::from_str::<Vec<KeptFile>>) {
                let read = texts.into_iter().map(|file| SourceFile {
                    path: file.path,
                    text: file.text,
                });
                files.insert(row.n, Arc::new(read.collect()));
            }
            history.push(told);
        }
        let behind = history.last().map_or(0, |last| last.n);
        let own = std::mem::take(&mut self.history);
        let noted_before = !own.is_empty();
        for told in &mut history {
            // The one that ran is not the one that runs, if this process has begun another.
            if noted_before && matches!(told.status, Status::Running | Status::Canary) {
                told.status = Status::Superseded;
                self.changed.push(told.n);
            }
        }
        history.extend(own.into_iter().map(|told| Told {
            n: told.n + behind,
            ..told
        }));
        let own_files = std::mem::take(&mut self.files);
        files.extend(own_files.into_iter().map(|(n, own)| (n + behind, own)));
        if noted_before {
            self.changed = history
                .iter()
                .map(|told| told.n)
                .filter(|n| *n > behind)
                .collect();
            self.state.running += behind;
            if let Some(canary) = &mut self.state.canary {
                canary.n += behind;
            }
        } else if let Some(state) = kept
            .state
            .and_then(|state| serde_json::from_str(&state).ok())
        {
            self.state = state;
        }
        self.history = history;
        self.files = files;
        self.forget();
    }

    /// Writes down what has changed since the last time.
    ///
    /// # Errors
    /// Nothing was written; the next save writes it too.
    pub async fn save(&mut self, store: &Store) -> Result<(), StoreError> {
        if !self.joined {
            let kept = store.deployments().await?;
            self.join(kept);
        }
        self.changed.sort_unstable();
        self.changed.dedup();
        let rows = self.changed.iter().filter_map(|n| self.row(*n));
        let state = json(&self.state)?;
        let (rows, forgotten) = (rows.collect(), self.forgotten.clone());
        store.save_deployments(rows, forgotten, state).await?;
        self.changed.clear();
        self.forgotten.clear();
        Ok(())
    }

    fn row(&self, n: i64) -> Option<DeploymentRow> {
        let kept = |files: &Files| {
            let files = files.iter().map(|file| KeptFile {
                path: file.path.clone(),
                text: file.text.clone(),
            });
            json(&files.collect::<Vec<_>>()).ok()
        };
        Some(DeploymentRow {
            n,
            told: json(self.told(n)?).ok()?,
            texts: self.files.get(&n).and_then(kept),
        })
    }
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::InvalidParameter(error.to_string()))
}

fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let now = now.replace_millisecond(now.millisecond()).unwrap_or(now);
    now.format(&Rfc3339).unwrap_or_default()
}

pub(super) fn epoch_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::model::value::Share;
    use crate::store::Options;

    fn id(text: &str) -> DeploymentId {
        DeploymentId::of([(Path::new("a.yaml"), text)])
    }

    fn from() -> Deployer {
        Deployer::named(Some("ann"), "api")
    }

    fn files(text: &str) -> Files {
        Arc::new(vec![SourceFile {
            path: "a.yaml".into(),
            text: text.to_owned(),
        }])
    }

    fn deploy(stage: &mut Stage, text: &str) -> i64 {
        let n = stage.note(&id(text), Status::Running, from(), files(text));
        stage.run(n, Status::Superseded);
        n
    }

    const STANDING: Standing = Standing {
        share: Share::percent(25),
        step: 1,
        held: true,
        window: 3,
    };

    #[test]
    fn the_history_is_bounded_and_keeps_what_is_needed() {
        let mut stage = Stage::default();
        let canary = stage.note(&id("c"), Status::Canary, from(), files("c"));
        stage.stand(canary, STANDING, Duration::ZERO);
        for n in 0..80 {
            deploy(&mut stage, &n.to_string());
        }
        assert_eq!(stage.history().len(), KEPT);
        assert!(stage.files(canary).is_some());
        assert_eq!(
            stage.running().map(|told| &*told.id),
            Some(id("79").as_str())
        );
        assert_eq!(
            stage.before().map(|told| &*told.id),
            Some(id("78").as_str())
        );
    }

    #[test]
    fn a_refusal_is_noted_once_and_is_never_what_one_goes_back_to() {
        let mut stage = Stage::default();
        deploy(&mut stage, "a");
        stage.refuse(&id("x"), from(), "wrong".to_owned());
        stage.refuse(&id("x"), from(), "wrong".to_owned());
        deploy(&mut stage, "b");
        assert_eq!(stage.history().len(), 3);
        assert_eq!(stage.before().map(|told| &*told.id), Some(id("a").as_str()));
        assert_eq!(stage.found(id("x").as_str()), Ok(None));
        assert!(stage.found("").is_ok_and(|found| found.is_none()));
    }

    #[tokio::test]
    async fn what_was_saved_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            Store::open(Options {
                min_free: 0,
                ..Options::new(folder.path())
            })
            .unwrap()
        };
        let store = open();
        let mut stage = Stage::default();
        deploy(&mut stage, "a");
        stage.save(&store).await.unwrap();
        let canary = stage.note(&id("b"), Status::Canary, from(), files("b"));
        stage.stand(canary, STANDING, Duration::ZERO);
        stage.pin("0123");
        stage.seen(&id("b"));
        stage.save(&store).await.unwrap();
        store.close().await;
        let store = open();
        let mut next = Stage::default();
        next.join(store.deployments().await.unwrap());
        assert_eq!(next.history(), stage.history());
        assert_eq!(next.state, stage.state);
        assert_eq!(next.progress().and_then(Progress::standing), Some(STANDING));
        assert_eq!(next.files(canary), stage.files(canary));
        // A process that began without the store comes after what it finds later.
        let mut late = Stage::default();
        deploy(&mut late, "z");
        late.save(&store).await.unwrap();
        assert_eq!(late.history().len(), 3);
        assert_eq!(late.running().map(|told| told.n), Some(3));
        let statuses: Vec<Status> = late.history().iter().map(|told| told.status).collect();
        let superseded = Status::Superseded;
        assert_eq!(statuses, [Status::Running, superseded, superseded]);
        store.close().await;
    }
}
