"""The command line: check finds every problem at once, the others print what a person or a program would read."""

import json
import re

import pytest

from support.gateway import REPOSITORY, config, penstock, write_config
from support.http1 import request
from support.processes import free_port

GOOD = """\
api: shop
listeners:
  public: { bind: 127.0.0.1:0 }
admin: { bind: 127.0.0.1:0 }
queues: { orders: {}, ledger.fifo: { fifo: true } }
api_keys: { acme: { hash: "sha256:0000000000000000000000000000000000000000000000000000000000000000" } }
routes:
  POST /orders/{id}:
    integration:
      SQS-SendMessage: { QueueUrl: queue:orders, MessageBody: $request.body }
  GET /orders/next:
    authorizer: api_key
    integration:
      SQS-ReceiveMessage: { QueueUrl: queue:orders, WaitTimeSeconds: 20 }
"""


def checked(tmp_path, text, *arguments, name="gateway.yaml"):
    path = write_config(tmp_path, text, name)
    ran = penstock("check", path, *arguments, cwd=tmp_path)
    return ran, ran.stdout + ran.stderr


def at(text, needle):
    """Line and column of the first place where `needle` stands, from 1."""
    for number, line in enumerate(text.splitlines(), 1):
        if needle in line:
            return number, line.index(needle) + 1
    raise AssertionError(needle)


def test_a_good_file_is_exit_0(tmp_path):
    ran, output = checked(tmp_path, GOOD)
    assert ran.returncode == 0, output


MANY = """\
api: shop
respones: native
listeners:
  public: { bind: not-an-address }
limits: { body: 12 parsecs, timeout: soonish }
throttle: { rate: fast }
queues: { orders: { visibilty_timeout: 30s } }
routes:
  POST /orders:
    integration:
      SQS-SendMesage: { QueueUrl: queue:orders, MessageBody: $request.body }
  POST /orders/{id}:
    integration:
      SQS-SendMessage: { QueueURL: queue:orders, MessageBody: $request.body }
  POST /unknown:
    integration:
      SQS-SendMessage: { QueueUrl: queue:nowhere, MessageBody: $request.boddy }
  POST /variable/{id}:
    integration:
      SQS-SendMessage: { QueueUrl: queue:orders, MessageBody: $request.path.ID }
  PSOT /typo:
    integration: { Mock: {} }
"""


def test_every_problem_is_printed_at_once_with_its_place(tmp_path):
    ran, output = checked(tmp_path, MANY)
    assert ran.returncode == 1
    expected = {
        "respones": "responses", "not-an-address": None, "12 parsecs": None, "soonish": None, "fast": None,
        "visibilty_timeout": "visibility_timeout", "SQS-SendMesage": "SQS-SendMessage", "QueueURL": "QueueUrl",
        "queue:nowhere": None, "$request.boddy": None, "$request.path.ID": None, "PSOT": "POST",
    }
    missing = []
    for wrong, right in expected.items():
        line, column = at(MANY, wrong)
        found = [row for row in output.splitlines() if f"gateway.yaml:{line}:{column}:" in row]
        if not found:
            missing.append(f"{wrong} at {line}:{column}")
        elif right and not any(right in row for row in found):
            missing.append(f"{wrong}: no nearest spelling {right} in {found}")
    assert not missing, "\n".join([*missing, "", output])


def test_a_problem_names_its_whole_path(tmp_path):
    _, output = checked(tmp_path, MANY)
    assert 'routes."POST /orders/{id}".integration.SQS-SendMessage' in output, output


def with_route(route):
    return GOOD + "".join("  " + line + "\n" for line in route.strip("\n").splitlines())


