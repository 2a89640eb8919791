//! `/v1/deployments` and what is below it. Who changes what runs is one task elsewhere; here it is asked, over a channel,
//! and what it has told last is shown.

mod view;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::api::{body_within, refusal};
use super::guard::Guard;
use super::queues::Refused;
use super::{json_response, not_allowed};

pub use view::{
    CanaryOrder, CanaryView, Deploy, Done, FileText, Listing, Rollback, Seen, Status, Texts, Told,
};

/// The largest body: the files of a configuration.
const LARGEST_BODY: usize = 16 << 20;
/// Questions that may wait for the one who deploys.
const WAITING: usize = 64;

/// What is asked of the one who deploys, with the place for the answer.
pub enum Asked {
    Deploy(Deploy, Answer<Done>),
    Canary(CanaryOrder, Answer<Done>),
    Rollback(Rollback, Answer<Done>),
    /// The files of a deployment, by its id or the beginning of one; without, of the one that runs.
    Texts(Option<String>, Answer<Texts>),
}

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<Result<T, Refused>>;

/// The listener's end.
#[derive(Clone)]
pub struct Desk {
    asked: mpsc::Sender<Asked>,
    listing: Arc<ArcSwap<Listing>>,
}

/// The end of the one who deploys.
pub struct Orders {
    pub asked: mpsc::Receiver<Asked>,
    pub listing: Arc<ArcSwap<Listing>>,
}

impl Desk {
    /// Both ends.
    pub fn new() -> (Desk, Orders) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let listing: Arc<ArcSwap<Listing>> = Arc::default();
        let desk = Desk {
            asked: sender,
            listing: listing.clone(),
        };
        let orders = Orders {
            asked: receiver,
            listing,
        };
        (desk, orders)
    }

    /// What was told last.
    pub fn listing(&self) -> Arc<Listing> {
        self.listing.load_full()
    }

    async fn ask<T>(&self, asked: impl FnOnce(Answer<T>) -> Asked) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        let gone = || Refused::unavailable("the gateway starts, or ends");
        self.asked.send(asked(reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Answers a request to `/v1/deployments…`.
pub(super) async fn answer(
    desk: &Desk,
    guard: &Guard,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    match perform(desk, guard, request).await {
        Ok(response) => response,
        Err(refused) => refusal(&refused),
    }
}

async fn perform(
    desk: &Desk,
    guard: &Guard,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refused> {
    let below = request.uri().path().trim_start_matches("/v1/deployments");
    let below = below.trim_start_matches('/').to_owned();
    let is_get = [Method::GET, Method::HEAD].contains(request.method());
    let is_post = request.method() == Method::POST;
    match (&*below, is_get, is_post) {
        ("", true, _) => ok(&*desk.listing()),
        ("", _, true) => {
            guard.may_write(request.headers())?;
            let deploy: Deploy = body_within(request, LARGEST_BODY).await?;
            ok(&desk.ask(|answer| Asked::Deploy(deploy, answer)).await?)
        }
        ("canary", _, true) => {
            guard.may_write(request.headers())?;
            let order: CanaryOrder = body_within(request, LARGEST_BODY).await?;
            ok(&desk.ask(|answer| Asked::Canary(order, answer)).await?)
        }
        ("rollback", _, true) => {
            guard.may_write(request.headers())?;
            let rollback: Rollback = body_within(request, LARGEST_BODY).await?;
            ok(&desk.ask(|answer| Asked::Rollback(rollback, answer)).await?)
        }
        ("canary" | "rollback", ..) => Ok(not_allowed("POST")),
        ("", ..) => Ok(not_allowed("GET, HEAD, POST")),
        // What is written in a route file is for whoever may see messages.
        (id, true, _) => {
            guard.may_read(request.headers())?;
            let id = (id != "running").then(|| id.to_owned());
            ok(&desk.ask(|answer| Asked::Texts(id, answer)).await?)
        }
        _ => Ok(not_allowed("GET, HEAD")),
    }
}

fn ok(body: &impl Serialize) -> Result<Response<Full<Bytes>>, Refused> {
    Ok(json_response(StatusCode::OK, body))
}
