-- The tables of format 1, as its last version wrote them.
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
-- what was sent, never changed; queue is the one it was sent to, also after it moved to another
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
