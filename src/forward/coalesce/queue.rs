//! What waits for calls to one target: round-robin over tenants, each key's entries in the order of their coming, and no
//! entry of a key that is in a call. Whatever is done costs the same however much waits.
//!
//! An entry stands in one *line*: its tenant's, ready to go, or its key's, behind an earlier entry of the key or because
//! the key is in a call. Of a key that is in no call the earliest entry is ready, and only that. It also stands among
//! all that its tenant has here, by arrival, so that the newest can be found when it has to give way.

use std::collections::HashMap;

use super::list::{Linked, Links, List, Slab};

/// The line in which an entry stands.
#[derive(Debug)]
enum Line {}
/// All entries of a tenant.
#[derive(Debug)]
enum All {}
/// Tenants that have something ready.
#[derive(Debug)]
enum Ring {}

/// An entry's name in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    place: u32,
    /// Places are used again, numbers are not.
    number: u64,
}

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    thing: T,
    bytes: usize,
    tenant: u32,
    key: Option<u32>,
    line: Links,
    all: Links,
}

#[derive(Debug)]
struct Tenant {
    id: u64,
    ready: List<Line>,
    all: List<All>,
    entries: usize,
    ring: Links,
}

#[derive(Debug)]
struct Key {
    name: Box<str>,
    /// In a call.
    busy: bool,
    /// The entry that stands in its tenant's line.
    ready: Option<u32>,
    behind: List<Line>,
    entries: usize,
    bytes: usize,
}

impl<T> Linked<Line> for Entry<T> {
    fn links(&mut self) -> &mut Links {
        &mut self.line
    }
}

impl<T> Linked<All> for Entry<T> {
    fn links(&mut self) -> &mut Links {
        &mut self.all
    }
}

impl Linked<Ring> for Tenant {
    fn links(&mut self) -> &mut Links {
        &mut self.ring
    }
}

/// Keys that are in a call; given back with [`Queue::release`].
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Keys(Vec<u32>);

