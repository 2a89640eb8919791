"""A TCP relay between a gateway and a server of a test's: what it connects can be cut, and joined again."""

import socket
import threading
from urllib.parse import urlsplit


class Relay:
    """Listens on a port of its own and passes bytes on to `url`'s host and port."""

    def __init__(self, url):
        there = urlsplit(url)
        self.there = (there.hostname, there.port)
        self.broken = False
        self.open = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def down(self):
        """From here on every connection is closed at once, those that are open too."""
        self.broken = True
        with self.lock:
            for each in self.open:
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def up(self):
        self.broken = False

    def close(self):
        self.down()
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if self.broken:
                near.close()
                continue
            try:
                far = socket.create_connection(self.there)
            except OSError:
                near.close()
                continue
            with self.lock:
                self.open |= {near, far}
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        finally:
            for each in (one, other):
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                with self.lock:
                    self.open.discard(each)
