"""The admin listener: alive, ready, why not; apart from the public one."""

import pytest

from support.gateway import config
from support.processes import eventually, refusing_port

SEND = {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}}


def test_alive_and_ready(gateway, fake):
    one = gateway(config({"POST /m": SEND}, queues={"orders": {}}))
    assert one.admin("/livez").status == 200
    assert one.admin("/readyz").status == 200


def test_the_plan_and_the_queues_as_json(gateway):
    one = gateway(config({"POST /m": SEND, "GET /k": {"integration": {"Mock": {}}, "authorizer": "api_key"}}, queues={"orders": {}},
                         api_keys={"acme": {"hash": "sha256:" + "ab" * 32}}))
    one.request("POST", "/m", b"12345")
    plan = one.admin("/v1/plan")
    assert [route["route"] for route in plan.json()["routes"]] == ["POST /m", "GET /k"]
    assert b"ab" * 32 not in plan.body, "no secret, and no hash of one"
    (queue,) = one.admin("/v1/queues").json()["queues"]
    assert queue["name"] == "orders" and queue["visible"] == 1 and queue["bytes"] == 5


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/v1/plan", "/v1/queues"])
def test_nothing_of_it_is_served_to_the_public(gateway, path):
    one = gateway(config({"POST /m": SEND}, queues={"orders": {}}))
    assert one.request("GET", path).status == 404


def test_what_it_does_not_have_is_404_and_what_it_does_not_take_is_405(gateway):
    one = gateway(config({"POST /m": SEND}, queues={"orders": {}}))
    assert one.admin("/nonsense").status == 404
    assert one.admin("/metrics", "POST").status == 405


def test_asking_it_changes_no_ledger(gateway):
    one = gateway(config({"POST /m": SEND}, queues={"orders": {}}))
    for path in ("/livez", "/readyz", "/nonsense"):
        one.admin(path)
    assert one.metrics().ledger()["received"] == 0


def test_a_target_that_is_down_is_no_reason_to_be_unready(gateway):
    one = gateway(config({"POST /k": {"integration": {"Kinesis-PutRecord": {"StreamName": "s", "Data": "$request.body", "PartitionKey": "k"}}}},
                         aws={"region": "us-east-1", "endpoint": f"http://127.0.0.1:{refusing_port()}"}))
    assert one.request("POST", "/k", b"x").status == 503
    assert one.admin("/readyz").status == 200


def test_a_store_that_a_route_needs_and_that_is_not_there_is_a_reason(gateway, tmp_path):
    (tmp_path / "file").write_text("in the way")
    one = gateway(config({"POST /m": SEND}, queues={"orders": {}}, store={"path": str(tmp_path / "file" / "data")}), launch_only=True)
    eventually(lambda: one.child.poll() is not None or one.attach(), what="an exit or a start")
    if one.running:
        answer = one.admin("/readyz")
        assert answer.status == 503 and b"store" in answer.body
        assert one.admin("/livez").status == 200
    else:
        assert one.child.returncode == 3
