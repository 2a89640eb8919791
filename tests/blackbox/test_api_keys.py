"""API keys: from where the authorizer says, compared by hash, refused alike, kept out of logs; in files of their own; and
`penstock keys`, which makes, hashes and imports them."""

import hashlib
import json
import re
import time

import pytest

from support.gateway import Gateway, config, penstock, write_config

KEY, OTHER = "psk_test4d1a9e0c7b5f3826a1c0e9d8b7f6a5e4", "psk_test00112233445566778899aabbccddeeff"


def hashed(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


ROUTES = {
    "GET /built-in": {"integration": {"Mock": {"body": "in"}}, "authorizer": "api_key"},
    "GET /header": {"integration": {"Mock": {"body": "in"}}, "authorizer": "by_header"},
    "GET /query": {"integration": {"Mock": {"body": "in"}}, "authorizer": "by_query"},
    "GET /both": {"integration": {"Mock": {"body": "in"}}, "authorizer": ["api_key", "by_header"]},
    "GET /open": {"integration": {"Mock": {"body": "in"}}, "authorizer": "none"},
    "POST /who": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$context.identity.apiKeyId"}}, "authorizer": "api_key"},
    "GET /who": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:q"}}},
}


@pytest.fixture(scope="module")
def server(shared_gateway):
    return shared_gateway(config(
        ROUTES, queues={"q": {}},
        authorizers={
            "by_header": {"api_key": {"from": ["header:x-partner-key"]}},
            "by_query": {"api_key": {"from": ["header:x-api-key", "query:apiKey"]}},
        },
        api_keys={"acme": {"hash": hashed(KEY)}, "upper": {"hash": hashed(OTHER).upper().replace("SHA256", "sha256")}, "off": {"hash": hashed("off"), "enabled": False}}))


@pytest.mark.parametrize("path, headers, status", [
    ("/built-in", {"x-api-key": KEY}, 200),
    ("/built-in", {"X-API-KEY": KEY}, 200),
    ("/built-in", {"x-api-key": OTHER}, 200),
    ("/built-in", {"x-api-key": KEY.upper()}, 403),
    ("/built-in", {"x-api-key": KEY + " "}, 200),  # a field's value has no space at its end (RFC 9110, 5.5)
    ("/built-in", {"x-api-key": hashed(KEY)}, 403),
    ("/built-in", {"x-api-key": "off"}, 403),
    ("/built-in", {"x-partner-key": KEY}, 403),
    ("/built-in", {"authorization": f"Bearer {KEY}"}, 403),
    (f"/built-in?apiKey={KEY}", {}, 403),
    ("/header", {"x-partner-key": KEY}, 200),
    ("/header", {"x-api-key": KEY}, 403),
    (f"/query?apiKey={KEY}", {}, 200),
    (f"/query?apikey={KEY}", {}, 403),
    ("/query", {"x-api-key": KEY}, 200),
    ("/both", {"x-api-key": KEY}, 403),
    ("/both", {"x-api-key": KEY, "x-partner-key": KEY}, 200),
    ("/open", {}, 200),
], ids=lambda value: str(value).replace(KEY, "KEY").replace(OTHER, "OTHER") if not isinstance(value, dict) else ",".join(value))
def test_who_comes_in(server, path, headers, status):
    answer = server.request("GET", path, headers=headers)
    assert answer.status == status
    if status == 403:
        assert answer.code == "api_key_refused"


def test_two_keys_in_one_request_are_refused_unless_they_are_the_same(server):
    with server.raw() as raw:
        raw.send(f"GET /built-in HTTP/1.1\r\nHost: h\r\nX-Api-Key: nope\r\nX-Api-Key: {KEY}\r\n\r\n")
        assert raw.read_response().status == 403


def test_the_key_s_name_is_known_to_mappings_and_the_log(server):
    answer = server.request("POST", "/who", b"", {"x-api-key": KEY})
    assert server.request("GET", "/who").json()["Messages"][0]["Body"] == "acme"
    assert "acme" in str(server.log_line(answer.headers["x-request-id"]))


def test_a_refusal_says_no_more_than_it_must(server):
    """Unknown and disabled look the same from outside."""
    unknown = server.request("GET", "/built-in", headers={"x-api-key": "nope"}).json()
    disabled = server.request("GET", "/built-in", headers={"x-api-key": "off"}).json()
    assert unknown["detail"] == disabled["detail"] and unknown["title"] == disabled["title"]


def test_no_body_byte_is_read_before_the_key_is_settled(server):
    with server.raw() as raw:
        raw.send("POST /who HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
        assert raw.read_response().status == 403


def test_keys_are_nowhere_in_the_logs(server):
    answer = server.request("GET", f"/query?apiKey={KEY}", headers={"x-api-key": "wrong-and-secret"})
    server.log_line(answer.headers["x-request-id"])
    written = server.logs() + server.stdout_path.read_text()
    assert KEY not in written and "wrong-and-secret" not in written


MIGRATING = {
    "keys": {"api_key": {"from": [
        "header:x-api-key", {"query": "apiKey", "deprecated": "2026-11-01", "sunset": "2027-01-01"}]}}}


def migrating(gateway, routes=None, **sections):
    return gateway(config(
        routes or {"GET /some-endpoint": {"integration": {"Mock": {"body": "in"}}, "authorizer": "keys"}},
        authorizers=MIGRATING, api_keys={"acme": {"hash": hashed(KEY)}}, **sections))


def test_a_place_that_will_go_says_so_to_who_uses_it(gateway):
    one = migrating(gateway)
    old = one.request("GET", f"/some-endpoint?apiKey={KEY}")
    assert (old.status, old.headers["deprecation"], old.headers["sunset"]) == (200, "@1793491200", "Fri, 01 Jan 2027 00:00:00 GMT")
    new = one.request("GET", "/some-endpoint", headers={"x-api-key": KEY})
    assert new.status == 200 and "deprecation" not in new.headers and "sunset" not in new.headers
    assert one.request("GET", f"/some-endpoint?apiKey={OTHER}").status == 403
    metrics = one.metrics()
    assert metrics.value("penstock_api_key_requests_total", source="query") == 1
    assert metrics.value("penstock_api_key_requests_total", source="header") == 1
    assert metrics.value("penstock_api_keys_in_query_total") == 2
    told = json.loads(one.admin("/v1/usage?key=acme").body)["keys"][0]
    assert told["bySource"] == {"header": 1, "query": 1, "authorizer": 0}


def test_refusals_behind_the_door_say_so_too(gateway):
    one = migrating(gateway, {"POST /a": {
        "integration": {"Mock": {"body": "in"}}, "authorizer": "keys", "limits": {"body": "1B"}}})
    refused = one.request("POST", f"/a?apiKey={KEY}", b"too long")
    assert refused.status == 413 and refused.headers["deprecation"] == "@1793491200"


def test_the_value_in_the_query_is_shown_nowhere(gateway):
    routes = {
        "GET /mock": {"integration": {"Mock": {"body": "in"}}, "authorizer": "keys"},
        "POST /kept": {
            "integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "${context.path} ${context.routeKey} ${request.path}"}},
            "authorizer": "keys", "idempotency": {"key": "$request.header.idempotency-key"}},
        "POST /spooled": {
            "integration": {"SQS-SendMessage": {"QueueUrl": "http://127.0.0.1:9/1/orders", "MessageBody": "$request.body"}},
            "authorizer": "keys", "ack": "spool"},
        "POST /unresolved": {
            "integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$request.querystring.missing"}}, "authorizer": "keys"},
    }
    one = migrating(
        gateway, routes, queues={"q": {}}, trailing_slash="redirect", aws={"region": "eu-west-1", "endpoint": "http://127.0.0.1:9"},
        access_log={"path": "stdout", "format": "$context.requestId $context.path $context.routeKey $context.error.message $context.identity.apiKeyId"})
    seen = []
    for method, path, headers in (
            ("GET", "/mock", {}), ("POST", "/kept", {"idempotency-key": "k"}), ("POST", "/kept", {"idempotency-key": "k"}), ("POST", "/spooled", {}),
            ("POST", "/unresolved", {}), ("GET", "/nowhere", {}), ("DELETE", "/mock", {})):
        for key in (KEY, OTHER):
            answer = one.request(method, f"{path}?apiKey={key}&x=1", b"{}" if method == "POST" else None, headers)
            seen.append(f"{answer.status} {answer.headers} {answer.body}")
    for path in (f"/mock/?apiKey={KEY}", f"/mock?apiKey={KEY}", f"/mock?apiKey={OTHER}", f"/unresolved?apiKey={KEY}"):
        for output in ([], ["--json"]):
            ran = penstock("explain", "gateway.yaml", "POST" if "unresolved" in path else "GET", path, *output, cwd=one.directory)
            seen += [ran.stdout, ran.stderr]
    seen += [one.admin(path).body.decode() for path in ("/metrics", "/v1/usage", "/v1/plan", "/v1/queues", "/v1/queues/q/messages", "/readyz", "/v1/targets")]
    one.stop()
    seen += [one.logs(), one.stdout_path.read_text()]
    for text in seen:
        assert KEY not in text and OTHER not in text, text
    for file in (one.directory / "data").iterdir():
        assert KEY.encode() not in file.read_bytes(), file


