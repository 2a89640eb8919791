"""`penstock export`: an OpenAPI document that validates, says in the vendor's words what it can, and imports back to
what it was made of."""

import json

import pytest
import yaml

from support.gateway import REPOSITORY, penstock, write_config
from support.openapi import faults, missing
from test_check_cli import GOOD

FILES = sorted((REPOSITORY / "config" / "examples").glob("*.yaml")) + [REPOSITORY / "config" / "quickstart.yaml", REPOSITORY / "config" / "tour.yaml"]


def exported(path, *arguments):
    ran = penstock("export", path, *arguments, cwd=path.parent)
    assert ran.returncode == 0, ran.stderr
    return ran


def plan(path):
    ran = penstock("routes", path, "--json", cwd=path.parent)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_example_is_a_valid_document_and_comes_back(path, tmp_path):
    document = write_config(tmp_path, exported(path, "--json").stdout, "api.json")
    if not (why := missing()):
        assert faults(document) == ""
    again = penstock("export", document, "--json", cwd=path.parent)
    assert again.stdout == document.read_text(), again.stderr
    as_yaml = write_config(tmp_path, exported(path).stdout, "api.yaml")
    assert yaml.safe_load(as_yaml.read_text()) == json.loads(document.read_text())
    if why:
        pytest.skip(why)


def test_an_import_of_an_export_has_the_same_routes(tmp_path):
    path = write_config(tmp_path, GOOD, "shop.yaml")
    document = write_config(tmp_path, exported(path).stdout, "api.yaml")
    ran = penstock("import", document, cwd=tmp_path)
    ours = write_config(tmp_path, ran.stdout, "again.yaml")
    assert plan(document) == plan(path) == plan(ours)


def test_what_the_vendor_would_leave_open_is_closed_there(tmp_path):
    path = write_config(tmp_path, """\
authorizers: { hooks: { webhook: { preset: github, secrets: [a-secret-of-the-sender] } } }
routes:
  POST /hook:
    authorizer: hooks
    integration: { SQS-SendMessage: { QueueUrl: "https://sqs.eu-west-1.amazonaws.com/1/q", MessageBody: $request.body } }
""", "shop.yaml")
    ran = exported(path, "--json")
    operation = json.loads(ran.stdout)["paths"]["/hook"]["post"]
    assert operation["x-amazon-apigateway-auth"] == {"type": "AWS_IAM"}
    assert "the vendor has no authorizer like `hooks`" in ran.stderr


def test_a_broken_file_is_not_exported(tmp_path):
    path = write_config(tmp_path, "routes: { POST /a: { integration: { SQS-SendMesage: {} } } }\n")
    ran = penstock("export", path, cwd=tmp_path)
    assert ran.returncode == 1 and ran.stdout == "" and "SQS-SendMessage" in ran.stderr
