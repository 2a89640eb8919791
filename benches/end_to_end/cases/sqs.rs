//! SQS at the fake endpoint: shared calls against the program that a good Rust team writes by hand. `sqs` asks for the
//! rate and the CPU with an endpoint that answers at once, `latency` for the time that sharing a call costs when the
//! endpoint takes 15 ms.

use std::net::SocketAddr;
use std::path::Path;

use crate::options::Options;
use crate::support::Outcome;
use crate::support::control;
use crate::support::figures::{Limit, Report};
use crate::support::gateway::{ONE_BY_ONE, SQS, Setup};
use crate::support::process::Server;
use crate::support::turns::{COLUMNS, Contestant, Round, compare, take};

use super::accept::orders;

pub fn fake_aws(core: Option<usize>) -> Outcome<Server> {
    Server::role("fake AWS", &["--role", "fake-aws"], core)
}

/// A program, and where it sends.
pub fn sending(server: Server, fake: SocketAddr) -> Contestant {
    Contestant {
        load: orders(&server),
        server,
        fake: Some(fake),
    }
}

fn axum(role: &str, name: &str, fake: SocketAddr) -> Outcome<Contestant> {
    let endpoint = fake.to_string();
    let server = Server::role(name, &["--role", role, "--endpoint", &endpoint], None)?;
    Ok(sending(server, fake))
}

pub const AXUM: &str = "axum, one send a request";
pub const SHARED: &str = "gateway";
pub const ALONE: &str = "gateway, batch: none";

/// The program by hand, the gateway as it comes, and the gateway that shares no call.
pub fn contestants(
    role: &str,
    integration: &str,
    fake: SocketAddr,
    folder: &Path,
) -> Outcome<[Contestant; 3]> {
    let gateway = Setup::orders(integration).endpoint(fake);
    let alone = gateway.clone().section(ONE_BY_ONE);
    Ok([
        axum(role, AXUM, fake)?,
        sending(gateway.start(folder, SHARED)?, fake),
        sending(alone.start(folder, ALONE)?, fake),
    ])
}

/// `COLUMNS`, and calls a message.
pub fn columns() -> Vec<&'static str> {
    [COLUMNS.as_slice(), &["calls a message"]].concat()
}

/// Messages that were acknowledged and that the endpoint does not have.
pub fn missing(rounds: &[Vec<Round>], fake: SocketAddr) -> Outcome<u64> {
    let acknowledged = rounds
        .iter()
        .flatten()
        .flat_map(|round| &round.tally.acknowledged);
    count_missing(acknowledged, fake)
}

pub fn count_missing<'n>(
    acknowledged: impl Iterator<Item = &'n u64>,
    fake: SocketAddr,
) -> Outcome<u64> {
    let seen = control::get(fake, "/seen")?;
    let stored = |number: &u64| {
        let at = usize::try_from(*number).unwrap_or(usize::MAX);
        seen.get(at).is_some_and(|count| *count > 0)
    };
    Ok(acknowledged.filter(|number| !stored(number)).count() as u64)
}

/// Ends the run if something is missing: no figure is worth anything then.
pub fn none_missing(report: &mut Report, rounds: &[Vec<Round>], fake: SocketAddr) -> Outcome<()> {
    let missing = missing(rounds, fake)?;
    report.budget(
        "acknowledged and missing",
        missing as f64,
        Limit::AtMost(0.0),
    );
    if missing > 0 {
        return Err(format!("{missing} acknowledged messages are missing").into());
    }
    Ok(())
}

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let pace = options.pace(5, 2.0);
    let mut report = Report::open(
        &options.results,
        "sqs",
        "SQS, endpoint at 0 ms, 1 KiB bodies. The gateway asks for a key, throttles, counts and logs; the program by hand does not.",
        &columns(),
    );
    let fake = fake_aws(None)?;
    let contestants = contestants("axum-sqs", SQS, fake.address, folder)?;
    for connections in options.connections(&[64, 256, 1024]) {
        let rounds = take(&contestants, connections, pace).await?;
        for (own, contestant) in rounds.iter().zip(&contestants) {
            let (compared, name) = (compare(own, &rounds[0]), contestant.server.name.as_str());
            let mut cells = compared.cells(name, connections);
            cells.push(
                compared
                    .calls
                    .map_or("?".to_owned(), |calls| calls.to_string()),
            );
            report.row(&cells, compared.json(name, connections));
            if name != SHARED {
                continue;
            }
            report.budget(
                &format!("rate against axum, {connections} connections"),
                compared.rate_ratio.median,
                Limit::AtLeast(3.0),
            );
            report.budget(
                &format!("CPU against axum, {connections} connections"),
                compared.cpu_ratio.median,
                Limit::AtMost(0.33),
            );
            if let (256, Some(calls)) = (connections, compared.calls) {
                report.budget(
                    "calls a message, 256 connections",
                    calls.median,
                    Limit::AtMost(0.15),
                );
            }
        }
        none_missing(&mut report, &rounds, fake.address)?;
    }
    let stats = control::get_json(fake.address, "/stats")?;
    report.note(format!(
        "endpoint: {} unsigned calls, {} malformed",
        stats["unsigned"], stats["malformed"]
    ));
    report.close()
}

pub async fn latency(options: &Options, folder: &Path) -> Outcome<()> {
    let pace = options.pace(5, 2.0);
    let mut report = Report::open(
        &options.results,
        "latency",
        "SQS, endpoint at 15 ms (a timer that sleeps 16), 1 KiB bodies.",
        &columns(),
    );
    let fake = fake_aws(None)?;
    control::post(fake.address, "/mood", r#"{"delay_ms":15}"#)?;
    let contestants = contestants("axum-sqs", SQS, fake.address, folder)?;
    for connections in options.connections(&[64, 256, 1024]) {
        let rounds = take(&contestants, connections, pace).await?;
        let mut one_by_one = f64::NAN;
        for (own, contestant) in rounds.iter().zip(&contestants) {
            let (compared, name) = (compare(own, &rounds[0]), contestant.server.name.as_str());
            let mut cells = compared.cells(name, connections);
            cells.push(
                compared
                    .calls
                    .map_or("?".to_owned(), |calls| calls.to_string()),
            );
            report.row(&cells, compared.json(name, connections));
            if name == AXUM {
                one_by_one = compared.p50.median;
            }
            if name != SHARED {
                continue;
            }
            if connections == 64 {
                report.budget(
                    "p50 over one by one, ms, 64 connections",
                    compared.p50.median - one_by_one,
                    Limit::AtMost(2.0),
                );
            }
            if let (256, Some(calls)) = (connections, compared.calls) {
                report.budget(
                    "calls a message, 256 connections",
                    calls.median,
                    Limit::AtMost(0.15),
                );
            }
        }
        none_missing(&mut report, &rounds, fake.address)?;
    }
    report.close()
}
