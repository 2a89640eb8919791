"""Parameter mapping, row by row (reference, 2.2 to 2.5 and 3.3 to 3.4), read back from an embedded queue."""

import json

import pytest

from support.gateway import config

BODY = {
    "a": {"b": [{"c": "deep"}, 2], "n": 1.50, "yes": True, "no": None, "empty": "", "text": "plain"},
    "with space": "spaced", "dot.ted": "dotted", "quote'd": "quoted", "ünï": "名前",
}
JSON_TEXT = '{"a": {"b": [{"c": "deep"}, 2], "n": 1.50, "yes": true, "no": null, "empty": "", "text": "plain"}, ' \
    '"with space": "spaced", "dot.ted": "dotted", "quote\'d": "quoted", "ünï": "名前"}'
REFUSED = object()

# name: (expression, what to send, what arrives)
ROWS = {
    "the raw body": ("$request.body", {}, JSON_TEXT),
    "a JSON string comes unquoted": ("$request.body.a.text", {}, "plain"),
    "an object becomes compact JSON text": ("$request.body.a.b[0]", {}, '{"c":"deep"}'),
    "an array becomes compact JSON text": ("$request.body.a.b", {}, '[{"c":"deep"},2]'),
    "a number is its JSON text": ("$request.body.a.n", {}, "1.50"),
    "a boolean is its JSON text": ("$request.body.a.yes", {}, "true"),
    "an index": ("$request.body.a.b[0].c", {}, "deep"),
    "a bracketed name with a space": ("$request.body['with space']", {}, "spaced"),
    "a bracketed name with a dot": ("$request.body['dot.ted']", {}, "dotted"),
    "a name beyond ASCII": ("$request.body['ünï']", {}, "名前"),
    "a missing child": ("$request.body.a.missing", {}, REFUSED),
    "an index past the end": ("$request.body.a.b[2]", {}, REFUSED),
    "a child of a string": ("$request.body.a.text.more", {}, REFUSED),
    "an empty string": ("$request.body.a.empty", {}, REFUSED),
    "a selector on a body that is no JSON": ("$request.body.a", {"body": "{a: 1"}, REFUSED),
    "a selector on an empty body": ("$request.body.a", {"body": ""}, REFUSED),
    "a selector on bytes": ("$request.body.a", {"body": b"\xff\xfe"}, REFUSED),
    "a header": ("$request.header.X-Thing", {"headers": {"x-thing": "v"}}, "v"),
    "a missing header": ("$request.header.x-thing", {}, REFUSED),
    "an empty header": ("$request.header.x-thing", {"headers": {"x-thing": ""}}, REFUSED),
    "a reserved header as a source": ("$request.header.authorization", {"headers": {"authorization": "Bearer x"}}, "Bearer x"),
    "a query parameter": ("$request.querystring.q", {"query": "q=v"}, "v"),
    "repeated query parameters joined": ("$request.querystring.q", {"query": "q=1&other=x&q=2"}, "1,2"),
    "plus is a space, %2B is a plus": ("$request.querystring.q", {"query": "q=a+b%2Bc"}, "a b+c"),
    "query names are case-sensitive": ("$request.querystring.q", {"query": "Q=v"}, REFUSED),
    "a missing query parameter": ("$request.querystring.q", {}, REFUSED),
    "a path variable": ("$request.path.id", {"id": "42"}, "42"),
    "a path variable is decoded": ("$request.path.id", {"id": "a%20b%C3%A9"}, "a bé"),
    "an encoded slash stays in its segment": ("$request.path.id", {"id": "a%2Fb"}, "a/b"),
    "the stage's name": ("$context.stage", {}, "prod"),
    "the API's id": ("$context.apiId", {}, "shop"),
    "the method": ("$context.httpMethod", {}, "POST"),
    "the source address": ("$context.identity.sourceIp", {}, "127.0.0.1"),
    "a stage variable": ("$stageVariables.tier", {}, "gold"),
    "static text": ("hello, world", {}, "hello, world"),
    "several parts": ("${request.path.id}-${stageVariables.tier}/x", {"id": "7"}, "7-gold/x"),
    "one part in braces": ("${request.path.id}", {"id": "7"}, "7"),
    "a selector within text": ("id=${request.body.a.b[0].c}!", {}, "id=deep!"),
    "a missing part within text": ("v=${request.header.x-thing}", {}, REFUSED),
    "a default for a missing part": ("v=${request.header.x-thing:-none}", {}, "v=none"),
    "a default alone": ("${request.querystring.q:-none}", {}, "none"),
    "a default that is not needed": ("${request.querystring.q:-none}", {"query": "q=v"}, "v"),
    "an escaped brace": ("$${request.path.id}", {}, "${request.path.id}"),
    "a body in the middle of text": ("<${request.body}>", {"body": "x"}, "<x>"),
}


