"""`penstock import` of SAM and CloudFormation templates and Terraform plans: documents from public repositories, and
what the imported gateway answers."""

import json
from pathlib import Path

import pytest
import yaml

from support.gateway import environment, penstock, write_config

VECTORS = Path(__file__).parent.parent / "vectors" / "templates"
HERE = {"AWS::Region": "eu-west-1", "AWS::AccountId": "111122223333", "AWS::StackName": "shop"}
QUEUE = "https://sqs.eu-west-1.amazonaws.com/111122223333/orders"

# document: (variables, exit code, routes of each API, words of the report)
DOCUMENTS = {
    "direct-integration/template.yaml": ({"MyQueue": QUEUE, "MyStream": "clicks"}, 0, {
        "di-all-integrations": ["POST /sqs", "POST /eb", "POST /kinesis"]}, ["POST /kinesis: Kinesis-PutRecord"]),
    "blog-example/template.yaml": ({"MyQueue": QUEUE}, 0, {"http-api-to-sqs": ["POST /"]}, ["POST /: SQS-SendMessage"]),
    "dlq-retry/template.yaml": ({}, 0, {"eventbridge-dlq": ["POST /eb"]}, ["POST /eb: EventBridge-PutEvents"]),
    "api-eventbridge/template.yaml": ({}, 0, {"eventbridge-dlq": ["POST /eb"]}, ["POST /eb: EventBridge-PutEvents"]),
    "http-sqs.yaml": ({"RawQueue": QUEUE}, 0, {"http-sqs": ["ANY /"]}, ["ANY /: HTTP-Proxy"]),
    "custom-domain.yaml": ({"DomainName": "api.example.com"}, 1, {"httpapigateway": []}, [
        ": hosts", "a function (HttpApiFunction) cannot be called"]),
    "cdk-sqs.json": ({"Queue4A7E3555": QUEUE}, 0, {"api": [
        "POST /default", "POST /send-message", "POST /receive-message", "POST /delete-message", "POST /purge-queue"]},
        ["POST /purge-queue: SQS-PurgeQueue", "5 × AWS::IAM::Role"]),
    "cdk-eventbridge.json": ({}, 0, {"api": ["POST /default"]}, ["EventBridge-PutEvents"]),
    "cdk-stepfunctions.json": ({"StateMachine2E01A3A5": "arn:aws:states:eu-west-1:111122223333:stateMachine:m"}, 0,
                               {"api": ["$default"]}, ["StepFunctions-StartExecution"]),
    "sam-openapi-conditions.yaml": ({}, 1, {"shop": []}, ["cannot be called", "$default"]),
    "sam-cors.yaml": ({"AWS::Region": "us-west-2"}, 1, {"shop": [], "serverlesshttpapi": []}, ["cors", "cannot be called"]),
    "sam-lambda-auth.yaml": ({"MyAuthFn.Arn": "arn:aws:lambda:eu-west-1:1:function:auth"}, 1, {"myapi": []}, ["authorizers.LambdaAuth"]),
    "sam-stage.yaml": ({}, 1, {"myapi": []}, ["a burst without a rate", "`dataTraceEnabled` is ignored"]),
    "sam-authorizers.yaml": ({"MyAuthFn.Arn": "arn:aws:lambda:eu-west-1:1:function:auth"}, 1, {"myapi": []},
                             ["authorizers.MyOauth2Authorizer", "the vendor knows who may sign (AWS_IAM)"]),
    "sam-domains.yaml": ({}, 1, {"myapi1": [], "myapi2": [], "myapi3": []},
                         ["myapi3.yaml cannot be served as it is", "there is no route, so every request would be answered 404"]),
    "sam-definition.yaml": ({"HttpApiFunction.Arn": "arn:aws:lambda:eu-west-1:1:function:f", "DifferentFunction.Arn": "arn:aws:lambda:eu-west-1:1:function:g"},
                            1, {"shop": []}, ["`openIdConnectUrl` is not known of an authorizer"]),
    "sam-definition-elsewhere.yaml": ({}, 1, {"myapi": [], "myapi2": []}, ["`s3://bucket/key` is not on this machine"]),
    "openapi/circular.json": ({}, 1, {"circular-model-reference": []}, ["the mock's response template is not plain text"]),
    "openapi/global-auth.json": ({}, 1, {"test-global-authorizer": []}, [
        "`${authorizer_lambda_invocation_arn}` is nothing that a request", "lets everyone in"]),
    "openapi/options-and-key.json": ({}, 1, {"local-api": ["OPTIONS /"]}, ["an API key is asked for", "OPTIONS /: Mock"]),
    "openapi/basepath.yaml": ({}, 0, {"test-import-oas": ["GET /test", "OPTIONS /test"]}, [
        "the vendor makes nothing of `requestParameters`, either", "the path `/base-url/part` of the server is ignored"]),
    "openapi/stage-variables.json": ({}, 1, {"example": ["GET /path1"]}, [
        "example.yaml cannot be served as it is", "the stage variable `url` is not declared"]),
    "openapi/user-pool.yaml": ({}, 1, {"api": []}, ["a user pool's authorizer checks no audience", "cannot be had: as said above"]),
    "plans/shop.json": ({"aws_sqs_queue.nameless.url": QUEUE}, 0, {
        "shop": ["POST /orders", "POST /clicks", "POST /work", "POST /other"]}, ["POST /orders: SQS-SendMessage"]),
    "plans/eventbridge.json": ({}, 1, {"terraform-api-gateway-http-api-to-eventbridge": []}, [
        "`aws_apigatewayv2_api.MyApiGatewayHTTPApi.body` is not known"]),
}


