//! The embedded store, from the process's side: opened when something needs it, tried again when the disk does not give
//! it, its queues as the running configuration declares them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::task::AbortOnDropHandle;

use crate::forward::Forward;
use crate::integration::{StoreState, Targets};
use crate::plan::Blueprint;
use crate::plan::blueprint::StoreBlueprint;
use crate::store::{DeclareError, Notice, OpenError, Options, Store};

/// How often opening a store that cannot be used is tried again.
const REOPEN_EVERY: Duration = Duration::from_secs(2);

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Queues(#[from] DeclareError),
    #[error("the store cannot be opened: {0}")]
    Process(io::Error),
}

impl StorageError {
    /// Whether it may pass by itself: the disk does not give the store. One that another process holds, or that a later
    /// version wrote, needs a person.
    pub(super) fn passes(&self) -> bool {
        match self {
            StorageError::Open(error) => matches!(
                error,
                OpenError::Corrupt { .. }
                    | OpenError::ReadOnly { .. }
                    | OpenError::Full { .. }
                    | OpenError::Io { .. }
            ),
            StorageError::Queues(DeclareError::Store(error)) => error.is_transient(),
            _ => false,
        }
    }
}

/// The store of the process.
pub(super) struct Storage {
    targets: Arc<Targets>,
    forward: Arc<Forward>,
    /// As the running configuration has it; whoever tries to open it looks here.
    wanted: Arc<ArcSwap<StoreBlueprint>>,
    /// Where the store is that is open, or is about to be.
    place: Option<(PathBuf, u64)>,
    reopening: Option<AbortOnDropHandle<()>>,
}

/// What a configuration asks of the store, found to be possible.
pub(super) enum Step {
    /// Nothing, or nothing that could be done now: there is none, or it cannot be used.
    None,
    Declare(Store),
    /// It was opened for this configuration.
    Opened(Store),
}

impl Storage {
    /// None yet.
    pub(super) fn new(
        targets: Arc<Targets>,
        forward: Arc<Forward>,
        wanted: &StoreBlueprint,
    ) -> Storage {
        Storage {
            targets,
            forward,
            wanted: Arc::new(ArcSwap::from_pointee(wanted.clone())),
            place: None,
            reopening: None,
        }
    }

    /// Whether the blueprint needs a store, or an earlier configuration has left one, whose spools are forwarded all the
    /// same.
    pub(super) fn is_needed(blueprint: &Blueprint) -> bool {
        blueprint.store.needed || blueprint.has_quotas() || Store::exists(&blueprint.store.path)
    }

    /// Opens the store at the start. `Ok(Err)`, with the reason: the disk does not give it, and it is tried again.
    pub(super) async fn open_first(
        &mut self,
        keep: impl AsyncFnOnce(&Store),
    ) -> Result<Result<Vec<Notice>, String>, StorageError> {
        let wanted = self.wanted.load_full();
        self.place = Some((wanted.path.clone(), wanted.max_size));
        let error = match open_and_declare(&wanted, wanted.wait).await {
            Ok((store, notices)) => {
                keep(&store).await;
                self.targets.set_store(StoreState::Open(store));
                self.forward.start();
                return Ok(Ok(notices));
            }
            Err(error) => error,
        };
        if !error.passes() {
            return Err(error);
        }
        tracing::error!(%error, "The store cannot be used; routes that need it answer 503");
        let reason = error.to_string();
        self.targets
            .set_store(StoreState::Unavailable(reason.clone()));
        let reopening = reopen(
            self.wanted.clone(),
            self.targets.clone(),
            self.forward.clone(),
        );
        self.reopening = Some(AbortOnDropHandle::new(tokio::spawn(reopening)));
        Ok(Err(reason))
    }

