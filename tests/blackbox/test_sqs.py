"""SQS through boto3's eyes: every parameter of SQS-SendMessage, -ReceiveMessage, -DeleteMessage and -PurgeQueue."""

import base64
import hashlib
import json
import subprocess
import time
import xml.etree.ElementTree as xml
from urllib.parse import quote

import pytest

from support import emulators
from support.emulators import AWS_CLI, REGION, unique
from support.gateway import config, environment
from support.payloads import BINARIES, TEXTS

NAMESPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"


def routes(queue, fifo=None):
    table = {
        "POST /messages": {"integration": {"SQS-SendMessage": {"QueueUrl": queue, "MessageBody": "$request.body"}}},
        "POST /mapped": {"integration": {"SQS-SendMessage": {"QueueUrl": queue, "MessageBody": "$request.body.MessageBody"}}},
        "POST /full": {"integration": {"SQS-SendMessage": {
            "QueueUrl": queue,
            "MessageBody": "$request.body",
            "DelaySeconds": "${request.querystring.delay:-0}",
            "MessageAttributes": {
                "source": "$request.header.user-agent",
                "tries": {"DataType": "Number", "StringValue": "${request.querystring.tries:-1}"},
            },
            "MessageSystemAttributes": '{"AWSTraceHeader":{"DataType":"String","StringValue":'
                                       '"${request.header.x-amzn-trace-id:-Root=1-5759e988-bd862e3fe1be46a994272793}"}}',
            "Region": REGION,
        }}},
        "POST /vendor-attributes": {"integration": {"SQS-SendMessage": {
            "QueueUrl": queue, "MessageBody": "$request.body",
            "MessageAttributes": '{"UserAgent":{"DataType":"String","StringValue":"${request.header.user-agent}"}}',
        }}},
        "POST /any-attributes": {"integration": {"SQS-SendMessage": {
            "QueueUrl": queue, "MessageBody": "$request.body", "MessageAttributes": "$request.header.x-attributes"}}},
        "POST /encoded": {"integration": {"SQS-SendMessage": {"QueueUrl": queue, "MessageBody": "$request.body"}, "encode": "base64-if-needed"}},
        "POST /any-queue": {"integration": {"SQS-SendMessage": {"QueueUrl": "$request.header.x-queue", "MessageBody": "$request.body"}}},
        "GET /next": {"integration": {"SQS-ReceiveMessage": {
            "QueueUrl": queue, "MaxNumberOfMessages": "${request.querystring.max:-10}",
            "VisibilityTimeout": "${request.querystring.hide:-30}", "WaitTimeSeconds": "${request.querystring.wait:-0}",
            "AttributeNames": '["All"]', "MessageAttributeNames": '["All"]', "Region": REGION}}},
        "DELETE /messages/{receiptHandle}": {"integration": {"SQS-DeleteMessage": {
            "QueueUrl": queue, "ReceiptHandle": "$request.path.receiptHandle", "Region": REGION}}},
        "POST /purge": {"integration": {"SQS-PurgeQueue": {"QueueUrl": queue, "Region": REGION}}},
    }
    if fifo:
        table["POST /fifo"] = {"integration": {"SQS-SendMessage": {
            "QueueUrl": fifo, "MessageBody": "$request.body", "MessageGroupId": "$request.header.x-group",
            "MessageDeduplicationId": "$request.header.x-id"}}}
    return table


def gateway_for(gateway, emulator, table, **sections):
    return gateway(config(table, aws={"region": REGION, "endpoint": emulator.url}, **sections))


@pytest.fixture
def queue(emulator):
    return emulator.queue()


@pytest.fixture(params=["native", "aws"])
def shop(request, gateway, emulator, queue):
    one = gateway_for(gateway, emulator, routes(queue), responses=request.param)
    one.dialect = request.param
    return one


def accepted(one, answer):
    """Checks a SendMessage success in either dialect; returns the message id."""
    if one.dialect == "native":
        assert answer.status == 202, answer
        assert answer.json()["durability"] == "target"
        return answer.json()["messageId"]
    assert answer.status == 200, answer
    return xml.fromstring(answer.body).find(f"{NAMESPACE}SendMessageResult/{NAMESPACE}MessageId").text


def refused(one, answer, status, code):
    """Checks a refusal in either dialect."""
    assert answer.status == status, answer
    if one.dialect == "native":
        assert answer.code == code
    else:
        assert b"problem" not in answer.body


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "empty"])
def test_bytes_in_are_the_bytes_that_boto3_reads(shop, emulator, queue, name):
    message_id = accepted(shop, shop.request("POST", "/messages", TEXTS[name]))
    (message,) = emulator.messages(queue)
    assert message["Body"].encode() == TEXTS[name]
    assert message["MessageId"] == message_id


