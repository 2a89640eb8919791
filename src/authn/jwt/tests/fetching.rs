//! How keys are fetched: once for many, not too often, and what holds while the issuer is away.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// An issuer's server. What it answers can be changed at any time.
struct Provider {
    address: String,
    keys: Arc<Mutex<String>>,
    /// The status of everything; 0: no answer at all.
    status: Arc<AtomicU32>,
    key_fetches: Arc<AtomicU64>,
    /// The whole discovery document, in place of the right one.
    document: Arc<Mutex<Option<String>>>,
}

impl Provider {
    async fn start(keys: String) -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Provider {
            address: format!("http://{}", listener.local_addr().unwrap()),
            keys: Arc::new(Mutex::new(keys)),
            status: Arc::new(AtomicU32::new(200)),
            key_fetches: Arc::default(),
            document: Arc::default(),
        };
        let shared = Provider {
            address: provider.address.clone(),
            keys: provider.keys.clone(),
            status: provider.status.clone(),
            key_fetches: provider.key_fetches.clone(),
            document: provider.document.clone(),
        };
        let shared = Arc::new(shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        provider
    }

    fn publish(&self, keys: String) {
        *self.keys.lock().unwrap() = keys;
    }

    fn answer(&self, status: u32) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn fetches(&self) -> u64 {
        self.key_fetches.load(Ordering::SeqCst)
    }

    fn door(&self) -> Arc<JwtAuthenticator> {
        Arc::new(authenticator(&self.config()))
    }

    fn config(&self) -> Config {
        Config {
            issuer: Some(self.address.clone()),
            jwks: None,
            ..config(String::new())
        }
    }

    fn token(&self, kid: &str) -> String {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        KEYS.p256
            .token(&header, &claims(json!({"iss": self.address})))
    }
}

