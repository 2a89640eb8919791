//! `penstock serve`: the gateway.

use std::io::Write as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tracing_subscriber::EnvFilter;

use super::Exit;
use super::load::{Names, blueprint_or_problems, fetched};
use super::overrides::Overrides;
use super::remote::{Fetching, First, first};
use super::routes::{plan_json, routes_table};
use crate::app::{self, Ended, Listening, Place, Source, Started};
use crate::authn::api_key::DEMO_KEY;
use crate::config::secrets::Vault;
use crate::listen::BoundAddress;
use crate::model::route_key::{MethodKey, RouteKey};
use crate::plan::blueprint::RouteBlueprint;
use crate::plan::{Blueprint, Host};
use crate::store::Notice;

/// How many sockets a worker of the runtime hears of at once: when it has nothing else to do, and while tasks wait. A worker's
/// own queue holds 256 tasks, and what does not fit goes to a line that all workers share, behind what comes later. So
/// sockets wait in the kernel, in the order in which they became ready. Fewer at once would be fairer still, and dearer: the
/// store's groups are smaller then.
const SOCKETS_WHEN_IDLE: usize = 192;
const SOCKETS_WHEN_BUSY: usize = 128;
/// Tasks that a worker runs before it looks for sockets and timers again, unless it has no task left: some for each socket.
const TASKS_IN_TURN: u32 = 512;
/// Of the tasks that a worker runs, one in so many comes from the line that all share, as long as there are any: those that
/// the store's writer and the calls to targets wake. With the runtime's own one in about sixty they come last as soon as
/// there is always something.
const TURNS_OF_THE_OTHERS: u32 = 2;

/// How lines of the process log look.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Run the gateway until SIGTERM or SIGINT; what is in flight is finished first. SIGHUP has the route files read anew
#[derive(Debug, Args)]
pub struct Serve {
    /// Route files, or folders of them; or s3://BUCKET/KEY, or appconfig:APPLICATION/ENVIRONMENT/PROFILE
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    names: Names,
    /// Do not follow the route files, nor what they name; SIGHUP and `POST /v1/reload` still have them read anew
    #[arg(long)]
    no_watch: bool,
    /// What the process log says, on standard error: error, warn, info, debug, trace, or a filter such as
    /// `info,penstock::store=debug`
    #[arg(long, env = "PENSTOCK_LOG", default_value = "info,aws_config=error")]
    log_level: String,
    /// How lines of the process log look
    #[arg(long, env = "PENSTOCK_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    #[command(flatten)]
    fetching: Fetching,
    #[command(flatten)]
    overrides: Overrides,
    /// End, as by kill -9, when the process that started this one ends, whose number this is
    #[arg(long, hide_short_help = true, value_name = "PID")]
    end_with_parent: Option<i32>,
}

