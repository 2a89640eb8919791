//! What is written of throttles, checked.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::key::Key;
use super::{ConcurrencySpec, FailureSpec, SharedSpec, ThrottleSpec};
use crate::config::{self, AuthFailures, Concurrencies, Throttles, WhenSharedFails};
use crate::limit::BucketSpec;
use crate::limit::shared::Address;
use crate::mapping::{Expression, Scope, Source};
use crate::model::context::{ContextVariable, Plain};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::text::Text;
use crate::model::value::Span;

const IPV6_PREFIX: u8 = 64;
/// How long Redis may take, unless the bucket says otherwise; and what it may say.
const SHARED_TIMEOUT: Duration = Duration::from_millis(50);
const SHARED_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(1);
/// Wrong credentials of an address that are forgiven: a second, and at once.
const FORGIVEN: (f64, NonZeroU32) = (10.0, NonZeroU32::MIN.saturating_add(99));

/// The stage's buckets, of which every route gets a copy.
pub struct Defaults {
    throttles: Vec<ThrottleSpec>,
    headers: bool,
}

impl Defaults {
    /// Checks them. `scope`: of an expression that could stand in any route.
    pub fn compile(
        written: Option<&Throttles>,
        headers: bool,
        at: &ConfigPath,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) -> Defaults {
        let throttles = written.map(|written| list(written, headers, at, scope, problems));
        Defaults {
            throttles: throttles.unwrap_or_default(),
            headers,
        }
    }
}

