"""What each failure of a target looks like from outside: the fake throttles, hangs, lies and goes away."""

import time

import pytest

from support.fake_aws import (
    HalfReply, Hang, LostReply, Reply, Reset, Usual, access_denied, error, no_such_queue, refused_entry, server_error,
    throttled, wrong_md5,
)
from support.gateway import config
from support.processes import connected, eventually, refusing_port

QUEUE = "https://sqs.us-east-1.amazonaws.com/111122223333/orders"
MACHINE = "arn:aws:states:us-east-1:111122223333:stateMachine:ingest"
INTEGRATIONS = {
    "SQS-SendMessage": {"QueueUrl": QUEUE, "MessageBody": "$request.body"},
    "Kinesis-PutRecord": {"StreamName": "clicks", "Data": "$request.body", "PartitionKey": "k"},
    "EventBridge-PutEvents": {"Detail": "$request.body", "DetailType": "t", "Source": "s"},
    "StepFunctions-StartExecution": {"StateMachineArn": MACHINE, "Input": "$request.body"},
    "StepFunctions-StartSyncExecution": {"StateMachineArn": MACHINE, "Input": "$request.body"},
}
SERVICE = {"SQS": "sqs", "Kinesis": "kinesis", "EventBridge": "events", "StepFunctions": "states"}
UNAVAILABLE = b'{"message":"Service Unavailable"}'


def routes():
    return {f"POST /{name}": {"integration": {name: dict(call)}} for name, call in INTEGRATIONS.items()}


def serving(gateway, fake, timeout="50s", **sections):
    return gateway(config(routes(), aws={"region": "us-east-1", "endpoint": fake.url}, limits={"timeout": timeout}, **sections))


@pytest.fixture
def native(gateway, fake):
    return serving(gateway, fake)


@pytest.fixture
def aws(gateway, fake):
    return serving(gateway, fake, responses="aws")


def soonest(one, operation, attempts=5):
    """The quickest of some answers: a busy machine may be late with one of them, not with all."""
    return min((post(one, operation) for _ in range(attempts)), key=lambda answer: answer.took)


def post(one, operation, **options):
    begun = time.monotonic()
    answer = one.request("POST", f"/{operation}", b'{"order":1}', **options)
    answer.took = time.monotonic() - begun
    return answer


@pytest.mark.parametrize("operation", INTEGRATIONS)
def test_a_good_answer_is_a_success_with_one_call(native, fake, operation):
    answer = post(native, operation)
    assert answer.status == (200 if "Sync" in operation else 202), answer
    fake.only_call(operation)


@pytest.mark.parametrize("operation", INTEGRATIONS)
def test_a_throttle_is_503_with_retry_after(native, fake, operation):
    fake.always(operation, throttled(SERVICE[operation.split("-")[0]]))
    answer = post(native, operation)
    assert answer.status == 503 and answer.code == "target_throttled"
    assert int(answer.headers["retry-after"]) >= 1
    fake.only_call(operation)  # the SDK's own retries are off


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("operation", INTEGRATIONS)
def test_a_fault_of_the_service_is_503(native, fake, operation, status):
    fake.always(operation, server_error(status))
    answer = post(native, operation)
    assert answer.status == 503 and answer.code in ("target_unavailable", "outcome_unknown")
    assert "retry-after" in answer.headers
    fake.only_call(operation)


@pytest.mark.parametrize("operation", INTEGRATIONS)
def test_a_refused_connection_is_503_at_once(native, fake, operation):
    fake.stop()
    answer = soonest(native, operation)
    assert answer.status == 503 and answer.code == "target_unavailable"
    assert "retry-after" in answer.headers
    assert answer.took < 2.0, "a refused connection is known at once: the SDK's default retries would take 2.4 s"


@pytest.mark.parametrize("operation", INTEGRATIONS)
def test_a_hanging_target_is_an_unknown_outcome_within_the_timeout(gateway, fake, operation):
    fake.always(operation, Hang())
    answer = post(serving(gateway, fake, timeout="2s"), operation)
    assert answer.status == 503 and answer.code == "outcome_unknown"
    assert "retry-after" in answer.headers
    assert answer.took > 1.5
    fake.only_call(operation)


def test_a_route_s_own_timeout_counts(gateway, fake):
    one = gateway(config(
        {"POST /fast": {"integration": {"SQS-SendMessage": INTEGRATIONS["SQS-SendMessage"]}, "limits": {"timeout": "500ms"}}},
        aws={"region": "us-east-1", "endpoint": fake.url}, limits={"timeout": "100s"}))
    fake.always("SQS-SendMessage", Hang())
    begun = time.monotonic()
    assert one.request("POST", "/fast", b"x").code == "outcome_unknown"
    assert time.monotonic() - begun < 55


