"""StepFunctions-StartExecution, -StartSyncExecution and -StopExecution, on state machines that run."""

import json

import pytest

from support import emulators
from support.emulators import REGION, unique
from support.gateway import config
from support.processes import eventually

ROLE = "arn:aws:iam::000000000000:role/machine"
PASS = {"StartAt": "Done", "States": {"Done": {"Type": "Pass", "End": True}}}
FAIL = {"StartAt": "Broken", "States": {"Broken": {"Type": "Fail", "Error": "Custom", "Cause": "on purpose"}}}
WAIT = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}}


def machine(emulator, definition, kind="STANDARD"):
    return emulator.client("stepfunctions").create_state_machine(
        name=unique("machine"), definition=json.dumps(definition), roleArn=ROLE, type=kind)["stateMachineArn"]


def start(arn, **parameters):
    return {"integration": {"StepFunctions-StartExecution": {"StateMachineArn": arn, "Input": "$request.body", **parameters}}}


def sync(arn, **parameters):
    return {"integration": {"StepFunctions-StartSyncExecution": {"StateMachineArn": arn, "Input": "$request.body", **parameters}}}


STOP = {"integration": {"StepFunctions-StopExecution": {
    "ExecutionArn": "$request.querystring.arn", "Cause": "$request.body.cause", "Error": "$request.body.error", "Region": REGION}}}


def serving(gateway, emulator, routes, dialect="native", **sections):
    one = gateway(config(routes, responses=dialect, aws={"region": REGION, "endpoint": emulator.url}, **sections))
    one.dialect = dialect
    return one


def executions(emulator, arn):
    states = emulator.client("stepfunctions")
    found = states.list_executions(stateMachineArn=arn)["executions"]
    return [states.describe_execution(executionArn=one["executionArn"]) for one in found]


@pytest.mark.parametrize("dialect", ["native", "aws"])
def test_an_execution_starts_with_the_body_as_input(gateway, emulator, dialect):
    arn = machine(emulator, PASS)
    one = serving(gateway, emulator, {"POST /run": start(arn, Name="$request.header.x-name", Region=REGION)}, dialect)
    name = unique("run")
    answer = one.request("POST", "/run", '{"order": 1, "text": "é 🎈"}', {"x-name": name})
    if dialect == "native":
        assert answer.status == 202, answer
        assert name in answer.json()["messageId"]
    else:
        assert answer.status == 200, answer
        assert answer.headers["content-type"].startswith("application/x-amz-json-1.0")
        assert answer.json()["executionArn"].endswith(name)
        assert isinstance(answer.json()["startDate"], (int, float))
    (execution,) = executions(emulator, arn)
    assert execution["name"] == name
    assert json.loads(execution["input"]) == {"order": 1, "text": "é 🎈"}


def test_an_execution_without_a_name_gets_the_request_id(gateway, emulator):
    arn = machine(emulator, PASS)
    one = serving(gateway, emulator, {"POST /run": start(arn)})
    answer = one.request("POST", "/run", b"{}")
    assert answer.status == 202, answer
    (execution,) = executions(emulator, arn)
    assert execution["name"] == answer.headers["x-request-id"]


def test_an_unknown_machine_is_our_setup(gateway, emulator):
    one = serving(gateway, emulator, {"POST /run": start(f"arn:aws:states:{REGION}:000000000000:stateMachine:{unique('none')}")})
    answer = one.request("POST", "/run", b"{}")
    assert answer.status == 502 and answer.code == "target_setup"
    assert "StateMachineDoesNotExist" in answer.json()["detail"]


def test_a_missing_mapping_is_400(gateway, emulator):
    arn = machine(emulator, PASS)
    one = serving(gateway, emulator, {"POST /run": start(arn, Input="$request.body.input")})
    assert one.request("POST", "/run", b"{}").code == "mapping_unresolved"
    assert executions(emulator, arn) == []


def test_input_over_256_kib_is_413_and_names_the_limit(gateway, emulator):
    arn = machine(emulator, PASS)
    one = serving(gateway, emulator, {"POST /run": start(arn)})
    answer = one.request("POST", "/run", b'"' + b"x" * (256 * 1024) + b'"')
    assert answer.status == 413 and answer.code == "target_limit"
    assert executions(emulator, arn) == []
    assert one.request("POST", "/run", b'"' + b"x" * (256 * 1024 - 2) + b'"').status == 202


@pytest.mark.parametrize("dialect", ["native", "aws"])
def test_a_synchronous_execution_answers_with_its_output(gateway, ministack, dialect):
    """Only MiniStack serves it; the SDK's `sync-` host prefix must not reach DNS."""
    arn = machine(ministack, PASS, "EXPRESS")
    one = serving(gateway, ministack, {"POST /run": sync(
        arn, Name="$request.header.x-name", TraceHeader="Root=1-5759e988-bd862e3fe1be46a994272793", Region=REGION)}, dialect)
    answer = one.request("POST", "/run", b'{"order":1}', {"x-name": unique("run")})
    assert answer.status == 200, answer
    result = answer.json()
    assert result["status"] == "SUCCEEDED"
    assert json.loads(result["output"]) == {"order": 1}
    assert result["executionArn"] and result["startDate"] and result["stopDate"]


@pytest.mark.parametrize("dialect", ["native", "aws"])
def test_a_synchronous_execution_that_fails_is_no_hidden_failure(gateway, ministack, dialect):
    arn = machine(ministack, FAIL, "EXPRESS")
    one = serving(gateway, ministack, {"POST /run": sync(arn)}, dialect)
    answer = one.request("POST", "/run", b"{}")
    if dialect == "native":
        assert answer.status == 502, answer
        assert "Custom" in answer.json()["detail"]
    else:
        assert answer.status == 200
        assert answer.json()["status"] == "FAILED"
        assert answer.json()["error"] == "Custom" and answer.json()["cause"] == "on purpose"
    assert one.metrics().value("penstock_target_calls_total", result="ok") == 0, "counted as a failure"
    assert "Custom" in str(one.log_line(answer.headers["x-request-id"]))


@pytest.mark.parametrize("dialect", ["native", "aws"])
def test_an_execution_is_stopped_with_cause_and_error(gateway, tmp_path, dialect):
    server = emulators.started("ministack", tmp_path, waiting=True)
    try:
        arn = machine(server, WAIT)
        states = server.client("stepfunctions")
        execution = states.start_execution(stateMachineArn=arn, input="{}")["executionArn"]
        one = serving(gateway, server, {"POST /stop": STOP}, dialect)
        answer = one.request("POST", f"/stop?arn={execution}", b'{"cause":"enough","error":"Stopped"}')
        assert answer.status == 200, answer
        if dialect == "aws":
            assert isinstance(answer.json()["stopDate"], (int, float))
        stopped = eventually(
            lambda: (d := states.describe_execution(executionArn=execution))["status"] != "RUNNING" and d, what="the stop")
        assert stopped["status"] == "ABORTED"
        assert stopped.get("cause") == "enough" and stopped.get("error") == "Stopped"
    finally:
        server.stop()


def test_stopping_what_does_not_exist_gives_the_reason(gateway, ministack):
    one = serving(gateway, ministack, {"POST /stop": STOP})
    missing = f"arn:aws:states:{REGION}:000000000000:execution:none:{unique('none')}"
    answer = one.request("POST", f"/stop?arn={missing}", b'{"cause":"x","error":"y"}')
    assert answer.status >= 400
    assert "ExecutionDoesNotExist" in answer.json()["detail"]
