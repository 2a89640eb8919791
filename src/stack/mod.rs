//! What wraps every request alike, whatever its route: the seam between the connection plane and the pipeline. Ids are
//! minted with the call and panics are caught around its life (`pipeline::handle`), so that both end in the same
//! exchange; what never became a request is written down here.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::listen::{Leaving, Malformed, Serve};
use crate::model::peer::Peer;
use crate::model::phase::Phase;
use crate::pipeline::{self, Gateway};
use crate::telemetry::Exchange;
use crate::telemetry::exchange::Refusal;

/// The service of every listener.
#[derive(Clone)]
pub struct Front(pub Arc<Gateway>);

impl Serve for Front {
    type Body = Full<Bytes>;

    fn admits(&self, peer: &Peer) -> bool {
        let plan = self.0.current.load();
        let listener = plan.listener(&peer.listener);
        listener.is_none_or(|listener| listener.access.admits(peer.remote.ip()).is_ok())
    }

    async fn call(
        &self,
        request: Request<Incoming>,
        peer: &Arc<Peer>,
        leaving: &Leaving,
    ) -> Response<Full<Bytes>> {
        pipeline::handle(&self.0, request, peer, leaving).await
    }

    fn malformed(&self, peer: &Arc<Peer>, what: Malformed) {
        let plan = self.0.current.load();
        let refusal = Refusal {
            phase: Phase::Listen,
            code: what.kind.code(),
            status: what.status.unwrap_or_default(),
            cause: what.reason.into_owned(),
        };
        // What is malformed names no host that could be believed.
        let facts = match plan.apis.as_slice() {
            [only] => (only.name.clone(), only.stage.clone()),
            _ => Default::default(),
        };
        Exchange::malformed(
            self.0.telemetry.clone(),
            peer.clone(),
            what.id,
            what.status,
            refusal,
            facts,
        );
    }
}
