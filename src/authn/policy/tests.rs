mod faults;

use std::sync::Arc;

use http::HeaderName;
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::*;
use crate::model::call::Call;
use crate::model::peer::Peer;

/// 2026-01-15T12:00:00Z
const NOON: i64 = 1_768_478_400;

/// A request that policies are asked about.
struct Sample {
    method: &'static str,
    path: &'static str,
    route_key: &'static str,
    from: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    caller: Option<Principal>,
}

impl Default for Sample {
    fn default() -> Self {
        Sample {
            method: "GET",
            path: "/hello",
            route_key: "GET /hello",
            from: "203.0.113.7",
            headers: Vec::new(),
            caller: None,
        }
    }
}

impl Sample {
    fn ask(&self, document: &Document) -> Answer {
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(format!("/DemoStage{}", self.path));
        for (name, value) in &self.headers {
            request = request.header(HeaderName::from_static(name), *value);
        }
        let address = |ip: &str| std::net::SocketAddr::new(ip.parse().unwrap(), 1);
        let peer = Peer::tcp(address(self.from), address("127.0.0.1"), "public");
        let call = Call::new(request.body(()).unwrap().into_parts().0, Arc::new(peer));
        let presented = Presented {
            call: &call,
            api: "abc123",
            stage: "DemoStage",
            route_key: self.route_key,
            path: self.path,
            path_variables: &[],
            stage_variables: &IndexMap::new(),
            now: NOON,
        };
        document.answer(&Asked::of(&presented, self.caller.as_ref()))
    }

    fn word(&self, document: &Document) -> &'static str {
        match self.ask(document) {
            Answer::Allowed(_) => "allow",
            Answer::Denied(_) => "deny",
            Answer::Silent => "silent",
        }
    }
}

fn shop() -> Principal {
    Principal {
        name: "shop".into(),
        account: ACCOUNT.into(),
        arn: format!("arn:aws:iam::{ACCOUNT}:user/shop").into(),
        foreign: false,
    }
}

fn resource(document: &Value) -> Document {
    let (document, faults) = Document::parse("the resource policy", document, Side::Resource);
    let errors: Vec<_> = faults.iter().filter(|fault| fault.is_error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    document
}

fn users(document: &Value) -> Document {
    let side = Side::Caller {
        region: Some("us-east-1"),
    };
    let (document, faults) = Document::parse("the policy of shop", document, side);
    let errors: Vec<_> = faults.iter().filter(|fault| fault.is_error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    document
}

fn allow(resource: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": { "Effect": "Allow", "Action": "execute-api:Invoke", "Resource": resource }
    })
}

/// The policy of the on-premises seed: everyone, but only through one endpoint.
fn seed() -> Value {
    let arn = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/DemoStage/GET/hello";
    json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke", "Resource": arn },
            { "Effect": "Deny", "Principal": "*", "Action": "execute-api:Invoke", "Resource": arn,
              "Condition": { "StringNotEquals": { "aws:SourceVpce": "vpce-0123456789abcdef0" } } }
        ]
    })
}

#[test]
fn the_seed_s_policy_denies_whoever_comes_by_no_endpoint() {
    let policy = resource(&seed());
    assert_eq!(
        Sample::default().ask(&policy),
        Answer::Denied(Reason {
            document: "the resource policy".into(),
            statement: "Statement[1]".into()
        })
    );
    let other = Sample {
        path: "/other",
        route_key: "GET /other",
        ..Sample::default()
    };
    assert_eq!(other.word(&policy), "silent");
}

