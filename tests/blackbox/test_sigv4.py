"""Requests signed with AWS Signature Version 4, by signers that nobody here wrote."""

import json
import os
import subprocess
import sys

import pytest

from support.emulators import TOOLS
from support.gateway import config, environment, penstock, receive_all, write_config
from support.signing import KEY, SECRET, botocore, javascript, send

ECHO = {"integration": {"Mock": {
    "status": 200,
    "body": "${context.authorizer.principalId} ${context.authorizer.iam.accessKey} ${context.authorizer.iam.userArn}",
}}}
USERS = [
    {"name": "shop", "access_key_id": KEY, "secret_access_key": SECRET},
    {"name": "temp", "access_key_id": "ASIATEMP", "secret_access_key": "temp-secret", "session_token": "a/token+=="},
    {"name": "gone", "access_key_id": "AKIDGONE", "secret_access_key": "gone-secret", "enabled": False},
    {"name": "reader", "access_key_id": "AKIDREADER", "secret_access_key": "reader-secret", "policy": {
        "Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "execute-api:/*/GET/*"},
            {"Sid": "NoSecrets", "Effect": "Deny", "Action": "*", "Resource": "execute-api:/*/*/secret/*"},
        ]}},
    {"name": "partner", "access_key_id": "AKIDPARTNER", "secret_access_key": "partner-secret", "account": "111122223333"},
]


def signed_api(**sigv4):
    send_order = {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}
    return config(
        {
            "POST /orders": {"authorizer": "aws", "integration": send_order},
            "POST /limited": {"authorizer": "aws", "limits": {"body": 10}, "integration": send_order},
            "POST /unready": {"authorizer": "aws", "integration": {"SQS-SendMessage": {
                "QueueUrl": "queue:orders", "MessageBody": "$request.header.x-body"}}},
            "ANY /any/{proxy+}": {"authorizer": "aws", **ECHO},
            "ANY /secret/{proxy+}": {"authorizer": "aws", **ECHO},
            "$default": {"authorizer": "aws", **ECHO},
            "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders"}}},
            "DELETE /messages/{handle}": {"integration": {"SQS-DeleteMessage": {
                "QueueUrl": "queue:orders", "ReceiptHandle": "$request.path.handle"}}},
        },
        queues={"orders": {}},
        aws={"region": "us-east-1"},
        authorizers={"aws": {"sigv4": {"credentials": USERS, **sigv4}}},
    )


@pytest.fixture(scope="module")
def api(shared_gateway):
    return shared_gateway(signed_api())


PATHS = [
    "/any/plain", "/any/", "/any/a%20b", "/any/%C3%A9t%C3%A9", "/any/a+b",
    "/any/a%2Fb", "/any/a%2fb", "/any/~tilde_-.", "/any/%7Etilde", "/any/a:b@c,d;e=f", "/any/!*'()", "/any/a%25b",
    "/any/x?a=1&b=2", "/any/x?b=2&a=1", "/any/x?a=&b", "/any/x?flag", "/any/x?a=2&a=1&a=10", "/any/x?q=a%20b",
    "/any/x?q=a%2Bb", "/any/x?q=%C3%A9", "/any/x?a=1%262", "/any/x?A=1&a=2&-=3", "/any/x?q=~_-.", "/any/x?url=http%3A%2F%2Fx%2Fy",
]
# What the signers of JavaScript are asked for as maps of names to values cannot be spelled in two ways.
AS_SENT = ["/any/x?q=a+b", "/any/x?q=a=b=c", "/any/x?q=a/b:c", "/any/x?q=%c3%a9", "/any/x?a=1&&b=2&", "/any/x?q=(!*)"]


# Signers leave empty and dot segments out of what they sign: what they sign is another path than the one that is sent.
OTHER_PATHS = {"/any//double///slash": "does not match", "/any/./dot": "'.' or '..'", "/any/dot/../up": "'.' or '..'",
               "/any/%2e%2E/up": "'.' or '..'"}


@pytest.mark.parametrize("path", OTHER_PATHS)
def test_a_path_that_signers_shorten_is_refused(api, path):
    for form in ({}, {"declare": True}, {"presigned": 300}):
        answer = send(api, botocore(api, "GET", path, **form), "GET")
        assert (answer.status, answer.code) == (403, "signature_refused")
        assert OTHER_PATHS[path] in json.dumps(api.log_line(answer.json()["requestId"]))


def test_a_signature_for_one_path_opens_no_other(api):
    _, headers = botocore(api, "GET", "/any/c", declare=True)
    for path in ("/secret/../any/c", "/any//c", "//any/c", "/any/./c"):
        assert send(api, (path, headers), "GET").code == "signature_refused", path
    assert send(api, ("/any/c", headers), "GET").status == 200


def test_a_header_that_is_said_to_be_signed_twice_is_refused(api):
    path, headers = botocore(api, "GET", "/any/x", headers={"x-long": "v" * 4000})
    name = next(name for name in headers if name.lower() == "authorization")
    for names in (";".join(["x-long"] * 900), "X-Long"):
        changed = {**headers, name: headers[name].replace("x-long", names)}
        answer = send(api, (path, changed), "GET")
        assert answer.code == "signature_refused"
        assert "SignedHeaders" in json.dumps(api.log_line(answer.json()["requestId"]))
    assert send(api, (path, headers), "GET").status == 200


def test_a_webhook_s_question_is_answered_only_to_who_signed_it(gateway):
    document = signed_api()
    document["authorizers"]["meta"] = {"webhook": {"preset": "meta", "secrets": ["s"], "config": {"verify_token": "meaty"}}}
    document["routes"]["POST /hooks"] = {"authorizer": ["aws", "meta"], **ECHO}
    one = gateway(document)
    question = "/hooks?hub.mode=subscribe&hub.challenge=115&hub.verify_token=meaty"
    for form in ({}, {"declare": True}):
        # With a body that is not declared, the signature is proven once the body is there.
        wrong = botocore(one, "GET", question, b"x", secret="wrong", **form)
        assert send(one, wrong, "GET", b"x").code == "signature_refused"
        answer = send(one, botocore(one, "GET", question, b"x", **form), "GET", b"x")
        assert (answer.status, answer.body) == (200, b"115"), answer


@pytest.mark.parametrize("path", PATHS + AS_SENT)
def test_botocore_signs_odd_paths_and_queries(api, path):
    for method, body in (("GET", b""), ("POST", b'{"id":1}')):
        for form in ({}, {"declare": True}, {"presigned": 300}):
            signed = botocore(api, method, path, body, {"content-type": "application/json"} if body else {}, **form)
            answer = send(api, signed, method, None if form.get("presigned") else body or None)
            assert answer.status == 200, (form, signed, answer, api.access_log()[-1])
            assert answer.body.decode() == f"shop {KEY} arn:aws:iam::000000000000:user/shop"


@pytest.mark.parametrize("signer", ["smithy", "aws4"])
def test_javascript_signs_odd_paths_and_queries(api, signer):
    host = "{}:{}".format(*api.address)
    requests = [
        {"signer": signer, "method": method, "path": path, "host": host, "presign": presign, **({"body": "{}"} if method == "POST" else {})}
        for path in PATHS for method in ("GET", "POST") for presign in (False, True)
    ]
    for request, signed in zip(requests, javascript(requests)):
        answer = send(api, signed, request["method"], request.get("body"))
        assert answer.status == 200, (request, signed, answer, api.access_log()[-1])


@pytest.mark.parametrize("path", ["/any/plain", "/any/a%20b", "/any/x?a=1&b=2", "/any/x?flag"])
def test_awscurl_signs(api, path):
    awscurl = TOOLS / "signers" / "bin" / "awscurl"
    if not awscurl.exists():
        pytest.skip(os.environ.get("PENSTOCK_NO_SIGNERS") or "awscurl is not installed: run tests/run")
    ran = subprocess.run(
        [awscurl, "--service", "execute-api", "--region", "us-east-1", "--access_key", KEY, "--secret_key", SECRET,
         "-X", "POST", "-d", '{"id":1}', "-i", api.url + path],
        env=environment(), capture_output=True, text=True, timeout=60,
    )
    assert "shop" in ran.stdout, (ran.stdout, ran.stderr)


def test_session_tokens_go_with_their_key(api):
    temp = {"key": "ASIATEMP", "secret": "temp-secret"}
    for form in ({}, {"presigned": 60}):
        for token, status in (("a/token+==", 200), ("other", 403), (None, 403)):
            signed = botocore(api, "GET", "/any/x", token=token, **temp, **form)
            assert send(api, signed, "GET").status == status, (token, form)
    signed = botocore(api, "GET", "/any/x", token="surplus")
    assert send(api, signed, "GET").status == 403


WRONG = {
    "another secret": ({"secret": "other"}, "does not match"),
    "an unknown key": ({"key": "AKIDNOBODY"}, "security token included in the request is invalid"),
    "a disabled user": ({"key": "AKIDGONE", "secret": "gone-secret"}, "security token included in the request is invalid"),
    "another region": ({"region": "eu-west-1"}, "valid region"),
    "another service": ({"service": "sqs"}, "correct service"),
    "signed long ago": ({"at": -301}, "Signature expired"),
    "signed in the future": ({"at": 330}, "not yet current"),
    "an expired link": ({"presigned": 10, "at": -12}, "Signature expired"),
    "a link for too long": ({"presigned": 604_801}, "X-Amz-Expires"),
    "an unsigned body": ({"payload": "UNSIGNED-PAYLOAD"}, "UNSIGNED-PAYLOAD"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_403_and_only_the_log_says_why(api, what):
    changes, cause = WRONG[what]
    answer = send(api, botocore(api, "POST", "/any/x", b"body", **changes), "POST", b"body")
    assert (answer.status, answer.code) == (403, "signature_refused")
    assert answer.json()["detail"] == "The signature is not accepted."
    line = api.log_line(answer.json()["requestId"])
    assert cause in json.dumps(line), line
    assert SECRET not in json.dumps(line)


def test_requests_that_are_not_signed_and_those_signed_twice_are_refused(api):
    answer = api.request("GET", "/any/x")
    assert (answer.status, answer.code) == (403, "signature_refused")
    assert "Signature Version 4" in answer.json()["detail"]
    path, _ = botocore(api, "GET", "/any/x", presigned=60)
    _, headers = botocore(api, "GET", "/any/x")
    assert send(api, (path, headers), "GET").code == "signature_refused"
    assert api.request("GET", "/any/x", headers={"authorization": "Bearer x"}).code == "signature_refused"


def test_what_was_changed_on_the_way_is_refused(api):
    path, headers = botocore(api, "POST", "/any/x?a=1", b"body", {"x-amz-meta": "m", "content-type": "text/plain"})
    tampered = [
        ("POST", path + "0", headers, b"body"), ("POST", path.replace("x", "y"), headers, b"body"),
        ("PUT", path, headers, b"body"), ("POST", path, headers, b"bodY"), ("POST", path, headers, b""),
        ("POST", path, {**headers, "x-amz-meta": "n"}, b"body"), ("POST", path, {**headers, "x-amz-new": "1"}, b"body"),
        ("POST", path, {**headers, "host": "elsewhere.example"}, b"body"),
        ("POST", path + "&b=2", headers, b"body"),
    ]
    for method, path_sent, headers_sent, body in tampered:
        assert send(api, (path_sent, headers_sent), method, body).code == "signature_refused", (method, path_sent)
    assert send(api, (path, headers), "POST", b"body").status == 200


def test_a_refused_request_stores_nothing_and_is_refused_before_its_body_where_that_can_be_known(gateway):
    one = gateway(signed_api())
    for form in ({}, {"declare": True}):
        answer = send(one, botocore(one, "POST", "/orders", b"x", secret="wrong", **form), "POST", b"x")
        assert answer.code == "signature_refused"
    # A body of which only the hash is declared is not waited for.
    _, headers = botocore(one, "POST", "/orders", b"x" * 1000, secret="wrong", declare=True)
    with one.raw() as raw:
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() != "content-length")
        host = "{}:{}".format(*one.address)
        raw.socket.sendall(f"POST /orders HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1000\r\n{fields}\r\n".encode())
        assert raw.socket.recv(64).startswith(b"HTTP/1.1 403")
    assert send(one, botocore(one, "POST", "/orders", b"x", declare=True), "POST", b"y").code == "signature_refused"
    assert receive_all(one) == []
    assert send(one, botocore(one, "POST", "/orders", b"good"), "POST", b"good").status == 202
    assert receive_all(one) == ["good"]


def test_a_policy_says_what_a_user_may_call(api):
    reader = {"key": "AKIDREADER", "secret": "reader-secret"}
    for method, path, status in (("GET", "/any/x", 200), ("POST", "/any/x", 403), ("GET", "/secret/x", 403), ("GET", "/s%65cret/x", 403)):
        for form in ({}, {"declare": True}):
            body = b"b" if method == "POST" else b""
            answer = send(api, botocore(api, method, path, body, **reader, **form), method, body or None)
            assert answer.status == status, (method, path)
            if status == 403:
                assert answer.code == "forbidden"
                line = json.dumps(api.log_line(answer.json()["requestId"]))
                assert "user/reader" in line and ("NoSecrets" in line) == ("cret" in path), line
    # A signature that is wrong says nothing of what its user might do.
    answer = send(api, botocore(api, "POST", "/any/x", b"b", key="AKIDREADER", secret="wrong"), "POST", b"b")
    assert answer.code == "signature_refused"


def test_a_user_of_another_account_needs_the_resource_policy_too(gateway):
    partner = {"key": "AKIDPARTNER", "secret": "partner-secret"}
    plain = gateway(signed_api())
    assert send(plain, botocore(plain, "GET", "/any/x", **partner), "GET").code == "forbidden"
    document = signed_api()
    document["policy"] = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:user/partner"},
        "Action": "execute-api:Invoke", "Resource": "execute-api:/*/GET/any/*"}]}
    one = gateway(document)
    assert send(one, botocore(one, "GET", "/any/x", **partner), "GET").status == 200
    assert send(one, botocore(one, "PUT", "/any/x", **partner), "PUT").code == "forbidden"
    assert send(one, botocore(one, "PUT", "/any/x"), "PUT").status == 200, "one's own account is enough"


def test_unsigned_payloads_by_choice(gateway):
    one = gateway(signed_api(unsigned_payload=True))
    signed = botocore(one, "POST", "/any/x", b"a", payload="UNSIGNED-PAYLOAD")
    assert send(one, signed, "POST", b"something else").status == 200
    assert send(one, botocore(one, "POST", "/any/x", b"a"), "POST", b"b").status == 403


def test_a_signature_is_good_once_where_that_is_asked_for(gateway):
    one = gateway(signed_api(replay_cache={"max_entries": 100}))
    for form in ({}, {"declare": True}):
        signed = botocore(one, "POST", "/orders", b"once", **form)
        assert send(one, signed, "POST", b"other").code == "signature_refused"
        assert send(one, signed, "POST", b"once").status == 202, "what failed for another reason has not burnt it"
        again = send(one, signed, "POST", b"once")
        assert (again.status, again.code) == (403, "signature_refused")
        assert "used before" in again.json()["detail"]
    link = botocore(one, "GET", "/any/x", presigned=60)
    assert [send(one, link, "GET").status for _ in range(2)] == [200, 403]
    # Refused after verification: the body is too large, the mapping does not resolve.
    signed = botocore(one, "POST", "/unready", b"late")
    assert send(one, signed, "POST", b"late").status == 400
    path, headers = signed
    assert send(one, (path, {**headers, "x-body": "late"}), "POST", b"late").status == 202
    assert send(one, (path, {**headers, "x-body": "late"}), "POST", b"late").status == 403
    assert sorted(receive_all(one)) == ["late", "once", "once"]


def test_the_replay_cache_is_bounded_and_full_means_wait(gateway):
    one = gateway(signed_api(replay_cache={"max_entries": 3}))
    statuses = [send(one, botocore(one, "POST", "/orders", f"{n}".encode()), "POST", f"{n}".encode()) for n in range(5)]
    assert [answer.status for answer in statuses] == [202, 202, 202, 503, 503]
    assert "retry-after" in statuses[-1].headers


def test_the_dialect_of_the_vendor_says_forbidden(gateway):
    one = gateway({**signed_api(), "responses": "aws"})
    answer = one.request("GET", "/any/x")
    assert (answer.status, answer.body) == (403, b'{"message":"Forbidden"}')


def test_users_come_from_a_file(gateway, tmp_path):
    users = write_config(tmp_path, {"users": USERS}, "users.yaml")
    one = gateway(signed_api(credentials=str(users)))
    assert send(one, botocore(one, "GET", "/any/x"), "GET").status == 200
    wrong = write_config(tmp_path, {"users": [{**USERS[0], "polcy": {}}]}, "wrong.yaml")
    checked = penstock("check", write_config(tmp_path, signed_api(credentials=str(wrong))))
    assert checked.returncode == 1 and "did you mean `policy`?" in checked.stdout, checked.stdout