@pytest.mark.parametrize("behaviour", [Reset(), LostReply(), HalfReply()], ids=["reset", "lost reply", "half a reply"])
@pytest.mark.parametrize("operation", ["SQS-SendMessage", "Kinesis-PutRecord", "EventBridge-PutEvents"])
def test_a_lost_answer_is_an_unknown_outcome_and_is_not_sent_again(native, fake, operation, behaviour):
    fake.always(operation, behaviour)
    answer = post(native, operation)
    assert answer.status == 503 and answer.code == "outcome_unknown"
    fake.only_call(operation)


@pytest.mark.parametrize("operation", INTEGRATIONS)
def test_a_connection_kept_alive_and_closed_by_the_target_costs_no_request(native, fake, operation):
    """A pooled connection that the target closed in between is no outcome of the new request."""
    assert post(native, operation).status < 300
    fake.stop()
    eventually(lambda: connected(fake.port) == 0, what="the gateway to notice")
    fake.start()
    assert post(native, operation).status < 300


@pytest.mark.parametrize("operation", INTEGRATIONS)
def test_missing_permission_is_502_and_names_the_service_s_code(native, fake, operation):
    fake.always(operation, access_denied())
    answer = post(native, operation)
    assert answer.status == 502 and answer.code == "target_setup"
    assert "retry-after" in answer.headers
    assert "AccessDenied" in answer.json()["detail"]


@pytest.mark.parametrize("operation", INTEGRATIONS)
def test_a_code_that_nobody_knows_is_our_setup(native, fake, operation):
    fake.always(operation, error("NeverHeardOfException", "what is this"))
    answer = post(native, operation)
    assert answer.status == 502 and answer.code == "target_setup"
    assert "NeverHeardOf" in answer.json()["detail"]


def test_a_queue_that_does_not_exist_is_our_setup(native, fake):
    fake.always("SQS-SendMessage", no_such_queue())
    answer = post(native, "SQS-SendMessage")
    assert answer.status == 502 and answer.code == "target_setup"


RECORD = [
    ("SQS-SendMessage", error("com.amazonaws.sqs#InvalidMessageContents", "bad characters", 400, "InvalidMessageContents")),
    ("StepFunctions-StartExecution", error("InvalidExecutionInput", "not JSON")),
    ("StepFunctions-StartSyncExecution", error("InvalidExecutionInput", "not JSON")),
    ("Kinesis-PutRecord", error("SerializationException", "no")),
]


@pytest.mark.parametrize("operation, behaviour", RECORD, ids=[row[0] for row in RECORD])
def test_a_record_refused_for_what_it_is_is_422(native, fake, operation, behaviour):
    fake.always(operation, behaviour)
    answer = post(native, operation)
    assert answer.status == 422 and answer.code == "target_refused_record"
    assert behaviour.body["__type"].split("#")[-1] in answer.json()["detail"]


@pytest.mark.parametrize("code", ["MalformedDetail", "SomethingNew", "InternalFailure", "ThrottlingException"])
def test_a_refused_entry_is_never_a_2xx(native, fake, code):
    fake.always("EventBridge-PutEvents", refused_entry(code))
    answer = post(native, "EventBridge-PutEvents")
    expected = {"MalformedDetail": (422, 502), "SomethingNew": (502,)}.get(code, (502, 503))
    assert answer.status in expected, answer
    assert code in answer.json()["detail"]


def test_a_refused_entry_is_the_service_s_own_200_in_the_aws_dialect_and_counted_as_a_failure(aws, fake):
    fake.always("EventBridge-PutEvents", refused_entry())
    answer = post(aws, "EventBridge-PutEvents")
    assert answer.status == 200
    assert answer.json()["FailedEntryCount"] == 1
    assert answer.json()["Entries"][0]["ErrorCode"] == "MalformedDetail"
    metrics = aws.metrics()
    assert metrics.value("penstock_requests_total", outcome="stored") == 0
    assert metrics.value("penstock_target_calls_total", result="ok") == 0
    assert metrics.value("penstock_target_calls_total") == 1
    assert "MalformedDetail" in str(aws.log_line(answer.headers["x-request-id"]))


def test_a_wrong_digest_in_the_answer_is_not_a_success(native, fake):
    fake.always("SQS-SendMessage", wrong_md5())
    answer = post(native, "SQS-SendMessage")
    assert answer.status in (502, 503), answer
    fake.only_call("SQS-SendMessage")


