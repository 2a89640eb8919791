//! From a configuration to a blueprint: pure, and every problem at once. What one value can say about itself has been
//! checked when it was read; here values are held against each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use crate::aws;
use crate::config::{Config, Dialect, Queue};
use crate::deploy::DeploymentId;
use crate::model::path::ConfigPath;
use crate::model::problem::{Place, Problems, nearest};
use crate::model::value::{ByteSize, MemoryShare, QueueName, Span};
use crate::outbound;
use crate::store::{QueueSpec, Redrive};
use crate::telemetry::log_format::LogFormat;

use super::blueprint::{
    ApiBlueprint, Blueprint, GatewayLimits, ListenerBlueprint, RouteBlueprint, StoreBlueprint,
};
use super::cors::CorsPolicy;
use super::error_responses::ErrorResponses;
use super::hosts::{Mount, Neighbour};
use super::listeners::check_bind;
use super::versions::{Named, Versions};
use super::{
    admission, delivery, deployment, hosts, keys, listeners, records, routes, sqs, throttle, usage,
};

/// How long work may wait for the CPU, unless `limits.cpu_wait` says otherwise.
const CPU_WAIT: Duration = Duration::from_millis(100);

/// What compiling needs to know of the files: the API's default name, and where relative paths begin.
pub struct Origin<'a> {
    pub api: &'a str,
    pub id: DeploymentId,
    /// The folder that relative paths under a configuration path are seen from.
    pub directory: &'a dyn Fn(&ConfigPath) -> PathBuf,
    /// Where a part was written.
    pub place: &'a dyn Fn(&ConfigPath) -> Option<Place>,
}

/// One API's configuration, the process's sections included, with where it was written.
pub struct Written<'a> {
    pub config: &'a Config,
    pub origin: &'a Origin<'a>,
}

/// Checks the configuration of one API. `None` when it holds errors; warnings may stand beside a blueprint.
pub fn compile(config: &Config, origin: &Origin<'_>, problems: &mut Problems) -> Option<Blueprint> {
    let mut found = [std::mem::take(problems)];
    let blueprint = compile_apis(&[Written { config, origin }], &mut found);
    let [found] = found;
    *problems = found;
    blueprint
}

