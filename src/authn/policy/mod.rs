//! IAM policy documents over `execute-api:Invoke`: those of users, of request authorizers, and resource policies
//! (reference, 6.3 and 12.1).
//!
//! A document is read once ([`Document::parse`]) and asked for each request ([`Document::answer`]): an explicit deny is
//! stronger than an allow, and silence allows nothing. What several documents say together is [`Answer::and`] within one
//! side, and [`decide`] between the caller's side and the API's.

mod condition;
mod fact;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;
mod written;

use std::fmt;
use std::sync::Arc;

use crate::model::identity::Presented;

pub use fact::{Facts, Principal};
pub use parse::Fault;
pub(in crate::authn) use written::Strict;
pub use written::Written;

use condition::Condition;
use pattern::Pattern;

/// The longest document that the vendor takes, in characters without white space.
pub const LONGEST: usize = 8_192;
/// The account of an API and of users without one of their own.
pub const ACCOUNT: &str = "000000000000";

/// Whose document it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side<'a> {
    /// What a caller may do. Its ARNs are of this API and region if they are to mean it.
    Caller {
        /// The gateway's own; `None` where it has none, and ARNs may name any.
        region: Option<&'a str>,
    },
    /// Who may call the API that it is attached to: it says `Principal`, and its ARNs mean this API, whatever region,
    /// account and API they name.
    Resource,
}

/// A policy document, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Whose it is, for people: `the policy of shop`.
    name: Arc<str>,
    statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq)]
struct Statement {
    /// The `Sid`, else the position.
    label: String,
    effect: Effect,
    /// Whom it is about; `None` in a caller's document.
    principals: Option<Vec<Whom>>,
    /// Whether `execute-api:Invoke` is among the actions.
    invokes: bool,
    resources: Vec<Resource>,
    /// `NotResource`.
    all_but: bool,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Whom {
    Everyone,
    Account(String),
    Arn(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Resource {
    Any,
    /// `API/STAGE/METHOD/path`
    Full(Pattern),
    /// `STAGE/METHOD/path` of this API.
    Below(Pattern),
    /// One of another region.
    Elsewhere,
}

/// The statement that an answer is owed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub document: Arc<str>,
    pub statement: String,
}

/// What documents say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Denied(Reason),
    Allowed(Reason),
    Silent,
}

/// A request as the resource of a policy: its ARN without what every API's has.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    facts: Facts<'a>,
    api: &'a str,
    /// `STAGE/METHOD/path`; for a `$default` route `STAGE/METHOD/$default` too.
    below: Vec<String>,
    /// Whether it is another path to whoever resolves `.` and `..`.
    has_dot_segment: bool,
}

