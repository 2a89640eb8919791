"""`integrations: […]`: one acknowledgement, a copy for each target, and a state for each: what a target has is never sent
to it again because another target failed."""

import pytest

from support.ack import (
    FIFO, HASTE, MACHINE, QUEUE, STORING, Clients, accepted, assert_all_arrived, possible_duplicates, post, setup,
)
from support.fake_aws import Refusal
from support.fake_target import FakeTarget
from support.gateway import config, penstock, write_config
from support.processes import eventually

ALL = [{name: call} for name, call in STORING.items()]
TWO = [
    {"SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "$request.body"}},
    {"Kinesis-PutRecord": {"StreamName": "clicks", "Data": "$request.body", "PartitionKey": "$request.header.key"}},
]
EITHER = {"mode": "target-or-spool", "budget": "15s"}


@pytest.fixture
def second():
    """Another target, at an address of its own."""
    endpoint = FakeTarget().start()
    yield endpoint
    endpoint.stop()


def two_targets(target, second, ack, haste=None, **sections):
    document = setup(target, {"POST /r": {"integrations": TWO, "ack": ack}}, haste, **sections)
    document["aws"] = {"region": "us-east-1", "endpoints": {"sqs": target.url, "kinesis": second.url}}
    return document


def settled(one):
    eventually(lambda: one.depth() == 0, what=f"empty spools ({one.depth()} are left)")


@pytest.mark.parametrize("mode", ["spool", "target-or-spool"])
def test_every_target_gets_its_copy_once_for_one_acknowledgement(gateway, target, mode):
    ack = EITHER if mode == "target-or-spool" else mode
    one = gateway(setup(target, {"POST /r": {"integrations": ALL, "ack": ack}}))
    bodies = [b'{"n":%d}' % number for number in range(5)]
    for body in bodies:
        accepted(post(one, "/r", body), "spooled" if mode == "spool" else "target")
    target.wait_for(5 * len(ALL))
    settled(one)
    for where in (QUEUE, "clicks", "hooks", MACHINE):
        assert sorted(target.bodies(where)) == bodies, where
    assert target.duplicates() == 0 and possible_duplicates(one) == 0
    assert one.metrics().value("penstock_requests_total", outcome="stored") == 5
    assert one.fates()["accepted"] == one.fates()["forwarded"] == 20


def test_the_answer_is_taken_from_the_first(gateway, target):
    call = {"StateMachineArn": MACHINE, "Input": "$request.body", "Name": "$request.header.name"}
    first = {"StepFunctions-StartExecution": call}
    one = gateway(setup(target, {
        "POST /alone": {"integration": first, "ack": "spool"},
        "POST /both": {"integrations": [first, TWO[0]], "ack": "spool"},
    }))
    alone, both = post(one, "/alone", b'{"n":1}', name="one").json(), post(one, "/both", b'{"n":2}', name="two").json()
    assert alone.keys() == both.keys()
    assert both["messageId"].replace("two", "one") == alone["messageId"]


@pytest.mark.parametrize("trouble", ["down", "throttle", "deny", "freeze"])
@pytest.mark.parametrize("mode", ["spool", "target-or-spool"])
def test_a_target_that_is_down_costs_the_other_nothing_and_repeats_nothing_to_it(gateway, target, second, mode, trouble):
    ack = {"mode": mode, "budget": "200ms"} if mode == "target-or-spool" else mode
    one = gateway(two_targets(target, second, ack))
    getattr(second, trouble)()
    bodies = [f"m{number:02}".encode() for number in range(10)]
    for body in bodies:
        accepted(post(one, "/r", body, key=body.decode()), "spooled")
    assert sorted(target.wait_for(10)) == bodies
    eventually(lambda: one.depth() == 10, what="only the second target's copies in the spool")
    assert sum(len(target.attempts_for(body)) for body in bodies) == 10
    second.up()
    assert sorted(second.wait_for(10)) == bodies
    settled(one)
    assert target.duplicates() == 0 and sum(len(target.attempts_for(body)) for body in bodies) == 10
    assert second.duplicates() <= possible_duplicates(one)


def test_kill_9_keeps_each_copys_state(gateway, target, second):
    one = gateway(two_targets(target, second, "spool"))
    second.down()
    bodies = [f"m{number:02}".encode() for number in range(10)]
    for body in bodies:
        accepted(post(one, "/r", body, key="k"), "spooled")
    target.wait_for(10)
    eventually(lambda: one.depth() == 10, what="the first target's copies gone")
    one.kill()
    one.start()
    second.up()
    assert second.wait_for(10) == bodies, "and in order"
    settled(one)
    assert target.duplicates() == 0 and second.duplicates() == 0


def test_kill_9_amid_a_load_loses_no_copy(gateway, target, second):
    one = gateway(two_targets(target, second, "spool"))
    clients = Clients(one, "/r", count=6, records=5000)
    with clients:
        eventually(lambda: len(clients.acknowledged) > 40, what="some load")
        second.throttle()
        eventually(lambda: len(clients.acknowledged) > 80, what="more load")
        one.kill()
    clients.stop()
    second.up()
    one.start()
    assert_all_arrived(target, clients.acknowledged)
    assert_all_arrived(second, clients.acknowledged)
    settled(one)
    counted = possible_duplicates(one)
    assert target.duplicates() + second.duplicates() <= counted
    # a copy is not a promise of its own: what one target has, the other has
    assert set(target.bodies()) == set(second.bodies())


def test_a_record_that_one_target_refuses_is_that_targets_dead_letter(gateway, target, second):
    one = gateway(two_targets(target, second, "spool"))
    target.refuse = lambda record: Refusal("InvalidMessageContents") if record.body == b"m1" else None
    for number in range(3):
        accepted(post(one, "/r", f"m{number}", key="k"), "spooled")
    assert second.wait_for(3) == [b"m0", b"m1", b"m2"]
    settled(one)
    assert sorted(target.bodies()) == [b"m0", b"m2"]
    eventually(lambda: one.depth("dead-letters") == 1, what="one dead letter")
    dead = [queue for queue in one.queues().values() if queue["kind"] == "dead-letters" and queue["depth"]]
    assert [(queue["name"], queue["depth"]) for queue in dead] == [(f"dead:sqs:{QUEUE}", 1)]


def test_two_copies_for_one_queue_are_two_messages(gateway, target):
    one = gateway(setup(target, {"POST /r": {"ack": "spool", "integrations": [
        {"SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "a:${request.body}"}},
        {"SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "b:${request.body}"}},
    ]}}))
    accepted(post(one, "/r", b"x"), "spooled")
    assert sorted(target.wait_for(2)) == [b"a:x", b"b:x"]
    settled(one)


def test_a_copy_whose_mapping_fails_refuses_the_whole_request(gateway, target):
    one = gateway(setup(target, {"POST /r": {"integrations": TWO, "ack": "spool"}}))
    answer = post(one, "/r", b"no partition key")
    assert answer.status == 400 and answer.code == "mapping_unresolved", answer
    accepted(post(one, "/r", b"good", key="k"))
    target.wait_for(2)
    assert set(target.bodies()) == {b"good"}


@pytest.mark.parametrize("problem, said, route", [
    ("ack target", "ack", {"integrations": TWO}),
    ("ack target, written", "ack", {"integrations": TWO, "ack": "target"}),
    ("an embedded queue among them", "embedded queue", {"integrations": [TWO[0], {"SQS-SendMessage": {"QueueUrl": "queue:inbox", "MessageBody": "x"}}], "ack": "spool"}),
    ("a read among them", "SQS-ReceiveMessage", {"integrations": [TWO[0], {"SQS-ReceiveMessage": {"QueueUrl": QUEUE}}], "ack": "spool"}),
    ("none at all", "integrations", {"integrations": [], "ack": "spool"}),
    ("one and several", "integration", {"integration": TWO[0], "integrations": TWO, "ack": "spool"}),
], ids=lambda value: value if isinstance(value, str) and " " in value else "")
def test_check_refuses(tmp_path, problem, said, route):
    document = config({"POST /x": route}, queues={"inbox": {}}, aws={"region": "us-east-1"})
    ran = penstock("check", write_config(tmp_path, document))
    assert ran.returncode == 1, (problem, ran.stdout, ran.stderr)
    assert said in ran.stdout + ran.stderr and "POST /x" in ran.stdout + ran.stderr, ran.stderr


def test_fan_out_to_a_fifo_queue_keeps_its_groups_order(gateway, target, second):
    document = two_targets(target, second, {"mode": "target-or-spool", "budget": "200ms"}, HASTE)
    document["routes"]["POST /r"]["integrations"] = [
        {"SQS-SendMessage": {
            "QueueUrl": FIFO, "MessageBody": "$request.body", "MessageGroupId": "$request.header.key",
            "MessageDeduplicationId": "$context.requestId"}}, TWO[1]]
    one = gateway(document)
    bodies = [f"k:{number:03}".encode() for number in range(30)]
    for number, body in enumerate(bodies):
        {8: target.throttle, 16: target.up, 20: second.down, 25: second.up}.get(number, lambda: None)()
        accepted(post(one, "/r", body, key="k"))
    assert target.wait_for(30) == bodies
    assert second.wait_for(30) == bodies
    settled(one)
