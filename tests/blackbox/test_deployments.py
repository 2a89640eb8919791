"""Deployments: history, canaries that are promoted or taken back, rollbacks that pin, and what survives a restart."""

import json
import threading

import pytest
import yaml

from support.fake_aws import FakeAws, Hang, Usual
from support.gateway import config, penstock
from support.http2 import Http2
from support.processes import eventually, free_port

STEPS = ["40%", "70%", "100%"]


def answering(version, status=200, store=True, **deployment):
    """A configuration whose answers say which version gave them."""
    mock = {"status": status, "headers": {"x-version": version}, "body": "{}"}
    sections = {"queues": {"kept": {}}} if store else {}
    if deployment:
        sections["deployment"] = deployment
    return config({"GET /v": {"integration": {"Mock": mock}}}, **sections)


def canary(version, status=200, **more):
    return answering(version, status, **{
        "strategy": "canary", "steps": STEPS, "every": "1s", "sticky": ["$request.header.x-caller"],
        "rollback_on": {"error_ratio": "2%", "min_requests": 20}, **more})


def run(one, *arguments, code=0):
    """Runs a command against the gateway."""
    admin = "http://{}:{}".format(*one.admin_address)
    done = penstock(*arguments, "--admin", admin, cwd=one.directory)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done


def write(one, document, name="gateway.yaml"):
    folder = one.directory / "next"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def deploy(one, document, *arguments, code=0):
    return run(one, "deploy", write(one, document), *arguments, code=code)


def told(one):
    return json.loads(run(one, "deployments", "--json").stdout)


def version(one, caller):
    answer = one.request("GET", "/v", headers={"x-caller": str(caller)})
    return answer.headers.get("x-version"), answer.status


def statuses(one):
    return [each["status"] for each in told(one)["deployments"]]


class Callers:
    """Callers that never stop asking, and note what they were answered."""

    def __init__(self, one, count=24):
        self.one, self.answers, self.failures, self.over = one, [], [], threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(caller,), daemon=True) for caller in range(count)]
        for thread in self.threads:
            thread.start()

    def ask(self, caller):
        while not self.over.is_set():
            try:
                self.answers.append((caller, *version(self.one, caller)))
            except OSError as error:
                self.failures.append(error)
            self.over.wait(0.02)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert self.failures == []
        return self.answers


def test_a_configuration_is_deployed_listed_with_its_changes_and_rolled_back_which_pins_it(gateway):
    one = gateway(answering("one"))
    first = told(one)["baseline"]
    two = answering("two")
    two["routes"]["GET /new"] = two["routes"]["GET /v"]
    dry = deploy(one, two, "--dry-run").stdout
    assert "+ GET /new" in dry and "would take over at once" in dry and version(one, 1) == ("one", 200)
    planned = json.loads(run(one, "plan", write(one, two), "--json").stdout)
    assert planned["added"] == ["GET /new"] and planned["changed"][0]["route"] == "GET /v"
    assert run(one, "plan", write(one, two), "--exit-code", code=1).stdout.endswith("1 route added, 1 changed\n")
    deploy(one, two)
    assert version(one, 1) == ("two", 200) and one.request("GET", "/new").status == 200
    listing = told(one)
    latest = listing["deployments"][0]
    assert latest["id"] == listing["baseline"] != first and latest["status"] == "running" and latest["from"] == "cli"
    assert latest["changes"]["added"] == ["GET /new"] and listing["kept"]
    run(one, "rollback")
    assert version(one, 1) == ("one", 200) and told(one)["baseline"] == first
    refused = deploy(one, two, code=1)
    assert "was rolled back" in refused.stderr and version(one, 1) == ("one", 200)
    deploy(one, two, "--force")
    assert version(one, 1) == ("two", 200) and told(one)["pinned"] == []
    run(one, "rollback", first[:6])
    assert version(one, 1) == ("one", 200)
    assert "GET /v" in run(one, "deployments", "--changes").stdout


