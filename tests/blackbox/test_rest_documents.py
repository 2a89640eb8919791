"""OpenAPI documents of REST APIs: integrations whose request a template makes, request validators, gateway responses;
served, with the statuses and bodies of the vendor's tables (reference, 0.2 and 16)."""

import hashlib
import json

import pytest
import yaml

from support.authorizer import Authorizer, policy
from support.fake_aws import records_of
from support.gateway import environment, penstock, write_config
from support.openapi import as_json, document

URI = "arn:aws:apigateway:eu-west-1:"
QUEUE = "https://sqs.eu-west-1.amazonaws.com/111122223333/orders"
MACHINE = "arn:aws:states:eu-west-1:111122223333:stateMachine:work"
JSON = {"content-type": "application/json"}


def aws(uri, template, responses=None, **fields):
    """An operation as the vendor's console makes it."""
    return {"responses": {"200": {"description": "200 response"}}, "x-amazon-apigateway-integration": {
        "type": "aws", "httpMethod": "POST", "uri": URI + uri, "credentials": "arn:aws:iam::111122223333:role/api",
        "requestParameters": {"integration.request.header.Content-Type": "'application/x-www-form-urlencoded'"},
        "requestTemplates": {"application/json": template}, "passthroughBehavior": "never",
        "responses": responses or {"default": {"statusCode": "200"}}, **fields}}


SQS = "sqs:path/111122223333/orders"
ATTRIBUTES = ("Action=SendMessage&MessageBody=$util.urlEncode($input.body)&MessageAttribute.1.Name=Signature"
              "&MessageAttribute.1.Value.DataType=String"
              "&MessageAttribute.1.Value.StringValue=$util.urlEncode($input.params('x-webhook-signature'))\n")
EVENT = """#set($context.requestOverride.header.X-Amz-Target = "AWSEvents.PutEvents")
#set($context.requestOverride.header.Content-Type = "application/x-amz-json-1.1")
{"Entries": [{"Source": "shop", "DetailType": "$input.path('$.type')", "EventBusName": "orders",
  "Detail": "$util.escapeJavaScript($input.json('$.detail')).replaceAll("\\\\'","'")"}]}"""
# path: (the operation, the integration that it becomes, parameters of it)
CALLS = {
    "/usual": (aws(SQS, "Action=SendMessage&MessageBody=$input.body"), "SQS-SendMessage",
               {"QueueUrl": QUEUE, "MessageBody": "$request.body"}),
    "/encoded": (aws(SQS, "Action=SendMessage&MessageBody=$util.urlEncode(\"$input.body\")", contentHandling="CONVERT_TO_TEXT"),
                 "SQS-SendMessage", {"MessageBody": "$request.body"}),
    "/attributes": (aws(SQS, ATTRIBUTES, {"default": {"statusCode": "202", "responseTemplates": {"application/json": '{"status": "ACCEPTED"}'}}}),
                    "SQS-SendMessage", {"MessageAttributes": {"Signature": {"DataType": "String", "StringValue": "$request.header.x-webhook-signature"}}}),
    "/fifo/{group}": (aws("sqs:path/111122223333/ledger.fifo",
                          "Action=SendMessage&MessageGroupId=$input.params('group')&MessageDeduplicationId=$context.requestId&MessageBody=$util.urlEncode($input.json('$'))"),
                      "SQS-SendMessage", {"MessageGroupId": "$request.path.group", "MessageDeduplicationId": "$context.requestId"}),
    "/wrapped": (aws(SQS, 'Action=SendMessage&MessageBody={"data":$input.json(\'$\')}', {"default": {"statusCode": "201"}}),
                 "SQS-SendMessage", {"MessageBody": '{"data":${request.body}}'}),
    "/json": (aws("sqs:action/SendMessage", json.dumps({"QueueUrl": QUEUE, "MessageBody": "$util.escapeJavaScript($input.body)"}),
                  requestParameters={"integration.request.header.Content-Type": "'application/x-amz-json-1.0'",
                                     "integration.request.header.X-Amz-Target": "'AmazonSQS.SendMessage'"}),
              "SQS-SendMessage", {"QueueUrl": QUEUE, "MessageBody": "$request.body"}),
    "/clicks": (aws("kinesis:action/PutRecord", json.dumps(
        {"StreamName": "clicks", "Data": "$util.base64Encode($input.body)", "PartitionKey": "$context.requestId"})),
        "Kinesis-PutRecord", {"StreamName": "clicks", "Data": "$request.body", "PartitionKey": "$context.requestId", "Region": "eu-west-1"}),
    "/events": (aws("events:action/PutEvents", EVENT), "EventBridge-PutEvents",
                {"Source": "shop", "DetailType": "$request.body.type", "Detail": "$request.body.detail", "EventBusName": "orders"}),
    "/work": (aws("states:action/StartExecution", json.dumps(
        {"input": "$util.escapeJavaScript($input.json('$'))", "name": "$context.requestId", "stateMachineArn": MACHINE})),
        "StepFunctions-StartExecution", {"Input": "$request.body", "Name": "$context.requestId", "StateMachineArn": MACHINE}),
    "/checks/{id}": (aws("states:action/StartExecution", json.dumps(
        {"input": '{"consignmentId": "$input.params(\'id\')"}', "stateMachineArn": MACHINE})),
        "StepFunctions-StartExecution", {"Input": '{"consignmentId": "${request.path.id}"}'}),
}
NOT_RUN = {
    "#foreach($x in $input.path('$'))a#end": "`#foreach` would have to be run",
    "Action=SendMessage&MessageBody=$input.json('$.a')": "`$input.json('$.a')` writes a text with its quotes",
    "Action=SendMessage&MessageBody=$util.base64Encode($input.body)": "a value stands as base64 where the service takes it otherwise",
    "Action=ListQueues": "the action `ListQueues` of `sqs` is none of the calls",
    "MessageBody=$input.body": "the template names no `Action`",
    "Action=SendMessage&MessageBody=$context.nothing": "`$context.nothing` is not known here",
}


