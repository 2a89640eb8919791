"""An outage in mid-load with `target-or-spool`: clients that do not stop, a target that goes and comes, a gateway that is
killed. Everything acknowledged arrives, each group in order, and no more duplicates than were counted."""

import random

import pytest

from support.ack import (
    HASTE, STORING, TO_FIFO, Clients, assert_all_arrived, order_violations, possible_duplicates, setup,
)
from support.processes import eventually

EITHER = {"mode": "target-or-spool", "budget": "400ms"}
LIMITS = {"timeout": "10s", "drain": "1s"}
INTEGRATIONS = {
    "fifo": {"SQS-SendMessage": TO_FIFO},
    "kinesis": {"Kinesis-PutRecord": STORING["Kinesis-PutRecord"]},
    "standard": {"SQS-SendMessage": STORING["SQS-SendMessage"]},
}


def start(gateway, target, what, ack=EITHER, limits=LIMITS):
    return gateway(setup(target, {"POST /r": {"integration": INTEGRATIONS[what], "ack": ack}}, HASTE, limits=limits, access_log=False))


def progress(clients, more, how=None):
    count = lambda: len(clients.by_durability(how)) if how else len(clients.acknowledged)
    wanted = count() + more
    eventually(lambda: count() >= wanted, what=f"{more} more records {how or ''}")


def verdict(one, target, acknowledged, counted=0.0, ordered=True):
    assert_all_arrived(target, acknowledged)
    eventually(lambda: one.depth() == 0, what="an empty spool")
    if ordered:
        assert order_violations(target.bodies(), acknowledged) == []
    counted += possible_duplicates(one)
    repeats = target.duplicates() + len(target.doubled)
    assert repeats <= counted, f"{repeats} records came again, {counted} were counted"
    assert one.depth("dead-letters") == 0


@pytest.mark.parametrize("troubles", [
    ("down", "freeze"), ("throttle", "down"), ("freeze", "throttle"), ("lose_answers", "fail"), ("reset", "halve_answers"),
    ("limp", "flap"),
], ids="-".join)
@pytest.mark.parametrize("what", INTEGRATIONS)
def test_two_outages_in_mid_load_lose_nothing_and_change_no_order(gateway, target, what, troubles):
    one = start(gateway, target, what)
    clients = Clients(one, "/r", count=8, keys=2, records=100_000, size=200)
    with clients:
        for trouble in troubles:
            progress(clients, 40)
            getattr(target, trouble)()
            progress(clients, 60, "spooled")
            target.up()
        progress(clients, 60)
    clients.stop()
    assert not clients.refused, f"{len(clients.refused)} were refused, such as {clients.refused[0]}"
    assert clients.by_durability("target") and clients.by_durability("spooled")
    verdict(one, target, clients.acknowledged, ordered=what != "standard")


@pytest.mark.parametrize("trouble", ["down", "throttle"])
@pytest.mark.parametrize("what", INTEGRATIONS)
def test_an_outage_with_a_kill_in_it_loses_nothing_and_counts_every_duplicate(gateway, target, what, trouble):
    one = start(gateway, target, what)
    acknowledged, counted = {}, 0.0
    clients = Clients(one, "/r", count=8, keys=2, records=100_000, prefix="before")
    with clients:
        progress(clients, 40)
        target.freeze()
        progress(clients, 40, "spooled")
        target.up()
        progress(clients, 40)
        # from here to the kill no outcome is unknown, so the count is complete but for what is under way, which the
        # next start finds
        getattr(target, trouble)()
        progress(clients, 60, "spooled")
        counted = possible_duplicates(one)
        one.kill()
    acknowledged.update(clients.stop().acknowledged)
    one.start()
    clients = Clients(one, "/r", count=8, keys=2, records=100_000, prefix="mid")
    with clients:
        progress(clients, 40, "spooled")
        target.up()
        progress(clients, 60)
    acknowledged.update(clients.stop().acknowledged)
    verdict(one, target, acknowledged, counted, ordered=what != "standard")


@pytest.mark.parametrize("trouble", ["up", "freeze", "throttle", "down"])
@pytest.mark.parametrize("what", INTEGRATIONS)
def test_a_shutdown_in_mid_load_refuses_what_it_cannot_keep_and_keeps_what_it_acknowledged(gateway, target, what, trouble):
    one = start(gateway, target, what)
    clients = Clients(one, "/r", count=8, keys=2, records=100_000, prefix="first")
    with clients:
        progress(clients, 40)
        getattr(target, trouble)()
        progress(clients, 40)
        one.stop()
    acknowledged = clients.stop().acknowledged
    target.up()
    one.start()
    assert_all_arrived(target, acknowledged)
    eventually(lambda: one.depth() == 0, what="an empty spool")
    if what != "standard":
        assert order_violations(target.bodies(), acknowledged) == []


@pytest.mark.parametrize("trouble", ["up", "slow", "freeze", "lose_answers"])
def test_kills_at_any_moment_lose_nothing_and_change_no_order(gateway, target, trouble, long_run):
    dice = random.Random(trouble)
    one = start(gateway, target, "fifo")
    acknowledged = {}
    for run in range(20 if long_run else 3):
        clients = Clients(one, "/r", count=8, keys=2, records=100_000, prefix=f"run{run}-")
        with clients:
            progress(clients, 20)
            target.slow(0.02) if trouble == "slow" else getattr(target, trouble)()
            progress(clients, dice.randrange(5, 80))
            one.kill()
        acknowledged.update(clients.stop().acknowledged)
        if dice.random() < 0.5:
            target.up()
        one.start()
        target.up()
    assert_all_arrived(target, acknowledged)
    eventually(lambda: one.depth() == 0, what="an empty spool")
    assert order_violations(target.bodies(), acknowledged) == []
    assert target.duplicates() == 0, "the ids of a FIFO queue's messages stay the same"


def test_a_backlog_is_sent_in_batches_and_live_traffic_is_not_starved_by_it(gateway, target):
    one = start(gateway, target, "standard", {"mode": "target-or-spool", "budget": "10s"}, {"timeout": "30s", "drain": "1s"})
    target.down()
    backlog = Clients(one, "/r", count=8, keys=1, records=150, prefix="backlog")
    with backlog:
        backlog.finish()
    assert len(backlog.by_durability("spooled")) == 1200
    target.up()
    target.slow(0.02)
    eventually(lambda: next(iter(one.targets().values()))["breaker"] == "closed", what="a closed breaker")
    live = Clients(one, "/r", count=2, keys=1, records=20, prefix="live")
    with live:
        live.finish()
        left = one.depth()
    assert not live.refused
    assert live.by_durability("target"), f"live records go direct beside a backlog (of {left})"
    verdict(one, target, {**backlog.acknowledged, **live.acknowledged}, ordered=False)
    batches = target.calls_of("SQS-SendMessageBatch")
    assert len(batches) <= 400, f"{len(batches)} calls for 1,200 records"


def test_a_rate_caps_how_fast_a_backlog_drains(gateway, target):
    haste = {**HASTE, "rate": 40}
    one = gateway(setup(target, {"POST /r": {"integration": INTEGRATIONS["standard"], "ack": "spool"}}, haste))
    target.down()
    clients = Clients(one, "/r", count=4, keys=1, records=40)
    with clients:
        clients.finish()
    target.up()
    target.wait_for(160)
    times = sorted(kept.times[0][0] for kept in target.kept.values())
    took = times[-1] - times[0]
    # a second's worth may go at once
    assert took >= 2.0, f"160 records at 40 a second took {took:.1f} s"
