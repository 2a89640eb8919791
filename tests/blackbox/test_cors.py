"""CORS beyond the common case: wildcards, credentials, an OPTIONS route of one's own (reference, 9)."""

import pytest

from support.gateway import config

MOCK = {"integration": {"Mock": {"status": 200, "body": "b", "headers": {"access-control-allow-origin": "https://backend.example"}}}}


def serving(gateway, cors, routes=None):
    return gateway(config(routes or {"GET /x": MOCK}, **({"cors": cors} if cors else {})))


def preflight(one, origin="https://a.example", method="GET", path="/x", **headers):
    return one.request("OPTIONS", path, headers={"origin": origin, "access-control-request-method": method, **headers})


@pytest.mark.parametrize("allowed, origin, passes", [
    ("https://a.example", "https://a.example", True),
    ("https://a.example", "https://a.example:444", False),
    ("https://a.example", "http://a.example", False),
    ("https://a.example", "https://a.example.evil.example", False),
    ("https://a.example", "null", False),
    ("https://*", "https://anything.example", True),
    ("https://*", "http://anything.example", False),
    ("http://*", "http://localhost:3000", True),
    ("*", "https://anything.example", True),
])
def test_origins(gateway, allowed, origin, passes):
    one = serving(gateway, {"allow_origins": [allowed], "allow_methods": ["GET"]})
    for answer in (preflight(one, origin), one.request("GET", "/x", headers={"origin": origin})):
        value = answer.headers.get("access-control-allow-origin")
        assert (value in (origin, "*")) == passes, answer
        if not passes:
            assert value is None
        assert answer.status in (200, 204)


def test_credentials_and_exposed_headers(gateway):
    one = serving(gateway, {"allow_origins": ["https://a.example"], "allow_methods": ["*"], "allow_headers": ["*"],
                            "expose_headers": ["x-request-id"], "allow_credentials": True})
    answer = one.request("GET", "/x", headers={"origin": "https://a.example"})
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-expose-headers"].lower() == "x-request-id"
    assert answer.headers.all("access-control-allow-origin") == ["https://a.example"], "the backend's own is dropped"
    assert preflight(one).headers["access-control-allow-credentials"] == "true"


def test_without_cors_an_options_is_an_ordinary_request_and_the_backend_s_headers_pass(gateway):
    one = serving(gateway, None)
    assert preflight(one).status == 405
    answer = one.request("GET", "/x", headers={"origin": "https://a.example"})
    assert answer.headers["access-control-allow-origin"] == "https://backend.example"


def test_an_options_route_of_one_s_own_handles_its_preflights(gateway):
    one = serving(gateway, {"allow_origins": ["*"], "allow_methods": ["GET"]}, {
        "GET /x": MOCK, "OPTIONS /x": {"integration": {"Mock": {"status": 200, "body": "mine"}}}, "ANY /y": MOCK})
    assert preflight(one).body == b"mine"
    assert preflight(one, path="/y").status == 204, "ANY does not say OPTIONS"


def test_a_preflight_counts_as_a_request_and_is_logged(gateway):
    one = serving(gateway, {"allow_origins": ["*"], "allow_methods": ["GET"]})
    answer = preflight(one)
    assert one.log_line(answer.headers["x-request-id"])["status"] == 204
