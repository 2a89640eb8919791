"""`penstock iam` under a service that keeps policies: what it prints is enough for every call, and each action in it is needed.

MiniStack with AUTH=true checks signatures, then evaluates the caller's policies on action and resource. (moto's IAM looks at
actions alone, so it could prove less.) What MiniStack does otherwise than AWS, by its source:
- AppConfig's old GetConfiguration is authorized on the environment alone, and then not known.
- Sessions of AppConfig are not authorized: that policy is looked at as text.
- DescribeEventBus is authorized on `rule/default/NAME`; AWS does on the bus.
"""

import concurrent.futures
import copy
import hashlib
import io
import json
import zipfile

import pytest
import yaml

from conftest import finish
from support import emulators
from support.emulators import REGION, unique
from support.gateway import Gateway, config, environment, penstock, write_config
from support.kept import Address, Bucket
from support.processes import eventually

DONE = {"StartAt": "a", "States": {"a": {"Type": "Pass", "End": True}}}
WAIT = {"StartAt": "a", "States": {"a": {"Type": "Wait", "Seconds": 600, "End": True}}}


class Cloud:
    """What the routes reach, made by the owner; and a user who may do what a policy says."""

    def __init__(self, emulator):
        self.emulator, self.url = emulator, emulator.url
        self.iam = emulator.client("iam")
        self.user = unique("gateway")
        self.iam.create_user(UserName=self.user)
        key = self.iam.create_access_key(UserName=self.user)["AccessKey"]
        self.keys = (key["AccessKeyId"], key["SecretAccessKey"])
        self.there, self.neighbours = self.things(), self.things()

    def things(self):
        """One of each kind, by the name that a route gives it."""
        sqs, kinesis, dynamodb, states, events, appconfig = (
            self.emulator.client(name) for name in ("sqs", "kinesis", "dynamodb", "stepfunctions", "events", "appconfig"))
        names = {
            "queue": self.emulator.queue(), "fifo": self.emulator.queue(fifo=True), "purged": self.emulator.queue(),
            "stream": unique("clicks"), "packed": unique("packed"), "bus": unique("hooks"), "table": unique("items")}
        for stream in (names["stream"], names["packed"]):
            kinesis.create_stream(StreamName=stream, ShardCount=1)
            eventually(lambda name=stream: kinesis.describe_stream(StreamName=name)["StreamDescription"]["StreamStatus"] == "ACTIVE")
        dynamodb.create_table(
            TableName=names["table"], BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
        events.create_event_bus(Name=names["bus"])
        role = self.role({"Service": "states.amazonaws.com"})
        for name, definition, kind in (("machine", WAIT, "STANDARD"), ("express", DONE, "EXPRESS")):
            names[name] = states.create_state_machine(
                name=unique(name), definition=json.dumps(definition), roleArn=role, type=kind)["stateMachineArn"]
        names["application"] = appconfig.create_application(Name=unique("shop"))["Id"]
        names["environment"] = appconfig.create_environment(ApplicationId=names["application"], Name="prod")["Id"]
        names["profile"] = appconfig.create_configuration_profile(
            ApplicationId=names["application"], Name="flags", LocationUri="hosted")["Id"]
        return names

    def role(self, principal):
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]}
        return self.iam.create_role(RoleName=unique("role"), AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]

    def allow(self, document):
        """The user may do that, and nothing else; at once."""
        self.iam.put_user_policy(UserName=self.user, PolicyName="gateway", PolicyDocument=json.dumps(document))

    def environment(self):
        return {"AWS_ACCESS_KEY_ID": self.keys[0], "AWS_SECRET_ACCESS_KEY": self.keys[1]}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    server = emulators.started("ministack", tmp_path_factory.mktemp("ministack"), waiting=True, permissions=True)
    yield Cloud(server)
    server.stop()


