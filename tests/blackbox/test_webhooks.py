"""Webhook deliveries from end to end: what is genuine is stored once, what is not stores nothing and burns no id, and
senders' questions are answered at the edge."""

import base64
import hashlib
import hmac
import json
import re
import stat
import time

import pytest

from support.gateway import REPOSITORY, config, penstock, write_config

SECRET = "a-secret-of-the-tests"
ATTESTATION = "an-attestation-key-of-32-bytes!!"
QUEUE = {"SQS-SendMessage": {
    "QueueUrl": "queue:hooks",
    "MessageBody": "$request.body",
    "MessageAttributes": {"source": "$webhook.source", "type": "${webhook.type:-none}", "id": "${webhook.id:-none}"},
}}


def hook(preset, **written):
    return {"webhook": {"preset": preset, "secrets": [SECRET], **written}}


def route(authorizer, **written):
    return {"authorizer": authorizer, "integration": QUEUE, **written}


AUTHORIZERS = {
    "github": hook("github", secrets=["an-older-secret", SECRET]),
    "stripe": hook("stripe"),
    "slack": hook("slack"),
    "mailgun": hook("mailgun"),
    "zoom": hook("zoom"),
    "meta": hook("meta", config={"verify_token": "meaty"}),
    "trello": hook("trello", public_url="https://hooks.example.com/hooks/trello"),
}


def document(**sections):
    routes = {f"POST /hooks/{name}": route(name) for name in AUTHORIZERS}
    routes["POST /plain/github"] = route("github", idempotency=False)
    routes["POST /own/slack"] = route("slack", response={"status": 201, "headers": {"x-kind": "$webhook.type"}})
    return config(routes, authorizers=AUTHORIZERS, queues={"hooks": {}}, **sections)


@pytest.fixture(scope="module")
def hooks(shared_gateway):
    return shared_gateway(document())


def mac(message, secret=SECRET):
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def github(gateway, body, id="d-1", secret=SECRET, path="/hooks/github", **headers):
    signed = {"x-hub-signature-256": "sha256=" + mac(body, secret), "x-github-delivery": id, "x-github-event": "push"}
    return gateway.request("POST", path, body, {**signed, **headers})


def stripe(gateway, body, at=None):
    at = int(time.time()) if at is None else at
    return gateway.request("POST", "/hooks/stripe", body, {"stripe-signature": f"t={at},v1={mac(f'{at}.'.encode() + body)}"})


def slack(gateway, body, path="/hooks/slack"):
    at = str(int(time.time()))
    signature = "v0=" + mac(f"v0:{at}:".encode() + body)
    return gateway.request("POST", path, body, {"x-slack-signature": signature, "x-slack-request-timestamp": at})


def stored(gateway, needle):
    """The messages whose body holds a text."""
    return [message for message in gateway.peek("hooks") if needle in json.dumps(message)]


def counted(gateway, source, result):
    return gateway.metrics().value("penstock_webhook_deliveries_total", source=source, result=result)


def test_a_genuine_delivery_is_stored_with_what_was_verified(hooks):
    answer = github(hooks, b'{"genuine":1}', "genuine-1")
    assert answer.status == 202, answer
    [message] = stored(hooks, "genuine-1")
    assert "push" in json.dumps(message) and '"github"' in json.dumps(message)
    line = hooks.log_line(answer.headers["x-request-id"])
    assert line["webhook"] == {"source": "github", "id": "genuine-1", "type": "push", "key": 1}


@pytest.mark.parametrize("signature, status, result", [
    ("sha256=" + "0" * 64, 401, "bad-signature"),
    ("sha256=zz", 400, "malformed"),
    (None, 401, "missing-header"),
])
def test_what_is_not_signed_stores_nothing_and_burns_no_id(hooks, signature, status, result):
    body, id = json.dumps({"forged": result}).encode(), f"forged-{result}"
    before = counted(hooks, "github", result)
    headers = {"x-github-delivery": id, **({"x-hub-signature-256": signature} if signature else {})}
    refused = hooks.request("POST", "/hooks/github", body, headers)
    assert (refused.status, refused.code) == (status, "webhook_refused"), refused
    assert SECRET.encode() not in refused.body and mac(body).encode() not in refused.body
    line = hooks.log_line(refused.headers["x-request-id"])
    assert (line["phase"], line["code"]) == ("verify", "webhook_refused") and f"github: {result}:" in line["error"]
    assert SECRET not in json.dumps(line) and mac(body) not in json.dumps(line)
    assert counted(hooks, "github", result) == before + 1
    assert stored(hooks, id) == []
    genuine = github(hooks, body, id)
    assert genuine.status == 202 and "idempotency-replayed" not in genuine.headers
    assert len(stored(hooks, id)) == 1


