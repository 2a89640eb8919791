//! What is wrong with a `jwt` authorizer: every fault at its place.

use super::check;

const SECRET: &str = "'a secret of thirty-two bytes, yes'";
const KEY: &str = r#"'{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}'"#;

/// What stands in `jwt: { … }`, and the one error, from its path on.
const FAULTS: &[(&str, &str)] = &[
    (
        "audience: [shop]",
        "jwt: no issuer is written, so no token could be checked; write `issuer: https://…`, or `issuers`",
    ),
    (
        "issuer: 'https://i.example'",
        "jwt.audience: no audience is written, so tokens for others would do; write who you are to the issuer: `audience: [shop]`",
    ),
    (
        "issuer: 'https://i.example', audience: []",
        "jwt.audience: no audience is written, so tokens for others would do; write who you are to the issuer: `audience: [shop]`",
    ),
    (
        "issuer: 'https://i.example', audience: ['']",
        "jwt.audience: an audience is empty",
    ),
    (
        "issuer: 'https://i.example', audience: {MANY}",
        "jwt.audience: 51 audiences; allowed: up to 50",
    ),
    (
        "issuer: i.example, audience: [shop]",
        r#"jwt.issuer: "i.example" is not the URL of a server; write it whole: https://idp.example.com"#,
    ),
    (
        "issuer: '', audience: [shop]",
        r#"jwt.issuer: "" is not the URL of a server; write it whole: https://idp.example.com"#,
    ),
    (
        "issuer: 'ftp://i.example', audience: [shop]",
        r#"jwt.issuer: "ftp://i.example" is not the URL of a server; write it whole: https://idp.example.com"#,
    ),
    (
        "issuer: 'https://i.example?a=1', audience: [shop]",
        r#"jwt.issuer: "https://i.example?a=1" has a query or a fragment, which has no place there"#,
    ),
    (
        "issuer: 'https://i.example/#a', audience: [shop]",
        r#"jwt.issuer: "https://i.example/#a" has a query or a fragment, which has no place there"#,
    ),
    (
        "issuer: 'https://u:p@i.example', audience: [shop]",
        "jwt.issuer: a URL with a user and a password in it is not fetched",
    ),
    (
        "issuer: 'https://i.example', audience: [shop], jwks_uri: keys.json",
        r#"jwt.jwks_uri: "keys.json" is not the URL of a server; write it whole: https://idp.example.com"#,
    ),
    (
        "issuer: i, audience: [shop], jwks_uri: 'https://i.example/k', jwks: {KEY}",
        "jwt.jwks: `jwks` stands beside `jwks_uri`; keys come from one place; leave `jwks_uri` or `jwks` out",
    ),
    (
        "issuer: i, audience: [shop], jwks: {KEY}, secret: {SECRET}",
        "jwt.secret: `secret` stands beside `jwks`; keys come from one place; leave `jwks` or `secret` out",
    ),
    (
        "issuer: i, audience: [shop], jwks: keys.json",
        "jwt.jwks: this is no JWK set: it is not a JSON object, or says something twice; write `${file:keys.json}` for a file that holds `{\"keys\":[…]}`",
    ),
    (
        "issuer: i, audience: [shop], jwks: '{\"keys\":[]}'",
        "jwt.jwks: the set has no key that tokens could be checked with; a JWK set is `{\"keys\":[…]}` with RSA, EC or OKP keys for signatures",
    ),
    (
        "issuer: i, audience: [shop], secret: short",
        "jwt.secret: the secret is shorter than 32 bytes; HS256 is as strong as its secret: `openssl rand -base64 48`",
    ),
    (
        "issuer: i, audience: [shop], secret: {SECRET}, algorithms: [RS256]",
        "jwt.secret: a secret is for HS256, which `algorithms` does not accept; leave `algorithms` out, or the secret",
    ),
    (
        "issuer: 'https://i.example', audience: [shop], algorithms: [RS256, HS256]",
        "jwt.algorithms: HS256 is for a secret, and none is written; write `secret`, or leave HS256 out",
    ),
    (
        "issuer: 'https://i.example', audience: [shop], algorithms: [none]",
        r#"jwt.algorithms[0]: "none" is not an algorithm that can be accepted; allowed: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, HS256"#,
    ),
    (
        "issuer: 'https://i.example', audience: [shop], algorithms: [HS512]",
        r#"jwt.algorithms[0]: "HS512" is not an algorithm that can be accepted; did you mean RS512? allowed: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, HS256"#,
    ),
    (
        "issuer: 'https://i.example', audience: [shop], algorithms: [rs-256]",
        r#"jwt.algorithms[0]: "rs-256" is not an algorithm that can be accepted; did you mean RS256? allowed: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, HS256"#,
    ),
    (
        "issuer: 'https://i.example', audience: [shop], leeway: 61s",
        "jwt.leeway: 61s is out of range; allowed: 0 to 60s",
    ),
    (
        "issuer: 'https://i.example', audience: [shop], leeway: 500ms",
        "jwt.leeway: 500ms is not whole seconds; times in tokens count seconds",
    ),
    (
        "issuer: 'https://i.example', audience: [shop], identity_source: authorization",
        r#"jwt.identity_source: "authorization" is not a place for a token; allowed: `$request.header.NAME`, `$request.querystring.NAME`"#,
    ),
    (
        "issuer: 'https://i.example', audience: [shop], identity_source: '$request.header.a b'",
        r#"jwt.identity_source: "a b" is not a header name"#,
    ),
    (
        "issuer: 'https://i.example', audience: [shop], claims: { tier: [] }",
        "jwt.claims.tier: the list is empty, so no token could have one of its values; write the values that are accepted",
    ),
    (
        "issuer: 'https://i.example', issuers: [ { issuer: 'https://j.example', audience: shop } ]",
        "jwt.issuer: `issuer` stands beside `issuers`; write it with the issuer that it is for",
    ),
    (
        "issuers: [ { issuer: 'https://j.example', audience: shop }, { issuer: 'https://j.example', audience: till } ]",
        "jwt.issuers[1].issuer: the same issuer twice; write its audiences in one list",
    ),
    (
        "issuers: [ { issuer: 'https://j.example' } ]",
        "jwt.issuers[0].audience: no audience is written, so tokens for others would do; write who you are to the issuer: `audience: [shop]`",
    ),
    (
        "issuers: [ { issuer: s, audience: shop, secret: {SECRET} }, { issuer: 'https://j.example', audience: till } ], algorithms: [HS256]",
        "jwt.issuers[1].issuer: its keys are public, and `algorithms` accepts HS256 alone; name an algorithm for public keys too",
    ),
    (
        "issuer: 'https://i.example', audience: [shop], lewway: 1s",
        "jwt.lewway: unknown key `lewway`; did you mean `leeway`? allowed: `issuer`, `audience`, `jwks_uri`, `jwks`, `secret`, `issuers`, `algorithms`, `leeway`, `identity_source`, `claims`, `cache`",
    ),
];

