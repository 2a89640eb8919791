"""deploy/ci/canary.sh, which both pipelines run, against a gateway: what it says, and how it ends."""

import os
import shutil
import signal
import socket
import subprocess

import pytest

from support.gateway import BINARY, REPOSITORY, environment
from support.processes import PATIENCE, end, eventually, free_port, refusing_port, spawn, tail
from test_deployments import Callers, answering, canary, told, version, write

SCRIPT = REPOSITORY / "deploy" / "ci" / "canary.sh"
TOKEN = "a-token-that-is-long-enough"
NEVER = {"steps": ["50%"], "every": "1h"}  # a canary that waits for somebody's word


@pytest.fixture
def pipeline(tmp_path):
    """Starts steps of the pipeline: `pipeline(gateway, "deploy", document)` is a running one; see `ended`."""
    if not shutil.which("jq"):
        pytest.skip("jq is not installed")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "penstock").symlink_to(BINARY)
    started = []

    def start(admin, *arguments, token=None, patience=60):
        variables = {
            "PATH": f"{tools}:{os.environ['PATH']}", "PENSTOCK_ADMIN": admin,
            "CANARY_POLL_SECONDS": "0.2", "CANARY_PATIENCE_SECONDS": str(patience)}
        if token:
            variables["PENSTOCK_ADMIN_TOKEN"] = token
        log = tmp_path / f"step-{len(started)}"
        with open(log, "wb") as out:
            step = spawn([SCRIPT, *arguments], cwd=tmp_path, env=environment(**variables), stdout=out, stderr=out)
        step.said = lambda: tail(log, 200)
        started.append(step)
        return step
    yield start
    for step in started:
        end(step)


def admin(one):
    return "http://{}:{}".format(*one.admin_address)


def ended(step, code, *words, within=2 * PATIENCE):
    """Waits for its end, and looks at its exit code and at what it said."""
    assert step.wait(within) == code, step.said()
    for word in words:
        assert word in step.said(), step.said()
    return step.said()


