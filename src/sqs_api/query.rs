//! The Query protocol on its way in: `Action=SendMessage&MessageBody=…&MessageAttribute.1.Name=…`, in the query of a
//! URL or in a form, brought into the shape of the JSON protocol. Dotted names make a tree; one table says which of its
//! branches are lists, maps or numbers, for a name means the same in every action.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::fault::{Code, Fault};

/// The most parameters of a request: a batch of ten messages with ten attributes each has about 350.
const MOST: usize = 2_000;
/// The deepest name: `SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue` has six parts.
const DEEPEST: usize = 7;

/// A request's parameters.
#[derive(Debug, Default)]
pub struct Parameters {
    /// By name, decoded. Of a name that stands twice the last counts.
    named: BTreeMap<String, String>,
}

/// What a name means.
enum Shape {
    Text,
    Number,
    /// A list of texts, under this name.
    List(&'static str),
    /// A map, under this name, whose keys are called so.
    Map(&'static str, &'static str),
    /// Entries of a batch.
    Entries,
}

fn shape(name: &str) -> Shape {
    match name {
        "DelaySeconds"
        | "MaxNumberOfMessages"
        | "MaxNumberOfMessagesPerSecond"
        | "MaxResults"
        | "VisibilityTimeout"
        | "WaitTimeSeconds" => Shape::Number,
        "AttributeName" => Shape::List("AttributeNames"),
        "MessageAttributeName" => Shape::List("MessageAttributeNames"),
        "MessageSystemAttributeName" => Shape::List("MessageSystemAttributeNames"),
        "TagKey" => Shape::List("TagKeys"),
        "AWSAccountId" => Shape::List("AWSAccountIds"),
        "ActionName" => Shape::List("Actions"),
        "Attribute" => Shape::Map("Attributes", "Name"),
        "MessageAttribute" => Shape::Map("MessageAttributes", "Name"),
        "MessageSystemAttribute" => Shape::Map("MessageSystemAttributes", "Name"),
        "Tag" | "Tags" => Shape::Map("Tags", "Key"),
        "SendMessageBatchRequestEntry"
        | "DeleteMessageBatchRequestEntry"
        | "ChangeMessageVisibilityBatchRequestEntry" => Shape::Entries,
        "StringListValue" => Shape::List("StringListValues"),
        "BinaryListValue" => Shape::List("BinaryListValues"),
        _ => Shape::Text,
    }
}

/// A branch of dotted names.
#[derive(Default)]
struct Branch {
    text: Option<String>,
    below: BTreeMap<String, Branch>,
}

impl Parameters {
    /// Adds the parameters of a query or a form.
    pub fn add(&mut self, text: &str) -> Result<(), Fault> {
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.named.insert(decoded(name)?, decoded(value)?);
            if self.named.len() > MOST {
                return Err(Code::MalformedInput
                    .because(format!("The request has more than {MOST} parameters.")));
            }
        }
        Ok(())
    }

    /// A parameter by its whole name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.named.get(name).map(String::as_str)
    }

    /// The parameters in the shape of the JSON protocol. `queue_url` stands in where none is given: the URL that was
    /// called.
    pub fn shaped(self, queue_url: Option<String>) -> Result<Value, Fault> {
        let mut root = Branch::default();
        for (name, text) in self.named {
            // A signature's own.
            if name.starts_with("X-Amz-") {
                continue;
            }
            let mut at = &mut root;
            for (depth, part) in name.split('.').enumerate() {
                if depth >= DEEPEST {
                    return Err(Code::MalformedInput
                        .because(format!("The parameter {name} has too many parts.")));
                }
                at = at.below.entry(part.to_owned()).or_default();
            }
            at.text = Some(text);
        }
        let mut object = root.object()?;
        if let Some(url) = queue_url
            && !object.contains_key("QueueUrl")
        {
            object.insert("QueueUrl".to_owned(), Value::String(url));
        }
        Ok(Value::Object(object))
    }
}

fn decoded(raw: &str) -> Result<String, Fault> {
    let spaced = raw.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8();
    let text = text.map_err(|_| Code::MalformedInput.because("The request is not UTF-8."))?;
    Ok(text.into_owned())
}

impl Branch {
    fn object(self) -> Result<Map<String, Value>, Fault> {
        let mut object = Map::new();
        for (name, branch) in self.below {
            let (name, value) = match shape(&name) {
                Shape::Text => match branch.text {
                    Some(text) => (name, Value::String(text)),
                    None => continue,
                },
                Shape::Number => match branch.text {
                    Some(text) => {
                        let number = text
                            .trim()
                            .parse::<i64>()
                            .map_err(|_| Fault::value(&name, &text, "Must be an integer."))?;
                        (name, number.into())
                    }
                    None => continue,
                },
                Shape::List(plural) => {
                    let texts = branch.items().into_iter().filter_map(|item| item.text);
                    (plural.to_owned(), texts.collect())
                }
                Shape::Map(plural, key) => (plural.to_owned(), branch.map(key)?),
                Shape::Entries => {
                    let entries: Result<Vec<Value>, Fault> = branch
                        .items()
                        .into_iter()
                        .map(|item| item.object().map(Value::Object))
                        .collect();
                    ("Entries".to_owned(), entries?.into())
                }
            };
            object.insert(name, value);
        }
        Ok(object)
    }

