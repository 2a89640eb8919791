"""Client certificates: who is let in by the handshake, who by the authorizer, and what of them mappings and logs show."""

import datetime
import shutil
import socket
import ssl
import subprocess

import pytest

from support import http1
from support.certificates import DAY, NOW, Authority, connection, context, curl
from support.gateway import config, penstock, write_config
from support.processes import eventually

FIELDS = {
    "subjectDN": "$context.identity.clientCert.subjectDN",
    "issuerDN": "$context.identity.clientCert.issuerDN",
    "serialNumber": "$context.identity.clientCert.serialNumber",
    "notBefore": "$context.identity.clientCert.validity.notBefore",
    "notAfter": "$context.identity.clientCert.validity.notAfter",
    "sans": "${context.identity.clientCert.sans:-none}",
    "principal": "${context.authorizer.principalId:-none}",
}
SHOW = {"SQS-SendMessage": {
    "QueueUrl": "queue:q", "MessageBody": "$context.identity.clientCert.clientCertPem", "MessageAttributes": FIELDS}}
MOCK = {"Mock": {"body": "in"}}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "C=US,O=Acme,CN=Partners CA")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"))


def tls(authority, **more):
    pair = authority.server("a.example")
    return {"cert": str(pair.cert), "key": str(pair.key), "client_ca": str(authority.cert), **more}


def document(tls_part, routes, **sections):
    return config(routes, queues={"q": {}}, listeners={"public": {"bind": "127.0.0.1:0", "tls": tls_part}}, **sections)


def ask(gateway, wanted, path="/in", method="GET", body=None):
    """The answer, or None where the connection was ended."""
    one = connection(gateway.address, wanted)
    try:
        return http1.exchange(one, method, path, body)
    except (ssl.SSLError, ConnectionError, OSError):
        return None
    finally:
        one.close()


def failures(gateway, reason):
    return gateway.metrics().value("penstock_tls_handshake_failures_total", listener="public", reason=reason)


@pytest.fixture(scope="module")
def required(shared_gateway, authority):
    return shared_gateway(document(tls(authority), {"GET /in": {"integration": MOCK}}))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_good_certificate_is_let_in_and_others_are_not(required, authority, stranger, version):
    good = authority.client("good")
    assert ask(required, context(authority, good, version=version)).status == 200
    received = required.metrics().value("penstock_requests_received_total")
    for pair, reason in [
        (None, "certificate_missing"),
        (authority.client("expired", start=NOW - 60 * DAY, end=NOW - DAY), "certificate_expired"),
        (authority.client("future", start=NOW + DAY), "certificate_invalid"),
        (stranger.client("stranger"), "certificate_untrusted"),
        (authority.server("for-servers"), "certificate_invalid"),
    ]:
        before = failures(required, reason)
        assert ask(required, context(authority, pair, version=version)) is None, reason
        eventually(lambda: failures(required, reason) == before + 1, 5, reason)
    assert required.metrics().value("penstock_requests_received_total") == received


def test_weak_certificates_are_refused(required, authority, tmp_path):
    weak = authority.client("weak", rsa_bits=1024)
    wanted = context(authority)
    wanted.set_ciphers("ALL:@SECLEVEL=0")
    wanted.load_cert_chain(str(weak.cert), str(weak.key))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        wanted.minimum_version = wanted.maximum_version = version
        before = failures(required, "certificate_invalid")
        assert ask(required, wanted) is None
        eventually(lambda: failures(required, "certificate_invalid") == before + 1, 5, "the refusal")
    strong = authority.client("strong", rsa_bits=2048)
    assert ask(required, context(authority, strong)).status == 200


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not there")
def test_certificates_signed_with_sha_1_are_refused(required, authority, tmp_path):
    key, request, cert = tmp_path / "sha1.key", tmp_path / "sha1.csr", tmp_path / "sha1.pem"
    subprocess.run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=sha1"],
                   check=True, stderr=subprocess.DEVNULL)
    signing = ["openssl", "x509", "-req", "-in", request, "-CA", authority.cert, "-CAkey", authority.key, "-days", "2",
               "-set_serial", "77", "-out", cert]
    subprocess.run([*signing, "-sha1"], check=True, stderr=subprocess.DEVNULL)
    wanted = context(authority)
    wanted.set_ciphers("ALL:@SECLEVEL=0")
    wanted.load_cert_chain(str(cert), str(key))
    before = failures(required, "certificate_invalid")
    assert ask(required, wanted) is None
    eventually(lambda: failures(required, "certificate_invalid") == before + 1, 5, "the refusal")


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not there")
def test_curl_shows_its_certificate(required, authority):
    good, port = authority.client("curl"), required.address[1]
    base = ["--cacert", authority.cert, "--resolve", f"a.example:{port}:127.0.0.1", f"https://a.example:{port}/in"]
    assert curl("--cert", good.cert, "--key", good.key, *base)[::2] == (0, "200 2")
    assert curl(*base)[0] != 0


