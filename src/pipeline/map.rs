//! Parameter mapping: a request to the service's call.

use bytes::Bytes;

use super::rejection::Rejection;
use super::route::Found;
use super::verify::Payload;
use crate::integration::Request;
use crate::mapping::{Source, Sources, select};
use crate::model::call::Call;
use crate::model::context::ContextSource;
use crate::plan::Variables;

/// The values of a request, for expressions.
pub struct RequestSources<'r> {
    pub call: &'r Call,
    pub variables: &'r Variables,
    /// The path below the stage, as received.
    pub path: &'r str,
    pub body: &'r Bytes,
    pub context: &'r dyn ContextSource,
}

impl Sources for RequestSources<'_> {
    fn get(&self, source: &Source) -> Result<Option<Bytes>, String> {
        Ok(match source {
            Source::Header(name) => {
                let mut values = self.call.headers.get_all(name).iter();
                let first = values.next();
                first.map(|first| {
                    let first = Bytes::copy_from_slice(first.as_bytes());
                    values.fold(first, |joined, value| {
                        [&joined, b",".as_slice(), value.as_bytes()].concat().into()
                    })
                })
            }
            Source::Query(name) => self.call.query(name).map(Bytes::from),
            Source::Path => Some(Bytes::copy_from_slice(self.path.as_bytes())),
            Source::PathVariable(name) => self
                .variables
                .iter()
                .find(|(known, _)| **known == **name)
                .map(|(_, value)| Bytes::copy_from_slice(value.as_bytes())),
            Source::Body => Some(self.body.clone()),
            Source::BodyField(selector) => return select(selector, self.body),
            Source::Context(variable) => self
                .context
                .context(variable)
                .map(|value| Bytes::from(value.into_owned())),
            // These exist after the target's answer only; compiling has refused them elsewhere.
            Source::Integration(_)
            | Source::ResponseHeader(_)
            | Source::ResponseBody
            | Source::ResponseField(_) => None,
        })
    }

    fn call(&self) -> Option<&Call> {
        Some(self.call)
    }
}

/// The calls that the route makes of the request: one for each of its targets.
pub(super) fn records(
    found: &Found<'_>,
    call: &Call,
    payload: &Payload,
    context: &dyn ContextSource,
) -> Result<Vec<Request>, Rejection> {
    let sources = RequestSources {
        call,
        variables: &found.variables,
        path: found.path,
        body: payload.bytes(),
        context,
    };
    let route = &found.route;
    let targets = std::iter::once(&route.integration).chain(&route.copies);
    let mapped = targets.map(|target| target.map(&sources, &call.id));
    Ok(mapped.collect::<Result<_, _>>()?)
}
