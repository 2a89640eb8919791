//! Conditions of statements: `{ "IpAddress": { "aws:SourceIp": ["10.0.0.0/8"] } }`. All operators and keys of a
//! statement must hold; of the values of one key, any. A negated operator holds where none of its values fits, and where
//! the key has no value (reference, 12.1).

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

use super::fact::{Facts, Key, Sort};
use super::pattern::{Pattern, Reading};
use crate::model::problem::nearest;

/// One operator over one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    key: Key,
    test: Test,
    negated: bool,
    if_exists: bool,
    set: Option<Set>,
}

/// Over keys with several values. Every key here has at most one, so only an absent key makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    All,
    Any,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Text {
        fold: bool,
        patterns: Vec<Pattern>,
    },
    /// Each of the six parts by itself.
    Arn(Vec<[Pattern; 6]>),
    Number(Compare, Vec<f64>),
    /// Nanoseconds since 1970.
    Time(Compare, Vec<i128>),
    Bool(Vec<bool>),
    Address(Vec<IpNet>),
    /// Whether the key has to be absent.
    Null(Vec<bool>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What an operator does, before its values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Text { fold: bool, wild: bool },
    Arn,
    Number(Compare),
    Time(Compare),
    Bool,
    Address,
    Null,
}

const OPERATORS: [(&str, Operator, bool); 28] = {
    use Compare::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    use Operator::{Address, Arn, Bool, Null, Number, Text, Time};
    const EXACT: Operator = Text {
        fold: false,
        wild: false,
    };
    const FOLDED: Operator = Text {
        fold: true,
        wild: false,
    };
    const LIKE: Operator = Text {
        fold: false,
        wild: true,
    };
    [
        ("StringEquals", EXACT, false),
        ("StringNotEquals", EXACT, true),
        ("StringEqualsIgnoreCase", FOLDED, false),
        ("StringNotEqualsIgnoreCase", FOLDED, true),
        ("StringLike", LIKE, false),
        ("StringNotLike", LIKE, true),
        ("NumericEquals", Number(Equal), false),
        ("NumericNotEquals", Number(Equal), true),
        ("NumericLessThan", Number(Less), false),
        ("NumericLessThanEquals", Number(LessOrEqual), false),
        ("NumericGreaterThan", Number(Greater), false),
        ("NumericGreaterThanEquals", Number(GreaterOrEqual), false),
        ("DateEquals", Time(Equal), false),
        ("DateNotEquals", Time(Equal), true),
        ("DateLessThan", Time(Less), false),
        ("DateLessThanEquals", Time(LessOrEqual), false),
        ("DateGreaterThan", Time(Greater), false),
        ("DateGreaterThanEquals", Time(GreaterOrEqual), false),
        ("Bool", Bool, false),
        ("IpAddress", Address, false),
        ("NotIpAddress", Address, true),
        ("ArnEquals", Arn, false),
        ("ArnLike", Arn, false),
        ("ArnNotEquals", Arn, true),
        ("ArnNotLike", Arn, true),
        ("Null", Null, false),
        // The spelling of older documents.
        ("StringEqualsIgnorecase", FOLDED, false),
        ("StringNotEqualsIgnorecase", FOLDED, true),
    ]
};

/// An operator as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    operator: Operator,
    negated: bool,
    if_exists: bool,
    set: Option<Set>,
}

impl Named {
    /// Reads `ForAnyValue:StringLikeIfExists`; else what to write.
    pub fn parse(written: &str) -> Result<Named, String> {
        let (set, rest) = match written.split_once(':') {
            Some(("ForAllValues", rest)) => (Some(Set::All), rest),
            Some(("ForAnyValue", rest)) => (Some(Set::Any), rest),
            Some((other, _)) => {
                return Err(match nearest(other, ["ForAllValues", "ForAnyValue"]) {
                    Some(near) => format!("`{other}:` is no qualifier; did you mean `{near}:`?"),
                    None => format!(
                        "`{other}:` is no qualifier; there are `ForAllValues:` and `ForAnyValue:`"
                    ),
                });
            }
            None => (None, written),
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (rest, false),
        };
        let found = OPERATORS.iter().find(|(known, ..)| *known == name);
        let Some((_, operator, negated)) = found else {
            return Err(
                match nearest(name, OPERATORS.iter().map(|(known, ..)| *known)) {
                    Some(near) => format!("`{name}` is not an operator; did you mean `{near}`?"),
                    None => format!("`{name}` is not an operator that is known here"),
                },
            );
        };
        if *operator == Operator::Null && (if_exists || set.is_some()) {
            return Err("`Null` itself asks whether the key exists; write it plain".to_owned());
        }
        Ok(Named {
            operator: *operator,
            negated: *negated,
            if_exists,
            set,
        })
    }

