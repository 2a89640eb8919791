//! Keys as they are written, and which of them are used.

use super::*;
use crate::authn::jwt::key::KeySet;

fn unusable(jwk: Value) -> Vec<String> {
    KeySet::read(jwks(&[jwk]).as_bytes(), None)
        .unwrap()
        .unusable
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

#[test]
fn keys_for_other_ends_or_too_weak_are_left_out() {
    let rsa = KEYS.rsa.jwk("k");
    let p256 = KEYS.p256.jwk("k");
    let ed = KEYS.ed.jwk("k");
    let short = URL_SAFE_NO_PAD.encode([0xff; 255]);
    let long = URL_SAFE_NO_PAD.encode(vec![0xff; 1025]);
    let rows = [
        (rsa.clone(), None),
        (with(rsa.clone(), "use", json!("sig")), None),
        (with(rsa.clone(), "key_ops", json!(["verify"])), None),
        (with(rsa.clone(), "alg", json!("PS256")), None),
        (
            with(rsa.clone(), "use", json!("enc")),
            Some("its `use` is not `sig`"),
        ),
        (
            with(rsa.clone(), "key_ops", json!(["encrypt"])),
            Some("its `key_ops` have no `verify`"),
        ),
        (
            with(rsa.clone(), "alg", json!("ES256")),
            Some("its `alg` is not one of its kind's"),
        ),
        (
            with(rsa.clone(), "alg", json!("HS256")),
            Some("its `alg` is not one of its kind's"),
        ),
        (
            with(rsa.clone(), "alg", json!(null)),
            Some("its `alg` is not one of its kind's"),
        ),
        (
            with(rsa.clone(), "kid", json!(1)),
            Some("its `kid` is no text"),
        ),
        (
            with(rsa.clone(), "n", json!(short)),
            Some("it has not 2048 to 8192 bits"),
        ),
        (
            with(rsa.clone(), "n", json!(long)),
            Some("it has not 2048 to 8192 bits"),
        ),
        (
            with(rsa.clone(), "n", json!("a=")),
            Some("a member of it is not base64url"),
        ),
        (
            with(rsa.clone(), "e", json!("AQ")),
            Some("its exponent is no exponent"),
        ),
        (
            with(rsa.clone(), "e", json!("Ag")),
            Some("its exponent is no exponent"),
        ),
        (
            with(rsa.clone(), "e", json!("")),
            Some("its exponent is no exponent"),
        ),
        (
            with(rsa.clone(), "kty", json!("oct")),
            Some("its `kty` is not RSA, EC or OKP"),
        ),
        (
            with(p256.clone(), "y", p256["x"].clone()),
            Some("it is no point of its curve"),
        ),
        (
            with(p256.clone(), "crv", json!("P-384")),
            Some("it is no point of its curve"),
        ),
        (
            with(p256.clone(), "crv", json!("secp256k1")),
            Some("its curve is not P-256 or P-384"),
        ),
        (
            with(ed.clone(), "crv", json!("X25519")),
            Some("its curve is not Ed25519"),
        ),
        (
            with(ed, "x", json!("AAAA")),
            Some("it is no point of its curve"),
        ),
        (
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            Some("its `kty` is not RSA, EC or OKP"),
        ),
        (json!({}), Some("it lacks a member")),
        (json!("key"), Some("it is no object")),
    ];
    for (jwk, why) in rows {
        let expected: Vec<String> = why.iter().map(|why| format!("key 0: {why}")).collect();
        assert_eq!(unusable(jwk.clone()), expected, "{jwk}");
    }
    for broken in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert!(KeySet::read(broken.as_bytes(), None).is_err(), "{broken}");
    }
}

#[tokio::test]
async fn a_key_is_for_the_algorithm_that_it_names_alone() {
    let only = with(KEYS.rsa.jwk("k"), "alg", json!("PS256"));
    let door = authenticator(&config(jwks(&[only])));
    for (header, expected) in [
        (r#"{"alg":"PS256","kid":"k"}"#, "ok"),
        (
            r#"{"alg":"RS256","kid":"k"}"#,
            "the token's signing key is not known",
        ),
    ] {
        let token = KEYS.rsa.token(header, &claims(json!({})));
        assert_eq!(verdict(&door, &token).await, expected, "{header}");
    }
    // What a configuration does not accept is refused by its name, whatever the key would do.
    let door = authenticator(&Config {
        algorithms: vec!["ES256".into()],
        ..config(all_keys())
    });
    let token = KEYS
        .rsa
        .token(r#"{"alg":"RS256","kid":"rsa"}"#, &claims(json!({})));
    let refused = "the token's signing algorithm is not accepted";
    assert_eq!(verdict(&door, &token).await, refused);
}

#[test]
fn a_key_that_stays_in_a_set_stays_the_same_key() {
    let set = |keys: &[Value], before: Option<&KeySet>| {
        KeySet::read(jwks(keys).as_bytes(), before).unwrap().set
    };
    let (a, b) = (KEYS.p256.jwk("a"), KEYS.p384.jwk("b"));
    let first = set(&[a.clone(), b.clone(), a.clone()], None);
    let second = set(&[b.clone(), KEYS.rsa.jwk("c")], Some(&first));
    let swapped = set(&[with(KEYS.ed.jwk("b"), "kid", json!("b"))], Some(&second));
    let token = KEYS.p384.token(r#"{"alg":"ES384","kid":"b"}"#, "{}");
    let token = Compact::read(token.as_bytes(), &settings::PUBLIC_KEY_ALGORITHMS).unwrap();
    let key = first.fitting(&token).unwrap();
    assert!(second.holds(key));
    assert!(!swapped.holds(key));
}