/// The buckets of a route: its own, and those of the general ones that it does not replace. `proven`: it has an authorizer.
pub fn route(
    written: Option<&Option<Throttles>>,
    defaults: &Defaults,
    proven: bool,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Vec<ThrottleSpec> {
    let own = match written {
        Some(None) => return Vec::new(),
        Some(Some(written)) => list(written, defaults.headers, at, scope, problems),
        None => Vec::new(),
    };
    let replaced = |general: &ThrottleSpec| {
        own.iter()
            .any(|own| own.name == general.name || (own.key.is_none() && general.key.is_none()))
    };
    let general = defaults.throttles.iter().filter(|one| !replaced(one));
    let all: Vec<ThrottleSpec> = general.chain(&own).cloned().collect();
    for throttle in &all {
        if let Some(key) = &throttle.key {
            check_known(key, proven, at, problems);
        }
    }
    let mut servers = all.iter().filter_map(|one| one.shared.as_ref());
    if let Some(first) = servers.next()
        && servers.any(|other| other.address != first.address)
    {
        problems
            .error(
                at,
                "the shared buckets of a route are kept by one Redis, and these name several",
            )
            .help("a token is taken from all of them at once");
    }
    all
}

/// A key that only authentication gives, on a route that asks nobody.
fn check_known(key: &Key, proven: bool, at: &ConfigPath, problems: &mut Problems) {
    if key.is_of_the_caller() && !proven {
        problems
            .warning(
                at,
                format!("{key} has no value here, for the route has no authorizer: all requests share one bucket"),
            )
            .help("name an `authorizer`, or limit by `$context.identity.sourceIp`");
    }
}

fn list(
    written: &Throttles,
    headers: bool,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Vec<ThrottleSpec> {
    let mut specs: Vec<ThrottleSpec> = Vec::new();
    for (index, one) in written.0.iter().enumerate() {
        // A bucket that stands alone stands where the list would.
        let at = match written.0.len() {
            1 => at.clone(),
            _ => at.index(index),
        };
        let Some(spec) = throttle(one, headers, &at, scope, problems) else {
            continue;
        };
        if specs.iter().any(|other| other.name == spec.name) {
            problems
                .error(&at, format!("two buckets are called `{}`", spec.name))
                .help("give one of them a `name`");
        }
        specs.push(spec);
    }
    specs
}

fn throttle(
    written: &config::Throttle,
    headers: bool,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Option<ThrottleSpec> {
    let bucket = bucket(written.rate, written.burst, at, problems);
    let key = key(
        written.per.as_ref(),
        written.ipv6_prefix,
        at,
        scope,
        problems,
    )?;
    let shared = shared(written, at, problems)?;
    let name = match &written.name {
        Some(name) => {
            check_name(name, &at.key("name"), problems);
            name.clone()
        }
        None => default_name(key.as_ref(), "route"),
    };
    Some(ThrottleSpec {
        name: name.into(),
        bucket: bucket?,
        key,
        dry_run: written.dry_run,
        headers: written.headers.unwrap_or(headers),
        shared,
    })
}

/// `sourceIp` for `$context.identity.sourceIp`: what the last reference's name ends in.
fn default_name(key: Option<&Key>, without: &str) -> String {
    match key {
        None => without.to_owned(),
        Some(Key::Address { .. }) => "sourceIp".to_owned(),
        Some(Key::Value(expression)) => {
            let last = expression.references().last();
            let written = last.map_or("", |reference| &*reference.written);
            let word = written.trim_end_matches([']', '\'', '"']);
            let word = word.rsplit(['.', '[', '\'', '"']).next().unwrap_or(word);
            let word: String = word.chars().filter(|c| allowed(*c)).collect();
            if word.is_empty() {
                "per".to_owned()
            } else {
                word
            }
        }
    }
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

fn check_name(name: &str, at: &ConfigPath, problems: &mut Problems) {
    if !(1..=64).contains(&name.len()) || !name.chars().all(allowed) {
        problems
            .error(at, format!("{name:?} is not a name of a bucket"))
            .help("allowed: letters, digits, `-`, `_` and `.`, up to 64 characters");
    }
}

/// `Some(None)`: nothing is written.
fn key(
    per: Option<&Text>,
    ipv6_prefix: Option<u8>,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Option<Option<Key>> {
    let expression = match per {
        None => None,
        Some(text) => {
            let at = at.key("per");
            let expression = Expression::compile(text, &at, scope, problems)?;
            check_expression(&expression, &at, problems)?;
            Some(expression)
        }
    };
    let address = Source::Context(ContextVariable::Plain(Plain::SourceIp));
    let is_address = |expression: &Expression| {
        expression.parts().len() == 1 && expression.references().any(|one| one.source == address)
    };
    match (expression, ipv6_prefix) {
        (Some(expression), prefix) if is_address(&expression) => {
            let ipv6_prefix = prefix.unwrap_or(IPV6_PREFIX);
            check_prefix(ipv6_prefix, at, problems);
            Some(Some(Key::Address { ipv6_prefix }))
        }
        (_, Some(_)) => {
            problems
                .error(&at.key("ipv6_prefix"), "it says how addresses are told apart, and the bucket is not `per: $context.identity.sourceIp`")
                .help("leave it out");
            None
        }
        (expression, None) => {
            let key = expression.map(Key::Value);
            if let Some(key) = key.as_ref().filter(|key| key.may_be_absent()) {
                problems
                    .warning(
                        &at.key("per"),
                        format!("requests without {key} share one bucket"),
                    )
                    .help("say so with a default, such as `${request.header.x-tenant:-none}`");
            }
            Some(key)
        }
    }
}

fn check_expression(
    expression: &Expression,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<()> {
    if expression.constant().is_some() {
        problems
            .error(at, "it is the same for every request")
            .help("leave `per` out, for one bucket for all, or name a value of the request, such as `$context.identity.sourceIp`");
        return None;
    }
    for reference in expression.references() {
        if let Source::Context(ContextVariable::Vacant(name)) = &reference.source {
            let problem = problems.error(
                at,
                format!(
                    "`{}` never has a value here, so all requests would share one bucket",
                    reference.written
                ),
            );
            if let Some(near) = nearest(name, ContextVariable::names()) {
                problem.help(format!("did you mean `$context.{near}`?"));
            }
            return None;
        }
    }
    let own = expression.references().find(|reference| {
        matches!(
            reference.source,
            Source::Context(ContextVariable::Plain(
                Plain::RequestId
                    | Plain::IdempotencyId
                    | Plain::RequestTime
                    | Plain::RequestTimeEpoch
            ))
        )
    });
    if let Some(own) = own {
        problems
            .error(
                at,
                format!(
                    "`{}` is another one for each request, so nobody would ever be limited",
                    own.written
                ),
            )
            .help("name what tells callers apart");
        return None;
    }
    Some(())
}

fn check_prefix(prefix: u8, at: &ConfigPath, problems: &mut Problems) {
    if !(1..=128).contains(&prefix) {
        problems
            .error(
                &at.key("ipv6_prefix"),
                format!("an IPv6 address has no /{prefix}"),
            )
            .help("allowed: 1 to 128 bits; a site usually has a /64");
    }
}

/// `Some(None)`: the bucket is not shared.
fn shared(
    written: &config::Throttle,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<Option<SharedSpec>> {
    let Some(url) = &written.shared else {
        for (key, there) in [
            ("shared_timeout", written.shared_timeout.is_some()),
            ("when_shared_fails", written.when_shared_fails.is_some()),
        ] {
            if there {
                problems
                    .error(&at.key(key), "the bucket is not shared")
                    .help("name a Redis under `shared`, or leave this out");
            }
        }
        return Some(None);
    };
    let timeout = written.shared_timeout.map_or(SHARED_TIMEOUT, |span| span.0);
    if !SHARED_TIMEOUTS.contains(&timeout) {
        problems
            .error(
                &at.key("shared_timeout"),
                format!("{} is out of range", Span(timeout)),
            )
            .help("allowed: 1ms to 1s; requests wait that long while Redis hangs");
    }
    match Address::parse(url) {
        Ok(address) => Some(Some(SharedSpec {
            address,
            timeout,
            when_gone: written
                .when_shared_fails
                .unwrap_or(WhenSharedFails::Local)
                .into(),
        })),
        Err(refused) => {
            problems
                .error(&at.key("shared"), format!("the URL cannot be used: {refused}"))
                .help("write redis://host:6379/0, or rediss:// for TLS; user and password may stand before the host");
            None
        }
    }
}

/// A bucket, checked.
pub fn bucket(
    rate: f64,
    burst: Option<u32>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<BucketSpec> {
    if !rate.is_finite() || rate < 0.0 {
        problems
            .error(&at.key("rate"), format!("{rate} is not a rate"))
            .help("allowed: tokens a second, from 0 (refuses everything)");
        return None;
    }
    let burst = burst.unwrap_or_else(|| rate.ceil().clamp(1.0, f64::from(u32::MAX)) as u32);
    let Some(burst) = NonZeroU32::new(burst) else {
        problems
            .error(&at.key("burst"), "a bucket of size 0 never gives a token")
            .help("write at least 1; `rate: 0` refuses everything");
        return None;
    };
    Some(BucketSpec { rate, burst })
}

/// Requests of a route at once.
pub fn concurrency(
    written: Option<&Concurrencies>,
    proven: bool,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Vec<ConcurrencySpec> {
    let limits = written.map_or(&[][..], |written| &written.0);
    let mut specs: Vec<ConcurrencySpec> = Vec::new();
    for (index, one) in limits.iter().enumerate() {
        let at = match limits.len() {
            1 => at.clone(),
            _ => at.index(index),
        };
        if one.limit == 0 {
            problems
                .error(&at.key("limit"), "0 would refuse every request")
                .help("write at least 1; `throttle: { rate: 0 }` closes a route");
        }
        let Some(key) = key(one.per.as_ref(), one.ipv6_prefix, &at, scope, problems) else {
            continue;
        };
        let name: Arc<str> = match &key {
            None => "concurrency".into(),
            Some(_) => format!("concurrency-{}", default_name(key.as_ref(), "")).into(),
        };
        if let Some(key) = &key {
            check_known(key, proven, &at, problems);
        }
        if specs.iter().any(|other| other.name == name) {
            problems.error(&at, "there are two limits for the same callers");
        }
        specs.push(ConcurrencySpec {
            name,
            limit: one.limit,
            key,
            dry_run: one.dry_run,
        });
    }
    specs
}

/// What an address may get wrong; `None`: anything.
pub fn failures(
    written: Option<&Option<AuthFailures>>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<FailureSpec> {
    let (rate, burst) = FORGIVEN;
    match written {
        None => Some(FailureSpec {
            bucket: BucketSpec { rate, burst },
            ipv6_prefix: IPV6_PREFIX,
            dry_run: false,
        }),
        Some(None) => None,
        Some(Some(written)) => {
            let ipv6_prefix = written.ipv6_prefix.unwrap_or(IPV6_PREFIX);
            check_prefix(ipv6_prefix, at, problems);
            let bucket = bucket(written.rate, written.burst, at, problems)?;
            if bucket.rate == 0.0 {
                problems
                    .error(&at.key("rate"), "0 would refuse everybody, for ever")
                    .help("`auth_failures: none` forgives everything");
            }
            Some(FailureSpec {
                bucket,
                ipv6_prefix,
                dry_run: written.dry_run,
            })
        }
    }
}