THOUGHTFUL = {
    "a duplicate key": (with_route("POST /orders/{id}:\n  integration: { Mock: {} }"), "POST /orders/{id}"),
    "two names for one path": (with_route("POST /orders/{other}:\n  integration: { Mock: {} }"), "POST /orders/{other}"),
    "a path variable that the key has not": (
        with_route("POST /x/{a}:\n  integration: { SQS-SendMessage: { QueueUrl: queue:orders, MessageBody: $request.path.b } }"), "b"),
    "a required parameter missing": (
        with_route("POST /x:\n  integration: { SQS-SendMessage: { QueueUrl: queue:orders } }"), "MessageBody"),
    "a queue that is not declared": (
        with_route("POST /x:\n  integration: { SQS-SendMessage: { QueueUrl: queue:other, MessageBody: x } }"), "other"),
    "a static value over the target's limit": (
        with_route("POST /x:\n  integration: { SQS-SendMessage: { QueueUrl: queue:orders, MessageBody: x, DelaySeconds: 901 } }"), "900"),
    "a FIFO queue without a group id": (
        with_route("POST /x:\n  integration: { SQS-SendMessage: { QueueUrl: queue:ledger.fifo, MessageBody: x, MessageDeduplicationId: d } }"), "MessageGroupId"),
    "a FIFO queue without a deduplication id": (
        with_route("POST /x:\n  integration: { SQS-SendMessage: { QueueUrl: queue:ledger.fifo, MessageBody: x, MessageGroupId: g } }"), "MessageDeduplicationId"),
    "eleven attributes": (
        with_route("POST /x:\n  integration: { SQS-SendMessage: { QueueUrl: queue:orders, MessageBody: x, MessageAttributes: { "
                   + ", ".join(f"a{n}: v" for n in range(11)) + " } } }"), "10"),
    "an authorizer that is not declared": (with_route("GET /x:\n  authorizer: keyz\n  integration: { Mock: {} }"), "keyz"),
    "an unknown source": (
        with_route("POST /x:\n  integration: { SQS-SendMessage: { QueueUrl: queue:orders, MessageBody: $nonsense.x } }"), "$nonsense"),
    "an unknown context variable": (
        with_route("POST /x:\n  integration: { SQS-SendMessage: { QueueUrl: queue:orders, MessageBody: $context.requestid } }"), "requestId"),
    "an undeclared stage variable": (
        with_route("POST /x:\n  integration: { SQS-SendMessage: { QueueUrl: queue:orders, MessageBody: $stageVariables.tier } }"), "tier"),
    "a missing environment variable": (
        with_route('POST /x:\n  integration: { SQS-SendMessage: { QueueUrl: queue:orders, MessageBody: "${env:SURELY_ABSENT_HERE}" } }'), "SURELY_ABSENT_HERE"),
    "a missing file": (
        with_route('POST /x:\n  integration: { SQS-SendMessage: { QueueUrl: queue:orders, MessageBody: "${file:absent.txt}" } }'), "absent.txt"),
    "a greedy variable that is not last": (with_route("GET /{all+}/x:\n  integration: { Mock: {} }"), "{all+}"),
    "a FIFO queue without the suffix": (GOOD.replace("orders: {}", "orders: {}, plain: { fifo: true }"), "plain"),
    "a redrive to nowhere": (GOOD.replace("orders: {}", "orders: { redrive: { to: dead, max_receive_count: 3 } }"), "dead"),
    "lifo and fifo": (GOOD.replace("ledger.fifo: { fifo: true }", "ledger.fifo: { fifo: true, lifo: true }"), "lifo"),
    "a hash that is none": (GOOD.replace("sha256:", "md5:"), "sha256"),
    "any origin with credentials": (GOOD + 'cors: { allow_origins: ["*"], allow_credentials: true }\n', "credentials"),
    "a burst of zero": (GOOD + "throttle: { rate: 1, burst: 0 }\n", "burst"),
}


@pytest.mark.parametrize("name", THOUGHTFUL)
def test_checks_that_need_thought(tmp_path, name):
    text, word = THOUGHTFUL[name]
    ran, output = checked(tmp_path, text)
    assert ran.returncode == 1, output
    assert word in output
    assert re.search(r"gateway\.yaml:\d+:\d+: ", output), output


