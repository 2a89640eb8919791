use std::time::Duration;

use aws_types::region::Region;
use aws_types::sdk_config::Builder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::aws::credentials;

/// A server that gives these answers one after the other, each on a connection of its own, and tells what it was sent.
async fn server(answers: Vec<String>) -> (String, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (told, heard) = unbounded_channel();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            while !text.ends_with("\r\n\r\n{}") {
                let mut bytes = vec![0; 4096];
                let read = stream.read(&mut bytes).await.unwrap();
                text.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
            told.send(text).unwrap();
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, heard)
}

fn clients(credentials: Credentials, settings: impl FnOnce(Builder) -> Builder) -> Clients {
    Clients::ready_with(credentials::for_tests(credentials, settings))
}

fn temporary() -> Credentials {
    let end = SystemTime::now() + Duration::from_secs(3600);
    let (key, secret) = ("ASIATEST", "hunter2");
    let mut credentials = Credentials::builder()
        .access_key_id(key)
        .secret_access_key(secret)
        .session_token("token/+=")
        .expiry(end)
        .provider_name("test");
    credentials.set_account_id(Some("111122223333".into()));
    credentials.build()
}

async fn call(clients: &Clients) -> Result<Reply, CallError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let body = Bytes::from_static(b"{}");
    clients
        .call(Operation::PutRecords, None, body, deadline)
        .await
}

/// `x-amz-date` of a request.
fn date(request: &str) -> &str {
    let (_, rest) = request.split_once("x-amz-date: ").unwrap();
    rest.split("\r\n").next().unwrap()
}

fn skewed(date: &str) -> String {
    let body = r#"{"__type":"InvalidSignatureException","message":"Signature expired"}"#;
    let length = body.len();
    format!(
        "HTTP/1.1 400 No\r\ndate: {date}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_call_refused_for_its_time_is_signed_anew_once_with_the_service_s_time() {
    let theirs = "Tue, 01 Jan 2030 00:00:00 GMT";
    let ok = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}".to_owned();
    let answers = vec![skewed(theirs), ok.clone(), ok];
    let (address, mut heard) = server(answers).await;
    let clients = clients(temporary(), |config| config.endpoint_url(&address));
    call(&clients).await.unwrap();
    assert!(!date(&heard.recv().await.unwrap()).starts_with("2030"));
    assert!(date(&heard.recv().await.unwrap()).starts_with("20300101T0000"));
    call(&clients).await.unwrap();
    assert!(date(&heard.recv().await.unwrap()).starts_with("20300101T0000"));
}

#[tokio::test]
async fn a_service_that_refuses_every_time_is_asked_twice_and_believed() {
    let answers = [
        "Tue, 01 Jan 2030 00:00:00 GMT",
        "Tue, 01 Jan 2019 00:00:00 GMT",
    ];
    let (address, mut heard) = server(answers.map(skewed).to_vec()).await;
    let clients = clients(temporary(), |config| config.endpoint_url(&address));
    let refused = call(&clients).await;
    assert!(
        matches!(&refused, Err(CallError::Refused(refusal)) if refusal.code == "InvalidSignatureException"),
        "{refused:?}"
    );
    assert!(heard.recv().await.is_some() && heard.recv().await.is_some());
    assert!(heard.recv().await.is_none());
}

