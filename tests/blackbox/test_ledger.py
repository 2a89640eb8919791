"""The ledger: every request received ends in exactly one column, and /metrics is text that a scraper can read."""

import http.client
import random
import threading
import time
from urllib.parse import quote

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from support.fake_aws import Hang, LostReply, Usual, access_denied, refused_entry, throttled
from support.gateway import config
from support.processes import eventually

QUEUE = "https://sqs.us-east-1.amazonaws.com/111122223333/orders"
ROUTES = {
    "POST /messages": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}},
    "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "MaxNumberOfMessages": 10}}},
    "GET /wait": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:empty", "WaitTimeSeconds": 20}}},
    "POST /sqs": {"integration": {"SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "$request.body"}}},
    "POST /events": {"integration": {"EventBridge-PutEvents": {"Detail": "$request.body", "DetailType": "t", "Source": "s"}}},
    "POST /mapped": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body.a"}}},
    "GET /mock": {"integration": {"Mock": {"status": 200, "body": "fine"}}},
    "GET /closed": {"integration": {"Mock": {"status": 200}}, "throttle": {"rate": 0}},
    "GET /keyed": {"integration": {"Mock": {"status": 200}}, "authorizer": "api_key"},
}


@pytest.fixture
def server(gateway, fake):
    return gateway(config(
        ROUTES, queues={"orders": {}, "empty": {}}, aws={"region": "us-east-1", "endpoint": fake.url},
        api_keys={"acme": {"hash": "sha256:" + "0" * 64}},
        cors={"allow_origins": ["*"], "allow_methods": ["*"], "allow_headers": ["*"]}, limits={"timeout": "5s", "body": "64KiB"}))


def settled(server, **columns):
    """The ledger once nothing is in flight; and the columns asked for hold what they should."""
    def done():
        ledger = server.metrics().ledger()
        return ledger if ledger["in_flight"] == 0 and all(ledger[k] == v for k, v in columns.items()) else None
    try:
        return eventually(done, what=f"{columns}")
    except AssertionError:
        raise AssertionError(f"expected {columns}, found {server.metrics().ledger()}") from None


def test_a_gateway_that_served_nothing_has_a_ledger_of_zeros(server):
    assert set(settled(server).values()) == {0}


ONE_EACH = {
    "stored in a queue": ("POST", "/messages", b"x", "stored", None),
    "stored by a service": ("POST", "/sqs", b"x", "stored", None),
    "read": ("GET", "/next", None, "answered", None),
    "a mock": ("GET", "/mock", None, "answered", None),
    "no route": ("GET", "/nowhere", None, "rejected", "no_route"),
    "wrong method": ("PUT", "/mock", b"", "rejected", "method_not_allowed"),
    "throttled": ("GET", "/closed", None, "rejected", "throttled"),
    "no key": ("GET", "/keyed", None, "rejected", "api_key_refused"),
    "unresolved": ("POST", "/mapped", b"{}", "rejected", "mapping_unresolved"),
    "too large": ("POST", "/messages", b"x" * 70_000, "rejected", "body_too_large"),
}


@pytest.mark.parametrize("name", ONE_EACH)
def test_each_request_ends_in_one_column(server, name):
    method, path, body, outcome, code = ONE_EACH[name]
    server.request(method, path, body)
    settled(server, received=1, **{outcome: 1})
    server.metrics().assert_balanced()
    if code:
        assert server.metrics().value("penstock_requests_total", outcome=outcome, code=code) == 1


def test_a_preflight_is_answered(server):
    server.request("OPTIONS", "/mock", headers={"origin": "https://a.example", "access-control-request-method": "GET"})
    settled(server, received=1, answered=1)


@pytest.mark.parametrize("behaviour, code", [
    (throttled("sqs"), "target_throttled"), (access_denied(), "target_setup"), (LostReply(), "outcome_unknown"), (Hang(), "outcome_unknown"),
], ids=["throttled", "denied", "lost reply", "hang"])
def test_a_failing_target_is_a_rejection_with_its_code(server, fake, behaviour, code):
    fake.always("SQS-SendMessage", behaviour)
    assert server.request("POST", "/sqs", b"x").code == code
    settled(server, received=1, rejected=1)
    assert server.metrics().value("penstock_requests_total", outcome="rejected", code=code) == 1


def test_a_client_that_leaves_before_its_body_is_whole_is_gone(server):
    with server.raw() as raw:
        raw.send("POST /messages HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
        eventually(lambda: server.metrics().ledger()["in_flight"] == 1, what="the request in flight")
    settled(server, received=1, gone=1)
    assert server.request("GET", "/next").json()["Messages"] == []


def test_a_client_that_leaves_while_its_message_is_being_stored_is_stored(server, fake):
    """The call is in an owned task: it goes on, and what it stored is in the stored column."""
    fake.always("SQS-SendMessage", Usual(after=0.8))
    with server.raw() as raw:
        raw.send("POST /sqs HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
        eventually(lambda: fake.calls, what="the call under way")
    settled(server, received=1, stored=1)


def test_a_long_poll_whose_client_stops_sending_is_answered_with_nothing(server):
    # it may have gone or still read: nobody can tell, and no message is taken for it
    with server.raw() as raw:
        raw.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        eventually(lambda: server.metrics().ledger()["in_flight"] == 1, what="the poll in flight")
    settled(server, received=1, answered=1)


def test_what_hyper_refuses_by_itself_is_received_and_malformed(server):
    with server.raw() as raw:
        raw.send("NOT HTTP AT ALL\r\n\r\n")
        raw.read_to_end()
    settled(server, received=1, rejected=1)
    assert server.metrics().value("penstock_requests_total", code="malformed") == 1


def test_a_half_head_and_a_silent_connection(server):
    with server.raw():
        pass
    with server.raw() as raw:
        raw.send("GET /mock HT")
    eventually(lambda: server.metrics().value("penstock_connections_open") == 0, what="the end of both connections")
    server.metrics().assert_balanced()


def test_it_balances_during_and_after_a_mixed_load(server, fake):
    fake.always("SQS-SendMessage", Usual(after=0.02))
    choose, stop, seen, lock = random.Random(7), threading.Event(), {}, threading.Lock()
    deals = list(ONE_EACH.values())

    def load(seed):
        dice = random.Random(seed)
        while not stop.is_set():
            method, path, body, outcome, _ = dice.choice(deals)
            kind = dice.random()
            try:
                if kind < 0.1:  # leaves in the middle
                    with server.raw() as raw:
                        raw.send(f"POST {'/sqs' if dice.random() < 0.5 else '/messages'} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
                    outcome = None
                elif kind < 0.15:
                    with server.raw() as raw:
                        raw.send("GARBAGE\r\n\r\n")
                        raw.read_to_end()
                    outcome = "rejected"
                else:
                    server.request(method, path, body)
            except (OSError, http.client.HTTPException):
                outcome = None
            with lock:
                seen[outcome] = seen.get(outcome, 0) + 1

    def scripted():
        while not stop.is_set():
            fake.answer("SQS-SendMessage", choose.choice([Usual(), Usual(after=0.1)]))
            fake.answer("EventBridge-PutEvents", refused_entry())
            time.sleep(0.05)
    threads = [threading.Thread(target=load, args=(n,)) for n in range(6)] + [threading.Thread(target=scripted)]
    for thread in threads:
        thread.start()
    ends = time.monotonic() + 4
    while time.monotonic() < ends:
        # at all times: a scrape may fall between two counters of one request, so each moment gets a few tries
        eventually(lambda: balances(server), what="a scrape that balances")
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join(240)
    ledger = settled(server)
    server.metrics().assert_balanced()
    assert ledger["stored"] == seen["stored"]
    assert ledger["answered"] == seen["answered"]
    assert ledger["rejected"] >= seen["rejected"]
    assert ledger["received"] <= sum(seen.values())


def balances(server):
    try:
        return server.metrics().assert_balanced()
    except AssertionError as complaint:
        if "does not know" in str(complaint):
            raise
        return None


# ---- the text itself ----

def test_every_sample_belongs_to_a_family_with_type_and_help(server, fake):
    for method, path, body, _, _ in ONE_EACH.values():
        server.request(method, path, body)
    metrics = server.metrics()
    assert metrics.samples and metrics.faults == []
    for sample in metrics.samples:
        family = metrics.family(sample)
        assert family, f"{sample.name} belongs to no family"
        assert metrics.helps.get(family), f"{family} has no help"
        if metrics.types[family] == "counter":
            assert sample.name.endswith("_total"), sample.name
        assert sample.name.startswith("penstock_") or sample.name.startswith("process_"), sample.name


def test_histograms_are_cumulative(server):
    server.request("POST", "/messages", b"x")
    metrics = server.metrics()
    series = {}
    for sample in metrics.samples:
        if sample.name.endswith("_bucket"):
            labels = dict(sample.labels)
            bound = float(labels.pop("le"))
            series.setdefault((sample.name, tuple(sorted(labels.items()))), []).append((bound, sample.value))
    assert series, "no histogram"
    for (name, labels), buckets in series.items():
        values = [value for _, value in sorted(buckets)]
        assert values == sorted(values), name
        assert sorted(buckets)[-1][0] == float("inf"), name
        assert metrics.value(name.removesuffix("_bucket") + "_count", **dict(labels)) == values[-1], name


def test_what_the_issue_asks_for_is_there(server, fake):
    server.request("POST", "/messages", b"x" * 100)
    server.request("POST", "/sqs", b"x")
    names = {sample.name for sample in server.metrics().samples}
    for part in ("phase", "bytes", "in_flight", "store", "commit", "target"):
        assert any(part in name for name in names), f"no metric about {part}: {sorted(names)}"


def test_labels_do_not_grow_with_what_callers_send(server):
    for number in range(50):
        server.request("GET", f"/nowhere/{number}")
        server.request("GET", "/mock", headers={f"x-{number}": "v"})
        with server.raw() as raw:
            raw.send(f"METHOD{number} /mock HTTP/1.1\r\nHost: h\r\n\r\n")
            raw.read_response()
    labels = {value for sample in server.metrics().samples for _, value in sample.labels}
    assert not [value for value in labels if "nowhere" in value or "METHOD" in value], labels
    series = [sample for sample in server.metrics().samples if sample.name == "penstock_requests_total"]
    assert len(series) < 4 * len(ROUTES), series


def test_the_official_parser_agrees(server):
    server.request("POST", "/messages", b"x")
    server.request("GET", "/nowhere")
    answer = server.admin("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert len(list(text_string_to_metric_families(answer.body.decode()))) > 10


# ---- each queue's own ledger: accepted + imported = depth + what became of the rest ----

FATES = ("deleted", "forwarded", "dead_lettered", "expired", "purged", "damaged")


def queue_balances(metrics, queue):
    def fate(name):
        return metrics.value("penstock_queue_fates_total", queue=queue, fate=name)
    depth = metrics.value("penstock_queue_messages", queue=queue)
    assert fate("accepted") + fate("imported") == depth + sum(fate(name) for name in FATES), metrics.text
    return {"depth": depth, "accepted": fate("accepted"), **{name: fate(name) for name in FATES}}


def test_a_queue_s_ledger_balances_through_sends_deletes_purges_and_dead_letters(gateway):
    def receive(queue, **more):
        return {"integration": {"SQS-ReceiveMessage": {"QueueUrl": f"queue:{queue}", **more}}}
    one = gateway(config({
        "POST /messages": ROUTES["POST /messages"],
        "GET /next": receive("orders", VisibilityTimeout=0),
        "DELETE /messages/{handle}": {"integration": {"SQS-DeleteMessage": {
            "QueueUrl": "queue:orders", "ReceiptHandle": "$request.path.handle"}}},
        "POST /purge": {"integration": {"SQS-PurgeQueue": {"QueueUrl": "queue:orders"}}},
    }, queues={"orders": {"redrive": {"to": "dead", "max_receive_count": 1}}, "dead": {}}))
    for number in range(5):
        assert one.request("POST", "/messages", str(number)).status == 202
    (first,) = one.request("GET", "/next").json()["Messages"]
    assert one.request("DELETE", "/messages/" + quote(first["ReceiptHandle"], safe="")).status == 200
    one.request("GET", "/next")
    one.request("GET", "/next")  # the one before has been received too often by now
    eventually(lambda: queue_balances(one.metrics(), "orders")["dead_lettered"] >= 1, what="a dead letter")
    one.request("POST", "/purge")
    found = eventually(lambda: (q := queue_balances(one.metrics(), "orders"))["depth"] == 0 and q, what="an empty queue")
    assert found["accepted"] == 5 and found["deleted"] == 1 and found["purged"] >= 1
    dead = queue_balances(one.metrics(), "dead")
    assert dead["depth"] == found["dead_lettered"]
    assert one.stop() == 0
    one.start()
    assert queue_balances(one.metrics(), "orders") == found, "the ledger outlives the process"
