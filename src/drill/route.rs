//! The routes of a configuration that a drill sends to: those that store a record.

use http::Method;

use super::place::{Destination, Service};
use super::record::Record;
use crate::forward::{AckMode, Order};
use crate::integration::Integration;
use crate::model::route_key::{MethodKey, PathSegment, RouteKey};
use crate::plan::Blueprint;
use crate::plan::blueprint::{ApiBlueprint, RouteBlueprint};

/// A route to send to.
#[derive(Clone, Debug)]
pub struct DrillRoute {
    /// The route key.
    pub name: String,
    pub method: Method,
    /// The stage, and what stands before the path's segments.
    prefix: String,
    key: RouteKey,
    /// Bytes.
    pub body_limit: u64,
    pub destinations: Vec<Destination>,
    pub order: Order,
    /// A 2xx always means that the gateway's own store has it.
    pub needs_store: bool,
    /// A 2xx can mean that the gateway's own store has it.
    pub uses_store: bool,
    /// The target is called, now or later.
    pub calls_target: bool,
}

/// The routes that store, in the order of the file.
pub fn routes(blueprint: &Blueprint) -> Vec<DrillRoute> {
    let of_api = |api: &ApiBlueprint| {
        let prefix = api.prefix();
        let routes = api.routes.iter();
        routes
            .filter_map(move |route| of(route, &prefix))
            .collect::<Vec<_>>()
    };
    blueprint.apis.iter().flat_map(of_api).collect()
}

fn of(route: &RouteBlueprint, prefix: &str) -> Option<DrillRoute> {
    let destinations: Vec<Destination> = route
        .targets()
        .filter_map(|target| Destination::of(target.kind(), target.target_label()))
        .collect();
    if destinations.is_empty() {
        return None;
    }
    let method = match &route.key {
        RouteKey::Default
        | RouteKey::Path {
            method: MethodKey::Any,
            ..
        } => Method::POST,
        RouteKey::Path {
            method: MethodKey::One(method),
            ..
        } => method.clone(),
    };
    if method == Method::HEAD {
        return None; // its answer has no body that could say what became of the record
    }
    let embedded = |to: &Destination| to.service == Service::Queue;
    Some(DrillRoute {
        name: route.key.to_string(),
        method,
        prefix: prefix.to_owned(),
        key: route.key.clone(),
        body_limit: route.limits.body,
        order: route.ack.order,
        needs_store: route.ack.mode == AckMode::Spool || destinations.iter().all(embedded),
        uses_store: route.needs_store(),
        calls_target: route.targets().any(Integration::touches_aws),
        destinations,
    })
}

impl DrillRoute {
    /// A route to one destination.
    #[cfg(test)]
    pub(super) fn for_tests(destination: Destination) -> DrillRoute {
        DrillRoute {
            name: "POST /".to_owned(),
            method: Method::POST,
            prefix: String::new(),
            key: RouteKey::Default,
            body_limit: 1 << 20,
            destinations: vec![destination],
            order: Order::Key,
            needs_store: false,
            uses_store: false,
            calls_target: true,
        }
    }

    /// A path that the route serves; its variables are the record's.
    pub fn path(&self, record: &Record) -> String {
        let mut text = self.prefix.clone();
        let RouteKey::Path { path, .. } = &self.key else {
            return text + "/drill";
        };
        for segment in &path.segments {
            text.push('/');
            text += match segment {
                PathSegment::Static(name) => name,
                PathSegment::Parameter(name) => record.value_for(name),
            };
        }
        if let Some(name) = &path.greedy {
            text.push('/');
            text += record.value_for(name);
        }
        if path.trailing_slash || text.is_empty() {
            text.push('/');
        }
        text
    }
}
