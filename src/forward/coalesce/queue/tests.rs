use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

/// As the queue should behave, the slow way.
#[derive(Default)]
struct Model {
    /// In the order of coming: number, tenant, key, bytes.
    waiting: Vec<(usize, u64, Option<u8>, usize)>,
    busy: HashSet<u8>,
}

impl Model {
    fn ready(&self) -> Amount {
        let ready = self.waiting.iter();
        let ready = ready.filter(|(_, _, key, _)| key.is_none_or(|key| !self.busy.contains(&key)));
        ready.fold(Amount::default(), |mut sum, (_, _, _, bytes)| {
            sum.add(*bytes);
            sum
        })
    }

    fn of(&self, tenant: u64) -> usize {
        let of = |entry: &&(usize, u64, Option<u8>, usize)| entry.1 == tenant;
        self.waiting.iter().filter(of).count()
    }

    fn remove(&mut self, number: usize) -> (usize, u64, Option<u8>, usize) {
        let place = self.waiting.iter().position(|entry| entry.0 == number);
        self.waiting.remove(place.expect("it waited"))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64, Option<u8>, usize),
    Take {
        most: usize,
        limit: usize,
        choose: usize,
    },
    Release(prop::sample::Index),
    Withdraw(prop::sample::Index),
    Displace(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u64, prop::option::of(0..3u8), 0..40usize).prop_map(|(t, k, b)| Step::Push(t, k, b)),
        3 => (1..8usize, 1..120usize, 1..8usize).prop_map(|(most, limit, choose)| Step::Take { most, limit, choose }),
        2 => any::<prop::sample::Index>().prop_map(Step::Release),
        1 => any::<prop::sample::Index>().prop_map(Step::Withdraw),
        1 => (0..4usize).prop_map(Step::Displace),
    ]
}

fn checked_take(
    queue: &mut Queue<usize>,
    model: &mut Model,
    (most, limit, choose): (usize, usize, usize),
) -> Option<Keys> {
    let mut offered = 0;
    let (taken, keys) = queue.take(most, limit, |sizes| {
        offered = sizes.len();
        choose
    });
    let ready = model.ready().entries;
    assert_eq!(taken.is_empty(), ready == 0);
    assert!(taken.len() <= most.min(choose).max(1));
    if limit > 40 * most {
        assert_eq!(
            offered,
            most.min(ready),
            "nothing that is ready is left out"
        );
    }
    let mut in_call = HashSet::new();
    let mut of_tenants: HashMap<u64, usize> = HashMap::new();
    for number in &taken {
        let entry = model.waiting.iter().find(|entry| entry.0 == *number);
        let (_, tenant, key, _) = *entry.expect("nothing is taken twice");
        *of_tenants.entry(tenant).or_default() += 1;
        if let Some(key) = key {
            assert!(!model.busy.contains(&key), "the key is in another call");
            let of_key = model.waiting.iter().filter(|entry| entry.2 == Some(key));
            let first = of_key.map(|entry| entry.0).min();
            assert_eq!(first, Some(*number), "the earliest of its key");
            in_call.insert(key);
        }
        model.remove(*number);
    }
    let bytes = |number: &usize| *number % 1000;
    let total: usize = taken.iter().map(bytes).sum();
    assert!(taken.len() < 2 || total <= limit);
    // tenants whose entries have no keys could always have had their turn
    for (tenant, count) in &of_tenants {
        let mut others = model.waiting.iter().filter(|entry| entry.2.is_none());
        if let Some(other) = others.find(|entry| entry.1 != *tenant) {
            let theirs = of_tenants.get(&other.1).copied().unwrap_or(0);
            assert!(
                *count <= theirs + 1,
                "{tenant} had {count}, {} {theirs}",
                other.1
            );
        }
    }
    model.busy.extend(in_call);
    (!taken.is_empty()).then_some(keys)
}

