"""Limits of number: buckets by caller, addresses that fail to authenticate, requests at once."""

import hashlib
import threading
import time

import pytest

from support.gateway import config, penstock, write_config
from support.processes import eventually

KEY, OTHER = "psk_test4d1a9e0c7b5f3826a1c0e9d8b7f6a5e4", "psk_test00112233445566778899aabbccddeeff"
MOCK = {"integration": {"Mock": {"body": "fine"}}}


def hashed(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def keys():
    return {"acme": {"hash": hashed(KEY)}, "bolt": {"hash": hashed(OTHER)}}


def statuses(one, path, count, headers=None):
    return [one.request("GET", path, headers=headers).status for _ in range(count)]


def throttled(one, route, bucket, dry_run="false"):
    return one.metrics().value("penstock_throttled_total", route=route, bucket=bucket, dry_run=dry_run)


def test_each_caller_has_a_bucket(gateway):
    slow = {"rate": 0.01, "burst": 2}
    one = gateway(config({
        "GET /header": {**MOCK, "throttle": {**slow, "per": "${request.header.x-tenant:-none}"}},
        "GET /key": {**MOCK, "authorizer": "api_key", "throttle": {**slow, "per": "$context.identity.apiKeyId"}},
        "GET /address": {**MOCK, "throttle": {**slow, "per": "$context.identity.sourceIp"}},
        "GET /query": {**MOCK, "throttle": {**slow, "per": "$request.querystring.shop"}},
        "POST /body": {**MOCK, "throttle": {**slow, "per": "$request.body.shop"}},
    }, api_keys=keys()))
    for tenant in ("ann", "bob"):
        assert statuses(one, "/header", 3, {"x-tenant": tenant}) == [200, 200, 429]
    for key in (KEY, OTHER):
        assert statuses(one, "/key", 3, {"x-api-key": key}) == [200, 200, 429]
    assert statuses(one, "/address", 3) == [200, 200, 429]
    # Without a value: one bucket for all of them.
    assert statuses(one, "/query", 1) + statuses(one, "/query?shop=", 2) == [200, 200, 429]
    assert statuses(one, "/query?shop=a", 1) == [200]
    bodies = [one.request("POST", "/body", body).status for body in (b'{"shop":"a"}', b'{"shop":"b"}', b'{"shop":"a"}', b'{"shop":"a"}')]
    assert bodies == [200, 200, 200, 429]
    answer = one.request("GET", "/header", headers={"x-tenant": "ann"})
    assert answer.code == "throttled" and int(answer.headers["retry-after"]) > 90
    assert answer.headers["ratelimit"].startswith('"x-tenant";r=0;t=')
    assert answer.headers["ratelimit-policy"] == '"x-tenant";q=2;w=200'
    line = one.log_line(answer.headers["x-request-id"])
    assert "the bucket `x-tenant` is empty" in str(line)
    assert throttled(one, "GET /header", "x-tenant") == 3


def test_successes_tell_what_is_left_where_that_is_asked_for(gateway):
    buckets = [{"rate": 100, "burst": 100}, {"rate": 0.5, "burst": 5, "per": "$context.identity.sourceIp", "name": "you"}]
    one = gateway(config({
        "GET /told": {**MOCK, "throttle": buckets},
        "GET /silent": {**MOCK, "throttle": {"rate": 1, "burst": 5, "headers": False}},
    }, rate_limit_headers=True))
    answer = one.request("GET", "/told")
    assert answer.headers["ratelimit"] == '"route";r=99;t=1, "you";r=4;t=2'
    assert answer.headers["ratelimit-policy"] == '"route";q=100;w=1, "you";q=5;w=10'
    assert "ratelimit" not in one.request("GET", "/silent").headers
    aws = gateway(config({"GET /told": {**MOCK, "throttle": buckets}}, rate_limit_headers=True, responses="aws"))
    assert "ratelimit" not in aws.request("GET", "/told").headers


def test_what_only_counts_refuses_nobody(gateway):
    one = gateway(config({
        "GET /": {**MOCK, "throttle": [{"rate": 0.01, "burst": 1, "dry_run": True}, {"rate": 0, "dry_run": True, "name": "closed"}]},
    }))
    assert statuses(one, "/", 5) == [200] * 5
    assert throttled(one, "GET /", "route", "true") == 4
    assert throttled(one, "GET /", "closed", "true") == 5


def test_a_token_is_given_back_when_another_bucket_refuses(gateway):
    one = gateway(config({
        "GET /": {**MOCK, "throttle": [{"rate": 0.01, "burst": 3}, {"rate": 0.01, "burst": 1, "per": "$request.header.x"}]},
    }))
    assert statuses(one, "/", 4, {"x": "greedy"}) == [200, 429, 429, 429]
    # The greedy one has not emptied the bucket of all.
    assert statuses(one, "/", 1, {"x": "a"}) + statuses(one, "/", 1, {"x": "b"}) == [200, 200]
    assert statuses(one, "/", 1, {"x": "c"}) == [429]


def test_a_flood_without_credentials_empties_nobody_s_bucket(gateway):
    """The route has ten tokens and no more to come: all of them are there for the one who has a key."""
    one = gateway(config({
        "GET /": {**MOCK, "authorizer": "api_key", "throttle": [
            {"rate": 0.001, "burst": 10},
            {"rate": 0.001, "burst": 10, "per": "${request.header.x-tenant:-none}"}]},
    }, api_keys=keys(), auth_failures=False))
    tenant = {"x-tenant": "acme"}
    assert set(statuses(one, "/", 50, tenant)) == {403}
    assert set(statuses(one, "/", 50, {**tenant, "x-api-key": "psk_forged"})) == {403}
    assert statuses(one, "/", 11, {**tenant, "x-api-key": KEY}) == [200] * 10 + [429]
    # An empty bucket is seen before any key is looked at.
    assert set(statuses(one, "/", 3, {"x-api-key": "psk_forged"})) == {429}


def test_forged_credentials_are_slowed_down_and_a_good_client_goes_on_unharmed(gateway):
    """Good requests from another address (127.0.0.2) under a flood of forged ones from 127.0.0.1."""
    one = gateway(config({
        "GET /": {**MOCK, "authorizer": "api_key", "throttle": {"rate": 0.001, "burst": 200}},
        "GET /open": MOCK,
    }, api_keys=keys(), auth_failures={"rate": 0.001, "burst": 5}, listeners={"public": {"bind": "0.0.0.0:0"}}))
    port = one.address[1]
    one.listeners = {"public": ("127.0.0.1", port)}
    stop, seen = threading.Event(), []

    def flood():
        while not stop.is_set():
            seen.append(one.request("GET", "/", headers={"x-api-key": "psk_forged"}).status)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: seen.count(429) > 50, 20, "forged requests are refused unread")
        good = [status_from("127.0.0.2", port, KEY) for _ in range(100)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert good == [200] * 100
    # Those that were under way together may be a few more than the burst.
    assert 5 <= seen.count(403) <= 10
    refused = one.request("GET", "/", headers={"x-api-key": KEY})
    assert refused.status == 429 and int(refused.headers["retry-after"]) > 60
    assert "wrong credentials" in refused.json()["detail"]
    assert one.request("GET", "/open").status == 200
    assert throttled(one, "GET /", "auth_failures") >= 50


def test_credentials_that_are_missing_are_not_held_against_an_address(gateway):
    one = gateway(config({"GET /": {**MOCK, "authorizer": "api_key"}}, api_keys=keys(), auth_failures={"rate": 0.001, "burst": 3}))
    assert set(statuses(one, "/", 10)) == {403}
    assert statuses(one, "/", 1, {"x-api-key": KEY}) == [200]


def status_from(address, port, key):
    """One request from another address of the loopback network."""
    import socket
    with socket.socket() as connection:
        connection.bind((address, 0))
        connection.settimeout(30)
        connection.connect(("127.0.0.1", port))
        connection.sendall(f"GET / HTTP/1.1\r\nHost: h\r\nX-Api-Key: {key}\r\nConnection: close\r\n\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])


def polling(one, path, headers=None):
    """A long poll in a thread of its own; its status when it has ended."""
    ended = []
    thread = threading.Thread(target=lambda: ended.append(one.request("GET", path, headers=headers).status))
    thread.start()
    return thread, ended


def test_requests_at_once_are_counted_per_route_and_per_caller(gateway):
    poll = {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "WaitTimeSeconds": 3}}}
    caller = {"limit": 1, "per": "${request.header.x-tenant:-none}"}
    one = gateway(config({"GET /wait": {**poll, "concurrency": [{"limit": 2}, caller]}}, queues={"orders": {}}))
    first, _ = polling(one, "/wait", {"x-tenant": "ann"})
    second, _ = polling(one, "/wait", {"x-tenant": "bob"})
    eventually(lambda: one.metrics().value("penstock_slots_used") == 2, 10, "two polls under way")
    busy = one.request("GET", "/wait", headers={"x-tenant": "cat"})
    assert busy.status == 503 and busy.code == "overloaded" and 1 <= int(busy.headers["retry-after"]) <= 3
    first.join(), second.join()
    third, _ = polling(one, "/wait", {"x-tenant": "ann"})
    eventually(lambda: one.metrics().value("penstock_slots_used") == 1, 10, "a poll under way")
    again = one.request("GET", "/wait", headers={"x-tenant": "ann"})
    assert again.status == 429 and again.code == "throttled" and again.headers["retry-after"] == "1"
    third.join()
    assert one.request("GET", "/wait", headers={"x-tenant": "ann"}).status == 200
    assert throttled(one, "GET /wait", "concurrency") == 1
    assert throttled(one, "GET /wait", "concurrency-x-tenant") == 1


