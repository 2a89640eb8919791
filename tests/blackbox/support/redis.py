"""A real redis-server of the test's own: no persistence, killed with the tests."""

import shutil
import signal
import socket

import pytest

from .processes import end, eventually, free_port, spawn

SERVER = shutil.which("redis-server")


class Redis:
    """A redis-server on a port that stays its own, through kills and restarts."""

    def __init__(self, directory, *arguments):
        if SERVER is None:
            pytest.skip("no redis-server here (on Debian and Ubuntu: apt-get install redis-server)")
        self.directory = directory
        self.arguments = arguments
        self.port = free_port()
        self.child = None

    def start(self):
        command = [SERVER, "--bind", "127.0.0.1", "--port", self.port, "--save", "", "--appendonly", "no",
                   "--dir", self.directory, *self.arguments]
        with open(self.directory / "redis.log", "ab") as log:
            self.child = spawn(command, stdout=log, stderr=log)
        eventually(lambda: b"PONG" in self.ask("PING") or b"NOAUTH" in self.ask("PING"), 20, "redis-server ready")
        return self

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def ask(self, *words):
        """One command over a connection of its own: the raw answer; nothing where nobody answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                parts = [f"*{len(words)}\r\n"] + [f"${len(str(word))}\r\n{word}\r\n" for word in words]
                connection.sendall("".join(parts).encode())
                return connection.recv(1 << 16)
        except OSError:
            return b""

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def freeze(self):
        self.child.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.child.send_signal(signal.SIGCONT)

    def stop(self):
        if self.child and self.child.poll() is None:
            self.thaw()
            end(self.child)
