"""The configuration changes while the gateway runs: by its files, a signal, the admin API; nothing that is under way is lost."""

import http.client
import json
import os
import signal
import socket
import threading
import time

import pytest

from support import http1
from support.gateway import config, penstock, write_config
from support.http2 import Http2
from support.processes import eventually, free_port


def answering(**statuses):
    """Routes that answer by themselves: `a=201` is `GET /a`."""
    return {f"GET /{name}": {"integration": {"Mock": {"status": status}}} for name, status in statuses.items()}


def status(one, path="/a", address=None):
    return http1.request(address or one.address, "GET", path).status


def reload(one):
    return one.admin("/v1/reload", "POST")


def reloads(one, origin, result="published"):
    return one.metrics().value("penstock_config_reloads_total", origin=origin, result=result)


def configuration(one):
    answer = one.admin("/readyz")
    assert answer.status == 200, answer
    return answer.json()["configuration"]


def rewrite(one, document):
    write_config(one.directory, document)


def fixed(routes, **sections):
    """A configuration whose public listener is on a port that is written."""
    sections.setdefault("listeners", {"public": {"bind": f"127.0.0.1:{free_port()}"}})
    return config(routes, **sections)


class TestTheFiles:
    def test_written_in_place_are_followed(self, gateway):
        one = gateway(config(answering(a=200)))
        before = configuration(one)
        rewrite(one, config(answering(a=201, b=202)))
        eventually(lambda: status(one) == 201, what="the new route")
        assert status(one, "/b") == 202
        after = configuration(one)
        assert after["hash"] != before["hash"] and after["origin"] == "watch" and after["refused"] is None
        assert one.admin("/v1/plan").body.decode().count("GET /b") >= 1

    def test_replaced_by_a_rename_are_followed_again_and_again(self, gateway):
        one = gateway(config(answering(a=200)))
        for wanted in (201, 202, 203):
            fresh = write_config(one.directory, config(answering(a=wanted)), ".gateway.yaml.swp")
            os.replace(fresh, one.config)
            eventually(lambda: status(one) == wanted, what=f"{wanted}")

    def test_of_a_config_map_are_followed_through_its_links(self, gateway, tmp_path):
        folder = tmp_path / "mounted"
        folder.mkdir()

        def version(name, wanted):
            (folder / name).mkdir()
            write_config(folder / name, config(answering(a=wanted), store={"path": str(tmp_path / "data")}), "routes.yaml")
            os.symlink(name, folder / "..data_tmp")
            os.replace(folder / "..data_tmp", folder / "..data")
        version("..1", 200)
        os.symlink("..data/routes.yaml", folder / "routes.yaml")
        one = gateway(folder / "routes.yaml")
        assert status(one) == 200
        for number, wanted in ((2, 201), (3, 202)):
            version(f"..{number}", wanted)
            eventually(lambda: status(one) == wanted, what=f"{wanted}")

    def test_of_a_folder_come_and_go(self, gateway, tmp_path):
        folder = tmp_path / "routes"
        folder.mkdir()
        write_config(folder, config(answering(a=200), store={"path": str(tmp_path / "data")}), "a.yaml")
        one = gateway(folder, listeners=1)
        write_config(folder, {"routes": answering(b=201)}, "b.yaml")
        eventually(lambda: status(one, "/b") == 201, what="the new file")
        (folder / "b.yaml").unlink()
        eventually(lambda: status(one, "/b") == 404, what="its end")
        assert status(one) == 200

    def test_are_not_followed_with_no_watch_and_a_signal_or_the_admin_api_has_them_read(self, gateway):
        one = gateway(config(answering(a=200)), arguments=["--no-watch"])
        rewrite(one, config(answering(a=201)))
        time.sleep(3)  # nothing is to happen: there is no condition to wait for
        assert status(one) == 200
        one.signal(signal.SIGHUP)
        eventually(lambda: status(one) == 201, what="what the signal brings")
        assert reloads(one, "signal") == 1 and one.running
        rewrite(one, config(answering(a=202)))
        answer = reload(one)
        assert answer.status == 200 and answer.json()["origin"] == "reload" and answer.json()["changed"]
        assert status(one) == 202

    def test_with_the_same_words_as_before_change_nothing(self, gateway):
        one = gateway(config(answering(a=200)))
        os.utime(one.config)
        rewrite(one, config(answering(a=200)))
        assert reload(one).json()["changed"] is False
        assert reloads(one, "watch") == 0


