"""The gateway as its users meet it: a configuration file, a child process, an address, logs and metrics."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import yaml

from . import http1
from .metrics import Metrics
from .processes import PATIENCE, end, eventually, spawn, tail

REPOSITORY = Path(__file__).resolve().parents[3]
BINARY = Path(
    os.environ.get("PENSTOCK_BIN")
    or Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target") / "debug" / "penstock"
)

# What `serve` prints on stderr once it is bound. The one place that knows the banner's wording.
LISTENING = re.compile(r"listening on (https?)://([0-9a-fA-F.:\[\]]+):(\d+)(?: \(([^)]+)\))?")
ADMIN = re.compile(r"admin on http://([0-9a-fA-F.:\[\]]+):(\d+)")
SQS = re.compile(r"sqs on http://([0-9a-fA-F.:\[\]]+):(\d+)")

# The credentials and the silence that every child gets: nothing of the person who runs the tests leaks in.
AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_PAGER": "",
}


def environment(**extra):
    """The environment of a child: ours without any AWS_* or PENSTOCK_* of the person's, plus test credentials."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_"))}
    return {**kept, **AWS_ENVIRONMENT, **extra}


def config(routes, **sections):
    """A configuration on free loopback ports; `sections` adds to it or replaces what it holds.

    Unless a test says otherwise nobody is refused for want of a processor: a development build beside other tests is slow.
    """
    sections["limits"] = {"cpu_wait": "none", **sections.get("limits", {})}
    return {
        "api": "shop",
        "responses": "native",
        "listeners": {"public": {"bind": "127.0.0.1:0"}},
        "admin": {"bind": "127.0.0.1:0"},
        "store": {"path": "./data"},
        **sections,
        "routes": routes,
    }


def write_config(directory, document, name="gateway.yaml"):
    """Writes a configuration (a dict, or YAML text as a person would type it) and returns its path."""
    path = Path(directory) / name
    text = document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    path.write_text(text)
    return path


