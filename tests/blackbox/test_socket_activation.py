"""Sockets that a supervisor passes: taken by name, and clients wait in them while one process follows another."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from support import http1
from support.gateway import BINARY, config, environment, write_config
from support.processes import PATIENCE, end, eventually, tail

PASS = """
import os, sys
count = int(sys.argv[1]); names = sys.argv[2]
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=names)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Supervised:
    """A gateway that is given these sockets, as systemd gives them: from descriptor 3 on."""

    def __init__(self, directory, document):
        self.config = write_config(directory, document)
        self.directory, self.runs = directory, 0

    def start(self, sockets):
        self.runs += 1
        self.log = self.directory / f"stderr.{self.runs}"
        numbers = [each.fileno() for each in sockets.values()]

        def pass_on():
            kept = [os.dup(number) for number in numbers]
            high = [os.dup2(number, 100 + place) for place, number in enumerate(kept)]
            for place, number in enumerate(high):
                os.dup2(number, 3 + place)
                os.set_inheritable(3 + place, True)

        command = [sys.executable, "-c", PASS, str(len(numbers)), ":".join(sockets), str(BINARY), "serve", str(self.config)]
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                command, cwd=self.directory, stdout=subprocess.DEVNULL, stderr=log, env=environment(), preexec_fn=pass_on,
                close_fds=False)
        eventually(lambda: "listening on" in self.log.read_text() or self.child.poll() is not None, what="the banner")
        assert self.child.poll() is None, tail(self.log)
        return self

    def stop(self):
        return end(self.child)


def listener():
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen(64)
    return taken


ROUTES = {"POST /orders": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}}}


@pytest.fixture
def supervised(tmp_path):
    # the address in the file is another's: what is passed has the say
    one = Supervised(tmp_path, config(ROUTES, queues={"orders": {}}, listeners={"public": {"bind": "192.0.2.1:80"}}))
    yield one
    if one.child.poll() is None:
        one.stop()


def test_what_is_passed_is_taken_by_name_and_bind_is_not_looked_at(supervised):
    with listener() as public, listener() as admin:
        supervised.start({"public": public, "admin": admin})
        answer = http1.request(public.getsockname(), "POST", "/orders", b"x", None, PATIENCE)
        assert answer.status == 202
        port = admin.getsockname()[1]
        asked = subprocess.run([BINARY, "health", "--admin", f"http://127.0.0.1:{port}"], capture_output=True, timeout=60)
        assert asked.returncode == 0, asked.stderr
        supervised.stop()
        asked = subprocess.run([BINARY, "health", "--admin", f"http://127.0.0.1:{port}", "--quiet"], capture_output=True, timeout=60)
        assert (asked.returncode, asked.stderr) == (1, b"")


def test_clients_wait_while_one_process_follows_another(supervised):
    with listener() as public:
        address = public.getsockname()
        supervised.start({"public": public})
        assert http1.request(address, "POST", "/orders", b"before", None, PATIENCE).status == 202
        supervised.stop()
        answers = []
        waiting = [threading.Thread(target=lambda: answers.append(http1.request(address, "POST", "/orders", b"between", None, 60)))
                   for _ in range(8)]
        for client in waiting:
            client.start()
        # nobody accepts now, and nobody is refused: the socket is the supervisor's
        supervised.start({"public": public})
        for client in waiting:
            client.join(60)
        assert [answer.status for answer in answers] == [202] * 8


def test_a_name_that_no_listener_has_is_said(supervised):
    with listener() as public, listener() as stray:
        supervised.start({"public": public, "stray": stray})
        eventually(lambda: "no listener has" in supervised.log.read_text(), what="the warning")