def test_mappings_and_logs_show_the_certificate_as_the_vendor_does(gateway, authority):
    one = gateway(document(
        tls(authority, client_auth="optional"),
        {"POST /in": {"integration": SHOW, "authorizer": "partners"},
         "GET /out": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:q", "MessageAttributeNames": ["All"]}}}},
        authorizers={"partners": {"mtls": {}}},
        access_log={"format": "$context.identity.clientCert.serialNumber $context.identity.clientCert.subjectDN $context.status"}))
    pair = authority.client(
        "shown", "C=US,O=Acme,CN=client", serial=0xA10FA1, dns=["client.example"], uris=["spiffe://acme/client"])
    wanted = context(authority, pair)
    assert ask(one, wanted, method="POST").status == 202
    message = ask(one, wanted, "/out").json()["Messages"][0]
    assert message["Body"].strip() == pair.pem.strip()
    seen = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    moment = pair.certificate.not_valid_before_utc
    assert seen == {
        "subjectDN": "C=US,O=Acme,CN=client",
        "issuerDN": "C=US,O=Acme,CN=Partners CA",
        "serialNumber": "a1:0f:a1",
        "notBefore": f"{moment:%b} {moment.day:>2} {moment:%H:%M:%S %Y} GMT",
        "notAfter": "{0:%b} {0.day:>2} {0:%H:%M:%S %Y} GMT".format(pair.certificate.not_valid_after_utc),
        "sans": "DNS:client.example,URI:spiffe://acme/client",
        "principal": "C=US,O=Acme,CN=client",
    }
    # nobody's certificate: the authorizer says so, a mapping has no value
    refused = ask(one, context(authority), method="POST")
    assert (refused.status, refused.code) == (403, "forbidden")
    assert refused.json()["detail"] == "This route needs a client certificate."
    lines = eventually(lambda: (lines := one.stdout_path.read_text().splitlines()) and len(lines) >= 3 and lines, 5, "the log")
    assert lines[0] == "a1:0f:a1 C=US,O=Acme,CN=client 202" and lines[2] == "- - 403"


ALLOWED = {
    "GET /subject": {"subjects": ["O=Acme,CN=partner-*"]},
    "GET /san": {"sans": ["*.partners.example"]},
    "GET /spiffe": {"sans": ["URI:spiffe://acme/*"]},
    "GET /issuer": {"issuers": ["CN=Partners CA"]},
    "GET /print": {"fingerprints": []},
    "GET /all": {"subjects": ["CN=partner-1"], "sans": ["a.partners.example"]},
}


@pytest.fixture(scope="module")
def partners(shared_gateway, authority):
    first = authority.client("first", "O=Acme,CN=partner-1", dns=["a.partners.example"], uris=["spiffe://acme/1"])
    rules = {**ALLOWED, "GET /print": {"fingerprints": [first.fingerprint]}}
    routes = {key: {"integration": MOCK, "authorizer": key} for key in rules}
    one = shared_gateway(document(
        tls(authority), routes, authorizers={key: {"mtls": rule} for key, rule in rules.items()}))
    one.first = first
    return one


@pytest.mark.parametrize("path", [key.split(" ")[1] for key in ALLOWED])
def test_the_authorizer_asks_whose_the_certificate_is(partners, authority, path):
    assert ask(partners, context(authority, partners.first), path).status == 200
    other = authority.client("other", "O=Acme,CN=other,OU=partner-1", dns=["a.b.partners.example", "partners.example"])
    status = 200 if path == "/issuer" else 403
    answer = ask(partners, context(authority, other), path)
    assert answer.status == status
    if status == 403:
        assert answer.code == "forbidden"
        assert "O=" not in answer.body.decode(), "the caller is not told what would be accepted"
        line = partners.log_line(answer.json()["requestId"])
        assert line["phase"] == "authenticate" and "fits none of" in line["error"]
        assert line["clientCertSubject"] == "O=Acme,CN=other,OU=partner-1"


def test_a_second_name_does_not_pass_for_the_first(partners, authority):
    two = authority.client("two", "O=Acme,CN=evil,CN=partner-1")
    assert ask(partners, context(authority, two), "/subject").status == 403


def test_a_certificate_that_expires_on_a_live_connection_is_refused_there(gateway, authority):
    one = gateway(document(
        tls(authority), {"GET /in": {"integration": MOCK, "authorizer": "m"}}, authorizers={"m": {"mtls": {}}}))
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)
    kept = connection(one.address, context(authority, authority.client("short", end=end)))
    assert http1.exchange(kept, "GET", "/in").status == 200
    eventually(lambda: http1.exchange(kept, "GET", "/in").status == 403, 10, "the refusal")
    kept.close()


