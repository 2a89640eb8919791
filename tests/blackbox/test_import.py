"""`penstock import`: our YAML with comments on standard output, what maps, differs and is missing on standard error."""

import json
import re

import yaml

from support.gateway import penstock, write_config
from support.openapi import as_json, document, operation
from test_openapi import PARTS, PATHS, QUEUE, SEND, SEED

FUNCTION = {"responses": {}, "x-amazon-apigateway-integration": {
    "type": "AWS_PROXY", "uri": "arn:aws:lambda:eu-west-1:1:function:f", "payloadFormatVersion": "2.0"}}


def imported(tmp_path, text, name="api.json"):
    path = write_config(tmp_path, text, name)
    ran = penstock("import", path, cwd=tmp_path)
    return ran, yaml.safe_load(ran.stdout) if ran.stdout else None


def test_what_is_printed_passes_check(tmp_path):
    ran, routes = imported(tmp_path, as_json(document(PATHS, **PARTS)))
    assert ran.returncode == 0, ran.stderr
    assert "POST /mapped: SQS-SendMessage" in ran.stderr
    assert len(routes["routes"]) == len(PATHS)
    path = write_config(tmp_path, ran.stdout, "ours.yaml")
    checked = penstock("check", path, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


def test_a_document_from_the_seed_becomes_a_short_file(tmp_path):
    ran, routes = imported(tmp_path, SEED, "seed.yaml")
    assert ran.returncode == 0, ran.stderr
    assert routes == {
        "api": "api-gateway-http-api-to-sqs", "responses": "aws", "limits": {"timeout": "30s"},
        "routes": {"POST /": {"integration": {"SQS-SendMessage": {"MessageBody": "$request.body.MessageBody", "QueueUrl": QUEUE}}}},
    }
    assert ran.stdout.startswith("# Imported from seed.yaml")


def test_something_that_would_behave_differently_is_exit_1_and_the_rest_is_usable(tmp_path):
    ran, routes = imported(tmp_path, as_json(document({"/f": {"get": FUNCTION}, "/q": {"post": SEND}})))
    assert ran.returncode == 1
    assert list(routes["routes"]) == ["POST /q"]
    assert re.search(r"missing:\n  .*api\.json:\d+:\d+: error: .*a function \(arn:aws:lambda:eu-west-1:1:function:f\) cannot be called", ran.stderr)
    assert "# Not as in api.json (line:column):" in ran.stdout
    checked = penstock("check", write_config(tmp_path, ran.stdout, "ours.yaml"), cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


def test_the_traps_of_the_format(tmp_path):
    """Reference, 18.39: versions as numbers, lists as texts, casing."""
    paths = {"/a": {"post": {
        "responses": {}, "security": [{"who": []}],
        "x-amazon-apigateway-integration": {
            "Type": "AWS_PROXY", "integrationSubtype": "SQS-SendMessage", "payloadFormatVersion": 1.0,
            "requestParameters": {"QueueUrl": QUEUE, "MessageBody": "$request.body", "DelaySeconds": 5}}}}}
    for source in ("$request.header.Authorization", ["$request.header.Authorization"]):
        scheme = {"type": "openIdConnect", "openIdConnectUrl": "https://idp.example.com/.well-known/openid-configuration",
                  "x-amazon-apigateway-authorizer": {
                      "type": "JWT", "identitySource": source, "jwtConfiguration": {"Audience": ["a"]}}}
        ran, routes = imported(tmp_path, as_json(document(paths, components={"securitySchemes": {"who": scheme}})))
        assert ran.returncode == 0, ran.stderr
        jwt = routes["authorizers"]["who"]["jwt"]
        assert (jwt["issuer"], jwt["audience"], jwt["identity_source"]) == (
            "https://idp.example.com", ["a"], "$request.header.Authorization")
        assert routes["routes"]["POST /a"]["authorizer"] == "who"
        assert "`Audience` is taken for `audience`" in ran.stderr
        assert "`Type` is taken for `type`" in ran.stderr


def test_security_that_nobody_can_check_leaves_no_route_open(tmp_path):
    schemes = {"plain": {"type": "http", "scheme": "basic"}}
    paths = {"/a": {"post": {**SEND, "security": [{"plain": []}]}}, "/b": {"post": {**SEND, "security": [{"unknown": []}]}}}
    ran, routes = imported(tmp_path, as_json(document(paths, components={"securitySchemes": schemes})))
    assert ran.returncode == 1
    assert not routes.get("routes"), routes
    assert "the authorizer `plain` cannot be had" in ran.stderr and "the authorizer `unknown` is not declared" in ran.stderr
    # the document's own security holds where an operation has none
    scheme = PARTS["components"]["securitySchemes"]["idp"]
    whole = document({"/a": {"post": SEND}, "/open": {"post": {**SEND, "security": []}}},
                     components={"securitySchemes": {"idp": scheme}}, security=[{"idp": []}])
    ran, routes = imported(tmp_path, as_json(whole))
    assert ran.returncode == 0, ran.stderr
    assert routes["routes"]["POST /a"]["authorizer"] == "idp"
    assert routes["routes"]["POST /open"]["authorizer"] == "none"


def test_base_paths_of_servers(tmp_path):
    servers = [{"url": "https://x.execute-api.eu-west-1.amazonaws.com/{basePath}/v2", "variables": {"basePath": {"default": "prod"}}}]
    for mode, key in ((None, "POST /a"), ("ignore", "POST /a"), ("prepend", "POST /prod/v2/a"), ("split", "POST /v2/a")):
        own = {"basepath": mode} if mode else {}
        ran, routes = imported(tmp_path, as_json(document({"/a": {"post": SEND}}, own, servers=servers)))
        assert ran.returncode == 0 and list(routes["routes"]) == [key], (mode, ran.stderr)


def test_what_is_no_document_is_refused(tmp_path):
    for text, said in (
        ("routes: {}\n", "this is none of the vendor's documents"),
        ('swagger: "2.0"\npaths: {}\n', "OpenAPI 2.0 (Swagger)"),
        ('{"openapi": "3.0.1", "paths": {"/a": {}, "/a": {}}}', "this key is written twice"),
        ('{"openapi": "3.0.1",}', "remove the comma"),
    ):
        ran, _ = imported(tmp_path, text)
        assert ran.returncode == 1 and said in ran.stderr, (text, ran)


def test_the_imported_file_answers_as_the_document_does(gateway, fake, tmp_path):
    own = {"aws": {"region": "eu-west-1", "endpoint": fake.url}}
    text = as_json(document({"/": {"post": SEND}, "/m": {"get": {"x-amazon-apigateway-integration": {
        "type": "mock", "requestTemplates": {"application/json": '{"statusCode": 200}'},
        "responses": {"default": {"statusCode": "204", "responseParameters": {
            "method.response.header.x-from": "'the mock'"}}}}}}}, own))
    ran, _ = imported(tmp_path, text)
    one, other = gateway(text, name="api.json"), gateway(ran.stdout)
    for method, path, body in (("POST", "/", '{"MessageBody": "x"}'), ("POST", "/", "{}"), ("GET", "/m", None), ("GET", "/n", None)):
        ours, theirs = one.request(method, path, body), other.request(method, path, body)
        assert (ours.status, ours.headers.get("content-type"), ours.headers.get("x-from")) == (
            theirs.status, theirs.headers.get("content-type"), theirs.headers.get("x-from")), (path, ours, theirs)
    assert one.request("GET", "/m").headers["x-from"] == "the mock"