def test_every_parameter_of_send_message_arrives(shop, emulator, queue):
    answer = shop.request("POST", "/full?tries=3", b"payload", {"user-agent": "curl/8.0"})
    accepted(shop, answer)
    (message,) = emulator.messages(queue)
    assert message["MessageAttributes"]["source"] == {"StringValue": "curl/8.0", "DataType": "String"}
    assert message["MessageAttributes"]["tries"] == {"StringValue": "3", "DataType": "Number"}
    assert message["Attributes"]["AWSTraceHeader"] == "Root=1-5759e988-bd862e3fe1be46a994272793"
    if shop.dialect == "aws":
        result = xml.fromstring(answer.body).find(f"{NAMESPACE}SendMessageResult")
        assert result.find(f"{NAMESPACE}MD5OfMessageAttributes").text
        assert result.find(f"{NAMESPACE}MD5OfMessageBody").text == hashlib.md5(b"payload").hexdigest()


def test_a_delay_is_passed_on(shop, emulator, queue):
    accepted(shop, shop.request("POST", "/full?delay=600", b"later", {"user-agent": "x"}))
    answer = emulator.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])
    assert answer["Attributes"]["ApproximateNumberOfMessagesDelayed"] == "1"


def test_attributes_in_the_vendor_s_json_form(shop, emulator, queue):
    accepted(shop, shop.request("POST", "/vendor-attributes", b"x", {"user-agent": 'odd "quoted\\ agent'}))
    (message,) = emulator.messages(queue)
    assert message["MessageAttributes"]["UserAgent"]["StringValue"] == 'odd "quoted\\ agent'


def test_more_than_ten_attributes_are_refused_not_dropped(shop, emulator, queue):
    eleven = json.dumps({f"a{n}": {"DataType": "String", "StringValue": "v"} for n in range(11)})
    answer = shop.request("POST", "/any-attributes", b"x", {"x-attributes": eleven})
    assert 400 <= answer.status < 500, answer
    if shop.dialect == "native":
        assert "10" in answer.json()["detail"]
    assert emulator.depth(queue) == 0


@pytest.mark.parametrize("name", BINARIES)
def test_a_body_outside_the_character_set_is_refused_before_the_call(shop, emulator, queue, name):
    refused(shop, shop.request("POST", "/messages", BINARIES[name]), 400, "target_charset")
    assert emulator.depth(queue) == 0


def test_an_empty_body_is_refused_before_the_call(shop, emulator, queue):
    answer = shop.request("POST", "/messages", b"")
    assert 400 <= answer.status < 500, answer
    assert emulator.depth(queue) == 0


def test_a_binary_body_goes_as_base64_where_the_route_says_so(shop, emulator, queue):
    accepted(shop, shop.request("POST", "/encoded", BINARIES["not UTF-8"]))
    accepted(shop, shop.request("POST", "/encoded", b"text"))
    messages = {m["Body"]: m.get("MessageAttributes", {}) for m in emulator.messages(queue, 2)}
    encoded = base64.b64encode(BINARIES["not UTF-8"]).decode()
    assert messages[encoded]["penstock-encoding"]["StringValue"] == "base64"
    assert "penstock-encoding" not in messages["text"]


def test_a_body_over_the_limit_of_sqs_is_413_and_names_target_and_limit(gateway, emulator, queue):
    one = gateway_for(gateway, emulator, routes(queue), limits={"body": "4MiB"})
    answer = one.request("POST", "/messages", b"x" * (1024 * 1024 + 1))
    assert answer.status == 413 and answer.code == "target_limit"
    assert "SQS" in answer.json()["detail"]
    assert emulator.depth(queue) == 0
    assert one.request("POST", "/messages", b"x" * (1024 * 1024)).status == 202


def test_a_missing_mapping_is_400_and_nothing_is_sent(shop, emulator, queue):
    refused(shop, shop.request("POST", "/mapped", b'{"other":1}'), 400, "mapping_unresolved")
    if shop.dialect == "aws":
        assert shop.request("POST", "/mapped", b"").body == b'{"message":"Bad Request"}'
    assert emulator.depth(queue) == 0
    accepted(shop, shop.request("POST", "/mapped", b'{"MessageBody":{"a":1}}'))
    assert emulator.messages(queue)[0]["Body"] == '{"a":1}'


@pytest.mark.parametrize("delay", ["soon", "901", "-1"])
def test_a_bad_parameter_is_the_caller_s_fault(shop, emulator, queue, delay):
    answer = shop.request("POST", f"/full?delay={delay}", b"x", {"user-agent": "x"})
    assert 400 <= answer.status < 500, answer
    assert emulator.depth(queue) == 0


def test_a_missing_queue_is_our_setup(shop, emulator, queue):
    missing = queue.rsplit("/", 1)[0] + "/" + unique("missing")
    answer = shop.request("POST", "/any-queue", b"x", {"x-queue": missing})
    if shop.dialect == "native":
        assert answer.status == 502 and answer.code == "target_setup"
        assert "retry-after" in answer.headers
        assert "NonExistentQueue" in answer.json()["detail"]
    else:
        assert 400 <= answer.status < 500
        tree = xml.fromstring(answer.body)
        assert tree.tag.endswith("ErrorResponse")
        assert any("NonExistentQueue" in (element.text or "") for element in tree.iter())
    assert shop.log_line(answer.headers["x-request-id"])["status"] == answer.status


