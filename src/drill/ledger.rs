//! The ledger: what was sent and what the clients were told, against what was found. Pure arithmetic.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::client::{Durability, Sent, Told};
use super::place::{Place, Service};
use super::record::Id;
use super::route::DrillRoute;
use super::seen::Seen;
use crate::forward::Order;

/// What became of the requests of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub route: String,
    pub sent: u64,
    pub acknowledged: Acknowledged,
    pub refused: u64,
    /// Requests that nobody answered.
    pub unanswered: u64,
    /// Records found everywhere they belong, acknowledged or not; those in the next two columns among them.
    pub found: u64,
    pub in_dead_letters: u64,
    pub still_spooled: u64,
    /// Records that were refused, or not answered, and are there all the same.
    pub stored_unsaid: u64,
    /// Appearances beyond the first.
    pub duplicates: u64,
    /// Acknowledged, and missing somewhere.
    pub lost: u64,
    /// Acknowledged as `target` before the target had it.
    pub premature: u64,
    /// Records whose bytes are not those that were sent.
    pub altered: u64,
    /// Records that overtook one that was acknowledged before they were sent.
    pub order_violations: u64,
}

/// By what the answer said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Acknowledged {
    pub target: u64,
    pub spooled: u64,
    /// 2xx without a word about it.
    pub unsaid: u64,
}

impl Acknowledged {
    pub fn all(&self) -> u64 {
        self.target + self.spooled + self.unsaid
    }
}

/// An acknowledged record that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    pub id: String,
    pub route: String,
    pub durability: Durability,
    /// Where it is not.
    pub missing: Vec<String>,
}

/// A record that overtook another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overtaking {
    /// The record that came too early.
    pub id: String,
    /// The one that had been acknowledged before.
    pub before: String,
    pub place: String,
}

/// The whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    pub routes: Vec<Row>,
    pub total: Row,
    pub lost: Vec<Loss>,
    pub overtaken: Vec<Overtaking>,
    /// Refusals by code.
    pub refusals: BTreeMap<String, u64>,
}

/// Draws up the ledger.
pub fn balance(seed: u64, routes: &[DrillRoute], sent: &[Sent], seen: &Seen) -> Ledger {
    let mut ledger = Ledger {
        routes: routes
            .iter()
            .map(|route| Row {
                route: route.name.clone(),
                ..Row::default()
            })
            .collect(),
        ..Ledger::default()
    };
    for one in sent {
        let (Some(route), Some(row)) = (routes.get(one.route), ledger.routes.get_mut(one.route))
        else {
            continue;
        };
        row.sent += 1;
        let there = Whereabouts::of(one.id, route, seen);
        row.found += u64::from(there.missing.is_empty());
        row.in_dead_letters += u64::from(there.dead);
        row.still_spooled += u64::from(there.spooled);
        row.duplicates += there.duplicates;
        row.altered += u64::from(there.altered);
        let durability = match &one.told {
            Told::Acknowledged { durability, .. } => *durability,
            Told::Refused { code, .. } => {
                row.refused += 1;
                row.stored_unsaid += u64::from(there.somewhere);
                *ledger.refusals.entry(code.clone()).or_default() += 1;
                continue;
            }
            Told::Nothing => {
                row.unanswered += 1;
                row.stored_unsaid += u64::from(there.somewhere);
                continue;
            }
        };
        match durability {
            Durability::Target => row.acknowledged.target += 1,
            Durability::Spooled => row.acknowledged.spooled += 1,
            Durability::Unsaid => row.acknowledged.unsaid += 1,
        }
        if let (Durability::Target, Told::Acknowledged { tick, .. }) = (durability, &one.told) {
            row.premature += u64::from(there.last_arrival.is_some_and(|arrival| arrival > *tick));
        }
        if !there.missing.is_empty() {
            row.lost += 1;
            ledger.lost.push(Loss {
                id: one.id.text(seed),
                route: route.name.clone(),
                durability,
                missing: there.missing,
            });
        }
    }
    for (route, overtaking) in overtakings(seed, routes, sent, seen) {
        if let Some(row) = ledger.routes.get_mut(route) {
            row.order_violations += 1;
        }
        ledger.overtaken.push(overtaking);
    }
    ledger.total = total(&ledger.routes);
    ledger
}

/// Where one record is.
#[derive(Default)]
struct Whereabouts {
    /// Destinations that do not have it.
    missing: Vec<String>,
    somewhere: bool,
    dead: bool,
    spooled: bool,
    duplicates: u64,
    altered: bool,
    /// The tick at which the last of the targets that have it got it; embedded queues do not tell.
    last_arrival: Option<u64>,
}