def paths(calls):
    return {path: {"post": operation} for path, (operation, *_) in calls.items()}


def imported(tmp_path, text):
    return penstock("import", write_config(tmp_path, text, "api.json"), "--json", cwd=tmp_path)


def test_the_usual_templates_become_integrations(tmp_path):
    ran = imported(tmp_path, as_json(document(paths(CALLS), {"aws": {"region": "eu-west-1"}})))
    assert ran.returncode == 0, ran.stdout
    [api] = json.loads(ran.stdout)["apis"]
    assert api["problems"] == []
    routes = yaml.safe_load(api["yaml"])["routes"]
    for path, (_, name, parameters) in CALLS.items():
        made = routes[f"POST {path}"]["integration"]
        assert list(made) == [name], (path, made)
        assert {key: made[name][key] for key in parameters} == parameters, path
    said = [finding["reason"] for finding in json.loads(ran.stdout)["findings"]]
    for words in ("does not encode the body", "writes the body's JSON anew", "an empty text there", "is taken for the header `x-webhook-signature`",
                  "here a failure stays one", "without a content type"):
        assert any(words in reason for reason in said), (words, said)


@pytest.mark.parametrize("template", NOT_RUN)
def test_what_would_have_to_be_run_is_left_out_and_says_why(tmp_path, template):
    text = as_json(document({"/x": {"post": aws(SQS, template)}, "/ok": {"post": CALLS["/usual"][0]}}))
    ran = imported(tmp_path, text)
    said = json.loads(ran.stdout)
    errors = [finding for finding in said["findings"] if finding["level"] == "error"]
    assert ran.returncode == 1 and len(errors) == 1, errors
    assert NOT_RUN[template] in errors[0]["reason"]
    assert "POST /x" not in said["apis"][0]["yaml"] and "POST /ok" in said["apis"][0]["yaml"]


