"""Who may use the SQS listener: signatures by botocore and by hand, and what a configuration has to say about it."""

import datetime

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support import http1
from support.gateway import penstock, write_config
from support.sqs_wire import (
    KEY, SECRET, USERS, Query, client, json_call, queue, receive, refused, signed_headers, texts, url, wire_config,
)


@pytest.fixture(scope="module")
def one(shared_gateway):
    return shared_gateway(wire_config(credentials=USERS))


def by_hand(one, body=b"{}", **changes):
    """A signed ListQueues with some of its headers changed after signing; None removes one."""
    headers = {
        "host": "{}:{}".format(*one.sqs_address), "x-amz-target": "AmazonSQS.ListQueues",
        "content-type": "application/x-amz-json-1.0",
    }
    headers = signed_headers(url(one), "POST", "/", b"{}", headers)
    for name, value in changes.items():
        name = name.replace("_", "-")
        headers = {k: v for k, v in headers.items() if k.lower() != name}
        if value is not None:
            headers[name] = value
    return http1.request(one.sqs_address, "POST", "/", body, headers)


def test_a_signed_client_does_everything(one):
    sqs = client(one)
    made = queue(sqs)
    sqs.send_message(QueueUrl=made, MessageBody="signed é")
    (message,) = receive(sqs, made)
    assert message["Body"] == "signed é"
    sqs.delete_message(QueueUrl=made, ReceiptHandle=message["ReceiptHandle"])


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "mars-north-1"])
def test_any_region_will_do_unless_one_is_written(one, region):
    assert client(one, region=region).list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_session_token_is_part_of_the_credentials(one):
    client(one, "AKIDGUEST", token="a+token/of=mine").list_queues()
    for token in [None, "another"]:
        refused("InvalidClientTokenId", client(one, "AKIDGUEST", token=token).list_queues, 403)
    refused("InvalidClientTokenId", client(one, token="uncalled-for").list_queues, 403)


def test_who_is_not_known_or_signs_wrong_is_refused(one):
    message = refused("SignatureDoesNotMatch", client(one, secret="wrong").list_queues, 403)
    assert "signature we calculated does not match" in message
    refused("InvalidClientTokenId", client(one, key="AKIDNOBODY").list_queues, 403)
    refused("InvalidClientTokenId", client(one, key="AKIDGONE").list_queues, 403)


def test_a_request_without_a_signature_is_refused_in_both_protocols(one):
    answer = json_call(one, "ListQueues", {})
    assert answer.status == 403
    assert answer.json()["__type"] == "com.amazon.coral.service#MissingAuthenticationTokenException"
    assert answer.headers["x-amzn-query-error"] == "MissingAuthenticationToken;Sender"
    status, tree = Query(one)("ListQueues")
    assert status == 403 and texts(tree, "Error/Code") == ["MissingAuthenticationToken"]
    status, tree = Query(one, signed=True)("ListQueues")
    assert status == 200
    status, tree = Query(one, signed=True)("ListQueues", method="GET", QueueNamePrefix="a b+c/é")
    assert status == 200


@pytest.mark.parametrize("changes,status,code", [
    ({}, 200, None),
    ({"x_amz_target": "AmazonSQS.DeleteQueue"}, 403, "SignatureDoesNotMatch"),
    ({"content_type": "application/json"}, 403, "SignatureDoesNotMatch"),
    ({"host": "elsewhere"}, 403, "SignatureDoesNotMatch"),
    ({"body": b"{ }"}, 403, "SignatureDoesNotMatch"),
    ({"x_amz_added": "later"}, 400, "IncompleteSignature"),
    ({"x_amz_date": None}, 400, "IncompleteSignature"),
    ({"x_amz_content_sha256": "UNSIGNED-PAYLOAD"}, 400, "IncompleteSignature"),
    ({"authorization": "nonsense"}, 400, "IncompleteSignature"),
    ({"authorization": "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c"}, 400, "IncompleteSignature"),
    ({"authorization": "AWS4-HMAC-SHA256 " + "x" * 8000}, 400, "IncompleteSignature"),
])
def test_what_was_changed_after_signing_is_noticed(one, changes, status, code):
    answer = by_hand(one, **changes)
    assert answer.status == status, answer
    if code:
        assert answer.headers["x-amzn-query-error"] == f"{code};Sender"


