//! The process: builds the planes in order, joins their tasks, stops them in reverse.
//!
//! Start: bind every address, open the store, build the plan, serve. Stop: not ready, stop accepting, let requests in
//! flight finish, wait for the calls that store, close the store, flush the log. At the deadline what is left is cut
//! off and counted.

mod deploying;
mod follow;
mod listeners;
mod live;
mod reaper;
pub mod remote;
mod source;
mod stage;
mod stop;
mod storage;
mod trial;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::admin::deployments::Desk;
use crate::admin::{Admin, Configured, Exposition, Guard, Status};
use crate::aws::Clients;
use crate::forward::Forward;
use crate::integration::{Integration, StoreState, Targets};
use crate::limit::admission::Admission;
use crate::limit::shared::SharedStores;
use crate::limit::usage::Keeper;
use crate::limit::{self, CallerTable};
use crate::listen::{BindError, Bound, ListenerSpec};
use crate::outbound;
use crate::pipeline::Gateway;
use crate::plan::build::Shared;
use crate::plan::candidate::{Door, Origin, Outcome};
use crate::plan::{Blueprint, Current, VersionTables, admission, build};
use crate::store::Notice;
use crate::telemetry::{AccessLog, Metrics, Telemetry};

use listeners::{Listeners, Services};
use live::{Deployed, Live, sqs_api};
use reaper::Reaper;
use stop::{CLOSING, Stop, close_store, drain_all};
use storage::Storage;

