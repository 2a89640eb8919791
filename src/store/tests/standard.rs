//! Standard queues.

use bytes::Bytes;

use super::*;
use crate::model::message::{Attribute, AttributeValue, md5_of_body};

#[tokio::test]
async fn what_is_sent_is_received_byte_by_byte_and_gone_once_deleted() {
    let t = Fixture::with_queue("q").await;
    let text = |value: &str| Attribute {
        data_type: "String".into(),
        value: AttributeValue::String(value.into()),
    };
    for body in [&b""[..], b"{\"a\":1}", b"\xff\0\xfe", &[7; 262_144]] {
        let new = NewMessage {
            body: Bytes::copy_from_slice(body),
            attributes: [("source".to_owned(), text("curl"))].into(),
            system_attributes: [("AWSTraceHeader".to_owned(), text("Root=1-2-3"))].into(),
            ..NewMessage::default()
        };
        let sent = t.store.send("q", new.clone()).await.unwrap();
        assert_eq!(sent.md5_of_body, md5_of_body(body));
        let got = t.receive("q", 10).await.pop().unwrap();
        assert_eq!(got.body, body);
        assert_eq!(got.message_id, sent.message_id);
        assert_eq!(got.attributes, new.attributes);
        assert_eq!(got.system_attributes, new.system_attributes);
        assert_eq!(got.aws_trace_header.as_deref(), Some("Root=1-2-3"));
        assert_eq!(
            (got.receive_count, got.sent_timestamp),
            (1, t.clock.wall_ms())
        );
        t.store.delete("q", &got.receipt_handle).await.unwrap();
        t.advance(31);
        assert!(t.receive("q", 10).await.is_empty());
        t.store
            .delete("q", &got.receipt_handle)
            .await
            .expect("deleting again is no error");
    }
    let stats = t.stats("q");
    assert_eq!((stats.ledger.accepted, stats.ledger.deleted), (4, 4));
    assert_eq!((stats.depth(), stats.bytes), (0, 0));
}

#[tokio::test]
async fn a_received_message_is_invisible_until_its_timeout_ends() {
    let t = Fixture::with_queue("q").await;
    t.send("q", "one").await;
    let first = t.receive("q", 1).await.pop().unwrap();
    t.advance(29);
    assert!(t.receive("q", 1).await.is_empty());
    assert_eq!(t.stats("q").in_flight, 1);
    t.advance(1);
    let second = t.receive("q", 1).await.pop().unwrap();
    assert_eq!(second.receive_count, 2);
    assert_eq!(
        second.first_receive_timestamp,
        first.first_receive_timestamp
    );
    assert_ne!(second.receipt_handle, first.receipt_handle);
    // The older handle deletes too: its holder has had the message.
    t.store.delete("q", &first.receipt_handle).await.unwrap();
    t.advance(60);
    assert!(t.receive("q", 1).await.is_empty());
}

#[tokio::test]
async fn messages_come_in_order_and_redelivered_ones_where_they_stood() {
    let t = Fixture::with_queue("q").await;
    for n in 0..25 {
        t.send("q", &n.to_string()).await;
    }
    let first = t.receive("q", 10).await;
    assert_eq!(bodies(&first)[..3], ["0", "1", "2"]);
    let handle = &first[1].receipt_handle;
    t.store
        .change_visibility("q", handle, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        bodies(&t.receive("q", 10).await),
        ["1", "10", "11", "12", "13", "14", "15", "16", "17", "18"]
    );
}

#[tokio::test]
async fn newest_comes_first_where_the_queue_says_lifo() {
    let spec = QueueSpec {
        lifo: true,
        ..QueueSpec::new("stack")
    };
    let t = Fixture::with(vec![spec]).await;
    for body in ["a", "b", "c"] {
        t.send("stack", body).await;
    }
    assert_eq!(bodies(&t.receive("stack", 2).await), ["c", "b"]);
    t.send("stack", "d").await;
    t.advance(31);
    assert_eq!(bodies(&t.receive("stack", 10).await), ["d", "c", "b", "a"]);
}

#[tokio::test]
async fn what_waits_too_long_at_the_bottom_of_a_stack_expires() {
    let spec = QueueSpec {
        lifo: true,
        retention: Some(Duration::from_secs(60)),
        ..QueueSpec::new("stack")
    };
    let mut t = Fixture::with(vec![spec]).await;
    for body in ["a", "b", "c", "d"] {
        t.send("stack", body).await;
        t.advance(20);
    }
    t.reopen().await;
    t.store.look().await.unwrap();
    assert_eq!(t.stats("stack").ledger.expired, 2);
    assert_eq!(bodies(&t.receive("stack", 1).await), ["d"]);
    t.advance(19);
    assert_eq!(bodies(&t.receive("stack", 10).await), ["c"]);
    // In flight longer than it is kept: it does not come back.
    t.advance(31);
    assert!(t.receive("stack", 10).await.is_empty());
    let ledger = t.stats("stack").ledger;
    assert_eq!((ledger.accepted, ledger.expired), (4, 4));
}