def test_a_configuration_with_errors_changes_nothing_and_is_listed_as_refused(gateway):
    one = gateway(answering("one"))
    broken = answering("two")
    broken["routes"]["GET /v"]["integration"]["Mock"]["statsu"] = 1
    refused = deploy(one, broken, code=1)
    assert "statsu" in refused.stderr and version(one, 1) == ("one", 200)
    latest = told(one)["deployments"][0]
    assert latest["status"] == "refused" and "statsu" in latest["reason"]
    assert one.metrics().value("penstock_deployments_total", event="refused") == 1


def test_a_watched_file_with_errors_is_listed_as_refused(gateway):
    one = gateway(answering("one"))
    broken = answering("two")
    broken["routes"]["GET /v"]["integration"]["Mock"]["statsu"] = 1
    one.config.write_text(yaml.safe_dump(broken))
    latest = eventually(lambda: next((d for d in told(one)["deployments"] if d["status"] == "refused"), None), 30, "the refusal")
    assert "statsu" in latest["reason"] and latest["from"] == "watch"
    assert version(one, 1) == ("one", 200)
    assert "refused" in run(one, "deployments").stdout


def test_a_good_canary_takes_over_step_by_step_and_callers_stay_where_they_are(gateway):
    one = gateway(answering("one"))
    callers = Callers(one)
    deploy(one, canary("two"))
    assert told(one)["canary"]["share"] == "40%"
    eventually(lambda: told(one)["canary"] is None, 60, "the canary has taken over")
    answers = callers.stop()
    assert {status for _, _, status in answers} == {200}
    assert version(one, 1) == ("two", 200) and statuses(one)[:2] == ["running", "superseded"]
    for caller in range(24):
        seen = [v for who, v, _ in answers if who == caller]
        # Whoever was in stays in: the versions of a caller never alternate.
        assert sorted(seen, key=["one", "two"].index) == seen
    one.metrics().assert_balanced()


def test_a_bad_canary_is_taken_back_and_not_deployed_again(gateway):
    one = gateway(answering("one"))
    callers = Callers(one)
    deploy(one, canary("two", 500))
    eventually(lambda: told(one)["canary"] is None, 60, "the canary is taken back")
    listing = told(one)
    eventually(lambda: version(one, 1) == ("one", 200), 5, "everybody is with the baseline")
    answers = callers.stop()
    bad = [status for _, _, status in answers if status != 200]
    assert bad and listing["deployments"][0]["changes"]["changed"]
    latest = listing["deployments"][0]
    assert latest["status"] == "rolled-back" and "failed:" in latest["reason"] and listing["pinned"] == [latest["id"]]
    assert one.metrics().value("penstock_deployment_requests_total", deployment="canary", result="failed") == len(bad)
    assert "was rolled back" in deploy(one, canary("two", 500), code=1).stderr


def test_a_bad_target_behind_the_canary_loses_no_request(gateway):
    def storing(queue, **sections):
        routes = {"POST /orders": {"integration": {"SQS-SendMessage": {"QueueUrl": queue, "MessageBody": "$request.body"}}}}
        return config(routes, queues={"orders": {}}, aws={"region": "us-east-1", "endpoint": f"http://127.0.0.1:{port}"}, **sections)
    port = free_port()
    one = gateway(storing("queue:orders"))
    acknowledged, over = [], threading.Event()

    def send(caller):
        n = 0
        while not over.is_set():
            body = f"{caller}-{n}".encode()
            n += 1
            if one.request("POST", "/orders", body, {"x-caller": str(caller)}).status == 202:
                acknowledged.append(body)
            over.wait(0.02)
    threads = [threading.Thread(target=send, args=(caller,), daemon=True) for caller in range(16)]
    for thread in threads:
        thread.start()
    there = f"http://127.0.0.1:{port}/000000000000/gone"
    deploy(one, storing(there, deployment=canary("x")["deployment"]))
    eventually(lambda: told(one)["canary"] is None, 60, "the canary is taken back")
    over.set()
    for thread in threads:
        thread.join()
    assert statuses(one)[0] == "rolled-back"
    assert one.queues()["orders"]["ledger"]["accepted"] == len(acknowledged) > 0
    one.metrics().assert_balanced()


