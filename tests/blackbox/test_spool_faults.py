"""A spool whose disk fails: nothing is acknowledged that is not kept, nothing that is kept is lost, and what a target has
is not sent to it again because the disk would not hear of it."""

import pytest

from support.ack import HASTE, Clients, accepted, assert_all_arrived, possible_duplicates, post, routes, setup
from support.faults import failing_fsync, fill_disk
from support.processes import eventually

REFUSED = ("store_full", "store_unavailable", "overloaded")
CALM = {**HASTE, "breaker": {**HASTE["breaker"], "open_after": 1000}}


def settled(one):
    eventually(lambda: one.depth() == 0, what=f"an empty spool ({one.depth()} are left)")


def test_a_full_disk_refuses_and_what_it_holds_is_forwarded_once(gateway, target, tiny_disk):
    one = gateway(setup(target, routes("target-or-spool"), store={"path": str(tiny_disk / "data")}))
    target.down()
    taken = [f"{number:03} ".encode() * 2000 for number in range(30)]
    for body in taken:
        accepted(post(one, "/SQS-SendMessage", body), "spooled")
    filler = fill_disk(tiny_disk)
    eventually(lambda: post(one, "/SQS-SendMessage", b"probe " * 20_000).status == 503, what="a refusal")
    for number in range(5):
        answer = post(one, "/SQS-SendMessage", f"refused {number} ".encode() * 5000)
        assert answer.status == 503 and answer.code in REFUSED and "retry-after" in answer.headers, answer
    target.up()
    assert_all_arrived(target, taken)
    # well again, though the disk is not
    answer = eventually(lambda: (a := post(one, "/Kinesis-PutRecord", b"direct")).status == 202 and a, what="a direct 202")
    accepted(answer, "target")
    filler.unlink()
    settled(one)
    assert sum(len(kept.times) for (_, body), kept in target.kept.items() if body in taken) == len(taken)
    assert target.duplicates() <= possible_duplicates(one)
    target.down()
    eventually(lambda: post(one, "/SQS-SendMessage", b"room again").status == 202, what="room")


@pytest.mark.parametrize("mode", ["spool", "target-or-spool"])
def test_a_failing_fsync_is_never_spooled(gateway, target, mode):
    one = gateway(setup(target, routes(mode)))
    target.down()
    taken = [b"before"]
    accepted(post(one, "/SQS-SendMessage", b"before"), "spooled")
    with failing_fsync(one.child.pid):
        for number in range(6):
            answer = post(one, "/SQS-SendMessage", f"failing {number}")
            assert answer.status == 503 and answer.code in REFUSED, answer
    eventually(lambda: post(one, "/SQS-SendMessage", b"after").status == 202, what="a 202 once fsync works again")
    taken.append(b"after")
    target.up()
    assert_all_arrived(target, taken)
    settled(one)
    assert target.duplicates() <= possible_duplicates(one)


@pytest.mark.parametrize("mode", ["spool", {"mode": "target-or-spool", "budget": "100ms"}], ids=["spool", "target-or-spool"])
def test_what_a_target_has_is_not_sent_again_because_the_disk_fails_to_say_so(gateway, target, mode):
    one = gateway(setup(target, routes(mode), CALM, limits={"timeout": "30s", "drain": "1s"}))
    target.freeze()
    taken = [f"m{number:02}".encode() for number in range(6)]
    for body in taken:
        accepted(post(one, "/SQS-SendMessage", body), "spooled")
    eventually(lambda: target.calls, what="calls under way")
    with failing_fsync(one.child.pid):
        target.up()  # the calls are answered, and their ends cannot be written down
        target.wait_for(1)
        eventually(lambda: "does not take how deliveries went" in one.logs(), what="the complaint about it")
    assert_all_arrived(target, taken)
    settled(one)
    assert target.duplicates() == 0 and possible_duplicates(one) == 0
    assert one.fates()["forwarded"] == len(taken)


def test_kill_9_while_the_disk_fails_counts_what_is_sent_again(gateway, target):
    one = gateway(setup(target, routes("spool"), CALM))
    clients = Clients(one, "/SQS-SendMessage", count=4, records=100_000)
    with clients:
        eventually(lambda: len(clients.acknowledged) > 40, what="some load")
        with failing_fsync(one.child.pid):
            eventually(lambda: clients.refused, what="a refusal")
            one.kill()
    clients.stop()
    one.start()
    assert_all_arrived(target, clients.acknowledged)
    settled(one)
    assert target.duplicates() <= possible_duplicates(one)
