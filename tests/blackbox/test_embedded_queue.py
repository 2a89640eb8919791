"""Embedded queues through the four SQS subtypes: bytes in are bytes out, and the semantics are those of SQS."""

import base64
import hashlib
import json
import threading
import time
import xml.etree.ElementTree as xml
from urllib.parse import quote

import pytest

from support.gateway import config, receive_all
from support.payloads import PAYLOADS, TEXTS
from support.processes import eventually

NAMESPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"


def send(queue="orders", **parameters):
    return {"integration": {"SQS-SendMessage": {"QueueUrl": f"queue:{queue}", "MessageBody": "$request.body", **parameters}}}


def receive(queue="orders", **parameters):
    return {"integration": {"SQS-ReceiveMessage": {"QueueUrl": f"queue:{queue}", **parameters}}}


ROUTES = {
    "POST /messages": send(),
    "GET /next": receive(),
    "GET /ten": receive(MaxNumberOfMessages=10, AttributeNames='["All"]', MessageAttributeNames='["All"]'),
    "GET /briefly": receive(VisibilityTimeout=3),
    "GET /wait": receive(WaitTimeSeconds=20),
    "DELETE /messages/{receiptHandle}": {
        "integration": {"SQS-DeleteMessage": {"QueueUrl": "queue:orders", "ReceiptHandle": "$request.path.receiptHandle"}}
    },
    "POST /purge": {"integration": {"SQS-PurgeQueue": {"QueueUrl": "queue:orders"}}},
    "POST /delayed": send(DelaySeconds="${request.querystring.seconds:-1}"),
    "POST /attributed": send(
        MessageAttributes={
            "source": "$request.header.user-agent",
            "tries": {"DataType": "Number", "StringValue": "$request.querystring.tries"},
            "maybe": "${request.header.x-absent:-}",
        },
        MessageSystemAttributes='{"AWSTraceHeader":{"DataType":"String","StringValue":"Root=1-5759e988-bd862e3fe1be46a994272793"}}',
    ),
}
QUEUES = {"orders": {"visibility_timeout": "30s"}}


@pytest.fixture
def shop(gateway):
    return gateway(config(ROUTES, queues=QUEUES))


@pytest.fixture
def shop_aws(gateway):
    return gateway(config(ROUTES, queues=QUEUES, responses="aws"))


def read_back(message):
    """The bytes of a native message; the digest must be that of the text delivered."""
    assert message["MD5OfBody"] == hashlib.md5(message["Body"].encode()).hexdigest()
    if message.get("BodyEncoding") == "base64":
        return base64.b64decode(message["Body"])
    return message["Body"].encode()


@pytest.mark.parametrize("name", PAYLOADS)
def test_bytes_in_are_bytes_out(shop, name):
    body = PAYLOADS[name]
    stored = shop.request("POST", "/messages", body)
    assert stored.status == 202, stored
    assert set(stored.json()) >= {"requestId", "messageId", "durability"}
    (message,) = shop.request("GET", "/ten").json()["Messages"]
    assert read_back(message) == body
    assert ("BodyEncoding" in message) == (name not in TEXTS)
    assert message["MessageId"] == stored.json()["messageId"]


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_body_sent_in_chunks_is_the_same_body(shop, name):
    body = PAYLOADS[name]
    pieces = [body[at:at + 7000] for at in range(0, len(body), 7000)]
    assert shop.request("POST", "/messages", iter(pieces), {"transfer-encoding": "chunked"}).status == 202
    (message,) = shop.request("GET", "/next").json()["Messages"]
    assert read_back(message) == body


def test_a_body_that_xml_cannot_hold_is_delivered_as_base64_and_says_so(shop_aws):
    body = PAYLOADS["not UTF-8"]
    assert shop_aws.request("POST", "/messages", body).status == 200
    tree = xml.fromstring(shop_aws.request("GET", "/ten").body)
    message = tree.find(f".//{NAMESPACE}Message")
    text = message.find(f"{NAMESPACE}Body").text
    assert base64.b64decode(text) == body
    assert message.find(f"{NAMESPACE}MD5OfBody").text == hashlib.md5(text.encode()).hexdigest()
    attributes = {a.find(f"{NAMESPACE}Name").text: a.find(f"{NAMESPACE}Value/{NAMESPACE}StringValue").text
                  for a in message.findall(f"{NAMESPACE}MessageAttribute")}
    assert attributes["penstock-encoding"] == "base64"


