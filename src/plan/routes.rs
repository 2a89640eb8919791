//! From the routes of a configuration to their blueprints, and what one route does to another.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use indexmap::IndexMap;
use indexmap::map::Entry;

use crate::authn;
use crate::authn::policy::{Document, Side};
use crate::config::{Config, Decode, Dialect, Route};
use crate::decode::Codings;
use crate::integration::{QueueFacts, Scope};
use crate::mapping;
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::route_key::{METHODS, MethodKey, PathKey, PathSegment, RouteKey};
use crate::model::value::{ByteSize, QueueName, Span};

use super::blueprint::{ListenerBlueprint, RouteBlueprint, RouteLimits};
use super::matcher::Matcher;
use super::response::{ResponsePlan, WebhookAck};
use super::validation::Validation;
use super::{delivery, listeners, throttle};

/// Every route that can be compiled; problems for the others.
pub(super) fn compile(
    config: &Config,
    dialect: Dialect,
    stage_variables: &IndexMap<String, String>,
    listeners: &[ListenerBlueprint],
    problems: &mut Problems,
) -> Vec<RouteBlueprint> {
    let root = ConfigPath::root();
    let at = root.key("routes");
    if config.routes.is_empty() && config.versions.is_none() {
        problems
            .error(
                &at,
                "there is no route, so every request would be answered 404",
            )
            .help("write one, such as `POST /orders: { integration: … }`");
    }
    let anywhere = mapping::Scope {
        side: mapping::Side::Request,
        path_variables: &[],
        stage_variables,
        webhook: None,
        integration_fields: None,
    };
    let throttles = throttle::Defaults::compile(
        config.throttle.as_ref(),
        config.rate_limit_headers,
        &root.key("throttle"),
        &anywhere,
        problems,
    );
    let authorizers = authorizers(config, problems);
    let policy = config.policy.as_ref().and_then(|policy| {
        let at = root.key("policy");
        policy.compile("the resource policy", Side::Resource, &at, problems)
    });
    let queues: IndexMap<QueueName, QueueFacts> = config
        .queues
        .iter()
        .map(|(name, queue)| {
            let facts = QueueFacts {
                fifo: name.is_fifo(),
                content_based_deduplication: queue.content_based_deduplication,
            };
            (name.clone(), facts)
        })
        .collect();
    let compiler = Compiler {
        config,
        dialect,
        stage_variables,
        listeners,
        throttles,
        authorizers,
        policy,
        queues,
        decode: codings(config.decode.as_ref(), &root.key("decode"), problems),
    };
    let routes = config
        .routes
        .iter()
        .filter_map(|(key, route)| compiler.route(key, route, &at.key(key.to_string()), problems))
        .collect();
    conflicts(config, listeners, &at, problems);
    routes
}

fn authorizers(config: &Config, problems: &mut Problems) -> HashMap<String, authn::Spec> {
    let at = ConfigPath::root().key("authorizers");
    let given = authn::Given {
        region: config.aws.as_ref().and_then(|aws| aws.region.as_deref()),
        stage_variables: &config.stage_variables,
    };
    let mut specs = HashMap::new();
    for (name, authorizer) in &config.authorizers {
        if name == "none" {
            problems
                .error(
                    &at.key(name),
                    "`none` is built in and lets everyone pass; it cannot be declared",
                )
                .help("choose another name");
            continue;
        }
        if let Some(spec) = authorizer.compile(name, &given, &at.key(name), problems) {
            specs.insert(name.clone(), spec);
        }
    }
    specs
}

struct Compiler<'c> {
    config: &'c Config,
    dialect: Dialect,
    stage_variables: &'c IndexMap<String, String>,
    listeners: &'c [ListenerBlueprint],
    throttles: throttle::Defaults,
    authorizers: HashMap<String, authn::Spec>,
    policy: Option<Arc<Document>>,
    queues: IndexMap<QueueName, QueueFacts>,
    /// What is decoded where a route does not say.
    decode: Codings,
}

