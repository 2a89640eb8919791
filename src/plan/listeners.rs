//! The listeners of a configuration: where they are, on what terms they take connections, and whom they let in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::blueprint::ListenerBlueprint;
use super::compile::Origin;
use crate::config::{ClientAuth, Config, Listener, ListenerTls, Route};
use crate::listen::tls::{ClientsSpec, PairSpec, TlsSpec};
use crate::listen::{DEFAULT_MODE, ProxyProtocol, UNIX};
use crate::model::cidr::{Access, Cidr, Networks, is_private};
use crate::model::path::ConfigPath;
use crate::model::peer::Trust;
use crate::model::problem::{Problems, nearest};

/// The longest path that a socket's address can hold on Linux.
const LONGEST_SOCKET_PATH: usize = 107;

/// Every listener.
pub(super) fn compile(
    config: &Config,
    origin: &Origin<'_>,
    problems: &mut Problems,
) -> Vec<ListenerBlueprint> {
    let at = ConfigPath::root().key("listeners");
    if config.listeners.is_empty() {
        return vec![ListenerBlueprint::plain("public", "127.0.0.1:8080")];
    }
    let mut taken: HashMap<String, &str> = HashMap::new();
    let mut listeners = Vec::new();
    for (name, listener) in &config.listeners {
        let at = at.key(name);
        let compiled = one(name, listener, &at, origin, problems);
        if !compiled.bind.ends_with(":0")
            && let Some(other) = taken.insert(compiled.bind.clone(), name)
        {
            problems.error(
                &at.key("bind"),
                format!(
                    "the listener `{other}` is bound to {} already",
                    listener.bind
                ),
            );
        }
        listeners.push(compiled);
    }
    listeners
}

fn one(
    name: &str,
    listener: &Listener,
    at: &ConfigPath,
    origin: &Origin<'_>,
    problems: &mut Problems,
) -> ListenerBlueprint {
    let bind_at = at.key("bind");
    let bind = match listener.bind.strip_prefix(UNIX) {
        Some(path) => {
            let path = (origin.directory)(&bind_at).join(path);
            check_socket(&listener.bind, &path, &bind_at, problems);
            format!("{UNIX}{}", path.display())
        }
        None => {
            check_bind(&listener.bind, &bind_at, problems);
            if listener.mode.is_some() {
                problems
                    .error(
                        &at.key("mode"),
                        "only the file of a Unix socket has permissions",
                    )
                    .help("leave it out, or write `bind: unix:PATH`");
            }
            listener.bind.clone()
        }
    };
    let access = access(
        listener.allow.as_ref(),
        listener.deny.as_ref(),
        at,
        problems,
    );
    let proxies = ranges(
        listener.trusted_proxies.as_ref(),
        &at.key("trusted_proxies"),
        problems,
    );
    if proxies.0.iter().any(Cidr::is_everything) {
        problems
            .warning(
                &at.key("trusted_proxies"),
                "everybody is believed, so everybody chooses the address that they seem to come from",
            )
            .help("name the addresses of the proxies alone");
    }
    if listener.forwarding_header.is_some() && proxies.is_empty() {
        problems
            .error(
                &at.key("forwarding_header"),
                "no proxy is trusted, so no such header is read",
            )
            .help("name the proxies in `trusted_proxies`");
    }
    let proxy_protocol = listener
        .proxy_protocol
        .map_or(ProxyProtocol::Off, Into::into);
    check_proxy_protocol(proxy_protocol, &bind, &proxies, at, problems);
    ListenerBlueprint {
        name: name.into(),
        mode: listener.mode.unwrap_or(DEFAULT_MODE),
        tls: listener
            .tls
            .as_ref()
            .and_then(|tls| tls_spec(tls, &at.key("tls"), origin, problems)),
        proxy_protocol,
        trust: Trust {
            proxies,
            header: listener
                .forwarding_header
                .map(Into::into)
                .unwrap_or_default(),
        },
        access,
        bind,
    }
}

