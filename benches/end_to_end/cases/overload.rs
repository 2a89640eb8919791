//! Three times what it can do: how much of its capacity a gateway still serves, how long those whom it serves wait, and
//! whether it is as before when the load is gone. The gateway has one core, its clients and the endpoint another, where
//! `taskset` and two cores are there; else they share, and the figures say less.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::options::Options;
use crate::support::Outcome;
use crate::support::client::{Clients, Load};
use crate::support::control;
use crate::support::figures::{Limit, Report};
use crate::support::gateway::{QUEUE, SQS, Setup};
use crate::support::open_loop::Lines;
use crate::support::process::{Server, allow_descriptors, can_pin, cpu_of, pin_self};

use super::accept::orders;
use super::sqs::{count_missing, fake_aws};

/// More than a gateway lets be in flight by default.
const CONNECTIONS: usize = 5_000;
/// Those of the closed loop that finds the capacity.
const CLOSED: usize = 256;
/// Until then a load is new, and told of by itself.
const SETTLING: Duration = Duration::from_secs(2);
const GATEWAYS_CORE: usize = 1;
const CLIENTS_CORE: usize = 0;

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let pinned = can_pin();
    let connections = options.connections(&[CONNECTIONS])[0];
    let allowed = allow_descriptors(connections as u64 + 1024)?;
    let connections = connections.min(usize::try_from(allowed)?.saturating_sub(1024));
    if pinned {
        pin_self(CLIENTS_CORE)?;
    }
    let cores = if pinned {
        "the gateway on one core, clients and endpoint on another"
    } else {
        "gateway, clients and endpoint share the cores"
    };
    let mut report = Report::open(
        &options.results,
        "overload",
        &format!(
            "Open loop over {connections} connections after a closed loop of {CLOSED}; {cores}. Latencies of successes, from sending (from being due), from the third second of each load on."
        ),
        &[
            "target",
            "load",
            "due/s",
            "sent/s",
            "successes/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "first 2 s: p99 ms",
            "refusals' p99 ms",
            "answers",
            "RSS MiB",
            "clients' CPU",
        ],
    );
    let fake = fake_aws(pinned.then_some(CLIENTS_CORE))?;
    control::post(fake.address, "/mood", r#"{"delay_ms":5}"#)?;
    let core = pinned.then_some(GATEWAYS_CORE);
    let embedded = Setup::orders(QUEUE).section("queues: { orders: {} }");
    let sqs = Setup::orders(SQS).endpoint(fake.address);
    for (name, setup, fake) in [
        ("embedded queue", embedded, None),
        ("SQS at 5 ms", sqs, Some(&fake)),
    ] {
        let server = setup.start_on(folder, name, core)?;
        one(
            &mut report,
            name,
            &server,
            fake,
            connections,
            options.length(8.0),
        )
        .await?;
    }
    report.close()
}

async fn one(
    report: &mut Report,
    name: &str,
    server: &Server,
    fake: Option<&Server>,
    connections: usize,
    length: Duration,
) -> Outcome<()> {
    let load = orders(server);
    let capacity = capacity(&load, length / 2).await?;
    let mut lines = Lines::open(&load, connections).await?;
    // What thousands of new connections cost at first is no part of what a load costs.
    let warm_up = lines.offer(capacity * 0.5, SETTLING, length).await?;
    let mut acknowledged = warm_up.tally.acknowledged;
    let (mut goodput, mut p99) = (Vec::new(), Vec::new());
    for (step, times) in [
        ("half", 0.5),
        ("full", 1.0),
        ("three times", 3.0),
        ("half again", 0.5),
    ] {
        let due = capacity * times;
        let before = cpu_of(std::process::id())?;
        let offer = lines.offer(due, SETTLING, length).await?;
        let spent = cpu_of(std::process::id())?.saturating_sub(before);
        let seconds = offer.took.as_secs_f64();
        let successes = offer.tally.successes() as f64 / seconds;
        let at = |share| offer.tally.latency.millis(share);
        let shown = |share| format!("{:.1} ({:.1})", at(share), offer.since_due.millis(share));
        report.row(
            &[
                name.to_owned(),
                step.to_owned(),
                format!("{due:.0}"),
                format!("{:.0}", offer.sent as f64 / seconds),
                format!("{successes:.0}"),
                shown(0.5),
                shown(0.99),
                shown(0.999),
                format!("{:.1}", offer.onset.millis(0.99)),
                format!("{:.1}", offer.refusals.millis(0.99)),
                offer.tally.shown(),
                format!("{}", server.resident_kib()? >> 10),
                format!("{:.0} %", spent.as_secs_f64() * 100.0 / (seconds + SETTLING.as_secs_f64())),
            ],
            json!({
                "target": name, "load": step, "capacity": capacity, "due": due, "sent": offer.sent as f64 / seconds,
                "unsent": offer.unsent, "successes": successes, "p50_ms": at(0.5), "p99_ms": at(0.99), "p999_ms": at(0.999),
                "onset_p99_ms": offer.onset.millis(0.99), "p99_since_due_ms": offer.since_due.millis(0.99), "statuses": offer.tally.statuses,
                "hung_up": offer.tally.broken, "clients_cpu": spent.as_secs_f64() / (seconds + SETTLING.as_secs_f64()),
            }),
        );
        goodput.push(successes);
        p99.push(at(0.99));
        acknowledged.extend(offer.tally.acknowledged);
    }
    if goodput[2] > 1.2 * capacity {
        report.note(format!(
            "{name}: more was served at 3 times than the capacity that was found: something else ran on this machine, and nothing follows"
        ));
    }
    report.note(format!(
        "{name}: capacity, closed loop: {capacity:.0} successes a second"
    ));
    report.budget(
        &format!("{name}: goodput at 3 times capacity over that at capacity"),
        goodput[2] / goodput[1],
        Limit::AtLeast(0.9),
    );
    report.budget(
        &format!("{name}: p99 at 3 times capacity over that at half"),
        p99[2] / p99[0],
        Limit::AtMost(3.0),
    );
    report.budget(
        &format!("{name}: goodput at half, afterwards over before"),
        goodput[3] / goodput[0],
        Limit::AtLeast(0.95),
    );
    if let Some(fake) = fake {
        let missing = count_missing(acknowledged.iter(), fake.address)?;
        report.budget(
            &format!("{name}: acknowledged and missing"),
            missing as f64,
            Limit::AtMost(0.0),
        );
    }
    Ok(())
}

/// Successes a second of clients that ask again as soon as they are answered: the best of three stretches, since what
/// disturbs only takes.
async fn capacity(load: &Load, length: Duration) -> Outcome<f64> {
    let clients = Clients::start(load, CLOSED);
    tokio::time::sleep(length / 4).await;
    let mut best = 0.0f64;
    for _ in 0..3 {
        let (done, began) = (clients.done(), Instant::now());
        tokio::time::sleep(length).await;
        let rate = (clients.done() - done) as f64 / began.elapsed().as_secs_f64();
        best = best.max(rate);
    }
    clients.stop().await?;
    if best == 0.0 {
        return Err("the gateway serves nothing".into());
    }
    Ok(best)
}