#[tokio::test]
async fn a_delay_of_the_message_stands_instead_of_the_queue_s() {
    let spec = QueueSpec {
        delay: Duration::from_secs(10),
        ..QueueSpec::new("q")
    };
    let t = Fixture::with(vec![spec]).await;
    t.send("q", "slow").await;
    let now = NewMessage {
        delay: Some(Duration::ZERO),
        ..message("at once")
    };
    t.store.send("q", now).await.unwrap();
    assert_eq!((t.stats("q").delayed, t.stats("q").visible), (1, 1));
    assert_eq!(bodies(&t.receive("q", 10).await), ["at once"]);
    t.advance(10);
    assert_eq!(bodies(&t.receive("q", 10).await), ["slow"]);
    assert_eq!(t.stats("q").delayed, 0);
}

#[tokio::test]
async fn visibility_changes_only_for_the_current_delivery_and_for_twelve_hours_in_all() {
    let t = Fixture::with_queue("q").await;
    t.send("q", "one").await;
    let first = t.receive("q", 1).await.pop().unwrap().receipt_handle;
    let change = |handle: String, seconds| {
        let store = t.store.clone();
        async move {
            store
                .change_visibility("q", &handle, Duration::from_secs(seconds))
                .await
        }
    };
    change(first.clone(), 120).await.unwrap();
    t.advance(119);
    assert!(t.receive("q", 1).await.is_empty());
    assert!(matches!(
        change(first.clone(), 43_200).await,
        Err(StoreError::InvalidParameter(_))
    ));
    t.advance(1);
    assert_eq!(
        change(first.clone(), 5).await,
        Err(StoreError::MessageNotInFlight)
    );
    let second = t.receive("q", 1).await.pop().unwrap().receipt_handle;
    assert_eq!(
        change(first, 5).await,
        Err(StoreError::MessageNotInFlight),
        "an old handle must not touch the lease of another consumer"
    );
    t.store.delete("q", &second).await.unwrap();
    assert_eq!(change(second, 5).await, Err(StoreError::MessageNotInFlight));
}

#[tokio::test]
async fn a_handle_is_good_for_its_queue_only_and_nonsense_for_none() {
    let t = Fixture::with(vec![QueueSpec::new("a"), QueueSpec::new("b")]).await;
    t.send("a", "one").await;
    let handle = t.receive("a", 1).await.pop().unwrap().receipt_handle;
    for (queue, handle) in [("b", handle.as_str()), ("a", "nonsense"), ("a", "")] {
        assert_eq!(
            t.store.delete(queue, handle).await,
            Err(StoreError::ReceiptHandleInvalid)
        );
    }
    assert_eq!(
        t.store.delete("c", &handle).await,
        Err(StoreError::UnknownQueue("c".into()))
    );
    assert_eq!(t.stats("a").depth(), 1);
}

#[tokio::test]
async fn what_is_received_too_often_moves_to_the_dead_letter_queue() {
    let spec = QueueSpec {
        redrive: Some(Redrive {
            to: "dead".into(),
            max_receive_count: 2,
        }),
        ..QueueSpec::new("q")
    };
    let t = Fixture::with(vec![spec, QueueSpec::new("dead")]).await;
    let sent = t.send("q", "poison").await;
    t.send("q", "good").await;
    for _ in 0..2 {
        assert_eq!(bodies(&t.receive("q", 1).await), ["poison"]);
        t.advance(31);
    }
    assert_eq!(bodies(&t.receive("q", 10).await), ["good"]);
    let dead = t.receive("dead", 10).await.pop().unwrap();
    assert_eq!(dead.message_id, sent.message_id);
    assert_eq!(dead.dead_letter_source.as_deref(), Some("q"));
    assert_eq!(dead.receive_count, 1);
    assert_eq!(dead.sent_timestamp, START);
    let (source, target) = (t.stats("q").ledger, t.stats("dead").ledger);
    assert_eq!((source.accepted, source.dead_lettered), (2, 1));
    assert_eq!((target.accepted, target.imported), (0, 1));
    assert_eq!(t.stats("dead").bytes, 6);
    t.store.delete("dead", &dead.receipt_handle).await.unwrap();
    assert_eq!(t.stats("dead").bytes, 0);
}

