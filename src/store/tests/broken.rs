//! Every statement of a transaction may be its last: whichever write fails, nothing of the operation has happened, the
//! store comes back by itself, and the same operation said again does what it should have done.

use bytes::Bytes;
use rusqlite::types::Value;

use super::spool::{TARGET, record};
use super::*;

/// The tables that operations write to. `state` holds the clocks, and differs after every commit.
const TABLES: [&str; 8] = [
    "queue",
    "message",
    "ready",
    "flight",
    "lane",
    "deduplication",
    "death",
    "idempotency",
];

fn database(t: &Fixture) -> rusqlite::Connection {
    let file = rusqlite::Connection::open(t.directory.path().join("store.db")).unwrap();
    file.busy_timeout(Duration::from_secs(5)).unwrap();
    file
}

/// Everything that is stored.
fn all(t: &Fixture) -> Vec<Vec<Value>> {
    let file = database(t);
    let mut found = Vec::new();
    for table in TABLES {
        let mut statement = file
            .prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2, 3"))
            .unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
        found.extend(
            rows.unwrap()
                .map(|row: rusqlite::Result<Vec<Value>>| row.unwrap()),
        );
    }
    found
}

fn key(request: &str) -> NewKey {
    NewKey {
        key: [9; 32],
        fingerprint: [1; 32],
        ttl: Duration::from_secs(60),
        fence: Duration::from_secs(10),
        request_id: request.to_owned(),
    }
}

/// Operations on a spool with a taken record 1 and a waiting record 2 of one key, a queue, and a reservation.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Spool,
    SpoolOnce,
    Hold,
    Take,
    Forwarded,
    Later,
    Dead,
    Reserve,
    Complete,
    Release,
    SendOnce,
}

use Operation::*;

async fn perform(t: &Fixture, operation: Operation, reserved: &Reservation) -> bool {
    let (store, first) = (&t.store, 1);
    let settle = async |settlement| store.settle(TARGET, vec![(first, settlement)]).await;
    let error = match operation {
        Spool => {
            let both = vec![record(Some("a"), "a3"), record(Some("b"), "b1")];
            store.spool(both, None).await.map(drop)
        }
        SpoolOnce => {
            let key = Some((key("spooling"), Bytes::from_static(b"answer")));
            let spooled = store.spool(vec![record(None, "once")], key).await;
            spooled.map(|once| assert!(matches!(once, Once::New(_))))
        }
        Hold => {
            let held = NewRecord {
                hold: Some(Duration::from_secs(9)),
                ..record(Some("c"), "c1")
            };
            store.spool(vec![held], None).await.map(drop)
        }
        Take => {
            let taken = store.take_parcels(TARGET, 10, 1 << 20).await;
            taken.map(|taken| assert_eq!(taken.len(), 1))
        }
        Forwarded => settle(Settlement::Forwarded).await,
        Later => settle(Settlement::Later(Duration::from_secs(5))).await,
        Dead => {
            let reason = Reason {
                code: "TooLarge".into(),
                detail: "by far".into(),
            };
            settle(Settlement::Dead(reason)).await
        }
        Reserve => {
            let other = NewKey {
                key: [8; 32],
                ..key("reserving")
            };
            let reserved = store.reserve(other).await;
            reserved.map(|once| assert!(matches!(once, Once::New(_))))
        }
        Complete => {
            let ttl = Duration::from_secs(60);
            let completed = store.complete(reserved.clone(), ttl, "answer".into(), None);
            completed.await
        }
        Release => store.release(reserved.clone()).await,
        SendOnce => {
            let message = NewMessage {
                group_id: Some("g".into()),
                deduplication_id: Some("d".into()),
                ..message("x")
            };
            let sent = store.send_once("q.fifo", message, key("spooling")).await;
            sent.map(|once| assert!(matches!(once, Once::New(_))))
        }
    };
    match error {
        Ok(()) => true,
        Err(StoreError::Unavailable { .. }) => false,
        Err(error) => panic!("{operation:?}: {error:?}"),
    }
}