def test_an_answer_that_is_no_answer_is_not_a_success(native, fake):
    for body in (b"", b"<html>captive portal</html>", b"{}", b'{"MessageId":null}'):
        fake.answer("SQS-SendMessage", Reply(200, body, {"content-type": "text/html"}))
        answer = post(native, "SQS-SendMessage")
        assert answer.status >= 500, (body, answer)


def test_a_slow_answer_within_the_timeout_is_a_success(native, fake):
    fake.always("SQS-SendMessage", Usual(after=0.8))
    assert post(native, "SQS-SendMessage").status == 202


def test_a_target_that_comes_back_is_used_again(native, fake):
    fake.stop()
    assert post(native, "SQS-SendMessage").status == 503
    fake.start()
    eventually(lambda: post(native, "SQS-SendMessage").status == 202, what="a success after the target came back")


@pytest.mark.parametrize("operation", INTEGRATIONS)
def test_the_service_s_own_error_comes_through_in_the_aws_dialect(aws, fake, operation):
    fake.always(operation, error("com.amazonaws.x#SomeException", "the service's words", 400, "SomeException"))
    answer = post(aws, operation)
    assert answer.status == 400
    assert b"the service's words" in answer.body.replace(b"&apos;", b"'").replace(b"&#39;", b"'")
    assert b"SomeException" in answer.body
    if operation.startswith("SQS"):
        assert answer.headers["content-type"].startswith("text/xml")
        assert b"<ErrorResponse" in answer.body and b"<Type>Sender</Type>" in answer.body
    else:
        assert "application/x-amz-json" in answer.headers["content-type"]
        assert answer.json()["message"] == "the service's words"


@pytest.mark.parametrize("operation", INTEGRATIONS)
def test_a_hanging_or_absent_target_is_service_unavailable_in_the_aws_dialect(gateway, fake, operation):
    aws = serving(gateway, fake, timeout="2s", responses="aws")
    fake.answer(operation, Hang())
    answer = post(aws, operation)
    assert answer.status == 503 and answer.body == UNAVAILABLE
    fake.stop()
    answer = soonest(aws, operation)
    assert answer.status == 503 and answer.body == UNAVAILABLE and answer.took < 2.0


def test_reads_that_time_out_are_503(gateway, fake):
    one = gateway(config(
        {"GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": QUEUE, "WaitTimeSeconds": 1}}}},
        aws={"region": "us-east-1", "endpoint": fake.url}, limits={"timeout": "1s"}))
    fake.always("SQS-ReceiveMessage", Hang())
    begun = time.monotonic()
    assert one.request("GET", "/next").status == 503
    assert time.monotonic() - begun > 1.5, "the deadline of a long poll is the timeout plus its wait"


def test_an_endpoint_that_never_listened_fails_no_start_and_no_readiness(gateway):
    one = gateway(config(routes(), aws={"region": "us-east-1", "endpoint": f"http://127.0.0.1:{refusing_port()}"}))
    assert one.admin("/readyz").status == 200
    assert post(one, "SQS-SendMessage").code == "target_unavailable"


