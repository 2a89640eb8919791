"""`penstock queue`: the same words for a running gateway and for a stopped one's files; and the admin API below it."""

import base64
import json
import os
import pty
import shutil
import subprocess
from urllib.parse import quote

import pytest

from support import fake_aws, http1
from support.faults import traced
from support.gateway import BINARY, config, environment, penstock, write_config
from support.processes import eventually

ROUTES = {
    "POST /orders": {"integration": {"SQS-SendMessage": {
        "QueueUrl": "queue:orders", "MessageBody": "$request.body", "MessageAttributes": {"agent": "${request.header.x-agent:-none}"}}}},
    "POST /grouped/{group}": {"integration": {"SQS-SendMessage": {
        "QueueUrl": "queue:ledger.fifo", "MessageBody": "$request.body", "MessageGroupId": "$request.path.group"}}},
}
QUEUES = {
    "orders": {"redrive": {"to": "orders-dead", "max_receive_count": 1}, "visibility_timeout": "0s"},
    "orders-dead": {},
    "ledger.fifo": {"fifo": True, "content_based_deduplication": True},
}
HARD = [b'{"order": 1}', "héllo\n\"quoted\" \U0001f388".encode(), b"\xff\x00binary", b"", b"\x1b[2J" + b"x" * 3000]


class Reach:
    """How the queues of one gateway are asked for."""

    def __init__(self, one, stopped):
        self.arguments = ["--store", one.directory / "data"] if stopped else ["--admin", "http://{}:{}".format(*one.admin_address)]

    def __call__(self, *arguments, code=0, **options):
        ran = penstock("queue", *arguments, *self.arguments, **options)
        assert ran.returncode == code, (arguments, ran.returncode, ran.stdout, ran.stderr)
        return ran

    def json(self, *arguments):
        return json.loads(self(*arguments, "--json").stdout)

    def queue(self, name):
        return next(queue for queue in self.json("ls")["queues"] if queue["name"] == name)


@pytest.fixture(params=["running", "stopped"])
def reach(request, gateway):
    """A gateway with five awkward messages in `orders`, running or stopped."""
    one = gateway(config(ROUTES, queues=QUEUES))
    for number, body in enumerate(HARD):
        assert one.request("POST", "/orders", body, {"x-agent": f"a{number}"}).status == 202
    for number in range(3):
        assert one.request("POST", f"/grouped/g{number % 2}", f"f{number}").status == 202
    if request.param == "stopped":
        assert one.stop() == 0
    return Reach(one, request.param == "stopped")


def bodies(messages):
    return [base64.b64decode(m["body"]) if m.get("bodyEncoding") == "base64" else m["body"].encode() for m in messages]


# ---- looking ----

def test_ls_shows_every_queue_and_the_ledger(reach):
    table = reach("ls").stdout.splitlines()
    assert table[0].split() == ["NAME", "KIND", "VISIBLE", "DELAYED", "IN", "FLIGHT", "BYTES", "OLDEST"]
    assert [line.split()[0] for line in table[1:]] == ["ledger.fifo", "orders", "orders-dead"]
    assert "dead letters of orders" in table[3]
    wide = reach("ls", "--ledger").stdout.splitlines()
    assert wide[0].split()[-9:] == ["ACCEPTED", "IMPORTED", "DELETED", "FORWARDED", "DEAD-LETTERED", "EXPIRED", "PURGED", "DAMAGED", "DUPLICATES"]
    orders = reach.queue("orders")
    assert orders["kind"] == "queue" and orders["visible"] == 5 and orders["ledger"]["accepted"] == 5
    assert reach.queue("ledger.fifo")["kind"] == "fifo"


def test_peek_touches_nothing_and_brings_every_byte(reach):
    page = reach.json("peek", "orders")
    assert bodies(page["messages"]) == HARD
    assert page["next"] is None
    first = page["messages"][0]
    assert first["state"] == "ready" and first["receiveCount"] == 0 and first["attributes"]["agent"]["StringValue"] == "a0"
    assert [m.get("bodyEncoding") for m in page["messages"]] == [None, None, "base64", None, None]
    one, two = reach.json("peek", "orders", "-n", "2"), reach.json("peek", "orders", "-n", "3", "--after", str(page["messages"][1]["number"]))
    assert bodies(one["messages"]) + bodies(two["messages"]) == HARD
    assert one["next"] == page["messages"][1]["number"]
    assert reach.json("peek", "orders") == page, "nothing was touched"
    grouped = reach.json("peek", "ledger.fifo")["messages"]
    assert [(m["groupId"], m["body"]) for m in grouped] == [("g0", "f0"), ("g1", "f1"), ("g0", "f2")]


