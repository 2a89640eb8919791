//! What is remembered of a token, and for how long.

use super::*;

#[tokio::test]
async fn a_token_says_who_calls_and_says_the_same_when_it_is_remembered() {
    let door = authenticator(&config(all_keys()));
    let said = r#"{"iss":"https://idp.example.com","aud":["shop","x"],"sub":"u1","exp":1800000060,"scope":"a b","big":12345678901234567890123,"cognito:groups":["g1","g2"],"n":null}"#;
    let token = KEYS.p256.token(r#"{"alg":"ES256","kid":"p256"}"#, said);
    for _ in 0..2 {
        let caller = bring(&door, &token).await.unwrap();
        assert_eq!(caller.identity().principal.as_deref(), Some("u1"));
        assert_eq!(caller.scopes().unwrap(), ["a", "b"]);
        let claims = caller.identity().claims.as_ref().unwrap();
        assert_eq!(claims["aud"], "[shop x]");
        assert_eq!(claims["exp"], "1800000060");
        assert_eq!(claims["cognito:groups"], "[g1 g2]");
        assert!(!claims.contains_key("n"));
        let values = caller.identity().values.as_ref().unwrap();
        assert_eq!(values["claims_json"], said);
    }
    assert_eq!(door.meters.verified.get(), 1);
    assert_eq!(door.meters.remembered.get(), 1);
    // A token that differs in a byte is another one.
    let other = format!("{token}A");
    assert!(bring(&door, &other).await.is_err());
    assert_eq!((door.meters.refused.get(), door.verified.len()), (1, 1));
}

#[tokio::test]
async fn what_is_remembered_ends_with_exp_and_begins_with_nbf() {
    let door = authenticator(&Config {
        leeway: Some("5s".parse().unwrap()),
        ..config(all_keys())
    });
    let token = KEYS.p256.token(
        r#"{"alg":"ES256","kid":"p256"}"#,
        &claims(json!({"exp": NOW + 10})),
    );
    assert!(bring_at(&door, &token, NOW).await.is_ok());
    assert!(bring_at(&door, &token, NOW + 14).await.is_ok());
    assert_eq!(door.meters.remembered.get(), 1);
    let late = bring_at(&door, &token, NOW + 15).await.unwrap_err();
    assert_eq!(late.cause, "the token has expired");
    assert_eq!(door.verified.len(), 0);
    // The clock was set back: it is looked at anew.
    assert!(bring_at(&door, &token, NOW).await.is_ok());
    let early = bring_at(&door, &token, NOW - 6).await.unwrap_err();
    assert_eq!(early.cause, "the token is not valid yet");
}

#[tokio::test]
async fn a_flood_of_forged_tokens_pushes_no_good_one_out() {
    let door = authenticator(&Config {
        cache: settings::Cache {
            size: Some("64KiB".parse().unwrap()),
            stale: None,
        },
        ..config(all_keys())
    });
    let header = r#"{"alg":"ES256","kid":"p256"}"#;
    let good = KEYS.p256.token(header, &claims(json!({})));
    assert!(bring(&door, &good).await.is_ok());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let header = signed.split_once('.').unwrap().0;
    for number in 0..500 {
        let payload = URL_SAFE_NO_PAD.encode(claims(json!({"n": number})));
        let forged = format!("{header}.{payload}.{signature}");
        assert!(bring(&door, &forged).await.is_err());
    }
    assert_eq!(door.verified.len(), 1);
    assert!(bring(&door, &good).await.is_ok());
    assert_eq!(door.meters.remembered.get(), 1);
}

#[tokio::test]
async fn the_memory_of_verified_tokens_is_bounded_and_can_be_none() {
    let sized = |size: &str| {
        authenticator(&Config {
            cache: settings::Cache {
                size: Some(size.parse().unwrap()),
                stale: None,
            },
            ..config(all_keys())
        })
    };
    let (small, none) = (sized("32KiB"), sized("0"));
    for number in 0..200 {
        let claims = claims(json!({"jti": number, "pad": "x".repeat(1_000)}));
        let token = KEYS.ed.token(r#"{"alg":"EdDSA","kid":"ed"}"#, &claims);
        assert!(bring(&small, &token).await.is_ok());
        assert!(bring(&none, &token).await.is_ok());
    }
    assert!(
        (1..=32).contains(&small.verified.len()),
        "{}",
        small.verified.len()
    );
    assert_eq!((none.verified.len(), none.meters.verified.get()), (0, 200));
}
