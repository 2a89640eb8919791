//! The listeners that run: bound, steered to other terms, handed from name to name, and ended when a configuration no
//! longer has them. `prepare` binds and reads what is new and may fail; `publish` brings it into use.
//!
//! A listener is known by its name, and its socket by the address as it is written. A socket whose address is wanted by
//! another name changes hands with its backlog, so renaming and swapping listeners refuses no connection.

use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use crate::listen::{
    BindError, Bound, BoundAddress, ConnectionLimits, DrainHandle, Drained, ListenStats,
    ListenerSpec, Steering, Terms, Tls, TlsError, run_steered,
};
use crate::pipeline::Gateway;
use crate::plan::Blueprint;
use crate::plan::blueprint::ListenerBlueprint;
use crate::sqs_api::SqsApi;
use crate::stack::Front;
use crate::telemetry::metrics::Name;

/// The name of the listener of the SQS protocol.
const SQS: &str = "sqs";

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("Listener `{listener}`: {source}")]
    Tls {
        listener: Arc<str>,
        source: TlsError,
    },
    #[error("the listeners cannot be set up: {0}")]
    Process(io::Error),
}

/// A listener that was bound.
pub struct Listening {
    pub name: Arc<str>,
    pub address: BoundAddress,
    pub tls: bool,
}

/// What answers the requests of listeners.
pub(super) struct Services {
    pub(super) gateway: Arc<Gateway>,
    pub(super) sqs: Option<SqsApi>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Http(Arc<str>),
    Sqs,
}

impl Key {
    fn name(&self) -> Arc<str> {
        match self {
            Key::Http(name) => name.clone(),
            Key::Sqs => SQS.into(),
        }
    }
}

/// A listener at work.
struct Running {
    key: Key,
    /// As it is written.
    bind: String,
    mode: u32,
    blueprint: ListenerBlueprint,
    address: BoundAddress,
    steering: Steering,
    drain: DrainHandle,
    task: Id,
}

/// A listener whose connections finish what they are at.
struct Leaving {
    name: Arc<str>,
    drain: DrainHandle,
    task: Id,
}

/// How a wanted listener comes by its socket.
enum Way {
    /// It has it.
    Stays,
    /// Another one gives it away.
    Inherits(Key),
    Bound(Bound),
}

struct Wanted {
    key: Key,
    blueprint: ListenerBlueprint,
    terms: Arc<Terms>,
    way: Way,
}

/// Listeners as a configuration wants them: everything is opened, and nothing is served yet.
pub(super) struct Changes {
    wanted: Vec<Wanted>,
    limits: ConnectionLimits,
}

/// The listeners of the process, without the admin listener.
pub(super) struct Listeners {
    limits: watch::Sender<ConnectionLimits>,
    running: Vec<Running>,
    leaving: Vec<Leaving>,
    /// Of every listener there has been: counters do not go back.
    stats: IndexMap<Key, Arc<ListenStats>>,
    tasks: JoinSet<io::Result<Drained>>,
    /// A socket that was to change hands, and has not.
    lost: Option<io::Error>,
}

impl Listeners {
    /// None yet.
    pub(super) fn new() -> Listeners {
        Listeners {
            limits: watch::Sender::new(ConnectionLimits::default()),
            running: Vec::new(),
            leaving: Vec::new(),
            stats: IndexMap::new(),
            tasks: JoinSet::new(),
            lost: None,
        }
    }

    /// Binds the addresses and reads the certificates that are new.
    pub(super) async fn prepare(&self, blueprint: &Blueprint) -> Result<Changes, ListenError> {
        let mut listeners: Vec<(Key, ListenerBlueprint)> = blueprint
            .listeners
            .iter()
            .map(|listener| (Key::Http(listener.name.clone()), listener.clone()))
            .collect();
        if let Some(sqs) = &blueprint.sqs {
            let plain = ListenerBlueprint::plain(SQS, sqs.bind.clone());
            listeners.push((Key::Sqs, plain));
        }
        let stays = |key: &Key, bind: &str| {
            let mut running = self.running.iter();
            running.any(|running| running.key == *key && running.bind == bind)
        };
        let staying: Vec<bool> = listeners
            .iter()
            .map(|(key, listener)| stays(key, &listener.bind))
            .collect();
        let mut free: Vec<&Running> = self
            .running
            .iter()
            .filter(|running| {
                let kept = |(key, listener): &(Key, ListenerBlueprint)| {
                    *key == running.key && listener.bind == running.bind
                };
                !listeners.iter().any(kept)
            })
            .collect();
        let mut wanted = Vec::new();
        for ((key, listener), stays) in listeners.into_iter().zip(staying) {
            let heir_of = free.iter().position(|free| free.bind == listener.bind);
            let before = match (stays, heir_of) {
                (true, _) => self.running.iter().find(|running| running.key == key),
                (false, Some(at)) => Some(free.swap_remove(at)),
                (false, None) => None,
            };
            let known = before.filter(|before| same_terms(&before.blueprint, &listener));
            let certificates = before.filter(|before| before.blueprint.tls == listener.tls);
            let opened = Opened {
                terms: known.map(|before| before.steering.terms()),
                tls: certificates.and_then(|before| before.steering.terms().tls.clone()),
                binds: before.is_none(),
            };
            let opening = listener.clone();
            let (terms, bound) = tokio::task::spawn_blocking(move || opened.open(&opening))
                .await
                .map_err(|error| ListenError::Process(io::Error::other(error)))??;
            let way = match (bound, before) {
                (Some(bound), _) => Way::Bound(bound),
                (None, Some(before)) if !stays => Way::Inherits(before.key.clone()),
                (None, _) => Way::Stays,
            };
            wanted.push(Wanted {
                key,
                blueprint: listener,
                terms,
                way,
            });
        }
        Ok(Changes {
            wanted,
            limits: connection_limits(blueprint),
        })
    }

