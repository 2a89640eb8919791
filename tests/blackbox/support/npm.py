"""JavaScript packages that tests run, installed once, outside the tree."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]
TOOLS = Path(
    os.environ.get("PENSTOCK_TOOLS")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock" / "tools"
)


def packages(name):
    """The folder in which node finds the packages of requirements/NAME.json; skips where they cannot be had."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    wanted = (TESTS / "requirements" / f"{name}.json").read_text()
    home, stamp = TOOLS / f"{name}-js", hashlib.sha256(wanted.encode()).hexdigest()
    if not (home / ".stamp").exists() or (home / ".stamp").read_text() != stamp:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        (home / "package.json").write_text(wanted)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            ran = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm does not install requirements/{name}.json: it takes over five minutes")
        if ran.returncode != 0:
            pytest.skip(f"npm does not install requirements/{name}.json: {ran.stderr.strip().splitlines()[:1]}")
        (home / ".stamp").write_text(stamp)
    return home
