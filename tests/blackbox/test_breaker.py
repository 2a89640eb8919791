"""The breaker of a target: when it opens, what it spares an ill target and its callers, and when it closes again."""

from support.ack import HASTE, QUEUE, STORING, accepted, post, routes, setup
from support.fake_aws import Refusal
from support.processes import eventually

# A budget that no test waits for: what is spooled all the same was spooled at once.
LONG = {"mode": "target-or-spool", "budget": "50s"}
PATIENT = {"timeout": "60s", "drain": "1s"}


def settled(one, depth=0):
    eventually(lambda: one.depth() == depth, what=f"{depth} records in the spool (there are {one.depth()})")


def breaker(one, name=f"sqs:{QUEUE}"):
    return one.targets().get(name, {}).get("breaker")


def test_the_breaker_opens_after_so_many_failures_and_spares_an_ill_target(gateway, target):
    haste = {**HASTE, "breaker": {"open_after": 4, "probe_every": "30s", "max": "30s", "close_after": 2}}
    one = gateway(setup(target, routes(LONG), haste, limits=PATIENT))
    accepted(post(one, "/SQS-SendMessage", b"well"), "target")
    assert breaker(one) == "closed"
    target.throttle()
    number = 0
    while breaker(one) == "closed":
        assert number < 20, "it never opens"
        accepted(post(one, "/SQS-SendMessage", f"m{number}".encode()), "spooled")
        number += 1
    assert breaker(one) == "open"
    detail = next(t for t in one.admin("/readyz").json()["targets"] if t["target"] == f"sqs:{QUEUE}")
    assert detail["breaker"] == "open" and "Throttled" in detail["lastError"], detail
    assert one.admin("/readyz").status == 200
    metrics = one.metrics()
    assert metrics.value("penstock_breaker_state", target=f"sqs:{QUEUE}", state="open") == 1
    assert metrics.value("penstock_breaker_state", target=f"sqs:{QUEUE}", state="closed") == 0
    assert metrics.value("penstock_breaker_transitions_total", state="open") == 1
    calls = len(target.calls)
    assert calls >= 5  # one was well; four failures opened it
    for more in range(20):
        accepted(one.request("POST", "/SQS-SendMessage", f"o{more}", timeout=40), "spooled")
    assert len(target.calls) == calls, "an open breaker makes no call"
    assert one.metrics().value("penstock_spooled_records_total", why="breaker") >= 20
    assert one.depth() == number + 20


def test_the_breaker_closes_after_recovery_and_not_at_the_first_success(gateway, target):
    haste = {**HASTE, "breaker": {"open_after": 2, "probe_every": "50ms", "max": "100ms", "close_after": 5}}
    one = gateway(setup(target, routes(LONG), haste, limits=PATIENT))
    target.throttle()
    for number in range(30):
        accepted(post(one, "/SQS-SendMessage", f"m{number}".encode()), "spooled")
    eventually(lambda: breaker(one) != "closed", what="an open breaker")
    target.up()
    assert len(target.wait_for(30)) == 30
    settled(one)
    eventually(lambda: breaker(one) == "closed", what="a closed breaker")
    metrics = one.metrics()
    assert metrics.value("penstock_breaker_transitions_total", target=f"sqs:{QUEUE}", state="half-open") >= 1
    assert metrics.value("penstock_breaker_transitions_total", target=f"sqs:{QUEUE}", state="closed") == 1
    accepted(post(one, "/SQS-SendMessage", b"direct again"), "target")
    assert target.duplicates() == 0
    # the first calls that got through found out how it was: one record each
    first = [call for call in target.calls if call.operation == "SQS-SendMessage"]
    assert len(first) >= 5


