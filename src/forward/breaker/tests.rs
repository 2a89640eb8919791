use proptest::prelude::*;

use super::*;

fn settings() -> TargetSettings {
    TargetSettings {
        open_after: 3,
        probe_every: Duration::from_secs(1),
        max_probe: Duration::from_secs(5),
        close_after: 2,
        ..TargetSettings::default()
    }
}

/// A breaker with a clock.
struct Bench {
    breaker: Breaker,
    settings: TargetSettings,
    dice: Dice,
    now: Instant,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            breaker: Breaker::new(),
            settings: settings(),
            dice: Dice::seeded(1),
            now: Instant::now(),
        }
    }

    fn begin(&mut self, caller: Caller) -> Result<Pass, NotNow> {
        self.breaker.begin(caller, self.now, &self.settings)
    }

    fn end(&mut self, pass: Pass, health: Health) -> bool {
        self.breaker
            .end(pass, health, self.now, &self.settings, &self.dice)
    }

    fn call(&mut self, caller: Caller, health: Health) -> Standing {
        let pass = self.begin(caller).unwrap();
        self.end(pass, health);
        self.breaker.standing()
    }

    fn pass_time(&mut self) {
        let wait = self.breaker.closed_for(self.now).unwrap();
        self.now += wait;
    }

    fn opened() -> Bench {
        let mut bench = Bench::new();
        assert_eq!(bench.call(Caller::Spool, Health::Unusable), Standing::Open);
        bench
    }
}

#[test]
fn failures_in_a_row_open_it_and_a_success_between_begins_anew() {
    let mut bench = Bench::new();
    for health in [
        Health::Ill,
        Health::Ill,
        Health::Well,
        Health::Ill,
        Health::Ill,
    ] {
        assert_eq!(bench.call(Caller::Request, health), Standing::Closed);
    }
    assert_eq!(bench.call(Caller::Spool, Health::Ill), Standing::Open);
}

#[test]
fn a_matter_of_setup_opens_it_at_once() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.call(Caller::Request, Health::Unusable),
        Standing::Open
    );
}

#[test]
fn open_it_lets_one_probe_through_after_the_pause_and_no_request_ever() {
    let mut bench = Bench::opened();
    let wait = bench.begin(Caller::Spool).unwrap_err().wait.unwrap();
    assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&wait));
    bench.pass_time();
    assert!(bench.begin(Caller::Request).is_err());
    let probe = bench.begin(Caller::Spool).unwrap();
    assert!(probe.is_careful());
    assert_eq!(
        bench.begin(Caller::Spool).unwrap_err(),
        NotNow { wait: None }
    );
    // a probe that was not made makes room for the next
    bench.breaker.cancel(probe);
    assert!(bench.begin(Caller::Spool).is_ok());
}

#[test]
fn pauses_double_with_each_failure_up_to_the_longest() {
    let mut bench = Bench::opened();
    for most in [1, 2, 4, 5, 5] {
        let wait = bench.breaker.closed_for(bench.now).unwrap();
        let most = Duration::from_secs(most);
        assert!(wait <= most && wait >= most / 2, "{wait:?} of {most:?}");
        bench.pass_time();
        assert_eq!(bench.call(Caller::Spool, Health::Ill), Standing::Open);
    }
}

#[test]
fn successes_in_a_row_close_it_and_one_failure_opens_it_for_longer() {
    let mut bench = Bench::opened();
    bench.pass_time();
    assert_eq!(bench.call(Caller::Spool, Health::Well), Standing::HalfOpen);
    // one more success is needed, so one call is let through, of a request too
    let trial = bench.begin(Caller::Request).unwrap();
    assert!(trial.is_careful());
    assert!(bench.begin(Caller::Spool).is_err());
    assert!(bench.end(trial, Health::Ill));
    assert_eq!(bench.breaker.standing(), Standing::Open);
    assert!(bench.breaker.closed_for(bench.now).unwrap() >= Duration::from_secs(1));
    bench.pass_time();
    assert_eq!(bench.call(Caller::Spool, Health::Well), Standing::HalfOpen);
    assert_eq!(bench.call(Caller::Spool, Health::Well), Standing::Closed);
    // and the pause is the first again
    assert_eq!(bench.call(Caller::Spool, Health::Unusable), Standing::Open);
    assert!(bench.breaker.closed_for(bench.now).unwrap() <= Duration::from_secs(1));
}

