"""The fake itself: an official SDK understands its answers and its errors, so that a test with it proves something."""

import hashlib

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from support.emulators import REGION
from support.fake_aws import Hang, LostReply, Reset, access_denied, no_such_queue, refused_entry, server_error, throttled, wrong_md5

MACHINE = "arn:aws:states:us-east-1:111122223333:stateMachine:m"


def client(fake, service):
    return boto3.client(
        service, endpoint_url=fake.url, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}, inject_host_prefix=False, read_timeout=1, connect_timeout=1))


def send(fake):
    return client(fake, "sqs").send_message(
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
        send(fake)
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
