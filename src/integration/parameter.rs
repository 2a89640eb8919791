//! Parameters: from the text that people write to the value that is sent. One parse function per parameter serves
//! both: static values are checked when the configuration is compiled, mapped ones for each request.

use std::fmt;

use bytes::Bytes;

use super::Scope;
use crate::mapping::{Expression, Part, Source, Sources, Unresolved};
use crate::model::code::Code;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::text::Text;

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is not such a value at all; what it has to be: "must be a whole number from 0 to 900".
    Invalid(String),
    /// It is one, but over a limit of the target: "at most 128 characters".
    Limit(String),
    /// The target cannot hold the byte at this offset.
    Charset(usize),
}

/// Reads a value; the bytes are what the mapping gave, or the constant.
pub(super) type Parse<T> = fn(Bytes) -> Result<T, Flaw>;

/// Why a request cannot become a call. All of it is known before the target is called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// An expression has no value.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// A parameter has a value that the target does not know.
    #[error("{parameter}{} {reason}", Shown(value))]
    Parameter {
        parameter: String,
        /// The value, shortened; left out where it can hold a credential.
        value: Option<String>,
        reason: String,
    },
    /// A value is over the target's limit.
    #[error("{parameter} is over a limit of {target}: {limit}")]
    Limit {
        target: &'static str,
        parameter: String,
        limit: String,
    },
    /// The target cannot hold these characters.
    #[error("{parameter} holds a byte at offset {offset} that {target} cannot hold")]
    Charset {
        target: &'static str,
        parameter: String,
        offset: usize,
    },
}

struct Shown<'a>(&'a Option<String>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, " ({value})"),
            None => Ok(()),
        }
    }
}

impl MapError {
    /// The reason code.
    pub fn code(&self) -> Code {
        match self {
            MapError::Unresolved(_) => Code::MappingUnresolved,
            MapError::Parameter { .. } => Code::BadRequest,
            MapError::Limit { .. } => Code::TargetLimit,
            MapError::Charset { .. } => Code::TargetCharset,
        }
    }

    /// The status in either dialect: 413 over a limit, else 400.
    pub fn status(&self) -> u16 {
        match self {
            MapError::Limit { .. } => 413,
            _ => 400,
        }
    }

    pub(super) fn parameter(
        parameter: impl Into<String>,
        value: Option<&[u8]>,
        reason: impl Into<String>,
    ) -> MapError {
        MapError::Parameter {
            parameter: parameter.into(),
            value: value.map(shown),
            reason: reason.into(),
        }
    }

    pub(super) fn flaw(
        target: &'static str,
        parameter: impl Into<String>,
        value: Option<&[u8]>,
        flaw: Flaw,
    ) -> MapError {
        let parameter = parameter.into();
        match flaw {
            Flaw::Invalid(reason) => MapError::parameter(parameter, value, reason),
            Flaw::Limit(limit) => MapError::Limit {
                target,
                parameter,
                limit,
            },
            Flaw::Charset(offset) => MapError::Charset {
                target,
                parameter,
                offset,
            },
        }
    }
}

/// A value as it may stand in a message: one line, escaped, at most 64 characters.
pub(super) fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Whether an expression's value may stand in a message, which goes to the caller and into the log: it is a part of the
/// path or a field of the body. Headers, query parameters and the context carry credentials; text and defaults of the
/// configuration may come from a secret; a whole body is a record.
pub(super) fn may_be_shown(expression: &Expression) -> bool {
    match expression.parts() {
        [Part::Reference(only)] if only.default.is_none() => matches!(
            only.source,
            Source::Path | Source::PathVariable(_) | Source::BodyField(_)
        ),
        _ => false,
    }
}

/// A compiled parameter: known already, or mapped for each request.
#[derive(Clone, Debug)]
pub(super) enum Param<T> {
    Constant(T),
    Mapped {
        target: &'static str,
        name: &'static str,
        expression: Expression,
        parse: Parse<T>,
    },
}

impl<T: Clone> Param<T> {
    /// The value for a request. A required parameter that comes out empty is refused, unless its type has an empty
    /// value (a body).
    pub(super) fn value(&self, sources: &dyn Sources) -> Result<T, MapError> {
        match self {
            Param::Constant(value) => Ok(value.clone()),
            Param::Mapped { name, .. } => {
                let bytes = self.resolve(sources)?;
                self.parse(name, bytes)
            }
        }
    }

    /// The value of an optional parameter: one that comes out empty is not sent.
    fn value_if_any(&self, sources: &dyn Sources) -> Result<Option<T>, MapError> {
        match self {
            Param::Constant(value) => Ok(Some(value.clone())),
            Param::Mapped { name, .. } => match self.resolve(sources)? {
                empty if empty.is_empty() => Ok(None),
                bytes => self.parse(name, bytes).map(Some),
            },
        }
    }

    /// The value of an optional parameter, if it is the same for every request.
    pub(super) fn constant_if_any(param: &Option<Param<T>>) -> Option<Option<&T>> {
        match param {
            None => Some(None),
            Some(param) => param.constant().map(Some),
        }
    }

