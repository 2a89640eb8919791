"""`ack: target-or-spool`: the target within a budget, else the spool; and what is counted."""

import json

import pytest

from support.ack import (
    HASTE, MACHINE, STORING, TO_FIFO, Clients, accepted, assert_all_arrived, possible_duplicates, post,
    routes, setup,
)
from support.fake_aws import Refusal
from support.processes import eventually

# A budget that no test waits for: what is spooled all the same was spooled at once.
LONG = {"mode": "target-or-spool", "budget": "50s"}
SHORT = {"mode": "target-or-spool", "budget": "300ms"}
PATIENT = {"timeout": "60s", "drain": "1s"}
CLOSED = {**HASTE, "breaker": {**HASTE["breaker"], "open_after": 1000}}  # opened only by a setup error


def why(one, reason):
    return one.metrics().value("penstock_spooled_records_total", why=reason)


def settled(one, depth=0):
    eventually(lambda: one.depth() == depth, what=f"{depth} records in the spool (there are {one.depth()})")


@pytest.mark.parametrize("operation", STORING)
def test_a_target_that_is_well_has_the_record_and_answers_for_itself(gateway, target, operation):
    one = gateway(setup(target, {
        "POST /t": {"integration": {operation: STORING[operation]}},
        "POST /tos": {"integration": {operation: STORING[operation]}, "ack": LONG},
    }, limits=PATIENT))
    plain, either = post(one, "/t", b'{"n":1}'), post(one, "/tos", b'{"n":2}')
    assert accepted(plain) == accepted(either) == "target"
    assert plain.json().keys() == either.json().keys()
    assert {name for name, _ in plain.headers.pairs} == {name for name, _ in either.headers.pairs}
    assert target.bodies() == [b'{"n":1}', b'{"n":2}'] and target.duplicates() == 0
    assert one.depth() == 0
    assert one.metrics().value("penstock_payloads_stored_total", durability="target") == 2


@pytest.mark.parametrize("operation", STORING)
def test_a_refused_connection_is_spooled_at_once_and_not_after_the_budget(gateway, target, operation):
    one = gateway(setup(target, routes(LONG), limits=PATIENT))
    target.down()
    answer = one.request("POST", f"/{operation}", b'{"n":1}', timeout=40)  # 50 s would break it
    accepted(answer, "spooled")
    target.up()
    assert target.wait_for(1) == [b'{"n":1}']
    settled(one)
    assert target.duplicates() == 0 and possible_duplicates(one) == 0


@pytest.mark.parametrize("trouble, reason", [
    ("throttle", "failed"), ("fail", "failed"), ("reset", "failed"), ("lose_answers", "failed"), ("halve_answers", "failed"),
    ("deny", "setup"), ("lose_queue", "setup"),
])
@pytest.mark.parametrize("operation", STORING)
def test_a_target_that_fails_is_spooled_for(gateway, target, operation, trouble, reason):
    one = gateway(setup(target, routes(LONG), CLOSED, limits=PATIENT))
    getattr(target, trouble)()
    accepted(one.request("POST", f"/{operation}", b'{"n":1}', timeout=40), "spooled")
    assert why(one, reason) == 1
    target.up()
    assert target.wait_for(1) == [b'{"n":1}']
    settled(one)
    assert target.duplicates() <= possible_duplicates(one)
    if trouble in ("throttle", "deny", "lose_queue"):
        assert possible_duplicates(one) == 0, "a refusal is certain"
    if trouble == "lose_answers":
        assert possible_duplicates(one) >= 1
    assert one.depth("dead-letters") == 0


def test_a_target_that_hangs_has_its_budget_and_then_the_record_is_spooled(gateway, target):
    one = gateway(setup(target, routes(SHORT), CLOSED, limits={"timeout": "5s", "drain": "1s"}))
    target.freeze(work=False)
    accepted(post(one, "/SQS-SendMessage", b"a"), "spooled")
    assert why(one, "budget") == 1
    target.up()
    assert target.wait_for(1) == [b"a"]
    settled(one)
    assert target.duplicates() == 0 and possible_duplicates(one) >= 1


