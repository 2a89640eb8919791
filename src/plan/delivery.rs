//! What a route promises, from configuration to plan: its targets, its acknowledgement, its idempotency keys; and how
//! each target is treated.

use std::time::Duration;

use crate::authn::webhook;
use crate::config::{Ack, Config, IdempotencyConfig, OnMismatch, Route, Target};
use crate::forward::{AckMode, AckPlan, Order, Settings, TargetSettings};
use crate::integration::{Integration, OrderKey, Scope};
use crate::mapping::{self, Expression};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::text::{Piece, Text};
use crate::model::value::Span;

use super::blueprint::RouteBlueprint;

/// How long the target may take with `target-or-spool`, unless the route says otherwise.
const BUDGET: Duration = Duration::from_millis(800);
/// Targets of one route.
const MOST_TARGETS: usize = 10;

/// Requests with the same key are served once.
#[derive(Clone, Debug, PartialEq)]
pub struct IdempotencyPlan {
    pub key: Expression,
    pub ttl: Duration,
    /// Whether a known key with another payload is a new request, stored without the key, in place of a refusal.
    pub stores_mismatched: bool,
    pub required: bool,
    /// Whether the key is a webhook's own id of the delivery: one that cannot be a key is none, and nobody is refused for
    /// it.
    pub by_delivery: bool,
    /// How long a request may be in flight before a repeated one takes over.
    pub fence: Duration,
}

