//! Two questions about the spool: how much of the store's own durable rate a client of `ack: spool` gets, and what a
//! start over a deep spool costs in time and memory.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use penstock::store::{Once, Options as StoreOptions, Store};
use serde_json::json;

use crate::options::Options;
use crate::roles::{SPOOL_TARGET, record};
use crate::support::Outcome;
use crate::support::figures::{Limit, Report, Spread};
use crate::support::gateway::Setup;
use crate::support::turns::{Contestant, take};

use super::accept::orders;

/// A route whose target refuses connections: its breaker is open, and accepting is all that happens.
pub fn spooling() -> Setup {
    Setup::orders(
        "ack: spool\n    integration: { SQS-SendMessage: { QueueUrl: 'http://127.0.0.1:9/000000000000/orders', MessageBody: $request.body } }",
    )
    .section("aws: { region: us-east-1, endpoint: 'http://127.0.0.1:9' }")
}

/// 1 KiB, against the same store driven by as many tasks of a process of its own.
pub async fn accept(options: &Options, folder: &Path) -> Outcome<()> {
    let mut pace = options.pace(5, 2.0);
    let rounds = std::mem::replace(&mut pace.rounds, 1);
    let mut report = Report::open(
        &options.results,
        "spool-accept",
        "1 KiB bodies; the target refuses connections, so that accepting is all that happens.",
        &[
            "producers",
            "store in-process, records/s",
            "`ack: spool`, requests/s",
            "ratio",
        ],
    );
    for producers in options.connections(&[64, 256, 1024]) {
        let (mut alone, mut served, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let in_process = Command::new(std::env::current_exe()?)
                .args([
                    "--role",
                    "store-spool",
                    "--producers",
                    &producers.to_string(),
                ])
                .args(["--seconds", &pace.length.as_secs_f64().to_string()])
                .output()?;
            let own: f64 = String::from_utf8(in_process.stdout)?.trim().parse()?;
            let server = spooling().start(folder, &format!("{producers} {round}"))?;
            let contestant = Contestant {
                load: orders(&server),
                server,
                fake: None,
            };
            let rate = take(&[contestant], producers, pace).await?[0][0].rate;
            alone.push(own);
            served.push(rate);
            ratios.push(rate / own);
        }
        let (alone, served, ratio) = (Spread::of(alone), Spread::of(served), Spread::of(ratios));
        report.row(
            &[producers.to_string(), alone.to_string(), served.to_string(), ratio.to_string()],
            json!({ "producers": producers, "store": alone.json(), "gateway": served.json(), "ratio": ratio.json() }),
        );
        if producers == 256 {
            report.budget(
                "rate against the store's own, 256 producers",
                ratio.median,
                Limit::AtLeast(0.7),
            );
        }
    }
    report.close()
}

/// Fills the spool of a gateway that does not run. Records, and bytes of calls.
pub async fn fill(path: &Path, mebibytes: u64) -> Outcome<(u64, u64)> {
    let mut options = StoreOptions::new(path);
    options.max_size = (mebibytes << 20) * 4 + (10 << 30);
    let store = Store::open(options)?;
    let wanted = mebibytes << 20;
    while store.spool_depth(SPOOL_TARGET).bytes < wanted {
        let mut batch = Vec::new();
        for _ in 0..256 {
            let store = store.clone();
            let records = vec![record(), record(), record(), record()];
            batch.push(tokio::spawn(
                async move { store.spool(records, None).await },
            ));
        }
        for spooled in batch {
            if let Once::Known(_) = spooled.await?? {
                return Err("a record without a key is known".into());
            }
        }
    }
    let depth = store.spool_depth(SPOOL_TARGET);
    store.close().await;
    Ok((depth.depth, depth.bytes))
}

pub async fn backlog(options: &Options, folder: &Path) -> Outcome<()> {
    let setup = spooling().store(&format!("max_size: {}MiB", options.mebibytes * 4 + 10_240));
    let file = setup.write(folder, "backlog")?;
    let (records, bytes) = fill(&file.with_file_name("data"), options.mebibytes).await?;
    let mut report = Report::open(
        &options.results,
        "spool-backlog",
        &format!(
            "A start over {records} spooled records, {} MiB of calls.",
            bytes >> 20
        ),
        &[
            "start",
            "until it serves, s",
            "resident after it, MiB",
            "resident later, MiB",
        ],
    );
    for start in ["after a close", "after kill -9", "after kill -9, again"] {
        let began = Instant::now();
        let mut server = setup.start(folder, "backlog")?;
        let served = began.elapsed().as_secs_f64();
        let first = server.resident_kib()? >> 10;
        tokio::time::sleep(options.length(10.0).min(Duration::from_secs(10))).await;
        let later = server.resident_kib()? >> 10;
        report.row(
            &[
                start.to_owned(),
                format!("{served:.2}"),
                first.to_string(),
                later.to_string(),
            ],
            json!({ "start": start, "seconds": served, "first_mib": first, "later_mib": later }),
        );
        server.kill()?;
    }
    report.close()
}
