"""The Query protocol: forms and URLs in, XML out, as clients before JSON speak it; and what is no request at all."""

import hashlib
import json

import pytest

from support import http1
from support.sqs_wire import (
    ACCOUNT, NAMESPACE, Query, arn, client, json_call, queue, receive, texts, url, wire_config,
)


@pytest.fixture(scope="module")
def one(shared_gateway):
    return shared_gateway(wire_config(anonymous=True))


@pytest.fixture
def sqs(one):
    return client(one)


@pytest.fixture
def query(one):
    return Query(one)


def refused(answer, code, status=400):
    """The answer is a refusal in XML; its message."""
    assert answer[0] == status, (answer[0], texts(answer[1], "Code"))
    assert answer[1].tag == f"{NAMESPACE}ErrorResponse"
    assert texts(answer[1], "Error/Code") == [code]
    assert texts(answer[1], "Error/Type") == ["Sender" if status < 500 else "Receiver"]
    assert texts(answer[1], "RequestId")[0]
    return texts(answer[1], "Error/Message")[0]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_message_lives_its_life_in_xml(query, sqs, method):
    path = queue(sqs).removeprefix(url(query.gateway))
    body = 'a+b & <c> "d" é🎈\r\nend'
    status, sent = query("SendMessage", path, method, MessageBody=body, **{
        "MessageAttribute.1.Name": "n", "MessageAttribute.1.Value.DataType": "Number", "MessageAttribute.1.Value.StringValue": "3",
        "MessageAttribute.2.Name": "b", "MessageAttribute.2.Value.DataType": "Binary", "MessageAttribute.2.Value.BinaryValue": "/wA=",
    })
    assert status == 200 and sent.tag == f"{NAMESPACE}SendMessageResponse"
    assert texts(sent, "SendMessageResult/MD5OfMessageBody") == [hashlib.md5(body.encode()).hexdigest()]
    assert texts(sent, "ResponseMetadata/RequestId")[0]
    status, got = query("ReceiveMessage", path, method, MaxNumberOfMessages=10, **{
        "AttributeName.1": "SentTimestamp", "AttributeName.2": "ApproximateReceiveCount", "MessageAttributeName.1": "All",
    })
    assert texts(got, "Message/Body") == [body]
    assert texts(got, "Message/Attribute/Name") == ["SentTimestamp", "ApproximateReceiveCount"]
    assert texts(got, "Message/MessageAttribute/Name") == ["b", "n"]
    assert texts(got, "Message/MessageAttribute/Value/BinaryValue") == ["/wA="]
    assert texts(got, "Message/MD5OfMessageAttributes") == texts(sent, "SendMessageResult/MD5OfMessageAttributes")
    (handle,) = texts(got, "Message/ReceiptHandle")
    assert query("ChangeMessageVisibility", path, method, ReceiptHandle=handle, VisibilityTimeout=0)[0] == 200
    status, deleted = query("DeleteMessage", path, method, ReceiptHandle=handle)
    assert status == 200 and [child.tag for child in deleted] == [f"{NAMESPACE}ResponseMetadata"]
    _, nothing = query("ReceiveMessage", path, method)
    assert list(nothing.find(f"{NAMESPACE}ReceiveMessageResult")) == []


