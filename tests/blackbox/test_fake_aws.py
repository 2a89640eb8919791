"""The fake itself: an official SDK understands its answers and its errors, so that a test with it proves something."""

import hashlib

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from support.ack import order_violations
from support.emulators import REGION
from support.fake_aws import Hang, LostReply, Refusal, Reset, access_denied, no_such_queue, refused_entry, server_error, throttled, wrong_md5
from support.processes import eventually

MACHINE = "arn:aws:states:us-east-1:111122223333:stateMachine:m"


def client(fake, service, read_timeout=60):
    return boto3.client(
        service, endpoint_url=fake.url, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}, inject_host_prefix=False, read_timeout=read_timeout, connect_timeout=60))


def send(fake, **options):
    return client(fake, "sqs", **options).send_message(
        QueueUrl=fake.url + "/1/q", MessageBody="é", MessageAttributes={"a": {"DataType": "String", "StringValue": "v"}})


def test_every_operation_is_understood(fake):
    assert send(fake)["MD5OfMessageBody"] == hashlib.md5("é".encode()).hexdigest()
    assert client(fake, "sqs").receive_message(QueueUrl=fake.url + "/1/q").get("Messages", []) == []
    client(fake, "sqs").delete_message(QueueUrl=fake.url + "/1/q", ReceiptHandle="r")
    client(fake, "sqs").purge_queue(QueueUrl=fake.url + "/1/q")
    assert client(fake, "kinesis").put_record(StreamName="s", Data=b"\xff", PartitionKey="k")["ShardId"]
    assert client(fake, "events").put_events(Entries=[{"Source": "s", "DetailType": "t", "Detail": "{}"}])["FailedEntryCount"] == 0
    states = client(fake, "stepfunctions")
    assert states.start_execution(stateMachineArn=MACHINE, name="n")["executionArn"].endswith(":n")
    assert states.start_sync_execution(stateMachineArn=MACHINE, input="{}")["status"] == "SUCCEEDED"
    assert states.stop_execution(executionArn=MACHINE.replace("stateMachine", "execution") + ":n")["stopDate"]
    answer = client(fake, "appconfig").get_configuration(Application="a", Environment="e", Configuration="c", ClientId="i")
    assert answer["Content"].read() == b'{"feature":"on"}' and answer["ConfigurationVersion"] == "7"
    assert client(fake, "sts").assume_role(RoleArn="arn:aws:iam::1:role/r" + "x" * 10, RoleSessionName="penstock")["Credentials"]["AccessKeyId"]
    assert [call.operation for call in fake.calls if call.operation.startswith("unknown")] == []


@pytest.mark.parametrize("behaviour, code", [
    (throttled("sqs"), "RequestThrottled"), (access_denied(), "AccessDenied"),
    (no_such_queue(), "AWS.SimpleQueueService.NonExistentQueue"), (server_error(), "InternalFailure"),
], ids=["throttled", "denied", "no queue", "500"])
def test_errors_have_the_code_that_an_sdk_reads(fake, behaviour, code):
    fake.always("SQS-SendMessage", behaviour)
    with pytest.raises(ClientError) as refusal:
        send(fake)
    assert refusal.value.response["Error"]["Code"] == code


@pytest.mark.parametrize("behaviour, error", [
    (Hang(), ReadTimeoutError), (LostReply(), ConnectionClosedError), (Reset(), ConnectionClosedError)], ids=["hang", "lost reply", "reset"])
def test_failures_of_the_wire_are_failures_of_the_wire(fake, behaviour, error):
    fake.always("SQS-SendMessage", behaviour)
    with pytest.raises(error):
        send(fake, read_timeout=2 if error is ReadTimeoutError else 60)
    assert len(fake.calls) == 1


def test_it_goes_away_and_comes_back_on_its_port(fake):
    fake.stop()
    with pytest.raises(EndpointConnectionError):
        send(fake)
    fake.start()
    assert send(fake)["MessageId"]


def test_a_refused_entry_and_a_wrong_digest_are_told(fake):
    fake.answer("EventBridge-PutEvents", refused_entry())
    assert client(fake, "events").put_events(Entries=[{"Source": "s", "DetailType": "t", "Detail": "{"}])["FailedEntryCount"] == 1
    fake.answer("SQS-SendMessage", wrong_md5())
    assert send(fake)["MD5OfMessageBody"] == "0" * 32


# ---- the target that keeps what it takes ----

def entries(*bodies):
    return [{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies)]


def test_batches_are_answered_entry_by_entry(target):
    target.refuse = lambda record: Refusal("InvalidMessageContents") if record.body in (b"bad", b'"bad"') else None
    sqs = client(target, "sqs")
    answer = sqs.send_message_batch(QueueUrl=target.url + "/1/q", Entries=entries("a", "bad", "c"))
    assert [entry["Id"] for entry in answer["Successful"]] == ["0", "2"]
    assert [(entry["Id"], entry["Code"], entry["SenderFault"]) for entry in answer["Failed"]] == [("1", "InvalidMessageContents", True)]
    answer = client(target, "kinesis").put_records(
        StreamName="s", Records=[{"Data": data, "PartitionKey": "k"} for data in (b"\xff", b"bad", b"z")])
    assert answer["FailedRecordCount"] == 1 and ["ErrorCode" in record for record in answer["Records"]] == [False, True, False]
    answer = client(target, "events").put_events(
        Entries=[{"Source": "s", "DetailType": "t", "Detail": detail} for detail in ("{}", '"bad"')])
    assert answer["FailedEntryCount"] == 1 and answer["Entries"][1]["ErrorCode"] == "InvalidMessageContents"
    assert target.bodies() == [b"a", b"c", b"\xff", b"z", b"{}"]
    assert target.by_key("s") == {"k": [b"\xff", b"z"]}


def test_it_knows_what_it_has_already(target):
    sqs, states = client(target, "sqs"), client(target, "stepfunctions")
    for _ in range(2):
        sqs.send_message(QueueUrl=target.url + "/1/q", MessageBody="twice")
        sqs.send_message(QueueUrl=target.url + "/1/q.fifo", MessageBody="once", MessageGroupId="g", MessageDeduplicationId="d")
    states.start_execution(stateMachineArn=MACHINE, name="n")
    with pytest.raises(ClientError) as refusal:
        states.start_execution(stateMachineArn=MACHINE, name="n")
    assert refusal.value.response["Error"]["Code"] == "ExecutionAlreadyExists"
    assert target.duplicates() == 1 and target.doubled == [b"once", b"{}"]


def test_its_moods(target):
    target.lose_answers()
    with pytest.raises(ConnectionClosedError):
        send(target)
    assert target.count() == 1
    target.freeze()
    with pytest.raises(ReadTimeoutError):
        send(target)
    assert target.duplicates() == 0
    target.up()
    eventually(lambda: target.duplicates() == 1, what="the frozen call's work")
    target.down()
    with pytest.raises(EndpointConnectionError):
        send(target)
    target.up().throttle()
    with pytest.raises(ClientError):
        send(target)
    assert target.duplicates() == 1


def test_what_is_out_of_order_is_found():
    a1, a2, a3, b1 = b"a:1", b"a:2", b"a:3", b"b:1"
    assert order_violations([a1, b1, a2, a3], {a1, a2, a3, b1}) == []
    assert order_violations([a2, b1, a1, a3], {a1, a2, a3, b1}) == [(a2, a1)]
    assert order_violations([a2, a1, a3], {a2, a3}) == [], "nobody had acknowledged the first"
    assert order_violations([a2, a1, a3], {a1}) == [(a2, a1)], "it was acknowledged before the second was sent"
