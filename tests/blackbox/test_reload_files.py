"""Every file that a configuration is made of is followed, whoever names it."""

import json

import pytest

from support.certificates import Authority
from support.gateway import config, write_config
from support.processes import eventually

TARGET = {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$request.body"}}


def renewals(one):
    """A file that changes in the moment of the start is seen by the first look at all files, which is a watch's."""
    metrics = one.metrics()
    return sum(metrics.value("penstock_config_reloads_total", origin=origin, result="published") for origin in ("renewal", "watch"))


def document(status, **more):
    """An OpenAPI document with one Mock route."""
    return {
        "openapi": "3.0.1", "info": {"title": "api", "version": "1"},
        "x-penstock": {"listeners": {"public": {"bind": "127.0.0.1:0"}}, "admin": {"bind": "127.0.0.1:0"}, "limits": {"cpu_wait": "none"}},
        "paths": {"/a": {"get": {"x-penstock": {"integration": {"Mock": {"status": status}}}}}},
        **more,
    }


def status(one, path="/a"):
    return one.request("GET", path).status


def test_the_file_of_variables_of_a_document(gateway, tmp_path):
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"Status": "201"}))
    text = document(0)
    text["paths"]["/a"]["get"]["x-penstock"]["integration"]["Mock"]["body"] = {"Ref": "Status"}
    text["paths"]["/a"]["get"]["x-penstock"]["integration"]["Mock"]["status"] = 200
    one = gateway(json.dumps(text), name="api.json", arguments=["--vars", names])
    said = lambda: one.request("GET", "/a").body
    assert said() == b"201"
    names.write_text(json.dumps({"Status": "202"}))
    eventually(lambda: said() == b"202", what="what the name stands for now")
    # Again, and by a rename.
    fresh = tmp_path / "fresh"
    fresh.write_text(json.dumps({"Status": "203"}))
    fresh.rename(names)
    eventually(lambda: said() == b"203", what="the second change")
    names.write_text("{")
    eventually(lambda: one.admin("/readyz").json()["configuration"]["refused"], what="the refusal")
    assert said() == b"203"


def test_a_file_that_a_document_includes(gateway, tmp_path):
    included = tmp_path / "paths.json"
    part = lambda status: json.dumps(document(status)["paths"]["/a"])
    included.write_text(part(201))
    text = document(200)
    text["paths"]["/a"] = {"Fn::Transform": {"Name": "AWS::Include", "Parameters": {"Location": str(included)}}}
    one = gateway(json.dumps(text), name="api.json")
    assert status(one) == 201
    included.write_text(part(202))
    eventually(lambda: status(one) == 202, what="the included file's change")
    assert renewals(one) >= 1


def test_a_schema_and_a_schema_that_it_refers_to(gateway, tmp_path):
    schema, part = tmp_path / "order.json", tmp_path / "part.json"
    schema.write_text(json.dumps({"type": "object", "properties": {"n": {"$ref": "part.json"}}}))
    part.write_text(json.dumps({"type": "integer"}))
    one = gateway(config({"POST /q": {"schema": str(schema), "integration": TARGET}}, queues={"q": {}}))
    send = lambda body: one.request("POST", "/q", body).status
    assert (send(b'{"n":1}'), send(b'{"n":"a"}')) == (202, 400)
    part.write_text(json.dumps({"type": "string"}))
    eventually(lambda: (send(b'{"n":1}'), send(b'{"n":"a"}')) == (400, 202), what="the other schema")
    schema.write_text(json.dumps({"type": "array"}))
    eventually(lambda: send(b'{"n":"a"}') == 400 and send(b"[]") == 202, what="another one still")


def test_files_of_users_keys_policies_and_key_sets(gateway, tmp_path):
    import hashlib
    key = lambda text: "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    keys, policy = tmp_path / "keys.yaml", tmp_path / "policy.json"
    allowing = lambda effect: json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": effect, "Principal": "*", "Action": "execute-api:Invoke", "Resource": "*"}]})
    keys.write_text(f"api_keys:\n  acme: {{ hash: \"{key('psk_first_0123456789abcdef0123456789')}\" }}\n")
    policy.write_text(allowing("Allow"))
    one = gateway(config({"GET /a": {"authorizer": "api_key", "integration": {"Mock": {"status": 200}}}},
                         api_key_files=[str(keys)], policy=f"${{file:{policy}}}"))
    ask = lambda key: one.request("GET", "/a", headers={"x-api-key": key}).status
    assert ask("psk_first_0123456789abcdef0123456789") == 200
    keys.write_text(f"api_keys:\n  acme: {{ hash: \"{key('psk_second_0123456789abcdef012345678')}\" }}\n")
    eventually(lambda: ask("psk_second_0123456789abcdef012345678") == 200, what="the new key")
    assert ask("psk_first_0123456789abcdef0123456789") == 403
    policy.write_text(allowing("Deny"))
    eventually(lambda: ask("psk_second_0123456789abcdef012345678") == 403, what="the new policy")


def test_the_authorities_that_the_gateway_s_own_requests_trust(gateway, tmp_path):
    first, second = Authority(tmp_path / "one"), Authority(tmp_path / "two")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(first.cert.read_bytes())
    one = gateway(config({"GET /a": {"integration": {"Mock": {"status": 200}}}}, egress={"ca": str(ca)}))
    ca.write_bytes(second.cert.read_bytes())
    eventually(lambda: renewals(one) >= 1, what="the new authorities")
    ca.write_text("nothing of the kind")
    eventually(lambda: one.admin("/readyz").json()["configuration"]["refused"], what="the refusal")
    assert status(one) == 200
