"""OpenAPI documents as the vendor exports them, and a validator that nobody here wrote."""

import json
import os
import subprocess
from pathlib import Path

VALIDATOR = Path(os.environ.get("PENSTOCK_TOOLS") or Path.home() / ".cache/penstock/tools") / "openapi" / "bin" / "python"


def missing():
    """Why the validator cannot run, if it cannot."""
    if reason := os.environ.get("PENSTOCK_NO_OPENAPI"):
        return reason
    return None if VALIDATOR.exists() else f"there is no {VALIDATOR}"


def faults(path):
    """What the validator says of a document; nothing for a good one."""
    ran = subprocess.run([VALIDATOR, "-m", "openapi_spec_validator", path], capture_output=True, text=True, timeout=120)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def operation(subtype, **parameters):
    """An operation with a service integration, as the vendor exports it."""
    return {
        "responses": {"default": {"description": "Default response"}},
        "x-amazon-apigateway-integration": {
            "integrationSubtype": subtype, "payloadFormatVersion": "1.0", "type": "aws_proxy",
            "credentials": "arn:aws:iam::111122223333:role/api", "connectionType": "INTERNET",
            "requestParameters": parameters,
        },
    }


def document(paths, own=None, **parts):
    """A document that listens on free loopback ports; `own` is added to `x-penstock`."""
    return {
        "openapi": "3.0.1",
        "info": {"title": "Orders API", "version": "2020-09-04 18:02:11UTC"},
        "paths": paths,
        **parts,
        "x-amazon-apigateway-importexport-version": "1.0",
        "x-penstock": {
            "listeners": {"public": {"bind": "127.0.0.1:0"}},
            "admin": {"bind": "127.0.0.1:0"},
            "store": {"path": "./data"},
            "limits": {"cpu_wait": "none"},
            **(own or {}),
        },
    }


def as_json(value):
    return json.dumps(value, indent=2)
