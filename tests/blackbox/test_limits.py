"""Limits of size, time and number: each has its status, and leaves the server well."""

import threading
import time

import pytest

from support.fake_aws import Hang, Held
from support.gateway import config
from support.processes import eventually

QUEUE = "https://sqs.us-east-1.amazonaws.com/111122223333/orders"
ROUTES = {
    "POST /messages": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}},
    "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders"}}},
    "GET /wait": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "WaitTimeSeconds": 20}}},
    "GET /mock": {"integration": {"Mock": {"status": 200, "body": "fine"}}},
    "POST /mock": {"integration": {"Mock": {"status": 200, "body": "fine"}}},
}


def limited(gateway, **limits):
    return gateway(config(ROUTES, queues={"orders": {}}, limits=limits))


def assert_well(one):
    """The server is fine: it stores and gives back, and nothing else is in the queue."""
    assert one.request("GET", "/mock").body == b"fine"
    assert one.request("GET", "/next").json()["Messages"] == []
    assert one.request("POST", "/messages", b"after").status == 202
    assert [m["Body"] for m in one.request("GET", "/next").json()["Messages"]] == ["after"]


# ---- size ----

def test_a_declared_length_over_the_limit_is_413_before_a_byte_of_the_body(gateway):
    one = limited(gateway, body="10KiB")
    with one.raw() as raw:
        raw.send("POST /messages HTTP/1.1\r\nHost: h\r\nContent-Length: 10241\r\nExpect: 100-continue\r\n\r\n")
        answer = raw.read_response()
        assert answer.status == 413, "not 100 Continue first"
        assert answer.code == "body_too_large"
    assert_well(one)


def test_a_body_of_exactly_the_limit_is_taken(gateway):
    one = limited(gateway, body="10KiB")
    assert one.request("POST", "/messages", b"x" * 10240).status == 202
    pieces = iter([b"x" * 5120] * 2)
    assert one.request("POST", "/messages", pieces, {"transfer-encoding": "chunked"}).status == 202


