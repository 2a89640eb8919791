//! Against a fake target on a socket and a store on disk.

mod background;
mod turns;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::*;
use crate::aws;
use crate::integration::fake::{Fake, Heard, Reply, error, ok, sent};
use crate::integration::tests::{compile, map};
use crate::integration::{Class, StoreState};
use crate::model::code::Code;
use crate::store::{NewRecord, Options};

const SEND: &str = r#"{"SQS-SendMessage":{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/q","MessageBody":"$request.body"}}"#;
const FIFO: &str = r#"{"SQS-SendMessage":{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/q.fifo","MessageBody":"$request.body","MessageGroupId":"GROUP","MessageDeduplicationId":"$request.body"}}"#;
const PUT: &str =
    r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"$request.body","PartitionKey":"k"}}"#;
const START: &str = r#"{"StepFunctions-StartExecution":{"StateMachineArn":"arn:aws:states:eu-west-1:1:stateMachine:flow","Name":"n"}}"#;
const QUEUE: &str = "sqs:https://sqs.eu-west-1.amazonaws.com/1/q";
const LEDGER: &str = "sqs:https://sqs.eu-west-1.amazonaws.com/1/q.fifo";

/// A forwarder between a fake target and a store.
struct Bench {
    directory: TempDir,
    fake: Fake,
    targets: Arc<Targets>,
    forward: Arc<Forward>,
    metrics: Metrics,
}

fn settings() -> Settings {
    Settings {
        default: TargetSettings {
            open_after: 1000,
            probe_every: Duration::from_millis(20),
            max_probe: Duration::from_millis(40),
            close_after: 2,
            backoff_base: Duration::from_millis(2),
            backoff_max: Duration::from_millis(20),
            ..TargetSettings::default()
        },
        ..Settings::default()
    }
}

fn open(directory: &TempDir) -> Store {
    let mut options = Options::new(directory.path());
    options.min_free = 0;
    Store::open(options).unwrap()
}

impl Bench {
    async fn with(
        settings: Settings,
        replies: impl Fn(&Heard) -> Reply + Send + Sync + 'static,
    ) -> Bench {
        let directory = TempDir::new().unwrap();
        let fake = Fake::start(replies).await;
        let store = StoreState::Open(open(&directory));
        let targets = Arc::new(Targets::new(aws::Clients::for_tests(&fake.address), store));
        let metrics = Metrics::new();
        let forward = Forward::new(targets.clone(), settings, metrics.clone());
        let mut ack = parcel(Spool, &[], "").ack;
        ack.on_poison = OnPoison::Stop;
        for target in [QUEUE, LEDGER, "kinesis:s"] {
            forward.expect(TargetName::read(target).unwrap(), &ack);
        }
        forward.start();
        Bench {
            directory,
            fake,
            targets,
            forward,
            metrics,
        }
    }

