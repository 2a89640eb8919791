"""Several APIs in one process, told apart by host and base path."""

import json

import pytest
import yaml

from support.gateway import config, penstock


def mock(body):
    return {"integration": {"Mock": {"status": 200, "body": f"{body} $context.apiId $context.stage $request.path"}}}


def folder(tmp_path, general, *apis):
    """A folder of files: one for the process, one for each API."""
    where = tmp_path / "several"
    where.mkdir()
    process = {key: value for key, value in config({}, **general).items() if key not in ("api", "responses", "routes")}
    for name, document in [("process", process), *((api["api"], api) for api in apis)]:
        (where / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return where


SHOP = {"api": "shop", "hosts": ["shop.example.com"], "responses": "aws", "routes": {"GET /x": mock("shop")}}
WILD = {"api": "wild", "hosts": ["*.example.com"], "cors": {"allow_origins": ["*"], "allow_methods": ["GET"]},
        "routes": {"GET /x": mock("wild")}}
REST = {"api": "rest", "stage": "prod", "routes": {"GET /x": mock("rest")}}
ITEMS = {"api": "items", "base_path": "orders/v1/items", "routes": {"GET /x": mock("items"), "GET /": mock("items")}}
KEPT = {"api": "kept", "base_path": "orders", "strip_base_path": False, "routes": {"GET /orders/x": mock("kept")}}


def test_the_api_is_chosen_by_host_then_by_base_path_then_stage_and_route(gateway, tmp_path):
    one = gateway(folder(tmp_path, {}, SHOP, WILD, REST, ITEMS, KEPT))
    for host, path, expected in [
        ("shop.example.com", "/x", "shop shop $default /x"),
        ("SHOP.example.com.:8443", "/x", "shop shop $default /x"),
        ("other.example.com", "/x", "wild wild $default /x"),
        ("elsewhere", "/prod/x", "rest rest prod /x"),
        ("a.b.example.com", "/prod/x", "rest rest prod /x"),
        ("elsewhere", "/orders/v1/items/x", "items items $default /x"),
        ("elsewhere", "/orders/v1/items", "items items $default /"),
        ("elsewhere", "/orders/x", "kept kept $default /orders/x"),
        ("elsewhere", "/x", None),
        ("elsewhere", "/orders/v1/itemsx", None),
        ("shop.example.com", "/orders/v1/items", None),
    ]:
        answer = one.request("GET", path, headers={"host": host})
        assert (answer.body.decode() if answer.status == 200 else None) == expected, (host, path, answer)
        assert answer.status in (200, 404)
    assert json.loads(one.request("GET", "/y", headers={"host": "shop.example.com"}).body) == {"message": "Not Found"}
    assert json.loads(one.request("GET", "/y", headers={"host": "other.example.com"}).body)["code"] == "no_route"
    origin = {"host": "other.example.com", "origin": "https://a.example"}
    assert one.request("GET", "/x", headers=origin).headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in one.request("GET", "/x", headers={**origin, "host": "shop.example.com"}).headers
    assert 'route="shop GET /x"' in one.admin("/metrics").body.decode()
    plan = json.loads(one.admin("/v1/plan").body)
    assert {api["api"]: api["hosts"] for api in plan["apis"]}["wild"] == ["*.example.com"]


def test_a_host_that_no_api_serves_is_404_and_logged(gateway, tmp_path):
    one = gateway(folder(tmp_path, {}, SHOP, WILD))
    answer = one.request("GET", "/x", headers={"host": "elsewhere"})
    assert (answer.status, json.loads(answer.body)["code"]) == (404, "no_route")
    line = one.log_line(answer.headers["x-request-id"])
    assert line["status"] == 404 and line["code"] == "no_route"


@pytest.mark.parametrize("first, second, said", [
    (SHOP, {**SHOP, "api": "twin"}, "cannot be told apart"),
    (REST, {**REST, "api": "twin"}, "cannot be told apart"),
    (SHOP, {**WILD, "hosts": ["https://a.example"]}, "write the name alone"),
    (SHOP, {**WILD, "hosts": ["a.example:80"]}, "leave the port out"),
    (SHOP, {**ITEMS, "base_path": "a//b"}, "is not a base path"),
    (SHOP, {**WILD, "hosts": ["a.example", "A.example."]}, "named twice"),
])
def test_apis_that_cannot_be_told_apart_are_refused(tmp_path, first, second, said):
    checked = penstock("check", folder(tmp_path, {}, first, second))
    text = checked.stdout if isinstance(checked.stdout, str) else checked.stdout.decode()
    assert checked.returncode == 1 and said in text, text


def test_routes_and_explain_know_the_apis(tmp_path):
    where = folder(tmp_path, {}, SHOP, REST)

    def said(*arguments):
        done = penstock(*arguments)
        return done.stdout if isinstance(done.stdout, str) else done.stdout.decode()

    assert "ok: 2 APIs, 2 routes" in said("check", where)
    assert "shop, stage $default: shop.example.com/" in said("routes", where)
    assert "GET /x of shop" in said("explain", where, "GET", "/x", "-H", "host: shop.example.com")
    assert "GET /x of rest" in said("explain", where, "GET", "/prod/x")