#[test]
fn what_began_before_a_change_says_nothing_after_it() {
    let mut bench = Bench::new();
    let (slow, slower) = (
        bench.begin(Caller::Request).unwrap(),
        bench.begin(Caller::Request).unwrap(),
    );
    bench.call(Caller::Request, Health::Unusable);
    assert!(!bench.end(slow, Health::Well));
    assert_eq!(bench.breaker.standing(), Standing::Open);
    bench.pass_time();
    bench.call(Caller::Spool, Health::Well);
    assert!(!bench.end(slower, Health::Ill));
    assert_eq!(bench.breaker.standing(), Standing::HalfOpen);
}

#[test]
fn calls_of_routes_that_never_ask_heal_it_and_prolong_nothing() {
    let mut bench = Bench::opened();
    let wait = bench.breaker.closed_for(bench.now).unwrap();
    assert_eq!(bench.call(Caller::Regardless, Health::Ill), Standing::Open);
    assert_eq!(bench.breaker.closed_for(bench.now).unwrap(), wait);
    assert_eq!(
        bench.call(Caller::Regardless, Health::Well),
        Standing::HalfOpen
    );
    assert_eq!(
        bench.call(Caller::Regardless, Health::Well),
        Standing::Closed
    );
}

#[derive(Clone, Debug)]
enum Step {
    Begin(Caller),
    End(usize, Health),
    Cancel(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let health = prop_oneof![
        3 => Just(Health::Well),
        2 => Just(Health::Ill),
        1 => Just(Health::Unusable)
    ];
    prop_oneof![
        4 => prop_oneof![Just(Caller::Spool), Just(Caller::Request), Just(Caller::Regardless)]
            .prop_map(Step::Begin),
        4 => (any::<usize>(), health).prop_map(|(which, health)| Step::End(which, health)),
        1 => any::<usize>().prop_map(Step::Cancel),
        2 => (0u64..3000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn it_keeps_its_rules_whatever_happens(steps in prop::collection::vec(step(), 1..200)) {
        let mut bench = Bench::new();
        let mut under_way: Vec<Pass> = Vec::new();
        let mut opened_until = None;
        let mut successes = 0;
        for step in steps {
            let before = bench.breaker.standing();
            let current = |pass: &&Pass, epoch| pass.epoch == epoch;
            match step {
                Step::Begin(caller) => {
                    let epoch = bench.breaker.epoch;
                    if let Ok(pass) = bench.begin(caller) {
                        if pass.kind == PassKind::Probe {
                            prop_assert!(opened_until.is_none_or(|until| bench.now >= until));
                            let probes = under_way.iter().filter(|pass| current(pass, epoch) && pass.kind == PassKind::Probe);
                            prop_assert_eq!(probes.count(), 0, "two probes at once");
                        }
                        if before == Standing::Open {
                            prop_assert!(matches!(pass.kind, PassKind::Probe | PassKind::Regardless));
                        }
                        under_way.push(pass);
                        let trials = under_way.iter().filter(|pass| current(pass, epoch) && pass.kind == PassKind::Trial).count();
                        prop_assert!(trials <= bench.settings.close_after as usize);
                    } else {
                        prop_assert!(before != Standing::Closed);
                    }
                }
                Step::End(which, health) if !under_way.is_empty() => {
                    let pass = under_way.swap_remove(which % under_way.len());
                    let counts = pass.epoch == bench.breaker.epoch;
                    if counts && before != Standing::Closed {
                        successes = if health == Health::Well { successes + 1 } else { 0 };
                    }
                    let changed = bench.end(pass, health);
                    let after = bench.breaker.standing();
                    if before != Standing::Closed && after == Standing::Closed {
                        prop_assert!(successes >= bench.settings.close_after, "closed by {successes}");
                    }
                    if before == Standing::Open {
                        prop_assert!(after != Standing::Closed || bench.settings.close_after <= 1);
                    }
                    if changed && after == Standing::Open {
                        successes = 0;
                        let wait = bench.breaker.closed_for(bench.now).unwrap();
                        prop_assert!(wait <= bench.settings.max_probe);
                        opened_until = Some(bench.now + wait);
                    }
                }
                Step::Cancel(which) if !under_way.is_empty() => {
                    let pass = under_way.swap_remove(which % under_way.len());
                    bench.breaker.cancel(pass);
                    prop_assert_eq!(bench.breaker.standing(), before);
                }
                Step::Wait(millis) => bench.now += Duration::from_millis(millis),
                _ => {}
            }
        }
        // whatever happened, it heals
        under_way.clear();
        for _ in 0..50 {
            bench.now += bench.settings.max_probe;
            let (caller, health) = (Caller::Regardless, Health::Well);
            bench.call(caller, health);
        }
        prop_assert_eq!(bench.breaker.standing(), Standing::Closed);
    }
}
