//! Ten minutes of everything at once, at an endpoint whose mood changes: does memory stay flat, do descriptors, and is
//! everything that was acknowledged found again? SQS, Kinesis and EventBridge with each acknowledgement, an embedded
//! queue with a consumer, keys, tokens, and requests that have to be refused.

use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::options::Options;
use crate::support::Outcome;
use crate::support::client::{Clients, Load};
use crate::support::control;
use crate::support::figures::{Limit, Report};
use crate::support::gateway::{EVENTS, KINESIS, MOCK, QUEUE, SQS, Setup};
use crate::support::process::Server;
use crate::support::requests::{Prototype, keyed};

use super::consumer::Consumer;
use super::door;
use super::integrity::{ALL, emptied};
use super::sqs::{count_missing, fake_aws};

/// In turn, each for a thirtieth of the time.
const MOODS: [&str; 5] = [
    "{}",
    r#"{"delay_ms":15}"#,
    ALL,
    r#"{"error_rate":1.0}"#,
    r#"{"throttle_rate":0.3}"#,
];
const SAMPLES: u32 = 60;

fn setup(fake: &Server) -> Setup {
    let mut setup = Setup::default()
        .endpoint(fake.address)
        .section(&door::trust())
        .section("queues: { orders: {} }\nsqs: { bind: 127.0.0.1:0, anonymous: true }")
        .section("targets: { default: { breaker: { probe_every: 200ms, max: 1s }, backoff: { base: 50ms, max: 1s } } }");
    for (path, ack, integration) in [
        ("sqs", "target", SQS),
        ("sqs-either", "target-or-spool", SQS),
        ("kinesis", "spool", KINESIS),
        ("events", "target-or-spool", EVENTS),
    ] {
        let integration = format!("ack: {ack}\n    {integration}");
        setup = setup.route(
            &format!("POST /{path}"),
            "authorizer: api_key",
            &integration,
        );
    }
    setup
        .route("POST /queue", "authorizer: api_key", QUEUE)
        .route("GET /staff", "authorizer: staff", MOCK)
}

fn load(server: &Server, requests: Vec<Prototype>) -> Load {
    Load {
        address: server.address,
        tls: None,
        requests: requests.into(),
    }
}

/// What has to be refused, each for another reason.
fn noise() -> Outcome<Vec<Prototype>> {
    let mut noise = vec![
        Prototype::plain("GET", "/nowhere", "", ""),
        Prototype::plain("GET", "/queue", &keyed(), ""),
        Prototype::plain("POST", "/queue", "x-api-key: psk_wrong\r\n", "{}"),
        Prototype::plain("POST", "/sqs", &keyed(), &"x".repeat(1 << 20 | 1)),
        Prototype::plain("GET", "/staff", "authorization: Bearer a.b.c\r\n", ""),
        Prototype::plain(
            "GET",
            "/staff",
            &format!("x-long: {}\r\n", "y".repeat(20_000)),
            "",
        ),
        Prototype::plain("GET", "/%zz", "bad header\r\n", ""),
    ];
    noise.extend(door::tokens("GET", "/staff", 0)?.into_iter().take(512));
    Ok(noise)
}

