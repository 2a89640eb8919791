"""Order: a record whose predecessor was acknowledged before it was sent first appears behind it at the target, on
whichever way the two went."""

import pytest

from support.ack import (
    FIFO, HASTE, QUEUE, STORING, TO_FIFO, Clients, accepted, assert_all_arrived, order_violations,
    possible_duplicates, post, setup,
)
from support.fake_aws import Refusal, Usual, records_of
from support.processes import eventually

KINESIS = STORING["Kinesis-PutRecord"]
ORDERED = {
    "a FIFO queue's groups": {"SQS-SendMessage": TO_FIFO},
    "a stream's partition keys": {"Kinesis-PutRecord": KINESIS},
}
EITHER = {"mode": "target-or-spool", "budget": "400ms"}
LIMITS = {"timeout": "10s", "drain": "1s"}
# A budget that a target in good health never uses up.
AMPLE = {**EITHER, "budget": "50s"}


def one_route(integration, ack, **more):
    return {"POST /r": {"integration": integration, "ack": ack, **more}}


def settled(one):
    eventually(lambda: one.depth() == 0, what=f"an empty spool ({one.depth()} are left)")


def progress(clients, more, how=None):
    """Waits until so many more records are acknowledged (in that way), or all clients are done."""
    count = lambda: len(clients.by_durability(how)) if how else len(clients.acknowledged)
    wanted = count() + more
    eventually(lambda: count() >= wanted or not any(c.is_alive() for c in clients.all), what=f"{more} more records {how or ''}")


@pytest.mark.parametrize("trouble", ["down", "freeze", "throttle", "lose_answers", "fail", "limp", "flap"])
@pytest.mark.parametrize("what", ORDERED)
def test_each_key_keeps_its_order_through_an_outage_and_back(gateway, target, what, trouble):
    one = gateway(setup(target, one_route(ORDERED[what], EITHER), limits=LIMITS))
    clients = Clients(one, "/r", count=4, keys=2, records=5000)
    with clients:
        progress(clients, 30, "target")
        getattr(target, trouble)()
        progress(clients, 30, "spooled")
        target.up()
        progress(clients, 60)
    clients.stop()
    assert_all_arrived(target, clients.acknowledged)
    settled(one)
    assert order_violations(target.bodies(), clients.acknowledged) == []
    assert target.duplicates() <= possible_duplicates(one)
    assert not clients.refused, clients.refused[:3]
    assert one.depth("dead-letters") == 0


@pytest.mark.parametrize("what", ORDERED)
def test_traffic_goes_direct_again_once_the_backlog_is_gone(gateway, target, what):
    one = gateway(setup(target, one_route(ORDERED[what], AMPLE), limits={**LIMITS, "timeout": "60s"}))
    bodies = []

    def send(count, durability=None):
        for _ in range(count):
            bodies.append(f"g:{len(bodies):04}".encode())
            how = accepted(post(one, "/r", bodies[-1], key="g"))
            assert durability in (None, how), (bodies[-1], how)
    send(5, "target")
    target.down()
    send(20, "spooled")
    target.up()
    target.wait_for(25)
    settled(one)
    eventually(lambda: next(iter(one.targets().values()))["breaker"] == "closed", what="a closed breaker")
    send(5, "target")
    assert target.bodies() == bodies
    assert target.duplicates() == 0


@pytest.mark.parametrize("what", ORDERED)
def test_a_later_record_waits_behind_an_earlier_one_that_is_still_spooled(gateway, target, what):
    one = gateway(setup(target, one_route(ORDERED[what], {**EITHER, "budget": "3s"}), {**HASTE, "breaker": {"open_after": 1000}}, limits={"timeout": "60s", "drain": "1s"}))
    target.freeze()
    accepted(post(one, "/r", b"g:1", key="g"), "spooled")
    # the target is well for others, and the group's first record is still under way
    frozen, target.mood = target.mood, Usual()
    accepted(post(one, "/r", b"h:1", key="h"), "target")
    accepted(post(one, "/r", b"g:2", key="g"), "spooled")
    accepted(post(one, "/r", b"g:3", key="g"), "spooled")
    assert target.bodies() == [b"h:1"]
    assert one.metrics().value("penstock_spooled_records_total", why="order") == 2
    frozen.thaw.set()
    target.wait_for(4)
    settled(one)
    assert target.by_key()["g"] == [b"g:1", b"g:2", b"g:3"]
    assert target.duplicates() == 0 and target.doubled == []


