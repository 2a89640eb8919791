//! Three ideas about the spool, each by its word: `accept` (how much of the store's own durable rate a client of
//! `ack: spool` gets), `backlog` (a start over a deep spool, and its memory), `soak` (memory and descriptors over time,
//! with everything acknowledged found again). See `benches/README.md` for the commands and the last figures.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use penstock::store::{NewRecord, Once, Options, Store};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(500);
const ROUND: Duration = Duration::from_secs(2);
const TARGET: &str = "sqs:http://127.0.0.1:9/000000000000/orders";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    let number = |name: &str, default: u64| {
        let value = arguments
            .iter()
            .position(|argument| argument == name)
            .and_then(|at| arguments.get(at + 1)?.parse().ok());
        value.unwrap_or(default)
    };
    if word("--in-process") {
        return runtime.block_on(in_process(number("--producers", 256) as usize));
    }
    if word("soak") {
        return runtime.block_on(soak(Duration::from_secs(number("--seconds", 600))));
    }
    if word("backlog") {
        return runtime.block_on(backlog(number("--mebibytes", 1024)));
    }
    runtime.block_on(accept())
}

/// `ack: spool`, 1 KiB, against the same store driven by as many tasks of its own process. The target refuses
/// connections, so its breaker is open and accepting is all that happens.
async fn accept() -> Outcome<()> {
    println!(
        "1 KiB bodies, {ROUNDS} rounds of {ROUND:?} each in turn; medians (lowest to highest)\n"
    );
    println!("| producers | store in-process, records/s | `ack: spool`, requests/s | ratio |");
    println!("| --- | --- | --- | --- |");
    for producers in [64, 256, 1024] {
        let (mut own, mut gateway, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let in_process = Command::new(std::env::current_exe()?)
                .args(["--in-process", "--producers", &producers.to_string()])
                .output()?;
            let alone: f64 = String::from_utf8(in_process.stdout)?.trim().parse()?;
            let folder = tempfile::tempdir()?;
            let server = Gateway::start(folder.path())?;
            let served = load(server.address, producers).await?;
            own.push(alone);
            gateway.push(served);
            ratios.push(served / alone);
        }
        println!(
            "| {producers} | {} | {} | {} |",
            shown(own, 0),
            shown(gateway, 0),
            shown(ratios, 2)
        );
    }
    Ok(())
}

/// Drives a store in this process; prints records a second.
async fn in_process(producers: usize) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(Options::new(folder.path()))?;
    let done = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..producers {
        let (store, done, over) = (store.clone(), done.clone(), over.clone());
        tasks.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                store.spool(vec![record()], None).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), penstock::store::StoreError>(())
        }));
    }
    tokio::time::sleep(WARM_UP).await;
    let (count, began) = (done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(ROUND).await;
    let rate = (done.load(Ordering::Relaxed) - count) as f64 / began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    store.close().await;
    println!("{rate}");
    Ok(())
}

/// What the gateway would spool of a request of 1 KiB.
fn record() -> NewRecord {
    let call = format!(
        r#"{{"call":{{"SQS-SendMessage":{{"QueueUrl":"http://127.0.0.1:9/000000000000/orders","MessageBody":"{}"}}}}}}"#,
        "x".repeat(1024)
    );
    NewRecord {
        target: TARGET.to_owned(),
        key: None,
        call: Bytes::from(call),
        context: r#"{"requestId":"5d16e4adef9b43c58ac00c566b176a92","api":"a","stage":"$default","routeKey":"POST /orders","httpMethod":"POST","path":"/orders","sourceIp":"127.0.0.1","principalId":"k","receivedAt":1700000000000}"#.to_owned(),
        hold: None,
    }
}

