//! Idempotency keys: one request has a key, its answer is everybody's, and nothing of it is lost or half there.

use bytes::Bytes;

use super::spool::{TARGET, new, record};
use super::*;

fn key(request: &str) -> NewKey {
    NewKey {
        key: [7; 32],
        fingerprint: [1; 32],
        ttl: Duration::from_secs(3_600),
        fence: Duration::from_secs(20),
        request_id: request.to_owned(),
    }
}

fn kept(request: &str, receipt: &'static str, response: Option<&'static str>) -> Known {
    Known::Done(Kept {
        request_id: request.to_owned(),
        receipt: receipt.into(),
        response: response.map(Bytes::from),
    })
}

fn known<T: std::fmt::Debug>(once: Once<T>) -> Known {
    match once {
        Once::Known(known) => known,
        Once::New(new) => panic!("{new:?}"),
    }
}

impl Fixture {
    async fn known(&self, key: &NewKey) -> Option<Known> {
        self.store.known(key).await.unwrap()
    }

    async fn reserve(&self, request: &str) -> Once<Reservation> {
        self.store.reserve(key(request)).await.unwrap()
    }

    async fn complete(&self, reservation: &Reservation, receipt: &'static str) {
        let (ttl, receipt) = (Duration::from_secs(3_600), Bytes::from(receipt));
        let completed = self
            .store
            .complete(reservation.clone(), ttl, receipt, None)
            .await;
        completed.unwrap();
    }

    fn rows(&self) -> i64 {
        let file = rusqlite::Connection::open(self.directory.path().join("store.db")).unwrap();
        let rows = file.query_row("SELECT count(*) FROM idempotency", [], |row| row.get(0));
        rows.unwrap()
    }
}

#[tokio::test]
async fn a_key_is_new_then_in_flight_then_done_with_the_first_answer_also_after_a_kill() {
    let t = Fixture::without_queues().await;
    assert_eq!(t.known(&key("a")).await, None);
    let reservation = new(t.reserve("a").await);
    t.advance(5);
    let in_flight = Known::InFlight(Duration::from_secs(15));
    assert_eq!(known(t.reserve("b").await), in_flight);
    assert_eq!(t.known(&key("b")).await, Some(in_flight.clone()));
    let after = t.after_a_kill();
    assert_eq!(after.known(&key("b")).await, Some(in_flight));
    t.complete(&reservation, "stored").await;
    t.store.keep_response([7; 32], "HTTP".into()).await.unwrap();
    t.store
        .keep_response([7; 32], "another".into())
        .await
        .unwrap();
    let done = kept("a", "stored", Some("HTTP"));
    assert_eq!(known(t.reserve("b").await), done);
    assert_eq!(t.after_a_kill().known(&key("b")).await, Some(done));
    let other = NewKey {
        fingerprint: [2; 32],
        ..key("b")
    };
    assert_eq!(t.known(&other).await, Some(Known::Mismatch));
    let refused = t.store.reserve(other).await.unwrap();
    assert_eq!(known(refused), Known::Mismatch);
}

#[tokio::test]
async fn a_released_key_is_free_and_one_behind_its_fence_is_taken_over_for_good() {
    let t = Fixture::without_queues().await;
    let first = new(t.reserve("a").await);
    t.store.release(first.clone()).await.unwrap();
    assert_eq!(t.known(&key("b")).await, None);
    let second = new(t.reserve("b").await);
    // The first has nothing to say any more.
    t.store.release(first.clone()).await.unwrap();
    t.complete(&first, "stale").await;
    assert!(matches!(t.reserve("c").await, Once::Known(_)));
    t.advance(20);
    assert_eq!(t.known(&key("c")).await, None);
    let third = new(t.reserve("c").await);
    // What the second was to store may be stored; of the first it is known.
    assert_eq!([second.took_over, third.took_over], [false, true]);
    t.complete(&second, "stale").await;
    t.store.release(second).await.unwrap();
    assert!(matches!(t.known(&key("d")).await, Some(Known::InFlight(_))));
    t.complete(&third, "stored").await;
    t.complete(&third, "twice").await;
    t.store.release(third).await.unwrap();
    assert_eq!(t.known(&key("d")).await, Some(kept("c", "stored", None)));
}

#[tokio::test]
async fn an_answer_that_comes_after_its_fence_counts_while_nobody_took_over() {
    let t = Fixture::without_queues().await;
    let first = new(t.reserve("a").await);
    t.advance(25);
    t.store.look().await.unwrap();
    t.complete(&first, "late").await;
    assert_eq!(t.known(&key("b")).await, Some(kept("a", "late", None)));
}

#[tokio::test]
async fn answers_expire_and_are_removed_but_not_while_the_clock_is_in_doubt() {
    let t = Fixture::without_queues().await;
    let first = new(t.reserve("a").await);
    t.complete(&first, "stored").await;
    let abandoned = NewKey {
        key: [8; 32],
        ..key("b")
    };
    new(t.store.reserve(abandoned).await.unwrap());
    t.clock.step_wall(3 * 3_600_000);
    t.store.look().await.unwrap();
    assert!(
        t.known(&key("c")).await.is_some(),
        "the wall clock is not ours"
    );
    // Steady time passes, though who knows how much of it.
    t.advance(3_500);
    t.clock.step_wall(-3 * 3_600_000);
    t.advance(200);
    t.store.look().await.unwrap();
    assert!(t.known(&key("c")).await.is_some());
    assert!(matches!(t.reserve("c").await, Once::Known(_)));
    assert_eq!(t.rows(), 2);
    t.store.confirm_time().await.unwrap();
    t.store.look().await.unwrap();
    assert_eq!(t.known(&key("c")).await, None);
    assert_eq!(t.rows(), 0);
}

