//! What a good Rust team writes by hand: axum, the AWS SDK as it comes, one call a request, mimalloc. No key is asked
//! for, nothing is throttled, counted or logged: what the gateway does beside is the gateway's own cost.

use aws_config::BehaviorVersion;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;

use crate::support::Outcome;

type Answer = (StatusCode, String);

pub async fn sqs(endpoint: &str) -> Outcome<()> {
    let client = aws_sdk_sqs::Client::new(&settings(endpoint).await);
    let send = |State(client): State<aws_sdk_sqs::Client>, body: Bytes| async move {
        let Some(body) = text(&body) else {
            return refused("the body is no text");
        };
        let sent = client
            .send_message()
            .queue_url("https://sqs.eu-west-1.amazonaws.com/111122223333/orders")
            .message_body(body);
        match Box::pin(sent.send()).await {
            Ok(sent) => stored(sent.message_id()),
            Err(_) => failed(),
        }
    };
    serve(
        Router::new()
            .route("/orders", post(send))
            .with_state(client),
    )
    .await
}

pub async fn kinesis(endpoint: &str) -> Outcome<()> {
    let client = aws_sdk_kinesis::Client::new(&settings(endpoint).await);
    let put = |State(client): State<aws_sdk_kinesis::Client>, body: Bytes| async move {
        let put = client
            .put_record()
            .stream_name("clicks")
            .partition_key(uuid::Uuid::new_v4().to_string())
            .data(aws_sdk_kinesis::primitives::Blob::new(body));
        match Box::pin(put.send()).await {
            Ok(put) => stored(Some(put.sequence_number())),
            Err(_) => failed(),
        }
    };
    serve(Router::new().route("/orders", post(put)).with_state(client)).await
}

pub async fn events(endpoint: &str) -> Outcome<()> {
    let client = aws_sdk_eventbridge::Client::new(&settings(endpoint).await);
    let put = |State(client): State<aws_sdk_eventbridge::Client>, body: Bytes| async move {
        let Some(body) = text(&body) else {
            return refused("the body is no text");
        };
        let entry = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder()
            .event_bus_name("hooks")
            .source("bench")
            .detail_type("order")
            .detail(body)
            .build();
        match Box::pin(client.put_events().entries(entry).send()).await {
            Ok(put) if put.failed_entry_count() == 0 => {
                stored(put.entries().first().and_then(|entry| entry.event_id()))
            }
            _ => failed(),
        }
    };
    serve(Router::new().route("/orders", post(put)).with_state(client)).await
}

async fn settings(endpoint: &str) -> aws_config::SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::latest());
    Box::pin(loader.endpoint_url(format!("http://{endpoint}")).load()).await
}

async fn serve(router: Router) -> Outcome<()> {
    use axum::serve::ListenerExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // Without it answers wait for the client's delayed acknowledgement; the connection serves either way.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}

fn text(body: &Bytes) -> Option<String> {
    std::str::from_utf8(body).ok().map(str::to_owned)
}

fn stored(id: Option<&str>) -> Answer {
    let id = id.unwrap_or_default();
    (StatusCode::ACCEPTED, format!("{{\"messageId\":\"{id}\"}}"))
}

fn refused(why: &str) -> Answer {
    (StatusCode::BAD_REQUEST, why.to_owned())
}

fn failed() -> Answer {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "the target has failed".to_owned(),
    )
}
