//! What a mapping makes of a request, and what SQS is told of it.

use std::hint::black_box;

use bytes::Bytes;
use indexmap::IndexMap;
use penstock::aws::Body;
use penstock::mapping::{Expression, Scope, Side, Source, Sources, select};
use penstock::model::call::Call;
use penstock::model::message::md5_of_body;
use penstock::model::path::ConfigPath;
use penstock::model::problem::Problems;
use penstock::model::text::Text;

use super::Work;

struct Values {
    call: Call,
    body: Bytes,
}

/// As the pipeline's own, for the sources that are named here.
impl Sources for Values {
    fn get(&self, source: &Source) -> Result<Option<Bytes>, String> {
        match source {
            Source::Body => Ok(Some(self.body.clone())),
            Source::BodyField(selector) => select(selector, &self.body),
            Source::Header(name) => {
                let value = self.call.headers.get(name);
                Ok(value.map(|value| Bytes::copy_from_slice(value.as_bytes())))
            }
            _ => Ok(None),
        }
    }
}

pub fn whole_body() -> Work {
    resolve("$request.body")
}

pub fn text() -> Work {
    resolve("${request.header.user-agent}:${request.body.customer.tier}")
}

fn resolve(written: &str) -> Work {
    let stage_variables = IndexMap::new();
    let scope = Scope {
        side: Side::Request,
        path_variables: &[],
        stage_variables: &stage_variables,
        webhook: None,
        integration_fields: None,
    };
    let mut problems = Problems::default();
    let text = Text::written(written);
    let compiled = Expression::compile(&text, &ConfigPath::root(), &scope, &mut problems);
    let Some(expression) = compiled else {
        panic!("{written}: {:?}", problems.0);
    };
    let values = Values {
        call: super::call(&[]),
        body: super::body(),
    };
    Box::new(move || {
        black_box(expression.resolve("MessageBody", &values).is_ok());
    })
}

pub fn md5() -> Work {
    let body = super::body();
    Box::new(move || {
        black_box(md5_of_body(&body));
    })
}

/// The JSON of a call, as the lean client writes it.
pub fn batch() -> Work {
    let body = super::body();
    let text = String::from_utf8_lossy(&body).into_owned();
    let url = "https://sqs.eu-west-1.amazonaws.com/111122223333/orders";
    Box::new(move || {
        let mut json = Body::with_capacity(12 << 10);
        json.raw("{\"QueueUrl\":").text(url).raw(",\"Entries\":[");
        for entry in 0..10 {
            json.raw(if entry == 0 { "{" } else { ",{" });
            json.raw("\"Id\":\"").number(entry).raw("\"");
            json.member("MessageBody").text(&text).raw("}");
        }
        json.raw("]}");
        black_box(json.finish());
    })
}
