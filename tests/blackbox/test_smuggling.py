"""Bytes that two parsers could read in two ways: never two requests out of one, and the server stays well."""

import socket

import pytest

from support.gateway import config

ROUTES = {
    "POST /messages": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}},
    "POST /hidden": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:hidden", "MessageBody": "$request.body"}}},
    "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "MaxNumberOfMessages": 10, "VisibilityTimeout": 43200}}},
    "GET /hidden": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:hidden", "VisibilityTimeout": 43200}}},
}


@pytest.fixture(scope="module")
def server(shared_gateway):
    return shared_gateway(config(ROUTES, queues={"orders": {}, "hidden": {}}))


def speak(server, data, half_close=False, at_least=1):
    """Sends the bytes and returns every response until the server closes, or has said nothing more for a second."""
    with server.raw() as raw:
        raw.try_send(data)
        if half_close:
            raw.socket.shutdown(socket.SHUT_WR)
        answers = []
        try:
            while (answer := raw.read_response()) is not None:
                answers.append(answer)
                if len(answers) >= at_least:
                    raw.socket.settimeout(1.0)
        except TimeoutError:
            assert answers and not raw.buffer, f"no answer, or half a one: {answers} {raw.buffer!r}"
        return answers


def stored(server, path="/next"):
    return [m["Body"] for m in server.request("GET", path).json()["Messages"]]


def assert_well(server):
    assert stored(server, "/hidden") == [], "a second request came out of the first"
    assert server.request("POST", "/messages", b"well").status == 202
    assert stored(server) == ["well"]


HIDDEN = b"POST /hidden HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nhid"


def post(headers, body=b"", version=b"1.1", host=b"Host: h\r\n"):
    return b"POST /messages HTTP/" + version + b"\r\n" + host + headers + b"\r\n" + body


def chunked(*pieces, headers=b"Transfer-Encoding: chunked\r\n"):
    return post(headers, b"".join(pieces))


