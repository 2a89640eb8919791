"""The JWT authorizer against issuers that nobody here wrote: a certified provider that rotates, hangs and goes, one that
signs anything, and moto's Cognito."""

import base64
import hashlib
import hmac
import json
import time
import uuid

import pytest

from support.gateway import config, penstock, write_config
from support.oidc import Provider
from support.processes import eventually

RS256, ES256 = "urn:penstock:rs256", "urn:penstock:es256"


@pytest.fixture
def provider(tmp_path):
    started = []

    def start(**settings):
        one = Provider("provider.mjs", tmp_path, **settings)
        started.append(one)
        return one.start()

    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="module")
def forger(tmp_path_factory):
    one = Provider("forger.mjs", tmp_path_factory.mktemp("forger"))
    yield one.start()
    one.stop()


def shop(issuer, audience=(RS256, ES256), route=None, **jwt):
    """A gateway whose one queue is behind a token."""
    send = {"integration": {"SQS-SendMessage": {
        "QueueUrl": "queue:orders", "MessageBody": "$request.body",
        "MessageAttributes": {
            "who": "$context.authorizer.principalId",
            "issuer": "$context.authorizer.claims.iss",
            "claims": "$context.authorizer.claims_json",
        }}}}
    return config(
        {
            "POST /orders": {"authorizer": "partners", **send, **(route or {})},
            "POST /scoped": {"authorizer": "partners", "scopes": ["orders.write", "ingest"], **send},
            "POST /other": {"authorizer": "partners", "scopes": ["orders.write"], **send},
            "POST /once": {"authorizer": "partners", "idempotency": {"key": "$request.header.idempotency-key"}, **send},
            "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "MaxNumberOfMessages": 10}}},
            "DELETE /messages/{handle}": {"integration": {"SQS-DeleteMessage": {"QueueUrl": "queue:orders", "ReceiptHandle": "$request.path.handle"}}},
        },
        queues={"orders": {}},
        auth_failures=False,  # all the wrong tokens come from one address
        authorizers={"partners": {"jwt": {"issuer": issuer, "audience": list(audience), **jwt}}},
    )


def send(gateway, token, body=b"x", path="/orders", **headers):
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return gateway.request("POST", path, body, headers)


def fetches(gateway, result="ok"):
    samples = [s for s in gateway.metrics().samples if s.name == "penstock_token_key_fetches_total"]
    return sum(s.value for s in samples if ("result", result) in s.labels)


def said_of(message):
    """The message attributes, by name."""
    return {name: value["StringValue"] for name, value in message["attributes"].items()}


def parts(token):
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def test_tokens_of_a_certified_provider_open_the_door_and_say_who_comes(provider, gateway):
    idp = provider()
    one = gateway(shop(idp.issuer))
    eventually(lambda: fetches(one) == 1, 20, "the keys are fetched before the first request")
    for resource in (RS256, ES256):
        token = idp.token(resource)
        header, claims = parts(token)
        assert header["typ"] == "at+jwt" and claims["aud"] == resource
        for _ in range(3):
            assert send(one, token).status == 202
        bare = one.request("POST", "/orders", b"x", {"authorization": token})
        assert bare.status == 202
    for kept in one.peek("orders"):
        said = said_of(kept)
        assert (said["who"], said["issuer"]) == ("dev", idp.issuer)
        assert json.loads(said["claims"])["client_id"] == "dev"
    assert fetches(one) == 1
    checked = {dict(s.labels)["result"]: s.value for s in one.metrics().samples if s.name == "penstock_token_checks_total"}
    assert checked == {"verified": 2, "remembered": 6, "refused": 0}
    # A scope that the token has, and one that it has not.
    assert send(one, token, path="/scoped").status == 202
    refused = send(one, token, path="/other")
    assert (refused.status, refused.json()["code"]) == (403, "forbidden")
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]


def test_rotated_keys_are_found_and_withdrawn_ones_are_forgotten(provider, gateway):
    idp = provider()
    one = gateway(shop(idp.issuer))
    old = idp.token()
    assert send(one, old).status == 202
    idp.rotate()
    new = idp.token()
    assert parts(new)[0]["kid"] == "rs-1"
    assert send(one, new).status == 202
    assert fetches(one) == 2
    # The old key is gone, so what it signed is refused although it was remembered.
    refused = send(one, old)
    assert refused.status == 401 and "signing key is not known" in refused.headers["www-authenticate"]


