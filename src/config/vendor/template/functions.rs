//! The functions themselves. A value goes in, a value comes out; what cannot be known or makes no sense is noted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Template;
use super::text::{self, dynamic, written};
use super::unresolved::{Place, Unresolved};
use crate::config::load::tree::{Entry, Kind, Mark, Node, Scalar};
use crate::model::path::ConfigPath;
use crate::model::problem::nearest;

/// How deep functions, references and values may stand in each other: readers recurse.
const MAX_DEPTH: usize = 160;
/// How many names one value may lead to: names that refer to names twice over double with each level.
const MAX_NAMES: usize = 50_000;

/// The functions that are known here, for the spelling of others.
const FUNCTIONS: [&str; 11] = [
    "Fn::GetAtt",
    "Fn::Sub",
    "Fn::Join",
    "Fn::Select",
    "Fn::Split",
    "Fn::If",
    "Fn::FindInMap",
    "Fn::ImportValue",
    "Fn::Base64",
    "Fn::Transform",
    "Ref",
];

/// One resolving of one value.
pub struct Run<'t, 'u> {
    pub template: Template<'t>,
    pub unresolved: &'u mut Unresolved,
    /// Whether a reference to a resource gives its logical id.
    links: bool,
    depth: usize,
    /// How many names have been looked up.
    names: usize,
}

impl<'t, 'u> Run<'t, 'u> {
    pub fn new(template: Template<'t>, unresolved: &'u mut Unresolved, links: bool) -> Run<'t, 'u> {
        Run {
            template,
            unresolved,
            links,
            depth: 0,
            names: 0,
        }
    }

    /// One level deeper; `false` when that is too deep, or leads to too many names.
    pub fn enter(&mut self, at: &Place) -> bool {
        if self.depth < MAX_DEPTH && self.names < MAX_NAMES {
            self.depth += 1;
            return true;
        }
        let reason = "this refers to itself, or to names without end";
        self.unresolved.fault(at.clone(), reason, None);
        false
    }

