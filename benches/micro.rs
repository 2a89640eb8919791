//! What the parts of the hot path cost by themselves: matcher, mapping, authorizers, access log, store. End-to-end cost
//! is `end_to_end`'s; this says where it comes from.
//!
//! `cargo bench --bench micro -- --measurement-time 1 matcher` runs some of them, shorter.

mod pieces;

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use penstock::store::{NewMessage, Options, QueueSpec, Receive, Store};
use tokio::runtime::Runtime;

/// As the gateway has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const QUEUE: &str = "orders";
/// Messages that are sent, received and deleted at once: what group commit makes of them is what a busy gateway has.
const AT_ONCE: usize = 64;

fn parts(criterion: &mut Criterion) {
    for piece in &pieces::ALL {
        // An authorizer that is set up for nothing would cost seconds: the table of a million keys.
        if piece.heavy && std::env::args().any(|argument| argument == "--test") {
            continue;
        }
        let mut work = None;
        criterion.bench_function(piece.name, |bencher| {
            let work = work.get_or_insert_with(piece.make);
            bencher.iter(work);
        });
    }
}

/// Wall time of 64 messages in, and out again, by a store of which nothing else is asked. The disk is in it.
fn store(criterion: &mut Criterion) {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => panic!("a runtime: {error}"),
    };
    let below = env!("CARGO_TARGET_TMPDIR");
    let folder = match tempfile::tempdir_in(below) {
        Ok(folder) => folder,
        Err(error) => panic!("{below}: {error}"),
    };
    let store = match Store::open(Options::new(folder.path())) {
        Ok(store) => store,
        Err(error) => panic!("a store: {error}"),
    };
    if let Err(error) = runtime.block_on(store.declare(vec![QueueSpec::new(QUEUE)])) {
        panic!("a queue: {error}");
    }
    let mut group = criterion.benchmark_group("store");
    group
        .throughput(Throughput::Elements(AT_ONCE as u64))
        .measurement_time(Duration::from_secs(5));
    let body = Bytes::from("x".repeat(1024));
    group.bench_function("64 messages: send, receive, delete", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(|| async { black_box(round(&store, &body).await) });
    });
    group.finish();
    runtime.block_on(store.close());
}

async fn round(store: &Store, body: &Bytes) -> usize {
    let sent = (0..AT_ONCE).map(|_| {
        let message = NewMessage {
            body: body.clone(),
            ..NewMessage::default()
        };
        store.send(QUEUE, message)
    });
    futures_util::future::join_all(sent).await;
    let mut out = 0;
    while out < AT_ONCE {
        let wanted = Receive {
            max_messages: 10,
            ..Receive::default()
        };
        let received = store.receive(QUEUE, wanted).await.unwrap_or_default();
        if received.is_empty() {
            break;
        }
        let deleted = received
            .iter()
            .map(|delivery| store.delete(QUEUE, &delivery.receipt_handle));
        futures_util::future::join_all(deleted).await;
        out += received.len();
    }
    out
}

criterion_group!(benches, parts, store);
criterion_main!(benches);