def test_a_mapping_that_names_the_parameter_gets_it(gateway):
    one = migrating(gateway, {
        "POST /kept": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$request.querystring.apiKey"}}, "authorizer": "keys"},
        "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:q"}}}}, queues={"q": {}})
    assert one.request("POST", f"/kept?apiKey={KEY}").status == 202
    assert one.request("GET", "/next").json()["Messages"][0]["Body"] == KEY


def keys(*arguments, code=0, **options):
    ran = penstock("keys", *arguments, **options)
    assert ran.returncode == code, (ran.stdout, ran.stderr)
    return ran


def who(server, key):
    """Whom the log says that a key belongs to; None where it is refused."""
    answer = server.request("GET", "/who", headers={"x-api-key": key})
    return server.log_line(answer.headers["x-request-id"])["apiKeyId"] if answer.status == 200 else None


WHO = {"GET /who": {"integration": {"Mock": {"body": "in"}}, "authorizer": "api_key"}}


def test_new_keys_go_into_a_file_and_are_good(gateway, tmp_path):
    file = tmp_path / "keys.yaml"
    made = {}
    for name, options in (("acme", []), ("partner_eu", ["--salted", "--plan", "gold"]), ("Müller & Söhne", ["--description", "costs ${5}"])):
        made[name] = json.loads(keys("new", name, *options, "--file", file, "--json").stdout)
    assert len({entry["key"] for entry in made.values()}) == 3
    assert re.fullmatch("psk_[0-9a-f]{40}", made["acme"]["key"])
    assert re.fullmatch("psk_partner_eu_[0-9a-f]{40}", made["partner_eu"]["key"])
    assert re.fullmatch("sha256-salted:[0-9a-f]{32}:[0-9a-f]{64}", made["partner_eu"]["hash"])
    text = file.read_text()
    assert all(entry["key"] not in text for entry in made.values())
    assert "already" in keys("new", "acme", "--file", file, code=1).stderr
    assert file.read_text() == text
    one = gateway(config(WHO, api_key_files=[str(file)], usage_plans={"gold": {}}))
    for name, entry in made.items():
        assert who(one, entry["key"]) == name
    assert who(one, made["partner_eu"]["key"][:-1] + "x") is None
    assert who(one, "psk_stranger_0123456789abcdef") is None


