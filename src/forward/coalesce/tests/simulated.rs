//! The rules of when a call goes, over random comings and goings, in simulated time: each moment is looked at, and nothing
//! waits for a real clock.

use std::collections::BinaryHeap;

use super::*;
use crate::forward::backoff::Dice;

/// What happens at a moment; of several at one moment the order is random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes(usize),
    /// Its time is over.
    Leaves(usize),
    Starts,
    LingerEnds,
    Ends(usize),
}

#[derive(Clone, Copy, Debug)]
struct Coming {
    at: u64,
    tenant: u64,
    key: Option<u8>,
    patience: u64,
}

/// A coalescer without tasks: the events stand for them.
struct World {
    coalescer: Arc<Coalescer>,
    began: Instant,
    now: u64,
    /// Moment, order at the moment, event: the earliest is the greatest.
    due: BinaryHeap<std::cmp::Reverse<(u64, u64, Event)>>,
    dice: Dice,
    calls: Vec<(u64, Option<Batch>)>,
    tickets: Vec<Option<Ticket>>,
    /// Which records are in calls that were made.
    sent: Vec<usize>,
    withdrawn: Vec<usize>,
    longest: u64,
}

impl World {
    fn at(&self) -> Instant {
        self.began + Duration::from_millis(self.now)
    }

    fn later(&mut self, millis: u64, event: Event) {
        let order = (self.dice.roll() * 1e9) as u64;
        self.due
            .push(std::cmp::Reverse((self.now + millis, order, event)));
    }

    /// As [`Coalescer::leave`] does it.
    fn leave(&mut self) {
        let bounds = self.coalescer.bounds();
        let coalescer = self.coalescer.clone();
        let mut state = locked(&coalescer.state);
        let work = state.work(&bounds);
        let ceiling = state.flow.ceiling(bounds.cap);
        assert!(state.starting + state.calling <= bounds.cap.unwrap());
        // the rule that the first prototype broke
        if state.queue.ready().entries > 0 && state.starting == 0 && !state.lingering {
            assert_eq!(
                state.calling, ceiling,
                "nobody is bound to take what is ready"
            );
        }
        drop(state);
        for _ in 0..work.at_once + work.politely {
            self.later(0, Event::Starts);
        }
        if let Some(linger) = work.linger {
            self.later(linger.as_millis() as u64 + 1, Event::LingerEnds);
        }
    }

    fn take(&mut self, change: impl FnOnce(&mut State, &Bounds)) {
        let (bounds, coalescer) = (self.coalescer.bounds(), self.coalescer.clone());
        let mut state = locked(&coalescer.state);
        change(&mut state, &bounds);
        let batch = coalescer.take(&mut state, &bounds);
        drop(state);
        if let Some(batch) = batch {
            for waiting in &batch.waiting {
                self.sent.push(body_of(&waiting.request).parse().unwrap());
            }
            let number = self.calls.len();
            self.calls.push((self.now, Some(batch)));
            let takes = (self.dice.roll() * self.longest as f64) as u64;
            self.later(takes, Event::Ends(number));
        }
        self.leave();
    }

    fn happen(&mut self, event: Event, comings: &[Coming]) {
        match event {
            Event::Comes(n) => {
                let Coming {
                    tenant,
                    key,
                    patience,
                    ..
                } = comings[n];
                let (reply, _) = oneshot::channel();
                let waiting = Waiting {
                    request: map(&compile(SEND), n.to_string().as_bytes()).unwrap(),
                    deadline: self.at(),
                    since: self.at(),
                    reply,
                };
                let key = key.map(|key| key.to_string());
                let ticket =
                    locked(&self.coalescer.state)
                        .queue
                        .push(tenant, key.as_deref(), 1, waiting);
                self.tickets[n] = Some(ticket);
                self.later(patience, Event::Leaves(n));
                self.leave();
            }
            Event::Leaves(n) => {
                let ticket = self.tickets[n].unwrap();
                let taken = locked(&self.coalescer.state).queue.withdraw(ticket);
                assert_eq!(
                    taken.is_some(),
                    !self.sent.contains(&n),
                    "waiting or sent, nothing else"
                );
                if taken.is_some() {
                    self.withdrawn.push(n);
                }
                self.leave();
            }
            Event::Starts => self.take(|state, _| state.starting -= 1),
            Event::LingerEnds => self.take(|state, _| state.lingering = false),
            Event::Ends(number) => {
                let (from, batch) = &mut self.calls[number];
                let Batch { keys, full, .. } = batch.take().unwrap();
                let call = Ended {
                    began: self.began + Duration::from_millis(*from),
                    now: self.at(),
                    throttled: self.dice.roll() < 0.1,
                    full,
                };
                self.take(move |state, bounds| {
                    state.calling -= 1;
                    state.flow.ended(&call, bounds.cap);
                    state.queue.release(keys);
                });
            }
        }
    }
}

fn coming() -> impl Strategy<Value = Coming> {
    let key = prop::option::weighted(0.4, 0..3u8);
    (0..60u64, 0..3u64, key, 1..200u64).prop_map(|(at, tenant, key, patience)| Coming {
        at,
        tenant,
        key,
        patience,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_left_lying_whatever_ends_when(
        comings in prop::collection::vec(coming(), 1..150),
        cap in 1..12usize,
        longest in 1..50u64,
        seed in any::<u64>(),
    ) {
        let settings = TargetSettings { in_flight: Some(cap), ..TargetSettings::default() };
        let bench = Bench::new(settings, false, |_, _| told(0));
        let mut world = World {
            coalescer: bench.coalescer.clone(),
            began: Instant::now(),
            now: 0,
            due: BinaryHeap::new(),
            dice: Dice::seeded(seed),
            calls: Vec::new(),
            tickets: vec![None; comings.len()],
            sent: Vec::new(),
            withdrawn: Vec::new(),
            longest,
        };
        for (n, coming) in comings.iter().enumerate() {
            world.later(coming.at, Event::Comes(n));
        }
        // for how long something was ready while another call could have been made
        let mut lying = 0;
        while let Some(std::cmp::Reverse((at, _, event))) = world.due.pop() {
            let bounds = world.coalescer.bounds();
            let state = locked(&world.coalescer.state);
            let free = state.starting + state.calling < state.flow.ceiling(bounds.cap);
            let full = state.queue.ready().entries >= bounds.records;
            lying = if free && state.queue.ready().entries > 0 { lying + at - world.now } else { 0 };
            prop_assert!(!(free && full) || at == world.now, "a full batch goes at once");
            drop(state);
            prop_assert!(lying <= 3, "something lay for {lying} ms, and a call could have been made");
            world.now = at;
            world.happen(event, &comings);
        }
        prop_assert!(world.coalescer.is_idle());
        let mut fates: Vec<usize> = world.sent.iter().chain(&world.withdrawn).copied().collect();
        fates.sort_unstable();
        prop_assert_eq!(fates, (0..comings.len()).collect::<Vec<_>>(), "each has one fate");
    }
}