    /// Counts a name of a text's own, which is resolved wherever it stands: as many names.
    pub fn look_up(&mut self) {
        self.names += 10;
    }

    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// The value that `--vars` gives a name.
    pub fn var(&mut self, name: &str) -> Option<&'t Node> {
        let value = self.template.vars.get(name)?;
        self.unresolved.given.insert(name.to_owned());
        Some(value)
    }

    /// The value with its functions resolved; `None` is `AWS::NoValue`.
    pub fn value(&mut self, node: &Node, path: &ConfigPath) -> Option<Node> {
        let at = Place {
            mark: node.mark.clone(),
            path: path.clone(),
        };
        if !self.enter(&at) {
            return Some(Node::new(Kind::Null, node.mark.clone()));
        }
        let value = self.below(node, &at);
        self.leave();
        value
    }

    fn below(&mut self, node: &Node, at: &Place) -> Option<Node> {
        let kind = match &node.kind {
            Kind::Null => Kind::Null,
            Kind::Scalar(scalar) => Kind::Scalar(dynamic(scalar)),
            Kind::Sequence(items) => {
                let items = items.iter().enumerate();
                Kind::Sequence(
                    items
                        .filter_map(|(index, item)| self.value(item, &at.path.index(index)))
                        .collect(),
                )
            }
            Kind::Mapping(entries) => {
                if let [entry] = entries.as_slice()
                    && is_function(entry)
                {
                    return self.call(entry, at);
                }
                let mut kept = Vec::new();
                for entry in entries {
                    let name = &entry.key.text;
                    let path = at.path.key(name);
                    if name.starts_with("Fn::") {
                        let reason = format!("`{name}` stands beside other keys");
                        let place = Place {
                            mark: entry.key.mark.clone(),
                            path: path.clone(),
                        };
                        self.unresolved.fault(place, reason, None);
                        continue;
                    }
                    if let Some(value) = self.value(&entry.value, &path) {
                        kept.push(Entry {
                            key: entry.key.clone(),
                            value,
                        });
                    }
                }
                Kind::Mapping(kept)
            }
        };
        Some(Node {
            kind,
            mark: node.mark.clone(),
            refused: node.refused.clone(),
        })
    }

    /// A function call.
    fn call(&mut self, entry: &Entry, at: &Place) -> Option<Node> {
        let name = entry.key.text.as_str();
        let argument = &entry.value;
        let inner = at.path.key(name);
        let mark = &at.mark;
        match name {
            "Ref" => self.reference(&leaf(argument), at),
            "Fn::GetAtt" => {
                let (id, attribute) = self.attribute(argument, &inner)?;
                Some(text::node(self.get_att(&id, &attribute, at), mark))
            }
            "Fn::Sub" => Some(text::node(self.sub(argument, at, &inner), mark)),
            "Fn::Join" => Some(text::node(self.join(argument, at, &inner), mark)),
            "Fn::Select" => self.select(argument, at, &inner),
            "Fn::Split" => Some(self.split(argument, at, &inner)),
            "Fn::If" => self.branch(argument, at, &inner),
            "Fn::FindInMap" => self.find_in_map(argument, at, &inner),
            "Fn::ImportValue" => {
                let export = self.text_of(argument, &inner)?;
                let export = export.text().into_owned();
                Some(self.named(&export, at, || {
                    format!("the value that another stack exports as `{export}`")
                }))
            }
            "Fn::Base64" => {
                let plain = self.text_of(argument, &inner)?;
                let coded = if self.unresolved.settled(&plain) {
                    written(STANDARD.encode(plain.text().as_bytes()))
                } else {
                    plain
                };
                Some(text::node(coded, mark))
            }
            "Fn::Transform" => {
                let macro_name = argument.entry("Name").map(|entry| leaf(&entry.value));
                let reason = match macro_name.as_deref() {
                    Some("AWS::Include") => "what is included here could not be read".to_owned(),
                    Some(name) => format!("the macro `{name}` runs in the account, not here"),
                    None => "a transform without a name".to_owned(),
                };
                let help = "process the template first, and import what comes out";
                self.unresolved.fault(at.clone(), reason, Some(help));
                Some(Node::new(Kind::Null, mark.clone()))
            }
            _ => {
                let reason = format!("the function `{name}` is not known here");
                let help = nearest(name, FUNCTIONS)
                    .filter(|near| *near != name)
                    .map(|near| format!("did you mean `{near}`?"));
                let help = help.as_deref().unwrap_or("write its value in its place");
                self.unresolved.fault(at.clone(), reason, Some(help));
                Some(Node::new(Kind::Null, mark.clone()))
            }
        }
    }

    /// A value that only `--vars` can give.
    fn named(&mut self, name: &str, at: &Place, stands_for: impl FnOnce() -> String) -> Node {
        match self.var(name) {
            Some(value) => text::placed(value.clone(), &at.mark),
            None => {
                let asked = self.unresolved.ask(name, stands_for(), at.clone());
                text::node(asked, &at.mark)
            }
        }
    }

    /// `Ref`.
    pub(super) fn reference(&mut self, name: &str, at: &Place) -> Option<Node> {
        if name == "AWS::NoValue" {
            return None;
        }
        self.names += 1;
        if self.links && self.declared(name) {
            return Some(text::node(written(name), &at.mark));
        }
        if let Some(value) = self.var(name) {
            return Some(text::placed(value.clone(), &at.mark));
        }
        if let Some(text) = self.pseudo(name, at) {
            return Some(text::node(text, &at.mark));
        }
        if let Some(value) = self.parameter(name, at) {
            return Some(value);
        }
        let stands_for = match self.of_resource(name, None, at) {
            Some(Ok(text)) => return Some(text::node(text, &at.mark)),
            Some(Err(stands_for)) => stands_for,
            None => self.undeclared(name, None),
        };
        let asked = self.unresolved.ask(name, stands_for, at.clone());
        Some(text::node(asked, &at.mark))
    }

    /// `Fn::GetAtt`.
    pub(super) fn get_att(&mut self, id: &str, attribute: &str, at: &Place) -> Scalar {
        self.names += 1;
        if self.links && self.declared(id) {
            return written(id);
        }
        let name = format!("{id}.{attribute}");
        if let Some(value) = self.var(&name)
            && let Kind::Scalar(scalar) = &value.kind
        {
            return scalar.clone();
        }
        let stands_for = match self.of_resource(id, Some(attribute), at) {
            Some(Ok(text)) => return text,
            Some(Err(stands_for)) => stands_for,
            None => self.undeclared(id, Some(attribute)),
        };
        self.unresolved.ask(&name, stands_for, at.clone())
    }

    fn declared(&self, id: &str) -> bool {
        let resources = self.template.section("Resources");
        resources.is_some_and(|resources| resources.entry(id).is_some())
    }

    /// What an undeclared name may stand for.
    fn undeclared(&self, name: &str, attribute: Option<&str>) -> String {
        let sections = ["Resources", "Parameters"];
        let names: Vec<&str> = sections
            .iter()
            .filter_map(|section| self.template.section(section))
            .flat_map(|section| match &section.kind {
                Kind::Mapping(entries) => entries.as_slice(),
                _ => &[],
            })
            .map(|entry| entry.key.text.as_str())
            .collect();
        match (attribute, nearest(name, names.iter().copied())) {
            (_, Some(near)) => format!("nothing of that name is declared; `{near}` is"),
            (Some(attribute), None) => format!("the {attribute} of a resource declared elsewhere"),
            (None, None) => "a resource or parameter declared elsewhere; of a queue its URL, of a stream, bus or table \
                             its name, of a state machine its ARN"
                .to_owned(),
        }
    }

    /// A parameter's value: its default, for `--vars` was asked before.
    fn parameter(&mut self, name: &str, at: &Place) -> Option<Node> {
        let declared = &self.template.section("Parameters")?.entry(name)?.value;
        let kind = declared
            .entry("Type")
            .map(|entry| leaf(&entry.value))
            .unwrap_or_default();
        let description = declared
            .entry("Description")
            .map(|entry| leaf(&entry.value));
        let default = declared.entry("Default").map(|entry| &entry.value);
        let mut stands_for = match description {
            Some(description) => format!("the parameter {name} ({kind}): {description}"),
            None => format!("the parameter {name} ({kind})"),
        };
        if let Some(default) = default {
            if let Some(of) = kind.strip_prefix("AWS::SSM::Parameter::Value<") {
                let of = of.trim_end_matches('>');
                stands_for = format!("what the SSM parameter {} holds ({of})", leaf(default));
            } else {
                let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
                return Some(text::placed(
                    default_value(default, &kind, is_list),
                    &at.mark,
                ));
            }
        }
        let asked = self.unresolved.ask(name, stands_for, at.clone());
        Some(text::node(asked, &at.mark))
    }

    /// The text of a value; `None` when it is not one, which is noted.
    pub fn text_of(&mut self, node: &Node, path: &ConfigPath) -> Option<Scalar> {
        let value = self.value(node, path)?;
        match value.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => {
                self.malformed(&node.mark, path, "a text");
                None
            }
        }
    }

    pub(super) fn malformed(&mut self, mark: &Mark, path: &ConfigPath, wanted: &str) {
        let at = Place {
            mark: mark.clone(),
            path: path.clone(),
        };
        self.unresolved
            .fault(at, format!("{wanted} was expected here"), None);
    }

    /// The items of an argument as written; what is wrong with it is noted.
    pub(super) fn arguments<'n>(
        &mut self,
        node: &'n Node,
        path: &ConfigPath,
        wanted: &str,
    ) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::Sequence(items) => Some(items),
            _ => {
                self.malformed(&node.mark, path, wanted);
                None
            }
        }
    }

    /// `Fn::GetAtt: [Id, Attribute]` or `Id.Attribute`.
    fn attribute(&mut self, argument: &Node, path: &ConfigPath) -> Option<(String, String)> {
        let wanted = "`[Resource, Attribute]` or `Resource.Attribute`";
        let pair = match &argument.kind {
            Kind::Scalar(scalar) => scalar
                .text()
                .split_once('.')
                .map(|(id, attribute)| (id.to_owned(), attribute.to_owned())),
            Kind::Sequence(items) => match items.as_slice() {
                [id, attribute] => {
                    let attribute = self.text_of(attribute, &path.index(1))?;
                    Some((leaf(id), attribute.text().into_owned()))
                }
                _ => None,
            },
            _ => None,
        };
        if pair.is_none() {
            self.malformed(&argument.mark, path, wanted);
        }
        pair
    }
}

/// Whether a mapping of this one entry is a function.
fn is_function(entry: &Entry) -> bool {
    match entry.key.text.as_str() {
        "Ref" => matches!(entry.value.kind, Kind::Scalar(_)),
        name => name.starts_with("Fn::"),
    }
}

/// The text of a leaf as written; empty of anything else.
pub fn leaf(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar(scalar) => scalar.text().into_owned(),
        _ => String::new(),
    }
}

/// A parameter's default: a number stays one, a list is cut at its commas.
fn default_value(default: &Node, kind: &str, is_list: bool) -> Node {
    let Kind::Scalar(scalar) = &default.kind else {
        return default.clone();
    };
    let kind = if is_list {
        let text = scalar.text();
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        Kind::Sequence(
            items
                .map(|item| text::node(written(item), &default.mark))
                .collect(),
        )
    } else {
        Kind::Scalar(dynamic(&Scalar::written(scalar.text(), kind != "Number")))
    };
    Node::new(kind, default.mark.clone())
}
