"""Idempotency keys: a request that is sent twice is stored once, and both get the first answer. On an embedded queue, on
a target over the wire and in the spool; across kill -9; only for callers who have been let in."""

import hashlib
import json
import threading

import pytest

from support.fake_aws import Hang, Held, access_denied, server_error
from support.gateway import config, penstock, receive_all, write_config
from support.processes import eventually

KEY = "psk_demo5f0c7d2be14a49c3a86f3d9b1e7c2a40"
HASH = "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
OTHER = "psk_other000000000000000000000000000000000"
ONCE = {"key": "$request.header.idempotency-key"}


def embedded(**idempotency):
    return {
        "integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}},
        "idempotency": {**ONCE, **idempotency},
    }


READ = {
    "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "MaxNumberOfMessages": 10}}},
    "DELETE /messages/{receiptHandle}": {
        "integration": {"SQS-DeleteMessage": {"QueueUrl": "queue:orders", "ReceiptHandle": "$request.path.receiptHandle"}}},
}


def remote(fake, ack="target", **route):
    return {
        "integration": {"SQS-SendMessage": {"QueueUrl": f"{fake.url}/000000000000/orders", "MessageBody": "$request.body"}},
        "idempotency": ONCE,
        # a budget that nothing here uses up
        "ack": {"mode": ack, "budget": "8s"} if ack == "target-or-spool" else ack,
        **route,
    }


@pytest.fixture
def shop(gateway):
    return gateway(config({"POST /orders": embedded(), **READ}, queues={"orders": {}}))


def post(gateway, body=b"one", key="k-1", path="/orders", **headers):
    given = {} if key is None else {"idempotency-key": key}
    return gateway.request("POST", path, body, {**given, **headers})


def is_replay_of(again, first):
    assert again.headers.get("idempotency-replayed") == "true", again
    assert (again.status, again.body, again.headers["content-type"]) == (first.status, first.body, first.headers["content-type"])
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


def test_a_repeated_request_gets_the_first_answer_and_is_stored_once(shop):
    first = post(shop)
    assert first.status == 202 and "idempotency-replayed" not in first.headers
    is_replay_of(post(shop), first)
    assert receive_all(shop) == ["one"]
    assert shop.metrics().value("penstock_requests_total", outcome="replayed") == 1


def test_the_key_of_the_draft_is_a_quoted_string_and_means_what_it_quotes(shop):
    first = post(shop, key='"8e03978e-40d5-43dd-bc93-6894a57f9324"')
    is_replay_of(post(shop, key="8e03978e-40d5-43dd-bc93-6894a57f9324"), first)


def test_the_same_key_with_another_payload_is_refused_with_422(shop):
    post(shop)
    refused = post(shop, b"two")
    assert refused.status == 422 and refused.json()["code"] == "idempotency_mismatch"
    refused = post(shop, path="/orders?x=1")
    assert refused.status == 422
    assert receive_all(shop) == ["one"]


def test_on_mismatch_store_stores_a_request_with_another_payload(gateway):
    shop = gateway(config({"POST /orders": embedded(on_mismatch="store"), **READ}, queues={"orders": {}}))
    assert [post(shop).status, post(shop, b"two").status] == [202, 202]
    assert sorted(receive_all(shop)) == ["one", "two"]
    assert shop.metrics().value("penstock_idempotency_keys_total", result="mismatch_stored") == 1


def test_a_request_without_a_key_goes_on_unless_the_route_requires_one(gateway):
    routes = {"POST /orders": embedded(), "POST /strict": embedded(required=True), **READ}
    shop = gateway(config(routes, queues={"orders": {}}))
    assert [post(shop, key=None).status, post(shop, key="").status] == [202, 202]
    refused = post(shop, key=None, path="/strict")
    assert refused.status == 400 and "idempotency" in refused.json()["detail"]
    too_long = post(shop, key="k" * 256)
    assert too_long.status == 400 and too_long.json()["code"] == "bad_request"
    assert receive_all(shop) == ["one", "one"]