WARNINGS = {
    "a route that nothing reaches": GOOD + "  ANY /orders/next:\n    integration: { Mock: {} }\n  GET /a/{x+}:\n    integration: { Mock: {} }\n  GET /a/{y+}:\n    integration: { Mock: {} }\n",
    "a public route without an authorizer": GOOD.replace("127.0.0.1:0 }\nadmin", "0.0.0.0:0 }\nadmin"),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_what_is_probably_not_meant_is_said(tmp_path, name):
    _, output = checked(tmp_path, WARNINGS[name])
    assert "warning:" in output or "error:" in output, output


def test_authorizer_none_silences_the_warning(tmp_path):
    text = GOOD.replace("127.0.0.1:0 }\nadmin", "0.0.0.0:0 }\nadmin").replace("  POST /orders/{id}:\n", "  POST /orders/{id}:\n    authorizer: none\n")
    ran, output = checked(tmp_path, text)
    assert ran.returncode == 0 and "warning:" not in output, output


@pytest.mark.parametrize("text", ["", "routes: [", "- a\n- b\n", "\x00", "routes: &a { x: *a }\n", "api: shop\n---\napi: other\n"],
                         ids=["empty", "no YAML", "a list", "a NUL", "an alias of itself", "two documents"])
def test_what_is_hardly_yaml_is_a_problem_with_a_place_not_a_panic(tmp_path, text):
    ran, output = checked(tmp_path, text)
    assert ran.returncode in ((0, 1) if text == "" else (1,)), output
    assert "panicked" not in output


def test_a_file_that_is_not_there_is_said(tmp_path):
    ran = penstock("check", tmp_path / "absent.yaml")
    assert ran.returncode in (1, 2) and "absent.yaml" in ran.stderr + ran.stdout


def test_a_secret_from_a_file_is_not_printed(tmp_path):
    (tmp_path / "secret").write_text("very-secret-value")
    _, output = checked(tmp_path, GOOD.replace("sha256:" + "0" * 64, "${file:secret}"))
    assert "very-secret-value" not in output and "api_keys" in output


def test_problems_as_json(tmp_path):
    path = write_config(tmp_path, MANY)
    ran = penstock("check", path, "--json", cwd=tmp_path)
    assert ran.returncode == 1
    document = json.loads(ran.stdout)
    problems = document["problems"] if isinstance(document, dict) else document
    assert len(problems) >= 10
    for problem in problems:
        assert problem["severity"] in ("error", "warning") and problem["message"]


def test_files_of_one_api_are_merged_and_a_key_twice_names_both_places(tmp_path):
    first, rest = GOOD.split("routes:\n")
    write_config(tmp_path, first, "a.yaml")
    write_config(tmp_path, "api: shop\nroutes:\n" + rest, "b.yaml")
    ran = penstock("check", tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    write_config(tmp_path, "routes:\n  GET /orders/next:\n    integration: { Mock: {} }\n", "c.yaml")
    ran = penstock("check", tmp_path)
    output = ran.stdout + ran.stderr
    assert ran.returncode == 1
    assert "b.yaml:" in output and "c.yaml:" in output and "GET /orders/next" in output


def test_serve_refuses_a_broken_file_and_prints_the_problems(tmp_path):
    path = write_config(tmp_path, MANY)
    ran = penstock("serve", path, cwd=tmp_path)
    assert ran.returncode == 1
    assert "SQS-SendMesage" in ran.stderr and ran.stdout == ""


def test_serve_that_cannot_bind_is_exit_3(gateway, tmp_path):
    one = gateway(config({"GET /mock": {"integration": {"Mock": {}}}}))
    host, port = one.address
    path = write_config(tmp_path, GOOD.replace("public: { bind: 127.0.0.1:0 }", f"public: {{ bind: {host}:{port} }}"))
    ran = penstock("serve", path, cwd=tmp_path)
    assert ran.returncode == 3
    assert str(port) in ran.stderr


# ---- the other commands ----

def test_routes_are_a_table_and_json(tmp_path):
    path = write_config(tmp_path, GOOD)
    table = penstock("routes", path)
    assert table.returncode == 0
    for word in ("POST", "/orders/{id}", "GET", "/orders/next", "SQS-SendMessage", "SQS-ReceiveMessage", "api_key"):
        assert word in table.stdout, table.stdout
    routes = json.loads(penstock("routes", path, "--json").stdout)
    assert len(routes["routes"] if isinstance(routes, dict) else routes) == 2


def test_explain_prints_the_decision_and_the_exact_call_and_sends_nothing(tmp_path, fake):
    path = write_config(tmp_path, config({
        "POST /orders/{id}": {"integration": {"SQS-SendMessage": {
            "QueueUrl": "https://sqs.us-east-1.amazonaws.com/111122223333/orders", "MessageBody": "$request.body.order",
            "MessageAttributes": {"id": "$request.path.id", "agent": "$request.header.user-agent"}, "DelaySeconds": 5}}},
    }, aws={"region": "us-east-1", "endpoint": fake.url}))
    ran = penstock("explain", path, "POST", "/orders/42", "-H", "user-agent: curl/8.0", "-d", '{"order":{"n":1}}', cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "POST /orders/{id}" in ran.stdout and "SQS-SendMessage" in ran.stdout
    as_json = penstock("explain", path, "POST", "/orders/42", "-H", "user-agent: curl/8.0", "-d", '{"order":{"n":1}}', "--json", cwd=tmp_path)
    text = json.dumps(json.loads(as_json.stdout))
    for word in ('{\\\\\\"n\\\\\\":1}', '"42"', '"curl/8.0"', "QueueUrl", "MessageBody"):
        assert word in text or word.replace("\\\\\\", "\\") in text, (word, text)
    assert fake.calls == [] and not (tmp_path / "data").exists()


def test_explain_says_which_idempotency_key_was_found_and_never_shows_it(tmp_path):
    url = "https://sqs.us-east-1.amazonaws.com/111122223333/orders"
    send = {"SQS-SendMessage": {"QueueUrl": url, "MessageBody": "$context.idempotencyId"}}
    key = {"key": "$request.header.idempotency-key"}
    path = write_config(tmp_path, config({
        "POST /orders": {"integration": send, "idempotency": {**key, "ttl": "1h"}},
        "POST /strict": {"integration": send, "idempotency": {**key, "required": True}},
    }, aws={"region": "us-east-1"}))

    def explain(route, *arguments):
        ran = penstock("explain", path, "POST", route, *arguments, "--json", cwd=tmp_path)
        assert "hush-hush" not in ran.stdout + ran.stderr
        said = json.loads(ran.stdout)
        return ran.returncode, said, [one["detail"] for one in said["phases"] if one["phase"] == "verify"][-1]

    code, said, detail = explain("/orders", "-H", "idempotency-key: hush-hush")
    body = said["call"]["SQS-SendMessage"]["MessageBody"]
    assert code == 0 and re.fullmatch("[0-9a-f]{64}", body), said
    assert f"idempotency key from $request.header.idempotency-key, id {body}, kept for 1h" in detail
    assert explain("/orders", "-H", 'idempotency-key: "hush-hush"')[2] == detail, "a structured string is what it quotes"
    code, said, detail = explain("/strict", "-H", "idempotency-key: " + "x" * 256)
    assert code == 1 and said["status"] == 400 and "longer than 255 bytes" in detail
    code, said, detail = explain("/strict")
    assert code == 1 and said["status"] == 400 and "needs an idempotency key" in detail


def test_explain_says_why_a_request_would_be_refused(tmp_path):
    path = write_config(tmp_path, GOOD)
    for arguments, word in ((("GET", "/nowhere"), "404"), (("PUT", "/orders/1"), "405"), (("GET", "/orders/next"), "403")):
        ran = penstock("explain", path, *arguments, cwd=tmp_path)
        assert word in ran.stdout, (arguments, ran.stdout, ran.stderr)


def test_the_schema_is_the_one_that_ships():
    ran = penstock("schema")
    assert ran.returncode == 0
    schema = json.loads(ran.stdout)
    assert "routes" in json.dumps(schema)
    assert json.loads((REPOSITORY / "config" / "schema.json").read_text()) == schema


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions(shell):
    ran = penstock("completions", shell)
    assert ran.returncode == 0 and "penstock" in ran.stdout and "explain" in ran.stdout


COMMANDS = ["serve", "check", "routes", "explain", "schema", "completions"]


def test_help_is_complete():
    top = penstock("--help")
    assert top.returncode == 0
    for command in COMMANDS:
        assert command in top.stdout
        each = penstock(command, "--help")
        assert each.returncode == 0 and len(each.stdout.splitlines()) > 4
    assert "xit" in top.stdout and re.search(r"\b3\b", top.stdout), "the exit codes are documented"
    assert re.search(r"\d+\.\d+\.\d+", penstock("--version").stdout)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["check"], ["serve", "--nonsense"], ["explain", "a.yaml"]])
def test_wrong_usage_is_exit_2_on_stderr(arguments):
    ran = penstock(*arguments)
    assert ran.returncode == 2 and ran.stderr and not ran.stdout


def test_the_port_of_the_default_config_is_free_to_choose(gateway):
    port = free_port()
    one = gateway(config({"GET /mock": {"integration": {"Mock": {"body": "fine"}}}}, listeners={"public": {"bind": f"127.0.0.1:{port}"}}))
    assert one.address == ("127.0.0.1", port)
    assert one.request("GET", "/mock").body == b"fine"


def test_several_listeners_serve_the_same_routes(gateway):
    one = gateway(config(
        {"GET /mock": {"integration": {"Mock": {"body": "fine"}}}},
        listeners={"public": {"bind": "127.0.0.1:0"}, "private": {"bind": "127.0.0.1:0"}}))
    assert set(one.listeners) == {"public", "private"}
    for address in one.listeners.values():
        assert request(address, "GET", "/mock").body == b"fine"
