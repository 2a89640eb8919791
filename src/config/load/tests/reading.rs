//! What a type makes of a value, and what it says when it cannot.

use super::*;

#[test]
fn the_target_decides_what_a_scalar_means() {
    let sample = value(
        "api: 123\nstage: no\nlimits: { in_flight: 5, strict: False }\nstage_variables: { a: 1.50, b: true, c: 0x1F, d: 2024-01-01 }\nanything: [1, -2, 1.5, 1e3, 0x1F, 0o17, 007, true, no, \"5\", .inf, 99999999999999999999, +, --, ., 1-2]\n",
        &[],
    );
    assert_eq!(sample.api.as_deref(), Some("123"));
    assert_eq!(sample.stage.as_deref(), Some("no"));
    assert_eq!(sample.stage_variables["a"], "1.50");
    assert_eq!(sample.stage_variables["c"], "0x1F");
    assert_eq!(
        sample.anything,
        Some(serde_json::json!([
            1,
            -2,
            1.5,
            1000.0,
            31,
            15,
            "007",
            true,
            "no",
            "5",
            ".inf",
            "99999999999999999999",
            "+",
            "--",
            ".",
            "1-2"
        ]))
    );
}

#[test]
fn a_hand_written_type_gets_the_form_that_it_takes() {
    let sample = value(
        "secrets: [12345, \"678\", { value: 9 }, \"${env:DIGITS}\"]\nrate_or_off: \"${env:RATE}\"\n",
        &[("DIGITS", "0123"), ("RATE", "2.5")],
    );
    let secrets: Vec<_> = sample.secrets.iter().map(|s| s.0.as_str()).collect();
    assert_eq!(secrets, ["12345", "678", "9", "0123"]);
    assert_eq!(sample.rate_or_off, Some(RateOrOff::Rate(2.5)));
}

#[test]
fn a_refused_form_says_what_was_found_and_what_is_expected() {
    for (text, expected) in [
        (
            "limits: 5",
            "1:9: error: limits: found \"5\", expected a mapping; its keys are `body`, `timeout`, `in_flight`, `strict`",
        ),
        (
            "limits:",
            "1:1: error: limits: found nothing, expected a mapping; write `{}` for a mapping with no key of its own",
        ),
        (
            "limits:\n  - a\n",
            "1:1: error: limits: found a list, expected a mapping; its keys are `body`, `timeout`, `in_flight`, `strict`",
        ),
        (
            "limits: { in_flight: -1 }",
            "1:22: error: limits.in_flight: found -1, expected a whole number from 0 to 4294967295",
        ),
        (
            "limits: { in_flight: 1.5 }",
            "1:22: error: limits.in_flight: found 1.5, expected a whole number from 0 to 4294967295",
        ),
        (
            "limits: { in_flight: 4294967296 }",
            "1:22: error: limits.in_flight: found 4294967296, expected a whole number from 0 to 4294967295",
        ),
        (
            "limits: { strict: yes }",
            "1:19: error: limits.strict: found \"yes\", expected true or false",
        ),
        (
            "api: { a: b }",
            "1:6: error: api: found a mapping, expected text",
        ),
        (
            "secrets: abc",
            "1:10: error: secrets: found \"abc\", expected a list; a list is written `[a, b]`, or with one `- item` a line",
        ),
        (
            "secrets: [[a]]",
            "1:11: error: secrets[0]: found a list, expected a secret, or `{ value: … }`",
        ),
        (
            "secrets: [{ valu: b }]",
            "1:13: error: secrets[0].valu: unknown key `valu`; did you mean `value`?",
        ),
        (
            "rate_or_off: true",
            "1:14: error: rate_or_off: found true, expected a number, or false",
        ),
        (
            "statuses: { abc: x }",
            "1:13: error: statuses.abc: found \"abc\", expected a whole number from 0 to 65535",
        ),
        (
            "responses: [aws]",
            "1:12: error: responses: found a list, expected one of `native`, `aws`",
        ),
        (
            "responses: { aws: 1 }",
            "1:19: error: responses.aws: found \"1\", expected nothing: this name stands alone",
        ),
        (
            "throttle: { rate: 1 }",
            "1:11: error: throttle: the key `burst` is missing",
        ),
        (
            "routes: { GET /a: { integration: { Mock: {}, SQS-PurgeQueue: {} } } }",
            "1:34: error: routes.\"GET /a\".integration: found 2 keys (`Mock`, `SQS-PurgeQueue`), expected exactly one of `SQS-SendMessage`, `SQS-PurgeQueue`, `Mock`",
        ),
        (
            "routes: { GET /a: { integration: SQS-PurgeQueue } }",
            "1:34: error: routes.\"GET /a\".integration: found only the name \"SQS-PurgeQueue\", expected a mapping with this name as its one key",
        ),
        (
            "routes: { GET /a: { integration: {} } }",
            "1:34: error: routes.\"GET /a\".integration: found an empty mapping, expected one of `SQS-SendMessage`, `SQS-PurgeQueue`, `Mock`",
        ),
        (
            "routes:\n  GET /a:\n    integration:\n      SQS-PurgeQueue:\n        QueueUrl: [a]\n",
            "5:19: error: routes.\"GET /a\".integration.SQS-PurgeQueue.QueueUrl: found a list, expected text, which may hold mapping expressions",
        ),
        (
            "routes:\n  GET /a:\n    integration:\n      SQS-PurgeQueue:\n        QueueUrl:\n",
            "5:9: error: routes.\"GET /a\".integration.SQS-PurgeQueue.QueueUrl: found nothing, expected text, which may hold mapping expressions; write \"\" for an empty text",
        ),
    ] {
        assert_eq!(
            problems(text),
            [format!("shop.yaml:{expected}")],
            "{text:?}"
        );
    }
}

