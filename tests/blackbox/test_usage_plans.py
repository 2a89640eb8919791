"""Usage plans: throttles and quotas by key, kept across restarts and kills; what `penstock keys usage` tells of them."""

import contextlib
import datetime
import json
import sqlite3
import threading

import pytest

from support.gateway import config, penstock
from support.processes import eventually
from test_api_keys import hashed

KEYS = {name: f"psk_{name}0123456789abcdef0123456789abcdef" for name in ("fast", "slow", "few", "offset", "free", "none")}
PLANS = {
    "fast": {"throttle": {"rate": 0.01, "burst": 3}, "routes": {"GET /one": {"rate": 0.01, "burst": 1}}},
    "slow": {"throttle": {"rate": 0}},
    "few": {"quota": {"limit": 5, "period": "month"}},
    "offset": {"quota": {"limit": 5, "period": "day", "offset": 3}},
    "free": {},
}
ROUTES = {
    "GET /one": {"authorizer": "api_key", "integration": {"Mock": {"body": "in"}}},
    "GET /two": {"authorizer": "api_key", "integration": {"Mock": {"body": "in"}}},
}


def api_keys():
    return {name: {"hash": hashed(key), **({"plan": name} if name in PLANS else {})} for name, key in KEYS.items()}


def document(**sections):
    return config(ROUTES, api_keys=api_keys(), usage_plans=PLANS, **sections)


def ask(server, name, path="/two"):
    return server.request("GET", path, headers={"x-api-key": KEYS[name]})


def statuses(server, name, count, path="/two"):
    return [ask(server, name, path).status for _ in range(count)]


def usage(server, *arguments):
    ran = penstock("keys", "usage", *arguments, "--admin", "http://{}:{}".format(*server.admin_address), "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def quota(server, name):
    return usage(server, name)["keys"][0]["quota"]


@pytest.fixture(scope="module")
def server(shared_gateway):
    return shared_gateway(document())


def test_a_key_s_bucket_is_its_own_and_so_is_that_of_a_route(server):
    assert statuses(server, "fast", 2, "/one") == [200, 429]
    assert statuses(server, "fast", 3) == [200, 200, 429]
    refused = ask(server, "fast")
    assert refused.code == "throttled"
    assert 1 <= int(refused.headers["retry-after"]) <= 100
    assert refused.headers["ratelimit-policy"] == '"plan";q=3;w=300'
    assert refused.headers["ratelimit"].startswith('"plan";r=0;t=')
    both = ask(server, "fast", "/one")
    assert both.headers["ratelimit-policy"] == '"plan-route";q=1;w=100, "plan";q=3;w=300'
    line = server.log_line(refused.headers["x-request-id"])
    assert line["phase"] == "throttle" and "usage plan fast" in line["error"]
    assert line["phases"]["throttle"]["status"] == 429 and line["apiKeyId"] == "fast"


def test_a_rate_of_zero_lets_nobody_in(server):
    refused = ask(server, "slow")
    assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "throttled", "3600")


