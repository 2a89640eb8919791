"""Fixtures of the black-box tests, and what they report: skips with their reasons, logs of what failed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from support import emulators  # noqa: E402
from support.fake_aws import FakeAws  # noqa: E402
from support.fake_target import FakeTarget  # noqa: E402
from support.gateway import BINARY, Gateway  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="long runs: fifty kills in place of five")
    parser.addoption("--counts", metavar="FILE", help="write the counts and the skips there, as JSON")


def pytest_sessionstart(session):
    if not BINARY.exists() and not session.config.option.collectonly:
        raise pytest.UsageError(f"no binary at {BINARY}: run tests/run, or cargo build, or set PENSTOCK_BIN")


@pytest.fixture(scope="session")
def long_run(request):
    """Whether this is a long run (tests/run --long)."""
    return request.config.option.long


@pytest.fixture
def gateway(request, tmp_path):
    """Starts gateways: `gateway(config)`. Stops them; panics and an unbalanced ledger fail the test."""
    started = request.node.gateways = []

    def start(document, listeners=None, launch_only=False, **options):
        directory = tmp_path / f"gateway-{len(started)}"
        directory.mkdir()
        one = Gateway(directory, document, **options)
        started.append(one)
        return one.launch() if launch_only else one.start(listeners)

    yield start
    finish(started)


@pytest.fixture(scope="module")
def shared_gateway(request, tmp_path_factory):
    """As `gateway`, for a whole file: for tables whose rows do not disturb each other."""
    started = request.node.gateways = []

    def start(document, **options):
        one = Gateway(tmp_path_factory.mktemp("shared"), document, **options)
        started.append(one)
        return one.start()

    yield start
    finish(started)


def finish(gateways):
    """Stops them all, then says what no gateway may have done."""
    complaints = []
    for one in gateways:
        if one.running and one.admin_address:
            complaints += ledger_complaint(one)
        if one.child:
            one.stop(grace=10)  # what a test has to say of an orderly end it has said by now
        for run in range(1, one.runs + 1):
            printed = (one.directory / f"stderr.{run}").read_text(errors="replace")
            if "panicked at" in printed:
                complaints.append(f"a panic:\n{printed[-4000:]}")
    assert not complaints, "\n".join(complaints)


def ledger_complaint(one, attempts=400):
    """The ledger's imbalance, if it stays; a scrape may fall between two counters of a request that just ended."""
    for attempt in range(attempts):
        try:
            one.metrics().assert_balanced()
            unbalanced = one.unbalanced_queues()
            assert not unbalanced, f"queues whose fates do not sum up: {unbalanced}"
            return []
        except (AssertionError, OSError) as complaint:
            last = f"ledger: {complaint}"
        time.sleep(0.05)
    return [last]


@pytest.fixture(scope="module")
def ministack(tmp_path_factory):
    server = emulators.started("ministack", tmp_path_factory.mktemp("ministack"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    server = emulators.started("moto", tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["ministack", "moto"])
def emulator(request, tmp_path_factory):
    """Each emulator in turn; one at a time."""
    server = emulators.started(request.param, tmp_path_factory.mktemp(request.param))
    yield server
    server.stop()


@pytest.fixture
def fake():
    """A fake AWS endpoint of the test's own."""
    endpoint = FakeAws().start()
    yield endpoint
    endpoint.stop()


@pytest.fixture
def target():
    """A fake AWS endpoint that keeps what it takes, and comes and goes."""
    endpoint = FakeTarget().start()
    yield endpoint
    endpoint.stop()
    assert not endpoint.faults, endpoint.faults


@pytest.fixture
def tiny_disk(tmp_path):
    """A filesystem of 192 MiB of its own, or a skip with the reason."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    place = tmp_path / "disk"
    place.mkdir()
    ran = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(place)], stderr=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {ran.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        owners = [item, getattr(item, "module", None) and item.getparent(pytest.Module)]
        for owner in filter(None, owners):
            for one in getattr(owner, "gateways", []):
                for title, text in one.story():
                    if text.strip():
                        report.sections.append((f"gateway: {title}", text))


def pytest_terminal_summary(terminalreporter, config):
    path = config.option.counts
    if not path:
        return
    stats = terminalreporter.stats
    skips = []
    for report in stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skips.append([report.nodeid, reason.removeprefix("Skipped: ")])
    Path(path).write_text(json.dumps({
        "passed": len(stats.get("passed", [])),
        "failed": len(stats.get("failed", [])) + len(stats.get("error", [])),
        "failures": [report.nodeid for key in ("failed", "error") for report in stats.get(key, [])],
        "skipped": skips,
    }))
