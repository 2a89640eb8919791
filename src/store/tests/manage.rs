//! Queues made, changed and removed while the store is open.

use super::*;

fn extra(key: &str, value: &str) -> Extra {
    Extra::from([(key.to_owned(), value.to_owned())])
}

fn redriven(name: &str, to: &str) -> QueueSpec {
    QueueSpec {
        redrive: Some(Redrive {
            to: to.into(),
            max_receive_count: 1,
        }),
        ..QueueSpec::new(name)
    }
}

impl Fixture {
    async fn create(&self, spec: QueueSpec) -> Result<(), ManageError> {
        self.store
            .create_queue(spec, Extra::new(), Tags::new())
            .await
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("store.db")
    }
}

/// Rows of a table, as anybody may count them beside the store.
fn rows(t: &Fixture, table: &str) -> i64 {
    let file = rusqlite::Connection::open(t.path()).unwrap();
    file.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
        row.get(0)
    })
    .unwrap()
}

/// Waits until nothing of removed queues is left but at most one number.
async fn emptied(t: &Fixture) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while rows(t, "queue WHERE role = 3") > 0 {
        assert!(Instant::now() < deadline);
        t.store.look().await.unwrap();
    }
    assert!(rows(t, "queue WHERE role = 4") <= 1);
}

#[tokio::test]
async fn a_queue_made_by_its_users_works_and_survives() {
    let mut t = Fixture::with(vec![QueueSpec::new("declared")]).await;
    let spec = QueueSpec {
        visibility_timeout: Duration::from_secs(7),
        ..QueueSpec::new("made")
    };
    let tags = Tags::from([("team".to_owned(), "blue".to_owned())]);
    let policy = extra("Policy", "{}");
    t.store
        .create_queue(spec.clone(), policy.clone(), tags.clone())
        .await
        .unwrap();
    t.send("made", "one").await;
    let expected = QueueFacts {
        spec,
        extra: policy,
        created_at: START / 1000,
        modified_at: START / 1000,
        declared: false,
    };
    let killed = t.after_a_kill();
    t.reopen().await;
    for t in [t, killed] {
        assert_eq!(t.store.queue_facts("made"), Some(expected.clone()));
        assert_eq!(t.store.tags("made"), Ok(tags.clone()));
        assert_eq!(t.store.queue_names(), ["declared", "made"]);
        assert_eq!(bodies(&t.receive("made", 1).await), ["one"]);
        let notices = t.store.declare(vec![QueueSpec::new("declared")]).await;
        assert_eq!(notices, Ok(vec![]), "it is nobody's fault");
        assert_eq!(t.store.queue_facts("made"), Some(expected.clone()));
    }
}

#[tokio::test]
async fn making_a_queue_again_needs_the_same_attributes() {
    let t = Fixture::with_queue("declared").await;
    t.create(QueueSpec::new("q")).await.unwrap();
    t.send("q", "kept").await;
    t.create(QueueSpec::new("q")).await.unwrap();
    t.create(QueueSpec::new("declared")).await.unwrap();
    assert!(t.store.queue_facts("declared").unwrap().declared);
    let other = QueueSpec {
        delay: Duration::from_secs(1),
        ..QueueSpec::new("q")
    };
    assert_eq!(t.create(other).await, Err(ManageError::ExistsOtherwise));
    let policy = extra("Policy", "{}");
    let other = t
        .store
        .create_queue(QueueSpec::new("q"), policy, Tags::new())
        .await;
    assert_eq!(other, Err(ManageError::ExistsOtherwise));
    assert_eq!(t.stats("q").visible, 1);
}

#[tokio::test]
async fn what_a_declaration_may_not_say_its_users_may_not_either() {
    let t = Fixture::with(vec![QueueSpec::new("dead"), QueueSpec::new("dead.fifo")]).await;
    t.create(redriven("q", "dead")).await.unwrap();
    let refused = [
        QueueSpec::new("not a name"),
        QueueSpec::new("spool:x"),
        redriven("a", "nowhere"),
        redriven("a", "dead.fifo"),
        redriven("a", "a"),
        QueueSpec {
            fifo: true,
            ..QueueSpec::new("a")
        },
    ];
    for spec in refused {
        let answer = t.create(spec.clone()).await;
        assert!(
            matches!(answer, Err(ManageError::Refused(_))),
            "{spec:?}: {answer:?}"
        );
    }
    let circle = t
        .store
        .change_queue(redriven("dead", "q"), Extra::new())
        .await;
    assert!(matches!(
        circle,
        Err(ManageError::Refused(DeclareError::RedriveCycle { .. }))
    ));
    let fifo = QueueSpec {
        fifo: true,
        ..QueueSpec::new("q")
    };
    let turned = t.store.change_queue(fifo, Extra::new()).await;
    assert!(matches!(turned, Err(ManageError::Refused(_))));
    assert_eq!(t.store.queue_names(), ["dead", "dead.fifo", "q"]);
}

