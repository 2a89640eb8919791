"""Bodies that came in encoded, with encoders nobody here wrote: Python's gzip, node's brotli, the zstd program, curl."""

import base64
import gzip
import hashlib
import hmac
import shutil
import subprocess

import pytest

from support.gateway import config, penstock, write_config

TEXT = b'{"order": 7, "items": ["a", "b"]}'
SECRET = "whsec-of-the-tests-0123456789"
SEND = {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}
ROUTES = {
    "POST /all": {"integration": SEND, "decode": ["gzip", "br", "zstd"]},
    "POST /gzip": {"integration": SEND, "decode": ["gzip"]},
    "POST /plain": {"integration": SEND, "decode": False},
    "POST /general": {"integration": SEND},
    "POST /field": {
        "decode": ["gzip"],
        "integration": {"SQS-SendMessage": {
            "QueueUrl": "queue:orders", "MessageBody": "${request.body.order} ${request.header.content-encoding}"}}},
    "POST /signed": {
        "authorizer": "hooks", "decode": ["gzip"], "integration": SEND, "idempotency": False},
    "POST /once": {
        "decode": ["gzip"], "integration": SEND, "idempotency": {"key": "$request.header.idempotency-key"}},
    "GET /next": {"integration": {"SQS-ReceiveMessage": {
        "QueueUrl": "queue:orders", "MaxNumberOfMessages": 10, "VisibilityTimeout": 43200}}},
}


@pytest.fixture(scope="module")
def server(shared_gateway):
    return shared_gateway(config(
        ROUTES, queues={"orders": {}}, limits={"body": "64KiB"}, decode=["gzip"],
        authorizers={"hooks": {"webhook": {"preset": "github", "secrets": [SECRET]}}}))


def brotli(body):
    node = shutil.which("node")
    if not node:
        pytest.skip("no node, whose zlib encodes brotli")
    program = "process.stdout.write(require('zlib').brotliCompressSync(require('fs').readFileSync(0)))"
    return subprocess.run([node, "-e", program], input=body, stdout=subprocess.PIPE, check=True).stdout