def test_a_new_key_is_printed_once_with_its_line(tmp_path):
    ran = keys("new", "acme", "--plan", "gold")
    key, *lines = ran.stdout.splitlines()
    assert lines == ["api_keys:", f'  acme: {{ hash: "{hashed(key)}", plan: gold }}']
    assert key not in ran.stderr
    assert "cannot stand in a key" in keys("new", "a b", "--salted", code=2).stderr
    (tmp_path / "other.yaml").write_text("api_keys: { a: { hash: '%s' } }\n" % hashed("a"))
    assert "one key a line" in keys("new", "acme", "--file", tmp_path / "other.yaml", code=1).stderr


def test_a_key_is_hashed_from_standard_input():
    assert keys("hash", input=KEY + "\n").stdout == hashed(KEY) + "\n"
    assert keys("hash", "--salted", input=KEY.replace("psk_test", "psk_acme_")).stdout.startswith("sha256-salted:")
    assert "psk_NAME_SECRET" in keys("hash", "--salted", input=KEY, code=2).stderr
    keys("hash", input="\n", code=2)


CSV = f"""\ufeffkey,Name,Colour,ENABLED,UsagePlanIds,Description
{KEY},acme,red,,"gold, other",first
abcdefghij0123456789abcdefghij0123,off,,false,,
{OTHER},was,,true,gold,
{OTHER},upper,,TRUE,gold,"says ""later wins"", twice"
"""


