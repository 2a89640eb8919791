//! Is anything that was acknowledged missing? SQS, Kinesis and EventBridge at an endpoint that fails, throttles, loses
//! replies, refuses entries of batches, all at once; and the same with a `kill -9` in the midst. After each mood the
//! endpoint is well again, the spool empties itself, and every acknowledged number is looked for.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::options::Options;
use crate::support::Outcome;
use crate::support::client::{Clients, Load};
use crate::support::control;
use crate::support::figures::{Limit, Report};
use crate::support::gateway::{EVENTS, KINESIS, SQS, Setup};
use crate::support::process::Server;
use crate::support::requests::{Prototype, keyed};

use super::sqs::{count_missing, fake_aws};

const MOODS: [(&str, &str, bool); 6] = [
    ("errors", r#"{"error_rate":0.05}"#, false),
    ("throttling", r#"{"throttle_rate":0.1}"#, false),
    ("lost replies", r#"{"lost_reply_rate":0.02}"#, false),
    ("partial failures", r#"{"partial_rate":0.05}"#, false),
    ("all of these", ALL, false),
    ("all of these, and kill -9", ALL, true),
];
pub const ALL: &str = r#"{"delay_ms":2,"error_rate":0.02,"throttle_rate":0.03,"lost_reply_rate":0.01,"partial_rate":0.03}"#;
const MODES: [&str; 3] = ["target", "target-or-spool", "spool"];

/// A route to each service, acknowledged this way.
fn setup(mode: &str, fake: &Server) -> Setup {
    let mut setup = Setup::default()
        .endpoint(fake.address)
        .section("targets: { default: { breaker: { probe_every: 50ms, max: 200ms }, backoff: { base: 20ms, max: 200ms } } }");
    for (path, integration) in [("sqs", SQS), ("kinesis", KINESIS), ("events", EVENTS)] {
        setup = setup.route(
            &format!("POST /{path}"),
            "authorizer: api_key",
            &format!("ack: {mode}\n    {integration}"),
        );
    }
    setup
}

fn load(server: &Server) -> Load {
    let requests = ["/sqs", "/kinesis", "/events"];
    Load {
        address: server.address,
        tls: None,
        requests: requests
            .map(|path| Prototype::numbered(path, &keyed(), 512))
            .into(),
    }
}

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let length = options.length(3.0);
    let connections = options.connections(&[64])[0];
    let mut report = Report::open(
        &options.results,
        "integrity",
        "SQS, Kinesis and EventBridge in turn; after each mood the spool is emptied and every acknowledged number looked for.",
        &[
            "ack",
            "mood",
            "acknowledged",
            "answers",
            "missing",
            "stored twice",
        ],
    );
    let mut all_missing = 0;
    for mode in MODES {
        let fake = fake_aws(None)?;
        let setup = setup(mode, &fake);
        let mut server = setup.start(folder, mode)?;
        for (name, mood, kill) in MOODS {
            let before = control::get_json(fake.address, "/stats")?;
            control::post(fake.address, "/mood", mood)?;
            let clients = Clients::start(&load(&server), connections);
            clients.measure();
            tokio::time::sleep(length).await;
            if kill {
                server.kill()?;
            }
            let tally = clients.stop().await?;
            control::post(fake.address, "/mood", "{}")?;
            if kill {
                server = setup.start(folder, mode)?;
            }
            emptied(&server).await?;
            let missing = count_missing(tally.acknowledged.iter(), fake.address)?;
            all_missing += missing;
            let after = control::get_json(fake.address, "/stats")?;
            let twice = after["duplicates"].as_u64().unwrap_or_default()
                - before["duplicates"].as_u64().unwrap_or_default();
            report.row(
                &[
                    mode.to_owned(),
                    name.to_owned(),
                    tally.acknowledged.len().to_string(),
                    tally.shown(),
                    missing.to_string(),
                    twice.to_string(),
                ],
                json!({
                    "ack": mode, "mood": name, "acknowledged": tally.acknowledged.len(),
                    "statuses": tally.statuses, "missing": missing, "duplicates": twice,
                }),
            );
        }
    }
    report.budget(
        "acknowledged and missing",
        all_missing as f64,
        Limit::AtMost(0.0),
    );
    report.close()?;
    match all_missing {
        0 => Ok(()),
        missing => Err(format!("{missing} acknowledged messages are missing").into()),
    }
}

/// Waits until nothing is spooled any more.
pub async fn emptied(server: &Server) -> Outcome<()> {
    let admin = server.admin.ok_or("no admin listener")?;
    let began = Instant::now();
    loop {
        let spooled = spooled(admin)?;
        if spooled == 0 {
            return Ok(());
        }
        if began.elapsed() > Duration::from_secs(120) {
            return Err(format!("{spooled} records are still spooled after two minutes").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Records on their way, over all targets.
pub fn spooled(admin: std::net::SocketAddr) -> Outcome<u64> {
    let targets = control::get_json(admin, "/v1/targets")?;
    let targets = targets["targets"].as_array().or(targets.as_array());
    let targets = targets.ok_or("/v1/targets lists no targets")?;
    Ok(targets
        .iter()
        .filter_map(|target| target["spooled"].as_u64())
        .sum())
}