proptest! {
    #[test]
    fn whatever_is_done_order_fairness_and_sums_hold(steps in prop::collection::vec(step(), 1..120)) {
        let (mut queue, mut model) = (Queue::new(), Model::default());
        let mut tickets: Vec<(usize, Ticket)> = Vec::new();
        let mut calls: Vec<(Keys, HashSet<u8>)> = Vec::new();
        let name = |key: u8| format!("key {key}");
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(tenant, key, bytes) => {
                    let number = at * 1000 + bytes;
                    let ticket = queue.push(tenant, key.map(name).as_deref(), bytes, number);
                    tickets.push((number, ticket));
                    model.waiting.push((number, tenant, key, bytes));
                }
                Step::Take { most, limit, choose } => {
                    let before = model.busy.clone();
                    let keys = checked_take(&mut queue, &mut model, (most, limit, choose));
                    if let Some(keys) = keys {
                        let own = model.busy.difference(&before).copied().collect();
                        calls.push((keys, own));
                    }
                }
                Step::Release(index) if !calls.is_empty() => {
                    let (keys, own) = calls.swap_remove(index.index(calls.len()));
                    queue.release(keys);
                    model.busy.retain(|key| !own.contains(key));
                }
                Step::Withdraw(index) if !tickets.is_empty() => {
                    let (number, ticket) = tickets[index.index(tickets.len())];
                    let waits = model.waiting.iter().any(|entry| entry.0 == number);
                    prop_assert_eq!(queue.withdraw(ticket), waits.then_some(number));
                    if waits {
                        model.remove(number);
                    }
                }
                Step::Displace(most) => {
                    let largest = (0..4).map(|tenant| model.of(tenant)).max().unwrap_or(0);
                    let displaced = queue.displace(most);
                    prop_assert_eq!(displaced.is_some(), largest > most);
                    if let Some(number) = displaced {
                        let entry = model.remove(number);
                        prop_assert_eq!(model.of(entry.1) + 1, largest);
                        let newer = model.waiting.iter().any(|other| other.1 == entry.1 && other.0 > number);
                        prop_assert!(!newer, "the newest gives way");
                    }
                }
                Step::Release(_) | Step::Withdraw(_) => {}
            }
            prop_assert_eq!(queue.waiting().entries, model.waiting.len());
            prop_assert_eq!(queue.ready(), model.ready());
            for tenant in 0..4 {
                prop_assert_eq!(queue.entries_of(tenant), model.of(tenant));
            }
        }
        for (keys, _) in calls {
            queue.release(keys);
        }
        model.busy.clear();
        while let Some(keys) = checked_take(&mut queue, &mut model, (5, 10_000, 5)) {
            queue.release(keys);
            model.busy.clear();
        }
        prop_assert_eq!(queue.waiting(), Amount::default());
        prop_assert!(queue.by_id.is_empty() && queue.by_name.is_empty() && queue.ring.is_empty());
    }
}

#[test]
fn a_quiet_tenant_is_in_the_next_batch_behind_a_thousand_of_a_noisy_one() {
    let mut queue = Queue::new();
    for number in 0..1000 {
        queue.push(1, None, 1, number);
    }
    queue.push(2, None, 1, 5000);
    let (taken, keys) = queue.take(10, 1000, <[usize]>::len);
    queue.release(keys);
    assert!(taken.contains(&5000), "{taken:?}");
    assert_eq!(taken.len(), 10);
}

#[test]
fn a_busy_key_holds_nobody_else_up() {
    let mut queue = Queue::new();
    for number in 0..100 {
        queue.push(1, Some("hot"), 1, number);
    }
    let (taken, hot) = queue.take(10, 1000, <[usize]>::len);
    assert_eq!(taken, (0..10).collect::<Vec<_>>());
    queue.push(1, Some("cold"), 1, 500);
    queue.push(1, None, 1, 501);
    assert_eq!(queue.ready().entries, 2);
    let (taken, cold) = queue.take(10, 1000, <[usize]>::len);
    assert_eq!(taken, [500, 501]);
    queue.release(hot);
    queue.release(cold);
    let (taken, _) = queue.take(10, 1000, <[usize]>::len);
    assert_eq!(taken, (10..20).collect::<Vec<_>>());
}