    /// The value, if it is the same for every request.
    pub(super) fn constant(&self) -> Option<&T> {
        match self {
            Param::Constant(value) => Some(value),
            Param::Mapped { .. } => None,
        }
    }

    fn resolve(&self, sources: &dyn Sources) -> Result<Bytes, MapError> {
        match self {
            Param::Constant(_) => Ok(Bytes::new()),
            Param::Mapped {
                name, expression, ..
            } => Ok(expression.resolve(name, sources)?),
        }
    }

    fn parse(&self, name: &str, bytes: Bytes) -> Result<T, MapError> {
        match self {
            Param::Constant(value) => Ok(value.clone()),
            Param::Mapped {
                target,
                expression,
                parse,
                ..
            } => parse(bytes.clone()).map_err(|flaw| {
                let value = may_be_shown(expression).then_some(&bytes[..]);
                MapError::flaw(target, name, value, flaw)
            }),
        }
    }
}

/// The value of a parameter that may be absent.
pub(super) fn optional<T: Clone>(
    param: &Option<Param<T>>,
    sources: &dyn Sources,
) -> Result<Option<T>, MapError> {
    match param {
        Some(param) => param.value_if_any(sources),
        None => Ok(None),
    }
}

/// Compiles the parameters of one integration and notes everything that is wrong with them.
pub(super) struct Compiler<'a, 'p> {
    /// The integration's name, and the service that limits belong to.
    pub(super) tag: &'static str,
    pub(super) target: &'static str,
    /// The path of the tag.
    pub(super) at: &'a ConfigPath,
    pub(super) scope: &'a Scope<'a>,
    pub(super) problems: &'p mut Problems,
}

impl<'a, 'p> Compiler<'a, 'p> {
    pub(super) fn new(
        tag: &'static str,
        target: &'static str,
        at: &'a ConfigPath,
        scope: &'a Scope<'a>,
        problems: &'p mut Problems,
    ) -> Self {
        Compiler {
            tag,
            target,
            at,
            scope,
            problems,
        }
    }

    /// A parameter that the service requires.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        text: &Option<Text>,
        parse: Parse<T>,
    ) -> Option<Param<T>> {
        let Some(text) = text else {
            self.problems
                .error(
                    &self.at.key(name),
                    format!("the parameter `{name}` is missing"),
                )
                .help(format!("{} requires it", self.tag));
            return None;
        };
        self.param(name, text, parse)
    }

    /// A parameter that may be left out; a static empty text counts as left out.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        text: &Option<Text>,
        parse: Parse<T>,
    ) -> Option<Param<T>> {
        let text = text.as_ref()?;
        if text.joined().is_empty() {
            return None;
        }
        self.param(name, text, parse)
    }

    fn param<T>(&mut self, name: &'static str, text: &Text, parse: Parse<T>) -> Option<Param<T>> {
        let expression = self.expression(&self.at.key(name), text)?;
        let Some(constant) = expression.constant() else {
            return Some(Param::Mapped {
                target: self.target,
                name,
                expression,
                parse,
            });
        };
        match parse(Bytes::copy_from_slice(constant.as_bytes())) {
            Ok(value) => Some(Param::Constant(value)),
            Err(flaw) => {
                self.flaw(&self.at.key(name), text, flaw);
                None
            }
        }
    }

    /// Notes a static value that is not the JSON that the service takes; `what` names that.
    pub(super) fn static_json(
        &mut self,
        name: &str,
        param: &Option<Param<String>>,
        fits: fn(&serde_json::Value) -> bool,
        what: &str,
    ) {
        let text = param.as_ref().and_then(Param::constant);
        if text.is_some_and(|text| !serde_json::from_str(text).is_ok_and(|value| fits(&value))) {
            self.error(
                name,
                format!("the static text is not {what}"),
                "write `$request.body` to send the request's body, or JSON text with `${…}` inside",
            );
        }
    }

    /// `Region`, for a call whose other parameters do not name one.
    pub(super) fn region(&mut self, text: &Option<Text>) -> Option<Param<String>> {
        let found = self.optional("Region", text, region);
        if text.is_none() && self.scope.region.is_none() {
            self.no_region();
        }
        found
    }

    /// Warns that only the process's surroundings can say where to call.
    pub(super) fn no_region(&mut self) {
        self.problems
            .warning(self.at, "nothing here says in which region to call")
            .help("set `aws.region`, or `Region`; else it comes from AWS_REGION, the profile or the instance");
    }

    /// Warns that the host in a queue's URL is not where the call will go.
    pub(super) fn stray_host(&mut self) {
        self.problems
            .warning(
                &self.at.key("QueueUrl"),
                "the host in a queue's URL does not say where SQS is, so this call goes to AWS",
            )
            .help("set `aws.endpoint` or `aws.endpoints.sqs` to the address of the service");
    }

    /// A text as an expression.
    pub(super) fn expression(&mut self, at: &ConfigPath, text: &Text) -> Option<Expression> {
        Expression::compile(text, at, &self.scope.mapping, self.problems)
    }

    /// Notes what is wrong with a static value of a parameter, or of a part of it.
    pub(super) fn flaw(&mut self, at: &ConfigPath, text: &Text, flaw: Flaw) {
        let value = shown(text.shown().as_bytes());
        let target = self.target;
        let message = match flaw {
            Flaw::Invalid(reason) => format!("{value} {reason}"),
            Flaw::Limit(limit) => format!("over a limit of {target}: {limit}"),
            Flaw::Charset(offset) => {
                format!("holds a byte at offset {offset} that {target} cannot hold")
            }
        };
        self.problems.error(at, message);
    }

    /// Notes an error at a parameter, with what to write instead.
    pub(super) fn error(
        &mut self,
        name: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.error(&self.at.key(name), message).help(help);
    }
}

