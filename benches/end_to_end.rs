//! One idea: what a request costs in the gateway, against a bare hyper server that does nothing but read the body. The
//! servers are processes of their own and take turns; what is compared is their CPU time a request and their rate, as
//! ratios within one run. See `benches/README.md` for the command and the last figures.

mod support;

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

const KEY: &str = "psk_demo5f0c7d2be14a49c3a86f3d9b1e7c2a40";
const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(500);
const ROUND: Duration = Duration::from_secs(2);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    if std::env::args().any(|argument| argument == "--bare") {
        return runtime.block_on(bare());
    }
    let folder = tempfile::tempdir()?;
    println!(
        "1 KiB bodies, keep-alive, {ROUNDS} rounds of {ROUND:?} each in turn; medians (lowest to highest)\n"
    );
    println!(
        "| server | connections | req/s | CPU µs a request | CPU against bare | rate against bare |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for connections in [64, 256, 1024] {
        let servers = [
            Server::bare()?,
            Server::gateway(folder.path(), "mock", MOCK)?,
            Server::gateway(folder.path(), "queue", QUEUE)?,
        ];
        let mut measured: Vec<Vec<Measured>> = servers.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (server, rounds) in servers.iter().zip(&mut measured) {
                rounds.push(runtime.block_on(load(server, connections))?);
            }
        }
        for (at, server) in servers.iter().enumerate() {
            let against = |value: fn(&Measured) -> f64| {
                spread(
                    measured[at]
                        .iter()
                        .zip(&measured[0])
                        .map(|(own, bare)| value(own) / value(bare)),
                )
            };
            let rate = spread(measured[at].iter().map(|round| round.rate));
            let cpu = spread(measured[at].iter().map(|round| round.cpu_micros));
            println!(
                "| {} | {connections} | {:.0} | {} | {} | {} |",
                server.name,
                rate.1,
                shown(cpu),
                shown(against(|round| round.cpu_micros)),
                shown(against(|round| round.rate)),
            );
        }
    }
    Ok(())
}

/// An API key, a throttle that never refuses, metrics and an access log, and a target that does nothing.
const MOCK: &str = "integration: { Mock: { status: 202 } }";
/// The same, with a target that fsyncs.
const QUEUE: &str =
    "integration: { SQS-SendMessage: { QueueUrl: 'queue:orders', MessageBody: $request.body } }";

struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
}

struct Measured {
    rate: f64,
    cpu_micros: f64,
}

impl Server {
    fn bare() -> Outcome<Server> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--bare")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Server {
            name: "bare hyper",
            child,
            address: line.trim().parse()?,
        })
    }

    fn gateway(folder: &Path, name: &'static str, integration: &str) -> Outcome<Server> {
        let file = folder.join(format!("{name}.yaml"));
        let log = folder.join(format!("{name}.log"));
        let store = folder.join(format!("{name}.store"));
        std::fs::remove_dir_all(&store).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let hash = "0e4cf6fb3248857026d3f68bf2d8e1311b06bb023e96ced236b990f314e2d155";
        std::fs::write(
            &file,
            format!(
                "listeners: {{ public: {{ bind: 127.0.0.1:0 }} }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
                 store: {{ path: {store:?} }}\nqueues: {{ orders: {{}} }}\naccess_log: {{ path: {log:?} }}\n\
                 api_keys: {{ k: {{ hash: 'sha256:{hash}' }} }}\n\
                 routes:\n  POST /orders:\n    authorizer: api_key\n    throttle: {{ rate: 1000000000, burst: 1000000 }}\n    {integration}\n"
            ),
        )?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_penstock"))
            .arg("serve")
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()?;
        let address = support::address(&mut child)?;
        Ok(Server {
            name: if name == "mock" {
                "gateway, Mock"
            } else {
                "gateway, embedded queue"
            },
            child,
            address,
        })
    }

    /// User and system time of all its threads.
    fn cpu(&self) -> Outcome<Duration> {
        let mut nanos = 0u64;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += stat.split(' ').next().unwrap_or("0").parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends requests over so many connections and measures between the warm-up and the end.
async fn load(server: &Server, connections: usize) -> Outcome<Measured> {
    let done = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let body = "x".repeat(1024);
    let request = format!(
        "POST /orders HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let request: Arc<[u8]> = request.into_bytes().into();
    let mut clients = Vec::new();
    for _ in 0..connections {
        let (done, over, request) = (done.clone(), over.clone(), request.clone());
        let address = server.address;
        clients.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut buffer = vec![0; 4096];
            while !over.load(Ordering::Relaxed) {
                stream.write_all(&request).await?;
                support::answered(&mut stream, &mut buffer).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), std::io::Error>(())
        }));
    }
    tokio::time::sleep(WARM_UP).await;
    let (cpu, count, began) = (server.cpu()?, done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(ROUND).await;
    let (cpu, count, took) = (
        server.cpu()? - cpu,
        done.load(Ordering::Relaxed) - count,
        began.elapsed(),
    );
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await??;
    }
    Ok(Measured {
        rate: count as f64 / took.as_secs_f64(),
        cpu_micros: cpu.as_secs_f64() * 1e6 / count.max(1) as f64,
    })
}

/// The baseline: hyper, HTTP/1, reads the body, answers a constant.
async fn bare() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(|request: Request<Incoming>| async move {
            let read = request
                .into_body()
                .collect()
                .await
                .map(|body| body.to_bytes().len())
                .unwrap_or_default();
            let answer = if read == 1024 {
                "{\"stored\":true}"
            } else {
                "{\"stored\":false}"
            };
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(
                answer.as_bytes(),
            ))))
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
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