impl<'a> Asked<'a> {
    /// A request, and who signed it.
    pub fn of(presented: &'a Presented<'a>, caller: Option<&'a Principal>) -> Asked<'a> {
        let method = &presented.call.method;
        let stage = presented.stage;
        let mut below = vec![format!("{stage}/{method}{}", arn_path(presented.path))];
        if let Some(path) = served(presented) {
            below.push(format!("{stage}/{method}{path}"));
        }
        if presented.route_key == "$default" {
            below.push(format!("{stage}/{method}/$default"));
        }
        below.dedup();
        Asked {
            facts: Facts::of(presented, caller),
            api: presented.api,
            below,
            has_dot_segment: has_dot_segment(presented.path),
        }
    }
}

/// The path as it stands in an ARN: decoded, but for the characters that would be wildcards or variables in a statement
/// that repeats it.
pub fn arn_path(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for c in decoded(path).chars() {
        match c {
            '*' => text.push_str("%2A"),
            '?' => text.push_str("%3F"),
            '$' => text.push_str("%24"),
            c => text.push(c),
        }
    }
    text
}

/// The path with its segments decoded as routing decodes them, so that no spelling of a path slips past a statement.
pub fn decoded(path: &str) -> String {
    let segment = |segment: &str| {
        let decoded = percent_encoding::percent_decode_str(segment).decode_utf8();
        // An encoded slash makes no segment.
        decoded.map_or_else(|_| segment.to_owned(), |text| text.replace('/', "%2F"))
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// Whether `.` or `..` is a segment of a path, in whatever spelling a target could take for one.
pub fn has_dot_segment(path: &str) -> bool {
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    let mut segments = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
    segments.any(|segment| matches!(segment, b"." | b".."))
}

/// The path as the route's key writes it: without a slash at the end that the route does not ask for
/// (`trailing_slash: ignore`).
fn served(presented: &Presented<'_>) -> Option<String> {
    let path = presented.path.strip_suffix('/')?;
    let key = presented.route_key;
    let says_it = key.ends_with('/') || key.ends_with("+}") || key == "$default";
    (!path.is_empty() && !says_it).then(|| arn_path(path))
}

impl Document {
    /// Whose it is, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the document says of a request: the first statement that denies, else the first that allows. It denies a path
    /// with dot segments: `/public/../secret` looks like one of `/public/*`, and its target may take it for another.
    pub fn answer(&self, asked: &Asked<'_>) -> Answer {
        if asked.has_dot_segment {
            return Answer::Denied(Reason {
                document: self.name.clone(),
                statement: "the rule against `.` and `..` as segments of a path".to_owned(),
            });
        }
        let mut answer = Answer::Silent;
        for statement in &self.statements {
            let is_new = match (statement.effect, &answer) {
                (Effect::Allow, Answer::Silent) => true,
                (Effect::Allow, _) => false,
                (Effect::Deny, _) => true,
            };
            if !is_new || !statement.is_about(asked) {
                continue;
            }
            let reason = Reason {
                document: self.name.clone(),
                statement: statement.label.clone(),
            };
            if statement.effect == Effect::Deny {
                return Answer::Denied(reason);
            }
            answer = Answer::Allowed(reason);
        }
        answer
    }
}

impl Statement {
    fn is_about(&self, asked: &Asked<'_>) -> bool {
        let facts = &asked.facts;
        self.invokes
            && self.principals.as_ref().is_none_or(|whom| {
                whom.iter().any(|whom| match (whom, facts.caller()) {
                    (Whom::Everyone, _) => true,
                    (Whom::Account(account), Some(caller)) => **account == *caller.account,
                    (Whom::Arn(arn), Some(caller)) => **arn == *caller.arn,
                    (Whom::Account(_) | Whom::Arn(_), None) => false,
                })
            })
            && self.resources.iter().any(|resource| resource.is(asked)) != self.all_but
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(facts))
    }
}

impl Resource {
    fn is(&self, asked: &Asked<'_>) -> bool {
        let facts = &asked.facts;
        let mut below = asked.below.iter();
        match self {
            Resource::Any => true,
            Resource::Elsewhere => false,
            Resource::Below(pattern) => below.any(|text| pattern.takes(text, false, facts)),
            Resource::Full(pattern) => {
                below.any(|text| pattern.takes(&format!("{}/{text}", asked.api), false, facts))
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.statement, self.document)
    }
}

impl Answer {
    /// What two documents of one side say together.
    #[must_use]
    pub fn and(self, other: Answer) -> Answer {
        match (self, other) {
            (denied @ Answer::Denied(_), _) | (_, denied @ Answer::Denied(_)) => denied,
            (allowed @ Answer::Allowed(_), _) | (_, allowed @ Answer::Allowed(_)) => allowed,
            (Answer::Silent, Answer::Silent) => Answer::Silent,
        }
    }
}

/// What the caller's side and the API's say together (reference, 12.1): in one account either may allow (table A); a
/// caller of another account needs both (table B).
pub fn decide(caller: Answer, resource: Answer, foreign: bool) -> Answer {
    match (&caller, &resource) {
        (Answer::Allowed(_), Answer::Silent) | (Answer::Silent, Answer::Allowed(_)) if foreign => {
            Answer::Silent
        }
        _ => caller.and(resource),
    }
}
