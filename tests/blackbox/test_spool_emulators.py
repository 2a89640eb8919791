"""Backlogs forwarded to AWS emulators that nobody here wrote, seen through boto3: batches are what the services take, and
bodies come out as they went in. (That answers are lost and targets go away is the fake's part.)"""

import json

import pytest

from support.ack import accepted, post
from support.emulators import REGION, unique
from support.gateway import config, write_config
from support.payloads import PAYLOADS, TEXTS
from support.processes import eventually, refusing_port

ROLE = "arn:aws:iam::000000000000:role/machine"
PASS = {"StartAt": "Done", "States": {"Done": {"Type": "Pass", "End": True}}}


def backlog(gateway, emulator, integration, requests):
    """Spools everything while AWS is nowhere; the next run knows where it is. `requests`: (body, key)."""
    def document(url):
        return config(
            {"POST /r": {"integration": integration, "ack": "spool"}}, aws={"region": REGION, "endpoint": url}, limits={"drain": "1s"})
    one = gateway(document(f"http://127.0.0.1:{refusing_port()}"))
    for body, key in requests:
        accepted(post(one, "/r", body, key=key), "spooled")
    one.stop()
    write_config(one.directory, document(emulator.url))
    one.start()
    eventually(lambda: one.depth() == 0, what="an empty spool")
    assert one.fates()["forwarded"] == len(requests) and one.depth("dead-letters") == 0
    metrics = one.metrics()
    assert metrics.value("penstock_possible_duplicates_total") == 0
    assert metrics.value("penstock_forward_batch_records_sum") >= len(requests)
    return metrics.value("penstock_forward_batch_records_count")


def test_a_backlog_for_a_standard_queue(gateway, emulator):
    queue = emulator.queue("orders")
    bodies = [body for body in TEXTS.values() if 0 < len(body) < 200_000] + [f"m{number}".encode() for number in range(25)]
    calls = backlog(gateway, emulator, {"SQS-SendMessage": {
        "QueueUrl": queue, "MessageBody": "$request.body", "MessageAttributes": {"k": "$request.header.key"}}}, [(body, "v") for body in bodies])
    messages = emulator.messages(queue, len(bodies))
    assert sorted(message["Body"].encode() for message in messages) == sorted(bodies)
    assert all(message["MessageAttributes"]["k"]["StringValue"] == "v" for message in messages)
    assert emulator.depth(queue) == 0
    assert calls < len(bodies)


def test_a_backlog_for_a_fifo_queue_arrives_in_the_order_of_each_group(gateway, emulator):
    queue = emulator.queue("ledger", fifo=True)
    sent = [(f"{key}:{number}".encode(), key) for number in range(6) for key in "abcd"]
    backlog(gateway, emulator, {"SQS-SendMessage": {
        "QueueUrl": queue, "MessageBody": "$request.body", "MessageGroupId": "$request.header.key",
        "MessageDeduplicationId": "$context.requestId"}}, sent)
    messages = emulator.messages(queue, len(sent))
    for key in "abcd":
        found = [m["Body"] for m in messages if m["Attributes"]["MessageGroupId"] == key]
        assert found == [f"{key}:{number}" for number in range(6)]


def test_a_backlog_for_a_stream_arrives_in_the_order_of_each_key(gateway, emulator):
    name, kinesis = unique("clicks"), emulator.client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    eventually(lambda: kinesis.describe_stream(StreamName=name)["StreamDescription"]["StreamStatus"] == "ACTIVE")
    sent = [(f"{key}:{number}".encode(), key) for number in range(8) for key in "abcdef"]
    sent += [(body, f"payload {place}") for place, body in enumerate(PAYLOADS.values()) if body]
    calls = backlog(gateway, emulator, {"Kinesis-PutRecord": {
        "StreamName": name, "Data": "$request.body", "PartitionKey": "$request.header.key"}}, sent)
    [shard] = kinesis.list_shards(StreamName=name)["Shards"]
    iterator = kinesis.get_shard_iterator(StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    found = [(record["Data"], record["PartitionKey"]) for record in kinesis.get_records(ShardIterator=iterator)["Records"]]
    assert sorted(found) == sorted(sent)
    for key in "abcdef":
        assert [data for data, its in found if its == key] == [data for data, its in sent if its == key]
    assert calls < len(sent)


def test_a_backlog_for_a_bus(gateway, emulator):
    name, queue, events = unique("hooks"), emulator.queue("events"), emulator.client("events")
    arn = emulator.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.create_event_bus(Name=name)
    events.put_rule(Name=name, EventBusName=name, EventPattern=json.dumps({"source": [{"prefix": ""}]}), State="ENABLED")
    events.put_targets(Rule=name, EventBusName=name, Targets=[{"Id": "queue", "Arn": arn}])
    sent = [(json.dumps({"n": number, "é": "🎈"}).encode(), "k") for number in range(23)]
    calls = backlog(gateway, emulator, {"EventBridge-PutEvents": {
        "EventBusName": name, "Source": "shop", "DetailType": "order", "Detail": "$request.body"}}, sent)
    found = [json.loads(message["Body"])["detail"] for message in emulator.messages(queue, len(sent))]
    assert sorted(detail["n"] for detail in found) == list(range(23)) and {detail["é"] for detail in found} == {"🎈"}
    assert calls < len(sent)


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
def test_a_backlog_for_a_state_machine(gateway, emulator, kind):
    states = emulator.client("stepfunctions")
    arn = states.create_state_machine(name=unique("machine"), definition=json.dumps(PASS), roleArn=ROLE, type=kind)["stateMachineArn"]
    sent = [(json.dumps({"n": number}).encode(), "k") for number in range(6)]
    backlog(gateway, emulator, {"StepFunctions-StartExecution": {"StateMachineArn": arn, "Input": "$request.body"}}, sent)
    if kind == "EXPRESS":
        return  # an emulator lists those no more than AWS does
    found = [states.describe_execution(executionArn=one["executionArn"])["input"] for one in states.list_executions(stateMachineArn=arn)["executions"]]
    assert sorted(found) == sorted(body.decode() for body, _ in sent)
