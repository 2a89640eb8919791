"""FIFO queues, dead letters, purges, tags and permissions over the SQS protocol, as boto3 speaks it."""

import json

import pytest

from support.emulators import unique
from support.processes import eventually
from support.sqs_wire import ACCOUNT, arn, attributes, client, queue, receive, refused, wire_config


@pytest.fixture(scope="module")
def one(shared_gateway):
    return shared_gateway(wire_config(anonymous=True))


@pytest.fixture
def sqs(one):
    return client(one)


# ---- FIFO ----

def test_a_fifo_queue_keeps_the_order_of_its_groups_and_finds_duplicates(sqs):
    made = queue(sqs, fifo=True)
    sent = sqs.send_message_batch(QueueUrl=made, Entries=[
        {"Id": str(n), "MessageBody": str(n), "MessageGroupId": f"g{n % 2}", "MessageDeduplicationId": f"d{n}"}
        for n in range(10)
    ])["Successful"]
    assert [entry["Id"] for entry in sent] == [str(n) for n in range(10)]
    numbers = [int(entry["SequenceNumber"]) for entry in sent]
    assert numbers == sorted(numbers)
    again = sqs.send_message(QueueUrl=made, MessageBody="other", MessageGroupId="g0", MessageDeduplicationId="d0")
    assert (again["MessageId"], again["SequenceNumber"]) == (sent[0]["MessageId"], sent[0]["SequenceNumber"])
    messages = receive(sqs, made, AttributeNames=["All"])
    for group in ["g0", "g1"]:
        bodies = [int(m["Body"]) for m in messages if m["Attributes"]["MessageGroupId"] == group]
        assert bodies == sorted(bodies) and bodies
    assert messages[0]["Attributes"]["MessageDeduplicationId"] == "d0"


def test_a_fifo_queue_wants_a_group_and_an_id(sqs):
    made, content = queue(sqs, fifo=True), queue(sqs, fifo=True, ContentBasedDeduplication="true")
    refused("MissingParameter", sqs.send_message, QueueUrl=content, MessageBody="x")
    refused("InvalidParameterValue", sqs.send_message, QueueUrl=made, MessageBody="x", MessageGroupId="g")
    refused("InvalidParameterValue", sqs.send_message, QueueUrl=content, MessageBody="x", MessageGroupId="g", DelaySeconds=1)
    refused("MissingParameter", sqs.send_message_batch, QueueUrl=content, Entries=[{"Id": "a", "MessageBody": "x"}])
    first = sqs.send_message(QueueUrl=content, MessageBody="x", MessageGroupId="g")
    assert sqs.send_message(QueueUrl=content, MessageBody="x", MessageGroupId="g")["MessageId"] == first["MessageId"]


def test_a_queue_of_high_throughput_finds_duplicates_in_each_group(sqs):
    made = queue(sqs, fifo=True, DeduplicationScope="messageGroup", FifoThroughputLimit="perMessageGroupId")

    def send(group, id="same"):
        return sqs.send_message(QueueUrl=made, MessageBody=group, MessageGroupId=group, MessageDeduplicationId=id)

    one, other, again = send("a"), send("b"), send("a")
    assert one["MessageId"] == again["MessageId"] != other["MessageId"]
    messages = receive(sqs, made, AttributeNames=["All"])
    assert [message["Body"] for message in messages] == ["a", "b"]
    assert {message["Attributes"]["MessageDeduplicationId"] for message in messages} == {"same"}
    assert "MD5OfMessageSystemAttributes" not in one


def test_a_receive_of_a_fifo_queue_may_be_repeated(sqs):
    made = queue(sqs, fifo=True, ContentBasedDeduplication="true")
    sqs.send_message(QueueUrl=made, MessageBody="x", MessageGroupId="g")
    first = receive(sqs, made, ReceiveRequestAttemptId="attempt-1")
    again = receive(sqs, made, ReceiveRequestAttemptId="attempt-1")
    assert [m["MessageId"] for m in first] == [m["MessageId"] for m in again] != []
    assert not receive(sqs, made, ReceiveRequestAttemptId="attempt-2")
    refused("InvalidParameterValue", sqs.receive_message, QueueUrl=made, ReceiveRequestAttemptId="a b")


