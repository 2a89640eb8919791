//! Whose turn it is: between routes that spool and routes that do not, and between a request's own call and the spool's.

use super::*;

async fn call_target(bench: &Bench, json: &str, body: &str) -> String {
    let request = map(&compile(json), body.as_bytes()).unwrap();
    let ack = AckPlan {
        mode: Target,
        budget: Duration::ZERO,
        order: Order::Key,
        on_poison: OnPoison::Continue,
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    let way = Way {
        ack: &ack,
        route: "POST /direct",
        tenant: 0,
    };
    let calling = bench.forward.call_target(request, way, deadline);
    match calling.await {
        Ok(_) => "target".to_owned(),
        Err(error) => format!("{:?} {}", error.class, error.code),
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_spooled_does_not_overtake_those_of_its_key_that_are() {
    let bench = Bench::new(|_: &Heard| error(503, "ServiceUnavailable")).await;
    let (one, other) = (FIFO.replace("GROUP", "g"), FIFO.replace("GROUP", "h"));
    bench.deliver(Spool, &one, "a").await.unwrap();
    bench.fake.until(|heard| !heard.is_empty()).await;
    let held = Arc::new(Semaphore::new(0));
    let gate = held.clone();
    bench.fake.now(
        move |heard| match heard.body.to_string().contains("\"a\"") {
            true => Reply::Held(held.clone(), Box::new(ok(heard))),
            false => ok(heard),
        },
    );
    assert_eq!(
        call_target(&bench, &one, "b").await,
        "Unavailable EarlierRecordsWait"
    );
    assert_eq!(call_target(&bench, &other, "c").await, "target");
    gate.add_permits(10);
    bench.empty(LEDGER).await;
    assert_eq!(call_target(&bench, &one, "d").await, "target");
    let bodies = bench.fake.bodies();
    assert_eq!(bodies.last().map(String::as_str), Some("d"), "{bodies:?}");
    assert!(!bodies.contains(&"b".to_owned()), "{bodies:?}");
}

#[tokio::test]
async fn a_route_that_needs_no_store_goes_on_without_one() {
    let bench = Bench::new(ok).await;
    let absent = StoreState::Unavailable("for now".to_owned());
    bench.targets.set_store(absent);
    let one = FIFO.replace("GROUP", "g");
    assert_eq!(call_target(&bench, &one, "a").await, "target");
}

#[tokio::test]
async fn the_spool_does_not_send_what_a_request_still_sends_itself() {
    let bench = Bench::new(ok).await;
    let lane = bench.forward.lane(TargetName::read(QUEUE).unwrap());
    let id = uuid::Uuid::new_v4();
    let direct = lane.calls_directly(id.to_string());
    let request = map(&compile(SEND), b"a").unwrap();
    let record = NewRecord {
        target: QUEUE.to_owned(),
        key: None,
        call: request.encode().unwrap(),
        context: "{}".to_owned(),
        // over at once, as if the call had hung
        hold: Some(Duration::ZERO),
    };
    bench
        .store()
        .spool_as(vec![(id, record)], None)
        .await
        .unwrap();
    let put_off = || async {
        let queues = bench.store().stats().queues;
        queues.iter().any(|queue| queue.delayed == 1)
    };
    until(put_off).await;
    assert_eq!(bench.fake.heard().len(), 0);
    drop(direct);
    bench.empty(QUEUE).await;
    assert_eq!(bench.fake.bodies(), ["a"]);
}

#[tokio::test]
async fn what_a_spool_counts_is_there_before_it_happens() {
    let bench = Bench::new(ok).await;
    let text = bench.exposition();
    for name in [
        "spooled_records",
        "forwarded_records",
        "dead_letters",
        "order_gaps",
        "possible_duplicates",
        "breaker_transitions",
    ] {
        let line = format!("penstock_{name}_total{{target=\"{QUEUE}\"");
        assert!(text.contains(&line), "{name}: {text}");
    }
}

#[tokio::test]
async fn targets_that_requests_name_share_a_label_and_leave_no_lanes_behind() {
    let bench = Bench::new(|_: &Heard| error(400, "QueueDoesNotExist")).await;
    let ack = parcel(Target, &[SEND], "a").ack;
    for n in 0..KEPT_TARGETS + 10 {
        let json = SEND.replace("1/q", &format!("1/q{n}"));
        let request = map(&compile(&json), b"a").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let way = Way {
            ack: &ack,
            route: "r",
            tenant: 0,
        };
        let calling = bench.forward.call_target(request, way, deadline);
        assert!(calling.await.is_err());
    }
    assert_eq!(locked(&bench.forward.lanes).len(), KEPT_TARGETS);
    let text = bench.exposition();
    assert!(
        text.contains("target=\"dynamic\"") && !text.contains("1/q7\""),
        "{text}"
    );
}

#[tokio::test]
async fn a_worker_that_broke_off_makes_room_for_another() {
    let bench = Bench::new(ok).await;
    let lane = bench.forward.lane(TargetName::read(QUEUE).unwrap());
    assert!(lane.employ());
    let post = lane.employed();
    assert!(!lane.employ());
    drop(post);
    assert!(lane.employ());
}

#[tokio::test]
async fn a_call_within_its_budget_that_the_end_cuts_off_is_counted_by_the_next_start() {
    let bench =
        Bench::new(|_: &Heard| Reply::Held(Arc::new(Semaphore::new(0)), Box::new(Reply::Cut)))
            .await;
    let forward = bench.forward.clone();
    let delivering =
        tokio::spawn(async move { forward.deliver(parcel(TargetOrSpool, &[SEND], "a")).await });
    bench.fake.until(|heard| heard.len() == 1).await;
    let soon = Instant::now() + Duration::from_millis(20);
    assert_eq!(bench.forward.drain(soon).await, 1);
    assert_eq!(said(delivering.await.unwrap()), "spooled");
    bench.store().close().await;
    bench.targets.set_store(StoreState::Absent);
    let store = open(&bench.directory);
    assert_eq!(store.possible_duplicates(), 1);
    let doubled = r#"penstock_possible_duplicates_total{target="sqs:q",cause="unknown"}"#;
    assert_eq!(bench.metric(doubled), 0);
}

#[tokio::test]
async fn a_spooled_record_says_why_and_how_its_own_call_failed() {
    let mut settings = settings();
    settings.default.open_after = 1;
    settings.default.probe_every = Duration::from_secs(500);
    let bench = Bench::with(settings, |_: &Heard| error(500, "InternalError")).await;
    let mut said = Vec::new();
    for mode in [TargetOrSpool, TargetOrSpool, Spool] {
        let spooled = bench.deliver(mode, SEND, "a").await.unwrap().spooled;
        let spooled = spooled.unwrap();
        said.push((spooled.why, spooled.error.map(|error| error.code)));
    }
    let failed = Some("InternalError".to_owned());
    assert_eq!(
        said,
        [("failed", failed), ("breaker", None), ("mode", None)]
    );
    bench.fake.now(ok);
    let delivered = bench.deliver(Target, SEND, "a").await.unwrap();
    assert_eq!(delivered.spooled, None);
}
