//! A consumer of an embedded queue, over the SQS protocol as any SDK speaks it: receives ten, deletes them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::Outcome;
use crate::support::client::answer;
use crate::support::requests::number_of;

/// Runs beside the load; it gathers the numbers of the messages it has deleted.
pub struct Consumer {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<Outcome<HashSet<u64>>>>,
}

/// Consumers of one queue, each with a connection of its own.
const TASKS: usize = 4;

struct Shared {
    over: AtomicBool,
    received: AtomicUsize,
}

impl Consumer {
    pub fn start(address: SocketAddr, queue: &str) -> Consumer {
        let shared = Arc::new(Shared {
            over: AtomicBool::new(false),
            received: AtomicUsize::new(0),
        });
        let url = format!("http://{address}/000000000000/{queue}");
        let one = |_| tokio::spawn(consume(address, url.clone(), shared.clone()));
        Consumer {
            tasks: (0..TASKS).map(one).collect(),
            shared,
        }
    }

    /// Messages so far; what two of them have received counts twice.
    pub fn received(&self) -> usize {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Goes on until so many have come, or a minute brought no more.
    pub async fn finish(self, wanted: usize) -> Outcome<HashSet<u64>> {
        let (mut last, mut since) = (self.received(), Instant::now());
        while self.received() < wanted && since.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.received() > last {
                (last, since) = (self.received(), Instant::now());
            }
        }
        self.shared.over.store(true, Ordering::Relaxed);
        let mut all = HashSet::new();
        for task in self.tasks {
            all.extend(task.await??);
        }
        Ok(all)
    }
}

async fn consume(address: SocketAddr, url: String, shared: Arc<Shared>) -> Outcome<HashSet<u64>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut numbers = HashSet::new();
    let ask = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1 });
    while !shared.over.load(Ordering::Relaxed) {
        let answer = call(&mut stream, "ReceiveMessage", &ask).await?;
        let Some(messages) = answer["Messages"].as_array() else {
            continue;
        };
        let entries: Vec<Value> = messages
            .iter()
            .enumerate()
            .map(|(at, message)| {
                json!({ "Id": at.to_string(), "ReceiptHandle": message["ReceiptHandle"] })
            })
            .collect();
        let bodies = messages
            .iter()
            .filter_map(|message| message["Body"].as_str());
        let before = numbers.len();
        numbers.extend(bodies.filter_map(|body| number_of(body.as_bytes())));
        let more = numbers.len() - before;
        shared.received.fetch_add(more, Ordering::Relaxed);
        if !entries.is_empty() {
            let delete = json!({ "QueueUrl": url, "Entries": entries });
            call(&mut stream, "DeleteMessageBatch", &delete).await?;
        }
    }
    Ok(numbers)
}

async fn call(stream: &mut TcpStream, action: &str, body: &Value) -> Outcome<Value> {
    let body = body.to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-amz-json-1.0\r\n\
         x-amz-target: AmazonSQS.{action}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::new();
    let answer = answer(stream, &mut buffer).await?;
    let text = &buffer[answer.body];
    if answer.status != 200 {
        return Err(format!("{action}: {}", String::from_utf8_lossy(text)).into());
    }
    Ok(serde_json::from_slice(text)?)
}
