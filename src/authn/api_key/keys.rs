//! Every configured key in one table: a million of them take some 60 MB, and finding one costs the same as among ten.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};

use super::hash::{Digest, KeyHash, Salt, id_in, sha256};
use super::index::Index;
use crate::limit::usage::Names;

/// A key on its way into the table.
#[derive(Clone, Copy, Debug)]
pub struct NewKey<'a> {
    /// The name it goes by.
    pub id: &'a str,
    pub hash: KeyHash,
    /// The position of its usage plan.
    pub plan: Option<u16>,
    pub enabled: bool,
}

/// Two keys that cannot both be, by their positions in what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// They have the same id.
    Id(usize, usize),
    /// They are the same key.
    Hash(usize, usize),
}

/// A key that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    pub id: Arc<str>,
    /// The key's number in the table.
    pub number: u32,
    /// The position of its usage plan.
    pub plan: Option<u16>,
}

/// Why a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no API key was sent")]
    Missing,
    #[error("the API key is not known")]
    Unknown,
    #[error("the API key {0} is disabled")]
    Disabled(Arc<str>),
}

/// Every configured key.
#[derive(Default)]
pub struct ApiKeys {
    /// By the SHA-256 of the key. The number of a key is its position here, or, salted, behind all of these.
    plain: Index,
    /// By the SHA-256 of the id.
    salted: Index,
    salts: Box<[(Salt, Digest)]>,
    /// All ids, one after the other in the order of their numbers, and where each ends.
    ids: Box<str>,
    ends: Box<[u32]>,
    /// The lower 15 bits: the usage plan's position and one, or 0; the highest: the key is disabled.
    facts: Box<[u16]>,
    /// Numbers in the order of the ids.
    by_id: Box<[u32]>,
    /// The names of the usage plans.
    plans: Box<[Arc<str>]>,
    /// How many requests brought their key in the query.
    from_query: AtomicU64,
}

const DISABLED: u16 = 1 << 15;

/// The most usage plans that keys can be told apart by.
pub const MOST_PLANS: usize = (DISABLED - 1) as usize;

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}

