//! When a delivery was signed, and whether that is near enough to now. The window is looked at after the signature held,
//! so that `stale` means a real sender (reference, 1.2).

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderName;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::pointer::Pointer;
use super::reference::Reference;
use super::request::Delivered;
use super::verdict::{Code, Failure};
use super::written::TimeFormat;

/// Where a delivery's time is and how far it may be from now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimestampSpec {
    pub(super) place: TimePlace,
    pub(super) format: TimeFormat,
    pub(super) window: Window,
}

/// How far a time may be from now, both ways, the edges included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) behind: Duration,
    pub(super) ahead: Duration,
}

impl Window {
    pub(super) const fn both(length: Duration) -> Window {
        Window {
            behind: length,
            ahead: length,
        }
    }
}

/// Where a delivery's time is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TimePlace {
    Header(Vec<HeaderName>),
    Param(String),
    Json(Pointer),
    Form(String),
}

impl TimePlace {
    /// The same place as a reference.
    pub(super) fn reference(&self) -> Reference {
        match self {
            TimePlace::Header(names) => Reference::Header(names.clone()),
            TimePlace::Param(prefix) => Reference::Param(prefix.clone()),
            TimePlace::Json(pointer) => Reference::Json(pointer.clone()),
            TimePlace::Form(name) => Reference::Form(name.clone()),
        }
    }
}

/// A time that was brought: its text as it came, and what it says.
#[derive(Clone, Debug)]
pub(super) struct Brought<'r> {
    pub(super) text: Cow<'r, str>,
    /// Milliseconds since 1970.
    pub(super) millis: i64,
}

impl TimestampSpec {
    /// Reads the time; says nothing of the window.
    pub(super) fn read<'r>(
        &self,
        reference: &'r Reference,
        delivered: &Delivered<'r>,
    ) -> Result<Brought<'r>, Failure> {
        let text = delivered.text(reference)?.filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| Failure::missing(format!("{reference} is absent")))?;
        match millis(&text, self.format) {
            Some(millis) => Ok(Brought { text, millis }),
            None => Err(Failure::malformed(format!("{reference} is not a time"))),
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn millis(text: &str, format: TimeFormat) -> Option<i64> {
    let digits = || {
        (!text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<i64>().ok())
            .flatten()
    };
    match format {
        TimeFormat::Unix => digits()?.checked_mul(1_000),
        TimeFormat::UnixMs => digits(),
        TimeFormat::Rfc3339 => {
            let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
            i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
        }
    }
}

impl Window {
    /// Whether a time is near enough; by how many milliseconds it is behind. `now`: seconds since 1970.
    pub(super) fn check(self, millis: i64, now: i64) -> Result<i64, Failure> {
        let age = now.saturating_mul(1_000).saturating_sub(millis);
        let length = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        if age > length(self.behind) {
            return Err(Failure::new(
                Code::Stale,
                format!(
                    "it was signed {} s ago, and {} s is allowed",
                    age / 1_000,
                    self.behind.as_secs()
                ),
            ));
        }
        if age.saturating_neg() > length(self.ahead) {
            return Err(Failure::new(
                Code::Future,
                format!(
                    "it is signed for {} s from now, and {} s is allowed",
                    -(age / 1_000),
                    self.ahead.as_secs()
                ),
            ));
        }
        Ok(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_their_format_says() {
        assert_eq!(
            millis("1700000000", TimeFormat::Unix),
            Some(1_700_000_000_000)
        );
        assert_eq!(
            millis("1700000000123", TimeFormat::UnixMs),
            Some(1_700_000_000_123)
        );
        assert_eq!(
            millis("2023-11-14T22:13:20.123456789Z", TimeFormat::Rfc3339),
            Some(1_700_000_000_123)
        );
        assert_eq!(
            millis("2023-11-15T00:13:20+02:00", TimeFormat::Rfc3339),
            Some(1_700_000_000_000)
        );
        for text in [
            "",
            "+1",
            "-1",
            "1.5",
            "1e9",
            " 1",
            "1700000000x",
            "99999999999999999999",
        ] {
            assert_eq!(millis(text, TimeFormat::Unix), None, "{text:?}");
        }
        assert_eq!(millis("1700000000", TimeFormat::Rfc3339), None);
    }

    #[test]
    fn the_edges_of_the_window_are_inside() {
        let window = Window::both(Duration::from_secs(300));
        let code = |millis| {
            window
                .check(millis, 1_000)
                .err()
                .map(|failure| failure.code)
        };
        assert_eq!(code(700_000), None);
        assert_eq!(code(699_999), Some(Code::Stale));
        assert_eq!(code(1_300_000), None);
        assert_eq!(code(1_300_001), Some(Code::Future));
        assert_eq!(code(i64::MIN), Some(Code::Stale));
        assert_eq!(code(i64::MAX), Some(Code::Future));
    }
}
