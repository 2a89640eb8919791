"""Requests of a running gateway are recorded without their credentials, and replayed as what they were: nothing differs
from the configuration that served them, and exactly what was changed differs from another one."""

import base64
import hashlib
import hmac
import json
import os
import signal
import stat
import subprocess
import time

import pytest

from support import signing
from support.gateway import BINARY, config, environment, penstock, write_config
from support.http2 import Http2
from support.oidc import Provider
from support.processes import eventually

KEY = "psk_" + "k" * 43
HOOK = "a-secret-of-the-hooks"
TEXT = '{"n":1,"name":"Jürgen ✓"}'.encode()
BINARY_BODY = bytes(range(256))


@pytest.fixture(scope="module")
def forger(tmp_path_factory):
    one = Provider("forger.mjs", tmp_path_factory.mktemp("forger"))
    yield one.start()
    one.stop()


def queue(authorizer="none", **attributes):
    """A route that stores; what its attributes are mapped from is what a replay has to know."""
    return {"authorizer": authorizer, "integration": {"SQS-SendMessage": {
        "QueueUrl": "queue:orders", "MessageBody": "$request.body",
        "MessageAttributes": {"id": "$context.requestId", "deployment": "$context.deploymentId", **attributes}}}}


def shop(issuer, more=None, **sections):
    routes = {
        "POST /open": queue(tenant="${request.header.x-tenant:-none}", from_="$context.identity.sourceIp"),
        "POST /keyed": queue("keys", who="$context.identity.apiKeyId"),
        "POST /tokens": queue("partners", who="$context.authorizer.claims.sub", issuer="$context.authorizer.claims.iss"),
        "POST /signed": queue("users", who="$context.authorizer.principalId"),
        "POST /hooks/github": queue("github", delivery="$webhook.id", type="$webhook.type"),
        "POST /hooks/mailgun": queue("mailgun", type="$webhook.type"),
        "GET /hello": {"integration": {"Mock": {"body": "hi"}}},
        **(more or {}),
    }
    hook = lambda preset: {"webhook": {"preset": preset, "secrets": [HOOK]}}
    user = {"name": "ann", "access_key_id": signing.KEY, "secret_access_key": signing.SECRET}
    return config(
        routes, queues={"orders": {}}, aws={"region": "us-east-1"},
        api_keys={"acme": {"hash": "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()}},
        authorizers={
            "keys": {"api_key": {"from": ["header:x-partner", "query:pass"]}},
            "partners": {"jwt": {"issuer": issuer, "audience": ["shop"]}},
            "users": {"sigv4": {"credentials": [user]}},
            "github": hook("github"), "mailgun": hook("mailgun"),
        },
        **sections,
    )


def mac(text):
    return hmac.new(HOOK.encode(), text, hashlib.sha256).hexdigest()


class Recorder:
    """`penstock capture`, until it ends."""

    def __init__(self, gateway, path, *arguments):
        self.path = path
        self.log = path.with_suffix(".log")
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                [BINARY, "capture", "--out", path, "--admin", "http://{}:{}".format(*gateway.admin_address), *arguments],
                env=environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        eventually(lambda: path.exists() and path.stat().st_size, what="the recording begins")

    def end(self):
        assert self.child.wait(60) == 0, self.log.read_text()
        return self.lines()

    def lines(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def everything(one, forger):
    """Sends one request of each kind; the credentials that were sent."""
    token = forger.forged({"iss": forger.issuer, "aud": "shop", "sub": "ann", "exp": int(time.time()) + 600})
    statuses = []
    def sent(method, path, body=None, headers=None):
        statuses.append(one.request(method, path, body, headers or {}).status)
    sent("GET", "/hello?page=2")
    sent("GET", "/nothing")
    sent("POST", "/open?sid=query-session", TEXT, {"x-tenant": "a", "cookie": "c=cookie-monster"})
    sent("POST", "/keyed", TEXT, {"x-partner": KEY})
    sent("POST", f"/keyed?pass={KEY}&a=1", TEXT)
    sent("POST", "/keyed", TEXT, {"x-partner": "a-wrong-key"})
    sent("POST", "/tokens", TEXT, {"authorization": f"Bearer {token}"})
    signed = signing.botocore(one, "POST", "/signed", TEXT)
    statuses.append(signing.send(one, signed, "POST", TEXT).status)
    body = b'{"action":"opened"}'
    sent("POST", "/hooks/github", body, {"x-hub-signature-256": "sha256=" + mac(body), "x-github-delivery": "d-1",
                                         "x-github-event": "push"})
    at = str(int(time.time()))
    mail = {"signature": {"timestamp": at, "token": "t" * 50, "signature": mac((at + "t" * 50).encode())},
            "event-data": {"event": "opened"}}
    sent("POST", "/hooks/mailgun", json.dumps(mail, indent=1).encode(), {"content-type": "application/json"})
    with Http2(one.address) as two:
        statuses.append(two.request("POST", "/tokens", b'{"over":2}', [("authorization", f"Bearer {token}")]).status)
        statuses.append(two.request("POST", "/open", BINARY_BODY).status)
    assert statuses == [200, 404, 202, 202, 202, 403, 202, 202, 202, 202, 202, 202], statuses
    authorization = signed[1]["Authorization"]
    credentials = [token, KEY, "a-wrong-key", authorization, authorization.split("Signature=")[1], "cookie-monster",
                   "query-session", mac(body), mail["signature"]["signature"]]
    return len(statuses), credentials


def replayed(one, recording, new, code, *arguments):
    path = write_config(one.directory, new, "new.yaml")
    admin = "http://{}:{}".format(*one.admin_address)
    done = penstock("replay", "--from", recording, path, "--admin", admin, "--json", *arguments, cwd=one.directory)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_what_a_gateway_served_is_recorded_without_credentials_and_differs_in_nothing(gateway, forger, tmp_path):
    document = shop(forger.issuer)
    one = gateway(document)
    recorder = Recorder(one, tmp_path / "capture.jsonl", "--requests", "12")
    sent, credentials = everything(one, forger)
    beginning, *requests, end = recorder.end()
    assert (beginning["penstock"], beginning["version"]) == ("capture", 1)
    assert (end["penstock"], end["requests"], end["lost"], end["reason"]) == ("end", sent, 0, "requests")
    assert len(requests) == sent and stat.S_IMODE(recorder.path.stat().st_mode) == 0o600
    text = recorder.path.read_text()
    for credential in credentials:
        assert credential not in text, credential
    by_path = {}
    for request in requests:
        by_path.setdefault(request["path"].split("?")[0], []).append(request)
    opened = by_path["/open"]
    assert opened[0]["text"].encode() == TEXT and opened[0]["path"] == "/open?sid=struck-out"
    assert base64.b64decode(opened[1]["body"]) == BINARY_BODY and opened[1]["protocol"] == "HTTP/2.0"
    keyed = by_path["/keyed"]
    assert [r["status"] for r in keyed] == [202, 202, 403] and keyed[2]["omitted"] == "not_accepted"
    assert keyed[1]["path"] == "/keyed?pass=struck-out&a=1" and keyed[0]["identity"]["apiKey"] == "acme"
    assert by_path["/tokens"][0]["identity"]["claims"]["sub"] == "ann"
    assert by_path["/hooks/github"][0]["identity"]["delivery"]["id"] == "d-1"
    mail = json.loads(by_path["/hooks/mailgun"][0]["text"])
    assert mail["signature"]["signature"] == "struck-out" and mail["event-data"] == {"event": "opened"}

    same = replayed(one, recorder.path, document, 0)
    # The request with the wrong key was never read, so nobody knows what would be called.
    assert (same["requests"], same["same"], same["untold"], same["differs"]) == (sent, sent - 1, 1, 0), same


def test_a_replay_shows_exactly_what_another_configuration_would_do_otherwise(gateway, forger, tmp_path):
    one = gateway(shop(forger.issuer))
    recorder = Recorder(one, tmp_path / "capture.jsonl", "--requests", "12")
    everything(one, forger)
    recorder.end()
    changed = shop(forger.issuer, {
        "POST /tokens": queue("partners", who="$context.authorizer.claims.iss", issuer="$context.authorizer.claims.iss"),
        "POST /hooks/github": queue("github", delivery="$webhook.type", type="$webhook.type"),
    })
    del changed["routes"]["GET /hello"]
    report = replayed(one, recorder.path, changed, 1)
    assert report["differs"] == 4, report
    differences = {d["request"]: d for d in report["differences"]}
    assert set(differences) == {"GET /hello", "POST /tokens", "POST /hooks/github"}
    assert (differences["GET /hello"]["before"]["status"], differences["GET /hello"]["after"]["status"]) == (None, 404)

    def attribute(request, side, name):
        call = differences[request][side]["call"]["SQS-SendMessage"]
        return call["MessageAttributes"][name]["StringValue"]
    assert [attribute("POST /tokens", side, "who") for side in ("before", "after")] == ["ann", forger.issuer]
    assert [attribute("POST /hooks/github", side, "delivery") for side in ("before", "after")] == ["d-1", "push"]


def test_a_recording_of_one_route_ends_with_its_time_or_by_hand_and_never_overwrites(gateway, tmp_path):
    one = gateway(config({"POST /open": queue(), "GET /hello": {"integration": {"Mock": {}}}}, queues={"orders": {}}))
    recorder = Recorder(one, tmp_path / "one.jsonl", "--seconds", "2", "--route", "POST /open", "--max-body", "4")
    for body in (b"abcd", b"abcde"):
        assert one.request("POST", "/open", body).status == 202
        assert one.request("GET", "/hello").status == 200
    _, short, long, end = recorder.end()
    assert (short["text"], end["reason"]) == ("abcd", "time")
    assert (long["omitted"], long["bytes"], "text" in long) == ("too_long", 5, False)
    admin = "http://{}:{}".format(*one.admin_address)
    again = penstock("capture", "--out", recorder.path, "--admin", admin)
    assert again.returncode == 1 and "remove it" in again.stderr
    wrong = penstock("capture", "--out", tmp_path / "x", "--route", "POST /opne", "--admin", admin)
    assert wrong.returncode == 1 and "POST /open" in wrong.stderr and not (tmp_path / "x").exists()
    by_hand = Recorder(one, tmp_path / "hand.jsonl")
    one.request("POST", "/open", b"x")
    eventually(lambda: len(by_hand.lines()) == 2)
    by_hand.child.send_signal(signal.SIGINT)
    assert len(by_hand.end()) == 2
    # Whoever asked has gone, and with them the recording.
    one.says('reason="left"')
    assert one.request("POST", "/open", b"x").status == 202
    one.counted(3, "penstock_capture_requests_total")


def test_recording_is_for_those_who_may_see_messages(gateway, tmp_path):
    one = gateway(config({"GET /hello": {"integration": {"Mock": {}}}},
                         admin={"bind": "127.0.0.1:0", "token": "the-token-of-an-operator"}))
    admin = "http://{}:{}".format(*one.admin_address)
    refused = penstock("capture", "--out", tmp_path / "x", "--admin", admin)
    assert refused.returncode == 1 and "admin.token" in refused.stderr


def standing(one):
    """The lines of a standing recording."""
    files = sorted((one.directory / "captures").glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines() if '"method"' in line]


def test_a_standing_recording_follows_the_configuration_and_is_replayed_as_a_folder(gateway, tmp_path):
    routes = {"POST /open": queue(tenant="${request.header.x-tenant:-none}")}
    with_capture = config(routes, queues={"orders": {}}, capture={"path": "captures", "redact": ["header:x-tenant"]})
    one = gateway(with_capture)
    assert one.request("POST", "/open", TEXT, {"x-tenant": "whose"}).status == 202
    eventually(lambda: len(standing(one)) == 1)
    [line] = standing(one)
    assert line["text"].encode() == TEXT and "whose" not in json.dumps(line)
    for path in (one.directory / "captures").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_config(one.directory, config(routes, queues={"orders": {}}))
    eventually(lambda: one.says("A new configuration runs"))
    assert one.request("POST", "/open", TEXT).status == 202
    write_config(one.directory, with_capture)
    eventually(lambda: one.logs().count("A new configuration runs") == 2, what="the second change")
    for _ in range(20):
        assert one.request("POST", "/open", TEXT).status == 202
    eventually(lambda: len(standing(one)) == 21)
    same = replayed(one, one.directory / "captures", with_capture, 0)
    assert (same["requests"], same["same"]) == (21, 21)


def test_a_disk_that_is_full_costs_the_recording_and_no_request(gateway, tmp_path):
    one = gateway(config({"POST /open": queue()}, queues={"orders": {}}, capture={"path": "/dev/full/captures"}))
    for _ in range(20):
        assert one.request("POST", "/open", TEXT).status == 202
    one.counted(20, "penstock_capture_lost_total", reason="not_written")
    assert one.depth("queue") == 20
    assert one.logs().count("Requests cannot be recorded") == 1