#[tokio::test]
async fn what_is_older_than_the_retention_expires_and_is_counted() {
    let spec = QueueSpec {
        retention: Some(Duration::from_secs(60)),
        ..QueueSpec::new("q")
    };
    let forever = QueueSpec {
        retention: None,
        ..QueueSpec::new("spool")
    };
    let t = Fixture::with(vec![spec, forever]).await;
    for n in 0..1_200 {
        t.send("q", &n.to_string()).await;
    }
    t.send("spool", "kept").await;
    let held = t.receive("q", 1).await;
    t.advance(50);
    t.send("q", "younger").await;
    t.advance(10);
    t.store.look().await.unwrap();
    assert_eq!(
        t.stats("q").ledger.expired,
        1_200,
        "also what was in flight"
    );
    assert_eq!(bodies(&t.receive("q", 10).await), ["younger"]);
    t.store.delete("q", &held[0].receipt_handle).await.unwrap();
    assert_eq!(t.stats("q").ledger.deleted, 0);
    t.advance(400 * 86_400);
    t.store.look().await.unwrap();
    assert_eq!(bodies(&t.receive("spool", 1).await), ["kept"]);
}

#[tokio::test]
async fn a_stepped_clock_expires_nothing_until_it_is_confirmed() {
    let t = Fixture::with_queue("q").await;
    t.send("q", "one").await;
    t.clock.step_wall(30 * 86_400_000);
    t.store.look().await.unwrap();
    assert!(t.store.stats().expiry_suspended);
    let got = t.receive("q", 1).await.pop().unwrap();
    t.store
        .change_visibility("q", &got.receipt_handle, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(t.stats("q").ledger.expired, 0);
    t.store.confirm_time().await.unwrap();
    t.store.look().await.unwrap();
    assert_eq!(t.stats("q").ledger.expired, 1);
    assert!(!t.store.stats().expiry_suspended);
}

#[tokio::test]
async fn a_purge_takes_what_was_there_and_says_how_much() {
    let t = Fixture::with_queue("q").await;
    for n in 0..1_300 {
        t.send("q", &n.to_string()).await;
    }
    let held = t.receive("q", 10).await;
    let later = NewMessage {
        delay: Some(Duration::from_secs(5)),
        ..message("delayed")
    };
    t.store.send("q", later).await.unwrap();
    assert_eq!(t.store.purge("q").await, Ok(1_301));
    t.send("q", "after").await;
    t.advance(40);
    assert_eq!(bodies(&t.receive("q", 10).await), ["after"]);
    t.store.delete("q", &held[0].receipt_handle).await.unwrap();
    let stats = t.stats("q");
    assert_eq!((stats.ledger.purged, stats.bytes), (1_301, 5));
    assert_eq!(t.after_a_kill().stats("q").ledger.purged, 1_301);
}

#[tokio::test]
async fn a_long_poll_wakes_when_something_arrives_or_becomes_visible() {
    let t = Fixture::with_queue("q").await;
    let poll = |store: Store| {
        let request = Receive {
            wait: Duration::from_secs(20),
            ..Receive::default()
        };
        tokio::spawn(async move { store.receive("q", request).await.unwrap() })
    };
    let waiting = poll(t.store.clone());
    tokio::time::sleep(Duration::from_millis(30)).await;
    t.send("q", "one").await;
    let got = waiting.await.unwrap();
    assert_eq!(bodies(&got), ["one"]);

    let waiting = poll(t.store.clone());
    tokio::time::sleep(Duration::from_millis(30)).await;
    t.advance(30);
    let again = waiting.await.unwrap();
    assert_eq!(again[0].receive_count, 2);

    let waiting = poll(t.store.clone());
    tokio::time::sleep(Duration::from_millis(30)).await;
    t.store
        .change_visibility("q", &again[0].receipt_handle, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap()[0].receive_count, 3);
}

#[tokio::test]
async fn a_long_poll_on_the_machine_s_clock_sees_a_delay_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(options(directory.path(), &Clock::system())).unwrap();
    store.declare(vec![QueueSpec::new("q")]).await.unwrap();
    let delayed = NewMessage {
        delay: Some(Duration::from_millis(150)),
        ..message("soon")
    };
    store.send("q", delayed).await.unwrap();
    let request = Receive {
        wait: Duration::from_secs(20),
        ..Receive::default()
    };
    assert_eq!(
        bodies(&store.receive("q", request).await.unwrap()),
        ["soon"]
    );
}