class TestABrokenFile:
    def test_changes_nothing_and_says_why_everywhere_and_once(self, gateway):
        one = gateway(config(answering(a=200)))
        before = configuration(one)
        broken = config(answering(a=200))
        broken["routes"]["GET /a"]["integration"] = {"Mokc": {}}
        rewrite(one, broken)
        eventually(lambda: reloads(one, "watch", "refused") == 1, what="the refusal")
        assert status(one) == 200
        shown = configuration(one)
        assert shown["hash"] == before["hash"]
        assert shown["refused"]["reason"] == "problems" and any("Mokc" in line for line in shown["refused"]["problems"])
        assert any("is refused" in remark for remark in one.admin("/readyz").json()["remarks"])
        assert one.metrics().value("penstock_config_last_reload_successful") == 0
        answer = reload(one)
        assert answer.status == 422 and any("Mokc" in line for line in answer.json()["problems"])
        time.sleep(5)  # two more looks
        assert one.logs().count("A new configuration is refused") == 1
        rewrite(one, config(answering(a=203)))
        eventually(lambda: status(one) == 203, what="the repaired file")
        assert configuration(one)["refused"] is None
        assert one.metrics().value("penstock_config_last_reload_successful") == 1

    def test_that_is_gone_changes_nothing(self, gateway):
        one = gateway(config(answering(a=200)))
        text = one.config.read_text()
        one.config.unlink()
        eventually(lambda: reloads(one, "watch", "refused") == 1, what="the refusal")
        assert status(one) == 200
        one.config.write_text(text)
        eventually(lambda: configuration(one)["refused"] is None, what="the file that is back")

    def test_whose_address_is_taken_is_refused_whole_and_leaves_nothing_bound(self, gateway):
        spare = free_port()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            one = gateway(config(answering(a=200)))
            rewrite(one, config(answering(a=201), listeners={
                "public": {"bind": "127.0.0.1:0"}, "more": {"bind": f"127.0.0.1:{spare}"},
                "other": {"bind": f"127.0.0.1:{port}"}}))
            answer = reload(one)
            assert answer.status == 409 and str(port) in answer.body.decode(), answer
            assert status(one) == 200
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", spare), timeout=5)
        # what was in the way has gone: it is tried again without being told
        eventually(lambda: status(one) == 201, what="the next try")


def test_the_command_says_what_became_of_it(gateway):
    one = gateway(config(answering(a=200)), arguments=["--no-watch"])
    admin = "http://{}:{}".format(*one.admin_address)
    ran = penstock("reload", "--admin", admin)
    assert ran.returncode == 0 and "the configuration is the same" in ran.stdout, ran
    rewrite(one, config(answering(a=201)))
    ran = penstock("reload", "--admin", admin, "--json")
    assert ran.returncode == 0 and json.loads(ran.stdout)["changed"], ran
    assert status(one) == 201
    rewrite(one, "routes: [")
    ran = penstock("reload", "--admin", admin)
    assert ran.returncode != 0 and "gateway.yaml" in ran.stderr, ran
    assert status(one) == 201