def test_keys_that_are_kept_beside_new_ones_go_on_opening(provider, gateway):
    idp = provider(KEEP_OLD=1)
    one = gateway(shop(idp.issuer))
    old = idp.token(ES256)
    assert send(one, old).status == 202
    idp.rotate()
    assert send(one, idp.token(ES256)).status == 202
    assert send(one, old).status == 202


def test_a_provider_that_hangs_or_goes_leaves_its_keys_in_use(provider, gateway):
    idp = provider()
    one = gateway(shop(idp.issuer))
    token, later = idp.token(), idp.token(ES256)
    assert send(one, token).status == 202
    idp.rotate()
    unknown = idp.token()
    idp.hang()
    assert send(one, token).status == 202
    assert send(one, later).status == 202  # verified with a key that was fetched before
    began = time.monotonic()
    refused = send(one, unknown)
    assert refused.status == 503 and refused.headers["retry-after"]
    assert time.monotonic() - began < 5
    assert send(one, token).status == 202
    idp.go_on()
    eventually(lambda: send(one, unknown).status == 202, 40, "the new key is found")


def test_without_any_keys_the_gateway_starts_and_answers_503(provider, gateway):
    idp = provider()
    token = idp.token()
    idp.hang()
    one = gateway(shop(idp.issuer))
    assert one.admin("/livez").status == 200
    refused = send(one, token)
    assert refused.status == 503 and 1 <= int(refused.headers["retry-after"]) <= 3
    assert "www-authenticate" not in refused.headers
    line = one.log_line(refused.headers["x-request-id"])
    assert "discovery document" in json.dumps(line)
    # Nobody needs keys to refuse what is no token, or to see that none was sent.
    assert send(one, "a.b").status == 401 and send(one, None).status == 401
    idp.go_on()
    eventually(lambda: send(one, token).status == 202, 40, "the keys are fetched")


def test_a_token_is_refused_from_the_second_that_it_expires(provider, gateway):
    idp = provider(TTL=3)
    one = gateway(shop(idp.issuer))
    token = idp.token()
    expires = parts(token)[1]["exp"]
    assert send(one, token).status == 202 and send(one, token).status == 202
    eventually(lambda: time.time() >= expires, 10, "the token expires")
    refused = send(one, token)
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == 'Bearer scope="" error="invalid_token" error_description="the token has expired"'


def now(offset=0):
    return int(time.time()) + offset


# name: (claims, header), what is said; None: it opens
CLAIMS = {
    "as they are": (({}, {}), None),
    "several audiences": (({"aud": ["x", "shop"]}, {}), None),
    "client_id and no aud": (({"aud": None, "client_id": "shop"}, {}), None),
    "no kid, and one key": (({}, {"kid": None}), None),
    "another issuer": (({"iss": "https://evil.example"}, {}), "the token does not have an accepted issuer"),
    "no issuer": (({"iss": None}, {}), "the token does not have an accepted issuer"),
    "another audience": (({"aud": "till", "client_id": "shop"}, {}), "the token does not have a valid audience"),
    "an empty audience": (({"aud": []}, {}), "the token does not have a valid audience"),
    "no audience": (({"aud": None}, {}), "the token does not have a valid audience"),
    "expired": (({"exp": 1}, {}), "the token has expired"),
    "no expiry": (({"exp": None}, {}), "the token has no valid expiry"),
    "an expiry that is text": (({"exp": "99999999999"}, {}), "the token has no valid expiry"),
    "an expiry past all time": (({"exp": 1e300}, {}), "the token has no valid expiry"),
    "not yet": (({"nbf": 32503680000}, {}), "the token is not valid yet"),
    "from the future": (({"iat": 32503680000}, {}), "the token is issued in the future"),
    "a ghost's key": (({}, {"kid": "ghost"}), "the token's signing key is not known"),
    "a path as its key": (({}, {"kid": "../../../../dev/null"}), "the token's signing key is not known"),
    "a key id that is no text": (({}, {"kid": 7}), "the token is malformed"),
    "another type": (({}, {"typ": "logout+jwt"}), "the token is of another type"),
    "a subject that is no text": (({"sub": 7}, {}), "the token is malformed"),
}