def imported(tmp_path, document, variables, *args):
    given = write_config(tmp_path, yaml.safe_dump({**HERE, **variables}), "vars.yaml")
    ran = penstock("import", document, "--vars", given, *args, cwd=tmp_path)
    return ran, list(yaml.safe_load_all(ran.stdout)) if ran.stdout and "--json" not in args else []


def write(tmp_path, text, name="template.yaml"):
    return write_config(tmp_path, text, name)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_from_a_public_repository_imports_or_says_why_not(tmp_path, name):
    variables, code, apis, words = DOCUMENTS[name]
    ran, files = imported(tmp_path, VECTORS / name, variables)
    assert ran.returncode == code, ran.stderr
    assert {file["api"]: list(file.get("routes") or {}) for file in files} == apis
    for word in words:
        assert word in ran.stderr, ran.stderr
    assert "${env:" not in "".join(line for line in ran.stdout.splitlines() if not line.startswith("#")), ran.stdout
    for number, (text, file) in enumerate(zip(ran.stdout.split("---\n"), files)):
        if not file.get("routes") or f"{file['api']}.yaml cannot be served as it is" in ran.stderr:
            continue  # nothing of it could be had, and a file without routes is none; or the report says why not
        checked = penstock("check", write(tmp_path, text, f"{number}.yaml"), cwd=tmp_path)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_document_here_is_in_the_table():
    found = {str(path.relative_to(VECTORS)) for path in VECTORS.rglob("*") if path.is_file()}
    parts = {name for name in found if name.endswith(("README.md", "/api.yaml"))}
    assert found - parts == set(DOCUMENTS)


