//! Which API a request is for: by its host, exact before wildcard before whatever is left, then by the longest base path
//! (reference, 1.1 and 12.4). A host that some API names belongs to those that name it: what none of them serves there
//! is not served by an API without hosts either.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::config::Config;
use crate::model::path::ConfigPath;
use crate::model::problem::{Place, Problems};

/// The longest base path, in bytes (reference, 12.4).
const LONGEST_BASE_PATH: usize = 300;

/// A host that an API serves, in lower case and without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Exact(String),
    /// Any one name in front of this.
    Below(String),
    /// Whatever no other API names.
    Any,
}

/// Where an API is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// At least one.
    pub hosts: Vec<Host>,
    /// At least one; `/orders/v1`, or empty for what is left.
    pub base_paths: Vec<String>,
    /// Whether the base path is taken off before stage and routes are looked at.
    pub strip: bool,
}

impl Default for Mount {
    fn default() -> Mount {
        Mount {
            hosts: vec![Host::Any],
            base_paths: vec![String::new()],
            strip: true,
        }
    }
}

impl Mount {
    /// Checks what was written.
    pub(super) fn compile(config: &Config, problems: &mut Problems) -> Mount {
        let root = ConfigPath::root();
        let mut mount = Mount {
            strip: config.strip_base_path.unwrap_or(true),
            ..Mount::default()
        };
        let mut hosts = Vec::new();
        for (at, host) in places(&root.key("hosts"), &config.hosts.0) {
            match read_host(host) {
                Ok(host) if hosts.contains(&host) => {
                    problems.error(&at, format!("{host} is named twice"));
                }
                Ok(host) => hosts.push(host),
                Err(help) => {
                    problems
                        .error(&at, format!("{host:?} is not a host"))
                        .help(help);
                }
            }
        }
        let mut bases = Vec::new();
        for (at, base) in places(&root.key("base_path"), &config.base_path.0) {
            match read_base_path(base) {
                Ok(base) if bases.contains(&base) => {
                    problems.error(&at, "this base path is named twice");
                }
                Ok(base) => bases.push(base),
                Err(help) => {
                    problems
                        .error(&at, format!("{base:?} is not a base path"))
                        .help(help);
                }
            }
        }
        if !hosts.is_empty() {
            mount.hosts = hosts;
        }
        if !bases.is_empty() {
            mount.base_paths = bases;
        }
        mount
    }
}

/// Each value with its path: one that stands alone has no number.
fn places<'v>(
    at: &ConfigPath,
    values: &'v [String],
) -> impl Iterator<Item = (ConfigPath, &'v String)> {
    let at = at.clone();
    let alone = values.len() == 1;
    values.iter().enumerate().map(move |(index, value)| {
        let place = if alone { at.clone() } else { at.index(index) };
        (place, value)
    })
}

fn read_host(text: &str) -> Result<Host, &'static str> {
    if text.contains("://") || text.contains('/') {
        return Err("write the name alone, without a scheme or a path");
    }
    let name = text.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name.starts_with('[') && name.ends_with(']') {
        return match name[1..name.len() - 1].parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(Host::Exact(name.to_owned())),
            Err(_) => Err("between brackets stands an IPv6 address"),
        };
    }
    if name.contains(':') {
        return Err("leave the port out: it makes no difference");
    }
    let (wildcard, rest) = match name.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, name),
    };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if rest.len() > 253 || !rest.split('.').all(label) {
        return Err(
            "allowed: names such as `api.example.com`, and `*.` in front for any one name there; international names in their ASCII form",
        );
    }
    let rest = rest.to_owned();
    Ok(if wildcard {
        Host::Below(rest)
    } else {
        Host::Exact(rest)
    })
}

fn read_base_path(text: &str) -> Result<String, &'static str> {
    if matches!(text, "" | "/" | "(none)") {
        return Ok(String::new());
    }
    let path = text.strip_prefix('/').unwrap_or(text);
    if path.len() > LONGEST_BASE_PATH {
        return Err("allowed: up to 300 characters");
    }
    let segment = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"$-_.+!*'()".contains(&byte))
    };
    if !path.split('/').all(segment) {
        return Err("allowed: segments of letters, digits and $-_.+!*'(), such as `orders/v1`");
    }
    Ok(format!("/{path}"))
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Exact(name) => f.write_str(name),
            Host::Below(name) => write!(f, "*.{name}"),
            Host::Any => f.write_str("every host"),
        }
    }
}