def penstock(*arguments, cwd=None, input=None, env=None, timeout=240):
    """Runs a command to its end: `.returncode`, `.stdout`, `.stderr` (text)."""
    return subprocess.run(
        [str(BINARY), *map(str, arguments)],
        cwd=cwd, input=input, env=env or environment(), timeout=timeout,
        stdin=subprocess.DEVNULL if input is None else None,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


class Gateway:
    """One `penstock serve`, from start to exit; may be started again on the same files."""

    def __init__(self, directory, document, env=None, arguments=(), wrapper=(), name="gateway.yaml"):
        self.directory = Path(directory)
        self.config = document if isinstance(document, Path) else write_config(directory, document, name)
        wanted = environment(RUST_BACKTRACE="1", HOME=str(directory), **(env or {}))
        self.env = {name: value for name, value in wanted.items() if value is not None}
        self.arguments = list(arguments)
        self.wrapper = list(wrapper)
        self.child = None
        self.runs = 0
        self.listeners = {}
        self.admin_address = None
        self.sqs_address = None

    # ---- life ----

    def start(self, listeners=None, within=2 * PATIENCE):
        """Starts it and waits until every address is printed. `listeners`: how many to wait for."""
        self.launch()
        if listeners is None:
            parsed = yaml.safe_load(self.config.read_text()) if self.config.is_file() else {}
            listeners = max(1, len((parsed or {}).get("listeners") or {}))

        def bound():
            assert self.child.poll() is None, f"exit {self.child.returncode} at start:\n{self.logs()}"
            return self.attach(listeners)

        eventually(bound, within, "the banner with the bound addresses")
        return self

    def attach(self, listeners=1):
        """Takes the addresses from the banner; false while they are not all printed."""
        printed = self.logs()
        found, admin = list(LISTENING.finditer(printed)), ADMIN.search(printed)
        if admin is None or len(found) < listeners:
            return False
        self.listeners = {
            (match[4] or str(index)): (match[2].strip("[]"), int(match[3])) for index, match in enumerate(found)
        }
        self.admin_address = (admin[1].strip("[]"), int(admin[2]))
        if sqs := SQS.search(printed):
            self.sqs_address = (sqs[1].strip("[]"), int(sqs[2]))
        return True

    def launch(self):
        """Starts the process and waits for nothing."""
        self.runs += 1
        self.stdout_path = self.directory / f"stdout.{self.runs}"
        self.stderr_path = self.directory / f"stderr.{self.runs}"
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            self.child = spawn(
                [*self.wrapper, BINARY, "serve", self.config, *self.arguments],
                cwd=self.directory, env=self.env, stdout=out, stderr=err,
            )
        return self

    def stop(self, grace=PATIENCE):
        """SIGTERM, then SIGKILL after `grace` seconds. Returns the exit code."""
        return end(self.child, grace)

    def kill(self):
        """kill -9, and reaps."""
        self.child.send_signal(signal.SIGKILL)
        return self.child.wait()

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, timeout=2 * PATIENCE):
        return self.child.wait(timeout)

    @property
    def running(self):
        return self.child is not None and self.child.poll() is None

    # ---- asking ----

    @property
    def address(self):
        """(host, port) of the first listener."""
        return next(iter(self.listeners.values()))

    @property
    def url(self):
        return "http://{}:{}".format(*self.address)

    def request(self, method, path, body=None, headers=None, timeout=PATIENCE):
        return http1.request(self.address, method, path, body, headers, timeout)

    def resident(self):
        """Bytes of memory that the process holds now."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def raw(self, timeout=PATIENCE):
        return http1.Raw(self.address, timeout)

    def admin(self, path, method="GET"):
        return http1.request(self.admin_address, method, path)

    def metrics(self):
        answer = self.admin("/metrics")
        assert answer.status == 200, answer
        return Metrics(answer.body.decode())

    def counted(self, wanted, metric, **labels):
        """Waits until a metric has that value: what is counted after an effect follows the effect."""
        def holds():
            return self.metrics().value(metric, **labels) == wanted
        try:
            eventually(holds)
        except AssertionError:
            raise AssertionError(f"{metric} {labels} is {self.metrics().value(metric, **labels)}, not {wanted}") from None

    def says(self, *words):
        """Waits until it has printed one of the words on stderr, upper or lower case; all that it has printed."""
        def said():
            return any(word.lower() in self.logs().lower() for word in words)
        eventually(said, what=f"one of {words} on stderr")
        return self.logs()

    def queues(self):
        """Queues, spools and dead letters by name; `depth` is added to what /v1/queues says."""
        answer = self.admin("/v1/queues")
        assert answer.status == 200, answer
        return {
            queue["name"]: {**queue, "depth": queue["visible"] + queue["inFlight"] + queue["delayed"]}
            for queue in answer.json()["queues"]
        }

    def depth(self, kind="spool"):
        """Records in all spools, or in all queues of another kind (`dead-letters`)."""
        return sum(queue["depth"] for queue in self.queues().values() if queue["kind"] == kind)

    def fates(self, kind="spool"):
        """The ledgers of all queues of a kind, summed."""
        ledgers = [queue["ledger"] for queue in self.queues().values() if queue["kind"] == kind]
        return {fate: sum(ledger[fate] for ledger in ledgers) for fate in (ledgers[0] if ledgers else [])}

    def peek(self, queue):
        """The messages of a queue, as the admin listener shows them."""
        answer = self.admin(f"/v1/queues/{quote(queue, safe='')}/messages?limit=1000")
        assert answer.status == 200, answer
        return answer.json()["messages"]

    def targets(self):
        """How each target does, by name, as /v1/targets says."""
        answer = self.admin("/v1/targets")
        assert answer.status == 200, answer
        return {target["target"]: target for target in answer.json()["targets"]}

    def unbalanced_queues(self):
        """Queues whose ledger does not come out."""
        answer = self.admin("/v1/queues")
        if answer.status != 200:
            return {}  # the store cannot be used, and says so
        found = {}
        for queue in answer.json()["queues"]:
            ledger = queue["ledger"]
            came = ledger["accepted"] + ledger["imported"]
            gone = sum(ledger[fate] for fate in ("deleted", "forwarded", "deadLettered", "expired", "purged", "damaged"))
            there = queue["visible"] + queue["inFlight"] + queue["delayed"]
            if came != gone + there:
                found[queue["name"]] = {"depth": there, **ledger}
        return found

    # ---- reading ----

    def logs(self):
        """What it has printed on stderr in this run."""
        return self.stderr_path.read_text(errors="replace") if self.child else ""

    def access_log(self, at_least=0, within=PATIENCE):
        """The access log of this run, as dicts; waits for `at_least` lines, for the log trails the answers."""
        def lines():
            text = self.stdout_path.read_text()
            whole = text[: text.rfind("\n") + 1].splitlines()
            return whole if len(whole) >= at_least else None
        found = eventually(lines, within, f"{at_least} access log lines") if at_least else lines()
        return [json.loads(line) for line in found]

    def log_line(self, request_id, within=PATIENCE):
        """The access log line of one request."""
        return eventually(
            lambda: next((l for l in self.access_log() if l.get("requestId") == request_id), None),
            within, f"the access log line of {request_id}",
        )

    def story(self):
        """Configuration and logs, for a failure report."""
        parts = [("configuration", tail(self.config, 200) if self.config.is_file() else str(self.config))]
        for run in range(1, self.runs + 1):
            parts.append((f"stderr of run {run}", tail(self.directory / f"stderr.{run}")))
            parts.append((f"access log of run {run}", tail(self.directory / f"stdout.{run}", 15)))
        return parts


def receive_all(gateway, path="/next", delete="/messages/", headers=None, limit=100_000):
    """Empties an embedded queue through the gateway: the bodies, in the order of their delivery."""
    bodies = []
    while len(bodies) < limit:
        answer = gateway.request("GET", path, headers=headers)
        assert answer.status == 200, answer
        messages = answer.json()["Messages"]
        if not messages:
            return bodies
        for message in messages:
            bodies.append(message["Body"])
            gone = gateway.request("DELETE", delete + quote(message["ReceiptHandle"], safe=""), headers=headers)
            assert gone.status == 200, gone
    raise AssertionError(f"more than {limit} messages")
