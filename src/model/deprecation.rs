//! What callers are told about a way in that will go: `Deprecation` (RFC 9745) and `Sunset` (RFC 8594).

use http::{HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;
use time::macros::format_description;

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// The headers that go out with every answer to who came the old way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deprecation {
    since: Option<HeaderValue>,
    sunset: Option<HeaderValue>,
}

impl Deprecation {
    /// `since`: when the way in became deprecated, or will. `sunset`: when it is to go. `None` where neither can be
    /// said in a header.
    pub fn new(
        since: Option<OffsetDateTime>,
        sunset: Option<OffsetDateTime>,
    ) -> Option<Deprecation> {
        let said = Deprecation {
            // A date of RFC 9651: `@` and seconds since 1970.
            since: since
                .and_then(|at| HeaderValue::try_from(format!("@{}", at.unix_timestamp())).ok()),
            sunset: sunset.and_then(http_date),
        };
        (said.since.is_some() || said.sunset.is_some()).then_some(said)
    }

    /// Puts the headers in.
    pub fn put(&self, headers: &mut HeaderMap) {
        for (name, value) in [(DEPRECATION, &self.since), (SUNSET, &self.sunset)] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn http_date(at: OffsetDateTime) -> Option<HeaderValue> {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let text = at.to_offset(time::UtcOffset::UTC).format(&form).ok()?;
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_those_of_the_standards() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).ok();
        let said = Deprecation::new(at(1_688_169_599), at(784_111_777)).unwrap();
        let mut headers = HeaderMap::new();
        said.put(&mut headers);
        // The examples of RFC 9745, 2.1, and RFC 9110, 5.6.7.
        assert_eq!(headers["deprecation"], "@1688169599");
        assert_eq!(headers["sunset"], "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(Deprecation::new(None, None), None);
    }
}