impl Serve {
    pub fn run(&self) -> Exit {
        if let Err(refusal) = self.install_log() {
            eprintln!("error: {refusal}");
            return Exit::Usage;
        }
        if let Some(parent) = self.end_with_parent {
            if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
                eprintln!("error: --end-with-parent: {error}");
                return Exit::CannotStart;
            }
            // The signal is sent only for an end that comes after this.
            if getppid().map(Pid::as_raw_pid) != Some(parent) {
                eprintln!(
                    "error: --end-with-parent: the process {parent} has ended, or did not start this one"
                );
                return Exit::CannotStart;
            }
        }
        let runtime = match runtime().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("error: the runtime cannot be started: {error}");
                return Exit::CannotStart;
            }
        };
        let vault = Arc::new(Vault::with_vars(self.names.vars.clone()));
        let remote = match self.fetching.source(&self.files) {
            Ok(remote) => remote,
            Err(refusal) => {
                eprintln!("error: {refusal}");
                return Exit::Usage;
            }
        };
        let loading = async {
            match &remote {
                Some(remote) => Box::pin(first(remote, &vault)).await,
                None => fetched(&self.files, &vault).await.map(|compiled| First {
                    compiled,
                    remark: None,
                }),
            }
        };
        let First { compiled, remark } = match runtime.block_on(loading) {
            Ok(first) => first,
            Err(refusal) => {
                eprintln!("error: {refusal}");
                return Exit::CannotStart;
            }
        };
        let texts = compiled.texts.clone();
        let Some(mut blueprint) = blueprint_or_problems(compiled) else {
            return Exit::Problems;
        };
        self.overrides.apply(&mut blueprint);
        let overrides = self.overrides.clone();
        let source = Source {
            place: remote.map_or_else(|| Place::Files(self.files.clone()), Place::Remote),
            remark,
            watch: !self.no_watch,
            texts,
            vault,
            amend: Box::new(move |blueprint| overrides.apply(blueprint)),
            shown: plan_json,
        };
        let described = blueprint.clone();
        let announce = |started: &Started| {
            // A closed standard error is no reason not to serve.
            let _ = std::io::stderr().write_all(banner(&described, started).as_bytes());
        };
        let ended = runtime.block_on(app::serve(blueprint, source, announce));
        // What hangs on a disk or in a name server does not keep the process.
        runtime.shutdown_timeout(Duration::from_secs(1));
        match ended {
            Ok(Ended::Drained) => {
                tracing::info!("Stopped; everything in flight was finished");
                Exit::Ok
            }
            Ok(Ended::CutOff { requests, calls }) => {
                tracing::warn!(requests, calls, "Stopped; requests were cut off");
                Exit::CutOff
            }
            Err(error) => {
                eprintln!("error: {error}");
                Exit::CannotStart
            }
        }
    }

    fn install_log(&self) -> Result<(), String> {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let bare = |part: &str| {
            !part.contains(['=', ':', '['])
                && !levels.contains(&part.trim().to_ascii_lowercase().as_str())
        };
        if let Some(stranger) = self.log_level.split(',').find(|part| bare(part)) {
            return Err(format!(
                "--log-level {stranger:?} is no level; allowed: {}",
                levels.join(", ")
            ));
        }
        let filter = EnvFilter::try_new(&self.log_level)
            .map_err(|error| format!("--log-level {:?}: {error}", self.log_level))?;
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => log
                .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
                .init(),
            LogFormat::Json => log.json().init(),
        }
        Ok(())
    }
}

fn banner(blueprint: &Blueprint, started: &Started) -> String {
    let apis: Vec<String> = blueprint
        .apis
        .iter()
        .map(|api| format!("api {}, stage {}", api.name, api.stage.0))
        .collect();
    let mut text = format!(
        "penstock {}: {}\n",
        env!("CARGO_PKG_VERSION"),
        apis.join("; ")
    );
    for listener in &started.listeners {
        text += &format!("listening on {} ({})\n", url(listener), listener.name);
    }
    text += &format!("admin on http://{}\n", started.admin);
    if let Some(address) = started.sqs {
        text += &format!("sqs on http://{address}\n");
    }
    if blueprint.store.needed {
        text += &format!("store in {}\n", tidy(&blueprint.store.path).display());
    }
    for Notice::Undeclared { queue, depth } in &started.notices {
        text += &format!(
            "warning: the queue {queue} is no longer declared; its {depth} messages are kept\n"
        );
    }
    if let Some(reason) = &started.store_unavailable {
        text += &format!(
            "warning: {reason}; routes that need the store answer 503 until it can be used\n"
        );
    }
    text += &format!("\n{}", routes_table(blueprint));
    if let Some(line) = started
        .listeners
        .iter()
        .find_map(|listener| curl(blueprint, listener))
    {
        text += &format!("\ntry: {line}\n");
    }
    text
}

/// How a listener is reached.
fn url(listener: &Listening) -> String {
    match (&listener.address, listener.tls) {
        (BoundAddress::Ip(address), true) => format!("https://{address}"),
        (BoundAddress::Ip(address), false) => format!("http://{address}"),
        (socket, true) => format!("{socket}, TLS"),
        (socket, false) => socket.to_string(),
    }
}

/// A path without the `.` that joining folders leaves in its midst: `./././data` is `data`.
fn tidy(path: &Path) -> PathBuf {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    match parts.collect::<PathBuf>() {
        here if here.as_os_str().is_empty() => PathBuf::from("."),
        tidied => tidied,
    }
}

