"""`ack: spool`: the disk has it before the 2xx, and the target gets it whatever happens in between. Seen from outside:
answers, what the target has, metrics, /v1/queues."""

import json
import signal

import pytest

from support.ack import HASTE, QUEUE, STORING, Clients, accepted, assert_all_arrived, post, routes, setup
from support.fake_aws import Refusal
from support.fake_target import FakeTarget
from support.gateway import config, penstock, write_config
from support.payloads import PAYLOADS, TEXTS
from support.processes import eventually

# What a target's own rules refuse at the door is not for the spool.
HOLDS = {
    "SQS-SendMessage": {name: body for name, body in TEXTS.items() if body},
    "Kinesis-PutRecord": {name: body for name, body in PAYLOADS.items() if body},
    "EventBridge-PutEvents": {name: TEXTS[name] for name in ("JSON", "JSON with odd spacing", "256 KiB")},
    "StepFunctions-StartExecution": {name: TEXTS[name] for name in ("JSON", "JSON with odd spacing", "256 KiB")},
}


def drained(one, forwarded):
    """Waits until the spools are empty; what they have forwarded in all is then known."""
    eventually(lambda: one.depth() == 0, what=f"an empty spool ({one.depth()} are left)")
    assert one.fates()["forwarded"] == forwarded


@pytest.mark.parametrize("operation", STORING)
def test_what_is_spooled_is_answered_so_and_arrives_byte_for_byte_and_once(gateway, target, operation):
    one = gateway(setup(target, routes("spool")))
    bodies = {body: name for name, body in HOLDS[operation].items()}
    ids = set()
    for body in bodies:
        answer = post(one, f"/{operation}", body)
        accepted(answer, "spooled")
        ids |= {answer.json()["messageId"], answer.json()["requestId"]}
    assert len(ids) == 2 * len(bodies) and all(ids)
    arrived = target.wait_for(len(bodies))
    assert sorted(bodies.get(body, f"changed: {body[:80]!r}") for body in arrived) == sorted(bodies.values())
    drained(one, len(bodies))
    assert target.duplicates() == 0
    assert one.metrics().value("penstock_possible_duplicates_total") == 0


def test_attributes_and_parameters_travel_with_a_spooled_message(gateway, target):
    call = {
        "QueueUrl": QUEUE, "MessageBody": "$request.body", "DelaySeconds": "7",
        "MessageAttributes": {"who": "$request.header.who", "n": {"DataType": "Number", "StringValue": "3"}},
    }
    one = gateway(setup(target, {"POST /m": {"integration": {"SQS-SendMessage": call}, "ack": "spool"}}))
    target.down()
    accepted(post(one, "/m", b"body", who="é me".encode().decode("latin-1")))
    target.up()
    target.wait_for(1)
    entry = target.attempts_for(b"body")[-1].entry
    assert entry["MessageAttributes"]["n"] == {"DataType": "Number", "StringValue": "3"}
    assert entry["MessageAttributes"]["who"]["StringValue"] == "é me"
    assert int(entry["DelaySeconds"]) == 7


@pytest.mark.parametrize("operation", STORING)
def test_what_is_acknowledged_survives_kill_9_while_the_target_is_down(gateway, target, operation):
    one = gateway(setup(target, routes("spool")))
    target.down()
    bodies = [json.dumps({"n": n}).encode() for n in range(12)]
    for body in bodies:
        accepted(post(one, f"/{operation}", body), "spooled")
    one.kill()  # right after the last answer
    one.start()
    assert one.depth() == 12
    target.up()
    assert sorted(target.wait_for(12)) == sorted(bodies)
    drained(one, 12)
    assert target.duplicates() == 0


def test_kill_9_amid_a_load_loses_nothing_acknowledged_and_forwards_nothing_twice_uncounted(gateway, target):
    one = gateway(setup(target, routes("spool")))
    clients = Clients(one, "/SQS-SendMessage", records=10_000)
    with clients:
        eventually(lambda: len(clients.acknowledged) > 60, what="some load")
        one.kill()
    clients.stop()
    one.start()
    assert_all_arrived(target, clients.acknowledged)
    eventually(lambda: one.depth() == 0)
    # all calls of the run that was killed that were not settled are counted at the start
    assert target.duplicates() <= one.metrics().value("penstock_possible_duplicates_total")