def test_peek_for_people_lays_out_json_and_lets_no_body_steer_the_terminal(reach):
    text = reach("peek", "orders", "--body").stdout
    assert '    {\n      "order": 1\n    }' in text
    assert "\x1b" not in text and "\\u{1b}[2J" in text
    short = reach("peek", "orders").stdout
    assert len(short) < 2000 and "…" in short
    assert "base64" in short


def test_export_writes_every_message_as_a_line_and_deletes_none(reach, tmp_path):
    lines = reach("export", "orders").stdout.splitlines()
    assert bodies([json.loads(line) for line in lines]) == HARD
    file = tmp_path / "orders.jsonl"
    ran = reach("export", "orders", "-o", file)
    assert ran.stdout == "" and "5 messages" in ran.stderr
    assert file.read_text().splitlines() == lines
    assert not list(tmp_path.glob("*.partial"))
    assert reach.queue("orders")["visible"] == 5


def test_export_goes_on_over_pages(gateway):
    one = gateway(config(ROUTES, queues=QUEUES))
    for number in range(1205):
        assert one.request("POST", f"/grouped/g{number % 7}", f"m{number}").status == 202
    lines = Reach(one, False)("export", "ledger.fifo").stdout.splitlines()
    assert [json.loads(line)["body"] for line in lines] == [f"m{n}" for n in range(1205)]


# ---- names ----

def test_a_part_of_a_name_is_enough_and_a_wrong_one_is_helped(reach):
    assert bodies(reach.json("peek", "ledger")["messages"]) == [b"f0", b"f1", b"f2"]
    assert reach.json("peek", "orders")["queue"] == "orders", "an exact name wins"
    ambiguous = reach("peek", "or", code=1).stderr
    assert "\n  orders\n  orders-dead\n" in ambiguous
    assert "did you mean orders?" in reach("peek", "ordesr", code=1).stderr
    assert "queue ls" in reach("peek", "qqqqqqqq", code=1).stderr


# ---- changing ----

def test_receive_keeps_or_deletes(reach):
    taken = [json.loads(line) for line in reach("receive", "ledger.fifo", "-n", "3", "--visibility-timeout", "1h", "--json").stdout.splitlines()]
    assert len(taken) == 3 and all(m["receiptHandle"] and m["state"] == "in-flight" for m in taken)
    assert reach.queue("ledger.fifo")["inFlight"] == 3
    assert "nothing to receive" in reach("receive", "ledger.fifo").stderr
    reach("receive", "orders", "-n", "100", "--delete", "--visibility-timeout", "1h")
    orders = reach.queue("orders")
    assert orders["ledger"]["deleted"] == 5 and orders["visible"] + orders["inFlight"] == 0


def test_purge_asks_or_takes_yes(reach):
    refused = reach("purge", "orders", code=2)
    assert "--yes" in refused.stderr and "5 messages" in refused.stderr
    assert "would delete 5 messages of orders" in reach("purge", "orders", "--dry-run").stdout
    assert reach.queue("orders")["visible"] == 5
    assert "deleted 5 messages of orders" in reach("purge", "orders", "--yes").stdout
    assert reach.queue("orders")["ledger"]["purged"] == 5
    assert reach.json("purge", "orders", "--yes") == {"queue": "orders", "purged": 0}


@pytest.mark.parametrize("answer,code,left", [("n\n", 1, 5), ("\n", 1, 5), ("y\n", 0, 0)])
def test_purge_on_a_terminal_does_what_it_is_told(gateway, answer, code, left):
    one = gateway(config(ROUTES, queues=QUEUES))
    for body in HARD:
        one.request("POST", "/orders", body)
    reach = Reach(one, False)
    master, slave = pty.openpty()
    child = subprocess.Popen([str(BINARY), "queue", "purge", "orders", *reach.arguments], stdin=slave, stdout=subprocess.DEVNULL,
                             stderr=slave, env=environment())
    os.close(slave)
    asked = b""
    while b"[y/N]" not in asked:
        asked += os.read(master, 1000)
    os.write(master, answer.encode())
    assert child.wait(120) == code
    os.close(master)
    assert b"Delete 5 messages of orders?" in asked
    assert reach.queue("orders")["visible"] == left


