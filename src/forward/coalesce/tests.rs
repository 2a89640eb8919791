//! Against a carrier that answers as it is told; what needs many points in time is in `simulated`.

mod simulated;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::*;
use crate::integration::TargetName;
use crate::integration::tests::{compile, map};
use crate::telemetry::Metrics;

const SEND: &str = r#"{"SQS-SendMessage":{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/q","MessageBody":"$request.body"}}"#;
const QUEUE: &str = "sqs:https://sqs.eu-west-1.amazonaws.com/1/q";

/// What the carrier does with a call.
#[derive(Clone, Debug)]
struct Told {
    takes: Duration,
    /// By body: entries that are refused, and as what. The empty body stands for all.
    fails: BTreeMap<String, Class>,
}

/// A call as it was made.
#[derive(Clone, Debug)]
struct Made {
    bodies: Vec<String>,
    from: Instant,
    to: Option<Instant>,
}

/// What the target says to the bodies of a call.
type Tells = Box<dyn Fn(&[String], usize) -> Told + Send + Sync>;

struct Fake {
    calls: Mutex<Vec<Made>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    gate: Option<Semaphore>,
    tells: Tells,
}

fn body_of(request: &Request) -> String {
    let call = serde_json::to_value(request).unwrap();
    call["SQS-SendMessage"]["MessageBody"]
        .as_str()
        .unwrap()
        .to_owned()
}

impl Carrier for Fake {
    fn carry(&self, requests: Vec<Request>, deadline: Instant) -> BoxFuture<'_, Vec<Called>> {
        Box::pin(async move {
            let bodies: Vec<String> = requests.iter().map(body_of).collect();
            let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
            let number = {
                let mut calls = locked(&self.calls);
                calls.push(Made {
                    bodies: bodies.clone(),
                    from: Instant::now(),
                    to: None,
                });
                calls.len() - 1
            };
            let told = (self.tells)(&bodies, number);
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            let late = Instant::now() + told.takes > deadline;
            tokio::time::sleep_until((Instant::now() + told.takes).min(deadline)).await;
            locked(&self.calls)[number].to = Some(Instant::now());
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            let answer = |request: &Request, body: &String| {
                let failure = told.fails.get(body).or(told.fails.get(""));
                match failure {
                    _ if late => Err(TargetError::unanswered(Service::Sqs)),
                    Some(Class::Throttled) => Err(throttled()),
                    Some(_) => Err(TargetError::panicked(Service::Sqs)),
                    None => Ok(request.spooled_answer(body).unwrap()),
                }
            };
            requests
                .iter()
                .zip(&bodies)
                .map(|(request, body)| answer(request, body))
                .collect()
        })
    }
}

fn throttled() -> TargetError {
    let mut error = TargetError::target_busy(Service::Sqs);
    error.class = Class::Throttled;
    error.code = "Throttled".to_owned();
    error
}

fn told(millis: u64) -> Told {
    Told {
        takes: Duration::from_millis(millis),
        fails: BTreeMap::new(),
    }
}

struct Bench {
    fake: Arc<Fake>,
    coalescer: Arc<Coalescer>,
    tasks: TaskTracker,
}

impl Bench {
    fn new(
        settings: TargetSettings,
        gated: bool,
        tells: impl Fn(&[String], usize) -> Told + Send + Sync + 'static,
    ) -> Bench {
        let fake = Arc::new(Fake {
            calls: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            gate: gated.then(|| Semaphore::new(0)),
            tells: Box::new(tells),
        });
        let target = TargetName::read(QUEUE).unwrap();
        let label = crate::telemetry::metrics::Name("t".into());
        let tasks = TaskTracker::new();
        let coalescer = Coalescer::new(
            (target.batch_limits(), target.billing()),
            Arc::new(ArcSwap::from_pointee(settings)),
            fake.clone(),
            tasks.clone(),
            Meters::new(&Metrics::new().forwarding, &label),
        );
        Bench {
            fake,
            coalescer: Arc::new(coalescer),
            tasks,
        }
    }

