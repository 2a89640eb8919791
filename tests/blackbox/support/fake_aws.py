"""A fake AWS endpoint over a real socket: the JSON protocols, and AppConfig's GetConfiguration.

It does what no emulator does: throttles, fails, hangs, loses the answer after accepting, answers with a wrong digest,
refuses one entry of a batch. It keeps a record of what it received. It is no judge of what AWS accepts: it takes
everything that it is not told to refuse.
"""

import base64
import hashlib
import json
import socket
import struct
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Received:
    """One call as it arrived."""

    operation: str
    headers: dict
    body: bytes
    path: str
    host: str
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def query(self):
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}


@dataclass
class Reply:
    """An answer with any status, headers and body, after an optional wait in seconds."""

    status: int = 200
    body: object = b""
    headers: dict = field(default_factory=dict)
    after: float = 0.0

    def act(self, connection, received):
        time.sleep(self.after)
        payload = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        connection.answer(self.status, self.headers, payload)


@dataclass
class Usual:
    """The answer of a service in good health, late by `after` seconds; `change` edits its JSON body."""

    after: float = 0.0
    change: object = None

    def act(self, connection, received):
        time.sleep(self.after)
        status, headers, body = connection.server.fake.carry_out(received)
        if self.change:
            document = json.loads(body)
            self.change(document)
            body = json.dumps(document).encode()
        connection.answer(status, headers, body)


class Held:
    """The usual answer once it is released, or none if the fake is stopped before."""

    def __init__(self):
        self.gate = threading.Event()

    def release(self):
        self.gate.set()

    def act(self, connection, received):
        while not self.gate.wait(0.02):
            if connection.server.fake.stopping.is_set():
                connection.close_connection = True
                return
        Usual().act(connection, received)


class Hang:
    """Takes the call and never answers (until the fake is stopped)."""

    def act(self, connection, received):
        connection.server.fake.stopping.wait(600)
        connection.close_connection = True


class Reset:
    """Takes the call and resets the connection: the outcome is unknown to the caller."""

    def act(self, connection, received):
        connection.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.connection.close()
        connection.close_connection = True


class LostReply:
    """Takes the call, does the work, and closes without a byte of answer."""

    def act(self, connection, received):
        connection.server.fake.carry_out(received)
        connection.connection.shutdown(socket.SHUT_RDWR)
        connection.close_connection = True


