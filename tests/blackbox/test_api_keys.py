"""API keys: from where the authorizer says, compared by hash, refused alike, kept out of logs."""

import hashlib

import pytest

from support.gateway import config

KEY, OTHER = "psk_test4d1a9e0c7b5f3826a1c0e9d8b7f6a5e4", "psk_test00112233445566778899aabbccddeeff"


def hashed(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


ROUTES = {
    "GET /built-in": {"integration": {"Mock": {"body": "in"}}, "authorizer": "api_key"},
    "GET /header": {"integration": {"Mock": {"body": "in"}}, "authorizer": "by_header"},
    "GET /query": {"integration": {"Mock": {"body": "in"}}, "authorizer": "by_query"},
    "GET /both": {"integration": {"Mock": {"body": "in"}}, "authorizer": ["api_key", "by_header"]},
    "GET /open": {"integration": {"Mock": {"body": "in"}}, "authorizer": "none"},
    "POST /who": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$context.identity.apiKeyId"}}, "authorizer": "api_key"},
    "GET /who": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:q"}}},
}


@pytest.fixture(scope="module")
def server(shared_gateway):
    return shared_gateway(config(
        ROUTES, queues={"q": {}},
        authorizers={
            "by_header": {"api_key": {"from": ["header:x-partner-key"]}},
            "by_query": {"api_key": {"from": ["header:x-api-key", "query:apiKey"]}},
        },
        api_keys={"acme": {"hash": hashed(KEY)}, "upper": {"hash": hashed(OTHER).upper().replace("SHA256", "sha256")}, "off": {"hash": hashed("off"), "enabled": False}}))


@pytest.mark.parametrize("path, headers, status", [
    ("/built-in", {"x-api-key": KEY}, 200),
    ("/built-in", {"X-API-KEY": KEY}, 200),
    ("/built-in", {"x-api-key": OTHER}, 200),
    ("/built-in", {"x-api-key": KEY.upper()}, 403),
    ("/built-in", {"x-api-key": KEY + " "}, 200),  # a field's value has no space at its end (RFC 9110, 5.5)
    ("/built-in", {"x-api-key": hashed(KEY)}, 403),
    ("/built-in", {"x-api-key": "off"}, 403),
    ("/built-in", {"x-partner-key": KEY}, 403),
    ("/built-in", {"authorization": f"Bearer {KEY}"}, 403),
    (f"/built-in?apiKey={KEY}", {}, 403),
    ("/header", {"x-partner-key": KEY}, 200),
    ("/header", {"x-api-key": KEY}, 403),
    (f"/query?apiKey={KEY}", {}, 200),
    (f"/query?apikey={KEY}", {}, 403),
    ("/query", {"x-api-key": KEY}, 200),
    ("/both", {"x-api-key": KEY}, 403),
    ("/both", {"x-api-key": KEY, "x-partner-key": KEY}, 200),
    ("/open", {}, 200),
], ids=lambda value: str(value).replace(KEY, "KEY").replace(OTHER, "OTHER") if not isinstance(value, dict) else ",".join(value))
def test_who_comes_in(server, path, headers, status):
    answer = server.request("GET", path, headers=headers)
    assert answer.status == status
    if status == 403:
        assert answer.code == "api_key_refused"


def test_two_keys_in_one_request_are_refused_unless_they_are_the_same(server):
    with server.raw() as raw:
        raw.send(f"GET /built-in HTTP/1.1\r\nHost: h\r\nX-Api-Key: nope\r\nX-Api-Key: {KEY}\r\n\r\n")
        assert raw.read_response().status == 403


def test_the_key_s_name_is_known_to_mappings_and_the_log(server):
    answer = server.request("POST", "/who", b"", {"x-api-key": KEY})
    assert server.request("GET", "/who").json()["Messages"][0]["Body"] == "acme"
    assert "acme" in str(server.log_line(answer.headers["x-request-id"]))


def test_a_refusal_says_no_more_than_it_must(server):
    """Unknown and disabled look the same from outside."""
    unknown = server.request("GET", "/built-in", headers={"x-api-key": "nope"}).json()
    disabled = server.request("GET", "/built-in", headers={"x-api-key": "off"}).json()
    assert unknown["detail"] == disabled["detail"] and unknown["title"] == disabled["title"]


def test_no_body_byte_is_read_before_the_key_is_settled(server):
    with server.raw() as raw:
        raw.send("POST /who HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
        assert raw.read_response().status == 403


def test_keys_are_nowhere_in_the_logs(server):
    answer = server.request("GET", f"/query?apiKey={KEY}", headers={"x-api-key": "wrong-and-secret"})
    server.log_line(answer.headers["x-request-id"])
    written = server.logs() + server.stdout_path.read_text()
    assert KEY not in written and "wrong-and-secret" not in written