def test_a_quota_is_exact_and_says_when_it_begins_anew(server):
    answers = []
    threads = [threading.Thread(target=lambda: answers.extend(statuses(server, "few", 5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] * 5 + [429] * 15
    refused = ask(server, "few")
    now = datetime.datetime.now(datetime.timezone.utc)
    first = (now.replace(day=1) + datetime.timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert refused.code == "quota_exceeded" and "5 requests a month" in refused.json()["detail"]
    assert abs(int(refused.headers["retry-after"]) - (first - now).total_seconds()) < 5
    assert refused.headers["ratelimit"].startswith('"quota";r=0;t=')
    standing = quota(server, "few")
    assert standing == {"limit": 5, "period": "month", "used": 5, "remaining": 0, "resetsAt": first.strftime("%Y-%m-%dT%H:%M:%SZ")}


def test_the_offset_is_taken_off_the_first_period(server):
    assert statuses(server, "offset", 3) == [200, 200, 429]
    assert quota(server, "offset")["used"] == 5


def test_a_key_without_a_plan_or_in_one_without_limits_is_not_limited(server):
    assert statuses(server, "free", 20) == statuses(server, "none", 20) == [200] * 20
    assert quota(server, "free") is None


def test_what_was_used_is_told_by_key_and_by_day(server):
    assert statuses(server, "free", 2) == [200, 200]
    report = usage(server)
    told = {key["key"]: key for key in report["keys"]}
    used = told["free"]["used"]
    assert used >= 2 and told["free"]["plan"] == "free"
    assert len(report["items"]["free"]) == 30 and report["items"]["free"][-1] == [used, None]
    today = report["to"]
    one = usage(server, "free", "--from", today, "--to", today)
    assert [day["day"] for day in one["keys"][0]["days"]] == [today] and one["items"] == {"free": [[used, None]]}
    table = penstock("keys", "usage", "free", "--admin", "http://{}:{}".format(*server.admin_address))
    assert today in table.stdout and "AUTHORIZER" in table.stdout
    overview = penstock("keys", "usage", "--admin", "http://{}:{}".format(*server.admin_address))
    assert overview.stdout.splitlines()[0].split()[:3] == ["KEY", "PLAN", "USED"]


@pytest.mark.parametrize("query, status", [
    ("?key=nobody", 404), ("?from=yesterday", 400), ("?limit=x", 400), ("?colour=red", 400),
    ("?from=2026-11-22&to=2026-11-21", 400), ("?from=2020-01-01&to=2026-01-01", 400), ("?limit=1", 200)])
def test_what_is_asked_wrongly_is_told(server, query, status):
    assert server.admin(f"/v1/usage{query}").status == status


def test_usage_is_told_to_whoever_may_see_messages(gateway):
    guarded = gateway(document(admin={"bind": "127.0.0.1:0", "token": "a-long-enough-token"}))
    assert guarded.admin("/v1/usage").status == 403


def test_pages_of_keys_follow_one_another(server):
    for name in ("free", "none"):
        ask(server, name)
    first = json.loads(server.admin("/v1/usage?limit=1").body)
    assert first["next"] == first["keys"][0]["key"]
    second = json.loads(server.admin(f"/v1/usage?limit=1&after={first['next']}").body)
    assert second["keys"][0]["key"] > first["keys"][0]["key"]


def test_the_plan_s_refusals_are_counted(server):
    ask(server, "slow")
    metrics = server.metrics()
    assert metrics.value("penstock_usage_plan_refusals_total", plan="slow", code="throttled") >= 1
    assert metrics.value("penstock_api_key_requests_total", source="header") >= 1
    assert metrics.value("penstock_api_keys") == len(KEYS)


def test_nothing_is_charged_to_who_is_refused_at_the_door(server):
    before = usage(server, "free")["keys"][0]["used"] if ask(server, "free").status == 200 else 0
    for key in ("nobody", "", KEYS["free"].upper()):
        assert server.request("GET", "/two", headers={"x-api-key": key}).status == 403
    assert usage(server, "free")["keys"][0]["used"] == before


def test_a_quota_survives_a_restart(gateway):
    one = gateway(document())
    assert statuses(one, "few", 3) == [200] * 3
    one.stop()
    one.start()
    assert statuses(one, "few", 3) == [200, 200, 429]
    assert quota(one, "few")["used"] == 5


def test_a_kill_loses_no_more_than_the_last_second(gateway):
    one = gateway(document())
    assert statuses(one, "few", 4) == [200] * 4

    def saved():
        # The admin listener tells what is in memory too; the file, what a kill leaves.
        with contextlib.closing(sqlite3.connect(f"file:{one.directory}/data/store.db?mode=ro", uri=True)) as store:
            return store.execute("SELECT quota_used FROM key_state WHERE key = 'few'").fetchone() == (4,)
    eventually(saved, within=10)
    one.kill()
    one.start()
    assert statuses(one, "few", 2) == [200, 429]


def test_a_store_that_cannot_be_opened_refuses_nobody(gateway):
    one = gateway(document())
    one.stop()
    database = one.directory / "data" / "store.db"
    whole = database.read_bytes()
    database.write_bytes(b"no database" * 1000)
    one.start()
    assert statuses(one, "few", 6) == [200] * 5 + [429]
    assert one.admin("/readyz").status == 200
    one.stop()
    database.write_bytes(whole)


def test_the_vendor_s_words_in_the_aws_dialect(gateway):
    one = gateway(document(responses="aws"))
    assert statuses(one, "few", 5) == [200] * 5
    assert ask(one, "few").json() == {"message": "Limit Exceeded"}
    assert ask(one, "slow").json() == {"message": "Too Many Requests"}


def test_explain_says_what_the_plan_allows(gateway):
    one = gateway(document())
    ran = penstock("explain", "gateway.yaml", "GET", "/one", "-H", f"x-api-key: {KEYS['fast']}", cwd=one.directory)
    assert "usage plan fast: 0.01 a second, 1 at once to this route, 0.01 a second, 3 at once" in ran.stdout, ran.stdout
    assert KEYS["fast"] not in ran.stdout + ran.stderr
