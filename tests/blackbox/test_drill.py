"""The drill: what is acknowledged is never lost; and the drill itself, which has to notice if something is."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from support.gateway import REPOSITORY, environment, penstock, write_config

DRILL = REPOSITORY / "config" / "drill.yaml"
EMBEDDED = {
    "queues": {"jobs": {}},
    "routes": {"POST /jobs": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:jobs", "MessageBody": "$request.body"}}}},
}


def drill(*arguments, timeout=600, env=None):
    """Runs a drill to its end: the exit code, its report, and what it said."""
    done = penstock("drill", *arguments, "--json", timeout=timeout, env=env)
    report = json.loads(done.stdout) if done.stdout else None
    return done.returncode, report, done.stderr


def leftovers():
    """Gateways, folders and file systems that a drill has left behind."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if line.startswith("penstock-drill ")]
    return mounts


def say(report, text):
    if report is None:
        return text
    return json.dumps({key: report[key] for key in ("failures", "notes", "faults")}, indent=1) + "\n" + text


def test_what_is_acknowledged_is_there_after_every_fault(long_run):
    seconds, seed = (300, 11) if long_run else (20, 11)
    code, report, text = drill(DRILL, "--seed", seed, "--seconds", seconds, timeout=seconds + 600)
    assert report, text
    total = report["ledger"]["total"]
    assert code == 0 and report["ok"], say(report, text)
    assert (total["lost"], total["orderViolations"], total["altered"], total["premature"]) == (0, 0, 0, 0)
    assert sum(total["acknowledged"].values()) > seconds
    assert report["gatewayStarts"] >= 3
    impossible = {one["fault"] for one in report["impossible"]}
    felt = {one["fault"]: one["felt"] for one in report["faults"]}
    assert impossible == set() and len(felt) == 9
    for fault in ("down", "slow", "throttle", "lost-answers", "kill", "disk-full", "freeze", "reload"):
        assert felt[fault] > 0, fault
    assert leftovers() == []


def test_an_embedded_queue_is_drilled_without_a_target(tmp_path):
    path = write_config(tmp_path, EMBEDDED)
    code, report, text = drill(path, "--seed", 3, "--seconds", 5)
    assert code == 0, say(report, text)
    assert {one["fault"] for one in report["faults"]} == {"kill", "disk-full", "reload"}
    assert {one["fault"] for one in report["impossible"]} == {
        "down", "slow", "throttle", "partial", "lost-answers", "freeze"}
    row = report["ledger"]["routes"][0]
    assert row["acknowledged"]["target"] > 10 and row["lost"] == 0 and row["duplicates"] == 0


def test_the_disk_is_full_by_the_stores_own_limit_where_nothing_can_be_mounted(tmp_path):
    path = write_config(tmp_path, EMBEDDED)
    nothing_to_run = environment(PATH=str(tmp_path))
    code, report, text = drill(path, "--seed", 4, "--seconds", 6, "--faults", "disk-full", env=nothing_to_run)
    assert code == 0, say(report, text)
    assert "size limit" in report["disk"]
    assert report["faults"][0]["felt"] > 0
    assert report["ledger"]["refusals"].get("store_full", 0) > 0


def test_the_same_seed_gives_the_same_schedule():
    def plan(seed):
        done = penstock("drill", DRILL, "--plan", "--json", "--seed", seed)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    first = plan(5)
    assert first == plan(5)
    assert first["steps"] != plan(6)["steps"]
    assert {step["fault"] for step in first["steps"]} == {
        "down", "slow", "throttle", "partial", "lost-answers", "kill", "disk-full", "freeze", "reload"}
    text = penstock("drill", DRILL, "--plan", "--seed", 5).stdout
    assert text.splitlines()[0] == "seed 5, 20 s, 16 clients"


def test_a_record_that_is_missing_is_noticed_and_named(tmp_path):
    path = write_config(tmp_path, EMBEDDED)
    done = penstock("drill", path, "--seed", 21, "--seconds", 4, "--faults", "kill", "--sabotage", "drop-one")
    assert done.returncode == 1, done.stdout + done.stderr
    lost = [line for line in done.stdout.splitlines() if line.startswith("LOST: ")]
    assert len(lost) == 1 and lost[0].startswith("LOST: drill-15-") and lost[0].endswith("of POST /jobs, not in queue jobs")
    assert done.stdout.splitlines()[-1].startswith("FAILED: ")


def test_a_promised_fault_that_cannot_happen_fails_the_drill(tmp_path):
    path = write_config(tmp_path, EMBEDDED)
    done = penstock("drill", path, "--faults", "kill,throttle")
    assert done.returncode == 1
    assert "the fault throttle cannot happen: no route stores at AWS" in done.stderr