def test_a_target_that_is_down_is_seen_and_in_nobodys_way(gateway, target):
    one = gateway(setup(target, routes("spool")))
    target.down()
    bodies = [f"message {n}".encode() for n in range(60)]
    for body in bodies:
        accepted(post(one, "/SQS-SendMessage", body), "spooled")
    assert one.depth() == 60
    name = next(name for name, queue in one.queues().items() if queue["kind"] == "spool")
    assert name == f"spool:sqs:{QUEUE}"
    metrics = one.metrics()
    assert metrics.value("penstock_queue_messages", queue=name) == 60
    assert metrics.value("penstock_spooled_records_total", why="mode") == 60
    assert metrics.value("penstock_payloads_stored_total", durability="spooled") == 60
    assert metrics.value("penstock_queue_oldest_message_seconds", queue=name) > 0
    assert not metrics.faults, metrics.faults
    ready = one.admin("/readyz")
    assert ready.status == 200, ready
    detail = next(t for t in ready.json()["targets"] if t["target"] == f"sqs:{QUEUE}")
    assert detail["spooled"] == 60 and detail["spooledBytes"] > 0 and detail["oldestAgeSeconds"] > 0

    target.up()
    before = len(target.calls_of("SQS-SendMessageBatch"))
    assert sorted(target.wait_for(60)) == sorted(bodies)
    drained(one, 60)
    assert target.duplicates() == 0
    calls = len(target.calls_of("SQS-SendMessageBatch")) - before + len(target.calls_of("SQS-SendMessage"))
    assert calls <= 30, f"{calls} calls for 60 records"


def test_durability_is_in_metrics_and_in_the_access_log(gateway, target):
    one = gateway(setup(target, routes("spool")))
    answer = post(one, "/SQS-SendMessage", b"a")
    line = one.log_line(answer.headers["x-request-id"])
    assert line["integration"]["durability"] == "spooled" and line["outcome"] == "stored"
    assert one.metrics().value("penstock_payloads_stored_total", route="POST /SQS-SendMessage", durability="spooled") == 1
    assert one.metrics().value("penstock_payloads_stored_total", durability="target") == 0


def test_durability_can_be_told_to_the_caller_and_the_log(gateway, target):
    document = setup(
        target, routes("spool", response={"headers": {"x-durability": "$context.durability"}}),
        access_log={"path": "stdout", "format": "$context.requestId $context.durability"})
    one = gateway(document)
    answer = post(one, "/SQS-SendMessage", b"a")
    eventually(lambda: f"{answer.headers['x-request-id']} spooled" in one.stdout_path.read_text(), what="the log line")
    assert answer.headers["x-durability"] == "spooled"


@pytest.mark.parametrize("trouble", ["throttle", "fail", "deny", "lose_queue", "reset"])
def test_whatever_is_wrong_with_the_target_the_caller_is_not_told_and_nothing_is_lost(gateway, target, trouble):
    one = gateway(setup(target, routes("spool")))
    getattr(target, trouble)()
    bodies = [f"message {n}".encode() for n in range(10)]
    for body in bodies:
        accepted(post(one, "/SQS-SendMessage", body), "spooled")
    eventually(lambda: target.calls, what="an attempt")
    target.up()
    assert sorted(target.wait_for(10)) == sorted(bodies)
    drained(one, 10)
    assert one.depth("dead-letters") == 0
    assert target.duplicates() <= one.metrics().value("penstock_possible_duplicates_total")


