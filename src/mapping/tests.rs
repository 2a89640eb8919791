use bytes::Bytes;
use indexmap::IndexMap;
use proptest::prelude::*;

use super::*;
use crate::model::text::Piece;

fn compile_text(text: Text, side: Side) -> Result<Expression, String> {
    let stage_variables = IndexMap::from([
        ("tier".to_owned(), "gold".to_owned()),
        ("empty".to_owned(), String::new()),
    ]);
    let scope = Scope {
        side,
        path_variables: &["id", "proxy"],
        stage_variables: &stage_variables,
        webhook: None,
        integration_fields: None,
    };
    let mut problems = Problems::default();
    Expression::compile(&text, &ConfigPath::root().key("p"), &scope, &mut problems)
        .ok_or_else(|| problems.0[0].to_string())
}

fn compile(text: &str) -> Result<Expression, String> {
    compile_text(Text::written(text), Side::Request)
}

struct Fixed(&'static [u8]);

impl Sources for Fixed {
    fn get(&self, source: &Source) -> Result<Option<Bytes>, String> {
        Ok(match source {
            Source::Header(name) if name == "x-a" => Some(Bytes::from_static(b"alpha")),
            Source::Header(name) if name == "x-empty" => Some(Bytes::new()),
            Source::Query(name) if name == "q" => Some(Bytes::from_static(b"query")),
            Source::Path => Some(Bytes::from_static(b"/orders/7")),
            Source::PathVariable(name) if name == "id" => Some(Bytes::from_static(b"7")),
            Source::Body => Some(Bytes::from_static(self.0)),
            Source::BodyField(selector) => return select(selector, self.0),
            _ => None,
        })
    }
}

fn resolve(text: &str, body: &'static [u8]) -> Result<String, String> {
    let expression = compile(text)?;
    let bytes = expression
        .resolve("MessageBody", &Fixed(body))
        .map_err(|unresolved| unresolved.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn whole_values_and_interpolation_select_and_join() {
    let body = br#"{"id":"o-1","n":1.50,"t":true,"list":[{"x":"y"}],"o":{ "a" : [1, 2], "s":" a b " },"MessageBody":"hello world"}"#;
    for (expression, value) in [
        ("static text", "static text"),
        ("costs $5", "costs $5"),
        ("$request.header.X-A", "alpha"),
        ("${request.header.x-a}", "alpha"),
        ("$request.querystring.q", "query"),
        ("$request.path", "/orders/7"),
        ("$request.path.id", "7"),
        ("${request.path.id}-${request.header.x-a}", "7-alpha"),
        ("$request.body.id", "o-1"),
        ("$request.body.MessageBody", "hello world"),
        ("$request.body.n", "1.50"),
        ("$request.body.t", "true"),
        ("$request.body.list[0].x", "y"),
        ("$request.body['list'][0]['x']", "y"),
        ("$request.body.o", r#"{"a":[1,2],"s":" a b "}"#),
        ("$stageVariables.tier", "gold"),
        ("tier-${stageVariables.tier}", "tier-gold"),
        ("${stageVariables.other:-none}", "none"),
        ("${request.header.x-missing:-none}", "none"),
        ("${request.header.x-empty:-none}", "none"),
        ("${request.header.x-missing:-}", ""),
        ("${request.body.missing:-a}${request.body['id']:-b}", "ao-1"),
    ] {
        assert_eq!(
            resolve(expression, body),
            Ok(value.to_owned()),
            "{expression}"
        );
    }
}

#[test]
fn what_has_no_value_names_the_property_and_its_source() {
    assert_eq!(
        resolve("$request.body.MessageBody", br#"{"other":1}"#),
        Err(
            "Unable to resolve property MessageBody from source $request.body.MessageBody"
                .to_owned()
        )
    );
    assert!(
        resolve("$request.body.a", b"")
            .unwrap_err()
            .ends_with("the body is empty")
    );
    assert!(
        resolve("$request.body.a", b"{\"a\":1")
            .unwrap_err()
            .contains("the body is not JSON")
    );
    assert!(resolve("$request.body.a", b"{\"a\":1} trailing").is_err());
    for (expression, body) in [
        ("$request.body.a", &br#"{"a":null}"#[..]),
        ("$request.body.a", br#"{"a":""}"#),
        ("$request.body.a.b", br#"{"a":"text"}"#),
        ("$request.body[1]", b"[1]"),
        ("$request.body.a", b"[1]"),
        ("$request.body[0]", br#"{"0":1}"#),
        ("$request.header.x-missing", b""),
        ("$request.header.x-empty", b""),
        ("a ${request.header.x-missing} b", b""),
    ] {
        assert!(
            resolve(expression, body)
                .unwrap_err()
                .starts_with("Unable to resolve property"),
            "{expression}"
        );
    }
}

#[test]
fn the_whole_body_passes_through_even_when_empty_or_binary() {
    assert_eq!(resolve("$request.body", b""), Ok(String::new()));
    let expression = compile("$request.body").unwrap();
    let body: &'static [u8] = b"\x00\xff\xfe";
    assert_eq!(
        expression.resolve("Data", &Fixed(body)),
        Ok(Bytes::from_static(body))
    );
    assert!(expression.is_whole_body());
}

#[test]
fn escapes_in_json_strings_are_decoded_and_the_last_of_two_names_counts() {
    assert_eq!(
        resolve(
            "$request.body.a",
            br#"{"a":"\"q\"\n\u00e9","a":"\ud83c\udf88"}"#
        ),
        Ok("🎈".to_owned())
    );
    assert_eq!(
        resolve("$request.body.a", br#"{"\u0061":"\"q\"\n\u00e9"}"#),
        Ok("\"q\"\né".to_owned())
    );
}

#[test]
fn a_selector_reads_past_the_first_100_kb() {
    let body: &'static str =
        format!("{{\"pad\":\"{}\",\"id\":\"deep\"}}", "x".repeat(300_000)).leak();
    assert_eq!(
        resolve("$request.body.id", body.as_bytes()),
        Ok("deep".to_owned())
    );
}

#[test]
fn what_is_no_expression_is_refused_when_compiled() {
    for (expression, reason) in [
        ("$request.heeder.x", "did you mean `$request.header`?"),
        ("$nothing", "is not a source of values"),
        ("${nothing}", "is not a source of values"),
        ("${request.header.x", "no closing"),
        ("$request.path.ID2", "the route key has no variable"),
        ("$request.body..a", "recursive descent"),
        ("$request.body[*]", "only a position"),
        ("$request.body.a[?(@.x)]", "only a position"),
        ("$request.body.", "a name is missing"),
        ("$request.bodyx", "is not a source of values"),
        ("$context.requestid", "did you mean `$context.requestId`?"),
        ("$context.authorizer", "is not a context variable"),
        (
            "$context.status",
            "not known before the target has answered",
        ),
        (
            "$stageVariables.teir",
            "did you mean `$stageVariables.tier`?",
        ),
        (
            "$integration.messageId",
            "can only stand in the route's `response`",
        ),
        ("$request.header.a b", "is not a header name"),
    ] {
        let refusal = compile(expression).unwrap_err();
        assert!(refusal.contains(reason), "{expression}: {refusal}");
    }
}

#[test]
fn a_default_begins_outside_of_quotes_and_brackets() {
    let body = br#"{"a:-b":"found","c}":""}"#;
    for (expression, value) in [
        ("${request.body['a:-b']:-d}", "found"),
        ("${request.body['a:-c']:-d}", "d"),
        (r#"${request.body["c}"]:-x:-y}"#, "x:-y"),
        ("<${request.header.none:-[d]}>", "<[d]>"),
    ] {
        assert_eq!(resolve(expression, body).unwrap(), value, "{expression}");
    }
}

#[test]
fn an_empty_stage_variable_is_said_to_be_empty() {
    let refusal = compile("$stageVariables.empty").unwrap_err();
    assert_eq!(
        refusal,
        "error: p: the stage variable `empty` is empty; give it a value, or a default: `${stageVariables.empty:-text}`"
    );
    let kept = compile("${stageVariables.empty:-d}").unwrap();
    assert_eq!(kept.constant(), Some("d"));
}

#[test]
fn what_was_substituted_is_never_parsed_as_a_mapping() {
    let text = Text(vec![
        Piece::Written("a-".into()),
        Piece::Literal("${request.body}".into()),
    ]);
    assert_eq!(
        compile_text(text, Side::Request).unwrap().constant(),
        Some("a-${request.body}")
    );
    let text = Text(vec![Piece::Literal("$request.body".into())]);
    assert_eq!(
        compile_text(text, Side::Request).unwrap().constant(),
        Some("$request.body")
    );
}

#[test]
fn the_response_side_knows_the_target_s_answer() {
    let expression = compile_text(Text::written("$integration.messageId"), Side::Response).unwrap();
    assert_eq!(
        expression.references().next().unwrap().source,
        Source::Integration("messageId".into())
    );
    assert!(compile_text(Text::written("$context.integration.status"), Side::Response).is_ok());
    let refusal = compile_text(Text::written("$context.status"), Side::Response).unwrap_err();
    assert!(
        refusal.contains("is not known before the response is on its way"),
        "{refusal}"
    );
    assert!(compile_text(Text::written("$request.header.a"), Side::Log).is_err());
}

proptest! {
    #[test]
    fn any_text_compiles_or_is_refused_but_never_panics(text in "\\PC*", side in 0..3) {
        let side = [Side::Request, Side::Response, Side::Log][side as usize];
        let _ = compile_text(Text::written(text), side);
    }

    #[test]
    fn a_selector_finds_what_a_parsed_document_holds(
        keys in prop::collection::vec("[a-c]", 1..3), leaf in "\\PC*", decoys in prop::collection::vec(("[d-f]", 0i64..9), 0..3)
    ) {
        let mut document = serde_json::Value::String(leaf.clone());
        for key in keys.iter().rev() {
            let mut map: serde_json::Map<String, serde_json::Value> =
                decoys.iter().map(|(name, number)| (name.clone(), (*number).into())).collect();
            map.insert(key.clone(), document);
            document = map.into();
        }
        let selector: Selector = keys.iter().map(|key| format!(".{key}")).collect::<String>().parse().unwrap();
        let found = select(&selector, document.to_string().as_bytes()).unwrap();
        prop_assert_eq!(found, Some(Bytes::from(leaf)));
    }
}
