//! What happens to records once they are spooled.

use super::*;

#[tokio::test]
async fn records_go_in_batches_and_a_partial_failure_touches_only_its_own() {
    let bench = Bench::new(ok).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    bench.fake.now(move |heard| {
        let Some(entries) = heard.body["Entries"].as_array() else {
            return Reply::Held(held.clone(), Box::new(ok(heard)));
        };
        let (throttled, taken): (Vec<_>, Vec<_>) = entries
            .iter()
            .partition(|entry| entry["MessageBody"] == "3");
        let failed = throttled.iter().map(
            |entry| json!({ "Id": entry["Id"], "SenderFault": true, "Code": "RequestThrottled" }),
        );
        let answer = json!({
            "Successful": taken.into_iter().map(sent).collect::<Vec<_>>(),
            "Failed": failed.collect::<Vec<_>>(),
        });
        Reply::Held(held.clone(), Box::new(Reply::Json(200, answer)))
    });
    for n in 0..40 {
        assert_eq!(bench.lands(Spool, SEND, &n.to_string()).await, "spooled");
    }
    gate.add_permits(1000);
    bench.empty(QUEUE).await;
    let mut bodies = bench.fake.bodies();
    assert!(bench.fake.heard().len() < 25, "{bodies:?}");
    let repeated: Vec<String> = bodies.iter().filter(|body| *body != "3").cloned().collect();
    assert_eq!(repeated.len(), 39, "{bodies:?}");
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len(), 40);
}

