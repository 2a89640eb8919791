"""HTTP-Proxy against a backend that nobody here wrote: Python's own HTTP server, which tells what it heard."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.gateway import config
from support.processes import free_port


class Backend(BaseHTTPRequestHandler):
    """Tells what it heard; the path says how to behave."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        heard = {"method": self.command, "path": self.path, "body": body.decode("latin-1"),
                 "headers": [[name.lower(), value] for name, value in self.headers.items()]}
        status = 200
        if "/status/" in self.path:
            status = int(self.path.split("/status/")[1][:3])
        if "/slow" in self.path:
            time.sleep(3)
        if "/gone" in self.path:
            self.close_connection = True
            return
        payload = b"x" * 2_000_000 if "/large" in self.path else json.dumps(heard).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("set-cookie", "a=1")
        self.send_header("set-cookie", "b=2")
        self.send_header("access-control-allow-origin", "*")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def backend():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(params=["native", "aws"])
def proxy(request, gateway, backend):
    changes = {"overwrite:header.x-request": "$context.requestId", "remove:header.x-secret": "",
               "append:querystring.by": "gateway", "remove:querystring.token": ""}
    mapped = {"500": {"overwrite:statuscode": "403", "append:header.x-was": "$integration.status"}}
    one = gateway(config({
        "ANY /legacy/{proxy+}": {"integration": {"HTTP-Proxy": {"url": backend + "/app/{proxy}"}}},
        "ANY /items/{id}": {"integration": {"HTTP-Proxy": {"url": backend + "/i/{id}?fixed=1", "request_parameters": changes,
                                                           "x_forwarded": True, "method": "POST"}}},
        "GET /mapped/{proxy+}": {"integration": {"HTTP-Proxy": {"url": backend + "/{proxy}"}}, "response_parameters": mapped},
        "GET /late": {"integration": {"HTTP-Proxy": {"url": backend + "/slow"}}, "limits": {"timeout": "300ms"}},
        "GET /down": {"integration": {"HTTP-Proxy": {"url": f"http://127.0.0.1:{free_port()}/"}}},
        "GET /large": {"integration": {"HTTP-Proxy": {"url": backend + "/large", "max_answer": "1MiB"}}},
        "GET /stranger": {"integration": {"HTTP-Proxy": {"url": "http://${request.header.x-host}/app"}}},
    }, responses=request.param))
    one.dialect = request.param
    return one


def headers_of(heard):
    return {name: value for name, value in heard["headers"]}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_request_is_passed_on_as_it_came(proxy, method):
    body = b"\x00\xffbytes" if method not in ("GET", "OPTIONS") else None
    answer = proxy.request(method, "/legacy/a%2Fb/c%20d?q=1&q=%26&flag", body, {
        "authorization": "Bearer t", "x-own": "1", "connection": "x-hop", "x-hop": "1", "forwarded": "for=6.6.6.6"})
    assert answer.status == 200
    heard = answer.json()
    assert (heard["method"], heard["path"]) == (method, "/app/a%2Fb/c%20d?q=1&q=%26&flag")
    assert heard["body"].encode("latin-1") == (body or b"")
    headers = headers_of(heard)
    assert headers["authorization"] == "Bearer t" and headers["x-own"] == "1"
    assert "x-hop" not in headers and "6.6.6.6" not in headers["forwarded"]
    assert headers["forwarded"].startswith("for=127.0.0.1;host=") and headers["via"] == "1.1 penstock"
    assert "x-forwarded-for" not in headers


def test_the_request_mapping_changes_what_it_names(proxy):
    answer = proxy.request("GET", "/items/7?a=1&token=secret", headers={"x-secret": "s"})
    heard = answer.json()
    assert (heard["method"], heard["path"]) == ("POST", "/i/7?fixed=1&a=1&by=gateway")
    headers = headers_of(heard)
    assert headers["x-request"] == answer.headers["x-request-id"] and "x-secret" not in headers
    assert headers["x-forwarded-for"] == "127.0.0.1" and headers["x-forwarded-proto"] == "http"


def test_the_answer_is_the_backend_s_whatever_its_status(proxy):
    for status in (201, 404, 409, 503):
        answer = proxy.request("GET", f"/legacy/status/{status}")
        assert answer.status == status
        assert answer.json()["path"] == f"/app/status/{status}"


def test_the_answer_s_headers_and_status_are_mapped_by_the_backend_s_status(proxy):
    answer = proxy.request("GET", "/mapped/status/500")
    assert (answer.status, answer.headers["x-was"]) == (403, "500")
    assert proxy.request("GET", "/mapped/status/404").status == 404


def test_head_has_the_length_of_what_it_leaves_out(proxy):
    answer = proxy.request("HEAD", "/legacy/x")
    assert answer.status == 200 and answer.body == b""
    assert int(answer.headers["content-length"]) > 100


def test_a_path_cannot_leave_its_place(proxy):
    for path in ("/legacy/../admin", "/legacy/%2e%2e/admin", "/legacy/a/%2E%2E/%2e%2e/admin"):
        assert proxy.request("GET", path).status in (400, 404), path


def test_failures_on_the_way_have_their_statuses(proxy):
    native = {"/late": (504, "timeout"), "/down": (503, "target_unavailable"),
              "/large": (502, "target_setup"), "/legacy/gone": (502, "target_unavailable")}
    for path, (status, code) in native.items():
        answer = proxy.request("GET", path)
        if proxy.dialect == "native":
            assert (answer.status, answer.code) == (status, code), path
            assert "retry-after" in answer.headers
        else:
            assert answer.status in (500, 503), path


def test_a_host_out_of_the_request_may_not_be_a_private_address(proxy, backend):
    answer = proxy.request("GET", "/stranger", headers={"x-host": backend.removeprefix("http://")})
    assert answer.status >= 500
    assert b"127.0.0.1" not in answer.body, "the caller is not told where it pointed"
