use super::*;

fn spec(written: Value) -> TableSpec {
    let written = serde_json::from_value(written).unwrap();
    let mut problems = Problems::default();
    let spec = TableSpec::compile(&written, &ConfigPath::root(), &mut problems);
    assert_eq!(problems.0, []);
    spec
}

fn seed() -> TableSpec {
    spec(json!({ "table": "versions", "apis": ["one"] }))
}

#[test]
fn a_table_is_scanned_and_a_partition_is_queried_for_the_attributes_of_rows_alone() {
    assert_eq!(
        seed().question(None),
        json!({
            "TableName": "versions",
            "ProjectionExpression": "#version,#api,#deprecated,#sunset,#link,#gone",
            "ExpressionAttributeNames": {
                "#version": "version", "#api": "api", "#deprecated": "deprecated", "#sunset": "sunset", "#link": "link",
                "#gone": "gone",
            },
        })
    );
    assert_eq!(seed().action(), "dynamodb:Scan");
    let one = spec(json!({
        "table": "arn:aws:dynamodb:eu-north-1:111122223333:table/all", "apis": ["one"],
        "attributes": { "version": "sk" }, "partition": { "key": "pk", "value": "shop" },
    }));
    assert_eq!(
        (one.region.as_deref(), one.label()),
        (Some("eu-north-1"), "all")
    );
    assert_eq!(one.action(), "dynamodb:Query");
    let question = one.question(Some(Map::from_iter([(
        "pk".to_owned(),
        json!({ "S": "x" }),
    )])));
    assert_eq!(
        question["KeyConditionExpression"],
        "#partition = :partition"
    );
    assert_eq!(question["ExpressionAttributeNames"]["#version"], "sk");
    assert_eq!(question["ExclusiveStartKey"], json!({ "pk": { "S": "x" } }));
}

#[test]
fn items_are_rows_whatever_the_case_of_their_names() {
    let table = seed().rows(&[
        json!({ "version": { "S": "V1" }, "api": { "S": "one" }, "sunset": { "S": "2020-01-01" }, "gone": { "BOOL": true } }),
        json!({ "version": { "N": "2" }, "api": { "S": "two.example" }, "link": { "NULL": true } }),
    ]);
    let table = table.unwrap();
    assert_eq!(table.named("v1").unwrap().api, "one");
    assert!(table.named("v1").unwrap().gone.is_some());
    assert_eq!(table.named("2").unwrap().api, "two.example");
    assert!(table.named("v3").is_none());
}

#[test]
fn a_table_with_an_item_that_is_no_version_is_refused_whole() {
    let good = json!({ "version": { "S": "v1" }, "api": { "S": "one" } });
    for (bad, said) in [
        (
            json!({ "api": { "S": "one" } }),
            "an item has no attribute `version`",
        ),
        (
            json!({ "version": { "S": "v2" } }),
            "the version `v2`: its item has no attribute `api`",
        ),
        (
            json!({ "version": { "BOOL": true }, "api": { "S": "one" } }),
            "`version` is neither a string nor a number",
        ),
        (
            json!({ "version": { "S": "V1" }, "api": { "S": "one" } }),
            "the version `V1` stands in it twice",
        ),
        (
            json!({ "version": { "S": "v2" }, "api": { "S": "one" }, "sunset": { "S": "soon" } }),
            "the version `v2`: \"soon\" is not a date",
        ),
        (
            json!({ "version": { "S": "v2" }, "api": { "S": "one" }, "gone": { "S": "yes" } }),
            "the version `v2`: `gone` is not a boolean",
        ),
        (
            json!({ "version": { "S": "v2" }, "api": { "S": "one" }, "gone": { "BOOL": true } }),
            "the version `v2`: nothing says when the version ends",
        ),
    ] {
        let refused = seed().rows(&[good.clone(), bad]);
        assert_eq!(refused, Err(Unread::Refused(said.to_owned())));
    }
    let said = "it holds no version".to_owned();
    assert_eq!(seed().rows(&[]), Err(Unread::Refused(said)));
}
