//! The functions themselves. A value goes in, a value comes out; what cannot be known or makes no sense is noted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Template;
use super::text::{self, joined, written};
use super::unresolved::{Place, Unresolved};
use crate::config::load::tree::{Entry, Kind, Mark, Node, Scalar};
use crate::model::path::ConfigPath;
use crate::model::problem::nearest;

/// How deep functions, references and values may stand in each other: readers recurse.
const MAX_DEPTH: usize = 160;
/// How many steps one value may take: names that refer to names twice over double with each level.
const MAX_STEPS: usize = 2_000_000;

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
    steps: usize,
}

impl<'t, 'u> Run<'t, 'u> {
    pub fn new(template: Template<'t>, unresolved: &'u mut Unresolved, links: bool) -> Run<'t, 'u> {
        Run {
            template,
            unresolved,
            links,
            depth: 0,
            steps: 0,
        }
    }

    /// One level deeper; `false` when that is too deep, or takes too long.
    pub fn enter(&mut self, at: &Place) -> bool {
        self.steps += 1;
        if self.depth < MAX_DEPTH && self.steps < MAX_STEPS {
            self.depth += 1;
            return true;
        }
        let reason = "this refers to itself, or to names without end";
        self.unresolved.fault(at.clone(), reason, None);
        false
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
    fn reference(&mut self, name: &str, at: &Place) -> Option<Node> {
        if name == "AWS::NoValue" {
            return None;
        }
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
    fn get_att(&mut self, id: &str, attribute: &str, at: &Place) -> Scalar {
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

    fn malformed(&mut self, mark: &Mark, path: &ConfigPath, wanted: &str) {
        let at = Place {
            mark: mark.clone(),
            path: path.clone(),
        };
        self.unresolved
            .fault(at, format!("{wanted} was expected here"), None);
    }

    /// The items of an argument as written; what is wrong with it is noted.
    fn arguments<'n>(
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

    /// `Fn::Sub: text` or `[text, { name: value }]`; `${!x}` is a literal `${x}`.
    fn sub(&mut self, argument: &Node, at: &Place, path: &ConfigPath) -> Scalar {
        let (body, body_path, own) = match &argument.kind {
            Kind::Sequence(items) => match items.as_slice() {
                [body, own] => (body, path.index(0), Some(own)),
                [body] => (body, path.index(0), None),
                _ => {
                    self.malformed(&argument.mark, path, "`[text, { name: value }]`");
                    return written("");
                }
            },
            _ => (argument, path.clone(), None),
        };
        let Some(body) = self.text_of(body, &body_path) else {
            return written("");
        };
        let text = body.text().into_owned();
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some(start) = rest.find("${") {
            let (before, from) = rest.split_at(start);
            let Some(end) = from.find('}') else { break };
            parts.push(written(before));
            let name = from.get(2..end).unwrap_or_default().trim();
            match name.strip_prefix('!') {
                Some(literal) => parts.push(written(format!("${{{literal}}}"))),
                None => parts.push(self.in_sub(name, own, at, path)),
            }
            rest = from.get(end + 1..).unwrap_or_default();
        }
        parts.push(written(rest));
        dynamic(&joined(parts))
    }

    fn in_sub(&mut self, name: &str, own: Option<&Node>, at: &Place, path: &ConfigPath) -> Scalar {
        if let Some(entry) = own.and_then(|own| own.entry(name)) {
            let path = path.index(1).key(name);
            return self
                .text_of(&entry.value, &path)
                .unwrap_or_else(|| written(""));
        }
        let source = ["request.", "context.", "stageVariables.", "response."];
        if source.iter().any(|source| name.starts_with(source)) {
            let reason = format!("in Fn::Sub, `${{{name}}}` is looked up in the template");
            let help = format!("a mapping expression is written `${{!{name}}}` there");
            self.unresolved.fault(at.clone(), reason, Some(&help));
            return written(format!("${{{name}}}"));
        }
        let value = match name.split_once('.') {
            Some((id, attribute)) => return self.get_att(id, attribute, at),
            None => self.reference(name, at),
        };
        match value.map(|node| node.kind) {
            Some(Kind::Scalar(scalar)) => scalar,
            _ => {
                let reason = format!("`{name}` is no text, and Fn::Sub wants one");
                self.unresolved.fault(at.clone(), reason, None);
                written("")
            }
        }
    }

    /// `Fn::Join: [delimiter, [part, …]]`.
    fn join(&mut self, argument: &Node, at: &Place, path: &ConfigPath) -> Scalar {
        let wanted = "`[delimiter, [part, …]]`";
        let Some([delimiter, parts]) = self.arguments(argument, path, wanted) else {
            self.malformed(&at.mark, path, wanted);
            return written("");
        };
        let delimiter = written(leaf(delimiter));
        let parts = match self.value(parts, &path.index(1)) {
            Some(Node {
                kind: Kind::Sequence(parts),
                ..
            }) => parts,
            // a list that is not known is one name
            Some(Node {
                kind: Kind::Scalar(scalar),
                ..
            }) if !scalar.origins.is_empty() => {
                return scalar;
            }
            _ => {
                self.malformed(&parts.mark, &path.index(1), "a list");
                return written("");
            }
        };
        let mut whole = Vec::new();
        for (index, part) in parts.into_iter().enumerate() {
            if index > 0 {
                whole.push(delimiter.clone());
            }
            match part.kind {
                Kind::Scalar(scalar) => whole.push(scalar),
                _ => self.malformed(&part.mark, &path.index(1).index(index), "a text"),
            }
        }
        joined(whole)
    }

    /// `Fn::Select: [index, list]`.
    fn select(&mut self, argument: &Node, at: &Place, path: &ConfigPath) -> Option<Node> {
        let wanted = "`[index, list]`";
        let Some([index, list]) = self.arguments(argument, path, wanted) else {
            self.malformed(&at.mark, path, wanted);
            return None;
        };
        let index_text = self.text_of(index, &path.index(0))?;
        let list_value = self.value(list, &path.index(1))?;
        let items = match list_value.kind {
            Kind::Sequence(items) => items,
            Kind::Scalar(scalar) if !self.unresolved.settled(&scalar) => {
                return Some(text::node(scalar, &at.mark));
            }
            _ => {
                self.malformed(&list.mark, &path.index(1), "a list");
                return None;
            }
        };
        if !self.unresolved.settled(&index_text) {
            return Some(text::node(index_text, &at.mark));
        }
        let item = index_text.text().trim().parse::<usize>().ok();
        let item = item.and_then(|index| items.into_iter().nth(index));
        if item.is_none() {
            let reason = format!("the list has no item {}", index_text.text());
            self.unresolved.fault(at.clone(), reason, None);
        }
        item
    }

    /// `Fn::Split: [delimiter, text]`. Regions and accounts hold no delimiter; other names may, and stay whole.
    fn split(&mut self, argument: &Node, at: &Place, path: &ConfigPath) -> Node {
        let nothing = Node::new(Kind::Sequence(Vec::new()), at.mark.clone());
        let wanted = "`[delimiter, text]`";
        let Some([delimiter, source]) = self.arguments(argument, path, wanted) else {
            self.malformed(&at.mark, path, wanted);
            return nothing;
        };
        let Some(source) = self.text_of(source, &path.index(1)) else {
            return nothing;
        };
        let opaque = source.origins.iter().any(|origin| {
            let mut names = self.unresolved.names.iter();
            !names.any(|known| known.shown == origin.shown && known.name.starts_with("AWS::"))
        });
        if opaque {
            return text::node(source, &at.mark);
        }
        let parts = text::split(&source, &leaf(delimiter));
        let parts = parts.into_iter().map(|part| text::node(part, &at.mark));
        Node::new(Kind::Sequence(parts.collect()), at.mark.clone())
    }

    /// `Fn::If: [condition, then, else]`; where the condition is not known, as if it held.
    fn branch(&mut self, argument: &Node, at: &Place, path: &ConfigPath) -> Option<Node> {
        let wanted = "`[condition, then, else]`";
        let Some([condition, then, otherwise]) = self.arguments(argument, path, wanted) else {
            self.malformed(&at.mark, path, wanted);
            return None;
        };
        // `!Condition IsProd` is the name written long
        let name = condition
            .entry("Condition")
            .map_or_else(|| leaf(condition), |entry| leaf(&entry.value));
        match self.condition(&name, at) {
            Some(true) | None => self.value(then, &path.index(1)),
            Some(false) => self.value(otherwise, &path.index(2)),
        }
    }

    /// `Fn::FindInMap: [map, key, key]`, with `{ DefaultValue: … }` as a fourth.
    fn find_in_map(&mut self, argument: &Node, at: &Place, path: &ConfigPath) -> Option<Node> {
        let wanted = "`[map, key, key]`";
        let items = self.arguments(argument, path, wanted)?;
        let (map, keys, default) = match items {
            [map, first, second] => (map, [first, second], None),
            [map, first, second, more] => (map, [first, second], more.entry("DefaultValue")),
            _ => {
                self.malformed(&at.mark, path, wanted);
                return None;
            }
        };
        let map = self.text_of(map, &path.index(0))?;
        let mut found = self
            .template
            .section("Mappings")
            .and_then(|maps| maps.entry(&map.text()))
            .map(|entry| &entry.value);
        let mut names = vec![map.text().into_owned()];
        for (index, key) in keys.into_iter().enumerate() {
            let key = self.text_of(key, &path.index(index + 1))?;
            if !self.unresolved.settled(&key) {
                return Some(text::node(key, &at.mark));
            }
            found = found
                .and_then(|map| map.entry(&key.text()))
                .map(|entry| &entry.value);
            names.push(key.text().into_owned());
        }
        match (found, default) {
            (Some(value), _) => Some(text::placed(value.clone(), &at.mark)),
            (None, Some(default)) => self.value(&default.value, &path.index(3).key("DefaultValue")),
            (None, None) => {
                let reason = format!("no mapping holds {}", names.join(" / "));
                self.unresolved.fault(at.clone(), reason, None);
                None
            }
        }
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

/// A text with `{{resolve:ssm:NAME}}` and `{{resolve:secretsmanager:…}}` as our own configuration looks them up.
fn dynamic(scalar: &Scalar) -> Scalar {
    const START: &str = "{{resolve:";
    let text = scalar.text();
    if !text.contains(START) || !scalar.origins.is_empty() {
        return scalar.clone();
    }
    let mut parts = Vec::new();
    let mut rest = text.as_ref();
    while let Some((before, from)) = rest.split_once(START) {
        let Some((reference, after)) = from.split_once("}}") else {
            break;
        };
        let Some(shown) = our_reference(reference) else {
            break;
        };
        parts.push(written(before));
        parts.push(text::looked_up(shown));
        rest = after;
    }
    parts.push(written(rest));
    joined(parts)
}

/// `ssm:NAME[:VERSION]` as `${aws-ssm:NAME[:VERSION]}`, `secretsmanager:ID:SecretString:KEY` as
/// `${aws-secretsmanager:ID#KEY}`.
fn our_reference(reference: &str) -> Option<String> {
    let (keeper, name) = reference.split_once(':')?;
    match keeper {
        "ssm" | "ssm-secure" => Some(format!("${{aws-ssm:{name}}}")),
        "secretsmanager" => {
            let parts: Vec<&str> = name.split(':').collect();
            // an ARN holds colons itself: arn:aws:secretsmanager:region:account:secret:name
            let id_length = if parts.first() == Some(&"arn") { 7 } else { 1 };
            let id = parts.get(..id_length)?.join(":");
            let key = parts.get(id_length + 1).filter(|key| !key.is_empty());
            Some(match key {
                Some(key) => format!("${{aws-secretsmanager:{id}#{key}}}"),
                None => format!("${{aws-secretsmanager:{id}}}"),
            })
        }
        _ => None,
    }
}
