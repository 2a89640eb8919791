//! A canary's way under good, bad and no traffic.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        every: Duration::from_secs(60),
        rollback_on: Some(RollbackOn {
            p99: Some(Duration::from_millis(500)),
            min_requests: 100,
            ..RollbackOn::default()
        }),
        ..Settings::default()
    }
}

fn tally(requests: u64, failed: u64, slow: u64) -> Tally {
    Tally {
        requests,
        failed,
        refused: 0,
        slow,
    }
}

/// Of which so many are refused.
fn refusing(requests: u64, refused: u64) -> Tally {
    Tally {
        refused,
        ..tally(requests, 0, 0)
    }
}

/// Looks once a second at the same block; what the looks said other than to stay, and when.
fn looks(canary: &mut Canary, block: Block, seconds: std::ops::Range<u64>) -> Vec<(u64, Look)> {
    let mut said = Vec::new();
    for second in seconds {
        let look = canary.look(SECOND * second as u32, block);
        let ends = matches!(look, Look::Promote | Look::RollBack(_));
        if !matches!(look, Look::Stay(_)) {
            said.push((second, look));
        }
        if ends {
            break;
        }
    }
    said
}

fn well() -> Block {
    Block {
        baseline: tally(95, 0, 0),
        canary: tally(5, 0, 0),
    }
}

#[test]
fn a_good_canary_goes_from_step_to_step_and_is_promoted() {
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    assert_eq!(canary.standing().share, Share::percent(5));
    let said = looks(&mut canary, well(), 1..1_000);
    assert_eq!(
        said,
        [(60, Look::Step(Share::percent(25))), (120, Look::Promote)]
    );
}

#[test]
fn no_step_is_taken_without_enough_requests_at_that_step() {
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    let block = Block {
        canary: tally(1, 0, 0),
        ..well()
    };
    let said = looks(&mut canary, block, 1..150);
    assert_eq!(said, [(100, Look::Step(Share::percent(25)))]);
    assert_eq!(
        canary.look(Duration::from_secs(1_000), Block::default()),
        Look::Stay(Waiting::Requests {
            seen: 49,
            needed: 100
        })
    );
    // Without any traffic it stays for ever.
    let said = looks(&mut canary, Block::default(), 1_000..9_000);
    assert_eq!(said, []);
}

#[test]
fn a_bad_canary_is_taken_back_before_it_has_had_the_requests_of_a_step() {
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    let bad = Block {
        canary: tally(5, 5, 0),
        ..well()
    };
    let said = looks(&mut canary, bad, 1..60);
    assert!(
        matches!(said.as_slice(), [(1..=4, Look::RollBack(blame))] if blame.what == "failed"),
        "{said:?}"
    );
}

#[test]
fn a_slow_canary_is_taken_back_too() {
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    let slow = Block {
        canary: tally(5, 0, 2),
        ..well()
    };
    let said = looks(&mut canary, slow, 1..60);
    assert!(
        matches!(said.as_slice(), [(1..=20, Look::RollBack(blame))] if blame.p99.is_some()),
        "{said:?}"
    );
}

#[test]
fn an_outage_of_both_takes_no_canary_back_and_lets_none_go_on() {
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    let outage = Block {
        baseline: tally(95, 90, 0),
        canary: tally(5, 5, 0),
    };
    assert_eq!(looks(&mut canary, outage, 1..200), []);
    assert!(matches!(
        canary.waiting(SECOND * 200),
        Some(Waiting::Doubt(_))
    ));
}

#[test]
fn what_is_within_the_limit_is_no_reason_though_the_baseline_has_less_of_it() {
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    let block = Block {
        baseline: tally(1_900, 0, 0),
        canary: tally(100, 1, 0),
    };
    let said = looks(&mut canary, block, 1..200);
    assert_eq!(said.last().map(|(_, look)| look), Some(&Look::Promote));
}

#[test]
fn a_bad_time_after_a_long_good_one_is_seen() {
    let long = Settings {
        steps: vec![Share::percent(5)],
        ..settings()
    };
    let mut canary = Canary::begin(long, Duration::ZERO);
    assert_eq!(looks(&mut canary, well(), 1..100_000), []);
    assert_eq!(canary.waiting(SECOND * 100_000), Some(Waiting::LastStep));
    let bad = Block {
        canary: tally(5, 2, 0),
        ..well()
    };
    let said = looks(&mut canary, bad, 100_000..100_120);
    assert!(
        matches!(said.as_slice(), [(_, Look::RollBack(_))]),
        "{said:?}"
    );
}

