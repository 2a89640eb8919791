//! The end of an exchange: what the access log's `$context` variables say then, and the line of JSON.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::macros::format_description;

use super::Facts;
use crate::model::context::{ContextSource, ContextVariable, Plain};
use crate::model::phase::Phase;
use crate::telemetry::metrics::Outcome;

/// A finished exchange, as the access log sees it.
pub(super) struct Ending<'a> {
    pub facts: &'a Facts,
    pub outcome: Outcome,
    /// From the head to the end.
    pub took: Duration,
    /// The payload is stored, and the client was gone before the answer.
    pub answer_lost: bool,
}

impl ContextSource for Ending<'_> {
    fn context(&self, variable: &ContextVariable) -> Option<Cow<'_, str>> {
        let facts = self.facts;
        let refusal = facts.refusal.as_ref();
        let plain = match variable {
            ContextVariable::Plain(plain) => *plain,
            ContextVariable::Phase(phase, fact) => return facts.phase(*phase, *fact),
            ContextVariable::Webhook(field) => {
                return facts.identity.delivery.as_ref()?.field(*field);
            }
            ContextVariable::Claim(_)
            | ContextVariable::Authorizer(_)
            | ContextVariable::Vacant(_) => return None,
        };
        let target = facts.target.as_ref();
        match plain {
            Plain::Status => facts.status.map(|status| status.to_string().into()),
            Plain::ResponseLatency => Some(millis(self.took).into()),
            Plain::ResponseLength => Some(facts.response_bytes.to_string().into()),
            Plain::DataProcessed => Some(
                (facts.request_bytes + facts.response_bytes)
                    .to_string()
                    .into(),
            ),
            Plain::ErrorMessage => refusal.map(|refusal| Cow::Borrowed(refusal.cause.as_str())),
            Plain::ErrorMessageString => {
                refusal.map(|refusal| Cow::Owned(format!("\"{}\"", refusal.cause)))
            }
            Plain::ErrorResponseType | Plain::ErrorCode => {
                refusal.map(|refusal| Cow::Borrowed(refusal.code.name()))
            }
            Plain::AuthorizerError => refusal
                .filter(|refusal| refusal.phase == Phase::Authenticate)
                .map(|refusal| Cow::Borrowed(refusal.cause.as_str())),
            Plain::IntegrationError => match target {
                Some(target) => target.error.as_deref().map(Cow::Borrowed),
                None => refusal
                    .filter(|refusal| refusal.phase >= Phase::Map)
                    .map(|refusal| Cow::Borrowed(refusal.cause.as_str())),
            },
            Plain::IntegrationLatency => target.map(|target| millis(target.latency).into()),
            Plain::IntegrationStatus => target?.status.map(|status| status.to_string().into()),
            Plain::IntegrationRequestId => target?.request_id.as_deref().map(Cow::Borrowed),
            Plain::MessageId => target?.message_id.as_deref().map(Cow::Borrowed),
            Plain::Durability => target?.durability.map(Cow::Borrowed),
            Plain::Outcome => Some(Cow::Borrowed(self.outcome.name())),
            early => facts.early(early),
        }
    }
}

