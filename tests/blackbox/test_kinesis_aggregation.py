"""`aggregate: kpl`: what the vendor's own module takes out of the stream is what callers sent, and every record lies in the
shard that consumers look for it in. moto and MiniStack hold the stream; the backlog is made by stopping them for a while."""

import hashlib
import json
import os
import signal
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

from support.ack import accepted, setup
from support.deaggregate import user_records
from support.emulators import REGION, unique
from support.fake_aws import Refusal, access_denied
from support.gateway import config, penstock, write_config
from support.payloads import PAYLOADS
from support.processes import eventually, refusing_port

MAGIC = b"\xf3\x89\x9a\xc2"


def stream_of(emulator, shards):
    name, kinesis = unique("pixels"), emulator.client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    active(kinesis, name)
    return name


def active(kinesis, name):
    eventually(lambda: kinesis.describe_stream(StreamName=name)["StreamDescription"]["StreamStatus"] == "ACTIVE")


def contents(emulator, name):
    """Of each shard, open or closed: its first and last hash, and its records."""
    kinesis, found = emulator.client("kinesis"), []
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        span = shard["HashKeyRange"]
        records = kinesis.get_records(ShardIterator=iterator)["Records"]
        found.append((int(span["StartingHashKey"]), int(span["EndingHashKey"]), records))
    return found


def as_consumers_see_it(shards):
    """What the vendor's Kinesis Client Library would hand to its callers: an aggregate with a record of another shard is
    thrown away whole. The records, and how many aggregates are lost that way."""
    kept, lost = [], 0
    for first, last, records in shards:
        whole = defaultdict(list)
        for one in user_records(records):
            whole[one["sequence"]].append(one)
        for members in whole.values():
            hashes = [
                int(one["hash_key"]) if one["hash_key"] is not None else int(hashlib.md5(one["key"].encode()).hexdigest(), 16)
                for one in members if one["place"] is not None
            ]
            if all(first <= value <= last for value in hashes):
                kept += members
            else:
                lost += 1
    return kept, lost


def route(name, **parameters):
    call = {"StreamName": name, "Data": "$request.body", "PartitionKey": "$request.header.key", **parameters}
    return {"POST /r": {"integration": {"Kinesis-PutRecord": call, "aggregate": "kpl"}, "ack": {"mode": "spool", "order": "none"}}}


def document(name, url, **parameters):
    return config(route(name, **parameters), aws={"region": REGION, "endpoint": url}, limits={"drain": "1s", "body": "2MiB"})


def spool_then_start(gateway, emulator, name, requests, **parameters):
    """Spools everything while AWS is nowhere; the next run knows where it is."""
    one = gateway(document(name, f"http://127.0.0.1:{refusing_port()}", **parameters))
    for body, headers in requests:
        accepted(one.request("POST", "/r", body, headers), "spooled")
    one.stop()
    write_config(one.directory, document(name, emulator.url, **parameters))
    one.start()
    eventually(lambda: one.depth() == 0, what="an empty spool")
    assert one.depth("dead-letters") == 0
    return one


def test_what_consumers_take_out_is_what_callers_sent(gateway, emulator):
    name = stream_of(emulator, 3)
    sent = [(f"{key}:{number}".encode(), f"key {key}") for number in range(6) for key in "abcdefghijklm"]
    sent += [(body, f"payload {place}") for place, body in enumerate(PAYLOADS.values()) if 0 < len(body) < 500_000]
    sent += [(b"x" * 60_000, "too large to share"), (b"after it", "too large to share")]
    one = spool_then_start(gateway, emulator, name, [(body, {"key": key}) for body, key in sent])
    shards = contents(emulator, name)
    found, lost = as_consumers_see_it(shards)
    assert lost == 0
    assert Counter((record["data"], record["key"]) for record in found) == Counter(sent)
    of_stream = sum(len(records) for _, _, records in shards)
    assert of_stream < len(sent) / 2
    metrics = one.metrics()
    assert metrics.value("penstock_aggregated_records_total") > len(sent) / 2
    assert metrics.value("penstock_aggregates_total") <= of_stream
    assert metrics.value("penstock_aggregates_saved_units_total") > 0
    assert metrics.value("penstock_aggregates_unmapped_batches_total") == 0
    for first, last, records in shards:
        assert all(len(record["Data"]) <= 51_200 for record in records if record["Data"].startswith(MAGIC))


def test_explicit_hash_keys_choose_the_shard_of_an_aggregate_too(gateway, emulator):
    name = stream_of(emulator, 2)
    sent = [(f"{number}".encode(), str(number % 3), str((2**127 if number % 2 else 0) + number)) for number in range(40)]
    spool_then_start(
        gateway, emulator, name, [(body, {"key": key, "hash": value}) for body, key, value in sent],
        ExplicitHashKey="$request.header.hash")
    shards = contents(emulator, name)
    found, lost = as_consumers_see_it(shards)
    assert lost == 0
    aggregated = [record for record in found if record["place"] is not None]
    assert len(aggregated) > 20
    given = {body: (key, value) for body, key, value in sent}
    assert sorted(record["data"] for record in found) == sorted(given)
    for record in aggregated:
        assert (record["key"], record["hash_key"]) == given[record["data"]]


