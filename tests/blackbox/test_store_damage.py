"""Disks that fail, files that were damaged, and `penstock store recover`: whatever was acknowledged is delivered as it
was, or its loss is counted and said; nothing is ever delivered that was not sent."""

import json
import os
import re
import shutil
import signal
import sqlite3
import struct
import subprocess

import pytest

from support.faults import traced
from support.gateway import config, penstock
from support.processes import eventually

ROUTES = {
    "POST /messages": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:orders", "MessageBody": "$request.body"}}},
    "GET /next": {"integration": {"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "MaxNumberOfMessages": 10, "VisibilityTimeout": 600}}},
    "GET /mock": {"integration": {"Mock": {"status": 200, "body": "fine"}}},
}
PAGE = 4096


def document():
    return config(ROUTES, queues={"orders": {}})


def body(number):
    return f"message {number:05} " + "x" * 900 + f" end {number:05}"


def send(one, numbers):
    """Sends these; the bodies that were acknowledged."""
    return [body(n) for n in numbers if one.request("POST", "/messages", body(n)).status == 202]


def read_all(one):
    bodies = []
    while messages := one.request("GET", "/next").json()["Messages"]:
        bodies += [message["Body"] for message in messages]
    return bodies


def is_ready(one):
    return one.admin("/readyz").status == 200


def fate(one, name):
    return one.metrics().value("penstock_queue_fates_total", queue="orders", fate=name)


# ---- the disk fails under a running gateway ----

class Faults:
    """System calls of a process that fail while this is entered."""

    def __init__(self, pid, calls, error):
        if not shutil.which("strace"):
            pytest.skip("strace is not installed")
        self.pid = pid
        self.tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}", "-p", str(pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def __enter__(self):
        eventually(lambda: traced(self.pid) or self.tracer.poll() is not None, what="strace to attach")
        if self.tracer.poll() is not None:
            pytest.skip(f"strace cannot attach: {self.tracer.stderr.read().decode()[:200]}")

    def __exit__(self, *_):
        self.tracer.send_signal(signal.SIGTERM)
        self.tracer.wait(60)
        self.tracer.stderr.close()


@pytest.mark.parametrize("calls,error", [
    ("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64,ftruncate,fdatasync,fsync", "EROFS"), ("fdatasync,fsync", "EIO"),
])
def test_writes_that_fail_are_refused_loudly_and_pass_by_themselves(gateway, calls, error):
    one = gateway(document())
    acknowledged = send(one, range(20))
    with Faults(one.child.pid, calls, error):
        for number in range(20, 26):
            answer = one.request("POST", "/messages", body(number))
            assert answer.status == 503 and answer.code in ("store_unavailable", "store_full"), answer
            assert "retry-after" in answer.headers
        assert one.request("GET", "/mock").status == 200, "other routes go on"
        eventually(lambda: not is_ready(one), what="/readyz to say so")
        one.counted(0, "penstock_store_healthy")
        one.says("ERROR")
    eventually(lambda: is_ready(one), what="the store by itself")
    acknowledged += send(one, range(30, 40))
    assert len(acknowledged) == 30
    found = read_all(one)
    assert set(acknowledged) <= set(found) <= {body(n) for n in range(40)}
    one.kill()
    one.start()
    assert one.metrics().value("penstock_store_lost_commits_total") == 0


def test_reads_that_fail_are_refused_loudly_and_pass_by_themselves(gateway):
    one = gateway(document())
    acknowledged = send(one, range(300))
    assert one.stop() == 0
    one.start()  # nothing is in memory now
    with Faults(one.child.pid, "pread64", "EIO"):
        answer = one.request("GET", "/next")
        assert answer.status == 503 and answer.code == "store_unavailable", answer
        eventually(lambda: not is_ready(one), what="/readyz to say so")
        one.says("ERROR")
    eventually(lambda: is_ready(one), what="the store by itself")
    found = read_all(one)
    assert set(found) == set(acknowledged)


@pytest.fixture
def ext4(tmp_path):
    """A file system of its own that goes read-only at its first error, and how to cause one."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("making an ext4 file system needs root and mkfs.ext4")
    image, place = tmp_path / "image", tmp_path / "disk"
    with open(image, "wb") as file:
        file.truncate(192 << 20)
    place.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    ran = subprocess.run(["mount", "-o", "loop,errors=remount-ro", str(image), str(place)], stderr=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        pytest.skip(f"no image can be mounted here: {ran.stderr.strip()}")
    device = subprocess.run(["findmnt", "-no", "SOURCE", str(place)], stdout=subprocess.PIPE, text=True).stdout.strip()
    trigger = f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error"
    yield place, image, trigger
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_file_system_that_turns_read_only_in_mid_run(gateway, ext4):
    place, image, trigger = ext4
    if not os.access(trigger, os.W_OK):
        pytest.skip(f"{trigger} cannot be written here")
    one = gateway(config(ROUTES, queues={"orders": {}}, store={"path": str(place / "data")}))
    acknowledged = send(one, range(20))
    with open(trigger, "w") as file:
        file.write("a test's fault")
    eventually(lambda: one.request("POST", "/messages", body(99)).status == 503, what="a refusal")
    eventually(lambda: not is_ready(one), what="/readyz to say so")
    assert one.request("GET", "/mock").status == 200 and one.says("ERROR")
    one.kill()
    subprocess.run(["umount", str(place)], check=True)
    subprocess.run(["e2fsck", "-fy", str(image)], stdout=subprocess.DEVNULL, check=False)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    one.start()
    assert set(acknowledged) <= set(read_all(one))


# ---- damaged files ----

class Store:
    """The files of a stopped gateway."""

    def __init__(self, one):
        self.directory = one.directory / "data"
        self.database = self.directory / "store.db"
        self.log = self.directory / "store.db-wal"

    def flip(self, at, path=None):
        with open(path or self.database, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))

    def overwrite(self, at, length):
        with open(self.database, "r+b") as file:
            file.seek(at)
            file.write(b"\xa5" * length)

    def pages(self, kind):
        """The offsets of pages that begin with this byte: 5 inner pages of tables, 13 their leaves, 10 leaves of indexes."""
        content = self.database.read_bytes()
        return [at for at in range(PAGE, len(content), PAGE) if content[at] == kind]

    def root(self, table):
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True) as connection:
            page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
        connection.close()
        return (page - 1) * PAGE

    def recover(self, code):
        ran = penstock("store", "recover", self.directory, "--json")
        assert ran.returncode == code, (ran.stdout, ran.stderr)
        return json.loads(ran.stdout)


def damage_body(store):
    content = store.database.read_bytes()
    store.flip(content.index(body(57).encode()) + 500)


DAMAGE = {
    "the magic number": lambda store: store.flip(3),
    "the page size": lambda store: store.flip(16),
    "the schema": lambda store: store.overwrite(100, 2000),
    "the first page": lambda store: store.overwrite(0, PAGE),
    "a root of the messages": lambda store: store.overwrite(store.root("message"), PAGE),
    "a cell pointer of an inner page": lambda store: store.flip(store.root("message") + 13),
    "a leaf of the messages": lambda store: store.overwrite(store.pages(13)[len(store.pages(13)) // 2], PAGE),
    "the places": lambda store: store.overwrite(store.root("ready"), PAGE),
    "the queues": lambda store: store.overwrite(store.root("queue"), PAGE),
    "the state": lambda store: store.overwrite(store.root("state"), PAGE),
    "a message's body": damage_body,
    "the second half": lambda store: os.truncate(store.database, store.database.stat().st_size // 2),
}


@pytest.mark.parametrize("region", DAMAGE)
def test_damage_is_refused_or_counted_and_recovery_saves_the_rest(gateway, region):
    one = gateway(document())
    acknowledged = send(one, range(300))
    assert len(acknowledged) == 300 and one.stop() == 0
    store = Store(one)
    DAMAGE[region](store)
    damaged = store.database.read_bytes()
    recovered_from = damaged
    # As it is: either the store is refused, loudly, or what it delivers is true and what it lacks is counted.
    one.start()
    first = one.request("GET", "/next")
    if first.status == 200:
        found = [message["Body"] for message in first.json()["Messages"]]
        while (answer := one.request("GET", "/next")).status == 200 and answer.json()["Messages"]:
            found += [message["Body"] for message in answer.json()["Messages"]]
        assert set(found) <= set(acknowledged) and len(found) == len(set(found))
        if answer.status == 200:
            assert len(found) + fate(one, "damaged") == 300, "what is missing is counted"
        else:
            assert answer.code == "store_unavailable"
    else:
        answer = first
        assert first.status == 503 and first.code == "store_unavailable", first
    if answer.status != 200:
        assert one.request("POST", "/messages", b"x").status == 503
        eventually(lambda: not is_ready(one), what="/readyz to say so")
        one.counted(0, "penstock_store_healthy")
    one.says("ERROR")
    assert one.request("GET", "/mock").status == 200, "other routes go on"
    one.stop()
    if answer.status != 200 and first.status != 200:
        recovered_from = store.database.read_bytes()
        assert recovered_from == damaged, "a refused file is left as it is"
    # Recovered: everything else comes back.
    ran = penstock("store", "recover", store.directory, "--json")
    assert ran.returncode in (0, 1), (ran.stdout, ran.stderr)
    report = json.loads(ran.stdout)
    assert report["whole"] == (ran.returncode == 0)
    # The gateway may not have noticed it, where it is in nothing that is used.
    assert report["sound"] or any(os.path.exists(path) and path.endswith("Z") for path in report["setAside"])
    orders = [queue for queue in report["queues"] if queue["name"] in ("orders", "recovered-1")]
    saved = sum(queue["saved"] for queue in orders)
    lost = sum(queue["lost"] or 0 for queue in orders)
    one.start()
    assert is_ready(one)
    exported = [json.loads(line)["body"] for queue in orders if queue["saved"]
                for line in penstock("queue", "export", queue["name"], "--admin", "{}:{}".format(*one.admin_address)).stdout.splitlines()]
    assert set(exported) <= set(acknowledged) and len(exported) == len(set(exported)) == saved
    if region != "the second half":
        assert saved >= 300 - 8, report
    if not any(queue["rebuilt"] for queue in orders) and region != "the second half":
        assert saved + lost + fate_before(report) >= 300, report
    assert send(one, [999]) == [body(999)], "and it works"


def fate_before(report):
    """Rows that were set aside as damaged before the recovery."""
    return report["tables"]["damaged"]["saved"]


@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_a_damaged_log_is_said_and_delivers_nothing_false(gateway, how):
    for _ in range(6):
        one = gateway(document())
        acknowledged = send(one, range(30))
        one.kill()
        store = Store(one)
        size = store.log.stat().st_size
        if how == "cut":
            os.truncate(store.log, size // 4)
        else:
            # A page of an early frame: 32 bytes of header, then frames of 24 bytes and a page each.
            frames = (size - 32) // (24 + PAGE)
            store.flip(32 + frames // 4 * (24 + PAGE) + 24 + 2000, store.log)
        one.start()
        lost = one.metrics().value("penstock_store_lost_commits_total")
        found = read_all(one)
        assert set(found) <= set(acknowledged)
        assert len(found) + lost >= 30, "every commit that is missing is counted"
        if lost > 0:
            break
        # The log had been moved into the database just before the kill; what was damaged was of no use any more.
        one.stop()
    assert lost > 0, "the damage never hit"
    assert re.search(r"ERROR.*synced are missing", one.logs())
    ready = one.admin("/readyz").json()
    assert any("missing" in remark for remark in ready["remarks"])
    assert send(one, [999]) == [body(999)]
    one.stop()
    assert Store(one).recover(0)["whole"]


def test_a_log_whose_header_is_damaged_is_said(gateway):
    one = gateway(document())
    acknowledged = send(one, range(30))
    one.kill()
    store = Store(one)
    store.flip(9, store.log)
    one.launch()
    eventually(lambda: one.child.poll() is not None or one.attach(), what="an exit or a start")
    assert one.running
    one.says("ERROR")
    first = one.request("GET", "/next")
    if first.status == 200:
        found = [message["Body"] for message in first.json()["Messages"]] + read_all(one)
        assert set(found) <= set(acknowledged)
        # What had been moved into the database before the kill is there.
        assert len(found) + one.metrics().value("penstock_store_lost_commits_total") >= 30
    else:
        assert not is_ready(one)


# ---- versions, locks ----

def test_a_store_of_a_later_version_is_refused_and_left_alone(gateway):
    one = gateway(document())
    send(one, range(5))
    assert one.stop() == 0
    store = Store(one)
    with open(store.database, "r+b") as file:
        file.seek(60)  # user_version
        version = struct.unpack(">I", file.read(4))[0]
        file.seek(60)
        file.write(struct.pack(">I", version + 1))
    before = store.database.read_bytes()
    one.launch()
    assert one.wait() == 3
    assert f"format {version + 1}" in one.logs()
    for arguments in (["store", "recover", store.directory], ["queue", "ls", "--store", store.directory]):
        ran = penstock(*arguments)
        assert ran.returncode == 1 and f"format {version + 1}" in ran.stderr and "version" in ran.stderr
    assert store.database.read_bytes() == before
    assert not list(store.directory.glob("*corrupt*")) and not list(store.directory.glob("recovery-*"))


def test_recovery_leaves_a_store_in_use_alone_and_says_who_has_it(gateway, tmp_path):
    one = gateway(document())
    send(one, range(5))
    ran = penstock("store", "recover", one.directory / "data")
    assert ran.returncode == 1 and f"pid {one.child.pid}" in ran.stderr
    assert len(read_all(one)) == 5
    nothing = penstock("store", "recover", tmp_path / "nowhere")
    assert nothing.returncode == 1 and "no store.db" in nothing.stderr


def test_recovering_a_sound_store_changes_nothing_that_matters(gateway):
    one = gateway(document())
    acknowledged = send(one, range(50))
    held = one.request("GET", "/next").json()["Messages"]
    assert one.stop() == 0
    folder = one.directory / "data"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}
    ran = penstock("store", "recover", folder)
    assert ran.returncode == 0 and ran.stdout.startswith("nothing is wrong with the store and its 50 messages; "), ran
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"} == before
    ran = penstock("store", "recover", folder, "--force")
    assert ran.returncode == 0 and "nothing was lost" in ran.stdout and "store.db.corrupt-" in ran.stdout
    one.start()
    assert set(read_all(one)) | {m["Body"] for m in held} == set(acknowledged)
    assert fate(one, "accepted") == 50
