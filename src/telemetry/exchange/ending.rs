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

impl Ending<'_> {
    /// One JSON object. Phases that did not run are left out. The query is not written: it may hold credentials.
    pub(super) fn write_json(&self, out: &mut String) {
        let facts = self.facts;
        let mut json = JsonLine { out, first: true };
        json.begin('{');
        json.name("time");
        json.out.push('"');
        push_rfc3339(json.out, facts.opened_at);
        json.out.push('"');
        json.text("requestId", facts.id().as_str());
        for (name, plain) in [
            ("listener", Plain::Listener),
            ("clientRequestId", Plain::ClientRequestId),
            ("sourceIp", Plain::SourceIp),
            ("vpceId", Plain::VpceId),
            ("clientCertSubject", Plain::ClientCertSubject),
            ("method", Plain::HttpMethod),
            ("path", Plain::Path),
            ("protocol", Plain::Protocol),
            ("host", Plain::DomainName),
            ("api", Plain::ApiId),
            ("stage", Plain::Stage),
            ("deploymentId", Plain::DeploymentId),
            ("routeKey", Plain::RouteKey),
            ("userAgent", Plain::UserAgent),
            ("apiKeyId", Plain::ApiKeyId),
        ] {
            if let Some(value) = facts.early(plain) {
                json.text(name, clipped(&value));
            }
        }
        if let Some(part) = &facts.part {
            json.raw(
                "isCanaryRequest",
                if part.is_canary { "true" } else { "false" },
            );
        }
        json.text("outcome", self.outcome.name());
        match facts.status {
            Some(status) => json.number("status", status.into()),
            None => json.raw("status", "null"),
        }
        if let Some(refusal) = &facts.refusal {
            json.text("code", refusal.code.name());
            json.text("phase", refusal.phase.name());
            json.text("error", &refusal.cause);
        }
        if let Some(delivery) = &facts.identity.delivery {
            json.object("webhook");
            json.text("source", &delivery.source);
            for (name, value) in [("id", &delivery.id), ("type", &delivery.kind)] {
                if let Some(value) = value {
                    json.text(name, clipped(value));
                }
            }
            json.number("key", delivery.key as u64);
            json.end();
        }
        if self.answer_lost {
            json.raw("answerLost", "true");
        }
        json.number("requestLength", facts.request_bytes);
        json.number("responseLength", facts.response_bytes);
        json.millis("responseLatency", self.took);
        if let Some(target) = &facts.target {
            json.object("integration");
            if let Some(route) = &facts.route {
                json.text("name", route.integration);
            }
            if let Some(status) = target.status {
                json.number("status", status.into());
            }
            json.millis("latency", target.latency);
            for (name, value) in [
                ("requestId", &target.request_id),
                ("error", &target.error),
                ("messageId", &target.message_id),
            ] {
                if let Some(value) = value {
                    json.text(name, value);
                }
            }
            if let Some(durability) = target.durability {
                json.text("durability", durability);
            }
            if let Some(why) = target.why {
                json.text("why", why);
            }
            if let Some((records, waited)) = target.shared {
                json.number("batch", records as u64);
                json.millis("waited", waited);
            }
            json.end();
        }
        json.object("phases");
        for phase in Phase::ALL {
            let Some(note) = facts.phases[phase.index()] else {
                continue;
            };
            json.object(phase.name());
            json.number("status", note.status.into());
            json.millis("latency", note.took);
            if let Some(refusal) = facts
                .refusal
                .as_ref()
                .filter(|refusal| refusal.phase == phase)
            {
                json.text("error", &refusal.cause);
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
    fn begin(&mut self, bracket: char) {
        self.out.push(bracket);
        self.first = true;
    }

    fn end(&mut self) {
        self.out.push('}');
        self.first = false;
    }

    fn name(&mut self, name: &str) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.out.push('"');
        let plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
        if value.bytes().all(plain) {
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
    fn raw(&mut self, name: &str, value: &str) {
        self.name(name);
        self.out.push_str(value);
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        push_number(self.out, number, 1);
    }

    fn millis(&mut self, name: &str, took: Duration) {
        self.name(name);
        push_millis(self.out, took);
    }

    fn object(&mut self, name: &str) {
        self.name(name);
        self.begin('{');
    }
}

/// Milliseconds with three decimals.
pub(super) fn millis(took: Duration) -> String {
    let mut text = String::new();
    push_millis(&mut text, took);
    text
}

fn push_millis(out: &mut String, took: Duration) {
    let micros = took.as_nanos().saturating_add(500) / 1_000;
    let micros = u64::try_from(micros).unwrap_or(u64::MAX);
    push_number(out, micros / 1_000, 1);
    out.push('.');
    push_number(out, micros % 1_000, 3);
}

/// A number with at least so many digits (20 at most). A line holds some twenty of them: the formatting machinery would
/// take half of the line's time.
fn push_number(out: &mut String, number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let (mut at, mut rest) = (digits.len(), number);
    while rest > 0 && at > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let from = at.min(digits.len() - width.min(digits.len()));
    out.push_str(std::str::from_utf8(&digits[from..]).unwrap_or_default());
}

/// `2026-11-22T22:02:17.295455123Z` (RFC 3339).
fn push_rfc3339(out: &mut String, at: SystemTime) {
    let at = OffsetDateTime::from(at);
    let (year, month, day) = at.to_calendar_date();
    let number = |out: &mut String, number: u32, width| push_number(out, number.into(), width);
    number(out, year.unsigned_abs(), 4);
    for (mark, part) in [
        ('-', u8::from(month)),
        ('-', day),
        ('T', at.hour()),
        (':', at.minute()),
        (':', at.second()),
    ] {
        out.push(mark);
        number(out, part.into(), 2);
    }
    out.push('.');
    number(out, at.nanosecond(), 9);
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
            for width in [1, 3, 9] {
                let mut text = String::new();
                push_number(&mut text, number, width);
                assert_eq!(text, format!("{number:0width$}"));
            }
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