@pytest.mark.parametrize("how", ["served", "imported"])
def test_the_same_requests_are_the_same_calls(gateway, fake, tmp_path, how):
    text, name = as_json(document(paths(CALLS), {"aws": {"region": "eu-west-1", "endpoint": fake.url}})), "api.json"
    if how == "imported":
        text, name = json.loads(imported(tmp_path, text).stdout)["apis"][0]["yaml"], "ours.yaml"
    one = gateway(text, name=name)
    body = '{"a": "b&c+d%20"}'
    sent = one.request("POST", "/usual", body, JSON)
    assert sent.status == 200 and sent.headers["content-type"] == "application/json", sent
    said = json.loads(sent.body)["SendMessageResponse"]["SendMessageResult"]
    assert said["MessageId"] and said["MD5OfMessageBody"]
    accepted = one.request("POST", "/attributes", body, {**JSON, "x-webhook-signature": "s-1"})
    assert (accepted.status, json.loads(accepted.body)) == (202, {"status": "ACCEPTED"})
    assert one.request("POST", "/attributes", body, JSON).status == 400, "an attribute without a value is refused there, too"
    assert one.request("POST", "/usual", body, {"content-type": "text/plain"}).status == 415
    wrapped = one.request("POST", "/wrapped", body, JSON)
    assert wrapped.status == 201
    stored = [record for call in fake.calls for record in records_of(call)]
    assert [record.body.decode() for record in stored] == [body, body, '{"data":%s}' % body], "as they were sent"
    assert stored[1].entry["MessageAttributes"]["Signature"]["StringValue"] == "s-1"
    record = one.request("POST", "/clicks", body, JSON)
    assert record.status == 200 and json.loads(record.body)["ShardId"], record
    event = one.request("POST", "/events", '{"type": "t", "detail": {"a": 1}}', JSON)
    assert event.status == 200 and json.loads(event.body)["FailedEntryCount"] == 0, event
    started = one.request("POST", "/checks/c-7", "", JSON)
    assert started.status == 200 and json.loads(started.body)["executionArn"], started
    stored = [record for call in fake.calls for record in records_of(call)]
    assert [record.body.decode() for record in stored[3:]] == [body, '{"a":1}', '{"consignmentId": "c-7"}']


PET = {"type": "object", "required": ["type", "name", "price"], "properties": {
    "id": {"type": "integer"}, "type": {"type": "string", "enum": ["dog", "cat", "fish"]}, "name": {"type": "string"},
    "price": {"type": "number", "minimum": 25, "maximum": 500}}}
