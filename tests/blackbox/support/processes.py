"""Child processes that cannot outlive the tests, and ports that were free a moment ago."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

SETPRIV = shutil.which("setpriv")

DICE = random.SystemRandom()

# What holds the ports that refuse.
HELD = []

# Seconds to wait for what is to come about: far more than it takes, for machines are slow, and busy with other things.
PATIENCE = 60.0


def spawn(command, **options):
    """Starts a child that dies with this process, also when this process is killed (where setpriv exists).

    Call it from the main thread: the kernel watches the thread that started the child, not the process.
    """
    if SETPRIV:
        command = [SETPRIV, "--pdeathsig", "KILL", "--", *command]
    return subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, **options)


def end(child, grace=2.0):
    """SIGTERM, a while, SIGKILL; always reaps. Returns the exit code."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(grace)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait()


def free_port():
    """A port of the loopback address that nobody held a moment ago; none of those that the system gives to others who ask
    for any port, so that it is still free when it is used."""
    while True:
        port = DICE.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def refusing_port():
    """A port of the loopback address that refuses connections for as long as the tests run: nobody else gets it."""
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    HELD.append(holder)
    return holder.getsockname()[1]


def eventually(condition, within=PATIENCE, what="the condition"):
    """Asks until the answer is true, and returns it; fails the test after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not come about within {within} s"
        time.sleep(0.02)


def connected(port):
    """How many connections to a port of this machine their clients have not closed, dead ones included."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(int(row[2].split(":")[1], 16) == port and row[3] in ("01", "08") for row in rows)


def answers(url):
    """Whether anything but a refused connection comes back from the URL."""
    try:
        urllib.request.urlopen(url, timeout=20).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def tail(path, lines=80):
    """The last lines of a log file, for a failure report."""
    if not os.path.exists(path):
        return ""
    with open(path, errors="replace") as log:
        return "".join(log.readlines()[-lines:])