#[test]
fn resources_mean_requests() {
    const ROWS: &str = "\
* /hello allow
execute-api:/DemoStage/GET/hello /hello allow
execute-api:/DemoStage/*/hello /hello allow
execute-api:/* /hello allow
execute-api:/*/GET/* /hello allow
execute-api:/DemoStage/GET/hell? /hello allow
execute-api:/DemoStage/GET/hell /hello silent
execute-api:/DemoStage/POST/* /hello silent
execute-api:/demostage/GET/hello /hello silent
arn:aws:execute-api:us-east-1:123456789012:abc123/DemoStage/GET/hello /hello allow
arn:aws:execute-api:us-east-1:*:abc123/* /hello allow
arn:aws:execute-api:*:*:* /hello allow
arn:aws:execute-api:us-*:123456789012:abc*/DemoStage/* /hello allow
arn:aws:execute-api:eu-west-1:123456789012:abc123/* /hello silent
arn:aws:execute-api:us-east-1:123456789012:other/* /hello silent
execute-api:/DemoStage/GET/hello /%68ello allow
execute-api:/DemoStage/GET/hello /hello/ allow
execute-api:/DemoStage/GET/hello /hello/ silent /{proxy+}
execute-api:/DemoStage/GET/a/b /a%2Fb silent /{x}
execute-api:/DemoStage/GET/a%2Fb /a%2fb allow /{x}
execute-api:/DemoStage/GET/ / allow /
execute-api:/DemoStage/*/$default /any allow $default
execute-api:/DemoStage/*/$default /hello silent";
    for row in ROWS.lines() {
        let mut words = row.split(' ');
        let mut next = || words.next();
        let (pattern, path, word) = (next().unwrap(), next().unwrap(), next().unwrap());
        let sample = Sample {
            path,
            route_key: match next() {
                None => "GET /hello",
                Some("/{proxy+}") => "GET /{proxy+}",
                Some("/{x}") => "GET /{x}",
                Some(other) => other,
            },
            ..Sample::default()
        };
        assert_eq!(sample.word(&users(&allow(pattern))), word, "{row}");
    }
}

#[test]
fn a_resource_policy_is_about_the_api_that_it_is_attached_to() {
    for (arn, word) in [
        (
            "arn:aws:execute-api:eu-west-1:123456789012:other/DemoStage/GET/hello",
            "allow",
        ),
        (
            "arn:aws:execute-api:eu-west-1:123456789012:other/prod/GET/hello",
            "silent",
        ),
        (
            "arn:aws:execute-api:eu-west-1:123456789012:oth*/DemoStage/GET/hello",
            "allow",
        ),
        (
            "arn:aws:execute-api:eu-west-1:123456789012:*/GET/hello",
            "allow",
        ),
        ("arn:aws:execute-api:eu-west-1:123456789012:*", "allow"),
    ] {
        let mut document = allow(arn);
        document["Statement"]["Principal"] = "*".into();
        assert_eq!(Sample::default().word(&resource(&document)), word, "{arn}");
    }
}

#[test]
fn a_path_that_is_repeated_in_a_statement_allows_nothing_else() {
    assert_eq!(
        arn_path("/a*/%2A?/${aws:username}"),
        "/a%2A/%2A%3F/%24{aws:username}"
    );
    let sample = Sample {
        path: "/x/*",
        route_key: "GET /{proxy+}",
        ..Sample::default()
    };
    let repeated = format!("execute-api:/DemoStage/GET{}", arn_path(sample.path));
    let policy = users(&allow(&repeated));
    assert_eq!(sample.word(&policy), "allow");
    let other = Sample {
        path: "/x/secret",
        route_key: "GET /{proxy+}",
        ..Sample::default()
    };
    assert_eq!(other.word(&policy), "silent");
}

#[test]
fn a_path_with_dot_segments_is_denied_whatever_is_allowed() {
    let everything = users(&allow("*"));
    for path in [
        "/public/../secret/c",
        "/public/%2e%2E/secret",
        "/public/.%2e%2fsecret",
        "/public/./c",
        "/public/..%5csecret",
        "/public/..",
    ] {
        let sample = Sample {
            path,
            route_key: "GET /public/{rest+}",
            ..Sample::default()
        };
        assert_eq!(sample.word(&everything), "deny", "{path}");
    }
    for path in [
        "/public/a..b",
        "/public/...",
        "/public//c",
        "/public/.well-known",
    ] {
        let sample = Sample {
            path,
            route_key: "GET /public/{rest+}",
            ..Sample::default()
        };
        assert_eq!(sample.word(&everything), "allow", "{path}");
    }
}

