"""HTTP/2 cleartext on the port of HTTP/1.1, with python's h2 and, where they are installed, nghttp and h2load."""

import re
import shutil
import signal
import subprocess
import time

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import H2Error
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame, WindowUpdateFrame

from support.fake_aws import Held
from support.gateway import config
from support.http2 import Http2
from support.payloads import PAYLOADS
from support.processes import eventually

ROUTES = {
    "POST /messages": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}},
    "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "MaxNumberOfMessages": 10, "VisibilityTimeout": 43200}}},
    "GET /mock": {"integration": {"Mock": {"status": 200, "body": "fine"}}},
}
LIMITS = {"body": "300KiB", "body_timeout": "2s", "header_timeout": "2s"}


@pytest.fixture(scope="module")
def server(shared_gateway):
    return shared_gateway(config(ROUTES, queues={"orders": {}}, limits=LIMITS))


def stored(server):
    return [m["Body"] for m in server.request("GET", "/next").json()["Messages"]]


def assert_well(server):
    assert server.request("POST", "/messages", b"over 1.1").status == 202
    with Http2(server.address) as two:
        assert two.request("POST", "/messages", b"over 2").status == 202
    assert sorted(stored(server)) == ["over 1.1", "over 2"]


@pytest.mark.parametrize("name", [name for name in PAYLOADS if "UTF" not in name and "control" not in name and "U+" not in name])
def test_bytes_in_are_bytes_out(server, name):
    with Http2(server.address) as two:
        answer = two.request("POST", "/messages", PAYLOADS[name])
        assert answer.status == 202
        assert answer.headers["x-request-id"]
    assert [body.encode() for body in stored(server)] == [PAYLOADS[name]]


def test_a_hundred_interleaved_streams_each_get_their_own_answer(server):
    with Http2(server.address) as two:
        streams = [two.begin("POST", "/messages", end=False) for _ in range(50)]
        for number, stream in enumerate(streams):
            two.data(stream, f"{number}-".encode(), end=False)
        for number, stream in enumerate(streams):
            two.data(stream, str(number).encode())
        answers = [two.response(stream) for stream in streams]
    assert [answer.status for answer in answers] == [202] * 50
    assert len({answer.headers["x-request-id"] for answer in answers}) == 50
    bodies = []
    while found := stored(server):
        bodies += found
    assert sorted(bodies) == sorted(f"{n}-{n}" for n in range(50))


def test_refusals_are_the_same_as_over_http_1(server):
    with Http2(server.address) as two:
        assert two.request("GET", "/nowhere").code == "no_route"
        assert two.request("PUT", "/messages", b"").code == "method_not_allowed"


def test_a_declared_length_over_the_limit_is_413(server):
    with Http2(server.address) as two:
        stream = two.begin("POST", "/messages", [("content-length", str(301 * 1024))], end=False)
        answer = two.response(stream)
        assert answer.status == 413 and answer.code == "body_too_large"
        assert two.request("GET", "/mock").body == b"fine", "the connection lives on"


def test_a_streamed_body_over_the_limit_is_413(server):
    with Http2(server.address) as two:
        stream = two.begin("POST", "/messages", end=False)
        two.data(stream, b"x" * (320 * 1024), end=False)
        answer = two.response(stream)
        assert answer.status == 413
        assert two.request("GET", "/mock").body == b"fine", "the connection lives on"
    assert stored(server) == []


def test_headers_over_the_limit_are_431(server):
    with Http2(server.address) as two:
        answer = two.request("GET", "/mock", headers=[("x-long", "x" * 20_000)])
        assert answer is not None and answer.status == 431
    with Http2(server.address) as two:
        answer = two.request("GET", "/mock", headers=[(f"x-{n}", "v") for n in range(120)])
        assert answer is not None and answer.status == 431
    assert_well(server)


def test_a_slow_body_is_408(server):
    with Http2(server.address) as two:
        stream = two.begin("POST", "/messages", end=False)
        two.data(stream, b"abc", end=False)
        answer = two.response(stream)
        assert answer is not None and answer.status == 408
    assert stored(server) == []


