//! Message attributes and message system attributes: the three forms in which people write them, and the rules of SQS
//! that hold for each (SendMessage, API reference).

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::integration::parameter::{Compiler, Flaw, MapError};
use crate::integration::shape::{Shape, TextMap};
use crate::mapping::{Expression, Part, Sources};
use crate::model::message::{Attribute, AttributeValue, Attributes, sqs_text};
use crate::model::text::{Piece, Text};

/// A message can carry this many attributes.
pub(super) const MOST: usize = 10;

/// The attribute that says that a body is base64 text because the bytes themselves could not be held.
pub(super) const ENCODING: &str = "penstock-encoding";

/// Attributes as people write them: `{ name: text }` (data type String), `{ name: { DataType, StringValue | BinaryValue } }`,
/// or the vendor's JSON text of the latter, with `${…}` inside its values. A mapping of the whole
/// (`$request.body.attributes`) gives that JSON text for each request. At most ten; an attribute whose value is empty is
/// dropped.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct AttributesConfig(TextMap<AttributeConfig>);

/// One attribute.
#[derive(Clone, Debug)]
enum AttributeConfig {
    Text(Text),
    Typed {
        data_type: Option<Text>,
        string_value: Option<Text>,
        binary_value: Option<Text>,
    },
}

const FIELDS: &[&str] = &["DataType", "StringValue", "BinaryValue"];

impl<'de> Deserialize<'de> for AttributeConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = match TextMap::<Text>::deserialize(deserializer)?.0 {
            Shape::Text(text) => return Ok(AttributeConfig::Text(text)),
            Shape::List(_) => {
                return Err(D::Error::custom("expected a text or a map, found a list"));
            }
            Shape::Map(entries) => entries,
        };
        let (mut data_type, mut string_value, mut binary_value) = (None, None, None);
        for (name, text) in entries {
            match name.as_str() {
                "DataType" => data_type = Some(text),
                "StringValue" => string_value = Some(text),
                "BinaryValue" => binary_value = Some(text),
                other => return Err(D::Error::unknown_field(other, FIELDS)),
            }
        }
        Ok(AttributeConfig::Typed {
            data_type,
            string_value,
            binary_value,
        })
    }
}

impl JsonSchema for AttributesConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MessageAttributes".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<Text>();
        schemars::json_schema!({
            "description": "Attributes by name: a text (data type String), or DataType with StringValue or BinaryValue (base64); \
                            or the vendor's JSON text of the latter, or a mapping that gives it. At most ten. One whose value is empty is dropped.",
            "anyOf": [text, {
                "type": "object",
                "maxProperties": MOST,
                "additionalProperties": { "anyOf": [text, {
                    "type": "object",
                    "properties": { "DataType": text, "StringValue": text, "BinaryValue": text },
                    "required": ["DataType"],
                    "additionalProperties": false
                }] }
            }]
        })
    }
}

/// Which rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Message,
    System,
}

impl Which {
    pub(super) fn parameter(self) -> &'static str {
        match self {
            Which::Message => "MessageAttributes",
            Which::System => "MessageSystemAttributes",
        }
    }
}

/// Compiled attributes.
#[derive(Clone, Debug)]
pub(super) struct CompiledAttributes {
    which: Which,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// Names and data types are known; the values are mapped.
    Each(Vec<(String, String, Value)>),
    /// The JSON text comes out of the request.
    Whole(Expression),
}

#[derive(Clone, Debug)]
enum Value {
    Text(Expression),
    /// Base64 text.
    Binary(Expression),
}

