"""What the tests of acknowledgement share: routes of every service that stores, settings that make haste, and clients
that know what they were promised."""

import http.client
import threading

from . import http1
from .gateway import config
from .processes import PATIENCE, eventually

MACHINE = "arn:aws:states:us-east-1:111122223333:stateMachine:ingest"
QUEUE = "https://sqs.us-east-1.amazonaws.com/111122223333/orders"
FIFO = "https://sqs.us-east-1.amazonaws.com/111122223333/ledger.fifo"
STORING = {
    "SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "$request.body"},
    "Kinesis-PutRecord": {"StreamName": "clicks", "Data": "$request.body", "PartitionKey": "${request.header.key:-k}"},
    "EventBridge-PutEvents": {"EventBusName": "hooks", "Detail": "$request.body", "DetailType": "t", "Source": "s"},
    "StepFunctions-StartExecution": {"StateMachineArn": MACHINE, "Input": "$request.body"},
}
TO_FIFO = {
    "QueueUrl": FIFO, "MessageBody": "$request.body",
    "MessageGroupId": "$request.header.key", "MessageDeduplicationId": "$context.requestId",
}
HASTE = {
    "breaker": {"open_after": 3, "probe_every": "50ms", "max": "200ms", "close_after": 2},
    "backoff": {"base": "20ms", "max": "200ms"},
}


def routes(ack, **more):
    """`POST /SUBTYPE` for every subtype that stores."""
    return {f"POST /{name}": {"integration": {name: dict(call)}, "ack": ack, **more} for name, call in STORING.items()}


def setup(target, its_routes, haste=None, **sections):
    """A configuration whose AWS is the fake, in haste."""
    return config(
        its_routes, aws={"region": "us-east-1", "endpoint": target.url}, targets={"default": haste or HASTE},
        **{"limits": {"timeout": "20s", "drain": "1s"}, **sections})


def post(one, path, body, **headers):
    """One request; headers without their dashes."""
    return one.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})


def accepted(answer, durability=None):
    """Asserts that a record was acknowledged, and how."""
    assert answer.status == 202, f"{answer.status} {answer.body}"
    said = answer.json()["durability"]
    assert said in ("target", "spooled"), answer.body
    assert durability in (None, said), f"{said}, not {durability}"
    return said


class Client(threading.Thread):
    """Sends numbered records of its own keys one after the other, over one connection while it lasts; a record that is
    refused or unanswered is given up (not sent again), so that nothing but the gateway repeats it."""

    def __init__(self, one, path, number, keys=2, records=1000, prefix="c", size=0):
        super().__init__(daemon=True)
        self.one, self.path, self.records, self.size = one, path, records, size
        self.keys = [f"{prefix}{number}-k{key}" for key in range(keys)]
        self.acknowledged = {}  # body → durability, in the order of the answers
        self.sent = []
        self.refused = []
        self.paused = threading.Event()
        self.fault = None

    def run(self):
        connection = None
        for number in range(self.records):
            if self.paused.is_set():
                return
            key = self.keys[number % len(self.keys)]
            body = f"{key}:{number:06}:".encode() + b"x" * self.size
            self.sent.append(body)
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(*self.one.address, timeout=PATIENCE)
                answer = http1.exchange(connection, "POST", self.path, body, {"key": key})
            except (OSError, http.client.HTTPException) as gone:
                self.refused.append((body, repr(gone)))
                connection = None
                if self.paused.wait(0.05):
                    return
                continue
            if answer.status == 202:
                self.acknowledged[body] = answer.json()["durability"]
            else:
                self.refused.append((body, answer.status, answer.body))

    def stop(self):
        self.paused.set()
        self.join(2 * PATIENCE)
        assert not self.is_alive(), "a client got no answer"


class Clients:
    """Several of them."""

    def __init__(self, one, path, count=8, **options):
        self.all = [Client(one, path, number, **options) for number in range(count)]

    def __enter__(self):
        for client in self.all:
            client.start()
        return self

    def __exit__(self, *_):
        for client in self.all:
            client.paused.set()

    def stop(self):
        for client in self.all:
            client.paused.set()
        for client in self.all:
            client.stop()
        return self

    def finish(self, within=4 * PATIENCE):
        """Waits until everything is sent."""
        for client in self.all:
            client.join(within)
            assert not client.is_alive(), "a client got no answer"
        return self

    @property
    def acknowledged(self):
        return {body: how for client in self.all for body, how in list(client.acknowledged.items())}

    @property
    def refused(self):
        return [refusal for client in self.all for refusal in list(client.refused)]

    def by_durability(self, durability):
        return [body for body, how in self.acknowledged.items() if how == durability]


def key_of(body):
    return body.split(b":")[0].decode()


def order_violations(bodies, acknowledged):
    """Pairs of a key in the wrong order: the second was acknowledged before the first was sent, and first appeared behind
    it. A record that nobody has acknowledged may come at any time."""
    last, found = {}, []
    for body in bodies:
        key = key_of(body)
        if body in acknowledged and body < last.get(key, b""):
            found.append((last[key], body))
        last[key] = max(last.get(key, b""), body)
    return found


def assert_all_arrived(target, acknowledged, within=PATIENCE, where=""):
    """Everything that was acknowledged is at the target."""
    def missing():
        return set(acknowledged) - set(target.bodies(where))
    try:
        eventually(lambda: not missing(), within)
    except AssertionError:
        lost = missing()
        raise AssertionError(f"{len(lost)} of {len(acknowledged)} acknowledged records are not at the target: {sorted(lost)[:5]}") from None


def possible_duplicates(one):
    return one.metrics().value("penstock_possible_duplicates_total")
