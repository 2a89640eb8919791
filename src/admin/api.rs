//! `/v1/queues` and what is below it: GET looks, POST changes. A store that hangs holds up only the call that asked it.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::guard::Guard;
use super::queues::{DEFAULT_PAGE, Queues, Refused};
use super::{json_response, not_allowed};
use crate::integration::StoreState;
use crate::pipeline::Gateway;

/// The largest request body: a redrive that names some fifty thousand messages.
const LARGEST_BODY: usize = 1 << 20;

/// What is asked of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Messages,
    Moves,
    Receive,
    Delete,
    Redrive,
    Cancel,
    Purge,
}

impl Verb {
    fn of(word: &str) -> Option<Verb> {
        Some(match word {
            "messages" => Verb::Messages,
            "moves" => Verb::Moves,
            "receive" => Verb::Receive,
            "delete" => Verb::Delete,
            "redrive" => Verb::Redrive,
            "cancel" => Verb::Cancel,
            "purge" => Verb::Purge,
            _ => return None,
        })
    }

    fn writes(self) -> bool {
        !matches!(self, Verb::Messages | Verb::Moves)
    }
}

/// Answers a request to `/v1/queues…`.
pub(super) async fn answer(
    gateway: &Gateway,
    guard: &Guard,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let below = request.uri().path().trim_start_matches("/v1/queues");
    let is_get = [Method::GET, Method::HEAD].contains(request.method());
    if below.is_empty() {
        return if is_get {
            list(gateway)
        } else {
            not_allowed("GET, HEAD")
        };
    }
    let Some((queue, verb)) = addressed(below) else {
        return refusal(&Refused {
            status: StatusCode::NOT_FOUND,
            message: "there is nothing here; GET / lists what there is".to_owned(),
        });
    };
    if verb.writes() && request.method() != Method::POST {
        return not_allowed("POST");
    }
    if !verb.writes() && !is_get {
        return not_allowed("GET, HEAD");
    }
    match perform(gateway, guard, &queue, verb, request).await {
        Ok(response) => response,
        Err(refused) => refusal(&refused),
    }
}

/// The queue and the verb of `/NAME/VERB`; names are percent-encoded, for those of spools hold slashes.
fn addressed(below: &str) -> Option<(String, Verb)> {
    let (name, verb) = below.strip_prefix('/')?.split_once('/')?;
    let name = percent_decode_str(name).decode_utf8().ok()?;
    Some((name.into_owned(), Verb::of(verb)?))
}

fn list(gateway: &Gateway) -> Response<Full<Bytes>> {
    match gateway.current.load().targets.store_state() {
        StoreState::Open(store) => json_response(StatusCode::OK, &Queues::new(store).list()),
        StoreState::Absent => json_response(StatusCode::OK, &json!({ "queues": [] })),
        StoreState::Unavailable(reason) => refusal(&Refused::unavailable(reason)),
    }
}

async fn perform(
    gateway: &Gateway,
    guard: &Guard,
    queue: &str,
    verb: Verb,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refused> {
    if verb.writes() {
        guard.may_write(request.headers())?;
    } else {
        guard.may_read(request.headers())?;
    }
    let queues = match gateway.current.load().targets.store_state() {
        StoreState::Open(store) => Queues::new(store),
        StoreState::Absent => {
            return Err(Refused {
                status: StatusCode::NOT_FOUND,
                message: format!("there is no queue {queue:?}"),
            });
        }
        StoreState::Unavailable(reason) => return Err(Refused::unavailable(reason)),
    };
    match verb {
        Verb::Messages => {
            let (after, limit) = page_of(request.uri().query().unwrap_or_default())?;
            ok(&queues.messages(queue, after, limit).await?)
        }
        Verb::Moves => ok(&queues.moves(queue).await?),
        Verb::Receive => {
            let take = body_of(request).await?;
            let taken = queues.receive(queue, &take).await?;
            tracing::info!(
                queue,
                messages = taken.messages.len(),
                "Received by an operator"
            );
            ok(&taken)
        }
        Verb::Delete => {
            queues.delete(queue, &body_of(request).await?).await?;
            tracing::info!(queue, "A message was deleted by an operator");
            ok(&json!({}))
        }
        Verb::Redrive => {
            let begun = queues.redrive(queue, body_of(request).await?).await?;
            tracing::info!(queue, "A redrive was begun by an operator");
            ok(&begun)
        }
        Verb::Cancel => {
            let Nothing {} = body_of(request).await?;
            let ended = queues.cancel(queue).await?;
            tracing::info!(queue, "A redrive was cancelled by an operator");
            ok(&ended)
        }
        Verb::Purge => {
            let Nothing {} = body_of(request).await?;
            let purged = queues.purge(queue).await?;
            tracing::info!(queue, messages = purged.purged, "Purged by an operator");
            ok(&purged)
        }
    }
}

/// A body without wishes.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn ok(body: &impl Serialize) -> Result<Response<Full<Bytes>>, Refused> {
    Ok(json_response(StatusCode::OK, body))
}

pub(super) fn refusal(refused: &Refused) -> Response<Full<Bytes>> {
    json_response(refused.status, &json!({ "error": refused.message }))
}

/// `after` and `limit` of a query.
fn page_of(query: &str) -> Result<(Option<i64>, usize), Refused> {
    let (mut after, mut limit) = (None, DEFAULT_PAGE);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let wrong = || Refused::asked_wrongly(format!("{name}={value} is not a number"));
        match name {
            "after" => after = Some(value.parse().map_err(|_| wrong())?),
            "limit" => limit = value.parse().map_err(|_| wrong())?,
            _ => {
                return Err(Refused::asked_wrongly(format!(
                    "unknown parameter {name:?}; there are after and limit"
                )));
            }
        }
    }
    Ok((after, limit))
}

/// The request's body as JSON; none at all is what the type has as its default.
async fn body_of<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refused> {
    let body = Limited::new(request.into_body(), LARGEST_BODY);
    let bytes = body
        .collect()
        .await
        .map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                Refused {
                    status: StatusCode::PAYLOAD_TOO_LARGE,
                    message: format!("the body is larger than {LARGEST_BODY} bytes"),
                }
            } else {
                Refused::asked_wrongly("the body did not arrive")
            }
        })?
        .to_bytes();
    let json = if bytes.is_empty() { b"{}" } else { &*bytes };
    serde_json::from_slice(json)
        .map_err(|error| Refused::asked_wrongly(format!("the body: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_percent_encoded_and_a_path_has_a_name_and_a_verb() {
        assert_eq!(
            addressed("/spool%3Asqs%3Ahttps%3A%2F%2Fx%2Forders/messages"),
            Some(("spool:sqs:https://x/orders".to_owned(), Verb::Messages))
        );
        for other in [
            "/orders",
            "/orders/",
            "/orders/nonsense",
            "x/y",
            "/a/b/purge",
            "/%ff/purge",
        ] {
            assert_eq!(addressed(other), None, "{other}");
        }
    }

    #[test]
    fn a_page_is_asked_for_in_numbers() {
        assert_eq!(page_of(""), Ok((None, DEFAULT_PAGE)));
        assert_eq!(page_of("after=-5&limit=3"), Ok((Some(-5), 3)));
        for wrong in ["after=x", "limit=-1", "limit", "page=2"] {
            assert_eq!(
                page_of(wrong).unwrap_err().status,
                StatusCode::BAD_REQUEST,
                "{wrong}"
            );
        }
    }
}