def test_the_service_s_own_xml_comes_back_in_the_aws_dialect(shop_aws):
    body = PAYLOADS["quotes, newlines, emoji"]
    sent = shop_aws.request("POST", "/attributed?tries=3", body, {"user-agent": "curl/8.0"})
    assert sent.status == 200
    assert sent.headers["content-type"].startswith("text/xml")
    assert sent.headers["apigw-requestid"] == sent.headers["x-request-id"]
    assert sent.body.startswith(b'<?xml version="1.0"?>')
    answer = xml.fromstring(sent.body)
    assert answer.tag == f"{NAMESPACE}SendMessageResponse"
    result = answer.find(f"{NAMESPACE}SendMessageResult")
    assert result.find(f"{NAMESPACE}MD5OfMessageBody").text == hashlib.md5(body).hexdigest()
    assert result.find(f"{NAMESPACE}MD5OfMessageAttributes") is not None
    message_id = result.find(f"{NAMESPACE}MessageId").text
    assert answer.find(f"{NAMESPACE}ResponseMetadata/{NAMESPACE}RequestId").text

    received = xml.fromstring(shop_aws.request("GET", "/ten").body)
    assert received.tag == f"{NAMESPACE}ReceiveMessageResponse"
    (message,) = received.findall(f"{NAMESPACE}ReceiveMessageResult/{NAMESPACE}Message")
    fields = {child.tag.removeprefix(NAMESPACE): child.text for child in message}
    assert fields["MessageId"] == message_id
    assert fields["Body"].encode() == body
    assert fields["MD5OfBody"] == hashlib.md5(body).hexdigest()
    names = [a.find(f"{NAMESPACE}Name").text for a in message.findall(f"{NAMESPACE}Attribute")]
    assert {"SentTimestamp", "ApproximateReceiveCount"} <= set(names)

    deleted = shop_aws.request("DELETE", "/messages/" + quote(fields["ReceiptHandle"], safe=""))
    assert deleted.status == 200 and xml.fromstring(deleted.body).tag == f"{NAMESPACE}DeleteMessageResponse"
    empty = xml.fromstring(shop_aws.request("GET", "/next").body)
    result = empty.find(f"{NAMESPACE}ReceiveMessageResult")
    assert result is not None and len(result) == 0
    purged = shop_aws.request("POST", "/purge")
    assert purged.status == 200 and xml.fromstring(purged.body).tag == f"{NAMESPACE}PurgeQueueResponse"


def test_attributes_travel_and_their_digest_is_the_published_one(gateway):
    one = gateway(config({
        "POST /messages": send(MessageAttributes={
            "Attempt": {"DataType": "Number", "StringValue": "3"},
            "UserAgent": "$request.header.user-agent",
        }),
        "GET /next": receive(MessageAttributeNames='["All"]', AttributeNames='["All"]'),
    }, queues=QUEUES, responses="aws"))
    sent = xml.fromstring(one.request("POST", "/messages", b"x", {"user-agent": "curl/8.0"}).body)
    digest = sent.find(f"{NAMESPACE}SendMessageResult/{NAMESPACE}MD5OfMessageAttributes").text
    assert digest == "0b1795ec6506e31c86c4da394dcb52a3"


def test_attributes_are_read_back_and_an_empty_one_is_dropped(shop):
    assert shop.request("POST", "/attributed?tries=7", b"x", {"user-agent": "test/1"}).status == 202
    (message,) = shop.request("GET", "/ten").json()["Messages"]
    attributes = message["MessageAttributes"]
    assert attributes["source"] == {"DataType": "String", "StringValue": "test/1"}
    assert attributes["tries"] == {"DataType": "Number", "StringValue": "7"}
    assert "maybe" not in attributes
    assert message["Attributes"]["AWSTraceHeader"].startswith("Root=1-5759e988")
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert abs(int(message["Attributes"]["SentTimestamp"]) / 1000 - time.time()) < 60


def test_no_attribute_is_delivered_that_nobody_asked_for(shop):
    assert shop.request("POST", "/attributed?tries=7", b"x", {"user-agent": "test/1"}).status == 202
    (message,) = shop.request("GET", "/next").json()["Messages"]
    assert "MessageAttributes" not in message and "Attributes" not in message


def test_a_received_message_is_hidden_until_its_visibility_timeout(shop):
    shop.request("POST", "/messages", b"once")
    (first,) = shop.request("GET", "/briefly").json()["Messages"]
    assert shop.request("GET", "/briefly").json()["Messages"] == []
    (second,) = eventually(lambda: shop.request("GET", "/ten").json()["Messages"], what="the message again")
    assert second["MessageId"] == first["MessageId"]
    assert second["ReceiptHandle"] != first["ReceiptHandle"]
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"


def test_a_delayed_message_waits(shop):
    assert shop.request("POST", "/delayed?seconds=3", b"later").status == 202
    assert shop.request("GET", "/next").json()["Messages"] == []
    (message,) = eventually(lambda: shop.request("GET", "/next").json()["Messages"], what="the delayed message")
    assert message["Body"] == "later"


@pytest.mark.parametrize("seconds", ["many", "-1", "901", "1.5"])
def test_a_delay_that_is_no_delay_is_the_caller_s_fault(shop, seconds):
    refused = shop.request("POST", f"/delayed?seconds={seconds}", b"x")
    assert refused.status in (400, 413, 422), refused
    assert "DelaySeconds" in refused.json()["detail"]
    assert shop.request("GET", "/ten").json()["Messages"] == []