class HalfReply:
    """Half of a good answer, then the end of the connection."""

    def act(self, connection, received):
        status, headers, body = connection.server.fake.carry_out(received)
        connection.answer(status, headers, body, cut=len(body) // 2)
        connection.close_connection = True


def error(code, message="as scripted", status=400, query_code=None, fault="Sender"):
    """An error of the JSON protocols; `query_code` is SQS's x-amzn-query-error."""
    headers = {"x-amzn-errortype": code}
    if query_code:
        headers["x-amzn-query-error"] = f"{query_code};{fault}"
    return Reply(status, {"__type": code, "message": message}, headers)


def throttled(service):
    """What each service says when it is asked too often."""
    return {
        "sqs": error("com.amazonaws.sqs#RequestThrottled", "Rate exceeded", 400, "RequestThrottled"),
        "kinesis": error("ProvisionedThroughputExceededException", "Rate exceeded for shard"),
        "events": error("ThrottlingException", "Rate exceeded"),
        "states": error("ThrottlingException", "Rate exceeded"),
    }[service]


def access_denied():
    return error("AccessDeniedException", "User: ingest is not authorized to perform this", 400, "AccessDenied")


def no_such_queue():
    return error(
        "com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.", 400,
        "AWS.SimpleQueueService.NonExistentQueue",
    )


def server_error(status=500):
    return error("InternalFailure", "We are sorry", status, "InternalFailure", "Receiver")


def wrong_md5():
    return Usual(change=lambda answer: answer.update(MD5OfMessageBody="0" * 32))


def refused_entry(code="MalformedDetail", message="Detail is malformed."):
    """PutEvents' 200 that hides a refusal."""
    return Reply(
        200, {"FailedEntryCount": 1, "Entries": [{"ErrorCode": code, "ErrorMessage": message}]},
        {"content-type": "application/x-amz-json-1.1"},
    )


@dataclass
class Record:
    """One record of a call, whichever service it is for."""

    service: str  # as our subtypes name it: SQS, Kinesis, EventBridge, StepFunctions
    where: str  # the queue's URL, the stream, the bus, the state machine's ARN
    key: object  # message group or partition key
    id: object  # deduplication id or execution name
    body: bytes
    entry: dict = field(repr=False, default_factory=dict)  # as it stood in the call


def records_of(received):
    """The records that a call brings, in its order; none for calls that store nothing."""
    operation, call = received.operation, received.json if received.body.startswith(b"{") else {}
    service = operation.partition("-")[0]

    def message(entry):
        return Record(service, call["QueueUrl"], entry.get("MessageGroupId"), entry.get("MessageDeduplicationId"), entry["MessageBody"].encode(), entry)

    def put(entry):
        return Record(service, call["StreamName"], entry["PartitionKey"], None, base64.b64decode(entry["Data"]), entry)
    return {
        "SQS-SendMessage": lambda: [message(call)],
        "SQS-SendMessageBatch": lambda: [message(entry) for entry in call["Entries"]],
        "Kinesis-PutRecord": lambda: [put(call)],
        "Kinesis-PutRecords": lambda: [put(entry) for entry in call["Records"]],
        "EventBridge-PutEvents": lambda: [
            Record(service, entry.get("EventBusName", "default"), None, None, entry["Detail"].encode(), entry) for entry in call["Entries"]],
        "StepFunctions-StartExecution": lambda: [
            Record(service, call["stateMachineArn"], None, call.get("name"), call.get("input", "{}").encode(), call)],
    }.get(operation, list)()


@dataclass
class Refusal:
    """What a service says of a record that it does not take; by itself or as an entry of a batch."""

    code: str
    message: str = "as scripted"
    status: int = 400

    @property
    def reply(self):
        return error(self.code, self.message, self.status, self.code, "Sender" if self.status < 500 else "Receiver")


def usual(received, take=lambda record: None):
    """Status, headers and body of a service in good health. `take` is shown each record, and may refuse it; a call of
    one record is then refused as a whole, in a batch only the entry."""
    version = "1.0" if received.operation.startswith(("SQS", "StepFunctions")) else "1.1"
    headers = {"content-type": f"application/x-amz-json-{version}"}
    now = time.time()
    if received.operation == "AppConfig-GetConfiguration":
        return 200, {
            "content-type": "application/json", "Configuration-Version": "7",
        }, b'{"feature":"on"}'
    if received.operation == "STS-AssumeRole":
        return 200, {"content-type": "text/xml"}, ASSUMED_ROLE
    call = received.json if received.body else {}
    verdicts = [(record, take(record)) for record in records_of(received)]
    several = received.operation in ("SQS-SendMessageBatch", "Kinesis-PutRecords", "EventBridge-PutEvents")
    if not several and verdicts and verdicts[0][1]:
        reply = verdicts[0][1].reply
        return reply.status, {"content-type": headers["content-type"], **reply.headers}, json.dumps(reply.body).encode()
    if received.operation == "SQS-SendMessage":
        body = sent(call)
    elif received.operation == "SQS-SendMessageBatch":
        body = {"Successful": [], "Failed": []}
        for record, refusal in verdicts:
            if refusal:
                body["Failed"].append({
                    "Id": record.entry["Id"], "Code": refusal.code, "Message": refusal.message, "SenderFault": refusal.status < 500})
            else:
                body["Successful"].append({"Id": record.entry["Id"], **sent(record.entry)})
    elif received.operation == "SQS-DeleteMessageBatch":
        good = [entry["Id"] for entry in call["Entries"] if not entry["ReceiptHandle"].startswith("stale")]
        body = {"Successful": [{"Id": one} for one in good], "Failed": [
            {"Id": entry["Id"], "Code": "ReceiptHandleIsInvalid", "Message": "stale", "SenderFault": True}
            for entry in call["Entries"] if entry["Id"] not in good]}
    elif received.operation == "SQS-ReceiveMessage":
        body = {"Messages": []}
    elif received.operation == "Kinesis-PutRecord":
        body = put_record()
    elif received.operation == "Kinesis-PutRecords":
        body = {
            "FailedRecordCount": sum(1 for _, refusal in verdicts if refusal),
            "Records": [{"ErrorCode": r.code, "ErrorMessage": r.message} if r else put_record() for _, r in verdicts],
        }
    elif received.operation == "EventBridge-PutEvents":
        body = {
            "FailedEntryCount": sum(1 for _, refusal in verdicts if refusal),
            "Entries": [
                {"ErrorCode": r.code, "ErrorMessage": r.message} if r else {"EventId": str(uuid.uuid4())} for _, r in verdicts],
        }
    elif received.operation == "StepFunctions-StartExecution":
        name = call.get("name") or uuid.uuid4().hex
        body = {"executionArn": call["stateMachineArn"].replace("stateMachine", "execution") + ":" + name, "startDate": now}
    elif received.operation == "StepFunctions-StartSyncExecution":
        body = {
            "executionArn": call["stateMachineArn"].replace("stateMachine", "express") + ":x:y",
            "name": call.get("name", "x"), "stateMachineArn": call["stateMachineArn"],
            "startDate": now, "stopDate": now, "status": "SUCCEEDED", "input": call.get("input", "{}"), "output": "{}",
            "billingDetails": {"billedDurationInMilliseconds": 100, "billedMemoryUsedInMB": 64},
        }
    elif received.operation == "StepFunctions-StopExecution":
        body = {"stopDate": now}
    else:
        body = {}
    return 200, headers, json.dumps(body).encode()


def sent(message):
    """SQS's receipt of a message: an id, and digests of what it has got."""
    receipt = {"MessageId": str(uuid.uuid4()), "MD5OfMessageBody": hashlib.md5(message["MessageBody"].encode()).hexdigest()}
    if message.get("MessageAttributes"):
        receipt["MD5OfMessageAttributes"] = md5_of_attributes(message["MessageAttributes"])
    if message.get("MessageSystemAttributes"):
        receipt["MD5OfMessageSystemAttributes"] = md5_of_attributes(message["MessageSystemAttributes"])
    return receipt


def put_record():
    return {"ShardId": "shardId-000000000000", "SequenceNumber": "4954" + str(time.monotonic_ns())}


ASSUMED_ROLE = b"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>AROA:penstock</AssumedRoleId><Arn>arn:aws:sts::111122223333:assumed-role/ingest/penstock</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>ASIAASSUMED</AccessKeyId><SecretAccessKey>assumed-secret</SecretAccessKey>
<SessionToken>assumed-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleResult><ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></AssumeRoleResponse>"""


def md5_of_attributes(attributes):
    """SQS's digest of attributes: names, types and values with their lengths, by name."""
    digest = hashlib.md5()

    def part(data):
        digest.update(struct.pack(">I", len(data)) + data)
    for name in sorted(attributes):
        attribute = attributes[name]
        part(name.encode())
        part(attribute["DataType"].encode())
        digest.update(b"\x01")
        part(attribute["StringValue"].encode())
    return digest.hexdigest()


# X-Amz-Target's service, as our subtypes name it.
SERVICES = {
    "AmazonSQS": "SQS", "Kinesis_20131202": "Kinesis", "AWSEvents": "EventBridge", "AWSStepFunctions": "StepFunctions",
}


class Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.fake.open.add(self.connection)

    def finish(self):
        self.server.fake.open.discard(self.connection)
        super().finish()

    def log_message(self, *_):
        pass

    def operation(self, body):
        service, _, action = self.headers.get("x-amz-target", "").partition(".")
        if action:
            return f"{SERVICES.get(service, service)}-{action}"
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if len(parts) == 6 and parts[0::2] == ["applications", "environments", "configurations"]:
            return "AppConfig-GetConfiguration"
        if body.startswith(b"Action="):
            return "STS-" + parse_qs(body.decode())["Action"][0]
        return f"unknown {self.path}"

    def serve(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.operation(body), headers, body, self.path, headers.get("host", ""))
        behaviour = self.server.fake.take(received)
        try:
            behaviour.act(self, received)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = serve

    def answer(self, status, headers, payload, cut=None):
        self.send_response(status)
        self.send_header("x-amzn-requestid", str(uuid.uuid4()))
        if "content-type" not in {name.lower() for name in headers}:
            self.send_header("content-type", "application/x-amz-json-1.0")
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(payload)))
        self.end_headers()
        if status != 204:
            self.wfile.write(payload[:cut])
        self.wfile.flush()


