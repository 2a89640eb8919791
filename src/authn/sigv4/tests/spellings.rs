//! One signature, one request: other spellings of what was signed, and of who signed.

use super::*;

#[test]
fn signed_headers_are_in_lower_case_and_in_order_and_none_stands_twice() {
    for names in [
        "content-type;host;host;x-amz-date",
        "content-type;content-type;host;x-amz-date",
        "host;content-type;x-amz-date",
        "Content-Type;host;x-amz-date",
    ] {
        let mut signed = Signed::published();
        let place = "20240102/us-east-1/execute-api/aws4_request";
        signed.authorize(place, names, SIGNATURE);
        assert!(
            matches!(signed.checked(), Err(Refused::Incomplete(_))),
            "{names}"
        );
    }
}

/// Signs a path with a spelling of its own, as `Signed::published` is otherwise.
fn signed_as(sent: &str, signed_path: &str) -> Signed {
    let mut signed = Signed::published();
    signed.uri = signed_path.into();
    let verifier = Verifier::new(vec![user()], scope());
    let uri: Uri = signed.uri.parse().unwrap();
    let head = Head {
        method: &signed.method,
        uri: &uri,
        headers: &signed.headers,
    };
    let claim = verifier.claim(&head, NOW).unwrap();
    let place = "20240102/us-east-1/execute-api/aws4_request";
    let canonical = claim.canonical[0].with(&sha256_hex(signed.body));
    let to_sign = format!("{ALGORITHM}\n20240102T030405Z\n{place}\n{canonical}");
    let signature = hex(hmac::sign(&claim.signing_key(), to_sign.as_bytes()).as_ref());
    signed.authorize(place, "content-type;host;x-amz-date", &signature);
    signed.uri = sent.into();
    signed
}

#[test]
fn a_signature_for_one_path_opens_no_other() {
    assert!(signed_as("/pub/c", "/pub/c").checked().is_ok());
    assert!(signed_as("/pub//c", "/pub//c").checked().is_ok());
    for sent in ["/pub//c", "//pub/c", "/pub/c/", "/pub/%63"] {
        let refused = signed_as(sent, "/pub/c").checked();
        assert_eq!(refused, Err(Refused::Mismatch), "{sent}");
    }
    for sent in [
        "/admin/../pub/c",
        "/pub/./c",
        "/admin/%2e%2E/pub/c",
        "/admin/.%2e/pub/c",
        "/admin%2f..%2fpub/c",
    ] {
        let refused = signed_as(sent, "/pub/c").checked().unwrap_err();
        assert!(
            refused.to_string().contains("'.' or '..'"),
            "{sent}: {refused}"
        );
    }
    // Where the path does not decide, either spelling is the signed one.
    let either = Scope {
        paths: Paths::Normalized,
        ..scope()
    };
    let verifier = Verifier::new(vec![user()], either);
    let signed = signed_as("/x/..//pub/./c", "/pub/c");
    assert!(signed.check(&verifier, NOW).is_ok());
}

#[test]
fn of_a_key_that_nobody_has_nothing_else_is_said() {
    let none = Verifier::new(vec![], scope());
    let uri: Uri = Signed::published().uri.parse().unwrap();
    let signed = Signed::published();
    let head = Head {
        method: &signed.method,
        uri: &uri,
        headers: &signed.headers,
    };
    assert_eq!(none.claim(&head, NOW).unwrap_err(), Refused::UnknownToken);
    // What else is wrong is not said either.
    let late = none.claim(&head, NOW + 10_000).unwrap_err();
    assert_eq!(late, Refused::UnknownToken);
}
