//! Looking without touching: what is shown is what lies there, wherever it stands, in the order of sending.

use std::fs;
use std::os::unix::fs::FileExt as _;

use super::spool::{TARGET, new, record};
use super::*;

fn shown(page: &[Peeked]) -> Vec<(&str, Standing)> {
    page.iter()
        .map(|peeked| (std::str::from_utf8(&peeked.body).unwrap(), peeked.standing))
        .collect()
}

fn grouped(body: &str, group: &str) -> NewMessage {
    NewMessage {
        group_id: Some(group.to_owned()),
        deduplication_id: Some(body.to_owned()),
        ..message(body)
    }
}

#[tokio::test]
async fn messages_are_shown_in_order_wherever_they_stand_and_stay_as_they_are() {
    let t = Fixture::with_queue("q").await;
    for body in ["a", "b", "c"] {
        t.send("q", body).await;
    }
    let late = NewMessage {
        delay: Some(Duration::from_secs(60)),
        ..message("d")
    };
    t.store.send("q", late).await.unwrap();
    t.receive("q", 1).await;
    let before = t.stats("q");
    let page = t.store.peek("q", None, 10).await.unwrap();
    assert_eq!(
        shown(&page),
        [
            ("a", Standing::InFlight),
            ("b", Standing::Ready),
            ("c", Standing::Ready),
            ("d", Standing::Delayed)
        ]
    );
    assert_eq!((page[0].receive_count, page[1].receive_count), (1, 0));
    assert_eq!(page[0].sent_at, START);
    assert_eq!((&page[0].context, &page[0].death), (&None, &None));
    let first = t.store.peek("q", None, 2).await.unwrap();
    let second = t.store.peek("q", Some(first[1].number), 2).await.unwrap();
    assert_eq!([first, second].concat(), page);
    assert_eq!(t.store.peek("q", Some(page[3].number), 2).await, Ok(vec![]));
    assert_eq!(t.stats("q"), before);
    assert_eq!(
        t.store.peek("nowhere", None, 1).await,
        Err(StoreError::UnknownQueue("nowhere".into()))
    );
}

#[tokio::test]
async fn pages_of_a_queue_with_groups_are_in_the_order_of_sending_over_all_groups() {
    let t = Fixture::with_queue("q.fifo").await;
    for n in 0..50 {
        let new = grouped(&n.to_string(), &format!("g{}", n * 7 % 5));
        t.store.send("q.fifo", new).await.unwrap();
    }
    t.receive("q.fifo", 3).await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = t.store.peek("q.fifo", after, 7).await.unwrap();
        let Some(last) = page.last() else {
            break;
        };
        after = Some(last.number);
        seen.extend(page);
    }
    let bodies: Vec<String> = seen
        .iter()
        .map(|peeked| String::from_utf8(peeked.body.to_vec()).unwrap())
        .collect();
    let sent: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(bodies, sent);
    assert_eq!(seen[8].group_id.as_deref(), Some("g1"));
    let in_flight = |peeked: &&Peeked| peeked.standing == Standing::InFlight;
    assert_eq!(seen.iter().filter(in_flight).count(), 3);
}

#[tokio::test]
async fn a_spool_shows_the_requests_of_its_records_and_its_dead_letters_their_deaths() {
    let t = Fixture::without_queues().await;
    for call in ["x", "y", "z"] {
        let spooled = t.store.spool(vec![record(Some(call), call)], None).await;
        new(spooled.unwrap());
    }
    let taken = t.store.take_parcels(TARGET, 2, 1 << 20).await.unwrap();
    t.advance(5);
    let reason = Reason {
        code: "TooLarge".into(),
        detail: "é".repeat(4_000),
    };
    let settlements = vec![
        (taken[0].number, Settlement::Dead(reason)),
        (taken[1].number, Settlement::Later(Duration::from_secs(9))),
    ];
    t.store.settle(TARGET, settlements).await.unwrap();
    let page = t.store.peek(&spool_queue(TARGET), None, 10).await.unwrap();
    assert_eq!(
        shown(&page),
        [("y", Standing::Delayed), ("z", Standing::Ready)]
    );
    assert_eq!(page[0].context.as_deref(), Some("{\"of\":\"y\"}"));
    assert!(page[0].system_attributes.is_empty());
    assert_eq!(page[0].group_id.as_deref(), Some("y"));
    let dead = t
        .store
        .peek(&dead_letter_queue(TARGET), None, 10)
        .await
        .unwrap();
    assert_eq!(shown(&dead), [("x", Standing::Ready)]);
    assert_eq!(dead[0].context.as_deref(), Some("{\"of\":\"x\"}"));
    assert_eq!(
        dead[0].death,
        Some(Death {
            code: "TooLarge".into(),
            detail: "é".repeat(2_048),
            attempts: 1,
            first_attempt_at: START,
            last_attempt_at: START + 5_000,
        })
    );
}

#[tokio::test]
async fn damaged_messages_are_passed_over() {
    let t = Fixture::with_queue("q").await;
    for body in ["an honest body", "another honest body", "the last"] {
        t.send("q", body).await;
    }
    t.store.close().await;
    let path = t.directory.path().join("store.db");
    let mut bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() - 11 {
        if &bytes[at..at + 11] == b"honest body" {
            bytes[at] ^= 1;
        }
    }
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let store = Store::open(options(t.directory.path(), &t.clock)).unwrap();
    // One of them would be a page of its own.
    let page = store.peek("q", None, 1).await.unwrap();
    assert_eq!(shown(&page), [("the last", Standing::Ready)]);
}

#[tokio::test]
async fn who_reads_holds_up_neither_the_end_nor_the_opening_of_a_failed_file() {
    let t = Fixture::with_queue("q").await;
    t.send("q", "one").await;
    let reading = {
        let store = t.store.clone();
        tokio::spawn(async move {
            let mut refused = false;
            loop {
                match store.peek("q", None, 10).await {
                    Ok(_) => {}
                    Err(StoreError::Unavailable { .. }) => refused = true,
                    Err(StoreError::Closed) => return refused,
                    Err(error) => panic!("{error:?}"),
                }
                tokio::task::yield_now().await;
            }
        })
    };
    let other = rusqlite::Connection::open(t.directory.path().join("store.db")).unwrap();
    other
        .execute_batch("CREATE TRIGGER broken BEFORE INSERT ON message BEGIN SELECT RAISE(ABORT, 'broken'); END;")
        .unwrap();
    let failed = t.store.send("q", message("two")).await;
    assert!(matches!(failed, Err(StoreError::Unavailable { .. })));
    other.execute_batch("DROP TRIGGER broken").unwrap();
    drop(other);
    let deadline = Instant::now() + Duration::from_secs(20);
    while t.store.stats().health != Health::Healthy {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    t.send("q", "three").await;
    t.store.close().await;
    assert!(
        reading.await.unwrap(),
        "reads were refused while the file was away"
    );
    assert!(!t.directory.path().join("store.db-wal").exists());
}
