//! Spools: what is acknowledged goes out, in the order of its key, once at a time, and is counted where it went.

use bytes::Bytes;

use super::*;
use crate::store::{NewKey, Once};

pub(super) const TARGET: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/orders.fifo";
const MUCH: u64 = 1 << 30;

pub(super) fn record(key: Option<&str>, call: &str) -> NewRecord {
    NewRecord {
        target: TARGET.to_owned(),
        key: key.map(str::to_owned),
        call: Bytes::copy_from_slice(call.as_bytes()),
        context: format!("{{\"of\":\"{call}\"}}"),
        hold: None,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn refused() -> Settlement {
    Settlement::Dead(Reason {
        code: "InvalidMessageContents".to_owned(),
        detail: "a character is out of range".to_owned(),
    })
}

pub(super) fn new<T>(once: Once<T>) -> T {
    match once {
        Once::New(new) => new,
        Once::Known(known) => panic!("{known:?}"),
    }
}

impl Fixture {
    pub(super) async fn without_queues() -> Fixture {
        Fixture::with(Vec::new()).await
    }

    pub(super) async fn spool(&self, key: Option<&str>, call: &str) -> i64 {
        self.spool_one(record(key, call)).await.number
    }

    pub(super) async fn spool_one(&self, record: NewRecord) -> Spooled {
        let spooled = self.store.spool(vec![record], None).await.unwrap();
        new(spooled).pop().unwrap()
    }

    pub(super) async fn take(&self, max_records: usize) -> Vec<Parcel> {
        let taken = self.store.take_parcels(TARGET, max_records, MUCH).await;
        taken.unwrap()
    }

    pub(super) async fn settle(&self, number: i64, settlement: Settlement) {
        let settlements = vec![(number, settlement)];
        self.store.settle(TARGET, settlements).await.unwrap();
    }

    pub(super) fn spool_stats(&self) -> QueueStats {
        self.stats(&spool_queue(TARGET))
    }
}

fn calls(parcels: &[Parcel]) -> Vec<&str> {
    parcels
        .iter()
        .map(|parcel| std::str::from_utf8(&parcel.call).unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_spooled_comes_out_as_it_went_in_and_is_gone_once_it_is_forwarded() {
    let t = Fixture::without_queues().await;
    assert_eq!(t.store.spool_depth(TARGET), SpoolDepth::default());
    assert!(t.take(10).await.is_empty());
    let spooled = t.spool_one(record(Some("k"), "a call")).await;
    assert_eq!(t.store.spooled_targets(), [TARGET]);
    let depth = t.store.spool_depth(TARGET);
    assert_eq!((depth.depth, depth.bytes), (1, 6 + 15));
    let parcel = t.take(10).await.pop().unwrap();
    assert_eq!(
        parcel,
        Parcel {
            number: spooled.number,
            id: spooled.id,
            key: Some("k".into()),
            call: "a call".into(),
            context: "{\"of\":\"a call\"}".into(),
            spooled_at: START,
            attempts: 1,
            first_attempt_at: START,
        }
    );
    assert!(t.take(10).await.is_empty(), "nobody else gets it");
    assert_eq!(t.spool_stats().in_flight, 1);
    t.settle(parcel.number, Settlement::Forwarded).await;
    let stats = t.spool_stats();
    assert_eq!((stats.ledger.accepted, stats.ledger.forwarded), (1, 1));
    assert_eq!((stats.depth(), stats.bytes), (0, 0));
    // What was said before may be said again.
    t.settle(parcel.number, Settlement::Forwarded).await;
    t.settle(parcel.number, refused()).await;
    assert_eq!(t.spool_stats(), stats);
}

#[tokio::test]
async fn records_without_a_key_go_in_any_number_and_those_of_a_key_one_at_a_time() {
    let t = Fixture::without_queues().await;
    for (key, call) in [
        (Some("a"), "a1"),
        (None, "1"),
        (Some("b"), "b1"),
        (Some("a"), "a2"),
        (None, "2"),
        (Some("b"), "b2"),
    ] {
        t.spool(key, call).await;
    }
    let first = t.take(10).await;
    assert_eq!(calls(&first), ["a1", "1", "b1", "2"]);
    t.settle(first[2].number, Settlement::Forwarded).await;
    t.spool(Some("b"), "b3").await;
    let second = t.take(10).await;
    assert_eq!(calls(&second), ["b2"]);
    t.settle(first[0].number, Settlement::Forwarded).await;
    t.settle(second[0].number, Settlement::Forwarded).await;
    assert_eq!(calls(&t.take(1).await), ["a2"]);
    assert_eq!(calls(&t.take(10).await), ["b3"]);
}

#[tokio::test]
async fn a_take_keeps_to_its_bytes_but_gives_one_record_whatever_its_size() {
    let t = Fixture::without_queues().await;
    for call in ["x".repeat(5_000), "y".repeat(100), "z".repeat(100)] {
        t.spool(None, &call).await;
    }
    let take = async |bytes| t.store.take_parcels(TARGET, 10, bytes).await.unwrap().len();
    assert_eq!(take(300).await, 1);
    assert_eq!(take(300).await, 1);
    assert_eq!(take(300).await, 1);
    assert_eq!(t.store.take_parcels(TARGET, 0, MUCH).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_key_waits_with_its_record_and_nothing_of_it_overtakes() {
    let t = Fixture::without_queues().await;
    t.spool(Some("a"), "a1").await;
    t.spool(Some("a"), "a2").await;
    t.spool(None, "free").await;
    let first = t.take(10).await;
    assert_eq!(calls(&first), ["a1", "free"]);
    t.settle(first[0].number, Settlement::Later(seconds(10)))
        .await;
    t.settle(first[1].number, Settlement::Later(seconds(5)))
        .await;
    // Saying it again, as after an error, changes nothing.
    t.settle(first[1].number, Settlement::Later(seconds(5)))
        .await;
    t.spool(Some("a"), "a3").await;
    assert!(t.take(10).await.is_empty());
    let stats = t.spool_stats();
    assert_eq!((stats.visible, stats.delayed, stats.in_flight), (2, 2, 0));
    t.advance(5);
    assert_eq!(calls(&t.take(10).await), ["free"]);
    t.advance(5);
    let again = t.take(10).await;
    assert_eq!(calls(&again), ["a1"]);
    assert_eq!((again[0].attempts, again[0].first_attempt_at), (2, START));
    t.settle(again[0].number, Settlement::Later(Duration::ZERO))
        .await;
    let third = t.take(10).await;
    assert_eq!((calls(&third), third[0].attempts), (vec!["a1"], 3));
    t.settle(third[0].number, Settlement::Forwarded).await;
    assert_eq!(calls(&t.take(10).await), ["a2"]);
}

#[tokio::test]
async fn what_the_target_refused_is_a_dead_letter_and_its_key_goes_on() {
    let t = Fixture::without_queues().await;
    let poison = t.spool(Some("a"), "poison").await;
    t.spool(Some("a"), "a2").await;
    t.take(1).await;
    t.settle(poison, Settlement::Later(seconds(1))).await;
    t.advance(1);
    assert_eq!(t.take(1).await[0].number, poison);
    t.settle(poison, refused()).await;
    t.settle(poison, refused()).await;
    assert_eq!(calls(&t.take(10).await), ["a2"]);
    assert_eq!(t.spool_stats().ledger.dead_lettered, 1);
    let dead = t.stats(&dead_letter_queue(TARGET));
    assert_eq!(
        (dead.role, dead.visible, dead.ledger.imported),
        (Role::DeadLetters, 1, 1)
    );
    assert_eq!(t.store.spool_depth(TARGET).dead_letters, 1);
    assert_eq!(t.store.purge(&dead_letter_queue(TARGET)).await, Ok(1));
    t.store.close().await;
    let file = rusqlite::Connection::open(t.directory.path().join("store.db")).unwrap();
    let rows = "SELECT (SELECT count(*) FROM death) + (SELECT count(*) FROM message)";
    let left: i64 = file.query_row(rows, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 1, "only the record that is still spooled");
}

#[tokio::test]
async fn a_held_record_is_settled_like_a_taken_one_or_comes_back_when_the_hold_is_over() {
    let t = Fixture::without_queues().await;
    let held = |call: &str| NewRecord {
        hold: Some(seconds(10)),
        ..record(Some("a"), call)
    };
    let first = t.spool_one(held("a1")).await.number;
    t.spool(Some("a"), "a2").await;
    assert!(t.take(10).await.is_empty());
    t.settle(first, Settlement::Forwarded).await;
    let second = t.take(10).await;
    assert_eq!(calls(&second), ["a2"]);
    t.settle(second[0].number, Settlement::Forwarded).await;
    let third = t.spool_one(held("a3")).await.number;
    t.advance(10);
    let again = t.take(10).await;
    assert_eq!((again[0].number, again[0].attempts), (third, 2));
    t.settle(third, Settlement::Forwarded).await;
    let late = t.spool_one(held("a4")).await.number;
    t.advance(10);
    t.store.look().await.unwrap();
    t.settle(late, Settlement::Forwarded).await;
    assert!(
        t.take(10).await.is_empty(),
        "it was delivered after all, before anybody began again"
    );
    assert_eq!(t.spool_stats().ledger.forwarded, 4);
}

#[tokio::test]
async fn records_of_several_targets_are_spooled_all_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options {
        max_size: 2 << 20,
        ..options(directory.path(), &Clock::manual(START))
    };
    let store = Store::open(small).unwrap();
    let to = |target: &str, bytes: usize| NewRecord {
        target: target.to_owned(),
        ..record(None, &"x".repeat(bytes))
    };
    let both = vec![to("a", 10), to("b", 4 << 20)];
    let refused = store.spool(both, None).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    assert!(matches!(store.stats().health, Health::Full(_)));
    assert_eq!(store.spool_depth("a").depth, 0);
    let both = vec![to("a", 10), to("b", 10)];
    assert_eq!(new(store.spool(both, None).await.unwrap()).len(), 2);
    assert_eq!(store.spool_depth("a").depth, 1);
    assert_eq!(store.spool_depth("b").depth, 1);
    let long = NewRecord {
        key: Some("k".repeat(1_025)),
        ..to("c", 1)
    };
    assert!(matches!(
        store.spool(vec![long], None).await,
        Err(StoreError::InvalidParameter(_))
    ));
    assert_eq!(store.spooled_targets(), ["a", "b"]);
}

#[tokio::test]
async fn a_spool_is_no_queue_to_its_users() {
    let t = Fixture::with_queue("q").await;
    let number = t.spool(None, "x").await;
    t.take(1).await;
    t.settle(number, refused()).await;
    t.spool(None, "y").await;
    for queue in [spool_queue(TARGET), dead_letter_queue(TARGET)] {
        let unknown = StoreError::UnknownQueue(queue.clone());
        let sent = t.store.send(&queue, message("x")).await;
        assert_eq!(sent, Err(unknown.clone()));
        let received = t.store.receive(&queue, Receive::default()).await;
        assert_eq!(received, Err(unknown.clone()));
        assert_eq!(t.store.delete(&queue, "x").await, Err(unknown));
        assert!(t.store.spec(&queue).is_none());
        assert!(t.store.declare(vec![QueueSpec::new(&queue)]).await.is_err());
        assert_eq!(t.store.purge(&queue).await, Ok(1));
    }
    let redriven = QueueSpec {
        redrive: Some(Redrive {
            to: dead_letter_queue(TARGET),
            max_receive_count: 1,
        }),
        ..QueueSpec::new("r")
    };
    let redriven = t.store.declare(vec![redriven]).await;
    assert!(matches!(redriven, Err(DeclareError::UnknownRedrive { .. })));
    let notices = t.store.declare(vec![QueueSpec::new("q")]).await;
    assert_eq!(notices, Ok(Vec::new()));
}

#[tokio::test]
async fn what_was_being_delivered_at_a_kill_is_taken_again_in_order_and_counted() {
    let t = Fixture::without_queues().await;
    t.spool(Some("a"), "a1").await;
    t.spool(Some("a"), "a2").await;
    t.spool(Some("b"), "b1").await;
    t.spool(None, "free").await;
    let held = NewRecord {
        hold: Some(seconds(60)),
        ..record(Some("c"), "c1")
    };
    t.spool_one(held).await;
    let taken = t.take(10).await;
    assert_eq!(calls(&taken), ["a1", "b1", "free"]);
    t.settle(taken[1].number, Settlement::Later(seconds(20)))
        .await;
    assert_eq!(t.store.possible_duplicates(), 0);
    let mut after = t.after_a_kill();
    assert_eq!(after.store.possible_duplicates(), 3);
    assert_eq!(after.spool_stats().in_flight, 0);
    let again = after.take(10).await;
    assert_eq!(calls(&again), ["a1", "free", "c1"]);
    assert_eq!(again[0].attempts, 2);
    for parcel in again {
        after.settle(parcel.number, Settlement::Forwarded).await;
    }
    after.reopen().await;
    assert_eq!(after.store.possible_duplicates(), 0);
    assert_eq!(calls(&after.take(10).await), ["a2"]);
    after.advance(20);
    assert_eq!(calls(&after.take(10).await), ["b1"]);
}

#[tokio::test]
async fn a_spool_stirs_for_whatever_can_be_taken_and_never_too_late() {
    let t = Fixture::without_queues().await;
    let stirs = async || {
        let long = seconds(20);
        let began = Instant::now();
        t.store.spool_stirs(TARGET, long).await;
        assert!(began.elapsed() < long, "it slept through");
    };
    // A spool that does not exist yet.
    tokio::join!(stirs(), t.spool(Some("a"), "a1"));
    let first = t.take(10).await;
    assert!(t.take(10).await.is_empty());
    // What arrives between a take and the wait.
    t.spool(Some("b"), "b1").await;
    stirs().await;
    let second = t.take(10).await;
    assert_eq!(calls(&second), ["b1"]);
    // A lane that becomes free.
    t.spool(Some("a"), "a2").await;
    stirs().await;
    assert!(t.take(10).await.is_empty());
    let (number, forwarded) = (first[0].number, Settlement::Forwarded);
    tokio::join!(stirs(), t.settle(number, forwarded));
    assert_eq!(calls(&t.take(10).await), ["a2"]);
    // A backoff that is over.
    t.settle(second[0].number, Settlement::Later(seconds(3)))
        .await;
    tokio::join!(stirs(), async { t.advance(3) });
    assert_eq!(calls(&t.take(10).await), ["b1"]);
    // A quiet spool lets its consumer sleep.
    t.store.spool_stirs(TARGET, Duration::from_millis(1)).await;
    let quiet = t.store.spool_stirs(TARGET, seconds(1_000));
    tokio::select! {
        () = quiet => panic!("nothing stirred"),
        () = tokio::time::sleep(Duration::from_millis(30)) => {}
    }
    let (slept, ()) = tokio::join!(stirs(), t.store.close());
    let () = slept;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_sleeps_only_on_an_empty_spool_misses_nothing() {
    let t = Fixture::without_queues().await;
    let store = t.store.clone();
    let consumer = tokio::spawn(async move {
        let mut taken = 0;
        while taken < 400 {
            let parcels = store.take_parcels(TARGET, 3, MUCH).await.unwrap();
            if parcels.is_empty() {
                let began = Instant::now();
                store.spool_stirs(TARGET, seconds(20)).await;
                assert!(began.elapsed() < seconds(20), "it slept on something");
            }
            taken += parcels.len();
            let settlements = parcels.iter().map(|p| (p.number, Settlement::Forwarded));
            store.settle(TARGET, settlements.collect()).await.unwrap();
        }
    });
    let spoolers: Vec<_> = (0..4)
        .map(|spooler| {
            let store = t.store.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    let key = (n % 3 > 0).then(|| format!("{spooler} {}", n % 2));
                    let record = record(key.as_deref(), "x");
                    store.spool(vec![record], None).await.unwrap();
                }
            })
        })
        .collect();
    for spooler in spoolers {
        spooler.await.unwrap();
    }
    consumer.await.unwrap();
    assert_eq!(t.spool_stats().ledger.forwarded, 400);
}

#[tokio::test]
async fn what_was_handed_out_without_an_answer_is_taken_again_after_the_file_failed() {
    let t = Fixture::without_queues().await;
    t.spool(Some("a"), "a1").await;
    t.spool(Some("b"), "b1").await;
    let taken = t.take(1).await;
    // As if the commit of another take had succeeded, and its answer been a failure.
    let file = rusqlite::Connection::open(t.directory.path().join("store.db")).unwrap();
    file.execute_batch(
        "INSERT INTO flight SELECT queue, seq, lane, 9223372036854775807, 0, arrived_at, 1, arrived_at, size FROM ready;
         DELETE FROM ready;
         UPDATE lane SET head = NULL, in_flight = 1;
         UPDATE queue SET visible = 0, in_flight = 2 WHERE role = 1;
         CREATE TRIGGER broken BEFORE INSERT ON message BEGIN SELECT RAISE(ABORT, 'broken'); END;",
    )
    .unwrap();
    assert!(t.take(1).await.is_empty());
    let failed = t.store.spool(vec![record(None, "x")], None).await;
    assert!(matches!(failed, Err(StoreError::Unavailable { .. })));
    file.execute_batch("DROP TRIGGER broken").unwrap();
    drop(file);
    let deadline = Instant::now() + seconds(20);
    while t.store.stats().health != Health::Healthy {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let again = t.take(10).await;
    assert_eq!(calls(&again), ["b1"], "the other one is still out");
    assert_eq!(t.store.possible_duplicates(), 0);
    t.settle(taken[0].number, Settlement::Forwarded).await;
    t.settle(again[0].number, Settlement::Forwarded).await;
    assert_eq!(t.spool_stats().ledger.forwarded, 2);
}

#[tokio::test]
async fn a_call_of_fourteen_mebibytes_goes_through() {
    let t = Fixture::without_queues().await;
    let call = "0123456789abcdef".repeat(14 << 16);
    t.spool(Some("a"), &call).await;
    let mut parcel = t.take(10).await.pop().unwrap();
    assert!(parcel.call == call);
    t.settle(parcel.number, Settlement::Later(Duration::ZERO))
        .await;
    let after = t.after_a_kill();
    parcel.attempts = 2;
    assert!(after.take(10).await == [parcel]);
}

#[tokio::test]
async fn parcels_whose_taker_has_gone_are_taken_again() {
    let t = Fixture::without_queues().await;
    for n in 0..20 {
        t.spool(Some(&n.to_string()), "x").await;
    }
    for _ in 0..20 {
        let store = t.store.clone();
        let taker = tokio::spawn(async move { store.take_parcels(TARGET, 1, MUCH).await });
        tokio::task::yield_now().await;
        taker.abort();
        if let Ok(taken) = taker.await {
            let number = taken.unwrap()[0].number;
            t.settle(number, Settlement::Later(Duration::ZERO)).await;
        }
    }
    let deadline = Instant::now() + seconds(20);
    let mut taken = 0;
    while taken < 20 {
        t.store.look().await.unwrap();
        taken += t.take(100).await.len();
        assert!(Instant::now() < deadline, "{taken}");
    }
}

#[tokio::test]
async fn a_key_is_held_from_its_first_record_to_its_last() {
    let t = Fixture::without_queues().await;
    let holds = async |key| t.store.spool_holds(TARGET, key).await.unwrap();
    assert!(!holds("a").await);
    let first = t.spool(Some("a"), "a1").await;
    t.spool(None, "free").await;
    assert!(holds("a").await);
    assert!(!holds("b").await);
    t.take(10).await;
    assert!(holds("a").await);
    t.settle(first, Settlement::Later(seconds(5))).await;
    assert!(holds("a").await);
    t.advance(5);
    t.take(10).await;
    t.settle(first, Settlement::Forwarded).await;
    assert!(!holds("a").await);
    t.store.close().await;
    let closed = t.store.spool_holds(TARGET, "a").await;
    assert_eq!(closed, Err(StoreError::Closed));
}

#[tokio::test]
async fn the_age_of_a_spool_is_that_of_its_oldest_record_also_while_that_is_delivered() {
    let t = Fixture::without_queues().await;
    t.spool(Some("a"), "a1").await;
    t.advance(10);
    t.spool(None, "free").await;
    t.advance(10);
    t.store.look().await.unwrap();
    assert_eq!(t.spool_stats().oldest_age, Some(seconds(20)));
    let taken = t.take(10).await;
    for parcel in &taken {
        t.settle(parcel.number, Settlement::Later(seconds(100)))
            .await;
    }
    t.store.look().await.unwrap();
    assert_eq!(t.spool_stats().oldest_age, Some(seconds(20)));
    t.settle(taken[0].number, Settlement::Forwarded).await;
    t.store.look().await.unwrap();
    assert_eq!(t.spool_stats().oldest_age, Some(seconds(10)));
}

#[tokio::test]
async fn a_purge_takes_what_is_being_delivered_too_and_its_settlement_finds_nothing() {
    let t = Fixture::without_queues().await;
    t.spool(Some("a"), "a1").await;
    t.spool(Some("a"), "a2").await;
    t.spool(None, "free").await;
    let taken = t.take(1).await;
    assert_eq!(t.store.purge(&spool_queue(TARGET)).await, Ok(3));
    t.settle(taken[0].number, Settlement::Forwarded).await;
    let stats = t.spool_stats();
    assert_eq!((stats.ledger.purged, stats.ledger.forwarded), (3, 0));
    t.spool(Some("a"), "a3").await;
    assert_eq!(calls(&t.take(10).await), ["a3"]);
}

#[tokio::test]
async fn a_reservation_the_records_and_the_answer_are_one() {
    let t = Fixture::without_queues().await;
    let key = NewKey {
        key: [1; 32],
        fingerprint: [2; 32],
        ttl: seconds(60),
        fence: seconds(10),
        request_id: "first".to_owned(),
    };
    let receipt = Bytes::from_static(b"the answer");
    let spool = async |key: &NewKey| {
        let key = Some((key.clone(), receipt.clone()));
        t.store.spool(vec![record(None, "x")], key).await.unwrap()
    };
    new(spool(&key).await);
    let retry = NewKey {
        request_id: "second".to_owned(),
        ..key.clone()
    };
    let Once::Known(Known::Done(kept)) = spool(&retry).await else {
        panic!("stored twice");
    };
    assert_eq!(
        (&*kept.request_id, kept.receipt),
        ("first", receipt.clone())
    );
    assert_eq!(t.spool_stats().ledger.accepted, 1);
}