def test_keys_of_routes_and_of_callers_are_different_keys(gateway):
    routes = {
        "POST /orders": {**embedded(), "authorizer": "api_key"},
        "POST /others": {**embedded(), "authorizer": "api_key"}, **READ}
    keys = {"a": {"hash": HASH}, "b": {"hash": "sha256:" + hashlib.sha256(OTHER.encode()).hexdigest()}}
    shop = gateway(config(routes, queues={"orders": {}}, api_keys=keys))
    for path, caller in [("/orders", KEY), ("/others", KEY), ("/orders", OTHER)]:
        stored = post(shop, path=path, **{"x-api-key": caller})
        assert stored.status == 202 and "idempotency-replayed" not in stored.headers
    assert len(receive_all(shop)) == 3


def test_a_request_that_is_not_let_in_burns_no_key(gateway):
    shop = gateway(config({"POST /orders": {**embedded(), "authorizer": "api_key"}, **READ},
                          queues={"orders": {}}, api_keys={"a": {"hash": HASH}}))
    assert post(shop, b"forged").status == 403
    stored = post(shop, **{"x-api-key": KEY})
    assert stored.status == 202 and "idempotency-replayed" not in stored.headers


def test_answers_are_kept_across_kill_9(shop):
    first = post(shop)
    shop.kill()
    shop.start()
    is_replay_of(post(shop), first)
    assert receive_all(shop) == ["one"]


def test_of_many_at_once_one_is_stored(shop):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(post(shop))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} <= {202, 409}
    assert len({answer.body for answer in answers if answer.status == 202}) == 1
    assert receive_all(shop) == ["one"]