def test_names_without_a_value_are_listed_once_and_asked_of_the_environment(tmp_path):
    ran = penstock("import", VECTORS / "direct-integration/template.yaml", cwd=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.count("`MyQueue` is not known: the URL of the queue `MyQueue` (AWS::SQS::Queue), whose name the template leaves to the service") == 1
    assert ran.stderr.count("`MyStream` is not known") == 1
    # the role is the vendor's: no call is made with it here
    assert "`MyHttpApiRole.Arn` is not known" not in ran.stderr
    routes = yaml.safe_load(ran.stdout)["routes"]
    assert routes["POST /sqs"]["integration"]["SQS-SendMessage"]["QueueUrl"] == "${env:MY_QUEUE}"
    checked = penstock("check", write(tmp_path, ran.stdout, "ours.yaml"), cwd=tmp_path)
    assert checked.returncode == 1 and "MY_QUEUE" in checked.stdout + checked.stderr
    set_up = penstock("check", write(tmp_path, ran.stdout, "ours.yaml"), cwd=tmp_path, env=environment(MY_QUEUE=QUEUE, MY_STREAM="clicks"))
    assert set_up.returncode == 0, set_up.stdout + set_up.stderr


def test_a_plan_gives_what_the_services_will_give(tmp_path):
    ran, [file] = imported(tmp_path, VECTORS / "plans/shop.json", {"aws_sqs_queue.nameless.url": "https://sqs.eu-west-1.amazonaws.com/1/n"})
    assert ran.returncode == 0, ran.stderr
    calls = {key: next(iter(route["integration"].values())) for key, route in file["routes"].items()}
    assert calls["POST /orders"]["QueueUrl"] == QUEUE
    assert calls["POST /work"]["StateMachineArn"] == "arn:aws:states:eu-west-1:111122223333:stateMachine:work"
    assert calls["POST /other"]["QueueUrl"] == "https://sqs.eu-west-1.amazonaws.com/1/n"
    assert file["stage"] == "prod" and file["stage_variables"] == {"tier": "gold"}
    assert file["throttle"] == {"rate": 10, "burst": 20}
    assert file["routes"]["POST /clicks"]["throttle"] == {"rate": 2.5, "burst": 5}
    assert file["cors"]["allow_origins"] == ["https://shop.example"] and file["cors"]["max_age"] == "300s"
    orders = file["routes"]["POST /orders"]
    assert orders["scopes"] == ["orders.write"]
    assert file["authorizers"][orders["authorizer"]]["jwt"]["issuer"] == "https://idp.example.com"


SEND = {"type": "aws", "httpMethod": "POST", "uri": "arn:aws:apigateway:eu-west-1:sqs:path/111122223333/orders",
        "requestTemplates": {"application/json": "Action=SendMessage&MessageBody=$input.body"}, "passthroughBehavior": "never",
        "responses": {"default": {"statusCode": "202"}}}
DEFINITION = json.dumps({"openapi": "3.0.1", "info": {"title": "hooks", "version": "1"}, "paths": {
    "/orders": {"post": {"x-amazon-apigateway-integration": SEND}}}})


def planned(kind, name, values, unknown=(), **references):
    """A resource of a plan in its three places: what is planned, what is not known yet, what it refers to."""
    address = {"address": f"{kind}.{name}", "mode": "managed", "type": kind, "name": name}
    expressions = {key: {"references": [reference, reference.rsplit(".", 1)[0]]} for key, reference in references.items()}
    after = {"actions": ["create"], "after": values, "after_unknown": {key: True for key in ("id", *unknown)}}
    return {**address, "values": values}, {**address, "change": after}, {**address, "expressions": expressions}


def plan(*resources):
    values, changes, configured = zip(*resources)
    return json.dumps({
        "format_version": "1.2", "terraform_version": "1.11.4", "planned_values": {"root_module": {"resources": values}},
        "resource_changes": changes, "configuration": {"root_module": {"resources": configured}}})


def test_a_plan_s_rest_api_is_the_definition_in_it_and_its_stage(tmp_path):
    document = plan(
        planned("aws_api_gateway_rest_api", "hooks", {"name": "hooks", "body": DEFINITION}),
        planned("aws_api_gateway_deployment", "hooks", {}, ["rest_api_id"], rest_api_id="aws_api_gateway_rest_api.hooks.id"),
        planned("aws_api_gateway_stage", "live", {"stage_name": "prod", "variables": {"tier": "gold"}}, ["rest_api_id", "deployment_id"],
                rest_api_id="aws_api_gateway_rest_api.hooks.id", deployment_id="aws_api_gateway_deployment.hooks.id"))
    ran, [file] = imported(tmp_path, write(tmp_path, document, "plan.json"), {})
    assert ran.returncode == 0, ran.stderr
    assert file["routes"]["POST /orders"]["integration"]["SQS-SendMessage"]["QueueUrl"] == QUEUE
    assert (file["stage"], file["stage_variables"]) == ("prod", {"tier": "gold"})


SEVERAL = """
Resources:
  One: { Type: AWS::ApiGatewayV2::Api, Properties: { Name: first, ProtocolType: HTTP, Target: https://one.example } }
  Two: { Type: AWS::ApiGatewayV2::Api, Properties: { Name: second, ProtocolType: HTTP, Target: https://two.example, RouteKey: GET /x } }
  Chat: { Type: AWS::ApiGatewayV2::Api, Properties: { Name: chat, ProtocolType: WEBSOCKET } }
  Old: { Type: AWS::ApiGateway::RestApi, Properties: { Name: old } }
"""


def test_several_apis_follow_each_other_or_are_a_file_each(tmp_path):
    document = write(tmp_path, SEVERAL)
    ran, files = imported(tmp_path, document, {})
    assert [file["api"] for file in files] == ["first", "second"]
    assert ran.returncode == 1
    assert "the API `Chat` is a WEBSOCKET API" in ran.stderr and "`Old` is a REST API" in ran.stderr
    for name in ("second", "Two"):
        ran, files = imported(tmp_path, document, {}, "--api", name)
        assert [list(file["routes"]) for file in files] == [["GET /x"]]
    ran, files = imported(tmp_path, document, {}, "--api", "secnd")
    assert ran.returncode == 1 and "did you mean `second`?" in ran.stderr
    imported(tmp_path, document, {}, "--out", tmp_path / "apis")
    assert sorted(path.name for path in (tmp_path / "apis").iterdir()) == ["first.yaml", "second.yaml"]
    again, _ = imported(tmp_path, document, {}, "--out", tmp_path / "apis")
    assert again.returncode == 1 and "cannot be written" in again.stderr


def test_the_report_for_programs_holds_places_and_reasons(tmp_path):
    ran, _ = imported(tmp_path, write(tmp_path, SEVERAL), {"Unused": "x"}, "--json")
    said = json.loads(ran.stdout)
    assert [api["name"] for api in said["apis"]] == ["first", "second"]
    chat = next(finding for finding in said["findings"] if "WEBSOCKET" in finding["reason"])
    assert (chat["verdict"], chat["level"], chat["line"]) == ("missing", "error", 5)
    assert chat["path"] == "Resources.Chat.Properties.ProtocolType"
    assert said["problems"][0]["path"] == "Unused"


FULL = """
AWSTemplateFormatVersion: '2010-09-09'
Parameters:
  Stage: { Type: String, Default: prod }
Resources:
  Orders: { Type: AWS::SQS::Queue, Properties: { QueueName: orders } }
  Api:
    Type: AWS::ApiGatewayV2::Api
    Properties:
      Name: shop
      ProtocolType: HTTP
      CorsConfiguration: { AllowOrigins: ['https://shop.example'], AllowMethods: [POST], MaxAge: 600 }
  Send:
    Type: AWS::ApiGatewayV2::Integration
    Properties:
      ApiId: !Ref Api
      IntegrationType: AWS_PROXY
      IntegrationSubtype: SQS-SendMessage
      PayloadFormatVersion: '1.0'
      CredentialsArn: !GetAtt Role.Arn
      RequestParameters:
        QueueUrl: !Ref Orders
        MessageBody: $request.body.MessageBody
        MessageAttributes: !Sub '{"Stage":{"DataType":"String","StringValue":"${Stage}"},"Agent":{"DataType":"String","StringValue":"${!request.header.user-agent}"}}'
      ResponseParameters:
        '200': { ResponseParameters: [{ Source: $context.requestId, Destination: append:header.x-id }] }
  Post: { Type: AWS::ApiGatewayV2::Route, Properties: { ApiId: !Ref Api, RouteKey: POST /orders, Target: !Sub 'integrations/${Send}', AuthorizationType: NONE } }
  Limited: { Type: AWS::ApiGatewayV2::Route, Properties: { ApiId: !Ref Api, RouteKey: POST /limited, Target: !Sub 'integrations/${Send}' } }
  Live:
    Type: AWS::ApiGatewayV2::Stage
    Properties:
      ApiId: !Ref Api
      StageName: !Ref Stage
      AutoDeploy: true
      RouteSettings: { POST /limited: { ThrottlingRateLimit: 0.001, ThrottlingBurstLimit: 1 } }
  Role: { Type: AWS::IAM::Role }
"""


def test_the_imported_gateway_answers_as_the_vendor_does(gateway, fake, tmp_path):
    ran, [file] = imported(tmp_path, write(tmp_path, FULL), {})
    assert ran.returncode == 0, ran.stderr
    file["aws"] = {"region": "eu-west-1", "endpoint": fake.url}
    served = gateway(yaml.safe_dump(file))
    # the table of reference sections 0, 2.3 and 2.4
    ok = served.request("POST", "/prod/orders", '{"MessageBody":"hello world"}', headers={"user-agent": "curl/8.0"})
    assert ok.status == 200 and b"<MD5OfMessageBody>5eb63bbbe01eeed093cb22bb8f5acdc3</MD5OfMessageBody>" in ok.body
    assert ok.headers["apigw-requestid"] == ok.headers["x-id"]
    for body in ('{"other":1}', ""):
        refused = served.request("POST", "/prod/orders", body, headers={"user-agent": "x"})
        assert (refused.status, refused.body) == (400, b'{"message":"Bad Request"}')
    for method, path in (("POST", "/orders"), ("GET", "/prod/orders"), ("POST", "/prod/none")):
        missing = served.request(method, path)
        assert (missing.status, missing.body) == (404, b'{"message":"Not Found"}')
    preflight = served.request("OPTIONS", "/prod/orders", headers={
        "origin": "https://shop.example", "access-control-request-method": "POST"})
    assert preflight.status == 204 and preflight.headers["access-control-max-age"] == "600"
    statuses = [served.request("POST", "/prod/limited", '{"MessageBody":"x"}', headers={"user-agent": "x"}).status for _ in range(3)]
    assert statuses == [200, 429, 429]


def test_what_is_wrong_with_a_template_is_said_at_its_place(tmp_path):
    text = """
Resources:
  Api: { Type: AWS::ApiGatewayV2::Api, Properties: { Name: a, ProtocolType: HTTP } }
  Lost: { Type: AWS::ApiGatewayV2::Route, Properties: { ApiId: !Ref Api, RouteKey: GET /a, Target: !Sub 'integrations/${Gone}' } }
  Body: { Type: AWS::Serverless::HttpApi, Properties: { DefinitionUri: s3://bucket/api.yaml } }
  Missing: { Type: AWS::Serverless::HttpApi, Properties: { DefinitionUri: ./nowhere.yaml } }
"""
    ran, _ = imported(tmp_path, write(tmp_path, text), {})
    assert ran.returncode == 1
    assert "template.yaml:4" in ran.stderr and "is not declared in this template" in ran.stderr
    assert "`s3://bucket/api.yaml` is not on this machine" in ran.stderr
    assert "nowhere.yaml does not exist" in ran.stderr


def test_each_of_several_apis_has_its_own_findings_at_its_head(tmp_path):
    text = SEVERAL.replace("Target: https://one.example", "Target: !Ref Backend").replace("Target: https://two.example", "Target: 'arn:aws:lambda:eu-west-1:1:function:f'")
    ran, _ = imported(tmp_path, write(tmp_path, text), {})
    first, second = ran.stdout.split("---\n")
    heads = [[line for line in file.splitlines() if line.startswith("#")] for file in (first, second)]
    assert any("`Backend` is not known" in line for line in heads[0]) and not any("Backend" in line for line in heads[1])
    assert any("a function" in line for line in heads[1]) and not any("a function" in line for line in heads[0])
    assert not any("REST API" in line or "WEBSOCKET" in line for line in heads[0] + heads[1])
    assert "`Chat` is a WEBSOCKET API" not in ran.stdout and "the API `Chat` is a WEBSOCKET API" in ran.stderr


@pytest.mark.parametrize("text, said", [
    ('{"version": 4, "terraform_version": "1.5.7", "lineage": "x", "resources": []}', "this is a state as Terraform keeps it"),
    ('{"format_version": "1.0", "terraform_version": "1.5.7"}', "nothing is planned, and the state is empty"),
    ("service: x\nprovider: { name: aws }\nfunctions: {}\n", "serverless package"),
    ('resource "aws_apigatewayv2_api" "x" {\n  name = "x"\n}\n', "terraform show -json plan.out"),
], ids=["a state", "nothing", "the Serverless Framework", "HCL"])
def test_what_another_tool_has_to_render_is_named(tmp_path, text, said):
    ran, _ = imported(tmp_path, write(tmp_path, text, "source.txt"), {})
    assert ran.returncode == 1 and said in ran.stderr, ran