    fn send(
        &self,
        body: &str,
        tenant: u64,
        key: Option<&str>,
        patience: Duration,
    ) -> impl Future<Output = (Called, Option<Ride>)> + Send + use<> {
        let coalescer = self.coalescer.clone();
        let request = map(&compile(SEND), body.as_bytes()).unwrap();
        let key = key.map(str::to_owned);
        async move {
            let deadline = Instant::now() + patience;
            let passenger = Passenger {
                request,
                key: key.as_deref(),
                tenant,
                patience: deadline,
                deadline,
            };
            coalescer.call(passenger).await
        }
    }

    fn calls(&self) -> Vec<Vec<String>> {
        let calls = locked(&self.fake.calls);
        calls.iter().map(|call| call.bodies.clone()).collect()
    }

    fn open(&self, calls: usize) {
        self.fake.gate.as_ref().unwrap().add_permits(calls);
    }

    /// Waits until so many calls have been made.
    async fn until_calls(&self, count: usize) {
        while locked(&self.fake.calls).len() < count {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until so many records wait.
    async fn until_waiting(&self, count: usize) {
        while locked(&self.coalescer.state).queue.waiting().entries < count {
            tokio::task::yield_now().await;
        }
    }

    /// All that was begun has ended.
    async fn settled(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        assert!(self.coalescer.is_idle());
    }
}

const LONG: Duration = Duration::from_secs(60);

fn said(called: &Called) -> String {
    match called {
        Ok(answer) => answer.message_id().unwrap().to_owned(),
        Err(error) => error.code.clone(),
    }
}

#[tokio::test]
async fn an_idle_target_is_called_at_once_with_one_record() {
    let bench = Bench::new(TargetSettings::default(), false, |_, _| told(10));
    let (called, ride) = bench.send("a", 1, None, LONG).await;
    assert_eq!(said(&called), "a");
    assert_eq!(ride.unwrap().records, 1);
    bench.settled().await;
}

#[tokio::test]
async fn those_that_come_together_share_a_call_and_each_hears_of_its_own_record() {
    let bench = Bench::new(TargetSettings::default(), false, |_, _| Told {
        fails: BTreeMap::from([("3".to_owned(), Class::Throttled)]),
        ..told(10)
    });
    let sending: Vec<_> = (0..25)
        .map(|n| tokio::spawn(bench.send(&n.to_string(), 1, None, LONG)))
        .collect();
    for (n, sent) in sending.into_iter().enumerate() {
        let expected = if n == 3 {
            "Throttled".to_owned()
        } else {
            n.to_string()
        };
        assert_eq!(said(&sent.await.unwrap().0), expected);
    }
    let sizes: Vec<usize> = bench.calls().iter().map(Vec::len).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 25);
    assert!(sizes.len() <= 5, "{sizes:?}");
    bench.settled().await;
}

#[tokio::test]
async fn what_waits_can_be_taken_back_and_is_never_sent() {
    let one = TargetSettings {
        in_flight: Some(1),
        ..TargetSettings::default()
    };
    let bench = Bench::new(one, true, |_, _| told(0));
    let first = tokio::spawn(bench.send("first", 1, None, LONG));
    bench.until_calls(1).await;
    let second = bench
        .send("second", 1, None, Duration::from_millis(50))
        .await;
    assert_eq!(said(&second.0), "WaitedTooLong");
    // a caller that goes away takes its record along
    drop(tokio::time::timeout(Duration::from_millis(5), bench.send("third", 1, None, LONG)).await);
    bench.open(2);
    assert_eq!(said(&first.await.unwrap().0), "first");
    bench.settled().await;
    assert_eq!(bench.calls(), [["first"]]);
}

#[tokio::test]
async fn a_caller_whose_time_is_over_while_its_call_is_under_way_cannot_know() {
    let bench = Bench::new(TargetSettings::default(), true, |_, _| told(0));
    let short = tokio::spawn(bench.send("short", 1, None, Duration::from_millis(50)));
    let long = tokio::spawn(bench.send("long", 1, None, LONG));
    let (called, _) = short.await.unwrap();
    assert!(called.as_ref().unwrap_err().may_be_stored(), "{called:?}");
    bench.open(1);
    assert_eq!(
        said(&long.await.unwrap().0),
        "long",
        "the call had the longer of the two times"
    );
    bench.settled().await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_noisy_tenant_gives_way_to_a_quiet_one() {
    let one = TargetSettings {
        in_flight: Some(1),
        ..TargetSettings::default()
    };
    let bench = Bench::new(one, true, |_, _| told(0));
    let mut noisy = vec![tokio::spawn(bench.send("first", 1, None, LONG))];
    bench.until_calls(1).await;
    for n in 0..MOST_WAITING.entries {
        noisy.push(tokio::spawn(bench.send(&format!("n{n}"), 1, None, LONG)));
    }
    bench.until_waiting(MOST_WAITING.entries).await;
    let refused = bench.send("noisy", 1, None, LONG).await;
    assert_eq!(said(&refused.0), "TargetBusy");
    let quiet = tokio::spawn(bench.send("quiet", 2, None, LONG));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!quiet.is_finished(), "it waits");
    bench.open(2);
    assert_eq!(said(&quiet.await.unwrap().0), "quiet");
    assert!(
        bench.calls()[1].contains(&"quiet".to_owned()),
        "it was in the very next call"
    );
    bench.open(10_000);
    let mut busy = 0;
    for sent in noisy {
        busy += usize::from(said(&sent.await.unwrap().0) == "TargetBusy");
    }
    assert_eq!(busy, 1, "one gave way");
    bench.settled().await;
}

#[tokio::test]
async fn whoever_would_wait_for_too_long_is_refused_at_once() {
    let one = TargetSettings {
        in_flight: Some(1),
        ..TargetSettings::default()
    };
    let bench = Bench::new(one, false, |_, _| told(100));
    assert!(bench.send("a", 1, None, LONG).await.0.is_ok());
    // ten calls' worth are ahead: a second
    let ahead: Vec<_> = (0..110)
        .map(|n| tokio::spawn(bench.send(&format!("a{n}"), 1, None, LONG)))
        .collect();
    bench.until_waiting(91).await;
    let late = bench.send("late", 1, None, Duration::from_millis(300));
    assert_eq!(said(&late.await.0), "TargetBusy");
    assert!(bench.send("patient", 1, None, LONG).await.0.is_ok());
    for sent in ahead {
        assert!(sent.await.unwrap().0.is_ok());
    }
    bench.settled().await;
}

#[tokio::test]
async fn a_target_that_throttles_gets_fewer_calls_at_once_and_more_again_when_it_is_well() {
    let throttles = Arc::new(AtomicBool::new(true));
    let says = throttles.clone();
    let bench = Bench::new(TargetSettings::default(), true, move |_, _| Told {
        fails: match says.load(Ordering::SeqCst) {
            true => BTreeMap::from([(String::new(), Class::Throttled)]),
            false => BTreeMap::new(),
        },
        ..told(0)
    });
    // how many calls are under way when many records wait
    let burst = async || {
        let sending: Vec<_> = (0..2000)
            .map(|n| tokio::spawn(bench.send(&n.to_string(), 1, None, LONG)))
            .collect();
        let at_rest = || {
            let state = locked(&bench.coalescer.state);
            let all = state.queue.waiting().entries + 10 * state.calling;
            state.starting == 0 && !state.lingering && all >= 2000
        };
        while !at_rest() {
            tokio::task::yield_now().await;
        }
        let under_way = locked(&bench.coalescer.state).calling;
        bench.open(100_000);
        for sent in sending {
            let _ = sent.await.unwrap();
        }
        while !bench.coalescer.is_idle() {
            tokio::task::yield_now().await;
        }
        bench.fake.gate.as_ref().unwrap().forget_permits(200_000);
        under_way
    };
    assert_eq!(burst().await, 128);
    let few = burst().await;
    assert!(few <= 64, "{few}");
    throttles.store(false, Ordering::SeqCst);
    let before = burst().await;
    assert!(before < few.max(2), "{before}, {few}");
    let more = burst().await;
    assert!(more > before, "{before}, {more}");
    bench.settled().await;
}

#[test]
fn a_batch_ends_where_the_bill_is_lowest_for_each_record() {
    let call = Billing::Call(65_536);
    let kib = |sizes: &[usize]| sizes.iter().map(|kib| kib * 1024).collect::<Vec<_>>();
    assert_eq!(best(call, &kib(&[1; 10])), 10);
    // 8 × 40 KiB are 5 steps (0.625 each), all ten 7 (0.7)
    assert_eq!(best(call, &kib(&[40; 10])), 8);
    assert_eq!(
        best(call, &kib(&[60, 10])),
        2,
        "two steps for two: no worse than one for one"
    );
    assert_eq!(best(call, &kib(&[32, 32, 1])), 2);
    assert_eq!(best(call, &kib(&[1024])), 1);
    assert_eq!(best(call, &[0, 0]), 2);
    assert_eq!(best(Billing::Record(25_600), &kib(&[30, 30, 1])), 3);
    assert_eq!(
        (call.units(&kib(&[40; 8])), call.units_alone(&kib(&[40; 8]))),
        (5, 8)
    );
    assert_eq!(Billing::Record(25_600).units(&kib(&[30, 1])), 3);
}

/// A record of a script.
#[derive(Clone, Debug)]
struct Arrival {
    at: u64,
    tenant: u64,
    key: Option<u8>,
    size: usize,
    patience: u64,
    /// When its caller goes away.
    leaves: Option<u64>,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let size = prop_oneof![4 => 4..100usize, 1 => 20_000..300_000usize];
    let key = prop::option::weighted(0.4, 0..3u8);
    let leaves = prop::option::weighted(0.1, 0..60u64);
    (0..80u64, 0..3u64, key, size, 1..200u64, leaves).prop_map(
        |(at, tenant, key, size, patience, leaves)| Arrival {
            at,
            tenant,
            key,
            size,
            patience,
            leaves,
        },
    )
}

/// What a call takes and what fails in it, from its number.
fn scripted(times: Vec<u64>, failing: Vec<u8>) -> impl Fn(&[String], usize) -> Told {
    move |bodies, number| {
        let mut it = told(times[number % times.len()]);
        match failing[number % failing.len()] {
            0 => drop(it.fails.insert(String::new(), Class::Throttled)),
            1 => drop(it.fails.insert(String::new(), Class::OutcomeUnknown)),
            2 => drop(it.fails.insert(bodies[0].clone(), Class::Throttled)),
            _ => {}
        }
        it
    }
}

/// By body: what its caller heard.
type Heard = BTreeMap<String, String>;

fn check(arrivals: &[Arrival], came: &[AtomicUsize], cap: usize, bench: &Bench, heard: &Heard) {
    let calls = locked(&bench.fake.calls).clone();
    assert!(bench.fake.most_under_way.load(Ordering::SeqCst) <= cap);
    let mut sent = BTreeSet::new();
    let number_of = |body: &str| body.trim_end_matches('x').parse::<usize>().unwrap();
    let arrival_of = |body: &str| &arrivals[number_of(body)];
    for call in &calls {
        assert!((1..=10).contains(&call.bodies.len()));
        let bytes: usize = call.bodies.iter().map(String::len).sum();
        assert!(call.bodies.len() == 1 || bytes <= 1 << 20);
        for body in &call.bodies {
            assert!(sent.insert(body.clone()), "{body} was sent twice");
        }
    }
    for (body, said) in heard {
        let not_sent = ["WaitedTooLong", "TargetBusy"].contains(&said.as_str());
        assert_eq!(sent.contains(body), !not_sent, "{said}");
    }
    for key in 0..3 {
        let of_key = |body: &&String| arrival_of(body).key == Some(key);
        let with_key = calls
            .iter()
            .filter(|call| call.bodies.iter().any(|body| of_key(&body)));
        let with_key: Vec<&Made> = with_key.collect();
        for pair in with_key.windows(2) {
            assert!(
                pair[0].to.is_some_and(|to| to <= pair[1].from),
                "two calls with one key"
            );
        }
        let order = with_key
            .iter()
            .flat_map(|call| call.bodies.iter().filter(of_key));
        let times = order.map(|body| came[number_of(body)].load(Ordering::SeqCst));
        let times: Vec<usize> = times.collect();
        assert!(times.is_sorted(), "{times:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn each_is_answered_once_in_order_and_nothing_is_sent_twice(
        arrivals in prop::collection::vec(arrival(), 1..120),
        times in prop::collection::vec(0..40u64, 1..8),
        failing in prop::collection::vec(0..12u8, 1..8),
        cap in 1..9usize,
    ) {
        let mut arrivals = arrivals;
        arrivals.sort_by_key(|arrival| arrival.at);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let settings = TargetSettings { in_flight: Some(cap), ..TargetSettings::default() };
            let bench = Bench::new(settings, false, scripted(times, failing));
            let began = Instant::now();
            // in which order they came: timers that are late need not fire in theirs
            let came: Arc<Vec<AtomicUsize>> = Arc::new(arrivals.iter().map(|_| AtomicUsize::new(0)).collect());
            let next = Arc::new(AtomicUsize::new(0));
            let sending: Vec<_> = arrivals.iter().enumerate().map(|(n, arrival)| {
                let body = format!("{n}{}", "x".repeat(arrival.size));
                let key = arrival.key.map(|key| key.to_string());
                let send = bench.send(&body, arrival.tenant, key.as_deref(), Duration::from_millis(arrival.patience));
                let Arrival { at, leaves, .. } = *arrival;
                let (came, next) = (came.clone(), next.clone());
                tokio::spawn(async move {
                    tokio::time::sleep_until(began + Duration::from_millis(at)).await;
                    came[n].store(next.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                    let patience = leaves.map_or(LONG, Duration::from_millis);
                    let called = tokio::time::timeout(patience, send).await.ok()?.0;
                    Some((body, said(&called)))
                })
            }).collect();
            let mut heard = Heard::new();
            for (sent, arrival) in sending.into_iter().zip(&arrivals) {
                match sent.await.unwrap() {
                    Some((body, told)) => drop(heard.insert(body, told)),
                    None => assert!(arrival.leaves.is_some(), "nobody else goes without an answer"),
                }
            }
            bench.settled().await;
            check(&arrivals, &came, cap, &bench, &heard);
        });
    }
}

#[tokio::test]
async fn a_slow_target_does_not_delay_another() {
    let slow = Bench::new(TargetSettings::default(), true, |_, _| told(0));
    let quick = Bench::new(TargetSettings::default(), false, |_, _| told(1));
    let stuck: Vec<_> = (0..1500)
        .map(|n| tokio::spawn(slow.send(&n.to_string(), 1, None, LONG)))
        .collect();
    slow.until_calls(128).await;
    for _ in 0..20 {
        assert!(quick.send("q", 1, None, LONG).await.0.is_ok());
    }
    assert_eq!(locked(&slow.fake.calls).len(), 128);
    slow.open(10_000);
    for sent in stuck {
        assert!(sent.await.unwrap().0.is_ok());
    }
    slow.settled().await;
    quick.settled().await;
}
