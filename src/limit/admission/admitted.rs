//! A request that was let in: what it holds, and gives back when it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::budget::Budget;
use super::callers::COUNTED_FROM;
use super::{Admission, Scarce};

/// Where fewer may be under way than there are places, a newcomer finds room beyond them: one more for so many.
const ROOM: u64 = 4;

/// A request that was let in. Dropped, it gives back all that it took.
#[derive(Debug)]
pub struct Admitted {
    of: Arc<Admission>,
    target: Option<Arc<Budget>>,
    caller: Option<u64>,
    /// Bytes of its body that were taken of the budget.
    reserved: u64,
    /// Those of them that have come.
    arrived: u64,
}

impl Admitted {
    /// The place has been taken.
    pub(super) fn new(of: Arc<Admission>) -> Admitted {
        Admitted {
            of,
            target: None,
            caller: None,
            reserved: 0,
            arrived: 0,
        }
    }

    /// Takes a place among the requests that wait for the same target.
    pub fn wait_for(&mut self, target: &Arc<Budget>) -> Result<(), Scarce> {
        if self.target.is_some() {
            return Ok(());
        }
        if !target.take(1) {
            return Err(self.of.refuse(Scarce::Target {
                target: target.name().clone(),
                limit: target.limit(),
            }));
        }
        self.target = Some(target.clone());
        Ok(())
    }

    /// Asks whether the caller has its share of the places already. `caller`: its name where one is proven, else its
    /// address.
    pub fn share(&mut self, caller: &[u8]) -> Result<(), Scarce> {
        let (places, target) = (&self.of.places, self.target.as_deref());
        let scarce = |budget: &Budget| budget.used() > budget.limit() / COUNTED_FROM;
        let held = self.of.waiting.held();
        let late = || self.of.refuse(Scarce::Waiting(self.of.waiting.refuse()));
        if held.is_some_and(|held| places.used() > held + held / ROOM) {
            return Err(late());
        }
        let counts = held.is_some() || scarce(places) || target.is_some_and(scarce);
        if self.caller.is_some() || !counts {
            return Ok(());
        }
        // Its own place is taken already, and is not among the free ones.
        let free = target.map_or(u64::MAX, Budget::free).min(places.free()) + 1;
        let in_time = held.map_or(u64::MAX, |held| held.saturating_sub(places.used()) + 1);
        let name = target.map_or("", |target| target.name());
        let key = self.of.callers.key(name, caller);
        match self.of.callers.take(key, free.min(in_time)) {
            Ok(()) => {
                self.caller = Some(key);
                Ok(())
            }
            Err(_) if in_time < free => Err(late()),
            Err(held) => Err(self.of.refuse(Scarce::Share { held })),
        }
    }

    /// Makes room for a body of that many bytes in all, as it was declared or as it has become.
    pub fn reserve(&mut self, bytes: u64) -> Result<(), Scarce> {
        let more = bytes.saturating_sub(self.reserved);
        if more == 0 {
            return Ok(());
        }
        self.of
            .memory_for(more)
            .map_err(|scarce| self.of.refuse(scarce))?;
        let bodies = &self.of.bodies;
        if !bodies.take(more) {
            return Err(self.of.refuse(Scarce::Bodies {
                used: bodies.used(),
                limit: bodies.limit(),
                asked: bytes,
            }));
        }
        self.reserved += more;
        Ok(())
    }

    /// Bytes have come: makes room for them where none was made.
    pub fn arrived(&mut self, bytes: u64) -> Result<(), Scarce> {
        let arrived = self.arrived + bytes;
        self.reserve(arrived)?;
        self.arrived = arrived;
        self.of.arrived.fetch_add(bytes, Relaxed);
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(key) = self.caller {
            self.of.callers.give_back(key);
        }
        if let Some(target) = &self.target {
            target.give_back(1);
        }
        if self.arrived > 0 {
            self.of.arrived.fetch_sub(self.arrived, Relaxed);
        }
        if self.reserved > 0 {
            self.of.bodies.give_back(self.reserved);
        }
        self.of.places.give_back(1);
    }
}
