//! Doubly linked lists through the places of a slab: an entry leaves the middle of a line at no cost, and nothing is
//! allocated once the slab has grown.

/// No place.
const NONE: u32 = u32::MAX;

/// Things by place; places of things that have left are used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    things: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Slab<T> {
        Slab {
            things: Vec::new(),
            free: Vec::new(),
        }
    }

    /// A place for it. Callers keep fewer than `u32::MAX` things.
    pub(super) fn insert(&mut self, thing: T) -> u32 {
        match self.free.pop() {
            Some(place) => {
                self.things[place as usize] = Some(thing);
                place
            }
            None => {
                self.things.push(Some(thing));
                (self.things.len() - 1) as u32
            }
        }
    }

    pub(super) fn get(&self, place: u32) -> Option<&T> {
        self.things.get(place as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.things.get_mut(place as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let thing = self.things.get_mut(place as usize)?.take()?;
        self.free.push(place);
        Some(thing)
    }
}

/// A thing's neighbours in one list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    before: u32,
    behind: u32,
}

impl Default for Links {
    fn default() -> Self {
        Links {
            before: NONE,
            behind: NONE,
        }
    }
}

/// What has links of the kind `K`: a thing can stand in one list of each kind.
pub(super) trait Linked<K> {
    fn links(&mut self) -> &mut Links;
}

/// The ends of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<K> {
    first: u32,
    last: u32,
    kind: std::marker::PhantomData<K>,
}

impl<K> Default for List<K> {
    fn default() -> Self {
        List {
            first: NONE,
            last: NONE,
            kind: std::marker::PhantomData,
        }
    }
}

impl<K> List<K> {
    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    pub(super) fn last(&self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }

    pub(super) fn push_back<T: Linked<K>>(&mut self, things: &mut Slab<T>, place: u32) {
        link(things, place, self.last, NONE);
        match things.get_mut(self.last) {
            Some(last) => last.links().behind = place,
            None => self.first = place,
        }
        self.last = place;
    }

    pub(super) fn push_front<T: Linked<K>>(&mut self, things: &mut Slab<T>, place: u32) {
        link(things, place, NONE, self.first);
        match things.get_mut(self.first) {
            Some(first) => first.links().before = place,
            None => self.last = place,
        }
        self.first = place;
    }

    /// It stands in this list.
    pub(super) fn remove<T: Linked<K>>(&mut self, things: &mut Slab<T>, place: u32) {
        let Some(Links { before, behind }) = things.get_mut(place).map(|thing| *thing.links())
        else {
            return;
        };
        match things.get_mut(before) {
            Some(before) => before.links().behind = behind,
            None => self.first = behind,
        }
        match things.get_mut(behind) {
            Some(behind) => behind.links().before = before,
            None => self.last = before,
        }
    }

    pub(super) fn pop_front<T: Linked<K>>(&mut self, things: &mut Slab<T>) -> Option<u32> {
        let first = self.first()?;
        self.remove(things, first);
        Some(first)
    }
}

fn link<K, T: Linked<K>>(things: &mut Slab<T>, place: u32, before: u32, behind: u32) {
    if let Some(thing) = things.get_mut(place) {
        *thing.links() = Links { before, behind };
    }
}
