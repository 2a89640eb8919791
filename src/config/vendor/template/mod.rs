//! Template functions: `Ref`, `Fn::GetAtt`, `Fn::Sub` and the others over a located tree, with the values of
//! `--vars FILE` and with what the template itself says: parameters, mappings, conditions, and resources of which the
//! name is written. Resolving is pure; every result keeps the place that asked for it. What cannot be known becomes
//! `${env:NAME}` and is listed once (`Unresolved`), with what it stands for.

mod computed;
mod conditions;
mod declared;
mod functions;
mod include;
mod pseudo;
mod text;
mod unresolved;
mod vars;

pub use declared::{Attribute, Known, known_as};
pub use include::{Beside, Followed, OnDisk, expand, tree_of};
pub use text::placed;
pub use unresolved::{Made, Place, Unresolved};
pub use vars::Vars;

use std::borrow::Cow;

use functions::Run;

use crate::config::load::tree::{Kind, Node, Scalar};
use crate::config::vendor::value::{Named, Value};

/// A document whose values may be functions: a template with its sections, or an OpenAPI document without them.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    root: &'a Value,
    vars: &'a Vars,
}

/// A resource of a template.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its logical id.
    pub id: String,
    /// `AWS::SQS::Queue`.
    pub kind: String,
    /// The whole declaration, as written.
    pub at: Value,
}

impl Resource {
    /// Its properties, as written; empty where there are none.
    pub fn properties(&self) -> Value {
        self.at.get("Properties").unwrap_or_else(|| Value {
            node: Node::new(Kind::Mapping(Vec::new()), self.at.node.mark.clone()),
            path: self.at.path.key("Properties"),
            mark: self.at.mark.clone(),
        })
    }
}

impl<'a> Template<'a> {
    pub fn new(root: &'a Value, vars: &'a Vars) -> Template<'a> {
        Template { root, vars }
    }

    /// The value with every function in it resolved. `None`: it is `AWS::NoValue`.
    pub fn resolved(&self, value: &Value, unresolved: &mut Unresolved) -> Option<Value> {
        let mut run = Run::new(*self, unresolved, false);
        let node = run.value(&value.node, &value.path)?;
        Some(Value {
            node,
            path: value.path.clone(),
            mark: value.mark.clone(),
        })
    }

    /// The same, where a reference to a resource of the template gives its logical id: for values that only tie
    /// resources together, such as an `ApiId`.
    pub fn linked(&self, value: &Value, unresolved: &mut Unresolved) -> Option<Value> {
        let mut run = Run::new(*self, unresolved, true);
        let node = run.value(&value.node, &value.path)?;
        Some(Value {
            node,
            path: value.path.clone(),
            mark: value.mark.clone(),
        })
    }

    /// Whether a condition of the template holds; `None` where that is not known.
    pub fn holds(&self, condition: &Value, unresolved: &mut Unresolved) -> Option<bool> {
        let name = condition.text()?;
        let place = Place {
            mark: condition.mark.clone(),
            path: condition.path.clone(),
        };
        Run::new(*self, unresolved, false).condition(&name, &place)
    }

    /// What the service gives for a resource whose name is known.
    pub fn given(
        &self,
        known: &Known,
        attribute: Attribute,
        name: Scalar,
        at: &Place,
        unresolved: &mut Unresolved,
    ) -> Scalar {
        Run::new(*self, unresolved, false).given(known, attribute, name, at)
    }

    /// Every resource, in the order of writing.
    pub fn resources(&self) -> Vec<Resource> {
        let Some(section) = self.root.get("Resources") else {
            return Vec::new();
        };
        section
            .entries()
            .into_iter()
            .map(|Named { name, value, .. }| Resource {
                kind: value
                    .get("Type")
                    .and_then(|kind| kind.text().map(Cow::into_owned))
                    .unwrap_or_default(),
                id: name,
                at: value,
            })
            .collect()
    }

    /// A section of the template: `Parameters`, `Mappings`, `Conditions`.
    fn section(&self, name: &str) -> Option<&'a Node> {
        Some(&self.root.node.entry(name)?.value)
    }
}

#[cfg(test)]
mod tests;