def test_two_instances_agree_on_who_is_canary_without_talking(gateway):
    pair = [gateway(answering("one")) for _ in range(2)]
    for one in pair:
        deploy(one, canary("two", steps=["50%"], every="1h"))
    seen = [[version(one, caller)[0] for caller in range(40)] for one in pair]
    assert seen[0] == seen[1] and set(seen[0]) == {"one", "two"}
    run(pair[0], "canary", "set", "80%")
    more = [version(pair[0], caller)[0] for caller in range(40)]
    assert all(now == "two" for then, now in zip(seen[0], more) if then == "two")


def test_a_canary_goes_on_after_a_restart_and_its_share_is_kept(gateway):
    one = gateway(answering("one"))
    deploy(one, canary("two", steps=["10%"], every="1h"))
    run(one, "canary", "set", "50%")
    seen = [version(one, caller)[0] for caller in range(40)]
    before = told(one)
    one.kill()
    one.start()
    after = told(one)
    assert after["canary"]["share"] == "50%" and after["canary"]["id"] == before["canary"]["id"]
    assert after["baseline"] == before["baseline"]
    assert [version(one, caller)[0] for caller in range(40)] == seen
    run(one, "promote")
    assert {version(one, caller)[0] for caller in range(8)} == {"two"} and told(one)["canary"] is None
    one.stop()
    one.start()
    # The files still hold the old one, which they held before: what was promoted goes on.
    assert version(one, 1) == ("two", 200)
    # Files that have changed since are deployed.
    one.stop()
    one.config.write_text(yaml.safe_dump(answering("three")))
    one.start()
    assert version(one, 1) == ("three", 200)


def test_a_rollback_holds_over_a_restart_until_the_file_changes(gateway):
    one = gateway(answering("one"))
    one.stop()
    one.config.write_text(yaml.safe_dump(answering("two")))
    one.start()
    assert version(one, 1) == ("two", 200)
    run(one, "rollback")
    assert version(one, 1) == ("one", 200)
    one.stop()
    one.start()
    assert version(one, 1) == ("one", 200)
    one.stop()
    one.config.write_text(yaml.safe_dump(answering("two fixed")))
    one.start()
    assert version(one, 1) == ("two fixed", 200)


def test_a_changed_file_with_the_strategy_canary_is_a_canary_after_a_restart(gateway):
    one = gateway(answering("one"))
    one.stop()
    one.config.write_text(yaml.safe_dump(canary("two", steps=["50%"], every="1h")))
    one.start()
    assert {version(one, caller)[0] for caller in range(40)} == {"one", "two"}
    run(one, "canary", "abort")
    assert {version(one, caller)[0] for caller in range(40)} == {"one"}


def test_stage_variables_of_the_canary_are_its_own_and_stay_when_it_is_promoted(gateway):
    def tiers(**sections):
        mock = {"headers": {"x-version": "$stageVariables.tier"}}
        routes = {"GET /v": {"integration": {"Mock": mock}}}
        return config(routes, stage_variables={"tier": "val1", "other": "x"}, queues={"kept": {}}, **sections)
    one = gateway(tiers())
    overrides = {"strategy": "canary", "steps": ["50%"], "variables": {"tier": "val2"}, "sticky": ["$request.header.x-caller"]}
    deploy(one, tiers(deployment=overrides))
    assert {version(one, caller)[0] for caller in range(40)} == {"val1", "val2"}
    run(one, "promote")
    one.stop()
    one.start()
    assert {version(one, caller)[0] for caller in range(20)} == {"val2"}


