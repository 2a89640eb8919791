//! API keys, where they come from, their files, and usage plans: every fault with its place, what was found and what to
//! write.

use super::check;

const HASH: &str = "sha256:0e4cf6fb3248857026d3f68bf2d8e1311b06bb023e96ced236b990f314e2d155";

/// Lines above the routes, and what is said of them. `{H}` stands for a good hash.
const FAULTS: &[(&str, &str)] = &[
    (
        "api_keys: { k: { hash: '{H}', plan: glod } }\nusage_plans: { gold: {} }",
        "shop.yaml:1:105: error: api_keys.k.plan: the usage plan `glod` is not declared; did you mean `gold`?",
    ),
    (
        "api_keys: { k: { hash: '{H}', plan: gold } }",
        "error: api_keys.k.plan: the usage plan `gold` is not declared; declare it under `usage_plans`",
    ),
    (
        "api_keys: { a: { hash: '{H}' }, b: { hash: '{H}' } }",
        "error: api_keys.b.hash: this is the hash of the key `a` too; give each its own key",
    ),
    (
        "api_keys: { 'a b': { hash: 'sha256-salted:00112233445566778899aabbccddeeff:0e4cf6fb3248857026d3f68bf2d8e1311b06bb023e96ced236b990f314e2d155' } }",
        "error: api_keys.\"a b\": a key with a salted hash is found by the id in it, and this id cannot stand in a key; allowed: letters, digits, `_`, `-` and `.`, up to 64 characters; or write the hash without a salt",
    ),
    (
        "api_keys: { a: { hash: 'sha256-salted:0011:0e4c' } }",
        "error: api_keys.a.hash: the hash of the key cannot be read; write `sha256-salted:`, the salt's 32 hexadecimal digits, `:` and the hash's 64",
    ),
    (
        "api_keys: { '': { hash: '{H}' } }",
        "the id of a key has 1 to 128 characters, not 0",
    ),
    (
        "api_key_files: [keys.yml]",
        "error: api_key_files[0]: ./keys.yml does not exist",
    ),
    (
        "api_key_files: ['']",
        "error: api_key_files[0]: the name of the file is empty; write the name of a file that holds keys, such as keys.yaml",
    ),
    (
        "api_key_files: ['.']",
        "error: api_key_files[0]: ./. is a directory; write a file that holds keys",
    ),
    (
        "api_key_files: [[a]]",
        "expected the name of a file of keys, such as keys.yaml or keys.csv",
    ),
    (
        "authorizers: { k: { api_key: { from: [cookie:x] } } }",
        "error: authorizers.k.api_key.from[0]: \"cookie:x\" is not a place for a key; allowed: `header:NAME`, `query:NAME`, `authorizer`",
    ),
    (
        "authorizers: { k: { api_key: { from: [{ query: k, deprecated: soon }] } } }",
        "error: authorizers.k.api_key.from[0].deprecated: \"soon\" is not a date; write it as 2027-01-01, or with a time as 2027-01-01T12:00:00Z",
    ),
    (
        "authorizers: { k: { api_key: { from: [{ query: k, deprecated: 2027-01-02, sunset: 2027-01-01 }] } } }",
        "error: authorizers.k.api_key.from[0].sunset: the place would go before it is deprecated",
    ),
    (
        "authorizers: { k: { api_key: { from: [{ query: k, header: k }] } } }",
        "error: authorizers.k.api_key.from[0]: a place for a key has one of `header: NAME` and `query: NAME`",
    ),
    (
        "authorizers: { k: { api_key: { from: [{ query: k, sunsett: 2027-01-01 }] } } }",
        "unknown key `sunsett`; did you mean `sunset`?",
    ),
    (
        "authorizers: { k: { api_key: { from: [query:k] } } }",
        "warning: authorizers.k.api_key.from[0]: a key in the query ends up in logs, histories and referrers; move callers to a header, then remove this; `{ query: NAME, deprecated: true }` tells them",
    ),
    (
        "api_keys: { k: { hash: '{H}' } }\nusage_plans: { gold: { throttle: { rate: -1 } } }",
        "error: usage_plans.gold.throttle.rate: -1 is not a rate; allowed: tokens a second, from 0 (refuses everything)",
    ),
    (
        "api_keys: { k: { hash: '{H}' } }\nusage_plans: { gold: { routes: { POST /b: { rate: 1 } } } }",
        "error: usage_plans.gold.routes.\"POST /b\": there is no route `POST /b`; did you mean `POST /a`?",
    ),
    (
        "api_keys: { k: { hash: '{H}' } }\nusage_plans: { gold: { quota: { limit: 5, period: year } } }",
        "error: usage_plans.gold.quota.period: ",
    ),
    (
        "api_keys: { k: { hash: '{H}' } }\nusage_plans: { gold: { quota: { limit: 5, period: day, offset: 6 } } }",
        "error: usage_plans.gold.quota.offset: 6 is more than the limit; it is taken off the limit in the first period",
    ),
    (
        "usage_plans: { gold: {} }",
        "warning: usage_plans: no key is declared, so nobody is in a usage plan; declare keys under `api_keys`, or name files of them in `api_key_files`",
    ),
];

#[test]
fn every_fault_of_keys_and_plans_is_said_with_what_to_write() {
    let mut unsaid = Vec::new();
    for (fault, expected) in FAULTS {
        let text = format!(
            "{}\nroutes: {{ POST /a: {{ integration: {{ Mock: {{}} }} }} }}\n",
            fault.replace("{H}", HASH)
        );
        let (lines, code) = check(&text);
        let wanted = if expected.contains("warning") { 0 } else { 1 };
        let said = lines.iter().any(|line| line.contains(expected));
        if !said || code != wanted {
            unsaid.push(format!("{fault}\n  wanted {expected}\n  said   {lines:?}"));
        }
    }
    assert!(unsaid.is_empty(), "{}", unsaid.join("\n"));
}

#[test]
fn a_file_of_keys_is_enough_for_a_route_that_asks_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let keys = format!("api_keys:\n  acme: {{ hash: \"{HASH}\", plan: gold }}\n");
    std::fs::write(folder.path().join("keys.yaml"), keys).unwrap();
    let text = "api_key_files: [keys.yaml]\nusage_plans: { gold: { quota: { limit: 1, period: day } } }\n\
                routes: { POST /a: { authorizer: api_key, integration: { Mock: {} } } }\n";
    std::fs::write(folder.path().join("shop.yaml"), text).unwrap();
    let output = super::penstock(&["check", "shop.yaml"], folder.path());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "ok: 1 route, 0 errors, 0 warnings\n");
}
