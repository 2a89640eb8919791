//! Functions that make a value of several: texts put together and cut, items chosen, branches taken.

use super::functions::{Run, leaf};
use super::text::{self, dynamic, joined, written};
use super::unresolved::Place;
use crate::config::load::tree::{Kind, Node, Scalar};
use crate::model::path::ConfigPath;

/// The most text that functions may make of one document, in bytes: texts in texts double with each level.
const MOST_MADE: usize = 16 * 1024 * 1024;

impl Run<'_, '_> {
    /// `Fn::Sub: text` or `[text, { name: value }]`; `${!x}` is a literal `${x}`.
    pub(super) fn sub(&mut self, argument: &Node, at: &Place, path: &ConfigPath) -> Scalar {
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
        dynamic(&self.bounded(parts, at))
    }

    fn in_sub(&mut self, name: &str, own: Option<&Node>, at: &Place, path: &ConfigPath) -> Scalar {
        if let Some(entry) = own.and_then(|own| own.entry(name)) {
            let path = path.index(1).key(name);
            self.look_up();
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
    pub(super) fn join(&mut self, argument: &Node, at: &Place, path: &ConfigPath) -> Scalar {
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
        self.bounded(whole, at)
    }

    /// The parts as one text, as long as the document's texts together stay within bounds.
    fn bounded(&mut self, parts: Vec<Scalar>, at: &Place) -> Scalar {
        self.unresolved.made += parts.iter().map(|part| part.text().len()).sum::<usize>();
        if self.unresolved.made > MOST_MADE {
            let reason = "the document's functions make more text than any template has";
            self.unresolved.fault(at.clone(), reason, None);
            return written("");
        }
        joined(parts)
    }

    /// `Fn::Select: [index, list]`.
    pub(super) fn select(
        &mut self,
        argument: &Node,
        at: &Place,
        path: &ConfigPath,
    ) -> Option<Node> {
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

    /// `Fn::Split: [delimiter, text]`. Regions and accounts hold no delimiter; other names may, ARNs do, and stay whole.
    pub(super) fn split(&mut self, argument: &Node, at: &Place, path: &ConfigPath) -> Node {
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
            !names.any(|known| known.shown == origin.shown && is_plain(&known.name))
        });
        if opaque {
            return text::node(source, &at.mark);
        }
        let parts = text::split(&source, &leaf(delimiter));
        let parts = parts.into_iter().map(|part| text::node(part, &at.mark));
        Node::new(Kind::Sequence(parts.collect()), at.mark.clone())
    }

    /// `Fn::If: [condition, then, else]`; where the condition is not known, as if it held.
    pub(super) fn branch(
        &mut self,
        argument: &Node,
        at: &Place,
        path: &ConfigPath,
    ) -> Option<Node> {
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
    pub(super) fn find_in_map(
        &mut self,
        argument: &Node,
        at: &Place,
        path: &ConfigPath,
    ) -> Option<Node> {
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

/// Whether what a name stands for holds no delimiter that anyone cuts at.
fn is_plain(name: &str) -> bool {
    name.starts_with("AWS::") && !["AWS::StackId", "AWS::NotificationARNs"].contains(&name)
}