class FakeAws:
    """The endpoint: script it with `answer` and `always`, read `calls`."""

    def __init__(self):
        self.calls = []
        self.open = set()
        self.scripts = {}
        self.standing = {}
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.server = None
        self.seat = None
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Listens; a second start takes the same port again (a target that comes back)."""
        self.stopping.clear()

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass
        self.server = Server(("127.0.0.1", self.port), Connection, bind_and_activate=False)
        if self.seat:
            self.server.socket.close()
            self.server.socket, self.seat = self.seat, None
            self.server.server_address = self.server.socket.getsockname()
        else:
            self.server.server_bind()
        self.server.server_activate()
        self.server.fake = self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self):
        """Stops listening and hangs up: from now on a connection is refused."""
        self.stopping.set()
        if self.server:
            self.server.shutdown()
            self.server.socket.close()
            self.server = None
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # gone already

    def go_down(self):
        """Stops, and keeps the port: a connection is refused, and nobody else can take the port meanwhile."""
        self.stop()
        self.seat = socket.socket()
        self.seat.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.seat.bind(("127.0.0.1", self.port))

    def answer(self, operation, *behaviours):
        """The next calls of that operation get these, in order; after them the standing answer."""
        with self.lock:
            self.scripts.setdefault(operation, []).extend(behaviours)

    def always(self, operation, behaviour):
        """The standing answer of an operation."""
        with self.lock:
            self.standing[operation] = behaviour

    def take(self, received):
        with self.lock:
            self.calls.append(received)
            script = self.scripts.get(received.operation)
            if script:
                return script.pop(0)
            return self.standing.get(received.operation, Usual())

    def carry_out(self, received):
        """Does the work of a call: status, headers and body of its answer."""
        return usual(received)

    def calls_of(self, operation):
        with self.lock:
            return [call for call in self.calls if call.operation == operation]

    def only_call(self, operation):
        calls = self.calls_of(operation)
        assert len(calls) == 1, f"{len(calls)} calls of {operation}: {[call.operation for call in self.calls]}"
        return calls[0]
