"""Every row of the reference's tables 0.1, 1.3 and 3.6 that applies, against a running gateway in both dialects."""

import hashlib

import pytest

from support.fake_aws import FakeAws, Hang
from support.gateway import config
from support.processes import refusing_port

KEY = "psk_test9c1f0e7b5a3d4428b1d6f0c2e8a79b34"
KEY_HASH = "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
QUEUE = "https://sqs.us-east-1.amazonaws.com/111122223333/orders"


def send(body="$request.body", **beside):
    return {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": body}}, **beside}


def routes():
    return {
        "POST /orders": send(),
        "GET /orders": {"integration": {"Mock": {"status": 200, "body": "fine"}}},
        "POST /keyed": send(authorizer="api_key"),
        "POST /throttled": send(throttle={"rate": 0.001, "burst": 1}),
        "POST /closed": send(throttle={"rate": 0}),
        "POST /mapped": send("$request.body.MessageBody"),
        "POST /small": send(limits={"body": "1KiB"}),
        "POST /down": {"integration": {"Kinesis-PutRecord": {"StreamName": "s", "Data": "$request.body", "PartitionKey": "k"}}},
        "POST /hangs": {"integration": {"SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "$request.body"}}, "limits": {"timeout": "1s"}},
        "GET /keyed": {"integration": {"Mock": {"status": 200}}, "authorizer": ["api_key"]},
    }


SECTIONS = {
    "queues": {"orders": {"max_message_size": "4KiB"}},
    "api_keys": {"acme": {"hash": KEY_HASH}, "old": {"hash": "sha256:" + hashlib.sha256(b"old").hexdigest(), "enabled": False}},
    "cors": {"allow_origins": ["https://shop.example"], "allow_methods": ["POST", "GET"], "allow_headers": ["content-type"], "max_age": "5m"},
}

# name: (method, path, headers, body), native (status, code), aws (status, message), headers that must be there
ROWS = {
    "no route": (("GET", "/nowhere", {}, None), (404, "no_route"), (404, "Not Found"), []),
    "no route for the root": (("GET", "/", {}, None), (404, "no_route"), (404, "Not Found"), []),
    "wrong method": (("PUT", "/orders", {}, b""), (405, "method_not_allowed"), (404, "Not Found"), ["allow!"]),
    "no key": (("POST", "/keyed", {}, b"x"), (403, "api_key_refused"), (403, "Forbidden"), []),
    "an unknown key": (("POST", "/keyed", {"x-api-key": "nope"}, b"x"), (403, "api_key_refused"), (403, "Forbidden"), []),
    "a disabled key": (("POST", "/keyed", {"x-api-key": "old"}, b"x"), (403, "api_key_refused"), (403, "Forbidden"), []),
    "the key in the query": (("POST", "/keyed?apiKey=" + KEY, {}, b"x"), (403, "api_key_refused"), (403, "Forbidden"), []),
    "throttled": (("POST", "/throttled", {}, b"x"), (429, "throttled"), (429, "Too Many Requests"), ["retry-after!", "ratelimit!", "ratelimit-policy!"]),
    "rate zero": (("POST", "/closed", {}, b"x"), (429, "throttled"), (429, "Too Many Requests"), []),
    "a body over the limit": (("POST", "/small", {}, b"x" * 1025), (413, "body_too_large"), (413, "Request Entity Too Large"), []),
    "a chunked body over the limit": (("POST", "/small", {"transfer-encoding": "chunked"}, [b"x" * 600] * 2), (413, "body_too_large"), (413, "Request Entity Too Large"), []),
    "headers too large": (("POST", "/orders", {"x-long": "x" * 20_000}, b"x"), (431, "headers_too_large"), (431, "Request Header Fields Too Large"), []),
    "too many headers": (("POST", "/orders", {f"x-{n}": "v" for n in range(120)}, b"x"), (431, "headers_too_large"), (431, "Request Header Fields Too Large"), []),
    "a mapping that does not resolve": (("POST", "/mapped", {}, b'{"other":1}'), (400, "mapping_unresolved"), (400, "Bad Request"), []),
    "a mapping from an empty body": (("POST", "/mapped", {}, b""), (400, "mapping_unresolved"), (400, "Bad Request"), []),
    "a mapping from a body that is no JSON": (("POST", "/mapped", {}, b"{"), (400, "mapping_unresolved"), (400, "Bad Request"), []),
    "the target's connection is refused": (("POST", "/down", {}, b"x"), (503, "target_unavailable"), (503, "Service Unavailable"), ["retry-after!"]),
    "the target does not answer in time": (("POST", "/hangs", {}, b"x"), (503, "outcome_unknown"), (503, "Service Unavailable"), ["retry-after!"]),
}


@pytest.fixture(scope="module", params=["native", "aws"])
def shop(request, shared_gateway):
    hanging = FakeAws().start()
    hanging.always("SQS-SendMessage", Hang())
    one = shared_gateway(config(routes(), responses=request.param, **SECTIONS, aws={
        "region": "us-east-1", "endpoint": f"http://127.0.0.1:{refusing_port()}", "endpoints": {"sqs": hanging.url}}))
    one.request("POST", "/throttled", b"the one token")
    one.dialect = request.param
    yield one
    hanging.stop()


@pytest.mark.parametrize("name", ROWS)
def test_refusals(shop, name):
    (method, path, headers, body), native, aws, must = ROWS[name]
    answer = shop.request(method, path, iter(body) if isinstance(body, list) else body, headers)
    request_id = answer.headers["x-request-id"]
    if shop.dialect == "native":
        assert (answer.status, answer.code) == native, answer
        problem = answer.json()
        assert set(problem) >= {"type", "title", "status", "detail", "requestId", "code"}
        assert problem["status"] == answer.status
        assert problem["requestId"] == request_id
        for header in must:
            assert header.rstrip("!") in answer.headers, answer
    else:
        status, message = aws
        assert answer.status == status, answer
        assert answer.body == b'{"message":"%s"}' % message.encode()
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["apigw-requestid"] == request_id
    assert shop.log_line(request_id)["status"] == answer.status


def test_allow_names_the_methods_of_the_path(gateway):
    one = gateway(config(routes(), **SECTIONS, aws={"region": "us-east-1"}))
    allow = {name.strip() for name in one.request("PUT", "/orders", b"").headers["allow"].split(",")}
    assert {"GET", "POST"} <= allow and "PUT" not in allow


def test_a_good_request_with_the_key_is_let_in(shop):
    answer = shop.request("POST", "/keyed", b"x", {"x-api-key": KEY})
    assert answer.status == (202 if shop.dialect == "native" else 200)
    assert shop.request("GET", "/orders").body == b"fine"


def test_a_body_over_the_queue_s_limit_names_queue_and_limit(shop):
    answer = shop.request("POST", "/orders", b"x" * 5000)
    if shop.dialect == "native":
        assert answer.status == 413 and answer.code == "target_limit"
        assert "queue" in answer.json()["detail"] and "4096" in answer.json()["detail"]
    else:
        assert answer.status == 413


# ---- CORS (reference, 0.1 and 9) ----

PREFLIGHT = {"origin": "https://shop.example", "access-control-request-method": "POST", "access-control-request-headers": "content-type"}


@pytest.mark.parametrize("path", ["/orders", "/keyed", "/closed", "/nowhere"])
def test_a_preflight_is_204_on_any_path_before_keys_and_throttles(shop, path):
    answer = shop.request("OPTIONS", path, headers=PREFLIGHT)
    assert answer.status == 204 and answer.body == b""
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "content-type" in answer.headers["access-control-allow-headers"].lower()
    assert answer.headers["access-control-max-age"] == "300"


def test_a_preflight_from_elsewhere_gets_no_cors_headers(shop):
    answer = shop.request("OPTIONS", "/orders", headers={**PREFLIGHT, "origin": "https://evil.example"})
    assert answer.status == 204
    assert not [name for name, _ in answer.headers.pairs if name.startswith("access-control-")]


def test_options_without_a_preflight_s_headers_is_an_ordinary_request(shop):
    assert shop.request("OPTIONS", "/orders").status == (405 if shop.dialect == "native" else 404)


@pytest.mark.parametrize("method, path", [("GET", "/orders"), ("POST", "/keyed"), ("GET", "/nowhere"), ("POST", "/closed")])
def test_answers_and_refusals_carry_cors_headers_where_origin_came_in(shop, method, path):
    answer = shop.request(method, path, b"" if method == "POST" else None, {"origin": "https://shop.example"})
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert "origin" in answer.headers["vary"].lower()
    without = shop.request(method, path, b"" if method == "POST" else None)
    assert "access-control-allow-origin" not in without.headers
    elsewhere = shop.request(method, path, b"" if method == "POST" else None, {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in elsewhere.headers


# ---- precedence (reference, 1.3) ----

ROUTE_SET = {
    "R1": "GET /pets/dog/1", "R2": "GET /pets/dog/{id}", "R3": "GET /pets/{proxy+}", "R4": "ANY /{proxy+}", "R5": "$default",
}
PRECEDENCE = {
    ("GET", "/pets/dog/1"): "R1",
    ("GET", "/pets/dog/2"): "R2",
    ("GET", "/pets/cat/1"): "R3",
    ("POST", "/test/5"): "R4",
    ("POST", "/pets/dog/1"): "R4",
    ("GET", "/"): "R5",
    ("GET", "/pets/dog/1/more"): "R3",
    ("GET", "/pets"): "R4",
    ("GET", "/pets/dog/a%2Fb"): "R2",
    ("GET", "/PETS/dog/1"): "R4",
    ("DELETE", "/"): "R5",
    ("GET", "/pets/dog/1?x=/pets/cat/1"): "R1",
    ("GET", "/p%65ts/dog/1"): "R1",
}


@pytest.fixture(scope="module", params=["$default", "prod"])
def precedence(request, shared_gateway):
    document = config(
        {key: {"integration": {"Mock": {"status": 200, "body": name}}} for name, key in ROUTE_SET.items()}, stage=request.param)
    one = shared_gateway(document)
    one.prefix = "" if request.param == "$default" else "/" + request.param
    return one


@pytest.mark.parametrize("method, path", PRECEDENCE)
def test_precedence(precedence, method, path):
    answer = precedence.request(method, precedence.prefix + path)
    assert answer.status == 200
    assert answer.body.decode() == PRECEDENCE[method, path]


def test_without_a_greedier_route_a_method_miss_is_405(gateway):
    one = gateway(config({
        "GET /pets/dog/1": {"integration": {"Mock": {"body": "R1"}}},
        "PUT /pets/dog/{id}": {"integration": {"Mock": {"body": "R2"}}},
    }))
    assert one.request("PUT", "/pets/dog/1", b"").body == b"R2", "a leaf counts only if it serves the method"
    missed = one.request("POST", "/pets/dog/1", b"")
    assert missed.status == 405
    assert {"GET", "PUT"} <= {name.strip() for name in missed.headers["allow"].split(",")}


@pytest.mark.parametrize("policy, status", [("strict", 404), ("ignore", 200), ("redirect", 308)])
def test_trailing_slash(gateway, policy, status):
    one = gateway(config({"GET /hello": {"integration": {"Mock": {"body": "hi"}}}}, trailing_slash=policy))
    answer = one.request("GET", "/hello/")
    assert answer.status == status
    if status == 308:
        assert answer.headers["location"].endswith("/hello")


def test_a_named_stage_serves_its_prefix_only(gateway):
    one = gateway(config({"GET /hello": {"integration": {"Mock": {"body": "hi"}}}}, stage="prod"))
    assert one.request("GET", "/prod/hello").body == b"hi"
    for path in ("/hello", "/prodhello", "/prod", "/dev/hello", "/prod/prod/hello"):
        assert one.request("GET", path).status == 404, path


# ---- response mapping (reference, 3.2 and 3.6) ----

def mock(status, mapping, **headers):
    return {"integration": {"Mock": {"status": status, "body": "b", "headers": headers}}, "response_parameters": mapping}


EXAMPLE = {
    "500": {"append:header.header1": "$context.requestId", "overwrite:statuscode": "403"},
    "404": {"append:header.error": "$stageVariables.environmentId"},
}


@pytest.fixture(scope="module")
def responding(shared_gateway):
    return shared_gateway(config({
        "GET /500": mock(500, EXAMPLE),
        "GET /404": mock(404, EXAMPLE),
        "GET /200": mock(200, EXAMPLE),
        "GET /append": mock(200, {"200": {"append:header.x-a": "two"}}, **{"x-a": "one"}),
        "GET /overwrite": mock(200, {"200": {"overwrite:header.x-a": "$request.querystring.v"}}, **{"x-a": "one"}),
        "GET /rename": mock(200, {"200": {"append:header.x-b": "$response.header.x-a", "remove:header.x-a": "''"}}, **{"x-a": "one"}),
        "GET /response": {"integration": {"Mock": {"body": "b"}}, "response": {"status": 203, "headers": {"x-id": "$context.requestId"}}},
        "POST /stored": {
            "integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}},
            "response": {"headers": {"x-message-id": "$integration.messageId"}}},
    }, stage_variables={"environmentId": "blue"}, queues={"orders": {}}))


def test_a_500_reaches_the_client_as_403_with_a_header(responding):
    answer = responding.request("GET", "/500")
    assert answer.status == 403
    assert answer.headers["header1"] == answer.headers["x-request-id"]


def test_a_404_stays_404_with_a_header(responding):
    answer = responding.request("GET", "/404")
    assert answer.status == 404
    assert answer.headers["error"] == "blue"


def test_a_status_without_a_mapping_is_left_alone(responding):
    answer = responding.request("GET", "/200")
    assert answer.status == 200 and "header1" not in answer.headers and "error" not in answer.headers


def test_append_keeps_what_is_there(responding):
    assert ",".join(responding.request("GET", "/append").headers.all("x-a")).replace(" ", "") == "one,two"


def test_overwrite_replaces_what_is_there(responding):
    assert responding.request("GET", "/overwrite?v=two").headers.all("x-a") == ["two"]


def test_a_renamed_header_is_read_before_it_is_removed(responding):
    answer = responding.request("GET", "/rename")
    assert answer.headers["x-b"] == "one" and "x-a" not in answer.headers


def test_a_route_s_own_response_has_its_status_and_headers(responding):
    answer = responding.request("GET", "/response")
    assert answer.status == 203 and answer.headers["x-id"] == answer.headers["x-request-id"]
    stored = responding.request("POST", "/stored", b"x")
    assert stored.status == 202 and stored.headers["x-message-id"] == stored.json()["messageId"]