/// A command that stores something, if a route without variables does.
fn curl(blueprint: &Blueprint, listener: &Listening) -> Option<String> {
    let (host, options) = match (&listener.address, listener.tls) {
        (BoundAddress::Ip(address), false) => (format!("http://{address}"), String::new()),
        (BoundAddress::Ip(address), true) => {
            (format!("https://{address}"), "--insecure ".to_owned())
        }
        (BoundAddress::Unix(path), false) => (
            "http://localhost".to_owned(),
            format!("--unix-socket {} ", path.display()),
        ),
        (BoundAddress::Unix(_), true) => return None,
    };
    let simple = |route: &&RouteBlueprint| {
        route.is_on(&listener.name)
            && route.integration.stores()
            && matches!(&route.key, RouteKey::Path { .. })
            && route.key.variables().is_empty()
    };
    let (api, route) = blueprint.apis.iter().find_map(|api| {
        let route = api.routes.iter().find(simple)?;
        Some((api, route))
    })?;
    let RouteKey::Path { method, path } = &route.key else {
        return None;
    };
    let method = match method {
        MethodKey::One(method) if method == http::Method::POST => String::new(),
        MethodKey::One(method) => format!("-X {method} "),
        MethodKey::Any => String::new(),
    };
    let named = match api.mount.hosts.first() {
        Some(Host::Exact(name)) => format!("-H 'host: {name}' "),
        Some(Host::Below(rest)) => format!("-H 'host: any.{rest}' "),
        Some(Host::Any) | None => String::new(),
    };
    let prefix = api.prefix();
    let demo = blueprint.keys.find(DEMO_KEY.as_bytes()).is_ok();
    let key = match (route.authorizers.is_empty(), demo) {
        (true, _) => String::new(),
        (false, true) => format!("-H 'x-api-key: {DEMO_KEY}' "),
        (false, false) => "-H \"x-api-key: $YOUR_KEY\" ".to_owned(),
    };
    Some(format!(
        "curl -i {options}{method}{named}{key}-d '{{\"hello\":\"world\"}}' {host}{prefix}{path}"
    ))
}

/// A runtime that serves sockets in the order in which they became ready, also when there is always one.
fn runtime() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .enable_all()
        .max_io_events_per_tick(SOCKETS_WHEN_IDLE)
        .max_io_events_per_busy_tick(SOCKETS_WHEN_BUSY)
        .event_interval(TASKS_IN_TURN)
        .global_queue_interval(TURNS_OF_THE_OTHERS);
    builder
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream as Client;
    use std::sync::mpsc;
    use std::time::Instant;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixStream;

    use super::*;

    /// Each of so many clients asks again as soon as it is served, which takes a moment of the only worker's time: how often
    /// the one was that was served least, and the one that was served most, when each could have been 20 times.
    fn least_and_most(builder: &mut tokio::runtime::Builder, clients: usize) -> (u32, u32) {
        let (done, served) = mpsc::channel::<usize>();
        let runtime = builder.worker_threads(1).build().unwrap();
        let mut lines: Vec<Client> = Vec::new();
        for own in 0..clients {
            let (line, end) = Client::pair().unwrap();
            end.set_nonblocking(true).unwrap();
            lines.push(line);
            let done = done.clone();
            runtime.spawn(async move {
                let mut end = UnixStream::from_std(end).unwrap();
                while let Ok(1..) = end.read(&mut [0]).await {
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_micros(20) {}
                    let _ = done.send(own);
                }
            });
        }
        for line in &mut lines {
            line.write_all(&[0]).unwrap();
        }
        let mut ask_again = |own: usize| lines[own].write_all(&[0]).unwrap();
        let mut counts = vec![0; clients];
        while counts.contains(&0) {
            let own = served.recv().unwrap();
            counts[own] = 1;
            ask_again(own);
        }
        counts.fill(0);
        for own in served.iter().take(clients * 20) {
            counts[own] += 1;
            ask_again(own);
        }
        let of = |count: Option<&u32>| count.copied().unwrap_or_default();
        (of(counts.iter().min()), of(counts.iter().max()))
    }

    #[test]
    fn clients_who_never_pause_are_served_alike_however_many_they_are() {
        let (least, most) = least_and_most(&mut runtime(), 1_000);
        assert!(least >= 15 && most <= 25, "{least} to {most}");
    }

    #[test]
    fn a_path_is_shown_without_what_joining_leaves_in_it() {
        for (path, shown) in [
            ("././d1", "d1"),
            ("gateway-0/./data", "gateway-0/data"),
            ("/var/lib/./penstock", "/var/lib/penstock"),
            ("../data", "../data"),
            ("./.", "."),
        ] {
            assert_eq!(tidy(Path::new(path)), Path::new(shown), "{path}");
        }
    }
}
