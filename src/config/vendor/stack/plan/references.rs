//! What a plan's unknown values come from: the references of the configuration, through variables and outputs of
//! modules, to resources of which the name is planned.

use crate::config::load::tree::{Entry, Key, Kind, Node, Scalar};
use crate::config::vendor::stack::fields::made;
use crate::config::vendor::template::{Place, Template, Unresolved, Vars, known_as, placed};
use crate::config::vendor::value::Value;

/// How many modules a reference may lead through.
const MAX_STEPS: usize = 32;

/// Which type of resource a parameter of an integration names, and which of its attributes: of several integrations'
/// parameters a plan keeps only all references together, and of `aws_sqs_queue.q[each.key].url` only `aws_sqs_queue.q`.
const PARAMETERS: [(&str, &str, &str); 7] = [
    ("QueueUrl", "aws_sqs_queue", "url"),
    ("StreamName", "aws_kinesis_stream", "name"),
    ("StateMachineArn", "aws_sfn_state_machine", "arn"),
    ("EventBusName", "aws_cloudwatch_event_bus", "name"),
    ("Application", "aws_appconfig_application", "id"),
    ("Environment", "aws_appconfig_environment", "environment_id"),
    (
        "Configuration",
        "aws_appconfig_configuration_profile",
        "configuration_profile_id",
    ),
];

/// What begins a reference that names no value of its own: the instance, or the module's folder.
const NO_VALUES: [&str; 3] = ["each.", "count.", "path."];

/// A resource as it is planned.
#[derive(Clone, Debug)]
pub struct Planned {
    /// `module.a.aws_sqs_queue.q[0]`.
    pub address: String,
    /// The address of its module; empty for the root.
    pub module: String,
    pub kind: String,
    pub name: String,
    /// Of several: its number or its key.
    pub index: Option<String>,
    pub is_data: bool,
    pub values: Value,
    /// Which of its values are not known yet: the same form, with `true` in their places.
    pub unknown: Option<Node>,
}

/// What references are followed with.
pub struct Reading<'a> {
    root: &'a Value,
    vars: &'a Vars,
    planned: &'a [Planned],
    before: &'a [Planned],
    nothing: Value,
}

/// The unknown values of a resource.
pub fn unknown_in(root: &Value, address: &str) -> Option<Node> {
    let Kind::Sequence(changes) = &root.node.entry("resource_changes")?.value.kind else {
        return None;
    };
    let change = changes
        .iter()
        .find(|change| leaf(change, "address") == address)?;
    let unknown = change.entry("change")?.value.entry("after_unknown")?;
    Some(unknown.value.clone())
}

/// The variables, with the provider's region and the account where nobody gave them.
pub fn with_provider(vars: &Vars, root: &Value, before: &[Planned]) -> Vars {
    let mut vars = vars.clone();
    let config = root
        .get("configuration")
        .and_then(|all| all.get("provider_config"));
    let region = config
        .and_then(|all| all.get("aws")?.get("expressions")?.get("region"))
        .and_then(|region| match region.get("constant_value") {
            Some(constant) => Some(constant.node),
            None => {
                let name = region
                    .get("references")?
                    .items()
                    .first()?
                    .text()?
                    .into_owned();
                let name = name.strip_prefix("var.")?.to_owned();
                Some(root.get("variables")?.get(&name)?.get("value")?.node)
            }
        });
    let account = before
        .iter()
        .find(|data| data.kind == "aws_caller_identity")
        .and_then(|data| data.values.get("account_id"))
        .map(|account| account.node);
    for (name, node) in [("AWS::Region", region), ("AWS::AccountId", account)] {
        if let Some(node) = node {
            vars.add_default(name, node);
        }
    }
    vars
}

/// The text under a key; empty where there is none.
fn leaf(node: &Node, key: &str) -> String {
    match node.entry(key).map(|entry| &entry.value.kind) {
        Some(Kind::Scalar(scalar)) => scalar.text().into_owned(),
        _ => String::new(),
    }
}

/// The references of an expression, without those that another one begins with.
fn references(expression: &Node) -> Vec<String> {
    let Some(Kind::Sequence(items)) = expression
        .entry("references")
        .map(|entry| &entry.value.kind)
    else {
        return Vec::new();
    };
    let texts: Vec<String> = items
        .iter()
        .filter_map(|item| match &item.kind {
            Kind::Scalar(scalar) => Some(scalar.text().into_owned()),
            _ => None,
        })
        .collect();
    let begins = |short: &str| {
        texts.iter().any(|long| {
            long.strip_prefix(short)
                .is_some_and(|rest| rest.starts_with(['.', '[']))
        })
    };
    texts.iter().filter(|text| !begins(text)).cloned().collect()
}

