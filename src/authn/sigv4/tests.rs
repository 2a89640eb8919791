mod spellings;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::*;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2024-01-02T03:04:05Z
const NOW: i64 = 1_704_164_645;
const SIGNATURE: &str = "6b0f916d6f3cde8e8f2ebda7f2217567168b1b9b4115c560844752e1457b029d";

fn user() -> User {
    User {
        name: "shop".into(),
        access_key_id: KEY.into(),
        secret_access_key: SecretText(Secret::new(SECRET.into())),
        session_token: None,
        enabled: true,
        account: None,
        policy: None,
    }
}

fn scope() -> Scope {
    Scope {
        service: "execute-api".into(),
        region: None,
        skew: Duration::from_secs(900),
        unsigned_payload: false,
        paths: Paths::AsSent,
    }
}

/// A request that can be changed before it is checked.
struct Signed {
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: &'static [u8],
}

impl Signed {
    /// The reference's vector A.
    fn published() -> Signed {
        let mut signed = Signed {
            method: Method::POST,
            uri: "/events?b=2&a=x%20y".into(),
            headers: HeaderMap::new(),
            body: b"{\"id\":1}",
        };
        signed.set("content-type", "application/json");
        signed.set("host", "api.example.com");
        signed.set("x-amz-date", "20240102T030405Z");
        signed.authorize(
            "20240102/us-east-1/execute-api/aws4_request",
            "content-type;host;x-amz-date",
            SIGNATURE,
        );
        signed
    }

    /// The reference's vector B.
    fn presigned() -> Signed {
        let mut signed = Signed {
            method: Method::GET,
            uri: "/items/a%20b?color=red&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20240102%2Fus-east-1%2Fexecute-api%2Faws4_request\
                &X-Amz-Date=20240102T030405Z&X-Amz-Expires=300&X-Amz-SignedHeaders=host\
                &X-Amz-Signature=6f377bfeb40a4ea30c7e02f5c0abdbed65a7a822fee68e3e72e8d35cc9908535".into(),
            headers: HeaderMap::new(),
            body: b"",
        };
        signed.set("host", "api.example.com");
        signed
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        );
    }

    fn authorize(&mut self, scope: &str, headers: &str, signature: &str) {
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={headers}, Signature={signature}"
        );
        self.set("authorization", &value);
    }

    fn check(&self, verifier: &Verifier, now: i64) -> Result<String, Refused> {
        let uri: Uri = self.uri.parse().unwrap();
        let head = Head {
            method: &self.method,
            uri: &uri,
            headers: &self.headers,
        };
        let claim = verifier.claim(&head, now)?;
        claim.verify(self.body).map(|user| user.name.clone())
    }

    fn checked(&self) -> Result<String, Refused> {
        self.check(&Verifier::new(vec![user()], scope()), NOW)
    }
}

#[test]
fn the_published_vectors_are_genuine() {
    assert_eq!(Signed::published().checked().as_deref(), Ok("shop"));
    assert_eq!(Signed::presigned().checked().as_deref(), Ok("shop"));
}

#[test]
fn the_signing_key_is_the_published_one() {
    let verifier = Verifier::new(vec![user()], scope());
    let signed = Signed::published();
    let uri: Uri = signed.uri.parse().unwrap();
    let head = Head {
        method: &signed.method,
        uri: &uri,
        headers: &signed.headers,
    };
    let claim = verifier.claim(&head, NOW).unwrap();
    assert_eq!(
        claim.canonical[0].with(&sha256_hex(signed.body)),
        "356ff22197b4dabc27d216ced97331941d44bcad3a0f46d024dad87559623220"
    );
    // The key itself cannot be read out; what it signs can.
    let published = hmac::Key::new(
        hmac::HMAC_SHA256,
        &(0..64)
            .step_by(2)
            .map(|at| {
                u8::from_str_radix(
                    &"30c003cc4474dee37140dfdfacea6b7bdb1cb7b5f86b04785d2ac30ffe0063a7"[at..at + 2],
                    16,
                )
                .unwrap()
            })
            .collect::<Vec<_>>(),
    );
    assert_eq!(
        hmac::sign(&claim.signing_key(), b"x").as_ref(),
        hmac::sign(&published, b"x").as_ref()
    );
}