def test_an_old_signature_is_expired(one, monkeypatch):
    for minutes, says in [(-20, "Signature expired"), (20, "Signature not yet current")]:
        moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: moment.replace(tzinfo=None))
        assert says in refused("RequestExpired", client(one).list_queues, 400)


def test_a_presigned_url_works_until_it_is_changed(one):
    request = AWSRequest("GET", f"{url(one)}/?Action=ListQueues&QueueNamePrefix=a%20b")
    SigV4QueryAuth(Credentials(KEY, SECRET), "sqs", "eu-west-1", expires=60).add_auth(request)
    target = request.url.removeprefix(url(one))
    assert http1.request(one.sqs_address, "GET", target).status == 200
    assert http1.request(one.sqs_address, "GET", target.replace("a%20b", "a%20c")).status == 403
    assert http1.request(one.sqs_address, "GET", target.replace("Expires=60", "Expires=61")).status == 403


def test_a_region_that_is_written_is_the_only_one(gateway):
    one = gateway(wire_config(credentials=USERS, region="eu-north-1"))
    made = queue(client(one, region="eu-north-1"))
    shown = client(one, region="eu-north-1").get_queue_attributes(QueueUrl=made, AttributeNames=["QueueArn"])
    assert shown["Attributes"]["QueueArn"].startswith("arn:aws:sqs:eu-north-1:000000000000:")
    message = refused("SignatureDoesNotMatch", client(one, region="eu-west-1").list_queues, 403)
    assert "valid region" in message


def test_credentials_may_stand_in_a_file_and_come_from_outside(gateway, tmp_path):
    users = tmp_path / "users.yaml"
    users.write_text("users:\n  - { name: a, access_key_id: AKIDFILE, secret_access_key: '${env:WIRE_SECRET}' }\n")
    one = gateway(wire_config(credentials=str(users)), env={"WIRE_SECRET": "from/outside"})
    client(one, "AKIDFILE", "from/outside").list_queues()
    refused("SignatureDoesNotMatch", client(one, "AKIDFILE", "wrong").list_queues, 403)
    assert "from/outside" not in one.logs()
    assert "from/outside" not in one.admin("/v1/plan").body.decode()


@pytest.mark.parametrize("sqs,says", [
    ({}, "nobody could use this listener"),
    ({"anonymous": True, "bind": "0.0.0.0:9324"}, "not loopback"),
    ({"anonymous": True, "credentials": USERS}, "would mean nothing"),
    ({"credentials": []}, "there is no user"),
    ({"credentials": [USERS[0], USERS[0]]}, "access key id of the user `shop` too"),
    ({"credentials": [{"name": "a", "access_key_id": "b"}]}, "secret_access_key"),
    ({"credentials": [{**USERS[0], "secret": "x"}]}, "unknown key"),
    ({"credentials": "missing.yaml"}, "missing.yaml"),
    ({"anonymous": True, "bind": "nowhere"}, "is not an address"),
])
def test_check_says_what_to_write(tmp_path, sqs, says):
    document = wire_config(**sqs)
    if "bind" not in sqs:
        document["sqs"]["bind"] = "127.0.0.1:9324"
    checked = penstock("check", write_config(tmp_path, document), cwd=tmp_path)
    printed = checked.stdout + checked.stderr
    assert checked.returncode == 1 and says in printed, printed
    assert SECRET not in printed


def test_problems_in_a_file_of_users_are_told_at_their_places(tmp_path):
    (tmp_path / "users.yaml").write_text("users:\n  - name: a\n    access_key_id: b\n    secret_acess_key: hush-hush\n")
    checked = penstock("check", write_config(tmp_path, wire_config(credentials="users.yaml")), cwd=tmp_path)
    printed = checked.stdout + checked.stderr
    assert checked.returncode == 1 and "users.yaml:" in printed and "secret_access_key" in printed, printed
    assert "hush" not in printed
