"""Disks that are full and system calls that fail, from outside the process."""

import contextlib
import os
import shutil
import signal
import subprocess

import pytest

from .processes import eventually


def fill_disk(place):
    """Takes what room is left; the file that has it."""
    filler = place / "filler"
    # unbuffered: a buffer that could not be written is written again when the file is closed, and fails again
    with open(filler, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(b"x" * 65536):
                pass
    return filler


def strace_works():
    strace = shutil.which("strace")
    if not strace:
        return "strace is not installed"
    ran = subprocess.run([strace, "-f", "-o", "/dev/null", "-e", "trace=fsync", "true"], stderr=subprocess.PIPE, text=True)
    return None if ran.returncode == 0 else f"strace may not trace here: {ran.stderr.strip()[:200]}"


def traced(pid):
    """Whether every thread of the process is traced."""
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/status") as status:
                if "TracerPid:\t0\n" in status.read():
                    return False
        except OSError:
            pass  # a thread that has ended
    return True


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
        eventually(lambda: traced(pid) or tracer.poll() is not None, what="strace to attach")
        if tracer.poll() is not None:
            pytest.skip(f"strace cannot attach: {tracer.stderr.read().decode()[:200]}")
        yield
    finally:
        tracer.send_signal(signal.SIGTERM)
        tracer.wait(60)
        tracer.stderr.close()
