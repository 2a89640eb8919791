"""HTTP-Proxy to backends over TLS: which certificates are taken, which name is asked for, and what callers and the log are
told of those that are refused. The backends are Python's own, with certificates of an authority of the test's own."""

import http.server
import ssl
import threading

import pytest

from support.certificates import DAY, NOW, Authority
from support.gateway import config
from support.processes import refusing_port


class Said(http.server.BaseHTTPRequestHandler):
    """Answers with the name that TLS asked for, and counts connections and requests."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.heard.append(self.rfile.read(int(self.headers.get("content-length", 0))))
        said = f"{self.server.asked[-1] if self.server.asked else None} {self.headers['host']}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST

    def log_message(self, *_):
        pass


class Backend(http.server.ThreadingHTTPServer):
    def __init__(self, pair, prepare=lambda _: None):
        super().__init__(("127.0.0.1", 0), Said)
        self.asked, self.heard = [], []
        if pair:
            terms = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            terms.load_cert_chain(str(pair.cert), str(pair.key))
            terms.sni_callback = lambda _, name, __: self.asked.append(name)
            prepare(terms)
            self.socket = terms.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # handshakes that fail are what is tested


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def backend():
    made = []

    def make(pair, prepare=lambda _: None):
        made.append(Backend(pair, prepare))
        return made[-1]
    yield make
    for each in made:
        each.shutdown()
        each.server_close()


def proxying(gateway, authority, server, host="localhost", scheme="https", **parameters):
    egress = {"egress": {"ca": str(authority.cert)}} if authority else {}
    target = {"HTTP-Proxy": {"url": f"{scheme}://{host}:{server.server_port}/in", **parameters}}
    return gateway(config({"POST /in": {"integration": target}}, **egress))


def refused(one, server, status=502, code="target_setup", *, why):
    """It says so, the backend has heard nothing, and the log says why."""
    answer = one.request("POST", "/in", b"secret body")
    problem = answer.json()
    assert (answer.status, problem["code"]) == (status, code), answer.body
    assert int(answer.headers["retry-after"]) > 0
    assert server.heard == []
    assert str(server.server_port) not in problem["detail"] and "localhost" not in problem["detail"], "addresses are for the log"
    error = one.log_line(answer.headers["x-request-id"])["error"]
    assert why.lower() in error.lower(), error


def test_an_authority_of_one_s_own_is_trusted_and_the_name_of_the_url_is_asked_for(gateway, authority, backend):
    server = backend(authority.server("localhost"))
    one = proxying(gateway, authority, server)
    answer = one.request("POST", "/in", b"1")
    assert answer.status == 200 and answer.body.decode() == f"localhost localhost:{server.server_port}"


def test_server_name_is_asked_for_and_verified_in_the_place_of_the_url_s_host(gateway, authority, backend):
    server = backend(authority.server("api.internal"))
    answer = proxying(gateway, authority, server, "127.0.0.1", server_name="api.internal").request("POST", "/in", b"1")
    assert answer.status == 200 and answer.body.decode() == f"api.internal 127.0.0.1:{server.server_port}"
    other = backend(authority.server("localhost"))
    refused(proxying(gateway, authority, other, server_name="api.internal"), other, why="TlsRefused")


def test_a_wildcard_covers_one_label(gateway, authority, backend):
    server = backend(authority.server("*.apps.internal"))
    assert proxying(gateway, authority, server, server_name="a.apps.internal").request("POST", "/in", b"1").status == 200
    other = backend(authority.server("*.apps.internal", stem="again"))
    refused(proxying(gateway, authority, other, server_name="a.b.apps.internal"), other, why="TlsRefused")


@pytest.mark.parametrize("wrong", ["another name", "expired", "not yet", "another authority", "self-signed", "no authority is named"])
def test_a_certificate_that_does_not_hold_is_refused_before_anything_is_sent(gateway, authority, backend, tmp_path, wrong):
    stranger = Authority(tmp_path / "stranger", "CN=Stranger")
    pair = {
        "another name": lambda: authority.server("elsewhere.internal"),
        "expired": lambda: authority.server("localhost", stem="old", start=NOW - 10 * DAY, end=NOW - DAY),
        "not yet": lambda: authority.server("localhost", stem="new", start=NOW + DAY, end=NOW + 2 * DAY),
        "another authority": lambda: stranger.server("localhost"),
        "self-signed": lambda: stranger,
        "no authority is named": lambda: authority.server("localhost", stem="good"),
    }[wrong]()
    server = backend(pair)
    one = proxying(gateway, None if wrong == "no authority is named" else authority, server)
    refused(one, server, why="certificate")


def test_a_backend_that_asks_for_a_client_s_certificate_is_refused_for_there_is_none(gateway, authority, backend):
    def asks(terms):
        terms.verify_mode = ssl.CERT_REQUIRED
        terms.load_verify_locations(str(authority.cert))
    server = backend(authority.server("localhost", stem="asking"), asks)
    one = proxying(gateway, authority, server)
    answer = one.request("POST", "/in", b"1")
    assert answer.status in (502, 503) and server.heard == [], answer.body
    assert "certificate" in one.log_line(answer.headers["x-request-id"])["error"].lower()


def test_old_versions_of_tls_are_not_spoken(gateway, authority, backend):
    def old(terms):
        terms.set_ciphers("DEFAULT:@SECLEVEL=0")
        terms.minimum_version, terms.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    server = backend(authority.server("localhost", stem="old-version"), old)
    one = proxying(gateway, authority, server)
    answer = one.request("POST", "/in", b"1")
    assert answer.status in (502, 503) and server.heard == [], answer.body


def test_tls_to_a_port_that_speaks_none_and_none_to_one_that_does(gateway, authority, backend):
    plain = backend(None)
    answer = proxying(gateway, authority, plain).request("POST", "/in", b"1")
    assert answer.status in (502, 503) and plain.heard == [], answer.body
    closed = backend(authority.server("localhost", stem="closed"))
    answer = proxying(gateway, authority, closed, scheme="http").request("POST", "/in", b"1")
    assert answer.status in (502, 503) and closed.heard == [], answer.body


def test_nobody_there_is_503(gateway, authority):
    class Nobody:
        server_port, heard = refusing_port(), []
    refused(proxying(gateway, authority, Nobody), Nobody, 503, "target_unavailable", why="ConnectFailed")


def test_a_connection_is_used_again_and_each_name_has_its_own(gateway, authority, backend):
    server = backend(authority.server("a.internal", "b.internal"))
    url = f"https://127.0.0.1:{server.server_port}/in"
    one = gateway(config({
        f"POST /{name}": {"integration": {"HTTP-Proxy": {"url": url, "server_name": f"{name}.internal"}}} for name in "ab"
    }, egress={"ca": str(authority.cert)}))
    for _ in range(3):
        for name in "ab":
            assert one.request("POST", f"/{name}", b"1").status == 200
    assert sorted(server.asked) == ["a.internal", "b.internal"], "one handshake for each name"
