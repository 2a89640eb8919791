//! The ledger's arithmetic.

use super::super::place::Destination;
use super::*;

const SEED: u64 = 1;

fn route(tag: &str, label: &str) -> DrillRoute {
    DrillRoute::for_tests(Destination::of(tag, label).unwrap())
}

fn id(number: u32) -> Id {
    Id { client: 0, number }
}

fn acknowledged(number: u32, sent: u64, tick: u64) -> Sent {
    let durability = Durability::Target;
    Sent {
        id: id(number),
        route: 0,
        tick: sent,
        told: Told::Acknowledged { durability, tick },
    }
}

fn refused(number: u32, sent: u64) -> Sent {
    Sent {
        told: Told::Refused {
            status: 503,
            code: "store_full".to_owned(),
        },
        ..acknowledged(number, sent, 0)
    }
}

fn unanswered(number: u32, sent: u64) -> Sent {
    Sent {
        told: Told::Nothing,
        ..acknowledged(number, sent, 0)
    }
}

fn fifo() -> Place {
    Place::new(Service::Sqs, "orders.fifo")
}

/// Records that appeared in that order, all in one group.
fn appeared(place: &Place, numbers: &[u32]) -> Seen {
    let mut seen = Seen::default();
    for (tick, number) in (100..).zip(numbers) {
        seen.note(place, id(*number), Some("g"), false, tick);
    }
    seen
}

fn fifo_ledger(sent: &[Sent], order: &[u32]) -> Ledger {
    let routes = [route("SQS-SendMessage", "orders.fifo")];
    balance(SEED, &routes, sent, &appeared(&fifo(), order))
}

#[test]
fn an_acknowledged_record_that_is_nowhere_is_lost_and_named() {
    let ledger = fifo_ledger(&[acknowledged(1, 1, 2), acknowledged(2, 3, 4)], &[2]);
    assert_eq!((ledger.total.lost, ledger.total.found), (1, 1));
    assert_eq!(ledger.lost[0].id, "drill-1-0-1");
    assert_eq!(ledger.lost[0].missing, ["SQS orders.fifo"]);
}

#[test]
fn a_record_in_another_place_than_its_own_is_lost() {
    let routes = [route("SQS-SendMessage", "orders.fifo")];
    let seen = appeared(&Place::new(Service::Sqs, "other"), &[1]);
    let ledger = balance(SEED, &routes, &[acknowledged(1, 1, 2)], &seen);
    assert_eq!(ledger.total.lost, 1);
}

#[test]
fn a_record_of_a_fan_out_has_to_be_everywhere() {
    let mut route = route("SQS-SendMessage", "orders.fifo");
    route
        .destinations
        .extend(Destination::of("Kinesis-PutRecord", "clicks"));
    let seen = appeared(&fifo(), &[1]);
    let ledger = balance(SEED, &[route], &[acknowledged(1, 1, 2)], &seen);
    assert_eq!(ledger.lost[0].missing, ["Kinesis clicks"]);
}

#[test]
fn what_was_refused_or_not_answered_is_not_missed_and_is_counted_where_it_is_there() {
    let sent = [
        refused(1, 1),
        unanswered(2, 2),
        refused(3, 3),
        unanswered(4, 4),
    ];
    let ledger = fifo_ledger(&sent, &[1, 2]);
    let total = &ledger.total;
    assert_eq!((total.refused, total.unanswered), (2, 2));
    assert_eq!((total.stored_unsaid, total.lost, total.found), (2, 0, 2));
    assert_eq!(ledger.refusals["store_full"], 2);
}

#[test]
fn every_appearance_beyond_the_first_is_a_duplicate() {
    let ledger = fifo_ledger(
        &[acknowledged(1, 1, 2), acknowledged(2, 3, 4)],
        &[1, 2, 1, 1],
    );
    assert_eq!((ledger.total.duplicates, ledger.total.lost), (2, 0));
    assert_eq!(
        ledger.total.order_violations, 0,
        "a late duplicate is no violation"
    );
}