def test_expect_100_continue_is_answered_when_the_body_is_welcome(gateway):
    one = limited(gateway, body="10KiB")
    with one.raw() as raw:
        raw.send("POST /messages HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert raw.read_response().status == 100
        raw.send("ok")
        assert raw.read_response().status == 202


def test_a_chunked_body_over_the_limit_is_413_while_it_streams_and_stores_nothing(gateway):
    one = limited(gateway, body="10KiB")
    with one.raw() as raw:
        raw.send("POST /messages HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(12):
            raw.try_send(b"400\r\n" + b"x" * 1024 + b"\r\n")  # never ends
        answer = raw.read_response()
        assert answer.status == 413 and answer.code == "body_too_large"
        assert raw.is_closed(), "what is left of the body must not be read as a request"
    assert_well(one)


def test_an_endless_body_is_cut_off(gateway):
    one = limited(gateway, body="10KiB")
    with one.raw() as raw:
        raw.send("POST /messages HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n")
        assert raw.read_response().status == 413
        begun = time.monotonic()
        while time.monotonic() - begun < 60 and raw.try_send(b"x" * 65536):
            time.sleep(0.01)
        assert time.monotonic() - begun < 60, "still reading a minute after the refusal"
    assert_well(one)


def test_a_route_s_own_body_limit_counts(gateway):
    routes = {**ROUTES, "POST /big": {**ROUTES["POST /messages"], "limits": {"body": "300KiB"}}}
    one = gateway(config(routes, queues={"orders": {}}, limits={"body": "1KiB"}))
    assert one.request("POST", "/messages", b"x" * 2000).status == 413
    assert one.request("POST", "/big", b"x" * 200_000).status == 202


@pytest.mark.parametrize("head", [
    "X-Long: " + "x" * 17_000,
    "\r\n".join(f"X-{n}: {'v' * 200}" for n in range(90)),
    "\r\n".join(f"X-{n}: v" for n in range(101)),
], ids=["one long header", "many headers", "too many headers"])
def test_headers_over_the_limit_are_431(gateway, head):
    one = limited(gateway)
    with one.raw() as raw:
        raw.send(f"GET /mock HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n")
        answer = raw.read_response()
        assert answer.status == 431 and answer.code == "headers_too_large"
    assert_well(one)


def test_a_long_request_line_counts_as_headers(gateway):
    one = limited(gateway)
    with one.raw() as raw:
        raw.send(f"GET /mock?{'q' * 17_000} HTTP/1.1\r\nHost: h\r\n\r\n")
        assert raw.read_response().status in (414, 431)
    assert_well(one)


def test_a_head_that_never_ends_is_cut_off(gateway):
    one = limited(gateway)
    with one.raw() as raw:
        raw.send("GET /mock HTTP/1.1\r\nHost: h\r\nX-Endless: ")
        begun = time.monotonic()
        while time.monotonic() - begun < 60 and raw.try_send(b"x" * 16384):
            time.sleep(0.01)
        assert time.monotonic() - begun < 60, "still reading a head of many times its limit"
    assert_well(one)


# ---- time ----

def test_a_slow_head_is_408(gateway):
    one = limited(gateway, header_timeout="2s")
    with one.raw() as raw:
        begun = time.monotonic()
        raw.send("GET /mock HTTP/1.1\r\nHost: h\r\nX-Slow: ")
        answer = raw.read_response()
        assert answer is not None and answer.status == 408
        assert time.monotonic() - begun > 1.5
        assert raw.is_closed()
    assert_well(one)


def test_a_head_that_drips_is_408_too(gateway):
    one = limited(gateway, header_timeout="2s")
    with one.raw() as raw:
        raw.send("GET /mock HTTP/1.1\r\nHost: h\r\n")
        begun = time.monotonic()
        while time.monotonic() - begun < 60 and raw.try_send("X-A: b\r\n"):
            time.sleep(0.2)
        assert time.monotonic() - begun < 60, "each byte bought more time"
    assert_well(one)


@pytest.mark.parametrize("beginning", [b"", b"P", b"G", b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n"],
                         ids=["silence", "a P", "a G", "half a preface", "a preface alone", "an empty line"])
def test_a_connection_that_says_too_little_is_closed(gateway, beginning):
    one = limited(gateway, header_timeout="2s", idle_timeout="2s")
    with one.raw() as raw:
        begun = time.monotonic()
        if beginning:
            raw.send(beginning)
        raw.read_to_end()
        assert time.monotonic() - begun < 55, "still open"
    assert_well(one)


def test_an_idle_connection_is_closed_without_a_408(gateway):
    one = limited(gateway, idle_timeout="2s", header_timeout="100s")
    with one.raw() as raw:
        raw.send("GET /mock HTTP/1.1\r\nHost: h\r\n\r\n")
        assert raw.read_response().status == 200
        begun = time.monotonic()
        assert raw.read_to_end() == b""
        assert 1.2 < time.monotonic() - begun < 55


def test_a_slow_body_is_408_and_stores_nothing(gateway):
    one = limited(gateway, body_timeout="2s")
    with one.raw() as raw:
        begun = time.monotonic()
        raw.send("POST /messages HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
        answer = raw.read_response()
        assert answer.status == 408 and answer.code == "timeout"
        assert time.monotonic() - begun > 1.5
        assert raw.is_closed()
    assert_well(one)


def test_a_body_that_drips_is_408_too(gateway):
    one = limited(gateway, body_timeout="2s")
    with one.raw() as raw:
        raw.send("POST /messages HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        begun = time.monotonic()
        while time.monotonic() - begun < 60 and raw.try_send("1\r\nx\r\n"):
            time.sleep(0.2)
        assert time.monotonic() - begun < 60, "each byte bought more time"
    assert_well(one)


def test_the_request_s_timeout_ends_a_hanging_target(gateway, fake):
    fake.always("SQS-SendMessage", Hang())
    one = gateway(config({"POST /sqs": {"integration": {"SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "$request.body"}}}},
                         aws={"region": "us-east-1", "endpoint": fake.url}, limits={"timeout": "1s"}))
    begun = time.monotonic()
    assert one.request("POST", "/sqs", b"x").status == 503
    assert time.monotonic() - begun < 55


def test_a_client_that_does_not_read_its_answer_holds_nothing_for_ever(gateway):
    routes = {**ROUTES, "GET /much": {"integration": {"Mock": {"status": 200, "body": "x" * 500_000}}}}
    one = gateway(config(routes, queues={"orders": {}}, limits={"idle_timeout": "2s", "header_timeout": "2s"}))
    with one.raw() as raw:
        for _ in range(40):
            if not raw.try_send("GET /much HTTP/1.1\r\nHost: h\r\n\r\n"):
                break
        time.sleep(0.5)
    assert_well(one)
    eventually(lambda: one.metrics().value("penstock_requests_in_flight") == 0, what="no request in flight")


# ---- number ----

def test_requests_over_the_limit_in_flight_are_503_until_one_ends(gateway, fake):
    held = Held()
    fake.always("SQS-SendMessage", held)
    routes = {**ROUTES, "POST /sqs": {"integration": {"SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "$request.body"}}}}
    one = gateway(config(routes, queues={"orders": {}}, limits={"in_flight": 2, "timeout": "60s"},
                         targets={"default": {"requests": 2, "batch": "none"}}, aws={"region": "us-east-1", "endpoint": fake.url}))
    slow = []
    threads = [threading.Thread(target=lambda: slow.append(one.request("POST", "/sqs", b"x").status)) for _ in range(2)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(fake.calls) == 2, what="both calls under way")
    refused = one.request("GET", "/mock")
    assert refused.status == 503 and refused.code == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    held.release()
    for thread in threads:
        thread.join()
    assert slow == [202, 202]
    eventually(lambda: one.request("GET", "/mock").status == 200, what="room again")


def test_connections_over_the_limit_are_turned_away_while_all_are_busy(gateway):
    one = limited(gateway, connections=2)
    first, second = one.raw(), one.raw()
    for raw in (first, second):
        raw.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
    eventually(lambda: one.metrics().value("penstock_requests_in_flight") == 2, what="both polls under way")
    with one.raw() as third:
        third.try_send("GET /mock HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = third.read_response()
        assert answer is None or answer.status == 503
    first.socket.close()
    second.socket.close()

    def served():
        try:
            return one.request("GET", "/mock").status == 200
        except OSError:
            return False
    eventually(served, what="an answer after the others closed")


def test_a_burst_is_let_through_and_the_rate_after_it(gateway):
    routes = {"GET /mock": {"integration": {"Mock": {"status": 200}}, "throttle": {"rate": 10, "burst": 5}},
              "GET /free": {"integration": {"Mock": {"status": 200}}, "throttle": False}}
    one = gateway(config(routes, throttle={"rate": 0.001, "burst": 1}))
    begun = time.monotonic()
    statuses = [one.request("GET", "/mock").status for _ in range(30)]
    took = time.monotonic() - begun
    passed = statuses.count(200)
    assert statuses[:5] == [200] * 5
    assert passed <= 5 + int(10 * took) + 1
    assert set(statuses) == {200, 429} or took > 2.4
    assert [one.request("GET", "/free").status for _ in range(5)] == [200] * 5
    time.sleep(0.25)
    assert one.request("GET", "/mock").status == 200


def test_every_route_has_its_own_copy_of_the_default_bucket(gateway):
    routes = {f"GET /{n}": {"integration": {"Mock": {"status": 200}}} for n in "ab"}
    one = gateway(config(routes, throttle={"rate": 0.001, "burst": 2}))
    for path in ("/a", "/b"):
        assert [one.request("GET", path).status for _ in range(3)] == [200, 200, 429]


def test_a_body_slower_than_the_target_s_timeout_is_stored_once_and_acknowledged(gateway):
    """The time that a caller takes to send is not the target's: it has limits of its own."""
    one = limited(gateway, body_timeout="100s", timeout="3s")
    with one.raw() as raw:
        raw.send("POST /messages HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nsl")
        time.sleep(3.5)
        raw.send("ow")
        assert raw.read_response().status == 202
    assert [message["Body"] for message in one.request("GET", "/next").json()["Messages"]] == ["slow"]
    assert one.request("GET", "/next").json()["Messages"] == []
