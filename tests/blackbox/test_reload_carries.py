"""What carries over from one configuration to the next, row by row of the table in docs/reloading.md, and what changes at
once: limits, clients of AWS, targets, the SQS listener."""

import hashlib
import hmac
import threading
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from support import signing
from support.fake_aws import FakeAws, Held
from support.gateway import config, write_config
from support.oidc import Provider
from support.processes import eventually, free_port

MOCK = {"integration": {"Mock": {"status": 200}}}


@pytest.fixture(scope="module")
def forger(tmp_path_factory):
    one = Provider("forger.mjs", tmp_path_factory.mktemp("forger"))
    yield one.start()
    one.stop()


def bring(one, document, wanted=200):
    """Has another configuration run, or be refused."""
    write_config(one.directory, document)
    answer = one.admin("/v1/reload", "POST")
    assert answer.status == wanted, answer.body
    return answer.json()


def again(one, document, number="1"):
    """The same configuration in all that is looked at, and another plan."""
    before = one.admin("/readyz").json()["configuration"]["hash"]
    answer = bring(one, {**document, "stage_variables": {"n": number}})
    assert answer["hash"] != before


def to(fake, body="$request.body", **route):
    send = {"SQS-SendMessage": {"QueueUrl": f"{fake.url}/111122223333/orders", "MessageBody": body}}
    return {"POST /q": {"integration": send, **route}}


def aws(fake):
    return {"region": "us-east-1", "endpoint": fake.url}


class Askers:
    """Requests that wait for their answers, each in a thread."""

    def __init__(self, one, bodies, path="/q"):
        self.answers = []
        def ask(body):
            self.answers.append((body, one.request("POST", path, body).status))
        self.threads = [threading.Thread(target=ask, args=(body,), daemon=True) for body in bodies]
        for thread in self.threads:
            thread.start()

    def done(self):
        for thread in self.threads:
            thread.join(60)
        return self.answers


@pytest.fixture
def held(fake):
    """A target that answers nobody until it is released."""
    gate = Held()
    for operation in ("SQS-SendMessage", "SQS-SendMessageBatch"):
        fake.always(operation, gate)
    yield gate
    gate.release()


def in_flight(one, number):
    eventually(lambda: one.metrics().value("penstock_requests_in_flight") == number, what=f"{number} requests in flight")


def test_places_of_a_route_that_are_taken_stay_taken(gateway, fake, held):
    written = config(to(fake, concurrency=1), aws=aws(fake))
    one = gateway(written)
    first = Askers(one, [b"first"])
    in_flight(one, 1)
    assert one.request("POST", "/q", b"x").status == 503
    again(one, written)
    assert one.request("POST", "/q", b"x").status == 503, "the place is still taken"
    bring(one, config(to(fake, concurrency=2), aws=aws(fake)))
    # Other limits begin anew: what is in flight is not among them.
    second = Askers(one, [b"second"])
    in_flight(one, 2)
    held.release()
    assert first.done() + second.done() == [(b"first", 202), (b"second", 202)]


def test_places_of_the_process_are_counted_on_and_new_limits_hold_at_once(gateway, fake, held):
    limited = lambda places, **more: config(to(fake), aws=aws(fake), limits={"in_flight": places}, **more)
    one = gateway(limited(1))
    first = Askers(one, [b"first"])
    in_flight(one, 1)
    assert one.request("POST", "/q", b"x").code == "overloaded"
    again(one, limited(1))
    assert one.request("POST", "/q", b"x").code == "overloaded"
    bring(one, limited(2))
    second = Askers(one, [b"second"])
    in_flight(one, 2)
    bring(one, limited(1))
    assert one.request("POST", "/q", b"x").code == "overloaded"
    held.release()
    assert {status for _, status in first.done() + second.done()} == {202}
    eventually(lambda: one.request("POST", "/q", b"x").status == 202)


def fetches(one):
    samples = [s for s in one.metrics().samples if s.name == "penstock_token_key_fetches_total"]
    return sum(sample.value for sample in samples)


def test_keys_of_an_issuer_are_not_fetched_again(gateway, forger):
    written = lambda leeway="0s": config(
        {"POST /q": {"authorizer": "partners", **MOCK}},
        authorizers={"partners": {"jwt": {"issuer": forger.issuer, "audience": ["shop"], "leeway": leeway}}})
    one = gateway(written())
    token = forger.forged({"iss": forger.issuer, "aud": "shop", "exp": int(time.time()) + 600})
    ask = lambda: one.request("POST", "/q", b"", {"authorization": f"Bearer {token}"}).status
    assert ask() == 200
    eventually(lambda: fetches(one) == 1)
    for number in range(5):
        again(one, written(), str(number))
        assert ask() == 200
    assert fetches(one) == 1
    # Another section is another authorizer; what it knows of the issuer it need not learn again, and it may.
    bring(one, written("5s"))
    assert ask() == 200 and fetches(one) <= 2