#[tokio::test]
async fn message_and_answer_are_one_and_a_repeated_send_stores_nothing() {
    let t = Fixture::with_queue("q").await;
    let send = async |request: &str| {
        let sent = t.store.send_once("q", message("x"), key(request)).await;
        sent.unwrap()
    };
    let sent = new(send("a").await);
    let Known::Done(kept) = known(send("b").await) else {
        panic!("it is done");
    };
    assert_eq!(kept.request_id, "a");
    let receipt: Sent = serde_json::from_slice(&kept.receipt).unwrap();
    assert_eq!(receipt, sent);
    let after = t.after_a_kill();
    assert!(after.known(&key("c")).await.is_some());
    assert_eq!(after.stats("q").ledger.accepted, 1);
}

#[tokio::test]
async fn a_send_that_is_refused_leaves_its_key_free() {
    let spec = QueueSpec {
        max_size: Some(10),
        ..QueueSpec::new("q")
    };
    let t = Fixture::with(vec![spec]).await;
    let long = message("longer than that");
    let refused = t.store.send_once("q", long, key("a")).await;
    assert!(matches!(refused, Err(StoreError::QueueFull { .. })));
    assert_eq!(t.known(&key("b")).await, None);
    let sent = t.store.send_once("q", message("short"), key("b")).await;
    new(sent.unwrap());
}

#[tokio::test]
async fn a_duplicate_of_a_fifo_queue_is_an_answer_like_any_other() {
    let t = Fixture::with_queue("q.fifo").await;
    let message = NewMessage {
        group_id: Some("g".into()),
        deduplication_id: Some("d".into()),
        ..message("x")
    };
    let first = t.store.send("q.fifo", message.clone()).await.unwrap();
    let sent = t.store.send_once("q.fifo", message.clone(), key("a"));
    let sent = new(sent.await.unwrap());
    assert!(sent.duplicate);
    assert_eq!(sent.message_id, first.message_id);
    let again = t.store.send_once("q.fifo", message, key("b"));
    let Known::Done(kept) = known(again.await.unwrap()) else {
        panic!("it is done");
    };
    let receipt: Sent = serde_json::from_slice(&kept.receipt).unwrap();
    assert_eq!(receipt, sent);
    let ledger = t.stats("q.fifo").ledger;
    assert_eq!((ledger.accepted, ledger.duplicates), (1, 1));
}

#[tokio::test]
async fn a_request_spools_under_its_own_reservation_and_under_nobody_else_s() {
    let t = Fixture::without_queues().await;
    let spool = async |request: &str| {
        let key = Some((key(request), Bytes::from_static(b"spooled")));
        let spooled = t.store.spool(vec![record(None, "x")], key).await;
        spooled.unwrap()
    };
    let reservation = new(t.reserve("a").await);
    assert!(matches!(known(spool("b").await), Known::InFlight(_)));
    assert_eq!(t.store.spool_depth(TARGET).depth, 0);
    new(spool("a").await);
    // The direct attempt ends after all; what was answered stays.
    t.complete(&reservation, "direct").await;
    t.store.release(reservation).await.unwrap();
    assert_eq!(t.known(&key("b")).await, Some(kept("a", "spooled", None)));
    assert_eq!(known(spool("a").await), kept("a", "spooled", None));
    assert_eq!(t.store.spool_depth(TARGET).depth, 1);
}

#[tokio::test]
async fn concurrent_requests_with_one_key_store_once() {
    let t = Fixture::with_queue("q").await;
    let sends: Vec<_> = (0..50)
        .map(|n| {
            let store = t.store.clone();
            tokio::spawn(async move {
                let key = key(&n.to_string());
                store.send_once("q", message("x"), key).await.unwrap()
            })
        })
        .collect();
    let mut stored = 0;
    for send in sends {
        match send.await.unwrap() {
            Once::New(_) => stored += 1,
            Once::Known(known) => assert!(matches!(known, Known::Done(_))),
        }
    }
    assert_eq!(stored, 1);
    assert_eq!(t.stats("q").visible, 1);
}

#[tokio::test]
async fn a_full_store_reserves_nothing_but_keeps_what_the_target_said() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options {
        max_size: 2 << 20,
        ..options(directory.path(), &Clock::manual(START))
    };
    let store = Store::open(small).unwrap();
    store.declare(vec![QueueSpec::new("q")]).await.unwrap();
    let reservation = new(store.reserve(key("a")).await.unwrap());
    let body = "x".repeat(3_000);
    while store.send("q", message(&body)).await.is_ok() {}
    while store.send("q", message("")).await.is_ok() {}
    let other = NewKey {
        key: [8; 32],
        ..key("b")
    };
    let refused = store.reserve(other).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    let ttl = Duration::from_secs(60);
    let completed = store.complete(reservation, ttl, "stored".into(), None);
    completed.await.unwrap();
    let done = store.known(&key("b")).await.unwrap();
    assert_eq!(done, Some(kept("a", "stored", None)));
}
