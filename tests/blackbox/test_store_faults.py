"""A store that cannot store: refused with 503, loud, nothing acknowledged, nothing deleted, well again by itself."""

import os
import subprocess
import time
from urllib.parse import quote

import pytest

from support.faults import failing_fsync, fill_disk
from support.gateway import config, write_config
from support.processes import eventually

ROUTES = {
    "POST /messages": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}},
    "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "MaxNumberOfMessages": 10, "VisibilityTimeout": 600}}},
    "GET /peek": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "MaxNumberOfMessages": 10, "VisibilityTimeout": 0}}},
    "DELETE /messages/{receiptHandle}": {
        "integration": {"SQS-DeleteMessage": {"QueueUrl": "queue:orders", "ReceiptHandle": "$request.path.receiptHandle"}}},
    "POST /purge": {"integration": {"SQS-PurgeQueue": {"QueueUrl": "queue:orders"}}},
    "GET /mock": {"integration": {"Mock": {"status": 200, "body": "fine"}}},
}
STORE_CODES = ("store_full", "store_unavailable")


def document(path="./data", **store):
    return config(ROUTES, queues={"orders": {}}, store={"path": str(path), **store})


def read_all(one):
    bodies = []
    while messages := one.request("GET", "/next").json()["Messages"]:
        bodies += [message["Body"] for message in messages]
    return bodies


def fill(one, size=50_000, limit=4000):
    """Sends until the store refuses. Returns the acknowledged bodies and the refusal."""
    acknowledged = []
    for number in range(limit):
        body = f"{number} " + "x" * size
        answer = one.request("POST", "/messages", body)
        if answer.status != 202:
            return acknowledged, answer
        acknowledged.append(body)
    raise AssertionError(f"{limit} messages of {size} bytes and no refusal")


def assert_refused(answer, codes=STORE_CODES):
    assert answer.status == 503 and answer.code in codes, answer
    assert int(answer.headers["retry-after"]) >= 1


# ---- full ----

def test_a_store_over_its_max_size_refuses_and_empties_itself(gateway):
    one = gateway(document(max_size="8MiB"))
    acknowledged, refusal = fill(one)
    assert_refused(refusal, ("store_full",))
    assert acknowledged
    assert one.request("GET", "/mock").status == 200, "other routes go on"
    assert sum(f.stat().st_size for f in (one.directory / "data").rglob("*") if f.is_file()) < 64 * 1024 * 1024
    messages = one.request("GET", "/next").json()["Messages"]
    found = [message["Body"] for message in messages]
    for message in messages:
        assert one.request("DELETE", "/messages/" + quote(message["ReceiptHandle"], safe="")).status == 200
    found += read_all(one)
    assert found and sorted(found) == sorted(acknowledged)
    assert one.request("POST", "/purge").status == 200
    eventually(lambda: one.request("POST", "/messages", b"room again").status == 202, what="a 202 after the purge")


def test_a_full_disk_refuses_acknowledges_nothing_and_recovers_by_itself(gateway, tiny_disk):
    one = gateway(document(tiny_disk / "data"))
    before = [f"before {n}" for n in range(20)]
    for body in before:
        assert one.request("POST", "/messages", body).status == 202
    filler = fill_disk(tiny_disk)
    refused = [f"full {n} " + "x" * 100_000 for n in range(10)]
    eventually(lambda: one.request("POST", "/messages", "probe " + "x" * 100_000).status == 503, what="a refusal")
    for body in refused:
        assert_refused(one.request("POST", "/messages", body))
    assert one.running and one.request("GET", "/mock").status == 200
    one.says("full", "space")
    filler.unlink()
    eventually(lambda: one.request("POST", "/messages", b"after").status == 202, what="a 202 after space came back")
    found = read_all(one)
    assert set(before) | {"after"} <= set(found)
    assert one.stop() == 0
    one.start()
    assert one.request("POST", "/messages", b"again").status == 202


def test_a_file_size_limit_is_like_a_full_disk(gateway):
    """ulimit -f: needs no root; write(2) fails with EFBIG (SIGXFSZ is ignored by the wrapper)."""
    wrapper = ["sh", "-c", 'trap "" XFSZ; ulimit -f 8192; exec "$@"', "sh"]
    one = gateway(document(), wrapper=wrapper)
    acknowledged, refusal = fill(one, size=200_000, limit=400)
    assert_refused(refusal)
    assert one.running and one.request("GET", "/mock").status == 200
    one.stop()
    one.wrapper = []
    one.start()
    assert set(acknowledged) <= set(read_all(one))


# ---- not writable ----

def test_a_store_folder_that_cannot_be_made_stops_the_start_or_refuses(gateway, tmp_path):
    """A folder below a plain file: root is stopped by it too, unlike by permissions."""
    (tmp_path / "file").write_text("in the way")
    path = write_config(tmp_path, document(tmp_path / "file" / "data"))
    one = gateway(path, launch_only=True)
    eventually(lambda: one.child.poll() is not None or "admin on" in one.logs(), what="an exit or a start")
    if one.child.poll() is not None:
        assert one.child.returncode == 3
        assert "file" in one.logs()
    else:
        one.attach()
        assert_refused(one.request("POST", "/messages", b"x"), ("store_unavailable",))
        assert one.request("GET", "/mock").status == 200


