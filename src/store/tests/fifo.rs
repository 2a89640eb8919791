//! FIFO queues: order, exclusive groups, deduplication, sequence numbers.

use super::*;

fn grouped(group: &str, body: &str) -> NewMessage {
    NewMessage {
        group_id: Some(group.into()),
        ..message(body)
    }
}

fn content_based() -> QueueSpec {
    QueueSpec {
        content_based_deduplication: true,
        ..QueueSpec::new("q.fifo")
    }
}

#[tokio::test]
async fn a_group_comes_in_order_and_one_consumer_has_it_at_a_time() {
    let t = Fixture::with(vec![content_based()]).await;
    for (group, body) in [
        ("a", "a1"),
        ("b", "b1"),
        ("a", "a2"),
        ("a", "a3"),
        ("b", "b2"),
    ] {
        t.store.send("q.fifo", grouped(group, body)).await.unwrap();
    }
    let first = t.receive("q.fifo", 2).await;
    assert_eq!(bodies(&first), ["a1", "a2"]);
    let second = t.receive("q.fifo", 10).await;
    assert_eq!(bodies(&second), ["b1", "b2"]);
    assert!(t.receive("q.fifo", 10).await.is_empty(), "a is held");
    t.store
        .delete("q.fifo", &first[0].receipt_handle)
        .await
        .unwrap();
    assert!(t.receive("q.fifo", 10).await.is_empty(), "a2 is still held");
    t.advance(30);
    assert_eq!(
        bodies(&t.receive("q.fifo", 10).await),
        ["b1", "b2", "a2", "a3"]
    );
}

#[tokio::test]
async fn deleting_the_last_of_a_held_group_wakes_who_waits_for_the_rest() {
    let t = Fixture::with(vec![content_based()]).await;
    for body in ["1", "2"] {
        t.store.send("q.fifo", grouped("g", body)).await.unwrap();
    }
    let held = t.receive("q.fifo", 1).await;
    let store = t.store.clone();
    let request = Receive {
        wait: Duration::from_secs(20),
        ..Receive::default()
    };
    let waiting = tokio::spawn(async move { store.receive("q.fifo", request).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(30)).await;
    t.store
        .delete("q.fifo", &held[0].receipt_handle)
        .await
        .unwrap();
    assert_eq!(bodies(&waiting.await.unwrap()), ["2"]);
}

#[tokio::test]
async fn the_same_deduplication_id_within_five_minutes_is_one_message() {
    let t = Fixture::with(vec![QueueSpec::new("q.fifo")]).await;
    let with_id = |body: &str| NewMessage {
        deduplication_id: Some("id".into()),
        ..grouped("g", body)
    };
    let first = t.store.send("q.fifo", with_id("one")).await.unwrap();
    assert_eq!(
        first.sequence_number.as_deref(),
        Some("00000000000000000001")
    );
    t.advance(299);
    let again = t.store.send("q.fifo", with_id("two")).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.message_id, first.message_id);
    assert_eq!(again.sequence_number, first.sequence_number);
    let killed = t.after_a_kill();
    assert!(
        killed
            .store
            .send("q.fifo", with_id("two"))
            .await
            .unwrap()
            .duplicate
    );
    t.advance(1);
    let later = t.store.send("q.fifo", with_id("three")).await.unwrap();
    assert!(!later.duplicate);
    assert!(later.sequence_number > first.sequence_number);
    let stats = t.stats("q.fifo");
    assert_eq!((stats.ledger.accepted, stats.ledger.duplicates), (2, 1));
}