impl Compiler<'_> {
    fn route(
        &self,
        key: &RouteKey,
        route: &Route,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<RouteBlueprint> {
        let before = problems.errors();
        let variables = key.variables();
        let on = listeners::of_route(route, self.listeners, at, problems);
        let reached: Vec<&ListenerBlueprint> = self
            .listeners
            .iter()
            .filter(|listener| on.as_ref().is_none_or(|on| on.contains(&listener.name)))
            .collect();
        let authorizers = self.route_authorizers(route, &reached, at, problems);
        let webhook = authorizers.iter().find_map(|(_, spec)| match spec {
            authn::Spec::Webhook(webhook) => Some(webhook),
            _ => None,
        });
        let request = mapping::Scope {
            side: mapping::Side::Request,
            path_variables: &variables,
            stage_variables: self.stage_variables,
            webhook: webhook.map(|webhook| mapping::WebhookScope {
                attested: webhook.attests(),
            }),
            integration_fields: None,
        };
        let decode = match &route.decode {
            Some(own) => codings(own.as_ref(), &at.key("decode"), problems),
            None => self.decode.clone(),
        };
        let scope = Scope {
            mapping: request,
            queues: &self.queues,
            region: self
                .config
                .aws
                .as_ref()
                .and_then(|aws| aws.region.as_deref()),
            sqs_endpoint: self
                .config
                .aws
                .as_ref()
                .is_some_and(|aws| aws.endpoint.is_some() || aws.endpoints.sqs.is_some()),
            path: match key {
                RouteKey::Path { path, .. } => Some(path),
                RouteKey::Default => None,
            },
            decodes: !decode.0.is_empty(),
        };
        let integrations = delivery::integrations(route, at, &scope, problems);
        let fields: Option<Vec<&str>> = integrations
            .as_ref()
            .map(|(first, _)| first.fields().collect());
        let response_scope = mapping::Scope {
            side: mapping::Side::Response,
            integration_fields: fields.as_deref(),
            ..request
        };
        let mut response = ResponsePlan::compile(
            route.response.as_ref(),
            &route.response_parameters,
            at,
            &response_scope,
            problems,
        );
        let access = listeners::access(route.allow.as_ref(), route.deny.as_ref(), at, problems);
        scopes(&route.scopes, &authorizers, &at.key("scopes"), problems);
        let own = route.policy.as_ref().and_then(|policy| {
            let name = format!("the policy of {key}");
            policy.compile(&name, Side::Resource, &at.key("policy"), problems)
        });
        let policies = self.policy.iter().cloned().chain(own).collect();
        let proven = !authorizers.is_empty();
        let throttles = throttle::route(
            route.throttle.as_ref(),
            &self.throttles,
            proven,
            &at.key("throttle"),
            &request,
            problems,
        );
        let concurrency = throttle::concurrency(
            route.concurrency.as_ref(),
            proven,
            &at.key("concurrency"),
            &request,
            problems,
        );
        let limits = self.limits(route, at, problems);
        let validation = Validation::compile(route, at, problems);
        let (integration, copies) = integrations?;
        let targets: Vec<_> = std::iter::once(&integration).chain(&copies).collect();
        let ack = delivery::ack(route.ack, &targets, limits.timeout, at, problems);
        let (timeout, written) = (limits.timeout, &route.idempotency);
        let idempotency = match (written, webhook) {
            (None, Some(webhook)) => {
                delivery::by_delivery(webhook, &integration, timeout, at, &request, problems)
            }
            _ => {
                let written = written.as_ref().and_then(Option::as_ref);
                delivery::idempotency(written, &integration, timeout, at, &request, problems)
            }
        };
        response.webhook_ack = webhook
            .filter(|_| integration.stores())
            .and_then(|webhook| WebhookAck::new(webhook.ack()?));
        let questions = webhook.map(|webhook| self.questions(key, webhook));
        (problems.errors() == before).then(|| RouteBlueprint {
            key: key.clone(),
            questions: questions.unwrap_or_default(),
            listeners: on,
            access,
            authorizers,
            scopes: route.scopes.clone(),
            policies,
            throttles,
            concurrency,
            limits,
            decode,
            validation,
            integration,
            copies,
            ack,
            idempotency,
            response,
        })
    }

    fn route_authorizers(
        &self,
        route: &Route,
        reached: &[&ListenerBlueprint],
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Vec<(String, authn::Spec)> {
        let Some(names) = &route.authorizer else {
            if reached.iter().any(|listener| !listener.is_local()) {
                problems
                    .warning(at, "anyone who reaches the listener may call this route: it has no `authorizer`")
                    .help("name one, or write `authorizer: none` if that is meant");
            }
            return Vec::new();
        };
        let at = at.key("authorizer");
        if names.0.is_empty() {
            problems
                .error(&at, "the list is empty, which would let everyone pass")
                .help("name an authorizer, or write `authorizer: none` if that is meant");
        }
        let mut specs = Vec::new();
        for name in &names.0 {
            if name == "none" {
                if names.0.len() > 1 {
                    problems.error(&at, "`none` cannot stand beside another authorizer");
                }
                continue;
            }
            match self.authorizers.get(name).cloned().or_else(|| {
                authn::Spec::built_in(name).filter(|_| !self.config.authorizers.contains_key(name))
            }) {
                Some(spec) => {
                    if matches!(spec, authn::Spec::ApiKey(_))
                        && self.config.api_keys.is_empty()
                        && self.config.api_key_files.is_empty()
                    {
                        problems.error(&at, format!("`{name}` asks for an API key, and none is declared, so every request would be refused")).help("declare keys under `api_keys`, or name files of them in `api_key_files`");
                    }
                    if matches!(spec, authn::Spec::Mtls(_)) {
                        check_certificates_are_asked_for(name, reached, &at, problems);
                    }
                    specs.push((name.clone(), spec));
                }
                // What is wrong with its declaration has been said there.
                None if self.config.authorizers.contains_key(name) => {}
                None => {
                    let known = self
                        .config
                        .authorizers
                        .keys()
                        .map(String::as_str)
                        .chain(["none", "api_key"]);
                    let problem =
                        problems.error(&at, format!("the authorizer `{name}` is not declared"));
                    match nearest(name, known) {
                        Some(near) => problem.help(format!("did you mean `{near}`?")),
                        None => problem.help(
                            "declare it under `authorizers`; `none` and `api_key` are built in",
                        ),
                    };
                }
            }
        }
        specs
    }

    /// The methods by which the sender asks its questions on the path of a route, where no route of their own serves
    /// them.
    fn questions(&self, key: &RouteKey, webhook: &authn::webhook::Spec) -> Vec<RouteKey> {
        let RouteKey::Path {
            method: MethodKey::One(own),
            path,
        } = key
        else {
            // Every method comes by the route itself.
            return Vec::new();
        };
        let declared = |wanted: &Method| {
            self.config.routes.keys().any(|other| match other {
                RouteKey::Path {
                    method,
                    path: other,
                } => {
                    let serves = match method {
                        MethodKey::Any => true,
                        MethodKey::One(method) => method == wanted,
                    };
                    serves && shape(other) == shape(path)
                }
                RouteKey::Default => false,
            })
        };
        let methods = webhook.handshake_methods().into_iter();
        methods
            .filter(|method| method != own && !declared(method))
            .map(|method| RouteKey::Path {
                method: MethodKey::One(method),
                path: path.clone(),
            })
            .collect()
    }

    fn limits(&self, route: &Route, at: &ConfigPath, problems: &mut Problems) -> RouteLimits {
        let general = &self.config.limits;
        let at = at.key("limits");
        for (key, span) in [
            ("timeout", route.limits.timeout),
            ("body_timeout", route.limits.body_timeout),
        ] {
            if span.is_some_and(|span| span.0.is_zero()) {
                problems.error(&at.key(key), "0 would refuse every request");
            }
        }
        let body_default = match self.dialect {
            Dialect::Native => ByteSize::mib(1),
            Dialect::Aws => ByteSize::mib(10),
        };
        RouteLimits {
            body: route.limits.body.or(general.body).unwrap_or(body_default).0,
            body_timeout: route
                .limits
                .body_timeout
                .or(general.body_timeout)
                .unwrap_or(Span::secs(30))
                .0,
            timeout: route
                .limits
                .timeout
                .or(general.timeout)
                .unwrap_or(Span::secs(10))
                .0,
        }
    }
}

/// The codings that are undone; none where it is switched off.
fn codings(written: Option<&Decode>, at: &ConfigPath, problems: &mut Problems) -> Codings {
    let Some(Decode(codings)) = written else {
        return Codings::default();
    };
    if codings.is_empty() {
        problems
            .error(
                at,
                "the list is empty, and what that should mean is not certain",
            )
            .help("name `gzip`, `br` or `zstd`, or write `decode: false`");
    }
    for (index, coding) in codings.iter().enumerate() {
        if codings[..index].contains(coding) {
            problems.error(&at.index(index), format!("`{coding}` is named twice"));
        }
    }
    Codings(codings.clone())
}

/// Whether a token can be asked for these scopes.
fn scopes(
    scopes: &[String],
    authorizers: &[(String, authn::Spec)],
    at: &ConfigPath,
    problems: &mut Problems,
) {
    if scopes.len() > 10 {
        problems.error(at, format!("{} scopes; allowed: 10", scopes.len()));
    }
    // A scope token of RFC 6749, 3.3.
    let token =
        |byte: u8| byte == b'!' || (b'#'..=b'[').contains(&byte) || (b']'..=b'~').contains(&byte);
    for (index, scope) in scopes.iter().enumerate() {
        if scope.is_empty() || !scope.bytes().all(token) {
            problems
                .error(&at.index(index), format!("{scope:?} is not a scope"))
                .help("allowed: visible ASCII characters but `\"` and `\\`, and no space");
        }
    }
    let granted = |spec: &authn::Spec| matches!(spec, authn::Spec::Jwt(_));
    if !scopes.is_empty() && !authorizers.iter().any(|(_, spec)| granted(spec)) {
        problems
            .error(
                at,
                "no authorizer of this route grants scopes, so every request would be refused",
            )
            .help("name a `jwt` authorizer, or remove the scopes");
    }
}

/// An `mtls` authorizer needs certificates to look at, wherever its route can be reached.
fn check_certificates_are_asked_for(
    name: &str,
    reached: &[&ListenerBlueprint],
    at: &ConfigPath,
    problems: &mut Problems,
) {
    for listener in reached {
        let asks = listener
            .tls
            .as_ref()
            .is_some_and(|tls| tls.clients.is_some());
        if !asks {
            let listener = &listener.name;
            problems
                .error(
                    at,
                    format!("`{name}` asks for a client certificate, and the listener `{listener}` asks no client for one, so every request there would be refused"),
                )
                .help(format!("write `client_ca` under the listener's `tls`, or name other listeners in the route's `listeners` than `{listener}`"));
        }
    }
}

/// Routes that serve the very same requests, and routes that no request can reach: on one listener, for on another they
/// are not there.
fn conflicts(
    config: &Config,
    listeners: &[ListenerBlueprint],
    at: &ConfigPath,
    problems: &mut Problems,
) {
    let mut clashing: Vec<(&RouteKey, &RouteKey)> = Vec::new();
    let mut reasons: IndexMap<&RouteKey, Option<String>> = IndexMap::new();
    for listener in listeners {
        let is_on = |route: &Route| {
            let named = |names: &Vec<String>| names.iter().any(|name| **name == *listener.name);
            route.listeners.as_ref().is_none_or(named)
        };
        let keys: Vec<&RouteKey> = config
            .routes
            .iter()
            .filter(|(_, route)| is_on(route))
            .map(|(key, _)| key)
            .collect();
        let mut matcher: Matcher<&RouteKey> = Matcher::default();
        for key in &keys {
            if let Err(taken) = matcher.insert(key, key)
                && !clashing.contains(&(key, taken))
            {
                clashing.push((key, taken));
            }
            let reason = unreachable(key, &keys);
            match reasons.entry(key) {
                Entry::Vacant(entry) => drop(entry.insert(reason)),
                // a route that is reached on one listener is reached
                Entry::Occupied(mut entry) if reason.is_none() => drop(entry.insert(None)),
                Entry::Occupied(_) => {}
            }
        }
    }
    for (key, taken) in clashing {
        problems
            .error(
                &at.key(key.to_string()),
                format!("the route `{taken}` serves the very same requests"),
            )
            .help("remove one; the names of variables make no difference");
    }
    for (key, reason) in reasons {
        if let Some(reason) = reason {
            problems.warning(
                &at.key(key.to_string()),
                format!("no request reaches this route: {reason}"),
            );
        }
    }
}

/// Why no request can reach a route, if none can. `keys`: all routes of the listener.
fn unreachable(key: &RouteKey, keys: &[&RouteKey]) -> Option<String> {
    let methods_on = |path: &PathKey| -> Vec<&MethodKey> {
        let same = |other: &RouteKey| matches!(other, RouteKey::Path { path: other, .. } if shape(other) == shape(path));
        let methods = keys
            .iter()
            .copied()
            .filter(|other| same(other))
            .map(|other| match other {
                RouteKey::Path { method, .. } => method,
                RouteKey::Default => &MethodKey::Any,
            });
        methods.collect()
    };
    match key {
        RouteKey::Path {
            method: MethodKey::Any,
            path,
        } => {
            let own = methods_on(path)
                .into_iter()
                .filter(|method| **method != MethodKey::Any)
                .count();
            (own == METHODS.len())
                .then(|| "every method has a route of its own on this path".to_owned())
        }
        RouteKey::Path { .. } => None,
        RouteKey::Default => {
            let everything = |path: &str| {
                path.parse()
                    .is_ok_and(|path: PathKey| methods_on(&path).contains(&&MethodKey::Any))
            };
            (everything("/") && everything("/{rest+}"))
                .then(|| "`ANY /` and a greedy `ANY /{…+}` take every request before it".to_owned())
        }
    }
}

/// A path without the names of its variables.
fn shape(path: &PathKey) -> (Vec<Option<&str>>, bool, bool) {
    let segments = path.segments.iter().map(|segment| match segment {
        PathSegment::Static(text) => Some(text.as_str()),
        PathSegment::Parameter(_) => None,
    });
    (
        segments.collect(),
        path.greedy.is_some(),
        path.trailing_slash,
    )
}