    /// Brings prepared listeners into use. Those that are wanted no longer stop accepting, and their connections have
    /// `drain` to finish.
    pub(super) async fn publish(&mut self, changes: Changes, services: &Services, drain: Duration) {
        self.limits.send_if_modified(|limits| {
            let changed = *limits != changes.limits;
            *limits = changes.limits;
            changed
        });
        let mut before = std::mem::take(&mut self.running);
        let mut of = |key: &Key| {
            let at = before.iter().position(|running| running.key == *key)?;
            Some(before.swap_remove(at))
        };
        let mut arriving = Vec::new();
        for wanted in changes.wanted {
            match &wanted.way {
                Way::Stays => {
                    if let Some(stays) = of(&wanted.key) {
                        self.running.push(stays.with(wanted));
                    }
                }
                Way::Inherits(from) => {
                    if let Some(from) = of(from) {
                        let name = wanted.key.name();
                        arriving.push((wanted, Socket::Of(Box::new(from), name)));
                    }
                }
                Way::Bound(_) => arriving.push((wanted, Socket::Own)),
            }
        }
        // Those that arrive are there before those that leave have gone.
        for (wanted, socket) in arriving {
            let bound = match (socket, wanted.way) {
                (Socket::Own, Way::Bound(bound)) => Some(bound),
                (Socket::Of(from, name), _) => {
                    let (steering, leaving) = from.leave();
                    let given = steering.take().await;
                    leaving.drain.start(drain);
                    self.leaving.push(leaving);
                    given.map(|bound| bound.renamed(name))
                }
                (Socket::Own, _) => None,
            };
            match bound {
                Some(bound) => {
                    self.start(wanted.key, wanted.blueprint, wanted.terms, bound, services)
                }
                None => self.lost = Some(io::Error::other("a listener has ended")),
            }
        }
        for gone in before {
            tracing::info!(listener = %gone.key.name(), address = %gone.address, "This listener takes no more connections; those that are open finish");
            let (_, leaving) = gone.leave();
            leaving.drain.start(drain);
            self.leaving.push(leaving);
        }
    }

    fn start(
        &mut self,
        key: Key,
        blueprint: ListenerBlueprint,
        terms: Arc<Terms>,
        bound: Bound,
        services: &Services,
    ) {
        let address = bound.address().clone();
        let (steering, steered) = Steering::new(terms);
        let (handle, drain) = DrainHandle::new();
        let stats = self.stats.entry(key.clone()).or_default().clone();
        let limits = self.limits.subscribe();
        let task = match (&key, &services.sqs) {
            (Key::Sqs, Some(api)) => {
                let serving = run_steered(bound, steered, limits, api.clone(), drain, stats);
                self.tasks.spawn(serving)
            }
            (Key::Sqs, None) => return,
            (Key::Http(_), _) => {
                let front = Front(services.gateway.clone());
                let serving = run_steered(bound, steered, limits, front, drain, stats);
                self.tasks.spawn(serving)
            }
        };
        tracing::debug!(listener = %key.name(), %address, "Listening");
        self.running.push(Running {
            key,
            bind: blueprint.bind.clone(),
            mode: blueprint.mode,
            blueprint,
            address,
            steering,
            drain: handle,
            task: task.id(),
        });
    }

