"""Kinesis-PutRecord through boto3's eyes: the mapped bytes are the record."""

import base64

import pytest

from support.emulators import REGION, unique
from support.gateway import config
from support.payloads import PAYLOADS
from support.processes import eventually


@pytest.fixture(scope="module")
def stream(emulator):
    name = unique("clicks")
    kinesis = emulator.client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=2)
    eventually(lambda: kinesis.describe_stream(StreamName=name)["StreamDescription"]["StreamStatus"] == "ACTIVE")
    return name


def records(emulator, stream):
    """Every record of the stream, by partition key, with its shard."""
    kinesis, found = emulator.client("kinesis"), {}
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        for record in kinesis.get_records(ShardIterator=iterator)["Records"]:
            found.setdefault(record["PartitionKey"], []).append({**record, "ShardId": shard["ShardId"]})
    return found


def put(stream, beside=None, **parameters):
    call = {"StreamName": stream, "Data": "$request.body", "PartitionKey": "$request.header.x-key", **parameters}
    return {"integration": {"Kinesis-PutRecord": call, **(beside or {})}}


def table(stream):
    return {
        "POST /records": put(stream),
        "POST /selected": put(stream, Data="$request.body.payload", PartitionKey="$request.body.user"),
        "POST /base64": put(stream, {"decode_data": "base64"}),
        "POST /hashed": put(stream, ExplicitHashKey="$request.header.x-hash", Region=REGION),
        "POST /ordered": put(stream, SequenceNumberForOrdering="$request.header.x-after"),
        "POST /nowhere": put(unique("missing")),
    }


@pytest.fixture(params=["native", "aws"])
def clicks(request, gateway, emulator, stream):
    one = gateway(config(table(stream), responses=request.param, limits={"body": "4MiB"},
                         aws={"region": REGION, "endpoint": emulator.url}))
    one.dialect = request.param
    return one


def accepted(one, answer):
    if one.dialect == "native":
        assert answer.status == 202, answer
        assert answer.json()["durability"] == "target"
    else:
        assert answer.status == 200, answer
        assert answer.headers["content-type"].startswith("application/x-amz-json-1.1")
        assert answer.json()["ShardId"].startswith("shardId-") and answer.json()["SequenceNumber"]
    return answer.json()


@pytest.mark.parametrize("name", [name for name in PAYLOADS if name != "empty"])
def test_bytes_in_are_the_record(clicks, emulator, stream, name):
    key = unique("k")
    accepted(clicks, clicks.request("POST", "/records", PAYLOADS[name], {"x-key": key}))
    (record,) = records(emulator, stream)[key]
    assert record["Data"] == PAYLOADS[name]


def test_an_empty_body_is_an_empty_record_or_a_clear_refusal(clicks, emulator, stream):
    key = unique("k")
    answer = clicks.request("POST", "/records", b"", {"x-key": key})
    if answer.status in (200, 202):
        assert records(emulator, stream)[key][0]["Data"] == b""
    else:
        assert 400 <= answer.status < 500 and key not in records(emulator, stream)


def test_selected_values_are_the_record_and_its_key(clicks, emulator, stream):
    key = unique("user")
    accepted(clicks, clicks.request("POST", "/selected", b'{"user":"%s","payload":{"a": [1, 2]}}' % key.encode()))
    assert records(emulator, stream)[key][0]["Data"] == b'{"a":[1,2]}'


def test_base64_is_decoded_only_where_the_route_says_so(clicks, emulator, stream):
    key, raw = unique("k"), bytes(range(256))
    accepted(clicks, clicks.request("POST", "/base64", base64.b64encode(raw), {"x-key": key}))
    assert records(emulator, stream)[key][0]["Data"] == raw
    answer = clicks.request("POST", "/base64", b"*** not base64 ***", {"x-key": key})
    assert answer.status == 400
    assert len(records(emulator, stream)[key]) == 1


def test_an_explicit_hash_key_chooses_the_shard(clicks, emulator, stream):
    key = unique("k")
    shards = set()
    for value in ("0", str(2**128 - 2)):  # moto fails on the very last one
        accepted(clicks, clicks.request("POST", "/hashed", b"x", {"x-key": key, "x-hash": value}))
    for record in records(emulator, stream)[key]:
        shards.add(record["ShardId"])
    assert len(shards) == 2


def test_a_sequence_number_for_ordering_is_passed_on(clicks, emulator, stream):
    key = unique("k")
    first = clicks.request("POST", "/records", b"1", {"x-key": key})
    accepted(clicks, first)
    sequence = records(emulator, stream)[key][0]["SequenceNumber"]
    accepted(clicks, clicks.request("POST", "/ordered", b"2", {"x-key": key, "x-after": sequence}))
    assert [record["Data"] for record in records(emulator, stream)[key]] == [b"1", b"2"]


def test_a_missing_partition_key_is_400(clicks):
    answer = clicks.request("POST", "/records", b"x")
    assert answer.status == 400
    if clicks.dialect == "native":
        assert answer.code == "mapping_unresolved" and "PartitionKey" in answer.json()["detail"]
    else:
        assert answer.body == b'{"message":"Bad Request"}'


def test_a_partition_key_over_256_characters_is_refused_with_the_limit(clicks, emulator, stream):
    answer = clicks.request("POST", "/records", b"x", {"x-key": "k" * 257})
    assert 400 <= answer.status < 500, answer
    if clicks.dialect == "native":
        assert "256" in answer.json()["detail"]


def test_a_stream_that_does_not_exist_is_our_setup(clicks):
    answer = clicks.request("POST", "/nowhere", b"x", {"x-key": "k"})
    if clicks.dialect == "native":
        assert answer.status == 502 and answer.code == "target_setup"
        assert "ResourceNotFoundException" in answer.json()["detail"]
        assert "retry-after" in answer.headers
    else:
        assert answer.status == 400
        assert "ResourceNotFoundException" in answer.json()["__type"]


def test_a_record_over_the_limit_is_413_and_names_it(gateway, emulator, stream):
    one = gateway(config(table(stream), limits={"body": "12MiB"}, aws={"region": REGION, "endpoint": emulator.url}))
    key = unique("k")
    answer = one.request("POST", "/records", b"x" * (11 * 1024 * 1024), {"x-key": key})
    assert answer.status == 413 and answer.code == "target_limit"
    assert "Kinesis" in answer.json()["detail"]
    assert key not in records(emulator, stream)
