//! The slots of some of the keys, made in small blocks as keys are used.

use super::super::period::Day;
use super::guard::Guard;
use super::{Quota, Source};

/// Slots made at a time.
const BLOCK: usize = 32;

/// What one key has used.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    /// The day of the last request; 0: there was none.
    pub day: Day,
    /// Requests on that day.
    pub used: u64,
    /// Of these, where the key came in the query, and in an authorizer's answer.
    pub by_query: u32,
    pub by_authorizer: u32,
    /// The number of the quota's kind of period; 0: none has begun.
    pub quota_period: u8,
    /// What the quota began with, where this is the key's first period.
    pub offset: u64,
    /// The counts are to be saved.
    pub dirty: bool,
    /// The first day of the quota's period.
    pub quota_start: Day,
    pub quota_used: u64,
    /// When the plan's bucket will be full, in nanoseconds of the process.
    pub full_at: u64,
    /// The same of its routes' buckets.
    pub routes: Option<Box<[u64]>>,
}

/// A day of a key that is over and was not saved yet.
#[derive(Clone, Debug)]
pub(super) struct Done {
    /// The place of the key in its shard.
    pub at: usize,
    pub slot: Slot,
}

/// Slots, and what is to be saved of them.
#[derive(Debug, Default)]
pub(super) struct Shard {
    blocks: Vec<Option<Box<[Slot]>>>,
    /// Keys whose slots are dirty.
    pub dirty: Vec<u32>,
    pub done: Vec<Done>,
    /// Days that could not be kept for saving.
    pub lost: u64,
}

/// Days kept for saving in one shard while the store takes none.
const MOST_DONE: usize = 16_384;

/// Where a slot puts its day when that is over.
pub(super) struct DayEnd<'s> {
    at: usize,
    done: &'s mut Vec<Done>,
    lost: &'s mut u64,
}

impl Shard {
    /// Room for so many slots, none made yet.
    pub fn new(slots: usize) -> Shard {
        Shard {
            blocks: vec![None; slots.div_ceil(BLOCK)],
            ..Shard::default()
        }
    }

    /// The slot at a place, which is within what there is room for.
    pub fn slot(&mut self, at: usize) -> (&mut Slot, DayEnd<'_>) {
        let block = self.blocks[at / BLOCK]
            .get_or_insert_with(|| vec![Slot::default(); BLOCK].into_boxed_slice());
        let end = DayEnd {
            at,
            done: &mut self.done,
            lost: &mut self.lost,
        };
        (&mut block[at % BLOCK], end)
    }

    /// Every slot that has been used, and its place.
    pub fn used(&self) -> impl Iterator<Item = (usize, &Slot)> {
        let blocks = self.blocks.iter().enumerate();
        let slots = blocks.flat_map(|(block, slots)| {
            let slots = slots.iter().flat_map(|slots| slots.iter());
            slots
                .enumerate()
                .map(move |(at, slot)| (block * BLOCK + at, slot))
        });
        slots.filter(|(_, slot)| slot.day > 0)
    }

    /// The slot at a place, if the key has been used.
    pub fn seen(&self, at: usize) -> Option<&Slot> {
        let slot = self.blocks.get(at / BLOCK)?.as_ref()?.get(at % BLOCK)?;
        (slot.day > 0).then_some(slot)
    }
}

impl Slot {
    /// Begins a new day if one has begun. Not while the clock is in doubt: then the old one goes on.
    pub fn turn(&mut self, today: Day, guard: &Guard, end: DayEnd<'_>) {
        if self.day == today {
            return;
        }
        if self.day == 0 {
            self.day = today;
            return;
        }
        // A correction at midnight may take the clock back by a moment; further back, it was wrong before.
        let moved = today > self.day || today + 1 < self.day;
        if !moved || !guard.believes() {
            return;
        }
        if self.dirty && end.done.len() < MOST_DONE {
            end.done.push(Done {
                at: end.at,
                slot: self.clone(),
            });
        } else if self.dirty {
            *end.lost += 1;
        }
        self.day = today;
        self.used = 0;
        self.by_query = 0;
        self.by_authorizer = 0;
    }

    /// Begins a new period of the quota if the slot's day is in another one.
    pub fn turn_quota(&mut self, quota: Option<Quota>) {
        let Some(quota) = quota else {
            return;
        };
        let (period, start) = (quota.period.number(), quota.period.start(self.day));
        if (self.quota_period, self.quota_start) == (period, start) {
            return;
        }
        let first = self.quota_period == 0;
        self.offset = if first { quota.offset } else { 0 };
        self.quota_used = self.offset;
        self.quota_period = period;
        self.quota_start = start;
    }

    pub fn count(&mut self, source: Source) {
        self.used = self.used.saturating_add(1);
        let further = match source {
            Source::Header => return,
            Source::Query => &mut self.by_query,
            Source::Authorizer => &mut self.by_authorizer,
        };
        *further = further.saturating_add(1);
    }

    /// When a route's bucket will be full.
    pub fn route(&self, at: usize) -> u64 {
        let routes = self.routes.as_ref();
        routes
            .and_then(|routes| routes.get(at))
            .copied()
            .unwrap_or_default()
    }

    pub fn set_route(&mut self, at: usize, full_at: u64, routes: usize) {
        let routes = self
            .routes
            .get_or_insert_with(|| vec![0; routes].into_boxed_slice());
        if let Some(route) = routes.get_mut(at) {
            *route = full_at;
        }
    }
}
