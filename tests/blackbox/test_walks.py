"""The pages that walk a reader through something, walked: their configurations run, on local addresses and stand-ins, and do
what the page says."""

import http.server
import os
import re
import signal
import socket
import struct
import threading

from support.emulators import REGION
from support.gateway import REPOSITORY, penstock
from support.processes import refusing_port

TOKEN = "a-token-that-is-long-enough"


def shown(page, number=0):
    """A configuration out of a page."""
    return re.findall(r"```yaml(?: fragment)?\n(.*?)```", (REPOSITORY / "docs" / f"{page}.md").read_text(), re.S)[number]


def localised(text, replacements):
    for old, new in replacements.items():
        assert old in text, f"the page does not say {old!r} any more"
        text = text.replace(old, new)
    return text + "limits: { cpu_wait: none }\n"


def proxied(address, client, path=b"/orders"):
    """A request as the load balancer sends it: PROXY v2 with the client's address, then HTTP. The status."""
    ends = socket.inet_aton(client) + socket.inet_aton("10.20.0.9") + struct.pack("!HH", 40000, 80)
    head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(ends)) + ends
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(head + b"POST " + path + b" HTTP/1.1\r\nhost: api.ingest.internal\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split()[1])


def test_private_networking_lets_in_who_the_load_balancer_says_is_of_the_network(gateway, ministack):
    queue = ministack.queue()
    text = localised(shown("private-networking"), {
        "0.0.0.0:8080": "127.0.0.1:0", "0.0.0.0:9901": "127.0.0.1:0", "10.20.0.0/16": "127.0.0.0/8", "eu-west-1 }": f"{REGION} }}",
        "https://sqs.eu-west-1.amazonaws.com/111122223333/orders": queue})
    one = gateway(text, env={"PENSTOCK_ADMIN_TOKEN": TOKEN, "AWS_ENDPOINT_URL": ministack.url})
    assert proxied(one.address, "10.1.2.3") == 202
    assert proxied(one.address, "192.0.2.1") == 403
    assert ministack.messages(queue)[0]["Body"] == "{}"
    assert one.admin("/readyz").status == 200, "the health check brings no token"
    assert one.admin("/v1/reload", "POST").status in (401, 403)


def test_private_networking_s_configuration_is_warned_of_and_has_a_policy(tmp_path):
    (tmp_path / "routes.yaml").write_text(shown("private-networking"))
    environment = {**os.environ, "PENSTOCK_ADMIN_TOKEN": TOKEN}
    checked = penstock("check", tmp_path / "routes.yaml", env=environment)
    assert checked.returncode == 0 and "warning" in checked.stdout + checked.stderr, checked
    allowed = penstock("iam", tmp_path / "routes.yaml", env=environment)
    assert "arn:aws:sqs:eu-west-1:111122223333:orders" in allowed.stdout


class Old(http.server.BaseHTTPRequestHandler):
    """The API that is left."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_):
        pass


def test_a_migration_serves_what_has_moved_and_passes_on_what_has_not(gateway, ministack):
    old = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Old)
    threading.Thread(target=old.serve_forever, daemon=True).start()
    queue = ministack.queue()
    text = localised(shown("migrate-from-api-gateway"), {
        "https://abcdef123.execute-api.eu-west-1.amazonaws.com": f"http://127.0.0.1:{old.server_port}", "eu-west-1 }": f"{REGION} }}",
        "https://sqs.eu-west-1.amazonaws.com/111122223333/orders": queue})
    text += "listeners: { public: { bind: 127.0.0.1:0 } }\nadmin: { bind: 127.0.0.1:0 }\n"
    one = gateway(text, env={"AWS_ENDPOINT_URL": ministack.url})
    moved = one.request("POST", "/orders", b"{}")
    assert moved.status == 200 and b"<SendMessageResponse" in moved.body, "the vendor's answer"
    assert ministack.depth(queue) == 1
    left = one.request("GET", "/items/a%20b?x=1&y=%2F")
    assert (left.status, left.body) == (200, b"/items/a%20b?x=1&y=%2F")
    old.shutdown()


def test_the_way_back_shows_what_is_left_in_a_stopped_gateway_s_store(gateway):
    text = localised(shown("migrate-from-api-gateway"), {
        "authorizer: none\n    integration:\n      SQS": "authorizer: none\n    ack: spool\n    integration:\n      SQS",
        "eu-west-1 }": f"{REGION}, endpoint: \"http://127.0.0.1:{refusing_port()}\" }}"})
    text += "listeners: { public: { bind: 127.0.0.1:0 } }\nadmin: { bind: 127.0.0.1:0 }\nstore: { path: ./data }\n"
    one = gateway(text)
    assert one.request("POST", "/orders", b"{}").status == 200
    one.signal(signal.SIGTERM)
    one.wait()
    left = penstock("queue", "ls", "--store", one.directory / "data")
    assert left.returncode == 0 and re.search(r"orders.*\b1\b", left.stdout), left