def test_redrive_brings_dead_letters_back(reach):
    for _ in range(2):  # received once, then once too often
        reach("receive", "orders", "-n", "5", "--visibility-timeout", "0s")
    letters = reach.queue("orders-dead")
    assert letters["visible"] == 5 and letters["deadLettersOf"] == ["orders"]
    numbers = [m["number"] for m in reach.json("peek", "orders-dead")["messages"]]
    assert "would move 2 messages from orders-dead to orders" in reach(
        "redrive", "orders-dead", "--dry-run", "--only", str(numbers[0]), str(numbers[4])).stdout
    task = json.loads(reach("redrive", "orders-dead", "--json", "--only", f"{numbers[0]},{numbers[4]}").stdout)
    assert (task["state"], task["moved"], task["toMove"]) == ("completed", 2, 2)
    assert bodies(reach.json("peek", "orders")["messages"]) == [HARD[0], HARD[4]]
    said = reach("redrive", "orders-dead", "--rate", "500").stdout
    assert said == "moved 3 of 3 messages from orders-dead to orders\n"
    assert sorted(bodies(reach.json("peek", "orders")["messages"])) == sorted(HARD)
    assert "no queue's dead letters" in reach("redrive", "orders", code=1).stderr


def test_a_redrive_that_runs_is_cancelled_and_what_was_moved_stays_moved(gateway):
    one = gateway(config(ROUTES, queues=QUEUES))
    for number in range(20):
        assert one.request("POST", "/orders", str(number)).status == 202
    reach = Reach(one, False)
    for _ in range(2):
        reach("receive", "orders", "-n", "20", "--visibility-timeout", "0s")
    assert reach.queue("orders-dead")["visible"] == 20
    assert "no such task" in reach("redrive", "orders-dead", "--cancel", code=1).stderr
    slow = subprocess.Popen(
        [BINARY, "queue", "redrive", "orders-dead", "--rate", "1", *map(str, reach.arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: reach.queue("orders")["visible"] > 0, what="a first message")
    assert "it was cancelled" in reach("redrive", "orders-dead", "--cancel").stdout
    _, said = slow.communicate(timeout=120)
    assert slow.returncode == 1 and "it was cancelled" in said, said
    queues = {queue["name"]: queue["visible"] for queue in reach.json("ls")["queues"]}
    assert 0 < queues["orders"] < 20 and queues["orders"] + queues["orders-dead"] == 20


# ---- spools ----

def test_a_spool_and_its_dead_letters_running_and_stopped(gateway, fake):
    """A target that refuses what says `bad`, and is down afterwards."""
    url = "https://sqs.us-east-1.amazonaws.com/000000000000/invoices"
    route = {"integration": {"SQS-SendMessage": {"QueueUrl": url, "MessageBody": "$request.body"}}, "ack": "spool"}
    one = gateway(config({"POST /invoices": route}, aws={"region": "us-east-1", "endpoint": fake.url},
                         limits={"drain": "1s"}))
    for operation in ("SQS-SendMessage", "SQS-SendMessageBatch"):
        fake.always(operation, fake_aws.error("com.amazonaws.sqs#InvalidMessageContents", "no such character"))
    sent = one.request("POST", "/invoices", b"bad")
    assert sent.status == 202 and sent.json()["durability"] == "spooled"
    reach = Reach(one, False)
    eventually(lambda: [q for q in reach.json("ls")["queues"] if q["kind"] == "dead-letters" and q["visible"] == 1], what="a dead letter")
    for operation in ("SQS-SendMessage", "SQS-SendMessageBatch"):
        fake.always(operation, fake_aws.server_error())
    assert one.request("POST", "/invoices", b"kept").status == 202
    letter = reach.json("peek", "dead:invoices")["messages"][0]
    assert letter["death"]["code"] == "InvalidMessageContents" and letter["death"]["attempts"] >= 1
    assert "invoices" in letter["target"] and sent.json()["requestId"] in json.dumps(letter["context"])
    text = reach("peek", "dead:invoices", "--body").stdout
    assert "InvalidMessageContents" in text and sent.json()["requestId"] in text and "bad" in text
    assert "queue peek" in reach("receive", "spool:invoices", code=1).stderr
    spooled = reach("peek", "invoices").stdout
    assert "\n    kept\n" in spooled and " bytes" in spooled and "receivedAt 20" in spooled, spooled
    eventually(lambda: "  attempts   " in reach("peek", "invoices").stdout, what="an attempt")
    assert "received " not in reach("peek", "invoices").stdout
    assert "may be any of 2" in reach("purge", "invoices", "--yes", code=1).stderr
    assert one.stop(30) in (0, 4)
    reach = Reach(one, True)
    assert reach.json("peek", "dead:invoices")["messages"][0]["death"] == letter["death"]
    assert reach.json("redrive", "invoices")["moved"] == 1
    lines = [json.loads(line) for line in reach("export", "spool:invoices").stdout.splitlines()]
    assert sorted(word for line in lines for word in ("bad", "kept") if word in line["body"]) == ["bad", "kept"]
    fake.always("SQS-SendMessage", fake_aws.Usual())
    fake.always("SQS-SendMessageBatch", fake_aws.Usual())
    one.start()
    reach = Reach(one, False)
    eventually(lambda: reach.queue(letters_spool(reach))["ledger"]["forwarded"] == 2, what="both at the target")


def letters_spool(reach):
    return next(queue["name"] for queue in reach.json("ls")["queues"] if queue["kind"] == "spool")


# ---- finding the gateway ----

def test_the_gateway_is_found_by_flag_environment_and_configuration(gateway, tmp_path):
    one = gateway(config(ROUTES, queues=QUEUES))
    address = "{}:{}".format(*one.admin_address)
    assert penstock("queue", "ls", env=environment(PENSTOCK_ADMIN=f"http://{address}")).returncode == 0
    file = write_config(tmp_path, config(ROUTES, queues=QUEUES, admin={"bind": address}))
    assert penstock("queue", "ls", "-c", file).returncode == 0
    vague = penstock("queue", "ls", "-c", one.config)
    assert vague.returncode == 1 and "--admin" in vague.stderr, "port 0 says nothing"


def test_nobody_there_nothing_there_and_somebody_there_are_said(gateway, tmp_path):
    nobody = penstock("queue", "ls", "--admin", "127.0.0.1:1")
    assert nobody.returncode == 1 and "no gateway answers" in nobody.stderr and "--store" in nobody.stderr
    nothing = penstock("queue", "ls", "--store", tmp_path)
    assert nothing.returncode == 1 and "no store" in nothing.stderr
    assert not list(tmp_path.iterdir()), "looking makes nothing"
    one = gateway(config(ROUTES, queues=QUEUES))
    held = penstock("queue", "ls", "--store", one.directory / "data")
    assert held.returncode == 1 and f"pid {one.child.pid}" in held.stderr and "--admin" in held.stderr
    wrong = penstock("queue", "ls", "--admin", "http://{}:{}".format(*one.address))
    assert wrong.returncode == 1 and "admin listener" in wrong.stderr
    for arguments in (["queue"], ["queue", "peek"], ["queue", "peek", "x", "-n", "0"], ["queue", "ls", "--admin", "x", "--store", "y"],
                      ["queue", "ls", "--admin", "https://x"]):
        assert penstock(*arguments).returncode == 2, arguments


# ---- the API below ----

def ask(one, method, path, body=None, headers=None):
    return http1.request(one.admin_address, method, path, body, headers)


def test_the_api_takes_writes_as_posts_with_bounded_bodies_only(gateway):
    one = gateway(config(ROUTES, queues=QUEUES))
    one.request("POST", "/orders", b"x")
    assert ask(one, "GET", "/v1/queues/orders/purge").status == 405
    assert ask(one, "POST", "/v1/queues/orders/messages").status == 405
    assert ask(one, "POST", "/v1/queues").status == 405
    assert ask(one, "GET", "/v1/queues/nowhere/messages").status == 404
    assert ask(one, "GET", "/v1/queues/orders/nonsense").status == 404
    assert ask(one, "GET", "/v1/queues/orders/messages?limit=1001").status == 400
    assert ask(one, "POST", "/v1/queues/orders/receive", b'{"maxMesages": 1}').status == 400
    assert ask(one, "POST", "/v1/queues/orders/receive", b"nonsense").status == 400
    assert ask(one, "POST", "/v1/queues/orders/purge", b"x" * (2 << 20)).status == 413
    spool = ask(one, "GET", "/v1/queues/" + quote("spool:sqs:https://x/y", safe="") + "/messages")
    assert spool.status == 404 and "spool:sqs:https://x/y" in spool.json()["error"]
    assert Reach(one, False).queue("orders")["visible"] == 1


def test_a_page_of_another_site_may_neither_look_nor_write(gateway):
    one = gateway(config(ROUTES, queues=QUEUES))
    one.request("POST", "/orders", b"x")
    host = "{}:{}".format(*one.admin_address)
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
                    {"Host": "evil.example"}):
        assert ask(one, "POST", "/v1/queues/orders/purge", b"{}", headers).status == 403, headers
    assert ask(one, "GET", "/v1/queues/orders/messages", headers={"Host": "evil.example"}).status == 403
    assert Reach(one, False).queue("orders")["visible"] == 1
    assert ask(one, "POST", "/v1/queues/orders/purge", b"{}", {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}).status == 200


def test_off_loopback_messages_need_a_token(gateway):
    token = "a-token-of-some-length"
    closed = gateway(config(ROUTES, queues=QUEUES, admin={"bind": "0.0.0.0:0"}))
    closed.admin_address = ("127.0.0.1", closed.admin_address[1])
    assert ask(closed, "GET", "/v1/queues").status == 200, "counts are no secret"
    for method, path in (("GET", "/v1/queues/orders/messages"), ("POST", "/v1/queues/orders/purge")):
        answer = ask(closed, method, path)
        assert answer.status == 403 and "admin.token" in answer.json()["error"]
    opened = gateway(config(ROUTES, queues=QUEUES, admin={"bind": "0.0.0.0:0", "token": "${env:ADMIN_TOKEN}"}), env={"ADMIN_TOKEN": token})
    opened.admin_address = ("127.0.0.1", opened.admin_address[1])
    opened.request("POST", "/orders", b"x")
    assert ask(opened, "POST", "/v1/queues/orders/purge").status == 403
    assert ask(opened, "POST", "/v1/queues/orders/purge", headers={"Authorization": "Bearer wrong"}).status == 403
    reach = Reach(opened, False)
    assert "PENSTOCK_ADMIN_TOKEN" in reach("peek", "orders", code=1).stderr
    env = environment(PENSTOCK_ADMIN_TOKEN=token)
    assert "deleted 1 message" in reach("purge", "orders", "--yes", env=env).stdout
    assert token not in opened.logs()


def test_a_token_that_is_too_short_is_refused_and_not_shown(tmp_path):
    file = write_config(tmp_path, config(ROUTES, queues=QUEUES, admin={"bind": "127.0.0.1:0", "token": "short-secret"}))
    ran = penstock("check", file)
    assert ran.returncode == 1 and "admin.token" in ran.stdout and "short-secret" not in ran.stdout


def test_a_disk_that_hangs_holds_up_only_who_asked_for_it(gateway):
    """The admin listener has one thread: a wait for the store on it would silence health and metrics."""
    one = gateway(config(ROUTES, queues=QUEUES))
    one.request("POST", "/orders", b"x" * 100)
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:delay_enter=3000000",
         "-p", str(one.child.pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) if shutil.which("strace") else None
    if tracer is None:
        pytest.skip("strace is not installed")
    try:
        eventually(lambda: traced(one.child.pid) or tracer.poll() is not None, what="strace to attach")
        if tracer.poll() is not None:
            pytest.skip(f"strace cannot attach: {tracer.stderr.read().decode()[:200]}")
        purge = subprocess.Popen([str(BINARY), "queue", "purge", "orders", "--yes", *Reach(one, False).arguments],
                                 env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        answered = 0
        while purge.poll() is None:
            assert ask(one, "GET", "/livez").status == 200
            answered += 1
        assert purge.returncode == 0
        assert answered > 5, "it answered while the purge waited for its sync"
    finally:
        tracer.terminate()
        tracer.wait(60)
        tracer.stderr.close()