def test_batches_in_xml_have_entries_with_their_own_fate(query, sqs):
    made = queue(sqs)
    status, sent = query("SendMessageBatch", QueueUrl=made, **{
        "SendMessageBatchRequestEntry.1.Id": "a", "SendMessageBatchRequestEntry.1.MessageBody": "1",
        "SendMessageBatchRequestEntry.2.Id": "b", "SendMessageBatchRequestEntry.2.MessageBody": "\x01",
        "SendMessageBatchRequestEntry.3.Id": "c", "SendMessageBatchRequestEntry.3.MessageBody": "3",
        "SendMessageBatchRequestEntry.3.MessageAttribute.1.Name": "n",
        "SendMessageBatchRequestEntry.3.MessageAttribute.1.Value.DataType": "String",
        "SendMessageBatchRequestEntry.3.MessageAttribute.1.Value.StringValue": "v",
    })
    assert status == 200
    assert texts(sent, "SendMessageBatchResultEntry/Id") == ["a", "c"]
    assert texts(sent, "BatchResultErrorEntry/Code") == ["InvalidMessageContents"]
    assert texts(sent, "BatchResultErrorEntry/SenderFault") == ["true"]
    handles = [message["ReceiptHandle"] for message in receive(sqs, made)]
    _, changed = query("ChangeMessageVisibilityBatch", QueueUrl=made, **{
        "ChangeMessageVisibilityBatchRequestEntry.1.Id": "x",
        "ChangeMessageVisibilityBatchRequestEntry.1.ReceiptHandle": handles[0],
        "ChangeMessageVisibilityBatchRequestEntry.1.VisibilityTimeout": 5,
    })
    assert texts(changed, "ChangeMessageVisibilityBatchResultEntry/Id") == ["x"]
    _, deleted = query("DeleteMessageBatch", QueueUrl=made, **{
        f"DeleteMessageBatchRequestEntry.{n}.{name}": value
        for n, handle in enumerate(handles, 1) for name, value in {"Id": f"i{n}", "ReceiptHandle": handle}.items()
    })
    assert texts(deleted, "DeleteMessageBatchResultEntry/Id") == ["i1", "i2"]
    refused(query("SendMessageBatch", QueueUrl=made), "AWS.SimpleQueueService.EmptyBatchRequest")


def test_queues_attributes_and_tags_in_xml(query, sqs):
    _, made = query("CreateQueue", QueueName="in-xml", **{
        "Attribute.1.Name": "DelaySeconds", "Attribute.1.Value": "3", "Tag.1.Key": "k", "Tag.1.Value": "v",
    })
    assert texts(made, "CreateQueueResult/QueueUrl") == [f"{url(query.gateway)}/{ACCOUNT}/in-xml"]
    path = f"/{ACCOUNT}/in-xml"
    _, shown = query("GetQueueAttributes", path, **{"AttributeName.1": "DelaySeconds"})
    assert texts(shown, "Attribute/Name") == ["DelaySeconds"] and texts(shown, "Attribute/Value") == ["3"]
    assert query("SetQueueAttributes", path, **{"Attribute.Name": "DelaySeconds", "Attribute.Value": "4"})[0] == 200
    _, shown = query("GetQueueAttributes", path, **{"AttributeName": "All"})
    assert dict(zip(texts(shown, "Attribute/Name"), texts(shown, "Attribute/Value")))["DelaySeconds"] == "4"
    assert query("TagQueue", path, **{"Tag.1.Key": "k2", "Tag.1.Value": "v2"})[0] == 200
    assert query("UntagQueue", path, **{"TagKey.1": "k"})[0] == 200
    _, tags = query("ListQueueTags", path)
    assert texts(tags, "Tag/Key") == ["k2"] and texts(tags, "Tag/Value") == ["v2"]
    _, found = query("ListQueues", QueueNamePrefix="in-xml")
    assert texts(found, "ListQueuesResult/QueueUrl") == texts(made, "CreateQueueResult/QueueUrl")
    assert texts(query("GetQueueUrl", QueueName="in-xml")[1], "QueueUrl") == texts(found, "QueueUrl")
    assert query("AddPermission", path, **{"Label": "l", "AWSAccountId.1": "111122223333", "ActionName.1": "SendMessage"})[0] == 200
    assert query("RemovePermission", path, Label="l")[0] == 200
    assert query("PurgeQueue", path)[0] == 200
    refused(query("PurgeQueue", path), "AWS.SimpleQueueService.PurgeQueueInProgress", 403)
    assert query("DeleteQueue", path)[0] == 200
    refused(query("DeleteQueue", path), "AWS.SimpleQueueService.NonExistentQueue")


def test_dead_letters_in_xml(query, sqs):
    dead = queue(sqs, "dead")
    policy = json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 1})
    source = queue(sqs, "source", RedrivePolicy=policy)
    _, sources = query("ListDeadLetterSourceQueues", QueueUrl=dead)
    assert texts(sources, "ListDeadLetterSourceQueuesResult/QueueUrl") == [source]
    _, task = query("StartMessageMoveTask", SourceArn=arn(sqs, dead), MaxNumberOfMessagesPerSecond=1)
    assert texts(task, "StartMessageMoveTaskResult/TaskHandle")
    _, tasks = query("ListMessageMoveTasks", SourceArn=arn(sqs, dead), MaxResults=10)
    assert texts(tasks, "ListMessageMoveTasksResultEntry/SourceArn") == [arn(sqs, dead)]
    refused(query("CancelMessageMoveTask", TaskHandle="nonsense"), "ResourceNotFoundException", 404)