def table(names):
    """A route of every kind."""
    def to(kind, **parameters):
        return {"integration": {kind: parameters}}
    body = "$request.body"
    return {
        "POST /queue": to("SQS-SendMessage", QueueUrl=names["queue"], MessageBody=body, MessageAttributes={"from": "test"}),
        "POST /fifo": to("SQS-SendMessage", QueueUrl=names["fifo"], MessageBody=body, MessageGroupId="g",
                         MessageDeduplicationId="$context.requestId"),
        "GET /next": to("SQS-ReceiveMessage", QueueUrl=names["queue"], WaitTimeSeconds=0, AttributeNames=["All"]),
        "DELETE /message": to("SQS-DeleteMessage", QueueUrl=names["queue"], ReceiptHandle="$request.querystring.receipt"),
        "DELETE /all": to("SQS-PurgeQueue", QueueUrl=names["purged"]),
        "POST /stream": to("Kinesis-PutRecord", StreamName=names["stream"], Data=body, PartitionKey="$context.requestId"),
        "POST /packed": {"integration": {"aggregate": "kpl", "Kinesis-PutRecord": {
            "StreamName": names["packed"], "Data": body, "PartitionKey": "$context.requestId"}}},
        "POST /bus": to("EventBridge-PutEvents", EventBusName=names["bus"], Source="shop", DetailType="order", Detail=body),
        "POST /default": to("EventBridge-PutEvents", Source="shop", DetailType="order", Detail=body),
        "POST /flow": to("StepFunctions-StartExecution", StateMachineArn=names["machine"], Input=body, Name="$request.querystring.name"),
        "POST /sync": to("StepFunctions-StartSyncExecution", StateMachineArn=names["express"], Input=body),
        "DELETE /flow": to("StepFunctions-StopExecution", ExecutionArn="$request.querystring.arn", Region=REGION),
        "GET /item": to("DynamoDB-GetItem", TableName=names["table"], Key={"id": {"S": "1"}}),
        "PUT /item": to("DynamoDB-PutItem", TableName=names["table"], Item={"id": {"S": "1"}, "body": {"S": body}}),
        "GET /flags": to("AppConfig-GetConfiguration", Application=names["application"], Environment=names["environment"],
                         Configuration=names["profile"], ClientId="test"),
    }


def document(cloud, names, **sections):
    return config(table(names), aws={"region": REGION, "endpoint": cloud.url}, **sections)


def policy(tmp_path, written, *arguments):
    ran = penstock("iam", write_config(tmp_path, written, "asked.yaml"), *arguments)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def less(document, statement, action):
    """The policy without that one action of that statement."""
    kept = copy.deepcopy(document)
    kept["Statement"][statement]["Action"].remove(action)
    kept["Statement"] = [each for each in kept["Statement"] if each["Action"]]
    return kept


class Caller:
    """Uses every route of a gateway."""

    def __init__(self, gateway, cloud, names):
        self.gateway, self.cloud, self.names = gateway, cloud, names

    def ask(self, method, path, body='{"n": 1}'):
        return self.gateway.request(method, path, body, {"content-type": "application/json"})

    def receipt(self):
        """Of a message that is there, received by the owner."""
        sqs = self.cloud.emulator.client("sqs")
        sqs.send_message(QueueUrl=self.names["queue"], MessageBody="x")
        return sqs.receive_message(QueueUrl=self.names["queue"])["Messages"][0]["ReceiptHandle"]

    def execution(self):
        states = self.cloud.emulator.client("stepfunctions")
        return states.start_execution(stateMachineArn=self.names["machine"], name=unique("run"), input="{}")["executionArn"]

    def together(self, path):
        """Records that come at once share calls. They are too large to go as one aggregate."""
        body = json.dumps({"n": "x" * 40_000})
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            return list(pool.map(lambda _: self.ask("POST", path, body), range(48)))

    def calls(self):
        """What needs an action on a thing, by both."""
        return {
            ("sqs:SendMessage", "queue"): lambda: self.ask("POST", "/queue"),
            ("sqs:SendMessage", "fifo"): lambda: self.ask("POST", "/fifo"),
            ("sqs:ReceiveMessage", "queue"): lambda: self.ask("GET", "/next"),
            ("sqs:DeleteMessage", "queue"): lambda: self.ask("DELETE", f"/message?receipt={self.receipt()}"),
            ("sqs:PurgeQueue", "purged"): lambda: self.ask("DELETE", "/all"),
            ("kinesis:PutRecord", "stream"): lambda: self.ask("POST", "/stream"),
            ("kinesis:PutRecord", "packed"): lambda: self.ask("POST", "/packed"),
            ("events:PutEvents", "bus"): lambda: self.ask("POST", "/bus"),
            ("events:PutEvents", "default"): lambda: self.ask("POST", "/default"),
            ("states:StartExecution", "machine"): lambda: self.ask("POST", f"/flow?name={unique('run')}"),
            ("states:StartSyncExecution", "express"): lambda: self.ask("POST", "/sync"),
            ("states:StopExecution", "execution"): lambda: self.ask("DELETE", f"/flow?arn={self.execution()}"),
            ("dynamodb:GetItem", "table"): lambda: self.ask("GET", "/item"),
            ("dynamodb:PutItem", "table"): lambda: self.ask("PUT", "/item"),
            ("appconfig:GetConfiguration", "profile"): lambda: self.ask("GET", "/flags"),
        }


