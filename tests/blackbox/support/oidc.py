"""OpenID Connect providers as child processes: one that is certified, and one that signs whatever it is told."""

import base64
import json
import signal
import urllib.parse
import urllib.request
from pathlib import Path

from .gateway import environment
from .npm import packages
from .processes import answers, end, eventually, free_port, spawn, tail

HERE = Path(__file__).resolve().parent


class Provider:
    """A provider on a port of its own; its scripts stand beside this file."""

    def __init__(self, script, directory, **settings):
        self.home = packages("oidc")
        self.script = self.home / script
        self.script.write_bytes((HERE / script).read_bytes())
        self.log = Path(directory) / f"{script}.log"
        self.settings = {name: str(value) for name, value in settings.items()}
        self.port = free_port()
        self.child = None

    @property
    def issuer(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        with open(self.log, "ab") as log:
            self.child = spawn(
                ["node", "--no-warnings", self.script], cwd=self.home, stdout=log, stderr=log,
                env=environment(PORT=str(self.port), **self.settings),
            )
        discovery = self.issuer + "/.well-known/openid-configuration"
        eventually(lambda: self.child.poll() is not None or answers(discovery), 60, "the provider is ready")
        assert self.child.poll() is None, tail(self.log)
        return self

    def stop(self):
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
        return end(self.child) if self.child else None

    def rotate(self):
        """New keys; returns once they are published."""
        before = fetch(self.issuer + "/generation")
        self.child.send_signal(signal.SIGHUP)
        eventually(lambda: fetch(self.issuer + "/generation") != before, 20, "the new keys are published")

    def hang(self):
        self.child.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.child.send_signal(signal.SIGCONT)

    def token(self, resource="urn:penstock:rs256", scope="ingest"):
        """An access token of the certified provider."""
        credentials = base64.b64encode(b"dev:dev-secret").decode()
        return self.ask({"scope": scope, "resource": resource}, {"authorization": f"Basic {credentials}"})

    def forged(self, claims=None, header=None):
        """A token of the other one, with these claims and this header: signed as it should be."""
        return self.ask({"claims": json.dumps({"sub": "u", **(claims or {})}), "header": json.dumps(header or {})}, {})

    def ask(self, fields, headers):
        form = urllib.parse.urlencode({"grant_type": "client_credentials", **fields}).encode()
        answer = fetch(self.issuer + "/token", form, headers)
        return json.loads(answer)["access_token"]


def fetch(url, body=None, headers=None):
    request = urllib.request.Request(url, data=body, headers=headers or {})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()