def test_a_delivery_that_was_seen_is_known_and_a_signature_that_was_used_is_used(gateway):
    send = {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$request.body"}}
    user = {"name": "ann", "access_key_id": signing.KEY, "secret_access_key": signing.SECRET}
    written = config(
        {"POST /hooks": {"authorizer": "github", "integration": send}, "POST /signed": {"authorizer": "users", "integration": send}},
        queues={"q": {}}, aws={"region": "us-east-1"},
        authorizers={"github": {"webhook": {"preset": "github", "secrets": ["s"]}},
                     "users": {"sigv4": {"credentials": [user], "replay_cache": {"max_entries": 100}}}})
    one = gateway(written)
    body = b'{"n":1}'
    mac = hmac.new(b"s", body, hashlib.sha256).hexdigest()
    deliver = lambda: one.request("POST", "/hooks", body, {
        "x-hub-signature-256": f"sha256={mac}", "x-github-delivery": "d-1", "x-github-event": "push"})
    signed = signing.botocore(one, "POST", "/signed", b"once")
    use = lambda: signing.send(one, signed, "POST", b"once")
    assert (deliver().status, use().status) == (202, 202)
    for number in ("1", "2"):
        again(one, written, number)
        repeated = deliver()
        assert (repeated.status, repeated.headers["idempotency-replayed"]) == (202, "true")
        assert (use().status, use().code) == (403, "signature_refused")
    assert one.depth("queue") == 2
    # A secret that is added makes another authorizer; what was delivered is known by the store.
    written["authorizers"]["github"]["webhook"]["secrets"] = ["s", "another"]
    bring(one, written)
    assert deliver().headers["idempotency-replayed"] == "true" and one.depth("queue") == 2


def delivered(fake):
    with fake.lock:
        calls = list(fake.calls)
    bodies = []
    for call in calls:
        if call.operation == "SQS-SendMessageBatch":
            bodies += [entry["MessageBody"] for entry in call.json["Entries"]]
        elif call.operation == "SQS-SendMessage":
            bodies.append(call.json["MessageBody"])
    return sorted(bodies)


def test_records_that_wait_for_a_shared_call_are_delivered_once(gateway, fake, held):
    written = config(to(fake), aws=aws(fake))
    one = gateway(written)
    bodies = [f"n{number:02}".encode() for number in range(40)]
    waiting = Askers(one, bodies[:30])
    in_flight(one, 30)
    again(one, written)
    # From the old plan and the new one into the same calls.
    more = Askers(one, bodies[30:])
    in_flight(one, 40)
    bring(one, {**written, "targets": {"default": {"batch": {"max": 5}}}})
    held.release()
    assert {status for _, status in waiting.done() + more.done()} == {202}
    assert delivered(fake) == [body.decode() for body in bodies]
    one.metrics().assert_balanced()


def test_records_on_the_spool_are_delivered_once_whatever_is_reloaded(gateway, fake):
    fake.go_down()
    written = config(to(fake, ack="spool"), aws=aws(fake), targets={"default": {"backoff": {"base": "50ms", "max": "200ms"}}})
    one = gateway(written)
    bodies = [f"n{number:02}".encode() for number in range(30)]
    assert {status for _, status in Askers(one, bodies).done()} == {202}
    for number in range(4):
        again(one, written, str(number))
    fake.start()
    again(one, written, "last")
    eventually(lambda: one.depth() == 0, 60, "the spool is empty")
    assert delivered(fake) == [body.decode() for body in bodies]


def test_another_endpoint_of_aws_is_used_from_then_on_and_what_waits_goes_there(gateway, fake):
    other = FakeAws().start()
    try:
        name = {"SQS-SendMessage": {"QueueUrl": "https://sqs.us-east-1.amazonaws.com/111122223333/orders", "MessageBody": "$request.body"}}
        written = lambda at, **more: config({"POST /q": {"integration": name, **more}}, aws=aws(at))
        one = gateway(written(fake))
        assert one.request("POST", "/q", b"first").status == 202
        bring(one, written(other))
        assert one.request("POST", "/q", b"second").status == 202
        assert (delivered(fake), delivered(other)) == (["first"], ["second"])
        other.go_down()
        bring(one, written(other, ack="spool"))
        assert one.request("POST", "/q", b"third").status == 202
        bring(one, written(fake, ack="spool"))
        eventually(lambda: one.depth() == 0, 60, "what waited")
        assert delivered(fake) == ["first", "third"]
    finally:
        other.stop()


def test_settings_of_a_target_hold_at_once(gateway, fake):
    fake.go_down()
    breaker = lambda after: {"default": {"breaker": {"open_after": after, "probe_every": "30s", "max": "30s"}}}
    written = lambda **more: config(to(fake), aws=aws(fake), **more)
    one = gateway(written(targets=breaker(1000)))
    states = lambda: {view["breaker"] for view in one.targets().values()}
    for _ in range(5):
        assert one.request("POST", "/q", b"x").status == 503
    assert states() == {"closed"}
    bring(one, written(targets=breaker(2)))
    eventually(lambda: one.request("POST", "/q", b"x").status == 503 and states() == {"open"}, what="the open breaker")


def test_whom_the_gateway_s_own_requests_may_reach_changes_at_once(gateway, tmp_path):
    from support.authorizer import Authorizer
    service = Authorizer({"yes": {"isAuthorized": True}})
    try:
        authorizer = {"lambda": {"url": service.url + "/check", "identity_sources": ["$request.header.authorization"], "ttl": 0}}
        written = lambda **more: config({"GET /a": {"authorizer": "own", **MOCK}}, authorizers={"own": authorizer}, **more)
        one = gateway(written())
        ask = lambda: one.request("GET", "/a", headers={"authorization": "yes"}).status
        assert ask() == 200
        for allow in (["10.0.0.0/8"], ["10.0.0.0/8", "192.168.0.0/16"], []):
            bring(one, written(egress={"allow": allow}))
            assert ask() == 200
    finally:
        service.stop()


def consumer(address, secret):
    return boto3.client("sqs", endpoint_url="http://{}:{}".format(*address), region_name="us-east-1",
                        aws_access_key_id="AKIDCONSUMER", aws_secret_access_key=secret,
                        config=Config(retries={"max_attempts": 1}))


def test_the_sqs_listener_comes_goes_and_asks_for_other_credentials(gateway):
    port = free_port()
    user = lambda secret: [{"name": "c", "access_key_id": "AKIDCONSUMER", "secret_access_key": secret}]
    send = {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$request.body"}}
    written = lambda **more: config({"POST /q": {"integration": send}}, queues={"q": {}}, **more)
    sqs = lambda secret: {"sqs": {"bind": f"127.0.0.1:{port}", "credentials": user(secret)}}
    one = gateway(written())
    assert one.request("POST", "/q", b"kept").status == 202
    bring(one, written(**sqs("first-secret-of-a-consumer")))
    url = f"http://127.0.0.1:{port}/000000000000/q"
    first = consumer(("127.0.0.1", port), "first-secret-of-a-consumer")
    assert first.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["ApproximateNumberOfMessages"] == "1"
    bring(one, written(**sqs("second-secret-of-a-consumer")))
    with pytest.raises(ClientError):
        first.receive_message(QueueUrl=url)
    second = consumer(("127.0.0.1", port), "second-secret-of-a-consumer")
    [message] = second.receive_message(QueueUrl=url)["Messages"]
    # A receipt of before is good after.
    again(one, written(**sqs("second-secret-of-a-consumer")))
    second.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert one.depth("queue") == 0
    bring(one, written())
    with pytest.raises(Exception, match="(?i)connect"):
        second.receive_message(QueueUrl=url)


@pytest.mark.parametrize("name, before, after", [
    ("ledger.fifo", {"fifo": True}, {"fifo": False}),
    ("ledger", {}, {"fifo": True}),
])
def test_a_queue_cannot_become_fifo_nor_cease_to_be(gateway, name, before, after):
    send = {"QueueUrl": f"queue:{name}", "MessageBody": "$request.body", **({"MessageGroupId": "g", "MessageDeduplicationId": "$context.requestId"} if before else {})}
    written = lambda queue: config({"POST /q": {"integration": {"SQS-SendMessage": send}}}, queues={name: queue})
    one = gateway(written(before))
    assert one.request("POST", "/q", b"1").status == 202
    refused = bring(one, written(after), 422)
    assert "fifo" in refused["error"].lower() and f"queues.{name}" in refused["error"].replace('"', ""), refused
    assert one.request("POST", "/q", b"2").status == 202
    assert len(one.peek(name)) == 2