def test_a_repeated_delivery_is_stored_once_and_gets_the_first_answer(hooks):
    body = b'{"id":"evt_repeated","type":"paid"}'
    first, again = stripe(hooks, body), stripe(hooks, body, int(time.time()) - 60)
    assert (first.status, again.status) == (202, 202)
    assert "idempotency-replayed" not in first.headers and again.headers["idempotency-replayed"] == "true"
    assert first.json() == again.json() and len(stored(hooks, "evt_repeated")) == 1


def test_a_known_id_with_another_body_is_stored_and_counted(hooks):
    route = "POST /hooks/github"
    assert [github(hooks, body, "same-id").status for body in (b"a", b"b")] == [202, 202]
    assert len(stored(hooks, "same-id")) == 2
    assert hooks.metrics().value("penstock_idempotency_keys_total", route=route, result="mismatch_stored") >= 1


def test_an_id_that_is_signed_apart_from_its_body_serves_one_body_only(hooks):
    at = str(int(time.time()))
    def delivery(event):
        signature = {"timestamp": at, "token": "single-use", "signature": mac(f"{at}single-use".encode())}
        body = json.dumps({"signature": signature, "event-data": {"event": event}}).encode()
        return hooks.request("POST", "/hooks/mailgun", body)
    assert delivery("delivered").status == 202
    assert delivery("delivered").headers["idempotency-replayed"] == "true"
    assert (delivery("opened").status, delivery("opened").code) == (422, "idempotency_mismatch")


def test_a_route_can_do_without_ids(hooks):
    assert [github(hooks, b"x", "unkeyed", path="/plain/github").status for _ in range(2)] == [202, 202]
    assert len(stored(hooks, "unkeyed")) == 2


def test_old_and_early_deliveries_are_refused_as_such(hooks):
    for at, result in ((int(time.time()) - 400, "stale"), (int(time.time()) + 400, "future")):
        before = counted(hooks, "stripe", result)
        refused = stripe(hooks, b'{"id":"evt_old"}', at)
        assert (refused.status, refused.code) == (401, "webhook_refused")
        assert counted(hooks, "stripe", result) == before + 1
    assert stored(hooks, "evt_old") == []


def test_a_header_that_came_twice_is_never_chosen_from(hooks):
    body = b"twice"
    good = f"x-hub-signature-256: sha256={mac(body)}\r\n".encode()
    raw = hooks.raw()
    raw.send(b"POST /hooks/github HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n" + good + good + b"\r\n" + body)
    assert raw.read_response().status == 400
    assert stored(hooks, "twice") == []


def test_the_sender_s_ack_answers_a_stored_delivery_and_the_route_s_response_wins(hooks):
    answer = slack(hooks, b'{"event_id":"Ev1","event":{"type":"message"}}')
    assert (answer.status, answer.body, answer.headers.get("content-type")) == (200, b"", None)
    own = slack(hooks, b'{"event_id":"Ev2","event":{"type":"message"}}', "/own/slack")
    assert (own.status, own.headers["x-kind"]) == (201, "message")


def test_questions_are_answered_and_nothing_is_stored_by_them(hooks):
    before = len(hooks.peek("hooks"))
    challenge = slack(hooks, b'{"type":"url_verification","challenge":"c-1"}')
    assert (challenge.status, challenge.body, challenge.headers["content-type"]) == (200, b"c-1", "text/plain")
    meta = hooks.request("GET", "/hooks/meta?hub.mode=subscribe&hub.challenge=115&hub.verify_token=meaty")
    assert (meta.status, meta.body) == (200, b"115")
    assert (meta.headers["x-content-type-options"], meta.headers["cache-control"]) == ("nosniff", "no-store")
    wrong = hooks.request("GET", "/hooks/meta?hub.mode=subscribe&hub.challenge=115&hub.verify_token=other")
    assert (wrong.status, wrong.code) == (403, "webhook_refused")
    assert hooks.request("HEAD", "/hooks/trello").status == 200
    assert hooks.request("GET", "/hooks/meta?hub.mode=subscribe&hub.challenge=a%0d%0ab&hub.verify_token=meaty").status == 400
    assert len(hooks.peek("hooks")) == before


def test_another_request_by_a_question_s_method_is_405(hooks):
    for method, path in (("GET", "/hooks/meta"), ("GET", "/hooks/github"), ("DELETE", "/hooks/meta")):
        answer = hooks.request(method, path)
        assert (answer.status, answer.code) == (405, "method_not_allowed"), answer
        assert "POST" in answer.headers["allow"]