/// The lists of addresses of a listener or a route.
pub(super) fn access(
    allow: Option<&Vec<Cidr>>,
    deny: Option<&Vec<Cidr>>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Access {
    Access {
        allow: ranges(allow, &at.key("allow"), problems),
        deny: ranges(deny, &at.key("deny"), problems),
    }
}

fn ranges(written: Option<&Vec<Cidr>>, at: &ConfigPath, problems: &mut Problems) -> Networks {
    if written.is_some_and(Vec::is_empty) {
        problems
            .error(
                at,
                "the list is empty, and what that should mean is not certain",
            )
            .help("leave it out, or name ranges such as 10.0.0.0/8");
    }
    Networks(written.cloned().unwrap_or_default())
}

/// The names of the listeners that a route can be reached on; `None` for all.
pub(super) fn of_route(
    route: &Route,
    listeners: &[ListenerBlueprint],
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<Vec<Arc<str>>> {
    let written = route.listeners.as_ref()?;
    let at = at.key("listeners");
    if written.is_empty() {
        problems
            .error(
                &at,
                "the list is empty, so no request could reach the route",
            )
            .help("name a listener, or leave the list out");
    }
    let mut names: Vec<Arc<str>> = Vec::new();
    for (index, name) in written.iter().enumerate() {
        match listeners.iter().find(|listener| *listener.name == **name) {
            Some(listener) => names.push(listener.name.clone()),
            None => {
                let said = format!("the listener `{name}` is not declared");
                let problem = problems.error(&at.index(index), said);
                let known = listeners.iter().map(|listener| &*listener.name);
                match nearest(name, known) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help("declare it under `listeners`"),
                };
            }
        }
    }
    Some(names)
}

fn tls_spec(
    written: &ListenerTls,
    at: &ConfigPath,
    origin: &Origin<'_>,
    problems: &mut Problems,
) -> Option<TlsSpec> {
    let before = problems.errors();
    let pairs = match (&written.cert, &written.key, written.certificates.as_slice()) {
        (Some(cert), Some(key), []) => vec![(at.clone(), cert, key)],
        (None, None, several @ [_, ..]) => several
            .iter()
            .enumerate()
            .map(|(index, pair)| (at.key("certificates").index(index), &pair.cert, &pair.key))
            .collect(),
        (None, None, []) => {
            problems
                .error(at, "TLS needs a certificate and its key")
                .help("write `cert: FILE` and `key: FILE`");
            Vec::new()
        }
        (cert, _, []) => {
            let (there, missing) = match cert {
                Some(_) => ("cert", "key"),
                None => ("key", "cert"),
            };
            problems
                .error(at, format!("`{there}` is of no use without `{missing}`"))
                .help(format!("write `{missing}: FILE` beside it"));
            Vec::new()
        }
        _ => {
            problems
                .error(
                    &at.key("certificates"),
                    "`certificates` cannot stand beside `cert` and `key`",
                )
                .help("write that pair as the first of `certificates`");
            Vec::new()
        }
    };
    let mut file = |at: &ConfigPath, path: &PathBuf| {
        if path.as_os_str().is_empty() {
            problems
                .error(at, "the name of the file is empty")
                .help("write the path of a PEM file");
        }
        (origin.directory)(at).join(path)
    };
    let certificates = pairs
        .into_iter()
        .map(|(at, cert, key)| PairSpec {
            cert: file(&at.key("cert"), cert),
            key: file(&at.key("key"), key),
        })
        .collect();
    let clients = written.client_ca.as_ref().map(|ca| ClientsSpec {
        ca: file(&at.key("client_ca"), ca),
        required: written.client_auth != Some(ClientAuth::Optional),
        crls: written
            .crl
            .iter()
            .enumerate()
            .map(|(index, path)| file(&at.key("crl").index(index), path))
            .collect(),
    });
    if clients.is_none() {
        for (key, there) in [
            ("client_auth", written.client_auth.is_some()),
            ("crl", !written.crl.is_empty()),
        ] {
            if there {
                problems
                    .error(
                        &at.key(key),
                        "clients are asked for certificates only where it is known whose they may show",
                    )
                    .help("write `client_ca: FILE` beside it");
            }
        }
    }
    (problems.errors() == before).then(|| TlsSpec {
        certificates,
        min_version: written.min_version.map(Into::into).unwrap_or_default(),
        clients,
    })
}

/// Who may say where a connection comes from has to be certain. With `auto` a client that reaches the listener past the
/// load balancer, or through one that passes bytes on as they are, could say it itself.
fn check_proxy_protocol(
    mode: ProxyProtocol,
    bind: &str,
    proxies: &Networks,
    at: &ConfigPath,
    problems: &mut Problems,
) {
    let at = at.key("proxy_protocol");
    let restricted = !proxies.is_empty() && proxies.0.iter().all(Cidr::is_private);
    if is_private_bind(bind) || mode == ProxyProtocol::Off {
        return;
    }
    match mode {
        ProxyProtocol::Auto if !restricted => {
            problems
                .error(
                    &at,
                    format!("{bind} can be reached by strangers, and with `auto` each of them could say where it comes from"),
                )
                .help("write `v1` or `v2`, or name the load balancers' private addresses in `trusted_proxies`, or bind to a private address");
        }
        ProxyProtocol::V1 | ProxyProtocol::V2 if proxies.is_empty() => {
            problems
                .warning(
                    &at,
                    format!("whoever reaches {bind} says where it comes from: nothing names those who may"),
                )
                .help("name the load balancers' addresses in `trusted_proxies`");
        }
        _ => {}
    }
}

fn check_socket(written: &str, path: &std::path::Path, at: &ConfigPath, problems: &mut Problems) {
    if written == UNIX {
        problems
            .error(at, "the path of the socket is empty")
            .help("write a path, such as unix:/run/penstock.sock");
    } else if path.as_os_str().len() > LONGEST_SOCKET_PATH {
        problems
            .error(
                at,
                format!(
                    "{} is {} bytes long; the path of a socket has at most {LONGEST_SOCKET_PATH}",
                    path.display(),
                    path.as_os_str().len()
                ),
            )
            .help("choose a shorter path");
    }
}

/// Checks the form of `host:port`; the address, where it is written as one.
pub(super) fn check_bind(bind: &str, at: &ConfigPath, problems: &mut Problems) -> Option<IpAddr> {
    if let Ok(address) = bind.parse::<std::net::SocketAddr>() {
        return Some(address.ip());
    }
    let good = bind.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(':') && port.parse::<u16>().is_ok()
    });
    if !good {
        problems
            .error(at, format!("{bind:?} is not an address"))
            .help("write host and port, such as 127.0.0.1:8080, [::1]:8080 or 0.0.0.0:0");
    }
    None
}

/// Whether an address can be reached from this machine only.
pub(super) fn is_loopback(bind: &str) -> bool {
    bind.starts_with(UNIX) || is_localhost(bind) || ip_of(bind).is_some_and(|ip| ip.is_loopback())
}

/// Whether an address cannot be reached from the public internet. `0.0.0.0` can.
fn is_private_bind(bind: &str) -> bool {
    bind.starts_with(UNIX) || is_localhost(bind) || ip_of(bind).is_some_and(is_private)
}

fn is_localhost(bind: &str) -> bool {
    bind.rsplit_once(':')
        .is_some_and(|(host, _)| host == "localhost")
}

fn ip_of(bind: &str) -> Option<IpAddr> {
    let (host, _) = bind.rsplit_once(':')?;
    let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    Some(ip.to_canonical())
}
