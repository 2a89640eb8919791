//! Single values of the model as single values of our configuration, and what to say of those that are none.

use super::Emitter;
use crate::config::load::quotes::{is_typographic, typographic};
use crate::config::load::tree::{Kind, Mark, Node};
use crate::config::vendor::build::{Mapping, plain};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::Throttle;
use crate::config::vendor::value::{Named, Value};

impl Emitter<'_> {
    /// A text, number or boolean, as it is written. What template functions made unreadable has been reported.
    pub(super) fn leaf(&mut self, value: &Value) -> Option<Node> {
        if value.node.refused.is_some() {
            return Some(value.node.clone());
        }
        match &value.node.kind {
            Kind::Scalar(scalar) => match placeholder(&scalar.text()) {
                None => Some(value.node.clone()),
                Some(placeholder) => {
                    self.findings
                        .note(
                            Verdict::Missing,
                            &value.mark,
                            &value.path,
                            format!("`{placeholder}` is nothing that a request, the stage or the environment has"),
                        )
                        .help("if another tool fills it in, import what it gives: a rendered document, or a plan");
                    None
                }
            },
            _ => {
                self.not_a_text(value);
                None
            }
        }
    }

    fn not_a_text(&mut self, value: &Value) {
        let found = match &value.node.kind {
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
            _ => "nothing",
        };
        match function(value) {
            Some(function) => self
                .findings
                .note(
                    Verdict::Missing,
                    &value.mark,
                    &value.path,
                    format!(
                        "`{function}` is a template's function, and nothing says what it stands for"
                    ),
                )
                .help("name a file of variables: `--vars FILE`"),
            None => self.findings.note(
                Verdict::Missing,
                &value.mark,
                &value.path,
                format!("found {found}, expected a text"),
            ),
        };
    }

    /// A whole number of seconds as a duration.
    pub(super) fn seconds(&mut self, value: &Value) -> Option<Node> {
        match value.number() {
            Some(seconds) => Some(super::span(seconds, value)),
            None => self.wants(value, "a whole number of seconds"),
        }
    }

    pub(super) fn number(&mut self, value: &Value) -> Option<Node> {
        match value.number() {
            Some(number) => Some(super::number_node(number, value)),
            None => self.wants(value, "a whole number"),
        }
    }

    pub(super) fn flag(&mut self, value: &Value) -> Option<Node> {
        match value.flag() {
            Some(flag) => Some(plain(flag.to_string(), &value.mark)),
            None => self.wants(value, "true or false"),
        }
    }

    /// Says that a value has another form than it needs.
    pub(super) fn wants<T>(&mut self, value: &Value, expected: &str) -> Option<T> {
        if value.node.refused.is_some() {
            return None;
        }
        match value.text() {
            Some(text) => {
                self.findings.note(
                    Verdict::Missing,
                    &value.mark,
                    &value.path,
                    format!("found {text:?}, expected {expected}"),
                );
            }
            None => self.not_a_text(value),
        }
        None
    }

    /// A word that nobody knows; a typographic quote in it is what is wrong, and where.
    pub(super) fn unknown_word(&mut self, value: &Value, what: &str, known: &[&str]) {
        let text = value.text().unwrap_or_default().into_owned();
        let quote = text.char_indices().find(|(_, c)| is_typographic(*c));
        if let Some((at, quote)) = quote {
            let before = text[..at].chars().count();
            let opened = usize::from(matches!(&value.node.kind, Kind::Scalar(s) if s.quoted));
            let mark = Mark {
                column: value.node.mark.column + opened + before,
                ..value.node.mark.clone()
            };
            self.findings
                .note(Verdict::Missing, &mark, &value.path, typographic(quote))
                .help("write a straight quote in its place");
            return;
        }
        let near = crate::model::problem::nearest(&text, known.iter().copied());
        let finding = self.findings.note(
            Verdict::Missing,
            &value.mark,
            &value.path,
            format!("{text:?} is not {what}"),
        );
        match near {
            Some(near) => finding.help(format!("did you mean `{near}`?")),
            None => finding.help(format!("known: {}", known.join(", "))),
        };
    }

    /// A bucket; `None` where nothing limits.
    pub(super) fn throttle(&mut self, throttle: &Throttle, at: &Mark) -> Option<Node> {
        let mut node = Mapping::new(at);
        if let Some(rate) = &throttle.rate {
            let leaf = match rate.text().and_then(|text| text.trim().parse::<f64>().ok()) {
                Some(number) => Some(super::number_node(number, rate)),
                None => self.wants(rate, "a number"),
            };
            node.put_some("rate", &rate.mark, leaf);
        }
        if let Some(burst) = &throttle.burst {
            match (burst.number(), &throttle.rate) {
                // an empty bucket refuses everything (reference, 8), which a rate of 0 says here
                (Some(0), _) => {
                    node.put("rate", &burst.mark, super::number_node(0, burst));
                }
                (Some(number), Some(_)) => {
                    node.put("burst", &burst.mark, super::number_node(number, burst));
                }
                (Some(_), None) => {
                    self.findings.note(
                        Verdict::Differs,
                        &burst.mark,
                        &burst.path,
                        "a burst without a rate: the vendor takes the rate of the account's own limit, which is not known here",
                    )
                    .help("write the rate");
                    return None;
                }
                (None, _) => self
                    .wants::<()>(burst, "a whole number")
                    .unwrap_or_default(),
            }
        }
        (!node.is_empty()).then(|| node.node())
    }

    /// Names fields that have no counterpart: known ones that no caller notices, and unknown ones.
    pub(super) fn strangers(&mut self, others: &[Named<Value>], of: &str) {
        for other in others {
            let reason = match HARMLESS.iter().find(|(name, _)| *name == other.name) {
                Some((_, why)) => format!("`{}` is ignored: {why}", other.name),
                None => format!("`{}` is not known {of}, and is ignored", other.name),
            };
            self.findings
                .note(Verdict::Ignored, &other.mark, &other.value.path, reason);
        }
    }

    /// Notes what a part of the document became.
    pub(super) fn maps(&mut self, value: &Value, ours: impl Into<String>) {
        self.findings.maps(&value.mark, &value.path, ours);
    }
}