#[test]
fn what_is_missing_because_it_was_refused_is_no_second_problem() {
    let lines = problems(
        r#"
routes:
  POST /a:
    integration: { SQS-SendMessage: { QueueUrl: [x], MessageBody: y } }
  POST /b:
    integration: { SQS-SendMessage: { QueueUr: x, MessageBody: y } }
  POST /c:
    integration: { SQS-SendMessage: { MessageBody: y } }
    throttle: { rate: fast, burst: slow }
  POST /d: { integration: 5, authoriser: [] }
"#,
    );
    let paths: Vec<_> = lines
        .iter()
        .map(|line| line.split(": ").nth(2).unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "routes.\"POST /a\".integration.SQS-SendMessage.QueueUrl",
            "routes.\"POST /b\".integration.SQS-SendMessage.QueueUr",
            "routes.\"POST /c\".integration.SQS-SendMessage",
            "routes.\"POST /c\".throttle.rate",
            "routes.\"POST /c\".throttle.burst",
            "routes.\"POST /d\".integration",
            "routes.\"POST /d\".authoriser",
        ],
        "{lines:#?}"
    );
}

#[test]
fn a_list_item_keeps_its_position_after_another_was_refused() {
    let lines = problems("secrets:\n  - [x]\n  - good\n  - [y]\n");
    assert!(
        lines[0].starts_with("shop.yaml:2:5: error: secrets[0]"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("shop.yaml:4:5: error: secrets[2]"),
        "{lines:?}"
    );
}

#[test]
fn the_number_of_problems_is_capped() {
    let mut text = "stage_variables:\n".to_owned();
    for n in 0..150 {
        text.push_str(&format!("  v{n}: [x]\n"));
    }
    let lines = problems(&text);
    assert_eq!(lines.len(), 101);
    assert!(lines[0].contains("more than 100 problems; the rest is not shown"));
}

#[test]
fn a_block_value_is_shown_at_its_key() {
    assert_eq!(
        problems("limits:\n  body: |\n    abc\n"),
        [
            "shop.yaml:2:3: error: limits.body: \"abc\\n\" is not a size; write a number of bytes or one with a unit, such as 256KiB, 1MiB, 10GiB"
        ]
    );
}