/// An API as the others see it.
pub(super) struct Neighbour<'a> {
    pub name: &'a str,
    /// `None` where it is reached in another way.
    pub mount: Option<&'a Mount>,
    /// Where a part of it was written.
    pub place: &'a dyn Fn(&ConfigPath) -> Option<Place>,
}

/// Says which APIs cannot be told apart, each in the problems of the later one.
pub(super) fn conflicts(apis: &[Neighbour<'_>], problems: &mut [Problems]) {
    let root = ConfigPath::root();
    let mut taken: HashMap<(&Host, &str), usize> = HashMap::new();
    for (at, (api, problems)) in apis.iter().zip(problems).enumerate() {
        let mut clash = None;
        let Some(mount) = api.mount else {
            continue;
        };
        for host in &mount.hosts {
            for base in &mount.base_paths {
                let first = *taken.entry((host, base.as_str())).or_insert(at);
                if first != at {
                    clash = clash.or(Some((first, host, base)));
                }
            }
        }
        let Some((first, host, base)) = clash else {
            continue;
        };
        let first = &apis[first];
        let path = match (host, base.as_str()) {
            (Host::Any, "") => root.key("api"),
            (Host::Any, _) => root.key("base_path"),
            _ => root.key("hosts"),
        };
        let place = (first.place)(&path).map_or_else(String::new, |place| format!(", at {place}"));
        let base = match base.as_str() {
            "" => "without a base path".to_owned(),
            base => format!("under `{base}`"),
        };
        problems
            .error(
                &path,
                format!(
                    "the APIs `{}` and `{}` cannot be told apart: `{}`{place}, serves {host} {base} too",
                    first.name, api.name, first.name
                ),
            )
            .help("give one of them `hosts` or a `base_path` of its own");
    }
}

/// A base path of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    /// `/orders/v1`, or empty.
    base: Box<str>,
    /// The API's position.
    api: usize,
    strip: bool,
}

/// What tells the APIs of a process apart.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// The API that serves whatever comes, where it is the only one.
    only: bool,
    exact: HashMap<Box<str>, Vec<Mapping>>,
    below: HashMap<Box<str>, Vec<Mapping>>,
    any: Vec<Mapping>,
}