@pytest.mark.parametrize("what", ORDERED)
def test_a_spooled_key_has_one_unanswered_entry_at_a_time_and_other_keys_do_not_wait(gateway, target, what):
    haste = {**HASTE, "breaker": {"open_after": 1000}}
    one = gateway(setup(target, one_route(ORDERED[what], "spool"), haste))
    target.down()
    for number in range(10):
        for key in "abcdef":
            accepted(post(one, "/r", f"{key}:{number:03}", key=key), "spooled")
    first = []

    def refuse_a_for_a_while(record):
        if record.key == "a" and len(first) < 8:
            first.append(record.body)
            return Refusal("InternalError" if record.service == "SQS" else "InternalFailure", status=500)
        return None
    target.refuse = refuse_a_for_a_while
    target.up()
    target.wait_for(60)
    settled(one)
    found = target.by_key()
    assert all(found[key] == [f"{key}:{number:03}".encode() for number in range(10)] for key in "abcdef"), found
    assert set(first) == {b"a:000"}, "nothing of a group is sent before its first record is taken"
    order = target.bodies()
    assert order.index(b"b:009") < order.index(b"a:009"), "others went on"
    for call in target.calls:
        keys = [record.key for record in records_of(call)]
        assert len(keys) == len(set(keys)), f"two entries of one key in one call: {keys}"


def test_order_route_keeps_the_order_of_all_records_on_a_standard_queue(gateway, target):
    call = {"SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "$request.body"}}
    one = gateway(setup(target, one_route(call, {**EITHER, "order": "route"}), limits=LIMITS))
    bodies = []

    def send(count):
        for _ in range(count):
            bodies.append(f"r:{len(bodies):04}".encode())
            accepted(post(one, "/r", bodies[-1]))
    send(10)
    target.throttle()
    send(15)
    target.up()
    send(20)
    target.down()
    send(10)
    target.up()
    target.wait_for(len(bodies))
    settled(one)
    assert target.bodies() == bodies
    assert target.duplicates() <= possible_duplicates(one)


def test_order_none_lets_a_stream_go_in_parallel(gateway, target):
    one = gateway(setup(target, one_route({"Kinesis-PutRecord": KINESIS}, {"mode": "spool", "order": "none"})))
    target.down()
    for number in range(30):
        accepted(post(one, "/r", f"k:{number}", key="k"))
    target.up()
    target.wait_for(30)
    settled(one)
    assert any(len(records_of(call)) > 1 for call in target.calls_of("Kinesis-PutRecords")), "records of one key share a call"


def test_unordered_records_do_not_wait_for_each_other(gateway, target):
    one = gateway(setup(target, one_route({"SQS-SendMessage": STORING["SQS-SendMessage"]}, "spool"), {**HASTE, "breaker": {"open_after": 1000}}))
    target.refuse = lambda record: Refusal("InternalError", status=500) if record.body == b"r:0" else None
    for number in range(20):
        accepted(post(one, "/r", f"r:{number}"))
    assert b"r:0" not in target.wait_for(19)
    eventually(lambda: one.depth() == 1, what="one record in the spool")
    target.refuse = None
    target.wait_for(20)
    settled(one)


@pytest.mark.parametrize("what", ORDERED)
def test_kill_9_keeps_the_order_of_each_key(gateway, target, what):
    one = gateway(setup(target, one_route(ORDERED[what], EITHER), limits=LIMITS))
    acknowledged = {}
    for run in range(3):
        target.up()
        # names of records go on where the last run ended, as byte strings too
        clients = Clients(one, "/r", count=4, keys=2, records=5000, prefix=f"run{run}-")
        with clients:
            progress(clients, 20, "target")
            target.freeze() if run % 2 else target.throttle()
            progress(clients, 20, "spooled")
            target.up()
            progress(clients, 10)
            one.kill()
        clients.stop()
        acknowledged.update(clients.acknowledged)
        one.start()
    target.up()
    assert_all_arrived(target, acknowledged)
    settled(one)
    assert order_violations(target.bodies(), acknowledged) == []


def test_a_key_stays_in_order_across_two_routes_to_one_queue(gateway, target):
    one = gateway(setup(target, {
        "POST /a": {"integration": {"SQS-SendMessage": TO_FIFO}, "ack": "spool"},
        "POST /b": {"integration": {"SQS-SendMessage": TO_FIFO}, "ack": EITHER},
    }, limits=LIMITS))
    target.throttle()
    bodies = []
    for number in range(20):
        bodies.append(f"g:{number:03}".encode())
        accepted(post(one, "/a" if number % 3 else "/b", bodies[-1], key="g"))
        if number == 10:
            target.up()
    target.wait_for(20)
    settled(one)
    assert target.bodies(FIFO) == bodies