    /// The condition over a key; else what is wrong with the values.
    pub fn over(self, key: Key, values: &[String], variables: bool) -> Result<Condition, String> {
        if values.is_empty() {
            return Err("the list of values is empty, so nothing could match".to_owned());
        }
        let sort = key.sort();
        let fits = match self.operator {
            Operator::Text { .. } | Operator::Null => true,
            Operator::Arn => sort == Sort::Arn,
            Operator::Number(_) => matches!(sort, Sort::Number | Sort::Epoch),
            Operator::Time(_) => matches!(sort, Sort::Time | Sort::Epoch),
            Operator::Bool => sort == Sort::Bool,
            Operator::Address => sort == Sort::Address,
        };
        if !fits {
            return Err(format!(
                "this operator cannot be asked of a value that is {}",
                sort.name()
            ));
        }
        let test = match self.operator {
            Operator::Text { fold, wild } => Test::Text {
                fold,
                patterns: every(values, |value| {
                    Pattern::parse(value, Reading { wild, variables })
                })?,
            },
            Operator::Arn => Test::Arn(every(values, |value| arn(value, variables))?),
            Operator::Number(compare) => Test::Number(compare, every(values, number)?),
            Operator::Time(compare) => Test::Time(compare, every(values, moment)?),
            Operator::Bool => Test::Bool(every(values, boolean)?),
            Operator::Address => Test::Address(every(values, network)?),
            Operator::Null => Test::Null(every(values, boolean)?),
        };
        Ok(Condition {
            key,
            test,
            negated: self.negated,
            if_exists: self.if_exists,
            set: self.set,
        })
    }
}

impl Sort {
    fn name(self) -> &'static str {
        match self {
            Sort::Text => "text",
            Sort::Epoch | Sort::Time => "a time",
            Sort::Number => "a number",
            Sort::Bool => "true or false",
            Sort::Address => "an address",
            Sort::Arn => "an ARN",
        }
    }
}

fn every<T>(values: &[String], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    values.iter().map(|value| read(value)).collect()
}

fn arn(text: &str, variables: bool) -> Result<[Pattern; 6], String> {
    let reading = Reading {
        wild: true,
        variables,
    };
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let parts: [&str; 6] = parts
        .try_into()
        .map_err(|_| format!("{text:?} is not an ARN: it has six parts, with `:` between them"))?;
    let mut patterns = Vec::with_capacity(6);
    for part in parts {
        patterns.push(Pattern::parse(part, reading)?);
    }
    patterns
        .try_into()
        .map_err(|_| format!("{text:?} is not an ARN"))
}

fn number(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|number| number.is_finite())
        .ok_or_else(|| format!("{text:?} is not a number"))
}

/// ISO 8601 as the vendor takes it (a date, or a date and a time with its zone), or seconds since 1970.
fn moment(text: &str) -> Result<i128, String> {
    const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(i128::from(seconds) * 1_000_000_000);
    }
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(time.unix_timestamp_nanos());
    }
    Date::parse(text, DAY)
        .map(|day| day.with_time(Time::MIDNIGHT).assume_utc().unix_timestamp_nanos())
        .map_err(|_| {
            format!("{text:?} is not a time; write one such as 2026-01-31T08:00:00Z, 2026-01-31, or seconds since 1970")
        })
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => text.parse::<IpAddr>().map(IpNet::from).map_err(|_| {
            format!("{text:?} is neither an address nor a network such as 10.0.0.0/8")
        })?,
    };
    Ok(net)
}

impl Condition {
    /// Whether the condition holds.
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        let value = facts.value(&self.key);
        if let Test::Null(wanted) = &self.test {
            return wanted.contains(&value.is_none());
        }
        match (value, self.set) {
            (Some(value), _) => self.fits(&value, facts) != self.negated,
            (None, _) if self.if_exists => true,
            (None, Some(Set::All)) => true,
            (None, Some(Set::Any)) => false,
            (None, None) => self.negated,
        }
    }

    fn fits(&self, value: &str, facts: &Facts<'_>) -> bool {
        match &self.test {
            Test::Text { fold, patterns } => patterns
                .iter()
                .any(|pattern| pattern.takes(&shown(&self.key, value), *fold, facts)),
            Test::Arn(patterns) => {
                let parts: Vec<&str> = value.splitn(6, ':').collect();
                let whole = |pattern: &[Pattern; 6]| {
                    let mut pairs = pattern.iter().zip(&parts);
                    parts.len() == 6 && pairs.all(|(part, text)| part.takes(text, false, facts))
                };
                patterns.iter().any(whole)
            }
            Test::Number(compare, numbers) => value.parse::<f64>().is_ok_and(|value| {
                let mut orders = numbers.iter().filter_map(|other| value.partial_cmp(other));
                orders.any(|order| compare.holds(order))
            }),
            Test::Time(compare, times) => moment(value)
                .is_ok_and(|value| times.iter().any(|other| compare.holds(value.cmp(other)))),
            Test::Bool(wanted) => boolean(value).is_ok_and(|value| wanted.contains(&value)),
            Test::Address(networks) => value.parse::<IpAddr>().is_ok_and(|address| {
                let address = address.to_canonical();
                networks.iter().any(|network| network.contains(&address))
            }),
            Test::Null(_) => false,
        }
    }
}

/// The value as it is compared with text: a time as ISO 8601.
fn shown(key: &Key, value: &str) -> String {
    let time = match (key, value.parse::<i64>()) {
        (Key::CurrentTime, Ok(seconds)) => OffsetDateTime::from_unix_timestamp(seconds).ok(),
        _ => None,
    };
    time.and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| value.to_owned())
}

impl Compare {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Compare::Equal => order.is_eq(),
            Compare::Less => order.is_lt(),
            Compare::LessOrEqual => order.is_le(),
            Compare::Greater => order.is_gt(),
            Compare::GreaterOrEqual => order.is_ge(),
        }
    }
}