def test_the_access_log_and_mappings_say_which_deployment_served(gateway):
    def document(**sections):
        mock = {"headers": {"x-version": "$context.deploymentId", "x-canary": "$context.isCanaryRequest"}}
        return config({"GET /v": {"integration": {"Mock": mock}}}, **sections)
    one = gateway(document())
    assert not told(one)["kept"]
    alone = one.request("GET", "/v").headers
    assert (alone["x-version"], alone["x-canary"]) == (told(one)["baseline"], "false")
    deploy(one, document(deployment=canary("x", steps=["50%"], every="1h")["deployment"]))
    listing = told(one)
    answers = [one.request("GET", "/v", headers={"x-caller": str(n)}) for n in range(20)]
    said = {(answer.headers["x-version"], answer.headers["x-canary"]) for answer in answers}
    assert said == {(listing["baseline"], "false"), (listing["canary"]["id"], "true")}
    line = one.log_line(answers[-1].headers["x-request-id"])
    assert (line["deploymentId"], line["isCanaryRequest"]) == (
        answers[-1].headers["x-version"], answers[-1].headers["x-canary"] == "true")


def test_writes_are_refused_without_the_token_and_files_are_not_shown(gateway):
    document = answering("one")
    document["admin"]["token"] = "a-token-that-is-long-enough"
    one = gateway(document)
    refused = deploy(one, answering("two"), code=1)
    assert "admin.token" in refused.stderr
    assert one.admin("/v1/deployments").status == 200
    assert one.admin("/v1/deployments/running").status == 403


def test_a_watched_file_with_the_strategy_canary_is_tried_and_a_bad_one_is_not_tried_twice(gateway):
    one = gateway(answering("one"))
    callers = Callers(one, 8)
    one.config.write_text(yaml.safe_dump(canary("two", 500, steps=["50%"])))
    eventually(lambda: told(one)["pinned"], 60, "the canary is taken back")
    latest = told(one)["deployments"][0]
    assert latest["status"] == "rolled-back" and latest["from"] == "watch"
    callers.stop()
    one.config.write_text(yaml.safe_dump(answering("three")))
    eventually(lambda: version(one, 1) == ("three", 200), 30, "a good file is deployed")


def test_a_reload_of_unchanged_files_undoes_no_deployment(gateway):
    one = gateway(answering("one"))
    deploy(one, answering("two"))
    one.signal(1)
    one.says("SIGHUP")
    answer = one.admin("/v1/reload", "POST")
    assert answer.status == 200 and any("runs on" in warning for warning in answer.json()["warnings"]), answer.body
    assert version(one, 1) == ("two", 200) and told(one)["baseline"] == told(one)["deployments"][0]["id"]
    one.config.touch()
    deploy(one, canary("three", steps=["50%"], every="1h"))
    run(one, "promote")
    assert one.admin("/v1/reload", "POST").status == 200 and version(one, 1) == ("three", 200)
    one.config.write_text(yaml.safe_dump(answering("four")))
    eventually(lambda: version(one, 1) == ("four", 200), 30, "what the files hold now")
    # What they held is deployed again by whoever says so.
    deploy(one, answering("one"))
    assert version(one, 1) == ("one", 200)


def test_a_canary_that_only_refuses_is_taken_back(gateway):
    one = gateway(answering("one"))
    callers = Callers(one)
    deploy(one, canary("two", 403))
    eventually(lambda: told(one)["canary"] is None, 60, "the canary is taken back")
    callers.stop()
    latest = told(one)["deployments"][0]
    assert latest["status"] == "rolled-back" and latest["reason"].startswith("refused:")
    meant = canary("three", 403, rollback_on={"error_ratio": "2%", "refused_ratio": "100%", "min_requests": 20})
    callers = Callers(one)
    deploy(one, meant)
    eventually(lambda: told(one)["canary"] is None, 60, "the canary has taken over")
    callers.stop()
    assert version(one, 1) == ("three", 403)