def test_a_few_failures_open_no_breaker(gateway, target):
    haste = {**HASTE, "breaker": {**HASTE["breaker"], "open_after": 5}}
    one = gateway(setup(target, routes(LONG), haste, limits=PATIENT))
    for number in range(6):
        target.answer("SQS-SendMessage", *[Refusal("RequestThrottled").reply] * 2)
        accepted(post(one, "/SQS-SendMessage", f"m{number}".encode()), "spooled")
        target.wait_for(number + 1)
        settled(one)
    assert one.metrics().value("penstock_breaker_transitions_total") == 0
    assert target.duplicates() == 0


def test_a_setup_error_opens_the_breaker_at_once_and_is_said_once(gateway, target):
    haste = {**HASTE, "breaker": {**HASTE["breaker"], "open_after": 100}}
    one = gateway(setup(target, routes(LONG), haste, limits=PATIENT))
    target.deny()
    for number in range(10):
        accepted(post(one, "/SQS-SendMessage", f"m{number}".encode()), "spooled")
    eventually(lambda: len(target.calls) >= 6, what="some probes")
    assert breaker(one) in ("open", "half-open")
    errors = [line for line in one.logs().splitlines() if "ERROR" in line]
    assert len(errors) == 1 and "AccessDenied" in errors[0] and "orders" in errors[0], errors
    assert one.admin("/readyz").status == 200
    target.up()
    assert len(target.wait_for(10)) == 10
    settled(one)
    assert one.depth("dead-letters") == 0 and target.duplicates() == 0
    eventually(lambda: breaker(one) == "closed", what="a closed breaker")


def test_ack_target_calls_whatever_the_breaker_says(gateway, target):
    haste = {**HASTE, "breaker": {"open_after": 2, "probe_every": "30s", "max": "30s"}}
    one = gateway(setup(target, {
        "POST /t": {"integration": {"SQS-SendMessage": STORING["SQS-SendMessage"]}},
        "POST /tos": {"integration": {"SQS-SendMessage": STORING["SQS-SendMessage"]}, "ack": LONG},
    }, haste, limits=PATIENT))
    target.throttle()
    for number in range(4):
        accepted(post(one, "/tos", f"m{number}".encode()), "spooled")
    eventually(lambda: breaker(one) == "open", what="an open breaker")
    answer = post(one, "/t", b"t")
    assert answer.status == 503 and answer.code == "target_throttled"
    target.up()
    accepted(post(one, "/t", b"t"), "target")


def test_one_targets_outage_is_no_other_targets(gateway, target):
    other = "https://sqs.us-east-1.amazonaws.com/111122223333/other"
    one = gateway(setup(target, {
        "POST /a": {"integration": {"SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "$request.body"}}, "ack": LONG},
        "POST /b": {"integration": {"SQS-SendMessage": {"QueueUrl": other, "MessageBody": "$request.body"}}, "ack": LONG},
    }, limits=PATIENT))
    target.refuse = lambda record: Refusal("RequestThrottled") if "orders" in record.where else None
    for number in range(6):
        accepted(post(one, "/a", f"a{number}".encode()), "spooled")
        accepted(post(one, "/b", f"b{number}".encode()), "target")
    assert breaker(one, f"sqs:{other}") == "closed" and breaker(one) != "closed"
    target.refuse = None
    assert len(target.wait_for(12)) == 12


def test_settings_of_one_target_are_that_targets(gateway, target):
    document = setup(target, routes(LONG), limits=PATIENT)
    document["targets"] = {
        "default": {**HASTE, "breaker": {"open_after": 1, "probe_every": "30s", "max": "30s"}},
        QUEUE: {"breaker": {"open_after": 1, "probe_every": "50ms", "max": "50ms", "close_after": 1}},
    }
    one = gateway(document)
    target.down()
    for operation in ("SQS-SendMessage", "Kinesis-PutRecord"):
        accepted(post(one, f"/{operation}", b"%s" % operation.encode()), "spooled")
    target.up()
    assert target.wait_for(1) == [b"SQS-SendMessage"]
    eventually(lambda: breaker(one) == "closed", what="SQS's closed breaker")
    assert breaker(one, next(name for name in one.targets() if name.startswith("kinesis:"))) == "open"
