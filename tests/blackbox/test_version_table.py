"""The table of versions in DynamoDB: read in the background, kept, and never replaced by a bad one."""

import json

import pytest
import yaml

from support.apis import folder, mock
from support.emulators import REGION, unique
from support.gateway import AWS_ENVIRONMENT, environment, penstock
from support.processes import eventually, free_port
from support.relay import Relay

HOST = {"host": "api.example.com"}
VERSIONS = [{"api": name, "routes": {"GET /x": mock(name)}} for name in ("v1", "v2")]
HIDDEN = {"api": "hidden", "hosts": ["hidden.example.com"], "routes": {"GET /x": mock("hidden")}}


def front(name, **more):
    dynamodb = {"table": name, "apis": ["v1", "v2"], "refresh": "1s", **more.pop("dynamodb", {})}
    return {"api": "front", "hosts": ["api.example.com"],
            "versions": {"from": [{"header": "apiver"}], "dynamodb": dynamodb, **more}}


def item(version, api, **more):
    return {"version": {"S": version}, "api": {"S": api}, **more}


class Table:
    def __init__(self, emulator):
        self.name, self.client = unique("versions"), emulator.client("dynamodb")
        self.client.create_table(
            TableName=self.name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "version", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "version", "AttributeType": "S"}])

    def put(self, *items):
        for one in items:
            self.client.put_item(TableName=self.name, Item=one)

    def drop(self, version):
        self.client.delete_item(TableName=self.name, Key={"version": {"S": version}})


@pytest.fixture
def table(emulator):
    made = Table(emulator)
    made.put(item("v1", "v1", sunset={"S": "2099-12-31"}), item("v2", "v2"))
    return made


def ask(one, version):
    return one.request("GET", "/x", headers={**HOST, **({"apiver": version} if version else {})})


def ready(one):
    return one.admin("/readyz").body.decode()


def rows_are_there(one):
    """The first read may fail where the machine is busy; the next one comes soon."""
    eventually(lambda: ask(one, "v1").status != 503, 30, "the table is read")


def aws(url):
    return {"aws": {"region": REGION, "endpoint": url}}


def test_what_changes_in_the_table_is_in_use_without_a_reload(gateway, tmp_path, emulator, table):
    one = gateway(folder(tmp_path, aws(emulator.url), front(table.name, default="v2"), HIDDEN, *VERSIONS))
    rows_are_there(one)
    assert ask(one, "v1").body.startswith(b"v1") and ask(one, "v1").headers["sunset"]
    assert ask(one, "").body.startswith(b"v2")
    assert ask(one, "v3").status == 403
    table.put(item("v3", "v1"), item("v4", "hidden"))
    eventually(lambda: ask(one, "v3").status == 200, 20, "the new version is served")
    assert ask(one, "v4").status == 403, "an API that the file does not allow"
    assert "names `hidden`" in ready(one)
    table.put(item("v1", "v1", sunset={"S": "2020-01-01"}, gone={"BOOL": True}))
    eventually(lambda: ask(one, "v1").status == 410, 20, "the old version has ended")
    metrics = one.admin("/metrics").body.decode()
    assert f'penstock_version_table_reads_total{{table="{table.name}",result="ok"}}' in metrics


def test_a_bad_table_never_replaces_a_good_one(gateway, tmp_path, emulator, table):
    one = gateway(folder(tmp_path, aws(emulator.url), front(table.name), *VERSIONS))
    rows_are_there(one)
    assert ask(one, "v1").status == 200
    table.put(item("v3", "v1"), item("v2", "v2", sunset={"S": "soon"}))
    eventually(lambda: "is not a date" in ready(one), 20, "the bad table is told of")
    assert ask(one, "v2").status == 200 and ask(one, "v3").status == 403
    table.put(item("v2", "v2"))
    eventually(lambda: ask(one, "v3").status == 200, 20, "the good table is in use")
    for version in ("v1", "v2", "v3"):
        table.drop(version)
    eventually(lambda: "it holds no version" in ready(one), 20, "the empty table is told of")
    assert ask(one, "v2").status == 200


def test_a_partition_is_queried(gateway, tmp_path, emulator):
    name, client = unique("shared"), emulator.client("dynamodb")
    keys = [("service", "HASH"), ("name", "RANGE")]
    client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key, _ in keys])
    for service, version in [("orders", "v1"), ("orders", "v2"), ("other", "v3")]:
        client.put_item(TableName=name, Item={
            "service": {"S": service}, "name": {"S": version}, "serves": {"S": version}, "api": {"BOOL": True}})
    more = {"attributes": {"version": "name", "api": "serves"}, "partition": {"key": "service", "value": "orders"}}
    one = gateway(folder(tmp_path, aws(emulator.url), front(name, dynamodb=more), *VERSIONS))
    rows_are_there(one)
    assert [ask(one, version).status for version in ("v1", "V2", "v3")] == [200, 200, 403]