/// A reference in its parts: `aws_sqs_queue`, `q`, and `url`.
fn parts_of(reference: &str) -> (String, String, String) {
    let reference = reference.strip_prefix("data.").unwrap_or(reference);
    let mut parts = reference.splitn(3, '.');
    let mut next = || {
        let part = parts.next().unwrap_or_default();
        part.split('[').next().unwrap_or_default().to_owned()
    };
    (next(), next(), next())
}

impl<'a> Reading<'a> {
    pub fn new(
        root: &'a Value,
        vars: &'a Vars,
        planned: &'a [Planned],
        before: &'a [Planned],
    ) -> Reading<'a> {
        Reading {
            root,
            vars,
            planned,
            before,
            nothing: made(root, Kind::Mapping(Vec::new())),
        }
    }

    /// The module of an address, as the configuration has it: `module.a[0].module.b`.
    fn configured(&self, module: &str) -> Option<Value> {
        let mut found = self.root.get("configuration")?.get("root_module")?;
        for name in module.split("module.").filter(|name| !name.is_empty()) {
            let name = name.split(['[', '.']).next()?;
            found = found.get("module_calls")?.get(name)?.get("module")?;
        }
        Some(found)
    }

    /// The call of a module in the one above it, and that one's address.
    fn call_of<'m>(&self, module: &'m str) -> Option<(Value, &'m str)> {
        let (above, name) = module.rsplit_once("module.")?;
        let above = above.trim_end_matches('.');
        let name = name.split('[').next()?;
        let call = self.configured(above)?.get("module_calls")?.get(name)?;
        Some((call, above))
    }

    fn expressions(&self, resource: &Planned) -> Option<Value> {
        let own = format!("{}.{}", resource.kind, resource.name);
        let resources = self.configured(&resource.module)?.get("resources")?;
        resources
            .items()
            .into_iter()
            .find(|declared| leaf(&declared.node, "address") == own)?
            .get("expressions")
    }

    /// The resource that a reference of `module` names; of several the one with the same index.
    fn find(
        &self,
        kind: &str,
        name: &str,
        module: &str,
        index: Option<&String>,
    ) -> Option<&'a Planned> {
        let mut found: Option<&'a Planned> = None;
        for resource in self.planned.iter().chain(self.before) {
            if resource.kind != kind || resource.name != name || resource.module != module {
                continue;
            }
            if resource.index.as_ref() == index {
                return Some(resource);
            }
            found.get_or_insert(resource);
        }
        found
    }

    /// The address of the resource that an attribute ties this one to.
    pub fn linked(&self, resource: &Planned, attribute: &str) -> Option<String> {
        if let Some(expression) = self
            .expressions(resource)
            .and_then(|all| all.get(attribute))
        {
            for reference in references(&expression.node) {
                let found = self.followed(&reference, &resource.module, resource.index.as_ref(), 0);
                if let Some(found) = found
                    && is_of_an_api(&found.kind)
                {
                    return Some(found.address.clone());
                }
            }
        }
        let id = resource.values.get(attribute)?;
        let id = id.text()?;
        let id = id.strip_prefix("integrations/").unwrap_or(&id);
        self.planned
            .iter()
            .find(|other| {
                is_of_an_api(&other.kind)
                    && other.address != resource.address
                    && other
                        .values
                        .get("id")
                        .as_ref()
                        .and_then(Value::text)
                        .as_deref()
                        == Some(id)
            })
            .map(|other| other.address.clone())
    }

    /// The resource at the end of a reference, through variables and outputs of modules.
    fn followed(
        &self,
        reference: &str,
        module: &str,
        index: Option<&String>,
        steps: usize,
    ) -> Option<&'a Planned> {
        if steps > MAX_STEPS {
            return None;
        }
        let (first, second, third) = parts_of(reference);
        let (expression, module) = match first.as_str() {
            "var" => {
                let (call, above) = self.call_of(module)?;
                (call.get("expressions")?.get(&second)?, above.to_owned())
            }
            "module" => {
                let inner = match module {
                    "" => format!("module.{second}"),
                    module => format!("{module}.module.{second}"),
                };
                let outputs = self.configured(&inner)?.get("outputs")?;
                (outputs.get(&third)?.get("expression")?, inner)
            }
            kind => return self.find(kind, &second, module, index),
        };
        references(&expression.node)
            .iter()
            .find_map(|next| self.followed(next, &module, index, steps + 1))
    }

    /// The values of a resource, with what is not known yet filled in.
    pub fn filled(&self, resource: &Planned, unresolved: &mut Unresolved) -> Value {
        let Some(unknown) = &resource.unknown else {
            return resource.values.clone();
        };
        let expressions = self.expressions(resource);
        let place = Place {
            mark: resource.values.mark.clone(),
            path: resource.values.path.clone(),
        };
        let mut filling = Filling {
            reading: self,
            resource,
            unresolved,
        };
        let node = filling.fill(
            Some(&resource.values.node),
            unknown,
            expressions.as_ref().map(|all| &all.node),
            &place,
            "",
        );
        Value {
            node: node.unwrap_or_else(|| resource.values.node.clone()),
            ..resource.values.clone()
        }
    }
}

