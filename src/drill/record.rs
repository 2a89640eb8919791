//! What clients send: each record is a pure function of the seed, the client and the record's number, carries its id
//! wherever a mapping may look, and a sum that shows whether its bytes arrived as they were.

use std::fmt;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::asked::Asked;
use super::random::Random;

/// Which record of which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    pub client: u32,
    pub number: u32,
}

impl Id {
    /// The id as it stands in the record: `drill-SEED-CLIENT-NUMBER`.
    pub fn text(self, seed: u64) -> String {
        format!("drill-{seed:x}-{self}")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.client, self.number)
    }
}

/// The first id of this drill that stands in the bytes.
pub fn find_id(seed: u64, bytes: &[u8]) -> Option<Id> {
    let mark = format!("drill-{seed:x}-");
    let mut rest = bytes;
    loop {
        let at = rest
            .windows(mark.len())
            .position(|window| window == mark.as_bytes())?;
        rest = rest.get(at + mark.len()..)?;
        let end = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit() && *byte != b'-')
            .unwrap_or(rest.len());
        let found = std::str::from_utf8(rest.get(..end)?).ok();
        let id = found.and_then(|text| {
            let (client, number) = text.split_once('-')?;
            Some(Id {
                client: client.parse().ok()?,
                number: number.parse().ok()?,
            })
        });
        if id.is_some() {
            return id;
        }
    }
}

/// What a request is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: Id,
    /// The id as text.
    pub name: String,
    /// The ordering key; it belongs to one client.
    pub key: String,
    /// Which of the routes.
    pub route: usize,
    /// The padding's length, before the route's limit is known.
    padding: usize,
    sum_seed: u64,
}

/// Ordering keys of one client.
const KEYS: u64 = 3;
/// Records of one run, and how many in a hundred belong to none.
const RUN: u64 = 8;
const STRAY: u64 = 20;

impl Record {
    /// The record of that number. Records come in runs of one key on one route, for a later record can overtake an
    /// earlier one only while that is on its way; a few stand between, so that runs are not all there is.
    pub fn of(seed: u64, id: Id, routes: usize) -> Record {
        let (client, number) = (id.client.into(), id.number.into());
        let mut random = Random::of(seed, &[2, client, number]);
        let mut run = match random.percent(STRAY) {
            true => random.clone(),
            false => Random::of(seed, &[5, client, number / RUN]),
        };
        let route = run.between(0, routes as u64) as usize;
        let key = format!("k-{}-{}", id.client, run.between(0, KEYS));
        let padding = match random.between(0, 1000) {
            0..=4 => 200 << 10,
            5..=29 => random.between(32 << 10, 64 << 10),
            30..=149 => random.between(2 << 10, 16 << 10),
            _ => random.between(0, 1500),
        };
        Record {
            id,
            name: id.text(seed),
            key,
            route,
            padding: padding as usize,
            sum_seed: random.next(),
        }
    }

    /// What stands for a name that a mapping asks for: the record's id where the name speaks of one, else the key.
    pub fn value_for(&self, name: &str) -> &str {
        const OF_ONE_RECORD: [&str; 5] = ["id", "dedup", "idempot", "token", "nonce"];
        let name = name.to_ascii_lowercase();
        if OF_ONE_RECORD.iter().any(|part| name.contains(part)) {
            &self.name
        } else {
            &self.key
        }
    }

    /// The body, of at most about `limit` bytes.
    pub fn body(&self, asked: &Asked, limit: u64) -> Bytes {
        let room = usize::try_from(limit).unwrap_or(usize::MAX);
        let padding = padding(
            self.sum_seed,
            self.padding.min(room.saturating_sub(1024) / 2),
        );
        let mut document = Map::new();
        document.insert(
            "drill".to_owned(),
            json!({
                "id": self.name, "client": self.id.client, "key": self.key, "n": self.id.number,
                "sum": sum(&padding),
            }),
        );
        for path in &asked.body {
            place(&mut document, path, |name| {
                self.value_for(name).to_owned().into()
            });
        }
        document.insert("pad".to_owned(), padding.into());
        Value::Object(document).to_string().into()
    }
}