impl Whereabouts {
    fn of(id: Id, route: &DrillRoute, seen: &Seen) -> Whereabouts {
        let mut there = Whereabouts::default();
        let mut arrived = vec![false; route.destinations.len()];
        for (place, records) in &seen.places {
            let Some(appearance) = records.get(&id) else {
                continue;
            };
            there.somewhere = true;
            there.altered |= appearance.altered;
            match place.service {
                // A spooled record that is a duplicate of one that has arrived is none of the caller's.
                Service::DeadLetters => there.dead = true,
                Service::Spool => there.spooled = true,
                _ => there.duplicates += u64::from(appearance.times.saturating_sub(1)),
            }
            for (arrived, destination) in arrived.iter_mut().zip(&route.destinations) {
                if destination.is(place) {
                    *arrived = true;
                    if place.service != Service::Queue {
                        there.last_arrival = there.last_arrival.max(Some(appearance.first));
                    }
                }
            }
        }
        // What is on its way, or set aside with its reason, is not lost.
        if !there.dead && !there.spooled {
            let missing = arrived.iter().zip(&route.destinations);
            there.missing = missing
                .filter(|(arrived, _)| !**arrived)
                .map(|(_, destination)| destination.to_string())
                .collect();
        }
        there
    }
}

/// A record in the order of its stream.
struct InStream {
    id: Id,
    route: usize,
    first: u64,
    sent: u64,
    acknowledged: Option<u64>,
}

/// Records that appeared before one that had been acknowledged before they were sent: per place and group, or per
/// place and route.
fn overtakings(
    seed: u64,
    routes: &[DrillRoute],
    sent: &[Sent],
    seen: &Seen,
) -> Vec<(usize, Overtaking)> {
    let by_id: HashMap<Id, &Sent> = sent.iter().map(|one| (one.id, one)).collect();
    let mut found = Vec::new();
    for (place, records) in &seen.places {
        let mut streams: BTreeMap<(Option<&str>, Option<usize>), Vec<InStream>> = BTreeMap::new();
        for (id, appearance) in records {
            let Some(one) = by_id.get(id) else { continue };
            let Some(route) = routes.get(one.route) else {
                continue;
            };
            let stream = match stream_of(route, place, appearance.group.as_deref(), one.route) {
                Some(stream) => stream,
                None => continue,
            };
            let acknowledged = match one.told {
                Told::Acknowledged { tick, .. } => Some(tick),
                Told::Refused { .. } | Told::Nothing => None,
            };
            streams.entry(stream).or_default().push(InStream {
                id: *id,
                route: one.route,
                first: appearance.first,
                sent: one.tick,
                acknowledged,
            });
        }
        for stream in streams.values_mut() {
            stream.sort_by_key(|record| record.first);
            // From the end: of those that came later, the one that was acknowledged first.
            let mut earliest: Option<(u64, Id)> = None;
            for record in stream.iter().rev() {
                if let Some((tick, before)) = earliest
                    && tick < record.sent
                {
                    found.push((
                        record.route,
                        Overtaking {
                            id: record.id.text(seed),
                            before: before.text(seed),
                            place: place.to_string(),
                        },
                    ));
                }
                if let Some(tick) = record.acknowledged
                    && earliest.is_none_or(|(known, _)| tick < known)
                {
                    earliest = Some((tick, record.id));
                }
            }
        }
    }
    found
}

/// What a record keeps its order with; `None`: with nothing.
fn stream_of<'g>(
    route: &DrillRoute,
    place: &Place,
    group: Option<&'g str>,
    number: usize,
) -> Option<(Option<&'g str>, Option<usize>)> {
    if matches!(place.service, Service::DeadLetters | Service::Spool) {
        return None;
    }
    match (route.order, group) {
        (Order::Route, _) => Some((None, Some(number))),
        // A message group is kept whatever the route says; a partition key only if it asks.
        (Order::None, _) if place.service == Service::Kinesis => None,
        (_, Some(group)) => Some((Some(group), None)),
        (_, None) => None,
    }
}

fn total(rows: &[Row]) -> Row {
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum();
    Row {
        route: "total".to_owned(),
        sent: sum(|row| row.sent),
        acknowledged: Acknowledged {
            target: sum(|row| row.acknowledged.target),
            spooled: sum(|row| row.acknowledged.spooled),
            unsaid: sum(|row| row.acknowledged.unsaid),
        },
        refused: sum(|row| row.refused),
        unanswered: sum(|row| row.unanswered),
        found: sum(|row| row.found),
        in_dead_letters: sum(|row| row.in_dead_letters),
        still_spooled: sum(|row| row.still_spooled),
        stored_unsaid: sum(|row| row.stored_unsaid),
        duplicates: sum(|row| row.duplicates),
        lost: sum(|row| row.lost),
        premature: sum(|row| row.premature),
        altered: sum(|row| row.altered),
        order_violations: sum(|row| row.order_violations),
    }
}

#[cfg(test)]
mod tests;
