"""TLS: versions, names, HTTP/2, new certificates under live connections, and what check says of files."""

import shutil
import socket
import ssl
import subprocess

import pytest

from support import http1
from support.certificates import DAY, NOW, Authority, connection, context, curl
from support.gateway import config, penstock, write_config
from support.processes import eventually

ROUTES = {
    "GET /who": {"integration": {"Mock": {"body": "in"}}},
    "POST /store": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$request.body"}}},
}
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not there")
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not there")


def tls(pair, **more):
    return {"cert": str(pair.cert), "key": str(pair.key), **more}


def document(tls_part, **sections):
    return config(ROUTES, queues={"q": {}}, listeners={"public": {"bind": "127.0.0.1:0", "tls": tls_part}}, **sections)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(shared_gateway, authority):
    pairs = [authority.server(name) for name in ("a.example", "*.shop.example", "pay.shop.example")]
    listed = [{"cert": str(pair.cert), "key": str(pair.key)} for pair in pairs]
    return shared_gateway(document({"certificates": listed}))


def failures(gateway, reason):
    return gateway.metrics().value("penstock_tls_handshake_failures_total", listener="public", reason=reason)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_spoken(server, authority, version):
    with_version = connection(server.address, context(authority, version=version))
    assert http1.exchange(with_version, "GET", "/who").status == 200
    with_version.close()


