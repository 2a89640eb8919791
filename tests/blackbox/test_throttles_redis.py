"""Buckets that several gateways share through a real redis-server: under load, through its kill and its freeze."""

import threading
import time

import pytest

from support.gateway import config, penstock, write_config
from support.processes import eventually
from support.redis import Redis

MOCK = {"integration": {"Mock": {"body": "fine"}}}


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path).start()
    yield server
    server.stop()


def shared(redis, rate, burst, shared_timeout="1s", **more):
    """One shared bucket. The long timeout is for machines so busy that Redis itself is late."""
    throttle = {"rate": rate, "burst": burst, "shared": redis.url, "shared_timeout": shared_timeout, **more}
    return config({"GET /": {**MOCK, "throttle": throttle}}, access_log=False)


def connected(one):
    return one.metrics().value("penstock_shared_throttle_servers_connected") == 1


def calls(one, result):
    return one.metrics().value("penstock_shared_throttle_calls_total", result=result)


def start_connected(gateway, document):
    one = gateway(document)
    eventually(lambda: connected(one), 10, "Redis is connected")
    return one


class Load:
    """Clients that ask one gateway as fast as they can."""

    def __init__(self, gateways, clients=2, path="/", headers=None):
        self.stopped = threading.Event()
        self.seen, self.slowest = [], 0.0
        self.threads = [threading.Thread(target=self.run, args=(one, path, headers)) for one in gateways for _ in range(clients)]
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()

    def run(self, one, path, headers):
        while not self.stopped.is_set():
            began = time.monotonic()
            self.seen.append(one.request("GET", path, headers=headers).status)
            self.slowest = max(self.slowest, time.monotonic() - began)

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        self.took = time.monotonic() - self.began
        return self.seen


def test_two_gateways_together_admit_what_one_would(gateway, redis):
    document = shared(redis, 50, 20)
    both = [start_connected(gateway, document) for _ in range(2)]
    load = Load(both)
    eventually(lambda: load.seen.count(200) > 200, 30, "two hundred admitted")
    seen = load.stop()
    assert set(seen) == {200, 429}
    assert seen.count(200) <= 50 * load.took + 20
    assert all(calls(one, "timeout") == calls(one, "failed") == 0 for one in both)


def test_each_caller_s_bucket_is_shared_and_nobody_s_name_is_in_redis(gateway, redis):
    document = shared(redis, 0.01, 4, per="$request.header.x-tenant")
    both = [start_connected(gateway, document) for _ in range(2)]
    for tenant in ("ann", "bob"):
        seen = [both[at % 2].request("GET", "/", headers={"x-tenant": tenant}).status for at in range(6)]
        assert seen == [200] * 4 + [429] * 2
    kept = redis.ask("KEYS", "*")
    assert kept.count(b"penstock:throttle:shop:$default:GET /:x-tenant:") == 2
    assert b"ann" not in kept and b"bob" not in kept
    answer = both[0].request("GET", "/", headers={"x-tenant": "ann"})
    assert 90 < int(answer.headers["retry-after"]) <= 100
    assert answer.headers["ratelimit-policy"] == '"x-tenant";q=4;w=400'


def test_buckets_expire_in_redis_when_they_are_full(gateway, redis):
    one = start_connected(gateway, shared(redis, 10, 5))
    assert one.request("GET", "/").status == 200
    assert b"GET /" in redis.ask("KEYS", "*")
    eventually(lambda: b"GET /" not in redis.ask("KEYS", "*"), 10, "the full bucket is gone")


def test_several_shared_buckets_are_taken_together_or_not_at_all(gateway, redis):
    document = config({"GET /": {**MOCK, "throttle": [
        {"rate": 0.01, "burst": 3, "shared": redis.url, "shared_timeout": "1s"},
        {"rate": 0.01, "burst": 1, "per": "${request.header.x:-none}", "shared": redis.url, "shared_timeout": "1s"}]}})
    one = start_connected(gateway, document)
    ask = lambda who: one.request("GET", "/", headers={"x": who}).status
    before = calls(one, "ok")
    assert [ask("greedy") for _ in range(4)] == [200, 429, 429, 429]
    assert [ask("a"), ask("b"), ask("c")] == [200, 200, 429]
    assert calls(one, "ok") - before == 7, "one round trip a request"


def test_a_flood_without_credentials_takes_no_shared_token(gateway, redis):
    document = config({"GET /": {**MOCK, "authorizer": "api_key", "throttle": {"rate": 0.01, "burst": 2, "shared": redis.url}}},
                      api_keys={"acme": {"hash": "sha256:" + "0" * 64}})
    one = start_connected(gateway, document)
    assert {one.request("GET", "/").status for _ in range(20)} == {403}
    assert calls(one, "ok") == 0


