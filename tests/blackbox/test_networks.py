"""Private networks: listeners with routes of their own, lists of addresses, proxies and who believes them, Unix sockets."""

import contextlib
import json
import shutil
import socket
import stat
import struct

import pytest

from support import http1
from support.certificates import Authority, curl
from support.gateway import config, penstock, write_config
from support.processes import eventually

MOCK = {"Mock": {"body": "in"}}
WHO = {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$context.identity.sourceIp"}}
CLIENT, PROXY, OTHER = "203.0.113.9", "10.0.0.7", "198.51.100.1"


def v1(source, port=4711):
    return f"PROXY TCP4 {source} 192.0.2.1 {port} 443\r\n".encode()


def v2(source, fields=b"", command=1, family=0x11):
    ends = socket.inet_aton(source) + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 4711, 443)
    body = ends + fields
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


def field(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def get(path="/in", **headers):
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n".encode()


def send(address, data):
    """The answer to raw bytes, or None where the connection is closed without one."""
    with http1.Raw(address) as raw:
        raw.send(data)
        return raw.read_response()


def log_of(gateway, answer):
    return gateway.log_line(answer.headers["x-request-id"])


# ---- listeners with routes of their own ----

@pytest.fixture(scope="module")
def two(shared_gateway):
    routes = {
        "GET /both": {"integration": MOCK},
        "GET /orders": {"integration": {"Mock": {"body": "public"}}, "listeners": ["public"]},
        "POST /orders": {"integration": {"Mock": {"body": "private"}}, "listeners": ["private"]},
        "GET /admin/{id}": {"integration": {"Mock": {"body": "private"}}, "listeners": ["private"]},
        "GET /admin/{other}": {"integration": {"Mock": {"body": "public"}}, "listeners": ["public"]},
        "OPTIONS /options": {"integration": {"Mock": {"body": "literal"}}, "listeners": ["private"]},
    }
    return shared_gateway(config(
        routes, listeners={"public": {"bind": "127.0.0.1:0"}, "private": {"bind": "127.0.0.1:0"}},
        cors={"allow_origins": ["https://a.example"], "allow_methods": ["GET"]}))


@pytest.mark.parametrize("listener, method, path, status, body, allow", [
    ("public", "GET", "/both", 200, "in", None),
    ("private", "GET", "/both", 200, "in", None),
    ("public", "GET", "/orders", 200, "public", None),
    ("private", "GET", "/orders", 405, None, "POST"),
    ("private", "POST", "/orders", 200, "private", None),
    ("public", "POST", "/orders", 405, None, "GET"),
    ("public", "GET", "/admin/1", 200, "public", None),
    ("private", "GET", "/admin/1", 200, "private", None),
    ("public", "OPTIONS", "/options", 404, None, None),
    ("private", "OPTIONS", "/options", 200, "literal", None),
])
def test_a_route_is_there_on_its_listeners_alone(two, listener, method, path, status, body, allow):
    answer = http1.request(two.listeners[listener], method, path)
    assert answer.status == status
    if body:
        assert answer.body.decode() == body
    assert answer.headers.get("allow") == allow
    assert log_of(two, answer)["listener"] == listener


def test_a_preflight_is_answered_from_the_routes_of_its_listener(two):
    wanted = {"origin": "https://a.example", "access-control-request-method": "GET"}
    assert http1.request(two.listeners["public"], "OPTIONS", "/options", headers=wanted).status == 204
    assert http1.request(two.listeners["private"], "OPTIONS", "/options", headers=wanted).status == 200


def test_explain_follows_the_listener(two):
    def explain(*arguments):
        ran = penstock("explain", "--json", two.config, *arguments)
        return json.loads(ran.stdout) if ran.stdout else ran
    assert explain("GET", "/orders")["route"] == "GET /orders"
    assert explain("POST", "/orders")["route"] == "POST /orders"
    assert explain("--listener", "private", "GET", "/orders")["code"] == "method_not_allowed"
    assert explain("--listener", "nobody", "GET", "/orders").returncode == 2


# ---- lists of addresses ----

@pytest.fixture(scope="module")
def guarded(shared_gateway):
    routes = {
        "GET /in": {"integration": MOCK},
        "POST /in": {"integration": WHO},
        "GET /ten": {"integration": MOCK, "allow": ["10.0.0.0/8"], "authorizer": "api_key"},
        "GET /not-six": {"integration": MOCK, "deny": ["10.6.0.0/16", "2001:db8::/32"]},
    }
    return shared_gateway(config(
        routes, queues={"q": {}},
        api_keys={"k": {"hash": "sha256:" + "0" * 64}},
        listeners={
            "public": {"bind": "127.0.0.1:0", "proxy_protocol": "v2", "deny": [OTHER]},
            "private": {"bind": "127.0.0.1:0", "proxy_protocol": "v2", "allow": ["10.0.0.0/8"]},
        }))


@pytest.mark.parametrize("listener, source, path, status, phase", [
    ("public", CLIENT, "/in", 200, None),
    ("public", OTHER, "/in", 403, "admit"),
    ("private", "10.1.1.1", "/in", 200, None),
    ("private", CLIENT, "/in", 403, "admit"),
    ("private", CLIENT, "/nowhere", 403, "admit"),
    ("public", CLIENT, "/ten", 403, "authorize"),
    ("public", "10.1.1.1", "/ten", 403, "authenticate"),
    ("public", "10.6.1.1", "/not-six", 403, "authorize"),
    ("public", "10.7.1.1", "/not-six", 200, None),
])
def test_addresses_are_let_in_by_listener_and_by_route(guarded, listener, source, path, status, phase):
    answer = send(guarded.listeners[listener], v2(source) + get(path))
    assert answer.status == status
    line = log_of(guarded, answer)
    assert line["sourceIp"] == source and line.get("phase") == phase
    if phase in ("admit", "authorize"):
        assert answer.code == "forbidden"
        assert answer.json()["detail"] == "Requests from this address are not allowed here."
        assert source in line["error"]


def test_a_refused_address_has_no_byte_of_its_body_read(guarded):
    head = b"POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n"
    answer = send(guarded.listeners["public"], v2(OTHER) + head)
    assert answer.status == 403
    assert log_of(guarded, answer)["requestLength"] == 0


def test_an_ipv4_address_in_ipv6_clothes_is_itself(guarded):
    ends = socket.inet_pton(socket.AF_INET6, f"::ffff:{OTHER}") + socket.inet_pton(socket.AF_INET6, "::1") + struct.pack("!HH", 1, 2)
    header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21" + struct.pack("!H", len(ends)) + ends
    assert send(guarded.listeners["public"], header + get()).status == 403


# ---- the PROXY protocol ----

def proxied(gateway_of, mode, **more):
    routes = {
        "GET /in": {"integration": MOCK},
        "POST /vpce": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "${context.identity.vpceId:-none}"}}},
    }
    return gateway_of(config(routes, queues={"q": {}}, listeners={"public": {"bind": "127.0.0.1:0", "proxy_protocol": mode, **more}}))


