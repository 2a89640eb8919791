"""`penstock iam`: what it prints is taken by the tools that it is for, and allows what the routes do and nothing beside."""

import json
import shutil
import subprocess

import pytest
import yaml

from support.emulators import REGION, TOOLS, unique
from support.gateway import config, penstock, write_config

ACCOUNT = "111122223333"
ROUTES = {
    "POST /orders": {"integration": {"SQS-SendMessage": {
        "QueueUrl": f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/orders", "MessageBody": "$request.body"}}, "ack": "spool"},
    "POST /clicks": {"integration": {"Kinesis-PutRecord": {"StreamName": "clicks", "Data": "$request.body", "PartitionKey": "k"}}},
    "POST /hooks": {"integration": {"EventBridge-PutEvents": {
        "EventBusName": "hooks", "Source": "s", "DetailType": "t", "Detail": "$request.body"}}},
    "GET /items/{id}": {"integration": {"DynamoDB-GetItem": {"TableName": "items", "Key": {"id": {"S": "$request.path.id"}}}}},
    "POST /flows/{name}": {"integration": {"StepFunctions-StartExecution": {
        "StateMachineArn": f"arn:aws:states:eu-west-1:{ACCOUNT}:stateMachine:${{request.path.name}}"}}},
    "GET /local": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:local"}}},
}


@pytest.fixture
def routes(tmp_path):
    return write_config(tmp_path, config(ROUTES, queues={"local": {}}, aws={"region": "eu-west-1"}))


def asked(routes, *arguments):
    ran = penstock("iam", routes, *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran


def statements(document):
    return {tuple(each["Action"]): each["Resource"] for each in document["Statement"]}


def test_each_action_is_allowed_on_what_the_routes_name(routes):
    ran = asked(routes)
    found = statements(json.loads(ran.stdout))
    arn = f"arn:aws:{{}}:eu-west-1:{ACCOUNT}:{{}}".format
    assert found == {
        ("sqs:SendMessage",): [arn("sqs", "orders")],
        ("kinesis:PutRecord", "kinesis:PutRecords"): [arn("kinesis", "stream/clicks")],
        ("events:PutEvents",): [arn("events", "event-bus/hooks")],
        ("dynamodb:GetItem",): [arn("dynamodb", "table/items")],
        ("states:StartExecution",): ["arn:aws:states:eu-west-1:" + ACCOUNT + ":stateMachine:*"],
    }
    assert "POST /flows/{name}: requests choose `StateMachineArn`" in ran.stderr


def test_cloudformation_takes_the_template(routes, tmp_path):
    lint = TOOLS / "deploy" / "bin" / "cfn-lint"
    if not lint.exists():
        pytest.skip("cfn-lint is not installed (run tests/run)")
    (tmp_path / "policy.yaml").write_text(asked(routes, "--format", "cloudformation", "--with-live").stdout)
    ran = subprocess.run([lint, tmp_path / "policy.yaml"], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout


def test_terraform_takes_the_document(routes, tmp_path):
    text = asked(routes, "--format", "terraform").stdout
    assert "${data.aws" not in text, "region and account are known"
    if not shutil.which("terraform"):
        pytest.skip("terraform is not installed")
    (tmp_path / "policy.tf").write_text(text)
    ran = subprocess.run(["terraform", "fmt", "-write=false", tmp_path / "policy.tf"], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


def test_moto_s_iam_keeps_the_policy_and_its_sqs_asks_it(routes, moto):
    document = asked(routes, "--kms-key", f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/k").stdout
    iam = moto.client("iam")
    policy = iam.create_policy(PolicyName=unique("routes"), PolicyDocument=document)["Policy"]
    kept = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId="v1")["PolicyVersion"]["Document"]
    assert statements(kept)[("kms:Decrypt", "kms:GenerateDataKey")]


def test_secrets_sources_and_roles_are_named(tmp_path):
    role = f"arn:aws:iam::{ACCOUNT}:role/ingest"
    document = config(
        {"POST /a": {"authorizer": "hook", "integration": {"Kinesis-PutRecord": {"StreamName": "s", "Data": "x", "PartitionKey": "k"}}}},
        authorizers={"hook": {"webhook": {"preset": "github", "secrets": ["${aws-secretsmanager:shop/github}", "${aws-ssm:/shop/old}"]}}},
        aws={"region": "eu-west-1", "assume_role": {"arn": role}})
    file = write_config(tmp_path, document)
    found = statements(json.loads(asked(file, "--source", "s3://bucket/routes.yaml").stdout))
    assert found[("secretsmanager:GetSecretValue",)] == [f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:shop/github-??????"]
    assert found[("ssm:GetParameter",)] == [f"arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/shop/old"]
    assert found[("s3:GetObject",)] == ["arn:aws:s3:::bucket/routes.yaml"]
    own = json.loads(asked(file, "--process").stdout)
    assert statements(own) == {("sts:AssumeRole",): [role]}


def test_the_text_of_a_template_is_yaml_with_its_short_tags(tmp_path):
    file = write_config(tmp_path, config({"POST /a": ROUTES["POST /clicks"]}, aws={"region": REGION}))
    text = asked(file, "--format", "cloudformation").stdout
    assert "!Sub \"arn:aws:kinesis:" in text and "${AWS::AccountId}" in text

    class Loader(yaml.SafeLoader):
        pass
    Loader.add_multi_constructor("!", lambda loader, tag, node: loader.construct_scalar(node))
    assert yaml.load(text, Loader)["Resources"]["Policy"]["Type"] == "AWS::IAM::ManagedPolicy"