def test_a_long_poll_wakes_when_a_message_comes(shop):
    answers = []
    poll = threading.Thread(target=lambda: answers.append((shop.request("GET", "/wait"), time.monotonic())))
    poll.start()
    shop.counted(1, "penstock_queue_receives_waiting", queue="orders")
    sent = time.monotonic()
    shop.request("POST", "/messages", b"wake up")
    poll.join(240)
    (answer, at) = answers[0]
    assert answer.json()["Messages"][0]["Body"] == "wake up"
    assert at - sent < 18, "the poll slept on"


def test_a_long_poll_outlives_the_request_s_timeout(gateway):
    one = gateway(config(
        {"GET /wait": receive(WaitTimeSeconds=7)}, queues=QUEUES, limits={"timeout": "5s"}))
    begun = time.monotonic()
    answer = one.request("GET", "/wait")
    assert answer.status == 200 and answer.json()["Messages"] == []
    assert time.monotonic() - begun > 6.5


def test_at_most_ten_messages_come_at_once_and_none_is_missing(shop):
    bodies = {f"m{number}" for number in range(25)}
    for body in bodies:
        shop.request("POST", "/messages", body)
    first = shop.request("GET", "/ten").json()["Messages"]
    assert 1 <= len(first) <= 10
    rest = receive_all(shop, "/ten")
    assert {m["Body"] for m in first} | set(rest) == bodies
    assert len(first) + len(rest) == 25


def test_deleting_twice_succeeds_and_a_made_up_handle_is_refused(shop):
    shop.request("POST", "/messages", b"x")
    (message,) = shop.request("GET", "/next").json()["Messages"]
    path = "/messages/" + quote(message["ReceiptHandle"], safe="")
    assert shop.request("DELETE", path).status == 200
    assert shop.request("DELETE", path).status == 200
    refused = shop.request("DELETE", "/messages/made-up")
    assert 400 <= refused.status < 500, refused


def test_a_fifo_queue_keeps_order_in_a_group_and_answers_a_duplicate_with_the_first_id(gateway):
    one = gateway(config({
        "POST /messages/{group}": send("ledger.fifo", MessageGroupId="$request.path.group",
                                       MessageDeduplicationId="$request.header.idempotency-key"),
        "GET /next": receive("ledger.fifo", AttributeNames='["All"]'),
        "DELETE /messages/{receiptHandle}": {"integration": {"SQS-DeleteMessage": {
            "QueueUrl": "queue:ledger.fifo", "ReceiptHandle": "$request.path.receiptHandle"}}},
    }, queues={"ledger.fifo": {"fifo": True}}))
    ids = [one.request("POST", "/messages/a", str(n), {"idempotency-key": f"k{n}"}).json()["messageId"] for n in range(5)]
    again = one.request("POST", "/messages/a", "0", {"idempotency-key": "k0"})
    assert again.status == 202 and again.json()["messageId"] == ids[0]
    assert receive_all(one) == ["0", "1", "2", "3", "4"]


def test_a_message_received_too_often_goes_to_the_dead_letter_queue(gateway):
    one = gateway(config({
        "POST /messages": send(),
        "GET /next": receive(VisibilityTimeout=0),
        "GET /dead": receive("orders-dead"),
    }, queues={"orders": {"redrive": {"to": "orders-dead", "max_receive_count": 2}}, "orders-dead": {}}))
    one.request("POST", "/messages", b"poison")
    for _ in range(2):
        assert len(one.request("GET", "/next").json()["Messages"]) == 1
    assert one.request("GET", "/next").json()["Messages"] == []
    (message,) = one.request("GET", "/dead").json()["Messages"]
    assert message["Body"] == "poison"


def test_what_is_stored_outlives_a_restart(shop):
    body = PAYLOADS["quotes, newlines, emoji"]
    stored = shop.request("POST", "/messages", body)
    assert shop.stop() == 0
    shop.start()
    (message,) = shop.request("GET", "/next").json()["Messages"]
    assert message["Body"].encode() == body
    assert message["MessageId"] == stored.json()["messageId"]


def test_more_than_ten_attributes_are_refused_at_the_door(gateway):
    one = gateway(config({
        "POST /messages": send(MessageAttributes="$request.header.x-attributes"),
        "GET /next": receive(),
    }, queues=QUEUES))

    def attributes(count):
        return json.dumps({f"a{n}": {"DataType": "String", "StringValue": "v"} for n in range(count)})
    assert one.request("POST", "/messages", b"ten", {"x-attributes": attributes(10)}).status == 202
    refused = one.request("POST", "/messages", b"eleven", {"x-attributes": attributes(11)})
    assert refused.status in (400, 413), refused
    assert "10" in refused.json()["detail"]
    assert receive_all_bodies(one) == ["ten"]


def receive_all_bodies(one):
    bodies = []
    while True:
        messages = one.request("GET", "/next").json()["Messages"]
        if not messages:
            return bodies
        bodies += [m["Body"] for m in messages]
