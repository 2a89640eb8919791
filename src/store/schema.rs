//! The tables, their version, and how an open file is set up.
//!
//! A message's row is written once and deleted once. What changes in between (is it visible, when, how often was it
//! received) lives in rows of a few bytes: `ready` holds what may be received, in order, and `flight` what is invisible
//! for now. So receiving never rewrites a body, and no query looks at more rows than it returns, whatever the depth.

use rusqlite::{Connection, Transaction};

/// The format that this version writes, in `user_version`.
pub(super) const VERSION: i64 = 4;
/// `PNST`, in `application_id`: what `file(1)` and we know the file by.
pub(super) const APPLICATION_ID: i64 = 0x504E_5354;

const TABLES: &str = r#"
-- one row: what outlives the process beside the messages
CREATE TABLE state (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    commits     INTEGER NOT NULL,
    next_seq    INTEGER NOT NULL,
    wall        INTEGER NOT NULL,
    steady      INTEGER NOT NULL,
    boot        INTEGER NOT NULL,
    boot_id     TEXT    NOT NULL,
    handle_key  BLOB    NOT NULL,
    created_at  INTEGER NOT NULL
);
-- a queue: its declaration, and its ledger
CREATE TABLE queue (
    id                  INTEGER PRIMARY KEY,
    name                TEXT    NOT NULL UNIQUE,
    declared            INTEGER NOT NULL,
    fifo                INTEGER NOT NULL,
    content_based       INTEGER NOT NULL,
    lifo                INTEGER NOT NULL,
    visibility_ms       INTEGER NOT NULL,
    retention_ms        INTEGER,
    delay_ms            INTEGER NOT NULL,
    max_size            INTEGER,
    max_message_size    INTEGER NOT NULL,
    redrive_to          TEXT,
    max_receive_count   INTEGER,
    created_at          INTEGER NOT NULL,
    modified_at         INTEGER NOT NULL DEFAULT 0,
    -- 0: a queue; 1: a target's spool; 2: what a target refused; 3: removed, its messages are going; 4: removed, and
    -- kept only so that its number is not given again
    role                INTEGER NOT NULL DEFAULT 0,
    -- 0: the configuration; 1: its users, while the gateway ran
    origin              INTEGER NOT NULL DEFAULT 0,
    -- JSON: what SQS keeps for a queue and nothing here acts on
    extra               TEXT,
    accepted            INTEGER NOT NULL DEFAULT 0,
    imported            INTEGER NOT NULL DEFAULT 0,
    deleted             INTEGER NOT NULL DEFAULT 0,
    forwarded           INTEGER NOT NULL DEFAULT 0,
    dead_lettered       INTEGER NOT NULL DEFAULT 0,
    expired             INTEGER NOT NULL DEFAULT 0,
    purged              INTEGER NOT NULL DEFAULT 0,
    damaged             INTEGER NOT NULL DEFAULT 0,
    duplicates          INTEGER NOT NULL DEFAULT 0,
    visible             INTEGER NOT NULL DEFAULT 0,
    delayed             INTEGER NOT NULL DEFAULT 0,
    in_flight           INTEGER NOT NULL DEFAULT 0,
    bytes               INTEGER NOT NULL DEFAULT 0
);
-- what was sent, never changed; queue is the one it was sent to, also after it moved to a dead-letter queue. A move back
-- out of there writes a new number and the queue where it is now
CREATE TABLE message (
    seq                 INTEGER PRIMARY KEY,
    queue               INTEGER NOT NULL,
    id                  BLOB    NOT NULL,
    sent_at             INTEGER NOT NULL,
    group_id            TEXT,
    deduplication_id    TEXT,
    attributes          TEXT,
    system_attributes   TEXT,
    checksum            INTEGER NOT NULL,
    body                BLOB    NOT NULL
);
-- may be received, in this order; lane 0 is all of a standard queue, others are the groups of a FIFO queue
CREATE TABLE ready (
    queue               INTEGER NOT NULL,
    lane                INTEGER NOT NULL,
    seq                 INTEGER NOT NULL,
    arrived_at          INTEGER NOT NULL,
    receive_count       INTEGER NOT NULL,
    first_received_at   INTEGER,
    size                INTEGER NOT NULL,
    PRIMARY KEY (queue, lane, seq)
) WITHOUT ROWID;
-- invisible until visible_at (steady time): received, or delayed
CREATE TABLE flight (
    queue               INTEGER NOT NULL,
    seq                 INTEGER NOT NULL,
    lane                INTEGER NOT NULL,
    visible_at          INTEGER NOT NULL,
    delayed             INTEGER NOT NULL,
    arrived_at          INTEGER NOT NULL,
    receive_count       INTEGER NOT NULL,
    first_received_at   INTEGER,
    size                INTEGER NOT NULL,
    PRIMARY KEY (queue, seq)
) WITHOUT ROWID;
CREATE INDEX flight_due ON flight (queue, visible_at);
-- the groups of FIFO queues that hold messages; head is the first that is ready
CREATE TABLE lane (
    id          INTEGER PRIMARY KEY,
    queue       INTEGER NOT NULL,
    group_id    TEXT    NOT NULL,
    head        INTEGER,
    in_flight   INTEGER NOT NULL DEFAULT 0,
    delayed     INTEGER NOT NULL DEFAULT 0,
    not_before  INTEGER NOT NULL DEFAULT 0,
    UNIQUE (queue, group_id)
);
CREATE INDEX lane_free ON lane (queue, in_flight, head);
-- what was sent to FIFO queues in the last five minutes
CREATE TABLE deduplication (
    n       INTEGER PRIMARY KEY,
    queue   INTEGER NOT NULL,
    id      TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    message BLOB    NOT NULL,
    seq     INTEGER NOT NULL,
    UNIQUE (queue, id)
);
-- rows whose checksum was wrong: kept for whoever wants to look, never delivered
CREATE TABLE damaged (
    n           INTEGER PRIMARY KEY,
    found_at    INTEGER NOT NULL,
    in_queue    INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    queue, id, sent_at, group_id, deduplication_id, attributes, system_attributes, checksum, body
);
"#;