#[test]
fn anything_changed_after_signing_is_a_mismatch() {
    let changes: [fn(&mut Signed); 7] = [
        |signed| signed.method = Method::PUT,
        |signed| signed.uri = "/other?b=2&a=x%20y".into(),
        |signed| signed.uri = "/events?b=3&a=x%20y".into(),
        |signed| signed.body = b"{\"id\":2}",
        |signed| signed.set("content-type", "text/plain"),
        |signed| signed.set("host", "evil.example.com"),
        |signed| {
            signed.authorize(
                "20240102/eu-west-1/execute-api/aws4_request",
                "content-type;host;x-amz-date",
                SIGNATURE,
            )
        },
    ];
    for change in changes {
        let mut signed = Signed::published();
        change(&mut signed);
        assert_eq!(signed.checked(), Err(Refused::Mismatch));
    }
    let mut presigned = Signed::presigned();
    presigned.uri = presigned.uri.replace("Expires=300", "Expires=301");
    assert_eq!(presigned.checked(), Err(Refused::Mismatch));
    presigned = Signed::presigned();
    presigned.body = b"x";
    assert_eq!(presigned.checked(), Err(Refused::Mismatch));
}

#[test]
fn what_the_order_of_query_and_spaces_of_headers_are_does_not_matter() {
    let mut signed = Signed::published();
    signed.uri = "/events?a=x%20y&b=2".into();
    signed.set("content-type", "  application/json ");
    assert!(signed.checked().is_ok());
    signed.uri = "https://api.example.com/events?a=x%20y&b=2".into();
    signed.headers.remove("host");
    assert!(
        signed.checked().is_ok(),
        "HTTP/2 says the host in its own way"
    );
}

#[test]
fn a_wrong_secret_key_or_token_is_refused_and_so_is_a_disabled_user() {
    let signed = Signed::published();
    let mut wrong = user();
    wrong.secret_access_key = SecretText(Secret::new("another".into()));
    assert_eq!(
        signed.check(&Verifier::new(vec![wrong], scope()), NOW),
        Err(Refused::Mismatch)
    );
    let mut unknown = user();
    unknown.access_key_id = "OTHER".into();
    assert_eq!(
        signed.check(&Verifier::new(vec![unknown], scope()), NOW),
        Err(Refused::UnknownToken)
    );
    let mut disabled = user();
    disabled.enabled = false;
    assert_eq!(
        signed.check(&Verifier::new(vec![disabled], scope()), NOW),
        Err(Refused::UnknownToken)
    );
    let mut with_token = user();
    with_token.session_token = Some(SecretText(Secret::new("t".into())));
    assert_eq!(
        signed.check(&Verifier::new(vec![with_token], scope()), NOW),
        Err(Refused::UnknownToken)
    );
    let mut unasked = Signed::published();
    unasked.set("x-amz-security-token", "t");
    assert_eq!(unasked.checked(), Err(Refused::UnknownToken));
}

#[test]
fn a_header_is_good_for_a_quarter_of_an_hour_around_its_time() {
    let verifier = Verifier::new(vec![user()], scope());
    let signed = Signed::published();
    for now in [NOW - 900, NOW + 900] {
        assert!(signed.check(&verifier, now).is_ok());
    }
    let expired = signed.check(&verifier, NOW + 901).unwrap_err();
    assert_eq!(
        expired.to_string(),
        "Signature expired: 20240102T030405Z is now earlier than 20240102T030406Z (20240102T031906Z - 15 min.)"
    );
    assert!(matches!(
        signed.check(&verifier, NOW - 901),
        Err(Refused::NotYet(_))
    ));
}

#[test]
fn a_presigned_url_is_good_for_as_long_as_it_says() {
    let verifier = Verifier::new(vec![user()], scope());
    let presigned = Signed::presigned();
    assert!(presigned.check(&verifier, NOW + 300).is_ok());
    assert!(matches!(
        presigned.check(&verifier, NOW + 301),
        Err(Refused::Expired(_))
    ));
    for expires in ["0", "604801", "-1", "x", ""] {
        let mut wrong = Signed::presigned();
        wrong.uri = wrong
            .uri
            .replace("Expires=300", &format!("Expires={expires}"));
        assert!(
            matches!(wrong.checked(), Err(Refused::Incomplete(_))),
            "{expires}"
        );
    }
}

#[test]
fn the_scope_has_to_be_ours() {
    for (scope, region) in [
        ("20240102/us-east-1/sqs/aws4_request", None),
        ("20240102/us-east-1/execute-api/aws4", None),
        ("20240103/us-east-1/execute-api/aws4_request", None),
        ("2024/us-east-1/execute-api/aws4_request", None),
        (
            "20240102/us-east-1/execute-api/aws4_request",
            Some("eu-west-1".to_owned()),
        ),
    ] {
        let mut signed = Signed::published();
        signed.authorize(scope, "content-type;host;x-amz-date", SIGNATURE);
        let verifier = Verifier::new(
            vec![user()],
            Scope {
                region,
                ..self::scope()
            },
        );
        assert!(
            matches!(signed.check(&verifier, NOW), Err(Refused::Scope(_))),
            "{scope}"
        );
    }
    let ours = Scope {
        region: Some("us-east-1".into()),
        ..scope()
    };
    assert!(
        Signed::published()
            .check(&Verifier::new(vec![user()], ours), NOW)
            .is_ok()
    );
}