/// Checks the configurations of several APIs; what they share is taken from the first. `found`: the problems of each,
/// in the same order. `None` when there are errors, and when there is no API.
pub fn compile_apis(apis: &[Written<'_>], found: &mut [Problems]) -> Option<Blueprint> {
    let errors = |found: &[Problems]| found.iter().map(Problems::errors).sum::<usize>();
    let before = errors(found);
    let Written { config, origin } = apis.first()?;
    let root = ConfigPath::root();
    let (first, _) = found.split_first_mut()?;
    let listeners = listeners::compile(config, origin, first);
    let exposed = listeners.iter().any(|listener| !listener.is_local());
    let configs: Vec<&Config> = apis.iter().map(|api| api.config).collect();
    let usage_plans = usage::compile(&configs, first);
    let keys = keys::compile(config, exposed, first);
    let queues = queues(config, first);
    let (log_destination, log_format) = records::access_log(config, origin, first);
    let targets = delivery::settings(config, first);
    let mut compiled: Vec<ApiBlueprint> = apis
        .iter()
        .zip(&mut *found)
        .map(|(api, problems)| compile_api(api, &listeners, problems))
        .collect();
    versions(apis, &mut compiled, found);
    tell_apart(apis, &compiled, found);
    let (problems, _) = found.split_first_mut()?;
    let routes: Vec<&RouteBlueprint> = compiled.iter().flat_map(|api| &api.routes).collect();
    let written = configs.iter().map(|config| config.routes.len()).sum();
    delivery::unused(config, &routes, written, problems);
    let admin = config
        .admin
        .as_ref()
        .map_or_else(|| "127.0.0.1:9901".to_owned(), |admin| admin.bind.clone());
    check_admin(&admin, &listeners, problems);
    let aws = config.aws.clone().unwrap_or_default();
    aws::check(&aws, &root.key("aws"), problems);
    let egress = egress(config, origin, problems);
    let secrets_refresh = secrets_refresh(config, problems);
    let store = store(config, origin, queues, &routes, problems);
    let sqs = sqs::compile(config, &listeners, &admin, problems);
    // The vendor allows the smaller head: it holds where all speak its dialect.
    let all_vendor = compiled.iter().all(|api| api.dialect == Dialect::Aws);
    let head_default = if all_vendor {
        Dialect::Aws
    } else {
        Dialect::Native
    };
    let limits = limits(config, head_default, problems);
    let capture = records::capture(config, origin, &routes, problems);
    let target_places = admission::target_places(config, &limits, problems);
    admission::check_bodies(&limits, &routes, problems);
    let auth_failures = throttle::failures(
        config.auth_failures.as_ref(),
        &root.key("auth_failures"),
        problems,
    );
    let deployment = deployment::compile(&config.deployment, problems);
    if errors(found) > before {
        return None;
    }
    Some(Blueprint {
        id: origin.id.clone(),
        apis: compiled,
        listeners,
        admin,
        admin_token: config.admin.as_ref().and_then(|admin| admin.token.clone()),
        aws,
        egress,
        secrets_refresh,
        store,
        sqs,
        limits,
        auth_failures,
        keys,
        usage_plans,
        targets,
        target_places,
        deployment,
        log_destination,
        log_format: log_format.unwrap_or(LogFormat::Json),
        capture,
        redacted: records::redacted(config),
    })
}

/// What is one API's own.
fn compile_api(
    api: &Written<'_>,
    listeners: &[ListenerBlueprint],
    problems: &mut Problems,
) -> ApiBlueprint {
    let Written { config, origin } = api;
    let dialect = config.responses.unwrap_or_default();
    let stage_variables = stage_variables(config, problems);
    let cors = config.cors.as_ref().and_then(|cors| {
        let at = ConfigPath::root().key("cors");
        CorsPolicy::compile(cors, &at, problems)
    });
    let routes = routes::compile(config, dialect, &stage_variables, listeners, problems);
    let name = config.api.as_deref().unwrap_or(origin.api);
    ApiBlueprint {
        name: name.into(),
        mount: Mount::compile(config, problems),
        is_version: false,
        versions: None,
        error_responses: ErrorResponses::compile(
            &config.error_responses,
            &ConfigPath::root().key("error_responses"),
            problems,
        ),
        stage: config.stage.clone().unwrap_or_default(),
        stage_variables: Arc::new(stage_variables),
        dialect,
        trailing_slash: config.trailing_slash.unwrap_or_default(),
        cors,
        routes,
    }
}

/// The versions that APIs stand in front of, and which APIs are reached as such alone.
fn versions(written: &[Written<'_>], apis: &mut [ApiBlueprint], found: &mut [Problems]) {
    let at = ConfigPath::root().key("versions");
    let mut compiled = Vec::new();
    for (written, problems) in written.iter().zip(found) {
        let named: Vec<Named<'_>> = apis
            .iter()
            .map(|api| Named {
                name: &api.name,
                mount: &api.mount,
            })
            .collect();
        let versions = written.config.versions.as_ref();
        compiled
            .push(versions.and_then(|versions| Versions::compile(versions, &named, &at, problems)));
    }
    for (front, versions) in compiled.iter().enumerate() {
        for version in versions.iter().flat_map(Versions::apis) {
            let config = written.get(version).map(|written| written.config);
            let no_place = config
                .is_some_and(|config| config.hosts.0.is_empty() && config.base_path.0.is_empty());
            if let Some(api) = apis.get_mut(version).filter(|_| version != front) {
                api.is_version |= no_place;
            }
        }
    }
    for (api, versions) in apis.iter_mut().zip(compiled) {
        api.versions = versions;
    }
}

/// Whether each request has one API that it is for.
fn tell_apart(written: &[Written<'_>], apis: &[ApiBlueprint], found: &mut [Problems]) {
    let neighbours: Vec<Neighbour<'_>> = written
        .iter()
        .zip(apis)
        .map(|(written, api)| Neighbour {
            name: &api.name,
            mount: (!api.is_version).then_some(&api.mount),
            place: written.origin.place,
        })
        .collect();
    hosts::conflicts(&neighbours, found);
}

fn check_admin(admin: &str, listeners: &[ListenerBlueprint], problems: &mut Problems) {
    let root = ConfigPath::root();
    let taken = listeners
        .iter()
        .find(|listener| listener.bind == admin && !admin.ends_with(":0"));
    if let Some(listener) = taken {
        problems
            .error(
                &root.key("listeners").key(&*listener.name).key("bind"),
                "this is the address of the admin listener too",
            )
            .help("give one of them another port");
    }
    if check_bind(admin, &root.key("admin").key("bind"), problems)
        .is_some_and(|ip| !ip.is_loopback())
    {
        problems
            .warning(
                &root.key("admin").key("bind"),
                "the admin listener tells anybody its metrics and the plan, and this address is not loopback",
            )
            .help("bind it to 127.0.0.1, or keep the port from strangers");
    }
}

/// The authorities' file is looked at here: what is wrong with it would otherwise be found by the first request.
fn egress(config: &Config, origin: &Origin<'_>, problems: &mut Problems) -> outbound::Settings {
    let at = ConfigPath::root().key("egress").key("ca");
    let ca = config.egress.ca.as_ref();
    let ca = ca.map(|file| (origin.directory)(&at).join(file));
    if let Some(file) = &ca
        && let Err(reason) = outbound::check_ca(file)
    {
        problems
            .error(&at, reason)
            .help("write a PEM file with one or more CERTIFICATE blocks");
    }
    outbound::Settings {
        ca,
        ..config.egress.clone()
    }
}

fn secrets_refresh(config: &Config, problems: &mut Problems) -> Duration {
    let span = config.secrets.refresh.unwrap_or(Span::secs(300));
    if !(Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&span.0) {
        problems
            .error(
                &ConfigPath::root().key("secrets").key("refresh"),
                format!("{span} is out of range"),
            )
            .help("allowed: 1s to 24h");
    }
    span.0
}

/// Reference, 1.6.
fn stage_variables(config: &Config, problems: &mut Problems) -> IndexMap<String, String> {
    let at = ConfigPath::root().key("stage_variables");
    if config.stage_variables.len() > 100 {
        problems.error(
            &at,
            format!(
                "{} stage variables; allowed: 100",
                config.stage_variables.len()
            ),
        );
    }
    check_variables(&config.stage_variables, &at, problems);
    config
        .stage_variables
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Names and values of stage variables.
pub(super) fn check_variables(
    variables: &IndexMap<String, String>,
    at: &ConfigPath,
    problems: &mut Problems,
) {
    for (name, value) in variables {
        if !(1..=64).contains(&name.len())
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            problems
                .error(
                    &at.key(name),
                    format!("{name:?} is not a name of a stage variable"),
                )
                .help("allowed: letters, digits and `_`, up to 64 characters");
        }
        if value.len() > 2_048 {
            problems.error(
                &at.key(name),
                format!("the value is {} bytes long; allowed: 2,048", value.len()),
            );
        }
    }
}

fn queues(config: &Config, problems: &mut Problems) -> Vec<QueueSpec> {
    let at = ConfigPath::root().key("queues");
    config
        .queues
        .iter()
        .filter_map(|(name, queue)| queue_spec(name, queue, config, &at.key(&name.0), problems))
        .collect()
}

fn queue_spec(
    name: &QueueName,
    queue: &Queue,
    config: &Config,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<QueueSpec> {
    let before = problems.errors();
    let fifo = name.is_fifo();
    match queue.fifo {
        Some(true) if !fifo => {
            problems
                .error(
                    &at.key("fifo"),
                    format!("the name of a FIFO queue ends in `.fifo`: `{name}` does not"),
                )
                .help(format!("write `{name}.fifo`"));
        }
        Some(false) if fifo => {
            problems.error(
                &at.key("fifo"),
                format!("`{name}` ends in `.fifo`, so it is a FIFO queue"),
            );
        }
        _ => {}
    }
    if queue.lifo && fifo {
        problems.error(&at.key("lifo"), "a FIFO queue cannot be newest first");
    }
    if queue.content_based_deduplication && !fifo {
        problems.error(
            &at.key("content_based_deduplication"),
            "only FIFO queues deduplicate",
        );
    }
    let mut within = |key: &str, value: Option<Span>, default: u64, least: u64, most: u64| {
        let span = value.unwrap_or(Span::secs(default));
        if span.0 < Duration::from_secs(least) || span.0 > Duration::from_secs(most) {
            problems
                .error(&at.key(key), format!("{span} is out of range"))
                .help(format!(
                    "allowed: {} to {}",
                    Span::secs(least),
                    Span::secs(most)
                ));
        }
        span.0
    };
    let visibility_timeout = within(
        "visibility_timeout",
        queue.visibility_timeout,
        30,
        0,
        43_200,
    );
    let retention = within("retention", queue.retention, 345_600, 60, 1_209_600);
    let delay = within("delay", queue.delay, 0, 0, 900);
    let max_message_size = queue.max_message_size.unwrap_or(ByteSize::mib(1));
    if !(1_024..=1_048_576).contains(&max_message_size.0) {
        problems
            .error(
                &at.key("max_message_size"),
                format!("{max_message_size} is out of range"),
            )
            .help("allowed: 1KiB to 1MiB");
    }
    let redrive = queue.redrive.as_ref().map(|redrive| {
        let at = at.key("redrive");
        match config.queues.get_key_value(&redrive.to) {
            None => {
                let problem = problems.error(&at.key("to"), format!("the queue `{}` is not declared", redrive.to));
                match nearest(&redrive.to.0, config.queues.keys().map(|name| name.0.as_str())) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help("declare it under `queues`"),
                };
            }
            Some((to, _)) if to.is_fifo() != fifo => {
                problems.error(&at.key("to"), format!("`{to}` is not of the same kind: the dead-letter queue of a FIFO queue is FIFO, of a standard queue standard"));
            }
            Some(_) if circular(name, config) => {
                problems.error(&at.key("to"), "these queues send their dead letters round in a circle");
            }
            Some(_) => {}
        }
        if !(1..=1_000).contains(&redrive.max_receive_count) {
            problems.error(&at.key("max_receive_count"), format!("{} is out of range", redrive.max_receive_count)).help("allowed: 1 to 1000");
        }
        Redrive { to: redrive.to.0.clone(), max_receive_count: redrive.max_receive_count }
    });
    (problems.errors() == before).then(|| QueueSpec {
        fifo,
        content_based_deduplication: queue.content_based_deduplication,
        lifo: queue.lifo,
        visibility_timeout,
        retention: Some(retention),
        delay,
        max_size: queue.max_size.map(|size| size.0),
        max_message_size: max_message_size.0,
        redrive,
        ..QueueSpec::new(name.0.clone())
    })
}

/// Whether the dead letters of a queue come back to it.
fn circular(start: &QueueName, config: &Config) -> bool {
    let next = |name: &QueueName| {
        config
            .queues
            .get(name)
            .and_then(|queue| queue.redrive.as_ref())
            .map(|redrive| redrive.to.clone())
    };
    let mut at = next(start);
    for _ in 0..config.queues.len() {
        match at {
            Some(name) if name == *start => return true,
            Some(name) => at = next(&name),
            None => return false,
        }
    }
    false
}

fn store(
    config: &Config,
    origin: &Origin<'_>,
    queues: Vec<QueueSpec>,
    routes: &[&RouteBlueprint],
    problems: &mut Problems,
) -> StoreBlueprint {
    let at = ConfigPath::root().key("store");
    let written = config.store.clone().unwrap_or_default();
    let max_size = written.max_size.unwrap_or(ByteSize::gib(10));
    if max_size < ByteSize::mib(1) {
        problems
            .error(
                &at.key("max_size"),
                format!("{max_size} is too small for a store"),
            )
            .help("allowed: 1MiB and more");
    }
    let path = match written.path {
        Some(path) if path.as_os_str().is_empty() => {
            problems
                .error(&at.key("path"), "the path is empty")
                .help("write a folder, such as ./data");
            path
        }
        Some(path) => (origin.directory)(&at.key("path")).join(path),
        None => Path::new("data").to_owned(),
    };
    let needed = !queues.is_empty()
        || config.sqs.is_some()
        || routes.iter().any(|route| route.needs_store());
    StoreBlueprint {
        path,
        max_size: max_size.0,
        wait: written.wait.unwrap_or(Span::secs(30)).0,
        queues,
        needed,
    }
}

fn limits(config: &Config, dialect: Dialect, problems: &mut Problems) -> GatewayLimits {
    let at = ConfigPath::root().key("limits");
    let written = &config.limits;
    for (key, zero) in [
        (
            "header_timeout",
            written.header_timeout.is_some_and(|span| span.0.is_zero()),
        ),
        (
            "body_timeout",
            written.body_timeout.is_some_and(|span| span.0.is_zero()),
        ),
        (
            "idle_timeout",
            written.idle_timeout.is_some_and(|span| span.0.is_zero()),
        ),
        (
            "timeout",
            written.timeout.is_some_and(|span| span.0.is_zero()),
        ),
        ("header_count", written.header_count == Some(0)),
        ("in_flight", written.in_flight == Some(0)),
        (
            "memory",
            written.memory == Some(Some(MemoryShare::Bytes(0))),
        ),
        ("bodies", written.bodies == Some(ByteSize(0))),
        (
            "cpu_wait",
            written.cpu_wait == Some(Some(Span(Duration::ZERO))),
        ),
        ("connections", written.connections == Some(0)),
        (
            "connections_per_address",
            written.connections_per_address == Some(0),
        ),
        (
            "connection_age",
            written
                .connection_age
                .flatten()
                .is_some_and(|span| span.0.is_zero()),
        ),
    ] {
        if zero {
            problems.error(&at.key(key), "0 would refuse every request");
        }
    }
    let head_default = match dialect {
        Dialect::Native => ByteSize::kib(16),
        Dialect::Aws => ByteSize(10_240),
    };
    let head = written.headers.unwrap_or(head_default);
    if !(ByteSize(256)..=ByteSize::mib(1)).contains(&head) {
        problems
            .error(&at.key("headers"), format!("{head} is out of range"))
            .help("allowed: 256 bytes to 1MiB");
    }
    GatewayLimits {
        head_bytes: head.0,
        header_count: written.header_count.unwrap_or(100),
        header_timeout: written.header_timeout.unwrap_or(Span::secs(10)).0,
        idle_timeout: written.idle_timeout.unwrap_or(Span::secs(60)).0,
        in_flight: written.in_flight.unwrap_or(4_096),
        memory: written.memory.unwrap_or(Some(MemoryShare::AUTO)),
        bodies: written.bodies.map(|size| size.0),
        cpu_wait: written
            .cpu_wait
            .map_or(Some(CPU_WAIT), |written| written.map(|span| span.0)),
        connections: written.connections.unwrap_or(16_384),
        connections_per_address: written.connections_per_address,
        connection_age: written
            .connection_age
            .unwrap_or(Some(Span::secs(3_600)))
            .map(|span| span.0),
        drain: written.drain.unwrap_or(Span::secs(30)).0,
    }
}