impl AttributesConfig {
    /// Compiles the attributes; `room` is how many there may be.
    pub(super) fn compile(
        &self,
        which: Which,
        room: usize,
        compiler: &mut Compiler<'_, '_>,
    ) -> Option<CompiledAttributes> {
        let parameter = which.parameter();
        let entries = match &self.0.0 {
            Shape::List(_) => return None, // never: refused when read
            Shape::Map(entries) => entries.clone(),
            Shape::Text(text) if text.joined().trim().is_empty() => Vec::new(),
            Shape::Text(text) if text.joined().trim_start().starts_with('{') => {
                match from_json(text) {
                    Ok(entries) => entries,
                    Err(reason) => {
                        compiler.error(
                            parameter,
                            format!("`{parameter}` is not the JSON text of attributes: {reason}"),
                            "write {\"name\":{\"DataType\":\"String\",\"StringValue\":\"${request.header.x}\"}}, with `${…}` inside the quotes",
                        );
                        return None;
                    }
                }
            }
            Shape::Text(text) => {
                let at = compiler.at.key(parameter);
                let expression = compiler.expression(&at, text)?;
                if expression.constant().is_some() {
                    compiler.error(
                        parameter,
                        format!("`{parameter}` is neither a map nor JSON text"),
                        "write a map: { source: $request.header.user-agent }",
                    );
                    return None;
                }
                return Some(CompiledAttributes {
                    which,
                    form: Form::Whole(expression),
                });
            }
        };
        if entries.len() > room {
            let found = entries.len();
            compiler.error(
                parameter,
                format!("{found} attributes are over a limit of SQS: at most {MOST} in a message"),
                if room < MOST {
                    "`encode: base64-if-needed` needs one of the ten for itself"
                } else {
                    "put the rest into the body"
                },
            );
        }
        let mut each = Vec::with_capacity(entries.len());
        for (name, config) in entries {
            if let Err(reason) = check_name(which, &name) {
                compiler.error(
                    parameter,
                    format!("the attribute name {name:?} {reason}"),
                    NAME_RULE,
                );
            }
            each.extend(
                compile_one(parameter, &name, &config, compiler)
                    .map(|(data_type, value)| (name, data_type, value)),
            );
        }
        Some(CompiledAttributes {
            which,
            form: Form::Each(each),
        })
    }
}

fn compile_one(
    parameter: &'static str,
    name: &str,
    config: &AttributeConfig,
    compiler: &mut Compiler<'_, '_>,
) -> Option<(String, Value)> {
    let at = compiler.at.key(parameter).key(name);
    let (data_type, text, binary) = match config {
        AttributeConfig::Text(text) => ("String".to_owned(), text, false),
        AttributeConfig::Typed {
            data_type,
            string_value,
            binary_value,
        } => {
            let Some(data_type) = data_type else {
                compiler
                    .problems
                    .error(&at, "`DataType` is missing")
                    .help(TYPE_RULE);
                return None;
            };
            let shown = data_type.shown();
            let data_type = data_type.joined().into_owned();
            if !is_data_type(&data_type) {
                compiler
                    .problems
                    .error(&at.key("DataType"), format!("{shown:?} is not a data type"))
                    .help(TYPE_RULE);
                return None;
            }
            let wants_binary = is_binary(&data_type);
            match (wants_binary, string_value, binary_value) {
                (false, Some(text), None) => (data_type, text, false),
                (true, None, Some(text)) => (data_type, text, true),
                _ => {
                    let wanted = if wants_binary {
                        "BinaryValue"
                    } else {
                        "StringValue"
                    };
                    compiler.problems.error(
                        &at,
                        format!("the data type {data_type} needs `{wanted}`, and nothing else"),
                    );
                    return None;
                }
            }
        }
    };
    let key = if binary { "BinaryValue" } else { "StringValue" };
    let at = match config {
        AttributeConfig::Text(_) => at,
        AttributeConfig::Typed { .. } => at.key(key),
    };
    let expression = compiler.expression(&at, text)?;
    if let Some(constant) = expression.constant()
        && !constant.is_empty()
        && let Err(flaw) = attribute(&data_type, binary, constant.as_bytes())
    {
        compiler.flaw(&at, text, flaw);
        return None;
    }
    let value = if binary {
        Value::Binary(expression)
    } else {
        Value::Text(expression)
    };
    Some((data_type, value))
}