    /// The items `.1`, `.2`, … in the order of their numbers. A list of one may go without a number, as in
    /// `Attribute.Name=…`.
    fn items(self) -> Vec<Branch> {
        let numbered = self.below.keys().any(|key| key.parse::<u32>().is_ok());
        if !numbered {
            return vec![self];
        }
        let mut items: Vec<(u32, Branch)> = self
            .below
            .into_iter()
            .filter_map(|(key, branch)| Some((key.parse().ok()?, branch)))
            .collect();
        items.sort_by_key(|(number, _)| *number);
        items.into_iter().map(|(_, branch)| branch).collect()
    }

    fn map(self, key: &str) -> Result<Value, Fault> {
        let mut map = Map::new();
        for mut item in self.items() {
            let name = item.below.remove(key).and_then(|name| name.text);
            let value = item.below.remove("Value").unwrap_or_default();
            let Some(name) = name else {
                return Err(
                    Code::MalformedInput.because(format!("An entry of a map has no {key}."))
                );
            };
            let value = if value.below.is_empty() {
                Value::String(value.text.unwrap_or_default())
            } else {
                Value::Object(value.object()?)
            };
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shaped(text: &str) -> Value {
        let mut parameters = Parameters::default();
        parameters.add(text).unwrap();
        parameters.shaped(None).unwrap()
    }

    #[test]
    fn names_with_dots_are_lists_and_maps() {
        assert_eq!(
            shaped(
                "Action=ReceiveMessage&MaxNumberOfMessages=5&AttributeName.2=b&AttributeName.10=c&AttributeName.1=a"
            ),
            json!({"Action": "ReceiveMessage", "MaxNumberOfMessages": 5, "AttributeNames": ["a", "b", "c"]})
        );
        assert_eq!(
            shaped("Attribute.1.Name=DelaySeconds&Attribute.1.Value=45&Tag.1.Key=k&Tag.1.Value="),
            json!({"Attributes": {"DelaySeconds": "45"}, "Tags": {"k": ""}})
        );
        assert_eq!(
            shaped("Attribute.Name=VisibilityTimeout&Attribute.Value=35&AttributeName=All"),
            json!({"Attributes": {"VisibilityTimeout": "35"}, "AttributeNames": ["All"]})
        );
    }

    #[test]
    fn entries_of_a_batch_hold_maps_of_their_own() {
        let text = "SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=x%20y+z%2B\
            &SendMessageBatchRequestEntry.2.Id=b&SendMessageBatchRequestEntry.2.DelaySeconds=3\
            &SendMessageBatchRequestEntry.2.MessageAttribute.1.Name=n\
            &SendMessageBatchRequestEntry.2.MessageAttribute.1.Value.DataType=String\
            &SendMessageBatchRequestEntry.2.MessageAttribute.1.Value.StringValue=v";
        assert_eq!(
            shaped(text),
            json!({"Entries": [
                {"Id": "a", "MessageBody": "x y z+"},
                {"Id": "b", "DelaySeconds": 3, "MessageAttributes": {"n": {"DataType": "String", "StringValue": "v"}}}
            ]})
        );
    }

    #[test]
    fn the_url_that_was_called_stands_in_for_the_queue_s() {
        let mut parameters = Parameters::default();
        parameters.add("Action=PurgeQueue&X-Amz-Date=1").unwrap();
        let value = parameters.shaped(Some("http://h/0/q".into())).unwrap();
        assert_eq!(
            value,
            json!({"Action": "PurgeQueue", "QueueUrl": "http://h/0/q"})
        );
    }

    #[test]
    fn nonsense_is_refused_and_takes_no_time() {
        let refused = |text: &str| {
            let mut parameters = Parameters::default();
            let added = parameters.add(text);
            added
                .and_then(|()| parameters.shaped(None))
                .unwrap_err()
                .code
        };
        assert_eq!(refused("a=%ff"), Code::MalformedInput);
        assert_eq!(refused("DelaySeconds=soon"), Code::InvalidParameterValue);
        assert_eq!(
            refused("DelaySeconds=99999999999999999999"),
            Code::InvalidParameterValue
        );
        assert_eq!(refused("Attribute.1.Value=x"), Code::MalformedInput);
        assert_eq!(
            refused(&format!("{}=x", "a.".repeat(100_000))),
            Code::MalformedInput
        );
        let many: Vec<String> = (0..3_000).map(|n| format!("p{n}=x")).collect();
        assert_eq!(refused(&many.join("&")), Code::MalformedInput);
        for text in [
            "",
            "&&",
            "=",
            "....=x",
            "Attribute.99999999999.Name=a",
            "a=1&a.b=2&a.1.b=3",
            "%",
            "AttributeName.x=1",
        ] {
            let mut parameters = Parameters::default();
            let _ = parameters.add(text).and_then(|()| parameters.shaped(None));
        }
    }
}