/// A member's name as it is written when others stand before it.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl Ending<'_> {
    /// One JSON object. Phases that did not run are left out. The query is not written: it may hold credentials.
    pub(super) fn write_json(&self, out: &mut String) {
        let facts = self.facts;
        let mut json = JsonLine { out, first: false };
        json.out.push_str("{\"time\":\"");
        push_rfc3339(json.out, facts.opened_at);
        json.out.push('"');
        json.text(key!("requestId"), facts.id().as_str());
        for (name, plain) in [
            (key!("listener"), Plain::Listener),
            (key!("clientRequestId"), Plain::ClientRequestId),
            (key!("sourceIp"), Plain::SourceIp),
            (key!("vpceId"), Plain::VpceId),
            (key!("clientCertSubject"), Plain::ClientCertSubject),
            (key!("method"), Plain::HttpMethod),
            (key!("path"), Plain::Path),
            (key!("protocol"), Plain::Protocol),
            (key!("host"), Plain::DomainName),
            (key!("api"), Plain::ApiId),
            (key!("stage"), Plain::Stage),
            (key!("deploymentId"), Plain::DeploymentId),
            (key!("routeKey"), Plain::RouteKey),
            (key!("userAgent"), Plain::UserAgent),
            (key!("apiKeyId"), Plain::ApiKeyId),
        ] {
            if let Some(value) = facts.early(plain) {
                json.text(name, clipped(&value));
            }
        }
        if let Some(part) = &facts.part {
            json.raw(
                key!("isCanaryRequest"),
                if part.is_canary { "true" } else { "false" },
            );
        }
        json.text(key!("outcome"), self.outcome.name());
        match facts.status {
            Some(status) => json.number(key!("status"), status.into()),
            None => json.raw(key!("status"), "null"),
        }
        if let Some(refusal) = &facts.refusal {
            json.text(key!("code"), refusal.code.name());
            json.text(key!("phase"), refusal.phase.name());
            json.text(key!("error"), &refusal.cause);
        }
        if let Some(delivery) = &facts.identity.delivery {
            json.object(key!("webhook"));
            json.text(key!("source"), &delivery.source);
            for (name, value) in [(key!("id"), &delivery.id), (key!("type"), &delivery.kind)] {
                if let Some(value) = value {
                    json.text(name, clipped(value));
                }
            }
            json.number(key!("key"), delivery.key as u64);
            json.end();
        }
        if self.answer_lost {
            json.raw(key!("answerLost"), "true");
        }
        json.number(key!("requestLength"), facts.request_bytes);
        json.number(key!("responseLength"), facts.response_bytes);
        json.millis(key!("responseLatency"), self.took);
        if let Some(target) = &facts.target {
            json.object(key!("integration"));
            if let Some(route) = &facts.route {
                json.text(key!("name"), route.integration);
            }
            if let Some(status) = target.status {
                json.number(key!("status"), status.into());
            }
            json.millis(key!("latency"), target.latency);
            for (name, value) in [
                (key!("requestId"), &target.request_id),
                (key!("error"), &target.error),
                (key!("messageId"), &target.message_id),
            ] {
                if let Some(value) = value {
                    json.text(name, value);
                }
            }
            if let Some(durability) = target.durability {
                json.text(key!("durability"), durability);
            }
            if let Some(why) = target.why {
                json.text(key!("why"), why);
            }
            if let Some((records, waited)) = target.shared {
                json.number(key!("batch"), records as u64);
                json.millis(key!("waited"), waited);
            }
            json.end();
        }
        json.object(key!("phases"));
        for phase in Phase::ALL {
            let Some(note) = facts.phases[phase.index()] else {
                continue;
            };
            json.object_named(phase.name());
            json.number(key!("status"), note.status.into());
            json.millis(key!("latency"), note.took);
            if let Some(refusal) = facts
                .refusal
                .as_ref()
                .filter(|refusal| refusal.phase == phase)
            {
                json.text(key!("error"), &refusal.cause);
            }
            json.end();
        }
        json.end();
        json.end();
    }
}

/// The most that one of the caller's values takes of a line, bytes.
const CLIPPED: usize = 2_048;

fn clipped(value: &str) -> &str {
    &value[..value.floor_char_boundary(CLIPPED)]
}

/// Writes one line of JSON without building it first.
struct JsonLine<'o> {
    out: &'o mut String,
    first: bool,
}