def zstd(body, *options):
    program = shutil.which("zstd")
    if not program:
        pytest.skip("no zstd program")
    return subprocess.run([program, "-c", *options], input=body, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


ENCODERS = {"gzip": gzip.compress, "br": brotli, "zstd": zstd}


def stored(server):
    return [m["Body"].encode() for m in server.request("GET", "/next").json()["Messages"]]


@pytest.mark.parametrize("coding", ENCODERS)
def test_a_body_is_stored_decoded(server, coding):
    for body in (TEXT, b"x" * 60_000, "Grüße".encode()):
        answer = server.request("POST", "/all", ENCODERS[coding](body), {"content-encoding": coding})
        assert answer.status == 202, answer
        assert stored(server) == [body]


def test_codings_are_undone_from_the_last_to_the_first(server):
    body = brotli(gzip.compress(TEXT))
    assert server.request("POST", "/all", body, {"content-encoding": "gzip, br"}).status == 202
    assert stored(server) == [TEXT]
    assert server.request("POST", "/all", body, {"content-encoding": "br, gzip"}).status == 400
    thrice = server.request("POST", "/all", body, {"content-encoding": "gzip, br, gzip"})
    assert thrice.status == 415
    assert stored(server) == []


def test_several_members_are_one_body(server):
    body = gzip.compress(b"one ") + gzip.compress(b"two")
    assert server.request("POST", "/gzip", body, {"content-encoding": "x-gzip"}).status == 202
    assert stored(server) == [b"one two"]


def test_without_decode_the_bytes_are_stored_as_they_came(server):
    body = gzip.compress(TEXT)
    answer = server.request("POST", "/plain", body, {"content-encoding": "gzip"})
    assert answer.status == 202
    message = server.request("GET", "/next").json()["Messages"][0]
    assert message["BodyEncoding"] == "base64"
    assert base64.b64decode(message["Body"]) == body
    assert server.request("POST", "/plain", TEXT, {"content-encoding": "whatever"}).status == 202
    assert stored(server) == [TEXT]


def test_what_holds_for_every_route_holds_where_a_route_says_nothing(server):
    assert server.request("POST", "/general", gzip.compress(TEXT), {"content-encoding": "gzip"}).status == 202
    assert stored(server) == [TEXT]


@pytest.mark.parametrize("path, coding, accepted", [
    ("/gzip", "br", "gzip"),
    ("/all", "deflate", "gzip, br, zstd"),
    ("/all", "gzip, aes128gcm", "gzip, br, zstd"),
])
def test_another_coding_is_415_and_says_which_would_do(server, path, coding, accepted):
    answer = server.request("POST", path, TEXT, {"content-encoding": coding})
    assert answer.status == 415 and answer.code == "bad_request"
    assert answer.headers["accept-encoding"] == accepted
    assert stored(server) == []


def test_another_coding_is_refused_before_a_byte_of_the_body(server):
    with server.raw() as raw:
        raw.send("POST /gzip HTTP/1.1\r\nHost: h\r\nContent-Encoding: br\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        assert raw.read_response().status == 415


@pytest.mark.parametrize("name, body, coding", [
    ("no gzip at all", TEXT, "gzip"),
    ("cut off", gzip.compress(TEXT)[:-3], "gzip"),
    ("garbage behind it", gzip.compress(TEXT) + b"POST /hidden HTTP/1.1", "gzip"),
    ("a wrong checksum", gzip.compress(TEXT)[:-8] + bytes(8), "gzip"),
    ("no brotli at all", b"\xff" * 40, "br"),
    ("no zstd at all", TEXT, "zstd"),
    ("a window of 2 TiB", bytes([0x28, 0xb5, 0x2f, 0xfd, 0, 31 << 3, 1, 0, 0]), "zstd"),
])
def test_what_cannot_be_decoded_is_400_and_the_connection_goes_on(server, name, body, coding):
    with server.raw() as raw:
        head = f"POST /all HTTP/1.1\r\nHost: h\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
        raw.send(head.encode() + body)
        answer = raw.read_response()
        assert answer.status == 400 and answer.code == "bad_request", name
        good = gzip.compress(TEXT)
        raw.send(f"POST /all HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: {len(good)}\r\n\r\n".encode() + good)
        assert raw.read_response().status == 202
    assert stored(server) == [TEXT]


def test_a_mapping_sees_what_was_decoded_and_the_header_that_came(server):
    assert server.request("POST", "/field", gzip.compress(TEXT), {"content-encoding": "gzip"}).status == 202
    assert stored(server) == [b"7 gzip"]


def test_a_signature_is_over_the_bytes_that_came(server):
    body = gzip.compress(TEXT)
    for signed, status in ((body, 202), (TEXT, 401)):
        headers = {
            "content-encoding": "gzip", "x-github-event": "push", "x-github-delivery": f"id-{status}",
            "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()}
        assert server.request("POST", "/signed", body, headers).status == status
    assert stored(server) == [TEXT]


def test_a_fingerprint_is_over_the_bytes_that_came(server):
    one, other = gzip.compress(TEXT, 1, mtime=1), gzip.compress(TEXT, 1, mtime=2)
    headers = {"content-encoding": "gzip", "idempotency-key": "k-1"}
    assert server.request("POST", "/once", one, headers).status == 202
    again = server.request("POST", "/once", one, headers)
    assert again.status == 202 and again.headers.get("idempotency-replayed") == "true"
    assert server.request("POST", "/once", other, headers).status == 422
    assert stored(server) == [TEXT]


# ---- bombs ----

def test_a_decoded_body_over_the_limit_is_413(server):
    for coding, encode in ENCODERS.items():
        assert server.request("POST", "/all", encode(b"x" * 65_536), {"content-encoding": coding}).status == 202
        answer = server.request("POST", "/all", encode(b"x" * 65_537), {"content-encoding": coding})
        assert answer.status == 413 and answer.code == "body_too_large", coding
        assert stored(server) == [b"x" * 65_536]


def test_bombs_cost_neither_memory_nor_others(gateway):
    one = gateway(config(ROUTES, queues={"orders": {}}, limits={"body": "10MiB"}, authorizers={
        "hooks": {"webhook": {"preset": "github", "secrets": [SECRET]}}}))
    # A thousand times its size each time: 10 GiB of zeros, as members of 64 MiB.
    member = gzip.compress(bytes(64 << 20))
    bombs = {"gzip": (member * 160)[:10_000_000], "br": brotli(bytes(256 << 20)), "zstd": zstd(bytes(256 << 20), "-19", "--long=23")}
    assert one.request("POST", "/all", gzip.compress(TEXT), {"content-encoding": "gzip"}).status == 202
    before = one.resident()
    for _ in range(3):
        for coding, body in bombs.items():
            answer = one.request("POST", "/all", body, {"content-encoding": coding})
            assert answer.status == 413, (coding, answer)
            assert one.request("POST", "/plain", b"beside").status == 202
    assert one.resident() - before < 128 << 20, "a bomb's bytes were kept"


def test_explain_decodes_too(tmp_path):
    path = write_config(tmp_path, config({"POST /a": {"decode": ["gzip"], "integration": {"Mock": {"status": 200}}}}))
    ran = penstock("explain", path, "POST", "/a", "-H", "content-encoding: br", "-d", "x")
    assert "415" in ran.stdout + ran.stderr


def test_curl_agrees(server, tmp_path):
    curl = shutil.which("curl")
    if not curl:
        pytest.skip("no curl")
    file = tmp_path / "body.gz"
    file.write_bytes(gzip.compress(TEXT))
    for version in ("--http1.1", "--http2-prior-knowledge"):
        ran = subprocess.run(
            [curl, "-sS", version, "-o", "/dev/null", "-w", "%{http_code}", "-H", "content-encoding: gzip",
             "--data-binary", f"@{file}", f"{server.url}/gzip"], stdout=subprocess.PIPE, text=True, check=True)
        assert ran.stdout == "202"
        assert stored(server) == [TEXT]
