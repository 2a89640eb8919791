"""An OpenAPI document with the vendor's extensions is a configuration: served, checked, listed and explained, with the
statuses and bodies of the vendor (reference, 0.1 and 2)."""

import json

import pytest

from support.gateway import environment, penstock, write_config
from support.openapi import as_json, document, operation

QUEUE = "https://sqs.eu-west-1.amazonaws.com/111122223333/orders"
SEED = """\
openapi: "3.0.1"
info:
  title: API Gateway HTTP API to SQS
paths:
  /:
    post:
      responses:
        default:
          description: Default response for POST /
      x-amazon-apigateway-integration:
        type: "aws_proxy"
        integrationSubtype: "SQS-SendMessage"
        payloadFormatVersion: "1.0"
        connectionType: "INTERNET"
        requestParameters:
          MessageBody: "$request.body.MessageBody"
          QueueUrl: "https://sqs.eu-west-1.amazonaws.com/111122223333/orders"
"""

SEND = operation("SQS-SendMessage", QueueUrl=QUEUE, MessageBody="$request.body.MessageBody")
PATHS = {
    "/": {"post": SEND},
    "/events": {"post": operation("EventBridge-PutEvents", Detail="$request.body.Detail", DetailType="$request.body.DetailType",
                                  Source="orders-api")},
    "/clicks": {"post": operation("Kinesis-PutRecord", StreamName="clicks", Data="$request.body.Data", PartitionKey="p")},
    "/any/{proxy+}": {"x-amazon-apigateway-any-method": operation("SQS-SendMessage", QueueUrl=QUEUE, MessageBody="$request.path.proxy")},
    "/mapped": {"post": {**SEND, "x-amazon-apigateway-integration": {
        **SEND["x-amazon-apigateway-integration"],
        "responseParameters": {"200": {"overwrite:statuscode": "202", "append:header.x-id": "$context.requestId"}}}}},
    "/closed": {"post": {**SEND, "security": [{"idp": ["orders.write"]}]}},
}
PARTS = {
    "components": {"securitySchemes": {"idp": {"type": "oauth2", "flows": {}, "x-amazon-apigateway-authorizer": {
        "type": "jwt", "identitySource": "$request.header.Authorization",
        "jwtConfiguration": {"issuer": "https://idp.example.com", "audience": ["shop"]}}}}},
    "x-amazon-apigateway-cors": {"allowOrigins": ["https://shop.example"], "allowMethods": ["POST"], "allowHeaders": ["content-type"],
                                 "maxAge": 300},
}
# the key set stands in the file, so that nothing is fetched
KEYS = '{"keys":[{"kty":"RSA","kid":"k","alg":"RS256","n":"%s","e":"AQAB"}]}' % ("u" * 342 + "w")

BAD_REQUEST = (400, {"message": "Bad Request"})
NOT_FOUND = (404, {"message": "Not Found"})
UNAUTHORIZED = (401, {"message": "Unauthorized"})
# name: (method, path, body, headers, (status, JSON body or None for the service's own))
TABLE = {
    "a string comes unquoted": ("POST", "/", {"MessageBody": "hello world"}, {}, (200, None)),
    "an object becomes compact JSON": ("POST", "/", {"MessageBody": {"a": 1}}, {}, (200, None)),
    "a field that is not there": ("POST", "/", {"other": 1}, {}, BAD_REQUEST),
    "no body at all": ("POST", "/", None, {}, BAD_REQUEST),
    "a wrong method is no route": ("GET", "/", None, {}, NOT_FOUND),
    "an unknown path": ("POST", "/nowhere", {}, {}, NOT_FOUND),
    "a greedy variable is not empty": ("POST", "/any", {}, {}, NOT_FOUND),
    "any method": ("PATCH", "/any/a/b", {}, {}, (200, None)),
    "an event": ("POST", "/events", {"Detail": {"a": 1}, "DetailType": "t"}, {}, (200, None)),
    "an event without its type": ("POST", "/events", {"Detail": {"a": 1}}, {}, BAD_REQUEST),
    "a record": ("POST", "/clicks", {"Data": "aGVsbG8="}, {}, (200, None)),
    "a mapped status": ("POST", "/mapped", {"MessageBody": "x"}, {}, (202, None)),
    "no token": ("POST", "/closed", {"MessageBody": "x"}, {}, UNAUTHORIZED),
    "no good token": ("POST", "/closed", {"MessageBody": "x"}, {"authorization": "Bearer x.y.z"}, UNAUTHORIZED),
}