#[tokio::test]
async fn many_pollers_share_many_messages_and_nobody_sleeps_on_one() {
    let t = Fixture::with_queue("q").await;
    let pollers: Vec<_> = (0..20)
        .map(|_| {
            let store = t.store.clone();
            let request = Receive {
                wait: Duration::from_secs(20),
                ..Receive::default()
            };
            tokio::spawn(async move { store.receive("q", request).await.unwrap().len() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    for n in 0..20 {
        t.send("q", &n.to_string()).await;
    }
    for poller in pollers {
        assert_eq!(poller.await.unwrap(), 1);
    }
}

#[tokio::test]
async fn what_nobody_waited_for_becomes_visible_again_at_once() {
    let t = Fixture::with_queue("q").await;
    t.send("q", "one").await;
    // Polled once, the job is with the writer; then its caller goes. The writer may be quicker: then once more.
    loop {
        let mut receiving = Box::pin(t.receive("q", 1));
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(receiving.as_mut().poll(context))
        });
        let std::task::Poll::Ready(got) = polled.await else {
            break;
        };
        for delivery in got {
            let handle = &delivery.receipt_handle;
            let shown = t.store.change_visibility("q", handle, Duration::ZERO);
            shown.await.unwrap();
        }
    }
    let request = Receive {
        wait: Duration::from_secs(20),
        ..Receive::default()
    };
    let got = t.store.receive("q", request).await.unwrap();
    assert_eq!(bodies(&got), ["one"]);
}

#[tokio::test]
async fn closing_ends_long_polls_with_an_empty_answer() {
    let t = Fixture::with_queue("q").await;
    let store = t.store.clone();
    let request = Receive {
        wait: Duration::from_secs(20),
        ..Receive::default()
    };
    let waiting = tokio::spawn(async move { store.receive("q", request).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    t.store.close().await;
    assert_eq!(waiting.await.unwrap(), Ok(Vec::new()));
    assert_eq!(
        t.store.send("q", message("late")).await,
        Err(StoreError::Closed)
    );
    t.store.close().await;
}

#[tokio::test]
async fn concurrent_senders_are_all_answered_and_all_stored() {
    let t = Fixture::with_queue("q").await;
    let senders: Vec<_> = (0..300)
        .map(|n| {
            let store = t.store.clone();
            tokio::spawn(async move { store.send("q", message(&n.to_string())).await.unwrap() })
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for sender in senders {
        assert!(ids.insert(sender.await.unwrap().message_id));
    }
    let killed = t.after_a_kill();
    assert_eq!(killed.stats("q").visible, 300);
    while let Some(got) = killed.receive("q", 1).await.pop() {
        assert!(ids.remove(&got.message_id));
    }
    assert!(ids.is_empty());
}

#[tokio::test]
async fn everything_survives_a_reopening_and_a_kill() {
    let mut t = Fixture::with_queue("q").await;
    for body in ["a", "b", "c"] {
        t.send("q", body).await;
    }
    let held = t.receive("q", 1).await.pop().unwrap();
    t.store.look().await.unwrap();
    let before = t.stats("q");
    let killed = t.after_a_kill();
    killed.store.look().await.unwrap();
    assert_eq!(killed.stats("q"), before);
    t.reopen().await;
    t.store.look().await.unwrap();
    assert_eq!(t.stats("q"), before);
    for t in [killed, t] {
        assert_eq!(bodies(&t.receive("q", 10).await), ["b", "c"]);
        t.store.delete("q", &held.receipt_handle).await.unwrap();
        assert_eq!(t.stats("q").in_flight, 2);
    }
}

#[tokio::test]
async fn a_queue_no_longer_declared_keeps_its_messages() {
    let t = Fixture::with(vec![QueueSpec::new("a"), QueueSpec::new("b")]).await;
    t.send("a", "kept").await;
    let notices = t.store.declare(vec![QueueSpec::new("b")]).await.unwrap();
    assert_eq!(
        notices,
        [Notice::Undeclared {
            queue: "a".into(),
            depth: 1
        }]
    );
    assert!(!t.stats("a").declared);
    assert_eq!(bodies(&t.receive("a", 1).await), ["kept"]);
    let changed = QueueSpec {
        visibility_timeout: Duration::from_secs(1),
        ..QueueSpec::new("a")
    };
    let both = vec![changed.clone(), QueueSpec::new("b")];
    assert_eq!(t.store.declare(both).await, Ok(vec![]));
    assert_eq!(*t.store.spec("a").unwrap(), changed);
    assert_eq!(*t.after_a_kill().store.spec("a").unwrap(), changed);
}

#[tokio::test]
async fn a_queue_refuses_what_is_beyond_its_own_size() {
    let spec = QueueSpec {
        max_size: Some(10),
        ..QueueSpec::new("q")
    };
    let t = Fixture::with(vec![spec]).await;
    t.send("q", "12345678").await;
    assert_eq!(
        t.store.send("q", message("123")).await,
        Err(StoreError::QueueFull { max_size: 10 })
    );
    let got = t.receive("q", 1).await;
    t.store.delete("q", &got[0].receipt_handle).await.unwrap();
    t.send("q", "123").await;
}
