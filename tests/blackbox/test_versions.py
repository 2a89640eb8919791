"""One API in front of its versions: by Accept, header or query."""

import json

from test_hosts import folder, mock

FRONT = {
    "api": "front",
    "hosts": ["api.example.com"],
    "cors": {"allow_origins": ["*"], "allow_methods": ["GET"]},
    "versions": {
        "from": [{"accept": "application/vnd.example.{version}+json"}, {"header": "apiver"}, {"query": "v"}],
        "table": {
            "v0": {"api": "v0", "sunset": "2020-01-01", "gone": True},
            "v1": {"api": "v1", "deprecated": "2020-01-01", "sunset": "2099-12-31", "link": "https://example.com/v1"},
            "v2": "v2",
        },
    },
}
VERSIONS = [{"api": name, "routes": {"GET /x": mock(name)}} for name in ("v0", "v1", "v2")]
HOST = {"host": "api.example.com"}


def test_the_seed_s_table_of_versions(gateway, tmp_path):
    one = gateway(folder(tmp_path, {}, FRONT, *VERSIONS))

    def ask(path="/x", **headers):
        return one.request("GET", path, headers={**HOST, **headers})

    for path, headers, body in [
        ("/x", {"accept": "application/vnd.example.v1+json"}, "v1"),
        ("/x", {"accept": "text/html, application/vnd.example.v1+json;q=0.2, application/vnd.example.v2+json"}, "v2"),
        ("/x", {"apiver": "v1"}, "v1"),
        ("/x?v=v2", {"accept": "*/*"}, "v2"),
    ]:
        answer = ask(path, **headers)
        assert answer.status == 200 and answer.body.decode().startswith(body), (headers, answer)
        assert answer.headers["vary"] == "accept, apiver"
    for path, headers in [("/x", {}), ("/x", {"apiver": "v9"}), ("/x?v=", {}), ("/x", {"accept": "application/json"})]:
        answer = ask(path, **headers)
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "forbidden"), answer
        assert answer.headers["vary"] == "accept, apiver"
    old = ask(apiver="v1")
    assert old.headers["sunset"] == "Thu, 31 Dec 2099 00:00:00 GMT"
    assert old.headers["deprecation"] == "@1577836800"
    assert old.headers["link"] == '<https://example.com/v1>; rel="deprecation sunset"'
    gone = ask(apiver="v0")
    assert gone.status == 410 and gone.headers["sunset"]
    assert ask("/nowhere", apiver="v1").status == 404
    assert one.request("GET", "/x").status == 404, "versions are reached through the API in front alone"
    preflight = one.request("OPTIONS", "/x", headers={**HOST, "origin": "https://a.example", "access-control-request-method": "GET"})
    assert preflight.status == 204
    metrics = one.admin("/metrics").body.decode()
    assert 'penstock_versioned_requests_total{api="front",version="v1"}' in metrics
    assert 'penstock_versioned_requests_total{api="front",version=""}' in metrics


def test_a_default_and_statuses_of_one_s_own(gateway, tmp_path):
    versions = {**FRONT["versions"], "default": "v2", "unknown": 406}
    one = gateway(folder(tmp_path, {}, {**FRONT, "versions": versions}, *VERSIONS))
    assert one.request("GET", "/x", headers=HOST).body.decode().startswith("v2")
    answer = one.request("GET", "/x", headers={**HOST, "apiver": "v7"})
    assert (answer.status, json.loads(answer.body)["code"]) == (406, "bad_request")