@pytest.fixture(scope="module")
def served(shared_gateway, shared_fake):
    own = {"aws": {"region": "eu-west-1", "endpoint": shared_fake.url},
           "authorizers": {"idp": {"jwt": {"issuer": "https://idp.example.com", "audience": ["shop"], "jwks": KEYS}}}}
    return shared_gateway(as_json(document(PATHS, own, **PARTS)), name="orders.json")


@pytest.fixture(scope="module")
def shared_fake():
    from support.fake_aws import FakeAws
    endpoint = FakeAws().start()
    yield endpoint
    endpoint.stop()


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_the_vendors_table(served, row):
    method, path, body, headers, (status, expected) = row
    sent = None if body is None else json.dumps(body)
    answer = served.request(method, path, sent, {"content-type": "application/json", **headers})
    assert answer.status == status, (answer, served.logs())
    assert answer.headers["apigw-requestid"]
    if expected is not None:
        assert json.loads(answer.body) == expected


def test_what_arrives_is_what_the_document_maps(served, shared_fake):
    answer = served.request("POST", "/", json.dumps({"MessageBody": {"a": 1}}))
    assert answer.body.startswith(b"<?xml"), answer
    call = [call for call in shared_fake.calls if call.operation.startswith("SQS")][-1]
    assert '{\\"a\\":1}' in call.body.decode() or '{"a":1}' in call.body.decode(), call.body
    served.request("POST", "/clicks", json.dumps({"Data": "aGVsbG8="}))
    call = [call for call in shared_fake.calls if call.operation.startswith("Kinesis")][-1]
    assert "aGVsbG8=" in call.body.decode(), "what was base64 is the record, and goes as base64 once"


def test_a_preflight_is_answered_from_the_documents_cors(served):
    answer = served.request("OPTIONS", "/closed", headers={
        "origin": "https://shop.example", "access-control-request-method": "POST"})
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["access-control-max-age"] == "300"


def test_a_document_is_checked_listed_and_explained(tmp_path):
    path = write_config(tmp_path, SEED, "api.yaml")
    ran = penstock("check", path, cwd=tmp_path)
    assert ran.returncode == 0 and "ok: 1 route" in ran.stdout, ran
    ran = penstock("routes", path, cwd=tmp_path)
    assert "POST /" in ran.stdout and "SQS-SendMessage" in ran.stdout, ran
    ran = penstock("explain", path, "POST", "/", "-d", '{"MessageBody": "hi"}', cwd=tmp_path)
    assert ran.returncode == 0 and "hi" in ran.stdout, ran


def test_the_seeds_printed_quote_is_pointed_at(tmp_path):
    path = write_config(tmp_path, SEED.replace('type: "aws_proxy"', 'type: "aws_proxy”'), "api.yaml")
    ran = penstock("check", path, cwd=tmp_path)
    assert ran.returncode == 1
    line = SEED.splitlines().index('        type: "aws_proxy"') + 1
    assert f"api.yaml:{line}:25: error: " in ran.stdout, ran.stdout
    assert "the typographic quote `”` (U+201D)" in ran.stdout


