//! Signatures that were used: each is good once within its time. A signature is reserved while its request is under way
//! and comes free again when the request is refused for another reason; only what goes on to be stored spends it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;

/// SHA-256 of access key id and signature.
type Mark = [u8; 32];

/// The signatures of one authorizer that are reserved or spent.
#[derive(Debug, Default)]
pub(super) struct Replays {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// With the last second at which each is good.
    marks: HashMap<Mark, i64>,
    by_end: BTreeSet<(i64, Mark)>,
    /// The latest end of one that was forgotten: of signatures up to there it is not known whether they were used.
    forgotten: Option<i64>,
}

/// Why a signature cannot be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was used, or its request is under way.
    Replayed,
    /// Its time was over before its request was there as a whole.
    Over,
    /// As many as may be kept are still good, and none may be forgotten.
    Full,
}

/// A signature whose request is under way. Dropped, it is good again; unless it was spent.
#[derive(Debug)]
pub(in crate::authn) struct Reservation {
    replays: Arc<Replays>,
    mark: Mark,
    until: i64,
    spent: bool,
}

impl Replays {
    /// Takes a signature that is good up to and including second `until`. `now`: seconds since 1970, at this moment and
    /// not when the request began. `max`: how many may be kept.
    pub fn reserve(
        self: &Arc<Replays>,
        (access_key, signature): (&str, &str),
        until: i64,
        now: i64,
        max: usize,
    ) -> Result<Reservation, Taken> {
        let text = format!("{access_key}\n{signature}");
        let mut mark = [0; 32];
        mark.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((end, old)) = seen.by_end.first().copied()
            && end < now
        {
            seen.forget(end, &old);
            seen.forgotten = seen.forgotten.max(Some(end));
        }
        // A clock that is set back does not make what was forgotten good again.
        if until < now || seen.forgotten.is_some_and(|end| until <= end) {
            return Err(Taken::Over);
        }
        if seen.marks.contains_key(&mark) {
            return Err(Taken::Replayed);
        }
        if seen.marks.len() >= max {
            return Err(Taken::Full);
        }
        seen.marks.insert(mark, until);
        seen.by_end.insert((until, mark));
        Ok(Reservation {
            replays: self.clone(),
            mark,
            until,
            spent: false,
        })
    }
}

impl Seen {
    fn forget(&mut self, end: i64, mark: &Mark) {
        self.by_end.remove(&(end, *mark));
        self.marks.remove(mark);
    }
}

impl Reservation {
    /// The signature is used up.
    pub fn spend(&mut self) {
        self.spent = true;
    }

    /// It is not, after all.
    pub fn unspend(&mut self) {
        self.spent = false;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.spent {
            let mut seen = self
                .replays
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            seen.forget(self.until, &self.mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_signature_is_refused_until_its_time_is_over_and_from_then_on() {
        let replays = Arc::new(Replays::default());
        let take = |now| replays.reserve(("AKID", "aa"), 100, now, 10);
        take(50).unwrap().spend();
        assert_eq!(take(51).unwrap_err(), Taken::Replayed);
        assert_eq!(take(100).unwrap_err(), Taken::Replayed);
        assert!(replays.reserve(("AKID", "ab"), 100, 51, 10).is_ok());
        assert!(replays.reserve(("AKIE", "aa"), 100, 51, 10).is_ok());
        assert_eq!(take(101).unwrap_err(), Taken::Over);
    }

    #[test]
    fn what_was_forgotten_is_not_good_again_whatever_the_clock_says() {
        let replays = Arc::new(Replays::default());
        let slow = |now| replays.reserve(("AKID", "aa"), 100, now, 10);
        slow(50).unwrap().spend();
        // Another request comes after the end, and the mark goes.
        assert!(replays.reserve(("AKID", "ab"), 200, 101, 10).is_ok());
        assert_eq!(replays.seen.lock().unwrap().marks.len(), 0);
        for now in [99, 100, 101] {
            assert_eq!(slow(now).unwrap_err(), Taken::Over);
        }
        assert!(replays.reserve(("AKID", "ac"), 101, 100, 10).is_ok());
    }

    #[test]
    fn a_reserved_signature_comes_free_when_its_request_fails() {
        let replays = Arc::new(Replays::default());
        let take = || replays.reserve(("AKID", "aa"), 100, 50, 10);
        let mut first = take().unwrap();
        assert_eq!(take().unwrap_err(), Taken::Replayed);
        first.spend();
        first.unspend();
        drop(first);
        assert!(take().is_ok());
    }

    #[test]
    fn nothing_that_is_good_is_forgotten_when_there_is_no_room() {
        let replays = Arc::new(Replays::default());
        for signature in ["aa", "ab"] {
            let taken = replays.reserve(("AKID", signature), 100, 50, 2);
            taken.unwrap().spend();
        }
        let third = |now| replays.reserve(("AKID", "ac"), 200, now, 2).map(drop);
        assert_eq!(third(100), Err(Taken::Full));
        assert_eq!(third(101), Ok(()));
        let seen = replays.seen.lock().unwrap();
        assert_eq!((seen.marks.len(), seen.by_end.len()), (0, 0));
    }
}