@pytest.mark.parametrize("operation", STORING)
def test_an_answer_after_the_budget_takes_the_copy_out_of_the_spool(gateway, target, operation):
    one = gateway(setup(target, routes(SHORT), CLOSED, limits=PATIENT))
    target.freeze()
    accepted(post(one, f"/{operation}", b'{"n":1}'), "spooled")
    assert one.depth() == 1, "the 2xx says that the disk has it"
    target.up()
    settled(one)
    assert target.bodies() == [b'{"n":1}'] and target.duplicates() == 0 and target.doubled == []
    assert len(target.attempts_for(b'{"n":1}')) == 1, "the copy was never sent"
    assert possible_duplicates(one) == 0
    assert one.fates()["forwarded"] == 1


def test_a_late_refusal_of_a_spooled_record_makes_it_a_dead_letter_and_not_nothing(gateway, target):
    one = gateway(setup(target, routes(SHORT), CLOSED, limits=PATIENT))
    target.freeze()
    accepted(post(one, "/SQS-SendMessage", b"a"), "spooled")
    target.refuse = lambda record: Refusal("InvalidMessageContents")
    target.up()
    eventually(lambda: one.depth("dead-letters") == 1, what="a dead letter")
    settled(one)


def test_kill_9_while_a_call_is_under_way_leaves_the_copy_and_counts_it(gateway, target):
    one = gateway(setup(target, routes(SHORT), CLOSED, limits=PATIENT))
    target.freeze()
    accepted(post(one, "/SQS-SendMessage", b"a"), "spooled")
    one.kill()
    target.up()  # does what was asked of it before
    eventually(lambda: target.bodies() == [b"a"], what="the frozen call's record")
    one.start()
    settled(one)
    assert target.bodies() == [b"a"] and target.duplicates() == 1
    assert possible_duplicates(one) >= 1


REFUSED = {
    "SQS-SendMessage": "InvalidMessageContents", "EventBridge-PutEvents": "MalformedDetail",
    "StepFunctions-StartExecution": "InvalidExecutionInput", "Kinesis-PutRecord": "SerializationException",
}


@pytest.mark.parametrize("operation", REFUSED)
def test_a_record_that_is_refused_for_what_it_is_is_the_callers(gateway, target, operation):
    one = gateway(setup(target, routes(LONG), limits=PATIENT))
    target.refuse = lambda record: Refusal(REFUSED[operation])
    answer = post(one, f"/{operation}", b'{"n":1}')
    assert answer.status == 422 and answer.code == "target_refused_record", answer
    assert REFUSED[operation] in answer.json()["detail"]
    assert one.depth() == 0 and one.depth("dead-letters") == 0
    target.refuse = None
    accepted(post(one, f"/{operation}", b'{"n":1}'), "target")
    assert target.duplicates() == 0


@pytest.mark.parametrize("trouble", ["lose_answers", "fail_after_the_work"])
def test_a_fifo_message_is_sent_again_under_the_same_deduplication_id(gateway, target, trouble):
    one = gateway(setup(target, {"POST /l": {"integration": {"SQS-SendMessage": TO_FIFO}, "ack": LONG}}, CLOSED, limits=PATIENT))
    target.lose_answers() if trouble == "lose_answers" else target.fail(done=True)
    accepted(post(one, "/l", b"a", key="g"), "spooled")
    target.up()
    settled(one)
    tries = target.attempts_for(b"a")
    assert len(tries) >= 2 and len({record.id for record in tries}) == 1 and tries[0].id
    assert {record.key for record in tries} == {"g"}
    assert target.bodies() == [b"a"] and target.duplicates() == 0, "the queue knows the id"
    assert len(target.doubled) <= possible_duplicates(one)


