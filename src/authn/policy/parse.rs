//! From the JSON of a policy document to its statements. Nothing that is not understood is passed over: a statement that
//! is read only in part would allow or deny something else than was written.

use serde_json::{Map, Value};

use super::condition::Named;
use super::fact::Key;
use super::pattern::{Pattern, Reading};
use super::{Document, Effect, Resource, Side, Statement, Whom};
use crate::model::path::ConfigPath;
use crate::model::problem::nearest;

/// What is wrong with a document, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub path: ConfigPath,
    pub message: String,
    pub help: Option<String>,
    /// Else it can be used, and probably does not do what was meant.
    pub is_error: bool,
}

/// The actions of API gateways, of which requests are the first.
const ACTIONS: [&str; 3] = [
    "execute-api:Invoke",
    "execute-api:InvalidateCache",
    "execute-api:ManageConnections",
];
const VERSIONS: [&str; 2] = ["2012-10-17", "2008-10-17"];
const DOCUMENT: [&str; 3] = ["Version", "Id", "Statement"];
const STATEMENT: [&str; 8] = [
    "Sid",
    "Effect",
    "Principal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

impl Document {
    /// Reads a document; `name`: whose it is, for people. It may be used only if no fault is an error.
    pub fn parse(name: &str, value: &Value, side: Side<'_>) -> (Document, Vec<Fault>) {
        let mut reader = Reader {
            side,
            variables: false,
            faults: Vec::new(),
        };
        let statements = reader.document(value);
        let document = Document {
            name: name.into(),
            statements,
        };
        (document, reader.faults)
    }
}

struct Reader<'s> {
    side: Side<'s>,
    /// Whether `${…}` is a variable: from version 2012-10-17 on.
    variables: bool,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn error(&mut self, path: &ConfigPath, message: impl Into<String>) -> &mut Fault {
        self.fault(path, message.into(), true)
    }

    fn warning(&mut self, path: &ConfigPath, message: impl Into<String>) {
        self.fault(path, message.into(), false);
    }

    fn fault(&mut self, path: &ConfigPath, message: String, is_error: bool) -> &mut Fault {
        let at = self.faults.len();
        self.faults.push(Fault {
            path: path.clone(),
            message,
            help: None,
            is_error,
        });
        &mut self.faults[at]
    }

    fn document(&mut self, value: &Value) -> Vec<Statement> {
        let root = ConfigPath::root();
        let Value::Object(map) = value else {
            self.error(
                &root,
                "a policy is a mapping with `Version` and `Statement`",
            );
            return Vec::new();
        };
        self.keys(map, &DOCUMENT, &root);
        let version = map.get("Version").unwrap_or(&Value::Null);
        match version.as_str() {
            Some(version) if VERSIONS.contains(&version) => {
                self.variables = version == VERSIONS[0];
            }
            None if version.is_null() => {}
            _ => {
                self.error(&root.key("Version"), "is not a version of policies")
                    .help = Some("write \"2012-10-17\"".to_owned());
            }
        }
        let at = root.key("Statement");
        match map.get("Statement") {
            Some(Value::Array(list)) if list.is_empty() => {
                self.error(&at, "the list is empty, so nothing would be allowed");
                Vec::new()
            }
            Some(Value::Array(list)) => {
                let each = list.iter().enumerate();
                each.filter_map(|(index, one)| self.statement(one, index, &at.index(index)))
                    .collect()
            }
            Some(one @ Value::Object(_)) => self.statement(one, 0, &at).into_iter().collect(),
            Some(_) => {
                self.error(&at, "is neither a statement nor a list of statements");
                Vec::new()
            }
            None => {
                self.error(&at, "is missing");
                Vec::new()
            }
        }
    }

    fn keys(&mut self, map: &Map<String, Value>, known: &[&str], at: &ConfigPath) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let help = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("allowed: {}", known.join(", ")),
            };
            self.error(&at.key(key), format!("unknown key `{key}`"))
                .help = Some(help);
        }
    }

    fn statement(&mut self, value: &Value, index: usize, at: &ConfigPath) -> Option<Statement> {
        let Value::Object(map) = value else {
            self.error(at, "a statement is a mapping");
            return None;
        };
        let before = self.faults.iter().filter(|fault| fault.is_error).count();
        if map.contains_key("NotPrincipal") {
            self.error(
                &at.key("NotPrincipal"),
                "is not supported: it lets in everybody who is not named",
            )
            .help =
                Some("name those who may with `Principal`, or deny with a condition".to_owned());
        } else {
            self.keys(map, &STATEMENT, at);
        }
        let label = match map.get("Sid") {
            None => format!("Statement[{index}]"),
            Some(Value::String(sid)) => format!("statement `{sid}`"),
            Some(_) => {
                self.error(&at.key("Sid"), "is not text");
                String::new()
            }
        };
        let effect = match map.get("Effect").and_then(Value::as_str) {
            Some("Allow") => Effect::Allow,
            Some("Deny") => Effect::Deny,
            Some(other) => {
                let help = nearest(other, ["Allow", "Deny"]);
                self.error(&at.key("Effect"), format!("{other:?} is not an effect"))
                    .help = Some(help.map_or("write Allow or Deny".to_owned(), |near| {
                    format!("did you mean `{near}`?")
                }));
                Effect::Deny
            }
            None => {
                self.error(&at.key("Effect"), "is missing; it is Allow or Deny");
                Effect::Deny
            }
        };
        let principals = self.principals(map.get("Principal"), at);
        let invokes = self.actions(map, at);
        let (resources, all_but) = self.resources(map, at, invokes.is_some());
        let conditions = match (map.get("Condition"), invokes) {
            // Conditions of other services' actions ask for keys of theirs.
            (None, _) | (_, None) => Vec::new(),
            (Some(Value::Object(operators)), _) => self.conditions(operators, &at.key("Condition")),
            (Some(_), _) => {
                self.error(&at.key("Condition"), "is not a mapping of operators");
                Vec::new()
            }
        };
        let errors = self.faults.iter().filter(|fault| fault.is_error).count();
        (errors == before).then_some(Statement {
            label,
            effect,
            principals,
            invokes: invokes.unwrap_or(false),
            resources,
            all_but,
            conditions,
        })
    }

    fn principals(&mut self, value: Option<&Value>, at: &ConfigPath) -> Option<Vec<Whom>> {
        let at = at.key("Principal");
        let is_resource = self.side == Side::Resource;
        let value = match value {
            None if is_resource => {
                self.error(
                    &at,
                    "is missing: a resource policy says whom each statement is about",
                )
                .help = Some("write `\"Principal\": \"*\"` for everyone".to_owned());
                return None;
            }
            None => return None,
            Some(_) if !is_resource => {
                self.error(
                    &at,
                    "has no place here: the policy is about the caller who has it",
                );
                return None;
            }
            Some(value) => value,
        };
        match value {
            Value::String(star) if star == "*" => Some(vec![Whom::Everyone]),
            Value::Object(kinds) => {
                let mut whom = Vec::new();
                for (kind, names) in kinds {
                    let at = at.key(kind);
                    if kind != "AWS" {
                        self.error(
                            &at,
                            format!("`{kind}` is no kind of principal that calls a gateway"),
                        )
                        .help = Some("write `{ \"AWS\": … }` or \"*\"".to_owned());
                        continue;
                    }
                    for (at, name) in self.texts(Some(names), &at) {
                        whom.extend(self.whom(&name, &at));
                    }
                }
                Some(whom)
            }
            _ => {
                self.error(&at, "is neither \"*\" nor `{ \"AWS\": … }`");
                None
            }
        }
    }

    fn whom(&mut self, name: &str, at: &ConfigPath) -> Option<Whom> {
        let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        if name == "*" {
            return Some(Whom::Everyone);
        }
        if is_account(name) {
            return Some(Whom::Account(name.to_owned()));
        }
        let parts: Vec<&str> = name.splitn(6, ':').collect();
        match parts.as_slice() {
            ["arn", _, "iam", "", account, "root"] if is_account(account) => {
                Some(Whom::Account((*account).to_owned()))
            }
            ["arn", _, "iam" | "sts", "", account, _]
                if is_account(account) && !name.contains(['*', '?']) =>
            {
                Some(Whom::Arn(name.to_owned()))
            }
            _ => {
                self.error(at, format!("{name:?} names nobody")).help = Some(
                    "write \"*\", an account of 12 digits, or an ARN without wildcards such as arn:aws:iam::111122223333:user/shop".to_owned(),
                );
                None
            }
        }
    }

    /// Whether `execute-api:Invoke` is among the actions; `None`: all are other services'.
    fn actions(&mut self, map: &Map<String, Value>, at: &ConfigPath) -> Option<bool> {
        let (key, value, negated) = self.either(map, "Action", "NotAction", at)?;
        let at = at.key(key);
        let reading = Reading {
            wild: true,
            variables: false,
        };
        let mut here = false;
        let mut invokes = false;
        for (at, action) in self.texts(Some(value), &at) {
            let Ok(pattern) = Pattern::parse(&action, reading) else {
                continue;
            };
            let facts = super::Facts::nothing();
            let known: Vec<bool> = ACTIONS
                .iter()
                .map(|known| pattern.takes(known, true, &facts))
                .collect();
            invokes |= known[0];
            if known.contains(&true) {
                here = true;
                continue;
            }
            let service = action.split(':').next().unwrap_or_default();
            let near = nearest(&action, ACTIONS);
            if near.is_some()
                || service.eq_ignore_ascii_case("execute-api")
                || !action.contains(':')
            {
                let help = near.map_or_else(
                    || format!("allowed: {}, with wildcards", ACTIONS.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                self.error(&at, format!("{action:?} is not an action of an API"))
                    .help = Some(help);
            } else if !negated {
                self.warning(
                    &at,
                    format!("{action:?} is another service's: it means nothing here"),
                );
            }
        }
        (here || negated).then_some(invokes != negated)
    }

    /// The one of two keys that is there.
    fn either<'v>(
        &mut self,
        map: &'v Map<String, Value>,
        plain: &'static str,
        negated: &'static str,
        at: &ConfigPath,
    ) -> Option<(&'static str, &'v Value, bool)> {
        match (map.get(plain), map.get(negated)) {
            (Some(value), None) => Some((plain, value, false)),
            (None, Some(value)) => Some((negated, value, true)),
            (None, None) => {
                self.error(&at.key(plain), "is missing");
                None
            }
            (Some(_), Some(_)) => {
                self.error(&at.key(negated), format!("cannot stand beside `{plain}`"));
                None
            }
        }
    }

    /// `is_ours`: else the resources are another service's, which nothing is asked about here.
    fn resources(
        &mut self,
        map: &Map<String, Value>,
        at: &ConfigPath,
        is_ours: bool,
    ) -> (Vec<Resource>, bool) {
        let Some((key, value, all_but)) = self.either(map, "Resource", "NotResource", at) else {
            return (Vec::new(), false);
        };
        if !is_ours {
            return (Vec::new(), false);
        }
        let at = at.key(key);
        let mut resources = Vec::new();
        for (at, text) in self.texts(Some(value), &at) {
            match self.resource(&text, &at) {
                Ok(resource) => resources.push(resource),
                Err(why) => {
                    self.error(&at, why).help = Some(
                        "write execute-api:/STAGE/METHOD/path, arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/METHOD/path, or *".to_owned(),
                    );
                }
            }
        }
        (resources, all_but)
    }

    fn resource(&mut self, text: &str, at: &ConfigPath) -> Result<Resource, String> {
        let reading = Reading {
            wild: true,
            variables: self.variables,
        };
        if text == "*" {
            return Ok(Resource::Any);
        }
        if let Some(below) = text.strip_prefix("execute-api:/") {
            return Pattern::parse(below, reading).map(Resource::Below);
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", _, service, region, _, rest] = parts.as_slice() else {
            return Err(format!("{text:?} is not a resource of an API"));
        };
        if *service != "execute-api" && *service != "*" {
            return Err(format!("{text:?} is another service's resource"));
        }
        // Without a slash and without a star no request's ARN could be meant.
        if !rest.contains(['/', '*']) {
            return Err(format!("{text:?} names no stage, so no request is meant"));
        }
        match self.side {
            Side::Resource => match rest.split_once('/') {
                Some((api, below)) if !api.contains('*') => {
                    Pattern::parse(below, reading).map(Resource::Below)
                }
                Some((_, below)) => {
                    Pattern::parse(&format!("*/{below}"), reading).map(Resource::Full)
                }
                None => Ok(Resource::Any),
            },
            Side::Caller { region: ours } => {
                let wild = Reading {
                    wild: true,
                    variables: false,
                };
                let region = Pattern::parse(region, wild)?;
                let facts = super::Facts::nothing();
                if ours.is_some_and(|ours| !region.takes(ours, false, &facts)) {
                    let ours = ours.unwrap_or_default();
                    self.warning(
                        at,
                        format!("{text:?} is of another region than {ours}: it means nothing here"),
                    );
                    return Ok(Resource::Elsewhere);
                }
                Pattern::parse(rest, reading).map(Resource::Full)
            }
        }
    }

    fn conditions(
        &mut self,
        operators: &Map<String, Value>,
        at: &ConfigPath,
    ) -> Vec<super::Condition> {
        let mut conditions = Vec::new();
        for (operator, keys) in operators {
            let at = at.key(operator);
            let named = match Named::parse(operator) {
                Ok(named) => named,
                Err(why) => {
                    self.error(&at, why);
                    continue;
                }
            };
            let Value::Object(keys) = keys else {
                self.error(&at, "is not a mapping of condition keys");
                continue;
            };
            for (name, values) in keys {
                let at = at.key(name);
                let key = match Key::named(name) {
                    Ok(key) => key,
                    Err(why) => {
                        self.error(&at, why);
                        continue;
                    }
                };
                if key.is_vacant() {
                    self.warning(&at, format!("`{name}` never has a value here"));
                }
                let values: Vec<String> = self
                    .texts(Some(values), &at)
                    .into_iter()
                    .map(|(_, text)| text)
                    .collect();
                match named.over(key, &values, self.variables) {
                    Ok(condition) => conditions.push(condition),
                    Err(why) => {
                        self.error(&at, why);
                    }
                }
            }
        }
        conditions
    }

    /// One text or a list of texts, each with its place. Numbers and booleans are taken as their text.
    fn texts(&mut self, value: Option<&Value>, at: &ConfigPath) -> Vec<(ConfigPath, String)> {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        };
        let Some(value) = value else {
            return Vec::new();
        };
        let list = match value {
            Value::Array(list) if list.is_empty() => {
                self.error(at, "the list is empty");
                return Vec::new();
            }
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(index, item)| (at.index(index), item))
                .collect(),
            one => vec![(at.clone(), one)],
        };
        let mut texts = Vec::new();
        for (at, item) in list {
            match text(item) {
                Some(text) => texts.push((at, text)),
                None => {
                    self.error(&at, "is not text");
                }
            }
        }
        texts
    }
}
