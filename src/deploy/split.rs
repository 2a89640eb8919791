//! Which of two deployments serves a request.
//!
//! A caller's place is a number from 0 to 1, a hash of the canary's id and of what the caller is known by; the canary
//! serves those whose place is below its share. So a caller stays where it is, whoever was in at 5% is in at 25%, another
//! canary meets other callers first, and instances with the same configuration agree without talking.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::digest;
use http::HeaderName;
use http::header::AUTHORIZATION;

use super::id::DeploymentId;
use crate::model::call::Call;
use crate::model::value::Share;

/// The die of a request's id that is thrown for requests without a caller.
const DIE: usize = 2;

/// What a caller can be known by before anybody is asked who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trait {
    /// `$request.header.NAME`
    Header(HeaderName),
    /// `$request.querystring.NAME`
    Query(String),
    /// `$context.identity.sourceIp`
    SourceIp,
}

impl Trait {
    /// The raw credential, the API key, the source address.
    pub fn usual() -> Vec<Trait> {
        vec![
            Trait::Header(AUTHORIZATION),
            Trait::Header(HeaderName::from_static("x-api-key")),
            Trait::SourceIp,
        ]
    }

    /// The request's value, if it has one that is not empty.
    fn of(&self, call: &Call) -> Option<Vec<u8>> {
        let value = match self {
            Trait::Header(name) => call.headers.get(name)?.as_bytes().to_vec(),
            Trait::Query(name) => call.query(name)?,
            Trait::SourceIp => call.source_ip().to_canonical().to_string().into_bytes(),
        };
        (!value.is_empty()).then_some(value)
    }

    /// Told apart in the hash: the same text as a header and as a query parameter is another caller.
    fn tag(&self) -> &[u8] {
        match self {
            Trait::Header(name) => name.as_str().as_bytes(),
            Trait::Query(name) => name.as_bytes(),
            Trait::SourceIp => b"",
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Trait::Header(_) => b'h',
            Trait::Query(_) => b'q',
            Trait::SourceIp => b'a',
        }
    }
}

/// The border between baseline and canary. The share can be moved while requests come.
#[derive(Debug)]
pub struct Split {
    canary: DeploymentId,
    sticky: Vec<Trait>,
    share: AtomicU32,
}

impl Split {
    /// A border at `share`.
    pub fn new(canary: DeploymentId, sticky: Vec<Trait>, share: Share) -> Split {
        Split {
            canary,
            sticky,
            share: AtomicU32::new(share.millionths()),
        }
    }

    /// Moves the border.
    pub fn set(&self, share: Share) {
        self.share.store(share.millionths(), Ordering::Relaxed);
    }

    /// Whether the canary serves the request.
    pub fn is_canary(&self, call: &Call) -> bool {
        let share = self.share.load(Ordering::Relaxed);
        // What needs no hash.
        if share == 0 || share >= Share::ALL.millionths() {
            return share != 0;
        }
        let known = self.sticky.iter().find_map(|by| Some((by, by.of(call)?)));
        let place = match known {
            Some((by, value)) => self.place(by, &value),
            None => (call.id.chance(DIE) * 1e6) as u32,
        };
        place < share
    }

    /// Where a caller stands, in millionths.
    fn place(&self, by: &Trait, value: &[u8]) -> u32 {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(self.canary.as_str().as_bytes());
        hash.update(&[b':', by.kind(), b':']);
        hash.update(by.tag());
        hash.update(b":");
        hash.update(value);
        let hash = hash.finish();
        let first = hash.as_ref().iter().take(8);
        let number = first.fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        // The upper 64 bits of a product of 64 and 20 bits: below a million.
        ((u128::from(number) * 1_000_000) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::model::peer::Peer;

    fn call(header: Option<(&str, &str)>, address: &str) -> Call {
        let mut request = http::Request::builder().uri("/a?tenant=t1");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let from: SocketAddr = address.parse().unwrap();
        let head = request.body(()).unwrap().into_parts().0;
        Call::new(head, Arc::new(Peer::tcp(from, from, "public")))
    }

    fn id(text: &str) -> DeploymentId {
        DeploymentId::of([(Path::new("a.yaml"), text)])
    }

    fn split(share: u32, sticky: Vec<Trait>) -> Split {
        Split::new(id("x"), sticky, Share::percent(share))
    }

    fn callers(split: &Split) -> Vec<bool> {
        let by_key = |n: u32| call(Some(("x-api-key", &format!("key-{n}"))), "10.0.0.1:1");
        (0..4_000).map(|n| split.is_canary(&by_key(n))).collect()
    }

    #[test]
    fn the_share_is_kept_and_callers_stay_when_it_grows() {
        let split = split(5, Trait::usual());
        let at_5 = callers(&split);
        assert_eq!(callers(&split), at_5);
        split.set(Share::percent(25));
        let at_25 = callers(&split);
        let count = |chosen: &[bool]| chosen.iter().filter(|in_it| **in_it).count();
        assert!((120..=280).contains(&count(&at_5)), "{}", count(&at_5));
        assert!((850..=1_150).contains(&count(&at_25)), "{}", count(&at_25));
        assert!(at_5.iter().zip(&at_25).all(|(then, now)| !then || *now));
        split.set(Share::ALL);
        assert_eq!(count(&callers(&split)), 4_000);
        split.set(Share::NONE);
        assert_eq!(count(&callers(&split)), 0);
    }

    #[test]
    fn another_canary_meets_other_callers_first() {
        let one = Split::new(id("x"), Trait::usual(), Share::percent(10));
        let other = Split::new(id("y"), Trait::usual(), Share::percent(10));
        let both = callers(&one).into_iter().zip(callers(&other));
        let same = both.filter(|(a, b)| *a && *b).count();
        assert!(same < 90, "{same}");
    }

    #[test]
    fn the_first_trait_that_a_request_has_counts() {
        let split = split(50, Trait::usual());
        fn chosen(split: &Split, header: Option<(&str, &str)>, address: &str) -> bool {
            split.is_canary(&call(header, address))
        }
        for n in 0..64 {
            let token = format!("Bearer {n}");
            let with = |address| chosen(&split, Some(("authorization", &token)), address);
            assert_eq!(with("10.0.0.1:1"), with("10.9.9.9:2"));
        }
        let by_address: Vec<bool> = (0..64)
            .map(|n| chosen(&split, None, &format!("10.0.0.{n}:1")))
            .collect();
        assert!(by_address.contains(&true) && by_address.contains(&false));
        // The port and the form of an address say nothing of the caller.
        assert_eq!(
            chosen(&split, None, "10.0.0.7:1"),
            chosen(&split, None, "[::ffff:10.0.0.7]:2")
        );
    }

    #[test]
    fn without_a_trait_each_request_goes_its_own_way() {
        let split = split(50, Vec::new());
        let chosen: Vec<bool> = (0..64)
            .map(|_| split.is_canary(&call(None, "10.0.0.1:1")))
            .collect();
        assert!(chosen.contains(&true) && chosen.contains(&false));
    }

    #[test]
    fn the_place_of_a_caller_is_the_same_in_every_version() {
        // Instances of two versions may stand side by side: this number must not change.
        let split = split(50, Trait::usual());
        let place = split.place(&Trait::Header(AUTHORIZATION), b"Bearer 1");
        assert_eq!((split.canary.as_str(), place), ("bd7bff216d3b", 535_100));
    }
}