@pytest.mark.parametrize("name", [None, "$request.header.name"])
@pytest.mark.parametrize("mode", ["target-or-spool", "spool"])
def test_an_execution_is_started_again_under_the_same_name_and_that_it_exists_is_success(gateway, target, mode, name):
    call = {"StateMachineArn": MACHINE, "Input": "$request.body", **({"Name": name} if name else {})}
    one = gateway(setup(target, {"POST /s": {"integration": {"StepFunctions-StartExecution": call}, "ack": mode}}, CLOSED))
    target.lose_answers()
    answer = post(one, "/s", b"{}", name="mine")
    accepted(answer, "spooled")
    eventually(lambda: target.bodies(), what="the execution")
    target.up()
    settled(one)
    tries = target.attempts_for(b"{}")
    assert len(tries) >= 2 and {record.id for record in tries} == {"mine" if name else answer.json()["requestId"]}
    assert target.count() == 1 and target.duplicates() == 0
    assert one.depth("dead-letters") == 0 and one.fates()["forwarded"] == 1


def test_an_execution_whose_name_another_request_has_used_is_refused_and_not_taken_for_our_own(gateway, target):
    call = {"StateMachineArn": MACHINE, "Input": "$request.body", "Name": "$request.header.name"}
    one = gateway(setup(target, {"POST /s": {"integration": {"StepFunctions-StartExecution": call}, "ack": LONG}}, limits=PATIENT))
    accepted(post(one, "/s", b'{"n":1}', name="mine"), "target")
    answer = post(one, "/s", b'{"n":2}', name="mine")
    assert answer.status == 422, answer
    assert one.depth() == 0


def test_missing_credentials_are_spooled_for_at_once(gateway, target):
    env = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_CONFIG_FILE": "/nowhere"}
    one = gateway(setup(target, routes(LONG), limits=PATIENT), env=env)
    for number in range(3):
        accepted(one.request("POST", "/SQS-SendMessage", f"{number}", timeout=40), "spooled")
    assert target.calls == [] and one.depth() == 3


def test_what_cannot_be_spooled_either_is_refused(gateway, target):
    one = gateway(setup(target, routes(LONG), limits=PATIENT, store={"path": "./data", "max_size": "8MiB"}))
    target.down()
    taken = []
    for number in range(200):
        body = f"{number:05}".encode() * 40_000
        answer = post(one, "/SQS-SendMessage", body)
        if answer.status != 202:
            break
        taken.append(body)
    assert answer.status == 503 and answer.code == "store_full", answer
    assert "retry-after" in answer.headers
    target.up()
    assert sorted(target.wait_for(len(taken))) == sorted(taken)


def test_answers_lost_in_mid_load_are_counted_for_every_duplicate(gateway, target):
    one = gateway(setup(target, routes(SHORT), CLOSED))
    clients = Clients(one, "/SQS-SendMessage", count=4, records=40)
    with clients:
        for _ in range(4):
            target.lose_answers()
            before = len(target.calls)
            eventually(lambda: len(target.calls) > before + 3 or not any(c.is_alive() for c in clients.all), what="calls")
            target.up()
            eventually(lambda: len(target.calls) > before + 10 or not any(c.is_alive() for c in clients.all), what="calls")
        clients.finish()
    target.up()
    assert not clients.refused, clients.refused[:3]
    assert_all_arrived(target, clients.acknowledged)
    settled(one)
    assert 1 <= target.duplicates() <= possible_duplicates(one)


def test_a_client_that_goes_away_cancels_nothing(gateway, target):
    one = gateway(setup(target, routes({"mode": "target-or-spool", "budget": "200ms"}), CLOSED, limits={"timeout": "10s", "drain": "1s"}))
    target.freeze(work=False)
    with one.raw() as connection:
        connection.send("POST /SQS-SendMessage HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\ngone")
        eventually(lambda: target.calls, what="the call")
    eventually(lambda: one.depth() == 1, what="the record in the spool")
    target.up()
    assert target.wait_for(1) == [b"gone"]
    settled(one)


def test_in_the_aws_dialect_a_spooled_answer_looks_like_the_services_own(gateway, target):
    one = gateway(setup(target, routes(LONG), limits=PATIENT, responses="aws"))
    shapes = {}
    for how in ("target", "spooled"):
        for operation in STORING:
            answer = one.request("POST", f"/{operation}", json.dumps({"how": how}), timeout=40)
            assert answer.status == 200, answer
            if answer.headers["content-type"].startswith("application/x-amz-json"):
                shape = sorted(answer.json())
            else:
                shape = answer.body.split(b">")[0:1], b"MessageId" in answer.body, b"MD5OfMessageBody" in answer.body
            shapes.setdefault(operation, []).append((answer.headers["content-type"], shape))
        target.down()
    assert all(first == second for first, second in shapes.values()), shapes
    target.up()
    target.wait_for(8)