def test_a_stream_that_is_split_behind_our_back_loses_nothing(gateway, ministack):
    """With MiniStack: moto goes on putting records into the shard that is closed."""
    name, kinesis = stream_of(ministack, 1), ministack.client("kinesis")
    keys = [f"k{number}" for number in range(30)]
    one = spool_then_start(gateway, ministack, name, [(f"before {key}".encode(), {"key": key}) for key in keys])
    listed = one.metrics().value("penstock_aggregates_total")
    assert listed > 0
    [shard] = kinesis.list_shards(StreamName=name)["Shards"]
    kinesis.split_shard(StreamName=name, ShardToSplit=shard["ShardId"], NewStartingHashKey=str(2**127))
    active(kinesis, name)
    # all but the first few wait until it answers again, and then go together
    os.kill(ministack.child.pid, signal.SIGSTOP)
    try:
        for key in keys:
            accepted(one.request("POST", "/r", f"after {key}".encode(), {"key": key}), "spooled")
    finally:
        os.kill(ministack.child.pid, signal.SIGCONT)
    eventually(lambda: one.depth() == 0, what="an empty spool")
    found, _ = as_consumers_see_it(contents(ministack, name))
    assert {record["data"] for record in found} >= {f"after {key}".encode() for key in keys}
    assert one.metrics().value("penstock_aggregates_misplaced_records_total") > 0


def test_each_caller_is_told_where_its_own_record_is(gateway, ministack):
    """Callers who wait for the target share calls while others are under way."""
    name = stream_of(ministack, 2)
    table = route(name)
    table["POST /r"]["ack"] = "target"
    one = gateway(config(table, aws={"region": REGION, "endpoint": ministack.url}))

    def send(number):
        body = f"{number}".encode()
        answer = one.request("POST", "/r", body, {"key": f"k{number % 16}"})
        accepted(answer, "target")
        return body, answer.json()
    with ThreadPoolExecutor(48) as callers:
        answers = list(callers.map(send, range(400)))
    assert len({answer["messageId"] for _, answer in answers}) == len(answers)
    told = {(answer["sequenceNumber"], answer.get("subSequenceNumber")): body for body, answer in answers}
    shards = contents(ministack, name)
    found = {
        (record["sequence"], None if record["place"] is None else str(record["place"])): record["data"]
        for _, _, records in shards for record in user_records(records)
    }
    assert found == told
    assert as_consumers_see_it(shards)[1] == 0
    assert any(place is not None for _, place in told), "nobody shared a record"


def test_of_a_batch_that_fails_in_part_only_what_failed_is_sent_again(gateway, target):
    """Without leave to list shards, too: then only records of one key go together."""
    target.always("Kinesis-ListShards", access_denied())
    seen = []

    def first_aggregate_is_throttled(record):
        if record.body.startswith(MAGIC):
            seen.append(record.body)
            if len(seen) == 1:
                return Refusal("ProvisionedThroughputExceededException")
        return None
    target.refuse = first_aggregate_is_throttled
    target.down()
    table = route("pixels")
    one = gateway(setup(target, table))
    sent = [(f"{number}".encode(), f"key {number % 4}") for number in range(24)]
    for body, key in sent:
        accepted(one.request("POST", "/r", body, {"key": key}), "spooled")
    target.up()
    eventually(lambda: one.depth() == 0, what="an empty spool")
    kept = [kept for kept in target.kept.values()]
    assert all(len(one.times) == 1 for one in kept)
    found = user_records([{
        "Data": one.record.body, "PartitionKey": one.record.key, "SequenceNumber": str(place)} for place, one in enumerate(kept)])
    assert sorted((record["data"], record["key"]) for record in found) == sorted(sent)
    assert len(seen) > 1 and len(kept) < len(sent)
    for record in (one.record for one in kept if one.record.body.startswith(MAGIC)):
        assert record.entry["ExplicitHashKey"] == str(int(hashlib.md5(record.key.encode()).hexdigest(), 16))
    assert one.metrics().value("penstock_aggregates_unmapped_batches_total") > 0
    log = (one.directory / "stderr.1").read_text()
    assert log.count("The shards of the stream cannot be listed") == 1


def test_explain_says_that_a_record_may_share_one(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text(json.dumps(config(route("pixels"), aws={"region": REGION})))
    ran = penstock("explain", path, "POST", "/r", "-H", "key: k", "-d", "x", "--json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    call = json.loads(ran.stdout)["call"]["Kinesis-PutRecord"]
    assert call == {"StreamName": "pixels", "Data": "x", "PartitionKey": "k", "aggregate": "kpl"}