#[derive(Clone, Copy)]
struct Sample {
    seconds: f64,
    resident_kib: f64,
    descriptors: f64,
}

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let length = options.length(600.0);
    let mut report = Report::open(
        &options.results,
        "soak",
        &format!(
            "Mixed traffic for {} s, the endpoint's mood changes.",
            length.as_secs()
        ),
        &[
            "after s",
            "successes",
            "answers",
            "resident MiB",
            "descriptors",
            "spooled",
            "received",
        ],
    );
    let fake = fake_aws(None)?;
    let server = setup(&fake).start(folder, "soak")?;
    let numbered = |path: &str| Prototype::numbered(path, &keyed(), 1024);
    let sending = load(
        &server,
        ["/sqs", "/sqs-either", "/kinesis", "/events"]
            .map(numbered)
            .into(),
    );
    let clients = Clients::start(&sending, 32);
    let queueing = Clients::start(&load(&server, vec![numbered("/queue")]), 8);
    let noise = Clients::start(&load(&server, noise()?), 8);
    let consumer = Consumer::start(server.sqs.ok_or("no SQS listener")?, "orders");
    let began = Instant::now();
    let step = length / SAMPLES;
    let mut samples = Vec::new();
    let all = [&clients, &queueing, &noise];
    for sample in 1..=SAMPLES {
        let mood = MOODS[sample as usize / 2 % MOODS.len()];
        control::post(fake.address, "/mood", mood)?;
        tokio::time::sleep((step * sample).saturating_sub(began.elapsed())).await;
        let (resident_kib, descriptors) = (server.resident_kib()?, server.descriptors()?);
        let seconds = began.elapsed().as_secs_f64();
        samples.push(Sample {
            seconds,
            resident_kib: resident_kib as f64,
            descriptors: descriptors as f64,
        });
        if sample % 6 == 0 {
            let successes: u64 = all.iter().map(|clients| clients.done()).sum();
            let answers: u64 = all.iter().map(|clients| clients.answered()).sum();
            let admin = server.admin.ok_or("no admin listener")?;
            let spooled = super::integrity::spooled(admin)?;
            let row = json!({
                "seconds": seconds, "successes": successes, "answers": answers, "resident_kib": resident_kib,
                "descriptors": descriptors, "spooled": spooled, "received": consumer.received(),
            });
            report.row(
                &[
                    format!("{seconds:.0}"),
                    successes.to_string(),
                    answers.to_string(),
                    (resident_kib >> 10).to_string(),
                    descriptors.to_string(),
                    spooled.to_string(),
                    consumer.received().to_string(),
                ],
                row,
            );
        }
    }
    control::post(fake.address, "/mood", "{}")?;
    noise.stop().await?;
    let (sent, queued) = (clients.stop().await?, queueing.stop().await?);
    emptied(&server).await?;
    let received = consumer.finish(queued.acknowledged.len()).await?;
    let unsent = count_missing(sent.acknowledged.iter(), fake.address)?;
    let unreceived = queued
        .acknowledged
        .iter()
        .filter(|number| !received.contains(number))
        .count() as u64;
    judge(&mut report, &samples);
    report.budget(
        "acknowledged and missing",
        (unsent + unreceived) as f64,
        Limit::AtMost(0.0),
    );
    let (sent, queued) = (sent.acknowledged.len(), queued.acknowledged.len());
    report.note(format!(
        "acknowledged: {sent} for the endpoint, {queued} into the embedded queue"
    ));
    report.close()?;
    match unsent + unreceived {
        0 => Ok(()),
        missing => Err(format!("{missing} acknowledged messages are missing").into()),
    }
}

/// What the second half of the time adds to memory and descriptors, by the line that fits its samples best.
fn judge(report: &mut Report, samples: &[Sample]) {
    let half = &samples[samples.len() / 2..];
    let seconds = half
        .last()
        .map_or(0.0, |last| last.seconds - half[0].seconds);
    for (what, value) in [
        (
            "memory",
            (|sample: &Sample| sample.resident_kib) as fn(&Sample) -> f64,
        ),
        ("descriptors", |sample| sample.descriptors),
    ] {
        let mean = half.iter().map(value).sum::<f64>() / half.len().max(1) as f64;
        let growth = slope(half, value) * seconds / mean * 100.0;
        report.budget(
            &format!("{what}: growth over the second half, % of its mean ({mean:.0})"),
            growth,
            Limit::AtMost(5.0),
        );
    }
}

/// Of the least-squares line, a second.
fn slope(samples: &[Sample], value: fn(&Sample) -> f64) -> f64 {
    let count = samples.len().max(1) as f64;
    let x = samples.iter().map(|sample| sample.seconds).sum::<f64>() / count;
    let y = samples.iter().map(value).sum::<f64>() / count;
    let covariance: f64 = samples
        .iter()
        .map(|sample| (sample.seconds - x) * (value(sample) - y))
        .sum();
    let variance: f64 = samples
        .iter()
        .map(|sample| (sample.seconds - x).powi(2))
        .sum();
    if variance == 0.0 {
        0.0
    } else {
        covariance / variance
    }
}