impl CompiledAttributes {
    /// The attributes of a request; `room` is how many there may be.
    pub(super) fn value(&self, room: usize, sources: &dyn Sources) -> Result<Attributes, MapError> {
        let parameter = self.which.parameter();
        let attributes = match &self.form {
            Form::Each(each) => {
                let mut attributes = Attributes::new();
                for (name, data_type, value) in each {
                    let (expression, binary) = match value {
                        Value::Text(expression) => (expression, false),
                        Value::Binary(expression) => (expression, true),
                    };
                    let bytes = expression.resolve(&format!("{parameter}.{name}"), sources)?;
                    if bytes.is_empty() {
                        continue;
                    }
                    let attribute = attribute(data_type, binary, &bytes).map_err(|flaw| {
                        let callers = matches!(expression.parts(), [Part::Reference(_)]);
                        let shown = callers.then_some(&bytes[..]);
                        MapError::flaw("SQS", format!("{parameter}.{name}"), shown, flaw)
                    })?;
                    attributes.insert(name.clone(), attribute);
                }
                attributes
            }
            Form::Whole(expression) => {
                let bytes = expression.resolve(parameter, sources)?;
                if bytes.is_empty() {
                    return Ok(Attributes::new());
                }
                self.brought(&bytes)?
            }
        };
        if attributes.len() > room {
            let found = attributes.len();
            return Err(MapError::Limit {
                target: "SQS",
                parameter: parameter.to_owned(),
                limit: format!("{found} attributes, at most {room} are allowed"),
            });
        }
        Ok(attributes)
    }

    /// Reads the JSON text that a request brought.
    fn brought(&self, bytes: &Bytes) -> Result<Attributes, MapError> {
        let parameter = self.which.parameter();
        let wrong = |reason: String| MapError::parameter(parameter, None, reason);
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("is not UTF-8".to_owned()))?;
        let entries = from_json(&Text(vec![Piece::Literal(text.to_owned())]))
            .map_err(|reason| wrong(format!("is not the JSON text of attributes: {reason}")))?;
        let mut attributes = Attributes::new();
        for (name, config) in entries {
            check_name(self.which, &name)
                .map_err(|reason| wrong(format!("has a name that {reason}: {name:?}")))?;
            let (data_type, text, binary) = match &config {
                AttributeConfig::Text(text) => ("String".to_owned(), text, false),
                AttributeConfig::Typed {
                    data_type: Some(data_type),
                    string_value,
                    binary_value,
                } => {
                    let data_type = data_type.joined().into_owned();
                    if !is_data_type(&data_type) {
                        return Err(wrong(format!("{name:?}: {data_type:?} is not a data type")));
                    }
                    match (is_binary(&data_type), string_value, binary_value) {
                        (false, Some(text), None) => (data_type, text, false),
                        (true, None, Some(text)) => (data_type, text, true),
                        _ => return Err(wrong(format!("{name:?} has no value of its data type"))),
                    }
                }
                AttributeConfig::Typed { .. } => {
                    return Err(wrong(format!("{name:?} has no DataType")));
                }
            };
            let text = text.joined();
            if text.is_empty() {
                continue;
            }
            let attribute = attribute(&data_type, binary, text.as_bytes()).map_err(|flaw| {
                MapError::flaw(
                    "SQS",
                    format!("{parameter}.{name}"),
                    Some(text.as_bytes()),
                    flaw,
                )
            })?;
            attributes.insert(name, attribute);
        }
        Ok(attributes)
    }
}

/// An attribute from its value: text, or base64 where the data type is binary.
fn attribute(data_type: &str, binary: bool, value: &[u8]) -> Result<Attribute, Flaw> {
    use base64::Engine as _;
    let value = if binary {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(value)
            .map_err(|error| Flaw::Invalid(format!("is not base64: {error}")))?;
        AttributeValue::Binary(Bytes::from(decoded))
    } else {
        let text = sqs_text(value).map_err(Flaw::Charset)?;
        if data_type.split('.').next() == Some("Number") && !is_number(text) {
            return Err(Flaw::Invalid("must be a number".to_owned()));
        }
        AttributeValue::String(text.to_owned())
    };
    Ok(Attribute {
        data_type: data_type.to_owned(),
        value,
    })
}

