"""Recorded requests through two configurations: what would differ is shown, and nothing is sent."""

import base64
import json

from support.gateway import config, penstock, write_config


def storing(body="$request.body", **more):
    return config({
        "POST /orders": {"authorizer": "none", "integration": {"SQS-SendMessage": {
            "QueueUrl": "queue:orders", "MessageBody": body, "MessageAttributes": {"id": "$context.requestId"}}}, **more},
        "GET /hello": {"integration": {"Mock": {"body": "hi"}}},
    }, queues={"orders": {}})


def replay(folder, records, old, new, code):
    write_config(folder, old, "old.yaml")
    write_config(folder, new, "new.yaml")
    (folder / "records").write_text("\n".join(json.dumps(each) for each in records) + "\n")
    done = penstock("replay", "--from", "records", "new.yaml", "--against", "old.yaml", "--json", cwd=folder)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def captured(method, path, body=b"", headers=()):
    return {"method": method, "path": path, "headers": [list(each) for each in headers],
            "body": base64.b64encode(body).decode()}


def test_a_capture_tells_exactly_which_calls_would_differ(tmp_path):
    records = [captured("POST", "/orders", b'{"n":1}'), captured("GET", "/hello"), captured("GET", "/nothing")]
    same = replay(tmp_path, records, storing(), storing(), 0)
    assert (same["requests"], same["same"], same["differs"]) == (3, 3, 0)
    report = replay(tmp_path, records, storing(), storing("$request.body.n"), 1)
    (difference,) = report["differences"]
    assert difference["request"] == "POST /orders"
    sent = [difference[side]["call"]["SQS-SendMessage"]["MessageBody"] for side in ("before", "after")]
    assert sent == ['{"n":1}', "1"]


def test_an_access_log_tells_routes_and_decisions_and_says_what_it_cannot(gateway, tmp_path):
    one = gateway(storing())
    one.request("POST", "/orders", b"1")
    one.request("GET", "/hello")
    records = one.access_log(at_least=2)
    gone = storing()
    del gone["routes"]["GET /hello"]
    report = replay(tmp_path, records, storing("$request.header.x-one"), gone, 1)
    assert report["differs"] == 1 and report["untold"] == 1
    assert report["differences"][0]["after"]["status"] == 404
