"""The SQS protocol over embedded queues, as boto3 speaks it: every action, and every refusal that the service has."""

import base64
import hashlib
import json
import threading
import time

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from support.emulators import unique
from support.processes import eventually
from support.sqs_wire import ACCOUNT, attributes, client, queue, receive, refused, url, wire_config

NONE = "AWS.SimpleQueueService.NonExistentQueue"


@pytest.fixture(scope="module")
def one(shared_gateway):
    return shared_gateway(wire_config(anonymous=True))


@pytest.fixture
def sqs(one):
    return client(one)


# ---- queues ----

def test_a_queue_is_made_found_listed_and_removed(sqs, one):
    name = unique("made")
    made = sqs.create_queue(QueueName=name)["QueueUrl"]
    assert made == f"{url(one)}/{ACCOUNT}/{name}"
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == made
    assert made in sqs.list_queues(QueueNamePrefix="made")["QueueUrls"]
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == made
    sqs.delete_queue(QueueUrl=made)
    refused(NONE, sqs.get_queue_url, 400, QueueName=name)
    refused(NONE, sqs.delete_queue, QueueUrl=made)
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=name)


def test_a_declared_queue_is_there_and_only_the_configuration_removes_it(sqs, one):
    declared = sqs.get_queue_url(QueueName="declared")["QueueUrl"]
    assert declared == f"{url(one)}/{ACCOUNT}/declared"
    refused("AWS.SimpleQueueService.UnsupportedOperation", sqs.delete_queue, QueueUrl=declared)


def test_names_that_no_queue_can_have_are_refused(sqs):
    for name in ["", "a b", "a.b", "x" * 81, "é", "q.fifo"]:
        refused("InvalidParameterValue", sqs.create_queue, 400, QueueName=name)
    refused("InvalidParameterValue", sqs.create_queue, QueueName="q", Attributes={"FifoQueue": "true"})
    refused("InvalidAttributeName", sqs.create_queue, QueueName="q", Attributes={"FifoQueue": "false"})


def test_a_queue_made_twice_with_other_attributes_is_refused(sqs):
    name = unique("twice")
    made = sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "1"})
    assert sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "1"})["QueueUrl"] == made["QueueUrl"]
    message = refused("QueueAlreadyExists", sqs.create_queue, 400, QueueName=name, Attributes={"DelaySeconds": "2"})
    assert message.endswith("a different value for attribute DelaySeconds")


def test_lists_come_in_pages(sqs):
    prefix = unique("page")
    made = sorted(queue(sqs, f"{prefix}-{n}") for n in range(5))
    pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": 2})
    found = [page.get("QueueUrls", []) for page in pages]
    assert [len(page) for page in found] == [2, 2, 1]
    assert sum(found, []) == made
    assert "NextToken" not in sqs.list_queues(QueueNamePrefix=prefix)
    refused("InvalidParameterValue", sqs.list_queues, MaxResults=0)
    refused("InvalidParameterValue", sqs.list_queues, MaxResults=1001)
    refused("InvalidParameterValue", sqs.list_queues, MaxResults=1, NextToken="nonsense!")


def test_what_is_no_queue_url_is_refused(sqs, one):
    refused("InvalidAddress", sqs.send_message, 404, QueueUrl="nowhere", MessageBody="x")
    refused("MissingParameter", sqs.send_message, QueueUrl="", MessageBody="x")
    elsewhere = f"https://sqs.eu-west-1.amazonaws.com/111122223333/{unique('none')}"
    refused(NONE, sqs.send_message, QueueUrl=elsewhere, MessageBody="x")
    sqs.send_message(QueueUrl="https://sqs.eu-west-1.amazonaws.com/111122223333/declared", MessageBody="x")
    refused(NONE, sqs.send_message, QueueUrl=f"{url(one)}/{ACCOUNT}/spool:x", MessageBody="x")


