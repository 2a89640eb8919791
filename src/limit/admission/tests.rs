use proptest::prelude::*;

use super::*;

fn settings() -> Settings {
    Settings {
        in_flight: 10,
        memory: None,
        bodies: Some(1000),
        largest_body: 100,
        cpu_wait: None,
    }
}

fn admission() -> Arc<Admission> {
    Admission::new(&settings(), Counter::default(), Clock::standing())
}

/// Lets a request of a caller in, as far as places go.
fn enter(
    admission: &Arc<Admission>,
    target: Option<&Arc<Budget>>,
    caller: &str,
) -> Result<Admitted, Scarce> {
    let mut admitted = admission.enter(0)?;
    if let Some(target) = target {
        admitted.wait_for(target)?;
    }
    admitted.share(caller.as_bytes())?;
    Ok(admitted)
}

#[test]
fn a_place_comes_back_when_the_request_ends() {
    let admission = admission();
    let all: Vec<_> = (0..10).filter_map(|_| admission.enter(0).ok()).collect();
    assert_eq!(all.len(), 10);
    let refused = admission.enter(0).err();
    assert_eq!(refused, Some(Scarce::Places { limit: 10 }));
    assert_eq!(admission.report().refused[0], ("in_flight", 1));
    drop(all);
    assert!(admission.enter(0).is_ok());
}

#[test]
fn a_slow_target_fills_its_own_places_only() {
    let admission = admission();
    let slow = admission.target(&"slow".into(), 5);
    let quick = admission.target(&"quick".into(), 5);
    let callers: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let waiting: Vec<_> = callers
        .iter()
        .filter_map(|caller| enter(&admission, Some(&slow), caller).ok())
        .collect();
    assert_eq!(waiting.len(), 5);
    let refused = enter(&admission, Some(&slow), "one more").err();
    assert!(matches!(refused, Some(Scarce::Target { limit: 5, .. })));
    assert!(enter(&admission, Some(&quick), "another").is_ok());
    assert!(enter(&admission, None, "another").is_ok());
}

#[test]
fn one_caller_alone_has_nine_tenths_and_a_newcomer_finds_room() {
    let admission = admission();
    admission.configure(&Settings {
        in_flight: 40,
        ..settings()
    });
    let mut held = Vec::new();
    while let Ok(one) = enter(&admission, None, "noisy") {
        held.push(one);
    }
    // Some of its places were taken before they were worth counting.
    assert_eq!(held.len(), 37);
    assert!(matches!(
        enter(&admission, None, "noisy").err(),
        Some(Scarce::Share { .. })
    ));
    assert!(enter(&admission, None, "quiet").is_ok());
}

#[test]
fn where_work_waits_for_the_cpu_fewer_are_let_in_and_a_newcomer_finds_room_at_once() {
    let admission = admission();
    admission.configure(&Settings {
        in_flight: 4_096,
        cpu_wait: Some(Duration::from_millis(100)),
        ..settings()
    });
    let mut held: Vec<_> = (0..400)
        .filter_map(|_| enter(&admission, None, "noisy").ok())
        .collect();
    assert_eq!(held.len(), 400);
    let mut window = Window::default();
    window.probed(Duration::from_millis(110), 200);
    admission.judge(&window);
    assert!(admission.report().late);
    assert!(enter(&admission, None, "quiet").is_ok(), "said before");
    admission.judge(&window);
    let refused = enter(&admission, None, "quiet").err();
    assert_eq!(refused, Some(Scarce::Waiting(Duration::from_millis(110))));
    // 104 may be under way now, and a quarter more of those who have none.
    held.truncate(50);
    while let Ok(one) = enter(&admission, None, "noisy") {
        held.push(one);
    }
    assert_eq!(held.len(), 99);
    let quiet: Vec<_> = (0..100)
        .filter_map(|n| enter(&admission, None, &format!("quiet {n}")).ok())
        .collect();
    assert_eq!(quiet.len(), 31);
    let report = admission.report();
    assert_eq!(report.refused[5], ("cpu", 71));
}

#[test]
fn callers_who_hold_nothing_take_no_memory() {
    let admission = admission();
    let held: Vec<_> = (0..10)
        .filter_map(|n| enter(&admission, None, &n.to_string()).ok())
        .collect();
    assert!(admission.callers.len() > 0);
    drop(held);
    assert_eq!(admission.callers.len(), 0);
}