def test_a_keyed_answer_goes_to_a_bare_token_in_a_signed_question(hooks):
    def validation(token, secret=SECRET):
        at = str(int(time.time()))
        body = json.dumps({"event": "endpoint.url_validation", "payload": {"plainToken": token}}).encode()
        signature = "v0=" + mac(f"v0:{at}:".encode() + body, secret)
        return hooks.request("POST", "/hooks/zoom", body, {"x-zm-signature": signature, "x-zm-request-timestamp": at})
    assert validation("abc").json() == {"plainToken": "abc", "encryptedToken": mac(b"abc")}
    assert validation("abc", "another").status == 401
    assert mac(b'v0:1:{"a":1}').encode() not in validation('v0:1:{"a":1}').body


def asana(directory):
    return config(
        {"POST /hooks/asana": route("asana")}, queues={"hooks": {}},
        authorizers={"asana": {"webhook": {"preset": "asana", "state": "awaiting-secret", "secret_file": "asana.secret"}}},
    )


def test_a_captured_secret_closes_the_source_and_outlives_a_restart(gateway, tmp_path):
    one = gateway(asana(tmp_path))
    capture = lambda secret: one.request("POST", "/hooks/asana", b"{}", {"x-hook-secret": secret})
    explained = penstock("explain", one.config, "POST", "/hooks/asana", "-H", "x-hook-secret: a", "-d", "{}", cwd=one.directory)
    assert "handshake" in explained.stdout and not (one.directory / "asana.secret").exists(), explained
    first = capture("the-secret")
    assert (first.status, first.headers["x-hook-secret"]) == (200, "the-secret")
    kept = one.directory / "asana.secret"
    assert kept.read_text().strip() == "the-secret" and stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert capture("another").status == 401
    one.stop()
    one.start()
    assert capture("another").status == 401
    body = b'{"events":[]}'
    assert one.request("POST", "/hooks/asana", body, {"x-hook-signature": mac(body, "the-secret")}).status == 202
    assert "the-secret" not in one.logs()


def test_explain_says_why_and_not_what(tmp_path):
    file = write_config(tmp_path, document())
    def explained(signature, body="{}"):
        arguments = ["-H", f"x-hub-signature-256: sha256={signature}", "-H", "x-github-delivery: e-1", "-d", body]
        return penstock("explain", file, "POST", "/hooks/github", *arguments, cwd=tmp_path)
    genuine = explained(mac(b"{}"))
    assert genuine.returncode == 0 and "secret 1 matched, id e-1" in genuine.stdout, genuine
    for signature, word in ((mac(b"other"), "bad-signature"), ("zz", "malformed")):
        refused = explained(signature)
        assert refused.returncode == 1 and word in refused.stdout, refused
        assert SECRET not in refused.stdout and mac(b"{}") not in refused.stdout
    assert "+GET" in penstock("routes", file, cwd=tmp_path).stdout


def test_a_consumer_can_check_the_statement_as_the_page_says(gateway):
    page = (REPOSITORY / "docs" / "webhooks.md").read_text()
    snippet = {}
    exec(re.search(r"```python\n(.*?)```", page, re.S)[1], snippet)
    verified, key = snippet["verified"], ATTESTATION.encode()
    integration = {"SQS-SendMessage": {
        "QueueUrl": "queue:hooks", "MessageBody": "$request.body", "MessageAttributes": {"attestation": "$webhook.attestation"}}}
    one = gateway(config(
        {"POST /hooks/github": {"authorizer": "github", "integration": integration}}, queues={"hooks": {}},
        authorizers={"github": hook("github", attestation={"key": ATTESTATION})},
    ))
    answer = github(one, b'{"a":1}', "attested")
    assert answer.status == 202, answer
    [message] = one.peek("hooks")
    statement = re.search(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", json.dumps(message))[0]
    claims = verified(statement, b'{"a":1}', key)
    assert (claims["source"], claims["id"], claims["key"]) == ("github", "attested", 0)
    assert claims["requestId"] == answer.headers["x-request-id"]
    for wrong in ((statement, b'{"a":2}', key), (statement, b'{"a":1}', b"another-key-of-the-same-length!!")):
        with pytest.raises(ValueError):
            verified(*wrong)


def test_which_secret_matched_is_counted(hooks):
    matches = lambda key: hooks.metrics().value("penstock_webhook_key_matches_total", source="github", key=str(key))
    before = matches(1)
    assert github(hooks, b"counted", "counted").status == 202
    assert github(hooks, b"counted older", "counted-older", secret="an-older-secret").status == 202
    assert matches(1) == before + 1 and matches(0) >= 1
    assert base64.b64encode(SECRET.encode()).decode() not in hooks.metrics().text and SECRET not in hooks.metrics().text