#[tokio::test]
async fn the_body_is_the_deduplication_id_where_the_queue_says_so() {
    let t = Fixture::with(vec![content_based()]).await;
    let send = |body: &'static str| t.store.send("q.fifo", grouped("g", body));
    assert!(!send("same").await.unwrap().duplicate);
    assert!(send("same").await.unwrap().duplicate);
    assert!(!send("other").await.unwrap().duplicate);
    let got = t.receive("q.fifo", 1).await;
    assert_eq!(got[0].deduplication_id.as_deref().map(str::len), Some(64));
    assert_eq!(got[0].group_id.as_deref(), Some("g"));
    // Its deletion does not make the id free.
    t.store
        .delete("q.fifo", &got[0].receipt_handle)
        .await
        .unwrap();
    assert!(send("same").await.unwrap().duplicate);
}

#[tokio::test]
async fn an_expired_handle_deletes_nothing() {
    let t = Fixture::with(vec![content_based()]).await;
    t.store.send("q.fifo", grouped("g", "1")).await.unwrap();
    let first = t.receive("q.fifo", 1).await.pop().unwrap();
    t.advance(30);
    for _ in 0..2 {
        assert_eq!(
            t.store.delete("q.fifo", &first.receipt_handle).await,
            Err(StoreError::ReceiptHandleExpired)
        );
        t.store.look().await.unwrap();
    }
    let second = t.receive("q.fifo", 1).await.pop().unwrap();
    assert_eq!(
        t.store.delete("q.fifo", &first.receipt_handle).await,
        Err(StoreError::ReceiptHandleExpired)
    );
    for _ in 0..2 {
        t.store
            .delete("q.fifo", &second.receipt_handle)
            .await
            .unwrap();
    }
    assert_eq!(t.stats("q.fifo").depth(), 0);
}

#[tokio::test]
async fn a_poisoned_message_leaves_its_group_free_to_go_on() {
    let spec = QueueSpec {
        redrive: Some(Redrive {
            to: "dead.fifo".into(),
            max_receive_count: 1,
        }),
        ..content_based()
    };
    let t = Fixture::with(vec![spec, QueueSpec::new("dead.fifo")]).await;
    for body in ["1", "2"] {
        t.store.send("q.fifo", grouped("g", body)).await.unwrap();
    }
    assert_eq!(bodies(&t.receive("q.fifo", 1).await), ["1"]);
    t.advance(30);
    assert_eq!(bodies(&t.receive("q.fifo", 1).await), ["2"]);
    let dead = t.receive("dead.fifo", 1).await;
    assert_eq!(bodies(&dead), ["1"]);
    assert_eq!(dead[0].group_id.as_deref(), Some("g"));
    assert_eq!(t.stats("q.fifo").ledger.dead_lettered, 1);
}

#[tokio::test]
async fn a_repeated_receive_attempt_gets_the_same_messages() {
    let t = Fixture::with(vec![content_based()]).await;
    for body in ["1", "2", "3"] {
        t.store.send("q.fifo", grouped("g", body)).await.unwrap();
    }
    let attempt = |max_messages| {
        let request = Receive {
            max_messages,
            attempt_id: Some("try".into()),
            ..Receive::default()
        };
        t.store.receive("q.fifo", request)
    };
    let first = attempt(2).await.unwrap();
    t.advance(20);
    let again = attempt(2).await.unwrap();
    assert_eq!(first, again);
    t.advance(20);
    // Its visibility began anew, so the messages are still held.
    assert!(t.receive("q.fifo", 1).await.is_empty());
    t.store
        .delete("q.fifo", &first[0].receipt_handle)
        .await
        .unwrap();
    assert!(attempt(2).await.unwrap().is_empty());
    t.advance(10);
    assert_eq!(bodies(&attempt(2).await.unwrap()), ["2", "3"]);
}

#[tokio::test]
async fn a_shortened_delay_lets_nothing_overtake_its_group() {
    let slow = QueueSpec {
        delay: Duration::from_secs(60),
        ..content_based()
    };
    let t = Fixture::with(vec![slow]).await;
    t.store.send("q.fifo", grouped("g", "1")).await.unwrap();
    t.store.declare(vec![content_based()]).await.unwrap();
    t.store.send("q.fifo", grouped("g", "2")).await.unwrap();
    t.store.send("q.fifo", grouped("h", "3")).await.unwrap();
    assert_eq!(bodies(&t.receive("q.fifo", 10).await), ["3"]);
    t.advance(60);
    let rest = t.receive("q.fifo", 10).await;
    assert_eq!(bodies(&rest), ["1", "2", "3"]);
}