@pytest.mark.parametrize("operation, entry_code", [
    ("SQS-SendMessage", "InternalError"), ("Kinesis-PutRecord", "ProvisionedThroughputExceededException"),
    ("EventBridge-PutEvents", "InternalFailure"),
])
def test_a_batch_that_fails_in_part_is_sent_again_only_where_it_failed(gateway, target, operation, entry_code):
    one = gateway(setup(target, routes("spool")))
    target.down()
    bodies = [json.dumps({"n": n}).encode() for n in range(40)]
    for body in bodies:
        accepted(post(one, f"/{operation}", body), "spooled")
    seen = {}

    def every_third_at_first(record):
        seen[record.body] = seen.get(record.body, 0) + 1
        return Refusal(entry_code, status=500) if json.loads(record.body)["n"] % 3 == 0 and seen[record.body] <= 2 else None
    target.refuse = every_third_at_first
    target.up()
    assert sorted(target.wait_for(40)) == sorted(bodies)
    drained(one, 40)
    assert target.duplicates() == 0
    assert all(seen[json.dumps({"n": n}).encode()] == (3 if n % 3 == 0 else 1) for n in range(40)), seen


def test_answers_that_are_lost_make_duplicates_and_each_is_counted(gateway, target):
    one = gateway(setup(target, routes("spool")))
    target.lose_answers()
    bodies = [f"message {n}".encode() for n in range(20)]
    for body in bodies:
        accepted(post(one, "/SQS-SendMessage", body), "spooled")
    target.wait_for(1)
    eventually(lambda: target.duplicates() >= 1, what="a duplicate")
    target.up()
    assert sorted(target.wait_for(20)) == sorted(bodies)
    drained(one, 20)
    counted = one.metrics().value("penstock_possible_duplicates_total")
    assert 1 <= target.duplicates() <= counted


# ---- credentials ----

NO_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_EC2_METADATA_DISABLED": "true",
}


def test_without_credentials_it_accepts_and_when_they_come_it_forwards(gateway, target, tmp_path):
    credentials = tmp_path / "credentials"
    env = {**NO_CREDENTIALS, "AWS_SHARED_CREDENTIALS_FILE": str(credentials), "AWS_CONFIG_FILE": str(tmp_path / "none")}
    one = gateway(setup(target, routes("spool")), env=env)
    assert one.admin("/readyz").status == 200
    for number in range(5):
        accepted(post(one, "/SQS-SendMessage", f"message {number}".encode()), "spooled")
    name = f"sqs:{QUEUE}"
    eventually(lambda: one.targets()[name]["breaker"] != "closed", what="an open breaker")
    assert one.targets()[name]["lastError"]
    assert target.calls == [] and one.depth() == 5
    credentials.write_text("[default]\naws_access_key_id = AKIALATE\naws_secret_access_key = late\n")
    assert len(target.wait_for(5)) == 5
    drained(one, 5)
    assert "AKIALATE" in target.calls[-1].headers["authorization"]
    assert "late" not in one.logs().replace("later", "")


# ---- what is gone from the configuration ----

def test_what_a_route_has_spooled_is_forwarded_when_the_route_is_gone(gateway, target):
    one = gateway(setup(target, routes("spool")))
    target.down()
    for operation in STORING:
        accepted(post(one, f"/{operation}", b'{"of":"%s"}' % operation.encode()), "spooled")
    one.stop()
    elsewhere = {"GET /": {"integration": {"Mock": {}}}}
    write_config(one.directory, setup(target, elsewhere, api="another"))
    target.up()
    one.start()
    target.wait_for(len(STORING))
    drained(one, len(STORING))
    assert one.request("GET", "/").status == 200


def test_endpoints_come_from_the_configuration_that_runs(gateway, target):
    one = gateway(setup(target, routes("spool")))
    target.down()
    accepted(post(one, "/Kinesis-PutRecord", b"moved"), "spooled")
    one.kill()
    elsewhere = FakeTarget().start()
    try:
        write_config(one.directory, setup(elsewhere, {"GET /": {"integration": {"Mock": {}}}}))
        one.start()
        assert elsewhere.wait_for(1) == [b"moved"]
        drained(one, 1)
    finally:
        one.stop()
        elsewhere.stop()


# ---- full ----

