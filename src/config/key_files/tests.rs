use std::collections::BTreeMap;
use std::fs;

use super::*;

const HASH: &str = "sha256:0e4cf6fb3248857026d3f68bf2d8e1311b06bb023e96ced236b990f314e2d155";
const KEY: &str = "abc123456789abc123456789abc123456789";

/// What a file gives: its keys as `id hash plan enabled line:column`, and what is said about it.
fn read_text(name: &str, text: &str) -> (Vec<String>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    let mut problems = Problems::default();
    let at = ConfigPath::root().key("api_key_files").index(0);
    let environment = BTreeMap::from([("HASH".to_owned(), HASH.to_owned())]);
    let keys = read_file(&path, &at, &environment, &mut problems);
    let shown = keys.map_or_else(Vec::new, |keys| {
        let show = |(position, key): (usize, FileKey<'_>)| {
            let place = keys.place(position).unwrap();
            let (plan, id) = (key.plan.unwrap_or("-"), key.id);
            let hash = key.hash.to_string();
            let hash = &hash[..14.min(hash.len())];
            format!(
                "{id} {hash} {plan} {} {}:{}",
                key.enabled, place.line, place.column
            )
        };
        keys.iter().enumerate().map(show).collect()
    });
    let folder = directory.path().display().to_string();
    let said = problems
        .0
        .iter()
        .map(|problem| problem.to_string().replace(&folder, ""));
    (shown, said.collect())
}

fn is_by_line(text: &str) -> bool {
    matches!(lines::read(Path::new("keys.yaml"), text), Lines::Keys(_))
}

#[test]
fn yaml_with_one_key_a_line_says_the_same_to_both_readers() {
    let text = format!(
        "# our partners\napi_keys:\n  acme: {{ hash: \"{HASH}\", plan: gold }}\n\n  # another\n  \
         \"b c\": {{ description: \"for people, really\", enabled: false, hash: {HASH} }}\n"
    );
    assert!(is_by_line(&text));
    let expected = vec![
        "acme sha256:0e4cf6f gold true 3:9".to_owned(),
        "b c sha256:0e4cf6f - false 6:10".to_owned(),
    ];
    assert_eq!(read_text("keys.yaml", &text), (expected.clone(), vec![]));
    let spread = text.replace("{ hash", "{  # see below\n    hash");
    assert!(!is_by_line(&spread));
    let (keys, said) = read_text("keys.yaml", &spread);
    assert_eq!(said, Vec::<String>::new());
    assert_eq!(keys[0], expected[0]);
}

#[test]
fn what_is_not_one_key_a_line_is_left_to_the_general_reader() {
    for line in [
        "  acme: { hash: \"sha256:abc\" }",
        "  acme: { hash: HASH, hash: HASH }",
        "  acme: { hash: HASH, strange: 1 }",
        "  acme: { hash: \"${env:HASH}\" }",
        "  acme: { hash: HASH, plan: null }",
        "  acme: { hash: HASH, description: \"a \\\" b\" }",
        "  acme: { hash: HASH, enabled: yes }",
        "  acme: { hash: HASH",
        "  acme: { plan: gold }",
        "  acme: { hash: HASH } # comment",
        " acme: { hash: HASH }",
        "    acme: { hash: HASH }",
        "  acme: &a { hash: HASH }",
        "  ~: { hash: HASH }",
        "acme: { hash: HASH }",
    ] {
        let line = line.replace("HASH", HASH);
        assert!(!is_by_line(&format!("api_keys:\n{line}\n")), "{line}");
    }
    assert!(!is_by_line(""));
    assert!(!is_by_line("api_keys:\n"));
    let (keys, said) = read_text("keys.yaml", "api_keys: { acme: { hash: '${env:HASH}' } }");
    assert_eq!(keys, ["acme sha256:0e4cf6f - true 1:19"]);
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn what_is_wrong_with_yaml_is_said_at_its_place() {
    for (text, wrong) in [
        (
            "api_keys:\n  acme: { hash: 'sha256:abc' }\n",
            "/keys.yaml:2:17: error: api_keys.acme.hash: the hash of the key cannot be read",
        ),
        (
            "api_keys:\n  acme: { hash: 'sha256:abc', plann: gold }\n",
            "did you mean `plan`?",
        ),
        ("keys: {}\n", "unknown key `keys`"),
        ("", "/keys.yaml:1:1: error"),
    ] {
        let (keys, said) = read_text("keys.yaml", text);
        assert!(keys.is_empty());
        assert!(said.iter().any(|said| said.contains(wrong)), "{said:?}");
    }
}

#[test]
fn the_vendor_s_csv_is_read_by_the_names_of_its_columns() {
    let text = format!(
        "\u{feff}key,NAME,Colour,usageplanids,enabled,description\r\n\
         {KEY},acme,red,gold,,\"says \"\"hello\"\", and\n goodbye\"\r\n\
         \r\n\
         {HASH},by hash,,\"a, b\",FALSE,\r\n"
    );
    let (keys, said) = read_text("keys.CSV", &text);
    assert_eq!(
        keys,
        [
            "acme sha256:84bb2ae gold true 2:38",
            "by hash sha256:0e4cf6f a, b false 5:73"
        ]
        .map(|line| line
            .replace("84bb2ae", &KeyHash::of(KEY.as_bytes()).to_string()[7..14])
            .to_owned())
    );
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("holds keys themselves"), "{said:?}");
}

