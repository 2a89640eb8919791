"""A service that decides, by the Lambda-authorizer contract: over HTTP, and as a Lambda endpoint by the Invoke call."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Authorizer:
    """Answers by the token of the request; keeps what it was sent. `script`: token -> answer (dict), or one of `ODD`."""

    def __init__(self, script):
        self.script = dict(script)
        self.events, self.requests = [], []
        self.gate = threading.Event()
        self.gate.set()
        authorizer = self

        class Service(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                event = json.loads(body)
                authorizer.requests.append((self.path, dict(self.headers.items())))
                authorizer.events.append(event)
                authorizer.gate.wait(15)
                status, headers, answer = authorizer.answer(event)
                try:
                    self.send_response(status)
                    for name, value in {"content-type": "application/json", **headers}.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:
                    pass  # nobody waits any more

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:{}".format(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, event):
        token = event.get("authorizationToken") or (event.get("identitySource") or [""])[0]
        said = self.script.get(token, {"isAuthorized": False})
        if callable(said):
            said = said(event)
        if isinstance(said, tuple):
            status, headers, body = said
            return status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()
        return 200, {}, json.dumps(said).encode()

    @property
    def calls(self):
        return len(self.events)

    def stop(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


def slow(seconds):
    def answer(_):
        time.sleep(seconds)
        return {"isAuthorized": True}
    return answer


def policy(effect, resource, principal="user-1", **more):
    return {"principalId": principal, "policyDocument": {"Version": "2012-10-17", "Statement": [
        {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}]}, **more}