@pytest.mark.parametrize("pause", [0.0, 0.3], ids=["at once", "after a while"])
@pytest.mark.parametrize("reason", list(ErrorCodes)[:3] + [ErrorCodes.CANCEL], ids=lambda reason: reason.name)
def test_a_stream_reset_by_the_client_stores_nothing(server, reason, pause):
    """hyper ends the body of such a stream without an error where the reason is NO_ERROR or CANCEL."""
    with Http2(server.address) as two:
        stream = two.begin("POST", "/messages", end=False)
        two.data(stream, b"half", end=False)
        time.sleep(pause)  # so that the server has begun, or has not: both are to end well
        two.h2.reset_stream(stream, reason)
        two.flush()
        assert two.request("GET", "/mock").body == b"fine"
    assert stored(server) == []
    eventually(lambda: server.metrics().value("penstock_requests_in_flight") == 0, what="nothing in flight")


def test_a_body_shorter_or_longer_than_declared_stores_nothing(server):
    for declared, sent in ((10, b"abc"), (2, b"abc")):
        with Http2(server.address, careful=False) as two:
            stream = two.begin("POST", "/messages", [("content-length", str(declared))], end=False)
            two.socket.sendall(DataFrame(stream, data=sent, flags=["END_STREAM"]).serialize())
            answer = two.response(stream)
            assert answer is None or answer.status >= 400, (declared, sent, answer)
    assert stored(server) == []
    assert_well(server)


