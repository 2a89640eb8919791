//! Other gateways beside this one, at the same endpoint and with acknowledgement on: those that can be had here. What
//! cannot is named with the reason, and skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::options::Options;
use crate::support::Outcome;
use crate::support::control;
use crate::support::figures::Report;
use crate::support::gateway::SQS;
use crate::support::process::Server;
use crate::support::turns::{Contestant, compare, take};

use super::sqs::{columns, contestants, fake_aws, none_missing, sending};

/// What the Fastify program needs, at the versions that the figures are of.
const PACKAGES: [&str; 3] = [
    "fastify@5",
    "@aws-sdk/client-sqs@3",
    "@smithy/node-http-handler@4",
];

/// Programs that sign SQS requests or speak SQS, and that we would measure where they are installed.
const WANTED: [(&str, &str); 3] = [
    (
        "envoy",
        "no package of this system's; its distribution is a container image",
    ),
    (
        "fluent-bit",
        "no package of this system's, and its http input answers before an output has acknowledged",
    ),
    ("svix-bridge", "built from source alone"),
];

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let pace = options.pace(5, 2.0);
    let mut report = Report::open(
        &options.results,
        "peers",
        "SQS at the fake endpoint, 0 ms, 1 KiB bodies; ratios to axum.",
        &columns(),
    );
    let fake = fake_aws(None)?;
    let mut all: Vec<Contestant> = contestants("axum-sqs", SQS, fake.address, folder)?.into();
    match fastify(&fake.address.to_string()) {
        Ok(server) => all.push(sending(server, fake.address)),
        Err(error) => report.note(format!("Fastify skipped: {error}")),
    }
    for (name, why) in WANTED {
        report.note(format!("{name} skipped: {why}"));
    }
    for connections in options.connections(&[64, 256]) {
        let rounds = take(&all, connections, pace).await?;
        for (own, contestant) in rounds.iter().zip(&all) {
            let (compared, name) = (compare(own, &rounds[0]), contestant.server.name.as_str());
            let mut cells = compared.cells(name, connections);
            cells.push(
                compared
                    .calls
                    .map_or("?".to_owned(), |calls| calls.to_string()),
            );
            report.row(&cells, compared.json(name, connections));
        }
        none_missing(&mut report, &rounds, fake.address)?;
    }
    let stats = control::get_json(fake.address, "/stats")?;
    report.note(format!("endpoint: {stats}"));
    report.close()
}

/// Node's program; its packages are fetched once, beside the build.
fn fastify(endpoint: &str) -> Outcome<Server> {
    let home: PathBuf = [env!("CARGO_TARGET_TMPDIR"), "peers"].iter().collect();
    std::fs::create_dir_all(&home)?;
    if !home.join("node_modules/fastify").exists() {
        let installed = Command::new("npm")
            .args(["install", "--no-fund", "--no-audit", "--silent", "--prefix"])
            .arg(&home)
            .args(PACKAGES)
            .stdout(Stdio::null())
            .status()
            .map_err(|error| format!("npm: {error}"))?;
        if !installed.success() {
            return Err("npm could not install its packages".into());
        }
    }
    // Node resolves a program's imports from the folder that holds it.
    let program = home.join("fastify.mjs");
    std::fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/fastify.mjs"),
        &program,
    )?;
    Server::program(
        "Fastify and SDK, one send a request",
        Command::new("node")
            .arg(&program)
            .arg(format!("http://{endpoint}"))
            .env("NODE_ENV", "production"),
    )
}
