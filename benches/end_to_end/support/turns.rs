//! Programs that take turns: each round loads one after the other, and begins with another one each time, since who
//! comes after whom makes a difference on a shared machine. Figures of one round are compared with each other only.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Outcome;
use super::client::{Clients, Load, Tally};
use super::control;
use super::figures::Spread;
use super::process::Server;

/// One program of a comparison.
pub struct Contestant {
    pub server: Server,
    pub load: Load,
    /// The endpoint that it sends to, where calls are to be counted.
    pub fake: Option<SocketAddr>,
}

/// What one program did in one round.
pub struct Round {
    /// Successes a second.
    pub rate: f64,
    /// CPU time of the program, microseconds for each success.
    pub cpu: f64,
    pub tally: Tally,
    pub resident_kib: u64,
    /// Calls to the fake endpoint for each record that it stored.
    pub calls: Option<f64>,
}

/// How long, and how often.
#[derive(Clone, Copy)]
pub struct Pace {
    pub rounds: usize,
    pub length: Duration,
}

impl Pace {
    fn warm_up(&self) -> Duration {
        (self.length / 4).min(Duration::from_millis(500))
    }
}

/// By contestant, then by round.
pub async fn take(
    contestants: &[Contestant],
    connections: usize,
    pace: Pace,
) -> Outcome<Vec<Vec<Round>>> {
    let mut taken: Vec<Vec<Round>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..pace.rounds {
        for turn in 0..contestants.len() {
            let at = (turn + round) % contestants.len();
            taken[at].push(one(&contestants[at], connections, pace).await?);
        }
    }
    Ok(taken)
}

async fn one(contestant: &Contestant, connections: usize, pace: Pace) -> Outcome<Round> {
    let counts = || -> Outcome<Option<(u64, u64)>> {
        let Some(fake) = contestant.fake else {
            return Ok(None);
        };
        let stats = control::get_json(fake, "/stats")?;
        let count = |name: &str| stats[name].as_u64().unwrap_or_default();
        Ok(Some((count("calls"), count("records"))))
    };
    let clients = Clients::start(&contestant.load, connections);
    tokio::time::sleep(pace.warm_up()).await;
    let sent = counts()?;
    clients.measure();
    let (cpu, done, began) = (contestant.server.cpu()?, clients.done(), Instant::now());
    tokio::time::sleep(pace.length).await;
    let (cpu, done, took) = (
        contestant.server.cpu()?.saturating_sub(cpu),
        clients.done() - done,
        began.elapsed(),
    );
    let calls = match (sent, counts()?) {
        (Some((calls, records)), Some((more_calls, more_records))) => {
            Some((more_calls - calls) as f64 / (more_records - records).max(1) as f64)
        }
        _ => None,
    };
    let resident_kib = contestant.server.resident_kib()?;
    let tally = clients.stop().await?;
    // A round may be too short for a disk that is busy; a program that serves nothing at all is no contestant.
    if tally.successes() == 0 {
        return Err(format!(
            "{} has answered nothing with success ({})",
            contestant.server.name,
            tally.shown()
        )
        .into());
    }
    Ok(Round {
        rate: done as f64 / took.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / done.max(1) as f64,
        tally,
        resident_kib,
        calls,
    })
}

/// A contestant's rounds, in figures; ratios are to the first contestant's, round by round.
pub struct Compared {
    pub rate: Spread,
    pub cpu: Spread,
    pub rate_ratio: Spread,
    pub cpu_ratio: Spread,
    pub p50: Spread,
    pub p99: Spread,
    pub p999: Spread,
    pub calls: Option<Spread>,
    pub resident_mib: f64,
    /// Answers that were no success, and connections that ended without one.
    pub refused: u64,
}

pub fn compare(own: &[Round], first: &[Round]) -> Compared {
    let spread = |value: &dyn Fn(&Round) -> f64| Spread::of(own.iter().map(value));
    let ratio = |value: &dyn Fn(&Round) -> f64| {
        Spread::of(
            own.iter()
                .zip(first)
                .map(|(own, first)| value(own) / value(first)),
        )
    };
    let calls: Vec<f64> = own.iter().filter_map(|round| round.calls).collect();
    Compared {
        rate: spread(&|round| round.rate),
        cpu: spread(&|round| round.cpu),
        rate_ratio: ratio(&|round| round.rate),
        cpu_ratio: ratio(&|round| round.cpu),
        p50: spread(&|round| round.tally.latency.millis(0.5)),
        p99: spread(&|round| round.tally.latency.millis(0.99)),
        p999: spread(&|round| round.tally.latency.millis(0.999)),
        calls: (!calls.is_empty()).then(|| Spread::of(calls)),
        resident_mib: own
            .iter()
            .map(|round| round.resident_kib)
            .max()
            .unwrap_or(0) as f64
            / 1024.0,
        refused: own
            .iter()
            .map(|round| {
                round
                    .tally
                    .answers(|status| !super::client::is_success(status))
                    + round.tally.broken
            })
            .sum(),
    }
}

/// The columns that `Compared::cells` fills.
pub const COLUMNS: [&str; 11] = [
    "program",
    "connections",
    "req/s",
    "CPU µs a request",
    "CPU ratio",
    "rate ratio",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "RSS MiB",
    "refused",
];

impl Compared {
    pub fn cells(&self, name: &str, connections: usize) -> Vec<String> {
        vec![
            name.to_owned(),
            connections.to_string(),
            format!("{:.0}", self.rate.median),
            self.cpu.to_string(),
            self.cpu_ratio.to_string(),
            self.rate_ratio.to_string(),
            format!("{:.2}", self.p50.median),
            format!("{:.2}", self.p99.median),
            format!("{:.2}", self.p999.median),
            format!("{:.0}", self.resident_mib),
            self.refused.to_string(),
        ]
    }

    pub fn json(&self, name: &str, connections: usize) -> Value {
        json!({
            "program": name,
            "connections": connections,
            "rate": self.rate.json(),
            "cpu_micros": self.cpu.json(),
            "cpu_ratio": self.cpu_ratio.json(),
            "rate_ratio": self.rate_ratio.json(),
            "p50_ms": self.p50.json(),
            "p99_ms": self.p99.json(),
            "p999_ms": self.p999.json(),
            "calls_per_message": self.calls.map(|calls| calls.json()),
            "resident_mib": self.resident_mib,
            "refused": self.refused,
        })
    }
}