/// What version 2 added: spools, idempotency keys, queues made by their users, tasks that move messages.
const ADDED_BY_2: &str = r#"
-- a queue's tags
CREATE TABLE tag (
    queue   INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    PRIMARY KEY (queue, key)
) WITHOUT ROWID;
-- how a spooled record became a dead letter
CREATE TABLE death (
    seq                 INTEGER PRIMARY KEY,
    code                TEXT    NOT NULL,
    detail              TEXT    NOT NULL,
    attempts            INTEGER NOT NULL,
    first_attempt_at    INTEGER NOT NULL,
    last_attempt_at     INTEGER NOT NULL
);
-- messages on their way out of a dead-letter queue
CREATE TABLE move_task (
    id              INTEGER PRIMARY KEY,
    handle          TEXT    NOT NULL UNIQUE,
    source          INTEGER NOT NULL,
    destination     INTEGER,
    max_per_second  INTEGER,
    state           INTEGER NOT NULL,
    below           INTEGER NOT NULL,
    at_lane         INTEGER NOT NULL,
    at_seq          INTEGER NOT NULL,
    only_these      TEXT,
    moved           INTEGER NOT NULL,
    to_move         INTEGER NOT NULL,
    failure         TEXT,
    started_at      INTEGER NOT NULL
);
-- idempotency keys; state 0: in flight until fence_at, 1: done, with the answer until expires_at (steady times)
CREATE TABLE idempotency (
    key         BLOB    PRIMARY KEY,
    fingerprint BLOB    NOT NULL,
    state       INTEGER NOT NULL,
    token       INTEGER NOT NULL,
    fence_at    INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    request_id  TEXT    NOT NULL,
    receipt     BLOB,
    response    BLOB
) WITHOUT ROWID;
CREATE INDEX idempotency_expiry ON idempotency (expires_at);
"#;

/// What version 3 added: what API keys have used.
const ADDED_BY_3: &str = r#"
-- a key's requests on a day (days since 1970, UTC)
CREATE TABLE usage (
    day             INTEGER NOT NULL,
    key             TEXT    NOT NULL,
    used            INTEGER NOT NULL,
    by_query        INTEGER NOT NULL,
    by_authorizer   INTEGER NOT NULL,
    remaining       INTEGER,
    PRIMARY KEY (day, key)
) WITHOUT ROWID;
-- one row a key: the day of its last request, and its quota; quota_period 0: none, 1: day, 2: week, 3: month
CREATE TABLE key_state (
    key             TEXT    PRIMARY KEY,
    day             INTEGER NOT NULL,
    quota_period    INTEGER NOT NULL,
    quota_start     INTEGER NOT NULL,
    quota_used      INTEGER NOT NULL
) WITHOUT ROWID;
"#;

/// What version 4 added: the configurations that were deployed.
const ADDED_BY_4: &str = r#"
-- a deployment, in the order of n: its texts before substitution, and what is told of it, as JSON of whoever deploys
CREATE TABLE deployment (
    n       INTEGER PRIMARY KEY,
    told    TEXT    NOT NULL,
    texts   TEXT
);
-- one row, JSON: which deployment runs, and how far its canary is
CREATE TABLE stage (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    state   TEXT    NOT NULL
);
"#;

/// Brings a file of an earlier version up to this one.
pub(super) fn upgrade(transaction: &Transaction<'_>, from: i64) -> rusqlite::Result<()> {
    if from < 2 {
        for column in [
            "modified_at INTEGER NOT NULL DEFAULT 0",
            "role INTEGER NOT NULL DEFAULT 0",
            "origin INTEGER NOT NULL DEFAULT 0",
            "extra TEXT",
        ] {
            transaction.execute_batch(&format!("ALTER TABLE queue ADD COLUMN {column}"))?;
        }
        transaction.execute_batch(ADDED_BY_2)?;
    }
    if from < 3 {
        transaction.execute_batch(ADDED_BY_3)?;
    }
    if from < 4 {
        transaction.execute_batch(ADDED_BY_4)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)
}

/// Writes the tables of a new file.
pub(super) fn create(
    transaction: &Transaction<'_>,
    handle_key: &[u8],
    wall: i64,
) -> rusqlite::Result<()> {
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(ADDED_BY_2)?;
    transaction.execute_batch(ADDED_BY_3)?;
    transaction.execute_batch(ADDED_BY_4)?;
    transaction.execute(
        "INSERT INTO state (id, commits, next_seq, wall, steady, boot, boot_id, handle_key, created_at)
         VALUES (1, 0, 1, ?1, ?1, 0, '', ?2, ?1)",
        (wall, handle_key),
    )?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)
}

/// Settings of a connection that writes. The one that must come first on a new file, `auto_vacuum`, is not here.
pub(super) fn set_up(
    connection: &Connection,
    max_pages: u64,
    log_bytes: u64,
) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Checkpoints run beside the commits, not within them.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", log_bytes as i64)?;
    connection.pragma_update(None, "max_page_count", max_pages as i64)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}