def refused(answer):
    """As one that is our fault: the permission is missing, and a later try may find it."""
    if answer.status != 502:
        return False
    problem = answer.json()
    return problem["code"] == "target_setup" and "AccessDenied" in problem["detail"] and int(answer.headers["retry-after"]) > 0


def works(answer):
    """MiniStack does not serve AppConfig's old call: what it says of a call that it let pass is that it knows none such."""
    return answer.status < 300 or (answer.status == 502 and "BadRequestException" in answer.json()["detail"])


@pytest.fixture(scope="module")
def minimal(cloud, tmp_path_factory):
    """The policy of every kind of route."""
    return policy(tmp_path_factory.mktemp("policy"), document(cloud, cloud.there))


def test_what_it_prints_is_enough_for_every_kind_and_for_its_own_things_alone(gateway, cloud, minimal):
    cloud.allow(minimal)
    caller = Caller(gateway(document(cloud, cloud.there), env=cloud.environment()), cloud, cloud.there)
    for needed, call in caller.calls().items():
        assert works(answer := call()), (needed, answer, answer.body)
    others = Caller(gateway(document(cloud, cloud.neighbours), env=cloud.environment()), cloud, cloud.neighbours)
    for (action, thing), call in others.calls().items():
        if thing in ("execution", "default"):
            continue  # requests choose the execution, so all are allowed; and both have the same default bus
        assert refused(answer := call()), (action, thing, answer, answer.body)


def test_every_action_in_it_is_needed_and_its_absence_is_our_fault(gateway, cloud, minimal):
    one = gateway(document(cloud, cloud.there), env=cloud.environment())
    calls = Caller(one, cloud, cloud.there).calls()
    unasked = set(calls)
    for number, statement in enumerate(minimal["Statement"]):
        for action in statement["Action"]:
            if action in ("kinesis:PutRecords", "kinesis:ListShards"):
                continue  # no request is refused without them: the next two tests
            cloud.allow(less(minimal, number, action))
            needy = {each for each in calls if each[0] == action and on(statement, cloud.there, each[1])}
            assert needy, f"no call of this test needs {action} on {statement['Resource']}"
            for needed, call in calls.items():
                answer = call()
                assert (refused if needed in needy else works)(answer), (f"without {action}", needed, answer, answer.body)
            unasked -= needy
    assert not unasked, f"the policy says nothing of {unasked}"


def on(statement, names, thing):
    """Whether the statement is about that thing; only streams stand in several statements with one action."""
    return not thing.startswith(("stream", "packed")) or any(names[thing] in arn for arn in statement["Resource"])


def test_without_put_records_each_goes_alone(gateway, cloud, minimal):
    """Which works, for the price of a call each: the log of requests shows it, by batches of one."""
    number = next(n for n, each in enumerate(minimal["Statement"]) if cloud.there["stream"] in each["Resource"][0])
    one = gateway(document(cloud, cloud.there), env=cloud.environment())
    caller = Caller(one, cloud, cloud.there)
    cloud.allow(minimal)
    assert {answer.status for answer in caller.together("/stream")} == {202}
    cloud.allow(less(minimal, number, "kinesis:PutRecords"))
    assert {answer.status for answer in caller.together("/stream")} == {202}
    cloud.allow(less(minimal, number, "kinesis:PutRecord"))
    assert any(refused(answer) for answer in caller.together("/stream")), "the first goes alone, and may not"


def test_without_list_shards_records_go_alone_and_it_is_counted(gateway, cloud, minimal):
    number = next(n for n, each in enumerate(minimal["Statement"]) if "kinesis:ListShards" in each["Action"])
    cloud.allow(less(minimal, number, "kinesis:ListShards"))
    one = gateway(document(cloud, cloud.there), env=cloud.environment())
    assert {answer.status for answer in Caller(one, cloud, cloud.there).together("/packed")} == {202}
    assert one.metrics().value("penstock_aggregates_unmapped_batches_total") >= 1
    assert "AccessDenied" in one.logs()


def test_a_spooled_record_waits_for_the_permission(gateway, cloud, minimal, tmp_path):
    routes = {"POST /queue": {**table(cloud.there)["POST /queue"], "ack": "spool"}}
    written = config(routes, aws={"region": REGION, "endpoint": cloud.url})
    cloud.allow(less(minimal, *place(minimal, "sqs:SendMessage")))
    one = gateway(written, env=cloud.environment())
    assert one.request("POST", "/queue", b"kept").status == 202
    one.says("AccessDenied")
    assert one.depth() == 1 and one.depth("dead-letters") == 0
    cloud.allow(policy(tmp_path, written))
    eventually(lambda: one.depth() == 0, 90, "the delivery")
    assert any(message["Body"] == "kept" for message in cloud.emulator.messages(cloud.there["queue"]))