/// Fields that the vendor knows, and why they have no counterpart.
const HARMLESS: [(&str, &str); 14] = [
    ("passthroughBehavior", "a payload is passed on as it is"),
    ("contentHandling", "payloads are bytes from end to end"),
    ("cacheNamespace", "answers are not cached"),
    ("cacheKeyParameters", "answers are not cached"),
    ("responseTransferMode", "answers are passed on as they come"),
    ("description", "it is for people"),
    ("title", "it is for people"),
    ("detailedMetricsEnabled", "every route has its metrics"),
    ("dataTraceEnabled", "bodies are not logged"),
    ("loggingLevel", "the access log has every request"),
    ("cachingEnabled", "answers are not cached"),
    ("cacheTtlInSeconds", "answers are not cached"),
    ("autoDeploy", "a file that changes is taken over at once"),
    ("tags", "tags are for the vendor's console"),
];

/// The template function that a value is: `Ref: MyQueue`, `Fn::Sub`.
fn function(value: &Value) -> Option<String> {
    let entries = value.entries();
    let [only] = entries.as_slice() else {
        return None;
    };
    let name = &only.name;
    if name != "Ref" && name != "Condition" && !name.starts_with("Fn::") {
        return None;
    }
    Some(match only.value.text() {
        Some(text) => format!("{name}: {text}"),
        None => name.clone(),
    })
}

/// The first `${…}` of a text that is no source of a mapping and nothing of ours.
pub(super) fn placeholder(text: &str) -> Option<String> {
    const KNOWN: [&str; 10] = [
        "request.",
        "response.",
        "context.",
        "stageVariables.",
        "webhook.",
        "integration.",
        "env:",
        "file:",
        "aws-secretsmanager:",
        "aws-ssm:",
    ];
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let inside = &rest[at + 2..];
        let literal = rest[..at].ends_with('$');
        let end = inside.find('}')?;
        let name = &inside[..end];
        if !literal && !KNOWN.iter().any(|known| name.starts_with(known)) {
            return Some(format!("${{{name}}}"));
        }
        rest = &inside[end + 1..];
    }
    None
}
