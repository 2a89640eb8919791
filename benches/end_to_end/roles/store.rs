//! The store without HTTP: what a record costs when nobody has to be read from a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use penstock::store::{NewMessage, NewRecord, Options as StoreOptions, QueueSpec, Receive, Store};
use serde::{Deserialize, Serialize};

use crate::options::Options;
use crate::support::Outcome;
use crate::support::process::cpu_of;

/// Where the spooled records of the benches would go.
pub const SPOOL_TARGET: &str = "sqs:http://127.0.0.1:9/000000000000/orders";

/// What the gateway would spool of a request of 1 KiB.
pub fn record() -> NewRecord {
    let call = format!(
        r#"{{"call":{{"SQS-SendMessage":{{"QueueUrl":"http://127.0.0.1:9/000000000000/orders","MessageBody":"{}"}}}}}}"#,
        "x".repeat(1024)
    );
    NewRecord {
        target: SPOOL_TARGET.to_owned(),
        key: None,
        call: Bytes::from(call),
        context: r#"{"requestId":"5d16e4adef9b43c58ac00c566b176a92","api":"a","stage":"$default","routeKey":"POST /orders","httpMethod":"POST","path":"/orders","sourceIp":"127.0.0.1","principalId":"k","receivedAt":1700000000000}"#.to_owned(),
        hold: None,
    }
}

/// Spools from so many tasks at once; prints records a second.
pub async fn spool(options: &Options) -> Outcome<()> {
    let folder = crate::scratch()?;
    let store = Store::open(StoreOptions::new(folder.path()))?;
    let done = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..options.producers {
        let (store, done, over) = (store.clone(), done.clone(), over.clone());
        tasks.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                store.spool(vec![record()], None).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), penstock::store::StoreError>(())
        }));
    }
    let length = options.length(2.0);
    tokio::time::sleep((length / 4).min(Duration::from_millis(500))).await;
    let (count, began) = (done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(length).await;
    let rate = (done.load(Ordering::Relaxed) - count) as f64 / began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    store.close().await;
    println!("{rate}");
    Ok(())
}

/// What it cost to take messages out of a queue of one depth.
#[derive(Serialize, Deserialize)]
pub struct Drained {
    pub depth: u64,
    pub messages: u64,
    /// CPU microseconds of a message: received in tens, deleted one by one, the writer's share included.
    pub cpu: f64,
    pub rate: f64,
}

const QUEUE: &str = "orders";
/// Messages that are taken out of deep queues, and as often as it takes out of shallow ones.
const TAKEN: u64 = 50_000;
const CONSUMERS: u64 = 8;

/// Fills a queue and takes messages out; prints [`Drained`] as JSON.
pub async fn drain(depth: u64) -> Outcome<()> {
    let folder = crate::scratch()?;
    let store = Store::open(StoreOptions::new(folder.path()))?;
    store.declare(vec![QueueSpec::new(QUEUE)]).await?;
    let (mut cpu, mut took, mut taken) = (Duration::ZERO, Duration::ZERO, 0);
    let mut held = 0;
    while taken < TAKEN.min(depth * 20) {
        fill(&store, depth - held).await?;
        let (began, before) = (Instant::now(), cpu_of(std::process::id())?);
        let round = TAKEN.min(depth);
        let mut consumers = Vec::new();
        for _ in 0..CONSUMERS {
            let (store, share) = (store.clone(), round / CONSUMERS);
            consumers.push(tokio::spawn(async move { consume(&store, share).await }));
        }
        let mut out = 0;
        for consumer in consumers {
            out += consumer.await??;
        }
        cpu += cpu_of(std::process::id())?.saturating_sub(before);
        took += began.elapsed();
        taken += out;
        held = depth - out;
    }
    store.close().await;
    let drained = Drained {
        depth,
        messages: taken,
        cpu: cpu.as_secs_f64() * 1e6 / taken as f64,
        rate: taken as f64 / took.as_secs_f64(),
    };
    println!("{}", serde_json::to_string(&drained)?);
    Ok(())
}

async fn fill(store: &Store, messages: u64) -> Outcome<()> {
    let body = Bytes::from("x".repeat(1024));
    let mut producers = Vec::new();
    for producer in 0..256 {
        let (store, body) = (store.clone(), body.clone());
        let share = messages / 256 + u64::from(producer < messages % 256);
        producers.push(tokio::spawn(async move {
            for _ in 0..share {
                let message = NewMessage {
                    body: body.clone(),
                    ..NewMessage::default()
                };
                store.send(QUEUE, message).await?;
            }
            Ok::<(), penstock::store::StoreError>(())
        }));
    }
    for producer in producers {
        producer.await??;
    }
    Ok(())
}

/// Receives ten and deletes them, until its share is gone.
async fn consume(store: &Store, share: u64) -> Result<u64, penstock::store::StoreError> {
    let mut out = 0;
    while out < share {
        let wanted = Receive {
            max_messages: usize::try_from(share - out).unwrap_or(10).min(10),
            ..Receive::default()
        };
        let received = store.receive(QUEUE, wanted).await?;
        if received.is_empty() {
            break;
        }
        let deleted = received
            .iter()
            .map(|delivery| store.delete(QUEUE, &delivery.receipt_handle));
        for deleted in futures_util::future::join_all(deleted).await {
            deleted?;
        }
        out += received.len() as u64;
    }
    Ok(out)
}
