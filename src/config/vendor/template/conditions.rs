//! Conditions: whether a part of a template is there. What depends on a name without a value is not known, and the
//! name is noted as one that decides.

use super::functions::Run;
use super::unresolved::Place;
use crate::config::load::tree::{Kind, Node};
use crate::model::path::ConfigPath;

impl Run<'_, '_> {
    /// Whether the condition `name` of the template holds; `None` where that is not known.
    pub fn condition(&mut self, name: &str, at: &Place) -> Option<bool> {
        let Some(entry) = self
            .template
            .section("Conditions")
            .and_then(|all| all.entry(name))
        else {
            let reason = format!("the condition `{name}` is not declared");
            self.unresolved.fault(at.clone(), reason, None);
            return None;
        };
        if !self.enter(at) {
            return None;
        }
        let path = ConfigPath::root().key("Conditions").key(name);
        let holds = self.truth(&entry.value, &path);
        self.leave();
        holds
    }

    fn truth(&mut self, node: &Node, path: &ConfigPath) -> Option<bool> {
        let at = Place {
            mark: node.mark.clone(),
            path: path.clone(),
        };
        if !self.enter(&at) {
            return None;
        }
        let truth = self.truth_below(node, &at);
        self.leave();
        truth
    }

    fn truth_below(&mut self, node: &Node, at: &Place) -> Option<bool> {
        let Kind::Mapping(entries) = &node.kind else {
            return match self.text_of(node, &at.path)?.text().as_ref() {
                "true" => Some(true),
                "false" => Some(false),
                _ => self.no_condition(at),
            };
        };
        let [entry] = entries.as_slice() else {
            return self.no_condition(at);
        };
        let name = entry.key.text.as_str();
        let path = at.path.key(name);
        match (name, &entry.value.kind) {
            ("Condition", Kind::Scalar(named)) => self.condition(&named.text(), at),
            ("Fn::Equals", Kind::Sequence(sides)) if sides.len() == 2 => self.equal(sides, &path),
            ("Fn::Not", Kind::Sequence(parts)) if parts.len() == 1 => {
                let part = parts.first()?;
                self.truth(part, &path.index(0)).map(|holds| !holds)
            }
            ("Fn::And", Kind::Sequence(parts)) => self.every(parts, &path, true),
            ("Fn::Or", Kind::Sequence(parts)) => self.every(parts, &path, false),
            _ => self.no_condition(at),
        }
    }

    fn no_condition(&mut self, at: &Place) -> Option<bool> {
        let help = "conditions are made of Fn::Equals, Fn::And, Fn::Or, Fn::Not and Condition";
        self.unresolved
            .fault(at.clone(), "this is no condition", Some(help));
        None
    }

    fn equal(&mut self, sides: &[Node], path: &ConfigPath) -> Option<bool> {
        let mut texts = Vec::new();
        for (index, side) in sides.iter().enumerate() {
            let text = self.text_of(side, &path.index(index))?;
            if self.unresolved.settled(&text) {
                texts.push(text.text().into_owned());
            }
        }
        match texts.as_slice() {
            [left, right] => Some(left == right),
            _ => None,
        }
    }

    /// Whether all parts are `wanted`: `Fn::And` with true, and the negation of `Fn::Or` with false.
    fn every(&mut self, parts: &[Node], path: &ConfigPath, wanted: bool) -> Option<bool> {
        let mut known = true;
        for (index, part) in parts.iter().enumerate() {
            match self.truth(part, &path.index(index)) {
                Some(holds) if holds != wanted => return Some(!wanted),
                Some(_) => {}
                None => known = false,
            }
        }
        known.then_some(wanted)
    }
}