async fn serve(mut stream: TcpStream, provider: Arc<Provider>) {
    let mut bytes = vec![0; 4096];
    let read = stream.read(&mut bytes).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&bytes[..read]).into_owned();
    let status = provider.status.load(Ordering::SeqCst);
    let is_keys = request.starts_with("GET /keys ");
    if is_keys {
        provider.key_fetches.fetch_add(1, Ordering::SeqCst);
    }
    if status == 0 {
        // Held open, without an answer, until the other side gives up.
        let _ = stream.read(&mut bytes).await;
        return;
    }
    let body = if is_keys {
        provider.keys.lock().unwrap().clone()
    } else if request.starts_with("GET /.well-known/openid-configuration ") {
        let at = &provider.address;
        let right = json!({"issuer": at, "jwks_uri": format!("{at}/keys")}).to_string();
        provider.document.lock().unwrap().clone().unwrap_or(right)
    } else {
        String::new()
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn eventually(mut what: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !what().await {
        assert!(tokio::time::Instant::now() < deadline, "it does not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn keys_are_there_before_the_first_request_and_a_hundred_tokens_cost_one_fetch() {
    let provider = Provider::start(all_keys()).await;
    let door = provider.door();
    eventually(async || provider.fetches() == 1).await;
    let token = provider.token("p256");
    assert_eq!(verdict(&door, &token).await, "ok");

    provider.publish(jwks(&[KEYS.p256.jwk("new")]));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (door, token) = (door.clone(), provider.token("new"));
            tokio::spawn(async move { verdict(&door, &token).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), "ok");
    }
    assert_eq!(provider.fetches(), 2);
    // The old key is gone, and what was verified with it is not remembered past that.
    assert_eq!(
        verdict(&door, &token).await,
        "the token's signing key is not known"
    );
}

#[tokio::test]
async fn unknown_keys_make_the_gateway_look_twice_and_not_more() {
    let provider = Provider::start(all_keys()).await;
    let door = provider.door();
    assert_eq!(verdict(&door, &provider.token("p256")).await, "ok");
    for number in 0..50 {
        let forged = provider.token(&format!("ghost-{number}"));
        assert_eq!(
            verdict(&door, &forged).await,
            "the token's signing key is not known"
        );
    }
    assert_eq!(provider.fetches(), 3);
    // What is known goes on being known.
    assert_eq!(verdict(&door, &provider.token("p256")).await, "ok");
}

#[tokio::test]
async fn tokens_that_would_be_refused_anyway_make_nobody_look() {
    let provider = Provider::start(all_keys()).await;
    let door = provider.door();
    assert_eq!(verdict(&door, &provider.token("p256")).await, "ok");
    let header = r#"{"alg":"ES256","kid":"ghost"}"#;
    for change in [
        json!({"exp": 1}),
        json!({"aud": "x"}),
        json!({"iss": "https://evil.example"}),
    ] {
        let mut said = json!({"iss": provider.address});
        said.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let token = KEYS.p256.token(header, &claims(said));
        assert!(bring(&door, &token).await.is_err());
    }
    // A key that is there, for another algorithm.
    let other = KEYS.rsa.token(
        r#"{"alg":"RS256","kid":"p256"}"#,
        &claims(json!({"iss": provider.address})),
    );
    assert!(bring(&door, &other).await.is_err());
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test]
async fn while_the_issuer_is_away_its_keys_serve_on_and_unknown_ones_are_not_the_callers_fault() {
    let provider = Provider::start(all_keys()).await;
    let door = provider.door();
    assert_eq!(verdict(&door, &provider.token("p256")).await, "ok");
    for status in [500, 404, 302] {
        provider.answer(status);
        assert_eq!(verdict(&door, &provider.token("p256")).await, "ok");
        let unknown = bring(&door, &provider.token("new")).await.unwrap_err();
        assert_eq!(
            (unknown.kind, unknown.wrong_credentials),
            (Kind::Unavailable, false)
        );
    }
    provider.answer(200);
    provider.publish(jwks(&[KEYS.p256.jwk("new")]));
    // Failed looks are tried again soon, whoever asks.
    eventually(async || verdict(&door, &provider.token("new")).await == "ok").await;
}

#[tokio::test]
async fn without_any_keys_the_gateway_cannot_say_and_answers_soon() {
    let provider = Provider::start(all_keys()).await;
    provider.answer(0);
    let door = provider.door();
    let started = std::time::Instant::now();
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (door, token) = (door.clone(), provider.token("p256"));
            tokio::spawn(async move { bring(&door, &token).await })
        })
        .collect();
    for task in tasks {
        let refused = task.await.unwrap().unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
        assert!(
            refused.cause.contains("discovery document"),
            "{}",
            refused.cause
        );
        assert_eq!(refused.challenge, None);
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    provider.answer(200);
    eventually(async || verdict(&door, &provider.token("p256")).await == "ok").await;
}

#[tokio::test]
async fn what_an_issuer_answers_is_looked_at_hard() {
    let provider = Provider::start(all_keys()).await;
    let at = provider.address.clone();
    let keys = format!("{at}/keys");
    let port = at.rsplit_once(':').unwrap().1;
    let rows = [
        (
            json!({"issuer": format!("{at}/"), "jwks_uri": keys}).to_string(),
            "its `issuer` is another one",
        ),
        (
            json!({"issuer": "https://evil.example", "jwks_uri": keys}).to_string(),
            "its `issuer` is another one",
        ),
        (
            json!({"jwks_uri": keys}).to_string(),
            "its `issuer` is another one",
        ),
        (json!({"issuer": at}).to_string(), "no `jwks_uri`"),
        (
            json!({"issuer": at, "jwks_uri": ["x"]}).to_string(),
            "no `jwks_uri`",
        ),
        (
            format!(r#"{{"issuer":"{at}","jwks_uri":"{keys}","jwks_uri":"{keys}"}}"#),
            "says something twice",
        ),
        ("<html>".to_owned(), "not a JSON object"),
        // Another origin is a stranger's word, and may not point at this machine.
        (
            json!({"issuer": at, "jwks_uri": format!("http://localhost:{port}/keys")}).to_string(),
            "may not point there",
        ),
    ];
    for (document, why) in rows {
        *provider.document.lock().unwrap() = Some(document.clone());
        let refused = bring(&provider.door(), &provider.token("p256"))
            .await
            .unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
        assert!(refused.cause.contains(why), "{document}: {}", refused.cause);
    }
    *provider.document.lock().unwrap() = None;
    for (keys, why) in [
        ("x".repeat(150_001), "150000 bytes"),
        ("[]".to_owned(), "not a JSON object"),
        ("{}".to_owned(), "no list of `keys`"),
    ] {
        provider.publish(keys);
        let refused = bring(&provider.door(), &provider.token("p256"))
            .await
            .unwrap_err();
        assert!(refused.cause.contains(why), "{}", refused.cause);
    }
    // A set at its largest, most of which is of no use here, is still a set.
    let filler = json!({"kty": "oct", "k": "x".repeat(149_000)});
    provider.publish(jwks(&[filler, KEYS.p256.jwk("p256")]));
    assert_eq!(
        verdict(&provider.door(), &provider.token("p256")).await,
        "ok"
    );
}

#[tokio::test]
async fn an_address_for_the_keys_needs_no_discovery_and_no_runtime_is_needed_to_build() {
    let provider = Provider::start(all_keys()).await;
    *provider.document.lock().unwrap() = Some("none".into());
    let written = Config {
        issuer: Some(ISSUER.into()),
        jwks_uri: Some(format!("{}/keys", provider.address)),
        ..provider.config()
    };
    let door = std::thread::spawn(move || authenticator(&written))
        .join()
        .unwrap();
    assert_eq!(provider.fetches(), 0);
    let token = KEYS
        .p256
        .token(r#"{"alg":"ES256","kid":"p256"}"#, &claims(json!({})));
    assert_eq!(verdict(&door, &token).await, "ok");
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test]
async fn a_new_plan_keeps_the_keys_that_an_issuer_has() {
    let provider = Provider::start(all_keys()).await;
    let door = provider.door();
    assert_eq!(verdict(&door, &provider.token("p256")).await, "ok");
    provider.answer(500);
    let changed = Config {
        audience: names::Names(vec!["shop".into(), "till".into()]),
        ..provider.config()
    };
    let follow = |config: &Config| {
        let outbound = Client::default();
        JwtAuthenticator::new(compiled(config), &outbound, &Tokens::default(), Some(&door))
    };
    assert_eq!(
        verdict(&follow(&changed), &provider.token("p256")).await,
        "ok"
    );
    assert_eq!(provider.fetches(), 1);
    // Keys from elsewhere are other keys.
    let elsewhere = Config {
        jwks_uri: Some(format!("{}/keys", provider.address)),
        ..provider.config()
    };
    assert_ne!(
        verdict(&follow(&elsewhere), &provider.token("p256")).await,
        "ok"
    );
}

#[tokio::test]
async fn a_flood_of_unknown_keys_does_not_wait_in_line_for_a_slow_issuer() {
    let provider = Provider::start(all_keys()).await;
    let door = provider.door();
    assert_eq!(verdict(&door, &provider.token("p256")).await, "ok");
    provider.answer(0);
    let tasks: Vec<_> = (0..300)
        .map(|number| {
            let (door, token) = (door.clone(), provider.token(&format!("ghost-{number}")));
            tokio::spawn(async move { verdict(&door, &token).await })
        })
        .collect();
    let mut turned_away = 0;
    for task in tasks {
        let said = task.await.unwrap();
        assert!(
            said.starts_with("the keys of") || said.starts_with("256 requests"),
            "{said}"
        );
        turned_away += usize::from(said.starts_with("256 requests"));
    }
    assert_eq!(turned_away, 300 - 256);
    assert_eq!(verdict(&door, &provider.token("p256")).await, "ok");
}
