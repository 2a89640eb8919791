"""The Lambda-authorizer contract: a service decides, over HTTP or by Invoke."""

import json
import threading
import time

import pytest

from support import http1
from support.authorizer import Authorizer, policy, slow
from support.gateway import config, receive_all
from support.processes import eventually

ECHO = {"integration": {"Mock": {
    "status": 200,
    "body": "${context.authorizer.principalId:-nobody} ${context.authorizer.tenant:-none} ${context.authorizer.roles:-none} ${context.authorizer.level:-none}",
}}}
CONTEXT = {"tenant": "acme", "roles": ["a", "b"], "level": 7, "claims": {"sub": "root"}}
SCRIPT = {
    "yes": {"isAuthorized": True, "context": CONTEXT},
    "no": {"isAuthorized": False},
    "echo": lambda event: policy("Allow", event.get("routeArn") or event["methodArn"], context=CONTEXT),
    "get": policy("Allow", "arn:aws:execute-api:*:*:shop/*/GET/*"),
    "deny": policy("Deny", "*"),
    "nothing": policy("Allow", "arn:aws:execute-api:us-east-1:000000000000:other/*"),
    "unauthorized": {"errorMessage": "Unauthorized", "errorType": "Error"},
    "boom": {"errorMessage": "boom", "errorType": "Error"},
    "garbage": (200, {}, b"<html>"),
    "empty": (200, {}, b""),
    "malformed": {"isAuthorized": "yes"},
    "status-401": (401, {}, {"isAuthorized": True}),
    "status-500": (500, {}, {"isAuthorized": True}),
    "redirect": (302, {"location": "/elsewhere"}, {"isAuthorized": True}),
    "huge": (200, {}, b'{"isAuthorized":true,"context":{"x":"' + b"x" * 300_000 + b'"}}'),
    "slow": slow(3),
}
HEADER = ["$request.header.authorization"]


@pytest.fixture
def service():
    one = Authorizer(SCRIPT)
    yield one
    one.stop()


def behind(service, routes=None, sections=None, **keys):
    return config(
        {
            "GET /a": {"authorizer": "legacy", **ECHO},
            "GET /b": {"authorizer": "legacy", **ECHO},
            "POST /orders": {"authorizer": "legacy", "integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}},
            "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders"}}},
            "DELETE /messages/{handle}": {"integration": {"SQS-DeleteMessage": {"QueueUrl": "queue:orders", "ReceiptHandle": "$request.path.handle"}}},
            **(routes or {}),
        },
        queues={"orders": {}},
        authorizers={"legacy": {"lambda": {"url": service.url + "/check", "identity_sources": HEADER, **keys}}},
        **(sections or {}),
    )


def ask(gateway, token, path="/a", method="GET", **more):
    return gateway.request(method, path, headers={"authorization": token} if token is not None else {}, **more)


@pytest.mark.parametrize("format", ["1.0", "2.0"])
def test_answers_decide(gateway, service, format):
    one = gateway(behind(service, format=format, timeout="1s"))
    simple = format == "2.0"
    failures = ["boom", "garbage", "empty", "malformed", "status-401", "status-500", "redirect", "huge", "slow"]
    failures += [] if simple else ["yes", "no"]
    expected = {"echo": 200, "get": 200, "deny": 403, "nothing": 403, "unauthorized": 401, **dict.fromkeys(failures, 500)}
    expected |= {"yes": 200, "no": 403} if simple else {}
    for token, status in expected.items():
        answer = ask(one, token)
        assert answer.status == status, (token, answer)
        if status == 200 and token in ("yes", "echo"):
            who = "nobody" if token == "yes" else "user-1"
            assert answer.body.decode() == f'{who} acme ["a","b"] 7'
        if status == 403:
            assert answer.code == "forbidden"
        if status == 401:
            assert answer.code == "unauthorized" and "www-authenticate" not in answer.headers
        if status == 500:
            assert answer.code == "internal" and "retry-after" in answer.headers
            assert token not in answer.json()["detail"]
            assert "the authorizer legacy" in json.dumps(one.log_line(answer.json()["requestId"]))
    for event in service.events:
        assert event["version"] == format and event["type"] == "REQUEST" and "body" not in event


