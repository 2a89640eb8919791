"""Gateways that answer the SQS protocol, and clients of it: boto3, and requests of the Query protocol by hand."""

import json
import xml.etree.ElementTree as xml
from urllib.parse import quote, urlencode

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from . import http1
from .emulators import unique
from .gateway import config

ACCOUNT = "000000000000"
NAMESPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"
KEY, SECRET = "AKIDWIRE", "wire/secret+key"
USERS = [
    {"name": "shop", "access_key_id": KEY, "secret_access_key": SECRET},
    {"name": "guest", "access_key_id": "AKIDGUEST", "secret_access_key": SECRET, "session_token": "a+token/of=mine"},
    {"name": "gone", "access_key_id": "AKIDGONE", "secret_access_key": SECRET, "enabled": False},
]
ROUTES = {
    "POST /raw": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:declared", "MessageBody": "$request.body"}}},
}


def wire_config(**sqs):
    """A configuration with the listener on a free port and one declared queue."""
    return config(ROUTES, queues={"declared": {}}, sqs={"bind": "127.0.0.1:0", **sqs})


def url(gateway):
    return "http://{}:{}".format(*gateway.sqs_address)


def client(gateway, key=KEY, secret=SECRET, token=None, region="eu-west-1", **options):
    """boto3's client for SQS at the listener; without retries, so that a test sees the first answer."""
    return boto3.client(
        "sqs", endpoint_url=url(gateway), region_name=region,
        aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token,
        config=Config(**{"retries": {"total_max_attempts": 1}, "read_timeout": 120, **options}),
    )


def queue(sqs, stem="q", fifo=False, **attributes):
    """A queue of the test's own: its URL."""
    name = unique(stem)
    if fifo:
        name, attributes = name + ".fifo", {"FifoQueue": "true", **attributes}
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def arn(sqs, queue_url):
    got = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    return got["Attributes"]["QueueArn"]


def attributes(sqs, queue_url, *names):
    return sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=list(names) or ["All"]).get("Attributes", {})


def receive(sqs, queue_url, **options):
    """The messages of one receive."""
    return sqs.receive_message(QueueUrl=queue_url, **{"MaxNumberOfMessages": 10, **options}).get("Messages", [])


def refused(code, call, status=None, **parameters):
    """Calls, and expects a refusal with this code; its message."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    response = caught.value.response
    assert response["Error"]["Code"] == code, response
    if status is not None:
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status, response
    assert response["ResponseMetadata"]["RequestId"], response
    return response["Error"]["Message"]


def signed_headers(address, method, target, body, headers, key=KEY, secret=SECRET, region="eu-west-1"):
    """Headers with a signature by botocore."""
    request = AWSRequest(method, address + target, headers=headers, data=body)
    SigV4Auth(Credentials(key, secret), "sqs", region).add_auth(request)
    return dict(request.headers.items())


class Query:
    """The Query protocol, by hand: `query("SendMessage", QueueUrl=…)` gives the status and the document."""

    def __init__(self, gateway, signed=False):
        self.gateway = gateway
        self.signed = signed

    def __call__(self, action, target="/", method="POST", **parameters):
        form = urlencode({"Action": action, "Version": "2012-11-05", **parameters}, quote_via=quote, safe="")
        return self.send(form, target, method)

    def send(self, form, target="/", method="POST"):
        headers = {"host": "{}:{}".format(*self.gateway.sqs_address)}
        if method == "GET":
            target, body = f"{target}?{form}", b""
        else:
            headers["content-type"] = "application/x-www-form-urlencoded; charset=utf-8"
            body = form.encode()
        if self.signed:
            headers = signed_headers(url(self.gateway), method, target, body, headers)
        answer = http1.request(self.gateway.sqs_address, method, target, body or None, headers)
        assert answer.headers["content-type"].startswith("text/xml"), answer
        assert answer.headers["x-amzn-requestid"], answer
        return answer.status, xml.fromstring(answer.body)


def texts(tree, path):
    """The texts at a path of plain names."""
    steps = "/".join(NAMESPACE + step for step in path.split("/"))
    return [element.text or "" for element in tree.findall(".//" + steps)]


def json_call(gateway, action, body, headers=None):
    """A request of the JSON protocol, by hand."""
    headers = {
        "x-amz-target": f"AmazonSQS.{action}", "content-type": "application/x-amz-json-1.0", **(headers or {}),
    }
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http1.request(gateway.sqs_address, "POST", "/", body, headers)