def test_receive_gives_the_message_and_delete_removes_it(shop, emulator, queue):
    emulator.client("sqs").send_message(
        QueueUrl=queue, MessageBody="from outside 🎈",
        MessageAttributes={"k": {"DataType": "String", "StringValue": "v"}})
    answer = shop.request("GET", "/next?wait=2")
    assert answer.status == 200
    if shop.dialect == "native":
        (message,) = answer.json()["Messages"]
        body, handle = message["Body"], message["ReceiptHandle"]
        assert message["MD5OfBody"] == hashlib.md5(body.encode()).hexdigest()
        assert message["MessageAttributes"]["k"]["StringValue"] == "v"
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    else:
        message = xml.fromstring(answer.body).find(f"{NAMESPACE}ReceiveMessageResult/{NAMESPACE}Message")
        body, handle = message.find(f"{NAMESPACE}Body").text, message.find(f"{NAMESPACE}ReceiptHandle").text
    assert body == "from outside 🎈"
    assert emulator.depth(queue) == 1
    assert shop.request("DELETE", "/messages/" + quote(handle, safe="")).status == 200
    assert emulator.depth(queue) == 0


def test_an_empty_receive_is_empty(shop):
    answer = shop.request("GET", "/next")
    assert answer.status == 200
    if shop.dialect == "native":
        assert answer.json()["Messages"] == []
    else:
        assert len(xml.fromstring(answer.body).find(f"{NAMESPACE}ReceiveMessageResult")) == 0


def test_receive_limits_how_many_come(shop, emulator, queue):
    for number in range(4):
        emulator.client("sqs").send_message(QueueUrl=queue, MessageBody=str(number))
    answer = shop.request("GET", "/next?max=2")
    count = len(answer.json()["Messages"]) if shop.dialect == "native" else answer.body.count(b"<Message>")
    assert 1 <= count <= 2


def test_a_visibility_timeout_of_zero_hides_nothing(shop, emulator, queue):
    emulator.client("sqs").send_message(QueueUrl=queue, MessageBody="again")
    for _ in range(2):
        assert b"again" in shop.request("GET", "/next?hide=0").body


def test_purge_empties_the_queue(shop, emulator, queue):
    for number in range(3):
        accepted(shop, shop.request("POST", "/messages", str(number)))
    assert shop.request("POST", "/purge").status == 200
    assert emulator.depth(queue) == 0


def test_a_made_up_receipt_handle_does_not_delete(shop, emulator, queue):
    accepted(shop, shop.request("POST", "/messages", b"stays"))
    answer = shop.request("DELETE", "/messages/made-up")
    assert answer.status >= 400 or emulator.depth(queue) == 1
    assert emulator.depth(queue) == 1


def test_fifo_parameters_arrive(gateway, emulator, queue):
    fifo = emulator.queue("ledger", fifo=True)
    one = gateway_for(gateway, emulator, routes(queue, fifo))
    for number in range(3):
        answer = one.request("POST", "/fifo", str(number), {"x-group": "g", "x-id": f"id-{number}"})
        assert answer.status == 202, answer
    messages = emulator.messages(fifo, 3)
    assert [m["Body"] for m in messages] == ["0", "1", "2"]
    assert {m["Attributes"]["MessageGroupId"] for m in messages} == {"g"}
    assert [m["Attributes"]["MessageDeduplicationId"] for m in messages] == ["id-0", "id-1", "id-2"]


def test_a_second_purge_within_a_minute_is_refused_with_the_reason(gateway, moto):
    """Only moto refuses it, as AWS does."""
    queue = moto.queue()
    one = gateway_for(gateway, moto, routes(queue))
    assert one.request("POST", "/purge").status == 200
    answer = one.request("POST", "/purge")
    assert answer.status >= 400
    assert "PurgeQueueInProgress" in answer.json()["detail"]


def test_a_target_that_stops_in_mid_run_is_503_at_once_and_back_again(gateway, tmp_path):
    server = emulators.started("ministack", tmp_path)
    queue = server.queue()
    one = gateway_for(gateway, server, routes(queue))
    assert one.request("POST", "/messages", b"before").status == 202
    server.stop()
    took = []
    for _ in range(5):
        begun = time.monotonic()
        answer = one.request("POST", "/messages", b"down")
        assert answer.status == 503
        assert answer.code in ("target_unavailable", "outcome_unknown")
        assert int(answer.headers["retry-after"]) >= 1
        took.append(time.monotonic() - begun)
    assert min(took) < 2, "a refused connection is known at once"
    assert one.admin("/readyz").status == 200, "a target that is down is no reason to be out of rotation"


def test_the_aws_cli_reads_the_message_back(gateway, ministack):
    queue = ministack.queue()
    one = gateway_for(gateway, ministack, routes(queue))
    body = TEXTS["quotes, newlines, emoji"]
    assert one.request("POST", "/messages", body).status == 202
    read = subprocess.run(
        [str(AWS_CLI), "sqs", "receive-message", "--queue-url", queue, "--output", "json",
         "--endpoint-url", ministack.url, "--region", REGION],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert read.returncode == 0, read.stderr
    (message,) = json.loads(read.stdout)["Messages"]
    assert message["Body"].encode() == body