def test_revoked_certificates_are_refused_and_a_new_list_is_taken_over(gateway, authority, tmp_path):
    crl = tmp_path / "partners.crl"
    good, bad = authority.client("crl-good", serial=1001), authority.client("crl-bad", serial=1002)
    authority.revoke(crl, 1002)
    one = gateway(document(tls(authority, crl=[str(crl)]), {"GET /in": {"integration": MOCK}}))
    assert ask(one, context(authority, good)).status == 200
    assert ask(one, context(authority, bad)) is None
    eventually(lambda: failures(one, "certificate_revoked") == 1, 5, "the revoked one")
    listed = one.metrics().value("penstock_tls_crl_next_update_seconds", listener="public", file=str(crl))
    assert abs(listed - (NOW + DAY).timestamp()) < 2
    kept = connection(one.address, context(authority, good))
    assert http1.exchange(kept, "GET", "/in").status == 200
    authority.revoke(crl, 1001, 1002)
    eventually(lambda: ask(one, context(authority, good)) is None, 10, "the new list")
    # what is out of date tells nothing, so nobody is let in
    authority.revoke(crl, until=NOW - DAY)
    eventually(lambda: ask(one, context(authority, good)) is None and failures(one, "revocation_unknown"), 10, "the old list")
    kept.close()


def test_a_session_is_not_taken_up_again_past_the_check(required, authority):
    wanted = context(authority, authority.client("again"), version=ssl.TLSVersion.TLSv1_2)
    with wanted.wrap_socket(socket.create_connection(required.address, timeout=10), server_hostname="a.example") as first:
        session = first.session
    with wanted.wrap_socket(socket.create_connection(required.address, timeout=10), server_hostname="a.example", session=session) as again:
        assert not again.session_reused


def test_check_refuses_an_authorizer_that_could_let_nobody_in(authority, tmp_path):
    route = {"GET /in": {"integration": MOCK, "authorizer": "m"}}
    authorizers = {"m": {"mtls": {"subjects": ["CN=a"]}}}
    pair = authority.server("a.example")
    plain = {"bind": "127.0.0.1:0", "tls": {"cert": str(pair.cert), "key": str(pair.key)}}
    asking = {"bind": "127.0.0.1:0", "tls": tls(authority)}

    def check(listeners, routes=route):
        write_config(tmp_path, config(routes, listeners=listeners, authorizers=authorizers))
        ran = penstock("check", "gateway.yaml", cwd=tmp_path)
        return ran.returncode, ran.stdout

    code, printed = check({"public": plain, "partners": asking})
    assert code == 1 and "the listener `public` asks no client for one" in printed, printed
    assert check({"partners": asking})[0] == 0
    limited = {"GET /in": {**route["GET /in"], "listeners": ["partners"]}}
    assert check({"public": plain, "partners": asking}, limited)[0] == 0