#[tokio::test]
async fn a_target_that_is_down_is_left_alone_but_for_probes() {
    let mut settings = settings();
    settings.default.open_after = 3;
    let bench = Bench::with(settings, |_: &Heard| error(500, "InternalError")).await;
    for n in 0..30 {
        assert_eq!(
            bench.lands(TargetOrSpool, PUT, &n.to_string()).await,
            "spooled"
        );
    }
    let stream = "kinesis:s";
    let [view] = &bench.forward.targets()[..] else {
        panic!("one target");
    };
    assert_eq!((view.breaker, view.depth), ("open", 30));
    assert!(view.last_error.as_ref().unwrap().contains("InternalError"));
    let spooled = |why: &str| {
        let line = format!(r#"penstock_spooled_records_total{{target="kinesis:s",why="{why}"}}"#);
        bench.metric(&line)
    };
    assert!(spooled("breaker") > 20, "{}", spooled("breaker"));
    let before = bench.fake.heard().len();
    bench.fake.until(|heard| heard.len() >= before + 2).await;
    let probes = &bench.fake.heard()[before..];
    assert!(
        probes.iter().all(|probe| probe.action == "PutRecord"),
        "one record each"
    );
    bench.fake.now(ok);
    bench.empty(stream).await;
    until(|| async { bench.forward.targets()[0].breaker == "closed" }).await;
    assert_eq!(bench.lands(TargetOrSpool, PUT, "direct").await, "target");
    assert_eq!(
        bench.metric(r#"penstock_breaker_state{target="kinesis:s",state="closed"}"#),
        1
    );
}

#[tokio::test]
async fn a_matter_of_setup_keeps_every_record() {
    let bench = Bench::new(|_: &Heard| error(400, "ResourceNotFoundException")).await;
    for n in 0..5 {
        assert_eq!(
            bench.lands(TargetOrSpool, PUT, &n.to_string()).await,
            "spooled"
        );
    }
    let before = bench.fake.heard().len();
    bench.fake.until(|heard| heard.len() > before + 3).await;
    assert_eq!(bench.depth("kinesis:s"), 5);
    assert_eq!(bench.store().spool_depth("kinesis:s").dead_letters, 0);
    assert_eq!(bench.forward.targets()[0].breaker, "open");
}

#[tokio::test]
async fn a_poison_record_is_a_dead_letter_and_its_group_goes_on() {
    let red = FIFO.replace("GROUP", "red");
    let bench = Bench::new(|heard: &Heard| match heard.body["MessageBody"].as_str() {
        Some("poison") => error(400, "InvalidMessageContents"),
        _ => ok(heard),
    })
    .await;
    for body in ["a", "poison", "b"] {
        assert_eq!(bench.lands(Spool, &red, body).await, "spooled");
    }
    bench.empty(LEDGER).await;
    assert_eq!(bench.fake.bodies(), ["a", "poison", "b"]);
    assert_eq!(bench.store().spool_depth(LEDGER).dead_letters, 1);
    for metric in ["dead_letters", "order_gaps"] {
        let line = format!(
            r#"penstock_{metric}_total{{target="sqs:https://sqs.eu-west-1.amazonaws.com/1/q.fifo"}}"#
        );
        until(|| async { bench.metric(&line) == 1 }).await;
    }
}

#[tokio::test]
async fn a_poison_record_that_stops_its_group_keeps_its_place() {
    let red = FIFO.replace("GROUP", "red");
    let refusing = |heard: &Heard| match heard.body.to_string().contains("poison") {
        true => error(400, "InvalidMessageContents"),
        false => ok(heard),
    };
    let bench = Bench::new(refusing).await;
    let blue = FIFO.replace("GROUP", "blue");
    for (json, body) in [(&red, "poison"), (&red, "behind"), (&blue, "beside")] {
        let mut parcel = parcel(Spool, &[json], body);
        parcel.ack.on_poison = OnPoison::Stop;
        assert_eq!(said(bench.forward.deliver(parcel).await), "spooled");
    }
    until(|| async { bench.depth(LEDGER) == 2 }).await;
    let before = bench.fake.heard().len();
    bench.fake.until(|heard| heard.len() > before + 2).await;
    assert_eq!(bench.store().spool_depth(LEDGER).dead_letters, 0);
    let view = &bench.forward.targets()[0];
    assert_eq!((view.breaker, view.stuck), ("closed", 1));
    let gauge = format!(r#"penstock_stuck_records{{target="{LEDGER}"}}"#);
    assert_eq!(bench.metric(&gauge), 1);
    // somebody changes what the target takes
    bench.fake.now(ok);
    bench.empty(LEDGER).await;
    assert_eq!(bench.fake.bodies().last().unwrap(), "behind");
    assert_eq!(bench.metric(&gauge), 0);
}

#[tokio::test]
async fn a_record_keeps_its_place_only_while_the_configuration_says_so() {
    let bench = Bench::new(|_: &Heard| error(400, "InvalidMessageContents")).await;
    let mut parcel = parcel(Spool, &[FIFO], "poison");
    parcel.ack.on_poison = OnPoison::Stop;
    assert_eq!(said(bench.forward.deliver(parcel).await), "spooled");
    until(|| async { bench.forward.targets()[0].stuck == 1 }).await;
    bench.forward.drain(Instant::now()).await;
    bench.store().close().await;
    bench.targets.set_store(StoreState::Absent);
    let store = open(&bench.directory);
    bench.targets.set_store(StoreState::Open(store));
    let forward = Forward::new(bench.targets.clone(), settings(), Metrics::new());
    forward.start();
    bench.empty(LEDGER).await;
    assert_eq!(bench.store().spool_depth(LEDGER).dead_letters, 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter_too() {
    let bench = Bench::new(ok).await;
    let other = map(&compile(PUT), b"x").unwrap().encode().unwrap();
    for call in [Bytes::from_static(b"{}"), other] {
        let record = NewRecord {
            target: QUEUE.to_owned(),
            key: None,
            call,
            context: "{}".to_owned(),
            hold: None,
        };
        bench.store().spool(vec![record], None).await.unwrap();
    }
    bench.empty(QUEUE).await;
    assert_eq!(bench.store().spool_depth(QUEUE).dead_letters, 2);
    assert_eq!(bench.fake.heard().len(), 0);
}

#[tokio::test]
async fn the_end_forwards_what_it_can() {
    let bench = Bench::new(|_: &Heard| error(500, "InternalError")).await;
    for n in 0..50 {
        bench.deliver(Spool, SEND, &n.to_string()).await.unwrap();
    }
    bench.fake.now(ok);
    let left = bench
        .forward
        .drain(Instant::now() + Duration::from_secs(20))
        .await;
    assert_eq!((left, bench.depth(QUEUE)), (0, 0));
}

/// How long a drain takes that may take a minute, and what it leaves.
async fn drained(bench: &Bench) -> (Duration, u64) {
    let began = Instant::now();
    let left = bench.forward.drain(began + Duration::from_secs(60)).await;
    assert!(bench.forward.tasks.is_empty());
    (began.elapsed(), left)
}

fn fragile() -> Settings {
    let mut settings = settings();
    settings.default.open_after = 1;
    settings.default.probe_every = Duration::from_secs(500);
    settings.default.max_probe = Duration::from_secs(500);
    settings
}

#[tokio::test]
async fn the_end_waits_for_no_target_that_does_not_work() {
    let bench = Bench::with(fragile(), |_: &Heard| error(500, "InternalError")).await;
    for n in 0..30 {
        bench.deliver(Spool, PUT, &n.to_string()).await.unwrap();
    }
    until(|| async { bench.forward.targets()[0].breaker == "open" }).await;
    let before = bench.fake.heard().len();
    let (took, left) = drained(&bench).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(left, 30);
    assert!(bench.fake.heard().len() <= before + 1, "one probe at most");
}

#[tokio::test]
async fn the_last_probe_of_a_target_that_works_again_lets_the_rest_through() {
    let bench = Bench::with(fragile(), |_: &Heard| error(500, "InternalError")).await;
    bench.deliver(Spool, SEND, "tried").await.unwrap();
    until(|| async { bench.forward.targets()[0].breaker == "open" }).await;
    for n in 0..30 {
        bench.deliver(Spool, SEND, &n.to_string()).await.unwrap();
    }
    bench.fake.now(ok);
    let (took, left) = drained(&bench).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(left, 1, "it waits longer than the end does");
}

#[tokio::test]
async fn the_end_gives_up_a_probe_that_hangs_and_leaves_it_for_the_next_start_to_count() {
    let bench = Bench::with(fragile(), |_: &Heard| error(500, "InternalError")).await;
    bench.deliver(Spool, SEND, "a").await.unwrap();
    until(|| async { bench.forward.targets()[0].breaker == "open" }).await;
    bench.deliver(Spool, SEND, "b").await.unwrap();
    bench
        .fake
        .now(|_| Reply::Held(Arc::new(Semaphore::new(0)), Box::new(Reply::Cut)));
    let (took, left) = drained(&bench).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(left, 2);
    bench.store().close().await;
    bench.targets.set_store(StoreState::Absent);
    let store = open(&bench.directory);
    until(|| async { store.possible_duplicates() == 1 }).await;
}

#[tokio::test]
async fn the_end_waits_for_no_record_that_keeps_its_place() {
    let bench = Bench::new(|_: &Heard| error(400, "InvalidMessageContents")).await;
    for body in ["poison", "behind"] {
        let mut parcel = parcel(Spool, &[FIFO], body);
        parcel.ack.on_poison = OnPoison::Stop;
        assert_eq!(said(bench.forward.deliver(parcel).await), "spooled");
    }
    let (took, left) = drained(&bench).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(left, 2);
}

#[tokio::test]
async fn the_end_gives_up_calls_at_its_deadline_and_the_next_start_repeats_them() {
    let bench =
        Bench::new(|_: &Heard| Reply::Held(Arc::new(Semaphore::new(0)), Box::new(Reply::Cut)))
            .await;
    bench.deliver(Spool, SEND, "a").await.unwrap();
    let gate = over_budget(&bench, SEND, ok).await;
    bench.fake.until(|heard| heard.len() >= 2).await;
    let left = bench
        .forward
        .drain(Instant::now() + Duration::from_millis(50))
        .await;
    assert_eq!(left, 2);
    assert!(bench.forward.tasks.is_empty());
    drop(gate);
    bench.store().close().await;
    bench.targets.set_store(StoreState::Absent);
    let store = open(&bench.directory);
    bench.targets.set_store(StoreState::Open(store));
    // what nobody could see counted any more, the next start counts
    let doubled = r#"penstock_possible_duplicates_total{target="sqs:q",cause="unknown"}"#;
    assert_eq!(bench.metric(doubled), 0);
    assert_eq!(bench.store().possible_duplicates(), 2);
    bench.fake.now(ok);
    let before = bench.fake.heard().len();
    let forward = Forward::new(bench.targets.clone(), settings(), bench.metrics.clone());
    forward.start();
    bench.empty(QUEUE).await;
    assert!(bench.fake.heard().len() > before);
}

#[tokio::test]
async fn records_that_were_under_way_when_the_process_ended_are_sent_again_and_counted() {
    let bench = Bench::new(ok).await;
    let store = bench.store();
    let call = map(&compile(SEND), b"a").unwrap().encode().unwrap();
    // spooled and taken by a process that never says how it went
    bench.forward.drain(Instant::now()).await;
    let record = NewRecord {
        target: QUEUE.to_owned(),
        key: None,
        call,
        context: "{}".to_owned(),
        hold: None,
    };
    store.spool(vec![record], None).await.unwrap();
    assert_eq!(
        store.take_parcels(QUEUE, 10, u64::MAX).await.unwrap().len(),
        1
    );
    store.close().await;
    bench
        .targets
        .set_store(StoreState::Unavailable("restarting".to_owned()));
    drop(store);
    let metrics = Metrics::new();
    let forward = Forward::new(bench.targets.clone(), settings(), metrics.clone());
    forward.start();
    // the store comes up after the forwarder
    bench
        .targets
        .set_store(StoreState::Open(open(&bench.directory)));
    bench.empty(QUEUE).await;
    assert_eq!(bench.fake.bodies(), ["a"]);
    let labels = Doubled {
        target: Name("".into()),
        cause: "restart",
    };
    let counted = metrics
        .forwarding
        .possible_duplicates
        .get_or_create(&labels)
        .get();
    assert_eq!(counted, 1);
}

#[tokio::test]
async fn the_rate_caps_what_the_spool_sends() {
    let mut settings = settings();
    settings.named.insert(
        "https://sqs.eu-west-1.amazonaws.com/1/q".to_owned(),
        TargetSettings {
            rate: Some(20.0),
            ..settings.default.clone()
        },
    );
    let bench = Bench::with(settings, ok).await;
    let records = (0..30).map(|n| NewRecord {
        target: QUEUE.to_owned(),
        key: None,
        call: map(&compile(SEND), n.to_string().as_bytes())
            .unwrap()
            .encode()
            .unwrap(),
        context: String::new(),
        hold: None,
    });
    let began = Instant::now();
    bench.store().spool(records.collect(), None).await.unwrap();
    bench.empty(QUEUE).await;
    assert!(
        began.elapsed() >= Duration::from_millis(490),
        "ten more than a second's worth"
    );
}

#[tokio::test]
async fn what_the_store_could_not_be_told_is_not_sent_again() {
    let bench = Bench::new(ok).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    bench
        .fake
        .now(move |heard| Reply::Held(held.clone(), Box::new(ok(heard))));
    bench.deliver(Spool, SEND, "a").await.unwrap();
    bench.fake.until(|heard| heard.len() == 1).await;
    let store = bench.store();
    bench
        .targets
        .set_store(StoreState::Unavailable("for now".to_owned()));
    gate.add_permits(10);
    let lane = bench.forward.lane(TargetName::read(QUEUE).unwrap());
    until(|| async { lane.is_seen() }).await;
    assert_eq!(store.spool_depth(QUEUE).depth, 1);
    // opened anew, the store gives the record out again
    store.close().await;
    drop(store);
    bench
        .targets
        .set_store(StoreState::Open(open(&bench.directory)));
    bench.empty(QUEUE).await;
    assert_eq!(bench.fake.bodies(), ["a"]);
}