impl ApiKeys {
    /// The table, with the names of the usage plans that the keys' positions mean.
    ///
    /// # Errors
    /// Every pair of keys with the same id or the same hash, in the order of the later one.
    pub fn new(keys: &[NewKey<'_>], plans: Vec<Arc<str>>) -> Result<ApiKeys, Vec<Clash>> {
        let (mut plain, mut salted) = (Vec::new(), Vec::new());
        for (position, key) in keys.iter().enumerate() {
            let position = position as u32;
            match key.hash {
                KeyHash::Plain(hash) => plain.push((hash, position)),
                KeyHash::Salted { .. } => salted.push((sha256(&[key.id.as_bytes()]), position)),
            }
        }
        plain.sort_unstable();
        salted.sort_unstable();
        let mut clashes = repeated(&plain, |(a, _), (b, _)| a.cmp(b), Clash::Hash);
        let order: Vec<u32> = plain
            .iter()
            .chain(&salted)
            .map(|(_, position)| *position)
            .collect();
        let mut numbers = vec![0u32; keys.len()];
        for (number, position) in order.iter().enumerate() {
            numbers[*position as usize] = number as u32;
        }
        // In the order of the files, which is often that of the ids already.
        let mut by_name: Vec<(&str, u32)> = (0..).zip(keys).map(|(at, key)| (key.id, at)).collect();
        by_name.sort_unstable();
        clashes.extend(repeated(&by_name, |(a, _), (b, _)| a.cmp(b), Clash::Id));
        let by_id = by_name
            .iter()
            .map(|(_, position)| numbers[*position as usize]);
        if !clashes.is_empty() {
            clashes.sort_by_key(|clash| match clash {
                Clash::Id(_, later) | Clash::Hash(_, later) => *later,
            });
            return Err(clashes);
        }
        let mut table = ApiKeys {
            salts: salted
                .iter()
                .filter_map(|(_, position)| match keys[*position as usize].hash {
                    KeyHash::Salted { salt, hash } => Some((salt, hash)),
                    KeyHash::Plain(_) => None,
                })
                .collect(),
            plain: Index::new(plain.into_iter().map(|(hash, _)| hash).collect()),
            salted: Index::new(salted.into_iter().map(|(hash, _)| hash).collect()),
            by_id: by_id.collect(),
            plans: plans.into(),
            ..ApiKeys::default()
        };
        let mut ids = String::with_capacity(keys.iter().map(|key| key.id.len()).sum());
        let mut ends = Vec::with_capacity(order.len());
        let mut facts = Vec::with_capacity(order.len());
        for position in order {
            let key = &keys[position as usize];
            ids.push_str(key.id);
            ends.push(ids.len() as u32);
            let plan = key.plan.map_or(0, |plan| (plan + 1) & !DISABLED);
            facts.push(if key.enabled { plan } else { plan | DISABLED });
        }
        table.ids = ids.into();
        table.ends = ends.into();
        table.facts = facts.into();
        Ok(table)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Finds a key by its text. Takes as long for a key that is not known as for one that is, but for what its form
    /// says.
    ///
    /// # Errors
    /// [`Refused`]; the text is in none of them.
    pub fn find(&self, key: &[u8]) -> Result<KeyEntry, Refused> {
        if key.is_empty() {
            return Err(Refused::Missing);
        }
        let number = match self.plain.find(&sha256(&[key])) {
            Some(number) => Some(number),
            None => self.find_salted(key),
        };
        let number = number.ok_or(Refused::Unknown)?;
        let id = Arc::from(self.id(number).ok_or(Refused::Unknown)?);
        match self.facts.get(number as usize) {
            Some(facts) if facts & DISABLED == 0 => Ok(KeyEntry {
                id,
                number,
                plan: self.plan_of(number),
            }),
            Some(_) => Err(Refused::Disabled(id)),
            None => Err(Refused::Unknown),
        }
    }

    fn find_salted(&self, key: &[u8]) -> Option<u32> {
        if self.salts.is_empty() {
            return None;
        }
        let at = self.salted.find(&sha256(&[id_in(key)?]));
        // An id that nobody has takes as long as one that somebody has.
        let (salt, hash) = at
            .and_then(|at| self.salts.get(at as usize))
            .copied()
            .unwrap_or_default();
        let matches = KeyHash::Salted { salt, hash }.is_of(key);
        let number = at? + self.plain.len() as u32;
        matches.then_some(number)
    }

    /// The id of the key with a number.
    pub fn id(&self, number: u32) -> Option<&str> {
        let at = number as usize;
        let start = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.ids.get(start as usize..*self.ends.get(at)? as usize)
    }

    /// The position of the usage plan that a key is in.
    pub fn plan_of(&self, number: u32) -> Option<u16> {
        let plan = self.facts.get(number as usize)? & !DISABLED;
        plan.checked_sub(1)
    }

    /// The name of a usage plan.
    pub fn plan_name(&self, plan: u16) -> Option<&Arc<str>> {
        self.plans.get(usize::from(plan))
    }

    /// The number of the key with an id.
    pub fn number(&self, id: &str) -> Option<u32> {
        let named = |number: &u32| self.id(*number).map_or(Ordering::Less, |own| own.cmp(id));
        let at = self.by_id.binary_search_by(named).ok()?;
        self.by_id.get(at).copied()
    }

    /// How many requests brought a key in the query since the start, good or not.
    pub fn from_query(&self) -> u64 {
        self.from_query.load(Memory::Relaxed)
    }

    pub(super) fn count_query(&self) {
        self.from_query.fetch_add(1, Memory::Relaxed);
    }
}

impl ApiKeys {
    /// Whether both hold the same ids under the same numbers and plans; what they hash to may differ.
    pub fn same_names(&self, other: &ApiKeys) -> bool {
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        self.len() == other.len()
            && (0..count)
                .all(|key| self.id(key) == other.id(key) && self.plan_of(key) == other.plan_of(key))
    }
}

impl Names for ApiKeys {
    fn id(&self, key: u32) -> Option<&str> {
        ApiKeys::id(self, key)
    }
    fn number(&self, id: &str) -> Option<u32> {
        ApiKeys::number(self, id)
    }
    fn plan_of(&self, key: u32) -> Option<u16> {
        ApiKeys::plan_of(self, key)
    }
}

/// Neighbours that are equal, as clashes of the first with each later one.
fn repeated<T>(
    sorted: &[(T, u32)],
    compare: impl Fn(&(T, u32), &(T, u32)) -> Ordering,
    clash: impl Fn(usize, usize) -> Clash,
) -> Vec<Clash> {
    let mut found = Vec::new();
    let mut first = 0;
    for at in 1..sorted.len() {
        if compare(&sorted[first], &sorted[at]) == Ordering::Equal {
            found.push(clash(sorted[first].1 as usize, sorted[at].1 as usize));
        } else {
            first = at;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key<'a>(id: &'a str, hash: KeyHash) -> NewKey<'a> {
        NewKey {
            id,
            hash,
            plan: None,
            enabled: true,
        }
    }

    #[test]
    fn keys_are_found_by_hash_or_by_the_id_in_them_and_refused_by_what_is_wrong() {
        let salted = KeyHash::salted(b"psk_partner_eu_0123456789", [3; 16]);
        let keys = [
            NewKey {
                plan: Some(1),
                ..key("acme", KeyHash::of(b"good"))
            },
            NewKey {
                enabled: false,
                ..key("former", KeyHash::of(b"old"))
            },
            NewKey {
                plan: Some(0),
                ..key("partner_eu", salted)
            },
        ];
        let plans = vec!["bronze".into(), "gold".into()];
        let table = ApiKeys::new(&keys, plans).unwrap();
        let found = table.find(b"good").unwrap();
        assert_eq!((&*found.id, found.plan), ("acme", Some(1)));
        assert_eq!(table.plan_name(1).map(|name| &**name), Some("gold"));
        let partner = table.find(b"psk_partner_eu_0123456789").unwrap();
        assert_eq!((&*partner.id, partner.plan), ("partner_eu", Some(0)));
        for unknown in [
            &b"bad"[..],
            b"psk_partner_eu_0123456788",
            b"psk_stranger_0123456789",
            b"acme",
            b"psk_partner_eu_",
        ] {
            assert_eq!(table.find(unknown), Err(Refused::Unknown));
        }
        assert_eq!(table.find(b""), Err(Refused::Missing));
        assert_eq!(table.find(b"old"), Err(Refused::Disabled("former".into())));
        for id in ["acme", "former", "partner_eu"] {
            let number = table.number(id).unwrap();
            assert_eq!(table.id(number), Some(id));
        }
        assert_eq!(table.number("stranger"), None);
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn two_keys_with_one_id_or_one_hash_are_named() {
        let keys = [
            key("a", KeyHash::of(b"1")),
            key("b", KeyHash::of(b"1")),
            key("a", KeyHash::of(b"2")),
            key("a", KeyHash::salted(b"psk_a_1", [0; 16])),
        ];
        let clashes = ApiKeys::new(&keys, Vec::new()).unwrap_err();
        assert_eq!(
            clashes,
            [Clash::Hash(0, 1), Clash::Id(0, 2), Clash::Id(0, 3)]
        );
    }

    #[test]
    fn an_empty_table_knows_nobody() {
        let table = ApiKeys::default();
        assert_eq!(table.find(b"psk_a_1"), Err(Refused::Unknown));
        assert_eq!(table.number("a"), None);
        assert!(table.is_empty());
    }
}