def test_a_full_store_refuses_and_loses_nothing_that_it_has_taken(gateway, target):
    one = gateway(setup(target, routes("spool"), store={"path": "./data", "max_size": "8MiB"}))
    target.down()
    taken = []
    for number in range(200):
        body = f"{number:05}".encode() * 40_000  # 200 kB
        answer = post(one, "/SQS-SendMessage", body)
        if answer.status != 202:
            break
        taken.append(body)
    assert answer.status == 503 and answer.code == "store_full", answer
    assert int(answer.headers["retry-after"]) >= 1
    assert taken
    target.up()
    arrived = target.wait_for(len(taken))
    assert sorted(arrived) == sorted(taken)
    drained(one, len(taken))
    eventually(lambda: post(one, "/SQS-SendMessage", b"room again").status == 202, what="room again")


# ---- the end of the process ----

def test_sigterm_forwards_until_the_spool_is_empty(gateway, target):
    haste = {**HASTE, "in_flight": 1, "batch": {"max": 1}}
    one = gateway(setup(target, routes("spool"), haste, limits={"drain": "20s"}))
    target.slow(0.05)
    bodies = [f"message {n}".encode() for n in range(40)]
    for body in bodies:
        accepted(post(one, "/SQS-SendMessage", body), "spooled")
    assert target.count() < 40
    assert one.stop() == 0
    assert sorted(target.bodies()) == sorted(bodies) and target.duplicates() == 0


def test_what_a_drain_leaves_is_said_and_forwarded_by_the_next_start(gateway, target):
    one = gateway(setup(target, routes("spool"), limits={"drain": "1s"}))
    target.down()
    for number in range(7):
        accepted(post(one, "/SQS-SendMessage", f"message {number}".encode()), "spooled")
    one.stop()
    printed = one.logs()
    assert "spool" in printed and "7" in printed.split("Shutting down")[-1], printed[-2000:]
    target.up()
    one.start()
    assert len(target.wait_for(7)) == 7
    drained(one, 7)


def test_a_second_signal_ends_a_drain_and_keeps_what_is_left(gateway, target):
    one = gateway(setup(target, routes("spool"), limits={"drain": "60s"}))
    target.down()
    accepted(post(one, "/SQS-SendMessage", b"kept"), "spooled")
    one.signal(signal.SIGTERM)
    eventually(lambda: "Shutting down" in one.logs(), what="the first signal's line")
    one.signal(signal.SIGTERM)
    one.wait()
    target.up()
    one.start()
    assert target.wait_for(1) == [b"kept"]


# ---- check ----

READS = {
    "a read": {"SQS-ReceiveMessage": {"QueueUrl": QUEUE}},
    "a delete": {"SQS-DeleteMessage": {"QueueUrl": QUEUE, "ReceiptHandle": "$request.header.handle"}},
    "a purge": {"SQS-PurgeQueue": {"QueueUrl": QUEUE}},
    "a synchronous workflow": {"StepFunctions-StartSyncExecution": {"StateMachineArn": "arn:aws:states:us-east-1:111122223333:stateMachine:m"}},
    "a stop": {"StepFunctions-StopExecution": {"ExecutionArn": "arn:aws:states:us-east-1:111122223333:execution:m:n"}},
    "a configuration": {"AppConfig-GetConfiguration": {"Application": "a", "Environment": "e", "Configuration": "c", "ClientId": "i"}},
    "a mock": {"Mock": {}},
    "an embedded queue": {"SQS-SendMessage": {"QueueUrl": "queue:inbox", "MessageBody": "$request.body"}},
}


@pytest.mark.parametrize("mode", ["spool", "target-or-spool"])
@pytest.mark.parametrize("what", READS)
def test_a_spool_is_refused_at_check_where_there_is_nothing_to_spool(tmp_path, what, mode):
    document = config({"POST /x": {"integration": READS[what], "ack": mode}}, queues={"inbox": {}}, aws={"region": "us-east-1"})
    ran = penstock("check", write_config(tmp_path, document))
    assert ran.returncode == 1, ran.stdout + ran.stderr
    said = ran.stdout + ran.stderr
    assert "POST /x" in said and "spool" in said, said
    kind = next(iter(READS[what]))
    assert kind in said or "queue:" in said, said


def test_ack_target_needs_no_store_and_spool_makes_one(gateway, target):
    one = gateway(setup(target, routes("target")))
    assert not (one.directory / "data").exists()
    other = gateway(setup(target, routes("spool")))
    assert (other.directory / "data").exists()
