"""Requests that share calls: batches form while calls are under way, and each caller is answered for its own record."""

import hashlib
import json
import signal
import socket
import struct
import threading

import pytest

from support.ack import (
    FIFO, HASTE, QUEUE, STORING, TO_FIFO, Clients, accepted, assert_all_arrived, order_violations, possible_duplicates,
    post, setup,
)
from support.fake_aws import Refusal, Usual, records_of
from support.processes import eventually

SQS = {"SQS-SendMessage": STORING["SQS-SendMessage"]}
BATCHES = {
    "SQS-SendMessage": "SQS-SendMessageBatch", "Kinesis-PutRecord": "Kinesis-PutRecords",
    "EventBridge-PutEvents": "EventBridge-PutEvents",
}
PATIENT = {"timeout": "60s", "drain": "2s"}
EITHER = {"mode": "target-or-spool", "budget": "50s"}
ONE_CALL = {**HASTE, "in_flight": 1}


def one_route(integration, ack="target", **more):
    return {"POST /r": {"integration": integration, "ack": ack, **more}}


def at_once(one, bodies, path="/r", **headers):
    """Each body by a client of its own, all at once; the answers in their order. Ends when all have been answered."""
    answers = [None] * len(bodies)

    def send(place):
        answers[place] = post(one, path, bodies[place], **{k: v[place] if isinstance(v, list) else v for k, v in headers.items()})
    threads = [threading.Thread(target=send, args=(place,), daemon=True) for place in range(len(bodies))]
    for thread in threads:
        thread.start()

    def collect():
        for thread in threads:
            thread.join(90)
        assert None not in answers, "a client got no answer"
        return answers
    return collect


def waiting(one, count):
    value = lambda: one.metrics().value("penstock_shared_waiting_records")
    eventually(lambda: value() == count, what=f"{count} records that wait (there are {value()})")


def bodies_of(prefix, count):
    return [json.dumps({"n": f"{prefix}{n}"}).encode() for n in range(count)]


@pytest.mark.parametrize("operation", BATCHES)
def test_an_idle_target_gets_one_call_for_one_request(gateway, target, operation):
    one = gateway(setup(target, one_route({operation: STORING[operation]})))
    for body in bodies_of("a", 3):
        accepted(post(one, "/r", body), "target")
    assert [call.operation for call in target.calls] == [operation] * 3
    assert one.metrics().value("penstock_shared_calls_total") == 3


@pytest.mark.parametrize("operation", BATCHES)
def test_requests_that_come_while_calls_are_under_way_share_the_next(gateway, target, operation):
    ack = {**EITHER, "order": "none"} if operation == "Kinesis-PutRecord" else EITHER
    one = gateway(setup(target, one_route({operation: STORING[operation]}, ack), ONE_CALL, limits=PATIENT))
    target.freeze()
    first = at_once(one, bodies_of("first", 1))
    eventually(lambda: target.calls, what="the first call")
    rest = at_once(one, bodies_of("rest", 25))
    waiting(one, 25)
    target.up()
    for answer in first() + rest():
        accepted(answer, "target")
    sizes = [len(records_of(call)) for call in target.calls]
    assert sizes == ([1, 10, 10, 5] if operation != "Kinesis-PutRecord" else [1, 25])
    assert target.calls[1].operation == BATCHES[operation]
    assert target.duplicates() == 0 and target.count() == 26
    metrics = one.metrics()
    assert metrics.value("penstock_shared_records_total") == 26
    assert metrics.value("penstock_target_unshared_units_total") == 26
    assert metrics.value("penstock_target_billed_units_total") == (4 if operation == "SQS-SendMessage" else 26)
    lines = [line["integration"] for line in one.access_log(26) if line.get("integration")]
    assert max(line["batch"] for line in lines) == max(sizes) and all(line["waited"] >= 0 for line in lines)


def test_batches_form_under_load_and_every_answer_is_the_record_s_own(gateway, target):
    target.be(Usual(after=0.015))
    one = gateway(setup(target, one_route(SQS), limits=PATIENT))
    clients = Clients(one, "/r", count=48, records=20)
    with clients:
        clients.finish()
    assert not clients.refused, clients.refused[:3]
    assert_all_arrived(target, clients.acknowledged)
    assert target.duplicates() == 0 and target.count() == 48 * 20
    calls = one.metrics().value("penstock_shared_calls_total")
    assert calls <= 0.7 * 48 * 20, f"{calls} calls for {48 * 20} records"