def failures(gateway, reason):
    return gateway.metrics().value("penstock_proxy_header_failures_total", listener="public", reason=reason)


@pytest.mark.parametrize("mode, header, source", [
    ("v1", v1(CLIENT), CLIENT),
    ("v1", b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n", "2001:db8::9"),
    ("v1", b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ("v2", v2(CLIENT), CLIENT),
    ("v2", v2(CLIENT, command=0), "127.0.0.1"),
    ("v2", v2(CLIENT, family=0), "127.0.0.1"),
    ("auto", v1(CLIENT), CLIENT),
    ("auto", v2(CLIENT), CLIENT),
    ("auto", b"", "127.0.0.1"),
])
def test_the_source_is_what_the_header_says(gateway, mode, header, source):
    one = proxied(gateway, mode)
    answer = send(one.address, header + get())
    assert answer.status == 200 and log_of(one, answer)["sourceIp"] == source


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not there")
def test_curl_speaks_it_over_tls_too(gateway, tmp_path):
    authority = Authority(tmp_path / "ca")
    pair = authority.server("a.example")
    one = proxied(gateway, "v1", tls={"cert": str(pair.cert), "key": str(pair.key)})
    port = one.address[1]
    code, _, status = curl(
        "--haproxy-protocol", "--cacert", authority.cert, "--resolve", f"a.example:{port}:127.0.0.1", f"https://a.example:{port}/in")
    assert (code, status) == (0, "200 2")
    assert one.access_log(1)[0]["sourceIp"] == "127.0.0.1"


def test_what_is_not_a_header_closes_the_connection_and_is_counted(gateway):
    one = proxied(gateway, "v2")
    good = v2(CLIENT, field(3, b"\0" * 4))
    summed = v2(CLIENT, field(3, struct.pack("!I", crc32c(good))))
    assert send(one.address, summed + get()).status == 200
    for data, reason in [
        (get(), "missing"),
        (v1(CLIENT) + get(), "missing"),
        (v2(CLIENT, family=0x12) + get(), "malformed"),
        (v2(CLIENT)[:-1], "malformed"),
        (v2(CLIENT, field(3, b"\0" * 4)) + get(), "checksum"),
    ]:
        before = failures(one, reason)
        with one.raw() as raw:
            raw.send(data)
            with contextlib.suppress(OSError):  # it is closed already
                raw.socket.shutdown(socket.SHUT_WR)
            assert raw.read_response() is None
        eventually(lambda: failures(one, reason) == before + 1, 5, reason)
    # a port that is only tried, as health checks do
    total = sum(failures(one, reason) for reason in ("missing", "malformed", "checksum", "timeout"))
    one.raw().socket.close()
    assert send(one.address, v2(CLIENT) + get()).status == 200
    assert sum(failures(one, reason) for reason in ("missing", "malformed", "checksum", "timeout")) == total
    assert one.metrics().value("penstock_requests_received_total") == 2


def test_strangers_may_not_say_where_they_come_from(gateway):
    strict = proxied(gateway, "v1", trusted_proxies=["10.0.0.0/8"])
    assert send(strict.address, v1(CLIENT) + get()) is None
    eventually(lambda: failures(strict, "untrusted") == 1, 5, "the count")
    open_ = proxied(gateway, "auto", trusted_proxies=["10.0.0.0/8"])
    assert send(open_.address, v1(CLIENT) + get()).status == 400
    answer = send(open_.address, get())
    assert answer.status == 200 and log_of(open_, answer)["sourceIp"] == "127.0.0.1"


def test_the_vpc_endpoint_is_known_to_mappings_and_logs(gateway):
    one = proxied(gateway, "v2")
    header = v2(CLIENT, field(4, b"\0" * 9) + field(0xEA, b"\x01vpce-08d2bf15fac5001c9"))
    answer = send(one.address, header + b"POST /vpce HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    assert answer.status == 202
    assert log_of(one, answer)["vpceId"] == "vpce-08d2bf15fac5001c9"
    assert one.peek("q")[0]["body"] == "vpce-08d2bf15fac5001c9"


# ---- proxies that are believed ----

@pytest.fixture(scope="module")
def behind(shared_gateway):
    routes = {"GET /in": {"integration": MOCK}, "POST /in": {"integration": WHO}}
    trusted = {"proxy_protocol": "auto", "trusted_proxies": ["10.0.0.0/8", "127.0.0.1"]}
    return shared_gateway(config(routes, queues={"q": {}}, listeners={
        "trusting": {"bind": "127.0.0.1:0", **trusted},
        "forwarded": {"bind": "127.0.0.1:0", **trusted, "forwarding_header": "forwarded"},
        "plain": {"bind": "127.0.0.1:0"},
    }))


@pytest.mark.parametrize("listener, headers, source", [
    ("trusting", {}, "127.0.0.1"),
    ("trusting", {"x_forwarded_for": CLIENT}, CLIENT),
    ("trusting", {"x_forwarded_for": f"1.1.1.1, {CLIENT}"}, CLIENT),
    ("trusting", {"x_forwarded_for": f"1.1.1.1, {CLIENT}, 10.0.0.2"}, CLIENT),
    ("trusting", {"x_forwarded_for": f"1.1.1.1, {CLIENT}\r\nx-forwarded-for: 10.0.0.2"}, CLIENT),
    ("trusting", {"x_forwarded_for": "10.0.0.3, 10.0.0.2"}, "10.0.0.3"),
    ("trusting", {"x_forwarded_for": f"{CLIENT}, unknown, 10.0.0.2"}, "10.0.0.2"),
    ("trusting", {"x_forwarded_for": f"{CLIENT}, garbage"}, "127.0.0.1"),
    ("trusting", {"x_forwarded_for": "[2001:db8::9]:80"}, "2001:db8::9"),
    ("trusting", {"x_forwarded_for": f"::ffff:{CLIENT}"}, CLIENT),
    ("trusting", {"forwarded": f"for={CLIENT};proto=https"}, CLIENT),
    ("trusting", {"forwarded": 'for="[2001:db8::9]:80"'}, "2001:db8::9"),
    ("trusting", {"forwarded": f'for="1.1.1.1, for={CLIENT}'}, CLIENT),
    ("trusting", {"forwarded": "for=_hidden"}, "127.0.0.1"),
    ("trusting", {"forwarded": f"for={OTHER}", "x_forwarded_for": CLIENT}, "127.0.0.1"),
    ("forwarded", {"forwarded": f"for={OTHER}", "x_forwarded_for": CLIENT}, OTHER),
    ("forwarded", {"x_forwarded_for": CLIENT}, "127.0.0.1"),
    ("plain", {"x_forwarded_for": CLIENT, "forwarded": f"for={CLIENT}"}, "127.0.0.1"),
])
def test_the_rightmost_address_that_is_not_trusted_is_the_client(behind, listener, headers, source):
    answer = send(behind.listeners[listener], get(**headers))
    assert answer.status == 200 and log_of(behind, answer)["sourceIp"] == source


def test_a_client_behind_a_plain_load_balancer_cannot_choose_its_address(behind):
    spoofed = get(x_forwarded_for=OTHER, forwarded=f"for={OTHER}", x_request_id="mine")
    answer = send(behind.listeners["trusting"], v1(CLIENT) + spoofed)
    line = log_of(behind, answer)
    assert line["sourceIp"] == CLIENT and "clientRequestId" not in line
    passed = send(behind.listeners["trusting"], v1(PROXY) + spoofed)
    line = log_of(behind, passed)
    assert line["sourceIp"] == OTHER and line["clientRequestId"] == "mine"
    assert line["requestId"] != "mine"


# ---- Unix sockets ----

class Unix(http1.Raw):
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(15)
        self.socket.connect(str(path))
        self.buffer = b""


def test_whom_a_route_bars_is_not_told_of_its_trailing_slash(gateway):
    one = gateway(config({
        "GET /open": {"integration": MOCK},
        "GET /barred": {"integration": MOCK, "allow": ["10.0.0.0/8"]},
    }, trailing_slash="redirect"))
    assert one.request("GET", "/open/").status == 308
    answer = one.request("GET", "/barred/")
    assert answer.status == 403 and answer.code == "forbidden" and "location" not in answer.headers
    assert one.request("GET", "/barred").status == 403


def test_a_unix_socket_serves_and_is_removed_at_the_end(gateway, tmp_path):
    path = tmp_path / "s"
    document = config(
        {"GET /in": {"integration": MOCK, "allow": ["127.0.0.1"]}},
        listeners={"local": {"bind": f"unix:{path}", "mode": "0600"}})
    one = gateway(document, listeners=0)
    eventually(lambda: f"listening on unix:{path} (local)" in one.logs(), 5, "the banner")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Unix(path) as raw:
        raw.send(get())
        answer = raw.read_response()
    assert answer.status == 200 and log_of(one, answer)["sourceIp"] == "unix"
    # another gateway does not take it away
    ran = penstock("serve", write_config(tmp_path, {**document, "store": {"path": "./other"}}), cwd=tmp_path)
    assert ran.returncode == 3 and "another process listens there" in ran.stderr
    assert path.exists()
    assert one.stop() == 0
    assert not path.exists()


def test_a_socket_left_by_a_killed_gateway_is_replaced(gateway, tmp_path):
    path = tmp_path / "s"
    one = gateway(config({"GET /in": {"integration": MOCK}}, listeners={"local": {"bind": f"unix:{path}"}}), listeners=0)
    eventually(path.exists, 5, "the socket")
    one.kill()
    assert path.exists()
    one.start(listeners=0)
    with Unix(path) as raw:
        raw.send(get())
        assert raw.read_response().status == 200


# ---- check ----

@pytest.mark.parametrize("listener, said", [
    ({"bind": "0.0.0.0:8080", "proxy_protocol": "auto"}, "can be reached by strangers"),
    ({"bind": "0.0.0.0:8080", "proxy_protocol": "auto", "trusted_proxies": ["203.0.113.0/24"]}, "can be reached by strangers"),
    ({"bind": "0.0.0.0:8080", "proxy_protocol": "auto", "allow": ["10.0.0.0/8"]}, "can be reached by strangers"),
    ({"bind": "0.0.0.0:8080", "proxy_protocol": "auto", "trusted_proxies": ["10.0.0.0/8"]}, None),
    ({"bind": "10.0.0.5:8080", "proxy_protocol": "auto"}, None),
    ({"bind": "0.0.0.0:8080", "proxy_protocol": "v2"}, "warning"),
    ({"bind": "0.0.0.0:8080", "proxy_protocol": "v2", "trusted_proxies": ["203.0.113.0/24"]}, None),
    ({"bind": "127.0.0.1:8080", "proxy_protocol": False}, None),
])
def test_check_knows_where_a_header_would_be_anybody_s(tmp_path, listener, said):
    route = {"GET /in": {"integration": MOCK, "authorizer": "none"}}
    write_config(tmp_path, config(route, listeners={"public": listener}))
    ran = penstock("check", "gateway.yaml", cwd=tmp_path)
    assert ran.returncode == (1 if said and said != "warning" else 0), ran.stdout
    if said:
        assert "listeners.public.proxy_protocol: " in ran.stdout and said in ran.stdout
    else:
        assert "0 errors, 0 warnings" in ran.stdout, ran.stdout