    /// The names of listeners that the blueprint does not have and that may still have connections.
    pub(super) fn leaving(&self, blueprint: &Blueprint) -> Vec<Arc<str>> {
        let running = self.running.iter().map(|running| running.key.name());
        let leaving = self.leaving.iter().map(|leaving| leaving.name.clone());
        let is_kept = |name: &Arc<str>| blueprint.listeners.iter().any(|kept| kept.name == *name);
        let mut names: Vec<_> = running
            .chain(leaving)
            .filter(|name| !is_kept(name))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Counts for listeners that are about to start.
    pub(super) fn expect(&mut self, changes: &Changes) {
        for wanted in &changes.wanted {
            self.stats.entry(wanted.key.clone()).or_default();
        }
    }

    /// What every listener counts, by name.
    pub(super) fn counted(&self) -> Vec<(Name, Arc<ListenStats>)> {
        let named = |(key, stats): (&Key, &Arc<ListenStats>)| (Name(key.name()), stats.clone());
        self.stats.iter().map(named).collect()
    }

    /// Where requests are taken.
    pub(super) fn listening(&self) -> Vec<Listening> {
        let http = |running: &&Running| matches!(running.key, Key::Http(_));
        let of = |running: &Running| Listening {
            name: running.key.name(),
            address: running.address.clone(),
            tls: running.steering.terms().tls.is_some(),
        };
        self.running.iter().filter(http).map(of).collect()
    }

    /// Where the SQS protocol is spoken.
    pub(super) fn sqs(&self) -> Option<std::net::SocketAddr> {
        let sqs = self
            .running
            .iter()
            .find(|running| running.key == Key::Sqs)?;
        match sqs.address {
            BoundAddress::Ip(address) => Some(address),
            BoundAddress::Unix(_) => None,
        }
    }

    /// Waits until a listener ends that should not: its port is gone.
    pub(super) async fn failed(&mut self) -> io::Error {
        if let Some(error) = self.lost.take() {
            return error;
        }
        loop {
            let Some(ended) = self.tasks.join_next_with_id().await else {
                return std::future::pending().await;
            };
            let (task, error) = match ended {
                Ok((task, Ok(drained))) => {
                    if drained.requests > 0 {
                        tracing::warn!(
                            requests = drained.requests,
                            "Requests on a listener that is no longer configured were cut off"
                        );
                    }
                    (task, io::Error::other("a listener has ended"))
                }
                Ok((task, Err(error))) => (task, error),
                Err(error) => (error.id(), io::Error::other(error)),
            };
            if self.running.iter().any(|running| running.task == task) {
                return error;
            }
            self.leaving.retain(|leaving| leaving.task != task);
        }
    }

    /// Has every listener stop accepting and its connections end in that time.
    pub(super) fn drain(&self, within: Duration) {
        let running = self.running.iter().map(|running| &running.drain);
        let leaving = self.leaving.iter().map(|leaving| &leaving.drain);
        running.chain(leaving).for_each(|drain| drain.start(within));
    }

    /// The next listener to have ended; `None` when all have.
    pub(super) async fn ended(&mut self) -> Option<io::Result<Drained>> {
        let ended = self.tasks.join_next().await?;
        Some(ended.unwrap_or_else(|error| Err(io::Error::other(error))))
    }
}

/// Where the socket of a listener that arrives comes from.
enum Socket {
    Own,
    /// From this one, to be called so.
    Of(Box<Running>, Arc<str>),
}

impl Running {
    /// The same socket on the terms that are wanted.
    fn with(mut self, wanted: Wanted) -> Running {
        if !Arc::ptr_eq(&self.steering.terms(), &wanted.terms) {
            self.steering.change(wanted.terms);
        }
        if self.mode != wanted.blueprint.mode {
            self.mode = wanted.blueprint.mode;
            if let BoundAddress::Unix(path) = &self.address
                && let Err(error) = set_permissions(path, Permissions::from_mode(self.mode))
            {
                tracing::error!(%error, path = %path.display(), "The permissions of this socket cannot be changed");
            }
        }
        self.blueprint = wanted.blueprint;
        self
    }

    fn leave(self) -> (Steering, Leaving) {
        let leaving = Leaving {
            name: self.key.name(),
            drain: self.drain,
            task: self.task,
        };
        (self.steering, leaving)
    }
}

/// What a listener that is wanted has already.
struct Opened {
    terms: Option<Arc<Terms>>,
    tls: Option<Arc<Tls>>,
    binds: bool,
}

impl Opened {
    /// Opens the rest. Blocks.
    fn open(
        self,
        listener: &ListenerBlueprint,
    ) -> Result<(Arc<Terms>, Option<Bound>), ListenError> {
        let bound = match self.binds {
            true => Some(Bound::bind(&ListenerSpec {
                mode: listener.mode,
                ..ListenerSpec::new(listener.name.clone(), listener.bind.clone())
            })?),
            false => None,
        };
        if let Some(terms) = self.terms {
            return Ok((terms, bound));
        }
        let tls = match (self.tls, &listener.tls) {
            (Some(tls), Some(_)) => Some(tls),
            (_, None) => None,
            (None, Some(spec)) => {
                let opened = Tls::open(spec.clone()).map_err(|source| ListenError::Tls {
                    listener: listener.name.clone(),
                    source,
                })?;
                Some(Arc::new(opened))
            }
        };
        let terms = Terms {
            proxy_protocol: listener.proxy_protocol,
            trust: Arc::new(listener.trust.clone()),
            tls,
        };
        Ok((Arc::new(terms), bound))
    }
}

fn same_terms(a: &ListenerBlueprint, b: &ListenerBlueprint) -> bool {
    a.tls == b.tls && a.proxy_protocol == b.proxy_protocol && a.trust == b.trust
}

fn connection_limits(blueprint: &Blueprint) -> ConnectionLimits {
    let limits = &blueprint.limits;
    ConnectionLimits {
        header_timeout: limits.header_timeout,
        idle_timeout: limits.idle_timeout,
        connections: limits.connections,
        per_address: limits.connections_per_address,
        age: limits.connection_age,
        ..ConnectionLimits::default()
    }
    .above(
        usize::try_from(limits.head_bytes).unwrap_or(usize::MAX),
        limits.header_count,
    )
}
