//! A client: sends its records one after the other, follows the gateway to its new address, and writes down what it
//! was told. It never sends a record twice.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::asked::Asked;
use super::http::{Connection, body};
use super::random::Random;
use super::record::{Id, Record};
use super::route::DrillRoute;
use super::seen::Ticks;

/// How long an answer may take. Longer than any deadline of a gateway that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all clients share.
pub struct Traffic {
    pub seed: u64,
    pub routes: Vec<DrillRoute>,
    pub asked: Asked,
    /// Sent with every request.
    pub headers: HeaderMap,
    /// Of one client between two requests, on average.
    pub pause: Duration,
    pub ticks: Arc<Ticks>,
    pub live: Live,
}

/// What the conductor wants to know while the clients work.
#[derive(Debug, Default)]
pub struct Live {
    pub in_flight: AtomicUsize,
    /// Requests that the target is called for.
    pub to_target: AtomicU64,
    /// Refusals because the store has no room or does not work.
    pub store_refusals: AtomicU64,
    /// Acknowledgements that needed the store.
    pub store_acks: AtomicU64,
}

/// Who has the record, as the answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    Target,
    Spooled,
    /// A 2xx that does not say: the aws dialect, or a response of the route's own.
    Unsaid,
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Acknowledged {
        durability: Durability,
        tick: u64,
    },
    Refused {
        status: u16,
        code: String,
    },
    /// The connection ended, or nobody answered.
    Nothing,
}

/// A request that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub id: Id,
    pub route: usize,
    pub tick: u64,
    pub told: Told,
}

/// One request to every route, one after the other, before the clients begin. `number`: none of theirs.
pub async fn first_requests(number: u32, traffic: &Traffic, gateway: SocketAddr) -> Vec<Sent> {
    let routes = traffic.routes.len();
    let mut left: BTreeSet<usize> = (0..routes).collect();
    let mut sent = Vec::new();
    // Routes come by chance.
    for next in 0..u32::try_from(routes).map_or(u32::MAX, |routes| routes.saturating_mul(1_000)) {
        if left.is_empty() {
            break;
        }
        let id = Id {
            client: number,
            number: next,
        };
        let record = Record::of(traffic.seed, id, routes);
        if !left.remove(&record.route) {
            continue;
        }
        let Some((_, request)) = traffic.request(&record, gateway) else {
            continue;
        };
        let Ok(mut connection) = Connection::open(gateway).await else {
            continue;
        };
        let tick = traffic.ticks.tick();
        let told = match timeout(PATIENCE, traffic.tell(&mut connection, request)).await {
            Ok(Some(told)) => told,
            Ok(None) | Err(_) => Told::Nothing,
        };
        sent.push(Sent {
            id,
            route: record.route,
            tick,
            told,
        });
    }
    sent
}

/// Sends until it is told to stop.
pub async fn client(
    number: u32,
    traffic: Arc<Traffic>,
    mut gateway: watch::Receiver<Option<SocketAddr>>,
    stop: CancellationToken,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    let mut pauses = Random::of(traffic.seed, &[4, number.into()]);
    let mut connection: Option<Connection> = None;
    let mut next = 0;
    while !stop.is_cancelled() {
        let most = (traffic.pause.as_micros() * 2) as u64;
        tokio::time::sleep(Duration::from_micros(pauses.between(0, most))).await;
        let address = tokio::select! {
            () = stop.cancelled() => break,
            address = gateway.wait_for(Option::is_some) => match address.map(|address| *address) {
                Ok(Some(address)) => address,
                Ok(None) | Err(_) => break,
            },
        };
        let mut open = match connection.take().filter(|open| open.leads_to(address)) {
            Some(open) => open,
            None => match Connection::open(address).await {
                Ok(open) => open,
                // It has gone this moment; nothing was sent.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        let id = Id {
            client: number,
            number: next,
        };
        next += 1;
        let record = Record::of(traffic.seed, id, traffic.routes.len());
        let Some((route, request)) = traffic.request(&record, address) else {
            continue;
        };
        let live = &traffic.live;
        live.in_flight.fetch_add(1, Ordering::SeqCst);
        if route.calls_target {
            live.to_target.fetch_add(1, Ordering::SeqCst);
        }
        let tick = traffic.ticks.tick();
        let told = match timeout(PATIENCE, traffic.tell(&mut open, request)).await {
            Ok(Some(told)) => {
                connection = Some(open);
                told
            }
            Ok(None) | Err(_) => Told::Nothing,
        };
        live.in_flight.fetch_sub(1, Ordering::SeqCst);
        match &told {
            Told::Acknowledged { .. } if route.needs_store => {
                live.store_acks.fetch_add(1, Ordering::SeqCst);
            }
            Told::Refused { code, .. } if code.starts_with("store_") => {
                live.store_refusals.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
        sent.push(Sent {
            id,
            route: record.route,
            tick,
            told,
        });
    }
    sent
}

impl Traffic {
    /// The request for a record, and its route.
    fn request(
        &self,
        record: &Record,
        address: SocketAddr,
    ) -> Option<(&DrillRoute, Request<Full<Bytes>>)> {
        let route = self.routes.get(record.route)?;
        let mut path = route.path(record);
        for (at, name) in self.asked.query.iter().enumerate() {
            path.push(if at == 0 { '?' } else { '&' });
            path += &format!("{name}={}", record.value_for(name));
        }
        let mut request = Request::builder()
            .method(route.method.clone())
            .uri(path)
            .header(http::header::HOST, address.to_string())
            .header(http::header::CONTENT_TYPE, "application/json")
            .header("x-drill-id", &record.name)
            .header("x-drill-key", &record.key);
        for name in &self.asked.headers {
            let known = self.headers.contains_key(name)
                || ["host", "content-type", "x-drill-id", "x-drill-key"].contains(&name.as_str());
            if !known && let Ok(name) = HeaderName::try_from(name) {
                request = request.header(&name, record.value_for(name.as_str()));
            }
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = record.body(&self.asked, route.body_limit);
        let request = request.body(Full::new(body)).ok()?;
        Some((route, request))
    }

    /// Sends, and says what was answered; `None` if nothing was.
    async fn tell(
        &self,
        connection: &mut Connection,
        request: Request<Full<Bytes>>,
    ) -> Option<Told> {
        let answer = connection.send(request).await.ok()?;
        // The head is the promise: what comes after it cannot take it back.
        let tick = self.ticks.tick();
        let status = answer.status();
        let body = body(answer).await.unwrap_or_default();
        let document: Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = |name: &str| document.get(name).and_then(Value::as_str);
        Some(if status.is_success() {
            let durability = match said("durability") {
                Some("target") => Durability::Target,
                Some("spooled") => Durability::Spooled,
                _ => Durability::Unsaid,
            };
            Told::Acknowledged { durability, tick }
        } else {
            Told::Refused {
                status: status.as_u16(),
                code: code(status, said("code")),
            }
        })
    }
}

/// The reason code, or the status where the dialect has none.
fn code(status: StatusCode, said: Option<&str>) -> String {
    said.map_or_else(|| status.as_u16().to_string(), str::to_owned)
}

/// Reads `name: value`.
///
/// # Errors
/// What is wrong with it.
pub fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("{text:?} is not a header; write `name: value`"))?;
    let name = name
        .trim()
        .parse()
        .map_err(|_| format!("{name:?} is not a header name"))?;
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("the value of {name} cannot stand in a header"))?;
    Ok((name, value))
}
