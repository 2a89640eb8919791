//! The time that requests are signed with: this machine's, unless a service has said that it is off.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::sigv4::Stamp;

/// A refusal for a signature is about the time only if the service's is this far from ours: services allow five minutes
/// (fifteen for some), and the SDK draws the line here.
const APART: Duration = Duration::from_secs(4 * 60);

/// What services say to a request that was signed at another time than theirs, among other reasons.
const CODES: &[&str] = &[
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "AuthFailure",
    "AccessDeniedException",
];

/// The clock. Starts with this machine's time.
#[derive(Debug)]
pub(super) struct Clock {
    /// Milliseconds by which the services' time is ahead of ours.
    ahead: AtomicI64,
    /// The last second that was asked for.
    stamp: ArcSwap<Stamp>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock {
            ahead: AtomicI64::new(0),
            stamp: ArcSwap::from_pointee(Stamp::of(SystemTime::UNIX_EPOCH)),
        }
    }
}

impl Clock {
    /// The time to sign with, if this machine's is `now`.
    pub(super) fn stamp(&self, now: SystemTime) -> Arc<Stamp> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_millis(ahead.unsigned_abs());
        let moved = match ahead {
            0.. => now.checked_add(by),
            _ => now.checked_sub(by),
        };
        let time = moved.unwrap_or(now);
        let kept = self.stamp.load();
        if kept.is_of(time) {
            return kept.clone();
        }
        let stamp = Arc::new(Stamp::of(time));
        self.stamp.store(stamp.clone());
        stamp
    }

    /// Takes the service's time from its refusal of a request that was signed with `signed` and sent at `sent`, and
    /// answered at `now`; whether it did, so that the request may be signed anew. `date`: the answer's header.
    pub(super) fn learns(
        &self,
        code: &str,
        date: Option<&str>,
        signed: &Stamp,
        sent: SystemTime,
        now: SystemTime,
    ) -> bool {
        if !CODES.contains(&code) {
            return false;
        }
        let theirs = date
            .and_then(|date| DateTime::from_str(date, Format::HttpDate).ok())
            .and_then(|date| SystemTime::try_from(date).ok());
        let Some(theirs) = theirs else {
            return false;
        };
        if difference(theirs, signed.time()).unsigned_abs() <= APART.as_millis() {
            return false; // it refuses the signature, not the time
        }
        let midway = sent + now.duration_since(sent).unwrap_or_default() / 2;
        let ahead = difference(theirs, midway);
        let ahead = i64::try_from(ahead).unwrap_or_default();
        tracing::warn!(
            ahead_ms = ahead,
            "The clock differs from the service's; requests are signed with the service's time"
        );
        self.ahead.store(ahead, Ordering::Relaxed);
        true
    }
}

/// Milliseconds from `b` to `a`.
fn difference(a: SystemTime, b: SystemTime) -> i128 {
    let millis = |by: Duration| i128::try_from(by.as_millis()).unwrap_or(i128::MAX);
    match a.duration_since(b) {
        Ok(by) => millis(by),
        Err(before) => -millis(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_348_800); // 2026-11-22T12:00:00Z

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + NOW
    }

    #[test]
    fn a_second_has_one_text() {
        let clock = Clock::default();
        let stamp = clock.stamp(now());
        assert_eq!(
            (stamp.text(), stamp.day()),
            ("20261122T120000Z", "20261122")
        );
        assert_eq!(stamp.header(), "20261122T120000Z");
        let later = clock.stamp(now() + Duration::from_millis(999));
        assert!(Arc::ptr_eq(&stamp, &later));
        let next = clock.stamp(now() + Duration::from_secs(1));
        assert_eq!(next.text(), "20261122T120001Z");
    }

    #[test]
    fn a_service_whose_time_is_far_from_ours_is_believed_both_ways_and_again() {
        let clock = Clock::default();
        let ahead = Some("Sun, 22 Nov 2026 13:00:00 GMT");
        let signed = clock.stamp(now());
        assert!(clock.learns("RequestTimeTooSkewed", ahead, &signed, now(), now()));
        assert_eq!(clock.stamp(now()).text(), "20261122T130000Z");
        // this machine's clock has been set since
        let set = now() + Duration::from_secs(3600);
        let signed = clock.stamp(set);
        assert_eq!(signed.text(), "20261122T140000Z");
        assert!(clock.learns("SignatureDoesNotMatch", ahead, &signed, set, set));
        assert_eq!(clock.stamp(set).text(), "20261122T130000Z");
        let behind = Some("Sun, 22 Nov 2026 11:00:00 GMT");
        let signed = clock.stamp(now());
        assert!(clock.learns("InvalidSignatureException", behind, &signed, now(), now()));
        assert_eq!(clock.stamp(now()).text(), "20261122T110000Z");
    }

    #[test]
    fn other_refusals_and_small_differences_change_nothing() {
        let clock = Clock::default();
        let far = Some("Sun, 22 Nov 2026 13:00:00 GMT");
        let near = Some("Sun, 22 Nov 2026 12:03:59 GMT");
        let signed = clock.stamp(now());
        for (code, date) in [
            ("QueueDoesNotExist", far),
            ("SignatureDoesNotMatch", near),
            ("SignatureDoesNotMatch", None),
            ("SignatureDoesNotMatch", Some("yesterday")),
        ] {
            assert!(
                !clock.learns(code, date, &signed, now(), now()),
                "{code} {date:?}"
            );
        }
        assert_eq!(clock.stamp(now()).text(), "20261122T120000Z");
    }
}
