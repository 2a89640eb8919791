//! Listeners: addresses, TLS, proxies, lists of addresses, and routes that name them.

use super::check;

/// What stands under `listeners.public`, with its `bind`, and what is said.
const LISTENERS: &[(&str, &str)] = &[
    (
        "bind: '127.0.0.1:0', mode: '0660'",
        "only the file of a Unix socket has permissions",
    ),
    ("bind: 'unix:'", "the path of the socket is empty"),
    (
        "bind: 'unix:/run/{LONG}'",
        "the path of a socket has at most 107",
    ),
    (
        "bind: 'unix:s', mode: '0999'",
        "are no permissions; write octal digits",
    ),
    ("bind: '127.0.0.1:0', mode: 'rw'", "are no permissions"),
    (
        "bind: '127.0.0.1:0', allow: []",
        "listeners.public.allow: the list is empty",
    ),
    (
        "bind: '127.0.0.1:0', deny: []",
        "listeners.public.deny: the list is empty",
    ),
    (
        "bind: '127.0.0.1:0', trusted_proxies: []",
        "listeners.public.trusted_proxies: the list is empty",
    ),
    (
        "bind: '127.0.0.1:0', allow: [10.0.0.1/8]",
        "write 10.0.0.0/8 or 10.0.0.1",
    ),
    (
        "bind: '127.0.0.1:0', allow: [localhost]",
        "listeners.public.allow[0]: \"localhost\" is not a range of addresses",
    ),
    (
        "bind: '127.0.0.1:0', forwarding_header: forwarded",
        "no proxy is trusted",
    ),
    (
        "bind: '127.0.0.1:0', forwarding_header: x-real-ip",
        "x-forwarded-for",
    ),
    (
        "bind: '127.0.0.1:0', proxy_protocol: v3",
        "`off`, `v1`, `v2` or `auto`",
    ),
    (
        "bind: '127.0.0.1:0', proxy_protocol: true",
        "`off`, `v1`, `v2` or `auto`",
    ),
    (
        "bind: '0.0.0.0:0', proxy_protocol: auto",
        "can be reached by strangers",
    ),
    (
        "bind: '0.0.0.0:0', proxy_protocol: auto, trusted_proxies: [203.0.113.0/24]",
        "can be reached by strangers",
    ),
    (
        "bind: 'gateway.example:0', proxy_protocol: auto",
        "can be reached by strangers",
    ),
    (
        "bind: '127.0.0.1:0', tls: {}",
        "TLS needs a certificate and its key",
    ),
    (
        "bind: '127.0.0.1:0', tls: { cert: a.pem }",
        "`cert` is of no use without `key`",
    ),
    (
        "bind: '127.0.0.1:0', tls: { key: a.key }",
        "`key` is of no use without `cert`",
    ),
    (
        "bind: '127.0.0.1:0', tls: { cert: '', key: a.key }",
        "the name of the file is empty",
    ),
    (
        "bind: '127.0.0.1:0', tls: { cert: a.pem, key: a.key, certificates: [ { cert: b.pem, key: b.key } ] }",
        "`certificates` cannot stand beside `cert` and `key`",
    ),
    (
        "bind: '127.0.0.1:0', tls: { certificates: [ { cert: b.pem } ] }",
        "key",
    ),
    (
        "bind: '127.0.0.1:0', tls: { cert: a.pem, key: a.key, min_version: '1.1' }",
        "1.2",
    ),
    (
        "bind: '127.0.0.1:0', tls: { cert: a.pem, key: a.key, client_auth: required }",
        "write `client_ca: FILE` beside it",
    ),
    (
        "bind: '127.0.0.1:0', tls: { cert: a.pem, key: a.key, crl: [a.crl] }",
        "listeners.public.tls.crl: clients are asked",
    ),
    (
        "bind: '127.0.0.1:0', tls: { cert: a.pem, key: a.key }",
        "a.pem: the file cannot be read: No such file or directory",
    ),
];