async fn prepared() -> (Fixture, Reservation) {
    let t = Fixture::with(vec![QueueSpec::new("q.fifo")]).await;
    for (key, call) in [(Some("a"), "a1"), (Some("a"), "a2")] {
        let spooled = t.store.spool(vec![record(key, call)], None).await;
        spooled.unwrap();
    }
    let taken = t.store.take_parcels(TARGET, 10, 1 << 20).await.unwrap();
    assert_eq!((taken.len(), taken[0].number), (1, 1));
    let free = t.store.spool(vec![record(None, "free")], None).await;
    free.unwrap();
    let reserved = match t.store.reserve(key("spooling")).await.unwrap() {
        Once::New(reserved) => reserved,
        Once::Known(known) => panic!("{known:?}"),
    };
    // What is written later, about ages and the like, is written by now.
    t.store.look().await.unwrap();
    (t, reserved)
}

/// Counts the writes of a transaction, and lets one of them fail. What is rolled back is not counted.
struct Fuse<'t>(&'t Fixture);

impl Fuse<'_> {
    fn install(t: &Fixture) -> Fuse<'_> {
        let file = database(t);
        file.execute_batch("CREATE TABLE fuse (n, last); INSERT INTO fuse VALUES (0, 0);")
            .unwrap();
        for table in TABLES.into_iter().chain(["state"]) {
            for write in ["INSERT", "UPDATE", "DELETE"] {
                file.execute_batch(&format!(
                    "CREATE TRIGGER fuse_{table}_{write} BEFORE {write} ON {table} BEGIN
                         UPDATE fuse SET n = n + 1;
                         SELECT RAISE(ABORT, 'broken') FROM fuse WHERE n = last;
                     END;"
                ))
                .unwrap();
            }
        }
        Fuse(t)
    }

    /// The write with this number fails, counted from now on; none if it is 0.
    fn set(&self, last: i64) {
        let set = database(self.0).execute("UPDATE fuse SET n = 0, last = ?1", [last]);
        assert_eq!(set, Ok(1));
    }

    fn counted(&self) -> i64 {
        let counted = database(self.0).query_row("SELECT n FROM fuse", [], |row| row.get(0));
        counted.unwrap()
    }
}

/// Rows without what is drawn at random, and what follows from it.
fn without_chance(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    for value in rows.iter_mut().flatten() {
        let by_chance = match value {
            Value::Blob(id) if id.len() == 16 => true,
            Value::Blob(receipt) => receipt.starts_with(b"{\"message_id\""),
            // A checksum; times are smaller.
            Value::Integer(number) => number.unsigned_abs() > 1 << 42,
            _ => false,
        };
        if by_chance {
            *value = Value::Null;
        }
    }
    rows
}

async fn healthy(t: &Fixture) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while t.store.stats().health != Health::Healthy {
        assert!(Instant::now() < deadline, "{:?}", t.store.stats().health);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The operation, with each of its writes failing in turn.
async fn break_each_write_of(operation: Operation) {
    let (t, reserved) = prepared().await;
    let fuse = Fuse::install(&t);
    fuse.set(0);
    assert!(perform(&t, operation, &reserved).await);
    let writes = fuse.counted();
    assert!(writes >= 2, "{operation:?}: {writes}");
    let expected = without_chance(all(&t));
    let (t, reserved) = prepared().await;
    let fuse = Fuse::install(&t);
    let before = all(&t);
    for last in 1..=writes {
        fuse.set(last);
        let done = perform(&t, operation, &reserved).await;
        assert!(!done, "{operation:?}: write {last} did not fail");
        healthy(&t).await;
        assert_eq!(all(&t), before, "{operation:?}: write {last} failed");
        let stats = t.store.stats();
        for queue in stats.queues {
            assert_eq!(queue.ledger.balance(), queue.depth(), "{queue:?}");
        }
    }
    fuse.set(0);
    assert!(perform(&t, operation, &reserved).await);
    assert_eq!(without_chance(all(&t)), expected, "{operation:?}");
}

#[tokio::test]
async fn whichever_write_of_spooling_fails_nothing_is_spooled() {
    for operation in [Spool, SpoolOnce, Hold] {
        break_each_write_of(operation).await;
    }
}

#[tokio::test]
async fn whichever_write_of_taking_or_settling_fails_the_record_stands_where_it_stood() {
    for operation in [Take, Forwarded, Later, Dead] {
        break_each_write_of(operation).await;
    }
}

#[tokio::test]
async fn whichever_write_about_a_key_fails_the_key_is_what_it_was() {
    for operation in [Reserve, Complete, Release, SendOnce] {
        break_each_write_of(operation).await;
    }
}
