"""What a route asks of a request: a JSON Schema, headers, parameters, content types; and refusals in one's own words."""

import json

from support.gateway import config

SCHEMA = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "string", "pattern": "^o-[0-9]+$"}, "lines": {"type": "array", "items": {"type": "object"}}},
}
SEND = {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}


def serving(gateway, route=None, **sections):
    route = {"integration": SEND, "schema": SCHEMA, **(route or {})}
    return gateway(config({"POST /orders": route}, queues={"orders": {}}, **sections))


def post(one, body, path="/orders", **headers):
    body = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return one.request("POST", path, body=body, headers=headers)


def test_a_body_that_is_not_as_asked_is_refused_precisely_and_stored_nowhere(gateway):
    one = serving(gateway)
    assert post(one, {"id": "o-1"}).status == 202
    answer = post(one, {"id": "secret-value", "lines": [{}, 7]})
    said = json.loads(answer.body)
    assert (answer.status, said["code"]) == (400, "schema_invalid")
    assert answer.headers["content-type"] == "application/problem+json"
    assert [(error["pointer"], error["keyword"]) for error in said["errors"]] == [("/id", "pattern"), ("/lines/1", "type")]
    assert b"secret-value" not in answer.body
    for body in ("", "{", "[1,]", "\xff"):
        assert json.loads(post(one, body).body)["code"] == "schema_invalid", body
    assert [message["Body"] for message in one.peek("orders")] == ['{"id": "o-1"}'] or len(one.peek("orders")) == 1
    line = one.log_line(answer.headers["x-request-id"])
    assert line["code"] == "schema_invalid"


def test_what_is_refused_burns_no_idempotency_key(gateway):
    one = serving(gateway, {"idempotency": {"key": "$request.header.idempotency-key", "ttl": "1h"}})
    key = {"idempotency-key": "k-1"}
    assert post(one, {"id": 1}, **key).status == 400
    assert post(one, {"id": "o-1"}, **key).status == 202


def test_a_large_body_is_looked_at_and_one_of_too_many_values_is_refused(gateway):
    one = serving(gateway, {"schema": {"type": "array", "items": {"type": "integer"}}})
    assert post(one, "[" + "1," * 60_000 + "1]").status == 202
    answer = post(one, "[" + "1," * 60_000 + '"x"]')
    assert [error["pointer"] for error in json.loads(answer.body)["errors"]] == ["/60000"]
    assert "250000 values" in json.loads(post(one, "[" + "1," * 260_000 + "1]").body)["detail"]
    assert post(one, "[" * 100_000).status == 400


def test_headers_parameters_and_content_types(gateway):
    one = serving(gateway, {
        "required": {"headers": ["x-tenant"], "query": ["kind"]}, "content_types": ["application/json", "application/*+json"]})
    kind = {"content-type": "application/json"}
    said = json.loads(post(one, {"id": "o-1"}, **kind).body)
    assert [(error["in"], error["name"]) for error in said["errors"]] == [("header", "x-tenant"), ("query", "kind")]
    assert post(one, {"id": "o-1"}, path="/orders?kind=", **kind, **{"x-tenant": "a"}).status == 400
    answer = post(one, {"id": "o-1"}, path="/orders?kind=a", **{"x-tenant": "a", "content-type": "text/plain"})
    assert (answer.status, answer.headers["accept"]) == (415, "application/json, application/*+json")
    assert post(one, {"id": "o-1"}, path="/orders?kind=a", **kind, **{"x-tenant": "a"}).status == 202


def test_the_vendor_s_words(gateway):
    one = serving(gateway, {"required": {"headers": ["x-tenant"], "query": ["kind"]}}, responses="aws")
    assert json.loads(post(one, {}).body) == {"message": "Missing required request parameters: [x-tenant, kind]"}
    answer = post(one, {}, path="/orders?kind=a", **{"x-tenant": "a"})
    assert (answer.status, json.loads(answer.body)) == (400, {"message": "Invalid request body"})


def test_refusals_in_one_s_own_words_stay_in_their_class(gateway):
    one = serving(gateway, error_responses={
        "schema_invalid": {"status": 422, "body": '{"why":$context.error.messageString,"type":"$context.error.responseType"}'},
        "default_4xx": {"headers": {"x-hint": "$context.error.code"}, "content_type": "text/plain", "body": "$context.httpMethod $context.path"},
    })
    answer = post(one, {})
    assert answer.status == 422 and json.loads(answer.body)["type"] == "BAD_REQUEST_BODY"
    assert "required" in json.loads(answer.body)["why"]
    answer = one.request("GET", "/nowhere")
    assert (answer.status, answer.body, answer.headers["x-hint"]) == (404, b"GET /nowhere", "no_route")
    assert answer.headers["content-type"] == "text/plain"