@pytest.fixture(scope="module")
def guarded(forger, shared_gateway):
    return shared_gateway(shop(forger.issuer, ["shop"]))


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_that_are_signed_are_judged_all_the_same(guarded, forger, name):
    (claims, header), said = CLAIMS[name]
    token = forger.forged({"aud": "shop", "sub": "u", **claims}, header)
    before = len(guarded.peek("orders"))
    answer = send(guarded, token, path="/once", **{"idempotency-key": name})
    if said is None:
        assert answer.status == 202, answer
        return
    assert (answer.status, answer.json()["code"]) == (401, "unauthorized")
    challenge = f'Bearer scope="" error="invalid_token" error_description="{said}"'
    assert answer.headers["www-authenticate"] == challenge
    line = guarded.log_line(answer.headers["x-request-id"])
    assert (line["status"], line["code"]) == (401, "unauthorized") and said in json.dumps(line)
    shown = answer.body.decode() + json.dumps(line) + guarded.logs()
    assert token not in shown and token.split(".")[1] not in shown
    # Nothing is stored, and the key is still a new one.
    assert len(guarded.peek("orders")) == before
    good = forger.forged({"aud": "shop", "sub": "u"})
    again = send(guarded, good, path="/once", **{"idempotency-key": name})
    assert again.status == 202 and "idempotency-replayed" not in again.headers