#[test]
fn bodies_have_a_budget_of_their_own_and_a_refusal_takes_nothing_of_it() {
    let admission = admission();
    let mut first = admission.enter(0).unwrap();
    first.reserve(900).unwrap();
    let mut second = admission.enter(0).unwrap();
    assert_eq!(
        second.reserve(101),
        Err(Scarce::Bodies {
            used: 900,
            limit: 1000,
            asked: 101
        })
    );
    second.reserve(100).unwrap();
    // Nothing is taken twice for a body that arrives as it was declared.
    first.arrived(500).unwrap();
    first.arrived(400).unwrap();
    assert!(first.arrived(1).is_err());
    drop(first);
    assert_eq!(admission.bodies.used(), 100);
}

#[test]
fn readiness_turns_before_the_first_refusal_and_comes_back_later_than_it_went() {
    let admission = admission();
    let mut held: Vec<_> = (0..7).filter_map(|_| admission.enter(0).ok()).collect();
    assert!(!admission.report().places.near);
    held.extend(admission.enter(0));
    assert!(admission.report().places.near, "places are still free");
    held.pop();
    assert!(admission.report().places.near);
    held.pop();
    assert!(!admission.report().places.near);
}

#[test]
fn what_is_in_use_is_counted_across_a_change_of_limits() {
    let admission = admission();
    let held: Vec<_> = (0..10).filter_map(|_| admission.enter(0).ok()).collect();
    let fewer = Settings {
        in_flight: 5,
        bodies: Some(1),
        ..settings()
    };
    admission.configure(&fewer);
    assert_eq!(admission.report().places.used, 10);
    assert_eq!(
        admission.report().bodies.limit,
        100,
        "the largest body fits"
    );
    assert!(admission.enter(0).is_err());
    drop(held);
    assert!(admission.enter(0).is_ok());
}

#[test]
fn a_target_that_no_route_leads_to_is_forgotten() {
    let admission = admission();
    let old = admission.target(&"old".into(), 5);
    let held = enter(&admission, Some(&old), "ann").unwrap();
    admission.keep_targets(&|name| name != "old");
    assert!(admission.report().targets.is_empty());
    drop(held);
    assert_eq!(old.used(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Enter { target: u8, caller: u8 },
    Reserve { at: usize, bytes: u64 },
    Arrive { at: usize, bytes: u64 },
    End { at: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3u8, 0..4u8).prop_map(|(target, caller)| Step::Enter { target, caller }),
        (0..12usize, 0..400u64).prop_map(|(at, bytes)| Step::Reserve { at, bytes }),
        (0..12usize, 0..400u64).prop_map(|(at, bytes)| Step::Arrive { at, bytes }),
        (0..12usize).prop_map(|at| Step::End { at }),
    ]
}

proptest! {
    #[test]
    fn nothing_leaks_and_nothing_is_given_out_twice(steps in prop::collection::vec(step(), 1..200)) {
        let admission = admission();
        let targets: Vec<_> = ["a", "b", "c"].map(|name| admission.target(&name.into(), 4)).into();
        let mut held: Vec<Admitted> = Vec::new();
        for step in steps {
            match step {
                Step::Enter { target, caller } => {
                    let target = targets.get(usize::from(target));
                    held.extend(enter(&admission, target, &caller.to_string()));
                }
                Step::Reserve { at, bytes } => {
                    if let Some(one) = held.get_mut(at) {
                        let _ = one.reserve(bytes);
                    }
                }
                Step::Arrive { at, bytes } => {
                    if let Some(one) = held.get_mut(at) {
                        let _ = one.arrived(bytes);
                    }
                }
                Step::End { at } => {
                    if at < held.len() {
                        drop(held.swap_remove(at));
                    }
                }
            }
            let report = admission.report();
            prop_assert_eq!(report.places.used, held.len() as u64);
            prop_assert!(report.places.used <= 10 && report.bodies.used <= 1000);
            prop_assert!(targets.iter().all(|target| target.used() <= 4));
            prop_assert!(admission.arrived.load(Relaxed) <= report.bodies.used);
        }
        drop(held);
        let report = admission.report();
        prop_assert_eq!((report.places.used, report.bodies.used), (0, 0));
        prop_assert_eq!(admission.arrived.load(Relaxed), 0);
        prop_assert!(targets.iter().all(|target| target.used() == 0));
        prop_assert_eq!(admission.callers.len(), 0);
    }
}