#[tokio::test]
async fn a_dead_letter_queue_says_whose_it_wants_to_be() {
    let t = Fixture::with(vec![]).await;
    let arn = |name: &str| format!("arn:aws:sqs:eu-west-1:000000000000:{name}");
    for (name, policy) in [
        ("none", r#"{"redrivePermission":"denyAll"}"#.to_owned()),
        ("any", r#"{"redrivePermission":"allowAll"}"#.to_owned()),
        (
            "some",
            format!(
                r#"{{"redrivePermission":"byQueue","sourceQueueArns":["{}"]}}"#,
                arn("good")
            ),
        ),
    ] {
        let policy = extra("RedriveAllowPolicy", &policy);
        let made = t
            .store
            .create_queue(QueueSpec::new(name), policy, Tags::new());
        made.await.unwrap();
    }
    for (source, to, admitted) in [
        ("a", "none", false),
        ("b", "any", true),
        ("good", "some", true),
        ("bad", "some", false),
    ] {
        let answer = t.create(redriven(source, to)).await;
        assert_eq!(answer.is_ok(), admitted, "{source} {to}: {answer:?}");
    }
}

#[tokio::test]
async fn changed_attributes_hold_at_once_and_after_a_kill() {
    let t = Fixture::with(vec![QueueSpec::new("declared"), QueueSpec::new("dead")]).await;
    t.create(QueueSpec::new("q")).await.unwrap();
    t.send("q", "poison").await;
    t.advance(5);
    let changed = QueueSpec {
        visibility_timeout: Duration::from_secs(3),
        retention: Some(Duration::from_secs(60)),
        delay: Duration::from_secs(10),
        max_message_size: 1024,
        ..redriven("q", "dead")
    };
    let policy = extra("Policy", "{}");
    t.store
        .change_queue(changed.clone(), policy.clone())
        .await
        .unwrap();
    let facts = t.store.queue_facts("q").unwrap();
    assert_eq!((&facts.spec, &facts.extra), (&changed, &policy));
    assert_eq!(facts.created_at, START / 1000);
    assert_eq!(facts.modified_at, START / 1000 + 5);
    assert_eq!(t.after_a_kill().store.queue_facts("q"), Some(facts));
    assert_eq!(bodies(&t.receive("q", 1).await), ["poison"]);
    t.advance(3);
    assert!(t.receive("q", 1).await.is_empty());
    assert_eq!(t.stats("dead").visible, 1);
    let long = t.store.send("q", message(&"x".repeat(1025))).await;
    assert_eq!(long, Err(StoreError::MessageTooLarge { limit: 1024 }));
    t.send("q", "slow").await;
    assert_eq!(t.stats("q").delayed, 1);
    t.advance(60);
    t.store.look().await.unwrap();
    assert_eq!(t.stats("q").ledger.expired, 1);
    let unknown = t
        .store
        .change_queue(QueueSpec::new("x"), Extra::new())
        .await;
    assert_eq!(unknown, Err(StoreError::UnknownQueue("x".into()).into()));
}

#[tokio::test]
async fn content_becomes_a_deduplication_id_when_the_queue_is_told_so() {
    let t = Fixture::with(vec![]).await;
    t.create(QueueSpec::new("q.fifo")).await.unwrap();
    let grouped = || NewMessage {
        group_id: Some("g".into()),
        ..message("same")
    };
    let refused = t.store.send("q.fifo", grouped()).await;
    assert_eq!(refused, Err(StoreError::MissingDeduplicationId));
    let content_based = QueueSpec {
        content_based_deduplication: true,
        ..QueueSpec::new("q.fifo")
    };
    t.store
        .change_queue(content_based, Extra::new())
        .await
        .unwrap();
    for duplicate in [false, true] {
        let sent = t.store.send("q.fifo", grouped()).await.unwrap();
        assert_eq!(sent.duplicate, duplicate);
    }
}

#[tokio::test]
async fn the_declaration_wins_over_what_users_made_and_changed() {
    let mut t = Fixture::with(vec![QueueSpec::new("a")]).await;
    let changed = |name: &str| QueueSpec {
        delay: Duration::from_secs(9),
        ..QueueSpec::new(name)
    };
    t.create(changed("b")).await.unwrap();
    t.store
        .change_queue(changed("a"), Extra::new())
        .await
        .unwrap();
    assert!(t.store.queue_facts("a").unwrap().declared);
    t.reopen().await;
    let both = vec![QueueSpec::new("a"), QueueSpec::new("b")];
    assert_eq!(t.store.declare(both.clone()).await, Ok(vec![]));
    for spec in both {
        let facts = t.store.queue_facts(&spec.name).unwrap();
        assert!(facts.declared);
        assert_eq!(facts.spec, spec);
        assert_eq!(
            t.store.delete_queue(&spec.name).await,
            Err(ManageError::Declared)
        );
    }
    let t = t.after_a_kill();
    let notices = t.store.declare(vec![QueueSpec::new("a")]).await.unwrap();
    let queue = "b".to_owned();
    assert_eq!(notices, [Notice::Undeclared { queue, depth: 0 }]);
    // Nobody declares it any more, so whoever wants may remove it.
    t.store.delete_queue("b").await.unwrap();
    assert_eq!(t.store.queue_names(), ["a"]);
}

#[tokio::test]
async fn a_removed_queue_is_gone_at_once_and_its_messages_follow() {
    let t = Fixture::with(vec![]).await;
    let content_based = QueueSpec {
        content_based_deduplication: true,
        ..QueueSpec::new("q.fifo")
    };
    t.create(content_based.clone()).await.unwrap();
    t.create(QueueSpec::new("other")).await.unwrap();
    t.send("other", "kept").await;
    let tags = Tags::from([("team".to_owned(), "blue".to_owned())]);
    t.store.change_tags("q.fifo", tags, vec![]).await.unwrap();
    for n in 0..1_300 {
        let new = NewMessage {
            group_id: Some((n % 40).to_string()),
            ..message(&n.to_string())
        };
        t.store.send("q.fifo", new).await.unwrap();
    }
    let held = t.receive("q.fifo", 10).await;
    t.store.delete_queue("q.fifo").await.unwrap();
    let unknown = StoreError::UnknownQueue("q.fifo".into());
    let gone = t.store.delete_queue("q.fifo").await;
    assert_eq!(gone, Err(unknown.clone().into()));
    assert_eq!(t.store.queue_names(), ["other"]);
    assert_eq!(t.store.queue_facts("q.fifo"), None);
    assert_eq!(t.store.purge("q.fifo").await, Err(unknown));

    // The same name again, at once: nothing of the old queue is in it.
    t.create(content_based).await.unwrap();
    assert!(t.receive("q.fifo", 1).await.is_empty());
    assert_eq!(t.store.tags("q.fifo"), Ok(Tags::new()));
    let handle = &held[0].receipt_handle;
    assert_eq!(
        t.store.delete("q.fifo", handle).await,
        Err(StoreError::ReceiptHandleInvalid)
    );
    let again = NewMessage {
        group_id: Some("0".into()),
        ..message("0")
    };
    assert!(!t.store.send("q.fifo", again).await.unwrap().duplicate);
    emptied(&t).await;
    assert_eq!(t.stats("q.fifo").visible, 1);
    for (table, left) in [
        ("message", 2),
        ("ready", 2),
        ("flight", 0),
        ("lane", 1),
        ("deduplication", 1),
        ("tag", 0),
    ] {
        assert_eq!(rows(&t, table), left, "{table}");
    }
}

#[tokio::test]
async fn a_removal_goes_on_after_a_kill() {
    let t = Fixture::with(vec![]).await;
    t.create(QueueSpec::new("kept")).await.unwrap();
    t.create(QueueSpec::new("q")).await.unwrap();
    t.send("kept", "one").await;
    let senders: Vec<_> = (0..1_700)
        .map(|n| {
            let store = t.store.clone();
            tokio::spawn(async move { store.send("q", message(&n.to_string())).await.unwrap() })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    t.receive("q", 10).await;
    let queue = t.store.queue("q").unwrap();
    let mut begun = false;
    let killed = t
        .after_kills_amid(move |writer| {
            if begun {
                writer.remove_some();
            } else {
                writer.remove_queue(&queue).unwrap();
                begun = true;
            }
            !writer.removals.is_empty()
        })
        .await;
    assert!(killed.len() > 3, "a removal is not one long step");
    for t in killed.into_iter().chain([t]) {
        assert_eq!(t.store.queue_names(), ["kept"]);
        t.create(QueueSpec::new("q")).await.unwrap();
        emptied(&t).await;
        assert_eq!(rows(&t, "message"), 1);
        assert_eq!(rows(&t, "ready") + rows(&t, "flight"), 1);
        assert_eq!((t.stats("kept").visible, t.stats("q").depth()), (1, 0));
    }
}

#[tokio::test]
async fn the_number_of_a_removed_queue_is_never_given_again() {
    let mut t = Fixture::with(vec![]).await;
    let mut handles: Vec<String> = Vec::new();
    for _ in 0..4 {
        t.create(QueueSpec::new("q")).await.unwrap();
        t.send("q", "one").await;
        let held = t.receive("q", 1).await.pop().unwrap();
        for handle in &handles {
            assert_eq!(
                t.store.delete("q", handle).await,
                Err(StoreError::ReceiptHandleInvalid)
            );
        }
        handles.push(held.receipt_handle);
        t.store.delete_queue("q").await.unwrap();
        emptied(&t).await;
        t.reopen().await;
    }
    assert_eq!(rows(&t, "queue"), 1);
}

#[tokio::test]
async fn long_polls_end_when_their_queue_is_removed() {
    let t = Fixture::with(vec![]).await;
    t.create(QueueSpec::new("q")).await.unwrap();
    let store = t.store.clone();
    let waiting = tokio::spawn(async move {
        let request = Receive {
            wait: Duration::from_secs(20),
            ..Receive::default()
        };
        store.receive("q", request).await
    });
    let queue = t.store.queue("q").unwrap();
    while queue.waiting.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    t.store.delete_queue("q").await.unwrap();
    assert_eq!(
        waiting.await.unwrap(),
        Err(StoreError::UnknownQueue("q".into()))
    );
}

#[tokio::test]
async fn what_was_on_its_way_to_a_queue_that_is_removed_is_refused() {
    let t = Fixture::with(vec![]).await;
    t.create(QueueSpec::new("q")).await.unwrap();
    t.send("q", "one").await;
    let handle = t.receive("q", 1).await.pop().unwrap().receipt_handle;
    let queue = t.store.queue("q").unwrap();
    let grip = t.store.grip(&queue, &handle).unwrap();
    t.store.delete_queue("q").await.unwrap();
    let late = |reply| Job::Delete { grip, reply };
    assert_eq!(
        t.store.ask_about(&queue, late).await,
        Err(StoreError::UnknownQueue("q".into()))
    );
    let prepared = message::prepare(message("late"), &queue.spec.load()).unwrap();
    let late = t.store.ask_about(&queue, |reply| Job::Send {
        queue: queue.id,
        message: Box::new(prepared),
        reply,
    });
    assert_eq!(late.await, Err(StoreError::UnknownQueue("q".into())));
    assert_eq!(t.store.stats().health, Health::Healthy);
    assert_eq!(t.store.stats().failed_groups, 0);
}

#[tokio::test]
async fn dead_letters_stay_where_they_are_when_their_queue_is_removed() {
    let t = Fixture::with(vec![]).await;
    t.create(QueueSpec::new("dead")).await.unwrap();
    t.create(redriven("q", "dead")).await.unwrap();
    t.create(redriven("second", "q")).await.unwrap();
    t.send("q", "poison").await;
    t.receive("q", 1).await;
    t.store.delete_queue("dead").await.unwrap();
    t.advance(30);
    let again = t.receive("q", 1).await;
    assert_eq!(again[0].receive_count, 2);
    assert_eq!(t.stats("q").ledger.dead_lettered, 0);
    // Nor does it stand in the way of others, now or at the next start.
    t.store
        .change_queue(redriven("second", "q"), extra("Policy", "{}"))
        .await
        .unwrap();
    let declared = vec![redriven("third", "q")];
    assert_eq!(t.after_a_kill().store.declare(declared).await, Ok(vec![]));
    // A queue of that name takes them again.
    t.create(QueueSpec::new("dead")).await.unwrap();
    t.advance(30);
    assert!(t.receive("q", 1).await.is_empty());
    assert_eq!(bodies(&t.receive("dead", 1).await), ["poison"]);
}

#[tokio::test]
async fn tags_are_added_and_removed_within_sqs_s_limits() {
    let t = Fixture::with_queue("q").await;
    let tag = |n: usize| (format!("key {n}"), format!("value {n}"));
    let fifty: Tags = (0..50).map(tag).collect();
    t.store
        .change_tags("q", fifty.clone(), vec![])
        .await
        .unwrap();
    let more = Tags::from([tag(50)]);
    let refused = t.store.change_tags("q", more.clone(), vec![]).await;
    assert!(matches!(refused, Err(StoreError::InvalidParameter(_))));
    t.store
        .change_tags("q", more, vec!["key 0".into(), "absent".into()])
        .await
        .unwrap();
    let now: Tags = (1..51).map(tag).collect();
    assert_eq!(t.store.tags("q"), Ok(now.clone()));
    assert_eq!(t.after_a_kill().store.tags("q"), Ok(now));
    for (key, value) in [
        (String::new(), String::new()),
        ("ö".repeat(129), String::new()),
        ("key".to_owned(), "ü".repeat(257)),
    ] {
        let set = Tags::from([(key, value)]);
        let removed = (0..51).map(|n| format!("key {n}")).collect();
        let refused = t.store.change_tags("q", set, removed).await;
        assert!(matches!(refused, Err(StoreError::InvalidParameter(_))));
    }
    let unknown = StoreError::UnknownQueue("x".into());
    assert_eq!(t.store.tags("x"), Err(unknown.clone()));
    let set = t.store.change_tags("x", Tags::new(), vec![]).await;
    assert_eq!(set, Err(unknown));
}

#[tokio::test]
async fn a_file_that_is_opened_again_says_which_queues_there_are() {
    let t = Fixture::with(vec![]).await;
    for name in ["gone", "changed", "lost"] {
        t.create(QueueSpec::new(name)).await.unwrap();
        t.send(name, "one").await;
    }
    let polled = t.store.queue("gone").unwrap();
    // Commits of which the writer believes that they failed.
    let path = t.path();
    let order = t.store.order(move |writer| {
        writer.disconnect("a test", Some(Duration::ZERO));
        let file = rusqlite::Connection::open(path).unwrap();
        file.execute_batch(
            "UPDATE queue SET name = 'removed:' || id, role = 3 WHERE name = 'gone';
             UPDATE queue SET visibility_ms = 1000 WHERE name = 'changed';
             INSERT INTO queue (name, declared, fifo, content_based, lifo, visibility_ms, delay_ms, max_message_size,
                 created_at, origin) VALUES ('made', 0, 0, 0, 0, 30000, 0, 1000, 0, 1);
             DELETE FROM queue WHERE name = 'lost';",
        )
        .unwrap();
        Ok::<_, StoreError>(())
    });
    order.await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while t.store.queue_names() != ["changed", "made"] {
        assert!(Instant::now() < deadline, "{:?}", t.store.queue_names());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(polled.removed.is_cancelled());
    for queue in ["gone", "lost"] {
        let refused = t.store.send(queue, message("late")).await;
        assert_eq!(refused, Err(StoreError::UnknownQueue(queue.into())));
    }
    let spec = t.store.queue_facts("changed").unwrap().spec;
    assert_eq!(spec.visibility_timeout, Duration::from_secs(1));
    t.send("made", "one").await;
    assert_eq!(t.stats("made").visible, 1);
    assert_eq!(bodies(&t.receive("changed", 1).await), ["one"]);
    emptied(&t).await;
    assert_eq!(t.store.stats().health, Health::Healthy);
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date() {
    let mut t = Fixture::with_queue("q").await;
    t.send("q", "kept").await;
    t.store.close().await;
    let file = rusqlite::Connection::open(t.path()).unwrap();
    file.execute_batch(
        "ALTER TABLE queue DROP COLUMN modified_at; ALTER TABLE queue DROP COLUMN role;
         ALTER TABLE queue DROP COLUMN origin; ALTER TABLE queue DROP COLUMN extra;
         DROP TABLE tag; DROP TABLE death; DROP TABLE move_task; DROP TABLE idempotency;
         DROP TABLE usage; DROP TABLE key_state; DROP TABLE deployment; DROP TABLE stage;
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(file);
    t.reopen().await;
    let facts = t.store.queue_facts("q").unwrap();
    assert!(facts.declared);
    assert_eq!(
        (facts.created_at, facts.modified_at),
        (START / 1000, START / 1000)
    );
    assert_eq!(bodies(&t.receive("q", 1).await), ["kept"]);
    t.create(QueueSpec::new("made")).await.unwrap();
    assert_eq!(t.after_a_kill().store.queue_names(), ["made", "q"]);
}