/// Puts a text at the end of a path of names, unless something stands in the way.
fn place(document: &mut Map<String, Value>, path: &[String], value: impl Fn(&str) -> Value) {
    let Some((name, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        document.entry(name).or_insert_with(|| value(name));
        return;
    }
    let inner = document.entry(name).or_insert_with(|| Map::new().into());
    if let Value::Object(inner) = inner {
        place(inner, rest, value);
    }
}

/// Text of about that many characters: letters, what JSON has to escape, and what UTF-8 needs several bytes for.
fn padding(seed: u64, length: usize) -> String {
    const LETTERS: [char; 32] = [
        'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r',
        's', 't', 'u', 'v', 'w', 'x', ' ', '"', '\\', '\n', '$', '{', 'é', '漢',
    ];
    let mut random = Random::of(seed, &[3]);
    let mut text = String::with_capacity(length + 8);
    while text.len() < length {
        let mut bits = random.next();
        for _ in 0..12 {
            text.push(LETTERS[(bits & 31) as usize]);
            bits >>= 5;
        }
    }
    text
}

/// FNV-1a, 64 bits, in hexadecimal.
fn sum(text: &str) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// Whether what arrived is a whole body whose bytes are not those that were sent. A part of a body is not judged.
pub fn is_altered(content: &[u8]) -> bool {
    let Ok(document) = serde_json::from_slice::<Value>(content) else {
        // A body that was cut or mangled is no JSON any more, and still begins like one of ours.
        return content.starts_with(b"{\"drill\":{");
    };
    match (
        document.pointer("/drill/sum").and_then(Value::as_str),
        document.get("pad").and_then(Value::as_str),
    ) {
        (Some(told), Some(padding)) => told != sum(padding),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Id = Id {
        client: 3,
        number: 14,
    };

    #[test]
    fn a_record_is_a_function_of_seed_client_and_number() {
        let body = |seed| Record::of(seed, ID, 4).body(&Asked::default(), 1 << 20);
        assert_eq!(body(9), body(9));
        assert_ne!(body(9), body(10));
    }

    #[test]
    fn records_come_in_runs_of_one_key_on_one_route() {
        let of = |number| {
            let record = Record::of(9, Id { client: 1, number }, 16);
            (record.route, record.key)
        };
        let followed = (0..1000).filter(|number| of(*number) == of(number + 1));
        assert!((400..800).contains(&followed.count()));
        let routes: std::collections::BTreeSet<usize> = (0..1000).map(|n| of(n).0).collect();
        assert_eq!(routes.len(), 16);
    }

    #[test]
    fn the_id_is_found_wherever_it_stands() {
        let body = Record::of(9, ID, 4).body(&Asked::default(), 1 << 20);
        assert_eq!(find_id(9, &body), Some(ID));
        assert_eq!(find_id(9, b"order drill-9-x drill-9-3-14."), Some(ID));
        assert_eq!(find_id(8, &body), None);
        assert_eq!(find_id(9, b"drill-9-3"), None);
    }

    #[test]
    fn bytes_that_changed_on_the_way_are_noticed() {
        let body = Record::of(9, ID, 4).body(&Asked::default(), 1 << 20);
        assert!(!is_altered(&body));
        let changed =
            String::from_utf8(body.to_vec())
                .unwrap()
                .replacen("\"pad\":\"", "\"pad\":\"!", 1);
        assert!(is_altered(changed.as_bytes()));
        assert!(is_altered(&body[..body.len() - 1]));
        assert!(!is_altered(b"only the id drill-9-3-14"));
    }

    #[test]
    fn what_mappings_ask_for_is_there_and_the_limit_holds() {
        let asked = Asked {
            body: vec![
                vec!["customer".to_owned(), "name".to_owned()],
                vec!["orderId".to_owned()],
                vec!["drill".to_owned(), "key".to_owned()],
            ],
            ..Asked::default()
        };
        for number in 0..500 {
            let record = Record::of(9, Id { client: 1, number }, 4);
            let body = record.body(&asked, 8 << 10);
            assert!(body.len() <= 8 << 10, "{}", body.len());
            let document: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(document["customer"]["name"], record.key);
            assert_eq!(document["orderId"], record.name);
            assert_eq!(document["drill"]["key"], record.key);
        }
    }
}