def test_the_vendor_s_csv_is_read_and_imported(gateway, tmp_path):
    (tmp_path / "keys.csv").write_text(CSV)
    imported = keys("import", tmp_path / "keys.csv")
    assert "holds keys themselves" in imported.stderr
    assert KEY not in imported.stdout + imported.stderr
    (tmp_path / "imported.yaml").write_text(imported.stdout)
    for file in ("keys.csv", "imported.yaml"):
        one = gateway(config(WHO, api_key_files=[str(tmp_path / file)], usage_plans={"gold": {}}))
        assert [who(one, key) for key in (KEY, OTHER, "abcdefghij0123456789abcdefghij0123")] == ["acme", "upper", None]
        assert ("holds keys themselves" in one.logs()) == (file == "keys.csv")
        assert json.loads(one.admin("/v1/usage?key=acme").body)["keys"][0]["plan"] == "gold"
        assert KEY not in one.logs()
        one.stop()


def test_what_is_wrong_with_files_of_keys_is_said_with_its_place(tmp_path):
    (tmp_path / "a.yaml").write_text("api_keys:\n  acme: { hash: \"%s\", plan: glod }\n  two: { hash: \"%s\" }\n" % (hashed(KEY), hashed(OTHER)))
    (tmp_path / "b.csv").write_text(f"Name,Key,UsagePlanIds\ntwo,abcdefghij0123456789abcdefghij0123,\nthree,{KEY},\nfour,{KEY[::-1]},\"gold,silver\"\n")
    write_config(tmp_path, config(WHO, api_key_files=["a.yaml", "b.csv", "c.yaml"], usage_plans={"gold": {}, "silver": {}}), "shop.yaml")
    said = penstock("check", "shop.yaml", cwd=tmp_path).stdout
    for expected in (
            'a.yaml:2:9: error: api_keys.acme.plan: the usage plan `glod` is not declared; did you mean `gold`?',
            'b.csv:2:1: error: api_keys.two: another key has this id, at ./a.yaml:3:8',
            'b.csv:3:1: error: api_keys.three.hash: this is the hash of the key `acme` too, at ./a.yaml:2:9',
            'b.csv:4:1: error: api_keys.four.plan: "gold,silver" are several usage plans; a key is in one',
            'error: api_key_files[2]: ./c.yaml does not exist; did you mean ./a.yaml?'):
        assert expected in said, said
    assert KEY not in said


@pytest.mark.parametrize("form", ["yaml", "csv"])
def test_a_million_keys_are_loaded_and_found(request, tmp_path, long_run, form):
    if not long_run:
        pytest.skip("a million keys: --long")
    file = tmp_path / f"keys.{form}"
    with file.open("w") as out:
        out.write("api_keys:\n" if form == "yaml" else "Name,Key,UsagePlanIds\n")
        for number in range(1_000_000):
            key = f"psk_{number:040d}"
            out.write(f'  key-{number}: {{ hash: "{hashed(key)}", plan: gold }}\n' if form == "yaml" else f"key-{number},{key},gold\n")
    document = config(WHO, api_key_files=[str(file)], usage_plans={"gold": {"quota": {"limit": 3, "period": "month"}}})
    one = Gateway(tmp_path, document)
    started = time.monotonic()
    one.start(within=240)
    request.addfinalizer(one.stop)
    took = time.monotonic() - started
    for number in (0, 499_999, 999_999):
        assert who(one, f"psk_{number:040d}") == f"key-{number}"
    assert who(one, f"psk_{1_000_000:040d}") is None
    resident = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{one.child.pid}/status").read())[1])
    print(f"{form}: ready after {took:.1f} s, {resident >> 10} MiB")
    assert resident < 300 << 10