@pytest.mark.parametrize("action,parameters", [
    ("get_queue_attributes", {}), ("set_queue_attributes", {"Attributes": {"DelaySeconds": "1"}}),
    ("send_message", {"MessageBody": "x"}), ("receive_message", {}), ("delete_message", {"ReceiptHandle": "x"}),
    ("send_message_batch", {"Entries": [{"Id": "a", "MessageBody": "x"}]}),
    ("delete_message_batch", {"Entries": [{"Id": "a", "ReceiptHandle": "x"}]}),
    ("change_message_visibility", {"ReceiptHandle": "x", "VisibilityTimeout": 1}),
    ("change_message_visibility_batch", {"Entries": [{"Id": "a", "ReceiptHandle": "x", "VisibilityTimeout": 1}]}),
    ("purge_queue", {}), ("delete_queue", {}), ("list_dead_letter_source_queues", {}),
    ("tag_queue", {"Tags": {"a": "b"}}), ("untag_queue", {"TagKeys": ["a"]}), ("list_queue_tags", {}),
    ("add_permission", {"Label": "l", "AWSAccountIds": ["1"], "Actions": ["*"]}),
    ("remove_permission", {"Label": "l"}),
])
def test_every_action_knows_when_there_is_no_such_queue(sqs, one, action, parameters):
    missing = f"{url(one)}/{ACCOUNT}/{unique('missing')}"
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as caught:
        getattr(sqs, action)(QueueUrl=missing, **parameters)
    assert caught.value.response["Error"]["QueryErrorCode"] == "QueueDoesNotExist"


# ---- attributes ----

def test_attributes_are_those_of_the_service(sqs):
    made = queue(sqs)
    shown = attributes(sqs, made)
    defaults = {
        "VisibilityTimeout": "30", "DelaySeconds": "0", "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600", "ReceiveMessageWaitTimeSeconds": "0",
        "ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "0",
        "ApproximateNumberOfMessagesDelayed": "0", "QueueArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{made.rsplit('/')[-1]}",
    }
    assert {name: shown.get(name) for name in defaults} == defaults
    assert abs(int(shown["CreatedTimestamp"]) - time.time()) < 60
    assert attributes(sqs, made, "DelaySeconds", "Policy") == {"DelaySeconds": "0"}
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=made)
    refused("InvalidAttributeName", sqs.get_queue_attributes, 400, QueueUrl=made, AttributeNames=["Nonsense"])


def test_attributes_are_set_and_kept(sqs):
    made = queue(sqs)
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    wanted = {
        "VisibilityTimeout": "0", "DelaySeconds": "900", "MaximumMessageSize": "1024", "MessageRetentionPeriod": "60",
        "ReceiveMessageWaitTimeSeconds": "20", "Policy": policy, "KmsMasterKeyId": "alias/mine",
        "SqsManagedSseEnabled": "false", "RedriveAllowPolicy": json.dumps({"redrivePermission": "denyAll"}),
    }
    sqs.set_queue_attributes(QueueUrl=made, Attributes=wanted)
    shown = attributes(sqs, made)
    assert {name: shown.get(name) for name in wanted} == wanted
    sqs.set_queue_attributes(QueueUrl=made, Attributes={"Policy": "", "DelaySeconds": "1"})
    shown = attributes(sqs, made)
    assert "Policy" not in shown and shown["DelaySeconds"] == "1" and shown["MaximumMessageSize"] == "1024"


@pytest.mark.parametrize("name,value,code", [
    ("VisibilityTimeout", "43201", "InvalidAttributeValue"), ("VisibilityTimeout", "x", "InvalidAttributeValue"),
    ("DelaySeconds", "901", "InvalidAttributeValue"), ("MaximumMessageSize", "1023", "InvalidAttributeValue"),
    ("MaximumMessageSize", "1048577", "InvalidAttributeValue"), ("MessageRetentionPeriod", "59", "InvalidAttributeValue"),
    ("ReceiveMessageWaitTimeSeconds", "21", "InvalidAttributeValue"), ("Policy", "nonsense", "InvalidAttributeValue"),
    ("Nonsense", "1", "InvalidAttributeName"), ("QueueArn", "1", "InvalidAttributeName"),
    ("ContentBasedDeduplication", "true", "InvalidAttributeName"), ("FifoQueue", "true", "InvalidAttributeName"),
    ("RedrivePolicy", "nonsense", "InvalidParameterValue"),
    ("RedrivePolicy", '{"deadLetterTargetArn":"arn:aws:sqs:r:1:nowhere","maxReceiveCount":1}', "InvalidParameterValue"),
])
def test_attributes_that_cannot_be_are_refused(sqs, name, value, code):
    made = queue(sqs)
    refused(code, sqs.set_queue_attributes, 400, QueueUrl=made, Attributes={name: value})
    if name != "FifoQueue":
        refused(code, sqs.create_queue, 400, QueueName=unique("q"), Attributes={name: value})