#[test]
fn host_and_every_amz_header_have_to_be_signed() {
    let mut signed = Signed::published();
    signed.authorize(
        "20240102/us-east-1/execute-api/aws4_request",
        "content-type;x-amz-date",
        SIGNATURE,
    );
    assert!(matches!(signed.checked(), Err(Refused::Incomplete(_))));
    let mut added = Signed::published();
    added.set("x-amz-target", "AmazonSQS.DeleteQueue");
    assert!(matches!(added.checked(), Err(Refused::Incomplete(_))));
    let mut absent = Signed::published();
    absent.authorize(
        "20240102/us-east-1/execute-api/aws4_request",
        "content-type;host;x-absent;x-amz-date",
        SIGNATURE,
    );
    assert!(matches!(absent.checked(), Err(Refused::Incomplete(_))));
}

#[test]
fn a_payload_hash_has_to_be_the_body_s() {
    for said in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ""] {
        let mut signed = Signed::published();
        signed.set("x-amz-content-sha256", said);
        signed.authorize(
            "20240102/us-east-1/execute-api/aws4_request",
            "content-type;host;x-amz-content-sha256;x-amz-date",
            SIGNATURE,
        );
        let why = match said {
            UNSIGNED => Refused::Unsigned,
            _ => Refused::Payload,
        };
        assert_eq!(signed.checked(), Err(why), "{said}");
    }
}

#[test]
fn what_is_no_signature_is_incomplete_and_none_is_missing() {
    let mut none = Signed::published();
    none.headers.remove("authorization");
    assert_eq!(none.checked(), Err(Refused::Missing));
    for value in [
        "",
        "Bearer x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 nonsense",
        "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b, Signature=c",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e/f, SignedHeaders=b, Signature=c",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240102/r/s/t, SignedHeaders=b",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240102/r/s/t, Signature=c, Signature=c, SignedHeaders=b",
        "AWS4-ECDSA-P256-SHA256 Credential=AKIDEXAMPLE/20240102/s/t, SignedHeaders=b, Signature=c",
    ] {
        let mut signed = Signed::published();
        signed.set("authorization", value);
        assert!(
            matches!(signed.checked(), Err(Refused::Incomplete(_))),
            "{value}"
        );
    }
    let mut both = Signed::presigned();
    both.set(
        "authorization",
        "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b, Signature=c",
    );
    assert!(matches!(both.checked(), Err(Refused::Incomplete(_))));
    for date in ["", "2024-01-02", "20240102T030405", "20241302T030405Z"] {
        let mut signed = Signed::published();
        signed.set("x-amz-date", date);
        assert!(
            matches!(signed.checked(), Err(Refused::Incomplete(_))),
            "{date}"
        );
    }
}

#[test]
fn the_date_header_stands_in_for_the_amz_one() {
    let mut signed = Signed::published();
    signed.headers.remove("x-amz-date");
    signed.set("date", "Tue, 02 Jan 2024 03:04:05 GMT");
    signed.authorize(
        "20240102/us-east-1/execute-api/aws4_request",
        "content-type;host",
        SIGNATURE,
    );
    // Another canonical request, so another signature; but the time was found.
    assert_eq!(signed.checked(), Err(Refused::Mismatch));
    signed.set("date", "yesterday");
    assert!(matches!(signed.checked(), Err(Refused::Incomplete(_))));
}

#[test]
fn secrets_are_not_printed() {
    let printed = format!("{:?}", Verifier::new(vec![user()], scope()));
    assert!(!printed.contains(SECRET), "{printed}");
}

#[test]
fn a_list_of_users_says_everything_that_is_wrong_with_it() {
    let mut twice = user();
    twice.name = "other".into();
    let mut bad = user();
    bad.access_key_id = "a/b".into();
    bad.secret_access_key = SecretText(Secret::new(String::new()));
    let mut problems = Problems::default();
    check_users(
        &[user(), twice, bad],
        &ConfigPath::root().key("credentials"),
        &mut problems,
    );
    let said: Vec<String> = problems
        .0
        .iter()
        .map(|problem| problem.path.to_string())
        .collect();
    assert_eq!(
        said,
        [
            "credentials[1].access_key_id",
            "credentials[2].access_key_id",
            "credentials[2].secret_access_key"
        ]
    );
    check_users(&[], &ConfigPath::root(), &mut problems);
    assert_eq!(problems.0.len(), 4);
}

