"""Resource policies in the vendor's JSON: who may call, before and beside every authorizer."""

import hashlib
import json

import pytest

from support.gateway import config, penstock, write_config

ECHO = {"integration": {"Mock": {"status": 200, "body": "hello"}}}
ARN = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/DemoStage/GET/hello"
SEED = """{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "execute-api:Invoke",
            "Resource": "%s"
        },
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "execute-api:Invoke",
            "Resource": "%s",
            "Condition": { "StringNotEquals": { "aws:SourceVpce": "vpce-0123456789abcdef0" } }
        }
    ]
}""" % (ARN, ARN)


def proxied(vpce=None):
    """A PROXY v2 header from 10.1.2.3, with the endpoint's id as a load balancer of the vendor writes it."""
    addresses = bytes([10, 1, 2, 3, 10, 0, 0, 5]) + (40000).to_bytes(2, "big") + (8080).to_bytes(2, "big")
    if vpce:
        value = b"\x01" + vpce.encode()
        addresses += b"\xea" + len(value).to_bytes(2, "big") + value
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + len(addresses).to_bytes(2, "big") + addresses


def through(gateway, header, path):
    with gateway.raw() as raw:
        raw.socket.sendall(header + f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answer = b""
        while piece := raw.socket.recv(65536):
            answer += piece
        return int(answer.split(b" ")[1])


@pytest.mark.parametrize("form", ["file", "mapping", "text"])
def test_the_seed_s_policy_lets_its_endpoint_in_and_nobody_else(gateway, tmp_path, form):
    (tmp_path / "policy.json").write_text(SEED)
    document = config({"GET /hello": {"authorizer": "none", **ECHO}, "GET /other": {"authorizer": "none", **ECHO}}, stage="DemoStage")
    document["policy"] = {"file": "${file:%s}" % (tmp_path / "policy.json"), "mapping": json.loads(SEED), "text": SEED}[form]
    document["listeners"] = {"private": {"bind": "127.0.0.1:0", "proxy_protocol": "v2"}}
    one = gateway(document)
    assert through(one, proxied("vpce-0123456789abcdef0"), "/DemoStage/hello") == 200
    assert through(one, proxied("vpce-0ffffffffffffffff"), "/DemoStage/hello") == 403
    assert through(one, proxied(), "/DemoStage/hello") == 403
    assert through(one, proxied("vpce-0123456789abcdef0"), "/DemoStage/other") == 403, "silence allows nothing"
    causes = [json.dumps(line) for line in one.access_log(at_least=4)]
    assert "Statement[1] of the resource policy denies it" in causes[1], causes
    assert "no statement allows it" in causes[3], causes


def statement(effect, resource="execute-api:/*", **more):
    return {"Effect": effect, "Principal": "*", "Action": "execute-api:Invoke", "Resource": resource, **more}


def document(*statements):
    return {"Version": "2012-10-17", "Statement": list(statements)}


def test_a_route_has_a_policy_of_its_own_beside_the_api_s(gateway):
    near = {"IpAddress": {"aws:SourceIp": ["127.0.0.0/8", "::1/128"]}}
    one = gateway(config(
        {
            "GET /near": {"authorizer": "none", "policy": document(statement("Allow", Condition=near)), **ECHO},
            "GET /far": {"authorizer": "none", "policy": document(statement("Allow", Condition={"NotIpAddress": near["IpAddress"]})), **ECHO},
            "GET /closed": {"authorizer": "none", "policy": document(statement("Allow")), **ECHO},
            "GET /silent": {"authorizer": "none", **ECHO},
            "GET /agent": {"authorizer": "none", "policy": document(statement("Allow", Condition={"StringLike": {"aws:UserAgent": "good/*"}})), **ECHO},
        },
        policy=document(statement("Deny", "execute-api:/*/GET/closed", Sid="Closed")),
    ))
    for path, status in (("/near", 200), ("/far", 403), ("/closed", 403), ("/c%6Cosed", 403), ("/silent", 403)):
        answer = one.request("GET", path)
        assert answer.status == status, path
        if status == 403:
            assert answer.code == "forbidden"
            line = one.log_line(answer.json()["requestId"])
            assert line["authorize"]["status"] == 403 if isinstance(line.get("authorize"), dict) else "authorize" in json.dumps(line)
    assert one.request("GET", "/agent", headers={"user-agent": "good/1"}).status == 200
    assert one.request("GET", "/agent", headers={"user-agent": "bad/1"}).status == 403


def test_with_an_api_key_the_resource_policy_alone_must_allow(gateway):
    hashed = "sha256:" + hashlib.sha256(b"good").hexdigest()
    one = gateway(config(
        {"GET /a": {"authorizer": "api_key", **ECHO}, "GET /b": {"authorizer": "api_key", **ECHO}},
        api_keys={"acme": {"hash": hashed}}, policy=document(statement("Allow", "execute-api:/*/GET/a")),
    ))
    assert one.request("GET", "/a").code == "api_key_refused"
    assert one.request("GET", "/a", headers={"x-api-key": "good"}).status == 200
    assert one.request("GET", "/b", headers={"x-api-key": "good"}).code == "forbidden"


def test_explain_says_which_statement_decided(tmp_path):
    path = write_config(tmp_path, config(
        {"GET /a": {"authorizer": "none", **ECHO}, "GET /b": {"authorizer": "none", **ECHO}},
        policy=document(statement("Allow", Sid="Everyone"), statement("Deny", "execute-api:/*/GET/b", Sid="NoB")),
    ))
    allowed = penstock("explain", path, "GET", "/a")
    assert "statement `Everyone` of the resource policy" in allowed.stdout, allowed.stdout + allowed.stderr
    denied = penstock("explain", path, "GET", "/b")
    assert "statement `NoB` of the resource policy denies it" in denied.stdout, denied.stdout + denied.stderr


def test_the_dialect_of_the_vendor_says_forbidden(gateway):
    one = gateway(config({"GET /a": {"authorizer": "none", **ECHO}}, policy=document(statement("Deny")), responses="aws"))
    answer = one.request("GET", "/a")
    assert (answer.status, answer.body) == (403, b'{"message":"Forbidden"}')