def test_a_promised_fault_that_nobody_felt_fails_the_drill(tmp_path):
    # Every request is refused by the route's own bucket, so nothing reaches the target that could be throttled.
    path = write_config(tmp_path, {
        "routes": {"POST /orders": {"throttle": {"rate": 0}, "integration": {"SQS-SendMessage": {
            "QueueUrl": "https://sqs.us-east-1.amazonaws.com/000000000000/orders", "MessageBody": "$request.body"}}}},
    })
    code, report, text = drill(path, "--seed", 1, "--seconds", 3, "--faults", "throttle")
    assert code == 1, text
    assert any("throttle was promised, and nobody felt it" in one for one in report["failures"])
    assert any("nothing was acknowledged" in one and "throttled" in one for one in report["failures"])


@pytest.mark.parametrize("given", [[], ["-H", "x-api-key: wrong"]])
def test_routes_that_all_want_credentials_end_the_drill_before_it_begins(tmp_path, given):
    route = {"authorizer": "api_key", **EMBEDDED["routes"]["POST /jobs"]}
    path = write_config(tmp_path, {
        **EMBEDDED, "api_keys": {"one": {"hash": "sha256:" + "0" * 64}},
        "routes": {"POST /jobs": route, "PUT /jobs/{id}": route},
    })
    began = time.monotonic()
    done = penstock("drill", path, "--seed", 1, "--seconds", 60, "--faults", "kill", *given)
    assert done.returncode == 1, done.stdout + done.stderr
    assert time.monotonic() - began < 55
    assert "every route refuses the first request" in done.stderr and "-H" in done.stderr, done.stderr
    refusals = ", ".join(f"{route}: 403 api_key_refused" for route in ("POST /jobs", "PUT /jobs/{id}"))
    assert refusals in done.stderr, done.stderr
    assert done.stdout == "" and leftovers() == []


def test_credentials_are_sent_and_what_mappings_ask_for_is_there():
    key = "x-api-key: psk_demo5f0c7d2be14a49c3a86f3d9b1e7c2a40"
    orders = REPOSITORY / "config" / "examples" / "orders-fifo.yaml"
    code, report, text = drill(orders, "--seed", 2, "--seconds", 4, "--faults", "kill", "-H", key)
    assert code == 0, say(report, text)
    row = report["ledger"]["routes"][0]
    assert row["acknowledged"]["target"] > 10 and row["orderViolations"] == 0


def test_what_is_configured_is_not_touched(tmp_path, fake):
    """Neither the store, nor the addresses, nor the target, nor the access log, nor the credentials of the file."""
    log = tmp_path / "access.log"
    path = write_config(tmp_path, {
        **EMBEDDED,
        "aws": {"region": "eu-west-1", "endpoint": fake.url},
        "store": {"path": str(tmp_path / "data")},
        "listeners": {"public": {"bind": "127.0.0.1:1"}, "private": {"bind": "127.0.0.1:2"}},
        "access_log": {"path": str(log)},
        "routes": {**EMBEDDED["routes"], "POST /orders": {"integration": {"SQS-SendMessage": {
            "QueueUrl": "https://sqs.us-east-1.amazonaws.com/000000000000/orders", "MessageBody": "$request.body"}}}},
    })
    code, report, text = drill(path, "--seed", 2, "--seconds", 3, "--faults", "kill")
    assert code == 0, say(report, text)
    assert fake.calls == []
    assert not (tmp_path / "data").exists() and not log.exists()
    assert sum(report["ledger"]["total"]["acknowledged"].values()) > 5


def test_a_drill_too_short_for_its_faults_is_a_matter_of_usage():
    done = penstock("drill", DRILL, "--seconds", 3)
    assert done.returncode == 2
    assert "at least 10 seconds" in done.stderr


def test_the_help_says_what_the_exit_codes_mean():
    done = penstock("drill", "--help")
    assert done.returncode == 0
    assert "1  something is, or a fault that was promised did not happen" in done.stdout


def test_a_killed_drill_takes_its_gateway_along(tmp_path):
    from support.gateway import BINARY
    from support.processes import eventually
    path = write_config(tmp_path, EMBEDDED)
    home = environment(TMPDIR=str(tmp_path))
    child = subprocess.Popen(
        [BINARY, "drill", path, "--seconds", "60", "--faults", "reload"], env=home,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    gateways = eventually(lambda: children(child.pid), what="the gateway as a child")
    child.kill()
    child.wait()
    eventually(lambda: not any(alive(pid) for pid in gateways), what="the end of the gateway")


def children(pid):
    """The processes that a process has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        listed = task / "children"
        if not listed.exists():
            pytest.skip("the kernel does not list children")
        found += [int(one) for one in listed.read_text().split()]
    return found


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
