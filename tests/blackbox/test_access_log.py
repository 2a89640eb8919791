"""The access log: one line a request, refusals and vanished clients included, in JSON or in a format of one's own."""

import http.client
import json
import re
import time

import pytest

from support.fake_aws import access_denied
from support.gateway import config
from support.http1 import exchange
from support.processes import eventually

QUEUE = "https://sqs.us-east-1.amazonaws.com/111122223333/orders"
ROUTES = {
    "POST /messages/{id}": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}},
    "POST /mapped": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body.a"}}},
    "POST /sqs": {"integration": {"SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "$request.body"}}},
    "GET /mock": {"integration": {"Mock": {"status": 200, "body": "fine"}}},
    "GET /closed": {"integration": {"Mock": {"status": 200}}, "throttle": {"rate": 0}},
    "GET /keyed": {"integration": {"Mock": {"status": 200}}, "authorizer": "api_key"},
}


def serving(gateway, fake, log=None):
    return gateway(config(
        ROUTES, queues={"orders": {}}, aws={"region": "us-east-1", "endpoint": fake.url},
        api_keys={"acme": {"hash": "sha256:" + "0" * 64}}, **({"access_log": log} if log else {})))


def formatted(one, count):
    """The lines of a log that is no JSON."""
    return eventually(lambda: (lines := one.stdout_path.read_text().splitlines()) and len(lines) >= count and lines, what=f"{count} lines")


def test_one_line_of_json_a_request_with_what_matters(gateway, fake):
    one = serving(gateway, fake)
    answer = one.request("POST", "/messages/7", b"hello", {"user-agent": "test/1"})
    line = one.log_line(answer.headers["x-request-id"])
    assert line["status"] == 202
    assert line["method"] == "POST"
    assert line["routeKey"] == "POST /messages/{id}"
    text = json.dumps(line)
    assert "127.0.0.1" in text and "stored" in text and answer.json()["messageId"] in text


REFUSALS = {
    "no route": ("GET", "/nowhere", None, 404, "no_route"),
    "wrong method": ("PUT", "/mock", b"", 405, "method_not_allowed"),
    "throttled": ("GET", "/closed", None, 429, "throttled"),
    "no key": ("GET", "/keyed", None, 403, "api_key_refused"),
    "unresolved": ("POST", "/mapped", b"{}", 400, "mapping_unresolved"),
    "a target's refusal": ("POST", "/sqs", b"x", 502, "target_setup"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_has_its_line_with_status_and_reason(gateway, fake, name):
    method, path, body, status, code = REFUSALS[name]
    fake.always("SQS-SendMessage", access_denied())
    one = serving(gateway, fake)
    answer = one.request(method, path, body)
    line = one.log_line(answer.headers["x-request-id"])
    assert line["status"] == status
    assert code in json.dumps(line)
    if name == "a target's refusal":
        assert "AccessDenied" in json.dumps(line)
    if name == "unresolved":
        assert "request.body.a" in json.dumps(line)
    assert len(one.access_log()) == 1


def test_a_client_that_vanishes_has_its_line(gateway, fake):
    one = serving(gateway, fake)
    with one.raw() as raw:
        raw.send("POST /messages/7 HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
        eventually(lambda: one.metrics().value("penstock_requests_in_flight") == 1, what="the request in flight")
    (line,) = one.access_log(at_least=1)
    assert "gone" in json.dumps(line)
    assert line["routeKey"] == "POST /messages/{id}"


def test_what_is_no_http_has_its_line_with_a_minted_id(gateway, fake):
    one = serving(gateway, fake)
    with one.raw() as raw:
        raw.send("NOT HTTP AT ALL\r\n\r\n")
        raw.read_to_end()
    (line,) = one.access_log(at_least=1)
    assert line["requestId"]
    assert "malformed" in json.dumps(line)


def test_a_thousand_requests_are_a_thousand_lines(gateway, fake):
    one = serving(gateway, fake)
    ids = set()
    connection = http.client.HTTPConnection(*one.address)
    for _ in range(1000):
        ids.add(exchange(connection, "GET", "/mock").headers["x-request-id"])
    connection.close()
    lines = one.access_log(at_least=1000)
    assert {line["requestId"] for line in lines} == ids and len(lines) == 1000


def test_phases_that_ran_have_a_status_and_the_others_a_dash(gateway, fake):
    phases = ["route", "throttle", "authenticate", "receive", "map", "store"]
    one = serving(gateway, fake, {"format": "$context.status " + " ".join(f"$context.{p}.status" for p in phases)})
    one.request("POST", "/messages/7", b"x")
    one.request("GET", "/keyed")
    one.request("POST", "/mapped", b"{}")
    one.request("GET", "/nowhere")
    lines = [line.split(" ") for line in formatted(one, 4)]
    stored, refused, unresolved, nowhere = [dict(zip(["status", *phases], line)) for line in lines]
    assert stored["status"] == "202" and stored["receive"] == "200" and stored["map"] == "200"
    assert stored["store"] not in ("-", "")
    assert refused["status"] == "403" and refused["authenticate"] == "403"
    assert refused["receive"] == refused["map"] == refused["store"] == "-"
    assert unresolved["map"] == "400" and unresolved["store"] == "-"
    assert nowhere["route"] == "404" and nowhere["map"] == "-"


def test_latencies_are_milliseconds_and_a_phase_s_is_no_more_than_the_whole(gateway, fake):
    one = serving(gateway, fake, {"format": "$context.responseLatency $context.store.latency $context.authenticate.latency $context.integrationLatency"})
    one.request("POST", "/messages/7", b"x")
    one.request("GET", "/nowhere")
    stored, nowhere = [line.split(" ") for line in formatted(one, 2)]
    whole, store, _, integration = stored
    assert float(store) <= float(whole) < 60_000
    assert float(integration) <= float(whole)
    assert float(nowhere[0]) >= 0 and nowhere[1:] == ["-", "-", "-"]


def test_errors_of_phases_say_why(gateway, fake):
    one = serving(gateway, fake, {"format": "$context.error.code|$context.map.error|$context.integrationErrorMessage|$context.error.message"})
    one.request("POST", "/mapped", b"{}")
    code, map_error, _, message = formatted(one, 1)[0].split("|")
    assert code == "mapping_unresolved" and "MessageBody" in map_error and message != "-"


PRESET = '{"requestId":"$context.requestId","ip":"$context.identity.sourceIp","agent":"$context.identity.userAgent",' \
    '"requestTime":"$context.requestTime","httpMethod":"$context.httpMethod","routeKey":"$context.routeKey",' \
    '"status":"$context.status","protocol":"$context.protocol","responseLength":"$context.responseLength","path":"$context.path"}'


@pytest.mark.parametrize("agent", ['he said "hi"', "back\\slash", "tab\there", "é".encode().decode("latin-1"), '","status":"200'])
def test_no_header_breaks_out_of_a_json_format(gateway, fake, agent):
    one = serving(gateway, fake, {"format": PRESET})
    answer = one.request("GET", "/nowhere", headers={"user-agent": agent})
    line = json.loads(formatted(one, 1)[0])
    assert line["status"] == "404" and line["requestId"] == answer.headers["x-request-id"]
    assert line["routeKey"] == "-" and line["protocol"] == "HTTP/1.1"
    if agent.isascii():
        assert line["agent"] == agent
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", line["requestTime"])


def test_the_common_log_format(gateway, fake):
    one = serving(gateway, fake, {"format": "clf"})
    answer = one.request("GET", "/mock")
    (line,) = formatted(one, 1)
    pattern = r'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET .*HTTP/1\.1" 200 \d+ ' + re.escape(answer.headers["x-request-id"])
    assert re.fullmatch(pattern, line), line


def test_it_can_go_to_a_file_that_is_appended_to_or_nowhere(gateway, fake, tmp_path):
    path = tmp_path / "access.log"
    path.write_text("what was there\n")
    one = serving(gateway, fake, {"path": str(path)})
    answer = one.request("GET", "/mock")
    eventually(lambda: answer.headers["x-request-id"] in path.read_text(), what="the line in the file")
    assert path.read_text().startswith("what was there\n")
    assert one.stdout_path.read_text() == ""
    silent = serving(gateway, fake, {"path": "none"})
    silent.request("GET", "/mock")
    silent.stop()
    assert silent.stdout_path.read_text() == ""


def test_the_last_lines_are_written_before_the_exit(gateway, fake):
    one = serving(gateway, fake)
    ids = [one.request("GET", "/mock").headers["x-request-id"] for _ in range(20)]
    assert one.stop() == 0
    assert [line["requestId"] for line in one.access_log()] == ids


def test_a_log_that_cannot_be_written_costs_no_request_and_is_counted(gateway, fake):
    one = serving(gateway, fake, {"path": "/dev/full"})
    for _ in range(20):
        assert one.request("GET", "/mock").status == 200
    eventually(lambda: any("log" in s.name and s.value > 0 for s in one.metrics().samples), what="a counter of dropped lines")


def test_keys_stay_out_of_the_log(gateway, fake):
    one = serving(gateway, fake)
    answer = one.request("GET", "/keyed?apiKey=secret-in-query", headers={"x-api-key": "secret-in-header", "authorization": "Bearer secret-token"})
    assert answer.status == 403
    one.access_log(at_least=1)
    text = one.stdout_path.read_text() + one.logs()
    assert "secret-in-header" not in text and "secret-token" not in text
