"""Records that a target refuses for what they are: kept with target, reason, attempts, times and the request's context;
listed, redriven, purged. How we are set up is never a record's fault."""

import json
import time
from urllib.parse import quote

import pytest

from support import http1
from support.ack import QUEUE, STORING, TO_FIFO, accepted, post, routes, setup
from support.fake_aws import Refusal
from support.gateway import penstock
from support.processes import eventually

CODES = {
    "SQS-SendMessage": "InvalidMessageContents", "EventBridge-PutEvents": "MalformedDetail",
    "StepFunctions-StartExecution": "InvalidExecutionInput",
}


def poison(code):
    """Refuses records that say that they are poison."""
    return lambda record: Refusal(code, "this one is not wanted") if b"poison" in record.body else None


def dead(one):
    """The dead-letter queues that hold something."""
    return [name for name, queue in one.queues().items() if queue["kind"] == "dead-letters" and queue["depth"]]


def change(one, queue, verb, body=None):
    return http1.request(
        one.admin_address, "POST", f"/v1/queues/{quote(queue, safe='')}/{verb}", json.dumps(body or {}),
        {"content-type": "application/json"})


def settled(one):
    eventually(lambda: one.depth() == 0, what=f"an empty spool ({one.depth()} are left)")


@pytest.fixture(params=CODES)
def poisoned(request, gateway, target):
    """A gateway whose target has refused one of three records, which were sent while it was down."""
    one = gateway(setup(target, routes("spool")))
    target.refuse = poison(CODES[request.param])
    target.down()
    one.began = time.time()
    for body in (b'{"n":1}', b'{"n":"poison"}', b'{"n":3}'):
        answer = one.request("POST", f"/{request.param}?q=1", body, {"x-thing": "t"})
        accepted(answer, "spooled")
        if b"poison" in body:
            one.poison_id = answer.headers["x-request-id"]
    target.up()
    eventually(lambda: dead(one), what="a dead letter")
    settled(one)
    # counted once the store has it
    one.counted(1, "penstock_dead_letters_total")
    one.operation = request.param
    return one


def test_a_dead_letter_says_where_it_was_to_go_and_why_it_did_not(poisoned, target):
    [queue] = dead(poisoned)
    assert sorted(target.bodies()) == [b'{"n":1}', b'{"n":3}'], "the others went on"
    [letter] = poisoned.peek(queue)
    assert queue == f"dead:{letter['target']}"
    death = letter["death"]
    assert death["code"] == CODES[poisoned.operation] and "not wanted" in death["detail"], death
    assert death["attempts"] >= 1
    stamp = lambda text: time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert poisoned.began - 2 <= stamp(death["firstAttemptAt"]) <= stamp(death["lastAttemptAt"]) <= time.time() + 2
    context = letter["context"]
    assert context["requestId"] == poisoned.poison_id
    assert context["routeKey"] == f"POST /{poisoned.operation}" and context["httpMethod"] == "POST"
    assert context["sourceIp"] == "127.0.0.1" and context["api"] == "shop"
    assert "poison" in letter["body"]


def test_it_is_counted_and_said(poisoned):
    poisoned.counted(1, "penstock_dead_letters_total")
    assert poisoned.metrics().value("penstock_order_gaps_total") == 0
    [queue] = dead(poisoned)
    assert poisoned.queues()[queue]["ledger"]["imported"] == 1
    assert poisoned.fates()["deadLettered"] == 1
    assert [t["deadLetters"] for t in poisoned.targets().values()] == [1]
    poisoned.says(CODES[poisoned.operation])
    assert poisoned.admin("/readyz").status == 200

    # the calls that got through after the outage may have been too few to close the breaker: it learns from the next ones
    def closed():
        accepted(post(poisoned, f"/{poisoned.operation}", json.dumps({"at": time.monotonic()})), "spooled")
        return {t["breaker"] for t in poisoned.targets().values()} == {"closed"}
    eventually(closed, what="a closed breaker")


