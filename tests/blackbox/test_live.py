"""`penstock check --live`: what the targets are, and what does not fit, by calls that change nothing."""

import json

import pytest

from support.emulators import REGION, unique
from support.gateway import AWS_ENVIRONMENT, config, environment, penstock, write_config
from support.processes import eventually, free_port


def send(url, **more):
    return {"integration": {"SQS-SendMessage": {"QueueUrl": url, "MessageBody": "$request.body", **more}}}


def looked(tmp_path, routes, endpoint, *arguments):
    file = write_config(tmp_path, config(routes, aws={"region": REGION, "endpoint": endpoint}))
    return penstock("check", file, "--live", *arguments, env=environment(**AWS_ENVIRONMENT))


def verdicts(ran):
    return {look["target"]: look for look in json.loads(ran.stdout)["targets"]}


@pytest.fixture(scope="module")
def there(emulator):
    """Things to look at."""
    kinesis, dynamodb, states = (emulator.client(name) for name in ("kinesis", "dynamodb", "stepfunctions"))
    names = {"stream": unique("clicks"), "table": unique("items"), "bus": unique("hooks"), "machine": unique("flow")}
    kinesis.create_stream(StreamName=names["stream"], ShardCount=2)
    eventually(lambda: kinesis.describe_stream(StreamName=names["stream"])["StreamDescription"]["StreamStatus"] == "ACTIVE")
    dynamodb.create_table(
        TableName=names["table"], BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
    emulator.client("events").create_event_bus(Name=names["bus"])
    definition = json.dumps({"StartAt": "a", "States": {"a": {"Type": "Pass", "End": True}}})
    role = "arn:aws:iam::000000000000:role/r"
    names["arn"] = states.create_state_machine(name=names["machine"], definition=definition, roleArn=role, type="STANDARD")["stateMachineArn"]
    names["queue"] = emulator.queue("orders")
    return names


def table(there):
    item = {"TableName": there["table"], "Item": {"id": {"S": "$request.body.id"}}}
    return {
        "POST /queue": send(there["queue"]),
        "POST /stream": {"integration": {"Kinesis-PutRecord": {"StreamName": there["stream"], "Data": "x", "PartitionKey": "k"}}},
        "POST /bus": {"integration": {"EventBridge-PutEvents": {
            "EventBusName": there["bus"], "Source": "s", "DetailType": "t", "Detail": "$request.body"}}},
        "POST /flow": {"integration": {"StepFunctions-StartExecution": {"StateMachineArn": there["arn"]}}},
        "POST /items": {"integration": {"DynamoDB-PutItem": item}},
    }


def test_what_is_there_and_fits_is_ok(tmp_path, emulator, there):
    ran = looked(tmp_path, table(there), emulator.url, "--json")
    found = verdicts(ran)
    assert {look["verdict"] for look in found.values()} <= {"ok"}, found
    assert ran.returncode == 0
    assert "2 open shards" in found[there["stream"]]["facts"]
    assert "standard" in found[there["queue"]]["facts"]
    assert "STANDARD" in found[there["arn"]]["facts"]
    assert "key id" in found[there["table"]]["facts"]


def test_what_is_missing_or_does_not_fit_is_an_error(tmp_path, emulator, there):
    missing = there["queue"].rsplit("/", 1)[0] + "/" + unique("missing")
    routes = {
        "POST /gone": send(missing),
        "POST /stream": {"integration": {"Kinesis-PutRecord": {"StreamName": unique("none"), "Data": "x", "PartitionKey": "k"}}},
        "POST /sync": {"integration": {"StepFunctions-StartSyncExecution": {"StateMachineArn": there["arn"]}}},
        "POST /items": {"integration": {"DynamoDB-PutItem": {"TableName": there["table"], "Item": {"year": {"S": "1"}}}}},
        "POST /any/{stream}": {"integration": {"Kinesis-PutRecord": {"StreamName": "$request.path.stream", "Data": "x", "PartitionKey": "k"}}},
        "GET /proxy": {"integration": {"HTTP-Proxy": {"url": f"http://127.0.0.1:{free_port()}/"}}},
    }
    ran = looked(tmp_path, routes, emulator.url, "--json")
    assert ran.returncode == 1
    found = json.loads(ran.stdout)["targets"]
    by_route = {look["routes"][0]: look for look in found}
    for route in ("POST /gone", "POST /stream", "POST /sync", "POST /items", "GET /proxy"):
        assert by_route[route]["verdict"] == "error", by_route[route]
    assert "does not exist" in by_route["POST /gone"]["findings"][0]
    assert "EXPRESS" in by_route["POST /sync"]["findings"][0]
    assert by_route["POST /items"]["findings"] == ["`Item` lacks id of the table's key"]
    assert by_route["POST /any/{stream}"]["verdict"] == "unknown"


def test_nobody_there_is_said_of_each_target_and_people_get_a_table(tmp_path):
    ran = looked(tmp_path, {"POST /a": send("https://sqs.eu-west-1.amazonaws.com/1/orders")}, f"http://127.0.0.1:{free_port()}")
    assert ran.returncode == 1
    assert "LOOK" in ran.stdout and "it cannot be reached" in ran.stdout


def test_who_may_not_look_is_told_how(tmp_path, fake):
    from support.fake_aws import error
    fake.always("Kinesis-DescribeStreamSummary", error("AccessDeniedException", "no", 400))
    routes = {"POST /s": {"integration": {"Kinesis-PutRecord": {"StreamName": "s", "Data": "x", "PartitionKey": "k"}}}}
    ran = looked(tmp_path, routes, fake.url)
    assert ran.returncode == 0 and "penstock iam --with-live" in ran.stdout
