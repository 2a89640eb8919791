"""Requests signed by signers that nobody here wrote: botocore's, the vendor's JavaScript one, and aws4."""

import datetime
import hashlib
import json
import subprocess
from pathlib import Path

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .gateway import environment
from .npm import packages

HERE = Path(__file__).resolve().parent
REGION, SERVICE = "us-east-1", "execute-api"
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def botocore(gateway, method, path, body=b"", headers=None, key=KEY, secret=SECRET, token=None, region=REGION,
             service=SERVICE, presigned=None, declare=False, payload=None, at=None):
    """`(path, headers)` of the signed request. `presigned`: seconds. `declare`: with x-amz-content-sha256."""
    headers = dict(headers or {})
    if payload or declare:
        headers["x-amz-content-sha256"] = payload or hashlib.sha256(body).hexdigest()
    # A link has no body: botocore would move one into the query.
    request = AWSRequest(method=method, url=gateway.url + path, data=b"" if presigned else body, headers=headers)
    credentials = Credentials(key, secret, token)
    if presigned:
        signer = auth.SigV4QueryAuth(credentials, service, region, expires=presigned)
    else:
        signer = auth.SigV4Auth(credentials, service, region)
    if payload:
        signer.payload = lambda _: payload
    at_time(at, lambda: signer.add_auth(request))
    path = request.url.removeprefix(gateway.url)
    return path, {name: value for name, value in request.headers.items()}


def at_time(at, sign):
    """Signs as if it were another time: `at` seconds from now."""
    if at is None:
        return sign()
    real = auth.get_current_datetime
    auth.get_current_datetime = lambda *args, **kwargs: real(*args, **kwargs) + datetime.timedelta(seconds=at)
    try:
        return sign()
    finally:
        auth.get_current_datetime = real


def javascript(requests):
    """`[(path, headers)]` of requests that JavaScript signs; each is a dict with `signer`, `method`, `path`, `host`."""
    home = packages("signers")
    common = {"region": REGION, "service": SERVICE, "key": KEY, "secret": SECRET}
    ran = subprocess.run(
        ["node", "--no-warnings", str(HERE / "signers.mjs")], input=json.dumps([{**common, **one} for one in requests]),
        env=environment(PACKAGES=str(home)), capture_output=True, text=True, timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return [(one["path"], one["headers"]) for one in json.loads(ran.stdout)]


def send(gateway, signed, method, body=None):
    """Sends a signed request as it was signed."""
    path, headers = signed
    headers = {name: value for name, value in headers.items() if name.lower() not in ("content-length", "user-agent")}
    return gateway.request(method, path, body=body, headers=headers)