#[test]
fn each_fault_of_a_listener_is_said_with_its_place() {
    let mut missing = Vec::new();
    for (listener, said) in LISTENERS {
        let listener = listener.replace("{LONG}", &"x".repeat(120));
        let text = format!(
            "listeners: {{ public: {{ {listener} }} }}\nroutes: {{ 'GET /ok': {{ authorizer: none, integration: {{ Mock: {{}} }} }} }}\n"
        );
        let (lines, code) = check(&text);
        let found = lines.iter().any(|line| {
            line.starts_with("shop.yaml:1:") && line.contains("error: ") && line.contains(said)
        });
        if code != 1 || !found {
            missing.push(format!(
                "{listener}\n  wanted: {said}\n  exit {code}: {lines:#?}"
            ));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

const TWO: &str =
    "listeners: { public: { bind: '127.0.0.1:0' }, private: { bind: '127.0.0.1:0' } }\n";

#[test]
fn routes_name_listeners_that_are_declared_and_clash_only_on_the_same() {
    let route =
        |key: &str, more: &str| format!("  '{key}': {{ {more}, integration: {{ Mock: {{}} }} }}\n");
    for (routes, said) in [
        (
            vec![route("GET /a", "listeners: [privat]")],
            Some(
                "routes.\"GET /a\".listeners[0]: the listener `privat` is not declared; did you mean `private`?",
            ),
        ),
        (
            vec![route("GET /a", "listeners: []")],
            Some("routes.\"GET /a\".listeners: the list is empty"),
        ),
        (
            vec![route("GET /a", "allow: [nowhere]")],
            Some("routes.\"GET /a\".allow[0]: \"nowhere\" is not a range"),
        ),
        (
            vec![route("GET /a", "deny: []")],
            Some("routes.\"GET /a\".deny: the list is empty"),
        ),
        (
            vec![
                route("GET /{a}", "listeners: [public]"),
                route("GET /{b}", "listeners: [private]"),
            ],
            None,
        ),
        (
            vec![
                route("GET /{a}", "listeners: [public]"),
                route("GET /{b}", "listeners: [private, public]"),
            ],
            Some("the route `GET /{a}` serves the very same requests"),
        ),
    ] {
        let (lines, code) = check(&format!("{TWO}routes:\n{}", routes.concat()));
        match said {
            Some(said) => assert!(
                code == 1 && lines.iter().any(|line| line.contains(said)),
                "{said}: {lines:#?}"
            ),
            None => assert_eq!(code, 0, "{lines:#?}"),
        }
    }
}

#[test]
fn a_route_that_only_local_clients_reach_needs_no_authorizer() {
    let listeners = "listeners: { public: { bind: '0.0.0.0:0' }, local: { bind: 'unix:s' } }\n";
    let (lines, _) = check(&format!(
        "{listeners}routes: {{ 'GET /a': {{ listeners: [local], integration: {{ Mock: {{}} }} }} }}\n"
    ));
    assert_eq!(lines, ["ok: 1 route, 0 errors, 0 warnings"]);
    let (lines, _) = check(&format!(
        "{listeners}routes: {{ 'GET /a': {{ integration: {{ Mock: {{}} }} }} }}\n"
    ));
    assert!(lines[0].contains("it has no `authorizer`"), "{lines:#?}");
}

#[test]
fn what_lets_strangers_choose_their_address_is_warned_about() {
    for (listener, said) in [
        (
            "bind: '0.0.0.0:0', proxy_protocol: v2",
            "whoever reaches 0.0.0.0:0 says where it comes from",
        ),
        (
            "bind: '0.0.0.0:0', trusted_proxies: [0.0.0.0/0]",
            "everybody is believed",
        ),
        (
            "bind: '0.0.0.0:0', trusted_proxies: ['::/0']",
            "everybody is believed",
        ),
    ] {
        let (lines, code) = check(&format!(
            "listeners: {{ public: {{ {listener} }} }}\nroutes: {{ 'GET /a': {{ authorizer: none, integration: {{ Mock: {{}} }} }} }}\n"
        ));
        assert_eq!(code, 0, "{lines:#?}");
        assert!(
            lines
                .iter()
                .any(|line| line.contains("warning: ") && line.contains(said)),
            "{said}: {lines:#?}"
        );
    }
}

#[test]
fn an_mtls_authorizer_has_to_be_able_to_let_somebody_in() {
    let route = "routes: { 'GET /a': { authorizer: m, integration: { Mock: {} } } }\n";
    for (rule, said) in [
        ("{}", "the listener `public` asks no client for one"),
        (
            "{ subjects: [] }",
            "authorizers.m.mtls.subjects: the list is empty",
        ),
        (
            "{ subjects: [nobody] }",
            "authorizers.m.mtls.subjects[0]: \"nobody\" is not a distinguished name",
        ),
        (
            "{ issuers: ['NC=x'] }",
            "is not an attribute of a distinguished name",
        ),
        (
            "{ sans: ['IP:x'] }",
            "authorizers.m.mtls.sans[0]: \"IP:x\" is not an alternative name",
        ),
        ("{ fingerprints: ['00'] }", "is not a SHA-256 fingerprint"),
        ("{ subject: [x] }", "did you mean `subjects`?"),
    ] {
        let (lines, code) = check(&format!(
            "authorizers: {{ m: {{ mtls: {rule} }} }}\n{route}"
        ));
        assert_eq!(code, 1, "{rule}: {lines:#?}");
        assert!(
            lines.iter().any(|line| line.contains(said)),
            "{rule}: {said}: {lines:#?}"
        );
    }
}