    /// What the blueprint changes about a store that only a restart brings into use.
    pub(super) fn needs_restart(&self, blueprint: &StoreBlueprint) -> Vec<&'static str> {
        let Some((path, max_size)) = &self.place else {
            return Vec::new();
        };
        let changed = [
            ("store.path", blueprint.path != *path),
            ("store.max_size", blueprint.max_size != *max_size),
        ];
        let changed = changed.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(what, _)| what).collect()
    }

    /// Finds out whether the store can be as the blueprint has it, and opens it if there is none yet. Nothing is declared.
    pub(super) async fn prepare(&self, blueprint: &Blueprint) -> Result<Step, StorageError> {
        let queues = &blueprint.store.queues;
        match self.targets.store_state() {
            StoreState::Open(store) => {
                store.would_declare(queues)?;
                Ok(Step::Declare(store))
            }
            StoreState::Unavailable(_) => Ok(Step::None),
            StoreState::Absent if Storage::is_needed(blueprint) => {
                let store = open(&blueprint.store, Duration::ZERO).await?;
                if let Err(error) = store.would_declare(queues) {
                    store.close().await;
                    return Err(error.into());
                }
                Ok(Step::Opened(store))
            }
            StoreState::Absent => Ok(Step::None),
        }
    }

    /// Declares the queues: the one part of publishing that the disk may refuse, so it comes first.
    pub(super) async fn publish(
        &mut self,
        step: &Step,
        blueprint: &StoreBlueprint,
    ) -> Result<Vec<Notice>, StorageError> {
        let notices = match step {
            Step::None => Vec::new(),
            Step::Declare(store) => store.declare(blueprint.queues.clone()).await?,
            Step::Opened(store) => {
                let notices = match store.declare(blueprint.queues.clone()).await {
                    Ok(notices) => notices,
                    Err(error) => {
                        store.close().await;
                        return Err(error.into());
                    }
                };
                self.place = Some((blueprint.path.clone(), blueprint.max_size));
                self.targets.set_store(StoreState::Open(store.clone()));
                self.forward.start();
                notices
            }
        };
        // A store that cannot be used is opened where it is, with the queues that are wanted by then.
        let place = self.wanted.load();
        let kept = match &self.place {
            Some(_) if !matches!(step, Step::Opened(_)) => StoreBlueprint {
                path: place.path.clone(),
                max_size: place.max_size,
                ..blueprint.clone()
            },
            _ => blueprint.clone(),
        };
        self.wanted.store(Arc::new(kept));
        Ok(notices)
    }

    /// Tries no longer to open a store that cannot be used.
    pub(super) fn give_up(&mut self) {
        self.reopening = None;
    }
}

async fn open(blueprint: &StoreBlueprint, wait: Duration) -> Result<Store, StorageError> {
    let options = Options {
        max_size: blueprint.max_size,
        lock_wait: wait,
        ..Options::new(blueprint.path.clone())
    };
    let opened = tokio::task::spawn_blocking(move || Store::open(options))
        .await
        .map_err(|error| StorageError::Process(io::Error::other(error)))?;
    Ok(opened?)
}

async fn open_and_declare(
    blueprint: &StoreBlueprint,
    wait: Duration,
) -> Result<(Store, Vec<Notice>), StorageError> {
    let store = open(blueprint, wait).await?;
    let notices = store.declare(blueprint.queues.clone()).await?;
    Ok((store, notices))
}

/// Tries until the store can be opened.
async fn reopen(
    wanted: Arc<ArcSwap<StoreBlueprint>>,
    targets: Arc<Targets>,
    forward: Arc<Forward>,
) {
    let mut said = String::new();
    loop {
        tokio::time::sleep(REOPEN_EVERY).await;
        let blueprint = wanted.load_full();
        match open_and_declare(&blueprint, Duration::ZERO).await {
            Ok((store, _)) => {
                tracing::info!("The store can be used again");
                targets.set_store(StoreState::Open(store));
                forward.start();
                return;
            }
            Err(error) => {
                let reason = error.to_string();
                if reason != said {
                    tracing::error!(%error, "The store still cannot be used");
                    targets.set_store(StoreState::Unavailable(reason.clone()));
                    said = reason;
                }
            }
        }
    }
}
