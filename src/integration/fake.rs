//! For tests: a server on a real socket that speaks as much of SQS, Kinesis, EventBridge and Step Functions as sends
//! need, and fails as it is told.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

use crate::model::message::md5_of_body;

/// A call that came in.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// `SendMessage`, `PutRecords`, …
    pub(crate) action: String,
    pub(crate) body: Value,
}

/// What the server does with a call.
pub(crate) enum Reply {
    Json(u16, Value),
    /// Reads the call, carries it out, and closes the connection.
    Cut,
    /// Says this once the gate has a permit for it.
    Held(Arc<Semaphore>, Box<Reply>),
}

type Replies = Box<dyn Fn(&Heard) -> Reply + Send + Sync>;

/// The server.
pub(crate) struct Fake {
    pub(crate) address: String,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    heard: Mutex<Vec<Heard>>,
    stirred: Notify,
    replies: Mutex<Arc<Replies>>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Fake {
    pub(crate) async fn start(replies: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            heard: Mutex::default(),
            stirred: Notify::new(),
            replies: Mutex::new(Arc::new(Box::new(replies))),
        });
        let of_connections = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, of_connections.clone()));
            }
        });
        Fake {
            address,
            shared,
            accepting,
        }
    }

    /// Answers like this from now on.
    pub(crate) fn now(&self, replies: impl Fn(&Heard) -> Reply + Send + Sync + 'static) {
        *self.shared.replies.lock().unwrap() = Arc::new(Box::new(replies));
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// The bodies of all messages that came in, in the order of their coming.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.heard()
            .iter()
            .flat_map(|heard| match heard.action.as_str() {
                "SendMessageBatch" => heard.body["Entries"].as_array().unwrap().clone(),
                _ => vec![heard.body.clone()],
            })
            .map(|message| message["MessageBody"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until the calls that came in are as they should be.
    pub(crate) async fn until(&self, are: impl Fn(&[Heard]) -> bool) {
        let waiting = async {
            loop {
                let stirred = self.shared.stirred.notified();
                if are(&self.heard()) {
                    return;
                }
                stirred.await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), waiting)
            .await
            .unwrap_or_else(|_| panic!("the calls never were as expected: {:?}", self.heard()));
    }
}

/// What a target that works says.
pub(crate) fn ok(heard: &Heard) -> Reply {
    let body = &heard.body;
    Reply::Json(
        200,
        match heard.action.as_str() {
            "SendMessage" => sent(body),
            "SendMessageBatch" => {
                let entries = body["Entries"].as_array().unwrap();
                json!({ "Successful": entries.iter().map(sent).collect::<Vec<_>>(), "Failed": [] })
            }
            "ListShards" => json!({ "Shards": [{
                "ShardId": "shardId-000000000000",
                "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string() },
                "SequenceNumberRange": { "StartingSequenceNumber": "1" },
            }] }),
            "PutRecord" => put(0),
            "PutRecords" => {
                let records = body["Records"].as_array().unwrap();
                let records: Vec<Value> = (0..records.len()).map(put).collect();
                json!({ "FailedRecordCount": 0, "Records": records })
            }
            "PutEvents" => {
                let entries = body["Entries"].as_array().unwrap();
                let entries: Vec<Value> = (0..entries.len())
                    .map(|place| json!({ "EventId": format!("event-{place}") }))
                    .collect();
                json!({ "FailedEntryCount": 0, "Entries": entries })
            }
            "StartExecution" => json!({ "executionArn": "arn:started", "startDate": 1.5 }),
            other => panic!("unexpected call {other}"),
        },
    )
}

/// The answer to one message: with its entry's id, where it has one.
pub(crate) fn sent(message: &Value) -> Value {
    let text = message["MessageBody"].as_str().unwrap();
    json!({
        "Id": message["Id"],
        "MessageId": format!("m-{text}"),
        "MD5OfMessageBody": md5_of_body(text.as_bytes()),
    })
}

fn put(place: usize) -> Value {
    json!({ "SequenceNumber": format!("n-{place}"), "ShardId": "shardId-000000000000" })
}

/// An error of the JSON protocols.
pub(crate) fn error(status: u16, code: &str) -> Reply {
    Reply::Json(status, json!({ "__type": code, "message": "as told" }))
}

async fn serve(mut socket: TcpStream, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    while let Some(heard) = next_call(&mut socket, &mut buffer).await {
        let replies = shared
            .replies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut reply = replies(&heard);
        shared.heard.lock().unwrap().push(heard);
        shared.stirred.notify_waiters();
        while let Reply::Held(gate, then) = reply {
            gate.acquire().await.unwrap().forget();
            reply = *then;
        }
        let Reply::Json(status, body) = reply else {
            return;
        };
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status} Told\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn next_call(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Heard> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let field = |name: &str| {
                head.lines().find_map(|line| {
                    let (found, value) = line.split_once(": ")?;
                    found.eq_ignore_ascii_case(name).then(|| value.to_owned())
                })
            };
            let length: usize = field("content-length").map_or(0, |text| text.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let body = serde_json::from_slice(&buffer[end + 4..end + 4 + length]).unwrap();
                let target = field("x-amz-target").unwrap();
                let action = target.rsplit('.').next().unwrap().to_owned();
                buffer.drain(..end + 4 + length);
                return Some(Heard { action, body });
            }
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
