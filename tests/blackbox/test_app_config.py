"""AppConfig-GetConfiguration: nobody serves the old call, so the fake answers over the wire."""

import base64

import pytest

from support.fake_aws import Reply, error
from support.gateway import config

OPERATION = "AppConfig-GetConfiguration"
CALL = {
    "Application": "shop", "Environment": "$stageVariables.environment", "Configuration": "$request.path.name",
    "ClientId": "$request.header.x-client", "ClientConfigurationVersion": "${request.querystring.have:-}", "Region": "eu-west-1",
}


@pytest.fixture(params=["native", "aws"])
def flags(request, gateway, fake):
    one = gateway(config(
        {"GET /flags/{name}": {"integration": {OPERATION: CALL}}}, responses=request.param,
        stage_variables={"environment": "blue"}, aws={"region": "us-east-1", "endpoint": fake.url}))
    one.dialect = request.param
    return one


def test_every_parameter_is_sent(flags, fake):
    assert flags.request("GET", "/flags/a%20b?have=6", headers={"x-client": "c-1"}).status == 200
    call = fake.only_call(OPERATION)
    assert call.path.split("?")[0] in (
        "/applications/shop/environments/blue/configurations/a%20b",)
    assert call.query == {"client_id": "c-1", "client_configuration_version": "6"}
    assert "/eu-west-1/appconfig/aws4_request" in call.headers["authorization"]


def test_the_configuration_comes_back(flags, fake):
    fake.always(OPERATION, Reply(200, b'{"feature":"on"}', {"content-type": "application/json", "Configuration-Version": "7"}))
    answer = flags.request("GET", "/flags/main", headers={"x-client": "c"})
    assert answer.status == 200
    if flags.dialect == "aws":
        assert answer.body == b'{"feature":"on"}'
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["configuration-version"] == "7"
    else:
        document = answer.json()
        assert document["ConfigurationVersion"] == "7"
        assert document["ContentType"] == "application/json"
        assert document["Content"] == '{"feature":"on"}'


def test_content_that_is_no_text_survives(flags, fake):
    raw = bytes(range(256))
    fake.always(OPERATION, Reply(200, raw, {"content-type": "application/octet-stream", "Configuration-Version": "1"}))
    answer = flags.request("GET", "/flags/main", headers={"x-client": "c"})
    if flags.dialect == "aws":
        assert answer.body == raw
    else:
        assert base64.b64decode(answer.json()["Content"]) == raw


def test_what_the_caller_has_already_is_204_in_the_service_s_way(flags, fake):
    fake.always(OPERATION, Reply(204, b"", {"Configuration-Version": "7"}))
    answer = flags.request("GET", "/flags/main?have=7", headers={"x-client": "c"})
    assert answer.status == (204 if flags.dialect == "aws" else 200), answer


def test_no_client_id_is_400_and_no_call(flags, fake):
    answer = flags.request("GET", "/flags/main")
    assert answer.status == 400
    assert fake.calls == []


def test_an_unknown_application_is_our_setup(flags, fake):
    fake.always(OPERATION, error("ResourceNotFoundException", "no such application", 404))
    answer = flags.request("GET", "/flags/main", headers={"x-client": "c"})
    if flags.dialect == "native":
        assert answer.status == 502 and answer.code == "target_setup"
        assert "ResourceNotFoundException" in answer.json()["detail"]
    else:
        assert answer.status == 404


def test_a_fault_of_the_service_is_503(flags, fake):
    fake.always(OPERATION, error("InternalServerException", "sorry", 500))
    answer = flags.request("GET", "/flags/main", headers={"x-client": "c"})
    if flags.dialect == "native":
        assert answer.status == 503 and "retry-after" in answer.headers
    else:
        assert answer.status >= 500
    assert len(fake.calls) == 1, "the SDK's own retries are off"
