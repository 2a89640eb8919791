"""kill -9 during a load on an embedded queue: every 202 is found after the restart. Five times; fifty with --long."""

import http.client
import random
import threading
import time
from urllib.parse import quote

from support import http1
from support.gateway import config
from support.processes import eventually

ROUTES = {
    "POST /messages": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}},
    "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "MaxNumberOfMessages": 10, "VisibilityTimeout": 600}}},
    "DELETE /messages/{receiptHandle}": {
        "integration": {"SQS-DeleteMessage": {"QueueUrl": "queue:orders", "ReceiptHandle": "$request.path.receiptHandle"}}},
}
PRODUCERS = 8
CONSUMERS = 4


def produce(address, kill, worker, acknowledged, sent):
    """Sends until the connection breaks; notes what was sent before it is sent, and what was acknowledged after."""
    number = 0
    try:
        connection = http.client.HTTPConnection(*address, timeout=60)
        while True:
            body = f"{kill}-{worker}-{number} " + "x" * (number % 1500)
            sent.append(body)
            if http1.exchange(connection, "POST", "/messages", body).status == 202:
                acknowledged.append(body)
            number += 1
    except (OSError, http.client.HTTPException):
        pass


def consume(address, found, deleted):
    connection = http.client.HTTPConnection(*address, timeout=60)
    while True:
        messages = http1.exchange(connection, "GET", "/next").json()["Messages"]
        if not messages:
            return
        for message in messages:
            found.append(message["Body"])
            gone = http1.exchange(connection, "DELETE", "/messages/" + quote(message["ReceiptHandle"], safe=""))
            assert gone.status == 200, gone
            deleted.append(message["Body"])


def together(count, target, arguments):
    errors = []

    def run(number):
        try:
            target(*arguments(number))
        except Exception as error:  # shown by the caller: a thread's traceback fails no test
            errors.append(error)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads, errors


def test_every_202_is_found_after_kill_9(gateway, long_run):
    dice = random.Random(20)
    one = gateway(config(ROUTES, queues={"orders": {}}))
    total = duplicates = 0
    for kill in range(50 if long_run else 5):
        acknowledged, sent, found, deleted = [], [], [], []
        threads, errors = together(PRODUCERS, produce, lambda n: (one.address, kill, n, acknowledged, sent))
        eventually(lambda: acknowledged, what="an acknowledgement")
        time.sleep(dice.uniform(0.05, 0.8))
        one.kill()
        for thread in threads:
            thread.join(240)
        assert not errors, errors
        assert acknowledged, "the load never got through"
        one.start()
        threads, errors = together(CONSUMERS, consume, lambda n: (one.address, found, deleted))
        for thread in threads:
            thread.join(240)
        assert not errors, errors
        missing = set(acknowledged) - set(found)
        assert not missing, f"kill {kill}: {len(missing)} of {len(acknowledged)} acknowledged messages are lost, such as {sorted(missing)[:3]}"
        assert set(found) <= set(sent), "a message that nobody sent"
        total += len(acknowledged)
        duplicates += len(found) - len(set(found))
    assert duplicates == 0, "an embedded queue that nobody re-sent to has no reason for duplicates"
    print(f"{total} acknowledged, 0 lost")


def test_a_deletion_that_was_answered_survives_kill_9(gateway):
    one = gateway(config(ROUTES, queues={"orders": {}}))
    for number in range(50):
        assert one.request("POST", "/messages", str(number)).status == 202
    found, deleted = [], []
    messages = one.request("GET", "/next").json()["Messages"]
    for message in messages:
        assert one.request("DELETE", "/messages/" + quote(message["ReceiptHandle"], safe="")).status == 200
        deleted.append(message["Body"])
    one.kill()
    one.start()
    consume(one.address, found, [])
    assert sorted(found + deleted, key=int) == [str(n) for n in range(50)]


def test_a_kill_while_consumers_work_loses_nothing_undeleted(gateway):
    one = gateway(config({**ROUTES, "GET /next": {"integration": {"SQS-ReceiveMessage": {
        "QueueUrl": "queue:orders", "MaxNumberOfMessages": 10, "VisibilityTimeout": 2}}}}, queues={"orders": {}}))
    bodies = {str(number) for number in range(200)}
    for body in bodies:
        assert one.request("POST", "/messages", body).status == 202
    found, deleted = [], []
    threads, _ = together(CONSUMERS, consume, lambda n: (one.address, found, deleted))
    eventually(lambda: deleted, what="a deletion")
    one.kill()
    for thread in threads:
        thread.join(240)
    one.start()
    before, received, rest = set(deleted), set(found), []
    # a deletion may have been committed and its answer lost: one for each consumer at most, and only of what was received
    def missing():
        return bodies - before - set(rest)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (len(missing()) <= CONSUMERS and missing() <= received):
        consume(one.address, rest, [])
        time.sleep(0.3)
    time.sleep(2.5)
    consume(one.address, rest, [])
    assert len(missing()) <= CONSUMERS and missing() <= received, missing()
    assert not before & set(rest), "a deleted message came back"