@pytest.mark.parametrize("ack", ["target", "target-or-spool"])
def test_an_entry_that_is_refused_fails_its_own_request_and_no_other(gateway, target, ack):
    ack = EITHER if ack == "target-or-spool" else ack
    one = gateway(setup(target, one_route(SQS, ack), ONE_CALL, limits=PATIENT))
    bodies = bodies_of("b", 10)
    target.refuse = lambda record: Refusal("InvalidMessageContents", status=400) if record.body == bodies[3] else None
    target.freeze()
    first = at_once(one, [b"first"])
    eventually(lambda: target.calls, what="the first call")
    rest = at_once(one, bodies)
    waiting(one, 10)
    target.up()
    first()
    answers = rest()
    assert [answer.status for answer in answers] == [422 if n == 3 else 202 for n in range(10)]
    assert len(target.attempts_for(bodies[3])) == 1, "nothing is sent again"
    ids = [answer.json()["messageId"] for n, answer in enumerate(answers) if n != 3]
    assert len(set(ids)) == 9


def test_a_throttled_entry_is_spooled_alone(gateway, target):
    one = gateway(setup(target, one_route(SQS, EITHER), {**ONE_CALL, "breaker": {"open_after": 1000}}, limits=PATIENT))
    bodies, refused = bodies_of("b", 10), []

    def once(record):
        if record.body == bodies[3] and not refused:
            refused.append(record)
            return Refusal("ThrottlingException", status=400)
        return None
    target.refuse = once
    target.freeze()
    first = at_once(one, [b"first"])
    eventually(lambda: target.calls, what="the first call")
    rest = at_once(one, bodies)
    waiting(one, 10)
    target.up()
    first()
    said = [accepted(answer) for answer in rest()]
    assert said == ["spooled" if n == 3 else "target" for n in range(10)]
    target.wait_for(11)
    eventually(lambda: one.depth() == 0, what="an empty spool")
    assert target.duplicates() == 0 and possible_duplicates(one) == 0


def test_a_record_whose_time_is_over_while_it_waits_is_never_sent(gateway, target):
    haste = {**ONE_CALL, "breaker": {"open_after": 1000}}
    its_routes = {
        "POST /r": {"integration": SQS, "timeout": "60s"},
        "POST /hurried": {"integration": SQS, "timeout": "1s"},
        "POST /either": {"integration": SQS, "ack": {"mode": "target-or-spool", "budget": "500ms"}},
    }
    for route in its_routes.values():
        if "timeout" in route:
            route["limits"] = {"timeout": route.pop("timeout")}
    one = gateway(setup(target, its_routes, haste, limits=PATIENT))
    target.freeze()
    first = at_once(one, [b"first"])
    eventually(lambda: target.calls, what="the first call")
    hurried = at_once(one, [b"hurried"], "/hurried")
    [refused] = hurried()
    assert refused.status == 503 and refused.json()["code"] == "overloaded", refused.body
    assert int(refused.headers["retry-after"]) >= 1 and "not sent" in refused.json()["detail"]
    [spooled] = at_once(one, [b"either"], "/either")()
    accepted(spooled, "spooled")
    assert one.metrics().value("penstock_spooled_records_total", why="budget") == 1
    target.up()
    accepted(first()[0], "target")
    target.wait_for(2)
    eventually(lambda: one.depth() == 0, what="an empty spool")
    assert sorted(target.bodies()) == [b"either", b"first"]
    assert target.duplicates() == 0 and possible_duplicates(one) == 0, "a record that was taken back is certain"
    assert one.metrics().value("penstock_shared_turned_away_total", why="withdrawn") == 2


def test_a_group_keeps_its_order_under_concurrency(gateway, target):
    target.be(Usual(after=0.01))
    one = gateway(setup(target, one_route({"SQS-SendMessage": TO_FIFO}), limits=PATIENT))
    clients = Clients(one, "/r", count=16, keys=2, records=40)
    with clients:
        clients.finish()
    assert not clients.refused, clients.refused[:3]
    assert_all_arrived(target, clients.acknowledged)
    assert order_violations(target.bodies(), clients.acknowledged) == []