def test_it_survives_kill_9(poisoned):
    [queue] = dead(poisoned)
    before = poisoned.peek(queue)
    poisoned.kill()
    poisoned.start()
    assert dead(poisoned) == [queue] and poisoned.peek(queue) == before


def test_redriven_after_the_target_is_healed_it_arrives(poisoned, target):
    [queue] = dead(poisoned)
    target.refuse = None
    answer = change(poisoned, queue, "redrive")
    assert answer.status == 200, answer
    assert len(target.wait_for(3)) == 3
    settled(poisoned)
    eventually(lambda: not dead(poisoned), what="no dead letters")
    assert target.duplicates() == 0
    fates = poisoned.fates("dead-letters")
    assert fates["imported"] == 1 and fates["purged"] == 0
    assert poisoned.unbalanced_queues() == {}


def test_redriven_while_the_target_is_not_healed_it_is_a_dead_letter_again(poisoned, target):
    [queue] = dead(poisoned)
    assert change(poisoned, queue, "redrive").status == 200
    eventually(lambda: poisoned.queues()[queue]["ledger"]["imported"] == 2, what="the second death")
    settled(poisoned)
    [letter] = poisoned.peek(queue)
    assert letter["context"]["requestId"] == poisoned.poison_id, "the context stays with it"
    assert target.count() == 2


def test_purged_it_is_gone_and_counted(poisoned, target):
    [queue] = dead(poisoned)
    answer = change(poisoned, queue, "purge")
    assert answer.status == 200 and answer.json()["purged"] == 1, answer
    assert dead(poisoned) == []
    assert poisoned.fates("dead-letters")["purged"] == 1
    assert target.count() == 2


def test_the_cli_lists_inspects_redrives_and_purges(gateway, target):
    one = gateway(setup(target, routes("spool")))
    target.refuse = poison("InvalidMessageContents")
    for number in range(2):
        accepted(post(one, "/SQS-SendMessage", f"poison {number}"), "spooled")
    eventually(lambda: one.depth("dead-letters") == 2, what="dead letters")
    admin = "http://{}:{}".format(*one.admin_address)

    def queue(*words):
        ran = penstock("queue", *words, "--admin", admin)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout
    assert f"dead:sqs:{QUEUE}" in queue("ls")
    told = json.loads(queue("peek", f"dead:sqs:{QUEUE}", "--json"))
    letters = told["messages"] if isinstance(told, dict) else told
    assert [letter["death"]["code"] for letter in letters] == ["InvalidMessageContents"] * 2
    assert "InvalidMessageContents" in queue("peek", "dead:orders")
    target.refuse = None
    queue("redrive", "dead:orders", "--only", str(letters[0]["number"]))
    assert target.wait_for(1) == [b"poison 0"]
    settled(one)
    queue("purge", "dead:orders", "--yes")
    assert one.depth("dead-letters") == 0 and target.count() == 1
    settled(one)


@pytest.mark.parametrize("on_poison", ["continue", "stop"])
def test_the_rest_of_a_poisoned_group(gateway, target, on_poison):
    ack = {"mode": "spool", "on_poison": on_poison}
    one = gateway(setup(target, {"POST /l": {"integration": {"SQS-SendMessage": TO_FIFO}, "ack": ack}}))
    target.refuse = poison("InvalidMessageContents")
    target.down()
    for body in ("g:1", "g:2 poison", "g:3", "g:4"):
        accepted(post(one, "/l", body, key="g"), "spooled")
        accepted(post(one, "/l", body.replace("g", "h").replace("poison", "good"), key="h"), "spooled")
    target.up()
    if on_poison == "stop":
        target.wait_for(5)
        assert target.by_key() == {"g": [b"g:1"], "h": [b"h:1", b"h:2 good", b"h:3", b"h:4"]}
        eventually(lambda: one.depth() == 3, what="three records: it waits, and the two behind it")
        target.refuse = None
        target.wait_for(8)
        assert target.by_key()["g"] == [b"g:1", b"g:2 poison", b"g:3", b"g:4"]
        settled(one)
        return
    target.wait_for(7)
    settled(one)
    assert target.by_key() == {"g": [b"g:1", b"g:3", b"g:4"], "h": [b"h:1", b"h:2 good", b"h:3", b"h:4"]}
    one.counted(1, "penstock_order_gaps_total")
    eventually(lambda: one.depth("dead-letters") == 1, what="one dead letter")
    assert "g:2" in one.peek(dead(one)[0])[0]["body"]


