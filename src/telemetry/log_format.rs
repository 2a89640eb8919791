//! The form of an access-log line: JSON of our own, or a text with `$context` variables as the vendor writes it.

use std::fmt::Write as _;

use crate::model::context::{ContextSource, ContextVariable, Plain};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::text::{Piece, Text};

/// The vendor's preset named CLF.
const CLF: &str = "$context.identity.sourceIp - - [$context.requestTime] \
                   \"$context.httpMethod $context.routeKey $context.protocol\" $context.status $context.responseLength $context.requestId";

/// A compiled format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, all phases in it.
    Json,
    Template(Template),
}

/// A text with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    /// The text is itself JSON, so values are escaped for it.
    json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(ContextVariable),
}

impl LogFormat {
    /// Reads `json`, `clf` or a template.
    pub fn compile(text: &Text, at: &ConfigPath, problems: &mut Problems) -> Option<LogFormat> {
        match text.joined().as_ref() {
            "json" => return Some(LogFormat::Json),
            "clf" => {
                return Template::compile(&Text::written(CLF), at, problems)
                    .map(LogFormat::Template);
            }
            _ => {}
        }
        Template::compile(text, at, problems).map(LogFormat::Template)
    }
}

impl Template {
    fn compile(text: &Text, at: &ConfigPath, problems: &mut Problems) -> Option<Template> {
        let mut parts = Vec::new();
        let before = problems.errors();
        for piece in &text.0 {
            match piece {
                Piece::Literal(literal) => parts.push(Part::Literal(literal.clone())),
                Piece::Written(written) => variables(written, at, problems, &mut parts),
            }
        }
        if !parts.iter().any(|part| matches!(part, Part::Variable(_))) {
            problems
                .error(
                    at,
                    "the format names no `$context` variable, so every line would be the same",
                )
                .help(
                    "write `json`, `clf`, or a text such as `$context.requestId $context.status`",
                );
        }
        if text.joined().contains(['\n', '\r']) {
            problems.error(at, "a format is one line");
        }
        let json = text.joined().trim_start().starts_with('{');
        (problems.errors() == before).then_some(Template { parts, json })
    }

    /// Appends one line, without its end. A variable without a value prints `-`.
    pub fn write(&self, out: &mut String, source: &dyn ContextSource) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Variable(variable) => match source.context(variable) {
                    // This one brings its own quotes, so what is escaped is what stands between them.
                    Some(value)
                        if *variable == ContextVariable::Plain(Plain::ErrorMessageString) =>
                    {
                        out.push('"');
                        escape(out, value.trim_matches('"'), true);
                        out.push('"');
                    }
                    None if self.json
                        && *variable == ContextVariable::Plain(Plain::ErrorMessageString) =>
                    {
                        out.push_str("\"-\"")
                    }
                    Some(value) if !value.is_empty() => escape(out, &value, self.json),
                    _ => out.push('-'),
                },
            }
        }
    }
}

fn variables(written: &str, at: &ConfigPath, problems: &mut Problems, parts: &mut Vec<Part>) {
    let mut rest = written;
    while let Some(start) = rest.find("$context.").or_else(|| rest.find("${context.")) {
        let braced = rest[start..].starts_with("${");
        parts.push(Part::Literal(rest[..start].to_owned()));
        let name_at = start
            + if braced {
                "${context.".len()
            } else {
                "$context.".len()
            };
        let tail = &rest[name_at..];
        let end = tail
            .find(|c: char| {
                !c.is_ascii_alphanumeric() && c != '.' && c != '_' && !(braced && c == '-')
            })
            .unwrap_or(tail.len());
        // A full stop at the end belongs to the sentence, not to the name.
        let name = tail[..end].trim_end_matches('.');
        match ContextVariable::named(name) {
            Some(variable) => parts.push(Part::Variable(variable)),
            None => {
                let problem =
                    problems.error(at, format!("`$context.{name}` is not a context variable"));
                if let Some(near) = nearest(name, ContextVariable::names()) {
                    problem.help(format!("did you mean `$context.{near}`?"));
                }
            }
        }
        rest = &tail[name.len()..];
        if braced {
            rest = rest.strip_prefix('}').unwrap_or(rest);
        }
    }
    parts.push(Part::Literal(rest.to_owned()));
}

/// Appends a value so that it cannot break out of its line, nor (`json`) out of its string.
fn escape(out: &mut String, value: &str, json: bool) {
    for c in value.chars() {
        match c {
            '"' | '\\' if json => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = if json {
                    write!(out, "\\u{:04x}", u32::from(c))
                } else {
                    write!(out, "\\x{:02x}", u32::from(c))
                };
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    struct Fixed;

    impl ContextSource for Fixed {
        fn context(&self, variable: &ContextVariable) -> Option<Cow<'_, str>> {
            match variable {
                ContextVariable::Plain(Plain::Status) => Some("202".into()),
                ContextVariable::Plain(Plain::UserAgent) => Some("a\"b\nc".into()),
                ContextVariable::Plain(Plain::ErrorMessageString) => Some("\"a \"b\"".into()),
                ContextVariable::Plain(Plain::RouteKey) => Some("POST /orders".into()),
                _ => None,
            }
        }
    }

    fn line(format: &str) -> String {
        let mut problems = Problems::default();
        let Some(LogFormat::Template(template)) =
            LogFormat::compile(&Text::written(format), &ConfigPath::root(), &mut problems)
        else {
            panic!("{problems:?}")
        };
        let mut out = String::new();
        template.write(&mut out, &Fixed);
        out
    }

    #[test]
    fn a_phase_that_did_not_run_prints_a_dash() {
        assert_eq!(line("$context.status $context.store.latency."), "202 -.");
        assert_eq!(line("[${context.routeKey}]"), "[POST /orders]");
    }

    #[test]
    fn a_value_cannot_forge_a_line_or_leave_its_json_string() {
        assert_eq!(line("$context.identity.userAgent"), "a\"b\\x0ac");
        assert_eq!(
            line(r#"{"ua":"$context.identity.userAgent"}"#),
            r#"{"ua":"a\"b\u000ac"}"#
        );
    }

    #[test]
    fn an_error_s_message_string_brings_its_own_quotes() {
        assert_eq!(
            line(r#"{"e":$context.error.messageString}"#),
            r#"{"e":"a \"b"}"#
        );
    }

    #[test]
    fn the_common_log_format_is_the_vendor_s_preset() {
        assert_eq!(line("clf"), "- - - [-] \"- POST /orders -\" 202 - -");
    }

    #[test]
    fn an_unknown_variable_is_refused_with_the_nearest_name() {
        let mut problems = Problems::default();
        let format = Text::written("$context.responseLatencyy");
        assert!(LogFormat::compile(&format, &ConfigPath::root(), &mut problems).is_none());
        assert!(
            problems.0[0]
                .to_string()
                .contains("did you mean `$context.responseLatency`?")
        );
    }
}
