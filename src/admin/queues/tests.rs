//! An operator's wishes against a store: spools and their dead letters above all, for people cannot reach those
//! otherwise.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::*;
use crate::store::{Clock, NewMessage, NewRecord, Options, QueueSpec, Reason, Settlement};

const TARGET: &str = "sqs:https://sqs.example/1/orders";

async fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(Options {
        min_free: 0,
        clock: Clock::manual(1_700_000_000_000),
        ..Options::new(directory.path())
    })
    .unwrap();
    let specs = vec![QueueSpec::new("plain")];
    store.declare(specs).await.unwrap();
    (directory, store)
}

async fn spool(store: &Store, call: &'static str) {
    let record = NewRecord {
        target: TARGET.into(),
        key: None,
        call: Bytes::from_static(call.as_bytes()),
        context: r#"{"requestId":"r-1","route":"POST /orders"}"#.into(),
        hold: None,
    };
    store.spool(vec![record], None).await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_is_seen_with_its_reason_and_its_request_and_goes_back() {
    let (_directory, store) = store().await;
    for call in [r#"{"MessageBody":"good"}"#, r#"{"MessageBody":"bad"}"#] {
        spool(&store, call).await;
    }
    let parcels = store.take_parcels(TARGET, 10, 1 << 20).await.unwrap();
    let reason = Reason {
        code: "InvalidMessageContents".into(),
        detail: "no such character".into(),
    };
    let dead = vec![(parcels[1].number, Settlement::Dead(reason))];
    store.settle(TARGET, dead).await.unwrap();
    let queues = Queues::new(store);
    let letters = format!("dead:{TARGET}");
    let kinds: Vec<(String, Kind, u64)> = queues
        .list()
        .queues
        .iter()
        .map(|queue| (queue.name.clone(), queue.kind, queue.depth()))
        .collect();
    assert_eq!(
        kinds,
        [
            (letters.clone(), Kind::DeadLetters, 1),
            ("plain".to_owned(), Kind::Queue, 0),
            (format!("spool:{TARGET}"), Kind::Spool, 1),
        ]
    );
    let page = queues.messages(&letters, None, 10).await.unwrap();
    let letter = &page.messages[0];
    assert_eq!(page.next, None);
    assert_eq!(letter.target.as_deref(), Some(TARGET));
    assert_eq!(letter.body, r#"{"MessageBody":"bad"}"#);
    assert_eq!(
        letter.context,
        Some(json!({"requestId": "r-1", "route": "POST /orders"}))
    );
    let death = letter.death.as_ref().unwrap();
    assert_eq!(
        (death.code.as_str(), death.detail.as_str(), death.attempts),
        ("InvalidMessageContents", "no such character", 1)
    );
    assert!(letter.system_attributes.is_empty(), "{letter:?}");
    let begun = queues.redrive(&letters, Redrive::default()).await.unwrap();
    let task = loop {
        let task = queues.moves(&letters).await.unwrap().moves.remove(0);
        if task.is_over() {
            break task;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(task.handle, begun.handle);
    assert_eq!((task.state.as_str(), task.moved), ("completed", 1));
    let spooled = format!("spool:{TARGET}");
    let page = queues.messages(&spooled, None, 10).await.unwrap();
    let bodies: Vec<&str> = page.messages.iter().map(|m| m.body.as_str()).collect();
    assert_eq!(
        bodies,
        [r#"{"MessageBody":"good"}"#, r#"{"MessageBody":"bad"}"#]
    );
    assert_eq!(queues.purge(&spooled).await.unwrap().purged, 2);
}

#[tokio::test]
async fn a_spool_is_not_received_from_and_the_refusal_says_what_to_use() {
    let (_directory, store) = store().await;
    spool(&store, "{}").await;
    let queues = Queues::new(store);
    for name in [format!("spool:{TARGET}"), format!("dead:{TARGET}")] {
        let refused = queues.receive(&name, &Take::default()).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.message.contains("queue peek"), "{refused}");
    }
}

#[tokio::test]
async fn wishes_that_make_no_sense_are_refused_with_a_status() {
    let (_directory, store) = store().await;
    let queues = Queues::new(store);
    let status = |refused: Refused| refused.status;
    let missing = queues.messages("nowhere", None, 1).await;
    assert_eq!(missing.map_err(status).err(), Some(StatusCode::NOT_FOUND));
    for limit in [0, MAX_PAGE + 1] {
        let refused = queues.messages("plain", None, limit).await;
        assert_eq!(refused.map_err(status).err(), Some(StatusCode::BAD_REQUEST));
    }
    let greedy = Take {
        max_messages: Some(11),
        ..Take::default()
    };
    let refused = queues.receive("plain", &greedy).await;
    assert_eq!(refused.map_err(status).err(), Some(StatusCode::BAD_REQUEST));
    let refused = queues.redrive("plain", Redrive::default()).await;
    assert_eq!(refused.map_err(status).err(), Some(StatusCode::BAD_REQUEST));
    let refused = queues.redrive("nowhere", Redrive::default()).await;
    assert_eq!(refused.map_err(status).err(), Some(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn pages_hold_every_message_once_while_others_come_and_go() {
    let (_directory, store) = store().await;
    let send = async |text: String| {
        let message = NewMessage {
            body: text.into(),
            ..NewMessage::default()
        };
        store.send("plain", message).await.unwrap();
    };
    for number in 0..25 {
        send(number.to_string()).await;
    }
    let queues = Queues::new(store.clone());
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = queues.messages("plain", after, 10).await.unwrap();
        seen.extend(page.messages.into_iter().map(|message| message.body));
        // One is taken and deleted, and one is sent, between any two pages.
        let taken = queues.receive("plain", &Take::default()).await.unwrap();
        let receipt_handle = taken.messages[0].receipt_handle.clone().unwrap();
        let delete = Delete { receipt_handle };
        queues.delete("plain", &delete).await.unwrap();
        if seen.len() < 25 {
            send("later".to_owned()).await;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let first: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    assert_eq!(seen[..25], first[..]);
    assert!(seen[25..].iter().all(|body| body == "later"), "{seen:?}");
}