@needs_openssl
@pytest.mark.parametrize("flag", ["-tls1", "-tls1_1"])
def test_older_versions_are_not(server, flag):
    before = failures(server, "incompatible")
    host, port = server.address
    ran = subprocess.run(
        ["openssl", "s_client", "-connect", f"{host}:{port}", flag, "-cipher", "ALL:@SECLEVEL=0"],
        input="", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
    assert ran.returncode != 0, ran.stdout
    eventually(lambda: failures(server, "incompatible") == before + 1, 5, "the handshake's failure")


@needs_openssl
def test_the_oldest_version_can_be_chosen(gateway, authority):
    one = gateway(document(tls(authority.server("a.example"), min_version="1.3")))
    host, port = one.address
    for flag, spoken in (("-tls1_2", False), ("-tls1_3", True)):
        ran = subprocess.run(
            ["openssl", "s_client", "-connect", f"{host}:{port}", flag],
            input="", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
        assert (ran.returncode == 0) is spoken, ran.stdout


@needs_curl
@pytest.mark.parametrize("name, good", [
    ("a.example", True), ("x.shop.example", True), ("pay.shop.example", True), ("PAY.SHOP.EXAMPLE", True),
    ("stranger.example", False), ("x.y.shop.example", False),
])
def test_the_certificate_is_chosen_by_name(server, authority, name, good):
    port = server.address[1]
    code, body, status = curl(
        "--cacert", authority.cert, "--resolve", f"{name}:{port}:127.0.0.1", f"https://{name}:{port}/who")
    if good:
        assert (code, body, status) == (0, "in", "200 2"), (code, body, status)
    else:
        assert code == 60, "the default certificate does not fit, and curl says so"


@needs_curl
@pytest.mark.parametrize("flag, version", [("--http2", "2"), ("--http1.1", "1.1")])
def test_http_2_is_agreed_on_by_alpn(server, authority, flag, version):
    port = server.address[1]
    code, body, status = curl(
        flag, "--cacert", authority.cert, "--resolve", f"a.example:{port}:127.0.0.1", "-d", "hello", f"https://a.example:{port}/store")
    assert (code, status) == (0, f"202 {version}"), (code, body, status)


def test_alpn_names_what_is_spoken(server, authority):
    for wanted, agreed in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (None, None)):
        plain = socket.create_connection(server.address, timeout=10)
        with context(authority, alpn=wanted).wrap_socket(plain, server_hostname="a.example") as spoken:
            assert spoken.selected_alpn_protocol() == agreed


def test_plain_http_gets_a_clear_400(server):
    before = failures(server, "plain_http")
    answer = server.request("GET", "/who")
    assert (answer.status, answer.code) == (400, "malformed")
    assert "https://" in answer.json()["detail"]
    line = server.log_line(answer.json()["requestId"])
    assert (line["phase"], line["status"], line["outcome"]) == ("listen", 400, "rejected")
    assert failures(server, "plain_http") == before + 1


def test_a_slow_handshake_is_ended_and_counted_and_is_no_request(gateway, authority):
    one = gateway(document(tls(authority.server("a.example")), limits={"header_timeout": "300ms"}))
    with one.raw() as silent, one.raw() as slow:
        slow.send(b"\x16\x03\x01\x02\x00\x01\x00")
        assert silent.read_response() is None and slow.read_response() is None
    eventually(lambda: failures(one, "timeout") == 2, 5, "the failures")
    assert one.metrics().value("penstock_requests_received_total") == 0
    assert one.access_log() == []


def test_new_certificates_are_taken_over_while_a_connection_goes_on(gateway, authority, tmp_path):
    live = tmp_path / "live"
    folders = []
    for index in range(3):
        folder = tmp_path / f"v{index}"
        folder.mkdir()
        folders.append(folder)

    def swap(folder):
        # as Kubernetes does it: a link that is replaced as a whole
        fresh = tmp_path / "fresh"
        fresh.symlink_to(folder)
        fresh.rename(live)

    old, new = authority.server("a.example", stem="old"), authority.server("a.example", stem="new", end=NOW + 7 * DAY)
    old.write(folders[0] / "tls.crt", folders[0] / "tls.key")
    new.write(folders[1] / "tls.crt", folders[1] / "tls.key")
    new.write(folders[2] / "tls.crt", folders[2] / "tls.key")
    (folders[2] / "tls.key").write_bytes(old.key.read_bytes())
    swap(folders[0])
    one = gateway(document({"cert": str(live / "tls.crt"), "key": str(live / "tls.key")}))
    kept = connection(one.address, context(authority))
    assert http1.exchange(kept, "GET", "/who").status == 200

    def shown():
        plain = socket.create_connection(one.address, timeout=10)
        with context(authority).wrap_socket(plain, server_hostname="a.example") as fresh:
            return fresh.getpeercert(binary_form=True)

    def not_after():
        return one.metrics().value(
            "penstock_tls_certificate_not_after_seconds", listener="public", file=str(live / "tls.crt"))

    assert shown() == old.der
    assert not_after() == old.certificate.not_valid_after_utc.timestamp()
    swap(folders[2])
    eventually(
        lambda: one.metrics().value("penstock_tls_reload_failures_total", listener="public") == 1, 10, "the refused key")
    assert shown() == old.der
    assert "this is not the key of the certificate" in one.logs()
    assert "PRIVATE" not in one.logs()
    swap(folders[1])
    eventually(lambda: shown() == new.der, 10, "the new certificate")
    assert not_after() == new.certificate.not_valid_after_utc.timestamp()
    assert http1.exchange(kept, "GET", "/who").status == 200
    assert kept.sock.getpeercert(binary_form=True) == old.der
    kept.close()


def test_requests_over_tls_are_stored_and_survive_a_drain(gateway, authority):
    one = gateway(document(tls(authority.server("a.example"))))
    kept = connection(one.address, context(authority))
    for index in range(5):
        assert http1.exchange(kept, "POST", "/store", f"m{index}").status == 202
    large = http1.exchange(kept, "POST", "/store", b"x" * 900_000)
    assert large.status == 202
    kept.close()
    assert one.depth("queue") == 6
    assert one.stop() == 0


def check(folder, tls_part):
    write_config(folder, document(tls_part))
    ran = penstock("check", "gateway.yaml", cwd=folder)
    return ran.returncode, ran.stdout


def test_check_says_what_is_wrong_with_files(authority, tmp_path):
    good, other = authority.server("a.example"), authority.server("b.example")
    expired = authority.server("old.example", start=NOW - 60 * DAY, end=NOW - DAY)
    future = authority.server("new.example", start=NOW + 10 * DAY)
    garbage, empty = tmp_path / "garbage.pem", tmp_path / "empty.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n")
    empty.write_text("")
    der = tmp_path / "der.pem"
    der.write_text("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n")
    assert check(tmp_path, tls(good))[0] == 0
    for part, where, said in [
        (tls(good, cert="none.pem"), "tls.cert", "cannot be read: No such file"),
        (tls(good, key=str(other.key)), "tls.key", "this is not the key of the certificate"),
        (tls(good, key=str(good.cert)), "tls.key", "holds no private key"),
        (tls(good, cert=str(good.key)), "tls.cert", "holds no certificate"),
        (tls(good, cert=str(garbage)), "tls.cert", "its PEM is damaged"),
        (tls(good, cert=str(der)), "tls.cert", "cannot be read"),
        (tls(good, cert=str(tmp_path)), "tls.cert", "is a directory"),
        (tls(good, client_ca=str(empty)), "tls.client_ca", "holds no certificate"),
        (tls(good, client_ca=str(authority.cert), crl=[str(good.cert)]), "tls.crl[0]", "revocation list"),
        ({"certificates": [{"cert": str(good.cert), "key": str(other.key)}]}, "tls.certificates[0].key", "not the key"),
    ]:
        code, printed = check(tmp_path, part)
        errors = [line for line in printed.splitlines() if "error: " in line]
        assert code == 1 and len(errors) == 1, printed
        assert f"listeners.public.{where}:" in errors[0] and said in errors[0], errors[0]
    for pair, said in ((expired, "has expired"), (future, "is not valid yet")):
        code, printed = check(tmp_path, tls(pair))
        assert code == 0 and "warning: listeners.public.tls.cert" in printed and said in printed, printed


