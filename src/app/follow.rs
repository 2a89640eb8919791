//! Notices that route files have changed. The system tells of what happens in the folders that they lie in (not to the
//! files: an editor, and Kubernetes, put another file in a file's place); looking every two seconds is the safety net
//! for file systems that tell nothing. Either way the files are compared with how they looked when they were last read.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::config::load::files;
use crate::model::problem::Problems;

/// How long files have to stay as they are before they are read: they are often written in several steps.
const SETTLE: Duration = Duration::from_millis(100);

/// How long after the first sign of a change they are read, settled or not.
const LATEST: Duration = Duration::from_millis(500);

/// How files look from outside: path, device, inode, size, and the time of the last change in nanoseconds; nothing but
/// its path for one that is not there.
type Looks = Vec<(PathBuf, Option<(u64, u64, u64, i128)>)>;

/// Follows route files.
pub(super) struct Follow {
    paths: Vec<PathBuf>,
    looks: Looks,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    hints: mpsc::Receiver<Vec<PathBuf>>,
}

impl Follow {
    /// Follows files and folders from now on.
    pub(super) async fn new(paths: Vec<PathBuf>) -> Follow {
        let (sender, hints) = mpsc::channel(64);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event
                && changes(event.kind)
            {
                // Where so much waits that this does not fit, a look is due already.
                let _ = sender.try_send(event.paths);
            }
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(%error, "The system does not tell of changed files; they are looked at every two seconds");
        });
        let mut follow = Follow {
            looks: look(paths.clone()).await,
            paths,
            watcher: watcher.ok(),
            watched: BTreeSet::new(),
            hints,
        };
        follow.watch();
        follow
    }

    /// Waits for a sign that something has changed.
    pub(super) async fn hint(&mut self) {
        loop {
            let Some(paths) = self.hints.recv().await else {
                return std::future::pending().await;
            };
            if paths.is_empty() || paths.iter().any(|path| self.concerns(path)) {
                return;
            }
        }
    }

    /// Whether an event at a path can be about the route files. Logs and data may lie beside them, and change all the
    /// time.
    fn concerns(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default();
        // Kubernetes: `..data` is a link that is put in place of the one before.
        let is_swapped = name.to_string_lossy().starts_with("..");
        let ending = path.extension().unwrap_or_default();
        let is_route_file = ["yaml", "yml", "json"].iter().any(|known| ending == *known);
        let is_named = |named: &PathBuf| named.file_name() == Some(name);
        is_swapped || is_route_file || self.paths.iter().any(is_named)
    }

    /// Whether the files have changed since they were last looked at. If so, waits until they settle.
    pub(super) async fn changed(&mut self) -> bool {
        let mut now = look(self.paths.clone()).await;
        if now == self.looks {
            return false;
        }
        let latest = Instant::now() + LATEST;
        loop {
            sleep(SETTLE).await;
            let then = look(self.paths.clone()).await;
            // A file that is gone may be about to be replaced.
            let settled = then == now && then.iter().all(|(_, there)| there.is_some());
            now = then;
            if settled || Instant::now() >= latest {
                break;
            }
        }
        while self.hints.try_recv().is_ok() {}
        let changed = now != self.looks;
        self.looks = now;
        self.watch();
        changed
    }

    /// Has the system tell of what happens in the folders that the files lie in, by whatever links they are reached.
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let mut folders = BTreeSet::new();
        let found = self.looks.iter().map(|(path, _)| path);
        for path in self.paths.iter().chain(found) {
            if path.is_dir() {
                folders.insert(path.clone());
            }
            folders.insert(folder_of(path));
            if let Ok(real) = fs::canonicalize(path) {
                folders.insert(folder_of(&real));
            }
        }
        for gone in self.watched.difference(&folders) {
            // Nobody can say more of a folder that is gone.
            let _ = watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for folder in folders {
            // Again, where it is watched already: another folder may have its name by now.
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(folder);
                }
                Err(error) => {
                    tracing::debug!(%error, folder = %folder.display(), "This folder cannot be watched; its files are looked at every two seconds");
                }
            }
        }
        self.watched = watched;
    }
}

/// Whether an event is about a change: reading, ours too, is told of as well.
fn changes(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// How the files look that the paths mean now.
async fn look(paths: Vec<PathBuf>) -> Looks {
    let looking = tokio::task::spawn_blocking(move || {
        let found = files(&paths, &mut Problems::default());
        found
            .into_iter()
            .map(|path| (looked(&path), path))
            .map(|(look, path)| (path, look))
            .collect()
    });
    looking.await.unwrap_or_default()
}

fn looked(path: &Path) -> Option<(u64, u64, u64, i128)> {
    let found = fs::metadata(path).ok()?;
    let changed = i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
    Some((found.dev(), found.ino(), found.size(), changed))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    async fn noticed(follow: &mut Follow) -> bool {
        timeout(LONG, follow.hint()).await.unwrap();
        follow.changed().await
    }

    #[tokio::test]
    async fn a_file_that_is_written_in_place_or_replaced_by_a_rename_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("routes.yaml");
        fs::write(&file, "a: 1").unwrap();
        let mut follow = Follow::new(vec![file.clone()]).await;
        assert!(!follow.changed().await);
        fs::write(&file, "a: 2").unwrap();
        assert!(noticed(&mut follow).await);
        let next = folder.path().join(".routes.yaml.swp");
        fs::write(&next, "a: 3").unwrap();
        fs::rename(&next, &file).unwrap();
        assert!(noticed(&mut follow).await);
        assert!(!follow.changed().await);
    }

    #[tokio::test]
    async fn a_link_that_is_swapped_as_kubernetes_does_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "a: 1"), ("..2", "a: 2")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("routes.yaml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/routes.yaml", at("routes.yaml")).unwrap();
        for paths in [vec![at("routes.yaml")], vec![folder.path().to_owned()]] {
            let mut follow = Follow::new(paths).await;
            let now = fs::read_link(at("..data")).unwrap();
            let other = if now == Path::new("..1") {
                "..2"
            } else {
                "..1"
            };
            symlink(other, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
            assert!(noticed(&mut follow).await);
        }
    }

    #[tokio::test]
    async fn files_that_come_to_a_folder_and_go_are_noticed_and_its_logs_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.yaml"), "a: 1").unwrap();
        let mut follow = Follow::new(vec![folder.path().to_owned()]).await;
        fs::write(at("access.log"), "line").unwrap();
        assert!(timeout(SETTLE * 3, follow.hint()).await.is_err());
        fs::write(at("b.yaml"), "b: 1").unwrap();
        assert!(noticed(&mut follow).await);
        fs::remove_file(at("b.yaml")).unwrap();
        assert!(noticed(&mut follow).await);
    }
}