const TYPE_RULE: &str =
    "allowed: String, Number, Binary, each with a label of your own after a dot (Number.float)";
const NAME_RULE: &str = "allowed: letters, digits, `_`, `-` and single dots inside, up to 256 characters; `AWS.` and `Amazon.` are reserved";

fn is_data_type(data_type: &str) -> bool {
    let base = data_type.split('.').next().unwrap_or_default();
    ["String", "Number", "Binary"].contains(&base)
        && data_type.len() <= 256
        && !data_type.ends_with('.')
}

fn is_binary(data_type: &str) -> bool {
    data_type.split('.').next() == Some("Binary")
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite) && !text.starts_with(char::is_whitespace)
}

fn check_name(which: Which, name: &str) -> Result<(), String> {
    if which == Which::System {
        return match name {
            "AWSTraceHeader" => Ok(()),
            _ => Err("is not a system attribute; the only one is AWSTraceHeader".to_owned()),
        };
    }
    let lower = name.to_ascii_lowercase();
    let allowed = (1..=256).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !lower.starts_with("aws.")
        && !lower.starts_with("amazon.");
    if allowed {
        Ok(())
    } else {
        Err("cannot name an attribute".to_owned())
    }
}

/// Reads JSON text in which some pieces were substituted: those stay literal, wherever in a string they stand.
fn from_json(text: &Text) -> Result<Vec<(String, AttributeConfig)>, String> {
    let mut literals = Vec::new();
    let all_literal = text
        .0
        .iter()
        .all(|piece| matches!(piece, Piece::Literal(_)));
    let mut json = String::new();
    for piece in &text.0 {
        match piece {
            Piece::Literal(literal) if !all_literal => {
                json.push(MARK);
                json.push_str(&literals.len().to_string());
                json.push(MARK);
                literals.push(literal.clone());
            }
            Piece::Literal(text) | Piece::Written(text) => json.push_str(text),
        }
    }
    let document: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&json).map_err(|error| error.to_string())?;
    let pieces = |text: &str| -> Text {
        if all_literal {
            return Text(vec![Piece::Literal(text.to_owned())]);
        }
        let parts = text
            .split(MARK)
            .enumerate()
            .filter(|(_, part)| !part.is_empty());
        Text(
            parts
                .map(|(position, part)| {
                    match part.parse::<usize>().ok().and_then(|at| literals.get(at)) {
                        Some(literal) if position % 2 == 1 => Piece::Literal(literal.clone()),
                        _ => Piece::Written(part.to_owned()),
                    }
                })
                .collect(),
        )
    };
    let scalar = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Some(pieces(text)),
        serde_json::Value::Number(number) => Some(Text::written(number.to_string())),
        serde_json::Value::Bool(value) => Some(Text::written(value.to_string())),
        _ => None,
    };
    let mut entries = Vec::with_capacity(document.len());
    for (name, value) in &document {
        if let Some(text) = scalar(value) {
            entries.push((name.clone(), AttributeConfig::Text(text)));
            continue;
        }
        let fields = value
            .as_object()
            .ok_or_else(|| format!("{name:?} is neither a text nor an object"))?;
        if let Some(stranger) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            return Err(format!(
                "{name:?} has {stranger:?}; allowed: {}",
                FIELDS.join(", ")
            ));
        }
        let field = |key: &str| fields.get(key).and_then(scalar);
        entries.push((
            name.clone(),
            AttributeConfig::Typed {
                data_type: field("DataType"),
                string_value: field("StringValue"),
                binary_value: field("BinaryValue"),
            },
        ));
    }
    Ok(entries)
}

/// Stands around the number of a literal while its text is read as JSON: a noncharacter, which no text holds.
const MARK: char = '\u{fdd0}';

#[cfg(test)]
mod tests;