def test_the_shell_script_is_clean():
    lint = shutil.which("shellcheck")
    if not lint:
        pytest.skip("shellcheck is not installed")
    for script in (SCRIPT, REPOSITORY / "deploy" / "build-static"):
        ran = subprocess.run([lint, script], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stdout


def test_check_and_plan_show_and_change_nothing_and_errors_stop_the_pipeline(gateway, pipeline):
    one = gateway(answering("one"))
    good = write(one, canary("two"), "good.yaml")
    broken = canary("two")
    broken["routes"]["GET /v"]["integration"]["Mock"]["statsu"] = 1
    bad = write(one, broken, "bad.yaml")
    ended(pipeline(admin(one), "check", good), 0)
    ended(pipeline(admin(one), "plan", good), 0, "~ GET /v", "1 route changed")
    for step in ("check", "plan", "deploy"):
        ended(pipeline(admin(one), step, bad), 1, "statsu")
    assert version(one, 1) == ("one", 200) and told(one)["canary"] is None


def test_a_good_canary_ends_well_and_the_same_again_is_nothing_to_do(gateway, pipeline):
    one = gateway(answering("one"))
    callers, file = Callers(one), write(one, canary("two"))
    said = ended(pipeline(admin(one), "deploy", file), 0, "canary: serves 40%", "running: serves everybody")
    callers.stop()
    assert said.count("running:") == 1 and version(one, 1) == ("two", 200)
    ended(pipeline(admin(one), "deploy", file), 0, "running: serves everybody", within=PATIENCE)


def test_a_canary_whose_target_fails_is_taken_back_and_the_pipeline_fails_now_and_the_next_time(gateway, pipeline):
    one = gateway(answering("one"))
    callers, file = Callers(one), write(one, canary("two", 500))
    ended(pipeline(admin(one), "deploy", file), 1, "rolled-back: ", "failed:")
    callers.stop()
    assert version(one, 1) == ("one", 200)
    ended(pipeline(admin(one), "deploy", file), 1, "was rolled back")


def test_a_canary_without_a_verdict_is_taken_back_when_patience_ends(gateway, pipeline):
    one = gateway(answering("one"))
    step = pipeline(admin(one), "deploy", write(one, canary("two", **NEVER)), patience=1)
    ended(step, 1, "has no verdict after 1 seconds")
    assert told(one)["canary"] is None and {version(one, caller) for caller in range(20)} == {("one", 200)}


def test_a_canary_that_is_taken_back_or_promoted_by_hand_ends_the_wait(gateway, pipeline):
    one = gateway(answering("one"))
    for order, code, words in (("abort", 1, "rolled-back:"), ("promote", 0, "running:")):
        step = pipeline(admin(one), "deploy", write(one, canary(order, **NEVER)))
        eventually(lambda: told(one)["canary"], what="the canary")
        assert one.admin("/v1/deployments").status == 200
        ran = subprocess.run([BINARY, "canary", order, "--admin", admin(one)], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr
        ended(step, code, words)


def test_a_canary_that_is_replaced_had_no_good_end_though_its_like_is_superseded(gateway, pipeline):
    one = gateway(answering("one"))
    first = pipeline(admin(one), "deploy", write(one, canary("two", **NEVER), "two.yaml"))
    eventually(lambda: "canary: serves" in first.said(), what="the first canary")
    second = pipeline(admin(one), "deploy", write(one, canary("three", **NEVER), "three.yaml"), patience=5)
    ended(first, 1, "replaced:")
    ended(second, 1, "has no verdict")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_interrupts_the_wait_takes_the_canary_back_at_once(gateway, pipeline, number):
    one = gateway(answering("one"))
    step = pipeline(admin(one), "deploy", write(one, canary("two", **NEVER)))
    eventually(lambda: "canary: serves" in step.said(), what="the canary")
    step.send_signal(number)
    ended(step, 1)
    assert told(one)["canary"] is None and told(one)["deployments"][0]["status"] == "rolled-back"


def test_abort_takes_back_the_canary_of_these_files_and_leaves_others_alone(gateway, pipeline):
    one = gateway(answering("one"))
    own, other = write(one, canary("two", **NEVER), "two.yaml"), write(one, canary("three", **NEVER), "three.yaml")
    ran = subprocess.run([BINARY, "deploy", own, "--admin", admin(one)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    ended(pipeline(admin(one), "abort", other), 0, "nothing is taken back")
    assert told(one)["canary"]
    ended(pipeline(admin(one), "abort", own), 0)
    assert told(one)["canary"] is None


def test_a_gateway_that_is_away_for_a_while_is_asked_on(gateway, pipeline):
    one = gateway({**answering("one"), "admin": {"bind": f"127.0.0.1:{free_port()}"}})
    file = write(one, canary("two"))
    step = pipeline(admin(one), "deploy", file)
    eventually(lambda: "canary: serves" in step.said(), what="the canary")
    one.kill()
    eventually(lambda: "unheard:" in step.said(), what="that it is away")
    one.start()
    callers = Callers(one)
    ended(step, 0, "running: serves everybody")
    callers.stop()


def test_a_gateway_that_is_not_there_or_does_not_answer_is_a_failure(pipeline, tmp_path):
    file = tmp_path / "routes.yaml"
    file.write_text("routes: { GET /a: { integration: { Mock: {} } } }\n")
    nobody = f"http://127.0.0.1:{refusing_port()}"
    for step in ("plan", "deploy", "abort"):
        assert nobody.removeprefix("http://") in ended(pipeline(nobody, step, file), 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = "http://127.0.0.1:{}".format(mute.getsockname()[1])
        steps = [pipeline(silent, step, file) for step in ("plan", "deploy", "abort")]
        for step in steps:
            ended(step, 1, "did not answer within 60 s")


def test_a_wrong_token_is_refused_and_the_right_one_is_not_printed(gateway, pipeline):
    document = answering("one")
    document["admin"]["token"] = TOKEN
    one = gateway(document)
    two = canary("two", **NEVER)
    two["admin"]["token"] = TOKEN
    file = write(one, two)
    for token in (None, "another-token-that-is-long-enough"):
        said = ended(pipeline(admin(one), "deploy", file, token=token), 1, "admin.token")
        assert "another-token" not in said
    assert told(one)["canary"] is None
    assert TOKEN not in ended(pipeline(admin(one), "deploy", file, token=TOKEN, patience=1), 1, "has no verdict")


def test_what_it_cannot_do_it_says(gateway, pipeline):
    one = gateway(answering("one"))
    ended(pipeline(admin(one), "deploy", write(one, canary("two")), patience="1h"), 2, "CANARY_PATIENCE_SECONDS")
    assert told(one)["canary"] is None
    ended(pipeline("http://127.0.0.1:1"), 2, "usage:")
    ended(pipeline("http://127.0.0.1:1", "launch"), 2, "usage:")
