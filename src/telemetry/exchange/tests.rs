use std::io::Read as _;

use super::*;
use crate::telemetry::access_log::Destination;
use crate::telemetry::{AccessLog, Metrics};

struct Fixture {
    telemetry: Arc<Telemetry>,
    file: tempfile::NamedTempFile,
}

impl Fixture {
    fn new() -> Fixture {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metrics = Metrics::new();
        let log = AccessLog::open(
            &Destination::File(file.path().to_owned()),
            LogFormat::Json,
            metrics.clone(),
        )
        .unwrap();
        Fixture {
            telemetry: Telemetry::new(metrics, log),
            file,
        }
    }

    fn open(&self) -> Exchange {
        let (head, ()) = http::Request::post("/orders?apiKey=hidden")
            .header("user-agent", "t\"1")
            .body(())
            .unwrap()
            .into_parts();
        let any = "127.0.0.1:1".parse().unwrap();
        let peer = Arc::new(Peer::tcp(any, any, "public"));
        let mut exchange = Exchange::open(
            self.telemetry.clone(),
            Arc::new(Call::new(head, peer)),
            "shop".into(),
            "$default".into(),
        );
        let key = Name("POST /orders".into());
        let meters = self.telemetry.metrics.route(&key, "Mock");
        exchange.routed(Arc::new(RouteFacts {
            api: "shop".into(),
            stage: "$default".into(),
            label: key.clone(),
            key,
            integration: "Mock",
            meters,
        }));
        exchange
    }

    /// The lines that were written; ends the log.
    fn lines(self) -> Vec<serde_json::Value> {
        let Fixture {
            telemetry,
            mut file,
        } = self;
        drop(Arc::try_unwrap(telemetry).expect("every exchange has ended"));
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn refusal(phase: Phase) -> Refusal {
    Refusal {
        phase,
        code: Code::TargetUnavailable,
        status: 503,
        cause: "refused".into(),
    }
}

#[test]
fn a_stored_request_ends_once_and_its_line_holds_every_phase_that_ran() {
    let fixture = Fixture::new();
    let mut exchange = fixture.open();
    exchange.passed(Phase::Route);
    exchange.received(5);
    exchange.answered(
        TargetFacts {
            message_id: Some("m-1".into()),
            durability: Some("target"),
            ..TargetFacts::default()
        },
        true,
    );
    exchange.passed(Phase::Store);
    exchange.close(Some(202), 30);
    let lines = fixture.lines();
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!(
        (&line["outcome"], &line["status"], &line["path"]),
        (&"stored".into(), &202.into(), &"/orders".into())
    );
    assert_eq!(line["userAgent"], "t\"1");
    assert_eq!(line["phases"]["store"]["status"], 200);
    assert!(line["phases"].get("map").is_none());
    assert!(
        !line.to_string().contains("hidden"),
        "the query may hold a key"
    );
}

#[test]
fn a_vanished_client_is_gone_and_counted_once() {
    let fixture = Fixture::new();
    drop(fixture.open());
    let metrics = fixture.telemetry.metrics.clone();
    let lines = fixture.lines();
    assert_eq!(
        (lines.len(), &lines[0]["outcome"], &lines[0]["status"]),
        (1, &"gone".into(), &serde_json::Value::Null)
    );
    assert_eq!(metrics.received.get(), 1);
}

#[test]
fn a_client_that_vanishes_while_its_payload_is_stored_ends_as_stored_with_a_lost_answer() {
    for done_first in [false, true] {
        let fixture = Fixture::new();
        let mut exchange = fixture.open();
        let ticket = exchange.hand_over();
        let stored = Ok(TargetFacts {
            message_id: Some("m-1".into()),
            ..TargetFacts::default()
        });
        if done_first {
            ticket.done(stored);
            drop(exchange);
        } else {
            drop(exchange);
            ticket.done(stored);
        }
        drop(ticket);
        let metrics = fixture.telemetry.metrics.clone();
        let lines = fixture.lines();
        assert_eq!(
            (lines.len(), &lines[0]["outcome"], &lines[0]["answerLost"]),
            (1, &"stored".into(), &true.into())
        );
        assert_eq!(metrics.answers_lost.get(), 1);
    }
}

#[test]
fn a_client_that_vanishes_from_a_call_that_fails_is_gone() {
    let fixture = Fixture::new();
    let mut exchange = fixture.open();
    let ticket = exchange.hand_over();
    drop(exchange);
    ticket.done(Err(refusal(Phase::Store)));
    drop(ticket);
    let lines = fixture.lines();
    assert_eq!(
        (lines.len(), &lines[0]["outcome"], &lines[0]["code"]),
        (1, &"gone".into(), &"target_unavailable".into())
    );
}

#[test]
fn a_vanished_client_whose_payload_may_be_stored_is_not_gone() {
    for cut_off in [false, true] {
        let fixture = Fixture::new();
        let mut exchange = fixture.open();
        let ticket = exchange.hand_over();
        drop(exchange);
        if !cut_off {
            let unknown = Code::OutcomeUnknown;
            ticket.done(Err(Refusal {
                code: unknown,
                ..refusal(Phase::Store)
            }));
        }
        drop(ticket);
        let lines = fixture.lines();
        assert_eq!(
            (&lines[0]["outcome"], &lines[0]["code"]),
            (&"rejected".into(), &"outcome_unknown".into())
        );
        assert!(lines[0].get("answerLost").is_none());
    }
}

#[test]
fn a_failure_inside_a_success_counts_as_refused_whatever_the_status() {
    let fixture = Fixture::new();
    let mut exchange = fixture.open();
    exchange.refuse(refusal(Phase::Store));
    exchange.passed(Phase::Store);
    exchange.close(Some(200), 10);
    let lines = fixture.lines();
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["status"]),
        (&"rejected".into(), &200.into())
    );
    assert_eq!(lines[0]["phases"]["store"]["status"], 503);
}

#[test]
fn the_refusing_phase_holds_the_error_too() {
    let fixture = Fixture::new();
    let mut exchange = fixture.open();
    exchange.refuse(refusal(Phase::Store));
    exchange.close(Some(503), 10);
    assert_eq!(fixture.lines()[0]["phases"]["store"]["error"], "refused");
}

#[test]
fn a_refusal_names_its_phase_and_what_never_became_a_request_is_counted_too() {
    let fixture = Fixture::new();
    let mut exchange = fixture.open();
    exchange.refuse(refusal(Phase::Store));
    exchange.close(Some(503), 10);
    let any = "127.0.0.1:1".parse().unwrap();
    let peer = Arc::new(Peer::tcp(any, any, "public"));
    let refused = Refusal {
        phase: Phase::Listen,
        code: Code::Malformed,
        status: 400,
        cause: "bad request line".into(),
    };
    let names = ("shop".into(), "$default".into());
    Exchange::malformed(
        fixture.telemetry.clone(),
        peer,
        RequestId::mint(),
        Some(400),
        refused,
        names,
    );
    let lines = fixture.lines();
    assert_eq!(
        (
            &lines[0]["outcome"],
            &lines[0]["phase"],
            &lines[0]["phases"]["store"]["status"]
        ),
        (&"rejected".into(), &"store".into(), &503.into())
    );
    assert_eq!(
        (&lines[1]["code"], &lines[1]["phase"], &lines[1]["status"]),
        (&"malformed".into(), &"listen".into(), &400.into())
    );
    assert_eq!(lines[1]["requestId"].as_str().unwrap().len(), 32);
}