def test_missing_credentials_are_our_setup_and_known_soon(gateway, fake):
    one = gateway(
        config(routes(), aws={"region": "us-east-1", "endpoint": fake.url}),
        env={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"})
    answer = post(one, "SQS-SendMessage")
    assert answer.status == 502 and answer.code == "target_setup"
    assert fake.calls_of("SQS-SendMessage") == []


def test_a_role_is_assumed_and_its_credentials_sign_the_call(gateway, fake):
    one = gateway(config(routes(), aws={
        "region": "us-east-1", "endpoint": fake.url,
        "assume_role": {"arn": "arn:aws:iam::111122223333:role/ingest", "external_id": "ext", "session_name": "edge"}}))
    assert post(one, "SQS-SendMessage").status == 202
    assumed = fake.calls_of("STS-AssumeRole")
    assert assumed and b"RoleSessionName=edge" in assumed[0].body and b"ExternalId=ext" in assumed[0].body
    call = fake.only_call("SQS-SendMessage")
    assert "Credential=ASIAASSUMED/" in call.headers["authorization"]
    assert call.headers["x-amz-security-token"] == "assumed-token"


def test_a_role_that_cannot_be_assumed_is_our_setup(gateway, fake):
    fake.always("STS-AssumeRole", Reply(
        403, b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
        {"content-type": "text/xml"}))
    one = gateway(config(routes(), aws={
        "region": "us-east-1", "endpoint": fake.url, "assume_role": {"arn": "arn:aws:iam::111122223333:role/ingest"}}))
    answer = post(one, "SQS-SendMessage")
    assert answer.status == 502 and answer.code == "target_setup"


def test_the_region_is_the_queue_s_else_the_parameter_s_else_the_configured_one(gateway, fake):
    def send(url, **more):
        return {"integration": {"SQS-SendMessage": {"QueueUrl": url, "MessageBody": "$request.body", **more}}}
    one = gateway(config({
        "POST /url": send("https://sqs.eu-west-3.amazonaws.com/111122223333/orders"),
        "POST /parameter": {"integration": {"Kinesis-PutRecord": {
            "StreamName": "s", "Data": "$request.body", "PartitionKey": "k", "Region": "ap-south-1"}}},
        "POST /configured": {"integration": {"Kinesis-PutRecord": {"StreamName": "s", "Data": "$request.body", "PartitionKey": "k"}}},
    }, aws={"region": "ca-central-1", "endpoint": fake.url}))
    for path, region in {"/url": "eu-west-3", "/parameter": "ap-south-1", "/configured": "ca-central-1"}.items():
        assert one.request("POST", path, b"x").status == 202
        assert f"/{region}/" in fake.calls[-1].headers["authorization"]


def test_services_can_have_endpoints_of_their_own(gateway, fake):
    one = gateway(config(routes(), aws={
        "region": "us-east-1", "endpoint": f"http://127.0.0.1:{refusing_port()}", "endpoints": {"sqs": fake.url}}))
    assert post(one, "SQS-SendMessage").status == 202
    assert post(one, "Kinesis-PutRecord").code == "target_unavailable"


def test_secrets_stay_out_of_the_logs(gateway, fake):
    one = gateway(
        config(routes(), aws={"region": "us-east-1", "endpoint": fake.url}),
        env={"AWS_SECRET_ACCESS_KEY": "very-secret-value", "RUST_LOG": "trace", "PENSTOCK_LOG": "trace"})
    fake.answer("SQS-SendMessage", access_denied(), Reset(), wrong_md5())
    for _ in range(4):
        post(one, "SQS-SendMessage")
    assert "very-secret-value" not in one.logs() + one.stdout_path.read_text()


@pytest.mark.parametrize("dialect", ["native", "aws"])
def test_response_parameters_apply_to_a_failed_integration_s_status(gateway, fake, dialect):
    """Reference 3.6: a backend's 500 reaches the client as 403 plus a header; the log keeps the integration's own."""
    route = {
        "integration": {"Kinesis-PutRecord": {"StreamName": "s", "Data": "$request.body", "PartitionKey": "k"}},
        "response_parameters": {
            "500": {"append:header.x-request": "$context.requestId", "overwrite:statuscode": "403"},
            "404": {"append:header.x-error": "$stageVariables.environmentId"},
        },
    }
    one = gateway(config({"POST /k": route}, responses=dialect, stage_variables={"environmentId": "blue"},
                         aws={"region": "us-east-1", "endpoint": fake.url}))
    fake.always("Kinesis-PutRecord", server_error(500))
    answer = one.request("POST", "/k", b"x")
    assert answer.status == 403 and answer.headers["x-request"] == answer.headers["x-request-id"]
    fake.always("Kinesis-PutRecord", error("ResourceNotFoundException", "no", 404))
    answer = one.request("POST", "/k", b"x")
    assert answer.status == (502 if dialect == "native" else 404) and answer.headers["x-error"] == "blue"
    assert one.metrics().value("penstock_requests_total", outcome="rejected", code="outcome_unknown") == 1


@pytest.mark.parametrize("operation", ["Kinesis-PutRecord", "StepFunctions-StartExecution", "EventBridge-PutEvents", "SQS-SendMessage"])
@pytest.mark.parametrize("reply", [Reply(200, b"{}", {"content-type": "application/x-amz-json-1.1"}), Reply(200, b"<html>welcome</html>", {"content-type": "text/html"})],
                         ids=["an answer without an id", "a captive portal"])
def test_a_200_that_proves_nothing_is_no_success(gateway, fake, operation, reply):
    for dialect in ("native", "aws"):
        one = gateway(config(routes(), responses=dialect, aws={"region": "us-east-1", "endpoint": fake.url}, limits={"timeout": "50s"}))
        fake.always(operation, reply)
        answer = post(one, operation)
        assert answer.status >= 500, answer
        if dialect == "native":
            assert answer.code == "outcome_unknown" and "retry-after" in answer.headers