class TestListeners:
    def test_are_added_moved_renamed_and_removed_without_a_restart(self, gateway):
        a, b, c = free_port(), free_port(), free_port()
        at = lambda **ports: {name: {"bind": f"127.0.0.1:{port}"} for name, port in ports.items()}
        one = gateway(config(answering(a=200), listeners=at(public=a)))
        for listeners, open_ports, closed in [
            (at(public=a, private=b), [a, b], [c]),
            (at(public=c, private=b), [c, b], [a]),
            (at(public=b, private=c), [c, b], [a]),
            (at(web=b), [b], [a, c]),
            (at(public=a), [a], [b, c]),
        ]:
            rewrite(one, config(answering(a=200), listeners=listeners))
            answer = reload(one)
            assert answer.status == 200, answer
            for port in open_ports:
                assert status(one, address=("127.0.0.1", port)) == 200
            for port in closed:
                def is_closed():
                    try:
                        socket.create_connection(("127.0.0.1", port), timeout=5).close()
                        return False
                    except OSError:
                        return True
                eventually(is_closed, what=f"the end of {port}")

    def test_that_are_removed_finish_what_is_in_flight(self, gateway, fake):
        a, b = free_port(), free_port()
        from support.fake_aws import Usual
        fake.always("SQS-SendMessage", Usual(after=2))
        fake.always("SQS-SendMessageBatch", Usual(after=2))
        routes = {"POST /slow": {"integration": {"SQS-SendMessage": {"QueueUrl": f"{fake.url}/1/q", "MessageBody": "$request.body"}}}}
        aws = {"region": "us-east-1", "endpoint": fake.url}
        both = {"public": {"bind": f"127.0.0.1:{a}"}, "old": {"bind": f"127.0.0.1:{b}"}}
        one = gateway(config(routes, aws=aws, listeners=both))
        answers = []
        asking = threading.Thread(target=lambda: answers.append(
            http1.request(("127.0.0.1", b), "POST", "/slow", b"x").status))
        asking.start()
        eventually(lambda: one.metrics().value("penstock_requests_in_flight") == 1, what="the request")
        rewrite(one, config(routes, aws=aws, listeners={"public": both["public"]}))
        assert reload(one).status == 200
        asking.join(60)
        assert answers == [202]

    def test_take_new_limits_and_terms_for_new_connections(self, gateway):
        listener = {"bind": f"127.0.0.1:{free_port()}"}
        one = gateway(config(answering(a=200), listeners={"public": listener}))
        kept = http.client.HTTPConnection(*one.address, timeout=60)
        assert http1.exchange(kept, "GET", "/a").status == 200
        rewrite(one, config(answering(a=200), listeners={"public": {**listener, "proxy_protocol": "v1"}}))
        assert reload(one).status == 200
        with one.raw() as raw:
            raw.send("PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            assert raw.read_response().status == 200
        assert http1.exchange(kept, "GET", "/a").status == 200, "the old connection stays as it is"
        rewrite(one, config(answering(a=200), listeners={"public": {**listener, "allow": ["192.0.2.0/24"]}}))
        assert reload(one).status == 200
        assert status(one) == 403


def test_what_needs_a_restart_is_said_in_the_answer_the_log_and_readyz(gateway, tmp_path):
    routes = {"POST /q": {"integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$request.body"}}}}
    one = gateway(config(routes, queues={"q": {}}))
    rewrite(one, config(routes, queues={"q": {}}, admin={"bind": f"127.0.0.1:{free_port()}"}, store={"path": "./other"}))
    answer = reload(one)
    assert answer.status == 200 and answer.json()["needsRestart"] == ["store.path", "admin.bind"], answer.json()
    assert configuration(one)["needsRestart"] == ["store.path", "admin.bind"]
    one.says("needs a restart")
    assert one.request("POST", "/q", b"1").status == 202
    assert not (one.directory / "other").exists()


class TestQueues:
    def sending(self, queue):
        return {"POST /q": {"integration": {"SQS-SendMessage": {"QueueUrl": f"queue:{queue}", "MessageBody": "$request.body"}}}}

    def test_and_their_store_come_with_a_reload_and_keep_their_data_when_they_go(self, gateway):
        one = gateway(config(answering(a=200)))
        assert one.request("POST", "/q", b"1").status in (404, 405)
        rewrite(one, config(self.sending("q"), queues={"q": {}}))
        assert reload(one).status == 200
        assert one.request("POST", "/q", b"1").status == 202
        rewrite(one, config(self.sending("other"), queues={"other": {}}))
        answer = reload(one)
        assert any("q is no longer declared" in warning for warning in answer.json()["warnings"]), answer.json()
        assert one.request("POST", "/q", b"2").status == 202
        assert {name: queue["depth"] for name, queue in one.queues().items()} == {"q": 1, "other": 1}

    def test_that_would_send_dead_letters_in_a_circle_refuse_the_candidate(self, gateway):
        one = gateway(config(self.sending("q"), queues={"q": {}, "r": {}}))
        rewrite(one, config(self.sending("r"), queues={"r": {"redrive": {"to": "q", "max_receive_count": 2}}, "q": {"redrive": {"to": "r", "max_receive_count": 2}}}))
        assert reload(one).status in (409, 422)
        assert one.request("POST", "/q", b"1").status == 202
        assert one.depth("queue") == 1 and one.peek("q")


