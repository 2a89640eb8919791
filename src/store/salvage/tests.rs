//! Stores that were damaged in one region or another, and what comes back.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use super::*;
use crate::store::{
    Known, NewKey, NewMessage, NewRecord, Once, Options, QueueSpec, QueueStats, Reason, Receive,
    Redrive, Settlement, Store, StoreStats, dead_letter_queue,
};

const START: i64 = 1_700_000_000_000;
const BODY: usize = 600;

fn options(directory: &Path) -> Options {
    Options {
        lock_wait: Duration::ZERO,
        min_free: 0,
        clock: Clock::manual(START),
        ..Options::new(directory)
    }
}

fn body(number: usize) -> String {
    format!("{number:06} {}", "x".repeat(BODY))
}

/// A closed store: `standard` with messages of which some are in flight and some were deleted, `g.fifo` with groups.
async fn store(messages: usize) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(options(directory.path())).unwrap();
    let redriven = QueueSpec {
        redrive: Some(Redrive {
            to: "dead".into(),
            max_receive_count: 3,
        }),
        ..QueueSpec::new("standard")
    };
    let grouped = QueueSpec {
        content_based_deduplication: true,
        ..QueueSpec::new("g.fifo")
    };
    let specs = vec![redriven, QueueSpec::new("dead"), grouped];
    store.declare(specs).await.unwrap();
    for number in 0..messages {
        let message = NewMessage {
            body: body(number).into(),
            ..NewMessage::default()
        };
        store.send("standard", message).await.unwrap();
        let message = NewMessage {
            body: body(number).into(),
            group_id: Some(format!("g{}", number % 5)),
            ..NewMessage::default()
        };
        store.send("g.fifo", message).await.unwrap();
    }
    let request = Receive {
        max_messages: 10,
        visibility_timeout: Some(Duration::from_secs(40_000)),
        ..Receive::default()
    };
    let taken = store.receive("standard", request).await.unwrap();
    for delivery in &taken[..taken.len() / 2] {
        store
            .delete("standard", &delivery.receipt_handle)
            .await
            .unwrap();
    }
    store.close().await;
    directory
}

fn salvaged(directory: &Path) -> Salvage {
    salvage(directory, &Clock::manual(START), false).unwrap()
}

/// Of a store that may be sound.
fn rewritten(directory: &Path) -> Salvage {
    salvage(directory, &Clock::manual(START), true).unwrap()
}

fn overwrite(directory: &Path, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(directory.join("store.db"))
        .unwrap();
    file.write_all_at(bytes, at).unwrap();
}

/// The page that a table's or index's tree begins with.
fn root_of(directory: &Path, name: &str) -> u64 {
    let database = Connection::open(directory.join("store.db")).unwrap();
    database
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = ?1",
            [name],
            |row| row.get::<_, i64>(0),
        )
        .unwrap() as u64
}

/// The pages of a kind (0x0d: a table's leaf, 0x05: its inner page) that belong to the tree of messages.
fn pages_of_messages(directory: &Path, kind: u8) -> Vec<u64> {
    let database = Connection::open(directory.join("store.db")).unwrap();
    let pages: BTreeSet<u64> = database
        .prepare("SELECT pageno FROM dbstat WHERE name = 'message' AND pagetype = ?1")
        .unwrap()
        .query_map([if kind == 0x0d { "leaf" } else { "internal" }], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap()
        .map(|page| page.unwrap() as u64)
        .collect();
    pages.into_iter().collect()
}

fn queue<'a>(salvage: &'a Salvage, name: &str) -> &'a QueueSalvage {
    let found = salvage.queues.iter().find(|queue| queue.name == name);
    found.unwrap_or_else(|| panic!("{salvage:?}"))
}

/// Opens what was salvaged; the ledger of every queue balances.
fn reopened(directory: &Path) -> (Store, StoreStats) {
    let store = Store::open(options(directory)).unwrap();
    let mut stats = store.stats();
    for queue in &mut stats.queues {
        // measured once a second, not kept
        queue.oldest_age = None;
        assert_eq!(queue.ledger.balance(), queue.depth(), "{queue:?}");
    }
    assert_eq!(stats.lost_commits, 0);
    (store, stats)
}