    async fn new(replies: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Bench {
        Bench::with(settings(), replies).await
    }

    fn store(&self) -> Store {
        self.targets.open_store().unwrap()
    }

    fn depth(&self, target: &str) -> u64 {
        self.store().spool_depth(target).depth
    }

    async fn deliver(
        &self,
        mode: AckMode,
        json: &str,
        body: &str,
    ) -> Result<Delivered, Undelivered> {
        self.forward.deliver(parcel(mode, &[json], body)).await
    }

    /// Where the record is, or the class of the error.
    async fn lands(&self, mode: AckMode, json: &str, body: &str) -> String {
        said(self.deliver(mode, json, body).await)
    }

    async fn empty(&self, target: &str) {
        until(|| async { self.depth(target) == 0 }).await;
    }

    fn exposition(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::with_prefix("penstock");
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    fn metric(&self, line: &str) -> u64 {
        let text = self.exposition();
        let value = text.lines().find_map(|found| found.strip_prefix(line));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }
}

fn said(result: Result<Delivered, Undelivered>) -> String {
    match result {
        Ok(delivered) => delivered.durability.name().to_owned(),
        Err(Undelivered::Target(error)) => format!("{:?} {}", error.class, error.code),
        Err(Undelivered::Known(known)) => format!("{known:?}"),
    }
}

fn parcel(mode: AckMode, jsons: &[&str], body: &str) -> Parcel {
    let requests = jsons.iter();
    Parcel {
        requests: requests
            .map(|json| map(&compile(json), body.as_bytes()).unwrap())
            .collect(),
        ack: AckPlan {
            mode,
            budget: Duration::from_secs(5),
            order: Order::None,
            on_poison: OnPoison::Continue,
        },
        tenant: 0,
        route: "POST /orders".into(),
        context: Arc::new(|| r#"{"requestId":"r-1"}"#.to_owned()),
        idempotency: None,
        deadline: Instant::now() + Duration::from_secs(10),
    }
}

async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap();
}

use AckMode::{Spool, Target, TargetOrSpool};

#[tokio::test]
async fn a_target_that_works_has_the_record_at_once() {
    let bench = Bench::new(ok).await;
    for mode in [Target, TargetOrSpool] {
        assert_eq!(bench.lands(mode, SEND, "a").await, "target");
    }
    assert_eq!(bench.depth(QUEUE), 0);
    assert_eq!(bench.store().spooled_targets(), [""; 0]);
    let [view] = &bench.forward.targets()[..] else {
        panic!("one target");
    };
    assert_eq!((view.target.as_str(), view.breaker), (QUEUE, "closed"));
}

#[tokio::test]
async fn a_spooled_record_is_answered_under_its_id_and_forwarded() {
    let bench = Bench::new(ok).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    bench
        .fake
        .now(move |heard| Reply::Held(held.clone(), Box::new(ok(heard))));
    let delivered = bench.deliver(Spool, SEND, "a").await.unwrap();
    assert_eq!(delivered.durability, Durability::Spooled);
    assert!(uuid::Uuid::parse_str(delivered.answer.message_id().unwrap()).is_ok());
    assert_eq!(bench.depth(QUEUE), 1);
    gate.add_permits(1);
    bench.empty(QUEUE).await;
    assert_eq!(bench.fake.bodies(), ["a"]);
    assert_eq!(
        bench.metric(r#"penstock_spooled_records_total{target="sqs:https://sqs.eu-west-1.amazonaws.com/1/q",why="mode"}"#),
        1
    );
    until(|| async { bench.metric(r#"penstock_forwarded_records_total{target="sqs:https://sqs.eu-west-1.amazonaws.com/1/q"}"#) == 1 })
        .await;
}

#[tokio::test]
async fn what_a_failure_means_decides_whether_the_record_is_spooled() {
    for (status, code, target, either) in [
        (400, "InvalidMessageContents", "Record", "Record"),
        (400, "RequestThrottled", "Throttled", "spooled"),
        (500, "InternalError", "Unavailable", "spooled"),
        (403, "AccessDenied", "Setup", "spooled"),
        (400, "SomethingNew", "Setup", "spooled"),
    ] {
        let bench = Bench::new(move |_: &Heard| error(status, code)).await;
        let said = bench.lands(Target, SEND, "a").await;
        assert!(said.starts_with(target), "{said}");
        assert_eq!(
            bench.store().spooled_targets(),
            [""; 0],
            "target never spools"
        );
        assert_eq!(bench.fake.heard().len(), 1, "target never resends");
        let said = bench.lands(TargetOrSpool, SEND, "b").await;
        assert!(said.starts_with(either), "{code}: {said}");
        assert_eq!(bench.depth(QUEUE), u64::from(either == "spooled"));
        // in the end the target has it
        bench.fake.now(ok);
        bench.empty(QUEUE).await;
        assert_eq!(bench.store().spool_depth(QUEUE).dead_letters, 0);
    }
}

#[tokio::test]
async fn a_target_that_is_not_there_costs_no_budget() {
    let bench = Bench::new(ok).await;
    let nowhere = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let store = StoreState::Open(bench.store());
    let targets = Arc::new(Targets::new(aws::Clients::for_tests(&nowhere), store));
    let forward = Forward::new(targets, settings(), Metrics::new());
    let mut parcel = parcel(TargetOrSpool, &[SEND], "a");
    parcel.ack.budget = Duration::from_secs(3600);
    parcel.deadline = Instant::now() + Duration::from_secs(3600);
    assert_eq!(said(forward.deliver(parcel).await), "spooled");
    assert_eq!(bench.depth(QUEUE), 1);
}

/// A request whose target answers only when told.
async fn over_budget(bench: &Bench, json: &str, then: fn(&Heard) -> Reply) -> Arc<Semaphore> {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    bench
        .fake
        .now(move |heard| Reply::Held(held.clone(), Box::new(then(heard))));
    let mut parcel = parcel(TargetOrSpool, &[json], "a");
    parcel.ack.budget = Duration::from_millis(30);
    assert_eq!(said(bench.forward.deliver(parcel).await), "spooled");
    gate
}

#[tokio::test]
async fn a_call_that_succeeds_after_the_budget_takes_its_copy_back() {
    let bench = Bench::new(ok).await;
    let gate = over_budget(&bench, SEND, ok).await;
    assert_eq!(bench.depth(QUEUE), 1);
    gate.add_permits(1);
    bench.empty(QUEUE).await;
    assert_eq!(bench.fake.heard().len(), 1, "sent once");
    assert_eq!(
        bench.metric(r#"penstock_spooled_records_total{target="sqs:https://sqs.eu-west-1.amazonaws.com/1/q",why="budget"}"#),
        1
    );
}

#[tokio::test]
async fn a_call_that_fails_after_the_budget_is_repeated_from_the_spool() {
    let bench = Bench::new(ok).await;
    let gate = over_budget(&bench, SEND, |_| Reply::Cut).await;
    bench.fake.now(ok);
    gate.add_permits(1);
    bench.empty(QUEUE).await;
    assert_eq!(bench.fake.bodies(), ["a", "a"]);
    assert_eq!(
        bench.metric(r#"penstock_possible_duplicates_total{target="sqs:https://sqs.eu-west-1.amazonaws.com/1/q",cause="unknown"}"#),
        1
    );
}

#[tokio::test]
async fn a_refusal_after_the_budget_is_a_dead_letter() {
    let bench = Bench::new(ok).await;
    let gate = over_budget(&bench, SEND, |_| error(400, "InvalidMessageContents")).await;
    gate.add_permits(1);
    bench.empty(QUEUE).await;
    assert_eq!(bench.store().spool_depth(QUEUE).dead_letters, 1);
    assert_eq!(bench.fake.heard().len(), 1);
}

#[tokio::test]
async fn an_execution_that_exists_is_done_only_if_an_attempt_may_have_started_it() {
    // the answer was lost: what exists is ours
    let bench = Bench::new(|_: &Heard| Reply::Cut).await;
    assert_eq!(bench.lands(TargetOrSpool, START, "{}").await, "spooled");
    bench.fake.now(|_| error(400, "ExecutionAlreadyExists"));
    let machine = "states:arn:aws:states:eu-west-1:1:stateMachine:flow";
    bench.empty(machine).await;
    assert_eq!(bench.store().spool_depth(machine).dead_letters, 0);
    // nothing of ours ever got through: it is somebody else's
    let bench = Bench::new(|_: &Heard| error(400, "ThrottlingException")).await;
    assert_eq!(bench.lands(TargetOrSpool, START, "{}").await, "spooled");
    bench.fake.until(|heard| heard.len() > 3).await;
    bench.fake.now(|_| error(400, "ExecutionAlreadyExists"));
    bench.empty(machine).await;
    assert_eq!(bench.store().spool_depth(machine).dead_letters, 1);
}

#[tokio::test]
async fn a_later_record_of_a_key_never_overtakes_one_that_is_spooled() {
    let (red, blue) = (FIFO.replace("GROUP", "red"), FIFO.replace("GROUP", "blue"));
    let bench = Bench::new(|_: &Heard| error(500, "InternalError")).await;
    assert_eq!(bench.lands(TargetOrSpool, &red, "r1").await, "spooled");
    // the target works again, but r1 has not come through yet
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    bench
        .fake
        .now(move |heard| match heard.body["MessageBody"].as_str() {
            Some("r1") => Reply::Held(held.clone(), Box::new(ok(heard))),
            _ => ok(heard),
        });
    assert_eq!(bench.lands(TargetOrSpool, &red, "r2").await, "spooled");
    assert_eq!(bench.lands(TargetOrSpool, &red, "r3").await, "spooled");
    assert_eq!(bench.lands(TargetOrSpool, &blue, "b1").await, "target");
    gate.add_permits(1);
    bench.empty(LEDGER).await;
    assert_eq!(bench.lands(TargetOrSpool, &red, "r4").await, "target");
    let reds: Vec<String> = bench
        .fake
        .bodies()
        .into_iter()
        .filter(|body| body.starts_with('r') && body != "r1")
        .collect();
    assert_eq!(reds, ["r2", "r3", "r4"]);
    assert_eq!(
        bench.metric(r#"penstock_spooled_records_total{target="sqs:https://sqs.eu-west-1.amazonaws.com/1/q.fifo",why="order"}"#),
        2
    );
}

#[tokio::test]
async fn all_targets_of_one_request_have_it_or_are_on_their_way() {
    let bench = Bench::new(ok).await;
    let parcel_to_two = |mode| parcel(mode, &[SEND, PUT], "a");
    let both = bench
        .forward
        .deliver(parcel_to_two(TargetOrSpool))
        .await
        .unwrap();
    assert_eq!(both.durability, Durability::Target);
    assert_eq!(both.answer.message_id(), Some("m-a"));
    // one is down: it alone is repeated
    bench.fake.now(|heard| match heard.action.as_str() {
        "PutRecord" => error(500, "InternalFailure"),
        _ => ok(heard),
    });
    let mut second = parcel_to_two(TargetOrSpool);
    second.ack.budget = Duration::from_millis(60);
    assert_eq!(said(bench.forward.deliver(second).await), "spooled");
    bench.fake.now(ok);
    bench.empty("kinesis:s").await;
    bench.empty(QUEUE).await;
    let sends = bench.fake.heard();
    let sends = sends.iter().filter(|heard| heard.action == "SendMessage");
    assert_eq!(sends.count(), 2, "once for each request");
    assert_eq!(
        said(bench.forward.deliver(parcel_to_two(Spool)).await),
        "spooled"
    );
    let refused = said(bench.forward.deliver(parcel_to_two(Target)).await);
    assert_eq!(refused, "Setup CannotBeSpooled");
    assert!(locked(&bench.forward.watchers).is_empty());
}

#[tokio::test]
async fn without_a_store_the_target_is_the_only_hope() {
    let bench = Bench::new(ok).await;
    bench
        .targets
        .set_store(StoreState::Unavailable("the disk is gone".to_owned()));
    assert_eq!(bench.lands(TargetOrSpool, SEND, "a").await, "target");
    assert_eq!(
        bench.lands(Spool, SEND, "b").await,
        "StoreUnavailable StoreAbsent"
    );
    // over budget, and still under way: it is waited for
    let mut slow = parcel(TargetOrSpool, &[SEND], "c");
    slow.ack.budget = Duration::from_millis(20);
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    bench
        .fake
        .now(move |heard| Reply::Held(held.clone(), Box::new(ok(heard))));
    let forward = bench.forward.clone();
    let delivering = tokio::spawn(async move { forward.deliver(slow).await });
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(!delivering.is_finished());
    gate.add_permits(1);
    assert_eq!(said(delivering.await.unwrap()), "target");
    // the reason is the store's, unless the record may be stored all the same
    for (reply, class, code) in [
        (
            error as fn(u16, &str) -> Reply,
            Class::StoreUnavailable,
            Code::StoreUnavailable,
        ),
        (
            (|_, _| Reply::Cut) as fn(u16, &str) -> Reply,
            Class::OutcomeUnknown,
            Code::OutcomeUnknown,
        ),
    ] {
        bench.fake.now(move |_| reply(503, "ServiceUnavailable"));
        match bench.deliver(TargetOrSpool, SEND, "d").await {
            Err(Undelivered::Target(error)) => {
                assert_eq!((error.class, error.reason()), (class, code));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_key_that_was_used_gives_the_first_answer() {
    let bench = Bench::new(ok).await;
    let with_key = |request_id: &str| {
        let mut parcel = parcel(Spool, &[SEND], "a");
        parcel.idempotency = Some(NewKey {
            key: [1; 32],
            fingerprint: [2; 32],
            ttl: Duration::from_secs(60),
            fence: Duration::from_secs(20),
            request_id: request_id.to_owned(),
        });
        parcel
    };
    let first = bench.forward.deliver(with_key("r-1")).await.unwrap();
    match bench.forward.deliver(with_key("r-2")).await {
        Err(Undelivered::Known(Known::Done(kept))) => {
            let answer = answer_of(&kept.receipt).unwrap();
            assert_eq!(answer.message_id(), first.answer.message_id());
            assert_eq!(kept.request_id, "r-1");
        }
        other => panic!("{other:?}"),
    }
    bench.empty(QUEUE).await;
    assert_eq!(bench.fake.bodies(), ["a"]);
}

#[tokio::test]
async fn a_request_that_goes_away_changes_nothing() {
    let bench = Bench::new(ok).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    bench
        .fake
        .now(move |heard| Reply::Held(held.clone(), Box::new(error(500, heard.action.as_str()))));
    let forward = bench.forward.clone();
    let delivering =
        tokio::spawn(async move { forward.deliver(parcel(TargetOrSpool, &[SEND], "a")).await });
    bench.fake.until(|heard| heard.len() == 1).await;
    delivering.abort();
    assert!(delivering.await.is_err());
    bench.fake.now(ok);
    gate.add_permits(1);
    bench.fake.until(|heard| heard.len() == 2).await;
    bench.empty(QUEUE).await;
    assert_eq!(bench.fake.bodies(), ["a", "a"]);
}

#[test]
fn order_keys_are_told_apart_by_what_orders() {
    let key = |json: &str, order| {
        let request = map(&compile(json), b"x").unwrap();
        let ack = AckPlan {
            mode: Spool,
            budget: Duration::ZERO,
            order,
            on_poison: OnPoison::Continue,
        };
        spooling::order_key(&request, &ack, "POST /orders")
    };
    let fifo = FIFO.replace("GROUP", "g");
    assert_eq!(key(&fifo, Order::None).as_deref(), Some("key:g"));
    assert_eq!(key(PUT, Order::None), None);
    assert_eq!(key(PUT, Order::Key).as_deref(), Some("key:k"));
    assert_eq!(key(SEND, Order::Key), None);
    assert_eq!(
        key(SEND, Order::Route).as_deref(),
        Some("route:POST /orders")
    );
    let long = PUT.replace(r#""k""#, &format!("\"{}\"", "🎈".repeat(256)));
    let hashed = key(&long, Order::Key).unwrap();
    assert!(
        hashed.starts_with("sha256:") && hashed.len() == 71,
        "{hashed}"
    );
}