def test_one_group_is_never_in_two_calls_at_once(gateway, target):
    one = gateway(setup(target, one_route({"SQS-SendMessage": TO_FIFO}), limits=PATIENT))
    target.freeze()
    first = at_once(one, [b"g:0"], key="g")
    eventually(lambda: target.calls, what="the first call")
    frozen, target.mood = target.mood, Usual()
    same = at_once(one, [f"g:{n}".encode() for n in range(1, 8)], key="g")
    waiting(one, 7)
    accepted(at_once(one, [b"h:0"], key="h")()[0], "target")
    assert len(target.calls) == 2, "another group goes on"
    frozen.thaw.set()
    for answer in first() + same():
        accepted(answer, "target")
    assert [len(records_of(call)) for call in target.calls] == [1, 1, 7]
    assert target.by_key()["g"][0] == b"g:0"


def test_a_client_that_leaves_takes_nothing_back(gateway, target):
    one = gateway(setup(target, one_route(SQS), ONE_CALL, limits=PATIENT))
    target.freeze()
    first = at_once(one, [b"first"])
    eventually(lambda: target.calls, what="the first call")
    leaver = socket.create_connection(one.address)
    leaver.sendall(b"POST /r HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nleaver")
    waiting(one, 1)
    open_now = lambda: one.metrics().value("penstock_connections_open")
    before = open_now()
    leaver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset: it has gone for sure
    leaver.close()
    eventually(lambda: open_now() == before - 1, what="a connection that is gone")
    target.up()
    first()
    target.wait_for(2)
    eventually(lambda: one.metrics().value("penstock_answers_lost_total") == 1, what="an answer that was lost")
    assert sorted(target.bodies()) == [b"first", b"leaver"]


def test_the_end_of_the_process_sends_what_waits(gateway, target):
    one = gateway(setup(target, one_route(SQS), ONE_CALL, limits={"timeout": "60s", "drain": "30s"}))
    target.freeze()
    sent = at_once(one, [b"first"])
    eventually(lambda: target.calls, what="the first call")
    rest = at_once(one, bodies_of("rest", 12))
    waiting(one, 12)
    one.signal(signal.SIGTERM)
    target.up()
    for answer in sent() + rest():
        accepted(answer, "target")
    assert one.wait() == 0
    assert target.count() == 13 and target.duplicates() == 0


@pytest.mark.parametrize("ack", ["target", "target-or-spool"])
def test_nothing_that_was_acknowledged_is_lost_when_the_process_is_killed(gateway, target, ack):
    ack = {"mode": ack, "budget": "100ms"} if ack == "target-or-spool" else ack
    target.be(Usual(after=0.02))
    one = gateway(setup(target, one_route(SQS, ack), {**HASTE, "in_flight": 2}))
    clients = Clients(one, "/r", count=32, records=2000)
    with clients:
        eventually(lambda: len(clients.acknowledged) > 200, what="some records")
        one.kill()
    clients.stop()
    if ack != "target":
        one.start()
        eventually(lambda: one.depth() == 0, what="an empty spool")
    assert_all_arrived(target, clients.acknowledged)


def test_batch_none_makes_one_call_for_each(gateway, target):
    one = gateway(setup(target, one_route(SQS), {**HASTE, "batch": "none"}, limits=PATIENT))
    target.be(Usual(after=0.05))
    for answer in at_once(one, bodies_of("n", 20))():
        accepted(answer, "target")
    assert {call.operation for call in target.calls} == {"SQS-SendMessage"} and len(target.calls) == 20
    assert one.metrics().value("penstock_shared_calls_total") == 0


DELETE = {"SQS-DeleteMessage": {"QueueUrl": QUEUE, "ReceiptHandle": "$request.body"}}