/// Every byte of method, path, query, signed header and body counts: one changed, and nothing verifies.
#[test]
fn any_changed_byte_of_what_is_signed_is_refused() {
    let verifier = Verifier::new(vec![user()], scope());
    let alphabet = b"abcxyzABC019-_.~%/?&=+*!$',;:@";
    let uri = Signed::published().uri;
    for at in 1..uri.len() {
        for byte in alphabet {
            let mut bytes = uri.clone().into_bytes();
            if bytes[at] == *byte {
                continue;
            }
            bytes[at] = *byte;
            let mut signed = Signed::published();
            signed.uri = String::from_utf8(bytes).unwrap();
            if signed.uri.parse::<Uri>().is_err() {
                continue;
            }
            // `%2x` and `+` may spell the space that was signed.
            if signed.uri.replace('+', "%20") == uri {
                continue;
            }
            assert!(signed.check(&verifier, NOW).is_err(), "{}", signed.uri);
        }
    }
    let body = Signed::published().body;
    for at in 0..body.len() {
        let mut bytes = body.to_vec();
        bytes[at] ^= 1;
        let mut signed = Signed::published();
        signed.body = bytes.leak();
        assert!(signed.check(&verifier, NOW).is_err());
    }
    for name in ["content-type", "host", "x-amz-date"] {
        let value = Signed::published().headers[name]
            .to_str()
            .unwrap()
            .to_owned();
        for at in 0..value.len() {
            let mut bytes = value.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let mut signed = Signed::published();
            signed.set(name, std::str::from_utf8(&bytes).unwrap());
            assert!(signed.check(&verifier, NOW).is_err(), "{name} at {at}");
        }
    }
}

#[test]
fn an_unsigned_payload_needs_leave_and_its_head_still_counts() {
    let sign = |signed: &mut Signed, payload: &str| {
        signed.set("x-amz-content-sha256", payload);
        let names = "content-type;host;x-amz-content-sha256;x-amz-date";
        let place = "20240102/us-east-1/execute-api/aws4_request";
        signed.authorize(place, names, "00");
        let lenient = Scope {
            unsigned_payload: true,
            ..scope()
        };
        let verifier = Verifier::new(vec![user()], lenient);
        let uri: Uri = signed.uri.parse().unwrap();
        let head = Head {
            method: &signed.method,
            uri: &uri,
            headers: &signed.headers,
        };
        let claim = verifier.claim(&head, NOW).unwrap();
        let canonical = claim.canonical[0].with(payload);
        let to_sign = format!("{ALGORITHM}\n20240102T030405Z\n{place}\n{canonical}");
        let signature = hex(hmac::sign(&claim.signing_key(), to_sign.as_bytes()).as_ref());
        signed.authorize(place, names, &signature);
        verifier
    };
    let mut signed = Signed::published();
    let lenient = sign(&mut signed, UNSIGNED);
    assert_eq!(signed.checked(), Err(Refused::Unsigned));
    assert!(signed.check(&lenient, NOW).is_ok());
    signed.body = b"anything";
    assert!(signed.check(&lenient, NOW).is_ok());
    signed.uri = "/events?b=2&a=x%20z".into();
    assert_eq!(signed.check(&lenient, NOW), Err(Refused::Mismatch));

    // A declared hash proves the head before there is a body, and the body has to be the one.
    let mut declared = Signed::published();
    let strict = Verifier::new(vec![user()], scope());
    let hash = sha256_hex(declared.body);
    sign(&mut declared, &hash);
    let uri: Uri = declared.uri.parse().unwrap();
    let head = Head {
        method: &declared.method,
        uri: &uri,
        headers: &declared.headers,
    };
    let claim = strict.claim(&head, NOW).unwrap();
    assert_eq!(claim.verify_head(), Ok(true));
    assert_eq!(claim.verify_body(declared.body), Ok(()));
    assert_eq!(claim.verify_body(b"other"), Err(Refused::Payload));
    let mut streaming = Signed::published();
    let lenient = sign(&mut streaming, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    assert_eq!(streaming.check(&lenient, NOW), Err(Refused::Payload));
}

#[test]
fn a_parameter_of_a_presigned_request_that_stands_twice_is_refused() {
    let mut presigned = Signed::presigned();
    presigned.uri.push_str("&X-Amz-Expires=9000");
    assert!(matches!(presigned.checked(), Err(Refused::Incomplete(_))));
}
