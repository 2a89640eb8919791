"""deploy/Dockerfile, built by buildah, which needs no daemon. The base image's registry cannot be asked where tests run, so a
stand-in is the base: busybox, an `apk` that does nothing, and a `cargo` that hands over the binary under test with the
libraries that it wants. What is looked at is all the rest: context, steps, the image's settings, its bytes twice, and how it
runs, as nobody on a root that cannot be written. How the real binary is built is deploy/build-static, looked at below."""

import json
import os
import re
import shutil
import subprocess

import pytest

from support.gateway import BINARY, REPOSITORY
from support.processes import free_port

DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"
EPOCH = "1700000000"
CARGO = """#!/bin/sh
set -eu
echo "$@" > /cargo.asked; env > /cargo.env
target=$(echo "$@" | sed 's/.*--target \\([^ ]*\\).*/\\1/')
mkdir -p "target/$target/dist"
cp /given/penstock "target/$target/dist/penstock"
mkdir -p /root-fs && cp -r /given/libraries/. /root-fs/
"""


class Buildah:
    def __init__(self, storage):
        self.storage = storage

    def __call__(self, *arguments, check=True, **options):
        ran = subprocess.run(
            ["buildah", "--root", self.storage / "root", "--runroot", self.storage / "run", "--storage-driver", "vfs", *arguments],
            capture_output=True, text=True, timeout=600, env={**os.environ, "BUILDAH_ISOLATION": "chroot"}, **options)
        assert not check or ran.returncode == 0, f"{arguments}:\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        return ran.stdout.strip()


def wanted(binary):
    """What a binary that is not static needs beside itself."""
    ran = subprocess.run(["ldd", binary], capture_output=True, text=True, timeout=60)
    return re.findall(r"(/\S+) \(0x", ran.stdout)


def copied(files, folder):
    for path in files:
        place = folder / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)


@pytest.fixture(scope="module")
def buildah(tmp_path_factory):
    busybox = shutil.which("busybox")
    if not shutil.which("buildah") or not busybox or os.geteuid() != 0:
        pytest.skip("buildah and busybox-static are not installed, or this is not root")
    made = Buildah(tmp_path_factory.mktemp("storage"))
    base = tmp_path_factory.mktemp("base")
    for folder in ("bin", "usr/bin", "etc/ssl/certs", "tmp", "given/libraries"):
        (base / folder).mkdir(parents=True)
    shutil.copy(busybox, base / "bin" / "busybox")
    for applet in ("sh", "uname", "find", "touch", "cp", "mkdir", "sed", "env", "dirname", "echo", "printf", "pwd"):
        (base / "bin" / applet).symlink_to("busybox")
    for name, text in (("apk", "#!/bin/sh\n"), ("cargo", CARGO)):
        (base / "bin" / name).write_text(text)
        (base / "bin" / name).chmod(0o755)
    (base / "etc" / "ssl" / "certs" / "ca-certificates.crt").write_text("authorities\n")
    shutil.copy(BINARY, base / "given" / "penstock")
    copied(wanted(BINARY), base / "given" / "libraries")
    install = shutil.which("install")  # Debian's busybox has none; Alpine's has
    copied([install, *wanted(install)], base)
    container = made("from", "scratch")
    made("copy", container, base, "/")
    made("config", "--env", "PATH=/bin:/usr/bin", container)
    made("commit", container, "stand-in")
    yield made
    made("rm", "--all", check=False)


@pytest.fixture(scope="module")
def image(buildah):
    built = [built_from(buildah, REPOSITORY, "penstock-1"), built_from(buildah, REPOSITORY, "penstock-2")]
    return buildah, built


def built_from(buildah, context, tag):
    buildah(
        "bud", "--no-cache", "--format", "docker", "--timestamp", EPOCH, "--build-arg", "RUST=localhost/stand-in",
        "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}", "--ignorefile", f"{DOCKERFILE}.dockerignore", "-f", DOCKERFILE, "-t", tag, context)
    return json.loads(buildah("inspect", "--type", "image", tag))


def test_the_recipe_makes_the_same_image_twice(image):
    _, (first, second) = image
    assert first["Docker"]["rootfs"] == second["Docker"]["rootfs"], "the layers"
    # buildah writes the id of the container that it built in into Docker's format
    def lasting(image):
        config = {**image["Docker"]["config"], "Hostname": ""}
        return config, image["Docker"]["created"], image["Docker"]["history"]
    assert lasting(first) == lasting(second)