def test_deletes_share_calls_and_a_stale_handle_fails_alone(gateway, target):
    one = gateway(setup(target, one_route(DELETE), ONE_CALL, limits=PATIENT))
    target.freeze()
    first = at_once(one, [b"handle-first"])
    eventually(lambda: target.calls, what="the first call")
    handles = [f"handle-{n}".encode() for n in range(11)] + [b"stale-1"]
    rest = at_once(one, handles)
    waiting(one, 12)
    target.up()
    assert [answer.status for answer in first()] == [200]
    answers = rest()
    assert [answer.status for answer in answers] == [200] * 11 + [422], answers[-1].body
    assert "ReceiptHandleIsInvalid" in answers[-1].json()["detail"]
    calls = [call for call in target.calls if call.operation == "SQS-DeleteMessageBatch"]
    deleted = [entry["ReceiptHandle"] for call in calls for entry in call.json["Entries"]]
    singles = [call.json["ReceiptHandle"] for call in target.calls if call.operation == "SQS-DeleteMessage"]
    assert sorted(deleted + singles) == sorted(h.decode() for h in [b"handle-first", *handles]), "each once"
    assert len(target.calls) == 3 and max(len(call.json["Entries"]) for call in calls) == 10


def test_deletes_do_not_wait_behind_what_is_sent_to_the_queue(gateway, target):
    routes = {"POST /r": {"integration": SQS, "ack": "target"}, "POST /done": {"integration": DELETE}}
    one = gateway(setup(target, routes, ONE_CALL, limits=PATIENT))
    target.freeze()
    sends = at_once(one, bodies_of("s", 3))
    eventually(lambda: target.calls, what="the first send")
    done = at_once(one, [b"handle"], path="/done")
    eventually(lambda: any(call.operation.startswith("SQS-Delete") for call in target.calls), what="the delete beside it")
    target.up()
    assert [answer.status for answer in done()] == [200]
    assert [answer.status for answer in sends()] == [202] * 3


def test_one_slow_target_does_not_delay_another(gateway, target):
    slow = {"SQS-SendMessage": {**STORING["SQS-SendMessage"], "QueueUrl": QUEUE.replace("orders", "slow")}}
    one = gateway(setup(target, {"POST /r": {"integration": SQS}, "POST /slow": {"integration": slow}}, limits=PATIENT))
    gate = threading.Event()

    class SlowQueue(Usual):
        def act(self, connection, received):
            if received.json.get("QueueUrl", "").endswith("slow"):
                gate.wait(60)
            super().act(connection, received)
    target.be(SlowQueue())
    stuck = at_once(one, bodies_of("s", 60), "/slow")
    eventually(lambda: target.calls, what="a call to the slow one")
    for body in bodies_of("q", 10):
        accepted(post(one, "/r", body), "target")
    assert target.count("slow") == 0
    gate.set()
    for answer in stuck():
        accepted(answer, "target")


def test_a_batch_ends_where_the_bill_is_lowest(gateway, target):
    one = gateway(setup(target, one_route(SQS), ONE_CALL, limits=PATIENT))
    target.freeze()
    first = at_once(one, [b"first"])
    eventually(lambda: target.calls, what="the first call")
    rest = at_once(one, [f"{n}".encode().ljust(40 * 1024, b"x") for n in range(10)])
    waiting(one, 10)
    target.up()
    for answer in first() + rest():
        accepted(answer, "target")
    # eight of 40 KiB are five requests on the bill, all ten would be seven; the last two are two
    assert [len(records_of(call)) for call in target.calls] == [1, 8, 2]
    assert one.metrics().value("penstock_target_billed_units_total") == 1 + 5 + 2


def test_a_quiet_caller_s_record_is_in_the_very_next_call(gateway, target):
    keys = {name: f"psk-{name}-0123456789abcdef0123456789abcdef" for name in ("noisy", "quiet")}
    hashes = {name: {"hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest()} for name, key in keys.items()}
    one = gateway(setup(
        target, one_route(SQS, authorizer="api_key"), ONE_CALL, limits={**PATIENT, "in_flight": 1000}, api_keys=hashes))
    target.freeze()
    first = at_once(one, [b"first"], x_api_key=keys["noisy"])
    eventually(lambda: target.calls, what="the first call")
    noisy = at_once(one, bodies_of("noisy", 200), x_api_key=keys["noisy"])
    waiting(one, 200)
    quiet = at_once(one, [b"quiet"], x_api_key=keys["quiet"])
    waiting(one, 201)
    target.up()
    for answer in first() + quiet() + noisy():
        accepted(answer, "target")
    assert b"quiet" in [record.body for record in records_of(target.calls[1])]
