//! Tasks that move messages out of dead-letter queues.

use super::*;

fn redriven(name: &str, to: &str) -> QueueSpec {
    QueueSpec {
        redrive: Some(Redrive {
            to: to.into(),
            max_receive_count: 1,
        }),
        ..QueueSpec::new(name)
    }
}

fn fifo(spec: QueueSpec) -> QueueSpec {
    QueueSpec {
        content_based_deduplication: true,
        ..spec
    }
}

fn grouped(group: &str, body: &str) -> NewMessage {
    NewMessage {
        group_id: Some(group.into()),
        ..message(body)
    }
}

pub(super) fn from(source: &str) -> NewMove {
    NewMove {
        source: source.into(),
        ..NewMove::default()
    }
}

impl Fixture {
    /// Queues `a` and `b`, whose dead letters go to `dead`, and `other`.
    async fn with_dead_letters() -> Fixture {
        Fixture::with(vec![
            redriven("a", "dead"),
            redriven("b", "dead"),
            QueueSpec::new("dead"),
            QueueSpec::new("other"),
        ])
        .await
    }

    /// Sends messages, and lets them fail.
    async fn bury(&self, queue: &str, bodies: &[&str]) {
        for body in bodies {
            self.send(queue, body).await;
        }
        self.fail_all(queue).await;
    }

    async fn fail_all(&self, queue: &str) {
        while !self.receive(queue, 10).await.is_empty() {}
        self.advance(31);
        assert!(self.receive(queue, 10).await.is_empty());
    }

    async fn last_move(&self, source: &str) -> MoveTask {
        self.store.moves(source).await.unwrap().remove(0)
    }

