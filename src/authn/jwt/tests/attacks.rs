//! What is tried against token checks (RFC 8725, and the histories of libraries): each is refused for what it is.

use super::*;

const UNKNOWN: &str = "the token's signing key is not known";
const SIGNATURE: &str = "the token's signature is invalid";
const ALGORITHM: &str = "the token's signing algorithm is not accepted";
const MALFORMED: &str = "the token is malformed";

#[tokio::test]
async fn every_algorithm_opens_with_its_own_key_and_with_no_other() {
    let door = authenticator(&config(all_keys()));
    let keys = &*KEYS;
    let signers = [
        (
            "rsa",
            &keys.rsa,
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..],
        ),
        ("p256", &keys.p256, &["ES256"][..]),
        ("p384", &keys.p384, &["ES384"][..]),
        ("ed", &keys.ed, &["EdDSA"][..]),
    ];
    for (kid, signer, own) in signers {
        for (_, _, algorithms) in signers {
            for algorithm in algorithms {
                let header = json!({"alg": algorithm, "kid": kid}).to_string();
                let token = signer.token(&header, &claims(json!({})));
                let expected = if own.contains(algorithm) {
                    "ok"
                } else {
                    UNKNOWN
                };
                assert_eq!(verdict(&door, &token).await, expected, "{header}");
            }
        }
        // The right key's name over another key's signature.
        let header = json!({"alg": own[0], "kid": kid}).to_string();
        let other = if kid == "rsa" {
            Signer::rsa()
        } else {
            Signer::p256()
        };
        let forged = other.token(&header, &claims(json!({})));
        assert_eq!(verdict(&door, &forged).await, SIGNATURE, "{header}");
    }
}

