"""A target that comes and goes: a fake AWS that keeps what it takes, refuses what it has already, and changes its mood.

What it has is told by the bodies of the records, so the bodies of one test have to differ.
"""

import random
import socket
import threading
import time
from dataclasses import dataclass, field

from .fake_aws import FakeAws, HalfReply, LostReply, Refusal, Reset, Usual, records_of, usual
from .fake_aws import access_denied, error, no_such_queue, server_error, throttled
from .processes import PATIENCE, eventually

SERVICE = {"SQS": "sqs", "Kinesis": "kinesis", "EventBridge": "events", "StepFunctions": "states"}

# The most records of a call, and the most bytes of their bodies.
LIMITS = {
    "SQS-SendMessageBatch": (10, 1024 * 1024), "EventBridge-PutEvents": (10, 1024 * 1024), "Kinesis-PutRecords": (500, 10 * 1024 * 1024),
}


@dataclass
class Kept:
    """A record that the target has, with every time that it came."""

    record: object
    times: list = field(default_factory=list)  # (monotonic time, operation, id)


class Frozen:
    """Takes the call and does nothing until the thaw; then, as a process that was stopped, does it all."""

    def __init__(self, work=True):
        self.thaw = threading.Event()
        self.work = work

    def act(self, connection, received):
        self.thaw.wait(600)
        if not self.work:
            connection.close_connection = True
            return
        Usual().act(connection, received)


class Throttled:
    """Says that it is asked too often, in the words of the service that is asked."""

    def act(self, connection, received):
        throttled(SERVICE[received.operation.partition("-")[0]]).act(connection, received)


class DoneButFailed:
    """Does the work and answers 500."""

    def act(self, connection, received):
        connection.server.fake.carry_out(received)
        server_error().act(connection, received)


class Limping:
    """Late by anything between nothing and twice as much as given; half of the time it says late what it did at once."""

    def __init__(self, about):
        self.about = about
        self.dice = random.Random(7)

    def act(self, connection, received):
        wait = self.dice.uniform(0, 2 * self.about)
        if self.dice.random() < 0.5:
            return Usual(after=wait).act(connection, received)
        status, headers, body = connection.server.fake.carry_out(received)
        time.sleep(wait)
        return connection.answer(status, headers, body)


class Flapping:
    """Each call another trouble, or none."""

    def __init__(self):
        self.dice = random.Random(7)

    def act(self, connection, received):
        self.dice.choice([Usual(), Throttled(), LostReply(), server_error(), DoneButFailed(), Reset(), Usual()]).act(connection, received)


class FakeTarget(FakeAws):
    """The endpoint. `mood` decides what becomes of a call; what was scripted with `answer` goes first."""

    def __init__(self):
        super().__init__()
        self.kept = {}  # body → Kept, in order of first appearance
        self.ids = {}  # (where, id) → body: FIFO deduplication, names of executions
        self.faults = []  # what no service would have taken
        self.doubled = []  # bodies whose id was known: refused or deduplicated
        self.refuse = None  # record → Refusal or None
        self.mood = Usual()
        self.ledger = threading.Lock()

    # ---- moods ----

    def be(self, mood):
        """Another mood, from the next call on. Calls that were frozen go on."""
        before, self.mood = self.mood, mood
        if isinstance(before, Frozen):
            before.thaw.set()
        return self

    def up(self):
        if not self.server:
            self.start()
        return self.be(Usual())

    def down(self):
        """Connections are refused; those that are open end."""
        if self.server:
            self.go_down()
        return self

    def stuff(self):
        """While down: connections are neither refused nor taken, as if a firewall swallowed them. Returns what keeps it
        so until it is closed."""
        self.seat.listen(0)
        stuffing = []
        for _ in range(16):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.port))
            stuffing.append(one)
        return stuffing

    def freeze(self, work=True):
        """Takes calls and never answers; at the next mood it does them (`work`) or forgets them."""
        return self.be(Frozen(work))

    def slow(self, seconds):
        return self.be(Usual(after=seconds))

    def limp(self, about=0.4):
        return self.be(Limping(about))

    def flap(self):
        return self.be(Flapping())

    def throttle(self):
        return self.be(Throttled())

    def fail(self, done=False):
        """500s; `done`: after the work."""
        return self.be(DoneButFailed() if done else server_error())

    def lose_answers(self):
        """Does the work, and closes without an answer."""
        return self.be(LostReply())

    def halve_answers(self):
        return self.be(HalfReply())

    def reset(self):
        return self.be(Reset())

    def deny(self):
        return self.be(access_denied())

    def lose_queue(self):
        return self.be(no_such_queue())

    def say(self, code, status=400):
        return self.be(error(code, status=status, query_code=code))

    def take(self, received):
        with self.lock:
            self.calls.append(received)
            script = self.scripts.get(received.operation)
            return script.pop(0) if script else self.standing.get(received.operation, self.mood)

    def stop(self):
        if isinstance(self.mood, Frozen):
            self.mood.work = False
            self.mood.thaw.set()
        super().stop()

    # ---- what it has ----

    def carry_out(self, received):
        self.inspect(received)
        with self.ledger:
            return usual(received, lambda record: self.keep(record, received.operation))

    def inspect(self, received):
        """Notes what the service would refuse of a batch as a whole; the fixture asks for it."""
        records = records_of(received)
        if received.operation in LIMITS:
            most, most_bytes = LIMITS[received.operation]
            size = sum(len(record.body) for record in records)
            if not 1 <= len(records) <= most or size > most_bytes:
                self.faults.append(f"{received.operation} with {len(records)} records and {size} bytes")
        ids = [record.entry.get("Id") for record in records if record.service == "SQS" and "Id" in record.entry]
        if len(ids) != len(set(ids)):
            self.faults.append(f"{received.operation} with an id twice: {ids}")

    def keep(self, record, operation):
        refusal = self.refuse and self.refuse(record)
        if refusal:
            return refusal
        place = (record.where, record.id)
        if record.id and (record.where.endswith(".fifo") or record.service == "StepFunctions"):
            if place in self.ids:
                self.doubled.append(record.body)
                if record.service == "StepFunctions":
                    return Refusal("ExecutionAlreadyExists", "Execution Already Exists")
                return None
            self.ids[place] = record.body
        kept = self.kept.setdefault((record.where, record.body), Kept(record))
        kept.times.append((time.monotonic(), operation, record.id))
        return None

    def bodies(self, where=""):
        """What it has, in the order in which it first came."""
        with self.ledger:
            return [body for at, body in self.kept if where in at]

    def count(self, where=""):
        return len(self.bodies(where))

    def by_key(self, where=""):
        """Bodies by message group or partition key, in the order in which they first came."""
        found = {}
        with self.ledger:
            for (at, body), kept in self.kept.items():
                if where in at:
                    found.setdefault(kept.record.key, []).append(body)
        return found

    def duplicates(self, where=""):
        """How many more times records came than they had to."""
        with self.ledger:
            return sum(len(kept.times) - 1 for (at, _), kept in self.kept.items() if where in at)

    def attempts_for(self, body):
        """Every call that brought this record, whatever became of it."""
        with self.lock:
            calls = list(self.calls)
        return [record for call in calls for record in records_of(call) if record.body == body]

    def wait_for(self, count, within=PATIENCE, where=""):
        """Waits until it has that many records."""
        eventually(lambda: self.count(where) >= count, within, f"{count} records at the target (it has {self.count(where)})")
        return self.bodies(where)