async fn all_of(store: &Store, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let request = Receive {
            max_messages: 10,
            ..Receive::default()
        };
        let taken = store.receive(queue, request).await.unwrap();
        if taken.is_empty() {
            return bodies;
        }
        for delivery in taken {
            bodies.push(String::from_utf8(delivery.body.to_vec()).unwrap());
            store.delete(queue, &delivery.receipt_handle).await.unwrap();
        }
    }
}

fn depth(stats: &StoreStats, name: &str) -> u64 {
    let found = stats.queues.iter().find(|queue| queue.name == name);
    found.unwrap().depth()
}

#[tokio::test]
async fn a_sound_store_is_left_alone_and_comes_back_as_it_was_if_that_is_wanted() {
    let directory = store(60).await;
    let before = {
        let (store, stats) = reopened(directory.path());
        store.close().await;
        stats
    };
    let image = fs::read(directory.path().join("store.db")).unwrap();
    let untouched = salvaged(directory.path());
    assert!(
        untouched.sound && untouched.set_aside.is_empty(),
        "{untouched:?}"
    );
    assert_eq!(queue(&untouched, "g.fifo").saved, 60);
    assert_eq!(fs::read(directory.path().join("store.db")).unwrap(), image);
    let salvage = rewritten(directory.path());
    assert!(salvage.is_whole(), "{salvage:?}");
    assert_eq!(salvage.set_aside.len(), 1);
    assert!(salvage.set_aside[0].exists());
    let (store, after) = reopened(directory.path());
    // How old the oldest message is becomes known some time after opening.
    let ageless = |stats: StoreStats| {
        let ageless = |queue| QueueStats {
            oldest_age: None,
            ..queue
        };
        stats.queues.into_iter().map(ageless).collect::<Vec<_>>()
    };
    assert_eq!(after.commits, before.commits);
    assert_eq!(ageless(after), ageless(before));
    let in_order: Vec<String> = (10..60).map(body).collect();
    assert_eq!(all_of(&store, "standard").await, in_order);
    let grouped = all_of(&store, "g.fifo").await;
    for group in 0..5 {
        let of_group = grouped
            .iter()
            .filter(|body| body[..6].parse::<usize>().unwrap() % 5 == group);
        let expected: Vec<String> = (group..60).step_by(5).map(body).collect();
        assert!(of_group.eq(expected.iter()), "{group}");
    }
    let sent = NewMessage {
        body: "new".into(),
        group_id: Some("g".into()),
        ..NewMessage::default()
    };
    let number = store.send("g.fifo", sent).await.unwrap().sequence_number;
    assert!(number.unwrap() > format!("{:020}", 120));
}

#[tokio::test]
async fn a_store_that_a_process_has_is_left_alone() {
    let directory = store(1).await;
    let held = Store::open(options(directory.path())).unwrap();
    let refused = salvage(directory.path(), &Clock::manual(START), false);
    assert!(
        matches!(refused, Err(OpenError::Locked { holder: Some(pid), .. }) if pid == std::process::id()),
        "{refused:?}"
    );
    held.close().await;
}

