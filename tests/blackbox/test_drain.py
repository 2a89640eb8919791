"""Stopping: not ready, accept nothing new, finish what is in flight, cut off at the deadline, say so in the exit code."""

import http.client
import signal
import threading
import time

import pytest

from support import http1
from support.fake_aws import Hang, Held, Usual
from support.gateway import config
from support.processes import eventually

SQS = {"integration": {"SQS-SendMessage": {
    "QueueUrl": "https://sqs.us-east-1.amazonaws.com/111122223333/orders", "MessageBody": "$request.body"}}}
ROUTES = {
    "POST /sqs": SQS,
    "POST /messages": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}},
    "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "MaxNumberOfMessages": 10, "VisibilityTimeout": 43200}}},
    "GET /wait": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "WaitTimeSeconds": 20}}},
    "GET /mock": {"integration": {"Mock": {"status": 200, "body": "fine"}}},
}


def serving(gateway, fake, **limits):
    return gateway(config(ROUTES, queues={"orders": {}}, limits=limits, aws={"region": "us-east-1", "endpoint": fake.url}))


class Background:
    """A request in a thread; its answer, or what went wrong."""

    def __init__(self, one, method, path, body=None):
        self.answer = self.error = None

        def run():
            try:
                self.answer = one.request(method, path, body, timeout=120)
            except (OSError, http.client.HTTPException) as error:
                self.error = error
            self.ended = time.monotonic()
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def join(self):
        self.thread.join(240)
        assert not self.thread.is_alive()
        return self.answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_what_is_in_flight_is_finished_and_the_exit_code_is_0(gateway, fake, number):
    for operation in ("SQS-SendMessage", "SQS-SendMessageBatch"):  # some of them may share a call
        fake.always(operation, Usual(after=1.5))
    one = serving(gateway, fake, timeout="60s", drain="60s")
    slow = [Background(one, "POST", "/sqs", b"x") for _ in range(5)]
    eventually(lambda: one.metrics().value("penstock_requests_in_flight") == 5, what="the requests under way")
    one.signal(number)
    assert [each.join().status for each in slow] == [202] * 5
    assert one.wait() == 0


def test_an_idle_gateway_stops_at_once(gateway, fake):
    one = serving(gateway, fake, drain="60s")
    begun = time.monotonic()
    one.signal(signal.SIGTERM)
    assert one.wait() == 0
    assert time.monotonic() - begun < 40


def test_an_idle_keep_alive_connection_does_not_hold_the_drain(gateway, fake):
    one = serving(gateway, fake, drain="60s", idle_timeout="120s")
    with one.raw() as raw:
        raw.send("GET /mock HTTP/1.1\r\nHost: h\r\n\r\n")
        assert raw.read_response().status == 200
        begun = time.monotonic()
        one.signal(signal.SIGTERM)
        assert one.wait() == 0
        assert time.monotonic() - begun < 40
        assert raw.read_to_end() == b""


def test_while_it_drains_it_is_alive_but_not_ready_and_takes_nothing_new(gateway, fake):
    held = Held()
    fake.always("SQS-SendMessage", held)
    one = serving(gateway, fake, timeout="60s", drain="60s")
    assert one.admin("/readyz").status == 200
    kept = http.client.HTTPConnection(*one.address)
    assert http1.exchange(kept, "GET", "/mock").status == 200
    slow = Background(one, "POST", "/sqs", b"x")
    eventually(lambda: fake.calls, what="the call under way")
    one.signal(signal.SIGTERM)
    eventually(lambda: one.admin("/readyz").status == 503, what="not ready")
    assert one.admin("/livez").status == 200
    try:
        answer = one.request("GET", "/mock", timeout=1.0)
        assert answer.status == 503 and answer.code == "draining" and "retry-after" in answer.headers
    except OSError:
        pass  # refused or never accepted: as good
    try:
        answer = http1.exchange(kept, "POST", "/messages", b"late")
        assert answer.status == 503, "a 2xx would be honest too, but the gateway said that it is leaving"
        assert answer.headers.get("connection", "").lower() == "close"
    except (OSError, http.client.HTTPException):
        pass
    held.release()
    assert slow.join().status == 202
    assert one.wait() == 0


def test_at_the_deadline_requests_are_cut_off_and_the_exit_code_is_4(gateway, fake):
    fake.always("SQS-SendMessage", Hang())
    one = serving(gateway, fake, timeout="100s", drain="1s")
    slow = Background(one, "POST", "/sqs", b"x")
    eventually(lambda: fake.calls, what="the call under way")
    begun = time.monotonic()
    one.signal(signal.SIGTERM)
    assert one.wait() == 4
    assert 0.7 < time.monotonic() - begun < 60
    answer = slow.join()
    assert answer is None or answer.status == 503, "never a 2xx"


def test_a_second_signal_ends_it_at_once(gateway, fake):
    fake.always("SQS-SendMessage", Hang())
    one = serving(gateway, fake, timeout="100s", drain="100s")
    Background(one, "POST", "/sqs", b"x")
    eventually(lambda: fake.calls, what="the call under way")
    one.signal(signal.SIGTERM)
    one.says("Shutting down")
    assert one.running
    begun = time.monotonic()
    one.signal(signal.SIGTERM)
    assert one.wait() != 0
    assert time.monotonic() - begun < 60


def test_a_long_poll_ends_at_once_with_an_empty_answer(gateway, fake):
    one = serving(gateway, fake)
    poll = Background(one, "GET", "/wait")
    eventually(lambda: one.metrics().value("penstock_requests_in_flight") == 1, what="the poll in flight")
    begun = time.monotonic()
    one.signal(signal.SIGTERM)
    answer = poll.join()
    assert answer.status == 200 and answer.json()["Messages"] == []
    assert poll.ended - begun < 18, "its own end would be after 20 s"
    assert one.wait() == 0


def test_a_half_sent_body_does_not_hold_the_drain_beyond_its_deadline(gateway, fake):
    one = serving(gateway, fake, body_timeout="100s", drain="1s")
    with one.raw() as raw:
        raw.send("POST /messages HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
        eventually(lambda: one.metrics().value("penstock_requests_in_flight") == 1, what="the request in flight")
        begun = time.monotonic()
        one.signal(signal.SIGTERM)
        assert one.wait() in (0, 4)
        assert time.monotonic() - begun < 60


def test_every_accepted_message_survives_a_drain_under_load(gateway, fake):
    one = serving(gateway, fake)
    accepted, stop = [], threading.Event()

    def load(worker):
        number = 0
        while not stop.is_set():
            body = f"{worker}-{number}"
            try:
                if one.request("POST", "/messages", body).status == 202:
                    accepted.append(body)
            except (OSError, http.client.HTTPException):
                return
            number += 1
    workers = [threading.Thread(target=load, args=(n,)) for n in range(6)]
    for worker in workers:
        worker.start()
    eventually(lambda: len(accepted) > 100, what="some load")
    one.signal(signal.SIGTERM)
    assert one.wait() == 0
    stop.set()
    for worker in workers:
        worker.join(240)
    one.start()
    found = set()
    while messages := one.request("GET", "/next").json()["Messages"]:
        found.update(message["Body"] for message in messages)
    assert accepted and set(accepted) <= found
