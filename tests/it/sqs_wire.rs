//! The Rust SDK works unchanged against the SQS listener of a running gateway.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use aws_sdk_sqs::operation::send_message::SendMessageError;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, MessageAttributeValue, MessageSystemAttributeName,
    QueueAttributeName, SendMessageBatchRequestEntry,
};
use futures_util::FutureExt as _;

const SECRET: &str = "rust/secret+key";

/// A gateway that is killed when the test ends.
struct Gateway {
    child: Child,
    sqs: String,
    _directory: tempfile::TempDir,
}

impl Gateway {
    fn start() -> Gateway {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("gateway.yaml");
        let text = format!(
            "listeners: {{ public: {{ bind: '127.0.0.1:0' }} }}\nadmin: {{ bind: '127.0.0.1:0' }}\n\
             sqs: {{ bind: '127.0.0.1:0', credentials: [ {{ name: rust, access_key_id: AKIDRUST, secret_access_key: '{SECRET}' }} ] }}\n\
             routes: {{ GET /: {{ integration: {{ Mock: {{}} }} }} }}\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_penstock"))
            .arg("serve")
            .arg(&config)
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let sqs = lines
            .find_map(|line| Some(line.unwrap().strip_prefix("sqs on ")?.to_owned()))
            .expect("the banner names the listener");
        // What else it says has to go somewhere, or it would wait.
        std::thread::spawn(move || lines.for_each(drop));
        Gateway {
            child,
            sqs,
            _directory: directory,
        }
    }

    fn client(&self, secret: &str) -> Client {
        let credentials = Credentials::new("AKIDRUST", secret, None, None, "test");
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.sqs)
            .region(Region::new("eu-west-1"))
            .credentials_provider(credentials)
            .build();
        Client::from_conf(config)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn the_rust_sdk_makes_fills_and_empties_queues() {
    let gateway = Gateway::start();
    let sqs = gateway.client(SECRET);
    let made = sqs
        .create_queue()
        .queue_name("rust.fifo")
        .attributes(QueueAttributeName::FifoQueue, "true")
        .attributes(QueueAttributeName::ContentBasedDeduplication, "true")
        .tags("a", "b")
        .send()
        .boxed()
        .await
        .unwrap();
    let url = made.queue_url().unwrap();
    let bytes = MessageAttributeValue::builder()
        .data_type("Binary")
        .binary_value(Blob::new([0u8, 255]))
        .build()
        .unwrap();
    let sent = sqs
        .send_message()
        .queue_url(url)
        .message_body("hé 🎈")
        .message_group_id("g")
        .message_attributes("bytes", bytes)
        .send()
        .boxed()
        .await
        .unwrap();
    let entries = (0..9).map(|n| {
        SendMessageBatchRequestEntry::builder()
            .id(n.to_string())
            .message_body(format!("{n}\n"))
            .message_group_id("g")
            .build()
            .unwrap()
    });
    let batch = sqs
        .send_message_batch()
        .queue_url(url)
        .set_entries(Some(entries.collect()));
    let batch = batch.send().boxed().await.unwrap();
    assert_eq!((batch.successful().len(), batch.failed().len()), (9, 0));

    let received = sqs
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .wait_time_seconds(1)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All")
        .send()
        .boxed()
        .await
        .unwrap();
    let messages = received.messages();
    let bodies: Vec<&str> = messages.iter().filter_map(|m| m.body()).collect();
    assert_eq!(bodies[..3], ["hé 🎈", "0\n", "1\n"]);
    assert_eq!(messages.len(), 10);
    assert_eq!(messages[0].message_id(), sent.message_id());
    let attribute = &messages[0].message_attributes().unwrap()["bytes"];
    assert_eq!(attribute.binary_value().unwrap().as_ref(), [0, 255]);
    let number = MessageSystemAttributeName::SequenceNumber;
    let number = &messages[0].attributes().unwrap()[&number];
    assert_eq!(Some(number.as_str()), sent.sequence_number());

    let entries = messages.iter().enumerate().map(|(n, message)| {
        DeleteMessageBatchRequestEntry::builder()
            .id(n.to_string())
            .receipt_handle(message.receipt_handle().unwrap())
            .build()
            .unwrap()
    });
    let deleted = sqs
        .delete_message_batch()
        .queue_url(url)
        .set_entries(Some(entries.collect()));
    assert_eq!(deleted.send().boxed().await.unwrap().successful().len(), 10);
    let nothing = sqs
        .receive_message()
        .queue_url(url)
        .send()
        .boxed()
        .await
        .unwrap();
    assert!(nothing.messages().is_empty());
    sqs.delete_queue()
        .queue_url(url)
        .send()
        .boxed()
        .await
        .unwrap();
}

#[tokio::test]
async fn the_rust_sdk_knows_the_refusals() {
    let gateway = Gateway::start();
    let sqs = gateway.client(SECRET);
    let missing = format!("{}/000000000000/missing", gateway.sqs);
    let send = sqs.send_message().queue_url(&missing).message_body("x");
    let refused = send.send().boxed().await.unwrap_err().into_service_error();
    assert!(
        matches!(refused, SendMessageError::QueueDoesNotExist(_)),
        "{refused:?}"
    );
    let forged = gateway.client("wrong").list_queues().send().boxed().await;
    let forged = forged.unwrap_err().into_service_error();
    assert_eq!(forged.code(), Some("SignatureDoesNotMatch"));
}