# ---- the network ----

def test_a_host_that_nobody_knows_is_spooled_for_at_once(gateway, target):
    document = setup(target, routes(LONG), limits=PATIENT)
    document["aws"]["endpoint"] = "http://target.invalid:9"
    one = gateway(document)
    accepted(one.request("POST", "/SQS-SendMessage", b"a", timeout=40), "spooled")
    assert possible_duplicates(one) == 0


def test_connections_that_nobody_takes_are_spooled_for_within_the_budget(gateway, target):
    one = gateway(setup(target, routes(SHORT), CLOSED, limits={"timeout": "10s", "drain": "1s"}))
    target.down()
    stuffing = target.stuff()
    try:
        for number in range(4):
            accepted(post(one, "/SQS-SendMessage", f"m{number}"), "spooled")
    finally:
        for each in stuffing:
            each.close()
    target.up()
    assert len(target.wait_for(4)) == 4
    settled(one)
    assert target.duplicates() <= possible_duplicates(one)


@pytest.mark.parametrize("size", [262_144, 1_048_576])
def test_large_records_go_alone_or_in_small_batches(gateway, target, size):
    one = gateway(setup(target, routes("spool"), limits={"timeout": "5s", "body": "1MiB", "drain": "1s"}))
    target.down()
    bodies = [(f"{number:04}" * (size // 4)).encode() for number in range(6)]
    for operation in ("SQS-SendMessage", "Kinesis-PutRecord"):
        cut = 0 if operation.startswith("SQS") else 1  # the partition key counts
        for body in bodies:
            accepted(post(one, f"/{operation}", body[cut:]), "spooled")
    target.up()
    target.wait_for(12)
    settled(one)
    assert sorted(target.bodies("orders")) == sorted(bodies)
    assert target.duplicates() == 0 and one.depth("dead-letters") == 0


# ---- idempotency ----

KEYED = {"idempotency": {"key": "$request.header.idempotency-key"}}


@pytest.mark.parametrize("trouble", ["down", "throttle", "lose_answers", "freeze", "deny"])
@pytest.mark.parametrize("mode", ["spool", "target-or-spool"])
def test_a_request_that_is_sent_again_is_spooled_once_and_answered_alike(gateway, target, mode, trouble):
    ack = SHORT if mode == "target-or-spool" else mode
    one = gateway(setup(target, routes(ack, **KEYED), CLOSED, limits={"timeout": "10s", "drain": "1s"}))
    getattr(target, trouble)()
    first = post(one, "/SQS-SendMessage", b"a", idempotency_key="k1")
    accepted(first, "spooled")

    def same_again():
        again = post(one, "/SQS-SendMessage", b"a", idempotency_key="k1")
        assert accepted(again) == "spooled" and again.headers["idempotency-replayed"] == "true"
        assert again.json()["messageId"] == first.json()["messageId"]
    same_again()
    assert post(one, "/SQS-SendMessage", b"b", idempotency_key="k1").status == 422
    one.kill()
    one.start()
    same_again()
    target.up()
    target.wait_for(1)
    settled(one)
    same_again()
    assert target.bodies() == [b"a"]
    assert one.fates()["accepted"] == 1


# ---- the count of possible duplicates, beyond one process ----

def test_a_call_that_the_drain_gave_up_on_is_counted_by_the_next_start_or_settled(gateway, target):
    one = gateway(setup(target, routes(SHORT), CLOSED, limits={"timeout": "60s", "drain": "1s"}))
    target.freeze()
    accepted(post(one, "/SQS-SendMessage", b"a"), "spooled")
    before = possible_duplicates(one)
    one.stop()
    target.up()  # what was asked of it is done now
    eventually(lambda: target.bodies() == [b"a"], what="the frozen call's record")
    one.start()
    settled(one)
    assert target.duplicates() == 1
    assert before + possible_duplicates(one) >= 1, "a duplicate that no scrape could have seen"
