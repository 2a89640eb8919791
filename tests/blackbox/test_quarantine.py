"""Refused webhook deliveries that are kept for debugging: apart, bounded, and never taken for genuine ones."""

import base64
import hashlib
import hmac
import json
import stat

import pytest

from support.gateway import config
from support.processes import eventually

SECRET = "a-secret-of-the-tests"


def setup(**quarantine):
    authorizer = {"webhook": {"preset": "github", "secrets": [SECRET], "on_fail": "quarantine", "quarantine": quarantine}}
    routes = {"POST /hooks": {"authorizer": "github", "integration": {
        "SQS-SendMessage": {"QueueUrl": "queue:hooks", "MessageBody": "$request.body"}}}}
    return config(routes, authorizers={"github": authorizer}, queues={"hooks": {}}, auth_failures="none")


def deliver(one, body, id="d-1", secret=SECRET, **headers):
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return one.request("POST", "/hooks?a=b", body, {
        "x-github-delivery": id, "x-github-event": "push", "x-hub-signature-256": f"sha256={signature}", **headers})


def kept(one, count):
    """The files, oldest first, once the gateway has written as many."""
    one.counted(count, "penstock_webhook_quarantined_total", source="github", result="kept")
    return sorted((one.directory / "quarantine" / "github").iterdir())


def test_what_is_refused_is_kept_and_its_sender_is_told_the_same_as_ever(gateway):
    one = gateway(setup())
    refused = deliver(one, b"{}", secret="another", authorization="Bearer hunter2")
    assert refused.status == 401 and refused.code == "webhook_refused"
    (file,) = kept(one, 1)
    text = file.read_text()
    found = json.loads(text)
    assert found["requestId"] == refused.headers["x-request-id"] and found["result"] == "bad-signature"
    assert (found["method"], found["target"], found["body"], found["sourceIp"]) == ("POST", "/hooks?a=b", "{}", "127.0.0.1")
    assert found["headers"]["x-hub-signature-256"].startswith("sha256=")
    assert found["headers"]["authorization"] == "(redacted)" and "hunter2" not in text and SECRET not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert one.depth("queue") == 0


def test_it_burns_no_id_and_is_not_forwarded(gateway):
    one = gateway(setup())
    assert deliver(one, b"1", id="same", secret="another").status == 401
    kept(one, 1)
    assert deliver(one, b"1", id="same").status == 202
    assert one.depth("queue") == 1
    one.stop()
    one.start()
    assert one.depth("queue") == 1, "what is kept is read by nobody"


def test_the_oldest_goes_when_there_are_too_many_also_after_kill_9(gateway):
    one = gateway(setup(max=3))
    for number in range(4):
        assert deliver(one, b"%d" % number, secret="another").status == 401
    assert len(kept(one, 4)) == 3
    one.kill()
    one.start()
    assert deliver(one, b"last", secret="another").status == 401
    files = kept(one, 1)
    assert len(files) == 3
    assert "last" in {json.loads(file.read_text())["body"] for file in files}


def test_bytes_that_are_no_text_are_base64_and_long_bodies_are_cut(gateway):
    one = gateway(setup())
    deliver(one, b"\xff\x00" * 200_000, secret="another")
    (file,) = kept(one, 1)
    found = json.loads(file.read_text())
    assert found["bodyEncoding"] == "base64" and found["bodyTruncated"] and found["bodyBytes"] == 400_000
    assert base64.b64decode(found["body"]) == b"\xff\x00" * 131_072


def test_a_folder_that_cannot_be_written_refuses_all_the_same_and_is_said(gateway, tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    one = gateway(setup(folder=str(blocked / "below")))
    assert deliver(one, b"{}", secret="another").status == 401
    one.counted(1, "penstock_webhook_quarantined_total", source="github", result="failed")
    one.says("Refused deliveries cannot be kept")
    assert deliver(one, b"{}").status == 202


@pytest.mark.parametrize("headers", [{}, {"x-hub-signature-256": "sha256=zz"}])
def test_what_lacks_a_signature_or_has_one_that_cannot_be_read_is_kept_too(gateway, headers):
    one = gateway(setup())
    refused = one.request("POST", "/hooks", b"{}", {"x-github-delivery": "d", **headers})
    assert refused.status in (400, 401)
    (file,) = kept(one, 1)
    assert json.loads(file.read_text())["result"] == ("malformed" if headers else "missing-header")
