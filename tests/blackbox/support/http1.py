"""HTTP/1.1 as a client of the gateway: whole requests over http.client, and raw bytes over a socket."""

import http.client
import json
import socket
from dataclasses import dataclass, field


class Headers:
    """Header fields in the order of the wire; names without regard to case."""

    def __init__(self, pairs):
        self.pairs = [(name.lower(), value) for name, value in pairs]

    def get(self, name, default=None):
        return next((value for key, value in self.pairs if key == name.lower()), default)

    def all(self, name):
        return [value for key, value in self.pairs if key == name.lower()]

    def __getitem__(self, name):
        value = self.get(name)
        assert value is not None, f"no header {name} in {self.pairs}"
        return value

    def __contains__(self, name):
        return self.get(name) is not None

    def __repr__(self):
        return repr(self.pairs)


@dataclass
class Response:
    status: int
    headers: Headers
    body: bytes = field(default=b"")

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The reason code of a native refusal."""
        content_type = self.headers.get("content-type", "")
        assert content_type.startswith("application/problem+json"), (
            f"{self.status} {content_type}: {self.body[:300]!r} is no problem document"
        )
        return self.json()["code"]


def request(address, method, path, body=None, headers=None, timeout=60.0):
    """One request on a connection of its own. `body` is bytes, text, or an iterable (sent chunked)."""
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        return exchange(connection, method, path, body, headers)
    finally:
        connection.close()


def exchange(connection, method, path, body=None, headers=None):
    """One request on a given http.client connection."""
    if isinstance(body, str):
        body = body.encode()
    if body is not None and not isinstance(body, bytes):
        # http.client sets the header itself, and encodes the chunks only if it did
        headers = {name: value for name, value in dict(headers or {}).items() if name != "transfer-encoding"}
    connection.request(method, path, body=body, headers=dict(headers or {}))
    answer = connection.getresponse()
    payload = answer.read()
    return Response(answer.status, Headers(answer.getheaders()), payload)


class Raw:
    """A TCP connection on which the test decides every byte."""

    def __init__(self, address, timeout=60.0):
        self.socket = socket.create_connection(address, timeout=timeout)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        if isinstance(data, str):
            data = data.encode("latin-1")
        self.socket.sendall(data)

    def try_send(self, data):
        """Sends what the peer still takes; says whether all of it went."""
        try:
            self.send(data)
            return True
        except OSError:
            return False

    def _fill(self):
        try:
            chunk = self.socket.recv(65536)
        except ConnectionResetError:
            chunk = b""
        self.buffer += chunk
        return bool(chunk)

    def read_response(self, head_only=False):
        """The next response, or None at the end of the stream."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._fill():
                assert not self.buffer, f"half a response: {self.buffer!r}"
                return None
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = Headers([tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]])
        response = Response(status, headers)
        if head_only or status in (100, 204, 304):
            return response
        if headers.get("transfer-encoding", "").lower() == "chunked":
            response.body = self._chunked()
        elif "content-length" in headers:
            response.body = self._exactly(int(headers["content-length"]))
        else:
            response.body = self.read_to_end()
        return response

    def _exactly(self, length):
        while len(self.buffer) < length:
            assert self._fill(), f"{len(self.buffer)} of {length} body bytes, then the end"
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return body

    def _line(self):
        while b"\r\n" not in self.buffer:
            assert self._fill(), "the stream ended inside a chunked body"
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _chunked(self):
        body = b""
        while True:
            size = int(self._line().split(b";")[0], 16)
            if size == 0:
                while self._line():
                    pass
                return body
            body += self._exactly(size)
            assert self._line() == b""

    def read_to_end(self):
        """Everything until the peer closes."""
        while self._fill():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def is_closed(self, within=60.0):
        """Whether the peer closes within that time, sending nothing more."""
        self.socket.settimeout(within)
        try:
            return self.buffer == b"" and not self._fill()
        except (socket.timeout, TimeoutError):
            return False