def place(document, action):
    number = next(n for n, each in enumerate(document["Statement"]) if action in each["Action"])
    return number, action


LOOKS = {
    "sqs:GetQueueAttributes": ("queue", "fifo", "purged"), "kinesis:DescribeStreamSummary": ("stream", "packed"),
    "events:DescribeEventBus": ("bus",), "states:DescribeStateMachine": ("machine", "express"),
    "dynamodb:DescribeTable": ("table",),
}


def with_rules(document, cloud):
    """For MiniStack, which takes the look at a bus for one at a rule."""
    rule = f"arn:aws:events:{REGION}:000000000000:rule/default/"
    found = [each for each in document["Statement"] if "events:DescribeEventBus" in each["Action"]]
    for each in found:
        each["Resource"] += [rule + cloud.there["bus"], rule + "default"]
    return document


def looked(cloud, file):
    ran = penstock("check", file, "--live", "--json", env=environment(**cloud.environment()))
    return {look["target"]: look for look in json.loads(ran.stdout)["targets"]}


def test_live_checks_need_what_with_live_adds_and_say_what_is_missing(cloud, minimal, tmp_path):
    written = document(cloud, cloud.there)
    file = write_config(tmp_path, written)
    seen = with_rules(policy(tmp_path, written, "--with-live"), cloud)
    cloud.allow(seen)
    things = {cloud.there[thing] for looks in LOOKS.values() for thing in looks}
    found = looked(cloud, file)
    assert {found[thing]["verdict"] for thing in things} == {"ok"}, found
    cloud.allow(minimal)
    assert {looked(cloud, file)[thing]["verdict"] for thing in things} == {"unknown"}
    for action, of_it in LOOKS.items():
        kept = seen
        while any(action in each["Action"] for each in kept["Statement"]):
            kept = less(kept, *place(kept, action))
        cloud.allow(kept)
        found = looked(cloud, file)
        hidden = {cloud.there[thing] for thing in of_it}
        assert {thing for thing in things if found[thing]["verdict"] == "unknown"} == hidden, action
        for thing in hidden:
            assert "iam --with-live" in " ".join(found[thing]["findings"]), found[thing]


@pytest.fixture
def start_from(request, tmp_path):
    """Starts gateways whose configuration is kept elsewhere, each on no copy."""
    started = request.node.gateways = []

    def start(address, cloud, launch_only=False):
        directory = tmp_path / f"gateway-{len(started)}"
        directory.mkdir()
        one = Gateway(directory, {}, env={"AWS_ENDPOINT_URL": cloud.url, **cloud.environment()}, arguments=[
            "--region", REGION, "--copy", str(directory / "copy.yaml")])
        one.config = Address(address)
        started.append(one)
        return one.launch() if launch_only else one.start(listeners=1)
    yield start
    finish(started)


FUNCTION = "def handler(event, context):\n    return {'isAuthorized': event['headers'].get('authorization') == 'yes'}\n"


