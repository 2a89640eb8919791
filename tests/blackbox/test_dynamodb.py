"""DynamoDB-GetItem and -PutItem through boto3's eyes, and the canary example's answer made of an item."""

import pytest

from support.emulators import REGION, unique
from support.gateway import config, penstock, write_config
from support.processes import eventually, free_port

WINNERS = [("2006", "Germany", "Italy", "France"), ("2010", "South Africa", "Spain", "Netherlands")]


@pytest.fixture(scope="module")
def winners(emulator):
    """The canary example's table, with its items."""
    name, client = unique("winners"), emulator.client("dynamodb")
    client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "year", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "year", "AttributeType": "S"}])
    for year, country, winner, runner_up in WINNERS:
        client.put_item(TableName=name, Item={
            "year": {"S": year}, "country": {"S": country}, "winner": {"S": winner}, "runner-up": {"S": runner_up}})
    return name


def selectors(*names):
    return {name: f"${{response.body.Item.{name}.S:-}}" for name in names}


def table(name):
    read = {"DynamoDB-GetItem": {"TableName": name, "Key": {"year": {"S": "$request.querystring.year"}}}}
    item = {"year": {"S": "$request.body.year"}, "winner": {"S": "${request.body.winner:-}"},
            "goals": {"N": "${request.body.goals:-}"}, "raw": {"B": "$request.body"},
            "tags": {"L": [{"S": "a"}, {"BOOL": True}, {"NULL": True}]}}
    write = {"TableName": name, "Item": item}
    return {
        "GET /item": {"integration": read},
        "GET /": {"integration": read, "response": {"body": selectors("year", "country", "winner")}},
        "GET /canary": {"integration": read, "response": {"body": selectors("year", "country", "winner", "runner-up")}},
        "GET /whole": {"integration": read, "response": {"body": {"item": "$response.body.Item", "n": 1}}},
        "POST /items": {"integration": {"DynamoDB-PutItem": write}},
        "POST /new": {"integration": {"DynamoDB-PutItem": {**write, "ConditionExpression": "attribute_not_exists(#y)",
                                                           "ExpressionAttributeNames": {"#y": "year"}}}},
        "POST /swap": {"integration": {"DynamoDB-PutItem": {**write, "ReturnValues": "ALL_OLD"}}},
        "POST /typed": {"integration": {"DynamoDB-PutItem": {"TableName": name, "Item": "$request.body.item"}}},
        "GET /nowhere": {"integration": {"DynamoDB-GetItem": {**read["DynamoDB-GetItem"], "TableName": unique("missing")}}},
    }


@pytest.fixture(params=["native", "aws"])
def book(request, gateway, emulator, winners):
    one = gateway(config(table(winners), responses=request.param, limits={"body": "1MiB"},
                         aws={"region": REGION, "endpoint": emulator.url}))
    one.dialect = request.param
    return one


def test_the_canary_example_answers_with_the_item_s_fields(book):
    answer = book.request("GET", "/?year=2006")
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    assert answer.body == b'{"year":"2006","country":"Germany","winner":"Italy"}'
    assert book.request("GET", "/canary?year=2006").json()["runner-up"] == "France"
    unknown = book.request("GET", "/?year=1066")
    assert (unknown.status, unknown.json()) == (200, {"year": "", "country": "", "winner": ""})
    hostile = book.request("GET", '/?year=%22%7D%2C%22x')
    assert hostile.json() == {"year": "", "country": "", "winner": ""}


def test_an_item_is_read_in_the_service_s_words(book):
    answer = book.request("GET", "/item?year=2010")
    assert answer.status == 200
    assert answer.json()["Item"]["winner"] == {"S": "Spain"}
    assert "Item" not in book.request("GET", "/item?year=1066").json()
    assert book.request("GET", "/whole?year=2010").json()["item"]["winner"] == {"S": "Spain"}
    assert book.request("GET", "/item").status == 400


def test_an_item_is_written_as_it_is_mapped(book, emulator, winners):
    year = unique("y")
    body = f'{{"year":"{year}","winner":"É \\"q\\"","goals":3.50}}'.encode()
    answer = book.request("POST", "/items", body)
    assert answer.status == (202 if book.dialect == "native" else 200), answer
    if book.dialect == "native":
        assert answer.json()["durability"] == "target" and answer.json()["requestId"]
    item = emulator.client("dynamodb").get_item(TableName=winners, Key={"year": {"S": year}})["Item"]
    assert item["winner"] == {"S": 'É "q"'} and float(item["goals"]["N"]) == 3.5
    assert item["raw"]["B"] == body
    assert item["tags"]["L"] == [{"S": "a"}, {"BOOL": True}, {"NULL": True}]
    bare = unique("y")
    book.request("POST", "/items", f'{{"year":"{bare}"}}'.encode())
    item = emulator.client("dynamodb").get_item(TableName=winners, Key={"year": {"S": bare}})["Item"]
    assert "winner" not in item and "goals" not in item