# Refused with 400; nothing is stored and what follows is never read as a request.
REFUSED = {
    "two different lengths": post(b"Content-Length: 3\r\nContent-Length: 4\r\n", b"abcd") + HIDDEN,
    "a list of different lengths": post(b"Content-Length: 3, 4\r\n", b"abcd") + HIDDEN,
    "a length with a sign": post(b"Content-Length: +3\r\n", b"abc") + HIDDEN,
    "a negative length": post(b"Content-Length: -3\r\n", b"abc") + HIDDEN,
    "a hexadecimal length": post(b"Content-Length: 0x3\r\n", b"abc") + HIDDEN,
    "a length beyond 64 bits": post(b"Content-Length: 18446744073709551619\r\n", b"abc") + HIDDEN,
    "an empty length": post(b"Content-Length: \r\n", b"") + HIDDEN,
    "a length with a space inside": post(b"Content-Length: 1 2\r\n", b"abc") + HIDDEN,
    "an unknown transfer coding": post(b"Transfer-Encoding: xchunked\r\n", b"3\r\nabc\r\n0\r\n\r\n") + HIDDEN,
    "chunked that is not last": post(b"Transfer-Encoding: chunked, identity\r\n", b"3\r\nabc\r\n0\r\n\r\n") + HIDDEN,
    "a coding below chunked": post(b"Transfer-Encoding: gzip, chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n") + HIDDEN,
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n") + HIDDEN,
    "two codings in two headers": post(b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n") + HIDDEN,
    "a space before the colon": post(b"Content-Length : 3\r\n", b"abc") + HIDDEN,
    "a folded header": post(b"X-A: b\r\n Content-Length: 3\r\nContent-Length: 0\r\n", b"") + HIDDEN,
    "a NUL in a header": post(b"X-A: \x00\r\nContent-Length: 3\r\n", b"abc"),
    "a bare CR in a header": post(b"X-A: a\rContent-Length: 44\r\nContent-Length: 3\r\n", b"abc") + HIDDEN,
    "a header without a colon": post(b"Content-Length\r\n", b"") + HIDDEN,
    "no host": post(b"Content-Length: 3\r\n", b"abc", host=b""),
    "two hosts": post(b"Content-Length: 3\r\n", b"abc", host=b"Host: a\r\nHost: b\r\n"),
    "the same host twice": post(b"Content-Length: 3\r\n", b"abc", host=b"Host: a\r\nHost: a\r\n"),
    "a chunk size that is no number": chunked(b"zz\r\nabc\r\n0\r\n\r\n") + HIDDEN,
    "a chunk size with 0x": chunked(b"0x3\r\nabc\r\n0\r\n\r\n") + HIDDEN,
    "a negative chunk size": chunked(b"-3\r\nabc\r\n0\r\n\r\n") + HIDDEN,
    "a chunk size beyond 64 bits": chunked(b"10000000000000003\r\nabc\r\n0\r\n\r\n") + HIDDEN,
    "an empty chunk size": chunked(b"\r\nabc\r\n0\r\n\r\n") + HIDDEN,
    "a chunk longer than its size": chunked(b"3\r\nabcdef\r\n0\r\n\r\n") + HIDDEN,
    "a space in the method": b"PO ST /messages HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "no version": b"POST /messages\r\nHost: h\r\n\r\n" + HIDDEN,
    "an unknown version": b"POST /messages HTTP/1.7\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    "a space in the path": b"POST /messages /hidden HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(server, name):
    answers = speak(server, REFUSED[name])
    assert [answer.status for answer in answers] in ([400], [501], [505]), answers
    assert stored(server) == []
    assert_well(server)


def test_refusals_at_the_connection_are_in_the_ledger(server):
    before = server.metrics()
    speak(server, b"nonsense\r\n\r\n")
    server.counted(before.value("penstock_requests_received_total") + 1, "penstock_requests_received_total")
    server.counted(before.value("penstock_requests_total", code="malformed") + 1, "penstock_requests_total", code="malformed")
    server.metrics().assert_balanced()


def test_with_both_lengths_chunked_wins_and_the_connection_closes(server):
    answers = speak(server, post(b"Content-Length: 60\r\nTransfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n") + HIDDEN)
    if answers[0].status == 202:
        assert len(answers) == 1, "the connection must close: what follows has two readings"
        assert stored(server) == ["abc"]
    else:
        assert [answer.status for answer in answers] == [400]
        assert stored(server) == []
    assert_well(server)


def test_the_same_length_twice_is_one_length_or_refused(server):
    answers = speak(server, post(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"))
    assert [answer.status for answer in answers] in ([202], [400])
    assert stored(server) == (["abc"] if answers[0].status == 202 else [])
    assert_well(server)


def test_a_truncated_chunked_body_is_never_stored(server):
    for end in (b"", b"0\r\n", b"3\r\nab", b"3\r\nabc", b"3\r\nabc\r\n"):
        answers = speak(server, chunked(b"3\r\nabc\r\n", end), half_close=True)
        assert not any(answer.status < 300 for answer in answers), end
    assert stored(server) == []
    assert_well(server)


def test_a_truncated_body_is_never_stored(server):
    answers = speak(server, post(b"Content-Length: 10\r\n", b"abc"), half_close=True)
    assert not any(answer.status < 300 for answer in answers)
    assert stored(server) == []
    assert_well(server)


def test_chunk_extensions_and_trailers_are_no_part_of_the_body(server):
    answers = speak(server, chunked(b"3;name=value\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n"))
    assert [answer.status for answer in answers] == [202]
    assert stored(server) == ["abc"]
    assert_well(server)


def test_a_bare_lf_in_a_head_makes_no_second_request(server):
    answers = speak(server, b"POST /messages HTTP/1.1\nHost: h\nContent-Length: 3\n\nabc")
    assert [answer.status for answer in answers] in ([202], [400])
    stored(server)
    assert_well(server)


def test_two_honest_requests_on_one_connection_are_two(server):
    answers = speak(server, post(b"Content-Length: 3\r\n", b"one") + post(b"Content-Length: 3\r\n", b"two"), at_least=2)
    assert [answer.status for answer in answers] == [202, 202]
    assert sorted(stored(server)) == ["one", "two"]
    assert_well(server)


def test_http_1_0_without_a_host_is_served_and_closed(server):
    answers = speak(server, post(b"Content-Length: 3\r\n", b"old", version=b"1.0", host=b""))
    assert [answer.status for answer in answers] in ([202], [400], [505])
    stored(server)
    assert_well(server)


def test_http_1_0_with_chunks_makes_no_second_request(server):
    answers = speak(server, post(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"3\r\nabc\r\n0\r\n\r\n" + HIDDEN, version=b"1.0"))
    assert len(answers) <= 1
    stored(server)
    assert_well(server)


@pytest.mark.parametrize("target", [b"http://h/messages", b"//h/messages", b"/messages/..//messages", b"*", b"messages", b"/messages#x", b"/mess%00ages"])
def test_odd_request_targets_reach_their_route_or_none(server, target):
    answers = speak(server, b"POST " + target + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
    assert len(answers) == 1
    assert answers[0].status in ((202,) if target == b"http://h/messages" else (202, 400, 404, 405))
    stored(server)
    assert_well(server)


def test_a_get_with_a_body_does_not_leave_its_body_behind(server):
    answers = speak(server, b"GET /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN)
    assert [answer.status for answer in answers] == [404]
    assert_well(server)


def test_a_refused_body_does_not_become_the_next_request(server):
    answers = speak(server, b"POST /nowhere HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n")
    assert [answer.status for answer in answers] == [404]
    assert_well(server)


def test_connect_and_upgrade_open_no_tunnel(server):
    answers = speak(server, b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n")
    assert len(answers) == 1 and answers[0].status >= 400
    assert_well(server)
    answers = speak(server, post(b"Content-Length: 3\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", b"abc"))
    assert [answer.status for answer in answers] == [202]
    stored(server)
    assert_well(server)
