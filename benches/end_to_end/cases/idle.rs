//! What an idle connection holds: resident memory of a gateway before and after ten thousand kept connections, each of
//! which has had one answer. Buffers of the kernel are not in it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::options::Options;
use crate::support::Outcome;
use crate::support::client::{Clients, Load, Stream, answer, connect};
use crate::support::figures::{Limit, Report};
use crate::support::gateway::{MOCK, Setup};
use crate::support::process::{Server, allow_descriptors};

use super::accept::orders;
use super::tls::certified;

/// Connections that are being established at once.
const AT_ONCE: usize = 64;

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let mut report = Report::open(
        &options.results,
        "idle",
        "Resident memory of idle kept connections, after one answer on each.",
        &[
            "listener",
            "connections",
            "before, MiB",
            "with them, MiB",
            "KiB a connection",
            "descriptors",
            "established in, s",
            "after they left, MiB",
        ],
    );
    for connections in options.connections(&[10_000]) {
        let allowed = allow_descriptors(connections as u64 + 512)?;
        if allowed < connections as u64 + 512 {
            report.note(format!(
                "skipped {connections} connections: the limit of open files is {allowed}"
            ));
            continue;
        }
        let (keys, connector) = certified(folder)?;
        for (name, keys, tls) in [("plain", "", None), ("TLS", keys.as_str(), Some(connector))] {
            let server = Setup::orders(MOCK)
                .listener(keys)
                .section("limits: { idle_timeout: 10m, connections: 65536 }")
                .start(folder, &format!("idle {name} {connections}"))?;
            let load = Load {
                tls,
                ..orders(&server)
            };
            one(&mut report, name, &server, &load, connections).await?;
        }
    }
    report.close()
}

async fn one(
    report: &mut Report,
    name: &str,
    server: &Server,
    load: &Load,
    connections: usize,
) -> Outcome<()> {
    // What the first requests set up once is not the connections'.
    let clients = Clients::start(load, 64);
    tokio::time::sleep(Duration::from_secs(1)).await;
    clients.stop().await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = server.resident_kib()?;
    let began = Instant::now();
    let mut kept = Vec::with_capacity(connections);
    while kept.len() < connections {
        let some = AT_ONCE.min(connections - kept.len());
        let opened = (0..some).map(|_| opened(load));
        for stream in futures_util::future::join_all(opened).await {
            kept.push(stream?);
        }
    }
    let took = began.elapsed();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (with, descriptors) = (server.resident_kib()?, server.descriptors()?);
    drop(kept);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = server.resident_kib()?;
    let each = with.saturating_sub(before) as f64 / connections as f64;
    let mib = |kib: u64| format!("{:.0}", kib as f64 / 1024.0);
    report.row(
        &[
            name.to_owned(),
            connections.to_string(),
            mib(before),
            mib(with),
            format!("{each:.1}"),
            descriptors.to_string(),
            format!("{:.1}", took.as_secs_f64()),
            mib(after),
        ],
        json!({
            "listener": name, "connections": connections, "before_kib": before, "with_kib": with,
            "kib_each": each, "descriptors": descriptors, "after_kib": after,
        }),
    );
    report.budget(
        &format!("KiB of an idle connection, {name}"),
        each,
        Limit::AtMost(16.0),
    );
    Ok(())
}

/// A connection that has had an answer.
async fn opened(load: &Load) -> std::io::Result<Stream> {
    let mut stream = connect(load).await?;
    let (mut request, mut buffer) = (Vec::new(), Vec::new());
    load.requests[0].next(&mut request);
    let status = match &mut stream {
        Stream::Plain(stream) => {
            stream.write_all(&request).await?;
            answer(stream, &mut buffer).await?.status
        }
        Stream::Tls(stream) => {
            stream.write_all(&request).await?;
            // Many share a task here, and TLS may have taken the bytes and not written them yet.
            stream.flush().await?;
            answer(stream.as_mut(), &mut buffer).await?.status
        }
    };
    if status >= 300 {
        return Err(std::io::Error::other(format!("refused with {status}")));
    }
    Ok(stream)
}