#[test]
fn actions_are_matched_whatever_their_case_and_other_services_are_left_alone() {
    for (action, word) in [
        (json!("execute-api:Invoke"), "allow"),
        (json!("EXECUTE-API:invoke"), "allow"),
        (json!("execute-api:*"), "allow"),
        (json!("*"), "allow"),
        (
            json!(["execute-api:InvalidateCache", "execute-api:Inv*"]),
            "allow",
        ),
        (json!("execute-api:InvalidateCache"), "silent"),
        (json!(["s3:GetObject", "sqs:*"]), "silent"),
    ] {
        let mut document = allow("*");
        document["Statement"]["Action"] = action.clone();
        assert_eq!(Sample::default().word(&users(&document)), word, "{action}");
    }
    let mut document = allow("*");
    let statement = document["Statement"].as_object_mut().unwrap();
    statement.remove("Action");
    statement.insert("NotAction".into(), "execute-api:Invoke".into());
    assert_eq!(Sample::default().word(&users(&document)), "silent");
    document["Statement"]["NotAction"] = "execute-api:InvalidateCache".into();
    assert_eq!(Sample::default().word(&users(&document)), "allow");
}

#[test]
fn all_but_a_resource_is_every_other_one() {
    let document = json!({ "Version": "2012-10-17", "Statement": [
        { "Sid": "Others", "Effect": "Deny", "Action": "execute-api:Invoke", "NotResource": "execute-api:/DemoStage/GET/*" },
        { "Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*" }
    ] });
    let policy = users(&document);
    assert_eq!(Sample::default().word(&policy), "allow");
    let post = Sample {
        method: "POST",
        ..Sample::default()
    };
    let Answer::Denied(reason) = post.ask(&policy) else {
        panic!("not denied");
    };
    assert_eq!(
        reason.to_string(),
        "statement `Others` of the policy of shop"
    );
}

#[test]
fn principals_are_who_signed() {
    let document = |principal: Value| {
        resource(&json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Principal": principal, "Action": "execute-api:Invoke", "Resource": "*" }
        ] }))
    };
    let foreign = Principal {
        account: "111122223333".into(),
        arn: "arn:aws:iam::111122223333:user/partner".into(),
        name: "partner".into(),
        foreign: true,
    };
    for (principal, anonymous, own, partner) in [
        (json!("*"), "allow", "allow", "allow"),
        (json!({ "AWS": "*" }), "allow", "allow", "allow"),
        (
            json!({ "AWS": ["111122223333"] }),
            "silent",
            "silent",
            "allow",
        ),
        (
            json!({ "AWS": "arn:aws:iam::111122223333:root" }),
            "silent",
            "silent",
            "allow",
        ),
        (
            json!({ "AWS": "arn:aws:iam::111122223333:user/partner" }),
            "silent",
            "silent",
            "allow",
        ),
        (
            json!({ "AWS": "arn:aws:iam::000000000000:user/shop" }),
            "silent",
            "allow",
            "silent",
        ),
        (
            json!({ "AWS": "arn:aws:iam::111122223333:user/other" }),
            "silent",
            "silent",
            "silent",
        ),
    ] {
        let policy = document(principal.clone());
        for (caller, word) in [
            (None, anonymous),
            (Some(shop()), own),
            (Some(foreign.clone()), partner),
        ] {
            let sample = Sample {
                caller,
                ..Sample::default()
            };
            assert_eq!(sample.word(&policy), word, "{principal}");
        }
    }
}