#[tokio::test]
async fn a_call_says_who_we_are_and_carries_the_session_s_token() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned();
    let (address, mut heard) = server(vec![ok]).await;
    let clients = clients(temporary(), |config| {
        config.endpoint_url(format!("{address}/base/"))
    });
    call(&clients).await.unwrap();
    let asked = heard.recv().await.unwrap();
    let host = address.strip_prefix("http://").unwrap();
    assert!(asked.starts_with("POST /base/ HTTP/1.1\r\n"), "{asked}");
    for header in [
        &format!("host: {host}"),
        "x-amz-target: Kinesis_20131202.PutRecords",
        "content-type: application/x-amz-json-1.1",
        "x-amz-security-token: token/+=",
        concat!("user-agent: penstock/", env!("CARGO_PKG_VERSION")),
        "content-length: 2",
    ] {
        assert!(
            asked.contains(&format!("\r\n{header}\r\n")),
            "{header}: {asked}"
        );
    }
    let signed = "/eu-west-1/kinesis/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=";
    assert!(asked.contains(signed), "{asked}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let length = MAX_ANSWER + 1;
    for head in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"),
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{}",
            " ".repeat(length)
        ),
    ] {
        let (address, _heard) = server(vec![head]).await;
        let clients = clients(temporary(), |config| config.endpoint_url(&address));
        let lost = call(&clients).await;
        assert!(matches!(lost, Err(CallError::Lost { .. })), "{lost:?}");
    }
}

/// Where the SDK's own rules send a call.
async fn place(of: Of, region: &str, settings: impl FnOnce(Builder) -> Builder) -> String {
    let clients = clients(temporary(), |config| {
        settings(config.region(Region::new("eu-west-1")))
    });
    let http = Http::new(Matcher::builder().build());
    let destination = clients
        .inner()
        .destination(of, region, &http)
        .await
        .unwrap();
    destination.uri.to_string()
}

#[tokio::test]
async fn calls_go_where_the_sdk_s_rules_send_them() {
    let plain = |config: Builder| config;
    let fips = |config: Builder| config.use_fips(true);
    let dual = |config: Builder| config.use_dual_stack(true);
    assert_eq!(
        place(Of::Sqs, "eu-west-1", plain).await,
        "https://sqs.eu-west-1.amazonaws.com/"
    );
    assert_eq!(
        place(Of::Sqs, "cn-north-1", plain).await,
        "https://sqs.cn-north-1.amazonaws.com.cn/"
    );
    assert_eq!(
        place(Of::Sqs, "us-east-1", fips).await,
        "https://sqs-fips.us-east-1.amazonaws.com/"
    );
    assert_eq!(
        place(Of::EventBridge, "eu-west-1", dual).await,
        "https://events.eu-west-1.api.aws/"
    );
    assert_eq!(
        place(Of::Kinesis, "eu-west-1", plain).await,
        "https://111122223333.data-kinesis.eu-west-1.amazonaws.com/"
    );
}

#[tokio::test]
async fn what_is_signed_with_is_kept_until_the_day_or_the_credentials_change() {
    let clients = clients(temporary(), |config| config);
    let http = Http::new(Matcher::builder().build());
    let day = Stamp::of(SystemTime::UNIX_EPOCH);
    let next = Stamp::of(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400));
    let (one, other) = (Arc::new(temporary()), Arc::new(temporary()));
    let signing = |credentials: &Arc<Credentials>, stamp: &Stamp| {
        let (clients, http) = (clients.clone(), http.clone());
        let (credentials, stamp) = (credentials.clone(), stamp.clone());
        async move {
            let made = clients.inner();
            let made = made.signing(Of::Sqs, "eu-west-1", credentials, &stamp, &http);
            made.await.unwrap()
        }
    };
    let first = signing(&one, &day).await;
    assert!(Arc::ptr_eq(&first, &signing(&one, &day).await));
    for (credentials, stamp) in [(&one, &next), (&other, &day)] {
        let changed = signing(credentials, stamp).await;
        assert!(!Arc::ptr_eq(&first, &changed));
        assert!(Arc::ptr_eq(&first.destination, &changed.destination));
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_endpoint_is_said_in_the_sdk_s_words() {
    let clients = clients(temporary(), |config| {
        config.use_fips(true).endpoint_url("http://x")
    });
    let refused = call(&clients).await;
    assert!(
        matches!(&refused, Err(CallError::Setup { reason, .. }) if reason.contains("FIPS")),
        "{refused:?}"
    );
}
