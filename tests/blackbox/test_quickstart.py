"""The first minute: config/quickstart.yaml as a user meets it."""

import re
import shutil
import subprocess
from urllib.parse import quote

import pytest

from support.gateway import REPOSITORY, environment, penstock

KEY = "psk_demo5f0c7d2be14a49c3a86f3d9b1e7c2a40"
SIGNED_IN = {"x-api-key": KEY}
QUICKSTART = REPOSITORY / "config" / "quickstart.yaml"


@pytest.fixture
def quickstart(gateway):
    """The file as it is, but for its ports."""
    text = QUICKSTART.read_text()
    return gateway(re.sub(r"(bind: 127\.0\.0\.1):\d+", r"\1:0", text))


def test_an_order_is_stored_read_back_and_deleted(quickstart):
    body = b'{"order": 1, "note": "as typed,  spaces and all"}'
    stored = quickstart.request("POST", "/orders", body, SIGNED_IN)
    assert stored.status == 202
    answer = stored.json()
    assert answer["durability"] == "target"
    assert answer["requestId"] == stored.headers["x-request-id"]

    read = quickstart.request("GET", "/orders/next", headers=SIGNED_IN)
    assert read.status == 200
    (message,) = read.json()["Messages"]
    assert message["Body"].encode() == body
    assert message["MessageId"] == answer["messageId"]

    gone = quickstart.request("DELETE", "/orders/" + quote(message["ReceiptHandle"], safe=""), headers=SIGNED_IN)
    assert gone.status == 200
    empty = quickstart.request("GET", "/orders/next", headers=SIGNED_IN)
    assert empty.status == 200 and empty.json()["Messages"] == []


def test_a_purge_empties_the_queue(quickstart):
    for order in range(3):
        assert quickstart.request("POST", "/orders", str(order), SIGNED_IN).status == 202
    assert quickstart.request("POST", "/orders/purge", headers=SIGNED_IN).status == 200
    assert quickstart.request("GET", "/orders/next", headers=SIGNED_IN).json()["Messages"] == []


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"x-api-key": ""}, {"x-api-key": KEY + "x"}])
def test_without_the_key_nothing_comes_in(quickstart, headers):
    refused = quickstart.request("POST", "/orders", b"1", headers)
    assert refused.status == 403
    assert refused.code == "api_key_refused"
    assert quickstart.request("GET", "/orders/next", headers=SIGNED_IN).json()["Messages"] == []


def test_a_shell_loop_meets_the_throttle_and_normal_use_does_not(quickstart):
    one = "POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in SIGNED_IN.items()) + "\r\n1"
    with quickstart.raw() as raw:
        raw.send(one * 60)  # at once: a loop on a busy machine may be slow enough for the throttle
        statuses = [raw.read_response() for _ in range(60)]
    assert all(answer.status == 202 for answer in statuses[:10]), "normal use is throttled"
    throttled = [answer for answer in statuses if answer.status == 429]
    assert throttled, "sixty requests in a row and no 429"
    assert int(throttled[0].headers["retry-after"]) >= 1
    assert "ratelimit" in throttled[0].headers and "ratelimit-policy" in throttled[0].headers
    assert throttled[0].code == "throttled"
    assert {answer.status for answer in statuses} == {202, 429}


def test_a_preflight_is_answered(quickstart):
    answer = quickstart.request("OPTIONS", "/orders", headers={
        "origin": "http://localhost:3000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-api-key",
    })
    assert answer.status == 204
    assert answer.body == b""
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert {"content-type", "x-api-key"} <= set(answer.headers["access-control-allow-headers"].lower().replace(" ", "").split(","))
    assert answer.headers["access-control-max-age"] == "600"


def test_the_banner_shows_routes_and_a_curl_line_that_works(quickstart):
    printed = quickstart.logs()
    for route in ["POST /orders", "GET /orders/next", "DELETE /orders/{receiptHandle}", "POST /orders/purge"]:
        method, path = route.split(" ")
        assert re.search(rf"{method}\s+{re.escape(path)}\s", printed), f"{route} is not in the banner:\n{printed}"
    line = re.search(r"^(?:\w+: +|\s*)(curl .*)$", printed, re.MULTILINE)
    assert line, f"no curl line in the banner:\n{printed}"
    line = line[1]
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    # the gateway knows only the hash of the key: where it asks for one, the reader fills it in
    filled = re.sub(r"(x-api-key: *)[^'\"]+", rf"\g<1>{KEY}", line)
    ran = subprocess.run(filled + " -sS -o /dev/null -w '%{http_code}'", shell=True, text=True, stdout=subprocess.PIPE, timeout=30)
    assert ran.stdout.endswith(("200", "202")), f"{filled}: {ran.stdout}"


def test_the_demo_key_in_the_comments_is_the_one_whose_hash_is_configured():
    text = QUICKSTART.read_text()
    assert f"KEY={KEY}" in text


def test_check_finds_nothing_wrong_with_it(tmp_path):
    checked = penstock("check", QUICKSTART, cwd=tmp_path, env=environment(HOME=str(tmp_path)))
    assert checked.returncode == 0, checked.stderr + checked.stdout
    assert "warning:" not in checked.stderr + checked.stdout