def test_a_read_only_store_refuses_and_other_routes_go_on(gateway, tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() == 0:
        ran = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(place)], stderr=subprocess.PIPE, text=True)
        if ran.returncode != 0:
            pytest.skip(f"root ignores permissions, and no tmpfs can be mounted here: {ran.stderr.strip()}")
        make_read_only = lambda: subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)  # noqa: E731
        undo = lambda: subprocess.run(["umount", "-l", str(place)], check=False)  # noqa: E731
    else:
        make_read_only = lambda: place.chmod(0o555)  # noqa: E731
        undo = lambda: place.chmod(0o755)  # noqa: E731
    try:
        make_read_only()
        path = write_config(tmp_path, document(place / "data"))
        one = gateway(path, launch_only=True)
        eventually(lambda: one.child.poll() is not None or "admin on" in one.logs(), what="an exit or a start")
        if one.child.poll() is not None:
            assert one.child.returncode == 3
            one.says(str(place), "read-only", "permission")
        else:
            one.attach()
            assert_refused(one.request("POST", "/messages", b"x"), ("store_unavailable",))
            assert one.request("GET", "/mock").status == 200
    finally:
        undo()


# ---- corrupt ----

def corrupt(data, how):
    """Damages the database file of a stopped store. Returns the file."""
    files = sorted((f for f in data.rglob("*") if f.is_file() and f.read_bytes()[:15] == b"SQLite format 3"), key=lambda f: -f.stat().st_size)
    assert files, f"no SQLite file in {list(data.rglob('*'))}"
    with open(files[0], "r+b") as file:
        if how == "header":
            file.write(b"this is no database at all" * 40)
        elif how == "middle":
            size = os.fstat(file.fileno()).st_size
            for offset in range(4096, size, 4096):
                file.seek(offset)
                file.write(b"\xa5" * 2048)
        elif how == "short":
            file.truncate(4096 + 100)
    return files[0]


@pytest.mark.parametrize("how", ["header", "middle", "short"])
def test_a_corrupt_file_makes_the_store_unavailable_and_deletes_nothing(gateway, how):
    one = gateway(document(wait="1s"))
    for number in range(200):
        assert one.request("POST", "/messages", f"{number} " + "y" * 3000).status == 202
    assert one.stop() == 0
    data = one.directory / "data"
    damaged = corrupt(data, how)
    size = damaged.stat().st_size
    content = damaged.read_bytes()[:4096]
    one.launch()
    eventually(lambda: one.child.poll() is not None or "admin on" in one.logs(), what="an exit or a start")
    if one.child.poll() is None:
        one.attach()
        answer = one.request("POST", "/messages", b"after")
        if answer.status == 202:
            # set aside and started afresh would be honest only if the old file is still there
            assert [f for f in data.rglob("*") if f.is_file() and f.read_bytes()[:4096] == content], "the corrupt file is gone"
        else:
            assert_refused(answer, ("store_unavailable",))
        read = one.request("GET", "/peek")
        for message in read.json().get("Messages", []) if read.status == 200 else []:
            assert message["Body"].endswith("y") or message["Body"] == "after", "a damaged message was delivered"
        assert one.request("GET", "/mock").status == 200, "other routes go on"
    else:
        assert one.child.returncode == 3
    kept = [f for f in data.rglob("*") if f.is_file() and f.stat().st_size >= min(size, 4096) and f.read_bytes()[:100] == content[:100]]
    assert kept, f"the damaged file was deleted: {list(data.rglob('*'))}"
    one.says("corrupt", "malformed", "damaged", "not a database")


# ---- two processes ----

def test_a_second_process_waits_for_the_store_and_then_gives_up(gateway):
    first = gateway(document())
    second = gateway(document(first.directory / "data", wait="1s"), launch_only=True)
    begun = time.monotonic()
    code = second.wait()
    assert code == 3
    assert time.monotonic() - begun > 0.5
    second.says(str(first.directory / "data"), "lock")
    assert first.request("POST", "/messages", b"x").status == 202


def test_a_second_process_takes_over_when_the_first_leaves(gateway):
    first = gateway(document())
    assert first.request("POST", "/messages", b"handed over").status == 202
    second = gateway(document(first.directory / "data", wait="100s"), launch_only=True)
    time.sleep(1.0)
    assert second.running
    assert first.stop() == 0
    eventually(lambda: "admin on" in second.logs() and "listening on" in second.logs(), what="the second's start")
    second.attach()
    eventually(lambda: second.request("GET", "/peek").status == 200, what="the store opened by the second")
    assert read_all(second) == ["handed over"]


# ---- fsync ----

def test_a_failing_fsync_is_never_a_202(gateway):
    one = gateway(document())
    assert one.request("POST", "/messages", b"before").status == 202
    with failing_fsync(one.child.pid):
        answers = [one.request("POST", "/messages", f"failing {n}") for n in range(5)]
        for answer in answers:
            assert_refused(answer)
        assert one.running
    eventually(lambda: one.request("POST", "/messages", b"after").status == 202, what="a 202 once fsync works again")
    found = read_all(one)
    assert {"before", "after"} <= set(found)


def test_no_store_is_opened_where_no_route_needs_one(gateway, tmp_path):
    (tmp_path / "file").write_text("in the way")
    one = gateway(config({"GET /mock": {"integration": {"Mock": {"body": "fine"}}}}, store={"path": str(tmp_path / "file" / "data")}))
    assert one.request("GET", "/mock").body == b"fine"
    assert one.admin("/readyz").status == 200


def test_a_disk_that_is_full_at_the_start_leaves_the_routes_that_need_no_store(gateway, tiny_disk):
    filler = fill_disk(tiny_disk)
    one = gateway(document(tiny_disk / "data"))
    assert one.request("GET", "/mock").status == 200
    assert_refused(one.request("POST", "/messages", b"x"), ("store_unavailable", "store_full"))
    filler.unlink()
    eventually(lambda: one.request("POST", "/messages", b"after").status == 202, what="a 202 after space came back")