impl JsonLine<'_> {
    /// Its name and colon, which come with the comma before them.
    fn key(&mut self, key: &'static str) {
        let first = usize::from(std::mem::replace(&mut self.first, false));
        self.out.push_str(&key[first..]);
    }

    fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.out.push('"');
        let plain = |byte: u8| (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\');
        // without an early end, so that the compiler can look at many bytes at once
        if value.bytes().fold(true, |all, byte| all & plain(byte)) {
            self.out.push_str(value);
            self.out.push('"');
            return;
        }
        for c in value.chars() {
            match c {
                '"' | '\\' => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                c if c.is_control() => {
                    // Writing to a String cannot fail.
                    let _ = write!(self.out, "\\u{:04x}", u32::from(c));
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    /// A value that is JSON already.
    fn raw(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.out.push_str(value);
    }

    fn number(&mut self, key: &'static str, number: u64) {
        self.key(key);
        push_number(self.out, number);
    }

    fn millis(&mut self, key: &'static str, took: Duration) {
        self.key(key);
        push_millis(self.out, took);
    }

    fn object(&mut self, key: &'static str) {
        self.key(key);
        self.out.push('{');
        self.first = true;
    }

    fn object_named(&mut self, name: &str) {
        if !self.first {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":{");
        self.first = true;
    }

    fn end(&mut self) {
        self.out.push('}');
        self.first = false;
    }
}

/// Milliseconds with three decimals.
pub(super) fn millis(took: Duration) -> String {
    let mut text = String::new();
    push_millis(&mut text, took);
    text
}

fn push_millis(out: &mut String, took: Duration) {
    let micros = u64::from(took.subsec_nanos().saturating_add(500) / 1_000);
    let micros = took
        .as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(micros);
    push_number(out, micros / 1_000);
    out.push('.');
    out.push_str(three(micros % 1_000));
}

/// `000001002…999`.
static THREES: [u8; 3_000] = {
    let mut digits = [b'0'; 3_000];
    let mut number = 0;
    while number < 1_000 {
        digits[number * 3] += (number / 100) as u8;
        digits[number * 3 + 1] += (number / 10 % 10) as u8;
        digits[number * 3 + 2] += (number % 10) as u8;
        number += 1;
    }
    digits
};
static THREES_TEXT: &str = match std::str::from_utf8(&THREES) {
    Ok(text) => text,
    Err(_) => panic!("digits are text"),
};

/// The last three digits of a number. A line holds some twenty numbers: the formatting machinery would take half of its
/// time.
fn three(number: u64) -> &'static str {
    let at = (number % 1_000) as usize * 3;
    &THREES_TEXT[at..at + 3]
}

fn push_number(out: &mut String, number: u64) {
    if number >= 1_000 {
        push_number(out, number / 1_000);
        out.push_str(three(number));
    } else {
        let zeros = usize::from(number < 100) + usize::from(number < 10);
        out.push_str(&three(number)[zeros..]);
    }
}

/// `2026-11-22T22:02:17.295455123Z` (RFC 3339).
fn push_rfc3339(out: &mut String, at: SystemTime) {
    let at = OffsetDateTime::from(at);
    let (year, month, day) = at.to_calendar_date();
    let year = u64::from(year.unsigned_abs());
    out.push_str(&three(year / 1_000)[2..]);
    out.push_str(three(year));
    for (mark, part) in [
        ('-', u8::from(month)),
        ('-', day),
        ('T', at.hour()),
        (':', at.minute()),
        (':', at.second()),
    ] {
        out.push(mark);
        out.push_str(&three(part.into())[1..]);
    }
    out.push('.');
    let nanos = u64::from(at.nanosecond());
    for part in [nanos / 1_000_000, nanos / 1_000, nanos] {
        out.push_str(three(part));
    }
    out.push('Z');
}

pub(super) fn epoch_millis(at: SystemTime) -> u128 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis())
}

/// `12/Mar/2020:19:03:58 +0000`.
pub(super) fn common_log_time(at: SystemTime) -> Option<String> {
    let form =
        format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
    OffsetDateTime::from(at).format(&form).ok()
}

#[cfg(test)]
mod tests {
    use time::format_description::well_known::Rfc3339;

    use super::*;

    #[test]
    fn numbers_and_times_are_written_as_the_libraries_write_them() {
        for number in [0, 7, 10, 999, 1_000, 123_456_789, u64::MAX] {
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
        for micros in [0, 1, 999, 1_000, 12_345, 86_400_000_000] {
            let took = Duration::from_micros(micros);
            assert_eq!(millis(took), format!("{:.3}", took.as_secs_f64() * 1000.0));
        }
        for (seconds, nanos) in [
            (0, 1),
            (951_782_400, 123_456_789),
            (4_102_444_799, 999_999_999),
        ] {
            let at = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
            let mut text = String::new();
            push_rfc3339(&mut text, at);
            assert_eq!(text, OffsetDateTime::from(at).format(&Rfc3339).unwrap());
        }
    }
}
