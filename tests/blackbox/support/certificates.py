"""Certificates for tests: an authority, what it issues, what it revokes; and clients that speak TLS."""

import datetime
import http.client
import socket
import ssl
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
ATTRIBUTES = {"C": NameOID.COUNTRY_NAME, "O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME, "CN": NameOID.COMMON_NAME}


def name(text):
    """A distinguished name from `O=Acme,CN=client`."""
    parts = (part.split("=", 1) for part in text.split(",") if part)
    return x509.Name([x509.NameAttribute(ATTRIBUTES[kind], value) for kind, value in parts])


class Pair:
    """A certificate and its key, as files."""

    def __init__(self, folder, stem, certificate, key):
        self.certificate, self.key_object = certificate, key
        self.cert, self.key = Path(folder) / f"{stem}.pem", Path(folder) / f"{stem}.key"
        self.write(self.cert, self.key)

    def write(self, cert, key):
        """Writes the pair to other files too."""
        key.write_bytes(self.key_object.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        cert.write_bytes(self.pem.encode())

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self):
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def fingerprint(self):
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()


class Authority(Pair):
    """A root that issues and revokes."""

    def __init__(self, folder, subject="CN=Test CA"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(name(subject), name(subject), key, 1, NOW - DAY, NOW + 365 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        super().__init__(folder, "ca", builder.sign(key, hashes.SHA256()), key)

    @staticmethod
    def _builder(subject, issuer, key, serial, start, end):
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
                .serial_number(serial).not_valid_before(start).not_valid_after(end))

    def issue(self, stem, subject=None, dns=(), uris=(), serial=None, rsa_bits=None, start=NOW - DAY, end=NOW + 30 * DAY, usage=None):
        """A pair of files STEM.pem, STEM.key in the authority's folder."""
        key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(one) for one in dns] + [x509.UniformResourceIdentifier(one) for one in uris]
        builder = self._builder(
            name(f"CN={stem}" if subject is None else subject), self.certificate.subject, key,
            serial or x509.random_serial_number(), start, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return Pair(self.folder, stem, builder.sign(self.key_object, hashes.SHA256()), key)

    def server(self, *dns, stem=None, **options):
        return self.issue(stem or dns[0].replace("*", "any"), dns=dns, usage=ExtendedKeyUsageOID.SERVER_AUTH, **options)

    def client(self, stem, subject=None, **options):
        return self.issue(stem, subject, usage=ExtendedKeyUsageOID.CLIENT_AUTH, **options)

    def revoke(self, path, *serials, until=NOW + DAY):
        """Writes a revocation list."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(NOW - 2 * DAY).next_update(until)
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key_object.public_key()), critical=False)
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - DAY).build()
            builder = builder.add_revoked_certificate(revoked)
        signed = builder.sign(self.key_object, hashes.SHA256())
        Path(path).write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def context(authority, own=None, alpn=None, version=None):
    """A client's context that trusts an authority; `own`: the pair that it shows."""
    made = ssl.create_default_context(cafile=str(authority.cert))
    if own:
        made.load_cert_chain(str(own.cert), str(own.key))
    if alpn:
        made.set_alpn_protocols(alpn)
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def connection(address, wanted, host="a.example", timeout=15.0):
    """An http.client connection over TLS that asks for a host."""
    class Named(http.client.HTTPSConnection):
        def connect(self):
            plain = socket.create_connection(address, timeout=timeout)
            self.sock = wanted.wrap_socket(plain, server_hostname=host)
    return Named(host, timeout=timeout)


def curl(*arguments, timeout=30):
    """Runs curl: exit code, body, and what it says of the answer (`%{http_code} %{http_version}`)."""
    ran = subprocess.run(
        ["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code} %{http_version}", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    body, _, status = ran.stdout.rpartition("\n")
    return ran.returncode, body, status