/// Fills a spool, then starts the gateway over it.
async fn backlog(mebibytes: u64) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store");
    {
        let store = Store::open(Options::new(&path))?;
        let wanted = mebibytes << 20;
        while store.spool_depth(TARGET).bytes < wanted {
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
        let depth = store.spool_depth(TARGET);
        println!(
            "backlog: {} records, {} MiB of calls",
            depth.depth,
            depth.bytes >> 20
        );
        store.close().await;
    }
    println!("| start | until it serves | resident after it | resident after 10 s |");
    println!("| --- | --- | --- | --- |");
    for start in ["after a close", "after kill -9", "after kill -9, again"] {
        let began = Instant::now();
        let mut server = Gateway::start(folder.path())?;
        let served = began.elapsed();
        let first = server.resident_kib()?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        println!(
            "| {start} | {:.2} s | {} MiB | {} MiB |",
            served.as_secs_f64(),
            first >> 10,
            server.resident_kib()? >> 10
        );
        server.child.kill()?;
    }
    Ok(())
}

/// Load without end into a spool whose target is down: what memory and descriptors do meanwhile.
async fn soak(length: Duration) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let server = Gateway::start(folder.path())?;
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut clients = clients(server.address, 64, &done, &over);
    println!("| after | accepted | resident | descriptors |");
    println!("| --- | --- | --- | --- |");
    let began = Instant::now();
    let step = (length / 10).max(Duration::from_secs(1));
    while began.elapsed() < length {
        tokio::time::sleep(step).await;
        println!(
            "| {} s | {} | {} MiB | {} |",
            began.elapsed().as_secs(),
            done.load(Ordering::Relaxed),
            server.resident_kib()? >> 10,
            server.descriptors()?
        );
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let acknowledged = done.load(Ordering::Relaxed);
    drop(server);
    let store = Store::open(Options::new(folder.path().join("store")))?;
    let kept = store.spool_depth(TARGET).depth;
    println!("acknowledged {acknowledged}, in the spool after kill -9 {kept}");
    if kept < acknowledged {
        return Err(format!("{} acknowledged records are missing", acknowledged - kept).into());
    }
    Ok(())
}

struct Gateway {
    child: Child,
    address: SocketAddr,
}

impl Gateway {
    fn start(folder: &Path) -> Outcome<Gateway> {
        let file = folder.join("spool.yaml");
        let store = folder.join("store");
        let log = folder.join("access.log");
        std::fs::write(
            &file,
            format!(
                "api: a\nlisteners: {{ public: {{ bind: 127.0.0.1:0 }} }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
                 aws: {{ region: us-east-1, endpoint: 'http://127.0.0.1:9' }}\n\
                 store: {{ path: {store:?} }}\naccess_log: {{ path: {log:?} }}\n\
                 routes:\n  POST /orders:\n    ack: spool\n    \
                 integration: {{ SQS-SendMessage: {{ QueueUrl: 'http://127.0.0.1:9/000000000000/orders', MessageBody: $request.body }} }}\n"
            ),
        )?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_penstock"))
            .arg("serve")
            .arg(&file)
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "bench")
            .stderr(Stdio::piped())
            .spawn()?;
        let address = support::address(&mut child)?;
        Ok(Gateway { child, address })
    }

    fn resident_kib(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
        Ok(resident.ok_or("no VmRSS")?)
    }

    fn descriptors(&self) -> Outcome<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Requests a second over so many connections, between the warm-up and the end.
async fn load(address: SocketAddr, connections: usize) -> Outcome<f64> {
    let done = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = clients(address, connections, &done, &over);
    tokio::time::sleep(WARM_UP).await;
    let (count, began) = (done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(ROUND).await;
    let rate = (done.load(Ordering::Relaxed) - count) as f64 / began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(rate)
}

fn clients(
    address: SocketAddr,
    connections: usize,
    done: &Arc<AtomicU64>,
    over: &Arc<AtomicBool>,
) -> tokio::task::JoinSet<std::io::Result<()>> {
    let body = "x".repeat(1024);
    let request = format!(
        "POST /orders HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let request: Arc<[u8]> = request.into_bytes().into();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (done, over, request) = (done.clone(), over.clone(), request.clone());
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut buffer = vec![0; 4096];
            while !over.load(Ordering::Relaxed) {
                stream.write_all(&request).await?;
                support::answered(&mut stream, &mut buffer).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    clients
}

/// Median, lowest and highest.
fn shown(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (low, median, high) = (
        values[0],
        values[values.len() / 2],
        values[values.len() - 1],
    );
    format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
}
