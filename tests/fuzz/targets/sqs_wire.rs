//! The SQS wire protocol, both forms, over a store. Input: `METHOD target`, header lines, an empty line, the body.
//!
//! Whatever comes in has an answer of its protocol; none is our fault, and none breaks what comes after it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use penstock::aws;
use penstock::integration::{StoreState, Targets};
use penstock::listen::Leaving;
use penstock::sqs_api::{Access, SqsApi};
use penstock::store::{Clock, Options, QueueSpec, Store};
use penstock::telemetry::Metrics;

struct Service {
    runtime: tokio::runtime::Runtime,
    api: SqsApi,
    leaving: Leaving,
    _directory: tempfile::TempDir,
}

impl Service {
    fn start() -> Service {
        // a store in memory, where the machine has such a place: every send is synced
        let directory = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let api = runtime.block_on(async {
            let options = Options {
                min_free: 0,
                ..Options::new(directory.path().join("store"))
            };
            let store = Store::open(options).unwrap();
            let queues = ["orders", "ledger.fifo"].map(|name| QueueSpec {
                fifo: name.ends_with(".fifo"),
                ..QueueSpec::new(name)
            });
            store.declare(queues.to_vec()).await.unwrap();
            store.end_polls(); // nobody waits for messages here
            let clients = aws::Clients::new(aws::Settings::default());
            let targets = Arc::new(Targets::new(clients, StoreState::Open(store)));
            let region = "eu-west-1".to_owned();
            SqsApi::new(
                targets,
                Access::Anonymous,
                region,
                Clock::system(),
                Metrics::new(),
            )
        });
        Service {
            runtime,
            api,
            leaving: Leaving::default(),
            _directory: directory,
        }
    }

    fn ask(&self, request: Request<Full<Bytes>>) -> Response<Full<Bytes>> {
        let asking = self.api.answer(request, &self.leaving);
        let asking = async { tokio::time::timeout(Duration::from_secs(10), asking).await };
        self.runtime.block_on(asking).unwrap()
    }
}

thread_local! {
    static SERVICE: Service = Service::start();
}

pub fn run(data: &[u8]) {
    let (head, body) = super::head_and_body(data);
    let mut lines = head.lines();
    let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else {
        return;
    };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), target.parse::<Uri>()) else {
        return;
    };
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(body)));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = super::headers(lines);
    let is_json = request.headers().contains_key("x-amz-target");
    SERVICE.with(|service| {
        let answer = service.ask(request);
        let status = answer.status();
        assert!(
            status.is_success() || status.is_client_error(),
            "{status}: our fault?"
        );
        let content_type = answer.headers()[http::header::CONTENT_TYPE]
            .to_str()
            .unwrap();
        assert_eq!(content_type.contains("json"), is_json, "{content_type}");
        let listed = service.ask(
            Request::post("/")
                .body(Full::from("Action=ListQueues"))
                .unwrap(),
        );
        assert_eq!(listed.status(), StatusCode::OK);
    });
}
