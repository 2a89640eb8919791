//! Kills and failing disks, for real, while records are spooled, delivered and settled, each under an idempotency key: what
//! was acknowledged is in the spool, among the dead letters, or was said to be forwarded; each key has the answer of its
//! record and of no other; and a key's records are still in their order.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Child;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;

use super::crash::{DIRECTORY, FAULTS, start, start_amid};
use super::*;

const CHILD: &str = "store::tests::spool_crash::child";
const SPOOL: &str = "t";
const SPOOLERS: u64 = 6;
const RECORDS: u64 = 150;

fn key(number: u64) -> NewKey {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_le_bytes());
    NewKey {
        key,
        fingerprint: key,
        ttl: Duration::from_secs(86_400),
        fence: Duration::from_secs(60),
        request_id: format!("r{number}"),
    }
}

/// Not a test by itself: what the child does. It prints the number of each record that was acknowledged, and of each that
/// may be settled or surely is; refusals are part of the game. A spooler's records have one order key, and its numbers
/// grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let store = Store::open(options(Path::new(&directory), &Clock::system())).unwrap();
    let spooling = Arc::new(AtomicUsize::new(SPOOLERS as usize));
    let spoolers = (0..SPOOLERS).map(|spooler| {
        let (store, spooling) = (store.clone(), spooling.clone());
        tokio::spawn(async move {
            for n in 0..RECORDS {
                spool(&store, spooler, spooler * RECORDS + n).await;
            }
            spooling.fetch_sub(1, Ordering::SeqCst);
        })
    });
    let spoolers: Vec<_> = spoolers.collect();
    while spooling.load(Ordering::SeqCst) > 0 {
        match store.take_parcels(SPOOL, 7, 1 << 20).await {
            Ok(taken) if !taken.is_empty() => settle(&store, taken).await,
            Ok(_) => store.spool_stirs(SPOOL, Duration::from_millis(20)).await,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    for spooler in spoolers {
        spooler.await.unwrap();
    }
    println!("failed {}", store.stats().failed_groups);
}

async fn spool(store: &Store, spooler: u64, number: u64) {
    let length = (number * 7 % 2_000) as usize;
    let record = NewRecord {
        target: SPOOL.to_owned(),
        key: (spooler > 0).then(|| spooler.to_string()),
        call: format!("{number} {}", "x".repeat(length)).into(),
        context: "{}".to_owned(),
        hold: number
            .is_multiple_of(11)
            .then_some(Duration::from_millis(2)),
    };
    let key = (key(number), Bytes::from(number.to_string()));
    match store.spool(vec![record], Some(key)).await {
        Ok(Once::New(_)) => println!("ok {number}"),
        Ok(Once::Known(known)) => println!("broken: {number} is {known:?}"),
        Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
    }
}

/// The number of a record, as its call says it.
fn number(call: &[u8]) -> u64 {
    let text = std::str::from_utf8(call).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

async fn settle(store: &Store, taken: Vec<Parcel>) {
    let keys: Vec<&String> = taken.iter().filter_map(|p| p.key.as_ref()).collect();
    if keys.iter().collect::<HashSet<_>>().len() < keys.len() {
        println!("broken: a key twice in {keys:?}");
    }
    let settlements: Vec<(i64, Settlement)> = taken
        .iter()
        .map(|parcel| {
            let settlement = match (number(&parcel.call) % 5, parcel.attempts) {
                (0, 1) => Settlement::Later(Duration::from_millis(3)),
                (1, _) => Settlement::Dead(Reason {
                    code: "Refused".into(),
                    detail: String::new(),
                }),
                _ => Settlement::Forwarded,
            };
            (parcel.number, settlement)
        })
        .collect();
    for parcel in &taken {
        // Until the answer is there, and after a failure, it may be settled or not.
        println!("maybe {}", number(&parcel.call));
    }
    while store.settle(SPOOL, settlements.clone()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (parcel, (_, settlement)) in taken.iter().zip(&settlements) {
        match settlement {
            Settlement::Forwarded => println!("gone {}", number(&parcel.call)),
            Settlement::Dead(_) => println!("dead {}", number(&parcel.call)),
            Settlement::Later(_) => {}
        }
    }
}

#[derive(Default)]
struct Said {
    acknowledged: HashSet<u64>,
    maybe: HashSet<u64>,
    gone: HashSet<u64>,
    dead: HashSet<u64>,
}

impl Said {
    /// Reads what the child says; kills it after so many lines.
    fn read(child: &mut Child, lines: usize) -> Said {
        let mut said = Said::default();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        for (at, line) in stdout.lines().map_while(Result::ok).enumerate() {
            assert!(!line.starts_with("broken"), "{line}");
            let (word, rest) = line.split_once(' ').unwrap_or_default();
            let set = match word {
                "ok" => Some(&mut said.acknowledged),
                "maybe" => Some(&mut said.maybe),
                "gone" => Some(&mut said.gone),
                "dead" => Some(&mut said.dead),
                _ => None,
            };
            if let (Some(set), Ok(number)) = (set, rest.parse()) {
                set.insert(number);
            }
            if at == lines {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        said
    }

    async fn holds(&self, directory: &Path) {
        let store = Store::open(options(directory, &Clock::system())).unwrap();
        let stats = store.stats();
        assert_eq!(stats.lost_commits, 0);
        for queue in &stats.queues {
            assert_eq!(queue.ledger.balance(), queue.depth(), "{queue:?}");
        }
        let spooled = everything(&store, &spool_queue(SPOOL)).await;
        let dead = everything(&store, &dead_letter_queue(SPOOL)).await;
        let waits: HashSet<u64> = spooled.iter().map(|peeked| number(&peeked.body)).collect();
        assert_eq!(waits.len(), spooled.len(), "spooled twice");
        let died: HashSet<u64> = dead.iter().map(|peeked| number(&peeked.body)).collect();
        assert!(dead.iter().all(|peeked| peeked.death.is_some()));
        assert!(died.is_disjoint(&waits));
        for number in &self.gone {
            assert!(!waits.contains(number), "{number} was forwarded");
        }
        for number in &self.dead {
            assert!(died.contains(number), "{number} is no dead letter");
        }
        for number in &self.acknowledged {
            let there = waits.contains(number) || died.contains(number);
            let there = there || self.gone.contains(number) || self.maybe.contains(number);
            assert!(there, "{number} was acknowledged and is missing");
        }
        self.keys_match(&store, &waits, &died).await;
        in_order(&store).await;
        store.close().await;
        let file = rusqlite::Connection::open(directory.join("store.db")).unwrap();
        let keys: i64 = file
            .query_row("SELECT count(*) FROM idempotency", [], |row| row.get(0))
            .unwrap();
        let spool = stats.queues.iter().find(|queue| queue.role == Role::Spool);
        let accepted = spool.unwrap().ledger.accepted;
        assert_eq!(keys as u64, accepted, "a key, a record");
    }

    async fn keys_match(&self, store: &Store, waits: &HashSet<u64>, died: &HashSet<u64>) {
        for number in 0..SPOOLERS * RECORDS {
            let stored = waits.contains(&number) || died.contains(&number);
            let known = store.known(&key(number)).await.unwrap();
            match known {
                Some(Known::Done(kept)) => {
                    assert_eq!(kept.receipt, number.to_string());
                    let settled = self.maybe.contains(&number);
                    assert!(stored || settled, "{number} has an answer and no record");
                }
                None => assert!(
                    !stored && !self.acknowledged.contains(&number),
                    "{number} has no answer"
                ),
                other => panic!("{number} is {other:?}"),
            }
        }
    }
}

async fn everything(store: &Store, queue: &str) -> Vec<Peeked> {
    let mut all: Vec<Peeked> = Vec::new();
    loop {
        let after = all.last().map(|peeked| peeked.number);
        let page = store.peek(queue, after, 100).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Forwards all that is left; each key's records come as they were numbered.
async fn in_order(store: &Store) {
    let mut last: HashMap<String, u64> = HashMap::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.spool_depth(SPOOL).depth > 0 {
        assert!(Instant::now() < deadline);
        let taken = store.take_parcels(SPOOL, 50, 1 << 20).await.unwrap();
        if taken.is_empty() {
            store.spool_stirs(SPOOL, Duration::from_millis(50)).await;
        }
        for parcel in &taken {
            if let Some(key) = parcel.key.clone() {
                let number = number(&parcel.call);
                let before = last.insert(key, number);
                assert!(before < Some(number), "{number} comes after {before:?}");
            }
        }
        let settlements = taken.iter().map(|p| (p.number, Settlement::Forwarded));
        store.settle(SPOOL, settlements.collect()).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_spooled_is_missing_or_out_of_order_after_a_kill() {
    for lines in [40, 100, 400, 900, 1_600] {
        let directory = tempfile::tempdir().unwrap();
        let mut child = start(CHILD, directory.path(), &[]).unwrap();
        let said = Said::read(&mut child, lines);
        assert!(!said.acknowledged.is_empty());
        said.holds(directory.path()).await;
    }
}

#[tokio::test]
async fn nothing_spooled_is_missing_or_out_of_order_when_syncs_and_writes_fail() {
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
    }
}