def test_a_missing_identity_source_is_401_without_a_call(gateway, service):
    sources = HEADER + ["$request.querystring.user", "$context.identity.sourceIp"]
    one = gateway(behind(service, identity_sources=sources))
    for token, path in ((None, "/a?user=u"), ("", "/a?user=u"), ("yes", "/a"), ("yes", "/a?user="), ("yes", "/a?User=u")):
        answer = ask(one, token, path)
        assert (answer.status, answer.code) == (401, "unauthorized"), (token, path)
        assert "This route needs" in answer.json()["detail"]
    assert service.calls == 0
    assert ask(one, "yes", "/a?user=u").status == 200
    assert service.events[-1]["identitySource"] == ["yes", "u", "127.0.0.1"]


def test_nothing_is_stored_by_a_refusal(gateway, service):
    one = gateway(behind(service))
    for token in ("no", "deny", "boom", "unauthorized", None):
        assert ask(one, token, "/orders", "POST", body=b"x").status in (401, 403, 500)
    assert receive_all(one) == []
    assert ask(one, "yes", "/orders", "POST", body=b"x").status == 202
    assert receive_all(one) == ["x"]


def test_answers_are_remembered_refusals_too_and_failures_not(gateway, service):
    one = gateway(behind(service, ttl="1h"))
    for token, status, calls in (("yes", 200, 1), ("no", 403, 1), ("get", 200, 1), ("boom", 500, 3), ("unauthorized", 401, 3)):
        before = service.calls
        for _ in range(3):
            assert ask(one, token).status == status
        assert service.calls - before == calls, token


def test_a_remembered_policy_is_asked_for_each_request(gateway, service):
    one = gateway(behind(service, ttl="1h"))
    assert ask(one, "echo", "/a").status == 200
    assert ask(one, "echo", "/b").status == 403, "the classic trap: the policy is of the first path"
    assert service.calls == 1
    each = gateway(behind(service, ttl="1h", identity_sources=HEADER + ["$context.routeKey"]))
    for path in ("/a", "/b", "/a", "/b"):
        assert ask(each, "echo", path).status == 200
    assert service.calls == 3


def test_answers_grow_old(gateway, service):
    one = gateway(behind(service, ttl="300ms"))
    assert ask(one, "yes").status == 200
    service.script["yes"] = {"isAuthorized": False}
    eventually(lambda: ask(one, "yes").status == 403, 10, "the answer is asked for again")


def test_an_operator_makes_it_forget(gateway, service):
    document = behind(service, ttl="1h", routes={"GET /key": {"authorizer": "api_key", **ECHO}})
    document["api_keys"] = {"acme": {"hash": "sha256:" + "0" * 64}}
    document["admin"]["token"] = "operator-token-0123456789"
    one = gateway(document)
    assert ask(one, "yes").status == 200
    service.script["yes"] = {"isAuthorized": False}
    assert ask(one, "yes").status == 200
    token = {"authorization": "Bearer operator-token-0123456789"}
    flush = lambda name, method="POST", headers=token: http1.request(one.admin_address, method, f"/v1/authorizers/{name}/flush", headers=headers)
    assert flush("legacy", headers={}).status in (401, 403)
    assert flush("legacy", "GET").status == 405
    assert flush("other").status == 404 and flush("api_key").status == 400
    assert ask(one, "yes").status == 200
    assert flush("legacy").json() == {"forgotten": 1}
    assert ask(one, "yes").status == 403


def test_a_crowd_with_one_token_asks_once(gateway, service):
    one = gateway(behind(service, ttl="1h"))
    service.gate.clear()
    answers = []
    crowd = [threading.Thread(target=lambda: answers.append(ask(one, "yes").status)) for _ in range(20)]
    for member in crowd:
        member.start()
    eventually(lambda: service.calls == 1, 10, "the question arrives")
    service.gate.set()
    for member in crowd:
        member.join()
    assert answers == [200] * 20
    assert service.calls == 1


