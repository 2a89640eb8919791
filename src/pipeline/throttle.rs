//! Limits of number, at three points of a request's life: before anyone has been asked who they are, when the head has
//! proven the caller, and when the body has. A request that fails to prove its caller takes no token of the route's.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;
use http::header::HeaderValue;

use super::Answer;
use super::map::RequestSources;
use super::rejection::Rejection;
use super::route::Found;
use super::verify::Payload;
use crate::config::Dialect;
use crate::limit::admission::Admitted;
use crate::limit::shared::SharedKey;
use crate::limit::{BucketSpec, Empty, Level, Place, RateLimits};
use crate::model::call::Call;
use crate::model::phase::Phase;
use crate::plan::Route;
use crate::plan::throttle::{Step, Throttle, Throttles, WhenGone, Who};
use crate::telemetry::Exchange;

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Why a request is one too many.
#[derive(Debug, thiserror::Error)]
pub enum ThrottleError {
    #[error("the bucket `{bucket}` is empty")]
    Empty {
        bucket: Arc<str>,
        /// Whether it is a bucket of the caller's own.
        own: bool,
        empty: Empty,
        /// This bucket and those before it.
        told: RateLimits,
    },
    #[error("the address has brought too many wrong credentials")]
    Failures(Empty),
    #[error("the caller has {limit} requests under way (`{name}`)")]
    CallerBusy { name: Arc<str>, limit: usize },
    #[error("the route has {0} requests under way")]
    RouteBusy(usize),
    #[error("the bucket `{bucket}` is shared, and {why}")]
    SharedGone {
        bucket: Arc<str>,
        why: crate::limit::shared::Gone,
    },
}

/// What limits hold of a request until it ends, and what its answer tells of them.
#[derive(Debug, Default)]
pub(super) struct Passage {
    places: Vec<Place>,
    told: RateLimits,
}

/// Places that a request holds: given back when it has ended, and whatever it began.
#[derive(Debug)]
pub(super) struct Held {
    _admitted: Admitted,
    _places: Vec<Place>,
}

