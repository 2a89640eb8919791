//! A plan that only tells what would become of requests: nothing is sent, opened or counted.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;

use crate::aws::Clients;
use crate::forward::Forward;
use crate::integration::{StoreState, Targets};
use crate::limit::admission::Admission;
use crate::limit::shared::SharedStores;
use crate::limit::{CallerTable, Clock};
use crate::model::call::Call;
use crate::model::certificate::ClientCert;
use crate::model::identity::Identity;
use crate::model::peer::Peer;
use crate::outbound;
use crate::pipeline::{self, Explanation};
use crate::plan::blueprint::ListenerBlueprint;
use crate::plan::build::Shared;
use crate::plan::{Blueprint, Plan, VersionTables, admission, build};
use crate::telemetry::access_log::Destination;
use crate::telemetry::exchange::Exchange;
use crate::telemetry::log_format::LogFormat;
use crate::telemetry::{AccessLog, Metrics, Telemetry};

/// Who sends a request, by the connection.
pub struct Client {
    pub ip: IpAddr,
    /// The VPC endpoint that it comes through.
    pub vpce: Option<Arc<str>>,
    pub certificate: Option<Arc<ClientCert>>,
}

impl From<IpAddr> for Client {
    fn from(ip: IpAddr) -> Client {
        Client {
            ip,
            vpce: None,
            certificate: None,
        }
    }
}

/// What was known of a request when it was served.
pub struct Recorded {
    pub identity: Identity,
    pub deployment: Option<Arc<str>>,
}

/// A plan that rehearses.
pub struct Rehearsal {
    plan: Plan,
    telemetry: Arc<Telemetry>,
}

impl Rehearsal {
    /// Builds it.
    pub fn of(blueprint: &Blueprint) -> io::Result<Rehearsal> {
        let metrics = Metrics::new();
        let log = AccessLog::open(&Destination::None, LogFormat::Json, metrics.clone())?;
        let clients = Clients::new(blueprint.aws.clone());
        let targets = Targets::new(clients.clone(), StoreState::Absent);
        let targets = Arc::new(targets);
        let plan = build(
            blueprint,
            &Shared {
                metrics: &metrics,
                forward: Forward::new(targets.clone(), blueprint.targets.clone(), metrics.clone()),
                targets,
                keys: blueprint.keys.clone(),
                usage: blueprint.usage(),
                callers: Arc::new(CallerTable::new(CallerTable::ENTRIES, Clock::monotonic())),
                stores: Arc::new(SharedStores::new(metrics.throttling.shared())),
                version_tables: VersionTables::new(metrics.renewal.clone()),
                outbound: outbound::Client::new(blueprint.egress.clone()),
                admission: Admission::new(
                    &admission::settings(blueprint),
                    metrics.received.clone(),
                    Clock::monotonic(),
                ),
                leaving: &[],
                rehearses: true,
                beside: false,
                aws: clients,
            },
            None,
        );
        Ok(Rehearsal {
            plan,
            telemetry: Telemetry::new(metrics, log),
        })
    }

    /// A request as it would come in: on this listener, or on the first one that has a route for it.
    pub fn call(
        &self,
        blueprint: &Blueprint,
        head: Parts,
        listener: Option<&str>,
        from: Client,
    ) -> Arc<Call> {
        let peer = Arc::new(self.peer(blueprint, &head, listener, from));
        Arc::new(Call::new(head, peer))
    }

    /// What would become of it.
    pub async fn explain(
        &self,
        call: &Arc<Call>,
        body: &Bytes,
        recorded: Option<&Recorded>,
    ) -> Explanation {
        let chosen = self.plan.choose(call).map(|chosen| chosen.api);
        let (api, stage) = chosen.map_or_else(Default::default, |api| {
            (api.name.clone(), api.stage.clone())
        });
        let mut exchange = Exchange::open(self.telemetry.clone(), call.clone(), api, stage);
        let deployment = recorded.and_then(|recorded| recorded.deployment.as_ref());
        exchange.deployed(deployment.unwrap_or(&self.plan.deployment).clone(), None);
        let identity = recorded.map(|recorded| &recorded.identity);
        pipeline::explain(&self.plan, call, body, exchange, identity).await
    }

    /// The deployment that it rehearses.
    pub fn deployment(&self) -> &Arc<str> {
        &self.plan.deployment
    }

    /// The connection that a request comes in on.
    fn peer(
        &self,
        blueprint: &Blueprint,
        head: &Parts,
        named: Option<&str>,
        client: Client,
    ) -> Peer {
        let from = SocketAddr::new(client.ip, 0);
        let anywhere = Arc::new(Peer::tcp(from, from, ""));
        let call = Call::new(head.clone(), anywhere);
        let chosen = self.plan.choose(&call);
        let serves = |listener: &&ListenerBlueprint| match named {
            Some(name) => *listener.name == *name,
            None => self.plan.listener(&listener.name).is_some_and(|listener| {
                let chosen = chosen.as_ref();
                let path = chosen.and_then(|chosen| chosen.api.below_stage(chosen.path));
                let matcher = chosen.and_then(|chosen| listener.routes_of(chosen.api));
                path.zip(matcher)
                    .is_some_and(|(path, matcher)| matcher.find(&call.method, path, true).is_ok())
            }),
        };
        let mut listeners = blueprint.listeners.iter();
        let listener = listeners.find(serves).or(blueprint.listeners.first());
        let name = listener.map_or_else(|| "public".into(), |listener| listener.name.clone());
        Peer {
            vpce: client.vpce,
            client_cert: client.certificate,
            secure: listener.is_some_and(|listener| listener.tls.is_some()),
            trust: Arc::new(
                listener
                    .map(|listener| listener.trust.clone())
                    .unwrap_or_default(),
            ),
            ..Peer::tcp(from, from, name)
        }
    }
}
