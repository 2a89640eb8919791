//! What it costs to ask who is there: the same route without an authorizer and with each kind, on gateways that take
//! turns; what is compared is their CPU time a request, round by round, in microseconds over no authorizer.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use penstock::authn::api_key::KeyHash;
use serde_json::json;

use crate::options::Options;
use crate::support::Outcome;
use crate::support::client::Load;
use crate::support::figures::{Limit, Report, Spread};
use crate::support::gateway::Setup;
use crate::support::requests::Prototype;
use crate::support::turns::{Contestant, take};

/// Distinct callers, all of whose credentials are in use at once.
const CALLERS: usize = 4_096;
/// Of the issuer of tokens. What a cached token costs does not depend on how it was signed.
const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";
const ANSWER: &str = "integration: { Mock: {} }";

/// The section that makes `staff` believe the benches' tokens.
pub fn trust() -> String {
    format!(
        "authorizers: {{ staff: {{ jwt: {{ issuers: [ {{ issuer: bench, audience: shop, secret: {SECRET} }} ] }} }} }}"
    )
}

/// Requests with a body of this length, each with a token of its own.
pub fn tokens(method: &str, path: &str, body: usize) -> Outcome<Vec<Prototype>> {
    let callers = if body == 0 { CALLERS } else { 256 };
    (0..callers)
        .map(|caller| {
            let header = format!("authorization: Bearer {}\r\n", token(caller)?);
            Ok(if body == 0 {
                Prototype::plain(method, path, &header, "")
            } else {
                Prototype::numbered(path, &header, body)
            })
        })
        .collect()
}

/// A token of some 800 bytes, as issuers make them.
fn token(caller: usize) -> Outcome<String> {
    let claims = json!({
        "iss": "bench", "aud": "shop", "sub": format!("caller-{caller:036}"), "exp": 4_000_000_000u64,
        "iat": 1_700_000_000u64, "scope": "orders.read orders.write", "padding": "x".repeat(400),
    });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let header = jsonwebtoken::Header::default();
    Ok(jsonwebtoken::encode(&header, &claims, &key)?)
}

/// A gateway that knows so many keys; some of their holders call.
pub fn keyed(
    folder: &Path,
    name: &str,
    keys: usize,
    sections: &str,
    plan: &str,
) -> Outcome<Contestant> {
    let setup = Setup::default()
        .section("api_key_files: [keys.csv]")
        .section(sections)
        .route("GET /", "authorizer: api_key", ANSWER);
    let file = setup.write(folder, name)?;
    let mut csv = "Name,Key,UsagePlanIds\n".to_owned();
    for number in 0..keys {
        let hash = KeyHash::of(key(number).as_bytes());
        writeln!(csv, "key-{number},{hash},{plan}")?;
    }
    fs::write(file.with_file_name("keys.csv"), csv)?;
    // Callers of all parts of the table: what fits a cache must not be all that is asked for.
    let callers = keys.min(CALLERS);
    let requests = (0..callers)
        .map(|caller| {
            let header = format!("x-api-key: {}\r\n", key(caller * (keys / callers)));
            Prototype::plain("GET", "/", &header, "")
        })
        .collect();
    started(&setup, folder, name, requests)
}

fn key(number: usize) -> String {
    format!("psk_{number:040}")
}

fn started(
    setup: &Setup,
    folder: &Path,
    name: &str,
    requests: Vec<Prototype>,
) -> Outcome<Contestant> {
    let began = Instant::now();
    let server = setup.start(folder, name)?;
    println!(
        "{name}: ready after {:.2} s, {} MiB resident",
        began.elapsed().as_secs_f64(),
        server.resident_kib()? >> 10
    );
    Ok(Contestant {
        load: Load {
            address: server.address,
            tls: None,
            requests: requests.into(),
        },
        server,
        fake: None,
    })
}

/// Every kind. The first has no authorizer.
fn doors(folder: &Path) -> Outcome<Vec<Contestant>> {
    let open = Setup::default().route("GET /", "authorizer: none", ANSWER);
    let staff = Setup::default()
        .section(&trust())
        .route("GET /", "authorizer: staff", ANSWER);
    let plans = "usage_plans:\n  gold: { throttle: { rate: 1000000000, burst: 1000000 }, \
                 routes: { GET /: { rate: 1000000000, burst: 1000000 } }, quota: { limit: 1000000000000, period: month } }";
    Ok(vec![
        started(
            &open,
            folder,
            "none",
            vec![Prototype::plain("GET", "/", "", "")],
        )?,
        started(
            &staff,
            folder,
            "jwt, 4096 cached tokens",
            tokens("GET", "/", 0)?,
        )?,
        keyed(folder, "api_key, 10 keys", 10, "", "")?,
        keyed(folder, "api_key, 1000000 keys", 1_000_000, "", "")?,
        keyed(
            folder,
            "api_key, 1000000 keys in a plan with throttles and a quota",
            1_000_000,
            plans,
            "gold",
        )?,
    ])
}

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let pace = options.pace(9, 2.0);
    let connections = options.connections(&[64])[0];
    let doors = doors(folder)?;
    let mut report = Report::open(
        &options.results,
        "door",
        &format!("{connections} connections, no body, Mock target; against no authorizer."),
        &[
            "authorizer",
            "req/s",
            "CPU µs a request",
            "CPU µs over none",
        ],
    );
    let rounds = take(&doors, connections, pace).await?;
    let mut over_by_keys = Vec::new();
    for (door, own) in doors.iter().zip(&rounds) {
        let name = &door.server.name;
        let rate = Spread::of(own.iter().map(|round| round.rate));
        let cpu = Spread::of(own.iter().map(|round| round.cpu));
        let over = own
            .iter()
            .zip(&rounds[0])
            .map(|(own, none)| own.cpu - none.cpu);
        let over = Spread::of(over);
        report.row(
            &[
                name.clone(),
                format!("{:.0}", rate.median),
                cpu.to_string(),
                over.to_string(),
            ],
            json!({ "authorizer": name, "rate": rate.json(), "cpu_micros": cpu.json(), "over_none_micros": over.json() }),
        );
        if name.starts_with("api_key, 1") && name.ends_with("keys") {
            over_by_keys.push(cpu.median);
        }
    }
    if let [few, many] = over_by_keys.as_slice() {
        report.budget(
            "CPU µs more, 10 to 1,000,000 keys",
            many - few,
            Limit::AtMost(1.0),
        );
    }
    report.close()
}