#[tokio::test]
async fn a_public_key_is_never_a_secret() {
    let public = config(all_keys());
    let keys = &*KEYS;
    let jwk = keys.rsa.jwk("rsa");
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let secrets = [
        jwk.to_string().into_bytes(),
        all_keys().into_bytes(),
        jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        modulus,
        Vec::new(),
    ];
    // Neither where no secret is configured, nor where another issuer has one.
    let mut both = Config {
        issuers: vec![
            issuer::Issuer {
                issuer: ISSUER.into(),
                audience: public.audience.clone(),
                jwks: public.jwks.clone(),
                ..Default::default()
            },
            issuer::Issuer {
                issuer: "https://secret.example".into(),
                audience: public.audience.clone(),
                secret: Some(serde_json::from_str(&format!("\"{}\"", "s".repeat(32))).unwrap()),
                ..Default::default()
            },
        ],
        ..Config::default()
    };
    for _ in 0..2 {
        for config in [&public, &both] {
            let door = authenticator(config);
            for secret in &secrets {
                for algorithm in ["HS256", "HS384", "HS512"] {
                    let header = json!({"alg": algorithm, "kid": "rsa"}).to_string();
                    let forged = Signer::Secret(secret.clone()).token(&header, &claims(json!({})));
                    assert_eq!(verdict(&door, &forged).await, ALGORITHM, "{header}");
                }
            }
        }
        both.issuers.reverse();
    }
    let door = authenticator(&both);
    let shared = Signer::Secret(vec![b's'; 32]);
    let theirs = claims(json!({"iss": "https://secret.example"}));
    let good = shared.token(r#"{"alg":"HS256","kid":"any"}"#, &theirs);
    assert_eq!(verdict(&door, &good).await, "ok");
    // One issuer's key does not speak for another.
    let crossed = keys.rsa.token(r#"{"alg":"RS256","kid":"rsa"}"#, &theirs);
    assert_eq!(verdict(&door, &crossed).await, ALGORITHM);
    let wrong = Signer::Secret(vec![b'x'; 32]).token(r#"{"alg":"HS256"}"#, &theirs);
    assert_eq!(verdict(&door, &wrong).await, SIGNATURE);
}

#[tokio::test]
async fn headers_that_bring_keys_or_none_are_not_believed() {
    let door = authenticator(&config(all_keys()));
    let keys = &*KEYS;
    let own = Signer::rsa();
    let embedded = own.jwk("rsa");
    for (header, expected) in [
        (
            json!({"alg": "RS256", "kid": "rsa", "jwk": embedded}),
            SIGNATURE,
        ),
        (json!({"alg": "RS256", "jwk": embedded}), SIGNATURE),
        (
            json!({"alg": "RS256", "kid": "mine", "jwk": embedded}),
            UNKNOWN,
        ),
        (
            json!({"alg": "RS256", "kid": "rsa", "jku": "https://evil.example/keys"}),
            SIGNATURE,
        ),
        (
            json!({"alg": "RS256", "kid": "rsa", "x5u": "http://127.0.0.1/"}),
            SIGNATURE,
        ),
        (
            json!({"alg": "RS256", "kid": "rsa", "x5c": ["MIIB"]}),
            SIGNATURE,
        ),
        (json!({"alg": "RS256", "kid": "../../../dev/null"}), UNKNOWN),
        (json!({"alg": "RS256", "kid": "rsa' OR '1'='1"}), UNKNOWN),
        (json!({"alg": "RS256", "kid": "rsa\u{0}"}), UNKNOWN),
        (json!({"alg": "RS256", "kid": "RSA"}), UNKNOWN),
        (json!({"alg": "RS256", "kid": ""}), UNKNOWN),
        (json!({"alg": "RS256", "kid": ["rsa"]}), MALFORMED),
    ] {
        let token = own.token(&header.to_string(), &claims(json!({})));
        assert_eq!(verdict(&door, &token).await, expected, "{header}");
    }
    let good = keys
        .rsa
        .token(r#"{"alg":"RS256","kid":"rsa"}"#, &claims(json!({})));
    let (signed, _) = good.rsplit_once('.').unwrap();
    let payload = signed.split_once('.').unwrap().1;
    for none in ["none", "None", "NONE", "nOnE", "none ", ""] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": none, "kid": "rsa"}).to_string());
        for signature in ["", "AA", good.rsplit_once('.').unwrap().1] {
            let token = format!("{header}.{payload}.{signature}");
            assert_eq!(verdict(&door, &token).await, ALGORITHM, "{none}");
        }
    }
    assert_eq!(verdict(&door, &format!("{signed}.")).await, SIGNATURE);
}

#[tokio::test]
async fn a_signature_covers_every_byte_in_its_only_spelling() {
    let door = authenticator(&config(all_keys()));
    let keys = &*KEYS;
    for (signer, header) in [
        (&keys.rsa, r#"{"alg":"RS256","kid":"rsa"}"#),
        (&keys.p256, r#"{"alg":"ES256","kid":"p256"}"#),
        (&keys.ed, r#"{"alg":"EdDSA","kid":"ed"}"#),
    ] {
        let good = signer.token(header, &claims(json!({})));
        assert_eq!(verdict(&door, &good).await, "ok");
        let cut = &good[..good.len() - 4];
        assert_ne!(verdict(&door, cut).await, "ok", "truncated");
        assert_ne!(verdict(&door, &format!("{good}AAAA")).await, "ok", "longer");
        assert_ne!(verdict(&door, &format!("{good}=")).await, "ok", "padded");
        let last = good.pop_last_changed();
        assert_ne!(verdict(&door, &last).await, "ok", "other last bits: {last}");
        // Zeros are the signature that broken ECDSA verifiers take (CVE-2022-21449).
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let zeros = vec![0; URL_SAFE_NO_PAD.decode(signature).unwrap().len()];
        let zero = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(zeros));
        assert_eq!(verdict(&door, &zero).await, SIGNATURE);
        // Another payload under the same signature.
        let other = signer.token(header, &claims(json!({"sub": "admin"})));
        let payload = other.split('.').nth(1).unwrap();
        let head = good.split('.').next().unwrap();
        assert_eq!(
            verdict(&door, &format!("{head}.{payload}.{signature}")).await,
            SIGNATURE
        );
    }
}

trait LastChanged {
    fn pop_last_changed(&self) -> String;
}

impl LastChanged for String {
    /// The same text with the next character at its end: in base64url often only bits that nothing reads.
    fn pop_last_changed(&self) -> String {
        let (rest, last) = self.split_at(self.len() - 1);
        let next = char::from(last.as_bytes()[0].wrapping_add(1));
        let next = if next.is_ascii_alphanumeric() {
            next
        } else {
            'A'
        };
        format!("{rest}{next}")
    }
}

#[tokio::test]
async fn claims_that_are_wrong_in_any_way_are_refused_although_they_are_signed() {
    let door = authenticator(&Config {
        claims: IndexMap::from([("tier".to_owned(), names::Names(vec!["gold".into()]))]),
        ..config(all_keys())
    });
    let base = claims(json!({"tier": "gold"}));
    let without_end = &base[..base.len() - 1];
    let changed = |change: Value| {
        let mut change = change;
        if change.get("tier").is_none() {
            change["tier"] = json!("gold");
        }
        claims(change)
    };
    let issuer = "the token does not have an accepted issuer";
    let audience = "the token does not have a valid audience";
    let rows = [
        (changed(json!({})), "ok"),
        (changed(json!({"iss": null})), issuer),
        (changed(json!({"iss": format!("{ISSUER}/")})), issuer),
        (changed(json!({"iss": "HTTPS://idp.example.com"})), issuer),
        (changed(json!({"iss": [ISSUER]})), issuer),
        (changed(json!({"aud": null})), audience),
        (changed(json!({"aud": "shop2"})), audience),
        (changed(json!({"aud": null, "client_id": "shop"})), "ok"),
        (changed(json!({"aud": "x", "client_id": "shop"})), audience),
        (changed(json!({"exp": NOW})), "the token has expired"),
        (changed(json!({"exp": NOW - 1})), "the token has expired"),
        (
            changed(json!({"exp": null})),
            "the token has no valid expiry",
        ),
        (
            changed(json!({"exp": (NOW + 60).to_string()})),
            "the token has no valid expiry",
        ),
        (
            changed(json!({"nbf": NOW + 1})),
            "the token is not valid yet",
        ),
        (
            changed(json!({"iat": NOW + 1})),
            "the token is issued in the future",
        ),
        (
            changed(json!({"tier": "tin"})),
            "the token does not have a required claim",
        ),
        (changed(json!({"sub": 7})), MALFORMED),
        (changed(json!({"scope": {"a": 1}})), MALFORMED),
        (format!(r#"{without_end},"sub":"admin"}}"#), MALFORMED),
        (format!(r#"{without_end},"\u0073ub":"admin"}}"#), MALFORMED),
        (format!(r#"{without_end},"x":{{"a":1,"a":2}}}}"#), MALFORMED),
        (format!(r#"{without_end},"x":1e999}}"#), MALFORMED),
        (format!("{base}{base}"), MALFORMED),
        (format!("{base}\u{0}"), MALFORMED),
        (format!("\u{feff}{base}"), MALFORMED),
        ("[]".to_owned(), MALFORMED),
        ("\"text\"".to_owned(), MALFORMED),
        (String::new(), MALFORMED),
        (
            format!(r#"{{"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200)),
            MALFORMED,
        ),
    ];
    for (claims, expected) in rows {
        let token = KEYS.p256.token(r#"{"alg":"ES256","kid":"p256"}"#, &claims);
        assert_eq!(verdict(&door, &token).await, expected, "{claims}");
        if expected != "ok" {
            let refused = bring(&door, &token).await.unwrap_err();
            assert!(refused.wrong_credentials && refused.kind == Kind::Unauthorized);
            let challenge = refused.challenge.unwrap();
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            assert!(!challenge.contains("eyJ") && !refused.public.contains("eyJ"));
        }
    }
    let huge = KEYS.p256.token(
        r#"{"alg":"ES256"}"#,
        &changed(json!({"x": "y".repeat(20_000)})),
    );
    assert_eq!(
        verdict(&door, &huge).await,
        "the token is larger than 16 KiB"
    );
}

#[tokio::test]
async fn a_token_without_kid_is_checked_only_where_one_key_fits() {
    let alone = authenticator(&config(all_keys()));
    let token = KEYS.p256.token(r#"{"alg":"ES256"}"#, &claims(json!({})));
    assert_eq!(verdict(&alone, &token).await, "ok");
    let two = jwks(&[KEYS.p256.jwk("a"), Signer::p256().jwk("b")]);
    let two = authenticator(&config(two));
    assert_eq!(verdict(&two, &token).await, UNKNOWN);
    let named = KEYS
        .p256
        .token(r#"{"alg":"ES256","kid":"a"}"#, &claims(json!({})));
    assert_eq!(verdict(&two, &named).await, "ok");
}