MOCK = {"type": "mock", "requestTemplates": {"application/json": '{"statusCode": 200}'}, "responses": {"default": {"statusCode": "200"}}}
# the vendor's own sample of request validation
VALIDATED = {
    "/validation": {
        "post": {"x-amazon-apigateway-request-validator": "all", "x-amazon-apigateway-integration": MOCK,
                 "parameters": [{"in": "header", "name": "h1", "required": True}],
                 "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}},
        "get": {"x-amazon-apigateway-integration": MOCK, "parameters": [{"in": "query", "name": "q1", "required": True},
                                                                       {"in": "query", "name": "q2"}]},
    },
    "/free": {"post": {"x-amazon-apigateway-request-validator": "none", "x-amazon-apigateway-integration": MOCK}},
}
VALIDATORS = {
    "x-amazon-apigateway-request-validators": {
        "all": {"validateRequestBody": True, "validateRequestParameters": True},
        "params-only": {"validateRequestBody": False, "validateRequestParameters": True},
        "none": {"validateRequestBody": False, "validateRequestParameters": False}},
    "x-amazon-apigateway-request-validator": "params-only",
    "components": {"schemas": {"Pet": PET, "Unused": {"type": "object", "properties": {"big": {"type": "string"}}}}},
}
GOOD = {"name": "Marco", "type": "dog", "price": 260}
MISSING = "Missing required request parameters: [{}]"
# (method, path, body, headers, status, message)
ROWS = {
    "a good one": ("POST", "/validation", GOOD, {"h1": "x"}, 200, None),
    "no header": ("POST", "/validation", GOOD, {}, 400, MISSING.format("h1")),
    "a blank header": ("POST", "/validation", GOOD, {"h1": ""}, 400, MISSING.format("h1")),
    "a wrong price": ("POST", "/validation", {**GOOD, "price": 600}, {"h1": "x"}, 400, "Invalid request body"),
    "no name": ("POST", "/validation", {"type": "dog", "price": 260}, {"h1": "x"}, 400, "Invalid request body"),
    "no body": ("POST", "/validation", None, {"h1": "x"}, 400, "Invalid request body"),
    "neither header nor body": ("POST", "/validation", None, {}, 400, MISSING.format("h1")),
    "the query": ("GET", "/validation?q1=cat", None, {}, 200, None),
    "no query": ("GET", "/validation", None, {}, 400, MISSING.format("q1")),
    "a blank query": ("GET", "/validation?q1=", None, {}, 400, MISSING.format("q1")),
    "nothing is asked": ("POST", "/free", None, {}, 200, None),
}


@pytest.fixture(scope="module")
def validated(shared_gateway):
    return shared_gateway(as_json(document(VALIDATED, **VALIDATORS)), name="validated.json")


def send(one, method, path, body, headers):
    return one.request(method, path, None if body is None else json.dumps(body), {**JSON, **headers})


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_request_validators_refuse_as_the_vendor_does(validated, row):
    method, path, body, headers, status, message = row
    answer = send(validated, method, path, body, headers)
    assert answer.status == status, answer
    if message:
        assert json.loads(answer.body) == {"message": message}


RESPONSES = {"x-amazon-apigateway-gateway-responses": {
    "BAD_REQUEST_BODY": {"statusCode": "422", "responseTemplates": {
        "application/json": '{"error": $context.error.messageString, "why": "$context.error.validationErrorString"}'}},
    "BAD_REQUEST_PARAMETERS": {"responseParameters": {"gatewayresponse.header.x-kind": "'parameters'"},
                               "responseTemplates": {"application/json": '{"kind":"$context.error.responseType"}'}},
    "MISSING_AUTHENTICATION_TOKEN": {"statusCode": 404, "responseTemplates": {"application/json": '{"message":"nothing here"}'}},
    "DEFAULT_4XX": {"responseParameters": {"gatewayresponse.header.Access-Control-Allow-Origin": "'*'"}},
}}


def test_gateway_responses_give_refusals_their_form(gateway):
    one = gateway(as_json(document(VALIDATED, **VALIDATORS, **RESPONSES)), name="api.json")
    body = send(one, "POST", "/validation", {"type": "cow"}, {"h1": "x"})
    said = json.loads(body.body)
    assert (body.status, said["error"]) == (422, "Invalid request body") and "required" in said["why"], body
    assert "x-kind" not in body.headers
    parameters = send(one, "POST", "/validation", GOOD, {})
    assert (parameters.status, parameters.headers["x-kind"]) == (400, "parameters"), parameters
    assert json.loads(parameters.body) == {"kind": "BAD_REQUEST_PARAMETERS"}
    nowhere = send(one, "GET", "/nowhere", None, {})
    assert (nowhere.status, json.loads(nowhere.body)) == (404, {"message": "nothing here"})


def test_gateway_responses_that_cannot_be_had_are_named(tmp_path):
    responses = {"x-amazon-apigateway-gateway-responses": {
        "WAF_FILTERED": {"statusCode": "403"},
        "THROTTLED": {"responseTemplates": {"application/json": '{"m":"$context.identity.sourceIp"}'}},
        "UNAUTHORIZED": {"responseParameters": {"gatewayresponse.header.x": "method.request.header.y"}},
        "INVALID_SIGNATURE": {"statusCode": "401"}, "EXPIRED_TOKEN": {"statusCode": "403"},
    }}
    ran = imported(tmp_path, as_json(document({"/m": {"get": {"x-amazon-apigateway-integration": MOCK}}}, **responses)))
    said = "\n".join(finding["reason"] for finding in json.loads(ran.stdout)["findings"] if finding["level"] == "error")
    assert ran.returncode == 1
    for words in ("`WAF_FILTERED` cannot be had", "holds `$context.identity.sourceIp`", "is not a text in single quotes",
                  "`EXPIRED_TOKEN` and a gateway response above are one kind of refusal"):
        assert words in said, said


IN_PLACE = {
    "openapi": "3.0.1", "info": {"title": "Webhook Ingestion API"}, "paths": {"/webhook": {"post": {
        "x-amazon-apigateway-integration": {
            "type": "aws", "httpMethod": "POST", "passthroughBehavior": "never",
            "uri": {"Fn::Sub": "arn:aws:apigateway:${AWS::Region}:sqs:path/${AWS::AccountId}/${Buffer.QueueName}"},
            "requestTemplates": {"application/json": ATTRIBUTES},
            "responses": {"default": {"statusCode": "202"}}}}}}}
STAGED = {"StageName": "prod", "Variables": {"tier": "gold"}}
HOOKS = {
    "SAM": {"Hooks": {"Type": "AWS::Serverless::Api", "Properties": {**STAGED, "DefinitionBody": IN_PLACE}}},
    "CloudFormation": {
        "Hooks": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Body": IN_PLACE}},
        "Deployed": {"Type": "AWS::ApiGateway::Deployment", "Properties": {"RestApiId": {"Ref": "Hooks"}}},
        "Live": {"Type": "AWS::ApiGateway::Stage", "Properties": {
            **STAGED, "RestApiId": {"Ref": "Hooks"}, "DeploymentId": {"Ref": "Deployed"}}}},
}


@pytest.mark.parametrize("resources", HOOKS.values(), ids=HOOKS)
def test_a_definition_in_a_template_is_read_as_the_document_it_is(tmp_path, resources):
    """As in many samples of direct ingestion: a REST API with its definition in place."""
    buffer = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "hooks"}}
    text = json.dumps({"Transform": "AWS::Serverless-2016-10-31", "Resources": {"Buffer": buffer, **resources}})
    path = write_config(tmp_path, text, "template.json")
    ran = penstock("import", path, cwd=tmp_path)
    assert ran.returncode == 1 and "`AWS::AccountId` is not known" in ran.stderr
    assert "https://sqs.${env:AWS_REGION}.amazonaws.com/${env:AWS_ACCOUNT_ID}/hooks" in ran.stdout
    given = write_config(tmp_path, "AWS::Region: eu-west-1\nAWS::AccountId: '111122223333'\n", "vars.yaml")
    ran = penstock("import", path, "--vars", given, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    made = yaml.safe_load(ran.stdout)
    assert (made["stage"], made["stage_variables"]) == ("prod", {"tier": "gold"})
    ours = write_config(tmp_path, ran.stdout, "ours.yaml")
    explained = penstock("explain", ours, "POST", "/prod/webhook", "-H", "x-webhook-signature: s", "-H", "content-type: application/json",
                         "-d", "{}", cwd=tmp_path, env=environment())
    assert explained.returncode == 0 and "111122223333/hooks" in explained.stdout, explained


@pytest.mark.parametrize("barred, status", [("127.0.0.0/8", 403), ("192.0.2.0/24", 200)])
def test_the_document_s_resource_policy_holds(gateway, barred, status):
    everybody = {"Principal": "*", "Action": "execute-api:Invoke", "Resource": "execute-api:/*"}
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", **everybody},
        {"Effect": "Deny", **everybody, "Condition": {"IpAddress": {"aws:SourceIp": barred}}}]}
    one = gateway(as_json(document(VALIDATED, **VALIDATORS, **{"x-amazon-apigateway-policy": policy})), name="api.json")
    assert send(one, "POST", "/validation", GOOD, {"h1": "x"}).status == status