#[tokio::test]
async fn expired_and_purged_groups_leave_nothing_behind() {
    let spec = QueueSpec {
        retention: Some(Duration::from_secs(60)),
        ..content_based()
    };
    let t = Fixture::with(vec![spec]).await;
    for n in 0..30 {
        let group = (n % 7).to_string();
        t.store
            .send("q.fifo", grouped(&group, &n.to_string()))
            .await
            .unwrap();
    }
    t.receive("q.fifo", 3).await;
    t.advance(61);
    t.store.look().await.unwrap();
    assert_eq!(t.stats("q.fifo").ledger.expired, 30);
    for n in 0..30 {
        let body = format!("later {n}");
        t.store
            .send("q.fifo", grouped(&(n % 3).to_string(), &body))
            .await
            .unwrap();
    }
    t.receive("q.fifo", 3).await;
    assert_eq!(t.store.purge("q.fifo").await, Ok(30));
    let path = t.directory.path().join("store.db");
    t.store.close().await;
    let file = rusqlite::Connection::open(path).unwrap();
    for table in ["lane", "ready", "flight", "message"] {
        let rows: i64 = file
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}

#[tokio::test]
async fn a_message_given_back_frees_its_group_at_once_and_comes_first() {
    let t = Fixture::with(vec![content_based()]).await;
    for body in ["1", "2"] {
        t.store.send("q.fifo", grouped("g", body)).await.unwrap();
    }
    let held = t.receive("q.fifo", 1).await;
    let store = t.store.clone();
    let request = Receive {
        wait: Duration::from_secs(20),
        max_messages: 10,
        ..Receive::default()
    };
    let waiting = tokio::spawn(async move { store.receive("q.fifo", request).await.unwrap() });
    let queue = t.store.queue("q.fifo").unwrap();
    while queue.waiting.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    t.store
        .change_visibility("q.fifo", &held[0].receipt_handle, Duration::ZERO)
        .await
        .unwrap();
    let got = waiting.await.unwrap();
    assert_eq!(bodies(&got), ["1", "2"]);
    assert_eq!((got[0].receive_count, got[1].receive_count), (2, 1));
    let late = t
        .store
        .change_visibility("q.fifo", &held[0].receipt_handle, Duration::ZERO)
        .await;
    assert_eq!(late, Err(StoreError::MessageNotInFlight));
}

#[tokio::test]
async fn a_queue_s_delay_holds_for_each_message_and_other_groups_go_on() {
    let slow = QueueSpec {
        delay: Duration::from_secs(10),
        ..content_based()
    };
    let t = Fixture::with(vec![slow]).await;
    t.store.send("q.fifo", grouped("g", "1")).await.unwrap();
    t.advance(5);
    t.store.send("q.fifo", grouped("g", "2")).await.unwrap();
    t.store.send("q.fifo", grouped("h", "3")).await.unwrap();
    assert!(t.receive("q.fifo", 10).await.is_empty());
    t.advance(5);
    let first = t.receive("q.fifo", 10).await;
    assert_eq!(bodies(&first), ["1"]);
    t.advance(5);
    // A delayed message that became visible waits for its group.
    assert_eq!(bodies(&t.receive("q.fifo", 10).await), ["3"]);
    t.store
        .delete("q.fifo", &first[0].receipt_handle)
        .await
        .unwrap();
    assert_eq!(bodies(&t.receive("q.fifo", 10).await), ["2"]);
    let late = NewMessage {
        delay: Some(Duration::from_secs(1)),
        ..grouped("g", "4")
    };
    let refused = t.store.send("q.fifo", late).await;
    assert!(matches!(refused, Err(StoreError::InvalidParameter(_))));
}