/// The route's targets: the first one's answer is the caller's.
pub(super) fn integrations(
    route: &Route,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Option<(Integration, Vec<Integration>)> {
    let Some(one) = &route.integration else {
        let at = at.key("integrations");
        if route.integrations.is_empty() {
            problems
                .error(
                    at.parent().as_ref().unwrap_or(&at),
                    "the route has no `integration`, so its payload would go nowhere",
                )
                .help("write one, such as `integration: { SQS-SendMessage: { … } }`, or several under `integrations`");
            return None;
        }
        if route.integrations.len() > MOST_TARGETS {
            problems.error(
                &at,
                format!(
                    "{} targets; allowed: {MOST_TARGETS}",
                    route.integrations.len()
                ),
            );
        }
        let mut compiled = Vec::new();
        for (place, integration) in route.integrations.iter().enumerate() {
            compiled.push(integration.compile(&at.index(place), scope, problems));
        }
        let mut compiled = compiled.into_iter().collect::<Option<Vec<_>>>()?;
        let first = compiled.remove(0);
        return Some((first, compiled));
    };
    if !route.integrations.is_empty() {
        problems
            .error(
                &at.key("integrations"),
                "`integration` and `integrations` stand side by side",
            )
            .help("move the one into the list");
        return None;
    }
    let first = one.compile(&at.key("integration"), scope, problems)?;
    Some((first, Vec::new()))
}

/// The acknowledgement of a route.
pub(super) fn ack(
    written: Option<Ack>,
    targets: &[&Integration],
    timeout: Duration,
    at: &ConfigPath,
    problems: &mut Problems,
) -> AckPlan {
    let at = at.key("ack");
    let written = written.unwrap_or_default();
    let spools = written.mode != AckMode::Target;
    if spools {
        for target in targets {
            if let Some(reason) = target.refuses_spool() {
                problems
                    .error(
                        &at,
                        format!("{} cannot be spooled: {reason}", target.kind()),
                    )
                    .help("leave `ack` out, which means `target`");
            }
        }
        if targets
            .iter()
            .any(|target| target.target_label() == "dynamic")
        {
            problems
                .warning(&at, "requests name the target, and each target that one names gets a spool of its own, which stays")
                .help("name the target in the route; at most 1,000 targets have a spool, and further ones are refused with 503");
        }
    } else if targets.len() > 1 {
        problems
            .error(
                &at,
                "several targets cannot be acknowledged together by `ack: target`: the first may have the record when the second fails",
            )
            .help("write `ack: spool` or `ack: target-or-spool`");
    }
    for (key, given) in [
        ("order", written.order.is_some()),
        ("on_poison", written.on_poison.is_some()),
    ] {
        if given && !spools {
            problems
                .error(
                    &at.key(key),
                    format!("`{key}` is about spooled records, and `ack: target` spools none"),
                )
                .help("leave it out, or write `mode: spool` or `mode: target-or-spool`");
        }
    }
    let budget = written.budget.map_or(BUDGET, |budget| budget.0);
    if written.budget.is_some() {
        let at = at.key("budget");
        if written.mode != AckMode::TargetOrSpool {
            problems
                .error(
                    &at,
                    "`budget` is what `target-or-spool` gives the target before it spools",
                )
                .help("leave it out, or write `mode: target-or-spool`");
        } else if budget.is_zero() || budget >= timeout {
            problems
                .error(&at, format!("{} is out of range", Span(budget)))
                .help(format!(
                    "allowed: above 0 and below the route's timeout, {}",
                    Span(timeout)
                ));
        }
    }
    AckPlan {
        mode: written.mode,
        budget: budget.min(timeout),
        order: order(written.order, targets, &at.key("order"), problems),
        on_poison: written.on_poison.unwrap_or_default(),
    }
}

fn order(
    written: Option<Order>,
    targets: &[&Integration],
    at: &ConfigPath,
    problems: &mut Problems,
) -> Order {
    let keys: Vec<OrderKey> = targets.iter().map(|target| target.order_key()).collect();
    match written {
        None if keys.iter().any(|key| *key != OrderKey::None) => Order::Key,
        None => Order::None,
        Some(Order::Key) if keys.iter().all(|key| *key == OrderKey::None) => {
            problems
                .error(at, "no target of the route has a key: only FIFO queues (message group) and Kinesis (partition key) do")
                .help("`order: route` keeps all of the route in order");
            Order::Key
        }
        Some(Order::Route) if keys.contains(&OrderKey::Group) => {
            problems
                .error(at, "a FIFO queue keeps the order of its message groups, over all routes that send to it")
                .help("leave it out; for one order over the whole route map one `MessageGroupId`");
            Order::Key
        }
        Some(Order::None) if keys.contains(&OrderKey::Group) => {
            problems
                .error(
                    at,
                    "a FIFO queue always keeps the order of its message groups",
                )
                .help("leave it out, or write `key`");
            Order::Key
        }
        Some(order) => order,
    }
}

/// How long webhook deliveries are remembered: senders try again for days, and some sign no time.
const WEBHOOK_TTL: Duration = Duration::from_secs(7 * 86_400);

/// The keys of a route whose deliveries bring an id of their sender's. A key of another source is another key.
pub(super) fn by_delivery(
    webhook: &webhook::Spec,
    first: &Integration,
    timeout: Duration,
    at: &ConfigPath,
    scope: &mapping::Scope<'_>,
    problems: &mut Problems,
) -> Option<IdempotencyPlan> {
    let deduplication = webhook.deduplication().filter(|_| first.stores())?;
    let key = Text(vec![
        Piece::Literal(format!("{}:", webhook.source())),
        Piece::Written("${webhook.dedupId}".to_owned()),
    ]);
    Some(IdempotencyPlan {
        key: Expression::compile(&key, at, scope, problems)?,
        ttl: WEBHOOK_TTL,
        stores_mismatched: deduplication.stores_mismatched,
        required: false,
        by_delivery: true,
        fence: timeout * 2,
    })
}

/// The idempotency keys of a route.
pub(super) fn idempotency(
    written: Option<&IdempotencyConfig>,
    first: &Integration,
    timeout: Duration,
    at: &ConfigPath,
    scope: &mapping::Scope<'_>,
    problems: &mut Problems,
) -> Option<IdempotencyPlan> {
    let written = written?;
    let at = at.key("idempotency");
    if !first.stores() {
        problems
            .error(
                &at,
                format!("{} stores nothing that could be stored twice", first.kind()),
            )
            .help("leave `idempotency` out");
    }
    let ttl = written.ttl.unwrap_or(Span::secs(86_400));
    if ttl < Span::secs(1) || ttl > Span::secs(30 * 86_400) {
        problems
            .error(&at.key("ttl"), format!("{ttl} is out of range"))
            .help("allowed: 1s to 30d");
    }
    let Some(key) = &written.key else {
        problems
            .error(
                &at,
                "`key` is missing: nothing tells a repeated request from a new one",
            )
            .help("write `key: $request.header.idempotency-key`");
        return None;
    };
    let expression = Expression::compile(key, &at.key("key"), scope, problems)?;
    if expression.constant().is_some() {
        problems
            .error(
                &at.key("key"),
                "the key is the same for every request, so only the first would be stored",
            )
            .help("write a mapping expression, such as `$request.header.idempotency-key`");
    }
    Some(IdempotencyPlan {
        key: expression,
        ttl: ttl.0,
        stores_mismatched: written.on_mismatch == Some(OnMismatch::Store),
        required: written.required,
        by_delivery: false,
        fence: timeout * 2,
    })
}

/// How every target is treated.
pub(super) fn settings(config: &Config, problems: &mut Problems) -> Settings {
    let at = ConfigPath::root().key("targets");
    let default = config
        .targets
        .get("default")
        .map_or_else(TargetSettings::default, |target| {
            settings_of(
                target,
                &TargetSettings::default(),
                &at.key("default"),
                problems,
            )
        });
    let named = config
        .targets
        .iter()
        .filter(|(name, _)| *name != "default")
        .map(|(name, target)| {
            (
                name.clone(),
                settings_of(target, &default, &at.key(name), problems),
            )
        })
        .collect();
    Settings { default, named }
}

/// Settings of a target that no route names would be lost without a word: `readingz` is no stream.
pub(super) fn unused(
    config: &Config,
    routes: &[&RouteBlueprint],
    written: usize,
    problems: &mut Problems,
) {
    let outside = || {
        routes
            .iter()
            .flat_map(|route| route.targets())
            .filter(|target| target.stores() && target.touches_aws())
    };
    // A route that could not be compiled, or whose requests name the target, may use any of them.
    if routes.len() < written || outside().any(|target| target.plain_target().is_none()) {
        return;
    }
    let named: Vec<&str> = outside().filter_map(Integration::plain_target).collect();
    let at = ConfigPath::root().key("targets");
    for name in config.targets.keys() {
        if name == "default" || named.contains(&name.as_str()) {
            continue;
        }
        let last = |target: &&&str| target.rsplit(['/', ':']).next() == Some(name);
        let near = named.iter().find(last).copied();
        let near = near.or_else(|| nearest(name, named.iter().copied()));
        let problem = problems.warning(
            &at.key(name),
            "no route stores at a target of this name, so these settings are not used",
        );
        match (near, named.is_empty()) {
            (Some(near), _) => problem.help(format!("did you mean `{near}`?")),
            (None, true) => problem.help("no route stores at AWS: leave it out"),
            (None, false) => problem.help(
                "write the name as routes do: the queue's URL, the stream's or bus's name, the state machine's ARN",
            ),
        };
    }
}

fn settings_of(
    target: &Target,
    default: &TargetSettings,
    at: &ConfigPath,
    problems: &mut Problems,
) -> TargetSettings {
    let mut settings = default.clone();
    let mut refuse = |at: &ConfigPath, found: String, allowed: &str| {
        problems
            .error(at, format!("{found} is out of range"))
            .help(format!("allowed: {allowed}"));
    };
    let breaker = target.breaker.clone().unwrap_or_default();
    let in_breaker = at.key("breaker");
    for (key, count, place) in [
        ("open_after", breaker.open_after, &mut settings.open_after),
        (
            "close_after",
            breaker.close_after,
            &mut settings.close_after,
        ),
    ] {
        match count {
            Some(0) => refuse(&in_breaker.key(key), "0".to_owned(), "1 and more"),
            Some(count) => *place = count,
            None => {}
        }
    }
    let backoff = target.backoff.clone().unwrap_or_default();
    let in_backoff = at.key("backoff");
    for (at, span, place) in [
        (
            in_breaker.key("probe_every"),
            breaker.probe_every,
            &mut settings.probe_every,
        ),
        (in_breaker.key("max"), breaker.max, &mut settings.max_probe),
        (
            in_backoff.key("base"),
            backoff.base,
            &mut settings.backoff_base,
        ),
        (
            in_backoff.key("max"),
            backoff.max,
            &mut settings.backoff_max,
        ),
    ] {
        match span {
            Some(span) if span.0.is_zero() || span > Span::secs(86_400) => {
                refuse(&at, span.to_string(), "1ms to 1d");
            }
            Some(span) => *place = span.0,
            None => {}
        }
    }
    settings.max_probe = settings.max_probe.max(settings.probe_every);
    settings.backoff_max = settings.backoff_max.max(settings.backoff_base);
    match target.rate {
        Some(rate) if !rate.is_finite() || rate <= 0.0 => {
            refuse(
                &at.key("rate"),
                rate.to_string(),
                "records a second, above 0",
            );
        }
        Some(rate) => settings.rate = Some(rate),
        None => {}
    }
    match target.in_flight {
        Some(calls) if !(1..=256).contains(&calls) => {
            refuse(&at.key("in_flight"), calls.to_string(), "1 to 256");
        }
        Some(calls) => settings.in_flight = Some(calls),
        None => {}
    }
    match &target.batch {
        Some(None) => settings.batch = 1,
        Some(Some(batch)) => {
            let at = at.key("batch");
            match batch.max {
                Some(0) => refuse(&at.key("max"), "0".to_owned(), "1 and more"),
                Some(most) => settings.batch = most,
                None => {}
            }
            match batch.linger {
                Some(span) if span > Span::secs(60) => {
                    refuse(&at.key("linger"), span.to_string(), "0s to 1m");
                }
                Some(span) => settings.linger = Some(span.0),
                None => {}
            }
        }
        None => {}
    }
    settings
}