PSEUDO = [(":method", "POST"), (":scheme", "http"), (":authority", "h"), (":path", "/messages")]
MALFORMED = {
    "no method": [p for p in PSEUDO if p[0] != ":method"],
    "no path": [p for p in PSEUDO if p[0] != ":path"],
    "no scheme": [p for p in PSEUDO if p[0] != ":scheme"],
    "two paths": [*PSEUDO, (":path", "/other")],
    "an empty path": [*PSEUDO[:3], (":path", "")],
    "an unknown pseudo-header": [*PSEUDO, (":odd", "x")],
    "a pseudo-header after a header": [*PSEUDO[:3], ("x-a", "b"), PSEUDO[3]],
    "an uppercase name": [*PSEUDO, ("X-Upper", "b")],
    "a connection header": [*PSEUDO, ("connection", "keep-alive")],
    "a transfer-encoding": [*PSEUDO, ("transfer-encoding", "chunked")],
    "a line break in a value": [*PSEUDO, ("x-a", "b\r\nx-c: d")],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_store_nothing(server, name):
    with Http2(server.address, careful=False) as two:
        stream = two.begin("POST", "/messages", end=True, pseudo=MALFORMED[name])
        answer = two.response(stream)
        assert answer is None or answer.status >= 400, answer
    assert stored(server) == []
    assert_well(server)


FRAMES = {
    "data on stream 0": b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x",
    "data on an idle stream": DataFrame(101, data=b"x").serialize(),
    "a frame beyond the maximum size": (1 << 20).to_bytes(3, "big") + b"\x00\x00\x00\x00\x00\x01" + b"x" * 100,
    "a reset of an idle stream": RstStreamFrame(101, error_code=0).serialize(),
    "a window update of zero": WindowUpdateFrame(0, window_increment=1).serialize()[:-4] + b"\x00\x00\x00\x00",
    "a ping of the wrong length": b"\x00\x00\x07\x06\x00\x00\x00\x00\x001234567",
    "garbage for a header block": HeadersFrame(1, data=b"\xff\xff\xff\xff\xff", flags=["END_HEADERS", "END_STREAM"]).serialize(),
    "an even stream id": HeadersFrame(2, data=b"\x82\x84\x86", flags=["END_HEADERS", "END_STREAM"]).serialize(),
}


@pytest.mark.parametrize("name", FRAMES)
def test_broken_frames_end_their_connection_and_nothing_else(server, name):
    with Http2(server.address) as two:
        two.pump()
        two.socket.sendall(FRAMES[name])
        alive = True
        try:
            while alive and two.goaway is None:
                alive = two.pump()
        except H2Error:
            alive = False  # h2 may refuse to go on after what was sent behind its back
        assert not alive or two.goaway, "the connection was neither closed nor told to go away"
    assert_well(server)


def test_pings_are_answered(server):
    with Http2(server.address) as two:
        two.h2.ping(b"12345678")
        two.flush()
        two.pump()
        assert two.request("GET", "/mock").body == b"fine"


def test_a_client_s_goaway_ends_the_connection_quietly(server):
    with Http2(server.address) as two:
        assert two.request("GET", "/mock").status == 200
        two.socket.sendall(GoAwayFrame(0, last_stream_id=0, error_code=0).serialize())
        while two.pump():
            pass
    assert_well(server)


def test_rapid_resets_do_not_hurt_others(server):
    """CVE-2023-44487: thousands of streams opened and reset at once."""
    with Http2(server.address) as two:
        try:
            for _ in range(3000):
                stream = two.begin("GET", "/mock")
                two.h2.reset_stream(stream)
                two.flush()
        except OSError:
            pass  # the server may well hang up
    assert_well(server)
    eventually(lambda: server.metrics().value("penstock_requests_in_flight") == 0, what="nothing in flight")


def test_a_drain_says_goaway_and_finishes_the_streams(gateway, fake):
    held = Held()
    fake.always("SQS-SendMessage", held)
    one = gateway(config({"POST /sqs": {"integration": {"SQS-SendMessage": {
        "QueueUrl": "https://sqs.us-east-1.amazonaws.com/111122223333/orders", "MessageBody": "$request.body"}}}},
        aws={"region": "us-east-1", "endpoint": fake.url}, limits={"timeout": "60s", "drain": "60s"}))
    with Http2(one.address) as two:
        stream = two.begin("POST", "/sqs", end=False)
        two.data(stream, b"x")
        eventually(lambda: fake.calls, what="the call under way")
        one.signal(signal.SIGTERM)
        one.says("Shutting down")
        held.release()
        answer = two.response(stream)
        assert answer is not None and answer.status == 202
        while two.goaway is None and two.pump():
            pass
        assert two.goaway == 0
    assert one.wait() == 0


def test_nghttp_and_curl_agree(server):
    nghttp, curl = shutil.which("nghttp"), shutil.which("curl")
    if not nghttp and not curl:
        pytest.skip("neither nghttp (nghttp2-client) nor curl is installed")
    if nghttp:
        ran = subprocess.run([nghttp, "-nv", server.url + "/mock"], stdout=subprocess.PIPE, text=True, timeout=120)
        assert ":status: 200" in re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout), ran.stdout
    if curl:
        ran = subprocess.run([curl, "-sS", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}", server.url + "/mock"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        if "option --http2" in ran.stderr or "nsupported protocol" in ran.stderr:
            pytest.skip("this curl has no HTTP/2")
        assert ran.stdout == "fine2 200", ran


def test_h2load_gets_nothing_but_successes(server):
    h2load = shutil.which("h2load")
    if not h2load:
        pytest.skip("h2load (nghttp2-client) is not installed")
    ran = subprocess.run([h2load, "-n", "2000", "-c", "8", "-m", "20", server.url + "/mock"],
                         stdout=subprocess.PIPE, text=True, timeout=120)
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in ran.stdout, ran.stdout
    assert "status codes: 2000 2xx" in ran.stdout, ran.stdout


def test_a_host_that_differs_from_the_authority_is_malformed(server):
    """RFC 9113, 8.3.1."""
    with Http2(server.address, careful=False) as two:
        stream = two.begin("POST", "/messages", [("host", "elsewhere.example")], end=False)
        two.data(stream, b"smuggled")
        assert two.response(stream).status == 400
    assert stored(server) == []
    assert_well(server)