/// UTF-8 text of `MIN` to `MAX` characters.
pub(super) fn text<const MIN: usize, const MAX: usize>(bytes: Bytes) -> Result<String, Flaw> {
    let text = utf8(bytes)?;
    let length = text.chars().count();
    if length < MIN {
        return Err(Flaw::Invalid("is empty".to_owned()));
    }
    if length > MAX {
        return Err(Flaw::Limit(format!(
            "{length} characters, at most {MAX} are allowed"
        )));
    }
    Ok(text)
}

/// UTF-8 text.
pub(super) fn utf8(bytes: Bytes) -> Result<String, Flaw> {
    String::from_utf8(Vec::from(bytes))
        .map_err(|error| Flaw::Charset(error.utf8_error().valid_up_to()))
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn integer<const MIN: i32, const MAX: i32>(bytes: Bytes) -> Result<i32, Flaw> {
    std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|number| (MIN..=MAX).contains(number))
        .ok_or_else(|| Flaw::Invalid(format!("must be a whole number from {MIN} to {MAX}")))
}

/// The bytes as they are.
pub(super) fn bytes(bytes: Bytes) -> Result<Bytes, Flaw> {
    Ok(bytes)
}

/// A region's name.
pub(super) fn region(bytes: Bytes) -> Result<String, Flaw> {
    match utf8(bytes)? {
        name if crate::aws::is_region(&name) => Ok(name),
        _ => Err(Flaw::Invalid(
            "is not a region; write one such as eu-west-1".to_owned(),
        )),
    }
}

/// A list of names: a JSON array of texts, or texts with commas between.
pub(super) fn names(bytes: Bytes) -> Result<Vec<String>, Flaw> {
    let text = utf8(bytes)?;
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(&text).map_err(|error| {
            // the error itself would show what stands there
            let column = error.column();
            Flaw::Invalid(format!(
                "is not a JSON array of texts, from column {column} on"
            ))
        });
    }
    Ok(text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn numbers_have_to_be_whole_and_in_range() {
        assert_eq!(integer::<0, 900>(b("900")), Ok(900));
        assert_eq!(integer::<0, 900>(b(" 5 ")), Ok(5));
        for wrong in ["901", "-1", "1.5", "x", "99999999999"] {
            assert_eq!(
                integer::<0, 900>(b(wrong)),
                Err(Flaw::Invalid("must be a whole number from 0 to 900".into())),
                "{wrong}"
            );
        }
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert_eq!(text::<1, 3>(b("äöü")), Ok("äöü".to_owned()));
        assert!(matches!(text::<1, 3>(b("äöüx")), Err(Flaw::Limit(_))));
        assert!(matches!(text::<1, 3>(b("")), Err(Flaw::Invalid(_))));
        assert_eq!(
            text::<1, 3>(Bytes::from_static(b"a\xff")),
            Err(Flaw::Charset(1))
        );
    }

    #[test]
    fn lists_are_json_arrays_or_have_commas() {
        let expected = Ok(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(names(b(r#"["a", "b"]"#)), expected);
        assert_eq!(names(b("a, b,")), expected);
        assert!(matches!(names(b("[1]")), Err(Flaw::Invalid(_))));
    }

    #[test]
    fn values_are_shown_short_and_on_one_line() {
        assert_eq!(shown(b"a\nb"), r#""a\nb""#);
        assert_eq!(shown("x".repeat(100).as_bytes()).chars().count(), 67);
    }

    #[test]
    fn each_kind_of_flaw_has_its_code_and_status() {
        let limit = MapError::flaw("SQS", "MessageBody", None, Flaw::Limit("too much".into()));
        assert_eq!((limit.code(), limit.status()), (Code::TargetLimit, 413));
        assert_eq!(
            limit.to_string(),
            "MessageBody is over a limit of SQS: too much"
        );
        let charset = MapError::flaw("SQS", "MessageBody", None, Flaw::Charset(3));
        assert_eq!(
            (charset.code(), charset.status()),
            (Code::TargetCharset, 400)
        );
        let invalid = MapError::flaw(
            "SQS",
            "DelaySeconds",
            Some(b"x"),
            Flaw::Invalid("must be a number".into()),
        );
        assert_eq!(
            invalid.to_string(),
            r#"DelaySeconds ("x") must be a number"#
        );
        assert_eq!((invalid.code(), invalid.status()), (Code::BadRequest, 400));
    }
}