@pytest.mark.parametrize("mode, admitted", [("local", None), ("open", {200}), ("closed", {503})])
def test_redis_is_killed_and_comes_back_under_load(gateway, redis, mode, admitted):
    document = shared(redis, 1, 5, when_shared_fails=mode)
    both = [start_connected(gateway, document) for _ in range(2)]
    load = Load(both, clients=1)
    try:
        eventually(lambda: load.seen.count(429) > 20, 20, "the shared bucket is empty")
        redis.kill()
        eventually(lambda: not any(connected(one) for one in both), 10, "both have noticed")
        gone = len(load.seen)
        began = time.monotonic()
        eventually(lambda: len(load.seen) > gone + 100, 20, "requests go on")
        seen = load.seen[gone + 2:]
        took = time.monotonic() - began
        redis.start()
        eventually(lambda: all(connected(one) for one in both), 20, "both are connected again")
        back = len(load.seen)
        eventually(lambda: load.seen[back:].count(429) > 20, 20, "the shared bucket limits again")
    finally:
        load.stop()
    if admitted is None:
        # Each gateway by a bucket of its own, of the same size.
        assert set(seen) <= {200, 429} and seen.count(200) <= 2 * (5 + 1 + took)
    else:
        assert set(seen) == admitted
    assert all(one.admin("/readyz").status == 200 for one in both)
    assert set(load.seen) <= {200, 429, 503}


def test_a_frozen_redis_costs_its_timeout_a_few_times_and_then_nothing(gateway, redis):
    one = start_connected(gateway, shared(redis, 1000, 1000, when_shared_fails="open", shared_timeout="100ms"))
    assert one.request("GET", "/").status == 200
    redis.freeze()
    try:
        load = Load([one], clients=1)
        eventually(lambda: calls(one, "skipped") >= 50, 20, "nobody asks the frozen server any more")
        load.stop()
        assert set(load.seen) == {200}
        assert 1 <= calls(one, "timeout") <= 4
        began = time.monotonic()
        assert one.request("GET", "/").status == 200
        assert time.monotonic() - began < 5
        assert one.admin("/readyz").status == 200
    finally:
        redis.thaw()
    eventually(lambda: connected(one), 20, "it is connected again")
    before = calls(one, "ok")
    assert one.request("GET", "/").status == 200
    assert calls(one, "ok") == before + 1


def test_a_gateway_starts_without_its_redis_and_finds_it_later(gateway, redis):
    redis.kill()
    one = gateway(shared(redis, 0.01, 1, when_shared_fails="closed"))
    answer = one.request("GET", "/")
    assert answer.status == 503 and 1 <= int(answer.headers["retry-after"]) <= 3
    redis.start()
    eventually(lambda: connected(one), 20, "Redis is connected")
    assert [one.request("GET", "/").status for _ in range(2)] == [200, 429]


def test_a_redis_that_may_not_be_written_to_is_no_redis(gateway, redis):
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    one = gateway(shared(redis, 0.01, 1, when_shared_fails="open"))
    eventually(lambda: "READONLY" in one.logs(), 10, "the refusal is logged")
    assert {one.request("GET", "/").status for _ in range(3)} == {200}
    assert not connected(one) and one.logs().count("READONLY") == 1
    redis.ask("REPLICAOF", "NO", "ONE")
    eventually(lambda: connected(one), 20, "it may be written to")


def test_a_password_is_used_and_never_told(gateway, tmp_path):
    (tmp_path / "own").mkdir()
    server = Redis(tmp_path / "own", "--requirepass", "hunter2").start()
    try:
        for password, works in (("hunter2", True), ("wr0ngpass", False)):
            url = f"redis://:{password}@127.0.0.1:{server.port}/0"
            one = gateway(config({"GET /": {**MOCK, "throttle": {"rate": 0.01, "burst": 1, "shared": "${env:LIMITS}", "when_shared_fails": "open"}}}),
                          env={"LIMITS": url})
            if works:
                eventually(lambda: connected(one), 10, "Redis is connected")
            else:
                eventually(lambda: "cannot be reached" in one.logs(), 10, "the refusal is logged")
            one.request("GET", "/")
            told = one.logs() + one.metrics().text + one.admin("/v1/plan").body.decode()
            assert password not in told
            assert f"redis://127.0.0.1:{server.port}/0" in told
    finally:
        server.stop()
