//! Files of other versions: earlier ones are brought up to this one with all that they hold, later ones are refused.

use std::fs;

use super::*;

const FORMAT_1: &str = include_str!("format-1.sql");
/// Its tables, apart from `queue`, which has more columns now.
const TABLES: [&str; 7] = [
    "state",
    "message",
    "ready",
    "flight",
    "lane",
    "deduplication",
    "damaged",
];

/// Writes the file anew as the first version would have had it.
fn as_format_1(path: &std::path::Path) {
    let now = path.join("store.db");
    let then = path.join("then.db");
    let file = rusqlite::Connection::open(&then).unwrap();
    file.pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .unwrap();
    file.execute_batch(FORMAT_1).unwrap();
    file.execute("ATTACH ?1 AS now", [now.to_str()]).unwrap();
    for table in TABLES.into_iter().chain(["queue"]) {
        let columns: String = file
            .query_row(
                "SELECT group_concat(name) FROM pragma_table_info(?1)",
                [table],
                |row| row.get(0),
            )
            .unwrap();
        file.execute_batch(&format!(
            "INSERT INTO main.{table} ({columns}) SELECT {columns} FROM now.{table}"
        ))
        .unwrap();
    }
    file.execute_batch("DETACH now").unwrap();
    file.pragma_update(None, "application_id", schema::APPLICATION_ID)
        .unwrap();
    file.pragma_update(None, "user_version", 1).unwrap();
    file.pragma_update(None, "journal_mode", "WAL").unwrap();
    file.close().unwrap();
    fs::rename(&then, &now).unwrap();
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_with_all_that_it_holds() {
    let mut t = Fixture::with(vec![QueueSpec::new("q"), QueueSpec::new("q.fifo")]).await;
    for body in ["a", "b", "c"] {
        t.send("q", body).await;
    }
    for (body, group) in [("1", "x"), ("2", "x"), ("3", "y")] {
        let new = NewMessage {
            group_id: Some(group.into()),
            deduplication_id: Some(body.into()),
            ..message(body)
        };
        t.store.send("q.fifo", new).await.unwrap();
    }
    let held = t.receive("q", 1).await.pop().unwrap();
    t.store.look().await.unwrap();
    let before = (t.stats("q"), t.stats("q.fifo"));
    t.store.close().await;
    as_format_1(t.directory.path());
    t.reopen().await;
    t.store.look().await.unwrap();
    assert_eq!((t.stats("q"), t.stats("q.fifo")), before);
    assert_eq!(t.stats("q").role, Role::Queue);
    assert_eq!(bodies(&t.receive("q", 10).await), ["b", "c"]);
    assert_eq!(bodies(&t.receive("q.fifo", 10).await), ["1", "2", "3"]);
    t.store.delete("q", &held.receipt_handle).await.unwrap();
    assert_eq!(t.stats("q").ledger.deleted, 1);
    // And it is of this version from now on.
    let record = super::spool::record(Some("k"), "call");
    super::spool::new(t.store.spool(vec![record], None).await.unwrap());
    t.reopen().await;
    assert_eq!(t.store.spool_depth(super::spool::TARGET).depth, 1);
    t.store.close().await;
    let file = rusqlite::Connection::open(t.directory.path().join("store.db")).unwrap();
    let version: i64 = file
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, schema::VERSION);
}

#[tokio::test]
async fn an_upgrade_that_was_cut_off_is_made_again() {
    let mut t = Fixture::with_queue("q").await;
    t.send("q", "a").await;
    t.store.close().await;
    as_format_1(t.directory.path());
    let path = t.directory.path().join("store.db");
    let mut file = rusqlite::Connection::open(&path).unwrap();
    let transaction = file.transaction().unwrap();
    schema::upgrade(&transaction, 1).unwrap();
    transaction.rollback().unwrap();
    drop(file);
    t.reopen().await;
    assert_eq!(bodies(&t.receive("q", 1).await), ["a"]);
}

#[tokio::test]
async fn a_file_of_the_next_version_is_refused_and_left_as_it_is() {
    let t = Fixture::with_queue("q").await;
    t.store.close().await;
    let path = t.directory.path().join("store.db");
    let file = rusqlite::Connection::open(&path).unwrap();
    file.pragma_update(None, "user_version", schema::VERSION + 1)
        .unwrap();
    file.close().unwrap();
    let before = fs::read(&path).unwrap();
    let refused = Store::open(options(t.directory.path(), &t.clock));
    assert!(
        matches!(refused, Err(OpenError::NewerVersion { found, .. }) if found == schema::VERSION + 1),
        "{refused:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}