/// What is warned of and stands in nobody's way.
const WARNINGS: &[(&str, &str)] = &[
    (
        "issuer: 'http://i.example', audience: [shop]",
        "jwt.issuer: keys over plain HTTP can be changed by whoever is on the way; write https://",
    ),
    (
        "issuer: 'https://i.example', audience: [shop], jwks_uri: 'http://i.example/k'",
        "jwt.jwks_uri: keys over plain HTTP can be changed by whoever is on the way; write https://",
    ),
    (
        "issuer: 'https://i.example', audience: [shop], identity_source: $request.querystring.token",
        "jwt.identity_source: a token in the query ends up in logs, histories and referrers; move callers to a header, then remove this",
    ),
];

fn lines(jwt: &str) -> (Vec<String>, i32) {
    let many: Vec<String> = (0..51).map(|number| format!("a{number}")).collect();
    let jwt = jwt
        .replace("{MANY}", &format!("[{}]", many.join(", ")))
        .replace("{SECRET}", SECRET)
        .replace("{KEY}", KEY);
    check(&format!(
        "authorizers: {{ p: {{ jwt: {{ {jwt} }} }} }}\nroutes: {{ 'GET /ok': {{ authorizer: p, integration: {{ Mock: {{}} }} }} }}\n"
    ))
}

#[test]
fn each_fault_of_a_token_authorizer_is_said_alone() {
    let mut wrong = Vec::new();
    for (jwt, said) in FAULTS {
        let (lines, code) = lines(jwt);
        let expected = format!(" error: authorizers.p.{said}");
        let alone = lines.len() == 2 && lines[0].ends_with(&expected);
        if code != 1 || !alone || !lines[0].starts_with("shop.yaml:1:") {
            wrong.push(format!(
                "{jwt}\n  wanted: {expected}\n  exit {code}: {lines:#?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn plain_http_and_tokens_in_the_query_are_warned_of() {
    for (jwt, said) in WARNINGS {
        let (lines, code) = lines(jwt);
        let expected = format!(" warning: authorizers.p.{said}");
        assert_eq!(code, 0, "{lines:#?}");
        assert!(lines[0].ends_with(&expected), "{expected}: {lines:#?}");
    }
    for good in [
        "issuer: 'https://i.example', audience: shop",
        "issuer: 'https://i.example/pool/', audience: [shop, 7], leeway: 1m, algorithms: [ES256], claims: { mfa: true, tier: [gold, 2] }",
        "issuer: tills, audience: shop, secret: {SECRET}",
        "issuer: tills, audience: shop, jwks: {KEY}",
    ] {
        let (lines, code) = lines(good);
        let ok = vec!["ok: 1 route, 0 errors, 0 warnings".to_owned()];
        assert_eq!((lines, code), (ok, 0), "{good}");
    }
}

#[test]
fn a_secret_is_never_shown() {
    let (lines, _) = lines("issuer: i, audience: [shop], secret: hunter2, leeway: 2m");
    assert!(!lines.join("\n").contains("hunter2"), "{lines:#?}");
}
