"""HTTP/2 over cleartext with prior knowledge: python's h2 on a plain socket."""

import socket
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from .http1 import Headers, Response


class Http2:
    """One connection; requests may be interleaved by stream id."""

    def __init__(self, address, timeout=60.0, careful=True):
        """`careful=False` lets the test send what a client must not."""
        self.authority = "{}:{}".format(*address)
        self.socket = socket.create_connection(address, timeout=timeout)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8",
            validate_outbound_headers=careful, normalize_outbound_headers=careful))
        self.h2.initiate_connection()
        self.flush()
        self.responses = {}
        self.ended = {}
        self.goaway = None
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def begin(self, method, path, headers=(), end=True, pseudo=None):
        """Sends a head; returns the stream id."""
        stream = self.h2.get_next_available_stream_id()
        fields = pseudo if pseudo is not None else [
            (":method", method), (":scheme", "http"), (":authority", self.authority), (":path", path)]
        self.h2.send_headers(stream, [*fields, *headers], end_stream=end)
        self.flush()
        return stream

    def data(self, stream, body, end=True, within=60.0):
        """Sends a body as the windows allow."""
        try:
            self._data(stream, body, end, time.monotonic() + within, within)
        except (h2.exceptions.StreamClosedError, h2.exceptions.NoSuchStreamError):
            pass  # the server has answered and wants no more

    def _data(self, stream, body, end, deadline, within):
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                assert time.monotonic() < deadline, f"the window did not open within {within} s"
                if self.ended.get(stream):
                    return
                self.pump()
                continue
            self.h2.send_data(stream, body[:room])
            body = body[room:]
            self.flush()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    def pump(self):
        """Reads once; False at the end of the stream."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return False
        for event in self._events(data):
            if isinstance(event, h2.events.ResponseReceived):
                headers = list(event.headers)
                status = int(dict(headers)[":status"])
                self.responses[event.stream_id] = Response(status, Headers([h for h in headers if h[0] != ":status"]))
            elif isinstance(event, h2.events.DataReceived):
                self.responses[event.stream_id].body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended[event.stream_id] = "end"
            elif isinstance(event, h2.events.StreamReset):
                self.ended[event.stream_id] = f"reset {event.error_code}"
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = event.error_code
        try:
            self.flush()
        except OSError:
            return False
        return True

    def _events(self, data):
        """The events of whole frames, one frame at a time: h2 closes its side at a GOAWAY, and here that is no end."""
        self.pending += data
        while len(self.pending) >= 9 and len(self.pending) >= (size := 9 + int.from_bytes(self.pending[:3], "big")):
            frame, self.pending = self.pending[:size], self.pending[size:]
            events = self.h2.receive_data(frame)
            if any(isinstance(event, h2.events.ConnectionTerminated) for event in events):
                self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            yield from events

    def response(self, stream):
        """The response of a stream, or None if it was reset or the connection ended without one."""
        while stream not in self.ended:
            try:
                if not self.pump():
                    break
            except h2.exceptions.ProtocolError:
                break
        return self.responses.get(stream)

    def request(self, method, path, body=None, headers=()):
        stream = self.begin(method, path, headers, end=body is None)
        if body is not None:
            self.data(stream, body)
        return self.response(stream)