    /// The source's last task, once it has ended. Each question gives the writer a turn.
    async fn ended(&self, source: &str) -> MoveTask {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let task = self.last_move(source).await;
            if !matches!(task.state, MoveState::Running | MoveState::Cancelling) {
                return task;
            }
            assert!(Instant::now() < deadline, "{task:?}");
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn completed(&self, task: NewMove) -> MoveTask {
        let source = task.source.clone();
        let handle = self.store.start_move(task).await.unwrap();
        let task = self.ended(&source).await;
        assert_eq!(task.handle, handle);
        assert_eq!(task.state, MoveState::Completed, "{task:?}");
        task
    }

    fn numbers(&self, queue: &str) -> Vec<i64> {
        let file = rusqlite::Connection::open(self.directory.path().join("store.db")).unwrap();
        let mut statement = file
            .prepare("SELECT r.seq FROM ready r JOIN queue q ON q.id = r.queue WHERE q.name = ?1")
            .unwrap();
        let numbers = statement.query_map([queue], |row| row.get(0)).unwrap();
        numbers.map(Result::unwrap).collect()
    }
}

#[tokio::test]
async fn dead_letters_go_back_to_where_they_came_from_as_new_messages() {
    let t = Fixture::with_dead_letters().await;
    let sent = t.send("a", "1").await;
    t.bury("a", &["2"]).await;
    t.bury("b", &["3"]).await;
    t.send("a", "later").await;
    assert_eq!(t.stats("dead").visible, 3);
    let task = t.completed(from("dead")).await;
    assert_eq!((task.moved, task.to_move), (3, 3));
    assert_eq!(task.started_at, START + 62_000);
    assert_eq!((task.source.as_str(), task.destination), ("dead", None));
    let back = t.receive("a", 10).await;
    assert_eq!(bodies(&back), ["later", "1", "2"], "they come last");
    assert_eq!(back[1].message_id, sent.message_id);
    assert_eq!(back[1].receive_count, 1);
    assert_eq!(back[1].dead_letter_source, None);
    assert_eq!(bodies(&t.receive("b", 10).await), ["3"]);
    let dead = t.stats("dead").ledger;
    assert_eq!((dead.imported, dead.forwarded), (3, 3));
    let a = t.stats("a").ledger;
    assert_eq!((a.accepted, a.dead_lettered, a.imported), (3, 2, 2));
    assert_eq!(t.stats("dead").bytes, 0);
    assert_eq!(t.stats("a").bytes, 7);
    // They may fail again, and be moved again.
    t.fail_all("b").await;
    let again = t.receive("dead", 1).await;
    assert_eq!(again[0].dead_letter_source.as_deref(), Some("b"));
}

#[tokio::test]
async fn retention_begins_anew_with_the_move() {
    let short = |spec| QueueSpec {
        retention: Some(Duration::from_secs(100)),
        ..spec
    };
    let t = Fixture::with(vec![
        short(redriven("a", "dead")),
        short(QueueSpec::new("dead")),
    ])
    .await;
    t.bury("a", &["1", "2"]).await;
    t.advance(60);
    let first = t.numbers("dead")[..1].to_vec();
    let task = NewMove {
        only: Some(first),
        ..from("dead")
    };
    t.completed(task).await;
    t.advance(9);
    t.store.look().await.unwrap();
    assert_eq!(
        t.stats("dead").ledger.expired,
        1,
        "in a dead-letter queue, age counts from the sending"
    );
    t.advance(90);
    t.store.look().await.unwrap();
    assert_eq!(t.stats("a").visible, 1);
    t.advance(1);
    t.store.look().await.unwrap();
    assert_eq!(t.stats("a").ledger.expired, 1);
}

#[tokio::test]
async fn a_destination_takes_them_all_and_is_their_source_from_then_on() {
    let slow = QueueSpec {
        delay: Duration::from_secs(5),
        ..redriven("other", "dead")
    };
    let t = Fixture::with(vec![
        redriven("a", "dead"),
        redriven("b", "dead"),
        QueueSpec::new("dead"),
        slow,
    ])
    .await;
    t.bury("a", &["1"]).await;
    t.bury("b", &["2"]).await;
    let task = NewMove {
        destination: Some("other".into()),
        ..from("dead")
    };
    let task = t.completed(task).await;
    assert_eq!(task.destination.as_deref(), Some("other"));
    assert_eq!(t.stats("other").delayed, 2);
    t.advance(5);
    t.fail_all("other").await;
    let dead = t.receive("dead", 10).await;
    assert_eq!(bodies(&dead), ["1", "2"]);
    assert_eq!(dead[0].dead_letter_source.as_deref(), Some("other"));
}

#[tokio::test]
async fn a_group_goes_back_in_order_and_behind_what_the_group_has_now() {
    let t = Fixture::with(vec![
        fifo(redriven("q.fifo", "dead.fifo")),
        fifo(QueueSpec::new("dead.fifo")),
    ])
    .await;
    for (group, body) in [("g", "1"), ("h", "2"), ("g", "3")] {
        t.store.send("q.fifo", grouped(group, body)).await.unwrap();
    }
    t.fail_all("q.fifo").await;
    t.store.send("q.fifo", grouped("g", "4")).await.unwrap();
    // What is in flight stays, and so does what comes after it in its group.
    let held = t.receive("dead.fifo", 1).await;
    assert_eq!(bodies(&held), ["1"]);
    assert_eq!(t.completed(from("dead.fifo")).await.moved, 1);
    t.advance(30);
    assert_eq!(t.completed(from("dead.fifo")).await.moved, 2);
    let back = t.receive("q.fifo", 10).await;
    assert_eq!(bodies(&back), ["4", "1", "3", "2"]);
    let sequence = |at: usize| back[at].sequence_number.clone();
    assert!(sequence(0) < sequence(1) && sequence(1) < sequence(2));
    assert_eq!(t.stats("dead.fifo").depth(), 0);
}

#[tokio::test]
async fn a_delayed_group_is_not_overtaken() {
    let slow = QueueSpec {
        delay: Duration::from_secs(60),
        ..fifo(redriven("q.fifo", "dead.fifo"))
    };
    let dead = fifo(QueueSpec::new("dead.fifo"));
    let t = Fixture::with(vec![fifo(redriven("q.fifo", "dead.fifo")), dead]).await;
    t.store.send("q.fifo", grouped("g", "1")).await.unwrap();
    t.fail_all("q.fifo").await;
    t.store.change_queue(slow, Extra::new()).await.unwrap();
    t.store.send("q.fifo", grouped("g", "2")).await.unwrap();
    let quick = fifo(redriven("q.fifo", "dead.fifo"));
    t.store.change_queue(quick, Extra::new()).await.unwrap();
    t.completed(from("dead.fifo")).await;
    assert!(t.receive("q.fifo", 10).await.is_empty());
    t.advance(60);
    assert_eq!(bodies(&t.receive("q.fifo", 10).await), ["2", "1"]);
}

#[tokio::test]
async fn what_cannot_be_moved_is_refused_before_it_begins() {
    let t = Fixture::with(vec![
        redriven("a", "dead"),
        QueueSpec::new("dead"),
        QueueSpec::new("q.fifo"),
        QueueSpec::new("idle"),
    ])
    .await;
    let start = |task: NewMove| t.store.start_move(task);
    let to = |name: &str| NewMove {
        destination: Some(name.into()),
        ..from("dead")
    };
    let unknown = |name: &str| Err(StoreError::UnknownQueue(name.into()).into());
    assert_eq!(start(from("nowhere")).await, unknown("nowhere"));
    assert_eq!(start(to("nowhere")).await, unknown("nowhere"));
    assert_eq!(
        start(from("idle")).await,
        Err(MoveError::NotADeadLetterQueue)
    );
    let explicit = NewMove {
        destination: Some("a".into()),
        ..from("idle")
    };
    assert_eq!(start(explicit).await, Err(MoveError::NotADeadLetterQueue));
    for task in [
        to("dead"),
        to("q.fifo"),
        NewMove {
            max_per_second: Some(0),
            ..from("dead")
        },
        NewMove {
            max_per_second: Some(501),
            ..from("dead")
        },
    ] {
        let answer = start(task.clone()).await;
        assert!(matches!(answer, Err(MoveError::Invalid(_))), "{task:?}");
    }
    assert_eq!(t.store.moves("dead").await, Ok(vec![]));
    let moves = t.store.moves("nowhere").await;
    assert_eq!(moves, Err(StoreError::UnknownQueue("nowhere".into())));
    assert_eq!(t.store.dead_letter_sources("dead"), ["a"]);
    assert!(t.store.dead_letter_sources("a").is_empty());
}

#[tokio::test]
async fn what_becomes_visible_while_the_task_runs_is_moved_and_what_comes_later_is_not() {
    let t = Fixture::with_dead_letters().await;
    t.bury("a", &["1", "2", "3"]).await;
    let held = t.receive("dead", 1).await;
    let slow = NewMove {
        max_per_second: Some(1),
        destination: Some("other".into()),
        ..from("dead")
    };
    t.store.start_move(slow).await.unwrap();
    assert_eq!(t.last_move("dead").await.to_move, 2);
    t.send("dead", "after the start").await;
    let handle = &held[0].receipt_handle;
    t.store
        .change_visibility("dead", handle, Duration::ZERO)
        .await
        .unwrap();
    for _ in 0..5 {
        t.advance(1);
        t.store.look().await.unwrap();
    }
    let task = t.ended("dead").await;
    assert_eq!((task.state, task.moved), (MoveState::Completed, 3));
    assert_eq!(bodies(&t.receive("dead", 10).await), ["after the start"]);
    assert_eq!(t.stats("other").visible, 3);
}

#[tokio::test]
async fn only_what_was_asked_for_is_moved() {
    let t = Fixture::with_dead_letters().await;
    let all: Vec<String> = (0..450).map(|n| n.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    t.bury("a", &all).await;
    let mut numbers = t.numbers("dead");
    numbers.retain(|number| number % 2 == 0);
    numbers.push(1 << 40);
    let task = NewMove {
        only: Some(numbers.clone()),
        ..from("dead")
    };
    let task = t.completed(task).await;
    assert_eq!((task.moved, task.to_move), (225, 226));
    assert_eq!(t.stats("a").visible, 225);
    assert!(t.numbers("dead").iter().all(|number| number % 2 == 1));
    let none = NewMove {
        only: Some(numbers),
        ..from("dead")
    };
    assert_eq!(
        t.completed(none).await.moved,
        0,
        "a number is not used twice"
    );
}

#[tokio::test]
async fn only_some_of_a_group_are_moved_too() {
    let t = Fixture::with(vec![
        fifo(redriven("q.fifo", "dead.fifo")),
        fifo(QueueSpec::new("dead.fifo")),
    ])
    .await;
    for (group, body) in [("g", "1"), ("h", "2"), ("g", "3"), ("h", "4")] {
        t.store.send("q.fifo", grouped(group, body)).await.unwrap();
    }
    t.fail_all("q.fifo").await;
    let task = NewMove {
        // The whole of one group and a part of another, in no order.
        only: Some(vec![3, 2, 1]),
        ..from("dead.fifo")
    };
    assert_eq!(t.completed(task).await.moved, 3);
    assert_eq!(bodies(&t.receive("q.fifo", 10).await), ["3", "1", "2"]);
    assert_eq!(bodies(&t.receive("dead.fifo", 10).await), ["4"]);
}

#[tokio::test]
async fn no_more_is_moved_in_a_second_than_the_task_may() {
    let t = Fixture::with_dead_letters().await;
    let all: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    t.bury("a", &all).await;
    let slow = NewMove {
        max_per_second: Some(10),
        ..from("dead")
    };
    t.store.start_move(slow.clone()).await.unwrap();
    assert_eq!(t.store.start_move(slow).await, Err(MoveError::Running));
    for tenths in 1..=20 {
        t.clock.advance(Duration::from_millis(100));
        t.store.look().await.unwrap();
        let moved = t.last_move("dead").await.moved;
        assert!((tenths..=tenths + 1).contains(&moved), "{tenths}: {moved}");
    }
    let t = t.after_a_kill();
    let before = t.last_move("dead").await;
    assert_eq!(before.state, MoveState::Running);
    assert_eq!(before.max_per_second, Some(10));
    assert!((20..=22).contains(&before.moved), "{before:?}");
    // Time in which nothing could be moved is not made up for.
    t.advance(3_600);
    t.store.look().await.unwrap();
    let after = t.last_move("dead").await.moved;
    assert!(after <= before.moved + 11, "{after}");
}

#[tokio::test]
async fn a_task_can_be_ended_and_says_how_much_it_has_moved() {
    let t = Fixture::with_dead_letters().await;
    t.bury("a", &["1", "2", "3"]).await;
    let slow = NewMove {
        max_per_second: Some(1),
        ..from("dead")
    };
    let handle = t.store.start_move(slow).await.unwrap();
    t.store.look().await.unwrap();
    assert_eq!(t.store.cancel_move(&handle).await, Ok(1));
    let task = t.ended("dead").await;
    assert_eq!((task.state, task.moved), (MoveState::Cancelled, 1));
    assert_eq!((t.stats("a").visible, t.stats("dead").visible), (1, 2));
    for handle in [handle.as_str(), "no such handle"] {
        let answer = t.store.cancel_move(handle).await;
        assert_eq!(answer, Err(MoveError::NoSuchTask));
    }
    // Another may begin.
    assert_eq!(t.completed(from("dead")).await.moved, 2);
}

#[tokio::test]
async fn a_task_that_cannot_go_on_fails_and_says_why() {
    let t = Fixture::with(vec![QueueSpec::new("dead")]).await;
    let made = |spec| t.store.create_queue(spec, Extra::new(), Tags::new());
    made(redriven("a", "dead")).await.unwrap();
    made(redriven("b", "dead")).await.unwrap();
    made(QueueSpec {
        max_size: Some(1),
        ..QueueSpec::new("small")
    })
    .await
    .unwrap();
    t.bury("a", &["1", "2"]).await;
    let start = async |destination: Option<&str>| {
        let task = NewMove {
            destination: destination.map(str::to_owned),
            ..from("dead")
        };
        t.store.start_move(task).await.unwrap();
        let task = t.ended("dead").await;
        assert_eq!(task.state, MoveState::Failed, "{task:?}");
        (task.moved, task.failure.unwrap())
    };
    let (moved, failure) = start(Some("small")).await;
    assert_eq!(moved, 1);
    assert!(failure.contains("\"small\" is full"), "{failure}");
    t.store.delete_queue("a").await.unwrap();
    let (moved, failure) = start(None).await;
    assert_eq!(moved, 0);
    assert!(failure.contains("NonExistentQueue"), "{failure}");
    t.store.purge("dead").await.unwrap();
    t.send("dead", "by hand").await;
    let (_, failure) = start(None).await;
    assert!(
        failure.starts_with("CouldNotDetermineMessageSource"),
        "{failure}"
    );
    assert_eq!(t.stats("dead").visible, 1);
    assert_eq!(t.store.stats().failed_groups, 0);
}

#[tokio::test]
async fn a_task_ends_when_a_queue_of_it_is_removed() {
    let t = Fixture::with(vec![]).await;
    for spec in [
        QueueSpec::new("dead"),
        redriven("a", "dead"),
        QueueSpec::new("other"),
    ] {
        t.store
            .create_queue(spec, Extra::new(), Tags::new())
            .await
            .unwrap();
    }
    t.bury("a", &["1", "2", "3"]).await;
    let slow = NewMove {
        destination: Some("other".into()),
        max_per_second: Some(1),
        ..from("dead")
    };
    t.store.start_move(slow.clone()).await.unwrap();
    t.store.look().await.unwrap();
    t.store.delete_queue("other").await.unwrap();
    t.advance(1);
    let task = t.ended("dead").await;
    assert_eq!((task.state, task.moved), (MoveState::Failed, 1));
    let slow = NewMove {
        destination: Some("a".into()),
        ..slow
    };
    t.store.start_move(slow).await.unwrap();
    t.store.delete_queue("dead").await.unwrap();
    t.advance(5);
    t.store.look().await.unwrap();
    assert!(t.stats("a").visible <= 1);
    assert_eq!(t.store.stats().health, Health::Healthy);
    assert_eq!(t.store.stats().failed_groups, 0);
}

#[tokio::test]
async fn the_last_ten_tasks_are_remembered_newest_first() {
    let mut t = Fixture::with_dead_letters().await;
    let mut handles = Vec::new();
    for _ in 0..12 {
        handles.push(t.completed(from("dead")).await.handle);
        t.advance(1);
    }
    handles.reverse();
    handles.truncate(10);
    t.reopen().await;
    let tasks = t.store.moves("dead").await.unwrap();
    let seen: Vec<&str> = tasks.iter().map(|task| task.handle.as_str()).collect();
    assert_eq!(seen, handles);
}

#[tokio::test]
async fn a_task_goes_on_after_a_kill_and_every_message_is_in_one_place() {
    const ALL: u64 = 900;
    let t = Fixture::with_dead_letters().await;
    let senders: Vec<_> = (0..ALL)
        .map(|n| {
            let store = t.store.clone();
            tokio::spawn(async move { store.send("a", message(&n.to_string())).await.unwrap() })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    t.fail_all("a").await;
    let mut begun = false;
    let killed = t
        .after_kills_amid(move |writer| {
            if begun {
                writer.move_some();
            } else {
                writer.start_move(&from("dead")).unwrap();
                begun = true;
            }
            !writer.moves.is_empty()
        })
        .await;
    assert!(killed.len() > 3, "a move is not one long step");
    for t in killed {
        let (dead, back) = (t.stats("dead"), t.stats("a"));
        assert_eq!(dead.visible + back.visible, ALL);
        let task = t.ended("dead").await;
        assert_eq!((task.state, task.moved), (MoveState::Completed, ALL));
        assert_eq!((t.stats("dead").depth(), t.stats("a").visible), (0, ALL));
        let numbers: std::collections::HashSet<i64> = t.numbers("a").into_iter().collect();
        assert_eq!(numbers.len() as u64, ALL);
        assert_eq!(bodies(&t.receive("a", 3).await), ["0", "1", "2"]);
    }
}

#[tokio::test]
async fn a_damaged_dead_letter_is_set_aside_and_the_others_move() {
    let mut t = Fixture::with_dead_letters().await;
    t.bury("a", &["1", "2", "3"]).await;
    t.store.close().await;
    let file = rusqlite::Connection::open(t.directory.path().join("store.db")).unwrap();
    file.execute("UPDATE message SET body = x'78' WHERE body = x'32'", [])
        .unwrap();
    drop(file);
    t.reopen().await;
    assert_eq!(t.completed(from("dead")).await.moved, 2);
    assert_eq!(t.stats("dead").ledger.damaged, 1);
    assert_eq!(bodies(&t.receive("a", 10).await), ["1", "3"]);
}