def test_a_batch_refused_as_a_whole_costs_only_the_record_at_fault(gateway, target):
    one = gateway(setup(target, routes("spool")))
    target.refuse = poison("InvalidMessageContents")
    target.answer("SQS-SendMessageBatch", *[Refusal("BatchRequestTooLong").reply] * 3)
    target.down()
    bodies = [f"m{number}".encode() for number in range(12)] + [b"poison"]
    for body in bodies:
        accepted(post(one, "/SQS-SendMessage", body), "spooled")
    target.up()
    assert sorted(target.wait_for(12)) == sorted(bodies[:-1])
    settled(one)
    eventually(lambda: one.depth("dead-letters") == 1, what="one dead letter")
    assert target.duplicates() == 0


@pytest.mark.parametrize("code", [
    "AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "KMSAccessDeniedException",
    "QueueDoesNotExist", "ResourceNotFoundException", "StateMachineDoesNotExist", "ACodeThatNobodyHasHeardOf",
])
@pytest.mark.parametrize("operation", STORING)
def test_how_we_are_set_up_is_no_records_fault(gateway, target, operation, code):
    one = gateway(setup(target, routes("spool")))
    target.say(code)
    for number in range(6):
        accepted(post(one, f"/{operation}", b'{"n":%d}' % number), "spooled")
    eventually(lambda: len(target.calls) >= 3, what="some attempts")
    assert one.depth() == 6 and one.depth("dead-letters") == 0
    one.says("ERROR")
    [state] = one.targets().values()
    assert state["breaker"] != "closed" and code in state["lastError"], state
    errors = [line for line in one.logs().splitlines() if "ERROR" in line]
    assert len(errors) == 1 and code in errors[0], errors
    target.up()
    assert len(target.wait_for(6)) == 6
    settled(one)
    assert target.duplicates() == 0 and one.depth("dead-letters") == 0


@pytest.mark.parametrize("operation", ["SQS-SendMessage", "Kinesis-PutRecord", "EventBridge-PutEvents"])
def test_an_entry_refused_for_our_setup_is_no_records_fault_either(gateway, target, operation):
    one = gateway(setup(target, routes("spool")))
    target.refuse = lambda record: Refusal("AccessDenied")
    target.down()
    for number in range(12):
        accepted(post(one, f"/{operation}", b'{"n":%d}' % number), "spooled")
    target.up()
    eventually(lambda: len(target.calls) >= 3, what="some attempts")
    assert one.depth() == 12 and one.depth("dead-letters") == 0
    target.refuse = None
    assert len(target.wait_for(12)) == 12
    settled(one)


def test_a_record_is_not_dead_for_having_failed_often(gateway, target):
    haste = {"breaker": {"open_after": 1000}, "backoff": {"base": "5ms", "max": "20ms"}}
    one = gateway(setup(target, routes("spool"), haste))
    target.fail()
    accepted(post(one, "/SQS-SendMessage", b"patient"), "spooled")
    eventually(lambda: len(target.calls) > 60, what="sixty attempts")
    assert one.depth() == 1 and one.depth("dead-letters") == 0
    target.up()
    assert target.wait_for(1) == [b"patient"]
    settled(one)