/// Buckets that Redis is to be asked for.
struct Asked<'r> {
    shared: Vec<(&'r Arc<Throttle>, Who)>,
    /// Tokens to put back if it refuses.
    taken: Vec<(&'r Arc<Throttle>, Who)>,
}

/// Before anyone has been asked who they are.
pub(super) async fn early(
    found: &Found<'_>,
    call: &Call,
    passage: &mut Passage,
    x: &mut Exchange,
) -> Result<(), Rejection> {
    let Some(throttles) = &found.route.throttles else {
        return Ok(());
    };
    failures(throttles, call)?;
    if !throttles.early.is_empty() {
        step(&throttles.early, found, call, &Bytes::new(), passage, x).await?;
    }
    x.passed(Phase::Throttle);
    Ok(())
}

/// Before the body is looked at for proof. The requests of one address that are under way together have all been let
/// in before the first of them was found wrong; here, where proof costs the most, that is known.
pub(super) fn before_proof(route: &Route, call: &Call) -> Result<(), Rejection> {
    match &route.throttles {
        Some(throttles) if route.proven_by_body => failures(throttles, call),
        _ => Ok(()),
    }
}

/// Whether the address has brought too many wrong credentials.
fn failures(throttles: &Throttles, call: &Call) -> Result<(), Rejection> {
    if let Some(guard) = &throttles.failures
        && let Err(empty) = guard.check(call.source_ip())
    {
        guard.refused.inc();
        if !guard.dry_run {
            return Err(ThrottleError::Failures(empty).into());
        }
    }
    Ok(())
}

/// When the head has proven who calls, and that they may.
pub(super) async fn after_authentication(
    found: &Found<'_>,
    call: &Call,
    passage: &mut Passage,
    x: &mut Exchange,
) -> Result<(), Rejection> {
    match &found.route.throttles {
        Some(throttles) if !throttles.authenticated.is_empty() => {
            let asked = &throttles.authenticated;
            step(asked, found, call, &Bytes::new(), passage, x).await?;
            x.passed(Phase::Throttle);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// When the body has.
pub(super) async fn after_verify(
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    passage: &mut Passage,
    x: &mut Exchange,
) -> Result<(), Rejection> {
    match &found.route.throttles {
        Some(throttles) if !throttles.verified.is_empty() => {
            let asked = &throttles.verified;
            step(asked, found, call, payload.bytes(), passage, x).await?;
            x.passed(Phase::Throttle);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A refusal of wrong credentials is charged to the address that they came from.
pub(super) fn refused(route: &Route, call: &Call, rejection: &Rejection) {
    let guard = route.throttles.as_ref();
    if let Rejection::Authn(error) = rejection
        && error.wrong_credentials
        && let Some(guard) = guard.and_then(|throttles| throttles.failures.as_ref())
    {
        guard.failed(call.source_ip());
    }
}

async fn step(
    step: &Step,
    found: &Found<'_>,
    call: &Call,
    body: &Bytes,
    passage: &mut Passage,
    x: &Exchange,
) -> Result<(), Rejection> {
    match local(step, found, call, body, passage, x)? {
        None => Ok(()),
        Some(asked) => shared(asked, passage).await.map_err(Rejection::from),
    }
}

/// All that this instance knows by itself. What Redis is to be asked is given back.
fn local<'r>(
    step: &'r Step,
    found: &Found<'_>,
    call: &Call,
    body: &Bytes,
    passage: &mut Passage,
    x: &Exchange,
) -> Result<Option<Asked<'r>>, ThrottleError> {
    let sources = RequestSources {
        call,
        variables: &found.variables,
        path: found.path,
        body,
        context: x,
    };
    let address = call.source_ip();
    for throttle in step.look.iter().filter(|throttle| !throttle.dry_run) {
        if let Err(empty) = throttle.peek(&throttle.who(address, &sources)) {
            throttle.refused.inc();
            return Err(passage.empty(throttle, empty));
        }
    }
    for limit in &step.places {
        let who = limit.who(address, &sources);
        let place = if limit.dry_run {
            let (place, within) = limit.places.take_anyway(who.bytes());
            if !within {
                limit.refused.inc();
            }
            place
        } else {
            limit.places.take(who.bytes())
        };
        match place {
            Some(place) => passage.places.push(place),
            None => {
                limit.refused.inc();
                let (name, limit, each) = (&limit.name, limit.places.limit(), &limit.key);
                return Err(match each {
                    Some(_) => ThrottleError::CallerBusy {
                        name: name.clone(),
                        limit,
                    },
                    None => ThrottleError::RouteBusy(limit),
                });
            }
        }
    }
    for (at, throttle) in step.take.iter().enumerate() {
        let taken = throttle.take(&throttle.who(address, &sources));
        if let Err(refusal) = passage.note(throttle, taken) {
            for taken in step.take[..at].iter() {
                // A bucket that only counts may not have had a token: then one too many is put back, which it outlives.
                if !taken.dry_run {
                    taken.give_back(&taken.who(address, &sources));
                }
            }
            return Err(refusal);
        }
    }
    if step.shared.is_empty() {
        return Ok(None);
    }
    let with_key = |throttle: &'r Arc<Throttle>| (throttle, throttle.who(address, &sources));
    Ok(Some(Asked {
        shared: step.shared.iter().map(with_key).collect(),
        taken: step.take.iter().map(with_key).collect(),
    }))
}

/// One round trip for all buckets that Redis keeps.
async fn shared(asked: Asked<'_>, passage: &mut Passage) -> Result<(), ThrottleError> {
    let servers = asked
        .shared
        .iter()
        .filter_map(|(one, _)| one.shared.as_ref());
    let timeout = servers.clone().map(|server| server.timeout).min();
    let Some((server, timeout)) = servers.clone().next().zip(timeout) else {
        return Ok(());
    };
    let keys: Vec<SharedKey> = asked
        .shared
        .iter()
        .filter_map(|(throttle, who)| throttle.shared_key(who))
        .collect();
    let answer = server.store.take(&keys, timeout).await;
    let mut refusal = None;
    // Taken from the stand-ins of buckets that Redis did not answer for.
    let mut stood_in = Vec::new();
    for (at, (throttle, who)) in asked.shared.iter().enumerate() {
        let taken = match &answer {
            // As many answers as buckets.
            Ok(levels) => levels.get(at).copied().map(Ok),
            Err(why) => Some(Err(*why)),
        };
        let when_gone = throttle.shared.as_ref().map(|shared| shared.when_gone);
        let noted = match (taken, when_gone) {
            (Some(Ok(taken)), _) => passage.note(throttle, taken),
            (Some(Err(_)), Some(WhenGone::Local)) => {
                let taken = throttle.take(who);
                if taken.is_ok() {
                    stood_in.push((throttle, who));
                }
                passage.note(throttle, taken)
            }
            (Some(Err(why)), Some(WhenGone::Closed)) => {
                throttle.refused.inc();
                let bucket = throttle.name.clone();
                match throttle.dry_run {
                    true => Ok(()),
                    false => Err(ThrottleError::SharedGone { bucket, why }),
                }
            }
            (Some(Err(_)), Some(WhenGone::Open)) | (None, _) | (_, None) => Ok(()),
        };
        refusal = refusal.or(noted.err());
    }
    let Some(refusal) = refusal else {
        return Ok(());
    };
    let taken = asked.taken.iter().map(|(throttle, who)| (throttle, who));
    for (throttle, who) in taken.chain(stood_in) {
        if !throttle.dry_run {
            throttle.give_back(who);
        }
    }
    Err(refusal)
}

impl Passage {
    /// Notes what a bucket said; an error where it refuses.
    fn note(
        &mut self,
        throttle: &Throttle,
        taken: Result<Level, Empty>,
    ) -> Result<(), ThrottleError> {
        match taken {
            Ok(level) => {
                if throttle.headers {
                    self.told.passed(&throttle.name, &level);
                }
                Ok(())
            }
            Err(empty) => {
                throttle.refused.inc();
                match throttle.dry_run {
                    true => Ok(()),
                    false => Err(self.empty(throttle, empty)),
                }
            }
        }
    }

    fn empty(&self, throttle: &Throttle, empty: Empty) -> ThrottleError {
        let mut told = self.told.clone();
        told.refused(&throttle.name, &empty);
        ThrottleError::Empty {
            bucket: throttle.name.clone(),
            own: throttle.key.is_some(),
            empty,
            told,
        }
    }

    /// The places, for whoever ends last.
    pub(super) fn hold(&mut self, admitted: Admitted) -> Held {
        Held {
            _admitted: admitted,
            _places: std::mem::take(&mut self.places),
        }
    }

    /// Tells the caller what is left, unless the answer says already what is not.
    pub(super) fn tell(&self, dialect: Dialect, answer: &mut Answer) {
        if dialect != Dialect::Native || answer.headers().contains_key(RATE_LIMIT) {
            return;
        }
        let Some((limits, policies)) = self.told.headers() else {
            return;
        };
        for (name, value) in [(RATE_LIMIT, limits), (RATE_LIMIT_POLICY, policies)] {
            // Names of buckets hold nothing that a header cannot.
            if let Ok(value) = HeaderValue::from_str(&value) {
                answer.headers_mut().insert(name, value);
            }
        }
    }
}

impl ThrottleError {
    /// `Retry-After`, in seconds.
    pub(super) fn retry_after(&self) -> u64 {
        match self {
            ThrottleError::Empty { empty, .. } | ThrottleError::Failures(empty) => {
                empty.retry_after()
            }
            ThrottleError::CallerBusy { .. }
            | ThrottleError::RouteBusy(_)
            | ThrottleError::SharedGone { .. } => 1,
        }
    }

    /// What the caller is told.
    pub(super) fn detail(&self) -> String {
        match self {
            ThrottleError::Empty { empty, own, .. } => {
                let BucketSpec { rate, .. } = empty.spec;
                let after = empty.retry_after();
                match (empty.wait, own) {
                    (None, _) => "This route takes no requests at present.".to_owned(),
                    (_, false) => {
                        format!(
                            "This route takes {rate} requests a second. Try again in {after} s."
                        )
                    }
                    (_, true) => format!(
                        "This route takes {rate} requests a second of each caller. Try again in {after} s."
                    ),
                }
            }
            ThrottleError::Failures(empty) => format!(
                "Too many wrong credentials came from this address. Try again in {} s.",
                empty.retry_after()
            ),
            ThrottleError::CallerBusy { limit, .. } => {
                format!("This route takes {limit} requests at once of each caller.")
            }
            ThrottleError::RouteBusy(limit) => {
                format!("This route takes {limit} requests at once.")
            }
            ThrottleError::SharedGone { .. } => {
                "The limits of this route cannot be checked at present.".to_owned()
            }
        }
    }
}

impl From<ThrottleError> for Rejection {
    fn from(error: ThrottleError) -> Rejection {
        Rejection::Throttled(Box::new(error))
    }
}
