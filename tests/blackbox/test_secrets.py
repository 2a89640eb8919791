"""Secrets from outside: fetched from AWS before the start, refreshed, reloaded from files; never shown."""

import hashlib
import json

import pytest

from support.emulators import REGION, unique
from support.gateway import config, penstock
from support.processes import eventually
from support.relay import Relay

OLD, NEW = "psk_old_4f1c9d0b7a6e5f3c2d1b0a99", "psk_new_8e2b7c6d5a4f3e2d1c0b9a88"


def hashed(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def setup(hash_text, **sections):
    routes = {"POST /orders": {
        "authorizer": "api_key", "integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}}}
    return config(routes, queues={"orders": {}}, api_keys={"acme": {"hash": hash_text}}, **sections)


def status(one, key):
    return one.request("POST", "/orders", b"1", {"x-api-key": key}).status


def refused(one, result="refused"):
    """A file that changes in the moment of the start is seen by the first look at all files, which is a watch's."""
    metrics = one.metrics()
    return sum(metrics.value("penstock_config_reloads_total", origin=origin, result=result) for origin in ("renewal", "watch"))


@pytest.fixture
def keeper(moto):
    """Secrets Manager and Parameter Store with a secret of the test's own."""
    class Keeper:
        name = unique("key")
        parameter = "/" + unique("shop") + "/key"
        url = moto.url

        def aws(self, url=None):
            return {"region": REGION, "endpoint": url or self.url}

        def put(self, text):
            try:
                moto.client("secretsmanager").create_secret(Name=self.name, SecretString=text)
            except moto.client("secretsmanager").exceptions.ResourceExistsException:
                moto.client("secretsmanager").put_secret_value(SecretId=self.name, SecretString=text)
            moto.client("ssm").put_parameter(Name=self.parameter, Value=text, Type="SecureString", Overwrite=True)
    keeper = Keeper()
    keeper.put(hashed(OLD))
    return keeper


@pytest.fixture
def relay():
    made = []

    def make(url):
        made.append(Relay(url))
        return made[-1]
    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("which", ["aws-secretsmanager", "aws-ssm"])
def test_a_secret_that_aws_keeps_is_used_and_its_rotation_is_noticed_while_requests_go_on(gateway, keeper, which):
    name = keeper.name if which == "aws-secretsmanager" else keeper.parameter
    one = gateway(setup(f"${{{which}:{name}}}", aws=keeper.aws(), secrets={"refresh": "1s"}))
    assert (status(one, OLD), status(one, NEW)) == (202, 403)
    keeper.put(hashed(NEW))
    eventually(lambda: status(one, NEW) == 202, 30, "the new key")
    assert status(one, OLD) == 403
    assert refused(one, "published") >= 1
    told = one.logs() + one.admin("/metrics").body.decode() + one.admin("/v1/plan").body.decode()
    assert hashed(OLD)[7:] not in told and hashed(NEW)[7:] not in told


def test_a_member_of_a_json_secret_is_named_after_a_number_sign(gateway, keeper):
    keeper.put(json.dumps({"acme": hashed(NEW), "other": "x"}))
    one = gateway(setup(f"${{aws-secretsmanager:{keeper.name}#acme}}", aws=keeper.aws()))
    assert status(one, NEW) == 202


def test_when_aws_is_gone_the_old_value_stays_in_use_and_it_is_said(gateway, keeper, relay):
    proxy = relay(keeper.url)
    one = gateway(setup(f"${{aws-secretsmanager:{keeper.name}}}", aws=keeper.aws(proxy.url), secrets={"refresh": "1s"}))
    assert status(one, OLD) == 202
    proxy.down()
    eventually(lambda: one.metrics().value("penstock_secret_fetches_total", result="failed") >= 1, 30, "a failed round")
    one.says("its old value stays in use")
    assert status(one, OLD) == 202
    keeper.put(hashed(NEW))
    proxy.up()
    eventually(lambda: status(one, NEW) == 202, 30, "the new key")


def test_without_the_secret_it_does_not_start_and_says_which_is_missing(tmp_path, keeper):
    written = setup("${aws-secretsmanager:no-such-secret}", aws=keeper.aws())
    (tmp_path / "gateway.yaml").write_text(json.dumps(written))
    ran = penstock("serve", str(tmp_path / "gateway.yaml"))
    assert ran.returncode == 3
    assert "${aws-secretsmanager:no-such-secret}: ResourceNotFoundException" in ran.stderr


def test_check_does_not_ask_aws(tmp_path):
    written = setup("${aws-secretsmanager:no-such-secret}", aws={"region": REGION, "endpoint": "http://127.0.0.1:1"})
    (tmp_path / "gateway.yaml").write_text(json.dumps(written))
    ran = penstock("check", str(tmp_path / "gateway.yaml"))
    assert ran.returncode == 0, ran.stdout
    assert "fetched at the start" in ran.stdout


@pytest.mark.parametrize("written, wrong", [
    ("${aws-secretsmanager:}", "names no secret"),
    ("${aws-ssm:a b}", "names no secret"),
    ("${aws-secretsmanager:x#}", "names no secret"),
    ("${aws-secretmanager:x}", "did you mean `${aws-secretsmanager:…}`?"),
])
def test_a_secret_s_name_that_cannot_be_one_is_refused_at_its_place(tmp_path, written, wrong):
    (tmp_path / "gateway.yaml").write_text(json.dumps(setup(written)))
    ran = penstock("check", str(tmp_path / "gateway.yaml"))
    assert ran.returncode == 1 and wrong in ran.stdout and "api_keys.acme.hash" in ran.stdout, ran.stdout


class TestAFile:
    """`${file:…}` is looked at while the gateway runs."""

    @pytest.fixture
    def secret(self, tmp_path):
        path = tmp_path / "acme.hash"
        path.write_text(hashed(OLD) + "\n")
        return path

    @pytest.fixture
    def one(self, gateway, secret):
        return gateway(setup(f"${{file:{secret}}}"))

    def test_that_changes_is_used_without_a_restart(self, one, secret):
        assert (status(one, OLD), status(one, NEW)) == (202, 403)
        secret.write_text(hashed(NEW))
        eventually(lambda: status(one, NEW) == 202, 30, "the new key")
        assert status(one, OLD) == 403
        assert one.depth("queue") == 2, "what was refused stored nothing"

    def test_that_is_broken_or_gone_leaves_the_old_value_in_use(self, one, secret):
        secret.write_text("nonsense")
        eventually(lambda: refused(one) >= 1, 30, "a refusal")
        one.says("is refused", "api_keys.acme.hash")
        assert status(one, OLD) == 202
        secret.unlink()
        assert status(one, OLD) == 202
        secret.write_text(hashed(NEW))
        eventually(lambda: status(one, NEW) == 202, 30, "the new key")

    def test_that_is_swapped_by_a_link_is_noticed(self, gateway, tmp_path):
        for version, key in (("v1", OLD), ("v2", NEW)):
            (tmp_path / version).mkdir()
            (tmp_path / version / "hash").write_text(hashed(key))
        link = tmp_path / "current"
        link.symlink_to("v1")
        one = gateway(setup(f"${{file:{link}/hash}}"))
        assert status(one, OLD) == 202
        (tmp_path / "next").symlink_to("v2")
        (tmp_path / "next").rename(link)
        eventually(lambda: status(one, NEW) == 202, 30, "the new key")

    def test_a_bucket_keeps_its_level_over_a_change(self, gateway, secret):
        written = setup(f"${{file:{secret}}}", throttle={"rate": 0.001, "burst": 2})
        one = gateway(written)
        assert [status(one, OLD) for _ in range(3)] == [202, 202, 429]
        secret.write_text(hashed(NEW))
        eventually(lambda: refused(one, "published") >= 1, 30, "the new plan")
        assert status(one, NEW) == 429

    def test_a_change_is_not_forgotten_while_another_file_is_missing(self, gateway, secret, tmp_path):
        other = tmp_path / "token"
        other.write_text("a-token-of-sixteen-letters")
        one = gateway(setup(f"${{file:{secret}}}", stage_variables={"tier": f"${{file:{other}}}"}))
        other.rename(tmp_path / "away")
        secret.write_text(hashed(NEW))
        eventually(lambda: refused(one) >= 1, 30, "a refusal")
        assert status(one, OLD) == 202
        (tmp_path / "away").rename(other)
        eventually(lambda: status(one, NEW) == 202, 30, "the new key")


def test_a_secret_that_a_changed_file_names_first_is_fetched_before_it_counts(gateway, keeper, tmp_path):
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"api_keys:\n  acme: {{ hash: \"{hashed(OLD)}\" }}\n")
    written = setup(hashed("psk_somebody_else_000000000000"), aws=keeper.aws())
    written["api_key_files"] = [str(keys)]
    written["api_keys"] = {"other": written["api_keys"]["acme"]}
    one = gateway(written)
    assert status(one, OLD) == 202
    keeper.put(hashed(NEW))
    keys.write_text(f"api_keys:\n  acme: {{ hash: \"${{aws-secretsmanager:{keeper.name}}}\" }}\n")
    eventually(lambda: status(one, NEW) == 202, 30, "the new key")
    assert status(one, OLD) == 403
    keys.write_text("api_keys:\n  acme: { hash: \"${aws-secretsmanager:no-such-secret}\" }\n")
    eventually(lambda: refused(one) >= 1, 30, "a refusal")
    assert status(one, NEW) == 202, "the old plan runs on"


def test_a_key_that_is_taken_out_of_its_file_is_refused_and_the_others_keep_their_place_in_the_plan(gateway, tmp_path):
    keys = tmp_path / "keys.yaml"
    line = "  {}: {{ hash: \"{}\", plan: gold }}\n".format
    keys.write_text("api_keys:\n" + line("acme", hashed(OLD)) + line("other", hashed(NEW)))
    routes = {"POST /orders": {
        "authorizer": "api_key", "integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}}}
    one = gateway(config(
        routes, queues={"orders": {}}, api_key_files=[str(keys)],
        usage_plans={"gold": {"throttle": {"rate": 1000, "burst": 1000}, "quota": {"limit": 3, "period": "month"}}}))
    assert (status(one, OLD), status(one, NEW), status(one, NEW)) == (202, 202, 202)
    keys.write_text("api_keys:\n" + line("other", hashed(NEW)))
    eventually(lambda: status(one, OLD) == 403, 30, "the key is gone")
    assert (status(one, NEW), status(one, NEW)) == (202, 429), "two of three were used before"
