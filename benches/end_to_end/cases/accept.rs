//! What accepting costs: against a server that only reads the body, with a target that does nothing (`accept`) and with
//! one that fsyncs (`queue`).

use std::path::Path;

use crate::options::Options;
use crate::support::Outcome;
use crate::support::client::Load;
use crate::support::figures::{Limit, Report};
use crate::support::gateway::{MOCK, QUEUE, Setup};
use crate::support::process::Server;
use crate::support::requests::{Prototype, keyed};
use crate::support::turns::{COLUMNS, Contestant, compare, take};

use super::door;

/// 1 KiB to `POST /orders`, with the key.
pub fn orders(server: &Server) -> Load {
    Load {
        address: server.address,
        tls: None,
        requests: [Prototype::numbered("/orders", &keyed(), 1024)].into(),
    }
}

fn contestant(server: Server) -> Contestant {
    Contestant {
        load: orders(&server),
        server,
        fake: None,
    }
}

pub fn bare() -> Outcome<Contestant> {
    let server = Server::role("bare hyper", &["--role", "bare-hyper"], None)?;
    Ok(contestant(server))
}

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let pace = options.pace(5, 2.0);
    let mut report = Report::open(
        &options.results,
        "accept",
        "Mock target; throttle, route, metrics and access log on; 1 KiB bodies; against bare hyper.",
        &COLUMNS,
    );
    let tokens = Setup::default()
        .section(&door::trust())
        .route("POST /orders", "authorizer: staff", MOCK)
        .start(folder, "jwt")?;
    let requests = door::tokens("POST", "/orders", 1024)?;
    let contestants = [
        bare()?,
        contestant(Setup::orders(MOCK).start(folder, "gateway, API key")?),
        Contestant {
            load: Load {
                address: tokens.address,
                tls: None,
                requests: requests.into(),
            },
            server: tokens,
            fake: None,
        },
    ];
    let names = ["bare hyper", "gateway, API key", "gateway, 256 cached JWTs"];
    for connections in options.connections(&[64, 256, 1024]) {
        let rounds = take(&contestants, connections, pace).await?;
        for (own, name) in rounds.iter().zip(names) {
            let compared = compare(own, &rounds[0]);
            report.row(
                &compared.cells(name, connections),
                compared.json(name, connections),
            );
            if name != names[0] {
                report.budget(
                    &format!("{name}: CPU against bare hyper, {connections} connections"),
                    compared.cpu_ratio.median,
                    Limit::AtMost(1.8),
                );
            }
        }
    }
    report.close()
}

pub async fn queue(options: &Options, folder: &Path) -> Outcome<()> {
    let pace = options.pace(5, 2.0);
    let mut report = Report::open(
        &options.results,
        "queue",
        "The embedded queue, fsynced before the answer; key, throttle, metrics, access log on; against bare hyper.",
        &COLUMNS,
    );
    let setup = Setup::orders(QUEUE).section("queues: { orders: {} }");
    let contestants = [
        bare()?,
        contestant(setup.start(folder, "gateway, embedded queue")?),
    ];
    for connections in options.connections(&[64, 256, 1024]) {
        let rounds = take(&contestants, connections, pace).await?;
        for (own, contestant) in rounds.iter().zip(&contestants) {
            let (compared, name) = (compare(own, &rounds[0]), &contestant.server.name);
            report.row(
                &compared.cells(name, connections),
                compared.json(name, connections),
            );
            if name == "bare hyper" {
                continue;
            }
            let (rate, cpu) = match connections {
                256 => (Some(0.25), Some(3.5)),
                1024 => (Some(0.6), None),
                _ => (None, None),
            };
            if let Some(limit) = rate {
                report.budget(
                    &format!("rate against bare hyper, {connections} connections"),
                    compared.rate_ratio.median,
                    Limit::AtLeast(limit),
                );
            }
            if let Some(limit) = cpu {
                report.budget(
                    &format!("CPU against bare hyper, {connections} connections"),
                    compared.cpu_ratio.median,
                    Limit::AtMost(limit),
                );
            }
        }
    }
    report.close()
}