def test_the_token_form_sends_the_token_alone_and_checks_its_form_first(gateway, service):
    service.script["Bearer abc"] = policy("Allow", "*")
    keys = {"type": "token", "token_pattern": "Bearer [a-z]+", "headers": {"x-shared": "hunter2"}}
    one = gateway(behind(service, **keys))
    for token in ("Bearer ABC", "Bearer abc ", "xBearer abc", "Basic abc"):
        # A header's white space at its ends is no part of it.
        status = 200 if token.strip() == "Bearer abc" else 401
        assert ask(one, token).status == status, token
    assert service.calls == 1
    path, headers = service.requests[0]
    assert path == "/check" and headers["x-shared"] == "hunter2" and headers["content-type"] == "application/json"
    assert service.events[0] == {
        "type": "TOKEN", "authorizationToken": "Bearer abc", "methodArn": "arn:aws:execute-api:us-east-1:000000000000:shop/$default/GET/a",
    }
    assert "hunter2" not in one.logs()


def test_a_resource_policy_that_denies_is_asked_before_the_service(gateway, service):
    statement = {"Principal": "*", "Action": "execute-api:Invoke"}
    document = behind(service, routes={"GET /c": {"authorizer": "legacy", **ECHO}})
    document["policy"] = {"Version": "2012-10-17", "Statement": [
        {**statement, "Sid": "NoB", "Effect": "Deny", "Resource": "execute-api:/*/GET/b"},
        {**statement, "Effect": "Allow", "Resource": "execute-api:/*/GET/c"},
        {**statement, "Effect": "Allow", "Resource": "execute-api:/*/*/next"},
    ]}
    one = gateway(document)
    answer = ask(one, "yes", "/b")
    assert (answer.status, answer.code, service.calls) == (403, "forbidden", 0)
    assert "NoB" in json.dumps(one.log_line(answer.json()["requestId"]))
    assert ask(one, "nothing", "/c").status == 200, "table A: either side may allow"
    assert ask(one, "nothing", "/a").status == 403
    assert ask(one, "yes", "/a").status == 200


class Lambda(Authorizer):
    """The Invoke call on the wire: an error of the function is a 200 with X-Amz-Function-Error."""

    def answer(self, event):
        status, headers, body = super().answer(event)
        if b"errorMessage" in body:
            headers = {**headers, "x-amz-function-error": "Unhandled"}
        return status, headers, body


def test_a_lambda_function_is_asked_by_invoke(gateway):
    service = Lambda({**SCRIPT, "throttled": (429, {"x-amzn-errortype": "TooManyRequestsException"}, {"message": "slow down"})})
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:authorize:live"
    document = behind(service)
    document["authorizers"]["legacy"]["lambda"] = {"function": arn, "identity_sources": HEADER, "timeout": "2s"}
    document["aws"] = {"region": "us-east-1", "endpoints": {"lambda": service.url}}
    try:
        one = gateway(document)
        for token, status in (("yes", 200), ("no", 403), ("get", 200), ("unauthorized", 401), ("boom", 500), ("garbage", 500), ("throttled", 500)):
            answer = ask(one, token)
            assert answer.status == status, (token, answer, one.access_log()[-1])
        path, headers = service.requests[0]
        assert path == "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aauthorize%3Alive/invocations"
        assert "/eu-west-1/lambda/aws4_request" in headers["authorization"]
        assert service.events[0]["version"] == "2.0"
    finally:
        service.stop()


def test_a_service_that_is_down_is_500_at_once_and_its_return_is_noticed(gateway, service):
    document = behind(service, timeout="2s")
    service.stop()
    one = gateway(document)
    began = time.monotonic()
    answer = ask(one, "yes")
    assert (answer.status, answer.code) == (500, "internal")
    assert time.monotonic() - began < 2
