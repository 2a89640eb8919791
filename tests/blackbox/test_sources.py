"""A configuration that is kept elsewhere: in S3, or in AppConfig; and a start without the network."""

import os
import signal
import stat

import pytest
import yaml

from support.emulators import REGION
from conftest import finish
from support.gateway import Gateway, config, penstock
from support.kept import Address, Bucket, Profile
from support.processes import eventually, refusing_port
from support.relay import Relay


def document(tmp_path, status, **sections):
    routes = {"GET /a": {"integration": {"Mock": {"status": status}}}}
    return yaml.safe_dump(config(routes, store={"path": str(tmp_path / "data")}, **sections), sort_keys=False)


@pytest.fixture
def relay():
    made = []

    def make(url):
        made.append(Relay(url))
        return made[-1]
    yield make
    for each in made:
        each.close()


@pytest.fixture(params=[Bucket, Profile], ids=["S3", "AppConfig"])
def kept(request, ministack):
    return request.param(ministack)


@pytest.fixture
def start(tmp_path, request):
    """Starts gateways whose configuration is kept elsewhere."""
    started = request.node.gateways = []

    def make(kept, url, launch_only=False):
        directory = tmp_path / f"gateway-{len(started)}"
        directory.mkdir()
        one = Gateway(directory, {}, env={"AWS_ENDPOINT_URL": url}, arguments=[
            "--poll", "1s", "--region", REGION, "--copy", str(tmp_path / "kept" / "copy.yaml")])
        one.config = Address(kept.address)
        started.append(one)
        return one.launch() if launch_only else one.start(listeners=1)
    yield make
    finish(started)


def status(one):
    return one.request("GET", "/a").status


def test_is_fetched_followed_and_a_broken_one_is_refused(start, kept, ministack, tmp_path):
    kept.put(document(tmp_path, 200))
    one = start(kept, ministack.url)
    assert status(one) == 200
    shown = one.admin("/readyz").json()["configuration"]
    assert shown["from"] == kept.address
    kept.put(document(tmp_path, 201))
    eventually(lambda: status(one) == 201, what="the new version")
    copy = tmp_path / "kept" / "copy.yaml"
    eventually(lambda: "status: 201" in copy.read_text(), what="its copy")
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    kept.put("routes: [")
    eventually(lambda: one.metrics().value("penstock_config_reloads_total", origin="source", result="refused") == 1, what="the refusal")
    assert status(one) == 201 and "status: 201" in copy.read_text()
    kept.put(document(tmp_path, 202))
    one.signal(signal.SIGHUP)
    eventually(lambda: status(one) == 202, what="the repaired version")


def test_without_the_network_it_starts_on_the_last_good_copy_and_says_so(start, kept, ministack, relay, tmp_path):
    kept.put(document(tmp_path, 200))
    way = relay(ministack.url)
    one = start(kept, way.url)
    assert status(one) == 200
    way.down()
    eventually(lambda: one.metrics().value("penstock_config_source_fetches_total", result="failed") >= 1, what="a failed question")
    assert status(one) == 200
    one.stop()
    two = start(kept, way.url)
    assert status(two) == 200
    assert "runs on the copy" in two.logs() and "fetched 20" in two.logs()
    assert any("runs on the copy" in remark for remark in two.admin("/readyz").json()["remarks"])
    kept.put(document(tmp_path, 201))
    way.up()
    eventually(lambda: status(two) == 201, what="the new version")
    eventually(lambda: not two.admin("/readyz").json()["remarks"], what="the end of the remark")


def test_a_start_with_a_broken_one_uses_the_last_good_copy_too(start, kept, ministack, tmp_path):
    kept.put(document(tmp_path, 200))
    one = start(kept, ministack.url)
    one.stop()
    kept.put("routes: [")
    two = start(kept, ministack.url)
    assert status(two) == 200 and "is refused" in two.logs()


def test_without_network_and_copy_it_does_not_start_and_says_what_is_missing(start, kept, tmp_path):
    one = start(kept, f"http://127.0.0.1:{refusing_port()}", launch_only=True)
    assert one.wait() == 3
    assert kept.address in one.logs() and "there is no copy in" in one.logs()


@pytest.mark.parametrize("arguments, said", [
    (["s3://bucket"], "names no configuration"),
    (["appconfig:a/b"], "names no configuration"),
    (["s3://bucket/key", "more.yaml"], "stands alone"),
])
def test_an_address_that_is_none_is_refused(arguments, said):
    ran = penstock("serve", *arguments)
    assert ran.returncode == 2 and said in ran.stderr
