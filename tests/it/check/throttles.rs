//! Limits of number: every fault with its path, what was found and what to write.

use super::check;

/// What stands at the top, what stands in the route, and what is said.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "throttle: [{ rate: 1 }, { rate: 2 }]",
        "authorizer: none",
        "error: throttle[1]: two buckets are called `route`; give one of them a `name`",
    ),
    (
        "throttle: [{ rate: 1 }, { rate: -2, name: b }]",
        "authorizer: none",
        "error: throttle[1].rate: -2 is not a rate; allowed: tokens a second, from 0 (refuses everything)",
    ),
    (
        "throttle: { rate: 1, name: 'a b' }",
        "authorizer: none",
        "error: throttle.name: \"a b\" is not a name of a bucket; allowed: letters, digits, `-`, `_` and `.`, up to 64 characters",
    ),
    (
        "throttle: { rate: 1, per: $request.path.id }",
        "authorizer: none",
        "error: throttle.per: `$request.path.id`: the route key has no variable `{id}`",
    ),
    (
        "throttle: { rate: 1, shared_timeout: 10ms }",
        "authorizer: none",
        "error: throttle.shared_timeout: the bucket is not shared; name a Redis under `shared`, or leave this out",
    ),
    (
        "throttle: { rate: 1, when_shared_fails: open }",
        "authorizer: none",
        "error: throttle.when_shared_fails: the bucket is not shared; name a Redis under `shared`, or leave this out",
    ),
    (
        "auth_failures: { rate: 0 }",
        "authorizer: none",
        "error: auth_failures.rate: 0 would refuse everybody, for ever; `auth_failures: none` forgives everything",
    ),
    (
        "auth_failures: { rate: 1, ipv6_prefix: 0 }",
        "authorizer: none",
        "error: auth_failures.ipv6_prefix: an IPv6 address has no /0; allowed: 1 to 128 bits; a site usually has a /64",
    ),
    (
        "auth_failures: { rate: 1, burst: 0 }",
        "authorizer: none",
        "error: auth_failures.burst: a bucket of size 0 never gives a token",
    ),
    (
        "api: shop",
        "throttle: { rate: 1, per: always }",
        r#"error: routes."POST /a".throttle.per: it is the same for every request; leave `per` out"#,
    ),
    (
        "api: shop",
        "throttle: { rate: 1, per: $context.requestId }",
        r#"error: routes."POST /a".throttle.per: `$context.requestId` is another one for each request, so nobody would ever be limited; name what tells callers apart"#,
    ),
    (
        "api: shop",
        "throttle: { rate: 1, per: $context.identity.sourceIP }",
        r#"error: routes."POST /a".throttle.per: `$context.identity.sourceIP` never has a value here, so all requests would share one bucket; did you mean `$context.identity.sourceIp`?"#,
    ),
    (
        "api: shop",
        "throttle: { rate: 1, per: $request.path, ipv6_prefix: 48 }",
        r#"error: routes."POST /a".throttle.ipv6_prefix: it says how addresses are told apart, and the bucket is not `per: $context.identity.sourceIp`; leave it out"#,
    ),
    (
        "api: shop",
        "throttle: { rate: 1, per: $context.identity.sourceIp, ipv6_prefix: 129 }",
        r#"error: routes."POST /a".throttle.ipv6_prefix: an IPv6 address has no /129"#,
    ),
    (
        "api: shop",
        "throttle: { rate: 1, shared: 'http://h' }",
        r#"error: routes."POST /a".throttle.shared: the URL cannot be used: it does not begin with redis:// or rediss://"#,
    ),
    (
        "api: shop",
        "throttle: { rate: 1, shared: 'redis://h/0', shared_timeout: 5s }",
        r#"error: routes."POST /a".throttle.shared_timeout: 5s is out of range; allowed: 1ms to 1s; requests wait that long while Redis hangs"#,
    ),
    (
        "api: shop",
        "throttle: { rate: 1, shared: 'redis://h/0', when_shared_fails: never }",
        "allowed: `local`, `open`, `closed`",
    ),
    (
        "throttle: { rate: 1, name: all, per: $request.path, shared: 'redis://h/0' }",
        "throttle: { rate: 1, shared: 'redis://h/1' }",
        r#"error: routes."POST /a".throttle: the shared buckets of a route are kept by one Redis, and these name several; a token is taken from all of them at once"#,
    ),
    (
        "api: shop",
        "throttle: { rate: 1, per: $request.header.x-tenant }",
        r#"warning: routes."POST /a".throttle.per: requests without $request.header.x-tenant share one bucket; say so with a default, such as `${request.header.x-tenant:-none}`"#,
    ),
    (
        "api: shop",
        "throttle: { rate: 1, per: $context.authorizer.claims.sub }",
        r#"warning: routes."POST /a".throttle: $context.authorizer.claims.sub has no value here, for the route has no authorizer: all requests share one bucket"#,
    ),
    (
        "api: shop",
        "concurrency: 0",
        r#"error: routes."POST /a".concurrency.limit: 0 would refuse every request; write at least 1"#,
    ),
    (
        "api: shop",
        "concurrency: [1, 2]",
        r#"error: routes."POST /a".concurrency[0]: found "1", expected a mapping"#,
    ),
    (
        "api: shop",
        "concurrency: [{ limit: 1 }, { limit: 2 }]",
        r#"error: routes."POST /a".concurrency[1]: there are two limits for the same callers"#,
    ),
    (
        "api: shop",
        "concurrency: { limit: 1, per: $stageVariables.x }",
        "the stage variable `x` is not declared",
    ),
];

#[test]
fn every_fault_of_a_limit_is_said() {
    for (top, route, said) in FAULTS {
        let text =
            format!("{top}\nroutes:\n  POST /a:\n    {route}\n    integration: {{ Mock: {{}} }}\n");
        let (lines, _) = check(&text);
        assert!(
            lines.iter().any(|line| line.contains(said)),
            "{top} / {route}:\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn limits_that_mean_what_they_say_are_not_warned_about() {
    let (lines, code) = check(
        "throttle: [{ rate: 1 }, { rate: 1, per: $context.identity.sourceIp, ipv6_prefix: 48 }]\nauth_failures: none\n\
         routes:\n  POST /a/{id}:\n    throttle: [{ rate: 1, per: $request.path.id }, \
         { rate: 1, per: '${request.header.x:-none}', shared: 'rediss://:pw@h' }]\n    concurrency: 3\n    \
         integration: { Mock: {} }\n",
    );
    assert_eq!(
        (lines.join("\n").as_str(), code),
        ("ok: 1 route, 0 errors, 0 warnings", 0)
    );
}