impl Hosts {
    /// From the places of the APIs, in their order; `None` for one that is not reached this way.
    pub fn new<'m>(mounts: impl IntoIterator<Item = Option<&'m Mount>>) -> Hosts {
        let mut hosts = Hosts::default();
        let mut count = 0;
        for (api, mount) in mounts.into_iter().enumerate() {
            count += 1;
            let Some(mount) = mount else {
                continue;
            };
            for host in &mount.hosts {
                let mappings = match host {
                    Host::Exact(name) => hosts.exact.entry(name.as_str().into()).or_default(),
                    Host::Below(name) => hosts.below.entry(name.as_str().into()).or_default(),
                    Host::Any => &mut hosts.any,
                };
                mappings.extend(mount.base_paths.iter().map(|base| Mapping {
                    base: base.as_str().into(),
                    api,
                    strip: mount.strip,
                }));
            }
        }
        let lists = hosts.exact.values_mut().chain(hosts.below.values_mut());
        for list in lists.chain([&mut hosts.any]) {
            list.sort_by_key(|mapping| std::cmp::Reverse(mapping.base.len()));
        }
        hosts.only = count == 1
            && hosts.exact.is_empty()
            && hosts.below.is_empty()
            && hosts.any.iter().all(|mapping| mapping.base.is_empty());
        hosts
    }

    /// The API that a request is for, by position, and how many bytes of its path are the base path that is taken off.
    pub fn choose(&self, host: Option<&str>, path: &str) -> Option<(usize, usize)> {
        if self.only {
            return Some((0, 0));
        }
        let mappings = self.of_host(host);
        let mapping = mappings.iter().find(|mapping| {
            let rest = path.strip_prefix(&*mapping.base);
            rest.is_some_and(|rest| {
                mapping.base.is_empty() || rest.is_empty() || rest.starts_with('/')
            })
        })?;
        let taken_off = if mapping.strip { mapping.base.len() } else { 0 };
        Some((mapping.api, taken_off))
    }

    fn of_host(&self, host: Option<&str>) -> &[Mapping] {
        let Some(host) = host else {
            return &self.any;
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        if let Some(mappings) = self.exact.get(&*host) {
            return mappings;
        }
        let below = host
            .split_once('.')
            .filter(|(name, _)| !name.is_empty())
            .and_then(|(_, rest)| self.below.get(rest));
        below.unwrap_or(&self.any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(hosts: &[&str], bases: &[&str]) -> Mount {
        let mut mount = Mount::default();
        if !hosts.is_empty() {
            mount.hosts = hosts.iter().map(|host| read_host(host).unwrap()).collect();
        }
        if !bases.is_empty() {
            let bases = bases.iter().map(|base| read_base_path(base).unwrap());
            mount.base_paths = bases.collect();
        }
        mount
    }

    fn chosen(mounts: &[Mount], host: &str, path: &str) -> Option<(usize, usize)> {
        let host = (!host.is_empty()).then_some(host);
        Hosts::new(mounts.iter().map(Some)).choose(host, path)
    }

    #[test]
    fn the_vendor_s_table_of_mappings() {
        let mounts = [
            mount(&[], &["(none)"]),
            mount(&[], &["orders/v1/items"]),
            mount(&[], &["orders/v2/items"]),
            mount(&[], &["orders/v2/items/categories"]),
        ];
        for (path, api) in [
            ("/orders/v1/items", 1),
            ("/orders/v1/items/123", 1),
            ("/orders/v2/items", 2),
            ("/orders/v2/items/categories/5", 3),
            ("/customers", 0),
            ("/orders/v1/itemsx", 0),
            ("/Orders/v1/items", 0),
            ("/", 0),
        ] {
            let (found, taken_off) = chosen(&mounts, "any.example", path).unwrap();
            assert_eq!(found, api, "{path}");
            assert_eq!(taken_off, mounts[api].base_paths[0].len(), "{path}");
        }
    }

    #[test]
    fn an_exact_host_goes_before_a_wildcard_and_that_before_the_rest() {
        let mounts = [
            mount(&[], &[]),
            mount(&["*.Example.com"], &[]),
            mount(&["shop.example.com."], &[]),
            mount(&["[::1]"], &[]),
        ];
        for (host, api) in [
            ("shop.example.com", 2),
            ("SHOP.example.COM.", 2),
            ("depot.example.com", 1),
            ("a.depot.example.com", 0),
            ("example.com", 0),
            (".example.com", 0),
            ("other.example", 0),
            ("[::1]", 3),
            ("", 0),
        ] {
            assert_eq!(chosen(&mounts, host, "/"), Some((api, 0)), "{host}");
        }
    }

    #[test]
    fn a_host_that_is_named_belongs_to_those_that_name_it() {
        let mounts = [
            mount(&[], &[]),
            mount(&["shop.example"], &["orders"]),
            mount(&["shop.example", "*.example"], &["depot"]),
        ];
        assert_eq!(chosen(&mounts, "shop.example", "/orders/1"), Some((1, 7)));
        assert_eq!(chosen(&mounts, "shop.example", "/depot"), Some((2, 6)));
        assert_eq!(chosen(&mounts, "shop.example", "/else"), None);
        assert_eq!(chosen(&mounts, "x.example", "/orders/1"), None);
        assert_eq!(chosen(&mounts, "elsewhere", "/orders/1"), Some((0, 0)));
        assert_eq!(chosen(&mounts[1..], "elsewhere", "/orders/1"), None);
    }

    #[test]
    fn a_base_path_can_stay_on_the_path() {
        let kept = Mount {
            strip: false,
            ..mount(&[], &["orders"])
        };
        assert_eq!(chosen(&[kept], "", "/orders/1"), Some((0, 0)));
    }

    #[test]
    fn what_is_no_host_and_no_base_path_is_refused() {
        for host in [
            "https://a.example",
            "a.example/x",
            "a.example:80",
            "*",
            "a.*.example",
            "*a.example",
            "",
            "a..b",
            "[::x]",
            "é.example",
        ] {
            assert!(read_host(host).is_err(), "{host}");
        }
        for base in ["orders//v1", "orders/", "a b", "a/../b", "%2f", "a?b"] {
            assert!(read_base_path(base).is_err(), "{base}");
        }
        assert_eq!(read_base_path("/orders/v1").as_deref(), Ok("/orders/v1"));
        assert_eq!(read_base_path("/").as_deref(), Ok(""));
    }
}