def test_refusals_in_xml_have_the_codes_of_the_service(query, sqs):
    made = queue(sqs)
    refused(query("SendMessage", QueueUrl=made), "MissingParameter")
    refused(query("SendMessage", MessageBody="x"), "MissingParameter")
    refused(query("ReceiveMessage", QueueUrl=made, MaxNumberOfMessages="many"), "InvalidParameterValue")
    refused(query("Nonsense", QueueUrl=made), "InvalidAction")
    refused(query.send("QueueName=x"), "MissingAction")
    refused(query.send("Action=SendMessage&MessageBody=%ff"), "MalformedInput")
    refused(query.send("&".join(f"a{n}=1" for n in range(5000))), "MalformedInput")
    refused(query.send("a." * 10_000 + "=1&Action=ListQueues"), "MalformedInput")
    refused(query("DeleteMessage", QueueUrl=made, ReceiptHandle="x"), "ReceiptHandleIsInvalid", 404)


@pytest.mark.parametrize("body", [
    b"", b"{}", b"[]", b"null", b"1", b"{", b"\xff\xfe", b'{"QueueUrl": 1}', b'{"QueueUrl": ["a"]}', b'{"QueueUrl": null}',
    b'{"QueueUrl": "x", "Entries": {}}', b"[" * 50_000, b'{"QueueUrl": "\\ud800"}', b'{"QueueUrl":"http://h/0/q","Entries":[1]}',
    b'{"QueueUrl":"http://h/0/declared","MaxNumberOfMessages":1e99}', b'{"QueueUrl":"http://h/0/declared","MaxNumberOfMessages":"1"}',
    b'{"QueueUrl":"http://h/0/declared","MessageBody":"x","MessageAttributes":{"a":[]}}',
])
def test_json_that_is_no_request_is_a_clean_400(one, body):
    for action in ["SendMessage", "SendMessageBatch", "ReceiveMessage", "DeleteMessage", "SetQueueAttributes", "CreateQueue", "TagQueue"]:
        answer = json_call(one, action, body)
        if answer.status == 200:  # what is no parameter of this action is passed over
            continue
        assert answer.status in (400, 404), (action, answer)
        assert answer.headers["content-type"] == "application/x-amz-json-1.0"
        assert answer.headers["x-amzn-query-error"].endswith(";Sender")
        assert answer.json()["__type"].startswith("com.amaz") and "message" in answer.json()


def test_what_is_not_served_is_refused_cleanly(one):
    address = one.sqs_address
    assert json_call(one, "Nonsense", {}).json()["__type"].endswith("UnknownOperationException")
    wrong = json_call(one, "ListQueues", {}, {"x-amz-target": "DynamoDB_20120810.ListTables"})
    assert wrong.status == 400
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"]:
        assert http1.request(address, method, "/").status == 405
    assert http1.request(address, "GET", "/").status == 400
    assert http1.request(address, "GET", "/favicon.ico").status == 400
    assert http1.request(address, "POST", "/%ff%00", b"nonsense").status == 400
    big = json_call(one, "SendMessage", b" " * (5 << 20))
    assert big.status == 413 and big.json()["__type"].endswith("RequestEntityTooLargeException")
    chunks = iter([b" " * (1 << 20)] * 5)
    try:
        answer = http1.request(address, "POST", "/", chunks, {"transfer-encoding": "chunked", "x-amz-target": "AmazonSQS.SendMessage"})
        assert answer.status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # the answer came before all was sent
    assert json_call(one, "ListQueues", {}).status == 200


def test_the_answer_of_an_action_without_a_result_is_empty(one, sqs):
    made = queue(sqs)
    answer = json_call(one, "PurgeQueue", {"QueueUrl": made})
    assert answer.status == 200 and answer.body == b"" and answer.headers["content-length"] == "0"
    assert json_call(one, "ReceiveMessage", {"QueueUrl": made}).body == b"{}"


def test_urls_name_the_host_that_the_client_used(one):
    answer = json_call(one, "CreateQueue", {"QueueName": "hosted"}, {"host": "queues.example:4242"})
    assert answer.json() == {"QueueUrl": f"http://queues.example:4242/{ACCOUNT}/hosted"}
