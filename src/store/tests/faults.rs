//! What goes wrong with files and disks: refused, said, and over when the cause is.

use std::fs;
use std::os::unix::fs::FileExt as _;

use super::*;

#[tokio::test]
async fn a_second_opener_waits_and_is_then_told_who_has_the_store() {
    let t = Fixture::with_queue("q").await;
    let refused = Store::open(options(t.directory.path(), &t.clock));
    let Err(OpenError::Locked { lock, holder, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(lock, t.directory.path().join("lock"));
    assert_eq!(holder, Some(std::process::id()));
    let patient = Options {
        lock_wait: Duration::from_secs(30),
        ..options(t.directory.path(), &t.clock)
    };
    let waiting = std::thread::spawn(move || Store::open(patient));
    std::thread::sleep(Duration::from_millis(50));
    t.store.close().await;
    waiting.join().unwrap().unwrap();
}

#[tokio::test]
async fn dropping_the_last_handle_finishes_and_releases_the_lock() {
    let t = Fixture::with_queue("q").await;
    t.send("q", "one").await;
    drop(t.store);
    let store = Store::open(options(t.directory.path(), &t.clock)).unwrap();
    assert_eq!(store.stats().queues[0].visible, 1);
}

#[test]
fn a_corrupt_file_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.db");
    for content in [
        &b"this is no database, whatever its name says"[..],
        &[0; 8192],
    ] {
        fs::write(&file, content).unwrap();
        let refused = Store::open(options(directory.path(), &Clock::manual(START)));
        assert!(
            matches!(refused, Err(OpenError::Corrupt { .. })),
            "{refused:?}"
        );
        assert_eq!(fs::read(&file).unwrap(), content);
    }
}

#[tokio::test]
async fn a_shortened_database_is_refused_and_left_as_it_is() {
    let t = Fixture::with_queue("q").await;
    for _ in 0..20 {
        t.send("q", &"x".repeat(20_000)).await;
    }
    t.store.close().await;
    let file = t.directory.path().join("store.db");
    let half = fs::read(&file).unwrap();
    let half = &half[..half.len() / 8192 * 4096];
    fs::write(&file, half).unwrap();
    let refused = Store::open(options(t.directory.path(), &t.clock));
    assert!(
        matches!(refused, Err(OpenError::Corrupt { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(&file).unwrap(), half);
}

#[tokio::test]
async fn a_database_that_has_gone_missing_is_not_replaced_by_an_empty_one() {
    let t = Fixture::with_queue("q").await;
    t.store.close().await;
    let file = t.directory.path().join("store.db");
    fs::remove_file(&file).unwrap();
    let refused = Store::open(options(t.directory.path(), &t.clock));
    assert!(
        matches!(refused, Err(OpenError::Corrupt { .. })),
        "{refused:?}"
    );
    assert!(!file.exists());
}

#[test]
fn a_creation_that_was_cut_off_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.db");
    let cut_off = rusqlite::Connection::open(&file).unwrap();
    cut_off
        .execute_batch("CREATE TABLE t (a); DROP TABLE t;")
        .unwrap();
    drop(cut_off);
    assert!(fs::metadata(&file).unwrap().len() > 0);
    Store::open(options(directory.path(), &Clock::manual(START))).unwrap();
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let t = Fixture::with_queue("q").await;
    t.store.close().await;
    let file = rusqlite::Connection::open(t.directory.path().join("store.db")).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let refused = Store::open(options(t.directory.path(), &t.clock));
    assert!(matches!(
        refused,
        Err(OpenError::NewerVersion {
            found: 99,
            known: schema::VERSION,
            ..
        })
    ));
}

#[test]
fn a_path_that_is_no_directory_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = Store::open(options(&file, &Clock::manual(START)));
    assert!(matches!(refused, Err(OpenError::Io { .. })), "{refused:?}");
    let tiny = Options {
        max_size: 1000,
        ..options(directory.path(), &Clock::manual(START))
    };
    assert!(matches!(Store::open(tiny), Err(OpenError::TooSmall { .. })));
}

#[tokio::test]
async fn a_changed_row_is_set_aside_and_never_delivered() {
    let t = Fixture::with_queue("q").await;
    t.send("q", "an honest body").await;
    t.send("q", "another").await;
    t.store.close().await;
    let path = t.directory.path().join("store.db");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(14)
        .position(|window| window == b"an honest body")
        .unwrap();
    bytes[at] ^= 1;
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&bytes, 0)
        .unwrap();
    let t = Fixture {
        store: Store::open(options(t.directory.path(), &t.clock)).unwrap(),
        ..t
    };
    assert_eq!(bodies(&t.receive("q", 10).await), ["another"]);
    assert_eq!(t.stats("q").ledger.damaged, 1);
    t.store.close().await;
    let kept: Vec<u8> = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT body FROM damaged", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, b"`n honest body");
}

#[tokio::test]
async fn synced_commits_that_are_missing_are_noticed() {
    let t = Fixture::with_queue("q").await;
    let before = t.after_a_kill().directory;
    for _ in 0..5 {
        t.send("q", "x").await;
    }
    // The log as it was, and the sidecar as it is now.
    fs::copy(
        t.directory.path().join("commits"),
        before.path().join("commits"),
    )
    .unwrap();
    let store = Store::open(options(before.path(), &t.clock)).unwrap();
    assert_eq!(store.stats().lost_commits, 5);
    assert_eq!(t.store.stats().lost_commits, 0);
}

#[tokio::test]
async fn a_full_store_refuses_sends_and_goes_on_once_it_has_been_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options {
        max_size: 2 << 20,
        ..options(directory.path(), &Clock::manual(START))
    };
    let store = Store::open(small).unwrap();
    store.declare(vec![QueueSpec::new("q")]).await.unwrap();
    let body = "x".repeat(3_000);
    for _round in 0..3 {
        let mut stored = 0;
        let reason = loop {
            match store.send("q", message(&body)).await {
                Ok(_) => stored += 1,
                Err(StoreError::Full(reason)) => break reason,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(reason, FullReason::MaxSize { max_size: 2 << 20 });
        assert!(matches!(store.stats().health, Health::Full(_)));
        assert!(stored > 100, "{stored}");
        assert_eq!(store.stats().queues[0].visible, stored);
        let on_disk: u64 = fs::read_dir(directory.path())
            .unwrap()
            .map(|file| file.unwrap())
            .filter(|file| !file.file_name().to_string_lossy().ends_with("-shm"))
            .map(|file| file.metadata().unwrap().len())
            .sum();
        assert!(on_disk <= 2 << 20, "{on_disk}");
        let mut deleted = 0;
        loop {
            let request = Receive {
                max_messages: 10,
                ..Receive::default()
            };
            let got = store.receive("q", request).await.unwrap();
            if got.is_empty() {
                break;
            }
            for delivery in got {
                store.delete("q", &delivery.receipt_handle).await.unwrap();
                deleted += 1;
            }
        }
        assert_eq!(deleted, stored);
    }
    store.send("q", message("it works again")).await.unwrap();
}

#[tokio::test]
async fn sends_stop_while_too_little_is_free_on_the_file_system() {
    let directory = tempfile::tempdir().unwrap();
    let greedy = Options {
        min_free: u64::MAX,
        ..options(directory.path(), &Clock::manual(START))
    };
    let store = Store::open(greedy).unwrap();
    store.declare(vec![QueueSpec::new("q")]).await.unwrap();
    assert!(matches!(
        store.send("q", message("x")).await,
        Err(StoreError::Full(FullReason::LowSpace { .. }))
    ));
    let empty = store.receive("q", Receive::default()).await.unwrap();
    assert!(empty.is_empty());
}

#[tokio::test]
async fn removing_the_files_under_a_running_store_stops_it() {
    let t = Fixture::with_queue("q").await;
    t.send("q", "one").await;
    t.store.look().await.unwrap();
    fs::remove_file(t.directory.path().join("store.db")).unwrap();
    t.store.look().await.unwrap();
    assert!(matches!(t.store.stats().health, Health::Failed(_)));
    assert!(matches!(
        t.store.send("q", message("two")).await,
        Err(StoreError::Unavailable { .. })
    ));
}

#[tokio::test]
async fn a_group_that_fails_answers_everybody_with_a_failure_and_leaves_nothing() {
    let t = Fixture::with_queue("q").await;
    t.send("q", "before").await;
    let held = t.receive("q", 1).await.pop().unwrap();
    let before = t.stats("q");
    // Somebody else makes every insert fail, as a broken disk would.
    let other = rusqlite::Connection::open(t.directory.path().join("store.db")).unwrap();
    other
        .execute_batch("CREATE TRIGGER broken BEFORE INSERT ON message WHEN NEW.seq % 3 = 0 BEGIN SELECT RAISE(ABORT, 'broken'); END;")
        .unwrap();
    let asked: Vec<_> = (0..30)
        .map(|n| {
            let store = t.store.clone();
            tokio::spawn(async move { store.send("q", message(&n.to_string())).await })
        })
        .collect();
    let mut stored = 0;
    for answer in asked {
        match answer.await.unwrap() {
            Ok(_) => stored += 1,
            Err(StoreError::Unavailable { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(stored < 30);
    assert!(t.store.stats().failed_groups > 0);
    other.execute_batch("DROP TRIGGER broken").unwrap();
    drop(other);
    // It comes back by itself.
    let deadline = Instant::now() + Duration::from_secs(20);
    while t.store.stats().health != Health::Healthy {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    t.send("q", "after").await;
    t.store.delete("q", &held.receipt_handle).await.unwrap();
    let after = t.stats("q");
    assert_eq!(after.visible, before.visible + stored + 1);
    assert_eq!(t.after_a_kill().stats("q").ledger, after.ledger);
}

#[tokio::test]
async fn the_log_stays_short_under_a_steady_load() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options {
        max_size: 8 << 20,
        ..options(directory.path(), &Clock::manual(START))
    };
    let store = Store::open(small).unwrap();
    store.declare(vec![QueueSpec::new("q")]).await.unwrap();
    let body = "x".repeat(2_000);
    for _ in 0..200 {
        let sends: Vec<_> = (0..20).map(|_| store.send("q", message(&body))).collect();
        for send in sends {
            send.await.unwrap();
        }
        for _ in 0..2 {
            let request = Receive {
                max_messages: 10,
                ..Receive::default()
            };
            for delivery in store.receive("q", request).await.unwrap() {
                store.delete("q", &delivery.receipt_handle).await.unwrap();
            }
        }
    }
    let log = fs::metadata(directory.path().join("store.db-wal")).unwrap();
    assert!(log.len() <= 2 << 20, "{}", log.len());
    assert_eq!(store.stats().failed_groups, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_short_however_many_read_beside_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options {
        max_size: 8 << 20,
        ..options(directory.path(), &Clock::manual(START))
    };
    let store = Store::open(small).unwrap();
    let call = "x".repeat(2_000);
    let spool = async || {
        let record = super::spool::record(Some("k"), &call);
        store.spool(vec![record], None).await.unwrap();
    };
    spool().await;
    let over = CancellationToken::new();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (store, over) = (store.clone(), over.clone());
            tokio::spawn(async move {
                let mut reads = 0;
                while !over.is_cancelled() {
                    let holds = store.spool_holds(super::spool::TARGET, "k").await;
                    assert_eq!(holds, Ok(true));
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    for _ in 0..1_000 {
        spool().await;
        let taken = store.take_parcels(super::spool::TARGET, 1, 1 << 20).await;
        let settlements = taken
            .unwrap()
            .iter()
            .map(|parcel| (parcel.number, Settlement::Forwarded))
            .collect();
        store
            .settle(super::spool::TARGET, settlements)
            .await
            .unwrap();
    }
    over.cancel();
    for reader in readers {
        assert!(reader.await.unwrap() > 100);
    }
    let log = fs::metadata(directory.path().join("store.db-wal")).unwrap();
    assert!(log.len() <= 2 << 20, "{}", log.len());
    assert_eq!(store.stats().failed_groups, 0);
    assert_eq!(store.stats().health, Health::Healthy);
}

#[tokio::test]
async fn an_emptied_store_gives_its_room_back() {
    let t = Fixture::with_queue("q").await;
    let body = "x".repeat(500_000);
    for _ in 0..60 {
        t.send("q", &body).await;
    }
    t.store.look().await.unwrap();
    t.store.purge("q").await.unwrap();
    let size = || {
        let file = fs::metadata(t.directory.path().join("store.db")).unwrap();
        file.len() >> 20
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        t.store.look().await.unwrap();
        if t.store.stats().used_bytes < 1 << 20 && (1..20).contains(&size()) {
            break;
        }
        assert!(Instant::now() < deadline, "{} MiB", size());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_clock_that_goes_back_loses_nothing_hides_nothing_and_repeats_no_number() {
    let mut t = Fixture::with(vec![QueueSpec::new("q"), QueueSpec::new("g.fifo")]).await;
    let grouped = |body: &str| NewMessage {
        group_id: Some("g".into()),
        deduplication_id: Some(body.into()),
        ..message(body)
    };
    t.send("q", "before").await;
    let first = t.store.send("g.fifo", grouped("one")).await.unwrap();
    let held = t.receive("q", 1).await.pop().unwrap();
    t.clock.step_wall(-90 * 86_400_000);
    t.send("q", "after").await;
    let second = t.store.send("g.fifo", grouped("two")).await.unwrap();
    assert!(second.sequence_number > first.sequence_number);
    let again = t.store.send("g.fifo", grouped("one")).await.unwrap();
    assert!(again.duplicate, "deduplication runs on steady time");
    assert_eq!(bodies(&t.receive("q", 10).await), ["after"]);
    t.advance(31);
    let seen = t.receive("q", 10).await;
    assert_eq!(
        bodies(&seen),
        ["before", "after"],
        "visibility runs on steady time"
    );
    t.store.delete("q", &held.receipt_handle).await.unwrap();
    t.reopen().await;
    t.store.look().await.unwrap();
    t.advance(31);
    assert_eq!(bodies(&t.receive("q", 10).await), ["after"]);
    assert_eq!(bodies(&t.receive("g.fifo", 10).await), ["one", "two"]);
    assert_eq!(t.stats("q").ledger.expired, 0);
}
