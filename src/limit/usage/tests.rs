use std::num::NonZeroU32;

use super::super::period::parse_day;
use super::*;
use crate::store::{KeyState, Options, Store, UsageDay};

/// 2026-11-22T12:00:00Z, a Sunday.
const NOON: i64 = 1_795_348_800_000;
const DAY: Duration = Duration::from_secs(86_400);

/// Keys `k0`, `k1`, … in the plan of the same position, if there is one.
struct Numbered(u32);

impl Names for Numbered {
    fn id(&self, key: u32) -> Option<&str> {
        const IDS: [&str; 4] = ["k0", "k1", "k2", "k3"];
        IDS.get(key as usize).copied().filter(|_| key < self.0)
    }
    fn number(&self, id: &str) -> Option<u32> {
        (0..self.0).find(|key| self.id(*key) == Some(id))
    }
    fn plan_of(&self, key: u32) -> Option<u16> {
        u16::try_from(key).ok()
    }
}

fn plan(name: &str) -> PlanLimits {
    PlanLimits {
        name: name.into(),
        throttle: None,
        routes: Vec::new(),
        quota: None,
    }
}

fn spec(rate: f64, burst: u32) -> BucketSpec {
    BucketSpec {
        rate,
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

fn quota(limit: u64, period: Period) -> Option<Quota> {
    Some(Quota {
        limit,
        period,
        offset: 0,
    })
}

struct Fixture {
    usage: Arc<Usage>,
    wall: Clock,
    steady: clock::Clock,
}

fn fixture(plans: Vec<PlanLimits>) -> Fixture {
    at(Clock::manual(NOON), plans)
}

fn at(wall: Clock, plans: Vec<PlanLimits>) -> Fixture {
    let steady = clock::Clock::standing();
    let usage = Usage::new(plans, 4, wall.clone(), steady.clone());
    Fixture {
        usage: Arc::new(usage),
        wall,
        steady,
    }
}

impl Fixture {
    fn ask(&self, key: u32) -> Result<(), Box<OverLimit>> {
        self.ask_route(key, None)
    }

    fn ask_route(&self, key: u32, route: Option<u16>) -> Result<(), Box<OverLimit>> {
        let who = KeyUse {
            key,
            plan: u16::try_from(key).ok(),
            source: Source::Header,
        };
        self.usage.charge(&who, route)
    }

    /// How many of so many requests pass.
    fn passing(&self, key: u32, of: u32) -> usize {
        (0..of).filter(|_| self.ask(key).is_ok()).count()
    }

    fn keeper(&self) -> Keeper<Numbered> {
        Keeper::new(self.usage.clone(), Arc::new(Numbered(4)))
    }
}

#[test]
fn a_key_without_a_plan_is_counted_and_not_limited() {
    let t = fixture(Vec::new());
    assert_eq!(t.passing(2, 1_000), 1_000);
    assert_eq!(t.usage.by_source()[0], ("header", 1_000));
    let stranger = KeyUse {
        key: 99,
        plan: Some(7),
        source: Source::Query,
    };
    assert_eq!(t.usage.charge(&stranger, Some(3)), Ok(()));
}

#[test]
fn each_key_has_its_own_bucket_and_each_route_another() {
    let limited = PlanLimits {
        throttle: Some(spec(10.0, 3)),
        routes: vec![spec(1.0, 1)],
        ..plan("gold")
    };
    let t = fixture(vec![limited.clone(), limited]);
    assert_eq!(t.ask_route(0, Some(0)), Ok(()));
    let over = t.ask_route(0, Some(0)).unwrap_err();
    assert_eq!(over.what, What::Route(spec(1.0, 1)));
    assert_eq!(over.wait, Some(Duration::from_secs(1)));
    assert_eq!(
        over.headers(),
        (
            "\"plan-route\";r=0;t=1, \"plan\";r=2;t=1".to_owned(),
            "\"plan-route\";q=1;w=1, \"plan\";q=3;w=1".to_owned()
        )
    );
    // What the route's bucket refused has taken nothing from the plan's.
    assert_eq!(t.passing(0, 5), 2);
    let over = t.ask(0).unwrap_err();
    assert_eq!(over.what, What::Plan(spec(10.0, 3)));
    assert_eq!(
        (over.wait, over.retry_after()),
        (Some(Duration::from_millis(100)), 1)
    );
    assert_eq!(t.passing(1, 5), 3);
    t.steady.advance(Duration::from_millis(100));
    assert_eq!(t.passing(0, 5), 1);
    let refusals: Vec<_> = t.usage.refusals().map(|(_, a, b)| (a, b)).collect();
    assert_eq!(refusals, [(9, 0), (2, 0)]);
}

#[test]
fn a_rate_of_zero_lets_nobody_in() {
    let t = fixture(vec![PlanLimits {
        throttle: Some(spec(0.0, 5)),
        ..plan("none")
    }]);
    let over = t.ask(0).unwrap_err();
    assert_eq!((over.wait, over.retry_after()), (None, 3600));
    assert_eq!(over.detail(), "Your usage plan takes no requests.");
}

#[test]
fn a_quota_is_exact_and_begins_anew_at_midnight_utc() {
    for (period, reset) in [
        (Period::Day, "2026-11-23"),
        (Period::Week, "2026-11-23"),
        (Period::Month, "2026-12-01"),
    ] {
        let t = fixture(vec![PlanLimits {
            quota: quota(3, period),
            ..plan("gold")
        }]);
        assert_eq!(t.passing(0, 10), 3);
        let over = t.ask(0).unwrap_err();
        let left = start_of(parse_day(reset).unwrap()) - NOON / 1000;
        assert_eq!(over.retry_after(), left as u64, "{period:?}");
        assert!(over.to_string().contains("limit 3, period"), "{over}");
        t.wall.advance(Duration::from_secs(left as u64 - 1));
        assert_eq!(t.passing(0, 5), 0, "{period:?}");
        t.wall.advance(Duration::from_secs(1));
        assert_eq!(t.passing(0, 5), 3, "{period:?}");
        let standing = t.usage.standing(0, Some(0));
        assert_eq!((standing.used, standing.remaining), (3, Some(0)));
        t.wall.advance(31 * DAY);
        let standing = t.usage.standing(0, Some(0));
        assert_eq!((standing.used, standing.remaining), (0, Some(3)));
    }
}

#[test]
fn the_offset_is_taken_off_the_first_period_alone() {
    let t = fixture(vec![PlanLimits {
        quota: Some(Quota {
            limit: 5,
            period: Period::Day,
            offset: 2,
        }),
        ..plan("gold")
    }]);
    assert_eq!(t.passing(0, 10), 3);
    t.wall.advance(DAY);
    assert_eq!(t.passing(0, 10), 5);
}

#[test]
fn a_clock_that_steps_gives_nobody_a_new_quota() {
    let t = fixture(vec![PlanLimits {
        quota: quota(3, Period::Month),
        ..plan("gold")
    }]);
    assert_eq!(t.passing(0, 10), 3);
    t.wall.step_wall(40 * 86_400_000);
    assert_eq!(t.passing(0, 10), 0);
    assert_eq!(t.ask(0).unwrap_err().retry_after(), 1);
    t.wall.advance(Duration::from_secs(3_700));
    assert_eq!(t.passing(0, 10), 3, "both clocks have agreed for an hour");
}

#[test]
fn a_correction_at_midnight_does_not_begin_the_day_before_again() {
    let t = fixture(vec![PlanLimits {
        quota: quota(2, Period::Day),
        ..plan("gold")
    }]);
    t.wall.advance(DAY / 2);
    assert_eq!(t.passing(0, 10), 2);
    t.wall.step_wall(-2_000);
    assert_eq!(t.passing(0, 10), 0);
    t.wall.advance(Duration::from_secs(5));
    assert_eq!(t.passing(0, 10), 0);
}

fn options(directory: &tempfile::TempDir, clock: &Clock) -> Options {
    Options {
        min_free: 0,
        clock: clock.clone(),
        ..Options::new(directory.path())
    }
}

fn gold() -> Vec<PlanLimits> {
    vec![PlanLimits {
        quota: quota(10, Period::Month),
        ..plan("gold")
    }]
}

#[tokio::test]
async fn what_was_used_outlives_the_process_day_by_day() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOON);
    let store = Store::open(options(&directory, &clock)).unwrap();
    let t = at(clock.clone(), gold());
    let mut keeper = t.keeper();
    keeper.save(Some(&store)).await;
    assert_eq!(t.passing(0, 4), 4);
    keeper.save(None).await;
    clock.advance(DAY);
    assert_eq!(t.passing(0, 3), 3);
    let query = KeyUse {
        key: 3,
        plan: None,
        source: Source::Query,
    };
    t.usage.charge(&query, None).unwrap();
    keeper.save(None).await;
    store.close().await;

    let store = Store::open(options(&directory, &clock)).unwrap();
    let again = at(clock.clone(), gold());
    // A request that comes before the store is open is counted on top.
    assert_eq!(again.passing(0, 1), 1);
    let mut keeper = again.keeper();
    keeper.save(Some(&store)).await;
    keeper.save(Some(&store)).await;
    assert_eq!(again.passing(0, 10), 2);
    keeper.save(None).await;
    let today = again.usage.today();
    let day = |day, used, remaining| UsageDay {
        key: "k0".to_owned(),
        day,
        used,
        remaining: Some(remaining),
        ..UsageDay::default()
    };
    let report = again
        .usage
        .report(&Numbered(4), Some(&store), "k0", today - 30, today)
        .await
        .unwrap();
    assert_eq!(report, [day(today - 1, 4, 6), day(today, 6, 0)]);
    let from_query = again
        .usage
        .report(&Numbered(4), Some(&store), "k3", today, today)
        .await
        .unwrap();
    assert_eq!((from_query[0].used, from_query[0].by_query), (1, 1));
    assert_eq!(again.usage.save_failures(), 0);
}

