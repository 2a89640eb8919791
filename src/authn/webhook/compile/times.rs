//! When deliveries were signed, and how far that may be from now, as written.

use std::time::Duration;

use super::super::reference::{self, Reference};
use super::super::window::{TimePlace, TimestampSpec, Window};
use super::super::written::{Scheme, Timestamp, Verify};
use super::super::{SchemeSpec, Timed};
use super::noted;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// The longest that a delivery may be old.
const LONGEST_TOLERANCE: Duration = Duration::from_secs(24 * 3_600);
/// How old a delivery may be unless it is said.
pub(super) const TOLERANCE: Window = Window::both(Duration::from_secs(300));

/// The timestamp, which has to be part of what is signed.
pub(super) fn timestamp(
    verify: &Verify,
    scheme: Scheme,
    spec: &Option<SchemeSpec>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<Timed> {
    let written = verify.timestamp.as_ref()?;
    if matches!(scheme, Scheme::Sns | Scheme::Paypal) {
        return None;
    }
    let at = at.key("timestamp");
    let place = match time_place(written, &at, problems) {
        Some(place) => place,
        None => return None,
    };
    let window = window(written, TOLERANCE, &at, problems);
    let reference = place.reference();
    let is_signed = match spec {
        Some(SchemeSpec::Signed(signed)) => {
            let within_body = matches!(place, TimePlace::Json(_) | TimePlace::Form(_));
            signed.template.names(&Reference::Timestamp)
                || signed.template.names(&reference)
                || (within_body && signed.template.names(&Reference::Body))
        }
        // What is wrong with it has been said.
        None => true,
        Some(_) => false,
    };
    if !is_signed {
        problems
            .error(
                &at,
                "the timestamp is not part of what is signed, so it proves nothing",
            )
            .help("name `{timestamp}` in `signed`, or leave `timestamp` out");
    }
    Some(Timed {
        spec: TimestampSpec {
            place,
            format: written.format.unwrap_or_default(),
            window,
        },
        reference,
    })
}

fn time_place(written: &Timestamp, at: &ConfigPath, problems: &mut Problems) -> Option<TimePlace> {
    if written.places() != 1 {
        problems
            .error(at, "exactly one place of the timestamp is needed")
            .help("write `header: NAME`, `param: \"t=\"`, `json: /POINTER` or `form: NAME`");
        return None;
    }
    if let Some(names) = &written.header {
        let names = noted(reference::header_names(names), &at.key("header"), problems)?;
        return Some(TimePlace::Header(names));
    }
    if let Some(pointer) = &written.json {
        let pointer = noted(reference::pointer(pointer), &at.key("json"), problems)?;
        return Some(TimePlace::Json(pointer));
    }
    let param = written.param.clone().map(TimePlace::Param);
    param.or_else(|| written.form.clone().map(TimePlace::Form))
}

/// The window as written, for schemes that know by themselves where their time is.
pub(super) fn own_window(
    verify: &Verify,
    default: Window,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<Window> {
    let written = verify.timestamp.as_ref()?;
    let at = at.key("timestamp");
    if written.places() > 0 || written.format.is_some() {
        problems
            .error(
                &at,
                "this scheme knows where its time is and how it is written",
            )
            .help("allowed: `tolerance` and `ahead`");
    }
    Some(window(written, default, &at, problems))
}

fn window(
    written: &Timestamp,
    default: Window,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Window {
    for (name, span) in [("tolerance", written.tolerance), ("ahead", written.ahead)] {
        if let Some(span) = span.filter(|span| span.0 > LONGEST_TOLERANCE) {
            problems
                .error(&at.key(name), format!("{span} is out of range"))
                .help("allowed: 0 to 24h");
        }
    }
    let behind = written.tolerance.map_or(default.behind, |span| span.0);
    Window {
        behind,
        ahead: written.ahead.map_or(behind, |span| span.0),
    }
}