def test_an_expired_handle_of_a_fifo_queue_deletes_nothing(sqs):
    made = queue(sqs, fifo=True, ContentBasedDeduplication="true")
    sqs.send_message(QueueUrl=made, MessageBody="x", MessageGroupId="g")
    (message,) = receive(sqs, made, VisibilityTimeout=0)
    text = refused("InvalidParameterValue", sqs.delete_message, QueueUrl=made, ReceiptHandle=message["ReceiptHandle"])
    assert text.endswith("The receipt handle has expired.")


# ---- dead letters ----

def redriven(sqs, count=1, **options):
    dead = queue(sqs, "dead", **options)
    policy = json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": count})
    return queue(sqs, "source", RedrivePolicy=policy, VisibilityTimeout="0", **options), dead


def test_dead_letters_go_to_their_queue_and_are_moved_back(sqs):
    source, dead = redriven(sqs)
    assert json.loads(attributes(sqs, source)["RedrivePolicy"]) == {"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 1}
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [source]
    assert sqs.list_dead_letter_source_queues(QueueUrl=source)["queueUrls"] == []
    for n in range(3):
        sqs.send_message(QueueUrl=source, MessageBody=str(n))
    found = eventually(lambda: (receive(sqs, source), receive(sqs, dead, VisibilityTimeout=0, AttributeNames=["All"]))[1], what="dead letters")
    assert found[0]["Attributes"]["DeadLetterQueueSourceArn"] == arn(sqs, source)
    eventually(lambda: (receive(sqs, source), attributes(sqs, dead)["ApproximateNumberOfMessages"])[1] == "3", what="all of them")
    sqs.set_queue_attributes(QueueUrl=source, Attributes={"RedrivePolicy": json.dumps(
        {"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 1000})})
    task = sqs.start_message_move_task(SourceArn=arn(sqs, dead))
    assert task["TaskHandle"]
    moves = eventually(
        lambda: next((t for t in sqs.list_message_move_tasks(SourceArn=arn(sqs, dead))["Results"] if t["Status"] == "COMPLETED"), None),
        10, "the task to be done")
    assert moves["ApproximateNumberOfMessagesMoved"] == 3 and "TaskHandle" not in moves
    assert moves["SourceArn"] == arn(sqs, dead)
    assert sorted(m["Body"] for m in receive(sqs, source)) == ["0", "1", "2"]


def test_a_move_is_slow_if_asked_and_can_be_cancelled(sqs):
    _, dead = redriven(sqs)
    target = queue(sqs, "target")
    for _ in range(3):
        sqs.send_message_batch(QueueUrl=dead, Entries=[{"Id": str(n), "MessageBody": "x"} for n in range(10)])
    handle = sqs.start_message_move_task(
        SourceArn=arn(sqs, dead), DestinationArn=arn(sqs, target), MaxNumberOfMessagesPerSecond=1)["TaskHandle"]
    (running,) = sqs.list_message_move_tasks(SourceArn=arn(sqs, dead))["Results"]
    assert running["Status"] == "RUNNING" and running["TaskHandle"] == handle
    assert running["MaxNumberOfMessagesPerSecond"] == 1 and running["DestinationArn"] == arn(sqs, target)
    refused("InvalidParameterValue", sqs.start_message_move_task, 400, SourceArn=arn(sqs, dead))
    assert sqs.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"] < 30
    eventually(lambda: sqs.list_message_move_tasks(SourceArn=arn(sqs, dead))["Results"][0]["Status"] == "CANCELLED", what="cancelled")
    refused("ResourceNotFoundException", sqs.cancel_message_move_task, 404, TaskHandle=handle)


def test_moves_that_cannot_be_are_refused(sqs):
    source, dead = redriven(sqs)
    nowhere = f"arn:aws:sqs:us-east-1:{ACCOUNT}:nowhere"
    refused("ResourceNotFoundException", sqs.start_message_move_task, 404, SourceArn=nowhere)
    refused("ResourceNotFoundException", sqs.start_message_move_task, SourceArn=arn(sqs, dead), DestinationArn=nowhere)
    refused("InvalidParameterValue", sqs.start_message_move_task, 400, SourceArn="nonsense")
    refused("InvalidParameterValue", sqs.start_message_move_task, SourceArn=arn(sqs, source))
    refused("InvalidParameterValue", sqs.start_message_move_task, SourceArn=arn(sqs, dead), MaxNumberOfMessagesPerSecond=501)
    refused("ResourceNotFoundException", sqs.list_message_move_tasks, SourceArn=nowhere)
    refused("InvalidParameterValue", sqs.list_message_move_tasks, SourceArn=arn(sqs, dead), MaxResults=11)
    refused("ResourceNotFoundException", sqs.cancel_message_move_task, TaskHandle="nonsense")


def test_a_dead_letter_queue_is_of_the_same_kind(sqs):
    policy = json.dumps({"deadLetterTargetArn": arn(sqs, queue(sqs)), "maxReceiveCount": 1})
    refused("InvalidParameterValue", sqs.create_queue, QueueName=unique("q") + ".fifo",
            Attributes={"FifoQueue": "true", "RedrivePolicy": policy})


# ---- purge, tags, permissions ----

def test_a_queue_is_purged_once_a_minute(sqs):
    made = queue(sqs)
    sqs.send_message_batch(QueueUrl=made, Entries=[{"Id": str(n), "MessageBody": "x"} for n in range(10)])
    receive(sqs, made, MaxNumberOfMessages=3)
    sqs.purge_queue(QueueUrl=made)
    shown = attributes(sqs, made)
    assert shown["ApproximateNumberOfMessages"] == shown["ApproximateNumberOfMessagesNotVisible"] == "0"
    refused("AWS.SimpleQueueService.PurgeQueueInProgress", sqs.purge_queue, 403, QueueUrl=made)


def test_tags_are_put_listed_and_taken_away(sqs):
    name = unique("tagged")
    made = sqs.create_queue(QueueName=name, tags={"team": "a", "tier": ""})["QueueUrl"]
    assert sqs.list_queue_tags(QueueUrl=made)["Tags"] == {"team": "a", "tier": ""}
    sqs.tag_queue(QueueUrl=made, Tags={"team": "b", "é": "ü"})
    sqs.untag_queue(QueueUrl=made, TagKeys=["tier", "never"])
    assert sqs.list_queue_tags(QueueUrl=made)["Tags"] == {"team": "b", "é": "ü"}
    sqs.untag_queue(QueueUrl=made, TagKeys=["team", "é"])
    assert "Tags" not in sqs.list_queue_tags(QueueUrl=made)
    refused("MissingParameter", sqs.tag_queue, QueueUrl=made, Tags={})
    refused("InvalidParameterValue", sqs.tag_queue, QueueUrl=made, Tags={str(n): "x" for n in range(51)})
    refused("InvalidParameterValue", sqs.tag_queue, QueueUrl=made, Tags={"k" * 129: "x"})
    refused("InvalidParameterValue", sqs.untag_queue, QueueUrl=made, TagKeys=[])


def test_permissions_stand_in_the_policy(sqs):
    made = queue(sqs)
    sqs.add_permission(QueueUrl=made, Label="partner", AWSAccountIds=["111122223333"], Actions=["SendMessage"])
    policy = json.loads(attributes(sqs, made, "Policy")["Policy"])
    (statement,) = policy["Statement"]
    assert statement["Sid"] == "partner" and statement["Action"] == "SQS:SendMessage"
    assert statement["Principal"] == {"AWS": "arn:aws:iam::111122223333:root"}
    refused("InvalidParameterValue", sqs.add_permission, QueueUrl=made, Label="partner", AWSAccountIds=["1"], Actions=["*"])
    refused("InvalidParameterValue", sqs.add_permission, QueueUrl=made, Label="x", AWSAccountIds=["1"], Actions=["CreateQueue"])
    refused("InvalidParameterValue", sqs.add_permission, QueueUrl=made, Label="x", AWSAccountIds=[], Actions=["*"])
    refused("MissingParameter", sqs.add_permission, QueueUrl=made, Label="x", AWSAccountIds=["1"], Actions=[])
    refused("OverLimit", sqs.add_permission, 403, QueueUrl=made, Label="x", AWSAccountIds=["1"], Actions=["*"] * 8)
    sqs.remove_permission(QueueUrl=made, Label="partner")
    assert not attributes(sqs, made, "Policy")
    refused("InvalidParameterValue", sqs.remove_permission, QueueUrl=made, Label="partner")
