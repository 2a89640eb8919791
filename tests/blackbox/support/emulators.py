"""AWS emulators that nobody here wrote: MiniStack and moto, each in its own virtual environment.

Each accepts things that AWS refuses; a test says with which of them it proves something.
"""

import json
import os
import sys
import urllib.request
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from .gateway import AWS_ENVIRONMENT, environment
from .processes import PATIENCE, answers, end, eventually, free_port, spawn, tail

TOOLS = Path(
    os.environ.get("PENSTOCK_TOOLS")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock" / "tools"
)
AWS_CLI = Path(sys.executable).parent / "aws"
REGION = AWS_ENVIRONMENT["AWS_REGION"]


def unique(stem):
    """A name of one test's own, so that tests share an emulator and never a queue."""
    return f"{stem}-{uuid.uuid4().hex[:8]}"


class Emulator:
    """A running emulator and boto3 clients to look at it from the other side."""

    def __init__(self, name, directory):
        self.name = name
        self.directory = Path(directory)
        self.log = self.directory / f"{name}.log"
        self.child = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        for _ in range(3):
            self.port = free_port()
            with open(self.log, "ab") as log:
                self.child = spawn(self.command(), env=self.environment(), cwd=self.directory, stdout=log, stderr=log)
            eventually(lambda: self.child.poll() is not None or answers(self.url + self.ready), 180, f"{self.name} ready")
            if self.child.poll() is None:
                self.prepare()
                return self
        raise AssertionError(f"{self.name} does not start:\n{tail(self.log)}")

    def stop(self):
        return end(self.child)

    def prepare(self):
        """What is left to do once it answers."""

    def client(self, service, keys=("test", "test")):
        return boto3.client(
            service, endpoint_url=self.url, region_name=REGION,
            aws_access_key_id=keys[0], aws_secret_access_key=keys[1],
            config=Config(inject_host_prefix=False, retries={"max_attempts": 1}),
        )

    def queue(self, stem="orders", **attributes):
        """A queue of the test's own: its URL. `fifo=True` makes a FIFO queue."""
        name = unique(stem)
        if attributes.pop("fifo", False):
            name, attributes = name + ".fifo", {"FifoQueue": "true", **attributes}
        return self.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def messages(self, queue_url, count=1, within=PATIENCE):
        """Receives that many messages (all attributes) and deletes them."""
        sqs, found = self.client("sqs"), []

        def enough():
            answer = sqs.receive_message(
                QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1,
                AttributeNames=["All"], MessageAttributeNames=["All"],
            )
            for message in answer.get("Messages", []):
                found.append(message)
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            return len(found) >= count
        eventually(enough, within, f"{count} messages in {queue_url}")
        return found

    def depth(self, queue_url):
        """Messages in the queue: visible, received and delayed."""
        answer = self.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
        counts = ("", "NotVisible", "Delayed")
        return sum(int(answer["Attributes"].get("ApproximateNumberOfMessages" + kind, 0)) for kind in counts)


class MiniStack(Emulator):
    """First choice: strict where SQS is, runs state machines, serves StartSyncExecution."""

    ready = "/_ministack/health"

    def __init__(self, directory, waiting=False, permissions=False):
        super().__init__("ministack", directory)
        self.waiting = waiting
        self.permissions = permissions

    def command(self):
        return [TOOLS / "emu" / "bin" / "ministack"]

    def environment(self):
        settings = {"GATEWAY_PORT": str(self.port), "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0"}
        if not self.waiting:
            settings["SFN_WAIT_SCALE"] = "0"
        if self.permissions:  # signatures and policies count; the key `test` is root
            settings["AUTH"] = "true"
        return environment(HOME=str(self.directory), **settings)


class Moto(Emulator):
    """Second opinion: refuses malformed EventBridge entries and unknown buses; closes every connection."""

    ready = "/moto-api/"

    def __init__(self, directory):
        super().__init__("moto", directory)

    def command(self):
        return [Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", self.port]

    def environment(self):
        return environment(HOME=str(self.directory))

    def prepare(self):
        setting = json.dumps({"stepfunctions": {"execute_state_machine": True}}).encode()
        ask = urllib.request.Request(
            self.url + "/moto-api/config", data=setting, headers={"content-type": "application/json"}, method="POST"
        )
        urllib.request.urlopen(ask, timeout=60).close()


def started(name, directory, **options):
    """Starts the named emulator, or skips the test with the reason why it cannot be had."""
    if name == "ministack" and not (TOOLS / "emu" / "bin" / "ministack").exists():
        pytest.skip(os.environ.get("PENSTOCK_NO_EMU") or "MiniStack is not installed (run tests/run)")
    if name == "moto" and not (Path(sys.executable).parent / "moto_server").exists():
        pytest.skip("moto is not installed (run tests/run)")
    return {"ministack": MiniStack, "moto": Moto}[name](directory, **options).start()