def function(cloud):
    """An authorizer that MiniStack runs: its ARN."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", FUNCTION)
    return cloud.emulator.client("lambda").create_function(
        FunctionName=unique("authorize"), Runtime="python3.11", Handler="index.handler", Code={"ZipFile": packed.getvalue()},
        Role=cloud.role({"Service": "lambda.amazonaws.com"}))["FunctionArn"]


def test_an_authorizer_s_function_may_be_invoked_and_no_other(gateway, cloud, tmp_path):
    def guarded(arn):
        return config(
            {"GET /a": {"authorizer": "legacy", "integration": {"Mock": {"status": 204}}}},
            authorizers={"legacy": {"lambda": {"function": arn, "identity_sources": ["$request.header.authorization"]}}},
            aws={"region": REGION, "endpoint": cloud.url})

    def status(one):
        return one.request("GET", "/a", headers={"authorization": "yes"}).status
    own, other = guarded(function(cloud)), guarded(function(cloud))
    cloud.allow(policy(tmp_path, own))
    assert status(gateway(own, env=cloud.environment())) == 204
    assert status(gateway(other, env=cloud.environment())) == 500


KEY = "psk_8e2b7c6d5a4f3e2d1c0b9a88"


def keys(cloud):
    """Two keys that AWS keeps, one in each place: what a configuration names them by."""
    one, two = ("sha256:" + hashlib.sha256(key.encode()).hexdigest() for key in (KEY, KEY + "2"))
    secret, parameter = unique("shop/key"), "/" + unique("shop") + "/key"
    cloud.emulator.client("secretsmanager").create_secret(Name=secret, SecretString=one)
    cloud.emulator.client("ssm").put_parameter(Name=parameter, Value=two, Type="String")
    return {"one": {"hash": f"${{aws-secretsmanager:{secret}}}"}, "two": {"hash": f"${{aws-ssm:{parameter}}}"}}


@pytest.mark.parametrize("action", ["secretsmanager:GetSecretValue", "ssm:GetParameter"])
def test_secrets_are_read_with_its_policy_and_the_start_without_says_which_is_not(gateway, cloud, tmp_path, action):
    routes = {"GET /a": {"authorizer": "api_key", "integration": {"Mock": {"status": 204}}}}
    written = config(routes, api_keys=keys(cloud), aws={"region": REGION, "endpoint": cloud.url})
    enough = policy(tmp_path, written, "--account", "000000000000")
    cloud.allow(enough)
    one = gateway(written, env=cloud.environment())
    assert one.request("GET", "/a", headers={"x-api-key": KEY}).status == 204
    cloud.allow(less(enough, *place(enough, action)))
    two = gateway(written, env=cloud.environment(), launch_only=True)
    assert two.wait() == 3
    assert "AccessDenied" in two.logs(), two.logs()
    named = written["api_keys"]["one" if action.startswith("secretsmanager") else "two"]["hash"].split(":", 1)[1].rstrip("}")
    assert named in two.logs(), "it says which"


def test_a_role_is_assumed_with_the_process_s_policy_and_calls_with_the_role_s(gateway, cloud, tmp_path):
    account = {"AWS": f"arn:aws:iam::000000000000:user/{cloud.user}"}
    role = cloud.role(account)
    written = config({"POST /queue": table(cloud.there)["POST /queue"]}, aws={
        "region": REGION, "endpoint": cloud.url, "assume_role": {"arn": role}})
    own = policy(tmp_path, written, "--process")
    cloud.allow(own)
    one = gateway(written, env=cloud.environment())
    assert refused(answer := one.request("POST", "/queue", b"{}")), (answer, answer.body)
    cloud.iam.put_role_policy(
        RoleName=role.rpartition("/")[2], PolicyName="gateway", PolicyDocument=json.dumps(policy(tmp_path, written)))
    eventually(lambda: one.request("POST", "/queue", b"{}").status == 202, what="the role's policy")
    cloud.allow(minimal_of_nothing())
    two = gateway(written, env=cloud.environment())
    answer = two.request("POST", "/queue", b"{}")
    assert answer.status == 502 and answer.json()["code"] == "target_setup", (answer, answer.body)


def minimal_of_nothing():
    """A policy must say something."""
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["sts:GetCallerIdentity"], "Resource": "*"}]}


def test_a_configuration_in_s3_is_read_with_what_source_adds_and_no_other_object(start_from, cloud, tmp_path):
    bucket, routes = Bucket(cloud.emulator), {"GET /a": {"integration": {"Mock": {"status": 204}}}}
    bucket.put(yaml.safe_dump(config(routes, store={"path": str(tmp_path / "data")})))
    empty = config(routes, aws={"region": REGION})
    cloud.allow(policy(tmp_path, empty, "--source", bucket.address))
    assert start_from(bucket.address, cloud).request("GET", "/a").status == 204
    cloud.allow(policy(tmp_path, empty, "--source", bucket.address + ".bak"))
    other = start_from(bucket.address, cloud, launch_only=True)
    assert other.wait() == 3
    assert "403" in other.logs() and "penstock iam --source" in other.logs()


def test_a_configuration_in_appconfig_is_allowed_by_its_ids(cloud, tmp_path):
    """The resource of both actions, as the Service Authorization Reference has it: the configuration."""
    written = config({"GET /a": {"integration": {"Mock": {"status": 204}}}}, aws={"region": REGION})
    [statement] = policy(tmp_path, written, "--source", "appconfig:abc1234/def5678/ghi9012", "--account", "111122223333")["Statement"]
    assert statement["Action"] == ["appconfig:GetLatestConfiguration", "appconfig:StartConfigurationSession"]
    assert statement["Resource"] == [
        f"arn:aws:appconfig:{REGION}:111122223333:application/abc1234/environment/def5678/configuration/ghi9012"]