#[tokio::test]
async fn an_offset_is_not_taken_off_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOON);
    let plans = || {
        vec![PlanLimits {
            quota: Some(Quota {
                limit: 10,
                period: Period::Month,
                offset: 4,
            }),
            ..plan("gold")
        }]
    };
    let store = Store::open(options(&directory, &clock)).unwrap();
    let t = at(clock.clone(), plans());
    assert_eq!(t.passing(0, 2), 2);
    t.keeper().save(Some(&store)).await;
    let again = at(clock, plans());
    assert_eq!(again.passing(0, 1), 1);
    again.keeper().save(Some(&store)).await;
    assert_eq!(again.passing(0, 10), 3, "10 - 4 - 2 - 1");
}

#[tokio::test]
async fn a_store_that_fails_refuses_no_request_and_gets_the_counts_later() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOON);
    let store = Store::open(options(&directory, &clock)).unwrap();
    let t = at(clock.clone(), gold());
    let mut keeper = t.keeper();
    keeper.save(Some(&store)).await;
    store.close().await;
    assert_eq!(t.passing(0, 4), 4);
    keeper.save(None).await;
    clock.advance(DAY);
    assert_eq!(t.passing(0, 1), 1);
    keeper.save(None).await;
    assert_eq!(t.usage.save_failures(), 2);
    let unsaved = t
        .usage
        .report(&Numbered(4), None, "k0", 0, Day::MAX)
        .await
        .unwrap();
    let used: Vec<u64> = unsaved.iter().map(|day| day.used).collect();
    assert_eq!(used, [4, 1], "both days are still here");
}

#[tokio::test]
async fn days_are_forgotten_when_they_are_old() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOON);
    let store = Store::open(options(&directory, &clock)).unwrap();
    let today = day_of(NOON);
    let state = |key: &str, day| KeyState {
        last: UsageDay {
            key: key.to_owned(),
            day,
            used: 1,
            ..UsageDay::default()
        },
        ..KeyState::default()
    };
    let kept = state("k0", today - KEPT_DAYS);
    let states = vec![kept.clone(), state("k1", today - KEPT_DAYS - 1)];
    store.save_usage(states, Vec::new()).await.unwrap();
    at(clock, gold()).keeper().save(Some(&store)).await;
    assert_eq!(store.key_states(String::new(), 10).await.unwrap(), [kept]);
    let gone = store.usage_of("k1".to_owned(), 0, today).await.unwrap();
    assert!(gone.is_empty());
}
