//! One idea: what it costs to ask who is there. The same route, without an authorizer and with each kind, on gateways
//! that take turns; what is compared is their CPU time a request, round by round, in microseconds over no authorizer. See
//! `benches/README.md` for the command and the last figures.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use penstock::authn::api_key::KeyHash;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const ROUNDS: usize = 9;
const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(300);
const ROUND: Duration = Duration::from_secs(2);

/// Distinct callers, all of whose credentials are in use at once.
const CALLERS: usize = 4_096;
/// Of the issuer of tokens. What a cached token costs does not depend on how it was signed.
const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A gateway of one kind, and what its callers bring.
struct Door {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    /// Heads of requests; each connection sends them in turn, from another one on.
    heads: Vec<String>,
}

impl Drop for Door {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let folder = tempfile::tempdir()?;
    let doors = doors(folder.path())?;
    println!(
        "\n{CONNECTIONS} connections, no body, {ROUNDS} rounds of {ROUND:?} each in turn; medians (lowest to highest)\n"
    );
    println!("| authorizer | req/s | CPU µs a request | CPU µs over none |");
    println!("| --- | --- | --- | --- |");
    let mut measured: Vec<Vec<(f64, f64)>> = doors.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        // Each begins a round in its turn: who comes after whom makes a difference.
        for turn in 0..doors.len() {
            let at = (turn + round) % doors.len();
            measured[at].push(runtime.block_on(load(&doors[at]))?);
        }
    }
    for (door, rounds) in doors.iter().zip(&measured) {
        let over = rounds
            .iter()
            .zip(&measured[0])
            .map(|(own, none)| own.1 - none.1);
        println!(
            "| {} | {:.0} | {} | {} |",
            door.name,
            spread(rounds.iter().map(|round| round.0)).1,
            shown(spread(rounds.iter().map(|round| round.1))),
            shown(spread(over)),
        );
    }
    Ok(())
}

/// Every kind. The first has no authorizer.
fn doors(folder: &Path) -> Outcome<Vec<Door>> {
    let keyed = "api_key_files: [keys.csv]\n";
    let planned = "api_key_files: [keys.csv]\nusage_plans:\n  gold: { throttle: { rate: 1000000000, burst: 1000000 }, \
                   routes: { GET /: { rate: 1000000000, burst: 1000000 } }, quota: { limit: 1000000000000, period: month } }\n";
    let trusting = format!(
        "authorizers: {{ staff: {{ jwt: {{ issuers: [ {{ issuer: bench, audience: shop, secret: {SECRET} }} ] }} }} }}\n"
    );
    Ok(vec![
        door(folder, "none", "none", "", 0)?,
        door(folder, "jwt, 4,096 cached tokens", "staff", &trusting, 0)?,
        door(folder, "api_key, 10 keys", "api_key", keyed, 10)?,
        door(
            folder,
            "api_key, 1,000,000 keys",
            "api_key",
            keyed,
            1_000_000,
        )?,
        door(
            folder,
            "api_key, 1,000,000 keys in a plan with throttles and a quota",
            "api_key",
            planned,
            1_000_000,
        )?,
    ])
}

fn door(
    folder: &Path,
    name: &'static str,
    authorizer: &str,
    sections: &str,
    keys: usize,
) -> Outcome<Door> {
    let folder = folder.join(name.replace([' ', ','], "-"));
    fs::create_dir(&folder)?;
    let key = |number: usize| format!("psk_{number:040}");
    if keys > 0 {
        let plan = if sections.contains("gold") {
            "gold"
        } else {
            ""
        };
        let mut csv = "Name,Key,UsagePlanIds\n".to_owned();
        for number in 0..keys {
            let hash = KeyHash::of(key(number).as_bytes());
            writeln!(csv, "key-{number},{hash},{plan}")?;
        }
        fs::write(folder.join("keys.csv"), csv)?;
    }
    let file = folder.join("door.yaml");
    fs::write(
        &file,
        format!(
            "listeners: {{ public: {{ bind: 127.0.0.1:0 }} }}\nadmin: {{ bind: 127.0.0.1:0 }}\nstore: {{ path: ./data }}\n\
             access_log: {{ path: access.log }}\n{sections}\
             routes:\n  GET /:\n    authorizer: {authorizer}\n    integration: {{ Mock: {{}} }}\n"
        ),
    )?;
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_penstock"))
        .arg("serve")
        .arg(&file)
        .current_dir(&folder)
        .stderr(Stdio::piped())
        .spawn()?;
    let address = support::address(&mut child)?;
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or("?");
    println!(
        "{name}: ready after {:.2} s, {} resident",
        began.elapsed().as_secs_f64(),
        resident.trim()
    );
    // Callers of all parts of the table: what fits a cache must not be all that is asked for.
    let callers = keys.min(CALLERS);
    let head = |brought: &str| format!("GET / HTTP/1.1\r\nhost: localhost\r\n{brought}\r\n");
    let heads = match callers {
        0 if authorizer == "staff" => (0..CALLERS)
            .map(|caller| {
                Ok(head(&format!(
                    "authorization: Bearer {}\r\n",
                    token(caller)?
                )))
            })
            .collect::<Outcome<_>>()?,
        0 => vec![head("")],
        _ => (0..callers)
            .map(|caller| {
                head(&format!(
                    "x-api-key: {}\r\n",
                    key(caller * (keys / callers))
                ))
            })
            .collect(),
    };
    Ok(Door {
        name,
        child,
        address,
        heads,
    })
}

/// A token of some 800 bytes, as issuers make them.
fn token(caller: usize) -> Outcome<String> {
    let claims = serde_json::json!({
        "iss": "bench", "aud": "shop", "sub": format!("caller-{caller:036}"), "exp": 4_000_000_000u64,
        "iat": 1_700_000_000u64, "scope": "orders.read orders.write", "padding": "x".repeat(400),
    });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    Ok(jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &claims,
        &key,
    )?)
}

impl Door {
    /// User and system time of all its threads.
    fn cpu(&self) -> Outcome<Duration> {
        let mut nanos = 0u64;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += stat.split(' ').next().unwrap_or("0").parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }
}

/// Requests a second, and CPU microseconds of each, between the warm-up and the end.
async fn load(door: &Door) -> Outcome<(f64, f64)> {
    let done = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let heads: Arc<[String]> = door.heads.clone().into();
    let mut clients = Vec::new();
    for connection in 0..CONNECTIONS {
        let (done, over, heads) = (done.clone(), over.clone(), heads.clone());
        let address = door.address;
        clients.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut buffer = vec![0; 4096];
            let mut next = connection * 61;
            while !over.load(Ordering::Relaxed) {
                let head = &heads[next % heads.len()];
                stream.write_all(head.as_bytes()).await?;
                support::answered(&mut stream, &mut buffer).await?;
                done.fetch_add(1, Ordering::Relaxed);
                next += 1;
            }
            Ok::<(), std::io::Error>(())
        }));
    }
    tokio::time::sleep(WARM_UP).await;
    let (cpu, count, began) = (door.cpu()?, done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(ROUND).await;
    let (cpu, count, took) = (
        door.cpu()? - cpu,
        done.load(Ordering::Relaxed) - count,
        began.elapsed(),
    );
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await??;
    }
    Ok((
        count as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count.max(1) as f64,
    ))
}

/// Lowest, median, highest.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    (
        sorted[0],
        sorted[sorted.len() / 2],
        sorted[sorted.len() - 1],
    )
}

fn shown((low, median, high): (f64, f64, f64)) -> String {
    format!("{median:.2} ({low:.2} to {high:.2})")
}