def test_a_byte_order_mark_and_json_with_tabs_are_read(tmp_path):
    text = "\ufeff" + json.dumps(document(PATHS, **PARTS), indent="\t")
    path = write_config(tmp_path, text, "api.json")
    ran = penstock("check", path, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout


def test_what_cannot_be_honoured_is_an_error_at_its_place_unless_it_may_be_left_out(tmp_path):
    uri = "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:1:function:f/invocations"
    function = {"responses": {}, "x-amazon-apigateway-integration": {"type": "aws_proxy", "uri": uri, "payloadFormatVersion": "2.0"}}
    text = as_json(document({"/f": {"get": function}, "/q": {"post": SEND}}))
    path = write_config(tmp_path, text, "api.json")
    ran = penstock("check", path, cwd=tmp_path)
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "functions/" in line)
    assert ran.returncode == 1 and f"api.json:{line}:" in ran.stdout and "cannot be called" in ran.stdout, ran.stdout
    for lenient in (
        document({"/f": {"get": function}, "/q": {"post": SEND}}, {"on_unsupported": "skip"}),
        document({"/f": {"get": {**function, "x-penstock": {"on_unsupported": "skip"}}}, "/q": {"post": SEND}}),
    ):
        path = write_config(tmp_path, as_json(lenient), "api.json")
        ran = penstock("check", path, cwd=tmp_path)
        assert ran.returncode == 0 and "ok: 1 route" in ran.stdout and "cannot be called" in ran.stdout, ran.stdout
    own = {**function, "x-penstock": {"integration": {"SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "$request.body"}}}}
    path = write_config(tmp_path, as_json(document({"/f": {"post": own}})), "api.json")
    ran = penstock("check", path, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout


def test_a_document_and_a_route_file_are_one_configuration(gateway, fake, tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    own = {"aws": {"region": "eu-west-1", "endpoint": fake.url}}
    write_config(folder, as_json(document({"/": {"post": SEND}}, own)), "a.yaml")
    write_config(folder, "routes: { GET /health: { integration: { Mock: { status: 200, body: fine } } } }\n", "b.yaml")
    one = gateway(folder)
    assert one.request("GET", "/health").body == b"fine"
    assert one.request("POST", "/", '{"MessageBody": "x"}').status == 200


FUNCTIONS = """\
openapi: "3.0.1"
info: { title: orders }
paths:
  /a:
    post:
      x-amazon-apigateway-integration:
        type: aws_proxy
        integrationSubtype: SQS-SendMessage
        payloadFormatVersion: "1.0"
        credentials: { Fn::GetAtt: [MyHttpApiRole, Arn] }
        requestParameters:
          MessageBody: $request.body
          QueueUrl: !Ref MyQueue
  /b:
    post:
      x-amazon-apigateway-integration:
        type: aws_proxy
        integrationSubtype: SQS-SendMessage
        payloadFormatVersion: "1.0"
        requestParameters:
          MessageBody: $request.body
          QueueUrl: { Ref: MyQueue }
          Region: !Sub "${TargetRegion}"
"""


def test_template_functions_resolve_from_variables(tmp_path):
    path = write_config(tmp_path, FUNCTIONS, "api.yaml")
    vars = write_config(tmp_path, f"MyQueue: {QUEUE}\nTargetRegion: eu-west-1\n", "vars.yaml")
    ran = penstock("check", path, "--vars", vars, cwd=tmp_path)
    assert ran.returncode == 0 and "ok: 2 routes" in ran.stdout, ran.stdout
    ran = penstock("explain", path, "--vars", vars, "POST", "/b", "-d", "x", cwd=tmp_path)
    assert ran.returncode == 0 and QUEUE in ran.stdout, ran
    # each name once, at its first place
    ran = penstock("check", path, cwd=tmp_path)
    assert ran.returncode == 1
    errors = [line for line in ran.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 2, ran.stdout
    assert "api.yaml:13:" in errors[0] and "`MyQueue` is not known" in errors[0] and "(and in one more place)" in errors[0]
    assert "`TargetRegion` is not known" in errors[1]
    # the environment may give them, too
    ran = penstock("check", path, cwd=tmp_path, env=environment(MY_QUEUE=QUEUE, TARGET_REGION="eu-west-1"))
    assert ran.returncode == 0, ran.stdout


def test_a_gateway_is_served_with_variables(gateway, fake, tmp_path):
    vars = write_config(tmp_path, json.dumps({"MyQueue": QUEUE}), "vars.json")
    send = operation("SQS-SendMessage", QueueUrl={"Ref": "MyQueue"}, MessageBody="$request.body")
    own = {"aws": {"region": "eu-west-1", "endpoint": fake.url}}
    one = gateway(as_json(document({"/": {"post": send}}, own)), name="api.json", arguments=["--vars", vars])
    assert one.request("POST", "/", "x").status == 200
    assert "111122223333/orders" in fake.calls[-1].body.decode()