def test_tokens_that_are_no_tokens_are_told_so(guarded, forger):
    good = forger.forged({"aud": "shop"})
    header, payload, signature = good.split(".")

    def encoded(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    none = encoded({"alg": "none", "kid": "rs-0"})
    shared = encoded({"alg": "HS256", "kid": "rs-0"})
    for authorization, challenge in [
        (None, "Bearer"),
        ("Bearer", "Bearer"),
        ("Basic dTpw", "Bearer"),
        ("Bearer a.b", 'error_description="token contains an invalid number of segments"'),
        (f"Bearer {header}.{payload}", "invalid number of segments"),
        (f"Bearer {good}.", "invalid number of segments"),
        (f"Bearer {header}.{payload}.", "signature is invalid"),
        (f"Bearer {header}.{payload}.{signature}=", "malformed"),
        (f"Bearer {header}.{payload}.{signature[:-4]}", "invalid_token"),
        (f"Bearer {none}.{payload}.", "algorithm is not accepted"),
        (f"Bearer {none}.{payload}.{signature}", "algorithm is not accepted"),
        (f"Bearer {shared}.{payload}.{signature}", "algorithm is not accepted"),
        (f"Bearer Bearer {good}", "malformed"),
    ]:
        answer = guarded.request("POST", "/orders", b"x", {"authorization": authorization} if authorization else {})
        assert answer.status == 401, authorization
        assert challenge in answer.headers["www-authenticate"], authorization
        assert (challenge == "Bearer") == (answer.headers["www-authenticate"] == "Bearer"), authorization
    assert send(guarded, good).status == 202
    assert guarded.request("POST", "/orders", b"x", {"Authorization": f"bEaReR {good}"}).status == 202


def test_a_flood_of_unknown_keys_costs_the_issuer_two_fetches(forger, gateway):
    one = gateway(shop(forger.issuer, ["shop"]))
    good = forger.forged({"aud": "shop"})
    assert send(one, good).status == 202
    payload, signature = good.split(".")[1:]
    for number in range(200):
        header = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", "kid": f"g{number}"}).encode()).decode().rstrip("=")
        assert send(one, f"{header}.{payload}.{signature}").status == 401
    assert fetches(one) == 3
    assert send(one, good).status == 202


def test_required_claims_a_query_source_and_leeway(forger, gateway):
    one = gateway(shop(
        forger.issuer, ["shop"], identity_source="$request.querystring.token", leeway="60s",
        claims={"tier": ["gold", "silver"], "mfa": True}, algorithms=["RS256"],
    ))
    right = {"aud": "shop", "tier": ["tin", "gold"], "mfa": True}
    for claims, status in [
        (right, 202),
        ({**right, "exp": now(-30)}, 202),
        ({**right, "exp": now(-90)}, 401),
        ({**right, "tier": "tin"}, 401),
        ({**right, "mfa": False}, 401),
        ({"aud": "shop", "tier": "gold"}, 401),
    ]:
        token = forger.forged(claims)
        assert one.request("POST", f"/orders?token={token}", b"x").status == status, claims
        assert send(one, token).status == 401
    assert "token=" not in json.dumps(one.access_log(12))


def test_several_issuers_each_with_its_audience_and_a_secret(forger, provider, gateway):
    idp = provider()
    document = shop(forger.issuer)
    document["authorizers"]["partners"]["jwt"] = {"issuers": [
        {"issuer": forger.issuer, "audience": ["shop"]},
        {"issuer": idp.issuer, "audience": RS256},
        {"issuer": "tills", "audience": "shop", "secret": "${env:TILL_SECRET}"},
    ]}
    secret = "a secret of thirty-two bytes, yes"
    one = gateway(document, env={"TILL_SECRET": secret})
    assert send(one, forger.forged({"aud": "shop"})).status == 202
    assert send(one, idp.token()).status == 202
    assert send(one, idp.token(ES256)).status == 401
    assert send(one, forger.forged({"aud": RS256})).status == 401
    assert send(one, forger.forged({"aud": RS256, "iss": idp.issuer}, {"kid": "rs-0"})).status == 401

    def encoded(value):
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    signed = encoded(b'{"alg":"HS256"}') + "." + encoded(json.dumps({"iss": "tills", "aud": "shop", "sub": "till-7", "exp": now(60)}).encode())
    good = signed + "." + encoded(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())
    assert send(one, good).status == 202
    assert secret not in one.logs() and secret not in one.admin("/v1/plan").body.decode()


def test_access_tokens_of_cognito_pass_by_their_client_id(moto, gateway):
    cognito = moto.client("cognito-idp")
    pool = cognito.create_user_pool(PoolName="shop")["UserPool"]["Id"]
    client = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName="till", ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
    )["UserPoolClient"]["ClientId"]
    name, password = "ann", "P4ssword!" + uuid.uuid4().hex
    cognito.admin_create_user(UserPoolId=pool, Username=name, TemporaryPassword=password)
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=password, Permanent=True)
    tokens = cognito.admin_initiate_auth(
        UserPoolId=pool, ClientId=client, AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": name, "PASSWORD": password},
    )["AuthenticationResult"]
    claims = parts(tokens["AccessToken"])[1]
    assert "aud" not in claims and claims["client_id"] == client
    document = shop(claims["iss"], [client], jwks_uri=f"{moto.url}/{pool}/.well-known/jwks.json")
    one = gateway(document)
    answer = send(one, tokens["AccessToken"])
    assert answer.status == 202, answer.headers.get("www-authenticate")
    assert send(one, tokens["IdToken"]).status == 202
    assert said_of(one.peek("orders")[0])["issuer"] == claims["iss"]
    document["authorizers"]["partners"]["jwt"]["audience"] = ["another-client"]
    other = gateway(document)
    assert send(other, tokens["AccessToken"]).status == 401


def test_the_vendors_bodies_stand_beside_the_same_challenges(forger, gateway):
    one = gateway({**shop(forger.issuer, ["shop"]), "responses": "aws"})
    for token, challenge in [(None, "Bearer"), ("x", "invalid_token")]:
        answer = send(one, token)
        assert (answer.status, answer.json()) == (401, {"message": "Unauthorized"})
        assert challenge in answer.headers["www-authenticate"]
    refused = send(one, forger.forged({"aud": "shop", "scope": "read"}), path="/scoped")
    assert (refused.status, refused.json()) == (403, {"message": "Forbidden"})


def test_explain_says_what_is_wrong_with_a_token(forger, tmp_path):
    written = write_config(tmp_path, shop(forger.issuer, ["shop"]))
    for claims, said in [({"aud": "till"}, "does not have a valid audience"), ({"aud": "shop"}, "SendMessage")]:
        token = forger.forged(claims)
        ran = penstock("explain", written, "POST", "/orders", "-H", f"authorization: Bearer {token}", "-d", "x")
        assert said in ran.stdout + ran.stderr, ran
        assert token not in ran.stdout + ran.stderr