@pytest.fixture(scope="module")
def mapped(shared_gateway):
    routes = {}
    for number, (expression, _, _) in enumerate(ROWS.values()):
        routes[f"POST /{number}/{{id}}"] = {
            "integration": {"SQS-SendMessage": {"QueueUrl": f"queue:q{number}", "MessageBody": expression}}}
        routes[f"GET /{number}"] = {"integration": {"SQS-ReceiveMessage": {"QueueUrl": f"queue:q{number}"}}}
    return shared_gateway(config(
        routes, stage="prod", stage_variables={"tier": "gold"}, queues={f"q{n}": {} for n in range(len(ROWS))}))


@pytest.mark.parametrize("name", ROWS)
def test_mapping(mapped, name):
    number = list(ROWS).index(name)
    expression, sent, expected = ROWS[name]
    path = f"/prod/{number}/{sent.get('id', '1')}"
    if "query" in sent:
        path += "?" + sent["query"]
    answer = mapped.request("POST", path, sent.get("body", JSON_TEXT.encode()), sent.get("headers"))
    messages = mapped.request("GET", f"/prod/{number}").json()["Messages"]
    if expected is REFUSED:
        assert answer.status == 400
        assert answer.code == "mapping_unresolved"
        detail = answer.json()["detail"]
        assert "MessageBody" in detail and expression.split("${")[-1].split("}")[0].lstrip("$") in detail, detail
        assert messages == []
    else:
        assert answer.status == 202, answer
        assert [message["Body"] for message in messages] == [expected]


def test_a_selector_sees_the_whole_body_beyond_100_kb(gateway):
    one = gateway(config({
        "POST /m": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$request.body.last"}}},
        "GET /m": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:q"}}},
    }, queues={"q": {}}))
    body = json.dumps({"filler": "x" * 400_000, "last": "found"})
    assert one.request("POST", "/m", body).status == 202
    assert one.request("GET", "/m").json()["Messages"][0]["Body"] == "found"


def test_repeated_headers_are_joined(gateway):
    one = gateway(config({
        "POST /m": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$request.header.x-a"}}},
        "GET /m": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:q"}}},
    }, queues={"q": {}}))
    with one.raw() as raw:
        raw.send("POST /m HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-B: 2\r\nx-a: 3\r\nContent-Length: 0\r\n\r\n")
        assert raw.read_response().status == 202
    assert one.request("GET", "/m").json()["Messages"][0]["Body"] == "1,3"


def test_the_request_s_path_leaves_the_stage_out_and_the_context_s_keeps_it(gateway):
    one = gateway(config({
        "POST /pets/{id}": {"integration": {"SQS-SendMessage": {
            "QueueUrl": "queue:q", "MessageBody": "${request.path} ${context.path} ${context.routeKey}"}}},
        "GET /m": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:q"}}},
    }, queues={"q": {}}, stage="prod"))
    assert one.request("POST", "/prod/pets/1", b"").status == 202
    assert one.request("GET", "/prod/m").json()["Messages"][0]["Body"] == "/pets/1 /prod/pets/1 POST /pets/{id}"


def test_the_request_id_that_is_mapped_is_the_one_answered(gateway):
    one = gateway(config({
        "POST /m": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$context.requestId"}}},
        "GET /m": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:q"}}},
    }, queues={"q": {}}))
    answer = one.request("POST", "/m", b"", {"x-request-id": "forged"})
    assert answer.headers["x-request-id"] != "forged"
    assert one.request("GET", "/m").json()["Messages"][0]["Body"] == answer.headers["x-request-id"]


def test_values_from_the_environment_and_files_are_literal(gateway, tmp_path):
    (tmp_path / "text").write_text("$request.body ${request.body}")
    one = gateway(config({
        "POST /e": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "${env:LITERAL}"}}},
        "POST /f": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": f"${{file:{tmp_path}/text}}"}}},
        "POST /d": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "${env:ABSENT_HERE:-fallback}"}}},
        "GET /m": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:q", "MaxNumberOfMessages": "${env:TEN}"}}},
    }, queues={"q": {}}), env={"LITERAL": "$request.body.a", "TEN": "10"})
    for path in ("/e", "/f", "/d"):
        assert one.request("POST", path, b"{}").status == 202
    bodies = [message["Body"] for message in one.request("GET", "/m").json()["Messages"]]
    assert sorted(bodies) == sorted(["$request.body.a", "$request.body ${request.body}", "fallback"])