# ---- messages ----

def test_a_message_comes_back_with_all_that_was_sent(sqs):
    made = queue(sqs)
    body = 'quotes " lines\r\n\t 🎈 <xml>&amp;'
    sent = sqs.send_message(
        QueueUrl=made, MessageBody=body,
        MessageAttributes={
            "text": {"DataType": "String", "StringValue": "é"}, "number": {"DataType": "Number.int", "StringValue": "3"},
            "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}},
    )
    assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    assert sent["MD5OfMessageSystemAttributes"]
    (message,) = receive(sqs, made, AttributeNames=["All"], MessageAttributeNames=["All"])
    assert message["Body"] == body and message["MessageId"] == sent["MessageId"]
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["MessageAttributes"]["bytes"] == {"DataType": "Binary", "BinaryValue": b"\x00\xff"}
    assert message["MessageAttributes"]["number"] == {"DataType": "Number.int", "StringValue": "3"}
    assert message["Attributes"]["AWSTraceHeader"].startswith("Root=1-5759e988")
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert {"SenderId", "SentTimestamp", "ApproximateFirstReceiveTimestamp"} <= set(message["Attributes"])
    sqs.delete_message(QueueUrl=made, ReceiptHandle=message["ReceiptHandle"])
    sqs.delete_message(QueueUrl=made, ReceiptHandle=message["ReceiptHandle"])
    assert attributes(sqs, made, "ApproximateNumberOfMessagesNotVisible")["ApproximateNumberOfMessagesNotVisible"] == "0"


@pytest.mark.parametrize("asked,given", [
    ([], set()), (["All"], {"a", "b.c", "b.d"}), ([".*"], {"a", "b.c", "b.d"}), (["b.*"], {"b.c", "b.d"}), (["a"], {"a"}),
    (["nothing"], set()),
])
def test_message_attributes_are_asked_for_by_name_and_wildcard(sqs, asked, given):
    made = queue(sqs)
    sqs.send_message(QueueUrl=made, MessageBody="x", MessageAttributes={
        name: {"DataType": "String", "StringValue": "v"} for name in ["a", "b.c", "b.d"]
    })
    (message,) = receive(sqs, made, MessageAttributeNames=asked, MessageSystemAttributeNames=["SentTimestamp"])
    assert set(message.get("MessageAttributes", {})) == given
    assert set(message["Attributes"]) == {"SentTimestamp"}
    assert ("MD5OfMessageAttributes" in message) == bool(given)


def test_bytes_that_are_no_text_come_as_base64_and_say_so(sqs, one):
    declared = sqs.get_queue_url(QueueName="declared")["QueueUrl"]
    while left := receive(sqs, declared):
        for message in left:
            sqs.delete_message(QueueUrl=declared, ReceiptHandle=message["ReceiptHandle"])
    assert one.request("POST", "/raw", b"\xff\x00\x01").status == 202
    (message,) = receive(sqs, declared)
    assert base64.b64decode(message["Body"]) == b"\xff\x00\x01"
    assert message["MD5OfBody"] == hashlib.md5(message["Body"].encode()).hexdigest()
    assert message["MessageAttributes"] == {"penstock-encoding": {"DataType": "String", "StringValue": "base64"}}
    assert message["MD5OfMessageAttributes"]
    sqs.delete_message(QueueUrl=declared, ReceiptHandle=message["ReceiptHandle"])


@pytest.mark.parametrize("code,parameters", [
    ("MissingParameter", {"MessageBody": ""}),
    ("InvalidMessageContents", {"MessageBody": "a\x01"}), ("InvalidMessageContents", {"MessageBody": "a\uffff"}),
    ("InvalidParameterValue", {"MessageBody": "x" * ((1 << 20) + 1)}),
    ("InvalidParameterValue", {"MessageBody": "x", "DelaySeconds": 901}),
    ("InvalidParameterValue", {"MessageBody": "x", "DelaySeconds": -1}),
    ("InvalidParameterValue", {"MessageBody": "x", "MessageDeduplicationId": "d"}),
    ("InvalidParameterValue", {"MessageBody": "x", "MessageGroupId": "a b"}),
    ("InvalidParameterValue", {"MessageBody": "x", "MessageAttributes": {"AWS.a": {"DataType": "String", "StringValue": "x"}}}),
    ("InvalidParameterValue", {"MessageBody": "x", "MessageAttributes": {"a": {"DataType": "Text", "StringValue": "x"}}}),
    ("InvalidParameterValue", {"MessageBody": "x", "MessageAttributes": {"a": {"DataType": "Number", "StringValue": "x"}}}),
    ("InvalidParameterValue", {"MessageBody": "x", "MessageAttributes": {"a": {"DataType": "String"}}}),
    ("InvalidParameterValue", {"MessageBody": "x", "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "Number", "StringValue": "1"}}}),
    ("AWS.SimpleQueueService.UnsupportedOperation", {"MessageBody": "x", "MessageAttributes": {
        "a": {"DataType": "String", "StringListValues": ["x"]}}}),
])
def test_messages_that_sqs_does_not_take_are_refused(sqs, code, parameters):
    refused(code, sqs.send_message, 400, QueueUrl=queue(sqs), **parameters)


def test_the_largest_message_is_taken_whatever_json_makes_of_it(sqs):
    made = queue(sqs)
    for body in ["é" * (1 << 19), '"' * (1 << 20), "x" * (1 << 20)]:
        sent = sqs.send_message(QueueUrl=made, MessageBody=body)
        assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
        (message,) = receive(sqs, made)
        assert message["Body"] == body
        sqs.delete_message(QueueUrl=made, ReceiptHandle=message["ReceiptHandle"])


@pytest.mark.parametrize("parameters", [
    {"MaxNumberOfMessages": 0}, {"MaxNumberOfMessages": 11}, {"WaitTimeSeconds": 21}, {"WaitTimeSeconds": -1},
    {"VisibilityTimeout": 43201}, {"VisibilityTimeout": -1},
])
def test_a_receive_keeps_within_its_bounds(sqs, parameters):
    made = queue(sqs)
    message = refused("InvalidParameterValue", sqs.receive_message, 400, QueueUrl=made, **parameters)
    (name,) = parameters
    assert f"for parameter {name} is invalid" in message


def test_an_empty_queue_answers_without_messages(sqs):
    made = queue(sqs)
    assert "Messages" not in sqs.receive_message(QueueUrl=made)
    begun = time.monotonic()
    assert "Messages" not in sqs.receive_message(QueueUrl=made, WaitTimeSeconds=1)
    assert time.monotonic() - begun >= 0.9


def polls(one, queue_url, count):
    """Waits until so many receives wait on a queue."""
    one.counted(count, "penstock_queue_receives_waiting", queue=queue_url.rsplit("/")[-1])


def test_a_long_poll_wakes_when_a_message_comes_and_the_queue_s_own_wait_counts(sqs, one):
    made = queue(sqs, ReceiveMessageWaitTimeSeconds="20")
    found = []
    waiting = threading.Thread(target=lambda: found.extend(receive(client(one), made)))
    waiting.start()
    polls(one, made, 1)
    assert waiting.is_alive()
    sqs.send_message(QueueUrl=made, MessageBody="at last")
    waiting.join(240)
    assert [message["Body"] for message in found] == ["at last"]


def test_visibility_is_what_the_receiver_makes_of_it(sqs):
    made = queue(sqs, VisibilityTimeout="1")
    sqs.send_message(QueueUrl=made, MessageBody="x")
    (first,) = receive(sqs, made, VisibilityTimeout=600)
    assert not receive(sqs, made)
    sqs.change_message_visibility(QueueUrl=made, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0)
    (second,) = receive(sqs, made, AttributeNames=["ApproximateReceiveCount"])
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"
    assert eventually(lambda: receive(sqs, made), what="the queue's own timeout")
    refused("InvalidParameterValue", sqs.change_message_visibility,
            QueueUrl=made, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=43201)
    sqs.delete_message(QueueUrl=made, ReceiptHandle=second["ReceiptHandle"])
    refused("AWS.SimpleQueueService.MessageNotInflight", sqs.change_message_visibility, 400,
            QueueUrl=made, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=5)


def test_a_delayed_message_waits(sqs):
    made = queue(sqs, DelaySeconds="600")
    sqs.send_message(QueueUrl=made, MessageBody="late")
    sqs.send_message(QueueUrl=made, MessageBody="soon", DelaySeconds=0)
    assert [message["Body"] for message in receive(sqs, made)] == ["soon"]
    shown = attributes(sqs, made)
    assert shown["ApproximateNumberOfMessagesDelayed"] == "1"
    assert shown["ApproximateNumberOfMessagesNotVisible"] == "1"


def test_a_handle_that_was_never_given_is_refused(sqs):
    made, other = queue(sqs), queue(sqs)
    sqs.send_message(QueueUrl=made, MessageBody="x")
    (message,) = receive(sqs, made)
    for handle in ["nonsense", message["ReceiptHandle"][:-4] + "AAAA"]:
        refused("ReceiptHandleIsInvalid", sqs.delete_message, 404, QueueUrl=made, ReceiptHandle=handle)
        refused("ReceiptHandleIsInvalid", sqs.change_message_visibility,
                QueueUrl=made, ReceiptHandle=handle, VisibilityTimeout=1)
    refused("ReceiptHandleIsInvalid", sqs.delete_message, QueueUrl=other, ReceiptHandle=message["ReceiptHandle"])


def test_a_client_that_leaves_in_mid_receive_takes_no_message_with_it(sqs, one):
    made = queue(sqs, VisibilityTimeout="600")
    impatient = client(one, read_timeout=1)
    with pytest.raises(ReadTimeoutError):
        impatient.receive_message(QueueUrl=made, WaitTimeSeconds=20)
    polls(one, made, 0)
    sqs.send_message(QueueUrl=made, MessageBody="for the next one")
    messages = receive(sqs, made, WaitTimeSeconds=20)
    assert [message["Body"] for message in messages] == ["for the next one"]


# ---- batches ----

def test_the_entries_of_a_batch_have_their_own_fate(sqs):
    made = queue(sqs)
    sent = sqs.send_message_batch(QueueUrl=made, Entries=[
        {"Id": "good", "MessageBody": "1"}, {"Id": "empty", "MessageBody": ""},
        {"Id": "charset", "MessageBody": "\x02"}, {"Id": "late", "MessageBody": "2", "DelaySeconds": 901},
        {"Id": "too", "MessageBody": "3", "MessageAttributes": {"a": {"DataType": "String", "StringValue": "b"}}},
    ])
    assert [entry["Id"] for entry in sent["Successful"]] == ["good", "too"]
    assert sent["Successful"][1]["MD5OfMessageAttributes"]
    failed = {entry["Id"]: (entry["Code"], entry["SenderFault"]) for entry in sent["Failed"]}
    assert failed == {
        "empty": ("MissingParameter", True), "charset": ("InvalidMessageContents", True),
        "late": ("InvalidParameterValue", True),
    }
    messages = receive(sqs, made)
    assert sorted(message["Body"] for message in messages) == ["1", "3"]
    handles = [message["ReceiptHandle"] for message in messages]
    changed = sqs.change_message_visibility_batch(QueueUrl=made, Entries=[
        {"Id": "a", "ReceiptHandle": handles[0], "VisibilityTimeout": 0},
        {"Id": "b", "ReceiptHandle": "nonsense", "VisibilityTimeout": 0},
        {"Id": "c", "ReceiptHandle": handles[1], "VisibilityTimeout": 99999},
    ])
    assert [entry["Id"] for entry in changed["Successful"]] == ["a"]
    assert {entry["Id"]: entry["Code"] for entry in changed["Failed"]} == {
        "b": "ReceiptHandleIsInvalid", "c": "InvalidParameterValue",
    }
    gone = sqs.delete_message_batch(QueueUrl=made, Entries=[
        {"Id": "a", "ReceiptHandle": handles[0]}, {"Id": "b", "ReceiptHandle": handles[1]},
        {"Id": "c", "ReceiptHandle": "nonsense"},
    ])
    assert [entry["Id"] for entry in gone["Successful"]] == ["a", "b"]
    assert [entry["Id"] for entry in gone["Failed"]] == ["c"]


ENTRIES = {
    "send_message_batch": {"MessageBody": "x"},
    "delete_message_batch": {"ReceiptHandle": "x"},
    "change_message_visibility_batch": {"ReceiptHandle": "x", "VisibilityTimeout": 1},
}


@pytest.mark.parametrize("action", ENTRIES)
def test_a_batch_has_one_to_ten_entries_with_ids_of_their_own(sqs, action):
    made, call = queue(sqs), getattr(sqs, action)
    prefix = "AWS.SimpleQueueService."

    def entries(*ids):
        return [{"Id": id, **ENTRIES[action]} for id in ids]

    refused(prefix + "EmptyBatchRequest", call, 400, QueueUrl=made, Entries=[])
    refused(prefix + "TooManyEntriesInBatchRequest", call, QueueUrl=made, Entries=entries(*map(str, range(11))))
    refused(prefix + "BatchEntryIdsNotDistinct", call, QueueUrl=made, Entries=entries("a", "a"))
    for id in ["", "a b", "x" * 81, "a.b"]:
        refused(prefix + "InvalidBatchEntryId", call, QueueUrl=made, Entries=entries(id))


def test_a_batch_is_at_most_as_large_as_a_message(sqs):
    made = queue(sqs)
    half = "x" * (1 << 19)
    entries = [{"Id": "a", "MessageBody": half}, {"Id": "b", "MessageBody": half}]
    assert len(sqs.send_message_batch(QueueUrl=made, Entries=entries)["Successful"]) == 2
    entries.append({"Id": "c", "MessageBody": "y"})
    refused("AWS.SimpleQueueService.BatchRequestTooLong", sqs.send_message_batch, 400, QueueUrl=made, Entries=entries)


# ---- life ----

def test_queues_made_by_clients_outlive_a_kill_and_a_drain_ends_polls(gateway):
    one = gateway(wire_config(anonymous=True))
    sqs = client(one)
    made = queue(sqs, ReceiveMessageWaitTimeSeconds="20")
    name = made.rsplit("/")[-1]
    sqs.tag_queue(QueueUrl=made, Tags={"a": "b"})
    sqs.send_message(QueueUrl=made, MessageBody="kept")
    one.kill()
    one.start()
    sqs = client(one)
    made = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    assert sqs.list_queue_tags(QueueUrl=made)["Tags"] == {"a": "b"}
    assert attributes(sqs, made)["ReceiveMessageWaitTimeSeconds"] == "20"
    (message,) = receive(sqs, made)
    assert message["Body"] == "kept"
    sqs.delete_message(QueueUrl=made, ReceiptHandle=message["ReceiptHandle"])
    answers = []

    def poll():
        try:
            answers.append(sqs.receive_message(QueueUrl=made))
        except ClientError as error:
            answers.append(error)

    waiting = threading.Thread(target=poll)
    waiting.start()
    polls(one, made, 1)
    begun = time.monotonic()
    assert one.stop() == 0
    waiting.join(240)
    assert time.monotonic() - begun < 18, "the poll's own end would be after 20 s"
    assert "Messages" not in answers[0]


def test_requests_are_counted_by_action_and_code(one, sqs):
    def count(action, code):
        return one.metrics().value("penstock_sqs_requests_total", action=action, code=code) or 0

    before = count("ListQueueTags", "ok"), count("ListQueueTags", "QueueDoesNotExist")
    sqs.list_queue_tags(QueueUrl=queue(sqs))
    refused(NONE, sqs.list_queue_tags, QueueUrl=f"{url(one)}/{ACCOUNT}/{unique('none')}")
    assert (count("ListQueueTags", "ok"), count("ListQueueTags", "QueueDoesNotExist")) == (before[0] + 1, before[1] + 1)