def test_a_condition_that_does_not_hold_refuses_the_record(book):
    body = f'{{"year":"{unique("y")}"}}'.encode()
    assert book.request("POST", "/new", body).status < 300
    again = book.request("POST", "/new", body)
    if book.dialect == "native":
        assert again.status == 422 and again.code == "target_refused_record"
        assert "ConditionalCheckFailedException" in again.json()["detail"]
    else:
        assert again.status == 400
        assert "ConditionalCheckFailedException" in again.json()["__type"]


def test_what_stood_there_before_comes_back_where_it_is_asked_for(book):
    year = unique("y")
    for winner in ("one", "two"):
        answer = book.request("POST", "/swap", f'{{"year":"{year}","winner":"{winner}"}}'.encode())
    before = answer.json()["attributes" if book.dialect == "native" else "Attributes"]
    assert before["winner"] == {"S": "one"}


def test_the_body_may_bring_a_typed_item_and_nothing_untyped(book, emulator, winners):
    year = unique("y")
    assert book.request("POST", "/typed", f'{{"item":{{"year":{{"S":"{year}"}}}}}}'.encode()).status < 300
    assert emulator.client("dynamodb").get_item(TableName=winners, Key={"year": {"S": year}})["Item"]
    assert book.request("POST", "/typed", b'{"item":{"year":"2006"}}').status == 400


def test_an_item_over_the_service_s_limit_is_not_sent(book):
    body = b'{"year":"x","pad":"' + b"x" * 410_000 + b'"}'
    answer = book.request("POST", "/items", body)
    assert answer.status == 413
    if book.dialect == "native":
        assert answer.code == "target_limit" and "400 KB" in answer.json()["detail"]


def test_a_table_that_is_not_there_is_our_setup(book):
    answer = book.request("GET", "/nowhere?year=2006")
    if book.dialect == "native":
        assert answer.status == 502 and answer.code == "target_setup" and "retry-after" in answer.headers
    else:
        assert answer.status == 400 and "ResourceNotFoundException" in answer.json()["__type"]


def test_an_item_is_spooled_while_the_service_is_away_and_forwarded_after(gateway, ministack):
    client, name = ministack.client("dynamodb"), unique("orders")
    client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
    route = {"integration": {"DynamoDB-PutItem": {"TableName": name, "Item": {"id": {"S": "$request.body.id"}}}},
             "ack": "spool"}
    nowhere = f"http://127.0.0.1:{free_port()}"
    one = gateway(config({"POST /orders": route}, aws={"region": REGION, "endpoint": nowhere}))
    for number in range(5):
        answer = one.request("POST", "/orders", f'{{"id":"o-{number}"}}'.encode())
        assert (answer.status, answer.json()["durability"]) == (202, "spooled")
    one.stop()
    write_config(one.directory, config({"POST /orders": route}, aws={"region": REGION, "endpoint": ministack.url}))
    one.start()
    eventually(lambda: client.scan(TableName=name)["Count"] == 5, what="five items forwarded")


def test_the_canary_example_s_answer_differs_by_deployment(gateway, emulator, winners):
    def document(*names, **sections):
        read = {"DynamoDB-GetItem": {"TableName": winners, "Key": {"year": {"S": "$request.querystring.year"}}}}
        return config({"GET /": {"integration": read, "response": {"body": selectors(*names)}}},
                      aws={"region": REGION, "endpoint": emulator.url}, **sections)
    one = gateway(document("year", "winner"))
    new = document("year", "winner", "runner-up", deployment={
        "strategy": "canary", "steps": ["50%"], "every": "1h", "sticky": ["$request.header.x-caller"]})
    (one.directory / "next").mkdir()
    path = write_config(one.directory / "next", new)
    admin = ("--admin", "http://{}:{}".format(*one.admin_address))

    def seen():
        answers = [one.request("GET", "/?year=2006", headers={"x-caller": str(n)}) for n in range(40)]
        assert {answer.status for answer in answers} == {200}
        return [tuple(answer.json()) for answer in answers]
    assert penstock("deploy", path, *admin).returncode == 0
    first = seen()
    assert set(first) == {("year", "winner"), ("year", "winner", "runner-up")} and seen() == first
    assert penstock("promote", *admin).returncode == 0
    assert set(seen()) == {("year", "winner", "runner-up")}
