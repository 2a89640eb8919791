//! How much room the process has: for `/readyz` and `/metrics`.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::{Value, json};

use super::metrics::signed;
use crate::limit::admission::{Level as Room, Report};
use crate::telemetry::metrics::{Count, Level, Name};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTarget {
    target: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByBudget {
    budget: &'static str,
}

/// What stands in the way of further requests, or is about to.
pub(super) fn obstacles(report: &Report) -> Vec<String> {
    let full = |room: &Room| {
        let Room {
            used, limit, what, ..
        } = room;
        room.near
            .then(|| format!("{used} of {limit} {what} are taken"))
    };
    let rooms = [&report.places, &report.bodies, &report.memory];
    let mut obstacles: Vec<String> = rooms.into_iter().filter_map(full).collect();
    if report.late {
        obstacles.push(format!(
            "requests wait for the CPU, {} ms of late",
            report.cpu_wait.as_millis()
        ));
    }
    obstacles
}

/// The budgets as `/readyz` shows them. A limit that is not there is null.
pub(super) fn shown(report: &Report) -> Value {
    let room = |room: &Room| {
        let limit = Some(room.limit).filter(|limit| *limit > 0);
        json!({ "used": room.used, "limit": limit })
    };
    json!({
        "inFlight": room(&report.places),
        "bodies": room(&report.bodies),
        "memory": room(&report.memory),
        "cpuWaitSeconds": report.cpu_wait.as_secs_f64(),
    })
}

/// The budgets as `/metrics` shows them.
pub(super) fn metrics(report: &Report, registry: &mut Registry) {
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: u64| {
        let level = Level::default();
        level.set(signed(value));
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, level),
            None => registry.register(name, help, level),
        }
    };
    let Report {
        places,
        bodies,
        memory,
        ..
    } = report;
    let bytes = || Some(Unit::Bytes);
    gauge(
        "slots_used",
        "Places for requests in flight that are taken",
        None,
        places.used,
    );
    gauge(
        "slots_limit",
        "Places for requests in flight",
        None,
        places.limit,
    );
    gauge(
        "bodies_in_flight",
        "Bodies of requests in flight, as declared or as they have come",
        bytes(),
        bodies.used,
    );
    gauge(
        "bodies_in_flight_limit",
        "Bytes of bodies that may be in flight; 0: any number",
        bytes(),
        bodies.limit,
    );
    gauge(
        "memory_used",
        "Memory in use that the kernel cannot take back, and bodies let in since it was looked at",
        bytes(),
        memory.used,
    );
    gauge(
        "memory_limit",
        "Memory in use at which requests are refused; 0: none",
        bytes(),
        memory.limit,
    );
    let wait = Gauge::<f64, AtomicU64>::default();
    wait.set(report.cpu_wait.as_secs_f64());
    registry.register_with_unit(
        "cpu_wait",
        "How long work waits for the CPU at the least, over the last tenth of a second",
        Unit::Seconds,
        wait,
    );
    let refused: Family<ByBudget, Count> = Family::default();
    for (budget, count) in report.refused {
        refused.get_or_create(&ByBudget { budget }).inc_by(count);
    }
    registry.register(
        "overload_refusals",
        "Requests refused with the code `overloaded`, by the budget that had no room",
        refused,
    );
    let used: Family<ByTarget, Level> = Family::default();
    let limits: Family<ByTarget, Level> = Family::default();
    for (target, taken, limit) in &report.targets {
        let by = ByTarget {
            target: Name(target.clone()),
        };
        used.get_or_create(&by).set(signed(*taken));
        limits.get_or_create(&by).set(signed(*limit));
    }
    registry.register(
        "target_slots_used",
        "Requests under way whose route leads to the target",
        used,
    );
    registry.register(
        "target_slots_limit",
        "Requests that may be under way to the target",
        limits,
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::limit::admission::{Admission, Settings};
    use crate::limit::clock::Clock;

    #[test]
    fn a_gateway_that_comes_late_is_not_ready() {
        let settings = Settings {
            in_flight: 10,
            memory: None,
            bodies: None,
            largest_body: 100,
            cpu_wait: None,
        };
        let report = Admission::new(&settings, Counter::default(), Clock::standing()).report();
        assert_eq!(obstacles(&report), [""; 0]);
        let late = Report {
            late: true,
            cpu_wait: Duration::from_millis(70),
            ..report
        };
        assert_eq!(
            obstacles(&late),
            ["requests wait for the CPU, 70 ms of late"]
        );
    }
}
