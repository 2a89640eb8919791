"""Configurations of several APIs."""

import yaml

from support.gateway import config


def mock(body):
    return {"integration": {"Mock": {"status": 200, "body": f"{body} ${{context.apiId}} ${{context.stage}} ${{request.path}}"}}}


def folder(tmp_path, general, *apis):
    """A folder of files: one for the process, one for each API."""
    where = tmp_path / "several"
    where.mkdir()
    process = {key: value for key, value in config({}, **general).items() if key not in ("api", "responses", "routes")}
    for name, document in [("process", process), *((api["api"], api) for api in apis)]:
        (where / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return where