def test_without_rows_it_is_our_fault_unless_the_file_has_some(gateway, tmp_path):
    nobody = aws(f"http://127.0.0.1:{free_port()}")
    one = gateway(folder(tmp_path, nobody, front("versions"), *VERSIONS))
    answer = ask(one, "v1")
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "versions_unavailable"), answer
    assert answer.headers["retry-after"]
    assert "cannot be used" in ready(one)
    (tmp_path / "other").mkdir()
    two = gateway(folder(tmp_path / "other", nobody, front("versions", table={"v1": "v1"}), *VERSIONS))
    assert ask(two, "v1").status == 200 and ask(two, "v2").status == 403


def test_a_reload_carries_the_rows_over_and_refuses_a_table_that_is_not_there(gateway, tmp_path, emulator, table):
    where = folder(tmp_path, aws(emulator.url), front(table.name), *VERSIONS)
    one = gateway(where)
    rows_are_there(one)
    assert ask(one, "v1").status == 200
    written = where / "front.yaml"
    written.write_text(yaml.safe_dump(front("nowhere")))
    eventually(lambda: "nowhere" in ready(one), 30, "the refusal is told of")
    assert ask(one, "v1").status == 200
    written.write_text(yaml.safe_dump(front(table.name, unknown=406)))
    eventually(lambda: ask(one, "v9").status == 406, 30, "the reload")
    assert ask(one, "v1").status == 200


def test_a_start_without_the_network_has_the_last_good_rows(gateway, tmp_path, emulator, table):
    way = Relay(emulator.url)
    try:
        one = gateway(folder(tmp_path, {**aws(way.url), "queues": {"kept": {}}}, front(table.name), *VERSIONS))
        rows_are_there(one)
        one.stop()
        way.down()
        one.start()
        assert ask(one, "v1").body.startswith(b"v1") and ask(one, "v9").status == 403
        assert "from the copy on disk" in ready(one)
        table.put(item("v9", "v2"))
        way.up()
        eventually(lambda: ask(one, "v9").status == 200, 30, "the table is read again")
        eventually(lambda: "from the copy on disk" not in ready(one), 10, "and that is told")
    finally:
        way.close()


def test_a_table_without_rows_is_asked_again_soon_whatever_its_refresh_is(gateway, tmp_path, emulator, table):
    way = Relay(emulator.url)
    way.down()
    try:
        one = gateway(folder(tmp_path, aws(way.url), front(table.name, dynamodb={"refresh": "1h"}), *VERSIONS))
        assert ask(one, "v1").status == 503
        way.up()
        eventually(lambda: ask(one, "v1").status == 200, 60, "the table is read")
    finally:
        way.close()


def test_a_canary_that_names_a_table_which_cannot_be_read_is_refused(gateway, tmp_path, emulator, table):
    one = gateway(folder(tmp_path, aws(emulator.url), front(table.name), *VERSIONS))
    rows_are_there(one)
    (tmp_path / "next").mkdir()  # not where it is watched: the reload would be refused, too
    where = folder(tmp_path / "next", aws(emulator.url), front("nowhere"), *VERSIONS)
    admin = "http://{}:{}".format(*one.admin_address)
    refused = penstock("deploy", where, "--strategy", "canary", "--admin", admin)
    assert refused.returncode == 1 and "nowhere" in refused.stderr, refused
    listing = json.loads(penstock("deployments", "--json", "--admin", admin).stdout)
    assert listing["canary"] is None and listing["deployments"][0]["status"] == "refused"
    assert ask(one, "v1").status == 200


def test_the_policy_allows_the_table_to_be_read_and_a_live_check_reads_it(tmp_path, emulator, table):
    where = folder(tmp_path, aws(emulator.url), front(table.name), *VERSIONS)
    allowed = json.loads(penstock("iam", where, "--account", "111122223333").stdout)["Statement"]
    arn = f"arn:aws:dynamodb:{REGION}:111122223333:table/{table.name}"
    assert [(each["Action"], each["Resource"]) for each in allowed] == [(["dynamodb:Scan"], [arn])]
    live = ("check", where, "--live", "--json")
    looked = penstock(*live, env=environment(**AWS_ENVIRONMENT))
    [look] = json.loads(looked.stdout)["targets"]
    assert looked.returncode == 0 and (look["target"], look["facts"]) == (table.name, ["2 versions"]), looked
    partition = {"partition": {"key": "service", "value": "orders"}}
    (where / "front.yaml").write_text(yaml.safe_dump(front("nowhere", dynamodb=partition)))
    [queried] = json.loads(penstock("iam", where, "--account", "111122223333").stdout)["Statement"]
    assert (queried["Action"], queried["Resource"]) == (["dynamodb:Query"], [arn.replace(table.name, "nowhere")])
    missing = penstock(*live, env=environment(**AWS_ENVIRONMENT))
    assert missing.returncode == 1 and json.loads(missing.stdout)["targets"][0]["verdict"] == "error", missing