def test_the_image_s_settings_are_those_of_a_server_that_nobody_runs_as_root(image):
    settings = image[1][0]["Docker"]["config"]
    assert settings["User"] == "65532:65532" and settings["WorkingDir"] == "/var/lib/penstock"
    assert settings["Entrypoint"] == ["/usr/bin/penstock"] and settings["Cmd"] == ["serve", "/etc/penstock"]
    assert settings["Healthcheck"]["Test"] == ["CMD", "/usr/bin/penstock", "health", "--quiet"]
    assert settings["StopSignal"] == "SIGTERM" and "/var/lib/penstock" in settings["Volumes"] and "8080/tcp" in settings["ExposedPorts"]


def test_nothing_is_in_it_but_what_it_needs_and_it_runs_as_nobody_on_a_root_that_cannot_be_written(image, tmp_path):
    buildah, _ = image
    root = buildah("mount", buildah("from", "penstock-1"))
    libraries = set(wanted(BINARY))
    found = {"/" + os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names}
    assert found - libraries == {
        "/usr/bin/penstock", "/etc/passwd", "/etc/group", "/etc/ssl/certs/ca-certificates.crt"}, found
    data = os.stat(os.path.join(root, "var/lib/penstock"))
    assert (data.st_uid, data.st_gid, data.st_mode & 0o777) == (65532, 65532, 0o750)
    assert int(os.stat(os.path.join(root, "usr/bin/penstock")).st_mtime) == int(EPOCH)
    routes = tmp_path / "routes"
    routes.mkdir(mode=0o755)
    port, admin = free_port(), free_port()
    text = (REPOSITORY / "deploy" / "routes" / "gateway.yaml").read_text()
    assert "0.0.0.0:8080" in text and "127.0.0.1:9901" in text
    (routes / "gateway.yaml").write_text(text.replace("0.0.0.0:8080", f"127.0.0.1:{port}").replace(":9901", f":{admin}"))
    os.chmod(routes / "gateway.yaml", 0o644)
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, 65532, 65532)
    script = f"""
        set -e
        mount --bind "{root}" "{root}"
        mount --bind "{routes}" "{root}/etc/penstock"
        mount --bind "{volume}" "{root}/var/lib/penstock"
        mount -o remount,ro,bind "{root}"
        in_it() {{ chroot --userspec=65532:65532 "{root}" /usr/bin/penstock "$@"; }}
        cd "{root}/var/lib/penstock"
        in_it health --quiet --admin http://127.0.0.1:{admin} && exit 9
        chroot --userspec=65532:65532 "{root}" /usr/bin/penstock serve /etc/penstock > "{tmp_path}/log" 2>&1 & pid=$!
        for try in $(seq 600); do in_it health --quiet --admin http://127.0.0.1:{admin} && break; sleep 0.1; done
        in_it health --admin http://127.0.0.1:{admin}
        curl -fsS -d '{{"a":1}}' http://127.0.0.1:{port}/orders
        kill -TERM $pid; wait $pid
    """
    ran = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=240)
    if ran.returncode != 0 and "unshare" in ran.stderr:
        pytest.skip(f"no mount namespace: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stdout + ran.stderr + ((tmp_path / "log").read_text() if (tmp_path / "log").exists() else "")
    assert '"durability"' in ran.stdout
    assert list(volume.iterdir()), "the store is on the volume"


ASKED = """#!/bin/sh
echo "$@"; env | grep -E '^(RUSTFLAGS|CFLAGS|SOURCE_DATE_EPOCH|CARGO_INCREMENTAL)='; pwd
"""


def test_the_build_maps_every_path_away_and_spares_macros_the_flags_of_a_static_libc(tmp_path):
    """The script with a `cargo` that tells what it was asked. That these flags give the same bytes was seen with the real
    one, from checkouts at two places; it takes a quarter of an hour."""
    checkout = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "deploy", checkout / "deploy")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "cargo").write_text(ASKED)
    (tools / "cargo").chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": "/home/x", "SOURCE_DATE_EPOCH": "7", "TARGET": "t-unknown-linux-musl"}
    ran = subprocess.run([checkout / "deploy" / "build-static"], env=environment, cwd="/", capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    asked, *rest = ran.stdout.splitlines()
    assert asked == "build --locked --profile dist --target t-unknown-linux-musl --bin penstock"
    said = "\n".join(rest)
    assert f"remap-path-prefix={checkout}=penstock" in said and "/home/x/.cargo=cargo" in said
    assert "+crt-static" in said and "SOURCE_DATE_EPOCH=7" in said and "CARGO_INCREMENTAL=0" in said and said.endswith(str(checkout))