def test_a_canary_whose_target_hangs_is_taken_back_after_one_timeout_and_loses_no_request(gateway, fake):
    fake.always("SQS-SendMessage", Hang())
    fake.always("SQS-SendMessageBatch", Hang())
    def storing(queue, **sections):
        send = {"SQS-SendMessage": {"QueueUrl": queue, "MessageBody": "$request.header.x-caller"}}
        return config({"GET /v": {"limits": {"timeout": "2s"}, "integration": send}}, queues={"orders": {}},
                      aws={"region": "us-east-1", "endpoint": fake.url}, **sections)
    one = gateway(storing("queue:orders"))
    callers = Callers(one)
    deploy(one, storing(f"{fake.url}/111122223333/gone", deployment=canary("x")["deployment"]))
    eventually(lambda: told(one)["canary"] is None, 60, "the canary is taken back")
    answers = callers.stop()
    assert statuses(one)[0] == "rolled-back"
    acknowledged = sum(status == 202 for _, _, status in answers)
    assert one.queues()["orders"]["ledger"]["accepted"] == acknowledged > 0
    assert {status for _, _, status in answers} == {202, 503}
    one.metrics().assert_balanced()


def test_callers_are_known_by_their_credentials_over_either_protocol_and_one_address_is_one_caller(gateway):
    pair = [gateway(answering("one")) for _ in range(2)]
    document = canary("two", steps=["50%"], every="1h")
    del document["deployment"]["sticky"]
    for one in pair:
        deploy(one, document)
    served = lambda one, headers: one.request("GET", "/v", headers=headers).headers["x-version"]
    for name in ("authorization", "x-api-key"):
        seen = [[served(one, {name: f"Bearer {caller}"}) for caller in range(40)] for one in pair]
        assert seen[0] == seen[1] and set(seen[0]) == {"one", "two"}
        with Http2(pair[0].address) as two:
            over = [two.request("GET", "/v", None, [(name, f"Bearer {caller}")]).headers["x-version"] for caller in range(40)]
        assert over == seen[0]
    assert len({served(one, {}) for one in pair for _ in range(20)}) == 1


def test_a_canary_that_answers_well_and_late_is_taken_back(gateway, fake):
    for operation in ("SQS-SendMessage", "SQS-SendMessageBatch"):
        fake.always(operation, Usual(after=0.3))
    aws = {"region": "us-east-1", "endpoint": fake.url}
    late = {"GET /v": {"integration": {"SQS-SendMessage": {
        "QueueUrl": "https://sqs.us-east-1.amazonaws.com/111122223333/late", "MessageBody": "$request.header.x-caller"}}}}
    one = gateway({**answering("one"), "aws": aws})
    callers = Callers(one)
    deploy(one, config(late, aws=aws, queues={"kept": {}},
                       deployment=canary("two", rollback_on={"p99": "100ms", "min_requests": 20})["deployment"]))
    eventually(lambda: told(one)["canary"] is None, 60, "the canary is taken back")
    answers = callers.stop()
    assert {status for _, _, status in answers} == {200, 202}
    latest = told(one)["deployments"][0]
    assert latest["status"] == "rolled-back" and "slower than 100ms" in latest["reason"], latest
    assert version(one, 1) == ("one", 200)


def test_a_canary_calls_as_the_baseline_does_until_it_has_taken_over_and_that_is_said(gateway, fake):
    other = FakeAws().start()
    def sending(endpoint, **sections):
        return config({"GET /v": {"integration": {"SQS-SendMessage": {
            "QueueUrl": "https://sqs.us-east-1.amazonaws.com/111122223333/orders", "MessageBody": "$request.header.x-caller"}}}},
            queues={"kept": {}}, aws={"region": "us-east-1", "endpoint": endpoint}, **sections)
    try:
        one = gateway(sending(fake.url))
        said = deploy(one, sending(other.url, deployment=canary("x", steps=["50%"], every="1h")["deployment"]))
        assert "`aws` or `egress` differ" in said.stdout + said.stderr
        assert {version(one, caller)[1] for caller in range(40)} == {202}
        assert len(fake.calls) == 40 and not other.calls
        run(one, "promote")
        assert version(one, 1)[1] == 202 and len(other.calls) == 1
    finally:
        other.stop()