def test_the_access_log_goes_elsewhere_and_a_signal_opens_its_file_anew(gateway, tmp_path):
    log = tmp_path / "access.log"
    one = gateway(config(answering(a=200)))
    assert status(one) == 200
    one.access_log(1)
    rewrite(one, config(answering(a=200), access_log={"path": str(log), "format": "$context.status $context.path"}))
    assert reload(one).status == 200
    assert status(one) == 200
    eventually(lambda: log.exists() and log.read_text() == "200 /a\n", what="the line")
    log.rename(tmp_path / "access.log.1")
    one.signal(signal.SIGHUP)
    eventually(log.exists, what="the new file")
    assert status(one) == 200
    eventually(lambda: log.read_text() == "200 /a\n", what="the line")


class Load:
    """Requests without end on several kinds of connections; every one has to be answered as it should."""

    def __init__(self, address):
        self.address, self.ended, self.wrong, self.count = address, threading.Event(), [], 0
        kinds = [self.new_connections, self.kept_connection, self.kept_connection, self.http2]
        self.threads = [threading.Thread(target=self.run, args=(kind,), daemon=True) for kind in kinds]
        for thread in self.threads:
            thread.start()

    def run(self, kind):
        try:
            kind()
        except Exception as error:  # whatever it is, it is what a client saw
            self.wrong.append(f"{kind.__name__}: {error!r}")

    def note(self, got):
        self.count += 1
        if got != 200:
            self.wrong.append(got)

    def new_connections(self):
        while not self.ended.is_set():
            self.note(http1.request(self.address, "GET", "/a").status)

    def kept_connection(self):
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        while not self.ended.is_set():
            self.note(http1.exchange(connection, "GET", "/a").status)

    def http2(self):
        with Http2(self.address) as connection:
            while not self.ended.is_set():
                streams = [connection.begin("GET", "/a") for _ in range(4)]
                for stream in streams:
                    answer = connection.response(stream)
                    self.note(answer and answer.status)

    def finish(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(60)
        assert not self.wrong, self.wrong[:10]
        return self.count


def test_a_hundred_reloads_under_load_fail_no_request(gateway):
    port, others = free_port(), [free_port() for _ in range(3)]

    def document(number):
        listeners = {"public": {"bind": f"127.0.0.1:{port}"}}
        if number % 3:
            listeners[f"other{number % 2}"] = {"bind": f"127.0.0.1:{others[number % 3]}"}
        return config({**answering(a=200), **answering(**{f"n{number}": 201})}, listeners=listeners)
    one = gateway(document(0))
    load = Load(one.address)
    for number in range(1, 101):
        fresh = write_config(one.directory, document(number), ".next")
        os.replace(fresh, one.config)
        if number % 10 == 0:
            one.signal(signal.SIGHUP)
        answer = reload(one)
        assert answer.status == 200, answer.body
        assert status(one, f"/n{number}") == 201
        if number % 3:
            assert status(one, address=("127.0.0.1", others[number % 3])) == 200
    assert load.finish() > 200
    one.counted(0, "penstock_requests_in_flight")


def test_a_socket_that_changes_names_refuses_no_connection(gateway):
    port = free_port()
    named = lambda name: config(answering(a=200), listeners={name: {"bind": f"127.0.0.1:{port}"}})
    one = gateway(named("first"))
    ended, wrong = threading.Event(), []

    def ask():
        while not ended.is_set():
            try:
                got = http1.request(("127.0.0.1", port), "GET", "/a").status
            except OSError as error:
                got = error
            if got != 200:
                wrong.append(got)
    askers = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    for asker in askers:
        asker.start()
    for number in range(20):
        rewrite(one, named(f"n{number}"))
        assert reload(one).status == 200
    ended.set()
    for asker in askers:
        asker.join(60)
    assert not wrong, wrong[:5]


class TestWhatCarriesOver:
    """A row of the table in docs/reloading.md each: `again` changes something else than what is looked at."""

    @staticmethod
    def again(one, document, stage_variables):
        before = configuration(one)["hash"]
        rewrite(one, {**document, "stage_variables": stage_variables})
        answer = reload(one)
        assert answer.status == 200 and answer.json()["hash"] != before, answer.body

    def test_a_route_s_bucket_while_its_limits_stay(self, gateway):
        route = {"throttle": {"rate": 0.001, "burst": 3}, "integration": {"Mock": {"status": 200}}}
        written = config({"GET /a": route})
        one = gateway(written)
        assert [status(one) for _ in range(2)] == [200] * 2
        self.again(one, written, {"n": "1"})
        assert [status(one) for _ in range(2)] == [200, 429]
        route["throttle"]["burst"] = 4
        self.again(one, config({"GET /a": route}), {"n": "2"})
        assert status(one) == 200, "other limits begin anew"

    def test_a_caller_s_bucket_while_its_limits_stay(self, gateway):
        limit = {"rate": 0.001, "burst": 1, "per": "$request.header.x-who"}
        written = config({"GET /a": {"throttle": limit, "integration": {"Mock": {"status": 200}}}})
        one = gateway(written)
        ask = lambda who: one.request("GET", "/a", headers={"x-who": who}).status
        assert (ask("a"), ask("a")) == (200, 429)
        self.again(one, written, {"n": "1"})
        assert (ask("a"), ask("b")) == (429, 200)

    def test_what_a_request_authorizer_has_answered_while_it_stays(self, gateway):
        from support.authorizer import Authorizer
        service = Authorizer({"yes": {"isAuthorized": True}})
        try:
            authorizer = {"lambda": {"url": service.url + "/check", "identity_sources": ["$request.header.authorization"], "ttl": "1h"}}
            routes = {"GET /a": {"authorizer": "legacy", "integration": {"Mock": {"status": 200}}}}
            written = config(routes, authorizers={"legacy": authorizer})
            one = gateway(written)
            ask = lambda: one.request("GET", "/a", headers={"authorization": "yes"}).status
            assert (ask(), ask(), service.calls) == (200, 200, 1)
            self.again(one, written, {"n": "1"})
            assert (ask(), service.calls) == (200, 1)
            authorizer["lambda"]["ttl"] = "30m"
            self.again(one, written, {"n": "2"})
            assert ask() == 200
        finally:
            service.stop()

    def test_idempotency_keys(self, gateway):
        route = {"idempotency": {"key": "$request.header.idempotency-key", "ttl": "1h"},
                 "integration": {"SQS-SendMessage": {"QueueUrl": "queue:q", "MessageBody": "$request.body"}}}
        written = config({"POST /q": route}, queues={"q": {}})
        one = gateway(written)
        send = lambda: one.request("POST", "/q", b"1", {"idempotency-key": "k"})
        first = send()
        self.again(one, written, {"n": "1"})
        second = send()
        assert (first.status, second.status) == (202, 202)
        assert first.json()["messageId"] == second.json()["messageId"] and one.depth("queue") == 1

    def test_what_api_keys_have_used(self, gateway):
        import hashlib
        key = "psk_reload_4f1c9d0b7a6e5f3c2d1b0a99"
        written = config(
            {"GET /a": {"authorizer": "api_key", "integration": {"Mock": {"status": 200}}}},
            usage_plans={"small": {"quota": {"limit": 3, "period": "month"}}},
            api_keys={"acme": {"hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest(), "plan": "small"}})
        one = gateway(written)
        ask = lambda: one.request("GET", "/a", headers={"x-api-key": key}).status
        assert [ask() for _ in range(2)] == [200] * 2
        self.again(one, written, {"n": "1"})
        assert [ask() for _ in range(2)] == [200, 429]
        written["usage_plans"]["small"]["quota"]["limit"] = 4

        def counted_on():
            rewrite(one, written)
            return reload(one).status == 200
        eventually(counted_on, what="the new quota")
        assert [ask() for _ in range(2)] == [200, 429]

    def test_the_breaker_of_a_target(self, gateway, target):
        target.down()
        url = f"{target.url}/111122223333/orders"
        route = {"integration": {"SQS-SendMessage": {"QueueUrl": url, "MessageBody": "$request.body"}}}
        written = config({"POST /q": route}, aws={"region": "us-east-1", "endpoint": target.url},
                         targets={"default": {"breaker": {"open_after": 2, "probe_every": "30s", "max": "30s"}}})
        one = gateway(written)
        states = lambda: {view["breaker"] for view in one.targets().values()}
        eventually(lambda: one.request("POST", "/q", b"1").status == 503 and states() == {"open"}, what="the open breaker")
        self.again(one, written, {"n": "1"})
        assert states() == {"open"}