#[test]
fn what_waits_in_a_spool_or_lies_in_the_dead_letters_is_not_lost() {
    let mut seen = appeared(&Place::new(Service::Spool, "x"), &[1]);
    let dead = Place::new(Service::DeadLetters, "x");
    seen.note(&dead, id(2), None, false, 1);
    let routes = [route("SQS-SendMessage", "orders.fifo")];
    let sent = [acknowledged(1, 1, 2), acknowledged(2, 3, 4)];
    let total = balance(SEED, &routes, &sent, &seen).total;
    assert_eq!((total.still_spooled, total.in_dead_letters), (1, 1));
    assert_eq!((total.lost, total.found), (0, 2));
}

#[test]
fn a_record_that_overtakes_an_acknowledged_one_violates_the_order() {
    let sent = [
        acknowledged(1, 1, 2),
        acknowledged(2, 3, 4),
        acknowledged(3, 5, 6),
    ];
    assert_eq!(fifo_ledger(&sent, &[1, 2, 3]).total.order_violations, 0);
    let ledger = fifo_ledger(&sent, &[2, 3, 1]);
    assert_eq!(ledger.total.order_violations, 2);
    assert!(
        ledger
            .overtaken
            .iter()
            .all(|one| one.before == "drill-1-0-1")
    );
}

#[test]
fn concurrent_records_have_no_order() {
    // The second was sent before the first was acknowledged.
    let sent = [acknowledged(1, 1, 4), acknowledged(2, 3, 5)];
    assert_eq!(fifo_ledger(&sent, &[2, 1]).total.order_violations, 0);
    // What was never acknowledged may come at any time.
    let sent = [unanswered(1, 1), acknowledged(2, 3, 5)];
    assert_eq!(fifo_ledger(&sent, &[2, 1]).total.order_violations, 0);
}

#[test]
fn groups_keep_no_order_with_each_other_and_routes_do_when_they_ask() {
    let sent = [acknowledged(1, 1, 2), acknowledged(2, 3, 4)];
    let mut seen = Seen::default();
    seen.note(&fifo(), id(2), Some("b"), false, 100);
    seen.note(&fifo(), id(1), Some("a"), false, 101);
    let mut route = route("SQS-SendMessage", "orders.fifo");
    let of = |route: &DrillRoute| {
        let ledger = balance(SEED, std::slice::from_ref(route), &sent, &seen);
        ledger.total.order_violations
    };
    assert_eq!(of(&route), 0);
    route.order = Order::Route;
    assert_eq!(of(&route), 1);
}

#[test]
fn a_partition_key_keeps_no_order_where_the_route_asks_for_none() {
    let place = Place::new(Service::Kinesis, "clicks");
    let sent = [acknowledged(1, 1, 2), acknowledged(2, 3, 4)];
    let mut route = route("Kinesis-PutRecord", "clicks");
    let seen = appeared(&place, &[2, 1]);
    let of = |route: &DrillRoute| {
        let ledger = balance(SEED, std::slice::from_ref(route), &sent, &seen);
        ledger.total.order_violations
    };
    assert_eq!(of(&route), 1);
    route.order = Order::None;
    assert_eq!(of(&route), 0);
}

#[test]
fn altered_bytes_are_counted() {
    let mut seen = Seen::default();
    seen.note(&fifo(), id(1), None, true, 1);
    let routes = [route("SQS-SendMessage", "orders.fifo")];
    let ledger = balance(SEED, &routes, &[acknowledged(1, 1, 2)], &seen);
    assert_eq!(ledger.total.altered, 1);
}

#[test]
fn an_acknowledgement_that_came_before_the_target_had_the_record_is_premature() {
    // The records appear at 100 and 101.
    let sent = [acknowledged(1, 1, 102), acknowledged(2, 3, 50)];
    assert_eq!(fifo_ledger(&sent, &[1, 2]).total.premature, 1);
    let spooled = Sent {
        told: Told::Acknowledged {
            durability: Durability::Spooled,
            tick: 50,
        },
        ..acknowledged(1, 1, 0)
    };
    assert_eq!(fifo_ledger(&[spooled], &[1]).total.premature, 0);
}