#[test]
fn without_a_baseline_the_limit_itself_is_what_counts() {
    let alone = |failed| Block {
        baseline: Tally::default(),
        canary: tally(5, failed, 0),
    };
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    let said = looks(&mut canary, alone(5), 1..60);
    assert!(
        matches!(said.as_slice(), [(_, Look::RollBack(_))]),
        "{said:?}"
    );
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    let said = looks(&mut canary, alone(0), 1..200);
    assert_eq!(said.last().map(|(_, look)| look), Some(&Look::Promote));
}

#[test]
fn one_that_was_set_by_hand_stays_and_can_still_be_taken_back() {
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    canary.set(Share::percent(50), SECOND);
    assert_eq!(looks(&mut canary, well(), 2..500), []);
    assert_eq!(canary.waiting(SECOND * 500), Some(Waiting::Held));
    let bad = Block {
        canary: tally(5, 5, 0),
        ..well()
    };
    let mut other = canary.clone();
    assert!(matches!(
        looks(&mut other, bad, 500..600).as_slice(),
        [(_, Look::RollBack(_))]
    ));
    canary.go_on(SECOND * 600);
    let said = looks(&mut canary, well(), 601..700);
    assert_eq!(said, [(660, Look::Promote)]);
}

#[test]
fn one_that_is_never_taken_back_goes_by_time_alone() {
    let blind = Settings {
        rollback_on: None,
        ..settings()
    };
    let mut canary = Canary::begin(blind, Duration::ZERO);
    let bad = Block {
        canary: tally(5, 5, 5),
        ..well()
    };
    let said = looks(&mut canary, bad, 1..1_000);
    assert_eq!(said.last(), Some(&(120, Look::Promote)));
}

#[test]
fn a_restart_goes_on_with_the_step_and_its_time() {
    let standing = Standing {
        share: Share::percent(25),
        step: 1,
        held: false,
        window: 7,
    };
    let mut canary = Canary::resume(settings(), standing, SECOND, Duration::from_secs(3_600));
    assert_eq!(canary.standing(), standing);
    assert!(matches!(
        canary.waiting(SECOND),
        Some(Waiting::Requests { .. })
    ));
    let said = looks(&mut canary, well(), 2..100);
    assert_eq!(said, [(21, Look::Promote)]);
}

#[test]
fn a_canary_that_refuses_what_the_baseline_takes_is_taken_back() {
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    let block = Block {
        baseline: refusing(95, 2),
        canary: refusing(5, 5),
    };
    let said = looks(&mut canary, block, 1..1_000);
    let [(second, Look::RollBack(blame))] = said.as_slice() else {
        panic!("{said:?}");
    };
    assert!(*second <= 5 && blame.what == "refused", "{second} {blame}");
    assert!(
        blame
            .to_string()
            .starts_with("refused: 100.0% of the canary's")
    );
}

#[test]
fn refusals_that_befall_both_or_that_nobody_minds_keep_a_canary_from_nothing() {
    let befalling_both = Block {
        baseline: refusing(95, 40),
        canary: refusing(5, 2),
    };
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    let said = looks(&mut canary, befalling_both, 1..1_000);
    assert_eq!(said.last().map(|(_, look)| look), Some(&Look::Promote));
    let mut unminded = settings();
    if let Some(on) = &mut unminded.rollback_on {
        on.refused_ratio = None;
    }
    let refusing_all = Block {
        baseline: refusing(95, 0),
        canary: refusing(5, 5),
    };
    let mut canary = Canary::begin(unminded, Duration::ZERO);
    let said = looks(&mut canary, refusing_all, 1..1_000);
    assert_eq!(said.last().map(|(_, look)| look), Some(&Look::Promote));
}

#[test]
fn refusals_within_the_limit_are_no_reason_and_beyond_it_without_evidence_are_a_doubt() {
    let mut canary = Canary::begin(settings(), Duration::ZERO);
    let some_more = Block {
        baseline: refusing(95, 0),
        canary: refusing(10, 1),
    };
    assert!(matches!(
        looks(&mut canary, some_more, 1..1_000).last(),
        Some((_, Look::Promote))
    ));
}