/// Operator, key, values; what a request from 203.0.113.7 with the user agent `curl/8.5` at noon of 2026-01-15 says, and
/// the same signed by the user `shop`.
#[test]
fn conditions_hold_or_do_not() {
    const ROWS: &str = r#"
StringEquals aws:UserAgent "curl/8.5" yes yes
StringEquals aws:useragent ["x","curl/8.5"] yes yes
StringEquals aws:UserAgent "curl/*" no no
StringEquals aws:UserAgent "CURL/8.5" no no
StringEqualsIgnoreCase aws:UserAgent "CURL/8.5" yes yes
StringNotEqualsIgnoreCase aws:UserAgent "CURL/8.5" no no
StringNotEquals aws:UserAgent ["x","curl/8.5"] no no
StringNotEquals aws:UserAgent ["x","y"] yes yes
StringLike aws:UserAgent "curl/*" yes yes
StringLike aws:UserAgent "curl/?.?" yes yes
StringNotLike aws:UserAgent "curl/*" no no
StringEquals aws:Referer "x" no no
StringNotEquals aws:Referer "x" yes yes
StringEqualsIfExists aws:Referer "x" yes yes
StringNotEqualsIfExists aws:Referer "x" yes yes
StringLike aws:Referer "*" no no
StringNotEquals aws:SourceVpce "vpce-1" yes yes
NotIpAddress aws:VpcSourceIp "10.0.0.0/8" yes yes
IpAddressIfExists aws:VpcSourceIp "10.0.0.0/8" yes yes
ArnNotLike aws:PrincipalArn "arn:aws:iam::*:user/other" yes yes
Null aws:Referer "true" yes yes
Null aws:Referer false no no
Null aws:UserAgent "false" yes yes
Null aws:username true yes no
IpAddress aws:SourceIp "203.0.113.0/24" yes yes
IpAddress aws:SourceIp ["10.0.0.0/8","203.0.113.7"] yes yes
IpAddress aws:SourceIp "203.0.113.9/24" yes yes
IpAddress aws:SourceIp "2001:db8::/32" no no
NotIpAddress aws:SourceIp ["10.0.0.0/8","203.0.113.0/24"] no no
NotIpAddress aws:SourceIp "10.0.0.0/8" yes yes
StringEquals aws:SourceIp "203.0.113.7" yes yes
DateLessThan aws:CurrentTime "2026-01-15T12:00:01Z" yes yes
DateLessThan aws:CurrentTime "2026-01-15T12:00:00Z" no no
DateLessThanEquals aws:CurrentTime "2026-01-15T13:00:00+01:00" yes yes
DateGreaterThan aws:CurrentTime "2026-01-15" yes yes
DateGreaterThanEquals aws:EpochTime 1768478400 yes yes
DateEquals aws:EpochTime "2026-01-15T12:00:00Z" yes yes
DateNotEquals aws:CurrentTime "2026-01-15T12:00:00Z" no no
StringLike aws:CurrentTime "2026-01-*" yes yes
NumericLessThan aws:EpochTime 1768478401 yes yes
NumericGreaterThan aws:EpochTime "1768478400" no no
NumericEquals aws:EpochTime 1768478400 yes yes
NumericNotEquals aws:MultiFactorAuthAge 1 yes yes
Bool aws:SecureTransport "false" yes yes
Bool aws:SecureTransport true no no
Bool aws:MultiFactorAuthPresent "true" no no
BoolIfExists aws:MultiFactorAuthPresent "true" yes yes
StringEquals aws:username "shop" no yes
StringNotEquals aws:username "shop" yes no
StringEquals aws:userid "shop" no yes
StringEquals aws:PrincipalType "User" no yes
StringEquals aws:PrincipalType "Anonymous" yes no
StringEquals aws:PrincipalAccount "000000000000" no yes
ArnEquals aws:PrincipalArn "arn:aws:iam::000000000000:user/sh*" no yes
ArnLike aws:PrincipalArn "arn:aws:iam::*:user/shop" no yes
ArnLike aws:PrincipalArn "arn:*:*:*:*:user/shop" no yes
StringLike aws:PrincipalArn "arn:*user/shop" no yes
StringEquals aws:username "${aws:userid}" no yes
StringEquals aws:PrincipalTag/team "x" no no
ForAnyValue:StringEquals aws:UserAgent ["curl/8.5"] yes yes
ForAnyValue:StringLike aws:PrincipalOrgPaths ["o-1/*"] no no
ForAllValues:StringLike aws:PrincipalOrgPaths ["o-1/*"] yes yes
ForAllValues:StringEquals aws:UserAgent ["wget"] no no
"#;
    for row in ROWS.trim().lines() {
        let [operator, key, values, anonymous, signed] = row.split(' ').collect::<Vec<_>>()[..]
        else {
            panic!("{row}");
        };
        let values: Value = serde_json::from_str(values).unwrap();
        let (anonymous, signed) = (anonymous == "yes", signed == "yes");
        let mut document = allow("*");
        document["Statement"]["Condition"] = json!({ operator: { key: values } });
        let policy = users(&document);
        for (caller, holds) in [(None, anonymous), (Some(shop()), signed)] {
            let sample = Sample {
                headers: vec![("user-agent", "curl/8.5")],
                caller,
                ..Sample::default()
            };
            let word = if holds { "allow" } else { "silent" };
            assert_eq!(sample.word(&policy), word, "{operator} {key} {values}");
        }
    }
}

