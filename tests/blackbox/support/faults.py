"""Disks that are full and system calls that fail, from outside the process."""

import contextlib
import shutil
import signal
import subprocess
import time

import pytest


def fill_disk(place):
    """Takes what room is left; the file that has it."""
    filler = place / "filler"
    with open(filler, "wb") as file:
        try:
            while True:
                file.write(b"x" * 65536)
                file.flush()
        except OSError:
            pass
    return filler


def strace_works():
    strace = shutil.which("strace")
    if not strace:
        return "strace is not installed"
    ran = subprocess.run([strace, "-f", "-o", "/dev/null", "-e", "trace=fsync", "true"], stderr=subprocess.PIPE, text=True)
    return None if ran.returncode == 0 else f"strace may not trace here: {ran.stderr.strip()[:200]}"


@contextlib.contextmanager
def failing_fsync(pid):
    """Within it every fsync of the process fails; skips the test where nobody may trace."""
    reason = strace_works()
    if reason:
        pytest.skip(reason)
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO",
         "-p", str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        time.sleep(1.0)  # nothing says when it has attached
        if tracer.poll() is not None:
            pytest.skip(f"strace cannot attach: {tracer.stderr.read().decode()[:200]}")
        yield
    finally:
        tracer.send_signal(signal.SIGTERM)
        tracer.wait(10)
        tracer.stderr.close()
