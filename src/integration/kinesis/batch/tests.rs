//! What becomes of callers' records in aggregates: as the stream answers, as its shards change, as they cannot be known.

use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::aws;
use crate::integration::fake::{Fake, Heard, Reply, error, ok};
use crate::integration::kinesis::aggregate::tests::unpack;
use crate::integration::tests::{compile, map};
use crate::integration::{AggregationCounts, Answer, Request, StoreState, TargetError, Targets};

const PUT: &str = r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"$request.body","PartitionKey":"$request.body.key"},"aggregate":"kpl"}"#;

fn requests(keys: &[&str]) -> Vec<Request> {
    let integration = compile(PUT);
    let body = |key: &&str| format!(r#"{{"key":"{key}"}}"#);
    keys.iter()
        .map(|key| map(&integration, body(key).as_bytes()).unwrap())
        .collect()
}

fn targets(fake: &Fake) -> Targets {
    Targets::new(aws::Clients::for_tests(&fake.address), StoreState::Absent)
}

async fn call(targets: &Targets, keys: &[&str]) -> Vec<Result<Answer, TargetError>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    targets.call_batch(requests(keys), deadline).await
}

fn actions(fake: &Fake) -> Vec<String> {
    fake.heard().into_iter().map(|heard| heard.action).collect()
}

/// The message id, or the class and the code.
fn verdicts(results: &[Result<Answer, TargetError>]) -> Vec<String> {
    let verdict = |result: &Result<Answer, TargetError>| match result {
        Ok(answer) => answer.message_id().unwrap().to_owned(),
        Err(error) => format!("{:?} {}", error.class, error.code),
    };
    results.iter().map(verdict).collect()
}

/// The partition keys in each record of a PutRecords.
fn keys(heard: &Heard) -> Vec<Vec<String>> {
    let records = heard.body["Records"].as_array().unwrap().iter();
    records
        .map(|record| {
            let data = record["Data"].as_str().unwrap();
            let data = base64::engine::general_purpose::STANDARD.decode(data);
            let data = data.unwrap();
            if !data.starts_with(b"\xF3\x89\x9A\xC2") {
                return vec![record["PartitionKey"].as_str().unwrap().to_owned()];
            }
            unpack(&data).into_iter().map(|(key, ..)| key).collect()
        })
        .collect()
}

/// Shards from these first hashes on, by their numbers; closed ones end.
fn shards(of: &[(u32, u128, u128, bool)]) -> Reply {
    let shard = |(number, first, last, closed): &(u32, u128, u128, bool)| {
        json!({
            "ShardId": format!("shardId-{number}"),
            "HashKeyRange": { "StartingHashKey": first.to_string(), "EndingHashKey": last.to_string() },
            "SequenceNumberRange": {
                "StartingSequenceNumber": "1",
                "EndingSequenceNumber": closed.then_some("2"),
            },
        })
    };
    Reply::Json(
        200,
        json!({ "Shards": of.iter().map(shard).collect::<Vec<_>>() }),
    )
}

fn put(shard: &str) -> Value {
    json!({ "SequenceNumber": "49", "ShardId": shard })
}

#[tokio::test]
async fn callers_whose_records_share_one_are_told_their_place_in_it() {
    let fake = Fake::start(ok).await;
    let targets = targets(&fake);
    let results = call(&targets, &["a", "b", "c"]).await;
    assert_eq!(verdicts(&results), ["n-0:0", "n-0:1", "n-0:2"]);
    let answer = results[1].as_ref().unwrap();
    assert_eq!(answer.field("sequenceNumber").as_deref(), Some("n-0"));
    assert_eq!(answer.field("subSequenceNumber").as_deref(), Some("1"));
    let kept = Answer::decode(&answer.encode().unwrap()).unwrap();
    assert_eq!(kept.message_id(), Some("n-0:1"));
    assert_eq!(actions(&fake), ["ListShards", "PutRecords"]);
    assert_eq!(keys(&fake.heard()[1]), [["a", "b", "c"]]);
    // the shards are known from now on; a record alone needs none of it
    let results = call(&targets, &["a", "b"]).await;
    assert_eq!(verdicts(&results), ["n-0:0", "n-0:1"]);
    assert_eq!(verdicts(&call(&targets, &["a"]).await), ["n-0"]);
    assert_eq!(actions(&fake)[2..], ["PutRecords", "PutRecord"]);
    let expected = AggregationCounts {
        records: 5,
        aggregates: 2,
        units_saved: 3,
        ..AggregationCounts::default()
    };
    assert_eq!(targets.aggregation(), expected);
}

