use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use proptest::prelude::*;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

/// 2015-08-30T12:36:00Z
fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160)
}

/// AWS's signing test suite: the header signatures of these requests.
#[test]
fn the_published_vectors_are_met() {
    let date = ("x-amz-date", "20150830T123600Z");
    let host = ("host", "example.amazonaws.com");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let hash = (
        "x-amz-content-sha256",
        "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
    );
    let token = ("x-amz-security-token", TOKEN);
    for (name, method, path, query, headers, body, expected) in [
        (
            "post-sts-header-before",
            "POST",
            "/",
            "",
            vec![host, date, token],
            "",
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
        ),
        (
            "post-vanilla-query",
            "POST",
            "/",
            "Param1=value1",
            vec![host, date],
            "",
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        ),
        (
            "get-vanilla-query-order-key-case",
            "GET",
            "/",
            "Param2=value2&Param1=value1",
            vec![host, date],
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "post-x-www-form-urlencoded",
            "POST",
            "/",
            "",
            vec![("content-length", "13"), form, host, hash, date],
            "Param1=value1",
            "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
        ),
        (
            "get-relative-relative-normalized",
            "GET",
            "/example1/example2/../..",
            "",
            vec![host, date],
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "get-slashes-normalized",
            "GET",
            "//example//",
            "",
            vec![host, date],
            "",
            "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
        ),
        (
            "get-vanilla-query-order-encoded",
            "GET",
            "/",
            "Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            vec![host, date],
            "",
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
    ] {
        let stamp = Stamp::of(then());
        let key = Key::new("AKIDEXAMPLE", SECRET, stamp.day(), "us-east-1", "service");
        let value = key.authorization(
            &stamp,
            &Signable {
                method,
                path: &canonical_path(path),
                query: &canonical_query(query),
                headers: &headers,
                body: body.as_bytes(),
            },
        );
        let value = String::from_utf8(value).unwrap();
        let (_, signature) = value.split_once("Signature=").unwrap();
        assert_eq!(signature, expected, "{name}: {value}");
    }
}

proptest! {
    /// The signer that AWS publishes signs every request alike.
    #[test]
    fn the_signer_of_aws_agrees(
        path in "(/([a-zA-Z0-9_~:.-]|%[2-7][0-9A-F]){0,6}){1,4}",
        query in "([a-z]{1,3}=([a-z~_.-]|%[2-7][0-9A-F]){0,3}&){0,3}",
        port in prop_oneof![Just(""), Just(":443"), Just(":80"), Just(":4566")],
        value in "[a-z0-9./-]{1,12}",
        token in proptest::option::of("[A-Za-z0-9+/=]{1,80}"),
        body in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let query = query.trim_end_matches('&');
        let uri: http::Uri = format!("https://sqs.eu-west-1.amazonaws.com{port}{path}?{query}")
            .parse()
            .unwrap();
        let credentials = Credentials::new("AKIDEXAMPLE", SECRET, token.clone(), None, "test");
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name("sqs")
            .time(then())
            .settings(SigningSettings::default())
            .build()
            .unwrap();
        let plain = [("x-amz-target", value.as_str())];
        let request = SignableRequest::new(
            "POST",
            uri.to_string(),
            plain.into_iter(),
            SignableBody::Bytes(&body),
        )
        .unwrap();
        let theirs = sign(request, &params.into()).unwrap();

        let stamp = Stamp::of(then());
        let host = host(&uri).unwrap();
        let mut headers = vec![("host", host.as_str()), ("x-amz-date", stamp.text())];
        headers.extend(token.as_deref().map(|token| ("x-amz-security-token", token)));
        headers.push(("x-amz-target", value.as_str()));
        let key = Key::new("AKIDEXAMPLE", SECRET, stamp.day(), "eu-west-1", "sqs");
        let ours = key.authorization(
            &stamp,
            &Signable {
                method: "POST",
                path: &canonical_path(uri.path()),
                query: &canonical_query(uri.query().unwrap_or_default()),
                headers: &headers,
                body: &body,
            },
        );
        let ours = String::from_utf8(ours).unwrap();
        prop_assert!(ours.ends_with(theirs.signature()), "{uri}: {ours} {}", theirs.signature());
    }
}

/// The suite gives a canonical path for it, and no signature.
#[test]
fn a_path_is_encoded_once_more() {
    assert_eq!(
        canonical_path("/test/@connections/JBDvjfGEIAMCERw%3D"),
        "/test/%40connections/JBDvjfGEIAMCERw%253D"
    );
}

#[test]
fn a_key_shows_no_secret() {
    let key = Key::new("AKIDEXAMPLE", SECRET, "20150830", "us-east-1", "service");
    let shown = format!("{key:?}");
    assert_eq!(
        shown,
        "Key(AKIDEXAMPLE/20150830/us-east-1/service/aws4_request)"
    );
}
