"""Clients that nobody here wrote, unchanged, signed: the aws CLI, Celery's workers, the JavaScript SDK and sqs-consumer."""

import json
import os
import subprocess
import textwrap
from pathlib import Path

import pytest

from support.emulators import AWS_CLI, TOOLS
from support.gateway import environment
from support.npm import packages
from support.processes import end, eventually, spawn
from support.sqs_wire import KEY, SECRET, USERS, attributes, client, url, wire_config

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def one(shared_gateway):
    return shared_gateway(wire_config(credentials=USERS))


def test_the_aws_cli_makes_fills_reads_and_removes_a_queue(one):
    if not AWS_CLI.exists():
        pytest.skip(f"the aws CLI is not installed beside {AWS_CLI.parent}")

    def aws(*arguments, **options):
        ran = subprocess.run(
            [AWS_CLI, "--endpoint-url", url(one), "--region", "eu-west-1", "--output", "json", "sqs", *arguments],
            env=environment(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET), capture_output=True, text=True, timeout=240,
        )
        assert (ran.returncode != 0) == options.get("fails", False), ran.stderr
        return json.loads(ran.stdout) if ran.stdout.strip() else ran.stderr

    made = aws("create-queue", "--queue-name", "from-cli", "--attributes", "DelaySeconds=0")["QueueUrl"]
    aws("send-message", "--queue-url", made, "--message-body", "hé 🎈",
        "--message-attributes", '{"n":{"DataType":"Number","StringValue":"3"}}')
    (message,) = aws("receive-message", "--queue-url", made, "--message-attribute-names", "All",
                     "--attribute-names", "All", "--wait-time-seconds", "1")["Messages"]
    assert message["Body"] == "hé 🎈" and message["MessageAttributes"]["n"]["StringValue"] == "3"
    aws("delete-message", "--queue-url", made, "--receipt-handle", message["ReceiptHandle"])
    shown = aws("get-queue-attributes", "--queue-url", made, "--attribute-names", "All")["Attributes"]
    assert shown["ApproximateNumberOfMessagesNotVisible"] == "0"
    aws("delete-queue", "--queue-url", made)
    missing = aws("get-queue-url", "--queue-name", "from-cli", fails=True)
    assert "NonExistentQueue" in missing


TASKS = """
    import os, pathlib
    from celery import Celery

    app = Celery("tasks", broker=os.environ["BROKER"])
    app.conf.update(
        broker_transport_options={"region": "eu-west-1", "is_secure": False, "wait_time_seconds": 1,
                                  "polling_interval": 0.1, "visibility_timeout": 30, "queue_name_prefix": "celery-"},
        task_default_queue="jobs", worker_enable_remote_control=False, task_ignore_result=True,
        broker_connection_retry_on_startup=True, task_acks_late=True,
    )

    @app.task(bind=True, max_retries=3)
    def note(self, n, fail=0):
        if self.request.retries < fail:
            raise self.retry(countdown=1)
        pathlib.Path(os.environ["NOTES"], str(n)).write_text(str(self.request.retries))
"""


def test_celery_s_workers_take_their_tasks(one, tmp_path):
    celery = TOOLS / "consumers" / "bin" / "celery"
    if not celery.exists():
        pytest.skip(os.environ.get("PENSTOCK_NO_CONSUMERS") or "Celery is not installed: run tests/run")
    (tmp_path / "tasks.py").write_text(textwrap.dedent(TASKS))
    notes = tmp_path / "notes"
    notes.mkdir()
    host, port = one.sqs_address
    secret = SECRET.replace("/", "%2F").replace("+", "%2B")
    env = environment(BROKER=f"sqs://{KEY}:{secret}@{host}:{port}//", NOTES=str(notes))
    with open(tmp_path / "worker.log", "wb") as log:
        worker = spawn(
            [celery, "-A", "tasks", "worker", "--pool", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat"],
            cwd=tmp_path, env=env, stdout=log, stderr=log,
        )
    try:
        give = "import tasks\nfor n in range(20): tasks.note.delay(n, fail=n % 2 if n < 4 else 0)"
        given = subprocess.run([celery.parent / "python", "-c", give], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240)
        assert given.returncode == 0, given.stderr

        def done():
            assert worker.poll() is None, (tmp_path / "worker.log").read_text()
            return len(list(notes.iterdir())) == 20

        eventually(done, 240, "all tasks done")
        assert (notes / "3").read_text() == "1" and (notes / "2").read_text() == "0"
        sqs = client(one)
        made = sqs.get_queue_url(QueueName="celery-jobs")["QueueUrl"]

        def empty():
            shown = attributes(sqs, made)
            return shown["ApproximateNumberOfMessages"] == shown["ApproximateNumberOfMessagesNotVisible"] == "0"

        eventually(empty, what="every task acknowledged")
    finally:
        end(worker, 10)


def test_the_javascript_sdk_and_sqs_consumer_work_unchanged(one):
    home = packages("consumers")
    script = home / "consumer.mjs"
    script.write_bytes((TESTS / "blackbox" / "support" / "consumer.mjs").read_bytes())
    ran = subprocess.run(
        ["node", "--no-warnings", script, url(one), KEY, SECRET],
        cwd=home, env=environment(), capture_output=True, text=True, timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.strip().splitlines()[-1])
    assert said["body"] == "hé 🎈" and said["bytes"] == [0, 255]
    assert said["missing"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert sorted(said["consumed"]) == [f"m{n}" for n in range(10)] and said["left"] == 0