pub use listeners::{ListenError, Listening};
pub use source::{Place, Source};
pub use storage::StorageError;

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Admin(#[from] BindError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the access log cannot be opened: {0}")]
    AccessLog(io::Error),
    #[error("the process cannot be set up: {0}")]
    Process(#[from] io::Error),
}

/// What was bound, for the banner.
pub struct Started {
    pub listeners: Vec<Listening>,
    pub admin: SocketAddr,
    /// The listener of the SQS protocol.
    pub sqs: Option<SocketAddr>,
    /// What an operator should know about the queues.
    pub notices: Vec<Notice>,
    /// Why the store could not be opened; routes that need it answer 503 until it can.
    pub store_unavailable: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything in flight was finished.
    Drained,
    /// Requests or calls were cut off at the deadline, or by a second signal.
    CutOff { requests: u64, calls: usize },
}

/// Runs a gateway until it is told to stop. `announce` is called once, when it serves.
pub async fn serve(
    blueprint: Blueprint,
    source: Source,
    announce: impl FnOnce(&Started),
) -> Result<Ended, StartError> {
    let mut stop = Stop::new()?;
    // From here on it does not end the process: one that comes before there is anything to reload waits.
    let hangup = signal(SignalKind::hangup())?;
    let mut listeners = Listeners::new();
    let bound = listeners.prepare(&blueprint).await?;
    listeners.expect(&bound);
    let admin_bound = Bound::bind(&ListenerSpec::new("admin", blueprint.admin.clone()))?;
    for name in crate::listen::untaken() {
        tracing::warn!(
            name,
            "A socket was passed under a name that no listener has; nobody answers there"
        );
    }
    let metrics = Metrics::new();
    let log = AccessLog::open(
        &blueprint.log_destination,
        blueprint.log_format.clone(),
        metrics.clone(),
    )
    .map_err(StartError::AccessLog)?;
    let telemetry = Telemetry::new(metrics.clone(), log);
    telemetry.captures.strike(&blueprint.carried());
    if let Err(error) = telemetry.captures.stand(blueprint.capture.as_ref()) {
        tracing::error!(%error, "Requests cannot be recorded");
    }

    let clients = Clients::new(blueprint.aws.clone());
    if touches_aws(&blueprint) {
        clients.warm();
    }
    let store_opened = Storage::is_needed(&blueprint);
    let before_opening = if store_opened {
        StoreState::Unavailable("the store is being opened".to_owned())
    } else {
        StoreState::Absent
    };
    let outbound = outbound::Client::new(blueprint.egress.clone());
    let targets = Targets::new(clients.clone(), before_opening).with_outbound(outbound.clone());
    let targets = Arc::new(targets);
    let usage = blueprint.usage();
    let mut keeper = Keeper::new(usage.clone(), blueprint.keys.clone());
    let forward = Forward::new(targets.clone(), blueprint.targets.clone(), metrics.clone());
    let stores = Arc::new(SharedStores::new(metrics.throttling.shared()));
    stores.connect();
    let version_tables = VersionTables::new(metrics.renewal.clone());
    let callers = Arc::new(CallerTable::new(
        CallerTable::ENTRIES,
        limit::Clock::monotonic(),
    ));
    let admission = Admission::new(
        &admission::settings(&blueprint),
        metrics.received.clone(),
        limit::Clock::monotonic(),
    );
    if let Err(error) = admission.watch() {
        tracing::error!(%error, "Nobody watches over memory and the wait for the CPU");
    }
    let shared = Shared {
        metrics: &metrics,
        targets: targets.clone(),
        forward: forward.clone(),
        keys: blueprint.keys.clone(),
        usage: usage.clone(),
        callers: callers.clone(),
        stores: stores.clone(),
        version_tables: version_tables.clone(),
        outbound: outbound.clone(),
        aws: clients.clone(),
        admission: admission.clone(),
        leaving: &[],
        rehearses: false,
        beside: false,
    };
    let gateway = Arc::new(Gateway::new(
        Current::new(build(&blueprint, &shared, None)),
        telemetry.clone(),
    ));

    let admin_address = admin_bound
        .ip_address()
        .ok_or_else(|| io::Error::other("the admin listener has no address"))?;
    let guard = Guard::new(blueprint.admin_token.clone(), admin_address.ip());
    let status = Status::new(Configured {
        plan: Arc::new((source.shown)(&blueprint)),
        store_needed: blueprint.store.needed,
        listeners: listeners.counted(),
        from: source.place.whence().to_string(),
        outcome: Outcome {
            hash: blueprint.id.to_string(),
            origin: Origin::Start,
            changed: true,
            warnings: Vec::new(),
            needs_restart: Vec::new(),
        },
        since: SystemTime::now(),
        refused: None,
        remark: source.remark.clone(),
    });
    let (door, behind) = Door::new();
    let (desk, orders) = Desk::new();
    // Asked while the store is being opened, it says that the gateway is not ready.
    let admin = Admin {
        gateway: gateway.clone(),
        exposition: Exposition::new(&metrics),
        status: status.clone(),
        door,
        guard: guard.clone(),
        desk,
    }
    .start(admin_bound)?;

    let mut storage = Storage::new(targets.clone(), forward.clone(), &blueprint.store);
    let mut notices = Vec::new();
    let mut store_unavailable = None;
    if store_opened {
        // Nobody is to get a quota twice, so what was used is known before anybody is served.
        let opening = storage.open_first(async |store| keeper.save(Some(store)).await);
        let opened = tokio::select! {
            opened = opening => opened?,
            // Connections that queue in the backlog are told by the kernel.
            () = stop.asked() => return Ok(Ended::Drained),
        };
        match opened {
            Ok(told) => notices = told,
            Err(reason) => store_unavailable = Some(reason),
        }
    }

    let folder = &blueprint.store.path;
    version_tables.read((store_opened || folder.is_dir()).then(|| folder.clone()));
    tokio::select! {
        // Bounded by the time that a table may take.
        () = version_tables.settled() => {}
        () = stop.asked() => return Ok(Ended::Drained),
    }

    let keeping = keeper.run({
        let targets = targets.clone();
        move || match targets.store_state() {
            StoreState::Open(store) => Some(store),
            StoreState::Absent | StoreState::Unavailable(_) => None,
        }
    });

    let services = Services {
        gateway: gateway.clone(),
        sqs: blueprint
            .sqs
            .as_ref()
            .map(|sqs| sqs_api(sqs, &targets, &metrics)),
    };
    let drain = blueprint.limits.drain;
    let source_folder = source.folder();
    let mut live = Live {
        texts: source.texts.clone(),
        admin: blueprint.admin.clone(),
        running: blueprint,
        source,
        services,
        listeners,
        storage,
        metrics,
        targets: targets.clone(),
        forward: forward.clone(),
        outbound,
        aws: clients,
        callers,
        stores,
        version_tables,
        admission,
        succession: keeping.succession(),
        guard,
        status,
        reaper: Reaper::default(),
        said: String::new(),
        pending: None,
        deployed: Deployed::new(orders.listing, &source_folder),
    };
    // A rollback and a canary outlive the process, so they are back before anybody is served.
    Box::pin(live.resume()).await;
    live.listeners.publish(bound, &live.services, drain).await;
    announce(&Started {
        listeners: live.listeners.listening(),
        admin: admin_address,
        sqs: live.listeners.sqs(),
        notices,
        store_unavailable,
    });

    // A listener that ends by itself has failed: its port is gone, so the gateway stops in good order.
    let failed = tokio::select! {
        () = stop.asked() => None,
        error = Box::pin(live.run(behind, orders.asked, hangup)) => Some(error),
    };
    live.storage.give_up();
    if let Some(error) = &failed {
        tracing::error!(%error, "A listener has failed");
    }
    let deadline = Instant::now() + live.running.limits.drain;
    let ended = drain_all(
        &gateway,
        &mut live.listeners,
        &targets,
        &forward,
        deadline,
        &mut stop,
    )
    .await;
    drop(admin);
    drop(live);
    keeping.finish(deadline + CLOSING).await;
    if let StoreState::Open(store) = targets.store_state() {
        close_store(&store, deadline, &mut stop).await;
    }
    drop(telemetry);
    failed.map_or(Ok(ended), Err)
}

/// Whether some route calls AWS.
fn touches_aws(blueprint: &Blueprint) -> bool {
    let mut targets = blueprint.routes().flat_map(|route| route.targets());
    let mut versions = blueprint
        .apis
        .iter()
        .filter_map(|api| api.versions.as_ref());
    targets.any(Integration::touches_aws) || versions.any(|versions| versions.kept().is_some())
}