/// The filling in of one resource.
struct Filling<'f, 'a> {
    reading: &'f Reading<'a>,
    resource: &'f Planned,
    unresolved: &'f mut Unresolved,
}

impl Filling<'_, '_> {
    /// `value` with what `unknown` marks; `name` is the attribute's.
    fn fill(
        &mut self,
        value: Option<&Node>,
        unknown: &Node,
        expression: Option<&Node>,
        at: &Place,
        name: &str,
    ) -> Option<Node> {
        match &unknown.kind {
            Kind::Null => value.cloned(),
            Kind::Scalar(flag) if flag.text() == "true" => {
                // what the service makes up, and nobody wrote
                let expression = expression?;
                Some(self.referred(expression, at, name))
            }
            Kind::Scalar(_) => value.cloned(),
            Kind::Mapping(unknowns) => {
                let mut entries = match value.map(|value| &value.kind) {
                    Some(Kind::Mapping(entries)) => entries.clone(),
                    _ => Vec::new(),
                };
                for unknown in unknowns {
                    let key = &unknown.key.text;
                    let inner = Place {
                        path: at.path.key(key),
                        mark: at.mark.clone(),
                    };
                    let known = entries.iter().find(|entry| entry.key.text == *key);
                    let known = known.map(|entry| entry.value.clone());
                    let own = expression.and_then(|all| below(all, key));
                    let filled = self.fill(known.as_ref(), &unknown.value, own, &inner, key);
                    let Some(filled) = filled else { continue };
                    match entries.iter_mut().find(|entry| entry.key.text == *key) {
                        Some(entry) => entry.value = filled,
                        None => entries.push(Entry {
                            key: Key {
                                text: key.clone(),
                                mark: at.mark.clone(),
                            },
                            value: filled,
                        }),
                    }
                }
                Some(Node::new(Kind::Mapping(entries), at.mark.clone()))
            }
            Kind::Sequence(unknowns) => {
                let known = match value.map(|value| &value.kind) {
                    Some(Kind::Sequence(items)) => items.as_slice(),
                    _ => &[],
                };
                let mut items = Vec::new();
                for index in 0..unknowns.len().max(known.len()) {
                    let own = expression.and_then(|all| match &all.kind {
                        Kind::Sequence(blocks) => blocks.get(index).or_else(|| blocks.first()),
                        _ => Some(all),
                    });
                    let inner = Place {
                        path: at.path.index(index),
                        mark: at.mark.clone(),
                    };
                    let filled = match unknowns.get(index) {
                        Some(unknown) => self.fill(known.get(index), unknown, own, &inner, name),
                        None => known.get(index).cloned(),
                    };
                    items.extend(filled);
                }
                Some(Node::new(Kind::Sequence(items), at.mark.clone()))
            }
        }
    }

    /// The value that an expression refers to, or a name for it.
    fn referred(&mut self, expression: &Node, at: &Place, name: &str) -> Node {
        let scalar = self.of_expression(expression, at, name);
        placed(Node::new(Kind::Scalar(scalar), at.mark.clone()), &at.mark)
    }

    fn of_expression(&mut self, expression: &Node, at: &Place, name: &str) -> Scalar {
        let own_name = at.path.to_string();
        if let Some(given) = self.var(&own_name) {
            return given;
        }
        let mut all = references(expression);
        let named = all.len();
        all.retain(|one| !NO_VALUES.iter().any(|prefix| one.starts_with(prefix)));
        // the instance's key stands in an index, or in the text
        let mut is_whole = all.len() == named;
        let parameter = PARAMETERS.iter().find(|(parameter, ..)| *parameter == name);
        if let Some((_, kind, attribute)) = parameter {
            let of_kind = |reference: &String| {
                let module = &self.resource.module;
                let found =
                    self.reading
                        .followed(reference, module, self.resource.index.as_ref(), 0);
                found.is_some_and(|found| found.kind == *kind)
            };
            let fitting: Vec<String> = all.iter().filter(|one| of_kind(one)).cloned().collect();
            if !fitting.is_empty() {
                is_whole = true;
                all = fitting
                    .into_iter()
                    .map(
                        |one| match one.starts_with(kind) && one.matches('.').count() == 1 {
                            true => format!("{one}.{attribute}"),
                            false => one,
                        },
                    )
                    .collect();
            }
        }
        // a definition is a text around its references, and the text is not kept
        is_whole &= name != "body";
        match all.as_slice() {
            [reference] if is_whole => {
                let module = self.resource.module.clone();
                self.of_reference(reference, &module, at, 0)
            }
            several => {
                let stands_for = match several {
                    [] => "a value that is known once the plan is applied".to_owned(),
                    several => format!(
                        "a value made of {}, known once the plan is applied: import the state then",
                        several.join(", ")
                    ),
                };
                self.unresolved.ask(&own_name, stands_for, at.clone())
            }
        }
    }