def test_a_client_that_vanishes_gives_its_place_back(gateway):
    poll = {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "WaitTimeSeconds": 20}}}
    one = gateway(config({"GET /wait": {**poll, "concurrency": 1}, "GET /fine": MOCK}, queues={"orders": {}}))
    with one.raw() as raw:
        raw.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        eventually(lambda: one.metrics().value("penstock_slots_used") == 1, 10, "the poll is under way")
        assert one.request("GET", "/wait").status == 503
    eventually(lambda: one.metrics().value("penstock_slots_used") == 0, 10, "the client is gone")
    thread, ended = polling(one, "/wait")
    eventually(lambda: one.metrics().value("penstock_slots_used") == 1, 10, "there is a place again")
    one.stop()
    thread.join()


def resident(one):
    """Bytes of memory that the process takes."""
    with open(f"/proc/{one.child.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def test_callers_without_number_take_no_memory_without_end(gateway, long_run):
    """A flood of distinct callers on few connections, and an abuser among them who stays limited."""
    one = gateway(config({
        "GET /": {**MOCK, "throttle": {"rate": 0.01, "burst": 1, "per": "$request.header.x"}},
        "GET /abused": {**MOCK, "throttle": {"rate": 1, "burst": 5, "per": "$request.header.x"}},
    }, access_log=False))
    callers = 1_000_000 if long_run else 60_000
    statuses(one, "/", 50, {"x": "warm"})
    before, began = resident(one), time.monotonic()
    answered, abused = [0], []

    def flood(part):
        with one.raw(timeout=60) as raw:
            for start in range(part * callers // 4, (part + 1) * callers // 4, 100):
                raw.send("".join(f"GET / HTTP/1.1\r\nHost: h\r\nX: {caller}\r\n\r\n" for caller in range(start, start + 100)))
                for _ in range(100):
                    answered[0] += raw.read_response().status == 200

    threads = [threading.Thread(target=flood, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        abused.append(one.request("GET", "/abused", headers={"x": "abuser"}).status)
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    assert resident(one) - before < 64 << 20
    assert abused.count(200) <= took + 5 + 1
    assert abused.count(200) < len(abused)


def test_explain_and_routes_describe_the_limits(tmp_path):
    path = write_config(tmp_path, config({
        "GET /": {**MOCK, "authorizer": "api_key", "concurrency": 9, "throttle": [
            {"rate": 5, "burst": 20}, {"rate": 1, "per": "$context.identity.apiKeyId", "shared": "redis://ann:hunter2@127.0.0.1:1/2"}]},
    }, api_keys=keys()))
    explained = penstock("explain", path, "GET", "/", "-H", f"x-api-key: {KEY}")
    assert explained.returncode == 0, explained.stderr
    for said in ("route: 5/s, burst 20, taken once authenticated", "shared through redis://127.0.0.1:1/2", "concurrency: 9 at once", "auth_failures: 10/s"):
        assert said in explained.stdout
    table = penstock("routes", path)
    plan = penstock("routes", path, "--json")
    assert "per $context.identity.apiKeyId" in table.stdout
    assert "hunter2" not in explained.stdout + table.stdout + plan.stdout + table.stderr


@pytest.mark.parametrize("url", ["redis://ann:hunter2@[half", "http://ann:hunter2@h", "rediss://:hunter2@h/#insecure"])
def test_check_never_shows_a_redis_password(tmp_path, url):
    path = write_config(tmp_path, config({"GET /": {**MOCK, "throttle": {"rate": 1, "shared": url}}}))
    checked = penstock("check", path)
    assert checked.returncode == 1 and "shared" in checked.stdout
    assert "hunter2" not in checked.stdout + checked.stderr
