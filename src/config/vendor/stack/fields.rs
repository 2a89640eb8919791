//! The properties of a resource: those that a reader takes, and the others, so that none is dropped in silence. A plan
//! has the properties of a template under names of its own, and blocks as lists of one.

use crate::config::load::tree::{Kind, Node};
use crate::config::vendor::model::{AccessLog, Cors, Throttle};
use crate::config::vendor::value::{Named, Value};

/// How a document spells the names of properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `StageName`.
    Template,
    /// `stage_name`; what is not set is there, too, as nothing or empty.
    Plan,
}

/// Names in a plan that are not the template's in lower case.
const IN_PLANS: [(&str, &str); 7] = [
    ("StageName", "name"),
    ("TimeoutInMillis", "timeout_milliseconds"),
    ("IdentitySource", "identity_sources"),
    ("CorsConfiguration", "cors_configuration"),
    ("DomainNameConfigurations", "domain_name_configuration"),
    (
        "AuthorizerResultTtlInSeconds",
        "authorizer_result_ttl_in_seconds",
    ),
    ("BodyS3Location", "body_s3_location"),
];

/// What every resource of a plan has, and what the service makes up.
const COMPUTED: [&str; 12] = [
    "id",
    "arn",
    "tags",
    "tags_all",
    "region",
    "api_endpoint",
    "execution_arn",
    "invoke_url",
    "deployment_id",
    "timeouts",
    "integration_response_selection_expression",
    "route_response_selection_expression",
];

impl Naming {
    /// A property of a template as the document spells it.
    pub fn spelled(self, name: &str) -> String {
        if self == Naming::Template {
            return name.to_owned();
        }
        let own = IN_PLANS.iter().find(|(template, _)| *template == name);
        own.map_or_else(|| snake(name), |(_, plan)| (*plan).to_owned())
    }

    /// A property, by its name in templates.
    pub fn get(self, at: &Value, name: &str) -> Option<Value> {
        let value = at.get(&self.spelled(name))?;
        if self == Naming::Template {
            return Some(value);
        }
        if is_empty(&value) {
            return None;
        }
        // a block that stands once at most
        match value.items().as_slice() {
            [block]
                if block.is_mapping()
                    && name != "RouteSettings"
                    && name != "ResponseParameters" =>
            {
                Some(block.clone())
            }
            _ => Some(value),
        }
    }
}

/// Whether a plan's value says nothing.
fn is_empty(value: &Value) -> bool {
    match &value.node.kind {
        Kind::Null => true,
        Kind::Scalar(scalar) => scalar.text().is_empty(),
        Kind::Sequence(items) => items.is_empty(),
        Kind::Mapping(entries) => entries.is_empty(),
    }
}

/// `IntegrationUri` as `integration_uri`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// `AutoDeploy` and `auto_deploy` as `autoDeploy`, the name in the vendor's other documents.
fn camel(name: &str) -> String {
    let mut camel = String::new();
    let mut upper = false;
    for (index, letter) in name.chars().enumerate() {
        match letter {
            '_' => upper = true,
            letter if upper => {
                camel.push(letter.to_ascii_uppercase());
                upper = false;
            }
            letter if index == 0 => camel.push(letter.to_ascii_lowercase()),
            letter => camel.push(letter),
        }
    }
    camel
}

/// The properties of one resource, while they are read.
#[derive(Debug)]
pub struct Fields {
    pub at: Value,
    pub naming: Naming,
    taken: Vec<String>,
}

impl Fields {
    pub fn of(at: &Value, naming: Naming) -> Fields {
        Fields {
            at: at.clone(),
            naming,
            taken: Vec::new(),
        }
    }

    /// A property, by its name in templates.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.taken.push(self.naming.spelled(name));
        self.naming.get(&self.at, name)
    }

    /// A property that is a list, or one text in its place.
    pub fn list(&mut self, name: &str) -> Vec<Value> {
        match self.take(name) {
            Some(value) if value.is_list() => value.items(),
            Some(value) if value.text().is_some() => vec![value],
            _ => Vec::new(),
        }
    }

    /// The properties that nobody took, as the vendor's documents of other kinds spell them: `description`.
    pub fn others(self) -> Vec<Named<Value>> {
        let is_plan = self.naming == Naming::Plan;
        self.at
            .entries()
            .into_iter()
            .filter(|entry| !self.taken.contains(&entry.name))
            .filter(|entry| !matches!(entry.value.node.kind, Kind::Null))
            .filter(|entry| {
                !is_plan || !(is_empty(&entry.value) || COMPUTED.contains(&entry.name.as_str()))
            })
            .map(|entry| Named {
                name: camel(&entry.name),
                ..entry
            })
            .collect()
    }
}

/// A value at the place of `at` that the document does not hold: an empty list, say.
pub fn made(at: &Value, kind: Kind) -> Value {
    Value {
        node: Node::new(kind, at.node.mark.clone()),
        path: at.path.clone(),
        mark: at.mark.clone(),
    }
}

/// `CorsConfiguration`.
pub fn cors(mut fields: Fields) -> Cors {
    Cors {
        at: fields.at.clone(),
        allow_origins: fields.list("AllowOrigins"),
        allow_methods: fields.list("AllowMethods"),
        allow_headers: fields.list("AllowHeaders"),
        expose_headers: fields.list("ExposeHeaders"),
        allow_credentials: fields.take("AllowCredentials"),
        max_age: fields.take("MaxAge"),
        others: fields.others(),
    }
}

/// `AccessLogSettings`.
pub fn access_log(mut fields: Fields) -> AccessLog {
    AccessLog {
        at: fields.at.clone(),
        destination: fields.take("DestinationArn"),
        format: fields.take("Format"),
    }
}

/// The bucket in `DefaultRouteSettings`, or in one of `RouteSettings`; what else stands there goes to `others`. In a
/// plan, 0 is what the provider writes for a limit that is not set.
pub fn throttle(mut fields: Fields, others: &mut Vec<Named<Value>>) -> Throttle {
    let is_plan = fields.naming == Naming::Plan;
    let is_set = |value: &Value| !(is_plan && value.number() == Some(0));
    let throttle = Throttle {
        rate: fields.take("ThrottlingRateLimit").filter(is_set),
        burst: fields.take("ThrottlingBurstLimit").filter(is_set),
    };
    fields.take("RouteKey");
    others.extend(fields.others());
    throttle
}

/// The buckets in `RouteSettings`, by route key.
pub fn route_throttles(
    at: &Value,
    naming: Naming,
    others: &mut Vec<Named<Value>>,
) -> Vec<Named<Throttle>> {
    let by_key: Vec<Named<Value>> = match naming {
        Naming::Template => at.entries(),
        Naming::Plan => at
            .items()
            .into_iter()
            .filter_map(|block| {
                let key = block.get("route_key")?;
                Some(Named {
                    name: key.text()?.into_owned(),
                    mark: key.mark.clone(),
                    value: block,
                })
            })
            .collect(),
    };
    by_key
        .into_iter()
        .map(|entry| Named {
            value: throttle(Fields::of(&entry.value, naming), others),
            name: entry.name,
            mark: entry.mark,
        })
        .collect()
}