@needs_openssl
def test_an_encrypted_key_is_named_as_such(authority, tmp_path):
    good = authority.server("a.example")
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", str(good.key), "-out", str(locked), "-passout", "pass:x"], check=True)
    code, printed = check(tmp_path, tls(good, key=str(locked)))
    assert code == 1 and "the key is encrypted" in printed, printed


def test_a_file_that_goes_after_the_check_ends_the_start(authority, tmp_path):
    good = authority.server("a.example")
    write_config(tmp_path, document(tls(good, cert="gone.pem")))
    ran = penstock("serve", "gateway.yaml", cwd=tmp_path)
    assert ran.returncode == 1 and "gone.pem" in ran.stderr


def test_a_session_is_taken_up_again(server, authority):
    wanted = context(authority, version=ssl.TLSVersion.TLSv1_3)
    plain = socket.create_connection(server.address, timeout=10)
    with wanted.wrap_socket(plain, server_hostname="a.example") as first:
        first.sendall(b"GET /who HTTP/1.1\r\nhost: a\r\n\r\n")
        assert first.recv(65536).startswith(b"HTTP/1.1 200")
        session = first.session
    plain = socket.create_connection(server.address, timeout=10)
    with wanted.wrap_socket(plain, server_hostname="a.example", session=session) as again:
        assert again.session_reused
        again.sendall(b"GET /who HTTP/1.1\r\nhost: a\r\n\r\n")
        assert again.recv(65536).startswith(b"HTTP/1.1 200")


def test_heads_over_tls_have_the_limits_of_all_heads(gateway, authority):
    one = gateway(document(tls(authority.server("a.example")), limits={"header_timeout": "400ms", "headers": "1KiB"}))

    def answer(data):
        plain = socket.create_connection(one.address, timeout=10)
        with context(authority).wrap_socket(plain, server_hostname="a.example") as spoken:
            spoken.sendall(data)
            received = b""
            while chunk := spoken.recv(65536):
                received += chunk
            return received

    assert answer(b"GET /who HTTP/1.1\r\nhost").startswith(b"HTTP/1.1 408 ")
    assert answer(b"GET /who HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: " + b"x" * 2000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")
    assert answer(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert {line["code"] for line in one.access_log(3)} == {"timeout", "headers_too_large", "malformed"}


def test_a_client_that_breaks_off_is_gone_and_stores_nothing(gateway, authority):
    one = gateway(document(tls(authority.server("a.example"))))
    plain = socket.create_connection(one.address, timeout=10)
    spoken = context(authority).wrap_socket(plain, server_hostname="a.example")
    spoken.sendall(b"POST /store HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
    spoken.close()  # no close_notify, as of a client that dies
    eventually(lambda: one.metrics().value("penstock_requests_total", outcome="gone") == 1, 10, "the vanished client")
    assert one.depth("queue") == 0


def test_a_drain_waits_for_no_handshake_that_has_not_begun(gateway, authority):
    one = gateway(document(tls(authority.server("a.example")), limits={"drain": "20s", "header_timeout": "20s"}))
    with one.raw(), one.raw():
        eventually(lambda: one.metrics().value("penstock_connections_open", listener="public") == 2, 5, "the connections")
        assert one.stop(grace=10) == 0
