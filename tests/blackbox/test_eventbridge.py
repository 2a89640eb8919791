"""EventBridge-PutEvents: each parameter, seen at the end of a rule that delivers to a queue."""

import json

import pytest

from support.emulators import REGION, unique
from support.gateway import config


@pytest.fixture(scope="module")
def bus(emulator):
    """A bus whose every event lands in a queue: (bus name, queue URL)."""
    name, queue = unique("hooks"), emulator.queue("events")
    arn = emulator.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events = emulator.client("events")
    events.create_event_bus(Name=name)
    events.put_rule(Name=name, EventBusName=name, EventPattern=json.dumps({"source": [{"prefix": ""}]}), State="ENABLED")
    events.put_targets(Rule=name, EventBusName=name, Targets=[{"Id": "queue", "Arn": arn}])
    return name, queue


def put(bus, **parameters):
    return {"integration": {"EventBridge-PutEvents": {
        "EventBusName": bus, "Source": "shop", "DetailType": "order", "Detail": "$request.body", **parameters}}}


def table(bus):
    return {
        "POST /events": put(bus),
        "POST /selected": put(bus, Detail="$request.body.Detail", DetailType="$request.body.DetailType"),
        "POST /full": put(
            bus, Time="$request.header.x-time", Resources='["arn:aws:s3:::one","arn:aws:s3:::two"]',
            TraceHeader="Root=1-5759e988-bd862e3fe1be46a994272793", Region=REGION),
    }


@pytest.fixture(params=["native", "aws"])
def hooks(request, gateway, emulator, bus):
    one = gateway(config(table(bus[0]), responses=request.param, aws={"region": REGION, "endpoint": emulator.url}))
    one.dialect = request.param
    return one


def accepted(one, answer):
    if one.dialect == "native":
        assert answer.status == 202, answer
        assert answer.json()["durability"] == "target" and answer.json()["messageId"]
    else:
        assert answer.status == 200, answer
        assert answer.headers["content-type"].startswith("application/x-amz-json-1.1")
        assert answer.json()["FailedEntryCount"] == 0 and answer.json()["Entries"][0]["EventId"]


def delivered(emulator, queue):
    return json.loads(emulator.messages(queue)[0]["Body"])


def test_the_body_is_the_detail(hooks, emulator, bus):
    accepted(hooks, hooks.request("POST", "/events", '{"order": 1, "note": "é 🎈 \\"q\\" \\n"}'))
    event = delivered(emulator, bus[1])
    assert event["detail"] == {"order": 1, "note": 'é 🎈 "q" \n'}
    assert event["source"] == "shop"
    assert event["detail-type"] == "order"


def test_selected_values_are_detail_and_type(hooks, emulator, bus):
    accepted(hooks, hooks.request("POST", "/selected", b'{"Detail":{"a":[1, {"b":2}]},"DetailType":"made"}'))
    event = delivered(emulator, bus[1])
    assert event["detail"] == {"a": [1, {"b": 2}]} and event["detail-type"] == "made"


@pytest.mark.parametrize("time", ["2024-05-06T07:08:09Z", "1714979289"])
def test_time_and_resources_arrive(hooks, emulator, bus, time):
    accepted(hooks, hooks.request("POST", "/full", b"{}", {"x-time": time}))
    event = delivered(emulator, bus[1])
    assert event["resources"] == ["arn:aws:s3:::one", "arn:aws:s3:::two"]
    if emulator.name == "moto":  # MiniStack puts the time of arrival in its place
        assert event["time"].startswith("2024-05-06T07:08:09")


def test_a_time_that_is_none_is_400(hooks):
    assert hooks.request("POST", "/full", b"{}", {"x-time": "yesterday"}).status == 400


def test_a_missing_detail_is_400(hooks):
    answer = hooks.request("POST", "/selected", b'{"DetailType":"made"}')
    assert answer.status == 400
    if hooks.dialect == "native":
        assert answer.code == "mapping_unresolved" and "Detail" in answer.json()["detail"]
    else:
        assert answer.body == b'{"message":"Bad Request"}'


@pytest.mark.parametrize("dialect", ["native", "aws"])
def test_a_malformed_detail_is_never_a_hidden_failure(gateway, moto, dialect):
    """Only moto refuses it, as AWS does."""
    one = gateway(config(
        {"POST /events": put("default")}, responses=dialect, aws={"region": REGION, "endpoint": moto.url}))
    answer = one.request("POST", "/events", b"this is not JSON")
    if dialect == "native":
        assert answer.status >= 400, "never a 2xx that hides a failure"
        assert answer.status in (400, 422, 502)
    elif answer.status == 200:
        assert answer.json()["FailedEntryCount"] == 1
        assert answer.json()["Entries"][0]["ErrorCode"]
        assert one.metrics().value("penstock_requests_total", outcome="stored") == 0, "counted as a failure"
    else:
        assert answer.status == 400


def test_an_unknown_bus_is_our_setup(gateway, moto):
    """Only moto knows that there is none."""
    one = gateway(config({"POST /events": put(unique("no-bus"))}, aws={"region": REGION, "endpoint": moto.url}))
    answer = one.request("POST", "/events", b"{}")
    assert answer.status == 502 and answer.code == "target_setup"


def test_a_detail_over_the_limit_is_413_and_names_it(gateway, emulator, bus):
    one = gateway(config(table(bus[0]), limits={"body": "4MiB"}, aws={"region": REGION, "endpoint": emulator.url}))
    answer = one.request("POST", "/events", b'{"x":"' + b"y" * (1024 * 1024) + b'"}')
    assert answer.status == 413 and answer.code == "target_limit"
    assert "EventBridge" in answer.json()["detail"]
    assert emulator.depth(bus[1]) == 0
