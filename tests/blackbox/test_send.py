"""`penstock send`: what it signs the gateway accepts, sender by sender, and what it is not to show it does not."""

import json
import subprocess

import pytest

from support.gateway import REPOSITORY, config, environment, penstock

SECRET = "6a6b6c6d6e6f707172737475767778796a6b6c6d6e6f70717273747576777879"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = {SECRET: SECRET[:-4] + "abcd", WHSEC: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx"}
PUBLIC = "https://hooks.example.com"

SHARED = {
    name: WHSEC if name in ("standard-webhooks", "gitlab") else SECRET
    for name in """
        adyen adyen-platform asana auth0 bitbucket box calendly cloudevents coinbase-cdp coinbase-cdp-v0 coinbase-commerce
        dockerhub docusign dropbox eventgrid github gitlab gitlab-token hubspot hubspot-v1 hubspot-v2 intercom jira line
        linear mailgun meta monday msgraph notion okta paddle pagerduty sentry shopify slack square standard-webhooks
        stripe telegram trello twilio twitch typeform vercel woocommerce workos x xero zendesk zoom
    """.split()
}
SENDERS_OWN = ["paypal", "plaid", "pubsub", "sns"]


def document():
    authorizers = {
        name: {"webhook": {
            "preset": name, "secrets": [secret], "public_url": f"{PUBLIC}/hooks/{name}",
            "config": {"verify_token": "t", "allowed_origin": "o"},
        }}
        for name, secret in SHARED.items()
    }
    queue = {"SQS-SendMessage": {"QueueUrl": "queue:in", "MessageBody": "$request.body"}}
    routes = {f"POST /hooks/{name}": {"authorizer": name, "integration": queue} for name in authorizers}
    # Every wrong secret comes from one address.
    return config(routes, authorizers=authorizers, queues={"in": {}}, auth_failures=False)


@pytest.fixture(scope="module")
def hooks(shared_gateway):
    return shared_gateway(document())


def send(gateway, name, *arguments, secret=None, **run):
    env = environment(**({} if secret is None else {"PENSTOCK_SEND_SECRET": secret}))
    url = f"{gateway.url}/hooks/{name}"
    return penstock("send", url, *arguments, env=env, **run)


def preset(gateway, name, *arguments, secret=None):
    return send(gateway, name, "--preset", name, "--public-url", f"{PUBLIC}/hooks/{name}", *arguments, secret=secret)


@pytest.mark.parametrize("name", sorted(SHARED))
def test_the_gateway_accepts_what_is_signed_for_it_and_no_other_secret(hooks, name):
    secret = SHARED[name]
    sent = preset(hooks, name, "--json", secret=secret)
    assert sent.returncode == 0, (sent.stdout, sent.stderr)
    assert 200 <= json.loads(sent.stdout)["status"] < 300
    refused = preset(hooks, name, "--json", secret=OTHER[secret])
    assert refused.returncode == 1, (refused.stdout, refused.stderr)
    answer = json.loads(refused.stdout)
    assert answer["status"] == 401 and "webhook_refused" in answer["body"], answer


def test_every_preset_is_either_sent_or_refused(hooks):
    page = (REPOSITORY / "docs" / "webhooks.md").read_text()
    listed = next(line for line in page.splitlines() if line.startswith("Presets: "))
    names = {name.strip("`") for name in listed.removeprefix("Presets: ").rstrip(".").split(", ")}
    public = {"discord-events", "discord-interactions", "sendgrid", "standard-webhooks-ed25519"}
    assert names == set(SHARED) | set(SENDERS_OWN) | public
    for name in SENDERS_OWN:
        refused = penstock("send", "http://localhost:1", "--preset", name, "--secret", "k")
        assert refused.returncode == 2 and "the sender alone has" in refused.stderr, refused.stderr


def test_an_authorizer_of_a_route_file_says_how_and_with_what(hooks):
    arguments = ["--config", hooks.config, "--authorizer", "stripe", "-d", '{"id":"evt_of_a_file","type":"paid"}']
    sent = send(hooks, "stripe", *arguments, cwd=hooks.directory)
    assert sent.returncode == 0 and sent.stdout.startswith("202 "), (sent.stdout, sent.stderr)
    assert "x-request-id: " in sent.stdout and '"paid"' in json.dumps(hooks.peek("in")).replace("\\", "")
    again = send(hooks, "stripe", *arguments, cwd=hooks.directory)
    assert "idempotency-replayed: true" in again.stdout
    unknown = send(hooks, "stripe", "--config", hooks.config, "--authorizer", "strip", cwd=hooks.directory)
    assert unknown.returncode == 2 and "no route has the authorizer `strip`" in unknown.stderr


def test_an_old_time_is_refused_and_an_id_is_sent(hooks, tmp_path):
    assert preset(hooks, "stripe", "--timestamp", "1700000000", secret=SECRET).stdout.startswith("401 ")
    kept = tmp_path / "secret"
    kept.write_text(SECRET + "\n")
    arguments = ["--secret-file", kept, "--id", "chosen-1", "-H", "x-github-event: push"]
    first, again = (preset(hooks, "github", *arguments) for _ in range(2))
    assert first.returncode == 0 and "idempotency-replayed" not in first.stdout, first.stdout
    assert again.returncode == 0 and "idempotency-replayed: true" in again.stdout, again.stdout


@pytest.mark.parametrize("name", ["stripe", "telegram", "okta", "dockerhub", "msgraph", "cloudevents", "hubspot-v1"])
def test_a_dry_run_is_a_curl_command_without_the_secret(hooks, name):
    before = len(hooks.peek("in"))
    shown = preset(hooks, name, "--dry-run", "-d", '{"it\'s": "ü"}', secret=SECRET)
    assert shown.returncode == 0 and shown.stdout.startswith("curl "), (shown.stdout, shown.stderr)
    assert SECRET not in shown.stdout + shown.stderr
    echo = shown.stdout.replace("curl ", "printf '%s\\n' ", 1)
    said = subprocess.run(["bash", "-c", echo], capture_output=True, text=True, check=True).stdout
    assert f"{hooks.url}/hooks/{name}" in said and "it's" in said
    assert len(hooks.peek("in")) == before


@pytest.mark.parametrize("arguments, words", [
    (["--preset", "github"], "a secret is needed"),
    (["--preset", "gihtub", "--secret", "k"], "did you mean `github`"),
    (["--preset", "discord-events", "--secret", "k"], "private key"),
    (["--preset", "discord-events"], "private key"),
    (["--preset", "zoom", "--secret", "k", "--id", "1"], "no id"),
    (["--preset", "linear", "--secret", "k", "-d", "no json"], "the body is not"),
    (["--preset", "github", "--secret", "k", "-H", "nonsense"], "is not a header"),
    (["--preset", "github", "--config", "x"], "cannot be used with"),
    ([], "--preset"),
])
def test_what_makes_no_sense_is_said_and_nothing_is_sent(arguments, words):
    ran = penstock("send", "http://127.0.0.1:1/x", *arguments)
    assert ran.returncode == 2 and words in ran.stderr, ran.stderr


def test_a_gateway_that_is_not_there_is_a_failure(tmp_path):
    ran = penstock("send", "http://127.0.0.1:1/x", "--preset", "github", "--secret", "k")
    assert ran.returncode == 1 and "refused" in ran.stderr, ran.stderr