#[test]
fn what_is_wrong_with_a_csv_is_said_at_its_place_and_never_shows_a_key() {
    for (text, wrong) in [
        ("", ":1:1: error: api_key_files[0]: the file is empty"),
        ("Name,Kee\n", "there is no column `Key`"),
        ("Key\n", "there is no column `Name`"),
        (
            "Name,Key\nacme,\n",
            ":2:6: error: api_key_files[0]: the key is empty",
        ),
        (
            "Name,Key\n,KEY\n",
            ":2:1: error: api_key_files[0]: the name is empty",
        ),
        (
            "Name,Key\nacme,short-and-secret\n",
            ":2:6: error: api_key_files[0]: the key has 16 characters; allowed: 20 to 128",
        ),
        (
            "Name,Key\nacme,abcdefghij abcdefghij\n",
            "cannot stand in a header",
        ),
        (
            "Name,Key\nacme,abcdefghijabcdefghij\n",
            "1 of the keys have fewer than 30 characters",
        ),
        (
            "Name,Key,Enabled\nacme,KEY,maybe\n",
            "neither true nor false",
        ),
        (
            "Name,Key\nacme,\"KEY\n",
            ":2:6: error: api_key_files[0]: a quote is opened here",
        ),
        (
            "Name,Key\n\"acme\"x,KEY\n",
            ":2:7: error: api_key_files[0]: something stands",
        ),
    ] {
        let (_, said) = read_text("keys.csv", &text.replace("KEY", KEY));
        assert!(
            said.iter().any(|said| said.contains(wrong)),
            "{text}: {said:?}"
        );
        for secret in [KEY, "short-and-secret", "abcdefghij"] {
            assert!(!said.concat().contains(secret), "{said:?}");
        }
    }
    let many = "Name,Key\n".to_owned() + &"acme,short\n".repeat(1_000);
    let (_, said) = read_text("keys.csv", &many);
    assert!(said.len() < 30, "{}", said.len());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("keys.csv"), b"Name,Key\nx,\xff\n").unwrap();
    let mut problems = Problems::default();
    let environment = BTreeMap::<String, String>::new();
    for name in ["keys.yaml", ".", "keys.csv"] {
        let path = directory.path().join(name);
        let read = read_file(&path, &ConfigPath::root(), &environment, &mut problems);
        assert!(read.is_none());
    }
    let said: Vec<&str> = problems.0.iter().map(|p| p.message.as_str()).collect();
    assert!(said[0].contains("does not exist"), "{said:?}");
    assert!(said[1].contains("is a directory"), "{said:?}");
    assert!(said[2].contains("is not UTF-8 (line 2)"), "{said:?}");
}