#[test]
fn all_conditions_of_a_statement_must_hold() {
    let mut document = allow("*");
    let condition = &mut document["Statement"]["Condition"];
    *condition = json!({
        "IpAddress": { "aws:SourceIp": "203.0.113.0/24" },
        "StringEquals": { "aws:UserAgent": "a", "aws:Referer": "b" }
    });
    let policy = users(&document);
    let mut sample = Sample {
        headers: vec![("user-agent", "a"), ("referer", "b")],
        ..Sample::default()
    };
    assert_eq!(sample.word(&policy), "allow");
    sample.from = "198.51.100.1";
    assert_eq!(sample.word(&policy), "silent");
    sample.from = "203.0.113.1";
    sample.headers.pop();
    assert_eq!(sample.word(&policy), "silent");
}

#[test]
fn variables_are_the_caller_s_own_and_only_in_the_newer_version() {
    let mut document = allow("execute-api:/DemoStage/GET/users/${aws:username}/*");
    let sample = |caller| Sample {
        path: "/users/shop/orders",
        route_key: "GET /users/{id}/orders",
        caller,
        ..Sample::default()
    };
    assert_eq!(sample(Some(shop())).word(&users(&document)), "allow");
    assert_eq!(sample(None).word(&users(&document)), "silent");
    document["Version"] = "2008-10-17".into();
    assert_eq!(sample(Some(shop())).word(&users(&document)), "silent");
}

#[test]
fn the_two_sides_decide_by_the_vendor_s_tables() {
    let reason = || Reason {
        document: "a".into(),
        statement: "b".into(),
    };
    let of = |word: &str| match word {
        "allow" => Answer::Allowed(reason()),
        "deny" => Answer::Denied(reason()),
        _ => Answer::Silent,
    };
    for (caller, resource, same, other) in [
        ("allow", "allow", "allow", "allow"),
        ("allow", "silent", "allow", "silent"),
        ("silent", "allow", "allow", "silent"),
        ("silent", "silent", "silent", "silent"),
        ("deny", "allow", "deny", "deny"),
        ("deny", "silent", "deny", "deny"),
        ("allow", "deny", "deny", "deny"),
        ("silent", "deny", "deny", "deny"),
        ("deny", "deny", "deny", "deny"),
    ] {
        assert_eq!(
            decide(of(caller), of(resource), false),
            of(same),
            "{caller} {resource}"
        );
        assert_eq!(
            decide(of(caller), of(resource), true),
            of(other),
            "{caller} {resource}"
        );
    }
}