    fn var(&mut self, name: &str) -> Option<Scalar> {
        let value = self.reading.vars.get(name)?;
        self.unresolved.given.insert(name.to_owned());
        match &value.kind {
            Kind::Scalar(scalar) => Some(scalar.clone()),
            _ => None,
        }
    }

    fn of_reference(&mut self, reference: &str, module: &str, at: &Place, steps: usize) -> Scalar {
        let full = match module {
            "" => reference.to_owned(),
            module => format!("{module}.{reference}"),
        };
        if let Some(given) = self.var(&full) {
            return given;
        }
        if let Some(found) = self.through_modules(reference, module, at, steps) {
            return found;
        }
        let (kind, name, attribute) = parts_of(reference);
        let index = self.resource.index.as_ref();
        let stands_for = match self.reading.find(&kind, &name, module, index) {
            Some(found) => {
                if let Some(Kind::Scalar(known)) =
                    found.values.get(&attribute).map(|value| value.node.kind)
                {
                    return known;
                }
                let type_known = known_as(&kind);
                let asked = type_known.and_then(|known| known.in_plan(&attribute));
                let named = type_known
                    .and_then(|known| found.values.get(known.plan_name))
                    .map(|name| name.node.kind);
                if let (Some(known), Some(asked), Some(Kind::Scalar(name))) =
                    (type_known, asked, named)
                {
                    let template = Template::new(&self.reading.nothing, self.reading.vars);
                    return template.given(known, asked, name, at, self.unresolved);
                }
                format!(
                    "the {attribute} of {}, known once the plan is applied",
                    found.address
                )
            }
            None => format!("what `{reference}` stands for, which the plan does not keep"),
        };
        self.unresolved.ask(&full, stands_for, at.clone())
    }

    /// A variable or an output of a module, or a variable of the root.
    fn through_modules(
        &mut self,
        reference: &str,
        module: &str,
        at: &Place,
        steps: usize,
    ) -> Option<Scalar> {
        if steps > MAX_STEPS {
            return None;
        }
        let (first, second, third) = parts_of(reference);
        let (expression, module) = match (first.as_str(), module) {
            ("var", "") => {
                let variables = self.reading.root.get("variables")?;
                return match variables.get(&second)?.get("value")?.node.kind {
                    Kind::Scalar(scalar) => Some(scalar),
                    _ => None,
                };
            }
            ("var", module) => {
                let (call, above) = self.reading.call_of(module)?;
                (call.get("expressions")?.get(&second)?, above.to_owned())
            }
            ("module", module) => {
                let inner = match module {
                    "" => format!("module.{second}"),
                    module => format!("{module}.module.{second}"),
                };
                let outputs = self.reading.configured(&inner)?.get("outputs")?;
                (outputs.get(&third)?.get("expression")?, inner)
            }
            _ => return None,
        };
        if let Some(Kind::Scalar(constant)) = expression
            .get("constant_value")
            .map(|value| value.node.kind)
        {
            return Some(constant);
        }
        match references(&expression.node).as_slice() {
            [next] => Some(self.of_reference(next, &module, at, steps + 1)),
            _ => None,
        }
    }
}

/// The expression of an attribute or of a block below; an expression of a whole map is that of its values.
fn below<'n>(expression: &'n Node, key: &str) -> Option<&'n Node> {
    let is_expression =
        expression.entry("references").is_some() || expression.entry("constant_value").is_some();
    match expression.entry(key) {
        Some(entry) => Some(&entry.value),
        None if is_expression => Some(expression),
        None => None,
    }
}

/// Whether a resource belongs to an API, of either kind.
fn is_of_an_api(kind: &str) -> bool {
    ["aws_apigatewayv2_", "aws_api_gateway_"]
        .iter()
        .any(|prefix| kind.starts_with(prefix))
}
