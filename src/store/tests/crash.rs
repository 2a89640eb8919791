//! Kills, disks that fail and disks that are full, for real: the test runs itself again as a child process, and looks at
//! what the child leaves behind. Every message that was acknowledged must be found, once.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

pub(super) const DIRECTORY: &str = "PENSTOCK_TEST_STORE";

/// Not a test by itself: what the child does. It prints the id of each message that was acknowledged, and of each that
/// may be deleted or surely is; refusals are part of the game.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let store = Store::open(options(Path::new(&directory), &Clock::system())).unwrap();
    store.declare(vec![QueueSpec::new("q")]).await.unwrap();
    let senders = (0..8).map(|sender| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                let body = format!("{sender} {n} {}", "x".repeat(n * 7 % 2_000));
                match store.send("q", message(&body)).await {
                    Ok(sent) => println!("id {}", sent.message_id),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
                if n % 4 != 0 {
                    continue;
                }
                let got = store.receive("q", Receive::default()).await;
                for delivery in got.unwrap_or_default() {
                    // Until the answer is there, and after a failure, it may be deleted or not.
                    println!("maybe {}", delivery.message_id);
                    if store.delete("q", &delivery.receipt_handle).await.is_ok() {
                        println!("gone {}", delivery.message_id);
                    }
                }
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    println!("failed {}", store.stats().failed_groups);
}

/// Starts a test of this module's kind as the child.
pub(super) fn start(child: &str, directory: &Path, through: &[&str]) -> std::io::Result<Child> {
    let this = std::env::current_exe().unwrap();
    let mut command = match through {
        [] => Command::new(&this),
        [tool, arguments @ ..] => {
            let mut command = Command::new(tool);
            command.args(arguments).arg(&this);
            command
        }
    };
    command
        .args(["--exact", child, "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// System calls that fail, as strace words it: all of some, or all from some on.
pub(super) const FAULTS: [&str; 5] = [
    "fdatasync:error=EIO:when=30..33",
    "fdatasync,fsync:error=EIO:when=20+40",
    "pwrite64:error=EIO:when=400..420",
    "pwrite64:error=ENOSPC:when=500..510",
    "ftruncate,fallocate:error=EIO:when=3..6",
];

/// As [`start`], while system calls fail; `None` where there is no strace.
pub(super) fn start_amid(fault: &str, child: &str, directory: &Path) -> Option<Child> {
    let inject = format!("inject={fault}");
    let calls = fault.split(':').next().unwrap_or_default();
    let trace = format!("trace={calls}");
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null"];
    let strace = [&strace[..], &["-e", &trace, "-e", &inject]].concat();
    let started = start(child, directory, &strace);
    if started.is_err() {
        eprintln!("skipped: there is no strace to make system calls fail");
    }
    started.ok()
}

const CHILD: &str = "store::tests::crash::child";

#[derive(Default)]
struct Said {
    acknowledged: HashSet<String>,
    gone: HashSet<String>,
    maybe: HashSet<String>,
    failed_groups: u64,
}

impl Said {
    /// Reads what the child says; kills it after so many lines.
    fn read(child: &mut Child, lines: usize) -> Said {
        let mut said = Said::default();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        for (at, line) in stdout.lines().map_while(Result::ok).enumerate() {
            match line.split_once(' ') {
                Some(("id", id)) => drop(said.acknowledged.insert(id.to_owned())),
                Some(("gone", id)) => drop(said.gone.insert(id.to_owned())),
                Some(("maybe", id)) => drop(said.maybe.insert(id.to_owned())),
                Some(("failed", groups)) => said.failed_groups = groups.parse().unwrap(),
                _ => {}
            }
            if at == lines {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        said
    }

    /// Everything acknowledged and not deleted is there; nothing deleted is; the ledger balances.
    async fn holds(&self, directory: &Path) {
        let store = Store::open(options(directory, &Clock::system())).unwrap();
        let stats = store.stats();
        let queue = &stats.queues[0];
        assert_eq!(queue.ledger.balance(), queue.depth());
        assert_eq!(stats.lost_commits, 0);
        let mut found = HashSet::new();
        store.close().await;
        let file = rusqlite::Connection::open(directory.join("store.db")).unwrap();
        let mut statement = file
            .prepare(
                "SELECT m.id FROM message m JOIN
                     (SELECT seq FROM ready UNION ALL SELECT seq FROM flight) USING (seq)",
            )
            .unwrap();
        let ids = statement.query_map([], |row| row.get::<_, [u8; 16]>(0));
        for id in ids.unwrap() {
            let id = uuid::Uuid::from_bytes(id.unwrap()).to_string();
            assert!(found.insert(id), "stored twice");
        }
        assert_eq!(found.len() as u64, queue.depth());
        for id in &self.gone {
            assert!(!found.contains(id), "{id} was deleted");
        }
        for id in &self.acknowledged {
            let there = found.contains(id) || self.gone.contains(id) || self.maybe.contains(id);
            assert!(there, "{id} was acknowledged and is missing");
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_missing_after_a_kill() {
    for lines in [30, 60, 300, 700, 1500] {
        let directory = tempfile::tempdir().unwrap();
        let mut child = start(CHILD, directory.path(), &[]).unwrap();
        let said = Said::read(&mut child, lines);
        assert!(!said.acknowledged.is_empty());
        said.holds(directory.path()).await;
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_missing_when_syncs_and_writes_fail() {
    for fault in FAULTS {
        let directory = tempfile::tempdir().unwrap();
        let Some(mut child) = start_amid(fault, CHILD, directory.path()) else {
            return;
        };
        let said = Said::read(&mut child, usize::MAX);
        if said.acknowledged.is_empty() {
            eprintln!("skipped: strace may not trace here");
            return;
        }
        said.holds(directory.path()).await;
        assert!(
            said.failed_groups > 0 || !fault.contains("sync"),
            "{fault} did not happen"
        );
        println!("{fault}: {} failed groups", said.failed_groups);
    }
}

/// Writes into a folder until its file system holds not a byte more.
fn fill(filler: &Path) {
    let mut bytes = 1 << 20;
    while bytes > 0 {
        let more = vec![1; bytes];
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(filler)
            .unwrap();
        if std::io::Write::write_all(&mut file, &more).is_err() {
            bytes /= 2;
        }
    }
}

/// A file system of its own, gone with the value.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn mount(size: &str) -> Option<Tiny> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Tiny(directory))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.unwrap().success());
    }
}

#[tokio::test]
async fn a_disk_that_is_really_full_lets_itself_be_emptied_and_goes_on() {
    let Some(disk) = Tiny::mount("12m") else {
        eprintln!("skipped: mounting a tiny file system needs root");
        return;
    };
    let path = disk.0.path().join("store");
    let clock = Clock::manual(START);
    let store = Store::open(options(&path, &clock)).unwrap();
    store.declare(vec![QueueSpec::new("q")]).await.unwrap();
    assert!(path.join("reserve").exists());
    for _ in 0..2 {
        let body = "x".repeat(50_000);
        let mut stored = 0;
        let refused = loop {
            match store.send("q", message(&body)).await {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
        assert!(matches!(store.stats().health, Health::Full(_)));
        assert!(stored > 20, "{stored}");
        // What fills the rest is not ours.
        let filler = path.join("filler");
        fill(&filler);
        let mut deleted = 0;
        let mut refusals = 0;
        while deleted < stored && refusals < 100 {
            let request = Receive::default();
            match store.receive("q", request).await {
                Ok(got) => {
                    for delivery in got {
                        match store.delete("q", &delivery.receipt_handle).await {
                            Ok(()) => deleted += 1,
                            Err(_) => refusals += 1,
                        }
                    }
                    clock.advance(Duration::from_secs(31));
                }
                Err(error) => {
                    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
                    refusals += 1;
                }
            }
        }
        println!("{stored} stored, {deleted} deleted, {refusals} refusals");
        assert_eq!(deleted, stored);
        fs::remove_file(&filler).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while store.send("q", message("again")).await.is_err() || !path.join("reserve").exists() {
            assert!(Instant::now() < deadline, "{:?}", store.stats());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        store.purge("q").await.unwrap();
    }
    store.close().await;
}

#[tokio::test]
async fn a_disk_that_was_filled_while_the_store_was_closed_lets_it_open_and_be_emptied() {
    let Some(disk) = Tiny::mount("12m") else {
        eprintln!("skipped: mounting a tiny file system needs root");
        return;
    };
    let path = disk.0.path().join("store");
    let clock = Clock::manual(START);
    let store = Store::open(options(&path, &clock)).unwrap();
    store.declare(vec![QueueSpec::new("q")]).await.unwrap();
    store.send("q", message("kept")).await.unwrap();
    assert!(path.join("reserve").exists());
    store.close().await;
    drop(store);
    fill(&path.join("filler"));
    let store = Store::open(options(&path, &clock)).unwrap();
    let got = store.receive("q", Receive::default()).await.unwrap();
    assert_eq!(got.len(), 1);
    store.delete("q", &got[0].receipt_handle).await.unwrap();
    store.close().await;
}
