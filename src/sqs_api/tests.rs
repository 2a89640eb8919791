use http_body_util::BodyExt as _;
use serde_json::json;

use super::*;
use crate::authn::sigv4::{SecretText, User};
use crate::aws;
use crate::model::secret::Secret;
use crate::store::{Options, QueueSpec, Store};

/// 2026-11-22T00:00:00Z
const NOW_MS: i64 = 1_795_305_600_000;

async fn open_store(directory: &std::path::Path) -> Store {
    let options = Options {
        min_free: 0,
        ..Options::new(directory)
    };
    let store = Store::open(options).unwrap();
    store.declare(vec![QueueSpec::new("q")]).await.unwrap();
    store
}

fn api(state: StoreState, access: Access) -> SqsApi {
    let clients = aws::Clients::new(aws::Settings::default());
    let targets = Arc::new(Targets::new(clients, state));
    let clock = Clock::manual(NOW_MS);
    SqsApi::new(targets, access, "us-east-1".into(), clock, Metrics::new())
}

async fn asked(api: &SqsApi, request: Request<Full<Bytes>>) -> (u16, String, String) {
    asked_until(api, request, &Leaving::default()).await
}

async fn asked_until(
    api: &SqsApi,
    request: Request<Full<Bytes>>,
    leaving: &Leaving,
) -> (u16, String, String) {
    let response = api.answer(request, leaving).await;
    let code = response.headers().get("x-amzn-query-error");
    let code = code.map_or(String::new(), |code| code.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, code, String::from_utf8(body.to_vec()).unwrap())
}

fn json_request(action: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::post("/")
        .header("host", "gate:9324")
        .header("x-amz-target", format!("AmazonSQS.{action}"))
        .body(Full::from(body.to_string()))
        .unwrap()
}

#[tokio::test]
async fn without_a_store_that_is_open_every_action_is_a_503_that_sdks_repeat() {
    for state in [
        StoreState::Absent,
        StoreState::Unavailable("secret path".into()),
    ] {
        let api = api(state, Access::Anonymous);
        for action in Action::ALL {
            let (status, code, body) = asked(&api, json_request(action.name(), &json!({}))).await;
            assert_eq!(
                (status, code.as_str()),
                (503, "ServiceUnavailable;Receiver"),
                "{body}"
            );
            assert!(!body.contains("secret path"), "{body}");
        }
    }
}

#[tokio::test]
async fn every_action_has_its_answer_to_a_request_that_says_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(
        StoreState::Open(open_store(directory.path()).await),
        Access::Anonymous,
    );
    for action in Action::ALL {
        let (status, code, _) = asked(&api, json_request(action.name(), &json!({}))).await;
        let expected = match action {
            Action::ListQueues => (200, ""),
            _ => (400, "MissingParameter;Sender"),
        };
        assert_eq!((status, code.as_str()), expected, "{action:?}");
        let labels = SqsRequest {
            action: action.name(),
            code: if status == 200 {
                "ok"
            } else {
                "MissingParameter"
            },
        };
        assert_eq!(api.0.metrics.sqs_requests.get_or_create(&labels).get(), 1);
    }
}

#[tokio::test]
async fn both_protocols_see_the_same_queue() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(
        StoreState::Open(open_store(directory.path()).await),
        Access::Anonymous,
    );
    let (_, _, listed) = asked(&api, json_request("ListQueues", &json!({}))).await;
    assert_eq!(
        listed,
        r#"{"QueueUrls":["http://gate:9324/000000000000/q"]}"#
    );
    let sent = Request::get("/000000000000/q?Action=SendMessage&MessageBody=a%20b");
    let (status, _, sent) = asked(&api, sent.body(Full::default()).unwrap()).await;
    assert_eq!(status, 200, "{sent}");
    let receive = json!({ "QueueUrl": "http://gate:9324/000000000000/q" });
    let (_, _, received) = asked(&api, json_request("ReceiveMessage", &receive)).await;
    assert!(received.contains("\"Body\":\"a b\""), "{received}");
}

#[tokio::test]
async fn a_full_queue_is_a_503_and_a_batch_of_which_nothing_fits_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_store(directory.path()).await;
    let small = QueueSpec {
        max_size: Some(10),
        ..QueueSpec::new("small")
    };
    store.declare(vec![small]).await.unwrap();
    let api = api(StoreState::Open(store), Access::Anonymous);
    let url = "http://h/000000000000/small";
    let send = json!({ "QueueUrl": url, "MessageBody": "more than ten bytes" });
    assert_eq!(asked(&api, json_request("SendMessage", &send)).await.0, 503);
    let batch = json!({ "QueueUrl": url, "Entries": [{ "Id": "a", "MessageBody": "more than ten bytes" }] });
    assert_eq!(
        asked(&api, json_request("SendMessageBatch", &batch))
            .await
            .0,
        503
    );
}

#[tokio::test]
async fn who_cannot_be_known_is_refused_before_the_body_is_read() {
    let users = vec![User {
        name: "a".into(),
        access_key_id: "AKID".into(),
        secret_access_key: SecretText(Secret::new("s".into())),
        session_token: None,
        enabled: true,
        account: None,
        policy: None,
    }];
    let access = Access::Signed {
        users,
        region: None,
    };
    let api = api(StoreState::Absent, access);
    /// A body that must not be asked for.
    struct Untouched;
    impl Body for Untouched {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            panic!("the body was read")
        }
    }
    for authorization in [
        None,
        Some(
            "AWS4-HMAC-SHA256 Credential=NOBODY/20261122/r/sqs/aws4_request, SignedHeaders=host, Signature=0",
        ),
    ] {
        let mut request = Request::post("/")
            .header("host", "h")
            .header("x-amz-target", "AmazonSQS.ListQueues");
        if let Some(authorization) = authorization {
            request = request
                .header("authorization", authorization)
                .header("x-amz-date", "20261122T000000Z");
        }
        let request = request.body(Untouched).unwrap();
        let response = api.answer(request, &Leaving::default()).await;
        assert_eq!(response.status(), 403);
    }
}

#[test]
fn no_two_codes_are_spelled_alike_but_those_of_unknown_actions() {
    let mut seen = std::collections::HashMap::new();
    for code in Code::ALL {
        let spelling = code.spelling();
        assert!((400..600).contains(&spelling.status), "{code:?}");
        if let Some(other) = seen.insert((spelling.query, spelling.status), code) {
            panic!("{code:?} and {other:?}");
        }
    }
}

#[tokio::test]
async fn a_long_poll_ends_when_its_client_leaves_and_takes_no_message_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_store(directory.path()).await;
    let api = api(StoreState::Open(store.clone()), Access::Anonymous);
    let poll = json!({ "QueueUrl": "http://gate:9324/000000000000/q", "WaitTimeSeconds": 20 });
    let leaving = Leaving::default();
    let polling = asked_until(&api, json_request("ReceiveMessage", &poll), &leaving);
    tokio::pin!(polling);
    let waiting = || store.stats().queues[0].receives_waiting;
    while waiting() == 0 {
        assert!(futures_util::poll!(&mut polling).is_pending());
        tokio::task::yield_now().await;
    }
    leaving.begin();
    assert_eq!(polling.await, (200, String::new(), "{}".to_owned()));
    assert_eq!(waiting(), 0);

    let sent = json!({ "QueueUrl": "http://gate:9324/000000000000/q", "MessageBody": "a" });
    assert_eq!(asked(&api, json_request("SendMessage", &sent)).await.0, 200);
    let (_, _, received) = asked(&api, json_request("ReceiveMessage", &poll)).await;
    assert!(received.contains("\"Body\":\"a\""), "{received}");
}
