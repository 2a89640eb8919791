//! What a file must be before anything in it means something.

use super::*;

/// One line of trouble for each text, without the file's name.
fn trouble(text: &str) -> String {
    let lines = problems(text);
    assert_eq!(lines.len(), 1, "{text:?} gave {lines:#?}");
    lines[0].strip_prefix("shop.yaml:").unwrap().to_owned()
}

#[test]
fn syntax_errors_have_a_place_and_a_plain_explanation() {
    for (text, expected) in [
        (
            "limits:\n\tbody: 1MiB\n",
            "2:1: error: limits: a tab where YAML wants spaces; indent with spaces",
        ),
        (
            "limits:\n  body: 1MiB\n\ttimeout: 1s\n",
            "3:1: error: limits.body: a tab where YAML wants spaces; indent with spaces",
        ),
        (
            "api: shop: prod\n",
            "1:10: error: a second `: ` on this line, or wrong indentation; a value that holds `: ` needs quotes",
        ),
        (
            "api: [1, 2\nstage: 3\n",
            "2:6: error: api[1]: `{…}` or `[…]` is not closed, or a comma is missing; a value that holds { } [ ] or , needs quotes",
        ),
        (
            "api: \"shop\nstage: 3\n",
            "1:6: error: api: a quote is opened here and not closed",
        ),
        (
            "api: shop\nstage\nroutes: {}\n",
            "2:1: error: this line holds a text without `: `; write `key: value`, with a space after the colon",
        ),
        (
            "limits:\n  body: 1MiB\n timeout: 1s\n",
            "3:2: error: expected a `key:` here; check the indentation; a value that begins with { or [ needs quotes",
        ),
        (
            "api: @shop\n",
            "1:6: error: api: a text cannot begin with `@`; write it in quotes",
        ),
        (
            "api: *shop\n",
            "1:6: error: api: `*` refers to an anchor that is not defined above; a text that begins with `*` needs quotes",
        ),
        (
            "limits: { body: ${env:SIZE} }\n",
            "1:18: error: limits: `${` inside `{…}` or `[…]` is not quoted; in one-line style, write such a value in quotes: \"${…}\"",
        ),
        (
            "api: shop\nroutes:\n  GET /a\n",
            "2:1: error: routes: found \"GET /a\", expected a mapping",
        ),
        (
            "api: shop\n\n  # note\nstage\n# more\n\nroutes: {}\n",
            "4:1: error: this line holds a text without `: `; write `key: value`, with a space after the colon",
        ),
        (
            "api: shop\nstage",
            "2:1: error: this line holds a text without `: `; write `key: value`, with a space after the colon",
        ),
        (
            "api: \"\\q\"\n",
            "1:6: error: api: an unknown escape after \\ in double quotes; use single quotes, or write \\\\ for a backslash",
        ),
        (
            "api: a\0b\n",
            "1:7: error: a control character, which YAML does not allow",
        ),
    ] {
        assert_eq!(trouble(text), expected, "{text:?}");
    }
}

#[test]
fn a_key_written_twice_is_refused_naming_both_places() {
    assert_eq!(
        problems("limits:\n  body: 1MiB\n  timeout: 1s\n  body: 2MiB\napi: a\napi: b\n"),
        [
            "shop.yaml:4:3: error: limits.body: this key is written twice, first at shop.yaml:2:3; keep one of the two",
            "shop.yaml:6:1: error: api: this key is written twice, first at shop.yaml:5:1; keep one of the two",
        ]
    );
}

#[test]
fn one_file_holds_one_document() {
    assert_eq!(
        trouble("---\napi: a\n---\napi: b\n"),
        "3:1: error: a second document begins here; one file holds one document: split the file, or remove `---`"
    );
}

#[test]
fn an_empty_file_and_a_file_that_is_no_mapping_are_refused() {
    for text in ["", "# nothing here\n", "---\n", "~\n"] {
        assert_eq!(
            trouble(text),
            "1:1: error: the file is empty: it holds no configuration"
        );
    }
    assert_eq!(
        trouble("- a\n"),
        "1:1: error: the file holds a list, expected `key: value` lines"
    );
    assert_eq!(
        trouble("hello\n"),
        "1:1: error: the file holds one text, expected `key: value` lines"
    );
}

#[test]
fn keys_are_text() {
    assert!(trouble("? [a]\n: b\n").contains("a key must be text, found a list or mapping"));
    assert!(trouble(": b\n").contains("a key is missing before `:`"));
    assert_eq!(
        trouble("stage_variables:\n  \"${env:X}\": a\n"),
        "2:3: error: stage_variables.\"${env:X}\": a key cannot be substituted; `${env:…}` and `${file:…}` stand in values only"
    );
    assert_eq!(
        value("stage_variables: { null: a, ~: b }", &[]).stage_variables["null"],
        "a"
    );
}

#[test]
fn nesting_is_bounded_and_never_overflows_the_stack() {
    for (open, close) in [("[", "]"), ("{ a: ", "}"), ("- ", "")] {
        for depth in [65, 300, 100_000] {
            let text = format!(
                "anything:\n  {}{}\n",
                open.repeat(depth),
                close.repeat(depth)
            );
            let lines = problems(&text);
            assert!(
                lines[0].contains("nested more than 64 levels deep"),
                "{lines:?}"
            );
        }
    }
    let text = format!("anything: {}{}\n", "[".repeat(60), "]".repeat(60));
    assert!(problems(&text).is_empty());
}

#[test]
fn aliases_stand_for_their_anchors_and_merge_gives_way_to_what_is_written() {
    let sample = value(
        "queues:\n  a: &standard { visibility_timeout: 10s }\n  b: *standard\n  c.fifo:\n    <<: *standard\n    fifo: true\n  d:\n    visibility_timeout: 1s\n    <<: [*standard]\n",
        &[],
    );
    assert_eq!(sample.queues[1].visibility_timeout, Some(Span::secs(10)));
    assert_eq!(sample.queues[2].visibility_timeout, Some(Span::secs(10)));
    assert!(sample.queues[2].fifo);
    assert_eq!(sample.queues[3].visibility_timeout, Some(Span::secs(1)));
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "anything:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("  a{level}: &a{level} [{below}]\n"));
    }
    assert!(trouble(&text).contains("aliases add more than 10000 values to this file"));
    assert!(
        trouble("anything: &a [ *a ]\n").contains("an alias inside the value that it stands for")
    );
    assert!(trouble("queues: { <<: 5 }\n").contains("only a mapping can be merged by `<<`"));
}

#[test]
fn tags_that_mean_nothing_here_are_refused() {
    assert_eq!(
        problems("api: !Sub shop\nstage: !!str 5\nlimits: !!map {}\n"),
        [
            "shop.yaml:1:6: error: api: the tag `!Sub` has no meaning here; quote a text that begins with `!`"
        ]
    );
}

#[test]
fn json_is_read_as_yaml() {
    let sample = value(
        "{\n\t\"api\": \"shop\",\n\t\"limits\": {\"in_flight\": 5, \"strict\": true},\n\t\"anything\": [1.5, null, \"\\u00e9\\/\"]\n}\n",
        &[],
    );
    assert_eq!(sample.limits.in_flight, Some(5));
    assert_eq!(sample.anything, Some(serde_json::json!([1.5, null, "é/"])));
}