#[tokio::test]
async fn what_an_aggregate_comes_to_all_of_its_records_do_and_no_others() {
    let fake = Fake::start(|heard: &Heard| match heard.action.as_str() {
        // "a" hashes to 0x0cc1…, "b" to 0x92eb…, "c" to 0x4a8a…
        "ListShards" => shards(&[
            (0, 0, u128::MAX, true),
            (1, 0, u128::MAX / 2, false),
            (2, u128::MAX / 2 + 1, u128::MAX, false),
        ]),
        _ => Reply::Json(
            200,
            json!({ "FailedRecordCount": 1, "Records": [
                { "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow" },
                put("shardId-2"),
            ]}),
        ),
    })
    .await;
    let results = call(&targets(&fake), &["a", "b", "c", "b"]).await;
    let throttled = "Throttled ProvisionedThroughputExceededException";
    assert_eq!(verdicts(&results), [throttled, "49:0", throttled, "49:1"]);
    assert_eq!(keys(&fake.heard()[1]), [["a", "c"], ["b", "b"]]);
}

#[tokio::test]
async fn records_that_come_to_another_shard_than_expected_are_sent_again_alone() {
    let fake = Fake::start(ok).await;
    let targets = targets(&fake);
    call(&targets, &["a", "b"]).await;
    // the only shard is split behind our back
    fake.now(|heard: &Heard| match heard.action.as_str() {
        "ListShards" => shards(&[
            (0, 0, u128::MAX, true),
            (1, 0, u128::MAX / 2, false),
            (2, u128::MAX / 2 + 1, u128::MAX, false),
        ]),
        _ => {
            let count = heard.body["Records"].as_array().unwrap().len();
            let records: Vec<Value> = (0..count).map(|_| put("shardId-1")).collect();
            Reply::Json(200, json!({ "FailedRecordCount": 0, "Records": records }))
        }
    });
    let results = call(&targets, &["a", "b", "c"]).await;
    assert_eq!(verdicts(&results), ["49", "49", "49"]);
    assert_eq!(
        actions(&fake)[2..],
        ["PutRecords", "ListShards", "PutRecords"]
    );
    assert_eq!(keys(&fake.heard()[4]), [["a"], ["b"], ["c"]]);
    assert_eq!(targets.aggregation().misplaced, 3);
    // the next batch knows the new shards
    call(&targets, &["a", "b", "c"]).await;
    assert_eq!(keys(&fake.heard()[5]), [vec!["a", "c"], vec!["b"]]);
}

#[tokio::test]
async fn records_that_all_belong_to_the_shard_they_came_to_are_not_sent_again() {
    let fake = Fake::start(ok).await;
    let targets = targets(&fake);
    call(&targets, &["a", "b"]).await;
    fake.now(|heard: &Heard| match heard.action.as_str() {
        "ListShards" => shards(&[(7, 0, u128::MAX, false)]), // two were merged
        _ => Reply::Json(
            200,
            json!({ "FailedRecordCount": 0, "Records": [put("shardId-7")] }),
        ),
    });
    let results = call(&targets, &["a", "b"]).await;
    assert_eq!(verdicts(&results), ["49:0", "49:1"]);
    assert_eq!(actions(&fake)[2..], ["PutRecords", "ListShards"]);
    assert_eq!(targets.aggregation().misplaced, 0);
}

#[tokio::test]
async fn without_leave_to_list_shards_only_records_of_one_hash_share_one() {
    let fake = Fake::start(|heard: &Heard| match heard.action.as_str() {
        "ListShards" => error(400, "AccessDeniedException"),
        _ => ok(heard),
    })
    .await;
    let targets = targets(&fake);
    let results = call(&targets, &["a", "b", "a"]).await;
    assert_eq!(verdicts(&results), ["n-0:0", "n-1", "n-0:1"]);
    call(&targets, &["a", "b", "a"]).await;
    // nobody asks again at once
    assert_eq!(actions(&fake), ["ListShards", "PutRecords", "PutRecords"]);
    assert_eq!(targets.aggregation().unmapped, 2);
}
