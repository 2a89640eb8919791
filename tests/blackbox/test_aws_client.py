"""The calls that the gateway signs and sends itself, seen by the service: botocore's signer agrees with every signature,
and they arrive where the settings of AWS's tools say."""

import base64
import json
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support.fake_aws import FakeAws
from support.gateway import config

REGION = "eu-central-1"
QUEUE = "https://sqs.eu-central-1.amazonaws.com/111122223333/orders"
ROUTES = {
    "POST /sqs": {"integration": {"SQS-SendMessage": {
        "QueueUrl": QUEUE, "MessageBody": "$request.body", "MessageAttributes": {"kind": "é \"quoted\""}}}},
    "POST /kinesis": {"integration": {"Kinesis-PutRecord": {
        "StreamName": "clicks", "Data": "$request.body", "PartitionKey": "k"}}},
    "POST /events": {"integration": {"EventBridge-PutEvents": {
        "Detail": "$request.body", "DetailType": "t", "Source": "s"}}},
}
OPERATIONS = {"sqs": "SQS-SendMessage", "kinesis": "Kinesis-PutRecord", "events": "EventBridge-PutEvents"}
BODY = json.dumps({"text": "é \\ \" \t 🎈 / ", "list": list(range(50))}, ensure_ascii=False).encode()


@pytest.fixture
def second():
    endpoint = FakeAws().start()
    yield endpoint
    endpoint.stop()


def send_each(one):
    for name in OPERATIONS:
        answer = one.request("POST", f"/{name}", BODY)
        assert answer.status == 202, (name, answer, one.logs())


def authorization(call, endpoint, token):
    """What botocore makes of the same request, at the same time."""
    signed = call.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    scope = call.headers["authorization"].partition("Credential=")[2].partition(",")[0].split("/")
    request = AWSRequest("POST", endpoint, data=call.body, headers={
        name: value for name, value in call.headers.items() if name in signed and name != "host"})
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", token), scope[3], scope[2])
    request.context["timestamp"] = call.headers["x-amz-date"]
    canonical = signer.canonical_request(request)
    return f"Signature={signer.signature(signer.string_to_sign(request, canonical), request)}", signed


@pytest.mark.parametrize("token", [None, "IQoJb3JpZ2luX2VjE//+=="], ids=["key", "session"])
@pytest.mark.parametrize("path", ["", "/base", "/a%20b/c"], ids=["root", "path", "encoded"])
def test_botocore_agrees_with_every_signature(gateway, fake, token, path):
    one = gateway(config(ROUTES, aws={"region": REGION, "endpoint": fake.url + path}), env={
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG", "AWS_SESSION_TOKEN": token})
    send_each(one)
    assert [call.operation for call in fake.calls] == list(OPERATIONS.values())
    for call in fake.calls:
        signature, signed = authorization(call, fake.url + call.path, token)
        assert call.headers["authorization"].endswith(signature), call
        assert {"host", "x-amz-date", "x-amz-target", "content-type"} <= set(signed)
        assert ("x-amz-security-token" in signed) == bool(token)
        assert call.headers["host"] == urlsplit(fake.url).netloc
        assert call.headers["user-agent"].startswith("penstock/")
        assert f"/{REGION}/" in call.headers["authorization"]
        assert call.path == (path or "") + "/"


def test_what_arrives_is_what_was_sent(gateway, fake):
    one = gateway(config(ROUTES, aws={"region": REGION, "endpoint": fake.url}))
    send_each(one)
    sqs, kinesis, events = (call.json for call in fake.calls)
    assert sqs == {"QueueUrl": QUEUE, "MessageBody": BODY.decode(), "MessageAttributes": {
        "kind": {"DataType": "String", "StringValue": "é \"quoted\""}}}
    assert base64.b64decode(kinesis.pop("Data")) == BODY
    assert kinesis == {"StreamName": "clicks", "PartitionKey": "k"}
    assert events == {"Entries": [{"Detail": BODY.decode(), "DetailType": "t", "Source": "s"}]}


def test_endpoints_of_the_environment_and_of_profiles_are_followed(gateway, fake, second, tmp_path):
    profile = tmp_path / "aws-config"
    profile.write_text(
        f"[profile own]\nendpoint_url = {fake.url}\nservices = mine\n[services mine]\nkinesis =\n"
        f"  endpoint_url = {second.url}/profile\n")
    one = gateway(config(ROUTES, aws={"region": REGION}), env={
        "AWS_ENDPOINT_URL_SQS": second.url + "/environment",
        "AWS_CONFIG_FILE": str(profile), "AWS_PROFILE": "own"})
    send_each(one)
    assert [call.operation for call in fake.calls] == ["EventBridge-PutEvents"]
    assert {call.operation: call.path for call in second.calls} == {
        "SQS-SendMessage": "/environment/", "Kinesis-PutRecord": "/profile/"}


def test_the_proxy_of_the_environment_is_asked(gateway, fake, second):
    """`second` is the proxy of one host, and NO_PROXY leaves out the other."""
    proxy = second.url.replace("http://", "http://user:word@")
    aws = {"region": REGION, "endpoint": fake.url, "endpoints": {"sqs": "http://queues.example:4566/base"}}
    one = gateway(config(ROUTES, aws=aws), env={"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"})
    send_each(one)
    assert [call.operation for call in fake.calls] == ["Kinesis-PutRecord", "EventBridge-PutEvents"]
    [call] = second.calls
    assert (call.operation, call.path, call.host) == ("SQS-SendMessage", "http://queues.example:4566/base/", "queues.example:4566")
    assert call.headers["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