#[tokio::test]
async fn a_damaged_body_is_kept_apart_and_counted_and_all_others_come_back() {
    let directory = store(60).await;
    let path = directory.path().join("store.db");
    let bytes = fs::read(&path).unwrap();
    let marked = body(30);
    let at = bytes
        .windows(marked.len())
        .position(|window| window == marked.as_bytes())
        .unwrap();
    overwrite(directory.path(), at as u64 + 100, b"?");
    let before = fs::read(&path).unwrap();
    let salvage = salvaged(directory.path());
    assert!(!salvage.is_whole());
    let lost: u64 = salvage.queues.iter().map(|queue| queue.lost).sum();
    assert_eq!(lost, 1, "{salvage:?}");
    assert_eq!(fs::read(&salvage.set_aside[0]).unwrap(), before);
    let (store, stats) = reopened(directory.path());
    let damaged: u64 = stats.queues.iter().map(|queue| queue.ledger.damaged).sum();
    assert_eq!(damaged, 1);
    let found = depth(&stats, "standard") + depth(&stats, "g.fifo");
    assert_eq!(found, 55 + 60 - 1);
    store.close().await;
    let kept: i64 = Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT count(*) FROM damaged WHERE found_at > 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_damaged_inner_page_loses_no_message() {
    let directory = store(400).await;
    let inner = pages_of_messages(directory.path(), 0x05);
    assert!(!inner.is_empty());
    for page in inner {
        overwrite(directory.path(), (page - 1) * PAGE, &[0xa5; PAGE as usize]);
    }
    assert!(matches!(
        Store::open(options(directory.path())),
        Err(OpenError::Corrupt { .. })
    ));
    let salvage = salvaged(directory.path());
    assert!(salvage.is_whole(), "{salvage:?}");
    let (store, stats) = reopened(directory.path());
    assert_eq!(depth(&stats, "standard"), 395);
    let in_order: Vec<String> = (10..400).map(body).collect();
    assert_eq!(all_of(&store, "standard").await, in_order);
    assert_eq!(all_of(&store, "g.fifo").await.len(), 400);
}

#[tokio::test]
async fn a_damaged_leaf_loses_its_own_messages_and_no_others() {
    let directory = store(400).await;
    let leaves = pages_of_messages(directory.path(), 0x0d);
    let (first, last) = (leaves[leaves.len() / 3], leaves[leaves.len() / 2]);
    for page in [first, last] {
        overwrite(directory.path(), (page - 1) * PAGE, &[0xa5; PAGE as usize]);
    }
    let salvage = salvaged(directory.path());
    let lost = queue(&salvage, "standard").lost + queue(&salvage, "g.fifo").lost;
    // A leaf holds up to six of these messages.
    assert!((2..=12).contains(&lost), "{salvage:?}");
    let (_store, stats) = reopened(directory.path());
    assert_eq!(
        depth(&stats, "standard") + depth(&stats, "g.fifo") + lost,
        795
    );
}

#[tokio::test]
async fn a_damaged_first_page_loses_nothing() {
    let directory = store(100).await;
    overwrite(
        directory.path(),
        0,
        &b"this is no database at all".repeat(150),
    );
    let salvage = salvaged(directory.path());
    assert!(salvage.is_whole(), "{salvage:?}");
    let (_store, stats) = reopened(directory.path());
    assert_eq!(depth(&stats, "standard"), 95);
    assert_eq!(depth(&stats, "g.fifo"), 100);
}

#[tokio::test]
async fn messages_whose_places_are_lost_go_back_to_their_queue_in_order() {
    let directory = store(100).await;
    for table in ["ready", "flight"] {
        let root = root_of(directory.path(), table);
        overwrite(directory.path(), (root - 1) * PAGE, &[0xa5; PAGE as usize]);
    }
    let salvage = salvaged(directory.path());
    assert_eq!(queue(&salvage, "standard").saved, 95);
    assert_eq!(queue(&salvage, "standard").lost, 0);
    let (store, _) = reopened(directory.path());
    // What was in flight has no place either, and is delivered again.
    let in_order: Vec<String> = (5..100).map(body).collect();
    assert_eq!(all_of(&store, "standard").await, in_order);
    let grouped = all_of(&store, "g.fifo").await;
    assert_eq!(grouped.len(), 100);
    assert!(
        grouped
            .iter()
            .filter(|body| body[..6].parse::<usize>().unwrap() % 5 == 2)
            .is_sorted()
    );
}

#[tokio::test]
async fn queues_whose_rows_are_lost_keep_their_names_and_messages() {
    let directory = store(50).await;
    let root = root_of(directory.path(), "queue");
    overwrite(directory.path(), (root - 1) * PAGE, &[0; PAGE as usize]);
    let salvage = salvaged(directory.path());
    assert!(queue(&salvage, "standard").rebuilt);
    assert!(!salvage.is_whole());
    let (store, stats) = reopened(directory.path());
    assert_eq!(depth(&stats, "standard"), 45);
    assert_eq!(all_of(&store, "g.fifo").await.len(), 50);
}

#[tokio::test]
async fn queues_whose_names_are_lost_too_are_named_by_their_number() {
    let directory = store(50).await;
    for name in ["queue", "sqlite_autoindex_queue_1"] {
        let root = root_of(directory.path(), name);
        overwrite(directory.path(), (root - 1) * PAGE, &[0; PAGE as usize]);
    }
    let salvage = salvaged(directory.path());
    let saved: Vec<(&str, u64)> = salvage
        .queues
        .iter()
        .map(|queue| (queue.name.as_str(), queue.saved))
        .collect();
    assert_eq!(saved, [("recovered-1", 45), ("recovered-3.fifo", 50)]);
    reopened(directory.path());
}

#[tokio::test]
async fn a_shortened_file_keeps_what_is_left_of_it() {
    let directory = store(400).await;
    let path = directory.path().join("store.db");
    let length = fs::metadata(&path).unwrap().len();
    let half = fs::OpenOptions::new().write(true).open(&path).unwrap();
    half.set_len(length / 2 + 100).unwrap();
    let salvage = salvaged(directory.path());
    assert!(!salvage.is_whole());
    let saved: u64 = salvage.queues.iter().map(|queue| queue.saved).sum();
    assert!(saved > 200, "{salvage:?}");
    let (store, _) = reopened(directory.path());
    for body in all_of(&store, "standard").await {
        assert!(body.ends_with('x'));
    }
}

#[tokio::test]
async fn what_is_still_in_the_log_is_saved_and_a_log_cut_short_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(options(directory.path())).unwrap();
    store
        .declare(vec![QueueSpec::new("standard")])
        .await
        .unwrap();
    for number in 0..20 {
        let message = NewMessage {
            body: body(number).into(),
            ..NewMessage::default()
        };
        store.send("standard", message).await.unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    for file in ["store.db", "store.db-wal", "commits"] {
        fs::copy(directory.path().join(file), copy.path().join(file)).unwrap();
    }
    let cut = tempfile::tempdir().unwrap();
    for file in ["store.db", "store.db-wal", "commits"] {
        fs::copy(copy.path().join(file), cut.path().join(file)).unwrap();
    }
    let salvage = rewritten(copy.path());
    assert!(salvage.is_whole(), "{salvage:?}");
    assert_eq!(queue(&salvage, "standard").saved, 20);
    assert_eq!(salvage.set_aside.len(), 2);
    let log = cut.path().join("store.db-wal");
    let length = fs::metadata(&log).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    file.set_len(length - length / 4).unwrap();
    let salvage = salvaged(cut.path());
    assert!(salvage.lost_commits > 0, "{salvage:?}");
    assert!(!salvage.is_whole());
    let (store, _) = reopened(cut.path());
    // No number is given twice, though it is not known which were.
    let message = NewMessage {
        body: "new".into(),
        ..NewMessage::default()
    };
    store.send("standard", message).await.unwrap();
    store.close().await;
    let last: i64 = Connection::open(cut.path().join("store.db"))
        .unwrap()
        .query_row("SELECT max(seq) FROM message", [], |row| row.get(0))
        .unwrap();
    assert!(last > 20, "{last}");
}

#[tokio::test]
async fn a_store_of_a_later_version_is_left_alone() {
    let directory = store(1).await;
    let file = Connection::open(directory.path().join("store.db")).unwrap();
    file.pragma_update(None, "user_version", schema::VERSION + 1)
        .unwrap();
    drop(file);
    let refused = salvage(directory.path(), &Clock::manual(START), false);
    assert!(
        matches!(refused, Err(OpenError::NewerVersion { .. })),
        "{refused:?}"
    );
    let left: Vec<String> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("recovery") || name.contains("corrupt"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_folder_without_a_store_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let refused = salvage(directory.path(), &Clock::manual(START), false).unwrap_err();
    assert!(
        refused.to_string().contains("there is no store.db"),
        "{refused}"
    );
    fs::write(directory.path().join("store.db.corrupt-1"), "").unwrap();
    let refused = salvage(directory.path(), &Clock::manual(START), false).unwrap_err();
    assert!(
        refused.to_string().contains("rename store.db.corrupt-1"),
        "{refused}"
    );
}

#[tokio::test]
async fn spools_keep_their_keys_in_order_their_dead_letters_and_idempotency_keys() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(options(directory.path())).unwrap();
    let record = |number: usize| NewRecord {
        target: "sqs:https://x/1/orders".into(),
        key: (!number.is_multiple_of(3)).then(|| format!("k{}", number % 3)),
        call: body(number).into(),
        context: format!("{{\"n\":{number}}}"),
        hold: None,
    };
    let key = || NewKey {
        key: [7; 32],
        fingerprint: [8; 32],
        request_id: "r".into(),
        ttl: Duration::from_secs(3_600),
        fence: Duration::from_secs(60),
    };
    let receipt = || bytes::Bytes::from_static(b"receipt");
    store
        .spool(vec![record(0)], Some((key(), receipt())))
        .await
        .unwrap();
    for number in 1..90 {
        store.spool(vec![record(number)], None).await.unwrap();
    }
    let target = "sqs:https://x/1/orders";
    let first = store.take_parcels(target, 5, 1 << 20).await.unwrap();
    let reason = Reason {
        code: "InvalidMessageContents".into(),
        detail: "why".into(),
    };
    let settlements = vec![
        (first[0].number, Settlement::Dead(reason)),
        (
            first[1].number,
            Settlement::Later(Duration::from_secs(1_000)),
        ),
        (first[2].number, Settlement::Forwarded),
    ];
    store.settle(target, settlements).await.unwrap();
    store.close().await;
    for page in pages_of_messages(directory.path(), 0x05) {
        overwrite(directory.path(), (page - 1) * PAGE, &[0xa5; PAGE as usize]);
    }
    let salvage = salvaged(directory.path());
    assert!(salvage.is_whole(), "{salvage:?}");
    let (store, _) = reopened(directory.path());
    let depth = store.spool_depth(target);
    assert_eq!((depth.depth, depth.dead_letters), (88, 1));
    let dead = store
        .peek(&dead_letter_queue(target), None, 10)
        .await
        .unwrap();
    assert_eq!(
        dead[0].death.as_ref().unwrap().code,
        "InvalidMessageContents"
    );
    assert!(matches!(
        store.spool(vec![record(0)], Some((key(), receipt()))).await,
        Ok(Once::Known(Known::Done(_)))
    ));
    // One key waits for its next attempt and holds up what follows; the others go on in order.
    let mut taken: Vec<(Option<String>, String)> = Vec::new();
    loop {
        let parcels = store.take_parcels(target, 100, 1 << 20).await.unwrap();
        if parcels.is_empty() {
            break;
        }
        let mut settlements = Vec::new();
        for parcel in parcels {
            settlements.push((parcel.number, Settlement::Forwarded));
            let call = String::from_utf8(parcel.call.to_vec()).unwrap();
            taken.push((parcel.key, call));
        }
        store.settle(target, settlements).await.unwrap();
    }
    let waiting = first[1].key.clone();
    for key in [None, Some("k1".to_owned()), Some("k2".to_owned())] {
        let of_key: Vec<&String> = taken
            .iter()
            .filter(|(of, _)| *of == key)
            .map(|(_, call)| call)
            .collect();
        if key.is_some() && key == waiting {
            assert!(of_key.is_empty(), "{of_key:?}");
        } else {
            assert!(
                of_key.is_sorted() && of_key.len() >= 28,
                "{key:?}: {of_key:?}"
            );
        }
    }
}