/// How much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes;
    }

    fn less(&self, other: Amount) -> Amount {
        Amount {
            entries: self.entries.saturating_sub(other.entries),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Queue<T> {
    entries: Slab<Entry<T>>,
    tenants: Slab<Tenant>,
    by_id: HashMap<u64, u32>,
    keys: Slab<Key>,
    by_name: HashMap<Box<str>, u32>,
    ring: List<Ring>,
    waiting: Amount,
    /// Of keys that are in a call.
    parked: Amount,
    next_number: u64,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Queue<T> {
        Queue {
            entries: Slab::new(),
            tenants: Slab::new(),
            by_id: HashMap::new(),
            keys: Slab::new(),
            by_name: HashMap::new(),
            ring: List::default(),
            waiting: Amount::default(),
            parked: Amount::default(),
            next_number: 0,
        }
    }

    /// All that waits.
    pub(super) fn waiting(&self) -> Amount {
        self.waiting
    }

    /// What could go now.
    pub(super) fn ready(&self) -> Amount {
        self.waiting.less(self.parked)
    }

    /// Tenants of whom something waits.
    pub(super) fn tenants(&self) -> usize {
        self.by_id.len()
    }

    /// Entries of the tenant.
    pub(super) fn entries_of(&self, tenant: u64) -> usize {
        let place = self.by_id.get(&tenant);
        let tenant = place.and_then(|place| self.tenants.get(*place));
        tenant.map_or(0, |tenant| tenant.entries)
    }

    /// Takes an entry into its line.
    pub(super) fn push(
        &mut self,
        tenant: u64,
        key: Option<&str>,
        bytes: usize,
        thing: T,
    ) -> Ticket {
        let tenant = self.tenant(tenant);
        let key = key.map(|name| self.key(name));
        let number = self.next_number;
        self.next_number += 1;
        let place = self.entries.insert(Entry {
            number,
            thing,
            bytes,
            tenant,
            key,
            line: Links::default(),
            all: Links::default(),
        });
        self.waiting.add(bytes);
        if let Some(tenant) = self.tenants.get_mut(tenant) {
            tenant.entries += 1;
            tenant.all.push_back(&mut self.entries, place);
        }
        match key.and_then(|key| self.keys.get_mut(key)) {
            Some(key) => {
                key.entries += 1;
                key.bytes += bytes;
                let waits = key.busy || key.ready.is_some();
                if key.busy {
                    self.parked.add(bytes);
                }
                if waits {
                    key.behind.push_back(&mut self.entries, place);
                } else {
                    self.make_ready(place);
                }
            }
            None => self.make_ready(place),
        }
        Ticket { place, number }
    }

    /// Takes out what goes in one call, at most `most` entries and `limit` bytes (a single one may be larger), and
    /// marks its keys as busy. `best` chooses how many of them go, by the bytes of each: the others keep their places.
    pub(super) fn take(
        &mut self,
        most: usize,
        limit: usize,
        best: impl FnOnce(&[usize]) -> usize,
    ) -> (Vec<T>, Keys) {
        let most = most.min(self.ready().entries);
        let mut places = Vec::with_capacity(most);
        let mut sizes = Vec::with_capacity(most);
        let mut bytes = 0;
        while places.len() < most
            && let Some((place, size)) = self.peek()
            && (places.is_empty() || bytes + size <= limit)
        {
            bytes += size;
            self.leave_line(place);
            places.push(place);
            sizes.push(size);
        }
        let chosen = best(&sizes).clamp(1, places.len().max(1));
        while places.len() > chosen
            && let Some(place) = places.pop()
        {
            self.put_back(place);
        }
        let mut things = Vec::with_capacity(places.len());
        let mut keys = Keys::default();
        for place in places {
            let Some((thing, key)) = self.remove(place) else {
                continue;
            };
            things.push(thing);
            if let Some((place, key)) =
                key.and_then(|place| Some((place, self.keys.get_mut(place)?)))
                && !std::mem::replace(&mut key.busy, true)
            {
                keys.0.push(place);
            }
        }
        for key in &keys.0 {
            self.park(*key);
        }
        (things, keys)
    }

    /// The call that held the keys has ended.
    pub(super) fn release(&mut self, keys: Keys) {
        for place in keys.0 {
            let Some(key) = self.keys.get_mut(place) else {
                continue;
            };
            key.busy = false;
            self.parked.entries -= key.entries;
            self.parked.bytes -= key.bytes;
            self.promote(place);
        }
    }

    /// Takes an entry out, if it still waits.
    pub(super) fn withdraw(&mut self, ticket: Ticket) -> Option<T> {
        let entry = self.entries.get(ticket.place)?;
        if entry.number != ticket.number {
            return None;
        }
        self.pull(ticket.place)
    }

    /// Takes out the newest entry of the tenant who has the most, if that is more than `most`.
    pub(super) fn displace(&mut self, most: usize) -> Option<T> {
        let tenants = self.by_id.values();
        let tenants = tenants.filter_map(|place| self.tenants.get(*place));
        let largest = tenants.max_by_key(|tenant| tenant.entries)?;
        let newest = largest.all.last().filter(|_| largest.entries > most)?;
        self.pull(newest)
    }

    /// The entry whose turn it is.
    fn peek(&self) -> Option<(u32, usize)> {
        let tenant = self.tenants.get(self.ring.first()?)?;
        let place = tenant.ready.first()?;
        Some((place, self.entries.get(place)?.bytes))
    }

    /// An entry's tenant and key.
    fn whose(&self, place: u32) -> Option<(u32, Option<u32>)> {
        let entry = self.entries.get(place)?;
        Some((entry.tenant, entry.key))
    }

    /// The entry leaves its tenant's line for a call; the next of its key comes up, and its tenant's next turn comes
    /// after everybody else's.
    fn leave_line(&mut self, place: u32) {
        let Some((tenant, key)) = self.whose(place) else {
            return;
        };
        self.unready(place);
        if let Some(key) = key {
            self.promote(key);
        }
        if let Some(of) = self.tenants.get(tenant)
            && !of.ready.is_empty()
        {
            self.ring.remove(&mut self.tenants, tenant);
            self.ring.push_back(&mut self.tenants, tenant);
        }
    }

    /// The entry is the next to go again.
    fn put_back(&mut self, place: u32) {
        let Some((tenant, key)) = self.whose(place) else {
            return;
        };
        if let Some(key) = key {
            let usurper = self.keys.get(key).and_then(|key| key.ready);
            if let Some(usurper) = usurper {
                self.unready(usurper);
                if let Some(key) = self.keys.get_mut(key) {
                    key.behind.push_front(&mut self.entries, usurper);
                }
            }
            if let Some(key) = self.keys.get_mut(key) {
                key.ready = Some(place);
            }
        }
        let Some(of) = self.tenants.get_mut(tenant) else {
            return;
        };
        let absent = of.ready.is_empty();
        of.ready.push_front(&mut self.entries, place);
        if !absent {
            self.ring.remove(&mut self.tenants, tenant);
        }
        self.ring.push_front(&mut self.tenants, tenant);
    }

    /// Takes an entry out of the line that it stands in, and away.
    fn pull(&mut self, place: u32) -> Option<T> {
        let key = self.entries.get(place)?.key;
        match key.and_then(|key| self.keys.get_mut(key)) {
            Some(of) if of.ready != Some(place) => {
                of.behind.remove(&mut self.entries, place);
                if of.busy {
                    let bytes = self.entries.get(place).map_or(0, |entry| entry.bytes);
                    self.parked.entries -= 1;
                    self.parked.bytes -= bytes;
                }
            }
            _ => {
                self.unready(place);
                if let Some(key) = key {
                    self.promote(key);
                }
            }
        }
        let (thing, key) = self.remove(place)?;
        if let Some(key) = key {
            self.forget_if_unused(key);
        }
        Some(thing)
    }

    /// The entry, which stands in no line, is gone; with its key, which is not forgotten yet.
    fn remove(&mut self, place: u32) -> Option<(T, Option<u32>)> {
        let place_of_tenant = self.entries.get(place)?.tenant;
        if let Some(tenant) = self.tenants.get_mut(place_of_tenant) {
            tenant.all.remove(&mut self.entries, place);
            tenant.entries -= 1;
            if tenant.entries == 0
                && let Some(tenant) = self.tenants.remove(place_of_tenant)
            {
                self.by_id.remove(&tenant.id);
            }
        }
        let entry = self.entries.remove(place)?;
        self.waiting.entries -= 1;
        self.waiting.bytes -= entry.bytes;
        if let Some(key) = entry.key.and_then(|key| self.keys.get_mut(key)) {
            key.entries -= 1;
            key.bytes -= entry.bytes;
        }
        Some((entry.thing, entry.key))
    }

    /// The key is in a call now: what is left of it waits.
    fn park(&mut self, place: u32) {
        let ready = self.keys.get(place).and_then(|key| key.ready);
        if let Some(ready) = ready {
            self.unready(ready);
        }
        let Some(key) = self.keys.get_mut(place) else {
            return;
        };
        if let Some(ready) = ready {
            key.behind.push_front(&mut self.entries, ready);
        }
        self.parked.entries += key.entries;
        self.parked.bytes += key.bytes;
    }

    fn make_ready(&mut self, place: u32) {
        let Some((tenant, key)) = self.whose(place) else {
            return;
        };
        if let Some(key) = key.and_then(|key| self.keys.get_mut(key)) {
            key.ready = Some(place);
        }
        let Some(of) = self.tenants.get_mut(tenant) else {
            return;
        };
        let absent = of.ready.is_empty();
        of.ready.push_back(&mut self.entries, place);
        if absent {
            self.ring.push_back(&mut self.tenants, tenant);
        }
    }

    /// The entry leaves its tenant's line.
    fn unready(&mut self, place: u32) {
        let Some((tenant, key)) = self.whose(place) else {
            return;
        };
        if let Some(key) = key.and_then(|key| self.keys.get_mut(key)) {
            key.ready = None;
        }
        if let Some(of) = self.tenants.get_mut(tenant) {
            of.ready.remove(&mut self.entries, place);
            if of.ready.is_empty() {
                self.ring.remove(&mut self.tenants, tenant);
            }
        }
    }

    /// The first of those that wait behind their key comes up; a key without entries is forgotten, unless it is in a
    /// call.
    fn promote(&mut self, place: u32) {
        let Some(key) = self.keys.get_mut(place) else {
            return;
        };
        if key.busy || key.ready.is_some() {
            return;
        }
        match key.behind.pop_front(&mut self.entries) {
            Some(next) => self.make_ready(next),
            None => self.forget_if_unused(place),
        }
    }

    fn forget_if_unused(&mut self, place: u32) {
        let unused = |key: &&mut Key| key.entries == 0 && !key.busy;
        if self.keys.get_mut(place).filter(unused).is_some()
            && let Some(key) = self.keys.remove(place)
        {
            self.by_name.remove(&key.name);
        }
    }

    fn tenant(&mut self, id: u64) -> u32 {
        let tenants = &mut self.tenants;
        *self.by_id.entry(id).or_insert_with(|| {
            tenants.insert(Tenant {
                id,
                ready: List::default(),
                all: List::default(),
                entries: 0,
                ring: Links::default(),
            })
        })
    }

    fn key(&mut self, name: &str) -> u32 {
        if let Some(place) = self.by_name.get(name) {
            return *place;
        }
        let place = self.keys.insert(Key {
            name: name.into(),
            busy: false,
            ready: None,
            behind: List::default(),
            entries: 0,
            bytes: 0,
        });
        self.by_name.insert(name.into(), place);
        place
    }
}

#[cfg(test)]
mod tests;