@pytest.mark.parametrize("ack", ["target", "target-or-spool", "spool"])
def test_on_mismatch_store_loses_no_payload_of_many_at_once(gateway, fake, ack):
    route = {**remote(fake, ack), "idempotency": {**ONCE, "on_mismatch": "store"}}
    shop = gateway(config({"POST /orders": route}, aws={"region": "us-east-1", "endpoint": fake.url}))
    statuses = []
    threads = [threading.Thread(target=lambda n=n: statuses.append(post(shop, b"body-%d" % n).status)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [202] * 16
    uses = shop.metrics()
    assert uses.value("penstock_idempotency_keys_total", result="new") == 1
    assert uses.value("penstock_idempotency_keys_total", result="mismatch_stored") == 15


def test_an_answer_expires(gateway):
    shop = gateway(config({"POST /orders": embedded(ttl="1s"), **READ}, queues={"orders": {}}))
    first = post(shop)
    again = eventually(
        lambda: next((a for a in [post(shop)] if "idempotency-replayed" not in a.headers), None), what="the key to expire")
    assert again.status == 202 and again.json()["messageId"] != first.json()["messageId"]


@pytest.mark.parametrize("ack, durability", [("target", "target"), ("target-or-spool", "target"), ("spool", "spooled")])
def test_on_a_target_over_the_wire_the_record_is_sent_once(gateway, fake, ack, durability):
    shop = gateway(config({"POST /orders": remote(fake, ack)}, aws={"region": "us-east-1", "endpoint": fake.url}))
    first = post(shop)
    assert first.status == 202 and first.json()["durability"] == durability
    is_replay_of(post(shop), first)
    shop.kill()
    shop.start()
    is_replay_of(post(shop), first)
    assert post(shop, b"two").status == 422


def test_while_the_first_is_in_flight_others_are_told_to_come_again(gateway, fake):
    shop = gateway(config({"POST /orders": remote(fake, limits={"timeout": "60s"})},
                          aws={"region": "us-east-1", "endpoint": fake.url}))
    held = Held()
    fake.answer("SQS-SendMessage", held)
    first = threading.Thread(target=post, args=(shop,))
    first.start()
    eventually(lambda: fake.calls_of("SQS-SendMessage"), what="the first call")
    busy = post(shop)
    assert busy.status == 409 and busy.json()["code"] == "idempotency_in_flight"
    assert int(busy.headers["retry-after"]) >= 1
    assert post(shop, b"two").status == 422
    held.release()
    first.join()


@pytest.mark.parametrize("failure", [server_error(500), access_denied()], ids=["500", "denied"])
def test_a_refusal_frees_the_key(gateway, fake, failure):
    shop = gateway(config({"POST /orders": remote(fake)}, aws={"region": "us-east-1", "endpoint": fake.url}))
    fake.answer("SQS-SendMessage", failure)
    assert post(shop).status in (502, 503)
    stored = post(shop)
    assert stored.status == 202 and "idempotency-replayed" not in stored.headers


def test_a_request_that_was_in_flight_at_kill_9_is_let_in_again_after_its_fence(gateway, fake):
    shop = gateway(config({"POST /orders": remote(fake, limits={"timeout": "5s"})},
                          aws={"region": "us-east-1", "endpoint": fake.url}))
    fake.answer("SQS-SendMessage", Hang())
    threading.Thread(target=lambda: _ignored(post, shop), daemon=True).start()
    eventually(lambda: fake.calls_of("SQS-SendMessage"), what="the first call")
    shop.kill()
    shop.start()
    assert post(shop).status == 409
    stored = eventually(lambda: next((a for a in [post(shop)] if a.status == 202), None), what="the fence to end")
    assert "idempotency-replayed" not in stored.headers
    assert shop.metrics().value("penstock_idempotency_keys_total", result="taken_over") == 1


def _ignored(call, *arguments):
    try:
        call(*arguments)
    except OSError:
        pass


def test_the_key_is_passed_on_as_deduplication_id_and_execution_name(gateway, fake):
    arn = "arn:aws:states:us-east-1:000000000000:stateMachine:m"
    routes = {
        "POST /fifo": {
            "integration": {"SQS-SendMessage": {
                "QueueUrl": f"{fake.url}/000000000000/o.fifo", "MessageBody": "$request.body", "MessageGroupId": "g",
                "MessageDeduplicationId": "$context.idempotencyId"}},
            "idempotency": ONCE},
        "POST /run": {
            "integration": {"StepFunctions-StartExecution": {
                "StateMachineArn": arn, "Input": "$request.body", "Name": "$context.idempotencyId"}},
            "idempotency": ONCE},
    }
    shop = gateway(config(routes, aws={"region": "us-east-1", "endpoint": fake.url}))
    assert post(shop, path="/fifo").status == 202
    assert post(shop, b"{}", path="/run").status == 202
    assert post(shop, b"{}", path="/run", key=None).status == 202
    identity = fake.only_call("SQS-SendMessage").json["MessageDeduplicationId"]
    named, unnamed = (call.json["name"] for call in fake.calls_of("StepFunctions-StartExecution"))
    assert len(identity) == len(named) == 64 and identity != named
    assert unnamed != named


def test_a_store_that_cannot_be_written_refuses_before_the_target_is_called(gateway, fake, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    shop = gateway(config({"POST /orders": remote(fake)}, store={"path": str(blocked)},
                          aws={"region": "us-east-1", "endpoint": fake.url}))
    refused = post(shop)
    assert refused.status == 503 and refused.json()["code"] == "store_unavailable" and "retry-after" in refused.headers
    assert not fake.calls_of("SQS-SendMessage")


@pytest.mark.parametrize("integration", [
    {"Mock": {}}, {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders"}}, {"SQS-PurgeQueue": {"QueueUrl": "queue:orders"}}],
    ids=lambda i: next(iter(i)))
def test_check_refuses_keys_where_nothing_is_stored(tmp_path, integration):
    route = {"integration": integration, "idempotency": ONCE}
    file = write_config(tmp_path, config({"POST /orders": route}, queues={"orders": {}}))
    checked = penstock("check", file, "--json")
    assert checked.returncode == 1
    assert "stores nothing that could be stored twice" in json.dumps(json.loads(checked.stdout))