KEY = "a-key-of-a-partner-that-is-long"
KEYS = {"partner": {"hash": "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()}}
SCHEMES = {
    "key": {"type": "apiKey", "name": "x-api-key", "in": "header"},
    "asks": {"type": "apiKey", "name": "Authorization", "in": "header", "x-amazon-apigateway-authtype": "custom",
             "x-amazon-apigateway-authorizer": {
                 "type": "request", "identitySource": "method.request.header.Authorization", "authorizerResultTtlInSeconds": 0,
                 "authorizerUri": URI + "lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:111122223333:function:asks/invocations"}},
}


def keyed(source, own, **schemes):
    """A document with one route that asks for a key."""
    paths = {"/keyed": {"get": {"security": [dict.fromkeys(schemes, [])], "x-amazon-apigateway-integration": MOCK}}}
    return as_json(document(paths, {"api_keys": KEYS, **own}, components={"securitySchemes": schemes},
                            **{"x-amazon-apigateway-api-key-source": source}))


def test_a_document_whose_keys_come_in_the_header_asks_for_one(gateway):
    one = gateway(keyed("HEADER", {}, key=SCHEMES["key"]), name="api.json")
    statuses = [one.request("GET", "/keyed", headers=headers).status for headers in ({}, {"x-api-key": KEY + "r"}, {"x-api-key": KEY})]
    assert statuses == [403, 403, 200]


def test_a_document_whose_keys_an_authorizer_names_takes_them_from_there_alone(gateway):
    named = {token: policy("Allow", "*", usageIdentifierKey=key) for token, key in (("good", KEY), ("bad", "another"))}
    asks = Authorizer({**named, "none": policy("Allow", "*"), "denied": policy("Deny", "*", usageIdentifierKey=KEY)})
    try:
        own = {"aws": {"region": "eu-west-1", "endpoints": {"lambda": asks.url}}}
        one = gateway(keyed("AUTHORIZER", own, **SCHEMES), name="api.json")
        expected = {"good": 200, "bad": 403, "none": 403, "denied": 403}
        found = {token: one.request("GET", "/keyed", headers={"authorization": token, "x-api-key": KEY}).status for token in expected}
        assert found == expected
        assert asks.calls == 4
    finally:
        asks.stop()
